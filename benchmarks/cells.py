"""A cell of the matrix and the row that answers it. Plain data, JSON round trip."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "infeasible", "skipped", "failed"]
Floor = Literal["", "held", "broken", "undecided"]

LATENCY_PARTS = ("device_s", "encode_s", "uplink_s", "round_trip_s", "decode_s", "server_s")


@dataclass(frozen=True)
class Cell:
    """One question: every field is a name in canonical form or a number.

    Attributes:
        model: model ref (`alexnet`, `torchvision:resnet18`, `nets.py:factory`).
        method: method ref with its options (`neurosurgeon[objective=energy]`).
        device, server, link: preset refs (`raspberry-pi-3b+`, `rate[rate_bps=1000000.0]`).
        snr_db: None on links that have their rate.
        seed: 0 for methods that are not stochastic.
        convention: accounting rules.
        max_accuracy_loss: the accuracy floor lies this far (0..1) below the baseline.
    """

    model: str
    method: str
    device: str
    server: str
    link: str
    snr_db: float | None = None
    seed: int = 0
    convention: str = "harmonised"
    max_accuracy_loss: float = 0.02

    def __post_init__(self) -> None:
        # 10 and 10.0, 0.0 and -0.0 are one value, so they are one text and one key.
        object.__setattr__(self, "max_accuracy_loss", float(self.max_accuracy_loss) + 0.0)
        if self.snr_db is not None:
            object.__setattr__(self, "snr_db", float(self.snr_db) + 0.0)


@dataclass(frozen=True)
class Result:
    """What the harness found for a cell: deterministic columns only (design ruling 13).

    Attributes:
        status: `ok`; `infeasible` (no plan meets the floor); `skipped` (incompatible, see
            reason); `failed` (see reason; the traceback is a column of the run).
        reason: one line for every status but `ok`.
        plan: the plan as JSON data, None without one.
        plan_hash: its content hash, the code of parts that are not built in included.
        latency: seconds per part (LATENCY_PARTS) and `total_s`; empty without a plan.
        uplink_bits: digital payload, bits; the mean where it was measured. None where symbols
            cross.
        uplink_p5_bits, uplink_p95_bits: of all images, where the bits depend on the data.
        uplink_symbols: analog payload, channel uses; None where bits cross, or nothing.
        rate_bps: uplink rate; bits are charged at it.
        bandwidth_hz: symbols a second, where symbols are charged.
        source_bits: what the sensor delivers, raw (8 bits an element for images).
        input_bits: the network's input in the convention's format of tensors. Both sizes are
            known whatever is sent (design ruling 7).
        device_flops, server_flops, encode_flops, decode_flops: work priced, in the convention's
            unit of work (`Convention.work_unit`: FLOPs or MACs).
        energy_j: energy of the device where watts are given.
        accuracy: of the plan, 0..1; accuracy_loss against the baseline.
        measured_accuracy: on validation images, 0..1, measured of this very plan.
        test_accuracy: on test images, 0..1; read once, of a final plan. Nothing is chosen by it.
        floor_held: whether the measured accuracy keeps within the floor: `held`, `broken` or
            `undecided` (a paired bootstrap, design ruling 4); '' where nothing was measured.
        predicted_accuracy, predicted_latency_s: the method's own estimates.
        evaluations: candidates the method looked at.
        evidence: evidence class per quantity (`latency`, `uplink_bits`, `accuracy`, ...).
        ledger: [phase, evaluations, epochs] per phase.
        assumptions: our own choices behind this row, in words: of its link, of its source, and
            which of source and network input an All_Server plan is charged for.
    """

    status: Status
    reason: str = ""
    plan: dict[str, Any] | None = None
    plan_hash: str | None = None
    latency: dict[str, float] = field(default_factory=dict)
    uplink_bits: float | None = None
    uplink_p5_bits: float | None = None
    uplink_p95_bits: float | None = None
    uplink_symbols: int | None = None
    rate_bps: float | None = None
    bandwidth_hz: float | None = None
    source_bits: float | None = None
    input_bits: float | None = None
    device_flops: int | None = None
    server_flops: int | None = None
    encode_flops: int | None = None
    decode_flops: int | None = None
    energy_j: float | None = None
    accuracy: float | None = None
    accuracy_loss: float | None = None
    measured_accuracy: float | None = None
    test_accuracy: float | None = None
    floor_held: Floor = ""
    predicted_accuracy: float | None = None
    predicted_latency_s: float | None = None
    evaluations: int = 0
    evidence: dict[str, str] = field(default_factory=dict)
    ledger: tuple[tuple[str, int, float], ...] = ()
    assumptions: tuple[str, ...] = ()

    @property
    def total_flops(self) -> int | None:
        """Work on both sides, codec included."""
        parts = (self.device_flops, self.encode_flops, self.decode_flops, self.server_flops)
        known = [part for part in parts if part is not None]
        return sum(known) if known else None
