"""The stored baseline of the regression gate: JSON that is read in a diff, a line per cell.

It holds outcomes and what they come from (versions, platform), and no date, host or path: the
same results give the same bytes. Cells are in the order of a store.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.cells import Cell
from benchmarks.outcomes import Outcome
from benchmarks.outputs import atomic_file, is_sqlite
from benchmarks.provenance import package_versions
from benchmarks.soundness import no_share
from benchmarks.store_rows import ordered
from coinfer.errors import CoinferError
from coinfer.serial import from_data

FORMAT = "coinfer-baseline"
SCHEMA = 1

_CELL = tuple(one.name for one in fields(Cell))
_NUMBERS = ("latency_s", "energy_j", "accuracy", "predicted_accuracy")
_TEXTS = ("status", "reason", "floor_held", "cut")


@dataclass(frozen=True)
class Baseline:
    """Outcomes that others are held against.

    Attributes:
        outcomes: by cell, in canonical order.
        stochastic: methods whose answers depend on the seed, canonical refs.
        about: where they come from, as plain data.
        lines: the line of the file that each cell stands in, where there is a file.
    """

    outcomes: Mapping[Cell, Outcome]
    stochastic: frozenset[str]
    about: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[Cell, int] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, outcomes: Iterable[Outcome], stochastic: Iterable[str], about: Mapping[str, Any]
    ) -> Baseline:
        """Return outcomes as a baseline."""
        found = {one.cell: one for one in sorted(outcomes, key=lambda one: order(one.cell))}
        used = {cell.method for cell in found}
        return cls(found, frozenset(stochastic) & used, about)


def order(cell: Cell) -> tuple[Any, ...]:
    """Return what cells are sorted by: their fields, numbers in names counting as numbers."""
    values = (getattr(cell, name) for name in _CELL)
    return tuple(
        ordered(value) if isinstance(value, str) else -math.inf if value is None else value
        for value in values
    )


def about(matrix: str) -> dict[str, Any]:
    """Return where outcomes that are computed here come from; `matrix` names the matrix, if any."""
    return {
        "matrix": matrix,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": package_versions(),
    }


def text_of(baseline: Baseline) -> str:
    """Return the text of a baseline's file."""
    head = {
        "format": FORMAT,
        "schema": SCHEMA,
        "about": dict(baseline.about),
        "stochastic": sorted(baseline.stochastic),
    }
    start = ",\n".join(f'"{name}":{json.dumps(value)}' for name, value in head.items())
    cells = ",\n".join(map(line_of, baseline.outcomes.values()))
    return f'{{{start},\n"cells":[\n{cells}\n]}}\n'


def line_of(outcome: Outcome) -> str:
    """Return the line of an outcome; what it has none of is left out."""
    data: dict[str, Any] = {name: getattr(outcome.cell, name) for name in _CELL}
    data |= {name: getattr(outcome, name) for name in (*_TEXTS, *_NUMBERS)}
    known = {name: value for name, value in data.items() if value not in (None, "")}
    return json.dumps({name: _plain(value) for name, value in known.items()}, allow_nan=False)


def _plain(value: Any) -> Any:
    """An infinity or NaN as text, as in every JSON of ours."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline: whole, or not at all.

    Raises:
        CoinferError: when it cannot be written, or would replace a store.
    """
    if is_sqlite(path):
        raise CoinferError(f"cannot write '{path}': it is a store or another database")
    with atomic_file(path) as stream:
        stream.write(text_of(baseline).encode())


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        CoinferError: one line: it is missing, damaged, or of another schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CoinferError(f"no baseline '{path}'; --update writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CoinferError(f"cannot read baseline '{path}': {why}") from None
    try:
        data = json.loads(text, parse_constant=_refuse)
        kind = data.get("format") if isinstance(data, dict) else None
        if kind != FORMAT:
            raise CoinferError(f"its format is {kind!r}, not '{FORMAT}'")
        if data["schema"] != SCHEMA:
            raise CoinferError(
                f"its schema is {data['schema']!r}; this version reads {SCHEMA}: delete it and "
                "write another with --update"
            )
        outcomes = [_outcome(entry) for entry in data["cells"]]
        stochastic = frozenset(map(str, data["stochastic"]))
        origin = dict(data["about"])
    except CoinferError as error:
        raise CoinferError(f"baseline '{path}': {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CoinferError(
            f"baseline '{path}' is damaged: {type(error).__name__}: {error}"
        ) from None
    found = {one.cell: one for one in outcomes}
    if not found:
        raise CoinferError(f"baseline '{path}' has no cells, so that anything passes")
    if len(found) < len(outcomes):
        raise CoinferError(f"baseline '{path}' is damaged: a cell is there twice")
    return Baseline(found, stochastic, origin, _lines(text, found))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _outcome(entry: Any) -> Outcome:
    """An outcome from the data of its line; every field is checked."""
    if not isinstance(entry, dict):
        raise CoinferError(f"a cell is {entry!r}, not a table of fields")
    cell = from_data({name: entry[name] for name in _CELL if name in entry}, Cell)
    rest = {name: value for name, value in entry.items() if name not in _CELL}
    outcome = from_data({"cell": vars(cell), **rest}, Outcome)
    for name in ("latency_s", "energy_j"):
        value = getattr(outcome, name)
        if value is not None and value < 0.0:
            raise CoinferError(f"a cell of {cell.method} has {name} {value!r}; accepted: >= 0")
    for name in ("accuracy", "predicted_accuracy"):
        if fault := no_share(name, getattr(outcome, name)):
            raise CoinferError(f"a cell of {cell.method} is impossible: {fault}")
    if outcome.status == "ok" and outcome.latency_s is None:
        raise CoinferError(f"a cell of {cell.method} is 'ok' and has no latency_s")
    return outcome


def _lines(text: str, outcomes: Mapping[Cell, Outcome]) -> dict[Cell, int]:
    """The line of every cell, of a file that nobody laid out anew."""
    numbers: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        numbers[line.rstrip(",")] = number
    return {
        cell: numbers[line] for cell, one in outcomes.items() if (line := line_of(one)) in numbers
    }
