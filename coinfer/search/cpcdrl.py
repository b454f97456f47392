"""CPCDRL's loop: one agent chooses the cut, another how much of each layer stays before it.

Tang et al. 2024, section III. In every episode the partition agent A_p (DQN) proposes a cut; the
compression agent A_c (DDPG) goes through the layers before it and gives each a keep ratio; what
comes of both is evaluated, and both learn from one reward:

    s_p = ratios of the episode before, 1 where nothing is compressed      (III-A.1)
    p = eps-greedy of Q(s_p, .)                                            (Algorithm 1, line 3)
    for layer t = 1..p:
        s_c = (t, i, n, c, h, w, s, k, a_(t-1), p, MACs)                   (eq. 9)
        a_t ~ TN(pi(s_c), sigma^2, 0, 1)                                   (eq. 12)
    R = e^(eta (A - A0)) (1 - alpha) - mu T                                (eq. 10)
    A_p and A_c update                                                     (eqs. 11, 13, 14)

The paper's two algorithms each have a loop over episodes of their own, one waiting for the other:
here they are one loop that takes turns. This module knows nothing of networks; a `World` says what
there is to choose, and what that brings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coinfer.search.cpcdrl_settings import LoopSettings
from coinfer.search.ddpg import Ddpg, DdpgSettings, Transition
from coinfer.search.dqn import Dqn, DqnSettings
from coinfer.search.nets import one_thread

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Where a_(t-1) and p stand among the eleven of eq. 9: behind the first eight.
_BEFORE = 8
_STATE = 11
# mu T is counted up to this: far beyond what staying on the device unpruned takes, which is 1.
_MOST_DELAY = 10.0


@dataclass(frozen=True)
class Evaluated:
    """What a cut and the ratios before it bring.

    Attributes:
        accuracy: A, 0..1.
        latency_s: T.
        retained: share of the whole network's MACs that is left.
    """

    accuracy: float
    latency_s: float
    retained: float


@dataclass(frozen=True, eq=False)
class World:
    """What the agents choose among.

    Attributes:
        layers: of each of L layers, (t, i, n, c, h, w, s, k, MACs) of eq. 9, 0..1, (L, 9).
        positions: p of every action of A_p, 0..1, (actions,), rising.
        compressed: by action, which layers are compressed, in order.
        least_ratio: the lowest keep ratio; lower actions of A_c are raised to it.
        all_local_s: T of the unpruned network on the device alone.
        evaluate: (action of A_p, ratios (L,), 1 where nothing is compressed) -> what it brings.
    """

    layers: Floats
    positions: Floats
    compressed: tuple[tuple[int, ...], ...]
    least_ratio: float
    all_local_s: float
    evaluate: Callable[[int, Floats], Evaluated]


@dataclass(frozen=True, eq=False)
class Run:
    """What happened, episode by episode: the learning curves of Fig. 3.

    Attributes:
        action: of A_p, (E,).
        ratios: of A_c, 1 where nothing was compressed, (E, L).
        accuracy, latency_s, reward: (E,) each.
    """

    action: Ints
    ratios: Floats
    accuracy: Floats
    latency_s: Floats
    reward: Floats

    def best(self, floor: float) -> int | None:
        """Return the fastest episode whose accuracy is not below the floor (eq. 8); None for none.

        Of equally fast ones that of the earliest cut, and of those the first.
        """
        (feasible,) = np.nonzero(self.accuracy >= floor)
        if not len(feasible):
            return None
        order = np.lexsort((feasible, self.action[feasible], self.latency_s[feasible]))
        return int(feasible[order[0]])

    def curves(self) -> dict[str, list[Any]]:
        """Return the episodes as plain columns, to be stored or drawn."""
        columns = ("action", "reward", "latency_s", "accuracy")
        return {name: getattr(self, name).tolist() for name in columns}


def reward(found: Evaluated, floor: float, all_local_s: float, settings: LoopSettings) -> float:
    """Return R of eq. 10; mu T is counted up to ten times All_Local's, so that R is finite."""
    alpha = found.retained if settings.alpha == "retained" else 1.0 - found.retained
    delay = settings.mu * found.latency_s / all_local_s
    return exp(settings.eta * (found.accuracy - floor)) * (1.0 - alpha) - min(delay, _MOST_DELAY)


def layer_state(world: World, layer: int, before: float, action: int) -> Floats:
    """Return s_c of eq. 9, (11,): of a layer, a_(t-1) before it and the action of A_p."""
    told = world.layers[layer]
    return np.concatenate([told[:_BEFORE], [before, world.positions[action]], told[_BEFORE:]])


def partition_agent(world: World, rng: np.random.Generator, **settings: Any) -> Dqn:
    """Return A_p for a world: a DQN over ratios of layers, with an action per cut."""
    size, actions = len(world.layers), len(world.positions)
    return Dqn(DqnSettings(state_size=size, actions=actions, **settings), rng)


def compression_agent(world: World, rng: np.random.Generator, **settings: Any) -> Ddpg:
    """Return A_c for a world: a DDPG that remembers a hundred passes through its layers."""
    given = {"buffer_size": 100 * len(world.layers), "warmup_episodes": 0} | settings
    return Ddpg(DdpgSettings(state_size=_STATE, baseline_decay=None, **given), rng)


def learn(
    world: World, floor: float, partition: Dqn, compression: Ddpg, settings: LoopSettings
) -> Run:
    """Run the loop.

    Args:
        world: what there is to choose.
        floor: A0, 0..1.
        partition, compression: the agents; they learn.
        settings: of the loop.
    """
    episodes, layers = settings.episodes, len(world.layers)
    action = np.zeros(episodes, dtype=np.int64)
    ratios = np.ones((episodes, layers))
    accuracy, latency_s, rewards = np.zeros((3, episodes))
    state = np.ones(layers)
    compressed = False
    with one_thread():  # once for all, for it takes longer than a small network
        for episode in range(episodes):
            chosen = partition.explore(state)
            kept, states = _compress(world, chosen, compression)
            found = world.evaluate(chosen, kept)
            gained = reward(found, floor, world.all_local_s, settings)

            following = kept if settings.bootstrap == "next" else state
            partition.remember(state, chosen, gained, following)
            partition.update()
            partition.end_episode()

            steps = _transitions(states, kept[list(world.compressed[chosen])], gained)
            compression.remember(steps)
            compressed |= bool(steps)
            for _ in range(len(steps) if settings.updates == "step" else compressed):
                compression.update()
            compression.end_episode()

            action[episode], ratios[episode], state = chosen, kept, kept
            accuracy[episode], latency_s[episode] = found.accuracy, found.latency_s
            rewards[episode] = gained
    return Run(action, ratios, accuracy, latency_s, rewards)


def _compress(world: World, action: int, agent: Ddpg) -> tuple[Floats, list[Floats]]:
    """Go through the layers before a cut; return ratios (L,) and what A_c saw (Algorithm 2)."""
    ratios = np.ones(len(world.layers))
    states = []
    before = 1.0
    for layer in world.compressed[action]:
        states.append(layer_state(world, layer, before, action))
        before = ratios[layer] = max(agent.explore(states[-1]), world.least_ratio)
    return ratios, states


def _transitions(states: list[Floats], ratios: Floats, gained: float) -> list[Transition]:
    """Return the steps of an episode of A_c: a reward of 0 until the last one."""
    last = len(states) - 1
    return [
        Transition(
            *(state, float(ratio)),
            gained if step == last else 0.0,
            None if step == last else states[step + 1],
        )
        for step, (state, ratio) in enumerate(zip(states, ratios, strict=True))
    ]
