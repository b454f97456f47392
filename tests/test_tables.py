"""Measurements and their tables: round trips, damage, and whether a floor held."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinfer.accuracy.measurement import Measurement, Payload, floor_held, pack, unpack
from coinfer.accuracy.recipe import QUICK
from coinfer.accuracy.table import Origin, Sample, Table, in_order, read_table, write_table
from coinfer.errors import CoinferError
from coinfer.plan import CutRef, Plan

ORIGIN = Origin(
    *("small", "alexnet-cifar", "qho", 3, 0, QUICK, "ab" * 32),
    parent={"val_accuracy": 0.75},
    data="digits",
    data_hash="cd" * 32,
)


def measurement(kept: int, flags: list[bool], payload: Payload | None = None) -> Measurement:
    right = np.array(flags)
    return Measurement(
        plan=Plan("alexnet-cifar", CutRef(3, "features.2"), keep=(("features.0", kept),)),
        recipe=QUICK.label,
        recipe_hash=QUICK.hash,
        parent_sha256=ORIGIN.parent_sha256,
        data_hash=ORIGIN.data_hash,
        seed=0,
        val_correct=pack(right),
        val_n=len(right),
        test_correct=None,
        test_n=None,
        payload=payload or Payload(1024.0, 1024.0, 1024.0, None, "analytic"),
        device_flops=10,
        server_flops=20,
        encoder_flops=1,
        decoder_flops=2,
        epochs=3,
        images=100,
    )


def table(*kept: int) -> Table:
    flags = [True, True, True, False]
    samples = [Sample("sobol", measurement(k, flags), 1.5, "m", "c0de") for k in kept]
    return Table(ORIGIN, tuple(samples), {"m": {"cpu": "x"}})


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "tables" / "small.csv"
    written = table(1, 2)
    tested = replace(measurement(5, [True, False]), test_correct=7, test_n=9)
    analog = measurement(6, [True, False], Payload(None, None, None, 64, "analytic"))
    more = [replace(written.samples[0], measurement=m) for m in (tested, analog)]
    written = replace(written, samples=(*written.samples, *more))
    write_table(path, written)
    read = read_table(path)
    assert read == written
    assert read.samples[0].machine == "m"
    assert read.machines == written.machines
    assert read.samples[2].measurement.test_accuracy == 7 / 9
    assert read.origin.parent["val_accuracy"] == 0.75
    assert read.title == "small: 4 of 3 samples"
    assert read.find(tested.plan) == read.samples[2]
    text = path.read_bytes()
    write_table(path, read)
    assert path.read_bytes() == text


def test_an_edited_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.csv"
    write_table(path, table(1, 2))
    good = path.read_text()
    for old, new, why in (
        ('""index"":3', '""index"":4', "does not have the hash"),
        (",10,20,", ",11,20,", "does not have the hash"),
        ("sobol,0.75,", "sobol,0.85,", "val_accuracy is not that of val_correct"),
        (",100,", ",many,", "invalid literal"),
        (",plan,", ",plans,", "has other columns"),
    ):
        assert old in good
        path.write_text(good.replace(old, new, 1))
        with pytest.raises(CoinferError, match=why):
            read_table(path)
    path.write_text(good[: len(good) // 2])
    with pytest.raises(CoinferError, match="line 2 is damaged|line 3 is damaged"):
        read_table(path)


def test_a_doubled_row_an_unknown_machine_or_a_list_of_failures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.csv"
    write_table(path, table(1, 2))
    good, beside = path.read_text(), path.with_suffix(".json")
    about = json.loads(beside.read_text())
    beside.write_text(json.dumps(about | {"samples": 3}))
    path.write_text(good + good.splitlines(keepends=True)[1])
    with pytest.raises(CoinferError, match="line 4 is damaged: its plan stands in a row before"):
        read_table(path)
    path.write_text(good)
    with pytest.raises(CoinferError, match="has 2 rows, and 'small.json' tells of 3"):
        read_table(path)
    assert len(read_table(path, unfinished=True).samples) == 2
    for failed in (None, [], {"a": 1}):
        beside.write_text(json.dumps(about | {"failed": failed}))
        with pytest.raises(CoinferError, match=r"'.*small\.json' is damaged: 'failed' is"):
            read_table(path)
    beside.write_text(json.dumps(about | {"machines": {"other": {}}}))
    with pytest.raises(CoinferError, match="machine 'm' is not in 'small.json'"):
        read_table(path)


def test_a_table_without_its_origin_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.csv"
    with pytest.raises(CoinferError, match=r"cannot read '.*small\.json'"):
        read_table(path)
    write_table(path, table(1))
    beside = path.with_suffix(".json")
    about = json.loads(beside.read_text())
    about["origin"]["recipe"]["version"] = "new"
    beside.write_text(json.dumps(about))
    with pytest.raises(CoinferError, match="version"):
        read_table(path)
    beside.write_text("{")
    with pytest.raises(CoinferError, match="is no JSON"):
        read_table(path)


def test_rows_stand_in_the_order_of_the_design() -> None:
    samples = table(3, 1, 2).samples
    plans = [samples[i].measurement.plan for i in (1, 2, 0)]
    assert [s.measurement.plan for s in in_order(samples, plans)] == plans


@given(st.lists(st.booleans(), min_size=1, max_size=100))
def test_flags_are_packed_without_loss(flags: list[bool]) -> None:
    assert unpack(pack(np.array(flags)), len(flags)).tolist() == flags


def test_damaged_flags_are_refused() -> None:
    with pytest.raises(CoinferError, match="damaged"):
        unpack("!", 1)
    with pytest.raises(CoinferError, match="hold 1 bytes, not 9 flags"):
        unpack(pack(np.ones(8, dtype=np.bool_)), 9)


def test_accuracy_and_its_standard_error() -> None:
    m = measurement(1, [True] * 9 + [False])
    assert m.val_accuracy == 0.9
    assert m.val_std_error == pytest.approx((0.9 * 0.1 / 10) ** 0.5)
    assert m.test_accuracy is None


def pairs(both: int, lost: int, won: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    baseline = [True] * both + [True] * lost + [False] * won + [False] * neither
    candidate = [True] * both + [False] * lost + [True] * won + [False] * neither
    return np.array(baseline), np.array(candidate)


def test_whether_a_floor_held() -> None:
    assert floor_held(*pairs(4000, 10, 10, 980), 0.02) == "held"
    assert floor_held(*pairs(3800, 210, 10, 980), 0.02) == "broken"
    assert floor_held(*pairs(3900, 105, 5, 990), 0.02) == "undecided"
    # The pairing matters: the same two accuracies with more disagreement decide less.
    assert floor_held(*pairs(4000, 75, 0, 925), 0.02) == "held"
    assert floor_held(*pairs(3000, 1075, 1000, 0), 0.02) == "undecided"
    with pytest.raises(CoinferError, match="cannot be compared in pairs"):
        floor_held(np.ones(3, dtype=np.bool_), np.ones(4, dtype=np.bool_), 0.02)


def test_the_bootstrap_agrees_with_resampling_image_by_image() -> None:
    baseline, candidate = pairs(300, 40, 25, 35)
    loss = baseline.astype(int) - candidate.astype(int)
    rng = np.random.default_rng(1)
    literal = [loss[rng.integers(0, 400, 400)].mean() for _ in range(4000)]
    low, high = np.quantile(literal, (0.025, 0.975))
    # Just outside the literal interval it is decided, well inside it is not.
    assert floor_held(baseline, candidate, high + 0.01) == "held"
    assert floor_held(baseline, candidate, low - 0.01) == "broken"
    assert floor_held(baseline, candidate, (low + high) / 2) == "undecided"
