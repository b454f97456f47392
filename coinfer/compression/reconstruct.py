"""Channel selection by LASSO and least squares on what the next layers make of the channels.

CPCDRL (Tang et al. 2024), eqs. 1 and 2, after He et al., "Channel Pruning for Accelerating Very
Deep Neural Networks" (2017): Y = sum_i X_i W_i^T, where X_i holds the patches of channel i that a
layer reads and W_i its weights on them. Everything here follows from the second moments X^T X of
sampled patches, so that no sample is kept: for convolutions of any kernel size, for linear
layers, and for groups that several layers read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from coinfer.compression.channels import ChannelMap
from coinfer.compression.groups import gone_units, matching_channels
from coinfer.compression.scoring import device_of, evaluating
from coinfer.compression.space import PruneSpace
from coinfer.errors import CoinferError

# Share of the mean square of an input added to the normal equations: they stay solvable where
# inputs depend on each other or are more than the samples, and no fit is worse than no refit.
_RIDGE = 1e-8

# Columns of a matrix of products computed at once: X^T X is symmetric, so half of it is enough.
_BLOCK = 512


@dataclass(frozen=True)
class Sample:
    """What of the calibration data is looked at.

    Attributes:
        batches: (images (B, C, H, W), labels (B,)); labels are not used.
        most: batches read at most.
        points: output positions drawn per batch and layer, for all images of the batch; all of
            them where a layer has no more.
        seed: of the positions.
    """

    batches: Iterable[tuple[Tensor, Any]]
    most: int = 60
    points: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Calibration:
    """What the layers of a network read, as second moments; good for any choice of units.

    Attributes:
        channels: the network's units and their channels.
        moments: X^T X / N of every layer that reads units, shape (M, M), by its name.
        groups: the prune groups whose readers were looked at.
    """

    channels: ChannelMap
    moments: Mapping[str, Tensor]
    groups: tuple[str, ...]


def calibrate(
    model: nn.Module, space: PruneSpace, sample: Sample, groups: Iterable[str] | None = None
) -> Calibration:
    """Run a network on calibration data.

    Args:
        model: the network that `space` describes, left as it is.
        space: its prune space.
        sample: the calibration data.
        groups: the prune groups whose readers are looked at; None for all.

    Raises:
        UnknownNameError: for a group that is not there.
        CoinferError: when there is no batch, or a transposed convolution reads the units.
    """
    channels = matching_channels(model, space)
    wanted = tuple(space.names if groups is None else groups)
    units = [_units(channels, space.index(name)) for name in wanted]
    layers = _readers(model, channels, np.concatenate([np.zeros(0, dtype=np.int64), *units]))
    return Calibration(channels, second_moments(model, layers, sample), wanted)


def lasso_scores(model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
    """Return, by group looked at, the penalty at which each unit enters the LASSO path (eq. 1).

    For a group that several layers read, the objective is the sum of theirs, each relative to the
    energy that its units bring to it; what other groups bring is taken as given.

    Args:
        model: the network that was calibrated.
        calibration: of it.
    """
    channels = calibration.channels
    scores = {}
    for name in calibration.groups:
        position = channels.space.index(name)
        group = channels.space.groups[position]
        gram = torch.zeros(group.units, group.units, dtype=torch.float64)
        for reader, moment in calibration.moments.items():
            layer = model.get_submodule(reader)
            columns = _columns(layer, channels.inputs[reader])
            if np.isin(columns, _units(channels, position)).any():
                gram += _energy(layer, moment, columns, _units(channels, position))
        scores[group.name] = torch.from_numpy(_entry_penalties(gram.numpy()))
    return scores


def refit(model: nn.Module, kept: Mapping[str, Sequence[int]], calibration: Calibration) -> None:
    """Refit, in place, the weights by which layers read the units kept (eq. 2).

    W' is sought near W: the change of least norm among those that fit best, so that weights on
    which the sample says nothing stay. Weights that read units which go are left as they are.

    Args:
        model: the network that was calibrated, its weights as they were then.
        kept: indices of the units that stay, by prune group; absent groups stay whole.
        calibration: of it, on those groups.

    Raises:
        UnknownNameError, CoinferError: for groups and indices that are not there, as
            `coinfer.compression.groups.remove`.
    """
    channels = calibration.channels
    gone = gone_units(channels, kept)
    for name, moment in calibration.moments.items():
        layer = model.get_submodule(name)
        weight = layer.get_parameter("weight").detach()
        out = torch.from_numpy(gone[_columns(layer, channels.inputs[name])]).to(weight.device)
        if not out.any():
            continue
        rows = weight.flatten(1).double()
        system = moment[~out][:, ~out]
        system.diagonal().add_(_RIDGE * system.diagonal().mean() + torch.finfo(rows.dtype).tiny)
        # What the removed channels brought, X_gone W_gone^T, is to come from those kept.
        missing = moment[~out][:, out] @ rows[:, out].T
        rows[:, ~out] += torch.cholesky_solve(missing, torch.linalg.cholesky(system)).T
        weight.copy_(rows.view_as(weight))


@dataclass(frozen=True, eq=False)
class CalibratedLasso:
    """The lasso criterion of a network that has run on the calibration data: scores and refit.

    Attributes:
        calibration: what was seen, on the groups that are to be pruned.
    """

    kind: ClassVar[str] = "criterion"
    name: ClassVar[str] = "lasso"

    calibration: Calibration

    def scores(
        self, model: nn.Module, space: PruneSpace, batches: Iterable[tuple[Tensor, Any]]
    ) -> dict[str, Tensor]:
        """Return the scores of the groups that were looked at; no batch is read."""
        return lasso_scores(model, self.calibration)

    def refit(
        self,
        model: nn.Module,
        space: PruneSpace,
        kept: Mapping[str, Sequence[int]],
        batches: Iterable[tuple[Tensor, Any]],
    ) -> None:
        """Refit weights as `refit`; no batch is read."""
        refit(model, kept, self.calibration)


def second_moments(
    model: nn.Module, layers: Mapping[str, nn.Module], sample: Sample
) -> dict[str, Tensor]:
    """Return X^T X / N of each layer's sampled input patches, shape (M, M), in float64.

    The M columns are those of its weight seen as a matrix: channel by channel, kernel positions
    within. The network runs in evaluation mode.

    Args:
        model: a network, left as it is.
        layers: layers of it, by name: convolutions of one group and linear layers.
        sample: the calibration data.

    Raises:
        CoinferError: when there is no batch, or a layer reads what is not a number.
    """
    if not layers:
        return {}
    device = device_of(model)
    draws = torch.Generator().manual_seed(sample.seed)
    moments: dict[str, Tensor] = {}
    counts = dict.fromkeys(layers, 0)

    def add_patches(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
            x = inputs[0] if inputs else named["input"]
            rows = patches(layer, x.detach(), sample.points, draws).double()
            if name not in moments:
                moments[name] = rows.new_zeros(rows.shape[1], rows.shape[1])
            _add_products(moments[name], rows)
            counts[name] += len(rows)

        return hook

    hooks = [
        layer.register_forward_pre_hook(add_patches(name), with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        with evaluating(model), torch.no_grad():
            for images, _ in islice(sample.batches, sample.most):
                model(images.to(device))
    finally:
        for hook in hooks:
            hook.remove()
    if not moments:
        raise CoinferError("the lasso criterion has no calibration batch; it needs one or more")
    for name, moment in moments.items():
        _mirror(moment)
        if not torch.isfinite(moment.div_(counts[name])).all():
            raise CoinferError(
                f"'{name}' reads values that are not finite numbers, so that the lasso criterion "
                "cannot compare its channels (did the training diverge?)"
            )
    return moments


def _add_products(moment: Tensor, rows: Tensor) -> None:
    """Add X^T X to a matrix, in place, in its lower triangle and little above it."""
    for start in range(0, len(moment), _BLOCK):
        end = start + _BLOCK
        moment[start:end, :end].addmm_(rows[:, start:end].T, rows[:, :end])


def _mirror(moment: Tensor) -> None:
    """Copy a matrix's lower triangle into its upper one, in place."""
    for start in range(0, len(moment), _BLOCK):
        end = start + _BLOCK
        moment[start:end, end:] = moment[end:, start:end].T


def patches(layer: nn.Module, x: Tensor, points: int, draws: torch.Generator) -> Tensor:
    """Return what a layer reads at some of its output positions, the same for all images.

    Args:
        layer: a convolution of one group or a linear layer.
        x: its input, shape (B, C, ...) or (B, ..., C).
        points: positions drawn, with replacement; all where there are no more.
        draws: where randomness comes from.

    Returns:
        Shape (B positions, M): `rows @ weight.flatten(1).T` is the output there, less the bias.
    """
    if isinstance(layer, nn.Linear):
        tokens = x.reshape(len(x), -1, x.shape[-1])
        return tokens[:, _positions(tokens.shape[1], points, draws)].flatten(0, 1)
    convolution: Any = layer
    mode = convolution.padding_mode
    around = convolution._reversed_padding_repeated_twice  # also of 'same' and 'valid'
    padded = functional.pad(x, around, mode="constant" if mode == "zeros" else mode)
    steps = list(
        zip(convolution.kernel_size, convolution.stride, convolution.dilation, strict=True)
    )
    sides = [
        (size - dilation * (kernel - 1) - 1) // stride + 1
        for size, (kernel, stride, dilation) in zip(padded.shape[2:], steps, strict=True)
    ]
    chosen = np.unravel_index(_positions(prod(sides), points, draws).numpy(), sides)
    index: list[Any] = []
    for axis, (at, (kernel, stride, dilation)) in enumerate(zip(chosen, steps, strict=True)):
        read = at[:, None] * stride + np.arange(kernel) * dilation  # (points, kernel)
        shape = [len(at), *(kernel if axis == other else 1 for other in range(len(steps)))]
        index.append(torch.from_numpy(read.reshape(shape)).to(x.device))
    found = padded[(slice(None), slice(None), *index)]  # (B, C, points, *kernel)
    return found.transpose(1, 2).flatten(2).flatten(0, 1)


def _positions(count: int, points: int, draws: torch.Generator) -> Tensor:
    if count <= points:
        return torch.arange(count)
    return torch.randint(count, (points,), generator=draws)


def _units(channels: ChannelMap, group: int) -> NDArray[np.int64]:
    """Return the numbers of the units of the group at a position."""
    start = channels.first_unit[group]
    return np.arange(start, start + channels.space.groups[group].units)


def _readers(
    model: nn.Module, channels: ChannelMap, units: NDArray[np.int64]
) -> dict[str, nn.Module]:
    """Return the layers that read some units; what grouped convolutions read goes with them."""
    found = {}
    for name, read in channels.inputs.items():
        if not np.isin(read, units).any():
            continue
        layer = model.get_submodule(name)
        if getattr(layer, "groups", 1) > 1:
            continue
        if getattr(layer, "transposed", False):
            raise CoinferError(
                f"the lasso criterion cannot prune what the transposed convolution '{name}' "
                "reads; accepted: channels read by convolutions and linear layers"
            )
        found[name] = layer
    return found


def _columns(layer: nn.Module, units: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the unit of every column of a layer's weight seen as a matrix."""
    weight = layer.get_parameter("weight")
    return units.repeat(prod(weight.shape[2:]))


def _energy(
    layer: nn.Module, moment: Tensor, columns: NDArray[np.int64], units: NDArray[np.int64]
) -> Tensor:
    """Return G_ij = <X_i W_i^T, X_j W_j^T> of a group's units i, j, relative to its sum.

    Shape (units, units), on the CPU. The inner products are those of the second moments of inputs
    and weights, block by block: G_ij = sum_{p in i, q in j} (X^T X)_pq (W^T W)_pq.
    """
    order = np.argsort(columns, kind="stable")
    mine = torch.from_numpy(order[np.isin(columns[order], units)]).to(moment.device)
    rows = layer.get_parameter("weight").detach().flatten(1)[:, mine].double()
    each = len(mine) // len(units)
    products = moment[mine][:, mine] * (rows.T @ rows)
    gram = products.view(len(units), each, len(units), each).sum((1, 3)).cpu()
    return gram / gram.sum().clamp(min=torch.finfo(gram.dtype).tiny)


def _entry_penalties(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the penalty at which each coefficient enters the LASSO path, shape (U,).

    Minimised is (1 - b)^T G (1 - b) / 2 + penalty |b|_1. Coefficients that never enter, because
    they bring nothing or repeat what entered before, come below, in order of what they bring.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lars_path_gram

    with warnings.catch_warnings():
        # Dependent channels are dropped from the path with a warning; they are what is sought.
        warnings.simplefilter("ignore", ConvergenceWarning)
        penalties, _, path = lars_path_gram(
            gram.sum(1), gram, n_samples=1, max_iter=8 * len(gram), method="lasso"
        )
    inside = path != 0
    enters = inside.any(1)
    entry: NDArray[np.float64] = penalties[np.maximum(inside.argmax(1) - 1, 0)]
    brought = gram.diagonal() / max(gram.trace(), np.finfo(gram.dtype).tiny)
    scores: NDArray[np.float64] = np.where(
        enters, entry, entry[enters].min(initial=1.0) * brought / 2
    )
    return scores
