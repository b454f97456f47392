"""`coinfer plan`: one question, one answer."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from coinfer.clitypes import CONVENTION, DEVICE, LINK, MODEL, PRESETS, SERVER
from methods.cli import METHOD, METHOD_FILE

if TYPE_CHECKING:
    from benchmarks.catalog import Catalog
    from benchmarks.cells import Cell
    from benchmarks.rows import Row
    from coinfer.plan import Task


@click.command("plan")
@click.option("--model", required=True, type=MODEL, help="Network; see `coinfer list models`.")
@click.option(
    "--method", required=True, type=METHOD, help="Method, e.g. neurosurgeon[objective=energy]."
)
@click.option("--device", type=DEVICE, help="Device preset; not needed with --device-flops.")
@click.option("--server", type=SERVER, help="Server preset; not needed with --server-flops.")
@click.option(
    "--link", type=LINK, help="Link preset; not needed with --rate-bps or --bandwidth-hz."
)
@click.option("--snr-db", type=float, help="SNR in dB, for links with a bandwidth.")
@click.option(
    "--convention",
    type=CONVENTION,
    default="harmonised",
    show_default=True,
    help="Accounting rules.",
)
@click.option("--device-flops", type=float, help="FLOP/s of the device, instead of the preset's.")
@click.option("--server-flops", type=float, help="FLOP/s of the server, instead of the preset's.")
@click.option("--rate-bps", type=float, help="Uplink rate in bit/s, instead of the preset's.")
@click.option("--bandwidth-hz", type=float, help="Radio bandwidth in Hz (needs --snr-db).")
@click.option("--round-trip-s", type=float, help="Round-trip time of the link in seconds.")
@click.option("--device-watts", type=float, help="Power of the computing device, for energy.")
@click.option("--radio-watts", type=float, help="Power of the sending radio, for energy.")
@click.option(
    "--max-accuracy-loss",
    type=float,
    default=0.02,
    show_default=True,
    help="Accuracy floor: loss allowed, 0 to 1.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of stochastic methods.",
)
@METHOD_FILE
@PRESETS
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def plan(**options: Any) -> int:
    """Ask one method for one plan and price it.

    \b
    coinfer plan --model alexnet --method neurosurgeon --device raspberry-pi-3b+ \\
        --server tesla-p100 --link 3g --convention qho2024
    coinfer plan --model torchvision:resnet50 --method exhaustive --device-flops 5e9 \\
        --server-flops 1e13 --bandwidth-hz 1e6 --snr-db 20 --json
    """
    from coinfer.errors import EXIT_FAILED, EXIT_OK
    from coinfer.streams import stdout_to_stderr

    with stdout_to_stderr():  # methods, models and their libraries print
        found = _ask(options)
    for text in found.without_effect:
        click.echo(f"coinfer: note: {text}", err=True)
    click.echo(json.dumps(answer(found), indent=2) if options["as_json"] else describe(found))
    if found.row.result.status == "failed":
        click.echo(found.row.traceback, err=True)
        return EXIT_FAILED
    return EXIT_OK


@dataclass(frozen=True)
class Found:
    """An answered question.

    Attributes:
        row: the answer.
        task: what was asked about.
        sent: what crosses: `source`, `input` (the network's), `feature`, `nothing`; '' without a
            plan.
        notes: what a reader must know of the presets.
        without_effect: options that were given and decide nothing here.
    """

    row: Row
    task: Task
    sent: str
    notes: tuple[str, ...]
    without_effect: tuple[str, ...]


def _ask(options: dict[str, Any]) -> Found:
    from benchmarks.catalog import Catalog
    from benchmarks.evaluate import Group, evaluate, prepare
    from coinfer.errors import CoinferError

    catalog = Catalog(options["method_files"], options["preset_files"])
    cell = catalog.canonical(_cell(options))
    if cell.snr_db is None and catalog.presets.link(cell.link).needs_snr:
        raise CoinferError(f"link '{cell.link}' is a radio: its rate needs an SNR; give --snr-db")
    scenario = catalog.scenario(cell)  # a missing number is bad input here, not a failed cell
    prepared = prepare(Group.of(cell), catalog)
    row = evaluate(prepared, cell)
    return Found(
        row,
        prepared.task,
        _sent(row, prepared.task, catalog),
        tuple(note for note in (scenario.device.note, scenario.server.note) if note),
        _without_effect(options, cell),
    )


def _sent(row: Row, task: Task, catalog: Catalog) -> str:
    from coinfer.parts import sends_source

    plan = row.result.plan
    if plan is None:
        return ""
    kind = task.graph.cut(plan["cut"]["after"]).kind
    if kind == "input" and sends_source(catalog.methods.parts.coder(plan["coder"])):
        return "source"
    return {"input": "input", "interior": "feature", "output": "nothing"}[kind]


def _without_effect(options: dict[str, Any], cell: Cell) -> tuple[str, ...]:
    said = []
    if options["snr_db"] is not None and cell.snr_db is None:
        said.append(f"link '{cell.link}' has its rate; --snr-db changes nothing")
    if options["seed"] != cell.seed:
        said.append(f"method '{cell.method}' draws nothing; --seed changes nothing")
    return tuple(said)


def _cell(options: dict[str, Any]) -> Cell:
    from benchmarks.cells import Cell

    return Cell(
        model=options["model"],
        method=options["method"],
        device=_with(
            _processor(options, "device"),
            flops_per_s=options["device_flops"],
            compute_watts=options["device_watts"],
        ),
        server=_with(_processor(options, "server"), flops_per_s=options["server_flops"]),
        link=_with(
            _link(options),
            round_trip_s=options["round_trip_s"],
            transmit_watts=options["radio_watts"],
        ),
        snr_db=options["snr_db"],
        seed=options["seed"],
        convention=options["convention"],
        max_accuracy_loss=options["max_accuracy_loss"],
    )


def _processor(options: dict[str, Any], role: str) -> str:
    """The device's or server's ref; one that is given by its FLOP/s alone is `custom`."""
    from coinfer.errors import CoinferError

    ref: str | None = options[role]
    if ref is None and options[f"{role}_flops"] is None:
        raise CoinferError(f"no {role}: give --{role} or --{role}-flops")
    return "custom" if ref is None else ref


def _link(options: dict[str, Any]) -> str:
    """The link's ref, a rate or bandwidth given by flag in place of the preset's."""
    from coinfer.errors import CoinferError

    rate, bandwidth, link = options["rate_bps"], options["bandwidth_hz"], options["link"]
    if rate is not None and bandwidth is not None:
        raise CoinferError("--rate-bps and --bandwidth-hz exclude each other; give one")
    if link is None and rate is None and bandwidth is None:
        raise CoinferError("no link: give --link, --rate-bps, or --bandwidth-hz with --snr-db")
    if link is None:
        link = "rate" if rate is not None else "radio"
    return _with(link, rate_bps=rate, bandwidth_hz=bandwidth)


def _with(ref: str, **numbers: float | None) -> str:
    """Add the given options to a preset's ref, flags winning over what the ref says."""
    from coinfer.refs import Ref, parse_ref

    given = {name: value for name, value in numbers.items() if value is not None}
    parsed = parse_ref(ref)
    return str(Ref(parsed.name, tuple({**parsed.arguments, **given}.items())))


def answer(found: Found) -> dict[str, Any]:
    """Return the JSON that `coinfer plan --json` prints.

    Latencies in seconds, payload in bits or in an analog channel's symbols, work in `work_unit`; an
    infinite latency (nothing gets through) is the string "inf". `source` is what the sensor
    delivers, `network_input` what the network reads, `sent` which of them (or which other tensor)
    crosses.
    """
    from coinfer.conventions import convention
    from coinfer.serial import canonical_json, to_data

    cell, result, task = found.row.cell, found.row.result, found.task
    data: dict[str, Any] = {
        "model": cell.model,
        "method": cell.method,
        "device": cell.device,
        "server": cell.server,
        "link": cell.link,
        "snr_db": cell.snr_db,
        "convention": cell.convention,
        "max_accuracy_loss": cell.max_accuracy_loss,
        "seed": cell.seed,
        "status": result.status,
        "reason": result.reason,
        "plan": result.plan,
        "plan_hash": result.plan_hash,
        "latency": result.latency or None,
        "uplink_bits": result.uplink_bits,
        "uplink_p5_bits": result.uplink_p5_bits,
        "uplink_p95_bits": result.uplink_p95_bits,
        "uplink_symbols": result.uplink_symbols,
        "rate_bps": result.rate_bps,
        "bandwidth_hz": result.bandwidth_hz,
        "sent": found.sent or None,
        "source": {**to_data(task.source), "raw_bits": task.source.raw_bits},
        "network_input": {
            "shape": task.graph.input_shape,
            "float32_bits": task.graph.cuts[0].elements * 32,
        },
        "source_bits": result.source_bits,
        "input_bits": result.input_bits,
        "work_unit": convention(cell.convention).work_unit,
        "device_flops": result.device_flops,
        "encode_flops": result.encode_flops,
        "decode_flops": result.decode_flops,
        "server_flops": result.server_flops,
        "total_flops": result.total_flops,
        "energy_j": result.energy_j,
        "accuracy": result.accuracy,
        "accuracy_loss": result.accuracy_loss,
        "measured_accuracy": result.measured_accuracy,
        "test_accuracy": result.test_accuracy,
        "floor_held": result.floor_held,
        "predicted_accuracy": result.predicted_accuracy,
        "predicted_latency_s": result.predicted_latency_s,
        "evaluations": result.evaluations,
        "evidence": result.evidence,
        "assumptions": list(result.assumptions),
        "notes": list(found.notes),
    }
    strict = json.loads(canonical_json(to_data(data)))  # infinities have become strings
    return {name: strict[name] for name in data}


def describe(found: Found) -> str:
    """Return the answer as a few lines of text."""
    from coinfer.units import seconds_text

    cell, result = found.row.cell, found.row.result
    where = (
        f"{cell.model} on {_brief(cell.device)} + {_brief(cell.server)} over {_brief(cell.link)}"
    )
    if cell.snr_db is not None:
        where += f" at {cell.snr_db:g} dB"
    lines = [f"{cell.method}: {where} ({cell.convention})"]
    if result.plan is None:
        lines.append(f"  {result.status}: {result.reason}")
    else:
        cut = result.plan["cut"]
        lines += [
            f"  cut      after {cut['after']} ({_layers(cut['index'])} on the device)",
            f"  latency  {_latency_text(result.latency)}  [{result.evidence['latency']}]",
            f"  uplink   {_uplink_text(found)}",
            f"  sizes    {_sizes_text(found.task)}",
            f"  work     {_work_text(found)}",
        ]
        if result.energy_j is not None:
            lines.append(f"  energy   {result.energy_j:.4g} J on the device")
        lines.append(f"  accuracy {_accuracy_text(found)}")
        own = result.predicted_latency_s
        if own is not None and own != result.latency["total_s"]:
            lines.append(f"  method   predicts a latency of {seconds_text(own)}")
    lines += [f"  assumed  {text}" for text in result.assumptions]
    return "\n".join([*lines, *(f"  note     {text}" for text in found.notes)])


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _latency_text(seconds: dict[str, float]) -> str:
    from coinfer.units import seconds_text

    parts = ", ".join(
        f"{name.removesuffix('_s').replace('_', ' ')} {seconds_text(value)}"
        for name, value in seconds.items()
        if name != "total_s" and value > 0
    )
    return f"{seconds_text(seconds['total_s'])} = {parts}" if parts else "0 s"


def _uplink_text(found: Found) -> str:
    result = found.row.result
    if found.sent == "nothing" or result.plan is None:
        return "nothing is sent"
    what = {"source": "the source", "input": "the network's input", "feature": "a feature"}
    if result.uplink_symbols is not None:
        return (
            f"{result.uplink_symbols:,} symbols at {result.bandwidth_hz:,.0f} a second: "
            f"{what[found.sent]} through {result.plan['channel']}  "
            f"[{result.evidence['uplink_symbols']}]"
        )
    return (
        f"{result.uplink_bits:,.0f} bits: {what[found.sent]} as {result.plan['coder']}  "
        f"[{result.evidence['uplink_bits']}]"
    )


def _sizes_text(task: Task) -> str:
    from coinfer.plan import shape_text

    source, network = task.source, task.graph.cuts[0]
    png = "" if source.png_bits is None else f", {source.png_bits:,.0f} as PNG"
    return (
        f"source {shape_text(source.shape)}, {source.raw_bits:,} bits raw{png}; network input "
        f"{shape_text(network.shape)}, {network.elements * 32:,} bits in float32"
    )


def _work_text(found: Found) -> str:
    from coinfer.conventions import convention

    result = found.row.result
    sides = {
        "device": result.device_flops,
        "encoder": result.encode_flops,
        "decoder": result.decode_flops,
        "server": result.server_flops,
    }
    shown = [f"{name} {work:,}" for name, work in sides.items() if work or name in _SIDES]
    return f"{', '.join(shown)} {convention(found.row.cell.convention).work_unit}"


def _accuracy_text(found: Found) -> str:
    """The plan's accuracy and where it comes from; never another network's."""
    result = found.row.result
    own = result.predicted_accuracy
    predicted = "" if own is None else f"; the method predicts {100 * own:.2f} %"
    if result.accuracy is not None:
        return f"{100 * result.accuracy:.2f} %  [{result.evidence['accuracy']}]{predicted}"
    if result.accuracy_loss is not None:
        return f"that of the unpruned network, which is not known here{predicted}"
    return f"not measured: the plan changes the network or what crosses{predicted}"


# Sides whose work is told even where it is 0.
_SIDES = ("device", "server")
_REF_NUMBER = re.compile(r"(?<==)(?:-?\d+\.?\d*(?:e[-+]?\d+)?|-?Infinity)(?=[,\]])")


def _brief(ref: str) -> str:
    """A ref with its numbers as people write them (`flops_per_s=5e9`); it means the same."""
    return _REF_NUMBER.sub(lambda found: _brief_number(found[0]), ref)


def _brief_number(text: str) -> str:
    value = float(text)
    short = f"{value:g}"
    if float(short) != value:
        return text
    return re.sub(r"e([-+])0*(\d)", lambda found: f"e{found[1].strip('+')}{found[2]}", short)
