"""Who wins where: rows brought together by the question they answer.

A method that searches with a seed speaks by its median seed, as in `reproduce.rates`. The reference
optimum of a scenario is the best known plan (design ruling 10): the fastest of all plans that any
method chose anywhere for that network under those rules, priced in that scenario. So no method is
faster than it, unless by a plan whose measured accuracy broke the floor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from coinfer.conventions import convention
from coinfer.cost import Workload, latency
from coinfer.errors import CoinferError
from reports.numbers import base_name
from reproduce.facts import Case, Facts, short
from reproduce.rates import Point, point_of
from reproduce.scorecard import joined
from reproduce.style import method_style

if TYPE_CHECKING:
    from benchmarks.catalog import Catalog
    from benchmarks.cells import Result
    from benchmarks.rows import Row
    from reproduce.facts import Answered

BASELINE = "all_local"
HARMONISED = "harmonised"

# Two latencies that differ by less are one: the same plan, added up in another order.
_TIE = 1e-9


@dataclass(frozen=True, order=True)
class Rules:
    """What rows must share to be compared: a network, a server, rules and a floor."""

    model: str
    convention: str
    server: str
    max_accuracy_loss: float

    @property
    def title(self) -> str:
        """For people."""
        loss = f"{100 * self.max_accuracy_loss:g}"
        return (
            f"{self.model}, server {short(self.server)}, convention {self.convention}, accuracy "
            f"loss of at most {loss} point{'s' * (loss != '1')}"
        )


@dataclass(frozen=True)
class Scenario:
    """All methods in one case.

    Attributes:
        case: device, link and rules.
        rate_bps: of the uplink; infinite where no row knows it.
        points: what each method answers, by its ref.
        best_s: the reference optimum; infinite where there is no plan.
    """

    case: Case
    rate_bps: float
    points: Mapping[str, Point]
    best_s: float
    references: frozenset[str]

    @cached_property
    def answers(self) -> dict[str, float]:
        """Latency by competing method, of those that answer, the fastest first."""
        found = {
            name: point.median_s
            for name, point in self.points.items()
            if point.median is not None and name not in self.references
        }
        return dict(sorted(found.items(), key=lambda item: item[1]))

    @cached_property
    def winners(self) -> tuple[str, ...]:
        """The fastest methods: one, or all that tie; none over a dead link."""
        if not self.answers:
            return ()
        first_s = next(iter(self.answers.values()))
        if math.isinf(first_s):
            return ()
        return tuple(name for name, s in self.answers.items() if s <= first_s * (1 + _TIE))

    @property
    def lead(self) -> float:
        """Latency of the second best over that of the best; NaN with fewer than two methods."""
        times = list(self.answers.values())
        return times[1] / times[0] if len(times) > 1 and 0 < times[0] < math.inf else math.nan

    def speedup(self, method: str) -> float:
        """Latency of All_Local over that of a method; NaN where either is missing."""
        return _over(self._seconds(BASELINE), self._seconds(method))

    def regret(self, method: str) -> float:
        """Latency over that of the best known plan, less 1; NaN without either."""
        return _over(self._seconds(method), self.best_s) - 1.0

    def _seconds(self, method: str) -> float:
        point = self.points.get(method)
        return math.nan if point is None else point.median_s


def _over(slow_s: float, fast_s: float) -> float:
    if not (0.0 < fast_s < math.inf) or not (slow_s < math.inf):
        return math.nan
    return slow_s / fast_s


@dataclass(frozen=True)
class Standings:
    """Scenarios under the same rules, device by device, each by rising rate.

    Attributes:
        rules: what they share.
        methods: in the order of the registry, strangers' last.
        references: those of them that are bounds and compete with nobody.
        scenarios: every case.
        plans: distinct plans that the reference optimum was taken from.
    """

    rules: Rules
    methods: tuple[str, ...]
    references: frozenset[str]
    scenarios: tuple[Scenario, ...]
    plans: int

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """In the order of the scenarios."""
        return tuple(dict.fromkeys(one.case.device for one in self.scenarios))

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Links by rising rate, with the SNR of a radio."""
        by_rate = sorted(self.scenarios, key=lambda one: (one.rate_bps, one.case.place))
        return tuple(dict.fromkeys(one.case.place for one in by_rate))

    def at(self, device: str, place: str) -> Scenario | None:
        """Return the scenario of a device over a link."""
        return self._by_place.get((device, place))

    @cached_property
    def _by_place(self) -> dict[tuple[str, str], Scenario]:
        return {(one.case.device, one.case.place): one for one in self.scenarios}

    def summary(self, method: str) -> Summary:
        """What a method does over all scenarios."""
        answered = [one for one in self.scenarios if one.points[method].median is not None]
        wins = [one for one in self.scenarios if method in one.winners]
        return Summary(
            method,
            len(answered),
            len(self.scenarios),
            len(wins),
            sum(len(one.winners) > 1 for one in wins),
            Spread.of(one.speedup(method) for one in answered if method != BASELINE),
            Spread.of(one.lead for one in wins if len(one.winners) == 1),
            Spread.of(one.regret(method) for one in answered),
            joined(one.points[method].evidence for one in answered),
        )


@dataclass(frozen=True)
class Spread:
    """Median and extremes of some numbers; NaN of none."""

    low: float
    middle: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of the finite ones."""
        known = [value for value in values if math.isfinite(value)]
        if not known:
            return cls(math.nan, math.nan, math.nan, 0)
        return cls(min(known), median(known), max(known), len(known))


@dataclass(frozen=True)
class Summary:
    """A method over scenarios of the same rules.

    Attributes:
        method: its ref.
        answered, scenarios: cases with a plan, of all.
        wins: where it is the fastest, ties included.
        ties: where another is as fast.
        speedup: over All_Local; lead: over the second best, where it wins alone.
        regret: against the reference optimum.
        evidence: classes of its numbers.
    """

    method: str
    answered: int
    scenarios: int
    wins: int
    ties: int
    speedup: Spread
    lead: Spread
    regret: Spread
    evidence: str


def standings(rows: Sequence[Row], catalog: Catalog) -> list[Standings]:
    """Bring rows together by rules: those with the most rows first.

    Rows that were asked at one cut at a time are left out: who wins there is a figure's question.

    Args:
        rows: one per cell, all of the code at hand.
        catalog: that resolves their names.
    """
    groups: dict[Rules, list[Row]] = {}
    for row in rows:
        cell = row.cell
        if convention(cell.convention).cut:
            continue
        rules = Rules(cell.model, cell.convention, cell.server, cell.max_accuracy_loss)
        groups.setdefault(rules, []).append(row)
    order = sorted(groups, key=lambda rules: (-len(groups[rules]), rules))
    return [_standings(rules, groups[rules], catalog) for rules in order]


def _standings(rules: Rules, rows: Sequence[Row], catalog: Catalog) -> Standings:
    facts = Facts.of(rows)
    methods = _ordered({row.cell.method for row in rows}, catalog)
    references = frozenset(method for method in methods if is_reference(method, catalog))
    seeds: dict[str, set[int]] = {}
    for row in rows:
        seeds.setdefault(row.cell.method, set()).add(row.cell.seed)
    by_case: dict[Case, list[Answered]] = {}
    for (case, _), found in facts.rows.items():
        by_case.setdefault(case, []).extend(found)
    offered = _offered(rows)
    scenarios = []
    for case, own in by_case.items():
        rate_bps = _rate_bps(own)
        points = {
            method: point_of(facts, case, rate_bps, method, len(seeds[method]))
            for method in methods
        }
        best_s = min(_least_s(own), _priced_s(offered, case, catalog))
        scenarios.append(Scenario(case, rate_bps, points, best_s, references))
    scenarios.sort(key=lambda one: (one.case.device, one.rate_bps, one.case.place))
    return Standings(rules, methods, references, tuple(scenarios), len(offered))


def is_reference(method: str, catalog: Catalog) -> bool:
    """Whether a method is a bound, which competes with nobody."""
    return catalog.is_bound(method)


def _ordered(methods: set[str], catalog: Catalog) -> tuple[str, ...]:
    known = list(catalog.methods.classes)

    def place(method: str) -> tuple[int, str]:
        name = base_name(method)
        return (known.index(name) if name in known else len(known), method)

    return tuple(sorted(methods, key=place))


def _rate_bps(rows: Iterable[Answered]) -> float:
    rates = (row.result.rate_bps for row in rows if row.result.rate_bps is not None)
    return next(rates, math.inf)


def _admissible(result: Result) -> bool:
    return result.status == "ok" and result.floor_held != "broken"


def _least_s(rows: Iterable[Answered]) -> float:
    times = (row.result.latency["total_s"] for row in rows if _admissible(row.result))
    return min(times, default=math.inf)


Offered = Mapping[str, tuple[int, int, float, int, int]]


def _offered(rows: Iterable[Row]) -> Offered:
    """Work of every distinct admissible plan that any scenario can price.

    What goes through a channel is left out: its accuracy holds for that channel alone.
    """
    found: dict[str, tuple[int, int, float, int, int]] = {}
    for row in rows:
        result, plan = row.result, row.result.plan or {}
        work = (
            result.device_flops,
            result.server_flops,
            result.uplink_bits,
            result.encode_flops or 0,
            result.decode_flops or 0,
        )
        if (
            _admissible(result)
            and result.plan_hash
            and plan.get("channel", "none") == "none"
            and None not in work
        ):
            found[result.plan_hash] = work  # type: ignore[assignment]
    return found


def _priced_s(offered: Offered, case: Case, catalog: Catalog) -> float:
    """The least latency of these plans in a case; infinite where its names are not known."""
    if not offered:
        return math.inf
    try:
        presets = catalog.presets
        link = presets.link(case.link)
        speeds = presets.device(case.device).speed(), presets.server(case.server).speed()
        rate_bps = link.rate(case.snr_db)
    except CoinferError:
        return math.inf
    device, server, bits, encode, decode = np.array(list(offered.values()), float).T
    work = Workload(device, server, bits, encode, decode)
    return float(np.min(latency(work, *speeds, rate_bps, link.round_trip_s).total_s))


@dataclass(frozen=True)
class Prediction:
    """A plan whose accuracy was predicted and then measured (0..1, validation images)."""

    method: str
    plan_hash: str
    predicted: float
    measured: float
    floor: str


def predictions(rows: Iterable[Row]) -> list[Prediction]:
    """Every plan that has both, once per method, in the order of methods and plans."""
    found = {
        (row.cell.method, row.result.plan_hash): Prediction(
            row.cell.method,
            row.result.plan_hash,
            row.result.predicted_accuracy,
            row.result.measured_accuracy,
            row.result.floor_held,
        )
        for row in rows
        if row.result.plan_hash
        and row.result.predicted_accuracy is not None
        and row.result.measured_accuracy is not None
    }
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True)
class Shift:
    """A method under a paper's convention and under `harmonised`, in the same scenarios.

    Attributes:
        rules: those of the paper.
        method: its ref.
        scenarios: how many both have a plan in.
        ratio: latency under harmonised rules over that under the paper's.
        wins, wins_harmonised: where it is the fastest, among them.
    """

    rules: Rules
    method: str
    scenarios: int
    ratio: Spread
    wins: int
    wins_harmonised: int


def shifts(every: Sequence[Standings]) -> list[Shift]:
    """Compare each paper's convention with `harmonised`, where the rows have both."""
    found = []
    for theirs in every:
        if theirs.rules.convention == HARMONISED:
            continue
        ours = next((one for one in every if _same_but_rules(one.rules, theirs.rules)), None)
        if ours is None:
            continue
        for method in (name for name in theirs.methods if name in ours.methods):
            pairs = [
                (own, other)
                for own in theirs.scenarios
                for other in [ours.at(own.case.device, own.case.place)]
                if other is not None
                and own.points[method].median is not None
                and other.points[method].median is not None
            ]
            if pairs:
                ratios = (
                    _over(other.points[method].median_s, own.points[method].median_s)
                    for own, other in pairs
                )
                found.append(
                    Shift(
                        theirs.rules,
                        method,
                        len(pairs),
                        Spread.of(ratios),
                        sum(method in own.winners for own, _ in pairs),
                        sum(method in other.winners for _, other in pairs),
                    )
                )
    return found


def _same_but_rules(ours: Rules, theirs: Rules) -> bool:
    return ours.convention == HARMONISED and (
        (ours.model, ours.server, ours.max_accuracy_loss)
        == (theirs.model, theirs.server, theirs.max_accuracy_loss)
    )


def method_codes(methods: Iterable[str]) -> dict[str, str]:
    """Return a short code for each method, for cells too narrow for its name; no two alike."""
    codes: dict[str, str] = {}
    for method in methods:
        label = method_style(method).label
        capitals = "".join(sign for sign in label if sign.isupper() or sign.isdigit())
        letters = "".join(sign for sign in label if sign.isalnum()) or "?"
        few = letters if len(letters) <= 3 else capitals[:2] if len(capitals) > 1 else letters[0]
        code, number = few.upper(), 2
        while code in codes.values():
            code, number = f"{few.upper()}{number}", number + 1
        codes[method] = code
    return codes
