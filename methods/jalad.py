"""JALAD: the cut and the bits an element together, under a bound on the loss (Li et al. 2018).

min over cuts i and widths b of x_ib (T_E(i) + T_C(i) + S_i(b) / BW)
subject to sum A_i(b) x_ib <= bound, sum x_ib = 1, x_ib in {0, 1}

with the loss A_i(b) and the coded size S_i(b) measured beforehand. One x_ib is 1, so the integer
program is a minimum over the rows of a table; it is solved anew whenever the rate changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coinfer.accuracy.codec_variables import BITS
from coinfer.method import MethodCard, OpenChoice
from methods.quantised import QUANTISED_CHOICES, QuantisedMethod


@dataclass(frozen=True)
class Jalad(QuantisedMethod):
    """The fastest (cut, bits) that loses no more than allowed (Li et al., ICPADS 2018)."""

    card: ClassVar[MethodCard] = MethodCard(
        name="jalad",
        title="JALAD",
        idea="Quantise and Huffman-code the feature; choose cut and bits under a bound on loss.",
        reference=(
            "H. Li et al., JALAD: Joint Accuracy- and Latency-Aware Deep Structure Decoupling for "
            "Edge-Cloud Execution, IEEE ICPADS 2018 (arXiv 1812.10027)"
        ),
        bibtex=(
            "@inproceedings{li2018jalad, author={Li, Hongshan and Hu, Chenghao and Jiang, Jingyan "
            "and Wang, Zhi and Wen, Yonggang and Zhu, Wenwu}, title={JALAD: Joint Accuracy- and "
            "Latency-Aware Deep Structure Decoupling for Edge-Cloud Execution}, "
            "booktitle={IEEE ICPADS}, year={2018}}"
        ),
        codec=("quant", "entropy"),
        accuracy_signal="measured",
        constraint="hard",
        phases=("label", "search"),
        fidelity="reconstruction",
        open_choices=(
            OpenChoice(
                "source",
                "the abstract, and what later papers say of the method",
                (),
                "the full text could not be read; steps and numbers are reconstructed",
            ),
            OpenChoice(
                "widths",
                "1 to 8 bits an element",
                ("up to 16 bits",),
                "not known from the text; 8 bits lose next to nothing",
            ),
            OpenChoice(
                "bound on the loss",
                "the task's, against the network as it is, on the validation images; a loss of "
                "exactly the bound is allowed",
                ("strictly less",),
                "the constraint of the program; nothing is trained, so nothing can be won back",
            ),
            OpenChoice(
                "layer times T_E, T_C",
                "work over FLOPS, by the harness's cost model",
                ("a factor fitted per device",),
                "every method is priced by the same cost model",
            ),
            *QUANTISED_CHOICES,
        ),
    )

    @property
    def widths(self) -> tuple[int, ...]:
        """Return every width that was measured."""
        return tuple(reversed(BITS))
