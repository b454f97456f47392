"""What holds of every row that a run computes, and so must of rows that come from a file.

A key covers the question and what determines the answer, never the answer itself: a number that
was edited in a file is told from what a run wrote only if no run could have written it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args

from benchmarks.cells import LATENCY_PARTS, Result
from coinfer.errors import CoinferError
from coinfer.plan import Evidence, Plan

SHARES = ("accuracy", "measured_accuracy", "test_accuracy", "predicted_accuracy")
"""Quantities that are shares of images."""

_COUNTS = ("uplink_symbols", "device_flops", "server_flops", "encode_flops", "decode_flops")
_AMOUNTS = (
    *("uplink_bits", "uplink_p5_bits", "uplink_p95_bits", "rate_bps", "bandwidth_hz"),
    *("source_bits", "input_bits", "energy_j"),
)
_TOTAL = "total_s"


def impossible(result: Result) -> str:
    """Return the first reason why no run computes such a result, or '' when there is none.

    Args:
        result: its fields are of their types.
    """
    return next(_faults(result), "")


def no_share(name: str, value: float | None) -> str:
    """Return why a number is no share of images, or '' when it is one, or None."""
    if value is None or 0 <= value <= 1:
        return ""
    return f"{name} is {value!r}; accepted: 0 to 1"


def _faults(result: Result) -> Iterator[str]:
    for name in SHARES:
        if fault := no_share(name, getattr(result, name)):
            yield fault
    if result.accuracy_loss is not None and not -1 <= result.accuracy_loss <= 1:
        yield f"accuracy_loss is {result.accuracy_loss!r}; accepted: -1 to 1"
    for name in (*_COUNTS, *_AMOUNTS, "evaluations"):
        value = getattr(result, name)
        if value is not None and not value >= 0:
            yield f"{name} is {value!r}; accepted: 0 or more"
    for quantity, evidence in result.evidence.items():
        if evidence not in get_args(Evidence):
            accepted = ", ".join(get_args(Evidence))
            yield f"evidence of {quantity} is {evidence!r}; accepted: {accepted}"
    for phase, evaluations, epochs in result.ledger:
        if evaluations < 0 or not epochs >= 0:
            yield f"the ledger of {phase} is {evaluations}, {epochs}; accepted: 0 or more"
    yield from _latency_faults(result)
    yield from _plan_faults(result)


def _latency_faults(result: Result) -> Iterator[str]:
    latency = result.latency
    if not latency and result.status != "ok":
        return
    if set(latency) != {*LATENCY_PARTS, _TOTAL}:
        yield f"latency has {', '.join(latency) or 'nothing'}; accepted: all of " + ", ".join(
            (*LATENCY_PARTS, _TOTAL)
        )
        return
    parts = [latency[name] for name in LATENCY_PARTS]
    if not all(part >= 0 for part in parts):
        yield f"latency is {latency}; accepted: 0 or more"
    elif not math.isclose(sum(parts), latency[_TOTAL], rel_tol=1e-12):
        yield f"latency does not add up: {latency}"


def _plan_faults(result: Result) -> Iterator[str]:
    if result.plan is None:
        if result.status == "ok" or result.plan_hash is not None:
            yield "it has no plan"
        return
    try:
        found = Plan.from_data(result.plan).hash
    except CoinferError as error:
        yield f"its plan is none: {error}"
        return
    if found != result.plan_hash:
        yield f"its plan has the hash {found}, plan_hash is {result.plan_hash}"
