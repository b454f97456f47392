"""Drawing with Matplotlib: the same data give the same bytes, whatever the user's settings.

Figures are made without pyplot, so nothing global outlives a drawing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from coinfer.errors import CoinferError, one_line
from coinfer.units import significant
from reproduce.style import BLACK, CURVE_STYLES, RC, TWO_COLUMNS_IN, MethodStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")

# Settings of the user's around a block of `user_style`.
_USER_STYLE: ContextVar[dict[str, Any]] = ContextVar("_USER_STYLE", default={})  # noqa: B039

# An axis whose values span more than this is logarithmic.
LOG_SPAN = 20.0

# Share of the width of the axes that a name over them may take.
_NAME_SHARE = 0.13
_LEVEL_POINTS = 18

# Behind the values over the bars, so that no grid line runs through them.
_OVER_GRID = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}

# Fields that would carry a clock or a version into the file; None leaves them out.
_METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


@dataclass(frozen=True)
class Bars:
    """One panel of grouped bars.

    Attributes:
        title: over the panel.
        groups: names along the x axis.
        heights: for each series, one value per group; None where there is no result.
    """

    title: str
    groups: tuple[str, ...]
    heights: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Curve:
    """One curve of measured points, with its name at its right end.

    Attributes:
        label: its name.
        x, y: points, from left to right.
        error: standard error of each y.
        baseline: whether the others are to be compared with it; it is drawn dashed, in black.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...]
    baseline: bool = False


@dataclass(frozen=True)
class Mark:
    """A place on the x axis, with its name over the axes."""

    x: float
    label: str


@contextmanager
def house_style() -> Iterator[None]:
    """Draw inside this block in the one style, not in that of the user's matplotlibrc.

    What `user_style` gives around the block counts over it.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(RC)
        settings.update(_USER_STYLE.get())
        yield


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what Matplotlib logs in this block, a line each, instead of letting it print."""
    found: list[str] = []

    class Collects(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(" ".join(record.getMessage().split()))

    logger, collects = logging.getLogger("matplotlib"), Collects(logging.WARNING)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(collects)
    try:
        yield found
    finally:
        logger.removeHandler(collects)
        logger.propagate = propagates


@contextmanager
def user_style(path: Path) -> Iterator[None]:
    """Draw inside this block with the settings of a Matplotlib style file, over the house style.

    Raises:
        CoinferError: when the file cannot be read, sets nothing, or anything that Matplotlib does
            not know; and when drawing with it fails.
    """
    import matplotlib

    try:
        with _complaints() as complaints:
            found: Any = matplotlib.rc_params_from_file(path, use_default_template=False)
    except Exception as error:  # a style may hold expressions, which may raise anything
        raise CoinferError(f"style '{path}': {one_line(error)}") from error
    if complaints:
        raise CoinferError(f"style '{path}': {complaints[0]}")
    if not found:
        raise CoinferError(f"style '{path}' sets nothing; accepted is a Matplotlib style file")
    token = _USER_STYLE.set(dict(found))
    try:
        yield
    except CoinferError:
        raise
    except Exception as error:
        raise CoinferError(f"style '{path}': drawing with it fails: {one_line(error)}") from error
    finally:
        _USER_STYLE.reset(token)


def grouped_bars(
    panels: Sequence[Bars], series: Sequence[MethodStyle], xlabel: str, ylabel: str, footnote: str
) -> Figure:
    """Draw panels of grouped bars side by side, on one y axis (to be used in `house_style`).

    The axis is logarithmic when the values span more than LOG_SPAN. A missing value is marked,
    not left blank.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(TWO_COLUMNS_IN, 3.05))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    values = [
        height
        for panel in panels
        for heights in panel.heights
        for height in heights
        if _drawable(height)
    ]
    logarithmic = bool(values) and max(values) / min(values) > LOG_SPAN
    for axis, panel in zip(axes, panels, strict=True):
        _panel(axis, panel, series, logarithmic)
        axis.set_xlabel(xlabel)
    axes[0].set_ylabel(f"{ylabel}, log scale" if logarithmic else ylabel)
    if values:
        _scale(axes[0], min(values), max(values), logarithmic)
    else:
        axes[0].set_yticks([])
    keys = [Patch(label=style.label, **_fill(style)) for style in series]
    figure.legend(handles=keys, loc="upper center", ncols=len(series), handlelength=2.2)
    figure.text(0.01, 0.011, footnote, fontsize=5.8, color="#404040", va="bottom", linespacing=1.4)
    figure.subplots_adjust(left=0.075, right=0.995, top=0.84, bottom=0.285, wspace=0.06)
    return figure


def _panel(axis: Axes, panel: Bars, series: Sequence[MethodStyle], logarithmic: bool) -> None:
    width = 0.84 / len(series)
    for i, (style, heights) in enumerate(zip(series, panel.heights, strict=True)):
        places = [group + (i - (len(series) - 1) / 2) * width for group in range(len(heights))]
        drawn = [(x, h) for x, h in zip(places, heights, strict=True) if _drawable(h)]
        axis.bar(
            [x for x, _ in drawn],
            [height for _, height in drawn],
            width,
            **_fill(style),
        )
        for x, height in drawn:
            axis.annotate(
                significant(height, 2),
                (x, height),
                (0, 1.5),
                textcoords="offset points",
                ha="center",
                va="bottom",
                rotation=90,
                fontsize=5.6,
                bbox=_OVER_GRID,
            )
        for x, result in zip(places, heights, strict=True):
            if not _drawable(result):
                axis.annotate(
                    "no result",
                    (x, 0),
                    (0, 2),
                    xycoords=("data", "axes fraction"),
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    rotation=90,
                    fontsize=5.6,
                    style="italic",
                )
    axis.set_title(panel.title, pad=5)
    axis.set_xticks(range(len(panel.groups)), panel.groups)
    axis.set_xlim(-0.55, len(panel.groups) - 0.45)
    axis.grid(visible=True, axis="y")
    if logarithmic:
        axis.set_yscale("log")


def curves(
    lines: Sequence[Curve], marks: Sequence[Mark], xlabel: str, ylabel: str, footnote: str
) -> Figure:
    """Draw curves with error bars over a logarithmic x axis (to be used in `house_style`).

    Names stand at the right, beside the last points; marked places are dotted lines.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    places = [x for line in lines for x in line.x] + [mark.x for mark in marks]
    limits = min(places) / 1.25, max(places) * 1.25
    levels = _levels([mark.x for mark in marks], limits)
    # Every line of names over the axes beyond the first makes the figure higher, and nothing else.
    usual_in = 3.6
    height_in = usual_in + max(levels, default=0) * _LEVEL_POINTS / 72
    figure = Figure(figsize=(TWO_COLUMNS_IN, height_in))
    share = usual_in / height_in
    axis = figure.subplots()
    # Room for the longest name, of letters so wide on average.
    right = min(0.83, 0.98 - 0.0078 * max(len(line.label) for line in lines))
    figure.subplots_adjust(left=0.075, right=right, top=0.89 * share, bottom=0.235 * share)
    axis.set_xscale("log")
    axis.set_xlim(*limits)
    # Room for an error bar and half a name above and below.
    least = min(y - e for line in lines for y, e in zip(line.y, line.error, strict=True))
    most = max(y + e for line in lines for y, e in zip(line.y, line.error, strict=True))
    room = 0.05 * (most - least) + 1e-3
    axis.set_ylim(least - room, most + room)
    names = _apart([line.y[-1] for line in lines], 0.06 * (most - least + 2 * room))
    others = iter(range(len(lines)))
    for line, height in zip(lines, names, strict=True):
        colour, marker = (BLACK, "o")
        if not line.baseline:
            colour, marker = CURVE_STYLES[next(others) % len(CURVE_STYLES)]
        axis.errorbar(
            line.x,
            line.y,
            line.error,
            color=colour,
            marker=marker,
            markersize=2.8,
            linewidth=1.0,
            linestyle="--" if line.baseline else "-",
            elinewidth=0.8,
            capsize=2.6,
            zorder=3.0 if line.baseline else 2.5,
        )
        axis.annotate(
            line.label,
            (1.0, line.y[-1]),  # from the edge: from the last point it looks like a measurement
            (1.015, height),
            xycoords=axis.get_yaxis_transform(),
            textcoords=axis.get_yaxis_transform(),
            va="center",
            color=colour,
            annotation_clip=False,
            arrowprops={
                **{"arrowstyle": "-", "color": colour, "linewidth": 0.5, "linestyle": ":"},
                **{"relpos": (0.0, 0.5), "shrinkA": 0.5, "shrinkB": 0.0},  # not through the name
            },
        )
    for mark, level in zip(marks, levels, strict=True):
        axis.axvline(mark.x, color="#606060", linewidth=0.8, linestyle=":", zorder=0.5)
        axis.annotate(
            mark.label,
            (mark.x, 1.0),
            (0, 2 + _LEVEL_POINTS * level),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=6.5,
            color="#404040",
            annotation_clip=False,
        )
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.grid(visible=True, axis="y")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(axis="x", which="both", bottom=True, length=2.5)
    figure.text(
        *(0.01, 0.011 * share, footnote),
        fontsize=5.8,
        color="#404040",
        va="bottom",
        linespacing=1.4,
    )
    return figure


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Return heights for names: those given, moved as little apart as `gap` asks for.

    Neighbours that are too near become a block around their mean, from the bottom up.
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    blocks: list[list[int]] = []
    for i in order:
        blocks.append([i])
        while len(blocks) > 1 and _bottom(blocks[-1], heights, gap) < (
            _bottom(blocks[-2], heights, gap) + gap * len(blocks[-2])
        ):
            last = blocks.pop()
            blocks[-1] += last
    found = [0.0] * len(heights)
    for block in blocks:
        for step, i in enumerate(block):
            found[i] = _bottom(block, heights, gap) + gap * step
    return found


def _bottom(block: Sequence[int], heights: Sequence[float], gap: float) -> float:
    """The height of the lowest name of a block."""
    return sum(heights[i] for i in block) / len(block) - gap * (len(block) - 1) / 2


def _levels(places: Sequence[float], limits: tuple[float, float]) -> list[int]:
    """Return in which line over the axes each name stands, so that none lies over another."""
    from math import log

    width = log(limits[1] / limits[0])
    last: list[float] = []  # rightmost place of each line
    found = []
    for place in places:
        free = [k for k, before in enumerate(last) if log(place / before) > _NAME_SHARE * width]
        level = free[0] if free else len(last)
        last[level : level + 1] = [place]
        found.append(level)
    return found


def _drawable(height: float | None) -> TypeGuard[float]:
    return height is not None and 0.0 < height < float("inf")


def _fill(style: MethodStyle) -> dict[str, Any]:
    return {
        "facecolor": style.colour,
        "hatch": style.hatch,
        "edgecolor": "#202020",
        "linewidth": 0.6,
    }


def _scale(axis: Axes, least: float, most: float, logarithmic: bool) -> None:
    """Leave room for the values written over the bars."""
    from matplotlib.ticker import FuncFormatter

    if logarithmic:
        # Half a decade below the least bar, so that it has a height.
        axis.set_ylim(least / 2.5, most * 4.0)
    else:
        axis.set_ylim(0.0, most * 1.2)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def save(figure: Figure, folder: Path, stem: str, title: str) -> list[Path]:
    """Write a figure as SVG, PDF and PNG and return the files.

    Their bytes depend on the data and the Matplotlib version only, not on date or machine.
    """
    written = []
    for form in FORMATS:
        path = folder / f"{stem}.{form}"
        figure.savefig(path, format=form, metadata={"Title": title, **_METADATA[form]})
        written.append(path)
    return written
