"""Fig. 6 of the QHO paper: latency against link on three devices, nothing trained.

`Partition` in the paper is Neurosurgeon with at least one layer on each side, which is what the
convention `qho2024` leaves it.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cells import LATENCY_PARTS
from coinfer.errors import printable
from reproduce.draw import Bars, grouped_bars, house_style, save
from reproduce.facts import Answered, Case, Facts, Gap
from reproduce.scorecard import joined, latency_evidence
from reproduce.style import METHOD_STYLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEM = "fig6"
TITLE = "Inference latency against wireless link (QHO paper, Fig. 6)"
MODEL, SERVER, CONVENTION = "alexnet", "tesla-p100", "qho2024"
PANELS = (
    ("a", "raspberry-pi-3b+", "Raspberry Pi 3B+"),
    ("b", "raspberry-pi-4b", "Raspberry Pi 4B"),
    ("c", "jetson-tk1", "Jetson TK1"),
)
LINKS = (("3g", "3G"), ("4g", "4G"), ("5g", "5G"), ("wifi", "WiFi"))
# The legend has the paper's names.
SERIES = {
    "all_local": METHOD_STYLES["all_local"],
    "all_server": METHOD_STYLES["all_server"],
    "neurosurgeon": replace(METHOD_STYLES["neurosurgeon"], label="Partition (Neurosurgeon)"),
}


@dataclass(frozen=True)
class Point:
    """One bar: a cell of the figure, with its row or the reason why there is none."""

    panel: str
    case: Case
    method: str
    row: Answered | Gap

    @property
    def total_s(self) -> float | None:
        """Latency in seconds, None without a result."""
        return None if isinstance(self.row, Gap) else self.row.result.latency["total_s"]


def points(facts: Facts) -> tuple[Point, ...]:
    """Every bar of the figure, panel by panel, link by link, method by method."""
    return tuple(
        Point(panel, case, method, facts.row(case, method))
        for panel, device, _ in PANELS
        for link, _ in LINKS
        for case in [Case(MODEL, device, SERVER, link, CONVENTION)]
        for method in SERIES
    )


COLUMNS = (
    "panel", "model", "device", "server", "link", "method", "label", "convention", "status",
    "total_s", *LATENCY_PARTS, "latency_evidence", "uplink_bits", "uplink_bits_evidence",
    "rate_bps", "device_flops", "server_flops", "cut_index", "cut_after", "plan_hash", "key",
)  # fmt: skip


def csv_text(bars: tuple[Point, ...]) -> str:
    """The data behind the figure; numbers are written so that they read back exactly.

    `key` is that of the row in the store. `latency_evidence` is that of the total and its parts.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_record(bar) for bar in bars)
    return file.getvalue()


def _record(bar: Point) -> list[object]:
    case = bar.case
    place: list[object] = [
        bar.panel, case.model, case.device, case.server, case.link, bar.method,
        SERIES[bar.method].label, case.convention,
    ]  # fmt: skip
    if isinstance(bar.row, Gap):
        blank = [""] * (len(COLUMNS) - len(place) - 1)
        return [*place, printable(bar.row.reason), *blank]
    result = bar.row.result
    cut = (result.plan or {}).get("cut", {})
    return [
        *place,
        result.status,
        result.latency["total_s"],
        *(result.latency[part] for part in LATENCY_PARTS),
        latency_evidence(bar.row),
        result.uplink_bits,
        result.evidence.get("uplink_bits", "unknown"),
        result.rate_bps,
        result.device_flops,
        result.server_flops,
        cut.get("index", ""),
        cut.get("after", ""),
        result.plan_hash,
        bar.row.key,
    ]


def footnote(bars: tuple[Point, ...]) -> str:
    """What a reader must know: convention, evidence class, and the hash of the data."""
    classes = joined(latency_evidence(bar.row) for bar in bars if not isinstance(bar.row, Gap))
    digest = hashlib.sha256(csv_text(bars).encode()).hexdigest()[:12]
    missing = sum(bar.total_s is None for bar in bars)
    lines = [
        "AlexNet (10 classes, 3x224x224), server Tesla P100. "
        f"Convention {CONVENTION}: Table I FLOPs, 32-bit payloads, a layer on each side for "
        "Partition.",
        f"Latency evidence: {classes or 'none'}. Data: {STEM}.csv, SHA-256 {digest}..."
        + (f" {missing} of {len(bars)} cells have no result." if missing else ""),
    ]
    return "\n".join(lines)


def _panel(panel: str, name: str, bars: tuple[Point, ...]) -> Bars:
    """The bars of one device; its speed and the links' rates are those of the rows."""
    own = [bar for bar in bars if bar.panel == panel]
    speed = next(filter(None, map(_device_flops_per_s, own)), None)
    return Bars(
        f"({panel}) {name}" + (f", {speed / 1e9:.4g} GFLOPS" if speed else ""),
        tuple(
            _group(label, [bar for bar in own if bar.case.link == link]) for link, label in LINKS
        ),
        tuple(tuple(bar.total_s for bar in own if bar.method == method) for method in SERIES),
    )


def _device_flops_per_s(bar: Point) -> float | None:
    if isinstance(bar.row, Gap):
        return None
    flops, seconds = bar.row.result.device_flops, bar.row.result.latency["device_s"]
    return flops / seconds if flops and seconds else None


def _group(label: str, bars: list[Point]) -> str:
    found = [bar.row.result.rate_bps for bar in bars if not isinstance(bar.row, Gap)]
    rates = {rate_bps for rate_bps in found if rate_bps is not None}
    return f"{label}\n{max(rates) / 1e6:.4g}" if len(rates) == 1 else label


def draw(bars: tuple[Point, ...]) -> Figure:
    """Draw the figure (to be used in `house_style`)."""
    return grouped_bars(
        [_panel(panel, name, bars) for panel, _, name in PANELS],
        list(SERIES.values()),
        "Wireless link, uplink rate in Mb/s",
        "Inference latency (s)",
        footnote(bars),
    )


def write(facts: Facts, folder: Path) -> list[Path]:
    """Write the figure (SVG, PDF, PNG) and its data (CSV) into a folder; return the files."""
    bars = points(facts)
    data = folder / f"{STEM}.csv"
    data.write_text(csv_text(bars), encoding="utf-8", newline="")
    with house_style():
        return [*save(draw(bars), folder, STEM, TITLE), data]
