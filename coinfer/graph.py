"""The layer graph: a network in execution order, with its legal cuts. Torch-free data.

`coinfer.tracing` makes one from a real `torch.nn.Module`; nothing here is typed in by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from coinfer import flops
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.serial import content_hash, to_data

KINDS = (
    "conv",
    "conv_transpose",
    "fc",
    "activation",
    "maxpool",
    "avgpool",
    "dropout",
    "norm",
    "add",
    "concat",
    "elementwise",
    "reshape",
)
INPUT = "input"


@dataclass(frozen=True)
class Layer:
    """One node of the graph. Shapes exclude the batch dimension.

    Attributes:
        name: qualified name, unique in the graph (`features.0`, `layer1.0.add`, `flatten`).
        kind: one of KINDS.
        inputs: indices of the layers it reads, in argument order; -1 is the network's input.
        in_shape: shape of its first input, channels first (features of an fc: (Ci,)).
        out_shape: shape of its output.
        parameters: how many it reads that no layer before it does, so that shared ones count
            once (batch norm's running statistics do not).
        kernel: kernel size of convolutions and max pools, else ().
        groups: of a convolution, else 1.
        channel_axis: the axis of out_shape that holds the channels (0, or -1 for token layouts).
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    parameters: int = 0
    kernel: tuple[int, ...] = ()
    groups: int = 1
    channel_axis: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CoinferError(
                f"Layer.kind of '{self.name}' is '{self.kind}'; allowed: {', '.join(KINDS)}"
            )

    @property
    def in_channels(self) -> int:
        """Channels of the (first) input."""
        return self.in_shape[self.channel_axis] if self.in_shape else 1

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.out_shape[self.channel_axis] if self.out_shape else 1

    @property
    def in_positions(self) -> int:
        """Elements per input channel (Hi Wi)."""
        return prod(self.in_shape) // max(1, self.in_channels)

    @property
    def out_positions(self) -> int:
        """Elements per output channel (Ho Wo)."""
        return prod(self.out_shape) // max(1, self.out_channels)

    @property
    def fan_in(self) -> int:
        """Input channels that one output channel reads: Ci / groups."""
        return self.in_channels // self.groups


@dataclass(frozen=True)
class Cut:
    """A place at which exactly one tensor crosses from device to server.

    Attributes:
        index: number of layers on the device, 0..N.
        after: name of the layer whose output crosses (`input` for cut 0). The cut's identity.
        shape: shape of the crossing tensor, without batch.
        kind: `input` (cut 0), `interior`, or `output` (cut N: nothing is sent).
    """

    index: int
    after: str
    shape: tuple[int, ...]
    kind: str

    @property
    def elements(self) -> int:
        """Elements of the crossing tensor."""
        return prod(self.shape)


@dataclass(frozen=True)
class LayerGraph:
    """A network's layers in execution order and its legal cuts, in order, cut 0 and N included."""

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    cuts: tuple[Cut, ...]

    def __len__(self) -> int:
        """N, the number of layers."""
        return len(self.layers)

    @cached_property
    def hash(self) -> str:
        """Content hash of the graph: part of every key of a result computed from it."""
        return content_hash(to_data(self))

    @cached_property
    def cut_index(self) -> NDArray[np.int64]:
        """Index (layers on the device) of each legal cut, shape (C,)."""
        return np.array([cut.index for cut in self.cuts], dtype=np.int64)

    @cached_property
    def cut_elements(self) -> NDArray[np.int64]:
        """Elements that cross at each legal cut, shape (C,); at cut N those of the output."""
        return np.array([cut.elements for cut in self.cuts], dtype=np.int64)

    def cut(self, after: str) -> Cut:
        """Return the legal cut behind the layer `after` (`input` for cut 0).

        Raises:
            UnknownNameError: when no legal cut is there.
        """
        for cut in self.cuts:
            if cut.after == after:
                return cut
        raise UnknownNameError("cut", after, (cut.after for cut in self.cuts))

    def coefficients(self, rules: str) -> NDArray[np.int64]:
        """Coefficients (alpha, beta, gamma) of every layer under `rules`, shape (L, 3)."""
        count = flops.rule(rules)
        return np.array([count(layer) for layer in self.layers], dtype=np.int64).reshape(-1, 3)

    def flops(self, rules: str = "table1") -> NDArray[np.int64]:
        """Work of every layer under `rules` (FLOPs, or MACs), shape (L,), read-only."""
        if rules not in self._counted:
            self._counted[rules] = self._count(rules)
            self._counted[rules].setflags(write=False)
        return self._counted[rules]

    @cached_property
    def _counted(self) -> dict[str, NDArray[np.int64]]:
        """Counts made so far, by rules: a sweep asks for the same one a hundred thousand times."""
        return {}

    def _count(self, rules: str) -> NDArray[np.int64]:
        alpha, beta, gamma = self.coefficients(rules).T
        fan_in, c_in, c_out = (
            np.array([getattr(layer, field) for layer in self.layers], dtype=np.int64)
            for field in ("fan_in", "in_channels", "out_channels")
        )
        count: NDArray[np.int64] = c_out * (alpha * fan_in + beta) + gamma * c_in
        return count

    def device_flops(self, rules: str = "table1") -> NDArray[np.int64]:
        """Work on the device at each legal cut (eq. 3's numerator), shape (C,)."""
        done = np.concatenate([[0], np.cumsum(self.flops(rules))])
        return done[self.cut_index]
