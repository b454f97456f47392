"""One cell, asked and priced: every kind of outcome, the accounts, and what makes a key."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import evaluate as evaluation
from benchmarks.catalog import Catalog
from benchmarks.cells import LATENCY_PARTS, Cell, Result
from benchmarks.evaluate import Group, cell_inputs, evaluate, group_inputs, prepare, refusal
from benchmarks.rows import Row, row_key
from coinfer.accuracy.measurement import Payload
from coinfer.conventions import convention
from coinfer.errors import CoinferError
from coinfer.method import Context
from coinfer.models import model_spec
from coinfer.plan import CutRef, Plan, Source, Task
from coinfer.tasks import source_of
from methods import worlds

CELL = Cell("small", "neurosurgeon", "raspberry-pi-3b+", "tesla-p100", "4g", convention="qho2024")


@pytest.fixture(autouse=True)
def _small_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the registered networks by torch-free ones; names go through unchecked."""
    tasks = {"small": worlds.small_task(), "one-layer": worlds.one_layer_task()}

    def make(model: str, loss: float, *_: bool) -> Task:
        return replace(tasks[model], max_accuracy_loss=loss)

    monkeypatch.setattr(evaluation, "_task", make)


def answer(cell: Cell, catalog: Catalog | None = None) -> Row:
    catalog = catalog or Catalog()
    return evaluate(prepare(Group.of(cell), catalog), cell)


def method_file(folder: Path, body: str) -> Catalog:
    """A catalog that knows the method `mine`, whose `select` has the given body."""
    path = folder / "mine.py"
    path.write_text(
        dedent(
            """
            from dataclasses import dataclass
            from typing import ClassVar
            from coinfer.method import Library, Method, MethodCard
            from coinfer.plan import CutRef, Plan, Selection, Skip

            @dataclass(frozen=True)
            class Mine(Method):
                card: ClassVar[MethodCard] = MethodCard(
                    name="mine", title="Mine", idea="A test.", reference="a test",
                    stochastic=True, phases=("search",))
            """
        )
        + "\n".join(f"    {line}" for line in dedent(body).splitlines())
    )
    return Catalog((str(path),))


@pytest.mark.parametrize("method", ["all_local", "all_server", "neurosurgeon", "exhaustive"])
@pytest.mark.parametrize("convention", ["qho2024", "harmonised", "cpcdrl2024", "threestep2020"])
def test_the_parts_of_a_latency_add_up(method: str, convention: str) -> None:
    row = answer(replace(CELL, method=method, convention=convention))
    assert row.result.status == "ok"
    time = row.result.latency
    assert sum(time[part] for part in LATENCY_PARTS) == pytest.approx(time["total_s"], rel=1e-15)
    assert row.result.evidence["latency"] == "analytic"
    assert row.result.predicted_latency_s == time["total_s"]


def test_a_network_without_the_cut_that_a_method_needs_is_skipped_with_the_reason() -> None:
    row = answer(replace(CELL, model="one-layer"))
    assert (row.result.status, row.result.plan) == ("skipped", None)
    assert row.result.reason == "the network has no interior cut, and neurosurgeon needs one"


def test_a_convention_with_one_cut_leaves_a_method_that_cut_or_none() -> None:
    cuts = [cut.after for cut in worlds.small_task().graph.cuts if cut.kind == "interior"]
    assert len(cuts) > 1
    free = answer(CELL).result
    assert free.plan is not None
    for cut in cuts:
        result = answer(replace(CELL, convention=f"qho2024[cut={cut}]")).result
        assert result.plan is not None
        assert result.plan["cut"]["after"] == cut
        assert result.latency["total_s"] >= free.latency["total_s"]
        if cut == free.plan["cut"]["after"]:
            assert result.latency == free.latency
    told = answer(replace(CELL, convention="qho2024[cut=input]")).result
    assert (told.status, told.reason) == (
        "skipped", "neurosurgeon does not cut after 'input' under qho2024[cut=input]",
    )  # fmt: skip


def test_a_cut_that_the_network_does_not_have_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(CoinferError, match="small has no cut after 'wall'; its cuts: input, "):
        answer(replace(CELL, convention="qho2024[cut=wall]"))


def test_energy_without_watts_is_skipped_and_with_watts_priced() -> None:
    cell = replace(CELL, method="neurosurgeon[objective=energy]")
    reason = answer(cell).result.reason
    # What it says to give works in a matrix too, where there are no options.
    given = ("raspberry-pi-3b+@qho2024[compute_watts=...]", "4g@qho2024[transmit_watts=...]")
    assert reason == f"energy needs watts; give '{given[0]}' and '{given[1]}'"
    powered = replace(
        cell, device=given[0].replace("...", "5.0"), link=given[1].replace("...", "1.0")
    )
    result = answer(powered).result
    time = result.latency
    assert result.energy_j == pytest.approx(5.0 * time["device_s"] + 1.0 * time["uplink_s"])


def test_a_method_that_raises_gives_a_failed_row_with_its_traceback(tmp_path: Path) -> None:
    catalog = method_file(tmp_path, "def select(self, library, scenario, context): return 1 / 0")
    row = answer(replace(CELL, method="mine"), catalog)
    assert row.result.status == "failed"
    assert row.result.reason == "ZeroDivisionError: division by zero"
    assert "mine.py" in row.traceback


def test_a_build_that_raises_fails_its_cells_and_says_so(tmp_path: Path) -> None:
    catalog = method_file(
        tmp_path,
        """
        def build(self, task, context): raise ValueError("no data")
        def select(self, library, scenario, context): return None
        """,
    )
    row = answer(replace(CELL, method="mine"), catalog)
    assert (row.result.status, row.result.reason) == ("failed", "ValueError: no data")


def test_a_library_that_is_not_json_fails_the_build(tmp_path: Path) -> None:
    catalog = method_file(
        tmp_path,
        """
        def build(self, task, context): return Library(object())
        def select(self, library, scenario, context): return None
        """,
    )
    assert answer(replace(CELL, method="mine"), catalog).result.status == "failed"


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("Plan('other', CutRef(1, 'conv1'))", "the plan is for 'other'"),
        ("Plan('small', CutRef(1, 'nowhere'))", "not among its 4 allowed cuts"),
        ("Plan('small', CutRef(2, 'conv1'))", "Plan.cut.index is 2"),
        ("Plan('small', CutRef(1, 'conv1'), coder='raw8')", "does not fit the interior cut"),
        ("Plan('small', CutRef(1, 'conv1'), codec='magic')", "unknown codec 'magic'"),
        ("Plan('small', CutRef(1, 'conv1'), keep=(('conv1', 3),))", "made without prune groups"),
    ],
)
def test_an_invalid_plan_fails_its_cell_with_the_reason(
    tmp_path: Path, plan: str, words: str
) -> None:
    body = f"def select(self, library, scenario, context): return Selection({plan})"
    catalog = method_file(tmp_path, body)
    cell = replace(CELL, method="mine", convention="harmonised")
    # Interior cuts only, so that the number of allowed cuts is known.
    path = Path(catalog.method_files[0])
    path.write_text(path.read_text().replace("stochastic=True,", "cuts=frozenset({'interior'}),"))
    row = answer(cell, Catalog(catalog.method_files))
    assert row.result.status == "failed"
    assert words in row.result.reason


def test_nothing_meets_the_floor_is_infeasible_not_failed(tmp_path: Path) -> None:
    body = """
    def select(self, library, scenario, context):
        context.ledger.spend("search", evaluations=7)
        return Selection(None, "infeasible", evaluations=7)
    """
    row = answer(replace(CELL, method="mine"), method_file(tmp_path, body))
    assert (row.result.status, row.result.evaluations) == ("infeasible", 7)
    assert row.result.ledger == (("search", 7, 0.0),)
    assert "0.02" in row.result.reason


def test_each_cell_and_seed_draws_from_its_own_substream(tmp_path: Path) -> None:
    body = """
    def select(self, library, scenario, context):
        cut = context.cuts[0]
        return Selection(Plan(context.task.model, CutRef(cut.index, cut.after)),
                         predicted_accuracy=float(context.rng.random()))
    """
    catalog = method_file(tmp_path, body)
    cell = replace(CELL, method="mine")
    draws = {
        answer(c, catalog).result.predicted_accuracy
        for c in (cell, replace(cell, seed=1), replace(cell, link="3g"))
    }
    assert len(draws) == 3
    again = answer(cell, catalog).result.predicted_accuracy
    assert again == answer(cell, catalog).result.predicted_accuracy
    assert again in draws


def test_a_prepared_group_answers_alike_after_a_trip_through_pickle() -> None:
    prepared = prepare(Group.of(CELL), Catalog())
    copy = pickle.loads(pickle.dumps(prepared))
    assert evaluate(copy, CELL) == evaluate(prepared, CELL)


def test_canonical_cells_collapse_what_does_not_matter() -> None:
    catalog = Catalog()
    spelled = Cell(
        "alexnet",
        "neurosurgeon[objective=latency]",
        "raspberry-pi-3b+@qho2024",
        "tesla-p100",
        "3g",
        snr_db=10.0,
        seed=7,
    )
    plain = Cell("alexnet", "neurosurgeon", "raspberry-pi-3b+", "tesla-p100", "3g")
    assert catalog.canonical(spelled) == catalog.canonical(plain)
    radio = catalog.canonical(replace(plain, link="radio-1mhz", snr_db=10))
    assert radio.snr_db == 10.0
    assert catalog.canonical(catalog.canonical(spelled)) == catalog.canonical(spelled)


@pytest.mark.parametrize(
    ("spelled", "plain"),
    [
        ("alexnet-cifar[hidden=1024]", "alexnet-cifar"),
        ("torchvision:resnet18[num_classes=1000,image_size=224]", "torchvision:resnet18"),
        (
            "torchvision:resnet18[image_size=224,num_classes=7]",
            "torchvision:resnet18[num_classes=7]",
        ),
    ],
)
def test_a_model_has_one_name(spelled: str, plain: str) -> None:
    canonical = Catalog().canonical
    assert canonical(replace(CELL, model=spelled)).model == plain
    assert canonical(replace(CELL, model=plain)).model == plain


def test_a_models_file_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets.py").write_text("from torch import nn\ndef net(): return nn.Flatten()\n")
    monkeypatch.chdir(tmp_path)
    names = {
        Catalog().canonical(replace(CELL, model=m)).model for m in ("nets.py:net", "./nets.py:net")
    }
    assert names == {"nets.py:net"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "alexnett"}, "unknown model 'alexnett'; did you mean 'alexnet'"),
        ({"method": "neuro"}, "unknown method 'neuro'; did you mean 'neurosurgeon'"),
        ({"device": "raspberry-pi-3b"}, "unknown device"),
        ({"server": "p100"}, "unknown server 'p100'; did you mean .*'tesla-p100'"),
        ({"link": "6g"}, "unknown link '6g'; did you mean"),
        ({"convention": "qho"}, "unknown convention 'qho'; did you mean 'qho2024'"),
    ],
)
def test_unknown_names_offer_the_nearest(change: dict[str, str], words: str) -> None:
    plain = Cell("alexnet", "neurosurgeon", "raspberry-pi-3b+", "tesla-p100", "3g")
    with pytest.raises(CoinferError, match=words):
        Catalog().canonical(replace(plain, **change))  # type: ignore[arg-type]


def inputs_of(cell: Cell, catalog: Catalog) -> dict[str, str]:
    return cell_inputs(cell, group_inputs(Group.of(cell), catalog), catalog)


def test_a_key_changes_with_everything_that_determines_the_result(tmp_path: Path) -> None:
    body = "def select(self, library, scenario, context): return Selection(None, 'infeasible')"
    one = method_file(tmp_path, body)
    mine = replace(CELL, method="mine")
    base = inputs_of(mine, one)
    other_code = tmp_path / "other"
    other_code.mkdir()
    assert inputs_of(mine, method_file(other_code, f"{body}  # the same")) == base
    another = tmp_path / "another"
    another.mkdir()
    changed = method_file(another, body + "  # a comment\n\ndef helper(self): return 1")
    assert inputs_of(mine, changed)["method"] != base["method"]
    presets = tmp_path / "mine.toml"
    presets.write_text('[devices."board"]\nflops_per_s = 1e9\nsource = "a test"\n')
    slow = Catalog(preset_files=(str(presets),))
    before = inputs_of(replace(CELL, device="board"), slow)
    presets2 = tmp_path / "faster.toml"
    presets2.write_text('[devices."board"]\nflops_per_s = 2e9\nsource = "a test"\n')
    after = inputs_of(replace(CELL, device="board"), Catalog(preset_files=(str(presets2),)))
    assert {name for name in before if before[name] != after[name]} == {"device"}


@given(st.permutations(sorted(vars(CELL))), st.permutations(["a", "b", "c"]))
def test_a_key_does_not_depend_on_the_order_of_fields(fields: list[str], names: list[str]) -> None:
    shuffled = Cell(**{name: getattr(CELL, name) for name in fields})
    key = row_key(shuffled, {name: name for name in names})
    assert key == row_key(CELL, {"a": "a", "b": "b", "c": "c"})


def test_rows_compare_by_result_not_by_run() -> None:
    first, second = answer(CELL), answer(CELL)
    assert first == second
    assert first.key == second.key
    assert json.dumps(first.inputs, sort_keys=True) == json.dumps(second.inputs, sort_keys=True)


def coder_file(folder: Path, bits: float, extra: str = "") -> Catalog:
    """A catalog that knows the method `mine`, which sends features by a coder of its own."""
    body = """
    def select(self, library, scenario, context):
        cut = next(cut for cut in context.cuts if cut.kind == "interior")
        return Selection(
            Plan(context.task.model, CutRef(cut.index, cut.after), coder="own"), evaluations=1)
    """
    catalog = method_file(folder, body)
    path = Path(catalog.method_files[0])
    path.write_text(
        path.read_text()
        + f"""

class Own:
    kind, name, cut_kinds, evidence = "coder", "own", frozenset({{"interior"}}), "analytic"
    {extra}
    def available(self, source): return True
    def bits(self, elements, source): return {bits} * elements
"""
    )
    return catalog


def test_only_a_coder_that_says_lossless_keeps_the_accuracy(tmp_path: Path) -> None:
    cell = replace(CELL, method="mine", convention="harmonised")
    task = replace(worlds.small_task(), baseline_accuracy=0.9, baseline_evidence="published")
    for name, extra, expected in (("a", "", None), ("b", "lossless = True", 0.9)):
        folder = tmp_path / name
        folder.mkdir()
        catalog = coder_file(folder, 1.0, extra)
        prepared = replace(prepare(Group.of(cell), catalog), task=task)
        result = evaluate(prepared, cell).result
        assert (result.status, result.accuracy) == ("ok", expected)
        assert ("accuracy" in result.evidence) == (expected is not None)


def test_a_payload_that_the_convention_does_not_admit_is_skipped(tmp_path: Path) -> None:
    row = answer(replace(CELL, method="mine"), coder_file(tmp_path, 1.0))
    assert row.result.status == "skipped"
    assert row.result.reason == "convention qho2024 admits float32 as payload, not own"


# -- what was sent --------------------------------------------------------------------------------

RADIO = {"link": "radio-1mhz", "snr_db": 10.0, "convention": "harmonised"}


def sending(folder: Path, coder: str = "float32", channel: str = "none") -> Catalog:
    """A catalog that knows `mine`, which cuts after conv1 (8x16x16) and sends by these parts."""
    return method_file(
        folder,
        f"""
        def select(self, library, scenario, context):
            parts = dict(coder="{coder}", channel="{channel}")
            return Selection(Plan(context.task.model, CutRef(1, "conv1"), **parts), evaluations=1)
        """,
    )


def sent(folder: Path, coder: str = "float32", channel: str = "none", **where: Any) -> Result:
    cell = replace(CELL, method="mine", **{"convention": "harmonised", **where})
    return answer(cell, sending(folder, coder, channel)).result


def test_an_analog_row_says_its_symbols_and_the_bandwidth_that_they_take(tmp_path: Path) -> None:
    result = sent(tmp_path, channel="awgn", **RADIO)
    assert (result.status, result.uplink_bits) == ("ok", None)
    assert (result.uplink_symbols, result.bandwidth_hz) == (8 * 16 * 16 // 2, 1e6)
    assert result.latency["uplink_s"] == 8 * 16 * 16 / 2 / 1e6
    assert result.evidence["uplink_symbols"] == "analytic"
    assert "uplink_bits" not in result.evidence
    assert (result.accuracy, result.accuracy_loss) == (None, None), "noise is not harmless"


def test_a_digital_row_has_no_symbols_and_no_bandwidth(tmp_path: Path) -> None:
    result = sent(tmp_path, **RADIO)
    assert (result.uplink_bits, result.uplink_symbols, result.bandwidth_hz) == (65536, None, None)
    assert result.latency["uplink_s"] == 65536 / (result.rate_bps or 0)
    assert result.evidence["uplink_bits"] == "analytic"
    assert "uplink_symbols" not in result.evidence


@pytest.mark.parametrize(
    ("channel", "where", "reason"),
    [
        (
            "awgn",
            {"link": "4g"},
            "channel 'awgn' is analog: symbols take symbols / bandwidth seconds, and link "
            "'4g@qho2024' has no bandwidth; accepted is a radio (bandwidth_hz)",
        ),
        (
            "awgn[symbols=real]",
            {**RADIO, "convention": "qho2024"},
            "convention qho2024 admits bits as payload, not the symbols of channel awgn",
        ),
    ],
)
def test_an_analog_plan_is_skipped_where_it_has_no_price(
    tmp_path: Path, channel: str, where: dict[str, Any], reason: str
) -> None:
    result = sent(tmp_path, channel=channel, **where)
    assert (result.status, result.reason, result.plan) == ("skipped", reason, None)
    assert (result.evaluations, result.latency) == (1, {})


def test_bits_that_were_not_measured_are_skipped_and_it_says_how(tmp_path: Path) -> None:
    result = sent(tmp_path, "huffman[bits=4]")
    assert (result.status, result.uplink_bits) == ("skipped", None)
    assert "this plan was not measured; 'coinfer measure PLAN.json' builds it" in result.reason


def test_measured_bits_reach_the_row_with_their_spread(tmp_path: Path) -> None:
    catalog = sending(tmp_path, "huffman")
    parts, task = catalog.methods.parts, worlds.small_task()
    plan = Plan("small", CutRef(1, "conv1"), coder="huffman")
    scenario = worlds.scenario(rate_bps=1e5)
    counted = Payload(5000.5, 4000.0, 6000.0, None, "measured")
    assert evaluation._not_admitted(plan, task, scenario, parts, counted) == ""
    result = evaluation._price(plan, task, scenario, parts, counted)
    found = (result.uplink_bits, result.uplink_p5_bits, result.uplink_p95_bits)
    assert found == (5000.5, 4000.0, 6000.0)
    assert result.latency["uplink_s"] == 5000.5 / 1e5
    assert result.evidence["uplink_bits"] == "measured"
    fixed = replace(plan, coder="float32")
    same = Payload(65536.0, 65536.0, 65536.0, None, "analytic")
    priced = evaluation._price(fixed, task, scenario, parts, same)
    assert (priced.uplink_bits, priced.uplink_p5_bits) == (65536.0, None)
    assert priced.evidence["uplink_bits"] == "analytic"


@pytest.mark.parametrize("method", ["all_local", "all_server", "neurosurgeon", "exhaustive"])
@pytest.mark.parametrize("convention", ["qho2024", "harmonised", "cpcdrl2024", "threestep2020"])
def test_both_sizes_of_the_input_are_on_every_row(method: str, convention: str) -> None:
    result = answer(replace(CELL, method=method, convention=convention)).result
    assert (result.source_bits, result.input_bits) == (3 * 16 * 16 * 8, 3 * 16 * 16 * 32)
    # Nothing was measured, and nothing says that it was.
    assert (result.measured_accuracy, result.test_accuracy, result.floor_held) == (None, None, "")


@pytest.mark.parametrize(
    ("coder", "channel", "where", "told"),
    [
        ("float32", "awgn", RADIO, ()),
        ("float32", "awgn[snr_db=10.0]", RADIO, ()),
        (
            "float32",
            "awgn[snr_db=20.0]",
            RADIO,
            (
                "channel 'awgn[snr_db=20.0]' has an SNR in dB of 20.0, link 'radio-1mhz@qho2024' "
                "of 10.0",
            ),
        ),
        (
            "uniform",
            "bsc[p=0.1]",
            {"link": "4g"},
            (
                "bits through channel 'bsc[p=0.1]' are charged at the link's rate, as if they came "
                "without error",
            ),
        ),
        ("uniform", "bsc[p=0.1]", {"link": "bsc[flip_probability=0.1]"}, ()),
        (
            "uniform",
            "bsc[p=0.1]",
            {"link": "bsc[flip_probability=0.2]"},
            ("channel 'bsc[p=0.1]' has errors in a share of 0.1, link 'bsc@threestep2020' of 0.2",),
        ),
    ],
)
def test_a_row_tells_where_channel_and_link_differ(
    tmp_path: Path, coder: str, channel: str, where: dict[str, Any], told: tuple[str, ...]
) -> None:
    result = sent(tmp_path, coder, channel, **where)
    assert result.status == "ok"
    assert tuple(text for text in result.assumptions if "channel '" in text) == told


def test_uncoded_bits_are_charged_per_use_of_a_binary_link(tmp_path: Path) -> None:
    result = sent(tmp_path, "uniform", "bsc[p=0.1]", link="bsc[flip_probability=0.1]")
    assert (result.uplink_bits, result.rate_bps) == (8 * 8 * 16 * 16, 1e6)
    assert result.latency["uplink_s"] == 8 * 8 * 16 * 16 / 1e6


def test_a_key_changes_with_a_strangers_part_but_only_where_it_could_be_named(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    one, other = (
        coder_file(folder, bits) for folder, bits in zip(folders, (4.0, 8.0), strict=True)
    )
    mine = replace(CELL, method="mine")
    assert inputs_of(mine, one)["method"] != inputs_of(mine, other)["method"]
    assert inputs_of(CELL, one) == inputs_of(CELL, other) == inputs_of(CELL, Catalog())


@pytest.mark.parametrize("part", ["criterion", "schedule", "channel"])
def test_a_plan_that_names_an_unknown_part_fails(tmp_path: Path, part: str) -> None:
    body = f"""
    def select(self, library, scenario, context):
        cut = context.cuts[0]
        return Selection(Plan(context.task.model, CutRef(cut.index, cut.after), {part}="magic"))
    """
    row = answer(replace(CELL, method="mine"), method_file(tmp_path, body))
    assert (row.result.status, row.result.reason[:20]) == ("failed", f"unknown {part} 'magic'"[:20])


def test_a_method_that_tries_to_end_the_run_fails_its_cell(tmp_path: Path) -> None:
    body = "def select(self, library, scenario, context): raise SystemExit(0)"
    row = answer(replace(CELL, method="mine"), method_file(tmp_path, body))
    assert (row.result.status, row.result.reason) == ("failed", "SystemExit: 0")


def test_a_refusal_that_tries_to_end_the_run_is_an_error(tmp_path: Path) -> None:
    body = """
    def supports(self, task, scenario=None): raise SystemExit(0)
    def select(self, library, scenario, context): return None
    """
    catalog, cell = method_file(tmp_path, body), replace(CELL, method="mine")
    with pytest.raises(CoinferError, match="mine.supports tries to end the run"):
        refusal(Group.of(cell), catalog)
    assert answer(cell, catalog).result.status == "failed"


@pytest.mark.parametrize(
    "spent", ["evaluations=1.5", "evaluations=-1", "epochs=float('nan')", "epochs=float('inf')"]
)
def test_a_ledger_that_cannot_be_stored_fails_its_cell(tmp_path: Path, spent: str) -> None:
    body = f"""
    def select(self, library, scenario, context):
        context.ledger.spend("search", {spent})
        return Selection(None, "infeasible")
    """
    row = answer(replace(CELL, method="mine"), method_file(tmp_path, body))
    assert row.result.status == "failed"
    what = spent.partition("=")[0]
    assert row.result.reason.startswith(f"{what} spent is ")


def test_a_dead_link_with_a_free_radio_costs_no_energy() -> None:
    cell = replace(
        CELL,
        method="all_server",
        device="raspberry-pi-3b+[compute_watts=5.0]",
        link="rate[rate_bps=0.0,transmit_watts=0.0]",
    )
    result = answer(cell).result
    assert (result.energy_j, result.latency["total_s"]) == (0.0, float("inf"))


# -- strangers are not trusted --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "def select(self, library, scenario, context): return None",
            "mine.select returned None; accepted is a coinfer.plan.Selection",
        ),
        (
            "def select(self, library, scenario, context): return Plan('m', CutRef(0, 'input'))",
            "mine.select returned a Plan; accepted is a coinfer.plan.Selection",
        ),
        (
            """
            def build(self, task, context): return {"cuts": [1]}
            def select(self, library, scenario, context): return Selection(None, "infeasible")
            """,
            "mine.build returned a dict; accepted is a coinfer.method.Library",
        ),
        (
            """
            def build(self, task, context): return Library({1, 2})
            def select(self, library, scenario, context): return Selection(None, "infeasible")
            """,
            "mine.build returned a Library whose data is no JSON: "
            "Object of type set is not JSON serializable",
        ),
        (
            """
            def supports(self, task, scenario=None): return "not today"
            def select(self, library, scenario, context): return Selection(None, "infeasible")
            """,
            "mine.supports returned a str; accepted is a coinfer.plan.Skip with a reason, or None",
        ),
    ],
)
def test_an_answer_of_another_type_names_the_method_and_the_type(
    tmp_path: Path, body: str, reason: str
) -> None:
    result = answer(replace(CELL, method="mine"), method_file(tmp_path, dedent(body))).result
    assert (result.status, result.reason) == ("failed", reason)


@pytest.mark.parametrize("when", ["scenario is None", "scenario is not None"])
@pytest.mark.parametrize(
    ("said", "reason"),
    [("one\\nline", "one line"), ("  ", "mine refuses without a reason")],
)
def test_a_refusal_is_a_skipped_row_with_one_line(
    tmp_path: Path, when: str, said: str, reason: str
) -> None:
    body = f"""
    def supports(self, task, scenario=None): return Skip("{said}") if {when} else None
    def select(self, library, scenario, context): raise AssertionError("it was refused")
    """
    result = answer(replace(CELL, method="mine"), method_file(tmp_path, body)).result
    assert (result.status, result.reason) == ("skipped", reason)


def test_a_convention_may_leave_a_method_no_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "def select(self, library, scenario, context): return None"
    path = Path(method_file(tmp_path, body).method_files[0])
    text = path.read_text()
    path.write_text(text.replace("stochastic=True,", "cuts=frozenset({'input'}),"))
    rules = replace(convention("qho2024"), cut_kinds=(("mine", ("interior",)),))
    monkeypatch.setattr(evaluation.conventions, "convention", lambda _: rules)
    monkeypatch.setattr(evaluation, "_convention_hash", lambda _: "rules of this test")
    result = answer(replace(CELL, method="mine"), Catalog((str(path),))).result
    assert result.status == "skipped"
    assert result.reason == "convention qho2024 leaves mine no input cut"


CODEC = """

class Squeeze:
    kind, name = "codec", "squeeze"
    def code_shape(self, shape): return {shape}
    def work(self, shape, rules): return {work}
    def modules(self, shape): return None
"""
ENCODES = """
def select(self, library, scenario, context):
    cut = next(cut for cut in context.cuts if cut.kind == "interior")
    return Selection(
        Plan(context.task.model, CutRef(cut.index, cut.after), codec="squeeze"), evaluations=1)
"""


def codec_file(folder: Path, shape: str = "shape", work: str = "(6, 7)") -> Catalog:
    """A catalog that knows the method `mine`, which encodes by a codec of its own."""
    folder.mkdir(exist_ok=True)
    catalog = method_file(folder, ENCODES)
    path = Path(catalog.method_files[0])
    path.write_text(path.read_text() + CODEC.format(shape=shape, work=work))
    return catalog


@pytest.mark.parametrize(
    ("shape", "work", "words"),
    [
        ("(-3, 4)", "(6, 7)", "codec 'squeeze': code_shape of (8, 16, 16) is (-3, 4); allowed is"),
        ("(2.5,)", "(6, 7)", "codec 'squeeze': code_shape of (8, 16, 16) is (2.5,); allowed is"),
        ("shape", "(-6, 7)", "codec 'squeeze': work on (8, 16, 16) is (-6, 7); allowed are two"),
        ("shape", "(float('nan'), 7)", "codec 'squeeze': work on (8, 16, 16) is (nan, 7)"),
    ],
)
def test_a_codec_that_says_what_cannot_be_fails_its_cell(
    tmp_path: Path, shape: str, work: str, words: str
) -> None:
    cell = replace(CELL, method="mine", convention="harmonised")
    row = answer(cell, codec_file(tmp_path, shape, work))
    assert row.result.status == "failed"
    assert words in row.result.reason
    assert row.result.uplink_bits is None


@pytest.mark.parametrize("bits", ["-1.0", "0.0", "float('nan')", "float('inf')"])
def test_a_coder_that_says_what_cannot_be_fails_its_cell(tmp_path: Path, bits: str) -> None:
    cell = replace(CELL, method="mine", convention="harmonised")
    catalog = coder_file(tmp_path, 1.0)
    path = Path(catalog.method_files[0])
    path.write_text(path.read_text().replace("return 1.0 * elements", f"return {bits}"))
    row = answer(cell, Catalog(catalog.method_files))
    assert row.result.status == "failed"
    assert row.result.reason.startswith("coder 'own': bits of 2048 elements is ")
    assert row.result.uplink_bits is None


def test_counts_that_cannot_be_never_reach_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    right = evaluation.plan_workload(
        Plan("small", CutRef(1, "conv1")), worlds.small_task(), convention("qho2024")
    )
    for wrong in (
        {"uplink_bits": float("nan")},
        {"uplink_bits": float("inf")},
        {"uplink_bits": -1.0},
        {"device_flops": -1},
        {"server_flops": 1.5},
        {"encode_flops": float("nan")},
        {"uplink_symbols": 1},  # beside bits
        {"uplink_bits": 0.0, "uplink_symbols": 0.5},
        {"uplink_bits": 0.0, "uplink_symbols": -1},
    ):
        work = replace(right, **wrong)
        monkeypatch.setattr(evaluation, "plan_workload", lambda *_, work=work, **__: work)
        result = answer(CELL).result
        assert (result.status, result.latency, result.uplink_bits) == ("failed", {}, None), wrong
        assert result.reason.startswith(("the plan's counts cannot be", "the plan sends 65536.0"))


def test_numpys_numbers_are_pythons_in_a_row(tmp_path: Path) -> None:
    body = """
    import numpy as np
    def select(self, library, scenario, context):
        cut = context.cuts[1]
        return Selection(
            Plan(context.task.model, CutRef(self.np.int64(cut.index), self.np.str_(cut.after))),
            predicted_accuracy=self.np.float32(0.5), predicted_latency_s=self.np.float64(0.25),
            evaluations=self.np.int32(3))
    """
    row = answer(replace(CELL, method="mine"), method_file(tmp_path, body))
    plain = body.replace("self.np.int64", "").replace("self.np.str_", "")
    plain = plain.replace("self.np.float32", "").replace("self.np.float64", "")
    (tmp_path / "plain").mkdir()
    expected = answer(
        replace(CELL, method="mine"),
        method_file(tmp_path / "plain", plain.replace("self.np.int32", "")),
    )
    assert row.result == expected.result
    assert repr(row.result) == repr(expected.result)


# -- what a plan's hash and a row disclose --------------------------------------------------------


def test_two_codecs_of_one_name_give_two_plans_and_two_keys(tmp_path: Path) -> None:
    cell = replace(CELL, method="mine", convention="harmonised")
    catalogs = [codec_file(tmp_path / w, work=f"({w}, 7)") for w in "123"]
    rows = [answer(cell, catalog) for catalog in catalogs]
    plans = [row.result.plan for row in rows]
    assert all(plan is not None and plan["codec"] == "squeeze" for plan in plans)
    assert len({row.result.plan_hash for row in rows}) == 3
    assert len({row.key for row in rows}) == 3
    for row in rows:
        assert Plan.from_data(row.result.plan).hash == row.result.plan_hash


def test_both_sizes_of_the_input_are_told_where_one_of_them_is_charged() -> None:
    graph = worlds.chain((3, 16, 16), ("conv", 8, 3, 1, 1), ("flatten",), ("fc", 10))
    resized = replace(worlds.small_task(), graph=graph, source=Source((3, 8, 8)))

    def told(method: str, convention: str, task: Task = resized) -> tuple[str, ...]:
        cell = replace(CELL, method=method, convention=convention)
        prepared = prepare(Group.of(cell), Catalog())
        cuts = {"task": task, "library": prepared.method.build(task, _context(task, cell))}
        return evaluate(replace(prepared, **cuts), cell).result.assumptions  # type: ignore[arg-type]

    assert told("all_server", "harmonised") == (
        "the 3x8x8 source is charged; the server resizes it to 3x16x16 at no cost",
    )
    assert told("all_server", "qho2024") == (
        "the network's 3x16x16 input is charged, not the 3x8x8 source (1,536 bits raw); the "
        "device resizes it at no cost",
    )
    assert told("all_local", "harmonised") == ()
    assert told("all_server", "harmonised", worlds.small_task()) == ()


def _context(task: Task, cell: Cell) -> Context:
    return Context(task, convention(cell.convention), task.graph.cuts)


def test_an_unknown_source_is_told_wherever_it_had_a_say() -> None:
    unknown = replace(worlds.small_task(), source=Source((3, 16, 16), assumption="it is taken"))

    def told(method: str) -> tuple[str, ...]:
        cell = replace(CELL, method=method, convention="harmonised")
        return evaluate(
            replace(prepare(Group.of(cell), Catalog()), task=unknown), cell
        ).result.assumptions

    assert told("all_server") == told("neurosurgeon") == ("it is taken",)
    assert told("all_local") == ()


def test_only_networks_of_ours_have_a_source_that_is_known() -> None:
    assert source_of(model_spec("alexnet")).assumption == ""
    assert source_of(model_spec("alexnet-cifar[hidden=512]")).assumption == ""
    stranger = source_of(model_spec("torchvision:resnet18[image_size=32]"))
    assert stranger.shape == (3, 32, 32)
    assert stranger.png_bits is None
    assert "not known" in stranger.assumption
