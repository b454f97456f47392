"""Verification: the plans that methods chose, trained and tested for real (design ruling 3).

Of every method that learns from measured plans, per device, convention (each cut that a figure
asks for is one) and accuracy that may be lost: the plan of the median seed at five rates. The test
set is read here, once per plan, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.measured import UNTRAINED, Measurements
from benchmarks.rows import Row
from benchmarks.sweep import Step, alone, begun
from benchmarks.trainings import Training, run_trainings
from coinfer.accuracy.table import Origin, Sample, write_table
from coinfer.errors import CoinferError
from coinfer.plan import Plan

FAMILY = "chosen"
"""Family of the tables of chosen plans; methods learn their validation accuracies afterwards."""

RATES = 5


def chosen_plans(rows: Iterable[Row], count: int = RATES) -> list[Plan]:
    """Return the plans to verify, each once.

    Per method, device, convention and accuracy that may be lost, which is a curve or a point of a
    figure, the rates (or SNRs) are taken at equal steps from the lowest to the highest; at each,
    the plan of the seed whose latency is the median (of an even number the slower of the middle
    two: the one that figures draw). Plans that change nothing are as accurate as the baseline and
    are left out.

    Args:
        rows: of one matrix.
        count: rates of each curve.
    """
    answered = [row for row in rows if row.result.status == "ok" and row.result.plan is not None]
    curves: dict[tuple[str, str, str, float], dict[tuple[float, float], list[Row]]] = {}
    for row in answered:
        cell = row.cell
        at = (cell.snr_db or 0.0, row.result.rate_bps or 0.0)
        curve = (cell.device, cell.method, cell.convention, cell.max_accuracy_loss)
        curves.setdefault(curve, {}).setdefault(at, []).append(row)
    found: dict[str, Plan] = {}
    for places in curves.values():
        for at in _evenly(sorted(places), count):
            plan = Plan.from_data(_median(places[at]).result.plan)
            if not plan.unchanged:
                found[plan.hash] = plan
    return list(found.values())


def measured_by(recipe: str, plans: Iterable[Plan], known: Measurements | None) -> list[Plan]:
    """Return those of the plans that a recipe of that name is to measure.

    Plans that nobody trains are measured by recipe `untrained`, and no others are.

    Args:
        recipe: its name.
        plans: of one network.
        known: what was measured of it.
    """
    wanted = recipe == UNTRAINED
    return [p for p in plans if (known is not None and known.is_untrained(p)) == wanted]


def run_verification(
    path: Path,
    plans: Sequence[Plan],
    origin: Origin,
    base: Training,
    *,
    executor: str = "joblib",
    jobs: int | None = None,
    address: str | None = None,
) -> Iterator[Step]:
    """Measure and test the plans that the table at `path` lacks, a row at a time.

    Args:
        path: of the CSV; made where there is none.
        plans: chosen ones.
        origin: what all rows have in common; a table of another origin is refused.
        base: parent, data, recipe, seed and device of every training; the plan is replaced.
        executor, jobs, address: as `benchmarks.trainings.run_trainings`.

    Raises:
        CoinferError: as `benchmarks.sweep.run_sweep`.
    """
    with alone(path):
        table = begun(path, origin)
        known = {s.measurement.plan.hash for s in table.samples} | set(table.failed)
        table = replace(table, origin=replace(origin, target=len(known | {p.hash for p in plans})))
        todo = [plan for plan in plans if plan.hash not in known]
        wanted = table.origin.target
        yield Step(wanted - len(todo), wanted)
        trainings = [replace(base, plan=plan, test=True) for plan in todo]
        for position, trained in run_trainings(
            trainings, executor=executor, jobs=jobs, address=address
        ):
            plan, reason = todo[position], ""
            if isinstance(trained, CoinferError):
                reason = str(trained)
                table = replace(table, failed={**table.failed, plan.hash: reason})
            else:
                sample = Sample(
                    FAMILY,
                    trained.measurement,
                    trained.seconds,
                    trained.machine_name,
                    trained.code,
                )
                machines = {**table.machines, trained.machine_name: trained.machine}
                rows = sorted((*table.samples, sample), key=lambda s: s.measurement.plan.hash)
                table = replace(table, samples=tuple(rows), machines=machines)
            write_table(path, table)
            done = len(table.samples) + len(table.failed)
            yield Step(done, wanted, table.find(plan), reason)


def _evenly(places: list[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    last = len(places) - 1
    steps = max(1, min(count, len(places)) - 1)
    return [places[round(step * last / steps)] for step in range(steps + 1)] if places else []


def _median(rows: list[Row]) -> Row:
    ordered = sorted(rows, key=lambda row: (row.result.latency["total_s"], row.cell.seed))
    return ordered[len(ordered) // 2]
