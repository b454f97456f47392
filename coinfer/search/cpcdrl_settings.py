"""What CPCDRL's loop can be told: its numbers, and how the paper is read where it is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from coinfer.checks import finite_positive, shown, whole_number
from coinfer.errors import CoinferError

Alpha = Literal["retained", "removed"]
Bootstrap = Literal["next", "same"]
Updates = Literal["step", "episode"]


@dataclass(frozen=True)
class LoopSettings:
    """The numbers of the loop and, where the paper can be read in two ways, the reading.

    Attributes:
        episodes: E.
        eta: weight of the accuracy in eq. 10.
        mu: weight of the latency, in units of 1 / All_Local's: 1 stands for mu = 1 / T_all_local.
        alpha: the compression ratio of eq. 10: the share of MACs `retained`, so that a smaller
            network is worth more, or `removed`, so that a smaller one is worth less and only
            mu T asks for compression.
        bootstrap: the state behind a step of A_p in eq. 11: the `next` one, or the `same`, as
            printed.
        updates: A_c learns once per compressed layer (`step`, as DDPG does), or once per
            `episode`, as Algorithm 2 is printed.

    Raises:
        CoinferError: for a number out of its range, or a reading that is none.
    """

    episodes: int = 300
    eta: float = 20.0
    mu: float = 1.0
    alpha: Alpha = "retained"
    bootstrap: Bootstrap = "next"
    updates: Updates = "step"

    def __post_init__(self) -> None:
        whole_number("episodes", self.episodes, low=1)
        finite_positive("eta", self.eta)
        finite_positive("mu", self.mu)
        for name, hint in get_type_hints(type(self)).items():
            known = get_args(hint)
            if known and getattr(self, name) not in known:
                raise CoinferError(
                    f"{name} is {shown(getattr(self, name))}; accepted: {', '.join(known)}"
                )
