"""What was measured of a network: the shipped tables of one recipe, for methods and for rows.

Methods that predict accuracy learn from them, the baseline of a network is its unpruned plan under
the same recipe (design ruling 4), and a chosen plan that was measured shows its own accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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

RECIPES = ("paper", "cpu", "quick", "brief")
"""Whose tables are used, the longest training first; recipes are never mixed."""

UNTRAINED = "untrained"
"""The recipe of plans that nobody trains; they stand beside trained ones, not among them.

Their baseline is the unpruned network under their own recipe (design ruling 4): the parent as it
is. A trained plan may gain on it by its training alone, so each is held against its own.
"""

DATA = "cifar10"


@dataclass(frozen=True, eq=False)
class Measurements:
    """All tables of a network under one recipe, and those of untrained plans, from one parent.

    Attributes:
        recipe: its label.
        tables: by name.
        baseline: the unpruned network under the recipe.
        untrained: tables of plans that were measured without training, by name.
        untrained_baseline: the unpruned network under no training; None without such tables.
    """

    recipe: str
    tables: tuple[Table, ...]
    baseline: Measurement
    untrained: tuple[Table, ...] = ()
    untrained_baseline: Measurement | None = None

    @cached_property
    def families(self) -> tuple[MeasuredPlans, ...]:
        """What methods may learn from: validation accuracies, a family at a time.

        Plans that a method chose earlier and that were measured since are told to it as well, so
        that a predictor which was too hopeful of them learns that; but not plans that send another
        number of bits an element than the family's own.
        """
        chosen = [t for t in self.tables if t.origin.family not in FAMILIES]
        trained = tuple(
            _plans(table, [s.measurement for one in chosen for s in one.samples])
            for table in self.tables
            if table.origin.family in FAMILIES
        )
        if self.untrained_baseline is None:
            return trained
        baseline = self.untrained_baseline.val_accuracy
        return trained + tuple(
            replace(_plans(table, []), baseline_accuracy=baseline)
            for table in self.untrained
            if table.origin.family in FAMILIES
        )

    @cached_property
    def hash(self) -> str:
        """Content hash of everything that a row may take from here."""
        tables = (*self.tables, *self.untrained)
        rows = sorted(sample.measurement.hash for t in tables for sample in t.samples)
        return content_hash([self.recipe, rows])

    def find(self, plan: Plan) -> Measurement | None:
        """Return what was measured of a plan, tested if it was; None if nothing was.

        Trained where it was, else untrained.
        """
        return self._by_plan.get(plan.hash)

    def baseline_of(self, found: Measurement) -> Measurement:
        """Return the unpruned network under the recipe of one of these measurements."""
        untrained = self.untrained_baseline
        if untrained is not None and found.recipe_hash == untrained.recipe_hash:
            return untrained
        return self.baseline

    def is_untrained(self, plan: Plan) -> bool:
        """Return whether a plan was measured without training, and only so."""
        found = self.find(plan)
        return found is not None and self.baseline_of(found) is self.untrained_baseline

    def floor_held(self, plan: Plan, max_loss: float) -> FloorVerdict:
        """Return whether a measured plan keeps within the floor: held, broken or undecided."""
        found = self._by_plan[plan.hash]
        baseline = self.baseline_of(found)
        return floor_held(
            unpack(baseline.val_correct, baseline.val_n),
            unpack(found.val_correct, found.val_n),
            max_loss,
        )

    @cached_property
    def _by_plan(self) -> Mapping[str, Measurement]:
        return {**_measurements(self.untrained), **_measurements(self.tables)}


@cache
def measurements(model: str) -> Measurements | None:
    """Return what was measured of a network, under the longest recipe that has its baseline.

    Raises:
        CoinferError: when a shipped table is damaged.
    """
    tables = [table for table in map(shipped_table, table_names()) if _concerns(table, model)]
    for name in RECIPES:
        own, baseline = _under(name, tables)
        if baseline is not None:
            same = [t for t in tables if t.origin.parent_sha256 == baseline.parent_sha256]
            untrained, parent = _under(UNTRAINED, same)
            return Measurements(
                baseline.recipe,
                tuple(table for table in own if table in same),
                baseline,
                tuple(untrained) if parent is not None else (),
                parent,
            )
    return None


def _under(recipe: str, tables: Sequence[Table]) -> tuple[list[Table], Measurement | None]:
    """Return the tables of a recipe and, if one of them has it, the unpruned network under it."""
    own = [table for table in tables if table.origin.recipe.name == recipe]
    found = (s.measurement for table in own for s in table.samples if _is_baseline(s))
    return own, next(found, None)


def _measurements(tables: Iterable[Table]) -> dict[str, Measurement]:
    """Return measurements by the plans' hashes, tested ones before others."""
    found: dict[str, Measurement] = {}
    for table in tables:
        for sample in table.samples:
            measured = sample.measurement
            known = found.get(measured.plan.hash)
            if known is None or known.test_correct is None:
                found[measured.plan.hash] = measured
    return found


def _concerns(table: Table, model: str) -> bool:
    return table.origin.model == model and table.origin.data == DATA


def _is_baseline(sample: Sample) -> bool:
    return sample.measurement.plan.unchanged


def _plans(table: Table, chosen: Sequence[Measurement]) -> MeasuredPlans:
    measured = [sample.measurement for sample in table.samples]
    known = {m.plan.hash for m in measured}
    box = search_box(_task(table.origin.model), table.origin.family)
    measured += [m for m in chosen if m.plan.hash not in known and in_box(m.plan, box)]
    return MeasuredPlans(
        family=table.origin.family,
        table=table.origin.name,
        recipe=table.origin.recipe.label,
        plans=tuple(m.plan for m in measured),
        accuracies=tuple(m.val_accuracy for m in measured),
        std_errors=tuple(m.val_std_error for m in measured),
        epochs=float(sum(m.epochs for m in measured)),
        uplink_bits=tuple(m.payload.bits for m in measured),
    )


@cache
def _task(model: str) -> Task:
    return make_task(model, groups=True)


def in_box(plan: Plan, box: Box) -> bool:
    """Return whether a plan is one of a box's."""
    try:
        box.read([plan])
    except CoinferError:
        return False
    return True
