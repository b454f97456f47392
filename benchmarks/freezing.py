"""From what methods choose in a matrix to selections that ship, and the best plans known.

A shipped figure is held against the best known of every scenario (design ruling 10). Finding it
takes minutes, so that it is kept with the selections, as a plan: what it costs is computed anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.best import Scene, scene_of, write_best
from benchmarks.catalog import Catalog
from benchmarks.cells import Cell
from benchmarks.evaluate import Group, allowed_cuts, prepare
from benchmarks.matrix import load
from benchmarks.progress import Progress
from benchmarks.provenance import package_versions
from benchmarks.rows import Row
from benchmarks.runner import Asked, ask, run
from benchmarks.selections import write_selections
from benchmarks.store import Store
from coinfer.errors import CoinferError
from coinfer.method import Context
from coinfer.plan import Plan
from coinfer.search.reference import best_known
from methods.qho import Qho

_EFFORT_SEEDS = (0,)


def freeze_matrix(
    matrix: str,
    store: Path,
    selections: Path,
    jobs: int,
    progress: Progress,
    method_files: tuple[str, ...] = (),
) -> str:
    """Write the selections of a matrix, computing first what the store lacks; return what was done.

    Args:
        matrix: a file, or the name of a shipped one.
        store: with the rows, made when missing.
        selections: folder of the selections; the best plans known go into `best` beside it.
        jobs: worker processes; 0 for one per core.
        progress: shown how far it is.
        method_files: that bring methods of the matrix.

    Raises:
        CoinferError: when a cell fails, or no method chose a plan: there is nothing to freeze.
    """
    loaded = load(matrix)
    name = loaded.name
    catalog = Catalog(method_files)
    summary = run(loaded, store, catalog=catalog, jobs=jobs, progress=progress)
    if summary.exit_code:
        raise CoinferError(f"{name}: {'; '.join(line.strip() for line in summary.lines())}")
    rows = learned_rows(matrix, store, method_files)
    if all(row.result.plan is None for row in rows):
        why = next((row.result.reason for row in rows), "none of its methods learns")
        raise CoinferError(f"nothing of '{name}' can be frozen, no plan was chosen: {why}")
    best = best_plans([row.cell for row in rows], rows, catalog)
    about = {"matrix": name, "versions": package_versions()}
    count = write_selections(selections / f"{name}.json", rows, about)
    told = f"{count} answers to '{name}' in '{selections}'"
    if best:
        write_best(selections.parent / "best" / f"{name}.json", best, about)
        told += f", {len(best)} best plans known in '{selections.parent / 'best'}'"
    return told


def learned_rows(
    matrix: str, store: Path, method_files: tuple[str, ...] = (), selections: str = ""
) -> list[Row]:
    """Return the rows of a matrix, as the code here computes them, of methods that learn.

    Args:
        matrix: its name or file.
        store: where the rows are.
        method_files: that bring methods of the matrix.
        selections: name of those that answered; none where the methods did.

    Raises:
        CoinferError: when the store lacks some of them.
    """
    catalog, asked = ask(load(matrix), Catalog(method_files, selections=selections))
    keys = [key for group in asked if _learns(catalog, group) for key in group.keys]
    with Store.open(store, create=False, readonly=True) as opened:
        rows = list(opened.rows(key=keys))
    if len(rows) < len(keys):
        by = f" --selections {selections}" if selections else ""
        raise CoinferError(
            f"'{store}' has {len(rows)} of the {len(keys)} rows of {matrix} that are wanted; "
            f"`coinfer run {matrix}{by} --store {store}` computes the others"
        )
    return rows


def _learns(catalog: Catalog, asked: Asked) -> bool:
    return catalog.method(asked.group.method).card.accuracy_signal != "baseline"


def best_plans(cells: Iterable[Cell], rows: Sequence[Row], catalog: Catalog) -> dict[Scene, Plan]:
    """Return the best plan known of every scenario in which QHO was asked, of its own plans.

    Scenarios under one convention are searched as one batch, so that a plan found for one rate
    counts for all. Matrices that ask at one cut at a time, or send through noise, have none.

    Args:
        cells: of the matrix.
        rows: what methods answered there; QHO's plans take part.
        catalog: that knows the methods.
    """
    found: dict[Scene, Plan] = {}
    asked: dict[Group, dict[Scene, Cell]] = {}
    for cell in cells:
        method = catalog.method(cell.method)
        plain = isinstance(method, Qho) and not method.noise
        if plain and not catalog.scenario(cell).convention.cut:
            group = replace(Group.of(cell), seed=0)
            asked.setdefault(group, {}).setdefault(scene_of(cell), cell)
    for group, scenes in asked.items():
        found |= _best_of_group(group, scenes, rows, catalog)
    return found


def _best_of_group(
    group: Group, scenes: dict[Scene, Cell], rows: Sequence[Row], catalog: Catalog
) -> dict[Scene, Plan]:
    method = catalog.method(group.method)
    assert isinstance(method, Qho)
    prepared = prepare(group, catalog)
    if prepared.library is None:
        return {}
    scenarios = [catalog.scenario(cell) for cell in scenes.values()]
    rules = scenarios[0].convention
    context = Context(prepared.task, rules, allowed_cuts(method, prepared.task, rules), 0)
    problem = method.problem(prepared.library, scenarios, context)
    own = {
        row.result.plan_hash: Plan.from_data(row.result.plan)
        for row in rows
        if row.cell.method == group.method and row.result.plan is not None
    }
    inside = [
        plan for plan in own.values() if plan.cut.after in {c.after for c in problem.box.cuts}
    ]
    points = problem.box.units(problem.box.read(inside)) if inside else None
    also = [] if points is None else [np.clip(points, 0.0, 1.0)]
    references = best_known(problem, seeds=_EFFORT_SEEDS, also=also)
    return {
        scene: problem.box.plans(problem.box.decide(reference.point[None]))[0]
        for scene, reference in zip(scenes, references, strict=True)
        if reference.point is not None
    }
