"""FPGM and a cut: filters nearest to the geometric median go, one rate for all convolutions.

He et al. 2019 prune by a given rate; the QHO paper adds an automatic choice of rate and cut (Mu et
al. 2024, VI-B.6), which it does not describe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coinfer.accuracy.box import Box, Decisions
from coinfer.checks import real_number
from coinfer.method import MethodCard, OpenChoice
from methods.grid import GRID_CHOICES, GridMethod, uniformly_pruned

# What the measured plans reach: the box's largest sparsity.
_MOST = 0.9


@dataclass(frozen=True)
class Fpgm(GridMethod):
    """One pruning rate and a cut by enumeration (He et al., CVPR 2019, in Mu et al. 2024).

    Attributes:
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        step, max_rate: the rates are 0, step, 2 step, ... up to `max_rate`.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="fpgm",
        title="FPGM",
        idea="Remove the filters that the others replace best; choose rate and cut together.",
        reference=(
            "Y. He et al., Filter Pruning via Geometric Median for Deep Convolutional Neural "
            "Networks Acceleration, CVPR 2019"
        ),
        bibtex=(
            "@inproceedings{he2019filter, author={He, Yang and Liu, Ping and Wang, Ziwei and Hu, "
            "Zhilan and Yang, Yi}, title={Filter Pruning via Geometric Median for Deep "
            "Convolutional Neural Networks Acceleration}, booktitle={CVPR}, pages={4340--4349}, "
            "year={2019}}"
        ),
        prunes="whole",
        accuracy_signal="predictor",
        constraint="hard",
        phases=("label", "fit", "search"),
        open_choices=(
            OpenChoice(
                "auto-selection of rate and cut",
                "least latency over rates 0.1 to 0.7 in steps of 0.1, and 0, and every cut",
                ("finer rates: the options `step` and `max_rate`",),
                "the QHO paper names a scheme without describing it; the paper's runs use rates "
                "in this range",
            ),
            OpenChoice(
                "saving",
                "filters are removed, work and payload counted as after that",
                ("filters are zeroed and stay",),
                "the authors' code only masks, which saves nothing",
            ),
            *GRID_CHOICES,
        ),
    )
    family: ClassVar[str] = "fpgm"

    step: float = 0.1
    max_rate: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        most = real_number(
            "fpgm: max_rate", self.max_rate, f"above 0, up to {_MOST}", lambda x: 0 < x <= _MOST
        )
        real_number("fpgm: step", self.step, "0.001 to max_rate", lambda x: 0.001 <= x <= most)

    def grid(self, box: Box) -> Decisions:
        """Return every rate at every cut."""
        steps = int(self.max_rate / self.step + 1e-9)
        return uniformly_pruned(box, np.minimum(np.arange(steps + 1) * self.step, self.max_rate))
