"""What a worker does, in whatever process it lives: prepare a group, answer a chunk of cells.

Workers never touch the store: they return rows, and the runner commits them.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import socket
import threading
import time
import traceback
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from time import perf_counter

from benchmarks.catalog import Catalog
from benchmarks.cells import Cell, Result
from benchmarks.evaluate import (
    Group,
    Prepared,
    cell_inputs,
    code_inputs,
    evaluate,
    group_inputs,
    prepare,
)
from benchmarks.rows import Row
from benchmarks.timelimit import CellTimeout, last_resort, limited
from coinfer.errors import CoinferError

# Prepared groups that a worker keeps at hand.
_KEPT_GROUPS = 8

# How often a worker looks whether its driver is still there, in seconds.
_ORPHAN_CHECK_S = 0.5

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
class Limits:
    """How far a chunk may go.

    Attributes:
        budget_s: no further cell is begun after this; what is left goes back.
        timeout_s: limit of one cell; None for none.
        last_resort_s: a cell that takes longer, because nothing could interrupt it, costs its
            worker's process its life; None to let it be.
    """

    budget_s: float
    timeout_s: float | None = None
    last_resort_s: float | None = None


@dataclass(frozen=True)
class Answered:
    """Rows of the first cells of a chunk, in order; the other cells were not begun."""

    rows: tuple[Row, ...]
    seconds: float


def pack(prepared: Prepared) -> Parcel:
    """Return a prepared group as a parcel."""
    content = pickle.dumps(prepared, protocol=pickle.HIGHEST_PROTOCOL)
    return Parcel(prepared.catalog, hashlib.sha256(content).hexdigest(), content)


def prepare_parcel(group: Group, catalog: Catalog, expected: dict[str, str]) -> Parcel:
    """Prepare a group in a worker, for methods whose library takes long to build.

    Args:
        group: the group.
        catalog: resolves its names.
        expected: the group's inputs, as the driver knows them.

    Raises:
        CoinferError: when the model cannot be found or traced, or this machine would not answer
            as the driver would.
    """
    _require_same(group.method, expected, group_inputs(group, catalog))
    return pack(prepare(group, catalog))


def run_chunk(parcel: Parcel, cells: tuple[Cell, ...], limits: Limits) -> Answered:
    """Answer cells of one group until the budget is spent; at least the first one.

    Raises:
        CoinferError: when this machine cannot answer as the driver would (another version of
            the code, a method file that is not here).
    """
    prepared = unpack(parcel)
    started = perf_counter()
    rows: list[Row] = []
    for cell in cells:
        if rows and perf_counter() - started > limits.budget_s:
            break
        rows.append(answer(prepared, cell, limits))
    return Answered(tuple(rows), perf_counter() - started)


def answer(prepared: Prepared, cell: Cell, limits: Limits) -> Row:
    """Answer one cell within the time limit; a cell that takes longer gives a failed row."""
    started = perf_counter()
    try:
        with last_resort(limits.last_resort_s):
            row = limited(limits.timeout_s, partial(evaluate, prepared, cell))
    except CellTimeout as error:
        inputs = cell_inputs(cell, prepared.inputs, prepared.catalog)
        assert limits.timeout_s is not None
        trace = "".join(traceback.format_exception(error))
        row = failed_row(cell, inputs, timed_out(limits.timeout_s), trace)
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


def timed_out(seconds: float) -> str:
    """Return the reason of a cell that took too long."""
    return f"timed out after {seconds:g} s"


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
    """Settle a worker process: Ctrl-C is the driver's business, and no driver means no work."""
    ignore_ctrl_c()
    threading.Thread(target=_leave_with, args=(driver,), daemon=True).start()


def ignore_ctrl_c() -> None:
    """Leave Ctrl-C, which a terminal sends to every process, to the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def dask_setup(_worker: object) -> None:
    """Settle a Dask worker of ours; called by Dask, which preloads this module there."""
    ignore_ctrl_c()


def _leave_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(_ORPHAN_CHECK_S)
    os._exit(1)
