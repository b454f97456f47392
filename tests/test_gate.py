"""The regression gate: what it lets pass, what it stops, and how it says so."""

from __future__ import annotations

import csv
import json
import math
import random
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from benchmarks import gate_simulation, runner
from benchmarks.baseline import Baseline, about, read_baseline, text_of, write_baseline
from benchmarks.catalog import Catalog
from benchmarks.cells import Cell, Result
from benchmarks.gate import Comparison, Finding, compare
from benchmarks.gate_cli import gate
from benchmarks.gate_formats import formatted
from benchmarks.matrix import expand, load
from benchmarks.outcomes import Outcome, outcome_of
from benchmarks.provenance import package_versions
from benchmarks.ranks import holm, least_p, rank_test, seeds_needed
from benchmarks.rows import Row
from benchmarks.selections import shipped_selections
from benchmarks.store import Store
from benchmarks.thresholds import FALSE_ALARMS, Rule, Thresholds, load_thresholds
from coinfer.cli import run as coinfer
from coinfer.errors import CoinferError
from tests.running import InProcess

ROOT = Path(__file__).parents[1]
LINKS = ("3g", "4g", "wifi")


def at(method: str, link: str = "3g", seed: int = 0, **fields: object) -> Cell:
    return replace(Cell("alexnet", method, "pi", "p100", link, seed=seed), **fields)  # type: ignore[arg-type]


def ok(cell: Cell, latency_s: float, **fields: object) -> Outcome:
    return replace(Outcome(cell, "ok", latency_s=latency_s), **fields)  # type: ignore[arg-type]


def steady(**latencies_s: float) -> list[Outcome]:
    """Methods without randomness over all links, All_Local in a second."""
    return [
        ok(at(method, link), latency_s, accuracy=0.8)
        for method, latency_s in {"all_local": 1.0, **latencies_s}.items()
        for link in LINKS
    ]


def seeded(latencies_s: Iterable[float], link: str = "3g", **fields: object) -> list[Outcome]:
    """A method with randomness, a latency per seed; an infinite one is no plan."""
    return [
        ok(at("qho", link, seed), latency_s, **fields)
        if math.isfinite(latency_s)
        else Outcome(at("qho", link, seed), "infeasible", "none meets the floor")
        for seed, latency_s in enumerate(latencies_s)
    ]


def side(outcomes: Iterable[Outcome]) -> Baseline:
    return Baseline.of(outcomes, ["qho"], {"matrix": "m"})


def held(
    old: Iterable[Outcome], new: Iterable[Outcome], thresholds: Thresholds | None = None
) -> Comparison:
    return compare(side(old), side(new), thresholds or Thresholds())


def changed(outcomes: Sequence[Outcome], method: str, **fields: object) -> list[Outcome]:
    """The outcomes, those of one method with other fields."""
    return [
        replace(one, **fields) if one.cell.method == method else one  # type: ignore[arg-type]
        for one in outcomes
    ]


def said(found: Sequence[Finding]) -> set[tuple[str, str]]:
    return {(one.what, one.cell.method) for one in found}


# What may pass and what may not.

USUAL = steady(neurosurgeon=0.5, exhaustive=0.4)


def test_a_slowed_method_is_caught_with_old_new_ratio_and_place() -> None:
    found = held(USUAL, changed(USUAL, "neurosurgeon", latency_s=0.625))
    assert found.exit_code == 1
    assert said(found.of("regressed")) == {
        (what, "neurosurgeon") for what in ("latency_s", "speedup", "regret")
    }
    one = next(one for one in found.findings if one.what == "latency_s")
    assert (one.old, one.new, one.ratio, one.cell) == (0.5, 0.625, 1.25, at("neurosurgeon"))
    speedup = next(one for one in found.findings if one.what == "speedup")
    assert (speedup.old, speedup.new, speedup.ratio) == (2.0, 1.6, 0.8)
    regret = next(one for one in found.findings if one.what == "regret")
    assert (regret.old, regret.new) == (pytest.approx(0.25), pytest.approx(0.5625))


def test_a_removed_method_fails_like_a_slow_one() -> None:
    found = held(USUAL, [one for one in USUAL if one.cell.method != "neurosurgeon"])
    assert found.exit_code == 1
    assert [one.cell for one in found.of("regressed")] == [at("neurosurgeon", x) for x in LINKS]
    assert {(one.old, one.new) for one in found.findings} == {("ok", "gone")}


def test_a_renamed_method_fails_and_its_new_name_is_guessed() -> None:
    renamed = [
        replace(one, cell=replace(one.cell, method="surgeon"))
        if one.cell.method == "neurosurgeon"
        else one
        for one in USUAL
    ]
    found = held(USUAL, renamed)
    assert found.exit_code == 1
    assert said(found.of("regressed")) == {("cell", "neurosurgeon")}
    assert all("method 'surgeon' has its values" in one.note for one in found.of("regressed"))
    assert said(found.of("new")) == {("cell", "surgeon")}


def row(outcome: Outcome, seconds: float = 0.0, ledger_s: float = 0.0) -> Row:
    """A row that ends like an outcome; how long the search took is in the ledger and beside it."""
    result = Result(
        outcome.status,
        plan={"cut": {"after": outcome.cut, "index": 1}},
        latency={"total_s": outcome.latency_s or 0.0},
        accuracy=outcome.accuracy,
        evaluations=int(seconds),
        ledger=(("search", int(seconds), ledger_s),),
    )
    return Row(outcome.cell, result, {"harness": str(seconds)}, seconds, "a host")


def test_a_harmless_change_passes() -> None:
    before = [outcome_of(row(one, 1.0, 1.0)) for one in USUAL]
    rows = [row(one, 99.0, 7.0) for one in (*USUAL, ok(at("another", "5g"), 9.0))]
    random.Random(0).shuffle(rows)
    found = held(before, [outcome_of(one) for one in rows])
    assert found.exit_code == 0
    assert [(one.verdict, one.cell) for one in found.findings] == [("new", at("another", "5g"))]
    assert found.cells == len(USUAL)


def test_rounding_is_no_change() -> None:
    found = held(USUAL, changed(USUAL, "neurosurgeon", latency_s=math.nextafter(0.5, 1)))
    assert not found.findings


def test_an_improvement_is_told_and_passes() -> None:
    found = held(USUAL, changed(USUAL, "neurosurgeon", latency_s=0.45))
    assert found.exit_code == 0
    assert ("latency_s", "neurosurgeon") in said(found.of("improved"))
    assert "--update" in formatted(found, "text", "b.json", 20)


def test_a_faster_rival_makes_no_other_method_worse() -> None:
    found = held(USUAL, changed(USUAL, "exhaustive", latency_s=0.1))
    assert {one.cell.method for one in found.findings} == {"exhaustive"}


def test_a_faster_device_lowers_speedups() -> None:
    found = held(USUAL, changed(USUAL, "all_local", latency_s=0.5))
    assert ("speedup", "neurosurgeon") in said(found.of("regressed"))
    assert ("latency_s", "all_local") in said(found.of("improved"))


X = at("x")
GOOD = ok(X, 0.5)
SKIP = Outcome(X, "skipped", "needs a radio")
NONE = Outcome(X, "infeasible", "none meets the floor")
FAILED = Outcome(X, "failed", "ArithmeticError")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (GOOD, NONE),
        (GOOD, SKIP),
        (GOOD, FAILED),
        (NONE, SKIP),
        (NONE, FAILED),
        (SKIP, FAILED),
        (SKIP, replace(SKIP, reason="needs another radio")),
        (GOOD, ok(X, math.inf)),
        (GOOD, ok(X, math.nan)),
        (ok(X, math.nan), ok(X, math.nan)),
        (replace(GOOD, accuracy=0.8), replace(GOOD, accuracy=0.79)),
        (replace(GOOD, accuracy=0.8), GOOD),
        (replace(GOOD, predicted_accuracy=0.8), replace(GOOD, predicted_accuracy=0.7)),
        (replace(GOOD, energy_j=1.0), replace(GOOD, energy_j=1.1)),
        (replace(GOOD, floor_held="held"), replace(GOOD, floor_held="undecided")),
        (replace(GOOD, floor_held="undecided"), replace(GOOD, floor_held="broken")),
    ],
)
def test_what_is_worse_is_a_regression(old: Outcome, new: Outcome) -> None:
    assert held([old], [new]).exit_code == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (NONE, GOOD),
        (SKIP, GOOD),
        (SKIP, NONE),
        (ok(X, math.inf), GOOD),
        (replace(GOOD, accuracy=0.79), replace(GOOD, accuracy=0.8)),
        (replace(GOOD, energy_j=1.1), replace(GOOD, energy_j=1.0)),
        (replace(GOOD, floor_held="broken"), replace(GOOD, floor_held="held")),
    ],
)
def test_what_is_better_is_told_and_passes(old: Outcome, new: Outcome) -> None:
    found = held([old], [new])
    assert found.exit_code == 0
    assert found.of("improved")


@pytest.mark.parametrize("same", [SKIP, NONE, ok(X, math.inf), ok(X, 0.0)])
def test_what_ends_as_before_passes(same: Outcome) -> None:
    assert not held([same], [same]).findings


def test_a_new_cell_that_failed_is_a_regression() -> None:
    found = held(USUAL, [*USUAL, FAILED])
    assert found.exit_code == 1
    assert "ArithmeticError" in found.findings[0].note


def test_the_worst_comes_first() -> None:
    new = changed(changed(USUAL, "neurosurgeon", latency_s=0.6), "exhaustive", latency_s=0.8)
    new = [one for one in new if one.cell != at("all_local", "wifi")]
    found = held(USUAL, new)
    order = [one.weight for one in found.of("regressed")]
    assert order == sorted(order, reverse=True)
    assert found.findings[0].what == "cell"
    numbers = [one for one in found.findings if isinstance(one.new, float)]
    assert numbers[0].cell.method == "exhaustive"


# Methods with randomness.

LOW = np.random.default_rng(1).normal(1.0, 0.03, 10).tolist()
AGAIN = np.random.default_rng(2).normal(1.0, 0.03, 10).tolist()


def test_seeds_drawn_anew_pass() -> None:
    found = held(seeded(LOW), seeded(AGAIN))
    assert not found.findings
    # A regret ranks as its latency does, all seeds answered, and All_Local is not there.
    assert found.tests == 1


def test_figures_that_rank_seeds_alike_are_one_test() -> None:
    first, slower = (ok(at("all_local"), latency_s) for latency_s in (2.0, 3.0))
    old, new = seeded(LOW, predicted_accuracy=0.8), seeded(AGAIN, predicted_accuracy=0.8)
    assert held([first, *old], [first, *new]).tests == 1
    # Beside another All_Local, speedups may rank otherwise than latencies.
    assert held([first, *old], [slower, *new]).tests == 2
    old[0] = replace(old[0], predicted_accuracy=0.9)
    assert held([first, *old], [first, *new]).tests == 2


def test_what_no_seed_changes_dilutes_nothing() -> None:
    steady = [one for i in range(400) for one in seeded([1.0] * 10, f"link-{i}")]
    old, new = seeded(LOW), seeded([1.25 * one for one in AGAIN])
    found = held([*old, *steady], [*new, *steady])
    assert (found.tests, found.exit_code) == (1, 1)


def test_a_real_change_over_seeds_is_caught() -> None:
    found = held(seeded(LOW), seeded([1.25 * one for one in AGAIN]))
    assert said(found.of("regressed")) == {("latency_s", "qho"), ("regret", "qho")}
    assert "10 and 10 seeds, p = 5.4e-06 adjusted for 1 test" in found.findings[0].note


def test_more_than_the_limit_must_also_be_significant() -> None:
    wild = [0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5]
    found = held(seeded(wild), seeded([1.2 * one for one in wild]))
    assert found.exit_code == 0
    assert said(found.of("unsure")) == {("latency_s", "qho"), ("regret", "qho")}
    assert "not significantly" in formatted(found, "text", "b.json", 20)


def test_what_is_significant_must_also_be_more_than_the_limit() -> None:
    found = held(seeded(LOW), seeded([1.09 * max(LOW) / min(LOW) * one for one in LOW]))
    assert found.exit_code == 1
    found = held(seeded([1.0] * 10), seeded([1.09] * 10))
    assert not found.findings


def test_seeds_that_find_no_plan_any_more_are_caught() -> None:
    found = held(seeded(LOW), seeded([*[math.inf] * 9, 1.0]))
    assert ("answered", "qho") in said(found.of("regressed"))
    answered = next(one for one in found.findings if one.what == "answered")
    assert (answered.old, answered.new) == (1.0, pytest.approx(0.1))
    # One seed of ten may happen to anybody.
    assert held(seeded(LOW), seeded([math.inf, *LOW[1:]])).exit_code == 0


def test_a_seed_that_fails_or_is_gone_is_caught() -> None:
    outcomes = seeded(LOW)
    failed = [replace(outcomes[0], status="failed", latency_s=None), *outcomes[1:]]
    assert said(held(outcomes, failed).of("regressed")) == {("status", "qho")}
    (gone,) = held(outcomes, outcomes[:-3]).of("regressed")
    assert "seeds 7-9" in gone.note


def test_more_seeds_are_new_cells() -> None:
    found = held(seeded(LOW), seeded([*LOW, *AGAIN]))
    assert found.exit_code == 0
    assert [one.verdict for one in found.findings] == ["new"]


def test_a_figure_that_only_some_seeds_have_is_not_compared() -> None:
    old = seeded(LOW)
    old[0] = replace(old[0], accuracy=0.8)
    found = held(old, seeded(LOW))
    assert (found.exit_code, found.uncompared) == (0, 1)


def test_too_few_seeds_are_refused_whatever_moved() -> None:
    few = seeded(LOW[:4])
    with pytest.raises(CoinferError, match=r"'qho' has 4 seeds.* needs 6 seeds or more"):
        held(few, few)
    enough = seeded(LOW[:6])
    assert not held(enough, enough).findings
    assert seeds_needed(3, FALSE_ALARMS) == 6


def test_the_promise_about_false_alarms_holds_for_all_tests_together(tmp_path: Path) -> None:
    # One place of many: the same change is significant alone, and not among so many.
    old, new = seeded(LOW), seeded([1.25 * one for one in AGAIN])
    others = [one for i in range(500) for one in seeded(LOW, f"link-{i}")]
    assert held(old, new).exit_code == 1
    with pytest.raises(CoinferError, match="seeds or more"):
        held([*old, *others], [*new, *others])


# The rank test.

SAMPLES = st.lists(st.integers(0, 4), min_size=1, max_size=5)


@given(SAMPLES, SAMPLES)
def test_the_rank_test_counts_all_ways_to_deal_the_values(old: list[int], new: list[int]) -> None:
    pooled = [*new, *old]

    def rank_sum(members: Sequence[int]) -> float:
        rest = [pooled[i] for i in range(len(pooled)) if i not in members]
        return sum((pooled[i] > y) + 0.5 * (pooled[i] == y) for i in members for y in rest)

    observed = rank_sum(range(len(new)))
    ways = [rank_sum(members) for members in combinations(range(len(pooled)), len(new))]
    expected = sum(one >= observed for one in ways) / len(ways)
    assert rank_test(old, new) == pytest.approx(expected, rel=1e-12)


@given(
    st.lists(st.floats(allow_nan=False), min_size=2, max_size=24, unique=True), st.integers(1, 23)
)
def test_without_ties_it_is_scipys(values: list[float], split: int) -> None:
    old, new = values[: min(split, len(values) - 1)], values[min(split, len(values) - 1) :]
    expected = mannwhitneyu(new, old, alternative="greater", method="exact").pvalue
    assert rank_test(old, new) == pytest.approx(expected, rel=1e-9)


def test_of_large_samples_it_is_an_approximation() -> None:
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=31), rng.normal(0.5, size=31)
    exact = mannwhitneyu(new, old, alternative="greater", method="exact").pvalue
    assert exact <= rank_test(old, new) <= 1.5 * exact  # never smaller: the safe side
    assert rank_test(old[:30], new[:30]) == pytest.approx(
        mannwhitneyu(new[:30], old[:30], alternative="greater", method="exact").pvalue, rel=1e-9
    )


def test_nothing_and_nan_are_no_samples() -> None:
    for old, new in (([], [1.0]), ([1.0], []), ([math.nan], [1.0])):
        with pytest.raises(ValueError, match="numbers on both sides"):
            rank_test(old, new)


def test_the_least_p_is_that_of_samples_that_do_not_overlap() -> None:
    assert rank_test(range(6), range(6, 13)) == pytest.approx(least_p(7, 6))
    assert rank_test([1.0] * 6, [math.inf] * 7) == pytest.approx(least_p(7, 6))


@given(st.lists(st.floats(0, 1), max_size=6), st.integers(0, 4))
def test_holm_rejects_as_the_step_down_procedure_does(p_values: list[float], more: int) -> None:
    tests, level = len(p_values) + more, 0.05
    rejected = set()
    for step, one in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[one] * (tests - step) > level:
            break
        rejected.add(one)
    adjusted = holm(p_values, tests)
    assert {i for i, one in enumerate(adjusted) if one <= level} == rejected


# Any two runs.

SHARES = st.none() | st.floats(0, 1)
NUMBERS = st.none() | st.floats(0, 10) | st.just(math.inf)
OUTCOMES = st.builds(
    Outcome,
    cell=st.builds(
        at,
        method=st.sampled_from(["all_local", "x", "y[a=1]"]),
        link=st.sampled_from(LINKS),
        snr_db=st.none() | st.floats(-5, 5),
    ),
    status=st.just("ok"),
    latency_s=st.floats(0, 10) | st.just(math.inf),
    energy_j=NUMBERS,
    accuracy=SHARES,
    predicted_accuracy=SHARES,
    floor_held=st.sampled_from(["", "held", "broken"]),
    cut=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
) | st.builds(
    Outcome,
    cell=st.builds(at, method=st.sampled_from(["x", "z"]), link=st.sampled_from(LINKS)),
    status=st.sampled_from(["infeasible", "skipped"]),
    reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
RUNS = st.lists(OUTCOMES, max_size=8, unique_by=lambda one: one.cell)


@given(RUNS)
def test_equal_runs_have_no_findings(outcomes: list[Outcome]) -> None:
    found = held(outcomes, outcomes[::-1])
    assert not found.findings
    assert found.cells == len(outcomes)


@given(RUNS, RUNS)
def test_every_pair_of_runs_can_be_told_in_every_format(
    old: list[Outcome], new: list[Outcome]
) -> None:
    found = held(old, new)
    gone = {one.cell for one in old} - {one.cell for one in new}
    told = {one.cell for one in found.of("regressed") if one.new == "gone"}
    assert told == {replace(cell, seed=0) for cell in gone}
    for format in ("text", "github", "md", "junit"):
        assert formatted(found, format, "b.json", 0).endswith("\n")
    assert formatted(found, "text", "b", 0) == formatted(held(old[::-1], new[::-1]), "text", "b", 0)


# The baseline's file.


@given(RUNS.filter(bool))
def test_a_baseline_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[Outcome]
) -> None:
    path = tmp_path_factory.mktemp("baseline") / "b.json"
    written = side(outcomes)
    write_baseline(path, written)
    read = read_baseline(path)
    assert read == written
    assert text_of(read) == path.read_text(encoding="utf-8") == text_of(side(outcomes[::-1]))
    lines = path.read_text(encoding="utf-8").splitlines()
    for cell, line in read.lines.items():
        assert json.loads(lines[line - 1].rstrip(","))["link"] == cell.link
    assert len(read.lines) == len(outcomes)


def test_a_baseline_is_read_in_a_diff(tmp_path: Path) -> None:
    def lines(outcomes: Sequence[Outcome]) -> list[str]:
        return text_of(Baseline.of(outcomes, [], about("m"))).splitlines()

    before, after = lines(USUAL), lines(changed(USUAL, "neurosurgeon", latency_s=0.6))
    assert len(before) == len(after)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == len(LINKS)
    text = "\n".join(before)
    assert not re.search(r"20\d\d-\d\d|\d\d:\d\d", text)
    rates = [at("x", f"rate[rate_bps={rate}]") for rate in ("200000.0", "1000000.0")]
    text = text_of(side([ok(cell, 1.0) for cell in rates[::-1]]))
    assert text.index("200000.0") < text.index("1000000.0")


GOOD_TEXT = text_of(side(USUAL))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[]", "its format is None"),
        ('{"format":"coinfer-rows"}', "its format is 'coinfer-rows'"),
        (GOOD_TEXT.replace('"schema":1', '"schema":2'), "its schema is 2; this version reads 1"),
        (GOOD_TEXT.replace("0.5", "NaN", 1), "NaN is no number"),
        (GOOD_TEXT.replace("0.5", '"fast"', 1), "'fast' is not a number"),
        (GOOD_TEXT.replace('"cut"', '"cat"').replace('"ok"', '"good"', 1), "good"),
        (GOOD_TEXT.replace('"latency_s": 0.5, ', "", 1), "'ok' and has no latency_s"),
        (GOOD_TEXT.replace('"link": "3g"', '"link": "4g"', 1), "a cell is there twice"),
        (GOOD_TEXT.replace('"accuracy"', '"acuracy"', 1), "unknown field acuracy"),
        (GOOD_TEXT[:-40], "is damaged"),
        (GOOD_TEXT.replace('"latency_s": 0.5', '"latency_s": -0.5', 1), "has latency_s -0.5"),
        (GOOD_TEXT.replace('"accuracy": 0.', '"accuracy": 9.', 1), "accepted: 0 to 1"),
        (text_of(side([])), "has no cells, so that anything passes"),
        (GOOD_TEXT.replace('"cells":[', '"cells":[7,', 1), "not a table of fields"),
    ],
)
def test_a_damaged_baseline_is_one_line(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CoinferError, match=re.escape(why)) as error:
        read_baseline(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_store_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with Store.open(path):
        pass
    before = path.read_bytes()
    with pytest.raises(CoinferError, match="it is a store"):
        write_baseline(path, side(USUAL))
    assert path.read_bytes() == before


# Thresholds.


def thresholds(tmp_path: Path, text: str) -> Thresholds:
    path = tmp_path / "thresholds.toml"
    path.write_text(text, encoding="utf-8")
    return load_thresholds(path)


def test_a_threshold_changes_what_passes_and_its_reason_is_told(tmp_path: Path) -> None:
    text = """
        [[threshold]]
        metric = ["latency_s", "speedup"]
        method = ["neuro*", "exhaustive"]
        factor = 1.3
        reason = "the board throttles"

        [[threshold]]
        metric = "regret"
        margin = 0.5
        reason = "so do all"

        [[threshold]]
        metric = "accuracy"
        method = "all_local"
        ignore = true
        reason = "never measured here"
    """
    limits = thresholds(tmp_path, text)
    slower = changed(USUAL, "neurosurgeon", latency_s=0.625)
    assert held(USUAL, slower, limits).exit_code == 0
    assert held(USUAL, changed(USUAL, "all_local", accuracy=0.1), limits).exit_code == 0
    assert held(USUAL, changed(USUAL, "exhaustive", accuracy=0.1), limits).exit_code == 1
    found = held(USUAL, changed(USUAL, "neurosurgeon", latency_s=0.75), limits)
    assert {one.what for one in found.of("regressed")} == {"latency_s", "speedup", "regret"}
    told = formatted(found, "text", "b.json", 20)
    assert "limit 30 %; the board throttles" in told
    assert "limit 0.5; so do all" in told
    # What is gone is never excused.
    assert held(USUAL, slower[:-1], limits).exit_code == 1


def test_the_last_threshold_that_matches_decides(tmp_path: Path) -> None:
    rule = '[[threshold]]\nmetric = "latency_s"\nfactor = {}\nmethod = "{}"\nreason = "r"\n'
    limits = thresholds(tmp_path, rule.format(2.0, "*") + rule.format(1.5, "qho[x=*]"))
    assert limits.limit("latency_s", "qho", stochastic=False).worse == 1.0
    assert limits.limit("latency_s", "qho[x=1]", stochastic=False).worse == 0.5
    assert limits.limit("speedup", "qho", stochastic=False).worse == 1e-6


def test_seeds_can_be_judged_without_a_test(tmp_path: Path) -> None:
    text = """
        [[threshold]]
        metric = ["latency_s", "speedup"]
        method = "qho"
        factor = 1.1
        over_seeds = false
        reason = "its seeds are fixed"

        [[threshold]]
        metric = ["regret", "answered"]
        method = "qho"
        ignore = true
        reason = "follows"
    """
    limits = thresholds(tmp_path, text)
    assert held(seeded([1.0]), seeded([1.05]), limits).exit_code == 0
    found = held(seeded([1.0]), seeded([1.2]), limits)
    assert (said(found.of("regressed")), found.tests) == ({("latency_s", "qho")}, 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("threshold = 3", "threshold is 3"),
        ("[[thresholds]]", "unknown field 'thresholds'; did you mean 'threshold'"),
        ("false_alarms = 0.0", "greater than 0"),
        ("false_alarms = 0.5", "less than or equal to 0.05"),
        ("[[threshold]]\nmetric = 'latency_s'\nfactor = 1.1", "'threshold.0.reason' is missing"),
        ("[[threshold]]\nmetric = 'latency_s'\nfactor = 1.1\nreason = ' '", "the reason is empty"),
        (
            "[[threshold]]\nmetric = 'latency'\nfactor = 1.1\nreason = 'r'",
            "did you mean 'latency_s'",
        ),
        ("[[threshold]]\nmetric = 'latency_s'\nfactor = 0.9\nreason = 'r'", "equal to 1"),
        ("[[threshold]]\nmetric = 'latency_s'\nfactor = inf\nreason = 'r'", "a finite number"),
        ("[[threshold]]\nmetric = 'latency_s'\nmargin = 1.0\nreason = 'r'", "give a factor"),
        ("[[threshold]]\nmetric = 'regret'\nfactor = 1.5\nreason = 'r'", "give a margin"),
        ("[[threshold]]\nmetric = 'regret'\nreason = 'r'", "it changes nothing"),
        (
            "[[threshold]]\nmetric = 'regret'\nmargin = 1.0\nignore = true\nreason = 'r'",
            "has no limit",
        ),
        ("[[threshold]]\nmetric = []\nreason = 'r'", "at least 1"),
        ("[[threshold]]\nmetric = 'regret'\nfaktor = 2.0\nreason = 'r'", "did you mean 'factor'"),
        ("[[", "not valid TOML"),
    ],
)
def test_bad_thresholds_are_one_line(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(CoinferError) as error:
        thresholds(tmp_path, text)
    assert why in str(error.value)
    assert "\n" not in str(error.value)


def test_a_threshold_of_no_method_is_refused(tmp_path: Path) -> None:
    rule = "[[threshold]]\nmetric = 'regret'\nmethod = 'neurosurgoen'\nmargin = 1.0\nreason = 'r'"
    with pytest.raises(CoinferError, match="did you mean 'neurosurgeon'"):
        held(USUAL, USUAL, thresholds(tmp_path, rule))
    with pytest.raises(CoinferError, match="cannot read thresholds"):
        load_thresholds(tmp_path / "none.toml")


# Formats.

NASTY = "a|b,c:100%<i>\n`x` & \x1b[31m\"'"


def nasty() -> Comparison:
    old = [ok(at(NASTY), 1.0), ok(at("m", NASTY), 1.0), Outcome(at("s"), "skipped", NASTY)]
    new = [
        ok(at(NASTY), 2.0),
        Outcome(at("s"), "skipped", NASTY),
        Outcome(at("n"), "failed", NASTY),
    ]
    return held(old, new)


def test_text_has_a_line_for_each_finding() -> None:
    lines = formatted(nasty(), "text", "b.json", 20).splitlines()
    assert len(lines) == 1 + len(nasty().findings) + 1
    assert any("latency_s 1 -> 2 (x2)" in line for line in lines)
    assert all(line.isprintable() for line in lines)
    assert "and 1 more; --show 0 tells all" in formatted(nasty(), "text", "b.json", 3)


def test_github_gets_a_workflow_command_for_each_finding() -> None:
    text = formatted(nasty(), "github", "dir,b:.json", 1)
    lines = text.splitlines()
    assert len(lines) == len(nasty().findings) + 1
    form = re.compile(r"::(?:error|warning|notice) (?P<properties>[^:]*)::(?P<message>.*)")
    for line in lines[:-1]:
        found = form.fullmatch(line)
        assert found is not None
        names = [item.split("=")[0] for item in found["properties"].split(",")]
        assert names == ["file", "title"]
        assert found["properties"].startswith("file=dir%2Cb%3A.json,")
        assert not re.search(r"%(?!25|3A|2C)", found["properties"])
        assert not re.search(r"%(?!25)", found["message"])
    assert not lines[-1].startswith("::")


def test_github_is_told_the_line_of_the_baseline(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_baseline(path, side(USUAL))
    slow = changed(USUAL, "neurosurgeon", latency_s=1.0)
    found = compare(read_baseline(path), side(slow), Thresholds())
    first = formatted(found, "github", "b.json", 0).splitlines()[0]
    number = re.search(r"line=(\d+)", first)
    assert number is not None
    line = json.loads(path.read_text().splitlines()[int(number[1]) - 1].rstrip(","))
    assert (line["method"], line["link"]) == ("neurosurgeon", found.findings[0].cell.link)


def test_markdown_tables_hold_whatever_a_name_holds() -> None:
    lines = formatted(nasty(), "md", "b.json", 20).splitlines()
    assert lines[0] == "### coinfer gate: failed"
    rows = [re.split(r"(?<!\\)\|", line) for line in lines if line.startswith("| ")]
    assert {len(fields) for fields in rows} == {9}
    assert "<i>" not in "".join(lines)


def test_junit_is_xml_with_a_test_for_every_place() -> None:
    found = nasty()
    suite = ElementTree.fromstring(formatted(found, "junit", "b.json", 1))
    cases = suite.findall("testcase")
    assert (suite.get("tests"), len(cases)) == ("4", 4)
    assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure")) == 3
    assert int(suite.get("skipped", "")) == len(suite.findall("testcase/skipped")) == 1
    (slow,) = [case for case in cases if "100%" in str(case.get("classname"))]
    failure = slow.find("failure")
    assert failure is not None
    assert "latency_s 1 -> 2 (x2)" in str(failure.get("message")) + str(failure.text)


# The command.

METHOD = '''
"""A method that cuts where it is told."""
from dataclasses import dataclass
from typing import ClassVar

from coinfer.method import Method, MethodCard
from coinfer.plan import CutRef, Plan, Selection


@dataclass(frozen=True)
class Mine(Method):
    card: ClassVar[MethodCard] = MethodCard(
        name="NAME", title="Mine", idea="Cut where told.", reference="none",
        cuts=frozenset({"interior", "output"}), stochastic=STOCHASTIC,
    )

    def select(self, library, scenario, context):
        cut = context.cuts[CUT]
        BODY
        return Selection(Plan(context.task.model, CutRef(cut.index, cut.after)), evaluations=1)
'''
MATRIX = """
models = "alexnet"
devices = "raspberry-pi-3b+"
servers = "tesla-p100"
links = ["4g", "wifi"]
methods = ["all_local", "NAME"]
"""


class Project:
    """A user's folder: a matrix, a method that can be changed, a baseline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.baseline = folder / "baseline.json"
        self._methods = 0

    def method(
        self, name: str = "mine", cut: int = 3, body: str = "", stochastic: bool = False
    ) -> Path:
        """Write the method anew, in a file of another folder: a process loads a file once."""
        self._methods += 1
        path = self.folder / str(self._methods) / "method.py"
        path.parent.mkdir()
        text = METHOD.replace("NAME", name).replace("CUT", str(cut)).replace("BODY", body)
        path.write_text(text.replace("STOCHASTIC", str(stochastic)), encoding="utf-8")
        (self.folder / "matrix.toml").write_text(MATRIX.replace("NAME", name), encoding="utf-8")
        return path

    def gate(self, method: Path, *options: str, baseline: Path | None = None) -> int:
        """Run the command; return its exit code."""
        return coinfer(
            ["gate", str(self.folder / "matrix.toml"), "--method-file", str(method),
             "--baseline", str(baseline or self.baseline), *options]
        )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(runner, "make_engine", lambda *_: InProcess())
    return Project(tmp_path)


def test_a_slowed_a_removed_and_a_renamed_method_are_caught_and_a_harmless_change_is_not(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.gate(project.method(), "--update") == 0
    assert "4 cells to" in capsys.readouterr().err
    assert project.gate(project.method(body="# another comment")) == 0
    assert capsys.readouterr().out.startswith("nothing moved; 4 cells compared with ")

    before = project.baseline.read_bytes()
    assert project.gate(project.method(), "-o", str(project.baseline)) == 2
    assert "would replace the file of --baseline" in capsys.readouterr().err
    assert project.baseline.read_bytes() == before

    assert project.gate(project.method(cut=-1)) == 1
    told = capsys.readouterr().out
    assert re.search(r"regressed  latency_s [\d.]+ -> [\d.]+ \(x[\d.]+\)  mine: alexnet", told)
    assert "cut after " in told

    assert project.gate(project.method(name="other")) == 1
    assert "renamed? method 'other' has its values" in capsys.readouterr().out

    method = project.method()
    (project.folder / "matrix.toml").write_text(MATRIX.replace('"NAME"', '"all_server"'))
    assert project.gate(method) == 1
    told = capsys.readouterr().out
    assert "regressed  cell ok -> gone  mine: 2 places" in told
    assert "new        cell nothing -> ok  all_server: 2 places" in told

    assert project.gate(project.method(body='raise ArithmeticError("broken")')) == 1
    assert "status ok -> failed" in capsys.readouterr().out


def test_update_prints_the_diff_that_it_accepts(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.gate(project.method(), "--update")
    before = project.baseline.read_text()
    capsys.readouterr()
    assert project.gate(project.method(), "--update") == 0
    assert "nothing changed" in capsys.readouterr().out
    assert project.baseline.read_text() == before

    assert project.gate(project.method(cut=-1), "--update") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("6 regressed; 4 cells compared")
    assert [line[:10] for line in lines if line[0] in "+-"] == [
        '-{"model":',
        '-{"model":',
        '+{"model":',
        '+{"model":',
    ]
    after = project.baseline.read_text()
    assert [line[1:] for line in lines if line[0] == "+"] == [
        line for line in after.splitlines() if '"mine"' in line
    ]
    assert project.gate(project.method(cut=-1)) == 0


def test_a_failure_is_never_a_baseline(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = project.method(body='raise ArithmeticError("broken")')
    assert project.gate(broken, "--update") == 1
    assert "2 cells failed, and no failure is a baseline" in capsys.readouterr().err
    assert not project.baseline.exists()


def test_misuse_is_one_line_and_exit_code_2(
    project: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    method = project.method()

    def complaint(*options: str, baseline: Path | None = None) -> str:
        assert project.gate(method, *options, baseline=baseline) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    assert "no baseline" in complaint()
    assert "--update writes it" in complaint()
    foreign = tmp_path / "foreign.json"
    foreign.write_text('{"format": "something"}')
    assert "its format is 'something'" in complaint(baseline=foreign)
    assert "its format is 'something'" in complaint("--update", baseline=foreign)
    assert foreign.read_text() == '{"format": "something"}'
    assert "cannot read thresholds" in complaint("--update", "--thresholds", "none.toml")
    assert "--cell-timeout" in complaint("--update", "--cell-timeout", "-1")
    assert "unknown selections" in complaint("--update", "--selections", "none")
    assert not project.baseline.exists()
    assert coinfer(["gate", "--baseline", str(foreign)]) == 2
    assert "give a MATRIX" in capsys.readouterr().err
    assert coinfer(["gate", "--store", str(tmp_path / "no"), "--baseline", str(foreign)]) == 2
    assert coinfer(["gate", str(project.folder / "matrix.toml")]) == 2


def test_too_few_seeds_are_refused_before_there_is_a_baseline(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.gate(project.method(stochastic=True), "--update") == 2
    assert re.search(r"'mine' has 1 seed: .* needs 7 seeds or more", capsys.readouterr().err)
    assert not project.baseline.exists()


def test_a_store_is_compared_as_far_as_it_is_current(
    project: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store, method = tmp_path / "results.sqlite", project.method()
    assert project.gate(method, "--update", "--store", str(store)) == 0
    with Store.open(store, readonly=True) as opened:
        assert opened.count() == 4

    def gate(method: Path) -> int:
        return coinfer(
            ["gate", "--store", str(store), "--baseline", str(project.baseline),
             "--method-file", str(method), "--format", "md", "-o", str(tmp_path / "told.md")]
        )  # fmt: skip

    assert gate(method) == 0
    assert (tmp_path / "told.md").read_text().startswith("### coinfer gate: passed")
    capsys.readouterr()
    # Other code: what the store has of it decides nothing.
    assert gate(project.method(cut=-1)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        "left out: 2 of the store's cells: computed by other code; changed since:" in captured.err
    )
    assert "gone" in (tmp_path / "told.md").read_text()


# What ships.


def test_the_shipped_baseline_is_of_the_shipped_matrix() -> None:
    path = ROOT / "benchmarks" / "baselines" / "gate.json"
    shipped = read_baseline(path)
    assert set(shipped.outcomes) == set(expand(load("gate"), Catalog()))
    assert text_of(shipped) == path.read_text(encoding="utf-8")
    assert {one.status for one in shipped.outcomes.values()} <= {"ok", "infeasible", "skipped"}
    assert not compare(shipped, shipped, Thresholds()).findings


def simulated() -> tuple[list[dict[str, str]], dict[str, object]]:
    folder = ROOT / "benchmarks" / "simulations"
    with (folder / "gate.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((folder / "gate.json").read_text(encoding="utf-8"))


def test_the_published_simulation_keeps_what_is_promised() -> None:
    rows, origin = simulated()
    assert [(r["change"], float(r["spread"]), int(r["seeds"]), int(r["trials"])) for r in rows] == [
        (s.change, s.spread, s.seeds, s.trials) for s in gate_simulation.SCENARIOS
    ]
    assert origin["selections_hash"] == shipped_selections("fig7").hash
    assert origin["false_alarms"] == FALSE_ALARMS
    assert set(origin["versions"]) == set(package_versions())  # type: ignore[call-overload]
    for one in rows:
        low, high = gate_simulation.interval(int(one["found"]), int(one["trials"]))
        assert (float(one["low"]), float(one["high"])) == pytest.approx((low, high))
        if one["change"] == "none":
            assert high < 0.01
        elif one["spread"] == "1" and one["change"] == "one method":
            assert low > 0.9
        elif one["spread"] == "1" and one["seeds"] == "40":
            assert float(one["share"]) > 0.9


def test_the_readme_says_what_was_simulated() -> None:
    rows, _ = simulated()
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    noisy = {(r["change"], r["spread"], r["seeds"]): float(r["share"]) for r in rows}
    told = [f"{noisy['one place', '1', seeds]:.0%}" for seeds in ("10", "20", "40")]
    found = "it is found in {} with ten seeds, {} with twenty and {} with forty".format(*told)
    assert found.replace("%", " %") in readme
    told = [f"{noisy['one place', '4', seeds]:.0%}" for seeds in ("10", "20")]
    found = "with four times the spread in {} with ten and {} with twenty".format(*told)
    assert found.replace("%", " %") in readme
    assert noisy["one method", "1", "10"] == 1
    found = f"with four times the spread {noisy['one method', '4', '10']:.0%} did"
    assert found.replace("%", " %") in readme
    assert {share for (change, _, _), share in noisy.items() if change == "none"} == {0}


@pytest.mark.parametrize("number", range(len(gate_simulation.SCENARIOS)))
def test_a_reduced_simulation_agrees_with_the_published_one(number: int) -> None:
    rows, _ = simulated()
    scenario = replace(gate_simulation.SCENARIOS[number], trials=20)
    places = gate_simulation.places_of(shipped_selections("fig7"))
    found = gate_simulation.simulate(scenario, places, seed=1)
    low, high = gate_simulation.interval(found, scenario.trials, confidence=0.999)
    published = rows[number]
    assert low <= float(published["high"])
    assert high >= float(published["low"])


def test_the_simulation_is_repeatable_and_would_see_a_gate_without_a_test() -> None:
    places = gate_simulation.places_of(shipped_selections("fig7"))[:20]
    noisy = gate_simulation.Scenario("none", 16, 10, 5)
    found = [gate_simulation.simulate(noisy, places, seed=3) for _ in range(2)]
    assert found == [0, 0]
    medians_alone = Thresholds((Rule(("latency_s",), ("*",), 0.1, False, False, "test"),))
    assert gate_simulation.simulate(noisy, places, 3, medians_alone) == noisy.trials


# The action that a user copies.

ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
# Stands for the command and for Python: it notes what it is asked, and ends as it is told.
STUB = '#!/bin/sh\nprintf "%s\\n" "$(basename "$0")" "$@" "" >> "$NOTES"\nexit "$ENDS"\n'


class Runner:
    """A machine of GitHub, as far as the action sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.stub("python")

    def stub(self, name: str) -> None:
        """Put a stub on the path."""
        path = self.bin / name
        path.write_text(STUB)
        path.chmod(0o755)

    def step(self, name: str, ends: int = 0, **inputs: str) -> tuple[int, list[list[str]], str]:
        """Run a step; return its exit code, the commands that it gave, and what it printed."""
        (step,) = [one for one in ACTION["runs"]["steps"] if one.get("name") == name]
        values = {key: one.get("default", "") for key, one in ACTION["inputs"].items()} | inputs
        env = {
            key: values[re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", text)[1]]  # type: ignore[index]
            for key, text in step["env"].items()
        }
        notes = self.folder / "notes"
        notes.unlink(missing_ok=True)
        assert step["shell"] == "bash"
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.folder,
            env=env
            | {
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "NOTES": str(notes),
                "ENDS": str(ends),
                "RUNNER_TEMP": "temp",
                "GITHUB_STEP_SUMMARY": "summary.md",
                "GITHUB_ACTION_PATH": str(self.folder / "action"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        noted = notes.read_text().split("\n\n") if notes.exists() else []
        return done.returncode, [one.split("\n") for one in noted if one], done.stdout


def test_the_action_compares_and_fails_as_the_gate_does(tmp_path: Path) -> None:
    machine = Runner(tmp_path)
    machine.stub("coinfer")
    asked = {
        "matrix": "my matrix.toml",
        "baseline": "$(touch no).json",
        "method-file": "a.py\nb c.py\n",
        "thresholds": "t.toml",
        "junit": "out.xml",
    }
    for ends in (0, 1, 2):
        code, commands, _ = machine.step("Compare with the baseline", ends, **asked)
        assert code == ends
        assert [one[one.index("--format") + 1] for one in commands] == ["md", "junit", "github"]
    for name, command, *arguments in commands:
        assert (name, command) == ("coinfer", "gate")
        context = gate.make_context("gate", arguments)
        assert context.params["matrix"] == "my matrix.toml"
        assert context.params["baseline"] == Path("$(touch no).json")
        assert context.params["method_files"] == ("a.py", "b c.py")
        assert context.params["thresholds"] == Path("t.toml")
    assert not (tmp_path / "no").exists()
    _, commands, _ = machine.step("Compare with the baseline", matrix="m", baseline="b.json")
    assert [len(one) for one in commands] == [9, 9]


def test_the_action_installs_what_it_is_told_or_its_own_checkout(tmp_path: Path) -> None:
    machine = Runner(tmp_path)
    name = "Install coinfer"
    pip = ["python", "-m", "pip", "install"]
    assert machine.step(name, install="coinfer >= 0.1")[1] == [[*pip, "coinfer >= 0.1"]]
    code, commands, told = machine.step(name)
    assert (code, commands) == (2, [])
    assert told.startswith("::error::coinfer is not installed")
    machine.stub("coinfer")
    assert machine.step(name)[:2] == (0, [])
    (tmp_path / "action").mkdir()
    (tmp_path / "action" / "pyproject.toml").touch()
    assert machine.step(name)[1] == [[*pip, str(tmp_path / "action")]]


def test_the_readme_uses_inputs_that_the_action_has() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    (job,) = yaml.safe_load(example)["jobs"].values()
    given = job["steps"][-1]["with"]
    assert set(given) <= set(ACTION["inputs"])
    required = {name for name, one in ACTION["inputs"].items() if one.get("required")}
    assert required <= set(given)
