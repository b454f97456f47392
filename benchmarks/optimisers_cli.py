"""`coinfer compare-optimisers`: QHO beside other searches, at equal numbers of evaluations."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.shared_options import JOBS
from coinfer.clitypes import CONVENTION, DEVICE, LINK, SERVER, Name, refs

if TYPE_CHECKING:
    from coinfer.accuracy.table import Table

_MODEL, _FAMILY, _DATA = "alexnet-cifar", "qho", "cifar10"
_DEVICES = "raspberry-pi-3b+,jetson-tk1"
_LINKS = ",".join(f"rate[rate_bps={rate}]" for rate in ("1e5", "1e6", "1e7", "1e8"))
_NAMES: dict[str, Any] = {
    "show_default": True,
    "callback": refs,
    "metavar": "NAMES",
    "help": "Comma-separated.",
}


def _tables() -> list[str]:
    from benchmarks.tables import table_names

    return table_names()


def _optimisers() -> tuple[str, ...]:
    from benchmarks.optimisers import OPTIMISERS

    return OPTIMISERS


@click.command("compare-optimisers")
@click.option(
    "--table",
    "name",
    type=Name("measurement table", _tables),
    metavar="NAME|FILE.csv",
    help="Plans that the accuracy predictor learns from: a shipped table, or one that `coinfer "
    f"sweep` wrote.  [default: the largest shipped '{_FAMILY}' one of {_MODEL}]",
)
@click.option("--devices", default=_DEVICES, type=DEVICE, **_NAMES)
@click.option(
    "--server",
    default="tesla-p100",
    show_default=True,
    type=SERVER,
    metavar="NAME",
    help="Who computes behind the cut.",
)
@click.option("--links", default=_LINKS, type=LINK, **_NAMES)
@click.option(
    "--convention",
    default="qho2024",
    show_default=True,
    type=CONVENTION,
    help="Accounting rules.",
)
@click.option(
    "--optimisers",
    callback=refs,
    type=Name("optimiser", _optimisers),
    metavar="NAMES",
    help="Comma-separated, among qho, qho-elitist, qho-literal, random, cma-es, tpe and "
    "differential-evolution; cma-es needs the package cmaes, tpe optuna.  [default: all]",
)
@click.option(
    "--evaluations",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Plans that every run may look at.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=20, show_default=True, help="Runs of each."
)
@click.option(
    "--max-accuracy-loss",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="How far (0..1) the accuracy floor lies below the unpruned network.",
)
@JOBS
@click.option(
    "-o",
    "--out",
    required=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="For optimisers.csv, runs.csv, traces.csv and optimisers.json.",
)
def compare_optimisers(out: Path, name: str | None, **options: Any) -> None:
    """Compare QHO with other searches, given the same number of plans to look at.

    Needs no data set and no training: plans are judged by an accuracy predictor, fitted to a
    measurement table, and by the cost model. Costs are told relative to the best plan known. With
    the defaults all searches but tpe take a minute or two; tpe takes a quarter of a minute for
    each of its 160 runs, so give it more --jobs. What was done is kept: the same command goes on.

    \b
    coinfer compare-optimisers --optimisers qho,random,differential-evolution -o out/optimisers
    coinfer compare-optimisers --jobs 0 -o out/optimisers
    """
    from benchmarks.optimisers import OPTIMISERS, Contest, Result, compete
    from benchmarks.optimisers_tables import check_folder, describe, write
    from coinfer import presets
    from coinfer.checks import real_number
    from coinfer.conventions import convention
    from coinfer.plan import Scenario

    # A range of click's lets NaN through.
    real_number(
        "--max-accuracy-loss", options["max_accuracy_loss"], "0 to 1", lambda loss: 0 <= loss <= 1
    )
    rules = convention(options["convention"])
    check_folder(out)
    server = presets.server(options["server"])
    pairs = list(product(options["devices"], options["links"]))
    contest = Contest(
        _table(name),
        tuple(
            Scenario(presets.device(device), server, presets.link(link), rules)
            for device, link in pairs
        ),
        tuple((device, options["server"], link) for device, link in pairs),
        options["optimisers"] or OPTIMISERS,
        options["seeds"],
        options["evaluations"],
        options["max_accuracy_loss"],
    )
    for step in compete(contest, options["jobs"]):
        if isinstance(step, Result):
            written = write(step, out)
            click.echo(describe(step))
            click.echo("\nwritten: " + ", ".join(f"'{path}'" for path in written))
        else:
            click.echo(f"{step[0]} of {step[1]} searches of a cell", err=True)


def _table(name: str | None) -> Table:
    from benchmarks.tables import find_table, largest_table
    from coinfer.errors import CoinferError

    table = largest_table(_MODEL, _FAMILY, _DATA) if name is None else find_table(name)
    if table is None:
        raise CoinferError(
            f"no '{_FAMILY}' measurement table of {_MODEL} ships; give one that `coinfer sweep` "
            "wrote, --table FILE.csv"
        )
    return table
