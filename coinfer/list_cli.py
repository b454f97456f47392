"""`coinfer list models|devices|servers|links|conventions`: what can be named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from coinfer.clitypes import PRESETS

if TYPE_CHECKING:
    from coinfer.presets import Kind, Preset

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print everything known, as JSON.")


# How networks are named that no registry holds.
_OTHER_MODELS = {
    "torchvision:NAME": "any of its classifiers; options image_size (224), num_classes (1000)",
    "FILE.py:FACTORY": "your own; options input (such as 3x64x64), and the factory's arguments",
}

_ONE_CUT = {"NAME[cut=LAYER]": "any of these, and every method cuts after LAYER or not at all"}


def _print(things: Mapping[str, Any], lines: Mapping[str, str], as_json: bool) -> None:
    from coinfer.serial import canonical_json, to_data

    if as_json:
        data = {name: to_data(thing) for name, thing in things.items()}
        strict = json.loads(canonical_json(data))  # infinities have become strings
        click.echo(json.dumps({name: strict[name] for name in data}, indent=2))
        return
    width = max(len(name) for name in lines)
    for name, text in lines.items():
        click.echo(f"{name:<{width}}  {text}".rstrip())


@click.command("models")
@_AS_JSON
def list_models(as_json: bool) -> None:
    """List the registered networks, and how any other is named.

    Options stand in brackets behind the name:

    \b
    coinfer trace 'alexnet-cifar[hidden=256]'
    coinfer trace 'torchvision:resnet18[image_size=64,num_classes=10]'
    coinfer trace 'nets.py:my_net[input=3x64x64,width=32]'

    FILE.py:FACTORY is a function or class that returns a torch.nn.Module. Its option `input` is
    the shape of one input, without batch; without it, the factory's attribute `input_shape` or
    the file's variable of that name is, else 3x32x32. All other options are its arguments.
    """
    from coinfer.models import models

    specs = models()
    lines = {
        name: f"{'x'.join(map(str, spec.input_shape))}, {spec.classes} classes  {spec.note}"
        for name, spec in specs.items()
    }
    _print(specs, {**lines, **_OTHER_MODELS}, as_json)


@click.command("devices")
@PRESETS
@_AS_JSON
def list_devices(preset_files: tuple[str, ...], as_json: bool) -> None:
    """List the device presets with the source of their numbers."""
    found = _presets("device", preset_files)
    _print(found, {name: _processor(p) for name, p in found.items()}, as_json)


@click.command("servers")
@PRESETS
@_AS_JSON
def list_servers(preset_files: tuple[str, ...], as_json: bool) -> None:
    """List the server presets with the source of their numbers."""
    found = _presets("server", preset_files)
    _print(found, {name: _processor(p) for name, p in found.items()}, as_json)


@click.command("links")
@PRESETS
@_AS_JSON
def list_links(preset_files: tuple[str, ...], as_json: bool) -> None:
    """List the link presets; assumptions of ours are said."""
    found = _presets("link", preset_files)
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
    """List the accounting rules: one set per paper, and `harmonised`.

    An option in brackets leaves every method one cut, named by the layer before it:

    \b
    coinfer plan --convention 'qho2024[cut=features.2]' ...
    """
    from coinfer.conventions import conventions

    found = conventions()
    lines = {name: f"{c.source}. {c.note}" for name, c in found.items()}
    _print(found, {**lines, **_ONE_CUT}, as_json)


def _presets(kind: Kind, files: tuple[str, ...]) -> dict[str, Preset]:
    from coinfer.presets import load_presets

    return load_presets(*files).listed(kind)


def _processor(processor: Preset) -> str:
    speed = processor.flops_per_s
    text = f"{speed / 1e9:g} GFLOP/s" if speed is not None else "needs a FLOP/s number"
    return f"{text:<22}  {processor.source}"
