"""Predicting accuracies with a lower bound that knows where nothing was measured: for searches.

A search for the fastest plan above a floor ends where a predictor is most hopeful, hence where it
errs most. Here the loss of accuracy is a Gaussian process, whose deviation grows with the distance
to measured plans, along each variable by a length of its own. A plan's bound is so many deviations
below its median as a normal distribution has for the confidence asked, or as the measured plans
need, each predicted from all others, where that is more.

With baseline b, floor f, m = b - f and c = b + m, the process is of s(y) = -ln(c - y), not of the
accuracy y: most of what separates plans near the floor lies within the spread of destroyed ones.

    cov(s(x), s(x')) = a k(d) + n [x = x'],  k Matern 5/2,  d^2 = sum_j (x_j - x'_j)^2 / l_j^2

The formulas are those of C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine
Learning, 2006: the likelihood and its gradient (5.8, 5.9), predictions (2.25, 2.26) and those from
all other labels (5.12). scikit-learn's own takes ten times as long to find a length per variable,
and has no prior on them, without which a few dozen labels are learnt by heart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from math import ceil, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coinfer.accuracy.regressors import logarithms, one_thread, weighted
from coinfer.accuracy.surrogate import Labels, fitting_versions
from coinfer.cachefolder import kept_json
from coinfer.checks import real_number
from coinfer.errors import CoinferError
from coinfer.serial import to_data
from coinfer.sources import closure_hash

Floats = NDArray[np.float64]

# Lengths have a log-normal prior: three deviations of a variable, within a factor e. The smooth one
# of `coinfer.accuracy.regressors` starts there, too.
_LENGTH = 3.0
_SPREAD = 1.0
# Ranges of logarithms: of amplitude and noise around the variance of the labels, and of lengths.
_AMPLITUDE = (-7.0, 7.0)
_NOISE = (-12.0, 2.0)
_LENGTHS = (np.log(0.2), np.log(100.0))
_ITERATIONS = 150
_JITTER = 1e-10
# Of baseline and floor; where no loss is allowed there would be no scale.
_LEAST_MARGIN = 0.005
# The ceiling may not be reached: a label above it counts as so much of m below.
_NEAREST = 0.25
# Numbers held at a time, so that they stay in the processor's cache.
_CACHED = 16384
# Code whose results are in the labels already.
_ELSEWHERE = ("coinfer.accuracy.box", "coinfer.plan")


@dataclass(frozen=True)
class Shape:
    """What a fit finds.

    Attributes:
        amplitude: a, the variance of what is predicted.
        noise: n, the variance of trainings of one plan beyond their labels' standard errors.
        lengths: l, one for each variable, in its standard deviations among the labels.
    """

    amplitude: float
    noise: float
    lengths: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class LossProcess:
    """A Gaussian process of the loss, fitted to labels. `kept_loss_process` makes one.

    A plan is predicted alike alone and in any batch.

    Attributes:
        labels: what it is fitted to.
        baseline: accuracy of the unpruned network.
        floor: accuracy near which it is to be right.
        shape: what was fitted.
    """

    labels: Labels
    baseline: float
    floor: float
    shape: Shape

    def __getstate__(self) -> dict[str, Any]:
        """Pickle what it is computed from, not what was computed."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def accuracies(self, features: Floats) -> Floats:
        """Return median accuracies of plans, features (B, p), (B,)."""
        return self._accuracy(self._scores(features)[0])

    def lower(self, features: Floats, confidence: float) -> Floats:
        """Return what plans' accuracies lie above with a confidence (0..1), (B,).

        Never more than `accuracies`; 0 where there are too few labels for the confidence. It is of
        the accuracy itself: that of one more measurement has a standard error besides.

        Raises:
            CoinferError: as `deviations`.
        """
        middle, deviation = self._scores(features, deviations=True)
        return self._accuracy(middle - self.deviations(confidence) * deviation)

    def deviations(self, confidence: float) -> float:
        """Return how many deviations below the median a bound lies.

        The normal distribution's quantile, or the ceil((n + 1) confidence)-th smallest error of
        the labels where that is more, as of split-conformal prediction, each predicted from all
        others and divided by its deviation. At least 0; inf where labels are too few.

        Raises:
            CoinferError: when the confidence is not above 0 and below 1.
        """
        from scipy.special import ndtri  # type: ignore[import-untyped]

        real_number("confidence", confidence, "above 0 and below 1", lambda share: 0 < share < 1)
        rank = max(1, ceil((len(self.labels) + 1) * confidence - 1e-9))
        if rank > len(self.labels):
            return inf
        return max(0.0, float(ndtri(confidence)), float(np.sort(self.left_out[0])[rank - 1]))

    @cached_property
    def left_out(self) -> tuple[Floats, Floats]:
        """Return how many deviations each label lies below its median from all others, and that.

        Two arrays (n,): errors, positive for a label that was predicted too well, and medians as
        accuracies. The shape is that of all labels.
        """
        inverse = self._known.inverse
        precision = np.diag(inverse)
        missed = (inverse @ self._known.values) / precision  # label less prediction
        own = self._score(self.labels.y)
        return -missed * np.sqrt(precision), self._accuracy(own - missed)

    def _scores(self, features: Floats, *, deviations: bool = False) -> tuple[Floats, Floats]:
        """Return medians of s, (B,), and deviations, 0 unless asked for, (B,)."""
        known, shape = self._known, self.shape
        places = self._places(features)
        middle, variance = np.empty(len(places)), np.zeros(len(places))
        block = max(1, _CACHED // len(known.places))
        for start in range(0, len(places), block):
            part = slice(start, start + block)
            shared = shape.amplitude * _matern(_distances(places[part], known.places))
            middle[part] = weighted(shared, known.weights)
            if deviations:
                # Not by BLAS, which sums otherwise for one row than for many.
                explained = np.einsum("bn,mn->bm", shared, known.root)
                variance[part] = np.einsum("bm,bm->b", explained, explained)
        middle += known.mean
        if not deviations:
            return middle, variance
        return middle, np.sqrt(np.maximum(shape.amplitude - variance, 0.0) + shape.noise)

    def _score(self, accuracy: Floats) -> Floats:
        return -np.log(self._room(accuracy))

    def _accuracy(self, score: Floats) -> Floats:
        below = self.baseline + self._margin - np.exp(-np.maximum(score, -100.0))
        return np.clip(below, 0.0, 1.0)

    def _room(self, accuracy: Floats) -> Floats:
        room = self.baseline + self._margin - accuracy
        return np.maximum(room, _NEAREST * self._margin)

    @property
    def _margin(self) -> float:
        return max(self.baseline - self.floor, _LEAST_MARGIN)

    def _places(self, features: Floats) -> Floats:
        """Return where plans lie, in lengths, (B, p)."""
        center, scale = self._scale
        return (logarithms(self.labels.variables)(features) - center) * scale

    @cached_property
    def _scale(self) -> tuple[Floats, Floats]:
        center, spread = _standard(self.labels)
        return center, 1.0 / (spread * np.array(self.shape.lengths))

    @cached_property
    def _known(self) -> _Known:
        """What predictions are made from."""
        from scipy.linalg import cho_solve, cholesky, solve_triangular  # type: ignore[import-untyped]

        values = self._score(self.labels.y)
        mean = float(values.mean())
        places = self._places(self.labels.x)
        with one_thread():
            covariance = self.shape.amplitude * _matern(_distances(places, places))
            noise = _label_noise(self.labels, self._room(self.labels.y))
            covariance[np.diag_indices(len(places))] += noise + self.shape.noise + _JITTER
            lower = cholesky(covariance, lower=True)
            identity = np.eye(len(places))
            root = solve_triangular(lower, identity, lower=True)
            weights = cho_solve((lower, True), values - mean)
            inverse = cho_solve((lower, True), identity)
        return _Known(places, values - mean, mean, weights, root, inverse)


@dataclass(frozen=True, eq=False)
class _Known:
    """Labels as a process has them: places (n, p), values (n,), mean, K^-1 values, L^-1, K^-1."""

    places: Floats
    values: Floats
    mean: float
    weights: Floats
    root: Floats
    inverse: Floats


def fit_loss_process(labels: Labels, baseline: float, floor: float) -> LossProcess:
    """Fit a process to labels: the most likely amplitude, noise and lengths, with their prior.

    Raises:
        CoinferError: when all labels are equal, or there are none.
    """
    if not len(labels) or np.ptp(labels.y) == 0:
        raise CoinferError(
            f"{len(labels)} measured plans do not tell how accuracies differ; accepted are two or "
            "more that are not equal"
        )
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    start = LossProcess(labels, baseline, floor, Shape(1.0, 1.0, (1.0,) * len(labels.variables)))
    values = start._score(labels.y)
    variance = float(values.var())
    objective = _likelihood(
        start._places(labels.x),
        values - values.mean(),
        _label_noise(labels, start._room(labels.y)),
    )
    p = len(labels.variables)
    first = np.log([variance, 0.1 * variance, *[_LENGTH] * p])
    around = np.log(variance)
    limits = [
        *((around + low, around + high) for low, high in (_AMPLITUDE, _NOISE)),
        *[_LENGTHS] * p,
    ]
    with one_thread():
        found = minimize(
            objective,
            first,
            jac=True,
            method="L-BFGS-B",
            bounds=limits,
            options={"maxiter": _ITERATIONS},
        )
    amplitude, noise, *lengths = np.exp(found.x).tolist()
    return LossProcess(labels, baseline, floor, Shape(amplitude, noise, tuple(lengths)))


def kept_loss_process(labels: Labels, baseline: float, floor: float) -> LossProcess:
    """As `fit_loss_process`; what was found before is taken from the cache folder.

    Raises:
        CoinferError: as `fit_loss_process`.
    """
    code = closure_hash([__name__], without=_ELSEWHERE)
    key = [labels.data(), baseline, floor, fitting_versions(), code]
    data = kept_json(
        "processes", key, lambda: to_data(fit_loss_process(labels, baseline, floor).shape)
    )
    return LossProcess(labels, baseline, floor, shape_of(data))


def shape_of(data: Any) -> Shape:
    """Return the shape that plain JSON data say."""
    return Shape(data["amplitude"], data["noise"], tuple(data["lengths"]))


def _likelihood(
    places: Floats, values: Floats, noise: Floats
) -> Callable[[Floats], tuple[float, Floats]]:
    """Return minus the logarithm of likelihood and prior, with its gradient.

    Args:
        places: standardised features, (n, p).
        values: labels less their mean, (n,).
        noise: their variances, (n,).

    Returns:
        A function of the logarithms of amplitude, noise and lengths, (2 + p,).
    """
    from scipy.linalg import LinAlgError, cho_solve, cholesky

    identity = np.eye(len(places))

    def minus_log(logs: Floats) -> tuple[float, Floats]:
        amplitude, own = np.exp(logs[:2])
        scaled = places * np.exp(-logs[2:])
        t = _distances(scaled, scaled)
        decay = np.exp(-t)
        shared = amplitude * (1.0 + t + t * t / 3.0) * decay
        try:
            lower = cholesky(shared + np.diag(noise + own + _JITTER), lower=True)
        except LinAlgError:  # as good as singular: no shape to go to
            return 1e10, np.zeros_like(logs)
        inverse = cho_solve((lower, True), identity)
        weights = inverse @ values
        off = (logs[2:] - np.log(_LENGTH)) / _SPREAD
        value = 0.5 * values @ weights + np.log(np.diag(lower)).sum() + 0.5 * off @ off
        half = 0.5 * (inverse - np.outer(weights, weights))
        # dk / d ln l_j = 5/3 (1 + t) exp(-t) (x_j - x'_j)^2 / l_j^2 with t = sqrt(5) d
        steep = half * (amplitude * (5.0 / 3.0) * (1.0 + t) * decay)
        squares = 2.0 * (
            steep.sum(axis=1) @ scaled**2 - np.einsum("ij,ij->j", scaled, steep @ scaled)
        )
        gradient = [np.sum(half * shared), own * np.trace(half), *(squares + off / _SPREAD)]
        return float(value), np.array(gradient)

    return minus_log


def _distances(rows: Floats, known: Floats) -> Floats:
    """Return sqrt(5) d of rows (B, p) from known places (n, p) in lengths, (B, n)."""
    from scipy.spatial.distance import cdist

    return np.asarray(np.sqrt(5.0) * cdist(rows, known))


def _matern(t: Floats) -> Floats:
    """Return Matern 5/2 of t = sqrt(5) d: (1 + t + t^2 / 3) exp(-t)."""
    shared = t * (1 / 3)
    shared += 1.0
    shared *= t
    shared += 1.0
    shared *= np.exp(-t)
    return shared


def _label_noise(labels: Labels, room: Floats) -> Floats:
    """Return the variances of s(y) of labels that have `room` to the ceiling, (n,)."""
    if labels.std_error is None:
        return np.zeros(len(labels))
    return np.asarray((labels.std_error / room) ** 2)


def _standard(labels: Labels) -> tuple[Floats, Floats]:
    """Return mean and deviation of every feature among labels, (p,) each; 1 for none."""
    values = logarithms(labels.variables)(labels.x)
    spread = values.std(axis=0)
    spread[spread == 0] = 1.0
    return values.mean(axis=0), spread
