"""QHO equals its specification, draw for draw, in any company, and ends whatever the judge says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from math import inf, nan, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinfer.errors import CoinferError
from coinfer.search.draws import Rows
from coinfer.search.judge import Flags, Floats, Ints, Judge
from coinfer.search.qho import Caps, Qho, QhoOutcome, search
from coinfer.search.settings import Settings

# ---- Problems: pure in each point, so that any batch gives the same bits -------------------------


def bowl(points: Floats) -> Floats:
    cost = np.zeros(len(points))
    for column in points.T:
        cost += (column - 0.3) ** 2
    return cost


def half_space(_: Ints, points: Floats) -> tuple[Flags, Floats]:
    return points[:, 0] > 0.45, bowl(points)


def waves(_: Ints, points: Floats) -> tuple[Flags, Floats]:
    ripples: Floats = 7 * points % 1
    return points[:, 0] < 0.8, bowl(points) + bowl(ripples) / 20


def island(_: Ints, points: Floats) -> tuple[Flags, Floats]:
    acceptable = np.abs(points - 0.7).max(axis=1) < 0.12
    return acceptable, np.where(acceptable, bowl(points), nan)


def stairs(_: Ints, points: Floats) -> tuple[Flags, Floats]:
    return points[:, -1] < 0.9, np.floor(bowl(points) * 6)


def hopeless(_: Ints, points: Floats) -> tuple[Flags, Floats]:
    return np.zeros(len(points), dtype=bool), np.full(len(points), inf)


def hills(runs: Ints, points: Floats) -> tuple[Flags, Floats]:
    """Another problem for each run."""
    return points[:, 0] > runs / 20, bowl(points) * (1 + runs)


PROBLEMS = [half_space, waves, island, stairs]

# ---- The slow references -------------------------------------------------------------------------


@dataclass
class Slow:
    """What a reference found."""

    point: list[float] | None = None
    cost: float = inf
    acceptable: bool = False
    evaluations: int = 0
    acceptances: int = 0
    caps: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(asdict(Caps(0, 0, 0, 0, 0)), 0)
    )
    passes: list[int] = field(default_factory=list)
    transitions: list[int] = field(default_factory=list)
    falls: list[tuple[int, float]] = field(default_factory=list)


def stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


class Streams:
    """The substreams of one run, one row at a time."""

    def __init__(self, seed: int, dimension: int, k: int) -> None:
        self.dimension = dimension
        self.starts = [stream(seed, 0, j) for j in range(k)]
        self.normals = [stream(seed, 1, j, 0) for j in range(k + 1)]
        self.uniforms = [stream(seed, 1, j, 1) for j in range(k + 1)]

    def start(self, j: int) -> list[float]:
        return [float(x) for x in self.starts[j].random(self.dimension)]

    def near(self, j: int, centre: list[float], scale: float, outside: str) -> list[float]:
        normal = self.normals[j].standard_normal(self.dimension).tolist()
        uniform = self.uniforms[j].random(self.dimension).tolist()
        point = []
        for c, z, u in zip(centre, normal, uniform, strict=True):
            y = c + scale * z
            if y < 0 or y > 1:
                if outside == "resample":
                    y = u
                elif outside == "clip":
                    y = 0.0 if y < 0 else 1.0
                else:
                    y %= 2.0
                    y = 2.0 - y if y > 1 else y
            point.append(y)
        return point


def ask_one(judge: Judge, point: list[float]) -> tuple[bool, float]:
    acceptable, cost = judge(np.zeros(1, dtype=np.int64), np.array([point]))
    return bool(acceptable[0]), float(cost[0])


def mean(points: list[list[float]]) -> list[float]:
    result = []
    for column in zip(*points, strict=True):
        total = 0.0
        for x in column:
            total += x
        result.append(total / len(points))
    return result


def deviation(points: list[list[float]]) -> float:
    squares = [[(x - m) * (x - m) for x, m in zip(p, mean(points), strict=True)] for p in points]
    return max(sqrt(variance) for variance in mean(squares))


def slow(judge: Judge, dimension: int, seed: int, s: Settings, safe: Any = None) -> Slow:
    """The clean restatement of Algorithm 1, particle by particle, with its options as branches."""
    k, run, streams = s.particles, Slow(), Streams(seed, dimension, s.particles)
    run.passes, run.transitions = [0] * s.scales, [0] * s.scales

    def evaluate(point: list[float]) -> tuple[bool, float]:
        run.evaluations += 1
        return ask_one(judge, point)

    def note() -> None:
        if run.cost < (run.falls[-1][1] if run.falls else inf):
            run.falls.append((run.evaluations, run.cost))

    def best(point: list[float], cost: float, acceptable: bool = True) -> None:
        run.point, run.cost, run.acceptable = point, cost, acceptable

    def answer() -> list[float]:
        assert run.point is not None
        return run.point

    starts: dict[int, tuple[list[float], float, bool]] = {}
    for j in range(k):
        for _ in range(s.max_draws):
            y = streams.start(j)
            acceptable, cost = evaluate(y)
            if acceptable or s.start == "unchecked":
                starts[j] = (y, cost, acceptable)
                break
        else:
            run.caps["starts"] += 1
    for j in sorted(starts):
        if starts[j][1] < run.cost:
            best(*starts[j])
    note()
    if len(starts) < k and safe is not None:
        acceptable, cost = evaluate(list(safe))
        if acceptable:
            if cost < run.cost:
                best(list(safe), cost)
                note()
            for j in range(k):
                starts.setdefault(j, (list(safe), cost, True))
    if not starts:
        return run
    u = [starts[j][0] if j in starts else answer() for j in range(k)]
    t = [starts[j][1] if j in starts else run.cost for j in range(k)]

    def move(j: int, y: list[float], cost: float) -> None:
        if cost <= (t[j] if s.accept == "own" else run.cost):
            u[j], t[j] = y, cost
            run.acceptances += 1
        if cost <= run.cost:
            best(y, cost)

    def sample(j: int, centre: list[float]) -> tuple[list[float], bool, float]:
        y = streams.near(j, centre, scale, s.outside)
        return y, *evaluate(y)

    def over_the_particles() -> None:
        if s.infeasible == "redraw":
            for j in range(k):
                for _ in range(s.max_draws):
                    y, acceptable, cost = sample(j, u[j])
                    if acceptable:
                        move(j, y, cost)
                        break
                else:
                    run.caps["draws"] += 1
            return
        j = refused = 0
        while j < k:
            y, acceptable, cost = sample(j, u[j])
            if acceptable:
                move(j, y, cost)
                j += 1
                continue
            j, refused = 0, refused + 1
            if refused == s.max_draws:
                run.caps["draws"] += 1
                return

    def transition() -> None:
        worst = t.index(max(t))
        y = mean(u)
        acceptable, cost = evaluate(y)
        if s.mean == "unchecked":
            u[worst], t[worst] = y, cost
            return
        tries = 0
        while s.mean == "redraw" and not acceptable and tries < s.max_draws:
            y, acceptable, cost = sample(k, answer())
            tries += 1
        if acceptable:
            u[worst], t[worst] = y, cost
            if cost <= run.cost:
                best(y, cost)
        elif s.mean == "redraw":
            run.caps["means"] += 1

    scale, spread, change = s.start_scale, deviation(u), inf
    for it in range(s.scales):
        first = True
        while (first and s.loops == "do_while") or spread > scale:
            if not first and run.transitions[it] == s.max_passes:
                run.caps["scales"] += 1
                break
            first = False
            if s.loops == "do_while":
                change = inf
            level = 0
            while change > scale:
                if level == s.max_stabilisation:
                    run.caps["stabilisations"] += 1
                    break
                over_the_particles()
                note()
                level += 1
                change, spread = abs(deviation(u) - spread), deviation(u)
                run.passes[it] += 1
            transition()
            note()
            run.transitions[it] += 1
            spread = deviation(u)
        scale /= s.shrink
    return run


def printed(judge: Judge, dimension: int, seed: int) -> Slow:
    """Algorithm 1 line by line as printed (k=5, 20 scales, 1.3), with caps of 200."""
    run, streams = Slow(), Streams(seed, dimension, 5)
    x, tau = [], []
    for j in range(5):  # 1-4
        x.append(streams.start(j))
        tau.append(ask_one(judge, x[j])[1])
    tau_min = min(tau)  # 5
    x_min = x[tau.index(tau_min)]
    run.evaluations = 5
    sigma_s, sigma, d_sigma = 1.0, deviation(x), inf
    for _ in range(20):  # 6, 31
        turns = 0
        while sigma > sigma_s and turns < 200:  # 7
            turns += 1
            passes = 0
            while d_sigma > sigma_s and passes < 200:  # 8
                passes += 1
                j = went_back = 0
                while j < 5:  # 10
                    y = streams.near(j, x[j], sigma_s, "resample")  # 11
                    acceptable, tau_y = ask_one(judge, y)
                    run.evaluations += 1
                    if not acceptable:  # 13
                        j = 0  # 14
                        went_back += 1
                        if went_back == 200:
                            break
                        continue
                    if tau_y <= tau_min:  # 17
                        tau_min, x_min = tau_y, y  # 18
                        x[j], tau[j] = y, tau_y  # 19
                        run.acceptances += 1
                    j += 1
                d_sigma = abs(deviation(x) - sigma)  # 21-22
                sigma = deviation(x)  # 23
            worst = tau.index(max(tau))
            x[worst] = mean(x)  # 26
            tau[worst] = ask_one(judge, x[worst])[1]
            run.evaluations += 1
            sigma = deviation(x)  # 27
        sigma_s /= 1.3  # 30
    run.point, run.cost = x_min, tau_min
    return run


def assert_equal(fast: QhoOutcome, reference: Slow) -> None:
    """Bit for bit."""
    assert fast.cost == reference.cost
    assert (None if fast.point is None else fast.point.tolist()) == reference.point
    assert fast.evaluations == reference.evaluations
    assert fast.acceptances == reference.acceptances
    assert fast.acceptable == reference.acceptable
    assert asdict(fast.caps) == reference.caps
    assert fast.passes.tolist() == reference.passes
    assert fast.transitions.tolist() == reference.transitions
    falls = zip(fast.trace.evaluations.tolist(), fast.trace.costs.tolist(), strict=True)
    assert list(falls) == reference.falls


def told(outcome: QhoOutcome) -> list[Any]:
    """All of an outcome, as comparable data."""
    return [
        None if outcome.point is None else outcome.point.tolist(),
        outcome.cost,
        outcome.acceptable,
        outcome.evaluations,
        outcome.stop,
        outcome.trace.evaluations.tolist(),
        outcome.trace.costs.tolist(),
        outcome.acceptances,
        asdict(outcome.caps),
        outcome.passes.tolist(),
        outcome.transitions.tolist(),
    ]


READINGS = {
    "restated": Settings(scales=12),
    "elitist": Settings(accept="elitist", scales=12),
    "clip": Settings(outside="clip", scales=6),
    "reflect": Settings(outside="reflect", scales=6),
    "mean redrawn": Settings(mean="redraw", scales=8),
    "mean unchecked": Settings(mean="unchecked", scales=8),
    "while": Settings(loops="while", max_passes=50),
    "restart": Settings(infeasible="restart", max_draws=30, scales=8),
    "low caps": Settings(max_draws=3, max_passes=2, max_stabilisation=1, mean="redraw"),
    "one particle": Settings(particles=1, scales=5),
    "two particles": Settings(particles=2, start_scale=0.1, scales=6, max_stabilisation=1),
    "many particles": Settings(particles=19, scales=5),
}


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_fast_search_is_the_slow_one(problem: Judge, reading: str) -> None:
    seeds = range(4)
    for seed, fast in zip(seeds, search(problem, 2, seeds, READINGS[reading]), strict=True):
        assert_equal(fast, slow(problem, 2, seed, READINGS[reading]))


@pytest.mark.parametrize("problem", [half_space, waves, stairs])
def test_the_literal_reading_is_algorithm_1_as_printed(problem: Judge) -> None:
    seeds = range(8)
    moved = 0
    for seed, fast in zip(seeds, search(problem, 3, seeds, Settings.literal()), strict=True):
        reference = printed(problem, 3, seed)
        assert fast.point is not None
        assert (fast.point.tolist(), fast.cost) == (reference.point, reference.cost)
        assert fast.evaluations == reference.evaluations
        assert fast.acceptances == reference.acceptances
        moved += fast.acceptances
    assert moved  # else this would hold of a search that never moves


SETTINGS = st.builds(
    Settings,
    particles=st.integers(1, 9),
    scales=st.integers(1, 6),
    shrink=st.floats(1.05, 4),
    start_scale=st.floats(0.01, 2),
    accept=st.sampled_from(["own", "elitist"]),
    infeasible=st.sampled_from(["redraw", "restart"]),
    outside=st.sampled_from(["resample", "clip", "reflect"]),
    loops=st.sampled_from(["do_while", "while"]),
    start=st.sampled_from(["checked", "unchecked"]),
    mean=st.sampled_from(["checked", "redraw", "unchecked"]),
    max_draws=st.integers(1, 12),
    max_passes=st.integers(1, 8),
    max_stabilisation=st.integers(1, 8),
)
FINITE = [half_space, waves, stairs]  # unchecked readings need the cost of every point


@settings(max_examples=60)
@given(
    SETTINGS,
    st.sampled_from(FINITE),
    st.integers(1, 4),
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3),
    st.sampled_from([1, 2, 7]),
    st.booleans(),
)
def test_any_reading_is_the_slow_one(
    reading: Settings, problem: Judge, dimension: int, seeds: list[int], ahead: int, safe: bool
) -> None:
    points = np.full((len(seeds), dimension), 0.5) if safe else None
    found = search(problem, dimension, seeds, reading, safe=points, ahead=ahead)
    for seed, fast in zip(seeds, found, strict=True):
        assert_equal(
            fast, slow(problem, dimension, seed, reading, None if points is None else points[0])
        )


# ---- Company, speculation, interruption ----------------------------------------------------------


@pytest.mark.parametrize("reading", [Settings(), Settings.literal(), READINGS["low caps"]])
def test_a_run_finds_the_same_alone_and_in_company(reading: Settings) -> None:
    seeds = [*range(12), 3]
    together = search(hills, 3, seeds, reading)
    for run, seed in enumerate(seeds):

        def mine(_: Ints, points: Floats, run: int = run) -> tuple[Flags, Floats]:
            return hills(np.full(len(points), run), points)

        (alone,) = search(mine, 3, [seed], reading)
        assert told(alone) == told(together[run])
    assert told(together[3]) != told(together[12])  # the same seed, another problem


@pytest.mark.parametrize("reading", [Settings(), READINGS["restart"], READINGS["mean redrawn"]])
@pytest.mark.parametrize("budget", [None, 1, 7, 98])
def test_looking_ahead_changes_no_outcome(reading: Settings, budget: int | None) -> None:
    def outcomes(ahead: int) -> tuple[list[Any], int]:
        questions = 0

        def judge(runs: Ints, points: Floats) -> tuple[Flags, Floats]:
            nonlocal questions
            questions += 1
            return island(runs, points)

        found = search(judge, 2, range(6), reading, max_evaluations=budget, ahead=ahead)
        return [told(outcome) for outcome in found], questions

    one, questions = outcomes(1)
    for ahead in (2, 5, 64):
        found, fewer = outcomes(ahead)
        assert found == one
        assert budget is not None or fewer < questions


@settings(max_examples=25)
@given(SETTINGS, st.integers(0, 60), st.sampled_from([1, 3]), st.sampled_from([None, 50, 5000]))
def test_a_search_goes_on_from_its_state(
    reading: Settings, stop: int, ahead: int, budget: int | None
) -> None:
    def fresh() -> Qho:
        safe = np.full((4, 2), 0.5)
        return Qho(2, range(4), reading, safe=safe, max_evaluations=budget, ahead=ahead)

    def advance(qho: Qho, most: int | None = None) -> Qho:
        while not qho.done and most != 0:
            qho.tell(*waves(*qho.ask()))
            most = None if most is None else most - 1
        return qho

    whole = [told(outcome) for outcome in advance(fresh()).outcomes()]
    stopped = advance(fresh(), stop)
    before = json.dumps(stopped.state(), allow_nan=False)
    runs, points = stopped.ask()
    assert json.dumps(stopped.state(), allow_nan=False) == before  # asking changes nothing
    again = Qho.from_state(json.loads(before))
    assert [x.tolist() for x in again.ask()] == [runs.tolist(), points.tolist()]
    assert json.dumps(again.state(), allow_nan=False) == before
    assert [told(outcome) for outcome in advance(again).outcomes()] == whole
    assert [told(outcome) for outcome in advance(stopped).outcomes()] == whole


def test_a_late_state_goes_on_too() -> None:
    """Where streams have been read for many blocks."""

    def pond(_: Ints, points: Floats) -> tuple[Flags, Floats]:
        inside = np.abs(points - 0.7).max(axis=1) < 0.03
        return inside, bowl(points)

    qho = Qho(2, [5], Settings(start_scale=0.3, max_draws=3000))
    while max(qho.state()["runs"]["position"]) < 200:
        qho.tell(*pond(*qho.ask()))
    assert not qho.done
    again = Qho.from_state(json.loads(json.dumps(qho.state())))
    for search_ in (qho, again):
        while not search_.done:
            search_.tell(*pond(*search_.ask()))
    assert told(qho.outcomes()[0]) == told(again.outcomes()[0])


# ---- Budgets, caps, ends -------------------------------------------------------------------------


def recorded(
    judge: Judge, budget: int | None, reading: Settings
) -> tuple[QhoOutcome, list[list[float]]]:
    seen: list[list[float]] = []

    def watching(runs: Ints, points: Floats) -> tuple[Flags, Floats]:
        seen.extend(points.tolist())
        return judge(runs, points)

    return search(watching, 2, [3], reading, max_evaluations=budget)[0], seen


@pytest.mark.parametrize("reading", [Settings(), READINGS["restart"], READINGS["mean redrawn"]])
def test_a_budget_is_a_beginning_of_the_whole_run(reading: Settings) -> None:
    whole, seen = recorded(island, None, reading)
    assert len(seen) == whole.evaluations
    for budget in [*range(1, 80), whole.evaluations - 1]:
        outcome, points = recorded(island, budget, reading)
        assert (outcome.evaluations, outcome.stop) == (budget, "budget")
        assert points == seen[:budget]
        acceptable, cost = island(np.zeros(budget, dtype=np.int64), np.array(points))
        assert outcome.cost == (cost[acceptable].min() if acceptable.any() else inf)
        assert outcome.acceptable == acceptable.any()
    for budget in (whole.evaluations, whole.evaluations + 1):
        assert told(recorded(island, budget, reading)[0]) == told(whole)
    assert whole.stop == "finished"


def test_a_trace_says_what_was_known_when() -> None:
    outcome, seen = recorded(half_space, None, Settings())
    acceptable, cost = half_space(np.zeros(len(seen), dtype=np.int64), np.array(seen))
    lowest = np.minimum.accumulate(np.where(acceptable, cost, inf))
    trace = outcome.trace
    assert trace.costs.tolist() == lowest[trace.evaluations - 1].tolist()
    assert (np.diff(trace.costs) < 0).all()
    assert (np.diff(trace.evaluations) > 0).all()
    assert trace.costs[-1] == outcome.cost == lowest[-1]
    assert trace.at(np.array([0, trace.evaluations[0], 10**9])).tolist() == [
        inf,
        trace.costs[0],
        outcome.cost,
    ]


@pytest.mark.parametrize("reading", [Settings(), Settings(infeasible="restart", mean="redraw")])
def test_where_nothing_is_acceptable_it_ends(reading: Settings) -> None:
    for safe, more in ((None, 0), (np.full((2, 3), 0.5), 1)):
        for outcome in search(hopeless, 3, [0, 1], reading, safe=safe):
            assert outcome.stop == "nothing acceptable"
            assert (outcome.point, outcome.cost, outcome.acceptable) == (None, inf, False)
            assert outcome.evaluations == 5 * 200 + more
            assert outcome.caps == Caps(5, 0, 0, 0, 0)
            assert len(outcome.trace.costs) == 0


def pinpoint(_: Ints, points: Floats) -> tuple[Flags, Floats]:
    """Acceptable is one point alone."""
    there: Flags = (points == 0.25).all(axis=1)
    return there, bowl(points)


def test_a_safe_point_is_where_a_run_falls_back() -> None:
    reading = Settings(scales=2, max_passes=3, max_draws=10)
    (outcome,) = search(pinpoint, 2, [0], reading, safe=[[0.25, 0.25]])
    assert outcome.point is not None
    assert (outcome.point.tolist(), outcome.stop) == ([0.25, 0.25], "finished")
    # Every draw fails, the particles stand still, and each scale is done after one pass.
    assert outcome.caps == Caps(starts=5, draws=10, means=0, stabilisations=0, scales=0)
    assert outcome.evaluations == 5 * 10 + 1 + 2 * (5 * 10 + 1)


def test_particles_without_a_start_join_the_best_one() -> None:
    def judge(_: Ints, points: Floats) -> tuple[Flags, Floats]:
        return points[:, 0] < 0.1, bowl(points)

    reading = Settings(max_draws=4)
    short = [o for o in search(judge, 1, range(40), reading) if 0 < o.caps.starts < 5]
    assert short  # the case is met
    assert all(outcome.stop == "finished" and outcome.acceptable for outcome in short)


def test_limits_that_are_reached_are_counted() -> None:
    """Two particles on a plain wander by about the scale, far apart."""

    def plain(_: Ints, points: Floats) -> tuple[Flags, Floats]:
        return np.ones(len(points), dtype=np.bool_), np.zeros(len(points))

    wander = Settings(
        particles=2, start_scale=1e-4, scales=1, max_stabilisation=2, max_passes=3, max_draws=1
    )
    found = search(plain, 1, range(200), wander)
    for outcome in found:
        assert outcome.caps.scales == 1
        assert outcome.transitions.tolist() == [3]
        assert 3 + outcome.caps.stabilisations <= outcome.passes.sum() <= 6
    # A stabilisation goes on with P(|N(0, 1/2)| > 1) = 0.157: twice, 15 times in 600.
    assert 3 <= sum(outcome.caps.stabilisations for outcome in found) <= 40


def test_unchecked_starts_can_end_without_an_acceptable_answer() -> None:
    """Defect 7 of the printed algorithm: a start that is too cheap to be true is never beaten."""

    def judge(_: Ints, points: Floats) -> tuple[Flags, Floats]:
        return points[:, 0] > 0.5, points[:, 0]

    found = search(judge, 1, range(20), Settings.literal())
    assert any(not outcome.acceptable for outcome in found)
    assert all(outcome.acceptable for outcome in search(judge, 1, range(20)))


@pytest.mark.parametrize("dimension", [2, 6])
def test_a_convex_optimum_is_approached(dimension: int) -> None:
    """All 20 seeds end within a tenth of the range of the optimum, in every coordinate.

    The constraint x0 > 0.45 is active, so the optimum is (0.45, 0.3, 0.3, ...).
    """
    optimum = np.full(dimension, 0.3)
    optimum[0] = 0.45
    for outcome in search(half_space, dimension, range(20)):
        assert outcome.point is not None
        assert outcome.acceptable
        assert np.abs(outcome.point - optimum).max() < 0.1


# ---- Streams -------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), max_size=40),
    st.integers(4, 9),
    st.integers(0, 5000),
)
def test_rows_are_the_streams_whatever_the_block(
    steps: list[list[int]], block: int, skip: int
) -> None:
    keys: list[tuple[int, tuple[int, ...]]] = [(7, (0,)), (7, (1, 2)), (8, (0,))]
    rows = Rows("normal", keys, 2, block)
    plain = [stream(seed, *key).standard_normal((skip + 200, 2)) for seed, key in keys]
    lowest: Ints = np.full(3, skip, dtype=np.int64)
    for step in steps:
        lowest = lowest + step
        for offset in (0, 3, 1):  # a row may be read again
            found = rows.take(np.arange(3), lowest + offset, lowest)
            assert found.tolist() == [plain[i][lowest[i] + offset].tolist() for i in range(3)]


# ---- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"particles": 0}, "particles is 0; allowed is a whole number, 1 or more"),
        ({"scales": 2.5}, "scales is 2.5; allowed is a whole number, 1 or more"),
        ({"max_draws": -1}, "max_draws is -1"),
        ({"max_passes": 0}, "max_passes is 0"),
        ({"max_stabilisation": True}, "max_stabilisation is True"),
        ({"shrink": 1.0}, "shrink is 1.0; allowed is a finite number > 1"),
        ({"shrink": inf}, "shrink is inf"),
        ({"start_scale": nan}, "start_scale is nan; allowed is a finite number > 0"),
        ({"accept": "any"}, "accept is 'any'; accepted: own, elitist"),
        ({"infeasible": "skip"}, "infeasible is 'skip'; accepted: redraw, restart"),
        ({"outside": "wrap"}, "outside is 'wrap'; accepted: resample, clip, reflect"),
        ({"loops": "for"}, "loops is 'for'; accepted: do_while, while"),
        ({"start": None}, "start is None; accepted: checked, unchecked"),
        ({"mean": ""}, "mean is ''; accepted: checked, redraw, unchecked"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CoinferError, match=f"^{message}"):
        replace(Settings(), **change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimension": 0}, "the dimension is 0; allowed is a whole number, 1 or more"),
        ({"seeds": [1, -2]}, "a seed is -2"),
        ({"max_evaluations": 0}, "max_evaluations is 0; allowed is a whole number, 1 or more"),
        ({"ahead": 0}, "ahead is 0; allowed is a whole number, 1 to 64"),
        ({"safe": [[0.5, 0.5]]}, r"the safe points have shape \(1, 2\); accepted .* \(2, 2\)"),
        ({"safe": [[0.5, 0.5], [0.5, 1.5]]}, "the safe points .* of the unit cube"),
        ({"safe": [[0.5, 0.5], [0.5, nan]]}, "the safe points .* of the unit cube"),
        ({"safe": [[0.5], [0.5, 1]]}, "the safe points .* of the unit cube"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CoinferError, match=f"^{message}"):
        Qho(**{"dimension": 2, "seeds": [0, 1], **arguments})


ANSWERS: list[tuple[Callable[[int], Any], str]] = [
    (lambda n: np.ones(n, bool), "the judge returned ndarray; accepted is a pair"),
    (lambda n: None, "the judge returned NoneType; accepted is a pair"),
    (lambda n: (True, 1.0), r"the judge's acceptable has shape \(\) of bool"),
    (lambda n: (np.ones(n, bool), np.ones(n - 1)), r"the judge's cost has shape \(9,\)"),
    (lambda n: (np.ones((n, 1), bool), np.ones(n)), "the judge's acceptable has shape"),
    (lambda n: (np.ones(n), np.ones(n)), "the judge's acceptable .* float64; accepted is one bool"),
    (lambda n: (np.ones(n, bool), ["a"] * n), "the judge's cost .* accepted is one number"),
    (lambda n: (np.ones(n, bool), np.ones(n) * 1j), "the judge's cost .* complex128"),
    (lambda n: (np.ones(n, bool), np.full(n, nan)), "the judge's cost of an acceptable point is n"),
    (
        lambda n: (np.ones(n, bool), np.full(n, -inf)),
        "the judge's cost .* is -inf; accepted is a f",
    ),
    (lambda n: ([[True], [True, True]], np.ones(n)), "the judge's acceptable has shape"),
]


@pytest.mark.parametrize(("answer", "message"), ANSWERS)
def test_an_answer_that_is_none_is_refused(answer: Callable[[int], Any], message: str) -> None:
    with pytest.raises(CoinferError, match=f"^{message}"):
        search(lambda runs, points: answer(len(points)), 2, [0, 1])


def test_unchecked_readings_need_every_cost() -> None:
    with pytest.raises(CoinferError, match="cost of a point taken unchecked is inf; accepted is a"):
        search(hopeless, 2, [0], Settings.literal())


def test_a_refused_answer_leaves_the_search_where_it_was() -> None:
    qho = Qho(2, [0, 1])
    with pytest.raises(CoinferError, match=r"^tell\(\) without ask\(\)"):
        qho.tell([], [])
    before, (runs, points) = qho.state(), qho.ask()
    with pytest.raises(CoinferError, match="the judge's cost"):
        qho.tell(np.ones(len(runs), bool), np.full(len(runs), nan))
    assert qho.state() == before
    with pytest.raises(ValueError, match="read-only"):
        points[0] = 0
    qho.tell(*half_space(runs, points))
    assert qho.state() != before


def test_no_runs_are_done_at_once() -> None:
    assert search(half_space, 2, []) == ()


def test_a_state_that_is_none_is_refused() -> None:
    state = Qho(2, [0, 1]).state()
    damaged: list[dict[str, Any]] = [
        {},
        {**state, "schema": 99},
        {**state, "seeds": [1]},
        {**state, "runs": {}},
        {**state, "runs": {**state["runs"], "stage": ["x", "y"]}},
        {**state, "runs": {**state["runs"], "stage": [0.5, 0.5]}},
        {**state, "runs": {**state["runs"], "stage": [9, 9]}},
        {**state, "runs": {**state["runs"], "pending": [False] * 12}},
        {**state, "runs": {**state["runs"], "tries": [1, 2]}},
        {**state, "settings": {"colour": 1}},
        {**state, "trace": []},
        {**state, "dimension": 0},
    ]
    for data in damaged:
        with pytest.raises(CoinferError):
            Qho.from_state(data)
