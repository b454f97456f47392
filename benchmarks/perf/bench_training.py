"""What the training loop costs beside a bare one: the same steps, written by hand.

AlexNet for 32x32 images, batches of 128 built-in digits, augmented, bfloat16, SGD with clipped
gradients, on one thread. The bare loop has no hooks, checks, keeper or schedule. Both are timed in
turns, in seconds of the process's own work, so that others on the machine do not count; a ratio is
that of two neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import process_time
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from coinfer.accuracy.recipe import Phase
from coinfer.accuracy.training import Setup, train
from coinfer.data import load_splits
from coinfer.data.batches import batches
from coinfer.data.images import ImageSet
from coinfer.models import build, model_spec

MODEL = "alexnet-cifar"
PHASE = Phase("fine-tune", 2, 1e-2, clip_norm=5.0)
ROUNDS = 7
TARGET = 0.95


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """Return the training images of the digits."""
    return load_splits("digits").train


def network() -> nn.Module:
    """Return the network, the same weights every time."""
    return build(model_spec(MODEL), seed=0)


def ours(images: ImageSet) -> nn.Module:
    """Train by the harness's loop."""
    model = network()
    train(model, images, PHASE, seed=0, size=32, setup=Setup(), label=MODEL)
    return model


def bare(images: ImageSet) -> nn.Module:
    """Train by hand: the same optimiser, precision, clipping and augmentation, nothing else."""
    model = network().train()
    optimizer = torch.optim.SGD(
        model.parameters(), PHASE.lr, PHASE.momentum, weight_decay=PHASE.weight_decay, nesterov=True
    )
    draws = torch.Generator().manual_seed(0)
    for _ in range(PHASE.epochs):
        for inputs, targets in batches(
            images.images, images.labels, PHASE.batch_size, draws, augmented=True, drop_last=True
        ):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16):
                scores = model(inputs)
            loss = functional.cross_entropy(scores.float(), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), PHASE.clip_norm or 0.0)
            optimizer.step()
    return model


def seconds(run: Callable[[ImageSet], Any], images: ImageSet) -> float:
    """Return the processor time of one training."""
    started = process_time()
    run(images)
    return process_time() - started


def test_training_loop(
    benchmark: Any, images: ImageSet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images a second of our loop over those of the bare one; at least 0.95."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours(images)
        bare(images)
        pairs = [(seconds(bare, images), seconds(ours, images)) for _ in range(ROUNDS)]
        benchmark.pedantic(ours, args=(images,), rounds=1)
    finally:
        torch.set_num_threads(threads)
    ratio = median(by_hand / harness for by_hand, harness in pairs)
    seen = PHASE.epochs * (len(images) // PHASE.batch_size) * PHASE.batch_size
    rate = seen / median(harness for _, harness in pairs)
    benchmark.extra_info |= {"of_the_bare_loop": ratio, "images_per_cpu_s": rate}
    with capsys.disabled():
        print(f"\nTraining: {rate:.0f} images a second, {ratio:.3f} of a bare loop", end="")
    assert ratio >= TARGET
