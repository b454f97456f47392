"""Finding a data set by name, folder or environment, and loading its splits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from coinfer.data.cache import keep, kept
from coinfer.data.cifar10 import SPLIT_HASHES
from coinfer.data.digits import NAME as DIGITS
from coinfer.data.digits import read_digits
from coinfer.data.images import SPLITS, ImageSet, Splits, check_split
from coinfer.data.layouts import ACCEPTED, LAYOUTS, Layout, find
from coinfer.data.split import RawData, split
from coinfer.errors import CoinferError
from coinfer.serial import content_hash
from coinfer.sources import closure_hash
from coinfer.versions import installed_version

VARIABLE = "COINFER_DATA"
_OTHER = "other"
_ELSE = f"or '{DIGITS}' (built in); `coinfer data fetch --data FOLDER` downloads CIFAR-10"
_DECODERS = ("coinfer.data.digits", "coinfer.data.layouts", "coinfer.data.split")


@dataclass(frozen=True)
class Source:
    """A data set that was found, not yet read.

    Attributes:
        name: `digits`, else `other`.
        layout: how it lies on disk.
        place: where; empty for the built-in set.
        key: hash of all that determines its splits: files, decoders, settings.
        read: decodes it.
    """

    name: str
    layout: str
    place: str
    key: str
    read: Callable[[], RawData]


def load_splits(data: str | Path | None = None, layouts: tuple[Layout, ...] = LAYOUTS) -> Splits:
    """Return train, validation and test of a data set.

    Args:
        data: `digits`, or a folder in one of the layouts; None takes the value of `COINFER_DATA`.
        layouts: the layouts to look for, in this order.

    Raises:
        CoinferError: when there is no such data set, or a file of it is missing or damaged.
    """
    source = locate(data, layouts)
    found = _load(source, SPLITS)
    hashes = {name: images.hash for name, images in found.items()}
    name = "cifar10" if hashes == SPLIT_HASHES else source.name
    return Splits.of(found["train"], found["val"], found["test"], name)


def load(data: str | Path | None, name: str, layouts: tuple[Layout, ...] = LAYOUTS) -> ImageSet:
    """Return one split of a data set: `train`, `val` or `test`.

    Raises:
        UnknownNameError: when there is no such split.
        CoinferError: as `load_splits`.
    """
    check_split(name)
    return _load(locate(data, layouts), (name,))[name]


def locate(data: str | Path | None = None, layouts: tuple[Layout, ...] = LAYOUTS) -> Source:
    """Find a data set, without reading it.

    Raises:
        CoinferError: when there is none, saying what is accepted.
    """
    chosen = data if data is not None else os.environ.get(VARIABLE)
    if not chosen:
        raise CoinferError(
            f"no data set is named: give --data or set {VARIABLE}; accepted: a folder with "
            f"{ACCEPTED}; {_ELSE}"
        )
    if str(chosen) == DIGITS:
        key = content_hash(["scikit-learn", installed_version("scikit-learn"), _decoder_hash()])
        return Source(DIGITS, "built-in", "", key, read_digits)
    try:
        layout, root = find(Path(chosen), layouts)
        files = [_stamp(file, root) for file in layout.files(root)]
    except OSError as error:
        raise CoinferError(f"cannot read '{chosen}': {error.strerror or error}") from error
    except CoinferError as error:
        raise CoinferError(f"{error}; {_ELSE}") from error
    place = str(root.resolve())
    key = content_hash([place, repr(layout), sorted(files), _decoder_hash()])
    return Source(_OTHER, layout.name, place, key, lambda: layout.read(root))


def _load(source: Source, names: Iterable[str]) -> dict[str, ImageSet]:
    """Return splits from the cache; where that has none, decode, keep, and map what was kept."""
    found = kept(source.key, names)
    if found is not None:
        return found
    try:
        splits = split(source.read())
    except OSError as error:
        raise CoinferError(f"cannot read '{source.place}': {error.strerror or error}") from error
    keep(source.key, splits)
    return kept(source.key, names) or {name: splits[name] for name in names}


def _stamp(file: Path, root: Path) -> list[str | int]:
    """Return what tells a file from its other versions: name, bytes, time of the last change."""
    name = file.relative_to(root).as_posix()
    try:
        status = file.stat()
    except FileNotFoundError:
        return [name, -1, -1]
    return [name, status.st_size, status.st_mtime_ns]


@cache
def _decoder_hash() -> str:
    return closure_hash(_DECODERS)
