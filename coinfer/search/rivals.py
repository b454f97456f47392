"""Rivals of QHO: well-known searches with the same judge, the same budget and one penalty rule.

Each judges exactly `max_evaluations` points per run. A point that is not acceptable counts as one
of them and is told to the rival as costing `WORST`, the largest float: it ranks below every
acceptable point, and level with all others that are not. All four use ranks alone, so that the size
of the penalty changes nothing. A safe point, where there is one, is judged first and is what a
rival begins with, as far as it can.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from coinfer.checks import whole_number
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.search.judge import Floats, Judge, Outcome, Trace, ask_judge, checked, safe_points

WORST = sys.float_info.max

# Yields points (n, D) and is sent their costs (n,), `WORST` where not acceptable; never ends.
Proposals = Generator[Floats, Floats, None]

# CMA-ES: the step that its authors advise for a range of 1.
_CMA_STEP = 0.3
# Differential evolution, Storn and Price 1997: 5 to 10 times D members, F = 0.5, CR = 0.9.
_DE_MEMBERS = 5
_DE_WEIGHT = 0.5
_DE_CROSSOVER = 0.9
# Random search: points in one question.
_BATCH = 256


def rival(
    name: str,
    judge: Judge,
    dimension: int,
    seeds: Sequence[int],
    max_evaluations: int,
    *,
    safe: ArrayLike | None = None,
) -> tuple[Outcome, ...]:
    """Return what a rival finds, one outcome for each seed.

    Args:
        name: `random`, `cma-es`, `tpe` or `differential-evolution`.
        judge: as of QHO; it is asked about one run at a time.
        dimension: D, of the unit cube; 2 or more for `cma-es`.
        seeds: one for each run, a whole number, 0 or more.
        max_evaluations: points judged in each run.
        safe: a point (R, D) for each run.

    Raises:
        CoinferError: when an argument is out of its range, the judge's answer is none, or the
            package that a rival needs is not installed.
    """
    if name not in RIVALS:
        raise UnknownNameError("rival", name, RIVALS)
    whole_number("the dimension", dimension, low=2 if name == "cma-es" else 1)
    whole_number("max_evaluations", max_evaluations, low=1)
    runs = [whole_number("a seed", seed) for seed in seeds]
    points = safe_points(safe, len(runs), dimension)
    outcomes = []
    for run, seed in enumerate(runs):
        proposals = RIVALS[name](dimension, seed, None if points is None else points[run])
        outcomes.append(_run(proposals, judge, run, max_evaluations))
    return tuple(outcomes)


def _run(proposals: Proposals, judge: Judge, run: int, budget: int) -> Outcome:
    """Judge what a rival proposes until the budget is spent, to the point."""
    best: Floats | None = None
    best_cost, judged = np.inf, 0
    falls: list[tuple[int, float]] = []
    points = next(proposals)
    while True:
        points = points[: budget - judged]
        points.flags.writeable = False
        owner = np.full(len(points), run, dtype=np.int64)
        acceptable, cost = checked(*ask_judge(judge, owner, points), len(points))
        cost = np.where(acceptable, cost, np.inf)
        for at in np.flatnonzero(cost < best_cost).tolist():
            if cost[at] < best_cost:
                best, best_cost = points[at].copy(), float(cost[at])
                falls.append((judged + at + 1, best_cost))
        judged += len(points)
        if judged == budget:
            break
        points = proposals.send(np.where(acceptable, cost, WORST))
    proposals.close()
    return Outcome(
        point=best,
        cost=best_cost,
        acceptable=best is not None,
        evaluations=judged,
        stop="budget" if best is not None else "nothing acceptable",
        trace=Trace(
            np.array([evaluations for evaluations, _ in falls], dtype=np.int64),
            np.array([fallen for _, fallen in falls], dtype=np.float64),
        ),
    )


def _random(dimension: int, seed: int, safe: Floats | None) -> Proposals:
    """Yield points drawn uniformly from the cube."""
    if safe is not None:
        yield safe[None]
    rng = np.random.default_rng(seed)
    while True:
        yield rng.random((_BATCH, dimension))


def _cma_es(dimension: int, seed: int, safe: Floats | None) -> Proposals:
    """Yield generations of CMA-ES (Hansen and Ostermeier 2001), by the package cmaes.

    It begins at the safe point or else the centre, with the package's population for D. When it
    has converged it begins again anywhere, with twice the population (Auger and Hansen 2005).
    """
    cmaes = _package("cmaes", "cma-es")
    if safe is not None:
        yield safe[None]
    rng = np.random.default_rng(seed)
    mean = np.full(dimension, 0.5) if safe is None else safe
    members: int | None = None
    while True:
        optimiser = cmaes.CMA(
            mean=mean,
            sigma=_CMA_STEP,
            bounds=np.tile([0.0, 1.0], (dimension, 1)),
            seed=_small(rng),
            population_size=members,
        )
        members = 2 * optimiser.population_size
        while not optimiser.should_stop():
            points = np.array([optimiser.ask() for _ in range(optimiser.population_size)])
            costs = yield points
            optimiser.tell(list(zip(points, costs.tolist(), strict=True)))
        mean = rng.random(dimension)


def _tpe(dimension: int, seed: int, safe: Floats | None) -> Proposals:
    """Yield the points, one by one, of a tree of Parzen estimators (Bergstra et al. 2011).

    By the package optuna, with its defaults: the first ten points are random.
    """
    optuna = _package("optuna", "tpe")
    names = [f"u{i}" for i in range(dimension)]
    space = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in names}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        sampler = optuna.samplers.TPESampler(seed=_small(np.random.default_rng(seed)))
        study = optuna.create_study(sampler=sampler)
    finally:
        optuna.logging.set_verbosity(verbosity)
    if safe is not None:
        study.enqueue_trial(dict(zip(names, safe.tolist(), strict=True)))
    while True:
        trial = study.ask(space)
        costs = yield np.array([[trial.params[name] for name in names]])
        study.tell(trial, float(costs[0]))


def _differential_evolution(dimension: int, seed: int, safe: Floats | None) -> Proposals:
    """Yield generations of DE/rand/1/bin (Storn and Price 1997), the safe point among the first.

    A coordinate outside of the cube is drawn again uniformly, as in QHO.
    """
    rng = np.random.default_rng(seed)
    n = max(4, _DE_MEMBERS * dimension)
    members = rng.random((n, dimension))
    if safe is not None:
        members[0] = safe
    costs = yield members.copy()
    each = np.arange(n)
    while True:
        others = rng.random((n, n))
        others[each, each] = 2.0  # never itself
        a, b, c = others.argsort(axis=1)[:, :3].T
        mutant = members[a] + _DE_WEIGHT * (members[b] - members[c])
        mutant = np.where((mutant < 0) | (mutant > 1), rng.random(mutant.shape), mutant)
        crossed = rng.random(mutant.shape) < _DE_CROSSOVER
        crossed[each, rng.integers(dimension, size=n)] = True
        trial = np.where(crossed, mutant, members)
        trial_costs = yield trial.copy()
        better = trial_costs <= costs
        members[better], costs = trial[better], np.where(better, trial_costs, costs)


def _small(rng: np.random.Generator) -> int:
    """Return a seed for generators that take 32 bits."""
    return int(rng.integers(2**32))


def _package(name: str, rival_name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise CoinferError(
            f"the rival '{rival_name}' needs the package {name}, which is not installed"
        ) from None


RIVALS: Mapping[str, Callable[[int, int, Floats | None], Proposals]] = MappingProxyType(
    {
        "random": _random,
        "cma-es": _cma_es,
        "tpe": _tpe,
        "differential-evolution": _differential_evolution,
    }
)
