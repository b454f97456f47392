"""Which rows of a store are what the code here would compute. The others decide nothing.

A row carries the hashes of all that determined it: code, network, rules, hardware numbers. They
are computed here anew and compared, as `coinfer run` does before it reuses a row, so that no
verdict and no figure rests on numbers that this code would not give.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.catalog import Catalog
from benchmarks.cells import Cell
from benchmarks.evaluate import Group, cell_inputs, group_inputs
from benchmarks.explain import COMPONENTS
from benchmarks.rows import Row
from benchmarks.selections import selections_names, shipped_selections
from coinfer.errors import CoinferError
from coinfer.refs import parse_ref

State = Literal["current", "stale", "not checked"]

_CODE = ("harness", "method", "numpy", "python")

# Any registered network: what a group's inputs are beside the network does not depend on it.
_REGISTERED = "alexnet"


@dataclass(frozen=True)
class Checked:
    """A row of a store, held against what the code here would compute.

    Attributes:
        row: the row.
        run_id: of the run that computed it, '' where not known.
        changed: components of its inputs that are others here (`benchmarks.explain.COMPONENTS`).
        unknown: why it cannot be compared, or ''.
    """

    row: Row
    run_id: str = ""
    changed: tuple[str, ...] = ()
    unknown: str = ""

    @property
    def state(self) -> State:
        """`current` (found again by a run), `stale`, or `not checked`."""
        if self.changed:
            return "stale"
        return "not checked" if self.unknown else "current"

    @property
    def cause(self) -> str:
        """Why it decides nothing, for people; '' when it is current."""
        if self.changed:
            code = any(name in _CODE for name in self.changed)
            other = "by other code" if code else "from other numbers"
            names = ", ".join(COMPONENTS.get(name, name) for name in self.changed)
            return f"computed {other}; changed since: {names}"
        if self.unknown:
            return f"not to be compared with what would be computed now: {self.unknown}"
        return ""


def check(rows: Iterable[tuple[Row, str]], catalog: Catalog) -> list[Checked]:
    """Hold rows, each with the id of its run, against the code, networks and numbers here.

    A network of a user's own file is not built, since that would run a program because a store
    names it; of its rows everything else is compared.
    """
    known: dict[tuple[Group, str], dict[str, str] | str] = {}
    found = []
    for row, run_id in rows:
        selections = selections_of(row)
        asked = (Group.of(row.cell), selections)
        if asked not in known:
            known[asked] = _group_inputs(asked[0], replace(catalog, selections=selections))
        found.append(_checked(row, run_id, known[asked], catalog))
    return found


def selections_of(row: Row) -> str:
    """Return the name of the shipped selections that a row's plan comes from, '' for none."""
    digest = row.inputs.get("selections")
    if digest is None:
        return ""
    return next((n for n in selections_names() if shipped_selections(n).hash == digest), "")


def _group_inputs(group: Group, catalog: Catalog) -> dict[str, str] | str:
    """What a group depends on (without its network, if a file's), or why that is not known."""
    try:
        if not _of_file(group.model):
            return group_inputs(group, catalog)
        inputs = group_inputs(replace(group, model=_REGISTERED), catalog)
    except CoinferError as error:
        return str(error)
    return {name: value for name, value in inputs.items() if name != "task"}


def _of_file(model: str) -> bool:
    return parse_ref(model).name.rpartition(":")[0].endswith(".py")


def _checked(row: Row, run_id: str, known: dict[str, str] | str, catalog: Catalog) -> Checked:
    if isinstance(known, str):
        return Checked(row, run_id, unknown=known)
    try:
        inputs = cell_inputs(row.cell, known, catalog)
    except CoinferError as error:
        return Checked(row, run_id, unknown=str(error))
    without = {"task"} - inputs.keys()
    changed = tuple(
        name
        for name in sorted((inputs.keys() | row.inputs.keys()) - without)
        if inputs.get(name) != row.inputs.get(name)
    )
    unknown = f"{row.cell.model} is built by a file, which is not run for this" if without else ""
    return Checked(row, run_id, changed, unknown)


def one_per_cell(found: Iterable[Checked]) -> list[Checked]:
    """Return one row per cell: the current one if there is one, else the one finished last."""
    best: dict[Cell, Checked] = {}
    for one in found:
        known = best.get(one.row.cell)
        if known is None or _rank(one) >= _rank(known):
            best[one.row.cell] = one
    return list(best.values())


def _rank(one: Checked) -> tuple[bool, str]:
    return one.state == "current", one.row.finished_at
