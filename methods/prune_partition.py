"""Prune_Partition: the QHO framework without feature compression (Mu et al. 2024, VI-B.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coinfer.method import MethodCard, OpenChoice
from methods.searching import (
    SEARCH_CHOICES,
    Searching,
    checked_budget,
    checked_confidence,
    checked_guard_band,
)


@dataclass(frozen=True)
class PrunePartition(Searching):
    """Sparsities and cut together, nothing encoded (a baseline of Mu et al. 2024).

    Attributes:
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        confidence: with which (0..1) accuracies must lie above the floor; 0 for predictions alone.
        max_evaluations: candidates that one search may look at.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="prune_partition",
        title="Prune_Partition",
        idea="Prune every layer by its own sparsity and cut, chosen together; send features raw.",
        reference="Baseline of Mu et al., IEEE Internet of Things Journal, 2024, VI-B.4",
        prunes="whole",
        accuracy_signal="predictor",
        constraint="hard",
        stochastic=True,
        phases=("label", "fit", "search"),
        open_choices=(
            OpenChoice(
                "optimiser and pruner",
                "QHO's, with the L1 criterion",
                (),
                "the paper says that an inference optimisation is employed, and not which",
            ),
            *SEARCH_CHOICES,
        ),
    )
    family: ClassVar[str] = "prune-partition"

    def __post_init__(self) -> None:
        checked_guard_band("prune_partition", self.guard_band)
        checked_confidence("prune_partition", self.confidence)
        checked_budget("prune_partition", self.max_evaluations)
