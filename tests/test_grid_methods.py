"""Methods that enumerate a grid choose what a plain loop over the grid of their paper chooses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.families import FAMILIES
from coinfer.accuracy.surrogate import Labels, Surrogate, kept_surrogate
from coinfer.conventions import CUT_KINDS, convention
from coinfer.cost import plan_workload, scenario_latency
from coinfer.graph import Cut
from coinfer.method import Context, Library
from coinfer.plan import CutRef, Plan, Scenario, Selection, Source, Task
from methods import worlds
from methods.bottlenet import BottleNet
from methods.conformance import MethodContract
from methods.fpgm import Fpgm
from methods.grid import GridMethod
from methods.registry import installed_methods
from methods.two_step_pruning import TwoStepPruning


class TestFpgm(MethodContract):
    method = Fpgm()


class TestTwoStepPruning(MethodContract):
    method = TwoStepPruning()


class TestBottleNet(MethodContract):
    method = BottleNet()


# -- a network of five blocks, and the grids written out for it -----------------------------------

FILTERS = {"conv1": 16, "conv4": 32, "conv7": 24}
MAPS = {"maxpool3": (16, 8), "maxpool6": (32, 4), "relu8": (24, 4)}  # channels, side
CONV_BEFORE = {"maxpool3": "conv1", "maxpool6": "conv4", "relu8": "conv7"}
SPEED = 2.0**30  # divides whole numbers without rounding, so that equal costs are equal


@cache
def deep_task() -> Task:
    graph = worlds.chain(
        (3, 16, 16),
        ("conv", 16, 3, 1, 1),
        ("relu",),
        ("maxpool", 2),
        ("conv", 32, 3, 1, 1),
        ("relu",),
        ("maxpool", 2),
        ("conv", 24, 3, 1, 1),
        ("relu",),
        ("flatten",),
        ("fc", 32),
        ("fc", 10),
    )
    source = Source((3, 64, 64), png_bits=50e3)  # the server scales it down
    task = Task("deep", graph, source, prune_space=worlds.chain_space(graph))
    return worlds.measured_task(task)


def literal_plans(method: GridMethod, cut: Cut) -> Iterator[Plan]:
    """Every plan of a method's grid at one cut, the least changed first; a few come twice."""
    task = deep_task()
    ref = CutRef(cut.index, cut.after)

    def pruned(keep: dict[str, int], criterion: str, schedule: str) -> Plan:
        pairs = tuple((name, left) for name, left in keep.items() if left < FILTERS[name])
        if not pairs:
            return Plan(task.model, ref)
        return Plan(task.model, ref, keep=pairs, criterion=criterion, schedule=schedule)

    if isinstance(method, Fpgm) and cut.after in (*MAPS, "fc10", "fc11"):
        for tenths in range(8):
            keep = {name: n - tenths * n // 10 for name, n in FILTERS.items()}
            yield pruned(keep, "fpgm", "one-shot")
    if isinstance(method, TwoStepPruning) and cut.after in (*MAPS, "fc11"):
        total = 16 + 32 + 24
        for removed in range(0, total, 5):  # ceil(72 / 16)
            if total - removed < 0.2 * total:
                continue
            once = {name: n - removed * n // total for name, n in FILTERS.items()}
            if cut.kind == "output":
                yield pruned(once, "taylor", "iterative")
                continue
            name = CONV_BEFORE[cut.after]
            for k in range(16):
                if method.counts == "log":
                    left = round(once[name] ** (1 - k / 15))
                else:
                    left = once[name] - k * math.ceil(once[name] / 16)
                if left >= 1 and left >= once[name] / 10:
                    yield pruned(once | {name: left}, "taylor", "iterative")
    if isinstance(method, BottleNet) and cut.after in MAPS:
        channels, _ = MAPS[cut.after]
        for spatial in (0, 1):
            for width in (32, 16, 8, 4, 2, 1):
                if width <= channels:
                    codec = f"bottlenet++[channels={width},spatial={spatial}]"
                    yield Plan(task.model, ref, codec=codec)


def allowed_cuts(method: GridMethod, scenario: Scenario) -> tuple[Cut, ...]:
    kinds = scenario.convention.kinds_for(method.card.name, method.card.cuts)
    return tuple(cut for cut in deep_task().graph.cuts if cut.kind in kinds)


def literal_candidates(method: GridMethod, scenario: Scenario) -> list[tuple[Plan, float]]:
    """The unpruned network at the ends that the grid lacks, then the grid, with their floors."""
    ends: list[tuple[Plan, float]] = []
    grid: list[tuple[Plan, float]] = []
    for cut in allowed_cuts(method, scenario):
        plans = list(dict.fromkeys(literal_plans(method, cut)))
        if cut.kind != "interior" and not plans:
            coder = scenario.convention.input_coder if cut.kind == "input" else "float32"
            end = Plan(deep_task().model, CutRef(cut.index, cut.after), coder=coder)
            ends.append((end, 0.9 - 0.02))
        else:
            grid += [(plan, 0.9 - 0.02 + method.guard_band) for plan in plans]
    return ends + grid


@cache
def box_of(family: str) -> Box:
    return search_box(deep_task(), family)


@cache
def predictor(family: str) -> Surrogate:
    """What the methods fit, fitted here."""
    measured = deep_task().plans_of(family)
    assert measured is not None
    return kept_surrogate(
        Labels.of(box_of(family), measured.plans, measured.accuracies, measured.std_errors)
    )


@cache
def accuracy(plan: Plan, family: str) -> float:
    if plan.unchanged:
        return 0.9  # the baseline's
    box = box_of(family)
    return float(predictor(family).accuracies(box.features(box.read([plan])))[0])


def literal(method: GridMethod, scenario: Scenario, budget: int | None = None) -> Selection:
    """The answer by a loop: one plan at a time is predicted and priced."""
    task = deep_task()
    candidates = literal_candidates(method, scenario)
    looked_at = candidates[:budget]
    best: tuple[float, int] | None = None
    chosen = None
    for plan, floor in looked_at:
        predicted = accuracy(plan, method.family)
        if not predicted > floor:
            continue
        work = plan_workload(plan, task, scenario.convention)
        total_s = float(scenario_latency(work, scenario).total_s)
        if best is None or (total_s, plan.cut.index) < best:
            best = total_s, plan.cut.index
            chosen = Selection(
                plan,
                "feasible" if len(looked_at) == len(candidates) else "budget",
                predicted,
                total_s,
                len(looked_at),
            )
    return chosen or Selection(None, "infeasible", evaluations=len(looked_at))


def handed(method: GridMethod) -> Task:
    """The task as the harness hands it."""
    task = deep_task()
    return replace(task, prune_space=None) if method.card.prunes == "none" else task


def built(method: GridMethod, scenario: Scenario) -> Library:
    task = handed(method)
    return method.build(task, Context(task, scenario.convention, allowed_cuts(method, scenario)))


def asked(
    method: GridMethod, library: Library, scenario: Scenario, budget: int | None = None
) -> Selection:
    context = Context(handed(method), scenario.convention, allowed_cuts(method, scenario))
    context.max_evaluations = budget
    return method.select(library, scenario, context)


def scenarios(name: str) -> list[Scenario]:
    made = [
        worlds.scenario(rate, device, server, name)
        for rate in (1e4, 1e5, 1e6, 1e7, 1e8)
        for device, server in ((1e7, 1e10), (1e8, 1e9), (1e9, 1e12))
    ]
    odd = [
        worlds.scenario(0.0, convention=name),
        worlds.scenario(math.inf, SPEED, SPEED, name),
        worlds.scenario(math.inf, 2 * SPEED, SPEED, name),
        worlds.radio_scenario(10.0, convention=name),
    ]
    return made + odd


METHODS = (Fpgm(), TwoStepPruning(), BottleNet())
EVERY = pytest.mark.parametrize("method", METHODS, ids=[m.card.name for m in METHODS])


@EVERY
@pytest.mark.parametrize("name", ["qho2024", "harmonised"])
def test_the_choice_is_that_of_a_plain_loop(method: GridMethod, name: str) -> None:
    library = built(method, scenarios(name)[0])
    found = [asked(method, library, scenario) for scenario in scenarios(name)]
    assert found == [literal(method, scenario) for scenario in scenarios(name)]
    # The scenarios tell plans apart, and the floor refuses some of the grid and not all of it.
    assert len({selection.plan for selection in found}) > 2
    assert 0 < len(library.data["acceptable"]["number"]) < library.data["grid"]


@pytest.mark.parametrize(
    "method", [TwoStepPruning(counts="sixteenths"), BottleNet(guard_band=0.005)], ids=repr
)
def test_options_change_what_the_loop_changes(method: GridMethod) -> None:
    scenario = worlds.scenario(1e5, convention="qho2024")
    library = built(method, scenario)
    plain = built(type(method)(), scenario)
    assert library.data["acceptable"]["number"] != plain.data["acceptable"]["number"]
    assert asked(method, library, scenario) == literal(method, scenario)


@EVERY
def test_a_budget_looks_at_the_earliest(method: GridMethod) -> None:
    for name in ("qho2024", "harmonised"):
        scenario = worlds.scenario(1e5, convention=name)
        library = built(method, scenario)
        whole = len(literal_candidates(method, scenario))
        for budget in (1, 2, 3, 20, whole - 1, whole, whole + 1):
            found = asked(method, library, scenario, budget)
            assert found == literal(method, scenario, budget)
            assert found.evaluations == min(budget, whole)
            assert (found.status == "feasible") == (budget >= whole)


@EVERY
def test_equal_costs_go_to_the_earliest_cut(method: GridMethod) -> None:
    dead = worlds.scenario(0.0, convention="qho2024")  # every interior cut takes for ever
    library = built(method, dead)
    found = asked(method, library, dead)
    assert found.predicted_latency_s == math.inf
    assert found.plan is not None
    assert found.plan.cut.after == "maxpool3"
    # Among them, the least changed.
    if method.card.prunes != "none":
        assert found.plan.keep == ()


def test_the_input_is_earlier_than_any_cut_of_the_grid() -> None:
    """Nothing but the unpruned network is acceptable, and it costs the same wherever it is cut."""
    method = Fpgm()
    task = replace(deep_task(), max_accuracy_loss=1e-12)
    scenario = worlds.scenario(math.inf, SPEED, SPEED, "harmonised")
    context = Context(task, scenario.convention, task.graph.cuts)
    library = method.build(task, context)
    cuts = ["maxpool3", "maxpool6", "relu8", "fc10", "fc11"]
    assert len(library.data["acceptable"]["number"]) == len(cuts)
    plan = method.select(library, scenario, context).plan
    assert plan is not None
    assert plan.cut.after == "input"


@EVERY
def test_a_floor_that_nothing_reaches(method: GridMethod) -> None:
    strict = replace(method, guard_band=0.5)
    scenario = worlds.scenario(convention="qho2024")
    library = built(strict, scenario)
    assert library.data["acceptable"]["number"] == []
    answer = asked(strict, library, scenario)
    assert answer == Selection(None, "infeasible", evaluations=library.data["grid"])
    # Where cut 0 is allowed, the unpruned network is as accurate as the baseline, whatever is
    # predicted; over a dead link it takes for ever, and is an answer all the same.
    for rate_bps in (1e6, 0.0):
        scenario = worlds.scenario(rate_bps, convention="harmonised")
        answer = asked(strict, built(strict, scenario), scenario)
        assert answer == literal(strict, scenario)
        assert answer.plan is not None
        assert answer.plan.unchanged


@EVERY
def test_the_ledger_has_labels_and_candidates(method: GridMethod) -> None:
    task = handed(method)
    scenario = worlds.scenario(convention="harmonised")
    context = Context(task, scenario.convention, allowed_cuts(method, scenario))
    answer = method.select(method.build(task, context), scenario, context)
    spent = {entry.phase: (entry.evaluations, entry.epochs) for entry in context.ledger.entries()}
    looked_at = len(literal_candidates(method, scenario))
    assert spent == {"label": (72, 72.0), "fit": (0, 0.0), "search": (looked_at, 0.0)}
    assert answer.evaluations == looked_at


@EVERY
def test_every_plan_of_the_grid_lies_in_the_measured_box(method: GridMethod) -> None:
    box = box_of(method.family)
    grid = method.grid(box)
    points = box.units(grid)  # refuses what lies outside
    again = box.decide(points)
    for name in ("kept", "cut", "codec"):
        assert np.array_equal(getattr(again, name), getattr(grid, name)), name
    assert (np.diff(grid.cut) >= 0).all()


@EVERY
def test_without_measured_plans_it_refuses_with_the_command(method: GridMethod) -> None:
    bare = replace(deep_task(), measured=())
    refusal = method.supports(bare)
    assert refusal is not None
    assert f"coinfer sweep deep --family {method.family}" in refusal.reason
    assert method.supports(deep_task()) is None


def test_bottlenet_needs_no_prune_groups() -> None:
    method, scenario = BottleNet(), worlds.scenario()
    context = Context(deep_task(), scenario.convention, deep_task().graph.cuts)
    with_groups = method.build(deep_task(), context)
    assert with_groups.hash == built(method, scenario).hash


@pytest.mark.parametrize("name", ["fpgm", "two_step_pruning", "bottlenet++"])
def test_the_qho_papers_baselines_keep_a_layer_on_each_side(name: str) -> None:
    assert convention("qho2024").kinds_for(name, frozenset(CUT_KINDS)) == {"interior"}
    assert convention("harmonised").kinds_for(name, frozenset(CUT_KINDS)) == set(CUT_KINDS)


def test_finer_rates_are_an_option() -> None:
    method = installed_methods().make("fpgm[step=0.05,max_rate=0.9]")
    assert isinstance(method, Fpgm)
    kept = method.grid(box_of("fpgm")).kept[:, 1]  # of 32 filters
    literal_kept = [32 - twentieths * 32 // 20 for twentieths in range(19)]
    assert kept.tolist() == literal_kept * 5


# -- the made-up measurements that the kit and these tests stand on ------------------------------


def test_made_up_accuracies_fall_with_what_is_pruned_or_narrowed() -> None:
    task = deep_task()
    assert {measured.family for measured in task.measured} == set(FAMILIES)
    for measured in task.measured:
        box = box_of(measured.family)
        features = box.features(box.read(measured.plans))
        effects = np.array([variable.effect for variable in box.variables])
        harm = -effects * features
        accuracies = np.array(measured.accuracies)
        assert np.ptp(accuracies) > 0.02
        own = measured.baseline_accuracy
        assert accuracies.max() <= (0.9 if own is None else own)
        worse = (harm[:, None] >= harm[None]).all(axis=2)
        assert worse.sum() > len(harm)  # beside each plan and itself
        assert (accuracies[:, None] <= accuracies[None] + 1e-12)[worse].all()


def test_made_up_measurements_are_a_function_of_the_seed() -> None:
    bare = replace(deep_task(), measured=())
    assert worlds.measured_task(bare) == deep_task()
    assert worlds.measured_task(bare, seed=1) != deep_task()
    (only,) = worlds.measured_task(bare, ["fpgm"], plans=60).measured
    assert (only.family, len(only.plans)) == ("fpgm", 60)
    assert worlds.measured_task(worlds.one_layer_task(groups=True)).measured == ()
