"""Best plans known that ship: what methods' plans are held against in figures (design ruling 10).

They come from a search of their own (`coinfer.search.reference`), which takes minutes, and are kept
as plans: what they cost is computed anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from benchmarks.cells import Cell
from coinfer.cachefolder import write_atomically
from coinfer.errors import CoinferError
from coinfer.plan import Plan
from coinfer.serial import to_data

BEST_SCHEMA = 1

Scene = tuple[str, str, str, str, float | None, str]
"""Where a plan is the best known: model, device, server, link, SNR and convention."""


def scene_of(cell: Cell) -> Scene:
    """Return the scenario of a cell."""
    return cell.model, cell.device, cell.server, cell.link, cell.snr_db, cell.convention


def shipped_best(matrix: str) -> dict[Scene, Plan]:
    """Return the best plans known that ship for a matrix; none where no search was made.

    Raises:
        CoinferError: when the file is damaged.
    """
    file = files("benchmarks").joinpath("best", f"{matrix}.json")
    if not file.is_file():
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["schema"] != BEST_SCHEMA:
            raise CoinferError(
                f"best plans of '{matrix}' have schema {data['schema']}; accepted: {BEST_SCHEMA}"
            )
        plans = {key: Plan.from_data(plan) for key, plan in data["plans"].items()}
        best: dict[Scene, Plan] = {tuple(scene): plans[key] for *scene, key in data["best"]}
    except (ValueError, KeyError, TypeError) as error:
        told = f"{type(error).__name__}: {error}"
        raise CoinferError(f"best plans of '{matrix}' are damaged: {told}") from None
    for key, plan in plans.items():
        if plan.hash != key:
            raise CoinferError(f"best plans of '{matrix}' are damaged: {key[:12]} was changed")
    return best


def write_best(path: Path, best: Mapping[Scene, Plan], about: Mapping[str, Any]) -> None:
    """Write the best plans known of scenarios, a line each.

    Args:
        path: of the JSON file.
        best: by scenario.
        about: where they come from, as plain data.

    Raises:
        CoinferError: when the file cannot be written.
    """
    plans = {plan.hash: plan for plan in best.values()}
    chosen = ",\n".join(
        f"{json.dumps(key)}:{json.dumps(to_data(plan), sort_keys=True, separators=(',', ':'))}"
        for key, plan in sorted(plans.items())
    )
    lines = sorted(
        json.dumps([*scene, plan.hash], separators=(",", ":")) for scene, plan in best.items()
    )
    text = (
        f'{{"schema":{BEST_SCHEMA},\n"about":{json.dumps(dict(about), sort_keys=True)},\n'
        f'"plans":{{\n{chosen}\n}},\n"best":[\n' + ",\n".join(lines) + "\n]}\n"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise CoinferError(f"cannot write '{path}': {error.strerror}") from error
