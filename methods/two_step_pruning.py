"""2-step pruning: prune the whole network for its work, then the layer before the cut for its bits.

Step 1 removes a sixteenth of all filters at a time; step 2 narrows one layer of the result; online,
the fastest of all these plans that is accurate enough is taken (Shi et al. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from coinfer.accuracy.box import Box, Decisions
from coinfer.accuracy.families import group_before
from coinfer.accuracy.variables import Counts, Floats
from coinfer.checks import real_number
from coinfer.compression.pruning import sixteenth
from coinfer.errors import CoinferError
from coinfer.method import MethodCard, OpenChoice
from methods.grid import GRID_CHOICES, GridMethod, uniformly_pruned

COUNTS = ("log", "sixteenths")

# Steps into which either pruning goes.
_PARTS = 16
# What the measured plans leave at least: the box's largest sparsity.
_LEAST = 0.1


@dataclass(frozen=True)
class TwoStepPruning(GridMethod):
    """A whole-network share, a width before the cut, and the cut (Shi et al., INFOCOM WS 2019).

    Attributes:
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        least_left: share of all filters at which step 1 ends.
        counts: filters that step 2 leaves of F: `log`, 16 numbers from F to 1 whose logarithms are
            evenly spaced; `sixteenths`, ceil(F/16) fewer each time.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="two_step_pruning",
        title="2_Step_Pruning",
        idea="Prune the whole network, then once more the layer before the cut; choose online.",
        reference=(
            "W. Shi et al., Improving Device-Edge Cooperative Inference of Deep Learning via "
            "2-Step Pruning, IEEE INFOCOM Workshops 2019"
        ),
        bibtex=(
            "@inproceedings{shi2019improving, author={Shi, Wenqi and Hou, Yunzhong and Zhou, "
            "Sheng and Niu, Zhisheng and Zhang, Yang and Geng, Lu}, title={Improving Device-Edge "
            "Cooperative Inference of Deep Learning via 2-Step Pruning}, booktitle={IEEE INFOCOM "
            "Workshops}, year={2019}}"
        ),
        prunes="whole",
        accuracy_signal="predictor",
        constraint="hard",
        phases=("label", "fit", "search"),
        fidelity="reconstruction",
        open_choices=(
            OpenChoice(
                "step 1 (simplified)",
                "one sparsity in every convolution, so that as many filters go in all",
                ("the authors' ranking of all filters, which thins layers unevenly",),
                "the measured plans have it so: a predictor of uneven widths would need a variable "
                "per layer and far more labels",
            ),
            OpenChoice(
                "end of step 1",
                "when less than 20 % of the filters would be left",
                ("when accuracy fell by 5 %", "when it fell by 1.8 points"),
                "one of the rules in the authors' code; accuracy is the floor's business here; the "
                "option `least_left` changes it",
            ),
            OpenChoice(
                "filters left by step 2",
                "16 numbers from F to 1, logarithmically spaced and rounded",
                ("sixteenths: ceil(F/16) fewer each time",),
                "the authors' later code; the option `counts` takes the earlier one's",
            ),
            OpenChoice(
                "narrowest layer",
                "no layer loses more than 90 % of what step 1 left",
                ("down to 1 filter",),
                "nothing narrower is measured, and a predictor must not extrapolate",
            ),
            OpenChoice(
                "floor",
                "of the final plan, below the unpruned network's accuracy",
                ("each step's own, which compounds two losses",),
                "every method has the same floor",
            ),
            OpenChoice(
                "payload",
                "float32 features",
                ("8 bits and Huffman", "JPEG or a text compressor, as the authors' code"),
                "as the QHO paper sends them; the measured plans have no other",
            ),
            *GRID_CHOICES,
        ),
    )
    family: ClassVar[str] = "two-step"

    least_left: float = 0.2
    counts: Literal["log", "sixteenths"] = "log"

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number(
            "two_step_pruning: least_left",
            self.least_left,
            f"{_LEAST} to 1",
            lambda share: _LEAST <= share <= 1.0,
        )
        if self.counts not in COUNTS:
            raise CoinferError(
                f"two_step_pruning: counts is '{self.counts}'; allowed: {', '.join(COUNTS)}"
            )

    def grid(self, box: Box) -> Decisions:
        """Return every share of step 1 at every cut, with every width of the layer before it."""
        once = uniformly_pruned(box, self._shares(box))
        before = np.array([group_before(box.space, cut) for cut in box.cuts])[once.cut]
        # Of a plan without such a layer (cut N) there is one, with the single width it has.
        units = np.where(before >= 0, once.kept[np.arange(len(once)), before], 1)
        left = self._left(units)
        inside = left >= units[:, None] * (1 - box.max_sparsity) - 1e-9
        plan, place = np.nonzero(inside)
        found = once.take(plan)
        (narrowed,) = np.nonzero(before[plan] >= 0)
        found.kept[narrowed, before[plan][narrowed]] = left[plan, place][narrowed]
        return found

    def _shares(self, box: Box) -> Floats:
        """Return shares of all filters that step 1 removes, ceil(F/16) of F more each time."""
        units = {group.name: group.units * group.unit_channels for group in box.space.groups}
        total = sum(units[name] for groups in box.rates for name in groups)
        removed = np.arange(0, total, sixteenth(total))
        shares: Floats = removed[total - removed >= self.least_left * total - 1e-9] / total
        return shares

    def _left(self, units: Counts) -> Counts:
        """Return filters that step 2 leaves of `units` (B,), from all of them down, (B, 16)."""
        step = np.arange(_PARTS)
        if self.counts == "log":
            left = np.rint(units[:, None] ** (1 - step / (_PARTS - 1)))
        else:
            left = np.maximum(1, units[:, None] - step * -(-units[:, None] // _PARTS))
        return left.astype(np.int64)
