"""Small charts as SVG, drawn by hand: they follow the page's colours, light and dark.

Every chart has a title and a description for screen readers, and the numbers stand in a table
beside it. The markup is ours; names go through `escape`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH, _HEIGHT = 560.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 112.0, 12.0, 44.0
_LABEL_GAP = 12.5
_NAMES = 6
_DECADES = ("1", "10", "100")
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Series:
    """A line: its name, colour, dashes (in pixels) and values; NaN where it has none."""

    label: str
    ink: str
    values: tuple[float, ...]
    dashes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Dot:
    """A point of a scatter chart."""

    label: str
    ink: str
    x: float
    y: float
    hollow: bool = False


def line_chart(
    series: Sequence[Series], places: Sequence[str], title: str, ylabel: str, xlabel: str
) -> Any:
    """Lines over equally spaced places, on a logarithmic y axis with a line at 1.

    Args:
        series: each with a value per place.
        places: names along the x axis.
        title, ylabel, xlabel: for people.

    Returns:
        Markup; '' where no value is finite and above 0.
    """
    from markupsafe import Markup, escape

    known = [v for one in series for v in one.values if 0.0 < v < math.inf]
    if not known:
        return ""
    low, high = math.log10(min(*known, 1.0)), math.log10(max(*known, 1.0))
    pad = max(0.04 * (high - low), 0.02)
    low, high = low - pad, high + pad

    def y_at(value: float) -> float:
        share = (math.log10(value) - low) / (high - low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def x_at(i: int) -> float:
        inner = _WIDTH - _LEFT - _RIGHT
        return _LEFT + (inner / 2 if len(places) == 1 else i * inner / (len(places) - 1))

    out = [_open(title, f"{ylabel} by {xlabel}; the numbers stand in the table below")]
    for tick in _log_ticks(low, high):
        y, strong = y_at(tick), tick == 1.0
        kind = "one" if strong else "grid"
        out.append(f'<path class="{kind}" d="M{_LEFT:g} {y:.1f}H{_WIDTH - _RIGHT:g}"/>')
        out.append(f'<text x="{_LEFT - 6:g}" y="{y + 3.5:.1f}" class="end">{_tick(tick)}x</text>')
    for i in _named(places):
        y = _HEIGHT - _BOTTOM
        out.append(
            f'<text x="{x_at(i):.1f}" y="{y + 15:g}" class="mid">{escape(places[i])}</text>'
            f'<path class="grid" d="M{x_at(i):.1f} {y:g}v4"/>'
        )
    centre = (_LEFT + _WIDTH - _RIGHT) / 2
    out.append(f'<text x="{centre:g}" y="{_HEIGHT - 8:g}" class="mid soft">{escape(xlabel)}</text>')
    ends: list[tuple[float, float, Series]] = []
    for one in series:
        points = [(x_at(i), y_at(v)) for i, v in enumerate(one.values) if 0.0 < v < math.inf]
        if not points:
            continue
        dashes = f' stroke-dasharray="{" ".join(f"{d:g}" for d in one.dashes)}"'
        style = f'style="--ink:{escape(one.ink)}"'
        out.append(f"<g {style}><title>{escape(one.label)}</title>")
        out.append(
            f'<path class="line"{dashes if one.dashes else ""} d="{_path(one, x_at, y_at)}"/>'
        )
        if len(places) <= 12:
            out += [f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in points]
        out.append("</g>")
        ends.append((points[-1][1], points[-1][0], one))
    for y, one in _spread_labels(ends):
        out.append(
            f'<text class="name" style="--ink:{escape(one.ink)}" x="{_WIDTH - _RIGHT + 7:g}" '
            f'y="{y + 3.5:.1f}">{escape(one.label)}</text>'
        )
    out.append("</svg>")
    return Markup("".join(out))  # noqa: S704


def _named(places: Sequence[str]) -> list[int]:
    """Which places have their names on the axis: decades if there are some, else every so many."""
    decades = [i for i, place in enumerate(places) if place.partition(" ")[0] in _DECADES]
    if len(places) > _NAMES and 3 <= len(decades) <= _NAMES:
        return decades
    return list(range(0, len(places), max(1, math.ceil(len(places) / _NAMES))))


def _tick(value: float) -> str:
    """A number on a logarithmic axis: few zeros are counted at a glance."""
    if value >= 1e-4:
        return f"{value:g}"
    number, _, power = f"{value:.0e}".partition("e-")
    factor = "" if number == "1" else f"{number}·"
    return f"{factor}10⁻{power.lstrip('0').translate(_RAISED)}"


def _path(one: Series, x_at: Any, y_at: Any) -> str:
    """The line through the values, broken where there are none."""
    drawn, told = False, []
    for i, value in enumerate(one.values):
        if not 0.0 < value < math.inf:
            drawn = False
            continue
        told.append(f"{'L' if drawn else 'M'}{x_at(i):.1f} {y_at(value):.1f}")
        drawn = True
    return "".join(told)


def scatter_chart(dots: Sequence[Dot], title: str, xlabel: str, ylabel: str) -> Any:
    """Points on two equal axes in percent, with the diagonal on which both agree.

    Returns:
        Markup; '' without points.
    """
    from markupsafe import Markup, escape

    if not dots:
        return ""
    values = [v for dot in dots for v in (dot.x, dot.y)]
    low, high = min(values), max(values)
    pad = max(0.06 * (high - low), 0.5)
    low, high = low - pad, high + pad
    size = _HEIGHT - _TOP - _BOTTOM
    left = _LEFT + 10

    def at(dot: Dot) -> tuple[float, float]:
        return (
            left + (dot.x - low) / (high - low) * size,
            _HEIGHT - _BOTTOM - (dot.y - low) / (high - low) * size,
        )

    out = [_open(title, f"{ylabel} against {xlabel}, per plan", width=left + size + 150)]
    for tick in _ticks(low, high):
        share = (tick - low) / (high - low) * size
        x, y = left + share, _HEIGHT - _BOTTOM - share
        out.append(f'<path class="grid" d="M{left:g} {y:.1f}h{size:g}M{x:.1f} {_TOP:g}v{size:g}"/>')
        out.append(f'<text x="{left - 6:g}" y="{y + 3.5:.1f}" class="end">{tick:g} %</text>')
        below = _HEIGHT - _BOTTOM + 15
        out.append(f'<text x="{x:.1f}" y="{below:g}" class="mid">{tick:g} %</text>')
    out.append(f'<path class="one" d="M{left:g} {_HEIGHT - _BOTTOM:g}L{left + size:g} {_TOP:g}"/>')
    centre = left + size / 2
    out.append(
        f'<text x="{centre:g}" y="{_HEIGHT - 8:g}" class="mid soft">{escape(xlabel)}</text>'
        f'<text transform="translate(11 {_TOP + size / 2:g}) rotate(-90)" class="mid soft">'
        f"{escape(ylabel)}</text>"
    )
    for dot in dots:
        x, y = at(dot)
        kind = "hollow" if dot.hollow else "dot"
        out.append(
            f'<circle class="{kind}" style="--ink:{escape(dot.ink)}" cx="{x:.1f}" cy="{y:.1f}" '
            f'r="4"><title>{escape(dot.label)}: {dot.x:.2f} %, {dot.y:.2f} %</title></circle>'
        )
    names = dict.fromkeys((dot.label, dot.ink) for dot in dots)
    for i, (label, ink) in enumerate(names):
        y = _TOP + 12 + 17 * i
        out.append(
            f'<circle class="dot" style="--ink:{escape(ink)}" cx="{left + size + 16:g}" '
            f'cy="{y - 4:g}" r="4"/><text x="{left + size + 26:g}" y="{y:g}">{escape(label)}</text>'
        )
    out.append("</svg>")
    return Markup("".join(out))  # noqa: S704


def _open(title: str, description: str, width: float = _WIDTH) -> str:
    from markupsafe import escape

    return (
        f'<svg class="chart" role="img" viewBox="0 0 {width:g} {_HEIGHT:g}" '
        f'aria-label="{escape(title)}. {escape(description)}">'
    )


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two exponents, few enough to be read."""
    first, last = math.floor(low), math.ceil(high)
    decades = [10.0**n for n in range(first, last + 1, max(1, (last - first) // 6))]
    fine = [m * 10.0**n for n in range(first, last + 1) for m in (1.0, 2.0, 5.0)]
    finer = [m / 10 * 10.0**n for n in range(first, last + 1) for m in (10, 12, 15, 20, 30, 50, 70)]
    inside = [
        [tick for tick in ticks if low <= math.log10(tick) <= high]
        for ticks in (decades, fine, finer)
    ]
    chosen = next((ticks for ticks in inside if len(ticks) >= 3), inside[-1])
    return sorted({round(tick, 12) for tick in chosen} | ({1.0} if low <= 0.0 <= high else set()))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, about five."""
    raw = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw)
    first = math.ceil(low / step)
    return [round(step * n, 10) for n in range(first, math.floor(high / step) + 1)]


def _spread_labels(ends: Sequence[tuple[float, float, Series]]) -> list[tuple[float, Series]]:
    """Heights of the names at the right, moved apart where they would overlap."""
    placed: list[tuple[float, Series]] = []
    for y, _, one in sorted(ends, key=lambda end: end[0]):
        least = placed[-1][0] + _LABEL_GAP if placed else -math.inf
        placed.append((max(y, least), one))
    over = placed[-1][0] - (_HEIGHT - _BOTTOM + 4) if placed else 0.0
    if over > 0:
        placed = [(max(_TOP, y - over), one) for y, one in placed]
        for i in range(1, len(placed)):
            y, one = placed[i]
            placed[i] = (max(y, placed[i - 1][0] + _LABEL_GAP), one)
    return placed
