"""Studies of training lengths: validation accuracy against the training images seen.

The recipe study is what fixes a recipe before a sweep, and what tells how far a recipe is from
where the curves are flat. The code study tells whether a method that learns a code has no plan
within the accuracy floor for want of training, or because its code is too narrow. Every point is a
training of its own, from the parent to a learning rate of zero.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.code_study import NO_CODE
from benchmarks.studies import CODE_STUDY, RECIPE_STUDY, Kind
from benchmarks.tables import Study
from coinfer.accuracy.recipe import RECIPES, Recipe, Stage
from coinfer.data.digits import NAME as DIGITS
from coinfer.data.split import VAL_PERCENT
from coinfer.errors import CoinferError
from reproduce.draw import Curve, Mark, curves, house_style, save
from reproduce.facts import Facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Images beyond it cannot be told apart as floating-point numbers, and nobody has so many.
_MANY = 2**53


@dataclass(frozen=True)
class Look:
    """How a kind of study is shown.

    Attributes:
        kind: of study.
        stem: of the files, and the figure's name.
        title: of the figure.
        stages: what of a recipe the images of a point are counted over.
        marked: the same of the recipes that are marked, for the footnote.
        seen: name of the horizontal axis.
        case: from a row's values of the kind's columns: where its curve stands in the order, its
            name, and whether the others are held against it.
        told: what was done, for the footnote.
    """

    kind: Kind
    stem: str
    title: str
    stages: tuple[Stage, ...]
    marked: str
    seen: str
    case: Callable[[tuple[str, ...]], tuple[Any, str, bool]]
    told: str

    @property
    def made_by(self) -> str:
        """What tells our JSON from another file of that name."""
        return f"coinfer reproduce {self.stem}"


def _sparsity(case: tuple[str, ...]) -> tuple[Any, str, bool]:
    share = float(case[0])
    return share, f"{100 * share:g} % pruned" if share else "unpruned (baseline)", not share


def _code(case: tuple[str, ...]) -> tuple[Any, str, bool]:
    family, cut, codec = case
    baseline = family == NO_CODE
    # Numbers in a name count as numbers: features.9 comes before features.12.
    parts = re.split(r"(\d+)", cut)
    place = tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)
    name = "no code (baseline)" if baseline else f"{family}, {cut}"
    return (not baseline, family, place, codec), name, baseline


_LOOKS = (
    Look(
        RECIPE_STUDY,
        "study",
        "Accuracy against fine-tuning length (recipe study)",
        ("fine-tune",),
        "fine-tuning sees",
        "Training images seen in fine-tuning, log scale",
        _sparsity,
        "a share of every layer's units pruned by L1 norm at once, then fine-tuned.",
    ),
    Look(
        CODE_STUDY,
        "codes",
        "Accuracy against training length, through the widest codes (code study)",
        ("fine-tune", "codec", "joint"),
        "phases see together",
        "Training images seen by recipe cpu, shortened or lengthened, log scale",
        _code,
        "unpruned, with the widest code of a family of plans at a cut, or with none.",
    ),
)
LOOKS: Mapping[Kind, Look] = {look.kind: look for look in _LOOKS}


@dataclass(frozen=True)
class Point:
    """One training.

    Attributes:
        order: where its curve stands among the others.
        label: the curve's name.
        baseline: whether the others are held against it.
        images: training images seen.
        accuracy: share of the validation images that were right, with its standard error.
        std_error: of the accuracy.
        n: validation images.
        row: the study's row.
    """

    order: Any
    label: str
    baseline: bool
    images: int
    accuracy: float
    std_error: float
    n: int
    row: Mapping[str, str]


def points(study: Study) -> tuple[Point, ...]:
    """Return the trainings, curve by curve and then by length.

    Raises:
        CoinferError: when a row has a number that is none, or there are no rows.
    """
    kind = study.kind
    if not study.rows:
        raise CoinferError(f"{kind.name} '{study.name}' has no rows; `{kind.command}` adds")
    try:
        found = [
            Point(
                *LOOKS[kind].case(tuple(row[name] for name in kind.cases)),
                int(row["images"]),
                float(row["val_accuracy"]),
                float(row["val_std_error"]),
                int(row["val_n"]),
                row,
            )
            for row in study.rows
        ]
    except ValueError as error:
        raise CoinferError(f"{kind.name} '{study.name}' is damaged: {error}") from error
    for point in found:
        shares = (point.accuracy, point.std_error)
        counts = (point.images, point.n)
        if not (all(0 <= one <= 1 for one in shares) and all(0 < n < _MANY for n in counts)):
            raise CoinferError(
                f"{kind.name} '{study.name}' is damaged: accuracy {point.accuracy} +- "
                f"{point.std_error} on {str(point.n)[:20]} images after {str(point.images)[:20]}"
            )
    return tuple(sorted(found, key=lambda point: (point.order, point.images)))


def recipe_lengths(
    train_images: int,
    data: str,
    stages: tuple[Stage, ...],
    recipes: Mapping[str, Recipe] = RECIPES,
) -> dict[int, tuple[str, ...]]:
    """Return the recipes' names by the training images that some of their stages see, in order.

    A recipe that is made for another data set, and named after it, is left out; so is one that
    trains nothing there and, where codes are trained, one that does not start them at random.

    Args:
        train_images: images of the training split.
        data: name of the data set.
        stages: what is counted.
        recipes: by name.
    """
    found: dict[int, tuple[str, ...]] = {}
    for recipe in recipes.values():
        phases = recipe.stage(*stages)
        length = sum(phase.epochs * (phase.images or train_images) for phase in phases)
        other_start = "codec" in stages and recipe.stage("start")
        if length and not other_start and (recipe.name != DIGITS or data == DIGITS):
            found[length] = (*found.get(length, ()), recipe.label)
    return dict(sorted(found.items()))


_ABOUT = ("study", "model", "data", "seed")
_MEASURED = (
    *("images", "val_accuracy", "val_std_error", "val_n", "evidence", "flops", "machine", "code"),
    *("plan_hash", "result_hash"),
)


def csv_text(study: Study) -> str:
    """The data behind the figure, with the digits of the study; all accuracies are measured."""
    file = io.StringIO()
    columns = (*_ABOUT, *study.kind.cases, *_MEASURED)
    writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    origin = {name: study.origin.get(name, "") for name in ("model", "data", "seed")}
    about = {"study": study.name, "evidence": "measured", **origin}
    writer.writerows({**point.row, **about} for point in points(study))
    return file.getvalue()


def footnote(study: Study) -> str:
    """What a reader must know: network, data, parent, evidence, and the hash of the data."""
    found, origin, look = points(study), study.origin, LOOKS[study.kind]
    images = ", ".join(f"{n:,}" for n in sorted({point.n for point in found}))
    digest = hashlib.sha256(csv_text(study).encode()).hexdigest()[:12]
    return "\n".join(
        [
            f"{origin.get('model')} on {origin.get('data')}, {len(found)} trainings of seed "
            f"{origin.get('seed')} from parent {str(origin.get('parent_sha256'))[:8]}; {look.told}",
            f"Bars: one standard error of {images} validation images to each side. Dotted lines: "
            f"training images that the recipes' {look.marked}.",
            f"Accuracy evidence: measured. Data: {look.stem}.csv, SHA-256 {digest}...",
        ]
    )


def draw(study: Study) -> Figure:
    """Draw the figure (to be used in `house_style`)."""
    found, look = points(study), LOOKS[study.kind]
    lines = []
    for order in dict.fromkeys(point.order for point in found):
        own = [point for point in found if point.order == order]
        lines.append(
            Curve(
                own[0].label,
                tuple(float(point.images) for point in own),
                tuple(100 * point.accuracy for point in own),
                tuple(100 * point.std_error for point in own),
                baseline=own[0].baseline,
            )
        )
    # Validation images are a tenth of the training part; the rest is trained on.
    train_images = max(point.n for point in found) * (100 - VAL_PERCENT) // VAL_PERCENT
    lengths = recipe_lengths(train_images, study.origin.get("data", ""), look.stages)
    marks = [
        Mark(float(length), f"{', '.join(names)}\n{length:,}") for length, names in lengths.items()
    ]
    return curves(lines, marks, look.seen, "Validation accuracy (%)", footnote(study))


def provenance(study: Study) -> dict[str, Any]:
    """Where the numbers are from, as plain data."""
    return {
        "made_by": LOOKS[study.kind].made_by,
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
    look = LOOKS[study.kind]
    data, about = folder / f"{look.stem}.csv", folder / f"{look.stem}.json"
    data.write_text(csv_text(study), encoding="utf-8", newline="")
    about.write_text(json.dumps(provenance(study), indent=2) + "\n", encoding="utf-8")
    with house_style():
        return [*save(draw(study), folder, look.stem, look.title), data, about]
