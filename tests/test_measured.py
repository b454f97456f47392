"""Measured plans in rows: what methods learn from, what a row shows, frozen selections, checks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import best as best_file
from benchmarks import evaluate as evaluation
from benchmarks import freezing, measured, selections, verify
from benchmarks.best import shipped_best, write_best
from benchmarks.catalog import Catalog
from benchmarks.cells import Cell
from benchmarks.evaluate import Group, evaluate, evaluate_many, group_inputs, prepare
from benchmarks.freezing import learned_rows
from benchmarks.matrix import Matrix, expand
from benchmarks.progress import Silent
from benchmarks.provenance import collect
from benchmarks.rows import Row
from benchmarks.runner import Summary
from benchmarks.selections import selections_names, shipped_selections, write_selections
from benchmarks.store import Store
from benchmarks.sweep import Step
from benchmarks.tables import cross_check_names, shipped_table, table_names
from benchmarks.trainings import Trained, Training
from benchmarks.verify import chosen_plans, measured_by, run_verification
from coinfer.accuracy.box import search_box
from coinfer.accuracy.measurement import Measurement, Payload, pack
from coinfer.accuracy.recipe import CPU, PAPER, QUICK, UNTRAINED
from coinfer.accuracy.sampling import samples
from coinfer.accuracy.table import Origin, Sample, Table, read_table
from coinfer.cli import run as coinfer
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.plan import CutRef, Plan
from coinfer.search.reference import Effort, best_known
from coinfer.tasks import make_task
from reproduce.collect import best_known as known_costs
from reproduce.facts import case_of
from reproduce.rates import standing

MODEL = "alexnet-cifar"
CELL = Cell(MODEL, "fpgm", "raspberry-pi-3b+", "tesla-p100", "4g", convention="qho2024")
IMAGES = 400


def test_no_method_learns_from_a_cross_check() -> None:
    names = cross_check_names()
    assert names
    models = {shipped_table(name).origin.model for name in names}
    assert not {*names} & {*table_names()}
    learnt = {t.origin.name for model in models for t in tables_behind(model)}
    assert not learnt & {*names}


def tables_behind(model: str) -> list[Table]:
    """The tables that methods learn from and rows show."""
    known = measured.measurements(model)
    return [] if known is None else [*known.tables, *known.untrained]


def table(of: str, *, test_correct: int | None = None, **origin: Any) -> Table:
    """Twenty plans of a family, whose accuracies fall with what they prune."""
    about = Origin(
        *(f"{MODEL}-{of}", MODEL, of, 20, 0, CPU, "ab" * 32),
        parent={},
        data="cifar10",
        data_hash="cd" * 32,
    )
    about = replace(about, **origin)
    box = search_box(make_task(MODEL, groups=True), of)
    plans = [point.plan for point in samples(box, 20, 0)]
    decisions = box.read(plans)
    pruned = box.features(decisions)[:, 0]
    sent = box.crossing(decisions.kept, decisions.cut).sent
    bits = np.where(sent, 32.0 * box.elements(decisions), 0.0)
    found = []
    for plan, share, size in zip(plans, 0.8 - 0.1 * pruned, bits, strict=True):
        right = np.arange(IMAGES) < round(IMAGES * share)
        measurement = Measurement(
            *(plan, about.recipe.label, about.recipe.hash, about.parent_sha256, about.data_hash),
            *(0, pack(right), IMAGES, test_correct, None if test_correct is None else 100),
            *(Payload(size, size, size, None, "analytic"), 1, 1, 0, 0, 2, 100),
        )
        found.append(Sample("sobol", measurement, 1.0, "m", "c0de"))
    return Table(about, tuple(found), {"m": {}})


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path / "cache"))
    _forget()
    yield
    _forget()


def _forget() -> None:
    measured.measurements.cache_clear()
    evaluation._task.cache_clear()  # type: ignore[attr-defined]
    selections.shipped_selections.cache_clear()


def ship(monkeypatch: pytest.MonkeyPatch, *tables: Table) -> None:
    """Let these tables be the shipped ones."""
    by_name = {one.origin.name: one for one in tables}
    monkeypatch.setattr(measured, "table_names", lambda: sorted(by_name))
    monkeypatch.setattr(measured, "shipped_table", by_name.__getitem__)
    _forget()


def answer(cell: Cell = CELL, catalog: Catalog | None = None) -> Row:
    catalog = catalog or Catalog()
    return evaluate(prepare(Group.of(cell), catalog), cell)


def test_the_longest_recipe_with_a_baseline_is_taken_and_never_mixed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick = table("fpgm", name="q", recipe=QUICK)
    cpu = table("fpgm", name="c")
    without = table("bottlenet++", name="p", recipe=PAPER)  # has no unpruned network
    other = table("prune-partition", name="o", parent_sha256="ef" * 32)
    ship(monkeypatch, quick, cpu, without, other)
    found = measured.measurements(MODEL)
    assert found is not None
    assert found.recipe == CPU.label
    assert [one.family for one in found.families] == ["fpgm"]
    assert found.baseline.plan.unchanged
    assert measured.measurements("regnet_x_400mf-cifar") is None


def quantised(**origin: Any) -> Table:
    """Every quantised plan: 0.85 with 8 bits, a hundredth less for each bit less."""
    made = table("quantised", recipe=UNTRAINED, **origin)
    found = []
    for point in samples(search_box(make_task(MODEL, groups=True), "quantised"), 99, 0):
        plan, first = point.plan, made.samples[0].measurement
        bits = int(plan.coder[13]) if plan.coder.startswith("huffman") else 8
        right = np.arange(IMAGES) < round(IMAGES * (0.85 - 0.01 * (8 - bits)))
        size = 0.0 if plan.unchanged else 1000.0 * bits
        payload = Payload(size, size / 2, size * 2, None, "measured")
        changed = replace(first, plan=plan, val_correct=pack(right), payload=payload, epochs=0)
        found.append(replace(made.samples[0], why="every", measurement=changed))
    return replace(made, samples=tuple(found))


def test_untrained_plans_stand_beside_trained_ones_with_a_baseline_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = quantised(name="another-parent", parent_sha256="ef" * 32)
    ship(monkeypatch, quantised(name="a-untrained"), table("fpgm"), other)
    found = measured.measurements(MODEL)
    assert found is not None
    assert (found.recipe, found.baseline.val_accuracy) == (CPU.label, 0.8)
    by_family = {one.family: one for one in found.families}
    assert by_family["fpgm"].baseline_accuracy is None
    own = by_family["quantised"]
    assert (own.recipe, own.baseline_accuracy, len(own.plans)) == (UNTRAINED.label, 0.85, 57)
    assert own.uplink_bits[0] == 0.0
    assert set(own.uplink_bits[1:]) == {1000.0 * bits for bits in range(1, 9)}
    # The whole network is in both: trained where it was.
    assert found.find(own.plans[0]) == found.baseline
    assert not found.is_untrained(own.plans[0])
    assert all(found.is_untrained(plan) for plan in own.plans[1:])
    # 0.02 below 0.85 is 6 bits, above the trained baseline all the same.
    at_one_cut = [plan for plan in own.plans if plan.cut == own.plans[1].cut]
    held = {plan.coder: found.floor_held(plan, 0.025) for plan in at_one_cut}
    assert len(held) == 8
    assert held["huffman[bits=8]"] == "held"
    assert held["huffman[bits=1]"] == "broken"
    # Without a trained baseline nothing is known of the network.
    ship(monkeypatch, quantised(name="a-untrained"))
    assert measured.measurements(MODEL) is None
    # Without the whole network untrained there is nothing to hold them against.
    whole = quantised(name="a-untrained")
    ship(monkeypatch, replace(whole, samples=whole.samples[1:]), table("fpgm"))
    found = measured.measurements(MODEL)
    assert found is not None
    assert [one.family for one in found.families] == ["fpgm"]


def test_a_row_of_a_quantised_plan_has_its_measured_bits_and_its_own_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ship(monkeypatch, quantised(name="a-untrained"), table("fpgm"))
    cell = replace(CELL, method="jalad", convention="harmonised", link="3g")
    cell = Catalog().canonical(cell)
    result = answer(cell).result
    assert result.status == "ok"
    assert result.plan is not None
    assert result.plan["coder"] == "huffman[bits=6]"  # 0.02 is allowed
    assert result.uplink_bits == 6000.0
    assert (result.uplink_p5_bits, result.uplink_p95_bits) == (3000.0, 12_000.0)
    assert result.evidence["uplink_bits"] == "measured"
    assert result.accuracy == result.measured_accuracy == result.predicted_accuracy == 0.83
    assert result.accuracy_loss == pytest.approx(0.02)
    assert result.predicted_latency_s == result.latency["total_s"]
    assert result.ledger == (("label", 57, 0.0), ("search", result.evaluations, 0.0))
    (told,) = [text for text in result.assumptions if "not trained" in text]
    assert "85.00 % (recipe untrained-v1)" in told
    assert "80.00 % (recipe cpu-v1)" in told
    faster = replace(cell, method="partition_huffman", device="raspberry-pi-4b@qho2024")
    eight = answer(faster).result
    assert eight.plan is not None
    assert eight.plan["coder"] == "huffman[bits=8]"
    assert (eight.accuracy_loss, eight.floor_held) == (0.0, "held")
    assert standing(answer(cell)) == "undecided"  # neither held nor broken, by 400 images
    # All of it on the device: nothing is sent, nothing lost, trained or not.
    local = answer(replace(cell, device="jetson-tk1")).result
    assert local.accuracy_loss == 0.0
    assert not [text for text in local.assumptions if "not trained" in text]
    skipped = answer(replace(cell, convention="qho2024")).result
    assert (skipped.status, skipped.reason) == (
        "skipped",
        "convention qho2024 admits float32 as payload, not huffman",
    )


def test_plans_chosen_earlier_are_learnt_from_where_they_belong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Validation only; a chosen plan that a family has already, or does not have, adds nothing."""
    fpgm, pruned = table("fpgm"), table("prune-partition")
    known = {s.measurement.plan.hash for s in fpgm.samples}
    chosen = replace(
        pruned,
        origin=replace(pruned.origin, name="chosen", family=verify.FAMILY),
        samples=(*pruned.samples[:5], fpgm.samples[0]),
    )
    ship(monkeypatch, replace(fpgm, samples=fpgm.samples[:15]), table("qho"), chosen)
    found = measured.measurements(MODEL)
    assert found is not None
    sizes = {one.family: len(one.plans) for one in found.families}
    own = {s.measurement.plan.hash for s in table("qho").samples}
    in_qho = {s.measurement.plan.hash for s in pruned.samples[:5]}  # L1, a sparsity each, no codec
    assert sizes == {"fpgm": 15, "qho": len(own | in_qho | (known & own))}


def test_digits_are_no_measurement_of_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    ship(monkeypatch, table("fpgm", data="digits"))
    assert measured.measurements(MODEL) is None


def test_a_plan_that_was_measured_shows_it_beside_the_baseline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ship(monkeypatch, table("fpgm", test_correct=71))
    known = measured.measurements(MODEL)
    assert known is not None
    found = [answer(replace(CELL, link=link)).result for link in ("3g", "4g", "wifi")]
    measured_rows = [r for r in found if r.measured_accuracy is not None]
    plain = answer(replace(CELL, method="all_local")).result
    for result in [*measured_rows, plain]:
        assert result.accuracy == result.measured_accuracy or result is plain
        assert result.evidence["accuracy"] == "measured"
    assert plain.accuracy == known.baseline.val_accuracy
    for result in found:
        assert result.status == "ok"
        assert result.predicted_accuracy is not None
        assert result.predicted_accuracy > known.baseline.val_accuracy - 0.02
    sample = known.tables[0].samples[-1].measurement
    assert known.find(sample.plan) == sample
    verdicts = {known.floor_held(s.measurement.plan, 0.02) for s in known.tables[0].samples}
    assert {"held", "broken"} <= verdicts


@pytest.mark.parametrize("poison", [0, 100])
def test_test_accuracies_change_no_plan(monkeypatch: pytest.MonkeyPatch, poison: int) -> None:
    """What a method chooses is the same whatever stands in the test columns, or nothing."""
    cells = [replace(CELL, link=link) for link in ("3g", "wifi")]
    ship(monkeypatch, table("fpgm"))
    clean = [answer(cell).result for cell in cells]
    libraries = [prepare(Group.of(CELL), Catalog()).library]
    ship(monkeypatch, table("fpgm", test_correct=poison))
    libraries.append(prepare(Group.of(CELL), Catalog()).library)
    assert libraries[0] == libraries[1]
    for cell, before in zip(cells, clean, strict=True):
        after = answer(cell).result
        assert (after.plan_hash, after.predicted_accuracy) == (
            before.plan_hash,
            before.predicted_accuracy,
        )


def test_without_tables_methods_that_learn_are_skipped_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ship(monkeypatch)
    row = answer()
    assert row.result.status == "skipped"
    assert "coinfer sweep alexnet-cifar --family fpgm" in row.result.reason


def test_keys_follow_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    for tables in ([], [table("fpgm")], [table("fpgm", test_correct=5)]):
        ship(monkeypatch, *tables)
        keys.append([group_inputs(Group.of(replace(CELL, method=m)), Catalog())
                     for m in ("fpgm", "all_local")])  # fmt: skip
    assert keys[0] != keys[1] != keys[2]
    assert keys[1][0]["task"] == keys[2][0]["task"]  # nothing else to learn
    assert keys[1][1]["task"] != keys[1][0]["task"]  # all_local is not told


def test_cells_answered_together_are_those_answered_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ship(monkeypatch, table("fpgm"), table("prune-partition", name="pp"))
    cell = replace(CELL, method="prune_partition[max_evaluations=300]", seed=3)
    cell = Catalog().canonical(cell)
    cells = [replace(cell, link=link) for link in ("3g", "4g", "wifi")]
    prepared = prepare(Group.of(cell), Catalog())
    together = evaluate_many(prepared, cells)
    alone = [evaluate(prepared, one) for one in cells]
    assert [row.result for row in together] == [row.result for row in alone]
    assert [row.key for row in together] == [row.key for row in alone]


# Frozen selections.


def freeze(monkeypatch: pytest.MonkeyPatch, folder: Path, rows: Sequence[Row]) -> None:
    """Let the answers of rows ship as `frozen`."""
    write_selections(folder / "selections" / "frozen.json", rows, {"matrix": "frozen"})
    monkeypatch.setattr(selections, "files", lambda _: folder)
    _forget()


def test_frozen_answers_stand_for_the_method_and_are_priced_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ship(monkeypatch, table("fpgm"))
    cells = [replace(CELL, link=link) for link in ("3g", "wifi")]
    live = [answer(cell) for cell in cells]
    freeze(monkeypatch, tmp_path, live)
    catalog = Catalog(selections="frozen")
    monkeypatch.setattr("methods.fpgm.Fpgm.build", lambda *_: pytest.fail("built anew"))
    frozen = [answer(cell, catalog) for cell in cells]
    assert [row.result for row in frozen] == [row.result for row in live]
    assert {row.key for row in frozen}.isdisjoint(row.key for row in live)
    assert answer(replace(CELL, method="all_local"), catalog).result.status == "ok"
    missing = answer(replace(CELL, link="5g"), catalog).result
    assert missing.status == "failed"
    assert "--reselect" in missing.reason


def test_a_run_takes_the_frozen_answers_that_ship(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, one = tmp_path / "s.sqlite", "method=fpgm,device=jetson*,link=rate*=10000.0?"
    few = ["--store", str(store), "--include", one]
    assert coinfer(["run", "fig7", *few, "--quiet", "--selections", "fig7"]) == 0
    assert "selections 'fig7' answered" in capsys.readouterr().err
    with Store.open(store, readonly=True) as opened:
        (row,) = opened.rows()
    frozen = shipped_selections("fig7")
    assert row.inputs["selections"] == frozen.hash
    chosen = frozen.answers[row.cell].selection.plan
    assert chosen is not None
    assert row.result.plan_hash == chosen.hash
    for given, count in ((["--selections", "fig7"], 0), ([], 1)):
        assert coinfer(["explain-miss", "fig7", *few, *given]) == 0
        assert f"{count} of 1 cell is not found" in capsys.readouterr().out
    # Those of another figure have no answer, and nothing is searched in their place.
    assert coinfer(["run", "fig7", *few, "--quiet", "--selections", "fig11"]) == 1
    assert "have no answer of fpgm to this cell; without them" in capsys.readouterr().err
    assert coinfer(["run", "fig7", *few, "--selections", ""]) == 2
    assert "unknown selections ''" in capsys.readouterr().err
    assert coinfer(["run", "fig7", *few, "--selections", "fig77"]) == 2
    assert "unknown selections 'fig77'" in capsys.readouterr().err


def test_plans_that_ship_are_verified_without_a_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, matrix = tmp_path / "s.sqlite", "threestep2020-fig3"
    asked = ["run", matrix, "--store", str(store), "--quiet"]
    assert coinfer([*asked, "--include", "method=bottlenet++", "--selections", matrix]) == 0
    with pytest.raises(CoinferError, match=f"`coinfer run {matrix} --selections {matrix} --store"):
        learned_rows(matrix, store, (), matrix)
    assert coinfer([*asked, "--selections", matrix]) == 0
    rows = learned_rows(matrix, store, (), matrix)
    assert {row.cell for row in rows} == set(shipped_selections(matrix).answers)
    assert chosen_plans(rows)
    with pytest.raises(CoinferError, match=f"`coinfer run {matrix} --store"):
        learned_rows(matrix, store)  # as methods answer, which nobody asked
    asked = ["verify", "vgg16", matrix, "--store", str(store), "--selections", matrix]
    assert coinfer([*asked, "--data", "digits", "-o", str(tmp_path / "t.csv")]) == 2
    assert "hold no plan of vgg16 that a method learnt" in capsys.readouterr().err


def test_matrices_are_listed_with_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert coinfer(["list", "matrices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(r"demo +Two networks on three devices.*", line) for line in lines)
    assert any(re.fullmatch(r"fig7 +QHO paper.*\[selections ship\]", line) for line in lines)
    assert coinfer(["list", "matrices", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {name for name, one in told.items() if one["selections"]} == {*selections_names()}


def test_damaged_selections_are_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ship(monkeypatch, table("fpgm"))
    freeze(monkeypatch, tmp_path, [answer()])
    path = tmp_path / "selections" / "frozen.json"
    whole = path.read_text()
    assert shipped_selections("frozen").answers
    for damage in (
        whole[:-20],
        whole.replace('"schema":1', '"schema":9', 1),
        whole.replace('"criterion":"fpgm"', '"criterion":"l1"'),
        whole.replace('"plans"', '"plan"'),
    ):
        assert damage != whole
        path.write_text(damage)
        shipped_selections.cache_clear()
        with pytest.raises(CoinferError, match="selections 'frozen'"):
            shipped_selections("frozen")
    with pytest.raises(UnknownNameError, match="selections"):
        shipped_selections("thawed")


# Freezing, and the best plans known.


def test_a_matrix_is_computed_and_frozen_by_one_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ship(monkeypatch, table("fpgm"))
    path = tmp_path / "mine.toml"
    path.write_text(
        f'models = "{MODEL}"\ndevices = "raspberry-pi-3b+"\nservers = "tesla-p100"\n'
        'links = ["3g", "wifi"]\nmethods = ["all_local", "fpgm"]\nconvention = "qho2024"\n'
    )
    ran: list[str] = []

    def run(matrix: Matrix, store: Path, **_: Any) -> Summary:
        ran.append(matrix.name)
        with Store.open(store) as opened:
            run_id = opened.begin_run(collect([], None))
            opened.put([answer(cell) for cell in expand(matrix, Catalog())], run_id)
        return Summary(4, 0, 4, (("ok", 4),))

    monkeypatch.setattr(freezing, "run", run)
    folder = tmp_path / "selections"
    told = freezing.freeze_matrix(str(path), tmp_path / "s.sqlite", folder, 1, Silent())
    assert ran == ["mine"]
    assert told.startswith("2 answers to 'mine' in")
    monkeypatch.setattr(selections, "files", lambda _: tmp_path)
    found = shipped_selections("mine")
    assert {cell.method for cell in found.answers} == {"fpgm"}
    assert not (tmp_path / "best").exists()

    ship(monkeypatch)  # nothing is measured: nothing was chosen
    with pytest.raises(CoinferError, match="nothing of 'mine' can be frozen, .*`coinfer sweep"):
        freezing.freeze_matrix(str(path), tmp_path / "t.sqlite", folder, 1, Silent())


def test_the_best_plan_known_costs_no_more_than_what_qho_chose_and_is_read_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ship(monkeypatch, table("qho"))
    short = partial(best_known, effort=Effort(8, 2, 1, 2, 2))
    monkeypatch.setattr(freezing, "best_known", short)
    cell = Catalog().canonical(replace(CELL, method="qho[max_evaluations=200]"))
    cells = [replace(cell, link=link) for link in ("3g", "wifi")]
    one_cut = Catalog().canonical(replace(cell, convention="qho2024[cut=features.2]"))
    rows = [answer(one) for one in cells]
    best = freezing.best_plans(
        [*cells, one_cut, replace(CELL, method="all_local")], rows, Catalog()
    )
    assert list(best) == [best_file.scene_of(one) for one in cells]
    write_best(tmp_path / "best" / "mine.json", best, {})
    monkeypatch.setattr(best_file, "files", lambda _: tmp_path)
    assert shipped_best("mine") == best
    assert shipped_best("yours") == {}
    costs = known_costs("mine")
    for row in rows:
        case = case_of(row.cell)
        assert costs[case] <= row.result.latency["total_s"]

    path = tmp_path / "best" / "mine.json"
    whole = path.read_text()
    for old, new in (('"schema":1', '"schema":2'), ('"plans"', '"plan"'), ("conv", "vonc")):
        path.write_text(whole.replace(old, new, 1))
        with pytest.raises(CoinferError, match="best plans of 'mine'"):
            shipped_best("mine")


# Verification.


def row_at(rate_bps: float, seed: int, total_s: float, keep: int, method: str = "qho") -> Row:
    base = answer(replace(CELL, method="all_local"))
    plan = Plan(MODEL, CutRef(19, "classifier.4"), keep=(("features.0", keep),), criterion="l1")
    result = replace(
        base.result,
        plan={**(base.result.plan or {}), "keep": [["features.0", keep]], "criterion": "l1"},
        plan_hash=plan.hash,
        rate_bps=rate_bps,
        latency={**base.result.latency, "total_s": total_s},
    )
    return replace(base, cell=replace(base.cell, method=method, seed=seed), result=result)


def test_the_plan_of_the_median_seed_is_verified_at_rates_of_equal_steps() -> None:
    rows = [
        row_at(rate, seed, total_s=[3.0, 1.0, 2.0, 4.0][seed], keep=1 + step * 4 + seed)
        for step, rate in enumerate((1e4, 1e5, 1e6, 1e7, 1e8))
        for seed in range(4)
    ]
    kept = [dict(plan.keep)["features.0"] for plan in chosen_plans(rows, 3)]
    # 3.0 s: the slower of the middle two, which is the one that figures draw.
    assert kept == [1 + step * 4 for step in (0, 2, 4)]
    unpruned = answer(replace(CELL, method="all_local"))
    assert chosen_plans([unpruned]) == []
    assert len(chosen_plans([*rows, *rows])) == 5


def test_a_plan_is_verified_at_every_cut_and_floor_that_a_figure_asks_for() -> None:
    asked = [("convention", f"qho2024[cut={cut}]") for cut in ("features.2", "features.5")]
    asked += [("max_accuracy_loss", loss) for loss in (0.0, 0.01, 0.05)]
    rows = []
    for number, (field, value) in enumerate(asked):
        for seed in range(3):
            row = row_at(1e4, seed, total_s=1.0 + seed + 10 * number, keep=10 * number + seed + 1)
            rows.append(replace(row, cell=replace(row.cell, **{field: value})))
    kept = [dict(plan.keep)["features.0"] for plan in chosen_plans(rows)]
    assert kept == [10 * number + 2 for number in range(5)]  # the median seed of each


def test_plans_that_nobody_trains_are_verified_untrained_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ship(monkeypatch, quantised(name="a-untrained"), table("fpgm"))
    known = measured.measurements(MODEL)
    cell = Catalog().canonical(replace(CELL, method="jalad", convention="harmonised", link="3g"))
    (few_bits,) = chosen_plans([answer(cell)])  # it loses something, so there is something to test
    trained = chosen_plans([row_at(1e4, 0, 1.0, 7)])
    both = [few_bits, *trained]
    assert measured_by("untrained", both, known) == [few_bits]
    assert measured_by("cpu", both, known) == measured_by("paper", both, known) == trained
    assert measured_by("cpu", both, None) == both  # nothing is known, all are trained


def test_verification_tests_every_plan_once_and_goes_on_where_it_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    origin = table("fpgm", family=verify.FAMILY, name="chosen").origin
    base = Training(Plan(MODEL, CutRef(0, "input")), CPU, 0, "digits", "p.pt", "ab" * 32)
    plans = chosen_plans([row_at(1e4 * n, 0, 1.0, n) for n in range(1, 6)])
    ran: list[Training] = []

    def workers(trainings: Sequence[Training], **_: Any) -> Iterator[tuple[int, Any]]:
        for position, training in enumerate(trainings):
            if len(ran) == 2:
                ran.append(training)
                yield position, CoinferError("it diverged")
                raise KeyboardInterrupt
            ran.append(training)
            right = np.ones(IMAGES, dtype=np.bool_)
            measurement = Measurement(
                *(training.plan, CPU.label, CPU.hash, "ab" * 32, "cd" * 32, 0, pack(right)),
                *(IMAGES, 70, 100, Payload(1.0, 1.0, 1.0, None, "analytic"), 1, 1, 0, 0, 1, 1),
            )
            yield position, Trained(measurement, 1.0, {}, "c0de")

    monkeypatch.setattr(verify, "run_trainings", workers)

    def go() -> list[Step]:
        return list(run_verification(tmp_path / "chosen.csv", plans, origin, base))

    with pytest.raises(KeyboardInterrupt):
        go()
    steps = go()
    assert steps[0].done == 3
    assert steps[-1].done == steps[-1].wanted == 5
    assert len(ran) == len({t.plan.hash for t in ran}) == 5
    assert all(training.test for training in ran)
    found = read_table(tmp_path / "chosen.csv")
    assert [s.measurement.test_accuracy for s in found.samples] == [0.7] * 4
    assert list(found.failed.values()) == ["it diverged"]
