"""Claims and findings as the pages show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from reports.numbers import slug
from reports.rowtable import KEY_DIGITS
from reproduce.claims import Claim
from reproduce.commands import run_command
from reproduce.figures import figures
from reproduce.findings import Found
from reproduce.present import WITHOUT_BROKEN, excluded_name, statement_text, verdict_counts
from reproduce.scorecard import LABELS, OPEN, VERDICTS, Judged, number_text, used_name

# A mark beside every verdict, so that none is told by colour alone.
MARKS = {
    "reproduced": "✓",
    "ordering holds": "✓",
    "deviates": "≠",
    "not reproducible": "?",
    "no plan": "∅",
    "not measured": "…",
    "pending": "…",
}


def verdict_tiles(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """How many claims got each verdict."""
    counts = verdict_counts(judged)
    return [
        {
            "verdict": verdict,
            "name": LABELS.get(verdict, verdict),
            "slug": slug(verdict),
            "mark": MARKS[verdict],
            "count": counts[verdict],
        }
        for verdict in VERDICTS
    ]


def claim_view(one: Judged, pages: Mapping[str, str]) -> dict[str, Any]:
    """A judged claim; numbers link to the rows that a page shows, by the rows' keys."""
    figure = figure_of(one.claim)
    return {
        "id": one.claim.id,
        "paper": one.claim.paper,
        "place": one.claim.place,
        "statement": statement_text(one),
        "kind": one.claim.kind,
        "ours": one.ours_text,
        "ours_value": one.ours,
        "theirs": one.theirs_text,
        "theirs_value": one.claim.theirs,
        "deviation": one.deviation_text,
        "deviation_value": one.deviation,
        "verdict": one.verdict,
        "verdict_place": VERDICTS.index(one.verdict),
        "open": one.verdict in OPEN,
        "slug": slug(one.verdict),
        "mark": MARKS[one.verdict],
        "cause": one.cause,
        "evidence": one.evidence,
        "conditions": one.conditions,
        "without_broken": _without_broken(one),
        "figure": figure,
        "numbers": [
            {
                "name": used_name(one, used),
                "value": number_text(used.value, one.claim.unit),
                "evidence": used.evidence,
                "rows": [
                    {"key": key, "short": key[:KEY_DIGITS], "page": pages.get(key)}
                    for key in used.rows
                ],
            }
            for used in one.used
        ],
        "excluded": [(excluded_name(out), out.reason) for out in one.claim.excluded],
    }


def _without_broken(one: Judged) -> str:
    told = one.without_broken_text
    return f"{WITHOUT_BROKEN}: {told}" if told else ""


def figure_of(claim: Claim) -> str:
    """Name of the figure that a claim is about; '' for none of ours."""
    return _figure_by_claim().get(claim.id, "")


@cache
def _figure_by_claim() -> dict[str, str]:
    """Names of figures by the claims held against them; the first of several."""
    every = reversed(figures().values())
    return {claim.id: figure.name for figure in every for claim in figure.claims()}


def finding_view(one: Found) -> dict[str, Any]:
    """An answered finding, with the experiment that shows it."""
    finding = one.finding
    figure = next((f.name for f in figures().values() if finding.id in f.asks), "")
    return {
        "id": finding.id,
        "paper": finding.paper,
        "place": finding.place,
        "says": finding.says,
        "question": finding.question,
        "outcome": one.outcome,
        "slug": slug(one.outcome),
        "text": one.text,
        "evidence": one.evidence,
        "numbers": [number.text for number in one.numbers],
        "figure": figure,
        "experiment": experiment(finding.matrix, finding.networks),
    }


def experiment(matrices: Sequence[str], networks: Sequence[str] = (), table: str = "") -> str:
    """The commands that show it, in backquotes; '' where there is nothing to run."""
    steps = [f"`{run_command(matrix)}`" for matrix in matrices]
    steps += [f"`coinfer trace {network}`" for network in networks]
    steps += [f"`{table}`"] if table else []
    return ", ".join(steps)


def experiment_of(claim: Claim) -> str:
    """The commands that decide a claim."""
    if claim.measured is not None:
        from reproduce.measured import how_to_measure

        return how_to_measure(claim.measured)
    networks = (claim.network.model,) if claim.network is not None else ()
    return experiment((claim.matrix,) if claim.matrix else (), networks)


def by_paper(views: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Views of claims or findings by the letter of their paper, in order."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for view in views:
        found.setdefault(view["paper"], []).append(view)
    return found
