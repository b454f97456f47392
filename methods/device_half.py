"""The device's half of a network and CIA's encoder behind it, as an agent prunes them.

States and rewards of Zhang et al. 2021 ("Communication-computation efficient device-edge
co-inference via AutoML"), section III-B.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from coinfer.accuracy.box import Box, Decisions
from coinfer.accuracy.variables import Counts, Floats
from coinfer.compression.codecs import CiaConv, CiaLinear
from coinfer.flops import rule
from coinfer.graph import Cut, Layer

Original = Literal["network", "autoencoder"]

STATE = 12
"""Components of a state (eq. 1)."""

# Eight of the layer, work saved before it, work behind it, bits that it sends, the ratio before.
_OF_LAYER, _REDUCED, _REST, _SENT, _BEFORE = slice(0, 8), 8, 9, 10, 11


@dataclass(frozen=True, eq=False)
class DeviceHalf:
    """The layers that an episode prunes at one cut, T of them, and what pruning them is worth.

    These are the prune groups before the cut, each by its first layer, in execution order, and the
    encoder's layers.

    Attributes:
        box: of the family.
        place: of the cut in the box.
        rules: by which FLOPs are counted.
        original: what work and bits are saved against: the `network` alone, which sends the
            feature itself, or with its `autoencoder`, both unpruned.
    """

    box: Box
    place: int
    rules: str
    original: Original = "network"

    @property
    def cut(self) -> Cut:
        """The cut."""
        return self.box.cuts[self.place]

    @property
    def least(self) -> float:
        """The smallest keep ratio."""
        return 1.0 - self.box.max_sparsity

    @cached_property
    def groups(self) -> Counts:
        """Positions of the prune groups before the cut, in execution order."""
        return np.flatnonzero(self.box.prunable[self.place])

    @cached_property
    def encoder(self) -> tuple[Layer, ...]:
        """The layers of the unpruned encoder."""
        shape, layers = self.cut.shape, []
        maps = len(shape) == 3 and shape[1] * shape[2] > 1
        for stage in (CiaConv() if maps else CiaLinear()).encoder(shape):
            layers.append(stage.layer(shape))
            shape = stage.out(shape)
        return tuple(layers)

    @cached_property
    def sequence(self) -> tuple[Layer, ...]:
        """All that the device computes: its layers of the network, then the encoder's."""
        return (*self.box.space.graph.layers[: self.cut.index], *self.encoder)

    @cached_property
    def positions(self) -> tuple[int, ...]:
        """Where in `sequence` the layers to prune are, (T,)."""
        heads = {self.box.space.names[group] for group in self.groups}
        return tuple(
            place
            for place, layer in enumerate(self.sequence)
            if layer.name in heads or (place >= self.cut.index and layer.kind in ("conv", "fc"))
        )

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers to prune, (T,)."""
        return tuple(self.sequence[place] for place in self.positions)

    @cached_property
    def units(self) -> Counts:
        """Units of the layers to prune before pruning, (T,)."""
        code = [layer.out_channels for layer in self.layers[len(self.groups) :]]
        return np.concatenate([self.box.space.full[self.groups], code]).astype(np.int64)

    def decisions(self, kept: Counts) -> Decisions:
        """Return the plan that keeps these units, (T,)."""
        groups = len(self.groups)
        vector = self.box.space.full.copy()
        vector[self.groups] = kept[:groups]
        code = [*[0] * (2 - (len(kept) - groups)), *kept[groups:]]
        return Decisions(vector[None], np.array([self.place]), np.array([code]), np.array([np.nan]))

    def work(self, kept: Counts) -> Counts:
        """Return the work of every layer of `sequence` when these units are kept, (T,)."""
        one = self.decisions(kept)
        network = self.box.space.flops(one.kept, self.rules)[0, : self.cut.index]
        at = self.box.crossing_of(one)
        channels, width = one.codec[0].tolist()
        reads = int(at.channels[0])
        encoder = []
        for layer in self.encoder:
            count = rule(self.rules)(layer)
            if layer.kind == "conv":
                encoder.append(count.work(reads, channels))
                reads = channels
            elif layer.kind == "fc":
                encoder.append(count.work(reads, width))
            else:
                encoder.append(count.work(reads, reads))
                reads *= layer.in_positions if layer.kind == "reshape" else 1
        return np.concatenate([network, encoder]).astype(np.int64)

    def state(self, step: int, kept: Counts, before: float) -> Floats:
        """Return the state of eq. 1 before a layer is pruned, min-max scaled, (12,).

        Args:
            step: which layer, 0..T-1.
            kept: units kept so far, (T,); of the layers to come, all of them.
            before: the keep ratio chosen for the layer before; 1 for the first.
        """
        place = self.positions[step]
        saved = (self._unpruned_work[:place] - self.work(kept)[:place]).sum()
        state: Floats = self._known[step].copy()
        state[_REDUCED] = saved / self._unpruned_work.sum()
        state[_BEFORE] = before
        return state

    def reward(self, kept: Counts, kappa: float, beta: float) -> float:
        """Return R = (R1 + R2 + beta R3) / 3 (eq. 2) of the plan that keeps these units, (T,).

        Args:
            kept: units kept; the last ones are the code's elements.
            kappa: accuracy of the plan, 0..1.
            beta: weight of R3.
        """
        flops, elements = self._unpruned_work.sum(), self.units[-1]
        if self.original == "network":
            flops, elements = self._unpruned_work[: self.cut.index].sum(), self.cut.elements
        nu = max(0.0, 1.0 - float(self.work(kept).sum() / flops))
        rho = max(0.0, 1.0 - float(kept[-1] / elements))
        r1, r2, r3 = _f1(kappa, nu), _f1(kappa, rho), _f1(nu, rho)
        return (r1 + r2 + beta * r3) / 3.0

    @cached_property
    def _unpruned_work(self) -> Counts:
        return self.work(self.units)

    @cached_property
    def _known(self) -> Floats:
        """What states hold whatever is done, scaled, (T, 12)."""
        from coinfer.search.ddpg import min_max

        of_layers = [
            (step, *_described(layer), self._unpruned_work[place])
            for step, (layer, place) in enumerate(zip(self.layers, self.positions, strict=True))
        ]
        table = np.array(of_layers, dtype=np.float64)
        known = np.zeros((len(table), STATE))
        known[:, _OF_LAYER] = min_max(table, table.min(axis=0), table.max(axis=0))
        behind = [self._unpruned_work[place + 1 :].sum() for place in self.positions]
        known[:, _REST] = np.array(behind) / self._unpruned_work.sum()
        known[-1, _SENT] = 1.0  # its bits, over the most that any layer sends
        return known


def _described(layer: Layer) -> tuple[float, ...]:
    """Return type, k, stride, c_in, c_out and f_in of a layer (eq. 1)."""
    linear = layer.kind == "fc"
    kernel = max(layer.kernel, default=1)
    side = 1 if linear else layer.in_shape[-1]
    stride = 1 if linear else round(side / layer.out_shape[-1])
    return (float(linear), kernel, stride, layer.in_channels, layer.out_channels, side)


def _f1(a: float, b: float) -> float:
    """Return 2ab / (a + b), 0 where both are 0."""
    return 2.0 * a * b / (a + b) if a + b > 0.0 else 0.0
