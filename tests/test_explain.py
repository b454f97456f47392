"""`explain-miss` names the cause, and only that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cells import Cell
from benchmarks.explain import explain_all, explain_miss, find_miss
from benchmarks.store import Store
from coinfer.cli import run
from tests.stores import row

CELL = row(0).cell
INPUTS = {"method": "a" * 64, "link": "b" * 64, "numpy": "2"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "results.sqlite") as store:
        yield store


def put(store: Store, *cells: Cell, inputs: dict[str, str] = INPUTS, **changes: Any) -> None:
    git = {"commit": COMMIT, "dirty": True}
    run_id = store.begin_run({"started_at": "2024-05-01T11:00:00Z", "git": git})
    store.put([row(cell=cell, inputs=inputs, **changes) for cell in cells], run_id)


def test_an_empty_store(store: Store) -> None:
    assert explain_miss(store, CELL, INPUTS) == ["the store has no rows"]


def test_a_row_that_is_there(store: Store) -> None:
    put(store, CELL)
    (said,) = explain_miss(store, CELL, INPUTS)
    assert said.startswith("it is there: ok")


def test_a_failed_row(store: Store) -> None:
    put(store, CELL, status="failed", reason="the method ran out of memory")
    said = explain_miss(store, CELL, INPUTS)
    assert "failed (the method ran out of memory)" in said[0]
    assert "--retry-failed" in said[1]


@pytest.mark.parametrize(
    ("field", "there", "asked"),
    [
        ("model", "alexnet", "vgg16"),
        ("method", "neurosurgeon", "all_local"),
        ("device", "pi", "nano"),
        ("server", "p100", "v100"),
        ("link", "3g", "4g"),
        ("snr_db", None, 10.0),
        ("seed", 0, 3),
        ("convention", "harmonised", "qho2024"),
        ("max_accuracy_loss", 0.02, 0.01),
    ],
)
def test_a_cell_that_differs_in_one_field(field: str, there: Any, asked: Any, store: Store) -> None:
    put(store, CELL)
    changes: dict[str, Any] = {field: asked}
    said = explain_miss(store, replace(CELL, **changes), INPUTS)
    there = "none" if there is None else f"{there:g}" if isinstance(there, float) else there
    asked = f"{asked:g}" if isinstance(asked, float) else asked
    assert said == [
        "no row of this cell",
        f"the same cell exists with {field} {there} (asked for: {asked})",
    ]


def test_the_nearest_values_come_first(store: Store) -> None:
    put(store, *(replace(CELL, seed=seed) for seed in range(0, 100, 10)))
    said = explain_miss(store, replace(CELL, seed=42), INPUTS)[1]
    assert "seed 40, 50, 30, 60, 20, 70 and 4 more (asked for: 42)" in said


def test_a_cell_that_differs_in_more(store: Store) -> None:
    far = replace(CELL, model="vgg16", method="x", device="y", seed=5)
    near = replace(CELL, link="4g", snr_db=1.0)
    put(store, far, near)
    said = explain_miss(store, CELL, INPUTS)
    assert said[0] == "no row of this cell"
    assert len(said) == 2
    assert "4g at 1 dB" in said[1]


def test_other_inputs_are_named_with_time_and_commit(store: Store) -> None:
    old = {"method": "c" * 64, "link": "b" * 64, "numpy": "1", "gone": "x"}
    put(store, CELL, inputs=old)
    said = explain_miss(store, CELL, INPUTS)
    assert said[0] == "this cell was computed, but from other inputs"
    assert [line.split(" changed: ")[0] for line in said[1:]] == [
        "gone",
        "the source of the method",
        "the version of numpy",
    ]
    assert "x then, not an input now" in said[1]
    assert f"{'c' * 12} then, {'a' * 12} now" in said[2]
    assert "1 then, 2 now" in said[3]
    for line in said[1:]:
        assert f"computed 2024-05-01T12:00:00Z, commit {COMMIT[:12]} with local changes" in line


def test_rows_without_run_columns_say_so(store: Store) -> None:
    store.put([row(cell=CELL, inputs={**INPUTS, "numpy": "1"})], None)
    assert "when is not known" in explain_miss(store, CELL, INPUTS)[1]


def test_a_row_keyed_by_another_version(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, CELL)
    monkeypatch.setattr("benchmarks.rows.KEY_SCHEMA", 0)
    assert find_miss(store, CELL, INPUTS).kind == "other key"
    assert "keyed by another version" in explain_miss(store, CELL, INPUTS)[1]


def test_a_matrix_is_explained_in_groups(store: Store) -> None:
    seeds = [replace(CELL, seed=seed) for seed in range(50)]
    put(store, *seeds[:10])
    put(store, *seeds[10:40], inputs={**INPUTS, "method": "old"})
    put(store, seeds[40], status="failed", reason="broken")
    said = explain_all(store, [(cell, INPUTS) for cell in seeds])
    assert said[0] == "40 of 50 cells are not found"
    heads = [line for line in said[1:] if not line.startswith("  ")]
    assert [head.split(" cells alike")[0] for head in heads[:2]] == ["30", "9"]
    assert len(heads) == 3
    assert any("the source of the method changed: old then" in line for line in said)
    assert any("failed (broken)" in line for line in said)
    for groups, more in ((1, "2 more groups"), (2, "1 more group")):
        short = explain_all(store, [(cell, INPUTS) for cell in seeds], groups=groups)
        assert short[-1] == f"and {more} of cells"


@pytest.mark.parametrize(("older", "said"), [(4, "1 older row"), (6, "3 older rows")])
def test_of_many_rows_of_a_cell_the_older_are_counted(older: int, said: str, store: Store) -> None:
    for number in range(older):
        put(store, CELL, inputs={**INPUTS, "method": f"m{number}"})
    assert explain_miss(store, CELL, INPUTS)[-1] == f"and {said} of this cell"


MATRIX = """
models = ["alexnet"]
devices = ["raspberry-pi-4b@qho2024"]
servers = ["tesla-p100"]
links = ["3g"]
methods = ["all_local"]
convention = ["qho2024"]
"""


def test_explain_miss_command(tmp_path: Path, capsys: Any) -> None:
    from benchmarks.catalog import Catalog
    from benchmarks.evaluate import Group, cell_inputs, group_inputs

    matrix, path = tmp_path / "m.toml", tmp_path / "s.sqlite"
    matrix.write_text(MATRIX)
    catalog = Catalog()
    cell = catalog.canonical(
        Cell("alexnet", "all_local", "raspberry-pi-4b", "tesla-p100", "3g", convention="qho2024")
    )
    inputs = cell_inputs(cell, group_inputs(Group.of(cell), catalog), catalog)
    with Store.open(path) as store:
        put(store, cell, inputs={**inputs, "method": "older"})
    one = ["--model", "alexnet", "--method", "all_local", "--device", "raspberry-pi-4b"]
    one += ["--server", "tesla-p100", "--link", "3g", "--convention", "qho2024"]
    for asked in (one, [str(matrix)]):
        assert run(["explain-miss", "--store", str(path), *asked]) == 0
        said = capsys.readouterr().out
        assert f"the source of the method changed: older then, {inputs['method'][:12]} now" in said
        assert said.count("changed:") == 1
    with Store.open(path) as store:
        put(store, cell, inputs=inputs)
    assert run(["explain-miss", "--store", str(path), str(matrix)]) == 0
    assert capsys.readouterr().out == "0 of 1 cell is not found\n"
    assert run(["explain-miss", "--store", str(path), *one[:6]]) == 2
    assert "missing --server, --link" in capsys.readouterr().err
    assert run(["explain-miss", "--store", str(path), str(matrix), *one]) == 2
    assert "not both" in capsys.readouterr().err
    one[1] = "alexnett"
    assert run(["explain-miss", "--store", str(path), *one]) == 2
    assert "'alexnet'" in capsys.readouterr().err


AXES = MATRIX.replace('links = ["3g"]', 'links = ["3g", "wifi"]').replace(
    'methods = ["all_local"]', 'methods = ["all_local", "all_server"]'
)


@pytest.mark.parametrize(
    ("options", "cells"),
    [
        ([], 4),
        (["--include", "method=all_server"], 2),
        (["--include", "link=wifi,method=all_server"], 1),
        (["--exclude", "link=wifi", "--exclude", "method=all_local"], 1),
        (["--methods", "neurosurgeon,exhaustive,all_local"], 6),
        (["--models", "vgg16", "--include", "link=3g"], 2),
    ],
)
def test_explain_miss_takes_the_cells_that_run_takes(
    options: list[str], cells: int, tmp_path: Path, capsys: Any
) -> None:
    matrix, path = tmp_path / "m.toml", tmp_path / "s.sqlite"
    matrix.write_text(AXES)
    Store.open(path).close()
    assert run(["explain-miss", "--store", str(path), str(matrix), *options]) == 0
    cell = "1 cell is" if cells == 1 else f"{cells} cells are"
    assert capsys.readouterr().out.startswith(f"{cells} of {cell} not found\n")
    assert run(["run", str(matrix), "--store", str(path), "--dry-run", *options]) == 0
    total = capsys.readouterr().out.splitlines()[-1].split()
    assert total[:2] == ["total", str(cells)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--include", "link=3g", "--models", "alexnet"], "--models, --include narrow a MATRIX"),
        (["demo", "--include", "link"], "field=pattern"),
        (["demo", "--include", "link=5G"], "matches no cell"),
        (["demo", "--methods", "neurosurgeonn"], "'neurosurgeon'"),
    ],
)
def test_filters_that_are_not_right(
    options: list[str], said: str, tmp_path: Path, capsys: Any
) -> None:
    Store.open(tmp_path / "s.sqlite").close()
    assert run(["explain-miss", "--store", str(tmp_path / "s.sqlite"), *options]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1
