"""The measurement tables that ship, by name."""

from __future__ import annotations

from importlib.resources import as_file, files

from coinfer.accuracy.table import Table, read_table
from coinfer.errors import UnknownNameError


def table_names() -> list[str]:
    """Return the names of the shipped tables, in order."""
    folder = files("benchmarks").joinpath("tables")
    if not folder.is_dir():
        return []
    return sorted(e.name.removesuffix(".csv") for e in folder.iterdir() if e.name.endswith(".csv"))


def shipped_table(name: str) -> Table:
    """Return a shipped table.

    Raises:
        UnknownNameError: when there is none of that name.
        CoinferError: when its file is damaged.
    """
    if name not in table_names():
        raise UnknownNameError("measurement table", name, table_names())
    with as_file(files("benchmarks").joinpath("tables")) as folder:
        return read_table(folder / f"{name}.csv")
