"""The user's cache folder: what can be made again lies there, written atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4


def cache_folder(kind: str) -> Path:
    """Return the folder for one kind of content; `COINFER_CACHE` moves all of them."""
    chosen = os.environ.get("COINFER_CACHE")
    if chosen:
        return Path(chosen) / kind
    from platformdirs import user_cache_path

    return user_cache_path("coinfer") / kind


def kept_json(kind: str, key: Any, make: Callable[[], Any]) -> Any:
    """Return what was made before from the same key, from the cache folder, or make it.

    Args:
        kind: of content, the folder's name.
        key: all that decides the result, as JSON data.
        make: returns the result, as JSON data.
    """
    from coinfer.serial import content_hash

    place = cache_folder(kind) / f"{content_hash(key)}.json"
    # Missing, damaged or unreadable: whatever it is, it is made anew.
    with suppress(OSError, ValueError):
        return json.loads(place.read_text(encoding="utf-8"))
    text = json.dumps(make(), separators=(",", ":"))
    with suppress(OSError):  # without a cache it is only slower
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, text.encode())
    return json.loads(text)


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
