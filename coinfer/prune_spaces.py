"""Prune spaces by model name, without importing torch where one of the same code is kept."""

from __future__ import annotations

from functools import cache

from coinfer.compression.space import PruneSpace
from coinfer.kept import Kept
from coinfer.models import ModelSpec, build, model_spec


def prune_space_of(model: str) -> PruneSpace:
    """Return the prune space of a model: a kept one where its key matches, else found anew.

    Raises:
        CoinferError: when the model is unknown or cannot be traced.
    """
    return _space_of(model_spec(model))


def _found(spec: ModelSpec) -> PruneSpace:
    network = build(spec, device="meta")
    from coinfer.compression.groups import prune_space  # only now: it needs torch

    return prune_space(network, spec.input_shape)


PRUNE_SPACES = Kept(
    "prune_spaces",
    PruneSpace,
    ("coinfer.networks", "coinfer.compression.groups", "coinfer.models"),
    ("torch", "torchvision", "torch-pruning"),
    _found,
)


@cache
def _space_of(spec: ModelSpec) -> PruneSpace:
    return PRUNE_SPACES.of(spec)
