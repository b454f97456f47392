"""Accuracy against training length: trainings that differ in it, and in a few named things.

Every point is a training of its own, from the parent to a learning rate of zero. What tells the
curves of a study apart (its cases) and how long each is trained is up to its kind:
`benchmarks.recipe_study`, `benchmarks.code_study`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.trainings import Trained, Training, run_trainings
from coinfer.accuracy.recipe import Phase, Recipe
from coinfer.errors import CoinferError
from coinfer.plan import Plan
from coinfer.records import Records, check_output, read_records, write_records
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
        origin = to_data(dict(about))
        write_records(path, kind.columns, rows, {"origin": origin, "machines": machines})
        done += 1
        yield done, len(wanted)


def read_study(path: Path, *, unfinished: bool = False) -> tuple[Kind, Records]:
    """Return the kind of a study, and its rows with where they are from.

    Args:
        path: of the CSV.
        unfinished: accept fewer rows than the JSON tells of, as `coinfer.records.read_records`.

    Raises:
        CoinferError: when a file is missing or damaged, naming it and the row.
    """
    found = read_records(path, unfinished=unfinished)
    kind = {kind.columns: kind for kind in KINDS.values()}.get(found.columns)
    if kind is None:
        accepted = "; or ".join(", ".join(kind.columns) for kind in KINDS.values())
        raise CoinferError(f"'{path}' is no study; accepted: columns {accepted}")
    seen: set[tuple[str, ...]] = set()
    for number, row in enumerate(found.rows, start=2):
        key = _key(kind, row)
        if key in seen:
            raise CoinferError(f"'{path}' line {number} is damaged: {key} stands in a row before")
        seen.add(key)
        if not all(row.values()) or len(row["result_hash"]) != _HASH_LENGTH:
            raise CoinferError(f"'{path}' line {number} is damaged: a column has no value")
    return kind, found


def _begun(
    path: Path, kind: Kind, about: Mapping[str, Any]
) -> tuple[list[Mapping[str, str]], dict[str, Any]]:
    """Return the rows and machines at `path`, none where there is no file."""
    check_output(path)
    if not path.exists():
        return [], {}
    of, found = read_study(path, unfinished=True)
    if of != kind:
        raise CoinferError(f"'{path}' is a {of.name}; accepted: a {kind.name}, or another file")
    if found.origin != json.loads(json.dumps(to_data(dict(about)))):
        raise CoinferError(
            f"'{path}' was begun from another parent, other data or another seed; give another "
            "file, or the same arguments"
        )
    return list(found.rows), dict(found.machines)


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
