"""Finding methods: built-ins, entry points in `coinfer.methods`, and files given by the user.

All three are equals. A plug-in that does not load is reported and harms no other.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType

from coinfer.errors import CoinferError, UnknownNameError
from coinfer.method import Method, MethodCard
from coinfer.parts import Parts, installed_parts, unknown_or_broken
from coinfer.plugins import METHOD_GROUP, Broken, classes_defined_in, load_entry_points, load_file
from coinfer.refs import Ref, Scalar, parse_ref
from methods.all_local import AllLocal
from methods.all_server import AllServer
from methods.bottlenet import BottleNet
from methods.cia import Cia
from methods.cpcdrl import Cpcdrl
from methods.exhaustive import Exhaustive
from methods.fpgm import Fpgm
from methods.neurosurgeon import Neurosurgeon
from methods.prune_partition import PrunePartition
from methods.qho import Qho
from methods.two_step_pruning import TwoStepPruning

BUILT_IN: tuple[type[Method], ...] = (
    AllLocal,
    AllServer,
    Neurosurgeon,
    PrunePartition,
    TwoStepPruning,
    Fpgm,
    BottleNet,
    Cia,
    Qho,
    Cpcdrl,
    Exhaustive,
)

# What an option whose field has such a type may be.
_ALLOWED = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text, in quotes if it reads as a number",
}


@dataclass(frozen=True)
class Methods:
    """The methods and parts known to a run.

    Attributes:
        classes: adapter class by method name.
        origins: where each was found.
        parts: the parts known, those of method files included.
        broken: plug-ins that failed to load.
    """

    classes: Mapping[str, type[Method]]
    origins: Mapping[str, str]
    parts: Parts
    broken: tuple[Broken, ...] = field(default=())

    def make(self, ref: str | Ref) -> Method:
        """Return the method named by `name[option=value]`.

        Raises:
            CoinferError: for an unknown name, a plug-in that does not load, an unknown option, or
                a value of another type or that the method refuses.
        """
        parsed = parse_ref(ref) if isinstance(ref, str) else ref
        cls = self._class(parsed.name)
        types = {f.name: f.type for f in dataclasses.fields(cls)}
        arguments = {}
        for name, value in parsed.options:
            if name not in types:
                raise UnknownNameError(f"option of method '{parsed.name}'", name, types)
            arguments[name] = _of_type(f"method '{parsed.name}': {name}", value, types[name])
        try:
            return cls(**arguments)
        except CoinferError:
            raise
        except (Exception, SystemExit) as error:  # a stranger's constructor may raise anything
            text = " ".join(str(error).split())
            raise CoinferError(f"method '{parsed}': {type(error).__name__}: {text}") from None

    def card(self, name: str) -> MethodCard:
        """Return the card of the method called `name`.

        Raises:
            CoinferError: as `make`.
        """
        return self._class(parse_ref(name).name).card

    def with_file(self, path: Path) -> Methods:
        """Return these methods and those (and the parts) that a file defines.

        Raises:
            CoinferError: when the file does not load, defines no method, or takes a known name.
        """
        module = load_file(path)
        classes = dict(self.classes)
        origins = dict(self.origins)
        for cls in _adapters_in(module, path):
            _add(classes, origins, cls, f"file {path.name}")
        try:
            parts = self.parts.with_classes(classes_defined_in(module))
        except CoinferError as error:
            raise CoinferError(f"'{path}': {error}") from None
        return Methods(classes, origins, parts, self.broken)

    def _class(self, name: str) -> type[Method]:
        cls = self.classes.get(name)
        if cls is None:
            raise unknown_or_broken("method", name, self.classes, self.broken)
        return cls


def fault_of(value: object) -> str:
    """Why a value is no adapter that can be used; '' when it is one."""
    if not isinstance(value, type) or not issubclass(value, Method):
        return "not a subclass of coinfer.method.Method"
    if inspect.isabstract(value):
        return f"class {value.__name__} defines no method 'select'"
    card = getattr(value, "card", None)
    if card is None:
        return f"class {value.__name__} has no card; give it `card = MethodCard(name=..., ...)`"
    if not isinstance(card, MethodCard):
        return (
            f"the card of class {value.__name__} is a {type(card).__name__}; accepted is a "
            "coinfer.method.MethodCard"
        )
    return ""


def _adapters_in(module: ModuleType, path: Path) -> list[type[Method]]:
    """Return the adapters of a file; bases that its other classes complete are none.

    Raises:
        CoinferError: when there is none, or one is not complete.
    """
    candidates = [cls for cls in classes_defined_in(module) if issubclass(cls, Method)]
    found = [cls for cls in candidates if not fault_of(cls)]
    for cls in candidates:
        if cls not in found and not any(issubclass(other, cls) for other in found):
            raise CoinferError(f"'{path}': {fault_of(cls)}")
    if not found:
        raise CoinferError(
            f"'{path}' defines no method; give a file with a subclass of coinfer.method.Method"
        )
    return found


def _of_type(what: str, value: Scalar, kind: object) -> Scalar:
    """Return an option's value as the type of its field, where that is a simple one.

    Raises:
        CoinferError: when it is of another type.
    """
    name = kind.__name__ if isinstance(kind, type) else str(kind)
    if name == "float" and type(value) is int:
        return float(value)  # 2 and 2.0 are one option, and so one key
    if name in _ALLOWED and type(value).__name__ != name:
        raise CoinferError(f"{what} is {value!r}; allowed is {_ALLOWED[name]}")
    return value


@cache
def installed_methods() -> Methods:
    """Return the built-in methods and those of installed packages."""
    classes: dict[str, type[Method]] = {}
    origins: dict[str, str] = {}
    for cls in BUILT_IN:
        _add(classes, origins, cls, "built-in")
    found, broken = load_entry_points(METHOD_GROUP)
    for plugin in found:
        fault = fault_of(plugin.value)
        if fault:
            broken.append(Broken(plugin.name, plugin.origin, fault))
            continue
        try:
            _add(classes, origins, plugin.value, plugin.origin)  # type: ignore[arg-type]
        except CoinferError as error:
            broken.append(Broken(plugin.name, plugin.origin, str(error)))
    parts = installed_parts()
    return Methods(classes, origins, parts, (*broken, *parts.broken))


def find_methods(files: tuple[str, ...] = ()) -> Methods:
    """Return every method known, those of the given files included."""
    methods = installed_methods()
    for file in files:
        methods = methods.with_file(Path(file))
    return methods


def _add(
    classes: dict[str, type[Method]], origins: dict[str, str], cls: type[Method], origin: str
) -> None:
    name = cls.card.name
    taken = classes.setdefault(name, cls)
    if taken is not cls:
        raise CoinferError(f"method '{name}' of {origin} is already defined by {origins[name]}")
    origins.setdefault(name, origin)
