"""Where jobs are run: in worker processes of this machine (joblib's loky), on Dask or on Ray.

Never in the driver's own process, not even a single worker's: what a method does there must not
end the run. Every engine answers one at a time as jobs finish, so that the runner commits them at
once, and survives the death of a worker: that job comes back as `died`, the others go on. Which
job a death belongs to must be certain, so each loky worker has a pool of its own.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import (
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Protocol

from benchmarks import worker
from benchmarks.timelimit import LAST_WORDS, CellTimeout, limited
from benchmarks.worker import THREADS, begin_worker
from coinfer.errors import CoinferError, UnknownNameError

EXECUTORS = ("joblib", "dask", "ray")

# How long to look for a scheduler before saying that there is none, in seconds.
_CONNECT_S = 10.0

_STDERR = 2

# loky ends a worker that has grown by so much since its first job, and starts another, with a
# warning. Its own 300 MB are no leak here: larger networks take more than smaller ones.
_LEAK_BYTES = 4 * 2**30

# Ray would ask a head that does not answer for more than ten minutes.
_RAY_PATIENCE = {
    "RAY_NUM_REDIS_GET_RETRIES": "1",
    "RAY_py_gcs_connect_timeout_s": f"{_CONNECT_S:.0f}",
}


@dataclass(frozen=True)
class Done:
    """What became of a job: a value, an error raised by it, or the death of its worker.

    Of a death, `trace` tells what is known, where the engine knows anything.
    """

    job: int
    value: Any = None
    error: Exception | None = None
    died: bool = False
    trace: str = ""


class Engine(Protocol):
    """Runs jobs (calls of module-level functions) and hands back each as it finishes."""

    own_process: bool

    def slots(self) -> int:
        """Return how many jobs can run at a time, now."""

    def share(self, value: Any) -> Any:
        """Return what to pass to `submit` for a value that many jobs need."""

    def submit(self, job: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a job under a number of the caller's."""

    def wait(self, timeout_s: float) -> Iterable[Done]:
        """Yield the jobs that finished; none when none did within the timeout."""

    def close(self) -> None:
        """Stop everything, finished or not."""


def make_engine(executor: str, jobs: int | None, address: str | None) -> Engine:
    """Return an engine.

    Args:
        executor: one of EXECUTORS.
        jobs: workers on this machine, or at most so many of a cluster's; None for one here, all
            of a cluster's; 0 for one per core.
        address: of a running Dask scheduler or Ray head; None starts workers on this machine.

    Raises:
        CoinferError: for an unknown executor, one that is not installed, or no answer at the
            address.
    """
    if executor not in EXECUTORS:
        raise UnknownNameError("executor", executor, EXECUTORS)
    if jobs is not None and jobs < 0:
        raise CoinferError(f"jobs is {jobs}; allowed is 1 or more, or 0 for one per core")
    if jobs == 0:
        from joblib import cpu_count

        jobs = int(cpu_count())
    if executor == "dask":
        return DaskEngine(jobs, address)
    if executor == "ray":
        return RayEngine(jobs, address)
    if address is not None:
        raise CoinferError("an address goes with --executor dask or ray; joblib runs here")
    return LokyEngine(jobs or 1)


class LokyEngine:
    """Worker processes of joblib's loky, each in a pool of its own, each with one thread."""

    own_process = True

    def __init__(self, jobs: int) -> None:
        self._idle: list[_Pool | None] = [None] * jobs
        self._jobs = jobs
        self._busy: dict[int, _Pool] = {}
        self._done: queue.SimpleQueue[tuple[int, Future[Any]]] = queue.SimpleQueue()

    def slots(self) -> int:
        """Return the number of workers."""
        return self._jobs

    def share(self, value: Any) -> Any:
        """Return the value: it travels with every job, and is unpacked once per worker."""
        return value

    def submit(self, job: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a job in an idle worker, which is made when there is none."""
        # A worker that is half started cannot be ended, nor say that it does not mind Ctrl-C.
        with _ctrl_c_later(), _no_ctrl_c(), _streams():
            pool = self._idle.pop() or _Pool.made()
            try:
                future = pool.executor.submit(function, *arguments)
            except BrokenProcessPool:  # its worker was killed while idle
                pool.last_words.close()
                pool = _Pool.made()
                future = pool.executor.submit(function, *arguments)
            self._busy[job] = pool
            future.add_done_callback(lambda done: self._done.put((job, done)))

    def wait(self, timeout_s: float) -> Iterable[Done]:
        """Yield the jobs that finished."""
        for job, future in _drained(self._done, timeout_s):
            error = future.exception()
            died = isinstance(error, BrokenProcessPool)
            pool = self._busy.pop(job)
            self._idle.append(None if died else pool)
            if died:
                yield Done(job, died=True, trace=pool.told(error))
            elif error is not None:
                yield Done(job, error=_as_exception(error))
            else:
                yield Done(job, future.result())

    def close(self) -> None:
        """End all workers."""
        for pool in (*self._idle, *self._busy.values()):
            if pool is not None:
                pool.executor.shutdown(wait=True, kill_workers=True)
                pool.last_words.close()
        self._idle, self._busy = [None] * self._jobs, {}


@dataclass(frozen=True)
class _Pool:
    """One worker process of loky, and the file that it writes to if it crashes."""

    executor: Any
    last_words: IO[bytes]

    @classmethod
    def made(cls) -> _Pool:
        from joblib.externals.loky import ProcessPoolExecutor

        # A file without a name, so that nothing is left behind however the run ends. The worker
        # opens it through this process (Linux); where it cannot, its crash has no traceback.
        last_words = TemporaryFile()  # noqa: SIM115 (closed with the pool)
        driver = os.getpid()
        executor = ProcessPoolExecutor(
            max_workers=1,
            initializer=_begin_loky_worker,
            initargs=(driver,),
            env={**THREADS, LAST_WORDS: f"/proc/{driver}/fd/{last_words.fileno()}"},
        )
        return cls(executor, last_words)

    def told(self, death: BaseException | None) -> str:
        """Return what is known of the worker's death; its file is closed."""
        with self.last_words as file:
            file.seek(0)
            words = file.read().decode(errors="replace")
        # What loky says ends in where the traceback would be, had it printed it.
        return f"{death}".partition("Detailed tracebacks")[0] + words


def _begin_loky_worker(driver: int) -> None:
    begin_worker(driver)
    from joblib.externals.loky import process_executor

    process_executor._MAX_MEMORY_LEAK_SIZE = _LEAK_BYTES
    # torch traces with a progress bar, whose lock is by default a semaphore of the system's: it
    # would be left behind, with a warning, where a worker is killed.
    with suppress(ImportError):
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())


class DaskEngine:
    """A Dask scheduler's workers, or a cluster of worker processes on this machine."""

    def __init__(self, jobs: int | None, address: str | None) -> None:
        # A worker of somebody's cluster may run other things beside: it is never ended by us.
        self.own_process = address is None
        with _installed("dask"):
            from distributed import Client, LocalCluster
        self._limit = jobs
        self._futures: dict[int, Any] = {}
        self._calls: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
        self._done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        with ExitStack() as opened:
            # What goes wrong becomes a row, or one line of ours, not a traceback in between.
            log = logging.getLogger("distributed.client")
            opened.callback(log.setLevel, log.level)
            log.setLevel(logging.CRITICAL)
            where: Any = address
            try:
                if address is None:
                    with _ctrl_c_later():
                        where = opened.enter_context(_local_dask(LocalCluster, jobs or 1))
                self._client = limited(2 * _CONNECT_S, partial(Client, where, timeout=_CONNECT_S))
            except (Exception, CellTimeout) as error:  # what is no scheduler may answer anything
                wanted = f"no Dask scheduler at '{address}'" if address else "Dask does not start"
                text = "no answer" if isinstance(error, CellTimeout) else _line(error)
                raise CoinferError(f"{wanted}: {text}") from None
            opened.callback(self._client.close)
            self._open = opened.pop_all()

    def slots(self) -> int:
        """Return the number of threads that the workers have, now."""
        with self._connected():
            threads = int(sum(self._client.nthreads().values()))
        return max(1, min(threads, self._limit or threads))

    def share(self, value: Any) -> Any:
        """Return the value: what is scattered dies with the worker that holds it."""
        return value

    def submit(self, job: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a job; it is never taken from an earlier one's result."""
        with self._connected():
            future = self._client.submit(function, *arguments, pure=False, retries=0)
        self._futures[job], self._calls[job] = future, (function, arguments)
        future.add_done_callback(lambda done: self._done.put((job, done)))

    def wait(self, timeout_s: float) -> Iterable[Done]:
        """Yield the jobs that finished."""
        for job, future in _drained(self._done, timeout_s):
            del self._futures[job]
            function, arguments = self._calls.pop(job)
            if future.status == "lost":  # its worker died since, and the result with it
                self.submit(job, function, *arguments)
            else:
                yield self._settled(job, future)

    def close(self) -> None:
        """Cancel what runs; end the workers if they are ours."""
        for future in self._futures.values():
            future.cancel(force=True)
        self._futures.clear()
        self._calls.clear()
        self._open.close()

    def _settled(self, job: int, future: Any) -> Done:
        from distributed import KilledWorker

        try:
            return Done(job, future.result())
        except KilledWorker:
            return Done(job, died=True)
        except Exception as error:
            if future.status == "error":  # it is the job's own
                return Done(job, error=error)
            raise _no_more_dask(error) from None

    @contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _no_more_dask(error) from None


def _no_more_dask(error: Exception) -> CoinferError:
    return CoinferError(
        f"the Dask scheduler went away ({_line(error)}); what was committed is kept"
    )


class RayEngine:
    """A Ray cluster's workers, or worker processes on this machine."""

    own_process = True

    def __init__(self, jobs: int | None, address: str | None) -> None:
        # Read when Ray is imported, or when it begins.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # The run tells itself whose worker died; Ray would print a paragraph about each.
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^ ?A worker died or was killed")
        for name, value in _RAY_PATIENCE.items() if address else ():
            os.environ.setdefault(name, value)
        with _installed("ray"):
            import ray
        self._ray = ray
        self._limit = jobs
        self._ours = not ray.is_initialized()
        if self._ours:
            _begin_ray(ray, jobs or 1, address)
        self._jobs: dict[Any, int] = {}
        self._tasks: dict[Callable[..., Any], Any] = {}

    def slots(self) -> int:
        """Return the number of cores that the cluster has, now."""
        cores = int(self._ray.cluster_resources().get("CPU", 0))
        return max(1, min(cores, self._limit or cores))

    def share(self, value: Any) -> Any:
        """Return a reference into Ray's object store, on the driver's machine."""
        return self._ray.put(value)

    def submit(self, job: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a job; the runner decides what is tried again, not Ray."""
        if function not in self._tasks:
            self._tasks[function] = self._ray.remote(num_cpus=1, max_retries=0)(function)
        self._jobs[self._tasks[function].remote(*arguments)] = job

    def wait(self, timeout_s: float) -> Iterable[Done]:
        """Yield the jobs that finished."""
        ready, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=timeout_s)
        more, _ = self._ray.wait(list(self._jobs), num_returns=len(self._jobs), timeout=0)
        for ref in dict.fromkeys([*ready, *more]):
            yield self._settled(ref)

    def close(self) -> None:
        """Cancel what runs; end the workers if they are ours."""
        for ref in self._jobs:
            self._ray.cancel(ref, force=True)
        self._jobs.clear()
        if self._ours:
            self._ray.shutdown()

    def _settled(self, ref: Any) -> Done:
        from ray import exceptions

        job = self._jobs.pop(ref)
        deaths = (
            exceptions.WorkerCrashedError,
            exceptions.OutOfMemoryError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
        )
        try:
            return Done(job, self._ray.get(ref))
        except exceptions.RayTaskError as error:
            return Done(job, error=_as_exception(error.cause))
        except deaths:
            return Done(job, died=True)
        except exceptions.RayError as error:
            raise CoinferError(f"Ray failed ({_line(error)}); what was committed is kept") from None


@contextmanager
def _local_dask(make: Callable[..., Any], workers: int) -> Iterator[Any]:
    import dask

    settings = {
        # The runner decides what is tried again: one death, one report.
        "distributed.scheduler.allowed-failures": 0,
        # A worker whose native code keeps Python waiting is not dead, and one that is dead is
        # replaced, even if the one in its place dies as well.
        "distributed.scheduler.worker-ttl": None,
        "distributed.deploy.lost-worker-timeout": "10000 days",
        "distributed.nanny.pre-spawn-environ": THREADS,
        "distributed.worker.preload": [worker.__name__],
    }
    with dask.config.set(settings):
        with _no_ctrl_c():
            cluster = make(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
        try:
            yield cluster
        finally:
            cluster.close()


def _knock(address: str) -> None:
    """Find out at once that nobody is there."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdigit()):
        return  # "auto", or something that Ray refuses by itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise CoinferError(f"no Ray cluster at '{address}': {_line(error)}") from None


def _begin_ray(ray: Any, workers: int, address: str | None) -> None:
    if address:
        _knock(address)
    where = (
        {"address": address}
        if address
        else {"num_cpus": workers, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    )
    with _own_signals(), _no_native_log() if address else nullcontext():
        try:
            ray.init(**where, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, ValueError, RuntimeError) as error:
            wanted = f"no Ray cluster at '{address}'" if address else "Ray does not start here"
            # The cause is a traceback's text, whose last line says why (no answer, no token).
            why = str(error.__cause__ or "").strip().rpartition("\n")[2] or _line(error)
            raise CoinferError(f"{wanted}: {why}") from None


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Hold Ctrl-C back from the processes that are started inside, for good."""
    resource_tracker.ensure_running()  # when it is started, it would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _streams() -> Iterator[None]:
    """Have a stdout and a stderr, which loky flushes; a program may be started without."""
    if sys.stdout is not None and sys.stderr is not None:
        yield
        return
    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(sys.stdout or nowhere),
        redirect_stderr(sys.stderr or nowhere),
    ):
        yield


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait for the end of the block: what is half begun cannot be ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: caught.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in caught:
            signal.raise_signal(late)


@contextmanager
def _no_native_log() -> Iterator[None]:
    """Keep what native code says of a vain attempt from stderr; it raises an error, too."""
    try:
        kept = os.dup(_STDERR)
    except OSError:  # there is no stderr
        yield
        return
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), _STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our SIGTERM handler: Ray sets its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _installed(executor: str) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise CoinferError(
            f"--executor {executor} needs a package that is not installed; "
            f"pip install 'coinfer[{executor}]'"
        ) from None


def _drained(
    done: queue.SimpleQueue[tuple[int, Any]], timeout_s: float
) -> Iterator[tuple[int, Any]]:
    """Yield what is in a queue, waiting for the first."""
    try:
        yield done.get(timeout=timeout_s)
        while True:
            yield done.get_nowait()
    except queue.Empty:
        return


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(_line(error))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
