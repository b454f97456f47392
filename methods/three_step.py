"""The three-step framework: split, prune the device half incrementally, encode for the task.

All models are profiled once and kept in a table; deployment takes the best of it for its
environment (Shao and Zhang 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from coinfer.errors import CoinferError
from coinfer.method import MethodCard, OpenChoice
from methods.device_side import DEVICE_SIDE_CHOICES, DeviceSideGrid
from methods.grid import GRID_CHOICES

CODINGS = {"source": "three-step", "jscc": "three-step-jscc", "jscc-bsc": "three-step-bsc"}
"""Families of plans by how their codes cross."""


@dataclass(frozen=True)
class ThreeStep(DeviceSideGrid):
    """A look-up table of split, pruned and encoded networks (Shao and Zhang, IEEE ComMag 2020).

    Attributes:
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        step: sparsities of the table are 0, step, 2 step, ... up to 0.9.
        coding: `source` sends learned codewords as bits that arrive without error; `jscc` sends
            the code as symbols through AWGN of the scenario's SNR; `jscc-bsc` sends one bit an
            element through a binary symmetric channel, uncoded.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="three_step",
        title="Three-step framework",
        idea="Split, prune the device half with the payload in mind, send a learned code.",
        reference=(
            "J. Shao and J. Zhang, Communication-Computation Trade-off in Resource-Constrained "
            "Edge Inference, IEEE Communications Magazine 58(12), 2020"
        ),
        bibtex=(
            "@article{shao2020communication, author={Shao, Jiawei and Zhang, Jun}, "
            "title={Communication-Computation Trade-off in Resource-Constrained Edge Inference}, "
            "journal={IEEE Communications Magazine}, volume={58}, number={12}, year={2020}}"
        ),
        prunes="device",
        codec=("conv", "linear"),
        accuracy_signal="predictor",
        constraint="hard",
        phases=("label", "fit", "search"),
        open_choices=(
            OpenChoice(
                "codewords",
                "one codebook of 256 scalars for all elements (b = 8), so that h elements are h b "
                "bits; started evenly over tanh's range and learned",
                (
                    "rounding to 2^b + 1 levels at early cuts, as the authors' code",
                    "codewords for whole codes at late cuts, b bits an image, as the authors' code",
                    "other b",
                ),
                "the paper maps each symbol to a codeword; b = 8 is the default of the authors' "
                "code, and the measured plans have no other",
            ),
            OpenChoice(
                "warm-up of the quantiser",
                "codes pass as they are until a batch's cross-entropy is below 0.2, and at most "
                "while the codec is trained alone; training end to end is always quantised",
                ("until 0.2 however long that takes, as the authors' code",),
                "short trainings of augmented images never come to 0.2",
            ),
            OpenChoice(
                "JSCC",
                "the option `coding`; the code's elements in pairs as complex symbols of average "
                "power 1, plans of one SNR each, 0 to 50 dB",
                ("one symbol an element",),
                "the paper names no modulation; symbols are priced at symbols / bandwidth",
            ),
            OpenChoice(
                "JSCC over a binary symmetric channel",
                "one bit an element, the sign of its tanh; plans of one probability of a flipped "
                "bit each, 0 to 0.25; priced at one bit a use of the channel",
                ("indices of 8 bits, whose first one weighs half of the range",),
                "the paper learns codewords for the channel and does not say how many bits an "
                "element has; with one, the network chooses every bit that is sent",
            ),
            *DEVICE_SIDE_CHOICES,
            *GRID_CHOICES,
        ),
    )
    family: ClassVar[str] = "three-step"

    coding: Literal["source", "jscc", "jscc-bsc"] = "source"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coding not in CODINGS:
            raise CoinferError(
                f"three_step: coding is '{self.coding}'; allowed: {', '.join(CODINGS)}"
            )

    @property
    def plans(self) -> str:
        """Return the family of the coding."""
        return CODINGS[self.coding]
