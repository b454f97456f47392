"""Which method is the fastest under a paper's rules, and under one set of rules for all.

A figure is reproduced under its paper's own accounting, which favours what it does not charge (a
codec's computation) and what it forbids to others (sending the input, staying local). The same
scenarios under harmonised rules say which verdicts depend on that.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reproduce.facts import Facts, Gap, short
from reproduce.plane import plane_of
from reproduce.rates import Point, panel, sweeps_of
from reproduce.scorecard import joined
from reproduce.style import method_style

# Latencies that differ by less are those of one plan, priced along two ways.
_EQUAL = 1e-9

PLANES = ("fig9", "fig10", "threestep2020-fig3", "cia2021-fig2", "cia2021-fig2-resnet50")
"""Figures at one cut at a time; all others of this kind are sweeps."""


def is_plane(matrix: str) -> bool:
    """Whether a matrix is that of a figure at one cut at a time, under either rules."""
    return matrix.removesuffix("-harmonised") in PLANES


@dataclass(frozen=True)
class Winner:
    """The fastest of all methods in one scenario; several where they are equally fast.

    Attributes:
        methods: refs.
        seconds: latency of the median seed.
        evidence: classes of its latency and of the accuracy that admits its plan.
        rows: keys.
    """

    methods: tuple[str, ...]
    seconds: float
    evidence: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """One scenario under both rules: where it is, for people, and who wins."""

    device: str
    where: str
    paper: Winner
    harmonised: Winner

    @property
    def agrees(self) -> bool:
        """Whether some method wins under both."""
        return bool({*self.paper.methods} & {*self.harmonised.methods})


def compare(facts: Facts, figure: str) -> list[Place] | Gap:
    """Return the winners of every scenario of a figure under both rules, or what is missing.

    Args:
        facts: with the rows of both matrices.
        figure: name of its matrix; that of the other is `FIGURE-harmonised`.
    """
    other = f"{figure}-harmonised"
    found = []
    for matrix in (figure, other):
        winners = _winners(facts, matrix)
        if isinstance(winners, Gap):
            return winners
        found.append(winners)
    paper, harmonised = found
    return [
        Place(*place, winner, harmonised[place])
        for place, winner in paper.items()
        if place in harmonised
    ]


def _winners(facts: Facts, matrix: str) -> Mapping[tuple[str, str], Winner] | Gap:
    found = {}
    for place, points in _scenarios(facts, matrix):
        for point in points:
            if point.gap is not None and point.gap.helps:
                return point.gap
        answers = [point for point in points if point.median is not None]
        if not answers:
            return Gap(f"no method of {matrix} has an answer at {place[1]}")
        least = min(point.median_s for point in answers)
        first = [point for point in answers if point.median_s <= least * (1.0 + _EQUAL)]
        found[place] = Winner(
            tuple(point.method for point in first),
            least,
            joined(point.evidence for point in first),
            tuple(point.median.key for point in first if point.median is not None),
        )
    return found


def _scenarios(facts: Facts, matrix: str) -> Iterator[tuple[tuple[str, str], list[Point]]]:
    """Yield every scenario, as device and place, with the points of all methods."""
    if is_plane(matrix):
        plane = plane_of(matrix)
        by_method = plane.points(facts)
        for number, cut in enumerate(plane.conventions):
            yield (plane.device, cut), [own[number] for own in by_method.values()]
        return
    for sweep in sweeps_of(matrix):
        for device in sweep.devices:
            points = panel(facts, sweep, device)
            for place in sweep.places:
                yield (device, sweep.text(place.x)), [p for p in points if p.x == place.x]


COLUMNS = (
    *("device", "place", "agrees", "paper_winner", "paper_s", "paper_evidence"),
    *("harmonised_winner", "harmonised_s", "harmonised_evidence"),
)


def csv_text(places: list[Place]) -> str:
    """The winners as a table, a line per scenario."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in places:
        writer.writerow(
            [one.device, one.where, "yes" if one.agrees else "no"]
            + [
                value
                for winner in (one.paper, one.harmonised)
                for value in (names(winner), winner.seconds, winner.evidence)
            ]
        )
    return file.getvalue()


def names(winner: Winner) -> str:
    """Labels of who wins, for people."""
    return " = ".join(method_style(method).label for method in winner.methods)


def told(places: list[Place]) -> str:
    """Where the rules disagree, in a sentence: each stretch of scenarios with its two winners."""
    apart = [one for one in places if not one.agrees]
    if not apart:
        return f"The same method wins in all {len(places)} scenarios."
    stretches: list[list[Place]] = []
    for one in apart:
        last = stretches[-1][-1] if stretches else None
        follows = last is not None and places.index(one) == places.index(last) + 1
        same = last is not None and (last.device, names(last.paper), names(last.harmonised)) == (
            *(one.device, names(one.paper), names(one.harmonised)),
        )
        if follows and same:
            stretches[-1].append(one)
        else:
            stretches.append([one])
    text = "; ".join(_stretch(some) for some in stretches)
    return f"Another method wins in {len(apart)} of {len(places)} scenarios: {text}."


def _stretch(some: list[Place]) -> str:
    first, last = some[0], some[-1]
    where = first.where if first is last else f"{first.where} to {last.where}"
    return (
        f"{short(first.device)} at {where}, {names(first.paper)} by the paper's rules and "
        f"{names(first.harmonised)} by harmonised ones"
    )
