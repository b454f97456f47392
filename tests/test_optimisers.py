"""QHO beside other searches: equal budgets to the point, the same bytes, nobody beats the best."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import optimisers
from benchmarks.comparison import find_comparison
from benchmarks.optimisers import OPTIMISERS, READINGS, Answer, Contest, Result, answers, compete
from benchmarks.optimisers_cli import compare_optimisers
from benchmarks.optimisers_tables import (
    RUNS,
    SUMMARY,
    TRACES,
    check_folder,
    describe,
    quartiles,
    write,
)
from coinfer.accuracy.surrogate import Comparison, Labels, Surrogate, fit_surrogate
from coinfer.accuracy.table import Table
from coinfer.cli import run as coinfer
from coinfer.errors import CoinferError
from coinfer.search.judge import Flags, Floats, Ints
from coinfer.search.qho import search
from coinfer.search.reference import Effort, best_known
from methods.worlds import scenario
from tests.measurements import sampled

pytest.importorskip("cmaes")
pytest.importorskip("optuna")

RATES = (1e5, 1e8)
BUDGET, SEEDS = 60, 2


def bowl(_: Ints, points: Floats) -> tuple[Flags, Floats]:
    return points[:, 0] > 0.45, ((points - 0.3) ** 2).sum(axis=1)


def island(_: Ints, points: Floats) -> tuple[Flags, Floats]:
    """Hardly anything is acceptable, and what is refused would be cheaper."""
    return np.abs(points - 0.7).max(axis=1) < 0.1, points.sum(axis=1)


def told(found: Sequence[Answer]) -> list[Any]:
    return [
        (
            *(a.seed, a.evaluations, a.restarts, a.cost),
            None if a.point is None else a.point.tolist(),
            *(a.trace.evaluations.tolist(), a.trace.costs.tolist()),
        )
        for a in found
    ]


@pytest.mark.parametrize("budget", [1, 37, 400])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_run_has_the_same_budget_to_the_point(name: str, budget: int) -> None:
    if name == "tpe":
        budget = min(budget, 37)
    for judge in (bowl, island):
        for answer in answers(name, judge, 2, [5, 6], budget):
            assert answer.evaluations == budget
            trace = answer.trace
            assert (np.diff(trace.evaluations) > 0).all()
            assert (np.diff(trace.costs) < 0).all()
            assert (trace.evaluations <= budget).all()
            if answer.point is None:
                assert answer.cost == inf
                assert not len(trace.costs)
            else:
                acceptable, cost = judge(np.zeros(1, dtype=np.int64), answer.point[None])
                assert acceptable[0]
                assert answer.cost == cost[0] == trace.costs[-1]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_run_depends_on_its_seed_alone(name: str) -> None:
    both = told(answers(name, bowl, 2, [5, 6], 50))
    assert told(answers(name, bowl, 2, [6], 50)) == both[1:]
    assert both[0][1:] != both[1][1:]


@pytest.mark.parametrize("name", READINGS)
def test_qho_begins_again_when_it_has_ended(name: str) -> None:
    """What comes before the first restart is a run of QHO; what comes after adds to it."""
    settings = replace(READINGS[name], scales=2)
    run = partial(optimisers._qho, settings, bowl, 2)
    (first,) = run([3], 3000)
    assert first.evaluations < 3000
    again = optimisers._again(run, 3, first, 3000)
    (alone,) = search(bowl, 2, [3], settings, max_evaluations=3000)
    assert alone.evaluations == first.evaluations
    assert again.evaluations == 3000
    assert again.restarts > 0
    assert again.cost <= first.cost
    early = again.trace.evaluations <= first.evaluations
    assert again.trace.costs[early].tolist() == first.trace.costs.tolist()


def test_a_refused_start_of_the_literal_reading_is_no_answer() -> None:
    """Algorithm 1 as printed may keep it for ever; all that is acceptable costs more here."""
    (answer,) = answers("qho-literal", island, 2, [0], 300)
    runs, points = optimisers.Qho(2, [0], READINGS["qho-literal"], max_evaluations=300).ask()
    acceptable, cost = island(runs, points)
    assert not acceptable[cost.argmin()]
    (outcome,) = search(island, 2, [0], READINGS["qho-literal"], max_evaluations=300)
    assert not outcome.acceptable
    assert outcome.cost == cost.min()
    assert not (answer.trace.costs == outcome.cost).any()


def test_quartiles_are_values_that_occurred() -> None:
    assert quartiles(np.array([4.0, 1.0, 3.0, 2.0])) == (2.0, 1.0, 3.0)
    assert quartiles(np.array([1.0, inf, inf])) == (inf, 1.0, inf)
    assert quartiles(np.array([1.0, 2.0, inf])) == (2.0, 1.0, inf)


# A whole contest, on a small table with made-up accuracies.


def quick_surrogate(labels: Labels) -> Surrogate:
    return fit_surrogate(labels, Comparison(repeats=1, candidates=("LinearRegression",)))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    short = partial(best_known, seeds=[0], effort=Effort(8, 4, 1, 4, 4))
    monkeypatch.setattr(optimisers, "kept_surrogate", quick_surrogate)
    monkeypatch.setattr(optimisers, "best_known", short)
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path / "cache"))


def contest(table: Table | None = None, **options: Any) -> Contest:
    cells = tuple(scenario(rate, 3e9, convention="qho2024") for rate in RATES)
    names = tuple(("world", "world", f"rate[rate_bps={rate:g}]") for rate in RATES)
    asked = {"evaluations": BUDGET, "seeds": SEEDS, "max_accuracy_loss": 0.1, **options}
    return Contest(sampled() if table is None else table, cells, names, **asked)


def result(asked: Contest, jobs: int = 1) -> Result:
    *_, last = compete(asked, jobs)
    assert isinstance(last, Result)
    return last


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_contest_is_written_alike_twice_and_nobody_beats_the_best_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = result(contest())
    first = write(found, tmp_path / "first")
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path / "other"))  # nothing is there
    second = write(result(contest()), tmp_path / "second")
    assert [path.name for path in first] == [
        "optimisers.csv", "runs.csv", "traces.csv", "optimisers.json",
    ]  # fmt: skip
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()

    summary, runs, traces = (read(path) for path in first[:3])
    assert [tuple(rows[0]) for rows in (summary, runs, traces)] == [SUMMARY, RUNS, TRACES]
    assert len(summary) == len(RATES) * len(OPTIMISERS)
    assert len(runs) == len(summary) * SEEDS
    assert {row["evaluations"] for row in runs} == {str(BUDGET)}
    for row in runs:
        assert float(row["relative"]) >= 1
        assert (row["found"] == "1") == (row["relative"] != "inf") == (row["cost_s"] != "inf")
        if row["found"] == "1":
            assert float(row["predicted_accuracy"]) > found.problem.floor
    for row in summary:
        own = [r for r in runs if (r["link"], r["optimiser"]) == (row["link"], row["optimiser"])]
        assert float(row["found"]) == np.mean([r["found"] == "1" for r in own])
        assert float(row["median_relative"]) == sorted(float(r["relative"]) for r in own)[0]
        last = [t for t in traces if (t["link"], t["optimiser"]) == (row["link"], row["optimiser"])]
        assert [int(t["evaluations"]) for t in last][-1] == BUDGET
        assert last[-1]["median_relative"] == row["median_relative"]
        medians = [float(t["median_relative"]) for t in last]
        assert medians == sorted(medians, reverse=True)

    about = json.loads(first[3].read_text())
    assert about["table"]["name"] == "small"
    assert about["accuracy_floor"] == pytest.approx(about["baseline_accuracy"] - 0.1)
    assert [best["latency_s"] for best in about["best_known"]] == [
        float(row["best_known_s"]) for row in summary[:: len(OPTIMISERS)]
    ]
    assert "qho-literal" in describe(found)


def test_a_comparison_is_read_as_it_was_written_and_refused_when_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "some"
    write(result(contest()), folder)
    assert find_comparison(str(folder)).evaluations == BUDGET
    for name, old, new, told in (
        ("optimisers.csv", ",inf,", ",nan,", "nan"),
        ("optimisers.csv", "qho-literal", "qho", "stands there twice"),
        ("optimisers.csv", f",{BUDGET},", ",1e9,", "evaluations 1e9"),
        ("runs.csv", f",{BUDGET},", f",{'9' * 200_000},", "field larger than"),
        ("traces.csv", ",inf,", ",-1,", "-1"),
        ("optimisers.json", '\n  "seeds": [', '\n  "seeds": [7, ', r"runs\.csv has"),
        ("optimisers.json", '\n  "evaluations"', '\n  "many"', "evaluations"),
    ):
        path = folder / name
        good = path.read_text()
        assert old in good, (name, old)
        path.write_text(good.replace(old, new, 1))
        with pytest.raises(CoinferError, match=f"comparison '.*some' is damaged: .*{told}") as no:
            find_comparison(str(folder))
        assert "\n" not in str(no.value)
        path.write_text(good)
    for name in ("optimisers.csv", "runs.csv", "traces.csv"):
        path = folder / name
        good = path.read_text()
        path.write_text("".join(good.splitlines(keepends=True)[:1]))
        with pytest.raises(CoinferError, match="has 0 rows"):
            find_comparison(str(folder))
        path.write_text(good)
    (folder / "runs.csv").unlink()
    with pytest.raises(CoinferError, match=r"it has no runs\.csv"):
        find_comparison(str(folder))


def test_files_of_another_origin_are_not_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "runs.csv"
    mine.write_text("mine")
    for refuse in (check_folder, lambda folder: write(result(contest()), folder)):
        with pytest.raises(CoinferError, match=r"runs\.csv' is there already and"):
            refuse(tmp_path)
    assert not (tmp_path / "optimisers.csv").exists()
    assert mine.read_text() == "mine"


def test_what_was_done_is_kept_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = contest(optimisers=("qho", "random"))
    first = result(asked)
    monkeypatch.setattr(optimisers, "answers", None)  # nothing is searched again
    second = result(asked)
    for block, found in first.answers.items():
        assert told(second.answers[block]) == told(found)
    with pytest.raises(TypeError):  # another budget is another contest
        result(replace(asked, evaluations=BUDGET + 1))


def test_a_damaged_answer_is_searched_again(tmp_path: Path) -> None:
    asked = contest(optimisers=("random",))
    first = result(asked)
    for path in (tmp_path / "cache" / "optimisers").iterdir():
        path.write_text(path.read_text()[:40])
    assert told(result(asked).answers["random", 1]) == told(first.answers["random", 1])


@pytest.mark.parametrize("loss", ["nan", "-0.1", "1.5", "inf"])
def test_an_impossible_loss_is_refused_before_anything_runs(
    loss: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["compare-optimisers", "--max-accuracy-loss", loss, "-o", str(tmp_path / "out")]
    assert coinfer(asked) == 2
    assert "--max-accuracy-loss" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(CoinferError, match="^unknown optimiser 'cma'; did you mean 'cma-es'"):
        contest(optimisers=("cma",))
    with pytest.raises(CoinferError, match="^seeds is 0; allowed is a whole number, 1 or more"):
        contest(seeds=0)
    with pytest.raises(CoinferError, match="^table 'small' has 'fpgm' plans; accepted are 'qho'"):
        contest(sampled_as("fpgm"))
    whole = sampled()
    pruned = [s for s in whole.samples if not s.measurement.plan.unchanged]
    with pytest.raises(CoinferError, match="^table 'small' lacks the unpruned network"):
        contest(replace(whole, samples=tuple(pruned)))
    with pytest.raises(CoinferError, match="^no plan for world, world, .* is predicted"):
        result(contest(optimisers=("random",), max_accuracy_loss=-0.5))


def sampled_as(family: str) -> Table:
    whole = sampled()
    return replace(whole, origin=replace(whole.origin, family=family))


def test_the_command_writes_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.tables.find_table", lambda name: sampled())
    arguments = ["--table", "mine.csv", "--optimisers", "qho,random", "--links", "3g,wifi"]
    arguments += ["--devices", "jetson-tk1", "--seeds", "2", "--evaluations", "40"]
    arguments += ["--max-accuracy-loss", "0.1", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(compare_optimisers, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "(2) jetson-tk1, wifi: best known" in done.stdout
    rows = read(tmp_path / "out" / "optimisers.csv")
    assert [(row["link"], row["optimiser"]) for row in rows] == [
        ("3g", "qho"), ("3g", "random"), ("wifi", "qho"), ("wifi", "random"),
    ]  # fmt: skip
