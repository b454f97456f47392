"""AMC's search: an agent goes through a network and keeps a share of every layer, under a cap.

He et al., ECCV 2018 ("AMC: AutoML for model compression and acceleration on mobile devices"),
sections 3.2 to 3.4: states of eleven numbers, actions in (0, 1], a cap on the work that no action
can break, and the negative error as reward. Layers are prune groups here, each by its first layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coinfer.compression.space import PruneSpace
from coinfer.errors import CoinferError
from coinfer.graph import Layer
from coinfer.plan import kept_channels

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Choose = Callable[[Floats], float]
"""From a state to an action in (0, 1]."""

STATE = 11
"""Numbers in a state: t, n, c, h, w, stride, k, FLOPs[t], Reduced, Rest, a_{t-1} (eq. 1)."""

_OF_LAYER, _REDUCED, _REST, _BEFORE = slice(0, 8), 8, 9, 10


@dataclass(frozen=True, eq=False)
class Compression:
    """The layers that an agent compresses, T of them, and how much work may stay.

    Attributes:
        space: the network's prune space.
        groups: positions of the prune groups to compress, in execution order, (T,).
        preserve: share of the network's work that may stay, above 0, up to 1.
        rules: by which work is counted.
        least: smallest keep ratio, above 0, up to 1.

    Raises:
        CoinferError: when there is nothing to compress.
    """

    space: PruneSpace
    groups: Counts
    preserve: float
    rules: str
    least: float = 0.2

    def __post_init__(self) -> None:
        if not len(self.groups):
            raise CoinferError("AMC has no prune group to compress; accepted: one or more")

    @property
    def possible(self) -> bool:
        """Whether the smallest network keeps within the cap."""
        return self.work(self._smallest) <= self.cap

    @property
    def cap(self) -> float:
        """Work that may stay."""
        return self.preserve * self._whole

    def work(self, kept: Counts) -> int:
        """Return the network's work when these units are kept, (G,)."""
        return int(self.space.flops(kept, self.rules).sum())

    def state(self, step: int, kept: Counts, before: float) -> Floats:
        """Return what the agent sees before it compresses a layer, each number 0..1, (11,).

        Args:
            step: which layer, 0..T-1.
            kept: units kept so far, (G,); of the layers to come, all of them.
            before: the share kept of the layer before; 1 for the first.
        """
        place = self._heads[step]
        work = self.space.flops(kept, self.rules)[0]
        state: Floats = self._known[step].copy()
        state[_REDUCED] = (self._layers_work[:place].sum() - work[:place].sum()) / self._whole
        state[_REST] = work[place + 1 :].sum() / self._whole
        state[_BEFORE] = before
        return state

    def walled(self, step: int, kept: Counts, action: float) -> int:
        """Return the units that an action leaves of a layer, so that the cap can still be kept.

        The action wall (Algorithm 1): were all layers behind it kept least, no more than the cap
        would stay. Never less than the smallest keep ratio leaves.

        Args:
            step: which layer, 0..T-1.
            kept: units kept so far, (G,).
            action: share to keep.
        """
        group = self.groups[step]
        low, high = int(self._smallest[group]), int(self.space.full[group])
        wanted = int(kept_channels(high, 1.0 - action))
        future = kept.copy()
        later = self.groups[step + 1 :]
        future[later] = self._smallest[later]
        (fits,) = np.nonzero(self._work_of(future, int(group), low, high) <= self.cap)
        most = low + int(fits[-1]) if len(fits) else low
        return max(low, min(wanted, most))

    def episode(self, choose: Choose) -> tuple[list[Floats], list[float], Counts]:
        """Go through the layers once: return states, shares really kept (T,), units kept (G,)."""
        kept = self.space.full.copy()
        states: list[Floats] = []
        shares = [1.0]
        for step, group in enumerate(self.groups):
            states.append(self.state(step, kept, shares[-1]))
            kept[group] = self.walled(step, kept, choose(states[-1]))
            shares.append(float(kept[group] / self.space.full[group]))
        return states, shares[1:], kept

    def _work_of(self, kept: Counts, group: int, low: int, high: int) -> Counts:
        """Return the network's work for low..high units of a group, exactly.

        A layer's work is a product of two counts that grow by a fixed step per unit, so that the
        whole is quadratic: three counts tell all others (Newton's forward differences).
        """
        first = np.tile(kept, (min(3, high - low + 1), 1))
        first[:, group] = low + np.arange(len(first))
        known: Counts = self.space.flops(first, self.rules).sum(axis=1)
        if len(first) < 3:
            return known
        steps = np.arange(high - low + 1)
        slope, bend = known[1] - known[0], known[2] - 2 * known[1] + known[0]
        counted: Counts = known[0] + steps * slope + steps * (steps - 1) // 2 * bend
        return counted

    @cached_property
    def _smallest(self) -> Counts:
        """Units that stay at least, (G,); all of those that are not compressed."""
        kept = self.space.full.copy()
        kept[self.groups] = kept_channels(kept[self.groups], 1.0 - self.least)
        return kept

    @cached_property
    def _layers_work(self) -> Counts:
        """Work of every layer of the whole network."""
        work: Counts = self.space.flops(self.space.full, self.rules)[0]
        return work

    @cached_property
    def _whole(self) -> int:
        return int(self._layers_work.sum())

    @cached_property
    def _heads(self) -> tuple[int, ...]:
        """Places of the groups' first layers in the network, (T,)."""
        place = {layer.name: index for index, layer in enumerate(self.space.graph.layers)}
        return tuple(place[self.space.groups[group].name] for group in self.groups)

    @cached_property
    def _known(self) -> Floats:
        """What states hold whatever is done, scaled by least and greatest, (T, 11)."""
        layers = self.space.graph.layers
        rows = [
            (step, *_described(layers[place]), self._layers_work[place])
            for step, place in enumerate(self._heads)
        ]
        table = np.array(rows, dtype=np.float64)
        low, span = table.min(axis=0), np.ptp(table, axis=0)
        known = np.zeros((len(table), STATE))
        known[:, _OF_LAYER] = (table - low) / np.where(span > 0, span, 1.0)
        return known


@dataclass(frozen=True)
class Compressed:
    """A network that an agent found.

    Attributes:
        kept: units kept, one number per prune group.
        work: of it, by the rules of the search.
        accuracy: of it.
    """

    kept: tuple[int, ...]
    work: int
    accuracy: float


def compress(
    given: Compression,
    accuracy: Callable[[Counts], float],
    episodes: int,
    warmup: int,
    rng: np.random.Generator,
) -> Compressed | None:
    """Train an agent, and return the network of the highest reward that it met, -Error.

    Of equal ones that of less work. None where nothing keeps within the cap, or for no episode.

    Args:
        given: the layers and the cap.
        accuracy: of the network that keeps these units, (G,).
        episodes: in all.
        warmup: of them, of uniform actions.
        rng: of all that is random.
    """
    from coinfer.search.ddpg import Ddpg, DdpgSettings, Transition

    if not given.possible:
        return None
    # The numbers that are not given here are AMC's, which are that agent's defaults.
    memory = _REMEMBERED * len(given.groups)
    agent = Ddpg(DdpgSettings(STATE, memory, warmup), rng)
    best: Compressed | None = None
    for _ in range(episodes):
        states, shares, kept = given.episode(agent.explore)
        found = Compressed(tuple(kept.tolist()), given.work(kept), accuracy(kept))
        reward = found.accuracy - 1.0  # every step of an episode gets it
        following = [*states[1:], None]
        for state, share, behind in zip(states, shares, following, strict=True):
            agent.remember([Transition(state, share, reward, behind)])
            agent.update()
        agent.end_episode()
        if best is None or (found.accuracy, -found.work) > (best.accuracy, -best.work):
            best = found
    return best


# Steps that the agent remembers, in episodes.
_REMEMBERED = 100


def _described(layer: Layer) -> tuple[float, ...]:
    """Return n, c, h, w, stride, k of a layer (eq. 1); fully connected ones have no stride."""
    maps = len(layer.in_shape) == 3 and layer.kind != "fc"
    height, width = layer.in_shape[1:] if maps else (1, 1)
    stride = round(height / layer.out_shape[1]) if maps else 0
    kernel = max(layer.kernel, default=1)
    return (layer.out_channels, layer.in_channels, height, width, stride, kernel)
