"""Coders: how a quantised tensor becomes bytes, and how many.

A coder is fitted to training features, which gives it its quantiser's range and its code table;
what is then sent is really encoded, decodes again to exactly what the network was tested with,
and is counted in whole bytes. The range and the table are known to both sides and are not charged.

| part | code | size known |
|---|---|---|
| `uniform` | every index in so many bits | ahead |
| `codebook` | as `uniform`, the levels learned with the network | ahead |
| `huffman` | a static canonical Huffman code, trained on features | once measured |
| `zlib` | DEFLATE (Huffman and repeats), as Python's zlib writes it | once measured |
| `png-feature` | the maps as tiles of one grayscale PNG | once measured |

Torch-free but for `layer`.
"""

from __future__ import annotations

import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, isfinite, isqrt, prod
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from coinfer.checks import real_number, shown, whole_number
from coinfer.compression.levels import (
    Features,
    Indices,
    Levels,
    UniformLevels,
    Values,
    as_batches,
    covering,
)
from coinfer.errors import CoinferError
from coinfer.plan import Evidence, Source

if TYPE_CHECKING:
    from bitarray import bitarray

    from coinfer.compression.quantise import Quantiser

Elements = int | NDArray[np.int64]
Shape = tuple[int, ...]

_MOST_BITS = 16
_PNG_BITS = 8

# The default of zlib: a fifth of the time of level 9, which saves under 1 % of the bytes.
_DEFLATE_LEVEL = 6

# Counts behind a code table are scaled to add up to about this: no code is then longer than 28
# bits, and bitarray decodes codes of up to 31.
_TABLE_TOTAL = 2**20


class FittedCoder(ABC):
    """A coder that knows its levels and its code table: both sides of a link hold one."""

    def encode(self, feature: Features) -> bytes:
        """Return what is sent of one feature, of any shape.

        Raises:
            CoinferError: when it holds NaN.
        """
        return self.encode_all(feature[None])[0]

    @abstractmethod
    def decode(self, data: bytes, shape: Shape) -> Values:
        """Return the feature of `shape` that was sent: its quantised values.

        Raises:
            CoinferError: when the bytes are no code of such a feature.
        """

    @abstractmethod
    def encode_all(self, features: Features) -> list[bytes]:
        """Return what is sent of each of the features (N, ...), quantised together.

        Raises:
            CoinferError: when one holds NaN.
        """

    def sizes_bits(self, features: Features) -> NDArray[np.int64]:
        """Return the bits that are sent of each of the features (N, ...), whole bytes, (N,)."""
        return np.array([8 * len(data) for data in self.encode_all(features)], dtype=np.int64)

    @abstractmethod
    def ideal_bits(self, features: Features) -> float:
        """Return the zero-order entropy of the features' indices, in bits per feature.

        What an ideal code for exactly these features (N, ...), one index at a time, would take:
        a bound to compare with, never a payload.
        """


class IndexCoder(FittedCoder):
    """A fitted coder that quantises, and sends the indices.

    Attributes:
        levels: what features are quantised to.
    """

    levels: Levels

    def decode(self, data: bytes, shape: Shape) -> Values:
        """Return the quantised values that the indices in the bytes stand for."""
        feature: Values = self.levels.values(self._unpack(data, shape)[None], shape)[0]
        return feature

    def encode_all(self, features: Features) -> list[bytes]:
        """Return the encoded indices of each of the features."""
        shape = features.shape[1:]
        return [self._pack(row, shape) for row in self.levels.indices(features)]

    def ideal_bits(self, features: Features) -> float:
        """Return the entropy of the indices' frequencies."""
        indices = self.levels.indices(features)
        counts = np.bincount(indices.ravel())
        shares = counts[counts > 0] / indices.size
        return float(-(shares * np.log2(shares)).sum() * indices.shape[1])

    @abstractmethod
    def _pack(self, indices: Indices, shape: Shape) -> bytes:
        """Return the bytes of the indices (symbols,) of a feature of `shape`."""

    @abstractmethod
    def _unpack(self, data: bytes, shape: Shape) -> Indices:
        """Return the indices (symbols,) of a feature of `shape`."""

    def _symbols(self, shape: Shape) -> int:
        return self.levels.symbols(prod(shape))


@dataclass(frozen=True)
class FixedLength(IndexCoder):
    """Every index in so many bits, one after the other."""

    levels: Levels

    def _pack(self, indices: Indices, shape: Shape) -> bytes:
        return np.packbits(_digits(indices, self.levels.bits)).tobytes()

    def _unpack(self, data: bytes, shape: Shape) -> Indices:
        count = self._symbols(shape)
        _check_length(data, ceil(count * self.levels.bits / 8), shape)
        return _numbers(np.unpackbits(np.frombuffer(data, np.uint8)), count, self.levels.bits)


@dataclass(frozen=True)
class HuffmanCode(IndexCoder):
    """A static canonical Huffman code; what training never showed is escaped.

    First come the codes of all indices, with the escape's in place of those that have none; then,
    in order, the escaped indices as they are.

    Attributes:
        code: bits of every symbol; the symbol behind the last index is the escape.
        lengths: number of codes of each length, and `symbols` in their order: the canonical table.
    """

    levels: Levels
    code: dict[Any, bitarray] = field(repr=False)
    lengths: Sequence[int]
    symbols: Sequence[int] = field(repr=False)

    @classmethod
    def trained(cls, levels: Levels, batches: Iterable[Features]) -> HuffmanCode:
        """Return the code for the indices of training features, batches of (N, ...)."""
        counts = np.zeros(2**levels.bits, dtype=np.int64)
        for batch in batches:
            counts += np.bincount(levels.indices(batch).ravel(), minlength=len(counts))
        return cls.for_counts(levels, counts)

    @classmethod
    def for_counts(cls, levels: Levels, counts: NDArray[np.int64]) -> HuffmanCode:
        """Return the code for indices that occur so often, (2^bits,)."""
        from bitarray.util import canonical_huffman

        seen = np.flatnonzero(counts)
        scaled = np.ceil(counts[seen] / max(1.0, counts.sum() / _TABLE_TOTAL))
        table = dict(zip(seen.tolist(), scaled.astype(np.int64).tolist(), strict=True))
        if len(seen) < len(counts):
            table[len(counts)] = 1
        return cls(levels, *canonical_huffman(table))

    def sizes_bits(self, features: Features) -> NDArray[np.int64]:
        """Return the bits that are sent of each of the features: what encoding them would give.

        They are added up from the lengths of the codes: a feature of 262,144 elements takes a
        millisecond, not ten.
        """
        bits = self._sent_bits[self.levels.indices(features)].sum(axis=1, dtype=np.int64)
        whole: NDArray[np.int64] = 8 * -(-bits // 8)
        return whole

    def _pack(self, indices: Indices, shape: Shape) -> bytes:
        from bitarray import bitarray

        known = self._known[indices]
        sent = np.where(known, indices.astype(np.int32), 2**self.levels.bits)
        bits = bitarray(endian="big")
        bits.encode(self.code, sent.tolist())
        bits.extend(_digits(indices[~known], self.levels.bits).tolist())
        return bits.tobytes()

    def _unpack(self, data: bytes, shape: Shape) -> Indices:
        from bitarray import bitarray

        width, escape = self.levels.bits, 2**self.levels.bits
        bits = bitarray(endian="big")
        bits.frombytes(data)
        found = self._decoded(bits, self._symbols(shape), shape)
        escaped = found == escape
        start = sum(len(self.code[s]) * n for s, n in _counted(found))
        end = start + width * int(escaped.sum())
        _check_length(data, ceil(end / 8), shape)
        found[escaped] = _numbers(np.array(bits[start:end].tolist()), int(escaped.sum()), width)
        return found.astype(np.uint16)

    @cached_property
    def _known(self) -> NDArray[np.bool_]:
        """Which indices have a code of their own."""
        known = np.zeros(2**self.levels.bits + 1, dtype=np.bool_)
        known[list(self.symbols)] = True
        return known

    @cached_property
    def _sent_bits(self) -> NDArray[np.uint8]:
        """Bits of every index: of its code or, where it has none, of the escape and itself."""
        width, escape = self.levels.bits, 2**self.levels.bits
        escaped = len(self.code.get(escape, ())) + width
        return np.array(
            [len(self.code[s]) if s in self.code else escaped for s in range(escape)],
            dtype=np.uint8,
        )

    def _decoded(self, bits: bitarray, count: int, shape: Shape) -> NDArray[np.int64]:
        from bitarray.util import canonical_decode

        symbols = canonical_decode(bits, self.lengths, self.symbols)
        try:
            return np.fromiter(symbols, dtype=np.int64, count=count)
        except ValueError:
            _no_code(shape)


@dataclass(frozen=True)
class Deflated(IndexCoder):
    """The indices, a byte or two each, through zlib.

    How many bytes that takes depends on the zlib that Python was built with.
    """

    levels: Levels

    def _pack(self, indices: Indices, shape: Shape) -> bytes:
        return zlib.compress(
            indices.astype(_stored_type(self.levels.bits)).tobytes(), _DEFLATE_LEVEL
        )

    def _unpack(self, data: bytes, shape: Shape) -> Indices:
        try:
            raw = zlib.decompress(data)
        except zlib.error:
            _no_code(shape)
        kind = np.dtype(_stored_type(self.levels.bits))
        _check_length(raw, self._symbols(shape) * kind.itemsize, shape)
        return np.frombuffer(raw, kind)


@dataclass(frozen=True)
class TiledPng(IndexCoder):
    """Maps (C, H, W) beside and below each other in one 8-bit grayscale PNG, container included.

    A tensor of other axes is taken for maps too: a vector for 1x1 maps. Missing tiles are black.
    """

    levels: Levels

    def _pack(self, indices: Indices, shape: Shape) -> bytes:
        from PIL import Image

        maps, rows, columns = _tiles(shape)
        tiles = np.zeros((rows * columns, *maps[1:]), dtype=np.uint8)
        tiles[: maps[0]] = indices.reshape(maps)
        image = tiles.reshape(rows, columns, *maps[1:]).swapaxes(1, 2)
        buffer = io.BytesIO()
        pixels = image.reshape(rows * maps[1], columns * maps[2])
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=_DEFLATE_LEVEL)
        return buffer.getvalue()

    def _unpack(self, data: bytes, shape: Shape) -> Indices:
        from PIL import Image, UnidentifiedImageError

        (count, height, width), rows, columns = _tiles(shape)
        try:
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                pixels = np.array(image)
        except (UnidentifiedImageError, OSError, SyntaxError):
            _no_code(shape)
        if pixels.shape != (rows * height, columns * width):
            _no_code(shape)
        tiles = pixels.reshape(rows, height, columns, width).swapaxes(1, 2)
        found: Indices = tiles.reshape(-1, height, width)[:count].ravel()
        return found


@dataclass(frozen=True)
class Floats(FittedCoder):
    """Elements as they are, 32-bit floats: what `float32` sends."""

    def encode_all(self, features: Features) -> list[bytes]:
        """Return every feature's elements, little-endian."""
        return [feature.astype("<f4").tobytes() for feature in features]

    def decode(self, data: bytes, shape: Shape) -> Values:
        """Return the elements in their shape."""
        _check_length(data, 4 * prod(shape), shape)
        return np.frombuffer(data, "<f4").astype(np.float32).reshape(shape)

    def ideal_bits(self, features: Features) -> float:
        """Return 32 bits per element: nothing is quantised, so nothing is counted."""
        return 32.0 * prod(features.shape[1:])


@dataclass(frozen=True, init=False)
class QuantisingCoder(ABC):
    """A coder that quantises to 2^bits levels first.

    Attributes:
        width: the option `bits`; it has another name here, since `bits` is what every coder is
            asked.
    """

    width: int

    kind: ClassVar[str] = "coder"
    name: ClassVar[str]
    cut_kinds: ClassVar[frozenset[str]] = frozenset({"input", "interior"})
    evidence: ClassVar[Evidence] = "measured"
    lossless: ClassVar[bool] = False
    # Whether a flipped bit changes one index only, so that a channel may flip some.
    fixed_length: ClassVar[bool] = False

    def __init__(self, bits: int = 8) -> None:
        object.__setattr__(self, "width", whole_number(self._named("bits"), bits, 1, _MOST_BITS))

    def available(self, source: Source) -> bool:
        """Every source will do."""
        return True

    def bits(self, elements: Elements, source: Source) -> float | NDArray[np.floating[Any]]:
        """Refuse: how many bits cross depends on the data.

        Raises:
            CoinferError: always; coders of a fixed length answer instead.
        """
        raise CoinferError(
            f"coder '{self.name}' sends as many bits as the data need, which only measuring tells; "
            "accepted: a plan with measured bits, or a coder of known size (uniform, float32)"
        )

    def fit(
        self, features: Features | Iterable[Features], levels: Levels | None = None
    ) -> IndexCoder:
        """Return the coder fitted to training features.

        Args:
            features: (N, ...), or batches of such; without `levels` batches are read twice, so
                that they must be a sequence.
            levels: the quantiser of a trained network; None to set its range by the features.

        Raises:
            CoinferError: when a range is to be set and no feature, or one that is not finite, is
                given.
        """
        batches = as_batches(features)
        return self._fitted(levels or self._levels(batches), batches)

    def layer(self, shape: Shape) -> Quantiser:
        """Return what coding does to a code of `shape` in training and testing; to be calibrated.

        Entropy coding is lossless, so that only quantisation is left.
        """
        from coinfer.compression.quantise import UniformQuantiser

        return UniformQuantiser(self.width)

    def _levels(self, batches: Iterable[Features]) -> Levels:
        return UniformLevels(self.width, *covering(batches))

    def _check_range(self, low: float | None, high: float | None) -> None:
        if (low is None) != (high is None):
            raise CoinferError(f"{self._named('low and high')} go together; give both or neither")
        for option, end in (("low", low), ("high", high)):
            if end is not None:
                real_number(self._named(option), end, "a finite number", isfinite)
        if low is not None and high is not None and low >= high:
            raise CoinferError(f"{self._named('high')} is {high}; allowed is more than low, {low}")

    @abstractmethod
    def _fitted(self, levels: Levels, batches: Iterable[Features]) -> IndexCoder:
        """Return the coder with these levels and a code table made from training features."""

    def _named(self, option: str) -> str:
        return f"coder '{self.name}': {option}"


@dataclass(frozen=True, init=False)
class Uniform(QuantisingCoder):
    """Evenly spaced levels, every index in so many bits.

    Attributes:
        low, high: range of the levels; None to calibrate it on training data. A code that is
            bounded (sigmoid, tanh) has one that is known.
        penalty: weight of ||x_q - x||^2 / B in the loss (three-step framework: 1).
    """

    low: float | None
    high: float | None
    penalty: float

    name: ClassVar[str] = "uniform"
    evidence: ClassVar[Evidence] = "analytic"
    fixed_length: ClassVar[bool] = True

    def __init__(
        self,
        bits: int = 8,
        low: float | None = None,
        high: float | None = None,
        penalty: float = 0.0,
    ) -> None:
        super().__init__(bits)
        self._check_range(low, high)
        _check_weight(self._named("penalty"), penalty)
        for option, value in (("low", low), ("high", high), ("penalty", penalty)):
            object.__setattr__(self, option, value)

    def bits(self, elements: Elements, source: Source) -> float | NDArray[np.floating[Any]]:
        """Return so many bits per element, in whole bytes."""
        return _whole_bytes(elements * self.width)

    def layer(self, shape: Shape) -> Quantiser:
        """Return the quantiser; to be calibrated unless its range is given."""
        from coinfer.compression.quantise import UniformQuantiser

        return UniformQuantiser(self.width, self.low, self.high, self.penalty)

    def _levels(self, batches: Iterable[Features]) -> Levels:
        if self.low is None or self.high is None:
            return super()._levels(batches)
        return UniformLevels(self.width, self.low, self.high)

    def _fitted(self, levels: Levels, batches: Iterable[Features]) -> IndexCoder:
        return FixedLength(levels)


@dataclass(frozen=True, init=False)
class LearnedLevels(QuantisingCoder):
    """Levels learned with the network (Shao and Zhang 2020, three-step framework).

    Attributes:
        mode: `symbol` has one codebook of scalars for all elements, as the paper describes it;
            `vector` has codewords for the whole code, as the authors' code has it, so that an
            image takes `bits` bits in all.
        penalty: weight of the codebook's loss.
        commitment: weight within it of drawing codes to codewords.
        low, high: scalars start evenly spaced over this range; None starts them over that of the
            codes before training. A code that is bounded (tanh) has one that it grows into.
        warm_up: codes pass as they are until a batch's cross-entropy is below this, as in the
            authors' code.
    """

    mode: str
    penalty: float
    commitment: float
    low: float | None
    high: float | None

    name: ClassVar[str] = "codebook"
    evidence: ClassVar[Evidence] = "analytic"
    fixed_length: ClassVar[bool] = True
    warm_up: ClassVar[float] = 0.2

    def __init__(
        self,
        bits: int = 8,
        mode: str = "symbol",
        penalty: float = 0.1,
        commitment: float = 0.5,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        super().__init__(bits)
        self._check_range(low, high)
        if mode == "vector" and low is not None:
            raise CoinferError(f"{self._named('low and high')} go with mode=symbol only")
        if mode not in ("symbol", "vector"):
            raise CoinferError(f"{self._named('mode')} is {shown(mode)}; allowed: symbol, vector")
        _check_weight(self._named("penalty"), penalty)
        _check_weight(self._named("commitment"), commitment)
        for option, value in (
            *(("mode", mode), ("penalty", penalty), ("commitment", commitment)),
            *(("low", low), ("high", high)),
        ):
            object.__setattr__(self, option, value)

    def bits(self, elements: Elements, source: Source) -> float | NDArray[np.floating[Any]]:
        """Return so many bits per element (`symbol`) or in all (`vector`), in whole bytes."""
        symbols = elements if self.mode == "symbol" else elements * 0 + 1
        return _whole_bytes(symbols * self.width)

    def layer(self, shape: Shape) -> Quantiser:
        """Return the codebook for codes of `shape`; to be calibrated."""
        from coinfer.compression.quantise import LearnedCodebook

        elements = None if self.mode == "symbol" else prod(shape)
        return LearnedCodebook(
            self.width, elements, self.penalty, self.commitment, self.low, self.high
        )

    def _levels(self, batches: Iterable[Features]) -> Levels:
        raise CoinferError(
            f"coder '{self.name}' has no levels but those learned with a network; fit it with the "
            "levels of its layer"
        )

    def _fitted(self, levels: Levels, batches: Iterable[Features]) -> IndexCoder:
        return FixedLength(levels)


class Huffman(QuantisingCoder):
    """Evenly spaced levels, then a static Huffman code trained on features.

    What the papers mean by "Huffman coding" of features, whose alphabet none of them states.
    """

    name: ClassVar[str] = "huffman"

    def _fitted(self, levels: Levels, batches: Iterable[Features]) -> IndexCoder:
        return HuffmanCode.trained(levels, batches)


class Zlib(QuantisingCoder):
    """Evenly spaced levels, then zlib."""

    name: ClassVar[str] = "zlib"

    def _fitted(self, levels: Levels, batches: Iterable[Features]) -> IndexCoder:
        return Deflated(levels)


class PngFeature(QuantisingCoder):
    """Evenly spaced levels, then the maps as one grayscale PNG."""

    name: ClassVar[str] = "png-feature"

    def __init__(self, bits: int = _PNG_BITS) -> None:
        super().__init__(whole_number(self._named("bits"), bits, 1, _PNG_BITS))

    def _fitted(self, levels: Levels, batches: Iterable[Features]) -> IndexCoder:
        return TiledPng(levels)


CODERS: tuple[type, ...] = (Uniform, LearnedLevels, Huffman, Zlib, PngFeature)


def _whole_bytes(bits: Elements) -> float | NDArray[np.floating[Any]]:
    """Return bits rounded up to whole bytes."""
    return 8.0 * -(-bits // 8)


def _check_weight(what: str, value: object) -> None:
    real_number(what, value, "a finite number >= 0", lambda weight: 0 <= weight < float("inf"))


def _digits(indices: Indices, bits: int) -> NDArray[np.uint8]:
    """Return the binary digits of indices, the highest first, (len(indices) * bits,)."""
    places = np.arange(bits - 1, -1, -1, dtype=np.uint16)
    return ((indices[:, None] >> places) & 1).astype(np.uint8).ravel()


def _numbers(digits: NDArray[Any], count: int, bits: int) -> Indices:
    """Return the `count` indices that binary digits (and padding) stand for."""
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.int64)
    found: Indices = (digits[: count * bits].reshape(count, bits) @ weights).astype(np.uint16)
    return found


def _counted(symbols: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    counts = np.bincount(symbols)
    return [(int(symbol), int(counts[symbol])) for symbol in np.flatnonzero(counts)]


def _tiles(shape: Shape) -> tuple[tuple[int, int, int], int, int]:
    """Return a tensor's shape as maps, and how many tiles lie below and beside each other."""
    height, width = (1, 1, *shape)[-2:] if len(shape) > 1 else (1, 1)
    count = prod(shape) // (height * width)
    columns = isqrt(count - 1) + 1
    return (count, height, width), ceil(count / columns), columns


def _stored_type(bits: int) -> str:
    return "u1" if bits <= 8 else "<u2"


def _check_length(data: bytes, expected: int, shape: Shape) -> None:
    if len(data) != expected:
        _no_code(shape)


def _no_code(shape: Shape) -> NoReturn:
    raise CoinferError(f"the bytes are no code of a feature of shape {shape}")
