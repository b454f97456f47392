"""AMC: states, the action wall, the agent's best; then the plan of least work that is allowed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

from benchmarks.catalog import Catalog
from benchmarks.evaluate import Group, prepare
from coinfer.accuracy.box import Box, search_box
from coinfer.compression.space import PruneSpace
from coinfer.errors import CoinferError
from coinfer.method import Context, Library
from coinfer.plan import Selection, Source, Task
from coinfer.search.amc import Compression, Counts, compress
from coinfer.tasks import make_task
from methods import worlds
from methods.amc import Amc
from methods.conformance import MethodContract

FAMILY = "prune-partition"


class TestAmc(MethodContract):
    method = Amc(episodes=3)


@cache
def small() -> PruneSpace:
    """Groups of 6, 5 and 7 units; the last layer stays."""
    graph = worlds.chain(
        (2, 8, 8),
        ("conv", 6, 3, 1, 1),
        ("relu",),
        ("maxpool", 2),
        ("conv", 5, 3, 2, 1),
        ("flatten",),
        ("fc", 7),
        ("fc", 4),
    )
    return worlds.chain_space(graph)


def given(preserve: float = 0.4, least: float = 0.2, rules: str = "table1") -> Compression:
    return Compression(small(), np.arange(3), preserve, rules, least)


def unit_law(kept: Counts) -> float:
    """An accuracy that falls with what is removed, differently by group."""
    gone = 1 - kept / small().full
    return float(0.9 - 0.3 * gone[0] ** 2 - 0.05 * gone[1] - 0.2 * gone[2] ** 2)


# -- the environment ------------------------------------------------------------------------------


def test_a_state_is_the_papers_eleven_numbers() -> None:
    found = given()
    kept = np.array([3, 5, 7])
    whole = small().flops(small().full)[0]
    pruned = small().flops(kept)[0]
    # t, n, c, h, w, stride, k, FLOPs of the convolution behind the pool, between least and most.
    conv1, conv2, fc = (layer for layer in small().graph.layers[:6] if layer.kind in ("conv", "fc"))
    assert (conv2.in_shape, conv2.out_shape) == ((6, 4, 4), (5, 2, 2))

    def scaled(values: tuple[float, float, float]) -> float:
        return (values[1] - min(values)) / (max(values) - min(values))

    expected = [
        0.5,
        scaled((6, 5, 7)),
        scaled((2, 6, 20)),
        scaled((8, 4, 1)),
        scaled((8, 4, 1)),
        scaled((1, 2, 0)),
        scaled((3, 3, 1)),
        scaled((whole[0], whole[3], whole[5])),
        (whole[:3].sum() - pruned[:3].sum()) / whole.sum(),
        pruned[4:].sum() / whole.sum(),
        0.5,
    ]
    assert conv1.out_channels == 6
    assert fc.in_channels == 20
    np.testing.assert_allclose(found.state(1, kept, 0.5), expected, rtol=1e-12)


@pytest.mark.parametrize("rules", ["table1", "macs"])
@pytest.mark.parametrize("preserve", [0.25, 0.5, 0.9])
def test_the_wall_leaves_the_most_that_the_cap_allows(preserve: float, rules: str) -> None:
    """One unit more, and even the smallest rest of the network would break the cap."""
    found = given(preserve, rules=rules)
    least = np.array([2, 1, 2])  # a fifth: of 6, 5 and 7 units, removing whole ones
    whole = small().flops(small().full, rules).sum()
    for step in range(3):
        for before in product(
            *(range(int(least[k]), int(small().full[k]) + 1) for k in range(step))
        ):
            kept = small().full.copy()
            kept[:step] = before
            left = found.walled(step, kept, 1.0)
            smallest = kept.copy()
            smallest[step:] = least[step:]
            if small().flops(smallest, rules).sum() > preserve * whole:
                assert left == least[step]  # nothing helps
                continue
            smallest[step] = left
            assert small().flops(smallest, rules).sum() <= preserve * whole
            if left < small().full[step]:
                smallest[step] = left + 1
                assert small().flops(smallest, rules).sum() > preserve * whole
            assert found.walled(step, kept, 1e-6) == least[step]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_chosen_keeps_within_the_cap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for preserve in (0.35, 0.5, 0.8, 1.0):
        found = given(preserve)
        assert found.possible
        for choose in (lambda _: 1.0, lambda _: 1e-6, lambda _: 1.0 - rng.random()):
            states, shares, kept = found.episode(choose)
            assert found.work(kept) <= found.cap
            assert (np.array(states) >= 0).all()
            assert (np.array(states) <= 1).all()
            assert shares == (kept / small().full).tolist()
            assert [state[-1] for state in states] == [1.0, *shares[:-1]]
    assert not given(0.2).possible


@pytest.mark.parametrize("model", ["alexnet-cifar", "regnet_x_400mf-cifar"])
def test_work_for_any_width_follows_from_three(model: str) -> None:
    box = search_box(make_task(model, groups=True), FAMILY)
    groups = np.array([box.space.index(name) for (name,) in box.rates])
    found = Compression(box.space, groups, 0.5, "table1")
    rng = np.random.default_rng(0)
    for group in rng.choice(groups, 6):
        kept = rng.integers(1, box.space.full + 1)
        high = int(box.space.full[group])
        counted = found._work_of(kept, int(group), 1, high)
        for units in {1, 2, high // 2, high}:
            kept[group] = max(1, units)
            assert counted[max(1, units) - 1] == found.work(kept)


def test_nothing_to_compress_is_refused() -> None:
    with pytest.raises(CoinferError, match="no prune group"):
        Compression(small(), np.arange(0), 0.5, "table1")


# -- the agent ------------------------------------------------------------------------------------


class Recorder:
    """Remembers every network that an agent asked about."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, int, Counts]] = []

    def __call__(self, kept: Counts) -> float:
        self.asked.append((unit_law(kept), -given().work(kept), kept.copy()))
        return unit_law(kept)


def test_the_answer_is_the_best_network_that_the_agent_met() -> None:
    record = Recorder()
    found = compress(given(), record, 40, 10, np.random.default_rng(1))
    assert found is not None
    assert len(record.asked) == 40
    accuracy, work, _ = max(record.asked, key=lambda row: row[:2])
    assert (found.accuracy, found.work) == (accuracy, -work)
    assert unit_law(np.array(found.kept)) == accuracy
    assert found.work <= given().cap
    assert found.kept in {
        tuple(k.tolist()) for a, w, k in record.asked if (a, w) == (accuracy, work)
    }
    again = compress(given(), unit_law, 40, 10, np.random.default_rng(1))
    other = compress(given(), Recorder(), 40, 10, np.random.default_rng(2))
    assert again == found
    assert other is not None
    assert compress(given(0.01), unit_law, 40, 10, np.random.default_rng(1)) is None
    assert compress(given(), unit_law, 0, 0, np.random.default_rng(1)) is None


def test_the_agent_learns() -> None:
    """Once it has stopped exploring, it does better than the uniform actions of its warm-up."""
    record = Recorder()
    compress(given(), record, 200, 50, np.random.default_rng(0))
    accuracies = np.array([accuracy for accuracy, *_ in record.asked])
    assert accuracies[-30:].mean() > accuracies[:50].mean() + accuracies[:50].std() / 2
    ranges = [range(2, 7), range(1, 6), range(2, 8)]
    every = [np.array(kept) for kept in product(*ranges)]
    bound = max(unit_law(kept) for kept in every if given().work(kept) <= given().cap)
    assert accuracies.max() <= bound  # no network beyond the cap flattered it


# -- the method -----------------------------------------------------------------------------------


@cache
def task() -> Task:
    space = small()
    bare = Task("deep", space.graph, Source((2, 8, 8)), prune_space=space)
    return worlds.measured_task(bare, [FAMILY])


@cache
def box() -> Box:
    return search_box(task(), FAMILY)


def context(budget: int | None = None, seed: int = 0) -> Context:
    scenario = worlds.scenario()
    return Context(
        task(), scenario.convention, task().graph.cuts[-1:], seed, max_evaluations=budget
    )


@cache
def built(method: Amc) -> Library:
    return method.build(task(), context())


def asked(method: Amc, library: Library, budget: int | None = None) -> Selection:
    return method.select(library, worlds.scenario(), context(budget))


METHOD = Amc(episodes=20)


def test_every_cap_has_a_network_within_it_predicted_by_the_measured_plans() -> None:
    data = built(METHOD).data
    # A fifth of the work is less than a fifth of every layer leaves here.
    assert [row["preserve"] for row in data["found"]] == [1.0, *(t / 10 for t in range(9, 2, -1))]
    whole = data["found"][0]
    assert (whole["kept"], whole["accuracy"]) == (small().full.tolist(), 0.9)
    rules = worlds.scenario().convention.flops_rules
    for row in data["found"]:
        work = int(small().flops(np.array(row["kept"]), rules).sum())
        assert row["work"] == work <= row["preserve"] * whole["work"]
    assert data["episodes"] == data["wanted"] == 7 * 20


def test_the_plan_is_that_of_least_work_above_the_floor() -> None:
    library = built(METHOD)
    found = library.data["found"]
    seen = set()
    for loss in (0.0, 0.003, 0.01, 0.02, 0.04, 0.2):
        floor = 0.9 - loss
        changed = Library({**library.data, "floor": floor})
        answer = asked(METHOD, changed)
        literal = found[0]
        for row in found[1:]:
            if row["accuracy"] > floor and row["work"] < literal["work"]:
                literal = row
        assert answer.plan is not None
        assert dict(answer.plan.keep) == {
            group.name: kept
            for group, kept in zip(small().groups, literal["kept"], strict=True)
            if kept < group.units
        }
        assert answer.plan.cut.after == "fc7"
        assert answer.predicted_accuracy == literal["accuracy"]
        assert (answer.status, answer.evaluations) == ("feasible", 8)
        seen.add(answer.plan)
    assert len(seen) > 2
    strict = asked(replace(METHOD, guard_band=0.5), library).plan
    assert strict is not None
    assert strict.unchanged


def test_plans_lie_in_the_measured_box() -> None:
    plan = asked(METHOD, built(METHOD)).plan
    assert plan is not None
    assert plan.keep
    box().units(box().read([plan]))  # refuses what lies outside
    assert (plan.criterion, plan.schedule) == ("l1", "one-shot")


def test_seeds_decide_and_repeat() -> None:
    again = METHOD.build(task(), context())
    assert again.hash == built(METHOD).hash
    assert METHOD.build(task(), context(seed=1)).hash != again.hash


def test_a_budget_ends_the_search_and_the_choice() -> None:
    for budget, caps in ((1, 1), (20, 1), (50, 3), (139, 7), (140, 7)):
        library = METHOD.build(task(), context(budget))
        assert library.data["episodes"] == min(budget, 140)
        assert len(library.data["found"]) == 1 + caps
        answer = asked(METHOD, library, budget)
        assert answer.evaluations == min(budget, 1 + caps)
        assert answer.status == ("feasible" if budget >= 140 else "budget")


def test_the_ledger_has_every_episode() -> None:
    one = context()
    METHOD.select(METHOD.build(task(), one), worlds.scenario(), one)
    spent = {entry.phase: (entry.evaluations, entry.epochs) for entry in one.ledger.entries()}
    assert spent == {"label": (72, 72.0), "fit": (0, 0.0), "search": (140 + 8, 0.0)}


def test_without_measured_plans_it_refuses_with_the_command() -> None:
    refusal = METHOD.supports(replace(task(), measured=()))
    assert refusal is not None
    assert "coinfer sweep deep --family prune-partition" in refusal.reason


def test_agents_are_the_same_for_any_floor() -> None:
    """The caps' best plans are searched without the floor, which only chooses among them."""

    def found(loss: float, seed: int = 0) -> Any:
        group = Group("alexnet-cifar", "amc[episodes=6]", seed, "cpcdrl2024", loss)
        library = prepare(group, Catalog()).library
        assert library is not None
        return library.data["found"]

    assert found(0.0) == found(0.05)
    assert found(0.0) != found(0.0, seed=1)
