"""Decoded splits in the user's cache folder: written atomically, checked, then memory-mapped.

A split lies under the hash of its content, so two layouts of the same images share it; an index
file says which source gives which splits. What is opened is hashed first (0.1 s for CIFAR-10), so
a damaged file counts as none. CIFAR-10 takes 184 MB. `COINFER_CACHE` moves the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from coinfer.cachefolder import cache_folder, write_atomically
from coinfer.data.images import ImageSet, images_hash
from coinfer.serial import canonical_json


def keep(key: str, splits: Mapping[str, ImageSet]) -> None:
    """Write all splits of a source; a cache that cannot be written is no error."""
    folder = cache_folder("data")
    record = {
        "classes": list(splits["train"].classes),
        "hashes": {name: images.hash for name, images in splits.items()},
    }
    index = canonical_json(record) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for images in splits.values():
            write_atomically(folder / _images_file(images.hash), partial(_save, images.images))
            write_atomically(folder / _labels_file(images.hash), partial(_save, images.labels))
        # Last: an index that is there names files that are there.
        write_atomically(folder / f"{key}.json", index.encode())
    except OSError:
        return


def kept(key: str, names: Iterable[str]) -> dict[str, ImageSet] | None:
    """Return some splits of a source; None where any is missing or damaged."""
    folder = cache_folder("data")
    try:
        record: Any = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        classes = tuple(map(str, record["classes"]))
        return {name: _mapped(folder, record["hashes"][name], classes) for name in names}
    except Exception:  # whatever a damaged file raises, the answer is to decode again
        return None


def _mapped(folder: Path, expected: str, classes: tuple[str, ...]) -> ImageSet:
    images = np.load(folder / _images_file(expected), mmap_mode="r")
    labels = np.load(folder / _labels_file(expected))
    labels.setflags(write=False)
    found = images_hash(images, labels)
    if found != expected:
        raise ValueError(f"damaged: hash {found}")
    return ImageSet(images, labels, classes, found)


def _images_file(content: str) -> str:
    return f"{content}-images.npy"


def _labels_file(content: str) -> str:
    return f"{content}-labels.npy"


def _save(array: np.ndarray[Any, Any], file: IO[bytes]) -> None:
    np.save(file, array, allow_pickle=False)
