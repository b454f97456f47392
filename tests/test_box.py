"""The box of plans: points, decisions, plans and features say the same, for every family."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from functools import cache
from math import floor, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.families import FAMILIES, block_cuts
from coinfer.accuracy.sampling import corners
from coinfer.accuracy.variables import (
    Variable,
    chosen,
    unit_of_chosen,
    unit_of_whole,
    unit_of_width,
    whole,
    width,
)
from coinfer.compression.codecs import CODECS
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.flops import RULES
from coinfer.plan import CutRef, Plan, Task
from coinfer.refs import parse_ref
from coinfer.tasks import make_task
from methods.worlds import one_layer_task, small_task
from tests.graphs import chain

MODELS = ("alexnet", "alexnet-cifar", "regnet_x_400mf-cifar")
KINDS = ("conv", "fc")  # of layers that make channels


@cache
def task(model: str) -> Task:
    return small_task(groups=True) if model == "small" else make_task(model, groups=True)


@cache
def box(model: str, family: str, **options: bool) -> Box:
    return search_box(task(model), family, **options)


def points(box: Box, count: int, seed: int = 0) -> np.ndarray:
    """Random points, with corners of the cube among their coordinates."""
    rng = np.random.default_rng(seed)
    u = rng.random((count, box.dimension))
    ends = rng.random(u.shape) < 0.2
    u[ends] = rng.integers(0, 2, ends.sum())
    return u


EVERY = [(model, family) for model in (*MODELS, "small") for family in FAMILIES]


# What the papers say of the box.


def test_alexnet_has_the_sixteen_variables_of_the_paper() -> None:
    found = box("alexnet", "qho")
    layers = ("features.0", "features.3", "features.6", "features.8", "features.10")
    fully_connected = ("classifier.1", "classifier.4")
    assert found.names == (
        *(f"sparsity[{layer}]" for layer in (*layers, *fully_connected)),
        "cut",
        *(f"P{k}" for k in range(1, 9)),
    )
    assert found.dimension == 16


@pytest.mark.parametrize("model", ["alexnet", "alexnet-cifar"])
def test_alexnet_is_cut_behind_pools_relus_and_fully_connected_layers(model: str) -> None:
    found = box(model, "qho")
    graph = found.space.graph
    kinds = [graph.layers[cut.index - 1].kind for cut in found.cuts]
    assert kinds == [*["maxpool"] * 2, *["activation"] * 2, "maxpool", *["fc"] * 3]
    # relu3 and relu4: those of the third and the fourth convolution.
    convs = [layer.name for layer in graph.layers if layer.kind == "conv"]
    read = [graph.layers[graph.layers[cut.index - 1].inputs[0]].name for cut in found.cuts[2:4]]
    assert read == convs[2:4]
    assert [cut.kind for cut in found.cuts] == [*["interior"] * 7, "output"]


def test_regnet_has_a_sparsity_per_block_and_cuts_after_the_stem_and_every_block() -> None:
    found = box("regnet_x_400mf-cifar", "qho")
    assert found.dimension == 22 + 1 + 8
    groups = [found.space.groups[found.space.index(name)] for (name,) in found.rates]
    assert {group.unit_channels for group in groups} == {16}
    assert [".".join(g.name.split(".")[:3]) for g in groups] == [
        f"trunk_output.block{stage}.block{stage}-{block}"
        for stage, blocks in ((1, 1), (2, 2), (3, 7), (4, 12))
        for block in range(blocks)
    ]
    assert len(found.cuts) == 1 + 22 + 1
    assert found.cuts[0].shape[0] == 32  # the stem's, never pruned
    kept = found.decide(np.ones((1, found.dimension))).kept[0]
    assert kept[found.space.index("stem.0")] == 32


@pytest.mark.parametrize(
    ("family", "count"),
    [
        *[("qho", 16), ("noise", 17), ("prune-partition", 8), ("fpgm", 2), ("two-step", 3)],
        *[("cia", 10), ("cpcdrl", 8)],
        *[("three-step", 10), ("three-step-jscc", 11), ("ipdr", 10), ("paa", 11), ("quantised", 2)],
        ("three-step-bsc", 11),
    ],
)
def test_number_of_variables(family: str, count: int) -> None:
    assert box("alexnet", family).dimension == count


@pytest.mark.parametrize("model", ["alexnet-cifar", "vgg16", "mobilenet_v1", "small"])
def test_cpcdrl_prunes_every_group_of_the_device_and_no_other(model: str) -> None:
    """A group goes with its last filter: a depthwise convolution's is where it is computed."""
    found = box(model, "cpcdrl")
    graph = found.space.graph
    makers = {
        layer.name: place for place, layer in enumerate(graph.layers, 1) if layer.kind in KINDS
    }
    last = [max(makers.get(name, 0) for name in group.members) for group in found.space.groups]
    u = np.ones((len(found.cuts), found.dimension))
    u[:, -1] = unit_of_whole(np.arange(len(found.cuts)), 0, len(found.cuts) - 1)
    decisions = found.decide(u)
    device = np.array(last) <= np.array([cut.index for cut in found.cuts])[:, None]
    assert (decisions.kept < found.space.full).tolist() == device.tolist()
    assert device[-1].all()
    assert not device[:-1].all()
    full = found.space.flops(found.space.full)[0]
    for row, cut in enumerate(found.cuts[:-1]):  # behind the reader of what crosses, all is whole
        work = found.space.flops(decisions.kept[row])[0]
        reader = next(n for n in range(cut.index, len(graph)) if graph.layers[n].kind in KINDS)
        assert work[reader + 1 :].tolist() == full[reader + 1 :].tolist()


def test_a_plan_that_prunes_the_servers_side_is_none_of_cpcdrl() -> None:
    found = box("alexnet-cifar", "cpcdrl")
    (plan,) = found.plans(found.decide(np.array([[0.5] * 7 + [0.3]])))
    assert [name for name, _ in plan.keep] == ["features.0", "features.3", "features.6"]
    with pytest.raises(CoinferError, match="it prunes 'classifier.0'; accepted: 'features.0', "):
        found.read([replace(plan, keep=(("classifier.0", 5), *plan.keep))])


def test_quantised_plans_are_the_network_as_it_is_in_a_few_bits() -> None:
    found = box("alexnet-cifar", "quantised")
    every = found.every()
    assert every is not None
    plans = found.plans(every)
    assert len(plans) == len({plan.hash for plan in plans}) == 7 * 8 + 1
    assert found.unchanged(every).tolist() == [plan.unchanged for plan in plans]
    assert sum(plan.unchanged for plan in plans) == 1  # where nothing is sent
    drawn = found.plans(found.decide(points(found, 500)))
    assert set(drawn) == set(plans)
    assert all(box("small", family).every() is None for family in FAMILIES if family != found.name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coder": "huffman[bits=9]"}, "coder is 'huffman[bits=9]'; accepted: huffman[bits=1], "),
        ({"coder": "huffman"}, "its coder is 'huffman'"),  # one plan has one name
        ({"coder": "float32"}, "its coder is 'float32'"),
        ({"codec": "linear[hidden=2,width=1]"}, "its codec is 'linear[hidden=2,width=1]'"),
        ({"keep": (("conv1", 2),)}, "it prunes 'conv1'; accepted: none"),
    ],
)
def test_what_is_no_quantised_plan_is_refused(change: dict[str, Any], words: str) -> None:
    found = box("small", "quantised")
    plan = Plan("small", CutRef(2, "maxpool2"), coder="huffman[bits=3]")
    assert found.read([plan]).codec.tolist() == [[3]]
    with pytest.raises(CoinferError) as error:
        found.read([replace(plan, **change)])
    assert words in str(error.value)


def test_cut_zero_is_there_when_asked_for() -> None:
    usual, more = box("alexnet", "qho"), box("alexnet", "qho", input_cut=True)
    assert more.cuts == (task("alexnet").graph.cuts[0], *usual.cuts)
    number = more.names.index("cut")
    u = np.full((1, 16), 0.5)
    for u[0, number], cut in ((0.0, 0), (1.0, 8)):
        assert more.features(more.decide(u))[0, number] == cut
    assert usual.features(usual.decide(u))[0, number] == 8


def test_blocks_end_before_averaging_over_whole_maps() -> None:
    graph = chain(
        (1, 8, 8),
        *(("conv", 4, 3, 1, 1), ("norm",), ("relu",), ("avgpool", 2), ("dropout",)),
        *(("conv", 4, 3, 1, 1), ("relu",), ("avgpool", 4), ("flatten",)),
        *(("fc", 6), ("relu",), ("fc", 2), ("relu",)),
    )
    names = ["avgpool4", "relu7", "fc10", "relu13"]
    assert [cut.after for cut in block_cuts(graph)] == names


# The maps from the unit cube.


def reference(found: Box, u: list[float]) -> tuple[dict[str, int], str, list[int]]:
    """The qho decisions of one point, written down one by one."""
    space = found.space
    keep = {}
    for share, (name,) in zip(u, found.rates, strict=False):
        units = space.groups[space.index(name)].units
        keep[name] = max(1, units - floor(0.9 * share * units + 1e-9))
    place = len(found.rates)
    cut = found.cuts[min(len(found.cuts) - 1, floor(u[place] * len(found.cuts)))]
    kept = space.keep_vector(list(keep.items()))
    at = [c.after for c in space.graph.cuts].index(cut.after)
    elements = int(space.elements(kept)[0, at])
    p = u[place + 1 :]

    def log_uniform(share: float, most: int) -> int:
        return min(most, floor((most + 1) ** share))

    row = [0] * 8
    positions = cut.shape[1] * cut.shape[2] if len(cut.shape) == 3 else 1
    if cut.kind == "interior" and positions > 1:
        channels = elements // positions
        row[0] = log_uniform(p[0], channels)
        row[1], row[4] = ((1, 3, 5)[min(2, floor(3 * p[k]))] for k in (1, 4))
        row[2], row[5] = ((1, 2)[min(1, floor(2 * p[k]))] for k in (2, 5))
        row[3] = log_uniform(p[3], row[0])
        if row[2] == row[5] == 1 and row[3] == channels:  # as large as what crosses
            row[:6] = [channels, 1, 1, channels, 1, 1]
    elif cut.kind == "interior":
        row[6] = log_uniform(p[6], elements)
        row[7] = log_uniform(p[7], row[6])
    return keep, cut.after, row


@pytest.mark.parametrize("model", ["alexnet", "alexnet-cifar", "regnet_x_400mf-cifar"])
def test_decisions_are_those_of_the_written_rule(model: str) -> None:
    found = box(model, "qho")
    u = points(found, 200)
    decisions = found.decide(u)
    for row in range(len(u)):
        keep, after, codec = reference(found, u[row].tolist())
        kept = found.space.keep_vector(list(keep.items()))
        assert decisions.kept[row].tolist() == kept.tolist()
        assert found.cuts[decisions.cut[row]].after == after
        assert decisions.codec[row].tolist() == codec


def test_widths_are_log_uniform_and_whole_numbers_equally_likely() -> None:
    u = (np.arange(100_000) + 0.5) / 100_000
    shares = np.bincount(width(u, 4), minlength=5)[1:] / len(u)
    expected = [log((v + 1) / v) / log(5) for v in (1, 2, 3, 4)]
    np.testing.assert_allclose(shares, expected, atol=2e-5)
    assert np.bincount(whole(u, 3, 7)).tolist() == [0, 0, 0, *[20_000] * 5]
    ends = np.array([0.0, 1.0])
    assert width(ends, 4096).tolist() == [1, 4096]
    assert whole(ends, 3, 7).tolist() == [3, 7]
    assert chosen(ends, (1, 3, 5)).tolist() == [1, 5]


@pytest.mark.parametrize("most", [1, 2, 384, 9216])
def test_inverses_hit_every_value(most: int) -> None:
    values = np.arange(1, most + 1)
    assert (width(unit_of_width(values, most), most) == values).all()
    assert (whole(unit_of_whole(values, 1, most), 1, most) == values).all()
    three = np.array([1, 3, 5])
    assert (chosen(unit_of_chosen(three, (1, 3, 5)), (1, 3, 5)) == three).all()


@pytest.mark.parametrize(("model", "family"), EVERY)
def test_points_plans_and_features_agree(model: str, family: str) -> None:
    found = box(model, family)
    decisions = found.decide(points(found, 60))
    plans = found.plans(decisions)
    read = found.read(plans)
    # Features are a function of the plan, and a point found for a plan leads back to it.
    assert found.features(read).tolist() == found.features(decisions).tolist()
    assert found.plans(found.decide(found.units(read))) == plans
    assert [Plan.from_data(vars_of(plan)) for plan in plans] == list(plans)


def vars_of(plan: Plan) -> object:
    from coinfer.serial import to_data

    return to_data(plan)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_by_one_is_as_in_a_batch(family: str) -> None:
    found = box("alexnet-cifar", family)
    u = points(found, 40)
    together = found.features(found.decide(u))
    alone = [found.features(found.decide(row[None]))[0].tolist() for row in u]
    assert together.tolist() == alone


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_equal_plans_have_equal_features_and_others_have_others(seed: int) -> None:
    found = box("small", "qho")
    decisions = found.decide(points(found, 200, seed))
    unchanged = [plan.unchanged for plan in found.plans(decisions)]
    assert found.unchanged(decisions).tolist() == unchanged
    hashes = [plan.hash for plan in found.plans(decisions)]
    rows = [row.tobytes() for row in found.features(decisions)]
    assert len(set(hashes)) == len(set(rows)) == len(set(zip(hashes, rows, strict=True)))


@pytest.mark.parametrize(("model", "family"), EVERY)
def test_counted_code_and_work_are_the_codecs_own(model: str, family: str) -> None:
    found = box(model, family)
    decisions = found.decide(points(found, 60, seed=3))
    sent = found.elements(decisions)
    crossing = found.crossing(decisions.kept, decisions.cut)
    work = {name: found.codec.work(decisions.codec, crossing, name) for name in RULES}
    codecs = {codec.name: codec for codec in CODECS}  # type: ignore[attr-defined]
    for row, plan in enumerate(found.plans(decisions)):
        full = task(model).graph.cut(plan.cut.after).shape
        shape = (
            (int(crossing.channels[row]), *full[1:])
            if len(full) == 3
            else (int(crossing.elements[row]),)
        )
        ref = parse_ref(plan.codec)
        codec = None if ref.name == "identity" else codecs[ref.name](**ref.arguments)
        assert sent[row] == np.prod(shape if codec is None else codec.code_shape(shape))
        for name, (encode, decode) in work.items():
            expected = (0, 0) if codec is None else codec.work(shape, name)
            assert (encode[row], decode[row]) == expected


def test_bottlenet_halves_maps_and_takes_powers_of_two() -> None:
    found = box("alexnet-cifar", "bottlenet++")
    assert all(len(cut.shape) == 3 and cut.kind == "interior" for cut in found.cuts)
    decisions = found.decide(points(found, 300))
    (codec,) = (codec for codec in CODECS if codec.name == "bottlenet++")  # type: ignore[attr-defined]
    channels = set()
    for row, plan in enumerate(found.plans(decisions)):
        options = parse_ref(plan.codec).arguments
        shape = task("alexnet-cifar").graph.cut(plan.cut.after).shape
        assert found.elements(decisions)[row] == np.prod(codec(**options).code_shape(shape))
        assert options["channels"] <= shape[0]
        channels.add(options["channels"])
        assert plan.keep == ()
    assert channels == {2**power for power in range(9)}


def test_cia_prunes_its_autoencoder_like_the_layers_of_the_device_and_nothing_behind() -> None:
    found = box("alexnet-cifar", "cia")
    graph = task("alexnet-cifar").graph
    order = [layer.name for layer in graph.layers]
    assert {cut.kind for cut in found.cuts} == {"interior"}
    nothing, half = (np.full((len(found.cuts), found.dimension), u) for u in (0.0, 0.5 / 0.9))
    for u in (nothing, half):
        u[:, found.names.index("cut")] = unit_of_whole(np.arange(7), 0, 6)
    whole_plans, half_plans = (found.plans(found.decide(u)) for u in (nothing, half))
    for unpruned, pruned in zip(whole_plans, half_plans, strict=True):
        # A 1/8 of the channels, then a 1/4 of the elements: 128 times fewer of maps.
        cut = graph.cut(unpruned.cut.after)
        (codec,) = (c for c in CODECS if c.name == parse_ref(unpruned.codec).name)  # type: ignore[attr-defined]
        assert unpruned.keep == ()
        options = parse_ref(unpruned.codec).arguments
        final = {"final": options["final"]} if "final" in options else {}
        assert codec(**options).code_shape(cut.shape) == codec(**final).code_shape(cut.shape)
        # Half of it stays, though half of the channels that it reads are gone.
        kept = parse_ref(pruned.codec).arguments
        for name in {"channels", "width"} & set(options):
            assert kept[name] == options[name] - options[name] // 2
        assert {name for name, _ in pruned.keep} == {
            name for (name,) in found.rates if order.index(name) < cut.index
        }


def test_cia_refuses_what_its_server_or_its_codec_cannot_have_lost() -> None:
    found = box("alexnet-cifar", "cia")
    u = np.zeros((1, found.dimension))
    (plan,) = found.plans(found.decide(u))
    assert plan.codec == "cia-conv[channels=8,width=8]"
    with pytest.raises(CoinferError, match=r"it prunes 'features.3'; accepted: 'features.0'$"):
        found.read([replace(plan, keep=(("features.3", 9),), criterion="l1", schedule="one-shot")])
    for codec in ("cia-conv", "cia-conv[channels=9,width=8]", "cia-conv[channels=8,width=9]"):
        with pytest.raises(CoinferError, match=r"accepted at most is 'cia-conv\[channels=8"):
            found.read([replace(plan, codec=codec)])
    with pytest.raises(CoinferError, match="accepted at this cut is 'cia-conv'"):
        found.read([replace(plan, codec="cia-linear[width=8]")])


def test_no_codec_where_it_would_not_narrow_unless_a_channel_follows() -> None:
    found, noisy = box("alexnet", "qho"), box("alexnet", "noise")
    widest = np.array([float(v.log) for v in found.variables])
    for place, cut in enumerate(found.cuts):
        u = widest.copy()
        u[found.names.index("cut")] = unit_of_whole(place, 0, len(found.cuts) - 1)
        (plan,) = found.plans(found.decide(u[None]))
        (other,) = noisy.plans(noisy.decide(np.append(u, 0.2)[None]))
        assert plan.codec == "identity"
        assert plan.unchanged
        assert plan.cut.after == other.cut.after == cut.after
        if cut.kind == "output":  # nothing is sent
            assert other == plan
        else:
            assert parse_ref(other.codec).name in ("conv", "linear")
            assert parse_ref(other.codec).arguments["code_activation"] == "tanh"
            assert other.channel == "awgn[snr_db=10.0]"


def test_decoders_end_in_relu_only_where_what_crosses_is_not_negative() -> None:
    found = box("alexnet", "qho")
    plans = found.plans(found.decide(points(found, 200)))
    for plan in plans:
        ref = parse_ref(plan.codec)
        if ref.name != "identity":
            final = ref.arguments.get("final", "relu")
            assert final == ("none" if plan.cut.after.startswith("classifier") else "relu")


def test_two_step_prunes_the_layer_before_the_cut_again() -> None:
    found = box("alexnet", "two-step")
    cut = unit_of_whole(1, 0, len(found.cuts) - 1)  # after pool2, which conv2 comes before
    u = np.array([[0.5 / 0.9, 0.75 / 0.9, cut]])
    (plan,) = found.plans(found.decide(u))
    halves = {"features.0": 32, "features.3": 96, "features.6": 192} | dict.fromkeys(
        ("features.8", "features.10"), 128
    )
    assert dict(plan.keep) == halves | {"features.3": 24}
    assert found.features(found.read([plan]))[0].tolist() == [0.5, 0.75, 2.0]


def test_fpgm_prunes_all_convolutions_alike_and_nothing_else() -> None:
    found = box("alexnet", "fpgm")
    (plan,) = found.plans(found.decide([[0.25 / 0.9, 1.0]]))
    kept = {"features.0": 48, "features.3": 144, "features.6": 288}
    assert dict(plan.keep) == kept | {"features.8": 192, "features.10": 192}
    assert plan.criterion == "fpgm"


def test_three_step_prunes_what_lies_on_the_device_alone() -> None:
    found = box("alexnet", "three-step")
    assert [cut.kind for cut in found.cuts] == ["interior"] * 7
    groups = [name for (name,) in found.rates]  # one per block
    for place, cut in enumerate(found.cuts):
        u = np.full((1, 10), 0.5 / 0.9)
        u[0, found.names.index("cut")] = unit_of_whole(place, 0, 6)
        (plan,) = found.plans(found.decide(u))
        assert [name for name, _ in plan.keep] == sorted(groups[: place + 1])
        assert (plan.criterion, plan.schedule) == ("l2", "incremental")
        # Sparsities behind the cut change nothing, and read as none.
        features = found.features(found.read([plan]))[0]
        assert features[:7].tolist() == [0.5] * (place + 1) + [0.0] * (6 - place)
        u[0, place + 1 : 7] = 1.0
        assert found.plans(found.decide(u)) == (plan,)
        assert cut.after == plan.cut.after


@pytest.mark.parametrize(
    ("place", "flatten", "codec", "elements"),
    [
        (0, 0.0, "threestep-conv[channels=16]", 16 * 27 * 27),
        (0, 1.0, "threestep-linear[flatten=1,hidden=16,width=16]", 16),
        (5, 0.0, "threestep-linear[width=16]", 16),
        (5, 1.0, "threestep-linear[width=16]", 16),
    ],
)
def test_three_step_sends_h_maps_or_h_elements(
    place: int, flatten: float, codec: str, elements: int
) -> None:
    found = box("alexnet", "three-step")
    widest = 4096 if place == 5 else 64
    u = np.zeros((1, 10))
    u[0, 7:] = unit_of_whole(place, 0, 6), unit_of_width(16, widest), flatten
    decisions = found.decide(u)
    assert found.plans(decisions)[0].codec == codec
    assert found.elements(decisions).tolist() == [elements]


def test_snr_is_linear_in_tenths_of_a_db_within_its_range() -> None:
    found = box("small", "noise")
    u = np.full((4, found.dimension), 0.4)
    u[:, found.names.index("cut")] = 0.0
    u[:, -1] = [0.0, 0.12345, 0.5, 1.0]
    plans = found.plans(found.decide(u))
    snr_db = [parse_ref(plan.channel).arguments["snr_db"] for plan in plans]
    assert snr_db == [0.0, 6.2, 25.0, 50.0]  # 50 u
    narrow = search_box(task("small"), "noise", levels=(0.01, 0.02))
    inside = narrow.decide(u).level
    assert ((inside >= 0.01) & (inside <= 0.02)).all()


def test_flipped_bits_are_linear_in_thousandths_and_clear_at_none() -> None:
    found = box("small", "three-step-bsc")
    u = np.full((4, found.dimension), 0.4)
    u[:, -1] = [0.0, 0.12345, 0.5, 1.0]
    decisions = found.decide(u)
    plans = found.plans(decisions)
    assert [plan.channel for plan in plans] == [f"bsc[p={p}]" for p in (0.0, 0.031, 0.125, 0.25)]
    assert {plan.coder for plan in plans} == {"uniform[bits=1,high=1,low=-1]"}
    assert found.read(plans).level.tolist() == decisions.level.tolist()
    assert found.units(decisions)[:, -1] == pytest.approx([0.0, 0.124, 0.5, 1.0])
    assert (found.clearest, box("small", "noise").clearest) == (0.0, 50.0)
    assert found.variables[-1].effect == -1
    # The corner with the most noise is the last one that is measured for being one.
    assert {corners(found)[-1].channel, corners(box("small", "noise"))[-1].channel} == {
        *("bsc[p=0.25]", "awgn[snr_db=0.0]"),
    }


# What a plan does not have.


def test_what_is_not_there_narrows_nothing_or_is_zero() -> None:
    least, zeroed = box("alexnet", "qho"), box("alexnet", "qho", zero_inactive=True)
    u = np.full((1, 16), 0.4)
    cut = least.names.index("cut")
    for place, gone in ((0, slice(14, 16)), (5, slice(8, 14)), (7, slice(8, 16))):
        u[0, cut] = unit_of_whole(place, 0, 7)
        plan = least.plans(least.decide(u))
        assert zeroed.plans(zeroed.decide(u)) == plan
        wide, zero = (b.features(b.read(plan))[0] for b in (least, zeroed))
        assert (zero[gone] == 0).all()
        for variable, value in zip(least.variables[gone], wide[gone], strict=True):
            best = {1: variable.high, 0: variable.low, -1: variable.low}[variable.effect]
            assert value == best
        there = np.ones(16, dtype=bool)
        there[gone] = False
        assert (wide[there] == zero[there]).all()
    # Where 0 means absent, more is not better.
    assert {v.effect for v in zeroed.variables[8:]} == {0}


def test_effects_point_to_less() -> None:
    found = box("alexnet", "noise")
    rng = np.random.default_rng(5)
    for column, variable in enumerate(found.variables):
        low = rng.random((100, found.dimension))
        high = low.copy()
        high[:, column] = low[:, column] + (1 - low[:, column]) * rng.random(100)
        few, many = found.decide(low), found.decide(high)
        if variable.effect < 0 and variable.name.startswith("sparsity"):
            assert (many.kept <= few.kept).all()
        elif variable.effect < 0:
            assert (found.elements(many) <= found.elements(few)).all()
        elif variable.effect > 0 and variable.name != "snr_db":
            assert (found.elements(many) >= found.elements(few)).all()
    assert {v.name for v in found.variables if v.effect == 0} == {"cut", "P2", "P5"}


# What is refused.


def refusals() -> list[tuple[str, dict[str, object], str]]:
    conv = "conv[hidden_channels=8,hidden_kernel=3,hidden_stride=1"
    conv += ",code_channels={},code_kernel={},code_stride=1]"
    pool1, fc6 = CutRef(3, "features.2"), CutRef(17, "classifier.1")
    pruned = {"keep": (("features.0", 32),), "criterion": "l1", "schedule": "one-shot"}
    flat = "threestep-linear[flatten=1,hidden={},width={}]"
    learned = {
        "cut": pool1,
        "codec": "threestep-conv[channels=4]",
        "coder": "codebook[bits=8,high=1,low=-1]",
    }
    return [
        ("qho", {"model": "vgg16"}, "its model is 'vgg16'"),
        ("qho", {"cut": CutRef(1, "features.0")}, "cuts after 'features.0'.*accepted"),
        ("qho", {"cut": CutRef(4, "features.2")}, "cuts after 'features.2' .layer 4."),
        ("qho", {"keep": (("features.7", 3),)}, "unknown prune group"),
        ("qho", pruned | {"keep": (("features.0", 65),)}, "units kept .* allowed is 1 to 64"),
        ("qho", pruned | {"criterion": "l2"}, "its criterion is 'l2'; accepted is 'l1'"),
        ("qho", pruned | {"schedule": "iterative"}, "its schedule is 'iterative'"),
        ("qho", {"criterion": "l1"}, "its criterion is 'l1'; accepted is 'none'"),
        ("qho", {"coder": "uniform[width=8]"}, "its coder is"),
        ("qho", {"channel": "awgn[snr_db=10]"}, "its channel is"),
        (
            "three-step-bsc",
            learned | {"coder": "uniform[bits=1,high=1,low=-1]", "channel": "awgn[snr_db=10]"},
            r"its channel is .awgn.*accepted is 'bsc\[p=...\]'",
        ),
        ("qho", {"cut": pool1, "codec": "linear[hidden=4,width=2]"}, "accepted .* is 'conv'"),
        ("qho", {"cut": fc6, "codec": conv.format(4, 3)}, "accepted at this cut is 'linear'"),
        ("qho", {"codec": conv.format(4, 3)}, "accepted at this cut is 'identity'"),
        ("qho", {"cut": pool1, "codec": conv.format(9, 3)}, "no wider layers"),
        ("qho", {"cut": pool1, "codec": conv.format(4, 7)}, "kernels"),
        ("qho", {"cut": fc6, "codec": "linear[hidden=4,width=2]"}, "activations"),
        ("qho", {"cut": fc6, "codec": "linear[hidden=4,code=2]"}, "other options"),
        ("noise", {"cut": pool1, "codec": conv.format(4, 3)}, "activations|channel"),
        ("noise", {"cut": pool1}, "accepted at this cut is 'conv'"),
        ("prune-partition", {"cut": pool1, "codec": conv.format(4, 3)}, "is 'identity'"),
        ("fpgm", pruned | {"criterion": "fpgm"}, "no one sparsity"),
        ("fpgm", {"keep": (("classifier.1", 9),)}, "prunes 'classifier.1'; accepted: 'features.0'"),
        ("bottlenet++", {"cut": pool1, "codec": "bottlenet++[channels=3]"}, "powers of two"),
        ("bottlenet++", {"cut": pool1, "codec": "bottlenet++[channels=128]"}, "up to 64"),
        ("bottlenet++", {"cut": pool1}, "is 'bottlenet..'"),
        ("bottlenet++", {"cut": pool1} | pruned, "prunes 'features.0'; accepted: none"),
        ("three-step", learned | {"codec": "conv[channels=4]"}, "conv' or 'threestep-linear'"),
        ("three-step", learned | {"cut": fc6}, "accepted at this cut is 'threestep-linear'"),
        ("three-step", learned | {"codec": "threestep-conv[channels=65]"}, "a width up to 64"),
        ("three-step", learned | {"codec": flat.format(3, 4)}, "as much hidden"),
        ("three-step", learned | {"codec": "threestep-linear[width=4]"}, "with flatten=1"),
        ("three-step", {"cut": pool1, "codec": flat.format(4, 4)}, "its coder is 'float32'"),
        (
            "three-step",
            learned | pruned | {"keep": (("features.3", 3),), "criterion": "l2"},
            "prunes 'features.3'; accepted: 'features.0'",
        ),
    ]


@pytest.mark.parametrize(("family", "changes", "why"), refusals())
def test_plans_of_other_families_are_refused(
    family: str, changes: dict[str, object], why: str
) -> None:
    unpruned = Plan("alexnet", CutRef(22, "classifier.6"))
    plan = replace(unpruned, **changes)  # type: ignore[arg-type]
    with pytest.raises(CoinferError, match=why) as error:
        box("alexnet", family).read([plan])
    message = str(error.value)
    assert message.startswith(f"plan {plan.hash[:12]} is none of the '{family}' plans of alexnet")
    assert "\n" not in message


def test_second_sparsity_never_adds_units() -> None:
    found = box("alexnet", "two-step")
    (plan,) = found.plans(found.decide([[0.5, 0.0, 0.0]]))
    more = replace(plan, keep=tuple((g, k + 5 * (g == "features.0")) for g, k in plan.keep))
    with pytest.raises(CoinferError, match="no one sparsity"):
        found.read([more])


def test_a_plan_beyond_the_box_is_read_but_has_no_point() -> None:
    found = box("alexnet", "prune-partition")
    (plan,) = found.plans(found.decide(np.full((1, 8), 0.5)))
    beyond = replace(plan, keep=(*plan.keep[:-1], (plan.keep[-1][0], 1)))
    name = f"sparsity[{plan.keep[-1][0]}]"
    decisions = found.read([beyond])
    assert found.features(decisions)[0, found.names.index(name)] > 0.9
    with pytest.raises(CoinferError, match="outside the box; accepted is 0 to 0.9") as error:
        found.units(decisions)
    assert str(error.value).startswith(name)


@pytest.mark.parametrize(
    "u", [np.zeros(16), np.zeros((2, 15)), np.full((1, 16), 1.01), np.full((1, 16), np.nan)]
)
def test_what_is_no_point_is_refused(u: np.ndarray) -> None:
    with pytest.raises(CoinferError, match="points"):
        box("alexnet", "qho").decide(u)


def test_boxes_that_cannot_be_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown family of plans 'qhoo'; did you mean"):
        search_box(task("small"), "qhoo")
    with pytest.raises(CoinferError, match="without its prune groups"):
        search_box(small_task(), "qho")
    with pytest.raises(CoinferError, match="nothing that 'qho' could prune"):
        search_box(one_layer_task(groups=True), "qho")
    with pytest.raises(CoinferError, match="no cut at which"):
        search_box(one_layer_task(groups=True), "bottlenet++")
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(CoinferError, match="max_sparsity"):
            search_box(task("small"), "qho", max_sparsity=share)
    with pytest.raises(CoinferError, match="snr_db is 20 to 20"):
        search_box(task("small"), "noise", levels=(20, 20))
    with pytest.raises(CoinferError, match="effect -1, 0 or 1"):
        Variable("x", 2.0, 1.0)


def test_hash_tells_boxes_apart() -> None:
    boxes = [box("small", family) for family in FAMILIES]
    boxes += [
        search_box(task("small"), "qho", **options)  # type: ignore[arg-type]
        for options in (
            *({"max_sparsity": 0.8}, {"criterion": "fpgm"}, {"coder": "uniform[width=8]"}),
            *({"zero_inactive": True}, {"input_cut": True}),
        )
    ]
    assert len({found.hash for found in boxes}) == len(boxes)
    again = pickle.loads(pickle.dumps(boxes[0]))
    assert again == boxes[0]
    assert again.hash == search_box(small_task(groups=True), "qho").hash


def test_import_needs_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys, coinfer.accuracy.box, coinfer.accuracy.sampling, coinfer.accuracy.surrogate;"
        "print({'torch', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
