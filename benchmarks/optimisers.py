"""QHO beside other searches, at equal numbers of evaluations, on a measured network.

One evaluation asks the accuracy predictor and the cost model about one plan. Every search gets the
same box, predictor, floor and number of evaluations, and no plan to begin with. One that ends by
itself, as QHO does after its last scale, begins again with another seed until its evaluations are
spent, as CMA-ES does when it has converged. An answer that the predictor refuses is none: the
literal reading of QHO can hold on to one.

Costs are told relative to the best known of the cell (`coinfer.search.reference`), which knows all
answers and so is never beaten. Latencies are analytic, accuracies predicted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from coinfer.accuracy.box import search_box
from coinfer.accuracy.surrogate import Labels, Surrogate, kept_surrogate
from coinfer.accuracy.table import Table
from coinfer.cachefolder import cache_folder, write_atomically
from coinfer.checks import whole_number
from coinfer.conventions import CUT_KINDS
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.plan import Scenario
from coinfer.search.judge import Floats, Ints, Judge, Trace
from coinfer.search.problem import Environments, Problem
from coinfer.search.qho import Qho, QhoOutcome, search
from coinfer.search.reference import Reference, best_known
from coinfer.search.rivals import RIVALS, rival
from coinfer.search.settings import Settings
from coinfer.serial import canonical_json, content_hash, to_data
from coinfer.sources import closure_hash
from coinfer.tasks import make_task
from coinfer.versions import installed_version

FAMILY = "qho"
"""Which plans are searched."""

READINGS: Mapping[str, Settings] = MappingProxyType(
    {
        "qho": Settings(),
        "qho-elitist": Settings(accept="elitist"),
        "qho-literal": Settings.literal(),
    }
)
"""QHO as restated, with the acceptance as printed, and wholly as printed."""

OPTIMISERS = (*READINGS, *RIVALS)
"""All that are compared."""

_PACKAGES = ("numpy", "scipy", "scikit-learn", "cmaes", "optuna")
_AHEAD = 16
SCHEMA = 1
"""Of answers that are kept and of the provenance."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What one run of a search found.

    Attributes:
        seed: of the run.
        evaluations: points judged.
        restarts: how often the search began again.
        point: its answer, (D,); None where it has none that is acceptable.
        cost: of the answer in seconds; inf where there is none.
        trace: how the cost fell.
    """

    seed: int
    evaluations: int
    restarts: int
    point: Floats | None
    cost: float
    trace: Trace


@dataclass(frozen=True, eq=False)
class Contest:
    """What is compared, and where.

    Attributes:
        table: measured plans that the accuracy predictor learns from.
        scenarios: the cells, all under one convention.
        names: of each cell: device, server and link, as the user spells them.
        optimisers: names among OPTIMISERS.
        seeds: of the runs of every search in every cell.
        evaluations: points judged in every run.
        max_accuracy_loss: the floor lies this much (0..1) below the table's unpruned plan.

    Raises:
        CoinferError: when an optimiser is not known, a number is out of its range, or the table
            has plans of another family or no unpruned one.
    """

    table: Table
    scenarios: tuple[Scenario, ...]
    names: tuple[tuple[str, str, str], ...]
    optimisers: tuple[str, ...] = OPTIMISERS
    seeds: int = 20
    evaluations: int = 1000
    max_accuracy_loss: float = 0.02

    def __post_init__(self) -> None:
        for name in self.optimisers:
            if name not in OPTIMISERS:
                raise UnknownNameError("optimiser", name, OPTIMISERS)
        whole_number("seeds", self.seeds, low=1)
        whole_number("evaluations", self.evaluations, low=1)
        origin = self.table.origin
        if origin.family != FAMILY:
            raise CoinferError(
                f"table '{origin.name}' has '{origin.family}' plans; accepted are '{FAMILY}' plans"
            )
        if not any(sample.measurement.plan.unchanged for sample in self.table.samples):
            raise CoinferError(
                f"table '{origin.name}' lacks the unpruned network, from which the accuracy floor "
                "is counted"
            )

    @property
    def baseline(self) -> float:
        """Validation accuracy of the unpruned network under the same recipe (design ruling 4)."""
        measured = (sample.measurement for sample in self.table.samples)
        return next(m.val_accuracy for m in measured if m.plan.unchanged)

    def labels(self) -> Labels:
        """Return what the predictor learns from."""
        measured = [sample.measurement for sample in self.table.samples]
        task = make_task(self.table.origin.model, groups=True)
        return Labels.of(
            search_box(task, FAMILY),
            [m.plan for m in measured],
            [m.val_accuracy for m in measured],
            [m.val_std_error for m in measured],
        )

    def problem(self, surrogate: Surrogate) -> Problem:
        """Return what is searched: one environment per cell."""
        task = make_task(self.table.origin.model, groups=True)
        box = search_box(task, FAMILY)
        kinds = self.scenarios[0].convention.kinds_for(FAMILY, frozenset(CUT_KINDS))
        return Problem(
            box,
            surrogate.accuracies,
            self.baseline,
            self.baseline - self.max_accuracy_loss,
            Environments.of(self.scenarios),
            task.source,
            np.array([cut.kind in kinds for cut in box.cuts]),
        )


@dataclass(frozen=True, eq=False)
class Result:
    """What a contest gave.

    Attributes:
        contest: what was asked.
        surrogate: the accuracy predictor.
        problem: what was searched.
        answers: of every optimiser in every cell, by (optimiser, position of the cell).
        references: best known of every cell.
    """

    contest: Contest
    surrogate: Surrogate
    problem: Problem
    answers: Mapping[tuple[str, int], tuple[Answer, ...]]
    references: tuple[Reference, ...]

    def relative(self, optimiser: str, cell: int, evaluations: int | None = None) -> Floats:
        """Return costs relative to the best known, (seeds,), of the answers or on the way there."""
        answers = self.answers[optimiser, cell]
        if evaluations is None:
            costs = np.array([answer.cost for answer in answers])
        else:
            costs = np.array([answer.trace.at(np.array(evaluations)) for answer in answers])
        return costs / self.references[cell].cost


def compete(contest: Contest, jobs: int = 1) -> Iterator[tuple[int, int] | Result]:
    """Run a contest; yield (done, all) as searches of a cell are done, at last the result.

    What was done is kept in the cache folder, so that a contest that was stopped goes on.

    Args:
        contest: what is asked.
        jobs: processes at once; 0 for one per core.

    Raises:
        CoinferError: when a package that a search needs is not installed, or no plan is known that
            is accurate enough.
    """
    from joblib import Parallel, delayed

    surrogate = kept_surrogate(contest.labels())
    problem = contest.problem(surrogate)
    context = {
        "surrogate": surrogate.key,
        "box": problem.box.hash,
        "floor": [problem.baseline, problem.floor],
        "cuts": problem.cuts.tolist(),
        "code": closure_hash([__name__]),
        "versions": versions(),
    }
    blocks = [(name, cell) for name in contest.optimisers for cell in range(len(contest.scenarios))]
    found: dict[tuple[str, int], tuple[Answer, ...]] = {}
    with Parallel(n_jobs=jobs or -1, return_as="generator_unordered") as pool:
        work = (delayed(_kept)(contest, problem, context, *block) for block in blocks)
        for name, cell, answers in pool(work):
            found[name, cell] = answers
            yield len(found), len(blocks)
    answers = {block: found[block] for block in blocks}
    points = [answer.point for block in blocks for answer in answers[block]]
    known = [point for point in points if point is not None]
    references = best_known(problem, also=[np.array(known)] if known else [])
    for names, reference in zip(contest.names, references, strict=True):
        if np.isinf(reference.cost):
            raise CoinferError(
                f"no plan for {', '.join(names)} is predicted to be above "
                f"{problem.floor:.4f}; a larger accuracy loss may be allowed"
            )
    yield Result(contest, surrogate, problem, answers, references)


def answers(
    optimiser: str, judge: Judge, dimension: int, seeds: Sequence[int], evaluations: int
) -> tuple[Answer, ...]:
    """Return what a search finds, a run for each seed, every run with so many evaluations.

    Args:
        optimiser: one of OPTIMISERS.
        judge: as of QHO; all runs are of one problem.
        dimension: D, of the unit cube.
        seeds: of the runs.
        evaluations: points judged in every run.
    """
    if optimiser not in READINGS:
        outcomes = rival(optimiser, judge, dimension, seeds, evaluations)
        return tuple(
            Answer(seed, o.evaluations, 0, o.point, o.cost, o.trace)
            for seed, o in zip(seeds, outcomes, strict=True)
        )
    settings = READINGS[optimiser]
    run = partial(_qho, settings, judge, dimension)
    first = run(seeds, evaluations)
    return tuple(
        _again(run, seed, one, evaluations) for seed, one in zip(seeds, first, strict=True)
    )


def _qho(
    settings: Settings, judge: Judge, dimension: int, seeds: Sequence[int], evaluations: int
) -> list[Answer]:
    """Run QHO once for each seed; an answer that is not acceptable is none."""
    outcomes = search(judge, dimension, seeds, settings, max_evaluations=evaluations, ahead=_AHEAD)
    refused = np.zeros(len(seeds), dtype=np.bool_)
    if settings.start == "unchecked":  # the best of the first points may not be acceptable
        runs, points = Qho(dimension, seeds, settings, max_evaluations=evaluations).ask()
        acceptable, cost = judge(runs, points)
        for run in range(len(seeds)):
            own = np.flatnonzero(runs == run)
            refused[run] = not acceptable[own[np.argmin(cost[own])]]
    return [
        _answer(seed, outcome, bool(skip))
        for seed, outcome, skip in zip(seeds, outcomes, refused, strict=True)
    ]


def _answer(seed: int, outcome: QhoOutcome, first_refused: bool) -> Answer:
    falls = slice(1 if first_refused else 0, None)
    trace = Trace(outcome.trace.evaluations[falls], outcome.trace.costs[falls])
    point, cost = (outcome.point, outcome.cost) if outcome.acceptable else (None, np.inf)
    return Answer(seed, outcome.evaluations, 0, point, cost, trace)


def _again(run: Any, seed: int, first: Answer, evaluations: int) -> Answer:
    """Let a run that ended begin again, with seeds that follow from its own, until all is spent."""
    best, spent, restarts = first, first.evaluations, 0
    when, costs = list(first.trace.evaluations), list(first.trace.costs)
    while spent < evaluations:
        restarts += 1
        entropy = np.random.SeedSequence(seed, spawn_key=(restarts,))
        (other,) = run([int(entropy.generate_state(1)[0])], evaluations - spent)
        for at, cost in zip(other.trace.evaluations, other.trace.costs, strict=True):
            if not costs or cost < costs[-1]:
                when.append(spent + at)
                costs.append(cost)
        best = other if other.cost < best.cost else best
        spent += other.evaluations
    trace = Trace(np.array(when, dtype=np.int64), np.array(costs, dtype=np.float64))
    return Answer(seed, spent, restarts, best.point, best.cost, trace)


def _kept(
    contest: Contest, problem: Problem, context: Mapping[str, Any], optimiser: str, cell: int
) -> tuple[str, int, tuple[Answer, ...]]:
    """Return the answers of a search in a cell, from the cache folder where they are there."""
    asked = {
        **context,
        "scenario": to_data(contest.scenarios[cell]),
        "optimiser": optimiser,
        "settings": to_data(READINGS.get(optimiser)),
        "seeds": contest.seeds,
        "evaluations": contest.evaluations,
        "schema": SCHEMA,
    }
    place = cache_folder("optimisers") / f"{content_hash(asked)}.json"
    # Missing, damaged or unreadable: whatever it is, searching makes it anew.
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(place.read_text(encoding="utf-8"))
        return optimiser, cell, tuple(_from_plain(one) for one in told)

    def judge(runs: Ints, points: Floats) -> Any:
        return problem.judge(np.full(len(points), cell), points)

    found = answers(
        optimiser, judge, problem.box.dimension, range(contest.seeds), contest.evaluations
    )
    with suppress(OSError):  # without a cache it is only slower
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, canonical_json([_to_plain(one) for one in found]).encode())
    return optimiser, cell, found


def _to_plain(answer: Answer) -> dict[str, Any]:
    return {
        "seed": answer.seed,
        "evaluations": answer.evaluations,
        "restarts": answer.restarts,
        "point": None if answer.point is None else answer.point.tolist(),
        "cost": None if answer.point is None else answer.cost,
        "when": answer.trace.evaluations.tolist(),
        "costs": answer.trace.costs.tolist(),
    }


def _from_plain(told: Mapping[str, Any]) -> Answer:
    point = None if told["point"] is None else np.array(told["point"], dtype=np.float64)
    trace = Trace(np.array(told["when"], dtype=np.int64), np.array(told["costs"], dtype=float))
    cost = np.inf if told["cost"] is None else float(told["cost"])
    return Answer(told["seed"], told["evaluations"], told["restarts"], point, cost, trace)


def versions() -> dict[str, str | None]:
    """Return the versions of the packages that decide what is found."""
    return {package: installed_version(package) for package in _PACKAGES}
