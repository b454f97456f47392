"""Channels as layers without parameters: noise on symbols, errors in bits.

Every layer draws from a generator of its own, whose state goes with the network's: the same seed
gives the same noise, whatever else is drawn, and a training that was interrupted goes on with the
noise that it would have had. Draws are made where the generator is, on a CPU the same for every
processor that trains.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from coinfer.compression.quantise import Quantiser, UniformQuantiser, straight_through


class ChannelLayer(nn.Module, ABC):
    """A layer that corrupts codes (B, ...).

    Args:
        level: noise level of tests: the noise's standard deviation, or the probability of an
            error.
        generator: where noise is drawn from.
        uniform: whether training draws its level from 0 to `level` for every batch.
    """

    def __init__(self, level: float, generator: torch.Generator, *, uniform: bool = False) -> None:
        super().__init__()
        self.level, self.generator, self.uniform = level, generator, uniform

    def draw_level(self) -> float:
        """Return the noise level for the next batch: in training perhaps a random one."""
        if not (self.training and self.uniform):
            return self.level
        return self.level * float(self._draw(torch.rand, ()))

    @abstractmethod
    def forward(
        self, code: Tensor, level: float | None = None, quantiser: Quantiser | None = None
    ) -> Tensor:
        """Return what arrives of a code, in float32.

        Args:
            code: (B, ...).
            level: as `draw_level` returned it, for an encoder that was told; None draws one.
            quantiser: whose indices cross bit by bit; analog channels take none.
        """

    def get_extra_state(self) -> Tensor:
        """Return the generator's state."""
        return self.generator.get_state()

    def set_extra_state(self, state: Any) -> None:
        """Put the generator in a state."""
        self.generator.set_state(state.cpu())

    def _draw(self, law: Any, shape: tuple[int, ...]) -> Tensor:
        drawn: Tensor = law(shape, generator=self.generator, device=self.generator.device)
        return drawn


class AwgnLayer(ChannelLayer):
    """Additive white Gaussian noise.

    A symbol's power is 1 (on average over an image's code, or at its peak), the noise's level^2,
    both per real or per complex symbol; a complex one shares them evenly between its two elements.
    What arrives is not scaled back: the receiver does not know the sender's scale.

    Args:
        level: standard deviation of the noise per symbol.
        generator: where noise is drawn from.
        average_power: whether every image's code is scaled to an average power of 1 per symbol;
            a code of zeros stays one.
        complex_symbols: whether two elements make one symbol.
        uniform: see `ChannelLayer`.
    """

    def __init__(
        self,
        level: float,
        generator: torch.Generator,
        *,
        average_power: bool = True,
        complex_symbols: bool = True,
        uniform: bool = False,
    ) -> None:
        super().__init__(level, generator, uniform=uniform)
        self.average_power, self.complex_symbols = average_power, complex_symbols

    def forward(
        self, code: Tensor, level: float | None = None, quantiser: Quantiser | None = None
    ) -> Tensor:
        """Return the symbols that arrive, as the code's elements."""
        level = self.draw_level() if level is None else level
        # At its peak an element is 1 whether or not it shares a symbol.
        share = 0.5**0.5 if self.average_power and self.complex_symbols else 1.0
        symbols = share * unit_power(code.float()) if self.average_power else code.float()
        noise = self._draw(torch.randn, tuple(code.shape)).to(symbols.device)
        return symbols + share * level * noise


class BitLayer(ChannelLayer):
    """A channel of bits: it corrupts the binary planes of a quantiser's indices.

    On its own it takes elements within [0, 1] in 8 bits, 1.0 being the highest of 256 levels.
    Gradients pass straight through.
    """

    def __init__(self, level: float, generator: torch.Generator, *, uniform: bool = False) -> None:
        super().__init__(level, generator, uniform=uniform)
        self.own = UniformQuantiser(8, 0.0, 1.0)

    def forward(
        self, code: Tensor, level: float | None = None, quantiser: Quantiser | None = None
    ) -> Tensor:
        """Return the values of the indices that arrive."""
        level = self.draw_level() if level is None else level
        quantiser = self.own if quantiser is None else quantiser
        sent = quantiser.indices(code)
        hit = self._hit_planes(tuple(sent.shape), quantiser.bits, level).to(sent.device)
        arrived = self.corrupt(sent.nan_to_num().int(), hit)
        return straight_through(code.float(), quantiser.values(arrived).reshape(code.shape))

    @abstractmethod
    def corrupt(self, sent: Tensor, hit: Tensor) -> Tensor:
        """Return the indices that arrive, in float32, when the planes in `hit` are struck."""

    def _hit_planes(self, shape: tuple[int, ...], bits: int, level: float) -> Tensor:
        """Return integers whose binary digits say which planes of each index are struck."""
        hit = torch.zeros(shape, dtype=torch.int32, device=self.generator.device)
        for plane in range(bits):
            hit |= (self._draw(torch.rand, shape) < level).int() << plane
        return hit


class BscLayer(BitLayer):
    """Binary symmetric channel: struck bits are flipped."""

    def corrupt(self, sent: Tensor, hit: Tensor) -> Tensor:
        """Return the indices with flipped bits."""
        return (sent ^ hit).float()


class BecLayer(BitLayer):
    """Binary erasure channel: struck bits are lost, and taken for the mean of 0 and 1."""

    def corrupt(self, sent: Tensor, hit: Tensor) -> Tensor:
        """Return the indices with a half in place of every lost bit."""
        return (sent & ~hit).float() + hit.float() / 2


def unit_power(code: Tensor) -> Tensor:
    """Scale every image's code (B, ...) to an average power of 1 per element."""
    power = code.flatten(1).square().mean(1)
    scale = torch.where(power > 0, power, 1.0).rsqrt()
    return code * scale.view(-1, *[1] * (code.ndim - 1))
