"""What a report says, whatever its format: rows judged, compared and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.freshness import Checked, one_per_cell
from reports.claim_views import claim_view, finding_view
from reports.drawings import Figures, draw_all
from reports.figure_pages import figure_views
from reports.method_pages import method_views
from reports.rowtable import anchors, in_order, set_aside
from reports.standings import Standings, predictions, shifts, standings
from reproduce.claims import Claim, Finding, papers
from reproduce.collect import facts_of
from reproduce.facts import Facts
from reproduce.findings import Found, answer_all
from reproduce.scorecard import Judged, judge_all

if TYPE_CHECKING:
    from benchmarks.catalog import Catalog
    from benchmarks.rows import Row
    from benchmarks.store import Run
    from reports.standings import Prediction, Shift


@dataclass(frozen=True, eq=False)
class Content:
    """Everything that a report shows.

    Attributes:
        found: the rows of a store, held against the code here.
        runs: the runs that computed them.
        catalog: by which they were held against it.
        facts: what the claims are judged by.
        judged: the claims.
        answers: the findings.
        figures: what is drawn.
    """

    found: tuple[Checked, ...]
    runs: tuple[Run, ...]
    catalog: Catalog
    facts: Facts
    judged: tuple[Judged, ...]
    answers: tuple[Found, ...]
    figures: Figures

    @classmethod
    def of(
        cls,
        found: Sequence[Checked],
        runs: Sequence[Run],
        catalog: Catalog,
        facts: Facts | None = None,
    ) -> Content:
        """Judge what a store holds; nothing is drawn yet."""
        claims, findings = asked()
        known = facts_of(found, claims, findings) if facts is None else facts
        return cls(
            tuple(found),
            tuple(runs),
            catalog,
            known,
            tuple(judge_all(claims, known)),
            tuple(answer_all(findings, known)),
            Figures(()),
        )

    def with_figures(self, folder: Path) -> Content:
        """Draw the figures into a folder."""
        return replace(self, figures=draw_all(self.shown, self.facts, folder))

    @cached_property
    def shown(self) -> list[Checked]:
        """One row per cell."""
        return one_per_cell(self.found)

    @cached_property
    def ordered(self) -> list[Checked]:
        """One row per cell, as the pages of rows show them."""
        return in_order(self.shown)

    @cached_property
    def current(self) -> list[Row]:
        """Rows that the code at hand would compute: all that is compared."""
        return [one.row for one in self.shown if one.state == "current"]

    @cached_property
    def standings(self) -> list[Standings]:
        """Who wins where, by rules."""
        return standings(self.current, self.catalog)

    @cached_property
    def predictions(self) -> list[Prediction]:
        """Plans whose accuracy was predicted and then measured."""
        return predictions(self.current)

    @cached_property
    def shifts(self) -> list[Shift]:
        """Papers' conventions against `harmonised`."""
        return shifts(self.standings)

    @cached_property
    def set_aside(self) -> list[dict[str, Any]]:
        """Rows that decide nothing."""
        return set_aside(self.shown)

    @cached_property
    def claims(self) -> list[dict[str, Any]]:
        """Claims as pages show them."""
        pages = anchors(self.ordered)
        return [claim_view(one, pages) for one in self.judged]

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """Findings as pages show them."""
        return [finding_view(one) for one in self.answers]

    @cached_property
    def figure_views(self) -> list[dict[str, Any]]:
        """Figures as pages show them."""
        return figure_views(self.figures, self.claims, self.findings)

    @cached_property
    def method_views(self) -> list[dict[str, Any]]:
        """Methods as pages show them."""
        claims: list[tuple[Claim, Mapping[str, Any]]] = [
            (one.claim, view) for one, view in zip(self.judged, self.claims, strict=True)
        ]
        return method_views(self.standings, claims, self.catalog)

    @property
    def files(self) -> list[str]:
        """Names of the figures' files."""
        return [name for one in self.figures.drawn for name in one.files]

    @property
    def warnings(self) -> list[str]:
        """A line for each kind of row that decides nothing."""
        return [
            f"{one['count']} of {one['of']} rows {one['state']}: {one['cause']}"
            for one in self.set_aside
        ]


def asked() -> tuple[list[Claim], list[Finding]]:
    """Every claim and finding of every paper."""
    every = papers().values()
    claims = [claim for paper in every for claim in paper.claims]
    return claims, [finding for paper in every for finding in paper.findings]
