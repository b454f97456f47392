"""A sweep: measure a design of plans, one row at a time, into a table that it goes on from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.trainings import Trained, Training, run_trainings
from coinfer.accuracy.box import Box
from coinfer.accuracy.sampling import DesignPoint, samples
from coinfer.accuracy.table import Origin, Sample, Table, in_order, read_table, write_table
from coinfer.errors import CoinferError
from coinfer.records import check_output

# What the rows of one table have in common.
_SAME = (
    *("model", "family", "seed", "recipe", "parent_sha256", "data_hash"),
    *("sobol_first", "max_accuracy_loss"),
)


@dataclass(frozen=True)
class Step:
    """How far a sweep is: plans done, plans wanted, and what just came of one, if anything.

    Attributes:
        done, wanted: plans, those that cannot be measured included.
        last: the row just written.
        failed: why the last plan has none.
    """

    done: int
    wanted: int
    last: Sample | None = None
    failed: str = ""


def run_sweep(
    path: Path,
    box: Box,
    origin: Origin,
    base: Training,
    count: int,
    *,
    executor: str = "joblib",
    jobs: int | None = None,
    address: str | None = None,
) -> Iterator[Step]:
    """Measure the first `count` plans of a design that the table at `path` lacks.

    Which plans those are depends on nothing but the box, the seed and the accuracies measured, so
    a sweep that was killed, or that is topped up later, goes on as if it had run in one go. Nobody
    else can write the table meanwhile.

    Args:
        path: of the CSV; made where there is none.
        box: what is sampled.
        origin: what all rows have in common; a table of another origin is refused.
        base: parent, data, recipe, seed and device of every training; the plan is replaced.
        count: plans wanted.
        executor, jobs, address: as `benchmarks.trainings.run_trainings`.

    Raises:
        CoinferError: when the table is of another origin, damaged, or in use, or when a worker
            dies; what was measured before is kept. A training that diverges is recorded with its
            reason and not tried again.
    """
    with alone(path):
        table = begun(path, origin)
        table = replace(table, origin=replace(origin, target=max(origin.target, count)))
        while True:
            measured: dict[str, float | None] = dict.fromkeys(table.failed)
            measured |= {s.measurement.plan.hash: s.measurement.val_accuracy for s in table.samples}
            design = samples(
                box,
                count,
                base.seed,
                measured,
                sobol_first=origin.sobol_first,
                max_accuracy_loss=origin.max_accuracy_loss,
            )
            todo = [point for point in design if point.plan.hash not in measured]
            yield Step(len(design) - len(todo), count)
            if not todo:
                return
            trainings = [replace(base, plan=point.plan) for point in todo]
            for position, trained in run_trainings(
                trainings, executor=executor, jobs=jobs, address=address
            ):
                plan = todo[position].plan
                reason = ""
                if isinstance(trained, CoinferError):
                    reason = str(trained)
                    table = replace(table, failed={**table.failed, plan.hash: reason})
                else:
                    table = _with(table, _sample(todo[position], trained), trained, design)
                write_table(path, table)
                done = len(table.samples) + len(table.failed)
                yield Step(done, count, table.find(plan), reason)


def begun(path: Path, origin: Origin) -> Table:
    """Return the table at `path`, or an empty one.

    Raises:
        CoinferError: when it is of another origin, naming the first field that differs, or when
            something else would be replaced.
    """
    check_output(path)
    if not path.exists():
        return Table(origin)
    table = read_table(path, unfinished=True)
    for field in _SAME:
        found, wanted = getattr(table.origin, field), getattr(origin, field)
        if found != wanted:
            shown = [getattr(value, "label", value) for value in (found, wanted)]
            raise CoinferError(
                f"'{path}' was begun with {field} {shown[0]}, now it is {shown[1]}; measurements "
                "of different origins are never mixed: give another file"
            )
    return table


def _sample(point: DesignPoint, trained: Trained) -> Sample:
    return Sample(
        point.why, trained.measurement, trained.seconds, trained.machine_name, trained.code
    )


def _with(table: Table, sample: Sample, trained: Trained, design: tuple[DesignPoint, ...]) -> Table:
    known = {point.plan for point in design}
    ours = [s for s in (*table.samples, sample) if s.measurement.plan in known]
    # Rows that a longer design put there stay behind those of this one.
    others = [s for s in table.samples if s.measurement.plan not in known]
    rows = (*in_order(ours, [point.plan for point in design]), *others)
    machines = {**table.machines, trained.machine_name: trained.machine}
    return replace(table, samples=rows, machines=machines)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock beside a table; the system lets go of it when the process ends."""
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise CoinferError(f"cannot write '{path}': {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CoinferError(
                f"'{path}' is being written by another sweep; wait for it"
            ) from error
        yield
