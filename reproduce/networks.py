"""Traced networks, for the claims that are about a network and not about a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from coinfer.errors import CoinferError
from coinfer.graph import LayerGraph
from coinfer.plan import Source
from reproduce.claims import NetworkMeasure


@dataclass(frozen=True)
class Network:
    """A traced network with the source that feeds it."""

    graph: LayerGraph
    source: Source


def networks(models: Iterable[str]) -> dict[str, Network]:
    """Return networks by name; kept layer graphs are read, others are traced (with torch).

    Raises:
        CoinferError: when a model is unknown or cannot be traced.
    """
    from coinfer.tasks import make_task

    tasks = {model: make_task(model) for model in models}
    return {model: Network(task.graph, task.source) for model, task in tasks.items()}


def size_reduction(measure: NetworkMeasure, network: Network) -> float:
    """By how much the feature behind a cut is smaller than the network's input, in percent.

    Both counted at the widths of the measure: 100 (1 - elements bits / (input elements bits)).
    """
    feature = network.graph.cut(measure.after).elements * measure.feature_bits
    whole = network.graph.cut("input").elements * measure.input_bits
    return 100.0 * (1.0 - feature / whole)


def amplifying_share(measure: NetworkMeasure, network: Network) -> float:
    """Share of the interior cuts whose feature is larger than the source as PNG, in percent.

    Raises:
        CoinferError: when no PNG size was measured for that source.
    """
    if network.source.png_bits is None:
        raise CoinferError(f"no PNG size was measured for the source of '{measure.model}'")
    inner = [cut for cut in network.graph.cuts if cut.kind == "interior"]
    amplified = [
        cut for cut in inner if cut.elements * measure.feature_bits > network.source.png_bits
    ]
    return 100.0 * len(amplified) / len(inner)


@dataclass(frozen=True)
class Measure:
    """A computation on a network, and the evidence class of its number."""

    compute: Callable[[NetworkMeasure, Network], float]
    evidence: str


MEASURES: dict[str, Measure] = {
    "size_reduction": Measure(size_reduction, "analytic"),
    # The PNG size is measured, the feature's is counted: the number is both.
    "amplifying_share": Measure(amplifying_share, "analytic, measured"),
}
