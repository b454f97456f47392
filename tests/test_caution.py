"""The experiment on predictors and the floor: its numbers, by another way, and its files."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.verify import FAMILY
from coinfer.accuracy.cautious import fit_loss_process
from coinfer.accuracy.scores import folds
from coinfer.accuracy.surrogate import Comparison, Labels, fit_surrogate
from coinfer.accuracy.table import Table, write_table
from coinfer.errors import CoinferError
from reproduce import caution
from reproduce.caution import chosen_labels, floor_of, lines
from reproduce.cli import reproduce
from reproduce.fits import Fits
from reproduce.measured import Measured
from tests.measurements import sampled, with_test_set

PROCESS = "process of the loss, confidence=0.9"


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A cache of its own; and the paper's way with a regressor that is fitted at once."""
    fast = Comparison(repeats=1, candidates=("LinearRegression",))

    def fits_of(labels: Labels, _name: str) -> Fits:
        chosen = fit_surrogate(labels, fast)
        return Fits((), chosen.regressor, chosen.quality, chosen.half_width)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COINFER_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("reproduce.measured.fits_of", fits_of)
        yield


@pytest.fixture(scope="module")
def tables() -> tuple[Table, Table]:
    """A table of the design, and plans of a larger one as if methods had chosen them."""
    large = sampled(42)
    small = replace(large, samples=large.samples[:32])
    origin = replace(large.origin, name="chosen", family=FAMILY)
    return small, replace(large, origin=origin, samples=large.samples[30:])


@pytest.fixture
def measured(tables: tuple[Table, Table], monkeypatch: pytest.MonkeyPatch) -> Measured:
    small, chosen = tables
    other = replace(chosen, origin=replace(chosen.origin, parent_sha256="ef" * 32))
    shipped = type("Shipped", (), {"tables": (small, chosen, other)})()
    monkeypatch.setattr(caution, "measurements", lambda model: shipped)
    return Measured(small)


def test_predictors_are_judged_on_plans_that_they_were_not_fitted_to(measured: Measured) -> None:
    found = {(line.predictor, line.protocol): line for line in lines(measured)}
    labels, chosen = measured.labels, chosen_labels(measured)
    baseline, floor = floor_of(measured)
    assert floor == pytest.approx(baseline - 0.02)
    assert len(chosen) == 10  # two of the twelve are the table's own; none of another parent
    (held,) = folds(labels.x, 5, 1, 0)
    sure = np.empty(len(labels))
    for fold in range(5):
        known = fit_loss_process(labels.rows(held != fold), baseline, floor)
        sure[held == fold] = known.lower(labels.x[held == fold], 0.9)
    whole = fit_loss_process(labels, baseline, floor)
    for protocol, y, guess in (
        ("cross-validated", labels.y, sure),
        ("chosen", chosen.y, whole.lower(chosen.x, 0.9)),
    ):
        line = found[PROCESS, protocol]
        taken = [accuracy for accuracy, low in zip(y, guess, strict=True) if low > floor]
        assert (line.n, line.taken) == (len(y), len(taken))
        assert line.honest == sum(accuracy > floor for accuracy in y)
        assert line.taken_broken == sum(accuracy <= floor for accuracy in taken)
        assert line.taken_honest + line.taken_broken == line.taken
        assert line.worst == (min(taken) if taken else None)
        assert line.covered == pytest.approx(np.mean([a >= b for a, b in zip(y, guess)]))  # noqa: B905
    # A band or more confidence takes no more plans and covers no fewer.
    for protocol in ("cross-validated", "chosen"):
        own = [line for line in lines(measured) if line.protocol == protocol]
        for bolder, surer in ((own[0], own[1]), (own[2], own[3]), (own[3], own[4])):
            assert surer.taken <= bolder.taken
            assert surer.covered >= bolder.covered


def test_everything_is_written_and_neither_a_second_run_nor_the_test_set_changes_a_byte(
    tables: tuple[Table, Table], tmp_path: Path
) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
    for name, table in (("a", tables[0]), ("b", with_test_set(tables[0], 77))):
        write_table(tmp_path / name / "small.csv", table)
        csv_file, out = str(tmp_path / name / "small.csv"), str(tmp_path / name / "out")
        done = CliRunner().invoke(
            reproduce,
            ["caution", "--table", csv_file, "--out", out],
            catch_exceptions=False,
            standalone_mode=False,
        )
        assert done.return_value == 0
    first, second = (sorted((tmp_path / name / "out").iterdir()) for name in "ab")
    assert [path.name for path in first] == ["caution.csv", "caution.json", "caution.md"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    text = first[2].read_text()
    assert hashlib.sha256(first[0].read_bytes()).hexdigest()[:12] in text
    with first[0].open(newline="") as file:
        records = list(csv.DictReader(file))
    # No chosen plans ship of this made-up parent.
    assert {record["protocol"] for record in records} == {"cross-validated"}
    assert all(record["predictor"] in text for record in records)
    assert json.loads(first[1].read_text())["samples"] == 32


def test_a_table_that_tells_no_floor_or_too_little_is_one_line() -> None:
    table = sampled(32)
    pruned = [s for s in table.samples if not s.measurement.plan.unchanged]
    with pytest.raises(CoinferError, match="lacks the unpruned network"):
        lines(Measured(replace(table, samples=tuple(pruned))))
    with pytest.raises(CoinferError, match="too few"):
        lines(Measured(sampled(5)))
