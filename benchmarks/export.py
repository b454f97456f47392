"""A store as CSV, Parquet or JSON.

CSV and Parquet are for reading: flat columns, units in their names. JSON keeps everything and
can be merged into a store again (`benchmarks.merge`). Without run columns the same results give
the same bytes, whoever computed them, in whatever order.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from benchmarks.cells import LATENCY_PARTS
from benchmarks.store import Store
from benchmarks.store_rows import (
    CELL_COLUMNS,
    RESULT_COLUMNS,
    ROW_COLUMNS,
    RUN_COLUMNS,
    Record,
    flops_total,
    seconds_of,
)
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.serial import canonical_json

if TYPE_CHECKING:
    import pyarrow

FORMATS = ("csv", "parquet", "json")
JSON_FORMAT = "coinfer-rows"
JSON_VERSION = 1

LATENCIES = (*LATENCY_PARTS, "total_s")
# The fields of a plan; the cut has two of its own.
PLAN_FIELDS = ("model", "keep", "criterion", "schedule", "codec", "coder", "channel", "schema")

_WHOLE = {
    "seed",
    "device_flops",
    "encode_flops",
    "decode_flops",
    "server_flops",
    "total_flops",
    "evaluations",
    "plan_cut_index",
    "retries",
}
_REAL = {
    "snr_db",
    "max_accuracy_loss",
    "uplink_bits",
    "rate_bps",
    "energy_j",
    "accuracy",
    "accuracy_loss",
    "predicted_accuracy",
    "predicted_latency_s",
    "seconds",
    *(f"latency_{name}" for name in LATENCIES),
}
_NESTED = ("plan", "latency", "evidence", "ledger", "assumptions")
_BATCH_ROWS = 10_000

_Writer = Callable[[Store, IO[bytes], bool, dict[str, Any]], int]


def export(
    store: Store,
    format: str,
    out: Path | IO[bytes],
    *,
    run_columns: bool = False,
    filters: dict[str, Any] | None = None,
) -> int:
    """Write a store's rows in canonical order and return how many there were.

    Args:
        store: an open store.
        format: `csv`, `parquet` or `json`.
        out: a file, which is there whole or not at all; or a stream of bytes.
        run_columns: add who computed a row, when and for how long (these differ between runs).
        filters: as in `Store.rows`.

    Raises:
        CoinferError: for an unknown format, or when the file cannot be written.
    """
    writers: dict[str, _Writer] = {
        "csv": _write_csv,
        "json": _write_json,
        "parquet": _write_parquet,
    }
    if format not in writers:
        raise UnknownNameError("format", format, FORMATS)
    with store.snapshot():
        if not isinstance(out, Path):
            return writers[format](store, out, run_columns, filters or {})
        with atomic_file(out) as stream:
            return writers[format](store, stream, run_columns, filters or {})


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its name only when all of it is on disk.

    Raises:
        CoinferError: when it cannot be written; nothing is then left behind.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp's files are private; this one is to have the rights any new file has.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise CoinferError(f"cannot write '{path}': {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def columns(store: Store, run_columns: bool = False) -> list[str]:
    """Return the flat columns; evidence has one for each quantity that some row speaks of."""
    quantities: set[str] = set()
    for (text,) in store.query("SELECT DISTINCT evidence FROM rows"):
        quantities.update(json.loads(text))
    scalars = [name for name in RESULT_COLUMNS if name not in (*_NESTED, "status", "reason")]
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
        *(RUN_COLUMNS if run_columns else ()),
    ]


def flat_row(record: Record) -> dict[str, Any]:
    """Flatten a record; what it lacks is left out or None."""
    row = dict(zip(ROW_COLUMNS, record.values, strict=True))
    row |= dict(zip(RUN_COLUMNS, record.run or (), strict=False))
    plan, latency, evidence = (json.loads(row.pop(name) or "{}") for name in _NESTED[:3])
    cut = plan.pop("cut", {})
    return {
        **row,
        "total_flops": flops_total(row),
        "plan_cut_index": cut.get("index"),
        "plan_cut_after": cut.get("after"),
        **{
            f"plan_{name}": value if isinstance(value, str) else canonical_json(value)
            for name, value in plan.items()
        },
        **{f"latency_{name}": value for name, value in seconds_of(latency).items()},
        **{f"evidence_{name}": value for name, value in evidence.items()},
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
    # Arrow asks a stream where it is; a pipe cannot tell, a file on disk can.
    with tempfile.TemporaryFile() as spool:
        with pq.ParquetWriter(spool, schema) as writer:
            while batch := list(islice(rows, _BATCH_ROWS)):
                count += len(batch)
                arrays = [[row.get(name) for row in batch] for name in schema.names]
                typed = [
                    pa.array(array, type=field.type)
                    for array, field in zip(arrays, schema, strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(typed, schema=schema))
        spool.seek(0)
        while block := spool.read(1 << 20):
            out.write(block)
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
    for name in _NESTED:
        result[name] = None if result[name] is None else json.loads(result[name])
    data = {
        "key": row["key"],
        "cell": {name: row[name] for name in CELL_COLUMNS},
        "result": result,
        "inputs": record.inputs,
    }
    if run_columns and record.run is not None:
        data["run"] = dict(zip(RUN_COLUMNS, record.run, strict=True))
    return data
