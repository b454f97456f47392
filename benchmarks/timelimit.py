"""A time limit on a call, in the main thread and elsewhere.

In the main thread an interval timer interrupts the call, even while it sleeps or waits. In any
other thread an exception is raised in it from outside, which takes effect at its next line of
Python. Neither can interrupt native code that never returns; a worker process therefore also
arms a watchdog that ends the process (`last_resort`), and the runner goes on without it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

# A call that swallows the interruption (a bare `except`, a `__del__`) is interrupted again.
_AGAIN_S = 1.0


class CellTimeout(BaseException):
    """The time is up. Not an Exception, so that `except Exception` does not swallow it."""


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
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
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
    watcher.start()
    try:
        try:
            return call()
        finally:
            running = False
    finally:
        running = False
        try:
            over.set()
            watcher.join()
        finally:
            _raise_in(thread, None)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Raise an exception in a thread at its next line; None takes back one not yet raised."""
    raised = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
