"""Two stores side by side: which cells both have, how latencies moved, and who wins where.

Nothing is judged here, as the two may come from other code, devices or rules: `coinfer gate` does.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median

from benchmarks.baseline import order
from benchmarks.cells import Cell
from benchmarks.gate_formats import markdown_text
from benchmarks.outcomes import Outcome, Seeds, by_place, place, question_of
from benchmarks.store_rows import counted
from coinfer.errors import printable

FORMATS = ("text", "md", "csv")
COLUMNS = (
    *("model", "device", "server", "link", "snr_db", "convention", "max_accuracy_loss", "method"),
    *("a_status", "b_status", "a_latency_s", "b_latency_s", "ratio", "a_accuracy", "b_accuracy"),
    *("a_wins", "b_wins"),
)
_STATUSES = ("ok", "infeasible", "skipped", "failed")


@dataclass(frozen=True)
class Side:
    """The outcomes of a store, by method and place.

    Attributes:
        places: outcomes by seed.
        bounds: methods that compete with nobody.
    """

    places: Mapping[Cell, Seeds]
    bounds: frozenset[str] = frozenset()

    @classmethod
    def of(cls, outcomes: Iterable[Outcome], bounds: Collection[str] = ()) -> Side:
        """Return outcomes as a side."""
        return cls(by_place(outcomes), frozenset(bounds))

    @cached_property
    def winners(self) -> dict[Cell, Cell]:
        """Of every question, the method with the least latency; of equal ones the first by name."""
        best: dict[Cell, tuple[float, str, Cell]] = {}
        for cell in self.places:
            latency_s = self.latency_s(cell)
            competes = cell.method not in self.bounds
            if competes and latency_s is not None and math.isfinite(latency_s):
                mine = (latency_s, cell.method, cell)
                best[question_of(cell)] = min(best.get(question_of(cell), mine), mine)
        return {question: cell for question, (_, _, cell) in best.items()}

    def status(self, cell: Cell) -> str:
        """How the seeds of a method end in a place: `ok`, `9 ok, 1 infeasible`; '' if not there."""
        counts: Counter[str] = Counter(one.status for one in self.places.get(cell, {}).values())
        if len(counts) <= 1:
            return "".join(counts)
        return ", ".join(f"{counts[name]} {name}" for name in _STATUSES if counts[name])

    def latency_s(self, cell: Cell) -> float | None:
        """The median over seeds, those that found no plan counting as infinite."""
        answers = [
            math.inf if one.latency_s is None else one.latency_s
            for one in self.places.get(cell, {}).values()
            if one.status in ("ok", "infeasible")
        ]
        return float(median(answers)) if answers else None

    def accuracy(self, cell: Cell) -> float | None:
        """The median over the seeds whose plan's accuracy the harness knows."""
        seeds = self.places.get(cell, {}).values()
        known = [one.accuracy for one in seeds if one.accuracy is not None]
        return float(median(known)) if known else None


@dataclass(frozen=True)
class Sides:
    """Two stores.

    Attributes:
        a, b: the first and the second.
        names: what to call them.
    """

    a: Side
    b: Side
    names: tuple[str, str]

    @cached_property
    def cells(self) -> list[Cell]:
        """Methods in places that either has, in canonical order."""
        return sorted({*self.a.places, *self.b.places}, key=order)

    def ratio(self, cell: Cell) -> float | None:
        """The latency in the second over that in the first, where both are finite."""
        first, second = self.a.latency_s(cell), self.b.latency_s(cell)
        if first is None or second is None or not math.isfinite(first + second):
            return None
        return 1.0 if first == second else second / first if first else math.inf

    @cached_property
    def ratios(self) -> dict[str, dict[Cell, float]]:
        """Ratios of latency by method and place."""
        found: dict[str, dict[Cell, float]] = defaultdict(dict)
        for cell in self.cells:
            ratio = self.ratio(cell)
            if ratio is not None:
                found[cell.method][cell] = ratio
        return dict(found)

    @cached_property
    def overtaken(self) -> list[tuple[Cell, Cell]]:
        """The winners of the questions that both answer and another method wins, A's and B's."""
        return [
            (first, self.b.winners[question])
            for question, first in sorted(self.a.winners.items(), key=lambda pair: order(pair[0]))
            if question in self.b.winners and self.b.winners[question].method != first.method
        ]


def formatted(sides: Sides, format: str, show: int) -> str:
    """Return two stores side by side as text of a format, its last line ended.

    Args:
        sides: the two.
        format: one of FORMATS.
        show: places told at most of each kind, 0 for all; CSV tells all.
    """
    if format == "csv":
        return _csv(sides)
    lines = _lines(sides, show, markdown=format == "md")
    return "".join(f"{line}\n" for line in lines)


def _lines(sides: Sides, show: int, *, markdown: bool) -> Iterator[str]:
    for title, head, rows in (
        ("Coverage: cells", ("method", *sides.names, "both"), _coverage(sides)),
        (
            f"Latency, {sides.names[1]} / {sides.names[0]}",
            ("method", "places", "mean", "least", "greatest", "where greatest"),
            _latencies(sides),
        ),
        (
            f"Another method wins in {counted(len(sides.overtaken), 'place')} of "
            f"{len(sides.a.winners.keys() & sides.b.winners.keys())}",
            ("place", *sides.names),
            _overtakings(sides),
        ),
    ):
        table = list(rows)
        yield from _table(title, head, table[: show or None], markdown)
        if show and len(table) > show:
            yield f"and {len(table) - show} more; --show 0 tells all"
        yield ""


def _coverage(sides: Sides) -> Iterator[tuple[str, ...]]:
    """Cells, seeds included, by method and how they end."""
    by_method: dict[str, list[Counter[str]]] = defaultdict(lambda: [Counter(), Counter()])
    both: Counter[str] = Counter()
    for cell in sides.cells:
        first, second = sides.a.places.get(cell, {}), sides.b.places.get(cell, {})
        for counts, seeds in zip(by_method[cell.method], (first, second), strict=True):
            counts.update(one.status for one in seeds.values())
        both[cell.method] += len(first.keys() & second.keys())
    for method, sides_ in sorted(by_method.items()):
        told = [
            ", ".join(f"{counts[name]} {name}" for name in _STATUSES if counts[name]) or "none"
            for counts in sides_
        ]
        yield method, *told, str(both[method])


def _latencies(sides: Sides) -> Iterator[tuple[str, ...]]:
    """Geometric mean, least and greatest ratio of each method."""
    for method, ratios in sorted(sides.ratios.items()):
        values = list(ratios.values())
        finite = all(0 < one < math.inf for one in values)
        mean = math.exp(fmean(map(math.log, values))) if finite else math.nan
        worst = max(ratios, key=ratios.__getitem__)
        where = place(worst) if max(values) > min(values) else "everywhere the same"
        numbers = (f"{one:.4g}" for one in (mean, min(values), max(values)))
        yield method, str(len(values)), *numbers, where


def _overtakings(sides: Sides) -> Iterator[tuple[str, ...]]:
    for first, second in sides.overtaken:
        yield place(first), _won(sides.a, first), _won(sides.b, second)


def _won(side: Side, cell: Cell) -> str:
    return f"{cell.method} in {side.latency_s(cell):.4g} s"


def _table(
    title: str, head: tuple[str, ...], rows: list[tuple[str, ...]], markdown: bool
) -> Iterator[str]:
    if markdown:
        yield f"### {markdown_text(title)}"
        if rows:
            yield ""
            yield f"| {' | '.join(map(markdown_text, head))} |"
            yield f"|{'---|' * len(head)}"
        for row in rows:
            yield f"| {' | '.join(map(markdown_text, row))} |"
        return
    yield printable(title)
    lines = [head, *rows] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        fields = (f"{one:{width}}" for one, width in zip(line, widths, strict=True))
        yield printable(f"  {'  '.join(fields)}".rstrip())


def _csv(sides: Sides) -> str:
    """A line for every method in every place."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for cell in sides.cells:
        question = question_of(cell)
        values = {
            "ratio": sides.ratio(cell),
            **{
                f"{name}_{what}": value
                for name, side in (("a", sides.a), ("b", sides.b))
                for what, value in (
                    ("status", side.status(cell)),
                    ("latency_s", side.latency_s(cell)),
                    ("accuracy", side.accuracy(cell)),
                    ("wins", int(side.winners.get(question) == cell)),
                )
            },
        }
        writer.writerow(vars(cell) | values)
    return text.getvalue()
