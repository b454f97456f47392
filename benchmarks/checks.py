"""The conformance kit in a worker process, each check within a time limit.

What an adapter does there, even an endless loop or a crash, costs the check at hand and no more:
the worker is ended and another goes on with the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

from benchmarks.engines import Done, Engine, make_engine
from benchmarks.timelimit import CellTimeout, Limit
from coinfer.errors import CoinferError, one_line
from methods.checking import (
    LATE,
    Checked,
    Target,
    check,
    failed,
    innermost,
    line_in_trace,
    promise,
    raised,
)

# How much longer than its limit a check may take, in seconds, before its process is ended.
LAST_RESORT_S = 5.0

# After so many checks that ran out of time or killed their process the others are not begun.
MOST_LOST = 2

# What the watchdog writes when it ends a process (`faulthandler.dump_traceback_later`).
_WATCHDOG = "Timeout ("

# How often to look for an answer, in seconds, and after how many to say that there is none yet
# (later after twice as many each time).
_LOOK_S = 0.2
_STILL_S = 5.0


@dataclass(frozen=True)
class Described:
    """The adapter that is checked, for the head of the report.

    Attributes:
        method: its name, with options.
        title: as its paper writes it.
        origin: where it was found.
    """

    method: str
    title: str
    origin: str


def run_checks(
    target: Target,
    names: Sequence[str],
    seconds: float,
    still: Callable[[str], None] = lambda text: None,
) -> Iterator[Described | Checked]:
    """Yield what is checked, then each check as it is done, in the order of `names`.

    Args:
        target: the adapter asked for.
        names: of checks.
        seconds: that each may take.
        still: told every few seconds what is being waited for.

    Raises:
        CoinferError: when there is no such adapter, or its file does not import in that time.
    """
    engine = make_engine("joblib", 1, None)
    limit = Limit(seconds, seconds + LAST_RESORT_S)
    try:
        yield _described(target, engine, limit, still)
        lost = 0
        for name in names:
            if lost >= MOST_LOST:
                reason = f"not begun: {lost} checks took too long or crashed; --only {name} does"
                yield Checked(name, "skip", promise(name), reason)
                continue
            began = perf_counter()
            done = _result(engine, partial(run_check, target, name, limit), name, still)
            seconds_taken = perf_counter() - began
            if isinstance(done.error, CoinferError):
                raise done.error
            found = _settled(target, name, done, limit)
            lost += done.died or found.happened == _too_long(limit)
            yield replace(found, seconds=seconds_taken)
    finally:
        engine.close()


def describe(target: Target, limit: Limit) -> Described:
    """Find the adapter and say what it is, in whatever process this is.

    Raises:
        CoinferError: when there is none, or finding it takes too long.
    """
    try:
        method, methods = limit.call(target.found)
    except CellTimeout:
        raise CoinferError(_no_import(target, limit)) from None
    return Described(str(method.ref), method.card.title, methods.origins[method.card.name])


def run_check(target: Target, name: str, limit: Limit) -> Checked:
    """Run one check, in whatever process this is.

    Raises:
        CoinferError: when the adapter cannot be found.
    """
    method, methods = target.found()
    try:
        return limit.call(partial(check, method, name, methods.parts))
    except CellTimeout as error:
        return failed(method, name, _too_long(limit), innermost(method, error))
    except BaseException as error:  # a method may raise even KeyboardInterrupt
        return failed(method, name, raised(error), innermost(method, error))


def _described(
    target: Target, engine: Engine, limit: Limit, still: Callable[[str], None]
) -> Described:
    done = _result(engine, partial(describe, target, limit), "importing", still)
    if done.error is not None:
        raise done.error
    if done.died:
        raise CoinferError(f"'{target.text}': importing it ends the process, or hangs in it")
    found: Described = done.value
    return found


def _settled(target: Target, name: str, done: Done, limit: Limit) -> Checked:
    if done.value is not None:
        found: Checked = done.value
        return found
    method, _ = target.found()  # it was imported before, in a worker
    if done.error is not None:
        return failed(method, name, f"the worker fails: {one_line(done.error)}")
    stuck = _WATCHDOG in done.trace  # it was ended, because nothing could interrupt it
    happened = _too_long(limit) if stuck else "it ends its process (crash, exit, or out of memory)"
    return failed(method, name, happened, line_in_trace(method, done.trace))


def _result(
    engine: Engine, job: Callable[[], Any], name: str, still: Callable[[str], None]
) -> Done:
    began, patience = perf_counter(), _STILL_S
    engine.submit(0, job)
    while True:
        for done in engine.wait(_LOOK_S):
            return done
        waited = perf_counter() - began
        if waited >= patience:
            patience *= 2
            still(f"still at work: {name}, {waited:.0f} s")


def _too_long(limit: Limit) -> str:
    return f"{LATE} {limit.seconds:g} s"


def _no_import(target: Target, limit: Limit) -> str:
    return f"'{target.text}' does not import within {limit.seconds:g} s"
