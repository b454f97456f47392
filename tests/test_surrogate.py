"""Surrogates: the statistics, the choice, the intervals, and what is refused."""

from __future__ import annotations

import json
import pickle
from functools import cache
from math import ceil, inf, log, pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import ensemble, linear_model, tree
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from coinfer.accuracy import surrogate as surrogate_module
from coinfer.accuracy.box import search_box
from coinfer.accuracy.regressors import OUR_REGRESSORS, PAPER_REGRESSORS, REGRESSORS, fit
from coinfer.accuracy.scores import conformal_quantile, folds, interval_coverage, scores
from coinfer.accuracy.surrogate import (
    Comparison,
    Labels,
    Surrogate,
    fit_surrogate,
    held_out,
    table4,
)
from coinfer.accuracy.variables import Variable
from coinfer.errors import CoinferError, UnknownNameError
from methods.worlds import small_task

Floats = NDArray[np.float64]

VARIABLES = (
    Variable("sparsity", 0.0, 0.9, effect=-1),
    Variable("width", 1, 64, effect=1, log=True, absent=64),
    Variable("kernel", 1, 5),
)
NOISE = 0.01

# Fast regressors, for what does not depend on the regressor.
FEW = Comparison(repeats=2, candidates=("DecisionTreeRegressor", "LinearRegression"))


def truth(x: Floats) -> Floats:
    """Accuracies that fall with the sparsity and rise with the width; the kernel does nothing."""
    return np.asarray(0.9 - 0.4 * x[:, 0] ** 3 - 0.3 * np.exp(-np.log(x[:, 1])))


def drawn(n: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Features within the ranges of VARIABLES, and noisy accuracies."""
    rng = np.random.default_rng(seed)
    width = np.floor(64 ** rng.random(n))
    x = np.column_stack([0.9 * rng.random(n), width, rng.choice([1, 3, 5], n)])
    return x, np.clip(truth(x) + rng.normal(0, NOISE, n), 0, 1)


@cache
def labels(n: int = 80, seed: int = 0) -> Labels:
    x, y = drawn(n, seed)
    return Labels(VARIABLES, x, y, np.full(n, NOISE))


@cache
def fitted() -> Surrogate:
    return fit_surrogate(labels(120), Comparison(repeats=2))


# Statistics.


def test_scores_worked_out_by_hand() -> None:
    # Errors 1, -1, 0, 2, 0: RSS 6. Labels 1..5: mean 3, TSS 10. n 5, p 1, k 2.
    found = scores([1, 2, 3, 4, 5], [2, 1, 3, 6, 5], features=1)
    assert found.mse == 6 / 5
    assert found.r2 == pytest.approx(1 - 6 / 10)
    assert found.adjusted_r2 == pytest.approx(1 - 0.6 * 4 / 3)
    assert found.aic == pytest.approx(5 * log(1.2) + 4)
    assert found.bic == pytest.approx(5 * log(1.2) + 2 * log(5))


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(25, 60))
def test_scores_are_the_written_formulas(seed: int, p: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    y, guess = rng.random(n).tolist(), rng.random(n).tolist()
    rss = sum((a - b) ** 2 for a, b in zip(y, guess, strict=True))
    tss = sum((a - sum(y) / n) ** 2 for a in y)
    found = scores(y, guess, p)
    assert found.mse == pytest.approx(rss / n)
    assert found.r2 == pytest.approx(1 - rss / tss)
    assert found.adjusted_r2 == pytest.approx(1 - (rss / (n - p - 1)) / (tss / (n - 1)))
    # AIC and BIC of a normal likelihood whose variance is RSS / n, constants left out.
    likelihood = -n / 2 * (log(2 * pi * rss / n) + 1)
    constant = n * (log(2 * pi) + 1)
    assert found.aic == pytest.approx(-2 * likelihood - constant + 2 * (p + 1))
    assert found.bic == pytest.approx(-2 * likelihood - constant + (p + 1) * log(n))


def test_the_papers_penalty_is_that_of_seventeen_parameters() -> None:
    rng = np.random.default_rng(0)
    found = scores(rng.random(300), rng.random(300), features=16)
    assert 60 < found.bic - found.aic < 70  # Table IV's differences are 60 to 70


def test_scores_where_a_statistic_is_not_defined() -> None:
    assert scores([1, 2, 3], [1, 2, 3], 1).aic == -inf
    assert scores([1, 1], [1, 2], 0).r2 is None
    assert scores([1, 2, 3], [1, 2, 2], 2).adjusted_r2 is None
    for y, guess in (([], []), ([1, 2], [1]), ([[1]], [[1]])):
        with pytest.raises(CoinferError, match="labels have shape"):
            scores(y, guess, 1)


def test_folds_hold_every_plan_out_once_and_keep_equal_plans_together() -> None:
    rng = np.random.default_rng(1)
    rows = rng.random((23, 2))[rng.integers(0, 23, 60)]
    distinct = len(np.unique(rows, axis=0))
    held = folds(rows, 4, 3, seed=5)
    assert held.shape == (3, 60)
    for repeat in held:
        sizes = []
        for fold in range(4):
            sizes.append(len(np.unique(rows[repeat == fold], axis=0)))
        assert sum(sizes) == distinct  # no plan is in two folds
        assert max(sizes) - min(sizes) <= 1
    assert (folds(rows, 4, 3, seed=5) == held).all()
    assert (folds(rows, 4, 3, seed=6) != held).any()
    assert (held[0] != held[1]).any()
    with pytest.raises(CoinferError, match="3 distinct plans cannot be held out in 4 folds"):
        folds(np.array([[1], [2], [3], [3], [3]]), 4, 1, 0)


def test_conformal_quantile_by_hand() -> None:
    errors = [0.1, -0.5, 0.3, 0.2, -0.4, 0.6, 0.9, -0.8, 0.7]  # 9 errors
    assert conformal_quantile(errors, 0.9) == 0.9  # the ceil(10 * 0.9) = 9th
    assert conformal_quantile(errors, 0.8) == 0.8
    assert conformal_quantile(errors, 0.05) == 0.1  # never less than the 1st
    assert conformal_quantile(errors[:8], 0.9) == inf  # needs the 9th of 8
    # Repeats count once: the level of n rows, over all their errors.
    assert conformal_quantile([errors, errors], 0.8) == 0.8


def test_coverage_by_hand() -> None:
    residuals = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    held = np.array([[0, 0, 1, 1, 2, 2]])
    # Others' 3rd of 4 errors (ceil(5 * 0.6)): 5 for fold 0, 5 for fold 1, 3 for fold 2.
    assert interval_coverage(residuals, held, 0.6) == 4 / 6


# Regressors.


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_plan_is_predicted_alike_alone_and_in_any_batch(name: str) -> None:
    data = labels()
    predict = fit(name, VARIABLES, data.x, data.y, data.std_error)
    x, _ = drawn(500, seed=9)
    together = predict(x)
    assert together.shape == (500,)
    assert together[100:].tolist() == predict(x[100:]).tolist()
    assert together[:40].tolist() == [predict(row[None])[0] for row in x[:40]]
    assert fit(name, VARIABLES, data.x, data.y, data.std_error)(x).tolist() == together.tolist()


@pytest.mark.parametrize("name", PAPER_REGRESSORS)
def test_paper_regressors_are_those_of_scikit_learn(name: str) -> None:
    data = labels()
    x, _ = drawn(500, seed=9)
    found = fit(name, VARIABLES, data.x, data.y, seed=4)(x)
    if name == "LinearRegression":
        expected = linear_model.LinearRegression().fit(data.x, data.y).predict(x)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        return
    (home,) = (module for module in (ensemble, tree) if hasattr(module, name))
    expected = getattr(home, name)(random_state=4).fit(data.x, data.y).predict(x)
    assert found.tolist() == expected.tolist()  # the forest's faster way included


@pytest.mark.parametrize("n", [30, 80])
def test_our_ways_of_predicting_are_those_of_scikit_learn(n: int) -> None:
    """Boosting to the bit, of few labels too, whose trees are not full; the process nearly."""
    data = labels(n)
    x, _ = drawn(500, seed=9)
    boosted = ensemble.HistGradientBoostingRegressor(
        monotonic_cst=[variable.effect for variable in VARIABLES],
        max_depth=3,
        min_samples_leaf=5,
        early_stopping=False,
        random_state=4,
    ).fit(data.x, data.y)
    found = fit("HistGradientBoostingRegressor", VARIABLES, data.x, data.y, seed=4)(x)
    assert found.tolist() == boosted.predict(x).tolist()

    def scaled(rows: Floats) -> Floats:
        return np.column_stack([rows[:, 0], np.log1p(rows[:, 1]), rows[:, 2]])

    center, spread = scaled(data.x).mean(axis=0), scaled(data.x).std(axis=0)
    kernel = ConstantKernel() * Matern(length_scale=3.0, nu=2.5) + WhiteKernel(0.1)
    noise = 1e-10 + (NOISE / data.y.std()) ** 2
    process = GaussianProcessRegressor(kernel, alpha=noise, random_state=4)
    process.fit((scaled(data.x) - center) / spread, (data.y - data.y.mean()) / data.y.std())
    expected = data.y.mean() + data.y.std() * process.predict((scaled(x) - center) / spread)
    made = fit("GaussianProcessRegressor", VARIABLES, data.x, data.y, data.std_error, 4)
    np.testing.assert_allclose(made(x), expected, rtol=1e-9)


def test_boosting_with_constraints_never_predicts_more_for_less() -> None:
    # Labels that contradict the constraint: accuracy rises with the sparsity.
    x, y = drawn(200)
    predict = fit("HistGradientBoostingRegressor", VARIABLES, x, 1 - y)
    rows, _ = drawn(200, seed=3)
    for column, variable in enumerate(VARIABLES[:2]):
        steps = np.linspace(variable.low, variable.high, 20)
        moved = np.repeat(rows, 20, axis=0)
        moved[:, column] = np.tile(steps, len(rows))
        change = np.diff(predict(moved).reshape(-1, 20), axis=1) * variable.effect
        assert (change >= 0).all()
    free = fit("GradientBoostingRegressor", VARIABLES, x, 1 - y)
    assert np.ptp(free(rows)) > 0.1  # there was something to be learnt


def test_gaussian_process_knows_the_noise_of_its_labels() -> None:
    x, y = drawn(60)
    rows, _ = drawn(300, seed=2)
    wrong = y.copy()
    wrong[:5] = 0.0
    sure = fit("GaussianProcessRegressor", VARIABLES, x, wrong, np.full(60, 0.01))
    error = np.where(np.arange(60) < 5, 1.0, 0.01)  # five labels say nothing
    told = fit("GaussianProcessRegressor", VARIABLES, x, wrong, error)
    assert np.abs(told(rows) - truth(rows)).mean() < np.abs(sure(rows) - truth(rows)).mean() / 2


# The surrogate.


def test_it_is_the_best_on_held_out_data_and_beats_the_mean() -> None:
    found = fitted()
    assert [quality.regressor for quality in found.quality] == list(REGRESSORS)
    assert found.chosen.mse == min(quality.mse for quality in found.quality)
    x, _ = drawn(2000, seed=11)
    error = found.predict(x).accuracy - truth(x)
    spread = truth(x) - found.labels.y.mean()
    assert (error**2).mean() < (spread**2).mean() / 5
    # What was said of new data holds for them: the held-out error is error and noise.
    assert (error**2).mean() + NOISE**2 == pytest.approx(found.chosen.mse, rel=0.5)
    assert found.labels.noise_mse == pytest.approx(NOISE**2)


def test_held_out_predictions_are_fitted_without_their_fold() -> None:
    data = labels(40)
    held = folds(data.x, 4, 2, seed=1)
    found = held_out("DecisionTreeRegressor", data, held, seed=2)
    for repeat in range(2):
        for fold in range(4):
            out = held[repeat] == fold
            model = tree.DecisionTreeRegressor(random_state=2).fit(data.x[~out], data.y[~out])
            assert found[repeat][out].tolist() == model.predict(data.x[out]).tolist()


def test_quality_is_that_of_the_held_out_predictions() -> None:
    data = labels(40)
    held = folds(data.x, 5, 2, seed=0)
    made = fit_surrogate(data, FEW)
    for quality in made.quality:
        error = held_out(quality.regressor, data, held, seed=0) - data.y
        first, second = (error**2).mean(axis=1)
        assert quality.mse == pytest.approx((first + second) / 2)
        assert quality.mse_spread == pytest.approx(abs(first - second))
        assert quality.coverage == interval_coverage(error, held, 0.9)
        if quality == made.chosen:
            assert made.half_width == conformal_quantile(error, 0.9)


def test_of_equal_regressors_the_first_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def equal(name: str, data: Labels, held: NDArray[np.int64], seed: int) -> Floats:
        better = 0.5 if name == "BaggingRegressor" else 1.0
        return np.tile(data.y + 0.01 * better, (len(held), 1))

    monkeypatch.setattr(surrogate_module, "held_out", equal)
    for candidates, expected in (
        (("LinearRegression", "DecisionTreeRegressor"), "LinearRegression"),
        (("DecisionTreeRegressor", "LinearRegression"), "DecisionTreeRegressor"),
        (("DecisionTreeRegressor", "BaggingRegressor"), "BaggingRegressor"),
    ):
        assert fit_surrogate(labels(), Comparison(candidates=candidates)).regressor == expected


@pytest.mark.parametrize("level", [0.5, 0.9])
@pytest.mark.parametrize("name", ["LinearRegression", "DecisionTreeRegressor"])
def test_intervals_hold_the_share_they_say(name: str, level: float) -> None:
    inside, said = [], []
    for seed in range(20):
        made = fit_surrogate(labels(60, seed), Comparison(level=level, candidates=(name,)))
        x, y = drawn(400, seed=1000 + seed)
        found = made.predict(x)
        inside.append(((found.low <= y) & (y <= found.high)).mean())
        said.append(made.chosen.coverage)
    # Four standard errors of a share of 20 x 60 labels; above, also what a fit to all labels gains
    # over one without a fold.
    margin = 4 * np.sqrt(level * (1 - level) / 1200)
    assert level - margin < np.mean(inside) < level + 2 * margin
    assert abs(np.mean(said) - level) < margin


def test_predictions_are_accuracies_and_intervals_hold_them() -> None:
    x, _ = drawn(300)
    y = np.where(x[:, 0] > 0.5, 0.0, 1.0)
    made = fit_surrogate(
        Labels(VARIABLES, x, y), Comparison(candidates=("LinearRegression",), repeats=1)
    )
    found = made.predict(x)
    assert found.accuracy.min() == 0
    assert found.accuracy.max() == 1
    assert (found.low >= 0).all()
    assert (found.high <= 1).all()
    middle = (found.low > 0) & (found.high < 1)
    width = (found.high - found.low)[middle]
    np.testing.assert_allclose(width, 2 * made.half_width)
    assert ((found.low <= found.accuracy) & (found.accuracy <= found.high)).all()


def test_plans_outside_of_what_was_measured_are_flagged() -> None:
    found = fitted()
    low, high = found.labels.x.min(axis=0), found.labels.x.max(axis=0)
    middle = (low + high) / 2
    rows = np.tile(middle, (7, 1))
    for column in range(3):
        rows[2 * column, column] = np.nextafter(low[column], -inf)
        rows[2 * column + 1, column] = np.nextafter(high[column], inf)
    prediction = found.predict(np.vstack([rows, low, high]))
    assert prediction.outside.tolist() == [*[True] * 6, *[False] * 3]
    assert found.why_outside(middle) == ""
    beyond = [0.95, 65.0, 3.0]
    assert found.why_outside(beyond) == (
        f"sparsity is 0.95, measured were {low[0]:g} to {high[0]:g}; width is 65, measured were "
        f"{low[1]:g} to {high[1]:g}"
    )


def test_the_same_labels_make_the_same_surrogate() -> None:
    data = labels()
    first = fit_surrogate(data, FEW)
    order = np.random.default_rng(3).permutation(len(data))
    assert data.std_error is not None
    error = data.std_error[order]
    second = fit_surrogate(Labels(VARIABLES, data.x[order], data.y[order], error), FEW)
    third = Surrogate.from_json(first.to_json())
    fourth = pickle.loads(pickle.dumps(first))
    x, _ = drawn(200, seed=5)
    for other in (second, third, fourth):
        assert other.key == first.key
        assert other.regressor == first.regressor
        for field in ("accuracy", "low", "high", "outside"):
            found, expected = (getattr(s.predict(x), field) for s in (other, first))
            assert found.tolist() == expected.tolist()
    assert "sklearn" not in repr(first.__getstate__())  # nothing fitted is pickled


def test_the_key_holds_all_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    data = labels()
    y = data.y.copy()
    y[0] += 1e-12
    named = (Variable("other", 0.0, 0.9, effect=-1), *VARIABLES[1:])
    made = [
        fit_surrogate(data, FEW),
        fit_surrogate(Labels(VARIABLES, data.x, y, data.std_error), FEW),
        fit_surrogate(Labels(VARIABLES, data.x, data.y), FEW),
        fit_surrogate(Labels(named, data.x, data.y, data.std_error), FEW),
        *(
            fit_surrogate(data, Comparison(**{"repeats": 2, "candidates": FEW.candidates} | other))
            for other in ({"seed": 1}, {"level": 0.8}, {"folds": 4}, {"repeats": 1})
        ),
    ]
    keys = {one.key for one in made}
    assert len(keys) == len(made)
    text = made[0].to_json()
    installed = surrogate_module.installed_version
    monkeypatch.setattr(
        surrogate_module,
        "installed_version",
        lambda package: "0.1" if package == "scikit-learn" else installed(package),
    )
    assert fit_surrogate(data, FEW).key not in keys
    with pytest.raises(CoinferError, match="fitted with .*; installed: scikit-learn 0.1"):
        Surrogate.from_json(text)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": 99}, "schema is 99"),
        ({"labels": {}}, "not a surrogate"),
        ({"quality": [{"regressor": 3}]}, "not a valid"),
        ({"versions": {"scikit-learn": "0.1"}}, "fitted with scikit-learn 0.1; installed"),
    ],
)
def test_damaged_json_is_refused(change: dict[str, object], why: str) -> None:
    data = json.loads(fit_surrogate(labels(), FEW).to_json())
    with pytest.raises(CoinferError, match=why):
        Surrogate.from_json(json.dumps(data | change))
    for text in ("", "[]", "{", "null"):
        with pytest.raises(CoinferError, match="not a surrogate"):
            Surrogate.from_json(text)


def test_labels_of_plans_are_features_and_accuracies() -> None:
    box = search_box(small_task(groups=True), "prune-partition")
    decisions = box.decide(np.random.default_rng(0).random((30, box.dimension)))
    accuracies = np.linspace(0.1, 0.9, 30)
    found = Labels.of(box, box.plans(decisions), accuracies, np.full(30, 0.01))
    pairs = {(tuple(row), y) for row, y in zip(found.x.tolist(), found.y.tolist(), strict=True)}
    expected = zip(box.features(decisions).tolist(), accuracies.tolist(), strict=True)
    assert pairs == {(tuple(row), y) for row, y in expected}
    assert found.variables == box.variables
    other = search_box(small_task(groups=True), "qho")
    with pytest.raises(CoinferError, match="none of the 'prune-partition' plans"):
        Labels.of(box, other.plans(other.decide(np.full((1, 11), 0.3))), [0.5])


# What is refused.


def wrong_labels() -> list[tuple[dict[str, object], str]]:
    x, y = drawn(30)
    gap, high, low = x.copy(), y.copy(), y.copy()
    gap[3, 1], high[4], low[5] = np.nan, 87.4, -0.1
    lost = y.copy()
    lost[6] = np.nan
    return [
        ({"x": gap}, "width of row 3 is nan"),
        ({"x": x[:, :2]}, r"accepted: \(n, 3\) and \(n,\)"),
        ({"x": x[:5]}, "features have shape"),
        ({"y": high}, "accuracy of row 4 is 87.4; accepted is 0 to 1"),
        ({"y": low}, "accuracy of row 5 is -0.1"),
        ({"y": lost}, "accuracy of row 6 is nan"),
        ({"std_error": np.full(30, -1.0)}, "a standard error is negative"),
        ({"std_error": np.full(30, np.nan)}, "a standard error is negative or no number"),
        ({"std_error": np.zeros(3)}, "standard errors have shape"),
    ]


@pytest.mark.parametrize(("change", "why"), wrong_labels())
def test_labels_that_cannot_be_are_refused(change: dict[str, Floats], why: str) -> None:
    x, y = drawn(30)
    with pytest.raises(CoinferError, match=why) as error:
        Labels(VARIABLES, **({"x": x, "y": y} | change))
    assert "\n" not in str(error.value)


def test_too_few_or_equal_labels_are_refused() -> None:
    x, y = drawn(30)
    for n in (0, 1, 9):
        with pytest.raises(CoinferError, match=f"{n} measured plans are too few .* 10 or more"):
            fit_surrogate(Labels(VARIABLES, x[:n], y[:n]), FEW)
    with pytest.raises(CoinferError, match="all 30 measured plans have accuracy 0.5"):
        fit_surrogate(Labels(VARIABLES, x, np.full(30, 0.5)), FEW)
    with pytest.raises(CoinferError, match="1 distinct plans"):
        fit_surrogate(Labels(VARIABLES, np.tile(x[0], (30, 1)), y), FEW)


def test_settings_that_cannot_be_are_refused() -> None:
    for options, why in (
        ({"folds": 1}, "folds is 1"),
        ({"repeats": 0}, "repeats is 0"),
        ({"level": 1.0}, "level is 1.0"),
        ({"candidates": ()}, "candidates are none"),
    ):
        with pytest.raises(CoinferError, match=why):
            Comparison(**options)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown regressor 'Lasso'"):
        fit_surrogate(labels(), Comparison(candidates=("Lasso",)))


@pytest.mark.parametrize("x", [np.zeros(3), np.zeros((2, 4)), np.full((1, 3), np.nan)])
def test_features_that_cannot_be_are_refused(x: Floats) -> None:
    with pytest.raises(CoinferError, match="features"):
        fitted().predict(x)


def test_no_plans_are_no_predictions() -> None:
    found = fitted().predict(np.zeros((0, 3)))
    assert found.accuracy.shape == found.low.shape == found.outside.shape == (0,)


# Table IV.


def test_table_four_is_computed_from_the_labels() -> None:
    data = labels(60)
    comparison = Comparison(repeats=2, seed=3)
    names = ("DecisionTreeRegressor", "LinearRegression")
    rows = table4(data, comparison, names)
    assert [(row["regressor"], row["protocol"]) for row in rows] == [
        (name, kind) for name in names for kind in ("cross-validated", "split", "in-sample")
    ]
    held = folds(data.x, 5, 2, seed=3)
    linear = {row["protocol"]: row for row in rows if row["regressor"] == "LinearRegression"}

    def predicted(out: NDArray[np.bool_]) -> Floats:
        model = linear_model.LinearRegression().fit(data.x[~out], data.y[~out])
        return np.asarray(model.predict(data.x[out]))

    errors = np.zeros((2, 60))
    for repeat in range(2):
        for fold in range(5):
            out = held[repeat] == fold
            errors[repeat][out] = predicted(out) - data.y[out]
    rss = (errors**2).sum(axis=1)
    tss = ((data.y - data.y.mean()) ** 2).sum()
    found = linear["cross-validated"]
    assert (found["n"], found["p"]) == (60, 3)
    assert found["mse"] == pytest.approx((rss / 60).mean())
    assert found["adjusted_r2"] == pytest.approx((1 - rss / tss * 59 / 56).mean())
    assert found["aic"] == pytest.approx((60 * np.log(rss / 60) + 8).mean())
    assert found["bic"] == pytest.approx((60 * np.log(rss / 60) + 4 * log(60)).mean())
    out = held[0] == 0
    assert linear["split"]["n"] == out.sum() == ceil(60 / 5)
    assert linear["split"]["mse"] == pytest.approx(((predicted(out) - data.y[out]) ** 2).mean())
    # A tree learns all its labels by heart, which is no merit.
    by_heart = next(row for row in rows if row["protocol"] == "in-sample")
    assert by_heart["mse"] == 0
    assert by_heart["aic"] == -inf


def test_table_four_has_the_papers_regressors_and_can_have_ours() -> None:
    data, comparison = labels(30), Comparison(folds=2, repeats=1)
    assert [row["regressor"] for row in table4(data, comparison)[::3]] == list(PAPER_REGRESSORS)
    ours = table4(data, comparison, OUR_REGRESSORS)
    assert [row["regressor"] for row in ours[::3]] == list(OUR_REGRESSORS)
    json.dumps(ours)
    with pytest.raises(CoinferError, match="too few"):
        table4(Labels(VARIABLES, data.x[:5], data.y[:5]))
