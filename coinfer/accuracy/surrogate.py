"""Predicting the accuracy of plans from measured ones (Mu et al. 2024, section VI-C, Table IV).

Several regressors are compared on held-out data and one is chosen; a search asks it thousands of
times where a measurement would take minutes. A prediction comes with an interval, and says when a
plan lies outside of what was measured. Nothing is pickled: a surrogate is its labels and settings,
and is fitted anew from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coinfer.accuracy.regressors import PAPER_REGRESSORS, REGRESSORS, Predict, fit
from coinfer.accuracy.scores import (
    Scores,
    conformal_quantile,
    folds,
    interval_coverage,
    scores,
)
from coinfer.accuracy.variables import Variable
from coinfer.cachefolder import cache_folder, write_atomically
from coinfer.checks import real_number, whole_number
from coinfer.errors import CoinferError
from coinfer.serial import canonical_json, content_hash, from_data, to_data
from coinfer.sources import closure_hash
from coinfer.versions import installed_version

if TYPE_CHECKING:
    from coinfer.accuracy.box import Box
    from coinfer.plan import Plan

Floats = NDArray[np.float64]

SURROGATE_SCHEMA = 1

# What decides the bits of a prediction beside our own code.
_PACKAGES = ("scikit-learn", "numpy", "scipy")
# Code whose results are in the labels already.
_ELSEWHERE = ("coinfer.accuracy.box", "coinfer.plan")


@dataclass(frozen=True, eq=False)
class Labels:
    """Measured plans: what a surrogate learns from.

    Validation accuracies only, never test ones (design ruling 1). Rows are put into one order, so
    that the same plans make the same surrogate whatever order they were measured in.

    Attributes:
        variables: of the features.
        x: features, (n, p).
        y: validation accuracies, 0..1, (n,).
        std_error: of the accuracies, (n,); None where not known.

    Raises:
        CoinferError: when shapes do not fit, a number is missing, or an accuracy is no share.
    """

    variables: tuple[Variable, ...]
    x: Floats
    y: Floats
    std_error: Floats | None = None

    def __post_init__(self) -> None:
        x, y = (np.array(a, dtype=np.float64) for a in (self.x, self.y))
        error = None if self.std_error is None else np.array(self.std_error, dtype=np.float64)
        p = len(self.variables)
        if x.ndim != 2 or x.shape[1] != p or y.shape != x.shape[:1]:
            raise CoinferError(
                f"features have shape {x.shape}, accuracies {y.shape}; accepted: (n, {p}) and (n,)"
            )
        if error is not None and error.shape != y.shape:
            raise CoinferError(f"standard errors have shape {error.shape}; accepted: {y.shape}")
        if not np.isfinite(x).all():
            row, column = np.argwhere(~np.isfinite(x))[0]
            raise CoinferError(
                f"{self.variables[column].name} of row {row} is {x[row, column]}; accepted are "
                "finite numbers"
            )
        if not ((y >= 0) & (y <= 1)).all():
            row = int(np.argmin((y >= 0) & (y <= 1)))
            raise CoinferError(f"the accuracy of row {row} is {y[row]}; accepted is 0 to 1")
        if error is not None and not ((error >= 0) & np.isfinite(error)).all():
            raise CoinferError("a standard error is negative or no number; accepted: 0 or more")
        columns = [y, *x.T[::-1]] if error is None else [error, y, *x.T[::-1]]
        order = np.lexsort(columns)
        for name, array in (("x", x), ("y", y), ("std_error", error)):
            ordered = None if array is None else array[order]
            if ordered is not None:
                ordered.setflags(write=False)
            object.__setattr__(self, name, ordered)

    @classmethod
    def of(
        cls,
        box: Box,
        plans: Sequence[Plan],
        accuracies: ArrayLike,
        std_errors: ArrayLike | None = None,
    ) -> Labels:
        """Return measured plans of a box as labels.

        Raises:
            CoinferError: for a plan that is none of the box's, and as of the constructor.
        """
        x = box.features(box.read(plans))
        error = None if std_errors is None else np.asarray(std_errors, dtype=np.float64)
        return cls(box.variables, x, np.asarray(accuracies, dtype=np.float64), error)

    def __len__(self) -> int:
        """N."""
        return len(self.y)

    @property
    def noise_mse(self) -> float | None:
        """Mean squared standard error: what even a perfect predictor is off by; None if unknown."""
        return None if self.std_error is None else float((self.std_error**2).mean())

    def rows(self, where: NDArray[np.bool_]) -> Labels:
        """Return some of the rows."""
        error = None if self.std_error is None else self.std_error[where]
        return Labels(self.variables, self.x[where], self.y[where], error)

    def data(self) -> dict[str, Any]:
        """Return everything as plain JSON data."""
        return {
            "variables": to_data(self.variables),
            "x": self.x.tolist(),
            "y": self.y.tolist(),
            "std_error": None if self.std_error is None else self.std_error.tolist(),
        }


@dataclass(frozen=True)
class Comparison:
    """How regressors are compared.

    Attributes:
        folds: of each repeat of the cross-validation.
        repeats: of the cross-validation.
        seed: of the folds and the regressors.
        level: share of new plans that prediction intervals shall hold.
        candidates: regressors to choose from; of equally good ones the first is taken.
    """

    folds: int = 5
    repeats: int = 3
    seed: int = 0
    level: float = 0.9
    candidates: tuple[str, ...] = REGRESSORS

    def __post_init__(self) -> None:
        whole_number("folds", self.folds, low=2)
        whole_number("repeats", self.repeats, low=1)
        whole_number("seed", self.seed)
        real_number("level", self.level, "above 0 and below 1", lambda share: 0 < share < 1)
        if not self.candidates:
            raise CoinferError(f"candidates are none; accepted: {', '.join(REGRESSORS)}")


@dataclass(frozen=True)
class Quality:
    """How well a regressor predicts what it was not fitted to.

    Attributes:
        regressor: its name.
        mse: held-out mean squared error, mean over the repeats.
        mse_spread: largest minus smallest over the repeats.
        coverage: share of held-out plans inside the intervals made without their fold.
    """

    regressor: str
    mse: float
    mse_spread: float
    coverage: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted accuracies of B plans.

    Attributes:
        accuracy: (B,), 0..1.
        low, high: interval around it, (B,), 0..1.
        outside: whether a feature lies outside of the range measured, so that the interval says
            nothing, (B,).
    """

    accuracy: Floats
    low: Floats
    high: Floats
    outside: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A chosen regressor, fitted to all labels. `fit_surrogate` makes one.

    Attributes:
        labels: what it is fitted to.
        comparison: how it was chosen.
        regressor: its name.
        quality: of all candidates, in their order.
        half_width: of its prediction intervals: the error that a share `comparison.level` of
            held-out plans keeps below.
    """

    labels: Labels
    comparison: Comparison
    regressor: str
    quality: tuple[Quality, ...]
    half_width: float

    def __getstate__(self) -> dict[str, Any]:
        """Pickle what it is fitted from, not what was fitted."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def predict(self, features: ArrayLike) -> Prediction:
        """Predict the accuracies of plans.

        A plan is predicted alike alone and in any batch.

        Args:
            features: as of the labels, (B, p).

        Raises:
            CoinferError: when they are not of that form, or no numbers.
        """
        x = np.asarray(features, dtype=np.float64)
        p = len(self.labels.variables)
        if x.ndim != 2 or x.shape[1] != p:
            raise CoinferError(f"features have shape {x.shape}; accepted: (B, {p})")
        if not np.isfinite(x).all():
            raise CoinferError("features hold what is no finite number")
        low, high = self.ranges
        outside = np.any((x < low) | (x > high), axis=1)
        accuracy = np.clip(self._predict(x), 0.0, 1.0) if len(x) else np.zeros(0)
        return Prediction(
            accuracy,
            np.maximum(accuracy - self.half_width, 0.0),
            np.minimum(accuracy + self.half_width, 1.0),
            outside,
        )

    def accuracies(self, features: Floats) -> Floats:
        """Predict the accuracies of plans, (B,), for a search: no interval, no check."""
        return np.clip(self._predict(features), 0.0, 1.0)

    def why_outside(self, features: ArrayLike) -> str:
        """Say which features of one plan, (p,), lie outside of what was measured; '' for none."""
        low, high = self.ranges
        found = [
            f"{variable.name} is {value:g}, measured were {first:g} to {last:g}"
            for variable, value, first, last in zip(
                self.labels.variables, np.asarray(features, dtype=float), low, high, strict=True
            )
            if not first <= value <= last
        ]
        return "; ".join(found)

    @cached_property
    def ranges(self) -> tuple[Floats, Floats]:
        """Least and largest value of every feature among the labels, (p,) each."""
        return self.labels.x.min(axis=0), self.labels.x.max(axis=0)

    @property
    def chosen(self) -> Quality:
        """The quality of its regressor."""
        return next(quality for quality in self.quality if quality.regressor == self.regressor)

    @cached_property
    def key(self) -> str:
        """Hash of all that determines its predictions: labels, settings, code, versions."""
        return content_hash(self._data() | {"code": closure_hash([__name__], without=_ELSEWHERE)})

    def to_json(self) -> str:
        """Return it as JSON, from which `from_json` fits it anew."""
        return canonical_json(self._data())

    @classmethod
    def from_json(cls, text: str) -> Surrogate:
        """Return the surrogate that `to_json` wrote.

        Raises:
            CoinferError: when the text is damaged, or of another version of a package that decides
                predictions: fit it anew from its table.
        """
        try:
            data = json.loads(text)
            schema, versions, labels = data["schema"], data["versions"], data["labels"]
            variables = from_data(labels["variables"], tuple[Variable, ...])
            made = cls(
                Labels(variables, labels["x"], labels["y"], labels["std_error"]),
                from_data(data["comparison"], Comparison),
                data["regressor"],
                from_data(data["quality"], tuple[Quality, ...]),
                float(data["half_width"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CoinferError(f"not a surrogate: {type(error).__name__}: {error}") from None
        if schema != SURROGATE_SCHEMA:
            raise CoinferError(f"the surrogate's schema is {schema}; accepted: {SURROGATE_SCHEMA}")
        if versions != fitting_versions():
            raise CoinferError(
                f"the surrogate was fitted with {_listed(versions)}; installed: "
                f"{_listed(fitting_versions())}; fit it anew from its table"
            )
        return made

    def _data(self) -> dict[str, Any]:
        return {
            "schema": SURROGATE_SCHEMA,
            "labels": self.labels.data(),
            "comparison": to_data(self.comparison),
            "regressor": self.regressor,
            "quality": to_data(self.quality),
            "half_width": self.half_width,
            "versions": fitting_versions(),
        }

    @cached_property
    def _predict(self) -> Predict:
        labels, seed = self.labels, self.comparison.seed
        return fit(self.regressor, labels.variables, labels.x, labels.y, labels.std_error, seed)


def fit_surrogate(
    labels: Labels,
    comparison: Comparison | None = None,
    predicted: Callable[[str], Floats] | None = None,
) -> Surrogate:
    """Choose a regressor by its held-out error and fit it to all labels.

    The rule: the smallest mean squared error on held-out plans, mean over the repeats of the
    cross-validation; of equal ones the first candidate. Takes seconds for some hundred labels.

    Args:
        labels: measured accuracies.
        comparison: how regressors are compared.
        predicted: held-out predictions by regressor, as of `cross_validated` for these labels and
            this comparison, where somebody else needs them too; None computes them.

    Raises:
        CoinferError: when there are too few labels, or all are equal.
    """
    comparison = comparison or Comparison()
    held = _held(labels, comparison)
    predicted = predicted or partial(cross_validated, labels, comparison)
    errors = [predicted(name) - labels.y for name in comparison.candidates]
    quality = []
    for name, error in zip(comparison.candidates, errors, strict=True):
        mse = (error**2).mean(axis=1)
        coverage = interval_coverage(error, held, comparison.level)
        quality.append(Quality(name, float(mse.mean()), float(np.ptp(mse)), coverage))
    best = min(range(len(quality)), key=lambda place: quality[place].mse)
    half_width = conformal_quantile(errors[best], comparison.level)
    return Surrogate(labels, comparison, quality[best].regressor, tuple(quality), half_width)


def kept_surrogate(
    labels: Labels,
    comparison: Comparison | None = None,
    predicted: Callable[[str], Floats] | None = None,
) -> Surrogate:
    """As `fit_surrogate`; what was fitted before to the same labels is taken from the cache folder.

    Raises:
        CoinferError: as `fit_surrogate`.
    """
    comparison = comparison or Comparison()
    code = closure_hash([__name__], without=_ELSEWHERE)
    key = content_hash([labels.data(), to_data(comparison), fitting_versions(), code])
    place = cache_folder("surrogates") / f"{key}.json"
    # Missing, damaged or unreadable: whatever it is, fitting makes it anew.
    with suppress(OSError, UnicodeError, CoinferError):
        return Surrogate.from_json(place.read_text(encoding="utf-8"))
    made = fit_surrogate(labels, comparison, predicted)
    with suppress(OSError):  # without a cache it is only slower
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, made.to_json().encode())
    return made


def cross_validated(labels: Labels, comparison: Comparison, name: str) -> Floats:
    """Predict every label by a regressor fitted without its fold, (repeats, n).

    Raises:
        CoinferError: when there are too few labels, or all are equal.
    """
    return held_out(name, labels, _held(labels, comparison), comparison.seed)


def held_out(name: str, labels: Labels, held: NDArray[np.int64], seed: int) -> Floats:
    """Predict every label by a regressor fitted without its fold.

    Args:
        name: of the regressor.
        labels: n rows.
        held: which fold each row is held out in, (repeats, n), as of `folds`.
        seed: of the regressor.

    Returns:
        Predictions, (repeats, n).
    """
    predicted = np.empty(held.shape)
    for fold in range(int(held.max()) + 1):
        for inside, guess in zip(held == fold, predicted, strict=True):
            known = labels.rows(~inside)
            model = fit(name, known.variables, known.x, known.y, known.std_error, seed)
            guess[inside] = model(labels.x[inside])
    return predicted


def table4(
    labels: Labels,
    comparison: Comparison | None = None,
    regressors: Sequence[str] = PAPER_REGRESSORS,
    predicted: Callable[[str], Floats] | None = None,
) -> list[dict[str, Any]]:
    """Return the rows of Table IV for some labels, as plain data.

    The paper does not say on which data its columns were computed, so a regressor has three rows:
    `cross-validated` (every label predicted without its fold; mean over the repeats), `split`
    (the first fold held out: 60 of 300) and `in-sample` (fitted and judged on all labels).

    Args:
        labels, comparison, predicted: as for `fit_surrogate`.
        regressors: in the order of the rows.

    Returns:
        Rows with regressor, protocol, n, p and the fields of `Scores`; regressors in their order.

    Raises:
        CoinferError: as `fit_surrogate`.
    """
    comparison = comparison or Comparison()
    held = _held(labels, comparison)
    p, seed = len(labels.variables), comparison.seed
    first = held[0] == 0
    predicted = predicted or partial(cross_validated, labels, comparison)
    rows = []
    for name in regressors:
        guesses = predicted(name)
        whole = fit(name, labels.variables, labels.x, labels.y, labels.std_error, seed)
        found = {
            "cross-validated": _mean([scores(labels.y, guess, p) for guess in guesses]),
            "split": scores(labels.y[first], guesses[0][first], p),
            "in-sample": scores(labels.y, whole(labels.x), p),
        }
        for kind, result in found.items():
            n = int(first.sum()) if kind == "split" else len(labels)
            rows.append({"regressor": name, "protocol": kind, "n": n, "p": p} | asdict(result))
    return rows


def least_labels(variables: int, comparison: Comparison | None = None) -> int:
    """Return how many labels it takes to compare regressors on, at the least."""
    return max(variables + 3, 2 * (comparison or Comparison()).folds)


def _held(labels: Labels, comparison: Comparison) -> NDArray[np.int64]:
    """Return the folds of some labels, once there are enough to compare anything on."""
    least = least_labels(len(labels.variables), comparison)
    if len(labels) < least:
        raise CoinferError(
            f"{len(labels)} measured plans are too few to fit an accuracy of "
            f"{len(labels.variables)} variables; accepted are {least} or more"
        )
    if np.ptp(labels.y) == 0:
        raise CoinferError(
            f"all {len(labels)} measured plans have accuracy {labels.y[0]:g}: there is nothing to "
            "predict"
        )
    return folds(labels.x, comparison.folds, comparison.repeats, comparison.seed)


def _mean(found: Sequence[Scores]) -> Scores:
    """Return the mean of every statistic."""
    means: dict[str, Any] = {}
    for field in fields(Scores):
        values = [getattr(one, field.name) for one in found]
        means[field.name] = None if None in values else float(np.mean(values))
    return Scores(**means)


def fitting_versions() -> dict[str, str | None]:
    """Return the versions of the packages that decide what a fit gives."""
    return {package: installed_version(package) for package in _PACKAGES}


def _listed(versions: Any) -> str:
    return ", ".join(f"{package} {version}" for package, version in versions.items())
