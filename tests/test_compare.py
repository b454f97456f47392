"""Two stores side by side."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cells import Cell, Result
from benchmarks.compare import Side, Sides, formatted
from benchmarks.outcomes import Outcome
from benchmarks.rows import Row
from benchmarks.store import Store
from coinfer.cli import run as coinfer


def at(method: str, link: str = "3g", seed: int = 0) -> Cell:
    return Cell("alexnet", method, "pi", "p100", link, seed=seed)


def ok(method: str, latency_s: float, link: str = "3g", seed: int = 0) -> Outcome:
    return Outcome(at(method, link, seed), "ok", latency_s=latency_s, accuracy=0.8)


A = [ok("x", 1.0), ok("y", 2.0), ok("x", 1.0, "4g"), ok("y", 2.0, "4g"), ok("old", 9.0)]
B = [ok("x", 3.0), ok("y", 2.0), ok("x", 0.5, "4g"), ok("y", 2.0, "4g")]
B += [Outcome(at("new"), "skipped", "no")]
SIDES = Sides(Side.of(A), Side.of(B), ("before", "after"))


def test_who_wins_where_is_told_where_it_changed() -> None:
    ((first, second),) = SIDES.overtaken
    assert (first, second) == (at("x"), at("y"))
    text = formatted(SIDES, "text", 20)
    assert "Another method wins in 1 place of 2" in text
    assert "x in 1 s" in text
    assert "y in 2 s" in text


def test_a_bound_wins_nowhere() -> None:
    sides = Sides(Side.of(A, {"x"}), Side.of(B, {"x"}), ("before", "after"))
    assert not sides.overtaken
    assert {cell.method for cell in sides.a.winners.values()} == {"y"}
    assert "x" in sides.ratios  # it is compared with itself


def test_ratios_are_of_places_that_both_answer() -> None:
    assert SIDES.ratios == {
        "x": {at("x"): 3.0, at("x", "4g"): 0.5},
        "y": dict.fromkeys([at("y"), at("y", "4g")], 1.0),
    }
    text = formatted(SIDES, "text", 20).partition("Latency, after / before")[2]
    (line,) = [one for one in text.splitlines() if one.split()[:2] == ["x", "2"]]
    assert line.split()[2:5] == [f"{math.sqrt(1.5):.4g}", "0.5", "3"]


def test_coverage_is_told_by_method_and_status() -> None:
    lines = [line.split() for line in formatted(SIDES, "text", 20).splitlines()]
    assert ["old", "1", "ok", "none", "0"] in lines
    assert ["new", "none", "1", "skipped", "0"] in lines
    assert ["x", "2", "ok", "2", "ok", "2"] in lines


def test_seeds_are_told_by_their_median_without_a_plan_last() -> None:
    seeds = [ok("q", latency_s, seed=seed) for seed, latency_s in enumerate([3.0, 1.0, 2.0])]
    side = Side.of(seeds)
    assert side.latency_s(at("q")) == 2.0
    none = [Outcome(one.cell, "infeasible", "floor") for one in seeds[:2]]
    side = Side.of([*none, seeds[2]])
    assert (side.latency_s(at("q")), side.status(at("q"))) == (math.inf, "1 ok, 2 infeasible")
    assert side.winners == {}
    assert Sides(side, side, ("a", "b")).ratio(at("q")) is None


def test_of_equal_methods_the_first_by_name_wins_in_both() -> None:
    same = [ok("b", 1.0), ok("a", 1.0)]
    assert Sides(Side.of(same), Side.of(same[::-1]), ("a", "b")).overtaken == []


def test_csv_has_every_method_in_every_place() -> None:
    rows = list(csv.DictReader(io.StringIO(formatted(SIDES, "csv", 1))))
    assert len(rows) == 6
    (mine,) = [one for one in rows if (one["method"], one["link"]) == ("x", "3g")]
    assert (mine["ratio"], mine["a_wins"], mine["b_wins"]) == ("3.0", "1", "0")
    (new,) = [one for one in rows if one["method"] == "new"]
    assert (new["a_status"], new["b_status"], new["b_latency_s"]) == ("", "skipped", "")


def test_markdown_escapes_and_tells_how_much_is_left_out() -> None:
    nasty = [ok("a|b", 1.0), ok("c", 2.0)]
    sides = Sides(Side.of(nasty), Side.of(nasty), ("a", "b"))
    text = formatted(sides, "md", 1)
    assert "a\\|b" in text
    assert "and 1 more; --show 0 tells all" in text


def stored(path: Path, *outcomes: Outcome, finished_at: str = "2026-01-01") -> Path:
    with Store.open(path) as store:
        run_id = store.begin_run({"started_at": finished_at})
        store.put(
            [
                Row(
                    one.cell,
                    Result(one.status, latency={"total_s": one.latency_s or 0.0}),
                    {"harness": finished_at},
                    finished_at=finished_at,
                )
                for one in outcomes
            ],
            run_id,
        )
    return path


def test_the_command_takes_the_row_that_was_finished_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = stored(tmp_path / "a.sqlite", ok("x", 1.0), finished_at="2026-01-02")
    stored(a, ok("x", 7.0), finished_at="2026-01-01")
    b = stored(tmp_path / "b.sqlite", ok("x", 4.0))
    assert coinfer(["compare", str(a), str(b), "--format", "csv"]) == 0
    (found,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (found["a_latency_s"], found["b_latency_s"], found["ratio"]) == ("1.0", "4.0", "4.0")
    out = tmp_path / "told.md"
    assert coinfer(["compare", str(a), str(b), "--format", "md", "-o", str(out)]) == 0
    assert "### Latency, b / a" in out.read_text()
    before = b.read_bytes()
    assert coinfer(["compare", str(a), str(b), "-o", str(b)]) == 2
    assert b.read_bytes() == before
    assert coinfer(["compare", str(a), str(tmp_path / "none.sqlite")]) == 2


def test_a_store_beside_itself_differs_in_nothing() -> None:
    sides = Sides(Side.of(A), Side.of([replace(one) for one in A]), ("a", "b"))
    assert sides.overtaken == []
    assert {ratio for found in sides.ratios.values() for ratio in found.values()} == {1.0}
