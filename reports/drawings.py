"""Which figures a store can fill, and their drawings."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from reproduce.collect import best_known
from reproduce.facts import Facts
from reproduce.figures import Figure, figures

if TYPE_CHECKING:
    from benchmarks.cells import Cell
    from benchmarks.freshness import Checked


@dataclass(frozen=True)
class Drawn:
    """A figure of the report.

    Attributes:
        figure: which.
        svg: the drawing, to be shown inline; '' for a table.
        files: names of the files beside the pages.
        rows: keys of the rows that it is made from.
        table: head and lines of the data, of a table; empty for a drawing.
    """

    figure: Figure
    svg: str
    files: tuple[str, ...]
    rows: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Figures:
    """Every figure known, in the order of the registry.

    Attributes:
        drawn: those that the rows or what ships fills.
        outdated: those whose rows other code computed.
        absent: those that have no rows.
    """

    drawn: tuple[Drawn, ...]
    outdated: tuple[Figure, ...] = ()
    absent: tuple[Figure, ...] = ()


def draw_all(shown: Sequence[Checked], facts: Facts, folder: Path) -> Figures:
    """Draw every figure that can be drawn into a folder.

    Args:
        shown: one row per cell of the store.
        facts: of the claims; its networks and measurement tables are used.
        folder: where the files go.

    Raises:
        CoinferError: when a shipped table or study is damaged.
    """
    drawn: list[Drawn] = []
    outdated: list[Figure] = []
    absent: list[Figure] = []
    for figure in figures().values():
        own = _facts_for(figure, shown, facts)
        if own is not None:
            drawn.append(_drawn(figure, own, folder))
        elif any(one.state != "current" for one in _rows_of(filter(None, [figure.matrix]), shown)):
            outdated.append(figure)
        else:
            absent.append(figure)
    return Figures(tuple(drawn), tuple(outdated), tuple(absent))


def _facts_for(figure: Figure, shown: Sequence[Checked], facts: Facts) -> Facts | None:
    """What a figure is drawn from, as `coinfer reproduce` has it; None where there is nothing."""
    if figure.reads == "table":
        return facts if facts.tables else None
    if figure.reads in ("tables", "recipe study", "code study", "comparison"):
        from reproduce.collect import shipped_facts

        return shipped_facts(figure.reads)
    if figure.reads == "network":
        models = {claim.network.model for claim in figure.claims() if claim.network is not None}
        return facts if models and models <= facts.networks.keys() else None
    if figure.reads == "search":
        return None
    own_cells = _own(figure)
    if not any(one.state == "current" and one.row.cell in own_cells for one in shown):
        return None
    found = _rows_of(matrices_of(figure), shown)
    current = [one.row for one in found if one.state == "current"]
    outdated = [(one.row.cell, one.cause) for one in found if one.state != "current"]
    own = Facts.of(current, facts.networks, outdated)
    return replace(own, best_s=best_known(figure.matrix))


def _rows_of(matrices: Iterable[str], shown: Sequence[Checked]) -> list[Checked]:
    """Rows of the cells that some matrices have."""
    cells: set[Cell] = set().union(*map(_cells_of, matrices))
    return [one for one in shown if one.row.cell in cells]


def _own(figure: Figure) -> frozenset[Cell]:
    """Cells that no other figure has; all of them where there is none.

    The baselines that two figures share are no reason to draw the one that nobody computed.
    """
    cells = _cells_of(figure.matrix)
    others = {one.matrix for one in figures().values()} - {figure.matrix, ""}
    return cells.difference(*map(_cells_of, others)) or cells


@cache
def _cells_of(matrix: str) -> frozenset[Cell]:
    """Cells of a matrix that ships: a file of a release stays."""
    from benchmarks.catalog import Catalog
    from benchmarks.matrix import expand, load

    return frozenset(expand(load(matrix), Catalog()))


def matrices_of(figure: Figure) -> list[str]:
    """Matrices that a figure is drawn from, and those that its claims are decided by."""
    if figure.reads != "matrix":
        return []
    named = [figure.matrix, figure.beside, *(claim.matrix for claim in figure.claims())]
    return list(dict.fromkeys(filter(None, named)))


def _drawn(figure: Figure, facts: Facts, folder: Path) -> Drawn:
    written = figure.write(facts, folder)
    own = facts.rows.values() if figure.reads == "matrix" else ()
    keys = tuple(row.key for rows in own for row in rows)
    names = tuple(path.name for path in written)
    by_suffix = {path.suffix: path for path in written}
    if ".svg" not in by_suffix:
        return Drawn(figure, "", names, keys, _table(by_suffix.get(".csv")))
    svg = by_suffix[".svg"].read_text(encoding="utf-8")
    # Without the XML and doctype lines before it.
    return Drawn(figure, svg[svg.index("<svg") :], names, keys)


def _table(path: Path | None) -> tuple[tuple[str, ...], ...]:
    if path is None:
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(tuple(line) for line in csv.reader(file))
