"""What QHO can be told: the numbers of Algorithm 1, and how it is read where it is open."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal, get_args, get_type_hints

from coinfer.checks import finite_positive, real_number, shown, whole_number
from coinfer.errors import CoinferError

Accept = Literal["own", "elitist"]
Infeasible = Literal["redraw", "restart"]
Outside = Literal["resample", "clip", "reflect"]
Loops = Literal["do_while", "while"]
Start = Literal["checked", "unchecked"]
Mean = Literal["checked", "redraw", "unchecked"]


@dataclass(frozen=True)
class Settings:
    """The numbers of Algorithm 1 and, where it can be read in two ways, the reading.

    Attributes:
        particles: k.
        scales: iota_max (the paper's text calls it t_max): how often the scale is used.
        shrink: lambda, by which a scale is divided to give the next, above 1.
        start_scale: sigma_s at first. The paper does not say; the range of a coordinate, as in the
            optimiser that it builds on.
        accept: what a particle's draw must not exceed: `own`, the cost of where it stands;
            `elitist`, the lowest cost found so far, as printed (lines 17-18).
        infeasible: after a draw that is not acceptable, `redraw` the same particle (section
            IV-B: "discarded, and PG will generate a new set"), or `restart` with the first one,
            as printed ("go back to line 10"). What was accepted before stays.
        outside: a coordinate that a draw puts outside of 0..1 is drawn again, uniformly
            (`resample`), moved to the nearest end (`clip`), or mirrored there (`reflect`).
        loops: whether lines 7 and 8 test after their body (`do_while`: each scale is used), or
            before it (`while`, as printed: with the deviation of the start and, once, an infinite
            change of it. A scale above the deviation is skipped, and after the first stabilisation
            of a scale only transitions follow).
        start: whether starts must be acceptable. `unchecked`, as printed: the first draw is taken;
            when it is the cheapest and not acceptable, the answer may never be.
        mean: the mean that replaces the worst particle must be acceptable, or the particle
            stays (`checked`), or is drawn around the best point at the present scale until it is
            acceptable (`redraw`). `unchecked`, as printed: it always replaces it; then it is no
            candidate for the best, as line 26 leaves tau_min alone.
        max_draws: draws that are not acceptable, after which a particle is left where it is; with
            `restart`, after which a pass over the particles ends.
        max_passes: transitions at one scale, after which the next scale follows.
        max_stabilisation: passes over the particles, after which a stabilisation ends.
    """

    particles: int = 5
    scales: int = 20
    shrink: float = 1.3
    start_scale: float = 1.0
    accept: Accept = "own"
    infeasible: Infeasible = "redraw"
    outside: Outside = "resample"
    loops: Loops = "do_while"
    start: Start = "checked"
    mean: Mean = "checked"
    max_draws: int = 200
    max_passes: int = 200
    max_stabilisation: int = 200

    def __post_init__(self) -> None:
        for name in ("particles", "scales", "max_draws", "max_passes", "max_stabilisation"):
            whole_number(name, getattr(self, name), low=1)
        finite_positive("start_scale", self.start_scale)
        real_number("shrink", self.shrink, "a finite number > 1", lambda x: 1.0 < x < inf)
        for name, hint in get_type_hints(type(self)).items():
            known = get_args(hint)
            if known and getattr(self, name) not in known:
                raise CoinferError(
                    f"{name} is {shown(getattr(self, name))}; accepted: {', '.join(known)}"
                )

    @classmethod
    def literal(cls) -> Settings:
        """Return Algorithm 1 as printed, as far as it can be run.

        What stays is closing the `for` of line 10 after line 20, calling the first deviation and
        its change what `loops` says, and the caps, without which it may not end.
        """
        return cls(
            accept="elitist",
            infeasible="restart",
            loops="while",
            start="unchecked",
            mean="unchecked",
        )
