"""Dask and Ray give the same rows as this process does, and survive the death of a worker.

Each runs against a real cluster of two worker processes on this machine.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks import engines
from benchmarks.engines import DaskEngine, Done, make_engine
from benchmarks.matrix import load
from coinfer.errors import CoinferError
from tests.running import Bench, by_status, wait_until

CELLS = 15
SAFE = (
    "odd[sleep_s=0.1]",
    "odd[what=raise,at_bps=2e6]",
    "odd[what=skip,at_bps=3e6]",
    "odd_trained[what=raise,at_bps=4e6]",
    "neurosurgeon",
    "exhaustive",
)
# What the run itself says: no log of an engine's.
OWN_LINE = re.compile(r"\d+(/\d+)? cells|  (failed|skipped): ")


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


# Long enough for a new worker's first imports on a busy machine.
PATIENCE_S = "10"

CLUSTERS = pytest.mark.parametrize(
    "executor",
    [pytest.param("dask", marks=needs("distributed")), pytest.param("ray", marks=needs("ray"))],
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.opened(tmp_path) as opened:
        yield opened


@CLUSTERS
def test_a_cluster_gives_the_rows_of_one_process_whatever_its_workers_suffer(
    bench: Bench, executor: str
) -> None:
    safe = bench.matrix(CELLS, *SAFE)
    bench.run(safe, "here")
    (bench.folder / "log").unlink()
    # Dask runs cells in a thread, where nothing interrupts a sleep.
    late = f"odd[at_bps=2000000.0,what={'spin' if executor == 'dask' else 'sleep'}]"
    deadly = "odd[at_bps=2000000.0,what=kill]"
    endless, exiting = "odd[in_build=spin]", "odd[in_build=exit]"
    bad = (late, deadly, endless, exiting)
    file = bench.file(CELLS, *SAFE, *bad)
    options = ("--executor", executor, "--jobs", "2", "--cell-timeout", PATIENCE_S)
    process = bench.start(*bench.command(file, "there", *options))

    def workers() -> set[int]:
        return {pid for pid, *_ in bench.log()}

    def one_killed() -> bool:
        """Kill a worker that is at work now; one of them may just have ended by itself."""
        if len(workers()) < 2 or len(bench.log()) <= 8:
            return False
        victim = bench.log()[-1][0]
        assert victim != process.pid
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    wait_until(one_killed, process)
    code, errors = bench.finish(process)

    assert code == 1, errors  # cells fail, as they should
    assert len(workers()) >= 4  # others took the places of those that died
    there = bench.rows("there")
    assert bench.rows("here") == [row for row in there if row.cell.method not in bad]
    failed = {row.cell.method: row.result.reason for row in there if row.result.status == "failed"}
    assert failed == {
        "odd[at_bps=2000000.0,what=raise]": "ArithmeticError: it is too odd",
        "odd_trained[at_bps=4000000.0,what=raise]": "ArithmeticError: it is too odd",
        late: f"timed out after {PATIENCE_S} s",
        deadly: "worker died 2 times (crashed, killed, or out of memory)",
        endless: f"build timed out after {PATIENCE_S} s",
        exiting: "worker died 2 times (in the build, crashed, killed, or out of memory)",
    }
    assert by_status(there) == {"ok": 8 * CELLS - 5, "failed": 4 + 2 * CELLS, "skipped": 1}
    assert not [line for line in errors.splitlines() if not OWN_LINE.match(line)]


@contextmanager
def dask_cluster() -> Iterator[str]:
    """A Dask cluster of two worker processes that is not the run's own."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        yield cluster.scheduler_address


@needs("distributed")
def test_a_running_dask_scheduler_is_used_and_left_running(bench: Bench) -> None:
    file = bench.file(12, "odd", "exhaustive")
    bench.run(load(file), "here")
    (bench.folder / "log").unlink()
    with dask_cluster() as address:
        for store in ("there", "again"):
            options = ("--executor", "dask", "--address", address)
            process = bench.start(*bench.command(file, store, *options))
            code, errors = bench.finish(process)
            assert code == 0, errors
            assert bench.rows("here") == bench.rows(store)
            # It was the cluster that computed, both times.
            assert process.pid not in {pid for pid, *_ in bench.log()}
    assert set(bench.asked().values()) == {2}


def signed(folder: Path) -> str:
    """A job that leaves its process's number; from the second time on, not until it may go."""
    with (folder / "signed").open("a") as log:
        log.write(f"{os.getpid()}\n")
    while len(signatures(folder)) > 1 and not (folder / "go").exists():
        time.sleep(0.01)
    return "done"


def signatures(folder: Path) -> list[int]:
    file = folder / "signed"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@needs("distributed")
def test_a_result_that_is_lost_with_its_worker_is_asked_for_again(tmp_path: Path) -> None:
    engine = make_engine("dask", 2, None)
    assert isinstance(engine, DaskEngine)
    try:
        engine.submit(7, signed, tmp_path)
        wait_for(lambda: engine._futures[7].status == "finished")
        os.kill(signatures(tmp_path)[0], signal.SIGKILL)  # before anybody fetched the result
        wait_for(lambda: engine._futures[7].status == "lost")
        assert list(engine.wait(1.0)) == []
        (tmp_path / "go").touch()
        assert list(engine.wait(60.0)) == [Done(7, "done")]
        assert list(engine.wait(0.0)) == []
    finally:
        engine.close()


@needs("distributed")
def test_what_a_scheduler_takes_with_it_ends_the_run_in_a_line(tmp_path: Path) -> None:
    with dask_cluster() as address:
        engine = make_engine("dask", None, address)
        assert isinstance(engine, DaskEngine)
        engine.submit(7, signed, tmp_path)
        wait_for(lambda: engine._futures[7].status == "finished")
    try:
        with pytest.raises(CoinferError, match="the Dask scheduler went away") as caught:
            list(engine.wait(1.0))
        assert len(str(caught.value).splitlines()) == 1
    finally:
        engine.close()


@pytest.mark.parametrize("executor", ["dask", "ray"])
def test_a_missing_package_names_its_extra(executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("distributed", "ray"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CoinferError, match=rf"pip install 'coinfer\[{executor}\]'"):
        make_engine(executor, 2, None)


@needs("distributed")
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x"])
def test_no_scheduler_at_the_address_is_one_line(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_CONNECT_S", 0.5)
    with pytest.raises(CoinferError, match=f"no Dask scheduler at '{address}'") as caught:
        make_engine("dask", None, address)
    assert len(str(caught.value).splitlines()) == 1


@contextmanager
def no_scheduler(says: bytes) -> Iterator[str]:
    """Something that accepts connections, says that, and nothing else."""
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):  # the server is closed
                while True:
                    connections.append(server.accept()[0])
                    connections[-1].sendall(says)

        thread = threading.Thread(target=accept)
        thread.start()
        yield "tcp://{}:{}".format(*server.getsockname())
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in connections:
        connection.close()


@needs("distributed")
@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_is_no_scheduler_is_one_line_soon(
    says: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_CONNECT_S", 1.0)
    began = time.monotonic()
    with no_scheduler(says) as address, pytest.raises(CoinferError) as caught:
        make_engine("dask", None, address)
    assert str(caught.value).startswith(f"no Dask scheduler at '{address}'")
    assert len(str(caught.value).splitlines()) == 1
    assert time.monotonic() - began < 20.0


@needs("ray")
@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_no_ray_at_the_address_is_one_line(bench: Bench, address: str) -> None:
    options = ("--executor", "ray", "--address", address)
    code, errors = bench.finish(bench.start(*bench.command(bench.file(1), "store", *options)))
    assert code == 2
    assert errors.startswith(f"coinfer: no Ray cluster at '{address}'")
    assert len(errors.splitlines()) == 1
    assert ("Connection refused" in errors) == (":1" in address)  # asked before Ray, which waits
