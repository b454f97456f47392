"""The masks of nni's own pruners, where nni 3 is installed.

The papers that prune by a norm or by FPGM name nni. Its pruners are asked about copies of the
layers, one by one: the network is neither wrapped nor changed. They choose in groups of a single
ordinary layer; tied layers and grouped convolutions are left to our own criteria, which choose
the same units (a test holds the two equal). Without nni nothing is chosen here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from importlib import import_module, metadata
from typing import Any

from torch import nn

from coinfer.compression.scoring import makers
from coinfer.compression.space import PruneSpace

_PRUNERS = {"l1": "L1NormPruner", "l2": "L2NormPruner", "fpgm": "FPGMPruner"}
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@cache
def nni_version() -> str | None:
    """Return the version of nni whose pruners are used; None where there is none of version 3."""
    try:
        version = metadata.version("nni")
        if version.partition(".")[0] != "3":
            return None
        import_module("nni.compression.pruning")
    except (ImportError, AttributeError, RuntimeError):  # missing, or made for another torch
        return None
    return version


def kept_units(
    criterion: str, model: nn.Module, space: PruneSpace, keep: Mapping[str, int]
) -> dict[str, list[int]]:
    """Return the units that nni's pruner of a criterion keeps, for groups that it can choose in.

    Args:
        criterion: name of a criterion.
        model: the network that `space` describes.
        space: its prune space.
        keep: how many units stay, by prune group.
    """
    if criterion not in _PRUNERS:
        return {}
    layers: dict[str, nn.Module] = {}
    config = []
    producers = makers(model, space)
    for group in space.groups:
        count = keep.get(group.name, group.units)
        layer = model.get_submodule(group.name)
        single = len(producers[group.name]) == 1 and group.unit_channels == 1
        ordinary = isinstance(layer, _LAYERS) and getattr(layer, "groups", 1) == 1
        # FPGM is defined on filters; on wide linear layers nni's loop over pairs takes minutes.
        fits = not (criterion == "fpgm" and isinstance(layer, nn.Linear))
        if count < group.units and single and ordinary and fits:
            # nni removes int(units * ratio): half a unit more keeps rounding out of it.
            ratio = (group.units - count + 0.5) / group.units
            config.append({"op_names": [str(len(layers))], "sparse_ratio": ratio})
            layers[group.name] = layer
    if not layers or nni_version() is None:
        return {}
    pruning: Any = import_module("nni.compression.pruning")
    copies = nn.Sequential(*(copy.deepcopy(layer) for layer in layers.values()))
    _, masks = getattr(pruning, _PRUNERS[criterion])(copies, config).compress()
    return {
        name: masks[str(position)]["weight"].flatten(1).any(1).nonzero().flatten().tolist()
        for position, name in enumerate(layers)
    }
