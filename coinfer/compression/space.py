"""The prune space: what a network costs at any widths, counted for whole batches at once.

Torch-free data. Every channel count of a pruned network is an affine function of the units kept
per prune group, and so is every tensor that crosses a cut; work follows from them by the same
coefficients as for the unpruned network (`coinfer.flops`). `coinfer.compression.groups` reads a
space off a real network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coinfer import flops
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.graph import LayerGraph

Counts = NDArray[np.int64]

# Integers up to here are exact in float64, and so is every partial sum of a matrix product whose
# terms add up to no more: BLAS then counts exactly, in any order.
_EXACT = 2**53
_BLOCK = 512


@dataclass(frozen=True)
class PruneGroup:
    """Channels that can only be removed together, unit by unit.

    Attributes:
        name: qualified name of its first layer in execution order (`features.0`).
        units: prunable units.
        unit_channels: output channels of that first layer per unit; more than 1 where grouped
            convolutions are pruned in whole groups (design ruling 12).
        members: layers all of whose output channels belong to the group. Channel c of a member
            with C channels belongs to unit c // (C / units).
    """

    name: str
    units: int
    unit_channels: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Affine:
    """A count that depends on the units kept: fixed + sum of per_unit * kept[group].

    Attributes:
        fixed: the constant.
        terms: (position of the group, per_unit), for the groups that occur.
    """

    fixed: int
    terms: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class PruneSpace:
    """A network's prune groups, and its counts as functions of the units kept in each.

    Attributes:
        graph: layer graph of the unpruned network.
        groups: the prune groups, in execution order of their first layers.
        in_channels, fan_in, out_channels: per layer, as in `coinfer.graph.Layer`.
        crossing: elements that cross at each legal cut.
        fixed: (first layer, reason) of channels that are never removed.
    """

    graph: LayerGraph
    groups: tuple[PruneGroup, ...]
    in_channels: tuple[Affine, ...]
    fan_in: tuple[Affine, ...]
    out_channels: tuple[Affine, ...]
    crossing: tuple[Affine, ...]
    fixed: tuple[tuple[str, str], ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the data, not what was computed from it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the groups, in order."""
        return tuple(group.name for group in self.groups)

    @cached_property
    def full(self) -> Counts:
        """Units of every group: the kept vector of the unpruned network, shape (G,)."""
        return np.array([group.units for group in self.groups], dtype=np.int64)

    def index(self, name: str) -> int:
        """Return the position of a group.

        Raises:
            UnknownNameError: when there is none of that name.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise UnknownNameError("prune group", name, self.names) from None

    def flops(self, kept: ArrayLike, rules: str = "table1") -> Counts:
        """Work of every layer under `rules`.

        Args:
            kept: units kept, integers of shape (B, G), or (G,) for a batch of one.
            rules: name of the counting rule.

        Returns:
            FLOPs (MACs under `macs`), shape (B, L).

        Raises:
            CoinferError: when `kept` is not of that form or not within 1..units.
        """
        return self._counted(rules)[0].at(self._checked(kept))

    def device_flops(self, kept: ArrayLike, rules: str = "table1") -> Counts:
        """Work on the device at each legal cut (eq. 3's numerator), shape (B, C).

        At cut N it is the whole network's. Arguments and errors as `flops`.
        """
        return self._counted(rules)[1].at(self._checked(kept))

    def elements(self, kept: ArrayLike) -> Counts:
        """Elements that cross at each legal cut, shape (B, C). `kept` as for `flops`."""
        return self._crossing.at(self._checked(kept))

    def kept_from_sparsity(self, sparsity: ArrayLike) -> Counts:
        """Units that stay at a sparsity, by the rule of `coinfer.plan.kept_channels`.

        Args:
            sparsity: share of each group's units removed, 0..1, shape (B, G) or (G,); one number
                is the same share everywhere.

        Returns:
            Units kept, shape (B, G), or (G,) for one number or (G,).

        Raises:
            CoinferError: when a sparsity is not in [0, 1], or their number is not G.
        """
        from coinfer.plan import kept_channels  # a plan's task holds a space

        share = np.asarray(sparsity, dtype=np.float64)
        if share.ndim > 2 or (share.ndim > 0 and share.shape[-1] != len(self.groups)):
            raise CoinferError(
                f"sparsity has shape {share.shape}; accepted: one number, (G,) or (B, G) with "
                f"G = {len(self.groups)} prune groups"
            )
        return kept_channels(self.full, share)

    def keep_vector(self, keep: Iterable[tuple[str, int]]) -> Counts:
        """Return units kept per group, shape (G,), from a plan's `keep`; absent groups are whole.

        Raises:
            UnknownNameError: when it names a group that is not there.
            CoinferError: when a count is not within 1..units.
        """
        kept = self.full.copy()
        for name, count in keep:
            position = self.index(name)
            if not 1 <= count <= self.groups[position].units:
                raise CoinferError(_outside(self.groups[position], count))
            kept[position] = count
        return kept

    def keep_pairs(self, kept: ArrayLike) -> tuple[tuple[str, int], ...]:
        """Return a plan's `keep` from units kept per group, shape (G,): the pruned groups only."""
        (vector,) = self._checked(kept)
        pairs = zip(self.groups, vector.tolist(), strict=True)
        return tuple((group.name, count) for group, count in pairs if count < group.units)

    def _checked(self, kept: ArrayLike) -> Counts:
        array = np.asarray(kept)
        batch = array[None] if array.ndim == 1 else array
        count = len(self.groups)
        if batch.ndim != 2 or batch.shape[1] != count or not _integral(batch):
            raise CoinferError(
                f"units kept have shape {array.shape} and type {array.dtype}; accepted: integers "
                f"of shape (B, G) or (G,) with G = {count} prune groups"
            )
        wrong = (batch < 1) | (batch > self.full)
        if wrong.any():
            row, group = np.argwhere(wrong)[0]
            raise CoinferError(_outside(self.groups[group], int(batch[row, group])))
        return batch.astype(np.int64, copy=False)

    def _counted(self, rules: str) -> tuple[_Polynomial, _Polynomial]:
        flops.rule(rules)
        return self._work[rules]

    @cached_property
    def _work(self) -> dict[str, tuple[_Polynomial, _Polynomial]]:
        """Work per layer and work on the device per legal cut, under every counting rule."""
        fan_in, c_in, c_out = (
            self._matrix(rows) for rows in (self.fan_in, self.in_channels, self.out_channels)
        )
        on_device = np.arange(len(self.graph))[:, None] < self.graph.cut_index
        work = {}
        for rules in flops.RULES:
            alpha, beta, gamma = self.graph.coefficients(rules).T
            left, right, mix, linear = _products(alpha, fan_in, c_out)
            linear += beta * c_out + gamma * c_in
            work[rules] = (
                _Polynomial.of(left, right, mix, linear, self.full),
                _Polynomial.of(left, right, mix @ on_device, linear @ on_device, self.full),
            )
        return work

    @cached_property
    def _crossing(self) -> _Polynomial:
        linear = self._matrix(self.crossing)
        none = linear[:, :0]
        return _Polynomial.of(none, none, linear[:0], linear, self.full)

    def _matrix(self, rows: Sequence[Affine]) -> Counts:
        """Return affine functions as a matrix, so that (1, kept) @ matrix evaluates them."""
        matrix = np.zeros((len(self.groups) + 1, len(rows)), dtype=np.int64)
        for column, row in enumerate(rows):
            matrix[0, column] = row.fixed
            for group, per_unit in row.terms:
                matrix[group + 1, column] += per_unit
        return matrix


@dataclass(frozen=True)
class _Polynomial:
    """Counts quadratic in the units kept, with x = (1, kept): (x left * x right) mix + x linear.

    Attributes:
        factors: left, right and linear side by side, shape (G + 1, 2 P + columns).
        mix: shape (P, columns).
    """

    factors: NDArray[Any]
    mix: NDArray[Any]

    @classmethod
    def of(
        cls, left: Counts, right: Counts, mix: Counts, linear: Counts, full: Counts
    ) -> _Polynomial:
        """Make one in float64 where that is exact for every kept vector up to `full`."""
        x = np.concatenate([[1], full]).astype(np.float64)
        most = (x @ np.abs(left)) * (x @ np.abs(right)) @ np.abs(mix) + x @ np.abs(linear)
        kind = np.float64 if most.max(initial=0) < _EXACT else np.int64
        factors = np.concatenate([left, right, linear], axis=1)
        return cls(factors.astype(kind), mix.astype(kind))

    def at(self, kept: Counts) -> Counts:
        """Evaluate for units kept of shape (B, G); the result has shape (B, columns)."""
        pairs, columns = self.mix.shape
        counts = np.empty((len(kept), columns), dtype=np.int64)
        # Block by block, so that what lies between stays in the processor's cache.
        for start in range(0, len(kept), _BLOCK):
            block = kept[start : start + _BLOCK]
            x = np.empty((len(block), block.shape[1] + 1), dtype=self.factors.dtype)
            x[:, 0] = 1
            x[:, 1:] = block
            values = x @ self.factors
            total = values[:, 2 * pairs :]
            if pairs:
                products = values[:, :pairs] * values[:, pairs : 2 * pairs]
                total += products @ self.mix
            counts[start : start + _BLOCK] = total
        return counts


def _products(alpha: Counts, fan_in: Counts, c_out: Counts) -> tuple[Counts, ...]:
    """Write alpha * fan_in * c_out of every layer as (left, right, mix, linear).

    A layer of which only one of the two counts depends on the units kept is linear in them.
    """
    moves_in, moves_out = fan_in[1:].any(axis=0), c_out[1:].any(axis=0)
    (paired,) = np.nonzero((alpha != 0) & moves_in & moves_out)
    mix = np.zeros((len(paired), len(alpha)), dtype=np.int64)
    mix[np.arange(len(paired)), paired] = alpha[paired]
    linear = alpha * np.where(moves_in, c_out[0] * fan_in, fan_in[0] * c_out)
    linear[:, paired] = 0
    return fan_in[:, paired], c_out[:, paired], mix, linear


def _integral(array: NDArray[Any]) -> bool:
    return bool(np.issubdtype(array.dtype, np.integer))


def _outside(group: PruneGroup, count: int) -> str:
    return f"units kept of '{group.name}' are {count}; allowed is 1 to {group.units}"
