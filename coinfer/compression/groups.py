"""Prune groups of a real network, and the removal of their units.

`prune_space` says what can be removed and counts what any removal leaves; `remove` does it;
`mask` zeroes the same channels and leaves every shape as it is. The count of a kept vector equals
that of the physically pruned network, exactly.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from coinfer.compression.channels import ChannelMap, channel_map
from coinfer.compression.dependency import dependency_graph, prune_outputs
from coinfer.compression.space import PruneGroup, PruneSpace
from coinfer.errors import CoinferError
from coinfer.tracing import Traced, trace

__all__ = [
    "PruneGroup",
    "PruneSpace",
    "gone_units",
    "mask",
    "matching_channels",
    "prune_space",
    "remove",
    "zeroed",
]

Kept = Mapping[str, Sequence[int]]


def prune_space(
    network: Traced | nn.Module, input_shape: tuple[int, ...] | None = None
) -> PruneSpace:
    """Return the prune groups of a network and its counts at any widths.

    Groups are those of Torch-Pruning's dependency graph, checked against the flow of channels
    along the trace. Grouped convolutions are pruned in whole groups (design ruling 12). The
    network's outputs, and groups that cannot be pruned uniformly, are listed in `fixed`.

    Args:
        network: a trace, or a module together with its `input_shape`.
        input_shape: shape of one input without batch; needed for a plain module only.

    Raises:
        CoinferError: when a plain module comes without input shape, or cannot be traced.
    """
    if not isinstance(network, Traced):
        if input_shape is None:
            raise CoinferError(
                f"the prune space of {type(network).__name__} needs input_shape, the shape of one "
                "input without batch, such as (3, 224, 224)"
            )
        network = trace(network, input_shape)
    return channel_map(network).space


def remove(model: nn.Module, space: PruneSpace, kept: Kept) -> nn.Module:
    """Return a smaller copy of a network; the original is left as it is.

    Torch-Pruning removes ordinary groups, we the whole groups of grouped convolutions, which it
    cannot. Modules that the evaluation mode does not reach (auxiliary heads) stay as they are.

    Args:
        model: the network that `space` describes.
        space: its prune space.
        kept: indices of the units that stay, by prune group; absent groups stay whole.

    Raises:
        UnknownNameError: for a group that is not there.
        CoinferError: for indices that are repeated, outside 0..units-1 or none at all, and for a
            space that is not this network's.
    """
    channels = matching_channels(model, space)
    gone = gone_units(channels, kept)
    ours = np.zeros_like(gone)
    for group in channels.whole:
        start = channels.first_unit[group]
        ours[start : start + space.groups[group].units] = True
    small = copy.deepcopy(model)
    _remove_dependent(small, channels, gone & ~ours)
    _remove_selected(small, channels, gone & ours, before=gone & ~ours)
    return small


def mask(model: nn.Module, space: PruneSpace, kept: Kept) -> nn.Module:
    """Return a copy of a network in which the channels that `remove` would take are zero.

    Zeroed are the weights and biases that make them (batch norms included) and the weights that
    read them, so that the copy computes what the smaller network computes, whatever the
    activations between make of a zero. Arguments and errors as `remove`.
    """
    channels = matching_channels(model, space)
    masked = copy.deepcopy(model)
    for parameter, axis, where in zeroed(masked, channels, gone_units(channels, kept)):
        (indices,) = np.nonzero(where)
        parameter.detach().index_fill_(axis, torch.from_numpy(indices).to(parameter.device), 0)
    return masked


def zeroed(
    model: nn.Module, channels: ChannelMap, gone: NDArray[np.bool_]
) -> Iterator[tuple[nn.Parameter, int, NDArray[np.bool_]]]:
    """Yield what `mask` makes zero: (parameter, axis, where along it); some come twice.

    Args:
        model: the network that `channels` describes.
        channels: the channels of its units.
        gone: which units go, by number, as `gone_units` returns.
    """
    for name, units in channels.inputs.items():
        if gone[units].any():
            module = model.get_submodule(name)
            # What a grouped convolution reads goes with what it makes.
            if getattr(module, "groups", 1) == 1:
                yield module.get_parameter("weight"), _input_axis(module), gone[units]
    for name, units in channels.outputs.items():
        if gone[units].any():
            module = model.get_submodule(name)
            for field, axis in _output_axes(module).items():
                if field in ("weight", "bias"):
                    yield module.get_parameter(field), axis, gone[units]


def matching_channels(model: nn.Module, space: PruneSpace) -> ChannelMap:
    """Return the channels of the units of a network's prune space.

    Raises:
        CoinferError: for a space that is not this network's.
    """
    channels = channel_map(trace(model, space.graph.input_shape))
    if channels.space != space:
        raise CoinferError(
            f"the prune space given is not that of this {type(model).__name__}; accepted: "
            "prune_space(model, input_shape) of the very network"
        )
    return channels


def gone_units(channels: ChannelMap, kept: Kept) -> NDArray[np.bool_]:
    """Return which units go, by number; a last entry, for channels of no unit, never does.

    Raises:
        UnknownNameError, CoinferError: for groups and indices as `remove`.
    """
    space = channels.space
    gone = np.zeros(int(space.full.sum()) + 1, dtype=np.bool_)
    for name, indices in kept.items():
        position = space.index(name)
        units, start = space.groups[position].units, channels.first_unit[position]
        if len(indices) == 0:
            raise CoinferError(f"units kept of '{name}' are none; allowed is 1 to {units}")
        chosen = np.asarray(indices)
        integral = chosen.ndim == 1 and np.issubdtype(chosen.dtype, np.integer)
        if not integral or len(set(chosen.tolist())) != len(chosen):
            raise CoinferError(f"units kept of '{name}' are not distinct integers in a list")
        if chosen.min() < 0 or chosen.max() >= units:
            wrong = int(chosen[(chosen < 0) | (chosen >= units)][0])
            raise CoinferError(f"units kept of '{name}' hold {wrong}; allowed is 0 to {units - 1}")
        gone[start : start + units] = True
        gone[start + chosen] = False
    return gone


def _remove_dependent(model: nn.Module, channels: ChannelMap, gone: NDArray[np.bool_]) -> None:
    """Remove units by Torch-Pruning's dependency graph, in place."""
    if not gone.any():
        return
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    graph = dependency_graph(model, channels.space.graph.input_shape)
    for root, units in channels.roots:
        removed = np.flatnonzero(gone[units]).tolist()
        if removed:
            prune_outputs(graph, model.get_submodule(root), removed)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)


def _remove_selected(
    model: nn.Module,
    channels: ChannelMap,
    gone: NDArray[np.bool_],
    before: NDArray[np.bool_],
) -> None:
    """Remove units by selecting what stays of every parameter, in place.

    `before` says which units have been removed already.
    """

    def staying(units: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.flatnonzero(~gone[units[~before[units]]])

    for name, units in channels.inputs.items():
        if gone[units].any():
            _select_inputs(model.get_submodule(name), staying(units))
    for name, units in channels.outputs.items():
        if gone[units].any():
            _select_outputs(model.get_submodule(name), staying(units))


def _select_inputs(module: nn.Module, staying: NDArray[np.int64]) -> None:
    """Keep only some input channels of a convolution or linear layer, in place."""
    if isinstance(module, nn.Linear):
        module.in_features = len(staying)
    elif isinstance(module, nn.modules.conv._ConvNd):
        if module.groups > 1:  # each output channel still reads all channels of its group
            module.groups = module.groups * len(staying) // module.in_channels
            module.in_channels = len(staying)
            return
        module.in_channels = len(staying)
    _select(module, "weight", _input_axis(module), staying)


def _select_outputs(module: nn.Module, staying: NDArray[np.int64]) -> None:
    """Keep only some output channels of a layer, in place."""
    for name, axis in _output_axes(module).items():
        _select(module, name, axis, staying)
    for size in ("out_channels", "out_features", "num_features", "num_parameters"):
        if hasattr(module, size):
            setattr(module, size, len(staying))


def _input_axis(module: nn.Module) -> int:
    return 0 if getattr(module, "transposed", False) else 1


def _output_axes(module: nn.Module) -> dict[str, int]:
    """Return the parameters and buffers that have an axis of output channels, and that axis."""
    axes = {"weight": 1 if getattr(module, "transposed", False) else 0, "bias": 0}
    axes |= {"running_mean": 0, "running_var": 0}
    return {name: axis for name, axis in axes.items() if getattr(module, name, None) is not None}


def _select(module: nn.Module, name: str, axis: int, staying: NDArray[np.int64]) -> None:
    old = getattr(module, name)
    new = old.detach().index_select(axis, torch.from_numpy(staying).to(old.device))
    is_parameter = isinstance(old, nn.Parameter)
    setattr(module, name, nn.Parameter(new, old.requires_grad) if is_parameter else new)
