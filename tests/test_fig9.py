"""Figs. 9 and 10: every method at every cut, and the points that no other one beats."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cells import LATENCY_PARTS, Cell, Result
from benchmarks.rows import Row
from coinfer.errors import CoinferError
from reproduce import plane
from reproduce.draw import house_style
from reproduce.facts import Facts
from reproduce.plane import Plane, costs_s, front, plane_of

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
        "No result: Neurosurgeon at 1 of 3 cuts: no row (`coinfer run fig9 --store FILE` computes "
        "it)."
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
