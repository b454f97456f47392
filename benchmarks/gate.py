"""The regression gate: what moved between a baseline and a run, and whether that may pass.

Figures without randomness are hard: any worsening beyond the last bits is a regression. A method
whose answers depend on its seed is compared by its medians over seeds, and only what is worse by
more than the limit *and* significant counts: a rank test, adjusted for all tests of the comparison
(Holm), so that two runs of the same code differ wrongly less often than `false_alarms` says.
Figures that rank seeds alike (a latency and its regret) are one test, and one that is the same for
every seed of both runs is none: no ranks could make it significant (Tarone, Biometrics 1990).
Coverage counts like speed: a cell that is gone, renamed, failed or skipped is a regression.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean, median
from typing import Literal

from benchmarks.baseline import Baseline, order
from benchmarks.cells import Cell
from benchmarks.outcomes import (
    ANSWERED,
    LATENCY,
    METRICS,
    REFERENCE,
    REGRET,
    SPEEDUP,
    Metric,
    Outcome,
    Seeds,
    asked_of,
    by_place,
    figures_of,
    least_latencies,
    question_of,
)
from benchmarks.ranks import holm, least_p, rank_test, seeds_needed
from benchmarks.store_rows import counted
from benchmarks.thresholds import Limit, Thresholds
from coinfer.errors import EXIT_FAILED, EXIT_OK, CoinferError

Verdict = Literal["regressed", "unsure", "improved", "new"]

# From worst to best.
_STATUSES = ("failed", "skipped", "infeasible", "ok")
_FLOORS = ("broken", "undecided", "held")


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was.

    Attributes:
        verdict: `regressed`; `unsure` (worse by more than the limit, but not significantly);
            `improved`; `new` (a cell that the baseline lacks).
        what: the metric; or `cell` (gone or new), `status`, `reason` (of a skip), `floor_held`.
        cell: where, without its seed.
        old, new: numbers or words; None where there is none.
        note: why this is the verdict.
        weight: how bad, as a share of what it was; infinite for what is no number.
        line: of the cell in the baseline's file, 0 where not known.
    """

    verdict: Verdict
    what: str
    cell: Cell
    old: float | str | None
    new: float | str | None
    note: str = ""
    weight: float = math.inf
    line: int = 0

    @property
    def ratio(self) -> float | None:
        """New / old, of numbers; None from 0."""
        if isinstance(self.old, float) and isinstance(self.new, float) and self.old != 0:
            return 1.0 if self.old == self.new else self.new / self.old
        return None


@dataclass(frozen=True)
class Comparison:
    """A run held against a baseline.

    Attributes:
        findings: worst first.
        asked: every place of a method in either, without seeds, in canonical order, with the
            reason where it was skipped in both.
        cells: in both.
        tests: rank tests that counted.
        uncompared: figures that only some seeds have, which are not compared.
    """

    findings: tuple[Finding, ...]
    asked: Mapping[Cell, str]
    cells: int
    tests: int
    uncompared: int

    def of(self, verdict: Verdict) -> list[Finding]:
        """Return the findings of a verdict, worst first."""
        return [one for one in self.findings if one.verdict == verdict]

    @property
    def exit_code(self) -> int:
        """1 when something regressed, else 0."""
        return EXIT_FAILED if self.of("regressed") else EXIT_OK


# A place of a method, and the name of the figure that ranks its seeds.
_Test = tuple[Cell, str]


@dataclass(frozen=True)
class _Pair:
    """A figure of one method in one place in both runs: a value for every seed that has one.

    Without new values every answer of the baseline had it and none of the run has. `ranked_by`
    names the figure that ranks the seeds as this one does; `cut` says that the one plan is cut
    elsewhere.
    """

    cell: Cell
    metric: Metric
    limit: Limit
    old: tuple[float, ...]
    new: tuple[float, ...]
    ranked_by: str
    cut: str = ""

    @property
    def tested(self) -> bool:
        """Whether seeds decide."""
        return self.limit.over_seeds and bool(self.new)

    @property
    def test(self) -> _Test:
        """What is tested: figures with the same ranks share it."""
        return self.cell, self.ranked_by

    @property
    def varies(self) -> bool:
        """Whether any two seeds of either run differ."""
        return len({*self.old, *self.new}) > 1

    @property
    def centres(self) -> tuple[float, float]:
        """What stands for the seeds; NaN if one is."""
        return _centre(self.metric, self.old), _centre(self.metric, self.new)

    @property
    def worse_by(self) -> float:
        """By how much the new one is worse."""
        return self.metric.worse_by(*self.centres)


def compare(
    baseline: Baseline, run: Baseline, thresholds: Thresholds, *, decidable: bool = True
) -> Comparison:
    """Hold a run against a baseline.

    Args:
        baseline, run: the two.
        thresholds: how much worse a figure may get.
        decidable: refuse a baseline whose seeds are too few for any change to be significant.

    Raises:
        CoinferError: when a threshold names a method that neither has, or seeds are too few.
    """
    old, new = by_place(baseline.outcomes.values()), by_place(run.outcomes.values())
    thresholds.check({cell.method for cell in (*old, *new)})
    stochastic = baseline.stochastic | run.stochastic
    pairs, uncompared = _pairs(old, new, stochastic, thresholds)
    if decidable:
        _require_seeds([pair for pair in pairs if pair.tested], thresholds.false_alarms)
    tests = len({pair.test for pair in pairs if pair.tested and pair.varies})
    findings = [*_gone(old, new), *_added(old, new), *_statuses(old, new, stochastic)]
    findings += _judged(pairs, tests, thresholds.false_alarms)
    lines = _lines(baseline)
    return Comparison(
        findings=tuple(
            replace(one, line=lines.get(one.cell, 0)) for one in sorted(findings, key=_order)
        ),
        asked={
            cell: _skip_reason(old.get(cell, {}), new.get(cell, {}))
            for cell in sorted({*old, *new}, key=order)
        },
        cells=sum(cell in run.outcomes for cell in baseline.outcomes),
        tests=tests,
        uncompared=uncompared,
    )


# Coverage.


def _gone(old: Mapping[Cell, Seeds], new: Mapping[Cell, Seeds]) -> Iterator[Finding]:
    renamed = _same_elsewhere(old, new)
    for cell, outcomes in old.items():
        missing = [seed for seed in outcomes if seed not in new.get(cell, {})]
        if missing:
            which = "" if len(outcomes) == 1 else f"; {_named(missing)}"
            hint = f"; renamed? {renamed[cell]} has its values" if cell in renamed else ""
            note = f"in the baseline, not in the run{which}{hint}"
            yield Finding("regressed", "cell", cell, outcomes[missing[0]].status, "gone", note)


def _added(old: Mapping[Cell, Seeds], new: Mapping[Cell, Seeds]) -> Iterator[Finding]:
    for cell, outcomes in new.items():
        added = [seed for seed in outcomes if seed not in old.get(cell, {})]
        failed = [seed for seed in added if outcomes[seed].status == "failed"]
        which = "" if len(outcomes) == 1 else f"; {_named(added)}"
        if failed:
            reason = outcomes[failed[0]].reason
            yield Finding("regressed", "cell", cell, None, "failed", f"new{which}; {reason}")
        elif added:
            status = outcomes[added[0]].status
            yield Finding("new", "cell", cell, None, status, f"not in the baseline{which}", 0.0)


def _same_elsewhere(old: Mapping[Cell, Seeds], new: Mapping[Cell, Seeds]) -> dict[Cell, str]:
    """Of cells that are gone, what a new cell with the same values has for another name."""
    fresh: dict[object, list[Cell]] = defaultdict(list)
    for cell, outcomes in new.items():
        if cell not in old:
            fresh[_values(outcomes)].append(cell)
    found: dict[Cell, str] = {}
    for cell, outcomes in old.items():
        if cell in new:
            continue
        for other in fresh.get(_values(outcomes), []):
            differing = [
                one.name
                for one in fields(Cell)
                if getattr(cell, one.name) != getattr(other, one.name)
            ]
            if len(differing) == 1:
                found.setdefault(cell, f"{differing[0]} '{getattr(other, differing[0])}'")
    return found


def _values(outcomes: Seeds) -> object:
    return tuple(
        (seed, one.status, one.latency_s, one.accuracy, one.cut)
        for seed, one in sorted(outcomes.items())
    )


# Statuses.


def _statuses(
    old: Mapping[Cell, Seeds], new: Mapping[Cell, Seeds], stochastic: Collection[str]
) -> Iterator[Finding]:
    """Yield what ends otherwise than it did, seeds of one method in one place together."""
    for cell in old.keys() & new.keys():
        changes: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        random = cell.method in stochastic
        for seed in old[cell].keys() & new[cell].keys():
            change = _change(old[cell][seed], new[cell][seed], random)
            if change is not None:
                changes[change].append(seed)
        for (what, before, after), seeds in changes.items():
            scale = _FLOORS if what == "floor_held" else _STATUSES
            worse = what == "reason" or scale.index(after) <= scale.index(before)
            reason = new[cell][seeds[0]].reason if what == "status" else ""
            which = _named(seeds) if random else ""
            note = "; ".join(filter(None, (reason, which)))
            yield Finding("regressed" if worse else "improved", what, cell, before, after, note)


def _change(old: Outcome, new: Outcome, random: bool) -> tuple[str, str, str] | None:
    """What ends otherwise, and from what to what; None where nothing does."""
    if new.status == "failed" or old.status != new.status:
        # Of seeds, the share that has a plan is tested as any figure is.
        plans = {old.status, new.status} <= {"ok", "infeasible"}
        return None if random and plans else ("status", old.status, new.status)
    if new.status == "skipped" and old.reason != new.reason:
        return "reason", old.reason, new.reason
    if not random and old.floor_held != new.floor_held and old.floor_held and new.floor_held:
        return "floor_held", old.floor_held, new.floor_held
    return None


def _skip_reason(old: Seeds, new: Seeds) -> str:
    both = [*old.values(), *new.values()]
    skipped = bool(old and new) and all(one.status == "skipped" for one in both)
    return both[0].reason if skipped else ""


# Figures.


def _pairs(
    old: Mapping[Cell, Seeds],
    new: Mapping[Cell, Seeds],
    stochastic: Collection[str],
    thresholds: Thresholds,
) -> tuple[list[_Pair], int]:
    """Return the figures that are compared, and how many are not as only some seeds have them.

    A figure that every answer of the baseline has and none of the run is a pair without new values.
    """
    shared = [cell for cell in old if cell in new]
    least_s = least_latencies({cell: (*old[cell].values(), *new[cell].values()) for cell in shared})
    found: list[_Pair] = []
    uncompared = 0
    for cell in shared:
        random = cell.method in stochastic
        question = question_of(cell)
        references_s = [_reference_s(side, question) for side in (old, new)]
        before, after = (
            _figures(side[cell], reference_s, least_s.get(question), random)
            for side, reference_s in zip((old, new), references_s, strict=True)
        )
        if not before.answers or not after.answers:
            continue
        cut = _cut_moved(old[cell], new[cell])
        for metric in METRICS.values():
            limit = thresholds.limit(metric.name, cell.method, random)
            values, others = before.values(metric), after.values(metric)
            if limit.ignored or not values or (metric is ANSWERED and not random):
                continue
            whole, also = before.whole(metric), after.whole(metric)
            if (whole and also) or (whole and after.answered and not others):
                ranked_by = _ranked_by(metric, references_s[0] == references_s[1])
                found.append(_Pair(cell, metric, limit, values, others, ranked_by, cut))
            else:
                uncompared += 1
    return found, uncompared


def _ranked_by(metric: Metric, same_reference: bool) -> str:
    """The figure that ranks seeds as a metric does: what divides latencies ranks nothing anew."""
    by_latency = metric is REGRET or (metric is SPEEDUP and same_reference)
    return LATENCY.name if by_latency else metric.name


@dataclass(frozen=True)
class _Figures:
    """The figures of the seeds of one method in one place.

    Attributes:
        answers: by the name of the metric, of each seed that has a plan, or none that meets the
            floor.
        answered: of them, how many have a plan.
    """

    answers: tuple[Mapping[str, float], ...]
    answered: int

    def values(self, metric: Metric) -> tuple[float, ...]:
        """Return the values that are known."""
        return tuple(one[metric.name] for one in self.answers if metric.name in one)

    def whole(self, metric: Metric) -> bool:
        """Whether every plan has the figure."""
        return len(self.values(metric)) >= max(1, self.answered)


def _figures(
    seeds: Seeds, reference_s: float | None, least_s: float | None, random: bool
) -> _Figures:
    # Without randomness a change of status is told by itself.
    statuses = ("ok", "infeasible") if random else ("ok",)
    answers = [one for one in seeds.values() if one.status in statuses]
    return _Figures(
        tuple(figures_of(one, reference_s, least_s) for one in answers),
        sum(one.status == "ok" for one in answers),
    )


def _reference_s(side: Mapping[Cell, Seeds], question: Cell) -> float | None:
    """The latency of All_Local in a place."""
    found = side.get(replace(question, method=REFERENCE), {}).get(0)
    return None if found is None else found.latency_s


def _cut_moved(old: Seeds, new: Seeds) -> str:
    cuts = [{one.cut for one in side.values()} for side in (old, new)]
    if cuts[0] == cuts[1] or any(len(one) != 1 for one in cuts):
        return ""
    return f"cut after {cuts[0].pop() or 'nothing'} -> {cuts[1].pop() or 'nothing'}"


def _centre(metric: Metric, values: Sequence[float]) -> float:
    if not values or any(map(math.isnan, values)):
        return math.nan
    return fmean(values) if metric is ANSWERED else float(median(values))


def _require_seeds(tests: Sequence[_Pair], level: float) -> None:
    """Refuse to compare what could never be significant.

    Raises:
        CoinferError: naming a method, and how many seeds it needs.
    """
    # Of an accuracy only the seeds with a plan have a value; what the others lack is tested too.
    seeds: dict[Cell, int] = defaultdict(int)
    for pair in tests:
        seeds[pair.cell] = max(seeds[pair.cell], len(pair.old))
    if not seeds:
        return
    fewest = min(seeds, key=seeds.__getitem__)
    # All of them, as those that do not vary yet may do so in the next run.
    count = len({pair.test for pair in tests})
    if count * least_p(seeds[fewest], seeds[fewest]) > level:
        raise CoinferError(
            f"'{fewest.method}' has {counted(seeds[fewest], 'seed')}: of "
            f"{counted(count, 'figure')} that depend on seeds none could ever change "
            f"significantly (false_alarms = {level:g}); the matrix needs "
            f"{seeds_needed(count, level)} seeds or more, or the thresholds say "
            "over_seeds = false and why"
        )


def _judged(pairs: Sequence[_Pair], tests: int, level: float) -> Iterator[Finding]:
    """Yield a finding for every figure that moved by more than its limit."""
    moved = [pair for pair in pairs if abs(pair.worse_by) > pair.limit.worse]
    # Each direction is adjusted by itself: an improvement is no alarm.
    for worse in (True, False):
        members = [pair for pair in moved if (pair.worse_by > 0) == worse]
        raw = {pair.test: _p_value(pair, worse) for pair in members if pair.tested}
        adjusted = dict(zip(raw, holm(list(raw.values()), tests), strict=True))
        for pair in members:
            p_value = adjusted[pair.test] if pair.tested else None
            if p_value is None or p_value <= level:
                yield _finding(pair, "regressed" if worse else "improved", p_value, tests)
            elif worse:
                yield _finding(pair, "unsure", p_value, tests)


def _p_value(pair: _Pair, worse: bool) -> float:
    if any(map(math.isnan, (*pair.old, *pair.new))):
        return 0.0  # no number: nothing to be tested
    sign = 1 if (pair.metric.better == "less") == worse else -1
    return rank_test([sign * one for one in pair.old], [sign * one for one in pair.new])


def _finding(pair: _Pair, verdict: Verdict, p_value: float | None, tests: int) -> Finding:
    before, after = pair.centres
    notes = [_allowed(pair)]
    if not pair.new:
        notes = ["known in the baseline, of no plan of this run"]
    elif p_value is not None:
        centre = "means" if pair.metric is ANSWERED else "medians"
        notes.append(
            f"{centre} of {len(pair.old)} and {len(pair.new)} seeds, p = {p_value:.2g} adjusted "
            f"for {counted(tests, 'test')}"
        )
    notes += filter(None, (pair.cut, pair.limit.reason))
    return Finding(
        verdict,
        pair.metric.name,
        pair.cell,
        before,
        after if pair.new else None,
        "; ".join(notes),
        _share(pair),
    )


def _allowed(pair: _Pair) -> str:
    worse = pair.limit.worse
    if pair.metric.scale == "difference":
        return f"limit {worse:g}"
    return f"limit {100 * worse:g} %"


def _share(pair: _Pair) -> float:
    """By how much a figure moved for the worse, as a share of what it was."""
    before, _ = pair.centres
    if pair.metric.scale == "ratio":
        return pair.worse_by
    # A regret of 0 is a latency of 1, in units of the best.
    whole = 1 + before if pair.metric is REGRET else before
    return pair.worse_by / whole if whole > 0 else math.inf


# Words and order.


def _named(seeds: Collection[int]) -> str:
    """Seeds as text, neighbours together: `seeds 0-3, 7`."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    texts = [f"{one[0]}-{one[-1]}" if len(one) > 1 else str(one[0]) for one in runs]
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(texts)}"


_VERDICTS = ("regressed", "unsure", "improved", "new")


def _order(finding: Finding) -> tuple[object, ...]:
    """Worst first, then as cells are ordered."""
    return (
        _VERDICTS.index(finding.verdict),
        -abs(finding.weight),
        finding.what in METRICS,
        order(finding.cell),
        finding.what,
        finding.note,
    )


def _lines(baseline: Baseline) -> dict[Cell, int]:
    """The line of the file in which each place of a method begins."""
    found: dict[Cell, int] = {}
    for cell, line in baseline.lines.items():
        found[asked_of(cell)] = min(line, found.get(asked_of(cell), line))
    return found
