"""`coinfer table4`: the accuracy predictors, compared on a measurement table."""

from __future__ import annotations

import click


@click.command("table4")
@click.option(
    "--table",
    "name",
    default="alexnet-cifar-qho-quick",
    show_default=True,
    metavar="NAME|FILE.csv",
    help="A shipped measurement table, or one that `coinfer sweep` wrote.",
)
def table4(name: str) -> None:
    """Compare regressors that predict a plan's accuracy, as Table IV of the QHO paper does.

    Needs no data set and no training: predictors are fitted to a measurement table in seconds.

    \b
    coinfer table4
    coinfer table4 --table my-sweep.csv
    """
    from pathlib import Path

    from benchmarks.tables import shipped_table
    from coinfer.accuracy.table import read_table
    from reproduce.table4 import describe

    table = read_table(Path(name)) if name.endswith(".csv") else shipped_table(name)
    click.echo(describe(table))
