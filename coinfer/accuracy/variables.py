"""Decision variables: the coordinates of a search box, and the columns of its feature matrix.

A point of the unit cube is mapped to decisions as methods.md's reading of Mu et al. 2024 has it:
shares linearly, whole numbers in equal parts, widths so that their logarithm is uniform. Every map
stands beside its inverse, which returns the middle of what maps to a value. All are vectorised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coinfer.errors import CoinferError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Variable:
    """One decision variable.

    Attributes:
        name: unique in its box (`sparsity[features.0]`, `cut`, `P1`).
        low, high: range of its values.
        effect: -1 where accuracy cannot rise with it (more is pruned), 1 where it cannot fall (the
            code widens), 0 where nothing is known.
        log: whether its logarithm is uniform in the box.
        absent: its value for plans that have no such part.
    """

    name: str
    low: float
    high: float
    effect: int = 0
    log: bool = False
    absent: float = 0.0

    def __post_init__(self) -> None:
        if not self.low <= self.high or self.effect not in (-1, 0, 1):
            raise CoinferError(
                f"variable '{self.name}' is {self.low!r} to {self.high!r} with effect "
                f"{self.effect!r}; accepted: low <= high, effect -1, 0 or 1"
            )
        if self.log and self.low <= 0:
            raise CoinferError(f"variable '{self.name}' is logarithmic from {self.low!r}, not > 0")


def whole(u: Floats, low: ArrayLike, high: ArrayLike) -> Counts:
    """Return low + floor(u (high - low + 1)): whole numbers low..high, equally likely."""
    first, last = np.asarray(low, dtype=np.int64), np.asarray(high, dtype=np.int64)
    return np.minimum(first + np.floor(u * (last - first + 1)).astype(np.int64), last)


def unit_of_whole(value: ArrayLike, low: ArrayLike, high: ArrayLike) -> Floats:
    """Return the middle of what `whole` maps to a value."""
    first, last = np.asarray(low, dtype=np.int64), np.asarray(high, dtype=np.int64)
    middle: Floats = (np.asarray(value) - first + 0.5) / (last - first + 1)
    return middle


def width(u: Floats, high: ArrayLike) -> Counts:
    """Return floor((high + 1)^u): whole numbers 1..high whose logarithm is uniform."""
    most = np.asarray(high, dtype=np.int64)
    return np.clip(np.floor((most + 1.0) ** u).astype(np.int64), 1, most)


def unit_of_width(value: ArrayLike, high: ArrayLike) -> Floats:
    """Return the middle of what `width` maps to a value."""
    number = np.asarray(value, dtype=np.float64)
    middle: Floats = np.log(number * (number + 1)) / (2 * np.log1p(high))
    return middle


def chosen(u: Floats, choices: tuple[int, ...]) -> Counts:
    """Return one of some numbers, equally likely."""
    return np.array(choices, dtype=np.int64)[whole(u, 0, len(choices) - 1)]


def unit_of_chosen(value: NDArray[Any], choices: tuple[int, ...]) -> Floats:
    """Return the middle of what `chosen` maps to a value; `choices` ascend."""
    return unit_of_whole(np.searchsorted(choices, value), 0, len(choices) - 1)
