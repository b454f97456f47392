"""The small networks of agents that learn, their gradients and their optimiser.

Every number drawn comes from the generator handed in; torch's own is never touched. The parameters
of a network are one flat vector, so that Adam and the update of a target network are a few
operations on it, and gradients are written out by hand: a search makes thousands of updates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

# Range of the weights of the output layers (Lillicrap et al. 2016, section 7): at first an actor
# with a sigmoid answers 0.5 everywhere.
_LAST = 3e-3
# Adam's (Kingma and Ba 2015).
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Net:
    """Layers with rectifiers between them and linear outputs; its parameters are one vector.

    Attributes:
        sizes: inputs, widths of the hidden layers, outputs.
        parameters: all of them, flat.
        layers: (weight (out, in), bias (out,)) of every layer, views of `parameters`.
    """

    def __init__(self, sizes: Sequence[int], parameters: Tensor) -> None:
        self.sizes = tuple(sizes)
        self.parameters = parameters
        self.layers: list[tuple[Tensor, Tensor]] = []
        place = 0
        for fan_in, fan_out in pairwise(sizes):
            middle, end = place + fan_in * fan_out, place + (fan_in + 1) * fan_out
            weight = parameters[place:middle].view(fan_out, fan_in)
            self.layers.append((weight, parameters[middle:end]))
            place = end

    @classmethod
    def drawn(cls, sizes: Sequence[int], rng: np.random.Generator) -> Net:
        """Return a network with uniform weights: within 1/sqrt(fan in), in the last layer 0.003."""
        ranges = [fan_in**-0.5 for fan_in in sizes[:-2]] + [_LAST]
        parts = [
            rng.uniform(-most, most, (fan_in + 1) * fan_out)
            for most, (fan_in, fan_out) in zip(ranges, pairwise(sizes), strict=True)
        ]
        return cls(sizes, torch.from_numpy(np.concatenate(parts)).float())

    def copy(self) -> Net:
        """Return a network of its own with the same parameters."""
        return Net(self.sizes, self.parameters.clone())

    def forward(self, rows: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return what every layer reads, and the outputs (B, K) of rows (B, inputs)."""
        reads = [rows]
        for weight, bias in self.layers[:-1]:
            reads.append(torch.addmm(bias, reads[-1], weight.t()).relu_())
        weight, bias = self.layers[-1]
        return reads, torch.addmm(bias, reads[-1], weight.t())

    def value(self, rows: Tensor) -> Tensor:
        """Return the outputs (B, K) of rows (B, inputs)."""
        return self.forward(rows)[1]

    def backward(self, reads: list[Tensor], slope: Tensor, gradient: Net | None = None) -> Tensor:
        """Return a loss's slope by the rows, (B, inputs), from that by the outputs, (B, K).

        Args:
            reads: as of `forward`.
            slope: of the loss by the outputs.
            gradient: takes the loss's gradient by the parameters.
        """
        for place in reversed(range(len(self.layers))):
            if gradient is not None:
                weight, bias = gradient.layers[place]
                torch.mm(slope.t(), reads[place], out=weight)
                torch.sum(slope, 0, out=bias)
            slope = slope @ self.layers[place][0]
            if place:  # through the rectifier
                slope *= reads[place] > 0
        return slope


class Adam:
    """Adam on the parameters of a network (Kingma and Ba 2015, Algorithm 1).

    Attributes:
        gradient: a network of the same form, in whose parameters the gradient is written.
        mean, square: moving averages of gradients and of their squares.
        steps: taken so far.
    """

    def __init__(self, net: Net, lr: float) -> None:
        self._parameters, self._lr = net.parameters, lr
        self.gradient = Net(net.sizes, torch.zeros_like(net.parameters))
        self.mean = torch.zeros_like(net.parameters)
        self.square = torch.zeros_like(net.parameters)
        self.steps = 0

    def step(self) -> None:
        """Follow the gradient; both corrections of the moments are factors of the step."""
        self.steps += 1
        slope = self.gradient.parameters
        self.mean.lerp_(slope, 1.0 - _BETA1)
        self.square.mul_(_BETA2).addcmul_(slope, slope, value=1.0 - _BETA2)
        spread = (1.0 - _BETA2**self.steps) ** 0.5
        length = self._lr * spread / (1.0 - _BETA1**self.steps)
        # The gradient has been read; its place takes the divisor.
        divisor = torch.sqrt(self.square, out=slope).add_(_EPSILON * spread)
        self._parameters.addcdiv_(self.mean, divisor, value=-length)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with torch on one thread, so that the number of cores changes no bit."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
