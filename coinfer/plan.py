"""Plan, Task, Scenario, Selection: the words in which a method is asked and answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isnan, prod
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coinfer.conventions import Convention
from coinfer.errors import CoinferError
from coinfer.graph import LayerGraph
from coinfer.hardware import Link, Processor
from coinfer.refs import parse_ref
from coinfer.serial import content_hash, from_data, to_data

if TYPE_CHECKING:
    from coinfer.compression.space import PruneSpace

Evidence = Literal["published", "analytic", "predicted", "measured"]
Counts = NDArray[np.int64]

PLAN_SCHEMA = 1


def kept_channels(channels: ArrayLike, sparsity: ArrayLike) -> Counts:
    """Channels that stay at a sparsity: max(1, C - floor(S C + 1e-9)) (design ruling 8).

    Args:
        channels: C, whole numbers of any shape.
        sparsity: S, shares of them removed, of a shape that broadcasts with it.

    Returns:
        Whole numbers of the broadcast shape (an array without axes for two numbers).

    Raises:
        CoinferError: when a sparsity is not in [0, 1].
    """
    share = np.asarray(sparsity, dtype=np.float64)
    outside = ~((share >= 0.0) & (share <= 1.0))
    if outside.any():
        raise CoinferError(f"sparsity is {float(share[outside][0])!r}; allowed is 0 to 1")
    whole = np.asarray(channels, dtype=np.int64)
    kept: Counts = np.maximum(1, whole - (share * whole + 1e-9).astype(np.int64))
    return kept


@dataclass(frozen=True)
class CutRef:
    """Where a plan cuts: `after` is the identity, `index` the number of layers on the device."""

    index: int
    after: str

    def __post_init__(self) -> None:
        if self.index < 0:
            raise CoinferError(f"CutRef.index is {self.index}; allowed is 0 or more")


@dataclass(frozen=True)
class Plan:
    """All that is needed to build, run and price one split network.

    Attributes:
        model: registry name or `torchvision:NAME` or `file.py:factory`.
        cut: where it is cut.
        keep: (prune group, units kept) of every pruned group, ordered by name; absent = whole.
        criterion, schedule: how pruned units are chosen and trained, as `name[option=value]`.
        codec: encoder and decoder around the cut; `identity` for none.
        coder: how the crossing tensor becomes bits; the input's own formats at cut 0.
        channel: a channel layer trained through; `none` for error-free bits.
        schema: version of this record.
    """

    model: str
    cut: CutRef
    keep: tuple[tuple[str, int], ...] = ()
    criterion: str = "none"
    schedule: str = "none"
    codec: str = "identity"
    coder: str = "float32"
    channel: str = "none"
    schema: int = PLAN_SCHEMA

    def __post_init__(self) -> None:
        if self.schema != PLAN_SCHEMA:
            raise CoinferError(f"Plan.schema is {self.schema}; allowed is {PLAN_SCHEMA}")
        for group, kept in self.keep:
            if kept != int(kept):
                raise CoinferError(f"Plan.keep of '{group}' is {kept}; allowed is a whole number")
        object.__setattr__(self, "keep", tuple(sorted((str(g), int(k)) for g, k in self.keep)))
        names = [group for group, _ in self.keep]
        if len(set(names)) != len(names):
            raise CoinferError("Plan.keep names a prune group twice; allowed is once each")
        for group, kept in self.keep:
            if kept < 1:
                raise CoinferError(f"Plan.keep of '{group}' is {kept}; allowed is 1 or more")
        for part in ("criterion", "schedule", "codec", "coder", "channel"):
            object.__setattr__(self, part, str(parse_ref(getattr(self, part))))

    @cached_property
    def hash(self) -> str:
        """Content hash: two plans with the same hash are the same plan."""
        return content_hash(to_data(self))

    @classmethod
    def from_data(cls, data: object) -> Plan:
        """Build a plan from JSON data, refusing what it does not know."""
        return from_data(data, cls)

    @property
    def unchanged(self) -> bool:
        """Whether the network computes exactly what the unpruned, unsplit one does."""
        return not self.keep and self.codec == "identity" and self.channel == "none"


@dataclass(frozen=True)
class Source:
    """What the sensor delivers, before any resizing (design ruling 7).

    Attributes:
        shape: CIFAR: (3, 32, 32).
        bits_per_element: 8 for images.
        png_bits: mean measured size of one image as PNG, in bits; None where not measured.
    """

    shape: tuple[int, ...]
    bits_per_element: int = 8
    png_bits: float | None = None

    @property
    def raw_bits(self) -> int:
        """Bits of one raw source tensor."""
        return prod(self.shape) * self.bits_per_element


@dataclass(frozen=True)
class Task:
    """What a method builds for: network, source, accuracy baseline and floor. Never test data.

    Attributes:
        model: the network's name.
        graph: its layer graph.
        source: what the sensor delivers.
        baseline_accuracy: of the unpruned network, 0..1; None where not known.
        baseline_evidence: where that number comes from.
        max_accuracy_loss: the floor lies this much (0..1) below the baseline.
        prune_space: prune groups and vectorised counting, where the task was made with them.
    """

    model: str
    graph: LayerGraph
    source: Source
    baseline_accuracy: float | None = None
    baseline_evidence: Evidence | None = None
    max_accuracy_loss: float = 0.02
    prune_space: PruneSpace | None = None

    def __post_init__(self) -> None:
        loss = self.max_accuracy_loss
        if isnan(loss) or not 0.0 <= loss <= 1.0:
            raise CoinferError(f"Task.max_accuracy_loss is {loss!r}; allowed is 0 to 1")

    @cached_property
    def hash(self) -> str:
        """Content hash of everything a method may learn from the task."""
        return content_hash(
            {
                "model": self.model,
                "graph": self.graph.hash,
                "prune_space": to_data(self.prune_space),
                "source": to_data(self.source),
                "baseline": [self.baseline_accuracy, self.baseline_evidence],
                "max_accuracy_loss": self.max_accuracy_loss,
            }
        )


@dataclass(frozen=True)
class Scenario:
    """What a method selects for: who computes, over which link, priced by which convention."""

    device: Processor
    server: Processor
    link: Link
    convention: Convention
    snr_db: float | None = None

    def __post_init__(self) -> None:
        self.device.speed()
        self.server.speed()
        # The SNR axis collapses on links that have their rate (design ruling 9).
        if not self.link.needs_snr:
            object.__setattr__(self, "snr_db", None)
        object.__setattr__(self, "_rate_bps", self.link.rate(self.snr_db))

    @property
    def rate_bps(self) -> float:
        """Uplink rate in bit/s."""
        rate: float = self._rate_bps  # type: ignore[attr-defined]
        return rate


@dataclass(frozen=True)
class Skip:
    """Why a method cannot run here: one line for the reader of the row."""

    reason: str


@dataclass(frozen=True)
class Selection:
    """What a method answers.

    Attributes:
        plan: the chosen plan; None when nothing meets the floor.
        status: `feasible`, `infeasible` (nothing meets the floor) or `budget` (ran out; the
            plan is the best so far).
        predicted_accuracy: the method's own estimate, 0..1; kept beside the harness's number.
        predicted_latency_s: likewise.
        evaluations: candidate plans the method looked at.
    """

    plan: Plan | None
    status: Literal["feasible", "infeasible", "budget"] = "feasible"
    predicted_accuracy: float | None = None
    predicted_latency_s: float | None = None
    evaluations: int = 0

    def __post_init__(self) -> None:
        if type(self.evaluations) is not int or self.evaluations < 0:
            raise CoinferError(
                f"Selection.evaluations is {self.evaluations!r}; allowed is a whole number, 0 or "
                "more"
            )
        if (self.plan is None) != (self.status == "infeasible"):
            raise CoinferError(
                f"Selection.status is '{self.status}' with plan "
                f"{'None' if self.plan is None else 'given'}; 'infeasible' goes with no plan"
            )
        for name in ("predicted_accuracy", "predicted_latency_s"):
            value = getattr(self, name)
            if value is not None and isnan(value):
                raise CoinferError(f"Selection.{name} is NaN; allowed is a number or None")
