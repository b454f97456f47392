"""Which predictor would have refused the plans that broke the floor: an experiment.

A search for the fastest plan that is predicted above the floor finds where its predictor is too
hopeful, so that plans which were chosen and then trained break the floor (Fig. 7 of the QHO paper).
Here predictors are judged on plans that they were not fitted to: those of a table, each predicted
without its fold, and those that methods chose and that were trained, predicted from the table
alone. What counts: how many plans a predictor takes, how many of them broke the floor and by how
much, and how many honest ones it refuses. Validation accuracies only (design ruling 1).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.folders import write_texts
from benchmarks.measured import in_box, measurements
from benchmarks.verify import FAMILY
from coinfer.accuracy.cautious import fit_loss_process
from coinfer.accuracy.regressors import fit
from coinfer.accuracy.scores import folds
from coinfer.accuracy.surrogate import Comparison, Labels, fitting_versions
from coinfer.cachefolder import kept_json
from coinfer.errors import CoinferError
from coinfer.plan import Task
from coinfer.serial import to_data
from coinfer.sources import closure_hash
from reproduce.facts import Facts
from reproduce.measured import Measured

STEM = "caution"
MADE_BY = f"coinfer reproduce {STEM}"
GUARD_BAND = 0.015
CONFIDENCES = (0.8, 0.9, 0.95)

Floats = NDArray[np.float64]
Bound = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Line:
    """What one predictor did on plans that it did not know.

    Attributes:
        predictor: its name.
        protocol: `cross-validated` (plans of the table) or `chosen` (what methods chose).
        n: plans.
        honest: of them measured above the floor.
        taken: plans that the predictor would let a search take.
        taken_broken: of them measured at the floor or below.
        taken_honest: of them measured above it.
        worst: lowest accuracy measured of a plan that is taken; None where none is.
        covered: share of all plans that measure no less than the predictor says.
    """

    predictor: str
    protocol: str
    n: int
    honest: int
    taken: int
    taken_broken: int
    taken_honest: int
    worst: float | None
    covered: float


def lines(measured: Measured) -> list[Line]:
    """Return what every predictor did, on the table's plans and on chosen ones where there are any.

    Raises:
        CoinferError: when the table has too few plans, or not the unpruned network.
    """
    labels, chosen = measured.labels, chosen_labels(measured)
    by = Comparison(repeats=1)
    code = closure_hash([__name__])
    key = [labels.data(), chosen.data(), floor_of(measured), to_data(by), fitting_versions(), code]
    found: list[dict[str, Any]] = kept_json(
        STEM, key, lambda: [asdict(line) for line in _judged(measured, chosen, by)]
    )
    return [Line(**line) for line in found]


def floor_of(measured: Measured) -> tuple[float, float]:
    """Return the accuracy of the unpruned network, and the floor below it.

    Raises:
        CoinferError: when the table does not have it.
    """
    for sample in measured.table.samples:
        if sample.measurement.plan.unchanged:
            baseline = sample.measurement.val_accuracy
            return baseline, baseline - Task.max_accuracy_loss
    raise CoinferError(
        f"table '{measured.table.origin.name}' lacks the unpruned network, the first plan of every "
        "design: there is no floor"
    )


def chosen_labels(measured: Measured) -> Labels:
    """Return the plans that methods chose of the table's box and that ship trained alike.

    From the same parent by the same recipe; without those that the table has itself.
    """
    origin = measured.table.origin
    shipped = measurements(origin.model)
    known = {sample.measurement.plan.hash for sample in measured.table.samples}
    found = [
        sample.measurement
        for table in (shipped.tables if shipped is not None else ())
        if table.origin.family == FAMILY
        and table.origin.parent_sha256 == origin.parent_sha256
        and table.origin.recipe == origin.recipe
        for sample in table.samples
        if sample.measurement.plan.hash not in known
        and in_box(sample.measurement.plan, measured.box)
    ]
    return Labels.of(
        measured.box,
        [m.plan for m in found],
        [m.val_accuracy for m in found],
        [m.val_std_error for m in found],
    )


def _judged(measured: Measured, chosen: Labels, by: Comparison) -> list[Line]:
    labels = measured.labels
    baseline, floor = floor_of(measured)
    name = measured.surrogate.regressor
    (held,) = folds(labels.x, by.folds, by.repeats, by.seed)
    without = [
        _bounds(labels.rows(held != fold), name, baseline, floor, by.seed)
        for fold in range(by.folds)
    ]
    whole = _bounds(labels, name, baseline, floor, by.seed)
    found = []
    for predictor, bound in whole.items():
        guess = np.empty(len(labels))
        for fold, bounds in enumerate(without):
            guess[held == fold] = bounds[predictor](labels.x[held == fold])
        found.append(_line(predictor, "cross-validated", labels.y, guess, floor))
        if len(chosen):
            found.append(_line(predictor, "chosen", chosen.y, bound(chosen.x), floor))
    return found


def _bounds(
    labels: Labels, regressor: str, baseline: float, floor: float, seed: int
) -> dict[str, Bound]:
    """Return what every predictor holds against the floor, fitted to some labels."""
    point = fit(regressor, labels.variables, labels.x, labels.y, labels.std_error, seed)
    process = fit_loss_process(labels, baseline, floor)
    return {
        f"{regressor}, the paper's way": point,
        f"the same, guard_band={GUARD_BAND:g}": lambda x: point(x) - GUARD_BAND,
        "process of the loss, median": process.accuracies,
        **{
            f"process of the loss, confidence={confidence:g}": partial(
                process.lower, confidence=confidence
            )
            for confidence in CONFIDENCES
        },
    }


def _line(predictor: str, protocol: str, measured: Floats, guess: Floats, floor: float) -> Line:
    honest, taken = measured > floor, guess > floor
    return Line(
        predictor,
        protocol,
        len(measured),
        int(honest.sum()),
        int(taken.sum()),
        int((taken & ~honest).sum()),
        int((taken & honest).sum()),
        float(measured[taken].min()) if taken.any() else None,
        float((measured >= guess).mean()),
    )


COLUMNS = (
    *("table", "model", "family", "data", "recipe", "baseline", "floor"),
    *(field.name for field in fields(Line)),
    *("evidence", "digest"),
)


def csv_text(measured: Measured, found: Sequence[Line]) -> str:
    """The experiment as CSV; `digest` is the hash of the table's plans and validation answers."""
    origin = measured.table.origin
    about = (origin.name, origin.model, origin.family, origin.data, origin.recipe.label)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in found:
        values = ["" if value is None else value for value in asdict(line).values()]
        writer.writerow(
            [*about, *floor_of(measured), *values, "measured, predicted", measured.digest]
        )
    return file.getvalue()


def describe(measured: Measured, found: Sequence[Line]) -> str:
    """The experiment as text."""
    origin = measured.table.origin
    baseline, floor = floor_of(measured)
    head = ("taken", "broken", "worst", "honest", "covered")
    told = [
        f"Plans that predictors would let a search take: '{origin.name}' ({origin.model}, "
        f"{origin.family} plans, recipe {origin.recipe.label}, data {origin.data}), unpruned "
        f"{baseline:.2%}, floor {floor:.2%}.",
    ]
    titles = {
        "cross-validated": "plans of the table, each predicted without its fold",
        "chosen": "plans that methods chose, predicted from the table alone",
    }
    for protocol, title in titles.items():
        own = [line for line in found if line.protocol == protocol]
        if not own:
            continue
        told += ["", f"{own[0].n} {title}:"]
        told.append(f"{'':<48}" + "".join(f"{name:>9}" for name in head))
        for line in own:
            worst = "-" if line.worst is None else f"{line.worst:.1%}"
            told.append(
                f"{line.predictor:<48}{line.taken:>9}{line.taken_broken:>9}{worst:>9}"
                f"{f'{line.taken_honest}/{line.honest}':>9}{line.covered:>9.0%}"
            )
    told += [
        "",
        "taken: held to be above the floor; broken: of them measured at it or below, worst the "
        "least; honest: of the plans measured above it, how many are taken; covered: plans that "
        "measure no less than was said.",
        f"{measured.size}; validation accuracies.",
    ]
    return "\n".join(told)


def write(facts: Facts, folder: Path) -> list[Path]:
    """Write the experiment (CSV, Markdown) and where it is from (JSON); return the files.

    Raises:
        CoinferError: as `lines`.
    """
    measured = facts.tables[0]
    found = lines(measured)
    data = csv_text(measured, found)
    digest = hashlib.sha256(data.encode()).hexdigest()[:12]
    about = {
        "made_by": MADE_BY,
        "origin": to_data(measured.table.origin),
        "samples": len(measured.table.samples),
        "digest": measured.digest,
        "comparison": to_data(Comparison(repeats=1)),
        "fitted_with": fitting_versions(),
    }
    texts = {
        "csv": data,
        "md": (
            f"# Cautious predictors\n\n```text\n{describe(measured, found)}\n```\n\n"
            "Evidence: accuracies measured, bounds predicted. "
            f"Data: {STEM}.csv, SHA-256 {digest}...\n"
        ),
        "json": json.dumps(about, indent=2, allow_nan=False) + "\n",
    }
    return write_texts(folder, STEM, texts)
