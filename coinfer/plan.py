"""Plan, Task, Scenario, Selection: the words in which a method is asked and answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coinfer.checks import finite_positive, real_number, shown, whole_number, whole_shape
from coinfer.compression.space import PruneSpace
from coinfer.conventions import Convention
from coinfer.errors import CoinferError
from coinfer.graph import LayerGraph
from coinfer.hardware import Link, Processor
from coinfer.refs import parse_ref
from coinfer.serial import content_hash, from_data, to_data

Evidence = Literal["published", "analytic", "predicted", "measured"]
Status = Literal["feasible", "infeasible", "budget"]
Counts = NDArray[np.int64]

PLAN_SCHEMA = 1
PART_KINDS = ("criterion", "schedule", "codec", "coder", "channel")
LOSSLESS_CODERS = frozenset({"float32", "raw8", "png"})
"""Built-in payload formats behind which the network computes what it would without a cut."""


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
        object.__setattr__(self, "index", whole_number("CutRef.index", self.index))
        object.__setattr__(self, "after", _text("CutRef.after", self.after))


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
        part_sources: (kind, SHA-256 of its source) of every part that is not built in, so that
            two strangers' parts of one name make two plans. The harness writes it
            (`coinfer.parts.Parts.sealed`); methods leave it empty.
        schema: version of this record.

    Raises:
        CoinferError: when a field is not of that form; NumPy's integers become Python's.
    """

    model: str
    cut: CutRef
    keep: tuple[tuple[str, int], ...] = ()
    criterion: str = "none"
    schedule: str = "none"
    codec: str = "identity"
    coder: str = "float32"
    channel: str = "none"
    part_sources: tuple[tuple[str, str], ...] = ()
    schema: int = PLAN_SCHEMA

    def __post_init__(self) -> None:
        if self.schema != PLAN_SCHEMA:
            raise CoinferError(f"Plan.schema is {self.schema}; allowed is {PLAN_SCHEMA}")
        object.__setattr__(self, "model", _text("Plan.model", self.model))
        if not isinstance(self.cut, CutRef):
            raise CoinferError(f"Plan.cut is {shown(self.cut)}; allowed is a CutRef(index, after)")
        object.__setattr__(self, "keep", _kept_pairs(self.keep))
        object.__setattr__(self, "part_sources", _sources(self.part_sources))
        for kind in PART_KINDS:
            ref = _text(f"Plan.{kind}", getattr(self, kind))
            object.__setattr__(self, kind, str(parse_ref(ref)))

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
        """Whether the network computes exactly what the unpruned, unsplit one does.

        What a coder of somebody else's loses is not known here: `coinfer.parts` asks it.
        """
        lossless = parse_ref(self.coder).name in LOSSLESS_CODERS
        return not self.keep and self.codec == "identity" and self.channel == "none" and lossless


def _text(what: str, value: object) -> str:
    """Return text as a plain `str`."""
    if not isinstance(value, str):
        raise CoinferError(f"{what} is {shown(value)}; allowed is text")
    return str(value)


def _sources(sources: Any) -> tuple[tuple[str, str], ...]:
    """Return a plan's `part_sources`, checked and in order."""
    pairs = sources if isinstance(sources, tuple | list) else (sources,)
    for pair in pairs:
        of_text = isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[1], str)
        if not of_text or pair[0] not in PART_KINDS:
            raise CoinferError(
                f"Plan.part_sources has {shown(pair)}; allowed are pairs (kind of part, hash)"
            )
    return tuple(sorted((str(kind), str(source)) for kind, source in pairs))


def _kept_pairs(keep: Any) -> tuple[tuple[str, int], ...]:
    """Return a plan's `keep`, checked and in order."""
    pairs = keep if isinstance(keep, tuple | list) else (keep,)
    kept: dict[str, int] = {}
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise CoinferError(
                f"Plan.keep has {shown(pair)}; allowed are pairs (prune group, units kept)"
            )
        group, units = pair
        if group in kept:
            raise CoinferError("Plan.keep names a prune group twice; allowed is once each")
        kept[str(group)] = whole_number(f"Plan.keep of '{group}'", units, low=1)
    return tuple(sorted(kept.items()))


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as people write it: `3x224x224`."""
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class Source:
    """What the sensor delivers, before any resizing (design ruling 7).

    Attributes:
        shape: CIFAR: (3, 32, 32).
        bits_per_element: 8 for images.
        png_bits: mean measured size of one image as PNG, in bits; None where not measured.
        assumption: what in this source is our own choice; told with every row that it may
            decide. Empty where the sensor is known.
    """

    shape: tuple[int, ...]
    bits_per_element: int = 8
    png_bits: float | None = None
    assumption: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", whole_shape("Source.shape", self.shape))
        whole_number("Source.bits_per_element", self.bits_per_element, low=1)
        if self.png_bits is not None:
            finite_positive("Source.png_bits", self.png_bits)

    @property
    def raw_bits(self) -> int:
        """Bits of one raw source tensor."""
        return prod(self.shape) * self.bits_per_element


@dataclass(frozen=True)
class MeasuredPlans:
    """Plans of one family that were trained and validated, as a method may learn from them.

    Validation accuracies only: a method never sees a test image's answer (design ruling 1).

    Attributes:
        family: of plans, as `coinfer.accuracy.families` names it.
        table: name of the measurement table.
        recipe: label of the recipe that trained them.
        plans: what was measured.
        accuracies: on the validation images, 0..1, in the order of the plans.
        std_errors: of the accuracies.
        epochs: passes over training images that measuring all of them took.
        uplink_bits: mean bits per image, counted or known, in the order of the plans; None where
            symbols cross. Empty where they are not told.
        baseline_accuracy: of the unpruned network under this very recipe (design ruling 4), 0..1;
            None where it is the task's.

    Raises:
        CoinferError: when the columns differ in length.
    """

    family: str
    table: str
    recipe: str
    plans: tuple[Plan, ...]
    accuracies: tuple[float, ...]
    std_errors: tuple[float, ...]
    epochs: float = 0.0
    uplink_bits: tuple[float | None, ...] = ()
    baseline_accuracy: float | None = None

    def __post_init__(self) -> None:
        if self.uplink_bits and len(self.uplink_bits) != len(self.plans):
            raise CoinferError(
                f"measured plans '{self.table}' have {len(self.plans)} plans and "
                f"{len(self.uplink_bits)} payloads; allowed are as many of each, or no payload"
            )
        if not len(self.plans) == len(self.accuracies) == len(self.std_errors):
            raise CoinferError(
                f"measured plans '{self.table}' have {len(self.plans)} plans, "
                f"{len(self.accuracies)} accuracies and {len(self.std_errors)} standard errors; "
                "allowed are as many of each"
            )

    @cached_property
    def hash(self) -> str:
        """Content hash of all that can be learnt from them."""
        rows = [plan.hash for plan in self.plans]
        learnt = [self.family, self.recipe, rows, self.accuracies, self.std_errors]
        return content_hash([*learnt, self.uplink_bits, self.baseline_accuracy])


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
        measured: measured plans of this network, one entry per family, where the task was made
            with them; all of one recipe, the baseline's, but for those with a baseline of their
            own.
    """

    model: str
    graph: LayerGraph
    source: Source
    baseline_accuracy: float | None = None
    baseline_evidence: Evidence | None = None
    max_accuracy_loss: float = 0.02
    prune_space: PruneSpace | None = None
    measured: tuple[MeasuredPlans, ...] = ()

    def __post_init__(self) -> None:
        loss = real_number("Task.max_accuracy_loss", self.max_accuracy_loss, "0 to 1", _share)
        object.__setattr__(self, "max_accuracy_loss", loss)
        if self.baseline_accuracy is not None:
            real_number("Task.baseline_accuracy", self.baseline_accuracy, "0 to 1", _share)

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
                "measured": [measured.hash for measured in self.measured],
            }
        )

    @property
    def accuracy_floor(self) -> float | None:
        """Accuracy that a plan must exceed; None where the baseline is not known."""
        if self.baseline_accuracy is None:
            return None
        return self.baseline_accuracy - self.max_accuracy_loss

    def plans_of(self, family: str) -> MeasuredPlans | None:
        """Return the measured plans of a family, if there are any."""
        return next((found for found in self.measured if found.family == family), None)


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
        check_snr(self.snr_db)
        # The SNR axis collapses on links that have their rate (design ruling 9).
        if not self.link.needs_snr:
            object.__setattr__(self, "snr_db", None)
        object.__setattr__(self, "_rate_bps", self.link.rate(self.snr_db))

    @property
    def rate_bps(self) -> float:
        """Uplink rate in bit/s."""
        rate: float = self._rate_bps  # type: ignore[attr-defined]
        return rate


def check_snr(snr_db: float | None) -> None:
    """Refuse an SNR that is no finite number of dB, also where a link needs none.

    Raises:
        CoinferError: naming the value.
    """
    if snr_db is not None:
        real_number("snr_db", snr_db, "a finite number of dB", isfinite)


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
        predicted_latency_s: likewise, 0 or more; may be infinite, as over a dead link.
        evaluations: candidate plans the method looked at.

    Raises:
        CoinferError: when a field is not of that form; NumPy's numbers become Python's.
    """

    plan: Plan | None
    status: Status = "feasible"
    predicted_accuracy: float | None = None
    predicted_latency_s: float | None = None
    evaluations: int = 0

    def __post_init__(self) -> None:
        if self.plan is not None and not isinstance(self.plan, Plan):
            raise CoinferError(
                f"Selection.plan is a {type(self.plan).__name__}; allowed is a Plan, or None"
            )
        if self.status not in get_args(Status):
            raise CoinferError(
                f"Selection.status is {shown(self.status)}; allowed: {', '.join(get_args(Status))}"
            )
        if (self.plan is None) != (self.status == "infeasible"):
            raise CoinferError(
                f"Selection.status is '{self.status}' with plan "
                f"{'None' if self.plan is None else 'given'}; 'infeasible' goes with no plan"
            )
        evaluations = whole_number("Selection.evaluations", self.evaluations)
        object.__setattr__(self, "evaluations", evaluations)
        for name, allowed, in_range in (
            ("predicted_accuracy", "0 to 1, or None", _share),
            ("predicted_latency_s", "a number >= 0, or None", _not_negative),
        ):
            value = getattr(self, name)
            if value is not None:
                number = real_number(f"Selection.{name}", value, allowed, in_range)
                object.__setattr__(self, name, number)


def _share(number: float) -> bool:
    return 0.0 <= number <= 1.0


def _not_negative(number: float) -> bool:
    return number >= 0.0
