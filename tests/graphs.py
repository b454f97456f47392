"""Layer graphs of small chains, drawn at random: every number can be worked out on paper."""

from __future__ import annotations

from hypothesis import strategies as st

from coinfer.graph import LayerGraph
from methods.worlds import Spec, chain, chain_space

__all__ = ["Spec", "chain", "chain_space", "chains", "deep", "rewidened", "specs"]


def deep(hidden: int = 32) -> LayerGraph:
    """Return a chain of four blocks: `conv1`, `conv4`, `conv6`, then `fc9` of `hidden` units."""
    return chain(
        (3, 16, 16),
        ("conv", 16, 3, 1, 1),
        ("relu",),
        ("maxpool", 2),
        ("conv", 32, 3, 1, 1),
        ("maxpool", 2),
        ("conv", 24, 3, 1, 1),
        ("relu",),
        ("flatten",),
        ("fc", hidden),
        ("fc", 10),
    )


def rewidened(input_shape: tuple[int, ...], specs: list[Spec], widths: list[int]) -> LayerGraph:
    """Return the chain of `specs`, its conv and fc layers (but the last) having `widths`."""
    left = iter(widths)
    makers = [index for index, spec in enumerate(specs) if spec[0] in ("conv", "fc")]
    changed = [
        (spec[0], next(left), *spec[2:]) if index in makers[:-1] else spec
        for index, spec in enumerate(specs)
    ]
    return chain(input_shape, *changed)


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
