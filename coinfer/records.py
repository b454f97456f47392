"""Records on disk: a CSV with a row per result, and a JSON beside it that says where they are from.

Measurement tables and studies are kept so. Both files are read as a user may have left them:
damaged in any way, they end in one line that names the file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coinfer.cachefolder import write_atomically
from coinfer.errors import CoinferError

SUFFIX = ".csv"
"""What the name of the rows' file ends in; that of the other ends in `.json`."""


@dataclass(frozen=True, eq=False)
class Records:
    """Rows, as text, and where they are from.

    Attributes:
        columns: of the CSV, in its order.
        rows: by column.
        origin: what all rows have in common.
        machines: hardware and versions by name.
        about: everything in the JSON, the two above included.
    """

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    origin: Mapping[str, Any]
    machines: Mapping[str, Mapping[str, Any]]
    about: Mapping[str, Any]


def beside(path: Path) -> Path:
    """Return the JSON that belongs to a CSV."""
    return path.with_suffix(".json")


def check_output(path: Path) -> None:
    """Refuse to write records where they would replace something else.

    Raises:
        CoinferError: when the name does not end in `.csv`, or when the JSON that would stand beside
            it is there already and is not of records.
    """
    if path.suffix != SUFFIX or path.is_dir():
        raise CoinferError(
            f"cannot write '{path}': accepted: a file FILE.csv; where its rows are from goes into "
            "FILE.json"
        )
    if beside(path).exists() or beside(path).is_symlink():
        try:
            _read_about(beside(path))
        except CoinferError as error:
            raise CoinferError(
                f"'{beside(path)}' is in the way: it is not of coinfer's records ({error}); give "
                "another file"
            ) from error


def write_records(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], about: Mapping[str, Any]
) -> None:
    """Write rows to `path`, and beside it where they are from, each atomically.

    Args:
        path: of the CSV.
        columns: its columns.
        rows: with a value for each of them.
        about: `origin` and `machines` at least; the number of rows is added as `samples`.

    Raises:
        CoinferError: when the folder cannot be written.
    """
    text, written = io.StringIO(), list(rows)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(written)
    told = {"origin": about["origin"], "samples": len(written), **about}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The JSON first: rows without their origin would be of no use.
        write_atomically(beside(path), (json.dumps(told, indent=2) + "\n").encode())
        write_atomically(path, text.getvalue().encode())
    except OSError as error:
        raise CoinferError(f"cannot write '{path}': {error.strerror}") from error


def read_records(path: Path, *, unfinished: bool = False) -> Records:
    """Return what `write_records` wrote.

    Args:
        path: of the CSV.
        unfinished: accept fewer rows than the JSON tells of, as a command that was killed between
            writing the two leaves them, and as one that goes on with them adds again.

    Raises:
        CoinferError: naming the file that is missing or damaged, and in what.
    """
    about = _read_about(beside(path))
    columns, rows = read_rows(path)
    said = about["samples"]
    if len(rows) > said or (len(rows) < said and not unfinished):
        raise CoinferError(
            f"'{path}' has {len(rows)} rows, and '{beside(path).name}' tells of {said}: rows are "
            "lost, or of another file; the command that wrote it goes on with it"
        )
    return Records(columns, rows, about["origin"], about["machines"], about)


def read_rows(path: Path) -> tuple[tuple[str, ...], tuple[Mapping[str, str], ...]]:
    """Return the columns and rows of a CSV, each with a text for every column.

    Raises:
        CoinferError: naming the file and what is wrong with it.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = tuple(reader)
    except OSError as error:
        raise _cannot_read(path, error) from error
    except UnicodeDecodeError as error:
        raise CoinferError(f"'{path}' is damaged: it is not UTF-8 text") from error
    except csv.Error as error:
        raise CoinferError(f"'{path}' line {reader.reader.line_num} is damaged: {error}") from error
    for number, row in enumerate(rows, start=2):
        if None in (*row, *row.values()):
            raise CoinferError(f"'{path}' line {number} is damaged: it has another length")
    return tuple(reader.fieldnames or ()), rows


def _read_about(path: Path) -> Mapping[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _cannot_read(path, error) from error
    except UnicodeDecodeError as error:
        raise CoinferError(f"'{path}' is damaged: it is not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise CoinferError(f"'{path}' is no JSON: {error}") from error
    if not isinstance(about, dict):
        raise CoinferError(f"'{path}' is damaged: it holds no fields")
    accepted: dict[str, Callable[[Any], bool]] = {
        "origin": lambda value: isinstance(value, dict),
        "machines": lambda value: (
            isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())
        ),
        "samples": lambda value: type(value) is int and value >= 0,
    }
    for name, holds in accepted.items():
        if name not in about:
            raise CoinferError(f"'{path}' lacks '{name}'")
        if not holds(about[name]):
            raise CoinferError(f"'{path}' is damaged: '{name}' is {str(about[name])[:40]}")
    return about


def _cannot_read(path: Path, error: OSError) -> CoinferError:
    return CoinferError(
        f"cannot read '{path}': {error.strerror}; accepted: a FILE.csv that coinfer wrote, with "
        "its FILE.json beside it"
    )
