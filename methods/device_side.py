"""Grids of plans whose device half alone is pruned, block by block, and whose feature is encoded.

The three-step framework (Shao and Zhang 2020) and its baseline IPDR choose among such plans. A
device that states its memory takes none whose weights do not fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from coinfer.accuracy.box import Box, Decisions
from coinfer.accuracy.variables import Counts, Floats
from coinfer.checks import real_number
from coinfer.compression.space import PruneSpace
from coinfer.method import Context, Library, OpenChoice
from coinfer.plan import Scenario, Selection, kept_channels
from methods.grid import GridMethod

_WEIGHT_BYTES = 4

DEVICE_SIDE_CHOICES = (
    OpenChoice(
        "the look-up table",
        "every block of the device at one sparsity, its last one at that or a higher one, 0 to "
        "0.9 in steps of 0.1; code widths in powers of two; every cut; accuracies predicted from "
        "the measured plans, whose blocks have a sparsity each",
        ("the measured plans alone", "finer steps: the option `step`"),
        "the paper tunes by brute force and does not say what it tries; its last layer has a high "
        "sparsity",
    ),
    OpenChoice(
        "pruned blocks",
        "channels that no sum ties to another layer, by the L2 norm of their filters; of residual "
        "blocks the inner widths",
        ("channels of a sum together", "masks without removal, as the authors' code"),
        "masked channels save nothing; the authors' masks of a sum's two terms differ, so that "
        "nothing could be removed",
    ),
    OpenChoice(
        "incremental ramp",
        "S_i = S_f (1 - (1 - i/n)^3), 20 iterations of 150 steps, then held; the first half of a "
        "shorter training",
        ("linear", "the full sparsity from the start, as the authors' code"),
        "the paper says that the sparsity ratio continuously increases",
    ),
    OpenChoice(
        "encoder",
        "one 3x3 convolution to h maps, or two linear layers to h elements, whichever is faster; "
        "one linear layer where no maps cross; h at most the channels that cross",
        ("a convolution followed by a linear layer, as the paper's text",),
        "the authors' code has the convolution at early and the linear layers at late cuts; which "
        "cut of another network is late is not said",
    ),
    OpenChoice(
        "training",
        "the recipe's of every method: fine-tuned while pruned, codec with the network frozen, "
        "then all end to end",
        ("pruned for 100 epochs, then the codec alone for 60, as the authors' code",),
        "one training budget for every method",
    ),
    OpenChoice(
        "memory of the device",
        "32-bit weights of the device half and the encoder, against the memory that the device "
        "states; no limit where it states none",
        ("the runtime's and the activations' too: 40 % of ResNet-18 fit in Fig. 4",),
        "the paper's 0.9 GB is PyTorch's, of a network of 45 MB; what is free can be given as the "
        "device's `memory_bytes`",
    ),
)
"""What the methods of this kind had to choose, for the cards."""


@dataclass(frozen=True)
class DeviceSideGrid(GridMethod):
    """The fastest acceptable plan of a grid of device sparsities, codes and cuts.

    Attributes:
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        step: sparsities are 0, step, 2 step, ... up to the box's highest.
    """

    step: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = "0.05 to 0.9"
        real_number(f"{self.card.name}: step", self.step, allowed, lambda x: 0.05 <= x <= 0.9)

    def grid(self, box: Box) -> Decisions:
        """Return every pair of sparsities with every code, at every cut: few removed first."""
        steps = int(box.max_sparsity / self.step + 1e-9)
        sparsities = np.minimum(np.arange(steps + 1) * self.step, box.max_sparsity)
        parts = [self._at(box, cut, sparsities) for cut in range(len(box.cuts))]
        kept, cut, codec = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Decisions(kept, cut, codec, np.full(len(cut), np.nan))

    def device_bytes(self, box: Box, plans: Decisions) -> Counts | None:
        """Return the 32-bit weights of device half and encoder, in bytes, (B,)."""
        at = box.crossing_of(plans)
        encoder = box.codec.work(plans.codec, at, "macs")[0]
        flattened = plans.codec[:, 1] == 1
        positions = np.where(at.maps & ~flattened, at.height * at.width, 1)
        half = device_weights(box.space, plans.kept, box.positions[plans.cut])
        return _WEIGHT_BYTES * (half + encoder // positions)

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Take the fastest acceptable plan that fits; the whole network too only where it does."""
        memory = scenario.device.memory_bytes
        space = context.task.prune_space
        if memory is not None and space is not None:
            end = np.array([len(space.graph.cuts) - 1])
            if _WEIGHT_BYTES * device_weights(space, space.full[None], end)[0] > memory:
                cuts = tuple(cut for cut in context.cuts if cut.kind != "output")
                context = replace(context, cuts=cuts)
        return super().select(library, scenario, context)

    def _at(self, box: Box, cut: int, sparsities: Floats) -> tuple[Counts, Counts, Counts]:
        """Return the plans of one cut: units kept (B, G), cuts (B,) and codecs (B, 2)."""
        shares = np.zeros((1, len(box.space.full)))
        (groups,) = np.nonzero(box.prunable[cut])
        if len(groups):
            pairs = [(s, t) for s in sparsities for t in sparsities if t >= s]
            shares = np.zeros((len(pairs), len(box.space.full)))
            shares[:, groups] = np.array(pairs)[:, :1]
            shares[:, groups[-1]] = np.array(pairs)[:, 1]
        kept = kept_channels(box.space.full, shares)
        at = box.crossing(kept, np.full(len(kept), cut))
        codes = [
            (row, 2**exponent, flatten)
            for row, channels in enumerate(at.channels.tolist())
            for flatten in range(1 + int(at.maps[0]))
            for exponent in reversed(range(channels.bit_length()))
        ]
        rows = np.array(codes, dtype=np.int64)
        return kept[rows[:, 0]], np.full(len(rows), cut), rows[:, 1:]


def device_weights(space: PruneSpace, kept: Counts, positions: Counts) -> Counts:
    """Return the weights of what lies before a cut, biases left out.

    A layer's weights are its multiply-accumulates at one position.

    Args:
        space: the network's prune space.
        kept: units kept per prune group, (B, G).
        positions: of each plan's cut among the graph's legal cuts, (B,).

    Returns:
        Whole numbers, (B,).
    """
    layers = space.graph.layers
    often = [
        layer.in_positions if layer.kind == "conv_transpose" else layer.out_positions
        for layer in layers
    ]
    weights = space.flops(kept, "macs") // np.array(often)
    before = np.concatenate(
        [np.zeros((len(weights), 1), dtype=np.int64), np.cumsum(weights, axis=1)], axis=1
    )
    index = space.graph.cut_index[positions]
    found: Counts = before[np.arange(len(weights)), index]
    return found
