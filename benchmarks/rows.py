"""A row of the store: a cell, its result, the key, and what the run that computed it adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from benchmarks.cells import Cell, Result
from coinfer.serial import content_hash

KEY_SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """A cell with its result.

    Attributes:
        cell: the question.
        result: the answer (deterministic columns).
        inputs: content hash of everything else that determines the answer, by component
            (`convention`, `method`, `harness`, `graph`, `device`, `server`, `link`, ...).
        seconds, host, finished_at, traceback: columns of the run, never part of an equality.
    """

    cell: Cell
    result: Result
    inputs: dict[str, str]
    seconds: float = field(default=0.0, compare=False)
    host: str = field(default="", compare=False)
    finished_at: str = field(default="", compare=False)
    traceback: str = field(default="", compare=False)

    @cached_property
    def key(self) -> str:
        """Canonical hash of everything that determines the result."""
        return row_key(self.cell, self.inputs)


def row_key(cell: Cell, inputs: dict[str, str]) -> str:
    """Return the key of a cell's row, given the hashes of its inputs."""
    return content_hash({"schema": KEY_SCHEMA, "cell": vars(cell), "inputs": inputs})
