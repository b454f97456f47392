"""Rows with chosen latencies, for the tests of claims, figures and reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from benchmarks.catalog import Catalog
from benchmarks.cells import LATENCY_PARTS, Cell, Result
from benchmarks.evaluate import Group, cell_inputs, group_inputs
from benchmarks.rows import Row
from coinfer.serial import content_hash
from reproduce.claims import Claim, parse_claims

DEVICES = ("raspberry-pi-3b+", "raspberry-pi-4b", "jetson-tk1")
LINKS = ("3g", "4g", "5g", "wifi")
METHODS = ("all_local", "all_server", "neurosurgeon")


def timed(
    method: str,
    total_s: float = 1.0,
    *,
    device: str = "raspberry-pi-4b",
    link: str = "3g",
    status: Any = "ok",
    reason: str = "",
    evidence: str = "analytic",
    **cell: Any,
) -> Row:
    """A row whose latency is `total_s`, half of it on the device and half on the uplink."""
    known = {"model": "alexnet", "server": "tesla-p100", "convention": "qho2024", **cell}
    where = Cell(method=method, device=device, link=link, **known)
    if status != "ok":
        return Row(where, Result(status, reason=reason), {})
    parts = dict.fromkeys(LATENCY_PARTS, 0.0)
    result = Result(
        "ok",
        plan={"model": where.model, "cut": {"index": 3, "after": "features.2"}},
        plan_hash=content_hash(method),
        latency={**parts, "device_s": total_s / 2, "uplink_s": total_s / 2, "total_s": total_s},
        uplink_bits=1e6,
        rate_bps=1e6,
        device_flops=10,
        server_flops=20,
        evidence={"latency": evidence},
    )
    return Row(where, result, {})


def grid(seconds: Mapping[tuple[str, str, str], float], default: float = 1.0) -> list[Row]:
    """Rows of every cell of Fig. 6; `seconds` by (device, link, method), else `default`."""
    return [
        timed(method, seconds.get((device, link, method), default), device=device, link=link)
        for device in DEVICES
        for link in LINKS
        for method in METHODS
    ]


def current(row: Row, **changed: str) -> Row:
    """A row as if the code here had computed it, but for the inputs given."""
    inputs = cell_inputs(row.cell, group_inputs(Group.of(row.cell), Catalog()), Catalog())
    return replace(row, inputs={**inputs, **changed})


def claim(kind: str, links: Iterable[str] = ("3g",), **fields: Any) -> Claim:
    """A claim about the RPi 4B over `links`; fields are those of the claims file."""
    record = {
        "id": "Q-test.1",
        "place": "here",
        "statement": "something",
        "kind": kind,
        "matrix": "fig6",
        "slow": ["all_local"],
        "fast": ["neurosurgeon"],
        "where": {
            "model": ["alexnet"],
            "device": ["raspberry-pi-4b"],
            "server": ["tesla-p100"],
            "link": list(links),
            "convention": "qho2024",
        },
        **fields,
    }
    text = "\n".join(
        ['paper = "Q"', "[[claim]]", *(f"{k} = {_toml(v)}" for k, v in record.items())]
    )
    (only,) = parse_claims(text, "test.toml").claims
    return only


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)
