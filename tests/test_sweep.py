"""Sweeps: one design, whatever interrupts it; tables of one origin; one writer."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import code_study, recipe_study, studies, sweep, sweep_cli
from benchmarks.engines import LokyEngine
from benchmarks.sweep import run_sweep
from benchmarks.tables import cross_check_names, find_study, shipped_table, study_names, table_names
from benchmarks.trainings import Trained, Training
from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.checkpoints import Checkpoint
from coinfer.accuracy.measurement import Measurement, Payload, pack
from coinfer.accuracy.recipe import CPU, QUICK, UNTRAINED
from coinfer.accuracy.table import Origin, read_table
from coinfer.cli import run as coinfer
from coinfer.data import load_splits
from coinfer.errors import CoinferError
from coinfer.plan import CutRef, Plan
from coinfer.tasks import make_task

COUNT = 80  # corners, Sobol points, and adaptive rounds that need the rows before them


TASK = make_task("alexnet-cifar", groups=True)


@pytest.fixture(scope="module")
def box() -> Box:
    return search_box(TASK, "prune-partition")


BASE = Training(Plan("alexnet-cifar", CutRef(0, "input")), QUICK, 0, "digits", "p.pt", "ab" * 32)
ORIGIN = Origin(
    *("t", "alexnet-cifar", "prune-partition", COUNT, 0, QUICK, "ab" * 32),
    parent={},
    data="digits",
    data_hash="cd" * 32,
)


def trained(training: Training) -> Trained:
    """A stand-in for minutes of training: an accuracy that falls with what is pruned."""
    kept = sum(count for _, count in training.plan.keep) + 1
    right = np.zeros(1000, dtype=np.bool_)
    right[: 400 + kept % 500] = True
    measurement = Measurement(
        *(training.plan, training.recipe.label, training.recipe.hash, training.parent_sha256),
        *("cd" * 32, training.seed, pack(right), len(right), None, None),
        *(Payload(1.0, 1.0, 1.0, None, "analytic"), 1, 2, 0, 0, 1, 64),
    )
    return Trained(measurement, 1.0, {"cpu": "none"}, "c0de")


class Workers:
    """Runs stand-ins, in some order, until it is stopped."""

    def __init__(self, *, backwards: bool = False, stop_after: int | None = None) -> None:
        self.backwards, self.left = backwards, stop_after
        self.plans: list[Plan] = []

    def __call__(self, trainings: Sequence[Training], **_: Any) -> Iterator[tuple[int, Trained]]:
        order = list(enumerate(trainings))
        for position, training in reversed(order) if self.backwards else order:
            if self.left == 0:
                raise KeyboardInterrupt
            if self.left is not None:
                self.left -= 1
            self.plans.append(training.plan)
            yield position, trained(training)


def go(
    monkeypatch: pytest.MonkeyPatch, path: Path, box: Box, workers: Workers, **changes: Any
) -> None:
    monkeypatch.setattr(sweep, "run_trainings", workers)
    arguments: dict[str, Any] = {"origin": ORIGIN, "base": BASE, "count": COUNT, **changes}
    for _ in run_sweep(path, box, **arguments):
        pass


def test_an_interrupted_sweep_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Box
) -> None:
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    go(monkeypatch, whole, box, Workers())
    ran: list[Plan] = []
    for stop_after in (1, 30, 20, None):
        workers = Workers(backwards=True, stop_after=stop_after)
        try:
            go(monkeypatch, parts, box, workers)
        except KeyboardInterrupt:
            assert len(read_table(parts).samples) == len(ran) + len(workers.plans)
        ran += workers.plans
    assert parts.read_bytes() == whole.read_bytes()
    assert len(ran) == len(set(ran)) == COUNT
    assert {s.why for s in read_table(whole).samples} == {"corner", "sobol", "adaptive"}


def test_a_training_that_diverges_is_recorded_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Box
) -> None:
    class Diverging(Workers):
        def __call__(
            self, trainings: Sequence[Training], **_: Any
        ) -> Iterator[tuple[int, Trained | CoinferError]]:
            for position, result in super().__call__(trainings):
                bad = position % 5 == 3
                yield position, CoinferError("diverged: nan") if bad else result

    path = tmp_path / "t.csv"
    workers = Diverging()
    go(monkeypatch, path, box, workers)
    table = read_table(path)
    assert len(table.failed) > 5
    assert len(table.failed) + len(table.samples) == COUNT == len(set(workers.plans))
    assert set(table.failed.values()) == {"diverged: nan"}
    again = Workers()
    go(monkeypatch, path, box, again)
    assert again.plans == []


def test_a_larger_sweep_tops_a_table_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Box
) -> None:
    path = tmp_path / "t.csv"
    go(monkeypatch, path, box, Workers(), count=20)
    first = read_table(path).samples
    more = Workers()
    go(monkeypatch, path, box, more)
    assert len(more.plans) == COUNT - 20
    assert read_table(path).samples[:20] == first
    assert read_table(path).origin.target == COUNT


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"parent_sha256": "ef" * 32}, "parent_sha256"),
        ({"recipe": replace(QUICK, version=99)}, f"recipe {QUICK.label}, now it is quick-v99"),
        ({"seed": 1}, "seed"),
        ({"data_hash": "00"}, "data_hash"),
        ({"family": "qho"}, "family"),
        ({"sobol_first": 8}, "sobol_first 32, now it is 8"),
        ({"max_accuracy_loss": 0.05}, "max_accuracy_loss 0.02, now it is 0.05"),
    ],
)
def test_origins_are_never_mixed(
    change: dict[str, Any],
    field: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    box: Box,
) -> None:
    path = tmp_path / "t.csv"
    go(monkeypatch, path, box, Workers(), count=3)
    before = path.read_bytes()
    with pytest.raises(CoinferError, match=f"was begun with {field}"):
        go(monkeypatch, path, box, Workers(), origin=replace(ORIGIN, **change))
    assert path.read_bytes() == before


def test_a_short_table_comes_to_plans_near_its_own_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Box
) -> None:
    path = tmp_path / "t.csv"
    origin = replace(ORIGIN, sobol_first=4, max_accuracy_loss=0.05)
    go(monkeypatch, path, box, Workers(), origin=origin, count=20)
    table = read_table(path)
    assert table.origin == origin
    why = [sample.why for sample in table.samples]
    first = why.index("sobol")
    assert why[first : first + 9] == [*["sobol"] * 4, *["adaptive"] * 4, "sobol"]


def test_a_table_has_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Box) -> None:
    path = tmp_path / "t.csv"
    with (tmp_path / ".t.csv.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CoinferError, match="being written by another sweep"):
            go(monkeypatch, path, box, Workers())
    go(monkeypatch, path, box, Workers(), count=1)


def test_a_study_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Box
) -> None:
    path, about, lengths = tmp_path / "study.csv", {"parent_sha256": "ab"}, (100, 2000, 4000)

    def study(workers: Workers, where: Path, facts: dict[str, Any] = about) -> None:
        monkeypatch.setattr(studies, "run_trainings", workers)
        wanted = list(recipe_study.points(TASK, 2000, lengths))
        for _ in studies.run_study(where, studies.RECIPE_STUDY, wanted, BASE, facts):
            pass

    study(Workers(), tmp_path / "whole.csv")
    with pytest.raises(KeyboardInterrupt):
        study(Workers(stop_after=5), path)
    rest = Workers(backwards=True)
    study(rest, path)
    assert len(rest.plans) == 7
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    with pytest.raises(CoinferError, match="another parent, other data or another seed"):
        study(Workers(), path, {"parent_sha256": "cd"})
    with pytest.raises(CoinferError, match="is a recipe study; accepted: a code study"):
        list(studies.run_study(path, studies.CODE_STUDY, [], BASE, about))
    path.write_text(path.read_text()[:-40])
    with pytest.raises(CoinferError, match="is damaged"):
        study(Workers(), path)


def test_the_study_trains_what_it_says(box: Box) -> None:
    found = list(recipe_study.points(TASK, 2000, (100, 2000, 6000)))
    assert [p.images for p in found] == sorted(p.images for p in found)
    assert {float(*p.case) for p in found} == set(recipe_study.SPARSITIES)
    for point in found:
        (phase,) = point.recipe.phases
        seen = phase.epochs * (phase.images or 2000)
        assert seen == point.images
        kept = box.space.keep_vector(point.plan.keep)
        (sparsity,) = map(float, point.case)
        assert kept.tolist() == box.space.kept_from_sparsity(sparsity).reshape(-1).tolist()


@pytest.mark.parametrize("model", ["alexnet-cifar", "resnet18"])
def test_the_code_study_holds_the_widest_codes_against_the_network_without_one(model: str) -> None:
    task = make_task(model, groups=True)
    found = list(code_study.points(task, 45_000, (1.0, 4.0)))
    shorter, longer = found[: len(found) // 2], found[len(found) // 2 :]
    assert [p.plan for p in shorter] == [p.plan for p in longer]
    assert {phase for p in shorter for phase in p.recipe.phases} == set(CPU.phases)
    for point in found:
        seen = sum(phase.epochs * (phase.images or 45_000) for phase in point.recipe.phases)
        assert seen == point.images
        assert not point.plan.keep
    assert longer[0].images > 3.5 * shorter[0].images
    baseline, *coded = (p.plan for p in shorter)
    assert baseline.unchanged
    assert len({plan.hash for plan in coded}) == len(coded) == 2 * len(code_study.FAMILIES)
    assert len({plan.cut for plan in coded}) == 2
    for point in shorter[1:]:
        family, cut, codec = point.case
        assert (cut, codec) == (point.plan.cut.after, point.plan.codec)
        # No code of the family at that cut has more elements.
        box = search_box(task, family)
        rng = np.random.default_rng(0)
        others = box.decide(rng.random((500, box.dimension)))
        mine = box.read([point.plan])
        others = others.take(np.flatnonzero(others.cut == mine.cut[0]))
        assert len(others)
        sent = box.codec.elements(others.codec, box.crossing_of(others))
        (widest,) = box.codec.elements(mine.codec, box.crossing_of(mine))
        assert (sent <= widest).all()


@pytest.fixture
def own_sigterm() -> Iterator[None]:
    """Should a command not handle it, SIGTERM is to end a test and not all of them."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("own_sigterm")
@pytest.mark.parametrize("command", ["sweep", "recipe-study", "code-study"])
def test_sigterm_ends_a_command_as_ctrl_c_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    class Ended(Workers):
        def __call__(
            self, trainings: Sequence[Training], **_: Any
        ) -> Iterator[tuple[int, Trained]]:
            for done, result in enumerate(super().__call__(trainings)):
                if done == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield result

    prepared = BASE, Checkpoint(BASE.parent_sha256, {}), load_splits("digits")
    monkeypatch.setattr(sweep_cli, "prepare", lambda *_: prepared)
    for module in (sweep, studies):
        monkeypatch.setattr(module, "run_trainings", Ended())
    path = tmp_path / "t.csv"
    asked = [command, "alexnet-cifar", "--data", "digits", "-o", str(path)]
    recipe = ["--recipe", "digits"] if command == "sweep" else []
    assert coinfer([*asked, *recipe]) == 130
    assert len(path.read_text().splitlines()) == 1 + 3


def test_of_a_family_that_nobody_trains_a_sweep_measures_every_plan_untrained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = load_splits("digits")

    class OnDigits(Workers):
        def __call__(
            self, trainings: Sequence[Training], **_: Any
        ) -> Iterator[tuple[int, Trained]]:
            for position, result in super().__call__(trainings):
                measurement = replace(result.measurement, data_hash=digits.hash)
                yield position, replace(result, measurement=measurement)

    prepared = BASE, Checkpoint(BASE.parent_sha256, {}), digits
    monkeypatch.setattr(sweep_cli, "prepare", lambda *_: prepared)
    path = tmp_path / "t.csv"
    asked = ["sweep", "alexnet-cifar", "--family", "quantised", "--data", "digits", "-o", str(path)]
    part, rest = OnDigits(stop_after=20), OnDigits()
    monkeypatch.setattr(sweep, "run_trainings", part)
    assert coinfer(asked) == 130
    monkeypatch.setattr(sweep, "run_trainings", rest)
    assert coinfer([*asked, "--resume"]) == 0
    table = read_table(path)
    assert len(part.plans) + len(rest.plans) == len(table.samples) == table.origin.target == 57
    assert table.origin.recipe == UNTRAINED
    assert {sample.why for sample in table.samples} == {"every"}
    assert "57 of 57 plans" in capsys.readouterr().err


def test_the_list_of_tables_says_how_far_each_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert coinfer(["list", "tables"]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(told) == [*table_names(), *cross_check_names(), *study_names()]
    for name in (*table_names(), *cross_check_names()):
        table = shipped_table(name)
        start = f"{len(table.samples)} of {table.origin.target} plans, family {table.origin.family}"
        assert told[name].startswith(start)
        assert told[name].endswith("no method learns from") == (name in cross_check_names())
    for name in study_names():
        found = find_study(name)
        whole = {"recipe study": 28, "code study": 21}[found.kind.name]
        assert told[name].startswith(
            f"{len(found.rows)} of {whole} trainings of a {found.kind.name}"
        )
    assert coinfer(["list", "tables", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert list(about) == list(told)
    digits = about["alexnet-cifar-qho-digits"]
    assert (digits["data"], digits["samples"], digits["recipe"]["name"]) == ("digits", 6, "digits")


# What workers do beside their work.


def test_a_worker_is_not_replaced_because_a_plan_is_larger() -> None:
    def grow(megabytes: int, then_s: float) -> int:
        """Take memory for good, as trainings of larger and larger plans seem to do."""
        held = sys.__dict__.setdefault("held", [])
        held.append(b"x" * (megabytes << 20))
        time.sleep(then_s)
        return os.getpid()

    engine, workers = LokyEngine(1), []
    try:
        for job, (megabytes, then_s) in enumerate([(1, 0.0), (400, 1.1), (1, 0.0), (1, 0.0)]):
            engine.submit(job, grow, megabytes, then_s)
            workers += [done.value for done in engine.wait(60.0)]
    finally:
        engine.close()
    assert len(workers) == 4
    assert len(set(workers)) == 1


def test_ended_workers_leave_no_semaphores_behind() -> None:
    pytest.importorskip("tqdm")
    code = """
from benchmarks.engines import LokyEngine

def trace():  # which shows a progress bar that is switched off
    from tqdm import tqdm
    return len(list(tqdm([0], disable=True)))

engine = LokyEngine(1)
engine.submit(0, trace)
found = list(engine.wait(60.0))
engine.close()
print(found[0].value)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert done.stderr == ""
