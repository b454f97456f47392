"""Several people's results in one store: stores and JSON exports merged, all or nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.cells import Cell, Result
from benchmarks.export import JSON_FORMAT, JSON_READ
from benchmarks.outputs import is_sqlite, refuse_beside, resolved
from benchmarks.rows import Row
from benchmarks.soundness import impossible
from benchmarks.store import Run, Store
from benchmarks.store_rows import (
    ROW_COLUMNS,
    RUN_COLUMNS,
    Record,
    counted,
    describe,
    record_of,
    row_of,
)
from coinfer.errors import CoinferError
from coinfer.serial import from_data

_BATCH_ROWS = 1000
_KEYS_NAMED = 3


@dataclass(frozen=True)
class Merged:
    """What a merge did: rows added, rows whose failure gave way, rows that were there already."""

    added: int
    replaced: int
    known: int


@dataclass(frozen=True)
class _Source:
    """A store or an export, read."""

    path: Path
    runs: list[Run]
    records: Iterator[Record]


def merge(target: Path, sources: Sequence[Path]) -> Merged:
    """Copy rows, with their runs and inputs, into a store, which is made when it is missing.

    A row that is there stays; a `failed` one gives way to any other. Results are deterministic,
    so a key with two results means that something was not part of the key: nothing is merged.

    Args:
        target: the store to write.
        sources: stores, or files of `export(..., "json", ...)`.

    Raises:
        CoinferError: when results differ (the message names the keys), or a file is not right;
            the target is then as it was.
    """
    for source in sources:
        if not source.is_file():
            why = "not a file" if source.exists() else "no such file"
            raise CoinferError(f"cannot merge '{source}': {why}")
        if target.exists() and source.samefile(target):
            raise CoinferError(f"cannot merge '{source}' into itself")
    if target.exists():
        return _merge(target, sources)
    target = resolved(target)
    if not target.parent.is_dir():
        raise CoinferError(f"store '{target}': the folder '{target.parent}' does not exist")
    refuse_beside(target)
    # A new store gets its name once all is in it.
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        merged = _merge(part, sources)
        try:
            os.link(part, target)
        except FileExistsError:
            raise CoinferError(f"'{target}' was made by another process; merge again") from None
        except OSError:  # a file system without hard links
            part.replace(target)
        return merged
    finally:
        for suffix in ("", "-wal", "-shm"):
            part.with_name(part.name + suffix).unlink(missing_ok=True)


def _merge(target: Path, sources: Sequence[Path]) -> Merged:
    merged = Merged(0, 0, 0)
    conflicts: dict[str, str] = {}
    with Store.open(target) as store, store.transaction():
        for path in sources:
            with _opened(path) as source:
                store.put_runs(source.runs)
                while batch := list(islice(source.records, _BATCH_ROWS)):
                    merged = _merge_batch(store, source, batch, merged, conflicts)
        if conflicts:
            named = "; ".join(list(conflicts.values())[:_KEYS_NAMED])
            more = f"; and {len(conflicts) - _KEYS_NAMED} more" * (len(conflicts) > _KEYS_NAMED)
            raise CoinferError(
                f"nothing was merged, {counted(len(conflicts), 'key has', 'keys have')} different "
                f"results: {named}{more}"
            )
    return merged


def _merge_batch(
    store: Store,
    source: _Source,
    batch: list[Record],
    merged: Merged,
    conflicts: dict[str, str],
) -> Merged:
    known = {record.key: record for record in store.records(key=[r.key for r in batch])}
    failures = {key for key, record in known.items() if record.failed}
    fresh: dict[str, Record] = {}
    for record in batch:
        there = known.get(record.key)
        if there is None or (there.failed and not record.failed):
            known[record.key] = fresh[record.key] = record
        elif not there.failed and not record.failed and there.values != record.values:
            conflicts.setdefault(record.key, _difference(there, record, source.path))
    store.put_records(list(fresh.values()))
    replaced = len(failures.intersection(fresh))
    return Merged(
        merged.added + len(fresh) - replaced,
        merged.replaced + replaced,
        merged.known + len(batch) - len(fresh),
    )


def _difference(there: Record, record: Record, path: Path) -> str:
    """Name the key, the cell and the first column in which two results differ."""
    ours, theirs, name = next(
        (one, other, name)
        for one, other, name in zip(there.values, record.values, ROW_COLUMNS, strict=True)
        if one != other
    )
    cell = describe(row_of(record).cell)
    return f"{record.key} ({cell}): {name} is {_short(ours)}, in '{path}' {_short(theirs)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    if not is_sqlite(path):
        yield _read_json(path)
        return
    with Store.open(path, readonly=True) as store, store.snapshot():
        yield _Source(path, store.runs(), store.records())


def _read_json(path: Path) -> _Source:
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise CoinferError(
            f"cannot merge '{path}': neither a coinfer store nor JSON; accepted are stores and "
            "files of 'coinfer export --format json'"
        ) from None
    if not isinstance(data, dict) or data.get("format") != JSON_FORMAT:
        raise CoinferError(
            f"cannot merge '{path}': not a file of 'coinfer export --format json' (its 'format' "
            f"is not '{JSON_FORMAT}')"
        )
    if data.get("version") not in JSON_READ:
        raise CoinferError(
            f"cannot merge '{path}': version {data.get('version')!r}; accepted are "
            f"{', '.join(map(str, JSON_READ))}"
        )
    try:
        runs = [from_data(run, Run) for run in data.get("runs", [])]
        rows = list(data["rows"])
    except (CoinferError, KeyError, TypeError, AttributeError) as error:
        raise CoinferError(f"cannot merge '{path}': {_cause(error)}") from None
    return _Source(path, runs, _json_records(path, rows, {run.run_id for run in runs}))


def _json_records(path: Path, rows: list[Any], runs: set[str]) -> Iterator[Record]:
    for number, data in enumerate(rows, start=1):
        try:
            run: dict[str, Any] = data.get("run", {})
            row = Row(
                from_data(data["cell"], Cell),
                from_data(data["result"], Result),
                from_data(data["inputs"], dict[str, str]),
            )
            if row.key != data["key"]:
                raise CoinferError(
                    f"its key is {data['key']}, its content has {row.key}; edited by hand, or "
                    "of another version?"
                )
            if fault := impossible(row.result):
                raise CoinferError(f"no run computes it: {fault}")
            if run and run["run_id"] not in runs:
                raise CoinferError(f"its run {run['run_id']} is not among the file's runs")
            yield record_of(row, None)._replace(run=_run_of(run) if run else None)
        except (CoinferError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise CoinferError(f"cannot merge '{path}': row {number}: {_cause(error)}") from None


def _run_of(run: dict[str, Any]) -> tuple[Any, ...]:
    kinds = (str, float, str, str, str, int)
    return tuple(kind(run[name]) for kind, name in zip(kinds, RUN_COLUMNS, strict=True))


def _cause(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error)
