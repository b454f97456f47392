"""A time limit interrupts a call wherever it runs, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks import timelimit
from benchmarks.timelimit import LAST_WORDS, CellTimeout, Limit, check_seconds, limited
from coinfer.errors import CoinferError


def in_main(call: Callable[[], object]) -> object:
    return call()


def in_thread(call: Callable[[], object]) -> object:
    caught: list[object] = []

    def body() -> None:
        try:
            caught.append(call())
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if isinstance(caught[0], BaseException):
        raise caught[0]
    return caught[0]


def spin() -> None:
    while True:
        with suppress(Exception):
            sum(range(1000))


def spin_and_swallow_once() -> None:
    try:
        spin()
    except BaseException:
        spin()


WHERE = pytest.mark.parametrize("where", [in_main, in_thread])


@WHERE
def test_a_call_that_keeps_its_limit_returns_its_value(where) -> None:  # type: ignore[no-untyped-def]
    assert where(lambda: limited(30.0, lambda: 42)) == 42
    assert where(lambda: limited(None, lambda: 42)) == 42


@WHERE
def test_an_error_of_the_call_passes(where) -> None:  # type: ignore[no-untyped-def]
    def wrong() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        where(lambda: limited(30.0, wrong))


@WHERE
@pytest.mark.parametrize("call", [spin, spin_and_swallow_once])
def test_a_call_that_takes_too_long_is_interrupted(  # type: ignore[no-untyped-def]
    where, call: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timelimit, "_AGAIN_S", 0.2)
    began = time.monotonic()
    with pytest.raises(CellTimeout):
        where(lambda: limited(0.1, call))
    assert 0.1 <= time.monotonic() - began < 20.0


def test_a_sleeping_call_is_interrupted_in_the_main_thread() -> None:
    with pytest.raises(CellTimeout):
        limited(0.1, lambda: time.sleep(1000))


@WHERE
def test_nothing_is_left_behind(where) -> None:  # type: ignore[no-untyped-def]
    before = signal.getsignal(signal.SIGALRM)
    threads = threading.active_count()

    def many() -> None:
        # Calls that end at about their limit: whoever wins, only that call is concerned.
        for _ in range(60):
            with suppress(CellTimeout):
                limited(0.005, lambda: _busy(0.005))
        _busy(0.1)  # a late interruption would strike here

    where(many)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert threading.active_count() == threads


def _busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@WHERE
def test_the_longest_limit_is_one_that_timers_hold(where) -> None:  # type: ignore[no-untyped-def]
    assert where(lambda: limited(timelimit.MOST_S, lambda: 42)) == 42
    assert where(lambda: Limit(timelimit.MOST_S, timelimit.MOST_S + 60.0).call(lambda: 42)) == 42


@pytest.mark.parametrize("seconds", [1e300, float("inf"), float("nan"), -1.0, 0.0])
def test_a_limit_that_cannot_be_kept_is_refused(seconds: float) -> None:
    with pytest.raises(CoinferError) as caught:
        check_seconds("nap", seconds)
    said = f"nap is {seconds:g} s; allowed is a number above 0, up to {timelimit.MOST_S:g}"
    assert str(caught.value) == said


def test_the_shortest_limit_is_one() -> None:
    assert check_seconds("nap", 5e-324) == 5e-324
    with pytest.raises(CellTimeout):
        limited(5e-324, lambda: time.sleep(1000))


@pytest.mark.parametrize("told", [True, False])
def test_the_last_resort_ends_the_process_and_says_where_it_was(tmp_path: Path, told: bool) -> None:
    code = (
        "import itertools\n"
        "from benchmarks.timelimit import Limit\n"
        "def stuck():\n"
        "    sum(itertools.repeat(0, 10**15))\n"
        "Limit(0.1, 0.2).call(stuck)\n"
    )
    words = tmp_path / "words"
    environment = {**os.environ, **({LAST_WORDS: str(words)} if told else {})}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, timeout=60, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == b""
    assert words.exists() == told
    assert not told or "in stuck" in words.read_text(encoding="utf-8")
