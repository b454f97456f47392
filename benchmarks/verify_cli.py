"""`coinfer verify` and `coinfer freeze`: from what a run chose to what a figure may rest on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.matrix_options import SELECTIONS
from benchmarks.shared_options import FILE, JOBS
from benchmarks.sweep_cli import origin_of, prepare, say_step, training_options
from coinfer.clitypes import MODEL
from methods.cli import METHOD_FILE

if TYPE_CHECKING:
    from coinfer.plan import Plan

_STORE = click.option(
    "--store",
    required=True,
    type=FILE,
    metavar="FILE",
    help="Store with the rows of MATRIX.",
)


@click.command("verify")
@click.argument("model", type=MODEL)
@click.argument("matrices", nargs=-1, required=True, metavar="MATRIX...")
@_STORE
@SELECTIONS
@METHOD_FILE
@click.option("--recipe", default="cpu", show_default=True, help="How to train every plan.")
@training_options
def verify(
    model: str,
    matrices: tuple[str, ...],
    store: Path,
    out: Path,
    selections: str,
    method_files: tuple[str, ...],
    **options: Any,
) -> None:
    """Train and test the plans that methods chose for MODEL in the cells of MATRIX.

    Of every method that learns from measured plans, on every device, at every cut and floor that
    MATRIX asks for: the plan of the median seed at five rates, lowest to highest. This reads the
    test set, once per plan. Give the recipe of the plans that the methods learnt from; plans that
    nobody trains are measured by recipe untrained, and by that alone. Rows are written as they are
    done; the same command goes on from there. Plans that ship are verified without a search: give
    both commands the same --selections.

    \b
    coinfer run fig7 --store s.sqlite --selections fig7
    coinfer verify alexnet-cifar fig7 --store s.sqlite --selections fig7 --data cifar10 -o t.csv
    """
    from benchmarks.freezing import learned_rows
    from benchmarks.measured import measurements
    from benchmarks.run_cli import sigterm_interrupts
    from benchmarks.verify import FAMILY, chosen_plans, measured_by, run_verification
    from coinfer.accuracy.cli import check_recipe
    from coinfer.accuracy.recipe import recipe
    from coinfer.errors import CoinferError

    plans: dict[str, Plan] = {}
    for matrix in matrices:
        every = learned_rows(matrix, store, method_files, selections)
        rows = [row for row in every if row.cell.model == model]
        plans |= {plan.hash: plan for plan in chosen_plans(rows)}
    if not plans:
        raise CoinferError(
            f"the rows of {', '.join(matrices)} hold no plan of {model} that a method learnt to "
            "choose"
        )
    base, parent, splits = prepare(model, options)
    chosen = recipe(options["recipe"])
    check_recipe(chosen, splits)
    wanted = measured_by(chosen.name, plans.values(), measurements(base.plan.model))
    if not wanted:
        raise CoinferError(
            f"recipe {chosen.name} is to measure none of the {len(plans)} plans of {model}; plans "
            "that nobody trains are measured by recipe untrained, all others by any other"
        )
    base = replace(base, recipe=chosen, part_files=method_files)
    origin = origin_of(out, FAMILY, len(wanted), base, parent, splits)
    with sigterm_interrupts():
        for step in run_verification(
            out,
            wanted,
            origin,
            base,
            executor=options["executor"],
            jobs=options["jobs"],
            address=options["address"],
        ):
            say_step(step)


@click.command("freeze")
@click.argument("matrices", nargs=-1, metavar="[MATRIX...]")
@_STORE
@METHOD_FILE
@JOBS
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="For the selections, MATRIX.json; the best plans known go into the folder `best` beside "
    "it.",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
def freeze(
    matrices: tuple[str, ...],
    store: Path,
    method_files: tuple[str, ...],
    jobs: int,
    out: Path,
    *,
    quiet: bool,
) -> None:
    """Write down which plans methods choose in the cells of MATRIX, for figures to rest on.

    Without MATRIX, those of all selections that ship. Cells that the store lacks are computed
    first, and kept: the same command goes on from there. Only methods that learn from measured
    plans are written, the others are asked every time. For every scenario of a sweep the best plan
    known is written too, from a longer search of its own.

    \b
    coinfer freeze --store frozen.sqlite --jobs 2 -o benchmarks/selections
    coinfer freeze fig9 --store frozen.sqlite -o benchmarks/selections
    """
    from benchmarks.freezing import freeze_matrix
    from benchmarks.progress import Silent, default_progress
    from benchmarks.run_cli import sigterm_interrupts
    from benchmarks.selections import selections_names

    for matrix in matrices or selections_names():
        progress = Silent() if quiet else default_progress()
        with sigterm_interrupts():
            told = freeze_matrix(matrix, store, out, jobs, progress, method_files)
        click.echo(told, err=True)
