"""`coinfer table4`: the accuracy predictors, compared on a measurement table."""

from __future__ import annotations

import click

from coinfer.clitypes import Name


def _tables() -> list[str]:
    from benchmarks.tables import table_names

    return table_names()


@click.command("table4")
@click.option(
    "--table",
    "name",
    type=Name("measurement table", _tables),
    metavar="NAME|FILE.csv",
    help="A shipped measurement table, or one that `coinfer sweep` wrote.  [default: the largest "
    "shipped one of alexnet-cifar]",
)
def table4(name: str | None) -> None:
    """Compare regressors that predict a plan's accuracy, as Table IV of the QHO paper does.

    Needs no data set and no training: predictors are fitted to a measurement table in seconds.
    `coinfer reproduce table4` writes it into files and holds the paper's claims against it.

    \b
    coinfer table4
    coinfer table4 --table my-sweep.csv
    """
    from reproduce.collect import table_for_figures
    from reproduce.table4 import describe

    click.echo(describe(table_for_figures(name)))
