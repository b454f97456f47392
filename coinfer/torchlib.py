"""Importing torch and torchvision, with a clear line when they are missing or do not match.

Everything in coinfer that needs torchvision asks for it here. A torchvision that was built for
another torch fails in many ways on import (`operator torchvision::nms does not exist`, undefined
symbols); a user can act on one line that names the two versions.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from types import ModuleType

from coinfer.errors import CoinferError

_PAIR = "install the two together: python -m pip install --upgrade torch torchvision"


def import_torch() -> ModuleType:
    """Return the module `torch`.

    Raises:
        CoinferError: when it is missing or cannot be loaded.
    """
    return _import("torch")


def import_torchvision() -> ModuleType:
    """Return the module `torchvision`, its `models` loaded.

    Raises:
        CoinferError: when torch or torchvision is missing, or the two do not match.
    """
    _import("torch")
    module = _import("torchvision")
    _import("torchvision.models")
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    # A mismatched pair raises RuntimeError, AttributeError or OSError, depending on the versions.
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        package = name.partition(".")[0]
        installed = _version(package)
        if installed is None:
            raise CoinferError(f"{package} is not installed; {_PAIR}") from error
        reason = " ".join(str(error).split())[:160]
        if package == "torch":
            raise CoinferError(f"torch {installed} cannot be loaded ({reason}); {_PAIR}") from error
        raise CoinferError(
            f"torchvision {installed} does not match torch {_version('torch')} ({reason}); {_PAIR}"
        ) from error


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
