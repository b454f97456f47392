"""Devices, servers and links: what a plan runs on, and how fast a link carries bits.

Those of the papers are presets (`coinfer.presets`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from coinfer.errors import CoinferError

GIVEN_BY_USER = "given by the user"


def check_positive(
    owner: str, name: str, value: float | None, *, zero: bool = False, infinite: bool = True
) -> None:
    """Refuse NaN and negative numbers (and 0 unless `zero`, infinity unless `infinite`).

    None passes.

    Raises:
        CoinferError: naming the field, the value and what is allowed.
    """
    if value is None:
        return
    out_of_range = value < 0 or (value == 0 and not zero) or (math.isinf(value) and not infinite)
    if math.isnan(value) or out_of_range:
        kind = "number" if infinite else "finite number"
        allowed = f"a {kind} >= 0" if zero else f"a {kind} > 0"
        raise CoinferError(f"{owner}: {name} is {value!r}; allowed is {allowed}")


@dataclass(frozen=True)
class Processor:
    """A device or a server.

    Attributes:
        name: preset name or `custom`.
        role: `device` or `server`.
        flops_per_s: peak floating-point operations a second; None where none is published
            (a number must then be given: TOPS are not FLOPS).
        memory_bytes: memory, where published.
        tops: published tera-operations a second of an accelerator; never used as FLOPS.
        compute_watts: power while computing; only the user can know it.
        source: where the numbers come from.
        note: what a reader must know before trusting them.
    """

    name: str
    role: Literal["device", "server"]
    flops_per_s: float | None = None
    memory_bytes: int | None = None
    tops: float | None = None
    compute_watts: float | None = None
    source: str = field(default=GIVEN_BY_USER, compare=False)
    note: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        owner = f"{self.role} '{self.name}'"
        check_positive(owner, "flops_per_s", self.flops_per_s)
        check_positive(owner, "memory_bytes", self.memory_bytes)
        check_positive(owner, "tops", self.tops)
        check_positive(owner, "compute_watts", self.compute_watts, zero=True, infinite=False)

    def speed(self) -> float:
        """Return FLOP/s, or refuse where none is known.

        Raises:
            CoinferError: saying how a number is given.
        """
        if self.flops_per_s is None:
            tops = f" ({self.tops:g} TOPS are not FLOPS)" if self.tops else ""
            what = f"{self.role} '{self.name}'"
            why = (
                f"{what} needs a FLOP/s number"
                if self.source == GIVEN_BY_USER
                else f"no FLOP/s is published for {what}{tops}"
            )
            raise CoinferError(f"{why}; give one as '{self.name}[flops_per_s=...]'")
        return self.flops_per_s


@dataclass(frozen=True)
class Link:
    """An uplink: a fixed rate, a radio whose rate follows from the SNR, or a binary channel.

    Exactly one of rate_bps, bandwidth_hz and uses_per_s is given.

    Attributes:
        name: preset name or `custom`.
        rate_bps: uplink rate in bit/s (the SNR axis collapses).
        bandwidth_hz: of a radio; rate = B log2(1 + SNR), QHO paper eq. 1.
        uses_per_s: channel uses a second of a binary symmetric channel; rate = uses (1 - H2(p)).
        flip_probability: p of that channel, 0..1.
        round_trip_s: added once whenever something is sent.
        transmit_watts: radio power while sending; only the user can know it.
        source: where the numbers come from.
        assumption: what in this link is our own choice; printed with every result.
    """

    name: str
    rate_bps: float | None = None
    bandwidth_hz: float | None = None
    uses_per_s: float | None = None
    flip_probability: float | None = None
    round_trip_s: float = 0.0
    transmit_watts: float | None = None
    source: str = field(default=GIVEN_BY_USER, compare=False)
    assumption: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        owner = f"link '{self.name}'"
        given = [self.rate_bps, self.bandwidth_hz, self.uses_per_s]
        if sum(value is not None for value in given) != 1:
            raise CoinferError(
                f"{owner}: give exactly one of rate_bps, bandwidth_hz and uses_per_s"
            )
        check_positive(owner, "rate_bps", self.rate_bps, zero=True)
        check_positive(owner, "bandwidth_hz", self.bandwidth_hz, zero=True)
        check_positive(owner, "uses_per_s", self.uses_per_s, zero=True)
        check_positive(owner, "round_trip_s", self.round_trip_s, zero=True)
        check_positive(owner, "transmit_watts", self.transmit_watts, zero=True, infinite=False)
        p = self.flip_probability
        if p is not None and not 0.0 <= p <= 1.0:
            raise CoinferError(f"{owner}: flip_probability is {p!r}; allowed is 0 to 1")
        if p is not None and self.uses_per_s is None:
            raise CoinferError(f"{owner}: flip_probability goes with uses_per_s only")

    @property
    def needs_snr(self) -> bool:
        """Whether the rate follows from the SNR."""
        return self.bandwidth_hz is not None

    def rate(self, snr_db: float | None = None) -> float:
        """Return the uplink rate in bit/s at which digital bits travel without error.

        Raises:
            CoinferError: when the link needs an SNR or a flip probability that is not given.
        """
        if self.rate_bps is not None:
            return self.rate_bps
        if self.bandwidth_hz is not None:
            if snr_db is None:
                raise CoinferError(
                    f"link '{self.name}' is a radio of {self.bandwidth_hz:g} Hz: its rate needs an "
                    "SNR in dB, snr_db"
                )
            return shannon_rate_bps(self.bandwidth_hz, snr_db)
        if self.flip_probability is None:
            raise CoinferError(
                f"link '{self.name}' is a binary symmetric channel: its rate needs a flip "
                f"probability; give one as '{self.name}[flip_probability=0.01]'"
            )
        assert self.uses_per_s is not None
        return bsc_rate_bps(self.uses_per_s, self.flip_probability)


def shannon_rate_bps(bandwidth_hz: float, snr_db: float) -> float:
    """R = B log2(1 + SNR) in bit/s, the SNR given in dB (QHO paper, eq. 1).

    Raises:
        CoinferError: when snr_db is NaN.
    """
    if math.isnan(snr_db):
        raise CoinferError(f"snr_db is {snr_db!r}; allowed is any number of dB")
    # With s = log2(SNR), log2(1 + 2^s) = max(s, 0) + log2(1 + 2^-|s|): no overflow at high SNR,
    # no cancellation at low SNR, and no seam between the two.
    s = snr_db / 10.0 * math.log2(10.0)
    bits = max(s, 0.0) + math.log1p(2.0 ** -abs(s)) / math.log(2.0)
    return _times(bandwidth_hz, bits)


def bsc_rate_bps(uses_per_s: float, flip_probability: float) -> float:
    """Capacity of a binary symmetric channel, uses (1 - H2(p)), in bit/s."""
    p = flip_probability
    entropy = 0.0 if p in (0.0, 1.0) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    return _times(uses_per_s, max(0.0, 1.0 - entropy))


def _times(uses: float, bits_per_use: float) -> float:
    """Return the product, a dead channel staying dead however wide it is (0 inf = 0)."""
    return 0.0 if uses == 0 or bits_per_use == 0 else uses * bits_per_use
