"""The runner: from a matrix to rows in the store. It alone writes there.

expand -> keys -> leave out what the store has -> hand chunks of cells to workers -> commit every
chunk's rows the moment they come back. A run that ends early, however it ends, loses at most the
cells in flight; the same command goes on from there.

A chunk holds cells of one group (they share a network and a library): one at first, then as many
as take about half a second. Which worker computes a cell, and in what order, changes no row.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.catalog import Catalog
from benchmarks.cells import Cell
from benchmarks.engines import Done, Engine, make_engine
from benchmarks.evaluate import Group, cell_inputs, group_inputs, prepare, refusal
from benchmarks.matrix import Filters, Matrix, expand
from benchmarks.progress import Progress, Silent
from benchmarks.rows import Row, row_key
from benchmarks.store import Store
from benchmarks.worker import (
    Answered,
    Limits,
    failed_row,
    pack,
    prepare_parcel,
    run_chunk,
    timed_out,
)
from coinfer.errors import EXIT_FAILED, EXIT_OK, CoinferError

CHUNK_S = 0.5
MAX_CHUNK = 1000

# A cell (or a library's build) whose worker dies so often, alone, is taken to be the killer.
_DEATHS = 2

# How long after its time limit a cell that nothing can interrupt costs its worker its life.
LAST_RESORT_S = 10.0

# How often the runner looks up while nothing finishes, in seconds.
_TICK_S = 1.0


@dataclass(frozen=True)
class Summary:
    """How a run went.

    Attributes:
        cells: asked for.
        hits: of them, found in the store.
        computed: of them, computed now.
        statuses: (status, number) over hits and computed cells.
        reasons: ((status, method, reason), number) of the failed and skipped cells computed now.
        left_out: neither there nor computed (`retry_failed` computes failed cells only).
        seconds: taken by the run.
        strict: whether a skipped cell is an error.
    """

    cells: int
    hits: int
    computed: int
    statuses: tuple[tuple[str, int], ...] = ()
    reasons: tuple[tuple[tuple[str, str, str], int], ...] = ()
    left_out: int = 0
    seconds: float = 0.0
    strict: bool = False

    def count(self, status: str) -> int:
        """Return the number of cells with a status."""
        return dict(self.statuses).get(status, 0)

    @property
    def exit_code(self) -> int:
        """1 when a cell failed (or was skipped, if strict), else 0."""
        bad = self.count("failed") + (self.count("skipped") if self.strict else 0)
        return EXIT_FAILED if bad else EXIT_OK

    def lines(self) -> list[str]:
        """Return the summary as text: one line, then one per reason."""
        counts = ", ".join(f"{number} {status}" for status, number in self.statuses)
        head = (
            f"{self.cells} cells ({counts or 'none answered'}): {self.hits} in the store, "
            f"{self.computed} computed in {self.seconds:.1f} s"
        )
        if self.left_out:
            head += f"; {self.left_out} not yet computed were left out"
        details = [
            f"  {status}: {number} of {method}: {reason}"
            for (status, method, reason), number in self.reasons
        ]
        return [head, *details]


@dataclass(frozen=True)
class Asked:
    """The cells of one group, and the keys of their rows."""

    group: Group
    cells: tuple[Cell, ...]
    keys: tuple[str, ...]


def ask(
    matrix: Matrix, catalog: Catalog, filters: Sequence[Filters] = ()
) -> tuple[Catalog, list[Asked]]:
    """Return what a matrix asks for, with the catalog that knows its preset files too.

    Raises:
        CoinferError: for whatever is wrong with the matrix, its names or its models.
    """
    presets = (*catalog.preset_files, *matrix.preset_files)
    catalog = Catalog(catalog.method_files, tuple(dict.fromkeys(presets)))
    return catalog, list(_keyed(expand(matrix, catalog, *filters), catalog))


def _keyed(cells: list[Cell], catalog: Catalog) -> Iterator[Asked]:
    for group, members in groupby(cells, key=Group.of):
        inputs = group_inputs(group, catalog)
        own = tuple(members)
        keys = tuple(row_key(cell, cell_inputs(cell, inputs, catalog)) for cell in own)
        yield Asked(group, own, keys)


def run(
    matrix: Matrix,
    store_path: str | Path,
    *,
    catalog: Catalog | None = None,
    filters: Sequence[Filters] = (),
    jobs: int | None = None,
    executor: str = "joblib",
    address: str | None = None,
    cell_timeout_s: float | None = None,
    retry_failed: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
    command_line: Sequence[str] | None = None,
) -> Summary:
    """Compute the cells of a matrix that a store does not have, and commit their rows.

    Args:
        matrix: what to compute.
        store_path: the store's file, made when missing.
        catalog: method files and presets beyond the built-in ones.
        filters: which cells to take, beside the matrix's own filters.
        jobs: worker processes; 1 (the default) runs in this process unless cells have a time
            limit; 0 means one per core.
        executor: `joblib`, `dask` or `ray`.
        address: of a Dask scheduler or Ray head that is running; None starts workers here.
        cell_timeout_s: a cell that takes longer becomes a failed row.
        retry_failed: compute only the cells whose row is `failed`.
        strict: let skipped cells fail the run.
        progress: shown how far it is.
        command_line: recorded with the run; that of the process by default.

    Returns:
        The summary; its `exit_code` is the run's.

    Raises:
        CoinferError: for bad input, a store that cannot be used, a cluster that went away.
        KeyboardInterrupt: when interrupted; what was committed is kept.
    """
    from benchmarks.provenance import collect

    began = perf_counter()
    if cell_timeout_s is not None and not 0 < cell_timeout_s < float("inf"):
        raise CoinferError(f"cell timeout is {cell_timeout_s} s; allowed is a number > 0")
    catalog, asked = ask(matrix, catalog or Catalog(), filters)
    progress = progress or Silent()
    with Store.open(store_path) as store:
        found, wanted = _sort_out(store, asked, retry_failed)
        total = sum(len(one.cells) for one in wanted)
        statuses: Counter[str] = Counter(found.values())
        reasons: Counter[tuple[str, str, str]] = Counter()
        if wanted:
            # A cell that cannot be interrupted can only be ended, with its process.
            engine = make_engine(executor, jobs, address, apart=cell_timeout_s is not None)
            try:
                run_id = store.begin_run(
                    collect(list(command_line or sys.argv), _only(matrix.seeds))
                )
                progress.start(total, len(found))

                def commit(rows: list[Row]) -> None:
                    store.put(rows, run_id)
                    statuses.update(row.result.status for row in rows)
                    reasons.update(
                        (row.result.status, row.cell.method, row.result.reason)
                        for row in rows
                        if row.result.status in ("failed", "skipped")
                    )
                    progress.advance(len(rows))

                limits = _limits(engine, cell_timeout_s)
                with _long_lived():
                    _Driver(engine, catalog, limits, commit).compute(wanted)
                store.end_run(run_id)
            finally:
                progress.stop()
                engine.close()
    cells = sum(len(one.cells) for one in asked)
    return Summary(
        cells=cells,
        hits=len(found),
        computed=total,
        statuses=tuple(sorted(statuses.items())),
        reasons=tuple(sorted(reasons.items())),
        left_out=cells - len(found) - total,
        seconds=perf_counter() - began,
        strict=strict,
    )


def _limits(engine: Engine, timeout_s: float | None) -> Limits:
    """The limits of a chunk; only a process that is the engine's own may be ended."""
    if timeout_s is None or not engine.own_process:
        return Limits(CHUNK_S, timeout_s)
    return Limits(CHUNK_S, timeout_s, timeout_s + LAST_RESORT_S)


def _only(seeds: tuple[int, ...]) -> int | None:
    """The seed of a run that has one; of several, each row holds its own."""
    return seeds[0] if len(set(seeds)) == 1 else None


@contextmanager
def _long_lived() -> Iterator[None]:
    """Spare the garbage collector what lives as long as the run: cells, keys, the catalog."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True)
class Preview:
    """What a run would do for one method on one model.

    Attributes:
        model, method: refs.
        cells: asked for.
        hits: of them, found in the store.
        compute: of them, to be computed (skipped ones included, which cost nothing).
        skips: (reason, number) of the cells that the method would refuse.
    """

    model: str
    method: str
    cells: int
    hits: int
    compute: int
    skips: tuple[tuple[str, int], ...] = ()


def preview(
    matrix: Matrix,
    store_path: str | Path,
    *,
    catalog: Catalog | None = None,
    filters: Sequence[Filters] = (),
    retry_failed: bool = False,
) -> list[Preview]:
    """Return what `run` would do, per model and method; build, compute and write nothing.

    Raises:
        CoinferError: as `run` does.
    """
    catalog, asked = ask(matrix, catalog or Catalog(), filters)
    found: dict[str, str] = {}
    wanted = [] if retry_failed else asked
    path = Path(store_path)
    if path.exists() and path.stat().st_size > 0:
        with Store.open(path, readonly=True) as store:
            found, wanted = _sort_out(store, asked, retry_failed)
    todo = {one.group: one for one in wanted}
    previews = []
    for (model, method), members in groupby(asked, lambda one: (one.group.model, one.group.method)):
        groups = list(members)
        missing = [todo[one.group] for one in groups if one.group in todo]
        skips = Counter(reason for one in missing for reason in _refusals(one, catalog))
        previews.append(
            Preview(
                model,
                method,
                cells=sum(len(one.cells) for one in groups),
                hits=sum(key in found for one in groups for key in one.keys),
                compute=sum(len(one.cells) for one in missing),
                skips=tuple(sorted(skips.items())),
            )
        )
    return previews


def _refusals(asked: Asked, catalog: Catalog) -> Iterator[str]:
    """Yield a reason for every cell that its method refuses."""
    for cell in asked.cells:
        try:
            reason = refusal(asked.group, catalog, catalog.scenario(cell))
        except Exception as error:  # a stranger's `supports` may raise anything
            reason = f"would fail: {type(error).__name__}: {' '.join(str(error).split())}"
        if reason:
            yield reason


def _sort_out(
    store: Store, asked: list[Asked], retry_failed: bool
) -> tuple[dict[str, str], list[Asked]]:
    """Return the status of every hit by key, and what is to be computed."""
    done = store.done(key for one in asked for key in one.keys)
    odd = dict(store.query("SELECT key, status FROM rows WHERE status NOT IN ('ok', 'failed')"))
    failed = store.failed_keys() if retry_failed else set()
    wanted = []
    for one in asked:
        pairs = [
            (cell, key)
            for cell, key in zip(one.cells, one.keys, strict=True)
            if (key in failed if retry_failed else key not in done)
        ]
        if pairs:
            cells, keys = zip(*pairs, strict=True)
            wanted.append(Asked(one.group, cells, keys))
    return {key: odd.get(key, "ok") for key in done}, wanted


@dataclass
class _Work:
    """What is left of a group."""

    number: int
    group: Group
    trained: bool
    pending: deque[Cell]
    alone: deque[Cell] = field(default_factory=deque)
    in_flight: int = 0
    cell_s: float | None = None
    parcel: Any = None
    building: bool = False
    build_deaths: int = 0

    @property
    def over(self) -> bool:
        return not (self.pending or self.alone or self.in_flight or self.building)


@dataclass(frozen=True)
class _Job:
    """A chunk in flight; without cells, the building of a group's library."""

    work: _Work
    cells: tuple[Cell, ...]
    since: float


class _Driver:
    """Keeps an engine busy until every cell has its row. One per run."""

    def __init__(
        self,
        engine: Engine,
        catalog: Catalog,
        limits: Limits,
        commit: Callable[[list[Row]], None],
    ) -> None:
        self._engine = engine
        self._catalog = catalog
        self._limits = limits
        self._commit = commit
        self._works: dict[int, _Work] = {}  # those not over, in order
        self._jobs: dict[int, _Job] = {}
        self._numbers = iter(range(sys.maxsize))
        self._deaths: Counter[Cell] = Counter()
        self._keys: set[str] = set()

    def compute(self, wanted: list[Asked]) -> None:
        """Compute and commit every wanted cell."""
        for number, one in enumerate(wanted):
            card = self._catalog.method(one.group.method).card
            trained = card.accuracy_signal != "baseline"
            self._works[number] = _Work(number, one.group, trained, deque(one.cells))
            self._keys.update(one.keys)
        self._fill()
        while self._jobs:
            rows: list[Row] = []
            try:
                for done in self._engine.wait(_TICK_S):
                    job = self._jobs.pop(done.job)
                    rows += self._settle(job, done)
                    if job.work.over:
                        del self._works[job.work.number]
                # First new work, so that the workers go on while the rows are committed.
                self._fill()
            finally:
                if rows:
                    self._check(rows)
                    self._commit(rows)

    def _fill(self) -> None:
        free = self._engine.slots() - len(self._jobs)
        while free > 0 and self._submit_next():
            free -= 1

    def _submit_next(self) -> bool:
        for work in self._works.values():
            if work.parcel is None:
                if work.building or not (work.pending or work.alone):
                    continue
                if work.trained:
                    work.building = True
                    expected = group_inputs(work.group, self._catalog)
                    self._submit(work, (), prepare_parcel, work.group, self._catalog, expected)
                    return True
                parcel = pack(prepare(work.group, self._catalog))
                work.parcel = self._engine.share(parcel)
            cells = _next_chunk(work)
            if cells:
                self._submit(work, cells, run_chunk, work.parcel, cells, self._limits)
                return True
        return False

    def _submit(
        self, work: _Work, cells: tuple[Cell, ...], function: Callable[..., Any], *arguments: Any
    ) -> None:
        number = next(self._numbers)
        self._engine.submit(number, function, *arguments)
        self._jobs[number] = _Job(work, cells, perf_counter())
        work.in_flight += 1

    def _settle(self, job: _Job, done: Done) -> list[Row]:
        """Return the rows that a finished job gives, and queue again what it leaves."""
        work = job.work
        work.in_flight -= 1
        if isinstance(done.error, CoinferError):
            raise done.error
        if not job.cells:
            return self._settle_build(work, done)
        if done.died:
            return self._settle_death(job)
        if done.error is not None:
            return self._fail(job.cells, *_failure("the worker failed", done.error))
        answered: Answered = done.value
        work.cell_s = answered.seconds / len(answered.rows)
        work.pending.extendleft(reversed(job.cells[len(answered.rows) :]))
        return list(answered.rows)

    def _settle_build(self, work: _Work, done: Done) -> list[Row]:
        work.building = False
        if done.died:
            work.build_deaths += 1
            if work.build_deaths < _DEATHS:
                return []
            reason, trace = f"worker died {_DEATHS} times while building the library", ""
        elif done.error is not None:
            reason, trace = _failure("the library was not built", done.error)
        else:
            work.parcel = self._engine.share(done.value)
            return []
        cells = (*work.alone, *work.pending)
        work.alone.clear()
        work.pending.clear()
        return self._fail(cells, reason, trace)

    def _settle_death(self, job: _Job) -> list[Row]:
        """Try the cells of a dead worker again, one by one; give up on one that kills again."""
        if len(job.cells) > 1:
            job.work.alone.extend(job.cells)
            return []
        (cell,) = job.cells
        limit, end = self._limits.timeout_s, self._limits.last_resort_s
        if limit and end and perf_counter() - job.since >= end:
            return self._fail(job.cells, f"{timed_out(limit)}; its worker had to be ended")
        self._deaths[cell] += 1
        if self._deaths[cell] >= _DEATHS:
            return self._fail(job.cells, f"worker died {_DEATHS} times (killed, or out of memory)")
        job.work.alone.append(cell)
        return []

    def _fail(self, cells: Sequence[Cell], reason: str, trace: str = "") -> list[Row]:
        rows = []
        for cell in cells:
            inputs = group_inputs(Group.of(cell), self._catalog)
            row_inputs = cell_inputs(cell, inputs, self._catalog)
            rows.append(failed_row(cell, row_inputs, reason, trace))
        return rows

    def _check(self, rows: list[Row]) -> None:
        for row in rows:
            if row.key not in self._keys:
                raise CoinferError(
                    f"worker on {row.host} knows {row.cell.device}, {row.cell.server} or "
                    f"{row.cell.link} by other numbers; give it the same preset files"
                )


def _next_chunk(work: _Work) -> tuple[Cell, ...]:
    if work.alone:
        return (work.alone.popleft(),)
    if not work.pending or (work.cell_s is None and work.in_flight and not work.trained):
        return ()
    if work.trained or work.cell_s is None:
        size = 1
    else:
        size = max(1, min(MAX_CHUNK, round(CHUNK_S / max(work.cell_s, 1e-9))))
    return tuple(work.pending.popleft() for _ in range(min(size, len(work.pending))))


def _failure(what: str, error: Exception) -> tuple[str, str]:
    text = " ".join(str(error).split())
    trace = "".join(traceback.format_exception(error))
    return f"{what}: {type(error).__name__}: {text}", trace
