"""`coinfer trace`: look at a network the way the harness does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    help="Trace every registered model and write the graphs that ship with the package.",
)
def trace(model: str | None, rules: str, as_json: bool, ship: Path | None) -> None:
    """Trace a network and print its layers, their cost and its legal cuts.

    \b
    coinfer trace alexnet
    coinfer trace torchvision:googlenet --rules macs
    coinfer trace nets.py:my_net
    """
    import json

    from coinfer.errors import CoinferError
    from coinfer.graphs import render, retrace, shipped_name
    from coinfer.models import models
    from coinfer.serial import to_data

    if ship is not None:
        ship.mkdir(parents=True, exist_ok=True)
        for name, spec in models().items():
            (ship / shipped_name(spec)).write_text(render(spec, retrace(name)), encoding="utf-8")
            click.echo(f"traced {name}", err=True)
        return
    if model is None:
        raise CoinferError("no model: give a name (see `coinfer list models`), or --ship FOLDER")
    graph = retrace(model)
    click.echo(json.dumps(to_data(graph), indent=2) if as_json else table(graph, rules))


def table(graph: LayerGraph, rules: str) -> str:
    """Return the layers of a graph as text, one line each; a star marks a legal cut behind it."""
    costs = graph.flops(rules)
    behind = {cut.index: cut for cut in graph.cuts}
    width = max(len(layer.name) for layer in graph.layers)
    rows = [
        f"{'':>5} {'layer':<{width}}  {'kind':<14} {'output':<14} {'parameters':>12} "
        f"{rules:>20}  cut"
    ]
    for index, (layer, cost) in enumerate(zip(graph.layers, costs, strict=True), start=1):
        shape = "x".join(map(str, layer.out_shape))
        mark = f"* {behind[index].elements} elements" if index in behind else ""
        rows.append(
            f"{index:>5} {layer.name:<{width}}  {layer.kind:<14} {shape:<14} "
            f"{layer.parameters:>12,} {int(cost):>20,}  {mark}".rstrip()
        )
    total = sum(layer.parameters for layer in graph.layers)
    rows.append(
        f"{len(graph)} layers, {len(graph.cuts)} legal cuts, {total:,} parameters, "
        f"{int(costs.sum()):,} by {rules}"
    )
    return "\n".join(rows)
