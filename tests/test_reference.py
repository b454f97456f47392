"""The best-known reference: an optimum where all plans can be counted out, and never beaten."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinfer.accuracy.box import Box, Decisions, search_box
from coinfer.accuracy.codec_variables import KERNELS, STRIDES
from coinfer.errors import CoinferError
from coinfer.plan import Scenario, Task
from coinfer.search.judge import Floats
from coinfer.search.problem import Environments, Problem, box_workload
from coinfer.search.qho import search
from coinfer.search.reference import Effort, Reference, best_known, plan_costs
from coinfer.search.settings import Accept, Settings
from methods.worlds import scenario, small_task

RATES = (1e3, 1e5, 1e6, 1e7, 1e9)
BASELINE, FLOOR = 0.9, 0.88
# Enough for these small boxes, in little time.
QUICK = Effort(members=16, generations=25, starts=2, moves=40)


@cache
def task() -> Task:
    return small_task(groups=True)


@cache
def box(family: str) -> Box:
    return search_box(task(), family)


def curved(features: Floats) -> Floats:
    """Accuracy that falls ever faster with what is removed and with the logarithm of a width."""
    lost = 0.05 * (features[:, :2] ** 2).sum(axis=1)
    if features.shape[1] > 3:
        widths = features[:, [3, 6, 9, 10]] / [8, 8, 16, 16]
        lost = lost - 0.0008 * np.log(np.clip(widths, 1e-3, 1)).sum(axis=1)
        lost = lost + 0.0005 * (features[:, [5, 8]] - 1).sum(axis=1)
    return np.asarray(BASELINE - lost)


def rough(features: Floats) -> Floats:
    """The same with a ripple, so that there are local optima."""
    return curved(features) + 0.01 * np.sin(40 * features[:, 0]) * np.cos(23 * features[:, 1])


def problem(
    family: str,
    scenarios: Sequence[Scenario],
    *,
    predict: object = curved,
    floor: float = FLOOR,
    cuts: Sequence[bool] | None = None,
) -> Problem:
    found = box(family)
    allowed = np.array([True] * len(found.cuts) if cuts is None else cuts)
    environments = Environments.of(scenarios)
    return Problem(found, predict, BASELINE, floor, environments, task().source, allowed)  # type: ignore[arg-type]


def at_rates(rates: Sequence[float], convention: str = "qho2024") -> list[Scenario]:
    return [scenario(rate, device_flops_per_s=1e7, convention=convention) for rate in rates]


def every_plan(family: str) -> Decisions:
    """All plans of the small box, counted out by their definition (P4 <= P1 <= channels...)."""
    found, rows = box(family), []
    for kept in product(range(1, 9), range(2, 17)):  # sparsities to 0.9: 1 of 8, 2 of 16
        for place, cut in enumerate(found.cuts):
            codecs = [[0] * len(found.codec.variables)]
            if family == "qho" and cut.kind == "interior":
                at = found.crossing(np.array([kept]), np.array([place]))
                channels, elements = int(at.channels[0]), int(at.elements[0])
                if at.maps[0]:
                    widths = [(a, b) for a in range(1, channels + 1) for b in range(1, a + 1)]
                    codecs = [
                        [a, j, s, b, k, t, 0, 0]
                        for (a, b), j, k, s, t in product(
                            widths, KERNELS, KERNELS, STRIDES, STRIDES
                        )
                    ]
                else:
                    widths = [(a, b) for a in range(1, elements + 1) for b in range(1, a + 1)]
                    codecs = [[0] * 6 + [a, b] for a, b in widths]
            rows += [[*kept, place, *codec] for codec in codecs]
    table = np.array(rows)
    return Decisions(table[:, :2], table[:, 2], table[:, 3:], np.full(len(table), nan))


def told(references: Sequence[Reference]) -> list[object]:
    return [
        (r.cost, None if r.point is None else r.point.tolist(), r.priced, r.evaluations)
        for r in references
    ]


@pytest.mark.parametrize("predict", [curved, rough])
@pytest.mark.parametrize("family", ["prune-partition", "qho"])
def test_it_is_the_optimum_of_a_box_that_can_be_counted_out(family: str, predict: object) -> None:
    asked = problem(family, at_rates(RATES), predict=predict)
    plans = every_plan(family)
    work = box_workload(asked.box, plans, asked.environments.convention, task().source)
    whole = asked.box.unchanged(plans)
    accurate = np.where(whole, BASELINE, asked.predict(asked.box.features(plans))) > FLOOR
    assert 0 < accurate.sum() < len(plans)
    cuts = set()
    for run, reference in enumerate(best_known(asked)):
        costs = asked.environments.cost(work, np.full(len(plans), run), "latency")
        assert reference.cost == costs[accurate].min()
        assert reference.point is not None
        cuts.add(int(asked.box.decide(reference.point[None]).cut[0]))
    assert len(cuts) > 1  # the rates ask for different plans


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.floats(0.0, 1e9), min_size=2, max_size=5).map(sorted),
    st.integers(0, 2**32),
    st.sampled_from(["qho2024", "harmonised"]),
)
def test_it_never_rises_with_the_rate(rates: list[float], seed: int, convention: str) -> None:
    """Even where the search is too short to find any optimum."""
    asked = problem("qho", at_rates(rates, convention), predict=rough)
    short = Effort(members=4, generations=1, starts=1, halvings=2, moves=1)
    costs = [found.cost for found in best_known(asked, seeds=[seed], effort=short)]
    assert costs == sorted(costs, reverse=True)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["own", "elitist"]))
def test_no_search_beats_it_once_its_answer_is_handed_in(seed: int, accept: Accept) -> None:
    asked = problem("qho", at_rates(RATES), predict=rough)
    runs = range(seed, seed + 5)
    outcomes = search(
        asked.judge, asked.box.dimension, runs, Settings(accept=accept), max_evaluations=600
    )
    short = Effort(members=4, generations=1, starts=1, halvings=1, moves=1)
    points = np.array([outcome.point for outcome in outcomes])
    references = best_known(asked, seeds=[0], also=[points], effort=short)
    for outcome, reference in zip(outcomes, references, strict=True):
        assert reference.cost <= outcome.cost
    # Without them such a short search is beaten: the test can fail.
    alone = best_known(asked, seeds=[0], effort=short)
    assert any(o.cost < r.cost for o, r in zip(outcomes, alone, strict=True))


def test_it_is_deterministic_and_company_only_lowers_it() -> None:
    asked = problem("qho", at_rates(RATES), predict=rough)
    together = best_known(asked, seeds=[4], effort=QUICK)
    assert told(best_known(asked, seeds=[4], effort=QUICK)) == told(together)
    assert told(best_known(asked, seeds=[5], effort=QUICK)) != told(together)
    for rate, reference in zip(RATES, together, strict=True):
        (alone,) = best_known(
            problem("qho", at_rates([rate]), predict=rough), seeds=[4], effort=QUICK
        )
        assert reference.cost <= alone.cost


def test_its_answer_is_acceptable_and_costs_what_it_says() -> None:
    asked = problem("qho", at_rates(RATES, "harmonised"), predict=rough)
    for run, reference in enumerate(best_known(asked, seeds=[0], effort=QUICK)):
        assert reference.point is not None
        acceptable, cost = asked.judge(np.array([run]), reference.point[None])
        assert acceptable.tolist() == [True]
        assert cost.tolist() == [reference.cost]


def test_plans_found_elsewhere_count_where_they_are_cheaper() -> None:
    asked = problem("qho", at_rates(RATES))
    own = [r.cost for r in best_known(asked, seeds=[0], effort=QUICK)]
    priced = [[2 * cost for cost in own], [nan, inf, *[cost / 2 for cost in own[2:]]]]
    found = best_known(asked, seeds=[0], effort=QUICK, priced=priced)
    assert [r.cost for r in found] == [*own[:2], *[cost / 2 for cost in own[2:]]]
    assert [r.priced for r in found] == [None, None, 1, 1, 1]
    assert [r.point is None for r in found] == [False, False, True, True, True]


@pytest.mark.parametrize("convention", ["qho2024", "harmonised"])
def test_plans_are_priced_alike_by_box_and_by_harness(convention: str) -> None:
    asked = problem("qho", at_rates(RATES, convention))
    points = np.random.default_rng(0).random((20, asked.box.dimension))
    costs = plan_costs(asked.box.plans(asked.box.decide(points)), task(), asked.environments)
    for run in range(len(RATES)):
        expected = asked.cost(np.full(20, run), points, "latency")
        assert costs[:, run].tolist() == expected.tolist()


def test_forbidden_cuts_are_not_searched() -> None:
    (reference,) = best_known(
        problem("qho", at_rates([1e3]), cuts=[False, True, False]), seeds=[0], effort=QUICK
    )
    assert reference.point is not None
    asked = box("qho")
    assert asked.cuts[int(asked.decide(reference.point[None]).cut[0])].after == "fc4"


@pytest.mark.parametrize("missing", [{"floor": 1.0}, {"cuts": [False, False, False]}])
def test_where_nothing_is_acceptable_nothing_is_known(missing: dict[str, object]) -> None:
    asked = problem("qho", at_rates([1e5, 1e6]), **missing)  # type: ignore[arg-type]
    found = best_known(asked, seeds=[0], effort=QUICK, also=[[[0.5] * asked.box.dimension]])
    assert [(r.cost, r.point, r.priced) for r in found] == [(inf, None, None)] * 2
    found = best_known(asked, seeds=[0], effort=QUICK, priced=[[1.0, inf]])
    assert [(r.cost, r.priced) for r in found] == [(1.0, 0), (inf, None)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"also": [[[0.5]]]}, r"points of another search have shape \(1, 1\); accepted"),
        ({"also": [[[2.0] * 11]]}, "points of another search .* of the unit cube"),
        ({"priced": [[1.0, 2.0, 3.0]]}, r"costs of plans .* shape \(1, 3\); accepted: \(n, 2\)"),
        ({"seeds": [-1]}, "a seed is -1; allowed is a whole number, 0 or more"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, object], message: str) -> None:
    asked = problem("qho", at_rates([1e5, 1e6]))
    with pytest.raises(CoinferError, match=f"^{message}"):
        best_known(asked, effort=QUICK, **arguments)  # type: ignore[arg-type]
    with pytest.raises(CoinferError, match="^members is 3; allowed is a whole number, 4 or more"):
        Effort(members=3)
