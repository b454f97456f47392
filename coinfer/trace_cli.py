"""`coinfer trace`: look at a network the way the harness does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coinfer.clitypes import MODEL

if TYPE_CHECKING:
    from coinfer.graph import LayerGraph


@click.command("trace")
@click.argument("model", type=MODEL, required=False)
@click.option(
    "--rules",
    default="table1",
    show_default=True,
    help="Counting rule: table1, table1_dropout_free or macs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the layer graph as JSON.")
@click.option(
    "--ship",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Trace every registered model and write what ships with the package: layer graphs and "
    "prune spaces.",
)
def trace(model: str | None, rules: str, as_json: bool, ship: Path | None) -> None:
    """Trace a network and print its layers, their cost and its legal cuts.

    Options of a network stand in brackets behind its name; see `coinfer list models --help`.

    \b
    coinfer trace alexnet
    coinfer trace 'torchvision:googlenet[image_size=64,num_classes=10]' --rules macs
    coinfer trace 'nets.py:my_net[input=3x64x64]'
    """
    import json

    from coinfer import flops
    from coinfer.errors import CoinferError
    from coinfer.graphs import retrace
    from coinfer.serial import to_data
    from coinfer.streams import stdout_to_stderr

    if ship is not None:
        _ship(ship)
        return
    if model is None:
        raise CoinferError("no model: give a name (see `coinfer list models`), or --ship FOLDER")
    flops.rule(rules)  # an unknown one is refused before anything is traced
    with stdout_to_stderr():  # a network's file may print
        graph = retrace(model)
    click.echo(json.dumps(to_data(graph), indent=2) if as_json else table(graph, rules))


def _ship(folder: Path) -> None:
    """Write what ships with the package about every registered model."""
    from coinfer.graphs import GRAPHS
    from coinfer.kept import Kept
    from coinfer.models import models
    from coinfer.prune_spaces import PRUNE_SPACES

    kinds: tuple[Kept[Any], ...] = (GRAPHS, PRUNE_SPACES)
    for spec in models().values():
        for kind in kinds:
            place = folder / kind.folder / kind.shipped_name(spec)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(kind.render(spec, kind.read_off(spec)), encoding="utf-8")
        click.echo(f"traced {spec.name}", err=True)


def table(graph: LayerGraph, rules: str) -> str:
    """Return a graph as text: a line for the input and for each layer, a star for a legal cut."""
    from coinfer.graph import INPUT

    costs = graph.flops(rules)
    marks = {cut.index: f"* {cut.elements} elements" for cut in graph.cuts}
    rows = [
        ("", "layer", "kind", "output", "parameters", rules, "cut"),
        ("0", INPUT, "", _sizes(graph.input_shape), "", "", marks[0]),
    ]
    for index, (layer, cost) in enumerate(zip(graph.layers, costs, strict=True), start=1):
        counts = f"{layer.parameters:,}", f"{int(cost):,}"
        shape = _sizes(layer.out_shape)
        rows.append((str(index), layer.name, layer.kind, shape, *counts, marks.get(index, "")))
    width = max(len(name) for _, name, *_ in rows)
    lines = [
        f"{index:>5} {name:<{width}}  {kind:<14} {output:<14} {parameters:>12} {cost:>20}  "
        f"{mark}".rstrip()
        for index, name, kind, output, parameters, cost, mark in rows
    ]
    total = sum(layer.parameters for layer in graph.layers)
    lines.append(
        f"{len(graph)} layers, {len(graph.cuts)} legal cuts, {total:,} parameters, "
        f"{int(costs.sum()):,} by {rules}"
    )
    return "\n".join(lines)


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
