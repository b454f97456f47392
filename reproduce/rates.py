"""Latency against a swept rate, SNR, noise or floor: rows behind figures, and what they decide.

A method that searches with a seed answers a scenario once per seed. Its median seed speaks for it:
of an even number the slower of the middle two, so that the number is that of a plan that exists
and flatters nobody. A seed without a plan counts as slower than every other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.catalog import Catalog
from benchmarks.cells import Cell
from benchmarks.matrix import Matrix, expand, load
from coinfer.conventions import convention
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.hardware import Link
from coinfer.plan import LOSSLESS_CODERS
from coinfer.refs import parse_ref
from reproduce.claims import PER_SECOND, Claim
from reproduce.facts import Answered, Case, Facts, Gap, by_speed, middle, seconds, short
from reproduce.scorecard import Used, joined, latency_evidence, number_text, ratio
from reproduce.style import method_style

Unit = Literal["Mb/s", "dB", "flips", "points"]

Standing = Literal["held", "broken", "undecided", "unchanged", "predicted"]

PAPER_METHODS = {
    "qho2024": (
        *("all_local", "all_server", "neurosurgeon", "prune_partition", "two_step_pruning"),
        *("fpgm", "bottlenet++", "cia", "qho"),
    ),
    "threestep2020": ("partition_huffman", "two_step_pruning", "bottlenet++", "three_step"),
    "cia2021": (*("partition_huffman", "bottlenet++", "two_step_pruning", "paa", "ipdr", "cia"),),
    "cpcdrl2024": ("neurosurgeon", "greedy", "amc", "cpcdrl"),
}
"""The methods of the papers' comparisons, by their conventions, in their order (Mu et al. 2024,
VI-B; Shao and Zhang 2020, Fig. 3; Zhang et al. 2021, IV-B; Tang et al. 2024, IV-A)."""

PAPER_NETWORKS = {
    "qho2024": {"alexnet": "AlexNet", "regnet_x_400mf": "RegNetX-400MF"},
    "threestep2020": {"resnet18": "ResNet-18"},
    "cia2021": {"resnet50": "ResNet-50"},
    "cpcdrl2024": {"mobilenet_v1": "MobileNet", "vgg16": "VGG16"},
}
"""The papers' networks, by their conventions: our models' names, and theirs. Variants are
`name-variant`."""

_RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)
_BIT_PER_MBIT = 1e6


def network_text(model: str, rules: str = "qho2024") -> str:
    """A network, and which one of the paper's it stands for.

    Args:
        model: whose rows a figure is drawn from.
        rules: their convention; one that is no paper's own has no network either.
    """
    theirs = PAPER_NETWORKS.get(parse_ref(rules).name, {})
    if not theirs or model in theirs:
        return model
    title = theirs.get(model.partition("-")[0], "")
    if title:
        return f"{model} (the paper's is {title})"
    return f"{model}, standing in for the paper's {' and '.join(theirs.values())}"


@dataclass(frozen=True)
class Place:
    """One point of the x axis.

    Attributes:
        link, snr_db: the link, with the SNR of a radio.
        x: in Mb/s, dB, points of accuracy, or the probability of a flipped bit.
        max_accuracy_loss: of the accuracy floor below the baseline, 0..1.
    """

    link: str
    snr_db: float | None
    x: float
    max_accuracy_loss: float = 0.02


@dataclass(frozen=True)
class Sweep:
    """The axes of a matrix whose scenarios on a device differ in rate, SNR, noise or floor alone.

    Attributes:
        matrix: its name.
        model, server, convention: what all cells share.
        devices, methods: in the order of the file.
        places: by rising x.
        seeds: how often a method is asked in every case.
        unit: of x, `Mb/s`, `dB`, `flips` (a share of the bits) or `points` (of accuracy that may
            be lost).
        bandwidth_hz: of the radio where the SNR is swept.
        apart: conventions of methods that the same rules leave another cut than `convention`.
    """

    matrix: str
    model: str
    server: str
    convention: str
    devices: tuple[str, ...]
    methods: tuple[str, ...]
    places: tuple[Place, ...]
    seeds: Mapping[str, int]
    unit: Unit
    bandwidth_hz: float | None
    apart: Mapping[str, str] = field(default_factory=dict)

    def case(self, device: str, place: Place, method: str = "") -> Case:
        """The scenario of a device at a place; a method may be asked at a cut of its own."""
        rules = self.apart.get(method, self.convention)
        return Case(
            *(self.model, device, self.server, place.link, rules, place.snr_db),
            max_accuracy_loss=place.max_accuracy_loss,
        )

    def text(self, x: float) -> str:
        """A place on the x axis, for people."""
        return f"p = {x:.3g}" if self.unit == "flips" else f"{x:.3g} {self.unit}"

    @property
    def absent(self) -> tuple[str, ...]:
        """Methods of the paper's comparison that the matrix does not have.

        Where one cut is left, nothing is said: such a figure compares what is sent there.
        """
        if convention(self.convention).cut:
            return ()
        ours = {parse_ref(method).name for method in self.methods}
        theirs = PAPER_METHODS.get(parse_ref(self.convention).name, ())
        return tuple(name for name in theirs if name not in ours)


_SWEPT: dict[Unit, str] = {"Mb/s": "rates", "dB": "SNRs", "flips": "flipped bits"}
# One and several of what is swept, for people.
_NAMES: dict[Unit, tuple[str, str]] = {
    "Mb/s": ("rate", "rates"),
    "dB": ("SNR", "SNRs"),
    "flips": ("share of flipped bits", "shares of flipped bits"),
    "points": ("accuracy floor", "accuracy floors"),
}


@cache
def sweep_of(matrix: str) -> Sweep:
    """Return the axes of a shipped matrix.

    Raises:
        CoinferError: when there is no such matrix, or its cells differ in more than device,
            method, seed and one of rate, SNR, noise and accuracy floor.
    """
    found = sweeps_of.__wrapped__(matrix)
    if len(found) > 1:
        told = " and ".join(_SWEPT[sweep.unit] for sweep in found)
        raise CoinferError(f"matrix '{matrix}' sweeps over {told}; a sweep has one")
    return found[0]


@cache
def sweeps_of(matrix: str) -> tuple[Sweep, ...]:
    """Return the axes of a shipped matrix, one sweep per kind of link: rates, SNRs, flipped bits.

    Raises:
        CoinferError: when there is no such matrix, or the cells of one kind of link differ in more
            than device, method, seed and that.
    """
    catalog, loaded = Catalog(), load(matrix)
    cells = expand(loaded, catalog)
    links = {link: catalog.presets.link(link) for link in {cell.link for cell in cells}}
    by_unit: dict[Unit, list[Cell]] = {unit: [] for unit in _SWEPT}
    for cell in cells:
        by_unit[_unit(links[cell.link])].append(cell)
    return tuple(
        _sweep(loaded, catalog, own, {cell.link: links[cell.link] for cell in own}, unit)
        for unit, own in by_unit.items()
        if own
    )


def _unit(link: Link) -> Unit:
    return "dB" if link.needs_snr else "flips" if link.uses_per_s is not None else "Mb/s"


def _sweep(
    loaded: Matrix, catalog: Catalog, cells: Sequence[Cell], links: Mapping[str, Link], unit: Unit
) -> Sweep:
    """The axes of cells over one kind of link."""
    matrix = loaded.name
    for axis in ("model", "server"):
        if len({getattr(cell, axis) for cell in cells}) > 1:
            raise CoinferError(f"matrix '{matrix}' has several of axis '{axis}'; a sweep has one")
    if unit == "dB" and len(links) > 1:
        raise CoinferError(f"matrix '{matrix}' has several radios; a sweep has one")
    floors = len({cell.max_accuracy_loss for cell in cells}) > 1
    if floors and len({(cell.link, cell.snr_db) for cell in cells}) > 1:
        raise CoinferError(
            f"matrix '{matrix}' sweeps over links and accuracy floors; a sweep has one"
        )
    places = set()
    for cell in cells:
        link, loss = links[cell.link], cell.max_accuracy_loss
        x = {"dB": cell.snr_db, "flips": link.flip_probability}.get(unit)
        if unit == "Mb/s" and link.rate_bps is not None:
            x = link.rate_bps / _BIT_PER_MBIT
        assert x is not None  # a matrix is expanded with what its links need
        places.add(Place(cell.link, cell.snr_db, 100.0 * loss if floors else x, loss))
    given = [str(catalog.method(ref).ref) for ref in loaded.methods]
    seeds: dict[str, set[int]] = {}
    for cell in cells:
        seeds.setdefault(cell.method, set()).add(cell.seed)
    main, apart = _conventions(matrix, cells)
    bandwidth = {link.bandwidth_hz for link in links.values()}
    return Sweep(
        matrix,
        cells[0].model,
        cells[0].server,
        main,
        tuple(dict.fromkeys(catalog.presets.canonical("device", d) for d in loaded.devices)),
        tuple(dict.fromkeys(method for method in given if method in seeds)),
        tuple(sorted(places, key=lambda place: place.x)),
        {method: len(found) for method, found in seeds.items()},
        "points" if floors else unit,
        bandwidth.pop() if unit == "dB" else None,
        apart,
    )


def _conventions(matrix: str, cells: Sequence[Cell]) -> tuple[str, dict[str, str]]:
    """The convention of most methods, and those of the others: one each, all of the same rules."""
    own: dict[str, set[str]] = {}
    for cell in cells:
        own.setdefault(cell.method, set()).add(cell.convention)
    names = [name for found in own.values() for name in sorted(found)]
    rules = {parse_ref(name).name for name in names}
    if len(rules) > 1 or any(len(found) > 1 for found in own.values()):
        raise CoinferError(f"matrix '{matrix}' has several of axis 'convention'; a sweep has one")
    main = max(sorted(names), key=names.count)
    return main, {method: name for method, (name,) in own.items() if name != main}


@dataclass(frozen=True)
class Point:
    """What a method answers in one case, over its seeds.

    Attributes:
        case: the scenario.
        x: where it is in the sweep.
        method: its ref.
        asked: seeds that the matrix asks for.
        rows: one per seed, the fastest first and those without a plan last.
        gap: why there is no median; None with one.
        told: the same without naming the case, '' with a median.
    """

    case: Case
    x: float
    method: str
    asked: int
    rows: tuple[Answered, ...]
    gap: Gap | None = None
    told: str = ""

    @property
    def answered(self) -> int:
        """Seeds with a plan."""
        return sum(row.result.status == "ok" for row in self.rows)

    @property
    def median(self) -> Answered | None:
        """The row of the median seed."""
        return None if self.gap else middle(self.rows)

    @property
    def median_s(self) -> float:
        """Latency of the median seed; NaN without one."""
        return math.nan if self.median is None else seconds(self.median)

    @property
    def quartiles_s(self) -> tuple[float, float]:
        """Latencies of the seeds at or next outside the quartiles; NaN without a median."""
        if self.gap:
            return math.nan, math.nan
        last = len(self.rows) - 1
        return tuple(  # type: ignore[return-value]
            seconds(self.rows[i]) for i in (math.floor(last / 4), math.ceil(3 * last / 4))
        )

    @property
    def standing(self) -> Standing | None:
        """What is known of the accuracy of the median seed's plan; None without one."""
        return None if self.median is None else standing(self.median)

    @property
    def evidence(self) -> str:
        """Evidence classes of the median: of its latency, and of the accuracy that admits it."""
        if self.median is None:
            return ""
        accuracy = {"unchanged": "", "predicted": "predicted"}.get(
            standing(self.median), "measured"
        )
        return joined((latency_evidence(self.median), accuracy))


def standing(row: Answered) -> Standing:
    """What is known of the accuracy of a row's plan.

    `unchanged`: the plan leaves the network as it is, so nothing can be lost. `held`, `broken` and
    `undecided`: this very plan was measured (design ruling 4). `predicted`: neither.
    """
    plan = row.result.plan or {}
    lossless = parse_ref(plan.get("coder", "float32")).name in LOSSLESS_CODERS
    if not plan.get("keep") and plan.get("codec", "identity") == "identity" and lossless:
        return "unchanged"
    if row.result.measured_accuracy is None:
        return "predicted"
    return row.result.floor_held or "undecided"


def point(facts: Facts, sweep: Sweep, device: str, place: Place, method: str) -> Point:
    """Return what a method answers at a place of the sweep."""
    case = sweep.case(device, place, method)
    return point_of(facts, case, place.x, method, sweep.seeds[method])


def point_of(facts: Facts, case: Case, x: float, method: str, asked: int) -> Point:
    """Return what a method answers in a case that it is asked about with so many seeds."""
    found = facts.rows_of(case, method)
    if isinstance(found, Gap):
        told = "no row" if found.reason.startswith("no row") else found.reason
        return Point(case, x, method, asked, (), found, told)
    rows = by_speed(found)
    answer = middle(rows).result
    if answer.status == "ok":
        return Point(case, x, method, asked, rows)
    told = f"{answer.status}: {answer.reason}"
    reason = f"{method} on {short(case.device)} over {case.place} {told}"
    gap = Gap(reason, no_plan=answer.status == "infeasible")
    return Point(case, x, method, asked, rows, gap, told)


def panel(facts: Facts, sweep: Sweep, device: str) -> list[Point]:
    """Return every point of a device, method by method, by rising x."""
    return [
        point(facts, sweep, device, place, method)
        for method in sweep.methods
        for place in sweep.places
    ]


@dataclass(frozen=True)
class Verified:
    """How many of the plans of median seeds that change their network were measured.

    A plan counts once, however many points show it.

    Attributes:
        measured: of them.
        changed: plans that prune or encode.
        broken, undecided: of the measured ones, those whose floor did not hold, or not surely.
        points: that show a plan that prunes or encodes.
        measured_points: of them, those of a measured plan.
        unchanged_points: that show a plan that leaves its network as it is.
    """

    measured: int
    changed: int
    broken: int
    undecided: int
    points: int
    measured_points: int
    unchanged_points: int

    @classmethod
    def of(cls, points: Sequence[Point]) -> Verified:
        """Count points."""
        found = [
            (one.standing, one.median.result.plan_hash)
            for one in points
            if one.median is not None and one.standing is not None
        ]
        changed = [(known, plan) for known, plan in found if known != "unchanged"]
        measured = [(known, plan) for known, plan in changed if known != "predicted"]
        return cls(
            len({plan for _, plan in measured}),
            len({plan for _, plan in changed}),
            len({plan for known, plan in measured if known == "broken"}),
            len({plan for known, plan in measured if known == "undecided"}),
            len(changed),
            len(measured),
            len(found) - len(changed),
        )

    @property
    def text(self) -> str:
        """The verified share in one clause."""
        if not self.changed:
            return "no plan changes its network"
        told = f"verified {self.measured} of {self.changed} plans that change their network"
        told += f" ({100 * self.measured / self.changed:.0f} %"
        if self.points != self.changed:
            told += f"; {self.measured_points} of the {self.points} points that show them"
        told += ")"
        some = [
            f"{number} {what}"
            for number, what in ((self.broken, "broken"), (self.undecided, "undecided"))
            if number
        ]
        told += f", floor {' and '.join(some)}" if some else ""
        return told + (", the others predicted" if self.measured < self.changed else "")


# What the rows decide: the numbers of claims.


@dataclass(frozen=True)
class Column:
    """All methods at one place of a device's sweep."""

    place: Place
    points: Mapping[str, Point]

    @property
    def answers(self) -> dict[str, float]:
        """Latency by method, of those that answer."""
        return {name: p.median_s for name, p in self.points.items() if p.median is not None}


@dataclass(frozen=True)
class Compared:
    """The columns that a claim is about.

    Attributes:
        sweep: their matrix.
        columns: by rising x.
        left_out: places that the claim excepts.
    """

    sweep: Sweep
    columns: tuple[Column, ...]
    left_out: int


def sweep_asked(claim: Claim) -> Sweep:
    """Return the sweep that a claim is about.

    Raises:
        CoinferError: when its matrix has several and the claim does not say which, or none of that
            kind.
    """
    assert claim.sweep is not None
    if not claim.sweep.over:
        return sweep_of(claim.matrix)
    found = [sweep for sweep in sweeps_of(claim.matrix) if sweep.unit == claim.sweep.over]
    if not found:
        raise CoinferError(f"matrix '{claim.matrix}' sweeps over no '{claim.sweep.over}'")
    return found[0]


def compared(claim: Claim, facts: Facts) -> Compared | Gap:
    """Return what a claim is about, or why that cannot be decided.

    Raises:
        CoinferError: when the matrix is no sweep, or has not the device.
    """
    asked = claim.sweep
    assert asked is not None
    sweep = sweep_asked(claim)
    if asked.device not in sweep.devices:
        raise UnknownNameError("device of the sweep", asked.device, sweep.devices)
    columns = [
        Column(
            place, {name: point(facts, sweep, asked.device, place, name) for name in sweep.methods}
        )
        for place in sweep.places
        if (asked.least is None or place.x >= asked.least)
        and (asked.most is None or place.x <= asked.most)
    ]
    for column in columns:
        for one in column.points.values():
            if one.gap is not None and one.gap.helps:
                return Gap(one.gap.told(claim.matrix))
            if one.rows and len(one.rows) < one.asked:
                gap = Gap(
                    f"{one.method} at {sweep.text(one.x)} has rows of {len(one.rows)} of "
                    f"{one.asked} seeds",
                    "computes the others",
                )
                return Gap(gap.told(claim.matrix))
    kept = tuple(c for c in columns if not _fastest(asked.unless_fastest, c))
    if not kept:
        return Gap(f"{asked.unless_fastest} is the fastest at every point")
    return Compared(sweep, kept, len(columns) - len(kept))


def _fastest(method: str, column: Column) -> bool:
    answers = column.answers
    return method in answers and answers[method] <= min(answers.values())


def second_best(claim: Claim, among: Compared) -> list[Used] | Gap:
    """Gain over the fastest of the other methods; below 1 where that one is ahead."""
    return _against_one(claim, among, min)


def worst(claim: Claim, among: Compared) -> list[Used] | Gap:
    """Gain over the slowest of the other methods."""
    return _against_one(claim, among, max)


def _against_one(claim: Claim, among: Compared, choose: Callable[..., Point]) -> list[Used] | Gap:
    (fast,) = claim.fast
    found = []
    for column in among.columns:
        bottom = column.points[fast]
        if bottom.gap is not None:
            return bottom.gap
        others = [p for name, p in column.points.items() if name != fast and p.median is not None]
        if not others:
            return Gap(f"no method but {fast} has an answer at {among.sweep.text(bottom.x)}")
        found.append(_used(among.sweep, choose(others, key=lambda p: p.median_s), bottom))
    return found


def each(claim: Claim, among: Compared) -> list[Used] | Gap:
    """Every slow method (all others, if none is named) over every fast one, at every place."""
    slow = claim.slow or tuple(name for name in among.sweep.methods if name not in claim.fast)
    found = []
    for column in among.columns:
        for name in claim.fast:
            bottom = column.points[name]
            if bottom.gap is not None:
                return bottom.gap
            others = [column.points[other] for other in slow]
            found += [
                _used(among.sweep, top, bottom)
                for top in others
                if top.median is not None and not _chose(bottom, top)
            ]
    return found or Gap(f"none of {', '.join(slow)} has an answer of its own")


# Methods that are a plan: who chooses that plan has chosen them, and is no rival of theirs. The
# other way round a tie is a tie: a search that ends at their plan is not ahead of them.
_GIVEN = ("all_local", "all_server")


def _chose(given: Point, other: Point) -> bool:
    """Whether another method chose the plan that a method is."""
    if given.method not in _GIVEN or given.median is None or other.median is None:
        return False
    return given.median.result.plan_hash == other.median.result.plan_hash


def _same_plans(claim: Claim, among: Compared) -> str:
    """Which methods are left out of a comparison with each since they chose the one's plan."""
    if claim.sweep is None or claim.sweep.measure != "each":
        return ""
    slow = claim.slow or tuple(name for name in among.sweep.methods if name not in claim.fast)
    same = [
        other
        for column in among.columns
        for name in claim.fast
        for other in slow
        if _chose(column.points[name], column.points[other])
    ]
    if not same:
        return ""
    told = ", ".join(method_style(name).label for name in dict.fromkeys(same))
    return f"{told} not compared where it chose that plan"


def spread(claim: Claim, among: Compared) -> list[Used] | Gap:
    """Longest over shortest latency of a method; of a slow method over that of a fast one."""
    found = {}
    for name in (*claim.fast, *claim.slow):
        points = [column.points[name] for column in among.columns]
        missing = next((p.gap for p in points if p.gap is not None), None)
        if missing is not None and name in claim.fast:
            return missing
        if missing is None:
            rows = [p.median for p in points if p.median is not None]
            times = [p.median_s for p in points]
            evidence = joined(p.evidence for p in points)
            found[name] = max(times) / min(times), evidence, tuple(row.key for row in rows)
    if not claim.slow:
        return [Used(None, "", name, *found[name]) for name in claim.fast]
    used = [
        Used(None, slow, fast, top / bottom, joined((above, below)), rows + more)
        for fast in claim.fast
        for slow in claim.slow
        if slow in found
        for (top, above, rows), (bottom, below, more) in [(found[slow], found[fast])]
    ]
    return used or Gap(f"none of {', '.join(claim.slow)} has an answer at every point")


def _used(sweep: Sweep, slow: Point, fast: Point) -> Used:
    assert slow.median is not None
    assert fast.median is not None
    return Used(
        fast.case,
        slow.method,
        fast.method,
        ratio(slow.median_s, fast.median_s),
        joined((slow.evidence, fast.evidence)),
        (slow.median.key, fast.median.key),
        place=sweep.text(fast.x),
    )


def latencies(claim: Claim, among: Compared) -> list[Used] | Gap:
    """Latency of every fast method at every place, in the claim's unit."""
    found = []
    for column in among.columns:
        for name in claim.fast:
            point = column.points[name]
            if point.median is None:
                return point.gap or Gap(f"{name} has no answer")
            value = point.median_s * PER_SECOND[claim.unit]
            rows = (point.median.key,)
            place = among.sweep.text(point.x)
            found.append(Used(point.case, "", name, value, point.evidence, rows, place=place))
    return found


def growth(claim: Claim, among: Compared) -> list[Used] | Gap:
    """Latency of every fast method where most is swept, over that where least is."""
    return _changes(claim, among, lambda first, last: last / first)


def bend(claim: Claim, among: Compared) -> list[Used] | Gap:
    """How steeply the latency of every fast method falls up to a turn, over how steeply beyond.

    Steepness is the fall of the latency's logarithm per unit of what is swept. Infinite where it
    falls up to the turn only.
    """
    assert claim.sweep is not None
    turn = claim.sweep.turn
    middle = [i for i, column in enumerate(among.columns) if column.place.x == turn]
    if not middle or middle[0] in (0, len(among.columns) - 1):
        return Gap(f"{turn} is no inner point of what is swept")
    x = [column.place.x for column in among.columns]

    def steepness(*times_s: float) -> float:
        (at,) = middle
        before = math.log(times_s[0] / times_s[at]) / (x[at] - x[0])
        beyond = math.log(times_s[at] / times_s[-1]) / (x[-1] - x[at])
        if beyond <= 0.0:  # it does not fall any more
            return math.inf if before > 0.0 else 0.0
        return before / beyond

    return _changes(claim, among, steepness, every=True)


def _changes(
    claim: Claim, among: Compared, change: Callable[..., float], *, every: bool = False
) -> list[Used] | Gap:
    """A number per fast method, from its latencies in s at the ends of the sweep or everywhere."""
    columns = among.columns if every else (among.columns[0], among.columns[-1])
    found = []
    for name in claim.fast:
        points = [column.points[name] for column in columns]
        missing = next((point.gap for point in points if point.gap is not None), None)
        if missing is not None:
            return missing
        rows = tuple(point.median.key for point in points if point.median is not None)
        evidence = joined(point.evidence for point in points)
        value = change(*(point.median_s for point in points))
        found.append(Used(None, "", name, value, evidence, rows))
    return found


MEASURES: dict[str, Callable[[Claim, Compared], list[Used] | Gap]] = {
    "latencies": latencies,
    "second_best": second_best,
    "worst": worst,
    "each": each,
    "spread": spread,
    "growth": growth,
    "bend": bend,
}


def numbers(claim: Claim, facts: Facts) -> list[Used] | Gap:
    """Return every number that a claim about a sweep rests on, or why there is none.

    Raises:
        UnknownNameError: when no computation has the name that the claim gives.
    """
    assert claim.sweep is not None
    if claim.sweep.measure not in MEASURES:
        raise UnknownNameError("measure of a sweep", claim.sweep.measure, MEASURES)
    among = compared(claim, facts)
    if isinstance(among, Gap):
        return among
    found = MEASURES[claim.sweep.measure](claim, among)
    if isinstance(found, list) and any(math.isnan(used.value) for used in found):
        return Gap("a ratio of two dead links is no number")
    return found


def conditions(claim: Claim, facts: Facts) -> tuple[str, ...]:
    """Return the conditions of a decided claim, for people.

    Network, rules, places, seeds, methods and what was verified; and the interval over seeds, if
    the claim is about an extreme.
    """
    among = compared(claim, facts)
    assert isinstance(among, Compared)
    assert claim.sweep is not None
    sweep, columns = among.sweep, among.columns
    places = f"{len(columns)} {_NAMES[sweep.unit][len(columns) != 1]}"
    if len(columns) > 1:
        places += f" from {columns[0].place.x:.3g} to {sweep.text(columns[-1].place.x)}"
    else:
        places += f", {sweep.text(columns[0].place.x)}"
    if among.left_out:
        title = method_style(claim.sweep.unless_fastest).label
        places += f" ({among.left_out} left out, where {title} is the fastest)"
    points = [point for column in columns for point in column.points.values()]
    seeds = max(point.asked for point in points)
    told = [
        network_text(sweep.model, sweep.convention),
        f"convention {sweep.convention}",
        places,
        *([f"radio of {sweep.bandwidth_hz / 1e6:g} MHz"] if sweep.bandwidth_hz else []),
        f"median of {seeds} seeds where a method has any" if seeds > 1 else "one seed",
        _methods_text(sweep, points),
        *filter(None, [_same_plans(claim, among)]),
        Verified.of(points).text,
    ]
    return tuple(filter(None, (", ".join(told), _interval_text(claim, among))))


def _methods_text(sweep: Sweep, points: Sequence[Point]) -> str:
    """Which methods are compared, and which of the paper's are not."""
    there = {point.method for point in points if point.median is not None}
    text = f"among {len(there)} methods"
    if sweep.absent:
        text += f" without the paper's {', '.join(method_style(m).label for m in sweep.absent)}"
    silent = [f"{', '.join(names)} ({told})" for told, names in unanswered(sweep, points).items()]
    return text + (f", no answer of {'; '.join(silent)}" if silent else "")


def unanswered(sweep: Sweep, points: Sequence[Point]) -> dict[str, list[str]]:
    """Reasons why there is no answer, each with the methods that it holds for, by label.

    A method that answers elsewhere is named with the number of its points that lack one.
    """
    shared: dict[str, list[str]] = {}
    for method in sweep.methods:
        own = [point for point in points if point.method == method]
        for told in dict.fromkeys(point.told for point in own if point.gap is not None):
            number = sum(point.told == told for point in own)
            part = "" if number == len(own) else f" at {number} of {len(own)} points"
            shared.setdefault(told, []).append(method_style(method).label + part)
    return shared


def _interval_text(claim: Claim, among: Compared) -> str:
    """The 95 % interval of an extreme over resampled seeds, '' where there is none to tell."""
    assert claim.sweep is not None
    last = claim.sweep.measure == "worst"
    if claim.kind not in ("min", "max") or claim.sweep.measure not in ("second_best", "worst"):
        return ""
    medians = {
        name: _resampled_medians(np.array([_by_seed(c.points[name]) for c in among.columns]), i)
        for i, name in enumerate(among.sweep.methods)
        if all(column.points[name].rows for column in among.columns)
    }
    if all(len(own) == 1 for own in medians.values()):
        return ""
    (fast,) = claim.fast
    shape = (_RESAMPLES, len(among.columns))
    answered = {
        name: np.array([c.points[name].median is not None for c in among.columns])
        for name in medians
    }
    # A method without an answer at a place is nobody's rival there, as in the number itself.
    none = -np.inf if last else np.inf
    others = np.stack(
        [
            np.where(answered[name], np.broadcast_to(own, shape), none)
            for name, own in medians.items()
            if name != fast
        ]
    )
    with np.errstate(invalid="ignore"):
        gains = (np.max if last else np.min)(others, axis=0) / medians[fast]
    extremes = (np.max if claim.kind == "max" else np.min)(gains, axis=1)
    if not np.isfinite(extremes).all():
        return ""
    low, high = np.percentile(extremes, _INTERVAL)
    return (
        f"95 % interval over the seeds {number_text(float(low), 'x')} to "
        f"{number_text(float(high), 'x')}"
    )


def _by_seed(point: Point) -> list[float]:
    return [seconds(row) for row in sorted(point.rows, key=lambda row: row.cell.seed)]


def _resampled_medians(times_s: NDArray[np.float64], stream: int) -> NDArray[np.float64]:
    """Medians over resampled seeds, the same seeds at every place.

    Args:
        times_s: latency by place and seed, (X, S).
        stream: tells methods apart: their seeds have nothing in common.

    Returns:
        (B, X), or (1, X) where there is one seed.
    """
    seeds = times_s.shape[1]
    if seeds == 1:
        return times_s.T
    drawn = np.random.default_rng([0, stream]).integers(seeds, size=(_RESAMPLES, seeds))
    middle: NDArray[np.float64] = np.sort(times_s[:, drawn], axis=2)[:, :, seeds // 2].T
    return middle
