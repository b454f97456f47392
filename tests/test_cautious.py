"""The process that knows how sure it is: its formulas, its bounds, and what is refused."""

from __future__ import annotations

import pickle
from functools import cache
from math import inf, log

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from coinfer.accuracy import cautious
from coinfer.accuracy.cautious import LossProcess, Shape, fit_loss_process, kept_loss_process
from coinfer.accuracy.surrogate import Labels
from coinfer.accuracy.variables import Variable
from coinfer.errors import CoinferError

Floats = NDArray[np.float64]

VARIABLES = (
    Variable("sparsity", 0.0, 0.9, effect=-1),
    Variable("width", 1, 64, effect=1, log=True, absent=64),
    Variable("kernel", 1, 5),
)
BASELINE, FLOOR, NOISE = 0.9, 0.88, 0.004


def drawn(n: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Features, and accuracies that fall with sparsity and narrowness; the kernel does nothing."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([0.9 * rng.random(n), 64 ** rng.random(n), rng.choice([1, 3, 5], n)])
    loss = 0.3 * x[:, 0] ** 4 + 0.1 * np.exp(-np.log(x[:, 1]))
    return x, BASELINE - loss + rng.normal(0, NOISE, n)


@cache
def labels(n: int = 80, seed: int = 0) -> Labels:
    x, y = drawn(n, seed)
    return Labels(VARIABLES, x, y, np.full(n, NOISE))


@cache
def fitted(n: int = 80, seed: int = 0) -> LossProcess:
    return fit_loss_process(labels(n, seed), BASELINE, FLOOR)


def scores(accuracy: Floats) -> Floats:
    """-ln(c - y), c as far above the baseline as the floor is below."""
    return -np.log(np.maximum(2 * BASELINE - FLOOR - accuracy, (BASELINE - FLOOR) / 4))


def reference() -> tuple[GaussianProcessRegressor, float]:
    """scikit-learn's process of the same shape over the same labels, and their mean."""
    made, data = fitted(), labels()
    room = np.exp(-scores(data.y))
    kernel = ConstantKernel(made.shape.amplitude) * Matern(made.shape.lengths, nu=2.5)
    noise = (NOISE / room) ** 2 + made.shape.noise + 1e-10
    process = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None)
    mean = float(scores(data.y).mean())
    return process.fit(standardised(data.x), scores(data.y) - mean), mean


def standardised(x: Floats) -> Floats:
    def logs(rows: Floats) -> Floats:
        return np.column_stack([rows[:, 0], np.log1p(rows[:, 1]), rows[:, 2]])

    known = logs(labels().x)
    return np.asarray((logs(x) - known.mean(axis=0)) / known.std(axis=0))


def test_medians_and_bounds_are_those_of_a_process_of_the_loss() -> None:
    x, _ = drawn(200, seed=5)
    process, mean = reference()
    middle, deviation = process.predict(standardised(x), return_std=True)
    deviation = np.sqrt(deviation**2 + fitted().shape.noise)
    ceiling = 2 * BASELINE - FLOOR
    np.testing.assert_allclose(fitted().accuracies(x), ceiling - np.exp(-middle - mean), rtol=1e-7)
    for confidence in (0.6, 0.9):
        below = middle + mean - fitted().deviations(confidence) * deviation
        np.testing.assert_allclose(
            fitted().lower(x, confidence), np.clip(ceiling - np.exp(-below), 0, 1), rtol=1e-6
        )


def test_the_shape_is_the_most_likely_and_its_gradient_is_right() -> None:
    data = labels()
    values = scores(data.y) - scores(data.y).mean()
    noise = (NOISE / np.exp(-scores(data.y))) ** 2
    places = standardised(data.x)
    objective = cautious._likelihood(places, values, noise)
    shape = fitted().shape
    best = np.log([shape.amplitude, shape.noise, *shape.lengths])
    rng = np.random.default_rng(3)
    for logs in (best, best + rng.normal(0, 0.5, len(best))):
        value, gradient = objective(logs)
        slow = approx_fprime(logs, lambda at: objective(at)[0], 1e-6)
        np.testing.assert_allclose(gradient, slow, rtol=1e-3, atol=1e-2)
        assert objective(best)[0] <= value
        # Likelihood as scikit-learn has it, less the prior of the lengths.
        kernel = ConstantKernel(np.exp(logs[0])) * Matern(np.exp(logs[2:]), nu=2.5)
        process = GaussianProcessRegressor(
            kernel, alpha=noise + np.exp(logs[1]) + 1e-10, optimizer=None
        ).fit(places, values)
        prior = 0.5 * ((logs[2:] - log(3.0)) ** 2).sum()
        likelihood = process.log_marginal_likelihood() + len(values) / 2 * log(2 * np.pi)
        assert value == pytest.approx(prior - likelihood, rel=1e-6)


def test_labels_left_out_are_predicted_from_all_others() -> None:
    made = fitted()
    errors, medians = made.left_out
    for row in (0, 17, 79):
        others = np.arange(len(labels())) != row
        # The same scale of features, which a process takes from its labels.
        alone = LossProcess(labels(), BASELINE, FLOOR, made.shape)
        known = made._known
        covariance = np.linalg.inv(known.inverse)
        weights = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, row])
        guess = weights @ known.values[others]
        left = covariance[row, row] - weights @ covariance[others, row]
        assert errors[row] == pytest.approx((guess - known.values[row]) / np.sqrt(left), rel=1e-5)
        score = scores(labels().y[row : row + 1])[0] + guess - known.values[row]
        assert medians[row] == pytest.approx(alone._accuracy(np.array([score]))[0], rel=1e-6)


def test_a_bound_is_as_many_deviations_down_as_the_labels_need_or_a_normal_has() -> None:
    made = fitted()
    ordered = np.sort(made.left_out[0])
    for confidence, rank in ((0.5, 41), (0.9, 73), (0.95, 77)):  # ceil(81 * confidence)
        expected = max(0.0, norm.ppf(confidence), ordered[rank - 1])
        assert made.deviations(confidence) == pytest.approx(expected, rel=1e-12)
    assert made.deviations(0.999) == inf  # 80 labels cannot tell
    assert made.lower(labels().x, 0.999).max() == 0
    for wrong in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(CoinferError, match="confidence is"):
            made.deviations(wrong)


def test_bounds_lie_below_medians_and_fall_with_confidence_and_distance() -> None:
    made = fitted()
    x, _ = drawn(300, seed=8)
    medians, sure, surer = made.accuracies(x), made.lower(x, 0.8), made.lower(x, 0.95)
    assert (surer < sure).all()
    assert (sure < medians).all()
    assert surer.min() >= 0
    assert medians.max() <= 1
    # Far from all labels it is less sure than it was with labels there.
    near = LossProcess(labels().rows(labels().x[:, 0] < 0.4), BASELINE, FLOOR, made.shape)
    far = np.array([[0.85, 30.0, 3.0]])
    _, known = made._scores(far, deviations=True)
    _, unknown = near._scores(far, deviations=True)
    assert unknown > 3 * known


def test_new_plans_lie_above_their_bounds_as_often_as_said() -> None:
    above, passed = [], []
    for seed in range(8):
        made = fit_loss_process(labels(60, seed), BASELINE, FLOOR)
        x, _ = drawn(400, seed=500 + seed)
        truth = BASELINE - 0.3 * x[:, 0] ** 4 - 0.1 / x[:, 1]
        above.append((made.lower(x, 0.9) <= truth).mean())
        passed.append((truth > FLOOR)[made.lower(x, 0.9) > FLOOR].mean())
    assert np.mean(above) > 0.85
    assert np.mean(passed) > 0.95


def test_a_plan_is_predicted_alike_alone_and_in_any_batch() -> None:
    x, _ = drawn(300, seed=9)
    made = fitted()
    for predict in (made.accuracies, lambda rows: made.lower(rows, 0.9)):
        together = predict(x)
        assert together[100:].tolist() == predict(x[100:]).tolist()
        assert together[:40].tolist() == [predict(row[None])[0] for row in x[:40]]
        assert predict(x[:0]).shape == (0,)


def test_the_same_labels_make_the_same_process(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path))
    x, _ = drawn(50, seed=9)
    made = [kept_loss_process(labels(40), BASELINE, FLOOR) for _ in range(2)]
    fresh = fit_loss_process(labels(40), BASELINE, FLOOR)
    again = pickle.loads(pickle.dumps(fresh))
    assert {one.shape for one in (*made, again)} == {fresh.shape}
    assert again.lower(x, 0.9).tolist() == made[1].lower(x, 0.9).tolist()
    monkeypatch.setattr(cautious, "fit_loss_process", None)  # taken from the cache
    assert kept_loss_process(labels(40), BASELINE, FLOOR).shape == fresh.shape
    with pytest.raises(TypeError):
        kept_loss_process(labels(40), BASELINE, FLOOR - 0.01)


def test_odd_labels_are_fitted_or_refused() -> None:
    x, y = drawn(30)
    without = fit_loss_process(Labels(VARIABLES, x, y), BASELINE, FLOOR)
    assert np.isfinite(without.lower(x, 0.9)).all()
    # No loss allowed, a label above the ceiling, one feature constant.
    x[:, 2], y[0] = 3.0, 0.99
    odd = fit_loss_process(Labels(VARIABLES, x, y, np.full(30, NOISE)), BASELINE, BASELINE)
    assert np.isfinite(odd.lower(x, 0.9)).all()
    for count in (0, 5):
        with pytest.raises(CoinferError, match=f"{count} measured plans do not tell"):
            fit_loss_process(Labels(VARIABLES, x[:count], np.full(count, 0.5)), BASELINE, FLOOR)


def test_a_shape_is_plain_data() -> None:
    shape = Shape(1.0, 0.1, (1.0, 2.0))
    assert cautious.shape_of({"amplitude": 1.0, "noise": 0.1, "lengths": [1.0, 2.0]}) == shape
