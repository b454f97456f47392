"""Which units go: the lowest by a criterion's scores, in each group or among all of them.

How many stay is always a whole number (design ruling 8). This module imports without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coinfer.checks import is_whole, shown, whole_number
from coinfer.compression.criteria import Batches
from coinfer.compression.space import PruneSpace
from coinfer.errors import CoinferError, UnknownNameError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from coinfer.parts import Criterion

Kept = dict[str, list[int]]
"""Units that stay, in order, by prune group."""

# What makes channels of its own. Norms and the like follow the layer before them.
_MAKERS = ("conv", "conv_transpose", "fc")


def select(
    criterion: Criterion,
    model: nn.Module,
    space: PruneSpace,
    keep: Mapping[str, int],
    batches: Callable[[], Batches],
    gone: Mapping[str, Sequence[int]] | None = None,
) -> Kept:
    """Choose the units that stay by a criterion.

    Where nni is installed, its pruner of the criterion's name chooses in groups of one ordinary
    layer (`coinfer.compression.nni_masks`); elsewhere, and in all other groups, `choose` does.

    Args:
        criterion: scores the units.
        model: the network that `space` describes.
        space: its prune space.
        keep: how many units stay, by prune group; absent groups stay whole.
        batches: gives the calibration data, each time it is called.
        gone: units that are gone already and stay so, by prune group.

    Raises:
        UnknownNameError, CoinferError: as `choose` and the criterion, and when that has not one
            score for every unit.
    """
    from coinfer.compression import nni_masks

    units = {group.name: group.units for group in space.groups}
    _check_keep(keep, units)
    chosen: Kept = {n: list(range(units[n])) for n, count in keep.items() if count == units[n]}
    gone = {name: indices for name, indices in (gone or {}).items() if len(indices)}
    if not gone:
        chosen |= nni_masks.kept_units(criterion.name, model, space, keep)
    others = {name: count for name, count in keep.items() if name not in chosen}
    if others:
        given = criterion.scores(model, space, batches())
        scores = {name: _score(criterion, given, name, units[name]) for name in others}
        for name in scores.keys() & gone.keys():
            scores[name][list(gone[name])] = -np.inf
        chosen |= choose(scores, others)
    return {name: chosen[name] for name in keep}


def choose(scores: Mapping[str, torch.Tensor], keep: Mapping[str, int]) -> Kept:
    """Return the units of the highest scores: those of the lowest go first, ties by index.

    Args:
        scores: score of every unit by prune group, shape (units,).
        keep: how many units stay, by prune group; the result has no other groups.

    Raises:
        UnknownNameError: for a group without scores.
        CoinferError: when a count is not within 1..units, or a score is not a number.
    """
    _check_keep(keep, {name: len(score) for name, score in scores.items()})
    return {
        name: sorted(_removal_order(name, scores[name])[-count:].tolist())
        for name, count in keep.items()
    }


def choose_globally(scores: Mapping[str, torch.Tensor], remove: int) -> Kept:
    """Remove the units of the lowest scores among all groups, ties in order of group and index.

    2-step pruning removes ceil(F/16) at a time (`sixteenth`), F being all units at its start. The
    scores must be comparable between groups, as Taylor's are. The best unit of every group stays.

    Args:
        scores: score of every unit by prune group, shape (units,); of the groups to prune only.
        remove: how many units go.

    Returns:
        The units that stay, for every group.

    Raises:
        CoinferError: when `remove` is not within 0 and all units less one per group, or a score
            is not a number.
    """
    order = {name: _removal_order(name, score) for name, score in scores.items()}
    first = [0, *accumulate(len(units) for units in order.values())]
    most = first[-1] - len(order)
    if not is_whole(remove, high=most):
        raise CoinferError(f"units to remove are {shown(remove)}; allowed is 0 to {most}")
    flat = np.concatenate([np.zeros(0), *(_numbers(score) for score in scores.values())])
    best = [start + units[-1] for start, units in zip(first[:-1], order.values(), strict=True)]
    candidates = np.setdiff1d(np.arange(len(flat)), best)
    stays = np.ones(len(flat), dtype=np.bool_)
    stays[candidates[np.argsort(flat[candidates], kind="stable")[:remove]]] = False
    return {
        name: np.flatnonzero(stays[start:end]).tolist()
        for name, (start, end) in zip(scores, pairwise(first), strict=True)
    }


def sixteenth(units: int) -> int:
    """Return ceil(F/16), what 2-step pruning removes of F units at a time (Shi et al. 2019)."""
    return -(-units // 16)


def device_only(space: PruneSpace, cut_index: int) -> tuple[str, ...]:
    """Return the names of the groups that can be pruned without pruning the server's half.

    These are the groups all of whose filters (convolutions and linear layers) lie before the cut.
    So the group whose channels cross the cut is among them: its filters are the device's. What
    crosses shrinks, and the server's layers lose what read or normalised those channels, but no
    filter. A group with filters on both sides, such as the trunk of a residual stage that is cut
    in its middle, is not: its layers are summed and could lose their channels only together.

    Args:
        space: the prune space.
        cut_index: number of layers on the device, 0..N; at N all groups are returned.

    Raises:
        CoinferError: when it is not within 0..N.
    """
    whole_number("cut index", cut_index, high=len(space.graph))
    servers = {layer.name for layer in space.graph.layers[cut_index:] if layer.kind in _MAKERS}
    return tuple(group.name for group in space.groups if servers.isdisjoint(group.members))


def _score(
    criterion: Criterion, scores: Mapping[str, torch.Tensor], name: str, units: int
) -> torch.Tensor:
    """Return a copy of a group's scores."""
    shape = tuple(scores[name].shape) if name in scores else None
    if shape != (units,):
        raise CoinferError(
            f"criterion '{criterion.name}': scores of '{name}' have shape {shape}; allowed is "
            f"({units},), one for every unit"
        )
    return scores[name].detach().double().clone()


def _check_keep(keep: Mapping[str, int], units: Mapping[str, int]) -> None:
    for name, count in keep.items():
        if name not in units:
            raise UnknownNameError("prune group", name, units)
        if not is_whole(count, low=1, high=units[name]):
            raise CoinferError(
                f"units kept of '{name}' are {shown(count)}; allowed is 1 to {units[name]}"
            )


def _removal_order(name: str, score: torch.Tensor) -> NDArray[np.int64]:
    """Return the units of a group, lowest score first."""
    numbers = _numbers(score)
    if np.isnan(numbers).any():
        raise CoinferError(
            f"the score of unit {int(np.isnan(numbers).argmax())} of '{name}' is not a number; "
            "allowed are numbers (did the training diverge?)"
        )
    return np.argsort(numbers, kind="stable")


def _numbers(score: torch.Tensor) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = score.detach().cpu().double().numpy()
    return numbers
