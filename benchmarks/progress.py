"""How a run shows how far it is: a bar on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichBar
    from rich.progress import TaskID

LINE_EVERY_S = 5.0


class Progress(Protocol):
    """Told by the runner what is done."""

    def start(self, total: int, hits: int) -> None:
        """Begin: `total` cells to compute, beside `hits` that are there."""

    def advance(self, cells: int) -> None:
        """So many more cells are committed."""

    def still(self, jobs: str) -> None:
        """Nothing was finished for a while; these jobs are being worked at."""

    def stop(self) -> None:
        """The run is over, for whatever reason."""


class Silent:
    """Shows nothing."""

    def start(self, total: int, hits: int) -> None:
        """Show nothing."""

    def advance(self, cells: int) -> None:
        """Show nothing."""

    def still(self, jobs: str) -> None:
        """Show nothing."""

    def stop(self) -> None:
        """Show nothing."""


class Lines:
    """A plain line every few seconds and one at the end: for logs."""

    def __init__(self, stream: TextIO | None = None, every_s: float = LINE_EVERY_S) -> None:
        self._stream = stream or sys.stderr
        self._every_s = every_s
        self._total = self._done = 0
        self._began = self._said = monotonic()

    def start(self, total: int, hits: int) -> None:
        """Say what is to be done."""
        self._total, self._done = total, 0
        self._began = self._said = monotonic()
        self._say(f"{total} cells to compute, {hits} in the store")

    def advance(self, cells: int) -> None:
        """Say how far it is, if the last line is old enough."""
        self._done += cells
        if monotonic() - self._said >= self._every_s:
            self._say(self._state())

    def still(self, jobs: str) -> None:
        """Say what is being waited for."""
        self._say(f"{self._done}/{self._total} cells, still at work: {jobs}")

    def stop(self) -> None:
        """Say where it ended."""
        if self._total:
            self._say(self._state())

    def _state(self) -> str:
        seconds = monotonic() - self._began
        rate = self._done / seconds if seconds > 0 else 0.0
        left = f", {_clock((self._total - self._done) / rate)} left" if rate > 0 else ""
        return f"{self._done}/{self._total} cells, {rate:.3g} cells/s{left}"

    def _say(self, text: str) -> None:
        self._said = monotonic()
        print(text, file=self._stream, flush=True)


class Bar:
    """A bar with rate and remaining time: for terminals."""

    def __init__(self) -> None:
        self._bar: RichBar | None = None
        self._task: TaskID | None = None

    def start(self, total: int, hits: int) -> None:
        """Show the bar."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        found = f" ({hits} in the store)" if hits else ""
        self._task = self._bar.add_task(f"cells{found}", total=total, rate="")
        self._bar.start()

    def advance(self, cells: int) -> None:
        """Move the bar."""
        if self._bar is None or self._task is None:
            return
        speed = self._bar.tasks[self._task].speed
        self._bar.update(self._task, advance=cells, rate=f"{speed:.3g} cells/s" if speed else "")

    def still(self, jobs: str) -> None:
        """Say above the bar what is being waited for."""
        if self._bar is not None:
            self._bar.console.print(f"still at work: {jobs}", markup=False, highlight=False)

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()


def default_progress() -> Progress:
    """Return a bar if stderr is a terminal, else plain lines."""
    return Bar() if sys.stderr.isatty() else Lines()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
