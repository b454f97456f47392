"""How fast QHO searches, predictor and cost model included.

One evaluation maps a point to a pruned, cut and encoded AlexNet (alexnet-cifar, 16 variables),
predicts its accuracy by a regressor that was fitted to 300 plans, and prices it. A single run is
what `coinfer plan` waits for; 300 runs at once are what a sweep over rates asks for. All on one
thread, in seconds of that thread's own work, so that others on the machine count less. Beside the
search stands what a batch of its judge takes, which is the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.perf.made_up import BASELINE, made_up_labels
from benchmarks.perf.timing import best_s
from coinfer import presets
from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.regressors import Predict, fit
from coinfer.conventions import convention
from coinfer.plan import Scenario, Task
from coinfer.search.problem import Environments, Problem
from coinfer.search.qho import QhoOutcome, search
from coinfer.tasks import make_task

LABELS = 300
RUNS = 300
BUDGET = 5_000
BATCH = 10_000
AHEAD = 16
FLOOR = 0.75
TARGET_RUN_S = 1.0
TARGET_SINGLE_PER_S = 20_000
TARGET_BATCHED_PER_S = 200_000
REGRESSORS = (
    "GaussianProcessRegressor",
    "GradientBoostingRegressor",
    "HistGradientBoostingRegressor",
)

pytestmark = pytest.mark.usefixtures("one_thread")

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def task() -> Task:
    """Return AlexNet for CIFAR with its prune groups."""
    return make_task("alexnet-cifar", groups=True)


@pytest.fixture(scope="module")
def box(task: Task) -> Box:
    """Return the QHO paper's box."""
    return search_box(task, "qho")


@pytest.fixture(scope="module", params=REGRESSORS)
def predict(request: pytest.FixtureRequest, box: Box) -> Predict:
    """Return a predictor of accuracies that fall with all that is pruned or narrowed, and noise."""
    labels = made_up_labels(box, LABELS)
    return fit(request.param, labels.variables, labels.x, labels.y, labels.std_error)


def problem(task: Task, box: Box, predict: Predict, rates_bps: Sequence[float]) -> Problem:
    """Return the search of the Raspberry Pi 3B+ at some rates, as the QHO paper prices it."""
    scenarios = [
        Scenario(
            presets.device("raspberry-pi-3b+"),
            presets.server("tesla-p100"),
            presets.link(f"rate[rate_bps={rate}]"),
            convention("qho2024"),
        )
        for rate in rates_bps
    ]
    everywhere = np.ones(len(box.cuts), dtype=np.bool_)
    environments = Environments.of(scenarios)
    return Problem(box, predict, BASELINE, FLOOR, environments, task.source, everywhere)


def test_one_search(
    benchmark: Any, task: Task, box: Box, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole run in less than a second; how many plans it looks at in one."""
    asked = problem(task, box, predict, [1e6])
    safe = asked.safe(1)

    def run() -> QhoOutcome:
        return search(asked.judge, box.dimension, [1], safe=safe, ahead=AHEAD)[0]

    found = benchmark(run)
    (seconds,) = best_s(7, run)
    per_s = found.evaluations / seconds
    benchmark.extra_info |= {"seconds": seconds, "evaluations_per_s": per_s}
    with capsys.disabled():
        print(
            f"\nOne search of {found.evaluations:,} plans: {seconds:.3f} s, {per_s:,.0f} plans/s "
            f"(target {TARGET_SINGLE_PER_S:,})",
            end="",
        )
    assert found.acceptable
    assert seconds < TARGET_RUN_S


def test_many_searches_at_once(
    benchmark: Any, task: Task, box: Box, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    """300 runs, each at a rate of its own, beside a batch of the judge alone."""
    asked = problem(task, box, predict, np.geomspace(1e4, 1e8, RUNS).tolist())
    safe = asked.safe(RUNS)

    def run() -> tuple[QhoOutcome, ...]:
        return search(
            asked.judge,
            box.dimension,
            range(RUNS),
            safe=safe,
            max_evaluations=BUDGET,
            ahead=AHEAD,
        )

    found = benchmark.pedantic(run, rounds=1)
    evaluations = sum(outcome.evaluations for outcome in found)
    (seconds,) = best_s(2, run)
    per_s = evaluations / seconds
    points = np.random.default_rng(2).random((BATCH, box.dimension))
    owners = np.arange(BATCH) % RUNS
    (judged_s,) = best_s(7, lambda: asked.judge(owners, points))
    judged_per_s = BATCH / judged_s
    benchmark.extra_info |= {"evaluations_per_s": per_s, "judged_per_s": judged_per_s}
    with capsys.disabled():
        print(
            f"\n{RUNS} searches of {evaluations:,} plans: {per_s:,.0f} plans/s (target "
            f"{TARGET_BATCHED_PER_S:,}); judged in one batch {judged_per_s:,.0f}/s",
            end="",
        )


def test_a_run_finds_the_same_alone(task: Task, box: Box, predict: Predict) -> None:
    """A fast number that is wrong is worth nothing: a run alone and in company end alike."""
    rates = [1e5, 1e6, 1e7]
    together = problem(task, box, predict, rates)
    found = search(together.judge, box.dimension, range(3), max_evaluations=400, ahead=AHEAD)
    for seed, rate in enumerate(rates):
        alone = problem(task, box, predict, [rate])
        (outcome,) = search(alone.judge, box.dimension, [seed], max_evaluations=400)
        assert outcome.cost == found[seed].cost
        assert outcome.evaluations == found[seed].evaluations
