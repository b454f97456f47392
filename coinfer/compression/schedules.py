"""When pruning happens during training: the built-in schedules (design ruling 11).

A schedule says which share of the target sparsity is in force at every step. Masks are made anew
where that share changes, and lifted before if the schedule says so; `coinfer.compression.masking`
drives it. This module imports without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coinfer.checks import whole_number


@dataclass(frozen=True)
class OneShot:
    """All units that go are chosen before the first step."""

    kind: ClassVar[str] = "schedule"
    name: ClassVar[str] = "one-shot"
    lifts: ClassVar[bool] = False

    def progress(self, step: int, steps: int) -> float:
        """Return 1: all of the sparsity, always."""
        return 1.0


@dataclass(frozen=True)
class Iterative:
    """Prune a share, train, prune as much again; what is gone stays gone.

    Attributes:
        rounds: of pruning and training, 1 or more; all of them prune and train alike.
    """

    kind: ClassVar[str] = "schedule"
    name: ClassVar[str] = "iterative"
    lifts: ClassVar[bool] = False

    rounds: int = 5

    def __post_init__(self) -> None:
        whole_number("iterative: rounds", self.rounds, low=1)

    def progress(self, step: int, steps: int) -> float:
        """Return i / rounds in round i = 1..rounds; the rounds share the steps."""
        return min(self.rounds, 1 + step * self.rounds // steps) / self.rounds


@dataclass(frozen=True)
class Incremental:
    """Incremental network pruning (Shao and Zhang 2020, p. 4), with a cubic ramp.

    Every iteration masks the units of smallest score and trains what is not masked; then the mask
    is deleted, the masked weights recover their values of the iteration's start, and the next
    iteration masks more. The last mask is never lifted: it holds until the end. The paper leaves
    the ramp open: S_i = S_f (1 - (1 - i/n)^3), i = 1..n.

    In a training too short for that, the ramp takes its first half, in the same proportions;
    iterations that would take less than a step are left out.

    Attributes:
        iterations: n, 1 or more.
        steps: training steps of an iteration, 1 or more.
    """

    kind: ClassVar[str] = "schedule"
    name: ClassVar[str] = "incremental"
    lifts: ClassVar[bool] = True

    iterations: int = 20
    steps: int = 150

    def __post_init__(self) -> None:
        whole_number("incremental: iterations", self.iterations, low=1)
        whole_number("incremental: steps", self.steps, low=1)

    def progress(self, step: int, steps: int) -> float:
        """Return S_i / S_f in iteration i, 1 after the last."""
        ramp = min(self.iterations * self.steps, max(1, steps // 2))
        iteration = min(self.iterations, 1 + step * self.iterations // ramp)
        return 1.0 - (1.0 - iteration / self.iterations) ** 3
