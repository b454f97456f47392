"""What every cut costs: communication against local computation (QHO paper, Figs. 9 and 10).

At each cut a method is asked for its fastest plan under rules that leave it no other cut: the
convention `qho2024[cut=NAME]`. Its median seed speaks for it, as in `reproduce.rates`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.catalog import Catalog
from benchmarks.matrix import expand, load
from coinfer.conventions import convention
from coinfer.errors import CoinferError, printable
from coinfer.models import model_spec
from coinfer.refs import parse_ref
from coinfer.tasks import source_of
from reproduce.commands import run_command
from reproduce.draw import house_style, save
from reproduce.draw_lines import Line, Lines, line_panels
from reproduce.facts import Case, Facts, short
from reproduce.rate_figures import FILLS, TITLES, lost_text
from reproduce.rates import Point, Verified, network_text, point_of
from reproduce.scorecard import joined, latency_evidence
from reproduce.style import GREY, MethodStyle, method_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PNG = MethodStyle("image as PNG (mean)", GREY, "", "", (1.0, 1.2))
_FOOT_COLUMNS = 168


@dataclass(frozen=True)
class Plane:
    """The axes of a matrix in which methods are asked at one cut at a time, in one scenario.

    Attributes:
        matrix: its name.
        model, device, server, link, max_accuracy_loss: the scenario.
        conventions: by the cut that each leaves, in the order of the file.
        methods: in the order of the file.
        seeds: how often a method is asked at every cut.
    """

    matrix: str
    model: str
    device: str
    server: str
    link: str
    conventions: Mapping[str, str]
    methods: tuple[str, ...]
    seeds: Mapping[str, int]
    max_accuracy_loss: float = 0.02

    @property
    def rules(self) -> str:
        """The convention, whichever cut it leaves."""
        return parse_ref(next(iter(self.conventions.values()))).name

    @property
    def png_bits(self) -> float | None:
        """Mean size of the image as PNG; None where it was not measured."""
        return source_of(model_spec(self.model)).png_bits

    @property
    def png_ms(self) -> float | None:
        """How long the PNG image takes, where the rules send it as one; else None."""
        rate_bps = Catalog().presets.link(self.link).rate_bps
        sends_png = convention(next(iter(self.conventions.values()))).input_coder == "png"
        if not sends_png or rate_bps is None or self.png_bits is None:
            return None
        return 1e3 * self.png_bits / rate_bps

    def points(self, facts: Facts) -> dict[str, list[Point]]:
        """Return the point of every method at every cut, by method."""
        return {
            method: [
                point_of(
                    facts,
                    Case(
                        *(self.model, self.device, self.server, self.link, convention),
                        max_accuracy_loss=self.max_accuracy_loss,
                    ),
                    float(number),
                    method,
                    self.seeds[method],
                )
                for number, convention in enumerate(self.conventions.values())
            ]
            for method in self.methods
        }


@cache
def plane_of(matrix: str) -> Plane:
    """Return the axes of a shipped matrix.

    Raises:
        CoinferError: when there is no such matrix, or it has several scenarios, or a convention
            that does not leave one cut, or several sets of rules.
    """
    catalog, loaded = Catalog(), load(matrix)
    cells = expand(loaded, catalog)
    for axis in ("model", "device", "server", "link", "snr_db", "max_accuracy_loss"):
        if len({getattr(cell, axis) for cell in cells}) > 1:
            raise CoinferError(f"matrix '{matrix}' has several of axis '{axis}'; a plane has one")
    cuts = {rules.cut: rules.name for rules in map(convention, loaded.conventions)}
    if "" in cuts:
        raise CoinferError(f"convention '{cuts['']}' of matrix '{matrix}' leaves several cuts")
    if len({parse_ref(ref).name for ref in cuts.values()}) > 1:
        raise CoinferError(f"matrix '{matrix}' has several sets of rules; a plane has one")
    seeds: dict[str, set[int]] = {}
    for cell in cells:
        seeds.setdefault(cell.method, set()).add(cell.seed)
    given = dict.fromkeys(str(catalog.method(ref).ref) for ref in loaded.methods)
    first = cells[0]
    return Plane(
        *(matrix, first.model, first.device, first.server, first.link, cuts),
        tuple(method for method in given if method in seeds),
        {method: len(found) for method, found in seeds.items()},
        first.max_accuracy_loss,
    )


def costs_s(point: Point) -> tuple[float, float]:
    """Seconds on the device, its encoder included, and on the uplink; NaN without a plan."""
    if point.median is None:
        return math.nan, math.nan
    time = point.median.result.latency
    return time["device_s"] + time["encode_s"], time["uplink_s"]


def front(costs: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Return which points no other one beats: none is at most as large in both and less in one.

    By rising first coordinate; of equal points the earliest stands for all, NaN for none.
    """
    order = sorted((i for i, cost in enumerate(costs) if not math.isnan(sum(cost))),
                   key=lambda i: costs[i])  # fmt: skip
    found: list[int] = []
    for i in order:
        if not found or costs[i][1] < costs[found[-1]][1]:
            found.append(i)
    return tuple(found)


COLUMNS = (
    *("model", "device", "server", "link", "convention", "method", "label", "cut", "status"),
    *("seeds_asked", "seeds", "computation_s", "communication_s", "device_flops", "encode_flops"),
    *("uplink_bits", "on_front", "median_seed", "plan_hash", "predicted_accuracy"),
    *("measured_accuracy", "floor_held", "accuracy_standing", "latency_evidence", "key", "keys"),
)


def csv_text(plane: Plane, points: Mapping[str, Sequence[Point]]) -> str:
    """The data behind the figure: one line per method and cut, the median seed's numbers."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for own in points.values():
        best = front([costs_s(point) for point in own])
        for i, (cut, point) in enumerate(zip(plane.conventions, own, strict=True)):
            writer.writerow(_record(cut, point, on_front=i in best))
    return file.getvalue()


def _record(cut: str, point: Point, *, on_front: bool) -> list[object]:
    case = point.case
    place: list[object] = [
        *(case.model, case.device, case.server, case.link, case.convention),
        *(point.method, method_style(point.method).label, cut),
    ]
    seeds = (point.asked, point.answered)
    if point.median is None:
        blank = [""] * (len(COLUMNS) - len(place) - 3)
        return [*place, printable(point.told), *seeds, *blank]
    result = point.median.result
    known = (result.predicted_accuracy, result.measured_accuracy)
    return [
        *(*place, result.status, *seeds, *costs_s(point), result.device_flops),
        *(result.encode_flops, result.uplink_bits, "yes" if on_front else "no"),
        *(point.median.cell.seed, result.plan_hash),
        *("" if number is None else number for number in known),
        *(result.floor_held, point.standing, latency_evidence(point.median), point.median.key),
        " ".join(row.key for row in sorted(point.rows, key=lambda row: row.cell.seed)),
    ]


def footnote(plane: Plane, points: Mapping[str, Sequence[Point]], stem: str) -> list[str]:
    """What a reader must know, as lines."""
    every = [point for own in points.values() for point in own]
    classes = joined(latency_evidence(p.median) for p in every if p.median is not None)
    digest = hashlib.sha256(csv_text(plane, points).encode()).hexdigest()[:12]
    told = [
        f"{network_text(plane.model, plane.rules)} on "
        f"{TITLES.get(plane.device, plane.device)}, server "
        f"{TITLES.get(plane.server, plane.server)}, link {short(plane.link)}, convention "
        f"{plane.rules} at each of {len(plane.conventions)} cuts"
        f"{lost_text(plane.max_accuracy_loss)}: the fastest plan there, of the median seed. Lines "
        "join the points that no other of the method beats in both.",
        f"Latency evidence: {classes or 'none'}; accuracy: {Verified.of(every).text}. "
        f"Data: {stem}.csv, SHA-256 {digest}...",
        *_missing(plane, points),
    ]
    return [line for text in told for line in textwrap.wrap(printable(text), _FOOT_COLUMNS)]


def _missing(plane: Plane, points: Mapping[str, Sequence[Point]]) -> list[str]:
    lines = []
    for method, own in points.items():
        label = method_style(method).label
        for told in dict.fromkeys(point.told for point in own if point.gap is not None):
            number = sum(point.told == told for point in own)
            how = f" (`{run_command(plane.matrix)}` computes it)"
            lines.append(
                f"No result: {label} at {number} of {len(own)} cuts: {told}"
                f"{how if told == 'no row' else ''}."
            )
    return lines


def draw(plane: Plane, points: Mapping[str, Sequence[Point]], stem: str) -> Figure:
    """Draw the figure (to be used in `house_style`)."""
    lines = [
        _line(method, own)
        for method, own in points.items()
        if any(p.median is not None for p in own)
    ]
    silent = [
        method_style(method).label
        for method, own in points.items()
        if all(point.median is None for point in own)
    ]
    note = f"no result: {', '.join(silent)}" if silent else ""
    if plane.png_ms is not None and lines:
        lines.append(_level(_PNG, plane.png_ms, [x for line in lines for x in line.x if x > 0]))
    return line_panels(
        [Lines(TITLES.get(plane.device, plane.device), tuple(lines), note)],
        "Local computation (ms), log scale",
        "Communication (ms), log scale",
        footnote(plane, points, stem),
        log_x=True,
    )


def _level(style: MethodStyle, y: float, x: Sequence[float]) -> Line:
    """A horizontal line below or above all points."""
    if not x:
        return Line(style, (), (), (), (), ())
    return Line(style, (min(x), max(x)), (y, y), (y, y), (y, y), ("none", "none"))


def _line(method: str, own: Sequence[Point]) -> Line:
    costs = [costs_s(point) for point in own]
    x = tuple(1e3 * device_s if device_s > 0 else math.nan for device_s, _ in costs)
    y = tuple(1e3 * uplink_s if uplink_s > 0 else math.nan for _, uplink_s in costs)
    fills = tuple(FILLS[p.standing] if p.standing is not None else "none" for p in own)
    return Line(method_style(method), x, y, y, y, fills, path=front(costs))


def write(
    facts: Facts, folder: Path, stem: str, title: str, plane: Plane | None = None
) -> list[Path]:
    """Write the figure (SVG, PDF, PNG) and its data (CSV) into a folder; return the files.

    `plane` are the axes; None for those of the shipped matrix `stem`.
    """
    axes = plane or plane_of(stem)
    points = axes.points(facts)
    data = folder / f"{stem}.csv"
    data.write_text(csv_text(axes, points), encoding="utf-8", newline="")
    with house_style():
        return [*save(draw(axes, points, stem), folder, stem, title), data]
