"""Exports say exactly what the store holds; what was exported can be merged back."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from benchmarks.cells import LATENCY_PARTS
from benchmarks.export import FORMATS, LATENCIES, PLAN_FIELDS, columns, export
from benchmarks.merge import merge
from benchmarks.outputs import atomic_file
from benchmarks.rows import Row
from benchmarks.store import Store
from benchmarks.store_rows import (
    ADDED_COLUMNS,
    REAL_COLUMNS,
    RESULT_COLUMNS,
    RUN_COLUMNS,
    WHOLE_COLUMNS,
)
from coinfer.cli import run
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.plan import Plan
from tests.stores import NEWER, ROWS, SOUND_ROWS, row, run_fields

SLOW = {"uplink_s": 1 / 3, "total_s": 1 / 3}
# Line breaks of every kind in one field.
SOME = [
    row(0),
    row(1, "infeasible"),
    row(2, "failed"),
    row(
        3,
        latency={**dict.fromkeys((*LATENCY_PARTS, "total_s"), 0.0), **SLOW},
        evidence={"accuracy": "measured"},
    ),
    row(4, "infeasible", reason='a "quoted",\r text\nof \r\n lines'),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "results.sqlite", SOME)


def make(path: Path, rows: list[Row], chunk: int = 100) -> Path:
    with Store.open(path) as store:
        run_id = store.begin_run({"command_line": ["made", path.name]})
        for start in range(0, len(rows), chunk):
            store.put(rows[start : start + chunk], run_id)
        store.end_run(run_id)
    return path


def exported(path: Path, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    with Store.open(path, readonly=True) as store:
        export(store, format, stream, **options)
    return stream.getvalue()


def content(path: Path) -> tuple[Any, ...]:
    """All that a store holds: rows with run columns, inputs, runs."""
    with Store.open(path, readonly=True) as store:
        return list(store.records()), store.runs()


def table(path: Path, **options: Any) -> list[dict[str, str]]:
    text = exported(path, "csv", **options).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


# CSV and Parquet.


def test_plan_columns_are_the_fields_of_a_plan() -> None:
    assert {*PLAN_FIELDS, "cut"} == {f.name for f in fields(Plan)}


@given(rows=st.lists(ROWS, max_size=4, unique_by=lambda one: one.key))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_csv_holds_every_number_exactly(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder) / "s.sqlite", rows)
        by_key = {one.key: one for one in rows}
        lines = table(path)
        assert {line["key"] for line in lines} == set(by_key)
        for line in lines:
            one = by_key[line["key"]]
            for name in REAL_COLUMNS & {*RESULT_COLUMNS}:
                value = getattr(one.result, name)
                assert line[name] == ("" if value is None else repr(value + 0.0))
            for name in (*WHOLE_COLUMNS & {*RESULT_COLUMNS}, "total_flops"):
                value = getattr(one.result, name)
                assert line[name] == ("" if value is None else str(value))
            for name in LATENCIES:
                seconds = one.result.latency.get(name)
                text = line[f"latency_{name}"]
                assert text == "" if seconds is None else float(text) == seconds
            for name, value in one.result.evidence.items():
                assert line[f"evidence_{name}"] == value
            assert line["model"] == one.cell.model
            assert line["reason"] == one.result.reason
            assert line["floor_held"] == one.result.floor_held


def test_csv_columns(path: Path) -> None:
    first, infeasible, failed, third, last = table(path)
    assert first["plan_cut_index"] == "3"
    assert first["plan_cut_after"] == "features.2"
    assert first["latency_total_s"] == "inf"
    assert first["snr_db"] == ""
    assert first["evidence_latency"] == "analytic"
    assert first["evidence_accuracy"] == ""
    assert json.loads(first["ledger"]) == [["search", 22, 0.5]]
    assert json.loads(first["assumptions"]) == ["1 MHz", "näher"]
    assert third["evidence_accuracy"] == "measured"
    assert third["latency_total_s"] == repr(1 / 3)
    assert (infeasible["status"], infeasible["reason"]) == ("infeasible", "why 1")
    assert failed["plan_cut_index"] == ""
    assert last["reason"] == SOME[-1].result.reason
    assert not set(first) & set(RUN_COLUMNS)
    (ran, *_) = table(path, run_columns=True)
    assert (ran["seconds"], ran["host"], ran["retries"]) == ("0.25", "host", "0")
    assert ran["finished_at"] == "2024-05-01T12:00:00Z"


def test_columns_say_what_a_row_was_computed_from(tmp_path: Path) -> None:
    code = {"harness": "h1", "method": "m1", "task": "t1"}
    rows = [
        row(0, inputs=code),
        row(1, inputs={**code, "harness": "h2"}),
        row(2, "failed", inputs={**code, "older": "x"}),
    ]
    path = make(tmp_path / "s.sqlite", rows)
    lines = table(path)
    named = ("inputs_harness", "inputs_method", "inputs_task", "inputs_older")
    assert [[line[name] for name in named] for line in lines] == [
        ["h1", "m1", "t1", ""],
        ["h2", "m1", "t1", ""],
        ["h1", "m1", "t1", "x"],
    ]
    # What no row was computed from any more has no column: equal results give equal files.
    unused = make(tmp_path / "unused.sqlite", rows[:2])
    with Store.open(unused) as store, store.transaction() as connection:
        connection.execute("INSERT INTO inputs (name, value) VALUES ('older', 'x')")
    assert "inputs_older" not in table(unused)[0]


def test_rates_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    rates = [2e6, 1e7, 9.5e5, 1e5, 120679.264, 1e22]
    cells = [replace(row().cell, link=f"rate[rate_bps={rate!r}]") for rate in rates]
    named = [replace(row().cell, link=link) for link in ("wifi", "4g", "3g", "10g")]
    path = make(tmp_path / "s.sqlite", [row(cell=cell) for cell in (*cells, *named)])
    links = [line["link"] for line in table(path)]
    assert links[:3] == ["3g", "4g", "10g"]
    assert links[3:-1] == [f"rate[rate_bps={rate!r}]" for rate in sorted(rates)]
    assert links[-1] == "wifi"


def test_parquet_holds_what_csv_holds_with_types(path: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    for options in ({}, {"run_columns": True}):
        out = tmp_path / "r.parquet"
        out.write_bytes(exported(path, "parquet", **options))
        found = pq.read_table(out)
        lines = table(path, **options)
        assert found.column_names == list(lines[0])
        for line, record in zip(lines, found.to_pylist(), strict=True):
            assert line == {name: "" if v is None else str(v) for name, v in record.items()}
        types = {field.name: str(field.type) for field in found.schema}
        # A column without a single value has its type all the same.
        assert types["snr_db"] == types["energy_j"] == types["latency_encode_s"] == "double"
        assert (
            types["measured_accuracy"] == types["bandwidth_hz"] == types["input_bits"] == "double"
        )
        assert types["uplink_symbols"] == "int64"
        assert types["floor_held"] == "string"
        assert types["server_flops"] == types["total_flops"] == types["seed"] == "int64"
        assert types["plan_keep"] == types["key"] == "string"


def test_an_empty_store_exports_to_a_header(tmp_path: Path) -> None:
    path = make(tmp_path / "s.sqlite", [])
    assert exported(path, "csv").decode().startswith("key,model,method,device,server,link,snr_db,")
    assert json.loads(exported(path, "json"))["rows"] == []
    pq = pytest.importorskip("pyarrow.parquet")
    assert pq.read_table(io.BytesIO(exported(path, "parquet"))).num_rows == 0


@given(order=st.permutations(SOME), chunk=st.integers(1, 5))
@settings(max_examples=8)
def test_equal_results_give_equal_bytes(order: list[Row], chunk: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = make(Path(folder) / "one.sqlite", SOME)
        other = [replace(r, seconds=9.0, host="elsewhere", traceback="") for r in order]
        two = make(Path(folder) / "two.sqlite", other, chunk)
        for format in FORMATS:
            assert exported(one, format) == exported(two, format)
            assert exported(one, format, run_columns=True) != exported(
                two, format, run_columns=True
            )


def test_filters_narrow_an_export(path: Path) -> None:
    data = json.loads(exported(path, "json", filters={"status": "ok"}, run_columns=True))
    assert [one["cell"]["seed"] for one in data["rows"]] == [0, 3]


def test_json_is_strict_json_with_a_row_a_line(path: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = exported(path, "json").decode()
    data = json.loads(text, parse_constant=refuse)
    assert data["rows"][0]["result"]["latency"]["total_s"] == "inf"
    lines = [line for line in text.splitlines() if line.startswith('{"cell"')]
    assert [json.loads(line.rstrip(",")) for line in lines] == data["rows"]


# Files.


def write_half(out: Path, problem: Exception) -> None:
    with atomic_file(out) as stream:
        stream.write(b"half")
        raise problem


def test_a_file_is_there_whole_or_as_it_was(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.csv"
    with Store.open(path, readonly=True) as store:
        assert export(store, "csv", out) == 5
    whole = out.read_bytes()
    assert whole == exported(path, "csv")
    for problem, told in ((OSError(28, "No space left"), CoinferError), (KeyError(), KeyError)):
        with pytest.raises(told):
            write_half(out, problem)
        assert out.read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.csv", "results.sqlite"]
    with Store.open(path, readonly=True) as store:
        with pytest.raises(CoinferError, match="No such file"):
            export(store, "csv", tmp_path / "missing" / "r.csv")
        with pytest.raises(UnknownNameError, match="parquet"):
            export(store, "parkett", out)


def test_a_file_keeps_its_rights_and_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    private, link, new = tmp_path / "private.csv", tmp_path / "link.csv", tmp_path / "new.csv"
    private.write_text("a former export")
    private.chmod(0o600)
    link.symlink_to(private.name)
    dangling = tmp_path / "dangling.csv"
    dangling.symlink_to(new.name)
    with Store.open(path, readonly=True) as store:
        for out in (link, dangling):
            export(store, "csv", out)
            assert out.is_symlink()
    assert private.read_bytes() == new.read_bytes() == exported(path, "csv")
    assert private.stat().st_mode & 0o777 == 0o600
    (tmp_path / "plain").touch()
    assert new.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_pipe_is_written_to_and_stays(path: Path, tmp_path: Path) -> None:
    fifo, found = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()))
    reader.start()
    with Store.open(path, readonly=True) as store:
        export(store, "parquet", fifo)
    reader.join()
    assert found == [exported(path, "parquet")]
    assert fifo.is_fifo()


SIDES = ("-wal", "-shm", "-journal")


@pytest.fixture
def beside(path: Path, tmp_path: Path) -> dict[str, Path]:
    """Files that an export must not replace, by what they are."""
    log = Path(f"{path}-wal")
    shutil.copy(path, tmp_path / "other.sqlite")
    foreign = sqlite3.connect(tmp_path / "foreign.db")
    foreign.execute("CREATE TABLE notes (text)")
    foreign.close()
    files = {
        "the store": path,
        "a link to it": tmp_path / "link",
        "a hard link to it": tmp_path / "hard",
        "another store": tmp_path / "other.sqlite",
        "a database": tmp_path / "foreign.db",
        "a link to a database": tmp_path / "foreign link",
        **{f"the store's {side}": Path(f"{path}{side}") for side in SIDES},
        **{f"another store's {side}": tmp_path / f"other.sqlite{side}" for side in SIDES},
        "a hard link to a log": tmp_path / "log",
    }
    files["a link to it"].symlink_to(path)
    files["a hard link to it"].hardlink_to(path)
    files["a link to a database"].symlink_to("foreign.db")
    log.write_bytes(b"\x37\x7f\x06\x82" + bytes(28))
    files["a hard link to a log"].hardlink_to(log)
    return files


WHAT = (
    *("the store", "a link to it", "a hard link to it", "another store", "a database"),
    *("a link to a database", "a hard link to a log"),
    *(f"{whose} {side}" for whose in ("the store's", "another store's") for side in SIDES),
)


@pytest.mark.parametrize("what", WHAT)
def test_an_export_replaces_no_database(
    what: str, beside: dict[str, Path], path: Path, tmp_path: Path, capsys: Any
) -> None:
    out = beside[what]
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for format in FORMATS:
        line = ["export", "--store", str(path), "--format", format, "-o", str(out)]
        assert run(line) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"coinfer: cannot write '{out}'")
        assert said.count("\n") == 1
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    # SQLite itself clears away an empty log.
    assert after == {name: data for name, data in before.items() if name in after}
    assert set(before) - set(after) <= {f"{path.name}-wal"}
    with Store.open(path, readonly=True) as store:
        assert list(store.rows()) == SOME


@pytest.mark.parametrize("side", SIDES)
def test_no_store_is_made_where_another_has_its_log(
    side: str, path: Path, tmp_path: Path, capsys: Any
) -> None:
    other = make(tmp_path / "other", [row(9)])
    log = Path(f"{path}{side}")
    for command in (["merge", str(log), str(other)], ["run", "demo", "--store", str(log)]):
        assert run(command) == 2
        said = capsys.readouterr().err
        assert f"belongs to the database '{path}'" in said
        assert said.count("\n") == 1
        assert not log.exists()


@pytest.mark.parametrize("how", ["itself", "link", "hard link"])
def test_no_store_is_merged_into_itself(how: str, path: Path, tmp_path: Path) -> None:
    again = path if how == "itself" else tmp_path / "again"
    if how == "link":
        again.symlink_to(path)
    elif how == "hard link":
        again.hardlink_to(path)
    before = path.read_bytes()
    other = make(tmp_path / "other", [row(9)])
    for target, source in ((path, again), (again, path)):
        with pytest.raises(CoinferError, match="into itself"):
            merge(target, [other, source])
    assert path.read_bytes() == before


def test_a_new_store_is_made_where_a_link_leads(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("new.sqlite")
    assert merge(link, [path]).added == 5
    assert link.is_symlink()
    assert exported(tmp_path / "new.sqlite", "json") == exported(path, "json")


# Merging.


@given(rows=st.lists(SOUND_ROWS, max_size=4, unique_by=lambda one: one.key))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_a_json_export_merges_into_an_equal_store(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder) / "s.sqlite", rows)
        for run_columns in (True, False):
            out = Path(folder) / f"{run_columns}.json"
            out.write_bytes(exported(path, "json", run_columns=run_columns))
            target = Path(folder) / f"{run_columns}.sqlite"
            assert merge(target, [out]).added == len(rows)
            assert exported(target, "json") == exported(path, "json")
            with Store.open(target) as store:
                assert {one.key: one for one in store.rows()} == {one.key: one for one in rows}
        with Store.open(Path(folder) / "True.sqlite") as store:
            for one in rows:
                assert run_fields(store.get(one.key)) == run_fields(one)


def test_an_export_of_version_1_merges_and_what_it_lacks_is_empty(tmp_path: Path) -> None:
    rows = [row(0, **NEWER), row(1, "failed")]
    data = json.loads(exported(make(tmp_path / "s.sqlite", rows), "json"))
    assert data["version"] == 2
    assert {name: data["rows"][0]["result"][name] for name in NEWER} == {
        **NEWER,
        "uplink_p95_bits": "inf",
    }
    data["version"] = 1
    for one in data["rows"]:
        for name in ADDED_COLUMNS[3]:
            del one["result"][name]
    old = tmp_path / "old.json"
    old.write_text(json.dumps(data))
    assert merge(tmp_path / "target", [old]).added == 2
    with Store.open(tmp_path / "target") as store:
        assert [one.result for one in store.rows()] == [
            row(0, uplink_bits=None).result,
            row(1, "failed").result,
        ]


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_an_export_of_another_version_is_refused(version: Any, tmp_path: Path) -> None:
    data = json.loads(exported(make(tmp_path / "s.sqlite", [row()]), "json"))
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**data, "version": version}))
    with pytest.raises(CoinferError, match=f"version {version!r}; accepted are 1, 2$"):
        merge(tmp_path / "target", [other])
    assert not (tmp_path / "target").exists()


def test_a_merged_store_is_equal_with_runs_and_retries(path: Path, tmp_path: Path) -> None:
    with Store.open(path) as store:
        store.put([row(2, "failed", reason="again")], store.begin_run({"seed": 1}))
    as_json = tmp_path / "all.json"
    as_json.write_bytes(exported(path, "json", run_columns=True))
    for source in (path, as_json):
        target = tmp_path / f"from {source.name}.sqlite"
        merge(target, [source])
        assert content(target) == content(path)
        before = target.read_bytes()
        assert merge(target, [path, as_json]).known == 10
        assert content(target) == content(path)
        assert before == target.read_bytes(), "nothing new, nothing written"
    assert not list(tmp_path.glob(".*"))


@given(
    parts=st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["ok", "failed"])), max_size=4),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
def test_merging_is_a_union_in_which_failures_give_way(parts: list[list[tuple[int, str]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = [
            make(Path(folder) / f"{n}.sqlite", [row(seed, status) for seed, status in part])
            for n, part in enumerate(parts)
        ]
        target, backwards = Path(folder) / "target", Path(folder) / "backwards"
        merge(target, files)
        merge(backwards, files[::-1])
        done = {seed for part in parts for seed, status in part if status == "ok"}
        failed = {seed for part in parts for seed, status in part} - done
        with Store.open(target) as store:
            assert [one.cell.seed for one in store.rows(status="ok")] == sorted(done)
            assert [one.cell.seed for one in store.rows(status="failed")] == sorted(failed)
            assert store.damage() == []
        assert exported(target, "json") == exported(backwards, "json")


def test_the_first_of_two_failures_stays(tmp_path: Path) -> None:
    target = make(tmp_path / "t", [row(0, "failed", reason="ours")])
    other = make(tmp_path / "o", [row(0, "failed", reason="theirs"), row(1, "skipped")])
    assert merge(target, [other]).added == 1
    with Store.open(target) as store:
        assert [one.result.reason for one in store.rows()] == ["ours", "why 1"]


def test_different_results_under_one_key_merge_nothing(tmp_path: Path) -> None:
    one = make(tmp_path / "one", [row(0), row(1)])
    two = make(tmp_path / "two", [row(5), row(1, device_flops=7)])
    before = one.read_bytes()
    for target, sources in ((one, [two]), (tmp_path / "new", [one, two])):
        with pytest.raises(CoinferError) as error:
            merge(target, sources)
        message = str(error.value)
        assert "\n" not in message
        assert row(1).key in message
        assert "device_flops is 1000000001, in" in message
        assert "nothing was merged" in message
    assert one.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_one_file_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    data = json.loads(exported(make(tmp_path / "s", [row(0)]), "json"))
    other = json.loads(json.dumps(data["rows"][0]))
    other["result"]["accuracy"] = 0.25
    data["rows"].append(other)
    file = tmp_path / "two.json"
    file.write_text(json.dumps(data))
    with pytest.raises(CoinferError, match="accuracy"):
        merge(tmp_path / "target", [file])


def test_many_conflicts_are_counted(tmp_path: Path) -> None:
    one = make(tmp_path / "one", [row(n) for n in range(10)])
    two = make(tmp_path / "two", [row(n, accuracy=0.5) for n in range(10)])
    with pytest.raises(CoinferError, match=r"10 keys have different results.*and 7 more"):
        merge(one, [two])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["rows"][0]["cell"].update(seed=9), "edited by hand"),
        (lambda d: d["rows"][0]["result"].update(accuracy="high"), "accuracy"),
        (lambda d: d["rows"][0]["result"].update(accuracy="nan"), "accuracy is nan"),
        (lambda d: d["rows"][0]["result"].update(surprise=1), "surprise"),
        (lambda d: d["rows"][0].pop("inputs"), "'inputs' is missing"),
        (lambda d: d["rows"][0]["run"].update(run_id="x"), "run x"),
        (
            lambda d: d["rows"][0]["result"].update(accuracy=9.0),
            "accuracy is 9.0; accepted",
        ),
        (lambda d: d["rows"][0]["result"]["latency"].update(encode_s=-1.0), "0 or more"),
        (lambda d: d["rows"][0]["result"]["latency"].update(total_s=1.0), "does not add up"),
        (lambda d: d["rows"][0]["result"]["latency"].pop("server_s"), "accepted: all of"),
        (lambda d: d["rows"][0]["result"].update(uplink_bits=-1.0), "uplink_bits is -1.0"),
        (lambda d: d["rows"][0]["result"].update(accuracy_loss=2.0), "accepted: -1 to 1"),
        (lambda d: d["rows"][0]["result"]["evidence"].update(latency="guess"), "published, analy"),
        (lambda d: d["rows"][0]["result"].update(ledger=[["a", -1, 0.0]]), "the ledger of a is -1"),
        (lambda d: d["rows"][0]["result"].update(plan_hash="p"), "plan_hash is p"),
        (lambda d: d["rows"][0]["result"].update(plan=None), "it has no plan"),
        (lambda d: d["rows"][0]["result"].update(plan={"a": 1}), "its plan is none: "),
        (lambda d: d["rows"][0]["result"].update(device_flops=10**400), "whole numbers of 64 bits"),
        (lambda d: d["rows"].append(3), "row 2"),
        (lambda d: d.update(version=99), "version 99"),
        (lambda d: d.update(format="x"), "format"),
        (lambda d: d.pop("rows"), "'rows' is missing"),
    ],
)
def test_a_json_file_that_is_not_right(change: Any, said: str, tmp_path: Path) -> None:
    data = json.loads(exported(make(tmp_path / "s", [row(0)]), "json", run_columns=True))
    change(data)
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(data))
    target = make(tmp_path / "t", [row(8)])
    before = content(target)
    with pytest.raises(CoinferError) as error:
        merge(target, [file])
    assert "\n" not in str(error.value)
    assert "bad.json" in str(error.value)
    assert said in str(error.value)
    assert content(target) == before


def test_files_that_cannot_be_merged(path: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no rows here")
    for source in (tmp_path / "missing", text, tmp_path, path):
        with pytest.raises(CoinferError, match="cannot merge"):
            merge(path, [source])
    with pytest.raises(CoinferError, match="cannot merge"):
        merge(tmp_path / "new", [text])
    assert not (tmp_path / "new").exists()


# The commands.


def test_export_command(path: Path, tmp_path: Path, capfdbinary: Any) -> None:
    for format in FORMATS:
        assert run(["export", "--store", str(path), "--format", format]) == 0
        assert capfdbinary.readouterr().out == exported(path, format)
        out = tmp_path / f"out.{format}"
        assert run(["export", "--store", str(path), "--format", format, "-o", str(out)]) == 0
        assert capfdbinary.readouterr() == (b"", f"5 rows to {out}\n".encode())
        assert out.read_bytes() == exported(path, format)
    line = ["export", "--store", str(path), "--format", "csv", "--with-run-columns"]
    assert run(line) == 0
    assert capfdbinary.readouterr().out == exported(path, "csv", run_columns=True)
    one = make(tmp_path / "one.sqlite", SOME[:1])
    assert run(["export", "--store", str(one), "--format", "csv", "-o", str(out)]) == 0
    assert capfdbinary.readouterr().err == f"1 row to {out}\n".encode()


def command(*words: object) -> str:
    return shlex.join(
        [sys.executable, "-c", "from coinfer.cli import main; main()", *map(str, words)]
    )


def in_bash(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("format", "head"), [*((format, "head -c 1 >/dev/null") for format in FORMATS), ("csv", "true")]
)
def test_a_reader_that_has_seen_enough_is_no_error(format: str, head: str, tmp_path: Path) -> None:
    # More than a pipe holds, so that the reader is gone while it is written.
    rows = [row(n, assumptions=(f"{n * 7919**9}" * 9,)) for n in range(400)]
    path = make(tmp_path / "s.sqlite", rows)
    done = in_bash(f"{command('export', '--store', path, '--format', format)} | {head}")
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_ends_in_one_line_and_2(path: Path) -> None:
    line = command("export", "--store", path, "--format", "csv")
    for end, said in (
        (">/dev/full", "cannot write the output: No space left on device"),
        ("-o /dev/full", "cannot write '/dev/full': No space left on device"),
        (">&-", "standard output is closed; give a file with -o"),
    ):
        done = in_bash(f"{line} {end}")
        assert (done.returncode, done.stderr) == (2, f"coinfer: {said}\n")


def test_no_room_for_a_temporary_file_ends_in_one_line_and_2(path: Path, tmp_path: Path) -> None:
    for format, out, said in (
        ("csv", "", "temporary file in"),
        ("parquet", f"-o {tmp_path}/r", f"'{tmp_path}/r': File too large"),
    ):
        line = command("export", "--store", path, "--format", format)
        done = in_bash(f"ulimit -f 1; {line} {out}")
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    # SQLite may leave the log and the lock file that it had no room for.
    assert {file.name.partition("-")[0] for file in tmp_path.iterdir()} == {path.name}
    assert table(path)


def test_a_file_that_may_only_be_read_is_not_replaced(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.csv"
    out.write_text("precious")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    with Store.open(path, readonly=True) as store:
        with pytest.raises(CoinferError, match="may only be read"):
            export(store, "csv", out)
        with pytest.raises(CoinferError, match="is a folder"):
            export(store, "csv", tmp_path)
    assert out.read_text() == "precious"


def test_merge_command(path: Path, tmp_path: Path, capsys: Any) -> None:
    target = tmp_path / "all.sqlite"
    assert run(["merge", str(target), str(path)]) == 0
    assert "5 rows added, 0 failures replaced, 0 already there" in capsys.readouterr().out
    more = make(tmp_path / "more", [row(7), row(2, "skipped")])
    assert run(["merge", str(target), str(more)]) == 0
    assert "1 row added, 1 failure replaced, 0 already there" in capsys.readouterr().out
    clash = make(tmp_path / "clash", [row(0, accuracy=0.1)])
    assert run(["merge", str(target), str(clash)]) == 2
    said = capsys.readouterr().err
    assert row(0).key in said
    assert "1 key has different results" in said


def test_store_info_command(path: Path, tmp_path: Path, capsys: Any) -> None:
    assert run(["store-info", "--store", str(path), "--check"]) == 0
    said = capsys.readouterr().out
    for part in ("rows: 5", "ok: 2", "failed: 1", "runs: 1", "made results.sqlite", "sound"):
        assert part in said
    one = make(tmp_path / "one", SOME[:1])
    assert run(["store-info", "--store", str(one)]) == 0
    assert ": 1 row, made one\n" in capsys.readouterr().out


def test_store_info_counts_the_rows_of_each_run(path: Path, capsys: Any) -> None:
    with Store.open(path) as store:
        store.put([row(7)], store.begin_run({"command_line": ["a b", "\x1b[31m"]}))
        store.begin_run({})
    assert run(["store-info", "--store", str(path)]) == 0
    said = capsys.readouterr().out
    assert ": 5 rows, made results.sqlite\n" in said
    assert "not finished: 1 row, 'a b' '\\x1b[31m'\n" in said
    assert "not finished: 0 rows, no command line\n" in said


@pytest.mark.parametrize("command", ["export", "store-info", "explain-miss", "merge"])
def test_a_store_that_is_none_ends_in_one_line_and_2(
    command: str, tmp_path: Path, capsys: Any
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no store" * 500)
    more = {
        "export": ["--store", str(text), "--format", "csv"],
        "merge": [str(tmp_path / "new"), str(text)],
        "explain-miss": ["--store", str(text), "demo"],
        "store-info": ["--store", str(text)],
    }
    assert run([command, *more[command]]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "notes.txt" in said


def test_infinite_latencies_survive_everything(tmp_path: Path) -> None:
    path = make(tmp_path / "s", [row(0)])
    file = tmp_path / "s.json"
    file.write_bytes(exported(path, "json"))
    merge(tmp_path / "t", [file])
    with Store.open(tmp_path / "t") as store:
        assert next(store.rows()).result.latency["total_s"] == math.inf
        assert "latency_total_s" in columns(store)
