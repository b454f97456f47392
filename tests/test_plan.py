"""Plans, tasks, scenarios and selections: validated, frozen, one hash per content."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinfer import presets
from coinfer.conventions import convention
from coinfer.errors import CoinferError
from coinfer.hardware import Link, Processor
from coinfer.plan import CutRef, Plan, Scenario, Selection, Source, Task, kept_channels
from coinfer.serial import canonical_json, content_hash, from_data, to_data
from methods import worlds
from tests.graphs import chain

GRAPH = chain((3, 8, 8), ("conv", 4, 3, 1, 1), ("relu",), ("flatten",), ("fc", 10))
PLAN = Plan("alexnet", CutRef(2, "relu2"), keep=(("conv1", 3),))

names = st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True)
plans = st.builds(
    Plan,
    model=names,
    cut=st.builds(CutRef, st.integers(0, 100), st.text()),
    keep=st.dictionaries(st.text(), st.integers(1, 4096), max_size=4).map(
        lambda units: tuple(units.items())
    ),
    criterion=names,
    codec=st.builds("{}[b={},a={}]".format, names, st.integers(), st.booleans()),
    coder=names,
)


@given(plans)
def test_plans_survive_json_with_their_hash(plan: Plan) -> None:
    again = Plan.from_data(json.loads(canonical_json(to_data(plan))))
    assert again == plan
    assert again.hash == plan.hash
    assert hash(again) == hash(plan)


@given(plans, plans)
def test_plans_are_equal_where_their_hashes_are(one: Plan, other: Plan) -> None:
    assert (one == other) == (one.hash == other.hash)


@given(plans, st.randoms())
def test_the_order_of_groups_and_options_means_nothing(plan: Plan, random) -> None:  # type: ignore[no-untyped-def]
    keep = list(plan.keep)
    random.shuffle(keep)
    name, _, inner = plan.codec.rstrip("]").partition("[")
    spelled = f" {name}[{' , '.join(reversed(inner.split(',')))}]"
    assert replace(plan, keep=tuple(keep), codec=spelled).hash == plan.hash


@pytest.mark.parametrize(
    "change",
    [
        {"model": "regnet"},
        {"cut": CutRef(3, "relu2")},
        {"cut": CutRef(2, "relu3")},
        {"keep": (("conv1", 2),)},
        {"keep": ()},
        {"criterion": "l1"},
        {"schedule": "agp"},
        {"codec": "linear"},
        {"coder": "raw8"},
        {"channel": "awgn"},
        {"part_sources": (("codec", "0" * 64),)},
    ],
)
def test_every_field_is_in_the_hash(change: dict[str, Any]) -> None:
    assert replace(PLAN, **change).hash != PLAN.hash


def test_a_plan_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        PLAN.model = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"keep": (("a", 0),)}, "Plan.keep of 'a' is 0; allowed is a whole number, 1 or more"),
        ({"keep": (("a", 2.5),)}, "Plan.keep of 'a' is 2.5; allowed is a whole number"),
        ({"keep": (("a", "2"),)}, "Plan.keep of 'a' is '2'; allowed is a whole number"),
        ({"keep": {"a": 2}}, "Plan.keep has {'a': 2}; allowed are pairs (prune group, units kept)"),
        ({"keep": (("a", 1, 2),)}, "Plan.keep has ('a', 1, 2); allowed are pairs"),
        ({"keep": 3}, "Plan.keep has 3; allowed are pairs"),
        ({"cut": (2, "relu2")}, "Plan.cut is (2, 'relu2'); allowed is a CutRef(index, after)"),
        ({"cut": GRAPH.cuts[1]}, "Plan.cut is Cut(index=1"),
        ({"model": None}, "Plan.model is None; allowed is text"),
        ({"codec": None}, "Plan.codec is None; allowed is text"),
        ({"coder": 32}, "Plan.coder is 32; allowed is text"),
        ({"schema": 2}, "Plan.schema is 2; allowed is 1"),
        ({"part_sources": 3}, "Plan.part_sources has 3; allowed are pairs (kind of part, hash)"),
        ({"part_sources": (("cut", "0"),)}, "Plan.part_sources has ('cut', '0')"),
        ({"part_sources": (("codec", 1),)}, "Plan.part_sources has ('codec', 1)"),
        ({"keep": (("a", 1), ("a", 2))}, "Plan.keep names a prune group twice"),
        ({"codec": "linear["}, "'linear[' is not of the form"),
    ],
)
def test_bad_plans_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(CoinferError) as error:
        replace(PLAN, **change)
    assert text in str(error.value)


@pytest.mark.parametrize("index", [-1, 1.0, True, "1", None, 2**63])
def test_a_cut_is_a_whole_number_of_layers(index: Any) -> None:
    with pytest.raises(CoinferError, match="CutRef.index is .*; allowed is a whole number, 0 "):
        CutRef(index, "x")


def test_a_cut_has_a_name() -> None:
    with pytest.raises(CoinferError, match="CutRef.after is None; allowed is text"):
        CutRef(1, None)  # type: ignore[arg-type]


def test_numpys_numbers_become_pythons() -> None:
    cut: Any = CutRef(np.int64(2), np.str_("relu2"))  # type: ignore[arg-type]
    plan: Any = Plan("alexnet", cut, keep=(("conv1", np.int32(3)),))  # type: ignore[arg-type]
    assert (plan, plan.hash) == (PLAN, PLAN.hash)
    types = {type(v) for v in (plan.cut.index, plan.cut.after, *plan.keep[0])}
    assert types == {int, str}
    chosen: Any = Selection(PLAN, "feasible", np.float32(0.5), np.float64(0.25), np.uint8(7))  # type: ignore[arg-type]
    assert chosen == Selection(PLAN, "feasible", 0.5, 0.25, 7)
    numbers = (chosen.predicted_accuracy, chosen.predicted_latency_s, chosen.evaluations)
    assert [type(number) for number in numbers] == [float, float, int]


def test_which_plans_leave_the_network_as_it_is() -> None:
    assert Plan("m", CutRef(0, "input"), coder="raw8").unchanged
    assert not PLAN.unchanged
    assert not Plan("m", CutRef(1, "a"), coder="huffman[bits=8]").unchanged  # quantising loses
    assert not Plan("m", CutRef(0, "input"), codec="linear").unchanged
    assert not Plan("m", CutRef(0, "input"), channel="awgn").unchanged


# -- kept channels (ruling 8) ---------------------------------------------------------------------


@given(st.integers(1, 4096), st.data())
def test_kept_channels_of_a_share_that_removes_whole_channels(
    channels: int, data: st.DataObject
) -> None:
    removed = data.draw(st.integers(0, channels))
    # k/C as a float, times C, may fall below k: the 1e-9 is for that.
    assert kept_channels(channels, removed / channels) == max(1, channels - removed)


@given(st.integers(1, 4096), st.floats(0, 1))
def test_kept_channels_is_the_exact_rule_but_for_rounding(channels: int, sparsity: float) -> None:
    exact = Fraction(sparsity) * channels
    above = math.floor(exact + Fraction(2, 10**9))
    assert max(1, channels - above) <= kept_channels(channels, sparsity)
    assert kept_channels(channels, sparsity) <= max(1, channels - math.floor(exact))


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, math.nan])
def test_kept_channels_refuses_other_shares(sparsity: float) -> None:
    with pytest.raises(CoinferError, match="allowed is 0 to 1"):
        kept_channels(4, sparsity)


# -- task and source ------------------------------------------------------------------------------


def test_a_raw_image_is_its_elements_times_their_width() -> None:
    assert Source((3, 32, 32)).raw_bits == 24_576
    assert Source((3, 32, 32), 32).raw_bits == 98_304


def test_a_task_hash_sees_what_a_method_may_learn() -> None:
    task = Task("m", GRAPH, Source((3, 8, 8)))
    other = chain((3, 8, 8), ("conv", 4, 3, 1, 1), ("relu",), ("flatten",), ("fc", 9))
    changes: list[dict[str, Any]] = [
        {"model": "n"},
        {"graph": other},
        {"source": Source((3, 8, 9))},
        {"source": Source((3, 8, 8), png_bits=1.0)},
        {"source": Source((3, 8, 8), assumption="it is ours")},
        {"baseline_accuracy": 0.9},
        {"max_accuracy_loss": 0.01},
    ]
    assert len({task.hash, *(replace(task, **change).hash for change in changes)}) == 8
    assert replace(task).hash == task.hash


@pytest.mark.parametrize("make", [worlds.small_task, worlds.one_layer_task])
@pytest.mark.parametrize("groups", [False, True])
def test_a_task_survives_json_with_its_hash(make: Any, groups: bool) -> None:
    task = replace(make(groups=groups), baseline_accuracy=0.5, baseline_evidence="measured")
    text = canonical_json(to_data(task))
    again = from_data(json.loads(text), Task)
    assert again == task
    assert (again.hash, hash(again)) == (task.hash, hash(task))
    assert content_hash(to_data(again)) == content_hash(json.loads(text))


@pytest.mark.parametrize("first", ["coinfer.plan", "coinfer.compression.space", "coinfer.serial"])
def test_a_task_is_hashed_without_torch_whatever_is_imported_first(first: str) -> None:
    code = (
        f"import {first}, sys; from methods import worlds; from coinfer.serial import *; "
        "print(content_hash(to_data(worlds.small_task(groups=True)))[:1].isalnum(), "
        "'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True False\n", "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"shape": ()}, "Source.shape is (); allowed is a tuple of whole numbers, 1 or more each"),
        ({"shape": (3, 0)}, "Source.shape is (3, 0)"),
        ({"bits_per_element": 0}, "Source.bits_per_element is 0"),
        ({"png_bits": math.nan}, "Source.png_bits is nan; allowed is a finite number > 0"),
        ({"png_bits": math.inf}, "Source.png_bits is inf"),
    ],
)
def test_a_source_has_a_size(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(CoinferError) as error:
        Source(**{"shape": (3, 8, 8), **fields})
    assert words in str(error.value)


@pytest.mark.parametrize("loss", [-0.01, 1.5, math.nan])
def test_an_accuracy_floor_is_a_share(loss: float) -> None:
    with pytest.raises(CoinferError, match="Task.max_accuracy_loss is .*; allowed is 0 to 1"):
        Task("m", GRAPH, Source((3, 8, 8)), max_accuracy_loss=loss)


# -- scenario and selection -----------------------------------------------------------------------


def scenario(link: str, snr_db: float | None = None, device: str = "raspberry-pi-4b") -> Scenario:
    server = presets.server("tesla-p100")
    rules = convention("qho2024")
    return Scenario(presets.device(device), server, presets.link(link), rules, snr_db)


def test_the_snr_axis_collapses_on_links_that_have_their_rate() -> None:
    assert scenario("3g", 5.0) == scenario("3g", 10.0) == scenario("3g")
    assert scenario("3g", 5.0).snr_db is None
    assert scenario("3g").rate_bps == 1.19e6
    assert scenario("bsc[flip_probability=0]", 3.0).rate_bps == 1e6
    assert scenario("radio-1mhz", 0.0).rate_bps == 1e6
    assert scenario("radio-1mhz", 0.0) != scenario("radio-1mhz", 1.0)


def test_a_scenario_refuses_what_cannot_be_priced() -> None:
    with pytest.raises(CoinferError, match="needs an SNR in dB, snr_db"):
        scenario("radio-1mhz")
    with pytest.raises(CoinferError, match=r"give one as 'honor-8-lite@cia2021\[flops_per_s="):
        scenario("3g", device="honor-8-lite")
    with pytest.raises(CoinferError, match=r"server 's' needs .*; give one as 's\[flops_per_s="):
        Scenario(
            Processor("d", "device", 1.0),
            Processor("s", "server"),
            Link("l", rate_bps=1.0),
            convention("qho2024"),
        )


@pytest.mark.parametrize("link", ["3g", "radio-1mhz"])
@pytest.mark.parametrize("snr_db", [math.nan, math.inf, -math.inf, "10"])
def test_an_snr_is_a_finite_number_of_db_even_where_none_is_needed(link: str, snr_db: Any) -> None:
    with pytest.raises(CoinferError, match="snr_db is .*; allowed is a finite number of dB"):
        scenario(link, snr_db)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"plan": {"model": "m"}}, "Selection.plan is a dict; allowed is a Plan, or None"),
        ({"status": "great"}, "Selection.status is 'great'; allowed: feasible, infeasible, budget"),
        ({"evaluations": -1}, "Selection.evaluations is -1; allowed is a whole number, 0 or more"),
        ({"evaluations": 2.0}, "Selection.evaluations is 2.0"),
        ({"evaluations": True}, "Selection.evaluations is True"),
        ({"evaluations": 2**63}, "is 9223372036854775808; allowed is a whole number, 0 to 922"),
        ({"predicted_accuracy": 93.5}, "Selection.predicted_accuracy is 93.5; allowed is 0 to 1"),
        ({"predicted_accuracy": math.nan}, "Selection.predicted_accuracy is nan"),
        ({"predicted_latency_s": -1.0}, "predicted_latency_s is -1.0; allowed is a number >= 0"),
        ({"predicted_latency_s": -math.inf}, "Selection.predicted_latency_s is -inf"),
        ({"predicted_latency_s": math.nan}, "Selection.predicted_latency_s is nan"),
        ({"predicted_latency_s": "fast"}, "Selection.predicted_latency_s is 'fast'"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(CoinferError) as error:
        Selection(**{"plan": PLAN, **fields})
    assert words in str(error.value)


def test_a_method_may_foretell_that_nothing_ever_arrives() -> None:
    assert Selection(PLAN, predicted_latency_s=math.inf).predicted_latency_s == math.inf


def test_a_selection_without_a_plan_says_that_nothing_is_feasible() -> None:
    assert Selection(None, "infeasible").plan is None
    assert Selection(PLAN, "budget").plan == PLAN
    for plan, status in ((None, "feasible"), (None, "budget"), (PLAN, "infeasible")):
        with pytest.raises(CoinferError, match="'infeasible' goes with no plan"):
            Selection(plan, status)  # type: ignore[arg-type]
