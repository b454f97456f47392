"""Rows for the tests of the store: arbitrary ones, and plain ones by number."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from hypothesis import strategies as st

from benchmarks.cells import LATENCY_PARTS, Cell, Result
from benchmarks.rows import Row
from benchmarks.store_rows import ADDED_COLUMNS, FLOORS
from coinfer.plan import Evidence, Plan

WHOLE = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(allow_nan=False)
# Lone surrogates are not text: the store refuses them in names (tested by itself).
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)

_JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)

CELLS = st.builds(
    Cell,
    model=TEXT,
    method=TEXT,
    device=TEXT,
    server=TEXT,
    link=TEXT,
    snr_db=st.none() | REAL,
    seed=WHOLE,
    convention=TEXT,
    max_accuracy_loss=REAL,
)

_FREE: dict[str, Any] = {
    "status": st.sampled_from(["ok", "infeasible", "skipped", "failed"]),
    "reason": TEXT,
    "plan": st.none() | st.dictionaries(TEXT, _JSON, max_size=3),
    "plan_hash": st.none() | TEXT,
    "latency": st.dictionaries(TEXT, REAL, max_size=3)
    | st.fixed_dictionaries(dict.fromkeys((*LATENCY_PARTS, "total_s"), REAL)),
    "uplink_bits": st.none() | REAL,
    "uplink_p5_bits": st.none() | REAL,
    "uplink_p95_bits": st.none() | REAL,
    "uplink_symbols": st.none() | WHOLE,
    "rate_bps": st.none() | REAL,
    "bandwidth_hz": st.none() | REAL,
    "source_bits": st.none() | REAL,
    "input_bits": st.none() | REAL,
    "device_flops": st.none() | WHOLE,
    "server_flops": st.none() | WHOLE,
    "encode_flops": st.none() | WHOLE,
    "decode_flops": st.none() | WHOLE,
    "energy_j": st.none() | REAL,
    "accuracy": st.none() | REAL,
    "accuracy_loss": st.none() | REAL,
    "measured_accuracy": st.none() | REAL,
    "test_accuracy": st.none() | REAL,
    "floor_held": st.sampled_from(FLOORS),
    "predicted_accuracy": st.none() | REAL,
    "predicted_latency_s": st.none() | REAL,
    "evaluations": WHOLE,
    "evidence": st.dictionaries(TEXT, TEXT, max_size=3),
    "ledger": st.lists(st.tuples(TEXT, WHOLE, REAL), max_size=2).map(tuple),
    "assumptions": st.lists(TEXT, max_size=2).map(tuple),
}

# A result need not be possible to be stored.
RESULTS = st.builds(Result, **_FREE)

_AMOUNT = st.none() | st.floats(min_value=0)
_COUNT = st.integers(0, 2**63 - 1)
_SHARE = st.none() | st.floats(0, 1)
_BOUNDED: dict[str, Any] = {
    **dict.fromkeys(("uplink_bits", "uplink_p5_bits", "uplink_p95_bits", "rate_bps"), _AMOUNT),
    **dict.fromkeys(("bandwidth_hz", "source_bits", "input_bits", "energy_j"), _AMOUNT),
    **dict.fromkeys(("device_flops", "server_flops", "encode_flops"), st.none() | _COUNT),
    **dict.fromkeys(("decode_flops", "uplink_symbols"), st.none() | _COUNT),
    **dict.fromkeys(("accuracy", "measured_accuracy", "test_accuracy"), _SHARE),
    **dict.fromkeys(("predicted_accuracy", "accuracy_loss"), _SHARE),
    "evaluations": _COUNT,
    "evidence": st.dictionaries(TEXT, st.sampled_from(get_args(Evidence)), max_size=3),
    "ledger": st.lists(st.tuples(TEXT, _COUNT, st.floats(min_value=0)), max_size=2).map(tuple),
}
_PARTS = st.lists(st.floats(0, 1e300), min_size=len(LATENCY_PARTS), max_size=len(LATENCY_PARTS))

PLAN: dict[str, Any] = {"model": "alexnet", "cut": {"index": 3, "after": "features.2"}, "keep": []}


def _possible(result: Result, parts: list[float]) -> Result:
    if result.status != "ok":
        return replace(result, plan=None, plan_hash=None, latency={})
    latency = {**dict(zip(LATENCY_PARTS, parts, strict=True)), "total_s": sum(parts)}
    return replace(result, plan=PLAN, plan_hash=Plan.from_data(PLAN).hash, latency=latency)


SOUND_RESULTS = st.builds(_possible, st.builds(Result, **{**_FREE, **_BOUNDED}), _PARTS)
"""Results that some run might have computed."""


def _rows(results: st.SearchStrategy[Result]) -> st.SearchStrategy[Row]:
    return st.builds(
        Row,
        cell=CELLS,
        result=results,
        inputs=st.dictionaries(TEXT, TEXT, max_size=3),
        seconds=REAL,
        host=TEXT,
        finished_at=TEXT,
        traceback=TEXT,
    )


ROWS = _rows(RESULTS)
SOUND_ROWS = _rows(SOUND_RESULTS)


def row(number: int = 0, status: Any = "ok", **changes: Any) -> Row:
    """A plain row: `number` is its seed; `changes` are fields of the result, `inputs` or `cell`."""
    inputs = changes.pop("inputs", {"method": "m1", "link": f"l{number % 3}"})
    cell = changes.pop("cell", None) or Cell(
        "alexnet", "neurosurgeon", "pi", "p100", "3g", snr_db=None, seed=number
    )
    parts = {"device_s": 0.1 * number, "uplink_s": math.inf, "total_s": math.inf}
    known: dict[str, Any] = {
        "plan": PLAN,
        "plan_hash": Plan.from_data(PLAN).hash,
        "latency": {**dict.fromkeys(LATENCY_PARTS, 0.0), **parts},
        "uplink_bits": 1e6 / 3,
        "device_flops": 10**9 + number,
        "evidence": {"latency": "analytic"},
        "ledger": (("search", 22, 0.5),),
        "assumptions": ("1 MHz", "näher"),
    }
    if status != "ok":
        known = {"reason": f"why {number}"}
    result = Result(status, **{**known, **changes})
    return Row(cell, result, inputs, 0.25, "host", "2024-05-01T12:00:00Z", "Traceback ...")


# What a plan with symbols says, and what an older schema could not.
NEWER: dict[str, Any] = {
    "uplink_bits": None,
    "uplink_p5_bits": 0.5,
    "uplink_p95_bits": math.inf,
    "uplink_symbols": 1024,
    "bandwidth_hz": 1e6,
    "source_bits": 24576.0,
    "input_bits": 98304.0,
    "measured_accuracy": 0.875,
    "test_accuracy": 0.8515625,
    "floor_held": "undecided",
}


def made_older(path: Path, version: int) -> None:
    """Turn a store's file into what an older schema wrote."""
    connection = sqlite3.connect(path)
    for added in [columns for brought, columns in ADDED_COLUMNS.items() if brought > version]:
        for name in added:
            connection.execute(f"ALTER TABLE rows DROP COLUMN {name}")
    if version == 1:
        connection.execute("DROP INDEX rows_by_cell")
        connection.execute("ALTER TABLE row_runs DROP COLUMN retries")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()


def run_fields(one: Row | None) -> tuple[Any, ...]:
    """The run columns, which do not count when rows are compared."""
    assert one is not None
    return one.seconds, one.host, one.finished_at, one.traceback
