"""Small worlds for the conformance kit: networks and scenarios, ordinary and odd. Torch-free."""

from __future__ import annotations

from math import inf, prod

from coinfer.conventions import Convention, convention
from coinfer.graph import INPUT, Cut, Layer, LayerGraph
from coinfer.hardware import Link, Processor
from coinfer.plan import Scenario, Source, Task


def chain(input_shape: tuple[int, ...], *layers: Layer) -> LayerGraph:
    """Return the graph of a chain: a cut behind every layer."""
    shapes = [input_shape, *(layer.out_shape for layer in layers)]
    names = [INPUT, *(layer.name for layer in layers)]
    kinds = ["input", *["interior"] * (len(layers) - 1), "output"] if layers else ["input"]
    cuts = tuple(
        Cut(index, name, shape, kind)
        for index, (name, shape, kind) in enumerate(zip(names, shapes, kinds, strict=True))
    )
    return LayerGraph(input_shape, tuple(layers), cuts)


def conv(name: str, source: tuple[int, int, int], channels: int, kernel: int = 3) -> Layer:
    """Return a same-padded convolution layer on an input of shape (C, H, W)."""
    shape = (channels, *source[1:])
    return Layer(name, "conv", (-1,), source, shape, kernel=(kernel, kernel))


def pool(name: str, source: tuple[int, int, int]) -> Layer:
    """Return a 2x2 max pool on an input of shape (C, H, W)."""
    shape = (source[0], source[1] // 2, source[2] // 2)
    return Layer(name, "maxpool", (-1,), source, shape, kernel=(2, 2))


def fc(name: str, features: int, units: int) -> Layer:
    """Return a fully connected layer."""
    return Layer(name, "fc", (-1,), (features,), (units,))


def small_task() -> Task:
    """Return a five-layer network whose features shrink, so that interior cuts can win."""
    flat = (8, 8, 8)
    layers = (
        conv("conv1", (3, 16, 16), 8),
        pool("pool1", (8, 16, 16)),
        Layer("flatten", "reshape", (-1,), flat, (prod(flat),)),
        fc("fc1", prod(flat), 16),
        fc("fc2", 16, 10),
    )
    return Task("small", chain((3, 16, 16), *layers), Source((3, 16, 16), png_bits=4000.0))


def one_layer_task() -> Task:
    """Return a network of one layer: no interior cut, and a source that was never measured."""
    return Task("one-layer", chain((4,), fc("fc", 4, 2)), Source((4,)))


def scenario(
    rate_bps: float = 1e6,
    device_flops_per_s: float = 1e8,
    server_flops_per_s: float = 1e12,
    rules: str | Convention = "harmonised",
) -> Scenario:
    """Return a scenario with everything given as numbers."""
    return Scenario(
        Processor("world", "device", device_flops_per_s),
        Processor("world", "server", server_flops_per_s),
        Link("world", rate_bps=rate_bps),
        convention(rules) if isinstance(rules, str) else rules,
    )


def scenarios(rules: str) -> tuple[Scenario, ...]:
    """Return ordinary scenarios and odd ones: a dead link, an infinite one, equal machines."""
    return (
        scenario(rules=rules),
        scenario(rate_bps=1e3, rules=rules),
        scenario(rate_bps=1e9, device_flops_per_s=1e6, rules=rules),
        scenario(device_flops_per_s=1e12, rules=rules),
        scenario(rate_bps=0.0, rules=rules),
        scenario(rate_bps=inf, rules=rules),
    )
