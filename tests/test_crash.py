"""A run that is killed or interrupted loses at most the cells in flight; the next one goes on."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.matrix import load
from benchmarks.store import Store
from tests.running import Bench, in_session, wait_until

CELLS = 60
ODD = "odd[sleep_s=0.02]"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.opened(tmp_path) as opened:
        yield opened


def gone(session: int, timeout_s: float = 20.0) -> bool:
    """Whether every process of a session ends within some seconds."""
    limit = time.monotonic() + timeout_s
    while in_session(session):
        if time.monotonic() > limit:
            return False
        time.sleep(0.1)
    return True


def committed(bench: Bench) -> set[float]:
    """The rates that a store has rows of."""
    if not bench.store().exists():
        return set()
    with Store.open(bench.store(), readonly=True) as store:
        assert store.damage() == []
        return {row.result.rate_bps or 0.0 for row in store.rows()}


@pytest.mark.parametrize(("seed", "jobs"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_a_run_killed_at_random_points_ends_in_the_same_store(
    bench: Bench, seed: int, jobs: int
) -> None:
    file = bench.file(CELLS, ODD)
    bench.run(load(file), "undisturbed")
    (bench.folder / "log").unlink()
    draw = random.Random(seed)
    for _ in range(2):
        before, begun = committed(bench), len(bench.log())
        process = bench.start(*bench.command(file, "store", "--jobs", str(jobs)))
        # Somewhere between a first evaluation and all of them, not at their boundaries.
        evaluations = begun + draw.randrange(2, (CELLS - len(before)) // 2)
        wait_until(lambda n=evaluations: len(bench.log()) >= n, process)  # type: ignore[misc]
        time.sleep(draw.uniform(0.0, 0.05))
        process.kill()
        process.communicate()
        assert gone(process.pid), "workers outlived their driver"
        assert committed(bench) >= before
        # What had been committed is not asked for again.
        assert {rate for _, rate, _, _ in bench.log()[begun:]}.isdisjoint(before)
    before, begun = committed(bench), len(bench.log())
    assert 0 < len(before) < CELLS
    process = bench.start(*bench.command(file, "store", "--jobs", str(jobs)))
    code, errors = bench.finish(process)
    assert code == 0, errors
    assert {rate for _, rate, _, _ in bench.log()[begun:]} == committed(bench) - before
    assert len(bench.rows()) == CELLS
    assert bench.rows() == bench.rows("undisturbed")


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_in_one_line(
    bench: Bench, jobs: int, how: signal.Signals
) -> None:
    process = bench.start(*bench.command(bench.file(CELLS, ODD), "store", "--jobs", str(jobs)))
    wait_until(lambda: len(bench.log()) > CELLS // 2, process)
    # As from a terminal: to every process of the session.
    (os.killpg if how is signal.SIGINT else os.kill)(process.pid, how)
    code, errors = bench.finish(process)
    assert code == 130
    said = [line for line in errors.splitlines() if line and "cells" not in line]
    assert said == ["coinfer: interrupted; what was committed is kept"]
    assert gone(process.pid)
    kept = committed(bench)
    assert 0 < len(kept) < CELLS
    begun = len(bench.log())
    code, errors = bench.finish(bench.start(*bench.command(bench.file(CELLS, ODD))))
    assert code == 0, errors
    assert {rate for _, rate, _, _ in bench.log()[begun:]}.isdisjoint(kept)
    assert len(committed(bench)) == CELLS


@pytest.mark.parametrize(("jobs", "how"), [(1, signal.SIGTERM), (2, signal.SIGINT)])
def test_a_run_interrupted_in_a_build_says_so_in_one_line(
    bench: Bench, jobs: int, how: signal.Signals
) -> None:
    file = bench.file(2, "odd[in_build=sleep]")
    process = bench.start(*bench.command(file, "store", "--jobs", str(jobs), "--quiet"))
    wait_until(bench.built, process)
    (os.killpg if how is signal.SIGINT else os.kill)(process.pid, how)
    code, errors = bench.finish(process)
    assert code == 130
    assert errors.split("\n", 1)[-1].strip() == "coinfer: interrupted; what was committed is kept"
    assert gone(process.pid)


@pytest.mark.parametrize("delay_s", [0.05, 0.15, 0.3])
def test_ctrl_c_while_workers_start_is_one_line_too(bench: Bench, delay_s: float) -> None:
    """A worker that is being started must not answer it with a traceback of its own."""
    file = bench.file(2, "odd")
    process = bench.start(*bench.command(file, "store", "--quiet"))
    wait_until(lambda: workers(process.pid), process)
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGINT)
    code, errors = bench.finish(process)
    assert code == 130
    assert errors.split("\n", 1)[-1].strip() == "coinfer: interrupted; what was committed is kept"
    assert gone(process.pid)


def workers(session: int) -> list[int]:
    """The processes of a session that are, or are about to be, workers."""
    found = []
    for pid in in_session(session):
        with suppress(OSError):
            if b"popen_loky" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def test_a_worker_that_nothing_can_interrupt_ends_with_its_driver(bench: Bench) -> None:
    process = bench.start(*bench.command(bench.file(2, "odd[what=stuck,at_bps=1e6]")))
    wait_until(bench.log, process)
    process.kill()
    process.communicate()
    assert gone(process.pid)


def test_a_worker_killed_in_a_build_is_replaced(bench: Bench) -> None:
    process = bench.start(*bench.command(bench.file(2, "odd[in_build=nap]")))
    wait_until(bench.built, process)
    (builder,) = bench.built()
    os.kill(builder, signal.SIGKILL)
    code, errors = bench.finish(process)
    assert code == 0, errors
    assert len(bench.built()) == 2
    assert len(committed(bench)) == 2


def test_two_runs_at_once_on_one_store_do_not_harm_each_other(bench: Bench) -> None:
    file = bench.file(CELLS, ODD)
    both = [bench.start(*bench.command(file)) for _ in range(2)]
    for process in both:
        code, errors = bench.finish(process)
        assert code == 0, errors
    bench.run(load(file), "undisturbed")
    assert bench.rows() == bench.rows("undisturbed")
    assert len(committed(bench)) == CELLS
