"""Methods that search a box of plans with QHO, guided by a predictor: their common adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from coinfer.accuracy.box import search_box
from coinfer.checks import real_number, whole_number
from coinfer.method import Context, Library, Method, OpenChoice
from coinfer.plan import Scenario, Selection, Skip, Task
from coinfer.search.judge import Outcome
from coinfer.search.problem import Environments, Objective, Problem, refusal
from coinfer.search.qho import search
from coinfer.search.settings import Settings
from methods.predictor import (
    Candidate,
    allowed,
    at_the_ends,
    best_of,
    not_predictable,
    predictor_library,
    process_of,
    surrogate_of,
    with_process,
)

# Draws of a particle that one question may hold; changes the speed only. Most draws of a search
# near the floor are refused, so that many at once waste little.
_AHEAD = 16
_SEEDS = 2**63 - 1

# Particles wander for ever among plans of equal cost (a cut without codec leaves eight variables
# idle), so that a scale ends at its cap; 200 transitions would spend the whole budget there.
_MAX_PASSES = 20
SETTINGS = Settings(max_passes=_MAX_PASSES)


SEARCH_CHOICES = (
    OpenChoice(
        "sampling of the predictor's plans",
        "half Sobol, half adaptive near the floor, sparsities 0 to 0.9, widths log-uniform; and "
        "the plans chosen by an earlier search, once they are measured",
        ("uniform",),
        "the paper says 300 samples and nothing of where they lie",
    ),
    OpenChoice(
        "regressor",
        "of smallest held-out error among eight",
        ("GradientBoostingRegressor, the paper's",),
        "the paper chooses by Table IV on data of its own",
    ),
    OpenChoice(
        "accuracy constraint",
        "predicted validation accuracy strictly above the floor, no guard band",
        (
            "a guard band of the predictor's error",
            "a lower bound, far off less",
        ),
        "Algorithm 1, line 14; the search finds the predictor's errors, against which there are "
        "the options `guard_band` and `confidence`",
    ),
    OpenChoice(
        "end of a search",
        "20 scales, at most 20 transitions at each, at most 20,000 candidates in all",
        ("200 transitions",),
        "the algorithm as printed need not end; what is cut off is said as status budget",
    ),
    OpenChoice(
        "draws",
        "a coordinate outside of its range is drawn anew, at most 200 draws per particle",
        ("clipped", "reflected"),
        "the paper does not say",
    ),
)
"""What every search of this kind had to choose, for the cards."""


@dataclass(frozen=True)
class Searching(Method):
    """A search over the plans of a family. Subclasses name the family and have the options.

    Attributes:
        family: which plans (`coinfer.accuracy.families`).
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        confidence: with which (0..1) accuracies must lie above the floor, by a predictor that
            knows how sure it is (`coinfer.accuracy.cautious`); 0 for the paper's, which does not.
        max_evaluations: candidates that one search may look at.
    """

    family: ClassVar[str]

    guard_band: float = 0.0
    confidence: float = 0.0
    max_evaluations: int = 20_000

    @property
    def searched(self) -> str:
        """Which plans are searched."""
        return self.family

    @property
    def settings(self) -> Settings:
        """How QHO's Algorithm 1 is read."""
        return SETTINGS

    @property
    def minimised(self) -> Objective:
        """What is minimised."""
        return "latency"

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        """Refuse networks without measured plans, and energy where no watts are given."""
        if scenario is not None:
            missing = refusal(scenario, self.minimised)
            return Skip(missing) if missing else None
        return not_predictable(task, self.searched)

    def build(self, task: Task, context: Context) -> Library:
        """Fit a predictor to the family's measured plans."""
        library = predictor_library(task, self.searched, context)
        return with_process(library, context) if self.confidence else library

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Search for one scenario."""
        return self.select_many(library, [scenario], [context])[0]

    def select_many(
        self, library: Library, scenarios: Sequence[Scenario], contexts: Sequence[Context]
    ) -> list[Selection]:
        """Search for many scenarios at once; each answer is that of `select` alone, bit for bit."""
        if not scenarios:
            return []
        problem = self.problem(library, scenarios, contexts[0])
        pairs = list(zip(scenarios, contexts, strict=True))
        ends = [at_the_ends(problem.box, *pair, self.minimised) for pair in pairs]
        budget = self.max_evaluations
        given = contexts[0].max_evaluations
        if given is not None:  # it is spent on the ends that the box lacks first
            budget = min(budget, given - (ends[0].selection.evaluations if ends[0] else 0))
            if budget < 1:
                return [_spent(end, context) for end, context in zip(ends, contexts, strict=True)]
        seeds = [int(context.rng.integers(_SEEDS)) for context in contexts]
        outcomes = self.minimise(problem, seeds, budget)
        found: list[Selection] = []
        for run, (outcome, context) in enumerate(zip(outcomes, contexts, strict=True)):
            answer = best_of(_candidate(problem, run, outcome), ends[run])
            context.ledger.spend("search", evaluations=answer.evaluations)
            found.append(answer)
        return found

    def minimise(
        self, problem: Problem, seeds: Sequence[int], max_evaluations: int
    ) -> Sequence[Outcome]:
        """Return what the optimiser finds in each scenario of a problem, with a seed for each."""
        return search(
            problem.judge,
            problem.dimension,
            seeds,
            self.settings,
            safe=problem.safe(len(seeds)),
            max_evaluations=max_evaluations,
            ahead=_AHEAD,
        )

    def problem(self, library: Library, scenarios: Sequence[Scenario], context: Context) -> Problem:
        """Return what is searched: parameters generator, predictor, delay calculator, floor."""
        box = search_box(context.task, self.searched)
        predict, bound = surrogate_of(library).accuracies, None
        if self.confidence:
            process = process_of(library)
            predict, bound = process.accuracies, partial(process.lower, confidence=self.confidence)
        return Problem(
            box,
            predict,
            library.data["baseline"],
            library.data["floor"] + self.guard_band,
            Environments.of(scenarios),
            context.task.source,
            np.array(allowed(box, context)),
            self.minimised,
            _snrs_db(scenarios) if box.family.noisy else None,
            bound,
        )


def _snrs_db(scenarios: Sequence[Scenario]) -> NDArray[np.float64]:
    return np.array([np.nan if s.snr_db is None else s.snr_db for s in scenarios], dtype=float)


def checked_budget(method: str, value: Any) -> int:
    """Return a number of candidates, if it is one.

    Raises:
        CoinferError: when it is no whole number of 1 or more.
    """
    return whole_number(f"{method}: max_evaluations", value, low=1)


def checked_guard_band(method: str, value: Any) -> float:
    """Return a guard band, if it is one.

    Raises:
        CoinferError: when it is no share.
    """
    return real_number(f"{method}: guard_band", value, "0 to below 1", lambda x: 0.0 <= x < 1.0)


def checked_confidence(method: str, value: Any) -> float:
    """Return a confidence, or 0 for none, if it is one.

    Raises:
        CoinferError: when it is no share below 1.
    """
    return real_number(f"{method}: confidence", value, "0 to below 1", lambda x: 0.0 <= x < 1.0)


def _spent(end: Candidate | None, context: Context) -> Selection:
    """Return an end as the answer of a budget that allows nothing else."""
    assert end is not None
    context.ledger.spend("search", evaluations=end.selection.evaluations)
    return replace(end.selection, status="budget")


def _candidate(problem: Problem, run: int, outcome: Outcome) -> Candidate:
    """Return what a search found as a method's answer."""
    if outcome.point is None or not outcome.acceptable:
        nothing = Selection(None, status="infeasible", evaluations=outcome.evaluations)
        return Candidate(nothing, np.inf)
    point = outcome.point[None]
    runs = np.array([run])
    (plan,) = problem.box.plans(problem.decide(runs, point))
    selection = Selection(
        plan,
        status="budget" if outcome.stop == "budget" else "feasible",
        predicted_accuracy=float(problem.accuracy(point, runs)[0]),
        predicted_latency_s=float(problem.cost(runs, point, "latency")[0]),
        evaluations=outcome.evaluations,
    )
    return Candidate(selection, outcome.cost)
