"""The runner: from a matrix to rows in the store. It alone writes there.

expand -> keys -> leave out what the store has -> hand chunks of cells to workers -> commit every
chunk's rows the moment they come back. A run that ends early, however it ends, loses at most the
cells in flight; the same command goes on from there.

A group's cells share a network and a library. Workers build the libraries too, each as a job beside
the cells of other groups. A chunk holds cells of one group: one at first, then as many as take
about half a second. Which worker computes a cell, and in what order, changes no row.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.catalog import Catalog
from benchmarks.cells import Cell
from benchmarks.engines import Done, Engine, make_engine
from benchmarks.evaluate import Group, cell_inputs, group_inputs, refusal
from benchmarks.matrix import Filters, Matrix, expand
from benchmarks.progress import Progress, Silent
from benchmarks.rows import Row, row_key
from benchmarks.store import Store
from benchmarks.timelimit import Limit, check_seconds
from benchmarks.worker import (
    Answered,
    Unbuilt,
    build_timed_out,
    failed_row,
    failure,
    prepare_parcel,
    run_chunk,
    timed_out,
)
from coinfer.errors import EXIT_FAILED, EXIT_OK, CoinferError

CHUNK_S = 0.5
MAX_CHUNK = 1000
# Cells that a method which answers many at once is given together.
MAX_BATCH = 250

# A cell (or a library's build) whose worker dies so often, alone, is taken to be the killer.
_DEATHS = 2

# How long after its time limit a call that nothing can interrupt costs its worker its life.
LAST_RESORT_S = 10.0

# How often the runner looks up while nothing finishes, and says what it waits for, in seconds.
_TICK_S = 1.0
_STILL_S = 30.0

# How many reasons of failed and skipped cells a summary lists.
_REASONS = 20


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
            for (status, method, reason), number in self.reasons[:_REASONS]
        ]
        if len(self.reasons) > _REASONS:
            details.append(f"  and {len(self.reasons) - _REASONS} more reasons, in the rows")
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
    catalog = replace(catalog, preset_files=tuple(dict.fromkeys(presets)))
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
    build_timeout_s: float | None = None,
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
        jobs: worker processes; None for 1 here, all of a cluster's; 0 for one per core.
        executor: `joblib`, `dask` or `ray`.
        address: of a Dask scheduler or Ray head that is running; None starts workers here.
        cell_timeout_s: a cell that takes longer becomes a failed row; None for no limit.
        build_timeout_s: a method's build that takes longer fails its cells; by default as cells.
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
    check_seconds("cell timeout", cell_timeout_s)
    check_seconds("build timeout", build_timeout_s)
    catalog, asked = ask(matrix, catalog or Catalog(), filters)
    progress = progress or Silent()
    with Store.open(store_path) as store:
        found, wanted = _sort_out(store, asked, retry_failed)
        total = sum(len(one.cells) for one in wanted)
        statuses: Counter[str] = Counter(found.values())
        reasons: Counter[tuple[str, str, str]] = Counter()
        if wanted:
            engine = make_engine(executor, jobs, address)
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

                per_cell = _limit(engine, cell_timeout_s)
                per_build = _limit(engine, build_timeout_s or cell_timeout_s)
                driver = _Driver(engine, catalog, per_cell, per_build, commit, progress.still)
                with _long_lived():
                    driver.compute(wanted)
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


def run_rows(
    matrix: Matrix, store_path: str | Path, *, catalog: Catalog | None = None, **options: Any
) -> tuple[Summary, list[Row]]:
    """Run a matrix and return its rows; other cells, and older code's, may be in the store too.

    Args:
        matrix, store_path, catalog: as of `run`.
        **options: others of `run`.

    Raises:
        CoinferError: for whatever `run` refuses.
    """
    summary = run(matrix, store_path, catalog=catalog, **options)
    _, asked = ask(matrix, catalog or Catalog())
    keys = [key for group in asked for key in group.keys]
    with Store.open(store_path, readonly=True) as store:
        return summary, list(store.rows(key=keys))


def _limit(engine: Engine, seconds: float | None) -> Limit:
    """A limit; only a process that is the engine's own may be ended for it."""
    if seconds is None or not engine.own_process:
        return Limit(seconds)
    return Limit(seconds, seconds + LAST_RESORT_S)


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
    batched: bool
    pending: deque[Cell]
    alone: deque[Cell] = field(default_factory=deque)
    in_flight: int = 0
    cell_s: float | None = None
    parcel: Any = None

    @property
    def over(self) -> bool:
        return not (self.pending or self.alone or self.in_flight)


@dataclass(frozen=True)
class _Job:
    """A chunk in flight; without cells, the building of a group's library."""

    work: _Work
    cells: tuple[Cell, ...]
    since: float

    def __str__(self) -> str:
        group = self.work.group
        what = "a build" if not self.cells else f"{len(self.cells)} cell(s)"
        return f"{what} of {group.method} on {group.model}"


class _Driver:
    """Keeps an engine busy until every cell has its row. One per run."""

    def __init__(
        self,
        engine: Engine,
        catalog: Catalog,
        per_cell: Limit,
        per_build: Limit,
        commit: Callable[[list[Row]], None],
        still: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._catalog = catalog
        self._per_cell = per_cell
        self._per_build = per_build
        self._commit = commit
        self._still = still
        self._works: dict[int, _Work] = {}  # those not over, in order
        self._jobs: dict[int, _Job] = {}
        self._numbers = iter(range(sys.maxsize))
        self._deaths: Counter[Cell | Group] = Counter()
        self._keys: set[str] = set()

    def compute(self, wanted: list[Asked]) -> None:
        """Compute and commit every wanted cell."""
        for number, one in enumerate(wanted):
            method = self._catalog.method(one.group.method)
            trained = method.card.accuracy_signal == "measured"
            cells = deque(one.cells)
            self._works[number] = _Work(number, one.group, trained, method.batched, cells)
            self._keys.update(one.keys)
        self._fill()
        heard = perf_counter()
        while self._jobs:
            rows: list[Row] = []
            try:
                for done in self._engine.wait(_TICK_S):
                    heard = perf_counter()
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
            if perf_counter() - heard >= _STILL_S:
                heard = perf_counter()
                self._still(
                    "; ".join(f"{job}, {heard - job.since:.0f} s" for job in self._jobs.values())
                )

    def _fill(self) -> None:
        free = self._engine.slots() - len(self._jobs)
        while free > 0 and self._submit_next():
            free -= 1

    def _submit_next(self) -> bool:
        for work in self._works.values():
            if work.parcel is not None:
                cells = _next_chunk(work)
                if cells:
                    limit = self._per_cell
                    self._submit(work, cells, run_chunk, work.parcel, cells, limit, CHUNK_S)
                    return True
            elif not work.in_flight:
                expected = group_inputs(work.group, self._catalog)
                arguments = (work.group, self._catalog, expected, self._per_build)
                self._submit(work, (), prepare_parcel, *arguments)
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
        if done.died:
            return self._settle_death(job, done.trace)
        if done.error is not None:
            reason, trace = failure(done.error)
            return self._give_up(job, f"the worker failed: {reason}", trace)
        if isinstance(done.value, Unbuilt):
            return self._give_up(job, done.value.reason, done.value.trace)
        if not job.cells:
            work.parcel = self._engine.share(done.value)
            return []
        answered: Answered = done.value
        work.cell_s = answered.seconds / len(answered.rows)
        work.pending.extendleft(reversed(job.cells[len(answered.rows) :]))
        return list(answered.rows)

    def _settle_death(self, job: _Job, trace: str) -> list[Row]:
        """Try again what a dead worker was at, cell by cell; give up on what kills again."""
        if len(job.cells) > 1:
            job.work.alone.extend(job.cells)
            return []
        limit = self._per_cell if job.cells else self._per_build
        if limit.last_resort_s is not None and perf_counter() - job.since >= limit.last_resort_s:
            reason = timed_out(limit) if job.cells else build_timed_out(limit)
            return self._give_up(job, reason, f"nothing could interrupt it\n{trace}")
        suspect = job.cells[0] if job.cells else job.work.group
        self._deaths[suspect] += 1
        if self._deaths[suspect] >= _DEATHS:
            at = "" if job.cells else "in the build, "
            return self._give_up(
                job, f"worker died {_DEATHS} times ({at}crashed, killed, or out of memory)", trace
            )
        job.work.alone.extend(job.cells)
        return []

    def _give_up(self, job: _Job, reason: str, trace: str) -> list[Row]:
        """Fail the cells of a job; without a library, all cells of the group."""
        if job.cells:
            return self._fail(job.cells, reason, trace)
        cells = tuple(job.work.pending)
        job.work.pending.clear()
        return self._fail(cells, reason, trace)

    def _fail(self, cells: Sequence[Cell], reason: str, trace: str) -> list[Row]:
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
    if not work.pending:
        return ()
    if work.batched:
        return tuple(work.pending.popleft() for _ in range(min(MAX_BATCH, len(work.pending))))
    if work.cell_s is None and work.in_flight and not work.trained:
        return ()
    if work.trained or work.cell_s is None:
        size = 1
    else:
        size = max(1, min(MAX_CHUNK, round(CHUNK_S / max(work.cell_s, 1e-9))))
    return tuple(work.pending.popleft() for _ in range(min(size, len(work.pending))))
