"""Codecs: the small encoder on the device and decoder on the server, around the cut.

A codec is written down once, as the stages of its encoder and of its decoder. From them follow
the shape of the code, the work under any counting rule (`coinfer.flops`), and the real modules
(`coinfer.compression.codec_nets`). Torch-free.

| part | paper | encoder |
|---|---|---|
| `conv`, `linear` | Mu et al. 2024, Fig. 3 | two convolutions; two linear layers |
| `bottlenet++` | Shao and Zhang 2020 (BottleNet++) | a convolution that sees the noise level |
| `threestep-conv`, `threestep-linear` | Shao and Zhang 2020 (three-step framework) | dimension \
reduction, tanh |
| `cia-conv`, `cia-linear` | Zhang et al. 2021 | a halving convolution and a linear layer |
| `asymmetric` | Jankowski et al. 2020 (PAA) | one convolution, decoded by three |

Batch normalisation is folded into its convolution at inference and costs nothing. Convolutions
are padded by half their odd kernel, so that a map of H rows becomes one of ceil(H / stride) rows,
never an empty one; decoders give back exactly the shape that crossed the cut. Code widths are
whole numbers among the options, so that they can be pruned and searched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar

from coinfer.checks import real_number, shown, whole_number
from coinfer.errors import CoinferError
from coinfer.graph import Layer, LayerGraph
from coinfer.plan import kept_channels

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]

ACTIVATIONS = ("relu", "tanh", "sigmoid", "elu")
NO_ACTIVATION = "none"

# What CIA's autoencoder removes before anything is pruned (Zhang et al. 2021, section III).
_CIA_CHANNELS_REMOVED = 7 / 8
_CIA_WIDTH_REMOVED = 3 / 4


@dataclass(frozen=True)
class Stage:
    """One layer of an encoder or decoder; `kind` is its kind in a layer graph."""

    kind: ClassVar[str]

    def out(self, shape: Shape) -> Shape:
        """Return the shape that it makes of `shape`."""
        return shape

    def layer(self, shape: Shape) -> Layer:
        """Return it as a layer of a graph, to be counted."""
        window = (self.kernel,) * 2 if isinstance(self, Conv | ConvTranspose) else ()
        return Layer(self.kind, self.kind, (-1,), shape, self.out(shape), kernel=window)


@dataclass(frozen=True)
class Conv(Stage):
    """A convolution of maps (C, H, W)."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0

    kind: ClassVar[str] = "conv"

    def out(self, shape: Shape) -> Shape:
        """Return (channels, H', W')."""
        sides = ((s + 2 * self.padding - self.kernel) // self.stride + 1 for s in shape[1:])
        return (self.channels, *sides)


@dataclass(frozen=True)
class ConvTranspose(Stage):
    """The mirror of a `Conv`: a transposed convolution that restores maps of shape `restored`."""

    restored: Shape
    kernel: int
    stride: int = 1
    padding: int = 0

    kind: ClassVar[str] = "conv_transpose"

    def out(self, shape: Shape) -> Shape:
        """Return `restored`."""
        return self.restored

    def output_padding(self, shape: Shape) -> tuple[int, ...]:
        """Rows and columns that the convolution's stride cut off."""
        return tuple(
            whole - ((side - 1) * self.stride - 2 * self.padding + self.kernel)
            for whole, side in zip(self.restored[1:], shape[1:], strict=True)
        )


@dataclass(frozen=True)
class Fc(Stage):
    """A linear layer on a vector (D,)."""

    units: int

    kind: ClassVar[str] = "fc"

    def out(self, shape: Shape) -> Shape:
        """Return (units,)."""
        return (self.units,)


@dataclass(frozen=True)
class Norm(Stage):
    """Batch normalisation of maps."""

    kind: ClassVar[str] = "norm"


@dataclass(frozen=True)
class Activation(Stage):
    """A pointwise function, one of ACTIVATIONS."""

    function: str

    kind: ClassVar[str] = "activation"


@dataclass(frozen=True)
class Dropout(Stage):
    """Dropout, the identity at inference."""

    probability: float

    kind: ClassVar[str] = "dropout"


@dataclass(frozen=True)
class Reshape(Stage):
    """Another shape of the same elements."""

    shape: Shape

    kind: ClassVar[str] = "reshape"

    def out(self, shape: Shape) -> Shape:
        """Return the new shape."""
        return self.shape


@dataclass(frozen=True)
class NoiseMap(Stage):
    """One more map that holds the channel's noise level everywhere; only first in an encoder."""

    kind: ClassVar[str] = "concat"

    def out(self, shape: Shape) -> Shape:
        """Return (C + 1, H, W)."""
        return (shape[0] + 1, *shape[1:])


Stages = Sequence[Stage]


def end_shape(stages: Stages, shape: Shape) -> Shape:
    """Return the shape that stages make of `shape`, one after the other."""
    for stage in stages:
        shape = stage.out(shape)
    return shape


def work_of(stages: Stages, shape: Shape, rules: str) -> int:
    """Return the work of stages on a tensor of `shape` under a counting rule."""
    layers = []
    current = shape
    for stage in stages:
        layers.append(stage.layer(current))
        current = stage.out(current)
    return int(LayerGraph(shape, tuple(layers), ()).flops(rules).sum())


class StagedCodec(ABC):
    """A codec written as stages: shape, work and modules follow from them."""

    kind: ClassVar[str] = "codec"
    name: ClassVar[str]

    @abstractmethod
    def encoder(self, shape: Shape) -> Stages:
        """Return the encoder's stages for a crossing tensor of `shape`.

        Raises:
            CoinferError: when the codec does not take such a tensor.
        """

    @abstractmethod
    def decoder(self, shape: Shape) -> Stages:
        """Return the decoder's stages for a crossing tensor of `shape`.

        Raises:
            CoinferError: when the codec does not take such a tensor.
        """

    def code_shape(self, shape: Shape) -> Shape:
        """Return the shape of the code of a crossing tensor of `shape` (no batch).

        Raises:
            CoinferError: when the codec does not take such a tensor.
        """
        return end_shape(self.encoder(shape), shape)

    def work(self, shape: Shape, rules: str) -> tuple[int, int]:
        """Return (encoder, decoder) work in FLOPs under a counting rule.

        Raises:
            CoinferError: when the codec does not take such a tensor, or no rule has this name.
        """
        return (
            work_of(self.encoder(shape), shape, rules),
            work_of(self.decoder(shape), self.code_shape(shape), rules),
        )

    def modules(self, shape: Shape) -> tuple[nn.Module, nn.Module]:
        """Return a fresh encoder and decoder for a crossing tensor of `shape`.

        Raises:
            CoinferError: when the codec does not take such a tensor.
        """
        from coinfer.compression.codec_nets import build

        code = self.code_shape(shape)
        return build(self.encoder(shape), shape), build(self.decoder(shape), code)


@dataclass(frozen=True)
class ConvCodec(StagedCodec):
    """Two convolutions, mirrored by two transposed ones (Mu et al. 2024, Fig. 3a).

    The figure shows the structure alone; its numbers are our reading: the paper's parameters P1
    to P6 are the channels, kernel and stride of the first convolution (`hidden_...`) and of the
    second (`code_...`), and decoder and encoder share them. ReLU follows every layer.

    Attributes:
        hidden_channels, hidden_kernel, hidden_stride: P1, P2, P3.
        code_channels, code_kernel, code_stride: P4, P5, P6.
        code_activation: after the encoder; `tanh` or `sigmoid` bound what a noisy channel carries.
        final: `relu` after the decoder, or `none` for tensors that may be negative.
    """

    hidden_channels: int
    code_channels: int
    hidden_kernel: int = 3
    hidden_stride: int = 1
    code_kernel: int = 3
    code_stride: int = 1
    code_activation: str = "relu"
    final: str = "relu"

    name: ClassVar[str] = "conv"

    def __post_init__(self) -> None:
        for option in ("hidden_channels", "hidden_stride", "code_channels", "code_stride"):
            _whole(self, option)
        for option in ("hidden_kernel", "code_kernel"):
            _odd(self, option)
        _one_of(self, "code_activation", ("relu", "tanh", "sigmoid"))
        _one_of(self, "final", ("relu", NO_ACTIVATION))

    def encoder(self, shape: Shape) -> Stages:
        """Return convolution, ReLU, convolution, bounding activation."""
        return (*self._hidden(shape), *self._code(), *_activation(self.code_activation))

    def decoder(self, shape: Shape) -> Stages:
        """Return the encoder's mirror image."""
        hidden = end_shape(self._hidden(shape), shape)
        return (
            _mirrored(hidden, self.code_kernel, self.code_stride),
            *_activation("relu"),
            _mirrored(shape, self.hidden_kernel, self.hidden_stride),
            *_activation(self.final),
        )

    def _hidden(self, shape: Shape) -> Stages:
        _check_maps(self.name, shape)
        first = _padded(self.hidden_channels, self.hidden_kernel, self.hidden_stride)
        return (first, *_activation("relu"))

    def _code(self) -> Stages:
        return (_padded(self.code_channels, self.code_kernel, self.code_stride),)


@dataclass(frozen=True)
class LinearCodec(StagedCodec):
    """Two linear layers, mirrored by two more (Mu et al. 2024, Fig. 3b).

    As `conv`, for what has no extent in space: a vector (D,) or maps of 1x1.

    Attributes:
        hidden: P7, width of the layer between.
        width: P8, width of the code.
        code_activation: after the encoder; `tanh` or `sigmoid` bound what a noisy channel carries.
        final: `relu` after the decoder, or `none` for tensors that may be negative.
        flatten: 1 takes larger maps too, as one vector.
    """

    hidden: int
    width: int
    code_activation: str = "relu"
    final: str = "relu"
    flatten: int = 0

    name: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        _whole(self, "hidden")
        _whole(self, "width")
        _one_of(self, "code_activation", ("relu", "tanh", "sigmoid"))
        _one_of(self, "final", ("relu", NO_ACTIVATION))
        _switch(self, "flatten")

    def encoder(self, shape: Shape) -> Stages:
        """Return linear, ReLU, linear, bounding activation."""
        layers = (Fc(self.hidden), *_activation("relu"), Fc(self.width))
        flat = _flattened(self.name, shape, flatten=self.flatten == 1)
        return (*flat, *layers, *_activation(self.code_activation))

    def decoder(self, shape: Shape) -> Stages:
        """Return the encoder's mirror image."""
        layers = (Fc(self.hidden), *_activation("relu"), Fc(prod(shape)))
        return (*layers, *_activation(self.final), *_unflattened(shape))


@dataclass(frozen=True)
class BottleNetPlusPlus(StagedCodec):
    """One convolution that sees the channel's noise level, and its mirror (BottleNet++).

    Shao and Zhang 2020, "BottleNet++: an end-to-end approach for feature compression in
    device-edge co-inference systems"; structure from the authors' code. That code gives the
    stride-1 decoder to both encoders; here the halving encoder has the doubling decoder that the
    code defines and never calls.

    Attributes:
        channels: C', maps of the code.
        spatial: 1 halves height and width (kernel 2, stride 2), 0 keeps them (kernel 3).
    """

    channels: int
    spatial: int = 0

    name: ClassVar[str] = "bottlenet++"

    def __post_init__(self) -> None:
        _whole(self, "channels")
        _switch(self, "spatial")

    def encoder(self, shape: Shape) -> Stages:
        """Return noise map, convolution, batch normalisation, sigmoid."""
        _check_maps(self.name, shape)
        if self.spatial and min(shape[1:]) < 2:
            raise CoinferError(
                f"codec '{self.name}' cannot halve maps of {shape[1]}x{shape[2]}; accepted: maps "
                "of 2x2 or more, or spatial=0"
            )
        conv = Conv(self.channels, 2, 2) if self.spatial else _padded(self.channels, 3, 1)
        return (NoiseMap(), conv, Norm(), *_activation("sigmoid"))

    def decoder(self, shape: Shape) -> Stages:
        """Return (transposed) convolution, batch normalisation, ReLU."""
        conv = ConvTranspose(shape, 2, 2) if self.spatial else _padded(shape[0], 3, 1)
        return (conv, Norm(), *_activation("relu"))


@dataclass(frozen=True)
class ThreeStepConv(StagedCodec):
    """Fewer maps, bounded by tanh (Shao and Zhang 2020, three-step framework, early cuts).

    Only the framework's dimension reduction: its learned source coding is the coder that follows
    (`uniform[low=-1,high=1,penalty=1]`), its joint source-channel coding the channel. Structure
    from the authors' code, first three splits.

    Attributes:
        channels: h, maps of the code.
    """

    channels: int = 32

    name: ClassVar[str] = "threestep-conv"

    def __post_init__(self) -> None:
        _whole(self, "channels")

    def encoder(self, shape: Shape) -> Stages:
        """Return 3x3 convolution, tanh."""
        _check_maps(self.name, shape)
        return (_padded(self.channels, 3, 1), *_activation("tanh"))

    def decoder(self, shape: Shape) -> Stages:
        """Return 3x3 convolution, ELU."""
        return (_padded(shape[0], 3, 1), *_activation("elu"))


@dataclass(frozen=True)
class ThreeStepLinear(StagedCodec):
    """A short vector, bounded by tanh (Shao and Zhang 2020, three-step framework, late cuts).

    As `threestep-conv`; its learned source coding is the coder `codebook`. The authors' fifth
    split has one layer on each side, their fourth flattens maps and has a `hidden` one between.

    Attributes:
        width: h, width of the code.
        hidden: width of a layer between, with ELU and dropout; None for none.
        dropout: probability of that dropout.
        flatten: 1 takes maps too, as one vector.
    """

    width: int = 32
    hidden: int | None = None
    dropout: float = 0.25
    flatten: int = 0

    name: ClassVar[str] = "threestep-linear"

    def __post_init__(self) -> None:
        _whole(self, "width")
        _whole_or_none(self, "hidden")
        real_number(
            f"codec '{self.name}': dropout", self.dropout, "0 to below 1", lambda p: 0 <= p < 1
        )
        _switch(self, "flatten")

    def encoder(self, shape: Shape) -> Stages:
        """Return (linear, ELU, dropout,) linear, tanh."""
        flat = _flattened(self.name, shape, flatten=self.flatten == 1)
        return (*flat, *self._between(), Fc(self.width), *_activation("tanh"))

    def decoder(self, shape: Shape) -> Stages:
        """Return (linear, ELU, dropout,) linear, ELU."""
        return (*self._between(), Fc(prod(shape)), *_activation("elu"), *_unflattened(shape))

    def _between(self) -> Stages:
        if self.hidden is None:
            return ()
        return (Fc(self.hidden), *_activation("elu"), Dropout(self.dropout))


@dataclass(frozen=True)
class CiaConv(StagedCodec):
    """A convolution that halves the maps, then a linear layer (Zhang et al. 2021, section III).

    The convolution keeps 1/8 of the channels, the linear layer 1/4 of the elements: 128 times
    fewer in all. Kernel and activations are not stated; ours are 3x3 and ReLU after all but the
    code. Both widths can be given, as pruning leaves them; the decoder mirrors them.

    Attributes:
        channels: maps behind the convolution; None keeps 1/8.
        width: width of the code; None keeps 1/4 of what the linear layer reads.
        final: `relu` after the decoder, or `none` for tensors that may be negative.
    """

    channels: int | None = None
    width: int | None = None
    final: str = "relu"

    name: ClassVar[str] = "cia-conv"

    def __post_init__(self) -> None:
        _whole_or_none(self, "channels")
        _whole_or_none(self, "width")
        _one_of(self, "final", ("relu", NO_ACTIVATION))

    def encoder(self, shape: Shape) -> Stages:
        """Return convolution, ReLU, linear."""
        maps = self._maps(shape)
        narrow = end_shape(maps, shape)
        return (*maps, Reshape((prod(narrow),)), Fc(_cia_width(self.width, prod(narrow))))

    def decoder(self, shape: Shape) -> Stages:
        """Return linear, ReLU, transposed convolution, ReLU."""
        narrow = end_shape(self._maps(shape), shape)
        return (
            *(Fc(prod(narrow)), *_activation("relu"), Reshape(narrow)),
            *(_mirrored(shape, 3, 2), *_activation(self.final)),
        )

    def _maps(self, shape: Shape) -> Stages:
        _check_maps(self.name, shape)
        kept = self.channels or int(kept_channels(shape[0], _CIA_CHANNELS_REMOVED))
        return (_padded(kept, 3, 2), *_activation("relu"))


@dataclass(frozen=True)
class CiaLinear(StagedCodec):
    """A linear layer that keeps 1/4 of a vector (Zhang et al. 2021): `cia-conv` without maps.

    Attributes:
        width: width of the code; None keeps 1/4.
        final: `relu` after the decoder, or `none` for tensors that may be negative.
    """

    width: int | None = None
    final: str = "relu"

    name: ClassVar[str] = "cia-linear"

    def __post_init__(self) -> None:
        _whole_or_none(self, "width")
        _one_of(self, "final", ("relu", NO_ACTIVATION))

    def encoder(self, shape: Shape) -> Stages:
        """Return the linear layer."""
        flat = _flattened(self.name, shape, flatten=False)
        return (*flat, Fc(_cia_width(self.width, prod(shape))))

    def decoder(self, shape: Shape) -> Stages:
        """Return linear, ReLU."""
        return (Fc(prod(shape)), *_activation(self.final), *_unflattened(shape))


@dataclass(frozen=True)
class Asymmetric(StagedCodec):
    """One convolution on the device, three on the server (Jankowski et al. 2020, PAA).

    "Joint device-edge inference over wireless links with pruning" has an encoder that is smaller
    than its decoder, for symbols of a noisy channel; layers, kernels and activations are our
    reconstruction. The code is not bounded: the channel limits its average power.

    Attributes:
        channels: C', maps of the code.
        stride: 2 halves height and width, 1 keeps them; the decoder's first layer undoes it.
        final: `relu` after the decoder, or `none` for tensors that may be negative.
    """

    channels: int
    stride: int = 1
    final: str = "relu"

    name: ClassVar[str] = "asymmetric"

    def __post_init__(self) -> None:
        _whole(self, "channels")
        whole_number(_named(self, "stride"), self.stride, low=1, high=2)
        _one_of(self, "final", ("relu", NO_ACTIVATION))

    def encoder(self, shape: Shape) -> Stages:
        """Return a 3x3 convolution."""
        _check_maps(self.name, shape)
        return (_padded(self.channels, 3, self.stride),)

    def decoder(self, shape: Shape) -> Stages:
        """Return its mirror image, ReLU, 3x3 convolution, ReLU, 3x3 convolution, ReLU."""
        restored = (_mirrored(shape, 3, self.stride), *_activation("relu"))
        wide = (_padded(shape[0], 3, 1), *_activation("relu"), _padded(shape[0], 3, 1))
        return (*restored, *wide, *_activation(self.final))


CODECS: tuple[type, ...] = (
    *(ConvCodec, LinearCodec, BottleNetPlusPlus),
    *(ThreeStepConv, ThreeStepLinear, CiaConv, CiaLinear, Asymmetric),
)


def _cia_width(given: int | None, elements: int) -> int:
    return given or int(kept_channels(elements, _CIA_WIDTH_REMOVED))


def _padded(channels: int, kernel: int, stride: int) -> Conv:
    return Conv(channels, kernel, stride, kernel // 2)


def _mirrored(restored: Shape, kernel: int, stride: int) -> ConvTranspose:
    return ConvTranspose(restored, kernel, stride, kernel // 2)


def _activation(function: str) -> tuple[Stage, ...]:
    return () if function == NO_ACTIVATION else (Activation(function),)


def _flattened(name: str, shape: Shape, *, flatten: bool) -> Stages:
    """Return what makes a vector of a tensor, where that is asked for or changes nothing."""
    if len(shape) == 1:
        return ()
    if prod(shape) == shape[0] or flatten:
        return (Reshape((prod(shape),)),)
    flattens = name != CiaLinear.name
    raise CoinferError(
        f"codec '{name}' takes no tensor of shape {shape}; accepted: vectors (D,) and maps "
        f"(C, 1, 1){', or flatten=1' if flattens else ''}"
    )


def _unflattened(shape: Shape) -> Stages:
    return () if len(shape) == 1 else (Reshape(shape),)


def _check_maps(name: str, shape: Shape) -> None:
    if len(shape) != 3:
        raise CoinferError(
            f"codec '{name}' takes no tensor of shape {shape}; accepted: maps (C, H, W)"
        )


def _named(codec: StagedCodec, option: str) -> str:
    return f"codec '{codec.name}': {option}"


def _whole(codec: StagedCodec, option: str) -> None:
    whole_number(_named(codec, option), getattr(codec, option), low=1)


def _whole_or_none(codec: StagedCodec, option: str) -> None:
    if getattr(codec, option) is not None:
        _whole(codec, option)


def _odd(codec: StagedCodec, option: str) -> None:
    if whole_number(_named(codec, option), getattr(codec, option), low=1) % 2 == 0:
        raise CoinferError(
            f"{_named(codec, option)} is {getattr(codec, option)}; allowed is an odd whole number"
        )


def _switch(codec: StagedCodec, option: str) -> None:
    whole_number(_named(codec, option), getattr(codec, option), low=0, high=1)


def _one_of(codec: StagedCodec, option: str, accepted: tuple[str, ...]) -> None:
    value = getattr(codec, option)
    if value not in accepted:
        raise CoinferError(
            f"{_named(codec, option)} is {shown(value)}; allowed: {', '.join(accepted)}"
        )
