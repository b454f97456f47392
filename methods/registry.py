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

from coinfer.errors import CoinferError, UnknownNameError
from coinfer.method import Method, MethodCard
from coinfer.parts import Parts, installed_parts
from coinfer.plugins import METHOD_GROUP, Broken, classes_defined_in, load_entry_points, load_file
from coinfer.refs import Ref, parse_ref
from methods.all_local import AllLocal
from methods.all_server import AllServer
from methods.exhaustive import Exhaustive
from methods.neurosurgeon import Neurosurgeon

BUILT_IN: tuple[type[Method], ...] = (AllLocal, AllServer, Neurosurgeon, Exhaustive)


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
            CoinferError: for an unknown name, an unknown option, or a value it refuses.
        """
        parsed = parse_ref(ref) if isinstance(ref, str) else ref
        cls = self.classes.get(parsed.name)
        if cls is None:
            raise UnknownNameError("method", parsed.name, self.classes)
        types = {f.name: f.type for f in dataclasses.fields(cls)}
        arguments = parsed.arguments
        for name, value in arguments.items():
            if name not in types:
                raise UnknownNameError(f"option of method '{parsed.name}'", name, types)
            if types[name] in (float, "float") and type(value) is int:
                arguments[name] = float(value)  # 2 and 2.0 are one option, and so one key
        try:
            return cls(**arguments)
        except CoinferError:
            raise
        except Exception as error:  # a stranger's constructor may raise anything
            text = " ".join(str(error).split())
            raise CoinferError(f"method '{parsed}': {type(error).__name__}: {text}") from None

    def card(self, name: str) -> MethodCard:
        """Return the card of the method called `name`.

        Raises:
            UnknownNameError: with the nearest names.
        """
        cls = self.classes.get(parse_ref(name).name)
        if cls is None:
            raise UnknownNameError("method", name, self.classes)
        return cls.card

    def with_file(self, path: Path) -> Methods:
        """Return these methods and those (and the parts) that a file defines.

        Raises:
            CoinferError: when the file does not load, defines no method, or takes a known name.
        """
        module = load_file(path)
        classes = dict(self.classes)
        origins = dict(self.origins)
        found = [cls for cls in classes_defined_in(module) if is_adapter(cls)]
        if not found:
            raise CoinferError(
                f"'{path}' defines no method; give a file with a subclass of coinfer.method.Method"
            )
        for cls in found:
            _add(classes, origins, cls, f"file {path.name}")
        parts = self.parts.with_classes(classes_defined_in(module))
        return Methods(classes, origins, parts, self.broken)


def is_adapter(value: object) -> bool:
    """Whether a value is a concrete adapter class with a card."""
    return (
        isinstance(value, type)
        and issubclass(value, Method)
        and not inspect.isabstract(value)
        and isinstance(getattr(value, "card", None), MethodCard)
    )


@cache
def installed_methods() -> Methods:
    """Return the built-in methods and those of installed packages."""
    classes: dict[str, type[Method]] = {}
    origins: dict[str, str] = {}
    for cls in BUILT_IN:
        _add(classes, origins, cls, "built-in")
    found, broken = load_entry_points(METHOD_GROUP)
    for plugin in found:
        if not is_adapter(plugin.value):
            reason = "not a concrete subclass of coinfer.method.Method with a card"
            broken.append(Broken(plugin.name, plugin.origin, reason))
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
