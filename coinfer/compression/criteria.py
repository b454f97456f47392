"""The built-in criteria: which units of a prune group go first (design ruling 11).

A criterion gives every unit of every prune group a score; the lowest go first
(`coinfer.compression.pruning`). The score of a unit is the sum over its channels and over all
layers of its group (dependency-aware: the producers of a residual sum lose the same channels).
This module imports without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from coinfer.checks import shown, whole_number
from coinfer.compression.space import PruneSpace
from coinfer.errors import CoinferError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from coinfer.compression.reconstruct import CalibratedLasso
    from coinfer.parts import Criterion

Batches = Iterable[tuple[Any, Any]]
"""Calibration data: (images (B, C, H, W), labels (B,))."""


@dataclass(frozen=True)
class L1:
    """Filters of the smallest sum of absolute weights go first (Li et al. 2017)."""

    kind: ClassVar[str] = "criterion"
    name: ClassVar[str] = "l1"

    def scores(
        self, model: nn.Module, space: PruneSpace, batches: Batches = ()
    ) -> dict[str, torch.Tensor]:
        """Return ||w_i||_1 of every filter, summed per unit; needs no data."""
        from coinfer.compression import scoring

        return scoring.weight_scores(model, space, scoring.l1_norms)


@dataclass(frozen=True)
class L2:
    """Filters of the smallest Euclidean norm go first."""

    kind: ClassVar[str] = "criterion"
    name: ClassVar[str] = "l2"

    def scores(
        self, model: nn.Module, space: PruneSpace, batches: Batches = ()
    ) -> dict[str, torch.Tensor]:
        """Return ||w_i||_2 of every filter, summed per unit; needs no data."""
        from coinfer.compression import scoring

        return scoring.weight_scores(model, space, scoring.l2_norms)


@dataclass(frozen=True)
class Fpgm:
    """Filters closest to the geometric median of their layer go first (He et al. 2019)."""

    kind: ClassVar[str] = "criterion"
    name: ClassVar[str] = "fpgm"

    def scores(
        self, model: nn.Module, space: PruneSpace, batches: Batches = ()
    ) -> dict[str, torch.Tensor]:
        """Return sum_k ||w_i - w_k||_2 over the filters k of a layer, summed per unit."""
        from coinfer.compression import scoring

        return scoring.weight_scores(model, space, scoring.distances)


@dataclass(frozen=True)
class Taylor:
    """Filters whose removal changes the loss least, to first order (Shi et al. 2019, 2-step).

    With a the output of a layer over a batch of B images and L the mean cross-entropy,
    t_i = sum_{b,h,w} a_i dL/da_i / (B H W). A filter's score is |t_i| accumulated over the
    batches, divided by the L2 norm of its layer's. Networks are scored in evaluation mode, so
    that neither dropout nor the batch decides.

    Attributes:
        absolute: `end` takes the absolute value of the sum over batches, as the authors' code
            does; `batch` adds up absolute values of batches, so that signs do not cancel.
    """

    kind: ClassVar[str] = "criterion"
    name: ClassVar[str] = "taylor"

    absolute: Literal["end", "batch"] = "end"

    def __post_init__(self) -> None:
        if self.absolute not in ("end", "batch"):
            raise CoinferError(f"taylor: absolute is {shown(self.absolute)}; allowed: end, batch")

    def scores(
        self, model: nn.Module, space: PruneSpace, batches: Batches
    ) -> dict[str, torch.Tensor]:
        """Return the scores of the layers, summed per unit; all batches are read.

        Raises:
            CoinferError: when there is no batch.
        """
        from coinfer.compression import scoring

        return scoring.taylor_scores(model, space, batches, self.absolute)


@dataclass(frozen=True)
class Lasso:
    """Channels that the reconstruction of the next layers needs least (CPCDRL, eqs. 1 and 2).

    Eq. 1 is relaxed to a LASSO over one coefficient per unit; along its path from the largest
    penalty down, a unit's score is the penalty at which it enters. The units kept are then those
    of the path's support of that size, for every size. The weights that read them are refitted by
    least squares (eq. 2; `refit`). Inputs and outputs are those of the network as it is, for all
    layers at once, as in the code of AMC.

    Attributes:
        batches: calibration batches read; fewer where there are fewer.
        points: output positions drawn per batch, layer and all of its images.
        seed: of the positions.
    """

    kind: ClassVar[str] = "criterion"
    name: ClassVar[str] = "lasso"

    batches: int = 60
    points: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        whole_number("lasso: batches", self.batches, low=1)
        whole_number("lasso: points", self.points, low=1)
        whole_number("lasso: seed", self.seed)

    def scores(
        self, model: nn.Module, space: PruneSpace, batches: Batches
    ) -> dict[str, torch.Tensor]:
        """Return the penalty at which each unit enters the LASSO path, less where it never does.

        Raises:
            CoinferError: when there is no batch, or a transposed convolution reads the units.
        """
        return self.calibrated(model, space, space.names, batches).scores(model, space, ())

    def refit(
        self,
        model: nn.Module,
        space: PruneSpace,
        kept: Mapping[str, Sequence[int]],
        batches: Batches,
    ) -> None:
        """Refit, in place, the weights that read kept units; those that go are not yet zero.

        Raises:
            CoinferError: as `scores`, and for units that are not there.
        """
        self.calibrated(model, space, kept, batches).refit(model, space, kept, ())

    def calibrated(
        self, model: nn.Module, space: PruneSpace, groups: Iterable[str], batches: Batches
    ) -> CalibratedLasso:
        """Return this criterion with what it needs to know of a network for some prune groups.

        Raises:
            CoinferError: as `scores`, and for groups that are not there.
        """
        from coinfer.compression import reconstruct

        sample = reconstruct.Sample(batches, self.batches, self.points, self.seed)
        return reconstruct.CalibratedLasso(reconstruct.calibrate(model, space, sample, groups))


@runtime_checkable
class Calibrates(Protocol):
    """A criterion for which scoring and refitting look at the same data, once for both."""

    def calibrated(
        self, model: nn.Module, space: PruneSpace, groups: Iterable[str], batches: Batches
    ) -> Criterion:
        """Return the criterion as it is of a network, for some of its prune groups."""


@runtime_checkable
class Refits(Protocol):
    """A criterion that also adjusts the weights that stay."""

    def refit(
        self,
        model: nn.Module,
        space: PruneSpace,
        kept: Mapping[str, Sequence[int]],
        batches: Batches,
    ) -> None:
        """Adjust, in place, a network of which only `kept` will stay."""
