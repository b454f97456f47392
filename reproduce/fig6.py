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

from benchmarks.cells import LATENCY_PARTS, Result
from reproduce.draw import Bars, grouped_bars, house_style, save
from reproduce.facts import Case, Facts, Gap
from reproduce.style import METHOD_STYLES

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
    """One bar: a cell of the figure, with its result or the reason why there is none."""

    panel: str
    case: Case
    method: str
    result: Result | Gap

    @property
    def total_s(self) -> float | None:
        """Latency in seconds, None without a result."""
        return None if isinstance(self.result, Gap) else self.result.latency["total_s"]


def points(facts: Facts) -> tuple[Point, ...]:
    """Every bar of the figure, panel by panel, link by link, method by method."""
    return tuple(
        Point(panel, case, method, facts.result(case, method))
        for panel, device, _ in PANELS
        for link, _ in LINKS
        for case in [Case(MODEL, device, SERVER, link, CONVENTION)]
        for method in SERIES
    )


COLUMNS = (
    "panel", "model", "device", "server", "link", "method", "label", "convention", "evidence",
    "status", "total_s", *LATENCY_PARTS, "uplink_bits", "rate_bps", "device_flops",
    "server_flops", "cut_index", "cut_after", "plan_hash",
)  # fmt: skip


def csv_text(bars: tuple[Point, ...]) -> str:
    """The data behind the figure; numbers are written so that they read back exactly."""
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
    if isinstance(bar.result, Gap):
        blank = [""] * (len(COLUMNS) - len(place) - 2)
        return [*place, "", bar.result.reason, *blank]
    result = bar.result
    cut = (result.plan or {}).get("cut", {})
    return [
        *place,
        result.evidence.get("latency", ""),
        result.status,
        result.latency["total_s"],
        *(result.latency[part] for part in LATENCY_PARTS),
        result.uplink_bits,
        result.rate_bps,
        result.device_flops,
        result.server_flops,
        cut.get("index", ""),
        cut.get("after", ""),
        result.plan_hash,
    ]


def footnote(bars: tuple[Point, ...]) -> str:
    """What a reader must know: convention, evidence class, and the hash of the data."""
    classes = sorted(
        {
            bar.result.evidence.get("latency", "unknown")
            for bar in bars
            if not isinstance(bar.result, Gap)
        }
    )
    digest = hashlib.sha256(csv_text(bars).encode()).hexdigest()[:12]
    missing = sum(bar.total_s is None for bar in bars)
    lines = [
        "AlexNet (10 classes, 3x224x224), server Tesla P100. "
        f"Convention {CONVENTION}: Table I FLOPs, 32-bit payloads, a layer on each side for "
        "Partition.",
        f"Latency evidence: {', '.join(classes) or 'none'}. "
        f"Data: {STEM}.csv, SHA-256 {digest}..."
        + (f" {missing} of {len(bars)} cells have no result." if missing else ""),
    ]
    return "\n".join(lines)


def write(facts: Facts, folder: Path) -> list[Path]:
    """Write the figure (SVG, PDF, PNG) and its data (CSV) into a folder; return the files."""
    bars = points(facts)
    data = folder / f"{STEM}.csv"
    data.write_text(csv_text(bars), encoding="utf-8", newline="")
    panels = [
        Bars(
            f"({panel}) {name}",
            tuple(label for _, label in LINKS),
            tuple(
                tuple(b.total_s for b in bars if b.panel == panel and b.method == method)
                for method in SERIES
            ),
        )
        for panel, _, name in PANELS
    ]
    with house_style():
        figure = grouped_bars(
            panels, list(SERIES.values()), "Wireless link", "Inference latency (s)", footnote(bars)
        )
        return [*save(figure, folder, STEM, TITLE), data]
