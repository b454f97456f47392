"""DQN: a network that says what each of some actions is worth, and learns from remembered steps.

Mnih et al. 2015 (Nature 518): epsilon-greedy actions, replay in random minibatches, and a target
network that is renewed now and then. CPCDRL (Tang et al. 2024) chooses cuts with it.

Every number drawn (initial weights, exploration, minibatches) comes from the generator handed in;
torch's own is never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from coinfer.checks import finite_positive, real_number, whole_number, whole_shape
from coinfer.search.memory import Batch, Memory, agent_state, put_back
from coinfer.search.nets import Adam, Net, one_thread


@dataclass(frozen=True)
class DqnSettings:
    """The numbers of a DQN agent.

    Attributes:
        state_size: numbers in a state.
        actions: how many there are; an action is a number from 0.
        buffer_size: steps that are remembered; the oldest make room.
        hidden: widths of the hidden layers.
        lr: step size of Adam.
        batch: steps of an update.
        discount: of the next state's value.
        epsilon, epsilon_end: share of random actions in the first episode, and in the end.
        epsilon_episodes: after so many it has fallen there, linearly.
        target_every: updates after which the target network becomes the network.

    Raises:
        CoinferError: for a number out of its range.
    """

    state_size: int
    actions: int
    buffer_size: int = 500
    hidden: tuple[int, ...] = (300, 300)
    lr: float = 1e-3
    batch: int = 64
    discount: float = 0.9
    epsilon: float = 1.0
    epsilon_end: float = 0.05
    epsilon_episodes: int = 60
    target_every: int = 10

    def __post_init__(self) -> None:
        for name in ("state_size", "actions", "buffer_size", "batch", "target_every"):
            whole_number(name, getattr(self, name), low=1)
        whole_number("epsilon_episodes", self.epsilon_episodes)
        whole_shape("hidden", self.hidden)
        finite_positive("lr", self.lr)
        for name in ("discount", "epsilon", "epsilon_end"):
            real_number(name, getattr(self, name), "0 to 1", lambda x: 0.0 <= x <= 1.0)


class Dqn:
    """An agent. A step: `explore` a state, `remember` what came of it, `update`; `end_episode`.

    Attributes:
        settings: its numbers.
        episode: episodes ended.
    """

    def __init__(self, settings: DqnSettings, rng: np.random.Generator) -> None:
        self.settings = settings
        self.episode = 0
        self._rng = rng
        size = settings.state_size
        self._net = Net.drawn((size, *settings.hidden, settings.actions), rng)
        self._target = self._net.copy()
        self._adam = Adam(self._net, settings.lr)
        self._memory = Memory(size, settings.buffer_size)

    @property
    def epsilon(self) -> float:
        """Share of random actions in this episode."""
        settings = self.settings
        if self.episode >= settings.epsilon_episodes:
            return settings.epsilon_end
        past = self.episode / settings.epsilon_episodes
        return settings.epsilon + past * (settings.epsilon_end - settings.epsilon)

    def values(self, state: ArrayLike) -> NDArray[np.float32]:
        """Return what each action is worth in a state (S,), (actions,).

        Raises:
            CoinferError: when the state is not of that form, or holds no finite number.
        """
        row = torch.from_numpy(self._memory.checked(state)[None])
        with one_thread():
            worth: NDArray[np.float32] = self._net.value(row)[0].numpy()
        return worth

    def act(self, state: ArrayLike) -> int:
        """Return the action worth most in a state (S,), of equal ones the first.

        Raises:
            CoinferError: as `values`.
        """
        return int(self.values(state).argmax())

    def explore(self, state: ArrayLike) -> int:
        """Return any action with probability `epsilon`, else that of `act`.

        Raises:
            CoinferError: as `values`.
        """
        if self._rng.random() < self.epsilon:
            self._memory.checked(state)
            return int(self._rng.integers(self.settings.actions))
        return self.act(state)

    def remember(
        self, state: ArrayLike, action: int, reward: float, next_state: ArrayLike | None
    ) -> None:
        """Add a step to the memory; `next_state` is None behind the last one.

        Raises:
            CoinferError: for a state that is not (S,), an action that is none, or a reward that is
                no finite number.
        """
        whole_number("an action", action, high=self.settings.actions - 1)
        real_number("a reward", reward, "a finite number", np.isfinite)
        self._memory.add(state, action, reward, next_state)

    def update(self) -> None:
        """Learn from one minibatch, drawn without replacement; of fewer steps all are taken.

        Raises:
            CoinferError: when there is nothing to learn from.
        """
        batch = self._memory.drawn(self.settings.batch, self._rng)
        with one_thread():
            self._learn(batch)
        if self._adam.steps % self.settings.target_every == 0:
            self._target.parameters.copy_(self._net.parameters)

    def end_episode(self) -> None:
        """Count an episode: fewer actions are random in the next one."""
        self.episode += 1

    def state(self) -> dict[str, Any]:
        """Return all that decides what comes next: tensors, numbers, text and dicts of those."""
        return agent_state(
            self._tensors(),
            self._rng,
            episode=self.episode,
            remembered=self._memory.remembered,
            adam_steps=self._adam.steps,
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken: the same agent, bit for bit, and the same generator.

        Raises:
            CoinferError: when it is no state of an agent with these settings.
        """
        counts = ("episode", "remembered", "adam_steps")
        found = put_back(state, self._tensors(), self._rng, counts)
        self.episode, self._memory.remembered = found["episode"], found["remembered"]
        self._adam.steps = found["adam_steps"]

    def _learn(self, batch: Batch) -> None:
        """Follow the gradient of mean (r + discount max Q'(s') - Q(s, a))^2."""
        actions = batch.actions.long()
        best = self._target.value(batch.following).amax(1)
        target = batch.rewards + self.settings.discount * batch.alive * best
        reads, worth = self._net.forward(batch.states)
        rows = torch.arange(len(worth))
        slope = torch.zeros_like(worth)
        slope[rows, actions] = (worth[rows, actions] - target) * (2.0 / len(worth))
        self._net.backward(reads, slope, self._adam.gradient)
        self._adam.step()

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "net": self._net.parameters,
            "target": self._target.parameters,
            "mean": self._adam.mean,
            "square": self._adam.square,
            "memory": self._memory.rows,
        }
