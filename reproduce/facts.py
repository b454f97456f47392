"""What claims are held against: rows of a store by cell, traced networks, measurement tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Protocol

from benchmarks.cells import Cell, Result
from reproduce.claims import Excluded, TableMeasure, Where
from reproduce.commands import run_command
from reproduce.networks import Network

if TYPE_CHECKING:
    from benchmarks.comparison import Comparison
    from benchmarks.tables import Study
    from reproduce.learning import Curves
    from reproduce.measured import Measured


class Answered(Protocol):
    """A row, as far as claims and figures need one."""

    @property
    def key(self) -> str:
        """Hash of everything that determines the answer."""
        ...

    @property
    def cell(self) -> Cell:
        """The question."""
        ...

    @property
    def result(self) -> Result:
        """The answer."""
        ...


@dataclass(frozen=True)
class Case:
    """One scenario of one model: where methods are compared. Names in canonical form.

    `snr_db` is that of a radio, None on links that have their rate; `max_accuracy_loss` says how
    far (0..1) the accuracy floor lies below the baseline.
    """

    model: str
    device: str
    server: str
    link: str
    convention: str
    snr_db: float | None = None
    max_accuracy_loss: float = 0.02

    @property
    def place(self) -> str:
        """The link in a few words, with the SNR of a radio."""
        return short(self.link) + ("" if self.snr_db is None else f" at {self.snr_db:g} dB")


@dataclass(frozen=True)
class Gap:
    """Why a number cannot be had.

    Attributes:
        reason: one line.
        helps: what a run would do about it (`computes it`), '' where it would not help.
        no_plan: whether a method was asked, and has no plan that keeps to the accuracy floor.
    """

    reason: str
    helps: str = ""
    no_plan: bool = False

    def told(self, *matrices: str) -> str:
        """The reason, with the command that removes it; `matrices` are those of the cells."""
        if not self.helps or not matrices:
            return self.reason
        commands = " and ".join(f"`{run_command(matrix)}`" for matrix in matrices)
        helps = self.helps if len(matrices) == 1 else self.helps.replace("computes", "compute", 1)
        return f"{self.reason} ({commands} {helps})"


@dataclass(frozen=True)
class Facts:
    """Rows by case and method, and networks by name.

    Attributes:
        rows: the rows of each (case, method); more than one where seeds differ.
        networks: traced networks by model name.
        outdated: why the rows of a (case, method) are none that the code here would compute.
        tables: measurement tables; of those that fit a claim the first decides.
        study: accuracies against training length, for the figure of them.
        comparisons: of optimisers, by rising number of evaluations.
        best_s: latencies of the best plans that ship, by case (`benchmarks.best`).
        searches: what a method saw as it learnt, by network (`reproduce.learning`).
    """

    rows: Mapping[tuple[Case, str], tuple[Answered, ...]]
    networks: Mapping[str, Network] = field(default_factory=dict)
    outdated: Mapping[tuple[Case, str], str] = field(default_factory=dict)
    tables: tuple[Measured, ...] = ()
    study: Study | None = None
    comparisons: tuple[Comparison, ...] = ()
    best_s: Mapping[Case, float] = field(default_factory=dict)
    searches: Mapping[str, Curves] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        rows: Iterable[Answered],
        networks: Mapping[str, Network] | None = None,
        outdated: Iterable[tuple[Cell, str]] = (),
        tables: Iterable[Measured] = (),
    ) -> Facts:
        """Index rows once, for many claims; `outdated` are cells whose rows must not count."""
        index: dict[tuple[Case, str], list[Answered]] = {}
        for row in rows:
            index.setdefault((case_of(row.cell), row.cell.method), []).append(row)
        return cls(
            {key: tuple(found) for key, found in index.items()},
            dict(networks or {}),
            {(case_of(cell), cell.method): cause for cell, cause in outdated},
            tuple(tables),
        )

    def row(self, case: Case, method: str) -> Answered | Gap:
        """Return the row in which a method answers a case, or why there is none to go by.

        Rows of several seeds that differ decide nothing: the store is ambiguous.
        """
        found = self._found(case, method)
        if isinstance(found, Gap):
            return found
        name = _name(case, method)
        good = [row for row in found if row.result.status == "ok"]
        if not good:
            bad = found[0].result
            return Gap(f"{name} {bad.status}: {bad.reason}", no_plan=bad.status == "infeasible")
        if len({row.result.latency["total_s"] for row in good}) > 1:
            return Gap(f"the store holds {len(good)} different answers for {name}")
        return good[0]

    def rows_of(self, case: Case, method: str) -> tuple[Answered, ...] | Gap:
        """Return a method's row of every seed in a case, whatever its status, or why there is none.

        In the order of the seeds. What one seed answers twice and differently decides nothing.
        """
        found = self._found(case, method)
        if isinstance(found, Gap):
            return found
        name = _name(case, method)
        by_seed: dict[int, Answered] = {}
        for row in found:
            known = by_seed.setdefault(row.cell.seed, row)
            if known.result != row.result:
                return Gap(f"the store holds different answers for seed {row.cell.seed} of {name}")
        return tuple(by_seed[seed] for seed in sorted(by_seed))

    @cached_property
    def without_broken(self) -> Facts | None:
        """These facts, where methods whose plan broke its accuracy floor have no answer.

        Of several seeds the median's plan is the one that figures show and that is trained; where
        it broke the floor, the other seeds do not stand in for it. None where none did.
        """
        broken = {
            key: tuple(map(_withdrawn, found))
            for key, found in self.rows.items()
            if found and middle(by_speed(found)).result.floor_held == "broken"
        }
        return replace(self, rows={**self.rows, **broken}) if broken else None

    def _found(self, case: Case, method: str) -> tuple[Answered, ...] | Gap:
        """The rows of a method in a case, or why there are none to go by."""
        found = self.rows.get((case, method), ())
        if not found and (case, method) in self.outdated:
            cause = self.outdated[case, method]
            return Gap(f"rows in the store were {cause}", "computes them again")
        if not found:
            return Gap(f"no row for {_name(case, method)}", "computes it")
        return found

    def table(self, asked: TableMeasure) -> Measured | None:
        """Return the measurement table of the network, family and data that are asked for."""
        place = (asked.model, asked.family, asked.data)
        return next((one for one in self.tables if one.place == place), None)


def seconds(row: Answered) -> float:
    """A row's latency; infinite without a plan."""
    return row.result.latency["total_s"] if row.result.status == "ok" else math.inf


def by_speed(rows: Iterable[Answered]) -> tuple[Answered, ...]:
    """Rows of several seeds, the fastest first and those without a plan last."""
    return tuple(sorted(rows, key=lambda row: (seconds(row), row.cell.seed)))


def middle(rows: Sequence[Answered]) -> Answered:
    """The median of rows by speed; of an even number the slower of the two."""
    return rows[len(rows) // 2]


@dataclass(frozen=True)
class _Withdrawn:
    """A row whose answer is taken back."""

    key: str
    cell: Cell
    result: Result


def _withdrawn(row: Answered) -> Answered:
    """A row as if its method had found no plan, as the one that it chose is none."""
    return _Withdrawn(
        row.key, row.cell, Result("infeasible", "its plan broke the floor once trained")
    )


def case_of(cell: Cell) -> Case:
    """Return the case that a cell belongs to."""
    return Case(
        *(cell.model, cell.device, cell.server, cell.link, cell.convention, cell.snr_db),
        max_accuracy_loss=cell.max_accuracy_loss,
    )


def cases(where: Where, excluded: tuple[Excluded, ...] = ()) -> list[Case]:
    """Return every case that `where` selects, in its order, less the excluded ones."""
    every = (
        Case(model, device, server, link, where.convention)
        for model, device, server, link in product(
            where.model, where.device, where.server, where.link
        )
    )
    return [case for case in every if not any(_matches(case, out) for out in excluded)]


def _matches(case: Case, out: Excluded) -> bool:
    return all(
        wanted in ("", given)
        for wanted, given in (
            (out.model, case.model),
            (out.device, case.device),
            (out.server, case.server),
            (out.link, case.link),
        )
    )


def _name(case: Case, method: str) -> str:
    return f"{method} on {short(case.device)} over {case.place}"


def short(name: str) -> str:
    """A preset's name without its source, for people: `3g` of `3g@qho2024`."""
    head, bracket, options = name.partition("[")
    return head.partition("@")[0] + bracket + options
