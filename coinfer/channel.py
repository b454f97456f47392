"""Channels that a split network is trained and tested through. Torch-free but for `layer`.

What crosses is either digital or analog, and each has its own price (design ruling 9):

- Analog (`awgn`): the code's elements are sent as symbols of the channel, without any coder. The
  payload is a number of channel uses, and the transfer takes uses / bandwidth seconds.
- Digital: without a channel, bits travel at the link's Shannon rate and arrive without error.
  Through `bsc` and `bec` they travel uncoded, one bit per channel use, and arrive with errors,
  which only a coder of fixed length survives.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from coinfer.checks import real_number, shown
from coinfer.errors import CoinferError

if TYPE_CHECKING:
    import torch

    from coinfer.channel_layers import ChannelLayer

Elements = int | NDArray[np.int64]
Numbers = float | NDArray[Any]

# The coder that leaves elements as they are: what an analog channel takes.
UNCODED = "float32"

_DRAWS = ("fixed", "uniform")


@dataclass(frozen=True)
class Awgn:
    """Additive white Gaussian noise on symbols of limited power.

    Attributes:
        snr_db: signal-to-noise ratio in dB, of a symbol's power to the noise's; inf is a clear
            channel. None takes the scenario's.
        power: `average` scales every image's code to an average power of 1 per symbol. `peak`
            takes codes within [0, 1] as they are, so that snr_db is a peak SNR (BottleNet++).
        symbols: `complex` sends two elements per channel use, `real` one. The SNR is per symbol
            in both.
        draw: `uniform` draws the noise's standard deviation anew for every training batch, from
            0 to that of snr_db (BottleNet++); tests always take that of snr_db.
    """

    snr_db: float | None = None
    power: str = "average"
    symbols: str = "complex"
    draw: str = "fixed"

    kind: ClassVar[str] = "channel"
    name: ClassVar[str] = "awgn"
    analog: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.snr_db is not None:
            _check_snr(self.snr_db)
        _one_of(self, "power", ("average", "peak"))
        _one_of(self, "symbols", ("complex", "real"))
        _one_of(self, "draw", _DRAWS)

    def uses(self, elements: Elements, bits: Numbers = 0) -> Numbers:
        """Return the channel uses that a code of so many elements takes (vectorised)."""
        return -(-elements // 2) if self.symbols == "complex" else elements

    def layer(self, snr_db: float | None, generator: torch.Generator) -> ChannelLayer:
        """Return the layer that adds noise.

        Args:
            snr_db: the scenario's SNR, for a channel that states none.
            generator: where noise is drawn from.

        Raises:
            CoinferError: when neither states an SNR.
        """
        from coinfer.channel_layers import AwgnLayer

        snr = self.snr_db if self.snr_db is not None else snr_db
        if snr is None:
            raise CoinferError(
                f"channel '{self.name}' needs an SNR; give one as '{self.name}[snr_db=10]', or "
                "with the scenario"
            )
        _check_snr(snr)
        return AwgnLayer(
            10 ** (-snr / 20),
            generator,
            average_power=self.power == "average",
            complex_symbols=self.symbols == "complex",
            uniform=self.draw == "uniform",
        )


@dataclass(frozen=True)
class _BitChannel:
    """A channel of single bits: the planes of a fixed-length coder's indices.

    Attributes:
        p: probability of an error, 0..1.
        draw: `uniform` draws it anew for every training batch, from 0 to p (BottleNet++); tests
            always take p.
    """

    p: float
    draw: str = "fixed"

    kind: ClassVar[str] = "channel"
    name: ClassVar[str]
    analog: ClassVar[bool] = False

    def __post_init__(self) -> None:
        real_number(f"channel '{self.name}': p", self.p, "0 to 1", lambda p: 0 <= p <= 1)
        _one_of(self, "draw", _DRAWS)

    def uses(self, elements: Elements, bits: Numbers) -> Numbers:
        """Return the channel uses that so many bits of a code take: one each."""
        return bits


class Bsc(_BitChannel):
    """Binary symmetric channel: every bit is flipped with probability p."""

    name: ClassVar[str] = "bsc"

    def layer(self, snr_db: float | None, generator: torch.Generator) -> ChannelLayer:
        """Return the layer that flips bits; it has no SNR."""
        from coinfer.channel_layers import BscLayer

        return BscLayer(self.p, generator, uniform=self.draw == "uniform")


class Bec(_BitChannel):
    """Binary erasure channel: every bit is lost with probability p, and taken for a half."""

    name: ClassVar[str] = "bec"

    def layer(self, snr_db: float | None, generator: torch.Generator) -> ChannelLayer:
        """Return the layer that erases bits; it has no SNR."""
        from coinfer.channel_layers import BecLayer

        return BecLayer(self.p, generator, uniform=self.draw == "uniform")


CHANNELS: tuple[type, ...] = (Awgn, Bsc, Bec)


def check_channel(channel: Any, coder: Any) -> None:
    """Refuse a coder that does not go with a channel: analog and digital are never mixed.

    Args:
        channel: a channel part; None for error-free bits.
        coder: a coder part.

    Raises:
        CoinferError: naming the two, and what is accepted.
    """
    if channel is None:
        return
    if channel.analog and coder.name != UNCODED:
        raise CoinferError(
            f"channel '{channel.name}' is analog: it sends a code's elements as symbols, not the "
            f"bits of coder '{coder.name}'; accepted with it: coder {UNCODED}"
        )
    if not channel.analog and not getattr(coder, "fixed_length", False):
        raise CoinferError(
            f"channel '{channel.name}' corrupts bits, which coder '{coder.name}' does not survive; "
            "accepted with it: coders of quantised elements of fixed length (uniform, codebook)"
        )


def _check_snr(snr_db: object) -> None:
    real_number("snr_db", snr_db, "a number of dB, or Infinity", lambda snr: snr > -inf)


def _one_of(channel: Any, option: str, accepted: tuple[str, ...]) -> None:
    value = getattr(channel, option)
    if value not in accepted:
        raise CoinferError(
            f"channel '{channel.name}': {option} is {shown(value)}; allowed: {', '.join(accepted)}"
        )
