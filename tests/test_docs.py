"""What the documents tell a user to do, done."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from coinfer.cli import cli, run

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [body for found, body in FENCE.findall(text) if found == language]


def commands(document: str) -> list[list[str]]:
    """Every `coinfer ...` line of a document's shell blocks, as arguments."""
    found = []
    for block in blocks(document, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["coinfer"]:
                found.append(words[1:])
    return found


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_command_and_option_in_the_documents_exists(document: str) -> None:
    assert commands(document)
    for arguments in commands(document):
        group: click.Command = cli
        context = click.Context(cli)
        rest = list(arguments)
        while isinstance(group, click.Group):
            command = group.get_command(context, rest.pop(0))
            assert command is not None, f"{document}: coinfer {shlex.join(arguments)}"
            group = command
        group.make_context(group.name, rest)


def test_the_example_method_runs_and_keeps_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example, contract = blocks("CONTRIBUTING.md", "python")[:2]
    (tmp_path / "my_method.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    namespace: dict[str, object] = {}
    exec(compile(contract, "test_my_method.py", "exec"), namespace)
    kit = namespace["TestSmallestFeature"]
    assert isinstance(kit, type)
    checks = [name for name in dir(kit) if name.startswith("test_")]
    assert len(checks) > 10
    for check in checks:
        getattr(kit(), check)()

    for arguments in commands("CONTRIBUTING.md"):
        if "my_method.py" in arguments:
            assert run(arguments) == 0, capsys.readouterr().err
    assert "smallest_feature" in capsys.readouterr().out


def test_the_example_device_loads(tmp_path: Path) -> None:
    from coinfer.presets import load_presets

    path = tmp_path / "mine.toml"
    path.write_text(blocks("CONTRIBUTING.md", "toml")[0])
    assert load_presets(path).device("my-board").speed() == 5e9


def test_ci_runs_the_commands_of_the_readme() -> None:
    readme = " ".join(blocks("README.md", "sh"))
    script = (ROOT / ".ci" / "run").read_text()
    for command in ("tox run -e py", "tox run -e reproduce-fig6"):
        assert command in readme
        assert command in script
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "bash .ci/run" in workflow


def test_documents_name_no_machine_paths() -> None:
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "constraints.txt"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(work|root|home|opt)/", text), path.name
