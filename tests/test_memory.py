"""Memory that is kept while an accuracy is measured, and given back afterwards."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from coinfer.accuracy.memory import memory_kept
from coinfer.accuracy.training import Setup, correct
from coinfer.data import load_splits


class Spy:
    """The C library, as far as it is asked for anything here."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.asked.append(("mallopt", option, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.asked.append(("malloc_trim", pad, 0))
        return 1


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy = Spy()
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: spy)
    return spy


ALONE = """
import resource
import torch
from pathlib import Path
from coinfer.accuracy.memory import memory_kept

def batch():
    held = [torch.ones(1 << 20) for _ in range(40)]  # 40 blocks of 4 MiB

def mapped():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])

before = resident()
with memory_kept("cpu"):
    batch()
    first = mapped()
    for _ in range(5):
        batch()
    print(mapped() - first, resident() - before)
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to")
def test_pages_are_mapped_once_and_given_back() -> None:
    """In a process of its own: what another test freed would be in the way."""
    of_user = ("MALLOC_", "GLIBC_TUNABLES")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(of_user)}
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    again, kept, after = map(int, done.stdout.split())
    pages = 40 * (4 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert again < pages / 2
    assert kept > pages / 2
    assert after < pages / 2


def test_thresholds_are_put_back_when_something_fails(library: Spy) -> None:
    with pytest.raises(ZeroDivisionError), memory_kept("cpu"):
        raise ZeroDivisionError
    assert library.asked == [
        ("mallopt", -3, 1 << 30),
        ("mallopt", -1, 2**31 - 1),
        ("mallopt", -3, 32 << 20),
        ("mallopt", -1, 64 << 20),
        ("malloc_trim", 0, 0),
    ]


@pytest.mark.parametrize(
    "name", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"]
)
def test_who_sets_thresholds_is_left_alone(
    name: str, library: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with memory_kept("cpu"):
        pass
    assert library.asked == []


def test_other_c_libraries_are_left_alone(library: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    with memory_kept("cpu"):
        pass
    assert library.asked == []


def test_nothing_is_kept_on_the_host_for_a_gpu(library: Spy) -> None:
    with memory_kept("cuda"):
        pass
    assert library.asked == []


def test_memory_is_kept_while_an_accuracy_is_measured(library: Spy) -> None:
    images = load_splits("digits").val.first(3)
    kept: list[int] = []

    class Network(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            kept.append(len(library.asked))
            return torch.zeros(len(inputs), 10)

    correct(Network(), images, size=32, setup=Setup())
    assert kept == [2]
    assert library.asked[-1] == ("malloc_trim", 0, 0)
