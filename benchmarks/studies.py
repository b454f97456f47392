"""Accuracy against training length: trainings that differ in it, and in a few named things.

Every point is a training of its own, from the parent to a learning rate of zero. What tells the
curves of a study apart (its cases) and how long each is trained is up to its kind:
`benchmarks.recipe_study`, `benchmarks.code_study`.
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
from coinfer.errors import CoinferError
from coinfer.plan import Plan
from coinfer.serial import to_data

_MEASURED = (
    *("images", "val_accuracy", "val_std_error", "val_n", "flops", "seconds"),
    *("machine", "code", "plan_hash", "result_hash"),
)
_HASH_LENGTH = 64


@dataclass(frozen=True)
class Kind:
    """What a study is of.

    Attributes:
        name: in two words.
        command: of ours that makes such studies.
        cases: columns that tell its curves apart.
    """

    name: str
    command: str
    cases: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the study's table."""
        return (*self.cases, *_MEASURED)


RECIPE_STUDY = Kind("recipe study", "coinfer recipe-study", ("sparsity",))
CODE_STUDY = Kind("code study", "coinfer code-study", ("family", "cut", "codec"))
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (RECIPE_STUDY, CODE_STUDY)}


@dataclass(frozen=True)
class Point:
    """One training of a study.

    Attributes:
        case: values of the kind's columns.
        images: training images seen.
        recipe: how.
        plan: what is trained.
    """

    case: tuple[str, ...]
    images: int
    recipe: Recipe
    plan: Plan

    @property
    def key(self) -> tuple[str, ...]:
        """What tells its row from others."""
        return (*self.case, str(self.images))


def of_length(phase: Phase, images: int, train_images: int) -> Phase:
    """Return a phase that sees so many images: part of the training images once, or whole passes.

    Args:
        phase: how it trains otherwise.
        images: wanted; beyond one pass the nearest number of whole passes is taken.
        train_images: of the training split.
    """
    if images < train_images:
        return replace(phase, epochs=1, images=images)
    return replace(phase, epochs=round(images / train_images), images=None)


def run_study(
    path: Path,
    kind: Kind,
    wanted: Sequence[Point],
    base: Training,
    about: Mapping[str, Any],
    *,
    executor: str = "joblib",
    jobs: int | None = None,
    address: str | None = None,
) -> Iterator[tuple[int, int]]:
    """Train what the file at `path` lacks, write each row as it is done; yield (done, all).

    Args:
        path: of the CSV; its origin stands in a JSON beside it.
        kind: what the study is of.
        wanted: its trainings, in the order of the rows.
        base: parent, data, seed and device of every training; plan and recipe are replaced.
        about: what all rows have in common, as plain data; a file of another origin is refused.
        executor, jobs, address: as `run_trainings`.

    Raises:
        CoinferError: when the file is of another study or damaged, or a training fails.
    """
    rows, machines = _begun(path, kind, about)
    known = {_key(kind, row) for row in rows}
    missing = [point for point in wanted if point.key not in known]
    order = {point.key: number for number, point in enumerate(wanted)}
    done = len(wanted) - len(missing)
    yield done, len(wanted)
    trainings = [replace(base, plan=point.plan, recipe=point.recipe) for point in missing]
    for position, trained in run_trainings(
        trainings, executor=executor, jobs=jobs, address=address
    ):
        if isinstance(trained, CoinferError):
            raise trained
        rows.append(_row(kind, missing[position], trained))
        rows.sort(key=lambda row: order.get(_key(kind, row), len(order)))
        machines[trained.machine_name] = trained.machine
        _write(path, kind, about, rows, machines)
        done += 1
        yield done, len(wanted)


def read_study(path: Path) -> tuple[Kind, list[dict[str, str]], dict[str, Any]]:
    """Return the kind of a study, its rows, and where they are from.

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
    found = {kind.columns: kind for kind in KINDS.values()}.get(tuple(table.fieldnames or ()))
    if found is None:
        accepted = "; or ".join(", ".join(kind.columns) for kind in KINDS.values())
        raise CoinferError(f"'{path}' is damaged; accepted: columns {accepted}")
    if not all(all(r.values()) and len(r["result_hash"] or "") == _HASH_LENGTH for r in rows):
        raise CoinferError(f"'{path}' is damaged: a row has no value in some column")
    return found, rows, about


def _begun(
    path: Path, kind: Kind, about: Mapping[str, Any]
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Return the rows and machines at `path`, none where there is no file."""
    if not path.exists():
        return [], {}
    of, rows, found = read_study(path)
    if of != kind:
        raise CoinferError(f"'{path}' is a {of.name}; accepted: a {kind.name}, or another file")
    if found.get("origin") != json.loads(json.dumps(to_data(dict(about)))):
        raise CoinferError(
            f"'{path}' was begun from another parent, other data or another seed; give another "
            "file, or the same arguments"
        )
    return rows, dict(found["machines"])


def _key(kind: Kind, row: Mapping[str, str]) -> tuple[str, ...]:
    return (*(row[name] for name in kind.cases), row["images"])


def _row(kind: Kind, point: Point, trained: Trained) -> dict[str, str]:
    m = trained.measurement
    values = {
        **dict(zip(kind.cases, point.case, strict=True)),
        "images": point.images,
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
    return {name: str(values[name]) for name in kind.columns}


def _write(
    path: Path,
    kind: Kind,
    about: Mapping[str, Any],
    rows: list[dict[str, str]],
    machines: Mapping[str, Any],
) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, kind.columns, lineterminator="\n")
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
