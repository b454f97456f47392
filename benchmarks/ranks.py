"""Rank tests over seeds, and how many of them may be made at once.

The statistic is Wilcoxon's rank sum (Mann and Whitney's U). Its distribution is that over all ways
to deal the pooled values to the two samples, ties included, so that its p-value holds for any
distribution of the seeds. SciPy's `mannwhitneyu` has the exact distribution without ties only; it
takes over where samples are large.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import comb

import numpy as np
from numpy.typing import ArrayLike

# Pooled values up to which all ways are counted; beyond, the normal approximation is as good.
_COUNTED = 60


def rank_test(old: ArrayLike, new: ArrayLike) -> float:
    """Return the one-sided p-value of `new` being no greater than `old`; small: it is greater.

    Args:
        old, new: samples, (seeds,) each, not empty; infinities are numbers like others.

    Raises:
        ValueError: when a sample is empty or holds NaN.
    """
    from scipy.stats import mannwhitneyu, rankdata  # type: ignore[import-untyped]

    first, second = np.asarray(old, float), np.asarray(new, float)
    pooled = np.concatenate([second, first])
    if not (first.size and second.size) or np.isnan(pooled).any():
        raise ValueError("a rank test needs numbers on both sides")
    if pooled.size > _COUNTED:
        found = mannwhitneyu(second, first, alternative="greater", method="asymptotic")
        return float(found.pvalue)
    # Doubled, midranks are whole numbers.
    ranks = np.rint(2 * rankdata(pooled)).astype(int)
    members = second.size
    # ways[k, s]: in how many ways k of the values seen so far have the rank sum s.
    ways = np.zeros((members + 1, ranks.sum() + 1))
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, :-rank].copy()
    observed = ranks[:members].sum()
    return float(ways[members, observed:].sum() / ways[members].sum())


def holm(p_values: Sequence[float], tests: int) -> list[float]:
    """Return p-values adjusted so that any of `tests` is wrongly below a level that rarely.

    Holm's step-down procedure: it holds for dependent tests too (Holm, Scand. J. Statist. 1979).

    Args:
        p_values: those of interest, (at most tests,); the others count as larger than these.
        tests: all tests made.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    steps = (min(1.0, (tests - i) * p_values[one]) for i, one in enumerate(order))
    adjusted = dict(zip(order, accumulate(steps, max), strict=True))
    return [adjusted[i] for i in range(len(p_values))]


def least_p(seeds: int, others: int) -> float:
    """Return the least p-value that samples of these sizes can have: no value overlaps."""
    return 1 / comb(seeds + others, seeds)


def seeds_needed(tests: int, level: float) -> int:
    """Return how many seeds both runs need for one of `tests` to be significant at a level."""
    seeds = 1
    while tests * least_p(seeds, seeds) > level:
        seeds += 1
    return seeds
