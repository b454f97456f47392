"""QHO and Prune_Partition: what is searched is what the harness prices, alone and in company."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from coinfer.accuracy.box import search_box
from coinfer.accuracy.surrogate import Labels, fit_surrogate
from coinfer.conventions import convention
from coinfer.cost import energy_j, plan_workload, scenario_latency
from coinfer.errors import CoinferError
from coinfer.method import Context, Library, Method
from coinfer.plan import CutRef, Plan, Scenario, Selection, Task
from coinfer.search.problem import Environments, Objective, Problem
from coinfer.search.qho import search
from coinfer.tasks import make_task
from methods.bottlenet import BottleNet
from methods.cia import Cia
from methods.fpgm import Fpgm
from methods.greedy import Greedy
from methods.predictor import allowed, process_of, surrogate_of
from methods.prune_partition import PrunePartition
from methods.qho import Qho
from methods.searching import Searching
from methods.worlds import measured_task, scenario, small_task

# Five scales instead of twenty: in a box as small as this one's, many plans cost the same, and
# particles that wander among them keep a late scale going until its cap.
QHO = Qho(scales=5)
METHODS: tuple[Searching, ...] = (QHO, PrunePartition())
CONVENTIONS = ("qho2024", "harmonised")


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COINFER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@cache
def task() -> Task:
    return measured_task(small_task(groups=True), ["qho", "prune-partition"], plans=40)


def at(rate_bps: float, name: str = "qho2024") -> Scenario:
    return scenario(rate_bps, convention=name)


def context(method: Searching, name: str, seed: int = 0, **budget: int) -> Context:
    kinds = convention(name).kinds_for(method.card.name, method.card.cuts)
    cuts = tuple(cut for cut in task().graph.cuts if cut.kind in kinds)
    return Context(task(), convention(name), cuts, seed, **budget)


@cache
def library(method: Searching, name: str) -> Library:
    return method.build(task(), context(method, name))


def answer(method: Searching, where: Scenario, seed: int = 0, **budget: int) -> Selection:
    name = where.convention.name
    return method.select(library(method, name), where, context(method, name, seed, **budget))


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.card.name)
def test_points_are_priced_and_judged_as_the_harness_would(method: Searching, name: str) -> None:
    """A batch of points in two scenarios equals each plan's own latency, energy and prediction."""
    scenarios = [at(1e5, name), at(1e8, name)]
    watts = [
        replace(
            one,
            device=replace(one.device, compute_watts=2.0),
            link=replace(one.link, transmit_watts=0.5),
        )
        for one in scenarios
    ]
    problem = method.problem(library(method, name), watts, context(method, name))
    rng = np.random.default_rng(0)
    points = np.vstack([rng.random((60, problem.box.dimension)), problem.safe(2)])
    runs = np.append(rng.integers(0, 2, len(points) - 2), [0, 1])
    acceptable, cost = problem.judge(runs, points)
    energy = problem.cost(runs, points, "energy")
    surrogate = surrogate_of(library(method, name))
    decisions = problem.box.decide(points)
    for row, plan in enumerate(problem.box.plans(decisions)):
        work = plan_workload(plan, task(), convention(name))
        time = scenario_latency(work, watts[runs[row]])
        assert cost[row] == time.total_s
        assert energy[row] == energy_j(time, watts[runs[row]].device, watts[runs[row]].link)
        features = problem.box.features(decisions.take(np.array([row])))
        accuracy = surrogate.predict(features).accuracy[0]
        if plan.unchanged:
            accuracy = task().baseline_accuracy
        assert acceptable[row] == (accuracy > library(method, name).data["floor"])
    assert acceptable[-2:].all()  # the unpruned network always is
    assert acceptable.any()
    assert not acceptable.all()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.card.name)
def test_many_scenarios_are_answered_as_each_alone(method: Searching) -> None:
    scenarios = [at(rate) for rate in (1e4, 1e6, 3e7)]
    together = method.select_many(
        library(method, "qho2024"),
        scenarios,
        [context(method, "qho2024", seed) for seed in range(3)],
    )
    assert list(together) == [answer(method, one, seed) for seed, one in enumerate(scenarios)]
    assert method.batched


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.card.name)
def test_an_answer_is_acceptable_and_not_slower_than_the_unpruned_network(
    method: Searching, name: str
) -> None:
    for rate_bps in (1e4, 1e6, 1e8):
        where = at(rate_bps, name)
        found = answer(method, where)
        assert found.plan is not None
        priced = scenario_latency(plan_workload(found.plan, task(), convention(name)), where)
        assert found.predicted_latency_s == pytest.approx(priced.total_s, rel=1e-15)
        assert found.predicted_accuracy is not None
        assert found.predicted_accuracy > task().accuracy_floor  # type: ignore[operator]
        whole = task().graph.flops(convention(name).flops_rules).sum() / where.device.speed()
        assert priced.total_s <= whole


def test_seeds_differ_and_repeat() -> None:
    found = [answer(QHO, at(1e6), seed) for seed in (1, 2, 1)]
    assert found[0] == found[2]
    assert found[0] != found[1]


def test_a_guard_band_asks_for_more_accuracy() -> None:
    careful = answer(replace(QHO, guard_band=0.01), at(1e6))
    floor = task().accuracy_floor
    assert floor is not None
    assert careful.predicted_accuracy is not None
    assert careful.predicted_accuracy > floor + 0.01


CAUTIOUS: tuple[Searching, ...] = (
    replace(QHO, confidence=0.8),
    PrunePartition(confidence=0.8),
)


@pytest.mark.parametrize("method", CAUTIOUS, ids=lambda m: m.card.name)
def test_a_cautious_search_takes_only_what_is_surely_above_the_floor(method: Searching) -> None:
    """Judged as by the bound of each plan alone; answered alike alone and in company."""
    scenarios = [at(rate) for rate in (1e5, 3e7)]
    built = library(method, "qho2024")
    process = process_of(built)
    assert process.labels.data() == surrogate_of(built).labels.data()
    problem = method.problem(built, scenarios, context(method, "qho2024"))
    rng = np.random.default_rng(0)
    # Between the unpruned network and anywhere, so that some are above the floor.
    whole = problem.safe(1)
    assert whole is not None
    points = np.clip(whole + rng.random((300, 1)) * (rng.random(whole.shape) - whole), 0, 1)
    points = np.vstack([whole, points])
    acceptable, _ = problem.judge(np.zeros(len(points), dtype=np.int64), points)
    floor = built.data["floor"]
    for row, plan in enumerate(problem.box.plans(problem.box.decide(points))):
        features = problem.box.features(problem.box.decide(points[row : row + 1]))
        sure = process.lower(features, 0.8)[0]
        assert acceptable[row] == (plan.unchanged or sure > floor)
    runs = np.zeros(len(points), dtype=np.int64)
    hopeful, _ = replace(problem, bound=None).judge(runs, points)
    assert not (acceptable & ~hopeful).any()
    if method.family == "qho":  # 40 plans tell nearly all of a box as small as the other's
        assert (hopeful & ~acceptable).any()
    contexts = [context(method, "qho2024", seed) for seed in (0, 1)]
    together = method.select_many(built, scenarios, contexts)
    assert list(together) == [answer(method, one, seed) for seed, one in enumerate(scenarios)]
    for found in together:
        assert found.plan is not None
        features = problem.box.features(problem.box.read([found.plan]))
        assert found.plan.unchanged or process.lower(features, 0.8)[0] > floor
        if not found.plan.unchanged:  # what is told is what is likely, not what is sure
            assert found.predicted_accuracy == process.accuracies(features)[0]


def test_without_a_confidence_nothing_is_fitted_besides() -> None:
    assert "process" not in library(QHO, "qho2024").data
    plain = QHO.problem(library(QHO, "qho2024"), [at(1e6)], context(QHO, "qho2024"))
    assert plain.bound is None
    for wrong in (1.0, -0.1, float("nan"), "0.9"):
        for kind in (Qho, PrunePartition):
            with pytest.raises(CoinferError, match="confidence"):
                kind(confidence=wrong)  # type: ignore[arg-type]


def test_energy_can_be_minimised_where_watts_are_given() -> None:
    plain = at(1e9)
    method = replace(QHO, objective="energy")
    told = method.supports(task(), plain)
    assert told is not None
    assert "watts" in told.reason
    given = replace(
        plain,
        device=replace(plain.device, compute_watts=1.0),
        link=replace(plain.link, transmit_watts=1e9),
    )
    assert method.supports(task(), given) is None
    plan = answer(method, given).plan
    assert plan is not None
    assert task().graph.cut(plan.cut.after).kind == "output"  # sending is fast, and dear


def test_a_budget_ends_the_search_with_the_best_so_far() -> None:
    for budget in (1, 40, 300):
        found = answer(QHO, at(1e6, "harmonised"), max_evaluations=budget)
        assert found.evaluations <= budget
        assert found.status in ("budget", "feasible", "infeasible")
    whole = answer(QHO, at(1e6))
    part = answer(QHO, at(1e6), max_evaluations=60)
    assert part.status == "budget"
    assert whole.predicted_latency_s <= part.predicted_latency_s  # type: ignore[operator]


def test_networks_without_measured_plans_are_refused_with_the_command() -> None:
    plain = make_task("alexnet-cifar", groups=True)
    for method in METHODS:
        told = method.supports(plain)
        assert told is not None
        assert f"coinfer sweep alexnet-cifar --family {method.family}" in told.reason


@pytest.mark.parametrize(
    "method", [*METHODS, Fpgm(), BottleNet(), Cia(episodes=3), Greedy()], ids=lambda m: m.card.name
)
def test_too_few_measured_plans_are_refused_not_failed_at(method: Method) -> None:
    """As many as a predictor can just be fitted to are enough, and one fewer is not."""
    whole = measured_task(small_task(groups=True), plans=40)
    fewest = next(n for n in range(1, 40) if method.supports(_with_plans(whole, n)) is None)
    enough, few = _with_plans(whole, fewest), _with_plans(whole, fewest - 1)
    allowed_cuts = tuple(cut for cut in whole.graph.cuts if cut.kind == "interior")
    library = method.build(enough, Context(enough, convention("qho2024"), allowed_cuts, 0))
    assert library.data["plans"] == fewest
    told = method.supports(few)
    assert told is not None
    assert f"and a predictor takes {fewest} or more; `coinfer sweep" in told.reason
    with pytest.raises(CoinferError, match="too few to fit"):
        method.build(few, Context(few, convention("qho2024"), allowed_cuts, 0))


def _with_plans(task: Task, count: int) -> Task:
    return replace(
        task,
        measured=tuple(
            replace(
                measured,
                plans=measured.plans[:count],
                accuracies=measured.accuracies[:count],
                std_errors=measured.std_errors[:count],
                uplink_bits=measured.uplink_bits[:count],
            )
            for measured in task.measured
        ),
    )


def test_readings_and_settings_of_the_algorithm() -> None:
    assert Qho(reading="literal").settings.accept == "elitist"
    assert Qho(accept="elitist").settings.loops == "do_while"
    assert Qho(scales=3, particles=4, shrink=2.0).settings.particles == 4
    for wrong in (
        {"reading": "best"},
        {"objective": "joy"},
        {"guard_band": 1.0},
        {"shrink": 1.0},
        {"particles": 0},
    ):
        with pytest.raises(CoinferError, match=next(iter(wrong))):
            Qho(**wrong)  # type: ignore[arg-type]


def test_no_cut_allowed_is_no_plan() -> None:
    box = search_box(task(), "qho")
    surrogate = surrogate_of(library(QHO, "qho2024"))
    nowhere = np.zeros(len(box.cuts), dtype=np.bool_)
    problem = Problem(
        box,
        surrogate.accuracies,
        0.9,
        0.88,
        Environments.of([at(1e6)]),
        task().source,
        nowhere,
    )
    assert problem.safe(1) is None
    assert not problem.judge(np.zeros(5, dtype=np.int64), np.full((5, box.dimension), 0.1))[0].any()


def test_the_predictor_is_that_of_the_measured_plans() -> None:
    measured = task().plans_of("qho")
    assert measured is not None
    labels = Labels.of(
        search_box(task(), "qho"), measured.plans, measured.accuracies, measured.std_errors
    )
    assert surrogate_of(library(QHO, "qho2024")).key == fit_surrogate(labels).key
    assert library(QHO, "qho2024").data["plans"] == len(measured.plans)
    assert allowed(search_box(task(), "qho"), context(QHO, "qho2024"))[-1]


@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_a_search_that_finds_nothing_answers_with_the_best_cut_of_the_unpruned_network(
    objective: Objective,
) -> None:
    """Where no draw is accurate enough, the answer is what partitioning alone would choose."""
    for rate_bps in (1e2, 1e5, 1e9):
        where = at(rate_bps)
        where = replace(
            where,
            device=replace(where.device, compute_watts=2.0),
            link=replace(where.link, transmit_watts=0.1),
        )
        problem = QHO.problem(library(QHO, "qho2024"), [where], context(QHO, "qho2024"))
        hopeless = replace(problem, predict=lambda x: np.zeros(len(x)), objective=objective)
        (found,) = search(
            hopeless.judge, hopeless.box.dimension, [0], QHO.settings, safe=hopeless.safe(1)
        )
        plans = [Plan("small", CutRef(cut.index, cut.after)) for cut in hopeless.box.cuts]
        times = [
            scenario_latency(plan_workload(plan, task(), where.convention), where) for plan in plans
        ]
        if objective == "latency":
            assert found.cost == min(time.total_s for time in times)
        else:
            assert found.cost == min(energy_j(time, where.device, where.link) for time in times)


# Another optimiser in QHO's place.


def test_another_optimiser_searches_the_same_plans_with_the_same_budget() -> None:
    for name in ("random", "differential-evolution"):
        method = Qho(optimiser=name, max_evaluations=300)
        assert method.searched == QHO.searched
        where = [at(rate) for rate in (1e4, 3e7)]
        together = method.select_many(
            library(QHO, "qho2024"), where, [context(method, "qho2024", seed) for seed in (0, 1)]
        )
        alone = [
            method.select(library(QHO, "qho2024"), one, context(method, "qho2024", seed))
            for seed, one in enumerate(where)
        ]
        assert list(together) == alone
        for one in alone:
            # Its budget is its end: nothing was cut off.
            assert (one.status, one.evaluations) == ("feasible", 300)
            assert one.predicted_accuracy is not None
            assert one.predicted_accuracy > library(QHO, "qho2024").data["floor"]
    with pytest.raises(CoinferError, match="unknown optimiser of qho 'de'; known: cma-es, diff"):
        Qho(optimiser="de")


# Codes through noise, charged as bits.


@cache
def noisy_task() -> Task:
    return measured_task(small_task(groups=True), ["noise"], plans=40)


def noisy(snr_db: float | None, name: str = "qho2024-mixed") -> Scenario:
    base = at(1e6, name)
    link = replace(base.link, rate_bps=None, bandwidth_hz=1e6)
    return replace(base, link=link, snr_db=snr_db)


def test_codes_go_through_the_scenarios_noise_and_are_charged_as_bits() -> None:
    method = Qho(noise=True, scales=5)
    rules = convention("qho2024-mixed")
    given = Context(noisy_task(), rules, noisy_task().graph.cuts[1:], 0)
    built = method.build(noisy_task(), given)
    assert built.data["family"] == "noise"
    scenarios = [noisy(0.0), noisy(20.0)]
    problem = method.problem(built, scenarios, given)
    assert problem.dimension == problem.box.dimension - 1
    points = np.random.default_rng(0).random((40, problem.dimension))
    runs = np.arange(40) % 2
    _, cost = problem.judge(runs, points)
    for row, plan in enumerate(problem.box.plans(problem.decide(runs, points))):
        where = scenarios[runs[row]]
        if plan.cut != CutRef(noisy_task().graph.cuts[-1].index, noisy_task().graph.cuts[-1].after):
            assert plan.channel == f"awgn[snr_db={where.snr_db}]"
        work = plan_workload(plan, noisy_task(), rules)
        assert work.uplink_symbols == 0
        assert cost[row] == scenario_latency(work, where).total_s
        # The paper's own rules would have no bits for it, and the harmonised ones symbols.
        if plan.channel != "none":
            assert plan_workload(plan, noisy_task(), convention("harmonised")).uplink_symbols > 0
    found = method.select_many(built, scenarios, [given, given])
    assert all(one.plan is not None for one in found)


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (at(1e6, "qho2024-mixed"), "noise needs a radio with an SNR of 0 to 50 dB"),
        (noisy(60.0), "noise needs a radio with an SNR of 0 to 50 dB"),
        (noisy(10.0, "qho2024"), "convention qho2024 does not charge as bits"),
        (noisy(10.0, "harmonised"), "qho2024-mixed does"),
    ],
)
def test_noise_is_refused_where_it_has_no_place(where: Scenario, why: str) -> None:
    skip = Qho(noise=True).supports(noisy_task(), where)
    assert skip is not None
    assert why in skip.reason
    assert Qho(noise=True).supports(noisy_task(), noisy(10.0)) is None
    missing = Qho(noise=True).supports(task())
    assert missing is not None
    assert "--family noise" in missing.reason
