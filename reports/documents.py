"""The report as one file for a README or pull request (Markdown), or for a paper (TeX)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from coinfer import __version__
from reports.claim_views import verdict_tiles
from reports.content import Content
from reports.overview import predictions_view, shifts_view, standings_view
from reports.templating import environment, load
from reproduce.claims import tolerance_text
from reproduce.present import LEGEND


def report_text(content: Content, form: Literal["md", "tex"], templates: Path | None = None) -> str:
    """Return the report as Markdown or TeX.

    Raises:
        CoinferError: for a mistake in a template of the user's.
    """
    values: dict[str, Any] = {
        "version": __version__,
        "legend": LEGEND,
        "tolerance": tolerance_text(),
        "row_count": len(content.shown),
        "set_aside": content.set_aside,
        "groups": [standings_view(one) for one in content.standings],
        "predictions": predictions_view(content.predictions),
        "shifts": shifts_view(content.shifts),
        "verdicts": verdict_tiles(content.judged),
        "decided": [claim for claim in content.claims if not claim["open"]],
        "open": [claim for claim in content.claims if claim["open"]],
        "findings": [found for found in content.findings if found["outcome"] != "pending"],
        "figures": [figure for figure in content.figure_views if figure["files"]],
        "runs": content.runs,
    }
    return load(environment(templates), f"report.{form}.j2")(**values)
