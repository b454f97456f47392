"""The cost model: FLOPs and bits to seconds (QHO paper, Table I, eqs. 1-6).

    total = device + encode + uplink + round trip + decode + server

Everything is plain arithmetic on numbers or NumPy arrays, so that the same function prices one
plan or, by broadcasting, plans x devices x links x SNRs. The downlink is neglected.

What crosses is bits or symbols, never both (design ruling 9):

| payload | counted by | takes |
|---|---|---|
| bits | the coder, or a measurement where they depend on the data | bits / rate |
| symbols | an analog channel: its uses for the code's elements | symbols / bandwidth, over radios |

A link's rate is that at which bits arrive without error. Through a binary channel they travel
uncoded, one per channel use: over a link that counts uses they take bits / uses_per_s. Over any
other they are charged at its rate all the same, and the errors come on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coinfer.channel import check_channel
from coinfer.checks import finite_positive, whole_number
from coinfer.compression.space import PruneSpace
from coinfer.conventions import Convention
from coinfer.errors import CoinferError
from coinfer.graph import INPUT, Cut, LayerGraph
from coinfer.hardware import Link, Processor
from coinfer.parts import NO_PART, Channel, Coder, Parts, installed_parts, sends_source
from coinfer.plan import Evidence, Plan, Scenario, Source, Task

# One number, or an array that broadcasts with the others.
Numbers = Any
Floats = NDArray[np.float64]

# Plans counted at once in a batch: their temporaries stay in the processor's cache, and memory
# grows with the plans by a few numbers each.
_CHUNK = 4096


@dataclass(frozen=True)
class Workload:
    """What a plan makes each side do; numbers, or arrays of one shape for many plans.

    Attributes:
        device_flops, server_flops: work on each side of the cut.
        uplink_bits: digital payload; 0 where nothing is sent.
        encode_flops, decode_flops: work of the codec; 0 where the convention neglects it.
        uplink_symbols: analog payload in channel uses, never together with bits.
        uncoded: whether the bits go through a binary channel as they are, one per channel use.
    """

    device_flops: Numbers
    server_flops: Numbers
    uplink_bits: Numbers
    encode_flops: Numbers = 0
    decode_flops: Numbers = 0
    uplink_symbols: Numbers = 0
    uncoded: Numbers = False


@dataclass(frozen=True)
class Latency:
    """Where the time goes, in seconds; numbers, or arrays of one shape."""

    device_s: Numbers
    encode_s: Numbers
    uplink_s: Numbers
    round_trip_s: Numbers
    decode_s: Numbers
    server_s: Numbers

    @property
    def total_s(self) -> Numbers:
        """End-to-end latency (eq. 2): the sum of all parts, in seconds."""
        return (
            self.device_s
            + self.encode_s
            + self.uplink_s
            + self.round_trip_s
            + self.decode_s
            + self.server_s
        )


def latency(
    work: Workload,
    device_flops_per_s: Numbers,
    server_flops_per_s: Numbers,
    rate_bps: Numbers,
    round_trip_s: Numbers = 0.0,
    bandwidth_hz: Numbers = 0.0,
) -> Latency:
    """Price workloads (eqs. 2-5); every argument broadcasts against the others.

    Args:
        work: FLOPs and payload.
        device_flops_per_s, server_flops_per_s: speeds, > 0.
        rate_bps: uplink rate of digital bits; 0 makes any payload take for ever.
        round_trip_s: added wherever something is sent.
        bandwidth_hz: complex symbols a second of an analog payload.

    Returns:
        Seconds per part, of the broadcast shape.
    """
    bits, symbols = np.asarray(work.uplink_bits, float), np.asarray(work.uplink_symbols, float)
    uplink = _transfer_s(bits, rate_bps) + _transfer_s(symbols, bandwidth_hz)
    sends = (bits > 0) | (symbols > 0)
    with np.errstate(over="ignore"):  # slower than any float can say is for ever
        return Latency(
            device_s=np.divide(work.device_flops, device_flops_per_s),
            encode_s=np.divide(work.encode_flops, device_flops_per_s),
            uplink_s=uplink,
            round_trip_s=np.where(sends, round_trip_s, 0.0)[()],
            decode_s=np.divide(work.decode_flops, server_flops_per_s),
            server_s=np.divide(work.server_flops, server_flops_per_s),
        )


def _transfer_s(amount: Floats, per_s: Numbers) -> Floats:
    """Eq. 5, D / R in seconds; nothing to send takes no time, even over a dead link."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # [()] makes a number of an array without axes, and leaves every other array alone.
        return np.where(amount > 0, np.divide(amount, per_s), 0.0)[()]


def scenario_latency(work: Workload, scenario: Scenario) -> Latency:
    """Price workloads in one scenario; arrays in, arrays of the same shape out.

    Raises:
        CoinferError: when one sends symbols and the link is no radio.
    """
    _check_bandwidth(work, [scenario.link])
    return latency(
        work,
        scenario.device.speed(),
        scenario.server.speed(),
        bit_rate_bps(work, scenario),
        scenario.link.round_trip_s,
        scenario.link.bandwidth_hz or 0.0,
    )


def bit_rate_bps(work: Workload, scenario: Scenario) -> Numbers:
    """Rate at which a workload's bits are charged: the link's, or its uses a second if uncoded."""
    uses_per_s = scenario.link.uses_per_s
    if uses_per_s is None:
        return scenario.rate_bps
    return np.where(work.uncoded, uses_per_s, scenario.rate_bps)[()]


def no_bandwidth(link: Link) -> str:
    """Say why symbols cannot be sent over a link; '' over a radio."""
    if link.bandwidth_hz is not None:
        return ""
    return (
        f"symbols take symbols / bandwidth seconds, and link '{link.name}' has no bandwidth; "
        "accepted is a radio (bandwidth_hz)"
    )


def _check_bandwidth(work: Workload, links: Sequence[Link]) -> None:
    if np.any(np.asarray(work.uplink_symbols) > 0):
        for reason in filter(None, map(no_bandwidth, links)):
            raise CoinferError(f"an analog payload cannot be priced: {reason}")


def sweep_latency(
    work: Workload,
    devices: Sequence[Processor],
    server: Processor,
    links: Sequence[Link],
    snrs_db: Sequence[float | None] = (None,),
) -> Latency:
    """Price P workloads on every device, link and SNR by broadcasting.

    Returns:
        Latency with arrays of shape (P, devices, links, SNRs); parts that do not depend on an
        axis have length 1 there.

    Raises:
        CoinferError: when one sends symbols and one of the links is no radio.
    """
    _check_bandwidth(work, links)

    def plans(values: Numbers) -> Floats:
        return np.atleast_1d(np.asarray(values, float)).reshape(-1, 1, 1, 1)

    column = Workload(
        plans(work.device_flops),
        plans(work.server_flops),
        plans(work.uplink_bits),
        plans(work.encode_flops),
        plans(work.decode_flops),
        plans(work.uplink_symbols),
    )
    rates = np.array([[link.rate(snr) for snr in snrs_db] for link in links])[None, None]
    if np.any(work.uncoded):
        uses = np.array([link.uses_per_s or np.nan for link in links]).reshape(1, 1, -1, 1)
        rates = np.where((plans(work.uncoded) > 0) & ~np.isnan(uses), uses, rates)
    return latency(
        column,
        np.array([device.speed() for device in devices]).reshape(1, -1, 1, 1),
        server.speed(),
        rates,
        np.array([link.round_trip_s for link in links]).reshape(1, 1, -1, 1),
        np.array([link.bandwidth_hz or 0.0 for link in links]).reshape(1, 1, -1, 1),
    )


def energy_j(time: Latency, device: Processor, link: Link) -> Numbers:
    """Energy the device spends, in joules: computing at its power, sending at the radio's.

    Raises:
        CoinferError: when a power is not given; none is published, and none is assumed.
    """
    if device.compute_watts is None or link.transmit_watts is None:
        raise CoinferError(missing_watts(device, link))
    computing = _spent_j(time.device_s + time.encode_s, device.compute_watts)
    return computing + _spent_j(time.uplink_s, link.transmit_watts)


def missing_watts(device: Processor, link: Link) -> str:
    """Say which power energy needs and how it is given; '' where both are."""
    needs = (
        (device.compute_watts, f"'{device.name}[compute_watts=...]'"),
        (link.transmit_watts, f"'{link.name}[transmit_watts=...]'"),
    )
    missing = [given_as for watts, given_as in needs if watts is None]
    return f"energy needs watts; give {' and '.join(missing)}" if missing else ""


def _spent_j(seconds: Numbers, watts: float) -> Numbers:
    """Return seconds times watts; what takes no power spends nothing, however long it takes."""
    return np.zeros_like(seconds)[()] if watts == 0 else seconds * watts


def uplink_bits(
    task: Task, cuts: Sequence[Cut], coders: str | Sequence[str], parts: Parts | None = None
) -> Floats:
    """Bits that cross at each cut under a payload format, shape (C,); 0 at cut N.

    Args:
        task: whose source the input's own formats send.
        cuts: where the network is cut; a cut may appear more than once.
        coders: one payload format for all cuts, or one for each.
        parts: known parts; the installed ones when not given.

    Raises:
        CoinferError: when a format does not fit a cut of that kind, or what it says is not a
            finite number of bits above 0.
    """
    parts = parts or installed_parts()
    formats = [coders] * len(cuts) if isinstance(coders, str) else list(coders)
    bits = np.zeros(len(cuts))
    for i, (cut, name) in enumerate(zip(cuts, formats, strict=True)):
        if cut.kind != "output":
            bits[i] = parts.coder_bits(name, cut, task.source)
    return bits


def split_workload(
    task: Task,
    cuts: Sequence[Cut],
    convention: Convention,
    coders: str | Sequence[str] = "float32",
    parts: Parts | None = None,
) -> Workload:
    """Workloads of the unpruned network at each of `cuts`, without codec: arrays of shape (C,)."""
    done = np.concatenate([[0], np.cumsum(task.graph.flops(convention.flops_rules))])
    device = done[[cut.index for cut in cuts]]
    return Workload(device, done[-1] - device, uplink_bits(task, cuts, coders, parts))


def plan_workload(
    plan: Plan,
    task: Task,
    convention: Convention,
    parts: Parts | None = None,
    *,
    measured_bits: float | None = None,
) -> Workload:
    """Workload of one plan under a convention: the harness's count, the same for every method.

    Args:
        plan: what is priced.
        task: what it is a plan for.
        convention: whose rules count.
        parts: known parts; the installed ones when not given.
        measured_bits: mean payload of this very plan, as it was measured; None where it was not.
            Coders whose bits depend on the data need it, for all others it must be what they say.

    Raises:
        CoinferError: when the plan does not fit the task or the convention, names a part that is
            not known, mixes bits and symbols, or a part says what cannot be (a negative size, NaN
            bits); when a coder's bits depend on the data and were not measured.
    """
    parts = parts or installed_parts()
    for kind in ("criterion", "schedule"):
        parts.check(kind, getattr(plan, kind))
    channel = plan_channel(plan, parts)
    cut = task.graph.cut(plan.cut.after)
    if cut.index != plan.cut.index:
        raise CoinferError(
            f"Plan.cut.index is {plan.cut.index}, but the cut after '{cut.after}' is {cut.index}"
        )
    shape = cut.shape
    if plan.keep:
        if task.prune_space is None:
            raise CoinferError("the plan prunes, but its task was made without prune groups")
        kept = task.prune_space.keep_vector(plan.keep)
        flops = task.prune_space.flops(kept, convention.flops_rules)[0]
        elements = int(task.prune_space.elements(kept)[0, task.graph.cuts.index(cut)])
        shape = _narrowed(task.graph, cut, elements)
    else:
        flops = task.graph.flops(convention.flops_rules)
    device, server = int(flops[: cut.index].sum()), int(flops[cut.index :].sum())
    if cut.kind == "output":
        # Nothing crosses, but what the plan names must be there all the same.
        for kind in ("codec", "coder"):
            parts.check(kind, getattr(plan, kind))
        _check_measured(plan, measured_bits, 0.0)
        return Workload(device, server, 0.0)
    encode, decode = (
        parts.codec_work(plan.codec, shape, convention.flops_rules)
        if convention.codec_counted
        else (0, 0)
    )
    code = Cut(cut.index, cut.after, parts.code_shape(plan.codec, shape), cut.kind)
    coder = parts.coder(plan.coder)
    check_channel(channel, coder)
    if channel is not None and channel.analog and not convention.symbols_as_bits:
        _check_measured(plan, measured_bits, None)
        symbols = _channel_uses(plan.channel, channel, code.elements)
        return Workload(device, server, 0.0, encode, decode, symbols)
    if measured_bits is not None and _depends_on_data(coder):
        bits = finite_positive("measured bits", measured_bits)
    else:
        reason = _unmeasured(plan, coder)
        if reason:
            raise CoinferError(reason)
        bits = float(uplink_bits(task, [code], plan.coder, parts)[0])
        _check_measured(plan, measured_bits, bits)
    return Workload(device, server, bits, encode, decode, uncoded=channel is not None)


def plan_channel(plan: Plan, parts: Parts | None = None) -> Channel | None:
    """Return the channel that a plan trains through; None for error-free bits."""
    if plan.channel == NO_PART:
        return None
    channel: Channel = (parts or installed_parts()).make("channel", plan.channel)
    return channel


def unmeasured(plan: Plan, parts: Parts | None = None) -> str:
    """Say how a plan's bits become known where only a measurement tells them; '' elsewhere.

    Nothing is asked of a coder here but what it declares: the bits of one whose evidence is
    `measured`, and which does not send the source, depend on the data.
    """
    return _unmeasured(plan, (parts or installed_parts()).coder(plan.coder))


def _unmeasured(plan: Plan, coder: Coder) -> str:
    if coder.evidence != "measured" or not _depends_on_data(coder):
        return ""
    return (
        f"coder '{plan.coder}' sends as many bits as the data need, and this plan was not "
        "measured; 'coinfer measure PLAN.json' builds it and counts them"
    )


def _depends_on_data(coder: Coder) -> bool:
    """Whether only features tell a coder's bits; those of the source are known with the task."""
    return coder.evidence != "analytic" and not sends_source(coder)


def _check_measured(plan: Plan, measured_bits: float | None, bits: float | None) -> None:
    """Refuse a measurement that says otherwise than what is known without it."""
    if measured_bits is not None and measured_bits != bits:
        known = "symbols cross, no bits" if bits is None else f"it sends {bits:,.0f}"
        raise CoinferError(
            f"{measured_bits:,.0f} bits were measured of the plan after '{plan.cut.after}', but "
            f"{known}; is it a measurement of another plan?"
        )


def _channel_uses(ref: str, channel: Channel, elements: int) -> int:
    """Symbols that an analog channel makes of a code of so many elements."""
    uses = getattr(channel, "uses", None)
    if not callable(uses):
        raise CoinferError(
            f"channel '{ref}' is analog but does not say how many symbols a code takes; it needs a "
            "method uses(elements, bits)"
        )
    return whole_number(f"channel '{ref}': uses of {elements} elements", uses(elements, 0), low=1)


def _narrowed(graph: LayerGraph, cut: Cut, elements: int) -> tuple[int, ...]:
    """Return the shape that crosses at a cut when pruning leaves `elements` of it."""
    axes = {layer.name: layer.channel_axis for layer in graph.layers}
    shape = list(cut.shape)
    axis = axes.get(cut.after, 0)
    shape[axis] = elements * shape[axis] // cut.elements
    return tuple(shape)


def batch_workload(
    space: PruneSpace,
    kept: ArrayLike,
    positions: ArrayLike,
    rules: str = "table1",
    *,
    bits_per_element: Numbers = 32.0,
    uplink_bits: Numbers | None = None,
    uplink_symbols: Numbers = 0,
    encode_flops: Numbers = 0,
    decode_flops: Numbers = 0,
) -> Workload:
    """Workloads of B pruned and cut networks at once, as a search prices its candidates.

    Equal, number for number, to `plan_workload` of each plan alone.

    Args:
        space: the network's prune space.
        kept: units kept per prune group, integers of shape (B, G), or (G,) for the same in all.
        positions: of each plan's cut among the graph's legal cuts, integers of shape (B,).
        rules: name of the counting rule.
        bits_per_element: width of a crossing element; a number or (B,).
        uplink_bits: payload of each plan, a number or (B,), where it is not elements times width
            (a codec's code). Nothing is sent at cut N all the same.
        uplink_symbols: analog payload of each plan, a number or (B,); one with symbols sends no
            bits.
        encode_flops, decode_flops: work of the codec; numbers or (B,).

    Raises:
        CoinferError: when `kept` or `positions` are not of that form or out of range.
    """
    where = np.asarray(positions)
    if where.ndim != 1 or not np.issubdtype(where.dtype, np.integer):
        raise CoinferError(f"positions have shape {where.shape}; accepted: integers of shape (B,)")
    cuts = space.graph.cuts
    if where.size and not 0 <= where.min() <= where.max() < len(cuts):
        wrong = where[(where < 0) | (where >= len(cuts))][0]
        raise CoinferError(f"a cut's position is {wrong}; allowed is 0 to {len(cuts) - 1}")
    units = np.asarray(kept)
    if units.ndim == 1:
        units = np.broadcast_to(units, (len(where), len(units)))
    if len(units) != len(where):
        raise CoinferError(f"{len(units)} kept vectors but {len(where)} cuts; accepted: as many")
    device, whole, crossing = (np.zeros(len(where), dtype=np.int64) for _ in range(3))
    for start in range(0, len(where), _CHUNK):
        part = slice(start, start + _CHUNK)
        each = np.arange(len(where[part])), where[part]
        done = space.device_flops(units[part], rules)
        device[part] = done[each]
        whole[part] = done[:, -1]
        if uplink_bits is None:
            crossing[part] = space.elements(units[part])[each]
    sends = np.array([cut.kind != "output" for cut in cuts])[where]
    payload = crossing * bits_per_element if uplink_bits is None else uplink_bits
    analog = np.asarray(uplink_symbols) > 0
    return Workload(
        device,
        whole - device,
        np.where(sends & ~analog, payload, 0.0),
        np.where(sends, encode_flops, 0),
        np.where(sends, decode_flops, 0),
        np.where(sends, uplink_symbols, 0),
    )


def batch_latency(
    space: PruneSpace,
    kept: ArrayLike,
    positions: ArrayLike,
    scenario: Scenario,
    *,
    bits_per_element: Numbers = 32.0,
    uplink_bits: Numbers | None = None,
    uplink_symbols: Numbers = 0,
    encode_flops: Numbers = 0,
    decode_flops: Numbers = 0,
) -> Latency:
    """Price B pruned and cut networks in one scenario; arguments as of `batch_workload`.

    Returns:
        Latency with arrays of shape (B,).
    """
    work = batch_workload(
        space,
        kept,
        positions,
        scenario.convention.flops_rules,
        bits_per_element=bits_per_element,
        uplink_bits=uplink_bits,
        uplink_symbols=uplink_symbols,
        encode_flops=encode_flops,
        decode_flops=decode_flops,
    )
    return scenario_latency(work, scenario)


def uplink_evidence(
    plan: Plan, task: Task, parts: Parts | None = None, *, measured_bits: float | None = None
) -> Evidence:
    """Evidence class of a plan's payload.

    That of its coder; `measured` where the bits depend on the data and were measured; counted
    where symbols cross or nothing does. Arguments as of `plan_workload`.
    """
    parts = parts or installed_parts()
    channel = plan_channel(plan, parts)
    analog = channel is not None and channel.analog
    if analog or task.graph.cut(plan.cut.after).kind == "output":
        return "analytic"
    coder = parts.coder(plan.coder)
    return "measured" if measured_bits is not None and _depends_on_data(coder) else coder.evidence


def input_bits(task: Task, convention: Convention) -> float | None:
    """Bits of the network's input under a convention (design ruling 7), whatever a plan sends.

    In the convention's format of the input; where that sends the source, in the first admitted
    format that sends the tensor. None where no format does.
    """
    return _input_bits(task.graph.cut(INPUT), task.source, convention)


@lru_cache(maxsize=256)  # for every row of a sweep the same
def _input_bits(start: Cut, source: Source, convention: Convention) -> float | None:
    parts = installed_parts()
    for name in (convention.input_coder, *convention.payloads()):
        coder = parts.coder(name)
        fits = start.kind in coder.cut_kinds and coder.evidence == "analytic"
        if fits and not sends_source(coder):
            return parts.coder_bits(name, start, source)
    return None
