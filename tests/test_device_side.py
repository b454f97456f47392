"""Methods that prune and encode on the device alone: the plain look-up, memory, noise, bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from coinfer.cost import plan_workload, scenario_latency
from coinfer.graph import Cut
from coinfer.hardware import Link
from coinfer.method import Context, Library
from coinfer.plan import CutRef, Plan, Scenario, Selection
from coinfer.refs import parse_ref
from coinfer.search.problem import box_workload
from methods import worlds
from methods.conformance import MethodContract
from methods.device_side import DeviceSideGrid, device_weights
from methods.grid import GridMethod
from methods.ipdr import Ipdr
from methods.paa import Paa
from methods.registry import installed_methods
from methods.three_step import ThreeStep
from tests.test_grid_methods import accuracy, box_of, deep_task


class TestThreeStep(MethodContract):
    method = ThreeStep()


class TestThreeStepJscc(MethodContract):
    method = ThreeStep(coding="jscc")


class TestIpdr(MethodContract):
    method = Ipdr()


class TestPaa(MethodContract):
    method = Paa()


# -- the table written out ------------------------------------------------------------------------

UNITS = {"conv1": 16, "conv4": 32, "conv7": 24, "fc10": 32}
DEVICE = {
    "maxpool3": ("conv1",),
    "maxpool6": ("conv1", "conv4"),
    "relu8": ("conv1", "conv4", "conv7"),
    "fc10": ("conv1", "conv4", "conv7", "fc10"),
}
SIDE = {"maxpool3": 8, "maxpool6": 4, "relu8": 4}
LEARNED, EIGHT = "codebook[bits=8,high=1,low=-1]", "uniform[bits=8,high=1,low=-1]"

SOURCE, JSCC, IPDR = ThreeStep(step=0.45), ThreeStep(step=0.45, coding="jscc"), Ipdr(step=0.45)
BSC = ThreeStep(step=0.45, coding="jscc-bsc")
METHODS = (SOURCE, JSCC, IPDR, Paa())


def left(units: int, sparsity: float) -> int:
    return max(1, units - math.floor(sparsity * units + 1e-9))


def powers(most: int) -> list[int]:
    return [2**k for k in range(12) if 2**k <= most][::-1]


def three_step_plans(method: DeviceSideGrid, cut: Cut, scenario: Scenario) -> Iterator[Plan]:
    noisy = method.plans in ("three-step-jscc", "three-step-bsc")
    coder = {
        "three-step": LEARNED,
        "three-step-jscc": "float32",
        "three-step-bsc": "uniform[bits=1,high=1,low=-1]",
        "ipdr": EIGHT,
    }[method.plans]
    if method.plans == "ipdr" and scenario.convention.name != "harmonised":
        coder = "float32"
    device = DEVICE[cut.after]
    for first in (0.0, 0.45, 0.9):
        for last in (0.0, 0.45, 0.9):
            if last < first:
                continue
            keep = {name: left(UNITS[name], first) for name in device}
            keep[device[-1]] = left(UNITS[device[-1]], last)
            crossing = keep[device[-1]]
            codes = []
            if cut.after in SIDE:
                codes += [f"threestep-conv[channels={h}]" for h in powers(crossing)]
                flat = "threestep-linear[flatten=1,hidden={0},width={0}]"
                codes += [flat.format(h) for h in powers(crossing)]
            else:
                codes += [f"threestep-linear[width={h}]" for h in powers(crossing)]
            for codec in codes:
                yield written(cut, keep, "l2", "incremental", codec, coder, noisy, scenario)


def paa_plans(cut: Cut, scenario: Scenario) -> Iterator[Plan]:
    if cut.after not in SIDE:
        return
    device = DEVICE[cut.after]

    def half(sparsity: float) -> tuple[dict[str, int], int]:
        keep = {name: left(UNITS[name], sparsity) for name in device}
        return keep, work(cut, keep, scenario)

    whole = half(0.0)[1]
    for ratio in (0.75, 0.5, 0.25):
        tried = (half(thousandths / 1000) for thousandths in range(901))
        keep = next(keep for keep, flops in tried if flops <= ratio * whole)
        for stride in (1, 2):
            for channels in powers(keep[device[-1]]):
                codec = f"asymmetric[channels={channels},stride={stride}]"
                yield written(cut, keep, "taylor", "iterative", codec, "float32", True, scenario)


def written(
    cut: Cut,
    keep: dict[str, int],
    criterion: str,
    schedule: str,
    codec: str,
    coder: str,
    noisy: bool,
    scenario: Scenario,
) -> Plan:
    pairs = tuple((name, count) for name, count in keep.items() if count < UNITS[name])
    criterion, schedule = (criterion, schedule) if pairs else ("none", "none")
    level = 50.0 if scenario.snr_db is None else min(scenario.snr_db, 50.0)
    channel = f"awgn[snr_db={level!r}]" if noisy else "none"
    if noisy and scenario.link.flip_probability is not None:
        channel = f"bsc[p={scenario.link.flip_probability!r}]"
    ref = CutRef(cut.index, cut.after)
    return Plan(deep_task().model, ref, pairs, criterion, schedule, codec, coder, channel)


def work(cut: Cut, keep: dict[str, int], scenario: Scenario) -> int:
    """FLOPs of the device half by Table I, layer by layer."""
    conv1, conv4, conv7 = (keep.get(name, UNITS[name]) for name in ("conv1", "conv4", "conv7"))
    blocks = {
        "maxpool3": 2 * 256 * (3 * 9 + 1) * conv1 + 256 * conv1 + 4 * 64 * conv1,
        "maxpool6": 2 * 64 * (conv1 * 9 + 1) * conv4 + 64 * conv4 + 4 * 16 * conv4,
        "relu8": 2 * 16 * (conv4 * 9 + 1) * conv7 + 16 * conv7,
    }
    order = list(blocks)
    return sum(blocks[name] for name in order[: order.index(cut.after) + 1])


def cuts_of(method: GridMethod, scenario: Scenario) -> tuple[Cut, ...]:
    kinds = scenario.convention.kinds_for(method.card.name, method.card.cuts)
    return tuple(cut for cut in deep_task().graph.cuts if cut.kind in kinds)


def candidates(method: GridMethod, scenario: Scenario) -> list[Plan]:
    """The unpruned network at both ends, then the table, every plan once."""
    cuts = cuts_of(method, scenario)
    ends = [cut for cut in cuts if cut.kind != "interior"]
    formats = {"input": scenario.convention.input_coder, "output": "float32"}
    found = [Plan("deep", CutRef(cut.index, cut.after), coder=formats[cut.kind]) for cut in ends]
    for cut in cuts:
        if cut.after in DEVICE and isinstance(method, DeviceSideGrid):
            found += three_step_plans(method, cut, scenario)
        elif cut.after in DEVICE:
            found += paa_plans(cut, scenario)
    return list(dict.fromkeys(found))


@cache
def predicted(plan: Plan, family: str) -> float:
    return accuracy(replace(plan, coder=box_of(family).coder), family)


def looked_up(method: GridMethod, scenario: Scenario, memory: float = math.inf) -> Selection:
    """The best of the table by a loop: the fastest that is accurate enough and fits."""
    plans = candidates(method, scenario)
    heeds = isinstance(method, DeviceSideGrid)
    if heeds:  # the whole network is not even looked at where it does not fit
        plans = [p for p in plans if p.cut.after != "fc11" or stored(p) <= memory]
    best: tuple[float, int] | None = None
    chosen = Selection(None, "infeasible", evaluations=len(plans))
    for plan in plans:
        share = 0.9 if plan.unchanged else predicted(plan, method.plans)
        fits = not heeds or stored(plan) <= memory
        if not (plan.unchanged or share > 0.9 - 0.02) or not fits:
            continue
        price = scenario_latency(plan_workload(plan, deep_task(), scenario.convention), scenario)
        total_s = float(price.total_s)
        if best is None or (total_s, plan.cut.index) < best:
            best = total_s, plan.cut.index
            chosen = Selection(plan, "feasible", share, total_s, len(plans))
    return chosen


def stored(plan: Plan) -> int:
    """Bytes of the 32-bit weights on the device, layer by layer."""
    if plan.cut.index == 0:
        return 0
    keep = UNITS | dict(plan.keep)
    weights = [27 * keep["conv1"], 9 * keep["conv1"] * keep["conv4"]]
    weights += [9 * keep["conv4"] * keep["conv7"], 16 * keep["conv7"] * keep["fc10"]]
    weights += [10 * keep["fc10"]]
    codec = parse_ref(plan.codec)
    count = len(DEVICE.get(plan.cut.after, weights))
    encoder = 0
    if codec.name == "threestep-conv":
        encoder = 9 * keep[DEVICE[plan.cut.after][-1]] * codec.arguments["channels"]
    elif codec.name == "threestep-linear":
        h = codec.arguments["width"]
        side = SIDE.get(plan.cut.after, 1)
        encoder = keep[DEVICE[plan.cut.after][-1]] * side**2 * h + (side > 1) * h * h
    return 4 * (sum(weights[:count]) + encoder)


def asked(method: GridMethod, scenario: Scenario, library: Library | None = None) -> Selection:
    context = Context(deep_task(), scenario.convention, cuts_of(method, scenario))
    return method.select(library or built(method, scenario), scenario, context)


def built(method: GridMethod, scenario: Scenario) -> Library:
    context = Context(deep_task(), scenario.convention, cuts_of(method, scenario))
    return method.build(deep_task(), context)


ENVIRONMENTS = (
    worlds.radio_scenario(10.0, 1e4, 1e8, 1e10),
    worlds.radio_scenario(0.3, 1e4, 1e9, 1e10),
    worlds.radio_scenario(70.0, 3e3, 1e9, 1e12),
    worlds.radio_scenario(25.0, 1e6, 1e7, 1e12),
    worlds.radio_scenario(25.0, 0.0, 1e7, 1e12),
)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_choice_is_that_of_a_plain_look_up(method: GridMethod) -> None:
    found = [asked(method, scenario) for scenario in ENVIRONMENTS]
    assert found == [looked_up(method, scenario) for scenario in ENVIRONMENTS]
    assert len({selection.plan for selection in found}) > 2
    assert any(s.plan is not None and s.plan.codec != "identity" for s in found)


def flipping(p: float | None, uses_per_s: float, convention: str = "harmonised") -> Scenario:
    """Over a binary symmetric channel."""
    base = worlds.scenario(1.0, 1e9, 1e11, convention)
    return replace(base, link=Link("bsc", uses_per_s=uses_per_s, flip_probability=p))


@pytest.mark.parametrize("convention", ["harmonised", "threestep2020"])
def test_bits_that_are_flipped_are_looked_up_at_one_a_use(convention: str) -> None:
    made = [flipping(p, uses, convention) for p in (0.01, 0.2) for uses in (1e3, 1e5, 1e7)]
    library = built(BSC, made[0])
    found = [asked(BSC, scenario, library) for scenario in made]
    assert found == [looked_up(BSC, scenario) for scenario in made]
    sent = [s.plan for s in found if s.plan is not None and s.plan.codec != "identity"]
    assert {plan.channel for plan in sent} == {"bsc[p=0.01]", "bsc[p=0.2]"}
    rough = replace(made[3], link=Link("bsc", uses_per_s=1e5, flip_probability=0.2))
    plan = asked(BSC, rough, library).plan
    assert plan is not None
    work = plan_workload(plan, deep_task(), rough.convention)
    # A bit a use, however many are flipped; bits without error would take H2(0.2) = 0.72 longer.
    assert scenario_latency(work, rough).uplink_s == work.uplink_bits / 1e5
    for scenario, words in (
        (worlds.scenario(), "no binary symmetric channel"),
        (worlds.radio_scenario(10.0), "no binary symmetric channel"),
        (flipping(0.3, 1e5), "up to 0.25 of the bits flipped, the link flips 0.3"),
        (flipping(0.1, 1e5, "qho2024"), "admits float32 as payload, not uniform"),
    ):
        refusal = BSC.supports(deep_task(), scenario)
        assert refusal is not None
        assert words in refusal.reason
    for method in (JSCC, Paa()):  # symbols need a bandwidth
        assert method.supports(deep_task(), flipping(0.1, 1e5)) is not None


@pytest.mark.parametrize("method", [JSCC, Paa()], ids=str)
def test_symbols_charged_as_bits_are_looked_up_over_any_link(method: GridMethod) -> None:
    made = [worlds.scenario(rate, 1e9, 1e11, "cia2021") for rate in (1e3, 1e5, 1e7)]
    made.append(worlds.radio_scenario(10.0, 1e4, 1e8, 1e10, "cia2021"))
    found = [asked(method, scenario) for scenario in made]
    assert found == [looked_up(method, scenario) for scenario in made]
    coded = [s.plan for s in found if s.plan is not None and s.plan.codec != "identity"]
    assert coded
    for plan in coded:
        box = box_of(method.plans)
        elements = box.elements(box.read([plan]))[0]
        priced = plan_workload(plan, deep_task(), made[0].convention)
        assert (priced.uplink_bits, priced.uplink_symbols) == (32 * elements, 0)
        assert plan.channel in ("awgn[snr_db=50.0]", "awgn[snr_db=10.0]")


@pytest.mark.parametrize("method", [SOURCE, IPDR], ids=str)
@pytest.mark.parametrize("convention", ["harmonised", "threestep2020"])
def test_bits_are_looked_up_over_any_link(method: GridMethod, convention: str) -> None:
    made = [worlds.scenario(rate, 1e9, 1e11, convention) for rate in (1e3, 1e5, 1e7, math.inf)]
    library = built(method, made[0])
    found = [asked(method, scenario, library) for scenario in made]
    assert found == [looked_up(method, scenario) for scenario in made]
    assert 0 < len(library.data["acceptable"]["number"]) < library.data["grid"]


@pytest.mark.parametrize("method", [*METHODS, BSC], ids=str)
def test_every_plan_of_the_table_lies_in_the_measured_box(method: GridMethod) -> None:
    box = box_of(method.plans)
    grid = method.grid(box)
    if box.family.noisy:
        grid = replace(grid, level=np.full(len(grid), box.clearest))
    again = box.decide(box.units(grid))
    for name in ("kept", "cut", "codec"):
        assert np.array_equal(getattr(again, name), getattr(grid, name)), name
    assert (np.diff(grid.cut) >= 0).all()
    assert box.read(box.plans(grid)).codec.tolist() == grid.codec.tolist()


@pytest.mark.parametrize(
    "family", ["noise", "three-step", "three-step-jscc", "three-step-bsc", "ipdr", "paa"]
)
def test_a_box_of_bits_or_symbols_is_counted_as_each_plan_alone(family: str) -> None:
    box, convention = box_of(family), worlds.scenario().convention
    decisions = box.decide(np.random.default_rng(0).random((40, box.dimension)))
    many = box_workload(box, decisions, convention, deep_task().source)
    for row, plan in enumerate(box.plans(decisions)):
        alone = plan_workload(plan, deep_task(), convention)
        for name in ("device_flops", "server_flops", "uplink_bits", "uplink_symbols", "uncoded"):
            column = np.broadcast_to(getattr(many, name), len(decisions))
            assert column[row] == getattr(alone, name), name
        assert many.encode_flops[row] == alone.encode_flops
        assert many.decode_flops[row] == alone.decode_flops


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [SOURCE, JSCC, IPDR], ids=str)
def test_what_does_not_fit_on_the_device_is_not_taken(method: DeviceSideGrid) -> None:
    """From room for all to room for nothing: the fastest that fits, down to sending the input."""
    free = worlds.radio_scenario(20.0, 1e4, 1e10, 1e11)
    seen = set()
    for memory in (10**6, 60_000, 20_000, 4_000, 1_000, 1):
        device = replace(free.device, memory_bytes=memory)
        scenario = replace(free, device=device)
        found = asked(method, scenario)
        assert found == looked_up(method, scenario, memory)
        assert found.plan is not None
        assert stored(found.plan) <= memory
        seen.add(found.plan.cut.after)
    assert "input" in seen
    assert len(seen) > 1
    assert asked(method, replace(free, device=replace(free.device, memory_bytes=10**9))) == asked(
        method, free
    )


def test_where_nothing_fits_and_the_input_cannot_be_sent_there_is_no_plan() -> None:
    free = worlds.scenario()
    tight = replace(free, device=replace(free.device, memory_bytes=1))
    interior = tuple(cut for cut in deep_task().graph.cuts if cut.kind != "input")
    context = Context(deep_task(), tight.convention, interior)
    library = SOURCE.build(deep_task(), context)
    assert SOURCE.select(library, tight, context) == Selection(
        None, "infeasible", evaluations=library.data["grid"]
    )


def test_weights_are_those_of_the_real_layers() -> None:
    from coinfer.compression.groups import prune_space, remove
    from coinfer.models import build, model_spec
    from coinfer.tracing import split, trace

    spec = model_spec("alexnet-cifar[hidden=120]")
    model = build(spec, seed=0)
    space = prune_space(model, spec.input_shape)
    units = space.kept_from_sparsity(0.5)
    kept = {name: list(range(n)) for name, n in zip(space.names, units.tolist(), strict=True)}
    small = trace(remove(model, space, kept), spec.input_shape)
    for place in (0, 3, 6, 13, 17, 19):  # behind pools, the flattening and linear layers
        cut = space.graph.cuts[place]
        half = split(small, small.graph.cut(cut.after))[0]
        real = sum(p.numel() for name, p in half.named_parameters() if name.endswith("weight"))
        assert device_weights(space, units[None], np.array([place]))[0] == real


# -- what crosses ---------------------------------------------------------------------------------


def test_learned_codes_take_eight_bits_an_element() -> None:
    scenario = worlds.scenario(1e4, 1e7)
    plan = asked(SOURCE, scenario).plan
    assert plan is not None
    box = box_of("three-step")
    sent = box.elements(box.read([plan]))[0]
    priced = plan_workload(plan, deep_task(), scenario.convention)
    assert priced.uplink_bits == 8 * sent


@pytest.mark.parametrize(
    ("ref", "convention", "coder", "width"),
    [
        ("ipdr", "harmonised", EIGHT, 8),
        ("ipdr", "harmonised[cut=maxpool6]", EIGHT, 8),
        ("ipdr[bits=32]", "harmonised", "float32", 32),
        ("ipdr", "cia2021", "float32", 32),
        ("ipdr", "qho2024", "float32", 32),
    ],
)
def test_ipdr_sends_32_bits_in_the_papers_and_8_in_harmony(
    ref: str, convention: str, coder: str, width: int
) -> None:
    method = installed_methods().make(ref)
    assert isinstance(method, Ipdr)
    method = replace(method, step=0.45)
    scenario = worlds.scenario(1e4, 1e7, convention=convention)
    plan = asked(method, scenario).plan
    assert plan is not None
    assert plan.coder == coder
    box = box_of("ipdr")
    sent = box.elements(box.read([replace(plan, coder="float32")]))[0]
    assert plan_workload(plan, deep_task(), scenario.convention).uplink_bits == width * sent


def test_symbols_go_over_radios_that_the_convention_admits_them_on() -> None:
    for method in (JSCC, Paa()):
        for scenario, words in (
            (worlds.scenario(), "no bandwidth"),
            (worlds.radio_scenario(10.0, convention="cpcdrl2024"), "no symbols"),
            (worlds.radio_scenario(-1.0), "down to 0 dB, the link has -1 dB"),
        ):
            refusal = method.supports(deep_task(), scenario)
            assert refusal is not None
            assert words in refusal.reason
        assert method.supports(deep_task(), worlds.radio_scenario(0.0)) is None
    for name in ("qho2024", "cpcdrl2024"):
        refusal = SOURCE.supports(deep_task(), worlds.scenario(convention=name))
        assert refusal is not None
        assert f"convention {name} admits float32 as payload, not codebook" in refusal.reason
        assert IPDR.supports(deep_task(), worlds.scenario(convention=name)) is None


def test_paa_keeps_to_its_targets_of_work() -> None:
    box = box_of("paa")
    grid = Paa().grid(box)
    places = box.positions[grid.cut]
    done = box.space.device_flops(grid.kept)[np.arange(len(grid)), places]
    whole = box.space.device_flops(box.space.full)[0, places]
    assert {0.75, 0.5, 0.25} >= {
        min(ratio for ratio in (0.25, 0.5, 0.75) if share <= ratio) for share in done / whole
    }
    assert (done / whole > 0.1).all()  # and not far below
