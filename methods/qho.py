"""QHO: the framework of Mu et al. 2024 with its quantum-inspired optimiser.

A parameters generator proposes sparsities, cut and codec; an accuracy predictor refuses what falls
below the floor; a delay calculator prices the rest; the optimiser (Algorithm 1) goes on from the
best. The four parts are `coinfer.accuracy.box`, `coinfer.accuracy.surrogate`, `coinfer.cost` and
`coinfer.search.qho`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from coinfer.errors import CoinferError
from coinfer.method import MethodCard, OpenChoice
from coinfer.search.problem import OBJECTIVES, Objective
from coinfer.search.settings import Settings
from methods.searching import (
    SEARCH_CHOICES,
    SETTINGS,
    Searching,
    checked_budget,
    checked_guard_band,
)

_READINGS = ("restated", "literal")


@dataclass(frozen=True)
class Qho(Searching):
    """Sparsities, cut and codec by a quantum-inspired search (Mu et al., IEEE IoT-J 2024).

    Attributes:
        reading: of Algorithm 1: `restated` runs it as it must be meant, `literal` as printed.
        accept: what a particle's draw must not exceed: `own`, the cost of where it stands;
            `elitist`, the lowest cost found so far, as printed. `literal` is elitist.
        particles, scales, shrink: k, iota_max and lambda.
        objective: `latency`, or `energy` of the device where watts are given.
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        max_evaluations: candidates that one search may look at.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="qho",
        title="QHO",
        idea=(
            "Search sparsities, cut and codec together with a quantum-inspired optimiser, guided "
            "by a fitted accuracy predictor and an analytic latency model."
        ),
        reference=(
            "L. Mu et al., A Fine-Grained End-to-End Latency Optimization Framework for Wireless "
            "Collaborative Inference, IEEE Internet of Things Journal, 2024"
        ),
        bibtex=(
            "@article{mu2024finegrained, author={Mu, Lei and Li, Zhonghui and Xiao, Wei and "
            "Zhang, Ruilin and Wang, Peng and Liu, Tao and Min, Geyong and Li, Keqin}, "
            "title={A Fine-Grained End-to-End Latency Optimization Framework for Wireless "
            "Collaborative Inference}, journal={IEEE Internet of Things Journal}, year={2024}, "
            "doi={10.1109/JIOT.2023.3307820}}"
        ),
        prunes="whole",
        codec=("conv", "linear"),
        accuracy_signal="predictor",
        constraint="hard",
        stochastic=True,
        phases=("label", "fit", "search"),
        open_choices=(
            OpenChoice(
                "reading of Algorithm 1",
                "restated",
                ("literal",),
                "as printed, a block is never closed, loops never run at the first scales and an "
                "infeasible start can never be beaten; the option `reading` runs it as printed",
            ),
            OpenChoice(
                "acceptance",
                "a draw must not cost more than its own particle",
                ("elitist: than the best so far, as printed",),
                "elitist runs end in worse plans more often; the option `accept` chooses",
            ),
            *SEARCH_CHOICES,
            OpenChoice(
                "codec parameters",
                "P1 to P6: channels, kernel, stride of two convolutions; P7, P8: two widths",
                (),
                "Fig. 3 shows the structure without numbers",
            ),
            OpenChoice(
                "no codec",
                "where the code would be as large as what crosses",
                ("always a codec",),
                "the paper's framework has no way out of encoding",
            ),
        ),
    )
    family: ClassVar[str] = "qho"

    reading: Literal["restated", "literal"] = "restated"
    accept: Literal["own", "elitist"] = "own"
    particles: int = 5
    scales: int = 20
    shrink: float = 1.3
    objective: Objective = "latency"

    def __post_init__(self) -> None:
        if self.reading not in _READINGS:
            raise CoinferError(f"qho: reading is '{self.reading}'; allowed: {', '.join(_READINGS)}")
        if self.objective not in OBJECTIVES:
            raise CoinferError(
                f"qho: objective is '{self.objective}'; allowed: {', '.join(OBJECTIVES)}"
            )
        checked_guard_band("qho", self.guard_band)
        checked_budget("qho", self.max_evaluations)
        _ = self.settings  # refuses numbers that are none

    @property
    def settings(self) -> Settings:
        """How Algorithm 1 is read."""
        base = SETTINGS
        if self.reading == "literal":
            base = replace(Settings.literal(), max_passes=SETTINGS.max_passes)
        own = Settings(
            particles=self.particles, scales=self.scales, shrink=self.shrink, accept=self.accept
        )
        accept = own.accept if self.reading == "restated" else base.accept
        return replace(
            base, particles=own.particles, scales=own.scales, shrink=own.shrink, accept=accept
        )

    @property
    def minimised(self) -> Objective:
        """What is minimised."""
        return self.objective
