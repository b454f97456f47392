"""Downloading CIFAR-10, only when asked, by torchvision's own downloader."""

from __future__ import annotations

import sys
import tarfile
import warnings
import zlib
from contextlib import redirect_stdout
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from coinfer.data.batch_files import Batches
from coinfer.data.layouts import ACCEPTED
from coinfer.errors import CoinferError
from coinfer.torchlib import import_torchvision


@dataclass(frozen=True)
class Archive:
    """A downloadable archive of batch files: address, file name, MD5 of the file."""

    url: str
    filename: str
    md5: str


def fetch(folder: Path, layout: Batches | None = None, archive: Archive | None = None) -> bool:
    """Make a folder hold CIFAR-10 in torchvision's layout.

    Nothing is unpickled that was not checked (torchvision's data set class would do so).

    Args:
        folder: where `cifar-10-batches-py` is to lie.
        layout: the files there should be; None takes CIFAR-10's.
        archive: what to download; None takes what torchvision publishes.

    Returns:
        Whether anything was downloaded; False when it is all there already.

    Raises:
        CoinferError: when the download fails, or what came is not CIFAR-10.
    """
    wanted = layout or Batches()
    if _complete(folder, wanted):
        return False
    import_torchvision()
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import download_and_extract_archive

    source = archive or Archive(CIFAR10.url, CIFAR10.filename, CIFAR10.tgz_md5)
    try:
        # Standard output is for results; the downloader's messages are none.
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # tar filters, from Python 3.12 on
            download_and_extract_archive(
                source.url, str(folder), filename=source.filename, md5=source.md5
            )
    except (OSError, RuntimeError, ValueError, HTTPException, tarfile.TarError, zlib.error) as why:
        reason = " ".join(str(why).split())[:160] or type(why).__name__
        raise CoinferError(
            f"cannot download {source.url} to '{folder}': {reason}; a copy from elsewhere does as "
            f"well: {ACCEPTED}"
        ) from why
    root = wanted.root(folder)
    if root is None:
        raise CoinferError(f"'{source.url}' holds no CIFAR-10 batches")
    wanted.read(root)
    return True


def _complete(folder: Path, layout: Batches) -> bool:
    root = layout.root(folder)
    if root is None:
        return False
    try:
        layout.read(root)
    except CoinferError:
        return False
    return True
