"""QHO: the framework of Mu et al. 2024 with its quantum-inspired optimiser.

A parameters generator proposes sparsities, cut and codec; an accuracy predictor refuses what falls
below the floor; a delay calculator prices the rest; the optimiser (Algorithm 1) goes on from the
best. The four parts are `coinfer.accuracy.box`, `coinfer.accuracy.surrogate`, `coinfer.cost` and
`coinfer.search.qho`. Each can be replaced: the option `optimiser` puts a rival in QHO's place, with
the same plans, predictor, floor and number of candidates. That is ours, not the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from coinfer.accuracy.families import AWGN
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.method import MethodCard, OpenChoice
from coinfer.plan import Scenario, Skip, Task
from coinfer.search.judge import Outcome
from coinfer.search.problem import OBJECTIVES, Objective, Problem
from coinfer.search.rivals import RIVALS, rival
from coinfer.search.settings import Settings
from methods.searching import (
    SEARCH_CHOICES,
    SETTINGS,
    Searching,
    checked_budget,
    checked_confidence,
    checked_guard_band,
)

_READINGS = ("restated", "literal")
_OPTIMISERS = ("qho", *RIVALS)


@dataclass(frozen=True)
class Qho(Searching):
    """Sparsities, cut and codec by a quantum-inspired search (Mu et al., IEEE IoT-J 2024).

    Attributes:
        reading: of Algorithm 1: `restated` runs it as it must be meant, `literal` as printed.
        accept: what a particle's draw must not exceed: `own`, the cost of where it stands;
            `elitist`, the lowest cost found so far, as printed. `literal` is elitist.
        particles, scales, shrink: k, iota_max and lambda.
        optimiser: `qho`, or a rival of `coinfer.search.rivals` in its place (ours).
        noise: whether codes go through an AWGN channel of the scenario's SNR in training, and are
            charged as bits all the same: the mixed reading of Fig. 11. It needs measured plans of
            the family `noise` and a convention that charges so.
        objective: `latency`, or `energy` of the device where watts are given.
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        confidence: with which (0..1) accuracies must lie above the floor; 0 for predictions alone.
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
            OpenChoice(
                "optimiser",
                "Algorithm 1",
                tuple(RIVALS),
                "Algorithm 1 is the paper's; the option `optimiser` takes another, to see what it "
                "is worth",
            ),
            OpenChoice(
                "channel noise in Fig. 11",
                "bits at the Shannon rate arrive as they were sent",
                ("codes trained through AWGN, and charged as bits",),
                "the paper calls its codec joint source-channel coding and divides bits by the "
                "rate; the option `noise` takes both at their word",
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
    optimiser: str = "qho"
    noise: bool = False
    objective: Objective = "latency"

    def __post_init__(self) -> None:
        if self.reading not in _READINGS:
            raise CoinferError(f"qho: reading is '{self.reading}'; allowed: {', '.join(_READINGS)}")
        if self.objective not in OBJECTIVES:
            raise CoinferError(
                f"qho: objective is '{self.objective}'; allowed: {', '.join(OBJECTIVES)}"
            )
        if self.optimiser not in _OPTIMISERS:
            raise UnknownNameError("optimiser of qho", self.optimiser, _OPTIMISERS)
        if not isinstance(self.noise, bool):
            raise CoinferError(f"qho: noise is {self.noise!r}; allowed: true, false")
        checked_guard_band("qho", self.guard_band)
        checked_confidence("qho", self.confidence)
        checked_budget("qho", self.max_evaluations)
        _ = self.settings  # refuses numbers that are none

    @property
    def searched(self) -> str:
        """Which plans are searched."""
        return "noise" if self.noise else self.family

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        """Refuse what every search does, and noise where it has no place or no bits."""
        if self.noise and scenario is not None:
            low, high = AWGN.levels
            if scenario.snr_db is None or not low <= scenario.snr_db <= high:
                return Skip(f"noise needs a radio with an SNR of {low:g} to {high:g} dB")
            if not scenario.convention.symbols_as_bits:
                return Skip(
                    f"convention {scenario.convention.name} does not charge as bits what goes "
                    "through a noisy channel; qho2024-mixed does"
                )
        return super().supports(task, scenario)

    def minimise(
        self, problem: Problem, seeds: Sequence[int], max_evaluations: int
    ) -> Sequence[Outcome]:
        """Return what the optimiser finds in each scenario, with a seed for each."""
        if self.optimiser == "qho":
            return super().minimise(problem, seeds, max_evaluations)
        found = rival(
            self.optimiser,
            problem.judge,
            problem.dimension,
            seeds,
            max_evaluations,
            safe=problem.safe(len(seeds)),
        )
        # A rival has no end of its own: its budget is its end, and cuts nothing off.
        return [replace(one, stop="finished") if one.acceptable else one for one in found]

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
