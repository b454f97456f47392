"""What is read off a registered network, kept under a key of all that determines it.

Importing torch and torchvision takes longer than everything else a question needs. So what is
read off a network is kept, under a key made of all that determines it: the model's spec, the
source of the code that reads, and the versions of the packages it reads with. Where the key
matches, the kept one is what reading would give; where anything differs, the network is read anew.
Networks of a user's own file always are: no key can hold all that a file imports.

What belongs to the registered models ships with the package (`coinfer trace --ship FOLDER` writes
it; a test reads each again and compares). Others go to the user's cache folder (`COINFER_CACHE`
moves it).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Generic, TypeVar

from coinfer.cachefolder import cache_folder, write_atomically
from coinfer.errors import CoinferError
from coinfer.models import ModelSpec
from coinfer.serial import canonical_json, content_hash, from_data, to_data
from coinfer.sources import closure_hash
from coinfer.versions import installed_version

T = TypeVar("T")


@dataclass(frozen=True)
class Kept(Generic[T]):
    """One kind of thing that is read off networks, and where it is kept.

    Attributes:
        folder: name of its folder, in the package's presets and in the cache.
        cls: its type, a dataclass.
        code: modules that read it off a network.
        packages: installed packages that it is read with.
        read_off: reads it off the network of a spec; raises CoinferError where it cannot.
    """

    folder: str
    cls: type[T]
    code: tuple[str, ...]
    packages: tuple[str, ...]
    read_off: Callable[[ModelSpec], T]

    def of(self, spec: ModelSpec) -> T:
        """Return the kept one where its key matches, else read it off the network and keep it.

        Raises:
            CoinferError: when it cannot be read off the network.
        """
        found = self.find(spec)
        if found is not None:
            return found
        fresh = self.read_off(spec)
        if not spec.source_hash:
            _write(self.kept_file(spec), self.render(spec, fresh))
        return fresh

    def find(self, spec: ModelSpec) -> T | None:
        """Return the kept one; None for a file's factory, whose imports no key can hold."""
        if spec.source_hash:
            return None
        key = self.key(spec)
        for place in (self.shipped(spec), self.kept_file(spec)):
            found = self._read(place, key)
            if found is not None:
                return found
        return None

    def key(self, spec: ModelSpec) -> str:
        """Return the hash of everything that determines it."""
        return content_hash(
            {
                "builder": [spec.builder, to_data(spec.options)],
                "input_shape": list(spec.input_shape),
                "source": _source_hash(self.code),
                "versions": [_release(package) for package in self.packages],
            }
        )

    def render(self, spec: ModelSpec, value: T) -> str:
        """Return the JSON text under which it is kept, with its provenance."""
        record = {
            "key": self.key(spec),
            "model": spec.name,
            **{package: _release(package) for package in self.packages},
            "value": to_data(value),
        }
        return canonical_json(record) + "\n"

    def shipped_name(self, spec: ModelSpec) -> str:
        """Return its file name in the package, for a registered model."""
        return f"{spec.name}.json"

    def shipped(self, spec: ModelSpec) -> Traversable:
        """Return where it lies in the package, if it ships."""
        return files("coinfer.presets").joinpath(self.folder, self.shipped_name(spec))

    def kept_file(self, spec: ModelSpec) -> Path:
        """Return where it is kept in the user's cache."""
        return cache_folder(self.folder) / f"{self.key(spec)}.json"

    def _read(self, place: Traversable | Path, key: str) -> T | None:
        """Return a kept one; a missing, stale or damaged file counts as none."""
        try:
            record: Any = json.loads(place.read_text(encoding="utf-8"))
            if record["key"] != key:
                return None
            return from_data(record["value"], self.cls)
        except (OSError, ValueError, LookupError, TypeError, CoinferError):
            return None


def _write(path: Path, text: str) -> None:
    """Write a file; a cache that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError:
        return


def _release(package: str) -> str | None:
    """Return a package's version without the build: 2.9.0+cpu reads as 2.9.0+cu128 does."""
    found = installed_version(package)
    return found and found.partition("+")[0]


@cache
def _source_hash(modules: tuple[str, ...]) -> str:
    return closure_hash(modules)
