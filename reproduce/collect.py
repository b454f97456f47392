"""From matrices and stores to the facts that claims and figures are made from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rows import Row
from benchmarks.studies import KINDS, Kind
from coinfer.errors import CoinferError
from coinfer.graph import LayerGraph
from reproduce.claims import Claim, Finding
from reproduce.commands import frozen
from reproduce.facts import Case, Facts
from reproduce.networks import networks

if TYPE_CHECKING:
    from benchmarks.catalog import Catalog
    from benchmarks.cells import Cell
    from benchmarks.comparison import Comparison
    from benchmarks.freshness import Checked
    from benchmarks.progress import Progress
    from benchmarks.runner import Summary
    from benchmarks.store import Run
    from benchmarks.tables import Study
    from coinfer.accuracy.table import Table
    from reproduce.measured import Measured

# The network, family of plans and data set of the figures that are made from measurements.
_FIGURES_TABLE = ("alexnet-cifar", "qho", "cifar10")
# The network of the papers' figures, whose place ours takes.
_STANDS_FOR = "alexnet"


def traced(matrix: str) -> dict[str, LayerGraph]:
    """Trace the models of a shipped matrix from their real modules, kept graphs notwithstanding.

    Raises:
        CoinferError: when a model cannot be traced, or its kept graph is another.
    """
    from benchmarks.matrix import load
    from coinfer.graphs import retrace

    return {model: retrace(model) for model in load(matrix).models}


def compute(
    matrix: str,
    store_path: Path,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    reselect: bool = False,
) -> tuple[Summary, list[Row]]:
    """Run a shipped matrix into a store and return its rows.

    Rows of other cells, and of older code, may be in the store too: they are not returned. Where
    selections ship for the matrix they stand for the methods that learn, unless `reselect`.

    Raises:
        CoinferError: for whatever the runner or the store refuses.
    """
    from benchmarks.catalog import Catalog
    from benchmarks.matrix import load
    from benchmarks.runner import run_rows

    catalog = Catalog(selections="" if reselect else frozen(matrix))
    return run_rows(load(matrix), store_path, catalog=catalog, jobs=jobs, progress=progress)


def answers(matrix: str) -> list[Row]:
    """Return the rows of a shipped matrix whose methods answer at once, as `compute` without store.

    No worker processes: built-in methods neither hang nor crash, and starting them takes longer.

    Raises:
        CoinferError: for whatever is wrong with the matrix, its names or its models.
    """
    from benchmarks.catalog import Catalog
    from benchmarks.evaluate import evaluate, prepare
    from benchmarks.matrix import load
    from benchmarks.runner import ask

    catalog, asked = ask(load(matrix), Catalog(selections=frozen(matrix)))
    rows = []
    for one in asked:
        prepared = prepare(one.group, catalog)
        rows += [evaluate(prepared, cell) for cell in one.cells]
    return rows


def best_known(matrix: str) -> dict[Case, float]:
    """Return what the best plans that ship for a matrix cost in their scenarios, in seconds.

    Raises:
        CoinferError: when their file is damaged, or a plan does not fit its network.
    """
    from benchmarks.best import shipped_best
    from benchmarks.catalog import Catalog
    from benchmarks.cells import Cell
    from coinfer.search.problem import Environments
    from coinfer.search.reference import plan_costs
    from coinfer.tasks import make_task

    best = shipped_best(matrix)
    catalog = Catalog()
    tasks = {model: make_task(model, groups=True) for model in {scene[0] for scene in best}}
    found = {}
    for (model, device, server, link, snr_db, convention), plan in best.items():
        cell = Cell(model, "", device, server, link, snr_db, convention=convention)
        where = Environments.of([catalog.scenario(cell)])
        case = Case(model, device, server, link, convention, snr_db)
        found[case] = float(plan_costs([plan], tasks[model], where)[0, 0])
    return found


def learns(matrix: str) -> bool:
    """Whether a method of a shipped matrix learns from measured plans before it answers."""
    from benchmarks.catalog import Catalog
    from benchmarks.matrix import load

    methods = map(Catalog().method, load(matrix).methods)
    return any(method.card.accuracy_signal != "baseline" for method in methods)


def stored(
    path: Path, catalog: Catalog | None = None, only: Collection[Cell] | None = None
) -> tuple[list[Checked], list[Run]]:
    """Return the rows of a store, held against the code here, and its runs.

    Args:
        path: of the store.
        catalog: method files and presets beyond the built-in ones that the rows may name.
        only: cells whose rows are wanted; None for all.

    Raises:
        CoinferError: when the store cannot be read.
    """
    from benchmarks.catalog import Catalog
    from benchmarks.freshness import check
    from benchmarks.store import Store
    from benchmarks.store_rows import row_of

    with Store.open(path, create=False, readonly=True) as store, store.snapshot():
        runs = store.runs()
        rows = [
            (row, str(record.run[0]) if record.run else "")
            for record in store.records()
            for row in [row_of(record)]
            if only is None or row.cell in only
        ]
    return check(rows, catalog or Catalog()), runs


def networks_needed(claims: Iterable[Claim], findings: Iterable[Finding]) -> list[str]:
    """Models whose traced graphs the claims and findings read, each once."""
    named = [claim.network.model for claim in claims if claim.network is not None]
    named += [model for finding in findings for model in finding.networks]
    return list(dict.fromkeys(named))


def matrices_needed(claims: Iterable[Claim], findings: Iterable[Finding]) -> list[str]:
    """Matrices whose rows the claims and findings read, each once."""
    named = [claim.matrix for claim in claims if claim.matrix]
    named += [matrix for finding in findings for matrix in finding.matrix]
    return list(dict.fromkeys(named))


def tables_needed(claims: Iterable[Claim], given: Sequence[Table] = ()) -> list[Measured]:
    """Measurement tables that the claims read: those given, then the largest shipped ones.

    Raises:
        CoinferError: when a shipped table is damaged, or when a given one decides nothing.
    """
    places = dict.fromkeys(
        (claim.measured.model, claim.measured.family, claim.measured.data)
        for claim in claims
        if claim.measured is not None
    )
    if not places and not given:
        return []
    from reproduce.measured import Measured

    read = list(map(Measured, given))
    for number, one in enumerate(read):
        told = f"table '{one.table.origin.name}' ({', '.join(one.place)})"
        if one.place not in places:
            accepted = "; ".join(map(", ".join, places)) or "none"
            raise CoinferError(
                f"{told} decides none of these claims; accepted: network, family of plans and data "
                f"among {accepted}"
            )
        if one.place in [other.place for other in read[:number]]:
            raise CoinferError(f"{told} is the second of its kind; accepted: one table of each")
    shipped = [_shipped(*place) for place in places]
    return [*read, *(table for table in shipped if table is not None)]


def table_for_figures(name: str | None) -> Measured:
    """Return a measurement table by its name or FILE.csv; None is the largest of our network.

    Raises:
        CoinferError: when there is none, or it is damaged.
    """
    from benchmarks.tables import find_table
    from coinfer.accuracy.families import FAMILIES
    from reproduce.measured import Measured

    if name is not None:
        given = find_table(name)
        if given.origin.family not in FAMILIES:
            raise CoinferError(
                f"'{name}' holds plans of no one family ('{given.origin.family}'); accepted: a "
                "table that `coinfer sweep` wrote"
            )
        return Measured(given)
    found = _shipped(*_FIGURES_TABLE)
    if found is None:
        raise CoinferError(
            f"no measurement table of {_FIGURES_TABLE[0]} ships; give one that `coinfer sweep` "
            "wrote, --table FILE.csv"
        )
    return found


def tables_for_agreement(name: str | None) -> list[Measured]:
    """Return a table of a large network, then the shipped ones of the small one beside it.

    Args:
        name: of a shipped table, or FILE.csv; None is the largest of the network that ours stands
            for, cross-checks included.

    Raises:
        CoinferError: when there is none, none to hold it against, or one is damaged.
    """
    from benchmarks.tables import find_table
    from reproduce.measured import Measured

    small, *kind = _FIGURES_TABLE
    if name is None:
        ours = [one for one in _every() if one.place == (_STANDS_FOR, *kind)]
        large = max(ours, key=lambda one: len(one.table.samples), default=None)
    else:
        large = Measured(find_table(name))
        if large.place[0] == small:
            raise CoinferError(
                f"'{name}' is of {small} itself, which is held against a larger network; accepted: "
                "a table of another network"
            )
    if large is None:
        raise CoinferError(
            f"no measurement table of {_STANDS_FOR} ships; give one that `coinfer sweep` wrote, "
            "--table FILE.csv"
        )
    beside = [one for one in _every() if one.place == (small, *large.place[1:])]
    if not beside:
        raise CoinferError(
            f"no table of {small} ships for family {large.place[1]} on {large.place[2]}, to hold "
            f"'{large.table.origin.name}' against"
        )
    return [large, *beside]


def study_for_figures(name: str | None, kind: Kind) -> Study:
    """Return a study by its name or FILE.csv; None is the largest of that kind of our network.

    Raises:
        CoinferError: when there is none, or it is damaged, or of another kind.
    """
    from benchmarks.tables import find_study

    if name is not None:
        study = find_study(name)
        if study.kind != kind:
            raise CoinferError(f"'{name}' is a {study.kind.name}; accepted: a {kind.name}")
        return study
    found = _studies(kind)
    if not found:
        raise CoinferError(
            f"no {kind.name} of {_FIGURES_TABLE[0]} ships; give one that `{kind.command}` wrote, "
            "--table FILE.csv"
        )
    return max(found, key=lambda study: len(study.rows))


def _studies(kind: Kind) -> list[Study]:
    """The shipped studies of a kind, of our network."""
    from benchmarks.tables import find_study, study_names

    model, _, data = _FIGURES_TABLE
    place = (kind, model, data)
    every = map(find_study, study_names())
    return [s for s in every if (s.kind, s.origin.get("model"), s.origin.get("data")) == place]


def comparisons_for_figures(name: str | None = None) -> tuple[Comparison, ...]:
    """Return a comparison of optimisers by its name or FOLDER; None are all shipped of our network.

    Raises:
        CoinferError: when there is none, or it is damaged.
    """
    from benchmarks.comparison import comparison_names, find_comparison

    if name is not None:
        return (find_comparison(name),)
    every = map(find_comparison, comparison_names())
    found = [one for one in every if one.model == _FIGURES_TABLE[0]]
    return tuple(sorted(found, key=lambda one: one.evaluations))


def facts_of_file(reads: str, name: str | None) -> Facts:
    """Take the facts from what a figure reads: `table`, `tables`, a kind of study, `comparison`.

    Raises:
        CoinferError: when there is none of that name, or it is damaged.
    """
    if reads in KINDS:
        return replace(Facts.of([]), study=study_for_figures(name, KINDS[reads]))
    if reads == "tables":
        return Facts.of([], tables=tables_for_agreement(name))
    if reads == "comparison":
        found = comparisons_for_figures(name)
        if not found:
            raise CoinferError(
                f"no comparison of optimisers of {_FIGURES_TABLE[0]} ships; give one that `coinfer "
                "compare-optimisers` wrote, --table FOLDER"
            )
        return replace(Facts.of([]), comparisons=found)
    return Facts.of([], tables=[table_for_figures(name)])


def shipped_facts(reads: str) -> Facts | None:
    """Take the facts from what ships of what a figure reads; None where nothing does.

    Raises:
        CoinferError: when a shipped file is damaged.
    """
    from benchmarks.comparison import comparison_names

    small, *kind = _FIGURES_TABLE
    ships: dict[str, Callable[[], object]] = {
        "tables": lambda: {(_STANDS_FOR, *kind), (small, *kind)} <= {x.place for x in _every()},
        "comparison": comparison_names,
        **{name: partial(_studies, study) for name, study in KINDS.items()},
    }
    return facts_of_file(reads, None) if reads in ships and ships[reads]() else None


@cache
def _every() -> tuple[Measured, ...]:
    """Every shipped table, cross-checks included."""
    from benchmarks.tables import cross_check_names, shipped_table, table_names
    from reproduce.measured import Measured

    return tuple(Measured(shipped_table(one)) for one in (*table_names(), *cross_check_names()))


@cache
def _shipped(model: str, family: str, data: str) -> Measured | None:
    """The largest shipped table, kept with what is computed from it: files of a release stay."""
    from benchmarks.tables import largest_table
    from reproduce.measured import Measured

    table = largest_table(model, family, data)
    return None if table is None else Measured(table)


def facts_by_searching(jobs: int = 1, *, quiet: bool = False) -> Facts:
    """Search as the figure of learning curves needs it, anew: minutes.

    Args:
        jobs: worker processes, 0 for one per core.
        quiet: whether to show no progress.

    Raises:
        CoinferError: when there is nothing to learn from.
    """
    from reproduce.learning import searched

    found = searched(jobs=jobs, quiet=quiet)
    return replace(Facts.of([]), searches={curves.model: curves for curves in found})


def facts_by_computing(
    claims: Sequence[Claim], findings: Sequence[Finding], tables: Sequence[Table] = ()
) -> Facts:
    """Compute what the claims and findings need and takes seconds, in this process.

    Matrices with methods that fit predictors or search take longer: of those there are rows only
    where selections ship.
    Measurement tables are read: those given, then shipped ones.
    """
    rows = [
        row
        for matrix in matrices_needed(claims, findings)
        if frozen(matrix) or not learns(matrix)
        for row in answers(matrix)
    ]
    facts = Facts.of(
        rows, networks(networks_needed(claims, findings)), tables=tables_needed(claims, tables)
    )
    return replace(facts, comparisons=_comparisons_needed(findings))


def _comparisons_needed(findings: Iterable[Finding]) -> tuple[Comparison, ...]:
    needed = any(finding.compute == "literal_reading" for finding in findings)
    return comparisons_for_figures() if needed else ()


def cells_needed(claims: Iterable[Claim], findings: Iterable[Finding]) -> set[Cell]:
    """Cells of the matrices that the claims and findings read."""
    from benchmarks.catalog import Catalog
    from benchmarks.matrix import expand, load

    return {
        cell
        for matrix in matrices_needed(claims, findings)
        for cell in expand(load(matrix), Catalog())
    }


def facts_of_store(
    path: Path,
    claims: Sequence[Claim],
    findings: Sequence[Finding],
    tables: Sequence[Table] = (),
) -> Facts:
    """Take the facts from a store, and from measurement tables: those given, then shipped ones."""
    found, _ = stored(path, only=cells_needed(claims, findings))
    return facts_of(found, claims, findings, tables)


def facts_of(
    found: Iterable[Checked],
    claims: Sequence[Claim],
    findings: Sequence[Finding],
    tables: Sequence[Table] = (),
) -> Facts:
    """Take from rows of a store those that answer the claims' own matrices, if they are current."""
    from benchmarks.freshness import one_per_cell

    needed = cells_needed(claims, findings)
    wanted = one_per_cell(one for one in found if one.row.cell in needed)
    facts = Facts.of(
        [one.row for one in wanted if one.state == "current"],
        networks(networks_needed(claims, findings)),
        [(one.row.cell, one.cause) for one in wanted if one.state != "current"],
        tables_needed(claims, tables),
    )
    return replace(facts, comparisons=_comparisons_needed(findings))
