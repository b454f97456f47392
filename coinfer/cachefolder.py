"""The user's cache folder: what can be made again lies there, written atomically."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO
from uuid import uuid4


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
    # Opened like any new file, so that it has the rights that the user's other files have.
    part = path.with_name(f".part-{uuid4().hex}")
    try:
        with part.open("xb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
