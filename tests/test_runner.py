"""The runner: every cell gets its row, once, whoever computes it and whatever goes wrong."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import runner
from benchmarks.catalog import Catalog
from benchmarks.cells import Cell
from benchmarks.engines import Done, LokyEngine, make_engine
from benchmarks.evaluate import Group, evaluate, prepare
from benchmarks.matrix import Filters, expand, load, parse_filter
from benchmarks.progress import Lines, Silent
from benchmarks.runner import preview, run, run_rows
from benchmarks.store import Store
from benchmarks.timelimit import Limit
from benchmarks.worker import Answered, pack, prepare_parcel, run_chunk
from coinfer.errors import CoinferError
from coinfer.refs import parse_ref
from tests.running import Bench, InProcess, by_status


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.opened(tmp_path) as opened:
        yield opened


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does not matter who computes, save the start of a worker."""
    monkeypatch.setattr(runner, "make_engine", lambda *_: InProcess())


NO_WORKERS = pytest.mark.usefixtures("in_process")


class Watch(Silent):
    """Progress that keeps what it is told, and lets a test look at each commit."""

    def __init__(self, at_commit: Callable[[int], None] = lambda cells: None) -> None:
        self.commits: list[int] = []
        self.waited_for: list[str] = []
        self.at_commit = at_commit

    def advance(self, cells: int) -> None:
        self.commits.append(cells)
        self.at_commit(cells)

    def still(self, jobs: str) -> None:
        self.waited_for.append(jobs)


def children() -> list[int]:
    """Living child processes (Linux)."""
    found = []
    for file in Path("/proc/self/task").glob("*/children"):
        found += [int(pid) for pid in file.read_text(encoding="utf-8").split()]
    alive = []
    for pid in found:
        stat = Path(f"/proc/{pid}/stat")
        command = Path(f"/proc/{pid}/cmdline")
        if stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z":
            alive += [] if b"resource_tracker" in command.read_bytes() else [pid]
    return alive


# The rows are right, and the same whoever computes them.


def test_rows_are_what_evaluating_each_cell_gives(bench: Bench) -> None:
    matrix = load("demo")
    summary = run(matrix, bench.store())
    catalog = Catalog()
    expected = [
        evaluate(prepare(Group.of(cell), catalog), cell) for cell in expand(matrix, catalog)
    ]
    found = {row.cell: row for row in bench.rows()}
    assert found == {row.cell: row for row in expected}
    assert (summary.cells, summary.computed, summary.hits) == (96, 96, 0)
    assert summary.statuses == (("ok", 96),)
    assert summary.exit_code == 0


def test_rows_are_equal_for_any_number_of_workers_and_any_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = replace(load("demo"), models=("alexnet",))
    run(matrix, bench.store("one"))
    run(matrix, bench.store("two"), jobs=2)

    def shuffled(*arguments: Any) -> list[Cell]:
        cells = expand(*arguments)
        random.Random(1).shuffle(cells)
        return cells

    monkeypatch.setattr(runner, "expand", shuffled)
    run(matrix, bench.store("shuffled"))
    assert len(bench.rows("one")) == 48
    assert bench.rows("one") == bench.rows("two") == bench.rows("shuffled")


def test_rows_are_equal_for_any_hash_seed(bench: Bench) -> None:
    file = bench.file(6, "odd", "neurosurgeon", "exhaustive")
    for seed in ("0", "1"):
        started = bench.start(*bench.command(file, f"seed{seed}"), PYTHONHASHSEED=seed)
        code, errors = bench.finish(started)
        assert code == 0, errors
    bench.run(load(file), "here")
    assert len(bench.rows("here")) == 18
    assert bench.rows("here") == bench.rows("seed0") == bench.rows("seed1")


def test_results_do_not_depend_on_where_a_chunk_is_split(bench: Bench) -> None:
    catalog = Catalog()
    cells = tuple(
        cell for cell in expand(load("demo"), catalog) if Group.of(cell).method == "exhaustive"
    )[:12]
    parcel = pack(prepare(Group.of(cells[0]), catalog))
    whole = run_chunk(parcel, cells, Limit(), budget_s=1e9)
    assert [row.cell for row in whole.rows] == list(cells)
    hurried = run_chunk(parcel, cells, Limit(), budget_s=0.0)
    assert hurried.rows == whole.rows[:1]


# Nothing is computed twice, nothing is lost.


def test_a_second_run_computes_nothing(bench: Bench) -> None:
    matrix = bench.matrix(8)
    first = bench.run(matrix)
    again = bench.run(matrix, jobs=2)
    assert (first.computed, again.computed, again.hits) == (8, 0, 8)
    assert again.statuses == first.statuses
    assert set(bench.asked().values()) == {1}
    with Store.open(bench.store(), readonly=True) as store:
        assert len(store.runs()) == 1  # a run that computes nothing leaves no trace


@NO_WORKERS
def test_a_larger_matrix_computes_what_is_missing(bench: Bench) -> None:
    bench.run(bench.matrix(5))
    summary = bench.run(bench.matrix(9))
    assert (summary.hits, summary.computed) == (5, 4)
    assert bench.asked() == {mbps * 1e6: 1 for mbps in range(1, 10)}


def test_an_interrupted_run_keeps_its_rows_and_the_next_goes_on(bench: Bench) -> None:
    matrix = bench.matrix(6, "odd_trained")

    def interrupt(_cells: int) -> None:
        with Store.open(bench.store(), readonly=True) as store:
            if store.count() == 3:
                raise KeyboardInterrupt

    for jobs in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            bench.run(matrix, jobs=jobs, progress=Watch(interrupt))
        assert len(bench.rows()) == 3
        assert children() == []
        with Store.open(bench.store(), readonly=True) as store:
            assert [run.finished_at for run in store.runs()] == [None]
        bench.run(matrix)
        assert len(bench.rows()) == 6
        bench.store().unlink()


@NO_WORKERS
def test_a_trained_cell_is_committed_on_its_own(bench: Bench) -> None:
    watch = Watch()
    bench.run(bench.matrix(5, "odd_trained"), progress=watch)
    assert watch.commits == [1] * 5
    assert len(bench.built()) == 1  # one library for all its cells
    assert {row.result.ledger for row in bench.rows()} == {(("label", 3, 0.0),)}


@NO_WORKERS
def test_cheap_cells_are_committed_together(bench: Bench) -> None:
    watch = Watch()
    bench.run(bench.matrix(200), progress=watch)
    assert watch.commits[0] == 1  # a probe, to see how long a cell takes
    assert len(watch.commits) <= 6
    assert sum(watch.commits) == 200


@NO_WORKERS
def test_a_slow_cell_holds_up_no_cell_behind_it(bench: Bench) -> None:
    """Once it is over, what its chunk has left is given back, and its row is committed."""
    seen: list[tuple[int, int]] = []

    def look(_cells: int) -> None:
        with Store.open(bench.store(), readonly=True) as store:
            seen.append((store.count(), len(bench.log())))

    # Cells are in order of their links' text: 1, 10, 11, ...; the nap of 2 s is the fourth's.
    matrix = bench.matrix(30, "odd[what=nap,at_bps=12e6]")
    bench.run(matrix, progress=Watch(look))
    assert [rate for _, rate, _, _ in bench.log()][3] == 12e6
    assert seen[:2] == [(1, 1), (4, 4)]  # the probe; then nothing was begun after the nap
    assert seen[-1] == (30, 30)


@NO_WORKERS
def test_slow_cells_are_committed_one_by_one(bench: Bench) -> None:
    seen: list[tuple[int, int]] = []

    def look(_cells: int) -> None:
        with Store.open(bench.store(), readonly=True) as store:
            seen.append((store.count(), len(bench.log())))

    bench.run(bench.matrix(3, "odd[sleep_s=0.6]"), progress=Watch(look))
    assert seen == [(1, 1), (2, 2), (3, 3)]


# What fails is a row with a reason, and is tried again.


def test_a_failing_cell_harms_no_other(bench: Bench) -> None:
    matrix = bench.matrix(5, "odd[what=raise,at_bps=3e6]", "all_local")
    for jobs in (1, 2):
        store = f"jobs{jobs}"
        summary = bench.run(matrix, store, jobs=jobs)
        assert dict(summary.statuses) == {"ok": 9, "failed": 1}
        assert summary.exit_code == 1
        (failed,) = [row for row in bench.rows(store) if row.result.status == "failed"]
        assert failed.cell.link == "rate[rate_bps=3000000.0]"
        assert failed.result.reason == "ArithmeticError: it is too odd"
        assert "in misbehave" in failed.traceback
        assert any("1 of odd" in line and "too odd" in line for line in summary.lines())
    assert bench.rows("jobs1") == bench.rows("jobs2")


@NO_WORKERS
def test_failed_cells_are_no_hits(bench: Bench) -> None:
    matrix = bench.matrix(4, "odd[what='raise until fixed',at_bps=2e6]".replace("'", '"'))
    assert bench.run(matrix).count("failed") == 1
    again = bench.run(matrix)
    assert (again.hits, again.computed, again.exit_code) == (3, 1, 1)
    (bench.folder / "fixed").touch()
    assert bench.run(matrix).statuses == (("ok", 4),)
    assert bench.asked() == {1e6: 1, 2e6: 3, 3e6: 1, 4e6: 1}
    assert by_status(bench.rows()) == {"ok": 4}


@NO_WORKERS
def test_retry_failed_computes_the_failed_ones_only(bench: Bench) -> None:
    method = 'odd[what="raise until fixed",at_bps=2e6]'
    bench.run(bench.matrix(3, method))
    (bench.folder / "fixed").touch()
    summary = bench.run(bench.matrix(6, method), retry_failed=True)
    assert (summary.hits, summary.computed, summary.left_out) == (2, 1, 3)
    assert bench.asked() == {1e6: 1, 2e6: 2, 3e6: 1}
    assert by_status(bench.rows()) == {"ok": 3}


@NO_WORKERS
def test_skipped_cells_say_why_and_fail_a_strict_run_only(bench: Bench) -> None:
    matrix = bench.matrix(3, "odd[what=skip,at_bps=1e6]")
    summary = bench.run(matrix)
    assert dict(summary.statuses) == {"ok": 2, "skipped": 1}
    assert summary.exit_code == 0
    assert "it is too odd" in "\n".join(summary.lines())
    # As a hit it counts as much.
    again = bench.run(matrix, strict=True)
    assert (again.computed, again.count("skipped"), again.exit_code) == (0, 1, 1)


# Long for a cell that behaves, its worker's first imports included, on a machine under load.
LIMIT_S = 3.0


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("what", ["sleep", "spin"])
def test_a_cell_that_takes_too_long_becomes_a_failed_row(
    bench: Bench, jobs: int, what: str
) -> None:
    matrix = bench.matrix(4, f"odd[what={what},at_bps=2e6]")
    summary = bench.run(matrix, jobs=jobs, cell_timeout_s=LIMIT_S)
    assert dict(summary.statuses) == {"ok": 3, "failed": 1}
    (failed,) = [row for row in bench.rows() if row.result.status == "failed"]
    assert failed.result.reason == f"timed out after {LIMIT_S:g} s"
    assert "in misbehave" in failed.traceback
    assert LIMIT_S <= failed.seconds < 20.0


@pytest.mark.parametrize(("what", "jobs"), [("stuck", 2), ("swallow", 1)])
def test_a_cell_that_nothing_can_interrupt_costs_its_worker(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str, jobs: int
) -> None:
    monkeypatch.setattr(runner, "LAST_RESORT_S", 0.5)
    matrix = bench.matrix(3, f"odd[what={what},at_bps=2e6]")
    summary = bench.run(matrix, jobs=jobs, cell_timeout_s=LIMIT_S)
    assert dict(summary.statuses) == {"ok": 2, "failed": 1}
    assert dict(bench.asked()) in ({1e6: 1, 2e6: 1, 3e6: 1}, {1e6: 1, 2e6: 2, 3e6: 1})
    (failed,) = [row for row in bench.rows() if row.result.status == "failed"]
    # The same result as where it could be interrupted; how it ended is told beside.
    assert failed.result.reason == f"timed out after {LIMIT_S:g} s"
    assert failed.traceback.startswith("nothing could interrupt it")
    assert "in misbehave" in failed.traceback


@pytest.mark.parametrize(
    ("what", "jobs", "told"),
    [("kill", 2, "SIGKILL"), ("exit", 1, "EXIT(3)"), ("crash", 1, "in misbehave")],
)
def test_a_cell_that_kills_its_worker_is_given_up(
    bench: Bench, what: str, jobs: int, told: str
) -> None:
    matrix = bench.matrix(8, f"odd[what={what},at_bps=7e6]", "all_local")
    summary = bench.run(matrix, jobs=jobs)
    assert dict(summary.statuses) == {"ok": 15, "failed": 1}
    (failed,) = [row for row in bench.rows() if row.result.status == "failed"]
    assert failed.cell.link == "rate[rate_bps=7000000.0]"
    assert failed.result.reason == "worker died 2 times (crashed, killed, or out of memory)"
    assert told in failed.traceback
    assert children() == []


@pytest.mark.parametrize("where", ["what=interrupt,at_bps=2e6", "in_build=interrupt"])
def test_a_method_cannot_interrupt_the_run(bench: Bench, where: str) -> None:
    summary = bench.run(bench.matrix(2, f"odd[{where}]", "all_local"))
    failed = [row for row in bench.rows() if row.result.status == "failed"]
    assert {row.result.reason for row in failed} == {"KeyboardInterrupt: no message"}
    assert summary.count("ok") == 4 - len(failed) == (3 if "what" in where else 2)


def test_a_cell_whose_worker_was_killed_once_is_tried_again(bench: Bench) -> None:
    matrix = bench.matrix(12, 'odd[what="kill once",at_bps=7e6]')
    assert bench.run(matrix, jobs=2).statuses == (("ok", 12),)


# Libraries are built by workers, and what goes wrong there harms no other group.

DIED = "worker died 2 times (in the build, crashed, killed, or out of memory)"


@pytest.mark.parametrize(
    ("method", "in_build", "jobs", "status", "reason", "told"),
    [
        ("odd", "raise", 1, "failed", "ArithmeticError: it is too odd", "in misbehave"),
        ("odd", "exit", 1, "failed", DIED, "EXIT(3)"),
        ("odd", "crash", 2, "failed", DIED, "in misbehave"),
        ("odd_trained", '"kill once"', 2, "ok", "", ""),
    ],
)
def test_a_library_that_is_not_built_fails_its_own_cells(
    bench: Bench, method: str, in_build: str, jobs: int, status: str, reason: str, told: str
) -> None:
    matrix = bench.matrix(3, f"{method}[in_build={in_build}]", "all_local")
    bench.run(matrix, jobs=jobs)
    rows = bench.rows()
    assert by_status(row for row in rows if row.cell.method == "all_local") == {"ok": 3}
    others = [row for row in rows if row.cell.method != "all_local"]
    assert by_status(others) == {status: 3}
    assert {row.result.reason for row in others} == {reason}
    assert all(told in row.traceback for row in others)
    assert os.getpid() not in bench.built()
    assert len(bench.built()) == (1 if in_build == "raise" else 2)


@pytest.mark.parametrize(("in_build", "jobs"), [("sleep", 1), ("spin", 2), ("stuck", 1)])
def test_a_build_that_never_ends_fails_its_own_cells(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, in_build: str, jobs: int
) -> None:
    monkeypatch.setattr(runner, "LAST_RESORT_S", 0.5)
    matrix = bench.matrix(3, f"odd[in_build={in_build}]", "all_local", "exhaustive")
    summary = bench.run(matrix, jobs=jobs, cell_timeout_s=LIMIT_S)
    assert dict(summary.statuses) == {"ok": 6, "failed": 3}
    failed = [row for row in bench.rows() if row.result.status == "failed"]
    assert {row.result.reason for row in failed} == {f"build timed out after {LIMIT_S:g} s"}
    assert all("in misbehave" in row.traceback for row in failed)
    assert len(bench.built()) == 1
    assert children() == []


def test_a_build_may_have_a_limit_of_its_own(bench: Bench) -> None:
    slow = bench.matrix(2, "odd[in_build=nap]")
    assert bench.run(slow, "more", cell_timeout_s=1.5, build_timeout_s=60.0).count("ok") == 2
    assert bench.run(slow, "less", build_timeout_s=0.5).count("failed") == 2


def test_a_build_holds_up_no_other_group(bench: Bench) -> None:
    """One build, the first to begin, ends only when a cell of the other group is evaluated."""
    matrix = bench.matrix(2, "odd[in_build=wait]", "odd[sleep_s=0.01]")
    summary = bench.run(matrix, jobs=2, cell_timeout_s=60.0)
    assert summary.statuses == (("ok", 4),)


def test_long_silence_is_explained(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_TICK_S", 0.1)
    monkeypatch.setattr(runner, "_STILL_S", 0.5)
    watch = Watch()
    bench.run(bench.matrix(2, "odd[in_build=nap,what=nap,at_bps=2e6]"), progress=watch)
    told = [text.rpartition(",")[0] for text in watch.waited_for]
    of = "of odd[at_bps=2000000.0,in_build=nap,what=nap] on alexnet"
    assert set(told) == {f"a build {of}", f"1 cell(s) {of}"}


# Engines are asked politely and trusted in nothing.


def answers(done: Done) -> bool:
    """Whether a job was a chunk of cells, not a build."""
    return isinstance(done.value, Answered)


class Wrong(InProcess):
    """An engine whose workers spoil what they return."""

    def __init__(self, spoil: Callable[[Done], Done]) -> None:
        super().__init__()
        self.spoil = spoil

    def wait(self, timeout_s: float) -> Iterable[Done]:
        return [self.spoil(done) for done in super().wait(timeout_s)]


def test_a_worker_that_knows_other_presets_is_found_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_device(done: Done) -> Done:
        if not answers(done):
            return done
        rows = tuple(
            replace(row, inputs={**row.inputs, "device": "0" * 64}) for row in done.value.rows
        )
        return replace(done, value=replace(done.value, rows=rows))

    monkeypatch.setattr(runner, "make_engine", lambda *_: Wrong(other_device))
    with pytest.raises(CoinferError, match="by other numbers; give it the same preset files"):
        bench.run(bench.matrix(3))
    assert bench.rows() == []


def test_rows_that_came_back_are_kept_when_the_engine_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(InProcess):
        def wait(self, timeout_s: float) -> Iterable[Done]:
            for done in super().wait(timeout_s):
                yield done
                if answers(done):
                    raise CoinferError("the cluster went away")

    monkeypatch.setattr(runner, "make_engine", lambda *_: Failing())
    with pytest.raises(CoinferError, match="the cluster went away"):
        bench.run(bench.matrix(3))
    assert len(bench.rows()) == 1


def test_an_error_of_the_worker_itself_fails_its_cells(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(done: Done) -> Done:
        return Done(done.job, error=MemoryError("no room")) if answers(done) else done

    engine = Wrong(no_room)
    monkeypatch.setattr(runner, "make_engine", lambda *_: engine)
    summary = bench.run(bench.matrix(3))
    assert summary.statuses == (("failed", 3),)
    assert {row.result.reason for row in bench.rows()} == {
        "the worker failed: MemoryError: no room"
    }


def test_a_worker_with_other_code_is_found_out(bench: Bench) -> None:
    (cell,) = expand(bench.matrix(1), bench.catalog)
    prepared = prepare(Group.of(cell), bench.catalog)
    assert run_chunk(pack(prepared), (cell,), Limit(), 1.0).rows
    older = replace(prepared, inputs={**prepared.inputs, "harness": "0" * 64})
    with pytest.raises(CoinferError, match=r"runs other code .*harness of odd differs"):
        run_chunk(pack(older), (cell,), Limit(), 1.0)
    with pytest.raises(CoinferError, match=r"runs other code .*harness of odd differs"):
        prepare_parcel(prepared.group, bench.catalog, older.inputs, Limit())


def test_a_worker_killed_while_idle_is_replaced() -> None:
    engine = LokyEngine(1)
    try:
        engine.submit(0, abs, -1)
        assert [done.value for done in engine.wait(60.0)] == [1]
        (worker,) = children()
        subprocess.run(["/bin/kill", "-9", str(worker)], check=True)
        for job in (1, 2):
            engine.submit(job, abs, -job)
            (done,) = engine.wait(60.0)
            if done.died:  # the pool had not noticed yet: the runner would try again
                continue
            assert done.value == job
            break
        else:
            pytest.fail("the worker was not replaced")
    finally:
        engine.close()
    assert children() == []


def test_bad_options_are_refused(bench: Bench) -> None:
    with pytest.raises(CoinferError, match="unknown executor 'dsak'; did you mean 'dask'"):
        make_engine("dsak", None, None)
    with pytest.raises(CoinferError, match="jobs is -2; allowed is 1 or more"):
        make_engine("joblib", -2, None)
    with pytest.raises(CoinferError, match="address goes with --executor dask or ray"):
        make_engine("joblib", 2, "tcp://nowhere:1")
    for what in ("cell", "build"):
        with pytest.raises(CoinferError, match=f"{what} timeout is inf s; allowed is a number"):
            bench.run(bench.matrix(1), **{f"{what}_timeout_s": float("inf")})
    assert not bench.store().exists()


# A dry run tells what a run does.


@NO_WORKERS
def test_a_dry_run_foretells_the_run_and_writes_nothing(bench: Bench) -> None:
    small = bench.matrix(3, "odd[what=skip,at_bps=1e6]", "odd[what=skip,at_bps=5e6]")
    large = bench.matrix(6, *small.methods)
    path, catalog = bench.store(), bench.catalog
    told = preview(large, path, catalog=catalog)
    assert [(one.cells, one.hits, one.compute) for one in told] == [(6, 0, 6)] * 2
    assert [one.skips for one in told] == [(("it is too odd", 1),)] * 2
    assert not path.exists()
    assert bench.log() == []

    bench.run(small)
    before = path.read_bytes()
    told = preview(large, path, catalog=catalog)
    # The skip at 1 Mbit/s is a hit by now, the one at 5 Mbit/s is not.
    assert [(one.hits, one.compute, sum(n for _, n in one.skips)) for one in told] == [
        (3, 3, 0),
        (3, 3, 1),
    ]
    assert path.read_bytes() == before
    summary = bench.run(large)
    assert (summary.hits, summary.computed) == (6, 6)
    assert preview(large, path, catalog=catalog, retry_failed=True)[0].compute == 0


@NO_WORKERS
def test_filters_narrow_a_run(bench: Bench) -> None:
    only = Filters(include=(parse_filter("link=rate[rate_bps=2e6]"),))
    summary = bench.run(bench.matrix(4), filters=[only])
    assert summary.cells == 1
    assert bench.asked() == {2e6: 1}


# The command line.


def cli(*arguments: str) -> int:
    from coinfer.cli import run as main

    return main(list(arguments))


def test_the_command_line_runs_a_matrix(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(bench.file(4, "odd[what=raise,at_bps=2e6]", "all_local"))
    common = (file, "--store", str(bench.store()), "--method-file", bench.catalog.method_files[0])
    assert cli("run", *common, "--dry-run") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1].split() == ["total", "8", "0", "8", "0"]
    assert not bench.store().exists()
    assert cli("run", *common, "--exclude", "link=rate[rate_bps=2e6]") == 0
    assert cli("run", *common) == 1
    errors = capsys.readouterr().err
    assert "2 cells to compute, 6 in the store" in errors
    assert "failed: 1 of odd" in errors
    assert cli("run", *common, "--retry-failed", "--quiet") == 1
    assert "cells to compute" not in capsys.readouterr().err
    assert bench.asked()[2e6] == 2


def test_what_methods_print_is_not_on_stdout(bench: Bench) -> None:
    """Neither where workers run them, nor where the file is imported; and the answer is."""
    text = bench.catalog.method_files[0]
    with Path(text).open("a", encoding="utf-8") as file:
        file.write("print('printed on import')\nos.system('echo printed by a child on import')\n")
    command = bench.command(bench.file(2, "odd[in_build=print,what=print,at_bps=1e6]"))
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}  # what a worker prints is not lost with it
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=buffered)
    assert done.stdout == ""
    for said in ("by Python", "by a child", "on import", "by a child on import"):
        assert f"printed {said}\n" in done.stderr
    dry = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
    assert "total" in dry.stdout
    assert "printed" not in dry.stdout


def test_what_workers_print_is_not_on_the_stdout_of_a_program(bench: Bench) -> None:
    code = (
        "from pathlib import Path\n"
        "from tests.running import Bench\n"
        f"bench = Bench(Path({str(bench.folder)!r}))\n"
        "print('summary', bench.run(bench.matrix(1, 'odd[in_build=print]')).exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "summary 0\n"
    assert "printed by Python\n" in done.stderr
    assert "printed by a child\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dmeo",), "unknown matrix 'dmeo'; did you mean 'demo'"),
        (("demo", "--include", "method=neurosurgon"), "did you mean 'neurosurgeon'"),
        (("demo", "--include", "methd=x"), "did you mean 'method'"),
        (("demo", "--method-file", "absent.py"), "cannot read 'absent.py'"),
        (("demo", "--jobs", "-1"), "-1 is not in the range"),
        (("demo", "--cell-timeout", "0"), "--cell-timeout is 0 s; allowed is a number above 0"),
        (("demo", "--build-timeout", "1e300"), "--build-timeout is 1e+300 s; allowed is a number"),
        (("demo", "--cell-timeout", "nan", "--dry-run"), "nan s; allowed is a number above 0"),
        (("demo", "--address", "tcp://x:1"), "address goes with"),
    ],
)
def test_misuse_is_one_line_and_exit_2(
    bench: Bench, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert cli("run", *arguments, "--store", str(bench.store())) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_help_needs_nothing_heavy() -> None:
    """`coinfer run --help` imports neither torch nor pydantic nor an executor."""
    heavy = ("torch", "numpy", "pydantic", "joblib", "dask", "ray", "rich.progress")
    code = (
        "import sys\nfrom coinfer.cli import run\nassert run(['run', '--help']) == 0\n"
        f"found = [name for name in {heavy!r} if name in sys.modules]\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "coinfer run demo --store results.sqlite" in done.stdout
    assert f"has {runner.LAST_RESORT_S:g} s more" in " ".join(done.stdout.split())


# Progress.


def test_plain_lines_come_every_few_seconds_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("benchmarks.progress.monotonic", lambda: now[0])
    lines = Lines(every_s=5.0)
    lines.start(100, 7)
    for _ in range(12):
        now[0] += 1.0
        lines.advance(5)
    now[0] += 30.0
    lines.still("a build of x on y, 30 s")
    lines.stop()
    assert capsys.readouterr().err.splitlines() == [
        "100 cells to compute, 7 in the store",
        "25/100 cells, 5 cells/s, 0:00:15 left",
        "50/100 cells, 5 cells/s, 0:00:10 left",
        "60/100 cells, still at work: a build of x on y, 30 s",
        "60/100 cells, 1.43 cells/s, 0:00:28 left",
    ]


def test_a_bar_is_shown_on_a_terminal(bench: Bench) -> None:
    import pty

    parent, child = pty.openpty()
    process = subprocess.Popen(
        bench.command(bench.file(5)), stdout=subprocess.DEVNULL, stderr=child, close_fds=True
    )
    os.close(child)
    shown = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(parent)
    assert process.wait(timeout=60) == 0
    assert "━" in shown.decode()
    assert "5/5" in shown.decode()


def test_every_status_is_counted() -> None:
    counted = Counter({"ok": 2, "failed": 1})
    summary = runner.Summary(3, 0, 3, statuses=tuple(sorted(counted.items())))
    assert summary.exit_code == 1
    assert summary.lines()[0].startswith("3 cells (1 failed, 2 ok): 0 in the store, 3 computed")


def test_a_summary_lists_so_many_reasons() -> None:
    reasons = tuple((("failed", "odd", f"it is odd at {number}"), 1) for number in range(1000))
    lines = runner.Summary(1000, 0, 1000, reasons=reasons).lines()
    assert len(lines) == 22
    assert "it is odd at 19" in lines[-2]
    assert lines[-1].strip() == "and 980 more reasons, in the rows"


def test_every_method_answers_for_every_network_or_says_why_not(tmp_path: Path) -> None:
    """Matrix `full` on one device, with agents that give up early.

    Of those that learn, two are asked about the network that is measured; fitting a predictor for
    each of the others takes seconds, and their figures' tests do.
    """
    full = load("full")
    soon = {"cia": "[episodes=2]"}
    fitted = ("prune_partition", "two_step_pruning", "fpgm", "bottlenet++", "cpcdrl", "qho")
    left_out = tuple((("model", ("alexnet-cifar",)), ("method", (name,))) for name in fitted)
    few = replace(
        full,
        methods=tuple(f"{name}{soon.get(name, '')}" for name in full.methods),
        devices=full.devices[:1],
        links=("4g", "awgn-1mhz", "bsc[flip_probability=0.01]"),
        snrs_db=(10.0,),
        filters=Filters(exclude=left_out),
    )
    summary, rows = run_rows(few, tmp_path / "full.sqlite", jobs=1, progress=Silent())
    assert summary.exit_code == 0
    assert len(rows) == (len(full.models) * len(full.methods) - len(fitted)) * 3
    asked = {(row.cell.model, parse_ref(row.cell.method).name, row.cell.link) for row in rows}
    assert len(asked) == len(rows)
    for row in rows:
        assert row.result.status in ("ok", "infeasible", "skipped")
        assert (row.result.status == "ok") == bool(row.result.plan)
        assert bool(row.result.reason) == (row.result.status != "ok")
    # What learns from nothing answers for every network, and what is measured is answered for.
    plain = {"all_local", "all_server", "neurosurgeon"}
    answered = {
        (row.cell.model, parse_ref(row.cell.method).name)
        for row in rows
        if row.result.status == "ok"
    }
    assert {model for model, name in answered if name in plain} == set(full.models)
    measured = {name for model, name in answered if model == "alexnet-cifar"}
    assert measured == plain | {"cia", "three_step"}
