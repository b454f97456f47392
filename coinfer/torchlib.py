"""Importing torch and torchvision, with a clear line when they are missing or do not match.

Everything in coinfer that needs torchvision asks for it here. A torchvision that was built for
another torch fails in many ways on import (`operator torchvision::nms does not exist`, undefined
symbols); a user can act on one line that names the two versions.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from coinfer.errors import CoinferError
from coinfer.versions import installed_version

_COMPILER = "torch._dynamo.utils"
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
    with compiler_on_demand():
        module = _import("torchvision")
        _import("torchvision.models")
    return module


@contextmanager
def compiler_on_demand() -> Iterator[None]:
    """Keep torch's compiler out of torchvision's import, until it is needed.

    torchvision's detection operators import one function of it, which no classifier calls, and
    with it sympy and triton: all that takes longer than the rest of torch and torchvision.
    """
    if _COMPILER in sys.modules:
        yield
        return
    stand_in = _OnDemand(_COMPILER)
    sys.modules[_COMPILER] = stand_in
    try:
        yield
    finally:
        stand_in.withdraw()


class _OnDemand(ModuleType):
    """Stands for a module that is loaded when that one function is called, or any other named."""

    def is_compile_supported(self, *args: Any) -> Any:
        return self.__getattr__("is_compile_supported")(*args)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system asks every module
            raise AttributeError(name)
        self.withdraw()
        return getattr(importlib.import_module(self.__name__), name)

    def withdraw(self) -> None:
        """Make room for the module itself."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    # A mismatched pair raises RuntimeError, AttributeError or OSError, depending on the versions.
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        package = name.partition(".")[0]
        installed = installed_version(package)
        if installed is None:
            raise CoinferError(f"{package} is not installed; {_PAIR}") from error
        reason = " ".join(str(error).split())[:160]
        if package == "torch":
            raise CoinferError(f"torch {installed} cannot be loaded ({reason}); {_PAIR}") from error
        raise CoinferError(
            f"torchvision {installed} does not match torch {installed_version('torch')} "
            f"({reason}); {_PAIR}"
        ) from error
