"""How long to train codes: accuracy against training length, of the widest codes of three papers.

Under a short recipe a method whose code is learnt may have no plan within the accuracy floor. This
tells whether that is the training or the code: the unpruned network with the widest code that the
method has, trained ever longer, beside the network that goes through the same recipe without one
(and so without the phase that trains the codec alone).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.studies import Point, of_length
from coinfer.accuracy.box import search_box
from coinfer.accuracy.families import block_cuts, is_map
from coinfer.accuracy.recipe import CPU, Recipe
from coinfer.accuracy.sampling import widest
from coinfer.errors import CoinferError
from coinfer.plan import CutRef, Plan, Task

FAMILIES = ("bottlenet++", "cia", "three-step")
"""Families of plans whose codes are learnt, one of each paper."""

NO_CODE = "none"
"""The family of the network without a code, which the others are held against."""

FACTORS = (0.25, 1.0, 4.0)
"""Lengths, as multiples of recipe `cpu`."""

CUTS = 2
"""The last so many cuts with maps are encoded at."""

TRAININGS = len(FACTORS) * (1 + CUTS * len(FAMILIES))
"""Trainings of a whole study, of a network that has so many such cuts."""


def points(task: Task, train_images: int, factors: Sequence[float] = FACTORS) -> Iterator[Point]:
    """Yield the trainings of the study, the short ones first.

    Args:
        task: made with its prune groups.
        train_images: of the training split.
        factors: lengths.

    Raises:
        CoinferError: when the network has no cut with maps.
    """
    space = task.prune_space
    assert space is not None
    cuts = [c for c in block_cuts(space.graph) if c.kind == "interior" and is_map(c)][-CUTS:]
    if not cuts:
        raise CoinferError(f"{task.model} has no cut with maps, where all codes could be held")
    last = space.graph.cuts[-1]
    plans = [(NO_CODE, Plan(task.model, CutRef(last.index, last.after)))]
    wanted = {cut.after for cut in cuts}
    for family in FAMILIES:
        found = widest(search_box(task, family))
        plans += [(family, plan) for plan in found if plan.cut.after in wanted]
    for factor in factors:
        recipe = lengthened(factor, train_images)
        images = sum(phase.epochs * (phase.images or train_images) for phase in recipe.phases)
        for family, plan in plans:
            yield Point((family, plan.cut.after, plan.codec), images, recipe, plan)


def lengthened(factor: float, train_images: int) -> Recipe:
    """Return recipe `cpu` with all its phases so many times as long."""
    phases = (
        of_length(phase, round(factor * (phase.images or train_images)), train_images)
        for phase in CPU.phases
    )
    return Recipe(f"cpu-times-{factor:g}", CPU.version, tuple(phases))
