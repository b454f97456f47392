"""Small worlds for the conformance kit: networks and scenarios, ordinary and odd. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf, prod

import numpy as np

from coinfer import conventions
from coinfer.accuracy.box import Box, Decisions, search_box
from coinfer.accuracy.families import FAMILIES, UNTRAINED
from coinfer.accuracy.variables import Floats
from coinfer.compression.space import Affine, PruneGroup, PruneSpace
from coinfer.conventions import Convention
from coinfer.errors import CoinferError
from coinfer.graph import INPUT, Cut, Layer, LayerGraph
from coinfer.hardware import Link, Processor
from coinfer.plan import MeasuredPlans, Scenario, Source, Task

Spec = tuple[str | int, ...]

# By which the network as it is beats what a short training makes of it.
_UNTRAINED_GAIN = 0.01


def chain(input_shape: tuple[int, ...], *specs: Spec) -> LayerGraph:
    """Return the graph of a chain of layers, a legal cut behind each.

    A spec is `("conv", channels, kernel, stride, groups)` (padding kernel // 2),
    `("maxpool", kernel)` or `("avgpool", kernel)` (stride = kernel), `("fc", units)`,
    `("flatten",)`, `("relu",)`, `("dropout",)` or `("norm",)`. Layers are named by the first word
    of their spec and their place, from 1: `conv1`, `maxpool2`.
    """
    layers: list[Layer] = []
    shape = input_shape
    for index, (kind, *numbers) in enumerate(specs):
        layer = _layer(f"{kind}{index + 1}", str(kind), [int(n) for n in numbers], index - 1, shape)
        layers.append(layer)
        shape = layer.out_shape
    cuts = [Cut(0, INPUT, input_shape, "input")]
    for index, layer in enumerate(layers, start=1):
        kind = "output" if index == len(layers) else "interior"
        cuts.append(Cut(index, layer.name, layer.out_shape, kind))
    return LayerGraph(input_shape, tuple(layers), tuple(cuts))


def _layer(name: str, kind: str, numbers: list[int], source: int, shape: tuple[int, ...]) -> Layer:
    match kind:
        case "conv":
            channels, kernel, stride, groups = numbers
            sides = [(side + 2 * (kernel // 2) - kernel) // stride + 1 for side in shape[1:]]
            parameters = (shape[0] // groups * kernel**2 + 1) * channels
            out = (channels, *sides)
            return Layer(name, kind, (source,), shape, out, parameters, (kernel, kernel), groups)
        case "maxpool" | "avgpool":
            (kernel,) = numbers
            out = (shape[0], *(side // kernel for side in shape[1:]))
            size = (kernel, kernel) if kind == "maxpool" else ()
            return Layer(name, kind, (source,), shape, out, kernel=size)
        case "fc":
            (units,) = numbers
            return Layer(name, kind, (source,), shape, (units,), (prod(shape) + 1) * units)
        case "flatten":
            return Layer(name, "reshape", (source,), shape, (prod(shape),))
        case "relu":
            return Layer(name, "activation", (source,), shape, shape)
        case _:
            return Layer(name, kind, (source,), shape, shape)


def chain_space(graph: LayerGraph) -> PruneSpace:
    """Return the prune space of a chain without grouped convolutions.

    Every conv and fc layer but the last is a group of its own; what comes behind follows.
    """
    makers = [layer for layer in graph.layers if layer.kind in ("conv", "fc")]
    groups = tuple(
        PruneGroup(layer.name, layer.out_channels, 1, (layer.name,)) for layer in makers[:-1]
    )
    order = {group.name: index for index, group in enumerate(groups)}
    source: int | None = None  # the group whose units the channels belong to
    units = graph.input_shape[0]
    in_channels, out_channels = [], []
    crossing = [Affine(prod(graph.input_shape))]

    def count(total: int) -> Affine:
        return Affine(total) if source is None else Affine(0, ((source, total // units),))

    for layer in graph.layers:
        in_channels.append(count(layer.in_channels))
        if layer.kind in ("conv", "fc"):
            source, units = order.get(layer.name), layer.out_channels
        out_channels.append(count(layer.out_channels))
        crossing.append(count(prod(layer.out_shape)))
    return PruneSpace(
        graph,
        groups,
        tuple(in_channels),
        tuple(in_channels),
        tuple(out_channels),
        tuple(crossing),
    )


def small_task(*, groups: bool = False) -> Task:
    """Return a five-layer network whose features shrink, so that interior cuts can win.

    Args:
        groups: whether it comes with its prune groups, the conv and the first fc layer; as of
            `coinfer.tasks.make_task`, only methods that prune get them.
    """
    layers: tuple[Spec, ...] = (
        ("conv", 8, 3, 1, 1),
        ("maxpool", 2),
        ("flatten",),
        ("fc", 16),
        ("fc", 10),
    )
    return _task("small", Source((3, 16, 16), png_bits=4000.0), layers, groups)


def one_layer_task(*, groups: bool = False) -> Task:
    """Return a network of one layer: no interior cut, and a source that was never measured.

    Args:
        groups: whether it comes with a prune space, which has no group.
    """
    return _task("one-layer", Source((4,)), (("fc", 2),), groups)


def _task(model: str, source: Source, layers: tuple[Spec, ...], groups: bool) -> Task:
    graph = chain(source.shape, *layers)
    return Task(model, graph, source, prune_space=chain_space(graph) if groups else None)


def measured_task(
    task: Task, families: Iterable[str] = tuple(FAMILIES), plans: int = 72, seed: int = 0
) -> Task:
    """Return a task with measured plans: random ones of each family, by a law of our own.

    Their accuracies fall smoothly, by up to a tenth, with whatever is pruned or narrowed; how much
    each variable weighs is drawn. A family that the network has no plan of is left out, one of few
    plans has them all; nobody trains them, so they have a baseline of their own.

    Args:
        task: made with its prune groups; its baseline is taken to be 0.9 where it is not known.
        families: of plans, as `coinfer.accuracy.families` names them.
        plans: of each family that has more; in a small box some are alike.
        seed: of the plans and of the law.
    """
    baseline = 0.9 if task.baseline_accuracy is None else task.baseline_accuracy
    found = []
    for family in families:
        try:
            box = search_box(task, family)
        except CoinferError:
            continue
        found.append(_measured(box, baseline, plans, np.random.default_rng(seed)))
    return replace(
        task, measured=tuple(found), baseline_accuracy=baseline, baseline_evidence="measured"
    )


def _measured(box: Box, baseline: float, plans: int, rng: np.random.Generator) -> MeasuredPlans:
    every = box.every()
    decisions = box.decide(rng.random((plans, box.dimension))) if every is None else every
    untrained = box.name in UNTRAINED
    if untrained:
        baseline = min(1.0, baseline + _UNTRAINED_GAIN)
    known = np.array([variable.effect != 0 for variable in box.variables])
    weights = known * rng.uniform(0.5, 1.5, box.dimension)
    loss = 0.1 * _changed(box, box.features(decisions)) ** 2 @ weights / weights.sum()
    accuracies = np.clip(baseline - loss, 0.0, 1.0)
    return MeasuredPlans(
        family=box.name,
        table="synthetic",
        recipe="synthetic",
        plans=box.plans(decisions),
        accuracies=tuple(accuracies.tolist()),
        std_errors=(0.005,) * len(decisions),
        epochs=0.0 if untrained else float(plans),
        uplink_bits=tuple(_sent(box, decisions, rng).tolist()),
        baseline_accuracy=baseline if untrained else None,
    )


def _sent(box: Box, decisions: Decisions, rng: np.random.Generator) -> Floats:
    """Return bits that cross, (B,): float32 elements, or what a made-up code needs for a few bits.

    A code of whole bytes that takes no more than its bits, and the less the more bits there are.
    """
    at = box.crossing_of(decisions)
    elements = np.where(at.sent, box.codec.elements(decisions.codec, at), 0)
    if box.codec.part == "codec":
        return 32.0 * elements
    bits = elements * decisions.codec[:, 0] ** rng.uniform(0.5, 0.9, len(box.cuts))[decisions.cut]
    return 8.0 * np.ceil(bits / 8)


def _changed(box: Box, features: Floats) -> Floats:
    """Return how far each variable goes from nothing pruned or narrowed, 0..1, (B, D)."""
    columns = []
    for variable, column in zip(box.variables, features.T, strict=True):
        scale = np.log if variable.log else np.asarray
        low, high, value = (scale(x) for x in (variable.low, variable.high, column))
        share = (value - low) / max(high - low, 1e-12)
        columns.append(1 - share if variable.effect > 0 else share)
    return np.column_stack(columns)


def scenario(
    rate_bps: float = 1e6,
    device_flops_per_s: float = 1e8,
    server_flops_per_s: float = 1e12,
    convention: str | Convention = "harmonised",
) -> Scenario:
    """Return a scenario with everything given as numbers, over a link of that rate."""
    link = Link("world", rate_bps=rate_bps)
    return _scenario(link, None, device_flops_per_s, server_flops_per_s, convention)


def radio_scenario(
    snr_db: float,
    bandwidth_hz: float = 1e5,
    device_flops_per_s: float = 1e8,
    server_flops_per_s: float = 1e12,
    convention: str | Convention = "harmonised",
) -> Scenario:
    """Return a scenario over a radio, whose rate follows from its bandwidth and the SNR."""
    link = Link("world", bandwidth_hz=bandwidth_hz)
    return _scenario(link, snr_db, device_flops_per_s, server_flops_per_s, convention)


def _scenario(
    link: Link,
    snr_db: float | None,
    device_flops_per_s: float,
    server_flops_per_s: float,
    convention: str | Convention,
) -> Scenario:
    return Scenario(
        Processor("world", "device", device_flops_per_s),
        Processor("world", "server", server_flops_per_s),
        link,
        conventions.convention(convention) if isinstance(convention, str) else convention,
        snr_db,
    )


def scenarios(convention: str) -> tuple[Scenario, ...]:
    """Return ordinary scenarios and odd ones: a dead link, an infinite one, equal machines.

    Two are of a radio, at 0 dB, where computing `small_task` is faster than sending a raw8 or PNG
    image of it, and at 20 dB, where it is not.
    """
    return (
        scenario(convention=convention),
        scenario(rate_bps=1e3, convention=convention),
        scenario(rate_bps=1e9, device_flops_per_s=1e6, convention=convention),
        scenario(device_flops_per_s=1e12, convention=convention),
        scenario(rate_bps=0.0, convention=convention),
        scenario(rate_bps=inf, convention=convention),
        radio_scenario(0.0, device_flops_per_s=1e7, convention=convention),
        radio_scenario(20.0, device_flops_per_s=1e7, convention=convention),
    )
