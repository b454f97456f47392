"""Pretraining: the unpruned network, from a seed, kept by all that determines it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from coinfer.accuracy import checkpoints
from coinfer.accuracy.checkpoints import Checkpoint, FileKeeper
from coinfer.accuracy.recipe import Recipe
from coinfer.accuracy.training import (
    Progress,
    Setup,
    Spent,
    correct,
    input_size,
    substream,
    train,
)
from coinfer.data.images import Splits
from coinfer.errors import CoinferError
from coinfer.models import ModelSpec, build
from coinfer.serial import to_data
from coinfer.sources import closure_hash


def key(spec: ModelSpec, recipe: Recipe, data: Splits, seed: int) -> dict[str, Any]:
    """Return all that determines pretrained weights, the processor aside, as plain data."""
    return {
        "model": to_data(spec),
        "recipe": recipe.hash,
        "train": data.train.hash,
        "seed": seed,
        "code": closure_hash(("coinfer.accuracy.pretrain",)),
        "torch": version("torch"),
    }


def kept(spec: ModelSpec, recipe: Recipe, data: Splits, seed: int) -> Checkpoint | None:
    """Return the weights of an earlier `pretrain` with the same arguments, if any."""
    return checkpoints.kept(key(spec, recipe, data, seed))


def kept_by_other_code(spec: ModelSpec, recipe: Recipe, data: Splits, seed: int) -> Path | None:
    """Return the file of weights that differ in code or torch only; None where there are none."""
    wanted = _without_code(key(spec, recipe, data, seed))
    for record in checkpoints.entries():
        if _without_code(record["key"]) == wanted:
            return checkpoints.folder() / f"{record['sha256']}.pt"
    return None


def _without_code(what: Any) -> Any:
    if not isinstance(what, dict):
        return what
    return {name: value for name, value in what.items() if name not in ("code", "torch")}


def pretrain(
    spec: ModelSpec,
    recipe: Recipe,
    data: Splits,
    seed: int,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Checkpoint:
    """Train a network from a seed, and keep its weights and its validation accuracy.

    A training that was killed goes on from its last whole pass, with the same result. What was
    trained before is returned at once.

    Args:
        spec: the network.
        recipe: its `pretrain` phases are gone through.
        data: trains on `train`, validates on `val`; the test set is not touched.
        seed: of the initial weights, batches and augmentation.
        device: a torch device.
        progress: told after every pass.

    Raises:
        CoinferError: when the data do not fit the network, or the training fails.
    """
    what = key(spec, recipe, data, seed)
    found = checkpoints.kept(what)
    if found is not None:
        return found
    check_classes(spec, data)
    size = input_size(spec.input_shape)
    setup = Setup(device, recipe.precision, recipe.threads)
    model = build(spec, seed=substream(seed, "weights"))
    if recipe.he_init:
        he_init(model, substream(seed, "he"))
    spent = Spent()
    keepers = []
    for number, phase in enumerate(recipe.stage("pretrain")):
        keepers.append(FileKeeper.of([what, number]))
        spent += train(
            model,
            data.train,
            phase,
            seed=substream(seed, "pretrain", str(number)),
            size=size,
            setup=setup,
            label=spec.name,
            keeper=keepers[-1],
            progress=progress,
        )
    right = correct(model, data.val, size=size, setup=setup)
    about = {
        "model": spec.name,
        "recipe": recipe.label,
        "data": data.name,
        "train_hash": data.train.hash,
        "seed": seed,
        "epochs": spent.epochs,
        "images": spent.images,
        "val_accuracy": float(right.mean()),
        "val_n": len(right),
    }
    checkpoint = checkpoints.keep(what, model.state_dict(), about)
    for keeper in keepers:
        keeper.drop()
    return checkpoint


def check_classes(spec: ModelSpec, data: Splits) -> None:
    """Refuse data whose images or classes a network cannot take.

    Raises:
        CoinferError: naming both numbers.
    """
    if spec.classes is not None and spec.classes != len(data.classes):
        raise CoinferError(
            f"{spec.name} has {spec.classes} outputs, the data {len(data.classes)} classes"
        )
    if spec.input_shape[0] != data.shape[0]:
        raise CoinferError(
            f"{spec.name} takes {spec.input_shape[0]} channels, the images have {data.shape[0]}"
        )


def he_init(model: nn.Module, seed: int) -> None:
    """Draw weights of convolutions and linear layers as He et al. (2015), biases zero, in place."""
    import torch

    draws = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=draws)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def describe(record: Mapping[str, Any]) -> str:
    """Return a kept checkpoint's record as one line."""
    about = record["about"]
    return (
        f"{record['sha256'][:12]}  {about.get('model', '?'):<24} {about.get('recipe', '?'):<24} "
        f"val {about.get('val_accuracy', float('nan')):.4f}  {record['bytes'] / 1e6:7.1f} MB"
    )
