"""What trained agents found, kept between runs: minutes of training for a few numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from coinfer.cachefolder import cache_folder, write_atomically
from coinfer.serial import canonical_json, content_hash


def kept(key: Sequence[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what was made before from the same `key`, from the cache folder, or make it.

    Args:
        key: all that decides the result, as JSON data.
        make: returns the result, as JSON data.
    """
    place = cache_folder("agents") / f"{content_hash(key)}.json"
    # Missing, damaged or unreadable: whatever it is, searching makes it anew.
    with suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        return found
    made = make()
    with suppress(OSError):  # without a cache it is only slower
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, canonical_json(made).encode())
    return made
