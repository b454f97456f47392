"""Memory that the C library keeps from batch to batch, instead of giving it back at once.

By default glibc asks the system for every large tensor anew, and gives it back when it is freed:
every page of every feature map is mapped and zeroed once more for every batch. ResNet-50 spends a
third of an evaluation at 32x32 on that.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Options of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGE_BYTES, _MOST_BYTES = 1 << 30, 2**31 - 1
# What glibc itself comes to in a process that frees large blocks.
_USUAL_BYTES = 32 << 20
# Who sets one of these knows better.
_SET_BY_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


@contextmanager
def memory_kept(device: str) -> Iterator[None]:
    """Keep what is freed for the next batch of images; give it back to the system in the end.

    For passes forwards: where a large network is trained, whose tensors live for long and are of
    many sizes, the holes between them add up to more memory than the time is worth. Numbers do not
    depend on it. It does nothing without glibc (other systems than Linux, musl), or where the
    environment sets thresholds of malloc.

    Args:
        device: a torch device; only a CPU's memory is kept.
    """
    glibc = platform.libc_ver()[0] == "glibc"
    if device != "cpu" or not glibc or any(name in os.environ for name in _SET_BY_USER):
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    library.mallopt(_TRIM_THRESHOLD, _MOST_BYTES)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _USUAL_BYTES)
        library.mallopt(_TRIM_THRESHOLD, 2 * _USUAL_BYTES)
        library.malloc_trim(0)
