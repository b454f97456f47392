"""IPDR: incremental pruning of the device half and dimension reduction, without learned codewords.

The CIA paper's baseline (Zhang et al. 2021, IV-B.6): the three-step framework with the first step
of its encoding alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coinfer.accuracy.box import Box, search_box
from coinfer.conventions import Convention
from coinfer.method import MethodCard, OpenChoice
from coinfer.plan import Task
from methods.code_width import checked_width, code_coder
from methods.device_side import DEVICE_SIDE_CHOICES, DeviceSideGrid
from methods.grid import GRID_CHOICES

# Over tanh's range.
_EIGHT = "uniform[bits=8,high=1,low=-1]"


@dataclass(frozen=True)
class Ipdr(DeviceSideGrid):
    """Device sparsities, a narrow code and a cut by enumeration (Zhang et al. 2021, IV-B).

    Attributes:
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        step: sparsities of the table are 0, step, 2 step, ... up to 0.9.
        bits: of an element under the harmonised convention, 8 or 32; the papers' have 32.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="ipdr",
        title="IPDR",
        idea="Prune the device half incrementally and send fewer dimensions of its feature.",
        reference=(
            "X. Zhang et al., Communication-Computation Efficient Device-Edge Co-Inference via "
            "AutoML, 2021, IV-B, after J. Shao and J. Zhang, Communication-Computation Trade-off "
            "in Resource-Constrained Edge Inference, IEEE Communications Magazine 58(12), 2020"
        ),
        prunes="device",
        codec=("conv", "linear"),
        accuracy_signal="predictor",
        constraint="hard",
        phases=("label", "fit", "search"),
        open_choices=(
            OpenChoice(
                "bits of an element",
                "32 under a paper's convention; 8 under the harmonised one, evenly spaced over "
                "tanh's range",
                ("32 everywhere: the option `bits`",),
                "the paper names no width; under one set of rules it sends what CIA, whose "
                "baseline it is, and the three-step framework, whose first step it is, send",
            ),
            OpenChoice(
                "accuracy at 8 bits",
                "taken to be that at 32, which is what the measured plans have",
                ("measured plans of their own",),
                "rounding to steps of 1/128 of a code within 1; a plan that is verified is "
                "trained with its own width, and predictors do not learn from it",
            ),
            *DEVICE_SIDE_CHOICES,
            *GRID_CHOICES,
        ),
    )
    family: ClassVar[str] = "ipdr"

    bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_width("ipdr", self.bits)

    def box_of(self, task: Task, convention: Convention) -> Box:
        """Return the family's box, sending what the convention asks for."""
        coder = code_coder(convention, self.bits, _EIGHT)
        return search_box(self.task_of(task), self.family, coder=coder)
