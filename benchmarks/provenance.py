"""Where a run's numbers come from: versions, hardware, commit, seed, command line."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import coinfer
from benchmarks.store_schema import utc_now
from coinfer.versions import installed_version

# Read from the installed packages' metadata, not imported.
PACKAGES = ("numpy", "torch", "torchvision", "torch-pruning", "scikit-learn", "nni")

_GIT_TIMEOUT_S = 10


def collect(command_line: list[str], seed: int | None) -> dict[str, Any]:
    """Return the provenance of a run, as JSON data.

    Args:
        command_line: as typed; the only place where a path can appear.
        seed: of the run, where it has one.

    Returns:
        started_at (UTC), command_line, seed, python, platform, cpu, cores, memory_bytes,
        versions by package (None where not installed) and git: commit and dirty (whether
        tracked files differ from it), or None when our source is not a git checkout.
    """
    return {
        "started_at": utc_now(),
        "command_line": list(command_line),
        "seed": seed,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "versions": package_versions(),
        "git": git_state(Path(__file__).resolve()),
    }


def package_versions() -> dict[str, str | None]:
    """Return our version and those of the packages that results can depend on."""
    return {
        "coinfer": coinfer.__version__,
        **{package: installed_version(package) for package in PACKAGES},
    }


def cpu_model() -> str:
    """The processor's name: on Linux it is in a file only."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    for name in ("model name", "cpu model", "hardware"):
        if fields.get(name):
            return fields[name]
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def git_state(source: Path) -> dict[str, Any] | None:
    """Return commit and dirtiness of the checkout that `source` is a tracked file of, if any."""
    # An installed copy may lie inside somebody else's checkout: that commit says nothing of us.
    if _ask_git(source.parent, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _ask_git(source.parent, "rev-parse", "HEAD")
    changes = _ask_git(source.parent, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _ask_git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command, None when it fails or there is no git."""
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments)
            ["git", "-C", str(folder), *arguments],  # noqa: S607 (the user's git)
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_TIMEOUT_S,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
