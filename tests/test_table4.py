"""Table IV on measurement tables: shipped ones, small ones made here, and ones that are too small.

No number of a shipped table is expected here: they are measured anew now and then.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import tables
from benchmarks.tables import cross_check_names, largest_table, shipped_table, table_names
from coinfer.accuracy.families import FAMILIES
from coinfer.accuracy.recipe import DIGITS
from coinfer.accuracy.regressors import OUR_REGRESSORS, PAPER_REGRESSORS
from coinfer.accuracy.surrogate import table4 as computed
from coinfer.accuracy.table import Table, write_table
from coinfer.cli import run
from coinfer.errors import CoinferError, UnknownNameError
from reproduce import table4
from reproduce.claims import papers
from reproduce.cli import reproduce
from reproduce.facts import Facts
from reproduce.measured import MEASURES, Measured
from reproduce.scorecard import judge, judge_all
from reproduce.table4 import STATISTICS, describe, lines
from tests.measurements import sampled, table, with_test_set

ABOUT_PREDICTORS = [c for c in papers()["Q"].claims if c.stem == "Q-t4"]


@pytest.fixture(scope="module", params=[*table_names(), *cross_check_names()])
def shipped(request: pytest.FixtureRequest) -> Table:
    return shipped_table(request.param)


def test_every_shipped_table_says_where_it_is_from(shipped: Table) -> None:
    origin = shipped.origin
    assert len(shipped.samples) + len(shipped.failed) <= origin.target
    assert len(origin.parent_sha256) == len(origin.data_hash) == 64
    assert {sample.machine for sample in shipped.samples} == set(shipped.machines)
    plans = [sample.measurement.plan for sample in shipped.samples]
    assert len(set(plans)) == len(plans)
    assert {plan.model for plan in plans} == {origin.model}
    if origin.family not in FAMILIES:  # plans that methods chose, of several families
        assert origin.family == "chosen"
        return
    labels = Measured(shipped).labels  # every plan is one of its family's
    assert len(labels) == len(plans)
    assert sorted(labels.y) == sorted(s.measurement.val_accuracy for s in shipped.samples)


def test_the_largest_table_of_a_network_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sampled(12)
    held = {
        "a": replace(whole, samples=whole.samples[:3]),
        "b": whole,
        "c": replace(whole, origin=replace(whole.origin, name="c")),  # as large, and later
        "digits": replace(sampled(14), origin=replace(whole.origin, data="digits")),
        "other": replace(sampled(14), origin=replace(whole.origin, family="fpgm")),
    }
    monkeypatch.setattr(tables, "table_names", lambda: sorted(held))
    monkeypatch.setattr(tables, "shipped_table", held.__getitem__)
    assert largest_table("alexnet-cifar", "qho", "cifar10") is whole
    assert largest_table("alexnet-cifar", "qho", "digits") is held["digits"]
    assert largest_table("alexnet", "qho", "cifar10") is None


# One small table, for real: files, scorecard, verdicts.


@pytest.fixture(scope="module")
def small() -> Measured:
    return Measured(sampled())


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory, small: Measured) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("table4")
    write_table(folder / "small.csv", small.table)
    return folder / "out", _reproduce(folder / "small.csv", folder / "out")


def _reproduce(file: Path, out: Path) -> str:
    done = CliRunner().invoke(
        reproduce, ["table4", "--table", str(file), "--out", str(out)],
        catch_exceptions=False, standalone_mode=False,
    )  # fmt: skip
    assert done.return_value == 0
    return done.output


def test_everything_is_written(reproduced: tuple[Path, str]) -> None:
    folder, printed = reproduced
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "table4.csv", "table4.md", "table4.json", "scorecard.json", "scorecard.md",
    }  # fmt: skip
    assert all(str(folder / name) in printed for name in names)


def test_neither_a_second_run_nor_the_test_set_changes_a_byte(
    reproduced: tuple[Path, str], tmp_path: Path, small: Measured
) -> None:
    """What is read is validation accuracies, whatever the test set says (design ruling 1)."""
    write_table(tmp_path / "small.csv", with_test_set(small.table, 77))
    assert (tmp_path / "small.csv").read_text().count(",0.77,77,100,") == len(small.table.samples)
    _reproduce(tmp_path / "small.csv", tmp_path / "out")
    for path in reproduced[0].iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("correct", [math.nan, 0, 100])
def test_test_accuracies_reach_no_label_and_no_digest(small: Measured, correct: float) -> None:
    poisoned = Measured(with_test_set(small.table, correct))
    assert poisoned.labels.data() == small.labels.data()
    assert poisoned.digest == small.digest
    other = replace(small.table, samples=small.table.samples[::-1][:20])
    assert Measured(other).digest != small.digest


def test_the_csv_holds_all_protocols_and_reads_back_exactly(
    reproduced: tuple[Path, str], small: Measured
) -> None:
    with (reproduced[0] / "table4.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    expected = computed(small.labels, regressors=(*PAPER_REGRESSORS, *OUR_REGRESSORS))
    assert len(records) == len(expected) == 3 * 8
    for record, row in zip(records, expected, strict=True):
        assert (record["regressor"], record["protocol"]) == (row["regressor"], row["protocol"])
        for name in ("n", "p", "r2", *STATISTICS):
            assert record[name] == ("" if row[name] is None else str(row[name])), name
        assert (record["paper_mse"] == "") == (row["regressor"] in OUR_REGRESSORS)
        assert (record["recipe"], record["model"], record["target"]) == (
            "quick-v" + str(small.table.origin.recipe.version), "alexnet-cifar", "300",
        )  # fmt: skip
        assert record["evidence"] == "measured, predicted"
    assert {record["protocol"] for record in records} == {"cross-validated", "split", "in-sample"}


def test_the_print_names_its_table_and_the_hash_of_its_data(
    reproduced: tuple[Path, str], small: Measured
) -> None:
    folder = reproduced[0]
    text = (folder / "table4.md").read_text()
    assert hashlib.sha256((folder / "table4.csv").read_bytes()).hexdigest()[:12] in text
    for word in ("'small'", "alexnet-cifar", small.table.origin.recipe.label, "4.87e-05"):
        assert word in text
    rows = {line.split()[0]: line.split() for line in text.splitlines() if "Regress" in line}
    for line in lines(small):
        if line.protocol == "cross-validated" and line.regressor in PAPER_REGRESSORS:
            assert rows[line.regressor][1:3] == [
                f"{line.ours['mse']:.3g}",
                f"{line.theirs['mse']:.3g}",
            ]
    assert "34 of 300 plans measured" in text
    assert "Chosen by held-out error" in text


def test_the_origin_stands_beside_the_table(reproduced: tuple[Path, str], small: Measured) -> None:
    about = json.loads((reproduced[0] / "table4.json").read_text())
    assert about["origin"]["parent_sha256"] == "ab" * 32
    assert about["origin"]["recipe"]["name"] == "quick"
    assert (about["samples"], about["digest"]) == (34, small.digest)
    assert (about["machines"], about["code"]) == ({"m": {"cpu": "x"}}, ["c0de"])
    assert set(about["fitted_with"]) == {"scikit-learn", "numpy", "scipy"}


def test_the_verdicts_follow_from_the_table_and_name_its_conditions(
    reproduced: tuple[Path, str], small: Measured
) -> None:
    folder, printed = reproduced
    data = json.loads((folder / "scorecard.json").read_text())
    assert [one["id"] for one in data["claims"]] == [claim.id for claim in ABOUT_PREDICTORS]
    assert [one["id"] for one in data["findings"]] == ["Q-x5"]
    rows = {
        (row["regressor"], name): row[name]
        for row in small.table4
        for name in STATISTICS
        if row["protocol"] == "cross-validated"
    }
    by_id = {one["id"]: one for one in data["claims"]}
    for claim in ABOUT_PREDICTORS:
        one, asked = by_id[claim.id], claim.measured
        assert asked is not None
        recipe = small.table.origin.recipe.label
        for word in ("alexnet-cifar on cifar10", recipe, "34 of 300 plans", "standard error"):
            assert word in one["conditions"], claim.id
        assert f"{small.labels.noise_mse:.2e}" in one["conditions"]
        assert one["conditions"] in " ".join(printed.split())
        assert all(number["rows"] == [small.digest] for number in one["numbers"])
        if claim.kind == "value":
            ours = rows[asked.regressor, asked.statistic]
            assert one["ours"] == ours
            off = ours / claim.theirs - 1
            assert one["verdict"] == ("reproduced" if abs(off) <= 0.05 else "not reproducible")
    best = min(PAPER_REGRESSORS, key=lambda name: rows[name, "aic"])
    led = best == "GradientBoostingRegressor"
    assert by_id["Q-t4.26"]["verdict"] == ("ordering holds" if led else "deviates")


def test_a_regressor_leads_where_its_statistic_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger is better for adjusted R2 alone; as good is not better."""
    values = dict.fromkeys(PAPER_REGRESSORS, 2.0) | {"GradientBoostingRegressor": 1.0}
    rows = [
        {"regressor": name, "protocol": "cross-validated", **dict.fromkeys(STATISTICS, value)}
        for name, value in values.items()
    ]
    made = Measured(sampled(20))
    monkeypatch.setitem(made.__dict__, "table4", rows)
    by_id = {one.claim.id: one for one in judge_all(ABOUT_PREDICTORS, Facts.of([], tables=[made]))}
    assert (by_id["Q-t4.25"].verdict, by_id["Q-t4.25"].ours_text) == ("deviates", "in 0 of 5")
    assert (by_id["Q-t4.26"].verdict, by_id["Q-t4.26"].ours_text) == ("ordering holds", "in 5 of 5")
    rows[1] = {**rows[1], **dict.fromkeys(STATISTICS, 1.0)}
    tied = judge(by_id["Q-t4.26"].claim, Facts.of([], tables=[made]))
    assert (tied.verdict, tied.ours_text) == ("deviates", "in 4 of 5")
    assert "GradientBoostingRegressor against BaggingRegressor" in tied.cause


def test_the_table_stands_beside_the_papers(small: Measured) -> None:
    found = {line.regressor: line for line in lines(small) if line.protocol == "cross-validated"}
    assert tuple(found) == (*PAPER_REGRESSORS, *OUR_REGRESSORS)
    assert not any(found[name].theirs for name in OUR_REGRESSORS)
    theirs = found["GradientBoostingRegressor"].theirs
    assert theirs == {"mse": 4.87e-05, "adjusted_r2": 0.832, "aic": -3900, "bic": -3830}


# What is refused, in one line.


def test_a_small_or_unknown_table_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnknownNameError, match="measurement table"):
        shipped_table("none")
    few = sampled(5)
    with pytest.raises(CoinferError, match="5 measured plans are too few"):
        describe(Measured(few))
    path = tmp_path / "few.csv"
    write_table(path, few)
    assert run(["table4", "--table", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(CoinferError, match="too few"):
        _reproduce(path, tmp_path / "out" / "table4")
    assert not (tmp_path / "out").exists()


def test_too_few_plans_decide_nothing_and_say_how_to_get_more() -> None:
    facts = Facts.of([], tables=[Measured(sampled(5))])
    for one in judge_all(ABOUT_PREDICTORS, facts):
        assert (one.verdict, one.ours, one.used) == ("not measured", None, ())
        assert "5 measured plans are too few" in one.cause
        assert "coinfer sweep alexnet-cifar" in one.cause


def test_the_command_leaves_out_a_recipe_that_is_no_more() -> None:
    def cause(recipe: str) -> str:
        few = sampled(5)
        origin = replace(few.origin, recipe=replace(DIGITS, name=recipe))
        samples = table({}, recipe=origin.recipe).samples
        facts = Facts.of([], tables=[Measured(replace(few, origin=origin, samples=samples))])
        return judge(ABOUT_PREDICTORS[0], facts).cause

    assert "--recipe digits" in cause("digits")
    assert "--recipe" not in cause("of-yesterday")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["table4", "--store", "x.sqlite"], "table4 is made from a table and takes no --store"),
        (["table4", "--jobs", "2"], "table4 is made from a table and takes no --jobs"),
        (["fig6", "--table", "x.csv"], "fig6 is computed and takes no --table"),
        (["table4", "--table", "none"], "unknown measurement table 'none'"),
    ],
)
def test_options_that_do_not_apply_are_refused(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(CoinferError, match=told):
        CliRunner().invoke(reproduce, [*arguments, "--out", str(out)], catch_exceptions=False)
    assert not out.exists()


def test_what_claims_ask_of_a_table_is_computed(small: Measured) -> None:
    assert {c.measured.measure for c in ABOUT_PREDICTORS if c.measured} <= set(MEASURES)
    assert {c.measured.statistic for c in ABOUT_PREDICTORS if c.measured} == set(STATISTICS)
    assert table4.COLUMNS[0] == "table"
