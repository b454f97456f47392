"""The state of many runs of QHO, side by side in arrays, and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from coinfer.search.judge import Flags, Floats, Ints
from coinfer.search.settings import Settings

# What a run waits for the judge to say.
START, SAFE, PASS, MEAN, AROUND, DONE = range(6)


@dataclass
class Runs:
    """All that changes in a search: R runs of k particles; slot k is a run's one extra point.

    Attributes:
        stage: what a run waits for, (R,).
        stop: why it ended, (R,).
        x: where the particles stand, and the centre of the extra point, (R, k + 1, D).
        t: cost there, (R, k).
        y, cost, accepted, found: points found in this stage, their costs, whether they are
            acceptable, and whether there is one, (R, k + 1, ...).
        pending: which slots still look for one, (R, k + 1).
        tries: draws that a slot made in this stage, (R, k + 1).
        position: row of its streams that a slot reads next, (R, k + 1).
        best, best_cost, best_accepted: u*, t*, and whether u* is acceptable, (R, ...).
        noted: best cost that the trace has, (R,).
        scale, index: s, and how many scales came before it, (R,).
        spread, change: sd(u) and how much the last pass changed it, (R,).
        level: passes in this stabilisation, (R,).
        turn, restarts: with `restart`, the particle whose turn it is, and how often this pass
            began again, (R,).
        evaluations, acceptances: counts, (R,).
        caps: limits reached, (R, 5).
        passes, transitions: counts by scale, (R, scales).
    """

    stage: Ints
    stop: Ints
    x: Floats
    t: Floats
    y: Floats
    cost: Floats
    accepted: Flags
    found: Flags
    pending: Flags
    tries: Ints
    position: Ints
    best: Floats
    best_cost: Floats
    best_accepted: Flags
    noted: Floats
    scale: Floats
    index: Ints
    spread: Floats
    change: Floats
    level: Ints
    turn: Ints
    restarts: Ints
    evaluations: Ints
    acceptances: Ints
    caps: Ints
    passes: Ints
    transitions: Ints

    @classmethod
    def at_start(cls, runs: int, dimension: int, settings: Settings) -> Self:
        """Return `runs` runs of which nothing is known yet."""
        k, scales = settings.particles, settings.scales

        def counts(*shape: int) -> Ints:
            return np.zeros((runs, *shape), dtype=np.int64)

        def flags(*shape: int) -> Flags:
            return np.zeros((runs, *shape), dtype=np.bool_)

        def numbers(*shape: int, value: float = 0.0) -> Floats:
            return np.full((runs, *shape), value)

        pending = flags(k + 1)
        pending[:, :k] = True
        return cls(
            stage=np.full(runs, START, dtype=np.int64),
            stop=counts(),
            x=numbers(k + 1, dimension),
            t=numbers(k, value=np.inf),
            y=numbers(k + 1, dimension),
            cost=numbers(k + 1),
            accepted=flags(k + 1),
            found=flags(k + 1),
            pending=pending,
            tries=counts(k + 1),
            position=counts(k + 1),
            best=numbers(dimension),
            best_cost=numbers(value=np.inf),
            best_accepted=flags(),
            noted=numbers(value=np.inf),
            scale=numbers(value=settings.start_scale),
            index=counts(),
            spread=numbers(),
            change=numbers(value=np.inf),
            level=counts(),
            turn=counts(),
            restarts=counts(),
            evaluations=counts(),
            acceptances=counts(),
            caps=counts(5),
            passes=counts(scales),
            transitions=counts(scales),
        )

    def to_plain(self) -> dict[str, list[Any]]:
        """Return every array as a flat list of JSON values."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}

    def fill(self, data: Mapping[str, Sequence[Any]]) -> None:
        """Take every array from what `to_plain` gave.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: when it does not fit.
        """
        for field in fields(self):
            blank = getattr(self, field.name)
            setattr(self, field.name, array(data[field.name], blank.dtype).reshape(blank.shape))
        known = (self.stage >= START) & (self.stage <= DONE)
        waiting = self.pending.any(axis=1) == (self.stage != DONE)
        if not (known & waiting).all():  # such a search would never end
            raise ValueError("a run neither waits nor is done")


def plain(values: NDArray[Any]) -> list[Any]:
    """Return an array as a flat list of JSON values, infinity as text."""
    return ["inf" if value == np.inf else value for value in values.ravel().tolist()]


def array(values: Sequence[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the flat array that `plain` wrote."""
    kind = dtype.type(0).item().__class__
    if kind is float:
        return np.array([float(value) for value in values])
    if not all(type(value) is kind for value in values):
        raise TypeError(f"not all are {kind.__name__}")
    return np.array(values, dtype=dtype)
