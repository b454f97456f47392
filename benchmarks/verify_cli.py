"""`coinfer verify` and `coinfer freeze`: from what a run chose to what a figure may rest on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.sweep_cli import prepare, say_step, training_options
from coinfer.clitypes import MODEL

if TYPE_CHECKING:
    from benchmarks.rows import Row
    from coinfer.plan import Plan

_STORE = click.option(
    "--store",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Store with the rows of MATRIX.",
)


@click.command("verify")
@click.argument("model", type=MODEL)
@click.argument("matrices", nargs=-1, required=True, metavar="MATRIX...")
@_STORE
@click.option("--recipe", default="cpu", show_default=True, help="How to train every plan.")
@training_options
def verify(model: str, matrices: tuple[str, ...], store: Path, out: Path, **options: Any) -> None:
    """Train and test the plans that methods chose for MODEL in the cells of MATRIX.

    Of every method that learns from measured plans, on every device: the plan of the median seed
    at five rates, lowest to highest. This reads the test set, once per plan. Give the recipe of
    the plans that the methods learnt from; plans that nobody trains are measured by recipe
    untrained, and by that alone. Rows are written as they are done; the same command
    goes on from there.

    \b
    coinfer run fig7 --store fig7.sqlite
    coinfer verify alexnet-cifar fig7 --store fig7.sqlite --data path/to/cifar10 -o chosen.csv
    """
    from benchmarks.measured import measurements
    from benchmarks.run_cli import sigterm_interrupts
    from benchmarks.verify import FAMILY, chosen_plans, measured_by, run_verification
    from coinfer.accuracy.recipe import recipe
    from coinfer.accuracy.table import Origin

    plans: dict[str, Plan] = {}
    for matrix in matrices:
        rows = [row for row in learned_rows(matrix, store) if row.cell.model == model]
        plans |= {plan.hash: plan for plan in chosen_plans(rows)}
    base, parent, splits = prepare(model, options)
    chosen = recipe(options["recipe"])
    wanted = measured_by(chosen.name, plans.values(), measurements(base.plan.model))
    origin = Origin(
        name=out.stem,
        model=base.plan.model,
        family=FAMILY,
        target=len(wanted),
        seed=base.seed,
        recipe=chosen,
        parent_sha256=parent.sha256,
        parent=dict(parent.about),
        data=splits.name,
        data_hash=splits.hash,
    )
    with sigterm_interrupts():
        for step in run_verification(
            out,
            wanted,
            origin,
            replace(base, recipe=chosen),
            executor=options["executor"],
            jobs=options["jobs"],
            address=options["address"],
        ):
            say_step(step)


@click.command("freeze")
@click.argument("matrix")
@_STORE
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.json",
    help="The selections.",
)
def freeze(matrix: str, store: Path, out: Path) -> None:
    """Write down which plans methods chose in the cells of MATRIX, for figures to rest on.

    Only methods that learn from measured plans are written: the others are asked every time.

    \b
    coinfer run fig7 --store fig7.sqlite
    coinfer freeze fig7 --store fig7.sqlite -o benchmarks/selections/fig7.json
    """
    from benchmarks.provenance import package_versions
    from benchmarks.selections import write_selections

    rows = learned_rows(matrix, store)
    about = {"matrix": matrix, "versions": package_versions()}
    count = write_selections(out, rows, about)
    click.echo(f"{count} answers to '{matrix}' in '{out}'", err=True)


def learned_rows(matrix: str, store: Path) -> list[Row]:
    """Return the rows of a matrix, as the code here computes them, of methods that learn.

    Raises:
        CoinferError: when the store lacks some of them.
    """
    from benchmarks.catalog import Catalog
    from benchmarks.matrix import load
    from benchmarks.runner import ask
    from benchmarks.store import Store
    from coinfer.errors import CoinferError

    catalog, asked = ask(load(matrix), Catalog())
    keys = [
        key
        for group in asked
        if catalog.method(group.group.method).card.accuracy_signal != "baseline"
        for key in group.keys
    ]
    with Store.open(store, create=False, readonly=True) as opened:
        rows = list(opened.rows(key=keys))
    if len(rows) < len(keys):
        raise CoinferError(
            f"'{store}' has {len(rows)} of the {len(keys)} rows of {matrix} that are wanted; "
            f"`coinfer run {matrix} --store {store}` computes the others"
        )
    return rows
