"""`coinfer report`: a static page from a store."""

from __future__ import annotations

from pathlib import Path

import click


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
def report(store: Path, out: Path) -> None:
    """Render what a store holds as a page that opens from disk, with no network.

    DIR/index.html has the scorecard with every verdict and its cause, what the papers' texts and
    numbers disagree on, the figures whose cells the store has, all rows with where their time
    goes, and the provenance of the runs. Nothing is computed again.

    \b
    coinfer report --store out/fig6/results.sqlite -o out/report
    """
    from benchmarks.store import Store
    from reports.page import write_report
    from reproduce.collect import newest

    with Store.open(store, create=False, readonly=True) as opened:
        rows, runs = newest(opened.rows()), opened.runs()
    for path in write_report(rows, runs, out):
        click.echo(str(path))
