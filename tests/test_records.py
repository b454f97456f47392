"""Rows with their origin: written whole, read as they were written, refused when damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from re import sub
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinfer.cli import run as coinfer
from coinfer.errors import CoinferError
from coinfer.records import beside, check_output, read_records, write_records

COLUMNS = ("name", "value")
ROWS = [{"name": "a", "value": "1"}, {"name": 'b "quoted",\nin two lines', "value": "2"}]
ABOUT: dict[str, Any] = {"origin": {"seed": 0}, "machines": {"m": {"cores": 2}}}


def kept(folder: Path) -> Path:
    path = folder / "kept.csv"
    write_records(path, COLUMNS, ROWS, ABOUT)
    return path


@given(st.lists(st.fixed_dictionaries({"name": st.text(), "value": st.text()}), max_size=5))
def test_records_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    # Surrogates are no text of a file; NUL and a bare carriage return none that Python's CSV keeps.
    def plain(text: str) -> str:
        return sub("[\0\r]", "", text.encode(errors="ignore").decode())

    told = [{name: plain(text) for name, text in row.items()} for row in rows]
    path = tmp_path_factory.mktemp("records") / "some.csv"
    write_records(path, COLUMNS, told, ABOUT)
    found = read_records(path)
    assert (found.columns, list(found.rows)) == (COLUMNS, told)
    assert (found.origin, found.machines) == (ABOUT["origin"], ABOUT["machines"])
    assert found.about["samples"] == len(told)


def _without(name: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        about = json.loads(beside(path).read_text())
        del about[name]
        beside(path).write_text(json.dumps(about))

    return damage


def _saying(name: str, value: Any) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        about = json.loads(beside(path).read_text())
        beside(path).write_text(json.dumps({**about, name: value}))

    return damage


def _with_rows(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (_without("origin"), r"'.*kept\.json' lacks 'origin'"),
    (_without("samples"), r"'.*kept\.json' lacks 'samples'"),
    (_saying("origin", []), r"'.*kept\.json' is damaged: 'origin' is \[\]"),
    (_saying("machines", {"m": 1}), "'machines' is {'m': 1}"),
    (_saying("samples", True), "'samples' is True"),
    (_saying("samples", 3), r"has 2 rows, and 'kept\.json' tells of 3"),
    (_saying("samples", 1), r"has 2 rows, and 'kept\.json' tells of 1"),
    (lambda path: beside(path).write_text("[1]") and None, "holds no fields"),
    (lambda path: beside(path).write_text("{") and None, r"'.*kept\.json' is no JSON"),
    (lambda path: beside(path).write_bytes(b'{"a": "\xff"}') and None, r"kept\.json' .* not UTF-8"),
    (_with_rows(lambda text: text + b"\xff"), r"'.*kept\.csv' is damaged: it is not UTF-8"),
    (_with_rows(lambda text: text + b"c,1,2\n"), "line 4 is damaged: it has another length"),
    (_with_rows(lambda text: text + b"c\n"), "line 4 is damaged: it has another length"),
    (_with_rows(lambda text: text + b'c,"1\n'), "is damaged: unexpected end of data"),
    (_with_rows(lambda text: text + b"c," + b"1" * 200_000), "is damaged: field larger than"),
    (lambda path: path.unlink(), r"cannot read '.*kept\.csv'"),
    (lambda path: beside(path).unlink(), r"cannot read '.*kept\.json'"),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGE, ids=[told for _, told in DAMAGE])
def test_damage_is_one_line_that_names_the_file(
    damage: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    path = kept(tmp_path)
    damage(path)
    with pytest.raises(CoinferError, match=told) as refused:
        read_records(path)
    assert "\n" not in str(refused.value)


def test_a_command_that_was_killed_goes_on_with_fewer_rows(tmp_path: Path) -> None:
    path = kept(tmp_path)
    _saying("samples", 3)(path)
    assert len(read_records(path, unfinished=True).rows) == 2
    _saying("samples", 1)(path)
    with pytest.raises(CoinferError, match="rows are lost, or of another file"):
        read_records(path, unfinished=True)


def test_an_output_that_would_replace_something_else_is_refused(tmp_path: Path) -> None:
    check_output(tmp_path / "new.csv")
    check_output(kept(tmp_path))
    (tmp_path / "kept.csv").unlink()  # killed before its first row
    check_output(tmp_path / "kept.csv")
    for name in ("table", "table.json", "table.CSV", ".csv"):
        with pytest.raises(CoinferError, match="accepted: a file FILE.csv"):
            check_output(tmp_path / name)
    mine = tmp_path / "package.json"
    for text in ('{"mine": 1}', "", "[1]"):
        mine.write_text(text)
        with pytest.raises(CoinferError, match=r"'.*package\.json' is in the way"):
            check_output(tmp_path / "package.csv")


@pytest.mark.parametrize("command", ["sweep", "recipe-study", "code-study"])
def test_no_command_replaces_a_foreign_file(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "package.json"
    mine.write_text('{"mine": 1}')
    for name in ("package.csv", "package.json", "package"):
        args = [command, "alexnet-cifar", "--data", "digits", "-o", str(tmp_path / name)]
        assert coinfer(args) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert mine.read_text() == '{"mine": 1}'
    assert list(tmp_path.iterdir()) == [mine]
