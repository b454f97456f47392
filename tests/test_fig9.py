"""Figs. 9 and 10: every method at every cut, and the points that no other one beats."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.catalog import Catalog
from benchmarks.cells import LATENCY_PARTS, Cell, Result
from benchmarks.matrix import expand, load
from benchmarks.rows import Row
from coinfer.conventions import convention
from coinfer.errors import CoinferError
from reproduce import plane
from reproduce.claims import papers
from reproduce.draw import house_style
from reproduce.facts import Facts
from reproduce.figures import figure
from reproduce.plane import Plane, costs_s, front, plane_of
from reproduce.scorecard import judge

CUTS = ("features.2", "features.5", "classifier.2")
AXES = Plane(
    "fig9",
    "alexnet-cifar",
    "raspberry-pi-3b+",
    "tesla-p100",
    "4g",
    {cut: f"qho2024[cut={cut}]" for cut in CUTS},
    ("neurosurgeon", "qho"),
    {"neurosurgeon": 1, "qho": 3},
)


def row(method: str, cut: str, device_s: float, uplink_s: float, seed: int = 0, **part: Any) -> Row:
    parts = {
        **dict.fromkeys(LATENCY_PARTS, 0.0),
        "device_s": device_s,
        "uplink_s": uplink_s,
        **part,
    }
    cell = Cell(
        AXES.model, method, AXES.device, AXES.server, AXES.link, None, seed,
        AXES.conventions[cut],
    )  # fmt: skip
    result = Result(
        "ok",
        plan={"cut": {"index": 3, "after": cut}, "keep": [["g", 1]] if method == "qho" else []},
        plan_hash=f"{method}-{cut}-{seed}",
        latency={**parts, "total_s": sum(parts.values())},
        device_flops=7,
        encode_flops=2,
        uplink_bits=96.0,
        predicted_accuracy=0.8,
        evidence={"latency": "analytic"},
    )
    return Row(cell, result, {})


# QHO's median seed is the one in the middle; the cut behind features.5 is beaten by both others.
ROWS = [
    *(row("qho", cut, d * s, u * s, seed)
      for cut, d, u in (("features.2", 0.1, 0.03), ("features.5", 0.3, 0.04),
                        ("classifier.2", 0.2, 0.01))
      for seed, s in enumerate((3.0, 1.0, 2.0))),
    row("neurosurgeon", "features.2", 0.4, 0.4, encode_s=0.1),
    row("neurosurgeon", "classifier.2", 0.9, 0.2),
]  # fmt: skip


def test_a_point_is_the_median_seeds_time_on_the_device_and_on_the_uplink() -> None:
    points = AXES.points(Facts.of(ROWS))
    assert [costs_s(point) for point in points["qho"]] == [(0.2, 0.06), (0.6, 0.08), (0.4, 0.02)]
    # The encoder works on the device.
    assert costs_s(points["neurosurgeon"][0]) == (0.5, 0.4)
    assert math.isnan(costs_s(points["neurosurgeon"][1])[0])


def test_the_front_is_what_nothing_beats() -> None:
    assert front([(2, 6), (6, 8), (4, 2)]) == (0, 2)
    assert front([(1, 1), (1, 1), (1, 2), (2, 1)]) == (0,)
    assert front([(math.nan, math.nan), (3, 1)]) == (1,)
    assert front([]) == ()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_the_front_is_that_of_the_definition(costs: list[tuple[float, float]]) -> None:
    def beaten(i: int) -> bool:
        return any(
            other[0] <= costs[i][0] and other[1] <= costs[i][1] and (other != costs[i] or j < i)
            for j, other in enumerate(costs)
            if j != i
        )

    found = front(costs)
    assert set(found) == {i for i in range(len(costs)) if not beaten(i)}
    assert [costs[i] for i in found] == sorted(costs[i] for i in found)


def test_the_data_have_a_line_per_method_and_cut() -> None:
    facts = Facts.of(ROWS)
    found = list(csv.DictReader(plane.csv_text(AXES, AXES.points(facts)).splitlines()))
    assert [(one["method"], one["cut"]) for one in found] == [
        (method, cut) for method in AXES.methods for cut in CUTS
    ]
    assert [one["on_front"] for one in found] == ["yes", "", "yes", "yes", "no", "yes"]
    assert found[1]["status"] == "no row"
    wanted = {
        "computation_s": "0.2", "communication_s": "0.06", "median_seed": "2", "seeds": "3",
        "plan_hash": "qho-features.2-2", "uplink_bits": "96.0", "device_flops": "7",
        "encode_flops": "2", "accuracy_standing": "predicted",
    }  # fmt: skip
    assert {name: found[3][name] for name in wanted} == wanted
    assert len(found[3]["keys"].split()) == 3


def test_the_footnote_says_what_is_missing_and_how_to_get_it() -> None:
    note = " ".join(plane.footnote(AXES, AXES.points(Facts.of(ROWS)), "fig9"))
    assert "alexnet-cifar (the paper's is AlexNet) on Raspberry Pi 3B+" in note
    assert "convention qho2024 at each of 3 cuts" in note
    assert "verified 0 of 3 plans that change their network" in note
    assert (
        "No result: Neurosurgeon at 1 of 3 cuts: no row (`coinfer run fig9 --store FILE "
        "--selections fig9` computes it)."
    ) in note


def test_lines_join_the_front_and_markers_are_all_points(tmp_path: Path) -> None:
    points = AXES.points(Facts.of(ROWS))
    with house_style():
        (axis,) = plane.draw(AXES, points, "fig9").axes
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    drawn = [(list(line.get_xdata()), line.get_marker()) for line in axis.lines]
    assert ([200.0, 400.0], "None") in drawn
    assert ([200.0, 600.0, 400.0], "*") in drawn
    first = plane.write(Facts.of(ROWS), tmp_path, "fig9", "title", AXES)
    before = {path.name: path.read_bytes() for path in first}
    again = plane.write(Facts.of(ROWS[::-1]), tmp_path, "fig9", "title", AXES)
    assert before == {path.name: path.read_bytes() for path in again}


def test_a_convention_that_leaves_every_cut_makes_no_plane() -> None:
    with pytest.raises(CoinferError, match="'qho2024' of matrix 'qho-slowest-rate'|several of"):
        plane_of("qho-slowest-rate")
    with pytest.raises(CoinferError, match="matrix 'demo' has several of axis 'model'"):
        plane_of("demo")


def test_a_cut_at_which_nothing_is_sent_is_no_point_of_a_logarithmic_plane() -> None:
    rows = [replace(one) for one in ROWS[:3]] + [row("neurosurgeon", "features.5", 0.5, 0.0)]
    with house_style():
        (axis,) = plane.draw(AXES, AXES.points(Facts.of(rows)), "fig9").axes
    assert all(value > 0 for value in (*axis.get_xlim(), *axis.get_ylim()))


# Claims.


CLAIMS = {claim.id: claim for claim in papers()["Q"].claims}


def plane_rows(points: dict[str, Sequence[tuple[float, float]]]) -> list[Row]:
    """A row of every cell of fig9, with the same point for every seed."""
    found = []
    for cell in expand(load("fig9"), Catalog()):
        cut = convention(cell.convention).cut
        device_s, uplink_s = points[cell.method][list(plane_of("fig9").conventions).index(cut)]
        parts = {**dict.fromkeys(LATENCY_PARTS, 0.0), "device_s": device_s, "uplink_s": uplink_s}
        plan = {"cut": {"index": 3, "after": cut}}
        result = Result("ok", plan=plan, plan_hash=cell.method,
                        latency={**parts, "total_s": device_s + uplink_s},
                        evidence={"latency": "analytic"})  # fmt: skip
        found.append(Row(cell, result, {}))
    return found


def shares(qho: Sequence[tuple[float, float]]) -> tuple[float | None, float | None]:
    methods = plane_of("fig9").methods
    others = {name: [(1.0, 1.0)] * 7 for name in methods if name != "qho"}
    facts = Facts.of(plane_rows({**others, "qho": qho}))
    return judge(CLAIMS["Q-f9.1"], facts).ours, judge(CLAIMS["Q-f9.4"], facts).ours


def test_left_and_below_is_against_every_point_at_the_cut_and_the_front_against_all() -> None:
    ahead, mixed, behind = (0.5, 0.5), (0.5, 2.0), (2.0, 1.0)
    assert shares([ahead] * 7) == (100.0, 100.0)
    assert shares([ahead, ahead, mixed, mixed, mixed, behind, behind]) == (
        pytest.approx(200 / 7), pytest.approx(500 / 7),
    )  # fmt: skip
    # As good in both coordinates is not left or below, and is not beaten either.
    assert shares([(1.0, 1.0)] * 7) == (0.0, 100.0)


def test_orderings_of_a_plane_hold_at_every_cut_or_name_those_where_not() -> None:
    fast = ("prune_partition", "two_step_pruning", "fpgm", "qho")
    points = {m: [(0.5 if m in fast else 1.0, 1.0)] * 7 for m in plane_of("fig9").methods}
    assert judge(CLAIMS["Q-f9.2"], Facts.of(plane_rows(points))).verdict == "ordering holds"
    points["fpgm"] = [*points["fpgm"][:6], (1.0, 1.0)]
    found = judge(CLAIMS["Q-f9.2"], Facts.of(plane_rows(points)))
    assert (found.verdict, found.ours_text) == ("deviates", "in 6 of 7")
    assert "neurosurgeon / fpgm at classifier.2 (1.00x)" in found.cause
    assert "convention qho2024 at each of 7 cuts" in found.conditions
    assert judge(CLAIMS["Q-f9.3"], Facts.of(plane_rows(points))).verdict == "deviates"


def test_rows_that_are_not_there_make_the_claims_pending_with_the_command() -> None:
    for identity in ("Q-f9.1", "Q-f9.2", "Q-f9.4"):
        found = judge(CLAIMS[identity], Facts.of([]))
        assert found.verdict == "pending"
        assert "`coinfer run fig9 --store FILE --selections fig9` computes it" in found.cause


def test_what_was_never_measured_is_told_with_the_command_and_drawn_by_nobody(
    tmp_path: Path,
) -> None:
    why = "no measured 'qho' plans of regnet; `coinfer sweep regnet --family qho` measures some"
    rows = [
        Row(cell, Result("skipped", reason=why), {})
        for cell in expand(load("fig10"), Catalog())
        if cell.method != "neurosurgeon"
    ]
    facts = Facts.of(rows)
    note = " ".join(plane.footnote(plane_of("fig10"), plane_of("fig10").points(facts), "fig10"))
    assert (
        "QHO at 23 of 23 cuts: skipped: no measured 'qho' plans of regnet; `coinfer sweep" in note
    )
    assert {path.suffix for path in figure("fig10").write(facts, tmp_path)} == {
        ".svg", ".pdf", ".png", ".csv",
    }  # fmt: skip
