"""Torch-Pruning's dependency graph, built without touching a network's parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from coinfer.errors import CoinferError, one_line


class Item(NamedTuple):
    """Channels that go together with a root's: `channels[i]` of a module with `roots[i]`.

    `module` is the module's name, or None for a parameter that belongs to no known layer.
    """

    module: str | None
    side: str
    channels: NDArray[np.int64]
    roots: NDArray[np.int64]


class Dependents(NamedTuple):
    """One of Torch-Pruning's groups: a root layer's output channels and all that goes with them."""

    root: str
    channels: int
    items: tuple[Item, ...]


def dependency_graph(model: nn.Module, input_shape: tuple[int, ...]) -> Any:
    """Return Torch-Pruning's `DependencyGraph` of a network, which is left as it is.

    It follows gradients, which needs a forward pass with parameters that require them; the pass
    runs on copies that hold shapes only, so that frozen and large networks are followed alike.

    Raises:
        CoinferError: when Torch-Pruning cannot follow the network.
    """
    import torch_pruning

    def shape_only(tensor: torch.Tensor, grad: bool) -> torch.Tensor:
        meta = torch.empty_like(tensor, device="meta")
        return meta.requires_grad_(grad and tensor.is_floating_point())

    state = {name: shape_only(p, True) for name, p in model.named_parameters()}
    state |= {name: shape_only(b, False) for name, b in model.named_buffers()}
    dtype = next((t.dtype for t in state.values() if t.is_floating_point()), torch.float32)
    example = torch.zeros(1, *input_shape, dtype=dtype, device="meta")

    def forward(network: nn.Module, inputs: torch.Tensor) -> Any:
        return torch.func.functional_call(network, state, (inputs,))

    training = {module: module.training for module in model.modules()}
    try:
        with torch.enable_grad():
            # Fresh containers: the library's defaults are shared between calls.
            return torch_pruning.DependencyGraph().build_dependency(
                model,
                example,
                forward_fn=forward,
                unwrapped_parameters=[],
                customized_pruners={},
                ignored_layers=[],
                ignored_params=[],
                verbose=False,
            )
    except Exception as error:  # it walks arbitrary graphs and may fail in any way
        raise _cannot_follow(error) from error
    finally:
        for module, switch in training.items():
            module.training = switch


def all_dependents(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[Dependents, ...]:
    """Return all of Torch-Pruning's groups whose roots are convolutions or linear layers.

    Raises:
        CoinferError: when Torch-Pruning cannot follow the network.
    """
    graph = dependency_graph(model, input_shape)
    names = {id(module): name for name, module in model.named_modules()}
    try:
        groups = list(graph.get_all_groups(ignored_layers=[]))
    except Exception as error:  # as above
        raise _cannot_follow(error) from error
    found = []
    for group in groups:
        root = group[0].dep.target.module
        items = []
        for item in group.items:
            target = item.dep.target.module
            if id(target) not in names and not isinstance(target, nn.Parameter):
                continue  # an operation without parameters
            side = "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
            roots = [-1 if index is None else index for index in item.root_idxs]
            items.append(
                Item(
                    names.get(id(target)),
                    side,
                    np.array(item.idxs, dtype=np.int64),
                    np.array(roots, dtype=np.int64),
                )
            )
        channels = graph.get_pruner_of_module(root).get_out_channels(root)
        found.append(Dependents(names[id(root)], channels, tuple(items)))
    return tuple(found)


def prune_outputs(graph: Any, module: nn.Module, channels: list[int]) -> None:
    """Remove output channels of a layer, and all that goes with them, from a network in place."""
    remove = graph.get_pruner_of_module(module).prune_out_channels
    graph.get_pruning_group(module, remove, channels).prune(record_history=False)


def _cannot_follow(error: Exception) -> CoinferError:
    return CoinferError(f"torch-pruning cannot follow the network ({one_line(error)[:160]})")
