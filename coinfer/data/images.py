"""The objects that hold images: one split, and the three splits of a data set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coinfer.errors import CoinferError, UnknownNameError
from coinfer.serial import content_hash

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in their canonical order; the arrays are read-only.

    Attributes:
        images: (N, C, H, W) uint8, memory-mapped where a cache folder can be written.
        labels: (N,) int64, indices into `classes`.
        classes: name of each class.
        hash: SHA-256 over labels and pixels, see `images_hash`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    hash: str

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def class_counts(self) -> tuple[int, ...]:
        """The number of images of each class."""
        return tuple(np.bincount(self.labels, minlength=len(self.classes)).tolist())

    def first(self, count: int) -> ImageSet:
        """Return the first `count` images: a fixed subset for short recipes.

        The canonical order is that of a hash, so it mixes the classes and depends on no layout.

        Raises:
            CoinferError: when there are fewer images.
        """
        if not 1 <= count <= len(self):
            raise CoinferError(f"{count} images asked for; accepted: 1 to {len(self)}")
        images, labels = self.images[:count], self.labels[:count]
        return ImageSet(images, labels, self.classes, images_hash(images, labels))


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set: images to train on, to choose by, and to test final plans with.

    Attributes:
        train: what networks are trained on.
        val: what every search and every choice reads.
        held_out: the test set, or None where it is out of reach; read it as `test`.
        hash: content hash of all three splits; it stays when the test set goes.
        name: `cifar10` for exactly its images, `digits`, else `other`.
    """

    train: ImageSet
    val: ImageSet
    held_out: ImageSet | None
    hash: str
    name: str

    @classmethod
    def of(cls, train: ImageSet, val: ImageSet, test: ImageSet, name: str = "other") -> Splits:
        """Return a data set of three splits, with its content hash."""
        together = content_hash({"train": train.hash, "val": val.hash, "test": test.hash})
        return cls(train, val, test, together, name)

    @property
    def test(self) -> ImageSet:
        """The test set, read once per final plan.

        Raises:
            CoinferError: when this object was made for searching.
        """
        if self.held_out is None:
            raise CoinferError(
                "the test set is out of reach here; search and selection see train and val only"
            )
        return self.held_out

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one image."""
        return self.train.shape

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class."""
        return self.train.classes

    def split(self, name: str) -> ImageSet:
        """Return the split called `train`, `val` or `test`.

        Raises:
            UnknownNameError: for another name.
            CoinferError: for `test`, when this object was made for searching.
        """
        check_split(name)
        if name == "test":
            return self.test
        return self.train if name == "train" else self.val

    def without_test(self) -> Splits:
        """Return the same data with the test set out of reach, for searching and choosing."""
        return replace(self, held_out=None)


def check_split(name: str) -> None:
    """Raise UnknownNameError unless `name` is that of a split."""
    if name not in SPLITS:
        raise UnknownNameError("split", name, SPLITS)


def images_hash(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """Return the SHA-256 (hex) of the shape, the labels (64 bit, little-endian) and the pixels.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
    """
    digest = hashlib.sha256("x".join(map(str, images.shape)).encode() + b"\n")
    digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def frozen_set(
    images: NDArray[np.uint8], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> ImageSet:
    """Return an image set of arrays that are made read-only."""
    for array in (images, labels):
        array.setflags(write=False)
    return ImageSet(images, labels, classes, images_hash(images, labels))
