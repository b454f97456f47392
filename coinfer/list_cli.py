"""`coinfer list models|devices|servers|links|conventions`: what can be named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print everything known, as JSON.")


def _print(things: Mapping[str, Any], lines: Mapping[str, str], as_json: bool) -> None:
    from coinfer.serial import to_data

    if as_json:
        click.echo(json.dumps({name: to_data(thing) for name, thing in things.items()}, indent=2))
        return
    width = max(len(name) for name in lines)
    for name, text in lines.items():
        click.echo(f"{name:<{width}}  {text}".rstrip())


@click.command("models")
@_AS_JSON
def list_models(as_json: bool) -> None:
    """List the registered networks (any other: torchvision:NAME or file.py:factory)."""
    from coinfer.models import models

    specs = models()
    lines = {
        name: f"{'x'.join(map(str, spec.input_shape))}, {spec.classes} classes  {spec.note}"
        for name, spec in specs.items()
    }
    _print(specs, lines, as_json)


@click.command("devices")
@_AS_JSON
def list_devices(as_json: bool) -> None:
    """List the device presets with the source of their numbers."""
    from coinfer.presets import devices

    found = devices()
    _print(found, {name: _processor(p) for name, p in found.items()}, as_json)


@click.command("servers")
@_AS_JSON
def list_servers(as_json: bool) -> None:
    """List the server presets with the source of their numbers."""
    from coinfer.presets import servers

    found = servers()
    _print(found, {name: _processor(p) for name, p in found.items()}, as_json)


@click.command("links")
@_AS_JSON
def list_links(as_json: bool) -> None:
    """List the link presets; assumptions of ours are said."""
    from coinfer.presets import links

    found = links()
    lines = {}
    for name, link in found.items():
        if link.rate_bps is not None:
            speed = f"{link.rate_bps / 1e6:g} Mb/s"
        elif link.bandwidth_hz is not None:
            speed = f"{link.bandwidth_hz / 1e6:g} MHz, rate by SNR"
        elif link.capacity in link.needs:
            speed = f"needs {link.capacity}"
        else:
            speed = "binary symmetric channel"
        assumed = f"  assumed: {link.assumption}" if link.assumption else ""
        lines[name] = f"{speed:<22}  {link.source}{assumed}"
    _print(found, lines, as_json)


@click.command("conventions")
@_AS_JSON
def list_conventions(as_json: bool) -> None:
    """List the accounting rules: one set per paper, and `harmonised`."""
    from coinfer.conventions import conventions

    found = conventions()
    _print(found, {name: f"{c.source}. {c.note}" for name, c in found.items()}, as_json)


def _processor(processor: Any) -> str:
    speed = processor.flops_per_s
    text = f"{speed / 1e9:g} GFLOP/s" if speed is not None else "needs a FLOP/s number"
    return f"{text:<22}  {processor.source}"
