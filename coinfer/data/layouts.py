"""The layouts in which people keep their images, found by looking and read into memory.

Nothing here decides what belongs to validation: a layout gives a training and a test part, in
whatever order it has them (see `coinfer.data.split`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coinfer.data.batch_files import Batches
from coinfer.data.cifar10 import ALIASES, CLASSES
from coinfer.data.split import Part, RawData
from coinfer.errors import CoinferError

ACCEPTED = (
    "torchvision's cifar-10-batches-py, Hugging Face's train-*.parquet and test-*.parquet, or "
    "train/CLASS/*.png with test/CLASS/*.png"
)


class Layout(Protocol):
    """One way to keep a data set in a folder."""

    @property
    def name(self) -> str:
        """A word for it."""

    def root(self, folder: Path) -> Path | None:
        """Return the folder in which the data lies, at or below `folder`; None where it is not."""

    def files(self, root: Path) -> Iterable[Path]:
        """Return every file that determines the data."""

    def read(self, root: Path) -> RawData:
        """Decode the data; CoinferError, with the file, when something is missing or damaged."""


@dataclass(frozen=True)
class Parquet:
    """Hugging Face's parquet files: a struct `img` whose `bytes` is a PNG, and a `label`."""

    name: str = "parquet"
    folders: tuple[str, ...] = (".", "plain_text", "data")

    def root(self, folder: Path) -> Path | None:
        """Return the first of the usual folders with a parquet file of training images."""
        found = (folder / name for name in self.folders)
        return next((place for place in found if any(place.glob("train-*.parquet"))), None)

    def files(self, root: Path) -> list[Path]:
        """Return the parquet files of both parts."""
        return [*_shards(root, "train"), *_shards(root, "test")]

    def read(self, root: Path) -> RawData:
        """Decode all images.

        Raises:
            CoinferError: naming the file that is missing, damaged or has other columns.
        """
        return RawData(self._part(root, "train"), self._part(root, "test"), CLASSES)

    def _part(self, root: Path, part: str) -> Part:
        labels: list[int] = []

        def pixels() -> Iterator[NDArray[np.uint8]]:
            for shard in _shards(root, part):
                for row, (data, label) in enumerate(_records(shard)):
                    labels.append(label)
                    yield _decode(io.BytesIO(data), f"row {row} of '{shard}'")

        images = _stack(pixels(), f"{part}-*.parquet in '{root}'")
        return Part(images, np.array(labels, dtype=np.int64))


@dataclass(frozen=True)
class Folders:
    """A tree of PNG files: `train/CLASS/*.png` and `test/CLASS/*.png`.

    Classes are numbered as CIFAR-10 does when the folders have its names (`plane` and `car` are
    understood), by value when all are numbers, else by name.
    """

    name: str = "folders"

    def root(self, folder: Path) -> Path | None:
        """Return the folder itself when it has a `train` folder with folders in it."""
        train = folder / "train"
        return folder if train.is_dir() and _class_folders(train) else None

    def files(self, root: Path) -> list[Path]:
        """Return every image of both parts."""
        parts = (root / "train", root / "test")
        return [
            image
            for part in parts
            if part.is_dir()
            for place in _class_folders(part)
            for image in _images(place)
        ]

    def read(self, root: Path) -> RawData:
        """Decode all images.

        Raises:
            CoinferError: naming the folder that is missing or the image that is damaged.
        """
        folders = {place.name: place for place in _class_folders(root / "train")}
        test = root / "test"
        found = {place.name for place in _class_folders(test)} if test.is_dir() else set()
        if found != set(folders):
            odd = ", ".join(sorted(found ^ set(folders))[:5])
            raise CoinferError(
                f"'{root}': train and test must have the same class folders; in one only: {odd}"
            )
        ordered, classes = class_order(folders)
        return RawData(
            self._part(root / "train", ordered), self._part(root / "test", ordered), classes
        )

    def _part(self, part: Path, names: tuple[str, ...]) -> Part:
        labels: list[int] = []

        def pixels() -> Iterator[NDArray[np.uint8]]:
            for label, name in enumerate(names):
                for image in _images(part / name):
                    labels.append(label)
                    yield _decode(image, f"'{image}'")

        images = _stack(pixels(), f"*.png in the class folders of '{part}'")
        return Part(images, np.array(labels, dtype=np.int64))


LAYOUTS: tuple[Layout, ...] = (Batches(), Parquet(), Folders())


def find(folder: Path, layouts: tuple[Layout, ...] = LAYOUTS) -> tuple[Layout, Path]:
    """Return the first layout that a folder has, and where in it the data lies.

    Raises:
        CoinferError: when there is no such folder, or none of the layouts in it.
    """
    if not folder.is_dir():
        raise CoinferError(f"no folder '{folder}'; accepted: a folder with {ACCEPTED}")
    for layout in layouts:
        root = layout.root(folder)
        if root is not None:
            return layout, root
    raise CoinferError(f"no data set in '{folder}'; accepted: {ACCEPTED}")


def class_order(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the folder names in the order of their labels, and the names of the classes."""
    folders = sorted(names)
    known = {ALIASES.get(name.lower(), name.lower()): name for name in folders}
    if len(folders) == len(CLASSES) and set(known) == set(CLASSES):
        return tuple(known[name] for name in CLASSES), CLASSES
    if all(name.isdecimal() for name in folders):
        folders.sort(key=int)
    return tuple(folders), tuple(folders)


def _shards(root: Path, part: str) -> list[Path]:
    """Return the parquet files of a part, having made sure that none is missing."""
    shards = sorted(root.glob(f"{part}-*.parquet"))
    if not shards:
        raise CoinferError(f"no {part}-*.parquet in '{root}'; accepted: {ACCEPTED}")
    numbered = [re.search(r"-(\d+)-of-(\d+)\.parquet$", shard.name) for shard in shards]
    counts = {(int(match[1]), int(match[2])) for match in numbered if match}
    totals = {total for _, total in counts}
    if len(totals) > 1:
        raise CoinferError(f"'{root}' mixes {part} files of {len(totals)} data sets; keep one")
    for total in totals:
        lacking = sorted(set(range(total)) - {number for number, _ in counts})
        if lacking:
            raise CoinferError(
                f"'{root}' lacks {part}-{lacking[0]:05}-of-{total:05}.parquet: {len(counts)} of "
                f"{total} files are there"
            )
    return shards


def _records(shard: Path) -> Iterator[tuple[bytes, int]]:
    """Yield the encoded image and the label of each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    accepted = "accepted: columns img (struct with bytes) and label (0 to 9)"
    try:
        with pq.ParquetFile(shard) as file:
            schema = file.schema_arrow
            if not {"img", "label"} <= set(schema.names):
                raise CoinferError(f"'{shard}' has columns {', '.join(schema.names)}; {accepted}")
            for batch in file.iter_batches(batch_size=1000, columns=["img", "label"]):
                for record in batch.to_pylist():
                    yield _checked_record(record, shard, accepted)
    except (pa.ArrowException, OSError) as error:
        raise CoinferError(f"'{shard}' cannot be read as parquet: {_line(error)}") from error


def _checked_record(record: dict[str, Any], shard: Path, accepted: str) -> tuple[bytes, int]:
    image, label = record["img"], record["label"]
    data = image.get("bytes") if isinstance(image, dict) else None
    if not isinstance(data, bytes):
        raise CoinferError(f"'{shard}': img holds no bytes; {accepted}")
    if not isinstance(label, int) or not 0 <= label < len(CLASSES):
        raise CoinferError(f"'{shard}': label {label!r}; {accepted}")
    return data, label


def _class_folders(part: Path) -> list[Path]:
    return sorted(p for p in part.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() == ".png" and not p.name.startswith(".")
    )


def _decode(source: Path | IO[bytes], what: str) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) of an encoded image."""
    from PIL import Image

    try:
        with Image.open(source) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    # Pillow raises several kinds for damaged files, SyntaxError among them.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CoinferError(f"{what} is no readable image: {_line(error)}") from error


def _stack(pixels: Iterator[NDArray[np.uint8]], what: str) -> NDArray[np.uint8]:
    """Return images of one size as one array (N, H, W, 3)."""
    images: list[NDArray[np.uint8]] = []
    for image in pixels:
        if images and image.shape != images[0].shape:
            sizes = " and ".join("x".join(map(str, i.shape[:2])) for i in (images[0], image))
            raise CoinferError(f"images differ in size: {sizes} among {what}; one is needed")
        images.append(image)
    if not images:
        raise CoinferError(f"no images: there are no {what}")
    return np.stack(images)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
