"""`coinfer gate`: hold a matrix, or a store, against a stored baseline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.matrix_options import MATRIX, SELECTIONS
from benchmarks.shared_options import FILE, JOBS, telling
from coinfer.clitypes import PRESETS
from methods.cli import METHOD_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.baseline import Baseline
    from benchmarks.catalog import Catalog
    from benchmarks.rows import Row
    from benchmarks.thresholds import Thresholds


@click.command("gate")
@click.argument("matrix", type=MATRIX, metavar="[MATRIX]", required=False)
@click.option(
    "--store",
    type=FILE,
    metavar="FILE",
    help="With MATRIX: cells that this store has are not computed again. Without: compare its "
    "rows, those that the code here would compute.",
)
@click.option(
    "--baseline", required=True, type=FILE, metavar="FILE.json", help="What to compare with."
)
@click.option(
    "--thresholds", type=FILE, metavar="FILE.toml", help="Limits of your own, each with a reason."
)
@click.option("--update", is_flag=True, help="Make this run the baseline, and print what changes.")
@telling(
    *("text", "github", "md", "junit"),
    note="How to tell what moved.",
    lines="Findings of a kind that text and md tell at most, worst first",
)
@SELECTIONS
@JOBS
@click.option(
    "--cell-timeout",
    "cell_timeout_s",
    type=float,
    metavar="SECONDS",
    help="A cell that takes longer has failed, and so has the gate.  [default: none]",
)
@METHOD_FILE
@PRESETS
def gate(
    matrix: str | None,
    store: Path | None,
    baseline: Path,
    thresholds: Path | None,
    update: bool,
    format_: str,
    output: Path | None,
    show: int,
    **options: Any,
) -> int:
    """Fail when a result got worse than a stored baseline, or a cell has none any more.

    Compared are, cell by cell: latency_s; speedup (over All_Local in the same place); regret (over
    the least latency known there); energy_j; accuracy (of the plan, as far as it is known) and
    predicted_accuracy (the method's own estimate). A cell that is gone, renamed, failed, skipped
    or without a plan fails like a slow one; a new one is told. Test images are never read.

    What does not depend on a seed may not get worse at all (by a millionth, for rounding). A
    method with randomness is compared by the medians over its seeds: worse by more than 10 % (an
    accuracy: by 0.01) and significant, by a rank test adjusted for all that are made. The seconds
    that a search took are never compared.

    \b
    coinfer gate mine.toml --baseline baseline.json --update      the first time
    coinfer gate mine.toml --baseline baseline.json --method-file my_method.py
    coinfer gate --store results.sqlite --baseline baseline.json --format md
    coinfer gate mine.toml --baseline baseline.json --thresholds thresholds.toml

    \b
    thresholds.toml: the last that matches decides (factor: of latency_s, speedup, energy_j;
    margin: of the others; ignore = true; over_seeds = false: medians alone, without a test)
      [[threshold]]
      metric = "latency_s"
      method = "my_method*"
      factor = 1.05
      reason = "its rounding differs between processors"

    Exit codes: 0 nothing got worse (or --update has written), 1 something did, 2 bad input, no
    baseline, or one of another schema.
    """
    from benchmarks.baseline import Baseline, about, read_baseline
    from benchmarks.catalog import Catalog
    from benchmarks.gate import compare
    from benchmarks.gate_formats import formatted
    from benchmarks.outcomes import outcome_of
    from benchmarks.outputs import tell
    from benchmarks.thresholds import Thresholds, load_thresholds
    from benchmarks.timelimit import check_seconds
    from coinfer.errors import CoinferError

    if matrix is None and store is None:
        raise CoinferError("give a MATRIX to run, or the rows of one with --store FILE")
    for given, kept in (("--baseline", baseline), ("--thresholds", thresholds)):
        if output is not None and kept is not None and output.resolve() == kept.resolve():
            raise CoinferError(f"-o {output} would replace the file of {given}; give another")
    check_seconds("--cell-timeout", options["cell_timeout_s"])
    # Whatever is wrong with these is told before anything runs.
    limits = Thresholds() if thresholds is None else load_thresholds(thresholds)
    known = None if update and not baseline.exists() else read_baseline(baseline)
    catalog = Catalog(options["method_files"], options["preset_files"], options["selections"])
    if matrix is None:
        assert store is not None
        rows = list(_stored(store, catalog))
        name = ""
    else:
        name, rows = _computed(matrix, store, catalog, options)
    run = Baseline.of(map(outcome_of, rows), _stochastic(rows, catalog), about(name))
    if update:
        return _update(baseline, known, run, limits)
    assert known is not None
    found = compare(known, run, limits)
    text = formatted(found, format_, str(baseline), show)
    tell(text, output)
    return found.exit_code


def _computed(
    source: str, store: Path | None, catalog: Catalog, options: dict[str, Any]
) -> tuple[str, list[Row]]:
    """Run a matrix, in a store thrown away after if none is given; return its name and rows."""
    from tempfile import TemporaryDirectory

    from benchmarks.matrix import load
    from benchmarks.progress import default_progress
    from benchmarks.run_cli import sigterm_interrupts
    from benchmarks.runner import run_rows
    from coinfer.streams import stdout_to_stderr

    loaded = load(source)
    with TemporaryDirectory(prefix="coinfer-") as folder, sigterm_interrupts(), stdout_to_stderr():
        _, rows = run_rows(
            loaded,
            store or Path(folder) / "gate.sqlite",
            catalog=catalog,
            jobs=options["jobs"],
            cell_timeout_s=options["cell_timeout_s"],
            progress=default_progress(),
            command_line=sys.argv,
        )
    return loaded.name, rows


def _stored(path: Path, catalog: Catalog) -> Iterator[Row]:
    """Yield the rows of a store that the code here would compute; tell why others are left out."""
    from collections import Counter

    from benchmarks.freshness import check, one_per_cell
    from benchmarks.store import Store
    from coinfer.errors import printable
    from coinfer.streams import stdout_to_stderr

    with Store.open(path, create=False, readonly=True) as opened:
        rows = [(row, "") for row in opened.rows()]
    with stdout_to_stderr():  # plug-ins print
        checked = one_per_cell(check(rows, catalog))
    left_out = Counter(one.cause for one in checked if one.state != "current")
    for cause, number in sorted(left_out.items()):
        click.echo(printable(f"left out: {number} of the store's cells: {cause}"), err=True)
    yield from (one.row for one in checked if one.state == "current")


def _stochastic(rows: Iterable[Row], catalog: Catalog) -> set[str]:
    """The methods of rows whose answers depend on the seed."""
    methods = {row.cell.method for row in rows}
    return {method for method in methods if catalog.method(method).card.stochastic}


def _update(path: Path, known: Baseline | None, run: Baseline, limits: Thresholds) -> int:
    """Write a run as the baseline, and tell what that accepts; failures are not accepted."""
    from benchmarks.baseline import text_of, write_baseline
    from benchmarks.gate import compare
    from benchmarks.gate_formats import formatted
    from benchmarks.store_rows import counted, describe
    from coinfer.errors import EXIT_FAILED, EXIT_OK, CoinferError, printable

    if not run.outcomes:
        raise CoinferError("there are no rows to make a baseline of")
    failed = [one for one in run.outcomes.values() if one.status == "failed"]
    if failed:
        first = f"{describe(failed[0].cell)}: {failed[0].reason}"
        told = f"{counted(len(failed), 'cell')} failed, and no failure is a baseline; {first}"
        click.echo(printable(told), err=True)
        return EXIT_FAILED
    compare(run, run, limits)  # refuses seeds too few to compare anything with
    if known is not None:
        if (known.outcomes, known.stochastic) == (run.outcomes, run.stochastic):
            click.echo(printable(f"nothing changed: '{path}' stays as it is"))
            return EXIT_OK
        accepted = compare(known, run, limits, decidable=False)
        click.echo(formatted(accepted, "text", str(path), 0, advised=False), nl=False)
        for line in _diff(text_of(known), text_of(run)):
            click.echo(printable(line))
    write_baseline(path, run)
    click.echo(printable(f"{counted(len(run.outcomes), 'cell')} to '{path}'"), err=True)
    return EXIT_OK


def _diff(old: str, new: str) -> Iterator[str]:
    """The lines that go (-) and come (+)."""
    from difflib import unified_diff

    lines = unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    return (line for line in lines if not line.startswith(("---", "+++", "@@")))
