"""Figures of ours from a matrix: no paper claims anything about them, so no scorecard is theirs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from reproduce import noise, plane, rate_figures
from reproduce.facts import Facts, Gap
from reproduce.rates import sweeps_of
from reproduce.winners import compare, csv_text, is_plane, told


def write(facts: Facts, folder: Path, stem: str, title: str) -> list[Path]:
    """Write a figure with its data, and where it is from (JSON); return the files."""
    if is_plane(stem):
        files = plane.write(facts, folder, stem, title)
        axes = plane.plane_of(stem)
        model, rules, methods = axes.model, axes.rules, axes.methods
    else:
        sweeps = sweeps_of(stem)
        # Several sweeps are several kinds of noise.
        drawing = rate_figures if len(sweeps) == 1 else noise
        files = drawing.write(facts, folder, stem, title)
        model, rules = sweeps[0].model, sweeps[0].convention
        methods = tuple(dict.fromkeys(name for sweep in sweeps for name in sweep.methods))
    about = folder / f"{stem}.json"
    record = {
        "made_by": f"coinfer reproduce {stem}",
        "matrix": stem,
        "model": model,
        "convention": rules,
        "methods": list(methods),
        "csv_sha256": hashlib.sha256((folder / f"{stem}.csv").read_bytes()).hexdigest(),
    }
    about.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return [*files, about]


def write_winners(facts: Facts, folder: Path, figure: str) -> list[Path]:
    """Write who wins in every scenario of a figure under both rules (CSV) and a summary (text).

    What cannot be compared is said in the summary.
    """
    table, summary = folder / f"{figure}-winners.csv", folder / f"{figure}-winners.txt"
    places = compare(facts, figure)
    if isinstance(places, Gap):
        text, found = f"Not compared: {places.told(figure, f'{figure}-harmonised')}.", []
    else:
        text, found = told(places), places
    table.write_text(csv_text(found), encoding="utf-8", newline="")
    summary.write_text(text + "\n", encoding="utf-8")
    return [table, summary]
