"""Pruning while a network trains: a criterion's masks, on a schedule, around every step.

Zeroed are the weights that `coinfer.compression.groups.mask` zeroes, so that the masked network
computes at every step what the smaller one would, and `remove` with the units that `finish`
returns changes nothing but the size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coinfer.checks import real_number
from coinfer.compression.channels import ChannelMap
from coinfer.compression.criteria import Batches, Refits
from coinfer.compression.groups import gone_units, matching_channels, zeroed
from coinfer.compression.pruning import Kept, select
from coinfer.compression.space import PruneSpace
from coinfer.plan import kept_channels

if TYPE_CHECKING:
    from coinfer.parts import Criterion, Schedule


class Masking:
    """Masks the units that a plan prunes, in a network that some loop trains.

    The loop calls `before_step` before the forward pass of every step and `after_step` once the
    optimiser has moved the weights; then it calls `finish`. In between, masked weights are exactly
    zero at every forward pass, whatever momentum and weight decay do to them, and so are their
    gradients when the optimiser reads them. Any optimiser will do. The network is traced once.

    Where the schedule lifts its masks, masked weights, and the batch statistics of masked
    channels, recover their values of before the mask, bit by bit, before the next one. Once all
    of the target is in force it holds, also when another phase of training counts from 0 again.
    """

    def __init__(
        self,
        model: nn.Module,
        space: PruneSpace,
        keep: Mapping[str, int],
        criterion: Criterion,
        schedule: Schedule,
        batches: Callable[[], Batches],
    ) -> None:
        """Prepare; nothing is masked before the first step.

        Args:
            model: the network that `space` describes; changed in place, may be moved before the
                first step.
            space: its prune space.
            keep: units that stay in the end, by prune group; absent groups stay whole.
            criterion: which units go first.
            schedule: when they go.
            batches: gives calibration data for the criterion, each time it is called.

        Raises:
            UnknownNameError, CoinferError: for groups and counts that the space does not have,
                and for a space that is not this network's.
        """
        self._model = model
        self._channels = matching_channels(model, space)
        self._target = space.keep_vector(keep.items())
        self._criterion, self._schedule, self._batches = criterion, schedule, batches
        self._lifts = bool(getattr(schedule, "lifts", False))
        self._progress = 0.0
        self._kept: Kept = {}
        self._masked: tuple[_Masked, ...] = ()

    @property
    def kept(self) -> Kept:
        """Units that are not masked now, by prune group; groups that stay whole are absent."""
        return {name: list(units) for name, units in self._kept.items()}

    def before_step(self, step: int, steps: int) -> None:
        """Lift, choose and mask, where the schedule says so at `step` of `steps` (from 0).

        Raises:
            CoinferError: when the schedule's share is not in 0..1, and as the criterion.
        """
        self._move_to(self._schedule.progress(step, steps))

    def after_step(self, cross_entropy: Tensor | None = None) -> None:
        """Zero the masked weights again."""
        for masked in self._masked:
            masked.zero()

    def finish(self) -> Kept:
        """Mask all that is to go, and let go of the network: training on would move masked weights.

        Returns:
            The units that stay, by prune group, in order; groups that stay whole are absent.
        """
        self._move_to(1.0)
        for masked in self._masked:
            masked.release()
        return self.kept

    def state_dict(self) -> dict[str, Any]:
        """Return what a killed training needs beside weights and optimiser to go on."""
        return {
            "progress": self._progress,
            "kept": self.kept,
            "saved": [masked.saved for masked in self._masked],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, once the network's weights are those of that moment."""
        self._progress = state["progress"]
        self._mask({name: list(units) for name, units in state["kept"].items()})
        for masked, saved in zip(self._masked, state["saved"], strict=True):
            masked.saved = saved.to(masked.tensor.device)

    def _move_to(self, progress: float) -> None:
        share = real_number(
            f"schedule '{self._schedule.name}': progress", progress, "0 to 1", _is_share
        )
        if share == self._progress or self._progress == 1.0:
            return
        self._progress = share
        keep = self._counts(share)
        if self._lifts:
            self._lift()
        elif all(len(self._kept.get(name, ())) == count for name, count in keep.items()):
            return
        space = self._channels.space
        kept = select(self._criterion, self._model, space, keep, self._batches, gone=self._gone())
        if isinstance(self._criterion, Refits) and kept:
            self._criterion.refit(self._model, space, kept, self._batches())
        self._mask(kept)

    def _counts(self, share: float) -> dict[str, int]:
        """Return the units to keep at a share of the target, of the groups that are pruned then."""
        space = self._channels.space
        counts = kept_channels(space.full, share * (space.full - self._target) / space.full)
        if not self._lifts:
            now = [len(self._kept.get(group.name, range(group.units))) for group in space.groups]
            counts = np.minimum(counts, now)
        return dict(space.keep_pairs(counts))

    def _gone(self) -> Kept:
        full = {group.name: group.units for group in self._channels.space.groups}
        return {
            name: sorted(set(range(full[name])).difference(units))
            for name, units in self._kept.items()
        }

    def _mask(self, kept: Kept) -> None:
        """Mask all units but those kept, in place of the masks there are."""
        for masked in self._masked:
            masked.release()
        self._kept = kept
        self._masked = tuple(_masks(self._model, self._channels, kept, self._lifts))
        for masked in self._masked:
            masked.zero()

    def _lift(self) -> None:
        """Delete the masks and give the masked weights back what they were before."""
        for masked in self._masked:
            masked.release()
            masked.restore()
        self._kept, self._masked = {}, ()


@dataclass(eq=False)
class _Masked:
    """A parameter of which a part is zero, or batch statistics of which a part is to recover.

    Attributes:
        tensor: the parameter or buffer.
        gone: which of its elements, of a shape that broadcasts with it.
        saved: their values before the mask, in a row; empty where no mask is lifted.
        hook: zeroes their gradients; None for buffers and frozen parameters.
    """

    tensor: Tensor
    gone: Tensor
    saved: Tensor
    hook: Any = None

    def zero(self) -> None:
        """Set a parameter's masked elements to zero."""
        if isinstance(self.tensor, nn.Parameter):
            self.tensor.detach().masked_fill_(self.gone, 0.0)

    def restore(self) -> None:
        """Give the elements their saved values."""
        self.tensor.detach().masked_scatter_(self.gone, self.saved)

    def release(self) -> None:
        """Let gradients through again."""
        if self.hook is not None:
            self.hook.remove()


def _masks(model: nn.Module, channels: ChannelMap, kept: Kept, lifts: bool) -> Iterator[_Masked]:
    """Yield a mask for every parameter of which `kept` leaves out a part, once each."""
    gone = gone_units(channels, kept)
    merged: dict[nn.Parameter, Tensor] = {}
    for parameter, axis, where in zeroed(model, channels, gone):
        part = _along(parameter, axis, where)
        merged[parameter] = merged[parameter] | part if parameter in merged else part
    statistics = {
        buffer: _along(buffer, 0, gone[units])
        for name, units in channels.outputs.items()
        for field in ("running_mean", "running_var")
        if gone[units].any()
        and (buffer := getattr(model.get_submodule(name), field, None)) is not None
    }
    for tensor, part in [*merged.items(), *(statistics.items() if lifts else ())]:
        values = tensor.detach()
        saved = values[part.expand_as(values)] if lifts else values.new_empty(0)
        masked = _Masked(tensor, part, saved)
        if isinstance(tensor, nn.Parameter) and tensor.requires_grad:
            masked.hook = tensor.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                _zeroing(part)
            )
        yield masked


def _zeroing(gone: Tensor) -> Callable[[Tensor], None]:
    def hook(parameter: Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad.masked_fill_(gone, 0.0)

    return hook


def _along(tensor: Tensor, axis: int, where: NDArray[np.bool_]) -> Tensor:
    """Return which elements lie at `where` along an axis, of a shape that broadcasts."""
    shape = [len(where) if dim == axis else 1 for dim in range(tensor.ndim)]
    return torch.from_numpy(where).to(tensor.device).view(shape)


def _is_share(number: float) -> bool:
    return 0.0 <= number <= 1.0
