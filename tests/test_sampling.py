"""The design of a sweep: what the papers talk about, Sobol points, and plans near the floor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import product
from types import MappingProxyType

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import qmc  # type: ignore[import-untyped]

from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.families import FAMILIES
from coinfer.accuracy.sampling import ROUND, SOBOL_FIRST, DesignPoint, corners, samples
from coinfer.accuracy.sampling import _spread as spread
from coinfer.errors import CoinferError
from coinfer.plan import Plan
from coinfer.refs import parse_ref
from coinfer.tasks import make_task
from methods.worlds import small_task

# Corners, two blocks of both kinds, and the beginning of a third.
TOTAL = 110


@cache
def box(model: str, family: str) -> Box:
    task = small_task(groups=True) if model == "small" else make_task(model, groups=True)
    return search_box(task, family)


def truth(found: Box, plans: list[Plan]) -> NDArray[np.float64]:
    """A smooth accuracy that falls with everything that is pruned or narrowed."""
    decisions = found.read(plans)
    u = found.units(decisions)
    effect = np.array([variable.effect for variable in found.variables])
    lost = np.where(effect < 0, u, np.where(effect > 0, 1 - u, 0.0)) ** 2
    return np.asarray(np.clip(0.9 - 0.5 * lost.mean(axis=1), 0, 1))


def sweep(
    found: Box,
    n: int,
    at_once: int = 10**6,
    start: Mapping[str, float] = MappingProxyType({}),
    **options: float,
) -> tuple[tuple[DesignPoint, ...], dict[str, float]]:
    """Measure what is asked for, `at_once` plans at a time, until nothing is asked for."""
    measured = dict(start)
    while True:
        points = samples(found, n, 0, measured, **options)
        missing = [point.plan for point in points if point.plan.hash not in measured][:at_once]
        if not missing:
            return points, measured
        measured |= zip(
            (plan.hash for plan in missing), truth(found, missing).tolist(), strict=True
        )


@cache
def full_sweep() -> tuple[tuple[DesignPoint, ...], dict[str, float]]:
    return sweep(box("small", "qho"), TOTAL)


# What is sampled.


def test_claims_about_alexnet_are_among_the_corners() -> None:
    plans = corners(box("alexnet", "qho"))
    assert plans[0].unchanged  # the baseline comes first
    assert plans[0].cut.after == "classifier.6"
    # Q-i1: 74 % and 89 % of conv2's 192 channels, and so of its parameters.
    alone = [plan for plan in plans if len(plan.keep) == 1]
    assert [plan.keep for plan in alone] == [(("features.3", 50),), (("features.3", 22),)]
    assert {plan.codec for plan in alone} == {"identity"}
    # Q-i2: codes of 6.5 % and 0.2 % of the 4096 that cross behind the first fc layer.
    codes = [
        parse_ref(plan.codec).arguments["width"]
        for plan in plans
        if plan.cut.after == "classifier.1" and not plan.keep
    ]
    assert codes == [266, 8, 1]
    most = dict(plans[1].keep)
    assert most == {
        group.name: group.units - int(0.9 * group.units + 1e-9)
        for group in box("alexnet", "qho").space.groups
    }


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "quantised"])
@pytest.mark.parametrize("model", ["alexnet-cifar", "regnet_x_400mf-cifar", "small"])
def test_corners_are_plans_of_the_box_and_come_first(model: str, family: str) -> None:
    found = box(model, family)
    plans = corners(found)
    found.units(found.read(plans))
    assert len({plan.hash for plan in plans}) == len(plans)
    points = samples(found, len(plans) + 3, seed=1)
    assert tuple(point.plan for point in points[: len(plans)]) == plans
    assert [point.why for point in points] == [*["corner"] * len(plans), *["sobol"] * 3]


@pytest.mark.parametrize(("model", "cuts"), [("alexnet-cifar", 7), ("small", 2)])
def test_of_quantised_plans_the_design_has_every_one(model: str, cuts: int) -> None:
    found = box(model, "quantised")
    points = samples(found, 10_000, seed=1)
    assert {point.why for point in points} == {"every"}
    assert points[0].plan.unchanged  # the baseline comes first
    sent = [(p.plan.cut.after, p.plan.coder) for p in points[1:]]
    places = [cut.after for cut in found.cuts if cut.kind == "interior"]
    assert len(places) == cuts
    assert sent == [(after, f"huffman[bits={b}]") for b in range(8, 0, -1) for after in places]
    # It depends on no seed and on no accuracy, and a shorter design is its beginning.
    measured = {point.plan.hash: 0.5 for point in points[:7]}
    assert samples(found, 10_000, 2, measured) == points
    assert samples(found, 11, 0) == points[:11]


def test_sobol_points_are_scrambled_sobol() -> None:
    found = box("small", "qho")
    engine = qmc.Sobol(found.dimension, scramble=True, rng=np.random.default_rng(7))
    expected = found.plans(found.decide(engine.random_base2(5)))
    known = set(corners(found))
    points = samples(found, len(known) + 20, seed=7)
    drawn = [point.plan for point in points if point.why == "sobol"]
    assert drawn == [plan for plan in dict.fromkeys(expected) if plan not in known][:20]
    other = samples(found, len(known) + 20, seed=8)
    assert {p.plan for p in other[len(known) :]}.isdisjoint(drawn)


def test_half_is_sobol_and_half_adaptive_and_no_plan_comes_twice() -> None:
    points, measured = full_sweep()
    assert len(points) == TOTAL
    assert len({point.plan.hash for point in points}) == TOTAL == len(measured)
    why = [point.why for point in points]
    behind = why[why.index("sobol") :]
    assert behind[: 2 * SOBOL_FIRST] == [*["sobol"] * SOBOL_FIRST, *["adaptive"] * SOBOL_FIRST]
    assert behind[2 * SOBOL_FIRST :][: 2 * ROUND] == [*["sobol"] * ROUND, *["adaptive"] * ROUND]
    assert abs(why.count("sobol") - why.count("adaptive")) <= ROUND


def test_a_table_of_few_plans_comes_to_the_floor_earlier() -> None:
    found = box("small", "qho")
    spoken_of = len(corners(found))
    points, measured = sweep(found, spoken_of + 20, sobol_first=8)
    kinds = ["corner"] * spoken_of + (["sobol"] * 8 + ["adaptive"] * 8) * 2
    assert [point.why for point in points] == kinds[: spoken_of + 20]
    # It begins as a long one does, and takes up the sequence where it left it.
    long = [point.plan for point in samples(found, TOTAL, 0)]
    drawn = [point.plan for point in points if point.why == "sobol"]
    assert drawn == long[spoken_of:][: len(drawn)]
    near, far = (
        np.median([abs(measured[p.plan.hash] - 0.88) for p in points if p.why == why])
        for why in ("adaptive", "sobol")
    )
    assert near < far


@pytest.mark.parametrize("sobol_first", [0, -1, 17, 40])
def test_rounds_are_whole(sobol_first: int) -> None:
    with pytest.raises(CoinferError, match=f"sobol_first is {sobol_first}; (accepted|allowed) is"):
        samples(box("small", "qho"), 10, 0, sobol_first=sobol_first)


def test_adaptive_points_are_nearer_to_the_floor() -> None:
    found = box("small", "qho")
    for floor, options in (
        (0.88, {}),  # 2 points below the unpruned network's 0.9
        (0.80, {"max_accuracy_loss": 0.1}),
        (0.82, {"baseline": 0.84}),
    ):
        points, measured = sweep(found, 70, **options) if options else full_sweep()
        away = {
            why: [abs(measured[p.plan.hash] - floor) for p in points if p.why == why]
            for why in ("sobol", "adaptive")
        }
        assert np.median(away["adaptive"]) < np.median(away["sobol"]) / 2


def test_adaptive_points_are_unlike_each_other() -> None:
    rng = np.random.default_rng(3)
    points, others = rng.random((12, 2)), rng.random((5, 2))
    order = spread(points, others)
    assert sorted(order.tolist()) == list(range(12))
    chosen = list(map(tuple, others))
    for index in order:
        gaps = [min(np.hypot(*(p - c)) for c in np.array(chosen)) for p in points]
        assert gaps[index] == pytest.approx(max(gaps))
        chosen.append(tuple(points[index]))


# The design is one sequence.


def test_a_longer_design_only_appends() -> None:
    points, measured = full_sweep()
    for n in (0, 1, 20, 75):
        assert samples(box("small", "qho"), n, 0, measured) == points[:n]


def test_a_killed_sweep_goes_on_identically() -> None:
    points, measured = full_sweep()
    found = box("small", "qho")
    # Killed in the middle of the first adaptive round, and then measured in small portions.
    some = dict(list(measured.items())[: len(corners(found)) + SOBOL_FIRST + 5])
    again, labels = sweep(found, 80, at_once=7, start=some)
    assert again == points[:80]
    assert labels == {point.plan.hash: measured[point.plan.hash] for point in points[:80]}


def test_only_measured_plans_of_the_design_matter_and_not_their_order() -> None:
    points, measured = full_sweep()
    found = box("small", "qho")
    strange = dict(reversed(measured.items())) | {"0" * 64: 0.3}
    assert samples(found, TOTAL, 0, strange) == points


def test_an_adaptive_round_waits_for_all_that_stands_before_it() -> None:
    points, measured = full_sweep()
    first = [point.why for point in points].index("adaptive")
    found = box("small", "qho")
    assert samples(found, TOTAL, 0) == points[:first]
    missing = dict(list(measured.items())[: first - 1])
    assert samples(found, TOTAL, 0, missing) == points[:first]
    known = dict(list(measured.items())[:first])
    assert samples(found, TOTAL, 0, known) == points[: first + ROUND]


def test_what_cannot_be_measured_is_passed_over() -> None:
    points, measured = full_sweep()
    found = box("small", "qho")
    first = [point.why for point in points].index("adaptive")
    known: dict[str, float | None] = dict(list(measured.items())[:first])
    failed = points[first - 1].plan.hash
    without = samples(found, TOTAL, 0, known | {failed: None})
    assert without[:first] == points[:first]
    assert len(without) == first + ROUND  # it is not asked for again, nor waited for
    assert without != samples(found, TOTAL, 0, known)  # and its accuracy is not guessed
    with pytest.raises(CoinferError, match="none of the sampled plans could be measured"):
        samples(found, TOTAL, 0, dict.fromkeys(known))


def test_a_small_box_is_exhausted_without_repetition() -> None:
    found = box("small", "bottlenet++")
    points, _ = sweep(found, 1000)
    # Two cuts of 8 channels: codes of 1, 2, 4, 8 channels, halved or not.
    expected = {
        (cut.after, channels, spatial)
        for cut, channels, spatial in product(found.cuts, (1, 2, 4, 8), (0, 1))
    }
    assert len(expected) == 8 * len(found.cuts)
    options = [parse_ref(p.plan.codec).arguments for p in points]
    drawn = [
        (p.plan.cut.after, o["channels"], o["spatial"])
        for p, o in zip(points, options, strict=True)
    ]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == expected


@pytest.mark.parametrize("accuracy", [float("nan"), -0.1, 87.4])
def test_what_is_no_accuracy_is_refused(accuracy: float) -> None:
    with pytest.raises(CoinferError, match="accepted is 0 to 1, or None"):
        samples(box("small", "qho"), 10, 0, {"a" * 64: accuracy})
    with pytest.raises(CoinferError, match="samples is -1"):
        samples(box("small", "qho"), -1, 0)
    with pytest.raises(CoinferError, match="seed is -3"):
        samples(box("small", "qho"), 1, -3)
