"""Rivals of QHO keep to the budget, answer with acceptable points only, and search."""

from __future__ import annotations

import sys
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinfer.errors import CoinferError
from coinfer.search.judge import Flags, Floats, Ints, Outcome
from coinfer.search.rivals import RIVALS, WORST, rival

pytest.importorskip("cmaes")
pytest.importorskip("optuna")

NAMES = sorted(RIVALS)


def bowl(runs: Ints, points: Floats) -> tuple[Flags, Floats]:
    cost = ((points - 0.3) ** 2).sum(axis=1)
    acceptable = points[:, 0] > 0.45
    return acceptable, np.where(acceptable, cost, nan)


def hopeless(_: Ints, points: Floats) -> tuple[Flags, Floats]:
    return np.zeros(len(points), dtype=np.bool_), np.full(len(points), nan)


class Watch:
    """A judge that writes down what it is asked."""

    def __init__(self, judge: Any = bowl) -> None:
        self.judge = judge
        self.runs: list[int] = []
        self.points: list[list[float]] = []

    def __call__(self, runs: Ints, points: Floats) -> Any:
        self.runs += runs.tolist()
        self.points += points.tolist()
        return self.judge(runs, points)


def told(outcome: Outcome) -> list[Any]:
    return [
        None if outcome.point is None else outcome.point.tolist(),
        outcome.cost,
        outcome.acceptable,
        outcome.evaluations,
        outcome.stop,
        outcome.trace.evaluations.tolist(),
        outcome.trace.costs.tolist(),
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("budget", [1, 29, 80])
def test_the_budget_is_kept_to_the_point_and_the_best_is_the_best(name: str, budget: int) -> None:
    watch = Watch()
    outcomes = rival(name, watch, 2, [5, 6], budget)
    assert watch.runs == [0] * budget + [1] * budget
    assert all(0 <= x <= 1 for point in watch.points for x in point)
    for run, outcome in enumerate(outcomes):
        mine = np.array(watch.points[run * budget : (run + 1) * budget])
        cost = np.where(mine[:, 0] > 0.45, ((mine - 0.3) ** 2).sum(axis=1), inf)
        lowest = np.minimum.accumulate(cost)
        assert outcome.evaluations == budget
        assert outcome.trace.at(np.arange(1, budget + 1)).tolist() == lowest.tolist()
        assert outcome.cost == lowest[-1]
        if outcome.point is not None:
            assert outcome.point.tolist() == mine[cost.argmin()].tolist()
        assert outcome.acceptable == np.isfinite(lowest[-1])


@pytest.mark.parametrize("name", NAMES)
def test_a_run_depends_on_its_seed_alone(name: str) -> None:
    first, second = rival(name, bowl, 2, [5, 6], 60)
    assert told(rival(name, bowl, 2, [5], 60)[0]) == told(first)
    assert told(first) != told(second)


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_is_acceptable_nothing_is_found(name: str) -> None:
    (outcome,) = rival(name, hopeless, 2, [0], 90)
    assert told(outcome) == [None, inf, False, 90, "nothing acceptable", [], []]


@pytest.mark.parametrize("name", NAMES)
def test_a_safe_point_is_judged_first(name: str) -> None:
    watch = Watch()
    (outcome,) = rival(name, watch, 2, [0], 1, safe=[[0.75, 0.5]])
    assert watch.points == [[0.75, 0.5]]
    assert outcome.point is not None
    assert outcome.point.tolist() == [0.75, 0.5]


@pytest.mark.parametrize("name", ["cma-es", "tpe", "differential-evolution"])
def test_a_rival_searches(name: str) -> None:
    """With an optimum at (0.45, 0.3, 0.3): on the median of seeds cheaper than random points."""
    seeds = range(5)
    searched = np.median([o.cost for o in rival(name, bowl, 3, seeds, 120)])
    drawn = np.median([o.cost for o in rival("random", bowl, 3, seeds, 120)])
    assert searched < drawn


def test_cma_es_begins_again_when_it_has_converged() -> None:
    watch = Watch(lambda _, points: (np.ones(len(points), bool), ((points - 0.3) ** 2).sum(1)))
    (outcome,) = rival("cma-es", watch, 2, [1], 3000)
    assert outcome.cost < 1e-12
    far = np.abs(np.array(watch.points) - 0.3).max(axis=1) > 0.2
    assert far[:50].any()  # it begins wide,
    assert not far[300:330].any()  # closes in,
    assert far[400:].any()  # and begins again


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 3), st.booleans())
def test_differential_evolution_is_rand_1_bin(seed: int, dimension: int, safe: bool) -> None:
    """Against a loop over members and coordinates, on the same random numbers."""
    start = np.full(dimension, 0.5) if safe else None
    proposals = RIVALS["differential-evolution"](dimension, seed, start)
    rng = np.random.default_rng(seed)
    n = max(4, 5 * dimension)
    members = rng.random((n, dimension)).tolist()
    if safe:
        members[0] = [0.5] * dimension
    points = next(proposals)
    assert points.tolist() == members

    def cost(x: list[float]) -> float:
        return sum((v - 0.3) ** 2 for v in x) if x[0] > 0.45 else WORST

    costs = [cost(x) for x in members]
    for _ in range(5):
        points = proposals.send(np.array([cost(x) for x in points.tolist()]))
        draws = rng.random((n, n))
        fresh, chance = rng.random((n, dimension)), rng.random((n, dimension))
        always = rng.integers(dimension, size=n)
        trials = []
        for i in range(n):
            a, b, c = sorted((j for j in range(n) if j != i), key=lambda j: draws[i, j])[:3]
            trial = list(members[i])
            for d in range(dimension):
                if chance[i, d] < 0.9 or d == always[i]:
                    x = members[a][d] + 0.5 * (members[b][d] - members[c][d])
                    trial[d] = x if 0 <= x <= 1 else float(fresh[i, d])
            trials.append(trial)
        assert points.tolist() == trials
        for i, trial in enumerate(trials):
            if cost(trial) <= costs[i]:
                members[i], costs[i] = trial, cost(trial)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cma"}, "unknown rival 'cma'; did you mean 'cma-es'"),
        ({"dimension": 0}, "the dimension is 0; allowed is a whole number, 1 or more"),
        ({"name": "cma-es", "dimension": 1}, "the dimension is 1; allowed is .* 2 or more"),
        ({"max_evaluations": 0}, "max_evaluations is 0; allowed is a whole number, 1 or more"),
        ({"seeds": [-1]}, "a seed is -1; allowed is a whole number, 0 or more"),
        ({"safe": [[0.5, 2.0]]}, "the safe points .* of the unit cube"),
        ({"judge": lambda runs, points: None}, "the judge returned NoneType; accepted is a pair"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], message: str) -> None:
    given_ = {"name": "random", "judge": bowl, "dimension": 2, "seeds": [0], "max_evaluations": 3}
    with pytest.raises(CoinferError, match=f"^{message}"):
        rival(**{**given_, **arguments})


@pytest.mark.parametrize(("name", "package"), [("cma-es", "cmaes"), ("tpe", "optuna")])
def test_a_missing_package_is_named(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CoinferError, match=f"'{name}' needs the package {package}, which is not"):
        rival(name, bowl, 2, [0], 3)
