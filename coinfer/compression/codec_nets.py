"""The real modules of a codec, made from its stages (`coinfer.compression.codecs`)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from coinfer.compression.codecs import (
    Activation,
    Conv,
    ConvTranspose,
    Dropout,
    Fc,
    NoiseMap,
    Norm,
    Reshape,
    Shape,
    Stage,
    Stages,
)

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
}
_RECTIFIERS = ("relu", "elu")


class NoiseAware(nn.Module):
    """An encoder that reads the channel's noise level as one more map (BottleNet++).

    Attributes:
        noise_aware: tells a split network to hand the level over.
    """

    noise_aware = True

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, maps: Tensor, level: float = 0.0) -> Tensor:
        """Encode maps (B, C, H, W) for a channel of this noise level; 0 is a clear channel."""
        level_map = torch.zeros_like(maps[:, :1]) + level
        return cast(Tensor, self.body(torch.cat((maps, level_map), 1)))


def build(stages: Stages, shape: Shape) -> nn.Module:
    """Return freshly initialised modules of stages, for tensors of `shape` (no batch).

    Weights are drawn as He et al. (2015) do, so that what crosses neither fades nor grows on its
    way through the codec; no paper says how its codec starts. PyTorch's default lets a signal fade
    by a factor of 2.4 per rectified layer, which costs short trainings most of their steps.
    """
    modules = []
    current = shape
    for stage, behind in zip(stages, [*stages[1:], None], strict=True):
        if not isinstance(stage, NoiseMap):
            module = _module(stage, current)
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                rectified = isinstance(behind, Activation) and behind.function in _RECTIFIERS
                _initialise(module, gain=2.0 if rectified else 1.0)
            modules.append(module)
        current = stage.out(current)
    body = nn.Sequential(*modules)
    return NoiseAware(body) if stages and isinstance(stages[0], NoiseMap) else body


def _initialise(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, gain: float) -> None:
    """Draw weights whose outputs have `gain` times the mean square of their inputs; no bias."""
    summed = layer.weight[0].numel()
    if isinstance(layer, nn.ConvTranspose2d):  # an output sums one in stride^2 of kernel^2 inputs
        summed = layer.weight[:, 0].numel() // (layer.stride[0] * layer.stride[1])
    nn.init.normal_(layer.weight, std=(gain / max(1, summed)) ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _module(stage: Stage, shape: Shape) -> nn.Module:
    match stage:
        case Conv(channels, kernel, stride, padding):
            return nn.Conv2d(shape[0], channels, kernel, stride, padding)
        case ConvTranspose(restored, kernel, stride, padding):
            extra: Any = stage.output_padding(shape)
            return nn.ConvTranspose2d(shape[0], restored[0], kernel, stride, padding, extra)
        case Fc(units):
            return nn.Linear(shape[0], units)
        case Norm():
            return nn.BatchNorm2d(shape[0])
        case Activation(function):
            return _ACTIVATIONS[function]()
        case Dropout(probability):
            return nn.Dropout(probability)
        case Reshape(new) if len(new) == 1:
            return nn.Flatten()
        case Reshape(new):
            return nn.Unflatten(1, new)
        case _:
            raise TypeError(f"no module is known for {stage!r}")
