"""Our own methods keep the contract, and do what their papers say on worlds worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinfer.conventions import convention, conventions
from coinfer.cost import plan_workload, scenario_latency
from coinfer.errors import CoinferError
from coinfer.hardware import Link, Processor
from coinfer.method import Context, Method, MethodCard
from coinfer.plan import Scenario, Selection, Task
from methods import worlds
from methods.all_local import AllLocal
from methods.all_server import AllServer
from methods.conformance import MethodContract
from methods.exhaustive import Exhaustive
from methods.neurosurgeon import Neurosurgeon
from methods.registry import find_methods, installed_methods


class TestAllLocal(MethodContract):
    method = AllLocal()


class TestAllServer(MethodContract):
    method = AllServer()


class TestAllServerRaw8(MethodContract):
    method = AllServer(payload="raw8")


class TestAllServerPng(MethodContract):
    method = AllServer(payload="png")


class TestNeurosurgeon(MethodContract):
    method = Neurosurgeon()


class TestExhaustive(MethodContract):
    method = Exhaustive()


def ask(method: Method, task: Task, scenario: Scenario, **options: object) -> Selection:
    kinds = scenario.convention.kinds_for(method.card.name, method.card.cuts)
    cuts = tuple(cut for cut in task.graph.cuts if cut.kind in kinds)
    library = method.build(task, Context(task, scenario.convention, cuts))
    return method.select(library, scenario, Context(task, scenario.convention, cuts, **options))  # type: ignore[arg-type]


def total_s(selection: Selection, task: Task, scenario: Scenario) -> float:
    assert selection.plan is not None
    work = plan_workload(selection.plan, task, scenario.convention)
    return float(scenario_latency(work, scenario).total_s)


def literal_partition_s(task: Task, scenario: Scenario, after: int, bits: float) -> float:
    """Eqs. 2-5 of the QHO paper, layer by layer, for a cut behind `after` layers."""
    flops = task.graph.flops(scenario.convention.flops_rules)
    time = 0.0
    for j, work in enumerate(flops, start=1):
        side = scenario.device if j <= after else scenario.server
        time += float(work) / side.speed()
    return time + bits / scenario.rate_bps


rates = st.floats(1e2, 1e10)
speeds = st.floats(1e5, 1e13)


@given(rate=rates, device=speeds, server=speeds, name=st.sampled_from(["qho2024", "cpcdrl2024"]))
def test_neurosurgeon_is_the_best_of_its_cuts_by_the_literal_equations(
    rate: float, device: float, server: float, name: str
) -> None:
    task, scenario = worlds.small_task(), worlds.scenario(rate, device, server, name)
    interior_only = name == "qho2024"
    cuts = [
        (cut.index, 0.0 if cut.kind == "output" else 32.0 * cut.elements)
        for cut in task.graph.cuts
        if cut.kind == "interior" or not interior_only
    ]
    best = min(literal_partition_s(task, scenario, index, bits) for index, bits in cuts)
    found = total_s(ask(Neurosurgeon(), task, scenario), task, scenario)
    assert found == pytest.approx(best, rel=1e-12)


@given(rate=rates, device=speeds, server=speeds, name=st.sampled_from(sorted(conventions())))
def test_exhaustive_bounds_what_neither_prunes_nor_encodes(
    rate: float, device: float, server: float, name: str
) -> None:
    task, scenario = worlds.small_task(), worlds.scenario(rate, device, server, name)
    bound = total_s(ask(Exhaustive(), task, scenario), task, scenario)
    rivals = [
        AllLocal(),
        Neurosurgeon(),
        *(AllServer(payload=p) for p in ("raw8", "png", "float32")),
    ]
    for rival in rivals:
        if rival.supports(task, scenario) is None:
            assert bound <= total_s(ask(rival, task, scenario), task, scenario)


@given(rate=rates, factor=st.floats(1.0, 1e4), device=speeds, server=speeds)
def test_more_bandwidth_never_slows_an_optimum(
    rate: float, factor: float, device: float, server: float
) -> None:
    task = worlds.small_task()
    for method in (Exhaustive(), Neurosurgeon()):
        slow, fast = (worlds.scenario(r, device, server) for r in (rate, rate * factor))
        assert total_s(ask(method, task, fast), task, fast) <= total_s(
            ask(method, task, slow), task, slow
        )


@given(rate=rates, device=speeds)
def test_an_infinite_server_and_a_fast_link_tend_to_sending_the_input(
    rate: float, device: float
) -> None:
    task = worlds.small_task()
    # Server time vanishes: the input wins exactly when nothing computed on the device pays.
    scenario = worlds.scenario(math.inf, device, math.inf)
    plan = ask(Exhaustive(), task, scenario).plan
    assert plan is not None
    assert plan.cut.after == "input"
    # On a finite link the optimum has no more device work than with a slow server.
    fast, slow = worlds.scenario(rate, device, math.inf), worlds.scenario(rate, device, device)
    indices = [ask(Exhaustive(), task, s).plan.cut.index for s in (fast, slow)]  # type: ignore[union-attr]
    assert indices[0] <= indices[1]


@given(device=speeds, server=speeds)
def test_a_dead_link_means_all_local(device: float, server: float) -> None:
    task, scenario = worlds.small_task(), worlds.scenario(0.0, device, server)
    for method in (Exhaustive(), Neurosurgeon()):
        plan = ask(method, task, scenario).plan
        assert plan is not None
        assert plan.cut.after == "fc5"


@given(rate=rates, power=st.integers(-20, 20))
def test_scaling_bits_and_rate_together_changes_nothing(rate: float, power: int) -> None:
    task = worlds.small_task()
    scenario = worlds.scenario(rate, convention="qho2024")
    plan = ask(Neurosurgeon(), task, scenario).plan
    assert plan is not None
    work = plan_workload(plan, task, scenario.convention)
    scale = 2.0**power
    scaled = scenario_latency(
        type(work)(work.device_flops, work.server_flops, work.uplink_bits * scale),
        worlds.scenario(rate * scale, convention="qho2024"),
    )
    assert scaled.total_s == scenario_latency(work, scenario).total_s


def test_all_server_sends_what_it_says() -> None:
    task = worlds.small_task()
    bits = {}
    for payload in ("float32", "raw8", "png"):
        plan = ask(AllServer(payload=payload), task, worlds.scenario()).plan
        assert plan is not None
        bits[payload] = plan_workload(plan, task, convention("harmonised")).uplink_bits
    assert bits == {"float32": 3 * 16 * 16 * 32, "raw8": 3 * 16 * 16 * 8, "png": 4000.0}


def test_all_server_refuses_what_was_never_measured_and_what_the_convention_excludes() -> None:
    unmeasured = AllServer(payload="png").supports(worlds.one_layer_task(), worlds.scenario())
    assert unmeasured is not None
    assert "no png size was measured" in unmeasured.reason
    excluded = AllServer(payload="png").supports(
        worlds.small_task(), worlds.scenario(convention="qho2024")
    )
    assert excluded is not None
    assert "qho2024 admits float32" in excluded.reason


def test_energy_needs_watts_and_then_minimises_energy() -> None:
    task = worlds.small_task()
    method = Neurosurgeon(objective="energy")
    refusal = method.supports(task, worlds.scenario())
    assert refusal is not None
    assert refusal.reason == (
        "energy needs watts; give 'world[compute_watts=...]' and 'world[transmit_watts=...]'"
    )
    # A radio that costs nothing and a device that does: send the input, however slow the link.
    scenario = Scenario(
        Processor("d", "device", 1e8, compute_watts=5.0),
        Processor("s", "server", 1e12),
        Link("l", rate_bps=10.0, transmit_watts=0.0),
        convention("harmonised"),
    )
    assert method.supports(task, scenario) is None
    plan = ask(method, task, scenario).plan
    assert plan is not None
    assert plan.cut.after == "input"


def test_equal_costs_go_to_the_earliest_cut() -> None:
    task = worlds.small_task()
    # Everything is free: every cut costs 0 s.
    plan = ask(Neurosurgeon(), task, worlds.scenario(math.inf, math.inf, math.inf)).plan
    assert plan is not None
    assert plan.cut.index == 0


def test_a_small_budget_is_kept_and_said() -> None:
    selection = ask(Neurosurgeon(), worlds.small_task(), worlds.scenario(), max_evaluations=2)
    assert (selection.status, selection.evaluations) == ("budget", 2)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("neurosurgon", "did you mean 'neurosurgeon'"),
        ("neurosurgeon[objectiv=energy]", "did you mean 'objective'"),
        ("neurosurgeon[objective=speed]", "allowed: latency, energy"),
        ("all_server[payload=jpeg]", "allowed: convention, float32, raw8, png"),
        ("all_server[payload]", "not of the form option=value"),
    ],
)
def test_bad_refs_say_what_is_accepted(ref: str, words: str) -> None:
    with pytest.raises(CoinferError, match=words):
        installed_methods().make(ref)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("amc[episodes=0]", "amc: episodes is 0"),
        ("amc[episodes=1.5]", "episodes is 1.5; allowed is a whole number"),
        ("amc[guard_band=1]", "amc: guard_band is 1"),
        ("cia[episodes=0]", "1 or more"),
        ("cia[episodes=2.5]", "a whole number"),
        ("cia[remembered=0]", "1 or more"),
        ("cia[beta=1.5]", "0 to 1"),
        ("cia[guard_band=1]", "0 to below 1"),
        ("cia[original=image]", "allowed: network, autoencoder"),
        ("three_step[coding=polar]", "coding is 'polar'; allowed: source, jscc, jscc-bsc"),
        ("three_step[step=0]", "three_step: step is 0.0; allowed is 0.05 to 0.9"),
        ("three_step[step=1]", "three_step: step is 1.0"),
        ("three_step[guard_band=2]", "three_step: guard_band is 2.0"),
        ("ipdr[bits=16]", "ipdr: bits is 16; allowed: 8, 32"),
        ("ipdr[step=0.01]", "ipdr: step is 0.01"),
        ("paa[guard_band=-1]", "paa: guard_band is -1"),
        ("greedy[ratio=0.95]", "greedy: ratio is 0.95; allowed is 0 to 0.9"),
        ("greedy[ratio=-0.1]", "greedy: ratio is -0.1; allowed is 0 to 0.9"),
        ("greedy[ratio=half]", "greedy: ratio is"),
        ("greedy[guard_band=2]", "greedy: guard_band is 2"),
        ("fpgm[guard_band=-0.1]", "fpgm: guard_band is -0.1"),
        ("bottlenet++[guard_band=1]", "bottlenet++: guard_band is 1.0"),
        ("fpgm[max_rate=0.95]", "fpgm: max_rate is 0.95; allowed is above 0, up to 0.9"),
        ("fpgm[step=0]", "fpgm: step is 0.0"),
        ("fpgm[step=0.8]", "fpgm: step is 0.8"),
        ("two_step_pruning[least_left=0.05]", "least_left is 0.05; allowed is 0.1 to 1"),
        ("two_step_pruning[counts=cubic]", "counts is 'cubic'; allowed: log, sixteenths"),
        ("partition_huffman[bits=0]", "partition_huffman: bits is 0; allowed is"),
        ("partition_huffman[bits=9]", "partition_huffman: bits is 9; allowed is"),
        ("partition_huffman[bits=2.5]", "bits is 2.5; allowed is a whole number"),
        ("jalad[bits=4]", "unknown option of method 'jalad' 'bits'"),
    ],
)
def test_options_out_of_range_are_refused(ref: str, words: str) -> None:
    with pytest.raises(CoinferError) as error:
        installed_methods().make(ref)
    assert words in str(error.value)


def test_a_whole_number_is_the_same_option_as_its_float(tmp_path: Path) -> None:
    path = tmp_path / "stepping.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from coinfer.method import Method, MethodCard\n"
        "@dataclass(frozen=True)\n"
        "class Stepping(Method):\n"
        "    card = MethodCard(name='stepping', title='S', idea='i', reference='r')\n"
        "    step: float = 0.1\n"
        "    turns: int = 1\n"
        "    def select(self, library, scenario, context): return None\n"
    )
    make = find_methods((str(path),)).make
    refs = {str(make(f"stepping[step={step},turns=3]").ref) for step in ("2", "2.0", "2e0")}
    assert refs == {"stepping[step=2.0,turns=3]"}


@pytest.mark.parametrize("header", ["", "from __future__ import annotations\n"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("step=fast", "step is 'fast'; allowed is a number"),
        ("step=true", "step is True; allowed is a number"),
        ("turns=2.5", "turns is 2.5; allowed is a whole number"),
        ("turns=false", "turns is False; allowed is a whole number"),
        ("on=1", "on is 1; allowed is true or false"),
        ("word=3", "word is 3; allowed is text, in quotes if it reads as a number"),
        ("step=null", "step is None; allowed is a number"),
    ],
)
def test_an_option_is_of_the_type_of_its_field(
    tmp_path: Path, header: str, given: str, words: str
) -> None:
    path = tmp_path / "typed.py"
    path.write_text(
        f"{header}from dataclasses import dataclass\n"
        "from coinfer.method import Method, MethodCard\n"
        "@dataclass(frozen=True)\n"
        "class Typed(Method):\n"
        "    card = MethodCard(name='typed', title='T', idea='i', reference='r')\n"
        "    step: float = 0.1\n"
        "    turns: int = 1\n"
        "    on: bool = False\n"
        "    word: str = 'x'\n"
        "    maybe: float | None = None\n"
        "    def select(self, library, scenario, context): return None\n"
    )
    make = find_methods((str(path),)).make
    with pytest.raises(CoinferError) as error:
        make(f"typed[{given}]")
    assert str(error.value) == f"method 'typed': {words}"
    good = 'typed[maybe=null,on=true,step=3,turns=4,word="5"]'
    assert str(make(good).ref) == 'typed[on=true,step=3.0,turns=4,word="5"]'


def test_refs_leave_defaults_out_so_equal_methods_have_equal_names() -> None:
    make = installed_methods().make
    assert str(make("neurosurgeon[objective=latency]").ref) == "neurosurgeon"
    assert str(make("all_server[payload=png]").ref) == "all_server[payload=png]"


def test_a_context_draws_on_from_one_stream_of_its_own() -> None:
    task = worlds.small_task()

    def drawn(entropy: int) -> list[float]:
        context = Context(task, convention("harmonised"), task.graph.cuts, entropy)
        return [float(context.rng.random()) for _ in range(3)]

    # Each use of `context.rng` draws on; it does not start again.
    assert len(set(drawn(1))) == 3
    assert drawn(1) == drawn(1)
    assert not set(drawn(1)) & set(drawn(2))


def test_no_plan_of_a_baseline_depends_on_the_scenario() -> None:
    # What a card says that its plan may depend on is what it does depend on.
    assert {method.card.name: method.card.sees for method in (AllLocal(), AllServer())} == {
        "all_local": frozenset(),
        "all_server": frozenset(),
    }


CARD: dict[str, Any] = {"name": "x", "title": "X", "idea": "i", "reference": "r"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "a,b"}, "MethodCard.name of 'a,b' is 'a,b'; allowed: text without , [ ] ="),
        ({"name": 3}, "MethodCard.name of '3' is 3"),
        ({"cuts": frozenset()}, "MethodCard.cuts of 'x' is frozenset(); allowed: input, interior"),
        ({"cuts": "interior"}, "MethodCard.cuts of 'x' is 'interior'; allowed: input, interior"),
        ({"cuts": {"inside"}}, "MethodCard.cuts of 'x' is {'inside'}"),
        ({"sees": {"rate"}}, "MethodCard.sees of 'x' is {'rate'}; allowed: device, server, link"),
        ({"phases": ("train",)}, "MethodCard.phases of 'x' is ('train',); allowed: pretrain"),
        ({"prunes": "all"}, "MethodCard.prunes of 'x' is 'all'; allowed: none, device, whole"),
        ({"payload": "bits"}, "MethodCard.payload of 'x' is 'bits'; allowed: digital, analog"),
        ({"accuracy_signal": "test"}, "allowed: baseline, measured, predictor"),
        ({"constraint": "soft"}, "allowed: none, hard, reward"),
        ({"needs_scenario": "yes"}, "allowed: no, select, build"),
        ({"fidelity": "exact"}, "allowed: paper_exact, paper_choices"),
        ({"stochastic": 1}, "MethodCard.stochastic of 'x' is 1; allowed: True, False"),
    ],
)
def test_a_card_that_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(CoinferError) as error:
        MethodCard(**{**CARD, **fields})
    assert words in str(error.value)


def test_a_cards_collections_are_what_they_are_said_to_be() -> None:
    card = MethodCard(**CARD, cuts={"input"}, sees=["link", "snr"], phases=["fit"])
    assert (card.cuts, card.sees, card.phases) == ({"input"}, {"link", "snr"}, ("fit",))
    assert hash(card) == hash(
        MethodCard(**CARD, cuts={"input"}, sees={"snr", "link"}, phases=("fit",))
    )


def test_a_constructor_cannot_end_the_run(tmp_path: Path) -> None:
    path = tmp_path / "leaving.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from coinfer.method import Method, MethodCard\n"
        "@dataclass(frozen=True)\n"
        "class Leaving(Method):\n"
        "    card = MethodCard(name='leaving', title='L', idea='i', reference='r')\n"
        "    def __post_init__(self): raise SystemExit(0)\n"
        "    def select(self, library, scenario, context): return None\n"
    )
    with pytest.raises(CoinferError, match="method 'leaving': SystemExit: 0"):
        find_methods((str(path),)).make("leaving")
