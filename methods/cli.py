"""`coinfer list methods`, and the type that completes method names."""

from __future__ import annotations

from collections.abc import Iterable

import click

from coinfer.clitypes import Name


def _methods() -> Iterable[str]:
    from coinfer.streams import stdout_to_stderr
    from methods.registry import installed_methods

    with stdout_to_stderr():  # plug-ins print
        return installed_methods().classes


METHOD = Name("method", _methods)

METHOD_FILE = click.option(
    "--method-file",
    "method_files",
    multiple=True,
    metavar="FILE.py",
    type=click.Path(dir_okay=False),
    help="Python file with an adapter of your own; may be given more than once.",
)


@click.command("methods")
@METHOD_FILE
@click.option("--json", "as_json", is_flag=True, help="Print every card in full, as JSON.")
def list_methods(method_files: tuple[str, ...], as_json: bool) -> None:
    """List the methods: built-in, of installed packages, and of --method-file."""
    import json

    from coinfer.serial import to_data
    from coinfer.streams import stdout_to_stderr
    from methods.registry import find_methods

    with stdout_to_stderr():
        methods = find_methods(method_files)
    if as_json:
        cards = [
            {**to_data(methods.card(name)), "origin": methods.origins[name]}
            for name in sorted(methods.classes)
        ]
        for card in cards:
            card["cuts"], card["sees"] = sorted(card["cuts"]), sorted(card["sees"])
        click.echo(json.dumps(cards, indent=2))
    else:
        width = max(len(name) for name in methods.classes)
        for name in sorted(methods.classes):
            idea = methods.card(name).idea
            click.echo(f"{name:<{width}}  {idea}  [{methods.origins[name]}]")
    for plugin in methods.broken:
        click.echo(f"does not load: {plugin.name} ({plugin.origin}): {plugin.error}", err=True)
