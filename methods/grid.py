"""Methods that look at every plan of a small grid: their common adapter.

The QHO paper gives FPGM and BottleNet++ an "auto-selection scheme" without saying what it is
(Mu et al. 2024, VI-B); 2-step pruning brings its own. Here all three enumerate: `build` predicts
the accuracies of the grid once and keeps what lies above the floor, which depends on no link, and
`select` prices what was kept and takes the fastest. Of codes through a noisy channel the accuracy
depends on how noisy it is, so that `select` does both.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from coinfer.accuracy.box import Box, Decisions, search_box
from coinfer.accuracy.variables import Counts, Floats, unit_of_whole
from coinfer.channel import Awgn, Bsc
from coinfer.conventions import Convention
from coinfer.cost import Workload, no_bandwidth, scenario_latency
from coinfer.method import Context, Library, Method, OpenChoice
from coinfer.plan import Scenario, Selection, Skip, Task
from coinfer.refs import parse_ref
from coinfer.search.problem import box_workload, predicted
from methods.predictor import (
    Candidate,
    allowed,
    at_the_ends,
    best_of,
    not_predictable,
    predictor_library,
    surrogate_of,
)
from methods.searching import checked_guard_band

# The fields of a workload, in their order.
_WORK = (
    *("device_flops", "server_flops", "uplink_bits"),
    *("encode_flops", "decode_flops", "uplink_symbols", "uncoded"),
)

GRID_CHOICES = (
    OpenChoice(
        "accuracy of a candidate",
        "predicted from the family's measured plans, strictly above the floor, no guard band",
        ("train and validate every candidate", "a guard band of the predictor's error"),
        "the grid has more plans than can be trained; the option `guard_band` adds one",
    ),
    OpenChoice(
        "places to cut",
        "the end of every block of layers, of the kinds that the convention leaves; where it "
        "leaves cut 0 or N and the family has no plan there, the unpruned network",
        ("every layer",),
        "the measured plans cut there; the end of a block crosses with the fewest elements",
    ),
)
"""What every method of this kind had to choose, for the cards."""


@dataclass(frozen=True)
class GridMethod(Method):
    """The fastest acceptable plan of a grid. Subclasses name the family and lay out the grid.

    Attributes:
        family: of plans (`coinfer.accuracy.families`).
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
    """

    family: ClassVar[str]

    guard_band: float = 0.0

    def __post_init__(self) -> None:
        checked_guard_band(self.card.name, self.guard_band)

    @abstractmethod
    def grid(self, box: Box) -> Decisions:
        """Return the plans to choose among: in the order of their cuts, the least changed first."""

    @property
    def plans(self) -> str:
        """The family that it chooses among: the class's, unless an option names another."""
        return self.family

    def box_of(self, task: Task, convention: Convention) -> Box:
        """Return the box whose plans it chooses among under a convention."""
        return search_box(self.task_of(task), self.plans)

    def device_bytes(self, box: Box, plans: Decisions) -> Counts | None:
        """Return memory that B plans take on the device, (B,); None where no limit is heeded."""
        return None

    def task_of(self, task: Task) -> Task:
        """Return the task whose box is searched: the one given, unless a method needs another."""
        return task

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        """Refuse networks without measured plans, and payloads that a scenario does not take."""
        missing = not_predictable(self.task_of(task), self.plans)
        if missing or scenario is None:
            return missing
        reason = _not_sent(self.box_of(task, scenario.convention), scenario)
        return Skip(reason) if reason else None

    def build(self, task: Task, context: Context) -> Library:
        """Predict the accuracy of every plan of the grid and tabulate the acceptable ones.

        The library's data are those of `predictor_library`, how many distinct plans the `grid` has
        at the cuts allowed, and the `acceptable` ones in its order: their `number` in the grid and
        their `columns`, with `device_bytes` where a method heeds them. Where a noisy channel
        follows there is neither: accuracies depend on how noisy it is.
        """
        library = predictor_library(self.task_of(task), self.plans, context)
        box = self.box_of(task, context.convention)
        if box.family.noisy:
            return library
        with context.ledger.phase("search"):
            return self._tabulated(library, box, context, np.nan)

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Price every acceptable plan and take the fastest; equal costs go to the earliest cut.

        A budget is spent on the ends that the box lacks and then on the grid, earliest cut first;
        one that does not reach to the last plan of the grid is said.
        """
        box = self.box_of(context.task, scenario.convention)
        level = _level(box, scenario)
        if box.family.noisy:
            library = self._tabulated(library, box, context, level)
        ends = at_the_ends(box, scenario, context)
        size = limit = library.data["grid"]
        if context.max_evaluations is not None:
            spent = ends.selection.evaluations if ends else 0
            limit = min(size, context.max_evaluations - spent)
        found = _fastest(library.data["acceptable"], box, scenario, limit, level)
        answer = best_of(found, ends)
        if limit < size and answer.plan is not None:
            answer = replace(answer, status="budget")
        context.ledger.spend("search", evaluations=answer.evaluations)
        return answer

    def _tabulated(self, library: Library, box: Box, context: Context, level: float) -> Library:
        """Return a library with the grid's size and its acceptable plans, through noise or not."""
        surrogate = surrogate_of(library)
        grid = self.grid(box)
        grid = _distinct(grid.take(np.flatnonzero(np.array(allowed(box, context))[grid.cut])))
        grid = replace(grid, level=np.full(len(grid), level))
        accuracy = predicted(
            box, lambda x: surrogate.predict(x).accuracy, grid, library.data["baseline"]
        )
        number = np.flatnonzero(accuracy > library.data["floor"] + self.guard_band)
        kept = grid.take(number)
        table = columns(box, kept, accuracy[number], context.task, context)
        table["number"] = number.tolist()
        taken = self.device_bytes(box, kept)
        if taken is not None:
            table["device_bytes"] = taken.tolist()
        return Library({**library.data, "grid": len(grid), "acceptable": table})


def columns(
    box: Box, plans: Decisions, accuracy: Floats, task: Task, context: Context
) -> dict[str, list[Any]]:
    """Return B plans as columns of a library: `cut`, `kept`, `codec`, their work, `accuracy`."""
    work = box_workload(box, plans, context.convention, task.source)
    table = {
        "cut": plans.cut,
        "kept": plans.kept,
        "codec": plans.codec,
        **{name: np.broadcast_to(getattr(work, name), len(plans)) for name in _WORK},
        "accuracy": accuracy,
    }
    return {name: column.tolist() for name, column in table.items()}


def seconds(table: dict[str, Any], scenario: Scenario) -> Floats:
    """Return how long the plans of `columns` take in a scenario, (B,)."""
    work = Workload(*(np.array(table[name]) for name in _WORK))
    total: Floats = np.asarray(scenario_latency(work, scenario).total_s)
    return total


def answer_of(
    table: dict[str, Any],
    row: int,
    box: Box,
    time_s: float,
    evaluations: int,
    level: float = np.nan,
) -> Candidate:
    """Return a plan of `columns`, by its row, as an answer that takes so long (through noise)."""
    kept, cut, codec = (
        np.array([table[name][row]], dtype=np.int64) for name in ("kept", "cut", "codec")
    )
    (plan,) = box.plans(Decisions(kept, cut, codec, np.array([level])))
    selection = Selection(
        plan,
        predicted_accuracy=table["accuracy"][row],
        predicted_latency_s=time_s,
        evaluations=evaluations,
    )
    return Candidate(selection, time_s)


def uniformly_pruned(box: Box, sparsities: Floats) -> Decisions:
    """Return all convolutions pruned by one of S sparsities (S,), at every cut: S plans a cut.

    Raises:
        CoinferError: when a sparsity lies outside the box.
    """
    cuts = np.arange(len(box.cuts))
    points = np.zeros((len(cuts) * len(sparsities), box.dimension))
    points[:, box.names.index("sparsity")] = np.tile(sparsities / box.max_sparsity, len(cuts))
    middles = unit_of_whole(cuts, 0, len(cuts) - 1)
    points[:, box.names.index("cut")] = np.repeat(middles, len(sparsities))
    return box.decide(points)


def _fastest(
    table: dict[str, Any], box: Box, scenario: Scenario, limit: int, level: float
) -> Candidate:
    """Return the fastest of the acceptable plans among the first `limit` of the grid."""
    looked_at = np.array(table["number"], dtype=np.int64) < limit
    memory = scenario.device.memory_bytes
    if memory is not None and "device_bytes" in table:
        looked_at &= np.array(table["device_bytes"], dtype=np.int64) <= memory
    (rows,) = np.nonzero(looked_at)
    if not len(rows):
        return Candidate(Selection(None, "infeasible", evaluations=limit), np.inf)
    time = seconds(table, scenario)
    best = int(rows[np.argmin(time[rows])])
    return answer_of(table, best, box, float(time[best]), limit, level)


def _level(box: Box, scenario: Scenario) -> float:
    """Return how noisy the channel is that a scenario's plans are trained for; NaN for none.

    With the box's digits. A better channel than any in the box counts as its best, and so does a
    link of error-free bits under a convention that charges symbols as such.
    """
    noise = box.family.noise
    if noise is None:
        return float("nan")
    own = _noise_of(box, scenario)
    if own is None:
        return box.clearest
    return float(np.clip(round(own, noise.decimals), *box.levels))


def _noise_of(box: Box, scenario: Scenario) -> float | None:
    """Return a scenario's own SNR or probability of a flipped bit, None where it has none."""
    analog = box.family.noise is not None and box.family.noise.channel == Awgn.name
    return scenario.snr_db if analog else scenario.link.flip_probability


def _not_sent(box: Box, scenario: Scenario) -> str:
    """Return why a scenario does not take what a box's plans send, or ''."""
    convention, noise = scenario.convention, box.family.noise
    coder = parse_ref(box.coder).name
    if not (noise is not None and noise.channel == Awgn.name) and not convention.admits(coder):
        admitted = ", ".join(convention.payloads())
        return f"convention {convention.name} admits {admitted} as payload, not {coder}"
    if noise is None:
        return ""
    own = _noise_of(box, scenario)
    if noise.channel == Awgn.name and not convention.symbols_as_bits:
        if not convention.analog:
            return f"convention {convention.name} admits bits as payload, no symbols"
        if no_bandwidth(scenario.link) or own is None:
            return no_bandwidth(scenario.link)
    elif noise.channel == Bsc.name and own is None:
        return f"link '{scenario.link.name}' is no binary symmetric channel, which flips bits"
    return _too_noisy(box, own)


def _too_noisy(box: Box, own: float | None) -> str:
    """Return why no plan of a box is trained for so much noise, or ''."""
    noise = box.family.noise
    if own is None or noise is None:
        return ""
    low, high = box.levels
    if noise.clearer == "high":
        worse = f"the measured plans reach down to {low:g} dB, the link has {own:g} dB"
        return worse if own < low else ""
    worse = f"the measured plans reach up to {high:g} of the bits flipped, the link flips {own:g}"
    return worse if own > high else ""


def _distinct(decisions: Decisions) -> Decisions:
    """Return every plan once, where it came first; in layers of few units several rates are one."""
    rows = np.column_stack([decisions.cut, decisions.kept, decisions.codec])
    _, first = np.unique(rows, axis=0, return_index=True)
    return decisions.take(np.sort(first))
