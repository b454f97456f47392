"""Figures of the three-step, CIA and CPCDRL papers: what claims compute from made-up rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.catalog import Catalog
from benchmarks.cells import LATENCY_PARTS, Cell, Result
from benchmarks.matrix import Matrix, expand, load
from benchmarks.rows import Row
from coinfer.conventions import convention
from coinfer.errors import CoinferError
from reports.claim_views import claim_view, figure_of
from reproduce import learning, noise, plane, rate_figures, rates
from reproduce.claims import papers
from reproduce.draw import house_style
from reproduce.facts import Facts
from reproduce.figures import figures
from reproduce.learning import Curves, averaged, settles
from reproduce.plane import plane_of
from reproduce.present import as_data, as_markdown, as_text
from reproduce.rates import network_text, point, sweep_of, sweeps_of
from reproduce.regret import best_known
from reproduce.scorecard import judge
from reproduce.winners import is_plane

CLAIMS = {claim.id: claim for paper in papers().values() for claim in paper.claims}
MATRICES = [
    figure.matrix
    for figure in figures().values()
    if figure.matrix.startswith(("threestep", "cia", "cpcdrl"))
]
Answers = Callable[[Cell], dict[str, Any]]


def rows(matrix: str, answers: Answers) -> list[Row]:
    """A row of every cell; what is not given of a plan's time, work and bits is 0.

    An answer with `nothing` is no plan within the accuracy floor.
    """
    found = []
    for cell in expand(load(matrix), Catalog()):
        given = answers(cell)
        if given.pop("nothing", False):
            floor = Result("infeasible", reason="no plan within the floor")
            found.append(Row(cell, floor, {}))
            continue
        parts = {name: given.pop(name, 0.0) for name in LATENCY_PARTS}
        result = Result(
            "ok",
            plan={"cut": {"index": 3, "after": "features.5"}, "keep": [["g", 1]]},
            plan_hash=f"{cell.method}-{cell.seed}",
            latency={**parts, "total_s": sum(parts.values())},
            evidence={"latency": "analytic"},
            predicted_accuracy=0.76,
            **given,
        )
        found.append(Row(cell, result, {}))
    return found


def cut_number(cell: Cell, matrix: str = "threestep2020-fig3") -> int:
    cuts = list(plane_of(matrix).conventions)
    return cuts.index(convention(cell.convention).cut)


@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_names_methods_that_are_there_and_its_figure_reads_it(name: str) -> None:
    cells = expand(load(name), Catalog())
    assert cells
    assert len({cell.model for cell in cells}) == 1
    if is_plane(name):
        assert plane_of(name).conventions
    else:
        assert all(sweep.places for sweep in sweeps_of(name))


@pytest.mark.parametrize("name", [name for name in MATRICES if name.endswith("-harmonised")])
def test_a_figure_under_one_set_of_rules_names_the_winners_of_both(
    name: str, tmp_path: Path
) -> None:
    """Its scenarios are those of the paper's figure, cut by cut or point by point."""
    paper = name.removesuffix("-harmonised")

    def answers(cell: Cell) -> dict[str, Any]:
        last = str(Catalog().method(load(paper).methods[-1]).ref)
        return {"device_s": 0.1 if cell.method == last else 0.2, "uplink_s": 0.1}

    facts = Facts.of([*rows(paper, answers), *rows(name, answers)])
    figures()[name].write(facts, tmp_path)
    table = (tmp_path / f"{paper}-winners.csv").read_text()
    lines = list(csv.DictReader(io.StringIO(table)))
    places = {(line["device"], line["place"]) for line in lines}
    assert len(places) == len(lines)
    if is_plane(name):
        assert len(lines) == len(plane_of(paper).conventions)
    else:
        scenarios = [(sweep, device) for sweep in sweeps_of(paper) for device in sweep.devices]
        assert len(lines) == sum(len(sweep.places) for sweep, _ in scenarios)
    assert {line["agrees"] for line in lines} == {"yes"}
    assert {path.suffix for path in tmp_path.iterdir()} >= {".svg", ".pdf", ".png", ".json"}


def test_shares_above_the_png_line_are_counted_cut_by_cut() -> None:
    png_bits = plane_of("threestep2020-fig3").png_bits
    assert png_bits is not None

    def answers(cell: Cell) -> dict[str, Any]:
        # Cuts 0, 1, 2 of the partition are above the line, one is on it, none of BottleNet++.
        above = cell.method == "partition_huffman" and cut_number(cell) < 3
        bits = 2 * png_bits if above else png_bits
        return {"device_s": 1.0, "uplink_s": bits / 1e5, "uplink_bits": bits}

    facts = Facts.of(rows("threestep2020-fig3", answers))
    judged = judge(CLAIMS["T-f3.2"], facts)
    assert judged.ours == pytest.approx(300 / 9)
    assert judged.verdict == "deviates"
    assert judge(CLAIMS["T-f3.4"], facts).ours == 0.0
    assert judge(CLAIMS["T-f3.4"], facts).verdict == "reproduced"

    def all_above(cell: Cell) -> dict[str, Any]:
        return {"device_s": 1.0, "uplink_s": 1.0, "uplink_bits": 2 * png_bits}

    above = judge(CLAIMS["T-f3.4"], Facts.of(rows("threestep2020-fig3", all_above)))
    assert above.verdict == "deviates"
    assert above.deviation_text == "+100.0 points"  # of nothing there is no percentage


def test_what_is_saved_is_relative_to_the_image_and_to_the_partition_at_the_same_cut() -> None:
    png_bits = plane_of("cia2021-fig2").png_bits
    assert png_bits is not None

    def answers(cell: Cell) -> dict[str, Any]:
        cut = cut_number(cell, "cia2021-fig2")
        own = cell.method == "cia"
        return {
            "device_s": 1.0 + cut,
            "uplink_s": 1.0,
            "device_flops": 1000.0 * (cut + 1) * (0.5 if own and cut == 2 else 1.0),
            "encode_flops": 100.0 if own and cut == 2 else 0.0,
            "uplink_bits": png_bits * (0.25 if own and cut == 4 else 1.0),
        }

    facts = Facts.of(rows("cia2021-fig2", answers))
    assert judge(CLAIMS["A-f2-comm.2"], facts).ours == pytest.approx(75.0)
    # 3,000 of the partition against 1,500 and 100 of the encoder.
    assert judge(CLAIMS["A-f2-comp.2"], facts).ours == pytest.approx(100 * (1 - 1600 / 3000))


def saved_facts(broken: dict[int, str]) -> Facts:
    """CIA saves 90 % of the image at cut 4 and 75 % at cut 2; its floor is as given elsewhere."""
    png_bits = plane_of("cia2021-fig2").png_bits
    assert png_bits is not None
    left = {2: 0.25, 4: 0.1}

    def answers(cell: Cell) -> dict[str, Any]:
        cut = cut_number(cell, "cia2021-fig2")
        own = cell.method == "cia"
        return {
            "device_s": 1.0 if own else 2.0,
            "uplink_s": 1.0,
            "uplink_bits": png_bits * (left.get(cut, 1.0) if own else 1.0),
            "measured_accuracy": 0.7,
            "floor_held": broken.get(cut, "held") if own else "held",
        }

    return Facts.of(rows("cia2021-fig2", answers))


def test_what_becomes_of_a_claim_without_plans_that_broke_their_floor_is_told() -> None:
    judged = judge(CLAIMS["A-f2-comm.2"], saved_facts({4: "broken"}))
    # What was chosen decides; what its training showed stands beside it.
    assert (judged.verdict, judged.ours) == ("reproduced", pytest.approx(90.0))
    assert judged.without_broken is not None
    assert (judged.without_broken.verdict, judged.without_broken.ours) == (
        "deviates",
        pytest.approx(75.0),
    )
    assert judged.without_broken_text == "deviates, ours 75 %"


@pytest.mark.parametrize("floors", [{}, {2: "broken"}, {4: "undecided"}])
def test_plans_that_broke_their_floor_and_decide_nothing_are_not_told(
    floors: dict[int, str],
) -> None:
    judged = judge(CLAIMS["A-f2-comm.2"], saved_facts(floors))
    assert judged.ours == pytest.approx(90.0)
    assert judged.without_broken is None
    assert judged.without_broken_text == ""


def test_a_claim_that_hangs_on_broken_plans_alone_has_no_plan_without_them() -> None:
    facts = saved_facts(dict.fromkeys(range(7), "broken"))
    share = judge(CLAIMS["A-f2-pareto.3"], facts)
    assert (share.verdict, share.ours) == ("reproduced", 100.0)
    title = "With plans that broke their floor counted as none"
    told = (
        "undecided: cia on raspberry-pi-3 over rate[rate_bps=320000.0] infeasible: its plan broke "
        "the floor once trained"
    )
    assert f"{title}:\n  A-f2-pareto.3: {told}\n" in as_text([share], [], width=200)
    assert f"## {title}\n\n- A-f2-pareto.3: {told}\n" in as_markdown([share], [], "t")
    (data,) = as_data([share], [])["claims"]
    assert data["without_broken"]["verdict"] == "no plan"
    assert data["without_broken"]["ours"] is None
    assert "its plan broke the floor once trained" in data["without_broken"]["cause"]
    assert claim_view(share, {})["without_broken"] == f"{title}: {told}"


@pytest.mark.parametrize(("which", "told"), [("median", True), ("fastest", False)])
def test_of_several_seeds_the_plan_of_the_median_decides_whether_one_broke(
    which: str, told: bool
) -> None:
    last = max(cell.seed for cell in expand(load("cia2021-fig3"), Catalog()))
    broken_seed = {"median": (last + 1) // 2, "fastest": 0}[which]

    def answers(cell: Cell) -> dict[str, Any]:
        own = cell.method == "cia"
        broken = own and cell.device == "raspberry-pi-3" and cell.seed == broken_seed
        return {
            "device_s": 1.0 + 0.01 * cell.seed if own else 2.0,
            "measured_accuracy": 0.7,
            "floor_held": "broken" if broken else "held",
        }

    facts = Facts.of(rows("cia2021-fig3", answers))
    judged, other = judge(CLAIMS["A-f3.7"], facts), judge(CLAIMS["A-f3.6"], facts)
    assert (judged.verdict, other.verdict) == ("ordering holds", "ordering holds")
    assert (judged.without_broken is not None) == told
    assert other.without_broken is None


def test_early_cuts_are_the_first_quarter_and_the_worst_of_any_scheme_decides() -> None:
    matrix = "cia2021-fig2"
    png_bits = plane_of(matrix).png_bits
    assert png_bits is not None
    assert len(plane_of(matrix).conventions) == 7

    def saving(where: int, share: float) -> Facts:
        def answers(cell: Cell) -> dict[str, Any]:
            there = cut_number(cell, matrix) == where and cell.method == "bottlenet++"
            return {
                "device_s": 1.0,
                "uplink_s": 1.0,
                "uplink_bits": png_bits * (1 - share if there else 1.5),
            }

        return Facts.of(rows(matrix, answers))

    early = judge(CLAIMS["A-f2-pareto.4"], saving(1, 0.25))
    assert (early.verdict, early.ours) == ("deviates", pytest.approx(25.0))
    assert judge(CLAIMS["A-f2-pareto.4"], saving(2, 0.25)).verdict == "reproduced"
    assert judge(CLAIMS["A-f2-pareto.4"], saving(1, 0.05)).verdict == "reproduced"


@pytest.mark.parametrize("name", ["A-f2-comp.2", "A-f2-pareto.3"])
def test_a_claim_beside_baselines_that_have_no_answer_says_why_they_have_none(name: str) -> None:
    def answers(cell: Cell) -> dict[str, Any]:
        return {"device_s": 1.0, "uplink_s": 1.0, "nothing": cell.method != "cia"}

    judged = judge(CLAIMS[name], Facts.of(rows("cia2021-fig2", answers)))
    assert judged.verdict == "pending"
    assert " has no answer; " in judged.cause or " but cia has an answer; " in judged.cause
    assert "no plan within the floor" in judged.cause


def test_figures_with_claims_in_common_are_each_held_against_their_own() -> None:
    found = figures()
    own = {c.id for c in found["cia2021-fig2-resnet50"].claims()}
    assert own == {"A-f2-comm.1", "A-f2-comp.1", "A-f2-pareto.1", "A-f2-pareto.2"}
    assert {c.id for c in found["cia2021-fig2"].claims()} == {
        "A-f2-comm.2", "A-f2-comp.2", "A-f2-pareto.3", "A-f2-pareto.4",
    }  # fmt: skip
    assert {c.matrix for c in found["fig7"].claims()} <= {"fig7", ""}


def test_a_codec_is_a_share_of_the_whole_unpruned_network() -> None:
    def answers(cell: Cell) -> dict[str, Any]:
        cut, own = cut_number(cell), cell.method == "three_step"
        work = {"device_flops": 100.0 * cut, "server_flops": 1000.0 - 100.0 * cut}
        # The three-step method's network is pruned, its codec 4 + 1 at cut 2 and less elsewhere.
        return {
            "device_s": 1.0,
            "uplink_s": 1.0,
            **({name: 0.5 * value for name, value in work.items()} if own else work),
            "encode_flops": (4.0 if cut == 2 else 1.0) if own else 0.0,
            "decode_flops": 1.0 if own else 0.0,
        }

    judged = judge(CLAIMS["T-codec.1"], Facts.of(rows("threestep2020-fig3-harmonised", answers)))
    assert judged.ours == pytest.approx(0.5)
    assert judged.verdict == "reproduced"

    def pruned(cell: Cell) -> dict[str, Any]:
        return {**answers(cell), "server_flops": 500.0}

    unlike = judge(CLAIMS["T-codec.1"], Facts.of(rows("threestep2020-fig3-harmonised", pruned)))
    assert unlike.verdict == "pending"
    assert "does not leave its network as it is at every cut" in unlike.cause


def test_the_longest_latency_below_a_rate_is_in_seconds() -> None:
    def answers(cell: Cell) -> dict[str, Any]:
        rate_bps = float(cell.link.partition("=")[2].rstrip("]"))
        steep = 1e4 if cell.method == "three_step" else 1e5
        return {"device_s": 0.02, "uplink_s": steep / rate_bps}

    facts = Facts.of(rows("threestep2020-fig4", answers))
    longest = judge(CLAIMS["T-f4.1"], facts)
    assert longest.ours == pytest.approx(0.02 + 1e4 / 8e3)
    assert "resnet18" in longest.conditions
    assert "standing in" not in longest.conditions
    assert judge(CLAIMS["T-f4.2"], facts).verdict == "ordering holds"


def test_a_sweep_over_floors_keeps_every_floor_apart(tmp_path: Path) -> None:
    def answers(cell: Cell) -> dict[str, Any]:
        base = {"neurosurgeon": 4.0, "cpcdrl": 2.0}.get(cell.method, 3.0)
        return {"device_s": base - 10 * cell.max_accuracy_loss}

    found = rows("cpcdrl2024-fig4", answers)
    facts, sweep = Facts.of(found), sweep_of("cpcdrl2024-fig4")
    assert sweep.unit == "points"
    assert [place.x for place in sweep.places] == [0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0]
    (device,) = sweep.devices
    seen = [point(facts, sweep, device, place, "cpcdrl").median_s for place in sweep.places]
    assert seen == pytest.approx([2.0, 1.95, 1.9, 1.8, 1.7, 1.5, 1.2])
    assert judge(CLAIMS["C-f4a.1"], facts).ours == pytest.approx((4.0 - 0.1) / (2.0 - 0.1))
    assert judge(CLAIMS["C-f4a.2"], facts).ours == pytest.approx((4.0 - 0.3) / (2.0 - 0.3))
    assert judge(CLAIMS["C-f4a.4"], facts).ours == pytest.approx(3.0 / 2.0)
    assert judge(CLAIMS["C-head.2"], facts).ours == pytest.approx((4.0 - 0.8) / (2.0 - 0.8))
    assert judge(CLAIMS["C-f4b.1"], facts).ours == pytest.approx(2.0 / 1.9)
    assert judge(CLAIMS["C-f4b.2"], facts).verdict == "deviates"
    # A plan that one floor admits another may not: nothing is moved between them.
    panels = rate_figures.points(facts, sweep)
    assert best_known(facts, sweep, panels[device]) == {}
    files = rate_figures.write(facts, tmp_path, "cpcdrl2024-fig4", "t")
    table = next(path for path in files if path.suffix == ".csv")
    lines = list(csv.DictReader(io.StringIO(table.read_text())))
    assert {float(line["max_accuracy_loss"]) for line in lines} == {
        place.max_accuracy_loss for place in sweep.places
    }


@pytest.mark.parametrize(
    ("per_point", "beyond", "verdict"),
    [
        (0.4, 0.1, "ordering holds"),  # steeper up to a point lost than beyond
        (0.1, 0.4, "deviates"),
        (0.2, 0.2, "deviates"),  # a straight line has no turn
        (0.2, 0.0, "ordering holds"),
        (0.0, 0.0, "deviates"),
    ],
)
def test_a_bend_is_steeper_before_its_turn(per_point: float, beyond: float, verdict: str) -> None:
    def answers(cell: Cell) -> dict[str, Any]:
        lost = 100 * cell.max_accuracy_loss
        fallen = per_point * min(lost, 1.0) + beyond * max(0.0, lost - 1.0)
        return {"device_s": float(np.exp(-fallen))}

    judged = judge(CLAIMS["C-f4b.3"], Facts.of(rows("cpcdrl2024-fig4", answers)))
    assert judged.verdict == verdict


def test_growth_is_the_last_latency_over_the_first() -> None:
    """Tang et al. 2024, Fig. 4(b): latency rises with what may be lost beyond a point."""

    def answers(cell: Cell) -> dict[str, Any]:
        lost = 100 * cell.max_accuracy_loss
        return {"device_s": 1.0 + max(1.0 - lost, 0.5 * (lost - 1.0))}

    judged = judge(CLAIMS["C-f4b.2"], Facts.of(rows("cpcdrl2024-fig4", answers)))
    assert judged.verdict == "ordering holds"
    assert [used.value for used in judged.used] == [pytest.approx(1.0 + 0.5 * 7.0)]


def test_latencies_that_grow_less_with_the_accuracy_asked_for() -> None:
    def answers(cell: Cell) -> dict[str, Any]:
        slope = {"cpcdrl": 0.01, "greedy": 0.02, "amc": 0.005}.get(cell.method, 0.0)
        return {"device_s": 1.0 - slope * 100 * cell.max_accuracy_loss}

    facts = Facts.of(rows("cpcdrl2024-fig5", answers))
    assert judge(CLAIMS["C-f5a.6"], facts).verdict == "ordering holds"
    assert judge(CLAIMS["C-f5a.7"], facts).verdict == "deviates"
    assert judge(CLAIMS["C-f5b.1"], facts).ours == pytest.approx(0.97 / 0.92)
    assert judge(CLAIMS["C-f5a.1"], facts).ours == pytest.approx(1e3 * 0.98)
    # At 8 points the greedy partition is ahead.
    assert judge(CLAIMS["C-head.1"], facts).ours == pytest.approx(0.84 / 0.92)


def through_noise(cell: Cell) -> dict[str, Any]:
    """The input takes 20, the feature 40, source codes 2, joint codes 2.1 and then 1.5."""
    joint = 2.1 if cell.snr_db == 0 or "0.25" in cell.link else 1.5
    sent = {"all_server": 20.0, "neurosurgeon": 40.0, "three_step": 2.0}
    return {"uplink_s": 1e-3 * sent.get(cell.method, joint)}


def test_one_matrix_may_sweep_over_snrs_and_over_flipped_bits(tmp_path: Path) -> None:
    over_snrs, over_flips = sweeps_of("threestep2020-fig5")
    assert (over_snrs.unit, over_flips.unit) == ("dB", "flips")
    assert over_snrs.bandwidth_hz == 1e6
    assert [place.x for place in over_flips.places][:3] == [0.0, 0.01, 0.02]
    assert over_flips.text(0.01) == "p = 0.01"
    # Each has the joint codes that are trained through its channel, and the input a cut of its own.
    assert over_snrs.methods[-1] == "three_step[coding=jscc]"
    assert over_flips.methods[-1] == "three_step[coding=jscc-bsc]"
    (device,) = over_snrs.devices
    place = over_snrs.places[0]
    assert over_snrs.case(device, place, "all_server").convention == "threestep2020[cut=input]"
    assert over_snrs.case(device, place, "three_step").convention == over_snrs.convention
    with pytest.raises(CoinferError, match="over SNRs and flipped bits; a sweep has one"):
        sweep_of("threestep2020-fig5")

    found = rows("threestep2020-fig5", through_noise)
    facts = Facts.of(found)
    for stem, over in (("T-f5a", "dB"), ("T-f5b", "flips")):
        against_source = judge(CLAIMS[f"{stem}.1"], facts)
        assert against_source.ours == pytest.approx(2.0 / 2.1)
        assert against_source.verdict == "reproduced"
        assert judge(CLAIMS[f"{stem}.2"], facts).ours == pytest.approx(20.0 / 2.1)
        assert judge(CLAIMS[f"{stem}.3"], facts).ours == pytest.approx(40.0 / 2.1)
        words = "11 SNRs from 0 to 30 dB" if over == "dB" else "8 shares of flipped bits from 0 to"
        assert words in against_source.conditions

    def silent(cell: Cell) -> dict[str, Any]:
        return {"nothing": cell.method == "three_step[coding=jscc]", **through_noise(cell)}

    silent_rows = rows("threestep2020-fig5", silent)
    no_plan = judge(CLAIMS["T-f5a.1"], Facts.of(silent_rows))
    assert no_plan.verdict == "no plan"
    assert "infeasible: no plan within" in no_plan.cause
    # What is known of why stands beside it.
    why = replace(CLAIMS["T-f5a.1"], note="codes want training")
    told = judge(why, Facts.of(silent_rows)).cause
    assert told == f"{no_plan.cause}; codes want training"
    assert judge(CLAIMS["T-f5b.1"], Facts.of(silent_rows)).verdict == "reproduced"
    slower = [one for one in found if one.cell.snr_db is None or one.cell.snr_db > 0]
    assert judge(CLAIMS["T-f5a.1"], Facts.of(slower)).verdict == "pending"

    noise.write(facts, tmp_path, "threestep2020-fig5", "t")
    table = (tmp_path / "threestep2020-fig5.csv").read_text()
    lines = list(csv.DictReader(io.StringIO(table)))
    assert len(lines) == len(found)
    assert {line["panel"] for line in lines if line["snr_db"]} == {"a"}
    assert {line["panel"] for line in lines if line["flip_probability"]} == {"b"}
    with house_style():
        drawn = noise.draw(noise.panels(facts, "threestep2020-fig5"), "threestep2020-fig5")
    assert [axis.get_xlabel() for axis in drawn.axes] == [
        *("SNR (dB)", "Probability that a bit is flipped"),
    ]
    for name, sent in (("threestep2020-fig5", "PNG"), ("threestep2020-fig5-harmonised", "8 bits")):
        with house_style():
            shown = noise.draw(noise.panels(Facts.of(rows(name, through_noise)), name), name)
        labels = [text.get_text() for legend in shown.legends for text in legend.get_texts()]
        assert any(label.startswith(f"input, {sent}") for label in labels)
    told = " ".join(noise.footnote(noise.panels(facts, "threestep2020-fig5"), "x"))
    assert "cut after layer3.1.relu_1 (the paper: behind Conv_4x)" in told
    assert "states no symbol rate for its binary symmetric channel" in told


def test_cia_is_compared_at_one_cut_and_within_a_point() -> None:
    """Zhang et al. 2021, IV-C and IV-D: behind Conv_4x; more than 1 % lost is excluded."""
    sweep = sweep_of("cia2021-fig3")
    assert sweep.convention == "cia2021[cut=features.9]"
    assert sweep.apart == {
        "all_local": "cia2021[cut=classifier.4]",
        "all_server": "cia2021[cut=input]",
    }
    assert {place.max_accuracy_loss for place in sweep.places} == {0.01}
    assert plane_of("cia2021-fig2").max_accuracy_loss == 0.01

    def answers(cell: Cell) -> dict[str, Any]:
        return {"device_s": {"all_local": 1.0, "all_server": 3.0, "cia": 1.5}.get(cell.method, 2.0)}

    found = rows("cia2021-fig3", answers)
    for claim in ("A-f3.6", "A-f3.7", "A-f3.8"):
        assert judge(CLAIMS[claim], Facts.of(found)).verdict == "ordering holds"
    facts = Facts.of(rows("cia2021-fig2", answers))
    assert all(
        p.median is not None for own in plane_of("cia2021-fig2").points(facts).values() for p in own
    )
    told = " ".join(rate_figures.footnote(sweep, rate_figures.points(Facts.of(found), sweep), "x"))
    assert "convention cia2021[cut=features.9], at most 1 point lost." in told
    assert best_known(Facts.of(found), sweep, panels_of(found)) == {}


def panels_of(found: list[Row]) -> list[rates.Point]:
    sweep = sweep_of("cia2021-fig3")
    return rates.panel(Facts.of(found), sweep, sweep.devices[0])


def test_rates_and_floors_are_not_swept_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = load("cpcdrl2024-fig4")
    mixed = Matrix(**{**vars(both), "links": (*both.links, "3g")})
    monkeypatch.setattr(rates, "load", lambda name: mixed)
    with pytest.raises(CoinferError, match="over links and accuracy floors; a sweep has one"):
        sweep_of.__wrapped__("mixed")


def test_a_network_says_which_one_it_stands_for() -> None:
    assert network_text("alexnet-cifar") == "alexnet-cifar (the paper's is AlexNet)"
    assert network_text("alexnet") == "alexnet"
    told = "alexnet-cifar, standing in for the paper's ResNet-18"
    assert network_text("alexnet-cifar", "threestep2020[cut=features.2]") == told
    assert network_text("resnet18", "threestep2020") == "resnet18"
    assert network_text("vgg16", "cpcdrl2024") == "vgg16"
    assert network_text("alexnet-cifar", "harmonised") == "alexnet-cifar"


def test_planes_of_rules_that_send_the_image_have_its_line() -> None:
    axes = plane_of("threestep2020-fig3")
    assert axes.png_ms == pytest.approx(1e3 * 18084.75 / 320000)
    assert plane_of("fig9").png_ms is None
    facts = Facts.of(rows("threestep2020-fig3", lambda cell: {"device_s": 0.1, "uplink_s": 0.2}))
    with house_style():
        drawn = plane.draw(axes, axes.points(facts), "threestep2020-fig3")
    (panel,) = drawn.axes
    level = [line for line in panel.get_lines() if set(line.get_ydata()) == {axes.png_ms}]
    assert len(level) == 1


curves = st.lists(st.floats(-50, 50), min_size=1, max_size=60).map(np.array)


@given(curves, st.integers(1, 70))
def test_an_averaged_curve_is_that_of_the_definition(values: Any, window: int) -> None:
    slow = [np.mean(values[max(0, i + 1 - window) : i + 1]) for i in range(len(values))]
    assert averaged(values, window) == pytest.approx(np.array(slow), abs=1e-9)


@given(curves)
def test_after_it_has_settled_a_curve_stays_near_its_end(values: Any) -> None:
    last = values[-max(1, len(values) // 4) :].mean()
    band = 0.1 * abs(last - values.min())
    first = settles(values)
    assert (np.abs(values[first - 1 :] - last) <= band + 1e-9).all()
    assert first == 1 or abs(values[first - 2] - last) > band


def test_a_step_settles_where_it_rises() -> None:
    assert settles(np.array([0.0] * 75 + [1.0] * 225)) == 76


def learnt(model: str, reward: Any, accuracy: Any = None) -> Curves:
    """Made-up searches on a network, the floor at 74.84 %."""
    seen = 0.7 + reward / 100 if accuracy is None else accuracy
    return Curves(model, reward, np.exp(-reward / 10), seen, 0.7484)


def test_learning_curves_are_written_seed_by_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rising = np.stack([np.linspace(-1, 2, 40) + rng.normal(0, 0.01, 40) for _ in range(3)])
    found = (learnt("mobilenet_v1", rising), learnt("vgg16", 2 * rising))
    files = learning.write(tmp_path, "x", "t", found)
    assert {path.suffix for path in files} == {".svg", ".pdf", ".png", ".csv"}
    lines = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert [line["model"] for line in lines] == ["mobilenet_v1"] * 120 + ["vgg16"] * 120
    again = np.array([float(line["reward"]) for line in lines]).reshape(2, 3, 40)
    assert (again == np.stack([rising, 2 * rising])).all()
    told = " ".join(learning.told(found, "x"))
    assert f"from episode {found[0].together} on" in told
    assert min(found[0].settled) > 40  # a reward that rises to the end has not settled
    assert told.count("in 0 of 3 single seeds.") == 2
    assert "3 seeds, 40 episodes" in told


def test_a_reward_that_never_settles_is_said_not_to() -> None:
    rng = np.random.default_rng(0)
    reward = np.stack([np.repeat([0.0, 1.0], 20), rng.normal(0, 1, 40), rng.normal(0, 1, 40)])
    reward[1:, -1] = 30.0
    found = learnt("vgg16", reward, np.full((3, 40), 0.7))
    assert sum(episode > 40 for episode in found.settled) == 2
    told = " ".join(learning.told([found], "x"))
    assert "in 1 of 3 single seeds" in told
    assert "0 of 120 episodes saw a plan that keeps to it" in told
    with house_style():
        axes = learning.draw([found], "x").axes
    assert [axis.get_yscale() for axis in axes] == ["linear", "log", "linear"]
    # The reward is drawn as it is, and the floor beside the accuracies.
    assert axes[0].get_lines()[0].get_ydata()[-1] == pytest.approx(
        np.median([averaged(one)[-1] for one in reward])
    )
    assert list(axes[2].get_lines()[-1].get_ydata()) == pytest.approx([74.84] * 2)


def test_searches_are_the_same_in_any_number_of_processes() -> None:
    (alone,) = learning.searched(("alexnet-cifar",), seeds=1, quiet=True)
    (together,) = learning.searched(("alexnet-cifar",), seeds=2, jobs=2, quiet=True)
    assert together.reward.shape == (2, 300)
    for name in ("reward", "latency_s", "accuracy"):
        first, second = getattr(together, name)
        assert np.array_equal(getattr(alone, name)[0], first)
        assert not np.array_equal(first, second)
    assert alone.floor == together.floor


def test_the_slower_network_says_when_rewards_are_stable() -> None:
    """Tang et al. 2024, Fig. 3: both rewards are stable from about episode 75 on."""
    early, late = (np.tile(np.repeat([0.0, 1.0], [n, 300 - n]), (3, 1)) for n in (40, 66))
    claim = CLAIMS["C-f3.1"]
    found = {"mobilenet_v1": learnt("mobilenet_v1", early), "vgg16": learnt("vgg16", late)}
    judged = judge(claim, replace(Facts.of([]), searches=found))
    assert judged.ours == found["vgg16"].together > found["mobilenet_v1"].together
    assert judged.verdict == "reproduced"
    assert judged.evidence == "analytic, predicted"
    assert "3 seeds, 300 episodes" in judged.conditions
    alone = judge(claim, replace(Facts.of([]), searches={"vgg16": found["vgg16"]}))
    assert alone.verdict == "pending"
    assert "`coinfer reproduce cpcdrl2024-fig3` searches" in alone.cause


def test_a_claim_is_shown_on_the_page_of_the_figure_that_it_is_held_against() -> None:
    for name in ("cia2021-fig2", "cia2021-fig2-resnet50", "threestep2020-fig1", "fig7"):
        claims = figures()[name].claims()
        assert claims
        assert {figure_of(claim) for claim in claims} == {name}
