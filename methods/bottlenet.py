"""BottleNet++: a learned code of the feature at the cut; the network itself stays whole.

Shao and Zhang 2020 train an encoder and a decoder for a given cut and width; the QHO paper adds an
automatic choice of both (Mu et al. 2024, VI-B.7), which it does not describe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from coinfer.accuracy.box import Box, Decisions
from coinfer.compression.space import Affine, PruneSpace
from coinfer.graph import LayerGraph
from coinfer.method import MethodCard, OpenChoice
from coinfer.plan import Task
from methods.grid import GRID_CHOICES, GridMethod


@dataclass(frozen=True)
class BottleNet(GridMethod):
    """A code width, halved maps or not, and a cut by enumeration (Shao and Zhang, ICC WS 2020).

    Attributes:
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="bottlenet++",
        title="BottleNet++",
        idea="Send a learned code of the feature; choose its width and the cut together.",
        reference=(
            "J. Shao and J. Zhang, BottleNet++: An End-to-End Approach for Feature Compression in "
            "Device-Edge Co-Inference Systems, IEEE ICC Workshops 2020"
        ),
        bibtex=(
            "@inproceedings{shao2020bottlenet, author={Shao, Jiawei and Zhang, Jun}, "
            "title={BottleNet++: An End-to-End Approach for Feature Compression in Device-Edge "
            "Co-Inference Systems}, booktitle={IEEE ICC Workshops}, year={2020}}"
        ),
        codec=("conv",),
        accuracy_signal="predictor",
        constraint="hard",
        phases=("label", "fit", "search"),
        open_choices=(
            OpenChoice(
                "auto-selection of code and cut",
                "least latency over code channels in powers of two up to those that cross, maps "
                "halved or not, and every cut with maps",
                ("one code width for all cuts",),
                "the QHO paper names a scheme without describing it",
            ),
            OpenChoice(
                "payload",
                "the code in float32, at the link's rate without error",
                ("8 bits an element", "analog symbols through a noisy channel"),
                "as the QHO paper sends every payload; the measured plans have no other",
            ),
            *GRID_CHOICES,
        ),
    )
    family: ClassVar[str] = "bottlenet++"

    def task_of(self, task: Task) -> Task:
        """Return the task with a prune space of no group: boxes count by one."""
        return replace(task, prune_space=_whole(task.graph))

    def grid(self, box: Box) -> Decisions:
        """Return every code at every cut, wide ones first."""
        cuts = np.arange(len(box.cuts))
        at = box.crossing(np.tile(box.space.full, (len(cuts), 1)), cuts)
        codes = [
            (cut, 2**exponent, spatial)
            for cut in cuts.tolist()
            for spatial in range(1 + int(min(at.height[cut], at.width[cut]) >= 2))
            for exponent in reversed(range(int(at.channels[cut]).bit_length()))
        ]
        rows = np.array(codes, dtype=np.int64)
        kept = np.tile(box.space.full, (len(rows), 1))
        return Decisions(kept, rows[:, 0], rows[:, 1:], np.full(len(rows), np.nan))


def _whole(graph: LayerGraph) -> PruneSpace:
    """Return the prune space of a network that nobody prunes: the harness finds no groups then."""
    return PruneSpace(
        graph,
        groups=(),
        in_channels=tuple(Affine(layer.in_channels) for layer in graph.layers),
        fan_in=tuple(Affine(layer.fan_in) for layer in graph.layers),
        out_channels=tuple(Affine(layer.out_channels) for layer in graph.layers),
        crossing=tuple(Affine(cut.elements) for cut in graph.cuts),
    )
