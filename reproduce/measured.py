"""Numbers from measurement tables, for the claims about accuracies and about predicting them.

Validation accuracies only, never test ones (design ruling 1). The baseline of a loss is the
unpruned network after the same recipe, and the two are compared image by image (design ruling 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import sqrt
from typing import Any

import numpy as np

from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.codec_variables import IDENTITY
from coinfer.accuracy.recipe import RECIPES
from coinfer.accuracy.regressors import PAPER_REGRESSORS
from coinfer.accuracy.sampling import corners
from coinfer.accuracy.surrogate import Comparison, Labels, Surrogate
from coinfer.accuracy.table import Sample, Table
from coinfer.errors import CoinferError
from coinfer.plan import Plan, kept_channels
from coinfer.refs import parse_ref
from coinfer.serial import content_hash, to_data
from coinfer.tasks import make_task
from reproduce.claims import TableMeasure
from reproduce.facts import Gap
from reproduce.fits import Fits, fits_of

HELD_OUT = "cross-validated"
"""The protocol of Table IV whose numbers are held against the paper's."""

LARGER_IS_BETTER = {"mse": False, "adjusted_r2": True, "aic": False, "bic": False}
"""The statistics of Table IV, and which way they rank."""


@dataclass(frozen=True)
class Number:
    """One number from a table.

    Attributes:
        value: in percent, points, or the statistic's own unit; a lead where regressors are ranked.
        evidence: its evidence classes.
        conditions: under which it was measured, for people.
        rows: hashes of the plans that it comes from; of a whole table, the table's digest.
        std_error: its standard error in the same unit; None where there is none.
        against: the regressor over which it is a lead.
    """

    value: float
    evidence: str
    conditions: str
    rows: tuple[str, ...]
    std_error: float | None = None
    against: str = ""


@dataclass(frozen=True, eq=False)
class Measured:
    """A measurement table with what is computed from it, once.

    Attributes:
        table: the measurements.
    """

    table: Table

    @property
    def place(self) -> tuple[str, str, str]:
        """Network, family of plans and data set: which claims it can decide."""
        origin = self.table.origin
        return origin.model, origin.family, origin.data

    @property
    def box(self) -> Box:
        """The box that its plans are from."""
        return _box(self.table.origin.model, self.table.origin.family)

    @cached_property
    def labels(self) -> Labels:
        """Its plans with their validation accuracies.

        Raises:
            CoinferError: for a table whose plans are none of its family's.
        """
        measured = [sample.measurement for sample in self.table.samples]
        return Labels.of(
            self.box,
            [m.plan for m in measured],
            [m.val_accuracy for m in measured],
            [m.val_std_error for m in measured],
        )

    @cached_property
    def digest(self) -> str:
        """Hash of all that its numbers rest on: origin, plans, right answers on validation images.

        What stands in the table about the test set is not part of it.
        """
        found = [
            (sample.measurement.plan.hash, sample.measurement.val_correct, sample.measurement.val_n)
            for sample in self.table.samples
        ]
        return content_hash({"origin": to_data(self.table.origin), "samples": found})

    @cached_property
    def table4(self) -> list[Mapping[str, Any]]:
        """The rows of Table IV, the paper's regressors first, as of `surrogate.table4`.

        Raises:
            CoinferError: when there are too few plans.
        """
        return list(self._fits.table4)

    @cached_property
    def surrogate(self) -> Surrogate:
        """The predictor that is chosen by its held-out error.

        Raises:
            CoinferError: when there are too few plans.
        """
        return self._fits.surrogate(self.labels)

    @cached_property
    def _fits(self) -> Fits:
        return fits_of(self.labels, self.table.origin.name)

    @property
    def setting(self) -> str:
        """Network, data and recipe in a few words."""
        origin = self.table.origin
        return f"{origin.model} on {origin.data}, recipe {origin.recipe.label}"

    @property
    def size(self) -> str:
        """How many plans it has of how many it is to have, in a few words."""
        told = f"{len(self.table.samples)} of {self.table.origin.target} plans measured"
        failed = len(self.table.failed)
        return told + (f" ({failed} could not be trained)" if failed else "")

    @property
    def spread(self) -> str:
        """How its predictors were judged, and what none can be better than, in a few words."""
        by = Comparison()
        floor = f"{self.labels.noise_mse:.2e}" if self.labels.noise_mse is not None else "unknown"
        return (
            f"{self.size}, each predicted by models fitted without it ({by.folds} folds, "
            f"{by.repeats} repeats), {len(self.labels.variables)} variables, mean squared standard "
            f"error of the accuracies {floor}"
        )


@cache
def _box(model: str, family: str) -> Box:
    return search_box(make_task(model, groups=True), family)


def how_to_measure(asked: TableMeasure, recipe: str = "") -> str:
    """The commands that measure what a claim asks for, and that judge it, as half a sentence."""
    options = f" --family {asked.family}" if asked.family != "qho" else ""
    options += f" --recipe {recipe}" if recipe in RECIPES else ""
    # The unpruned network is the first plan of every design.
    options += " --samples 1" if asked.measure == "accuracy" else ""
    return (
        f"`coinfer sweep {asked.model} --data FOLDER{options} -o FILE.csv` with {asked.data} in "
        "FOLDER measures it, `coinfer scorecard --table FILE.csv` judges it"
    )


def accuracy(asked: TableMeasure, measured: Measured) -> list[Number] | Gap:
    """Accuracy of the unpruned network after the table's recipe, in percent."""
    sample = _corner(asked, measured)
    if isinstance(sample, Gap):
        return sample
    m = sample.measurement
    told = f"{measured.setting}, {m.val_n} validation images"
    return [
        Number(100 * m.val_accuracy, "measured", told, (m.plan.hash,), 100 * m.val_std_error),
    ]


def loss(asked: TableMeasure, measured: Measured) -> list[Number] | Gap:
    """Accuracy that a plan loses against the unpruned network after the same recipe, in points.

    Its standard error is that of the mean difference over the same images.
    """
    baseline = _corner(replace(asked, prune="", encode="", share=0.0), measured)
    sample = _corner(asked, measured)
    for one in (baseline, sample):
        if isinstance(one, Gap):
            return one
    assert isinstance(baseline, Sample)
    assert isinstance(sample, Sample)
    whole, less = baseline.measurement, sample.measurement
    if whole.val_n != less.val_n:
        return Gap(
            f"'{measured.table.origin.name}' has the unpruned network on {whole.val_n} images and "
            f"the plan on {less.val_n}, which cannot be compared in pairs"
        )
    lost = 100.0 * (whole.val_flags.astype(np.float64) - less.val_flags)
    told = (
        f"{measured.setting}, {_changed(asked, less.plan, measured.box)}, against the unpruned "
        f"network after the same recipe on the same {less.val_n} validation images"
    )
    return [
        Number(
            float(lost.mean()),
            "measured",
            told,
            (whole.plan.hash, less.plan.hash),
            float(lost.std()) / sqrt(len(lost)),
        )
    ]


def score(asked: TableMeasure, measured: Measured) -> list[Number] | Gap:
    """A statistic of Table IV, for plans that the regressor was not fitted to."""
    values = _statistics(asked, measured)
    if isinstance(values, Gap):
        return values
    return [_scored(values[asked.regressor], measured)]


def lead(asked: TableMeasure, measured: Measured) -> list[Number] | Gap:
    """By how much a regressor's statistic is better than those of the paper's other five."""
    values = _statistics(asked, measured)
    if isinstance(values, Gap):
        return values
    sign = 1.0 if LARGER_IS_BETTER[asked.statistic] else -1.0
    return [
        _scored(sign * (values[asked.regressor] - values[other]), measured, other)
        for other in PAPER_REGRESSORS
        if other != asked.regressor
    ]


MEASURES: dict[str, Callable[[TableMeasure, Measured], list[Number] | Gap]] = {
    "accuracy": accuracy,
    "loss": loss,
    "score": score,
    "lead": lead,
}


def corner_of(asked: TableMeasure, box: Box) -> Plan | None:
    """Return the plan of the box's design that a claim is about; None where it has none."""
    return next((plan for plan in corners(box) if _is_asked(asked, plan, box)), None)


def _is_asked(asked: TableMeasure, plan: Plan, box: Box) -> bool:
    if asked.prune:
        full = box.space.full[box.space.index(asked.prune)]
        kept = ((asked.prune, int(kept_channels(full, asked.share))),)
        return plan.keep == kept and plan.codec == IDENTITY
    if asked.encode:
        codec = parse_ref(plan.codec)
        width = max(1, round(asked.share * box.space.graph.cut(asked.encode).elements))
        place = (plan.keep, plan.cut.after, codec.name)
        return place == ((), asked.encode, "linear") and codec.arguments["width"] == width
    return plan.unchanged


def _corner(asked: TableMeasure, measured: Measured) -> Sample | Gap:
    table, plan = measured.table, corner_of(asked, measured.box)
    what = _what(asked)
    if plan is None:
        return Gap(f"no plan of the design for {asked.model} is {what}")
    sample = table.find(plan)
    if sample is not None:
        return sample
    if plan.hash in table.failed:
        return Gap(
            f"{what} could not be trained with recipe {table.origin.recipe.label}: "
            f"{table.failed[plan.hash]}"
        )
    how = how_to_measure(asked, table.origin.recipe.name)
    return Gap(f"table '{table.origin.name}' has no row of {what} ({how})")


def _what(asked: TableMeasure) -> str:
    if asked.prune:
        return f"{asked.model} with {100 * asked.share:g} % of {asked.prune} pruned"
    if asked.encode:
        return f"{asked.model} with a code of {100 * asked.share:g} % at {asked.encode}"
    return f"the unpruned {asked.model}"


def _changed(asked: TableMeasure, plan: Plan, box: Box) -> str:
    """What a plan of one change really is, in whole units."""
    if asked.prune:
        full = int(box.space.full[box.space.index(asked.prune)])
        return f"{dict(plan.keep)[asked.prune]} of {full} channels of {asked.prune} kept"
    widths = parse_ref(plan.codec).arguments
    elements = box.space.graph.cut(asked.encode).elements
    return (
        f"{widths['width']} of {elements} elements sent after {asked.encode}, hidden layer of "
        f"{widths['hidden']}"
    )


def _statistics(asked: TableMeasure, measured: Measured) -> dict[str, float] | Gap:
    """One statistic of the paper's regressors on held-out plans."""
    try:
        rows = {row["regressor"]: row for row in measured.table4 if row["protocol"] == HELD_OUT}
    except CoinferError as error:
        how = how_to_measure(asked, measured.table.origin.recipe.name)
        return Gap(f"table '{measured.table.origin.name}': {error} ({how})")
    found = {name: rows[name][asked.statistic] for name in PAPER_REGRESSORS}
    if None in found.values():
        n, p = len(measured.labels), len(measured.labels.variables)
        return Gap(f"{asked.statistic} is not defined for {n} plans of {p} variables")
    return found


def _scored(value: float, measured: Measured, against: str = "") -> Number:
    # Predictions, held against measurements.
    told = f"{measured.setting}, {measured.spread}"
    return Number(value, "measured, predicted", told, (measured.digest,), against=against)
