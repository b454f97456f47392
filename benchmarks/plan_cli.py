"""`coinfer plan`: one question, one answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from coinfer.clitypes import CONVENTION, DEVICE, LINK, MODEL, SERVER
from methods.cli import METHOD, METHOD_FILE

if TYPE_CHECKING:
    from benchmarks.rows import Row


@click.command("plan")
@click.option("--model", required=True, type=MODEL, help="Network; see `coinfer list models`.")
@click.option(
    "--method", required=True, type=METHOD, help="Method, e.g. neurosurgeon[objective=energy]."
)
@click.option("--device", type=DEVICE, default="custom", show_default=True, help="Device preset.")
@click.option("--server", type=SERVER, default="custom", show_default=True, help="Server preset.")
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
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of stochastic methods.")
@METHOD_FILE
@click.option(
    "--presets",
    "preset_files",
    multiple=True,
    metavar="FILE.toml",
    help="Devices, servers and links of your own.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def plan(**options: Any) -> int:
    """Ask one method for one plan and price it.

    \b
    coinfer plan --model alexnet --method neurosurgeon --device raspberry-pi-3b+ \\
        --server tesla-p100 --link 3g --convention qho2024
    coinfer plan --model torchvision:resnet50 --method exhaustive --device-flops 5e9 \\
        --server-flops 1e13 --bandwidth-hz 1e6 --snr-db 20 --json
    """
    from benchmarks.catalog import Catalog
    from benchmarks.evaluate import Group, evaluate, prepare
    from coinfer.errors import EXIT_FAILED, EXIT_OK

    catalog = Catalog(options["method_files"], options["preset_files"])
    cell = catalog.canonical(_cell(options))
    scenario = catalog.scenario(cell)  # a missing number is bad input here, not a failed cell
    row = evaluate(prepare(Group.of(cell), catalog), cell)
    notes = [note for note in (scenario.device.note, scenario.server.note) if note]
    if options["as_json"]:
        click.echo(json.dumps({**answer(row), "notes": notes}, indent=2))
    else:
        click.echo("\n".join([describe(row), *(f"  note     {note}" for note in notes)]))
    if row.result.status == "failed":
        click.echo(row.traceback, err=True)
        return EXIT_FAILED
    return EXIT_OK


def _cell(options: dict[str, Any]) -> Any:
    from benchmarks.cells import Cell

    return Cell(
        model=options["model"],
        method=options["method"],
        device=_with(
            options["device"],
            flops_per_s=options["device_flops"],
            compute_watts=options["device_watts"],
        ),
        server=_with(options["server"], flops_per_s=options["server_flops"]),
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


def answer(row: Row) -> dict[str, Any]:
    """Return a row as the JSON that `coinfer plan --json` prints.

    Latencies in seconds, payload in bits, work in FLOPs (or MACs, as the convention counts);
    an infinite latency (nothing gets through) is the string "inf".
    """
    from coinfer.serial import canonical_json, to_data

    result = row.result
    data: dict[str, Any] = {
        "model": row.cell.model,
        "method": row.cell.method,
        "device": row.cell.device,
        "server": row.cell.server,
        "link": row.cell.link,
        "snr_db": row.cell.snr_db,
        "convention": row.cell.convention,
        "max_accuracy_loss": row.cell.max_accuracy_loss,
        "seed": row.cell.seed,
        "status": result.status,
        "reason": result.reason,
        "plan": result.plan,
        "plan_hash": result.plan_hash,
        "latency": result.latency or None,
        "uplink_bits": result.uplink_bits,
        "rate_bps": result.rate_bps,
        "device_flops": result.device_flops,
        "encode_flops": result.encode_flops,
        "decode_flops": result.decode_flops,
        "server_flops": result.server_flops,
        "total_flops": result.total_flops,
        "energy_j": result.energy_j,
        "accuracy": result.accuracy,
        "accuracy_loss": result.accuracy_loss,
        "predicted_accuracy": result.predicted_accuracy,
        "predicted_latency_s": result.predicted_latency_s,
        "evaluations": result.evaluations,
        "evidence": result.evidence,
        "assumptions": list(result.assumptions),
    }
    strict = json.loads(canonical_json(to_data(data)))  # infinities have become strings
    return {name: strict[name] for name in data}


def describe(row: Row) -> str:
    """Return a row as a few lines of text."""
    from coinfer.units import seconds_text

    cell, result = row.cell, row.result
    where = f"{cell.model} on {cell.device} + {cell.server} over {cell.link}"
    if cell.snr_db is not None:
        where += f" at {cell.snr_db:g} dB"
    lines = [f"{cell.method}: {where} ({cell.convention})"]
    if result.plan is None:
        return "\n".join([*lines, f"  {result.status}: {result.reason}"])
    cut, time = result.plan["cut"], result.latency
    parts = ", ".join(
        f"{name.removesuffix('_s').replace('_', ' ')} {seconds_text(value)}"
        for name, value in time.items()
        if name != "total_s" and value > 0
    )
    bits = result.uplink_bits or 0.0
    lines += [
        f"  cut      after {cut['after']} ({cut['index']} layers on the device)",
        f"  latency  {seconds_text(time['total_s'])} = {parts}  [{result.evidence['latency']}]",
        f"  uplink   {bits:.0f} bits as {result.plan['coder']}  [{result.evidence['uplink_bits']}]"
        if bits
        else "  uplink   nothing is sent",
        f"  work     device {result.device_flops:,}, server {result.server_flops:,}",
    ]
    if result.energy_j is not None:
        lines.append(f"  energy   {result.energy_j:.4g} J on the device")
    if result.accuracy is not None:
        lines.append(f"  accuracy {100 * result.accuracy:.2f} %  [{result.evidence['accuracy']}]")
    elif result.accuracy_loss is not None:
        lines.append("  accuracy that of the unpruned network (not measured here)")
    lines += [f"  assumed  {text}" for text in result.assumptions]
    return "\n".join(lines)
