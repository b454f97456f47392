"""Simple partition and JALAD: a plain loop over measured cuts and widths, and nothing left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from coinfer.conventions import convention
from coinfer.cost import plan_workload, scenario_latency
from coinfer.errors import CoinferError
from coinfer.method import Context, Library
from coinfer.plan import CutRef, MeasuredPlans, Plan, Scenario, Selection, Source, Task
from methods import worlds
from methods.conformance import MethodContract
from methods.jalad import Jalad
from methods.partition_huffman import PartitionHuffman
from methods.quantised import QuantisedMethod
from tests.graphs import deep

CONVENTIONS = ("harmonised", "cia2021")  # raw8 and PNG at the input
METHODS = (PartitionHuffman(), PartitionHuffman(bits=4), Jalad())
EVERY = pytest.mark.parametrize("method", METHODS, ids=repr)
SPEED = 2.0**30  # divides whole numbers without rounding, so that equal costs are equal


class TestPartitionHuffman(MethodContract):
    method = PartitionHuffman()


class TestJalad(MethodContract):
    method = Jalad()


@cache
def task() -> Task:
    """Four blocks; cuts behind the pools, `relu7`, `fc9`, and N."""
    graph = deep(hidden=256)
    bare = Task("deep", graph, Source((3, 64, 64), png_bits=50e3))
    with_groups = replace(bare, prune_space=worlds.chain_space(graph))
    made = worlds.measured_task(with_groups, ["quantised", "prune-partition"])
    # As the harness hands it: neither method prunes.
    return with_losses(LOSSES, replace(made, prune_space=None))


# Lost at 8 - b = 1 bit less than 8; some cuts bear fewer bits than others.
LOSSES = {"maxpool3": 0.03, "maxpool5": 0.0045, "relu7": 0.0035, "fc9": 0.003}


def with_losses(losses: dict[str, float], whole: Task) -> Task:
    """A task with quantised plans that lose so much for every bit less, and a tenth with all."""
    own = measured(whole)
    assert own.baseline_accuracy is not None
    right = []
    for plan in own.plans:
        bits = int(plan.coder[13]) if plan.coder.startswith("huffman") else 0
        lost = losses.get(plan.cut.after, 0.0) * max(0.1, 8 - bits)
        right.append(own.baseline_accuracy - lost)
    others = [found for found in whole.measured if found.family != "quantised"]
    return replace(whole, measured=(*others, replace(own, accuracies=tuple(right))))


def measured(of: Task | None = None) -> MeasuredPlans:
    found = (of or task()).plans_of("quantised")
    assert found is not None
    return found


def literal(
    method: QuantisedMethod, scenario: Scenario, budget: int | None = None, of: Task | None = None
) -> Selection:
    """min sum x_ib tau_ib subject to sum x_ib A_ib <= bound, one plan at a time."""
    found = measured(of)
    whole = of or task()
    rows = {p: (b, a) for p, b, a in
            zip(found.plans, found.uplink_bits, found.accuracies, strict=True)}  # fmt: skip
    assert found.baseline_accuracy is not None
    best: tuple[float, Selection] | None = None
    looked_at = list(literal_plans(method, scenario))
    for plan in looked_at[:budget]:
        bits, accuracy = rows.get(plan, (None, found.baseline_accuracy))
        if found.baseline_accuracy - accuracy > whole.max_accuracy_loss + 1e-9:
            continue
        sends = plan.coder.startswith("huffman")
        work = plan_workload(
            plan, whole, scenario.convention, measured_bits=bits if sends else None
        )
        total_s = float(scenario_latency(work, scenario).total_s)
        if best is None or total_s < best[0]:
            told = accuracy if sends else whole.baseline_accuracy
            status = "feasible" if budget is None or budget >= len(looked_at) else "budget"
            seen = len(looked_at[:budget])
            best = total_s, Selection(plan, status, told, total_s, seen)  # type: ignore[arg-type]
    assert best is not None
    return best[1]


def literal_plans(method: QuantisedMethod, scenario: Scenario) -> Iterator[Plan]:
    widths = (method.bits,) if isinstance(method, PartitionHuffman) else range(8, 0, -1)
    yield Plan("deep", CutRef(0, "input"), coder=scenario.convention.input_coder)
    for index, after in ((3, "maxpool3"), (5, "maxpool5"), (7, "relu7"), (9, "fc9")):
        for bits in widths:
            yield Plan("deep", CutRef(index, after), coder=f"huffman[bits={bits}]")
    yield Plan("deep", CutRef(10, "fc10"))


def built(method: QuantisedMethod, scenario: Scenario, of: Task | None = None) -> Library:
    whole = of or task()
    return method.build(whole, Context(whole, scenario.convention, whole.graph.cuts))


def asked(
    method: QuantisedMethod, scenario: Scenario, budget: int | None = None, of: Task | None = None
) -> Selection:
    whole = of or task()
    context = Context(whole, scenario.convention, whole.graph.cuts, max_evaluations=budget)
    return method.select(built(method, scenario, of), scenario, context)


def scenarios(name: str) -> list[Scenario]:
    made = [
        worlds.scenario(rate, device, server, name)
        for rate in (1e3, 5e3, 3e4, 1e5, 1e6, 1e8)
        for device, server in ((1e6, 1e10), (1e7, 1e9), (1e9, 1e12))
    ]
    odd = [worlds.scenario(0.0, convention=name), worlds.radio_scenario(10.0, convention=name)]
    return [*made, *odd, worlds.scenario(math.inf, SPEED, SPEED, name)]


@EVERY
@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_choice_is_that_of_a_plain_loop(method: QuantisedMethod, name: str) -> None:
    found = [asked(method, scenario) for scenario in scenarios(name)]
    assert found == [literal(method, scenario) for scenario in scenarios(name)]
    assert len({selection.plan for selection in found}) > 2


def test_jalad_is_solved_anew_for_every_rate_and_is_never_slower_than_eight_bits() -> None:
    chosen = set()
    for name in CONVENTIONS:
        for scenario in scenarios(name):
            jalad, eight = asked(Jalad(), scenario), asked(PartitionHuffman(), scenario)
            assert jalad.plan is not None
            assert jalad.predicted_latency_s is not None
            assert eight.predicted_latency_s is not None
            assert jalad.predicted_latency_s <= eight.predicted_latency_s
            chosen.add(jalad.plan.coder)
    assert len({coder for coder in chosen if coder.startswith("huffman")}) > 1


@EVERY
def test_a_budget_looks_at_the_earliest(method: QuantisedMethod) -> None:
    scenario = worlds.scenario(1e5)
    whole = len(list(literal_plans(method, scenario)))
    for budget in (1, 2, 5, whole - 1, whole, whole + 1):
        found = asked(method, scenario, budget)
        assert found == literal(method, scenario, budget)
        assert found.evaluations == min(budget, whole)


@pytest.mark.parametrize(("loss", "taken"), [(0.02, True), (0.0202, False), (0.0, True)])
def test_the_bound_is_on_the_loss_against_the_untrained_network(loss: float, taken: bool) -> None:
    """A loss of exactly the bound is allowed, whatever the trained baseline is."""
    own = measured().baseline_accuracy
    assert own != task().baseline_accuracy
    changed = with_losses(dict.fromkeys(LOSSES, loss * 10), task())
    slow = worlds.scenario(1e5, 1e6, 1e10)  # a cut in between is fastest
    for method in (PartitionHuffman(), Jalad()):
        plan = asked(method, slow, of=changed).plan
        assert plan is not None
        assert plan.coder.startswith("huffman") == taken
        assert plan.unchanged != taken


@EVERY
def test_where_only_interior_cuts_are_left_there_may_be_no_plan(method: QuantisedMethod) -> None:
    changed = with_losses(dict.fromkeys(LOSSES, 0.5), task())
    scenario = worlds.scenario()
    cuts = tuple(cut for cut in changed.graph.cuts if cut.kind == "interior")
    context = Context(changed, scenario.convention, cuts)
    answer = method.select(method.build(changed, context), scenario, context)
    candidates = 4 * len(method.widths)
    assert answer == Selection(None, "infeasible", evaluations=candidates)


@EVERY
def test_where_no_block_ends_there_is_no_plan(method: QuantisedMethod) -> None:
    """Conv1 alone ends no block: its activation and pooling come behind it."""
    rules = convention("harmonised[cut=conv1]")
    whole = task()
    cuts = tuple(cut for cut in whole.graph.cuts if cut.after == rules.cut)
    assert len(cuts) == 1
    context = Context(whole, rules, cuts)
    scenario = worlds.scenario(convention=rules)
    answer = method.select(method.build(whole, context), scenario, context)
    assert answer == Selection(None, "infeasible", evaluations=0)


@EVERY
def test_the_ledger_has_what_was_measured_and_looked_at(method: QuantisedMethod) -> None:
    scenario = worlds.scenario()
    context = Context(task(), scenario.convention, task().graph.cuts)
    answer = method.select(method.build(task(), context), scenario, context)
    spent = {entry.phase: (entry.evaluations, entry.epochs) for entry in context.ledger.entries()}
    # 4 cuts x 8 widths and the whole network; nothing is trained.
    assert spent == {"label": (33, 0.0), "search": (answer.evaluations, 0.0)}


def test_what_is_not_measured_is_said_with_the_command_that_measures_it() -> None:
    others = tuple(found for found in task().measured if found.family != "quantised")
    assert others
    for bare in (replace(task(), measured=()), replace(task(), measured=others)):
        refusal = Jalad().supports(bare)
        assert refusal is not None
        assert refusal.reason.startswith("no measured 'quantised' plans of deep; ")
        assert "`coinfer sweep deep --family quantised --data ... -o TABLE.csv`" in refusal.reason


def test_a_table_that_is_not_complete_is_refused_not_searched() -> None:
    """A look-up cannot stand in for what was not measured; eight bits alone need eight bits."""
    own = measured()
    lacks = own.plans.index(Plan("deep", CutRef(7, "relu7"), coder="huffman[bits=2]"))

    def without(values: tuple[object, ...]) -> tuple[object, ...]:
        return values[:lacks] + values[lacks + 1 :]

    columns = ("plans", "accuracies", "std_errors", "uplink_bits")
    less = replace(own, **{name: without(getattr(own, name)) for name in columns})
    part = replace(task(), measured=(less,))
    refusal = Jalad().supports(part)
    assert refusal is not None
    assert "lacks the plan after 'relu7' with huffman[bits=2]" in refusal.reason
    assert "`coinfer sweep deep --family quantised --resume" in refusal.reason
    assert PartitionHuffman().supports(part) is None
    assert PartitionHuffman(bits=2).supports(part) is not None


@EVERY
def test_conventions_and_inputs_that_cannot_be_priced_are_refused(method: QuantisedMethod) -> None:
    for name in ("qho2024", "cpcdrl2024"):
        refusal = method.supports(task(), worlds.scenario(convention=name))
        assert refusal is not None
        assert refusal.reason == f"convention {name} admits float32 as payload, not huffman"
    unmeasured = replace(task(), source=Source((3, 64, 64)))
    refusal = method.supports(unmeasured, worlds.scenario(convention="cia2021"))
    assert refusal is not None
    assert "sends the input as png, whose size was never measured" in refusal.reason
    assert method.supports(unmeasured, worlds.scenario(convention="harmonised")) is None


def test_measured_plans_have_as_many_payloads_as_plans_or_none() -> None:
    with pytest.raises(CoinferError, match="33 plans and 2 payloads"):
        replace(measured(), uplink_bits=(1.0, 2.0))
    assert replace(measured(), uplink_bits=()).hash != measured().hash
    assert replace(measured(), baseline_accuracy=None).hash != measured().hash
