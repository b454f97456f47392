"""Which plans to measure for a surrogate (design ruling 6).

Those that the papers talk about, a Sobol design over the box, and plans near the accuracy floor,
where a search must tell good from bad.

The design is one sequence, of which `samples` returns a beginning: a longer one only appends.
Corners come first, then blocks of Sobol points and of adaptive points, half and half. An adaptive
block depends on the accuracies measured for what stands before it, and on nothing else, so that a
sweep that was killed goes on as if it had not been.

A family with few plans has them all, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, cycle, islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coinfer.accuracy.box import Box
from coinfer.accuracy.regressors import fit
from coinfer.accuracy.variables import Floats, unit_of_whole, unit_of_width
from coinfer.checks import whole_number
from coinfer.errors import CoinferError
from coinfer.plan import Plan

Why = Literal["corner", "sobol", "adaptive", "every"]
Measured = Mapping[str, float | None]

# The design behind the corners: so many Sobol points, as many adaptive ones in rounds, and then
# rounds of both in turn. A table of few plans, each of them dear, begins with fewer.
SOBOL_FIRST = 32
ROUND = 16
# Points; the accuracy floor that adaptive points are to be near lies so far below the baseline.
MAX_ACCURACY_LOSS = 0.02

# What guides an adaptive round: the paper's choice.
_GUIDE = "GradientBoostingRegressor"
# Candidates of a round: so many anywhere in the box, and so many around each of the plans whose
# accuracies are nearest to the floor, at steps of this size in the unit cube.
_ANYWHERE = 2048
_NEAREST = 16
_AROUND = 64
_STEP = 0.1
# A round picks the most different ones among so many times as many, those predicted nearest.
_CHOICE = 8
# A box in which so many points in a row are no new plan is taken for exhausted.
_PATIENCE = 4096

# What Mu et al. 2024, section I, measured: of one layer's parameters pruned, and code sizes.
_PRUNED_ALONE = (0.74, 0.89)
_CODE_RATIOS = (0.065, 0.002)


@dataclass(frozen=True)
class DesignPoint:
    """A plan to measure.

    Attributes:
        plan: what to build.
        why: what put it into the design.
    """

    plan: Plan
    why: Why


def samples(
    box: Box,
    n: int,
    seed: int,
    measured: Measured | None = None,
    *,
    sobol_first: int = SOBOL_FIRST,
    max_accuracy_loss: float = MAX_ACCURACY_LOSS,
    baseline: float | None = None,
) -> tuple[DesignPoint, ...]:
    """Return as much of the design as is known by now, up to `n` plans, no two alike.

    A sweep measures what is returned and not yet measured, then asks again; it is done when all
    that is returned is measured. In the end that is `n` plans, or all that the box holds.

    Args:
        box: what to sample.
        n: plans wanted.
        seed: of the design.
        measured: validation accuracies by `Plan.hash`, None for a plan that cannot be measured.
            Plans that are not in the design change nothing.
        sobol_first: Sobol points before the first adaptive one; a round has no more.
        max_accuracy_loss: the accuracy floor lies so far below the baseline.
        baseline: accuracy of the unpruned network. By default that of its corner or, in a family
            that always encodes, the best one measured.

    Raises:
        CoinferError: when an accuracy is not in 0..1, the seed or `n` is negative, or
            `sobol_first` is not of whole rounds.
    """
    whole_number("samples", n)
    whole_number("seed", seed)
    check_sobol_first(sobol_first)
    known = {} if measured is None else dict(measured)
    for plan, accuracy in known.items():
        if accuracy is not None and not 0 <= accuracy <= 1:
            raise CoinferError(
                f"the accuracy measured of plan {plan[:12]} is {accuracy}; accepted is 0 to 1, or "
                "None where it cannot be measured"
            )

    return tuple(islice(_sequence(box, seed, known, sobol_first, max_accuracy_loss, baseline), n))


def check_sobol_first(sobol_first: int) -> int:
    """Return a number of Sobol points before the first adaptive one.

    Raises:
        CoinferError: when it is more than a round, and not of whole rounds.
    """
    if whole_number("sobol_first", sobol_first, low=1) > ROUND and sobol_first % ROUND:
        raise CoinferError(
            f"sobol_first is {sobol_first}; accepted is 1 to {ROUND}, or a multiple of {ROUND}"
        )
    return sobol_first


def corners(box: Box) -> tuple[Plan, ...]:
    """Return the plans that are measured first, as far as the box has them.

    The unpruned network; everything at the highest sparsity, and at half of it; the second prune
    group alone at 74 % and 89 %; behind the first fully connected layer, codes of 6.5 % and 0.2 %
    of what crosses; the narrowest code of maps and of vectors, and that of the first cut with
    everything at the highest sparsity; the most noise. The paper does not say how wide the layer
    before its codes is; here it is the geometric mean of what crosses and the code.
    """
    plans = box.plans(box.decide(np.array(list(_corner_points(box)))))
    return tuple({plan.hash: plan for plan in plans}.values())


class _Design:
    """The plans chosen so far, with their features and their points of the unit cube."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.plans: dict[str, Plan] = {}
        self._read = 0
        self._features = np.zeros((0, box.dimension))
        self._units = np.zeros((0, box.dimension))

    def new(self, plans: Iterable[Plan], most: int) -> Iterator[Plan]:
        """Yield up to `most` plans that it does not have yet, and add them."""
        for plan in plans:
            if plan.hash not in self.plans:
                self.plans[plan.hash] = plan
                most -= 1
                yield plan
                if not most:
                    return

    @property
    def features(self) -> Floats:
        """Features of the plans, (n, D)."""
        self._update()
        return self._features

    @property
    def units(self) -> Floats:
        """Points of the unit cube that map to the plans, (n, D)."""
        self._update()
        return self._units

    def _update(self) -> None:
        added = list(self.plans.values())[self._read :]
        if added:
            decisions = self.box.read(added)
            self._features = np.vstack([self._features, self.box.features(decisions)])
            self._units = np.vstack([self._units, self.box.units(decisions)])
            self._read = len(self.plans)


def _sequence(
    box: Box,
    seed: int,
    measured: Measured,
    sobol_first: int,
    max_accuracy_loss: float,
    baseline: float | None,
) -> Iterator[DesignPoint]:
    """Yield the design up to the first adaptive round for which accuracies are missing."""
    design = _Design(box)
    every = box.every()
    if every is not None:
        for plan in box.plans(every):
            yield DesignPoint(plan, "every")
        return
    spoken_of = corners(box)
    for plan in design.new(spoken_of, len(spoken_of)):
        yield DesignPoint(plan, "corner")
    sobol = _sobol(box, seed)
    size = min(sobol_first, ROUND)
    rounds = sobol_first // size
    kinds = chain(["sobol"] * rounds, ["adaptive"] * rounds, cycle(["sobol", "adaptive"]))
    for number, kind in enumerate(kinds):
        if kind == "adaptive":
            if not design.plans.keys() <= measured.keys():
                return
            near = _near_floor(
                design, measured, size, max_accuracy_loss, baseline, seed=(seed, number)
            )
            for plan in design.new(near, size):
                yield DesignPoint(plan, "adaptive")
            continue
        for _ in range(size):
            found = next(design.new(islice(sobol, _PATIENCE), 1), None)
            if found is None:
                return  # the box holds no more
            yield DesignPoint(found, "sobol")


def _sobol(box: Box, seed: int) -> Iterator[Plan]:
    """Yield the plans of a scrambled Sobol sequence, without end."""
    from scipy.stats import qmc  # type: ignore[import-untyped]

    engine = qmc.Sobol(box.dimension, scramble=True, rng=np.random.default_rng(seed))
    while True:
        # In small pieces, because a plan takes longer to write down than to draw.
        yield from box.plans(box.decide(engine.random(ROUND)))


def _near_floor(
    design: _Design,
    measured: Measured,
    size: int,
    max_accuracy_loss: float,
    baseline: float | None,
    seed: tuple[int, int],
) -> Iterator[Plan]:
    """Yield plans predicted near the floor; those least like the design and each other first.

    Args:
        design: what was measured.
        measured: its accuracies.
        size: plans of the round.
        max_accuracy_loss, baseline: as of `samples`.
        seed: of the round.

    Raises:
        CoinferError: when none of the design could be measured.
    """
    box = design.box
    labels = np.array([measured[plan] for plan in design.plans], dtype=np.float64)  # None is NaN
    known = ~np.isnan(labels)
    if not known.any():
        raise CoinferError("none of the sampled plans could be measured")
    accuracy, features, units = labels[known], design.features[known], design.units[known]
    if baseline is None:
        unpruned = np.array([plan.unchanged for plan in design.plans.values()])[known]
        baseline = float(accuracy[unpruned][0] if unpruned.any() else accuracy.max())
    floor = baseline - max_accuracy_loss
    guide = fit(_GUIDE, box.variables, features, accuracy)

    rng = np.random.default_rng(seed)
    nearest = np.argsort(np.abs(accuracy - floor), kind="stable")[:_NEAREST]
    centers = np.repeat(units[nearest], _AROUND, axis=0)
    around = np.clip(centers + rng.normal(0.0, _STEP, centers.shape), 0.0, 1.0)
    anywhere = rng.random((_ANYWHERE, box.dimension))
    candidates = box.decide(np.concatenate([anywhere, around]))
    rows = box.features(candidates)
    order = np.argsort(np.abs(guide(rows) - floor), kind="stable")
    taken = {row.tobytes() for row in design.features}
    near: list[int] = []
    for index in order.tolist():
        row = rows[index].tobytes()
        if row not in taken:
            taken.add(row)
            near.append(index)
    choice = candidates.take(np.array(near[: _CHOICE * size], dtype=np.int64))
    spread = _spread(box.units(choice), design.units)
    yield from box.plans(choice.take(spread[:size]))


def _spread(points: Floats, others: Floats) -> NDArray[np.int64]:
    """Return an order of points in which each is the farthest from `others` and those before it."""
    order: list[int] = []
    gap = ((points[:, None] - others) ** 2).sum(axis=2).min(axis=1, initial=np.inf)
    for _ in range(len(points)):
        farthest = int(np.argmax(gap))
        order.append(farthest)
        gap = np.minimum(gap, ((points - points[farthest]) ** 2).sum(axis=1))
        gap[order] = -1.0
    return np.array(order, dtype=np.int64)


def widest(box: Box) -> tuple[Plan, ...]:
    """Return the unpruned network cut at each of the box's cuts, with the widest code there."""
    points = [_corner_point(box, place) for place in range(len(box.cuts))]
    return box.plans(box.decide(np.array(points)))


def _corner_point(box: Box, place: int, sparsity: float = 0.0, *, narrow: bool = False) -> Floats:
    """A share of the highest sparsity everywhere, a cut, the widest or narrowest code."""
    cut = box.names.index("cut")
    widths = np.array([variable.log for variable in box.codec.variables], dtype=np.bool_)
    u = np.ones(box.dimension)  # the best SNR, where there is one
    u[:cut] = sparsity
    u[cut] = unit_of_whole(place, 0, len(box.cuts) - 1)
    u[box.codec_columns] = widths != narrow
    return u


def _corner_points(box: Box) -> Iterator[Floats]:
    """Yield the points of the unit cube whose plans are `corners`."""
    point = partial(_corner_point, box)
    cut = box.names.index("cut")
    last = len(box.cuts) - 1
    widths = np.array([variable.log for variable in box.codec.variables])
    at = box.crossing(np.tile(box.space.full, (last + 1, 1)), np.arange(last + 1))
    maps, vectors = np.flatnonzero(at.maps), np.flatnonzero(at.vectors)
    first = int(np.argmax(at.sent))

    for sparsity in (0.0, 1.0, 0.5):
        yield point(last, sparsity)
    if box.family.prunes == "each" and len(box.rates) > 1:
        for share in _PRUNED_ALONE:
            u = point(last)
            u[1] = min(1.0, share / box.max_sparsity)
            yield u
    if box.family.prunes == "twice":
        u = point(first)
        u[cut - 1] = 1.0
        yield u
    if not len(widths):
        return
    kinds = {layer.name: layer.kind for layer in box.space.graph.layers}
    if "P8" in box.names:
        for place in [v for v in vectors.tolist() if kinds[box.cuts[v].after] == "fc"][:1]:
            crossing = int(at.elements[place])
            for ratio in _CODE_RATIOS:
                code = max(1, round(ratio * crossing))
                hidden = round((code * crossing) ** 0.5)
                u = point(place)
                u[box.names.index("P7")] = unit_of_width(hidden, crossing)
                u[box.names.index("P8")] = unit_of_width(code, hidden)
                yield u
    for place in (*maps[:1].tolist(), *vectors[:1].tolist()):
        yield point(place, narrow=True)
    yield point(first, 1.0, narrow=True)
    if box.family.noise is not None:
        u = point(first)
        u[-1] = 0.0 if box.family.noise.clearer == "high" else 1.0
        yield u
