"""The report: one self-contained HTML page about what a store holds.

The same rows give the same bytes: dates and command lines come from the runs' provenance, never
from the clock. Every number bears its evidence class and says where it comes from: a paper's place,
or a row of the store, and through it the run that computed the row.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cells import LATENCY_PARTS, Cell, Result
from benchmarks.freshness import Checked, one_per_cell
from coinfer import __version__, conventions
from coinfer.errors import CoinferError, printable
from coinfer.hardware import GIVEN_BY_USER
from coinfer.models import models
from coinfer.units import seconds_text
from reproduce.claims import Claim, Finding, papers, tolerance_text
from reproduce.collect import facts_of
from reproduce.facts import Facts, cases
from reproduce.figures import Figure, figures
from reproduce.files import staged
from reproduce.findings import Found, answer_all
from reproduce.present import LEGEND, as_data, excluded_name, statement_text, verdict_counts
from reproduce.scorecard import (
    LABELS,
    OPEN,
    VERDICTS,
    Judged,
    judge_all,
    number_text,
    used_name,
)

if TYPE_CHECKING:
    from benchmarks.catalog import Catalog
    from benchmarks.store import Run
    from coinfer.hardware import Link, Processor

# A page of more rows is slow to open; the rest is in the store, and `coinfer export` has it.
MAX_ROWS = 1000

# What tells a page of ours from another index.html.
MARK = '<meta name="generator" content="coinfer report">'

# A mark beside every verdict, so that none is told by colour alone.
MARKS = {
    "reproduced": "✓",
    "ordering holds": "✓",
    "deviates": "≠",
    "not reproducible": "?",
    "not measured": "…",
    "pending": "…",
}

_KEY_DIGITS = 8
_BACKQUOTED = re.compile(r"`([^`]+)`")


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


def write_report(
    found: Sequence[Checked], runs: Sequence[Run], folder: Path, catalog: Catalog
) -> tuple[list[Path], list[str]]:
    """Write the page and what it links to into a folder.

    Args:
        found: the rows of a store, held against the code here.
        runs: the runs that computed them.
        folder: made when missing; a report that is there is replaced.
        catalog: by which they were held against it.

    Returns:
        The files, and a line of warning for each kind of row that decides nothing.

    Raises:
        CoinferError: when there are no rows, or files of another origin are in the way.
    """
    if not found:
        raise CoinferError("there are no rows to report; `coinfer run` computes some")
    claims, findings = _asked()
    facts = facts_of(found, claims, findings)
    judged, answers = judge_all(claims, facts), answer_all(findings, facts)
    with staged(folder, "index.html", MARK, "`coinfer report`") as here:
        drawn = [
            _drawn(figure, facts, here)
            for figure in figures().values()
            if _has_rows(figure, facts.rows)
        ]
        text = json.dumps(as_data(judged, answers), indent=2, allow_nan=False)
        (here / "scorecard.json").write_text(text + "\n", encoding="utf-8")
        page = render(found, runs, judged, answers, catalog, drawn, _left_out(facts))
        (here / "index.html").write_text(page, encoding="utf-8")
    names = ["index.html", "scorecard.json", *(name for one in drawn for name in one.files)]
    warnings = [
        f"{one['count']} of {one['of']} rows {one['state']}: {one['cause']}"
        for one in _set_aside(one_per_cell(found))
    ]
    return [folder / name for name in names], warnings


def _asked() -> tuple[list[Claim], list[Finding]]:
    every = papers().values()
    claims = [claim for paper in every for claim in paper.claims]
    return claims, [finding for paper in every for finding in paper.findings]


def _drawn(figure: Figure, facts: Facts, folder: Path) -> Drawn:
    written = figure.write(facts, folder)
    svg = next(path for path in written if path.suffix == ".svg").read_text(encoding="utf-8")
    # Without the XML and doctype lines before it.
    return Drawn(figure, svg[svg.index("<svg") :], tuple(path.name for path in written))


def _has_rows(figure: Figure, rows: Iterable[tuple[Any, str]]) -> bool:
    """Whether any of these (case, method) is a cell that the figure's claims are about."""
    held = {case for case, _ in rows}
    return any(
        case in held
        for claim in figure.claims()
        if claim.where is not None
        for case in cases(claim.where)
    )


def _left_out(facts: Facts) -> list[Figure]:
    """Figures that are not drawn because other code computed their rows."""
    return [
        figure
        for figure in figures().values()
        if _has_rows(figure, facts.outdated) and not _has_rows(figure, facts.rows)
    ]


def render(
    found: Sequence[Checked],
    runs: Sequence[Run],
    judged: Sequence[Judged],
    answers: Sequence[Found],
    catalog: Catalog,
    drawn: Sequence[Drawn] = (),
    left_out: Sequence[Figure] = (),
) -> str:
    """Return the page as HTML. Every name in it is escaped, and none can act on the reader."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_inert,
    )
    environment.filters["with_code"] = _with_code
    shown = sorted(one_per_cell(found), key=_scenario_first(found))
    table = shown[:MAX_ROWS]
    parts = [p for p in LATENCY_PARTS if any(one.row.result.latency.get(p) for one in shown)]
    numbers = {run.run_id: number for number, run in enumerate(runs, start=1)}
    anchors = {one.row.key for one in table}
    results = [one.row.result for one in shown]
    return environment.get_template("report.html.j2").render(
        version=__version__,
        legend=LEGEND,
        tolerance=tolerance_text(),
        references=[(paper.letter, paper.reference) for paper in papers().values()],
        verdicts=_verdicts(judged),
        decided=[_claim(one, anchors) for one in judged if one.verdict not in OPEN],
        pending=[_claim(one, anchors) for one in judged if one.verdict in OPEN],
        findings=[_finding(one) for one in answers],
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
        left_out=[figure.title for figure in left_out],
        groups=[
            {"title": _group_title(place), "rows": [_row(one, parts, numbers) for one in members]}
            for place, members in groupby(table, _group)
        ],
        shown_count=len(table),
        row_count=len(shown),
        set_aside=_set_aside(shown),
        superseded=len(found) - len(shown),
        parts=[(part, _part_name(part)) for part in parts],
        empty_parts=[_part_name(part) for part in LATENCY_PARTS if part not in parts],
        optional=_optional_columns(results),
        presets=_presets(table, catalog),
        assumptions=sorted({text for result in results for text in result.assumptions}),
        published=_published_accuracies(shown),
        runs=[_run(run, number) for number, run in enumerate(runs, start=1)],
    )


def _inert(value: Any) -> Any:
    """What a template prints: text without characters that act; markup of ours as it is."""
    return printable(value) if type(value) is str else value


def _with_code(text: str) -> Any:
    """A sentence of ours as markup, what is in backquotes as code."""
    from markupsafe import Markup, escape

    safe = str(escape(printable(text)))
    return Markup(_BACKQUOTED.sub(r"<code>\1</code>", safe))  # noqa: S704


def _verdicts(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    counts = verdict_counts(judged)
    return [
        {"name": LABELS.get(v, v), "slug": _slug(v), "mark": MARKS[v], "count": counts[v]}
        for v in VERDICTS
    ]


def _claim(one: Judged, anchors: set[str]) -> dict[str, Any]:
    return {
        "id": one.claim.id,
        "place": one.claim.place,
        "statement": statement_text(one),
        "ours": one.ours_text,
        "theirs": one.theirs_text,
        "deviation": one.deviation_text,
        "verdict": one.verdict,
        "slug": _slug(one.verdict),
        "mark": MARKS[one.verdict],
        "cause": one.cause,
        "evidence": one.evidence,
        "numbers": [
            {
                "name": used_name(one, used),
                "value": number_text(used.value, one.claim.unit),
                "evidence": used.evidence,
                "rows": [_key(key, anchors) for key in used.rows],
            }
            for used in one.used
        ],
        "excluded": [(excluded_name(out), out.reason) for out in one.claim.excluded],
    }


def _key(key: str, anchors: set[str]) -> dict[str, Any]:
    return {"key": key, "short": key[:_KEY_DIGITS], "shown": key in anchors}


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


def _set_aside(shown: Sequence[Checked]) -> list[dict[str, Any]]:
    """Rows that decide nothing, by state and cause, with how many there are of each."""
    counts = Counter((one.state, one.cause) for one in shown if one.state != "current")
    return [
        {"state": state, "cause": cause, "count": count, "of": len(shown)}
        for (state, cause), count in sorted(counts.items())
    ]


def _group(one: Checked) -> tuple[Any, ...]:
    cell = one.row.cell
    return cell.convention, cell.model, cell.server, cell.max_accuracy_loss


def _group_title(place: tuple[Any, ...]) -> str:
    convention, model, server, loss = place
    return (
        f"{model} with server {server}, convention {convention}, "
        f"accuracy loss of at most {100 * loss:g} points"
    )


def _scenario_first(found: Sequence[Checked]) -> Any:
    """The sort key: methods that answer the same question are neighbours, links go by rate."""
    rates: dict[tuple[str, float | None], float] = {}
    for one in found:
        if one.row.result.rate_bps is not None:
            rates.setdefault((one.row.cell.link, one.row.cell.snr_db), one.row.result.rate_bps)

    def key(one: Checked) -> tuple[Any, ...]:
        cell = one.row.cell
        # A link none of whose cells has a result comes last, in the order of the numbers in it.
        rate_bps = rates.get((cell.link, cell.snr_db), float("inf"))
        snr_db = float("-inf") if cell.snr_db is None else cell.snr_db
        link = (rate_bps, _natural(cell.link), snr_db)
        return (*_group(one), cell.device, link, cell.method, cell.seed)

    return key


_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def _natural(text: str) -> tuple[Any, ...]:
    """A name as it sorts for people: the numbers in it by their value."""
    numbers = tuple(float(number) for number in _NUMBER.findall(text))
    return _NUMBER.sub("0", text), numbers, text


def _part_name(part: str) -> str:
    return part.removesuffix("_s").replace("_", " ")


def _optional_columns(results: Sequence[Result]) -> list[tuple[str, str]]:
    """(name in a row, title) of the columns in which some row has a number."""
    columns = (
        ("loss", "Accuracy loss", "accuracy_loss"),
        ("accuracy", "Accuracy", "accuracy"),
        ("energy", "Energy", "energy_j"),
    )
    return [
        (name, title)
        for name, title, field in columns
        if any(getattr(result, field) is not None for result in results)
    ]


def _row(one: Checked, parts: Sequence[str], numbers: Mapping[str, int]) -> dict[str, Any]:
    cell, result = one.row.cell, one.row.result
    total = result.latency.get("total_s")
    cut = (result.plan or {}).get("cut", {})
    return {
        "key": one.row.key,
        "short": one.row.key[:_KEY_DIGITS],
        "run": numbers.get(one.run_id),
        "state": one.state,
        "slug": _slug(one.state),
        "cause": one.cause,
        "method": cell.method + (f", seed {cell.seed}" if cell.seed else ""),
        "device": cell.device,
        "link": _link_text(cell),
        "status": result.status,
        "reason": result.reason,
        "rate": "" if result.rate_bps is None else _scaled(result.rate_bps, "bit/s"),
        "cut": (str(cut["index"]), str(cut["after"])) if cut else ("", ""),
        "total": "" if total is None else seconds_text(total),
        "parts": [_part(result.latency, part, total) for part in parts],
        "evidence": _evidence(result, "latency"),
        "uplink": _uplink(result),
        "uplink_evidence": _evidence(
            result, "uplink_bits" if result.uplink_symbols is None else "uplink_symbols"
        ),
        "loss": "" if result.accuracy_loss is None else f"{100 * result.accuracy_loss:.4g} points",
        "loss_evidence": _evidence(result, "accuracy_loss"),
        "accuracy": "" if result.accuracy is None else f"{100 * result.accuracy:.4g} %",
        "accuracy_evidence": _evidence(result, "accuracy"),
        "energy": "" if result.energy_j is None else f"{result.energy_j:.3g} J",
        "energy_evidence": _evidence(result, "energy"),
    }


def _uplink(result: Result) -> str:
    """What crosses: analog symbols or bits; '' where nothing is known of it."""
    if result.uplink_symbols is not None:
        return f"{result.uplink_symbols:,} symbols"
    return "" if result.uplink_bits is None else f"{result.uplink_bits:,.0f} bits"


def _link_text(cell: Cell) -> str:
    return cell.link if cell.snr_db is None else f"{cell.link} at {cell.snr_db:g} dB"


def _scaled(value: float, unit: str) -> str:
    """A number of a unit with a prefix: `11.22 Mbit/s`, `326.4 GFLOP/s`."""
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if scale <= value < float("inf"):
            return f"{value / scale:.10g} {prefix}{unit}"
    return f"{value:.10g} {unit}"


def _evidence(result: Result, quantity: str) -> str:
    return result.evidence.get(quantity, "evidence unknown")


def _published_accuracies(shown: Sequence[Checked]) -> list[str]:
    """Where the published accuracies on the page come from."""
    named = {
        one.row.cell.model
        for one in shown
        if one.row.result.evidence.get("accuracy") == "published"
    }
    known = models()
    return [f"{name}: {known[name].published_source}" for name in sorted(named & known.keys())]


def _presets(shown: Sequence[Checked], catalog: Catalog) -> list[dict[str, Any]]:
    """What the current rows rest on: devices, servers, links, conventions, with their sources."""
    current = [one for one in shown if one.state == "current"]
    told = []
    for kind in ("device", "server", "link"):
        refs = {getattr(one.row.cell, kind) for one in current}
        things = {ref: getattr(catalog.presets, kind)(ref) for ref in refs}
        told += [
            {
                "kind": kind,
                "name": ref,
                "numbers": _numbers(things[ref]),
                "source": things[ref].source,
            }
            for ref in sorted(refs, key=_natural)
            # What the user gave stands in the name.
            if things[ref].source != GIVEN_BY_USER
        ]
    told += [
        {
            "kind": "convention",
            "name": name,
            "numbers": conventions.convention(name).note,
            "source": conventions.convention(name).source,
        }
        for name in sorted({one.row.cell.convention for one in current})
    ]
    return told


def _numbers(thing: Processor | Link) -> str:
    """The numbers of a processor or link that a latency or an energy is computed from."""
    units = {
        "flops_per_s": "FLOP/s",
        "rate_bps": "bit/s",
        "bandwidth_hz": "Hz",
        "uses_per_s": "symbol/s",
        "flip_probability": "flip probability",
        "round_trip_s": "s round trip",
        "compute_watts": "W computing",
        "transmit_watts": "W sending",
    }
    held = [(getattr(thing, name, None), unit) for name, unit in units.items()]
    return ", ".join(_scaled(value, unit) for value, unit in held if value)


def _part(latency: Mapping[str, float], part: str, total: float | None) -> dict[str, Any]:
    value = latency.get(part)
    if value is None or total is None:
        return {"text": "", "percent": 0.0}
    finite = 0.0 < total < float("inf")
    return {
        "text": seconds_text(value) if value else "0",
        "percent": round(100.0 * value / total, 2) if finite else 0.0,
    }


def _run(run: Run, number: int) -> dict[str, Any]:
    about = run.provenance
    git = about.get("git")
    return {
        "number": number,
        "started": run.started_at,
        "finished": run.finished_at or "not finished",
        "command": shlex.join(map(str, about.get("command_line", []))),
        "python": about.get("python", "unknown"),
        "platform": about.get("platform", "unknown"),
        "cpu": about.get("cpu", "unknown"),
        "versions": sorted(
            (name, version) for name, version in about.get("versions", {}).items() if version
        ),
        "commit": "not a git checkout"
        if not git
        else str(git.get("commit", "unknown"))
        + " with uncommitted changes" * bool(git.get("dirty")),
    }


def _slug(text: str) -> str:
    return re.sub(r"[^a-z]+", "-", text.lower())
