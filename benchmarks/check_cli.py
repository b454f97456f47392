"""`coinfer check-method`: an adapter held to the contract, each failure explained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from methods.cli import METHOD_FILE

if TYPE_CHECKING:
    from benchmarks.checks import Described
    from methods.checking import Checked


@click.command("check-method")
@click.argument("target", metavar="METHOD", required=False)
@METHOD_FILE
@click.option(
    "--only",
    multiple=True,
    metavar="CHECK",
    help="Run this check alone; may be given more than once. --list names them.",
)
@click.option("--list", "listing", is_flag=True, help="Say what is checked; check nothing.")
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="What a check may take. One that takes longer fails, and the next is begun.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print the result.",
)
def check_method(
    target: str | None,
    method_files: tuple[str, ...],
    only: tuple[str, ...],
    listing: bool,
    timeout_s: float,
    form: str,
) -> int:
    """Hold a method to the contract of all methods, and explain each failure.

    METHOD is FILE.py:Class, FILE.py where it defines one method, or the name of a built-in or
    installed one; each with options, as everywhere: 'my_method.py:MyMethod[step=0.5]'. The checks
    ask it about small networks and odd scenarios (a dead link, an infinite one, a network of one
    layer) under every convention. They need no data and no network, and run in a process of their
    own: a method that hangs or crashes fails that check, and the next one goes on.

    \b
    coinfer check-method my_method.py
    coinfer check-method my_method.py:MyMethod --only is_deterministic
    coinfer check-method neurosurgeon --format json

    Exit codes: 0 every promise is kept, 1 some are not, 2 bad input, 130 interrupted.
    """
    from benchmarks.run_cli import sigterm_interrupts
    from benchmarks.timelimit import check_seconds
    from coinfer.errors import EXIT_FAILED, EXIT_OK, CoinferError, printable
    from coinfer.streams import stdout_to_stderr

    names = _asked(only)
    if listing:
        _list(names, form)
        return EXIT_OK
    if target is None:
        raise CoinferError("no method: give FILE.py, FILE.py:Class or a name, or --list")
    check_seconds("--timeout", timeout_s)

    from benchmarks.checks import run_checks
    from methods.checking import Checked, Target, lines_of

    def say(text: str, err: bool = False) -> None:
        click.echo(printable(text), err=err)

    described: Described | None = None
    results: list[Checked] = []
    seen: dict[tuple[str, str], str] = {}
    answers = run_checks(
        Target(target, method_files), names, timeout_s, lambda text: say(text, err=True)
    )
    with sigterm_interrupts():
        while True:
            with stdout_to_stderr():  # what reads a method's file may print
                answer = next(answers, None)
            if answer is None:
                break
            if isinstance(answer, Checked):
                results.append(answer)
                lines = list(lines_of(answer, seen))
            else:
                described = answer
                lines = [f"{answer.method} ({answer.origin}): {len(names)} checks"]
            for line in lines if form == "text" else lines[:1]:
                say(line, err=form == "json")
    assert described is not None
    if form == "json":
        click.echo(json.dumps(as_data(described, results), indent=2))
    else:
        say(_counted(results))
    return EXIT_FAILED if any(one.outcome == "fail" for one in results) else EXIT_OK


def as_data(described: Described, results: list[Checked]) -> dict[str, Any]:
    """Return the JSON that `coinfer check-method --format json` prints.

    `checks` are in the order in which they ran; `expected` is the promise, `happened` what was
    found instead (of a check that was skipped: why).
    """
    return {
        "method": described.method,
        "title": described.title,
        "origin": described.origin,
        "checks": [
            {
                "check": one.check,
                "outcome": one.outcome,
                "expected": one.promise,
                "happened": one.happened,
                "where": one.where,
                "mend": one.mend,
                "seconds": round(one.seconds, 3),
            }
            for one in results
        ],
        **{
            outcome: sum(one.outcome == outcome for one in results)
            for outcome in ("ok", "fail", "skip")
        },
    }


def _counted(results: list[Checked]) -> str:
    counts = [
        (sum(one.outcome == outcome for one in results), name)
        for outcome, name in (("ok", "kept"), ("fail", "not kept"), ("skip", "not asked"))
    ]
    promises = "promise" if len(results) == 1 else "promises"
    return f"{len(results)} {promises}: " + ", ".join(f"{n} {name}" for n, name in counts if n)


def _asked(only: tuple[str, ...]) -> tuple[str, ...]:
    """The checks asked for, in the kit's order; all without a choice."""
    from coinfer.errors import UnknownNameError
    from methods.checking import checks

    wanted = {name.removeprefix("test_") for name in only}
    for name in sorted(wanted - set(checks())):
        raise UnknownNameError("check", name, checks())
    return tuple(name for name in checks() if not wanted or name in wanted)


def _list(names: tuple[str, ...], form: str) -> None:
    from methods.checking import MENDS, promise

    if form == "json":
        told = [{"check": n, "expected": promise(n), "mend": MENDS[n].text} for n in names]
        click.echo(json.dumps(told, indent=2))
        return
    width = max(map(len, names))
    for name in names:
        click.echo(f"{name:<{width}}  {promise(name)}")
