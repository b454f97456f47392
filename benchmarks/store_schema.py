"""The store's file: how it is recognised, laid out, migrated, and how its errors are told.

`PRAGMA application_id` says that a SQLite file is ours, `PRAGMA user_version` which schema it
has. Nothing is written to a file before both are known.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from time import monotonic, sleep

import coinfer
from benchmarks import store_check
from benchmarks.outputs import refuse_beside, resolved
from benchmarks.store_rows import (
    ADDED_COLUMNS,
    CELL_COLUMNS,
    FILE_COLUMNS,
    STATUSES,
    UnreadableRowError,
)
from coinfer.errors import CoinferError

APPLICATION_ID = 0x436F496E  # "CoIn"
SCHEMA_VERSION = 3
BUSY_TIMEOUT_S = 60.0

_CELL_INDEX = f"CREATE INDEX rows_by_cell ON rows ({', '.join(CELL_COLUMNS)})"

# Columns are declared alike in a new file and in one that is migrated.
_DECLARED = {
    "key": "key TEXT NOT NULL UNIQUE",
    "inputs": "inputs TEXT NOT NULL",
    **{
        name: name if value is None else f"{name} NOT NULL DEFAULT '{value}'"
        for added in ADDED_COLUMNS.values()
        for name, value in added.items()
    },
}

# Only `key` comes in random order; all else is appended, which keeps commits short.
_TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE runs (
        run_id TEXT PRIMARY KEY, started_at TEXT NOT NULL, finished_at TEXT,
        provenance TEXT NOT NULL)""",
    # A row's inputs are ids of these: the rows of a sweep have nearly all of them in common.
    """CREATE TABLE inputs (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, value TEXT NOT NULL, UNIQUE (name, value))""",
    f"""CREATE TABLE rows (
        id INTEGER PRIMARY KEY,
        {", ".join(_DECLARED.get(name, name) for name in FILE_COLUMNS)},
        CHECK (status IN ({", ".join(f"'{status}'" for status in STATUSES)})))""",
    """CREATE TABLE row_runs (
        row_id INTEGER PRIMARY KEY REFERENCES rows (id),
        run_id TEXT NOT NULL REFERENCES runs (run_id),
        seconds REAL NOT NULL, host TEXT NOT NULL, finished_at TEXT NOT NULL,
        traceback TEXT NOT NULL, retries INTEGER NOT NULL DEFAULT 0)""",
    _CELL_INDEX,
)

# What turns a file of that version into one of the next.
_MIGRATIONS: dict[int, tuple[str, ...]] = {
    # Version 1 did not count how often a failed cell was tried again, and explain-miss had to
    # read the whole table.
    1: ("ALTER TABLE row_runs ADD COLUMN retries INTEGER NOT NULL DEFAULT 0", _CELL_INDEX),
    # Version 2 said of what crosses no more than its bits, and nothing of measured accuracies.
    2: tuple(f"ALTER TABLE rows ADD COLUMN {_DECLARED[name]}" for name in ADDED_COLUMNS[3]),
}

_ACCEPTED = f"accepted is a coinfer store, schema 1 to {SCHEMA_VERSION}"


class UnreadableStoreError(CoinferError):
    """A file that is no store, but may be what is left of one; `problem` says what is wrong."""

    def __init__(self, message: str, problem: str) -> None:
        self.problem = problem
        super().__init__(message)


class DamagedStoreError(UnreadableStoreError):
    """A store that is damaged: the message says how, and what saves the rest."""

    def __init__(self, path: Path, problem: object) -> None:
        told = " ".join(str(problem).split())
        super().__init__(
            f"store '{path}': damaged or truncated ({told}); save what can be read: "
            f"'coinfer export --store {path} --format json --with-run-columns -o rows.json', then "
            "'coinfer merge NEW rows.json'",
            told,
        )


def utc_now() -> str:
    """Return the time as `2024-05-01T12:00:00Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into a CoinferError of one line; a caller's mistakes pass."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise
    except sqlite3.Error as error:
        raise _error(path, error) from error
    except (json.JSONDecodeError, UnreadableRowError) as error:
        raise DamagedStoreError(path, error) from error
    except OverflowError as error:
        raise CoinferError(
            f"store '{path}': a number does not fit; whole numbers go up to 2**63 - 1 ({error})"
        ) from error
    except UnicodeEncodeError as error:
        raise CoinferError(
            f"store '{path}': a name cannot be written as UTF-8 ({error.object[:60]!r})"
        ) from error


def _error(path: Path, error: sqlite3.Error) -> CoinferError:
    """What SQLite says, in the words of a user's file."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_NOTADB:
        return UnreadableStoreError(
            f"store '{path}': not a SQLite file; {_ACCEPTED} (of one whose head is lost, "
            "'coinfer export' reads the rest)",
            "its head is no SQLite file's",
        )
    # What Python finds has no code of its own: a text that is no UTF-8, or nothing to sort by.
    undecodable = "decode" in str(error) or "user-defined function" in str(error)
    unreadable = code in (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ)
    if primary == sqlite3.SQLITE_CORRUPT or unreadable or undecodable:
        return DamagedStoreError(path, error)
    return CoinferError(f"store '{path}': {_told(error, primary)}")


def _told(error: sqlite3.Error, primary: int | None) -> str:
    if primary == sqlite3.SQLITE_FULL:
        return f"{error}: no space left to write; nothing that was committed is lost"
    if primary == sqlite3.SQLITE_IOERR:
        return f"{error}: the disk is full or fails; nothing that was committed is lost"
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"locked by another process for more than {BUSY_TIMEOUT_S:g} s ({error})"
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return f"cannot be written ({error}); needed is write permission for it and its folder"
    if primary == sqlite3.SQLITE_CANTOPEN:
        return f"cannot be opened ({error}); needed is permission for it and its folder"
    return str(error)


def connect(path: Path, *, create: bool, readonly: bool, check: bool) -> sqlite3.Connection:
    """Open a store's file, making, recognising, checking and migrating it as needed.

    Raises:
        DamagedStoreError: when it is damaged; without `check` that may show later.
        CoinferError: when it is missing, foreign, newer, locked or not permitted.
    """
    if path.is_dir():
        raise CoinferError(f"store '{path}': is a folder; {_ACCEPTED}")
    exists = path.exists()
    if not exists and (readonly or not create):
        raise CoinferError(f"store '{path}': no such file; {_ACCEPTED}")
    if not exists and not path.parent.is_dir():
        raise CoinferError(f"store '{path}': the folder '{path.parent}' does not exist")
    if exists and not path.is_file():
        raise CoinferError(f"store '{path}': is a pipe or a device; {_ACCEPTED}")
    refuse_beside(path)
    with one_line_errors(path):
        connection = _open_readonly(path) if readonly else _open_file(path, "rwc")
        try:
            if readonly:
                return _recognised(connection, path, check)
            return _prepared(connection, path, create, check)
        except BaseException:
            connection.close()
            raise


def scratch(path: Path) -> sqlite3.Connection:
    """Return an empty store that vanishes when it is closed; `path` names it in messages."""
    connection = sqlite3.connect("", isolation_level=None)
    _bring_up_to_date(connection, path)
    return connection


def _log_of(path: Path) -> Path:
    """The write-ahead log: it lies beside the file itself, not beside a link to it."""
    real = resolved(path)
    return real.with_name(f"{real.name}-wal")


def _open_file(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
    )


def _open_readonly(path: Path) -> sqlite3.Connection:
    """Open for reading only, also in a folder where nothing can be written.

    Reading a WAL file takes a lock file beside it, so it is opened as for writing (which also
    clears the lock file away in the end) and told to refuse writing. Where no file can be made,
    and no log is left to read, the file can be read as it stands.
    """
    connection = _open_file(path, "rw")
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        log = _log_of(path)
        if not _no_lock_file(error.sqlite_errorcode) or (log.exists() and log.stat().st_size):
            raise
        return _open_file(path, "ro&immutable=1")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _no_lock_file(code: int) -> bool:
    """Whether an error says that no lock file can be made beside a store, as on a full disk."""
    denied = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
    full = (sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP)
    return code & 0xFF in denied or code in full


def _identity(connection: sqlite3.Connection, path: Path) -> int | None:
    """Return the schema version; None when the file is still empty."""
    application, version, tables = _marks(connection)
    if application == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise CoinferError(
                f"store '{path}': written by a newer coinfer (schema {version}); {_ACCEPTED}"
            )
        if version < 1:
            raise CoinferError(f"store '{path}': has no known schema ({version}); {_ACCEPTED}")
        _check_whole(connection, path)
        return version
    if application == 0 and version == 0 and tables == 0:
        return None
    raise CoinferError(f"store '{path}': a SQLite file of another program; {_ACCEPTED}")


def _marks(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return application id, schema version and number of tables, of one moment."""
    ours = not connection.in_transaction
    if ours:
        connection.execute("BEGIN")
    try:
        # The first read of a transaction fixes the moment that all of them see.
        tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        if ours:
            connection.execute("COMMIT")
    return application, version, tables


def _check_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file cut off inside its last page, which SQLite would read as zeros."""
    log = _log_of(path)
    page_bytes = int(connection.execute("PRAGMA page_size").fetchone()[0])
    if path.stat().st_size % page_bytes and not (log.exists() and log.stat().st_size):
        raise DamagedStoreError(path, "its last page is cut off")


def _check_sound(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a damaged store before anything of it is believed, or written to it."""
    for problem in chain(store_check.structure(connection), store_check.contents(connection)):
        raise DamagedStoreError(path, problem)


def _prepared(
    connection: sqlite3.Connection, path: Path, create: bool, check: bool
) -> sqlite3.Connection:
    version = _identity(connection, path)
    if version is None and not create:
        raise CoinferError(f"store '{path}': empty; {_ACCEPTED}")
    if version is not None and check:
        _check_sound(connection, path)
    # WAL: readers and the writer do not wait for each other. FULL: a row that took an hour to
    # train survives a power cut too; a sweep commits in chunks, so its cost does not show.
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -65536")
    # Pages; folding the log in after every chunk of a sweep would cost a third of its time.
    connection.execute("PRAGMA wal_autocheckpoint = 8000")
    if version != SCHEMA_VERSION:
        _bring_up_to_date(connection, path)
    return connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Write ahead from now on; waits for others that are just doing the same.

    SQLite does not call its busy handler for this change, so two processes that make one new
    store at once would refuse each other.
    """
    deadline = monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
        sleep(0.02)


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, or migrate an older one: all of it, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Looked up again under the lock: another process may have come first.
        version = _identity(connection, path)
        steps: tuple[str, ...] = _TABLES if version is None else ()
        for older in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
            steps += _MIGRATIONS[older]
        for statement in steps:
            connection.execute(statement)
        if version is None:
            made = {"created_at": utc_now(), "created_by": f"coinfer {coinfer.__version__}"}
            connection.executemany("INSERT INTO meta (name, value) VALUES (?, ?)", made.items())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _recognised(connection: sqlite3.Connection, path: Path, check: bool) -> sqlite3.Connection:
    version = _identity(connection, path)
    if version is None:
        raise CoinferError(f"store '{path}': empty; {_ACCEPTED}")
    if check:
        _check_sound(connection, path)
    if version == SCHEMA_VERSION:
        return connection
    # An older file that must not be written is migrated in a copy in memory.
    copy = sqlite3.connect(":memory:", isolation_level=None)
    connection.backup(copy)
    connection.close()
    _bring_up_to_date(copy, path)
    return copy
