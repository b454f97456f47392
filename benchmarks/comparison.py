"""Comparisons of optimisers that ship, by name, and those that `coinfer compare-optimisers` wrote.

A comparison is a folder with the files of `benchmarks.optimisers_tables`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from benchmarks.optimisers_tables import RUNS, SUMMARY, TRACES
from coinfer.errors import CoinferError, UnknownNameError

Records = tuple[Mapping[str, str], ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Searches of the same plans at equal numbers of evaluations, as they were written.

    Attributes:
        name: of its folder.
        evaluations: of every run.
        summary, runs, traces: rows with the columns SUMMARY, RUNS and TRACES.
        about: where they are from, as plain data.
    """

    name: str
    evaluations: int
    summary: Records
    runs: Records
    traces: Records
    about: Mapping[str, Any]

    @property
    def model(self) -> str:
        """Whose plans are searched."""
        return self.summary[0]["model"]

    @property
    def seeds(self) -> int:
        """Runs of every search in every cell."""
        return len(self.about["seeds"])

    @property
    def optimisers(self) -> tuple[str, ...]:
        """What is compared, in the order of the file."""
        return tuple(dict.fromkeys(row["optimiser"] for row in self.summary))

    @property
    def cells(self) -> tuple[tuple[str, str], ...]:
        """Device and link of every cell, in the order of the file."""
        return tuple(dict.fromkeys((row["device"], row["link"]) for row in self.summary))


def comparison_names() -> list[str]:
    """Return the names of the comparisons that ship, in order."""
    folder = files("benchmarks").joinpath("comparisons")
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def find_comparison(name: str) -> Comparison:
    """Return a shipped comparison by its name, or one that was written by its FOLDER.

    Raises:
        UnknownNameError: when none of that name ships and there is no such folder.
        CoinferError: when a file is missing or damaged.
    """
    if Path(name).is_dir():
        return _read(Path(name))
    if name not in comparison_names():
        raise UnknownNameError("comparison of optimisers", name, comparison_names())
    with as_file(_shipped(name)) as folder:
        return _read(folder)


def _shipped(name: str) -> Traversable:
    return files("benchmarks").joinpath("comparisons", name)


def _read(folder: Path) -> Comparison:
    try:
        about = json.loads((folder / "optimisers.json").read_text(encoding="utf-8"))
        found = Comparison(
            folder.resolve().name,
            int(about["evaluations"]),
            _rows(folder / "optimisers.csv", SUMMARY),
            _rows(folder / "runs.csv", RUNS),
            _rows(folder / "traces.csv", TRACES),
            about,
        )
        _ = found.seeds
    except OSError as error:
        raise CoinferError(
            f"'{folder}' is no comparison that `coinfer compare-optimisers` wrote: "
            f"{error.strerror}: {Path(str(error.filename)).name}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        told = f"{type(error).__name__}: {error}"
        raise CoinferError(f"comparison '{folder}' is damaged: {told}") from error
    return found


def _rows(path: Path, columns: tuple[str, ...]) -> Records:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = tuple(reader)
    if tuple(reader.fieldnames or ()) != columns:
        raise ValueError(f"columns of {path.name}")
    if not rows or any(None in (*row, *row.values()) for row in rows):
        raise ValueError(f"rows of {path.name}")
    return rows
