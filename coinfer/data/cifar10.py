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

TRAIN_MD5: Mapping[str, str] = MappingProxyType(
    {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    }
)
"""Training files of the archive and the MD5 that torchvision publishes for each."""

TEST_MD5: Mapping[str, str] = MappingProxyType({"test_batch": "40351d587109b95175f43aff81a1287e"})
"""Test files of the archive and the MD5 that torchvision publishes for each."""

SPLIT_HASHES: Mapping[str, str] = MappingProxyType(
    {
        "train": "",
        "val": "",
        "test": "",
    }
)
"""`ImageSet.hash` of each split of the complete, lossless data set: 45,000, 5,000, 10,000 images."""
