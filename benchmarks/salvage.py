"""What can still be read of a damaged store, as a store.

A store's records are added, and replaced as a whole; none is ever taken away. So every record
that lies on any page of the file was committed once, and rows are numbered without gaps. A row is
saved whole or not at all: its inputs must be there, and its key must be that of its content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.outputs import resolved
from benchmarks.sqlite_pages import Pages, bounds, records
from benchmarks.store import Run, Store
from benchmarks.store_rows import (
    ADDED_COLUMNS,
    CELL_COLUMNS,
    FILE_COLUMNS,
    ROW_COLUMNS,
    RUN_COLUMNS,
    Record,
    record_of,
    row_of,
)
from benchmarks.store_schema import UnreadableStoreError
from coinfer.errors import CoinferError

# How many values the records of each table have. No two tables have the same, which tells whose
# a record is. An id that is a number is stored apart, and the first value is then empty.
_INPUTS, _RUNS = 3, 4
# Version 1 did not count retries.
_ROW_RUNS = (1 + len(RUN_COLUMNS), len(RUN_COLUMNS))
# What each version has added to `rows`, the newest first: a row that was written before keeps its
# length when its store is migrated.
_LATER = tuple(ADDED_COLUMNS[version] for version in sorted(ADDED_COLUMNS, reverse=True))
_ROWS = tuple(
    1 + len(FILE_COLUMNS) - sum(map(len, _LATER[:newer])) for newer in range(len(_LATER) + 1)
)
# The indices of `rows`: by key, by cell. Their last value is the row's id.
_KEY_INDEX, _CELL_INDEX = 2, len(CELL_COLUMNS) + 1

_KEY_DIGITS = 64
_BATCH_ROWS = 1000


@dataclass(frozen=True)
class Salvaged:
    """What was saved.

    Attributes:
        store: the rows, in a store that vanishes with it.
        rows: how many there are.
        lost: how many there were beside them, at least.
        without_run: how many of the saved ones are without their run columns.
    """

    store: Store
    rows: int
    lost: int
    without_run: int


@dataclass
class _Found:
    """What lies on the pages beside the rows themselves."""

    inputs: dict[int, tuple[str, str]] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    row_runs: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    highest: int = 0  # id of a row


@contextmanager
def salvaged(path: Path, problem: UnreadableStoreError) -> Iterator[Salvaged]:
    """Read what can be read of a damaged store; the file stays as it is.

    Args:
        path: the store's file.
        problem: why it cannot be read as a store.

    Raises:
        UnreadableStoreError: when not one row can be read.
        CoinferError: when the file cannot be read at all.
    """
    with Store.scratch(path) as store:
        try:
            with Pages(resolved(path)) as pages:
                found = _found(pages)
                store.put_runs(found.runs.values())
                rows = _rows(pages, found)
                while batch := list(islice(rows, _BATCH_ROWS)):
                    store.put_records(batch)
        except OSError as error:
            raise CoinferError(f"store '{path}': {error.strerror or error}") from error
        count = store.count()
        if not count:
            # The problem's own words advise what was just tried in vain.
            raise UnreadableStoreError(
                f"store '{path}': {problem.problem}; not one row of it can be read",
                problem.problem,
            ) from problem
        ((with_run,),) = store.query("SELECT count(*) FROM row_runs")
        yield Salvaged(store, count, max(0, found.highest - count), count - with_run)


def _found(pages: Pages) -> _Found:
    """Collect inputs, runs and run columns, and the highest id of any row."""
    found = _Found()
    holders: set[int] = set()  # pages of tables whose ids are those of rows
    widths = {_INPUTS, _RUNS, *_ROWS, *_ROW_RUNS, _KEY_INDEX, _CELL_INDEX}
    for page, _, rowid, values in records(pages, widths):
        width, last = len(values), values[-1]
        if rowid is not None and width != _RUNS and values[0] is not None:
            continue  # of SQLite's own statistics (ANALYZE)
        if width == _INPUTS:
            # The index over the inputs holds them all once more: (name, value, id).
            number = last if rowid is None else rowid
            name, value = values[:2] if rowid is None else values[1:]
            if isinstance(number, int) and isinstance(name, str) and isinstance(value, str):
                found.inputs[number] = (name, value)
        elif width == _RUNS and rowid is not None:
            run = _run(values)
            if run is not None:
                found.runs[run.run_id] = run
        elif width in (*_ROWS, *_ROW_RUNS) and rowid is not None:
            holders.add(page)
            found.highest = max(found.highest, rowid)
            if width in _ROW_RUNS:
                _add_row_run(found.row_runs, rowid, values)
        elif rowid is None and isinstance(last, int) and _of_a_row(values):
            found.highest = max(found.highest, last)
    # An inner page tells which ids its pages hold, also of those that are lost.
    told = [most for beneath, most in bounds(pages) if holders.intersection(beneath)]
    found.highest = max(found.highest, *told, 0)
    return found


def _of_a_row(values: tuple[Any, ...]) -> bool:
    """Whether a record of an index is of the rows: by key, or by cell."""
    by_key = len(values) == _KEY_INDEX and len(str(values[0])) == _KEY_DIGITS
    return by_key or len(values) == _CELL_INDEX


def _run(values: tuple[Any, ...]) -> Run | None:
    run_id, started_at, finished_at, provenance = values
    try:
        data = json.loads(provenance)
    except (TypeError, ValueError):
        return None
    if not (isinstance(run_id, str) and isinstance(started_at, str) and isinstance(data, dict)):
        return None
    return Run(run_id, started_at, finished_at, data)


def _add_row_run(row_runs: dict[int, tuple[Any, ...]], row: int, values: tuple[Any, ...]) -> None:
    """Keep the run columns of a row; of several states the last, which has the most retries."""
    run_id, seconds, host, finished_at, traceback, retries = (*values, 0)[1 : 1 + len(RUN_COLUMNS)]
    texts = (run_id, host, finished_at, traceback)
    numbers = (seconds, retries)
    if not all(isinstance(one, str) for one in texts):
        return
    # SQLite stores a whole number of seconds as such.
    if not all(isinstance(one, int | float) for one in numbers):
        return
    known = row_runs.get(row)
    if known is None or known[-1] <= retries:
        row_runs[row] = (run_id, float(seconds), host, finished_at, traceback, retries)


def _rows(pages: Pages, found: _Found) -> Iterator[Record]:
    """Yield the rows that are whole, each once, or a result after a failure."""
    failed: dict[str, bool] = {}
    for *_, rowid, values in records(pages, {*_ROWS}):
        record = None if rowid is None else _row(rowid, values, found)
        if record is None:
            continue
        if record.key not in failed or (failed[record.key] and not record.failed):
            failed[record.key] = record.failed
            yield record


def _row(rowid: int, values: tuple[Any, ...], found: _Found) -> Record | None:
    """The record of a row, if all of it is there."""
    there = dict(zip(FILE_COLUMNS, values[1:], strict=False))
    later = {name: value for added in _LATER for name, value in added.items()}
    columns = {**later, **there}
    inputs = columns["inputs"]
    ids = str(inputs).split(",") if inputs != "" else []
    try:
        used = dict(found.inputs[int(one)] for one in ids)
        run = found.row_runs.get(rowid)
        known = run is not None and run[0] in found.runs
        record = Record(tuple(columns[name] for name in ROW_COLUMNS), used, run if known else None)
        # Stored anew, every number and text is checked as it was the first time.
        row = row_of(record)
        again = record_of(row, None)
    except (CoinferError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return record if again.values == record.values else None
