"""Figs. 7, 8 and 11: what a sweep's rows say of medians, gains and floors, and how it is drawn."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.catalog import Catalog
from benchmarks.cells import LATENCY_PARTS, Cell, Result
from benchmarks.matrix import expand, load
from benchmarks.rows import Row
from coinfer.errors import CoinferError, UnknownNameError
from reproduce import collect, rate_figures
from reproduce.claims import SweepMeasure, papers
from reproduce.cli import scorecard
from reproduce.draw import house_style
from reproduce.facts import Facts, Gap, case_of
from reproduce.figures import figure, figures
from reproduce.findings import answer
from reproduce.present import as_data, as_text
from reproduce.rates import Point, Verified, panel, point, standing, sweep_of
from reproduce.regret import best_known, regret
from reproduce.scorecard import Judged, judge
from reproduce.style import METHOD_STYLES, method_style

CLAIMS = {claim.id: claim for claim in papers()["Q"].claims}
CELLS = {name: expand(load(name), Catalog()) for name in ("fig7", "fig11")}
PI, TK1 = "raspberry-pi-3b+", "jetson-tk1"
WHOLE = ("all_local", "all_server", "neurosurgeon")

# Latency of a cell in seconds: None where there is no plan.
Seconds = Callable[[Cell], float | None]


def rate_mbps(cell: Cell) -> float:
    """Uplink rate of a cell of fig7."""
    return float(cell.link.partition("=")[2].rstrip("]")) / 1e6


def row(cell: Cell, total_s: float | None, **result: Any) -> Row:
    """A row of a cell; of methods that change the network, the plan's accuracy is predicted."""
    if total_s is None:
        return Row(cell, Result("infeasible", reason="no plan within 0.02"), {})
    plan: dict[str, Any] = {"model": cell.model, "cut": {"index": 3, "after": "features.2"}}
    known: dict[str, Any] = {}
    time = {**dict.fromkeys(LATENCY_PARTS, 0.0), "device_s": total_s, "total_s": total_s}
    if cell.method not in WHOLE:
        plan["keep"] = [["features.0", 9]]
        known["predicted_accuracy"] = 0.8 + cell.seed / 1000
    return Row(
        cell,
        Result(
            "ok",
            plan=plan,
            evidence={"latency": "analytic"},
            **{"plan_hash": f"{cell.method}-{cell.seed}", "latency": time, **known, **result},
        ),
        {},
    )


def swept(name: str, seconds: Seconds) -> list[Row]:
    """A row of every cell of a matrix."""
    return [row(cell, seconds(cell)) for cell in CELLS[name]]


def by_method(**seconds: float) -> Seconds:
    """The same latency everywhere, by method, 9 where none is given; seeds one percent apart."""

    def of(cell: Cell) -> float:
        return seconds.get(cell.method.rstrip("+"), 9.0) * (1 + cell.seed / 100)

    return of


def the_point(rows: Iterable[Row], method: str, x: float, device: str = PI) -> Point:
    """One point of fig7."""
    sweep = sweep_of("fig7")
    place = next(place for place in sweep.places if place.x == x)
    return point(Facts.of(rows), sweep, device, place, method)


def judged(identity: str, rows: Iterable[Row], **fields: Any) -> Judged:
    """Judge a claim of the file."""
    return judge(replace(CLAIMS[identity], **fields), Facts.of(rows))


# One point: its median, its band, its standing.


def at(method: str, x: float, seconds: Sequence[float | None]) -> list[Row]:
    """Rows of one point of fig7 on the RPi 3B+, one latency per seed."""
    cells = [
        cell
        for cell in CELLS["fig7"]
        if (cell.method, cell.device, rate_mbps(cell)) == (method, PI, x)
    ]
    return [row(cell, s) for cell, s in zip(cells, seconds, strict=False)]


def test_the_median_is_that_of_a_seed_and_of_two_the_slower() -> None:
    found = the_point(at("qho", 1.0, [10, 1, 9, 2, 8, 3, 7, 4, 6, 5]), "qho", 1.0)
    assert found.median_s == 6.0
    assert found.quartiles_s == (3.0, 8.0)
    assert found.median is not None
    assert (found.median.cell.seed, found.answered, found.asked) == (8, 10, 10)


def test_of_an_odd_number_it_is_the_middle_one() -> None:
    found = the_point(at("qho", 1.0, [3, 1, 2]), "qho", 1.0)
    assert (found.median_s, found.quartiles_s) == (2.0, (1.0, 3.0))


def test_equal_latencies_go_to_the_lowest_seed() -> None:
    rows = at("qho", 1.0, [1.0] * 10)
    for order in (rows, rows[::-1]):
        median = the_point(order, "qho", 1.0).median
        assert median is not None
        assert median.cell.seed == 5


def test_a_method_without_seeds_is_its_own_median() -> None:
    found = the_point(at("all_local", 1.0, [2.0]), "all_local", 1.0)
    assert (found.median_s, found.quartiles_s, found.asked) == (2.0, (2.0, 2.0), 1)


def test_seeds_without_a_plan_are_slower_than_all_others() -> None:
    found = the_point(at("qho", 1.0, [None, 1, None, 2, None, 3, 4, 5, 6, 7]), "qho", 1.0)
    assert (found.median_s, found.quartiles_s, found.answered) == (6.0, (3.0, math.inf), 7)
    most = the_point(at("qho", 1.0, [None] * 5 + [1.0] * 5), "qho", 1.0)
    assert most.median is None
    assert math.isnan(most.median_s)
    assert most.told == "infeasible: no plan within 0.02"
    assert most.gap is not None
    assert "qho on raspberry-pi-3b+ over rate[rate_bps=1000000.0] infeasible" in most.gap.reason


@pytest.mark.parametrize(
    ("changed", "expected", "evidence"),
    [
        ({}, "predicted", "analytic, predicted"),
        ({"measured_accuracy": 0.8, "floor_held": "held"}, "held", "analytic, measured"),
        ({"measured_accuracy": 0.8, "floor_held": "broken"}, "broken", "analytic, measured"),
        ({"measured_accuracy": 0.8, "floor_held": "undecided"}, "undecided", "analytic, measured"),
        ({"measured_accuracy": 0.8}, "undecided", "analytic, measured"),
        ({"plan": {"model": "m", "keep": []}}, "unchanged", "analytic"),
        ({"plan": {"model": "m", "codec": "identity"}}, "unchanged", "analytic"),
        ({"plan": {"model": "m", "codec": "linear[width=2]"}}, "predicted", "analytic, predicted"),
    ],
)
def test_what_is_known_of_a_plans_accuracy(
    changed: dict[str, Any], expected: str, evidence: str
) -> None:
    rows = at("qho", 1.0, [1.0] * 10)
    rows = [replace(one, result=replace(one.result, **changed)) for one in rows]
    assert {standing(one) for one in rows} == {expected}
    found = the_point(rows, "qho", 1.0)
    assert (found.standing, found.evidence) == (expected, evidence)


def test_the_verified_share_counts_plans_that_change_their_network() -> None:
    def known(cell: Cell) -> dict[str, Any]:
        # FPGM shows one plan at every rate.
        own = {} if cell.method == "fpgm" else {"plan_hash": f"{cell.method} at {cell.link}"}
        if cell.method in WHOLE or (rate_mbps(cell) != 1.0 and cell.method != "fpgm"):
            return own
        verdict = {"qho": "broken", "fpgm": "undecided"}.get(cell.method, "held")
        return {"measured_accuracy": 0.7, "floor_held": verdict, **own}

    rows = [row(cell, 1.0, **known(cell)) for cell in CELLS["fig7"]]
    found = Verified.of(panel(Facts.of(rows), sweep_of("fig7"), PI))
    # 25 rates, 3 methods that leave the network whole and 6 that do not, one of them with one plan.
    assert (found.measured, found.changed, found.unchanged_points) == (6, 126, 75)
    assert (found.measured_points, found.points) == (30, 150)
    assert (found.broken, found.undecided) == (1, 1)
    assert found.text == (
        "verified 6 of 126 plans that change their network (5 %; 30 of the 150 points that show "
        "them), floor 1 broken and 1 undecided, the others predicted"
    )
    each = [replace(one, result=replace(one.result, plan_hash=one.key)) for one in rows]
    told = Verified.of(panel(Facts.of(each), sweep_of("fig7"), PI)).text
    assert "points" not in told


# Rows by seed: beside the one answer that other claims need.


def test_seeds_may_differ_where_they_are_asked_for_and_nowhere_else() -> None:
    rows = at("qho", 1.0, [2.0, 1.0, 3.0])
    facts, case = Facts.of(rows[::-1]), case_of(rows[0].cell)
    found = facts.rows_of(case, "qho")
    assert not isinstance(found, Gap)
    assert [one.cell.seed for one in found] == [0, 1, 2]
    ambiguous = facts.row(case, "qho")
    assert isinstance(ambiguous, Gap)
    assert "3 different answers" in ambiguous.reason


def test_one_seed_that_answers_twice_decides_nothing_and_floors_stay_apart() -> None:
    (one,) = at("qho", 1.0, [2.0])
    case = case_of(one.cell)
    again = row(one.cell, 3.0)
    told = Facts.of([one, again]).rows_of(case, "qho")
    assert isinstance(told, Gap)
    assert "different answers for seed 0" in told.reason
    assert Facts.of([one, one]).rows_of(case, "qho") == (one,)
    # Another floor is another question.
    other = row(replace(one.cell, seed=1, max_accuracy_loss=0.05), 2.0)
    both = Facts.of([one, other])
    assert both.rows_of(case, "qho") == (one,)
    assert both.rows_of(case_of(other.cell), "qho") == (other,)


def test_the_snr_of_a_radio_is_part_of_the_case() -> None:
    rows = swept("fig11", lambda cell: 1.0 + (cell.snr_db or 0.0))
    sweep, facts = sweep_of("fig11"), Facts.of(rows)
    found = [point(facts, sweep, PI, place, "all_local") for place in sweep.places]
    assert [one.x for one in found] == [5.0 * i for i in range(11)]
    assert [one.median_s for one in found] == [1.0 + 5.0 * i for i in range(11)]


# What the rows decide.


def test_gains_are_over_the_second_best_and_the_worst_at_the_same_rate() -> None:
    # QHO's median is 1.05 (seeds 1.00 to 1.09), Prune_Partition's 2.1.
    rows = swept("fig7", by_method(qho=1.0, prune_partition=2.0, fpgm=2.31, all_server=42.0))
    second, last = judged("Q-f7b.1", rows), judged("Q-f7b.3", rows)
    assert second.ours == pytest.approx(2.0)
    assert last.ours == pytest.approx(40.0)
    assert {used.slow for used in second.used} == {"prune_partition"}
    assert {used.slow for used in last.used} == {"all_server"}
    assert len(second.used) == 25
    assert second.evidence == "analytic, predicted"
    # Each number names the rows of the two median seeds.
    fact = the_point(rows, "qho", 1.0, TK1).median, the_point(rows, "prune_partition", 1.0, TK1)
    used = next(used for used in second.used if used.place == "1 Mb/s")
    assert used.rows == (fact[1].median.key, fact[0].key)  # type: ignore[union-attr]


def test_the_extremes_are_taken_over_the_rates() -> None:
    def seconds(cell: Cell) -> float:
        slow = {0.01: 6.0, 100.0: 3.0}.get(rate_mbps(cell), 4.0)
        return 1.0 if cell.method == "qho" else slow

    rows = swept("fig7", seconds)
    assert judged("Q-f7b.1", rows).ours == 3.0
    found = judged("Q-f7b.2", rows)
    assert found.ours == 6.0
    assert found.verdict == "deviates"
    assert "at 0.01 Mb/s (6.00x)" in found.cause
    assert "32x32 variant of the paper's AlexNet" in found.cause
    told = judged("Q-f7b.2", rows, theirs=4.0).cause
    assert "; without the point at 0.01 Mb/s it is 4.00x, within the tolerance" in told


def test_a_rival_that_is_faster_makes_a_gain_below_one() -> None:
    rows = swept("fig7", by_method(qho=1.0, fpgm=0.5))
    assert judged("Q-f7b.1", rows).ours == pytest.approx(0.5 / 1.05)


def test_rates_at_which_all_server_is_the_fastest_are_left_out_and_counted() -> None:
    def seconds(cell: Cell) -> float:
        if cell.method == "all_server":
            return 100.0 / (10 * rate_mbps(cell))  # 1 s at 10 Mb/s, as QHO everywhere
        return 1.0 if cell.method == "qho" else 5.0

    rows = swept("fig7", seconds)
    slowest, least = judged("Q-f7a.4", rows), judged("Q-f7a.1", rows)
    kept = [x for x in (place.x for place in sweep_of("fig7").places) if x < 10.0]
    assert len(least.used) == len(kept) == 18
    assert slowest.ours == pytest.approx(1000.0)
    # At 10 Mb/s both take 1 s, and All_Server is not slower: the least gain is the one before.
    assert least.ours == pytest.approx(10.0 / kept[-1])
    assert "18 rates from 0.01 to 6.81 Mb/s (7 left out, where All_Server is the fastest)" in (
        least.conditions
    )
    # On the TK1 the paper makes no such exception.
    assert len(judged("Q-f7b.1", rows).used) == 25
    everywhere = swept("fig7", by_method(all_server=0.1))
    assert judged("Q-f7a.1", everywhere).verdict == "pending"
    assert judged("Q-f7a.1", everywhere).cause == "all_server is the fastest at every point"


def test_orderings_hold_only_against_every_method_named() -> None:
    fast = swept("fig7", by_method(all_server=1.0))
    assert judged("Q-f7a.5", fast).verdict == "ordering holds"
    assert {used.place for used in judged("Q-f7a.5", fast).used} == {"100 Mb/s"}
    assert len(judged("Q-f7a.5", fast).used) == 8
    lost = judged("Q-f7a.5", swept("fig7", by_method(all_server=1.0, fpgm=0.9)))
    assert lost.verdict == "deviates"
    assert "broken by fpgm / all_server at 100 Mb/s (0.900x)" in lost.cause
    coded = swept("fig7", lambda cell: 1.0 if cell.method in ("qho", "bottlenet++") else 2.0)
    found = judged("Q-f7a.6", coded)
    assert (found.verdict, len(found.used)) == ("ordering holds", 12)
    assert {used.place for used in found.used} == {"0.01 Mb/s"}
    assert judged("Q-f7a.7", coded).verdict == "deviates"  # as fast as BottleNet++, not faster


def test_of_many_broken_points_the_worst_are_named() -> None:
    rows = swept("fig11", by_method(qho=1.0, fpgm=0.5, all_local=0.1))
    cause = judged("Q-f11.7", rows).cause
    assert cause.count("all_local / qho") == 5
    assert "and 17 more; holds in the other 66 of 88" in cause


def test_spreads_over_the_snr() -> None:
    def seconds(cell: Cell) -> float:
        snr_db = cell.snr_db or 0.0
        return {"all_local": 1.0, "qho": 2.0 - snr_db / 100, "bottlenet++": 3.0}.get(
            cell.method, 5.0 - snr_db / 20
        )

    rows = swept("fig11", seconds)
    flat = judged("Q-f11.5", rows)
    assert (flat.ours, flat.verdict) == (1.0, "reproduced")
    steady = judged("Q-f11.6", rows)
    # 5 / 2.5 over 2 / 1.5 for QHO, over 1 for BottleNet++; three methods that only prune.
    assert steady.verdict == "ordering holds"
    assert sorted({round(used.value, 9) for used in steady.used}) == [1.5, 2.0]
    assert len(steady.used) == 6
    wavering = swept("fig11", lambda cell: 1.0 + (cell.snr_db == 20.0) / 1000)
    assert judged("Q-f11.5", wavering).verdict == "deviates"


def test_who_chose_the_same_plan_is_neither_ahead_nor_behind() -> None:
    def cia(cell: Cell) -> dict[str, Any]:
        return {"plan_hash": "all_server-0"} if cell.method == "cia" else {}

    def seconds(cell: Cell) -> float:
        return 1.0 if cell.method in ("all_server", "cia") else 9.0

    rows = [row(cell, seconds(cell), **cia(cell)) for cell in CELLS["fig7"]]
    found = judged("Q-f7a.5", rows)
    assert found.verdict == "ordering holds"
    assert len(found.used) == 7
    assert "CIA not compared where it chose that plan" in found.conditions
    # A search that ends at All_Server's plan is not ahead of it.
    assert judged("Q-f7a.5", rows, fast=("cia",), slow=("all_server",)).verdict == "deviates"
    # Another plan that is as fast is a tie, and a tie is not ahead.
    assert judged("Q-f7a.5", swept("fig7", seconds)).verdict == "deviates"


def test_conditions_name_network_rules_seeds_methods_and_what_was_verified() -> None:
    rows = swept("fig7", by_method(qho=1.0))
    told = judged("Q-f7b.1", rows).conditions
    for part in (
        "alexnet-cifar (the paper's is AlexNet)",
        "convention qho2024",
        "25 rates from 0.01 to 100 Mb/s",
        "median of 10 seeds",
        "among 9 methods",
        "verified 0 of 6 plans that change their network (0 %; 0 of the 150 points",
        "95 % interval over the seeds",
    ):
        assert part in told, part
    assert "radio of 1 MHz" in judged("Q-f11.1", swept("fig11", by_method())).conditions


def test_methods_that_cannot_answer_are_told_and_nobodys_rivals() -> None:
    def answered(cell: Cell) -> Row:
        if cell.method in ("fpgm", "bottlenet++"):
            return Row(cell, Result("skipped", reason="no measured plans; `coinfer sweep`"), {})
        return row(cell, by_method(qho=1.0, all_local=3.15)(cell))

    rows = [answered(cell) for cell in CELLS["fig7"]]
    found = judged("Q-f7b.1", rows)
    assert found.ours == pytest.approx(3.0)
    assert (
        "among 7 methods, no answer of FPGM, BottleNet++ "
        "(skipped: no measured plans; `coinfer sweep`)"
    ) in found.conditions
    # A claim about such a method is undecided, with its reason.
    about = replace(CLAIMS["Q-f7b.1"], fast=("fpgm",))
    assert judge(about, Facts.of(rows)).verdict == "pending"
    assert "no measured plans; `coinfer sweep`" in judge(about, Facts.of(rows)).cause


@pytest.mark.parametrize("method", ["qho", "fpgm"])
def test_rows_that_are_not_there_make_a_claim_pending_with_the_command(method: str) -> None:
    rows = [
        one
        for one in swept("fig7", by_method(qho=1.0))
        if (one.cell.method, one.cell.device, rate_mbps(one.cell)) != (method, TK1, 1.0)
    ]
    found = judged("Q-f7b.1", rows)
    assert found.verdict == "pending"
    assert found.cause == (
        f"no row for {method} on jetson-tk1 over rate[rate_bps=1000000.0] "
        "(`coinfer run fig7 --store FILE --selections fig7` computes it)"
    )
    assert judged("Q-f7a.1", rows).verdict != "pending"


def test_missing_seeds_make_a_claim_pending_with_the_command() -> None:
    rows = [
        one
        for one in swept("fig7", by_method(qho=1.0))
        if not (one.cell.method == "qho" and one.cell.seed > 6)
    ]
    found = judged("Q-f7b.1", rows)
    assert (found.verdict, found.cause) == (
        "pending",
        "qho at 0.01 Mb/s has rows of 7 of 10 seeds (`coinfer run fig7 --store FILE --selections "
        "fig7` computes the others)",
    )


def test_the_interval_is_over_seeds_alone() -> None:
    same = swept("fig7", lambda cell: 1.0 if cell.method == "qho" else 2.0)
    assert "95 % interval over the seeds 2.00x to 2.00x" in judged("Q-f7b.1", same).conditions
    apart = judged("Q-f7b.1", swept("fig7", lambda cell: 1.0 + cell.seed / 10)).conditions
    assert "95 % interval over the seeds" in apart
    assert apart == judged("Q-f7b.1", swept("fig7", lambda cell: 1.0 + cell.seed / 10)).conditions
    # An ordering has no number, so none with an interval.
    assert "interval" not in judged("Q-f7a.5", same).conditions


def test_conditions_that_claims_share_are_told_once() -> None:
    facts = Facts.of(swept("fig7", by_method(qho=1.0)))
    four = [judge(CLAIMS[f"Q-f7b.{i}"], facts) for i in range(1, 5)]
    text = as_text(four, [], 200)
    assert text.count("the paper's is AlexNet") == 1
    assert text.count("95 % interval over the seeds") == 2  # over second best, and over worst
    data = as_data(four, [])["claims"]
    assert all("the paper's is AlexNet" in one["conditions"] for one in data)


def test_an_unknown_measure_and_device_are_refused() -> None:
    facts = Facts.of([])
    for asked, told in (
        (SweepMeasure("wurst", PI), "unknown measure of a sweep 'wurst'; did you mean 'worst'"),
        (SweepMeasure("worst", "jetson"), "unknown device of the sweep 'jetson'"),
    ):
        with pytest.raises(UnknownNameError, match=told):
            judge(replace(CLAIMS["Q-f7b.1"], sweep=asked), facts)


def test_a_matrix_that_is_no_sweep_is_refused() -> None:
    with pytest.raises(CoinferError, match="matrix 'demo' has several of axis 'model'"):
        sweep_of("demo")


# The figure and its data.


def write(rows: Iterable[Row], folder: Path, name: str = "fig7") -> list[Path]:
    folder.mkdir(exist_ok=True)
    return figure(name).write(Facts.of(rows), folder)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = swept("fig7", lambda cell: (1 + cell.seed / 50) * (0.1 + 1 / rate_mbps(cell)))
    written = write(rows, tmp_path / "first")
    write(rows[::-1], tmp_path / "second")
    assert {path.suffix for path in written} == {".svg", ".pdf", ".png", ".csv"}
    for path in written:
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def records(rows: Iterable[Row], name: str = "fig7") -> list[dict[str, str]]:
    sweep = sweep_of(name)
    text = rate_figures.csv_text(sweep, rate_figures.points(Facts.of(rows), sweep))
    return list(csv.DictReader(text.splitlines()))


def test_the_data_have_a_line_per_panel_place_and_method() -> None:
    measured = {"measured_accuracy": 0.79, "floor_held": "held"}
    rows = [
        row(cell, 1.0 + cell.seed, **(measured if cell.method == "qho" else {}))
        for cell in CELLS["fig7"]
    ]
    found = records(rows)
    assert len(found) == 2 * 25 * 9
    assert [one["panel"] for one in found] == ["a"] * 225 + ["b"] * 225
    one = next(r for r in found if (r["panel"], r["rate_mbps"], r["method"]) == ("b", "1.0", "qho"))
    wanted = {
        "model": "alexnet-cifar", "device": TK1, "convention": "qho2024", "snr_db": "",
        "label": "QHO", "status": "ok", "seeds_asked": "10", "seeds": "10", "median_s": "6.0",
        "q1_s": "3.0", "q3_s": "8.0", "median_seed": "5", "plan_hash": "qho-5", "cut_index": "3",
        "cut_after": "features.2", "predicted_accuracy": "0.805",
        "predicted_accuracy_median": "0.805", "measured_accuracy": "0.79", "floor_held": "held",
        "accuracy_standing": "held", "latency_evidence": "analytic",
    }  # fmt: skip
    assert {name: one[name] for name in wanted} == wanted
    keys = one["keys"].split()
    assert len(set(keys)) == 10
    assert keys[5] == one["key"]
    whole = next(r for r in found if r["method"] == "all_server")
    assert (whole["predicted_accuracy"], whole["accuracy_standing"]) == ("", "unchanged")


def test_what_has_no_result_is_in_the_data_and_in_the_footnote() -> None:
    rows = [
        Row(cell, Result("skipped", reason="no \x1b[2Jtable; `coinfer sweep`"), {})
        if cell.method == "fpgm"
        else row(cell, None if cell.method == "qho" and rate_mbps(cell) == 1.0 else 1.0)
        for cell in CELLS["fig7"]
        if cell.method != "bottlenet++"
    ]
    rows = [one for one in rows if not (one.cell.method == "prune_partition" and one.cell.seed)]
    found = records(rows)
    told = {(one["method"], one["status"]) for one in found if one["status"] != "ok"}
    assert told == {
        ("fpgm", "skipped: no \\x1b[2Jtable; `coinfer sweep`"), ("bottlenet++", "no row"),
        ("qho", "infeasible: no plan within 0.02"),
    }  # fmt: skip
    assert all(one["median_s"] == one["key"] == "" for one in found if one["method"] == "fpgm")
    sweep = sweep_of("fig7")
    note = " ".join(rate_figures.footnote(sweep, rate_figures.points(Facts.of(rows), sweep), "f"))
    assert "No result: FPGM: skipped: no \\x1b[2Jtable; `coinfer sweep`." in note
    command = "`coinfer run fig7 --store FILE --selections fig7`"
    assert f"BottleNet++: no row ({command} computes it)." in note
    assert "QHO at 2 of 50 points: infeasible: no plan within 0.02." in note
    assert "Incomplete: Prune_Partition, not all of 10 seeds at 50 points" in note
    assert "not here" not in note
    fewer = replace(sweep, methods=tuple(name for name in sweep.methods if name != "cia"))
    note = " ".join(rate_figures.footnote(fewer, rate_figures.points(Facts.of(rows), fewer), "f"))
    assert "Of the paper's methods, not here: CIA." in note


def test_the_footnote_names_network_rules_evidence_and_the_hash_of_the_data() -> None:
    for name in ("fig7", "fig11"):
        sweep, facts = sweep_of(name), Facts.of(swept(name, by_method()))
        panels = rate_figures.points(facts, sweep)
        note = " ".join(rate_figures.footnote(sweep, panels, name))
        digest = hashlib.sha256(rate_figures.csv_text(sweep, panels).encode()).hexdigest()
        assert digest[:12] in note
        assert "alexnet-cifar (the paper's is AlexNet), server Tesla P100, convention qho" in note
        assert "verified 0 of" in note
        assert ("1 MHz is our choice" in note) == (name == "fig11")


def drawn(rows: Iterable[Row], name: str = "fig7"):  # type: ignore[no-untyped-def]
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    sweep = sweep_of(name)
    with house_style():
        figure = rate_figures.draw(sweep, rate_figures.points(Facts.of(rows), sweep), name)
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    return figure


def test_axes_are_as_the_papers_and_markers_tell_what_was_measured() -> None:
    def known(cell: Cell) -> dict[str, Any]:
        verdicts = {0.01: "held", 1.0: "broken", 100.0: "undecided"}
        verdict = verdicts.get(rate_mbps(cell), "")
        return {"measured_accuracy": 0.7, "floor_held": verdict} if verdict else {}

    rows = [row(cell, 1 + cell.seed, **known(cell)) for cell in CELLS["fig7"]]
    left, _ = drawn(rows).axes
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    assert left.get_xlabel() == "Uplink rate (Mb/s), log scale"
    markers = [line for line in left.lines if line.get_marker() == METHOD_STYLES["qho"].marker]
    shown = {
        tuple(line.get_xdata()): (line.get_fillstyle(), line.get_markerfacecolor())
        for line in markers
    }
    black = METHOD_STYLES["qho"].ink
    assert shown[0.01,] == ("full", black)
    assert shown[100.0,] == ("left", black)
    assert shown[1.0,] == ("full", "white")
    assert sorted(map(len, shown)) == [1, 1, 1, 22]
    crosses = [line for line in left.lines if line.get_marker() == "x"]
    assert len(crosses) == 6  # one for each method that changes the network
    assert {tuple(line.get_xdata()) for line in crosses} == {(1.0,)}
    # The bands of Prune_Partition, CIA and QHO, from the lower to the upper quartile.
    assert len(left.collections) == 3
    assert left.collections[0].get_paths()[0].get_extents().y0 == 3.0
    assert left.collections[0].get_paths()[0].get_extents().y1 == 8.0


def test_the_snr_is_on_a_linear_axis() -> None:
    (axis,) = drawn(swept("fig11", by_method(qho=1.0)), "fig11").axes
    assert (axis.get_xscale(), axis.get_yscale()) == ("linear", "log")
    assert axis.get_xlabel() == "SNR (dB)"


def test_no_text_lies_over_another() -> None:
    half = [
        Row(cell, Result("skipped", reason="no measured plans of it at all; " * 9), {})
        if cell.method not in WHOLE
        else row(cell, 1 / rate_mbps(cell))
        for cell in CELLS["fig7"]
    ]
    for rows in (swept("fig7", lambda cell: 1 / rate_mbps(cell)), half, []):
        figure = drawn(rows)
        texts = [text for text in figure.texts if text.get_text()]
        for axis in figure.axes:
            low, high = axis.get_xlim()
            ticks = [
                text for text in axis.get_xticklabels() if low <= text.get_position()[0] <= high
            ]
            texts += [axis.title, axis.xaxis.label, *ticks, *axis.texts]
        texts += [figure.axes[0].yaxis.label]
        texts += [text for legend in figure.legends for text in legend.get_texts()]
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
        for i, (one, box) in enumerate(boxes):
            assert box.x0 >= 0, one
            assert box.y0 >= 0, one
            assert box.x1 <= figure.bbox.x1, one
            assert box.y1 <= figure.bbox.y1, one
            for other, another in boxes[i + 1 :]:
                assert not box.overlaps(another), (one, other)


def test_every_method_of_the_project_has_its_own_line() -> None:
    names = (
        "all_local", "all_server", "neurosurgeon", "prune_partition", "two_step_pruning", "fpgm",
        "bottlenet++", "cia", "three_step", "cpcdrl", "qho", "best known", "partition_huffman",
        "jalad", "greedy", "amc", "ipdr", "paa",
    )  # fmt: skip
    assert set(names) == set(METHOD_STYLES)
    styles = [METHOD_STYLES[name] for name in names]
    assert len({style.label for style in styles}) == len(styles)
    assert len({style.ink for style in styles}) == len(styles)
    assert len({(style.marker, style.dashes) for style in styles}) == len(styles)
    drawn = [load(one.matrix).methods for one in figures().values() if one.matrix]
    for methods in drawn:
        own = [method_style(method) for method in methods]
        several = len({style.label for style in own})
        assert len({style.ink for style in own}) == several
        assert len({(style.marker, style.dashes) for style in own}) == several
        # Matplotlib can fill fifteen markers by halves; fig7-all has more methods than that.
        assert len({style.marker for style in own}) == min(several, 15)
    assert method_style("qho[accept=elitist]") == METHOD_STYLES["qho"]
    assert method_style("mine").label == "mine"


# The commands.


def test_a_scorecard_without_a_store_searches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answers(matrix: str) -> list[Row]:
        asked.append(matrix)
        return []

    monkeypatch.setattr(collect, "answers", answers)
    assert collect.frozen("fig7") == "fig7"  # what was selected ships, so nothing is searched
    monkeypatch.setattr(collect, "frozen", lambda _: "")
    done = CliRunner().invoke(scorecard, ["--figure", "fig7", "--json"], catch_exceptions=False)
    claims = json.loads(done.output)["claims"]
    assert asked == []
    assert {one["verdict"] for one in claims} == {"pending"}
    assert all(
        "`coinfer run fig7 --store FILE --selections fig7` computes it" in one["cause"]
        for one in claims
    )
    assert not collect.learns("fig6")


def test_other_rules_make_a_figure_of_ours(tmp_path: Path) -> None:
    ours = figure("fig7-harmonised")
    assert (ours.paper, ours.claims()) == ("", [])
    written = {path.name for path in write([], tmp_path, "fig7-harmonised")}
    assert "fig7-harmonised.json" in written
    bearer, mark = ours.bearer
    assert mark in (tmp_path / bearer).read_text()
    assert json.loads((tmp_path / bearer).read_text())["convention"] == "harmonised"


# Fig. 7(a) against Fig. 7(b): what sending nothing explains.


def slowest_rate(server_s: float, local_s: dict[str, float]) -> list[Row]:
    rows = []
    for cell in expand(load("qho-slowest-rate"), Catalog()):
        total_s = server_s if cell.method == "all_server" else local_s[cell.device]
        bits = 1e4 * server_s if cell.method == "all_server" else 0.0
        rows.append(row(cell, total_s, uplink_bits=bits))
    return rows


def test_what_the_millionfold_gain_needs() -> None:
    finding = next(one for one in papers()["Q"].findings if one.id == "Q-x6")
    # All_Server 10 s; the whole network 50 times faster on the Pi and 100,000 times on the TK1.
    facts = Facts.of(slowest_rate(10.0, {PI: 0.2, TK1: 1e-4}))
    found = answer(finding, facts)
    assert found.outcome == "contradiction"
    numbers = {one.label.partition(", alexnet (")[0]: one.value for one in found.numbers[:5]}
    assert numbers["largest gain of a whole network"] == pytest.approx(50.0)
    assert numbers["share of the FLOPs for the published gain"] == pytest.approx(100 * 50 / 198)
    # 1e5 bits in 198 * 0.2 s
    assert numbers["rate for the published gain of a whole network"] == pytest.approx(
        1e5 / (198 * 0.2) / 1e6
    )
    assert "1,000,000x needs 10 % of its FLOPs, or 0.001 Mb/s" in found.text
    # Devices whose speeds fit both maxima: 10^6 / 198 apart.
    fits = Facts.of(slowest_rate(10.0, {PI: 0.2, TK1: 0.2 * 198 / 1e6}))
    assert answer(finding, fits).outcome == "no contradiction"
    assert "One share serves both" in answer(finding, fits).text
    assert answer(finding, Facts.of([])).outcome == "pending"


# Winners under both rules.


def won_by(figure: str, paper: Seconds, harmonised: Seconds) -> list[Row]:
    cells = [expand(load(name), Catalog()) for name in (figure, f"{figure}-harmonised")]
    return [
        row(cell, seconds(cell))
        for own, seconds in zip(cells, (paper, harmonised), strict=True)
        for cell in own
    ]


def test_where_the_rules_disagree_about_the_winner_is_told_by_stretches() -> None:
    def harmonised(cell: Cell) -> float | None:
        pruned = cell.device == PI and rate_mbps(cell) <= 0.1
        return (by_method(fpgm=1.0) if pruned else by_method(qho=1.0))(cell)

    facts = Facts.of(won_by("fig7", by_method(qho=1.0), harmonised))
    finding = next(one for one in papers()["Q"].findings if one.compute == "winners_fig7")
    found = answer(finding, facts)
    assert found.outcome == "contradiction"
    assert found.text == (
        "Another method wins in 7 of 50 scenarios: raspberry-pi-3b+ at 0.01 Mb/s to 0.1 Mb/s, QHO "
        "by the paper's rules and FPGM by harmonised ones."
    )
    same = Facts.of(won_by("fig7", by_method(qho=1.0), by_method(qho=2.0)))
    assert answer(finding, same).outcome == "no contradiction"
    # Who is as fast as the winner wins too.
    tied = Facts.of(won_by("fig7", by_method(qho=1.0), by_method(qho=1.0, all_local=1.05)))
    assert answer(finding, tied).outcome == "no contradiction"
    half = answer(finding, Facts.of(swept("fig7", by_method())))
    assert half.outcome == "pending"
    both = [f"`coinfer run {m} --store FILE --selections {m}`" for m in ("fig7", "fig7-harmonised")]
    assert f"({' and '.join(both)} compute it)" in half.text


def test_winners_are_written_beside_the_harmonised_figure(tmp_path: Path) -> None:
    rows = won_by("fig7", by_method(qho=1.0), by_method(fpgm=1.0))
    names = {path.name for path in write(rows, tmp_path, "fig7-harmonised")}
    assert {"fig7-winners.csv", "fig7-winners.txt"} <= names
    found = list(csv.DictReader((tmp_path / "fig7-winners.csv").read_text().splitlines()))
    assert len(found) == 50
    assert {(one["agrees"], one["paper_winner"]) for one in found} == {("no", "QHO")}
    write([], tmp_path, "fig7-harmonised")
    assert "Not compared: no row for" in (tmp_path / "fig7-winners.txt").read_text()


# Best known and regret.


def sent(cell: Cell, device_s: float, bits: float, **result: Any) -> Row:
    """A row that is priced as rows are: device, bits over the cell's rate."""
    rate_bps = 1e6 * rate_mbps(cell)
    uplink_s = bits / rate_bps
    time = {**dict.fromkeys(LATENCY_PARTS, 0.0), "device_s": device_s, "uplink_s": uplink_s}
    return row(
        cell,
        0.0,
        latency={**time, "total_s": device_s + uplink_s},
        uplink_bits=bits,
        rate_bps=rate_bps,
        plan_hash=f"{cell.method}-{device_s}-{bits}",
        **result,
    )


def test_regret_is_never_negative_and_the_best_known_never_rises_with_the_rate() -> None:
    rng = np.random.default_rng(0)
    rows = [sent(cell, rng.uniform(0.1, 1), rng.uniform(0, 1e5)) for cell in CELLS["fig7"]]
    sweep, facts = sweep_of("fig7"), Facts.of(rows)
    for device in sweep.devices:
        points = panel(facts, sweep, device)
        best = best_known(facts, sweep, points)
        series = [best[sweep.case(device, place)] for place in sweep.places]
        assert (np.diff(series) <= 0).all()
        assert all(regret(point, best) >= 0 for point in points)
        # A plan that was chosen at any rate counts at all: as priced by hand.
        own = [one.result for one in rows if one.cell.device == device]
        for place, known in zip(sweep.places, series, strict=True):
            by_hand = min(
                one.latency["device_s"] + (one.uplink_bits or 0) / (1e6 * place.x) for one in own
            )
            assert known == pytest.approx(by_hand, rel=1e-12)


def test_a_plan_that_broke_the_floor_is_nobodys_best_and_one_that_ships_is() -> None:
    cells = CELLS["fig7"]
    known = {"measured_accuracy": 0.5, "floor_held": "broken"}
    rows = [
        sent(cell, 0.1, 0.0, **known) if cell.method == "qho" else sent(cell, 1.0, 0.0)
        for cell in cells
    ]
    sweep = sweep_of("fig7")
    points = panel(Facts.of(rows), sweep, PI)
    best = best_known(Facts.of(rows), sweep, points)
    assert set(best.values()) == {1.0}
    assert all(math.isnan(regret(p, best)) for p in points if p.method == "qho")
    middle = sweep.case(PI, sweep.places[12])
    better = replace(Facts.of(rows), best_s={middle: 0.25})
    series = list(best_known(better, sweep, points).values())
    assert series == [1.0] * 12 + [0.25] * 13
    through = {"model": "alexnet-cifar", "channel": "awgn[snr_db=5.0]"}
    noisy = [replace(one, result=replace(one.result, plan=through)) for one in rows]
    assert best_known(Facts.of(noisy), sweep, panel(Facts.of(noisy), sweep, PI)) == {}


def test_regret_is_in_the_data_and_the_best_known_is_drawn() -> None:
    rows = [sent(cell, 2.0 if cell.method == "qho" else 1.0, 0.0) for cell in CELLS["fig7"]]
    sweep, facts = sweep_of("fig7"), Facts.of(rows)
    panels = rate_figures.points(facts, sweep)
    best = {case: 1.0 for own in panels.values() for case in best_known(facts, sweep, own)}
    found = list(csv.DictReader(rate_figures.csv_text(sweep, panels, best).splitlines()))
    assert {
        (r["method"], r["best_known_s"], r["regret"]) for r in found if r["method"] == "qho"
    } == {("qho", "1.0", "1.0")}
    with house_style():
        left, _ = rate_figures.draw(sweep, panels, "fig7", best).axes
    assert any(
        set(line.get_ydata()) == {1.0} and line.get_marker() == "None" for line in left.lines
    )
