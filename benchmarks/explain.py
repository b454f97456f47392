"""Why a cell is not found in a store.

A row is found by the hash of its cell and of its inputs (everything else that determines the
result). So a miss has one of three causes: nobody computed that cell; somebody did, from other
inputs; or it failed, and failures are never reused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.cells import Cell
from benchmarks.rows import row_key
from benchmarks.store import Store
from benchmarks.store_rows import CELL_COLUMNS, counted, describe

# What a reader calls the components of a row's inputs; others are called as they are.
COMPONENTS = {
    "task": "the network, its source or the accuracy floor",
    "graph": "the traced network",
    "convention": "the rules of the convention",
    "method": "the source of the method",
    "harness": "the source of the harness",
    "device": "the numbers of the device",
    "server": "the numbers of the server",
    "link": "the numbers of the link",
    "data": "the data",
    "measurements": "the table of measurements",
    "selections": "the frozen selections",
    "numpy": "the version of numpy",
    "python": "the version of Python",
}

Kind = Literal["found", "failed", "other inputs", "other key", "no such cell", "empty store"]

_DIGITS = 12
_VALUES_NAMED = 6
_ROWS_NAMED = 3


@dataclass(frozen=True)
class Miss:
    """Why one cell is not found.

    Attributes:
        cell: the cell.
        key: under which it was looked for.
        kind: the cause.
        changed: components of the inputs that differ from the most recent row of that cell.
    """

    cell: Cell
    key: str
    kind: Kind
    changed: tuple[str, ...] = ()


def find_miss(store: Store, cell: Cell, inputs: dict[str, str]) -> Miss:
    """Return the cause of a miss (one look-up or two; see `explain_miss` for the whole story)."""
    key = row_key(cell, inputs)
    status = store.query("SELECT status FROM rows WHERE key = ?", (key,))
    if status:
        return Miss(cell, key, "failed" if status[0][0] == "failed" else "found")
    others = _same_cell(store, cell)
    if others:
        changed = tuple(sorted(name for name, _, _ in _changes(others[0]["inputs"], inputs)))
        return Miss(cell, key, "other inputs" if changed else "other key", changed)
    known = store.query("SELECT 1 FROM rows LIMIT 1")
    return Miss(cell, key, "no such cell" if known else "empty store")


def explain_miss(store: Store, cell: Cell, inputs: dict[str, str]) -> list[str]:
    """Say why a cell is not found in a store.

    Args:
        store: an open store.
        cell: in canonical form.
        inputs: the hashes of its inputs as they are now.

    Returns:
        Lines: the first names the cause, the others give the evidence.
    """
    miss = find_miss(store, cell, inputs)
    if miss.kind == "empty store":
        return ["the store has no rows"]
    if miss.kind == "found":
        return [f"it is there: {_status(store, miss.key)}"]
    if miss.kind == "failed":
        return [
            f"it is there, but failed: {_status(store, miss.key)}",
            "a failure is never reused; 'coinfer run --retry-failed' tries it again",
        ]
    if miss.kind == "no such cell":
        return ["no row of this cell", *_nearest(store, cell)]
    lines = []
    others = _same_cell(store, cell)
    for other in others[:_ROWS_NAMED]:
        changes = _changes(other["inputs"], inputs)
        if not changes:
            lines.append(f"the same cell and inputs, but keyed by another version; {_when(other)}")
        for name, old, new in changes:
            what = COMPONENTS.get(name, name)
            lines.append(f"{what} changed: {_short(old)} then, {_short(new)} now; {_when(other)}")
    if len(others) > _ROWS_NAMED:
        older = counted(len(others) - _ROWS_NAMED, "older row")
        lines.append(f"and {older} of this cell")
    return ["this cell was computed, but from other inputs", *lines]


def explain_all(
    store: Store, wanted: Iterable[tuple[Cell, dict[str, str]]], groups: int = 20
) -> list[str]:
    """Say why cells of a matrix are not found, alike ones together.

    Args:
        store: an open store.
        wanted: cells with their inputs.
        groups: how many groups to explain at most.

    Returns:
        Lines: a count, then for each cause how many cells, one of them, and its explanation.
    """
    found: dict[tuple[str, ...], list[tuple[Miss, dict[str, str]]]] = {}
    total = 0
    for cell, inputs in wanted:
        total += 1
        miss = find_miss(store, cell, inputs)
        if miss.kind != "found":
            # Failures, and cells nobody computed, differ by method before anything else.
            group = (miss.kind, *(miss.changed or (cell.model, cell.method)))
            found.setdefault(group, []).append((miss, inputs))
    missing = sum(map(len, found.values()))
    are = "is" if total == 1 else "are"
    lines = [f"{missing} of {counted(total, 'cell')} {are} not found"]
    for members in sorted(found.values(), key=len, reverse=True)[:groups]:
        miss, inputs = members[0]
        alike = "" if len(members) == 1 else f"{len(members)} cells alike, the first: "
        lines.append(f"{alike}{describe(miss.cell)}")
        lines += [f"  {line}" for line in explain_miss(store, miss.cell, inputs)]
    if len(found) > groups:
        lines.append(f"and {counted(len(found) - groups, 'more group')} of cells")
    return lines


def _same_cell(store: Store, cell: Cell) -> list[dict[str, Any]]:
    """Rows of this very cell, the most recent first."""
    # IS, unlike =, holds for an SNR that is None; the index serves both.
    where = " AND ".join(f"rows.{name} IS ?" for name in CELL_COLUMNS)
    found = store.query(
        "SELECT rows.key, rows.inputs, row_runs.finished_at, runs.started_at, "  # noqa: S608
        "runs.provenance FROM rows "
        "LEFT JOIN row_runs ON row_runs.row_id = rows.id "
        "LEFT JOIN runs ON runs.run_id = row_runs.run_id "
        f"WHERE {where} ORDER BY row_runs.finished_at DESC, rows.id DESC",
        [getattr(cell, name) for name in CELL_COLUMNS],
    )
    names = ("key", "inputs", "finished_at", "started_at", "provenance")
    rows = [dict(zip(names, values, strict=True)) for values in found]
    return [{**row, "inputs": store.inputs_of(row["inputs"])} for row in rows]


def _changes(old: dict[str, str], new: dict[str, str]) -> list[tuple[str, str | None, str | None]]:
    names = sorted(old.keys() | new.keys())
    return [(n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)]


def _short(value: str | None) -> str:
    return "not an input" if value is None else value[:_DIGITS]


def _when(row: dict[str, Any]) -> str:
    """When a row was computed and by which commit, as far as the store knows."""
    if row["started_at"] is None:
        return "when is not known (merged without run columns)"
    git = json.loads(row["provenance"]).get("git") or {}
    commit = str(git.get("commit", ""))[:_DIGITS]
    dirty = " with local changes" if git.get("dirty") else ""
    by = f"commit {commit}{dirty}" if commit else "no commit known"
    return f"computed {row['finished_at'] or row['started_at']}, {by}"


def _status(store: Store, key: str) -> str:
    row = store.get(key)
    assert row is not None
    at = f", computed {row.finished_at} on {row.host}" if row.finished_at else ""
    reason = f" ({row.result.reason})" if row.result.reason else ""
    return f"{row.result.status}{reason}{at}"


def _nearest(store: Store, cell: Cell) -> list[str]:
    """Rows that differ from a cell in as few fields as any."""
    same = " + ".join(f"({name} IS ?)" for name in CELL_COLUMNS)
    values = [getattr(cell, name) for name in CELL_COLUMNS]
    best = store.query(f"SELECT max({same}) FROM rows", values)[0][0]  # noqa: S608 (constants)
    if best < len(CELL_COLUMNS) - 1:
        nearest = store.query(
            f"SELECT DISTINCT {', '.join(CELL_COLUMNS)} FROM rows "  # noqa: S608 (constants)
            f"WHERE {same} = ? ORDER BY {', '.join(CELL_COLUMNS)} LIMIT {_ROWS_NAMED}",
            [*values, best],
        )
        return [f"the nearest: {describe(Cell(*other))}" for other in nearest]
    lines = []
    for name in CELL_COLUMNS:
        others = " AND ".join(f"{other} IS ?" for other in CELL_COLUMNS if other != name)
        given = [getattr(cell, other) for other in CELL_COLUMNS if other != name]
        found = store.query(
            f"SELECT DISTINCT {name} FROM rows WHERE {others}",  # noqa: S608 (constants)
            given,
        )
        if found:
            near = _by_distance([value for (value,) in found], getattr(cell, name))
            named = ", ".join(map(_told, near[:_VALUES_NAMED]))
            more = f" and {len(near) - _VALUES_NAMED} more" * (len(near) > _VALUES_NAMED)
            lines.append(
                f"the same cell exists with {name} {named}{more} "
                f"(asked for: {_told(getattr(cell, name))})"
            )
    return lines


def _by_distance(values: list[Any], asked: Any) -> list[Any]:
    def distance(value: Any) -> tuple[float, str]:
        near = isinstance(value, int | float) and isinstance(asked, int | float)
        return (abs(value - asked) if near else 0.0, str(value))

    return sorted(values, key=distance)


def _told(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
