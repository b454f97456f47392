"""The claims files: complete, valid, about cells that exist, and strict about their keys."""

from __future__ import annotations

import pytest

from benchmarks.catalog import Catalog
from benchmarks.matrix import expand, load
from coinfer.accuracy.regressors import PAPER_REGRESSORS
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.models import models
from reproduce.claims import PAPERS, Claim, paper, papers, parse_claims, tolerance_text
from reproduce.collect import matrices_needed, networks_needed
from reproduce.facts import case_of, cases
from reproduce.figures import figures
from reproduce.findings import COMPUTED
from reproduce.learning import MODELS
from reproduce.measured import LARGER_IS_BETTER, corner_of
from reproduce.measured import MEASURES as OF_TABLES
from reproduce.networks import MEASURES
from reproduce.plane import plane_of
from reproduce.rates import MEASURES as OF_SWEEPS
from reproduce.rates import PAPER_NETWORKS, sweep_asked
from reproduce.tradeoff import MEASURES as OF_PLANES
from tests.latencies import claim
from tests.measurements import box

# Every claim of the four papers, by the stem of its id.
STEMS = [
    *("Q-acc-alexnet", "Q-acc-regnet", "Q-i1", "Q-i2", "Q-i3", "Q-t4", "Q-f6a", "Q-f6b", "Q-f6c"),
    *("Q-f7a", "Q-f7b", "Q-f8a", "Q-f8b", "Q-f9", "Q-f10", "Q-f11"),
    *("T-acc-resnet18", "T-codec", "T-f1", "T-f3", "T-f4", "T-f5a", "T-f5b"),
    *("A-acc-resnet50", "A-f2-comm", "A-f2-comp", "A-f2-pareto", "A-f3"),
    *("C-head", "C-f3", "C-f4a", "C-f4b", "C-f5a", "C-f5b"),
]

CLAIMS = [claim for one in papers().values() for claim in one.claims]
FINDINGS = [finding for one in papers().values() for finding in one.findings]
BY_ID = {claim.id: claim for claim in CLAIMS}


def test_every_claim_of_every_paper_is_there() -> None:
    assert {claim.stem for claim in CLAIMS} == set(STEMS)


def test_claims_of_a_stem_are_numbered_from_one_without_holes() -> None:
    for stem in STEMS:
        numbers = [int(claim.id.rpartition(".")[2]) for claim in CLAIMS if claim.stem == stem]
        assert numbers == list(range(1, len(numbers) + 1)), stem


def test_the_eight_ratios_of_figure_6_are_as_printed() -> None:
    printed = [
        BY_ID[i].theirs
        for i in (
            "Q-f6a.1", "Q-f6a.2", "Q-f6a.3", "Q-f6a.4", "Q-f6b.1", "Q-f6b.2", "Q-f6c.1", "Q-f6c.2",
        )
    ]  # fmt: skip
    assert printed == [3.7, 2.0, 8.5, 9.7, 6.4, 1.2, 35, 13]
    assert all(BY_ID[i].as_printed for i in ("Q-f6b.1", "Q-f6b.2"))
    # As printed means over all links; the narrower readings leave 3G out, and say why.
    assert len(cases(_where(BY_ID["Q-f6b.1"]), BY_ID["Q-f6b.1"].excluded)) == 4
    for narrower in (BY_ID["Q-f6b.3"], BY_ID["Q-f6b.4"]):
        assert not narrower.as_printed
        left = cases(_where(narrower), narrower.excluded)
        assert [case.link for case in left] == ["4g", "5g", "wifi"]


def test_ratios_were_given_five_percent_and_inequalities_nothing() -> None:
    exact = [claim for claim in CLAIMS if claim.kind in ("ratio", "min", "max") and not claim.bound]
    assert {claim.tolerance for claim in exact} == {0.05}
    assert {c.tolerance for c in CLAIMS if c.bound or c.kind == "ordering"} == {0.0}


def test_what_the_papers_state_as_an_inequality_is_one_sided_and_nothing_else() -> None:
    one_sided = {
        "Q-i2.1": ("bound", "at_most", 2),  # a loss "no greater than 2%"
        "Q-f7b.4": ("max", "more_than", 1e6),  # "to over 10^6"
        "Q-f8b.4": ("max", "more_than", 1e5),  # "to more than 10^5"
        "Q-f9.1": ("bound", "more_than", 50),  # "the majority"
        "Q-f10.1": ("bound", "more_than", 50),
        "Q-f9.4": ("bound", "more_than", 50),  # the narrower reading
        "Q-f10.4": ("bound", "more_than", 50),
        "Q-f11.5": ("bound", "at_most", 1),  # "unaffected": the longest is the shortest
        "T-codec.1": ("bound", "less_than", 1),  # "less than 1 percent"
        "T-f1.1": ("bound", "more_than", 50),  # "most"
        "T-f1.2": ("bound", "more_than", 50),
        "T-f3.1": ("bound", "at_least", 100),  # "no point"
        "T-f3.2": ("bound", "at_least", 90),  # "nearly all"
        "T-f3.3": ("bound", "at_least", 90),
        "T-f3.4": ("bound", "at_most", 0),  # all below
        # "significantly lower", "sharply decreases", "rapid decline", "no significant change"
        **{
            f"C-{name}": ("bound", "at_least", 1.1) for name in ("f4a.3", "f4a.4", "f4b.1", "f5b.2")
        },
        "C-f5b.1": ("bound", "at_most", 1.1),
        **{f"T-f5{panel}.1": ("bound", "at_least", 0.9) for panel in "ab"},  # "comparable"
        **{f"T-f5{panel}.{n}": ("bound", "at_least", 2) for panel in "ab" for n in (2, 3)},
        **{f"A-f2-pareto.{n}": ("bound", "more_than", 0) for n in (1, 3)},
        **{f"A-f2-pareto.{n}": ("bound", "less_than", 10) for n in (2, 4)},  # "negligible"
    }
    found = {c.id: (c.kind, c.bound, c.theirs) for c in CLAIMS if c.bound}
    assert found == one_sided


def test_accuracies_and_their_differences_have_their_own_units() -> None:
    assert {i: BY_ID[i].unit for i in ("Q-i1.1", "Q-i1.2", "Q-i2.1", "Q-i2.2")} == dict.fromkeys(
        ("Q-i1.1", "Q-i1.2", "Q-i2.1", "Q-i2.2"), "points"
    )
    accuracies = {claim.stem: claim.theirs for claim in CLAIMS if claim.unit == "% accuracy"}
    assert accuracies == {
        "Q-acc-alexnet": 87.42, "Q-acc-regnet": 91.71, "T-acc-resnet18": 95,
        "A-acc-resnet50": 92.99,
    }  # fmt: skip
    assert BY_ID["T-acc-resnet18.1"].printed == "around 95 percent"


def test_the_tolerances_are_told_as_they_are() -> None:
    assert tolerance_text() == (
        "5 % for ratios, minima, maxima and values, 1 point for accuracies, "
        "none for one-sided bounds and orderings"
    )


@pytest.mark.parametrize("one", [c for c in CLAIMS if c.where], ids=lambda c: c.id)
def test_the_cells_of_a_claim_are_in_its_matrix(one: Claim) -> None:
    asked = {(case_of(cell), cell.method) for cell in expand(load(one.matrix), Catalog())}
    wanted = {
        (case, method)
        for case in cases(_where(one), one.excluded)
        for method in (*one.slow, *one.fast)
    }
    assert wanted
    assert wanted <= asked


def says_its_network(one: Claim, model: str) -> None:
    """A network that stands for the paper's says so, and then decides nothing that is printed."""
    if one.paper == "Q":
        assert f"ours is {model}, the 32x32 variant" in one.note
    elif model not in PAPER_NETWORKS[PAPERS[one.paper]]:
        told = f"decided on {model}, "
        assert one.note.startswith(told)
        assert "not on the network of the claim as printed" in one.note
        assert one.statement.startswith(f"{model} as a stand-in: ")
        assert not one.as_printed


@pytest.mark.parametrize("one", [c for c in CLAIMS if c.sweep], ids=lambda c: c.id)
def test_what_a_claim_asks_of_a_sweep_exists(one: Claim) -> None:
    sweep, asked = sweep_asked(one), one.sweep
    assert asked is not None
    assert asked.measure in OF_SWEEPS
    assert asked.device in sweep.devices
    assert {*one.fast, *one.slow} <= {*sweep.methods}
    assert asked.unless_fastest in ("", *sweep.methods)
    xs = [place.x for place in sweep.places]
    least = xs[0] if asked.least is None else asked.least
    most = xs[-1] if asked.most is None else asked.most
    assert [x for x in xs if least <= x <= most]
    says_its_network(one, sweep.model)


@pytest.mark.parametrize("one", [c for c in CLAIMS if c.plane], ids=lambda c: c.id)
def test_what_a_claim_asks_of_a_plane_exists(one: Claim) -> None:
    plane = plane_of(one.matrix)
    assert one.plane is not None
    assert one.plane.measure in OF_PLANES
    assert {*one.fast, *one.slow} <= {*plane.methods}
    if one.paper == "Q":
        assert (plane.device, plane.link) == ("raspberry-pi-3b+", "4g")
    says_its_network(one, plane.model)


def test_the_reported_gains_of_figures_7_8_and_11_are_as_printed() -> None:
    printed = {
        "Q-f7a": [1.1, 2.2, 14.5, 198.0], "Q-f7b": [1.1, 3.1, 51.2, 1e6],
        "Q-f8a": [1.1, 2.7, 46.4, 141.0], "Q-f8b": [1.1, 3.2, 47.4, 1e5],
        "Q-f11": [1.02, 1.5, 11.0, 25.5],
    }  # fmt: skip
    wanted = [("min", "second_best"), ("max", "second_best"), ("min", "worst"), ("max", "worst")]
    for stem, theirs in printed.items():
        four = [BY_ID[f"{stem}.{i}"] for i in range(1, 5)]
        assert [one.theirs for one in four] == theirs
        assert [(one.kind, one.sweep.measure) for one in four if one.sweep] == wanted
        assert {one.fast for one in four} == {("qho",)}
        # "In other scenarios": only on the RPi 3B+, against a rate, is All_Server excepted.
        left_out = {one.sweep.unless_fastest for one in four if one.sweep}
        assert left_out == ({"all_server"} if stem in ("Q-f7a", "Q-f8a") else {""})


def test_what_claims_and_findings_name_exists() -> None:
    for matrix in matrices_needed(CLAIMS, FINDINGS):
        load(matrix)
    assert set(networks_needed(CLAIMS, FINDINGS)) <= set(models())
    assert {c.network.measure for c in CLAIMS if c.network} <= set(MEASURES)
    assert {f.compute for f in FINDINGS if f.compute} == set(COMPUTED)


@pytest.mark.parametrize("one", [c for c in CLAIMS if c.measured], ids=lambda c: c.id)
def test_what_a_claim_asks_of_a_measurement_table_exists(one: Claim) -> None:
    asked = one.measured
    assert asked is not None
    assert asked.measure in OF_TABLES
    assert asked.model in models()
    assert one.theirs is not None or asked.measure == "lead"
    if asked.measure in ("score", "lead"):
        assert (asked.regressor in PAPER_REGRESSORS, asked.statistic in LARGER_IS_BETTER) == (
            True, True,
        )  # fmt: skip
    elif asked.model == box().model:
        # One plan of the design, which every table of the network begins with.
        plan = corner_of(asked, box())
        assert plan is not None
        assert plan.unchanged == (asked.measure == "accuracy")


def test_the_corners_are_what_the_paper_says() -> None:
    found = {i: corner_of(_asked(BY_ID[i]), box()) for i in ("Q-i1.1", "Q-i1.2", "Q-i2.1")}
    # Of conv2's 192 channels 142 and 170 go, 74 % and 89 %; of 1024 elements 67 are sent.
    assert [dict(found[i].keep) for i in ("Q-i1.1", "Q-i1.2")] == [
        {"features.3": 50}, {"features.3": 22},
    ]  # fmt: skip
    assert (found["Q-i2.1"].keep, found["Q-i2.1"].cut.after) == ((), "classifier.0")
    assert "width=67" in found["Q-i2.1"].codec


def test_excluded_cells_have_reasons() -> None:
    assert all(out.reason for one in CLAIMS for out in one.excluded)


def test_papers_by_letter() -> None:
    assert [paper(letter).letter for letter in "QTAC"] == list(PAPERS)
    with pytest.raises(UnknownNameError, match="unknown paper 'X'"):
        paper("X")


VALID = """
paper = "Q"
reference = "somebody"
[[claim]]
id = "Q-f6a.1"
place = "Fig. 6"
statement = "a is faster than b"
kind = "ratio"
theirs = 3.7
matrix = "fig6"
slow = ["b"]
fast = ["a"]
where = { model = ["m"], device = ["d"], server = ["s"], link = ["l"], convention = "c" }
excluded = [{ link = "x", reason = "because" }]
[[finding]]
id = "Q-x1"
place = "Fig. 6"
says = "this"
question = "that?"
compute = "slow_partition"
"""

WHERE = next(line for line in VALID.splitlines() if line.startswith("where ="))
MEASURED = 'measured = {{ measure = "loss", model = "m", {} }}'
SWEPT = 'sweep = {{ measure = "worst", {} = "d" }}'


def test_a_valid_file_is_read() -> None:
    (one,) = parse_claims(VALID, "ours.toml").claims
    assert (one.id, one.theirs, one.unit, one.paper, one.stem) == (
        "Q-f6a.1", 3.7, "x", "Q", "Q-f6a",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("theirs = 3.7", "thiers = 3.7", "unknown key 'thiers'; did you mean 'theirs'"),
        ("reason =", "raeson =", "unknown key 'excluded.0.raeson'; did you mean 'reason'"),
        ("device =", "devise =", "unknown key 'where.devise'; did you mean 'device'"),
        ("says =", "sais =", "unknown key 'sais'; did you mean 'says'"),
        ("[[claim]]", "[[claims]]", "unknown key 'claims'; did you mean 'claim'"),
        ("[[claim]]", "[claim]", "written as tables"),
        ('paper = "Q"', 'paper = "Z"', "paper is 'Z'; allowed: Q, T, A, C"),
        ('paper = "Q"', 'paper = "T"', "'Q-f6a.1' is not of paper T"),
        ('kind = "ratio"', 'kind = "rate"', "'kind' is 'rate'; allowed: 'ratio'"),
        (
            'kind = "ratio"',
            'kind = "bound"',
            "a bound needs its side, 'bound': at_least or at_most or more_than or less_than",
        ),
        ('kind = "ratio"', 'kind = "ordering"', "'theirs' is for every kind but ordering"),
        (
            'kind = "ratio"\ntheirs = 3.7',
            'kind = "ordering"\nbound = "at_least"',
            "'bound' is a side of a number, and an ordering has none",
        ),
        ('slow = ["b"]', 'unit = "s"', "'slow' is empty"),
        ("theirs = 3.7", 'theirs = "much"', "'theirs' is 'much'"),
        ("theirs = 3.7", "", "'theirs' is for every kind but ordering"),
        ('slow = ["b"]', 'slow = "b"', "'slow' is 'b'"),
        ('slow = ["b"]', "", "'slow' is empty"),
        ('link = ["l"]', 'link = ["l", "k"]', "a ratio is one number"),
        ('link = ["l"]', "link = []", "'where' names no link"),
        ('matrix = "fig6"', "", "'where' goes with 'fast' and 'matrix'"),
        ('statement = "a is faster than b"', "", "'statement' is missing"),
        ('reason = "because"', 'reason = " "', "every excluded cell needs one"),
        ('{ link = "x", ', "{ ", "'excluded' names no cell"),
        ('id = "Q-f6a.1"', 'id = "f6a"', "not of the form Q-f6a.1"),
        ('id = "Q-x1"', 'id = "x1"', "not of the form Q-x1"),
        ('id = "Q-x1"', 'id = "Q-f6a.1"', "'Q-f6a.1' is given twice"),
        ("theirs = 3.7", 'theirs = 3.7\nneeds = "training"', "give either the cells"),
        ('compute = "slow_partition"', "", "give either compute or needs"),
        ("paper =", "paper ==", "is not TOML"),
        (
            'statement = "a',
            'network = { measure = "size", model = "m" }\nstatement = "a',
            "'where', 'network', 'measured', 'sweep', 'plane' and 'search' exclude each other",
        ),
        (WHERE, 'measured = { measure = "loss", modle = "m" }', "unknown key 'measured.modle'"),
        (WHERE, MEASURED.format("share = 0.5"), "'share' is 0.5; allowed with 'prune' or 'encode'"),
        (WHERE, MEASURED.format('prune = "g"'), "'share' is 0.0; allowed"),
        (WHERE, MEASURED.format('prune = "g", share = 1.0'), "'share' is 1.0; allowed"),
        (
            WHERE,
            MEASURED.format('prune = "g", encode = "c", share = 0.5'),
            "'prune' and 'encode' exclude each other",
        ),
        (WHERE, MEASURED.format('regressor = "r"'), "'regressor' goes with 'statistic'"),
        (WHERE, SWEPT.format("divice"), "unknown key 'sweep.divice'; did you mean 'device'"),
        (
            WHERE,
            SWEPT.format("least = 2, most = 1, device"),
            "'least' is 2, above 'most', 1",
        ),
        (WHERE, SWEPT.format("turn = 1, device"), "'turn' goes with the measure 'bend', and with"),
        (
            'fast = ["a"]\n' + WHERE,
            SWEPT.format("device"),
            "'sweep' and 'plane' go with 'fast' and 'matrix'",
        ),
        (WHERE, 'plane = { measure = "each" }', "'axis' goes with the measure 'each'"),
        (WHERE, 'plane = { axes = "x", measure = "on_front" }', "unknown key 'plane.axes'"),
    ],
)
def test_a_mistake_is_refused_in_one_line(old: str, new: str, told: str) -> None:
    assert old in VALID
    with pytest.raises(CoinferError) as refused:
        parse_claims(VALID.replace(old, new, 1), "ours.toml")
    assert told in str(refused.value)
    assert "'ours.toml'" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_accuracies_are_compared_in_points() -> None:
    assert claim("value", theirs=87.4, unit="% accuracy", slow=[]).tolerance == 1.0
    assert claim("value", theirs=2.0, unit="points", slow=[]).tolerance == 1.0
    assert claim("value", theirs=2.0, unit="points", slow=[], bound="at_most").tolerance == 0.0


def _asked(one: Claim):  # type: ignore[no-untyped-def]
    assert one.measured is not None
    return one.measured


def _where(one: Claim):  # type: ignore[no-untyped-def]
    assert one.where is not None
    return one.where


@pytest.mark.parametrize("one", [c for c in CLAIMS if c.search], ids=lambda c: c.id)
def test_what_a_claim_asks_of_searches_is_what_its_figure_makes(one: Claim) -> None:
    assert one.search is not None
    assert set(one.search.models) <= set(MODELS)
    figure = figures()[one.search.figure]
    assert figure.reads == "search"
    assert one in figure.claims()
