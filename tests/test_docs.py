"""What the documents tell a user to do, done."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import groupby, takewhile
from pathlib import Path

import click
import pytest

from benchmarks.tables import cross_check_names, shipped_table, study_names, table_names
from coinfer.accuracy.recipe import recipe
from coinfer.cli import cli, run
from coinfer.plugins import METHOD_GROUP, PART_GROUP, load_file

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [body for found, body in FENCE.findall(text) if found == language]


def sessions(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output that is shown of it."""
    for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = session.replace("\\\n> ", " ").partition("\n")
        yield command, shown


def commands(document: str) -> list[list[str]]:
    """Every `coinfer ...` line of a document's shell and console blocks, as arguments."""
    lines = [
        line for block in blocks(document, "sh") for line in block.replace("\\\n", " ").splitlines()
    ]
    lines += [line for block in blocks(document, "console") for line, _ in sessions(block)]
    return [
        words[1:]
        for line in lines
        for words in alone(shlex.split(line, comments=True))
        if words[:1] == ["coinfer"]
    ]


def alone(words: list[str]) -> Iterator[list[str]]:
    """The commands of a line, which `&&` joins, without where their output goes."""
    for joined, command in groupby(words, key="&&".__eq__):
        if not joined:
            yield list(takewhile(lambda word: word != ">", command))


# Pages written by hand; what is made from the code is made from these commands.
PAGES = [*ROOT.glob("docs/[a-z]*.md"), *ROOT.glob("docs/howto/*.md")]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in PAGES)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_and_option_in_the_documents_exists(document: str) -> None:
    for arguments in commands(document):
        group: click.Command = cli
        context = click.Context(cli)
        rest = list(arguments)
        while isinstance(group, click.Group):
            command = group.get_command(context, rest.pop(0))
            assert command is not None, f"{document}: coinfer {shlex.join(arguments)}"
            group = command
        group.make_context(group.name, rest)


FILE_NAMED = re.compile(r"`(\w+\.py)`[^`]*\Z")


def guide() -> str:
    """The section of CONTRIBUTING.md on adding a method."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text[text.index("## Add a method") : text.index("## Add a model")]


def as_said(said: str, shown: str) -> bool:
    """Whether an output is the one that a document shows; `...` there stands for anything."""
    parts = map(re.escape, shown.rstrip("\n").split("..."))
    return re.fullmatch(".*?".join(parts) + r"\s*", said, re.DOTALL) is not None


def test_the_guide_to_adding_a_method_is_true_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its files are written, its commands run in order, and what they print is what it shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before, done = "", 0
    for text, language, body in re.findall(r"(.*?)```(\w+)\n(.*?)```", guide(), re.DOTALL):
        before += text
        if language == "python":
            named = FILE_NAMED.search(before)
            assert named is not None, f"a file without a name before it: {body[:60]}"
            (tmp_path / named[1]).write_text(body, encoding="utf-8")
        elif language == "toml":
            points = tomllib.loads(body)["project"]["entry-points"]
            assert set(points) == {METHOD_GROUP, PART_GROUP}
        else:
            assert language == "console", f"nothing executes a block of {language}"
            for command, shown in sessions(body):
                said = printed(command, capsys)
                assert not shown or as_said(said, shown), f"$ {command}\n{said}"
                done += 1
    assert done >= 8


def printed(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a line of a console as a user would, and return its stdout."""
    words = shlex.split(command)
    capsys.readouterr()
    if words[0] == "coinfer":
        code = run(words[1:])
        out, err = capsys.readouterr()
        assert code == 0, f"$ {command}\n{out}{err}"
        return out
    assert words[0] == "python"
    ran = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_what_the_guide_packages_is_what_it_wrote(tmp_path: Path) -> None:
    """Its entry points name things that its file defines."""
    (body,) = [block for block in blocks("CONTRIBUTING.md", "toml") if METHOD_GROUP in block]
    source = next(b for b in blocks("CONTRIBUTING.md", "python") if "class NarrowCut" in b)
    (tmp_path / "narrow_cut.py").write_text(source, encoding="utf-8")
    module = load_file(tmp_path / "narrow_cut.py")
    for points in tomllib.loads(body)["project"]["entry-points"].values():
        for name, target in points.items():
            found = getattr(module, target.removeprefix("narrow_cut:"))
            assert name in (getattr(found, "name", ""), getattr(found, "card", found).name)


def test_the_example_device_loads(tmp_path: Path) -> None:
    from coinfer.presets import load_presets

    path = tmp_path / "mine.toml"
    (body,) = [block for block in blocks("CONTRIBUTING.md", "toml") if "[devices" in block]
    path.write_text(body)
    assert load_presets(path).device("my-board").speed() == 5e9


def test_every_figure_has_its_tox_environment() -> None:
    from reproduce.figures import figures

    text = (ROOT / "tox.ini").read_text(encoding="utf-8")
    (named,) = re.findall(r"^\[testenv:reproduce-\{(.*)\}\]$", text, re.MULTILINE)
    assert named.split(",") == list(figures())


def test_ci_runs_the_commands_of_the_readme() -> None:
    readme = " ".join(blocks("README.md", "sh"))
    script = (ROOT / ".ci" / "run").read_text()
    assert "tox run -e docs" in script
    for command in ("tox run -e py", "tox run -e reproduce-fig7"):
        assert command in readme
        assert command in script
    assert "tox run -e gate" in script
    assert "tox run -e reproduce-table4" in script
    assert "tox run -e reproduce-study" in script
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "bash .ci/run" in workflow


def test_tables_and_recipes_are_what_the_readme_calls_them() -> None:
    for name in (*table_names(), *cross_check_names()):
        origin = shipped_table(name).origin
        assert name == f"{origin.model}-{origin.family}-{origin.recipe.name}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"^\| `(alexnet-cifar-[\w-]+)` \|", readme, re.MULTILINE):
        assert name in (*table_names(), *study_names())
    versions = re.findall(r"^\| `(\w+)` v(\d+) \|", readme, re.MULTILINE)
    assert [name for name, _ in versions] == ["cpu", "quick", "brief"]
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
    for path in [*PAGES, *ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "constraints.txt"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(work|root|home|opt)/", text), path.name
