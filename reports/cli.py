"""`coinfer report`: a static page from a store."""

from __future__ import annotations

from pathlib import Path

import click

from coinfer.clitypes import PRESETS
from methods.cli import METHOD_FILE


@click.command("report")
@click.option(
    "--store",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Result store, as `coinfer run` and `coinfer reproduce` write it.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the page goes, made when missing.",
)
@METHOD_FILE
@PRESETS
def report(
    store: Path, out: Path, method_files: tuple[str, ...], preset_files: tuple[str, ...]
) -> None:
    """Render what a store holds as a page that opens from disk, with no network.

    DIR/index.html has the scorecard with every verdict and its cause, what the papers' texts and
    numbers disagree on, the figures whose cells the store has, all rows with where their time
    goes, and the provenance of the runs. Nothing is computed again.

    Rows that other code computed (or the same code from other numbers) are marked and decide no
    claim and no figure. So that rows of methods and presets of your own can be told from such, give
    the same --method-file and --presets as to `coinfer run`.

    An earlier report in DIR is replaced, other files there are not.

    \b
    coinfer report --store out/fig6/results.sqlite -o out/report
    """
    from benchmarks.catalog import Catalog
    from coinfer.errors import CoinferError, printable
    from reports.page import write_report
    from reproduce.collect import stored

    catalog = Catalog(method_files, preset_files)
    found, runs = stored(store, catalog)
    if not found:
        raise CoinferError(
            f"store '{store}' has no rows, so there is nothing to report; "
            f"`coinfer run demo --store {store}` fills it"
        )
    files, warnings = write_report(found, runs, out, catalog)
    for line in warnings:
        click.echo(printable(line), err=True)
    for path in files:
        click.echo(printable(str(path)))
