"""`coinfer reproduce`, `coinfer scorecard` and `coinfer list figures`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coinfer.clitypes import Name

if TYPE_CHECKING:
    from benchmarks.runner import Summary
    from reproduce.claims import Claim, Finding
    from reproduce.facts import Facts
    from reproduce.figures import Figure

_WIDTH = 110


def _figures() -> Iterable[str]:
    from reproduce.figures import figures

    return figures()


def _tables() -> Iterable[str]:
    from benchmarks.tables import cross_check_names, study_names, table_names

    return [*table_names(), *cross_check_names(), *study_names()]


@click.command("reproduce")
@click.argument("name", type=Name("figure", _figures), metavar="FIGURE")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the figure, its data and its scorecard go.  [default: out/FIGURE]",
)
@click.option(
    "--store",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Result store of a figure that is computed; cells that it has are not computed again.  "
    "[default: DIR/results.sqlite]",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=0),
    help="Worker processes of a figure that is computed or searched for; 0 for one per core.  "
    "[default: 1]",
)
@click.option(
    "--table",
    type=Name("measurement table or study", _tables),
    metavar="NAME|FILE.csv",
    help="What a figure of measurements is made from: a shipped table, study or comparison, or one "
    "that `coinfer sweep`, `recipe-study`, `code-study` or (a FOLDER) `compare-optimisers` "
    "wrote.  [default: the largest shipped one of alexnet-cifar]",
)
@click.option(
    "--reselect",
    is_flag=True,
    help="Let methods that learn search anew, instead of drawing the plans that ship frozen. "
    "Minutes; plans that were never measured are then only predicted.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors and DIR.")
def reproduce(
    name: str,
    out: Path | None,
    store: Path | None,
    jobs: int | None,
    table: str | None,
    reselect: bool,
    quiet: bool,
) -> int:
    """Reproduce FIGURE, from cells or measurements, and hold the paper's claims against it.

    Writes into DIR the figure (SVG, PDF, PNG) or table (Markdown), the data behind it (CSV), what
    it rests on (results.sqlite of a figure whose cells are computed, else JSON), and the scorecard
    (JSON, Markdown) where a paper claims something. Files of these names that this command did not
    write are not replaced. `coinfer list figures` names the figures.

    \b
    coinfer reproduce fig6
    coinfer reproduce fig7 --out /tmp/fig7 --jobs 2
    coinfer reproduce table4
    coinfer reproduce table4 --table my-sweep.csv
    coinfer reproduce study
    coinfer reproduce codes

    Exit codes: 0 done (a claim that deviates is a result, not an error), 1 a cell failed,
    2 bad input, 130 interrupted; what was committed is kept.
    """
    from benchmarks.folders import staged
    from coinfer.errors import CoinferError, printable
    from reproduce import collect, present
    from reproduce.figures import figure
    from reproduce.findings import answer_all
    from reproduce.scorecard import judge_all

    found = figure(name)
    folder = out or Path("out") / found.name
    computed = found.reads == "matrix"
    anew = True if reselect else None
    given: dict[str, object] = {}
    if not computed:
        given = {"--store": store, "--reselect": anew}
    if not computed and found.reads != "search":
        given["--jobs"] = jobs
    if found.reads in ("matrix", "network", "search"):
        given["--table"] = table
    for option, value in given.items():
        if value is not None:
            how = "is computed" if computed else f"is made from a {found.reads}"
            raise CoinferError(f"{found.name} {how} and takes no {option}")
    files, summary = [], None
    workers = 1 if jobs is None else jobs
    if computed:
        if store is None:
            folder.mkdir(parents=True, exist_ok=True)
        store_path = store or folder / "results.sqlite"
        facts, summary = _computed(found, store_path, workers, quiet, reselect=reselect)
        files.append(store_path)
    elif found.reads == "network":
        facts = collect.facts_of([], found.claims(), found.findings())
    elif found.reads == "search":
        facts = collect.facts_by_searching(workers, quiet=quiet)
    else:
        facts = collect.facts_of_file(found.reads, table)
    claims, findings = found.claims(), found.findings()
    judged, answers = judge_all(claims, facts), answer_all(findings, facts)
    with staged(folder, *found.bearer, "`coinfer reproduce`") as here:
        made = found.write(facts, here)
        if found.paper:
            data, text = present.as_data(judged, answers), present.as_markdown
            made.append(_written(here / "scorecard.json", _json(data) + "\n"))
            made.append(_written(here / "scorecard.md", text(judged, answers, found.title)))
    files += [folder / path.name for path in made]
    if summary is not None and (summary.exit_code or not quiet):
        for line in summary.lines():
            click.echo(printable(line), err=True)
    if quiet:
        click.echo(printable(str(folder)))
    else:
        click.echo(f"{found.title}\n")
        if found.paper:
            click.echo(present.as_text(judged, answers, _width()))
        click.echo("Written:\n" + "\n".join(f"  {printable(str(path))}" for path in files))
    return 0 if summary is None else summary.exit_code


def _computed(
    found: Figure, store: Path, jobs: int, quiet: bool, *, reselect: bool
) -> tuple[Facts, Summary]:
    """Trace a figure's networks, run its matrix into a store and return what it needs."""
    from benchmarks.progress import Silent, default_progress
    from reproduce import collect
    from reproduce.facts import Facts
    from reproduce.networks import networks

    for model, graph in collect.traced(found.matrix).items():
        if not quiet:
            traced = f"traced {model}: {len(graph)} layers, {len(graph.cuts)} legal cuts"
            click.echo(traced, err=True)
    summary, rows = collect.compute(
        found.matrix,
        store,
        jobs=jobs,
        progress=Silent() if quiet else default_progress(),
        reselect=reselect,
    )
    if found.beside:
        other, more = collect.compute(
            found.beside, store, jobs=jobs, progress=Silent(), reselect=reselect
        )
        rows += more
        summary = other if other.exit_code and not summary.exit_code else summary
    needed = collect.networks_needed(found.claims(), found.findings())
    facts = replace(Facts.of(rows, networks(needed)), best_s=collect.best_known(found.matrix))
    return facts, summary


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@click.command("scorecard")
@click.option(
    "--paper",
    type=click.Choice(["Q", "T", "A", "C"], case_sensitive=False),
    help="Only one paper: QHO, Three-step, AutoML (CIA) or CPCDRL.",
)
@click.option(
    "--figure",
    "figure_name",
    type=Name("figure", _figures),
    metavar="FIGURE",
    help="Only the claims about one figure.",
)
@click.option(
    "--store",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Judge by the rows of this store instead of computing them now.",
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=Name("measurement table", _tables),
    metavar="NAME|FILE.csv",
    help="Judge claims about accuracies by this measurement table, not by the largest shipped one "
    "of its network. Several times for several networks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything, as JSON.")
def scorecard(
    paper: str | None,
    figure_name: str | None,
    store: Path | None,
    tables: tuple[str, ...],
    as_json: bool,
) -> None:
    """Hold every claim of the papers against our numbers.

    A claim is one published number or ordering; its verdict is computed from rows: reproduced,
    ordering holds, deviates (with the cause), not reproducible from what is published (with what
    is missing), no plan within the accuracy floor (a method was asked and has none), not measured
    (with the command that does), or pending (with what is needed). Every claim's tolerance follows
    from its kind and was fixed before measuring. Methods answer with what they chose; where plans
    lost too much once they were trained, what becomes of the claim without them stands below.

    Without --store the rows are computed now, which takes seconds and is never out of date; those
    of methods that search are not, and their claims are pending with the command to run. With
    --store a claim whose rows are not in it is pending, and so is one whose rows other code
    computed: only rows that `coinfer run` would find again decide anything. Accuracies take hours
    to train, so claims about them are judged by measurement tables, which ship.

    \b
    coinfer scorecard --figure fig6
    coinfer scorecard --paper Q --json
    coinfer scorecard --store out/fig6/results.sqlite
    coinfer scorecard --table my-sweep.csv
    """
    from benchmarks.tables import find_table
    from reproduce import collect, present
    from reproduce.findings import answer_all
    from reproduce.scorecard import judge_all

    claims, findings = _chosen(paper, figure_name)
    read = [find_table(name) for name in tables]
    facts = (
        collect.facts_by_computing(claims, findings, read)
        if store is None
        else collect.facts_of_store(store, claims, findings, read)
    )
    judged, answers = judge_all(claims, facts), answer_all(findings, facts)
    if as_json:
        click.echo(_json(present.as_data(judged, answers)))
    else:
        click.echo(present.as_text(judged, answers, _width()), nl=False)


def _chosen(paper: str | None, figure_name: str | None) -> tuple[list[Claim], list[Finding]]:
    """The claims and findings asked for; all without a choice."""
    from reproduce.claims import papers
    from reproduce.figures import figure

    if figure_name is not None:
        found = figure(figure_name)
        claims, findings = found.claims(), found.findings()
    else:
        every = papers().values()
        claims = [claim for one in every for claim in one.claims]
        findings = [finding for one in every for finding in one.findings]
    if paper is not None:
        claims = [claim for claim in claims if claim.paper == paper.upper()]
        findings = [finding for finding in findings if finding.paper == paper.upper()]
    return claims, findings


@click.command("figures")
@click.option("--json", "as_json", is_flag=True, help="Print everything known, as JSON.")
def list_figures(as_json: bool) -> None:
    """List the figures that `coinfer reproduce` can make."""
    from reproduce.figures import figures

    found = figures()
    if as_json:
        data = {
            name: {
                "title": one.title,
                "paper": one.paper,
                "reads": one.reads,
                "matrix": one.matrix,
            }
            for name, one in found.items()
        }
        click.echo(_json(data))
        return
    width = max(len(name) for name in found)
    for name, one in found.items():
        click.echo(f"{name:<{width}}  {one.title}")


def _json(data: Any) -> str:
    return json.dumps(data, indent=2, allow_nan=False)


def _width() -> int:
    """Columns of the terminal; wide enough for a table where the output is no terminal."""
    return max(80, shutil.get_terminal_size((_WIDTH, 24)).columns)
