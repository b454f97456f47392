"""`coinfer new-method`: an adapter to begin with, and its test."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("new-method")
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where the two files go, made when missing.  [default: here]",
)
@click.option(
    "--kind",
    type=click.Choice(["select", "grid", "search"]),
    default="select",
    show_default=True,
    help="What to begin with: one that chooses by looking at the cuts, one that prices a table of "
    "candidates, or one that draws candidates at random under a budget.",
)
def new_method(name: str, folder: Path, kind: str) -> None:
    """Write an adapter, NAME.py, and its test, test_NAME.py.

    It works at once and keeps the contract of all methods; change it from there. Files that are
    there are not replaced.

    \b
    coinfer new-method my_method
    coinfer new-method my_search --kind search --dir methods_of_mine
    """
    import shlex

    from coinfer.streams import stdout_to_stderr
    from methods.registry import installed_methods
    from methods.scaffold import check_name, write_method

    with stdout_to_stderr():  # plug-ins print
        taken = installed_methods().classes
    check_name(name, taken)
    adapter, test = write_method(name, kind, folder)
    file = shlex.quote(str(adapter))
    click.echo(f"wrote {adapter} and {test}. Next:")
    for command in (
        f"coinfer check-method {file}",
        f"python -m pytest {shlex.quote(str(test))}",
        f"coinfer plan --method-file {file} --method {name} --model alexnet "
        "--device raspberry-pi-3b+ --server tesla-p100 --link 4g",
        f"coinfer run demo --method-file {file} --methods {name},exhaustive --store {name}.sqlite",
        f"coinfer report --method-file {file} --store {name}.sqlite -o report",
    ):
        click.echo(f"  {command}")
