"""Whether a store's file is sound: what SQLite finds, and what the columns must hold.

SQLite keeps no checksums. A page that is no page, a row that is no row and a text that is no JSON
are found; a digit that changed inside a number is not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from benchmarks.store_rows import (
    NESTED_COLUMNS,
    OPTIONAL_COLUMNS,
    REAL_COLUMNS,
    ROW_COLUMNS,
    RUN_COLUMNS,
    WHOLE_COLUMNS,
)

# More lines than this tell nobody more.
_LINES = 100


def structure(connection: sqlite3.Connection, *, full: bool = False) -> Iterator[str]:
    """Yield what SQLite finds wrong with the file.

    Args:
        connection: to a store.
        full: `PRAGMA integrity_check`, which also holds every index against its table, instead of
            `PRAGMA quick_check`.

    Raises:
        sqlite3.Error: when it is too damaged even for that.
    """
    pragma = "integrity_check" if full else "quick_check"
    for (text,) in connection.execute(f"PRAGMA {pragma}({_LINES})"):
        # One problem may be told in several lines, the first of them a title.
        yield from (line for line in str(text).splitlines() if line != "ok" and "***" not in line)
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"table {table}: row {row} refers to a missing record of {parent}"


def contents(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield which records cannot be read, and why: a column's type, JSON, an unknown input."""
    yield from _unreadable(connection, "rows", {name: _test(name) for name in ROW_COLUMNS})
    kinds = {"seconds": "real", "retries": "integer"}
    run_tests = {name: f"typeof({name}) = '{kinds.get(name, 'text')}'" for name in RUN_COLUMNS}
    yield from _unreadable(connection, "row_runs", run_tests)
    yield from _unreadable(connection, "runs", {"provenance": _json_test("provenance", dict)})
    known = {str(one) for (one,) in connection.execute("SELECT id FROM inputs")}
    for (text,) in connection.execute("SELECT DISTINCT inputs FROM rows"):
        unknown = set(str(text).split(",") if text != "" else ()) - known
        if unknown:
            yield f"rows refer to missing inputs: {', '.join(sorted(unknown))}"


def _unreadable(connection: sqlite3.Connection, table: str, tests: dict[str, str]) -> Iterator[str]:
    """Yield the records of a table that fail some test, an SQL expression for each column."""
    # An older schema may lack a column.
    present = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
    tests = {name: test for name, test in tests.items() if name in present}
    found = connection.execute(
        f"SELECT rowid, {', '.join(tests.values())} FROM {table} "  # noqa: S608 (constants)
        f"WHERE NOT ({' AND '.join(tests.values())}) ORDER BY rowid LIMIT {_LINES}"
    )
    for number, *passed in found:
        names = [name for name, sound in zip(tests, passed, strict=True) if not sound]
        yield f"{table} {number}: not readable: {', '.join(names)}"


def _test(name: str) -> str:
    """The SQL that is 1 where a column of the rows holds what it may, and 0 elsewhere."""
    if name in NESTED_COLUMNS:
        sound = _json_test(name, NESTED_COLUMNS[name])
    else:
        whole, real = name in WHOLE_COLUMNS, name in REAL_COLUMNS
        sound = f"typeof({name}) = '{'integer' if whole else 'real' if real else 'text'}'"
    return f"({name} IS NULL OR {sound})" if name in OPTIONAL_COLUMNS else f"({sound})"


def _json_test(name: str, kind: type) -> str:
    """The same for JSON. Only CASE has SQLite look at the type of nothing but JSON."""
    shape = "object" if kind is dict else "array"
    return (
        f"CASE WHEN typeof({name}) <> 'text' THEN 0 WHEN json_valid({name}) "
        f"THEN json_type({name}) = '{shape}' ELSE 0 END"
    )
