"""The scorecard: every claim of a paper held against rows. A verdict is computed, never typed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from coinfer.errors import CoinferError, UnknownNameError
from coinfer.units import significant
from reproduce.claims import ACCURACY, PER_SECOND, POINTS, Bound, Claim, TableMeasure
from reproduce.facts import Answered, Case, Facts, Gap, cases, short
from reproduce.networks import MEASURES

Verdict = Literal[
    "reproduced",
    "ordering holds",
    "deviates",
    "not reproducible",
    "no plan",
    "not measured",
    "pending",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
# Verdicts on claims that nothing decides yet.
OPEN: tuple[Verdict, ...] = ("no plan", "not measured", "pending")
LABELS: dict[str, str] = {
    "not reproducible": "not reproducible from what is published",
    "no plan": "no plan within the accuracy floor",
}

# Published numbers have two or three digits: what differs by rounding noise is not beyond a bound.
_ROUNDING = 1e-9

# Standard errors to each side of a number that hold it in 95 of 100 repetitions.
_SIDE = 1.96

# Of the many points of a figure that break an ordering, so many are named: the worst.
_MOST_NAMED = 5

_SIGNS: dict[str, str] = {"at_least": ">=", "at_most": "<=", "more_than": ">", "less_than": "<"}


@dataclass(frozen=True)
class Used:
    """One number that went into a verdict: a ratio of two cells, one latency, one measure.

    Attributes:
        case: the scenario; None for a number about a network or from a measurement table.
        slow, fast: the methods compared; `slow` is empty for a single number.
        value: slow / fast, or the number, in the claim's unit; for an ordering from a measurement
            table by how much the fast one leads.
        evidence: its evidence classes.
        rows: keys of the rows it was computed from; none for a number about a network.
        std_error: standard error of the value, None where there is none.
        conditions: under which it was measured, '' where the case says all.
        place: where in a sweep it is, for people; '' elsewhere.
    """

    case: Case | None
    slow: str
    fast: str
    value: float
    evidence: str
    rows: tuple[str, ...] = ()
    std_error: float | None = None
    conditions: str = ""
    place: str = ""


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict.

    Attributes:
        claim: what the paper says.
        verdict: one of VERDICTS.
        ours: our number in the claim's unit; None for orderings and undecided claims.
        deviation: ours / theirs - 1; for accuracies the difference in points, and where theirs is
            0 in the claim's unit; None without ours, and for an inequality that holds.
        cause: what produced a deviation, what is missing, or what is needed; '' when nothing.
        evidence: evidence classes of the numbers used, '' when there are none.
        used: every number that went into it.
        setting: the conditions that all of them share.
        without_broken: the same claim where methods have no answer whose plan broke its accuracy
            floor once trained (`Facts.without_broken`); None where neither number nor verdict
            changes.
    """

    claim: Claim
    verdict: Verdict
    ours: float | None = None
    deviation: float | None = None
    cause: str = ""
    evidence: str = ""
    used: tuple[Used, ...] = ()
    setting: tuple[str, ...] = ()
    without_broken: Judged | None = None

    @property
    def ours_text(self) -> str:
        """Our number or ordering, for people."""
        if self.claim.kind == "ordering" and self.used:
            places = dict.fromkeys(used.case or used.slow for used in self.used)
            even = _even(self.claim)
            lost = {used.case or used.slow for used in self.used if used.value <= even}
            return f"in {len(places) - len(lost)} of {len(places)}"
        if self.ours is None:
            return ""
        if self.std_error is not None:
            return _with_unit(f"{self.ours:.2f} ± {self.std_error:.2f}", self.claim.unit)
        return number_text(self.ours, self.claim.unit)

    @property
    def std_error(self) -> float | None:
        """Standard error of our number, in the claim's unit; None where there is none."""
        return self.used[0].std_error if len(self.used) == 1 else None

    @property
    def conditions(self) -> str:
        """Under which conditions our numbers were measured, and how sure they are; for people."""
        every = (*self.setting, *(used.conditions for used in self.used))
        told = list(dict.fromkeys(filter(None, every)))
        if self.ours is not None and self.std_error is not None:
            low, high = (self.ours + sign * _SIDE * self.std_error for sign in (-1.0, 1.0))
            inside = any(low < edge < high for edge in _edges(self.claim))
            reach = ", across the edge of what counts as reproduced" if inside else ""
            text = _with_unit(f"{low:.2f} to {high:.2f}", self.claim.unit)
            told.append(f"95 % interval {text}{reach}")
        return "; ".join(told)

    @property
    def without_broken_text(self) -> str:
        """What becomes of it where plans that broke their floor count as none, for people."""
        other = self.without_broken
        if other is None:
            return ""
        if other.verdict in OPEN:
            reason = other.cause.removesuffix(f"; {self.claim.note}" if self.claim.note else "")
            return f"undecided: {reason}"
        ours = f", ours {other.ours_text}" if other.ours_text else ""
        return f"{LABELS.get(other.verdict, other.verdict)}{ours}"

    @property
    def theirs_text(self) -> str:
        """The published number or ordering, for people."""
        claim = self.claim
        if claim.theirs is None:
            return "ordering"
        sign = _SIGNS[claim.bound] + " " if claim.bound else ""
        # A published number has the digits it was printed with; a converted ratio has ours.
        text = number_text if claim.printed and claim.unit == "x" else _as_written
        return sign + text(claim.theirs, claim.unit)

    @property
    def deviation_text(self) -> str:
        """The deviation, for people."""
        if self.deviation is None:
            return ""
        if self.claim.in_points:
            return f"{self.deviation:+.2f} points"
        if self.claim.theirs == 0.0:
            unit = "points" if self.claim.unit == "%" else self.claim.unit
            return f"{self.deviation:+.1f} {unit}".rstrip()
        return f"{100 * self.deviation:+.1f} %"


def judge_all(claims: Iterable[Claim], facts: Facts) -> list[Judged]:
    """Judge claims in order."""
    return [judge(claim, facts) for claim in claims]


def judge(claim: Claim, facts: Facts) -> Judged:
    """Return the verdict on a claim that follows from rows and networks alone.

    A claim that needs what does not exist yet is pending; so is one whose rows are absent or
    failed. Where a method that it is about was asked and has no plan within the accuracy floor,
    there is no plan to hold it against. One whose training is in no measurement table is not
    measured. One for which the paper publishes too little is not reproducible; where it can be
    computed under our reading all the same, only if that deviates.

    Methods answer with what they chose, whatever its training showed; what becomes of a decided
    claim where plans that broke their floor count as none stands beside its verdict.
    """
    judged = _judge(claim, facts)
    if judged.verdict in OPEN or not judged.used or facts.without_broken is None:
        return judged
    other = _judge(claim, facts.without_broken)
    if (other.verdict, other.ours_text) == (judged.verdict, judged.ours_text):
        return judged
    return replace(judged, without_broken=other)


def _judge(claim: Claim, facts: Facts) -> Judged:
    """Return the verdict on a claim that follows from these facts."""
    if claim.needs:
        return Judged(claim, "pending", cause=f"needs {claim.needs}")
    if not claim.reachable:
        return Judged(claim, "not reproducible", cause=claim.missing)
    used = _numbers(claim, facts)
    if isinstance(used, Gap):
        if used.no_plan:
            return Judged(
                claim, "no plan", cause="; ".join(filter(None, (used.reason, claim.note)))
            )
        open_as: Verdict = "not measured" if claim.measured else "pending"
        return Judged(claim, open_as, cause=used.reason)
    ours = _ours(claim, used)
    evidence = joined(u.evidence for u in used)
    deviation = _deviation(claim, ours)
    if _holds(claim, ours):
        verdict: Verdict = "ordering holds" if claim.kind == "ordering" else "reproduced"
        cause, deviation = "", None if claim.bound else deviation
    else:
        verdict = "not reproducible" if claim.missing else "deviates"
        cause = "; ".join(filter(None, (_cause(claim, used, ours), claim.missing, claim.note)))
    shown = None if claim.kind == "ordering" else ours
    return Judged(
        claim, verdict, shown, deviation, cause, evidence, tuple(used), _setting(claim, facts)
    )


def _numbers(claim: Claim, facts: Facts) -> list[Used] | Gap:
    """Every number the claim rests on, or the first reason why one is not there."""
    if claim.network is not None:
        return _network_number(claim, facts)
    if claim.measured is not None:
        return _measured_numbers(claim.measured, facts)
    if claim.sweep is not None:
        from reproduce.rates import numbers

        return numbers(claim, facts)
    if claim.plane is not None:
        from reproduce.tradeoff import numbers as of_cuts

        return of_cuts(claim, facts)
    if claim.search is not None:
        from reproduce.learning import settled_episodes

        return settled_episodes(claim, facts)
    assert claim.where is not None
    found: list[Used] = []
    for case in cases(claim.where, claim.excluded):
        for fast in claim.fast:
            for slow in claim.slow or ("",):
                used = _pair(claim, facts, case, slow, fast)
                if isinstance(used, Gap):
                    return replace(used, reason=used.told(claim.matrix))
                found.append(used)
    return found or Gap("every cell is excluded")


def _setting(claim: Claim, facts: Facts) -> tuple[str, ...]:
    """The conditions that all numbers of a decided claim share, none where the claim says all."""
    if claim.sweep is not None:
        from reproduce.rates import conditions

        return conditions(claim, facts)
    if claim.plane is not None:
        from reproduce.tradeoff import conditions as at_cuts

        return at_cuts(claim, facts)
    return ()


def _network_number(claim: Claim, facts: Facts) -> list[Used] | Gap:
    assert claim.network is not None
    if claim.network.measure not in MEASURES:
        raise UnknownNameError("network measure", claim.network.measure, MEASURES)
    network = facts.networks.get(claim.network.model)
    if network is None:
        return Gap(f"the layer graph of '{claim.network.model}' is not at hand")
    measure = MEASURES[claim.network.measure]
    try:
        value = measure.compute(claim.network, network)
    except CoinferError as error:
        return Gap(str(error))
    return [Used(None, "", claim.network.model, value, measure.evidence)]


def _measured_numbers(asked: TableMeasure, facts: Facts) -> list[Used] | Gap:
    from reproduce.measured import MEASURES as OF_TABLES
    from reproduce.measured import how_to_measure

    if asked.measure not in OF_TABLES:
        raise UnknownNameError("measure of a table", asked.measure, OF_TABLES)
    table = facts.table(asked)
    if table is None:
        place = f"{asked.model} with {asked.family} plans on {asked.data}"
        return Gap(f"no measurement table is of {place} ({how_to_measure(asked)})")
    numbers = OF_TABLES[asked.measure](asked, table)
    if isinstance(numbers, Gap):
        return numbers
    return [
        Used(
            None,
            number.against,
            asked.regressor or asked.model,
            number.value,
            number.evidence,
            number.rows,
            number.std_error,
            number.conditions,
        )
        for number in numbers
    ]


def _pair(claim: Claim, facts: Facts, case: Case, slow: str, fast: str) -> Used | Gap:
    bottom = facts.row(case, fast)
    if isinstance(bottom, Gap):
        return bottom
    rows = [bottom]
    value = bottom.result.latency["total_s"] * PER_SECOND.get(claim.unit, 1.0)
    if slow:
        top = facts.row(case, slow)
        if isinstance(top, Gap):
            return top
        rows.insert(0, top)
        value = ratio(top.result.latency["total_s"], bottom.result.latency["total_s"])
    if math.isnan(value):
        return Gap(f"{slow} / {fast} on {short(case.device)} over {short(case.link)} is no number")
    evidence = joined(latency_evidence(row) for row in rows)
    return Used(case, slow, fast, value, evidence, tuple(row.key for row in rows))


def latency_evidence(row: Answered) -> str:
    """Evidence class of a row's latency."""
    return row.result.evidence.get("latency", "unknown")


def joined(evidence: Iterable[str]) -> str:
    """The evidence classes of several numbers, each named once, side by side and never mixed."""
    return ", ".join(sorted({word for text in evidence for word in text.split(", ") if word}))


def ratio(slow_s: float, fast_s: float) -> float:
    """Return slow / fast; NaN where both are 0 or both infinite."""
    if fast_s == 0.0:
        return math.nan if slow_s == 0.0 else math.inf
    return slow_s / fast_s


def _ours(claim: Claim, used: list[Used]) -> float:
    """The one number of the claim: the only one, or the extreme that decides."""
    return _decides(claim)(used, key=lambda u: u.value).value


def _decides(claim: Claim) -> Callable[..., Used]:
    """`max` or `min`: which extreme decides. A bound and an ordering hang on their worst case."""
    worst_is_largest = claim.kind == "bound" and claim.bound in ("at_most", "less_than")
    return max if claim.kind == "max" or worst_is_largest else min


def _deviation(claim: Claim, ours: float) -> float | None:
    if claim.theirs is None:
        return None
    if claim.in_points or claim.theirs == 0.0:
        return ours - claim.theirs
    return ours / claim.theirs - 1.0


def _holds(claim: Claim, ours: float) -> bool:
    if claim.kind == "ordering":
        return ours > _even(claim) + _ROUNDING
    assert claim.theirs is not None
    if claim.bound:
        return _keeps_to(claim.bound, ours, claim.theirs)
    deviation = _deviation(claim, ours)
    assert deviation is not None
    return abs(deviation) <= claim.tolerance + _ROUNDING


def _even(claim: Claim) -> float:
    """The value of an ordering's number where neither is ahead: a ratio of 1, a lead of 0."""
    return 1.0 if claim.measured is None else 0.0


def _edges(claim: Claim) -> tuple[float, ...]:
    """The numbers at which the verdict on a claim in points turns."""
    if claim.theirs is None or not claim.in_points:
        return ()
    return (claim.theirs - claim.tolerance, claim.theirs + claim.tolerance)


def _keeps_to(bound: Bound, ours: float, theirs: float) -> bool:
    """Whether a number lies on the bound's side; what equals the bound up to rounding is equal."""
    noise = _ROUNDING * abs(theirs)
    match bound:
        case "at_least":
            return ours >= theirs - noise
        case "at_most":
            return ours <= theirs + noise
        case "more_than":
            return ours > theirs + noise
        case "less_than":
            return ours < theirs - noise


def _cause(claim: Claim, used: list[Used], ours: float) -> str:
    """What produced a deviation, computed: the deciding cell, and what would hold without it."""
    worst = _decides(claim)(used, key=lambda u: u.value)
    number = number_text(ours, claim.unit)
    if claim.kind in ("min", "max"):
        text = f"the {claim.kind}imum is {_name(claim, worst)} ({number})"
        return text + _without(claim, used)
    if claim.kind in ("bound", "ordering"):
        good = [u for u in used if _holds(claim, u.value)]
        worst_first = claim.bound in ("at_most", "less_than")
        bad = [u for u in used if u not in good]
        bad.sort(key=lambda u: u.value, reverse=worst_first)
        shown = bad[:_MOST_NAMED] if claim.many else bad
        broken = ", ".join(
            f"{_name(claim, u)} ({number_text(u.value, claim.unit)})"
            for u in sorted(shown, key=used.index)
        )
        if len(bad) > len(shown):
            broken += f" and {len(bad) - len(shown)} more"
        tail = f"; holds in the other {len(good)} of {len(used)}" if good else ""
        return f"broken by {broken}{tail}"
    assert claim.theirs is not None
    side = "above" if ours > claim.theirs else "below"
    return f"ours is {side} the published number ({number})"


def _without(claim: Claim, used: list[Used]) -> str:
    """Which single link, device or method, left out, would make the claim hold."""
    link = "the point at" if claim.many else "link"
    axes: tuple[tuple[str, Callable[[Used], str]], ...] = (
        (link, lambda u: u.place or (u.case.link if u.case else "")),
        ("device", lambda u: u.case.device if u.case else ""),
        ("method", lambda u: u.slow),
    )
    # At another point of a sweep another method may be second or last.
    for axis, name in axes[:1] if claim.many else axes:
        for value in dict.fromkeys(name(u) for u in used):
            rest = [u for u in used if name(u) != value]
            if rest and _holds(claim, _ours(claim, rest)):
                held = number_text(_ours(claim, rest), claim.unit)
                how = "which keeps to the bound" if claim.bound else "within the tolerance"
                return f"; without {axis} {short(value)} it is {held}, {how}"
    return ""


def _name(claim: Claim, used: Used) -> str:
    """A pair of cells, named by the axes on which the claim's cells differ."""
    if claim.measured is not None:
        return f"{used.fast} against {used.slow}" if used.slow else used.fast
    methods = f"{used.slow} / {used.fast}" if used.slow else used.fast
    if used.place:
        return f"{methods} at {used.place}"
    if used.case is None or claim.where is None:
        return methods
    places = [short(used.case.link)]
    if len(claim.where.device) > 1:
        places.insert(0, short(used.case.device))
    if len(claim.where.model) > 1:
        places.insert(0, used.case.model)
    return f"{methods} at {', '.join(places)}"


def used_name(judged: Judged, used: Used) -> str:
    """Name one of a verdict's numbers for people, with the conditions it was measured under."""
    return ": ".join(filter(None, (_name(judged.claim, used), used.conditions)))


def number_text(value: float, unit: str) -> str:
    """A number with its unit, to three significant digits (more for large integers)."""
    if unit in (ACCURACY, POINTS):
        text = f"{value:.2f}"
    elif math.isinf(value) or math.isnan(value):
        text = str(value)
    elif value == 0 or 1e-3 <= abs(value) < 1e5:
        text = significant(value, 3) if value else "0"
        text = text.rstrip("0").rstrip(".") if "." in text and unit != "x" else text
    elif abs(value) >= 1e5:
        text = f"{float(f'{value:.3g}'):,.0f}"
    else:
        text = f"{value:.3g}"
    return _with_unit(text, unit)


def _as_written(value: float, unit: str) -> str:
    """A published number with its unit, with the digits of the claims file."""
    return _with_unit(f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:g}", unit)


def _with_unit(text: str, unit: str) -> str:
    return text + ("x" if unit == "x" else f" {unit}" if unit else "")
