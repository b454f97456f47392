"""How filters are scored by their weights and by the loss; for `coinfer.compression.criteria`.

Every function is vectorised over the filters of a layer. Scores are returned in float64 on the
CPU, so that sums over the layers of a group do not depend on the network's precision or device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from coinfer.compression.space import PruneSpace
from coinfer.errors import CoinferError


def makers(model: nn.Module, space: PruneSpace) -> dict[str, list[str]]:
    """Return the convolutions and linear layers of every prune group."""
    return {
        group.name: [
            name
            for name in group.members
            if isinstance(model.get_submodule(name), nn.Linear | nn.modules.conv._ConvNd)
        ]
        for group in space.groups
    }


def filters(layer: nn.Module) -> Tensor:
    """Return the weights of every output channel of a layer, shape (C, weights per channel)."""
    weight = layer.get_parameter("weight").detach()
    if getattr(layer, "transposed", False):  # (Ci, Co / groups, ...) holds them per input
        groups = int(layer.groups)  # type: ignore[arg-type]
        each = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
        return each.reshape(groups * weight.shape[1], -1)
    return weight.flatten(1)


def l1_norms(rows: Tensor) -> Tensor:
    """Return ||w_i||_1 of every row, in the rows' own precision as nni does, shape (C,)."""
    norms: Tensor = torch.linalg.vector_norm(rows, 1, dim=-1)
    return norms


def l2_norms(rows: Tensor) -> Tensor:
    """Return ||w_i||_2 of every row, in the rows' own precision as nni does, shape (C,)."""
    norms: Tensor = torch.linalg.vector_norm(rows, 2, dim=-1)
    return norms


def distances(rows: Tensor) -> Tensor:
    """Return sum_k ||w_i - w_k||_2 of every row i, shape (C,) (He et al. 2019).

    In float64: `cdist` multiplies matrices, where the differences of like rows cancel.
    """
    exact = rows.double()
    return torch.cdist(exact, exact).fill_diagonal_(0.0).sum(1)


def weight_scores(
    model: nn.Module, space: PruneSpace, score: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Score units by the weights of their filters.

    Args:
        model: the network that `space` describes.
        space: its prune space.
        score: from the filters of a layer, shape (C, weights), to scores, shape (C,).

    Returns:
        By prune group: the scores of its layers, summed per unit, shape (units,).
    """
    return _per_unit(model, space, lambda name: score(filters(model.get_submodule(name))))


def taylor_scores(
    model: nn.Module,
    space: PruneSpace,
    batches: Iterable[tuple[Tensor, Tensor]],
    absolute: str = "end",
) -> dict[str, Tensor]:
    """Score units by the first-order change of the loss (`coinfer.compression.criteria.Taylor`).

    Args:
        model: the network that `space` describes, left as it is.
        space: its prune space.
        batches: (images (B, C, H, W), labels (B,)).
        absolute: `end` or `batch`: where the absolute value is taken.

    Raises:
        CoinferError: when there is no batch.
    """
    layers = {
        name: model.get_submodule(name) for names in makers(model, space).values() for name in names
    }
    if not layers:
        return {}
    totals: dict[str, Tensor] = {}
    outputs: list[tuple[str, Tensor]] = []

    def keep_output(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def hook(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            if not output.requires_grad:  # all weights so far are frozen
                output = output.detach().requires_grad_()
            outputs.append((name, output))
            return output.clone()  # what follows may work in place

        return hook

    device = device_of(model)
    hooks = [layer.register_forward_hook(keep_output(name)) for name, layer in layers.items()]
    try:
        with evaluating(model), torch.enable_grad():
            for images, labels in batches:
                outputs.clear()
                loss = functional.cross_entropy(model(images.to(device)), labels.to(device))
                gradients = torch.autograd.grad(loss, [output for _, output in outputs])
                for (name, output), gradient in zip(outputs, gradients, strict=True):
                    change = _mean_change(layers[name], output.detach(), gradient)
                    change = change.abs() if absolute == "batch" else change
                    totals[name] = totals.get(name, torch.zeros_like(change)) + change
    finally:
        for hook in hooks:
            hook.remove()
    if not totals:
        raise CoinferError("the taylor criterion has no calibration batch; it needs one or more")

    def normalised(name: str) -> Tensor:
        return functional.normalize(totals[name].abs(), dim=0, eps=sys.float_info.min)

    return _per_unit(model, space, normalised)


def _mean_change(layer: nn.Module, output: Tensor, gradient: Tensor) -> Tensor:
    """Return sum_{b,h,w} a_i dL/da_i / (B H W) of every channel i, shape (C,)."""
    axis = output.ndim - 1 if isinstance(layer, nn.Linear) else 1
    others = [dim for dim in range(output.ndim) if dim != axis]
    total = (output * gradient).sum(others, dtype=torch.float64)
    return total * output.shape[axis] / output.numel()


def _per_unit(
    model: nn.Module, space: PruneSpace, score: Callable[[str], Tensor]
) -> dict[str, Tensor]:
    """Sum scores per channel of a layer, by its name, over the layers and channels of each unit.

    Channel c of a layer with C channels belongs to unit c // (C / units).
    """
    names = makers(model, space)
    return {
        group.name: torch.stack(
            [score(name).double().cpu().view(group.units, -1).sum(1) for name in names[group.name]]
        ).sum(0)
        for group in space.groups
    }


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and every module back into its own mode after."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def device_of(model: nn.Module) -> torch.device:
    """Return the device that a network's weights are on."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
