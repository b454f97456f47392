"""`coinfer export`, `merge`, `explain-miss` and `store-info`: what can be done with a store."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from benchmarks.matrix_options import MATRIX, asked_filters, asked_matrix, matrix_options
from coinfer.clitypes import CONVENTION, DEVICE, LINK, MODEL, SERVER
from methods.cli import METHOD

if TYPE_CHECKING:
    from benchmarks.catalog import Catalog
    from benchmarks.cells import Cell
    from benchmarks.export import Exported
    from benchmarks.store import Store

# Options that choose among the cells of a matrix.
_NARROWING = ("methods", "models", "include", "exclude")

# Problems of a damaged store that are told at most.
_PROBLEMS = 20

_PATH = click.Path(path_type=Path)
_STORE = click.option(
    "--store", "store_file", required=True, type=_PATH, metavar="FILE", help="The store."
)


@click.command("export")
@_STORE
@click.option(
    "--format",
    "format_",
    required=True,
    type=click.Choice(["csv", "parquet", "json"]),
    help="csv and parquet: flat columns; json: whole rows, which `coinfer merge` reads again.",
)
@click.option(
    "-o",
    "--output",
    type=_PATH,
    metavar="FILE",
    help="File, replaced when it is there, unless it is a database; standard output without.",
)
@click.option(
    "--with-run-columns",
    is_flag=True,
    help="Add who computed each row, when, and for how long. Without, equal results give equal "
    "files.",
)
def export(store_file: Path, format_: str, output: Path | None, with_run_columns: bool) -> int:
    """Write the rows of a store as CSV, Parquet or JSON.

    Rows come in the order of their cells, in which numbers in names count as numbers. The columns
    inputs_... are hashes of what a row was computed from: inputs_harness and inputs_method of the
    code, inputs_task of the network, and so on. Rows with the same ones came from the same code.

    Of a damaged store, every row that can still be read is written; how many could not is told,
    and the exit code is 1. SQLite keeps no checksums: a digit that changed inside a number is not
    seen. A new store is made of it with JSON:

    \b
    coinfer export --store results.sqlite --format csv -o results.csv
    coinfer export --store results.sqlite --format csv | head
    coinfer export --store damaged.sqlite --format json --with-run-columns -o rows.json
    coinfer merge new.sqlite rows.json

    Exit codes: 0 done, 1 the store is damaged and what could be read was written, 2 bad input,
    or nothing could be read.
    """
    from benchmarks.export import export_file
    from coinfer.errors import EXIT_FAILED, EXIT_OK

    done = export_file(
        store_file, format_, output or _stdout(format_), run_columns=with_run_columns
    )
    for line in _told(done, store_file, output):
        click.echo(line, err=True)
    return EXIT_OK if done.damage is None else EXIT_FAILED


def _stdout(format_: str) -> BinaryIO:
    from coinfer.errors import CoinferError

    # Python's own is None where the shell closed it.
    if sys.stdout is None:
        raise CoinferError("standard output is closed; give a file with -o")
    if format_ == "parquet" and sys.stdout.isatty():
        raise CoinferError("parquet is not text; give a file with -o, or a pipe")
    return sys.stdout.buffer


def _told(done: Exported, store_file: Path, output: Path | None) -> Iterator[str]:
    from benchmarks.store_rows import counted
    from coinfer.errors import printable

    if done.damage is not None:
        saved = counted(done.rows, "row")
        yield printable(f"coinfer: store '{store_file}': damaged ({done.damage})")
        lost = f"at least {done.lost} could not" if done.lost else "none is known to be lost"
        yield f"{saved} could be read, {lost}"
        if done.without_run:
            yield f"{counted(done.without_run, 'row')} of them without run columns"
    if output is not None:
        yield f"{counted(done.rows, 'row')} to {output}"


@click.command("merge")
@click.argument("target", type=_PATH)
@click.argument("sources", type=_PATH, nargs=-1, required=True, metavar="SOURCE...")
def merge(target: Path, sources: tuple[Path, ...]) -> None:
    """Copy the rows of other stores, or of JSON exports, into the store TARGET.

    TARGET is made when it is missing. Rows that are there stay; failed ones give way to any
    other outcome. When one key has two different results, when a file is damaged, or when TARGET
    is among the SOURCEs, nothing is merged (exit code 2).

    \b
    coinfer merge all.sqlite mine.sqlite yours.sqlite theirs.json
    """
    from benchmarks.merge import merge as copy
    from benchmarks.store_rows import counted

    done = copy(target, sources)
    click.echo(
        f"{target}: {counted(done.added, 'row')} added, {counted(done.replaced, 'failure')} "
        f"replaced, {done.known} already there"
    )


@click.command("explain-miss")
@_STORE
@click.argument("matrix", type=MATRIX, metavar="[MATRIX]", required=False)
@click.option("--model", type=MODEL, help="One cell instead of a matrix: its model,")
@click.option("--method", type=METHOD, help="... method,")
@click.option("--device", type=DEVICE, help="... device,")
@click.option("--server", type=SERVER, help="... server,")
@click.option("--link", type=LINK, help="... link,")
@click.option("--snr-db", type=float, help="... SNR in dB where the link needs one,")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="... seed,")
@click.option(
    "--convention", type=CONVENTION, default="harmonised", show_default=True, help="... convention"
)
@click.option(
    "--max-accuracy-loss",
    type=float,
    default=0.02,
    show_default=True,
    help="... and accuracy floor.",
)
@matrix_options
def explain_miss(store_file: Path, matrix: str | None, **options: Any) -> None:
    """Say why cells are not found in a store: those of a MATRIX, or one cell.

    Which cells of a MATRIX are meant is said as for `coinfer run`.

    \b
    coinfer explain-miss --store results.sqlite fig6
    coinfer explain-miss --store results.sqlite fig6 --include 'method=neurosurgeon,link=3g'
    coinfer explain-miss --store results.sqlite --model alexnet --method all_local \\
        --device raspberry-pi-4b --server tesla-p100 --link 3g
    """
    from benchmarks.catalog import Catalog
    from benchmarks.explain import explain_all, explain_miss
    from benchmarks.store import Store
    from coinfer.errors import printable

    catalog = Catalog(options["method_files"], options["preset_files"], options["selections"])
    with Store.open(store_file, readonly=True) as store, store.snapshot():
        if matrix is not None:
            lines = explain_all(store, _matrix_cells(matrix, catalog, options))
        else:
            cell = catalog.canonical(_cell(options))
            catalog.scenario(cell)  # a missing number is bad input, not a missing row
            ((_, inputs),) = _with_inputs([cell], catalog)
            lines = explain_miss(store, cell, inputs)
    for line in lines:
        click.echo(printable(line))


@click.command("store-info")
@_STORE
@click.option(
    "--check",
    is_flag=False,
    flag_value="quick",
    type=click.Choice(["quick", "full"]),
    help="Check the file for damage. quick, the default: SQLite's quick_check, and whether every "
    "row can be read; full: SQLite's integrity_check, whether every row's key is that of its "
    "content, and whether a run can have computed it.",
)
def store_info(store_file: Path, check: str | None) -> int:
    """Summarise a store: rows by status, runs, and whether the file is sound.

    \b
    coinfer store-info --store results.sqlite
    coinfer store-info --store results.sqlite --check
    coinfer store-info --store results.sqlite --check full

    Exit codes: 0 done, and with --check the file is sound; 1 with --check, the file is damaged;
    2 bad input.
    """
    from benchmarks.soundness import impossible
    from benchmarks.store import Store
    from benchmarks.store_schema import DamagedStoreError
    from coinfer.errors import EXIT_FAILED, EXIT_OK, printable

    damage: list[str] = []
    lines: list[str] = []
    try:
        with Store.open(store_file, readonly=True, check=False) as store, store.snapshot():
            if check:
                damage = store.damage(full=check == "full")
            if check == "full" and not damage:
                damage = [
                    f"row {row.key}: no run computes it: {fault}"
                    for row in store.rows()
                    if (fault := impossible(row.result))
                ]
            lines = list(_summary(store))
    except DamagedStoreError as error:
        if check is None:
            raise
        damage = damage or [error.problem]
    lines += [f"damaged: {problem}" for problem in damage[:_PROBLEMS]]
    if len(damage) > _PROBLEMS:
        lines.append(f"damaged: and {len(damage) - _PROBLEMS} more")
    if damage:
        lines.append("what can be read is saved by 'coinfer export' (see its --help)")
    elif check:
        lines.append("the file is sound")
    for line in lines:
        click.echo(printable(line))
    return EXIT_FAILED if damage else EXIT_OK


def _summary(store: Store) -> Iterator[str]:
    from benchmarks.store_rows import counted

    for name, value in sorted(store.meta().items()):
        yield f"{name.replace('_', ' ')}: {value}"
    yield f"rows: {store.count()}"
    for status, count in store.query("SELECT status, count(*) FROM rows GROUP BY 1 ORDER BY 1"):
        yield f"  {status}: {count}"
    rows = dict(store.query("SELECT run_id, count(*) FROM row_runs GROUP BY 1"))
    runs = store.runs()
    yield f"runs: {len(runs)}"
    for run in runs:
        end = f"to {run.finished_at}" if run.finished_at else "not finished"
        words = run.provenance.get("command_line")
        line = shlex.join(map(str, words)) if isinstance(words, list) else ""
        told = counted(rows.get(run.run_id, 0), "row")
        yield f"  {run.started_at} {end}: {told}, {line or 'no command line'}"


def _cell(options: dict[str, Any]) -> Cell:
    from benchmarks.cells import Cell
    from coinfer.errors import CoinferError

    narrowing = [f"--{name}" for name in _NARROWING if options[name]]
    if narrowing:
        raise CoinferError(f"{', '.join(narrowing)} narrow a MATRIX; give one")
    names = ("model", "method", "device", "server", "link")
    missing = [f"--{name}" for name in names if options[name] is None]
    if missing:
        raise CoinferError(f"give a MATRIX, or one cell by its names; missing {', '.join(missing)}")
    further = ("snr_db", "seed", "convention", "max_accuracy_loss")
    return Cell(**{name: options[name] for name in (*names, *further)})


def _matrix_cells(
    source: str, catalog: Catalog, options: dict[str, Any]
) -> Iterator[tuple[Cell, dict[str, str]]]:
    """The cells of a matrix with their inputs as they are now."""
    from dataclasses import replace

    from benchmarks.matrix import expand
    from coinfer.errors import CoinferError

    named = [f"--{n}" for n in ("model", "method", "device", "server", "link") if options[n]]
    if named:
        raise CoinferError(f"give a MATRIX or one cell, not both; there is {', '.join(named)}")
    matrix = asked_matrix(source, options["methods"], options["models"])
    filters = asked_filters(options["include"], options["exclude"])
    known = replace(catalog, preset_files=(*catalog.preset_files, *matrix.preset_files))
    return _with_inputs(expand(matrix, known, filters), known)


def _with_inputs(cells: list[Cell], catalog: Catalog) -> Iterator[tuple[Cell, dict[str, str]]]:
    from benchmarks.evaluate import Group, cell_inputs, group_inputs

    prepared: dict[Group, dict[str, str]] = {}
    for cell in cells:
        group = Group.of(cell)
        if group not in prepared:
            prepared[group] = group_inputs(group, catalog)
        yield cell, cell_inputs(cell, prepared[group], catalog)
