"""How channels flow through a network: which of them can only be removed together.

Every output channel of a convolution or fully connected layer is an *atom*, a number. Along the
trace, atoms pass through what works channel by channel (activations, pools, batch norm), change
places in concatenations and flattenings, and are *tied* where two of them meet: at an addition,
a product, in one group of a grouped convolution. Where an operation mixes channels or has their
number written into it (a reshape to a fixed size, a split, a softmax, a layer norm), its atoms
are *stopped*: they are never removed. Atom 0 stands for all that cannot be removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from coinfer.graph import Layer
from coinfer.layers import argument, constant
from coinfer.tracing import Traced

Atoms = NDArray[np.int64]

FIXED = 0

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_MIXING = (nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax, nn.GLU)
_MIXING_NAMES = {"softmax", "softmin", "log_softmax", "glu"}
_NEW_VALUES = {"full_like", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like"}
_SAME_SHAPE = {"clone", "contiguous", "detach", "double", "float", "half", "to", "type", "type_as"}


class Channels(NamedTuple):
    """The axis along which a tensor's channels lie (batch not counted) and their atoms."""

    axis: int
    atoms: Atoms


class Wire(NamedTuple):
    """A tensor: its shape without batch, and its channels where any of them can be removed."""

    shape: tuple[int, ...]
    channels: Channels | None = None


class Side(NamedTuple):
    """One side of the parameters of a module: its `in` or `out` channels."""

    module: str
    side: str


@dataclass
class Ties:
    """What is tied to what, collected on the way.

    Attributes:
        pairs: arrays of atoms that are tied, position by position.
        stops: atoms that are never removed, with the reason.
        sides: atoms along each side of each module's parameters.
    """

    pairs: list[tuple[Atoms, Atoms]] = field(default_factory=list)
    stops: list[tuple[Atoms, str]] = field(default_factory=list)
    sides: dict[Side, Atoms] = field(default_factory=dict)

    def record(self, side: Side, atoms: Atoms) -> None:
        """Note the atoms along one side; those of a module called twice are stopped."""
        if side in self.sides:
            for each in (self.sides[side], atoms):
                self.stops.append((each, f"'{side.module}' is called more than once"))
        self.sides[side] = atoms


@dataclass(frozen=True)
class Flow:
    """Every layer's first input and its output, and what ties their channels."""

    inputs: tuple[Wire, ...]
    outputs: tuple[Wire, ...]
    ties: Ties


def channel_flow(traced: Traced, made: Mapping[str, Atoms]) -> Flow:
    """Follow channels through a trace.

    Args:
        traced: the network.
        made: atoms of the output channels of modules; those of others are never removed.

    Returns:
        Wires in the order of `traced.graph.layers`, and the ties found.
    """
    ties = Ties()
    source = next(node for node in traced.module.graph.nodes if node.op == "placeholder")
    wires: dict[fx.Node, Wire] = {source: Wire(traced.graph.input_shape)}
    firsts = []
    for node, layer in zip(traced.nodes, traced.graph.layers, strict=True):
        operands = tuple(wires[n] for n in node.all_input_nodes if n in wires)
        step = _Step(traced.module, node, layer, operands, wires, made, ties)
        firsts.append(step.first)
        wires[node] = step.output()
    result = wires[traced.nodes[-1]].channels
    if result is not None:
        ties.stops.append((result.atoms, "its channels are the network's outputs"))
    return Flow(tuple(firsts), tuple(wires[node] for node in traced.nodes), ties)


@dataclass(frozen=True)
class _Step:
    """One layer: how its inputs' channels become its output's.

    Attributes:
        network: the trace.
        node, layer: the layer.
        operands: the tensors it reads that depend on the network's input, in argument order.
        wires: every tensor so far.
        made: atoms of the output channels of modules.
        ties: where it records what it ties and stops.
    """

    network: fx.GraphModule
    node: fx.Node
    layer: Layer
    operands: tuple[Wire, ...]
    wires: Mapping[fx.Node, Wire]
    made: Mapping[str, Atoms]
    ties: Ties

    @property
    def first(self) -> Wire:
        return self.operands[0] if self.operands else Wire(self.layer.in_shape)

    @property
    def module(self) -> nn.Module | None:
        """The module it calls; None for functions and methods."""
        if self.node.op != "call_module":
            return None
        return self.network.get_submodule(str(self.node.target))

    @property
    def function(self) -> str:
        """Name of the function or method it calls, `add_` as `add`; empty for modules."""
        target = self.node.target
        if self.node.op == "call_module":
            return ""
        return (target if isinstance(target, str) else getattr(target, "__name__", "")).strip("_")

    def output(self) -> Wire:
        """Return the layer's output, recording what the layer ties and stops."""
        match self.layer.kind:
            case "conv":
                return self._parametric(axis=0)
            case "conv_transpose":
                if self.layer.groups > 1:
                    return self._stopped("is a grouped transposed convolution")
                return self._parametric(axis=0)
            case "fc":
                return self._parametric(axis=len(self.layer.in_shape) - 1)
            case "activation":
                return self._activation()
            case "maxpool" | "avgpool":
                return self._pool()
            case "norm":
                if isinstance(self.module, _BATCH_NORMS):
                    return self._per_channel()
                return self._stopped("normalises across channels")
            case "add" | "elementwise":
                return self._elementwise()
            case "concat":
                return self._concat()
            case "reshape":
                return self._reshape()
            case _:  # dropout
                return self._passed()

    def _stopped(self, why: str) -> Wire:
        """Nothing that the layer reads or makes can be removed."""
        for channels in (wire.channels for wire in self.operands):
            if channels is not None:
                self.ties.stops.append((channels.atoms, f"'{self.layer.name}' {why}"))
        return Wire(self.layer.out_shape)

    def _passed(self, axis: int | None = None) -> Wire:
        """Channels stay what they are; `axis` is where they now lie, if elsewhere."""
        shape, channels = self.layer.out_shape, self.first.channels
        if channels is None:
            return Wire(shape)
        axis = channels.axis if axis is None else axis
        if axis >= len(shape) or shape[axis] != len(channels.atoms):
            return self._stopped("changes the number of channels")
        return Wire(shape, Channels(axis, channels.atoms))

    def _read(self, axis: int) -> Atoms | None:
        """Return the atoms of the input along the axis that a module takes for channels."""
        shape, channels = self.first
        if channels is None:
            return np.full(shape[axis], FIXED, dtype=np.int64)
        return channels.atoms if channels.axis == axis else None

    def _parametric(self, axis: int) -> Wire:
        """A layer whose output channels are its own; groups tie them to its inputs."""
        name, shape = str(self.node.target), self.layer.out_shape
        read = self._read(axis)
        if self.module is None or read is None:
            return self._stopped("has weights that do not belong to channels")
        made = self.made.get(name, np.full(shape[axis], FIXED, dtype=np.int64))
        self.ties.record(Side(name, "in"), read)
        self.ties.record(Side(name, "out"), made)
        if self.layer.groups > 1:
            per_group = np.hstack([a.reshape(self.layer.groups, -1) for a in (read, made)])
            self.ties.pairs += [(per_group[:, 0], column) for column in per_group.T[1:]]
        return Wire(shape, Channels(axis, made))

    def _per_channel(self) -> Wire:
        """A layer with parameters per channel: batch norm, PReLU."""
        read = self._read(0)
        if read is None:
            return self._stopped("has weights that do not belong to channels")
        self.ties.record(Side(str(self.node.target), "out"), read)
        return self._passed()

    def _activation(self) -> Wire:
        module = self.module
        if isinstance(module, _MIXING) or self.function in _MIXING_NAMES:
            return self._stopped("mixes channels")
        if isinstance(module, nn.PReLU) and module.num_parameters > 1:
            return self._per_channel()
        if len(self.node.all_input_nodes) > 1:
            return self._stopped("has weights that do not belong to channels")
        return self._passed()

    def _pool(self) -> Wire:
        shape, channels = self.first
        if channels is None:
            return Wire(self.layer.out_shape)
        if self.function not in ("mean", "amax"):
            return self._passed() if channels.axis == 0 else self._stopped("pools over channels")
        dims = argument(self.node, 1, "dim")
        listed = [dims] if isinstance(dims, int) else list(dims or [])
        reduced = {dim % (len(shape) + 1) - 1 for dim in listed}
        if not reduced or channels.axis in reduced:
            return self._stopped("pools over channels")
        dropped = sum(axis < channels.axis for axis in reduced)
        return self._passed(channels.axis - (0 if argument(self.node, 2, "keepdim") else dropped))

    def _elementwise(self) -> Wire:
        """Tie the operands whose channels meet."""
        shape = self.layer.out_shape
        if self.function in _NEW_VALUES:
            return self._stopped("makes values of its own")
        if not all(n in self.wires or self._is_number(n) for n in self.node.all_input_nodes):
            return self._stopped("meets values that are not channels")
        # Axes are counted from the last one, as broadcasting does.
        found = [
            (channels.axis - len(wire.shape), channels.atoms)
            for wire in self.operands
            if (channels := wire.channels) is not None
        ]
        whole = [(axis, atoms) for axis, atoms in found if len(atoms) == shape[axis]]
        if not whole:
            return self._stopped("repeats channels")
        axis, lead = whole[0]
        for wire in self.operands:
            size = wire.shape[axis] if len(wire.shape) >= -axis else 1
            channels = wire.channels
            meets = channels is not None and channels.axis - len(wire.shape) == axis
            if channels is not None and meets and size == len(lead):
                self.ties.pairs.append((lead, channels.atoms))
            elif size > 1:
                return self._stopped("meets channels that cannot be removed")
            elif channels is not None:
                self.ties.stops.append((channels.atoms, f"'{self.layer.name}' repeats it for all"))
        return Wire(shape, Channels(len(shape) + axis, lead))

    def _is_number(self, node: fx.Node) -> bool:
        """Whether a node that does not depend on the input holds a single number."""
        if node.op != "get_attr":
            return False
        value = constant(self.network, node)
        return isinstance(value, torch.Tensor) and value.numel() == 1

    def _concat(self) -> Wire:
        shape, tensors = self.layer.out_shape, argument(self.node, 0, "tensors")
        if self.function == "stack" or not all(node in self.wires for node in tensors):
            return self._stopped("does not concatenate channels")
        wires = [self.wires[node] for node in tensors]
        dim: Any = argument(self.node, 1, "dim") or self.node.kwargs.get("axis") or 0
        axis = dim % (len(shape) + 1) - 1
        if any(wire.channels is not None and wire.channels.axis != axis for wire in wires):
            return self._stopped("does not concatenate channels")
        atoms = [
            np.full(wire.shape[axis], FIXED) if wire.channels is None else wire.channels.atoms
            for wire in wires
        ]
        return Wire(shape, Channels(axis, np.concatenate(atoms)))

    def _reshape(self) -> Wire:
        module, function = self.module, self.function
        if isinstance(module, nn.Identity) or function in _SAME_SHAPE:
            return self._passed()
        if isinstance(module, nn.Flatten) or function == "flatten":
            return self._merged((-1,) * (len(self.layer.out_shape) + 1))
        if function in ("view", "reshape"):
            sizes = self.node.args[1:]
            listed = sizes[0] if sizes and isinstance(sizes[0], tuple | list) else sizes
            return self._merged(tuple(listed))
        if function in ("squeeze", "unsqueeze", "permute", "transpose"):
            return self._moved(function)
        if function == "getitem":
            return self._sliced()
        padding = argument(self.node, 1, "pad") if function == "pad" else None
        padding = getattr(module, "padding", padding)
        return self._stopped("rearranges channels") if padding is None else self._padded(padding)

    def _merged(self, sizes: tuple[Any, ...]) -> Wire:
        """Channels merged with the axes behind them: each becomes several neighbours.

        `sizes` are those that the call names, batch included; the channels' must be free.
        """
        (old, channels), shape = self.first, self.layer.out_shape
        if channels is None:
            return Wire(shape)
        before, count = prod(old[: channels.axis]), len(channels.atoms)
        for axis, size in enumerate(shape):
            if prod(shape[:axis]) == before and size % count == 0:
                free = len(sizes) == len(shape) + 1 and (
                    sizes[axis + 1] == -1 or isinstance(sizes[axis + 1], fx.Node)
                )
                if not free:
                    return self._stopped("reshapes to a size written in the code")
                return Wire(shape, Channels(axis, np.repeat(channels.atoms, size // count)))
        return self._stopped("rearranges channels")

    def _moved(self, function: str) -> Wire:
        """Axes in another order, or axes of size 1 more or less."""
        shape, channels = self.first
        if channels is None:
            return Wire(self.layer.out_shape)
        given: tuple[Any, ...] = self.node.args[1:]
        numbers = given[0] if given and isinstance(given[0], tuple | list) else given
        if self.node.kwargs or not numbers or not all(isinstance(n, int) for n in numbers):
            return self._stopped("rearranges channels")
        rank, axis = len(shape) + 1, channels.axis + 1
        grown = rank + 1 if function == "unsqueeze" else rank
        dims = [number % grown for number in numbers]
        order = list(range(rank))
        if function == "permute":
            order = dims
        elif function == "transpose":
            order[dims[0]], order[dims[1]] = dims[1], dims[0]
        elif function == "unsqueeze":
            order.insert(dims[0], -1)
        elif axis in dims:  # a squeeze that would take the axis away with its last but one channel
            return self._stopped("squeezes channels")
        else:
            order = [i for i in order if i not in dims or shape[i - 1] != 1]
        return self._passed(order.index(axis) - 1)

    def _sliced(self) -> Wire:
        """Slices of other axes than the channels'."""
        channels, index = self.first.channels, self.node.args[1]
        if channels is None:
            return Wire(self.layer.out_shape)
        parts = index if isinstance(index, tuple | list) else (index,)
        along = parts[channels.axis + 1] if len(parts) > channels.axis + 1 else slice(None)
        if not all(isinstance(part, slice) for part in parts) or along != slice(None):
            return self._stopped("takes some of the channels")
        return self._passed()

    def _padded(self, padding: Any) -> Wire:
        """Padding of other axes than the channels'; (before, after) from the last axis on."""
        shape, channels = self.first
        if channels is None:
            return Wire(self.layer.out_shape)
        position = 2 * (len(shape) - 1 - channels.axis)
        if any(amount != 0 for amount in list(padding)[position : position + 2]):
            return self._stopped("pads channels")
        return self._passed()


def components(count: int, first: Atoms, second: Atoms) -> Atoms:
    """Return the connected component of each of 0..count-1, known by its lowest member.

    Args:
        count: number of nodes.
        first, second: the two ends of every edge.
    """
    root = np.arange(count, dtype=np.int64)
    while True:
        low = np.minimum(root[first], root[second])
        new = root.copy()
        for ends in (first, second):
            np.minimum.at(new, root[ends], low)
        new = new[new]
        if np.array_equal(new, root):
            return root
        root = new
