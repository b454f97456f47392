"""Greedy partition: prune the device's half by one ratio and cut where that ratio is fastest.

"Select the partition point that minimizes the total latency for a given compression ratio" (Tang
et al. 2024). The cut is chosen without a look at the accuracy, which is what makes it greedy: a
ratio whose fastest cut loses too much is given up, even where another cut would do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from coinfer.accuracy.box import Box, Decisions, search_box
from coinfer.accuracy.variables import Floats
from coinfer.checks import real_number
from coinfer.method import Context, Library, MethodCard, OpenChoice
from coinfer.plan import Scenario, Selection, Task
from coinfer.search.problem import predicted
from methods.grid import GridMethod, answer_of, columns, seconds
from methods.predictor import allowed, at_the_ends, predictor_library, surrogate_of

# The grid is 0, 0.1 ... 0.9; nothing sparser is measured.
_TENTHS = 10
_MOST = 0.9


@dataclass(frozen=True)
class Greedy(GridMethod):
    """One ratio for the device's half and its fastest cut (a baseline of Tang et al. 2024).

    Attributes:
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        ratio: share (0..0.9) of every prune group on the device that is removed, the given ratio
            of the paper's wording; None tries 0, 0.1 ... 0.9 and takes the best.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="greedy",
        title="Greedy Partition",
        idea="Prune what runs on the device by one ratio, and cut where that ratio is fastest.",
        reference=(
            "Baseline of Tang et al., Collaborative DNNs Inference with Joint Model Partition and "
            "Compression in Mobile Edge-Cloud Computing Networks, 2024"
        ),
        prunes="device",
        accuracy_signal="predictor",
        constraint="hard",
        phases=("label", "fit", "search"),
        open_choices=(
            OpenChoice(
                "compression ratio",
                "0, 0.1 ... 0.9 of the units of every prune group whose first layer is on the "
                "device; of the ratios whose fastest cut is accurate enough, the fastest",
                ("one given ratio: the option `ratio`",),
                "the paper does not state it",
            ),
            OpenChoice(
                "criterion",
                "L1, one-shot, then fine-tuned as the measured plans are",
                ("pruning by reconstruction, as CPCDRL's",),
                "the paper does not state it",
            ),
            OpenChoice(
                "accuracy of a candidate",
                "predicted from the measured 'prune-partition' plans, strictly above the floor, no "
                "guard band",
                ("train and validate every candidate",),
                "uniform ratios of the first layers lie in that box; the option `guard_band` adds "
                "a guard band",
            ),
            OpenChoice(
                "places to cut",
                "the end of every block of layers, of the kinds that the convention leaves; at "
                "cut 0 the network is whole and the input is sent in the convention's format",
                ("every layer",),
                "the measured plans cut there; the end of a block crosses with the fewest elements",
            ),
        ),
    )
    family: ClassVar[str] = "prune-partition"

    ratio: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ratio is not None:
            share = real_number("greedy: ratio", self.ratio, "0 to 0.9", lambda x: 0 <= x <= _MOST)
            object.__setattr__(self, "ratio", share)  # 0 and 0.0 are one option

    @property
    def ratios(self) -> Floats:
        """The ratios that are tried, least first, (R,)."""
        return np.arange(_TENTHS) / _TENTHS if self.ratio is None else np.array([self.ratio])

    def grid(self, box: Box) -> Decisions:
        """Return every ratio at every cut."""
        space = box.space
        pruned = [space.kept_from_sparsity(float(ratio)) for ratio in self.ratios]
        kept = [np.where(there, left, space.full) for there in _on_device(box) for left in pruned]
        cut = np.repeat(np.arange(len(box.cuts)), len(self.ratios))
        codec = np.zeros((len(cut), 0), dtype=np.int64)
        return Decisions(np.array(kept), cut, codec, np.full(len(cut), np.nan))

    def build(self, task: Task, context: Context) -> Library:
        """Predict the accuracy of every ratio at every cut allowed.

        The library's data are those of `predictor_library` and `plans_at`, the `columns` of the
        grid: also of plans that lose too much, for the fastest cut of a ratio may be one of them.
        """
        library = predictor_library(task, self.family, context)
        box = search_box(task, self.family)
        surrogate = surrogate_of(library)
        with context.ledger.phase("search"):
            grid = self.grid(box)
            grid = grid.take(np.flatnonzero(np.array(allowed(box, context))[grid.cut]))
            accuracy = predicted(
                box, lambda x: surrogate.predict(x).accuracy, grid, library.data["baseline"]
            )
            table = columns(box, grid, accuracy, task, context)
        return Library({**library.data, "plans_at": table})

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Take each ratio's fastest cut, then the fastest of those that are accurate enough.

        Equal costs go to the earliest cut, then to the smallest ratio. A budget is spent on cut 0
        and then on the grid, earliest cut first; one that does not reach to the last plan is said.
        """
        box = search_box(context.task, self.family)
        table, floor = library.data["plans_at"], library.data["floor"] + self.guard_band
        start = at_the_ends(box, scenario, context)
        spent = start.selection.evaluations if start else 0
        size = limit = len(table["cut"])
        if context.max_evaluations is not None:
            limit = min(size, context.max_evaluations - spent)
        time = seconds(table, scenario).tolist()
        # Nothing is pruned where all runs on the server, so cut 0 is every ratio's; row -1.
        whole = [] if start is None else [(start.cost, -1)]
        step = len(self.ratios)
        found: list[tuple[float, int]] = []
        for ratio in range(step):
            places = [*whole, *((time[row], row) for row in range(ratio, limit, step))]
            cost, row = min(places, default=(np.inf, -1))
            if places and (row < 0 or table["accuracy"][row] > floor):
                found.append((cost, row))
        cost, row = min(found, default=(np.inf, -1))
        answer = Selection(None, "infeasible")
        if found:
            known = start if row < 0 else answer_of(table, row, box, cost, limit)
            assert known is not None
            answer = known.selection
        answer = replace(answer, evaluations=spent + limit)
        if limit < size and answer.plan is not None:
            answer = replace(answer, status="budget")
        context.ledger.spend("search", evaluations=answer.evaluations)
        return answer


def _on_device(box: Box) -> NDArray[np.bool_]:
    """Return which of the box's prune groups begin on the device at each of its cuts, (C, G)."""
    place = {layer.name: index for index, layer in enumerate(box.space.graph.layers)}
    rated = {name for names in box.rates for name in names}
    first = np.array([place[group.name] for group in box.space.groups])
    free = np.array([group.name in rated for group in box.space.groups])
    ends = np.array([cut.index for cut in box.cuts])
    there: NDArray[np.bool_] = free & (first < ends[:, None])
    return there
