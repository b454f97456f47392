"""The page of provenance: runs, hardware numbers, rules, selections and measurement tables."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from benchmarks.freshness import selections_of
from benchmarks.selections import shipped_selections
from coinfer import conventions
from coinfer.hardware import GIVEN_BY_USER
from reports.numbers import natural, scaled

if TYPE_CHECKING:
    from benchmarks.catalog import Catalog
    from benchmarks.freshness import Checked
    from benchmarks.store import Run
    from coinfer.hardware import Link, Processor
    from reproduce.measured import Measured


def presets_told(shown: Sequence[Checked], catalog: Catalog) -> list[dict[str, Any]]:
    """What the current rows rest on: devices, servers, links, conventions, with their sources."""
    current = [one for one in shown if one.state == "current"]
    told = []
    for kind in ("device", "server", "link"):
        refs = {getattr(one.row.cell, kind) for one in current}
        things = {ref: getattr(catalog.presets, kind)(ref) for ref in refs}
        told += [
            {
                "kind": kind,
                "name": ref,
                "numbers": _numbers(things[ref]),
                "source": things[ref].source,
            }
            for ref in sorted(refs, key=natural)
            # What the user gave stands in the name.
            if things[ref].source != GIVEN_BY_USER
        ]
    told += [
        {
            "kind": "convention",
            "name": name,
            "numbers": conventions.convention(name).note,
            "source": conventions.convention(name).source,
        }
        for name in sorted({one.row.cell.convention for one in current})
    ]
    return told


def _numbers(thing: Processor | Link) -> str:
    """The numbers of a processor or link that a latency or an energy is computed from."""
    units = {
        "flops_per_s": "FLOP/s",
        "rate_bps": "b/s",
        "bandwidth_hz": "Hz",
        "uses_per_s": "symbol/s",
        "flip_probability": "flip probability",
        "round_trip_s": "s round trip",
        "compute_watts": "W computing",
        "transmit_watts": "W sending",
    }
    held = [(getattr(thing, name, None), unit) for name, unit in units.items()]
    return ", ".join(scaled(value, unit) for value, unit in held if value)


def tables_told(tables: Sequence[Measured]) -> list[dict[str, Any]]:
    """The measurement tables behind the claims about accuracies."""
    return [
        {
            "name": one.table.origin.name,
            "setting": one.setting,
            "size": one.size,
            "parent": one.table.origin.parent_sha256,
            "data": one.table.origin.data_hash,
            "digest": one.digest,
            "machines": ", ".join(
                sorted({str(about.get("cpu", "unknown")) for about in one.table.machines.values()})
            ),
        }
        for one in tables
    ]


def selections_told(shown: Sequence[Checked]) -> list[dict[str, Any]]:
    """The frozen selections from which rows have their plans: what they are, and of how many."""
    counts = Counter(selections_of(one.row) for one in shown)
    found = ((shipped_selections(name), count) for name, count in sorted(counts.items()) if name)
    return [
        {
            "name": one.name,
            "rows": count,
            "matrix": one.about.get("matrix", "unknown"),
            "versions": sorted(
                (name, version)
                for name, version in one.about.get("versions", {}).items()
                if version
            ),
            "digest": one.hash,
        }
        for one, count in found
    ]


def _typed(words: Sequence[object]) -> str:
    """A command line with the program's name alone: where it was installed helps nobody."""
    program, *rest = map(str, words or [""])
    return shlex.join([PurePath(program).name, *rest]) if words else ""


def run_told(run: Run, number: int) -> dict[str, Any]:
    """A run with the machine, versions and command line that it recorded of itself."""
    about = run.provenance
    git = about.get("git")
    return {
        "number": number,
        "started": run.started_at,
        "finished": run.finished_at or "not finished",
        "command": _typed(about.get("command_line", [])),
        "python": about.get("python", "unknown"),
        "platform": about.get("platform", "unknown"),
        "cpu": about.get("cpu", "unknown"),
        "versions": sorted(
            (name, version) for name, version in about.get("versions", {}).items() if version
        ),
        "commit": "not a git checkout"
        if not git
        else str(git.get("commit", "unknown"))
        + " with uncommitted changes" * bool(git.get("dirty")),
    }
