"""A store as CSV, Parquet or JSON.

CSV and Parquet are for reading: flat columns, units in their names; columns `inputs_...` hold the
hashes of what a row was computed from (`inputs_method` and `inputs_harness` of the code, and so
on). JSON keeps everything and can be merged into a store again (`benchmarks.merge`). Without run
columns the same results give the same bytes, whoever computed them, in whatever order.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from benchmarks.cells import LATENCY_PARTS
from benchmarks.outputs import atomic_file, is_stream, refuse_database
from benchmarks.salvage import salvaged
from benchmarks.store import Store
from benchmarks.store_rows import (
    CELL_COLUMNS,
    NESTED_COLUMNS,
    REAL_COLUMNS,
    RESULT_COLUMNS,
    ROW_COLUMNS,
    RUN_COLUMNS,
    WHOLE_COLUMNS,
    Record,
    flops_total,
    nested_of,
)
from benchmarks.store_schema import UnreadableStoreError
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.serial import canonical_json

if TYPE_CHECKING:
    import pyarrow

FORMATS = ("csv", "parquet", "json")
JSON_FORMAT = "coinfer-rows"
JSON_VERSION = 2
# Version 1 lacks fields of a result, which are then empty.
JSON_READ = (1, JSON_VERSION)

LATENCIES = (*LATENCY_PARTS, "total_s")
# The fields of a plan; the cut has two of its own.
PLAN_FIELDS = (
    "model",
    "keep",
    "criterion",
    "schedule",
    "codec",
    "coder",
    "channel",
    "part_sources",
    "schema",
)

_WHOLE = {*WHOLE_COLUMNS, "total_flops", "plan_cut_index", "retries"}
_REAL = {*REAL_COLUMNS, "seconds", *(f"latency_{name}" for name in LATENCIES)}
_BATCH_ROWS = 10_000

_Writer = Callable[[Store, IO[bytes], bool, dict[str, Any]], int]


@dataclass(frozen=True)
class Exported:
    """What an export wrote, of a sound store or of what is left of one.

    Attributes:
        rows: how many rows.
        damage: what is wrong with the store; None when it is sound.
        lost: rows that could not be read, at least.
        without_run: rows that lost their run columns, or never had any.
    """

    rows: int
    damage: str | None = None
    lost: int = 0
    without_run: int = 0


def export_file(
    path: Path, format: str, out: Path | IO[bytes], *, run_columns: bool = False
) -> Exported:
    """Write the rows of a store's file; of a damaged one, those that can still be read.

    Args:
        path: the store.
        format, out, run_columns: as in `export`.

    Raises:
        CoinferError: as `export` does; when the file is no store, or no row of it can be read.
    """
    try:
        with Store.open(path, readonly=True) as store:
            return Exported(export(store, format, out, run_columns=run_columns))
    except UnreadableStoreError as error:
        with salvaged(path, error) as saved:
            rows = export(saved.store, format, out, run_columns=run_columns)
            return Exported(rows, error.problem, saved.lost, saved.without_run)


def export(
    store: Store,
    format: str,
    out: Path | IO[bytes],
    *,
    run_columns: bool = False,
    filters: dict[str, Any] | None = None,
) -> int:
    """Write a store's rows in canonical order and return how many there were.

    Nothing is written before all has been read.

    Args:
        store: an open store.
        format: `csv`, `parquet` or `json`.
        out: a file, which is there whole or not at all; or a stream of bytes.
        run_columns: add who computed a row, when and for how long (these differ between runs).
        filters: as in `Store.rows`.

    Raises:
        CoinferError: for an unknown format, when the store turns out to be damaged, when the file
            is a database or cannot be written.
    """
    writers: dict[str, _Writer] = {
        "csv": _write_csv,
        "json": _write_json,
        "parquet": _write_parquet,
    }
    if format not in writers:
        raise UnknownNameError("format", format, FORMATS)
    if isinstance(out, Path) and not is_stream(out):
        refuse_database(out, store.path)
        with atomic_file(out) as stream, store.snapshot():
            return writers[format](store, stream, run_columns, filters or {})
    try:
        with tempfile.TemporaryFile() as spool:
            with store.snapshot():
                count = writers[format](store, spool, run_columns, filters or {})
            spool.seek(0)
            _copy(spool, out)
            return count
    except BrokenPipeError:  # the reader has seen enough
        raise
    except OSError as error:
        raise CoinferError(
            f"cannot write a temporary file in '{tempfile.gettempdir()}': "
            f"{error.strerror or error}; TMPDIR names another folder"
        ) from error


def _copy(spool: IO[bytes], out: Path | IO[bytes]) -> None:
    """Copy a file to a stream, or to what a path names that is no file."""
    try:
        if isinstance(out, Path):
            with out.open("wb") as stream:
                shutil.copyfileobj(spool, stream)
        else:
            shutil.copyfileobj(spool, out)
            out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"'{out}'" if isinstance(out, Path) else "the output"
        raise CoinferError(f"cannot write {where}: {error.strerror or error}") from error


def columns(store: Store, run_columns: bool = False) -> list[str]:
    """Return the flat columns.

    Evidence has one for each quantity that some row speaks of, and inputs one for each component
    that determined some row.
    """
    quantities: set[str] = set()
    for (text,) in store.query("SELECT DISTINCT evidence FROM rows"):
        quantities.update(json.loads(text))
    components: set[str] = set()
    for (text,) in store.query("SELECT DISTINCT inputs FROM rows"):
        components.update(store.inputs_of(text))
    scalars = [name for name in RESULT_COLUMNS if name not in (*NESTED_COLUMNS, "status", "reason")]
    scalars.insert(scalars.index("decode_flops") + 1, "total_flops")
    scalars.remove("plan_hash")
    return [
        "key",
        *CELL_COLUMNS,
        "status",
        "reason",
        "plan_hash",
        "plan_cut_index",
        "plan_cut_after",
        *(f"plan_{name}" for name in PLAN_FIELDS),
        *(f"latency_{name}" for name in LATENCIES),
        *scalars,
        *(f"evidence_{name}" for name in sorted(quantities)),
        "ledger",
        "assumptions",
        *(f"inputs_{name}" for name in sorted(components)),
        *(RUN_COLUMNS if run_columns else ()),
    ]


def flat_row(record: Record) -> dict[str, Any]:
    """Flatten a record; what it lacks is left out or None."""
    row = dict(zip(ROW_COLUMNS, record.values, strict=True))
    row |= dict(zip(RUN_COLUMNS, record.run or (), strict=False))
    nested = nested_of(record)
    plan, latency, evidence = (nested[name] or {} for name in ("plan", "latency", "evidence"))
    cut = plan.pop("cut", None)
    cut = cut if isinstance(cut, dict) else {}
    return {
        **row,
        "total_flops": flops_total(row),
        "plan_cut_index": cut.get("index"),
        "plan_cut_after": cut.get("after"),
        **{
            f"plan_{name}": value if isinstance(value, str) else canonical_json(value)
            for name, value in plan.items()
        },
        **{f"latency_{name}": value for name, value in latency.items()},
        **{f"evidence_{name}": value for name, value in evidence.items()},
        **{f"inputs_{name}": value for name, value in record.inputs.items()},
    }


def _flat_rows(store: Store, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return map(flat_row, store.records(**filters))


def _write_csv(store: Store, out: IO[bytes], run_columns: bool, filters: dict[str, Any]) -> int:
    names = columns(store, run_columns)
    line = io.StringIO(newline="")
    # With its own line end the writer quotes both kinds of line break in a field; what is written
    # ends in a plain newline.
    writer = csv.writer(line, lineterminator="\r\n")

    def write(fields: Iterable[Any]) -> None:
        writer.writerow(fields)
        out.write(f"{line.getvalue()[:-2]}\n".encode())
        line.seek(0)
        line.truncate()

    write(names)
    count = 0
    for row in _flat_rows(store, filters):
        write(row.get(name) for name in names)
        count += 1
    return count


def _write_parquet(store: Store, out: IO[bytes], run_columns: bool, filters: dict[str, Any]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _arrow_type(name)) for name in columns(store, run_columns)])
    rows = _flat_rows(store, filters)
    count = 0
    with pq.ParquetWriter(out, schema) as writer:
        while batch := list(islice(rows, _BATCH_ROWS)):
            count += len(batch)
            arrays = [[row.get(name) for row in batch] for name in schema.names]
            typed = [
                pa.array(array, type=field.type)
                for array, field in zip(arrays, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(typed, schema=schema))
    return count


def _arrow_type(name: str) -> pyarrow.DataType:
    import pyarrow as pa

    if name in _WHOLE:
        return pa.int64()
    return pa.float64() if name in _REAL else pa.string()


def _write_json(store: Store, out: IO[bytes], run_columns: bool, filters: dict[str, Any]) -> int:
    """One row a line, so that a diff or a grep of two exports shows rows."""
    head = {"format": JSON_FORMAT, "version": JSON_VERSION}
    out.write(f"{canonical_json(head)[:-1]},\n".encode())
    if run_columns:
        used = {record.run[0] for record in store.records(**filters) if record.run is not None}
        runs = [vars(run) for run in store.runs() if run.run_id in used]
        out.write(f'"runs":{canonical_json(runs)},\n'.encode())
    out.write(b'"rows":[')
    count = 0
    for count, record in enumerate(store.records(**filters), start=1):
        separator = b"\n" if count == 1 else b",\n"
        out.write(separator + canonical_json(json_row(record, run_columns)).encode())
    out.write(b"\n]}\n")
    return count


def json_row(record: Record, run_columns: bool) -> dict[str, Any]:
    """Return a record as the JSON of one row, complete in itself."""
    row = dict(zip(ROW_COLUMNS, record.values, strict=True))
    result = {name: row[name] for name in RESULT_COLUMNS}
    result |= nested_of(record)
    data = {
        "key": row["key"],
        "cell": {name: row[name] for name in CELL_COLUMNS},
        "result": result,
        "inputs": record.inputs,
    }
    if run_columns and record.run is not None:
        data["run"] = dict(zip(RUN_COLUMNS, record.run, strict=True))
    return data
