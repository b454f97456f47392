"""The user's cache folder: what can be made again lies there, written atomically."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO


def cache_folder(kind: str) -> Path:
    """Return the folder for one kind of content; `COINFER_CACHE` moves all of them."""
    chosen = os.environ.get("COINFER_CACHE")
    if chosen:
        return Path(chosen) / kind
    from platformdirs import user_cache_path

    return user_cache_path("coinfer") / kind


def write_atomically(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write a file so that readers see the old one, none, or the whole new one.

    Args:
        path: the file; its folder exists.
        content: its bytes, or what writes them into an open file.

    Raises:
        OSError: when it cannot be written; nothing is left behind then.
    """
    with NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
        part = Path(file.name)
        try:
            if callable(content):
                content(file.file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    try:
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
