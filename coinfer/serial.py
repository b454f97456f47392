"""One way to turn domain objects into JSON and back, and to hash them.

Canonical JSON (sorted keys, no spaces, `repr` floats, no NaN) is the only input of a content
hash, so a hash depends neither on field order nor on PYTHONHASHSEED nor on the platform.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from coinfer.errors import CoinferError

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")


@cache
def _converter() -> Converter:
    from cattrs import Converter

    return Converter(forbid_extra_keys=True, prefer_attrib_converters=False)


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

    try:
        return _converter().structure(data, cls)
    except BaseValidationError as error:
        where = "; ".join(transform_error(error, path=cls.__name__))
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
