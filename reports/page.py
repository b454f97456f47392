"""The report: one self-contained HTML page about what a store holds.

The same rows give the same bytes: dates and command lines come from the runs' provenance, never
from the clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cells import LATENCY_PARTS
from benchmarks.rows import Row
from coinfer import __version__
from coinfer.errors import CoinferError
from coinfer.units import seconds_text
from reproduce.claims import papers, tolerance_text
from reproduce.collect import networks_needed
from reproduce.facts import Facts, cases
from reproduce.figures import Figure, figures
from reproduce.findings import Found, answer_all
from reproduce.networks import networks
from reproduce.present import as_data, excluded_name, statement_text, verdict_counts
from reproduce.scorecard import LABELS, VERDICTS, Judged, judge_all, number_text, used_name

if TYPE_CHECKING:
    from benchmarks.store import Run

# A page of more rows is slow to open; the rest is in the store, and `coinfer export` has it.
MAX_ROWS = 1000

# A mark beside every verdict, so that none is told by colour alone.
MARKS = {
    "reproduced": "✓",
    "ordering holds": "✓",
    "deviates": "≠",
    "not reproducible": "?",
    "pending": "…",
}


@dataclass(frozen=True)
class Drawn:
    """A figure on the page.

    Attributes:
        figure: which.
        svg: the drawing, to be shown inline.
        files: names of the files beside the page.
    """

    figure: Figure
    svg: str
    files: tuple[str, ...]


def write_report(rows: Sequence[Row], runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write the page and what it links to into a folder; return the files.

    Args:
        rows: one row per cell, in the order of the table.
        runs: the runs that computed them.
        folder: made when missing.

    Raises:
        CoinferError: when there are no rows.
    """
    if not rows:
        raise CoinferError("the store has no rows to report; `coinfer run` fills one")
    folder.mkdir(parents=True, exist_ok=True)
    claims = [claim for paper in papers().values() for claim in paper.claims]
    findings = [finding for paper in papers().values() for finding in paper.findings]
    facts = Facts.of(rows, networks(networks_needed(claims, findings)))
    judged, found = judge_all(claims, facts), answer_all(findings, facts)
    drawn, files = [], []
    for figure in figures().values():
        if _has_rows(figure, facts):
            written = figure.write(facts, folder)
            files += written
            svg = next(path for path in written if path.suffix == ".svg")
            drawn.append(Drawn(figure, _inline(svg), tuple(path.name for path in written)))
    data = folder / "scorecard.json"
    text = json.dumps(as_data(judged, found), indent=2, allow_nan=False)
    data.write_text(text + "\n", encoding="utf-8")
    page = folder / "index.html"
    page.write_text(render(rows, runs, judged, found, drawn), encoding="utf-8")
    return [page, data, *files]


def render(
    rows: Sequence[Row],
    runs: Sequence[Run],
    judged: Sequence[Judged],
    found: Sequence[Found],
    drawn: Sequence[Drawn] = (),
) -> str:
    """Return the page as HTML. Every name in it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template("report.html.j2")
    decided = [one for one in judged if one.verdict != "pending"]
    parts = [part for part in LATENCY_PARTS if any(row.result.latency.get(part) for row in rows)]
    return template.render(
        version=__version__,
        tolerance=tolerance_text(),
        verdicts=_verdicts(judged),
        decided=[_claim(one) for one in decided],
        pending=[_claim(one) for one in judged if one.verdict == "pending"],
        findings=[_finding(one) for one in found],
        # Our own drawings: their text is ours, and the only markup that is not escaped.
        figures=[
            {
                "name": one.figure.name,
                "title": one.figure.title,
                "svg": Markup(one.svg),  # noqa: S704
                "files": one.files,
            }
            for one in drawn
        ],
        rows=[_row(row, parts) for row in sorted(rows, key=_scenario_first)[:MAX_ROWS]],
        row_count=len(rows),
        parts=[(part, _part_name(part)) for part in parts],
        empty_parts=[_part_name(part) for part in LATENCY_PARTS if part not in parts],
        assumptions=sorted({text for row in rows for text in row.result.assumptions}),
        runs=[_run(run) for run in runs],
    )


def _has_rows(figure: Figure, facts: Facts) -> bool:
    """Whether the store holds any cell that the figure's claims are about."""
    held = {case for case, _ in facts.rows}
    return any(
        case in held
        for claim in figure.claims()
        if claim.where is not None
        for case in cases(claim.where)
    )


def _inline(svg: Path) -> str:
    """The svg element of a file, without the XML and doctype lines before it."""
    text = svg.read_text(encoding="utf-8")
    return text[text.index("<svg") :]


def _verdicts(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    counts = verdict_counts(judged)
    return [
        {"name": LABELS.get(v, v), "slug": _slug(v), "mark": MARKS[v], "count": counts[v]}
        for v in VERDICTS
    ]


def _claim(one: Judged) -> dict[str, Any]:
    return {
        "id": one.claim.id,
        "place": one.claim.place,
        "statement": statement_text(one),
        "ours": one.ours_text,
        "theirs": one.theirs_text,
        "deviation": one.deviation_text,
        "verdict": one.verdict,
        "label": LABELS.get(one.verdict, one.verdict),
        "slug": _slug(one.verdict),
        "mark": MARKS[one.verdict],
        "cause": one.cause,
        "evidence": one.evidence,
        "numbers": [
            (used_name(one, used), number_text(used.value, one.claim.unit)) for used in one.used
        ],
        "excluded": [(excluded_name(out), out.reason) for out in one.claim.excluded],
    }


def _finding(one: Found) -> dict[str, Any]:
    return {
        "id": one.finding.id,
        "place": one.finding.place,
        "says": one.finding.says,
        "question": one.finding.question,
        "outcome": one.outcome,
        "text": one.text,
        "evidence": one.evidence,
        "numbers": [number.text for number in one.numbers],
    }


def _scenario_first(row: Row) -> tuple[Any, ...]:
    """Methods that answer the same question are neighbours in the table."""
    cell = row.cell
    snr_db = float("-inf") if cell.snr_db is None else cell.snr_db
    place = (cell.convention, cell.model, cell.device, cell.server, cell.link, snr_db)
    return (*place, cell.max_accuracy_loss, cell.method, cell.seed)


def _part_name(part: str) -> str:
    return part.removesuffix("_s").replace("_", " ")


def _row(row: Row, parts: Sequence[str]) -> dict[str, Any]:
    cell, result = row.cell, row.result
    total = result.latency.get("total_s")
    cut = (result.plan or {}).get("cut", {})
    return {
        "model": cell.model,
        "method": cell.method,
        "device": cell.device,
        "server": cell.server,
        "link": cell.link if cell.snr_db is None else f"{cell.link} at {cell.snr_db:g} dB",
        "convention": cell.convention,
        "status": result.status,
        "reason": result.reason,
        "cut": f"{cut['index']} ({cut['after']})" if cut else "",
        "total": "" if total is None else seconds_text(total),
        "parts": [_part(result.latency, part, total) for part in parts],
        "uplink": "" if result.uplink_bits is None else f"{result.uplink_bits:,.0f}",
        "evidence": result.evidence.get("latency", ""),
    }


def _part(latency: dict[str, float], part: str, total: float | None) -> dict[str, Any]:
    value = latency.get(part)
    if value is None or total is None:
        return {"text": "", "percent": 0.0}
    finite = 0.0 < total < float("inf")
    return {
        "text": seconds_text(value) if value else "0",
        "percent": round(100.0 * value / total, 2) if finite else 0.0,
    }


def _run(run: Run) -> dict[str, Any]:
    about = run.provenance
    git = about.get("git")
    return {
        "started": run.started_at,
        "finished": run.finished_at or "not finished",
        "command": " ".join(map(str, about.get("command_line", []))),
        "python": about.get("python", "unknown"),
        "platform": about.get("platform", "unknown"),
        "cpu": about.get("cpu", "unknown"),
        "versions": sorted(
            (name, version) for name, version in about.get("versions", {}).items() if version
        ),
        "commit": "not a git checkout"
        if not git
        else git["commit"] + (" with uncommitted changes" if git["dirty"] else ""),
    }


def _slug(text: str) -> str:
    return re.sub(r"[^a-z]+", "-", text.lower())
