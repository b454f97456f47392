"""Table IV of the QHO paper: six regressors that predict accuracy, on our own measurements.

The paper's accuracies are not published, so its numbers can be held against ours only as far as
the two sets of plans are alike; which regressor is best is the comparison that carries over.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.folders import write_texts
from coinfer.accuracy.surrogate import Comparison
from coinfer.serial import to_data
from coinfer.versions import installed_version
from reproduce.claims import paper
from reproduce.facts import Facts
from reproduce.measured import HELD_OUT, LARGER_IS_BETTER, Measured

STEM = "table4"
STATISTICS = tuple(LARGER_IS_BETTER)
"""The table's columns."""

_TARGET = 300
# What decides the bits of a prediction beside our own code.
_PACKAGES = ("scikit-learn", "numpy", "scipy")


@dataclass(frozen=True)
class Line:
    """One regressor under one protocol: our statistics beside the paper's.

    Attributes:
        regressor: scikit-learn's name.
        protocol: on which plans it was judged, as `coinfer.accuracy.surrogate.table4` says.
        n: plans, p: variables.
        ours: statistic by name, and `r2`; None where it is not defined.
        theirs: the same of the paper; empty for regressors beyond it.
    """

    regressor: str
    protocol: str
    n: int
    p: int
    ours: dict[str, float | None]
    theirs: dict[str, float]


def lines(measured: Measured) -> list[Line]:
    """Return the table under every protocol, the paper's six regressors first, then ours.

    Raises:
        CoinferError: when there are too few plans.
    """
    published = _published()
    return [
        Line(
            row["regressor"],
            row["protocol"],
            row["n"],
            row["p"],
            {name: row[name] for name in ("r2", *STATISTICS)},
            published.get(row["regressor"], {}),
        )
        for row in measured.table4
    ]


def describe(measured: Measured) -> str:
    """Return Table IV for a measurement table, as text.

    Raises:
        CoinferError: when it has too few rows.
    """
    table, labels = measured.table, measured.labels
    chosen = measured.surrogate.chosen
    origin = table.origin
    head = f"{'':<31}" + "".join(f"{name:>22}" for name in STATISTICS)
    rows = [
        f"{line.regressor:<31}"
        + "".join(
            f"{_number(line.ours[name]):>12}{_number(line.theirs.get(name)):>10}"
            for name in STATISTICS
        )
        for line in lines(measured)
        if line.protocol == HELD_OUT
    ]
    by = Comparison()
    noise = labels.noise_mse or 0.0
    few = "" if len(labels) >= _TARGET else f" The paper has {_TARGET}."
    return "\n".join(
        [
            f"Table IV of the QHO paper on '{origin.name}' ({origin.model}, {origin.family} plans, "
            f"recipe {origin.recipe.label}, data {origin.data}): ours, then the paper's.",
            head,
            *rows,
            f"{measured.size}, validation accuracies, every plan predicted by models "
            f"fitted without it ({by.folds} folds, {by.repeats} repeats).{few}",
            f"No predictor can be better than a mean squared error of {noise:.3g}: the labels' own "
            "standard errors.",
            f"Chosen by held-out error: {chosen.regressor}, mean squared error {chosen.mse:.3g}, "
            f"its 90 % intervals hold {chosen.coverage:.0%} of the held-out plans.",
        ]
    )


COLUMNS = (
    *("table", "model", "family", "data", "recipe", "target", "regressor", "protocol", "n", "p"),
    *("r2", *STATISTICS, *(f"paper_{name}" for name in STATISTICS)),
    *("evidence", "noise_mse", "digest"),
)


def csv_text(measured: Measured) -> str:
    """The table as CSV; numbers are written so that they read back exactly, '' where undefined.

    `evidence` is that of our numbers; those of the paper are published. `digest` is the hash of
    the plans and validation answers that ours rest on (`reproduce.measured.Measured.digest`).
    """
    origin = measured.table.origin
    about = (
        *(origin.name, origin.model, origin.family, origin.data),
        *(origin.recipe.label, origin.target),
    )
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines(measured):
        numbers = [line.ours[name] for name in ("r2", *STATISTICS)]
        numbers += [line.theirs.get(name) for name in STATISTICS]
        writer.writerow(
            [
                *(*about, line.regressor, line.protocol, line.n, line.p),
                *("" if number is None else number for number in numbers),
                *("measured, predicted", measured.labels.noise_mse, measured.digest),
            ]
        )
    return file.getvalue()


def provenance(measured: Measured) -> dict[str, Any]:
    """Where the numbers are from, as plain data: origin, machines, code and versions."""
    table = measured.table
    return {
        "origin": to_data(table.origin),
        "samples": len(table.samples),
        "failed": dict(sorted(table.failed.items())),
        "digest": measured.digest,
        "machines": {name: dict(about) for name, about in sorted(table.machines.items())},
        "code": sorted({sample.code for sample in table.samples}),
        "comparison": to_data(Comparison()),
        "fitted_with": {package: installed_version(package) for package in _PACKAGES},
    }


def markdown_text(measured: Measured, data: str) -> str:
    """The table for people, with the hash of its data (`data` is the CSV's text)."""
    digest = hashlib.sha256(data.encode()).hexdigest()[:12]
    return (
        f"# Table IV of the QHO paper\n\n```text\n{describe(measured)}\n```\n\n"
        "Evidence: ours measured (accuracies) and predicted (by regressors), the paper's "
        f"published. Data: {STEM}.csv, SHA-256 {digest}...; its origin: {STEM}.json.\n"
    )


def write(facts: Facts, folder: Path) -> list[Path]:
    """Write the table (CSV, Markdown) and where it is from (JSON); return the files.

    Raises:
        CoinferError: when the measurement table has too few rows.
    """
    measured = facts.tables[0]
    data = csv_text(measured)
    texts = {
        "csv": data,
        "md": markdown_text(measured, data),
        "json": json.dumps(provenance(measured), indent=2, allow_nan=False) + "\n",
    }
    return write_texts(folder, STEM, texts)


def _published() -> dict[str, dict[str, float]]:
    """The paper's numbers by regressor and statistic, from the claims file."""
    found: dict[str, dict[str, float]] = {}
    for claim in paper("Q").claims:
        asked = claim.measured
        if asked is not None and asked.measure == "score" and claim.theirs is not None:
            found.setdefault(asked.regressor, {})[asked.statistic] = float(claim.theirs)
    return found


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 10 else f"{value:.0f}"
