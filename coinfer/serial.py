"""One way to turn domain objects into JSON and back, and to hash them.

Canonical JSON (sorted keys, no spaces, `repr` floats, no NaN) is the only input of a content
hash, so a hash depends neither on field order nor on PYTHONHASHSEED nor on the platform.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from coinfer.errors import CoinferError

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")


@cache
def _converter() -> Converter:
    from cattrs import Converter

    converter = Converter(forbid_extra_keys=True, prefer_attrib_converters=False)
    # cattrs would turn 2.5 into 2 and 5 into "5" without a word; we refuse instead.
    converter.register_structure_hook(str, lambda value, _: _text(value))
    converter.register_structure_hook(int, lambda value, _: _whole(value))
    converter.register_structure_hook(float, lambda value, _: _number(value))
    converter.register_structure_hook(bool, lambda value, _: _flag(value))
    # 10 and 10.0 in a field of type float are one value, so they are one text and one hash.
    converter.register_unstructure_hook(float, float)
    return converter


def to_data(value: Any) -> Any:
    """Return `value` (a dataclass, or containers of them) as plain JSON data."""
    return _converter().unstructure(value)


def from_data(data: Any, cls: type[T]) -> T:
    """Build a `cls` from plain JSON data, refusing unknown and missing fields.

    Raises:
        CoinferError: naming the field, its value and what is allowed.
    """
    from cattrs import transform_error
    from cattrs.errors import BaseValidationError

    if is_dataclass(cls) and not isinstance(data, Mapping):
        raise CoinferError(f"not a valid {cls.__name__}: {data!r} is not a table of fields")
    try:
        return _converter().structure(data, cls)
    except BaseValidationError as error:
        where = "; ".join(transform_error(error, cls.__name__, _explain))
        raise CoinferError(f"not a valid {cls.__name__}: {where}") from None


def canonical_json(data: Any) -> str:
    """Return the canonical JSON text of plain data; infinities and NaN become strings."""
    try:
        return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(data), sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_hash(data: Any) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of plain data."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def _finite(data: Any) -> Any:
    if isinstance(data, float) and (data != data or data in (float("inf"), float("-inf"))):
        return repr(data)
    if isinstance(data, dict):
        return {str(k): _finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(v) for v in data]
    return data


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise CoinferError(f"{value!r} is not text")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise CoinferError(f"{value!r} is not a whole number")
    return value


def _number(value: Any) -> float:
    """Return a float; the texts of infinities and NaN in canonical JSON are numbers too."""
    known = value in ("inf", "-inf", "nan") if isinstance(value, str) else True
    if not isinstance(value, int | float | str) or isinstance(value, bool) or not known:
        raise CoinferError(f"{value!r} is not a number")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CoinferError(f"{value!r} is not true or false")
    return value


def _explain(error: BaseException, expected: type | None) -> str:
    """Say in a few words what is wrong with one value."""
    from cattrs.errors import ForbiddenExtraKeysError
    from cattrs.v import format_exception

    if isinstance(error, ForbiddenExtraKeysError):
        accepted = ", ".join(field.name for field in fields(error.cl))
        return f"unknown field {', '.join(sorted(error.extra_fields))}; accepted: {accepted}"
    if isinstance(error, CoinferError):
        return str(error)
    if isinstance(error, AttributeError) or (
        isinstance(error, TypeError) and is_dataclass(expected)
    ):
        return "not a table of fields"
    if isinstance(error, KeyError | ValueError | TypeError):
        return format_exception(error, expected)
    return str(error)
