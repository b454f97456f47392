"""What the plans of a sweep cost beside the best known there: regret (design ruling 10).

The best known of a scenario is the least of: every plan that a method chose in it; every plan that
a method chose at another rate or SNR on that device, priced here; and the best plan of a search of
its own, where one ships (`benchmarks.best`). Plans whose measured accuracy broke the floor do not
count, and have no regret. So regret is never below 0 and the best known never rises with the rate,
by construction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from reproduce.facts import Case, Facts, seconds
from reproduce.rates import Point, Sweep, standing

_NO_CHANNEL = "none"
_ROUNDING = 1e-12


def best_known(facts: Facts, sweep: Sweep, points: Sequence[Point]) -> dict[Case, float]:
    """Return the least latency known in every scenario of a device, in seconds.

    Args:
        facts: with the costs of best plans that ship, if there are some.
        sweep: the axes.
        points: all of one device.

    Returns:
        Nothing where plans send through noise, floors or cuts differ: what plans cost elsewhere
        says nothing of whether they are accurate enough, or allowed, there.
    """
    if sweep.unit == "points" or sweep.apart:
        return {}  # a plan that one floor or one cut admits another may not
    cases = {
        sweep.case(point.case.device, place): None for point in points for place in sweep.places
    }
    rows = [
        (point, row)
        for point in points
        for row in point.rows
        if row.result.status == "ok" and standing(row) != "broken"
    ]
    if any((row.result.plan or {}).get("channel", _NO_CHANNEL) != _NO_CHANNEL for _, row in rows):
        return {}
    least = {case: facts.best_s.get(case, math.inf) for case in cases}
    rates: dict[Case, float] = {}
    movable: dict[tuple[str | None, float], float] = {}
    for point, row in rows:
        time, bits = row.result.latency, row.result.uplink_bits
        least[point.case] = min(least[point.case], seconds(row))
        rate_bps = row.result.rate_bps
        if rate_bps is not None:
            rates[point.case] = rate_bps
        if bits is not None:
            # Device, codec and server take as long at any rate; the bits do not.
            fixed_s = time["total_s"] - time["uplink_s"]
            movable[row.result.plan_hash, bits] = fixed_s
    if movable:
        fixed = np.array(list(movable.values()))
        sent = np.array([bits for _, bits in movable])
        for case, rate_bps in rates.items():
            with np.errstate(divide="ignore", invalid="ignore"):
                cost = fixed + np.where(sent > 0, sent / rate_bps, 0.0)
            least[case] = min(least[case], float(cost.min()))
    return _falling(least, cases)


def _falling(least: Mapping[Case, float], cases: Iterable[Case]) -> dict[Case, float]:
    """By rising rate, each at most the one before: a plan costs no more at a higher rate."""
    found: dict[Case, float] = {}
    so_far = math.inf
    for case in cases:
        so_far = min(so_far, least[case])
        found[case] = so_far
    return {case: value for case, value in found.items() if math.isfinite(value)}


def regret(point: Point, best_s: Mapping[Case, float]) -> float:
    """Return how much longer the median seed's plan takes than the best known, 0.1 for 10 %.

    NaN without a plan, without a best known, or where the plan broke the floor.
    """
    best = best_s.get(point.case, math.nan)
    if point.median is None or point.standing == "broken":
        return math.nan
    lost = point.median_s / best - 1.0
    # A plan that is priced along two ways may differ from itself in the last bits.
    return 0.0 if abs(lost) < _ROUNDING else lost
