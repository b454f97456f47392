"""The mini-language `name[option=value, ...]` by which methods, parts and presets are named.

`neurosurgeon[objective=energy]`, `3g[round_trip_s=0.05]`, `torchvision:resnet18[num_classes=10]`.
Values are JSON scalars where they parse as such (1e6, true, null, "x"), else plain words; a text
that holds one of `,[]"` is written as a JSON string.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from coinfer.errors import CoinferError

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_REF = re.compile(rf'(?P<name>[^\[\]=]+?)\s*(?:\[(?P<options>(?:[^\[\]"]|{_QUOTED})*)\])?')
_OPTION = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_LISTED = re.compile(rf'(?:[^,\[]|\[(?:[^\]"]|{_QUOTED})*\]?)+')
_BARE = re.compile(r"[^\s\[\]=](?:[^\[\]=]*[^\s\[\]=])?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What a text may be written as without quotes, if it does not read as another scalar.
_PLAIN = re.compile(r'[^\s,\[\]"](?:[^\n\r,\[\]"]*[^\s,\[\]"])?')

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Ref:
    """A name with options, in canonical order: refs are equal where their texts are."""

    name: str
    options: tuple[tuple[str, Scalar], ...] = ()

    def __post_init__(self) -> None:
        if not _BARE.fullmatch(self.name):
            raise CoinferError(f"'{self.name}' is not a name; it may not hold [ ] =")
        ordered = tuple(sorted(self.options, key=lambda option: option[0]))
        if len({key for key, _ in ordered}) != len(ordered):
            raise CoinferError(f"'{self.name}': an option is given twice")
        object.__setattr__(self, "options", ordered)

    def __eq__(self, other: object) -> bool:
        # By text, because Python takes 1, 1.0 and True for equal.
        return str(self) == str(other) if isinstance(other, Ref) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        if not self.options:
            return self.name
        inner = ",".join(f"{key}={_format(value)}" for key, value in self.options)
        return f"{self.name}[{inner}]"

    @property
    def arguments(self) -> dict[str, Any]:
        """The options as keyword arguments."""
        return dict(self.options)


@lru_cache(maxsize=4096)
def parse_ref(text: str) -> Ref:
    """Parse `name[option=value,...]`.

    Raises:
        CoinferError: when the text does not have that form.
    """
    match = _REF.fullmatch(text.strip())
    if match is None:
        raise CoinferError(f"'{text}' is not of the form name[option=value,...]")
    options: list[tuple[str, Scalar]] = []
    for item in filter(None, map(str.strip, _OPTION.findall(match["options"] or ""))):
        key, sign, value = item.partition("=")
        if not sign or not _NAME.fullmatch(key.strip()) or not value.strip():
            raise CoinferError(f"'{text}': '{item}' is not of the form option=value")
        options.append((key.strip(), _parse_value(value.strip())))
    return Ref(match["name"].strip(), tuple(options))


def split_refs(text: str) -> list[str]:
    """Split a comma-separated list of refs, leaving commas inside brackets alone."""
    return [part.strip() for part in _LISTED.findall(text) if part.strip()]


def _parse_value(text: str) -> Scalar:
    try:
        value = json.loads(text, parse_constant=_constant)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float | bool) or value is None else text


def _constant(text: str) -> float:
    """Read Infinity and -Infinity; NaN stays a word, since no NaN equals itself."""
    if text == "NaN":
        raise ValueError(text)
    return float(text)


def _format(value: Scalar) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and _parse_value(value) == value:
        return value
    return json.dumps(value)
