"""Greedy partition: per ratio the fastest cut, whatever it loses; then the best that is allowed."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.surrogate import Labels, Surrogate, kept_surrogate
from coinfer.cost import plan_workload, scenario_latency
from coinfer.graph import Cut
from coinfer.method import Context, Library
from coinfer.plan import CutRef, Plan, Scenario, Selection, Source, Task
from coinfer.tasks import make_task
from methods import worlds
from methods.conformance import MethodContract
from methods.greedy import Greedy
from methods.registry import installed_methods
from tests.graphs import deep

FAMILY = "prune-partition"
UNITS = {"conv1": 16, "conv4": 32, "conv6": 24, "fc9": 32}
CUTS = ((0, "input"), (3, "maxpool3"), (5, "maxpool5"), (7, "relu7"), (9, "fc9"), (10, "fc10"))
SPEED = 2.0**30  # divides whole numbers without rounding, so that equal costs are equal


class TestGreedy(MethodContract):
    method = Greedy()


@cache
def task() -> Task:
    graph = deep()
    bare = Task("deep", graph, Source((3, 64, 64)), prune_space=worlds.chain_space(graph))
    return worlds.measured_task(bare, [FAMILY])


@cache
def box() -> Box:
    return search_box(task(), FAMILY)


@cache
def predictor() -> Surrogate:
    found = task().plans_of(FAMILY)
    assert found is not None
    return kept_surrogate(Labels.of(box(), found.plans, found.accuracies, found.std_errors))


@cache
def accuracy(plan: Plan) -> float:
    if plan.unchanged:
        return 0.9  # the baseline's
    features = box().features(box().read([plan]))
    return float(predictor().accuracies(features)[0])


def literal_plan(index: int, after: str, tenths: int, scenario: Scenario) -> Plan:
    """Everything before the cut loses so many tenths of its units, nothing behind it does."""
    keep = {
        name: units - tenths * units // 10
        for name, units in UNITS.items()
        if task().graph.cut(name).index <= index
    }
    pairs = tuple((name, left) for name, left in keep.items() if left < UNITS[name])
    coder = scenario.convention.input_coder if after == "input" else "float32"
    ref = CutRef(index, after)
    if not pairs:
        return Plan("deep", ref, coder=coder)
    return Plan("deep", ref, pairs, criterion="l1", schedule="one-shot")


def literal(
    scenario: Scenario, tenths: range, cuts: tuple[tuple[int, str], ...] = CUTS, floor: float = 0.88
) -> tuple[Plan, float] | None:
    """For a given ratio, the cut of least latency; of those above the floor, the fastest."""
    best: tuple[float, int, int] | None = None
    chosen = None
    for ratio in tenths:
        fastest: tuple[float, int] | None = None
        for index, after in cuts:
            plan = literal_plan(index, after, ratio, scenario)
            work = plan_workload(plan, task(), scenario.convention)
            total_s = float(scenario_latency(work, scenario).total_s)
            if fastest is None or total_s < fastest[0]:
                fastest, picked = (total_s, index), plan
        assert fastest is not None
        if accuracy(picked) > floor and (best is None or (*fastest, ratio) < best):
            best, chosen = (*fastest, ratio), picked
    return None if chosen is None or best is None else (chosen, best[0])


def allowed(scenario: Scenario) -> tuple[Cut, ...]:
    kinds = scenario.convention.kinds_for("greedy", Greedy.card.cuts)
    return tuple(cut for cut in task().graph.cuts if cut.kind in kinds)


@cache
def built(method: Greedy, convention: str) -> Library:
    scenario = worlds.scenario(convention=convention)
    return method.build(task(), Context(task(), scenario.convention, allowed(scenario)))


def asked(method: Greedy, scenario: Scenario, budget: int | None = None) -> Selection:
    library = built(method, scenario.convention.name)
    context = Context(task(), scenario.convention, allowed(scenario), max_evaluations=budget)
    return method.select(library, scenario, context)


def scenarios(name: str) -> list[Scenario]:
    made = [
        worlds.scenario(rate, device, server, name)
        for rate in (1e3, 1e4, 1e5, 1e6, 1e8)
        for device, server in ((1e6, 1e10), (1e7, 1e9), (1e9, 1e12))
    ]
    odd = [worlds.scenario(0.0, convention=name), worlds.radio_scenario(10.0, convention=name)]
    return [*made, *odd, worlds.scenario(math.inf, SPEED, SPEED, name)]


@pytest.mark.parametrize("name", ["harmonised", "cpcdrl2024"])
def test_the_choice_is_that_of_a_plain_loop(name: str) -> None:
    chosen = set()
    for scenario in scenarios(name):
        found = asked(Greedy(), scenario)
        assert (found.plan, found.predicted_latency_s) == literal(scenario, range(10))
        assert found.plan is not None
        assert found.predicted_accuracy == accuracy(found.plan)
        assert (found.status, found.evaluations) == ("feasible", 1 + 5 * 10)
        chosen.add(found.plan)
    assert len({plan.cut for plan in chosen}) > 2
    assert any(plan.keep for plan in chosen)


def test_a_given_ratio_takes_its_fastest_cut_or_none() -> None:
    """The paper's wording: the cut is not changed for the sake of accuracy."""
    answers = {}
    for tenths in range(10):
        for number, scenario in enumerate(scenarios("cpcdrl2024")):
            found = asked(Greedy(ratio=tenths / 10), scenario)
            expected = literal(scenario, range(tenths, tenths + 1))
            assert (found.plan, found.predicted_latency_s) == (expected or (None, None))
            answers[tenths, number] = found.status
    assert set(answers.values()) == {"feasible", "infeasible"}
    assert all(status == "feasible" for (tenths, _), status in answers.items() if tenths == 0)


def test_what_it_gives_up_is_what_another_cut_would_have_saved() -> None:
    """It is no search of the whole grid: somewhere a slower cut of the same ratio is allowed."""
    found = []
    for scenario in scenarios("harmonised"):
        best = math.inf
        for tenths in range(10):
            for index, after in CUTS:
                plan = literal_plan(index, after, tenths, scenario)
                if accuracy(plan) > 0.88:
                    work = plan_workload(plan, task(), scenario.convention)
                    best = min(best, float(scenario_latency(work, scenario).total_s))
        answer = asked(Greedy(), scenario).predicted_latency_s
        assert answer is not None
        assert answer >= best
        found.append(answer > best)
    assert any(found)


def test_a_budget_looks_at_the_earliest_cuts() -> None:
    scenario = worlds.scenario(1e5, 1e6, 1e10)
    for budget in (1, 2, 11, 12, 50, 51, 52):
        found = asked(Greedy(), scenario, budget)
        assert found.evaluations == min(budget, 51)
        assert found.status == ("feasible" if budget >= 51 else "budget")
    # Cut 0 and all ratios of two more cuts.
    found = asked(Greedy(), scenario, 21)
    assert (found.plan, found.predicted_latency_s) == literal(scenario, range(10), CUTS[:3])


def test_without_cut_zero_and_above_any_accuracy_there_is_no_plan() -> None:
    scenario = worlds.scenario(1e5, 1e6, 1e10)
    cuts = tuple(cut for cut in task().graph.cuts if cut.kind == "interior")
    method = Greedy(guard_band=0.5)
    context = Context(task(), scenario.convention, cuts)
    answer = method.select(method.build(task(), context), scenario, context)
    assert answer == Selection(None, "infeasible", evaluations=4 * 10)


@pytest.mark.parametrize("model", ["alexnet-cifar", "regnet_x_400mf-cifar"])
def test_every_plan_lies_in_the_measured_box_and_prunes_nothing_on_the_server(model: str) -> None:
    found = search_box(make_task(model, groups=True), FAMILY)
    grid = Greedy().grid(found)
    again = found.decide(found.units(grid))  # refuses what lies outside
    assert np.array_equal(again.kept, grid.kept)
    assert np.array_equal(again.cut, grid.cut)
    place = [layer.name for layer in found.space.graph.layers].index
    for plan in found.plans(grid)[:: len(grid) // 40]:
        assert all(place(name) < plan.cut.index for name, _ in plan.keep)


def test_the_ledger_has_labels_and_candidates() -> None:
    scenario = worlds.scenario()
    context = Context(task(), scenario.convention, allowed(scenario))
    Greedy().select(Greedy().build(task(), context), scenario, context)
    spent = {entry.phase: (entry.evaluations, entry.epochs) for entry in context.ledger.entries()}
    assert spent == {"label": (72, 72.0), "fit": (0, 0.0), "search": (51, 0.0)}


def test_without_measured_plans_it_refuses_with_the_command() -> None:
    refusal = Greedy().supports(replace(task(), measured=()))
    assert refusal is not None
    assert "coinfer sweep deep --family prune-partition" in refusal.reason


def test_one_ratio_has_one_name() -> None:
    methods = installed_methods()
    assert str(methods.make("greedy[ratio=0]").ref) == str(methods.make("greedy[ratio=0.0]").ref)
    assert str(methods.make("greedy").ref) == "greedy"
