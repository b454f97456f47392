"""The `coinfer` command. It lives in the core and finds each room's commands lazily.

Commands are entry points in the group `coinfer.commands` (`coinfer.commands.list` for what
`coinfer list` can list), so no lower room imports a higher one (design ruling 16). Modules that
define commands import nothing heavy at the top; `--help` stays instant.
"""

from __future__ import annotations

import errno
import os
import sys
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from coinfer import __version__
from coinfer.errors import (
    EXIT_BROKEN_PIPE,
    EXIT_INTERRUPTED,
    EXIT_MISUSE,
    EXIT_OK,
    CoinferError,
    nearest,
    one_line,
    printable,
)
from coinfer.plugins import COMMAND_GROUP

# Before 8.2, click prints the help itself and exits with 0.
_HELP_INSTEAD: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


class ReaderGoneError(Exception):
    """Nobody reads our output any more."""


class RoomGroup(click.Group):
    """A command group whose commands are the entry points of a group."""

    def __init__(self, *args: object, entry_group: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.entry_group = entry_group

    @cached_property
    def points(self) -> dict[str, EntryPoint]:
        """The group's entry points by command name."""
        return {point.name: point for point in entry_points(group=self.entry_group)}

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; click would answer a reader that went away as it does an error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGoneError from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *self.points})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; one that fails to load is reported and harms no other."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        point = self.points.get(cmd_name)
        if point is None:
            return None
        try:
            command = point.load()
            if not isinstance(command, click.Command):
                raise TypeError(f"a {type(command).__name__} is no click command")
        except (Exception, SystemExit) as error:  # a stranger's import may raise anything
            return _broken_command(cmd_name, point, error)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was asked for, or offer the nearest names."""
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            known = self.list_commands(ctx)
            ctx.fail(f"unknown command '{name}'; {nearest(name, known)}")
        return super().resolve_command(ctx, args)


def _broken_command(name: str, point: EntryPoint, error: BaseException) -> click.Command:
    why = one_line(error)
    message = f"command '{name}' ({point.value}) does not load: {why}"

    def fail() -> None:
        raise CoinferError(message)

    return click.Command(
        name,
        callback=fail,
        help=message,
        short_help=f"(does not load: {why[:50]})",
        # Whatever it is given, the cause is what needs to be said.
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


@click.group(
    cls=RoomGroup,
    entry_group=COMMAND_GROUP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="coinfer")
def cli() -> None:
    """Compare ways to split a neural network between a device and an edge server.

    Methods decide, the harness measures: every published method answers the same questions
    (model x device x server x link x SNR), and one cost model prices every answer.

    \b
    One question:        coinfer plan --model alexnet --method neurosurgeon \\
                             --device raspberry-pi-3b+ --server tesla-p100 --link 3g
    A whole matrix:      coinfer run fig6 --store results.sqlite
    A paper's figure:    coinfer reproduce fig6
    What is there:       coinfer list models   (devices, servers, links, methods, figures)

    \b
    Exit codes: 0 done, 1 a cell or a check failed, 2 bad input, 130 interrupted.
    Shell completion: coinfer completion --help
    """


@cli.group("list", cls=RoomGroup, entry_group=f"{COMMAND_GROUP}.list")
def list_group() -> None:
    """List what can be named: models, devices, servers, links, methods, conventions, figures."""


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    It completes commands, options and the names of models, methods, devices, servers and links.

    \b
    bash:  eval "$(coinfer completion bash)"
    zsh:   eval "$(coinfer completion zsh)"
    fish:  coinfer completion fish | source
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "coinfer", "_COINFER_COMPLETE").source())


def main(args: list[str] | None = None) -> None:
    """Run the command line; every error ends in one line and the exit code it deserves."""
    code = run(args)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _abandon_output()
        code = code or EXIT_BROKEN_PIPE
    except OSError as error:
        _abandon_output()
        code = code or _complain(f"cannot write the output: {error.strerror}")
    sys.exit(code)


def run(args: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        result = cli.main(args, prog_name="coinfer", standalone_mode=False)
        return result if isinstance(result, int) else EXIT_OK
    except CoinferError as error:
        return _complain(str(error))
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        if isinstance(error, _HELP_INSTEAD):
            error.show()  # a group without a command: its help, which is no complaint
            return EXIT_MISUSE
        return _complain(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        click.echo("coinfer: interrupted; what was committed is kept", err=True)
        return EXIT_INTERRUPTED
    except ReaderGoneError:
        _abandon_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        where = "" if error.filename is None else f": '{error.filename}'"
        return _complain(f"{error.strerror}{where}; nothing that was committed is lost")


def _abandon_output() -> None:
    """Let what could not be written go: Python would try again at the end, and exit with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str) -> int:
    click.echo(f"coinfer: {printable(' '.join(message.split()))}", err=True)
    return EXIT_MISUSE
