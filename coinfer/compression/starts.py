"""How a codec starts that is to give back a feature: from principal components, in closed form.

A codec with random weights loses everything at first, and a short training goes into learning
what linear algebra knows: which directions of the feature vary most. Here every layer of the
encoder takes the principal components of what reaches it, seen through the middle of its window
without overlap, and every layer of the decoder gives back by least squares what its mirror in the
encoder had read. Activations are met where they are nearly linear: what a ReLU or ELU follows is
shifted above zero, what a tanh or sigmoid follows is scaled to about one.

No paper says how its codec starts; recipes say whether ours start so (stage `start`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from coinfer.compression.codec_nets import NoiseAware

_Linear = nn.Conv2d | nn.ConvTranspose2d | nn.Linear

# Rows that components and weights are fitted to, evenly spaced over all there are.
_MOST_ROWS = 65_536
# Share of the mean square that is added to every square: least squares stay solvable.
_RIDGE = 1e-6
# Share of what is seen that may fall below zero in front of a ReLU.
_BELOW = 0.002
# What one standard deviation of the most varying unit is in front of a bounded activation.
_BOUNDED = {nn.Tanh: 0.5, nn.Sigmoid: 1.0}
# Components beyond those wanted, and rounds, of a randomised decomposition.
_SPARE = 16
_ROUNDS = 4


@dataclass(frozen=True)
class _Step:
    """A linear layer and what follows it up to the next one."""

    layer: _Linear
    behind: tuple[nn.Module, ...]

    def __call__(self, tensor: Tensor) -> Tensor:
        tensor = self.layer(tensor)
        for module in self.behind:
            tensor = module(tensor)
        return tensor


@torch.no_grad()
def principal_start(encoder: nn.Module, decoder: nn.Module, features: Tensor) -> bool:
    """Set the weights of a codec so that it gives features back as well as it can before training.

    Args:
        encoder, decoder: modules of a codec, in evaluation mode; changed in place.
        features: what crosses for some training images, (N, *crossing shape).

    Returns:
        Whether it did: a codec whose decoder does not mirror its encoder stays as it is.
    """
    aware = isinstance(encoder, NoiseAware)
    before, down = _steps(encoder.body if isinstance(encoder, NoiseAware) else encoder)
    lead, up = _steps(decoder)
    if not down or not _mirrors(down, up, extra=1 if aware else 0):
        return False
    tensor = features.float()
    for module in before:
        tensor = module(tensor)
    read = []
    for number, step in enumerate(down):
        read.append(tensor)
        _compress(step, tensor)
        # A clear channel's noise level is a map of zeros.
        silent = aware and number == 0
        tensor = step(functional.pad(tensor, (0, 0, 0, 0, 0, 1)) if silent else tensor)
    for module in lead:
        tensor = module(tensor)
    for step, target in zip(up, reversed(read), strict=False):
        _restore(step, tensor, target)
        tensor = step(tensor)
    for step in up[len(down) :]:
        _pass_on(step)
    return True


def _steps(codec: nn.Module) -> tuple[tuple[nn.Module, ...], list[_Step]]:
    """Return what stands before the first linear layer, and the steps from there."""
    parts: list[list[nn.Module]] = [[]]
    for module in codec.children():
        if isinstance(module, _Linear):
            parts.append([])
        parts[-1].append(module)
    steps = [_Step(part[0], tuple(part[1:])) for part in parts[1:]]  # type: ignore[arg-type]
    return tuple(parts[0]), steps


def _mirrors(down: Sequence[_Step], up: Sequence[_Step], *, extra: int) -> bool:
    """Whether the decoder restores, layer by layer, what the encoder's layers read.

    Layers that it has beyond those must keep the number of maps.
    """
    if len(up) < len(down):
        return False
    for encodes, decodes in zip(reversed(down), up, strict=False):
        level = extra if encodes is down[0] else 0
        if _width_in(encodes.layer) - level != _width_out(decodes.layer):
            return False
        if _width_out(encodes.layer) != _width_in(decodes.layer):
            return False
    return all(_width_in(step.layer) == _width_out(step.layer) for step in up[len(down) :])


def _width_in(layer: _Linear) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _width_out(layer: _Linear) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _compress(step: _Step, tensor: Tensor) -> None:
    """Have an encoder's layer take principal components, as what follows it passes them on."""
    rows = _every(_rows(step.layer, tensor))
    center = _center(step.layer, tensor, rows)
    units = _width_out(step.layer)
    directions = _principal(rows - center, units, drawn=_seen(step.layer, tensor))
    components = (rows - center) @ directions.T
    shift = rows.new_zeros(units)
    for module in step.behind:
        if isinstance(module, nn.ReLU | nn.ELU):
            lowest = 1 + int(_BELOW * len(components))
            shift = -components.kthvalue(lowest, dim=0).values
        elif bound := _BOUNDED.get(type(module)):
            spread = components.std(dim=0)
            scale = bound / float(spread.max().clamp_min(torch.finfo(spread.dtype).tiny))
            norms = [norm for norm in step.behind if isinstance(norm, nn.BatchNorm2d)]
            for norm in norms:
                _normalise(norm, rows.new_zeros(units), spread.square(), spread * scale)
            if not norms:
                directions = directions * scale
    _write(step.layer, directions, shift - directions @ center)


def _restore(step: _Step, code: Tensor, target: Tensor) -> None:
    """Have a decoder's layer give back what its mirror read, by least squares."""
    wanted = _rows(step.layer, target, restores=True)
    inputs = code if code.ndim == 2 else code.permute(0, 2, 3, 1).flatten(0, 2)
    stride = _stride(len(wanted))
    inputs, wanted = inputs[::stride], wanted[::stride]
    center = _center(step.layer, target, wanted)
    # A bias is one number a map. Where a window restores several places of a map, the constant
    # that each place needs has to come from the inputs, so these keep their own.
    alone = wanted.shape[1] == _width_out(step.layer)
    mean = inputs.mean(dim=0) if alone else inputs.new_zeros(inputs.shape[1])
    weights = _least_squares(inputs - mean, wanted - center)
    bias = center - mean @ weights
    _write(step.layer, weights.T, bias)
    for norm in step.behind:
        if isinstance(norm, nn.BatchNorm2d):  # gives back what it reads
            made = step.layer(code)
            mean, variance = made.mean((0, 2, 3)), made.var((0, 2, 3), correction=0)
            _normalise(norm, mean, variance, (variance + norm.eps).sqrt())
            norm.bias.copy_(mean)


def _pass_on(step: _Step) -> None:
    """Have a layer give on what it reads."""
    if isinstance(step.layer, nn.Linear):
        nn.init.eye_(step.layer.weight)
    else:
        nn.init.dirac_(step.layer.weight)
    if step.layer.bias is not None:
        step.layer.bias.zero_()


def _principal(rows: Tensor, units: int, drawn: Tensor) -> Tensor:
    """Return the directions (units, D) in which rows (n, D) of mean 0 vary most.

    Beyond the rank of the rows, those `drawn` at random.
    """
    known = min(units, *rows.shape)
    spare = min(known + _SPARE, *rows.shape)
    _, _, found = torch.svd_lowrank(rows, q=spare, niter=_ROUNDS)
    return torch.cat((found[:, :known].T, drawn[known:]))


def _least_squares(inputs: Tensor, wanted: Tensor) -> Tensor:
    """Return the weights (d, D) by which inputs (n, d) come nearest to what is wanted, (n, D)."""
    exact = inputs.double()
    squares = exact.T @ exact
    ridge = _RIDGE * squares.diagonal().mean().clamp_min(torch.finfo(squares.dtype).tiny)
    squares.diagonal().add_(ridge)
    return cast(Tensor, torch.linalg.solve(squares, exact.T @ wanted.double()).float())


def _normalise(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, scale: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(scale)
    norm.bias.zero_()


def _window(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[int, int, int]:
    """Return padding, stride, and the places a side of the window's middle.

    Windows meet there without overlap: the places from the padding on, as many as the stride.
    """
    (kernel, _), (stride, _) = layer.kernel_size, layer.stride
    padding = int(layer.padding[0])
    return padding, stride, min(stride, kernel - padding)


def _rows(layer: _Linear, tensor: Tensor, *, restores: bool = False) -> Tensor:
    """Return what each position of a layer sees in the middle of its window, (n, D).

    Args:
        layer: of the encoder; of the decoder, the positions are those of what it reads.
        tensor: what the layer reads, or restores.
        restores: whether it restores.
    """
    if isinstance(layer, nn.Linear):
        return tensor
    padding, stride, places = _window(layer)
    kernel = layer.kernel_size[0]
    count, maps, *sides = tensor.shape
    high, wide = ((side + 2 * padding - kernel) // stride + 1 for side in sides)
    missing = (max(0, stride * wide - sides[1]), max(0, stride * high - sides[0]))
    grown = functional.pad(tensor, (0, missing[0], 0, missing[1]), mode="replicate")
    cells = grown[:, :, : stride * high, : stride * wide]
    cells = cells.reshape(count, maps, high, stride, wide, stride)[:, :, :, :places, :, :places]
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(count * high * wide, -1)


def _center(layer: _Linear, tensor: Tensor, rows: Tensor) -> Tensor:
    """Return the mean of rows, (D,): of maps the same at every place of a window."""
    if isinstance(layer, nn.Linear):
        return rows.mean(dim=0)
    return tensor.mean((0, 2, 3)).repeat_interleave(rows.shape[1] // tensor.shape[1])


def _seen(layer: _Linear, tensor: Tensor) -> Tensor:
    """Return the weights (units, D) that a layer of an encoder has for its rows."""
    if isinstance(layer, nn.Linear):
        return layer.weight.clone()
    padding, _, places = _window(layer)
    middle = slice(padding, padding + places)
    return layer.weight[:, : tensor.shape[1], middle, middle].flatten(1).clone()


def _write(layer: _Linear, weights: Tensor, bias: Tensor) -> None:
    """Set a layer's weights, (units, D) of an encoder's rows and (D, units) of a decoder's."""
    if isinstance(layer, nn.Linear):
        layer.weight.copy_(weights)
        layer.bias.copy_(bias)
        return
    padding, _, places = _window(layer)
    middle = slice(padding, padding + places)
    layer.weight.zero_()
    if isinstance(layer, nn.ConvTranspose2d):
        weights = weights.T
    cells = weights.reshape(len(weights), -1, places, places)
    layer.weight[:, : cells.shape[1], middle, middle] = cells
    assert layer.bias is not None
    layer.bias.copy_(bias.reshape(layer.out_channels, -1).mean(dim=1))


def _every(rows: Tensor) -> Tensor:
    return rows[:: _stride(len(rows))]


def _stride(count: int) -> int:
    return -(-count // _MOST_ROWS)
