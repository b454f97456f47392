"""Comparisons of optimisers that ship or were written: read back, drawn and told."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import comparison
from benchmarks.comparison import Comparison, comparison_names, find_comparison
from benchmarks.optimisers_tables import RUNS, SUMMARY, TRACES
from coinfer.errors import CoinferError, UnknownNameError
from reproduce import optimisers
from reproduce.claims import papers
from reproduce.cli import reproduce
from reproduce.facts import Facts
from reproduce.findings import answer
from reproduce.optimisers import overall, ratios
from reproduce.style import METHOD_STYLES, OPTIMISER_STYLES, method_style

LINKS = ("rate[rate_bps=1e5]", "rate[rate_bps=1e8]")


def write(folder: Path, evaluations: int, medians: Mapping[str, tuple[float, float]]) -> Path:
    """Write a comparison of optimisers, by their medians relative to the best known on two links.

    inf is none found; best known are 1 and 2 ms.
    """
    summary, runs, traces = [], [], []
    for name, relative in medians.items():
        for i, link in enumerate(LINKS):
            best, found = 1e-3 * (i + 1), float(math.isfinite(relative[i]))
            summary.append(
                dict(zip(SUMMARY, (
                    "small", "alexnet-cifar", "jetson-tk1", "tesla-p100", link, 1e5, "qho2024",
                    name, evaluations, 3, found, best, *[best * relative[i]] * 3,
                    *[relative[i]] * 3, "analytic, predicted",
                ), strict=True))
            )  # fmt: skip
            runs += [
                dict(zip(RUNS, (
                    "jetson-tk1", link, name, seed, evaluations, 0, int(found),
                    best * relative[i], relative[i], 0.75,
                ), strict=True))
                for seed in range(3)
            ]  # fmt: skip
            for step, factor in ((1, math.inf), (evaluations // 2, 2.0), (evaluations, 1.0)):
                there = relative[i] * factor
                traces.append(dict(zip(TRACES, (
                    "jetson-tk1", link, name, step, 1.0, there, there, there,
                ), strict=True)))  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for stem, columns, rows in (
        ("optimisers", SUMMARY, summary), ("runs", RUNS, runs), ("traces", TRACES, traces),
    ):  # fmt: skip
        with (folder / f"{stem}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    about = {"seeds": [0, 1, 2], "evaluations": evaluations, "table": {"name": "small"},
             "convention": "qho2024", "optimisers": dict.fromkeys(medians),
             "cells": [{"link": link} for link in LINKS]}  # fmt: skip
    (folder / "optimisers.json").write_text(json.dumps(about))
    return folder


def made(folder: Path, evaluations: int = 1000, **medians: tuple[float, float]) -> Comparison:
    given = {name.replace("_", "-"): pair for name, pair in medians.items()}
    return find_comparison(str(write(folder / str(evaluations), evaluations, given)))


def test_a_comparison_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = made(tmp_path, qho=(1.0, 4.0), tpe=(2.0, math.inf))
    assert (found.name, found.model, found.evaluations, found.seeds) == (
        "1000", "alexnet-cifar", 1000, 3,
    )  # fmt: skip
    assert found.optimisers == ("qho", "tpe")
    assert found.cells == tuple(("jetson-tk1", link) for link in LINKS)
    assert overall(found, "qho") == (pytest.approx(2.0), 1.0)
    assert overall(found, "tpe") == (math.inf, 0.5)
    assert ratios(found, "qho", "qho").tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("optimisers.csv", "median_s", "medium_s", "columns of optimisers.csv"),
        ("traces.csv", "jetson-tk1,", "", r"traces\.csv' line 2 is damaged"),
        ("optimisers.json", '"seeds"', '"seed"', "KeyError: 'seeds'"),
        ("optimisers.json", "}", "", "is damaged"),
    ],
)
def test_a_damaged_comparison_is_refused(
    tmp_path: Path, file: str, old: str, new: str, told: str
) -> None:
    folder = write(tmp_path / "mine", 100, {"qho": (1.0, 1.0)})
    path = folder / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CoinferError, match=told):
        find_comparison(str(folder))


def test_what_is_no_comparison_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown comparison of optimisers 'none-such'"):
        find_comparison("none-such")
    with pytest.raises(CoinferError, match="no comparison that `coinfer compare-optimisers` wrote"):
        find_comparison(str(tmp_path))


def test_the_table_marks_the_best_and_tells_who_found_nothing(tmp_path: Path) -> None:
    found = made(tmp_path, qho=(1.5, 1.5), random=(math.inf, 3.0), cma_es=(1.2, 1.2))
    lines = optimisers.table(found)
    assert lines[0] == "| optimiser | all cells | jetson-tk1, 0.1 Mb/s | jetson-tk1, 100 Mb/s |"
    assert "| CMA-ES | **1.200** | 1.200 | 1.200 |" in lines
    assert "| random | none [50 %] | none [0 %] | 3.000 |" in lines


def test_the_figure_of_a_comparison_is_written_alike_twice(tmp_path: Path) -> None:
    write(tmp_path / "mine", 1000, {"qho": (1.5, 1.5), "differential-evolution": (1.2, 1.3)})
    arguments = ["optimisers", "--table", str(tmp_path / "mine"), "--out"]
    for name in ("one", "two"):
        done = CliRunner().invoke(reproduce, [*arguments, str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {f"optimisers.{form}" for form in ("svg", "pdf", "png", "csv", "md", "json")}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_longest_comparison_speaks_for_an_optimiser_and_costs_share_one_best(
    tmp_path: Path,
) -> None:
    long = made(tmp_path, 1000, qho=(1.5, 1.5))
    short = made(tmp_path, 100, qho=(1.9, 1.9), tpe=(3.0, 3.0))
    halved = tuple(
        {**row, "best_known_s": str(float(row["best_known_s"]) / 2)} for row in long.summary
    )
    from reproduce.draw import house_style

    with house_style():
        (axis,) = optimisers.draw([short, replace(long, summary=halved)]).axes
    lines, ends = (
        sorted(
            (line.get_xdata()[-1], line.get_ydata()[-1])
            for line in axis.lines
            if (line.get_linestyle() == "None") == marked
        )
        for marked in (False, True)
    )
    # The long one's medians are over its own best, the least; the short one's best is twice that.
    assert lines == ends == [(100.0, pytest.approx(6.0)), (1000.0, pytest.approx(1.5))]
    assert "TPE ends at 100." in " ".join(optimisers.footnote([short, long]))


def test_a_search_that_seldom_finds_a_plan_is_told(tmp_path: Path) -> None:
    note = " ".join(optimisers.footnote([made(tmp_path, qho=(1.5, 1.5), random=(math.inf, 3.0))]))
    assert "At least half of the runs find no plan on some link: random." in note


def literal(*found: Comparison) -> Any:
    finding = next(one for one in papers()["Q"].findings if one.compute == "literal_reading")
    return answer(finding, replace(Facts.of([]), comparisons=found))


def test_the_printed_algorithm_is_held_against_its_restatement(tmp_path: Path) -> None:
    found = literal(made(tmp_path, qho=(1.2, 1.2), qho_literal=(1.5, math.inf)))
    assert found.outcome == "contradiction"
    assert (
        "50 % of the runs as printed find a plan that is accurate enough (100 % rest" in found.text
    )
    assert "slower than the restatement's by more than 5 % in 2 cells and faster in 0" in found.text
    same = literal(made(tmp_path / "b", qho=(1.2, 1.2), qho_literal=(1.2, 1.23)))
    assert same.outcome == "no contradiction"
    assert literal().outcome == "pending"
    assert "`coinfer compare-optimisers`" in literal().text


def test_what_ships_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in comparison_names():
        found = find_comparison(name)
        assert set(found.optimisers) <= set(OPTIMISER_STYLES)
        assert {float(row["evaluations"]) for row in found.runs} == {found.evaluations}
        assert all(float(row["relative"]) >= 1.0 for row in found.runs)
    monkeypatch.setattr(comparison, "files", lambda _: Path("/nowhere"))
    assert comparison_names() == []


def test_another_optimiser_in_qhos_place_is_drawn_as_ours() -> None:
    style = method_style("qho[optimiser=differential-evolution]")
    assert style.label == "QHO with differential evolution (ours)"
    assert style != METHOD_STYLES["qho"]
    assert method_style("qho[optimiser=qho]") == METHOD_STYLES["qho"]
