"""The options that say which cells of a matrix are meant, for every command that takes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from coinfer.clitypes import MODEL, PRESETS, Name, refs
from methods.cli import METHOD, METHOD_FILE

if TYPE_CHECKING:
    from benchmarks.matrix import Filters, Matrix

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _matrices() -> list[str]:
    from benchmarks.matrix import built_in_matrices

    return list(built_in_matrices())


def _selections() -> list[str]:
    from benchmarks.selections import selections_names

    return selections_names()


def _shipped(_context: click.Context, _option: click.Parameter, name: str | None) -> str:
    """Refuse selections that do not ship, before anything runs; '' stands for none."""
    from benchmarks.selections import shipped_selections

    if name is None:
        return ""
    shipped_selections(name)
    return name


MATRIX = Name("matrix", _matrices)

SELECTIONS = click.option(
    "--selections",
    type=Name("selections", _selections),
    callback=_shipped,
    metavar="NAME",
    help="Frozen selections that ship (fig7): they answer for the methods that learn, which then "
    "search nothing.",
)

_OPTIONS = (
    click.option(
        "--methods",
        type=METHOD,
        callback=refs,
        metavar="METHOD,...",
        help="These methods instead of the matrix's, e.g. 'exhaustive,all_server[payload=png]'.",
    ),
    click.option(
        "--models", type=MODEL, callback=refs, metavar="MODEL,...", help="These models instead."
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="FIELD=PATTERN",
        help="Only cells that match, e.g. 'method=neurosurgeon,device=raspberry*'; repeat for "
        "more.",
    ),
    click.option(
        "--exclude", multiple=True, metavar="FIELD=PATTERN", help="No cells that match; repeatable."
    ),
    SELECTIONS,
    METHOD_FILE,
    PRESETS,
)


def matrix_options(command: _Command) -> _Command:
    """Give a command `--methods`, `--models`, filters, `--selections` and the files of names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def asked_matrix(source: str, methods: tuple[str, ...], models: tuple[str, ...]) -> Matrix:
    """Load a matrix, with the methods and models given in place of its own, if any are.

    Raises:
        CoinferError: when there is no such matrix, or it is not right.
    """
    from benchmarks.matrix import load

    matrix = load(source)
    return replace(matrix, methods=methods or matrix.methods, models=models or matrix.models)


def asked_filters(include: tuple[str, ...], exclude: tuple[str, ...]) -> Filters:
    """Parse `--include` and `--exclude`.

    Raises:
        CoinferError: when one is not of the form `field=pattern`.
    """
    from benchmarks.matrix import Filters, parse_filter

    return Filters(tuple(map(parse_filter, include)), tuple(map(parse_filter, exclude)))
