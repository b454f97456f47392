"""`coinfer recipe-study`, `code-study` and `sweep`: hundreds of trainings, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coinfer.accuracy.cli import DATA, PARENT, PARENT_SEED, SEED, TORCH_DEVICE
from coinfer.clitypes import MODEL

if TYPE_CHECKING:
    from benchmarks.studies import Kind, Point
    from benchmarks.sweep import Step
    from benchmarks.trainings import Training
    from coinfer.accuracy.checkpoints import Checkpoint
    from coinfer.accuracy.table import Origin
    from coinfer.data.images import Splits
    from coinfer.plan import Task


def _output(_context: click.Context, _option: click.Parameter, out: Path) -> Path:
    """Click callback: refuse a name that something else would lose its file to, before any work."""
    from coinfer.records import check_output

    check_output(out)
    return out


_OPTIONS = (
    click.option(
        "-o",
        "--out",
        required=True,
        metavar="FILE.csv",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_output,
        help="The table; its origin is written to a JSON beside it.",
    ),
    *(DATA, PARENT, PARENT_SEED, SEED, TORCH_DEVICE),
    click.option(
        "--jobs",
        type=int,
        help="Trainings at once; 0 for one per core. Default: 1, or a cluster's.",
    ),
    click.option(
        "--executor", default="joblib", show_default=True, help="joblib (here), dask or ray."
    ),
    click.option("--address", help="Of a Dask scheduler or Ray head."),
)


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of many trainings: the table, data, parent, seeds, workers."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("recipe-study")
@click.argument("model", type=MODEL)
@training_options
def recipe_study(model: str, out: Path, **options: Any) -> None:
    """Measure accuracy against fine-tuning length at three sparsities, and unpruned.

    Every row is written as it is done; the same command goes on from there.

    \b
    coinfer recipe-study alexnet-cifar --data path/to/cifar10 --jobs 2 -o study.csv
    """
    from benchmarks.recipe_study import points
    from benchmarks.studies import RECIPE_STUDY

    _study(model, RECIPE_STUDY, points, out, options)


@click.command("code-study")
@click.argument("model", type=MODEL)
@training_options
def code_study(model: str, out: Path, **options: Any) -> None:
    """Measure accuracy against training length, with the widest codes of three papers.

    It tells whether a method has no plan within the accuracy floor for want of training or because
    its code is too narrow. Every row is written as it is done; the same command goes on from there.

    \b
    coinfer code-study alexnet-cifar --data path/to/cifar10 --jobs 2 -o codes.csv
    """
    from benchmarks.code_study import points
    from benchmarks.studies import CODE_STUDY

    _study(model, CODE_STUDY, points, out, options)


def _study(
    model: str,
    kind: Kind,
    points: Callable[[Task, int], Iterable[Point]],
    out: Path,
    options: dict[str, Any],
) -> None:
    from benchmarks.run_cli import sigterm_interrupts
    from benchmarks.studies import run_study
    from coinfer.tasks import make_task

    base, parent, splits = prepare(model, options)
    about = {
        "model": base.plan.model,
        "parent_sha256": parent.sha256,
        "parent": dict(parent.about),
        "data": splits.name,
        "data_hash": splits.hash,
        "seed": base.seed,
    }
    wanted = list(points(make_task(base.plan.model, groups=True), len(splits.train)))
    workers = {name: options[name] for name in ("executor", "jobs", "address")}
    with sigterm_interrupts():
        for done, total in run_study(out, kind, wanted, base, about, **workers):
            click.echo(f"{done} of {total} trainings in '{out}'", err=True)


def prepare(model: str, options: dict[str, Any]) -> tuple[Training, Checkpoint, Splits]:
    """Return what all trainings of a sweep have in common, from its options.

    Raises:
        CoinferError: when model, data, parent or torch device are not there.
    """
    from benchmarks.trainings import Training
    from coinfer.accuracy.checkpoints import folder
    from coinfer.accuracy.cli import check_device, find_parent
    from coinfer.accuracy.recipe import QUICK
    from coinfer.data import load_splits
    from coinfer.models import model_spec
    from coinfer.plan import CutRef, Plan

    check_device(options["torch_device"])
    spec = model_spec(model)
    splits = load_splits(options["data"]).without_test()
    parent = find_parent(spec, splits, options["parent"], options["parent_seed"])
    file = options["parent"] or folder() / f"{parent.sha256}.pt"
    base = Training(
        Plan(spec.name, CutRef(0, "input")),
        QUICK,
        options["seed"],
        options["data"],
        str(Path(file).resolve()),
        parent.sha256,
        options["torch_device"],
    )
    return base, parent, splits


@click.command("sweep")
@click.argument("model", type=MODEL)
@click.option(
    "--family",
    default="qho",
    show_default=True,
    help="Which plans: qho, prune-partition, fpgm, two-step, bottlenet++, cia, cpcdrl, "
    "three-step, three-step-jscc, three-step-bsc, ipdr, paa, quantised or noise.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Plans wanted; a family with fewer has them all.",
)
@click.option(
    "--recipe",
    help="How to train every plan.  [default: quick; untrained for quantised]",
)
@click.option("--resume", is_flag=True, help="Go on with a table that is there.")
@click.option(
    "--sobol-first",
    type=int,
    default=32,
    show_default=True,
    help="Sobol points before the first plans near the accuracy floor; a table of few plans wants "
    "fewer.",
)
@click.option(
    "--max-accuracy-loss",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="That floor: loss allowed, 0 to 1.",
)
@training_options
def sweep(model: str, out: Path, **options: Any) -> None:
    """Measure a design of plans for real and write a table that an accuracy predictor learns from.

    The design holds the corners that the papers talk about, scrambled Sobol points of the search
    box, and points near the accuracy floor; of quantised plans, which nobody trains, it holds every
    one. Every row is written as it is done; with --resume the
    same command goes on from there, and a larger --samples tops a table up. Accuracies are those
    of the validation images; the test set is not read.

    \b
    coinfer sweep alexnet-cifar --data path/to/cifar10 --samples 300 --jobs 2 -o qho.csv
    coinfer sweep alexnet-cifar --data digits --recipe digits --samples 24 -o digits.csv
    """
    from benchmarks.run_cli import sigterm_interrupts
    from benchmarks.sweep import run_sweep
    from coinfer.accuracy.box import search_box
    from coinfer.accuracy.cli import check_recipe
    from coinfer.accuracy.families import UNTRAINED
    from coinfer.accuracy.recipe import recipe
    from coinfer.accuracy.sampling import check_sobol_first
    from coinfer.errors import CoinferError
    from coinfer.tasks import make_task

    if out.exists() and not options["resume"]:
        raise CoinferError(f"'{out}' is there already; --resume goes on with it")
    base, parent, splits = prepare(model, options)
    box = search_box(make_task(base.plan.model, groups=True), options["family"])
    chosen = recipe(options["recipe"] or ("untrained" if box.name in UNTRAINED else "quick"))
    check_recipe(chosen, splits)
    every = box.every()
    count = min(options["samples"], options["samples"] if every is None else len(every))
    base = replace(base, recipe=chosen)
    origin = replace(
        origin_of(out, box.name, count, base, parent, splits),
        sobol_first=check_sobol_first(options["sobol_first"]),
        max_accuracy_loss=options["max_accuracy_loss"],
    )
    with sigterm_interrupts():
        for step in run_sweep(
            out,
            box,
            origin,
            base,
            count,
            executor=options["executor"],
            jobs=options["jobs"],
            address=options["address"],
        ):
            say_step(step)


def origin_of(
    out: Path, family: str, target: int, base: Training, parent: Checkpoint, splits: Splits
) -> Origin:
    """Return what all rows of a table have in common.

    Args:
        out: of the table, which is named after it.
        family: of the plans.
        target: rows that it is to have.
        base: what all trainings have in common, their recipe included.
        parent, splits: weights and data that every one starts from.
    """
    from coinfer.accuracy.table import Origin

    return Origin(
        name=out.stem,
        model=base.plan.model,
        family=family,
        target=target,
        seed=base.seed,
        recipe=base.recipe,
        parent_sha256=parent.sha256,
        parent=dict(parent.about),
        data=splits.name,
        data_hash=splits.hash,
    )


def say_step(step: Step) -> None:
    """Say how far a sweep is, and what just came of it, in a line."""
    told, last = "", step.last
    if step.failed:
        told = f": {step.failed}"
    elif last is not None:
        told = f": {last.why}, val {last.measurement.val_accuracy:.4f}, {last.seconds:.0f} s"
    click.echo(f"{step.done} of {step.wanted} plans{told}", err=True)


@click.command("tables")
@click.option("--json", "as_json", is_flag=True, help="Print everything known, as JSON.")
def list_tables(as_json: bool) -> None:
    """List the measurement tables and studies that ship, and how far each is."""
    import json

    from benchmarks import code_study, recipe_study
    from benchmarks.studies import CODE_STUDY, RECIPE_STUDY
    from benchmarks.tables import (
        cross_check_names,
        find_study,
        shipped_table,
        study_names,
        table_names,
    )
    from coinfer.serial import to_data

    checks = cross_check_names()
    tables = [shipped_table(name) for name in (*table_names(), *checks)]
    studies = [find_study(name) for name in study_names()]
    if as_json:
        about = {t.origin.name: to_data(t.origin) | {"samples": len(t.samples)} for t in tables}
        about |= {s.name: dict(s.origin) | {"trainings": len(s.rows)} for s in studies}
        click.echo(json.dumps(about, indent=2))
        return
    told = {
        t.origin.name: f"{len(t.samples)} of {t.origin.target} plans, family {t.origin.family}, "
        f"recipe {t.origin.recipe.label}, {t.origin.data}"
        + (", a cross-check that no method learns from" if t.origin.name in checks else "")
        for t in tables
    }
    whole = {RECIPE_STUDY: recipe_study.TRAININGS, CODE_STUDY: code_study.TRAININGS}
    told |= {
        s.name: f"{len(s.rows)} of {whole[s.kind]} trainings of a {s.kind.name}, {s.origin['data']}"
        for s in studies
    }
    width = max(map(len, told), default=0)
    for name, text in told.items():
        click.echo(f"{name:<{width}}  {text}")
