"""Which image belongs to which split, and in which order: by content alone.

An image is known by the SHA-256 of its raw pixels (height x width x 3 unsigned bytes, row by row,
red, green and blue interleaved). Validation is, in each class, the tenth of the training images
whose digest is smallest (CIFAR-10: 500 of 5,000); the rest is for training; test stays test. Inside
a split, images are sorted by digest, then by label. So neither the layout on disk nor the order of
files changes a split or a batch, and the same image in two places is the same twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coinfer.data.images import ImageSet, frozen_set
from coinfer.errors import CoinferError

VAL_PERCENT = 10


@dataclass(frozen=True, eq=False)
class Part:
    """Decoded images in any order: pixels (N, H, W, 3) uint8, labels (N,) int64."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __getitem__(self, index: NDArray[np.intp]) -> Part:
        """Return the images at some positions."""
        return Part(self.pixels[index], self.labels[index])


@dataclass(frozen=True, eq=False)
class RawData:
    """What a layout holds: the training part, the test part, the names of the classes."""

    train: Part
    test: Part
    classes: tuple[str, ...]
    val_percent: int = VAL_PERCENT


def split(raw: RawData) -> dict[str, ImageSet]:
    """Divide a data set into train, validation and test, each in its canonical order.

    Raises:
        CoinferError: when a class has too few training images, or the parts differ in shape.
    """
    if raw.train.pixels.shape[1:] != raw.test.pixels.shape[1:]:
        raise CoinferError(
            f"training images are {_size(raw.train)}, test images {_size(raw.test)}; "
            "all must have one size"
        )
    order = canonical_order(raw.train)
    counts = np.bincount(raw.train.labels, minlength=len(raw.classes))
    for name, count in zip(raw.classes, counts.tolist(), strict=True):
        if count < 2:
            raise CoinferError(
                f"class '{name}' has {count} training images; train and val need one each"
            )
    chosen = first_of_each_class(raw.train.labels[order], raw.val_percent)
    parts = {
        "train": raw.train[order[~chosen]],
        "val": raw.train[order[chosen]],
        "test": raw.test[canonical_order(raw.test)],
    }
    return {
        name: frozen_set(_channels_first(part.pixels), part.labels, raw.classes)
        for name, part in parts.items()
    }


def canonical_order(part: Part) -> NDArray[np.intp]:
    """Return the positions of the images, sorted by digest, then by label."""
    digests = [hashlib.sha256(pixels).digest() for pixels in np.ascontiguousarray(part.pixels)]
    words = np.frombuffer(b"".join(digests), dtype=">u8").reshape(-1, 4).astype(np.uint64)
    return np.lexsort((part.labels, words[:, 3], words[:, 2], words[:, 1], words[:, 0]))


def first_of_each_class(labels: NDArray[np.int64], percent: int) -> NDArray[np.bool_]:
    """Mark the first `percent` percent of each class (rounded down, at least one image).

    Args:
        labels: (N,) class of each image, in canonical order.
        percent: share of each class, 1 to 99.
    """
    marks = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        marks[places[: max(1, len(places) * percent // 100)]] = True
    return marks


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _size(part: Part) -> str:
    return "x".join(map(str, part.pixels.shape[1:3]))
