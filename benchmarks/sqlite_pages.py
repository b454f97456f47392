"""The records of a SQLite file page by page, however damaged the rest of the file is.

SQLite reads a table from its root down, so that one lost page takes along everything beneath.
But every page says by itself what lies on it: read one by one, a lost page costs its own records
only. Nothing is written, and the write-ahead log beside the file is read too.

The layout is that of SQLite's "Database File Format", sections 1.3 (header), 1.6 (pages of trees
and their overflow), 2.1 (records) and 4 (write-ahead log). All numbers in it are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

MAGIC = b"SQLite format 3\x00"

INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13

_HEADER_BYTES = 100
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
_LOG_MAGIC = (0x377F0682, 0x377F0683)
# SQLite's own choice, for a file whose header is lost.
_PAGE_BYTES = 4096
# Bytes of a value by its serial type: nothing, five lengths of whole numbers and one more, a float,
# the numbers 0 and 1.
_SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)

Value = None | int | float | str | bytes


class Record(NamedTuple):
    """A record of a table or an index.

    Attributes:
        page: on which it lies.
        kind: of the page: TABLE_LEAF, INDEX_LEAF or INDEX_INTERIOR.
        rowid: its number in its table; None in an index.
        values: as they are stored.
    """

    page: int
    kind: int
    rowid: int | None
    values: tuple[Value, ...]


class Pages:
    """The pages of a SQLite file as its log leaves them; a context manager.

    Attributes:
        usable: bytes of a page that SQLite uses.
        count: number of pages; a last one that is cut off counts.
    """

    def __init__(self, path: Path) -> None:
        """Open a file and the log beside it.

        Raises:
            OSError: when the file cannot be opened.
        """
        self._files = ExitStack()
        try:
            self._file = self._files.enter_context(path.open("rb"))
            log = path.with_name(f"{path.name}-wal")
            self._log = self._files.enter_context(log.open("rb")) if log.is_file() else None
            header = _read(self._file, 0, _HEADER_BYTES)
            self._page_bytes, reserved = _page_bytes(header), header[20:21] or b"\0"
            self._frames = {} if self._log is None else _committed(self._log, self._page_bytes)
            self.usable = self._page_bytes - reserved[0] * header.startswith(MAGIC)
            whole = -(-path.stat().st_size // self._page_bytes)
            self.count = max(whole, *self._frames, 0) if self._frames else whole
        except BaseException:
            self._files.close()
            raise

    def __enter__(self) -> Pages:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._files.close()

    def read(self, number: int) -> bytes:
        """Return a page, the first of which is 1; empty where it is not there or unreadable."""
        if not 1 <= number <= self.count:
            return b""
        if self._log is not None and number in self._frames:
            return _read(self._log, self._frames[number], self._page_bytes)
        return _read(self._file, (number - 1) * self._page_bytes, self._page_bytes)


def records(pages: Pages, widths: Collection[int]) -> Iterator[Record]:
    """Yield the records with so many values from every page of a table or index, page by page.

    What cannot be read is left out. Pages that the file no longer uses count too: they hold
    records of earlier states.

    Args:
        pages: of the file.
        widths: numbers of values; the others' records are not decoded.
    """
    for number in range(1, pages.count + 1):
        page = pages.read(number)
        start = _HEADER_BYTES if number == 1 else 0
        kind = page[start] if len(page) > start else 0
        if kind not in (INDEX_INTERIOR, INDEX_LEAF, TABLE_LEAF):
            continue
        for at in _cells(page, start, kind):
            try:
                rowid, payload = _cell(pages, page, at, kind)
                values = _values(payload, widths)
            except (IndexError, ValueError, struct.error):
                continue
            if values is not None:
                yield Record(number, kind, rowid, values)


def bounds(pages: Pages) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield from every inner page of a table the pages beneath, and the largest rowid of them.

    The last page beneath is left out: which rowids it holds is not told.
    """
    for number in range(1, pages.count + 1):
        page = pages.read(number)
        start = _HEADER_BYTES if number == 1 else 0
        if len(page) <= start or page[start] != TABLE_INTERIOR:
            continue
        beneath: dict[int, int] = {}
        for at in _cells(page, start, TABLE_INTERIOR):
            with suppress(IndexError, struct.error):
                (child,) = struct.unpack_from(">I", page, at)
                beneath[child], _ = _varint(page, at + 4)
        if beneath:
            yield tuple(beneath), max(beneath.values())


def _read(stream: BinaryIO, offset: int, size: int) -> bytes:
    try:
        stream.seek(offset)
        return stream.read(size)
    except OSError:  # a bad sector
        return b""


def _page_bytes(header: bytes) -> int:
    """The size of a page by the file's header, where that is one."""
    if not header.startswith(MAGIC) or len(header) < _HEADER_BYTES:
        return _PAGE_BYTES
    (size,) = struct.unpack_from(">H", header, 16)
    size = 65536 if size == 1 else size
    return size if size >= 512 and size & (size - 1) == 0 else _PAGE_BYTES


def _committed(log: BinaryIO, page_bytes: int) -> dict[int, int]:
    """Where in a log the last committed state of each page lies, by the page's number."""
    header = _read(log, 0, _LOG_HEADER_BYTES)
    if len(header) < _LOG_HEADER_BYTES or struct.unpack_from(">I", header)[0] not in _LOG_MAGIC:
        return {}
    if struct.unpack_from(">I", header, 8)[0] != page_bytes:
        return {}
    salts, at = header[16:24], _LOG_HEADER_BYTES
    committed: dict[int, int] = {}
    pending: dict[int, int] = {}
    while True:
        frame = _read(log, at, _FRAME_HEADER_BYTES + page_bytes)
        # Frames of an earlier use of the log have other salts.
        if len(frame) < _FRAME_HEADER_BYTES + page_bytes or frame[8:16] != salts:
            return committed
        number, pages_after_commit = struct.unpack_from(">II", frame)
        pending[number] = at + _FRAME_HEADER_BYTES
        if pages_after_commit:
            committed |= pending
            pending.clear()
        at += _FRAME_HEADER_BYTES + page_bytes


def _cells(page: bytes, start: int, kind: int) -> tuple[int, ...]:
    """Where on a page its cells begin."""
    pointers = start + (12 if kind in (INDEX_INTERIOR, TABLE_INTERIOR) else 8)
    if len(page) < pointers:
        return ()
    (count,) = struct.unpack_from(">H", page, start + 3)
    count = min(count, (len(page) - pointers) // 2)
    return struct.unpack_from(f">{count}H", page, pointers)


def _cell(pages: Pages, page: bytes, at: int, kind: int) -> tuple[int | None, bytes]:
    """The rowid and the payload of a cell."""
    if kind == INDEX_INTERIOR:
        at += 4  # the page beneath
    size, at = _varint(page, at)
    rowid = None
    if kind == TABLE_LEAF:
        rowid, at = _varint(page, at)
    return rowid, _payload(pages, page, at, size, kind)


def _payload(pages: Pages, page: bytes, at: int, size: int, kind: int) -> bytes:
    """A payload, of which a long one goes on on overflow pages (section 1.6)."""
    usable = pages.usable
    if size > pages.count * usable:
        raise ValueError("larger than the file")
    least = (usable - 12) * 32 // 255 - 23
    most = usable - 35 if kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
    local = size
    if size > most:
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
    parts = [page[at : at + local]]
    left, at = size - local, at + local
    while left > 0:
        (number,) = struct.unpack_from(">I", page, at)
        page, at = pages.read(number), 0
        parts.append(page[4 : min(usable, 4 + left)])
        if len(parts[-1]) != min(usable - 4, left):
            raise ValueError("its overflow page is lost")
        left -= len(parts[-1])
    return b"".join(parts)


def _values(payload: bytes, widths: Collection[int]) -> tuple[Value, ...] | None:
    """The values of a record (section 2.1), None when there are not as many as asked for."""
    end, at = _varint(payload, 0)
    types = []
    while at < end:
        one, at = _varint(payload, at)
        types.append(one)
    if at != end:
        raise ValueError("its header is not whole")
    if len(types) not in widths:
        return None
    values: list[Value] = []
    for one in types:
        size = _size(one)
        data = payload[at : at + size]
        if len(data) != size:
            raise ValueError("it is not whole")
        values.append(_value(one, data))
        at += size
    if at != len(payload):
        raise ValueError("there is more than its header says")
    return tuple(values)


def _size(one: int) -> int:
    """How many bytes a value of a serial type takes."""
    if one >= 12:
        return (one - 12) // 2
    if not 0 <= one < len(_SIZES):
        raise ValueError("no such type")
    return _SIZES[one]


def _value(one: int, data: bytes) -> Value:
    if one >= 12:
        return data.decode("utf-8") if one % 2 else data
    if one == 0:
        return None
    if one == 7:
        return float(struct.unpack(">d", data)[0])
    return one - 8 if one >= 8 else int.from_bytes(data, "big", signed=True)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes (a rowid may be negative), and where it ends."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    value = value << 8 | data[at]
    return value - (value >> 63 << 64), at + 1
