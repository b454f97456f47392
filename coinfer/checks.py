"""Numbers that others hand us, checked and made Python's own.

Methods and parts are strangers' code: what they say may be NumPy's, of the wrong type, negative or
NaN. It is refused here, in one line, or becomes a plain `int` or `float`, so that equal numbers
are equal in JSON, in a hash and in a store. Torch- and NumPy-free.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isnan, nan
from numbers import Integral, Real

from coinfer.errors import CoinferError

# The largest whole number that a store holds.
MOST = 2**63 - 1

_SHOWN = 80


def is_whole(value: object, low: int = 0, high: int = MOST) -> bool:
    """Whether a value is a whole number (Python's or NumPy's, no bool) from `low` to `high`."""
    # Almost every number is an int already, and that is quickly said.
    if type(value) is int:
        return low <= value <= high
    return isinstance(value, Integral) and not isinstance(value, bool) and low <= int(value) <= high


def whole_number(what: str, value: object, low: int = 0, high: int = MOST) -> int:
    """Return a whole number, Python's or NumPy's, as an `int`.

    Raises:
        CoinferError: naming what it is, the value and what is allowed.
    """
    if not is_whole(value, low, high):
        too_large = is_whole(value, low, int(value)) if isinstance(value, Integral) else False
        limit = f"{low} to {high}" if too_large or high != MOST else f"{low} or more"
        raise CoinferError(f"{what} is {shown(value)}; allowed is a whole number, {limit}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def real_number(what: str, value: object, allowed: str, in_range: Callable[[float], bool]) -> float:
    """Return a number, Python's or NumPy's, as a `float`; NaN is in no range.

    Args:
        what: what the number is.
        value: the number.
        allowed: the range in words.
        in_range: whether a number lies in it.

    Raises:
        CoinferError: naming what it is, the value and what is allowed.
    """
    number = nan
    if type(value) is float:
        number = value
    elif isinstance(value, Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an int that no float can hold
            number = nan
    if isnan(number) or not in_range(number):
        raise CoinferError(f"{what} is {shown(value)}; allowed is {allowed}")
    return number


def finite_positive(what: str, value: object) -> float:
    """Return a finite number above 0 as a `float`.

    Raises:
        CoinferError: naming what it is, the value and what is allowed.
    """
    return real_number(what, value, "a finite number > 0", lambda number: 0.0 < number < inf)


def whole_shape(what: str, value: object) -> tuple[int, ...]:
    """Return the shape of a tensor: one or more whole numbers, 1 or more each.

    Raises:
        CoinferError: naming what it is, the value and what is allowed.
    """
    sides = tuple(value) if isinstance(value, tuple | list) else ()
    if not sides or not all(is_whole(side, low=1) for side in sides):
        raise CoinferError(
            f"{what} is {shown(value)}; allowed is a tuple of whole numbers, 1 or more each"
        )
    return tuple(int(side) for side in sides)


def shown(value: object) -> str:
    """Return a value as it is written in code, on one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
