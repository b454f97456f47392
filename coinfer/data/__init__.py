"""Labelled images: CIFAR-10 as people have it, other image trees, and a small built-in set.

    splits = load_splits("path/to/cifar10")    # or "digits", or None: COINFER_DATA says where
    val = load("digits", "val")

Whatever the layout on disk, the same images give the same splits in the same order (see
`coinfer.data.split`). Images are decoded once into a cache folder and memory-mapped from there.
Batches as tensors, with augmentation, are in `coinfer.data.batches`, downloading is in
`coinfer.data.download`; only these two need torch.
"""

from coinfer.data.images import SPLITS, ImageSet, Splits
from coinfer.data.store import load, load_splits, locate

__all__ = ["SPLITS", "ImageSet", "Splits", "load", "load_splits", "locate"]
