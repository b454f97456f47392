"""Plans with made-up accuracies, for benchmarks of what learns from them."""

from __future__ import annotations

import numpy as np

from coinfer.accuracy.box import Box
from coinfer.accuracy.surrogate import Labels

BASELINE = 0.87


def made_up_labels(box: Box, count: int) -> Labels:
    """Return random plans whose accuracies fall with all that is pruned or narrowed, and noise."""
    rng = np.random.default_rng(1)
    decisions = box.decide(rng.random((count, box.dimension)))
    u = box.units(decisions)
    effect = np.array([variable.effect for variable in box.variables])
    lost = np.where(effect < 0, u, np.where(effect > 0, 1 - u, 0.0)) ** 2
    accuracy = BASELINE - 0.8 * lost.mean(axis=1) + rng.normal(0, 0.005, count)
    return Labels(box.variables, box.features(decisions), accuracy, np.full(count, 0.005))
