"""Which prune unit every channel of a network belongs to.

Two sources must agree: Torch-Pruning's dependency groups, found from gradients, and the flow of
channels along the trace (`coinfer.compression.flow`). A unit is the smallest set of channels that
is closed under both, so that what is counted here is what is removed there. Where the result is
not uniform (units of one group that differ in size, or in an order of their own), the group is
left whole and listed with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray
from torch import fx, nn

from coinfer import flops
from coinfer.compression.dependency import Dependents, all_dependents
from coinfer.compression.flow import (
    FIXED,
    Atoms,
    Flow,
    Side,
    Ties,
    Wire,
    channel_flow,
    components,
)
from coinfer.compression.space import Affine, PruneGroup, PruneSpace
from coinfer.errors import CoinferError
from coinfer.graph import Layer, LayerGraph
from coinfer.layers import constant
from coinfer.tracing import Traced

Units = NDArray[np.int64]


@dataclass(frozen=True)
class ChannelMap:
    """A prune space together with the channels of its units.

    Units are numbered through all groups: unit u of group g is `first_unit[g] + u`.

    Attributes:
        space: the prune space.
        first_unit: number of each group's first unit, shape (G,).
        inputs, outputs: per module, the unit of each input or output channel; -1 for channels
            that are never removed. Batch norms and the like have outputs only.
        roots: Torch-Pruning's root layers of the groups it can remove, with the unit of each of
            their output channels.
        whole: positions of the groups made of whole convolution groups, which it cannot.
    """

    space: PruneSpace
    first_unit: Units
    inputs: Mapping[str, Units]
    outputs: Mapping[str, Units]
    roots: tuple[tuple[str, Units], ...]
    whole: frozenset[int]


def channel_map(traced: Traced) -> ChannelMap:
    """Find the prune groups of a traced network and the channels of their units."""
    network = traced.module
    try:
        dependents = all_dependents(network, traced.graph.input_shape)
    except CoinferError as error:
        return _nothing(traced, str(error))
    claimed = _claimed(network, dependents)
    made = {side.module: atoms for side, atoms in claimed.sides.items() if side.side == "out"}
    flow = channel_flow(traced, made)
    families = _families(traced.graph, flow, _joined(traced.graph, flow.ties, claimed), dependents)
    return _described(traced.graph, flow, families, dependents)


def _nothing(traced: Traced, reason: str) -> ChannelMap:
    """Return the map of a network in which no channel can be removed, for one reason."""
    flow = channel_flow(traced, {})
    parametric = [side.module for side in flow.ties.sides if side.side == "in"]
    families = _Families(fixed=tuple((name, reason) for name in parametric))
    return _described(traced.graph, flow, families, ())


def _first_atoms(dependents: Sequence[Dependents]) -> Atoms:
    """Return the atom of each root's first channel, and the number of atoms at the end."""
    return np.cumsum([1, *(group.channels for group in dependents)], dtype=np.int64)


def _claimed(network: fx.GraphModule, dependents: Sequence[Dependents]) -> Ties:
    """Return Torch-Pruning's view: the atom of each channel, with what it ties and stops."""
    ties = Ties()
    uses = Counter(id(p) for m in network.modules() for p in m.parameters(recurse=False))
    reads = (node for node in network.graph.nodes if node.op == "get_attr")
    uses.update(id(constant(network, node)) for node in reads)
    for group, start in zip(dependents, _first_atoms(dependents)[:-1], strict=True):
        everything = np.arange(start, start + group.channels)
        for item in group.items:
            module = None if item.module is None else network.get_submodule(item.module)
            size = _size(module, item.side)
            if size is None and module is not None and not list(module.parameters()):
                continue
            if size is None or module is None or (item.roots < 0).any():
                what = "a parameter" if item.module is None else f"'{item.module}'"
                ties.stops.append((everything, f"torch-pruning ties it to {what}"))
                continue
            inside = item.channels < size
            if not inside.all():
                ties.stops.append((everything, f"torch-pruning takes '{item.module}' for wider"))
            if any(uses[id(p)] > 1 for p in module.parameters(recurse=False)):
                ties.stops.append((everything, f"'{item.module}' shares its weights"))
            claim = ties.sides.setdefault(
                Side(str(item.module), item.side), np.full(size, FIXED, dtype=np.int64)
            )
            channels, new = item.channels[inside], start + item.roots[inside]
            old = claim[channels]
            ties.pairs.append((new[old != FIXED], old[old != FIXED]))
            claim[channels] = np.where(old == FIXED, new, old)
    return ties


def _size(module: nn.Module | None, side: str) -> int | None:
    """Return the number of channels on one side of a module; None for unknown modules."""
    match module:
        case nn.modules.conv._ConvNd():
            return module.out_channels if side == "out" else module.in_channels
        case nn.Linear():
            return module.out_features if side == "out" else module.in_features
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d() | nn.SyncBatchNorm():
            return module.num_features
        case nn.PReLU():
            return module.num_parameters
        case _:
            return None


def _joined(graph: LayerGraph, flowing: Ties, claimed: Ties) -> Ties:
    """Put the two views together: they tie each other, and where only one has a channel, stop."""
    joined = Ties(
        [*flowing.pairs, *claimed.pairs], [*flowing.stops, *claimed.stops], dict(flowing.sides)
    )
    depthwise = {layer.name for layer in graph.layers if _depthwise(layer)}
    for side in {**flowing.sides, **claimed.sides}:
        if side.side == "in" and side.module in depthwise:
            continue  # Torch-Pruning knows them by their outputs, to which the flow ties them
        ours, theirs = flowing.sides.get(side), claimed.sides.get(side)
        if ours is None or theirs is None:
            ours = theirs = np.concatenate([a for a in (ours, theirs) if a is not None])
            one_sided = np.full(len(ours), True)
        else:
            one_sided = (ours == FIXED) != (theirs == FIXED)
        joined.pairs.append((ours, theirs))
        reason = f"torch-pruning follows the channels of '{side.module}' in another way"
        for atoms in (ours, theirs):
            joined.stops.append((atoms[one_sided], reason))
    return joined


def _depthwise(layer: Layer) -> bool:
    return 1 < layer.groups == layer.in_channels == layer.out_channels


@dataclass(frozen=True)
class _Families:
    """Prune groups as sets of atoms.

    Attributes:
        leads: first module of each group, in execution order.
        first_unit: number of each group's first unit, and the number of units at the end.
        unit_of: unit of each atom; -1 for those that stay.
        fixed: (module, reason) of what stays whole.
    """

    leads: tuple[str, ...] = ()
    first_unit: Units = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    unit_of: Units = field(default_factory=lambda: np.full(1, -1, dtype=np.int64))
    fixed: tuple[tuple[str, str], ...] = ()

    def counts(self, atoms: Atoms) -> Units:
        """Return how many of some atoms each unit has."""
        units = self.unit_of[atoms]
        return np.bincount(units[units >= 0], minlength=int(self.first_unit[-1]))

    def groups_of(self, atoms: Atoms) -> list[int]:
        """Return the positions of the groups that some atoms belong to."""
        units = self.unit_of[atoms]
        found = np.searchsorted(self.first_unit, units[units >= 0], side="right") - 1
        return [int(group) for group in np.unique(found)]

    def in_order(self, atoms: Atoms, group: int) -> bool:
        """Whether atoms are a group's units one after the other, all equally large."""
        start, end = self.first_unit[group : group + 2]
        each = len(atoms) // (end - start)
        return np.array_equal(self.unit_of[atoms], np.repeat(np.arange(start, end), each))

    def per_unit(self, atoms: Atoms) -> list[tuple[int, int]]:
        """Return (group, atoms per unit) of the groups that occur; units must be alike."""
        counts = self.counts(atoms)[self.first_unit[:-1]].tolist()
        return [(group, count) for group, count in enumerate(counts) if count]


def _families(
    graph: LayerGraph, flow: Flow, ties: Ties, dependents: Sequence[Dependents]
) -> _Families:
    """Make prune groups: what is tied becomes a unit, what belongs together a group."""
    first = _first_atoms(dependents)
    ends = [*ties.pairs, *((atoms, np.full_like(atoms, FIXED)) for atoms, _ in ties.stops)]
    unit_class = components(
        int(first[-1]),
        np.concatenate([[FIXED], *(a for a, _ in ends)]),
        np.concatenate([[FIXED], *(b for _, b in ends)]),
    )
    root_of = np.concatenate([[-1], np.repeat(np.arange(len(dependents)), np.diff(first))])
    (free,) = np.nonzero(unit_class != FIXED)
    family_of_root = components(len(dependents), root_of[free], root_of[unit_class[free]])
    family_of = np.concatenate([[-1], family_of_root[root_of[1:]]])

    leads: dict[int, str] = {}
    for side, atoms in flow.ties.sides.items():
        if side.side == "out" and Side(side.module, "in") in flow.ties.sides:
            for family in np.unique(family_of[atoms]).tolist():
                if family >= 0:
                    leads.setdefault(family, side.module)
    reasons: dict[int, str] = {}
    stuck = set(np.unique(family_of[unit_class == FIXED]).tolist())
    for atoms, reason in ties.stops:
        for family in stuck.intersection(family_of[atoms].tolist()):
            reasons.setdefault(family, reason)
    for family in stuck:
        reasons.setdefault(family, "it is tied to channels that cannot be removed")

    def numbered(kept: Sequence[int]) -> _Families:
        unit_of, total = np.full(len(family_of), -1, dtype=np.int64), [0]
        for family in kept:
            lead = flow.ties.sides[Side(leads[family], "out")]
            ordered = list(dict.fromkeys(unit_class[lead[family_of[lead] == family]].tolist()))
            position = np.full(len(family_of), -1, dtype=np.int64)
            position[ordered] = total[-1] + np.arange(len(ordered))
            (mine,) = np.nonzero(family_of == family)
            unit_of[mine] = position[unit_class[mine]]
            total.append(total[-1] + len(ordered))
        fixed = tuple((leads[f], reasons[f]) for f in leads if f in reasons)
        return _Families(tuple(leads[f] for f in kept), np.array(total), unit_of, fixed)

    for family, lead in leads.items():
        held = set(unit_class[flow.ties.sides[Side(lead, "out")]].tolist())
        if not held.issuperset(unit_class[family_of == family].tolist()):
            reasons.setdefault(family, f"'{lead}' does not hold all of its units")
    candidates = [family for family in leads if family not in reasons]
    families = numbered(candidates)
    for position, reason in _irregular(graph, flow, families).items():
        reasons.setdefault(candidates[position], reason)
    return numbered([family for family in candidates if family not in reasons])


def _irregular(graph: LayerGraph, flow: Flow, families: _Families) -> dict[int, str]:
    """Return the groups whose units are not all alike, by position, with the reason."""
    starts, units = families.first_unit[:-1], np.diff(families.first_unit)
    reasons = {int(g): "it has one unit" for g in np.flatnonzero(units == 1)}

    def refuse(groups: Iterable[int], reason: str) -> None:
        for group in groups:
            reasons.setdefault(int(group), reason)

    wires = [
        (layer.name, wire.channels.atoms)
        for wires in (flow.inputs, flow.outputs)
        for layer, wire in zip(graph.layers, wires, strict=True)
        if wire.channels is not None
    ]
    sides = [(side.module, atoms) for side, atoms in flow.ties.sides.items()]
    for name, atoms in [*sides, *wires] if len(units) else []:
        counts = families.counts(atoms)
        low, high = np.minimum.reduceat(counts, starts), np.maximum.reduceat(counts, starts)
        refuse(np.flatnonzero(low != high), f"its units differ in size in '{name}'")
    for side, atoms in flow.ties.sides.items():
        if side.side == "out" and Side(side.module, "in") in flow.ties.sides:
            groups = families.groups_of(atoms)
            if len(groups) and not families.in_order(atoms, groups[0]):
                refuse(groups, f"'{side.module}' holds its units in an order of its own")
    for layer, wire in zip(graph.layers, flow.inputs, strict=True):
        if wire.channels is not None and _works(layer):
            axis = layer.channel_axis % len(wire.shape)
            if wire.channels.axis != axis:
                groups = families.groups_of(wire.channels.atoms)
                refuse(groups, f"'{layer.name}' does not take them for channels")
    return reasons


def _works(layer: Layer) -> bool:
    return any(count(layer) != flops.Coefficients() for count in flops.RULES.values())


def _described(
    graph: LayerGraph, flow: Flow, families: _Families, dependents: Sequence[Dependents]
) -> ChannelMap:
    """Count the channels of every layer and cut by group, and put the map together."""

    def channels(layer: Layer, wire: Wire, count: int) -> Affine:
        if wire.channels is None or wire.channels.axis != layer.channel_axis % len(wire.shape):
            return Affine(count)
        return _affine(families, wire.channels.atoms)

    def elements(wire: Wire) -> Affine:
        if wire.channels is None:
            return Affine(prod(wire.shape))
        return _affine(families, wire.channels.atoms, prod(wire.shape) // len(wire.channels.atoms))

    def pairs(wires: Sequence[Wire]) -> Iterable[tuple[Layer, Wire]]:
        return zip(graph.layers, wires, strict=True)

    in_channels = tuple(channels(a, wire, a.in_channels) for a, wire in pairs(flow.inputs))
    space = PruneSpace(
        graph=graph,
        groups=_groups(flow, families),
        in_channels=in_channels,
        # Grouped convolutions lose whole groups, so that what one output channel reads stays.
        fan_in=tuple(
            count if layer.groups == 1 else Affine(layer.fan_in)
            for layer, count in zip(graph.layers, in_channels, strict=True)
        ),
        out_channels=tuple(channels(a, wire, a.out_channels) for a, wire in pairs(flow.outputs)),
        crossing=tuple(
            elements(flow.outputs[cut.index - 1] if cut.index else Wire(cut.shape))
            for cut in graph.cuts
        ),
        fixed=families.fixed,
    )
    sides = {side: families.unit_of[atoms] for side, atoms in flow.ties.sides.items()}
    grouped = {layer.name for layer in graph.layers if layer.groups > 1 and not _depthwise(layer)}
    whole = {
        group
        for side, atoms in flow.ties.sides.items()
        if side.module in grouped
        for group in families.groups_of(atoms)
    }
    roots = [
        (group.root, families.unit_of[start : start + group.channels])
        for group, start in zip(dependents, _first_atoms(dependents)[:-1], strict=True)
    ]
    return ChannelMap(
        space=space,
        first_unit=families.first_unit[:-1],
        inputs={side.module: units for side, units in sides.items() if side.side == "in"},
        outputs={side.module: units for side, units in sides.items() if side.side == "out"},
        roots=tuple((root, units) for root, units in roots if (units >= 0).any()),
        whole=frozenset(whole),
    )


def _affine(families: _Families, atoms: Atoms, each: int = 1) -> Affine:
    """Count `each` per atom, as a function of the units kept."""
    terms = tuple((group, each * count) for group, count in families.per_unit(atoms))
    units = np.diff(families.first_unit)
    return Affine(each * len(atoms) - sum(c * int(units[g]) for g, c in terms), terms)


def _groups(flow: Flow, families: _Families) -> tuple[PruneGroup, ...]:
    members: list[list[str]] = [[] for _ in families.leads]
    for side, atoms in flow.ties.sides.items():
        groups = families.groups_of(atoms)
        if side.side == "out" and len(groups) and families.in_order(atoms, groups[0]):
            members[groups[0]].append(side.module)
    return tuple(
        PruneGroup(
            name=lead,
            units=int(units),
            unit_channels=len(flow.ties.sides[Side(lead, "out")]) // int(units),
            members=tuple(names),
        )
        for lead, units, names in zip(
            families.leads, np.diff(families.first_unit), members, strict=True
        )
    )
