"""From a model's name to the task that methods build for."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from coinfer.graphs import layer_graph
from coinfer.models import ModelSpec, model_spec, models
from coinfer.plan import Evidence, MeasuredPlans, Source, Task
from coinfer.prune_spaces import prune_space_of

_UNKNOWN_SOURCE = (
    "what feeds this network is not known; its source is taken to be the network's own input in "
    "8 bits an element"
)


@cache
def source_sizes() -> dict[tuple[int, ...], dict[str, Any]]:
    """Return the shipped PNG size measurements, by the shape of the source."""
    text = files("coinfer.presets").joinpath("source_sizes.json").read_text(encoding="utf-8")
    record = json.loads(text)
    return {tuple(record["shape"]): record}


def source_of(spec: ModelSpec) -> Source:
    """Return the source tensor of a network, with its measured PNG size where there is one.

    The registered networks classify CIFAR-10, whose images were measured; what feeds any other
    network is not known, even where it has the same shape: its input is taken for it.
    """
    if spec.builder not in models():
        return Source(spec.source_shape, assumption=_UNKNOWN_SOURCE)
    measured = source_sizes().get(spec.source_shape)
    return Source(spec.source_shape, png_bits=measured["png_bits"]["mean"] if measured else None)


def make_task(
    model: str,
    max_accuracy_loss: float = 0.02,
    *,
    groups: bool = False,
    measured: tuple[MeasuredPlans, ...] = (),
    baseline_accuracy: float | None = None,
) -> Task:
    """Return the task of a model.

    Args:
        model: registry name, `torchvision:NAME` or `file.py:factory`.
        max_accuracy_loss: the accuracy floor lies this far (0..1) below the baseline.
        groups: whether to find the prune groups too (only methods that prune need them).
        measured: measured plans that methods may learn from.
        baseline_accuracy: of the unpruned network, measured under the recipe of those plans
            (design ruling 4); None takes what its paper states.

    Raises:
        CoinferError: when the model is unknown or cannot be traced.
    """
    spec = model_spec(model)
    evidence: Evidence | None = "measured"
    if baseline_accuracy is None:
        baseline_accuracy = spec.published_accuracy
        evidence = None if baseline_accuracy is None else "published"
    return Task(
        model=spec.name,
        graph=layer_graph(spec.name),
        source=source_of(spec),
        baseline_accuracy=baseline_accuracy,
        baseline_evidence=evidence,
        max_accuracy_loss=max_accuracy_loss,
        prune_space=prune_space_of(spec.name) if groups else None,
        measured=measured,
    )
