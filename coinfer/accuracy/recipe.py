"""Recipes: how a network is trained, named and versioned.

Measurements of different recipes are never mixed: a recipe's hash is part of every measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import cos, pi
from typing import Literal

from coinfer.errors import CoinferError, UnknownNameError
from coinfer.serial import content_hash, to_data

Stage = Literal["pretrain", "fine-tune", "start", "codec", "joint"]
Optimizer = Literal["sgd", "adam"]
Decay = Literal["cosine", "step"]
Precision = Literal["bf16", "fp32"]

RECIPE_SCHEMA = 1


@dataclass(frozen=True)
class Phase:
    """Some epochs of training under one optimiser.

    Attributes:
        stage: `pretrain` and `fine-tune` train the network without a codec, `codec` trains the
            codec with the network frozen, `joint` trains all end to end through the channel.
            `start` trains nothing: it sets the codec's first weights by principal components of
            what crosses for the first `images` images (`coinfer.compression.starts`); without it
            they are random.
        epochs: passes over the images.
        lr: highest learning rate.
        images: passes see the first so many training images only, a fixed subset; None sees all.
        optimizer: `sgd` is Nesterov's, with `momentum`; `adam` decays weights as SGD does.
        decay: `cosine` falls from `lr` to `final_lr`; `step` multiplies by `step_factor` every
            `step_epochs` epochs.
        final_lr: where a cosine ends.
        step_epochs, step_factor: of a stepwise decay.
        warmup_steps: steps in which the learning rate rises linearly to `lr`.
        momentum: of SGD.
        weight_decay: of all trained parameters.
        batch_size: images in a step; a last, smaller batch of a pass is left out.
        label_smoothing: share of each label spread over all classes.
        clip_norm: largest norm of the gradient of all parameters together; None for no limit.
        augmented: whether images are flipped and cropped at random.
        size: height and width of the input in pixels; None takes the network's own.
    """

    stage: Stage
    epochs: int
    lr: float
    images: int | None = None
    optimizer: Optimizer = "sgd"
    decay: Decay = "cosine"
    final_lr: float = 0.0
    step_epochs: int = 1
    step_factor: float = 1.0
    warmup_steps: int = 0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 128
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    augmented: bool = True
    size: int | None = None

    def __post_init__(self) -> None:
        checks = (
            ("epochs", self.epochs >= 1, "1 or more"),
            ("lr", 0 < self.lr < float("inf"), "a positive number"),
            ("images", self.images is None or self.images >= 1, "1 or more"),
            ("step_epochs", self.step_epochs >= 1, "1 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "0 to below 1"),
            ("clip_norm", self.clip_norm is None or self.clip_norm > 0, "a positive number"),
        )
        for name, good, allowed in checks:
            if not good:
                raise CoinferError(f"Phase.{name} is {getattr(self, name)}; allowed is {allowed}")

    def learning_rate(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        if self.decay == "step":
            return self.lr * self.step_factor ** (step // steps_per_epoch // self.step_epochs)
        falling = max(1, self.epochs * steps_per_epoch - self.warmup_steps)
        share = (step - self.warmup_steps) / falling
        return self.final_lr + (self.lr - self.final_lr) * (1 + cos(pi * share)) / 2


@dataclass(frozen=True)
class Recipe:
    """The phases that a network goes through, in order.

    Attributes:
        name, version: how people call it.
        phases: what is trained, one after the other. Phases that have nothing to train (those of
            the codec where a plan has none) are left out. Without any, the unpruned network after
            the recipe is the pretrained one, and so is the baseline (design ruling 4).
        precision: `bf16` computes convolutions and matrix products in bfloat16 while training;
            every accuracy is measured in float32.
        threads: of one training on a CPU; more would change the last bits of its sums.
        he_init: whether weights start from He et al.'s normal initialisation.
        schema: version of this record.
    """

    name: str
    version: int
    phases: tuple[Phase, ...]
    precision: Precision = "bf16"
    threads: int = 1
    he_init: bool = False
    schema: int = RECIPE_SCHEMA

    @cached_property
    def hash(self) -> str:
        """Content hash: two recipes with the same hash train alike."""
        return content_hash(to_data(self))

    @property
    def label(self) -> str:
        """Name and version in one word."""
        return f"{self.name}-v{self.version}"

    def stage(self, *stages: Stage) -> tuple[Phase, ...]:
        """Return the phases of some stages, in order."""
        return tuple(phase for phase in self.phases if phase.stage in stages)


# methods.md gives no epochs for the QHO paper: fine-tuning 20 epochs of SGD from 1e-2, then the
# codec for 5 epochs with the network frozen and 15 epochs end to end.
PAPER = Recipe(
    "paper",
    1,
    (
        Phase("fine-tune", 20, 1e-2, clip_norm=5.0),
        Phase("codec", 5, 1e-3, optimizer="adam", weight_decay=0.0, clip_norm=5.0),
        Phase("joint", 15, 1e-3, optimizer="adam", weight_decay=0.0, clip_norm=5.0),
    ),
)

# Of what a processor affords in minutes, batches of 64 make more of the same images than those of
# 128: 1.4 points at 60 % sparsity after 22,528 images.
QUICK = Recipe(
    "quick",
    2,
    (
        Phase("fine-tune", 1, 1e-2, images=6_400, batch_size=64, clip_norm=5.0),
        Phase(
            *("codec", 1, 3e-3),
            images=1_280,
            optimizer="adam",
            weight_decay=0.0,
            batch_size=64,
            clip_norm=5.0,
        ),
        Phase("joint", 1, 5e-3, images=2_560, batch_size=64, clip_norm=5.0),
    ),
)

# For a network of which a processor core trains twenty images a second. So few images do not teach
# a code from random weights: CIA's of VGG16 behind its eighth convolution, 128 times smaller than
# what crosses, has 87.1 % of the validation images from principal components alone (the network
# without it 87.5 %), and 80.7 % from random weights after 2,560 images of `codec` and 1,280 of
# `joint`. Nor does so brief a training end to end help a code that has started: version 1 spent a
# third of its images on it and had a learning rate of 5e-3, and ResNet-50 (parent 83.8 %) lost by
# it, unpruned and through a code of an eighth, which alone costs nothing (83.8 %).
BRIEF = Recipe(
    "brief",
    2,
    (
        Phase("fine-tune", 1, 2e-3, images=3_840, batch_size=32, clip_norm=5.0),
        Phase("start", 1, 1.0, images=1_024),
    ),
)

# What two cores carry for hundreds of plans of a 32x32 network. The recipe study shows how far it
# is from where accuracy is flat.
CPU = Recipe(
    "cpu",
    1,
    (
        Phase("fine-tune", 1, 1e-2, images=15_360, batch_size=64, clip_norm=5.0),
        Phase(
            *("codec", 1, 3e-3),
            images=5_120,
            optimizer="adam",
            weight_decay=0.0,
            batch_size=64,
            clip_norm=5.0,
        ),
        Phase("joint", 1, 1e-2, images=20_480, batch_size=64, clip_norm=5.0),
    ),
)

# Nothing is trained: what a plan loses is lost against the pretrained network as it is.
UNTRAINED = Recipe("untrained", 1, (), precision="fp32")

DIGITS = Recipe(
    "digits",
    1,
    (
        Phase("fine-tune", 2, 1e-2, augmented=False, batch_size=64, clip_norm=5.0),
        Phase("codec", 3, 3e-3, optimizer="adam", weight_decay=0.0, augmented=False, batch_size=64),
        Phase("joint", 3, 5e-3, augmented=False, batch_size=64, clip_norm=5.0),
    ),
    precision="fp32",
)

# Networks without batch normalisation start from He et al.'s initialisation, with a warm-up and
# clipped gradients. Every recipe ends at a learning rate of zero, where accuracy is flat.
PRETRAIN_PLAIN = Recipe(
    "pretrain-plain",
    1,
    (Phase("pretrain", 30, 0.02, warmup_steps=200, label_smoothing=0.05, clip_norm=5.0),),
    he_init=True,
)

# The same in three sizes, as the large network is dear: most passes see small images.
PRETRAIN_LARGE = Recipe(
    "pretrain-large",
    1,
    tuple(
        Phase(
            *("pretrain", epochs, lr),
            final_lr=final_lr,
            size=size,
            warmup_steps=200,
            label_smoothing=0.05,
            clip_norm=5.0,
        )
        for epochs, lr, final_lr, size in (
            (12, 0.02, 0.002, 64),
            (11, 0.01, 0.001, 128),
            (5, 0.004, 1e-5, 224),
        )
    ),
    he_init=True,
)

PRETRAIN_NORMALISED = Recipe(
    "pretrain-normalised",
    1,
    (Phase("pretrain", 30, 0.1, warmup_steps=200, label_smoothing=0.05, clip_norm=5.0),),
)

# A parent that two cores make in half an hour; what its plans lose, they lose against it.
PRETRAIN_SHORT = Recipe(
    "pretrain-short",
    1,
    (Phase("pretrain", 6, 0.1, warmup_steps=200, label_smoothing=0.05, clip_norm=5.0),),
)

# The same for a network that takes a processor core half an hour for a pass: most passes see images
# of a quarter of the pixels, the last one whole images, as its plans do. Adam, as it is far ahead
# after little: of ResNet-50, 40 % right after 10,240 images of 16x16, where SGD has 18 to 21 %. Two
# threads, as no plan can be trained before its parent is.
PRETRAIN_RESIZED = Recipe(
    "pretrain-resized",
    2,
    tuple(
        Phase(
            *("pretrain", epochs, lr),
            final_lr=final_lr,
            size=size,
            optimizer="adam",
            weight_decay=0.0,
            batch_size=64,
            warmup_steps=30,
            label_smoothing=0.05,
            clip_norm=5.0,
        )
        for epochs, lr, final_lr, size in ((5, 1e-3, 3e-4, 16), (1, 5e-4, 0.0, 32))
    ),
    threads=2,
)

PRETRAIN_DIGITS = Recipe(
    "pretrain-digits",
    1,
    (Phase("pretrain", 8, 0.02, batch_size=64, augmented=False, warmup_steps=20, clip_norm=5.0),),
    precision="fp32",
    he_init=True,
)

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe for recipe in (PAPER, CPU, QUICK, BRIEF, UNTRAINED, DIGITS)
}

PRETRAIN_RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        PRETRAIN_PLAIN,
        PRETRAIN_LARGE,
        PRETRAIN_NORMALISED,
        PRETRAIN_SHORT,
        PRETRAIN_RESIZED,
        PRETRAIN_DIGITS,
    )
}

_BY_MODEL = {"alexnet": PRETRAIN_LARGE, "alexnet-cifar": PRETRAIN_PLAIN}


def recipe(name: str) -> Recipe:
    """Return the recipe of that name, for measuring plans.

    Raises:
        UnknownNameError: when there is none.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name]


def pretrain_recipe(name: str | None, builder: str, data: str) -> Recipe:
    """Return the pretraining recipe of that name; for None, the one for a network and data.

    Args:
        name: of a recipe, or None.
        builder: what builds the network (`coinfer.models.ModelSpec.builder`).
        data: name of the data set.

    Raises:
        UnknownNameError: when there is none of that name.
    """
    if name is None:
        if data == "digits":
            return PRETRAIN_DIGITS
        return _BY_MODEL.get(builder, PRETRAIN_NORMALISED)
    if name not in PRETRAIN_RECIPES:
        raise UnknownNameError("recipe", name, PRETRAIN_RECIPES)
    return PRETRAIN_RECIPES[name]
