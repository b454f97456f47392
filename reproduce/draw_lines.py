"""Panels of lines with bands: one line per method, told apart by dashes and markers.

A marker says what is known of the plan behind its point: open where its accuracy is predicted,
filled where the floor held, crossed out where it broke.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from reproduce.style import BLACK, TWO_COLUMNS_IN, MethodStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Fill = Literal["open", "filled", "half", "crossed", "plain", "none"]

FILLS: dict[Fill, str] = {
    "open": "accuracy predicted",
    "filled": "floor held, or network unchanged",
    "half": "measured, floor undecided",
    "crossed": "floor broken",
}
"""What the markers mean, for the legend; a `plain` one means nothing but its place."""

_MARKER_PT = 3.4
# The outline of some markers looks smaller than that of others of one size.
_LARGER = {"*": 1.6, "P": 1.2, "D": 0.85, "h": 1.15, "p": 1.15}
_FOOT_PT, _LEADING = 5.8, 1.4
_POINTS_PER_INCH = 72.0
_NOTE_PT, _NOTE_COLUMNS = 6.2, 112
# A logarithmic axis over less than this has numbers between its decades too.
_FEW = 100.0


@dataclass(frozen=True)
class Line:
    """One method in one panel.

    Attributes:
        style: how it is drawn.
        x, y: its points from left to right; NaN where it has none, and the line has a hole.
        low, high: the band around each y.
        fills: of each marker.
        path: which of the points the line joins, in order; None for all.
    """

    style: MethodStyle
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    fills: tuple[Fill, ...]
    path: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Lines:
    """One panel: its title, its lines, and what is to be said below the title.

    `xlabel` is that of its own x axis, where panels have different ones; `log_y` says whether its y
    axis is logarithmic.
    """

    title: str
    lines: tuple[Line, ...]
    note: str = ""
    xlabel: str = ""
    log_y: bool = True


def line_panels(
    panels: Sequence[Lines],
    xlabel: str,
    ylabel: str,
    footnote: Sequence[str],
    *,
    log_x: bool,
) -> Figure:
    """Draw panels side by side, each on its own y axis (to be used in `house_style`).

    Args:
        panels: from left to right.
        xlabel, ylabel: of every panel that has none of its own; of the first.
        footnote: its lines.
        log_x: whether the x axes are logarithmic.
    """
    from matplotlib.figure import Figure

    styles = list(dict.fromkeys(line.style for panel in panels for line in panel.lines))
    columns = min(5, max(1, math.ceil(len(styles) / 2)))
    rows = math.ceil(len(styles) / columns)
    foot_in = len(footnote) * _FOOT_PT * _LEADING / _POINTS_PER_INCH + 0.06
    notes = [textwrap.wrap(panel.note, _NOTE_COLUMNS // len(panels)) for panel in panels]
    lines_told = max(map(len, notes))
    head_in = 0.42 + 0.15 * rows + lines_told * _NOTE_PT * _LEADING / _POINTS_PER_INCH
    labels_in, plot_in = 0.36, 2.45
    height = head_in + plot_in + labels_in + foot_in
    figure = Figure(figsize=(TWO_COLUMNS_IN, height))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(
        left=0.085,
        right=0.985,  # half a number of three digits stands beyond the axis
        top=1.0 - head_in / height,
        bottom=(foot_in + labels_in) / height,
        wspace=0.2,
    )
    for axis, panel, note in zip(axes, panels, notes, strict=True):
        for line in panel.lines:
            _draw(axis, line)
        axis.set_title(panel.title, pad=4 + lines_told * _NOTE_PT * _LEADING)
        y = [y for line in panel.lines for y in line.y if math.isfinite(y)]
        if not y:
            axis.set_yticks([])
        elif panel.log_y:
            axis.set_yscale("log")
            _log_numbers(axis.yaxis, y)
        if log_x:
            axis.set_xscale("log")
            _log_numbers(axis.xaxis, [x for line in panel.lines for x in line.x if x > 0])
        axis.tick_params(axis="x", which="major", bottom=True, length=2.5)
        axis.set_xlabel(panel.xlabel or xlabel)
        axis.grid(visible=True, axis="both")
        if note:
            _note(axis, note)
    axes[0].set_ylabel(ylabel)
    _legends(figure, styles, panels, columns, rows, height)
    figure.text(
        0.01,
        0.04 / height,
        "\n".join(footnote),
        fontsize=_FOOT_PT,
        color="#404040",
        va="bottom",
        linespacing=_LEADING,
    )
    return figure


def _draw(axis: Axes, line: Line) -> None:
    style = line.style
    thick = not style.dashes
    pattern: Any = (0.0, style.dashes) if style.dashes else "-"
    if any(low != high for low, high in zip(line.low, line.high, strict=True)):
        axis.fill_between(line.x, line.low, line.high, color=style.ink, alpha=0.18, linewidth=0)
    above = 1.5 if style.wide else 3.0 if thick else 2.5
    path = range(len(line.x)) if line.path is None else line.path
    axis.plot(
        [line.x[i] for i in path],
        [line.y[i] for i in path],
        color=style.ink,
        linewidth=_width(style),
        linestyle=pattern,
        zorder=above,
    )
    for fill in dict.fromkeys(line.fills):
        if fill == "none" or not style.marker:
            continue
        places = [i for i, one in enumerate(line.fills) if one == fill]
        x, y = [line.x[i] for i in places], [line.y[i] for i in places]
        axis.plot(x, y, linestyle="none", zorder=above + 0.1, **_marker(style, fill))
        if fill == "crossed":
            axis.plot(x, y, linestyle="none", zorder=above + 0.2, **_cross())


def _width(style: MethodStyle) -> float:
    return 4.0 if style.wide else 0.9 if style.dashes else 1.3


def _marker(style: MethodStyle, fill: Fill) -> dict[str, Any]:
    return {
        "marker": style.marker,
        "markersize": _MARKER_PT * _LARGER.get(style.marker, 1.0),
        "fillstyle": "left" if fill == "half" else "full",
        "markerfacecolor": style.ink if fill in ("filled", "half", "plain") else "white",
        "markerfacecoloralt": "white",
        "markeredgecolor": style.ink,
        "markeredgewidth": 0.6,
    }


def _cross() -> dict[str, Any]:
    return {
        "marker": "x",
        "markersize": _MARKER_PT * 1.5,
        "markeredgecolor": BLACK,
        "markeredgewidth": 0.8,
    }


def _log_numbers(axis: Axis, values: Sequence[float]) -> None:
    """Write numbers on a logarithmic axis, between the decades too where it spans few of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    numbers = FuncFormatter(lambda value, _: f"{value:g}")
    few = bool(values) and max(values) / min(values) < _FEW
    if few:
        axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axis.set_major_formatter(numbers)
    axis.set_minor_formatter(numbers if few else NullFormatter())


def _note(axis: Axes, lines: Sequence[str]) -> None:
    """Write what is missing between a panel and its title."""
    axis.annotate(
        "\n".join(lines),
        (0.5, 1.0),
        (0, 2),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=_NOTE_PT,
        linespacing=_LEADING - 0.1,
        style="italic",
        ha="center",
        va="bottom",
    )


def _legends(
    figure: Figure,
    styles: Sequence[MethodStyle],
    panels: Sequence[Lines],
    columns: int,
    rows: int,
    height: float,
) -> None:
    """The methods at the top, and below them what the markers mean, as far as they are drawn."""
    from matplotlib.lines import Line2D

    keys = [
        Line2D(
            [],
            [],
            color=style.ink,
            linewidth=_width(style),
            linestyle=(0.0, style.dashes) if style.dashes else "-",
            label=style.label,
            **(_marker(style, "filled") if style.marker else {}),
        )
        for style in styles
    ]
    figure.legend(
        handles=keys,
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=columns,
        handlelength=3.6,
        fontsize=7,
        columnspacing=1.6,
        labelspacing=0.25,
        borderaxespad=0.2,
    )
    drawn = {fill for panel in panels for line in panel.lines for fill in line.fills}
    plain = MethodStyle("", BLACK, "", "o")
    marks: list[Any] = []
    for fill, meaning in FILLS.items():
        if fill in drawn:
            mark = _cross() if fill == "crossed" else _marker(plain, fill)
            marks.append(Line2D([], [], linestyle="none", label=meaning, **mark))
    if marks:
        figure.legend(
            handles=marks,
            loc="upper center",
            bbox_to_anchor=(0.5, 1.0 - (0.06 + 0.145 * rows) / height),
            ncols=len(marks),
            fontsize=6.5,
            handletextpad=0.1,
            columnspacing=1.4,
            borderaxespad=0.2,
        )
