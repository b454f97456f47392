"""Quantisation levels: which of 2^b values a number becomes, in NumPy.

`coinfer.compression.quantise` holds the layers that train through the same quantisation, with the
same arithmetic in float32, so that what is encoded is what the network was tested with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf, nan, prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coinfer.errors import CoinferError

Features = NDArray[np.floating[Any]]
Values = NDArray[np.float32]
Indices = NDArray[np.unsignedinteger[Any]]

_MOST = float(np.finfo(np.float32).max)


class Levels(Protocol):
    """A quantiser of known levels."""

    @property
    def bits(self) -> int:
        """How many bits an index takes."""

    def symbols(self, elements: int) -> int:
        """Return how many indices a feature of `elements` elements becomes."""

    def indices(self, features: Features) -> Indices:
        """Return the indices (N, symbols) of features (N, ...).

        Raises:
            CoinferError: when a feature is NaN.
        """

    def values(self, indices: Indices, shape: tuple[int, ...]) -> Values:
        """Return the features (N, *shape) that indices (N, symbols) stand for."""


@dataclass(frozen=True)
class UniformLevels:
    """2^bits values, evenly spaced from `low` to `high`; what lies outside is clipped.

    Attributes:
        bits: 1 to 16.
        low, high: float32 numbers.
    """

    bits: int
    low: float
    high: float

    @property
    def step(self) -> np.float32:
        """Distance of two levels; 0 where all features were equal."""
        return (np.float32(self.high) - np.float32(self.low)) / np.float32(2**self.bits - 1)

    def symbols(self, elements: int) -> int:
        """Return `elements`: one index each."""
        return elements

    def indices(self, features: Features) -> Indices:
        """Return the index of the nearest level of every element, (N, elements)."""
        flat = _flat(features)
        step = self.step if self.step > 0 else np.float32(1)
        with np.errstate(over="ignore"):  # far outside is clipped
            nearest = np.rint((flat - np.float32(self.low)) / step)
        found: Indices = np.clip(nearest, 0, 2**self.bits - 1).astype(_index_type(self.bits))
        return found

    def values(self, indices: Indices, shape: tuple[int, ...]) -> Values:
        """Return low + index * step, (N, *shape)."""
        found = np.float32(self.low) + indices.astype(np.float32) * self.step
        return found.reshape(len(indices), *shape)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Learned levels: scalars for every element, or whole vectors for the whole feature.

    Attributes:
        bits: log2 of their number.
        points: the codewords, ascending (2^bits,) for elements, or (2^bits, D) for features of D
            elements.
    """

    bits: int
    points: Values = field(repr=False)

    def symbols(self, elements: int) -> int:
        """Return `elements`, or 1 where codewords are whole features."""
        return elements if self.points.ndim == 1 else 1

    def indices(self, features: Features) -> Indices:
        """Return the index of the nearest codeword of every element, or of every feature."""
        flat = _flat(features)
        if self.points.ndim == 1:
            between = (self.points[1:] + self.points[:-1]) / np.float32(2)
            found: NDArray[Any] = np.searchsorted(between, flat)
        else:
            # Nearest by |p|^2 - 2 p.x, which differs from |p - x|^2 by what all codewords share.
            points = self.points.astype(np.float64)
            lengths = np.square(points).sum(axis=1)
            found = (lengths - 2 * flat.astype(np.float64) @ points.T).argmin(axis=1)[:, None]
        return found.astype(_index_type(self.bits))

    def values(self, indices: Indices, shape: tuple[int, ...]) -> Values:
        """Return the codewords, (N, *shape)."""
        return self.points[indices].reshape(len(indices), *shape)


def covering(batches: Iterable[Features]) -> tuple[float, float]:
    """Return the least and the greatest element of batches of features, as float32 numbers.

    Raises:
        CoinferError: when there is none, or one is not a finite number.
    """
    ends = [(float(batch.min()), float(batch.max())) for batch in batches if batch.size]
    low, high = (min(e[0] for e in ends), max(e[1] for e in ends)) if ends else (nan, nan)
    # A NaN in one batch may hide from min and max; it never hides from a sum.
    if not abs(sum(e[0] + e[1] for e in ends)) < inf or not high - low <= _MOST:
        raise CoinferError(
            "a quantiser's range cannot be set: features are missing, or not finite numbers"
        )
    return float(np.float32(low)), float(np.float32(high))


def as_batches(features: Features | Iterable[Features]) -> Iterable[Features]:
    """Return features (N, ...) as the only batch, and batches as they are."""
    return (features,) if isinstance(features, np.ndarray) else features


def _flat(features: Features) -> Values:
    flat = np.asarray(features, dtype=np.float32).reshape(len(features), prod(features.shape[1:]))
    if np.isnan(flat).any():
        raise CoinferError("a feature holds NaN, which no quantiser can encode; train it anew")
    return flat


def _index_type(bits: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if bits <= 8 else np.uint16
