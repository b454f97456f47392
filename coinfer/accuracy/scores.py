"""How good a predictor is: the statistics of Mu et al. 2024, Table IV, and the folds behind them.

With n rows, p features and k = p + 1 parameters:

    RSS = sum (y - predicted)^2      AR  = 1 - (1 - R2) (n - 1) / (n - p - 1)
    R2  = 1 - RSS / sum (y - mean)^2 AIC = n ln(RSS / n) + 2 k
    MSE = RSS / n                    BIC = n ln(RSS / n) + k ln n

Counting p + 1 parameters for a tree is a convention; it is the paper's, whose BIC - AIC is
k (ln n - 2) with k = 16 to 19.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coinfer.errors import CoinferError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """The statistics of one set of predictions.

    Attributes:
        mse: mean squared error.
        r2: share of the variance explained; None where all labels are equal.
        adjusted_r2: AR; None where that, or with no more rows than parameters.
        aic, bic: information criteria; -inf for predictions without error.
    """

    mse: float
    r2: float | None
    adjusted_r2: float | None
    aic: float
    bic: float


def scores(labels: ArrayLike, predicted: ArrayLike, features: int) -> Scores:
    """Return the statistics of predictions.

    Args:
        labels, predicted: (n,) each.
        features: p.

    Raises:
        CoinferError: when the two do not pair up, or are none.
    """
    y, guess = np.asarray(labels, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if y.shape != guess.shape or y.ndim != 1 or not len(y):
        raise CoinferError(
            f"labels have shape {y.shape}, predictions {guess.shape}; accepted: (n,) both, n >= 1"
        )
    n, k = len(y), features + 1
    rss = float(((y - guess) ** 2).sum())
    tss = float(((y - y.mean()) ** 2).sum())
    mse = rss / n
    r2 = 1 - rss / tss if tss > 0 else None
    degrees = n - features - 1
    adjusted = None if r2 is None or degrees < 1 else 1 - (1 - r2) * (n - 1) / degrees
    deviance = n * log(mse) if mse > 0 else -inf
    return Scores(mse, r2, adjusted, deviance + 2 * k, deviance + k * log(n))


def folds(rows: ArrayLike, count: int, repeats: int, seed: int) -> Indices:
    """Return which fold each row is held out in, (repeats, n), 0..count-1.

    Equal rows are in the same fold: a plan that was measured twice is not predicted from itself.
    The distinct rows are shuffled anew for every repeat and dealt out evenly.

    Args:
        rows: features, (n, p).
        count: folds per repeat.
        repeats: of the whole.
        seed: of the shuffling.

    Raises:
        CoinferError: when there are fewer distinct rows than folds.
    """
    _, which = np.unique(np.asarray(rows), axis=0, return_inverse=True)
    which = which.reshape(-1)
    distinct = int(which.max(initial=-1)) + 1
    if not 2 <= count <= distinct or repeats < 1:
        raise CoinferError(
            f"{distinct} distinct plans cannot be held out in {count} folds, {repeats} times; "
            "accepted: 2 folds to one per plan, once or more"
        )
    rng = np.random.default_rng(seed)
    held = np.empty((repeats, len(which)), dtype=np.int64)
    for repeat in range(repeats):
        fold = np.empty(distinct, dtype=np.int64)
        fold[rng.permutation(distinct)] = np.arange(distinct) % count
        held[repeat] = fold[which]
    return held


def conformal_quantile(residuals: ArrayLike, level: float) -> float:
    """Return the error that a share `level` of new rows keeps below, from n held-out errors.

    The ceil((n + 1) level)-th smallest |residual|, as of split-conformal prediction; with more
    repeats than one, as if the rows counted once. Infinite where n is too small for the level.

    Args:
        residuals: held-out errors, (repeats, n) or (n,).
        level: 0..1.
    """
    errors = np.atleast_2d(np.abs(np.asarray(residuals, dtype=np.float64)))
    repeats, n = errors.shape
    rank = max(1, ceil((n + 1) * level - 1e-9))
    return inf if rank > n else float(np.sort(errors, axis=None)[repeats * rank - 1])


def interval_coverage(residuals: Floats, held: Indices, level: float) -> float:
    """Return the share of rows whose error is within the quantile of all other folds' errors.

    Args:
        residuals: held-out errors, (repeats, n).
        held: as of `folds`, (repeats, n).
        level: of the intervals.
    """
    covered = np.zeros(residuals.shape, dtype=np.bool_)
    for fold in range(int(held.max()) + 1):
        for errors, inside, within in zip(residuals, held == fold, covered, strict=True):
            within[inside] = np.abs(errors[inside]) <= conformal_quantile(errors[~inside], level)
    return float(covered.mean())
