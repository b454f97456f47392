"""Comparisons of optimisers that ship, by name, and those that `coinfer compare-optimisers` wrote.

A comparison is a folder with the files of `benchmarks.optimisers_tables`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from benchmarks.optimisers import OPTIMISERS
from benchmarks.optimisers_tables import FILES, MADE_BY, RUNS, SUMMARY, TRACES
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.records import read_rows

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
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise CoinferError(
            f"'{folder}' is no comparison that `{MADE_BY}` wrote: it has no {missing[0]}"
        )
    try:
        about = json.loads((folder / "optimisers.json").read_text(encoding="utf-8"))
        seeds, cells, optimisers = (about[name] for name in ("seeds", "cells", "optimisers"))
        runs = len(cells) * len(optimisers)
        summary = _rows(folder / "optimisers.csv", SUMMARY, runs)
        found = Comparison(
            folder.resolve().name,
            int(about["evaluations"]),
            summary,
            _rows(folder / "runs.csv", RUNS, runs * len(seeds)),
            _rows(folder / "traces.csv", TRACES),
            about,
        )
        searches = {(row["device"], row["link"], row["optimiser"]) for row in summary}
        if len(searches) != runs:
            raise ValueError("rows of optimisers.csv: a search of a cell stands there twice")
        if not set(found.optimisers) <= set(OPTIMISERS):
            raise ValueError(f"optimisers; accepted: {', '.join(OPTIMISERS)}")
    except OSError as error:
        raise CoinferError(f"cannot read comparison '{folder}': {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError, CoinferError) as error:
        told = str(error) if isinstance(error, CoinferError) else f"{type(error).__name__}: {error}"
        raise CoinferError(f"comparison '{folder}' is damaged: {told}") from error
    return found


def _rows(path: Path, columns: tuple[str, ...], count: int | None = None) -> Records:
    """Read one of the tables, of so many rows where that is known, all numbers being such."""
    found, rows = read_rows(path)
    if found != columns:
        raise ValueError(f"columns of {path.name}")
    if not rows or len(rows) != (count or len(rows)):
        raise ValueError(f"{path.name} has {len(rows)} rows" + (f", not {count}" if count else ""))
    for number, row in enumerate(rows, start=2):
        for column, holds in _NUMBERS.items():
            text = row.get(column)
            if text is not None and not holds(text):
                raise ValueError(f"{path.name} line {number}: {column} {text[:20]}")
    return rows


def _whole(text: str) -> bool:
    return text.isdecimal() and int(text) > 0


def _share(text: str) -> bool:
    return 0 <= float(text) <= 1


def _positive(text: str) -> bool:
    return 0 < float(text) < math.inf


def _cost(text: str) -> bool:
    # Of a search that found nothing it is infinite.
    return float(text) > 0


_NUMBERS: Mapping[str, Callable[[str], bool]] = {
    "evaluations": _whole,
    "found": _share,
    **dict.fromkeys(("rate_bps", "best_known_s"), _positive),
    **dict.fromkeys(("median_s", "q25_s", "q75_s", "cost_s", "relative"), _cost),
    **dict.fromkeys(("median_relative", "q25_relative", "q75_relative"), _cost),
}
"""What holds of the numbers in the columns of that name; no NaN is among them."""
