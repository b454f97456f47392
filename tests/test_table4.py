"""Table IV on measurement tables: the shipped ones, and tables that are too small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.tables import shipped_table, table_names
from coinfer.accuracy.regressors import OUR_REGRESSORS, PAPER_REGRESSORS
from coinfer.accuracy.surrogate import Labels
from coinfer.accuracy.table import Table, write_table
from coinfer.cli import run
from coinfer.errors import CoinferError, UnknownNameError
from reproduce.table4 import STATISTICS, describe, labels_of, lines


@pytest.fixture(scope="module", params=table_names())
def table(request: pytest.FixtureRequest) -> Table:
    return shipped_table(request.param)


def test_every_shipped_table_says_where_it_is_from(table: Table) -> None:
    origin = table.origin
    assert len(table.samples) + len(table.failed) <= origin.target
    assert len(origin.parent_sha256) == len(origin.data_hash) == 64
    assert {sample.machine for sample in table.samples} == set(table.machines)
    plans = [sample.measurement.plan for sample in table.samples]
    assert len(set(plans)) == len(plans)
    assert {plan.model for plan in plans} == {origin.model}
    labels = labels_of(table)  # every plan is one of its family's
    assert len(labels) == len(plans)
    assert sorted(labels.y) == sorted(s.measurement.val_accuracy for s in table.samples)


def test_test_accuracies_change_no_label(table: Table) -> None:
    """What a predictor learns from is the same whatever the test set says (design ruling 1)."""

    def told(correct: int) -> Labels:
        samples = [
            replace(s, measurement=replace(s.measurement, test_correct=correct, test_n=100))
            for s in table.samples
        ]
        return labels_of(replace(table, samples=tuple(samples)))

    assert told(0).data() == told(100).data() == labels_of(table).data()


def test_table4_stands_beside_the_papers(table: Table) -> None:
    found = {line.regressor: line for line in lines(labels_of(table))}
    assert tuple(found) == (*PAPER_REGRESSORS, *OUR_REGRESSORS)
    assert all(set(found[name].theirs) == set(STATISTICS) for name in PAPER_REGRESSORS)
    assert not any(found[name].theirs for name in OUR_REGRESSORS)
    theirs = found["GradientBoostingRegressor"].theirs
    assert theirs == {"mse": 4.87e-05, "adjusted_r2": 0.832, "aic": -3900, "bic": -3830}
    text = describe(table)
    assert f"{len(table.samples)} measured plans" in text
    assert "4.87e-05" in text
    assert "Chosen by held-out error" in text


def test_a_small_or_unknown_table_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnknownNameError, match="measurement table"):
        shipped_table("none")
    few = shipped_table(table_names()[0])
    few = replace(few, samples=few.samples[:5])
    with pytest.raises(CoinferError, match="5 measured plans are too few"):
        describe(few)
    path = tmp_path / "few.csv"
    write_table(path, few)
    assert run(["table4", "--table", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
