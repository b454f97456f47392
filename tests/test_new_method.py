"""`coinfer new-method`: what it writes works at once, and it writes over nothing."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.catalog import Catalog
from benchmarks.store import Store
from coinfer.cli import run
from methods.checking import Target, check, checks
from methods.scaffold import KINDS, class_name
from reports.standings import standings

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new")
    for kind in KINDS:
        assert (
            run(["new-method", f"my_{kind}", "--kind", kind, "--dir", str(folder / "in" / kind)])
            == 0
        )
    return folder / "in"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_method_keeps_the_contract_as_it_stands(kind: str, written: Path) -> None:
    method, methods = Target(str(written / kind / f"my_{kind}.py")).found()
    outcomes = {name: check(method, name, methods.parts).outcome for name in checks()}
    assert outcomes.pop("brings_valid_parts") == "skip"
    assert set(outcomes.values()) == {"ok"}


def test_a_new_method_competes_and_wins_where_it_is_fastest(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.toml").write_text(
        'models = "alexnet"\ndevices = ["raspberry-pi-3b+"]\nservers = "tesla-p100"\n'
        'links = ["3g", "wifi"]\nmethods = ["all_local", "exhaustive", "my_grid"]\n'
    )
    file = ["--method-file", str(written / "grid" / "my_grid.py")]
    assert run(["run", "m.toml", *file, "--store", "s.sqlite", "--jobs", "1"]) == 0
    with Store.open(tmp_path / "s.sqlite", create=False, readonly=True) as store:
        rows = list(store.rows())
    (one,) = standings(rows, Catalog(method_files=(file[1],)))
    assert one.references == {"exhaustive"}
    assert {method for scenario in one.scenarios for method in scenario.winners} == {"my_grid"}


@pytest.mark.parametrize("kind", KINDS)
def test_its_test_passes_and_can_fail(kind: str, written: Path) -> None:
    """Its own test, without the contract that the test above runs."""

    def tested() -> int:
        others = f"not Test{class_name(f'my_{kind}')}"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", others]
        done = subprocess.run(command, cwd=written / kind, capture_output=True, text=True)
        return done.returncode

    assert tested() == 0
    if kind == "select":
        path = written / kind / "my_select.py"
        text = path.read_text()
        path.write_text(text.replace("cut = min(", "cut = max("))
        assert tested() == 1
        path.write_text(text)


def test_what_it_writes_is_clean(written: Path) -> None:
    """By the style of this project; `tox run -e types` holds it to strict types."""
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for kind in KINDS:
        assert len(list((written / kind).glob("*.py"))) == 2
        for command in (["check"], ["format", "--check"]):
            ruff = [sys.executable, "-m", "ruff", *command, *config, "."]
            done = subprocess.run(ruff, capture_output=True, text=True, cwd=written / kind)
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_next_steps_that_it_names_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "two words"
    assert run(["new-method", "mine", "--dir", str(folder)]) == 0
    out = capsys.readouterr().out
    (plan,) = [line for line in out.splitlines() if line.startswith("  coinfer plan")]
    assert run(shlex.split(plan)[1:]) == 0
    assert capsys.readouterr().out.startswith("mine: alexnet on raspberry-pi-3b+")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../mine", "is no name for a method"),
        ("a/b", "is no name for a method"),
        ("mine.py", "is no name for a method"),
        ("Mine", "is no name for a method"),
        ("my-method", "is no name for a method"),
        ("", "is no name for a method"),
        ("mine\n", "is no name for a method"),
        ("m" * 41, "up to 40 in all"),
        ("lambda", "is a word of Python"),
        ("match", "is a word of Python"),
        ("test_mine", "is the name of a test's file"),
        ("conftest", "is the name of a test's file"),
        ("neurosurgeon", "method 'neurosurgeon' is there already"),
        ("json", "is a module that is installed"),
        ("numpy", "is a module that is installed"),
        ("coinfer", "is a module that is installed"),
    ],
)
def test_a_bad_name_is_refused_in_one_line_and_nothing_is_written(
    name: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["new-method", "--dir", str(tmp_path / "in"), "--", name]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize("taken", ["mine.py", "test_mine.py"])
def test_no_file_is_replaced(
    taken: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / taken).write_text("precious\n")
    assert run(["new-method", "mine", "--dir", str(tmp_path)]) == 2
    assert "is there already, and is not replaced" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "precious\n"


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "mine.py").symlink_to(tmp_path / "elsewhere.py")
    assert run(["new-method", "mine", "--dir", str(tmp_path)]) == 2
    assert not (tmp_path / "elsewhere.py").exists()


def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(["new-method", "mine", "--dir", str(tmp_path / "file" / "in")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_class_is_named_after_the_method() -> None:
    assert [class_name(name) for name in ("mine", "my_method", "q2_x")] == [
        "Mine",
        "MyMethod",
        "Q2X",
    ]
