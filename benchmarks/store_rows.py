"""A row as the columns of the store, and back.

Written out by hand: a sweep stores 100,000 rows in seconds, and the mapping is the file format.
Columns carry no type affinity, so that a number comes back as the type it went in as.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import isfinite
from operator import index
from struct import pack
from typing import Any, NamedTuple, get_args

from benchmarks.cells import Cell, Floor, Result, Status
from benchmarks.rows import Row
from coinfer.errors import CoinferError
from coinfer.serial import canonical_json

CELL_COLUMNS = (
    "model",
    "method",
    "device",
    "server",
    "link",
    "snr_db",
    "seed",
    "convention",
    "max_accuracy_loss",
)
RESULT_COLUMNS = (
    "status",
    "reason",
    "plan",
    "plan_hash",
    "latency",
    "uplink_bits",
    "uplink_p5_bits",
    "uplink_p95_bits",
    "uplink_symbols",
    "rate_bps",
    "bandwidth_hz",
    "source_bits",
    "input_bits",
    "device_flops",
    "server_flops",
    "encode_flops",
    "decode_flops",
    "energy_j",
    "accuracy",
    "accuracy_loss",
    "measured_accuracy",
    "test_accuracy",
    "floor_held",
    "predicted_accuracy",
    "predicted_latency_s",
    "evaluations",
    "evidence",
    "ledger",
    "assumptions",
)
ROW_COLUMNS = ("key", *CELL_COLUMNS, *RESULT_COLUMNS)
RUN_COLUMNS = ("run_id", "seconds", "host", "finished_at", "traceback", "retries")
STATUSES = get_args(Status)
FLOORS = get_args(Floor)

# Columns that older schemas lack, by the version that brought them, each with what an older row
# holds there. In the file they come last, in this order: a migration can only append.
ADDED_COLUMNS: dict[int, dict[str, str | None]] = {
    3: {
        "uplink_p5_bits": None,
        "uplink_p95_bits": None,
        "uplink_symbols": None,
        "bandwidth_hz": None,
        "source_bits": None,
        "input_bits": None,
        "measured_accuracy": None,
        "test_accuracy": None,
        "floor_held": "",
    },
}
_LATER = {name: value for added in ADDED_COLUMNS.values() for name, value in added.items()}
# The columns of the table in the order of the file, behind the id of the row.
FILE_COLUMNS = (*(name for name in ROW_COLUMNS if name not in _LATER), "inputs", *_LATER)

# What the columns hold: JSON texts of these types, whole numbers, real numbers; all others text.
NESTED_COLUMNS: dict[str, type] = {
    "plan": dict,
    "latency": dict,
    "evidence": dict,
    "ledger": list,
    "assumptions": list,
}
WHOLE_COLUMNS = frozenset(
    {
        "seed",
        "uplink_symbols",
        "device_flops",
        "server_flops",
        "encode_flops",
        "decode_flops",
        "evaluations",
    }
)
REAL_COLUMNS = frozenset(
    {
        "snr_db",
        "max_accuracy_loss",
        "uplink_bits",
        "uplink_p5_bits",
        "uplink_p95_bits",
        "rate_bps",
        "bandwidth_hz",
        "source_bits",
        "input_bits",
        "energy_j",
        "accuracy",
        "accuracy_loss",
        "measured_accuracy",
        "test_accuracy",
        "predicted_accuracy",
        "predicted_latency_s",
    }
)
# Those that may hold nothing instead.
OPTIONAL_COLUMNS = (WHOLE_COLUMNS | REAL_COLUMNS | {"plan", "plan_hash"}) - {
    "seed",
    "max_accuracy_loss",
    "evaluations",
}


class UnreadableRowError(CoinferError):
    """A stored row that holds something else than a row: the message names key and column."""


class Record(NamedTuple):
    """A row as it is stored.

    Attributes:
        values: of ROW_COLUMNS; plan, latency, evidence, ledger and assumptions are JSON texts.
        inputs: the row's inputs.
        run: of RUN_COLUMNS; None where not known (merged without run columns).
    """

    values: tuple[Any, ...]
    inputs: dict[str, str]
    run: tuple[Any, ...] | None

    @property
    def key(self) -> str:
        """Key of the row."""
        return str(self.values[0])

    @property
    def failed(self) -> bool:
        """Whether the row is no result, and so never a cache hit."""
        return bool(self.values[_STATUS] == "failed")


_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")
_STATUS = ROW_COLUMNS.index("status")
_MOST = 2**63  # SQLite's whole numbers have 64 bits
_encode_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def record_of(row: Row, run_id: str | None) -> Record:
    """Return a row as a record; without a run id its run columns are left out.

    Raises:
        CoinferError: when a number is NaN or not of its field's kind, or the status is unknown.
    """
    run = (
        None
        if run_id is None
        else (run_id, float(row.seconds), _text(row.host), row.finished_at, _text(row.traceback), 0)
    )
    return Record(_values(row), row.inputs, run)


def _values(row: Row) -> tuple[Any, ...]:
    cell, result = row.cell, row.result
    if result.status not in STATUSES:
        raise CoinferError(
            f"the status of a row is '{result.status}'; allowed are {', '.join(STATUSES)}"
        )
    if result.floor_held not in FLOORS:
        raise CoinferError(
            f"floor_held of a row is '{result.floor_held}'; allowed are nothing, "
            f"{', '.join(filter(None, FLOORS))}"
        )
    try:
        return (
            row.key,
            cell.model,
            cell.method,
            cell.device,
            cell.server,
            cell.link,
            _real("snr_db", cell.snr_db),
            _whole("seed", cell.seed),
            cell.convention,
            _real("max_accuracy_loss", cell.max_accuracy_loss),
            result.status,
            _text(result.reason),
            None if result.plan is None else _json(result.plan),
            result.plan_hash,
            _latency_json(result.latency),
            _real("uplink_bits", result.uplink_bits),
            _real("uplink_p5_bits", result.uplink_p5_bits),
            _real("uplink_p95_bits", result.uplink_p95_bits),
            _whole("uplink_symbols", result.uplink_symbols),
            _real("rate_bps", result.rate_bps),
            _real("bandwidth_hz", result.bandwidth_hz),
            _real("source_bits", result.source_bits),
            _real("input_bits", result.input_bits),
            _whole("device_flops", result.device_flops),
            _whole("server_flops", result.server_flops),
            _whole("encode_flops", result.encode_flops),
            _whole("decode_flops", result.decode_flops),
            _real("energy_j", result.energy_j),
            _real("accuracy", result.accuracy),
            _real("accuracy_loss", result.accuracy_loss),
            _real("measured_accuracy", result.measured_accuracy),
            _real("test_accuracy", result.test_accuracy),
            result.floor_held,
            _real("predicted_accuracy", result.predicted_accuracy),
            _real("predicted_latency_s", result.predicted_latency_s),
            _whole("evaluations", result.evaluations),
            _evidence_json(tuple(sorted(result.evidence.items()))),
            _ledger_json(tuple(map(tuple, result.ledger))),
            _texts_json(tuple(result.assumptions)),
        )
    except CoinferError as error:
        raise CoinferError(f"row {describe(cell)} cannot be stored: {error}") from None


def row_of(record: Record) -> Row:
    """Build the row from its record.

    Raises:
        UnreadableRowError: when a text in it is not the JSON that it must be.
    """
    cell = Cell(*record.values[1:_STATUS])
    result = dict(zip(RESULT_COLUMNS, record.values[_STATUS:], strict=True)) | nested_of(record)
    if record.run is None:
        return Row(cell, Result(**result), record.inputs)
    _, seconds, host, finished_at, traceback, _ = record.run
    return Row(cell, Result(**result), record.inputs, seconds, host, finished_at, traceback)


def nested_of(record: Record) -> dict[str, Any]:
    """Return the columns of a record that are JSON texts, as the fields of a result.

    Raises:
        UnreadableRowError: when one is not the JSON that it must be.
    """
    row = dict(zip(ROW_COLUMNS, record.values, strict=True))
    nested: dict[str, Any] = {}
    for name, kind in NESTED_COLUMNS.items():
        try:
            if row[name] is None and name in OPTIONAL_COLUMNS:
                nested[name] = None
                continue
            data = json.loads(row[name])
            if not isinstance(data, kind):
                raise TypeError(f"not a {kind.__name__}")
            nested[name] = _FIELD_OF.get(name, kind)(data)
        except (ValueError, TypeError, RecursionError) as error:
            raise UnreadableRowError(
                f"row {row['key']}: column {name} is not readable ({error})"
            ) from error
    return nested


def seconds_of(data: Mapping[str, Any]) -> dict[str, float]:
    """Latency parts from JSON, where an infinity is the string `inf`."""
    return {name: float(value) for name, value in data.items()}


def ledger_of(data: list[Any]) -> tuple[tuple[str, int, float], ...]:
    """Ledger from JSON, where an infinity is the string `inf`."""
    return tuple((phase, evaluations, float(epochs)) for phase, evaluations, epochs in data)


# What makes a field of a result from its JSON, where the JSON itself is not it.
_FIELD_OF: dict[str, Callable[[Any], Any]] = {
    "latency": seconds_of,
    "ledger": ledger_of,
    "assumptions": tuple,
}


def counted(number: int, thing: str, things: str = "") -> str:
    """Return a number of things: `1 row`, `2 rows`; `things` is the plural where `s` is not."""
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"


def flops_total(row: Mapping[str, Any]) -> int | None:
    """`Result.total_flops` of a row's columns."""
    parts = [row[f"{part}_flops"] for part in ("device", "encode", "decode", "server")]
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


@lru_cache(maxsize=65_536)
def ordered(text: str) -> str:
    """Return a text that sorts as the given one does when numbers in it count as numbers.

    A number (without sign) becomes the 16 digits of its bits, whose order is that of the numbers.
    """
    numbers = _NUMBER.sub(lambda found: pack(">d", float(found[0])).hex(), text)
    return f"{numbers}\0{text}"


def describe(cell: Cell) -> str:
    """Return a cell as one short phrase: `alexnet, neurosurgeon, pi -> p100 over 3g, ...`."""
    snr = "" if cell.snr_db is None else f" at {cell.snr_db:g} dB"
    return (
        f"{cell.model}, {cell.method}, {cell.device} -> {cell.server} over {cell.link}{snr}, "
        f"{cell.convention}, seed {cell.seed}, max_accuracy_loss {cell.max_accuracy_loss:g}"
    )


def _json(data: Any) -> str:
    try:
        return _encode_json(data)
    except ValueError:
        # Slower, and writes an infinity as a string.
        return canonical_json(data)


def _latency_json(latency: Mapping[str, float]) -> str:
    # Three times as fast as the encoder; an infinity is a string, as everywhere.
    parts: list[str] = []
    for name in sorted(latency):
        number = _real(name, latency[name])
        if number is None:
            raise CoinferError(f"latency.{name} is None; allowed is a number")
        text = repr(number) if isfinite(number) else f'"{number!r}"'
        parts.append(f"{_name_json(name)}:{text}")
    return "{" + ",".join(parts) + "}"


# The rows of a sweep share most of the following texts.


@lru_cache(maxsize=1024)
def _name_json(name: str) -> str:
    return _json(name)


@lru_cache(maxsize=1024)
def _evidence_json(evidence: tuple[tuple[str, str], ...]) -> str:
    return _json(dict(evidence))


@lru_cache(maxsize=1024)
def _texts_json(texts: tuple[str, ...]) -> str:
    return _json(texts)


@lru_cache(maxsize=1024)
def _ledger_json(ledger: tuple[tuple[str, int, float], ...]) -> str:
    return _json(
        [
            [phase, _whole("ledger", evaluations), _real("ledger", epochs)]
            for phase, evaluations, epochs in ledger
        ]
    )


def _real(name: str, value: Any) -> float | None:
    """A float without NaN, in which -0.0 is 0.0: equal numbers have equal text."""
    if value is None:
        return None
    number = float(value) + 0.0
    if number != number:
        raise CoinferError(f"{name} is NaN; allowed is a number (inf included) or nothing")
    return number


def _whole(name: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        whole = int(value) if isinstance(value, float) and value.is_integer() else index(value)
    except TypeError:
        raise CoinferError(f"{name} is {value!r}; allowed is a whole number or nothing") from None
    if not -_MOST <= whole < _MOST:
        raise CoinferError(f"{name} is {str(whole)[:20]}...; allowed: whole numbers of 64 bits")
    return int(whole)


def _text(text: str) -> str:
    """Text that UTF-8 can hold: file names in a message may carry lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
