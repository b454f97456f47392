"""Options that several commands have in common, each said once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

FILE = click.Path(dir_okay=False, path_type=Path)
"""A file, which need not be there."""

JOBS = click.option(
    "--jobs",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Worker processes; 0 for one per core.",
)


def telling(*formats: str, note: str, lines: str) -> Callable[[_Command], _Command]:
    """Give a command `--format`, `--output` and `--show`, which say how it tells what it found.

    Args:
        formats: the first is the default.
        note: help of `--format`.
        lines: what text and md tell at most `--show` of.
    """

    def decorated(command: _Command) -> _Command:
        command = click.option(
            "--show",
            type=click.IntRange(min=0),
            default=20,
            show_default=True,
            help=f"{lines}; 0 for all.",
        )(command)
        command = click.option(
            "-o",
            "--output",
            type=FILE,
            metavar="FILE",
            help="Tell it there, not on standard output.",
        )(command)
        return click.option(
            "--format",
            "format_",
            type=click.Choice(formats),
            default=formats[0],
            show_default=True,
            help=note,
        )(command)

    return decorated
