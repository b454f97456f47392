"""Planes of communication and computation as numbers: whose points lie where, cut by cut.

A point has two coordinates: seconds of computation on the device, encoder included, and seconds of
communication. One point beats another if it is larger in neither and smaller in one. The QHO
paper (Figs. 9, 10) speaks of points "to the left and bottom of the other methods" without saying
of which points: read
here as those at the same cut (`left_below`), and, as a weaker reading, as not beaten by any point
of any other method (`on_front`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from coinfer.errors import UnknownNameError
from reproduce.claims import Claim
from reproduce.facts import Answered, Facts, Gap
from reproduce.plane import Plane, costs_s, plane_of
from reproduce.rates import Point, Verified, network_text
from reproduce.scorecard import Used, joined, ratio
from reproduce.style import method_style

Points = Mapping[str, Sequence[Point]]
Costs = tuple[float, float]


def beats(one: Costs, other: Costs) -> bool:
    """Whether a point is larger in neither coordinate than another, and smaller in one."""
    return one[0] <= other[0] and one[1] <= other[1] and one != other


def left_below(claim: Claim, plane: Plane, points: Points) -> list[Used] | Gap:
    """Percentage of the method's points that beat every other method's point at their cut."""
    return _share(claim, points, lambda point, others: all(
        beats(costs_s(point), costs_s(other)) for other in others if other.x == point.x
    ))  # fmt: skip


def on_front(claim: Claim, plane: Plane, points: Points) -> list[Used] | Gap:
    """Percentage of the method's points that no other method's point beats, at any cut."""
    return _share(claim, points, lambda point, others: not any(
        beats(costs_s(other), costs_s(point)) for other in others
    ))  # fmt: skip


def _share(
    claim: Claim, points: Points, good: Callable[[Point, Sequence[Point]], bool]
) -> list[Used] | Gap:
    (name,) = claim.fast
    own = [point for point in points[name] if point.median is not None]
    others = [
        point
        for method, some in points.items()
        for point in some
        if method != name and point.median is not None
    ]
    if not own:
        return next(point.gap for point in points[name] if point.gap is not None)
    if not others:
        silent = (one for method, some in points.items() if method != name for one in some)
        return _because(f"no method but {name} has an answer", silent)
    share = 100.0 * sum(good(point, others) for point in own) / len(own)
    evidence = joined(point.evidence for point in (*own, *others))
    rows = tuple(point.median.key for point in (*own, *others) if point.median is not None)
    return [Used(None, "", name, share, evidence, rows)]


def _because(what: str, silent: Iterable[Point]) -> Gap:
    """Return what is missing, with the first reason that those who have no answer give."""
    gap = next((point.gap for point in silent if point.gap is not None), None)
    return Gap(what) if gap is None else Gap(f"{what}; {gap.reason}", gap.helps)


def each(claim: Claim, plane: Plane, points: Points) -> list[Used] | Gap:
    """Every slow method's time over every fast one's, at every cut where both have a plan."""
    assert claim.plane is not None
    axis = ("computation", "communication").index(claim.plane.axis)
    found = []
    for number, cut in enumerate(plane.conventions):
        for fast in claim.fast:
            for slow in claim.slow:
                below, above = points[fast][number], points[slow][number]
                if below.median is None or above.median is None:
                    continue
                value = ratio(costs_s(above)[axis], costs_s(below)[axis])
                evidence = joined((above.evidence, below.evidence))
                rows = (above.median.key, below.median.key)
                found.append(Used(below.case, slow, fast, value, evidence, rows, place=cut))
    if found:
        return found
    gaps = [point.gap for name in (*claim.fast, *claim.slow) for point in points[name]]
    return next((gap for gap in gaps if gap is not None), Gap("no two methods share a cut"))


def above_png(claim: Claim, plane: Plane, points: Points) -> list[Used] | Gap:
    """Percentage of the method's points that send more bits than the image as PNG."""
    png_bits = plane.png_bits
    if png_bits is None:
        return Gap(f"no PNG size was measured for what feeds {plane.model}")
    (name,) = claim.fast
    rows = [point.median for point in points[name] if point.median is not None]
    if not rows:
        return next(point.gap for point in points[name] if point.gap is not None)
    above = sum((row.result.uplink_bits or 0.0) > png_bits for row in rows)
    evidence = joined(point.evidence for point in points[name] if point.median is not None)
    share = 100.0 * above / len(rows)
    return [Used(None, "", name, share, evidence, tuple(row.key for row in rows))]


def saved_bits(claim: Claim, plane: Plane, points: Points) -> list[Used] | Gap:
    """Percentage of the PNG image's bits that a method's point saves, at every cut."""
    png_bits = plane.png_bits
    if png_bits is None:
        return Gap(f"no PNG size was measured for what feeds {plane.model}")
    (name,) = claim.fast
    return _per_cut(plane, points[name], lambda row: _saved(row, png_bits))


def _saved(row: Answered, png_bits: float) -> float:
    return 100.0 * (1 - (row.result.uplink_bits or 0.0) / png_bits)


def early_saved_bits(claim: Claim, plane: Plane, points: Points) -> list[Used] | Gap:
    """What `saved_bits` says, of every fast method at the first quarter of the cuts."""
    png_bits = plane.png_bits
    if png_bits is None:
        return Gap(f"no PNG size was measured for what feeds {plane.model}")
    early = math.ceil(len(plane.conventions) / 4)
    own = [point for name in claim.fast for point in points[name][:early]]
    return _per_cut(plane, own, lambda row: _saved(row, png_bits))


def saved_flops(claim: Claim, plane: Plane, points: Points) -> list[Used] | Gap:
    """Percentage of the slow method's work on the device, codec included, saved at every cut."""
    (name,), (other,) = claim.fast, claim.slow
    whole = {
        point.x: device_work(point.median)
        for point in points[other]
        if point.median is not None and device_work(point.median)
    }
    if not whole:
        return _because(f"{other} has no answer", points[other])
    both = [point for point in points[name] if point.x in whole]
    by_key = {point.median.key: whole[point.x] for point in both if point.median is not None}
    return _per_cut(plane, both, lambda row: 100.0 * (1 - device_work(row) / by_key[row.key]))


def codec_share(claim: Claim, plane: Plane, points: Points) -> list[Used] | Gap:
    """What the fast method's codec adds at every cut, in percent of the slow one's whole network.

    Encoder and decoder together; needs a convention that counts them.
    """
    (name,), (other,) = claim.fast, claim.slow
    works = {work_of(point.median) for point in points[other] if point.median is not None}
    if len(works) != 1:
        return Gap(f"{other} does not leave its network as it is at every cut")
    (whole,) = works
    return _per_cut(plane, points[name], lambda row: 100.0 * codec_work(row) / whole)


def work_of(row: Answered) -> float:
    """What a row's plan makes device and server compute, without its codec, in FLOPs."""
    return float((row.result.device_flops or 0.0) + (row.result.server_flops or 0.0))


def codec_work(row: Answered) -> float:
    """What a row's codec makes device and server compute, in FLOPs."""
    return float((row.result.encode_flops or 0.0) + (row.result.decode_flops or 0.0))


def device_work(row: Answered) -> float:
    """What a row's plan makes the device compute, codec included, in FLOPs."""
    return float((row.result.device_flops or 0.0) + (row.result.encode_flops or 0.0))


def _per_cut(
    plane: Plane, own: Sequence[Point], value: Callable[[Answered], float]
) -> list[Used] | Gap:
    """One number per point that has a plan."""
    cuts = list(plane.conventions)
    found = [
        Used(
            *(point.case, "", point.method, value(point.median), point.evidence),
            (point.median.key,),
            place=cuts[int(point.x)],
        )
        for point in own
        if point.median is not None
    ]
    gaps = [point.gap for point in own if point.gap is not None]
    return found or (gaps[0] if gaps else Gap("no two methods share a cut"))


MEASURES: dict[str, Callable[[Claim, Plane, Points], list[Used] | Gap]] = {
    "left_below": left_below,
    "on_front": on_front,
    "each": each,
    "above_png": above_png,
    "saved_bits": saved_bits,
    "early_saved_bits": early_saved_bits,
    "saved_flops": saved_flops,
    "codec_share": codec_share,
}


def numbers(claim: Claim, facts: Facts) -> list[Used] | Gap:
    """Return every number that a claim about a plane rests on, or why there is none.

    Raises:
        UnknownNameError: when no computation has the name that the claim gives.
    """
    assert claim.plane is not None
    if claim.plane.measure not in MEASURES:
        raise UnknownNameError("measure of a plane", claim.plane.measure, MEASURES)
    plane = plane_of(claim.matrix)
    points = plane.points(facts)
    for own in points.values():
        for point in own:
            if point.gap is not None and point.gap.helps:
                return Gap(point.gap.told(claim.matrix))
            if point.rows and len(point.rows) < point.asked:
                gap = Gap(
                    f"{point.method} has rows of {len(point.rows)} of {point.asked} seeds",
                    "computes the others",
                )
                return Gap(gap.told(claim.matrix))
    return MEASURES[claim.plane.measure](claim, plane, points)


def conditions(claim: Claim, facts: Facts) -> tuple[str, ...]:
    """Return the conditions of a decided claim: network, rules, cuts, seeds, methods, verified."""
    plane = plane_of(claim.matrix)
    points = plane.points(facts)
    every = [point for own in points.values() for point in own]
    seeds = max(plane.seeds.values())
    answering = [name for name, own in points.items() if any(p.median is not None for p in own)]
    silent = [method_style(name).label for name in points if name not in answering]
    told = [
        network_text(plane.model, plane.rules),
        f"convention {plane.rules} at each of {len(plane.conventions)} cuts",
        f"median of {seeds} seed{'s' * (seeds != 1)} where a method has any",
        f"among {len(answering)} methods"
        + (f", no answer of {', '.join(silent)}" if silent else ""),
        Verified.of(every).text,
    ]
    return (", ".join(told),)
