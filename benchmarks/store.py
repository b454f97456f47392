"""The result store: one SQLite file that a killed run leaves whole.

A row is committed the moment it is put, under the hash of everything that determines it. Results
(deterministic) and run columns (who computed it, when, for how long) are in tables of their own.

    with Store.open(path) as store:
        run = store.begin_run(collect(sys.argv, seed))
        missing = [key for key in keys if key not in store.done(keys)]
        store.put(rows, run)
        store.end_run(run)

Beside `FILE` lie `FILE-wal` and `FILE-shm` while it is open, and after a kill; the next opening
folds them in. Copy the three together, or use `coinfer merge`.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks import store_check
from benchmarks.rows import Row
from benchmarks.store_rows import (
    CELL_COLUMNS,
    REAL_COLUMNS,
    ROW_COLUMNS,
    RUN_COLUMNS,
    WHOLE_COLUMNS,
    Record,
    UnreadableRowError,
    ordered,
    record_of,
    row_of,
)
from benchmarks.store_schema import DamagedStoreError, connect, one_line_errors, scratch, utc_now
from coinfer.errors import UnknownNameError
from coinfer.serial import canonical_json

FILTERS = (*CELL_COLUMNS, "status", "key")

# SQLite takes at least 32,766 values in a statement; far fewer are as fast.
_KEYS_A_QUERY = 5000

_WIDTH = len(ROW_COLUMNS)
_SELECT = (
    f"SELECT {', '.join(f'rows.{c}' for c in (*ROW_COLUMNS, 'inputs'))}, "  # noqa: S608 (constants)
    f"{', '.join(f'row_runs.{c}' for c in RUN_COLUMNS)} "
    "FROM rows LEFT JOIN row_runs ON row_runs.row_id = rows.id"
)
_NUMBERS = WHOLE_COLUMNS | REAL_COLUMNS
_ORDER = " ORDER BY " + ", ".join(
    f"rows.{c}" if c in _NUMBERS or c == "key" else f"ordered(rows.{c})"
    for c in (*CELL_COLUMNS, "key")
)


@dataclass(frozen=True)
class Run:
    """One run of the harness.

    Attributes:
        run_id: random, unique over all stores.
        started_at, finished_at: UTC, ISO 8601; finished_at is None when it was killed or goes on.
        provenance: versions, hardware, commit, command line (`benchmarks.provenance.collect`).
    """

    run_id: str
    started_at: str
    finished_at: str | None
    provenance: dict[str, Any]


class Store:
    """An open store; a context manager. Use it in the thread that opened it."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Wrap an open connection; use `Store.open`."""
        self._connection = connection
        self._connection.create_function("ordered", 1, ordered, deterministic=True)
        self.path = path
        # The table `inputs`, as far as it was read or written: (name, value) by id, and back.
        self._inputs: dict[int, tuple[str, str]] = {}
        self._input_ids: dict[tuple[str, str], int] = {}

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        create: bool = True,
        readonly: bool = False,
        check: bool = True,
    ) -> Store:
        """Open a store.

        Args:
            path: its file.
            create: make it when it is missing.
            readonly: only read; an older schema is then migrated in memory.
            check: look first whether it is sound, which takes half a second per 100,000 rows.

        Raises:
            DamagedStoreError: when it is damaged; without `check` that may show later, or never.
            CoinferError: when the file is missing, foreign, newer, locked for more than a minute,
                or not permitted.
        """
        path = Path(path)
        return cls(connect(path, create=create, readonly=readonly, check=check), path)

    @classmethod
    def scratch(cls, path: Path) -> Store:
        """Return an empty store that vanishes when it is closed; `path` names it in messages."""
        return cls(scratch(path), path)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, folding its log in when no other process has it open."""
        self._connection.close()

    # Runs.

    def begin_run(self, provenance: dict[str, Any]) -> str:
        """Record a run and return its id; `started_at` of the provenance, if any, is its start."""
        run_id = str(uuid.uuid4())
        started_at = str(provenance.get("started_at") or utc_now())
        self.put_runs([Run(run_id, started_at, None, provenance)])
        return run_id

    def end_run(self, run_id: str) -> None:
        """Record that a run came to its end."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE runs SET finished_at = ? WHERE run_id = ?", (utc_now(), run_id)
            )

    def put_runs(self, runs: Iterable[Run]) -> None:
        """Record runs as they are; one that is known already stays."""
        with self.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO runs (run_id, started_at, finished_at, provenance) "
                "VALUES (?, ?, ?, ?)",
                (
                    (run.run_id, run.started_at, run.finished_at, canonical_json(run.provenance))
                    for run in runs
                ),
            )

    def runs(self) -> list[Run]:
        """Return the runs, oldest first."""
        found = self._all(
            "SELECT run_id, started_at, finished_at, provenance FROM runs "
            "ORDER BY started_at, run_id"
        )
        with one_line_errors(self.path):
            return [
                Run(run_id, started, finished, _provenance(run_id, data))
                for run_id, started, finished, data in found
            ]

    def meta(self) -> dict[str, str]:
        """Return when and by which version the store was made."""
        return dict(self._all("SELECT name, value FROM meta"))

    # Writing.

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing: what is written inside is committed at its end. May be nested.

        Raises:
            CoinferError: when SQLite refuses (disk full, locked, not permitted); nothing of the
                transaction is then in the file.
        """
        if self._connection.in_transaction:
            yield self._connection
            return
        with one_line_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._inputs.clear()
                self._input_ids.clear()
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Whatever is read inside is of one moment, even if another process writes meanwhile."""
        with one_line_errors(self.path):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def put(self, rows: Sequence[Row], run_id: str | None) -> int:
        """Store rows in one transaction; return how many of them were new.

        A row that is there stays as it is (results are deterministic), unless it is `failed`:
        then the later outcome takes its place. Within `rows` the same holds, in order.

        Args:
            rows: the rows.
            run_id: the run that computed them; None leaves the run columns empty.

        Raises:
            CoinferError: when a row holds NaN, or SQLite refuses; none of them is then stored.
        """
        return self.put_records([record_of(row, run_id) for row in rows])

    def put_records(self, records: Sequence[Record]) -> int:
        """`put` for rows that are records already."""
        with self.transaction() as connection:
            status = self._statuses([record.key for record in records])
            new: dict[str, Record] = {}
            for record in records:
                if status.get(record.key, "failed") == "failed":
                    new[record.key] = record
                    status[record.key] = "failed" if record.failed else "done"
            self._add_inputs(connection, new.values())
            connection.executemany(
                _UPSERT_ROW, ((*r.values, self._inputs_text(r.inputs)) for r in new.values())
            )
            connection.executemany(
                _UPSERT_RUN, ((key, *r.run) for key, r in new.items() if r.run is not None)
            )
        return len(new)

    # Reading.

    def done(self, keys: Iterable[str]) -> set[str]:
        """Return those of the keys whose row is there and not `failed`: the cache hits."""
        return {key for key, status in self._statuses(keys).items() if status != "failed"}

    def failed_keys(self) -> set[str]:
        """Return the keys of all failed rows."""
        return {key for (key,) in self._all("SELECT key FROM rows WHERE status = 'failed'")}

    def get(self, key: str) -> Row | None:
        """Return the row with that key, if any."""
        return next(self.rows(key=key), None)

    def rows(self, **filters: Any) -> Iterator[Row]:
        """Yield rows in canonical order: by the cell's fields, then by key.

        Numbers in names count as numbers: `rate[rate_bps=200000.0]` comes before `1000000.0`.
        The same rows come in the same order from every store that holds them. Do not write to
        the store while the iterator is in use.

        Args:
            **filters: a cell's field, `status` or `key`: a value, or a collection of values.

        Raises:
            DamagedStoreError: when the file is damaged.
            CoinferError: when there is no such filter.
        """
        with one_line_errors(self.path):
            yield from map(row_of, self.records(**filters))

    def records(self, **filters: Any) -> Iterator[Record]:
        """`rows` as they are stored, which is three times as fast."""
        where, arguments = _where(filters)
        with one_line_errors(self.path):
            for values in self._connection.execute(_SELECT + where + _ORDER, arguments):
                yield self._record(values)

    def inputs_of(self, text: str) -> dict[str, str]:
        """Return the inputs that the column `inputs` of a row stands for."""
        try:
            ids = [int(one) for one in text.split(",")] if text else []
            if not all(one in self._inputs for one in ids):
                self._inputs.update(
                    (one, (name, value))
                    for one, name, value in self._all("SELECT id, name, value FROM inputs")
                )
            return dict(self._inputs[one] for one in ids)
        except (KeyError, ValueError, AttributeError) as error:
            raise DamagedStoreError(self.path, f"no such inputs: {error}") from error

    def count(self, **filters: Any) -> int:
        """Return the number of rows; filters as in `rows`."""
        where, arguments = _where(filters)
        return int(self._all(f"SELECT count(*) FROM rows{where}", arguments)[0][0])  # noqa: S608

    def query(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a SELECT of your own."""
        return self._all(sql, arguments)

    def damage(self, *, full: bool = True) -> list[str]:
        """Return what is wrong with the file, a line each; empty if it is sound.

        Args:
            full: also hold every index against its table, and every row's key against its
                content; otherwise it is looked whether all can be read.

        Raises:
            CoinferError: when it is locked, or not permitted.
        """
        found: list[str] = []
        try:
            with one_line_errors(self.path):
                found += store_check.structure(self._connection, full=full)
                found += store_check.contents(self._connection)
                # What SQL cannot tell: texts that are no UTF-8, what is within the JSON, keys.
                for values in [] if found else self._connection.execute(_SELECT):
                    record = self._record(values)
                    row = row_of(record)
                    if full and row.key != record.key:
                        found.append(f"row {record.key}: not the key of its content")
        except DamagedStoreError as error:
            found.append(error.problem)
        return found

    def _record(self, values: tuple[Any, ...]) -> Record:
        """A line of `_SELECT` as a record."""
        run = values[_WIDTH + 1 :]
        return Record(
            values[:_WIDTH], self.inputs_of(values[_WIDTH]), None if run[0] is None else run
        )

    def _add_inputs(self, connection: sqlite3.Connection, records: Iterable[Record]) -> None:
        used = {pair for record in records for pair in record.inputs.items()}
        unknown = sorted(used.difference(self._input_ids))
        connection.executemany("INSERT OR IGNORE INTO inputs (name, value) VALUES (?, ?)", unknown)
        for pair in unknown:
            found = connection.execute("SELECT id FROM inputs WHERE name = ? AND value = ?", pair)
            self._input_ids[pair] = found.fetchone()[0]

    def _inputs_text(self, inputs: dict[str, str]) -> str:
        return ",".join([str(self._input_ids[pair]) for pair in sorted(inputs.items())])

    def _statuses(self, keys: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        rest = iter(keys)
        while chunk := tuple(islice(rest, _KEYS_A_QUERY)):
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT key, status FROM rows WHERE key IN ({marks})"  # noqa: S608
            found.update(self._all(sql, chunk))
        return found

    def _all(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with one_line_errors(self.path):
            return self._connection.execute(sql, arguments).fetchall()


def _provenance(run_id: str, text: str) -> dict[str, Any]:
    data = json.loads(text)
    if not isinstance(data, dict):
        raise UnreadableRowError(f"run {run_id}: its provenance is not readable")
    return data


def _changes(columns: Sequence[str]) -> str:
    return ", ".join(f"{column} = excluded.{column}" for column in columns)


_UPSERT_ROW = (
    f"INSERT INTO rows ({', '.join((*ROW_COLUMNS, 'inputs'))}) "  # noqa: S608 (constants)
    f"VALUES ({', '.join('?' * (_WIDTH + 1))}) "
    f"ON CONFLICT (key) DO UPDATE SET {_changes((*ROW_COLUMNS[1:], 'inputs'))}"
)
_UPSERT_RUN = (
    f"INSERT INTO row_runs (row_id, {', '.join(RUN_COLUMNS)}) "  # noqa: S608 (constants)
    f"VALUES ((SELECT id FROM rows WHERE key = ?), {', '.join('?' * len(RUN_COLUMNS))}) "
    f"ON CONFLICT (row_id) DO UPDATE SET {_changes(RUN_COLUMNS[:-1])}, "
    "retries = row_runs.retries + 1"
)


def _where(filters: dict[str, Any]) -> tuple[str, list[Any]]:
    """Return the WHERE clause of `rows` and its arguments."""
    clauses: list[str] = []
    arguments: list[Any] = []
    for name, value in filters.items():
        if name not in FILTERS:
            raise UnknownNameError("filter", name, FILTERS)
        many = isinstance(value, Collection) and not isinstance(value, str)
        chosen = list(value) if many else [value]
        # NULL is in no list: a field that is None is asked for by itself.
        given = [one for one in chosen if one is not None]
        marks = ", ".join("?" * len(given))
        if len(given) > _KEYS_A_QUERY and all(isinstance(one, str) for one in given):
            given, marks = [json.dumps(given)], "SELECT value FROM json_each(?)"
        unset = f" OR rows.{name} IS NULL" if len(given) < len(chosen) else ""
        clauses.append(f"(rows.{name} IN ({marks}){unset})")
        arguments += given
    return (" WHERE " + " AND ".join(clauses) if clauses else ""), arguments
