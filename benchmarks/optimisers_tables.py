"""What a comparison of searches found, as tables, as text, and where it is from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.folders import check_places, staged
from benchmarks.optimisers import READINGS, SCHEMA, Result, versions
from coinfer.search.judge import Floats
from coinfer.serial import content_hash, to_data
from coinfer.sources import closure_hash
from coinfer.versions import installed_version

SUMMARY = (
    *("table", "model", "device", "server", "link", "rate_bps", "convention", "optimiser"),
    *("evaluations", "runs", "found", "best_known_s", "median_s", "q25_s", "q75_s"),
    *("median_relative", "q25_relative", "q75_relative", "evidence"),
)
RUNS = (
    *("device", "link", "optimiser", "seed", "evaluations", "restarts", "found", "cost_s"),
    *("relative", "predicted_accuracy"),
)
TRACES = (
    *("device", "link", "optimiser", "evaluations", "found"),
    *("median_relative", "q25_relative", "q75_relative"),
)
"""Columns of the three tables; `found` is the share of runs, or whether one run, found a plan."""

EVIDENCE = "analytic, predicted"

MADE_BY = "coinfer compare-optimisers"
"""What tells our JSON from another file of that name."""

_MARKED = ("optimisers.json", f'"made_by": "{MADE_BY}"', f"`{MADE_BY}`")
FILES = ("optimisers.csv", "runs.csv", "traces.csv", "optimisers.json")
"""Of a comparison: the three tables, and where they are from."""

# Points of a trace, evenly spaced in the logarithm of the evaluations.
_STEPS = 60


def summary_rows(result: Result) -> Iterator[dict[str, Any]]:
    """Yield a row for every cell and optimiser, with the columns SUMMARY."""
    contest, origin = result.contest, result.contest.table.origin
    for cell, ((device, server, link), scenario) in enumerate(
        zip(contest.names, contest.scenarios, strict=True)
    ):
        best = result.references[cell].cost
        for name in contest.optimisers:
            costs = np.array([answer.cost for answer in result.answers[name, cell]])
            relative = result.relative(name, cell)
            yield dict(
                zip(
                    SUMMARY,
                    (
                        *(origin.name, origin.model, device, server, link, scenario.rate_bps),
                        *(scenario.convention.name, name, contest.evaluations, len(costs)),
                        *(_share(costs), best, *quartiles(costs), *quartiles(relative), EVIDENCE),
                    ),
                    strict=True,
                )
            )


def run_rows(result: Result) -> Iterator[dict[str, Any]]:
    """Yield a row for every run, with the columns RUNS."""
    for cell, (device, _, link) in enumerate(result.contest.names):
        for name in result.contest.optimisers:
            for answer in result.answers[name, cell]:
                accuracy: float | str = ""
                if answer.point is not None:
                    accuracy = float(result.problem.accuracy(answer.point[None])[0])
                yield {
                    "device": device,
                    "link": link,
                    "optimiser": name,
                    "seed": answer.seed,
                    "evaluations": answer.evaluations,
                    "restarts": answer.restarts,
                    "found": int(answer.point is not None),
                    "cost_s": answer.cost,
                    "relative": answer.cost / result.references[cell].cost,
                    "predicted_accuracy": accuracy,
                }


def trace_rows(result: Result) -> Iterator[dict[str, Any]]:
    """Yield how far every optimiser is after some evaluations, with the columns TRACES."""
    most = result.contest.evaluations
    steps = np.unique(np.geomspace(1, most, _STEPS).round().astype(np.int64))
    for cell, (device, _, link) in enumerate(result.contest.names):
        for name in result.contest.optimisers:
            for step in steps.tolist():
                relative = result.relative(name, cell, step)
                values = (device, link, name, step, _share(relative), *quartiles(relative))
                yield dict(zip(TRACES, values, strict=True))


def quartiles(values: Floats) -> tuple[float, float, float]:
    """Return median, first and third quartile: values that occurred; inf where nothing was found.

    The least value that half, a quarter, or three quarters of all do not exceed.
    """
    found = np.quantile(values, (0.5, 0.25, 0.75), method="inverted_cdf")
    return float(found[0]), float(found[1]), float(found[2])


def provenance(result: Result) -> dict[str, Any]:
    """Return where the numbers are from, as plain data."""
    contest, problem, surrogate = result.contest, result.problem, result.surrogate
    references = []
    for names, reference in zip(contest.names, result.references, strict=True):
        assert reference.point is not None
        (plan,) = problem.box.plans(problem.box.decide(reference.point[None]))
        accuracy = float(problem.accuracy(reference.point[None])[0])
        references.append(
            {
                **dict(zip(("device", "server", "link"), names, strict=True)),
                "latency_s": reference.cost,
                "predicted_accuracy": accuracy,
                "evaluations": reference.evaluations,
                "plan": to_data(plan),
            }
        )
    return {
        "made_by": MADE_BY,
        "schema": SCHEMA,
        "table": to_data(contest.table.origin),
        "samples": len(contest.table.samples),
        "labels": content_hash(surrogate.labels.data()),
        "surrogate": {"key": surrogate.key, **to_data(surrogate.chosen)},
        "baseline_accuracy": problem.baseline,
        "accuracy_floor": problem.floor,
        "convention": contest.scenarios[0].convention.name,
        "cells": [
            {**dict(zip(("device", "server", "link"), names, strict=True)), **to_data(scenario)}
            for names, scenario in zip(contest.names, contest.scenarios, strict=True)
        ],
        "optimisers": {name: to_data(READINGS.get(name)) for name in contest.optimisers},
        "seeds": list(range(contest.seeds)),
        "evaluations": contest.evaluations,
        "best_known": references,
        "code": closure_hash(["benchmarks.optimisers"]),
        "versions": {"coinfer": installed_version("coinfer"), **versions()},
    }


def write(result: Result, folder: Path) -> list[Path]:
    """Write the three tables (CSV) and where they are from (JSON); return the files.

    The same contest, code and versions give the same bytes.

    Raises:
        CoinferError: when the folder cannot be written, or holds files of these names that are not
            of a comparison.
    """
    texts = (
        _csv(SUMMARY, summary_rows(result)),
        _csv(RUNS, run_rows(result)),
        _csv(TRACES, trace_rows(result)),
        json.dumps(provenance(result), indent=2, allow_nan=False) + "\n",
    )
    with staged(folder, *_MARKED) as here:
        for name, text in zip(FILES, texts, strict=True):
            (here / name).write_text(text, encoding="utf-8", newline="")
    return [folder / name for name in FILES]


def check_folder(folder: Path) -> None:
    """Refuse, before any search, a folder that `write` would refuse.

    Raises:
        CoinferError: naming the file that is in the way.
    """
    check_places(folder, FILES, *_MARKED)


def describe(result: Result) -> str:
    """Return the medians relative to the best known, an optimiser a line, as text."""
    contest = result.contest
    origin, chosen = contest.table.origin, result.surrogate.chosen
    cells = range(len(contest.names))
    width = max(len(name) for name in contest.optimisers)
    lines = [
        f"Median of {contest.seeds} runs of {contest.evaluations} evaluations, relative to the "
        "best known; in brackets the share of runs that found a plan, where not all did.",
        f"Table {origin.name} ({len(contest.table.samples)} plans, recipe {origin.recipe.label}), "
        f"{chosen.regressor}, floor {result.problem.floor:.4f}, "
        f"{contest.scenarios[0].convention.name}. Accuracies are predicted, latencies analytic.",
        "",
    ]
    for cell in cells:
        device, _, link = contest.names[cell]
        best = 1e3 * result.references[cell].cost
        lines.append(f"({cell + 1}) {device}, {link}: best known {best:.4g} ms")
    lines += ["", " " * width + "".join(f"{f'({cell + 1})':>14}" for cell in cells)]
    for name in contest.optimisers:
        told = "".join(f"{_told(result.relative(name, cell)):>14}" for cell in cells)
        lines.append(f"{name:<{width}}{told}")
    return "\n".join(lines)


def _told(relative: Floats) -> str:
    share = _share(relative)
    median = f"{quartiles(relative)[0]:.3f}"
    return median if share == 1 else f"{median} [{share:.0%}]"


def _share(costs: Floats) -> float:
    return float(np.isfinite(costs).mean())


def _csv(columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
