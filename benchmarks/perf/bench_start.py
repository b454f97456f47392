"""How long the command line takes to start, against an empty Python program in the same run."""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from time import perf_counter
from typing import Any

import pytest

QUESTION = (
    "plan --model alexnet --method neurosurgeon --device raspberry-pi-3b+ --server tesla-p100 "
    "--link 3g --json"
)


def seconds(code: str, runs: int = 5) -> float:
    """Median wall time of a fresh interpreter running `code`."""
    taken = []
    for _ in range(runs):
        started = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)  # noqa: S603
        taken.append(perf_counter() - started)
    return median(taken)


def command(arguments: str) -> str:
    """A program that runs a coinfer command."""
    return f"from coinfer.cli import run; raise SystemExit(run({arguments.split()!r}))"


@pytest.mark.parametrize(
    "arguments", ["--help", "list devices", QUESTION], ids=["help", "list", "plan"]
)
def test_start_up(benchmark: Any, arguments: str) -> None:
    """Time a command from a cold interpreter; the ratio to `pass` is in extra_info."""
    code = command(arguments)
    seconds(code, runs=1)  # the layer graph is kept from here on
    benchmark.pedantic(lambda: seconds(code, runs=1), rounds=5)
    empty = seconds("pass")
    benchmark.extra_info["ratio_to_empty_program"] = benchmark.stats.stats.median / empty
