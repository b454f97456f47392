"""Labelled images: CIFAR-10 as people have it, other image trees, and a small built-in set.

    splits = load_splits("path/to/cifar10")    # or "digits", or None: COINFER_DATA says where
    val = load("digits", "val")

Whatever the layout on disk, the same images give the same splits in the same order (see
`coinfer.data.split`). Images are decoded once into a cache folder and memory-mapped from there.
Batches as tensors, with augmentation, are in `coinfer.data.batches`; only that module needs torch.
"""

from coinfer.data.cifar10 import CLASSES as CIFAR10_CLASSES
from coinfer.data.images import SPLITS, ImageSet, Splits
from coinfer.data.layouts import ACCEPTED
from coinfer.data.store import fetch, load, load_splits

__all__ = [
    "ACCEPTED",
    "CIFAR10_CLASSES",
    "SPLITS",
    "ImageSet",
    "Splits",
    "fetch",
    "load",
    "load_splits",
]
