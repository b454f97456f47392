"""What identifies CIFAR-10 (Krizhevsky 2009): its classes, its files, its images."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

ALIASES: Mapping[str, str] = MappingProxyType(
    {"plane": "airplane", "aeroplane": "airplane", "car": "automobile"}
)
"""Other names that image trees use for these classes."""

BATCHES_FOLDER = "cifar-10-batches-py"

TRAIN_MD5 = (
    ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
    ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
    ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
    ("data_batch_4", "634d18415352ddfa80567beed471001a"),
    ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
)
"""Training files of the archive and the MD5 that torchvision publishes for each."""

TEST_MD5 = (("test_batch", "40351d587109b95175f43aff81a1287e"),)
"""Test files of the archive and the MD5 that torchvision publishes for each."""

SPLIT_HASHES: Mapping[str, str] = MappingProxyType(
    {
        "train": "2ea38c85d8b0d89d36686a8868b149b0017925d643e004eebc7e70b5c4d3a99e",
        "val": "8791eaae90eeb65cb2116fe07ff61d7b8f7ea356b0e2b8a2e3d79d454522360f",
        "test": "b4c97a8ac93c82e8d033d037f8151a8edc12c5520b5fa55e6726784ea6db3a99",
    }
)
"""`ImageSet.hash` of each split of the complete, lossless data set (45,000, 5,000, 10,000)."""
