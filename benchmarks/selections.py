"""Selections that ship frozen: which plans a search chose, with what its predictor said of them.

A figure draws what was chosen and measured once (design ruling 3), so it takes seconds and stays
what it was when a regressor's library moves on; everything that the harness says of the plans is
computed anew. `--reselect` searches again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from benchmarks.cells import Cell
from benchmarks.rows import Row
from coinfer.cachefolder import write_atomically
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.plan import Plan, Selection
from coinfer.serial import content_hash, from_data, to_data

SELECTIONS_SCHEMA = 1

Entries = tuple[tuple[str, int, float], ...]

_CELL = tuple(field.name for field in fields(Cell))


@dataclass(frozen=True)
class Chosen:
    """What a method answered in one cell, and what that took: [phase, evaluations, epochs]."""

    selection: Selection
    ledger: Entries


@dataclass(frozen=True, eq=False)
class Selections:
    """Answers by cell.

    Attributes:
        name: the file's, without suffix.
        about: where they come from, as plain data.
        answers: by cell, in canonical form.
        hash: content hash of the answers.
    """

    name: str
    about: Mapping[str, Any]
    answers: Mapping[Cell, Chosen]
    hash: str


def selections_names() -> list[str]:
    """Return the names of the selections that ship, in order."""
    folder = files("benchmarks").joinpath("selections")
    if not folder.is_dir():
        return []
    return sorted(
        e.name.removesuffix(".json") for e in folder.iterdir() if e.name.endswith(".json")
    )


@cache
def shipped_selections(name: str) -> Selections:
    """Return the selections that ship under a name.

    Raises:
        UnknownNameError: when none do.
        CoinferError: when the file is damaged.
    """
    if name not in selections_names():
        raise UnknownNameError("selections", name, selections_names())
    text = files("benchmarks").joinpath("selections", f"{name}.json").read_text(encoding="utf-8")
    return _parsed(name, text)


def write_selections(path: Path, rows: Iterable[Row], about: Mapping[str, Any]) -> int:
    """Write the answers of rows that have a plan, or say that none meets the floor.

    Args:
        path: of the JSON file.
        rows: of one run; skipped and failed ones are left out.
        about: where they come from, as plain data.

    Returns:
        How many were written.

    Raises:
        CoinferError: when the file cannot be written.
    """
    plans: dict[str, Any] = {}
    answers = []
    for row in sorted(rows, key=lambda row: content_hash(to_data(row.cell))):
        result = row.result
        if result.status not in ("ok", "infeasible"):
            continue
        if result.plan_hash and result.plan is not None:
            plans[result.plan_hash] = result.plan
        answers.append(
            {
                "cell": [getattr(row.cell, name) for name in _CELL],
                "plan": result.plan_hash or None,
                "accuracy": result.predicted_accuracy,
                "latency_s": result.predicted_latency_s,
                "evaluations": result.evaluations,
                "ledger": [list(entry) for entry in result.ledger],
            }
        )
    lines = ",\n".join(json.dumps(answer, separators=(",", ":")) for answer in answers)
    chosen = ",\n".join(
        f"{json.dumps(key)}:{json.dumps(plan, sort_keys=True, separators=(',', ':'))}"
        for key, plan in sorted(plans.items())
    )
    text = (
        f'{{"schema":{SELECTIONS_SCHEMA},\n"about":{json.dumps(dict(about), sort_keys=True)},\n'
        f'"fields":{json.dumps(_CELL)},\n"plans":{{\n{chosen}\n}},\n"answers":[\n{lines}\n]}}\n'
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise CoinferError(f"cannot write '{path}': {error.strerror}") from error
    return len(answers)


def _parsed(name: str, text: str) -> Selections:
    try:
        data = json.loads(text)
        if data["schema"] != SELECTIONS_SCHEMA:
            raise CoinferError(
                f"selections '{name}' have schema {data['schema']}; accepted: {SELECTIONS_SCHEMA}"
            )
        plans = {key: Plan.from_data(plan) for key, plan in data["plans"].items()}
        answers = {
            from_data(dict(zip(data["fields"], answer["cell"], strict=True)), Cell): _chosen(
                answer, plans
            )
            for answer in data["answers"]
        }
    except (ValueError, KeyError, TypeError) as error:
        raise CoinferError(
            f"selections '{name}' are damaged: {type(error).__name__}: {error}"
        ) from None
    for key, plan in plans.items():
        if plan.hash != key:
            raise CoinferError(f"selections '{name}' are damaged: plan {key[:12]} was changed")
    return Selections(name, data["about"], answers, content_hash(data["answers"]))


def _chosen(answer: Mapping[str, Any], plans: Mapping[str, Plan]) -> Chosen:
    key = answer["plan"]
    selection = Selection(
        None if key is None else plans[key],
        "infeasible" if key is None else "feasible",
        answer["accuracy"],
        answer["latency_s"],
        answer["evaluations"],
    )
    ledger = ((phase, int(count), float(epochs)) for phase, count, epochs in answer["ledger"])
    return Chosen(selection, tuple(ledger))
