"""Selections that ship have an answer for every cell that their matrix asks a learning method."""

from __future__ import annotations

import pytest

from benchmarks.catalog import Catalog
from benchmarks.evaluate import Group, refusal
from benchmarks.matrix import expand, load
from benchmarks.selections import selections_names, shipped_selections


@pytest.mark.parametrize("name", selections_names())
def test_no_cell_of_the_matrix_lacks_its_answer(name: str) -> None:
    """A method added to a matrix, or a table that lets one answer, wants them frozen anew."""
    catalog, answers = Catalog(), shipped_selections(name).answers
    refused: dict[Group, str] = {}
    lacking = set()
    for cell in expand(load(name), catalog):
        if catalog.method(cell.method).card.accuracy_signal == "baseline" or cell in answers:
            continue
        group = Group.of(cell)
        if group not in refused:
            refused[group] = refusal(group, catalog)
        # One that is refused in the cell's scenario alone is asked nothing there either.
        if not (refused[group] or refusal(group, catalog, catalog.scenario(cell))):
            lacking.add(cell.method)
    assert not lacking, f"`coinfer freeze {name}` makes them"
