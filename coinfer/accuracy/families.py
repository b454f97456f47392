"""Families of plans, and what a network offers them: places to cut, groups to prune.

Everything is derived from the layer graph and the prune space; no layer is named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from coinfer.compression.space import PruneSpace
from coinfer.graph import Cut, Layer, LayerGraph

_WEIGHTS = ("conv", "conv_transpose", "fc")
_POOLS = ("maxpool", "avgpool")
_RESHAPING = ("dropout", "reshape")


@dataclass(frozen=True)
class Noise:
    """A channel that the codes of a family go through, and what of it their plans choose.

    Attributes:
        channel: name of the part.
        option: which of its options says how noisy it is.
        levels: the range of that.
        decimals: of a level; more would only make the channels' names long.
        clearer: which end of the range has the least noise.
    """

    channel: str
    option: str
    levels: tuple[float, float]
    decimals: int
    clearer: Literal["low", "high"]


AWGN = Noise("awgn", "snr_db", (0.0, 50.0), 1, "high")
"""SNRs in dB: those of the QHO paper's Fig. 11."""

BSC = Noise("bsc", "p", (0.0, 0.25), 3, "low")
"""Probabilities of a flipped bit: our choice for the three-step paper's Fig. 5b."""


@dataclass(frozen=True)
class Family:
    """What the plans of a family have in common.

    Attributes:
        prunes: `each` prune group by itself, all convolutions by one `uniform` sparsity, `twice`
            (uniformly, then the layer before the cut again), each group of the `device`'s side of
            the cut by itself and nothing behind it, or `none`.
        codec: `none`, `conv-linear` (P1 to P8), `bottlenet++`, `cia`, `three-step`, `asymmetric`,
            or `quantised`: no codec, but the feature in b bits an element, Huffman-coded.
        noise: the channel that follows the codec, of some level; None for error-free bits.
        criterion, schedule: how pruned units are chosen and trained.
        coder: how what crosses is sent.
    """

    prunes: Literal["each", "uniform", "twice", "device", "none"]
    codec: Literal[
        "none", "conv-linear", "bottlenet++", "cia", "three-step", "asymmetric", "quantised"
    ]
    noise: Noise | None = None
    criterion: str = "l1"
    schedule: str = "one-shot"
    coder: str = "float32"

    @property
    def noisy(self) -> bool:
        """Whether a channel that corrupts follows the codec."""
        return self.noise is not None

    @property
    def by_group(self) -> bool:
        """Whether every prune group has a sparsity of its own."""
        return self.prunes in ("each", "device")


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "qho": Family("each", "conv-linear"),
        "noise": Family("each", "conv-linear", AWGN),
        "prune-partition": Family("each", "none"),
        "fpgm": Family("uniform", "none", criterion="fpgm"),
        "two-step": Family("twice", "none", criterion="taylor", schedule="iterative"),
        "bottlenet++": Family("none", "bottlenet++"),
        "cpcdrl": Family("device", "none", criterion="lasso[batches=24]"),
        "cia": Family("device", "cia"),
        "three-step": Family(
            *("device", "three-step"),
            criterion="l2",
            schedule="incremental",
            coder="codebook[bits=8,high=1,low=-1]",
        ),
        "quantised": Family("none", "quantised"),
        "three-step-jscc": Family(
            *("device", "three-step", AWGN), criterion="l2", schedule="incremental"
        ),
        "three-step-bsc": Family(
            *("device", "three-step", BSC),
            criterion="l2",
            schedule="incremental",
            coder="uniform[bits=1,high=1,low=-1]",
        ),
        "paa": Family(*("device", "asymmetric", AWGN), criterion="taylor", schedule="iterative"),
        "ipdr": Family("device", "three-step", criterion="l2", schedule="incremental"),
    }
)

UNTRAINED = frozenset({"quantised"})
"""Families whose papers train nothing: recipe `untrained` where no other is asked for."""


def block_cuts(graph: LayerGraph) -> tuple[Cut, ...]:
    """Return one cut per block of layers: interior ones, then cut N.

    A block is a layer with weights and what follows it up to the next one. Behind a fully
    connected layer the cut is at once; behind any other it comes after normalisation, activation,
    sum and pooling, before averaging over whole maps. For AlexNet that is after pool1, pool2,
    relu3, relu4, pool5, fc6, fc7 and fc8; for RegNet after the stem and every block, and N.
    """
    found: dict[int, Cut] = {}
    weighted = 0
    done = 0
    for cut in graph.cuts:
        if cut.kind == "input":
            continue
        passed = graph.layers[done : cut.index]
        weighted += sum(layer.kind in _WEIGHTS for layer in passed)
        done = cut.index
        last = graph.layers[cut.index - 1]
        if not weighted and cut.kind == "interior":
            continue  # nothing is computed yet
        earlier = found.get(weighted)
        if earlier is None or cut.kind == "output" or _prolongs(last, earlier, graph):
            found[weighted] = cut
    return tuple(found.values())


def is_map(cut: Cut) -> bool:
    """Whether what crosses is maps (C, H, W)."""
    return len(cut.shape) == 3


def is_rectified(graph: LayerGraph, cut: Cut) -> bool:
    """Whether what crosses comes from an activation (taken for a ReLU), by pooling at most."""
    index = cut.index - 1
    while index >= 0 and graph.layers[index].kind in (*_POOLS, *_RESHAPING):
        index = graph.layers[index].inputs[0]
    return index >= 0 and graph.layers[index].kind == "activation"


def free_groups(space: PruneSpace) -> tuple[str, ...]:
    """Return the prune groups that no sum ties to another layer's channels."""
    tied = {
        group
        for layer, channels in zip(space.graph.layers, space.out_channels, strict=True)
        if layer.kind == "add"
        for group, _ in channels.terms
    }
    return tuple(group.name for place, group in enumerate(space.groups) if place not in tied)


def conv_groups(space: PruneSpace) -> tuple[str, ...]:
    """Return those of `free_groups` that are channels of convolutions."""
    kinds = _kinds(space)
    return tuple(name for name in free_groups(space) if kinds[name] == "conv")


def group_before(space: PruneSpace, cut: Cut) -> int:
    """Return the position of the prune group of the convolution before a cut, -1 for none."""
    terms = space.crossing[space.graph.cuts.index(cut)].terms
    if cut.kind != "interior" or len(terms) != 1:
        return -1
    position = terms[0][0]
    return position if _kinds(space)[space.names[position]] == "conv" else -1


def _kinds(space: PruneSpace) -> dict[str, str]:
    return {layer.name: layer.kind for layer in space.graph.layers}


def _prolongs(layer: Layer, found: Cut, graph: LayerGraph) -> bool:
    """Whether a layer behind the cut found so far still belongs to what its block computes."""
    if graph.layers[found.index - 1].kind == "fc" or layer.kind in _RESHAPING:
        return False
    averages = layer.kind == "avgpool"
    return not averages or 1 < layer.out_positions < layer.in_positions
