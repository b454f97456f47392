"""Measurement tables: a CSV with a row per measured plan, and a JSON that says where it is from.

A table is written anew, atomically, whenever a sample is done, so it is also what a killed sweep
goes on from. Rows carry the hash of their own content: a row that was edited is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coinfer.accuracy.measurement import Measurement, Payload
from coinfer.accuracy.recipe import Recipe
from coinfer.accuracy.sampling import MAX_ACCURACY_LOSS, SOBOL_FIRST
from coinfer.errors import CoinferError
from coinfer.plan import Plan
from coinfer.records import beside, read_records, write_records
from coinfer.serial import canonical_json, from_data, to_data

TABLE_SCHEMA = 1


@dataclass(frozen=True)
class Origin:
    """What all rows of a table have in common.

    Attributes:
        name: of the table, its file name without suffix.
        model: the network.
        family: the family of plans, as `coinfer.accuracy.box` names it.
        target: samples that the table is to have.
        seed: of the design and of every training.
        recipe: how every sample was trained.
        parent_sha256: of the weights that every sample started from.
        parent: what is known of those weights.
        data: name of the data set.
        data_hash: of its three splits.
        schema: version of this record.
        sobol_first: Sobol points of the design before the first near the accuracy floor.
        max_accuracy_loss: the floor that they are near lies so far below the unpruned network.
    """

    name: str
    model: str
    family: str
    target: int
    seed: int
    recipe: Recipe
    parent_sha256: str
    parent: Mapping[str, Any] = field(compare=False)
    data: str
    data_hash: str
    schema: int = TABLE_SCHEMA
    sobol_first: int = SOBOL_FIRST
    max_accuracy_loss: float = MAX_ACCURACY_LOSS


@dataclass(frozen=True)
class Sample:
    """A measured plan of a table.

    Attributes:
        why: what put it into the design: `corner`, `sobol`, `adaptive`, or `every` where that has
            all plans.
        measurement: the results.
        seconds: wall time of building, training and measuring it.
        machine: hardware and versions, a key of the table's `machines`.
        code: hash of the source that measured it.
    """

    why: str
    measurement: Measurement
    seconds: float = field(compare=False)
    machine: str = field(compare=False)
    code: str = field(compare=False)


@dataclass(frozen=True)
class Table:
    """Samples in the order of their design, with their origin.

    Attributes:
        origin: what they have in common.
        samples: what was measured.
        machines: hardware and versions by name, as plain data.
        failed: why a plan of the design has no sample, by `Plan.hash`.
    """

    origin: Origin
    samples: tuple[Sample, ...] = ()
    machines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name, samples and target in a few words."""
        return f"{self.origin.name}: {len(self.samples)} of {self.origin.target} samples"

    def find(self, plan: Plan) -> Sample | None:
        """Return the sample of a plan, if it was measured."""
        return next((s for s in self.samples if s.measurement.plan == plan), None)


COLUMNS = (
    *("why", "val_accuracy", "val_std_error", "val_n", "test_accuracy", "test_correct", "test_n"),
    *("cut_index", "cut_after", "uplink_bits", "uplink_p5_bits", "uplink_p95_bits"),
    *("uplink_symbols", "uplink_evidence", "device_flops", "server_flops", "encoder_flops"),
    *("decoder_flops", "epochs", "images", "seconds", "machine", "code", "plan", "hash"),
    "val_correct",
)


def write_table(path: Path, table: Table) -> None:
    """Write `path` (CSV) and the JSON beside it, each atomically.

    Raises:
        CoinferError: when the folder cannot be written.
    """
    about = {
        "origin": to_data(table.origin),
        "samples": len(table.samples),
        "machines": dict(table.machines),
        "failed": dict(sorted(table.failed.items())),
    }
    write_records(path, COLUMNS, map(_row, table.samples), about)


def read_table(path: Path, *, unfinished: bool = False) -> Table:
    """Return a table.

    Args:
        path: of the CSV.
        unfinished: accept fewer rows than the JSON tells of, as `coinfer.records.read_records`.

    Raises:
        CoinferError: naming the file, and the row and column that are damaged.
    """
    found = read_records(path, unfinished=unfinished)
    if found.columns != COLUMNS:
        raise CoinferError(f"'{path}' has other columns; accepted: {', '.join(COLUMNS)}")
    failed = found.about.get("failed")
    if not isinstance(failed, dict) or not all(isinstance(why, str) for why in failed.values()):
        raise CoinferError(f"'{beside(path)}' is damaged: 'failed' is {str(failed)[:40]}")
    try:
        origin = from_data(found.origin, Origin)
    except CoinferError as error:
        raise CoinferError(f"'{beside(path)}' is damaged: {error}") from error
    samples: dict[str, Sample] = {}
    for number, row in enumerate(found.rows, start=2):
        try:
            sample = _sample(row, origin)
            if sample.measurement.plan.hash in samples:
                raise CoinferError("its plan stands in a row before")
            if sample.machine not in found.machines:
                raise CoinferError(f"machine '{sample.machine}' is not in '{beside(path).name}'")
        except (KeyError, TypeError, ValueError, RecursionError, CoinferError) as error:
            raise CoinferError(f"'{path}' line {number} is damaged: {error}") from error
        samples[sample.measurement.plan.hash] = sample
    return Table(origin, tuple(samples.values()), found.machines, failed)


def _row(sample: Sample) -> dict[str, Any]:
    m = sample.measurement
    return {
        "why": sample.why,
        "val_accuracy": m.val_accuracy,
        "val_std_error": round(m.val_std_error, 6),
        "val_n": m.val_n,
        "test_accuracy": _text(m.test_accuracy),
        "test_correct": _text(m.test_correct),
        "test_n": _text(m.test_n),
        "cut_index": m.plan.cut.index,
        "cut_after": m.plan.cut.after,
        "uplink_bits": _text(m.payload.bits),
        "uplink_p5_bits": _text(m.payload.p5_bits),
        "uplink_p95_bits": _text(m.payload.p95_bits),
        "uplink_symbols": _text(m.payload.symbols),
        "uplink_evidence": m.payload.evidence,
        "device_flops": m.device_flops,
        "server_flops": m.server_flops,
        "encoder_flops": m.encoder_flops,
        "decoder_flops": m.decoder_flops,
        "epochs": m.epochs,
        "images": m.images,
        "seconds": round(sample.seconds, 1),
        "machine": sample.machine,
        "code": sample.code,
        "plan": canonical_json(to_data(m.plan)),
        "hash": m.hash,
        "val_correct": m.val_correct,
    }


def _sample(row: Mapping[str, str], origin: Origin) -> Sample:
    payload = {
        "bits": _number(row["uplink_bits"]),
        "p5_bits": _number(row["uplink_p5_bits"]),
        "p95_bits": _number(row["uplink_p95_bits"]),
        "symbols": _whole(row["uplink_symbols"]),
        "evidence": row["uplink_evidence"],
    }
    measurement = Measurement(
        plan=Plan.from_data(json.loads(row["plan"])),
        recipe=origin.recipe.label,
        recipe_hash=origin.recipe.hash,
        parent_sha256=origin.parent_sha256,
        data_hash=origin.data_hash,
        seed=origin.seed,
        val_correct=row["val_correct"],
        val_n=int(row["val_n"]),
        test_correct=_whole(row["test_correct"]),
        test_n=_whole(row["test_n"]),
        payload=from_data(payload, Payload),
        device_flops=int(row["device_flops"]),
        server_flops=int(row["server_flops"]),
        encoder_flops=int(row["encoder_flops"]),
        decoder_flops=int(row["decoder_flops"]),
        epochs=int(row["epochs"]),
        images=int(row["images"]),
    )
    if measurement.hash != row["hash"]:
        raise CoinferError("its content does not have the hash that stands in it")
    if float(row["val_accuracy"]) != measurement.val_accuracy:
        raise CoinferError("val_accuracy is not that of val_correct")
    return Sample(row["why"], measurement, float(row["seconds"]), row["machine"], row["code"])


def in_order(samples: Iterable[Sample], plans: Iterable[Plan]) -> tuple[Sample, ...]:
    """Return samples in the order of their plans in the design, whatever order they came in."""
    place = {plan: number for number, plan in enumerate(plans)}
    return tuple(sorted(samples, key=lambda sample: place[sample.measurement.plan]))


def _text(value: float | int | None) -> str | float | int:
    return "" if value is None else value


def _number(text: str) -> float | None:
    return float(text) if text else None


def _whole(text: str) -> int | None:
    return int(text) if text else None
