"""How benchmarks take times: the shortest of several, in turns, in work of this thread alone."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time


def best_s(
    rounds: int, *calls: Callable[[], object], clock: Callable[[], float] = thread_time
) -> list[float]:
    """Return the shortest time of each call in seconds, taken in turns so that noise is shared.

    Args:
        rounds: how often each is called.
        calls: what is timed.
        clock: seconds; those of this thread's own work do not count others on the machine.
    """
    times = [[_seconds(call, clock) for call in calls] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def _seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    call()
    return clock() - started
