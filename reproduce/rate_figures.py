"""Figs. 7, 8 and 11 of the QHO paper: latency against uplink rate and against SNR."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coinfer.errors import printable
from coinfer.presets import built_in_presets
from reproduce.commands import run_command
from reproduce.draw import house_style, save
from reproduce.draw_lines import Fill, Line, Lines, line_panels
from reproduce.facts import Case, Facts
from reproduce.rates import (
    Point,
    Standing,
    Sweep,
    Unit,
    Verified,
    network_text,
    panel,
    sweep_of,
    unanswered,
)
from reproduce.regret import best_known, regret
from reproduce.scorecard import joined, latency_evidence
from reproduce.style import method_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "raspberry-pi-3b+": "Raspberry Pi 3B+",
    "raspberry-pi-3": "Raspberry Pi 3",
    "raspberry-pi-4b": "Raspberry Pi 4B",
    "jetson-tk1": "Jetson TK1",
    "cpcdrl-edge": "device of the CPCDRL paper",
    "cpcdrl-cloud": "of the CPCDRL paper",
    "rtx-2080-ti": "RTX 2080 Ti",
    "tesla-p100": "Tesla P100",
}
"""Names of devices and servers for people."""

FILLS: dict[Standing, Fill] = {
    "held": "filled",
    "unchanged": "filled",
    "undecided": "half",
    "broken": "crossed",
    "predicted": "open",
}
"""How a marker shows what is known of a plan's accuracy."""
X_LABELS: dict[Unit, str] = {
    "Mb/s": "Uplink rate (Mb/s), log scale",
    "dB": "SNR (dB)",
    "flips": "Probability that a bit is flipped",
    "points": "Accuracy that may be lost (points below the baseline)",
}
_FOOT_COLUMNS = 168
_BEST_TOLD = (
    " Best known: the least over all methods' plans, those for other points included, and a longer "
    "search."
)


def points(facts: Facts, sweep: Sweep) -> dict[str, list[Point]]:
    """Every point of the figure by device."""
    return {device: panel(facts, sweep, device) for device in sweep.devices}


COLUMNS = (
    *("panel", "model", "device", "server", "convention", "link", "rate_mbps", "snr_db"),
    *("max_accuracy_loss", "flip_probability"),
    *("method", "label", "status", "seeds_asked", "seeds", "median_s", "q1_s", "q3_s"),
    *("median_seed", "plan_hash", "cut_index", "cut_after", "predicted_accuracy"),
    *("predicted_accuracy_median", "measured_accuracy", "floor_held", "accuracy_standing"),
    *("latency_evidence", "best_known_s", "regret", "key", "keys"),
)


def csv_text(
    sweep: Sweep,
    panels: dict[str, list[Point]],
    best_s: Mapping[Case, float] | None = None,
    *,
    first: int = 0,
) -> str:
    """The data behind the figure; numbers are written so that they read back exactly.

    One line per panel, place and method. `seeds` have a plan, of those asked; `plan_hash` to
    `accuracy_standing`, `regret` and `key` are those of the median seed, `keys` those of all, by
    seed. `best_s` are the best known of all scenarios, from which regret counts. `first` is the
    number of the first panel; only what begins with the first of all has a header.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if not first:
        writer.writerow(COLUMNS)
    for letter, own in zip(_letters(sweep, first), panels.values(), strict=True):
        for point in sorted(own, key=lambda p: (p.x, sweep.methods.index(p.method))):
            writer.writerow(_record(sweep, letter, point, best_s or {}))
    return file.getvalue()


def _record(sweep: Sweep, letter: str, point: Point, best_s: Mapping[Case, float]) -> list[object]:
    case = point.case
    swept = (
        point.x if sweep.unit == "Mb/s" else "",
        point.x if sweep.unit == "dB" else "",
        case.max_accuracy_loss,
        point.x if sweep.unit == "flips" else "",
    )
    place: list[object] = [
        *(letter, case.model, case.device, case.server, case.convention, case.link, *swept),
        *(point.method, method_style(point.method).label),
    ]
    seeds = (point.asked, point.answered)
    if point.median is None:
        blank = [""] * (len(COLUMNS) - len(place) - 3)
        return [*place, printable(point.told), *seeds, *blank]
    result = point.median.result
    lost = regret(point, best_s)
    cut = (result.plan or {}).get("cut", {})
    predicted = sorted(
        row.result.predicted_accuracy
        for row in point.rows
        if row.result.predicted_accuracy is not None
    )
    return [
        *(*place, result.status, *seeds, point.median_s, *point.quartiles_s),
        *(point.median.cell.seed, result.plan_hash, cut.get("index", ""), cut.get("after", "")),
        _blank(result.predicted_accuracy),
        predicted[len(predicted) // 2] if predicted else "",
        *(_blank(result.measured_accuracy), result.floor_held, point.standing),
        *(latency_evidence(point.median), _blank(best_s.get(case))),
        *(_blank(None if math.isnan(lost) else lost), point.median.key),
        " ".join(row.key for row in sorted(point.rows, key=lambda row: row.cell.seed)),
    ]


def _blank(number: float | None) -> float | str:
    return "" if number is None else number


def footnote(
    sweep: Sweep,
    panels: dict[str, list[Point]],
    stem: str,
    best_s: Mapping[Case, float] | None = None,
) -> list[str]:
    """What a reader must know, as lines: network, rules, seeds, evidence, what is missing."""
    every = [point for own in panels.values() for point in own]
    seeds = max(sweep.seeds.values())
    server = TITLES.get(sweep.server, sweep.server)
    classes = joined(latency_evidence(p.median) for p in every if p.median is not None)
    digest = hashlib.sha256(csv_text(sweep, panels, best_s).encode()).hexdigest()[:12]
    radio = (
        f"Radio of {sweep.bandwidth_hz / 1e6:g} MHz, bits at the Shannon rate ("
        if (sweep.bandwidth_hz)
        else ""
    )
    told = [
        f"{network_text(sweep.model, sweep.convention)}, server {server}, convention "
        f"{sweep.convention}{_floor(sweep)}. "
        + (f"{radio}{_assumption(sweep)}). " if radio else "")
        + _lines_told(seeds)
        + (_BEST_TOLD if best_s else ""),
        f"Latency evidence: {classes or 'none'}; accuracy: {Verified.of(every).text}. "
        f"Data: {stem}.csv, SHA-256 {digest}...",
        *missing(sweep, every),
    ]
    return [line for text in told for line in textwrap.wrap(printable(text), _FOOT_COLUMNS)]


def _lines_told(seeds: int) -> str:
    if seeds == 1:
        return "Lines: one seed of methods that draw."
    return (
        f"Lines: median of {seeds} seeds (the slower of the middle two) of methods that draw; "
        "bands: quartiles."
    )


def _floor(sweep: Sweep) -> str:
    """How much accuracy may be lost, where that is the same everywhere."""
    losses = {place.max_accuracy_loss for place in sweep.places}
    return lost_text(losses.pop()) if len(losses) == 1 else ""


def lost_text(max_accuracy_loss: float) -> str:
    """How much accuracy may be lost, in a clause."""
    points = 100.0 * max_accuracy_loss
    return f", at most {points:g} point{'s' * (points != 1)} lost"


def _assumption(sweep: Sweep) -> str:
    """Whose choice the bandwidth is."""
    link = built_in_presets().link(sweep.places[0].link)
    return link.assumption or "bandwidth as published"


def missing(sweep: Sweep, every: Sequence[Point]) -> list[str]:
    """Return a line on every reason why there is no answer, with the methods it holds for."""
    lines = [
        f"No result: {', '.join(names)}: {_with_command(told, sweep)}."
        for told, names in unanswered(sweep, every).items()
    ]
    fewer = [point for point in every if point.rows and len(point.rows) < point.asked]
    if fewer:
        names = ", ".join(
            method_style(name).label for name in dict.fromkeys(p.method for p in fewer)
        )
        lines.append(
            f"Incomplete: {names}, not all of {fewer[0].asked} seeds at {len(fewer)} points "
            f"(`{run_command(sweep.matrix)}` computes the others)."
        )
    if sweep.absent:
        absent = ", ".join(method_style(name).label for name in sweep.absent)
        lines.append(f"Of the paper's methods, not here: {absent}.")
    return lines


def _with_command(told: str, sweep: Sweep) -> str:
    computed = told == "no row" or told.startswith("rows in the store")
    return f"{told} (`{run_command(sweep.matrix)}` computes it)" if computed else told


def _letters(sweep: Sweep, first: int = 0) -> tuple[str, ...]:
    return tuple("abcdefgh"[first : first + len(sweep.devices)])


def draw(
    sweep: Sweep,
    panels: dict[str, list[Point]],
    stem: str,
    best_s: Mapping[Case, float] | None = None,
) -> Figure:
    """Draw the figure (to be used in `house_style`)."""
    rates = sweep.unit == "Mb/s"
    drawn = [
        Lines(
            (f"({letter}) " if len(panels) > 1 else "") + TITLES.get(device, device),
            (
                *_best_line(sweep, device, best_s or {}),
                *(
                    line_of([p for p in own if p.method == method])
                    for method in sweep.methods
                    if any(p.method == method and p.median is not None for p in own)
                ),
            ),
            _silent(sweep, own),
        )
        for letter, (device, own) in zip(_letters(sweep), panels.items(), strict=True)
    ]
    return line_panels(
        drawn,
        X_LABELS[sweep.unit],
        "Inference latency (s), log scale",
        footnote(sweep, panels, stem, best_s),
        log_x=rates,
    )


def _silent(sweep: Sweep, own: Sequence[Point]) -> str:
    """Names of the methods without a single point in a panel, for its corner."""
    names = [
        method_style(method).label
        for method in sweep.methods
        if all(point.median is None for point in own if point.method == method)
    ]
    return f"no result: {', '.join(names)}" if names else ""


def line_of(own: Sequence[Point]) -> Line:
    """Return the line of a method over its points."""
    bands = [point.quartiles_s for point in own]
    return Line(
        method_style(own[0].method),
        tuple(point.x for point in own),
        tuple(_finite(point.median_s) for point in own),
        tuple(_finite(low) for low, _ in bands),
        tuple(_finite(high) for _, high in bands),
        tuple(FILLS[p.standing] if p.standing is not None else "none" for p in own),
    )


def _best_line(sweep: Sweep, device: str, best_s: Mapping[Case, float]) -> list[Line]:
    """The best known of a device's scenarios; none where there is none."""
    known = [best_s.get(sweep.case(device, place), math.nan) for place in sweep.places]
    if all(map(math.isnan, known)):
        return []
    y, x = tuple(known), tuple(place.x for place in sweep.places)
    no_marker: Fill = "none"
    return [Line(method_style("best known"), x, y, y, y, tuple(no_marker for _ in x))]


def _finite(value: float) -> float:
    return value if 0.0 < value < math.inf else math.nan


def write(facts: Facts, folder: Path, stem: str, title: str, matrix: str = "") -> list[Path]:
    """Write the figure (SVG, PDF, PNG) and its data (CSV) into a folder; return the files.

    Args:
        facts: rows of the matrix.
        folder: where.
        stem: of the files' names.
        title: of the figure.
        matrix: the shipped matrix; '' for the one of that stem.
    """
    sweep = sweep_of(matrix or stem)
    panels = points(facts, sweep)
    data = folder / f"{stem}.csv"
    best_s = {
        case: best
        for own in panels.values()
        for case, best in best_known(facts, sweep, own).items()
    }
    data.write_text(csv_text(sweep, panels, best_s), encoding="utf-8", newline="")
    with house_style():
        return [*save(draw(sweep, panels, stem, best_s), folder, stem, title), data]
