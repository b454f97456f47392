"""The report as a site: pages that open from disk, and need nothing but each other.

The same rows give the same bytes: dates and command lines come from the runs' provenance, never
from the clock. Every number bears its evidence class and says where it comes from: a paper's place,
or a row of the store, and through it the run that computed the row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.folders import staged
from coinfer import __version__
from coinfer.errors import CoinferError
from reports.claim_views import by_paper, experiment_of, verdict_tiles
from reports.content import Content
from reports.method_pages import method_page
from reports.numbers import base_name
from reports.origins import presets_told, run_told, selections_told, tables_told
from reports.overview import predictions_view, shifts_view, standings_view
from reports.rowtable import row_pages
from reports.templating import environment, load, script_hash, source_of
from reports.whatif import embedded, whatif_data
from reproduce.claims import papers, tolerance_text
from reproduce.draw import user_style
from reproduce.present import LEGEND, as_data

if TYPE_CHECKING:
    from jinja2 import Environment

    from benchmarks.catalog import Catalog
    from benchmarks.freshness import Checked
    from benchmarks.store import Run

Format = Literal["html", "md", "tex"]

# What tells a page of ours from another of that name, by the file that bears it.
MARK = '<meta name="generator" content="coinfer report">'
BEARERS: dict[Format, tuple[str, str]] = {
    "html": ("index.html", MARK),
    "md": ("report.md", "<!-- coinfer report -->"),
    "tex": ("report.tex", "% coinfer report"),
}

NAV = (
    ("index.html", "Overview"),
    ("figures.html", "Figures"),
    ("methods.html", "Methods"),
    ("scorecard.html", "Scorecard"),
    ("findings.html", "Findings"),
    ("whatif.html", "What if"),
    ("rows.html", "Rows"),
    ("provenance.html", "Provenance"),
)

EVIDENCE = (
    ("published", "copied from a paper"),
    ("analytic", "counted FLOPs and bits through the cost model"),
    ("predicted", "by a regressor fitted to measured plans"),
    ("measured", "really trained, or counted on real data"),
)

# Pages of an earlier report whose figure, method or rows are gone now.
_GONE = ("figure-*.html", "method-*.html", "rows-*.html")


def write_report(
    found: Sequence[Checked],
    runs: Sequence[Run],
    folder: Path,
    catalog: Catalog,
    *,
    form: Format = "html",
    templates: Path | None = None,
    style: Path | None = None,
) -> tuple[list[Path], list[str]]:
    """Write a report and what it links to into a folder.

    Args:
        found: the rows of a store, held against the code here.
        runs: the runs that computed them.
        folder: made when missing; a report that is there is replaced.
        catalog: by which they were held against it.
        form: a site, a Markdown file or a TeX file.
        templates: a folder whose templates stand before ours.
        style: a Matplotlib style file for the figures, over the house style.

    Returns:
        The files, and a line of warning for each kind of row that decides nothing.

    Raises:
        CoinferError: when there are no rows, a template or style is wrong, or files of another
            origin are in the way.
    """
    if not found:
        raise CoinferError("there are no rows to report; `coinfer run` computes some")
    content = Content.of(found, runs, catalog)
    bearer, mark = _bearer(folder, form)
    with staged(folder, bearer, mark, "`coinfer report`") as here:
        with user_style(style) if style is not None else nullcontext():
            content = content.with_figures(here)
        texts = texts_of(content, form, templates)
        for name, text in texts.items():
            (here / name).write_text(text, encoding="utf-8")
        names = list(texts) + content.files
    if form == "html":
        _remove_gone(folder, names)
    return [folder / name for name in names], content.warnings


def _bearer(folder: Path, form: Format) -> tuple[str, str]:
    """The file by which the folder is known as ours: the format's, or that of another one there."""
    name, mark = BEARERS[form]
    if not (folder / name).exists():
        for other, other_mark in BEARERS.values():
            if (folder / other).is_file() and _has(folder / other, other_mark):
                return other, other_mark
    return name, mark


def _has(path: Path, mark: str) -> bool:
    with path.open("rb") as file:
        return mark.encode() in file.read(4096)


def _remove_gone(folder: Path, names: Sequence[str]) -> None:
    for pattern in _GONE:
        for path in folder.glob(pattern):
            if path.name not in names and path.is_file() and _has(path, MARK):
                path.unlink()


def texts_of(
    content: Content, form: Format = "html", templates: Path | None = None
) -> dict[str, str]:
    """Return the text of every file of a report but the figures', by name."""
    if form == "html":
        return pages(content, templates)
    from reports.documents import report_text

    return {BEARERS[form][0]: report_text(content, form, templates)}


def pages(content: Content, templates: Path | None = None) -> dict[str, str]:
    """Return every page by its file name, and `scorecard.json`.

    Every name in them is escaped, and none can act on the reader.

    Raises:
        CoinferError: for a mistake in a template of the user's.
    """
    made = environment(templates)
    site = _Site(content, made)
    found = {
        "index.html": site.page("index.html", "Overview", **_overview(content)),
        "figures.html": site.page("figures.html", "Figures", figures=content.figure_views),
        "methods.html": site.page("methods.html", "Methods", methods=content.method_views),
        "scorecard.html": site.page(
            "scorecard.html",
            "Scorecard",
            legend=LEGEND,
            tolerance=tolerance_text(),
            claims=sorted(content.claims, key=lambda claim: claim["open"]),
            verdicts=verdict_tiles(content.judged),
        ),
        "findings.html": site.page("findings.html", "What we found", **_findings(content)),
        "whatif.html": site.page(
            "whatif.html",
            "What if",
            script="whatif.js",
            data=_markup(embedded(whatif_data(content.current, content.catalog))),
        ),
        "provenance.html": site.page(
            "provenance.html",
            "Provenance",
            runs=[run_told(run, number) for number, run in enumerate(content.runs, start=1)],
            presets=presets_told(content.shown, content.catalog),
            selections=selections_told(content.shown),
            tables=tables_told(content.facts.tables),
        ),
    }
    for rows in row_pages(content.ordered, site.run_numbers):
        older = len(content.found) - len(content.shown)
        found[rows["name"]] = site.page("rows.html", here="rows.html", superseded=older, **rows)
    for figure in content.figure_views:
        found[figure["page"]] = site.page(
            "figure.html", figure["title"], here="figures.html", figure=figure
        )
    for method in content.method_views:
        found[method["page"]] = site.page(
            "method.html", method["title"], here="methods.html", method=method
        )
    text = json.dumps(as_data(content.judged, content.answers), indent=2, allow_nan=False)
    return {**found, "scorecard.json": text + "\n"}


class _Site:
    """Renders pages that share a frame."""

    def __init__(self, content: Content, made: Environment) -> None:
        self._content, self._made = content, made
        self._style = source_of(made, "site.css")
        self._scripts = {name: source_of(made, name) for name in ("site.js", "whatif.js")}
        self.run_numbers = {run.run_id: n for n, run in enumerate(content.runs, start=1)}

    def page(
        self, template: str, title: str, *, here: str = "", script: str = "", **values: Any
    ) -> str:
        """Render a page; `script` is the one that it needs beside the frame's."""
        names = ["site.js", *([script] if script else [])]
        scripts = [self._scripts[name] for name in names]
        return load(self._made, f"{template}.j2")(
            version=__version__,
            title=title,
            nav=NAV,
            here=here or template,
            style=_markup(self._style),
            scripts=[_markup(text) for text in scripts],
            script_hashes=_markup(" ".join(map(script_hash, scripts))),
            evidence_classes=EVIDENCE,
            references={letter: paper.reference for letter, paper in papers().items()},
            set_aside=self._content.set_aside,
            method_page=method_page,
            **values,
        )


def _markup(text: str) -> Any:
    """Text of ours (or JSON that cannot end its element) that is not escaped."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704


def _overview(content: Content) -> dict[str, Any]:
    current = content.current
    methods = {base_name(row.cell.method) for row in current}
    return {
        "row_count": len(content.shown),
        "method_count": len(methods),
        "scenario_count": sum(len(one.scenarios) for one in content.standings),
        "groups": [standings_view(one) for one in content.standings],
        "predictions": predictions_view(content.predictions),
        "shifts": shifts_view(content.shifts),
        "conventions": sorted({base_name(row.cell.convention) for row in current}),
        "verdicts": verdict_tiles(content.judged),
        "contradictions": [f for f in content.findings if f["outcome"] == "contradiction"],
        "figures": content.figure_views,
    }


def _findings(content: Content) -> dict[str, Any]:
    missing = [
        {**view, "missing": one.claim.missing, "experiment": experiment_of(one.claim)}
        for one, view in zip(content.judged, content.claims, strict=True)
        if one.claim.missing
    ]
    return {
        "findings": by_paper(content.findings),
        "missing": by_paper(missing),
        "choices": [m for m in content.method_views if m["choices"]],
        "counts": {
            outcome: sum(f["outcome"] == outcome for f in content.findings)
            for outcome in ("contradiction", "no contradiction", "pending")
        },
    }
