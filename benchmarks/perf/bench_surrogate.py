"""How fast accuracies are predicted: what a search asks for thousands of times.

One prediction takes a point of the unit cube, maps it to a pruned, cut and encoded AlexNet and its
features, and asks a regressor that was fitted to 300 plans. All on one thread, in seconds of that
thread's own work, so that others on the machine do not count. Beside the batch stand a loop over
plans, and scikit-learn's own forest, which ours equals bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from benchmarks.perf.made_up import made_up_labels
from benchmarks.perf.timing import best_s
from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.regressors import REGRESSORS, Predict, fit
from coinfer.accuracy.surrogate import Comparison, Labels, fit_surrogate
from coinfer.tasks import make_task

BATCH = 10_000
LABELS = 300
LOOPED = 200
TARGET_S = 0.05

Floats = NDArray[np.float64]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def box() -> Box:
    """Return the QHO paper's box of AlexNet: 16 variables."""
    return search_box(make_task("alexnet", groups=True), "qho")


@pytest.fixture(scope="module")
def points(box: Box) -> Floats:
    """Return random points of its unit cube."""
    return np.random.default_rng(2024).random((BATCH, box.dimension))


@pytest.fixture(scope="module")
def labels(box: Box) -> Labels:
    """Return plans with accuracies that fall with all that is pruned or narrowed, and noise."""
    return made_up_labels(box, LABELS)


@pytest.mark.parametrize("name", REGRESSORS)
def test_plans_per_second(
    benchmark: Any,
    name: str,
    box: Box,
    points: Floats,
    labels: Labels,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """10,000 plans in at most 50 ms, whichever regressor is chosen; the ratio to a loop."""
    predict = fit(name, labels.variables, labels.x, labels.y, labels.std_error)
    features = box.features(box.decide(points))
    few = features[:LOOPED]

    def loop() -> list[float]:
        return [float(predict(row[None])[0]) for row in few]

    together = benchmark(predict, features)
    assert loop() == together[:LOOPED].tolist()
    (batch_s,) = best_s(15, lambda: predict(features))
    (loop_s,) = best_s(2, loop)
    ratio = (loop_s / LOOPED) / (batch_s / BATCH)
    benchmark.extra_info |= {"batch_ms": 1e3 * batch_s, "times_the_loop": ratio}
    with capsys.disabled():
        print(f"\n{name:<30} {BATCH:,} plans {1e3 * batch_s:6.1f} ms, {ratio:6.0f}x a loop", end="")
    assert batch_s <= TARGET_S


def test_forest_in_order(
    benchmark: Any, box: Box, points: Floats, labels: Labels, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our way through a forest gives scikit-learn's bits in less time."""
    features = box.features(box.decide(points))
    ours: Predict = fit("RandomForestRegressor", labels.variables, labels.x, labels.y)
    theirs = RandomForestRegressor(random_state=0).fit(labels.x, labels.y)
    assert benchmark(ours, features).tolist() == theirs.predict(features).tolist()
    ours_s, theirs_s = best_s(15, lambda: ours(features), lambda: theirs.predict(features))
    benchmark.extra_info["share_of_theirs"] = ours_s / theirs_s
    with capsys.disabled():
        print(
            f"\nForest: {1e3 * ours_s:.1f} ms, scikit-learn's own {1e3 * theirs_s:.1f} ms", end=""
        )
    assert ours_s < theirs_s


def test_from_points_to_features(
    benchmark: Any, box: Box, points: Floats, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mapping 10,000 points to plans' features takes less than predicting them may."""
    benchmark(lambda: box.features(box.decide(points)))
    (seconds,) = best_s(15, lambda: box.features(box.decide(points)))
    benchmark.extra_info["batch_ms"] = 1e3 * seconds
    with capsys.disabled():
        print(f"\nPoints to features: {1e3 * seconds:.1f} ms for {BATCH:,} plans", end="")
    assert seconds <= TARGET_S


def test_fitting_takes_seconds(
    benchmark: Any, labels: Labels, capsys: pytest.CaptureFixture[str]
) -> None:
    """Choosing among all regressors and fitting the chosen one to 300 labels."""
    made = benchmark.pedantic(fit_surrogate, (labels, Comparison()), rounds=1)
    (seconds,) = best_s(1, lambda: fit_surrogate(labels, Comparison()).predict(labels.x))
    benchmark.extra_info["seconds"] = seconds
    with capsys.disabled():
        print(f"\nChoosing and fitting: {seconds:.1f} s; chosen: {made.regressor}")
    assert seconds < 60
