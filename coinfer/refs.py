"""The mini-language `name[option=value, ...]` by which methods, parts and presets are named.

`neurosurgeon[objective=energy]`, `3g[round_trip_s=0.05]`, `torchvision:resnet18[num_classes=10]`.
Values are JSON scalars where they parse as such (1e6, true, null, "x"), else plain words.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from coinfer.errors import CoinferError

_REF = re.compile(r"^(?P<name>[^\[\]=]+?)\s*(?:\[(?P<options>[^\[\]]*)\])?$")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Ref:
    """A name with options, in canonical order: equal refs have equal text."""

    name: str
    options: tuple[tuple[str, Scalar], ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.options))
        if len({key for key, _ in ordered}) != len(ordered):
            raise CoinferError(f"'{self.name}': an option is given twice")
        object.__setattr__(self, "options", ordered)

    def __str__(self) -> str:
        if not self.options:
            return self.name
        inner = ",".join(f"{key}={_format(value)}" for key, value in self.options)
        return f"{self.name}[{inner}]"

    @property
    def arguments(self) -> dict[str, Any]:
        """The options as keyword arguments."""
        return dict(self.options)


def parse_ref(text: str) -> Ref:
    """Parse `name[option=value,...]`.

    Raises:
        CoinferError: when the text does not have that form.
    """
    match = _REF.match(text.strip())
    if match is None:
        raise CoinferError(f"'{text}' is not of the form name[option=value,...]")
    options: list[tuple[str, Scalar]] = []
    for item in filter(None, (part.strip() for part in (match["options"] or "").split(","))):
        key, sign, value = item.partition("=")
        if not sign or not _NAME.match(key.strip()) or not value.strip():
            raise CoinferError(f"'{text}': '{item}' is not of the form option=value")
        options.append((key.strip(), _parse_value(value.strip())))
    return Ref(match["name"].strip(), tuple(options))


def split_refs(text: str) -> list[str]:
    """Split a comma-separated list of refs, leaving commas inside brackets alone."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def _parse_value(text: str) -> Scalar:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, str | int | float | bool) or value is None else text


def _format(value: Scalar) -> str:
    if isinstance(value, str):
        return json.dumps(value) if _parse_value(value) != value else value
    return json.dumps(value)
