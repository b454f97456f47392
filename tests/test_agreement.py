"""Two networks' tables beside each other: what is paired, and how alike they rank."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.sampling import DesignPoint, samples
from coinfer.accuracy.table import Table, write_table
from coinfer.errors import CoinferError
from coinfer.tasks import make_task
from reproduce import agreement
from reproduce.agreement import LEAST_PAIRS, concordance, pairs, spearman
from reproduce.cli import reproduce
from reproduce.collect import table_for_figures, tables_for_agreement
from reproduce.draw import FORMATS
from reproduce.measured import Measured
from tests.measurements import flags, table

IMAGES = 1000
POINTS = 20
# The narrowest code of a map: what the one network's convolutions end in is 1x1 in the other's.
ELSEWHERE = 8
PAIRED = [number for number in range(POINTS) if number != ELSEWHERE]


@cache
def box(model: str) -> Box:
    return search_box(make_task(model, groups=True), "qho")


def points(model: str, seed: int = 0) -> Sequence[DesignPoint]:
    return samples(box(model), POINTS, seed)


def made(
    model: str, right: Callable[[int], int], leave_out: Sequence[int] = (), seed: int = 0
) -> Table:
    """A table of the design's first points, of which number i has so many right answers."""
    design = points(model, seed)
    found = table(
        {
            one.plan: flags(right(number), IMAGES)
            for number, one in enumerate(design)
            if number not in leave_out
        },
        name=f"{model}-made",
        model=model,
        seed=seed,
    )
    why = {one.plan.hash: one.why for one in design}
    told = [replace(one, why=why[one.measurement.plan.hash]) for one in found.samples]
    return replace(found, samples=tuple(told))


def small(**more: object) -> Table:
    return made("alexnet-cifar", lambda number: 100 + 40 * number, **more)  # type: ignore[arg-type]


def test_pairs_are_the_same_decisions_on_both_networks() -> None:
    found = pairs(Measured(small()), Measured(made("alexnet", lambda number: 50 + number)))
    assert [one.number for one in found] == PAIRED
    boxes = box("alexnet-cifar"), box("alexnet")
    for one in found:
        plans = one.small.measurement.plan, one.large.measurement.plan
        cuts, shares = zip(
            *(
                (int(own.read([plan]).cut[0]), own.features(own.read([plan]))[0, : len(own.rates)])
                for own, plan in zip(boxes, plans, strict=True)
            ),
            strict=True,
        )
        assert cuts[0] == cuts[1]
        # Units are whole: each network keeps the share to within one unit of its own.
        assert np.abs(shares[0] - shares[1]).max() <= 1 / 16


def test_a_point_that_one_network_lacks_is_no_pair() -> None:
    large = made("alexnet", lambda number: 50 + number, leave_out=[3, 7])
    found = pairs(Measured(small(leave_out=[0, 3])), Measured(large))
    assert [one.number for one in found] == [n for n in PAIRED if n not in (0, 3, 7)]


@pytest.mark.parametrize(("sign", "rho"), [(1, 1.0), (-1, -1.0)])
def test_any_monotone_relation_is_full_agreement(sign: int, rho: float) -> None:
    large = made("alexnet", lambda number: 500 + sign * (number + number * number))
    found = agreement.agreement(pairs(Measured(small()), Measured(large)))
    assert (found.rho, found.pairs) == (pytest.approx(rho), len(PAIRED))
    assert found.concordant == (1 + sign) / 2


def test_an_unrelated_network_has_an_interval_around_zero() -> None:
    mixed = np.random.default_rng(2).permutation(POINTS)
    found = agreement.agreement(
        pairs(Measured(small()), Measured(made("alexnet", lambda number: 300 + int(mixed[number]))))
    )
    assert found.low < 0 < found.high
    assert found.low <= found.rho <= found.high


VALUES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12)


@given(VALUES)
def test_statistics_are_those_of_their_definitions(values: list[tuple[int, int]]) -> None:
    first, second = np.array(values, float).T
    ways = [(a[0] - b[0]) * (a[1] - b[1]) for a, b in combinations(values, 2)]
    untied = [way for way in ways if way]
    expected = sum(way > 0 for way in untied) / len(untied) if untied else 0.5
    assert concordance(first, second) == pytest.approx(expected)
    if np.ptp(first) and np.ptp(second):
        assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    else:
        assert spearman(first, second) == 0


def test_too_few_pairs_are_refused() -> None:
    few = small(leave_out=range(LEAST_PAIRS - 1, POINTS))
    with pytest.raises(CoinferError, match=rf"on {LEAST_PAIRS - 1} of the same plans"):
        agreement.agreement(pairs(Measured(few), Measured(made("alexnet", lambda n: 50 + n))))


def test_other_designs_are_refused() -> None:
    large = Measured(made("alexnet", lambda number: 50 + number))
    with pytest.raises(CoinferError, match="do not begin with the same points"):
        pairs(Measured(small(seed=1)), large)
    deeper = replace(small(), origin=replace(small().origin, family="fpgm"))
    with pytest.raises(CoinferError, match="one family of plans and one data set"):
        pairs(Measured(deeper), large)


def test_the_command_writes_the_figure_and_what_it_rests_on(tmp_path: Path) -> None:
    path = tmp_path / "alexnet-made.csv"
    write_table(path, made("alexnet", lambda number: 400 + 7 * (number % 5)))
    arguments = ["agreement", "--table", str(path), "--out", str(tmp_path / "out")]
    for _ in range(2):  # the second time over its own files
        done = CliRunner().invoke(
            reproduce, arguments, catch_exceptions=False, standalone_mode=False
        )
        assert done.return_value == 0
    names = {one.name for one in (tmp_path / "out").iterdir()}
    assert names == {*(f"agreement.{form}" for form in FORMATS), "agreement.csv", "agreement.json"}
    about = json.loads((tmp_path / "out" / "agreement.json").read_text())
    with (tmp_path / "out" / "agreement.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # Held against what ships of the small network.
    for one in about["small"]:
        own = [row for row in rows if row["small"] == one["table"]]
        assert one["agreement"]["pairs"] == len(own)
        both = [[float(row[f"accuracy_{side}"]) for row in own] for side in ("small", "large")]
        assert one["agreement"]["spearman"] == pytest.approx(spearmanr(*both).statistic)
    assert about["large"]["table"] == "alexnet-made"


def test_the_shipped_cross_check_is_drawn(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        reproduce,
        ["agreement", "--out", str(tmp_path)],
        catch_exceptions=False,
        standalone_mode=False,
    )
    assert done.return_value == 0
    about = json.loads((tmp_path / "agreement.json").read_text())
    assert about["large"]["table"] == "alexnet-qho-quick"
    assert {one["recipe"] for one in about["small"]} == {"cpu-v1", "quick-v2"}
    for one in about["small"]:
        assert one["agreement"]["pairs"] >= LEAST_PAIRS


def test_a_table_of_the_small_network_itself_is_refused() -> None:
    with pytest.raises(CoinferError, match="is of alexnet-cifar itself"):
        tables_for_agreement("alexnet-cifar-qho-cpu")
    with pytest.raises(CoinferError, match="holds plans of no one family"):
        table_for_figures("alexnet-cifar-chosen-cpu")


def test_without_a_table_of_the_small_network_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    other = replace(small().origin, model="alexnet", family="none-such")
    write_table(path, replace(small(), origin=other))
    with pytest.raises(CoinferError, match="ships for family none-such"):
        CliRunner().invoke(
            reproduce,
            ["agreement", "--table", str(path), "--out", str(tmp_path / "out")],
            catch_exceptions=False,
            standalone_mode=False,
        )
