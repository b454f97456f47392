"""Small measurement tables with chosen accuracies, for the tests of claims and predictors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.measurement import Measurement, Payload, pack
from coinfer.accuracy.recipe import QUICK, Recipe
from coinfer.accuracy.sampling import samples
from coinfer.accuracy.table import Origin, Sample, Table
from coinfer.plan import Plan
from coinfer.tasks import make_task
from reproduce.claims import TableMeasure
from reproduce.measured import corner_of

MODEL = "alexnet-cifar"
CORNERS = {
    "unpruned": TableMeasure("accuracy", MODEL),
    "pruned-74": TableMeasure("loss", MODEL, prune="features.3", share=0.74),
    "pruned-89": TableMeasure("loss", MODEL, prune="features.3", share=0.89),
    "encoded-6.5": TableMeasure("loss", MODEL, encode="classifier.0", share=0.065),
    "encoded-0.2": TableMeasure("loss", MODEL, encode="classifier.0", share=0.002),
}


@cache
def box() -> Box:
    """The box of the tables."""
    return search_box(make_task(MODEL, groups=True), "qho")


def corner(name: str) -> Plan:
    """The plan of a corner by its name here."""
    plan = corner_of(CORNERS[name], box())
    assert plan is not None
    return plan


def flags(right: int, n: int) -> list[bool]:
    """So many right answers of `n`, the first ones."""
    return [True] * right + [False] * (n - right)


def table(right: Mapping[Plan, Sequence[bool]], *, recipe: Recipe = QUICK, **origin: Any) -> Table:
    """A table in which the plans were right on these validation images."""
    about = Origin(
        "small", MODEL, "qho", 300, 0, recipe, "ab" * 32, {}, data="cifar10", data_hash="cd" * 32
    )
    about = replace(about, **origin)
    found = [Sample("corner", _measurement(plan, told, about), 1.0, "m", "c0de")
             for plan, told in right.items()]  # fmt: skip
    return Table(about, tuple(found), {"m": {"cpu": "x"}})


def sampled(n: int = 34, images: int = 400) -> Table:
    """A table of the design's first plans, whose accuracies fall with what is removed."""
    plans = [point.plan for point in samples(box(), n, 0)]
    features = box().features(box().read(plans))
    removed = features[:, : len(box().rates)].mean(axis=1)
    rng = np.random.default_rng(0)
    share = np.clip(0.8 - 0.5 * removed + rng.normal(0.0, 0.02, len(plans)), 0.1, 0.9)
    return table(
        {plan: flags(round(images * s), images) for plan, s in zip(plans, share, strict=True)}
    )


def with_test_set(of: Table, correct: Any, n: int = 100) -> Table:
    """The same table, with so many right answers on a test set."""
    found = [
        replace(s, measurement=replace(s.measurement, test_correct=correct, test_n=n))
        for s in of.samples
    ]
    return replace(of, samples=tuple(found))


def _measurement(plan: Plan, told: Sequence[bool], origin: Origin) -> Measurement:
    return Measurement(
        plan=plan,
        recipe=origin.recipe.label,
        recipe_hash=origin.recipe.hash,
        parent_sha256=origin.parent_sha256,
        data_hash=origin.data_hash,
        seed=origin.seed,
        val_correct=pack(np.array(told)),
        val_n=len(told),
        test_correct=None,
        test_n=None,
        payload=Payload(1024.0, 1024.0, 1024.0, None, "analytic"),
        device_flops=10,
        server_flops=20,
        encoder_flops=1,
        decoder_flops=2,
        epochs=3,
        images=100,
    )
