"""DDPG with one action: an actor and a critic that learn from remembered episodes.

Lillicrap et al. 2016 (arXiv 1509.02971), with the choices of AMC (He et al., ECCV 2018), on which
CIA (Zhang et al. 2021) and CPCDRL (Tang et al. 2024) build: an action in (0, 1], exploration by a
truncated normal whose deviation decays per episode, uniform actions in a warm-up, and rewards
measured against a moving average.

Every number drawn (initial weights, exploration, minibatches) comes from the generator handed in;
torch's own is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]
from torch import Tensor

from coinfer.checks import finite_positive, real_number, whole_number, whole_shape
from coinfer.search.memory import Batch, Memory, agent_state, put_back
from coinfer.search.nets import Adam, Net, one_thread

Floats = NDArray[np.float64]

# The smallest action: (0, 1] has none.
_LEAST = 2.0**-20


@dataclass(frozen=True)
class DdpgSettings:
    """The numbers of a DDPG agent; the defaults are AMC's.

    Attributes:
        state_size: numbers in a state.
        buffer_size: transitions that are remembered; the oldest make room.
        warmup_episodes: episodes of uniform actions before the first update.
        hidden: widths of the hidden layers of actor and critic.
        actor_lr, critic_lr: step sizes of Adam.
        tau: share by which the target networks follow at every update.
        batch: transitions of an update.
        discount: of the next state's value.
        sigma: deviation of the exploration in the first episode after the warm-up.
        sigma_decay: its factor per episode.
        baseline_decay: of the moving average of the batches' mean rewards, which is subtracted
            from the rewards; None subtracts nothing.

    Raises:
        CoinferError: for a number out of its range.
    """

    state_size: int
    buffer_size: int
    warmup_episodes: int
    hidden: tuple[int, ...] = (300, 300)
    actor_lr: float = 1e-4
    critic_lr: float = 1e-3
    tau: float = 0.01
    batch: int = 64
    discount: float = 1.0
    sigma: float = 0.5
    sigma_decay: float = 0.95
    baseline_decay: float | None = 0.5

    def __post_init__(self) -> None:
        for name in ("state_size", "buffer_size", "batch"):
            whole_number(name, getattr(self, name), low=1)
        whole_number("warmup_episodes", self.warmup_episodes)
        whole_shape("hidden", self.hidden)
        for name in ("actor_lr", "critic_lr"):
            finite_positive(name, getattr(self, name))
        _share("tau", self.tau)
        _share("discount", self.discount)
        real_number("sigma", self.sigma, "a finite number >= 0", lambda x: 0 <= x < np.inf)
        _share("sigma_decay", self.sigma_decay)
        if self.baseline_decay is not None:
            _share("baseline_decay", self.baseline_decay)


class Transition(NamedTuple):
    """One step of an episode; `next_state` is None behind the last one."""

    state: ArrayLike
    action: float
    reward: float
    next_state: ArrayLike | None


class Ddpg:
    """An agent. One episode: `explore` each state, `remember` the steps, `update`, `end_episode`.

    Attributes:
        settings: its numbers.
        episode: episodes ended.
        baseline: moving average of the batches' mean rewards; None before the first update.
    """

    def __init__(self, settings: DdpgSettings, rng: np.random.Generator) -> None:
        self.settings = settings
        self.episode = 0
        self.baseline: float | None = None
        self._rng = rng
        size = settings.state_size
        self._actor = Net.drawn((size, *settings.hidden, 1), rng)
        self._critic = Net.drawn((size + 1, *settings.hidden, 1), rng)
        self._actor_target, self._critic_target = self._actor.copy(), self._critic.copy()
        self._actor_adam = Adam(self._actor, settings.actor_lr)
        self._critic_adam = Adam(self._critic, settings.critic_lr)
        self._memory = Memory(size, settings.buffer_size)

    @property
    def warming_up(self) -> bool:
        """Whether actions are uniform and `update` changes nothing."""
        return self.episode < self.settings.warmup_episodes

    @property
    def sigma(self) -> float:
        """Deviation of the exploration in this episode, once warmed up."""
        past = max(0, self.episode - self.settings.warmup_episodes)
        return float(self.settings.sigma * self.settings.sigma_decay**past)

    def act(self, state: ArrayLike) -> float:
        """Return the actor's action in a state (S,), in (0, 1].

        Raises:
            CoinferError: when the state is not of that form, or holds no finite number.
        """
        row = torch.from_numpy(self._memory.checked(state)[None])
        with one_thread():
            return max(_LEAST, float(torch.sigmoid(self._actor.value(row))))

    def explore(self, state: ArrayLike) -> float:
        """Return a random action in a state (S,), in (0, 1].

        Uniform in the warm-up, then from the normal distribution around `act` truncated to [0, 1];
        one number is drawn.

        Raises:
            CoinferError: as `act`.
        """
        share = 1.0 - float(self._rng.random())  # in (0, 1]
        if self.warming_up:
            self._memory.checked(state)
            return max(_LEAST, share)
        return max(_LEAST, truncated_normal(self.act(state), self.sigma, share))

    def remember(self, transitions: Iterable[Transition]) -> None:
        """Add steps to the memory; the oldest ones beyond its size are forgotten.

        Raises:
            CoinferError: for a state that is not (S,), or what is no finite number.
        """
        for step in transitions:
            self._memory.add(*step)

    def update(self) -> None:
        """Learn from one minibatch, unless warming up: critic, actor, then their targets.

        Drawn without replacement; of fewer steps than a batch holds, all are taken.

        Raises:
            CoinferError: when there is nothing to learn from.
        """
        if self.warming_up:
            return
        batch = self._memory.drawn(self.settings.batch, self._rng)
        with one_thread():
            self._learn(batch)

    def end_episode(self) -> None:
        """Count an episode: ends the warm-up in time, and narrows the exploration."""
        self.episode += 1

    def state(self) -> dict[str, Any]:
        """Return all that decides what comes next: tensors, numbers, text and dicts of those."""
        return agent_state(
            self._tensors(),
            self._rng,
            episode=self.episode,
            baseline=self.baseline,
            remembered=self._memory.remembered,
            adam_steps=self._critic_adam.steps,
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken: the same agent, bit for bit, and the same generator.

        Raises:
            CoinferError: when it is no state of an agent with these settings.
        """
        counts = ("episode", "remembered", "adam_steps")
        found = put_back(state, self._tensors(), self._rng, counts, ["baseline"])
        self.episode, self.baseline = found["episode"], found["baseline"]
        self._memory.remembered = found["remembered"]
        self._actor_adam.steps = self._critic_adam.steps = found["adam_steps"]

    def _learn(self, batch: Batch) -> None:
        """Make one update (Zhang et al. 2021, eq. 3, and Algorithm 1, lines 11-13)."""
        settings, states, following = self.settings, batch.states, batch.following
        baseline = self._moved(float(batch.rewards.mean()))

        # y = r - b + discount Q'(s', mu'(s'))
        behind = torch.sigmoid(self._actor_target.value(following))
        value = self._critic_target.value(torch.cat((following, behind), 1))
        future = settings.discount * batch.alive[:, None] * value
        target = (batch.rewards - baseline)[:, None] + future

        # J(Q) = mean (y - Q(s, a))^2
        reads, judged = self._critic.forward(batch.pairs)
        slope = (judged - target) * (2.0 / len(states))
        self._critic.backward(reads, slope, self._critic_adam.gradient)
        self._critic_adam.step()

        # J(mu) = -mean Q(s, mu(s))
        acted, raw = self._actor.forward(states)
        actions = torch.sigmoid(raw)
        reads, _ = self._critic.forward(torch.cat((states, actions), 1))
        falling = torch.full_like(actions, -1.0 / len(states))
        by_action = self._critic.backward(reads, falling)[:, settings.state_size :]
        slope = by_action * actions * (1.0 - actions)
        self._actor.backward(acted, slope, self._actor_adam.gradient)
        self._actor_adam.step()

        self._actor_target.parameters.lerp_(self._actor.parameters, settings.tau)
        self._critic_target.parameters.lerp_(self._critic.parameters, settings.tau)

    def _moved(self, mean: float) -> float:
        """Return b, the moving average with this batch in it; 0 where none is wanted."""
        decay = self.settings.baseline_decay
        if decay is None:
            return 0.0
        old = mean if self.baseline is None else self.baseline
        self.baseline = decay * old + (1.0 - decay) * mean
        return self.baseline

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "actor": self._actor.parameters,
            "critic": self._critic.parameters,
            "actor_target": self._actor_target.parameters,
            "critic_target": self._critic_target.parameters,
            "actor_mean": self._actor_adam.mean,
            "actor_square": self._actor_adam.square,
            "critic_mean": self._critic_adam.mean,
            "critic_square": self._critic_adam.square,
            "memory": self._memory.rows,
        }


def truncated_normal(mean: float, sigma: float, share: float) -> float:
    """Return the quantile at `share` (0..1) of N(mean, sigma^2) truncated to [0, 1].

    The mean lies within 0..1. With sigma 0 it is the mean.
    """
    if sigma <= 0.0:
        return mean
    low, high = ndtr((0.0 - mean) / sigma), ndtr((1.0 - mean) / sigma)
    return float(np.clip(mean + sigma * ndtri(low + share * (high - low)), 0.0, 1.0))


def min_max(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> Floats:
    """Scale values from low..high to 0..1, elementwise; where the range is empty the result is 0.

    What agents read: "we normalize each element in the state tuples to [0, 1]" (Zhang et al. 2021).
    """
    first = np.asarray(low, dtype=np.float64)
    span = np.asarray(high, dtype=np.float64) - first
    scaled: Floats = (np.asarray(values, dtype=np.float64) - first) / np.where(span > 0, span, 1.0)
    return np.clip(np.where(span > 0, scaled, 0.0), 0.0, 1.0)


def _share(name: str, value: object) -> None:
    real_number(name, value, "0 to 1", lambda x: 0.0 <= x <= 1.0)
