"""Quantisers as layers: a coder's quantisation, with gradients that pass straight through.

In NumPy, for encoding: `coinfer.compression.levels`. All compute in float32, also where a network
trains in bfloat16, whose 8 bits of precision could not hold 256 levels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from math import nan

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from coinfer.compression.levels import Codebook, Features, Levels, UniformLevels, covering
from coinfer.errors import CoinferError


def straight_through(x: Tensor, replacement: Tensor) -> Tensor:
    """Return exactly `replacement`, whose gradient goes to `x` unchanged.

    What is not a finite number in `x` becomes NaN, so that a diverged training is seen.
    """
    return replacement.detach() + (x - x.detach())


class Quantiser(nn.Module, ABC):
    """A layer that replaces a code (B, ...) by its quantised values."""

    bits: int

    @abstractmethod
    def indices(self, code: Tensor) -> Tensor:
        """Return indices (whole numbers in float32) of a code."""

    @abstractmethod
    def values(self, indices: Tensor) -> Tensor:
        """Return what indices stand for; the quantisers of a noisy channel take fractions too."""

    def forward(self, code: Tensor) -> Tensor:
        """Return the quantised code, in float32."""
        return straight_through(code.float(), self.values(self.indices(code)).reshape(code.shape))

    def penalty(self, code: Tensor) -> Tensor:
        """Return what the quantiser adds to the loss; a number."""
        return code.new_zeros((), dtype=torch.float32)

    @abstractmethod
    def calibrate(self, batches: Iterable[Features]) -> None:
        """Learn the range of codes (N, ...) from training data."""

    @abstractmethod
    def levels(self) -> Levels:
        """Return the quantiser in NumPy, for encoding."""


class UniformQuantiser(Quantiser):
    """2^bits evenly spaced levels between the extremes of calibration data, or fixed ones.

    JALAD's quantisation (Li et al. 2018: min-max, clipped). The penalty is
    weight ||x_q - x||^2 / B, which draws codes towards the levels (three-step framework; the
    authors' code sends the gradient of both terms to x, where they cancel: here x_q is constant).

    Args:
        bits: 1 to 16.
        low, high: fixed range; None to calibrate it.
        weight: of the penalty.
    """

    low: Tensor
    high: Tensor
    step: Tensor

    def __init__(
        self,
        bits: int,
        low: float | None = None,
        high: float | None = None,
        weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.bits, self.weight = bits, weight
        self.fixed = low is not None and high is not None
        for name in ("low", "high", "step"):
            self.register_buffer(name, torch.tensor(nan))
        if low is not None and high is not None:
            self._set_range(low, high)

    def indices(self, code: Tensor) -> Tensor:
        """Return the index of the nearest level of every element, of the code's shape.

        Raises:
            CoinferError: when the range was neither given nor calibrated.
        """
        if not self.fixed and torch.isnan(self.step):
            raise CoinferError("the quantiser has no range yet; calibrate it with training data")
        step = torch.where(self.step > 0, self.step, 1.0)
        nearest = torch.round((code.float() - self.low) / step)
        return torch.clamp(nearest, 0, 2**self.bits - 1)

    def values(self, indices: Tensor) -> Tensor:
        """Return low + index * step."""
        return self.low + indices * self.step

    def penalty(self, code: Tensor) -> Tensor:
        """Return weight ||x_q - x||^2 / B."""
        if not self.weight:
            return super().penalty(code)
        apart = self.values(self.indices(code)).detach() - code.float()
        return torch.sum(apart.square()) * (self.weight / len(code))

    def calibrate(self, batches: Iterable[Features]) -> None:
        """Set the range to the extremes of codes, unless it is fixed."""
        if not self.fixed:
            self._set_range(*covering(batches))

    def levels(self) -> UniformLevels:
        """Return the quantiser in NumPy."""
        return UniformLevels(self.bits, self.low.item(), self.high.item())

    def _set_range(self, low: float, high: float) -> None:
        # The step is NumPy's, for processors do not all divide alike.
        step = float(UniformLevels(self.bits, low, high).step)
        for buffer, number in ((self.low, low), (self.high, high), (self.step, step)):
            buffer.fill_(number)


class LearnedCodebook(Quantiser):
    """Codewords that are learned with the network (Shao and Zhang 2020, three-step framework).

    The penalty moves codewords towards the codes that they stand for, and codes towards their
    codewords: weight (MSE(selected, x*) + commitment MSE(selected*, x)), * without gradient. The
    decoder reads the codewords; in the authors' code it reads the code before quantisation.

    Args:
        bits: log2 of the number of codewords.
        elements: of a code, where codewords are whole codes; None for scalars, one per element.
        weight: of the penalty.
        commitment: of its second term.
        low, high: where scalars start; None to start them by calibration.
    """

    started: Tensor

    def __init__(
        self,
        bits: int,
        elements: int | None = None,
        weight: float = 0.1,
        commitment: float = 0.5,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        super().__init__()
        self.bits, self.weight, self.commitment = bits, weight, commitment
        ends = (low, high) if low is not None and high is not None else (-1.0, 1.0)
        points = (
            torch.linspace(*ends, 2**bits)
            if elements is None
            else torch.rand(2**bits, elements) * 2 - 1
        )
        self.points = nn.Parameter(points)
        self.register_buffer("started", torch.tensor(low is not None))

    def indices(self, code: Tensor) -> Tensor:
        """Return the index of the nearest codeword of every element, or (B,) of every code."""
        with torch.no_grad():
            if self.points.ndim == 1:
                points = self._ordered()
                between = (points[1:] + points[:-1]) / 2
                return torch.bucketize(code.float().contiguous(), between).float()
            points, flat = self.points.double(), code.flatten(1).double()
            return (points.square().sum(1) - 2 * flat @ points.T).argmin(1).float()

    def values(self, indices: Tensor) -> Tensor:
        """Return the codewords; fractions, as a noisy channel makes them, go to the next one."""
        return self._ordered()[indices.round().long()]

    def penalty(self, code: Tensor) -> Tensor:
        """Return how far codes and codewords are apart."""
        flat = code.float().flatten(1)
        selected = self.values(self.indices(code)).reshape(flat.shape)
        to_codes = functional.mse_loss(selected, flat.detach())
        to_points = functional.mse_loss(selected.detach(), flat)
        return self.weight * (to_codes + self.commitment * to_points)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Features]) -> None:
        """Start the codewords among codes; only the first time, for then they are learned."""
        if self.started:
            return
        if self.points.ndim == 1:
            low, high = covering(batches)
            self.points.copy_(torch.linspace(low, high, len(self.points)))
        else:
            codes = np.concatenate([batch.reshape(len(batch), -1) for batch in batches])
            chosen = np.linspace(0, len(codes) - 1, len(self.points)).round().astype(int)
            self.points.copy_(torch.from_numpy(codes[chosen]))
        self.started.fill_(True)

    def levels(self) -> Codebook:
        """Return the codewords in NumPy."""
        return Codebook(self.bits, self._ordered().detach().cpu().numpy().copy())

    def _ordered(self) -> Tensor:
        """Scalars in ascending order, so that an index says where a codeword lies."""
        return self.points.sort().values if self.points.ndim == 1 else self.points
