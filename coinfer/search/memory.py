"""What agents that learn have in common: the steps they remember, and how they are saved.

Every number drawn comes from the generator handed in; torch's own is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from coinfer.checks import real_number, whole_number
from coinfer.errors import CoinferError


class Batch(NamedTuple):
    """B remembered steps.

    Attributes:
        states, following: before and behind each step, (B, S); zeros behind the last of an episode.
        pairs: states, and the action taken, (B, S + 1).
        actions, rewards: (B,).
        alive: 1 where the episode went on, else 0, (B,).
    """

    states: Tensor
    pairs: Tensor
    actions: Tensor
    rewards: Tensor
    following: Tensor
    alive: Tensor


class Memory:
    """The last steps of an agent.

    Attributes:
        rows: a step each: state, action, reward, next state, 1 where there is one, (N, 2 S + 3).
        remembered: how many steps were added, forgotten ones too.
    """

    def __init__(self, state_size: int, buffer_size: int) -> None:
        self.rows = torch.zeros(buffer_size, 2 * state_size + 3)
        self.remembered = 0
        self._size = state_size

    def checked(self, state: ArrayLike) -> NDArray[np.float32]:
        """Return a state as an array (S,).

        Raises:
            CoinferError: when it is not of that form, or holds no finite number.
        """
        row = np.asarray(state, dtype=np.float32)
        if row.shape != (self._size,) or not np.isfinite(row).all():
            raise CoinferError(
                f"a state is of shape {row.shape} or holds what is no finite number; accepted: "
                f"{self._size} finite numbers"
            )
        return row

    def add(
        self, state: ArrayLike, action: float, reward: float, next_state: ArrayLike | None
    ) -> None:
        """Remember a step; the oldest one beyond N is forgotten.

        Raises:
            CoinferError: for a state that is not (S,), or what is no finite number.
        """
        size = self._size
        row = np.zeros(2 * size + 3, dtype=np.float32)
        row[:size], row[size], row[size + 1] = self.checked(state), action, reward
        if next_state is not None:
            row[size + 2 : -1], row[-1] = self.checked(next_state), 1.0
        if not np.isfinite(row).all():
            raise CoinferError(
                f"a step has action {action} and reward {reward}; accepted are finite numbers"
            )
        self.rows[self.remembered % len(self.rows)] = torch.from_numpy(row)
        self.remembered += 1

    def drawn(self, batch: int, rng: np.random.Generator) -> Batch:
        """Return a minibatch, drawn without replacement; of fewer steps all are taken.

        Raises:
            CoinferError: when nothing is remembered.
        """
        known = min(self.remembered, len(self.rows))
        if not known:
            raise CoinferError("an update needs a remembered step; there is none")
        chosen = rng.choice(known, min(known, batch), replace=False)
        rows, size = self.rows[torch.from_numpy(chosen)], self._size
        return Batch(
            rows[:, :size],
            rows[:, : size + 1],
            rows[:, size],
            rows[:, size + 1],
            rows[:, size + 2 : -1],
            rows[:, -1],
        )


def agent_state(
    tensors: Mapping[str, Tensor], rng: np.random.Generator, **numbers: float | None
) -> dict[str, Any]:
    """Return all that decides what an agent does next: its numbers, generator and tensors."""
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    return {**numbers, "rng": rng.bit_generator.state, **copies}


def put_back(
    state: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    rng: np.random.Generator,
    counts: Sequence[str],
    numbers: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the tensors and the generator of an `agent_state` over an agent's; return its numbers.

    Args:
        state: what `agent_state` gave.
        tensors, rng: of the agent; on an error nothing of them is changed.
        counts: names of its whole numbers.
        numbers: names of its real ones, which may be None.

    Raises:
        CoinferError: when it is no state of an agent with these tensors.
    """
    for name, tensor in tensors.items():
        given = state.get(name)
        if not isinstance(given, Tensor) or given.shape != tensor.shape:
            raise CoinferError(
                f"the agent's state has no '{name}' of shape {tuple(tensor.shape)}; accepted "
                "is what an agent of the same settings saved"
            )
    try:
        found: dict[str, Any] = {name: whole_number(name, state[name]) for name in counts}
        for name in numbers:
            value = state[name]
            if value is not None:
                value = real_number(name, value, "a finite number", lambda x: abs(x) < np.inf)
            found[name] = value
        rng.bit_generator.state = state["rng"]
    except (CoinferError, KeyError, TypeError, ValueError) as error:
        raise CoinferError(
            f"the agent's state is damaged ({type(error).__name__}: {error}); accepted is what "
            "an agent of the same settings saved"
        ) from None
    for name, tensor in tensors.items():
        tensor.copy_(state[name])
    return found
