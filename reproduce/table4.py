"""Table IV of the QHO paper: six regressors that predict accuracy, on our own measurements.

The paper's accuracies are not published, so its numbers can be held against ours only as far as
the two sets of plans are alike; which regressor is best is the comparison that carries over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coinfer.accuracy.box import search_box
from coinfer.accuracy.regressors import REGRESSORS
from coinfer.accuracy.surrogate import Labels, fit_surrogate, table4
from coinfer.accuracy.table import Table
from coinfer.tasks import make_task
from reproduce.claims import paper

STATISTICS = {
    "mse": "mean squared error",
    "adjusted_r2": "adjusted R2",
    "aic": "AIC",
    "bic": "BIC",
}
"""Our names of the table's columns, and those of the claims."""

_PROTOCOL = "cross-validated"
_TARGET = 300


@dataclass(frozen=True)
class Line:
    """One regressor: our statistics on held-out plans beside the paper's.

    Attributes:
        regressor: scikit-learn's name.
        ours: statistic by name; None where it is not defined.
        theirs: the same of the paper; empty for regressors beyond it.
    """

    regressor: str
    ours: dict[str, float | None]
    theirs: dict[str, float]


def labels_of(table: Table) -> Labels:
    """Return a measurement table as labels: validation accuracies, never test ones.

    Raises:
        CoinferError: for a table whose plans are none of its family's.
    """
    box = search_box(make_task(table.origin.model, groups=True), table.origin.family)
    measured = [sample.measurement for sample in table.samples]
    return Labels.of(
        box,
        [m.plan for m in measured],
        [m.val_accuracy for m in measured],
        [m.val_std_error for m in measured],
    )


def lines(labels: Labels) -> list[Line]:
    """Return the table, the paper's six regressors first, then ours.

    Raises:
        CoinferError: when there are too few labels.
    """
    published = _published()
    rows = [row for row in table4(labels, regressors=REGRESSORS) if row["protocol"] == _PROTOCOL]
    return [
        Line(
            row["regressor"],
            {name: row[name] for name in STATISTICS},
            published.get(row["regressor"], {}),
        )
        for row in rows
    ]


def describe(table: Table) -> str:
    """Return Table IV for a measurement table, as text.

    Raises:
        CoinferError: when it has too few rows.
    """
    labels = labels_of(table)
    chosen = fit_surrogate(labels).chosen
    origin = table.origin
    head = f"{'':<31}" + "".join(f"{name:>22}" for name in STATISTICS)
    rows = [
        f"{line.regressor:<31}"
        + "".join(
            f"{_number(line.ours[name]):>12}{_number(line.theirs.get(name)):>10}"
            for name in STATISTICS
        )
        for line in lines(labels)
    ]
    noise = labels.noise_mse or 0.0
    few = "" if len(labels) >= _TARGET else f" The paper has {_TARGET}."
    return "\n".join(
        [
            f"Table IV of the QHO paper on '{origin.name}' ({origin.model}, {origin.family} plans, "
            f"recipe {origin.recipe.label}, data {origin.data}): ours, then the paper's.",
            head,
            *rows,
            f"{len(labels)} measured plans, validation accuracies, every plan predicted by models "
            f"fitted without it (5 folds, 3 repeats).{few}",
            f"No predictor can be better than a mean squared error of {noise:.3g}: the labels' own "
            "standard errors.",
            f"Chosen by held-out error: {chosen.regressor}, mean squared error {chosen.mse:.3g}, "
            f"its 90 % intervals hold {chosen.coverage:.0%} of the held-out plans.",
        ]
    )


def _published() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for claim in paper("Q").claims:
        regressor, _, what = claim.statement.partition(" predicts accuracy with this ")
        names = [name for name, text in STATISTICS.items() if text == what]
        if claim.stem == "Q-t4" and names and claim.theirs is not None:
            found.setdefault(regressor, {})[names[0]] = float(claim.theirs)
    return found


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 10 else f"{value:.0f}"
