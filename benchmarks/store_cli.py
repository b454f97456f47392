"""`coinfer export`, `merge`, `explain-miss` and `store-info`: what can be done with a store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from coinfer.clitypes import CONVENTION, DEVICE, LINK, MODEL, SERVER
from methods.cli import METHOD, METHOD_FILE

if TYPE_CHECKING:
    from benchmarks.catalog import Catalog
    from benchmarks.cells import Cell

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
@click.option("-o", "--output", type=_PATH, metavar="FILE", help="File; standard output without.")
@click.option(
    "--with-run-columns",
    is_flag=True,
    help="Add who computed each row, when, and for how long. Without, equal results give equal "
    "files.",
)
def export(store_file: Path, format_: str, output: Path | None, with_run_columns: bool) -> None:
    """Write the rows of a store as CSV, Parquet or JSON.

    \b
    coinfer export --store results.sqlite --format csv -o results.csv
    coinfer export --store results.sqlite --format csv | head
    """
    from benchmarks.export import export as write
    from benchmarks.store import Store
    from coinfer.errors import CoinferError

    if output is None and format_ == "parquet" and sys.stdout.isatty():
        raise CoinferError("parquet is not text; give a file with -o, or a pipe")
    with Store.open(store_file, readonly=True) as store:
        out: Path | BinaryIO = output or sys.stdout.buffer
        count = write(store, format_, out, run_columns=with_run_columns)
    if output is not None:
        click.echo(f"{count} rows to {output}", err=True)


@click.command("merge")
@click.argument("target", type=_PATH)
@click.argument("sources", type=_PATH, nargs=-1, required=True, metavar="SOURCE...")
def merge(target: Path, sources: tuple[Path, ...]) -> None:
    """Copy the rows of other stores, or of JSON exports, into the store TARGET.

    TARGET is made when it is missing. Rows that are there stay; failed ones give way to any
    other outcome. When one key has two different results nothing is merged (exit code 2).

    \b
    coinfer merge all.sqlite mine.sqlite yours.sqlite theirs.json
    """
    from benchmarks.merge import merge as copy

    done = copy(target, sources)
    click.echo(
        f"{target}: {done.added} rows added, {done.replaced} failures replaced, "
        f"{done.known} were there"
    )


@click.command("explain-miss")
@_STORE
@click.argument("matrix", required=False)
@click.option("--model", type=MODEL, help="One cell instead of a matrix: its model,")
@click.option("--method", type=METHOD, help="... method,")
@click.option("--device", type=DEVICE, help="... device,")
@click.option("--server", type=SERVER, help="... server,")
@click.option("--link", type=LINK, help="... link,")
@click.option("--snr-db", type=float, help="... SNR in dB where the link needs one,")
@click.option("--seed", type=int, default=0, show_default=True, help="... seed,")
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
@METHOD_FILE
@click.option(
    "--presets",
    "preset_files",
    multiple=True,
    metavar="FILE.toml",
    help="Devices, servers and links of your own.",
)
def explain_miss(store_file: Path, matrix: str | None, **options: Any) -> None:
    """Say why cells are not found in a store: those of a MATRIX, or one cell.

    \b
    coinfer explain-miss --store results.sqlite fig6
    coinfer explain-miss --store results.sqlite --model alexnet --method all_local \\
        --device raspberry-pi-4b --server tesla-p100 --link 3g
    """
    from benchmarks.catalog import Catalog
    from benchmarks.explain import explain_all, explain_miss
    from benchmarks.store import Store

    catalog = Catalog(options["method_files"], options["preset_files"])
    with Store.open(store_file, readonly=True) as store, store.snapshot():
        if matrix is not None:
            lines = explain_all(store, _matrix_cells(matrix, catalog, options))
        else:
            cell = catalog.canonical(_cell(options))
            catalog.scenario(cell)  # a missing number is bad input, not a missing row
            ((_, inputs),) = _with_inputs([cell], catalog)
            lines = explain_miss(store, cell, inputs)
    click.echo("\n".join(lines))


@click.command("store-info")
@_STORE
@click.option("--check", is_flag=True, help="Check the whole file for damage (exit code 1 if any).")
def store_info(store_file: Path, check: bool) -> int:
    """Summarise a store: rows by status, runs, and whether the file is sound."""
    from benchmarks.store import Store
    from coinfer.errors import EXIT_FAILED, EXIT_OK

    with Store.open(store_file, readonly=True) as store, store.snapshot():
        for name, value in sorted(store.meta().items()):
            click.echo(f"{name.replace('_', ' ')}: {value}")
        click.echo(f"rows: {store.count()}")
        for status, count in store.query("SELECT status, count(*) FROM rows GROUP BY 1 ORDER BY 1"):
            click.echo(f"  {status}: {count}")
        runs = store.runs()
        click.echo(f"runs: {len(runs)}")
        for run in runs:
            (rows,) = store.query("SELECT count(*) FROM row_runs WHERE run_id = ?", (run.run_id,))
            end = f"to {run.finished_at}" if run.finished_at else "not finished"
            line = " ".join(map(str, run.provenance.get("command_line", [])))
            click.echo(f"  {run.started_at} {end}: {rows[0]} rows, {line or 'no command line'}")
        damage = store.damage() if check else []
        for problem in damage:
            click.echo(f"damaged: {problem}")
        if check and not damage:
            click.echo("the file is sound")
    return EXIT_FAILED if damage else EXIT_OK


def _cell(options: dict[str, Any]) -> Cell:
    from benchmarks.cells import Cell
    from coinfer.errors import CoinferError

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

    from benchmarks.matrix import expand, load
    from coinfer.errors import CoinferError

    named = [f"--{n}" for n in ("model", "method", "device", "server", "link") if options[n]]
    if named:
        raise CoinferError(f"give a MATRIX or one cell, not both; there is {', '.join(named)}")
    matrix = load(source)
    known = replace(catalog, preset_files=(*catalog.preset_files, *matrix.preset_files))
    return _with_inputs(expand(matrix, known), known)


def _with_inputs(cells: list[Cell], catalog: Catalog) -> Iterator[tuple[Cell, dict[str, str]]]:
    from benchmarks.evaluate import Group, cell_inputs, group_inputs

    prepared: dict[Group, dict[str, str]] = {}
    for cell in cells:
        group = Group.of(cell)
        if group not in prepared:
            prepared[group] = group_inputs(group, catalog)
        yield cell, cell_inputs(cell, prepared[group], catalog)
