"""The cost model against the QHO paper's equations 1-6, written out layer by layer."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, replace
from functools import reduce
from math import prod
from operator import add
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinfer.compression.space import PruneSpace
from coinfer.conventions import convention, conventions
from coinfer.cost import (
    Latency,
    Workload,
    batch_latency,
    batch_workload,
    energy_j,
    input_bits,
    latency,
    missing_watts,
    plan_workload,
    scenario_latency,
    split_workload,
    sweep_latency,
    unmeasured,
    uplink_bits,
    uplink_evidence,
)
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.graph import Cut, Layer, LayerGraph
from coinfer.hardware import Link, Processor
from coinfer.parts import installed_parts
from coinfer.plan import PART_KINDS, CutRef, Plan, Scenario, Source, Task
from tests.graphs import Spec, chain, chain_space, chains, rewidened, specs

PARTS = ("device_s", "encode_s", "uplink_s", "round_trip_s", "decode_s", "server_s")

work = st.integers(0, 10**14)
speeds = st.floats(1e3, 1e16)
rates = st.one_of(st.just(0.0), st.just(math.inf), st.floats(1e-3, 1e12))
delays = st.floats(0, 10)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Draw what a plan makes each side do: bits, or symbols, or nothing sent."""
    device, server, encode, decode = (draw(work) for _ in range(4))
    bits, symbols = draw(st.sampled_from([(1, 0), (0, 1), (0, 0)]))
    uncoded = bool(bits) and draw(st.booleans())
    sent = bits * draw(work), symbols * draw(work)
    return Workload(device, server, sent[0], encode, decode, sent[1], uncoded)


def processor(role: Any, flops_per_s: float, watts: float | None = None) -> Processor:
    return Processor("p", role, flops_per_s, compute_watts=watts)


def numbers(time: Latency) -> list[float]:
    return [float(getattr(time, part)) for part in (*PARTS, "total_s")]


# -- a slow, literal reference --------------------------------------------------------------------


def table1(layer: Layer, c_in: int, c_out: int) -> int:
    """Table I of the paper for one layer, with the given channels (groups divide Ci, as ours)."""
    k2 = prod(layer.kernel)
    hi_wi = prod(layer.in_shape[1:])
    ho_wo = prod(layer.out_shape[1:])
    if layer.kind == "conv":
        return 2 * ho_wo * (c_in * k2 // layer.groups + 1) * c_out
    if layer.kind in ("activation", "avgpool", "dropout"):
        return hi_wi * c_in
    if layer.kind == "maxpool":
        return k2 * ho_wo * c_in
    if layer.kind == "fc":
        return (2 * c_in - 1) * c_out
    return 0


def reference_s(
    graph: LayerGraph, cut: Cut, device: float, server: float, rate: float, round_trip: float
) -> float:
    """Equation 2 for an unpruned network without codec: 3 + 5 + 6, each layer counted once."""
    total = 0.0
    for position, layer in enumerate(graph.layers, start=1):
        flops = table1(layer, layer.in_shape[0], layer.out_shape[0])
        total += flops / (device if position <= cut.index else server)
    if cut.index < len(graph.layers):
        bits = 32
        for side in cut.shape:
            bits *= side
        total += round_trip + (math.inf if rate == 0 else bits / rate)
    return total


@given(chains(), speeds, speeds, rates, delays)
def test_every_cut_costs_what_the_equations_say(
    graph: LayerGraph, device: float, server: float, rate: float, round_trip: float
) -> None:
    task = Task("m", graph, Source(graph.input_shape))
    scenario = Scenario(
        processor("device", device),
        processor("server", server),
        Link("l", rate_bps=rate, round_trip_s=round_trip),
        convention("qho2024"),
    )
    together = scenario_latency(split_workload(task, graph.cuts, scenario.convention), scenario)
    for position, cut in enumerate(graph.cuts):
        plan = Plan("m", CutRef(cut.index, cut.after))
        alone = scenario_latency(plan_workload(plan, task, scenario.convention), scenario)
        expected = reference_s(graph, cut, device, server, rate, round_trip)
        assert float(alone.total_s) == pytest.approx(expected, rel=1e-12)
        assert numbers(alone) == [
            float(np.broadcast_to(getattr(together, part), len(graph.cuts))[position])
            for part in (*PARTS, "total_s")
        ]


# -- pricing --------------------------------------------------------------------------------------


@given(workloads(), speeds, speeds, rates, delays, rates)
def test_each_part_is_its_own_quotient_and_their_sum_is_the_total(
    load: Workload, device: float, server: float, rate: float, round_trip: float, hertz: float
) -> None:
    def over(amount: float, per_s: float) -> float:
        if amount == 0:
            return 0.0
        return math.inf if per_s == 0 else amount / per_s

    time = latency(load, device, server, rate, round_trip, hertz)
    uplink = over(load.uplink_bits, rate) + over(load.uplink_symbols, hertz)
    sends = load.uplink_bits > 0 or load.uplink_symbols > 0
    expected = [
        load.device_flops / device,
        load.encode_flops / device,
        uplink,
        round_trip if sends else 0.0,
        load.decode_flops / server,
        load.server_flops / server,
    ]
    assert numbers(time)[:-1] == expected
    assert numbers(time)[-1] == reduce(add, expected)
    assert all(isinstance(value, float) for value in astuple(time))


@given(st.lists(workloads(), min_size=1, max_size=6), speeds, speeds, rates, delays, rates)
def test_many_plans_at_once_are_priced_as_each_alone(
    loads: list[Workload], device: float, server: float, rate: float, trip: float, hertz: float
) -> None:
    many = latency(stacked(loads), device, server, rate, trip, hertz)
    for position, load in enumerate(loads):
        one = numbers(latency(load, device, server, rate, trip, hertz))
        assert one == [float(getattr(many, part)[position]) for part in (*PARTS, "total_s")]


def stacked(loads: list[Workload]) -> Workload:
    return Workload(*(np.array(column) for column in zip(*map(astuple, loads), strict=True)))


@st.composite
def links(draw: st.DrawFn) -> Link:
    trip = draw(delays)
    kind = draw(st.sampled_from(["rate", "radio", "binary"]))
    if kind == "rate":
        return Link("l", rate_bps=draw(rates), round_trip_s=trip)
    if kind == "binary":
        uses, flips = draw(st.floats(0, 1e9)), draw(st.floats(0, 1))
        return Link("l", uses_per_s=uses, flip_probability=flips, round_trip_s=trip)
    return Link("l", bandwidth_hz=draw(st.floats(0, 1e9)), round_trip_s=trip)


@given(
    st.lists(workloads(), min_size=1, max_size=3),
    st.lists(speeds, min_size=1, max_size=3),
    speeds,
    st.lists(links(), min_size=1, max_size=3),
    st.lists(st.floats(-50, 80), min_size=1, max_size=3),
)
def test_a_sweep_is_its_nested_loops_bit_for_bit(
    loads: list[Workload],
    devices: list[float],
    server: float,
    uplinks: list[Link],
    snrs_db: list[float],
) -> None:
    machines = [processor("device", speed) for speed in devices]
    if any(load.uplink_symbols for load in loads):  # which go over radios only
        uplinks = [link if link.needs_snr else Link("l", bandwidth_hz=1e6) for link in uplinks]
    swept = sweep_latency(stacked(loads), machines, processor("server", server), uplinks, snrs_db)
    shape = (len(loads), len(devices), len(uplinks), len(snrs_db))
    assert np.shape(swept.total_s) == shape
    whole = [np.broadcast_to(getattr(swept, part), shape) for part in (*PARTS, "total_s")]
    for p, d, k, s in np.ndindex(*shape):
        link = uplinks[k]
        scenario = Scenario(
            machines[d], processor("server", server), link, convention("qho2024"), snrs_db[s]
        )
        alone = numbers(scenario_latency(loads[p], scenario))
        assert alone == [float(array[p, d, k, s]) for array in whole]


@given(workloads(), speeds, speeds, st.floats(1e-3, 1e12), delays, st.integers(-200, 200))
def test_twice_the_bits_at_twice_the_rate_changes_nothing(
    load: Workload, device: float, server: float, rate: float, trip: float, power: int
) -> None:
    scale = 2.0**power
    scaled = replace(load, uplink_bits=load.uplink_bits * scale)
    one = latency(load, device, server, rate, trip, rate)
    other = latency(scaled, device, server, rate * scale, trip, rate)
    assert numbers(one) == numbers(other)


@given(workloads(), st.floats(1e-3, 1e12), st.floats(1e-3, 1e3))
def test_any_common_factor_of_bits_and_rate_changes_only_roundings(
    load: Workload, rate: float, factor: float
) -> None:
    scaled = replace(load, uplink_bits=load.uplink_bits * factor)
    one = latency(load, 1e9, 1e12, rate, 0.0, rate).total_s
    other = latency(scaled, 1e9, 1e12, rate * factor, 0.0, rate).total_s
    assert other == pytest.approx(one, rel=1e-12)


@given(workloads(), speeds, speeds, delays, st.lists(rates, min_size=2, max_size=6))
def test_more_rate_never_takes_longer(
    load: Workload, device: float, server: float, trip: float, sweep: list[float]
) -> None:
    totals = latency(load, device, server, np.sort(sweep), trip, 1e6).total_s
    assert np.all(totals[1:] <= totals[:-1])


@given(workloads(), speeds, st.lists(speeds, min_size=2, max_size=6))
def test_a_faster_machine_never_takes_longer(
    load: Workload, other: float, sweep: list[float]
) -> None:
    for device, server in ((np.sort(sweep), other), (other, np.sort(sweep))):
        totals = latency(load, device, server, 1e6, 0.0, 1e6).total_s
        assert np.all(totals[1:] <= totals[:-1])


def test_a_dead_link_takes_for_ever_and_an_infinite_one_no_time() -> None:
    load = Workload(1e9, 2e9, 1e6)
    assert latency(load, 1e9, 1e9, 0.0).total_s == math.inf
    assert latency(load, 1e9, 1e9, math.inf).total_s == 3.0
    assert latency(load, 1e9, math.inf, math.inf).total_s == 1.0
    # Nothing sent needs no link, and the round trip is not paid.
    assert latency(replace(load, uplink_bits=0), 1e9, 1e9, 0.0, 0.5).total_s == 3.0
    assert latency(load, 1e9, 1e9, math.inf, 0.5).total_s == 3.5


def test_analog_symbols_take_symbols_over_bandwidth() -> None:
    load = Workload(0, 0, 0, uplink_symbols=5e5)
    radio = Link("r", bandwidth_hz=1e6, round_trip_s=0.25)
    machines = processor("device", 1e9), processor("server", 1e9)
    for snr_db in (-30.0, 0.0, 50.0):
        scenario = Scenario(*machines, radio, convention("harmonised"), snr_db)
        time = scenario_latency(load, scenario)
        assert (time.uplink_s, time.round_trip_s) == (0.5, 0.25)
    # Bits over the same radio go at the Shannon rate: at 0 dB one bit per second and hertz.
    bits = Scenario(*machines, radio, convention("harmonised"), 0.0)
    assert scenario_latency(Workload(0, 0, 5e5), bits).uplink_s == 0.5


# -- energy ---------------------------------------------------------------------------------------


@given(workloads(), st.floats(0, 100), st.floats(0, 100))
def test_energy_is_power_times_time_of_computing_and_of_sending(
    load: Workload, computing: float, sending: float
) -> None:
    device = processor("device", 1e9, computing)
    link = Link("l", rate_bps=1e6, round_trip_s=1.0, transmit_watts=sending)
    time = latency(load, 1e9, 1e12, 1e6, 1.0, 1e6)
    expected = (load.device_flops + load.encode_flops) / 1e9 * computing
    expected += (load.uplink_bits + load.uplink_symbols) / 1e6 * sending
    assert energy_j(time, device, link) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("computing", "sending", "give"),
    [
        (None, 1.0, "'p[compute_watts=...]'"),
        (1.0, None, "'l[transmit_watts=...]'"),
        (None, None, "'p[compute_watts=...]' and 'l[transmit_watts=...]'"),
    ],
)
def test_energy_is_refused_without_watts(
    computing: float | None, sending: float | None, give: str
) -> None:
    time = latency(Workload(1, 1, 1), 1.0, 1.0, 1.0)
    device = processor("device", 1.0, computing)
    link = Link("l", rate_bps=1.0, transmit_watts=sending)
    with pytest.raises(CoinferError) as error:
        energy_j(time, device, link)
    assert str(error.value) == missing_watts(device, link) == f"energy needs watts; give {give}"
    assert missing_watts(processor("device", 1.0, 0.0), replace(link, transmit_watts=0.0)) == ""


# -- counting one plan ----------------------------------------------------------------------------

IMAGE = Source((3, 16, 16), png_bits=5000.0)
SMALL: list[Spec] = [
    ("conv", 8, 3, 1, 1),
    ("relu",),
    ("maxpool", 2),
    ("conv", 12, 3, 1, 1),
    ("relu",),
    ("flatten",),
    ("dropout",),
    ("fc", 20),
    ("relu",),
    ("fc", 10),
]


def small_task(input_shape: tuple[int, ...] = (3, 32, 32)) -> Task:
    graph = chain(input_shape, *SMALL)
    return Task("small", graph, IMAGE, prune_space=chain_space(graph))


@dataclass(frozen=True)
class Squeeze:
    """A codec that keeps one channel in so many; its work is easy to recognise."""

    factor: int = 4

    kind: ClassVar[str] = "codec"
    name: ClassVar[str] = "squeeze"

    def code_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (max(1, shape[0] // self.factor), *shape[1:])

    def work(self, shape: tuple[int, ...], rules: str) -> tuple[int, int]:
        scale = {"table1": 1, "table1_dropout_free": 10, "macs": 100}[rules]
        return 3 * scale * prod(shape), 5 * scale * prod(shape)

    def modules(self, shape: tuple[int, ...]) -> Any:
        raise AssertionError("counting builds nothing")


@pytest.mark.parametrize("name", sorted(conventions()))
@pytest.mark.parametrize("coder", ["float32", "raw8", "png"])
def test_one_plan_counts_as_all_cuts_together(name: str, coder: str) -> None:
    task, under = small_task(), convention(name)
    fits = installed_parts().coder(coder).cut_kinds
    cuts = [cut for cut in task.graph.cuts if cut.kind in fits or cut.kind == "output"]
    together = split_workload(task, cuts, under, coder)
    for position, cut in enumerate(cuts):
        alone = plan_workload(Plan("m", CutRef(cut.index, cut.after), coder=coder), task, under)
        assert alone.device_flops == together.device_flops[position]
        assert alone.server_flops == together.server_flops[position]
        assert alone.uplink_bits == together.uplink_bits[position]


def test_each_cut_may_have_its_own_payload_format() -> None:
    task = small_task()
    start, first = task.graph.cuts[:2]
    bits = uplink_bits(
        task, [start, start, start, first, task.graph.cuts[-1]], ["raw8", "png", *["float32"] * 3]
    )
    # raw8 and PNG send the 16x16 source, float32 the network's own 32x32 input.
    assert bits.tolist() == [3 * 16 * 16 * 8, 5000, 3 * 32 * 32 * 32, 8 * 32 * 32 * 32, 0]


@pytest.mark.parametrize("coder", ["raw8", "png"])
def test_the_inputs_own_formats_do_not_fit_features(coder: str) -> None:
    task = small_task()
    with pytest.raises(CoinferError, match=f"coder '{coder}' does not fit the interior cut after"):
        uplink_bits(task, task.graph.cuts, coder)


@given(specs(grouped=False), st.data())
def test_a_pruned_plan_counts_as_the_narrower_network(
    drawn: tuple[tuple[int, ...], list[Spec]], data: st.DataObject
) -> None:
    input_shape, layers = drawn
    graph = chain(input_shape, *layers)
    space = chain_space(graph)
    kept = [data.draw(st.integers(1, group.units)) for group in space.groups]
    keep = tuple(zip(space.names, kept, strict=True))
    narrow = rewidened(input_shape, layers, kept)
    task = Task("m", graph, Source(input_shape), prune_space=space)
    for cut, narrow_cut in zip(graph.cuts, narrow.cuts, strict=True):
        plan = Plan("m", CutRef(cut.index, cut.after), keep=keep)
        load = plan_workload(plan, task, convention("qho2024"))
        per_layer = [table1(la, la.in_shape[0], la.out_shape[0]) for la in narrow.layers]
        assert load.device_flops == sum(per_layer[: cut.index])
        assert load.server_flops == sum(per_layer[cut.index :])
        sent = 0 if cut.kind == "output" else 32 * prod(narrow_cut.shape)
        assert load.uplink_bits == sent


@pytest.mark.parametrize("name", sorted(conventions()))
def test_a_codec_counts_where_the_convention_says_so(name: str) -> None:
    task, under = small_task(), convention(name)
    parts = installed_parts().with_classes([Squeeze])
    plan = Plan(
        "m", CutRef(3, "maxpool3"), keep=(("conv1", 6), ("conv4", 5)), codec="squeeze[factor=3]"
    )
    load = plan_workload(plan, task, under, parts)
    assert load.uplink_bits == 2 * 16 * 16 * 32  # 6 of 8 channels stay, the codec sends 2
    crossing = 6 * 16 * 16
    scale = {"table1": 1, "table1_dropout_free": 10, "macs": 100}[under.flops_rules]
    counted = (3 * scale * crossing, 5 * scale * crossing) if under.codec_counted else (0, 0)
    assert (load.encode_flops, load.decode_flops) == counted


def test_nothing_is_encoded_where_nothing_is_sent() -> None:
    task = small_task()
    parts = installed_parts().with_classes([Squeeze])
    last = task.graph.cuts[-1]
    plan = Plan("m", CutRef(last.index, last.after), codec="squeeze")
    load = plan_workload(plan, task, convention("harmonised"), parts)
    assert astuple(load) == (task.graph.flops("table1_dropout_free").sum(), 0, 0, 0, 0, 0, False)


@pytest.mark.parametrize("part", PART_KINDS)
def test_a_plan_names_known_parts_also_where_nothing_is_sent(part: str) -> None:
    task = small_task()
    last = task.graph.cuts[-1]
    plan = Plan("m", CutRef(last.index, last.after), **{part: "mystery"})  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=f"unknown {part} 'mystery'"):
        plan_workload(plan, task, convention("harmonised"))


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"code_shape": (-2, 3)}, "codec 'squeeze': code_shape of (8, 16, 16) is (-2, 3)"),
        ({"work": (1, -2)}, "codec 'squeeze': work on (8, 16, 16) is (1, -2)"),
        ({"work": (math.nan, 1)}, "codec 'squeeze': work on (8, 16, 16) is (nan, 1)"),
    ],
)
def test_a_codec_that_says_what_cannot_be_is_not_priced(
    answers: dict[str, Any], words: str
) -> None:
    said = {name: lambda *_, answer=answer: answer for name, answer in answers.items()}
    parts = installed_parts().with_classes([type("Wrong", (Squeeze,), said)])
    with pytest.raises(CoinferError) as error:
        plan_workload(
            Plan("m", CutRef(3, "maxpool3"), codec="squeeze"),
            small_task(),
            convention("harmonised"),
            parts,
        )
    assert words in str(error.value)


def test_a_codec_sees_the_pruned_axis_of_token_layouts() -> None:
    # 5 tokens of 12 features: pruning to 4 leaves (5, 4), not (1, 12) or (2, 12).
    tokens = Layer("fc1", "fc", (-1,), (5, 7), (5, 12), channel_axis=-1)
    head = Layer("fc2", "fc", (0,), (5, 12), (5, 3), channel_axis=-1)
    graph = LayerGraph(
        (5, 7),
        (tokens, head),
        (
            Cut(0, "input", (5, 7), "input"),
            Cut(1, "fc1", (5, 12), "interior"),
            Cut(2, "fc2", (5, 3), "output"),
        ),
    )
    flat = chain_space(chain((7,), ("fc", 12), ("fc", 3)))
    group = replace(flat.groups[0], name="fc1", members=("fc1",))
    crossing = tuple(
        type(row)(5 * row.fixed, tuple((g, 5 * n) for g, n in row.terms)) for row in flat.crossing
    )
    space = replace(flat, graph=graph, groups=(group,), crossing=crossing)
    task = Task("m", graph, Source((5, 7)), prune_space=space)
    seen = []

    @dataclass(frozen=True)
    class Watch(Squeeze):
        name: ClassVar[str] = "watch"

        def code_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
            seen.append(shape)
            return shape

    plan = Plan("m", CutRef(1, "fc1"), keep=(("fc1", 4),), codec="watch")
    parts = installed_parts().with_classes([Watch])
    load = plan_workload(plan, task, convention("qho2024"), parts)
    assert seen == [(5, 4)]
    assert load.uplink_bits == 5 * 4 * 32


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (Plan("m", CutRef(2, "conv1")), "Plan.cut.index is 2, but the cut after 'conv1' is 1"),
        (Plan("m", CutRef(1, "conv9")), "unknown cut 'conv9'"),
        (Plan("m", CutRef(1, "conv1"), keep=(("conv9", 1),)), "unknown prune group 'conv9'"),
        (Plan("m", CutRef(1, "conv1"), keep=(("conv1", 9),)), "units kept of 'conv1' are 9"),
        (Plan("m", CutRef(1, "conv1"), coder="float64"), "unknown coder 'float64'"),
        (Plan("m", CutRef(1, "conv1"), codec="linear9"), "unknown codec 'linear9'"),
        (Plan("m", CutRef(1, "conv1"), coder="raw8"), "does not fit the interior cut"),
    ],
)
def test_plans_that_do_not_fit_are_refused(plan: Plan, text: str) -> None:
    with pytest.raises(CoinferError) as error:
        plan_workload(plan, small_task(), convention("qho2024"))
    assert text in str(error.value)


def test_a_task_without_prune_groups_prices_no_pruned_plan() -> None:
    task = replace(small_task(), prune_space=None)
    with pytest.raises(CoinferError, match="made without prune groups"):
        plan_workload(
            Plan("m", CutRef(1, "conv1"), keep=(("conv1", 1),)), task, convention("qho2024")
        )


def test_the_evidence_of_a_payload_is_that_of_its_coder() -> None:
    task = small_task()
    last = task.graph.cuts[-1]
    assert uplink_evidence(Plan("m", CutRef(0, "input"), coder="png"), task) == "measured"
    assert uplink_evidence(Plan("m", CutRef(0, "input"), coder="raw8"), task) == "analytic"
    sent_nothing = Plan("m", CutRef(last.index, last.after), coder="png")
    assert uplink_evidence(sent_nothing, task) == "analytic"


# -- bits or symbols ------------------------------------------------------------------------------


def scenario_of(link: Link, snr_db: float | None = None) -> Scenario:
    machines = processor("device", 1e9), processor("server", 1e12)
    return Scenario(*machines, link, convention("harmonised"), snr_db)


def coded(coder: str = "float32", channel: str = "none", codec: str = "identity") -> Plan:
    """A plan for the cut at which 8x16x16 elements cross."""
    return Plan("m", CutRef(3, "maxpool3"), codec=codec, coder=coder, channel=channel)


@pytest.mark.parametrize(
    ("channel", "squeeze", "symbols"),
    [
        ("awgn", 1, 8 * 16 * 16 // 2),  # two elements to a complex symbol
        ("awgn[symbols=real]", 1, 8 * 16 * 16),
        ("awgn[snr_db=3.0]", 2, 4 * 16 * 16 // 2),
        ("awgn[power=peak]", 8, 16 * 16 // 2),
    ],
)
def test_an_analog_plan_takes_its_symbols_over_the_bandwidth(
    channel: str, squeeze: int, symbols: int
) -> None:
    parts = installed_parts().with_classes([Squeeze])
    plan = coded(channel=channel, codec=f"squeeze[factor={squeeze}]")
    load = plan_workload(plan, small_task(), convention("harmonised"), parts)
    assert (load.uplink_bits, load.uplink_symbols) == (0, symbols)
    digital = plan_workload(
        replace(plan, channel="none"), small_task(), convention("harmonised"), parts
    )
    assert replace(load, uplink_bits=digital.uplink_bits, uplink_symbols=0) == digital
    for snr_db in (-20.0, 0.0, 40.0):
        time = scenario_latency(load, scenario_of(Link("r", bandwidth_hz=25e3), snr_db))
        assert time.uplink_s == symbols / 25e3


def test_an_odd_number_of_elements_fills_its_last_symbol() -> None:
    task = Task("m", chain((1, 5, 5), ("conv", 1, 3, 1, 1), ("fc", 2)), Source((1, 5, 5)))
    plan = Plan("m", CutRef(1, "conv1"), channel="awgn")
    assert plan_workload(plan, task, convention("harmonised")).uplink_symbols == 13


@pytest.mark.parametrize(
    "link",
    [
        Link("plain", rate_bps=1e6),
        Link("plain", rate_bps=math.inf),
        Link("plain", uses_per_s=1e6, flip_probability=0.1),
    ],
)
def test_symbols_are_refused_where_there_is_no_bandwidth(link: Link) -> None:
    load = plan_workload(coded(channel="awgn"), small_task(), convention("harmonised"))
    radio = Link("radio", bandwidth_hz=1e6)
    for price in (
        lambda: scenario_latency(load, scenario_of(link)),
        lambda: sweep_latency(
            load, [processor("device", 1e9)], processor("server", 1e12), [radio, link], [10.0]
        ),
    ):
        with pytest.raises(CoinferError, match="analog payload.* link 'plain' has no bandwidth"):
            price()
    # What sends no symbols is priced over any link, and an analog plan that sends nothing too.
    last = small_task().graph.cuts[-1]
    stays = Plan("m", CutRef(last.index, last.after), channel="awgn")
    local = plan_workload(stays, small_task(), convention("harmonised"))
    assert scenario_latency(local, scenario_of(link)).uplink_s == 0


CODER_REFS = ("float32", "raw8", "png", "uniform", "codebook[bits=4]", "huffman", "zlib[bits=5]")
CHANNEL_REFS = ("none", "awgn", "awgn[symbols=real]", "bsc[p=0.1]", "bec[p=0.5]")


@given(
    st.integers(0, 10),
    st.sampled_from(CODER_REFS),
    st.sampled_from(CHANNEL_REFS),
    st.sampled_from(sorted(conventions())),
    st.none() | st.floats(1, 1e9),
)
def test_a_plan_sends_bits_or_symbols_or_nothing_and_never_two_of_them(
    position: int, coder: str, channel: str, name: str, measured_bits: float | None
) -> None:
    task = small_task()
    cut = task.graph.cuts[position % len(task.graph.cuts)]
    plan = Plan("m", CutRef(cut.index, cut.after), coder=coder, channel=channel)
    try:
        load = plan_workload(plan, task, convention(name), measured_bits=measured_bits)
    except CoinferError:
        return
    analog = channel.startswith("awgn")
    sends = cut.kind != "output"
    assert (load.uplink_bits > 0) == (sends and not analog)
    assert (load.uplink_symbols > 0) == (sends and analog)
    if analog and sends:
        assert coder == "float32"


@pytest.mark.parametrize(
    ("coder", "channel", "words"),
    [
        (
            "uniform",
            "awgn",
            "'awgn' is analog: it sends a code's elements as symbols, not the bits",
        ),
        ("raw8", "awgn", "'awgn' is analog"),
        ("float32", "bsc[p=0.1]", "corrupts bits, which coder 'float32' does not survive"),
        ("huffman", "bec[p=0.1]", "corrupts bits, which coder 'huffman' does not survive"),
    ],
)
def test_a_channel_refuses_coders_that_it_does_not_go_with(
    coder: str, channel: str, words: str
) -> None:
    with pytest.raises(CoinferError) as error:
        plan_workload(
            coded(coder, channel), small_task(), convention("harmonised"), measured_bits=1e3
        )
    assert words in str(error.value)


@pytest.mark.parametrize("channel", ["bsc[p=0.25]", "bec[p=0.25]"])
def test_bits_through_a_binary_channel_take_a_use_each(channel: str) -> None:
    bits = 8 * 16 * 16 * 4
    plan = coded("uniform[bits=4]", channel)
    load = plan_workload(plan, small_task(), convention("harmonised"))
    clear = plan_workload(replace(plan, channel="none"), small_task(), convention("harmonised"))
    assert (load.uplink_bits, load.uplink_symbols) == (clear.uplink_bits, 0) == (bits, 0)
    for link, snr_db in ((Link("l", rate_bps=2e6), None), (Link("l", bandwidth_hz=1e6), 20.0)):
        scenario = scenario_of(link, snr_db)
        time = scenario_latency(load, scenario)
        assert time == scenario_latency(clear, scenario)
        assert time.uplink_s == bits / scenario.rate_bps
    # Uncoded they take the channel as it is; without error they take its capacity.
    binary = scenario_of(Link("l", uses_per_s=1e6, flip_probability=0.25))
    assert scenario_latency(load, binary).uplink_s == bits / 1e6
    capacity = 1e6 * (1 + 0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert scenario_latency(clear, binary).uplink_s == pytest.approx(bits / capacity, rel=1e-12)


@dataclass(frozen=True)
class Tone:
    """A stranger's analog channel."""

    kind: ClassVar[str] = "channel"
    name: ClassVar[str] = "tone"
    analog: ClassVar[bool] = True

    def layer(self, snr_db: float | None, generator: Any) -> Any:
        raise AssertionError("counting builds nothing")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, "channel 'tone' is analog but does not say how many symbols a code takes"),
        (lambda *_: 0, "channel 'tone': uses of 2048 elements is 0; allowed is a whole number, 1"),
        (lambda *_: math.nan, "channel 'tone': uses of 2048 elements is nan"),
        (lambda _, elements, bits: elements / 2, "channel 'tone': uses of 2048 elements is 1024.0"),
    ],
)
def test_an_analog_channel_that_does_not_count_is_not_priced(said: Any, words: str) -> None:
    cls = type("Said", (Tone,), {} if said is None else {"uses": said})
    with pytest.raises(CoinferError) as error:
        plan_workload(
            coded(channel="tone"),
            small_task(),
            convention("harmonised"),
            installed_parts().with_classes([cls]),
        )
    assert words in str(error.value)


# -- bits that depend on the data -----------------------------------------------------------------


@pytest.mark.parametrize("coder", ["huffman", "zlib[bits=4]", "png-feature"])
def test_bits_that_depend_on_the_data_are_measured_or_not_priced(coder: str) -> None:
    plan, task, under = coded(coder), small_task(), convention("harmonised")
    with pytest.raises(CoinferError) as error:
        plan_workload(plan, task, under)
    assert str(error.value) == unmeasured(plan)
    assert f"coder '{coder}'" in unmeasured(plan)
    assert "'coinfer measure PLAN.json'" in unmeasured(plan)
    load = plan_workload(plan, task, under, measured_bits=1234.5)
    assert load.uplink_bits == 1234.5
    assert uplink_evidence(plan, task, measured_bits=1234.5) == "measured"
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(CoinferError, match="measured bits is .*finite number > 0"):
            plan_workload(plan, task, under, measured_bits=wrong)


@pytest.mark.parametrize(
    ("plan", "bits"),
    [
        (coded(), 8 * 16 * 16 * 32.0),
        (coded("uniform[bits=4]"), 8 * 16 * 16 * 4.0),
        (Plan("m", CutRef(0, "input"), coder="png"), 5000.0),
        (Plan("m", CutRef(10, "fc10")), 0.0),
        (coded(channel="awgn"), None),
    ],
)
def test_a_measured_size_never_replaces_a_size_that_is_known(
    plan: Plan, bits: float | None
) -> None:
    task, under = small_task(), convention("harmonised")
    known = plan_workload(plan, task, under)
    assert unmeasured(plan) == ""
    assert plan_workload(plan, task, under, measured_bits=bits) == known
    with pytest.raises(CoinferError, match="999 bits were measured .* of another plan"):
        plan_workload(plan, task, under, measured_bits=999.0)


def test_a_strangers_coder_is_priced_as_it_says_unless_it_was_measured() -> None:
    def made(evidence: str) -> Any:
        said = {
            "kind": "coder",
            "name": "own",
            "cut_kinds": frozenset({"interior"}),
            "evidence": evidence,
            "available": lambda self, source: True,
            "bits": lambda self, elements, source: 3.0 * elements,
        }
        return installed_parts().with_classes([type("Own", (), said)])

    plan, task, under = coded("own"), small_task(), convention("harmonised")
    for evidence in ("analytic", "predicted", "published"):
        parts = made(evidence)
        assert plan_workload(plan, task, under, parts).uplink_bits == 3 * 8 * 16 * 16
        assert uplink_evidence(plan, task, parts) == evidence
    assert plan_workload(plan, task, under, made("predicted"), measured_bits=7.0).uplink_bits == 7
    assert uplink_evidence(plan, task, made("predicted"), measured_bits=7.0) == "measured"
    # A formula is no measurement, whatever it calls itself.
    with pytest.raises(CoinferError, match="this plan was not measured"):
        plan_workload(plan, task, under, made("measured"))


@pytest.mark.parametrize("name", sorted(conventions()))
def test_the_networks_input_has_its_size_whatever_is_sent(name: str) -> None:
    # The source is 3x16x16 in 8 bits; the network reads 3x32x32 floats.
    assert input_bits(small_task(), convention(name)) == 3 * 32 * 32 * 32
    only_source = replace(convention(name), coders=("raw8", "*"), input_coder="raw8")
    assert input_bits(small_task(), only_source) is None


# -- batches --------------------------------------------------------------------------------------


@st.composite
def batches(draw: st.DrawFn) -> tuple[PruneSpace, list[list[int]], list[int], list[int]]:
    """Draw a prune space and, per plan, units kept, a cut's position and a width in bits."""
    input_shape, layers = draw(specs(grouped=False))
    space = chain_space(chain(input_shape, *layers))
    count = draw(st.integers(1, 5))
    one = st.tuples(*(st.integers(1, group.units) for group in space.groups)).map(list)
    kept = [draw(one) for _ in range(count)]
    last = len(space.graph.cuts) - 1
    positions = [draw(st.integers(0, last)) for _ in range(count)]
    return space, kept, positions, [draw(st.sampled_from([8, 32])) for _ in range(count)]


@given(batches(), st.sampled_from(sorted(conventions())), speeds, speeds, rates, delays)
def test_a_batch_prices_each_plan_as_if_it_were_alone(
    batch: tuple[PruneSpace, list[list[int]], list[int], list[int]],
    name: str,
    device: float,
    server: float,
    rate: float,
    trip: float,
) -> None:
    space, kept, positions, widths = batch
    scenario = Scenario(
        processor("device", device),
        processor("server", server),
        Link("l", rate_bps=rate, round_trip_s=trip),
        convention(name),
    )
    units = np.array(kept, dtype=np.int64).reshape(len(kept), len(space.groups))
    widths_of = np.array(widths)
    many = batch_latency(space, units, np.array(positions), scenario, bits_per_element=widths_of)
    task = Task("m", space.graph, Source(space.graph.input_shape), prune_space=space)
    for row, position in enumerate(positions):
        cut = space.graph.cuts[position]
        plan = Plan("m", CutRef(cut.index, cut.after), keep=space.keep_pairs(units[row]))
        load = plan_workload(plan, task, scenario.convention)
        load = replace(load, uplink_bits=load.uplink_bits * widths[row] / 32)
        alone = numbers(scenario_latency(load, scenario))
        assert alone == [float(getattr(many, part)[row]) for part in (*PARTS, "total_s")]


def test_a_batch_larger_than_a_chunk_has_no_seams() -> None:
    space = chain_space(chain((3, 16, 16), *SMALL))
    rng = np.random.default_rng(7)
    count = 10_001
    kept = rng.integers(1, space.full + 1, size=(count, len(space.full)))
    positions = rng.integers(0, len(space.graph.cuts), size=count)
    whole = batch_workload(space, kept, positions)
    assert np.array_equal(whole.device_flops, space.device_flops(kept)[np.arange(count), positions])
    assert np.array_equal(whole.device_flops + whole.server_flops, space.flops(kept).sum(axis=1))
    for row in (0, 4095, 4096, 8191, 8192, count - 1):
        alone = batch_workload(space, kept[row : row + 1], positions[row : row + 1])
        for one, many in zip(astuple(alone)[:3], astuple(whole)[:3], strict=True):
            assert one[0] == many[row]


def test_a_batch_takes_the_codecs_payload_and_work_but_sends_nothing_at_cut_n() -> None:
    space = chain_space(chain((3, 16, 16), *SMALL))
    last = len(space.graph.cuts) - 1
    load = batch_workload(
        space,
        space.full,
        np.array([0, 3, last]),
        uplink_bits=np.array([10.0, 20.0, 30.0]),
        encode_flops=np.array([1, 2, 3]),
        decode_flops=7,
    )
    assert load.uplink_bits.tolist() == [10, 20, 0]
    assert load.encode_flops.tolist() == [1, 2, 0]
    assert load.decode_flops.tolist() == [7, 7, 0]


def test_a_batch_of_analog_plans_is_priced_as_each_alone() -> None:
    task, scenario = small_task(), scenario_of(Link("r", bandwidth_hz=1e6), 10.0)
    space, positions = task.prune_space, np.array([1, 3, 3, len(task.graph.cuts) - 1])
    assert space is not None
    channels = ("awgn", "awgn[symbols=real]", "none", "awgn")
    elements = space.elements(space.full)[0][positions]
    symbols = np.array([1, 2, 0, 1]) * elements // 2
    many = batch_workload(space, space.full, positions, uplink_symbols=symbols)
    times = batch_latency(space, space.full, positions, scenario, uplink_symbols=symbols)
    for row, (position, channel) in enumerate(zip(positions, channels, strict=True)):
        cut = task.graph.cuts[position]
        plan = Plan("m", CutRef(cut.index, cut.after), channel=channel)
        alone = plan_workload(plan, task, convention("qho2024"))
        for field in ("uplink_bits", "uplink_symbols"):
            assert getattr(many, field)[row] == getattr(alone, field)
        assert times.uplink_s[row] == scenario_latency(alone, scenario).uplink_s


def test_an_empty_batch_is_priced_as_nothing() -> None:
    space = chain_space(chain((3, 16, 16), *SMALL))
    nothing = np.zeros(0, dtype=np.int64)
    assert batch_workload(space, space.full, nothing).device_flops.shape == (0,)


@pytest.mark.parametrize(
    ("kept", "positions", "text"),
    [
        ([[8, 12, 20]], [11], "a cut's position is 11; allowed is 0 to 10"),
        ([[8, 12, 20]], [-1], "a cut's position is -1; allowed is 0 to 10"),
        ([[8, 12, 20]], [1.5], "positions have shape (1,); accepted: integers of shape (B,)"),
        ([[8, 12, 20]], [[1]], "positions have shape (1, 1)"),
        ([[8, 12, 20]] * 2, [1], "2 kept vectors but 1 cuts"),
        ([[9, 12, 20]], [1], "units kept of 'conv1' are 9"),
        ([[0, 12, 20]], [1], "units kept of 'conv1' are 0"),
    ],
)
def test_bad_batches_are_refused(kept: Any, positions: Any, text: str) -> None:
    space = chain_space(chain((3, 16, 16), *SMALL))
    with pytest.raises(CoinferError) as error:
        batch_workload(space, np.array(kept), np.array(positions))
    assert text in str(error.value)
    assert not isinstance(error.value, UnknownNameError)
