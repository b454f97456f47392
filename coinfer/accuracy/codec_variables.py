"""Codecs as decision variables: from the unit cube to widths, kernels and strides, and back.

The decisions of B plans are rows of whole numbers, 0 where a plan has no such part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from coinfer.accuracy.variables import (
    Counts,
    Floats,
    Variable,
    chosen,
    unit_of_chosen,
    unit_of_whole,
    unit_of_width,
    whole,
    width,
)
from coinfer.compression.codecs import (
    Asymmetric,
    BottleNetPlusPlus,
    CiaConv,
    CiaLinear,
    Conv,
    ConvCodec,
    Fc,
    LinearCodec,
    StagedCodec,
    ThreeStepConv,
    ThreeStepLinear,
)
from coinfer.errors import CoinferError
from coinfer.flops import Layers, rule
from coinfer.graph import Cut
from coinfer.parts import Float32
from coinfer.plan import kept_channels
from coinfer.refs import Ref, parse_ref

BITS = range(1, 9)
"""Bits an element of `quantised` plans (JALAD's, Li et al. 2018)."""

HUFFMAN = "huffman"
KERNELS = (1, 3, 5)
STRIDES = (1, 2)

IDENTITY = "identity"

# The options that are P1 to P6 and P7, P8 of Mu et al. 2024.
_CONV = (
    *("hidden_channels", "hidden_kernel", "hidden_stride"),
    *("code_channels", "code_kernel", "code_stride"),
)
_LINEAR = ("hidden", "width")
_BOTTLENET = ("channels", "spatial")
# The options that are h of the three-step framework's codecs.
_CHANNELS, _WIDTH = "channels", "width"

# Columns of P1 and P7, of P4 and P8 (no wider than those), of P2 and P5, of P3 and P6.
_FIRST, _SECOND, _KERNELS, _STRIDES = slice(0, 7, 6), slice(3, 8, 4), slice(1, 5, 3), slice(2, 6, 3)

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Crossing:
    """What crosses the cuts of B plans.

    Attributes:
        sent: whether a feature crosses at all, (B,).
        channels: channels kept of maps, elements kept of anything else, (B,).
        height, width: of maps, 1 of anything else, (B,).
        rectified: whether it comes from an activation, and so is not negative, (B,).
        cut: positions in the box's cuts, (B,).
    """

    sent: Flags
    channels: Counts
    height: Counts
    width: Counts
    rectified: Flags
    cut: Counts

    def only(self, index: int) -> Crossing:
        """Return what crosses the cut of one plan."""
        one = slice(index, index + 1)
        return Crossing(
            self.sent[one],
            self.channels[one],
            self.height[one],
            self.width[one],
            self.rectified[one],
            self.cut[one],
        )

    @cached_property
    def elements(self) -> Counts:
        """Elements that cross without a codec, (B,)."""
        return self.channels * self.height * self.width

    @cached_property
    def maps(self) -> Flags:
        """Where a feature has an extent in space, (B,)."""
        extended: Flags = self.sent & (self.height * self.width > 1)
        return extended

    @cached_property
    def vectors(self) -> Flags:
        """Where a feature has none, (B,)."""
        return self.sent & ~self.maps


class CodecVariables(Protocol):
    """The codecs among which a family of plans chooses.

    Attributes:
        part: which part of a plan they are, `codec` or `coder`.
    """

    part: ClassVar[str]

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Their decision variables, K of them."""

    def rows(self, u: Floats, at: Crossing) -> Counts:
        """Return the rows (B, K) of points (B, K) of the unit cube."""

    def units(self, rows: Counts, at: Crossing) -> Floats:
        """Return points (B, K) of the unit cube that `rows` maps to these rows."""

    def elements(self, rows: Counts, at: Crossing) -> Counts:
        """Return elements that are sent, (B,): of the code, or what crosses without a codec."""

    def encodes(self, rows: Counts, at: Crossing) -> Flags:
        """Return where there is a codec, (B,)."""

    def work(self, rows: Counts, at: Crossing, rules: str) -> tuple[Counts, Counts]:
        """Return the work of encoders and decoders under a counting rule, (B,) each."""

    def ref(self, row: Sequence[int], at: Crossing) -> str:
        """Return the part of one plan, as plans name it."""

    def row(self, ref: str, at: Crossing) -> list[int]:
        """Return the row of one plan from its part.

        Raises:
            CoinferError: when it is none of these parts, or does not fit what crosses.
        """


@dataclass(frozen=True)
class NoCodec:
    """What crosses is sent as it is."""

    part: ClassVar[str] = "codec"
    variables: ClassVar[tuple[Variable, ...]] = ()

    def rows(self, u: Floats, at: Crossing) -> Counts:
        """Return rows of no column."""
        return np.zeros((len(u), 0), dtype=np.int64)

    def units(self, rows: Counts, at: Crossing) -> Floats:
        """Return points of no coordinate."""
        return np.zeros(rows.shape)

    def elements(self, rows: Counts, at: Crossing) -> Counts:
        """Return what crosses."""
        return at.elements

    def encodes(self, rows: Counts, at: Crossing) -> Flags:
        """Return nowhere."""
        return np.zeros(len(rows), dtype=np.bool_)

    def work(self, rows: Counts, at: Crossing, rules: str) -> tuple[Counts, Counts]:
        """Return no work."""
        nothing = np.zeros(len(rows), dtype=np.int64)
        return nothing, nothing

    def ref(self, row: Sequence[int], at: Crossing) -> str:
        """Return `identity`."""
        return IDENTITY

    def row(self, ref: str, at: Crossing) -> list[int]:
        """Return an empty row."""
        if ref != IDENTITY:
            raise _other(ref, IDENTITY)
        return []


@dataclass(frozen=True)
class ConvLinear:
    """P1 to P8 of Mu et al. 2024 (Fig. 3 in our reading): `conv` for maps, `linear` for the rest.

    P1 and P4 are the channels, P2 and P5 the kernels, P3 and P6 the strides of two convolutions;
    P7 and P8 are the widths of two linear layers. No layer widens: P4 <= P1 <= channels that cross,
    P8 <= P7 <= elements that cross. Where the code would be as large as what crosses there is no
    codec (our addition; the paper always has one), unless a channel follows.

    Attributes:
        channels: most channels of maps at any cut.
        vector: most elements of anything else at any cut.
        noisy: whether a channel follows, so that tanh bounds the code.
        zeroed: whether what a plan does not have counts as 0 in its features; else it counts as
            what narrows least.
    """

    part: ClassVar[str] = "codec"

    channels: int
    vector: int
    noisy: bool = False
    zeroed: bool = False

    @property
    def variables(self) -> tuple[Variable, ...]:
        """P1 to P8."""
        channels, vector = (1, self.channels), (1, self.vector)
        kinds = (
            *((channels, 1, True), (KERNELS, 0, False), (STRIDES, -1, False)),
            *((channels, 1, True), (KERNELS, 0, False), (STRIDES, -1, False)),
            *((vector, 1, True), (vector, 1, True)),
        )
        found = []
        for number, (values, effect, log) in enumerate(kinds, start=1):
            name, low, high = f"P{number}", values[0], values[-1]
            if self.zeroed:  # 0 is no narrow code, so the effect has no direction
                found.append(Variable(name, low, high, log=log))
            else:
                found.append(Variable(name, low, high, effect, log, high if effect > 0 else low))
        return tuple(found)

    def rows(self, u: Floats, at: Crossing) -> Counts:
        """Return P1 to P8, (B, 8)."""
        rows = np.empty(u.shape, dtype=np.int64)
        first = width(u[:, _FIRST], np.stack([at.channels, at.elements], axis=1))
        rows[:, _FIRST] = first
        rows[:, _SECOND] = width(u[:, _SECOND], first)
        rows[:, _KERNELS] = chosen(u[:, _KERNELS], KERNELS)
        rows[:, _STRIDES] = chosen(u[:, _STRIDES], STRIDES)
        rows[:, :6] *= at.maps[:, None]
        rows[:, 6:] *= at.vectors[:, None]
        idle = at.sent & ~self._narrows(rows, at)
        if idle.any():
            rows[idle] = _of_cut(_widest(at), at)[idle]
        return rows

    def units(self, rows: Counts, at: Crossing) -> Floats:
        """Return points (B, 8); what is not there narrows least."""
        p1, p2, p3, p4, p5, p6, p7, p8 = np.where(rows == 0, _widest(at), rows).T
        return np.column_stack(
            [
                unit_of_width(p1, at.channels),
                unit_of_chosen(p2, KERNELS),
                unit_of_chosen(p3, STRIDES),
                unit_of_width(p4, p1),
                unit_of_chosen(p5, KERNELS),
                unit_of_chosen(p6, STRIDES),
                unit_of_width(p7, at.elements),
                unit_of_width(p8, p7),
            ]
        )

    def elements(self, rows: Counts, at: Crossing) -> Counts:
        """Return P4 H' W' or P8; what crosses where there is no codec, (B,)."""
        height, width = at.height, at.width
        for stride in (rows[:, 2], rows[:, 5]):
            step = np.maximum(stride, 1)
            height, width = -(-height // step), -(-width // step)  # convolutions round up
        code = np.where(at.maps, rows[:, 3] * height * width, rows[:, 7])
        return np.where(at.sent, code, at.elements)

    def encodes(self, rows: Counts, at: Crossing) -> Flags:
        """Return where the code is smaller than what crosses, or a channel follows."""
        return self._narrows(rows, at)

    def work(self, rows: Counts, at: Crossing, rules: str) -> tuple[Counts, Counts]:
        """Return the work of two layers, and of their mirror image."""
        p1, p2, p3, p4, p5, p6, p7, p8 = rows.T
        count = rule(rules)
        whole_map = at.height * at.width
        sides = np.stack([at.height, at.width])
        hidden_sides = -(-sides // np.maximum(p3, 1))
        hidden = hidden_sides.prod(axis=0)
        code = (-(-hidden_sides // np.maximum(p6, 1))).prod(axis=0)
        first, second = (p2, p2), (p5, p5)

        def active(channels: Counts, positions: Counts) -> Counts:
            return np.asarray(count(Layers("activation", positions, positions)).work(channels, 0))

        def dense(c_in: Counts, c_out: Counts) -> Counts:
            return np.asarray(count(Layers("fc")).work(c_in, c_out))

        final = np.where(at.rectified, active(at.channels, whole_map), 0)
        of_maps = (
            count(Layers("conv", whole_map, hidden, first)).work(at.channels, p1)
            + active(p1, hidden)
            + count(Layers("conv", hidden, code, second)).work(p1, p4)
            + active(p4, code),
            count(Layers("conv_transpose", code, hidden, second)).work(p4, p1)
            + active(p1, hidden)
            + count(Layers("conv_transpose", hidden, whole_map, first)).work(p1, at.channels)
            + final,
        )
        one = np.ones_like(p7)
        vector = at.elements
        of_vectors = (
            dense(vector, p7) + active(p7, one) + dense(p7, p8) + active(p8, one),
            dense(p8, p7)
            + active(p7, one)
            + dense(p7, vector)
            + np.where(at.rectified, active(vector, one), 0),
        )
        there = self._narrows(rows, at)
        encode, decode = (
            np.where(there, np.where(at.maps, maps, vectors), 0)
            for maps, vectors in zip(of_maps, of_vectors, strict=True)
        )
        return encode, decode

    def ref(self, row: Sequence[int], at: Crossing) -> str:
        """Return `conv[...]`, `linear[...]` or `identity`."""
        codec = self._codec(row, at)
        if codec is None:
            return IDENTITY
        return _ref(codec, _CONV if isinstance(codec, ConvCodec) else _LINEAR)

    def row(self, ref: str, at: Crossing) -> list[int]:
        """Return P1 to P8."""
        widest = _of_cut(_widest(at), at)[0].tolist()
        accepted = self._class(at)
        if ref == IDENTITY and (accepted is None or not self.noisy):
            return [int(number) for number in widest]
        if accepted is None or parse_ref(ref).name != accepted.name:
            raise _other(ref, accepted.name if accepted else IDENTITY)
        codec = _made(accepted, ref)
        row = [getattr(codec, name, 0) for name in (*_CONV, *_LINEAR)]
        rows = np.array([row])
        if (self.rows(self.units(rows, at), at) != rows).any() or codec != self._codec(row, at):
            raise CoinferError(
                f"its codec is '{ref}'; accepted are no wider layers than what they read, kernels "
                f"{KERNELS}, strides {STRIDES} and the activations of its cut"
            )
        return row

    def _class(self, at: Crossing) -> type[ConvCodec] | type[LinearCodec] | None:
        if not at.sent[0]:
            return None
        return ConvCodec if at.maps[0] else LinearCodec

    def _codec(self, row: Sequence[int], at: Crossing) -> StagedCodec | None:
        """Return the codec of one plan, None for none."""
        made = self._class(at)
        if made is None or not self._narrows(np.array([row]), at)[0]:
            return None
        names, numbers = (_CONV, row[:6]) if made is ConvCodec else (_LINEAR, row[6:])
        activation = "tanh" if self.noisy else "relu"
        final = "relu" if at.rectified[0] else "none"
        options = dict(zip(names, numbers, strict=True))
        return made(**options, code_activation=activation, final=final)

    def _narrows(self, rows: Counts, at: Crossing) -> Flags:
        """Whether a codec has a reason to be, (B,)."""
        return at.sent & (self.noisy | (self.elements(rows, at) < at.elements))


@dataclass(frozen=True)
class BottleNet:
    """Code channels in powers of two, and whether the maps are halved (BottleNet++).

    Attributes:
        channels: most channels at any cut.
    """

    part: ClassVar[str] = "codec"

    channels: int

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Code channels and the switch `spatial`."""
        most = 2 ** int(_log2(np.array(self.channels)))
        return (
            Variable("channels", 1, most, effect=1, log=True, absent=most),
            Variable("spatial", 0, 1, effect=-1),
        )

    def rows(self, u: Floats, at: Crossing) -> Counts:
        """Return channels and spatial, (B, 2); maps of a single row or column are not halved."""
        channels = 2 ** whole(u[:, 0], 0, _log2(at.channels))
        spatial = whole(u[:, 1], 0, 1) * (np.minimum(at.height, at.width) >= 2)
        return np.column_stack([channels, spatial])

    def units(self, rows: Counts, at: Crossing) -> Floats:
        """Return points (B, 2)."""
        exponent = unit_of_whole(_log2(rows[:, 0]), 0, _log2(at.channels))
        return np.column_stack([exponent, unit_of_whole(rows[:, 1], 0, 1)])

    def elements(self, rows: Counts, at: Crossing) -> Counts:
        """Return C' H' W', (B,)."""
        halves = np.where(rows[:, 1] == 1, 2, 1)
        return rows[:, 0] * (at.height // halves) * (at.width // halves)

    def encodes(self, rows: Counts, at: Crossing) -> Flags:
        """Return wherever a feature crosses."""
        return at.sent

    def work(self, rows: Counts, at: Crossing, rules: str) -> tuple[Counts, Counts]:
        """Return the work of a convolution and a bounded activation, and of their mirror image."""
        channels, halved = rows[:, 0], rows[:, 1] == 1
        count = rule(rules)
        whole_map = at.height * at.width
        code = np.where(halved, (at.height // 2) * (at.width // 2), whole_map)
        kernel = np.where(halved, 2, 3)
        window = (kernel, kernel)
        with_level = at.channels + 1
        upwards = Layers("conv_transpose", code, whole_map, window)
        level = Layers("conv", whole_map, whole_map, window)
        encode = count(Layers("conv", whole_map, code, window)).work(with_level, channels)
        decode = np.where(
            halved,
            count(upwards).work(channels, at.channels),
            count(level).work(channels, at.channels),
        )
        encode = encode + count(Layers("activation", code, code)).work(channels, 0)
        last = count(Layers("activation", whole_map, whole_map)).work(at.channels, 0)
        return np.where(at.sent, encode, 0), np.where(at.sent, decode + last, 0)

    def ref(self, row: Sequence[int], at: Crossing) -> str:
        """Return `bottlenet++[...]`."""
        return _ref(BottleNetPlusPlus(*row), _BOTTLENET)

    def row(self, ref: str, at: Crossing) -> list[int]:
        """Return channels and spatial."""
        if parse_ref(ref).name != BottleNetPlusPlus.name:
            raise _other(ref, BottleNetPlusPlus.name)
        codec = _made(BottleNetPlusPlus, ref)
        row = [getattr(codec, name) for name in _BOTTLENET]
        rows = np.array([row])
        if (self.rows(self.units(rows, at), at) != rows).any():
            raise CoinferError(
                f"its codec is '{ref}'; accepted are channels in powers of two up to "
                f"{int(at.channels[0])}, and spatial=1 for maps of 2x2 or more"
            )
        return row


@dataclass(frozen=True)
class Cia:
    """Units kept of CIA's autoencoder, which is pruned like the layers before it.

    Zhang et al. 2021, section III: before anything is pruned, a convolution keeps 1/8 of the
    channels of maps and halves their sides, and a linear layer keeps 1/4 of what it reads. Of maps
    both are pruned, of anything else there is the linear layer alone. What they have at first is
    that of the unpruned network, whatever stays of the channels that cross.

    Attributes:
        max_sparsity: most of their units that the box removes.
        units_at: of the convolution (0 for none) and the linear layer, unpruned, at each cut of
            the box.
    """

    part: ClassVar[str] = "codec"

    max_sparsity: float
    units_at: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, cuts: Sequence[Cut], max_sparsity: float) -> Cia:
        """Return the codecs for some cuts, none of them the input or the output."""
        return cls(max_sparsity, tuple(_cia_units(cut.shape) for cut in cuts))

    @property
    def variables(self) -> tuple[Variable, ...]:
        """A sparsity of the convolution and one of the linear layer."""
        names = ("sparsity[code.channels]", "sparsity[code.width]")
        return tuple(Variable(name, 0.0, self.max_sparsity, effect=-1) for name in names)

    def initial(self, at: Crossing) -> Counts:
        """Return the units of both layers before pruning, (B, 2)."""
        return np.array(self.units_at, dtype=np.int64)[at.cut]

    def sparsities(self, rows: Counts, at: Crossing) -> Floats:
        """Return shares of the initial units that are removed, (B, 2); 0 of what is not there."""
        initial = self.initial(at)
        removed: Floats = (initial - rows) / np.maximum(initial, 1)
        return removed

    def rows(self, u: Floats, at: Crossing) -> Counts:
        """Return channels and width, (B, 2)."""
        initial = self.initial(at)
        return np.where(initial == 0, 0, kept_channels(initial, self.max_sparsity * u))

    def units(self, rows: Counts, at: Crossing) -> Floats:
        """Return points (B, 2)."""
        return self.sparsities(rows, at) / self.max_sparsity

    def elements(self, rows: Counts, at: Crossing) -> Counts:
        """Return the width of the code, (B,)."""
        return rows[:, 1]

    def encodes(self, rows: Counts, at: Crossing) -> Flags:
        """Return everywhere."""
        return at.sent

    def work(self, rows: Counts, at: Crossing, rules: str) -> tuple[Counts, Counts]:
        """Return the work of a convolution and a linear layer, and of their mirror image."""
        channels, width = rows.T
        count = rule(rules)
        positions, whole_map = -(-at.height // 2) * (-(-at.width // 2)), at.height * at.width
        read = np.where(at.maps, channels * positions, at.elements)
        window = (np.full_like(channels, 3),) * 2
        conv = count(Layers("conv", whole_map, positions, window)).work(at.channels, channels)
        mirror = Layers("conv_transpose", positions, whole_map, window)
        active = count(Layers("activation", positions, positions)).work(channels, 0)
        final = count(Layers("activation", whole_map, whole_map)).work(at.channels, 0)
        encode = np.where(at.maps, conv + active, 0) + count(Layers("fc")).work(read, width)
        restore = count(mirror).work(channels, at.channels) + active
        decode = count(Layers("fc")).work(width, read) + np.where(at.maps, restore, 0)
        return encode, decode + np.where(at.rectified, final, 0)

    def ref(self, row: Sequence[int], at: Crossing) -> str:
        """Return `cia-conv[...]` or `cia-linear[...]`."""
        channels, width = row
        final = "relu" if at.rectified[0] else "none"
        if at.maps[0]:
            return _ref(CiaConv(channels, width, final), ("channels", "width"))
        return _ref(CiaLinear(width, final), ("width",))

    def row(self, ref: str, at: Crossing) -> list[int]:
        """Return channels and width."""
        accepted = CiaConv if at.maps[0] else CiaLinear
        if parse_ref(ref).name != accepted.name:
            raise _other(ref, accepted.name)
        codec = _made(accepted, ref)
        row = [getattr(codec, name, 0) or 0 for name in ("channels", "width")]
        most = self.initial(at)[0].tolist()
        within = all(min(1, top) <= kept <= top for kept, top in zip(row, most, strict=True))
        if not within or self.ref(row, at) != ref:
            raise CoinferError(
                f"its codec is '{ref}'; accepted at most is '{self.ref(most, at)}', with both "
                "widths and the activation of its cut"
            )
        return row


@dataclass(frozen=True)
class AsymmetricCode:
    """Code maps and the stride of PAA's autoencoder (Jankowski et al. 2020, our reconstruction).

    Attributes:
        channels: most channels at any cut.
    """

    part: ClassVar[str] = "codec"

    channels: int

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Code maps and the stride."""
        return (
            Variable("channels", 1, self.channels, effect=1, log=True, absent=self.channels),
            Variable("stride", STRIDES[0], STRIDES[-1], effect=-1, absent=STRIDES[0]),
        )

    def rows(self, u: Floats, at: Crossing) -> Counts:
        """Return channels, no more than cross, and stride, (B, 2)."""
        return np.column_stack([width(u[:, 0], at.channels), chosen(u[:, 1], STRIDES)])

    def units(self, rows: Counts, at: Crossing) -> Floats:
        """Return points (B, 2)."""
        stride = unit_of_chosen(rows[:, 1], STRIDES)
        return np.column_stack([unit_of_width(rows[:, 0], at.channels), stride])

    def elements(self, rows: Counts, at: Crossing) -> Counts:
        """Return C' H' W', (B,)."""
        return rows[:, 0] * self._positions(rows, at)

    def encodes(self, rows: Counts, at: Crossing) -> Flags:
        """Return wherever a feature crosses."""
        return at.sent

    def work(self, rows: Counts, at: Crossing, rules: str) -> tuple[Counts, Counts]:
        """Return the work of one convolution, and of a transposed and two others."""
        code, whole_map = self._positions(rows, at), at.height * at.width
        count, window = rule(rules), (np.full_like(code, 3),) * 2
        level = count(Layers("conv", whole_map, whole_map, window)).work(at.channels, at.channels)
        active = count(Layers("activation", whole_map, whole_map)).work(at.channels, 0)
        upwards = count(Layers("conv_transpose", code, whole_map, window))
        encode = count(Layers("conv", whole_map, code, window)).work(at.channels, rows[:, 0])
        decode = upwards.work(rows[:, 0], at.channels) + 2 * (level + active)
        decode = decode + np.where(at.rectified, active, 0)
        return np.where(at.sent, encode, 0), np.where(at.sent, decode, 0)

    def ref(self, row: Sequence[int], at: Crossing) -> str:
        """Return `asymmetric[...]`."""
        channels, stride = row
        codec = Asymmetric(channels, stride, "relu" if at.rectified[0] else "none")
        return _ref(codec, ("channels", "stride"))

    def row(self, ref: str, at: Crossing) -> list[int]:
        """Return channels and stride."""
        if parse_ref(ref).name != Asymmetric.name:
            raise _other(ref, Asymmetric.name)
        codec = _made(Asymmetric, ref)
        row = [getattr(codec, name) for name in ("channels", "stride")]
        rows = np.array([row])
        if (self.rows(self.units(rows, at), at) != rows).any() or self.ref(row, at) != ref:
            raise CoinferError(
                f"its codec is '{ref}'; accepted are up to {int(at.channels[0])} channels, strides "
                f"{STRIDES} and the activation of its cut"
            )
        return row

    @staticmethod
    def _positions(rows: Counts, at: Crossing) -> Counts:
        stride = rows[:, 1]
        positions: Counts = -(-at.height // stride) * (-(-at.width // stride))
        return positions


@dataclass(frozen=True)
class ThreeStep:
    """h of the three-step framework's encoders, and whether maps are flattened first.

    Shao and Zhang 2020; the authors' code keeps maps at its early cuts (`threestep-conv`, h maps)
    and makes vectors of them at its late ones (`threestep-linear`, h elements, a layer of as many
    between). Which cuts are late in another network nobody says, so that it is a choice. What has
    no extent in space goes through one linear layer. h is at most the channels that cross, or
    their elements where there are no maps.

    Attributes:
        channels: most channels (or elements of what is no map) at any cut.
    """

    part: ClassVar[str] = "codec"

    channels: int

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The width h and the switch `flatten`."""
        return (
            Variable("h", 1, self.channels, effect=1, log=True, absent=self.channels),
            Variable("flatten", 0, 1, effect=-1),
        )

    def rows(self, u: Floats, at: Crossing) -> Counts:
        """Return h and flatten, (B, 2); what is no map is not flattened."""
        return np.column_stack([width(u[:, 0], at.channels), whole(u[:, 1], 0, 1) * at.maps])

    def units(self, rows: Counts, at: Crossing) -> Floats:
        """Return points (B, 2)."""
        return np.column_stack(
            [unit_of_width(rows[:, 0], at.channels), unit_of_whole(rows[:, 1], 0, 1)]
        )

    def elements(self, rows: Counts, at: Crossing) -> Counts:
        """Return h H W where maps stay maps, else h, (B,)."""
        return rows[:, 0] * np.where(rows[:, 1] == 1, 1, at.height * at.width)

    def encodes(self, rows: Counts, at: Crossing) -> Flags:
        """Return wherever a feature crosses."""
        return at.sent

    def work(self, rows: Counts, at: Crossing, rules: str) -> tuple[Counts, Counts]:
        """Return the work of a convolution or one or two linear layers, and of the way back."""
        h, flattened = rows[:, 0], rows[:, 1] == 1
        count = rule(rules)
        positions = at.height * at.width
        conv = count(Layers("conv", positions, positions, (3, 3)))

        def pointwise(kind: str, elements: Counts) -> Counts:
            return np.asarray(count(Layers(kind)).work(elements, 0))

        def dense(c_in: Counts, c_out: Counts) -> Counts:
            return np.asarray(count(Layers("fc")).work(c_in, c_out))

        hidden = dense(h, h) + pointwise("activation", h) + pointwise("dropout", h)
        between = np.where(flattened, hidden, 0)
        maps, whole_map = at.maps & ~flattened, at.elements
        encode = np.where(maps, conv.work(at.channels, h), dense(whole_map, h) + between)
        decode = np.where(maps, conv.work(h, at.channels), between + dense(h, whole_map))
        encode = encode + pointwise("activation", self.elements(rows, at))
        decode = decode + pointwise("activation", whole_map)
        return np.where(at.sent, encode, 0), np.where(at.sent, decode, 0)

    def ref(self, row: Sequence[int], at: Crossing) -> str:
        """Return `threestep-conv[...]` or `threestep-linear[...]`."""
        h, flatten = row
        if at.maps[0] and not flatten:
            return str(Ref(ThreeStepConv.name, ((_CHANNELS, h),)))
        between = (("flatten", 1), ("hidden", h)) if flatten else ()
        return str(Ref(ThreeStepLinear.name, (*between, (_WIDTH, h))))

    def row(self, ref: str, at: Crossing) -> list[int]:
        """Return h and flatten."""
        name, maps = parse_ref(ref).name, bool(at.maps[0])
        if name == ThreeStepConv.name and maps:
            row = [getattr(_made(ThreeStepConv, ref), _CHANNELS), 0]
        elif name == ThreeStepLinear.name:
            row = [getattr(_made(ThreeStepLinear, ref), _WIDTH), int(maps)]
        else:
            raise _other(ref, f"{ThreeStepConv.name}' or '" * maps + ThreeStepLinear.name)
        rows = np.array([row])
        if (self.rows(self.units(rows, at), at) != rows).any() or ref != self.ref(row, at):
            raise CoinferError(
                f"its codec is '{ref}'; accepted is a width up to {int(at.channels[0])}, with "
                "flatten=1 and as much hidden where maps become a vector, and no other option"
            )
        return row


def _cia_units(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the units of CIA's convolution and linear layer for a crossing tensor, unpruned."""
    maps = len(shape) == 3 and shape[1] * shape[2] > 1
    stages = (CiaConv() if maps else CiaLinear()).encoder(shape)
    channels = [stage.channels for stage in stages if isinstance(stage, Conv)]
    (width,) = (stage.units for stage in stages if isinstance(stage, Fc))
    return (*channels, 0)[0], width


@dataclass(frozen=True)
class QuantisedBits:
    """No codec: every element in 1 to 8 bits, Huffman-coded (`quantised_coder`)."""

    part: ClassVar[str] = "coder"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("bits", BITS[0], BITS[-1], effect=1, absent=BITS[-1]),
    )

    def rows(self, u: Floats, at: Crossing) -> Counts:
        """Return bits, (B, 1); 0 where nothing is sent."""
        return whole(u, BITS[0], BITS[-1]) * at.sent[:, None]

    def units(self, rows: Counts, at: Crossing) -> Floats:
        """Return points (B, 1); what is not sent has the most bits."""
        return unit_of_whole(np.where(rows == 0, BITS[-1], rows), BITS[0], BITS[-1])

    def elements(self, rows: Counts, at: Crossing) -> Counts:
        """Return what crosses."""
        return at.elements

    def encodes(self, rows: Counts, at: Crossing) -> Flags:
        """Return wherever a feature crosses: quantising loses something."""
        return at.sent

    def work(self, rows: Counts, at: Crossing, rules: str) -> tuple[Counts, Counts]:
        """Return no work: coders cost nothing (no paper counts them)."""
        nothing = np.zeros(len(rows), dtype=np.int64)
        return nothing, nothing

    def ref(self, row: Sequence[int], at: Crossing) -> str:
        """Return `huffman[bits=...]`; `float32` where nothing is sent."""
        return quantised_coder(row[0]) if at.sent[0] else Float32.name

    def row(self, ref: str, at: Crossing) -> list[int]:
        """Return bits."""
        accepted = {self.ref([bits], at): bits for bits in BITS}
        if ref not in accepted:
            raise CoinferError(f"its coder is '{ref}'; accepted: {', '.join(accepted)}")
        return [accepted[ref]] if at.sent[0] else [0]


def quantised_coder(bits: int) -> str:
    """Return the coder of a `quantised` plan: so many bits an element, then Huffman."""
    return str(Ref(HUFFMAN, (("bits", bits),)))


def _of_cut(rows: Counts, at: Crossing) -> Counts:
    """Return P1 to P8 with 0 for the codec that a cut does not have."""
    there = np.repeat([at.maps, at.vectors], [6, 2], axis=0).T
    return np.where(there, rows, 0)


def _widest(at: Crossing) -> Counts:
    """Return the P1 to P8 that narrow nothing: what no codec is taken for."""
    one = np.ones_like(at.channels)
    maps = (at.channels, one, one)
    return np.column_stack([*maps, *maps, at.elements, at.elements])


def _log2(number: Counts) -> Counts:
    """Return floor(log2(number)), exactly."""
    return np.frexp(number)[1].astype(np.int64) - 1


def _ref(codec: StagedCodec, always: Sequence[str]) -> str:
    """Return a codec as plans name it; other options than `always` only where they are unusual."""
    options = {name: getattr(codec, name) for name in always}
    for name in ("code_activation", "final"):
        if getattr(codec, name, "relu") != "relu":
            options[name] = getattr(codec, name)
    return str(Ref(codec.name, tuple(options.items())))


def _made(codec: type[StagedCodec], ref: str) -> StagedCodec:
    try:
        return codec(**parse_ref(ref).arguments)
    except TypeError as error:
        raise CoinferError(f"its codec '{ref}' has other options: {error}") from None


def _other(ref: str, accepted: str) -> CoinferError:
    return CoinferError(f"its codec is '{ref}'; accepted at this cut is '{accepted}'")
