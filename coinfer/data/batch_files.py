"""torchvision's `cifar-10-batches-py`: pickles, so read with care (design ruling 19).

A file is unpickled only when its MD5 is the published one, from the very bytes that were checked,
and by an unpickler that can rebuild NumPy arrays and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coinfer.data.cifar10 import BATCHES_FOLDER, CLASSES, TEST_MD5, TRAIN_MD5
from coinfer.data.split import Part, RawData
from coinfer.errors import CoinferError

_SIDE = 32
_AGAIN = "get it again: `coinfer data fetch --data FOLDER`"


@dataclass(frozen=True)
class Batches:
    """The Python pickles of CIFAR-10, as torchvision downloads them.

    Attributes:
        name: a word for this layout.
        train_md5: training files and the MD5 of each.
        test_md5: test files and the MD5 of each.
    """

    name: str = "batches"
    train_md5: tuple[tuple[str, str], ...] = TRAIN_MD5
    test_md5: tuple[tuple[str, str], ...] = TEST_MD5

    def root(self, folder: Path) -> Path | None:
        """Return the folder, or the one below it, that holds any of the files."""
        for place in (folder / BATCHES_FOLDER, folder):
            if any(path.is_file() for path in self.files(place)):
                return place
        return None

    def files(self, root: Path) -> list[Path]:
        """Return the batch files that there should be."""
        return [root / name for name, _ in (*self.train_md5, *self.test_md5)]

    def read(self, root: Path) -> RawData:
        """Check and read all batches.

        Raises:
            CoinferError: naming the file that is missing, altered or holds something else.
        """
        train, test = (
            _joined([read_batch(root / name, md5) for name, md5 in md5s])
            for md5s in (self.train_md5, self.test_md5)
        )
        return RawData(train, test, CLASSES)


def read_batch(path: Path, md5: str) -> Part:
    """Return the images of one batch file.

    Args:
        path: the pickle.
        md5: the published MD5 (hex) of its bytes.

    Raises:
        CoinferError: when the file is missing, altered or not a batch of images.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CoinferError(f"cannot read '{path}': {error.strerror}; {_AGAIN}") from error
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise CoinferError(
            f"'{path}' is not torchvision's file: MD5 {found}, published {md5}; {_AGAIN}"
        )
    return _part(restricted_loads(data, path), path)


def restricted_loads(data: bytes, path: Path) -> Any:
    """Unpickle bytes that may hold NumPy arrays and plain containers, and nothing else.

    Raises:
        CoinferError: when they name anything else, or are no pickle.
    """
    try:
        return _ArraysOnly(io.BytesIO(data), encoding="latin1").load()
    except CoinferError:
        raise
    except Exception as error:  # damaged pickles raise nearly anything
        reason = " ".join(str(error).split())[:160]
        raise CoinferError(
            f"'{path}' is refused: it is no pickle of NumPy arrays ({reason})"
        ) from error


class _ArraysOnly(pickle.Unpickler):
    """An unpickler to which only the three names that arrays are rebuilt from mean something."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            # The batches were written by an old NumPy; newer ones renamed the module.
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct(),
            ("numpy._core.multiarray", "_reconstruct"): _reconstruct(),
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return allowed[module, name]


def _reconstruct() -> Any:
    """Return the function that NumPy's own arrays name to be rebuilt with."""
    return np.empty(0).__reduce__()[0]


def _part(batch: Any, path: Path) -> Part:
    pixels = batch.get("data") if isinstance(batch, dict) else None
    labels = batch.get("labels") if isinstance(batch, dict) else None
    width = 3 * _SIDE * _SIDE
    if not (
        isinstance(pixels, np.ndarray)
        and pixels.dtype == np.uint8
        and pixels.ndim == 2
        and pixels.shape[1] == width
        and isinstance(labels, list)
        and len(labels) == len(pixels)
        and all(type(label) is int and 0 <= label < len(CLASSES) for label in labels)
    ):
        raise CoinferError(
            f"'{path}' is no batch of CIFAR-10; accepted: data (N x {width} bytes) and N labels "
            "from 0 to 9"
        )
    planes = pixels.reshape(-1, 3, _SIDE, _SIDE)
    return Part(planes.transpose(0, 2, 3, 1), np.array(labels, dtype=np.int64))


def _joined(parts: list[Part]) -> Part:
    return Part(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )
