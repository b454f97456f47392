"""Simple model partition with Huffman coding: the best cut, the feature in 8 bits an element.

The baseline of Shao and Zhang 2020 ("original network") and of Zhang et al. 2021, which leave out
cuts that lose too much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coinfer.accuracy.codec_variables import BITS
from coinfer.checks import whole_number
from coinfer.method import MethodCard, OpenChoice
from methods.quantised import QUANTISED_CHOICES, QuantisedMethod


@dataclass(frozen=True)
class PartitionHuffman(QuantisedMethod):
    """The best cut of the unmodified network, its feature quantised and Huffman-coded.

    Attributes:
        bits: an element, 1 to 8.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="partition_huffman",
        title="Simple Model Partition",
        idea="Cut the network as it is where that is fastest; Huffman-code the 8-bit feature.",
        reference=(
            "Baseline of X. Zhang et al., Communication-Computation Efficient Device-Edge "
            "Co-Inference via AutoML, IEEE GLOBECOM 2021, and of J. Shao and J. Zhang, "
            "Communication-Computation Trade-off in Resource-Constrained Edge Inference, IEEE "
            "Communications Magazine, 2020"
        ),
        codec=("quant", "entropy"),
        accuracy_signal="measured",
        constraint="hard",
        phases=("label", "search"),
        open_choices=(
            OpenChoice(
                "quantisation before the code",
                "min-max, 8 bits an element",
                ("fewer bits: the option `bits`",),
                "neither paper states it; a Huffman code of 32-bit numbers shortens nothing",
            ),
            OpenChoice(
                "accuracy",
                "cuts whose measured loss exceeds the task's bound are left out",
                ("every cut",),
                "as Zhang et al. 2021, Fig. 2, do with more than 1 % of loss",
            ),
            *QUANTISED_CHOICES,
        ),
    )

    bits: int = 8

    def __post_init__(self) -> None:
        whole_number("partition_huffman: bits", self.bits, BITS[0], BITS[-1])

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the one width."""
        return (self.bits,)
