"""The recipe study: validation accuracy against fine-tuning length, at several sparsities.

It is what fixes a recipe before a sweep, and what tells how far a recipe is from where the curves
are flat. Every point is a training of its own, from the parent to a learning rate of zero.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.tables import Study
from coinfer.accuracy.recipe import RECIPES, Recipe
from coinfer.data.digits import NAME as DIGITS
from coinfer.data.split import VAL_PERCENT
from coinfer.errors import CoinferError
from reproduce.draw import Curve, Mark, curves, house_style, save
from reproduce.facts import Facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEM = "study"
# What tells our JSON from another file of that name.
MADE_BY = "coinfer reproduce study"
TITLE = "Accuracy against fine-tuning length (recipe study)"


@dataclass(frozen=True)
class Point:
    """One training.

    Attributes:
        sparsity: share of every prune group's units removed by L1 norm; 0 is the baseline.
        images: training images seen.
        accuracy: share of the validation images that were right, with its standard error.
        std_error: of the accuracy.
        n: validation images.
        row: the study's row.
    """

    sparsity: float
    images: int
    accuracy: float
    std_error: float
    n: int
    row: Mapping[str, str]


def points(study: Study) -> tuple[Point, ...]:
    """Return the trainings, by sparsity and then by length.

    Raises:
        CoinferError: when a row has a number that is none, or there are no rows.
    """
    if not study.rows:
        raise CoinferError(f"recipe study '{study.name}' has no rows; `coinfer recipe-study` adds")
    try:
        found = [
            Point(
                float(row["sparsity"]),
                int(row["images"]),
                float(row["val_accuracy"]),
                float(row["val_std_error"]),
                int(row["val_n"]),
                row,
            )
            for row in study.rows
        ]
    except ValueError as error:
        raise CoinferError(f"recipe study '{study.name}' is damaged: {error}") from error
    for point in found:
        if not (0 <= point.accuracy <= 1 and point.std_error >= 0 and point.images > 0):
            raise CoinferError(
                f"recipe study '{study.name}' is damaged: accuracy {point.accuracy} +- "
                f"{point.std_error} after {point.images} images"
            )
    return tuple(sorted(found, key=lambda point: (point.sparsity, point.images)))


def recipe_lengths(
    train_images: int, data: str, recipes: Mapping[str, Recipe] = RECIPES
) -> dict[int, tuple[str, ...]]:
    """Return the recipes' names by the training images that their fine-tuning sees, in order.

    A recipe that is made for another data set, and named after it, is left out; so is one that
    does not fine-tune.

    Args:
        train_images: images of the training split.
        data: name of the data set.
        recipes: by name.
    """
    found: dict[int, tuple[str, ...]] = {}
    for recipe in recipes.values():
        phases = recipe.stage("fine-tune")
        length = sum(phase.epochs * (phase.images or train_images) for phase in phases)
        if length and (recipe.name != DIGITS or data == DIGITS):
            found[length] = (*found.get(length, ()), recipe.label)
    return dict(sorted(found.items()))


COLUMNS = (
    *("study", "model", "data", "seed", "sparsity", "images", "val_accuracy", "val_std_error"),
    *("val_n", "evidence", "flops", "machine", "code", "plan_hash", "result_hash"),
)


def csv_text(study: Study) -> str:
    """The data behind the figure, with the digits of the study; all accuracies are measured."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    origin = {name: study.origin.get(name, "") for name in ("model", "data", "seed")}
    about = {"study": study.name, "evidence": "measured", **origin}
    writer.writerows({**point.row, **about} for point in points(study))
    return file.getvalue()


def footnote(study: Study) -> str:
    """What a reader must know: network, data, parent, evidence, and the hash of the data."""
    found, origin = points(study), study.origin
    images = ", ".join(f"{n:,}" for n in sorted({point.n for point in found}))
    digest = hashlib.sha256(csv_text(study).encode()).hexdigest()[:12]
    return "\n".join(
        [
            f"{origin.get('model')} on {origin.get('data')}, {len(found)} trainings of seed "
            f"{origin.get('seed')} from parent {str(origin.get('parent_sha256'))[:8]}; a share of "
            "every layer's units pruned by L1 norm at once, then fine-tuned.",
            f"Bars: one standard error of {images} validation images to each side. Dotted lines: "
            "training images that the recipes' fine-tuning sees.",
            f"Accuracy evidence: measured. Data: {STEM}.csv, SHA-256 {digest}...",
        ]
    )


def draw(study: Study) -> Figure:
    """Draw the figure (to be used in `house_style`)."""
    found = points(study)
    lines = []
    for sparsity in sorted({point.sparsity for point in found}):
        own = [point for point in found if point.sparsity == sparsity]
        lines.append(
            Curve(
                f"{100 * sparsity:g} % pruned" if sparsity else "unpruned (baseline)",
                tuple(float(point.images) for point in own),
                tuple(100 * point.accuracy for point in own),
                tuple(100 * point.std_error for point in own),
                baseline=not sparsity,
            )
        )
    # Validation images are a tenth of the training part; the rest is trained on.
    train_images = max(point.n for point in found) * (100 - VAL_PERCENT) // VAL_PERCENT
    marks = [
        Mark(float(length), f"{', '.join(names)}\n{length:,}")
        for length, names in recipe_lengths(train_images, study.origin.get("data", "")).items()
    ]
    return curves(
        lines,
        marks,
        "Training images seen in fine-tuning, log scale",
        "Validation accuracy (%)",
        footnote(study),
    )


def provenance(study: Study) -> dict[str, Any]:
    """Where the numbers are from, as plain data."""
    return {
        "made_by": MADE_BY,
        "study": study.name,
        "origin": dict(study.origin),
        "rows": len(study.rows),
        "machines": {name: study.machines[name] for name in sorted(study.machines)},
        "code": sorted({row["code"] for row in study.rows}),
    }


def write(facts: Facts, folder: Path) -> list[Path]:
    """Write the figure (SVG, PDF, PNG), its data (CSV) and where they are from (JSON).

    Raises:
        CoinferError: when the study has no rows, or a damaged one.
    """
    study = facts.study
    assert study is not None
    data, about = folder / f"{STEM}.csv", folder / f"{STEM}.json"
    data.write_text(csv_text(study), encoding="utf-8", newline="")
    about.write_text(json.dumps(provenance(study), indent=2) + "\n", encoding="utf-8")
    with house_style():
        return [*save(draw(study), folder, STEM, TITLE), data, about]
