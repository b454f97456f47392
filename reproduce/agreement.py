"""Whether a small network ranks plans as the large one does that it stands in for.

The designs of two tables of one family begin with the same points of their boxes: the corners and
the first Sobol points, which no measured accuracy steers. Both networks have then been measured on
the same decisions (a cut behind the same block, the same share of every layer pruned, the same
code), and the ranks of their validation accuracies can be held against each other. No paper claims
anything about this; it is what figures on a small network rest on.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coinfer.accuracy.sampling import DesignPoint, corners, samples
from coinfer.accuracy.table import Sample
from coinfer.errors import CoinferError
from reproduce.draw import house_style, save
from reproduce.facts import Facts
from reproduce.measured import Measured
from reproduce.style import BLUE, TWO_COLUMNS_IN, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEM = "agreement"
# What tells our JSON from another file of that name.
MADE_BY = "coinfer reproduce agreement"
TITLE = "Does the small network rank plans as the large one does"

# Fewer pairs say nothing about ranks.
LEAST_PAIRS = 8
CONFIDENCE = 0.95
_RESAMPLES = 4000
_SEED = 0
_FOOT_COLUMNS = 150


@dataclass(frozen=True)
class Pair:
    """One point of the design, measured on both networks.

    Attributes:
        number: its place in the design.
        small, large: what was measured.
    """

    number: int
    small: Sample
    large: Sample

    @property
    def accuracies(self) -> tuple[float, float]:
        """Validation accuracies, 0..1, of the small network and of the large one."""
        return self.small.measurement.val_accuracy, self.large.measurement.val_accuracy


@dataclass(frozen=True)
class Agreement:
    """How alike two networks rank the same plans.

    Attributes:
        pairs: of them.
        rho: Spearman's rank correlation, -1..1; ties have mean ranks.
        low, high: its bootstrap interval over plans (bias-corrected and accelerated, Efron 1987).
        concordant: of two plans that differ on both networks, how often both prefer the same one.
    """

    pairs: int
    rho: float
    low: float
    high: float
    concordant: float

    @property
    def text(self) -> str:
        """In a few words."""
        return (
            f"Spearman's rank correlation {self.rho:.2f} ({100 * CONFIDENCE:g} % interval "
            f"{self.low:.2f} to {self.high:.2f}), {self.pairs} plans; of two plans that differ "
            f"both prefer the same one in {100 * self.concordant:.0f} %"
        )


def pairs(small: Measured, large: Measured) -> tuple[Pair, ...]:
    """Return the points that both have measured behind the same block, in order of the design.

    Raises:
        CoinferError: when the tables' designs are not of the same points.
    """
    told = f"'{small.table.origin.name}' and '{large.table.origin.name}'"
    if small.place[1:] != large.place[1:]:
        raise CoinferError(
            f"{told} are of {' on '.join(small.place[1:])} and {' on '.join(large.place[1:])}; "
            "ranks are compared within one family of plans and one data set"
        )
    first = min(one.table.origin.sobol_first for one in (small, large))
    designs = [_beginning(one, first) for one in (small, large)]
    if not _alike(small, large, *designs):
        raise CoinferError(
            f"the designs of {told} do not begin with the same points: they take one seed, and "
            "networks with as many layers to prune and places to cut"
        )
    sides = list(zip((small, large), designs, strict=True))
    cuts = [side.box.read([one.plan for one in design]).cut for side, design in sides]
    measured = [{one.measurement.plan.hash: one for one in side.table.samples} for side, _ in sides]
    found = []
    for number, points in enumerate(zip(*designs, strict=True)):
        both = [known.get(one.plan.hash) for known, one in zip(measured, points, strict=True)]
        # A corner may be behind another block: the first vector of one network is a map of another.
        if both[0] is not None and both[1] is not None and cuts[0][number] == cuts[1][number]:
            found.append(Pair(number, both[0], both[1]))
    return tuple(found)


@lru_cache(maxsize=8)  # asked for every pair of tables, by every file that is written
def _beginning(measured: Measured, first: int) -> tuple[DesignPoint, ...]:
    """Corners and the first Sobol points of a table's design, which depend on no measurement."""
    count = len(corners(measured.box)) + first
    return samples(measured.box, count, measured.table.origin.seed)


def _alike(
    small: Measured,
    large: Measured,
    first: Sequence[DesignPoint],
    second: Sequence[DesignPoint],
) -> bool:
    """Whether both begin with the same points of boxes with as many variables and cuts."""
    return (
        small.table.origin.seed == large.table.origin.seed
        and small.box.dimension == large.box.dimension
        and len(small.box.cuts) == len(large.box.cuts)
        and [one.why for one in first] == [one.why for one in second]
    )


def agreement(found: Sequence[Pair]) -> Agreement:
    """Return how alike the two networks rank.

    Raises:
        CoinferError: for fewer than LEAST_PAIRS pairs.
    """
    from scipy.stats import bootstrap  # type: ignore[import-untyped]

    if len(found) < LEAST_PAIRS:
        raise CoinferError(
            f"both networks were measured on {len(found)} of the same plans; ranks take "
            f"{LEAST_PAIRS} or more"
        )
    first, second = np.array([one.accuracies for one in found]).T
    rho = spearman(first, second)
    low = high = rho
    if abs(rho) < 1:  # of full agreement every resample agrees fully
        limits = bootstrap(
            (first, second),
            _spearman,
            paired=True,
            vectorized=True,
            n_resamples=_RESAMPLES,
            confidence_level=CONFIDENCE,
            rng=np.random.default_rng(_SEED),
        ).confidence_interval
        low, high = float(limits.low), float(limits.high)
    return Agreement(len(found), rho, low, high, concordance(first, second))


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation: Pearson's of mean ranks; 0 where one side is constant."""
    return float(_spearman(first, second, axis=-1))


def _spearman(
    first: NDArray[np.float64], second: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    """As `spearman`, of many resamples at once."""
    from scipy.stats import rankdata

    a, b = (rankdata(x, axis=axis) - (x.shape[axis] + 1) / 2 for x in (first, second))
    norms = np.sqrt((a * a).sum(axis) * (b * b).sum(axis))
    found: NDArray[np.float64] = np.zeros(norms.shape)
    np.divide((a * b).sum(axis), norms, out=found, where=norms > 0)
    return found


def concordance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the share of pairs, of those tied on neither side, that both sides rank alike."""
    ways = np.sign(first[:, None] - first) * np.sign(second[:, None] - second)
    differ = int((ways != 0).sum())
    return int((ways > 0).sum()) / differ if differ else 0.5


COLUMNS = (
    *("small", "large", "number", "why", "cut_small", "cut_large", "accuracy_small"),
    *("std_error_small", "accuracy_large", "std_error_large", "n_small", "n_large", "evidence"),
    *("plan_small", "plan_large"),
)


def csv_text(smalls: Sequence[Measured], large: Measured) -> str:
    """The pairs behind every panel, with all digits; all accuracies are measured."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for small in smalls:
        for pair in pairs(small, large):
            first, second = pair.small.measurement, pair.large.measurement
            writer.writerow(
                [
                    *(small.table.origin.name, large.table.origin.name, pair.number),
                    *(pair.small.why, first.plan.cut.after, second.plan.cut.after),
                    *(first.val_accuracy, first.val_std_error),
                    *(second.val_accuracy, second.val_std_error, first.val_n, second.val_n),
                    *("measured", first.plan.hash, second.plan.hash),
                ]
            )
    return file.getvalue()


def footnote(smalls: Sequence[Measured], large: Measured) -> list[str]:
    """What a reader must know, as lines: networks, recipes, evidence, and the data's hash."""
    digest = hashlib.sha256(csv_text(smalls, large).encode()).hexdigest()[:12]
    text = (
        f"Every point is one plan of family {large.place[1]}, trained and measured on both networks"
        f" ({large.setting}; {large.size}) and cut behind the same block. Bars: one standard error "
        f"of the validation images to each side. Interval: bootstrap over plans, {_RESAMPLES:,} "
        f"resamples. Accuracy evidence: measured. Data: {STEM}.csv, SHA-256 {digest}..."
    )
    return textwrap.wrap(text, _FOOT_COLUMNS)


def draw(smalls: Sequence[Measured], large: Measured) -> Figure:
    """Draw a panel for every table of the small network (to be used in `house_style`)."""
    from matplotlib.figure import Figure

    foot = footnote(smalls, large)
    figure = Figure(figsize=(TWO_COLUMNS_IN, 3.5))
    figure.subplots_adjust(left=0.075, right=0.985, top=0.875, bottom=0.21, wspace=0.18)
    for axis, small in zip(
        figure.subplots(1, len(smalls), squeeze=False, sharey=True)[0], smalls, strict=True
    ):
        found = pairs(small, large)
        _scatter(axis, found)
        answer = agreement(found)
        axis.set_title(
            f"Rank correlation {answer.rho:.2f} ({answer.low:.2f} to {answer.high:.2f}), "
            f"{answer.pairs} plans"
        )
        axis.set_xlabel(_axis_told(small))
    # Above the panels: within them it would hide points.
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="upper center", ncols=2)
    figure.axes[0].set_ylabel(_axis_told(large))
    figure.text(0.008, 0.012, "\n".join(foot), fontsize=5.8, va="bottom", linespacing=1.4)
    return figure


def _axis_told(one: Measured) -> str:
    return f"Validation accuracy of {one.place[0]}, recipe {one.table.origin.recipe.label} (%)"


def _scatter(axis: Axes, found: Sequence[Pair]) -> None:
    for why, colour, marker in (("corner", VERMILION, "^"), ("sobol", BLUE, "o")):
        own = [one for one in found if one.small.why == why]
        if not own:
            continue
        x, y = 100 * np.array([one.accuracies for one in own]).T
        xerr = [100 * one.small.measurement.val_std_error for one in own]
        yerr = [100 * one.large.measurement.val_std_error for one in own]
        axis.errorbar(
            *(x, y, yerr, xerr),
            label={"corner": "corners of the box", "sobol": "Sobol points"}[why],
            fmt=marker,
            color=colour,
            markersize=3.2,
            elinewidth=0.6,
        )
    axis.grid(visible=True)


def provenance(smalls: Sequence[Measured], large: Measured) -> dict[str, Any]:
    """The correlations and where the numbers are from, as plain data."""
    return {
        "made_by": MADE_BY,
        "large": _origin(large),
        "small": [
            {**_origin(one), "agreement": _plain(agreement(pairs(one, large)))} for one in smalls
        ],
        "confidence": CONFIDENCE,
        "resamples": _RESAMPLES,
        "seed": _SEED,
    }


def _plain(found: Agreement) -> dict[str, Any]:
    return {
        "pairs": found.pairs,
        "spearman": found.rho,
        "low": found.low,
        "high": found.high,
        "concordant": found.concordant,
    }


def _origin(measured: Measured) -> dict[str, Any]:
    origin = measured.table.origin
    return {
        "table": origin.name,
        "model": origin.model,
        "family": origin.family,
        "data": origin.data,
        "recipe": origin.recipe.label,
        "seed": origin.seed,
        "parent_sha256": origin.parent_sha256,
        "rows": len(measured.table.samples),
    }


def write(facts: Facts, folder: Path) -> list[Path]:
    """Write the figure (SVG, PDF, PNG), its data (CSV) and its correlations and origin (JSON).

    Args:
        facts: its tables: the large network's, then those of the small one.
        folder: where the files go.

    Raises:
        CoinferError: when the tables do not go together, or share too few plans.
    """
    large, *smalls = facts.tables
    data, about = folder / f"{STEM}.csv", folder / f"{STEM}.json"
    text = json.dumps(provenance(smalls, large), indent=2) + "\n"
    data.write_text(csv_text(smalls, large), encoding="utf-8", newline="")
    about.write_text(text, encoding="utf-8")
    with house_style():
        return [*save(draw(smalls, large), folder, STEM, TITLE), data, about]
