"""Numbers for people: significant digits, and seconds with the unit that suits them."""

from __future__ import annotations

import math


def significant(value: float, digits: int) -> str:
    """A finite number with so many significant digits, never with an exponent.

    Digits before the point are all kept: 1234 with two digits is `1234`.
    """
    # What rounding carries into the next decade (9.996 to 10.0) counts there.
    exponent = int(f"{value:.{digits - 1}e}".rpartition("e")[2])
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def seconds_text(value: float) -> str:
    """A duration in seconds with three significant digits: `7.11 s`, `250 ms`, `4.36 µs`.

    The unit is the one that leaves one to three digits before the point, where there is one:
    what is longer stays in seconds (to 100,000 without exponent), what is shorter in nanoseconds.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} s"
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 1e3 and abs(value) < 1e5:
        return f"{value:.0f} s"
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if abs(rounded * scale) >= 1.0:
            return f"{rounded * scale:.3g} {unit}"
    return f"{rounded * 1e9:.3g} ns"
