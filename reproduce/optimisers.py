"""QHO beside other searches: what each finds with so many evaluations, relative to the best known.

Read from comparisons that ship (`coinfer compare-optimisers` makes them anew): one for every number
of evaluations. No paper claims anything about them; Algorithm 1 as printed beside its restatement
is the finding Q-x10.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.comparison import Comparison
from benchmarks.optimisers_tables import SUMMARY
from reproduce.draw import house_style, save
from reproduce.draw_lines import Fill, Line, Lines, line_panels
from reproduce.facts import Facts, short
from reproduce.rate_figures import TITLES
from reproduce.style import OPTIMISER_STYLES, MethodStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEM = "optimisers"
TITLE = "QHO beside other searches, at equal numbers of evaluations"
_FOOT_COLUMNS = 168


def csv_text(found: Sequence[Comparison]) -> str:
    """Every optimiser in every cell and comparison, as they were written."""
    file = io.StringIO()
    writer = csv.DictWriter(file, ("comparison", *SUMMARY), lineterminator="\n")
    writer.writeheader()
    for one in found:
        writer.writerows({"comparison": one.name, **row} for row in one.summary)
    return file.getvalue()


def overall(comparison: Comparison, optimiser: str) -> tuple[float, float]:
    """Return an optimiser's median relative to the best known, and the share of runs with a plan.

    The geometric mean over the cells of the median over seeds; inf where half of the runs of some
    cell found no plan.
    """
    rows = [row for row in comparison.summary if row["optimiser"] == optimiser]
    medians = [float(row["median_relative"]) for row in rows]
    found = sum(float(row["found"]) for row in rows) / len(rows)
    return _geometric(medians), found


def _geometric(values: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def table(comparison: Comparison) -> list[str]:
    """Return a comparison as the lines of a Markdown table: optimisers by cells."""
    heads = [f"{short(device)}, {_rate(link)}" for device, link in comparison.cells]
    lines = [
        "| optimiser | all cells | " + " | ".join(heads) + " |",
        "|---|" + "--:|" * (len(heads) + 1),
    ]
    by_cell = {
        (row["optimiser"], row["device"], row["link"]): row for row in comparison.summary
    }  # fmt: skip
    best = min(overall(comparison, name)[0] for name in comparison.optimisers)
    for name in comparison.optimisers:
        middle, share = overall(comparison, name)
        first = _told(middle, share)
        cells = [
            _told(float(row["median_relative"]), float(row["found"]))
            for cell in comparison.cells
            for row in [by_cell[(name, *cell)]]
        ]
        shown = f"**{first}**" if middle == best and math.isfinite(best) else first
        lines.append(f"| {OPTIMISER_STYLES[name].label} | {shown} | " + " | ".join(cells) + " |")
    return lines


def _told(relative: float, share: float) -> str:
    text = f"{relative:.3f}" if math.isfinite(relative) else "none"
    return text if share == 1.0 else f"{text} [{100 * share:.0f} %]"


def _rate(link: str) -> str:
    head, _, rate = link.rstrip("]").partition("[rate_bps=")
    return f"{float(rate) / 1e6:g} Mb/s" if head == "rate" and rate else short(link)


def markdown_text(found: Sequence[Comparison], data: str) -> str:
    """The tables for people, with the hash of their data."""
    digest = hashlib.sha256(data.encode()).hexdigest()[:12]
    parts = [f"# {TITLE}\n"]
    for one in found:
        parts.append(
            f"{one.evaluations:,} evaluations in every run, {one.seeds} seeds, {one.model} "
            f"(comparison {one.name}). Median latency relative to the best known of the cell; in "
            "brackets the share of runs that found a plan, where not all did; in bold the least "
            "geometric mean over all cells.\n"
        )
        parts.append("\n".join(table(one)) + "\n")
    parts.append(
        "Evidence: latencies analytic, accuracies predicted. "
        f"Data: {STEM}.csv, SHA-256 {digest}...; its origin: {STEM}.json.\n"
    )
    return "\n".join(parts)


def draw(found: Sequence[Comparison]) -> Figure:
    """Draw how each search gets nearer to the best known (to be used in `house_style`).

    A panel for every device; a line is the geometric mean over its links of the median over
    seeds, from where half of the runs have a plan on every link. Of several comparisons the
    one with the most evaluations speaks for an optimiser: what a run does never depends on when
    it ends.
    """
    speaks = _longest(found)
    best = {
        (row["device"], row["link"]): min(
            float(other["best_known_s"])
            for one in found
            for other in one.summary
            if (other["device"], other["link"]) == (row["device"], row["link"])
        )
        for one in found
        for row in one.summary
    }
    devices = dict.fromkeys(device for device, _ in best)
    panels = [
        Lines(
            TITLES.get(device, device),
            tuple(
                line
                for name, style in OPTIMISER_STYLES.items()
                if name in speaks
                for line in [_line(speaks[name], name, device, style, best)]
                if line is not None
            ),
        )
        for device in devices
    ]
    return line_panels(
        panels,
        "Plans looked at, log scale",
        "Latency / best known, log scale",
        footnote(found),
        log_x=True,
    )


def _longest(found: Sequence[Comparison]) -> dict[str, Comparison]:
    """The comparison with the most evaluations, by optimiser."""
    by_length = sorted(found, key=lambda one: one.evaluations)
    return {name: one for one in by_length for name in one.optimisers}


def _line(
    comparison: Comparison,
    name: str,
    device: str,
    style: MethodStyle,
    best: dict[tuple[str, str], float],
) -> Line | None:
    own = {
        (row["device"], row["link"]): float(row["best_known_s"]) for row in comparison.summary
    }  # fmt: skip
    steps: dict[int, list[float]] = {}
    for row in comparison.traces:
        if (row["optimiser"], row["device"]) == (name, device):
            cell = row["device"], row["link"]
            relative = float(row["median_relative"]) * own[cell] / best[cell]
            steps.setdefault(int(row["evaluations"]), []).append(relative)
    means = {step: _geometric(values) for step, values in sorted(steps.items())}
    kept = {step: mean for step, mean in means.items() if math.isfinite(mean)}
    if not kept:
        return None
    x, y = tuple(map(float, kept)), tuple(kept.values())
    # A marker where it ends: all that there is of a search that has a plan at its end alone.
    fills: list[Fill] = ["none"] * len(x)
    fills[-1] = "plain"
    return Line(style, x, y, y, y, tuple(fills))


def footnote(found: Sequence[Comparison]) -> list[str]:
    """What a reader must know: what is compared, how often, by what evidence, from which data."""
    first = found[0]
    digest = hashlib.sha256(csv_text(found).encode()).hexdigest()[:12]
    budgets = " and ".join(f"{one.evaluations:,}" for one in found)
    seeds = " and ".join(str(n) for n in sorted({one.seeds for one in found}))
    short_ones = {
        OPTIMISER_STYLES[name].label: one.evaluations
        for one in found
        for name in one.optimisers
        if one.evaluations == max(c.evaluations for c in found if name in c.optimisers)
        and one.evaluations < max(c.evaluations for c in found)
    }
    ends = "".join(f" {label} ends at {most:,}." for label, most in short_ones.items())
    none = [
        OPTIMISER_STYLES[name].label
        for name, one in _longest(found).items()
        if not math.isfinite(overall(one, name)[0])
    ]
    if none:
        ends += f" At least half of the runs find no plan on some link: {', '.join(none)}."
    told = [
        f"{first.model}, plans of table {first.about['table']['name']}, convention "
        f"{first.about['convention']}; {seeds} seeds of {budgets} evaluations. Lines: geometric "
        "mean over the links of the median over seeds, from where half of the runs have a plan."
        + ends,
        f"Latency evidence: analytic; accuracy: predicted. Data: {STEM}.csv, SHA-256 {digest}...",
    ]
    return [line for text in told for line in textwrap.wrap(text, _FOOT_COLUMNS)]


def provenance(found: Sequence[Comparison]) -> dict[str, Any]:
    """Where the numbers are from, as plain data."""
    return {
        "made_by": f"coinfer reproduce {STEM}",
        "comparisons": {one.name: dict(one.about) for one in found},
    }


def write(facts: Facts, folder: Path) -> list[Path]:
    """Write figure (SVG, PDF, PNG), tables (CSV, Markdown) and where they are from (JSON)."""
    found = facts.comparisons
    data = csv_text(found)
    texts = {
        "csv": data,
        "md": markdown_text(found, data),
        "json": json.dumps(provenance(found), indent=2) + "\n",
    }
    written = []
    for form, text in texts.items():
        path = folder / f"{STEM}.{form}"
        path.write_text(text, encoding="utf-8", newline="")
        written.append(path)
    with house_style():
        return [*save(draw(found), folder, STEM, TITLE), *written]


def ratios(comparison: Comparison, slow: str, fast: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return an optimiser's median over another's, in every cell; NaN where neither has one."""
    by = {(row["optimiser"], row["device"], row["link"]): float(row["median_s"])
          for row in comparison.summary}  # fmt: skip
    with np.errstate(invalid="ignore"):
        return np.array(
            [np.divide(by[(slow, *cell)], by[(fast, *cell)]) for cell in comparison.cells]
        )
