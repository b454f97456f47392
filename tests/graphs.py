"""Hand-built layer graphs: small chains whose every number can be worked out on paper."""

from __future__ import annotations

from math import prod

from hypothesis import strategies as st

from coinfer.compression.space import Affine, PruneGroup, PruneSpace
from coinfer.graph import INPUT, Cut, Layer, LayerGraph

Spec = tuple[str | int, ...]


def chain(input_shape: tuple[int, ...], *specs: Spec) -> LayerGraph:
    """Return the graph of a chain of layers, a legal cut behind each.

    A spec is `("conv", channels, kernel, stride, groups)` (padding kernel // 2),
    `("maxpool", kernel)` or `("avgpool", kernel)` (stride = kernel), `("fc", units)`,
    `("flatten",)`, `("relu",)`, `("dropout",)` or `("norm",)`.
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


def rewidened(input_shape: tuple[int, ...], specs: list[Spec], widths: list[int]) -> LayerGraph:
    """Return the chain of `specs`, its conv and fc layers (but the last) having `widths`."""
    left = iter(widths)
    makers = [index for index, spec in enumerate(specs) if spec[0] in ("conv", "fc")]
    changed = [
        (spec[0], next(left), *spec[2:]) if index in makers[:-1] else spec
        for index, spec in enumerate(specs)
    ]
    return chain(input_shape, *changed)


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


@st.composite
def specs(draw: st.DrawFn, *, grouped: bool = True) -> tuple[tuple[int, ...], list[Spec]]:
    """Draw an input shape and the specs of a small chain that ends in an fc layer."""
    channels, side = draw(st.integers(1, 4)), draw(st.integers(2, 9))
    input_shape = (channels, side, side)
    found: list[Spec] = []
    for _ in range(draw(st.integers(0, 3))):
        shared = [g for g in range(1, channels + 1) if channels % g == 0] if grouped else [1]
        groups = draw(st.sampled_from(shared))
        channels = groups * draw(st.integers(1, 3))
        kernel, stride = draw(st.sampled_from([1, 3, 5])), draw(st.integers(1, 2))
        found.append(("conv", channels, kernel, stride, groups))
        side = (side - 1) // stride + 1
        found += draw(st.lists(st.sampled_from([("relu",), ("norm",), ("dropout",)]), max_size=2))
        if side >= 2 and draw(st.booleans()):
            found.append((draw(st.sampled_from(["maxpool", "avgpool"])), 2))
            side //= 2
    found.append(("flatten",))
    for _ in range(draw(st.integers(0, 2))):
        found += [("fc", draw(st.integers(1, 6))), ("relu",)]
    found.append(("fc", draw(st.integers(1, 4))))
    return input_shape, found


def chains(*, grouped: bool = True) -> st.SearchStrategy[LayerGraph]:
    """Draw the graph of a small chain."""
    return specs(grouped=grouped).map(lambda drawn: chain(drawn[0], *drawn[1]))
