"""The commands that a reader is told to run."""

from __future__ import annotations

from benchmarks.selections import selections_names


def frozen(matrix: str) -> str:
    """Return the name of the selections that ship for a matrix, '' where none do."""
    return matrix if matrix in selections_names() else ""


def run_command(matrix: str, store: str = "FILE") -> str:
    """Return what computes the cells of a matrix, from selections where they ship."""
    command, selections = f"coinfer run {matrix} --store {store}", frozen(matrix)
    return f"{command} --selections {selections}" if selections else command
