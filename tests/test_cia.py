"""CIA does what Zhang et al. 2021 write, step for step, and answers with the fastest plan."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import coinfer.search.ddpg as ddpg
from coinfer.accuracy.box import Box, Decisions, search_box
from coinfer.accuracy.surrogate import Surrogate
from coinfer.conventions import convention
from coinfer.cost import plan_workload, scenario_latency
from coinfer.errors import CoinferError
from coinfer.method import Context, Library
from coinfer.plan import CutRef, Plan, Scenario, Selection, Task
from coinfer.search.ddpg import Ddpg, DdpgSettings, Transition
from coinfer.search.problem import box_workload
from methods import agents, worlds
from methods.cia import Cia
from methods.conformance import MethodContract
from methods.device_half import DeviceHalf
from methods.predictor import surrogate_of
from tests.literal_ddpg import LiteralAgent, parameters

# Two episodes of warm-up, then three that learn.
FEW = Cia(episodes=5, remembered=3)
RULES = "table1"


@pytest.fixture(autouse=True, scope="module")
def cache_at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for all tests, as predictors take long to choose."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("COINFER_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _forgotten(cache_at: Path) -> None:
    """No test finds the agents that another trained, so that equal answers are computed twice."""
    forget(cache_at)


def forget(folder: Path) -> None:
    shutil.rmtree(folder / "agents", ignore_errors=True)


class TestCia(MethodContract):
    method = FEW


# -- a network of four layers, and all that the paper asks of it written out ----------------------

FLOOR = 0.88
CUTS = ("maxpool3", "relu5", "fc7")


@cache
def task() -> Task:
    """Maps of 8x16x16, then 64x4x4, then vectors of 48."""
    graph = worlds.chain(
        (3, 16, 16),
        *(("conv", 8, 3, 1, 1), ("relu",), ("maxpool", 2), ("conv", 64, 3, 2, 1), ("relu",)),
        *(("flatten",), ("fc", 48), ("fc", 10)),
    )
    source = worlds.small_task().source
    return worlds.measured_task(
        Task("chain", graph, source, prune_space=worlds.chain_space(graph)), ["cia"]
    )


@cache
def box() -> Box:
    return search_box(task(), "cia")


def half(after: str, original: Any = "network") -> DeviceHalf:
    (place,) = (n for n, cut in enumerate(box().cuts) if cut.after == after)
    return DeviceHalf(box(), place, RULES, original)


# Per cut: type, k, stride, c_in, c_out, f_in of the layers to prune.
LAYERS = {
    "relu5": [(0, 3, 1, 3, 8, 16), (0, 3, 2, 8, 64, 8), (0, 3, 2, 64, 8, 4), (1, 1, 1, 32, 8, 1)],
    "fc7": [(0, 3, 1, 3, 8, 16), (0, 3, 2, 8, 64, 8), (1, 1, 1, 1024, 48, 1), (1, 1, 1, 48, 12, 1)],
}


def literal_work(after: str, units: list[int]) -> tuple[list[int], list[int]]:
    """Table I of all that the device computes, and where the layers to prune are in it."""
    k1, k4, a, b = units
    work = [
        2 * 16 * 16 * (3 * 9 + 1) * k1,
        16 * 16 * k1,
        4 * 8 * 8 * k1,
        2 * 4 * 4 * (k1 * 9 + 1) * k4,
        4 * 4 * k4,
    ]
    if after == "fc7":  # then flatten, fc7, and the encoder's linear layer
        return [*work, 0, (2 * 16 * k4 - 1) * a, (2 * a - 1) * b], [0, 3, 6, 7]
    # The encoder: maps of 4x4 to 2x2, ReLU, reshape, linear.
    conv = 2 * 2 * 2 * (k4 * 9 + 1) * a
    return [*work, conv, 2 * 2 * a, 0, (2 * 2 * 2 * a - 1) * b], [0, 3, 5, 8]


def literal_f1(a: float, b: float) -> float:
    return 0.0 if a + b == 0 else 2 * a * b / (a + b)


def literal_search(
    after: str, episodes: int, accuracy: Callable[[list[int]], float], agent: LiteralAgent
) -> Iterator[tuple[list[int], float, list[Any]]]:
    """Algorithm 1: yield units kept, reward and the transitions of every episode."""
    layers = LAYERS[after]
    full = [row[4] for row in layers]
    work, places = literal_work(after, full)
    total = sum(work)
    for _ in range(episodes):
        kept = list(full)
        states, actions = [], []
        before = 1.0
        for t, row in enumerate(layers):
            now, _ = literal_work(after, kept)
            columns = [[i for i, _ in enumerate(layers)], *zip(*layers, strict=True)]
            columns.append([work[place] for place in places])
            values = [t, *row, work[places[t]]]
            state = [
                (value - min(column)) / (max(column) - min(column)) if len({*column}) > 1 else 0.0
                for value, column in zip(values, columns, strict=True)
            ]
            state.append((sum(work[: places[t]]) - sum(now[: places[t]])) / total)  # reduced
            state.append(sum(work[places[t] + 1 :]) / total)  # rest
            state.append(1.0 if t == len(layers) - 1 else 0.0)  # d, of the code alone
            state.append(before)
            a = max(agent.explore(state), 0.1)
            kept[t] = max(1, full[t] - int((1 - a) * full[t] + 1e-9))
            states.append(state)
            actions.append(a)
            before = a
        kappa = accuracy(kept)
        flops = sum(literal_work(after, full)[0][: 5 if after == "relu5" else 7])
        elements = {"relu5": 64 * 4 * 4, "fc7": 48}[after]
        nu = max(0.0, 1 - sum(literal_work(after, kept)[0]) / flops)
        rho = max(0.0, 1 - kept[-1] / elements)
        reward = literal_f1(kappa, nu) + literal_f1(kappa, rho) + 0.5 * literal_f1(nu, rho)
        reward /= 3
        steps = []
        for t, state in enumerate(states):
            step = (state, actions[t], reward, states[t + 1] if t + 1 < len(states) else None)
            agent.store(step)
            agent.update()
            steps.append(step)
        agent.episode += 1
        yield kept, reward, steps


@pytest.mark.parametrize("after", LAYERS)
def test_an_agent_goes_through_algorithm_1_step_for_step(
    after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States, actions, rewards and the networks are those of a slow reference of the paper."""
    made: list[Recorded] = []

    class Recorded(Ddpg):
        def __init__(self, settings: DdpgSettings, rng: np.random.Generator) -> None:
            self.steps: list[Transition] = []
            made.append(self)
            super().__init__(replace(settings, batch=9), rng)  # small, as the reference is slow

        def remember(self, transitions: Any) -> None:
            self.steps += (known := list(transitions))
            super().remember(known)

    monkeypatch.setattr(ddpg, "Ddpg", Recorded)
    place = half(after)
    found = FEW.search(
        place, lambda d: 0.5 + 0.4 * float(d.kept[0, 0]) / 8, 0.7, 5, np.random.default_rng(2)
    )
    (ours,) = made
    # Where the settings come from: sections III-C and IV-A; a memory of 3 episodes here.
    settings = DdpgSettings(
        *(12, 3 * 4, 2),
        **{"hidden": (300, 300), "actor_lr": 1e-4, "critic_lr": 1e-3, "tau": 0.01, "batch": 9},
        **{"discount": 1.0, "sigma": 0.5, "sigma_decay": 0.95, "baseline_decay": 0.5},
    )
    assert ours.settings == settings
    agent = LiteralAgent(settings, np.random.default_rng(2))
    episodes = list(literal_search(after, 5, lambda kept: 0.5 + 0.4 * kept[0] / 8, agent))
    expected = [step for _, _, steps in episodes for step in steps]
    for step, (state, action, reward, behind) in zip(ours.steps, expected, strict=True):
        np.testing.assert_allclose(step.state, state, atol=1e-6)
        assert step.action == pytest.approx(action, abs=1e-5)
        assert step.reward == pytest.approx(reward, abs=1e-12)
        assert (step.next_state is None) == (behind is None)
        if behind is not None:
            np.testing.assert_allclose(step.next_state, behind, atol=1e-6)
    nets = {"actor": agent.mu, "critic": agent.q, "critic_target": agent.q_target}
    for name, net in nets.items():
        np.testing.assert_allclose(ours.state()[name], parameters(net), rtol=1e-3, atol=5e-6)
    assert ours.baseline == pytest.approx(agent.b)

    # What it returns: the best reward, and the best one above the floor.
    best = max(episodes, key=lambda episode: episode[1])
    assert kept_of(place, found["best"]) == best[0]
    feasible = [episode for episode in episodes if 0.5 + 0.4 * episode[0][0] / 8 > 0.7]
    assert 0 < len(feasible) < 5
    chosen = max(feasible, key=lambda episode: episode[1])
    assert kept_of(place, found["feasible"]) == chosen[0]
    assert found["feasible"]["reward"] == pytest.approx(chosen[1])
    assert found["feasible"]["accuracy"] > 0.7


def kept_of(place: DeviceHalf, plan: dict[str, Any]) -> list[int]:
    """Units kept of the layers to prune, as the library has a plan."""
    code = [units for units in plan["codec"] if units]
    return [plan["kept"][group] for group in place.groups] + code


@pytest.mark.parametrize("after", CUTS)
def test_the_works_of_the_half_are_the_harness_own(after: str) -> None:
    """Whatever is kept, the layers' works add up to the device's and the encoder's."""
    place = half(after)
    rng = np.random.default_rng(0)
    for _ in range(20):
        kept = rng.integers(1, place.units + 1)
        decisions = place.decisions(kept)
        (plan,) = box().plans(decisions)
        counted = convention("qho2024")
        priced = plan_workload(plan, task(), replace(counted, codec_counted=True))
        assert place.work(kept).sum() == priced.device_flops + priced.encode_flops
        assert priced.uplink_bits == 32 * kept[-1]
        assert box().read([plan]).kept.tolist() == decisions.kept.tolist()


def test_the_reward_is_that_of_the_paper_for_either_original() -> None:
    """Against the network, or against the network with its autoencoder (an open choice)."""
    kept = [4, 32, 4, 4]
    works = [sum(literal_work("relu5", units)[0]) for units in (kept, [8, 64, 8, 8])]
    alone = sum(literal_work("relu5", [8, 64, 8, 8])[0][:5])
    expected = {
        "network": (1 - works[0] / alone, 1 - 4 / 1024),
        "autoencoder": (1 - works[0] / works[1], 0.5),
    }
    for original, (nu, rho) in expected.items():
        for beta in (0.0, 1.0):
            kappa = 0.8
            r1, r2 = 2 * kappa * nu / (kappa + nu), 2 * kappa * rho / (kappa + rho)
            r3 = 2 * nu * rho / (nu + rho)
            reward = half("relu5", original).reward(np.array(kept), kappa, beta)
            assert reward == pytest.approx((r1 + r2 + beta * r3) / 3)
    # Nothing saved, nothing gained; an encoder's work is no negative saving.
    place = half("relu5", "autoencoder")
    assert place.reward(place.units, 0.9, 0.5) == 0.0
    assert half("relu5").reward(place.units, 0.0, 0.0) == 0.0


# -- libraries and answers ------------------------------------------------------------------------


def context(name: str = "harmonised", seed: int = 0, **budget: int) -> Context:
    kinds = convention(name).kinds_for("cia", Cia.card.cuts)
    cuts = tuple(cut for cut in task().graph.cuts if cut.kind in kinds)
    return Context(task(), convention(name), cuts, seed, **budget)


def built(method: Cia = FEW, name: str = "harmonised", seed: int = 0, **budget: int) -> Library:
    return method.build(task(), context(name, seed, **budget))


def plans_of(library: Library, which: str) -> list[Plan]:
    """The plans that agents found, cut by cut."""
    found = [(agent["cut"], agent[which]) for agent in library.data["agents"] if agent[which]]
    decisions = Decisions(
        np.array([plan["kept"] for _, plan in found]),
        np.array([cut for cut, _ in found]),
        np.array([plan["codec"] for _, plan in found]),
        np.full(len(found), np.nan),
    )
    return list(box().plans(decisions))


def test_builds_are_alike_whether_computed_or_kept(
    cache_at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = built()
    forget(cache_at)
    assert built() == first  # computed once more
    kept = sorted((cache_at / "agents").iterdir())
    assert len(kept) == len(CUTS)
    assert built(seed=1) != first

    # A build that was cut off goes on with the agents that are missing.
    kept[0].unlink()
    kept[1].write_text("{")
    made = []

    class Counted(Ddpg):
        def __init__(self, *given: Any) -> None:
            made.append(given)
            super().__init__(*given)

    monkeypatch.setattr(ddpg, "Ddpg", Counted)
    assert built() == first
    assert len(made) == 2


def test_a_library_holds_the_best_plan_and_the_best_feasible_one_of_every_cut() -> None:
    library = built(Cia(episodes=40, remembered=30))
    assert [agent["cut"] for agent in library.data["agents"]] == [0, 1, 2]
    assert library.data["episodes"] == 3 * 40
    surrogate: Surrogate = surrogate_of(library)
    for agent in library.data["agents"]:
        for which in ("best", "feasible"):
            if agent[which] is None:
                continue
            place = DeviceHalf(box(), agent["cut"], "table1_dropout_free")
            kept = np.array(kept_of(place, agent[which]))
            row = box().features(place.decisions(kept))
            predicted = surrogate.predict(row)
            assert agent[which]["accuracy"] == pytest.approx(predicted.accuracy[0])
            assert not predicted.outside[0] or surrogate.why_outside(row[0])
            expected = place.reward(kept, agent[which]["accuracy"], 0.5)
            assert agent[which]["reward"] == pytest.approx(expected)
        if agent["feasible"] is not None:
            assert agent["feasible"]["accuracy"] > FLOOR
            assert agent["feasible"]["reward"] <= agent["best"]["reward"]
    assert any(agent["feasible"] for agent in library.data["agents"])
    # Nothing behind a cut is pruned.
    order = [layer.name for layer in task().graph.layers]
    for plan in plans_of(library, "best"):
        assert all(order.index(name) < plan.cut.index for name, _ in plan.keep)


def fastest(library: Library, scenario: Scenario) -> Plan | None:
    """The fastest plan among the feasible ones and the unpruned ends, priced one by one."""
    given = context(scenario.convention.name)
    coder = "uniform[bits=8]" if scenario.convention.rules == "harmonised" else "float32"
    plans = [replace(plan, coder=coder) for plan in plans_of(library, "feasible")]
    for cut in given.cuts:
        if cut.kind != "interior":
            coder = scenario.convention.input_coder if cut.kind == "input" else "float32"
            plans.append(Plan("chain", CutRef(cut.index, cut.after), coder=coder))
    if not plans:
        return None

    def total(plan: Plan) -> tuple[float, int]:
        work = plan_workload(plan, task(), scenario.convention)
        return float(scenario_latency(work, scenario).total_s), plan.cut.index

    return min(plans, key=total)


@pytest.mark.parametrize("name", ["harmonised", "cia2021"])
def test_the_fastest_feasible_cut_is_chosen(name: str) -> None:
    method = Cia(episodes=40, remembered=30)
    library = built(method, name)
    chosen = set()
    for rate_bps in (1e3, 1e5, 1e6, 1e8, 1e12):
        for speed in (1e6, 1e9):
            scenario = worlds.scenario(rate_bps, speed, convention=name)
            answer = method.select(library, scenario, context(name))
            assert answer.plan == fastest(library, scenario)
            assert answer.plan is not None
            work = plan_workload(answer.plan, task(), scenario.convention)
            assert answer.predicted_latency_s == scenario_latency(work, scenario).total_s
            chosen.add(answer.plan.cut.after)
    if name == "harmonised":
        assert len(chosen) > 1  # the cut follows the link
    else:
        assert chosen <= set(CUTS)


@pytest.mark.parametrize(
    ("bits", "name", "coder", "width"),
    [
        (8, "harmonised", "uniform[bits=8]", 8),
        (8, "harmonised[cut=relu5]", "uniform[bits=8]", 8),
        (32, "harmonised[cut=relu5]", "float32", 32),
        (8, "cia2021", "float32", 32),
        (8, "qho2024[cut=relu5]", "float32", 32),
    ],
)
def test_an_element_has_32_bits_in_the_papers_and_8_in_harmony(
    bits: int, name: str, coder: str, width: int
) -> None:
    """methods.md, section 12; a convention that leaves one cut has the rules of its whole."""
    method = Cia(episodes=40, remembered=30, bits=bits)
    interior = tuple(cut for cut in task().graph.cuts if cut.after == "relu5")
    given = Context(task(), convention(name), interior, 0)
    scenario = worlds.scenario(convention=name)
    plan = method.select(method.build(task(), given), scenario, given).plan
    assert plan is not None
    assert plan.coder == coder
    sent = box().elements(box().read([replace(plan, coder="float32")]))[0]
    assert plan_workload(plan, task(), scenario.convention).uplink_bits == width * sent
    with pytest.raises(CoinferError, match="cia: bits is 16; allowed: 8, 32"):
        Cia(bits=16)


def test_agents_of_another_torch_are_trained_anew(
    cache_at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built()
    known = set((cache_at / "agents").iterdir())
    monkeypatch.setattr(agents, "installed_version", lambda package: "0.1")
    built()
    assert len(set((cache_at / "agents").iterdir()) - known) == len(CUTS)


def test_without_a_feasible_plan_the_ends_answer_or_nothing_does() -> None:
    method = replace(FEW, guard_band=0.5)
    for name, status in (("harmonised", "feasible"), ("cia2021", "infeasible")):
        library = built(method, name)
        assert all(agent["feasible"] is None for agent in library.data["agents"])
        assert all(agent["best"] is not None for agent in library.data["agents"])
        answer = method.select(library, worlds.scenario(convention=name), context(name))
        assert answer.status == status
        assert (answer.plan is None) == (name == "cia2021")


def test_a_budget_is_shared_by_the_agents_and_told() -> None:
    found: dict[int, Selection] = {}
    for budget in (1, 4, 12, 10_000):
        library = built(max_evaluations=budget)
        given = context(max_evaluations=budget)
        found[budget] = FEW.select(library, worlds.scenario(), given)
        # The two unpruned ends come first.
        assert library.data["episodes"] == 3 * min(5, max(0, budget - 2) // 3)
        assert found[budget].evaluations <= budget
    assert [answer.status for answer in found.values()] == [*["budget"] * 3, "feasible"]
    assert found[10_000] == FEW.select(built(), worlds.scenario(), context())


def test_what_was_spent_is_in_the_ledger() -> None:
    given = context()
    FEW.build(task(), given)
    spent = {entry.phase: entry for entry in given.ledger.entries()}
    assert spent["search"].evaluations == 3 * 5
    assert spent["label"].evaluations == len(task().measured[0].plans)
    assert set(spent) == {"label", "fit", "search"}


def test_the_work_of_a_batch_is_that_of_each_plan() -> None:
    """The family's autoencoders are priced in a batch as alone."""
    decisions = box().decide(np.random.default_rng(0).random((30, box().dimension)))
    for name in ("harmonised", "qho2024", "cpcdrl2024"):
        together = box_workload(box(), decisions, convention(name), task().source)
        for row, plan in enumerate(box().plans(decisions)):
            alone = plan_workload(plan, task(), convention(name))
            for field in ("device_flops", "server_flops", "encode_flops", "decode_flops"):
                assert np.broadcast_to(getattr(together, field), 30)[row] == getattr(alone, field)
            assert together.uplink_bits[row] == alone.uplink_bits


def test_networks_without_measured_plans_are_refused_with_the_command_that_measures() -> None:
    skipped = Cia().supports(worlds.small_task(groups=True))
    assert skipped is not None
    assert "coinfer sweep small --family cia" in skipped.reason
