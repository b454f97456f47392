"""What a worker does, in whatever process it lives: prepare a group, answer a chunk of cells.

Workers never touch the store: they return rows, and the runner commits them. All that a method
does, it does here: whatever it raises becomes text, and what it prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import faulthandler
import hashlib
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter

from benchmarks.catalog import Catalog
from benchmarks.cells import Cell, Result
from benchmarks.evaluate import (
    Group,
    Prepared,
    cell_inputs,
    code_inputs,
    evaluate,
    evaluate_many,
    group_inputs,
    prepare,
)
from benchmarks.rows import Row
from benchmarks.timelimit import LAST_WORDS, CellTimeout, Limit
from coinfer.errors import CoinferError

# Prepared groups that a worker keeps at hand.
_KEPT_GROUPS = 8

# How often a worker looks whether its driver is still there, in seconds.
_ORPHAN_CHECK_S = 0.5

_STDOUT, _STDERR = 1, 2

# Linux: the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Parcel:
    """A prepared group on its way to workers, which unpack it once each.

    Attributes:
        catalog: loads the method files that unpacking may need.
        digest: identity of the content.
        content: the pickled group.
    """

    catalog: Catalog
    digest: str
    content: bytes = field(repr=False, compare=False)


@dataclass(frozen=True)
class Unbuilt:
    """Why a group has no library: the reason of its rows, and a traceback."""

    reason: str
    trace: str


@dataclass(frozen=True)
class Answered:
    """Rows of the first cells of a chunk, in order; the other cells were not begun."""

    rows: tuple[Row, ...]
    seconds: float


def pack(prepared: Prepared) -> Parcel:
    """Return a prepared group as a parcel."""
    content = pickle.dumps(prepared, protocol=pickle.HIGHEST_PROTOCOL)
    return Parcel(prepared.catalog, hashlib.sha256(content).hexdigest(), content)


def prepare_parcel(
    group: Group, catalog: Catalog, expected: dict[str, str], limit: Limit
) -> Parcel | Unbuilt:
    """Prepare a group: let its method build its library.

    Args:
        group: the group.
        catalog: resolves its names.
        expected: the group's inputs, as the driver knows them.
        limit: of the build.

    Raises:
        CoinferError: when the model cannot be found or traced, or this machine would not answer
            as the driver would.
    """
    _require_same(group.method, expected, group_inputs(group, catalog))
    try:
        prepared = limit.call(partial(prepare, group, catalog))
        return pack(prepared) if prepared.failure is None else Unbuilt(*prepared.failure)
    except BaseException as error:  # a method may raise even KeyboardInterrupt
        reason, trace = failure(error)
        if isinstance(error, CellTimeout):
            reason = build_timed_out(limit)
        return Unbuilt(reason, trace)


def run_chunk(parcel: Parcel, cells: tuple[Cell, ...], limit: Limit, budget_s: float) -> Answered:
    """Answer cells of one group.

    Args:
        parcel: the group.
        cells: at least one.
        limit: of each cell.
        budget_s: no further cell is begun after so long; what is left goes back.

    Raises:
        CoinferError: when this machine cannot answer as the driver would (another version of
            the code, a method file that is not here).
    """
    prepared = unpack(parcel)
    started = perf_counter()
    together = _answer_together(prepared, cells, limit)
    if together is not None:
        return Answered(together, perf_counter() - started)
    rows: list[Row] = []
    for cell in cells:
        if rows and perf_counter() - started > budget_s:
            break
        rows.append(answer(prepared, cell, limit))
    return Answered(tuple(rows), perf_counter() - started)


def _answer_together(
    prepared: Prepared, cells: tuple[Cell, ...], limit: Limit
) -> tuple[Row, ...] | None:
    """Answer cells at once, where the method can; None where they are to be answered one by one.

    What goes wrong in company is looked for alone, so that it harms its own cell only.
    """
    if len(cells) < 2 or prepared.failure is not None or not prepared.method.batched:
        return None
    try:
        rows = limit.times(len(cells)).call(partial(evaluate_many, prepared, cells))
    except BaseException:  # a method may raise even KeyboardInterrupt
        return None
    for row in rows:
        _ = row.key  # hashed here, so that the driver need not
    return rows


def answer(prepared: Prepared, cell: Cell, limit: Limit) -> Row:
    """Answer one cell within a time limit; a cell that takes longer gives a failed row."""
    started = perf_counter()
    try:
        row = limit.call(partial(evaluate, prepared, cell))
    except BaseException as error:  # a method may raise even KeyboardInterrupt
        inputs = cell_inputs(cell, prepared.inputs, prepared.catalog)
        reason, trace = failure(error)
        if isinstance(error, CellTimeout):
            reason = timed_out(limit)
        row = failed_row(cell, inputs, reason, trace)
        row = replace(row, seconds=perf_counter() - started)
    _ = row.key  # hashed here, so that the driver need not
    return row


def failed_row(cell: Cell, inputs: dict[str, str], reason: str, trace: str = "") -> Row:
    """Return the row of a cell that failed outside the harness."""
    return Row(
        cell,
        Result("failed", reason=reason),
        inputs,
        host=socket.gethostname(),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        traceback=trace,
    )


def timed_out(limit: Limit) -> str:
    """Return the reason of a cell that took too long."""
    return f"timed out after {limit.seconds:g} s"


def build_timed_out(limit: Limit) -> str:
    """Return the reason of the cells of a group whose build took too long."""
    return f"build {timed_out(limit)}"


def failure(error: BaseException) -> tuple[str, str]:
    """Return what went wrong in one line, and its traceback."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # a stranger's exception may not even have a text
        text = ""
    trace = "".join(traceback.format_exception(error))
    return f"{type(error).__name__}: {text or 'no message'}", trace


@lru_cache(maxsize=_KEPT_GROUPS)
def unpack(parcel: Parcel) -> Prepared:
    """Return the group in a parcel.

    Raises:
        CoinferError: when this machine cannot answer as the driver would.
    """
    # Our own pickle, from the driver that also sent this call; nothing else is unpickled.
    _ = parcel.catalog.methods
    prepared: Prepared = pickle.loads(parcel.content)  # noqa: S301
    # Files may differ on another machine, and may change here while a run goes on.
    here = code_inputs(prepared.method, prepared.catalog.methods.parts)
    _require_same(prepared.group.method, prepared.inputs, here)
    return prepared


def _require_same(method: str, expected: dict[str, str], ours: dict[str, str]) -> None:
    for what, value in ours.items():
        if expected[what] != value:
            raise CoinferError(
                f"worker on {socket.gethostname()} runs other code than the driver ({what} of "
                f"{method} differs): install the same version there, or, if a file changed while "
                "the run went on, start it again"
            )


def begin_worker(driver: int) -> None:
    """Settle a worker process of this machine; without its driver it ends."""
    _settle()
    try:
        # Kept open for as long as the process lives: a crash has no time to open files.
        last_words = Path(os.environ[LAST_WORDS]).open("w")  # noqa: SIM115
        faulthandler.enable(last_words, all_threads=False)
    except (KeyError, OSError):
        os.environ.pop(LAST_WORDS, None)
    # The kernel ends it even while native code runs; where it does not, it looks by itself.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_leave_with, args=(driver,), daemon=True).start()


def dask_setup(_worker: object) -> None:
    """Settle a Dask worker of ours; called by Dask, which preloads this module there."""
    _settle()


def _settle() -> None:
    """Leave Ctrl-C, which a terminal sends to every process, and stdout to the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.stderr is None:  # the program was started without
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    sys.stdout = sys.stderr
    with suppress(OSError):
        os.dup2(_STDERR, _STDOUT)  # for native code and child processes


def _leave_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(_ORPHAN_CHECK_S)
    os._exit(1)
