"""Click parameter types that complete the names the harness knows, and options that many share.

Nothing is imported until the shell asks, so completion and `--help` stay instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from coinfer.refs import split_refs


class Name(click.ParamType):  # type: ignore[type-arg]  # generic only in newer clicks
    """A name of some registry, possibly with `[option=value]`; checked where it is used."""

    def __init__(self, kind: str, known: Callable[[], Iterable[str]]) -> None:
        self.name = kind
        self._known = known

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the known names that start with what was typed."""
        return [
            CompletionItem(name) for name in sorted(self._known()) if name.startswith(incomplete)
        ]


def _models() -> Iterable[str]:
    from coinfer.models import models

    return models()


def _devices() -> Iterable[str]:
    from coinfer.presets import devices

    return devices()


def _servers() -> Iterable[str]:
    from coinfer.presets import servers

    return servers()


def _links() -> Iterable[str]:
    from coinfer.presets import links

    return links()


def _conventions() -> Iterable[str]:
    from coinfer.conventions import conventions

    return conventions()


MODEL = Name("model", _models)
DEVICE = Name("device", _devices)
SERVER = Name("server", _servers)
LINK = Name("link", _links)
CONVENTION = Name("convention", _conventions)

PRESETS = click.option(
    "--presets",
    "preset_files",
    multiple=True,
    metavar="FILE.toml",
    type=click.Path(dir_okay=False),
    help="Devices, servers and links of your own; may be given more than once.",
)


def refs(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Click callback: split a comma-separated option into refs; one that is given names some."""
    found = () if value is None else tuple(split_refs(value))
    if value is not None and not found:
        raise click.BadParameter("it names nothing; give a name, or leave the option out")
    return found
