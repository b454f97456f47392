"""What a search asks and what it brings home; shared by QHO and its rivals.

A search knows nothing of plans. It proposes points of the unit cube [0, 1]^D, and a judge says of
each whether it is acceptable (for QHO: its accuracy is strictly above the threshold) and what it
costs (its delay).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coinfer.errors import CoinferError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# judge(runs, points): the run (n,) of each point (n, D) -> acceptable (n,) bool, cost (n,) float.
# Points are read-only. The cost of a point that is not acceptable may be anything, NaN too.
Judge = Callable[[Ints, Floats], tuple[Any, Any]]

Stop = Literal["finished", "budget", "nothing acceptable"]


@dataclass(frozen=True, eq=False)
class Trace:
    """How the best cost fell: at `evaluations[i]` points judged it became `costs[i]`.

    QHO writes it down after each pass over its particles and each transition.

    Attributes:
        evaluations: points judged so far, (m,), rising.
        costs: best cost since then, (m,), falling.
    """

    evaluations: Ints
    costs: Floats

    def at(self, evaluations: Ints) -> Floats:
        """Return the best cost after so many points judged, inf before the first."""
        steps = np.concatenate([[np.inf], self.costs])
        return steps[np.searchsorted(self.evaluations, evaluations, side="right")]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one run of a search found.

    Attributes:
        point: best point, (D,), or None where no point was found.
        cost: its cost, inf where there is none.
        acceptable: whether the judge accepted it; False where there is none.
        evaluations: points judged.
        stop: why the run ended.
        trace: how the best cost fell.
    """

    point: Floats | None
    cost: float
    acceptable: bool
    evaluations: int
    stop: Stop
    trace: Trace


def ask_judge(judge: Judge, runs: Ints, points: Floats) -> tuple[Any, Any]:
    """Return a judge's two answers, not yet checked.

    Raises:
        CoinferError: when it does not give two.
    """
    answer = judge(runs, points)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise CoinferError(
            f"the judge returned {type(answer).__name__}; accepted is a pair (acceptable, cost)"
        )
    return answer[0], answer[1]


def checked(
    acceptable: Any, cost: Any, n: int, needed: Flags | bool = False
) -> tuple[Flags, Floats]:
    """Return a judge's answers about `n` points as arrays (n,).

    Args:
        acceptable: a bool for each point.
        cost: a number for each point.
        n: points asked about.
        needed: points whose cost is needed though they may not be acceptable.

    Raises:
        CoinferError: when a shape or type is another, or a cost that is needed is not finite.
    """
    flags = _array("acceptable", acceptable, n, "b", "bool")
    costs = _array("cost", cost, n, "fiu", "number").astype(np.float64, copy=False)
    bad = (flags | needed) & ~np.isfinite(costs)
    if bad.any():
        at = int(bad.argmax())
        which = "an acceptable point" if flags[at] else "a point taken unchecked"
        raise CoinferError(
            f"the judge's cost of {which} is {costs[at]}; accepted is a finite number"
        )
    return flags, costs


def safe_points(safe: ArrayLike | None, runs: int, dimension: int) -> Floats | None:
    """Return the safe points (R, D) that a caller gave, checked; None where there are none.

    Raises:
        CoinferError: when they are not one point of the unit cube for each run.
    """
    if safe is None:
        return None
    try:
        points = np.array(safe, dtype=np.float64)
    except (TypeError, ValueError):
        points = np.empty(())
    if points.shape != (runs, dimension) or not ((points >= 0.0) & (points <= 1.0)).all():
        raise CoinferError(
            f"the safe points have shape {points.shape}; accepted is a point of the unit cube for "
            f"each run, shape ({runs}, {dimension})"
        )
    return points


def _array(what: str, values: Any, n: int, kinds: str, word: str) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError:  # rows of unequal length
        array = np.empty(())
    if array.shape != (n,) or array.dtype.kind not in kinds:
        raise CoinferError(
            f"the judge's {what} has shape {array.shape} of {array.dtype}; accepted is one {word} "
            f"for each point, shape ({n},)"
        )
    return array
