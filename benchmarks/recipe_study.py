"""How long to fine-tune: accuracy against training length, at several sparsities.

What fixes a recipe before a sweep: it ends where the curves are flat. Every point is a training of
its own, from the parent to a learning rate of zero; the unpruned network goes through the same
lengths, as the baseline of each.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.trainings import Trained, Training, run_trainings
from coinfer.accuracy.recipe import Phase, Recipe
from coinfer.cachefolder import write_atomically
from coinfer.compression.space import PruneSpace
from coinfer.errors import CoinferError
from coinfer.plan import CutRef, Plan
from coinfer.serial import to_data

SPARSITIES = (0.0, 0.3, 0.6, 0.8)
"""Shares of every group's units that are removed, by L1 norm; 0 is the baseline."""

LENGTHS = (5_632, 22_528, 45_000, 90_000, 180_000, 360_000, 720_000)
"""Training images seen: up to one pass of a fixed subset, then whole passes."""

COLUMNS = (
    *("sparsity", "images", "val_accuracy", "val_std_error", "val_n", "flops", "seconds"),
    *("machine", "code", "plan_hash", "result_hash"),
)

_HASH_LENGTH = 64


@dataclass(frozen=True)
class Point:
    """One training of the study."""

    sparsity: float
    length: int
    recipe: Recipe
    plan: Plan


def points(
    space: PruneSpace, model: str, train_images: int, lengths: Sequence[int] = LENGTHS
) -> Iterator[Point]:
    """Yield the trainings of the study, the short ones first."""
    last = space.graph.cuts[-1]
    cut = CutRef(last.index, last.after)
    for length in lengths:
        for sparsity in SPARSITIES:
            kept = space.kept_from_sparsity(sparsity)
            plan = Plan(model, cut, keep=space.keep_pairs(kept), criterion="l1")
            if sparsity == 0:
                plan = replace(plan, criterion="none")
            yield Point(sparsity, length, fine_tuning(length, train_images), plan)


def fine_tuning(length: int, train_images: int) -> Recipe:
    """Return the recipe that only fine-tunes, for so many images in whole passes."""
    epochs = max(1, round(length / train_images))
    images = length if length < train_images else None
    phase = Phase("fine-tune", epochs, 1e-2, images=images, clip_norm=5.0)
    return Recipe(f"fine-tune-{length}", 1, (phase,))


def run_study(
    path: Path,
    base: Training,
    space: PruneSpace,
    train_images: int,
    about: Mapping[str, Any],
    *,
    lengths: Sequence[int] = LENGTHS,
    executor: str = "joblib",
    jobs: int | None = None,
    address: str | None = None,
) -> Iterator[tuple[int, int]]:
    """Train what the file at `path` lacks, write each row as it is done; yield (done, all).

    Args:
        path: of the CSV; its origin stands in a JSON beside it.
        base: parent, data, seed and device of every training; plan and recipe are replaced.
        space: prune space of the network.
        train_images: images of the training split.
        about: what all rows have in common, as plain data; a file of another origin is refused.
        lengths: training lengths.
        executor, jobs, address: as `run_trainings`.

    Raises:
        CoinferError: when the file is of another study or damaged, or a training fails.
    """
    wanted = list(points(space, base.plan.model, train_images, lengths))
    rows, machines = _read(path, about)
    known = {(row["sparsity"], row["images"]) for row in rows}
    missing = [p for p in wanted if (str(p.sparsity), str(p.length)) not in known]
    order = {(str(p.sparsity), str(p.length)): number for number, p in enumerate(wanted)}
    yield len(wanted) - len(missing), len(wanted)
    trainings = [replace(base, plan=p.plan, recipe=p.recipe) for p in missing]
    done = len(wanted) - len(missing)
    for position, trained in run_trainings(
        trainings, executor=executor, jobs=jobs, address=address
    ):
        if isinstance(trained, CoinferError):
            raise trained
        rows.append(_row(missing[position], trained))
        rows.sort(key=lambda row: order.get((row["sparsity"], row["images"]), len(order)))
        machines[trained.machine_name] = trained.machine
        _write(path, about, rows, machines)
        done += 1
        yield done, len(wanted)


def read_study(path: Path) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Return the rows of a study and its origin.

    Raises:
        CoinferError: when a file is missing or damaged.
    """
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        table = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        rows = list(table)
    except OSError as error:
        raise CoinferError(f"cannot read '{error.filename}': {error.strerror}") from error
    except ValueError as error:
        raise CoinferError(f"'{path.with_suffix('.json')}' is no JSON: {error}") from error
    whole = all(all(r.values()) and len(r["result_hash"] or "") == _HASH_LENGTH for r in rows)
    if tuple(table.fieldnames or ()) != COLUMNS or not whole:
        raise CoinferError(f"'{path}' is damaged; accepted: columns {', '.join(COLUMNS)}")
    return rows, about


def _read(path: Path, about: Mapping[str, Any]) -> tuple[list[dict[str, str]], dict[str, Any]]:
    if not path.exists():
        return [], {}
    rows, found = read_study(path)
    if found.get("origin") != json.loads(json.dumps(to_data(dict(about)))):
        raise CoinferError(
            f"'{path}' was begun from another parent, other data or another seed; give another "
            "file, or the same arguments"
        )
    return rows, dict(found["machines"])


def _row(point: Point, trained: Trained) -> dict[str, str]:
    m = trained.measurement
    values = {
        "sparsity": point.sparsity,
        "images": point.length,
        "val_accuracy": m.val_accuracy,
        "val_std_error": round(m.val_std_error, 6),
        "val_n": m.val_n,
        "flops": m.device_flops + m.server_flops,
        "seconds": round(trained.seconds, 1),
        "machine": trained.machine_name,
        "code": trained.code,
        "plan_hash": m.plan.hash,
        "result_hash": m.hash,
    }
    return {name: str(values[name]) for name in COLUMNS}


def _write(
    path: Path,
    about: Mapping[str, Any],
    rows: list[dict[str, str]],
    machines: Mapping[str, Any],
) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    beside = {"origin": to_data(dict(about)), "machines": dict(machines)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The JSON first: rows without their origin would be of no use.
        write_atomically(path.with_suffix(".json"), (json.dumps(beside, indent=2) + "\n").encode())
        write_atomically(path, text.getvalue().encode())
    except OSError as error:
        raise CoinferError(f"cannot write '{path}': {error.strerror}") from error
