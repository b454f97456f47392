"""Files that an export writes: whole or not at all, and never over a database."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benchmarks.sqlite_pages import MAGIC
from coinfer.errors import CoinferError

# What SQLite keeps beside a database of its name: log, index of the log, rollback journal.
_SIDES = ("-wal", "-shm", "-journal")
# The first three bytes of a write-ahead log; the fourth tells its byte order.
_LOG_MAGIC = b"\x37\x7f\x06"


def resolved(path: Path) -> Path:
    """Return what a path names, links followed."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        return path.absolute()


def is_sqlite(path: Path) -> bool:
    """Whether a file begins as SQLite databases do."""
    return _begins(path, MAGIC)


def database_beside(path: Path) -> Path | None:
    """Return the database to which a file belongs by its name, such as `FILE` for `FILE-wal`."""
    path = resolved(path)
    for side in _SIDES:
        name = path.name.removesuffix(side)
        if name not in ("", path.name) and is_sqlite(path.with_name(name)):
            return path.with_name(name)
    return None


def refuse_beside(store: Path) -> None:
    """Refuse to open or make a store under a name that belongs to another database.

    Raises:
        CoinferError: when SQLite would take the file for that database's log.
    """
    owner = database_beside(store)
    if owner is not None:
        raise CoinferError(f"store '{store}': belongs to the database '{owner}'; give that one")


def refuse_database(out: Path, store: Path) -> None:
    """Refuse an output that would replace a store, any SQLite database, or what lies beside one.

    Args:
        out: the file to write; links to it count as itself.
        store: what is exported, whatever is left of it.

    Raises:
        CoinferError: when something would be lost.
    """
    end = "give another file"
    store, real = resolved(store), resolved(out)
    own = (store, *(store.with_name(store.name + side) for side in _SIDES))
    if real in own or any(real.exists() and one.exists() and real.samefile(one) for one in own):
        raise CoinferError(f"cannot write '{out}': it is of the store that is exported; {end}")
    if is_sqlite(real) or _begins(real, _LOG_MAGIC):
        raise CoinferError(f"cannot write '{out}': it is a store or another database; {end}")
    owner = database_beside(real)
    if owner is not None:
        raise CoinferError(f"cannot write '{out}': it belongs to the database '{owner}'; {end}")


def is_stream(path: Path) -> bool:
    """Whether a path is something to write to that is no file: a pipe, a device."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def tell(text: str, output: Path | None) -> None:
    """Write text to a file, whole or not at all; to standard output without one.

    Raises:
        CoinferError: when the file is a database, or cannot be written.
    """
    import click

    if output is None:
        click.echo(text, nl=False)
    elif is_sqlite(output):
        raise CoinferError(f"cannot write '{output}': it is a store or another database")
    elif is_stream(output):
        output.write_text(text, encoding="utf-8")
    else:
        with atomic_file(output) as stream:
            stream.write(text.encode())


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its name only when all of it is on disk.

    A link stays a link, and what it names is written; a file that was there keeps its rights.

    Raises:
        CoinferError: when it cannot be written; nothing is then left behind.
    """
    temporary: Path | None = None
    try:
        place = resolved(path)
        mode = _mode(path)
        # Shortened, as a name has a greatest length.
        prefix = f".{place.name[:50]}."
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=place.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(place)
    except OSError as error:
        raise CoinferError(f"cannot write '{path}': {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _mode(path: Path) -> int:
    """The rights that a file is to have: those it has, or those any new file gets."""
    if path.is_dir():
        raise CoinferError(f"cannot write '{path}': it is a folder; give a file")
    if not path.exists():
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
    if not os.access(path, os.W_OK):
        raise CoinferError(f"cannot write '{path}': it may only be read")
    return stat.S_IMODE(path.stat().st_mode)


def _begins(path: Path, magic: bytes) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic
