"""What was measured of a network: the shipped tables of one recipe, for methods and for rows.

Methods that predict accuracy learn from them, the baseline of a network is its unpruned plan under
the same recipe (design ruling 4), and a chosen plan that was measured shows its own accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from benchmarks.tables import shipped_table, table_names
from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.families import FAMILIES
from coinfer.accuracy.measurement import FloorVerdict, Measurement, floor_held, unpack
from coinfer.accuracy.table import Sample, Table
from coinfer.errors import CoinferError
from coinfer.plan import MeasuredPlans, Plan, Task
from coinfer.serial import content_hash
from coinfer.tasks import make_task

RECIPES = ("paper", "cpu", "quick")
"""Whose tables are used, the longest training first; recipes are never mixed."""

DATA = "cifar10"


@dataclass(frozen=True, eq=False)
class Measurements:
    """All tables of a network under one recipe, from one parent.

    Attributes:
        recipe: its label.
        tables: by name.
        baseline: the unpruned network under the recipe.
    """

    recipe: str
    tables: tuple[Table, ...]
    baseline: Measurement

    @cached_property
    def families(self) -> tuple[MeasuredPlans, ...]:
        """What methods may learn from: validation accuracies, a family at a time.

        Plans that a method chose earlier and that were measured since are told to it as well, so
        that a predictor which was too hopeful of them learns that.
        """
        chosen = [t for t in self.tables if t.origin.family not in FAMILIES]
        return tuple(
            _plans(table, [s.measurement for one in chosen for s in one.samples])
            for table in self.tables
            if table.origin.family in FAMILIES
        )

    @cached_property
    def hash(self) -> str:
        """Content hash of everything that a row may take from here."""
        rows = sorted(sample.measurement.hash for t in self.tables for sample in t.samples)
        return content_hash([self.recipe, rows])

    def find(self, plan: Plan) -> Measurement | None:
        """Return what was measured of a plan, tested if it was; None if nothing was."""
        return self._by_plan.get(plan.hash)

    def floor_held(self, plan: Plan, max_loss: float) -> FloorVerdict:
        """Return whether a measured plan keeps within the floor: held, broken or undecided."""
        found = self._by_plan[plan.hash]
        return floor_held(
            unpack(self.baseline.val_correct, self.baseline.val_n),
            unpack(found.val_correct, found.val_n),
            max_loss,
        )

    @cached_property
    def _by_plan(self) -> Mapping[str, Measurement]:
        found: dict[str, Measurement] = {}
        for table in self.tables:
            for sample in table.samples:
                measured = sample.measurement
                known = found.get(measured.plan.hash)
                if known is None or known.test_correct is None:
                    found[measured.plan.hash] = measured
        return found


@cache
def measurements(model: str) -> Measurements | None:
    """Return what was measured of a network, under the longest recipe that has its baseline.

    Raises:
        CoinferError: when a shipped table is damaged.
    """
    tables = [table for table in map(shipped_table, table_names()) if _concerns(table, model)]
    for name in RECIPES:
        own = [table for table in tables if table.origin.recipe.name == name]
        baseline = next((s for table in own for s in table.samples if _is_baseline(s)), None)
        if baseline is not None:
            parent = baseline.measurement.parent_sha256
            same = tuple(table for table in own if table.origin.parent_sha256 == parent)
            return Measurements(baseline.measurement.recipe, same, baseline.measurement)
    return None


def _concerns(table: Table, model: str) -> bool:
    return table.origin.model == model and table.origin.data == DATA


def _is_baseline(sample: Sample) -> bool:
    return sample.measurement.plan.unchanged


def _plans(table: Table, chosen: Sequence[Measurement]) -> MeasuredPlans:
    measured = [sample.measurement for sample in table.samples]
    known = {m.plan.hash for m in measured}
    box = search_box(_task(table.origin.model), table.origin.family)
    measured += [m for m in chosen if m.plan.hash not in known and _is_of(m.plan, box)]
    return MeasuredPlans(
        family=table.origin.family,
        table=table.origin.name,
        recipe=table.origin.recipe.label,
        plans=tuple(m.plan for m in measured),
        accuracies=tuple(m.val_accuracy for m in measured),
        std_errors=tuple(m.val_std_error for m in measured),
        epochs=float(sum(m.epochs for m in measured)),
    )


@cache
def _task(model: str) -> Task:
    return make_task(model, groups=True)


def _is_of(plan: Plan, box: Box) -> bool:
    try:
        box.read([plan])
    except CoinferError:
        return False
    return True
