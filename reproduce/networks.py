"""Traced networks, for the claims that are about a network and not about a row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from coinfer.errors import CoinferError
from coinfer.graph import LayerGraph
from coinfer.plan import Source
from coinfer.serial import canonical_json, from_data, to_data
from reproduce.claims import NetworkMeasure


@dataclass(frozen=True)
class Network:
    """A traced network with the source that feeds it."""

    graph: LayerGraph
    source: Source


def trace_networks(models: Iterable[str]) -> dict[str, Network]:
    """Trace models by name (imports torch).

    Raises:
        CoinferError: when a model is unknown or cannot be traced.
    """
    from coinfer.tasks import make_task

    tasks = {model: make_task(model) for model in models}
    return {model: Network(task.graph, task.source) for model, task in tasks.items()}


def save_networks(path: Path, networks: Mapping[str, Network]) -> None:
    """Write traced networks as JSON, so that a report can be made again without torch."""
    data = {model: to_data(network) for model, network in networks.items()}
    path.write_text(canonical_json(data) + "\n", encoding="utf-8")


def load_networks(path: Path) -> dict[str, Network]:
    """Read traced networks; none where there is no file.

    Raises:
        CoinferError: when the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CoinferError(f"'{path}' is not JSON ({error}); delete it to trace again") from None
    if not isinstance(data, dict):
        raise CoinferError(f"'{path}' does not hold networks; delete it to trace again")
    return {model: from_data(record, Network) for model, record in data.items()}


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
