"""`coinfer pretrain`, `coinfer measure`, `coinfer cache`: real accuracies, one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coinfer.clitypes import MODEL

if TYPE_CHECKING:
    from coinfer.accuracy.checkpoints import Checkpoint
    from coinfer.accuracy.recipe import Recipe
    from coinfer.data.images import Splits
    from coinfer.models import ModelSpec

DATA = click.option(
    "--data",
    metavar="FOLDER",
    help="Folder with CIFAR-10, or 'digits' (built in). Default: COINFER_DATA.",
)
TORCH_DEVICE = click.option(
    "--torch-device",
    default="cpu",
    show_default=True,
    help="Where torch computes: cpu, cuda, cuda:1.",
)
PARENT = click.option(
    "--parent",
    metavar="FILE.pt",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Pretrained weights. Default: those that `coinfer pretrain` kept for the same data.",
)
PARENT_SEED = click.option(
    "--parent-seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the kept weights.",
)
SEED = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of training."
)


@click.command("pretrain")
@click.argument("model", type=MODEL)
@DATA
@click.option("--recipe", help="Pretraining recipe; by default the one for the network and data.")
@SEED
@TORCH_DEVICE
@click.option(
    "-o",
    "--out",
    metavar="FILE.pt",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the weights here.",
)
def pretrain(
    model: str, data: str | None, recipe: str | None, seed: int, torch_device: str, out: Path | None
) -> None:
    """Train an unpruned network from a seed and keep its weights in the cache folder.

    Trains on the 45,000 training images and validates on the 5,000 validation images; no test
    image is read. A training that was killed goes on from its last whole pass when the command
    is given again.

    \b
    coinfer pretrain alexnet-cifar --data path/to/cifar10
    coinfer pretrain alexnet-cifar --data digits
    """
    from coinfer.accuracy.pretrain import pretrain as train_from_seed
    from coinfer.accuracy.recipe import pretrain_recipe
    from coinfer.data import load_splits
    from coinfer.models import model_spec

    check_device(torch_device)
    if out is not None:
        check_replaceable(out)
    spec = model_spec(model)
    splits = load_splits(data).without_test()
    chosen = pretrain_recipe(recipe, spec.builder, splits.name)
    checkpoint = train_from_seed(
        spec, chosen, splits, seed, device=torch_device, progress=say_passes(spec.name)
    )
    if out is not None:
        write_weights(out, checkpoint)
    about = checkpoint.about
    click.echo(
        f"{spec.name} after {chosen.label}: validation accuracy {about['val_accuracy']:.4f} "
        f"({about['val_n']} images), weights {checkpoint.sha256}"
    )


@click.command("measure")
@click.argument("plan", metavar="PLAN.json", type=click.Path(dir_okay=False, path_type=Path))
@DATA
@click.option("--recipe", default="quick", show_default=True, help="How to train the plan.")
@PARENT
@PARENT_SEED
@SEED
@TORCH_DEVICE
@click.option("--test", is_flag=True, help="The plan is final: read the test set, once.")
@click.option(
    "--part-file",
    "part_files",
    multiple=True,
    metavar="FILE.py",
    help="Codecs, criteria and other parts of your own.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def measure(plan: Path, **options: Any) -> None:
    """Really build a plan, train it, and measure its accuracy, payload and work.

    PLAN.json is a plan as `coinfer plan --json` prints it, under `plan` or alone.

    \b
    coinfer plan --model alexnet-cifar --method neurosurgeon --device raspberry-pi-3b+ \\
        --server tesla-p100 --link 3g --json > answer.json
    coinfer measure answer.json --data digits --recipe digits
    """
    import json

    from coinfer.accuracy.measure import measure as build_and_measure
    from coinfer.accuracy.recipe import recipe
    from coinfer.data import load_splits
    from coinfer.models import model_spec
    from coinfer.parts import installed_parts
    from coinfer.plugins import classes_defined_in, load_file
    from coinfer.serial import to_data

    check_device(options["torch_device"])
    wanted = read_plan(plan)
    chosen = recipe(options["recipe"])
    parts = installed_parts()
    for file in options["part_files"]:
        parts = parts.with_classes(classes_defined_in(load_file(Path(file))))
    splits = load_splits(options["data"])
    check_recipe(chosen, splits)
    spec = model_spec(wanted.model)
    parent = find_parent(spec, splits, options["parent"], options["parent_seed"])
    result = build_and_measure(
        wanted,
        parent,
        splits if options["test"] else splits.without_test(),
        chosen,
        options["seed"],
        device=options["torch_device"],
        parts=parts,
        test=options["test"],
        progress=say_passes(wanted.hash[:12]),
    )
    if options["as_json"]:
        about = {
            "val_accuracy": result.val_accuracy,
            "val_std_error": result.val_std_error,
            "test_accuracy": result.test_accuracy,
        }
        click.echo(json.dumps(about | to_data(result), indent=2))
        return
    tested = result.test_accuracy
    payload = result.payload
    crossing = (
        f"{payload.bits:.0f} bits ({payload.evidence})"
        if payload.bits is not None
        else f"{payload.symbols} symbols"
    )
    click.echo(
        f"validation accuracy {result.val_accuracy:.4f} +- {result.val_std_error:.4f} "
        f"({result.val_n} images)"
        + ("" if tested is None else f", test accuracy {tested:.4f} ({result.test_n} images)")
        + f"\nuplink {crossing}, device {result.device_flops:,} + {result.encoder_flops:,} FLOPs, "
        f"server {result.server_flops:,} + {result.decoder_flops:,} FLOPs"
        + f"\nrecipe {result.recipe}, {result.images:,} training images, parent "
        f"{result.parent_sha256[:12]}, seed {result.seed}"
    )


@click.group("cache")
def cache() -> None:
    """Pretrained weights in the cache folder (COINFER_CACHE moves it)."""


@cache.command("list")
def cache_list() -> None:
    """List the kept weights: content, network, recipe, validation accuracy, size."""
    from coinfer.accuracy.checkpoints import entries, folder
    from coinfer.accuracy.pretrain import describe

    found = entries()
    if not found:
        click.echo(f"no weights in '{folder()}'")
    for record in found:
        click.echo(describe(record))


@cache.command("clear")
@click.option("--yes", is_flag=True, help="Do not ask.")
def cache_clear(yes: bool) -> None:
    """Delete all kept weights; `coinfer pretrain` makes them again."""
    from coinfer.accuracy.checkpoints import clear, folder

    if not yes and not click.confirm(f"delete all weights in '{folder()}'?"):
        click.echo("nothing deleted")
        return
    click.echo(f"{clear()} files deleted")


def find_parent(spec: ModelSpec, data: Splits, file: Path | None, seed: int) -> Checkpoint:
    """Return pretrained weights: those of a file, else those that `coinfer pretrain` kept.

    Raises:
        CoinferError: when there are none, naming the command that makes them.
    """
    from dataclasses import replace

    from coinfer.accuracy.checkpoints import known, read
    from coinfer.accuracy.pretrain import kept, kept_by_other_code
    from coinfer.accuracy.recipe import pretrain_recipe
    from coinfer.errors import CoinferError

    if file is not None:
        found = read(file)
        return replace(found, about=known(found.sha256))
    recipe = pretrain_recipe(None, spec.builder, data.name)
    made = kept(spec, recipe, data, seed)
    if made is None:
        older = kept_by_other_code(spec, recipe, data, seed)
        hint = f"; other code or another torch made '{older}'" if older else ""
        raise CoinferError(
            f"no pretrained weights of {spec.name} for these data are kept: run "
            f"`coinfer pretrain {spec.name} --seed {seed} --data ...` first, or give --parent{hint}"
        )
    return made


def read_plan(path: Path) -> Any:
    """Return the plan in a JSON file, alone or under `plan`.

    Raises:
        CoinferError: when the file is missing, no JSON, or holds no plan.
    """
    import json

    from coinfer.errors import CoinferError
    from coinfer.plan import Plan

    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CoinferError(f"cannot read '{path}': {error.strerror}") from error
    except ValueError as error:
        raise CoinferError(f"'{path}' is no JSON: {error}") from error
    inner = data.get("plan", data) if isinstance(data, dict) else data
    if isinstance(inner, dict) and "model" not in inner and isinstance(data, dict):
        inner = {"model": data.get("model"), **inner}
    try:
        return Plan.from_data(inner)
    except CoinferError as error:
        raise CoinferError(f"'{path}': {error}") from error


def check_device(name: str) -> None:
    """Refuse a torch device that is not there.

    Raises:
        CoinferError: naming what is accepted.
    """
    import torch

    from coinfer.errors import CoinferError

    accepted = "accepted: cpu" + (", cuda, cuda:N" if torch.cuda.is_available() else "")
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise CoinferError(f"unknown torch device '{name}'; {accepted}") from error
    if found.type == "cpu":
        return
    if found.type != "cuda" or not torch.cuda.is_available():
        raise CoinferError(f"torch device '{name}' is not there; {accepted}")


def check_recipe(chosen: Recipe, data: Splits) -> None:
    """Refuse a recipe that needs more training images than a data set has.

    Raises:
        CoinferError: naming both numbers and the recipes that the data set is large enough for.
    """
    from coinfer.accuracy.recipe import RECIPES
    from coinfer.errors import CoinferError

    def needs(recipe: Recipe) -> int:
        return max((phase.images or 1 for phase in recipe.phases), default=0)

    have = len(data.train)
    if needs(chosen) > have:
        accepted = ", ".join(name for name, one in RECIPES.items() if needs(one) <= have)
        raise CoinferError(
            f"recipe {chosen.name} trains on {needs(chosen):,} images, data set {data.name} has "
            f"{have:,} to train on; accepted: {accepted}"
        )


def say_passes(label: str) -> Any:
    """Return a progress function that writes a line per pass to stderr."""

    def say(done: int, total: int, loss: float) -> None:
        click.echo(f"{label}: pass {done} of {total}, mean loss {loss:.4f}", err=True)

    return say


def check_replaceable(path: Path) -> None:
    """Refuse to write weights over a file that holds none, such as a store.

    Raises:
        CoinferError: when there is such a file, or it cannot be read.
    """
    import zipfile

    from coinfer.errors import CoinferError

    try:
        if path.exists() and not zipfile.is_zipfile(path):
            raise CoinferError(f"'{path}' is there and holds no weights: it is not replaced")
    except OSError as error:
        raise CoinferError(f"cannot read '{path}': {error.strerror}") from error


def write_weights(path: Path, checkpoint: Checkpoint) -> None:
    """Write weights to a file of the user's.

    Raises:
        CoinferError: when it cannot be written.
    """
    import io

    import torch

    from coinfer.cachefolder import write_atomically
    from coinfer.errors import CoinferError

    buffer = io.BytesIO()
    torch.save(dict(checkpoint.state), buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise CoinferError(f"cannot write '{path}': {error.strerror}") from error
