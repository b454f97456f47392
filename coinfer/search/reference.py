"""The best plans known, which searches are held against (design ruling 10).

No method has the effort that goes in here: of every scenario, each cut is searched by itself, with
a codec and without one, by a population of its own; the best of the cheapest populations are then
improved move by move until no move helps. All scenarios advance as one batch, and a population sees
by how much a plan that is refused lacks accuracy, which the judge of a method does not tell.

What was found anywhere is priced everywhere: a plan for one rate in all other scenarios, and the
plans that other searches found (`also`, `priced`) beside it. The reference is the least, so that by
construction it costs no more than any of them, and does not rise with the rate. It is no proof of
an optimum.

A scenario's own search does not depend on what is searched beside it; more scenarios can only
lower its reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import ArrayLike

from coinfer.accuracy.variables import unit_of_whole
from coinfer.checks import whole_number
from coinfer.cost import Workload, plan_workload
from coinfer.errors import CoinferError
from coinfer.plan import Plan, Task
from coinfer.search.judge import Floats, Ints
from coinfer.search.problem import Environments, Objective, Problem

# Points judged at once: what lies between stays in the processor's cache.
_BLOCK = 4096
# Of a population, the share whose members lead the others (Zhang and Sanderson 2009, p).
_LEADING = 0.1
# Shares of coordinates taken from a mutant: few suit those that do not interact, many the others.
_CROSSOVERS = (0.3, 0.9)


@dataclass(frozen=True)
class Effort:
    """How hard is searched.

    Attributes:
        members: of a population; there is one per scenario, cut, and with or without codec.
        generations: of every population.
        starts: how many populations of a scenario, the cheapest ones, have their best improved.
        halvings: the smallest move of a coordinate is 2^-halvings.
        moves: most moves from a start.
    """

    members: int = 48
    generations: int = 100
    starts: int = 3
    halvings: int = 12
    moves: int = 200

    def __post_init__(self) -> None:
        whole_number("members", self.members, low=4)
        for name in ("generations", "starts", "halvings", "moves"):
            whole_number(name, getattr(self, name), low=1)


@dataclass(frozen=True, eq=False)
class Reference:
    """The best known of one scenario.

    Attributes:
        cost: seconds or joules; inf where nothing acceptable is known.
        point: of the unit cube, (D,); None where none is known, or the best is a `priced` one.
        priced: position of the best among the plans priced elsewhere; None where it has a point.
        evaluations: points judged for this scenario.
    """

    cost: float
    point: Floats | None
    priced: int | None
    evaluations: int


def best_known(
    problem: Problem,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    also: Sequence[ArrayLike] = (),
    priced: ArrayLike | None = None,
    effort: Effort | None = None,
) -> tuple[Reference, ...]:
    """Return the best known of every scenario of a problem, in the order of its environments.

    Args:
        problem: what is searched; R scenarios.
        seeds: one for each time that all of it is done.
        also: points (n, D) of its box that other searches found; judged like all others, in
            every scenario.
        priced: what acceptable plans found elsewhere (of other families, say) cost in every
            scenario, (n, R), as `plan_costs` gives; inf or NaN where a plan is not acceptable.
        effort: how hard is searched.

    Raises:
        CoinferError: when an argument is not of that form.
    """
    effort = effort or Effort()
    count, dimension = len(problem.environments.rate_bps), problem.box.dimension
    starts = [whole_number("a seed", seed) for seed in seeds]
    elsewhere = _priced(priced, count)
    pool = [_points(points, dimension) for points in also]
    spent = np.zeros(count, dtype=np.int64)
    every = np.arange(count)

    for seed in starts:
        points, runs, evaluations = _populations(problem, effort, seed)
        spent += evaluations
        pool.append(_improved(problem, effort, points, runs, spent))
    costs, known = _everywhere(problem, pool, spent)
    while len(known):
        # From what was found for another scenario this one may get further.
        best = costs.argmin(axis=0)
        found = every[np.isfinite(costs[best, every])]
        better = _improved(problem, effort, known[best[found]], found, spent)
        more, known = _everywhere(problem, [known, better], spent)
        gained = bool((more.min(axis=0) < costs.min(axis=0)).any())
        costs = more
        if not gained:
            break

    references = []
    for run in range(count):
        column = np.concatenate([costs[:, run], elsewhere[:, run]])
        best_at = int(column.argmin()) if len(column) else 0
        if not len(column) or np.isinf(column[best_at]):
            references.append(Reference(np.inf, None, None, int(spent[run])))
        elif best_at < len(known):
            point = known[best_at].copy()
            references.append(Reference(float(column[best_at]), point, None, int(spent[run])))
        else:
            place = best_at - len(known)
            references.append(Reference(float(column[best_at]), None, place, int(spent[run])))
    return tuple(references)


def plan_costs(
    plans: Sequence[Plan], task: Task, environments: Environments, objective: Objective = "latency"
) -> Floats:
    """Return what plans of any family cost in every scenario, (n, R), by the harness's own count.

    Raises:
        CoinferError: as `coinfer.cost.plan_workload`, and for a plan that sends symbols.
    """
    runs = np.arange(len(environments.rate_bps))
    costs = np.empty((len(plans), len(runs)))
    for row, plan in enumerate(plans):
        work = plan_workload(plan, task, environments.convention)
        if work.uplink_symbols or work.uncoded:
            raise CoinferError(
                f"plan {plan.hash[:12]} sends through channel '{plan.channel}'; accepted are plans "
                "whose bits arrive without error"
            )
        names = ("device_flops", "server_flops", "uplink_bits", "encode_flops", "decode_flops")
        columns = (np.full(len(runs), getattr(work, name), dtype=float) for name in names)
        costs[row] = environments.cost(Workload(*columns), runs, objective)
    return costs


def _populations(problem: Problem, effort: Effort, seed: int) -> tuple[Floats, Ints, int]:
    """Let all populations evolve; return the best of the cheapest ones.

    Differential evolution towards one of the leading members, with one difference of two others
    (JADE's mutation). Of two plans that are refused the one that lacks less accuracy is better, and
    any that is acceptable is better than both (Deb 2000). Every scenario gets the same numbers
    from the generator.

    Returns:
        points (S, D), up to `starts` of each scenario, their scenarios (S,), and how many points
        were judged for each scenario.
    """
    pinned, rng = _pinned(problem), np.random.default_rng(seed)
    free = np.isnan(pinned)[:, None]  # (V, 1, D), V populations of a scenario
    count, n = len(problem.environments.rate_bps), effort.members
    (kinds, dimension), each = pinned.shape, np.arange(n)
    shape = (count, kinds, n)
    if not kinds:
        return np.empty((0, dimension)), np.empty(0, dtype=np.int64), 0
    runs = np.repeat(np.arange(count), kinds * n)

    def assess(points: Floats) -> tuple[Floats, Floats]:
        lacking, cost = _assess(problem, runs, points.reshape(-1, dimension))
        return lacking.reshape(shape), cost.reshape(shape)

    # The unpruned network; half of the others anywhere, half between there and it.
    whole = _whole(problem)
    reach = np.where(each[:, None] % 2, 1.0, rng.random((kinds, n, 1)) * (each > 0)[:, None])
    first = whole + reach * (rng.random((kinds, n, dimension)) - whole)
    first = np.where(free, first, pinned[:, None])
    members = np.repeat(first[None], count, axis=0)
    lacking, cost = assess(members)
    leading = max(1, int(_LEADING * n))
    own = np.arange(kinds)[:, None]
    for _ in range(effort.generations):
        order = np.lexsort((cost, lacking), axis=-1)
        leader = order[:, own, rng.integers(leading, size=(kinds, n))][..., None]
        others = (each + 1 + rng.integers(n - 1, size=(2, kinds, n))) % n
        weight = 0.4 + 0.5 * rng.random((kinds, n, 1))
        mutant = members + weight * (np.take_along_axis(members, leader, axis=2) - members)
        mutant += weight * (members[:, own, others[0]] - members[:, own, others[1]])
        crossed = rng.random((kinds, n, dimension)) < rng.choice(_CROSSOVERS, size=(kinds, n, 1))
        crossed |= np.arange(dimension) == rng.integers(dimension, size=(kinds, n, 1))
        trial = np.where(crossed & free, np.clip(mutant, 0.0, 1.0), members)
        trial_lacking, trial_cost = assess(trial)
        better = (trial_lacking < lacking) | ((trial_lacking == lacking) & (trial_cost <= cost))
        members = np.where(better[..., None], trial, members)
        lacking, cost = (
            np.where(better, new, old)
            for new, old in ((trial_lacking, lacking), (trial_cost, cost))
        )

    winner = np.lexsort((cost, lacking), axis=-1)[:, :, :1]
    best = np.take_along_axis(members, winner[..., None], axis=2)[:, :, 0]
    acceptable = np.take_along_axis(lacking, winner, axis=2)[:, :, 0] == 0
    least = np.where(acceptable, np.take_along_axis(cost, winner, axis=2)[:, :, 0], np.inf)
    chosen = np.argsort(least, axis=1, kind="stable")[:, : effort.starts]
    run, place = np.nonzero(np.isfinite(np.take_along_axis(least, chosen, axis=1)))
    return best[run, chosen[run, place]], run, kinds * n * (effort.generations + 1)


def _pinned(problem: Problem) -> Floats:
    """Return what is held fixed in each population of a scenario, (V, D): NaN where nothing is.

    The cut; and in every second population where a codec is possible, the codec: at what narrows
    nothing, so that there is none.
    """
    box = problem.box
    rows = []
    for cut in np.flatnonzero(problem.cuts).tolist():
        row = np.full(box.dimension, np.nan)
        row[box.names.index("cut")] = unit_of_whole(cut, 0, len(box.cuts) - 1)
        without = row.copy()
        without[box.codec_columns] = _whole(problem)[box.codec_columns]
        encodes = box.cuts[cut].kind == "interior" and len(box.codec.variables) > 0
        rows += [without, row] if encodes else [without]
    return np.array(rows).reshape(-1, box.dimension)


def _whole(problem: Problem) -> Floats:
    """Return the point at which nothing is removed or narrowed, (D,)."""
    return np.array([float(variable.effect > 0) for variable in problem.box.variables])


def _improved(problem: Problem, effort: Effort, points: Floats, runs: Ints, spent: Ints) -> Floats:
    """Move acceptable points (S, D) of scenarios (S,) on, while a move makes them cheaper.

    The best of all moves of one coordinate is taken; where none helps, the best of two coordinates
    together (less pruning here for more there). What it takes is added to `spent`, (R,).
    """
    points = points.copy()
    _, cost = _assess(problem, runs, points)
    moves = _moves(problem, effort)
    going = np.arange(len(points))
    for _ in range(effort.moves):
        moved = np.zeros(len(points), dtype=np.bool_)
        for some in moves:
            left = going[~moved[going]]
            step = max(1, _BLOCK // max(1, len(some)))
            for start in range(0, len(left), step):
                part = left[start : start + step]
                trials = np.clip(points[part][:, None] + some, 0.0, 1.0)
                owners = np.repeat(runs[part], len(some))
                lacking, found = _assess(problem, owners, trials.reshape(len(owners), -1))
                found = np.where(lacking == 0, found, np.inf).reshape(len(part), -1)
                np.add.at(spent, owners, 1)
                at = found.argmin(axis=1)
                least = found[np.arange(len(part)), at]
                cheaper = least < cost[part]
                points[part[cheaper]] = trials[cheaper, at[cheaper]]
                cost[part[cheaper]] = least[cheaper]
                moved[part] = cheaper
        going = going[moved[going]]
        if not len(going):
            break
    return points


def _moves(problem: Problem, effort: Effort) -> tuple[Floats, Floats]:
    """Return the moves of one coordinate, and of two by as much, (M, D) each; cuts stay."""
    dimension, cut = problem.box.dimension, problem.box.names.index("cut")
    columns = [column for column in range(dimension) if column != cut]
    sizes = [0.5**halving for halving in range(effort.halvings + 1)]
    one = np.zeros((2 * len(columns) * len(sizes), dimension))
    for row, (column, size, sign) in enumerate(product(columns, sizes, (-1, 1))):
        one[row, column] = sign * size
    pairs = list(combinations(columns, 2))
    two = np.zeros((4 * len(pairs) * effort.halvings, dimension))
    for row, (pair, size, a, b) in enumerate(product(pairs, sizes[1:], (-1, 1), (-1, 1))):
        two[row, pair] = a * size, b * size
    return one, two


def _everywhere(problem: Problem, pool: Sequence[Floats], spent: Ints) -> tuple[Floats, Floats]:
    """Return what every distinct point of a pool costs in every scenario, (P, R), and the points.

    inf where it is not acceptable. What it takes is added to `spent`, (R,).
    """
    found = np.concatenate([np.empty((0, problem.box.dimension)), *pool])
    _, first = np.unique(found, axis=0, return_index=True)
    points = found[np.sort(first)]
    costs = np.empty((len(points), len(spent)))
    for run in range(len(spent)):
        acceptable, cost = problem.judge(np.full(len(points), run), points)
        costs[:, run] = np.where(acceptable, cost, np.inf)
    spent += len(points)
    return costs, points


def _assess(problem: Problem, runs: Ints, points: Floats) -> tuple[Floats, Floats]:
    """Return by how much accuracy points lack, 0 for acceptable ones, and what they cost, (B,)."""
    lacking, cost = np.empty(len(points)), np.empty(len(points))
    for start in range(0, len(points), _BLOCK):
        part = slice(start, start + _BLOCK)
        accuracy, acceptable, cost[part] = problem.assess(runs[part], points[part])
        # However little it lacks, it is not acceptable.
        short = np.maximum(problem.floor - accuracy, np.finfo(np.float64).tiny)
        lacking[part] = np.where(acceptable, 0.0, short)
    return lacking, cost


def _points(points: ArrayLike, dimension: int) -> Floats:
    """Return points that a caller gave, checked."""
    found = np.asarray(points, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != dimension or not ((found >= 0) & (found <= 1)).all():
        raise CoinferError(
            f"points of another search have shape {found.shape}; accepted are points of the unit "
            f"cube, shape (n, {dimension})"
        )
    return found


def _priced(priced: ArrayLike | None, count: int) -> Floats:
    """Return costs that a caller gave, (n, R), checked; NaN becomes inf."""
    if priced is None:
        return np.empty((0, count))
    found = np.asarray(priced, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != count:
        raise CoinferError(
            f"costs of plans found elsewhere have shape {found.shape}; accepted: (n, {count}), a "
            "column for each scenario"
        )
    return np.where(np.isnan(found), np.inf, found)
