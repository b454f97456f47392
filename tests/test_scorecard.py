"""Verdicts follow from rows: every one is reachable, at the edges of its tolerance too."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.catalog import Catalog
from benchmarks.freshness import Checked, check, one_per_cell
from coinfer.accuracy.recipe import PAPER
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.plan import Plan, Source
from reproduce.claims import Claim, NetworkMeasure, papers, parse_claims
from reproduce.collect import tables_needed
from reproduce.facts import Facts
from reproduce.findings import answer, answer_all
from reproduce.measured import Measured
from reproduce.networks import Network, amplifying_share, size_reduction
from reproduce.present import as_data, as_markdown, as_text
from reproduce.scorecard import Judged, judge, judge_all, number_text, used_name
from tests.graphs import chain
from tests.latencies import DEVICES, LINKS, METHODS, claim, current, grid, timed
from tests.measurements import CORNERS, corner, flags, table, with_test_set

FINDINGS = {f.id: f for one in papers().values() for f in one.findings}
QHO = papers()["Q"]


def verdict(kind: str, seconds: dict[tuple[str, str], float], **fields: Any) -> Judged:
    """Judge a claim by rows of the RPi 4B; `seconds` by (method, link)."""
    rows = [timed(method, value, link=link) for (method, link), value in seconds.items()]
    links = tuple(dict.fromkeys(link for _, link in seconds))
    return judge(claim(kind, links, **fields), Facts.of(rows))


def slower(**by_link: float) -> dict[tuple[str, str], float]:
    """All_Local so many times slower than Neurosurgeon, by link."""
    return {
        key: value
        for link, ratio in by_link.items()
        for key, value in ((("all_local", link), ratio * 0.25), (("neurosurgeon", link), 0.25))
    }


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (2.0, "reproduced"),
        (2.1, "reproduced"),
        (1.9, "reproduced"),
        (2.1001, "deviates"),
        (1.8999, "deviates"),
    ],
)
def test_a_ratio_is_reproduced_within_five_percent(ours: float, expected: str) -> None:
    judged = verdict("ratio", slower(**{"3g": ours}), theirs=2.0)
    assert judged.verdict == expected
    assert judged.ours == pytest.approx(ours)
    assert judged.deviation == pytest.approx(ours / 2.0 - 1.0)
    assert judged.evidence == "analytic"


@given(st.floats(1e-6, 1e6), st.floats(0.5, 50.0), st.floats(0.5, 50.0))
def test_scaling_every_latency_changes_no_verdict(scale: float, ours: float, theirs: float) -> None:
    plain = verdict("ratio", slower(**{"3g": ours}), theirs=theirs)
    scaled = verdict(
        "ratio", {key: s * scale for key, s in slower(**{"3g": ours}).items()}, theirs=theirs
    )
    assert scaled.ours == pytest.approx(plain.ours)
    if abs(abs(ours / theirs - 1.0) - 0.05) > 1e-6:
        assert scaled.verdict == plain.verdict


@given(st.permutations(list(range(len(DEVICES) * len(LINKS) * len(METHODS)))))
def test_the_order_of_rows_changes_nothing(order: list[int]) -> None:
    rows = grid({("raspberry-pi-4b", "4g", "all_local"): 6.4})
    shuffled = Facts.of([rows[i] for i in order])
    assert judge_all(QHO.claims, shuffled) == judge_all(QHO.claims, Facts.of(rows))


def test_the_extremes_are_taken_over_all_links_and_slow_methods() -> None:
    seconds = {
        ("all_local", "3g"): 2.0, ("all_server", "3g"): 6.0, ("neurosurgeon", "3g"): 1.0,
        ("all_local", "4g"): 1.5, ("all_server", "4g"): 3.0, ("neurosurgeon", "4g"): 0.5,
    }  # fmt: skip
    both = ["all_local", "all_server"]
    largest = verdict("max", seconds, theirs=6.0, slow=both)
    least = verdict("min", seconds, theirs=2.0, slow=both)
    assert (largest.ours, largest.verdict) == (6.0, "reproduced")
    assert (least.ours, least.verdict) == (2.0, "reproduced")
    assert sorted(used.value for used in largest.used) == [2.0, 3.0, 6.0, 6.0]


def test_a_deviating_extreme_says_which_cell_and_what_would_hold_without_it() -> None:
    judged = verdict("max", slower(**{"3g": 7.0, "4g": 6.4, "wifi": 2.0}), theirs=6.4)
    assert judged.verdict == "deviates"
    assert "the maximum is all_local / neurosurgeon at 3g (7.00x)" in judged.cause
    assert "without link 3g it is 6.40x, within the tolerance" in judged.cause


def test_a_deviating_extreme_that_no_link_explains_says_no_more() -> None:
    judged = verdict("min", slower(**{"3g": 0.5, "4g": 0.6}), theirs=6.4)
    assert judged.verdict == "deviates"
    assert "the minimum is all_local / neurosurgeon at 3g (0.500x)" in judged.cause
    assert "without" not in judged.cause


def test_the_note_of_a_claim_comes_after_the_computed_cause() -> None:
    judged = verdict("ratio", slower(**{"3g": 3.0}), theirs=2.0, note="see elsewhere")
    assert judged.cause == "ours is above the published number (3.00x); see elsewhere"
    assert verdict("ratio", slower(**{"3g": 2.0}), theirs=2.0, note="see elsewhere").cause == ""


@pytest.mark.parametrize(
    ("side", "least", "expected"),
    [
        ("at_least", 1.0, "reproduced"),
        ("at_least", 0.999, "deviates"),
        ("at_most", 3.0, "reproduced"),
        ("at_most", 3.001, "deviates"),
        ("more_than", 1.001, "reproduced"),
        ("more_than", 1.0, "deviates"),
        ("less_than", 2.999, "reproduced"),
        ("less_than", 3.0, "deviates"),
    ],
)
def test_a_bound_has_no_tolerance(side: str, least: float, expected: str) -> None:
    theirs = 1.0 if side in ("at_least", "more_than") else 3.0
    judged = verdict("bound", slower(**{"3g": least, "4g": 2.0}), theirs=theirs, bound=side)
    assert judged.verdict == expected
    assert judged.ours == pytest.approx(least)
    if expected == "deviates":
        assert "broken by all_local / neurosurgeon at 3g" in judged.cause
        assert "holds in the other 1 of 2" in judged.cause


@pytest.mark.parametrize(
    ("kind", "side", "decides", "holds"),
    [
        # One gain above the bound makes the largest one exceed it; the least need not.
        ("max", "more_than", 7.0, {6.9: True, 7.0: False, 7.1: False}),
        ("max", "at_least", 7.0, {7.0: True, 7.1: False}),
        ("max", "at_most", 7.0, {6.9: False, 7.0: True}),
        ("min", "less_than", 2.0, {2.1: True, 2.0: False}),
        ("min", "at_most", 2.0, {2.0: True, 1.9: False}),
        ("min", "at_least", 2.0, {2.0: True, 2.1: False}),
        # A bound holds for every gain, so the other extreme breaks it.
        ("bound", "more_than", 2.0, {1.9: True, 2.0: False, 6.9: False}),
        ("bound", "at_most", 7.0, {6.9: False, 7.0: True}),
    ],
)
def test_an_inequality_is_one_sided(
    kind: str, side: str, decides: float, holds: dict[float, bool]
) -> None:
    gains = slower(**{"3g": 7.0, "4g": 2.0, "5g": 3.0})
    for theirs, expected in holds.items():
        judged = verdict(kind, gains, theirs=theirs, bound=side)
        assert judged.ours == decides
        assert judged.verdict == ("reproduced" if expected else "deviates"), theirs
        # However far on its side, an inequality that holds is off by nothing.
        assert (judged.deviation is None) == expected
        assert (judged.deviation_text == "") == expected
    far = verdict("max", gains, theirs=0.001, bound="more_than")
    assert (far.verdict, far.deviation_text, far.theirs_text) == ("reproduced", "", "> 0.001x")


def test_the_published_millionfold_gain_is_a_maximum_that_must_be_exceeded() -> None:
    one = next(c for c in QHO.claims if c.id == "Q-f7b.4")
    where = {
        "where": {
            "model": ["alexnet"],
            "device": ["raspberry-pi-4b"],
            "server": ["tesla-p100"],
            "link": ["3g", "4g"],
            "convention": "qho2024",
        }
    }
    for largest, expected in ((1.1e6, "reproduced"), (5e7, "reproduced"), (0.9e6, "deviates")):
        gains = slower(**{"3g": largest, "4g": 51.2})
        judged = verdict(one.kind, gains, theirs=one.theirs, bound=one.bound, **where)
        assert judged.verdict == expected
        assert judged.theirs_text == "> 1,000,000x"


def test_the_extreme_of_latencies_compares_nothing() -> None:
    seconds = {("neurosurgeon", "3g"): 0.098, ("neurosurgeon", "4g"): 0.05}
    judged = verdict("max", seconds, theirs=0.1, unit="s", slow=[])
    assert (judged.verdict, judged.ours, judged.ours_text) == ("reproduced", 0.098, "0.098 s")
    judged = verdict("max", seconds, theirs=0.2, unit="s", slow=[])
    assert judged.verdict == "deviates"
    assert "the maximum is neurosurgeon at 3g (0.098 s)" in judged.cause


@pytest.mark.parametrize(
    ("theirs", "fields", "text"),
    [
        (3.7, {}, "3.7x"), (2.0, {}, "2x"), (198.0, {}, "198x"), (1.02, {}, "1.02x"),
        (1e6, {"bound": "more_than"}, "> 1,000,000x"),
        (1.9231, {"printed": "48 % lower latency"}, "1.92x"),
        (87.42, {"unit": "% accuracy"}, "87.42 % accuracy"), (2, {"unit": "points"}, "2 points"),
    ],
)  # fmt: skip
def test_published_numbers_keep_the_digits_they_were_printed_with(
    theirs: float, fields: dict[str, Any], text: str
) -> None:
    assert Judged(claim("ratio", theirs=theirs, **fields), "pending").theirs_text == text


def test_an_ordering_holds_only_everywhere() -> None:
    held = verdict("ordering", slower(**{"3g": 1.1, "4g": 5.0}))
    assert (held.verdict, held.ours_text, held.ours) == ("ordering holds", "in 2 of 2", None)
    broken = verdict("ordering", slower(**{"3g": 0.9, "4g": 5.0}))
    assert (broken.verdict, broken.ours_text) == ("deviates", "in 1 of 2")
    assert "broken by all_local / neurosurgeon at 3g (0.900x)" in broken.cause
    # As fast is not faster.
    assert verdict("ordering", slower(**{"3g": 1.0})).verdict == "deviates"


def test_a_value_is_a_latency_in_the_claims_unit() -> None:
    seconds = {("neurosurgeon", "3g"): 0.124}
    judged = verdict("value", seconds, theirs=125.0, unit="ms", slow=[])
    assert (judged.verdict, judged.ours) == ("reproduced", pytest.approx(124.0))
    assert judged.ours_text == "124 ms"
    assert verdict("value", seconds, theirs=0.124, unit="s", slow=[]).verdict == "reproduced"


def test_excluded_cells_decide_nothing() -> None:
    seconds = slower(**{"3g": 99.0, "4g": 2.0})
    out = [{"link": "3g", "reason": "too slow"}]
    assert verdict("max", seconds, theirs=2.0).verdict == "deviates"
    assert verdict("max", seconds, theirs=2.0, excluded=out).verdict == "reproduced"


def test_what_is_not_published_is_not_reproducible() -> None:
    without = next(one for one in papers()["A"].claims if one.missing)
    assert without.missing
    judged = judge(without, Facts.of([]))
    assert (judged.verdict, judged.cause) == ("not reproducible", without.missing)
    # Where it can be computed under our reading all the same, only a deviation needs the excuse.
    only = claim("ratio", theirs=2.0, missing="the device's speed")
    rows = [timed("all_local", 0.5), timed("neurosurgeon", 0.25)]
    assert judge(only, Facts.of(rows)).verdict == "reproduced"
    rows = [timed("all_local", 1.0), timed("neurosurgeon", 0.25)]
    judged = judge(only, Facts.of(rows))
    assert judged.verdict == "not reproducible"
    assert judged.ours == 4.0
    assert "the device's speed" in judged.cause


def test_pending_says_what_is_needed() -> None:
    text = """
        paper = "Q"
        [[claim]]
        id = "Q-test.1"
        place = "here"
        statement = "something"
        kind = "ordering"
        needs = "a table of plans"
    """
    (one,) = parse_claims(text, "test.toml").claims
    judged = judge(one, Facts.of([]))
    assert (judged.verdict, judged.ours) == ("pending", None)
    assert "needs a table of plans" in judged.cause


def test_an_absent_row_is_pending_and_says_how_to_get_it() -> None:
    seconds = slower(**{"3g": 2.0, "4g": 2.0})
    del seconds["neurosurgeon", "4g"]
    judged = verdict("max", seconds, theirs=2.0)
    assert judged.verdict == "pending"
    assert "no row for neurosurgeon on raspberry-pi-4b over 4g" in judged.cause
    assert "coinfer run fig6" in judged.cause


@pytest.mark.parametrize(
    ("status", "verdict"),
    [("failed", "pending"), ("skipped", "pending"), ("infeasible", "no plan")],
)
def test_a_row_without_a_latency_decides_nothing_and_says_why(status: str, verdict: str) -> None:
    """A method that has no plan within the floor has answered: nothing is left to run."""
    rows = [timed("all_local"), timed("neurosurgeon", status=status, reason="it broke")]
    judged = judge(claim("ratio", theirs=2.0), Facts.of(rows))
    assert judged.verdict == verdict
    assert f"{status}: it broke" in judged.cause
    assert "coinfer run" not in judged.cause


def test_two_answers_for_one_cell_decide_nothing() -> None:
    rows = [timed("all_local", 2.0), timed("neurosurgeon", 1.0), timed("neurosurgeon", 1.1, seed=1)]
    judged = judge(claim("ratio", theirs=2.0), Facts.of(rows))
    assert judged.verdict == "pending"
    assert "2 different answers" in judged.cause
    # Equal answers are one answer, and a failed retry does not count against a good row.
    rows[2] = timed("neurosurgeon", 1.0, seed=1)
    rows.append(timed("neurosurgeon", status="failed", reason="x", seed=2))
    assert judge(claim("ratio", theirs=2.0), Facts.of(rows)).verdict == "reproduced"


def test_rows_of_other_conventions_and_servers_are_not_taken() -> None:
    rows = [timed("all_local", 2.0), timed("neurosurgeon", 1.0, convention="harmonised")]
    assert judge(claim("ratio", theirs=2.0), Facts.of(rows)).verdict == "pending"
    rows[1] = timed("neurosurgeon", 1.0, server="a100")
    assert judge(claim("ratio", theirs=2.0), Facts.of(rows)).verdict == "pending"


def test_no_ratio_of_two_dead_links() -> None:
    rows = [timed("all_local", math.inf), timed("neurosurgeon", math.inf)]
    judged = judge(claim("ratio", theirs=2.0), Facts.of(rows))
    assert judged.verdict == "pending"
    assert "is no number" in judged.cause


def test_evidence_classes_are_named_side_by_side() -> None:
    rows = [timed("all_local", 2.0, evidence="measured"), timed("neurosurgeon", 1.0)]
    assert judge(claim("ratio", theirs=2.0), Facts.of(rows)).evidence == "analytic, measured"


def test_a_number_names_the_rows_it_comes_from() -> None:
    rows = [timed("all_local", 2.0), timed("neurosurgeon", 1.0, evidence="measured")]
    (used,) = judge(claim("ratio", theirs=2.0), Facts.of(rows)).used
    assert used.rows == (rows[0].key, rows[1].key)
    assert used.evidence == "analytic, measured"


# Accuracies from measurement tables.


def accuracies(**right: Any) -> Facts:
    """Facts with one table, of corners by name: right answers, of 1,000 images or as flags."""
    named = {name.replace("_", "-"): told for name, told in right.items()}
    return Facts.of([], tables=[Measured(table(_flagged(named)))])


def _flagged(right: dict[str, Any]) -> dict[Plan, list[bool]]:
    by_name = {name.replace(".", ""): name for name in CORNERS}
    return {
        corner(by_name[name]): flags(told, 1000) if isinstance(told, int) else told
        for name, told in right.items()
    }


def claimed(claim_id: str) -> Claim:
    return next(c for c in QHO.claims if c.id == claim_id)


@pytest.mark.parametrize(
    ("right", "expected"),
    [(874, "reproduced"), (865, "reproduced"), (884, "reproduced"), (864, "deviates"),
     (885, "deviates")],
)  # fmt: skip
def test_an_accuracy_is_reproduced_within_a_point(right: int, expected: str) -> None:
    one = judge(claimed("Q-acc-alexnet.1"), accuracies(unpruned=right))
    assert (one.verdict, one.evidence) == (expected, "measured")
    assert one.ours == pytest.approx(right / 10)
    assert one.deviation == pytest.approx(right / 10 - 87.42)
    share = right / 1000
    assert one.std_error == pytest.approx(100 * math.sqrt(share * (1 - share) / 1000))
    assert one.ours_text == f"{right / 10:.2f} ± {one.std_error:.2f} % accuracy"
    assert "1000 validation images" in one.conditions
    assert one.used[0].rows == (corner("unpruned").hash,)


def test_a_loss_is_compared_image_by_image() -> None:
    # Of 1,000 images 820 are right unpruned; pruned, 50 of these are wrong and 30 others right.
    baseline = [True] * 820 + [False] * 180
    pruned = [False] * 50 + [True] * 770 + [True] * 30 + [False] * 150
    one = judge(claimed("Q-i1.1"), accuracies(unpruned=baseline, pruned_74=pruned))
    assert (one.verdict, one.ours) == ("reproduced", pytest.approx(2.0))
    # The mean square of the 80 differences of +-1, less the square of the mean.
    assert one.std_error == pytest.approx(100 * math.sqrt((80 / 1000 - 0.02**2) / 1000))
    assert one.used[0].rows == (corner("unpruned").hash, corner("pruned-74").hash)
    for word in ("50 of 192 channels", "after the same recipe", "same 1000 validation images"):
        assert word in one.conditions
    # The same accuracies with less disagreement are surer.
    surer = judge(claimed("Q-i1.1"), accuracies(unpruned=820, pruned_74=800))
    assert (surer.ours, surer.ours_text) == (pytest.approx(2.0), "2.00 ± 0.44 points")


@pytest.mark.parametrize(
    ("claim_id", "name", "lost", "expected"),
    [
        ("Q-i1.1", "pruned-74", 30, "reproduced"), ("Q-i1.1", "pruned-74", 31, "deviates"),
        ("Q-i1.1", "pruned-74", 9, "deviates"), ("Q-i1.2", "pruned-89", 45, "reproduced"),
        # No more than two points is a bound: none of the tolerance of a point.
        ("Q-i2.1", "encoded-65", 20, "reproduced"), ("Q-i2.1", "encoded-65", 21, "deviates"),
        ("Q-i2.1", "encoded-65", -5, "reproduced"), ("Q-i2.2", "encoded-02", 75, "reproduced"),
        ("Q-i2.2", "encoded-02", 81, "deviates"),
    ],
)  # fmt: skip
def test_losses_follow_the_tolerances_of_their_kind(
    claim_id: str, name: str, lost: int, expected: str
) -> None:
    right = {"unpruned": 820, name.replace("-", "_"): 820 - lost}
    assert judge(claimed(claim_id), accuracies(**right)).verdict == expected


def test_an_interval_across_the_edge_of_a_verdict_is_told() -> None:
    told = "across the edge of what counts as reproduced"
    for lost, across in ((29, True), (31, True), (20, False), (200, False)):
        one = judge(claimed("Q-i1.1"), accuracies(unpruned=820, pruned_74=820 - lost))
        assert (told in one.conditions) == across, lost
    one = judge(claimed("Q-i1.1"), accuracies(unpruned=820, pruned_74=800))
    assert one.conditions.endswith("95 % interval 1.13 to 2.87 points")


MEASURED_CLAIMS = [c for c in QHO.claims if c.measured]


def test_what_no_table_has_is_not_measured_and_says_how_to_measure_it() -> None:
    for one in judge_all(MEASURED_CLAIMS, Facts.of([])):
        assert one.claim.measured is not None
        assert (one.verdict, one.ours, one.std_error, one.used) == ("not measured", None, None, ())
        model = one.claim.measured.model
        assert f"coinfer sweep {model} --data FOLDER" in one.cause
        assert "coinfer scorecard --table FILE.csv" in one.cause
    unpruned = judge(claimed("Q-acc-regnet.1"), Facts.of([])).cause
    assert "--samples 1 " in unpruned  # the first plan of a design


def test_a_table_without_the_row_or_without_the_baseline_decides_nothing() -> None:
    facts = accuracies(unpruned=820)
    one = judge(claimed("Q-i1.1"), facts)
    assert one.verdict == "not measured"
    assert "table 'small' has no row of alexnet-cifar with 74 % of features.3 pruned" in one.cause
    assert "coinfer sweep alexnet-cifar --data FOLDER --recipe quick" in one.cause
    assert judge(claimed("Q-acc-alexnet.1"), facts).verdict == "deviates"
    alone = judge(claimed("Q-i1.1"), accuracies(pruned_74=800))
    assert alone.verdict == "not measured"
    assert "has no row of the unpruned alexnet-cifar" in alone.cause


def test_a_training_that_failed_is_not_measured_and_says_why() -> None:
    made = table(_flagged({"unpruned": 820}))
    made = replace(made, failed={corner("encoded-0.2").hash: "the loss is nan"})
    one = judge(claimed("Q-i2.2"), Facts.of([], tables=[Measured(made)]))
    assert one.verdict == "not measured"
    assert "could not be trained with recipe" in one.cause
    assert one.cause.endswith("the loss is nan")


@pytest.mark.parametrize(
    "origin", [{"model": "alexnet"}, {"family": "noise"}, {"data": "digits"}], ids=str
)
def test_tables_of_other_networks_families_and_data_are_not_taken(origin: dict[str, str]) -> None:
    made = Measured(table(_flagged({"unpruned": 874}), **origin))
    one = judge(claimed("Q-acc-alexnet.1"), Facts.of([], tables=[made]))
    assert one.verdict == "not measured"


def test_accuracies_on_other_images_cannot_be_paired() -> None:
    facts = accuracies(unpruned=820, pruned_74=flags(400, 500))
    one = judge(claimed("Q-i1.1"), facts)
    assert one.verdict == "not measured"
    assert "cannot be compared in pairs" in one.cause


def test_a_table_that_is_given_comes_before_the_shipped_one() -> None:
    given = table(_flagged({"unpruned": 874}))
    found = tables_needed(MEASURED_CLAIMS, [given])
    assert found[0].table is given
    one = judge(claimed("Q-acc-alexnet.1"), Facts.of([], tables=found))
    assert one.verdict == "reproduced"


def test_a_table_that_would_decide_nothing_is_refused() -> None:
    given = table(_flagged({"unpruned": 874}))
    others = [claim for claim in QHO.claims if not claim.measured]
    assert tables_needed(others) == []
    with pytest.raises(CoinferError, match="decides none of these claims; .* among none"):
        tables_needed(others, [given])
    with pytest.raises(CoinferError, match="decides none .* among alexnet-cifar, qho, cifar10"):
        tables_needed(MEASURED_CLAIMS, [table(_flagged({"unpruned": 874}), data="digits")])
    with pytest.raises(CoinferError, match="is the second of its kind"):
        tables_needed(MEASURED_CLAIMS, [given, given])


def test_the_recipe_is_named_and_the_test_set_changes_nothing() -> None:
    right = _flagged({"unpruned": 874, "pruned-74": 850})
    claims = [claimed(i) for i in ("Q-acc-alexnet.1", "Q-i1.1", "Q-i2.1")]

    def told(made: Any) -> list[Judged]:
        return judge_all(claims, Facts.of([], tables=[Measured(made)]))

    plain = told(table(right))
    for correct, n in ((math.nan, 100), (0, 100), (None, None)):
        assert told(with_test_set(table(right), correct, n)) == plain
    other = told(table(right, recipe=PAPER))
    assert [one.verdict for one in other] == [one.verdict for one in plain]
    assert f"recipe {PAPER.label}" in other[0].conditions
    assert f"recipe {PAPER.label}" not in plain[0].conditions


def test_standard_error_and_conditions_are_told_in_every_form() -> None:
    facts = accuracies(unpruned=820, pruned_74=800)
    judged = judge_all(MEASURED_CLAIMS[:3], facts)
    text, page = as_text(judged, [], width=110), as_markdown(judged, [], "t")
    data = {one["id"]: one for one in as_data(judged, [])["claims"]}
    loss = judge(claimed("Q-i1.1"), facts)
    assert data["Q-i1.1"]["std_error"] == loss.std_error
    assert data["Q-i1.1"]["conditions"] == loss.conditions
    for form in (text, page):
        assert "2.00 ± 0.44 points" in form
        assert loss.conditions in " ".join(form.split())
    assert "Not measured:\n  Q-acc-regnet.1: no measurement table" in text
    assert text.endswith("1 reproduced, 1 deviates, 1 not measured.\n")
    assert "| not measured |" in page
    assert used_name(loss, loss.used[0]).startswith("alexnet-cifar: alexnet-cifar on cifar10")


def test_an_unknown_measure_is_refused() -> None:
    one = claimed("Q-i1.1")
    assert one.measured is not None
    asked = replace(one.measured, measure="lost")
    with pytest.raises(UnknownNameError, match="loss"):
        judge(replace(one, measured=asked), accuracies(unpruned=820))


# Rows that other code computed.


def test_a_row_of_this_code_is_current() -> None:
    (one,) = check([(current(timed("all_local")), "run")], Catalog())
    assert (one.state, one.cause, one.run_id) == ("current", "", "run")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("harness", "computed by other code; changed since: the source of the harness"),
        ("method", "computed by other code; changed since: the source of the method"),
        ("numpy", "computed by other code; changed since: the version of numpy"),
        ("device", "computed from other numbers; changed since: the numbers of the device"),
        ("novel", "computed from other numbers; changed since: novel"),
    ],
)
def test_a_row_of_other_inputs_is_stale_and_says_which(name: str, told: str) -> None:
    (one,) = check([(current(timed("all_local"), **{name: "0" * 64}), "")], Catalog())
    assert (one.state, one.changed, one.cause) == ("stale", (name,), told)


def test_a_row_that_lacks_an_input_is_stale() -> None:
    row = current(timed("all_local"))
    without = {name: value for name, value in row.inputs.items() if name != "python"}
    (one,) = check([(replace(row, inputs=without), "")], Catalog())
    assert one.changed == ("python",)


@pytest.mark.parametrize(
    "cell", [{"device": "no-such-board"}, {"model": "no_such_net"}, {"convention": "none"}]
)
def test_a_row_with_names_that_are_not_known_here_is_not_checked(cell: dict[str, str]) -> None:
    (one,) = check([(timed("all_local", **cell), "")], Catalog())  # type: ignore[arg-type]
    assert one.state == "not checked"
    assert f"'{next(iter(cell.values()))}'" in one.cause


def test_no_program_is_run_because_a_store_names_it(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "net.py").write_text(f"open({str(ran)!r}, 'w')\ndef make(): ...\n")
    model = f"{tmp_path}/net.py:make"
    known = current(timed("all_local")).inputs
    (one,) = check([(replace(timed("all_local", model=model), inputs=known), "")], Catalog())
    assert (one.state, one.changed) == ("not checked", ())
    other = {**known, "harness": "0"}
    (one,) = check([(replace(timed("all_local", model=model), inputs=other), "")], Catalog())
    assert (one.state, one.changed) == ("stale", ("harness",))
    assert not ran.exists()


def test_of_a_cell_the_current_row_counts_else_the_newest() -> None:
    early = Checked(replace(timed("all_local", 1.0), finished_at="2024-01-01"))
    late = Checked(replace(timed("all_local", 2.0), finished_at="2024-01-02"), changed=("method",))
    later = Checked(replace(timed("all_local", 3.0), finished_at="2024-01-03"), changed=("method",))
    assert one_per_cell([later, early, late]) == one_per_cell([late, early, later]) == [early]
    assert one_per_cell([late, later]) == one_per_cell([later, late]) == [later]


def test_an_outdated_row_is_pending_and_says_how_to_get_another() -> None:
    rows = [timed("all_local", 2.0), timed("neurosurgeon", 1.0)]
    cause = "computed by other code; changed since: the source of the method"
    judged = judge(claim("ratio", theirs=2.0), Facts.of(rows[:1], outdated=[(rows[1].cell, cause)]))
    assert judged.verdict == "pending"
    assert judged.cause == (
        f"rows in the store were {cause} (`coinfer run fig6 --store FILE` computes them again)"
    )
    # A current row of the same cell counts, whatever else is there.
    both = Facts.of(rows, outdated=[(rows[1].cell, cause)])
    assert judge(claim("ratio", theirs=2.0), both).verdict == "reproduced"


def test_a_finding_over_outdated_rows_is_pending_too() -> None:
    rows = grid({})
    found = answer(FINDINGS["Q-x1"], Facts.of([], outdated=[(row.cell, "old") for row in rows]))
    assert found.outcome == "pending"
    assert found.text == (
        "rows in the store were old (`coinfer run fig6 --store FILE` computes them again)"
    )


# Numbers about a network.


def test_how_much_smaller_a_feature_is() -> None:
    graph = chain((3, 8, 8), ("conv", 2, 3, 1, 1), ("maxpool", 2))
    network = Network(graph, Source((3, 8, 8)))
    pooled = graph.cuts[-1].after
    # 2 x 4 x 4 of 3 x 8 x 8 elements; an 8-bit input is a quarter as large.
    same = NetworkMeasure("size_reduction", "m", pooled)
    assert size_reduction(same, network) == pytest.approx(100 * (1 - 32 / 192))
    byte = NetworkMeasure("size_reduction", "m", pooled, 32, 8)
    assert size_reduction(byte, network) == pytest.approx(100 * (1 - 4 * 32 / 192))


def test_which_cuts_send_more_than_the_picture() -> None:
    graph = chain((3, 8, 8), ("conv", 2, 3, 1, 1), ("maxpool", 2), ("flatten",), ("fc", 4))
    # Interior cuts hold 128, 32 and 32 elements: in bits 4096, 1024, 1024.
    network = Network(graph, Source((3, 8, 8), png_bits=2000.0))
    measure = NetworkMeasure("amplifying_share", "m")
    assert amplifying_share(measure, network) == pytest.approx(100 / 3)
    one = next(c for c in papers()["T"].claims if c.id == "T-f1.1")
    judged = judge(one, Facts.of([], {"resnet18": network}))
    assert (judged.verdict, judged.evidence) == ("deviates", "analytic, measured")
    unmeasured = Facts.of([], {"resnet18": Network(graph, Source((3, 8, 8)))})
    assert "no PNG size was measured" in judge(one, unmeasured).cause
    assert judge(one, Facts.of([])).verdict == "pending"


def test_most_cuts_are_more_than_half_of_them() -> None:
    # Interior cuts hold 128 and 32 elements; one of two sends more than 2000 bits.
    graph = chain((3, 8, 8), ("conv", 2, 3, 1, 1), ("maxpool", 2), ("flatten",))
    network = Network(graph, Source((3, 8, 8), png_bits=2000.0))
    one = next(c for c in papers()["T"].claims if c.id == "T-f1.1")
    judged = judge(one, Facts.of([], {"resnet18": network}))
    assert (judged.ours, judged.verdict) == (50.0, "deviates")
    assert judged.theirs_text == "> 50 %"


# Text against numbers.


def test_partition_on_the_pi_4b_over_3g() -> None:
    cell = ("raspberry-pi-4b", "3g", "neurosurgeon")
    slow = answer(FINDINGS["Q-x1"], Facts.of(grid({cell: 1.25})))
    assert slow.outcome == "contradiction"
    assert "1.25 times as long" in slow.text
    assert "features.2" in slow.text
    assert slow.numbers[0].value == pytest.approx(0.8)
    assert (slow.evidence, slow.numbers[0].evidence) == ("analytic", "analytic")
    rows = [
        timed(row.cell.method, row.result.latency["total_s"], evidence="measured")
        if (row.cell.device, row.cell.link, row.cell.method) == cell
        else row
        for row in grid({cell: 1.25})
    ]
    assert answer(FINDINGS["Q-x1"], Facts.of(rows)).evidence == "analytic, measured"
    fast = answer(FINDINGS["Q-x1"], Facts.of(grid({cell: 0.5})))
    assert fast.outcome == "no contradiction"
    assert answer(FINDINGS["Q-x1"], Facts.of([])).outcome == "pending"


def test_partition_against_the_ends_of_the_network() -> None:
    level = answer(FINDINGS["Q-x2"], Facts.of(grid({})))
    assert level.outcome == "no contradiction"
    beaten = answer(FINDINGS["Q-x2"], Facts.of(grid({("jetson-tk1", "5g", "all_local"): 0.25})))
    assert beaten.outcome == "contradiction"
    assert "1 of 12 cells, by up to 4.00x" in beaten.text


def test_the_plan_that_sends_nothing_runs_on_the_weaker_device_too() -> None:
    finding = FINDINGS["Q-x4"]
    link = "rate[rate_bps=10000.0]"

    def rows(weak_local_s: float) -> Facts:
        return Facts.of(
            timed(method, seconds, device=device, link=link)
            for device, local_s in (("jetson-tk1", 0.004), ("raspberry-pi-3b+", weak_local_s))
            for method, seconds in (("all_local", local_s), ("all_server", 480.0))
        )

    # 10^6 on the TK1 is 480 us there, 12 % of the network, hence 12 % of All_Local's time on
    # the other device: at 8 s, 480 / 0.96 = 500 times.
    found = answer(finding, rows(8.0))
    assert found.outcome == "contradiction"
    assert [round(number.value, 6) for number in found.numbers] == [150000.0, 12.0, 500.0, 198.0]
    assert answer(finding, rows(80.0)).outcome == "no contradiction"


@pytest.mark.parametrize(
    ("published_s", "outcome"), [(0.314, "no contradiction"), (0.5, "contradiction")]
)
def test_neurosurgeon_on_vgg16_may_keep_a_layer_on_each_side(
    published_s: float, outcome: str
) -> None:
    where = {
        "model": "vgg16", "device": "cpcdrl-edge", "server": "cpcdrl-cloud",
        "link": "200-kbyte-s", "convention": "cpcdrl2024",
    }  # fmt: skip
    graph = chain((3, 8, 8), ("conv", 2, 3, 1, 1), ("maxpool", 2), ("flatten",), ("fc", 4))
    rows = [
        timed("all_local", published_s, **where),
        timed("all_server", 1.0, **where),
        timed("neurosurgeon", 0.1, **where),
    ]
    facts = Facts.of(rows, {"vgg16": Network(graph, Source((3, 8, 8)))})
    found = answer(FINDINGS["C-x1"], facts)
    assert found.outcome == outcome
    # After the pooling: 32 floats at 1.6 Mb/s; 2 x 64 x 27 multiply-accumulates at 500 MFLOPS
    # on the device, 32 x 4 at 5 GFLOPS on the server.
    interior_s = 32 * 32 / 1.6e6 + 2 * 64 * 27 / 5e8 + 32 * 4 / 5e9
    assert found.numbers[1].label == "best interior cut:"
    assert found.numbers[1].value == pytest.approx(1e3 * interior_s)
    assert answer(FINDINGS["C-x1"], Facts.of(rows)).outcome == "pending"


def test_table_iv_ranks_by_the_published_numbers_alone() -> None:
    found = answer(FINDINGS["Q-x5"], Facts.of([]))
    assert (found.outcome, found.evidence) == ("contradiction", "published")
    assert {number.evidence for number in found.numbers} == {"published"}
    assert len(found.numbers) == 18


def test_a_finding_without_computation_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="slow_partition"):
        answer(replace(FINDINGS["Q-x1"], compute="slow_partitions"), Facts.of([]))


# How it is told.


@pytest.fixture(scope="module")
def told() -> tuple[list[Judged], list[Any]]:
    facts = Facts.of(grid({("raspberry-pi-4b", "3g", "all_server"): 7.0}))
    return judge_all(QHO.claims, facts), answer_all(QHO.findings, facts)


def test_the_text_names_every_claim_and_keeps_to_the_width(
    told: tuple[list[Judged], list[Any]],
) -> None:
    text = as_text(*told, width=100)
    assert all(one.claim.id in text for one in told[0])
    assert max(map(len, text.splitlines())) <= 100
    narrow = as_text(*told, width=60)
    assert max(map(len, narrow.splitlines())) <= 60
    assert all(one.claim.id in narrow for one in told[0])
    assert "Q-f6b.1 deviates: ours 7.00x (analytic), theirs 6.4x, off" in narrow
    assert text.endswith(f"{sum(one.verdict == 'pending' for one in told[0])} pending.\n")


def test_the_json_has_every_claim_with_its_fields(told: tuple[list[Judged], list[Any]]) -> None:
    data = json.loads(json.dumps(as_data(*told), allow_nan=False))
    assert [one["id"] for one in data["claims"]] == [claim.id for claim in QHO.claims]
    fields = {"id", "claim", "ours", "theirs", "deviation", "verdict", "cause", "evidence"}
    assert all(fields <= set(one) for one in data["claims"])
    assert sum(data["verdicts"].values()) == len(data["claims"])
    largest = next(one for one in data["claims"] if one["id"] == "Q-f6b.1")
    assert (largest["ours"], largest["theirs"], largest["tolerance"]) == (7.0, 6.4, 0.05)
    assert len(largest["numbers"]) == 8
    assert all(number["evidence"] == "analytic" for number in largest["numbers"])
    assert all(len(number["rows"]) == 2 for number in largest["numbers"])


def test_infinite_numbers_are_json_too() -> None:
    judged = verdict(
        "ratio", {("all_local", "3g"): math.inf, ("neurosurgeon", "3g"): 1.0}, theirs=2.0
    )
    assert judged.verdict == "deviates"
    (one,) = json.loads(json.dumps(as_data([judged], []), allow_nan=False))["claims"]
    assert one["ours"] == "inf"


def test_nothing_that_acts_on_a_terminal_or_reorders_text_is_shown() -> None:
    evil = "\x1b[31mred \u202eright to left \u200bhidden \u2028line"
    rows = [timed("all_local"), timed("neurosurgeon", status="failed", reason=evil)]
    judged = [judge(claim("ratio", theirs=2.0), Facts.of(rows))]
    assert evil in judged[0].cause
    data = json.dumps(as_data(judged, []))
    for told in (as_text(judged, []), as_markdown(judged, [], "t"), data):
        assert "x1b" in told or "u001b" in told
        assert all(sign.isprintable() or sign == "\n" for sign in told)


def test_markdown_cells_cannot_break_the_table() -> None:
    judged = verdict("ratio", slower(**{"3g": 3.0}), theirs=2.0, note="a | b <script>")
    line = next(x for x in as_markdown([judged], [], "t").splitlines() if x.startswith("| Q-test"))
    assert line.replace("\\|", "").count("|") == 9
    assert "<script>" not in line


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.624, "x", "3.62x"), (35.38, "x", "35.4x"), (0.8274, "x", "0.827x"), (2.0, "x", "2.00x"),
        (1e6, "x", "1,000,000x"), (124.4, "ms", "124 ms"),
        (87.417, "% accuracy", "87.42 % accuracy"),
        (75.0, "%", "75 %"), (4.87e-5, "", "4.87e-05"), (-3900.0, "", "-3900"), (0.0, "x", "0x"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, unit: str, text: str) -> None:
    assert number_text(value, unit) == text
