"""Stdout holds the answer alone, whoever prints, and whatever is closed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from coinfer.streams import stdout_to_stderr

NOISE = """
import ctypes, os, sys
from coinfer.streams import stdout_to_stderr
print("before")
with stdout_to_stderr():
    print("python")
    sys.__stdout__.write("saved\\n")
    os.system("echo child")
    ctypes.CDLL(None).printf(b"C\\n")
    os.write(1, b"descriptor\\n")
print("after")
"""
PRINTED = {"python", "saved", "child", "C", "descriptor"}


def shell(redirection: str) -> tuple[list[str], list[str]]:
    command = f"exec {sys.executable} - {redirection}"
    done = subprocess.run(
        ["bash", "-c", command], input=NOISE, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_what_is_printed_inside_goes_to_stderr() -> None:
    out, errors = shell("")
    assert out == ["before", "after"]
    assert set(errors) == PRINTED


def test_a_closed_stderr_leaves_stdout_clean() -> None:
    assert shell("2>&-")[0] == ["before", "after"]


def test_a_closed_stdout_is_no_error() -> None:
    source = (
        "from coinfer.streams import stdout_to_stderr\n"
        "with stdout_to_stderr(): print('inside')\n"
        "print('after')\n"
    )
    done = subprocess.run(
        ["bash", "-c", f"exec {sys.executable} - >&-"], input=source, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "inside\n")


def test_stdout_is_itself_again_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout

    def breaks() -> None:
        with stdout_to_stderr():
            print("inside")
            raise ValueError("it broke")

    with pytest.raises(ValueError, match="it broke"):
        breaks()
    assert sys.stdout is before
    print("outside")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("outside\n", "inside\n")
