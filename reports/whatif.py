"""The plans and hardware that the what-if page prices again in the browser.

A plan is its work (FLOPs on each side, bits or symbols), its accuracy loss and where both come
from. `templates/whatif.js` prices it by eqs. 1-5 of the QHO paper, as `coinfer.cost` does; a test
holds the two against each other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from benchmarks.measured import measurements
from coinfer.conventions import convention
from coinfer.cost import Workload, plan_workload
from coinfer.errors import CoinferError, printable
from coinfer.plan import Plan, Task
from coinfer.refs import parse_ref
from reports.numbers import natural
from reports.standings import is_reference
from reproduce.facts import short
from reproduce.style import method_style

if TYPE_CHECKING:
    from benchmarks.catalog import Catalog
    from benchmarks.cells import Result
    from benchmarks.rows import Row
    from coinfer.accuracy.measurement import Measurement
    from coinfer.presets import Kind


@dataclass(frozen=True)
class Offer:
    """A plan that a method may take.

    Attributes:
        method: ref of the method that chose it, or from whose family of plans it is.
        plan_hash: of the plan.
        cut: where it cuts, for people.
        work: FLOPs and payload.
        loss: of accuracy against the unpruned network, 0..1; None where nothing is known.
        loss_evidence: class of that number, '' without one.
        accuracy: 0..1, of the same class; None where not known.
        payload_evidence: class of the payload.
        origin: the row or table that it is from.
    """

    method: str
    plan_hash: str
    cut: str
    work: Workload
    loss: float | None
    loss_evidence: str
    accuracy: float | None
    payload_evidence: str
    origin: str


def offers_of_rows(rows: Iterable[Row]) -> dict[tuple[str, str], list[Offer]]:
    """Plans of a store by (model, convention), each once per method."""
    found: dict[tuple[str, str], dict[tuple[str, str], Offer]] = {}
    for row in rows:
        result = row.result
        if result.status != "ok" or not result.plan_hash or not _whole(result):
            continue
        offer = _offer_of(row)
        if offer is not None:
            place = (row.cell.model, row.cell.convention)
            found.setdefault(place, {}).setdefault((offer.method, offer.plan_hash), offer)
    return {place: list(own.values()) for place, own in found.items()}


def _whole(result: Result) -> bool:
    """Whether the row has the plan's work, of error-free bits or of symbols."""
    plan = result.plan or {}
    # What a binary channel lets through holds at its own error rate alone.
    uncoded = plan.get("channel", "none") != "none" and result.uplink_symbols is None
    known = (result.device_flops, result.server_flops)
    sent = (result.uplink_bits, result.uplink_symbols)
    return not uncoded and None not in known and any(part is not None for part in sent)


def _offer_of(row: Row) -> Offer | None:
    result, plan = row.result, row.result.plan or {}
    cut = plan.get("cut", {})
    loss, evidence, accuracy = _loss(row.cell.model, result)
    analog = result.uplink_symbols is not None
    return Offer(
        row.cell.method,
        str(result.plan_hash),
        f"{cut.get('index', '')} {cut.get('after', '')}".strip(),
        Workload(
            result.device_flops,
            result.server_flops,
            result.uplink_bits or 0.0,
            result.encode_flops or 0,
            result.decode_flops or 0,
            result.uplink_symbols or 0,
        ),
        loss,
        evidence,
        accuracy,
        result.evidence.get("uplink_symbols" if analog else "uplink_bits", "evidence unknown"),
        f"row {row.key[:8]}",
    )


def _loss(model: str, result: Result) -> tuple[float | None, str, float | None]:
    """Accuracy loss of a row's plan, its evidence class and the accuracy itself."""
    if result.accuracy_loss is not None:
        evidence = result.evidence.get("accuracy_loss", "evidence unknown")
        return result.accuracy_loss, evidence, result.accuracy
    baseline = _baseline(model)
    for accuracy, evidence in (
        (result.measured_accuracy, "measured"),
        (result.predicted_accuracy, "predicted"),
    ):
        if accuracy is not None:
            return None if baseline is None else baseline - accuracy, evidence, accuracy
    return None, "", None


def _baseline(model: str) -> float | None:
    known = measurements(model)
    return None if known is None else known.baseline.val_accuracy


def offers_of_tables(model: str, name: str, catalog: Catalog) -> list[Offer]:
    """Measured plans that ship, under a convention, for the methods that choose from their family.

    Only what the convention would let the method choose; empty where nothing ships of the model.
    """
    known = measurements(model)
    if known is None:
        return []
    rules = convention(name)
    task = _task(model)
    baseline = known.baseline.val_accuracy
    found = []
    for method, cls in catalog.methods.classes.items():
        family = getattr(cls, "family", "")
        kinds = rules.kinds_for(method, cls.card.cuts)
        for table in (t for t in known.tables if family and t.origin.family == family):
            for sample in table.samples:
                measured = sample.measurement
                plan = measured.plan
                if task.graph.cut(plan.cut.after).kind not in kinds or plan.channel != "none":
                    continue
                work = _work(measured, plan, task, name, catalog)
                if work is None or not (
                    rules.admits(parse_ref(plan.coder).name) or not work.uplink_bits
                ):
                    continue
                found.append(
                    Offer(
                        method,
                        plan.hash,
                        f"{plan.cut.index} {plan.cut.after}",
                        work,
                        baseline - measured.val_accuracy,
                        "measured",
                        measured.val_accuracy,
                        measured.payload.evidence,
                        f"table {table.origin.name}",
                    )
                )
    return found


def _work(
    measured: Measurement, plan: Plan, task: Task, name: str, catalog: Catalog
) -> Workload | None:
    """What a measured plan makes each side do; None where the rules have no price for it."""
    bits = measured.payload.bits if measured.payload.evidence == "measured" else None
    try:
        return plan_workload(
            plan, task, convention(name), catalog.methods.parts, measured_bits=bits
        )
    except CoinferError:
        return None


@cache
def _task(model: str) -> Task:
    from coinfer.tasks import make_task

    return make_task(model, groups=True)


def whatif_data(rows: Sequence[Row], catalog: Catalog) -> dict[str, Any]:
    """What the page needs, as JSON data: hardware, methods, and plans by model and convention.

    Args:
        rows: of the code at hand, one per cell.
        catalog: that resolves their names.
    """
    groups: list[dict[str, Any]] = []
    methods: dict[str, int] = {}
    found = offers_of_rows(rows)
    for model, name in sorted(found, key=lambda place: (-len(found[place]), place)):
        own = found[model, name]
        offers = {(offer.method, offer.plan_hash): offer for offer in own}
        asked = {offer.method for offer in own}
        for offer in offers_of_tables(model, name, catalog):
            if offer.method in asked:
                offers.setdefault((offer.method, offer.plan_hash), offer)
        plans = [
            _plan_data(offer, methods.setdefault(offer.method, len(methods)))
            for method in sorted(asked, key=lambda name: (is_reference(name, catalog), name))
            for offer in _thinned([o for o in offers.values() if o.method == method])
        ]
        groups.append(
            {
                "model": printable(model),
                "convention": printable(name),
                "unit": convention(name).work_unit,
                "baseline": _baseline(model),
                "plans": plans,
            }
        )
    return {
        "schema": 1,
        "methods": [
            {
                "ref": printable(method),
                "label": printable(method_style(method).label),
                "ink": method_style(method).ink,
                "reference": is_reference(method, catalog),
            }
            for method in methods
        ],
        "groups": groups,
        **_hardware(rows, catalog),
        "losses": sorted({row.cell.max_accuracy_loss for row in rows}),
    }


def _thinned(offers: list[Offer]) -> list[Offer]:
    """Leave out plans that another of the same method beats in every way, at any rate."""
    kept: list[Offer] = []
    for offer in sorted(offers, key=_costs):
        if not any(_beats(other, offer) for other in kept):
            kept.append(offer)
    return kept


def _costs(offer: Offer) -> tuple[float, ...]:
    work = offer.work
    loss = math.inf if offer.loss is None else offer.loss
    return (
        float(work.device_flops + work.encode_flops),
        float(work.server_flops + work.decode_flops),
        float(work.uplink_bits),
        float(work.uplink_symbols),
        loss,
        _RANK.get(offer.loss_evidence, 9),
    )


# A measured number is worth more than a predicted one; a plan that changes nothing loses nothing.
_RANK = {"analytic": 0, "measured": 1, "published": 2, "predicted": 3}


def _beats(one: Offer, other: Offer) -> bool:
    return all(a <= b for a, b in zip(_costs(one), _costs(other), strict=True))


def _plan_data(offer: Offer, method: int) -> list[Any]:
    """A plan as a list, in the order that `whatif.js` reads."""
    work = offer.work
    return [
        method,
        int(work.device_flops),
        int(work.encode_flops),
        float(work.uplink_bits),
        int(work.uplink_symbols),
        int(work.decode_flops),
        int(work.server_flops),
        offer.loss,
        offer.loss_evidence,
        offer.accuracy,
        offer.payload_evidence,
        printable(offer.cut),
        offer.plan_hash[:12],
        printable(offer.origin),
    ]


def _hardware(rows: Sequence[Row], catalog: Catalog) -> dict[str, list[dict[str, Any]]]:
    """Devices, servers and links: those of the rows first, then every preset that has numbers."""
    presets = catalog.presets
    told: dict[str, list[dict[str, Any]]] = {}
    kinds: tuple[Kind, ...] = ("device", "server", "link")
    for kind in kinds:
        used = sorted({getattr(row.cell, kind) for row in rows}, key=natural)
        refs = dict.fromkeys([*(ref for ref in used if "[" not in ref), *presets.listed(kind)])
        found = []
        for ref in refs:
            try:
                thing = getattr(presets, kind)(ref)
                numbers = (
                    {
                        "rate_bps": thing.rate_bps,
                        "bandwidth_hz": thing.bandwidth_hz,
                        "round_trip_s": thing.round_trip_s,
                    }
                    if kind == "link"
                    else {"flops_per_s": thing.speed()}
                )
            except CoinferError:
                continue
            if kind == "link" and thing.uses_per_s is not None:
                continue
            finite = all(math.isfinite(v) for v in numbers.values() if v is not None)
            if finite:
                found.append(
                    {
                        "name": printable(short(ref)),
                        "ref": printable(ref),
                        "used": ref in used,
                        "source": printable(thing.source),
                        **numbers,
                    }
                )
        told[f"{kind}s"] = found
    return told


def embedded(data: object) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
