"""`coinfer run`: a whole matrix into a store."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from benchmarks.matrix_options import MATRIX, asked_filters, asked_matrix, matrix_options

if TYPE_CHECKING:
    from benchmarks.runner import Preview


def _seconds(_context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    from benchmarks.timelimit import check_seconds

    return check_seconds(option.opts[0], value)


@click.command("run")
@click.argument("matrix", type=MATRIX, metavar="MATRIX")
@click.option(
    "--store",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Result store, made when missing; cells that it has are not computed again.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=0),
    help="Worker processes; 0 for one per core.  [default: 1, or all of a cluster's]",
)
@click.option(
    "--executor",
    type=click.Choice(["joblib", "dask", "ray"]),
    default="joblib",
    show_default=True,
    help="Who runs the workers; dask and ray also do so on other machines, which need the same "
    "version of coinfer, and model, method and preset files at the same paths.",
)
@click.option("--address", help="Running Dask scheduler (tcp://host:8786) or Ray head (host:6379).")
@click.option(
    "--cell-timeout",
    "cell_timeout_s",
    type=float,
    callback=_seconds,
    metavar="SECONDS",
    help="A cell that takes longer becomes a failed row. One that cannot be interrupted (stuck in "
    "native code) has 10 s more; then its worker is ended and another goes on. Only the workers "
    "of a Dask scheduler at --address are never ended: there it is waited for.  [default: none]",
)
@click.option(
    "--build-timeout",
    "build_timeout_s",
    type=float,
    callback=_seconds,
    metavar="SECONDS",
    help="The same for what a method builds once for many cells: if it takes longer, they become "
    "failed rows.  [default: that of a cell]",
)
@click.option("--retry-failed", is_flag=True, help="Compute only the cells that failed before.")
@click.option("--strict", is_flag=True, help="Exit 1 for skipped cells too.")
@click.option("--dry-run", is_flag=True, help="Say what would be computed; compute nothing.")
@matrix_options
@click.option("--quiet", is_flag=True, help="Show no progress.")
def run(matrix: str, include: tuple[str, ...], exclude: tuple[str, ...], **options: Any) -> int:
    """Compute the cells of MATRIX that a store does not have yet.

    MATRIX is a TOML file, or the name of a shipped matrix (`coinfer list matrices`). Every row
    is committed as soon as it is computed: stop the run whenever you like (Ctrl-C, kill, power)
    and give the same command to go on. A cell that fails becomes a row with its reason, and is
    tried again by the next run. Methods run in worker processes, even one alone, so that one
    which crashes or never ends (see --cell-timeout) costs its own cells only; what they print
    goes to stderr.

    \b
    coinfer run demo --store results.sqlite --dry-run      what would be done?
    coinfer run demo --store results.sqlite --jobs 2       two worker processes
    coinfer run demo --store results.sqlite --include 'method=neurosurgeon,device=raspberry*'
    coinfer run mine.toml --store results.sqlite --method-file my_method.py --cell-timeout 60
    coinfer run fig7 --store results.sqlite --selections fig7    the plans that ship, priced anew
    coinfer run mine.toml --store results.sqlite --executor dask --address tcp://host:8786
    coinfer run mine.toml --store results.sqlite --retry-failed

    \b
    A matrix file holds the axes; give one value or a list of each:
      models = ["alexnet", "torchvision:resnet18"]
      devices = ["raspberry-pi-4b", "custom[flops_per_s=5e9]"]
      servers = "tesla-p100"
      links = ["3g", "wifi[round_trip_s=0.02]"]
      rate_sweep = { start_bps = 1e5, stop_bps = 1e8, points = 40, scale = "log" }
      methods = ["all_local", "neurosurgeon[objective=latency]"]
      include = [{ method = "all_local" },
                 { method = "neurosurgeon*", link = ["3g", "rate"], device = "raspberry*" }]
      exclude = { link = "wifi", model = "alexnet" }
    and, if need be, snrs_db, seeds, convention, max_accuracy_loss, presets. A cell is taken if
    every field of some include table matches it and no exclude table does.

    Exit codes: 0 every cell has its row, 1 a cell failed (or was skipped, with --strict),
    2 bad input, 130 interrupted; what was committed is kept.
    """
    from benchmarks import runner
    from benchmarks.catalog import Catalog
    from benchmarks.progress import Silent, default_progress
    from coinfer.errors import printable
    from coinfer.streams import stdout_to_stderr

    loaded = asked_matrix(matrix, options.pop("methods"), options.pop("models"))
    filters = [asked_filters(include, exclude)]
    names = ("method_files", "preset_files", "selections")
    catalog = Catalog(**{name: options.pop(name) for name in names})
    store, quiet = options.pop("store"), options.pop("quiet")
    if options.pop("dry_run"):
        retry = options["retry_failed"]
        with stdout_to_stderr():
            told = runner.preview(
                loaded, store, catalog=catalog, filters=filters, retry_failed=retry
            )
        for line in _described(told):
            click.echo(printable(line))
        return 0
    with sigterm_interrupts(), stdout_to_stderr():
        summary = runner.run(
            loaded,
            store,
            catalog=catalog,
            filters=filters,
            progress=Silent() if quiet else default_progress(),
            command_line=sys.argv,
            **options,
        )
    for line in summary.lines():
        click.echo(printable(line), err=True)
    if catalog.selections:
        instead = f"selections '{catalog.selections}' answered"
        click.echo(f"  methods that learn were not asked: {instead}", err=True)
    return summary.exit_code


@click.command("matrices")
@click.option("--json", "as_json", is_flag=True, help="Print everything known, as JSON.")
def list_matrices(as_json: bool) -> None:
    """List the matrices that ship, and whether the plans chosen in them do (--selections)."""
    import json
    import tomllib

    from benchmarks.matrix import built_in_matrices
    from benchmarks.selections import selections_names

    frozen = set(selections_names())
    found = {
        name: tomllib.loads(path.read_text(encoding="utf-8")).get("description", "")
        for name, path in built_in_matrices().items()
    }
    if as_json:
        told = {n: {"description": text, "selections": n in frozen} for n, text in found.items()}
        click.echo(json.dumps(told, indent=2))
        return
    width = max(map(len, found))
    for name, text in found.items():
        click.echo(f"{name:<{width}}  {text}{'  [selections ship]' * (name in frozen)}")


def _described(previews: list[Preview]) -> Iterator[str]:
    """Lines of a dry run: a table, then the reasons of what would be skipped."""
    names = [f"{one.method} on {one.model}" for one in previews]
    width = max(map(len, (*names, "total")))
    yield f"{'':{width}}  {'cells':>9}  {'in store':>9}  {'compute':>9}  {'skipped':>9}"

    def line(name: str, members: list[Preview]) -> str:
        skipped = sum(number for one in members for _, number in one.skips)
        compute = sum(one.compute for one in members) - skipped
        cells, hits = (sum(getattr(one, what) for one in members) for what in ("cells", "hits"))
        return f"{name:{width}}  {cells:>9}  {hits:>9}  {compute:>9}  {skipped:>9}"

    for name, one in zip(names, previews, strict=True):
        yield line(name, [one])
    yield line("total", previews)
    for name, one in zip(names, previews, strict=True):
        for reason, number in one.skips:
            yield f"  skipped: {number} of {name}: {reason}"


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does: workers stopped, store closed."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
