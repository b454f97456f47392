"""A damaged store: it is found out, refused, and what can still be read is saved and true."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from benchmarks.export import FORMATS, export
from benchmarks.merge import merge
from benchmarks.salvage import salvaged
from benchmarks.sqlite_pages import INDEX_LEAF, TABLE_LEAF, Pages, bounds, records
from benchmarks.store import Run, Store
from benchmarks.store_rows import (
    ADDED_COLUMNS,
    FILE_COLUMNS,
    ROW_COLUMNS,
    RUN_COLUMNS,
    Record,
)
from benchmarks.store_schema import UnreadableStoreError
from coinfer.cli import run
from tests.stores import NEWER, made_older, row

PAGE = 4096
COUNT = 60


def make(path: Path, wide: bool = True) -> Path:
    """A store of 60 rows, of which some reach over several pages."""
    rows = [row(n, "failed" if n % 20 == 7 else "ok") for n in range(COUNT)]
    for n in range(0, COUNT, 9):
        rows[n] = row(n, assumptions=("näher " * 2000 * wide,))
    with Store.open(path) as store:
        run_id = store.begin_run({"command_line": ["made"]})
        for start in range(0, COUNT, 7):
            store.put(rows[start : start + 7], run_id)
        store.end_run(run_id)
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("sound") / "s.sqlite")


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    return shutil.copy(sound, tmp_path / "results.sqlite")


def content(path: Path) -> dict[str, Record]:
    with Store.open(path, readonly=True) as store:
        return {record.key: record for record in store.records()}


def overwrite(path: Path, page: int, junk: bytes) -> None:
    """Overwrite a page, the first of which is 1."""
    with path.open("r+b") as stream:
        stream.seek((page - 1) * PAGE)
        stream.write((junk * PAGE)[:PAGE])


def root(path: Path, name: str) -> int:
    """The root page of a table or an index."""
    connection = sqlite3.connect(path)
    ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,))
    connection.close()
    return int(page)


def execute(path: Path, sql: str, *arguments: Any) -> None:
    connection = sqlite3.connect(path)
    connection.execute(sql, arguments)
    connection.commit()
    connection.close()


def problem(path: Path) -> UnreadableStoreError:
    with pytest.raises(UnreadableStoreError) as error:
        Store.open(path, readonly=True)
    assert "\n" not in str(error.value)
    return error.value


def saved(path: Path) -> tuple[dict[str, Record], int, list[Run]]:
    """What is saved of a damaged store, and how many rows are said to be lost."""
    before = path.read_bytes()
    with salvaged(path, problem(path)) as found:
        rows = {record.key: record for record in found.store.records()}
        assert found.rows == len(rows)
        assert found.without_run == sum(record.run is None for record in rows.values())
        runs = found.store.runs()
    assert path.read_bytes() == before, "the file stays as it is"
    return rows, found.lost, runs


# The pages of any SQLite file.

VALUES = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([0, 1, -1, 127, 128, -(2**23), 2**31, 2**47, -(2**47) - 1])
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20)
    | st.integers(0, 9000).map(lambda size: bytes(range(250)) * (size // 250))
)


@given(
    rows=st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=60),
    rowids=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=60, max_size=60, unique=True),
    page_bytes=st.sampled_from([512, 1024, 4096, 65536]),
    log=st.sampled_from(["none", "all", "half", "not committed"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_pages_hold_what_sqlite_reads(
    rows: list[tuple[Any, ...]], rowids: list[int], page_bytes: int, log: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.db"
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute(f"PRAGMA page_size = {page_bytes}")
        connection.execute(f"PRAGMA journal_mode = {'DELETE' if log == 'none' else 'WAL'}")
        connection.execute("CREATE TABLE t (a, b, c)")
        connection.execute("CREATE INDEX i ON t (a, b, c)")
        insert = "INSERT INTO t (rowid, a, b, c) VALUES (?, ?, ?, ?)"
        lines = [(rowid, *values) for rowid, values in zip(rowids, rows, strict=False)]
        half = len(lines) // 2
        connection.executemany(insert, lines[:half])
        if log == "half":
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.executemany(insert, lines[half:])
        if log == "not committed":
            # So little memory that the log has what is never committed.
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("BEGIN")
            connection.executemany("UPDATE t SET a = ? WHERE rowid = ?", [(7, r) for r in rowids])
        asked = sqlite3.connect(path)
        table = asked.execute("SELECT rowid, a, b, c FROM t").fetchall()
        indexed = asked.execute("SELECT a, b, c, rowid FROM t").fetchall()
        asked.close()
        with Pages(path) as pages:
            found = list(records(pages, {3, 4}))
        connection.close()
    ours = [(one.rowid, *one.values) for one in found if one.kind == TABLE_LEAF]
    entries = [one.values for one in found if one.kind != TABLE_LEAF]
    # An inner page of an index has entries of its own; freed pages keep those they had.
    assert set(map(repr, ours)) == set(map(repr, table))
    assert set(map(repr, entries)) >= set(map(repr, indexed))


def test_inner_pages_tell_the_rows_beneath(path: Path) -> None:
    with Pages(path) as pages:
        leaves = {one.page: one.rowid for one in records(pages, {2 + len(ROW_COLUMNS)})}
        told = [(beneath, most) for beneath, most in bounds(pages) if set(beneath) & set(leaves)]
    assert told
    for beneath, most in told:
        assert most == max(leaves[page] or 0 for page in beneath)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 60, 99, 100, 500, PAGE])
def test_a_file_of_no_pages_has_no_records(size: int, path: Path, tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(path.read_bytes()[:size])
    with Pages(short) as pages:
        assert [one for one in records(pages, {1, 2, 3, 4}) if one.kind == INDEX_LEAF] == []
        assert list(bounds(pages)) == []


@given(start=st.binary(max_size=120), seed=st.integers(0, 2**32), kind=st.sampled_from(b"\2\5\n\r"))
@settings(max_examples=80, deadline=None)
def test_garbage_ends_reading_in_nothing_worse_than_records(
    start: bytes, seed: int, kind: int
) -> None:
    noise = random.Random(seed).randbytes(3 * 512)
    pages_of = bytearray(b"SQLite format 3\0\x02\0" + start.ljust(82, b"\0") + noise)
    pages_of[100] = pages_of[512] = pages_of[1024] = kind
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise"
        path.write_bytes(pages_of)
        with Pages(path) as pages:
            list(records(pages, range(100)))
            list(bounds(pages))


def test_a_record_that_goes_on_on_itself_ends(tmp_path: Path) -> None:
    size = 39 + 508 * 2**31  # so that 39 bytes of it are on its own page
    varint = bytes([0x80 | size >> shift & 0x7F for shift in (35, 28, 21, 14, 7)] + [size & 0x7F])
    cell = varint + b"\1" + bytes(39) + (3).to_bytes(4, "big")
    leaf = b"\r\0\0\0\1\0\0\0" + (512 - len(cell)).to_bytes(2, "big")
    path = tmp_path / "circle"
    head = (b"SQLite format 3\0\2\0").ljust(512, b"\0")
    path.write_bytes(
        head + leaf.ljust(512 - len(cell), b"\0") + cell + (3).to_bytes(4, "big") * 128
    )
    with Pages(path) as pages:
        assert list(records(pages, range(100))) == []


# What is saved.


def test_the_layout_is_that_of_the_tables(path: Path) -> None:
    connection = sqlite3.connect(path)

    def columns(table: str) -> list[str]:
        return [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]

    # A migration must append what it adds, here too: records are told apart by their length.
    assert columns("rows") == ["id", *FILE_COLUMNS]
    assert {*FILE_COLUMNS} == {*ROW_COLUMNS, "inputs"}
    assert columns("row_runs") == ["row_id", *RUN_COLUMNS]
    assert columns("inputs") == ["id", "name", "value"]
    assert columns("runs") == ["run_id", "started_at", "finished_at", "provenance"]
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    lengths = [len(columns(name)) for name in tables if columns(name)]
    # Rows of an older version, and run columns of the first, are as long as they were.
    lengths += [1 + len(FILE_COLUMNS) - len(ADDED_COLUMNS[3]), len(RUN_COLUMNS)]
    assert len(set(lengths)) == len(lengths), "no two tables have the same number of columns"
    connection.close()


@pytest.mark.parametrize("junk", [b"\0", b"\xff", b"ab\x05\x0d"])
def test_a_lost_page_costs_the_rows_on_it_and_no_other(
    junk: bytes, sound: Path, tmp_path: Path
) -> None:
    whole, path = content(sound), tmp_path / "s.sqlite"
    ids = {record.key: number for number, record in enumerate(whole.values(), start=1)}
    assert [record.values[7] for record in whole.values()] == list(range(COUNT)), "in order of ids"
    on_page: dict[int, set[int]] = {}
    with Pages(sound) as pages:
        count = pages.count
        for one in records(pages, {2 + len(ROW_COLUMNS)}):
            on_page.setdefault(one.page, set()).add(one.rowid or 0)
    assert set().union(*on_page.values()) == set(ids.values())
    leaves = overflows = 0
    for page in range(1, count + 1):
        shutil.copy(sound, path)
        overwrite(path, page, junk)
        rows, lost, runs = saved(path)
        for key, record in rows.items():
            assert record.values == whole[key].values
            assert record.inputs == whole[key].inputs
            assert record.run in (None, whole[key].run)
        assert runs or all(record.run is None for record in rows.values())
        gone = {ids[key] for key in whole.keys() - rows.keys()}
        if page in on_page:
            leaves += 1
            assert gone == on_page[page]
        else:
            # A long row goes on on pages that are no other's.
            overflows += len(gone)
            assert len(gone) <= 1
        assert lost == len(gone)
    assert leaves > 5
    assert overflows >= 2


@given(share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_of_a_truncated_file_the_first_rows_are_saved(share: float, sound: Path) -> None:
    whole, data = content(sound), sound.read_bytes()
    # SQLite takes a file of one byte for an empty one.
    length = 2 + int(share * (len(data) - 3))
    before_the_rows = length < 20 * PAGE
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.sqlite"
        path.write_bytes(data[:length])
        with suppress(UnreadableStoreError) if before_the_rows else nullcontext():
            rows, lost, _ = saved(path)
    if before_the_rows:
        return
    assert all(whole[key].values == record.values for key, record in rows.items())
    assert 0 < len(rows) < COUNT or lost == 0
    assert lost <= COUNT - len(rows)
    # The inner page that tells of all rows is one of the first.
    assert lost >= COUNT - len(rows) - 5


def test_how_many_rows_are_lost_is_told_by_what_is_left(sound: Path, tmp_path: Path) -> None:
    """The inner page of the rows alone tells of those that are cut off."""
    path = tmp_path / "s.sqlite"
    path.write_bytes(sound.read_bytes()[: 30 * PAGE])
    for name in ("rows_by_cell", "sqlite_autoindex_rows_1", "row_runs"):
        overwrite(path, root(sound, name), b"\0")
    rows, lost, _ = saved(path)
    assert 0 < len(rows) < COUNT / 2
    assert COUNT - 5 <= len(rows) + lost <= COUNT


GARBAGE = {
    "no JSON": ("latency", "{not json"),
    "other JSON": ("latency", "[1]"),
    "other JSON within": ("latency", '{"total_s": "soon"}'),
    "a number for text": ("model", 7),
    "text for a number": ("device_flops", "many"),
    "bytes": ("evidence", b"{}"),
    "nothing": ("ledger", None),
    "no UTF-8": ("reason", b"\xff\xfe"),
    "an unknown input": ("inputs", "1,99"),
    "no inputs at all": ("inputs", "many"),
    "text for symbols": ("uplink_symbols", "many"),
    "a number for a word": ("floor_held", 1),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_a_garbage_row_costs_itself(what: str, path: Path, tmp_path: Path, capsys: Any) -> None:
    whole = content(path)
    name, value = GARBAGE[what]
    sql = f"UPDATE rows SET {name} = {'CAST(? AS TEXT)' if what == 'no UTF-8' else '?'}"
    execute(path, f"{sql} WHERE id = 21", value)
    assert run(["store-info", "--store", str(path), "--check"]) == 1
    assert "damaged: " in capsys.readouterr().out
    out = tmp_path / "out.json"
    assert run(["export", "--store", str(path), "--format", "json", "-o", str(out)]) == 1
    said = capsys.readouterr().err
    assert f"{COUNT - 1} rows could be read, at least 1 could not\n" in said
    kept = {one["key"] for one in json.loads(out.read_text())["rows"]}
    lost = list(whole)[20]
    assert kept == whole.keys() - {lost}


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("runs", "provenance = '{not json'"),
        ("runs", "provenance = '[]'"),
        ("row_runs", "seconds = 'long'"),
        ("row_runs", "retries = x'00'"),
    ],
)
def test_garbage_about_runs_costs_no_row(table: str, change: str, path: Path, capsys: Any) -> None:
    execute(path, f"UPDATE {table} SET {change} WHERE rowid = 1")
    rows, lost, _ = saved(path)
    assert (len(rows), lost) == (COUNT, 0)
    assert any(record.run is None for record in rows.values())
    assert run(["store-info", "--store", str(path), "--check"]) == 1
    assert f"damaged: {table} 1: not readable: {change.split()[0]}\n" in capsys.readouterr().out


def test_a_changed_name_is_found_by_its_key(path: Path) -> None:
    execute(path, "UPDATE rows SET server = 'v100' WHERE id = 21")
    with Store.open(path) as store:
        assert store.damage(full=False) == []
        (found,) = store.damage(full=True)
        assert "not the key of its content" in found
        assert next(store.records(server="v100")).key in found


def test_an_index_that_is_not_its_tables_is_found_in_full(path: Path) -> None:
    # A row that the index does not know: as if the index were of another moment.
    ((entry,),) = sqlite3.connect(path).execute(
        "SELECT sql FROM sqlite_master WHERE name = 'rows_by_cell'"
    )
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = ON")
    partial = f"{entry} WHERE id <> 21"
    connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'rows_by_cell'", (partial,))
    connection.commit()
    connection.close()
    execute(path, "REINDEX rows_by_cell")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'rows_by_cell'", (entry,))
    connection.commit()
    connection.close()
    with Store.open(path, readonly=True) as store:
        assert store.damage(full=False) == []
        assert any("row 21 missing from index" in line for line in store.damage(full=True))


def test_a_result_is_saved_in_place_of_an_older_failure(path: Path) -> None:
    """A page that is no longer in use may hold an earlier state of a row."""
    failed = row(7, "failed")
    before = content(path)[failed.key]
    with Store.open(path) as store:
        store.put([row(7)], store.begin_run({}))
    after = content(path)[failed.key]
    assert (before.failed, after.failed) == (True, False)
    for order in (True, False):
        shutil.copy(path, copy := path.with_name(f"{order}"))
        # Whole pages of the former file, after those of the present one or before them.
        with Pages(path) as pages:
            size = pages.count
        make(older := path.with_name(f"older {order}"))
        parts = (path, older) if order else (older, path)
        copy.write_bytes(b"".join(part.read_bytes() for part in parts))
        overwrite(copy, 1, b"\0")
        overwrite(copy, size + 1, b"\0")
        rows, _, _ = saved(copy)
        assert rows[failed.key].values == after.values


def test_statistics_of_sqlite_are_no_inputs(path: Path) -> None:
    whole = content(path)
    execute(path, "ANALYZE")
    overwrite(path, root(path, "rows"), b"\0")
    rows, lost, _ = saved(path)
    assert (rows, lost) == (whole, 0)


def test_rows_in_the_log_are_saved(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with Store.open(path) as store:
        store.put([row(COUNT)], None)
        # As a killed process leaves them.
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    log = Path(f"{copy}-wal").read_bytes()
    assert log
    overwrite(copy, root(path, "rows_by_cell"), b"\0")
    with salvaged(copy, UnreadableStoreError("damaged", "damaged")) as found:
        assert [one.cell.seed for one in found.store.rows()] == list(range(COUNT + 1))
    assert Path(f"{copy}-wal").read_bytes() == log


def test_a_file_with_nothing_to_save_stays_refused(tmp_path: Path, path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_bytes(random.Random(1).randbytes(100_000))
    with (
        pytest.raises(UnreadableStoreError, match="not one row of it can be read") as refused,
        salvaged(text, problem(text)),
    ):
        pass
    # That is what an export just tried.
    assert "coinfer export" not in str(refused.value)
    empty = tmp_path / "empty"
    Store.open(empty).close()
    overwrite(empty, root(empty, "rows"), b"\0")
    with pytest.raises(UnreadableStoreError), salvaged(empty, problem(empty)):
        pass


def test_an_error_of_the_reader_is_not_the_files(path: Path) -> None:
    overwrite(path, root(path, "rows"), b"\0")
    with pytest.raises(OSError, match="of the reader"), salvaged(path, problem(path)):
        raise OSError("of the reader")


# What the commands say.


@pytest.fixture
def damages(sound: Path, tmp_path: Path) -> dict[str, Path]:
    """Stores damaged in every way, none of which costs all rows."""
    data = sound.read_bytes()
    files = {
        name: Path(shutil.copy(sound, tmp_path / f"{name}.sqlite"))
        for name in ("middle", "root", "index", "head", "garbage", "cut page", "cut")
    }
    with Pages(sound) as pages:
        leaves = sorted({one.page for one in records(pages, {2 + len(ROW_COLUMNS)})})
    overwrite(files["middle"], leaves[len(leaves) // 2], b"\xa5")
    overwrite(files["root"], root(sound, "rows"), b"\xa5")
    overwrite(files["index"], root(sound, "rows_by_cell"), b"\xa5")
    overwrite(files["head"], 1, b"\0")
    execute(files["garbage"], "UPDATE rows SET plan = '{' WHERE id = 3")
    files["cut page"].write_bytes(data[: len(data) * 2 // 3 // PAGE * PAGE])
    files["cut"].write_bytes(data[: len(data) * 2 // 3 + 1])
    return files


HOW = ("middle", "root", "index", "head", "garbage", "cut page", "cut")
WHOLE = ("root", "index", "head")


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_store_is_refused_with_what_to_do(
    how: str, damages: dict[str, Path], sound: Path, tmp_path: Path, capsys: Any
) -> None:
    path = damages[how]
    before = path.read_bytes()
    for command in (
        ["run", "demo", "--store", str(path)],
        ["run", "demo", "--store", str(path), "--dry-run"],
        ["explain-miss", "--store", str(path), "demo"],
        ["merge", str(path), str(sound)],
        ["merge", str(tmp_path / "new"), str(path)],
    ):
        assert run(command) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert str(path) in said
        assert "coinfer export" in said
    assert path.read_bytes() == before
    assert run(["store-info", "--store", str(path), "--check"]) == (2 if how == "head" else 1)
    captured = capsys.readouterr()
    assert "coinfer export" in captured.out + captured.err
    assert ("damaged: " in captured.out) == (how != "head")
    assert "sound" not in captured.out


@pytest.mark.parametrize("how", HOW)
def test_what_the_message_promises(
    how: str, damages: dict[str, Path], sound: Path, tmp_path: Path, capsys: Any
) -> None:
    """Export saves what can be read, and merge makes a sound store of it."""
    path, out, new = damages[how], tmp_path / "rows.json", tmp_path / "new.sqlite"
    whole = content(sound)
    line = ["export", "--store", str(path), "--format", "json", "--with-run-columns"]
    assert run([*line, "-o", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"coinfer: store '{path}': damaged (")
    assert run(["merge", str(new), str(out)]) == 0
    rows = content(new)
    assert all(whole[key].values == record.values for key, record in rows.items())
    missing = COUNT - len(rows)
    assert (missing == 0) == (how in WHOLE)
    told = f"at least {missing} could not" if missing else "none is known to be lost"
    cut = "could not" if how.startswith("cut") else told
    assert f"{len(rows)} rows could be read, " in said
    assert cut in said
    without = sum(record.run is None for record in rows.values())
    assert (f"{without} rows of them without run columns" in said) == bool(without)
    with Store.open(new) as store:
        assert store.damage() == []


@pytest.mark.parametrize("how", HOW)
def test_every_format_has_the_same_rows(
    how: str, damages: dict[str, Path], sound: Path, tmp_path: Path, capfdbinary: Any
) -> None:
    path, found = damages[how], []
    for format in FORMATS:
        assert run(["export", "--store", str(path), "--format", format]) == 1
        data = capfdbinary.readouterr().out
        if how in WHOLE:
            whole = io.BytesIO()
            with Store.open(sound, readonly=True) as store:
                export(store, format, whole)
            assert data == whole.getvalue()
        if format == "csv":
            found.append([line["key"] for line in csv.DictReader(io.StringIO(data.decode()))])
        elif format == "json":
            found.append([one["key"] for one in json.loads(data)["rows"]])
        else:
            table = pytest.importorskip("pyarrow.parquet").read_table(io.BytesIO(data))
            found.append(table.column("key").to_pylist())
    assert found[0] == found[1] == found[2]


def test_a_damaged_store_is_not_replaced_by_its_rows(damages: dict[str, Path]) -> None:
    for path in damages.values():
        before = path.read_bytes()
        assert run(["export", "--store", str(path), "--format", "csv", "-o", str(path)]) == 2
        assert path.read_bytes() == before


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("migrated", [False, True])
def test_an_older_store_is_saved_too(version: int, migrated: bool, path: Path) -> None:
    whole = content(path)
    made_older(path, version)
    if migrated:  # what was there before the migration stays as short as it was
        with Store.open(path) as store:
            store.put([row(COUNT, **NEWER)], store.begin_run({}))
        whole = content(path)
        assert len(whole) == COUNT + 1
        with Pages(path) as pages:
            lengths = {len(one.values) for one in records(pages, range(20, 100))}
        assert lengths == {1 + len(FILE_COLUMNS), 1 + len(FILE_COLUMNS) - len(ADDED_COLUMNS[3])}
    overwrite(path, root(path, "rows"), b"\0")
    rows, lost, _ = saved(path)
    assert rows == whole
    assert lost == 0


def test_a_full_check_finds_numbers_that_no_run_computes(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "s.sqlite"
    with Store.open(path) as store:
        store.put([row(0), row(1)], store.begin_run({}))
    for change in ("accuracy = 9.0", "plan_hash = 'p'", "device_flops = -1"):
        copy = tmp_path / "copy.sqlite"
        shutil.copy(path, copy)
        execute(copy, f"UPDATE rows SET {change} WHERE seed = 1")
        assert run(["store-info", "--store", str(copy), "--check"]) == 0
        assert run(["store-info", "--store", str(copy), "--check", "full"]) == 1
        assert "no run computes it: " in capsys.readouterr().out


def test_check_says_which_check_and_what_it_finds(
    damages: dict[str, Path], sound: Path, capsys: Any
) -> None:
    for check in ([], ["quick"], ["full"]):
        assert run(["store-info", "--store", str(sound), "--check", *check]) == 0
        assert "the file is sound\n" in capsys.readouterr().out
        assert run(["store-info", "--store", str(damages["garbage"]), "--check", *check]) == 1
        assert "damaged: rows 3: not readable: plan\n" in capsys.readouterr().out
    assert run(["store-info", "--check", "--store", str(sound)]) == 0
    assert run(["store-info", "--store", str(sound), "--check", "deep"]) == 2
    capsys.readouterr()
    execute(damages["garbage"], "UPDATE rows SET plan = '{'")
    assert run(["store-info", "--store", str(damages["garbage"]), "--check"]) == 1
    said = capsys.readouterr().out
    assert said.count("damaged: rows") == 20
    assert f"damaged: and {COUNT - 20} more\n" in said


def test_a_merge_makes_a_new_store_of_several_parts(
    damages: dict[str, Path], sound: Path, tmp_path: Path
) -> None:
    """What two damaged copies have lost at different places is whole again."""
    target, other = tmp_path / "target", Path(shutil.copy(sound, tmp_path / "other"))
    with Pages(sound) as pages:
        last = max(one.page for one in records(pages, {2 + len(ROW_COLUMNS)}))
    overwrite(other, last, b"\0")
    parts: list[Path] = []
    for path in (damages["middle"], other):
        parts.append(path.with_suffix(".json"))
        with salvaged(path, problem(path)) as found:
            assert 0 < found.lost < 10
            export(found.store, "json", parts[-1], run_columns=True)
    merge(target, parts)
    assert content(target) == content(sound)


def every_page(path: Path) -> Iterator[int]:
    yield from range(1, path.stat().st_size // PAGE + 1)


def test_an_opened_store_reads_without_a_surprise(sound: Path, tmp_path: Path) -> None:
    """Whichever page is lost, a store is refused when opened, or read as it was."""
    whole, path = content(sound), tmp_path / "s.sqlite"
    for page in every_page(sound):
        shutil.copy(sound, path)
        overwrite(path, page, b"\0")
        for readonly in (True, False):
            try:
                with Store.open(path, readonly=readonly) as store:
                    assert {record.key: record for record in store.records()} == whole
            except UnreadableStoreError:
                continue
