"""Keeping stdout for answers: what plug-ins and libraries print goes to stderr."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

_STDOUT, _STDERR = 1, 2


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to stderr whatever the block writes to stdout: Python, C libraries, subprocesses."""
    if sys.stdout is not None:
        sys.stdout.flush()
    _flush_descriptor()
    with redirect_stdout(sys.stderr), _descriptor_redirected():
        yield


@contextmanager
def _descriptor_redirected() -> Iterator[None]:
    """Point file descriptor 1 at stderr, or at nothing where stderr is closed."""
    if not _is_open(_STDOUT):  # nothing can land there
        yield
        return
    stderr_closed = not _is_open(_STDERR)
    if stderr_closed:  # else the copy below would become stderr
        _open_nowhere(_STDERR)
    saved = os.dup(_STDOUT)
    try:
        os.dup2(_STDERR, _STDOUT)
        yield
    finally:
        _flush_descriptor()  # what is still in a buffer was written inside the block
        os.dup2(saved, _STDOUT)
        os.close(saved)
        if stderr_closed:
            os.close(_STDERR)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _open_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _flush_descriptor() -> None:
    """Write out what Python and C hold back for file descriptor 1."""
    if sys.__stdout__ is not None:
        sys.__stdout__.flush()
    with suppress(OSError, TypeError, AttributeError):  # no C library by that way
        ctypes.CDLL(None).fflush(None)
