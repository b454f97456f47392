"""`coinfer report`: a static site, or one file for a README or a paper, from a store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

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
    help="Where the report goes, made when missing.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "md", "tex"]),
    default="html",
    show_default=True,
    help="A site; report.md for a README or pull request; report.tex for a paper.",
)
@click.option(
    "--templates",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Templates of your own: a file here stands for ours of that name.",
)
@click.option(
    "--style",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A Matplotlib style file (.mplstyle) for the figures, over the house style.",
)
@METHOD_FILE
@PRESETS
def report(
    store: Path,
    out: Path,
    form: Literal["html", "md", "tex"],
    templates: Path | None,
    style: Path | None,
    method_files: tuple[str, ...],
    preset_files: tuple[str, ...],
) -> None:
    """Render what a store holds as a site that opens from disk, with no network.

    DIR/index.html is the overview (which method wins where); from there go a page per figure and
    per method, the scorecard with every verdict and its cause, what the papers' texts and numbers
    disagree on, a what-if page that prices the plans for other hardware and links, all rows with
    where their time goes, and the provenance of the runs. Nothing is computed or trained again.

    Rows that other code computed (or the same code from other numbers) are marked and decide no
    claim and no figure. So that rows of methods and presets of your own can be told from such, give
    the same --method-file and --presets as to `coinfer run`.

    An earlier report in DIR is replaced, other files there are not.

    \b
    coinfer report --store out/fig7/results.sqlite -o out/report
    coinfer report --store out/fig7/results.sqlite -o out/report --format md
    """
    from benchmarks.catalog import Catalog
    from coinfer.errors import CoinferError, printable
    from reports.site import write_report
    from reproduce.collect import stored

    catalog = Catalog(method_files, preset_files)
    found, runs = stored(store, catalog)
    if not found:
        raise CoinferError(
            f"store '{store}' has no rows, so there is nothing to report; "
            f"`coinfer run demo --store {store}` fills it"
        )
    files, warnings = write_report(
        found, runs, out, catalog, form=form, templates=templates, style=style
    )
    for line in warnings:
        click.echo(printable(line), err=True)
    for path in files:
        click.echo(printable(str(path)))
