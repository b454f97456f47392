"""`coinfer compare`: two stores side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.shared_options import FILE, telling

if TYPE_CHECKING:
    from benchmarks.compare import Side


@click.command("compare")
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@telling(
    *("text", "md", "csv"),
    note="csv has a line for every method in every place.",
    lines="Lines of a table that text and md tell at most",
)
def compare(a: Path, b: Path, format_: str, output: Path | None, show: int) -> None:
    """Show the stores A and B side by side: what both have, how latencies moved, who wins where.

    Rows count whatever code computed them; of several for one cell the one that was finished last.
    A method with seeds is told by its medians. Nothing is judged: `coinfer gate` does that.

    \b
    coinfer compare mine.sqlite yours.sqlite
    coinfer compare before.sqlite after.sqlite --format csv -o moved.csv
    """
    from benchmarks.compare import Sides, formatted
    from benchmarks.outputs import tell

    names = (a.stem, b.stem) if a.stem != b.stem else (str(a), str(b))
    sides = Sides(_side(a), _side(b), names if names[0] != names[1] else ("A", "B"))
    tell(formatted(sides, format_, show), output)


def _side(path: Path) -> Side:
    from benchmarks.catalog import Catalog
    from benchmarks.compare import Side
    from benchmarks.freshness import Checked, one_per_cell
    from benchmarks.outcomes import outcome_of
    from benchmarks.store import Store

    with Store.open(path, create=False, readonly=True) as store:
        rows = one_per_cell(map(Checked, store.rows()))
    catalog = Catalog()
    bounds = {one.row.cell.method for one in rows if catalog.is_bound(one.row.cell.method)}
    return Side.of((outcome_of(one.row) for one in rows), bounds)
