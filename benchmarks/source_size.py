"""Measure how many bits one image of a data set takes as PNG: a shipped number with provenance.

Encoder: 8-bit RGB, zlib level 9, adaptive filters (Pillow's). The mean over the test set, the
container included, is what the `png` coder charges; 5th and 95th percentile and the bare IDAT
stream stand beside it.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coinfer.errors import CoinferError


def parquet_images(folder: Path, split: str = "test") -> Iterator[NDArray[np.uint8]]:
    """Yield the images of a split of a data set in the Hugging Face parquet layout.

    Args:
        folder: holds `<split>-*.parquet` with a struct column `img` whose `bytes` is an image.
        split: `test` or `train`.

    Yields:
        Pixels, (H, W, 3) uint8.

    Raises:
        CoinferError: when the folder holds no such file, or one that cannot be read.
    """
    import pyarrow.parquet as pq
    from PIL import Image

    shards = sorted(folder.glob(f"{split}-*.parquet"))
    if not shards:
        raise CoinferError(
            f"no {split}-*.parquet in '{folder}'; give a folder in the Hugging Face parquet layout"
        )
    for shard in shards:
        try:
            for batch in pq.ParquetFile(shard).iter_batches(batch_size=1000, columns=["img"]):
                for record in batch.column("img").to_pylist():
                    with Image.open(io.BytesIO(record["bytes"])) as image:
                        yield np.asarray(image.convert("RGB"), dtype=np.uint8)
        except (KeyError, OSError, TypeError, ValueError) as error:
            raise CoinferError(
                f"'{shard}' cannot be read ({' '.join(str(error).split())}); accepted is a parquet "
                "file whose column img has image files as bytes"
            ) from error


def png_sizes_bits(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """Encode one image as PNG.

    Args:
        pixels: (H, W, 3) uint8.

    Returns:
        Bits of the whole file, and of its compressed image data (IDAT) alone.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=9)
    data = buffer.getvalue()
    idat, position = 0, 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4])
        idat += length if data[position + 4 : position + 8] == b"IDAT" else 0
        position += length + 12
    return 8 * len(data), 8 * idat


def measure(folder: Path, name: str) -> dict[str, Any]:
    """Measure the PNG sizes of a test set.

    Returns:
        The record that is shipped: sizes in bits, and the provenance behind them.

    Raises:
        CoinferError: when there is no image, one cannot be read, or they differ in shape.
    """
    from PIL import features

    sizes, digests, shape = [], [], None
    for pixels in parquet_images(folder):
        if shape not in (None, pixels.shape):
            raise CoinferError(f"images differ in shape: {shape} and {pixels.shape}; one is needed")
        shape = pixels.shape
        sizes.append(png_sizes_bits(pixels))
        digests.append(hashlib.sha256(pixels.tobytes()).digest())
    if shape is None:
        raise CoinferError(f"no image in '{folder}'; at least one is needed")
    file_bits, idat_bits = np.array(sizes, dtype=np.int64).T
    return {
        "data": name,
        "shape": [shape[2], shape[0], shape[1]],
        "png_bits": {
            "mean": float(file_bits.mean()),
            "p5": float(np.percentile(file_bits, 5)),
            "p95": float(np.percentile(file_bits, 95)),
            "mean_without_container": float(idat_bits.mean()),
        },
        "provenance": {
            "command": "coinfer source-size --data FOLDER --name " + name,
            "encoder": "Pillow PNG, 8-bit RGB, zlib level 9, adaptive filters",
            "images": len(sizes),
            "split": "test",
            "data_sha256": hashlib.sha256(b"".join(sorted(digests))).hexdigest(),
            "pillow": version("pillow"),
            "zlib": features.version("zlib_ng") or features.version("zlib"),
            "python": platform.python_version(),
            "evidence": "measured",
        },
    }


def render(record: dict[str, Any]) -> str:
    """Return the JSON text that is shipped."""
    return json.dumps(record, indent=2, sort_keys=True) + "\n"
