"""What two runs are compared by: how a cell ended, how fast and how accurate its plan is.

An outcome is a row without what may change freely: code, machine, search effort, run columns. Of
several outcomes of one question, the figures that need a reference (speedup, regret) follow.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.cells import Cell, Floor, Result, Status
from benchmarks.rows import Row

REFERENCE = "all_local"


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        cell: the question, the method and the seed included.
        status, reason: as in the row.
        latency_s: of the whole inference; None without a plan.
        energy_j: of the device, where watts are known.
        accuracy: of the plan on validation images, 0..1, as far as the harness knows it.
        predicted_accuracy: the method's own estimate, 0..1.
        floor_held: whether the measured accuracy keeps within the floor.
        cut: the layer after which the network is cut.
    """

    cell: Cell
    status: Status
    reason: str = ""
    latency_s: float | None = None
    energy_j: float | None = None
    accuracy: float | None = None
    predicted_accuracy: float | None = None
    floor_held: Floor = ""
    cut: str = ""


def outcome_of(row: Row) -> Outcome:
    """Return the outcome of a row; without a plan that may be used it has no numbers."""
    cell, result = row.cell, row.result
    if result.status != "ok":
        return Outcome(cell, result.status, result.reason)
    return Outcome(
        cell,
        result.status,
        latency_s=result.latency.get("total_s", math.nan),
        energy_j=result.energy_j,
        accuracy=result.accuracy,
        predicted_accuracy=result.predicted_accuracy,
        floor_held=result.floor_held,
        cut=_cut(result),
    )


def _cut(result: Result) -> str:
    cut = (result.plan or {}).get("cut")
    return str(cut.get("after", "")) if isinstance(cut, dict) else ""


def asked_of(cell: Cell) -> Cell:
    """Return a cell without its seed: what one method is asked in one place."""
    return replace(cell, seed=0) if cell.seed else cell


def question_of(cell: Cell) -> Cell:
    """Return a cell without its method and seed: what all methods are asked."""
    return replace(cell, method="", seed=0)


# The outcomes of one method in one place, by seed.
Seeds = Mapping[int, Outcome]


def by_place(outcomes: Iterable[Outcome]) -> dict[Cell, dict[int, Outcome]]:
    """Return outcomes by their cell without its seed."""
    found: dict[Cell, dict[int, Outcome]] = defaultdict(dict)
    for one in outcomes:
        found[asked_of(one.cell)][one.cell.seed] = one
    return dict(found)


def place(cell: Cell) -> str:
    """Return a question as a phrase: `alexnet, pi -> p100 over 3g, harmonised, loss <= 0.02`."""
    snr = "" if cell.snr_db is None else f" at {cell.snr_db:g} dB"
    return (
        f"{cell.model}, {cell.device} -> {cell.server} over {cell.link}{snr}, {cell.convention}, "
        f"loss <= {cell.max_accuracy_loss:g}"
    )


@dataclass(frozen=True)
class Metric:
    """A figure by which runs are compared.

    Attributes:
        name: of the figure, its unit included.
        better: whether `less` of it or `more` is better.
        scale: whether a change is judged as a `ratio` or as a `difference`.
        meaning: for people.
    """

    name: str
    better: Literal["less", "more"]
    scale: Literal["ratio", "difference"]
    meaning: str

    def worse_by(self, old: float, new: float) -> float:
        """Return by how much `new` is worse than `old` (negative: better), on the metric's scale.

        Of a ratio what exceeds 1 (0.25 for a quarter slower); NaN is infinitely worse.
        """
        if math.isnan(new) or math.isnan(old):
            return math.inf if math.isnan(new) else -math.inf
        if old == new:
            return 0.0
        worse, better = (new, old) if self.better == "less" else (old, new)
        if self.scale == "difference":
            return worse - better
        if worse > better:
            return worse / better - 1 if better > 0 else math.inf
        return 1 - better / worse if worse > 0 else -math.inf


LATENCY = Metric("latency_s", "less", "ratio", "seconds for one inference, all parts")
SPEEDUP = Metric("speedup", "more", "ratio", "latency of All_Local in the same place / latency")
REGRET = Metric(
    "regret", "less", "difference", "latency / the least known in the same place (both runs), - 1"
)
ENERGY = Metric("energy_j", "less", "ratio", "joules that the device spends, where watts are known")
ACCURACY = Metric("accuracy", "more", "difference", "of the plan on validation images, 0..1")
PREDICTED = Metric(
    "predicted_accuracy", "more", "difference", "what the method expects of its plan, 0..1"
)
ANSWERED = Metric(
    "answered", "more", "difference", "share of the seeds with a plan (not 'infeasible')"
)

METRICS = {
    metric.name: metric
    for metric in (LATENCY, SPEEDUP, REGRET, ENERGY, ACCURACY, PREDICTED, ANSWERED)
}


def least_latencies(places: Mapping[Cell, Iterable[Outcome]]) -> dict[Cell, float]:
    """Return the least latency of every question, seconds, from outcomes by cell without seed."""
    least: dict[Cell, float] = defaultdict(lambda: math.inf)
    for cell, outcomes in places.items():
        question = question_of(cell)
        for one in outcomes:
            if one.latency_s is not None and one.latency_s < least[question]:
                least[question] = one.latency_s
    return dict(least)


def figures_of(
    outcome: Outcome, reference_s: float | None, least_s: float | None
) -> dict[str, float]:
    """Return the figures of an outcome by the name of their metric, as far as they are known.

    Args:
        outcome: one with a plan, or without one because none meets the floor: its latency is
            then infinite.
        reference_s: latency of All_Local in the same place of the same run.
        least_s: the least latency known in the place.
    """
    answered = outcome.status == "ok"
    latency_s = math.inf if outcome.latency_s is None else outcome.latency_s
    found: dict[str, float | None] = {
        "answered": float(answered),
        "latency_s": latency_s,
        "accuracy": outcome.accuracy,
        "predicted_accuracy": outcome.predicted_accuracy,
        "energy_j": outcome.energy_j if answered else None,
        "speedup": None if reference_s is None else _ratio(reference_s, latency_s),
        "regret": None if least_s is None else _ratio(latency_s, least_s) - 1,
    }
    return {name: value for name, value in found.items() if value is not None}


def _ratio(above: float, below: float) -> float:
    """A ratio of latencies: 1 of equal ones, infinities included."""
    if above == below:
        return 1.0
    return above / below if below else math.inf
