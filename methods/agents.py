"""What trained agents found, kept between runs: minutes of training for a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coinfer.cachefolder import kept_json
from coinfer.versions import installed_version


def kept(key: Sequence[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what was made before from the same `key`, from the cache folder, or make it.

    Args:
        key: all that decides the result but torch's version, as JSON data.
        make: returns the result, as JSON data.
    """
    found: dict[str, Any] = kept_json("agents", [*key, installed_version("torch")], make)
    return found
