"""What the documents tell a user to do, done."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import click
import pytest

from benchmarks.tables import shipped_table, study_names, table_names
from coinfer.accuracy.recipe import recipe
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
            for words in alone(shlex.split(line, comments=True)):
                if words[:1] == ["coinfer"]:
                    found.append(words[1:])
    return found


def alone(words: list[str]) -> Iterator[list[str]]:
    """The commands of a line, which `&&` joins."""
    for joined, command in groupby(words, key="&&".__eq__):
        if not joined:
            yield list(command)


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
    for command in ("tox run -e py", "tox run -e reproduce-fig7"):
        assert command in readme
        assert command in script
    assert "tox run -e gate" in script
    assert "tox run -e reproduce-table4" in script
    assert "tox run -e reproduce-study" in script
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "bash .ci/run" in workflow


def test_tables_and_recipes_are_what_the_readme_calls_them() -> None:
    for name in table_names():
        origin = shipped_table(name).origin
        assert name == f"{origin.model}-{origin.family}-{origin.recipe.name}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"^\| `(alexnet-cifar-[\w-]+)` \|", readme, re.MULTILINE):
        assert name in (*table_names(), *study_names())
    versions = re.findall(r"^\| `(\w+)` v(\d+) \|", readme, re.MULTILINE)
    assert [name for name, _ in versions] == ["cpu", "quick"]
    for name, version in versions:
        assert recipe(name).version == int(version)
        for phase in recipe(name).phases:
            assert f"{phase.images:,}" in readme


def test_the_command_that_measures_the_digits_table_is_told_with_its_options() -> None:
    told = commands("CONTRIBUTING.md")
    origin = shipped_table("alexnet-cifar-qho-digits").origin
    assert ["pretrain", origin.model, "--data", origin.data] in told
    (sweep,) = [words for words in told if words[0] == "sweep" and "digits" in words]
    for option, value in (
        ("--data", origin.data),
        ("--recipe", origin.recipe.name),
        ("--family", origin.family),
        ("--samples", str(origin.target)),
        ("-o", f"benchmarks/tables/{origin.name}.csv"),
    ):
        assert sweep[sweep.index(option) + 1] == value


def test_documents_name_no_machine_paths() -> None:
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "constraints.txt"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(work|root|home|opt)/", text), path.name
