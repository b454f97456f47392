"""Numbers and names as the pages show them."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

from coinfer.errors import printable
from coinfer.units import seconds_text, significant

_BACKQUOTED = re.compile(r"`([^`]+)`")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_PREFIXES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def slug(text: str) -> str:
    """A class name of a fixed word of ours."""
    return re.sub(r"[^a-z]+", "-", text.lower())


def base_name(ref: str) -> str:
    """The name in a ref, whatever it looks like: that of a store may be anybody's."""
    return ref.partition("[")[0]


def file_stem(name: str) -> str:
    """A file name for any name: itself where that is plain, else with a hash of it."""
    plain = re.sub(r"[^a-z0-9_.+-]+", "-", name.lower()).strip("-.")[:40]
    if plain == name:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest


def natural(text: str) -> tuple[Any, ...]:
    """A name as it sorts for people: the numbers in it by their value."""
    numbers = tuple(float(number) for number in _NUMBER.findall(text))
    return _NUMBER.sub("0", text), numbers, text


def scaled(value: float, unit: str) -> str:
    """A number of a unit with a prefix: `11.22 Mb/s`, `326.4 GFLOP/s`."""
    for prefix, scale in _PREFIXES:
        if scale <= value < float("inf"):
            return f"{value / scale:.10g} {prefix}{unit}"
    return f"{value:.10g} {unit}"


def rate_text(rate_bps: float) -> str:
    """A rate with three digits: `14.7 kb/s`; '' where it is unknown (infinity)."""
    return scaled(float(f"{rate_bps:.3g}"), "b/s") if math.isfinite(rate_bps) else ""


def times_text(value: float) -> str:
    """A ratio: `1.42x`; '' for none."""
    if value == math.inf:
        return "infinite"
    if not math.isfinite(value):
        return ""
    if value >= 1e4:
        return f"{float(f'{value:.3g}'):,.0f}x"
    return significant(value, 3) + "x" if value >= 0.1 else f"{value:.2g}x"


def percent_text(value: float) -> str:
    """A share above 0 in percent; '' for none, a large one as a ratio."""
    if not math.isfinite(value):
        return ""
    if value >= 10:
        return f"{times_text(value + 1)} as long"
    if abs(value) < 5e-10:
        return "0 %"
    return f"{100 * value:+.3g} %" if value < 0 else f"{100 * value:.3g} %"


def seconds(value: float) -> str:
    """A latency; '' for none."""
    return "" if math.isnan(value) else seconds_text(value)


def inert(value: Any) -> Any:
    """What a template prints: text without characters that act; markup of ours as it is."""
    return printable(value) if type(value) is str else value


def with_code(text: str) -> Any:
    """A sentence of ours as markup, what is in backquotes as code."""
    from markupsafe import Markup, escape

    safe = str(escape(printable(text)))
    return Markup(_BACKQUOTED.sub(r"<code>\1</code>", safe))  # noqa: S704
