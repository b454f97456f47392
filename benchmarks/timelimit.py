"""A time limit on a call, in the main thread and elsewhere.

In the main thread an interval timer interrupts the call, even while it sleeps or waits. In any
other thread an exception is raised in it from outside, which takes effect at its next line of
Python. Neither can interrupt native code that never returns; a worker process therefore also
arms a watchdog that ends the process (`last_resort`), and the runner goes on without it.

What a process that is ended so, or that crashes, was at, it writes into the file that the
environment variable LAST_WORDS names, if there is one.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeVar

from coinfer.errors import CoinferError

T = TypeVar("T")

LAST_WORDS = "COINFER_LAST_WORDS"

# The longest time limit, in seconds; what timers hold is not much more.
MOST_S = 1e9

# A call that swallows the interruption (a bare `except`, a `__del__`) is interrupted again.
_AGAIN_S = 1.0


class CellTimeout(BaseException):
    """The time is up. Not an Exception, so that `except Exception` does not swallow it."""


@dataclass(frozen=True)
class Limit:
    """How long a call may take.

    Attributes:
        seconds: after so long it is interrupted; None for no limit.
        last_resort_s: after so long, because nothing could interrupt it, its process is ended;
            None to let it be.
    """

    seconds: float | None = None
    last_resort_s: float | None = None

    def times(self, calls: int) -> Limit:
        """Return the limit of so many calls together."""
        return Limit(
            None if self.seconds is None else self.seconds * calls,
            None if self.last_resort_s is None else self.last_resort_s * calls,
        )

    def call(self, call: Callable[[], T]) -> T:
        """Return `call()`.

        Raises:
            CellTimeout: when the time is up.
        """
        with last_resort(self.last_resort_s):
            return limited(self.seconds, call)


def check_seconds(what: str, seconds: float | None) -> float | None:
    """Return a time limit that a user gave; None is no limit.

    Raises:
        CoinferError: naming the limit and what is accepted.
    """
    if seconds is not None and not 0 < seconds <= MOST_S:
        raise CoinferError(
            f"{what} is {seconds:g} s; allowed is a number above 0, up to {MOST_S:g}"
        )
    return seconds


def limited(seconds: float | None, call: Callable[[], T]) -> T:
    """Return `call()`, or raise CellTimeout when it takes longer than `seconds`.

    Nothing is left behind: no timer, no handler, no pending exception.

    Args:
        seconds: the limit; None for no limit.
        call: what to do.

    Raises:
        CellTimeout: when the time is up.
    """
    if seconds is None:
        return call()
    in_main = threading.current_thread() is threading.main_thread()
    return (_by_alarm if in_main else _by_exception)(seconds, call)


@contextmanager
def last_resort(seconds: float | None) -> Iterator[None]:
    """End this process if the block takes longer than `seconds`; None for no limit.

    Only for worker processes: the watchdog is one per process and needs no interpreter to run.
    """
    if seconds is None:
        yield
        return
    with Path(os.environ.get(LAST_WORDS, os.devnull)).open("w") as last_words:
        faulthandler.dump_traceback_later(seconds, exit=True, file=last_words)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _by_alarm(seconds: float, call: Callable[[], T]) -> T:
    running = True

    def ring(_signal: int, _frame: FrameType | None) -> None:
        if running:
            raise CellTimeout

    before = signal.signal(signal.SIGALRM, ring)
    # Every statement may be interrupted by the very last ring, so the inner `finally` may not
    # complete; the outer one then has _AGAIN_S to do so.
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
            return call()
        finally:
            running = False
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _by_exception(seconds: float, call: Callable[[], T]) -> T:
    running = True
    over = threading.Event()
    thread = threading.get_ident()

    def watch() -> None:
        delay = seconds
        while not over.wait(delay):
            if running:
                _raise_in(thread, CellTimeout)
            delay = _AGAIN_S

    watcher = threading.Thread(target=watch, daemon=True, name="cell time limit")
    # As above. The first ring may even strike before the watcher is known to have started; and one
    # on its way when the call ends strikes once more, anywhere below.
    try:
        try:
            watcher.start()
            return call()
        finally:
            running = False
            over.set()
    finally:
        try:
            running = False
            over.set()
        finally:
            over.set()
            with suppress(RuntimeError):  # it could not be started
                watcher.join()
            _raise_in(thread, None)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Raise an exception in a thread at its next line; None takes back one not yet raised."""
    raised = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
