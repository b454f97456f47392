"""PAA: pruning and an asymmetrical autoencoder over a noisy channel.

Jankowski et al. 2020, in the comparison of Zhang et al. 2021, IV-B.5. Of the paper we know its
abstract and what the comparison says of it: a reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coinfer.accuracy.box import Box, Decisions
from coinfer.accuracy.variables import Counts
from coinfer.method import MethodCard, OpenChoice
from coinfer.plan import kept_channels
from methods.grid import GRID_CHOICES, GridMethod

_RATIOS = (0.75, 0.5, 0.25)
# Sparsities at which a target of work is looked for: up to the box's highest.
_STEPS = 900


@dataclass(frozen=True)
class Paa(GridMethod):
    """A device half of less work, a code in symbols and a cut (Jankowski et al., SPAWC 2020).

    Attributes:
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="paa",
        title="PAA",
        idea="Prune the device half, encode little, decode much, send symbols through the noise.",
        reference=(
            "M. Jankowski, D. Gündüz and K. Mikolajczyk, Joint Device-Edge Inference over Wireless "
            "Links with Pruning, IEEE SPAWC 2020"
        ),
        bibtex=(
            '@inproceedings{jankowski2020joint, author={Jankowski, Mikolaj and G{\\"u}nd{\\"u}z, '
            "Deniz and Mikolajczyk, Krystian}, title={Joint Device-Edge Inference over Wireless "
            "Links with Pruning}, booktitle={IEEE SPAWC}, year={2020}}"
        ),
        prunes="device",
        codec=("conv",),
        payload="analog",
        accuracy_signal="predictor",
        constraint="hard",
        phases=("label", "fit", "search"),
        fidelity="reconstruction",
        open_choices=(
            OpenChoice(
                "the paper",
                "reconstructed from its abstract and from the comparison in the CIA paper",
                (),
                "its full text was not read; every choice below is ours",
            ),
            OpenChoice(
                "pruning",
                "all groups of the device's side at one sparsity, by Taylor scores, in 5 rounds, "
                "to at most 75, 50 or 25 % of the half's work",
                ("scores of all layers together, which thin them unevenly", "other targets"),
                "the comparison says that the on-device partition is pruned",
            ),
            OpenChoice(
                "autoencoder",
                "a 3x3 convolution to C' maps, stride 1 or 2; a transposed one back and two 3x3 "
                "convolutions of as many maps as cross; C' in powers of two",
                ("more layers, other widths",),
                "the comparison calls it asymmetrical",
            ),
            OpenChoice(
                "channel",
                "AWGN of the scenario's SNR, 0 to 50 dB; two elements a complex symbol, average "
                "power 1; a plan is trained for one SNR; 50 dB over a link of error-free bits, "
                "where the convention charges symbols as 32-bit elements (the CIA paper's)",
                ("training over a range of SNRs",),
                "DeepJSCC, on which the paper builds, limits the average power; the CIA paper "
                "divides the size of the feature by the rate and names no SNR",
            ),
            OpenChoice(
                "training",
                "the recipe's of every method: fine-tuned while pruned, codec with the network "
                "frozen, then all end to end through the channel",
                (),
                "one training budget for every method",
            ),
            *GRID_CHOICES,
        ),
    )
    family: ClassVar[str] = "paa"

    def grid(self, box: Box) -> Decisions:
        """Return every target of work with every code, at every cut: much work first."""
        kept, cuts, codes = [], [], []
        for cut in range(len(box.cuts)):
            for row in _distinct_rows(self._pruned(box, cut)):
                channels = int(box.crossing(row[None], np.array([cut])).channels[0])
                for stride in (1, 2):
                    for exponent in reversed(range(channels.bit_length())):
                        kept.append(row)
                        cuts.append(cut)
                        codes.append((2**exponent, stride))
        return Decisions(
            np.array(kept), np.array(cuts), np.array(codes), np.full(len(cuts), np.nan)
        )

    def _pruned(self, box: Box, cut: int) -> Counts:
        """Return the least pruned halves that do a target's work at most, (targets, G).

        A target out of the box's reach has the most pruned half.
        """
        shares = np.linspace(0, box.max_sparsity, _STEPS + 1)[:, None] * box.prunable[cut]
        kept = kept_channels(box.space.full, shares)
        work = box.space.device_flops(kept)[:, box.positions[cut]]
        reached = [np.flatnonzero(work <= ratio * work[0]) for ratio in _RATIOS]
        return kept[[found[0] if len(found) else _STEPS for found in reached]]


def _distinct_rows(rows: Counts) -> Counts:
    """Return rows without repetition, in their order."""
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)]
