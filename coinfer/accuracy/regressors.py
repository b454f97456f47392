"""The regressors that may predict accuracy: those of Mu et al. 2024, Table IV, and two of ours.

All is computed on one thread, so that the number of cores changes no bit, and a row is predicted
alike alone and in any batch. scikit-learn is imported when something is fitted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coinfer.accuracy.variables import Variable
from coinfer.errors import UnknownNameError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Floats = NDArray[np.float64]
Predict = Callable[[Floats], Floats]

# Table IV's, in its order, with scikit-learn's default settings as the paper seems to use them.
PAPER_REGRESSORS = (
    "GradientBoostingRegressor",
    "BaggingRegressor",
    "AdaBoostRegressor",
    "RandomForestRegressor",
    "DecisionTreeRegressor",
    "LinearRegression",
)
# Boosting that cannot predict more for a plan that keeps less, and a smooth one.
OUR_REGRESSORS = ("HistGradientBoostingRegressor", "GaussianProcessRegressor")
REGRESSORS = (*PAPER_REGRESSORS, *OUR_REGRESSORS)

# Rows are walked through a forest in an order that one bit of each of so many features gives.
_ORDER_FEATURES = 10
# Numbers that a Gaussian process holds at a time, and rows that trees are asked at once.
_CACHED = 16384
_ROWS = 128


def fit(
    name: str,
    variables: Sequence[Variable],
    x: Floats,
    y: Floats,
    std_error: Floats | None = None,
    seed: int = 0,
) -> Predict:
    """Fit a regressor and return its prediction, a function of (B, p) to (B,).

    Args:
        name: one of REGRESSORS.
        variables: of the p features.
        x: features, (n, p).
        y: accuracies, (n,).
        std_error: of the accuracies, (n,); only the Gaussian process uses them.
        seed: of all that is drawn at random.

    Raises:
        UnknownNameError: for another name.
    """
    if name not in REGRESSORS:
        raise UnknownNameError("regressor", name, REGRESSORS)
    with one_thread():
        match name:
            case "LinearRegression":
                return _linear(x, y)
            case "GradientBoostingRegressor":
                return _boosting(x, y, seed)
            case "RandomForestRegressor":
                return _forest(x, y, seed)
            case "HistGradientBoostingRegressor":
                return _monotone(variables, x, y, seed)
            case "GaussianProcessRegressor":
                return _gaussian_process(variables, x, y, std_error, seed)
            case _:
                return _default(name, x, y, seed)


def _default(name: str, x: Floats, y: Floats, seed: int) -> Predict:
    from sklearn import ensemble, tree

    regressor = getattr(ensemble, name, None) or getattr(tree, name)
    predict: Predict = regressor(random_state=seed).fit(x, y).predict
    return predict


def _linear(x: Floats, y: Floats) -> Predict:
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(x, y)
    return lambda rows: weighted(rows, model.coef_) + model.intercept_


def _boosting(x: Floats, y: Floats, seed: int) -> Predict:
    """Fit gradient boosting, and predict as it does, bit for bit, without its checks of each batch.

    They take eight times as long as the trees do when a search asks for five plans at a time.
    """
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(random_state=seed).fit(x, y)
    try:
        from sklearn.ensemble._gradient_boosting import predict_stages
    except ImportError:  # it is private; without it, it is only slower
        slowly: Predict = model.predict
        return slowly
    start = float(model.init_.constant_[0, 0])

    def predict(rows: Floats) -> Floats:
        narrowed = np.ascontiguousarray(rows, dtype=np.float32)
        predicted = np.full((len(rows), 1), start)
        predict_stages(model.estimators_, narrowed, model.learning_rate, predicted)
        return predicted[:, 0]

    return predict


def _forest(x: Floats, y: Floats, seed: int) -> Predict:
    """Fit a random forest, and predict as it does, bit for bit, in less time.

    Nearly all the time goes into branches that the processor predicts wrongly. Rows that lie side
    by side take the same branches, so they are sorted first; and scikit-learn's own bookkeeping
    per tree is left out.
    """
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(random_state=seed).fit(x, y)
    trees = [estimator.tree_ for estimator in model.estimators_]
    telling = np.argsort(-model.feature_importances_, kind="stable")[:_ORDER_FEATURES]
    middle = np.median(x[:, telling], axis=0)

    def predict(rows: Floats) -> Floats:
        bits = rows[:, telling] > middle
        order = np.argsort(bits @ (1 << np.arange(len(telling))[::-1]), kind="stable")
        ordered = np.ascontiguousarray(rows[order], dtype=np.float32)
        total = np.zeros(len(rows))
        for tree in trees:
            total += tree.predict(ordered)[:, 0]
        predicted = np.empty(len(rows))
        predicted[order] = total / len(trees)
        return predicted

    return predict


def _monotone(variables: Sequence[Variable], x: Floats, y: Floats, seed: int) -> Predict:
    """Fit gradient boosting that is monotone in every variable whose effect has a direction.

    Trees are of depth 3, as the default ones of the paper's choice, GradientBoostingRegressor. It
    predicts as scikit-learn does, bit for bit, in less time: for five plans in a thirtieth.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        monotonic_cst=[variable.effect for variable in variables],
        max_depth=3,
        min_samples_leaf=5,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(x, y)

    def slowly(rows: Floats) -> Floats:
        # Its threads wait for each other at every one of a hundred trees.
        with _pools().limit(limits=1, user_api="openmp"):
            predicted: Floats = model.predict(rows)
        return predicted

    try:
        trees = [stage[0].nodes for stage in model._predictors]
        return _all_questions(trees, float(model._baseline_prediction[0, 0]))
    except (AttributeError, IndexError, ValueError):  # they are private; then it is only slower
        return slowly


def _all_questions(trees: Sequence[NDArray[Any]], start: float) -> Predict:
    """Return the sum of trees of depth 3, each asking all of its up to seven questions at once.

    Following one branch after the other, a processor guesses most of them wrongly.

    Args:
        trees: nodes of each, as of scikit-learn's histogram boosting; the first is the root.
        start: what the trees are added to, in their order.
    """
    count = len(trees)
    feature = np.zeros((7, count), dtype=np.int64)
    threshold = np.full((7, count), np.inf)  # who asks nothing sends all to the left
    leaves = np.empty((count, 8))
    for number, nodes in enumerate(trees):
        places = [0]  # in the order of a heap: behind place p come 2 p + 1 and 2 p + 2
        for question in range(7):
            node = nodes[places[question]]
            if node["is_leaf"]:
                places += [places[question]] * 2
                continue
            feature[question, number] = node["feature_idx"]
            threshold[question, number] = node["num_threshold"]
            places += [int(node["left"]), int(node["right"])]
        if not nodes["is_leaf"][places[7:]].all():
            raise ValueError("a tree is deeper than 3")
        leaves[number] = nodes["value"][places[7:]]
    asked, limits, values = feature.ravel(), threshold.reshape(-1, 1), leaves.ravel()
    first = 8 * np.arange(count)[:, None]

    def predict(rows: Floats) -> Floats:
        predicted = np.empty(len(rows))
        for begin in range(0, len(rows), _ROWS):
            block = np.ascontiguousarray(rows[begin : begin + _ROWS].T)
            right = (block[asked] > limits).reshape(7, count, -1)
            root = right[0]
            second = (root & right[2]) | (~root & right[1])
            third = (root & ((second & right[6]) | (~second & right[5]))) | (
                ~root & ((second & right[4]) | (~second & right[3]))
            )
            leaf = 4 * root.view(np.uint8) + 2 * second.view(np.uint8) + third.view(np.uint8)
            added = values[first + leaf]
            added[0] += start
            predicted[begin : begin + _ROWS] = np.cumsum(added, axis=0, out=added)[-1]
        return predicted

    return predict


def _gaussian_process(
    variables: Sequence[Variable], x: Floats, y: Floats, std_error: Floats | None, seed: int
) -> Predict:
    """Fit a Gaussian process: Matern 5/2 with one length over standardised features.

    Features whose logarithm is uniform enter by their logarithm. Its noise is that of the labels,
    as their standard errors say, and a fitted rest.
    """
    from scipy.spatial.distance import cdist
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    scaled = logarithms(variables)
    center, spread = scaled(x).mean(axis=0), scaled(x).std(axis=0)
    spread[spread == 0] = 1.0
    mean, deviation = y.mean(), y.std() or 1.0
    noise: Any = 1e-10 if std_error is None else 1e-10 + (std_error / deviation) ** 2
    kernel = ConstantKernel() * Matern(length_scale=3.0, nu=2.5) + WhiteKernel(0.1)
    model = GaussianProcessRegressor(kernel, alpha=noise, random_state=seed)
    with warnings.catch_warnings():
        # That a length or a noise lies at the end of its range is an answer, too.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((scaled(x) - center) / spread, (y - mean) / deviation)

    covariance = model.kernel_.k1  # without the noise, which only equal rows share
    # Matern 5/2 is c (1 + t + t^2 / 3) exp(-t) with t = sqrt(5) |a - b| / length.
    stretch = np.sqrt(5.0) / covariance.k2.length_scale
    known, scale = stretch * model.X_train_, stretch / spread
    weights = deviation * covariance.k1.constant_value * model.alpha_
    # As many rows at a time as stay in the processor's cache.
    block = max(1, _CACHED // len(known))

    def predict(rows: Floats) -> Floats:
        places = (scaled(rows) - center) * scale
        predicted = np.empty(len(rows))
        for start in range(0, len(rows), block):
            t = cdist(places[start : start + block], known)
            shared = t * (1 / 3)
            shared += 1.0
            shared *= t
            shared += 1.0
            shared *= np.exp(np.negative(t, out=t), out=t)
            predicted[start : start + block] = weighted(shared, weights)
        predicted += mean
        return predicted

    return predict


def logarithms(variables: Sequence[Variable]) -> Callable[[Floats], Floats]:
    """Return what puts log1p in the place of features (B, p) whose logarithm is uniform."""
    logarithmic = np.flatnonzero([variable.log for variable in variables])

    def scaled(rows: Floats) -> Floats:
        values = rows.copy()
        # log1p, because a variable that a plan does not have may count as 0.
        values[:, logarithmic] = np.log1p(values[:, logarithmic])
        return values

    return scaled


def one_thread() -> AbstractContextManager[object]:
    """Return what holds the libraries that fit to one thread while it is open."""
    limited: AbstractContextManager[object] = _pools().limit(limits=1)
    return limited


@cache
def _pools() -> ThreadpoolController:
    """Return what limits the threads of the libraries that scikit-learn computes with."""
    import sklearn.ensemble  # noqa: F401  loads them all
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def weighted(rows: Floats, weights: Floats) -> Floats:
    """Return rows @ weights, summed alike for one row and for many (BLAS does not)."""
    total: Floats = np.einsum("bn,n->b", np.ascontiguousarray(rows), weights)
    return total
