"""How long to fine-tune: accuracy against training length, at several sparsities.

What fixes a recipe before a sweep: it ends where the curves are flat. The unpruned network goes
through the same lengths, as the baseline of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks.studies import Point, of_length
from coinfer.accuracy.recipe import Phase, Recipe
from coinfer.plan import CutRef, Plan, Task

SPARSITIES = (0.0, 0.3, 0.6, 0.8)
"""Shares of every group's units that are removed, by L1 norm; 0 is the baseline."""

LENGTHS = (5_632, 22_528, 45_000, 90_000, 180_000, 360_000, 720_000)
"""Training images seen: up to one pass of a fixed subset, then whole passes."""

TRAININGS = len(LENGTHS) * len(SPARSITIES)
"""Trainings of a whole study."""


def points(task: Task, train_images: int, lengths: Sequence[int] = LENGTHS) -> Iterator[Point]:
    """Yield the trainings of the study, the short ones first.

    Args:
        task: made with its prune groups.
        train_images: of the training split.
        lengths: training images seen.
    """
    space = task.prune_space
    assert space is not None
    last = space.graph.cuts[-1]
    cut = CutRef(last.index, last.after)
    for length in lengths:
        for sparsity in SPARSITIES:
            kept = space.kept_from_sparsity(sparsity)
            plan = Plan(task.model, cut, keep=space.keep_pairs(kept), criterion="l1")
            if sparsity == 0:
                plan = replace(plan, criterion="none")
            yield Point((str(sparsity),), length, fine_tuning(length, train_images), plan)


def fine_tuning(length: int, train_images: int) -> Recipe:
    """Return the recipe that only fine-tunes, for so many images in whole passes."""
    phase = of_length(Phase("fine-tune", 1, 1e-2, clip_norm=5.0), length, train_images)
    return Recipe(f"fine-tune-{length}", 1, (phase,))
