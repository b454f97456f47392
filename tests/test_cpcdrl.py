"""CPCDRL: its loop is the paper's, step for step; its answers are what the harness prices."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import exp
from typing import Any

import numpy as np
import pytest

from coinfer.accuracy.box import search_box
from coinfer.conventions import convention
from coinfer.cost import plan_workload, scenario_latency
from coinfer.errors import CoinferError
from coinfer.graph import Cut
from coinfer.method import Context, Library
from coinfer.plan import Scenario, Selection, Task
from coinfer.search.cpcdrl import (
    Evaluated,
    Run,
    World,
    compression_agent,
    learn,
    partition_agent,
    reward,
)
from coinfer.search.cpcdrl_settings import LoopSettings
from coinfer.search.ddpg import Ddpg, Transition
from coinfer.search.dqn import Dqn
from coinfer.tasks import make_task
from methods.conformance import MethodContract
from methods.cpcdrl import Choices, Cpcdrl, layer_table
from methods.predictor import surrogate_of
from methods.worlds import measured_task, scenario, small_task

SHORT = Cpcdrl(episodes=12, width=8)


class TestCpcdrl(MethodContract):
    method = Cpcdrl(episodes=6, width=4)


# -- the loop, in a world of two layers and three cuts

FLOOR = 0.8
ALL_LOCAL_S = 2.0
# Cut 0 computes nothing on the device, cut 1 the first layer, cut 2 both; the last sends nothing.
COMPRESSED = ((), (0,), (0, 1))
SENT_S = np.array([3.0, 1.6, 0.0])


WORK_S = np.array([1.6, 0.4])
NEEDED = np.array([0.25, 0.5])
FASTEST_S = float(WORK_S @ NEEDED)  # all on the device, and of each layer what is needed


def brought(action: int, ratios: np.ndarray) -> Evaluated:
    """Layers need a share of their channels: with less, the network is spoilt."""
    short = float(np.maximum(0.0, NEEDED - ratios).sum())
    accuracy = 0.82 if short == 0 else max(0.1, 0.79 - 2.0 * short)
    device_s = sum(float(WORK_S[layer] * ratios[layer]) for layer in COMPRESSED[action])
    left = float(WORK_S @ ratios) / ALL_LOCAL_S
    return Evaluated(accuracy, float(SENT_S[action]) + device_s, left)


def world(evaluate: Callable[[int, np.ndarray], Evaluated] = brought) -> World:
    layers = np.arange(18, dtype=float).reshape(2, 9) / 17
    return World(layers, np.array([0.0, 0.5, 1.0]), COMPRESSED, 0.1, ALL_LOCAL_S, evaluate)


def agents(seed: int, width: int = 16, **options: Any) -> tuple[Dqn, Ddpg]:
    draws = [np.random.default_rng((seed, agent)) for agent in (0, 1)]
    hidden = (width, width)
    return (
        partition_agent(world(), draws[0], hidden=hidden),
        compression_agent(world(), draws[1], hidden=hidden, **options),
    )


@cache
def whole_run(seed: int) -> Run:
    """As the method runs it: its episodes, its agents."""
    usual = Cpcdrl()
    given = {"sigma_decay": usual.sigma_decay, "tau": usual.tau}
    return learn(world(), FLOOR, *agents(seed, usual.width, **given), usual.settings)


def fastest_s(found: Run) -> float:
    best = found.best(FLOOR)
    assert best is not None
    assert found.accuracy[best] >= FLOOR
    assert found.latency_s[best] >= FASTEST_S - 1e-9
    return float(found.latency_s[best])


def test_it_finds_the_fastest_acceptable_choice_of_a_small_world() -> None:
    """The median of five seeds, within 5 %; agents that learn nothing do not come so near."""
    assert np.median([fastest_s(whole_run(seed)) for seed in range(5)]) <= 1.05 * FASTEST_S
    blind = [
        learn(
            world(),
            FLOOR,
            *agents(seed, 4, actor_lr=1e-12, critic_lr=1e-12, sigma_decay=1.0),
            LoopSettings(),
        )
        for seed in range(5)
    ]
    assert np.median([fastest_s(one) for one in blind]) > 1.05 * FASTEST_S


def test_rewards_rise_while_it_learns() -> None:
    """Averaged over seeds, for single runs explore differently (Fig. 3 shows one each)."""
    rewards = np.mean([whole_run(seed).reward for seed in range(5)], axis=0)
    assert rewards[-50:].mean() > rewards[:25].mean() + 0.5


class Told:
    """What an agent was told, beside the agent."""

    def __init__(self, agent: Dqn | Ddpg) -> None:
        self.agent = agent
        self.log: list[tuple] = []

    def __getattr__(self, name: str) -> Any:
        told = getattr(self.agent, name)

        def call(*arguments: Any) -> Any:
            answer = told(*arguments)
            self.log.append((name, arguments, answer))
            return answer

        return call


@pytest.mark.parametrize(
    "settings",
    [
        LoopSettings(episodes=40),
        LoopSettings(episodes=40, alpha="removed", bootstrap="same", updates="episode"),
        LoopSettings(episodes=40, eta=3.0, mu=0.5),
    ],
    ids=["default", "as printed", "weights"],
)
def test_every_step_is_the_papers(settings: LoopSettings) -> None:
    """States, actions, rewards and what agents are told, written out episode by episode."""
    partition, compression = (Told(agent) for agent in agents(4))
    found = learn(world(), FLOOR, partition, compression, settings)  # type: ignore[arg-type]
    told_p, told_c = iter(partition.log), iter(compression.log)
    state_p = [1.0, 1.0]
    compressed_before = False
    for episode in range(settings.episodes):
        # Algorithm 1, line 3.
        name, (seen,), p = next(told_p)
        assert (name, list(seen)) == ("explore", state_p)
        assert p == found.action[episode]
        # Algorithm 2, lines 4 to 8, eq. 9.
        ratios, steps, before = [1.0, 1.0], [], 1.0
        for t in range(p):
            t1, i, n, c, h, w, s, k, macs = world().layers[t]
            name, (s_c,), a = next(told_c)
            assert name == "explore"
            assert list(s_c) == [t1, i, n, c, h, w, s, k, before, p / 2, macs]
            before = ratios[t] = max(a, 0.1)
            steps.append((list(s_c), before))
        assert found.ratios[episode].tolist() == ratios
        # Eq. 10.
        made = brought(p, np.array(ratios))
        alpha = made.retained if settings.alpha == "retained" else 1 - made.retained
        r = exp(settings.eta * (made.accuracy - FLOOR)) * (1 - alpha)
        r -= settings.mu / ALL_LOCAL_S * made.latency_s
        assert found.reward[episode] == pytest.approx(r, abs=1e-12)
        assert (found.accuracy[episode], found.latency_s[episode]) == (
            made.accuracy,
            made.latency_s,
        )
        # Algorithm 1, lines 6 and 7, eq. 11: what is behind the step.
        behind = ratios if settings.bootstrap == "next" else state_p
        name, (s_p, action, gained, s_next), _ = next(told_p)
        assert name == "remember"
        assert (list(s_p), action, list(s_next)) == (state_p, p, behind)
        assert gained == found.reward[episode]
        assert [next(told_p)[0] for _ in range(2)] == ["update", "end_episode"]
        # Algorithm 2, line 11, eqs. 13 and 14: 0 until the last layer, and nothing behind it.
        name, (transitions,), _ = next(told_c)
        assert name == "remember"
        assert [(list(x.state), x.action) for x in transitions] == steps
        assert [x.reward for x in transitions] == [*[0.0] * (p - 1), gained][: len(steps)]
        following = [None if x.next_state is None else list(x.next_state) for x in transitions]
        assert following == [*[state for state, _ in steps[1:]], None][: len(steps)]
        compressed_before |= p > 0
        updates = p if settings.updates == "step" else int(compressed_before)
        assert [next(told_c)[0] for _ in range(updates + 1)] == [
            *["update"] * updates,
            "end_episode",
        ]
        state_p = ratios
    assert not [*told_p, *told_c]
    assert {0, 1, 2} == set(found.action.tolist())


def test_agents_are_those_of_the_paper() -> None:
    partition, compression = agents(0)
    assert (partition.settings.state_size, partition.settings.actions) == (2, 3)
    assert (compression.settings.state_size, compression.settings.buffer_size) == (11, 200)
    assert compression.settings.baseline_decay is None
    assert (partition.settings.discount, compression.settings.discount) == (0.9, 1.0)


def test_a_seed_is_a_run() -> None:
    settings = LoopSettings(episodes=60)
    first, again, other = (
        learn(world(), FLOOR, *agents(seed), settings).curves() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_the_answer_is_the_fastest_acceptable_episode_and_not_the_best_rewarded() -> None:
    found = Run(
        action=np.array([1, 2, 1, 2, 1]),
        ratios=np.ones((5, 2)),
        accuracy=np.array([0.79, 0.81, 0.80, 0.82, 0.90]),
        latency_s=np.array([1.0, 2.0, 2.0, 3.0, 2.0]),
        reward=np.array([5.0, 4.0, 0.0, 4.0, 0.0]),
    )
    assert found.best(0.80) == 2  # of equally fast ones the earliest cut, and of those the first
    assert found.best(0.81) == 4
    assert found.best(0.815) == 4
    assert found.best(0.95) is None
    columns = json.loads(json.dumps(found.curves()))
    assert columns["reward"] == [5.0, 4.0, 0.0, 4.0, 0.0]
    assert columns.keys() == {"action", "reward", "latency_s", "accuracy"}


def test_a_dead_link_has_a_finite_reward() -> None:
    found = Evaluated(0.8, np.inf, 1.0)
    assert reward(found, 0.8, 1.0, LoopSettings()) == -10.0
    # Below ten times All_Local's nothing is cut off.
    slow = Evaluated(0.8, 9.5, 1.0)
    assert reward(slow, 0.8, 1.0, LoopSettings()) == -9.5


# -- the adapter


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COINFER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@cache
def task() -> Task:
    return measured_task(small_task(groups=True), ["cpcdrl"], plans=60)


def context(name: str, seed: int = 0, kinds: str = "input interior output", **more: Any) -> Context:
    cuts: tuple[Cut, ...] = tuple(cut for cut in task().graph.cuts if cut.kind in kinds.split())
    return Context(task(), convention(name), cuts, seed, **more)


@cache
def library(name: str) -> Library:
    return SHORT.build(task(), context(name))


def at(rate_bps: float, name: str) -> Scenario:
    return scenario(rate_bps, convention=name)


def ask(where: Scenario, method: Cpcdrl = SHORT, **more: Any) -> Selection:
    name = where.convention.name
    return method.select(library(name), where, context(name, **more))


@pytest.mark.parametrize("name", ["cpcdrl2024", "harmonised"])
def test_every_action_is_priced_and_judged_as_the_harness_would(name: str) -> None:
    """Also what it prunes: on the device's side alone, as far as the box goes."""
    where = at(1e6, name)
    found = SHORT.world(library(name), where, context(name))
    box = search_box(task(), "cpcdrl")
    choices = Choices.of(box, where, context(name))
    rng = np.random.default_rng(0)
    graph, space = task().graph, box.space
    whole = graph.flops("macs").sum()
    assert len(choices) == len(found.positions) == len(found.compressed) == 1 + len(box.cuts)
    assert found.positions.tolist() == pytest.approx(np.linspace(0, 1, len(choices)))
    surrogate = surrogate_of(library(name))
    for action, layers in enumerate(found.compressed):
        for _ in range(5):
            ratios = np.ones(len(found.layers))
            ratios[list(layers)] = rng.uniform(found.least_ratio, 1.0, len(layers))
            made = found.evaluate(action, ratios)
            plan = choices.plan(action, ratios)
            priced = scenario_latency(plan_workload(plan, task(), where.convention), where)
            assert made.latency_s == pytest.approx(priced.total_s, rel=1e-15)
            kept = space.keep_vector(plan.keep)
            assert made.retained == space.flops(kept, "macs").sum() / whole
            if plan.unchanged:
                assert made.accuracy == task().baseline_accuracy
            else:
                features = box.features(box.read([plan]))
                assert made.accuracy == surrogate.predict(features).accuracy[0]
            names = [box.rates[layer][0] for layer in layers]
            assert {name for name, _ in plan.keep} <= set(names)
            for (group,), ratio in zip(box.rates, ratios, strict=True):
                units = space.groups[space.index(group)].units
                left = units - np.floor((1.0 - ratio) * units + 1e-9)
                assert kept[space.index(group)] == max(1, left)
    assert choices.plan(0, np.ones(len(found.layers))).cut.after == "input"


def test_what_a_layer_tells_is_eq_9_scaled() -> None:
    graph = task().graph
    table = layer_table(search_box(task(), "cpcdrl"))
    place = {layer.name: n for n, layer in enumerate(graph.layers)}
    rows = []
    for t, (name,) in enumerate(search_box(task(), "cpcdrl").rates):
        layer = graph.layers[place[name]]
        side = layer.in_shape[1] if layer.kind == "conv" else 1
        stride = layer.in_shape[1] // layer.out_shape[1] if layer.kind == "conv" else 1
        kernel = layer.kernel[0] if layer.kernel else 1
        n, c = layer.out_shape[0], layer.in_shape[0]
        macs = kernel**2 * n * c * int(np.prod(layer.out_shape[1:]))
        rows.append([t, layer.kind == "conv", n, c, side, side, stride, kernel, macs])
    expected = np.array(rows, dtype=float)
    span = np.ptp(expected, axis=0)
    scaled = (expected - expected.min(axis=0)) / np.where(span > 0, span, 1.0)
    assert table == pytest.approx(scaled)
    assert span[[0, 1, 2, 3, 8]].all()  # else nothing was compared


def test_strides_are_read_off_shapes() -> None:
    large = search_box(make_task("alexnet-cifar", groups=True), "cpcdrl")
    assert layer_table(large)[:, 6].tolist() == [1.0, 0, 0, 0, 0, 0, 0]  # 4 in the first, else 1


@pytest.mark.parametrize("name", ["cpcdrl2024", "harmonised"])
def test_an_answer_is_the_best_acceptable_episode(name: str) -> None:
    for rate_bps in (1e4, 1e6, 1e9):
        where = at(rate_bps, name)
        ran = SHORT.run(library(name), where, context(name))
        found = ask(where)
        floor = library(name).data["floor"]
        acceptable = ran.latency_s[ran.accuracy >= floor]
        assert found.evaluations == SHORT.episodes
        if not len(acceptable):
            assert (found.plan, found.status) == (None, "infeasible")
            continue
        assert found.plan is not None
        assert found.status == "feasible"
        priced = scenario_latency(plan_workload(found.plan, task(), where.convention), where)
        assert priced.total_s == pytest.approx(acceptable.min(), rel=1e-15)
        assert found.predicted_latency_s == acceptable.min()
        assert found.predicted_accuracy >= floor  # type: ignore[operator]


def test_only_allowed_cuts_are_chosen() -> None:
    where = at(1e6, "cpcdrl2024")
    interior = {cut.after for cut in task().graph.cuts if cut.kind == "interior"}
    for seed in range(3):
        plan = ask(where, seed=seed, kinds="interior").plan
        assert plan is None or plan.cut.after in interior
        only = ask(where, seed=seed, kinds="input")
        assert only.plan is not None
        assert only.plan.cut.after == "input"
        assert not only.plan.keep


def test_a_budget_is_one_of_episodes_and_the_ledger_has_them() -> None:
    where = at(1e6, "cpcdrl2024")
    for budget in (1, 5, 500):
        given = context("cpcdrl2024", max_evaluations=budget)
        found = SHORT.select(library("cpcdrl2024"), where, given)
        assert found.evaluations == min(budget, SHORT.episodes)
        assert [(e.phase, e.evaluations) for e in given.ledger.entries()] == [
            ("search", found.evaluations)
        ]
        if found.plan is not None:
            assert found.status == ("budget" if budget < SHORT.episodes else "feasible")
    building = context("cpcdrl2024")
    SHORT.build(task(), building)
    assert [(e.phase, e.evaluations) for e in building.ledger.entries()][:1] == [("label", 60)]


def test_a_guard_band_asks_for_more_accuracy() -> None:
    careful = ask(at(1e6, "cpcdrl2024"), replace(SHORT, guard_band=0.015))
    floor = library("cpcdrl2024").data["floor"]
    assert careful.predicted_accuracy is not None
    assert careful.predicted_accuracy >= floor + 0.015


def test_networks_without_measured_plans_are_refused_with_the_command() -> None:
    told = SHORT.supports(make_task("alexnet-cifar", groups=True))
    assert told is not None
    assert "coinfer sweep alexnet-cifar --family cpcdrl" in told.reason


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("episodes", 0),
        ("eta", -1.0),
        ("mu", 0.0),
        ("alpha", "lost"),
        ("bootstrap", "none"),
        ("updates", "never"),
        ("sigma", 2.0),
        ("sigma_decay", -0.5),
        ("width", 0),
        ("guard_band", 1.0),
    ],
)
def test_options_that_are_none_are_refused(option: str, value: object) -> None:
    with pytest.raises(CoinferError, match=option):
        Cpcdrl(**{option: value})  # type: ignore[arg-type]


def test_transitions_are_ddpgs() -> None:
    """What the loop tells A_c is what a DDPG can remember."""
    _, agent = agents(0)
    agent.remember([Transition(np.zeros(11), 0.5, 0.0, None)])
    agent.update()
    assert agent.state()["remembered"] == 1
