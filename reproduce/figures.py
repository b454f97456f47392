"""The figures that can be reproduced, by name. Nothing is imported until one is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coinfer.errors import UnknownNameError

if TYPE_CHECKING:
    from reproduce.claims import Claim, Finding
    from reproduce.facts import Facts


@dataclass(frozen=True)
class Figure:
    """A figure of a paper that we reproduce.

    Attributes:
        name: as in `coinfer reproduce NAME`.
        title: one line.
        paper: letter of the paper.
        matrix: shipped matrix that holds its cells.
        stems: stems of the claims that the paper makes about it.
        write: writes the figure and its data into a folder and returns the files.
    """

    name: str
    title: str
    paper: str
    matrix: str
    stems: tuple[str, ...]
    write: Callable[[Facts, Path], list[Path]]

    def claims(self) -> list[Claim]:
        """What the paper claims about it."""
        from reproduce.claims import paper

        return [claim for claim in paper(self.paper).claims if claim.stem in self.stems]

    def findings(self) -> list[Finding]:
        """The questions that its rows alone answer."""
        from reproduce.claims import paper

        return [f for f in paper(self.paper).findings if f.matrix == (self.matrix,)]


def _write_fig6(facts: Facts, folder: Path) -> list[Path]:
    from reproduce import fig6

    return fig6.write(facts, folder)


_FIGURES = (
    Figure(
        name="fig6",
        title="QHO paper, Fig. 6: latency against link on three devices, partitioning alone",
        paper="Q",
        matrix="fig6",
        stems=("Q-f6a", "Q-f6b", "Q-f6c"),
        write=_write_fig6,
    ),
)


def figures() -> dict[str, Figure]:
    """Return every figure by name."""
    return {figure.name: figure for figure in _FIGURES}


def figure(name: str) -> Figure:
    """Return the figure called `name`.

    Raises:
        UnknownNameError: offering the nearest names.
    """
    try:
        return figures()[name]
    except KeyError:
        raise UnknownNameError("figure", name, figures()) from None
