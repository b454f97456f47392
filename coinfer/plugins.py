"""Finding what others wrote: entry points and single files, for methods and parts alike.

A plug-in that cannot be imported is reported and harms no other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from coinfer.errors import CoinferError, one_line

METHOD_GROUP = "coinfer.methods"
PART_GROUP = "coinfer.parts"
COMMAND_GROUP = "coinfer.commands"


@dataclass(frozen=True)
class Found:
    """A plug-in object and where it came from."""

    name: str
    value: object
    origin: str


@dataclass(frozen=True)
class Broken:
    """A plug-in that failed to load, and why, in one line."""

    name: str
    origin: str
    error: str


def load_entry_points(group: str) -> tuple[list[Found], list[Broken]]:
    """Load every entry point of a group; failures come back beside the rest."""
    found: list[Found] = []
    broken: list[Broken] = []
    for point in sorted(entry_points(group=group), key=lambda p: p.name):
        origin = f"entry point {point.value}"
        try:
            found.append(Found(point.name, point.load(), origin))
        except (Exception, SystemExit) as error:  # a stranger's import may raise anything
            broken.append(Broken(point.name, origin, one_line(error)))
    return found, broken


def load_file(path: Path) -> ModuleType:
    """Import a Python file as a module of its own, named by its content.

    The same content is imported once per process, so classes stay picklable by reference within
    every process that has loaded the file.

    Raises:
        CoinferError: when the file is missing or does not import.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CoinferError(f"cannot read '{path}': {error.strerror}") from None
    name = f"coinfer_file_{path.stem}_{hashlib.sha256(content).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CoinferError(f"'{path}' is not a Python file; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise CoinferError(f"'{path}' does not import: {one_line(error)}") from error
    return module


def classes_defined_in(module: ModuleType) -> Iterator[type]:
    """Yield the classes that a module defines itself (not those it imports), by name."""
    for _, value in sorted(vars(module).items()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            yield value
