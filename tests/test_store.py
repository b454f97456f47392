"""The result store: what goes in comes out, whatever happens to the process or the file."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from benchmarks import provenance, store_schema
from benchmarks.cells import Cell, Result
from benchmarks.rows import Row
from benchmarks.store import Run, Store
from benchmarks.store_rows import (
    CELL_COLUMNS,
    NESTED_COLUMNS,
    OPTIONAL_COLUMNS,
    REAL_COLUMNS,
    RESULT_COLUMNS,
    ROW_COLUMNS,
    RUN_COLUMNS,
    WHOLE_COLUMNS,
    counted,
    ordered,
)
from benchmarks.store_schema import DamagedStoreError
from coinfer.errors import CoinferError, UnknownNameError
from tests.stores import NEWER, ROWS, made_older, row, run_fields

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


def filled(path: Path, rows: list[Row]) -> None:
    with Store.open(path) as store:
        run = store.begin_run({"command_line": ["test"]})
        store.put(rows, run)
        store.end_run(run)


def stored(path: Path) -> list[Row]:
    with Store.open(path, readonly=True) as store:
        return list(store.rows())


def one_line(error: pytest.ExceptionInfo[CoinferError], *parts: object) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


# What goes in comes out.


def test_columns_are_the_fields_of_cell_and_result() -> None:
    assert [f.name for f in fields(Cell)] == list(CELL_COLUMNS)
    assert [f.name for f in fields(Result)] == list(RESULT_COLUMNS)


def test_columns_hold_what_the_fields_are_said_to_hold() -> None:
    kinds = {**get_type_hints(Cell), **get_type_hints(Result)}
    for name, kind in kinds.items():
        held = {get_origin(one) or one for one in get_args(kind) or (kind,)}
        if get_origin(kind) in (dict, tuple):
            held = {get_origin(kind)}
        assert (type(None) in held) == (name in OPTIONAL_COLUMNS), name
        assert (int in held) == (name in WHOLE_COLUMNS), name
        assert (float in held) == (name in REAL_COLUMNS), name
        assert (bool(held & {dict, tuple})) == (name in NESTED_COLUMNS), name


def test_one_is_one() -> None:
    assert [counted(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert [counted(n, "key has", "keys have") for n in (1, 2)] == ["1 key has", "2 keys have"]


@given(rows=st.lists(ROWS, max_size=4, unique_by=lambda one: one.key))
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@example(rows=[row(latency={"total_s": math.inf, "device_s": -0.0})])
@example(rows=[row(reason="a\x00b\n\u2028c", inputs={})])
@example(rows=[row(**NEWER)])
def test_round_trip(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "odd name?#%20 ü.sqlite"
        filled(path, rows)
        with Store.open(path, readonly=True) as store:
            for one in rows:
                back = store.get(one.key)
                assert back == one
                assert run_fields(back) == run_fields(one)
                assert back is not None
                assert back.key == one.key
            assert store.count() == len(rows)
            assert list(store.rows(key=[one.key for one in rows])) == list(store.rows())
            assert store.damage() == []


@pytest.mark.parametrize(
    ("one", "other"), [({"snr_db": 10}, {"snr_db": 10.0}), ({"snr_db": 0.0}, {"snr_db": -0.0})]
)
def test_equal_numbers_have_one_key(one: dict[str, Any], other: dict[str, Any], path: Path) -> None:
    rows = [row(cell=replace(row().cell, **numbers)) for numbers in (one, other)]
    assert rows[0].key == rows[1].key
    filled(path, rows)
    assert [(back.key, back) for back in stored(path)] == [(rows[0].key, rows[0])]


def test_lone_surrogates_in_messages_are_kept_readable(path: Path) -> None:
    filled(path, [replace(row(0, "failed", reason="no file a\udcff"), traceback="b\udcfe")])
    (back,) = stored(path)
    assert back.result.reason == "no file a\\udcff"
    assert back.traceback == "b\\udcfe"


def test_a_changed_row_leaves_its_neighbours_alone(path: Path) -> None:
    filled(path, [row(0), row(3)])
    with Store.open(path) as store:
        first, second = store.rows()
        first.inputs["method"] = "changed"
        assert second.inputs["method"] == "m1"
        assert [one.inputs["method"] for one in store.rows()] == ["m1", "m1"]


@pytest.mark.parametrize(
    "bad",
    [
        {"accuracy": math.nan},
        {"latency": {"total_s": math.nan}},
        {"latency": {"total_s": None}},
        {"device_flops": 1.5},
        {"device_flops": 2**63},
        {"status": "done"},
        {"uplink_symbols": 1.5},
        {"input_bits": math.nan},
        {"test_accuracy": math.nan},
        {"floor_held": "maybe"},
        {"floor_held": None},
        {"ledger": (("search", 1, math.nan),)},
        {"cell": replace(row(1).cell, model="\udcff")},
        {"cell": replace(row(1).cell, snr_db=math.nan)},
    ],
)
def test_a_row_that_cannot_be_stored_takes_none_with_it_and_leaves_none(
    bad: dict[str, Any], path: Path
) -> None:
    filled(path, [row(7)])
    with Store.open(path) as store:
        run = store.begin_run({})
        with pytest.raises(CoinferError) as error:
            store.put([row(0), row(1, **bad), row(2)], run)
        one_line(error)
        assert list(store.rows()) == [row(7)]
        assert store.put([row(0)], run) == 1


def test_numpy_numbers_are_numbers(path: Path) -> None:
    np = pytest.importorskip("numpy")
    filled(path, [row(device_flops=np.int64(7), accuracy=np.float32(0.5), encode_flops=3.0)])
    (back,) = stored(path)
    assert (back.result.device_flops, back.result.accuracy) == (7, 0.5)
    assert type(back.result.device_flops) is int
    assert type(back.result.encode_flops) is int


# What stays, what gives way.


class StoreMachine(RuleBasedStateMachine):
    """The store against a dictionary: first outcome stays, a failure gives way."""

    outcomes = st.tuples(
        st.integers(0, 5), st.sampled_from(["ok", "infeasible", "skipped", "failed"]), st.booleans()
    )

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "s.sqlite"
        self.store = Store.open(self.path)
        self.run = self.store.begin_run({})
        self.model: dict[str, Row] = {}
        self.retries: dict[str, int] = {}
        self.count = 0

    @rule(outcomes=st.lists(outcomes, max_size=5))
    def put(self, outcomes: list[tuple[int, str, bool]]) -> None:
        rows = []
        for number, status, _ in outcomes:
            self.count += 1
            # A later outcome differs in its run columns, and where it failed in its reason.
            why = {"reason": f"try {self.count}"} if status == "failed" else {}
            rows.append(replace(row(number, status, **why), seconds=float(self.count)))
        before = dict(self.model)
        for one in rows:
            known = self.model.get(one.key)
            if known is None or known.result.status == "failed":
                self.model[one.key] = one
        changed = {key for key in self.model if self.model[key] is not before.get(key)}
        for key in changed:
            self.retries[key] = self.retries.get(key, -1) + 1
        assert self.store.put(rows, self.run) == len(changed)

    @rule(outcomes=st.lists(outcomes, min_size=1, max_size=3))
    def rolled_back(self, outcomes: list[tuple[int, str, bool]]) -> None:
        rows = [row(n, status, inputs={"fresh": str(n)}) for n, status, _ in outcomes]
        with pytest.raises(CoinferError):
            self.store.put([*rows, row(99, accuracy=math.nan)], self.run)
        with suppress(ZeroDivisionError), self.store.transaction():
            self.store.put(rows, self.run)
            raise ZeroDivisionError

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.path)

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "store"):
            return
        assert {one.key: one for one in self.store.rows()} == self.model
        assert {one.key: run_fields(one) for one in self.store.rows()} == {
            key: run_fields(one) for key, one in self.model.items()
        }
        assert {
            record.key: record.run[RUN_COLUMNS.index("retries")]
            for record in self.store.records()
            if record.run
        } == self.retries
        failed = {key for key, one in self.model.items() if one.result.status == "failed"}
        asked = [*self.model, "no such key"]
        assert self.store.done(asked) == self.model.keys() - failed
        assert self.store.failed_keys() == failed
        assert self.store.count() == len(self.model)
        assert self.store.count(status="failed") == len(failed)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            assert self.store.damage() == []
            self.store.close()
            self.folder.cleanup()


StoreMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
TestStoreMachine = StoreMachine.TestCase


@given(order=st.permutations(range(12)), chunk=st.integers(1, 12))
@settings(max_examples=20)
def test_rows_come_in_one_order(order: list[int], chunk: int) -> None:
    rows = [row(n // 2, inputs={"method": str(n % 2)}) for n in range(12)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.sqlite"
        with Store.open(path) as store:
            run = store.begin_run({})
            for start in range(0, 12, chunk):
                store.put([rows[n] for n in order[start : start + chunk]], run)
        found = [(one.cell.seed, one.key) for one in stored(path)]
    assert found == sorted((one.cell.seed, one.key) for one in rows)


def test_numbers_in_names_count_as_numbers(path: Path) -> None:
    devices = ["a", "a1", "a1b", "a2", "a2b", "a10", "a10.5", "a1e3", "b", "9", "10", "٣"]
    filled(path, [row(cell=replace(row().cell, device=device)) for device in reversed(devices)])
    assert [one.cell.device for one in stored(path)] == [
        *("9", "10", "a", "a1", "a1b", "a2", "a2b", "a10", "a10.5", "a1e3", "b", "٣"),
    ]


@given(numbers=st.lists(st.floats(0, allow_infinity=False), min_size=2, max_size=6, unique=True))
@settings(max_examples=200)
def test_texts_are_ordered_by_the_numbers_in_them(numbers: list[float]) -> None:
    texts = [f"rate[rate_bps={number + 0.0!r}]" for number in numbers]
    assert sorted(texts, key=ordered) == [
        f"rate[rate_bps={number + 0.0!r}]" for number in sorted(numbers)
    ]
    assert len({*map(ordered, [*texts, "1", "1.0", "01"])}) == len({*texts, "1", "1.0", "01"})


def test_order_is_by_value_with_no_snr_first(path: Path) -> None:
    snrs = [100.0, None, -3.0, math.inf, 20.0]
    filled(path, [row(cell=replace(row().cell, snr_db=snr)) for snr in snrs])
    assert [one.cell.snr_db for one in stored(path)] == [None, -3.0, 20.0, 100.0, math.inf]


def test_filters(path: Path) -> None:
    cells = [
        replace(row().cell, link=link, snr_db=snr)
        for link, snr in [("3g", None), ("4g", None), ("radio", 10.0), ("radio", 20.0)]
    ]
    filled(path, [row(cell=cell) for cell in cells])
    with Store.open(path) as store:
        assert [one.cell for one in store.rows(link="4g")] == [cells[1]]
        assert [one.cell for one in store.rows(link={"3g", "4g"})] == cells[:2]
        assert [one.cell for one in store.rows(snr_db=None)] == cells[:2]
        assert [one.cell for one in store.rows(snr_db=[None, 20.0])] == [*cells[:2], cells[3]]
        assert list(store.rows(link=[])) == []
        assert store.count(link="radio", snr_db=10) == 1
        assert store.get("nothing") is None
        # More keys than a statement takes values.
        keys = [one.key for one in store.rows()]
        assert store.count(key=[*(f"k{n}" for n in range(300_000)), *keys]) == 4
        with pytest.raises(UnknownNameError, match="'link'"):
            store.count(lnk="3g")
        with pytest.raises(UnknownNameError, match="filter"):
            list(store.rows(plan="x"))


def test_done_takes_any_number_of_keys(path: Path) -> None:
    rows = [row(n, "failed" if n % 5 == 0 else "ok") for n in range(200)]
    filled(path, rows)
    keys = (one.key if n % 100 == 0 else f"k{n}" for n in range(20_000) for one in [rows[n // 100]])
    with Store.open(path) as store:
        assert store.done(keys) == {one.key for one in rows if one.result.status == "ok"}


def test_runs(path: Path) -> None:
    with Store.open(path) as store:
        first = store.begin_run({"started_at": "2024-01-01T00:00:00Z", "seed": 3, "x": math.inf})
        second = store.begin_run({})
        store.end_run(second)
        runs = {run.run_id: run for run in store.runs()}
        assert store.runs()[0].run_id == first
        assert runs[first] == Run(
            first,
            "2024-01-01T00:00:00Z",
            None,
            {"started_at": "2024-01-01T00:00:00Z", "seed": 3, "x": "inf"},
        )
        assert runs[second].finished_at is not None
        with pytest.raises(CoinferError):
            store.put([row()], "no such run")
        assert store.count() == 0


def test_readers_see_one_moment(path: Path) -> None:
    filled(path, [row(0)])
    with Store.open(path, readonly=True) as reader, Store.open(path) as writer:
        with reader.snapshot():
            assert reader.count() == 1
            writer.put([row(1)], None)
            assert reader.count() == 1
        assert reader.count() == 2


# Files that are not, or no longer, stores.


def refused(path: Path, *parts: object, create: bool = True) -> None:
    """Neither opening refuses by anything but one line, and neither changes the file."""
    before = path.read_bytes() if path.is_file() else None
    for readonly in (False, True):
        with pytest.raises(CoinferError) as error:
            Store.open(path, create=create, readonly=readonly)
        one_line(error, path, *parts)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_missing(path: Path) -> None:
    refused(path, "no such file", create=False)
    assert not path.exists()
    with pytest.raises(CoinferError, match="does not exist"):
        Store.open(path / "deeper" / "s.sqlite")
    refused(path.parent, "folder")


def test_not_sqlite(path: Path) -> None:
    path.write_text("model,method\nalexnet,all_local\n" * 100)
    refused(path, "not a SQLite file", "accepted is")


def test_foreign_sqlite(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE rows (key TEXT PRIMARY KEY, status TEXT)")
    connection.close()
    refused(path, "another program")


def test_foreign_application_without_tables(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 77")
    connection.close()
    refused(path, "another program")


def test_newer_schema(path: Path) -> None:
    filled(path, [row()])
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {store_schema.SCHEMA_VERSION + 1}")
    connection.close()
    refused(path, "newer", f"schema {store_schema.SCHEMA_VERSION + 1}", "schema 1 to")


def test_an_empty_file_becomes_a_store_and_is_none(path: Path) -> None:
    path.touch()
    with pytest.raises(CoinferError, match="empty"):
        Store.open(path, readonly=True)
    with pytest.raises(CoinferError, match="empty"):
        Store.open(path, create=False)
    filled(path, [row()])
    assert stored(path) == [row()]


def test_names_beside_a_store_are_not_stores(path: Path) -> None:
    filled(path, [row()])
    for side in ("-wal", "-shm", "-journal"):
        beside = Path(f"{path}{side}")
        with pytest.raises(CoinferError) as error:
            Store.open(beside)
        one_line(error, beside, "belongs to the database", path)
        assert not beside.exists()
    alone = path.with_name("of nothing-wal")
    filled(alone, [row()])
    assert stored(alone) == [row()]


def test_what_is_no_file(path: Path) -> None:
    os.mkfifo(path)
    refused(path, "pipe or a device", "accepted is")


def test_the_log_of_a_linked_store_is_beside_the_store(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link" / "results"
    link.parent.mkdir()
    link.symlink_to(path)
    with Store.open(link) as store:
        store.put([row(0)], None)
        assert Path(f"{path}-wal").stat().st_size
        # A file cut off inside a page is damaged, unless the rest of it is in the log.
        shutil.copy(f"{path}-wal", tmp_path / "log")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DamagedStoreError, match="cut off"):
        Store.open(link, readonly=True)
    shutil.copy(tmp_path / "log", f"{path}-wal")
    assert stored(link) == [row(0)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "s.sqlite"
    filled(path, [row(n, assumptions=("x" * 300,)) for n in range(60)])
    return path


def read_all(path: Path) -> None:
    with Store.open(path, create=False) as store:
        assert len(list(store.rows())) == 60
        assert store.damage() == []


@given(data=st.data())
@settings(max_examples=40)
def test_truncated(data: st.DataObject, sound: Path) -> None:
    whole = sound.read_bytes()
    pages = len(whole) // 4096
    length = data.draw(
        st.integers(1, len(whole) - 1) | st.integers(1, pages - 1).map(lambda page: page * 4096)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.sqlite"
        path.write_bytes(whole[:length])
        for readonly in (True, False):
            with pytest.raises(CoinferError) as error:
                Store.open(path, create=False, readonly=readonly)
            one_line(error, path)


@given(page=st.integers(0, 2**16), junk=st.sampled_from([b"\0", b"\xff", b"ab\x05\x0d"]))
@settings(max_examples=40)
def test_a_destroyed_page_is_told_in_one_line(page: int, junk: bytes, sound: Path) -> None:
    whole = bytearray(sound.read_bytes())
    start = page % (len(whole) // 4096) * 4096
    whole[start : start + 4096] = (junk * 4096)[:4096]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.sqlite"
        path.write_bytes(whole)
        # Refused, told while reading, or found by the check; never another kind of error.
        with pytest.raises((CoinferError, AssertionError)) as error:
            read_all(path)
        assert error.type is AssertionError or "\n" not in str(error.value)


# Migration.


def layout(path: Path) -> dict[str, Any]:
    connection = sqlite3.connect(path)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    found = {name: connection.execute(f"PRAGMA table_xinfo({name})").fetchall() for name in tables}
    found["version"] = connection.execute("PRAGMA user_version").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_version_is_migrated(version: int, path: Path) -> None:
    rows = [row(n, "failed" if n == 2 else "ok") for n in range(5)]
    filled(path, rows)
    new = layout(path)
    made_older(path, version)
    old = layout(path)
    assert old != new
    before = path.read_bytes()
    assert stored(path) == rows
    assert path.read_bytes() == before, "reading does not migrate the file"
    with Store.open(path) as store:
        assert list(store.rows()) == rows
        assert [record.run[-1] for record in store.records() if record.run] == [0] * 5
        store.put([row(2)], store.begin_run({}))
        assert next(store.records(seed=2)).run[-1] == 1  # type: ignore[index]
        assert store.damage() == []
    assert layout(path) == new


def test_what_an_older_version_did_not_say_is_empty_and_newer_rows_say_it(path: Path) -> None:
    filled(path, [row(0, **NEWER)])
    made_older(path, 2)
    with Store.open(path) as store:
        (old,) = store.rows()
        assert old.result == replace(row(0).result, uplink_bits=None)
        store.put([row(1, **NEWER)], store.begin_run({}))
    old, new = stored(path)
    assert old.result == replace(row(0).result, uplink_bits=None)
    assert new == row(1, **NEWER)
    assert {name: getattr(new.result, name) for name in NEWER} == NEWER


@pytest.mark.parametrize("version", [1, 2])
def test_a_migration_that_fails_changes_nothing(version: int, path: Path) -> None:
    filled(path, [row()])
    made_older(path, version)
    # What the last step of the migration would add is there already.
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE rows ADD COLUMN floor_held DEFAULT ''")
    connection.close()
    before = layout(path)
    with pytest.raises(CoinferError, match="floor_held"):
        Store.open(path)
    assert layout(path) == before


# Files that cannot be written.


def test_disk_full(path: Path) -> None:
    filled(path, [row(0)])
    with Store.open(path) as store:
        run = store.begin_run({})
        pages = store.query("PRAGMA page_count")[0][0]
        store.query(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(CoinferError) as error:
            store.put([row(n, assumptions=("x" * 500,)) for n in range(1, 200)], run)
        one_line(error, path, "full")
        assert list(store.rows()) == [row(0)]
        store.query("PRAGMA max_page_count = 1000000")
        assert store.put([row(n) for n in range(1, 200)], run) == 199
        assert store.damage() == []
    assert len(stored(path)) == 200


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finished(process: subprocess.Popen[str]) -> str:
    out, problems = process.communicate(timeout=60)
    assert process.returncode == 0, problems
    return out


LIMITED = """
import resource, sys
from benchmarks.store import Store
from coinfer.errors import CoinferError
from tests.stores import row
with Store.open(sys.argv[1]) as store:
    run = store.begin_run({})
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    stored = 0
    try:
        for n in range(0, 2000, 10):
            stored += store.put([row(n + i, assumptions=("x" * 400,)) for i in range(10)], run)
    except CoinferError as error:
        assert "\\n" not in str(error)
        assert store.count() == stored
        print(stored)
"""


def test_no_room_for_the_file_to_grow(path: Path) -> None:
    pytest.importorskip("resource")
    count = int(finished(python(LIMITED, path)))
    assert 0 < count < 2000
    with Store.open(path) as store:
        assert [one.cell.seed for one in store.rows()] == list(range(count))
        assert store.damage() == []


READ_LIMITED = """
import resource, sys
from benchmarks.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with Store.open(sys.argv[1], readonly=True) as store:
    print(store.count())
"""


def test_a_store_on_a_full_disk_can_be_read(path: Path) -> None:
    pytest.importorskip("resource")
    filled(path, [row(n) for n in range(5)])
    assert finished(python(READ_LIMITED, path)) == "5\n"
    # What is in the log is not passed over: that needs a lock file.
    with Store.open(path) as store:
        store.put([row(5)], None)
        copy = path.with_name("copy")
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    process = python(READ_LIMITED, copy)
    assert "disk is full or fails" in process.communicate(timeout=60)[1]
    assert process.returncode != 0


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere; the tests of permissions are for everybody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
def test_read_only_folder() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "s.sqlite"
        filled(path, [row(0), row(1)])
        path.chmod(0o444)
        folder.chmod(0o555)
        with as_nobody():
            assert stored(path) == [row(0), row(1)]
            with pytest.raises(CoinferError) as error, Store.open(path) as store:
                store.put([row(2)], None)
            one_line(error, path, "permission")
            with pytest.raises(CoinferError) as error:
                Store.open(folder / "new.sqlite")
            one_line(error, "new.sqlite", "permission")
        assert stored(path) == [row(0), row(1)]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_locked_by_another_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_schema, "BUSY_TIMEOUT_S", 0.1)
    filled(path, [row(0)])
    with Store.open(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CoinferError) as error:
            store.put([row(1)], None)
        one_line(error, path, "locked by another process")
        assert list(store.rows()) == [row(0)], "readers do not wait"
        other.execute("ROLLBACK")
        other.close()
        assert store.put([row(1)], None) == 1


# Several processes, and ones that die.

HAMMER = """
import sys
from benchmarks.store import Store
from tests.stores import row
path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with Store.open(path) as store:
    run = store.begin_run({"who": first})
    new = sum(store.put([row(n) for n in range(s, s + 5)], run) for s in range(first, last, 5))
    store.end_run(run)
print(new)
"""


def test_processes_that_write_one_store_at_once(path: Path) -> None:
    # Made by all at once, too; half of each one's rows are also another's.
    workers = [python(HAMMER, path, n, n + 200, stdin=subprocess.PIPE) for n in (0, 100, 200)]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    counts = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    counts = [int(finished(worker)) for worker in workers]
    assert sum(counts) == 400, "each row was new once"
    with Store.open(path) as store:
        assert list(store.rows()) == [row(n) for n in range(400)]
        assert store.damage() == []
        assert all(run.finished_at for run in store.runs())
        assert len(store.runs()) == 3


CHUNK, CHUNKS = 7, 500
WRITER = f"""
import sys
from benchmarks.store import Store
from tests.stores import row
with Store.open(sys.argv[1]) as store:
    run = store.begin_run({{}})
    done = store.done(row(n).key for n in range({CHUNK * CHUNKS}))
    print("open", flush=True)
    for chunk in range({CHUNKS}):
        rows = [row(n) for n in range({CHUNK} * chunk, {CHUNK} * (chunk + 1))]
        if not done.issuperset(one.key for one in rows):
            assert store.put(rows, run) == {CHUNK}, "a transaction is there whole or not at all"
            print(chunk, flush=True)
    store.end_run(run)
"""


def test_a_killed_writer_loses_nothing_that_was_committed(path: Path) -> None:
    rng = random.Random(4)
    told: set[int] = set()
    for _ in range(10):
        writer = python(WRITER, path)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        time.sleep(rng.uniform(0, 0.08))
        writer.send_signal(signal.SIGKILL)
        lines = writer.communicate()[0].split("\n")
        # What follows the last newline was cut off by the kill.
        new = {int(line) for line in lines[:-1]}
        assert not told & new, "no chunk is stored twice"
        told |= new
        with Store.open(path) as store:
            assert store.damage() == []
            seeds = [record.values[ROW_COLUMNS.index("seed")] for record in store.records()]
            assert seeds == list(range(len(seeds)))
            assert len(seeds) % CHUNK == 0, "a transaction is there whole or not at all"
            # One transaction may have been committed and not been told.
            assert {seed // CHUNK for seed in seeds} >= told
            told = {seed // CHUNK for seed in seeds}
    assert 0 < len(told) < CHUNKS, "the kills came in the middle"
    finished(python(WRITER, path))
    with Store.open(path) as store:
        assert list(store.rows()) == [row(n) for n in range(CHUNK * CHUNKS)]
        assert all(record.run for record in store.records())
        assert [run.finished_at is None for run in store.runs()].count(False) == 1


# Provenance.


def test_provenance_is_json_and_names_what_counts() -> None:
    found = provenance.collect(["coinfer", "run", "/somewhere/x.toml"], 3)
    assert json.loads(json.dumps(found)) == found
    assert found["command_line"] == ["coinfer", "run", "/somewhere/x.toml"]
    assert found["seed"] == 3
    assert set(found["versions"]) >= {"coinfer", "numpy", "torch", "torchvision", "torch-pruning"}
    assert found["cores"] >= 1
    assert found["cpu"]
    rest = json.dumps({name: value for name, value in found.items() if name != "command_line"})
    for place in (ROOT, Path.home(), Path(sys.prefix)):
        assert str(place) not in rest


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_provenance_names_the_commit_of_our_own_source_only(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    source = tmp_path / "source.py"
    source.write_text("x = 1\n")
    assert provenance.git_state(source) is None, "no checkout"
    git("init", "-q")
    assert provenance.git_state(source) is None, "in a checkout, but not of it"
    git("add", "source.py")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "results.sqlite").touch()
    assert provenance.git_state(source) == {"commit": commit, "dirty": False}
    source.write_text("x = 2\n")
    assert provenance.git_state(source) == {"commit": commit, "dirty": True}


def test_put_speed(benchmark: Any, path: Path) -> None:
    numbers = iter(range(10**9))
    with Store.open(path) as store:
        run = store.begin_run({})

        def chunk() -> tuple[tuple[list[Row], str], dict[str, Any]]:
            return ([row(next(numbers)) for _ in range(1000)], run), {}

        assert benchmark.pedantic(store.put, setup=chunk, rounds=20) == 1000


def _open_at_once(path: Path, barrier: Any, answers: Any) -> None:
    """In a process of its own: open a store at the same moment as the others."""
    barrier.wait()
    try:
        with Store.open(path) as store:
            answers.put(f"{store.count()} rows")
    except CoinferError as error:
        answers.put(str(error))


def test_processes_that_make_one_new_store_at_once_do_not_refuse_each_other(
    tmp_path: Path,
) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(15):
        path = tmp_path / f"{attempt}.sqlite"
        barrier, answers = context.Barrier(4), context.Queue()
        openers = [
            context.Process(target=_open_at_once, args=(path, barrier, answers)) for _ in range(4)
        ]
        for opener in openers:
            opener.start()
        found = [answers.get(timeout=60) for _ in openers]
        for opener in openers:
            opener.join()
        assert found == ["0 rows"] * 4
