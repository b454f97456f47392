"""The measurement tables and studies that ship, by name, and those of a user, by file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coinfer.accuracy.table import Table, read_table
from coinfer.errors import UnknownNameError

if TYPE_CHECKING:
    from benchmarks.studies import Kind


@dataclass(frozen=True)
class Study:
    """Accuracy against training length, as `benchmarks.studies` measured it.

    Attributes:
        name: its file name without suffix.
        kind: what it is of.
        origin: what all its trainings have in common, as plain data.
        machines: hardware and versions by name, as plain data.
        rows: a training each, with the columns of its kind.
    """

    name: str
    kind: Kind
    origin: Mapping[str, Any]
    machines: Mapping[str, Any]
    rows: tuple[Mapping[str, str], ...]


def table_names() -> list[str]:
    """Return the names of the shipped tables that methods learn from and rows show, in order."""
    return _names("tables")


def cross_check_names() -> list[str]:
    """Return the names of the shipped tables that are only held against others, in order.

    The same plans on two networks, say: no method learns from them, and no row shows them.
    """
    return _names("crosschecks")


def shipped_table(name: str) -> Table:
    """Return a shipped table, of a cross-check too.

    Raises:
        UnknownNameError: when there is none of that name.
        CoinferError: when its file is damaged.
    """
    for kind, names in (("tables", table_names()), ("crosschecks", cross_check_names())):
        if name in names:
            return _shipped(kind, name)
    raise UnknownNameError("measurement table", name, [*table_names(), *cross_check_names()])


@cache
def _shipped(kind: str, name: str) -> Table:
    """A shipped table, read once: files of a release stay, and a report asks for them often."""
    with as_file(files("benchmarks").joinpath(kind)) as folder:
        return read_table(folder / f"{name}.csv")


def find_table(name: str) -> Table:
    """Return a shipped table by its name, or one that `coinfer sweep` wrote by its FILE.csv.

    Raises:
        UnknownNameError: when none of that name ships.
        CoinferError: when the file is missing or damaged.
    """
    return read_table(Path(name)) if name.endswith(".csv") else shipped_table(name)


def largest_table(model: str, family: str, data: str) -> Table | None:
    """Return the shipped table of a network, family and data set with the most samples.

    Of equally large ones the first by name; None where none ships.

    Raises:
        CoinferError: when a shipped file is damaged.
    """
    found = [
        table
        for table in map(shipped_table, table_names())
        if (table.origin.model, table.origin.family, table.origin.data) == (model, family, data)
    ]
    return max(found, key=lambda table: len(table.samples), default=None)


def study_names() -> list[str]:
    """Return the names of the shipped studies, in order."""
    return _names("studies")


def find_study(name: str) -> Study:
    """Return a shipped study by its name, or one that a command wrote by its FILE.csv.

    The commands are `coinfer recipe-study` and `coinfer code-study`.

    Raises:
        UnknownNameError: when none of that name ships.
        CoinferError: when the file is missing or damaged.
    """
    if name.endswith(".csv"):
        return _study(Path(name))
    if name not in study_names():
        raise UnknownNameError("study", name, study_names())
    with as_file(files("benchmarks").joinpath("studies")) as folder:
        return _study(folder / f"{name}.csv")


def _study(path: Path) -> Study:
    from benchmarks.studies import read_study

    kind, found = read_study(path)
    return Study(path.stem, kind, found.origin, found.machines, found.rows)


def _names(kind: str) -> list[str]:
    folder = files("benchmarks").joinpath(kind)
    if not folder.is_dir():
        return []
    return sorted(e.name.removesuffix(".csv") for e in folder.iterdir() if e.name.endswith(".csv"))
