"""Comparisons of regressors that ship beside the tables: fresh, and what comparing again finds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.tables import shipped_table, table_names
from coinfer.accuracy.regressors import OUR_REGRESSORS, PAPER_REGRESSORS
from coinfer.accuracy.surrogate import Labels, fit_surrogate, fitting_versions
from coinfer.serial import content_hash
from reproduce import fits
from reproduce.claims import papers
from reproduce.collect import tables_needed
from reproduce.fits import Fits, compared, fits_of, render, shipped_file
from reproduce.measured import Measured
from tests.measurements import sampled

HOW = "`python -m reproduce.fits -o benchmarks/fits` makes them again"


def _judged() -> list[str]:
    claims = [claim for paper in papers().values() for claim in paper.claims]
    about = [c for c in claims if c.measured is not None and c.measured.regressor]
    return [measured.table.origin.name for measured in tables_needed(about)]


def _named(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in row.items() if isinstance(value, str)}


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not isinstance(value, str)}


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache folder, and nothing may be fitted."""
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path / "cache"))

    def refuse(_labels: Labels) -> Fits:
        raise AssertionError("fitted anew")

    monkeypatch.setattr(fits, "compared", refuse)


def test_every_table_that_claims_about_predictors_read_has_its_fits() -> None:
    assert _judged()
    for name in _judged():
        assert shipped_file(name).is_file(), HOW


@pytest.mark.parametrize("name", _judged())
def test_shipped_fits_are_fresh_and_taken(name: str, never: None) -> None:
    record = json.loads(shipped_file(name).read_text(encoding="utf-8"))
    if record["versions"] != fitting_versions():
        pytest.skip(f"fitted with {record['versions']}")
    measured = Measured(shipped_table(name))
    assert len(measured.table4) == 3 * len((*PAPER_REGRESSORS, *OUR_REGRESSORS)), HOW
    assert record["plans"] == len(measured.labels)


@pytest.mark.parametrize("name", _judged())
def test_shipped_fits_are_what_comparing_again_finds(name: str) -> None:
    """Not to the last bit: linear algebra may round differently on another processor."""
    record = json.loads(shipped_file(name).read_text(encoding="utf-8"))
    if record["versions"] != fitting_versions():
        pytest.skip(f"fitted with {record['versions']}")
    labels = Measured(shipped_table(name)).labels
    kept, again = fits_of(labels, name), compared(labels)
    assert kept.regressor == again.regressor
    assert kept.half_width == pytest.approx(again.half_width, rel=1e-6)
    for row, fresh in zip(kept.table4, again.table4, strict=True):
        # Ours fit by iterations that stop at a tolerance of their own.
        rel = 1e-6 if row["regressor"] in PAPER_REGRESSORS else 1e-3
        assert _named(row) == _named(fresh), HOW
        assert _numbers(row) == pytest.approx(_numbers(fresh), rel=rel), HOW
    chosen = kept.surrogate(labels)
    assert np.array_equal(chosen.accuracies(labels.x), fit_surrogate(labels).accuracies(labels.x))


def test_other_labels_are_compared_anew_whatever_ships_under_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path))
    labels = Measured(sampled()).labels
    asked = []
    made = Fits(({"regressor": "x"},), "LinearRegression", (), 0.5)

    def note(given: Labels) -> Fits:
        asked.append(given)
        return made

    monkeypatch.setattr(fits, "compared", note)
    assert fits_of(labels, table_names()[0]) == made
    assert fits_of(labels, table_names()[0]) == made
    assert len(asked) == 1  # the second time from the cache folder


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"key": KEY, "fits": {"table4": 3}}'])
def test_damaged_fits_count_as_none(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path / "cache"))
    labels = Measured(sampled()).labels
    made = Fits(({"regressor": "x"},), "LinearRegression", (), 0.5)
    whole = tmp_path / "whole.json"
    whole.write_text(render(labels, "small", made))
    key = json.dumps(json.loads(whole.read_text())["key"])
    monkeypatch.setattr(fits, "shipped_file", lambda _name: whole)
    other = Fits((), "BaggingRegressor", (), 0.25)
    monkeypatch.setattr(fits, "compared", lambda _labels: other)
    assert fits_of(labels, "small") == made
    whole.write_text(damage.replace("KEY", key))
    assert fits_of(labels, "small") == other


def test_the_key_holds_the_plans_and_their_accuracies() -> None:
    labels = Measured(sampled()).labels
    moved = Labels(labels.variables, labels.x, labels.y + 1e-9, labels.std_error)
    made = Fits((), "LinearRegression", (), 0.5)
    one, other = (json.loads(render(given, "t", made))["key"] for given in (labels, moved))
    assert one != other
    assert len(one) == len(content_hash([]))
