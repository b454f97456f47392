"""One cell: ask the method, price its plan, check the accounts, return the row.

The same code for every method; nothing that a method says about its own latency or accuracy
becomes a result. Cells of one group (model, method, seed, convention, floor) share the traced
network and the method's library, so sweeping scenarios builds nothing twice.
"""

from __future__ import annotations

import json
import math
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from time import perf_counter

import numpy as np

from benchmarks.catalog import Catalog
from benchmarks.cells import LATENCY_PARTS, Cell, Result
from benchmarks.measured import Measurements, measurements
from benchmarks.rows import Row
from benchmarks.selections import Chosen, shipped_selections
from coinfer import conventions
from coinfer.accuracy.measurement import Measurement, Payload
from coinfer.checks import is_whole
from coinfer.conventions import Convention
from coinfer.cost import (
    Latency,
    Workload,
    bit_rate_bps,
    energy_j,
    input_bits,
    no_bandwidth,
    plan_channel,
    plan_workload,
    scenario_latency,
    unmeasured,
    uplink_evidence,
)
from coinfer.errors import CoinferError
from coinfer.graph import Cut
from coinfer.hardware import Link, Processor
from coinfer.method import Context, Ledger, Library, Method
from coinfer.parts import Parts, sends_source
from coinfer.plan import Plan, Scenario, Selection, Skip, Task, shape_text
from coinfer.refs import parse_ref
from coinfer.serial import canonical_json, content_hash, to_data
from coinfer.sources import closure_hash
from coinfer.tasks import make_task

# The harness's code counts in every key; what makes the task is in the task's hash already, and
# each method's code counts in its own rows only.
_KEYED_OTHERWISE = (
    "methods",
    "coinfer.models",
    "coinfer.graphs",
    "coinfer.prune_spaces",
    "coinfer.compression.groups",
)


# The floor by whose draws a method searches whose build is the same for all: any would do.
_ANY_FLOOR = 0.02


@dataclass(frozen=True)
class Group:
    """What cells share: one task, one method, one library."""

    model: str
    method: str
    seed: int
    convention: str
    max_accuracy_loss: float

    @classmethod
    def of(cls, cell: Cell) -> Group:
        """Return the group of a cell."""
        return cls(cell.model, cell.method, cell.seed, cell.convention, cell.max_accuracy_loss)


@dataclass(frozen=True)
class Prepared:
    """A group ready to be asked. Picklable and torch-free.

    Attributes:
        group: which cells it answers.
        catalog: resolves the cells' names.
        task: the traced network.
        library: what the method built; None when it refuses the task or failed to build.
        skip: why the method refuses the task, or ''.
        failure: (reason, traceback) of a build that failed, or None.
        build_ledger: what the build spent, [phase, evaluations, epochs].
        inputs: hashes of everything the group's results depend on beside the scenario.
        frozen: name of the selections that answer in the method's place; '' asks the method.
    """

    group: Group
    catalog: Catalog
    task: Task
    library: Library | None
    skip: str
    failure: tuple[str, str] | None
    build_ledger: tuple[tuple[str, int, float], ...]
    inputs: dict[str, str]
    frozen: str = ""

    @property
    def method(self) -> Method:
        """The adapter."""
        return self.catalog.method(self.group.method)


def group_inputs(group: Group, catalog: Catalog) -> dict[str, str]:
    """Hashes of what a group's results depend on: code, network, convention, libraries.

    Raises:
        CoinferError: when the model cannot be found or traced, or lacks the convention's one cut.
    """
    method = catalog.method(group.method)
    task = _task(group.model, group.max_accuracy_loss, _needs_groups(method), _learns(method))
    check_cut(conventions.convention(group.convention), task)
    return {
        "task": task.hash,
        **_measured_input(group.model),
        **_selections_input(method, catalog),
        "convention": _convention_hash(group.convention),
        **code_inputs(method, catalog.methods.parts),
    }


def _frozen(method: Method, catalog: Catalog) -> bool:
    return bool(catalog.selections) and _learns(method)


def _selections_input(method: Method, catalog: Catalog) -> dict[str, str]:
    if not _frozen(method, catalog):
        return {}
    return {"selections": shipped_selections(catalog.selections).hash}


def _measured_input(model: str) -> dict[str, str]:
    """Rows take accuracies and payloads from the tables of a network that has some."""
    known = measurements(model)
    return {} if known is None else {"measurements": known.hash}


def code_inputs(method: Method, parts: Parts) -> dict[str, str]:
    """Hashes of the code that answers for a method, here: its own, the harness's, libraries.

    Parts that are not built in count where a plan could name them: for a stranger's method, and
    for a built-in one whose options do.
    """
    built_in = type(method).__module__.partition(".")[0] == "methods"
    named = {
        cls.__module__
        for cls in parts.foreign()
        if not built_in or cls.name in str(method.ref)  # type: ignore[attr-defined]
    }
    return {
        "method": _source_hash((type(method).__module__, *sorted(named))),
        "harness": _source_hash((__name__,), _KEYED_OTHERWISE),
        "numpy": np.__version__.partition(".")[0],
        "python": f"{sys.version_info.major}",
    }


def prepare(group: Group, catalog: Catalog) -> Prepared:
    """Trace the network and let the method build its library (the expensive, link-free part).

    A method that refuses or fails is recorded, not raised: its cells become rows that say so.

    Raises:
        CoinferError: when the model cannot be found or traced.
    """
    method = catalog.method(group.method)
    task = _task(group.model, group.max_accuracy_loss, _needs_groups(method), _learns(method))
    convention = conventions.convention(group.convention)
    inputs = group_inputs(group, catalog)
    blank = Prepared(group, catalog, task, None, "", None, (), inputs)
    try:
        skip = refusal(group, catalog)
        if skip:
            return replace(blank, skip=skip)
        if _frozen(method, catalog):
            return replace(blank, library=Library(), frozen=catalog.selections)
        cuts = allowed_cuts(method, task, convention)
        drawn = replace(group, max_accuracy_loss=_ANY_FLOOR) if method.same_for_any_floor else group
        context = _context(task, convention, cuts, method, drawn, "build")
        library = _built(method, method.build(task, context))
    except (Exception, SystemExit) as error:  # a method may even try to end the run
        return replace(blank, failure=_failure(error))
    return replace(blank, library=library, build_ledger=_ledger(context.ledger))


def refusal(group: Group, catalog: Catalog, scenario: Scenario | None = None) -> str:
    """Return why a group's method cannot run (in a scenario, if given), or ''. Builds nothing."""
    method = catalog.method(group.method)
    task = _task(group.model, group.max_accuracy_loss, _needs_groups(method), _learns(method))
    reason = _skip_reason(method, task, scenario)
    convention = conventions.convention(group.convention)
    if reason or allowed_cuts(method, task, convention):
        return reason
    return _no_cut(method, convention)


def cell_inputs(cell: Cell, prepared_inputs: dict[str, str], catalog: Catalog) -> dict[str, str]:
    """Hashes of everything that determines a cell's result beside the cell's own names."""
    return {
        **prepared_inputs,
        "device": _hardware_hash(catalog, "device", cell.device),
        "server": _hardware_hash(catalog, "server", cell.server),
        "link": _hardware_hash(catalog, "link", cell.link),
    }


def evaluate(prepared: Prepared, cell: Cell) -> Row:
    """Answer one cell.

    Args:
        prepared: of the cell's group.
        cell: in canonical form.

    Returns:
        The row; a method that fails or times out gives a failed row with its reason.
    """
    started = perf_counter()
    failure = prepared.failure
    try:
        result = Result("failed", reason=failure[0]) if failure else _result(prepared, cell)
    except (Exception, SystemExit) as error:  # a method may even try to end the run
        failure = _failure(error)
        result = Result("failed", reason=failure[0])
    return _row(prepared, cell, result, perf_counter() - started, failure)


def evaluate_many(prepared: Prepared, cells: Sequence[Cell]) -> tuple[Row, ...]:
    """Answer cells of one group together, for a method that selects for many scenarios at once.

    Seconds are shared out evenly. The rows are those of `evaluate`.

    Raises:
        Exception: whatever the method raises; answer the cells one by one to see which it was.
    """
    started = perf_counter()
    assert prepared.failure is None
    asked = [question_of(prepared, cell) for cell in cells]
    questions = [question for question in asked if isinstance(question, Question)]
    assert prepared.library is not None or not questions
    selections: Iterator[Selection] = iter(())
    if questions and prepared.frozen:
        selections = iter(
            [
                _chosen(prepared, cell).selection
                for cell, question in zip(cells, asked, strict=True)
                if isinstance(question, Question)
            ]
        )
    elif questions and prepared.library is not None:
        said = prepared.method.select_many(
            prepared.library,
            [question.scenario for question in questions],
            [question.context for question in questions],
        )
        selections = iter(said)
    results = [
        _answered(prepared, cell, question, next(selections))
        if isinstance(question, Question)
        else question
        for cell, question in zip(cells, asked, strict=True)
    ]
    seconds = (perf_counter() - started) / max(1, len(cells))
    return tuple(
        _row(prepared, cell, result, seconds) for cell, result in zip(cells, results, strict=True)
    )


def _row(
    prepared: Prepared,
    cell: Cell,
    result: Result,
    seconds: float,
    failure: tuple[str, str] | None = None,
) -> Row:
    return Row(
        cell,
        result,
        cell_inputs(cell, prepared.inputs, prepared.catalog),
        seconds=seconds,
        host=_host(),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        traceback=failure[1] if failure else "",
    )


def allowed_cuts(method: Method, task: Task, convention: Convention) -> tuple[Cut, ...]:
    """The cuts a method may choose among: legal, of its card's kinds, left by the convention."""
    kinds = convention.kinds_for(method.card.name, method.card.cuts)
    return tuple(
        cut for cut in task.graph.cuts if cut.kind in kinds and convention.cut in ("", cut.after)
    )


def check_cut(convention: Convention, task: Task) -> None:
    """Refuse a convention that leaves a cut which the network does not have.

    Raises:
        CoinferError: naming the cuts that there are.
    """
    names = [cut.after for cut in task.graph.cuts]
    if convention.cut and convention.cut not in names:
        raise CoinferError(
            f"convention '{convention.name}': {task.model} has no cut after "
            f"'{convention.cut}'; its cuts: {', '.join(names)}"
        )


@dataclass(frozen=True)
class Question:
    """What a method is asked in one cell."""

    scenario: Scenario
    cuts: tuple[Cut, ...]
    context: Context


def _result(prepared: Prepared, cell: Cell) -> Result:
    question = question_of(prepared, cell)
    if isinstance(question, Result):
        return question
    if prepared.frozen:
        return _answered(prepared, cell, question, _chosen(prepared, cell).selection)
    assert prepared.library is not None
    method = prepared.method
    selection = method.select(prepared.library, question.scenario, question.context)
    return _answered(prepared, cell, question, selection)


def _chosen(prepared: Prepared, cell: Cell) -> Chosen:
    """Return the frozen answer to a cell.

    Raises:
        CoinferError: when there is none.
    """
    found = shipped_selections(prepared.frozen).answers.get(cell)
    if found is None:
        raise CoinferError(
            f"the selections '{prepared.frozen}' have no answer of {cell.method} to this cell; "
            "without them (`coinfer run` without --selections, `coinfer reproduce` with "
            "--reselect) it searches anew"
        )
    return found


def question_of(prepared: Prepared, cell: Cell) -> Question | Result:
    """Return what a method is to be asked, or why it is not asked."""
    if prepared.skip:
        return Result("skipped", reason=prepared.skip)
    method, task = prepared.method, prepared.task
    scenario = prepared.catalog.scenario(cell)
    reason = _skip_reason(method, task, scenario)
    if reason:
        return Result("skipped", reason=reason)
    cuts = allowed_cuts(method, task, scenario.convention)
    context = _context(task, scenario.convention, cuts, method, cell)
    return Question(scenario, cuts, context)


def _answered(prepared: Prepared, cell: Cell, question: Question, answer: object) -> Result:
    """Return what a method's answer amounts to."""
    method, task = prepared.method, prepared.task
    scenario, cuts = question.scenario, question.cuts
    selection = _selected(method, answer)
    ledger = _add_ledgers(prepared.build_ledger, _ledger(question.context.ledger))
    if prepared.frozen:
        ledger = _chosen(prepared, cell).ledger
    if selection.plan is None:
        return Result(
            "infeasible",
            reason=f"no plan within {cell.max_accuracy_loss:g} of the baseline accuracy",
            evaluations=selection.evaluations,
            ledger=ledger,
        )
    _check_plan(selection.plan, method, cuts, task)
    parts = prepared.catalog.methods.parts
    plan = parts.sealed(selection.plan)
    known = measurements(task.model)
    found = None if known is None else known.find(plan)
    sent = None if found is None else found.payload
    refused = _not_admitted(plan, task, scenario, parts, sent)
    if refused:
        return Result("skipped", reason=refused, evaluations=selection.evaluations, ledger=ledger)
    priced = _price(plan, task, scenario, parts, sent)
    if known is not None and found is not None:
        priced = _with_accuracy(priced, known, found, cell.max_accuracy_loss)
    return replace(
        priced,
        predicted_accuracy=selection.predicted_accuracy,
        predicted_latency_s=selection.predicted_latency_s,
        evaluations=selection.evaluations,
        ledger=ledger,
        assumptions=(
            *_assumptions(plan, task, scenario, cuts, parts),
            *(() if known is None or found is None else _baseline_told(known, found)),
        ),
    )


def _baseline_told(known: Measurements, found: Measurement) -> tuple[str, ...]:
    """Say what a plan's accuracy is held against where most plans' are not."""
    baseline = known.baseline_of(found)
    if baseline is known.baseline:
        return ()
    return (
        f"this plan is not trained, and loses against the network as it is, "
        f"{100 * baseline.val_accuracy:.2f} % (recipe {baseline.recipe}); trained plans lose "
        f"against {100 * known.baseline.val_accuracy:.2f} % (recipe {known.recipe})",
    )


def _with_accuracy(
    result: Result, known: Measurements, found: Measurement, max_loss: float
) -> Result:
    """Add what was measured of this very plan, beside the baseline of the same recipe."""
    loss = known.baseline_of(found).val_accuracy - found.val_accuracy
    return replace(
        result,
        accuracy=found.val_accuracy,
        accuracy_loss=loss,
        measured_accuracy=found.val_accuracy,
        test_accuracy=found.test_accuracy,
        floor_held=known.floor_held(found.plan, max_loss),
        evidence={**result.evidence, "accuracy": "measured", "accuracy_loss": "measured"},
    )


def _price(
    plan: Plan, task: Task, scenario: Scenario, parts: Parts, sent: Payload | None = None
) -> Result:
    """Price a plan; `sent` is the payload that was measured of this very plan, if one was."""
    measured_bits = None if sent is None else sent.bits
    work = plan_workload(plan, task, scenario.convention, parts, measured_bits=measured_bits)
    _check_work(work)
    time = scenario_latency(work, scenario)
    parts_s = {name: float(getattr(time, name)) for name in LATENCY_PARTS}
    total_s = float(time.total_s)
    _check_accounts(parts_s, total_s)
    analog = work.uplink_symbols > 0
    crossing = uplink_evidence(plan, task, parts, measured_bits=measured_bits)
    evidence: dict[str, str] = {
        "latency": "analytic",
        "uplink_symbols" if analog else "uplink_bits": crossing,
    }
    spread = sent if crossing == "measured" else None
    accuracy = loss = None
    if replace(plan, coder="float32").unchanged and _lossless(plan, task, parts):
        # The network computes what the unpruned one does, on what really arrives.
        loss, evidence["accuracy_loss"] = 0.0, "analytic"
        if task.baseline_accuracy is not None and task.baseline_evidence is not None:
            accuracy, evidence["accuracy"] = task.baseline_accuracy, task.baseline_evidence
    energy = _energy(time, scenario)
    if energy is not None:
        evidence["energy"] = "analytic"
    return Result(
        "ok",
        # Through JSON once, so that a fresh row equals the same row read back from a store.
        plan=json.loads(canonical_json(to_data(plan))),
        plan_hash=plan.hash,
        latency={**parts_s, "total_s": total_s},
        uplink_bits=None if analog else float(work.uplink_bits),
        uplink_p5_bits=None if spread is None else spread.p5_bits,
        uplink_p95_bits=None if spread is None else spread.p95_bits,
        uplink_symbols=int(work.uplink_symbols) if analog else None,
        rate_bps=float(bit_rate_bps(work, scenario)),
        bandwidth_hz=scenario.link.bandwidth_hz if analog else None,
        source_bits=float(task.source.raw_bits),
        input_bits=input_bits(task, scenario.convention),
        device_flops=int(work.device_flops),
        server_flops=int(work.server_flops),
        encode_flops=int(work.encode_flops),
        decode_flops=int(work.decode_flops),
        energy_j=energy,
        accuracy=accuracy,
        accuracy_loss=loss,
        evidence=evidence,
    )


def _skip_reason(method: Method, task: Task, scenario: Scenario | None = None) -> str:
    """Why a method refuses a task, or a scenario; '' when it does not."""
    try:
        skip: object = method.supports(task, scenario)
    except SystemExit as error:
        raise CoinferError(f"{method.card.name}.supports tries to end the run") from error
    if skip is None:
        return ""
    if not isinstance(skip, Skip) or not isinstance(skip.reason, str):
        raise _other_type(method, "supports", skip, "a coinfer.plan.Skip with a reason, or None")
    return " ".join(skip.reason.split()) or f"{method.card.name} refuses without a reason"


def _built(method: Method, library: object) -> Library:
    """Return what `build` returned, if it is a library of JSON data."""
    if not isinstance(library, Library):
        raise _other_type(method, "build", library, "a coinfer.method.Library")
    try:
        _ = library.hash
    except (TypeError, ValueError, RecursionError) as error:
        raise CoinferError(
            f"{method.card.name}.build returned a Library whose data is no JSON: {error}"
        ) from error
    return library


def _selected(method: Method, selection: object) -> Selection:
    """Return what `select` returned, if it is a selection."""
    if not isinstance(selection, Selection):
        raise _other_type(method, "select", selection, "a coinfer.plan.Selection")
    return selection


def _other_type(method: Method, asked: str, answer: object, accepted: str) -> CoinferError:
    said = "None" if answer is None else f"a {type(answer).__name__}"
    return CoinferError(f"{method.card.name}.{asked} returned {said}; accepted is {accepted}")


def _not_admitted(
    plan: Plan, task: Task, scenario: Scenario, parts: Parts, sent: Payload | None = None
) -> str:
    """Why a plan's payload has no place or no price in a scenario, or ''; `sent` as of `_price`."""
    if task.graph.cut(plan.cut.after).kind == "output":
        return ""
    convention, coder = scenario.convention, parse_ref(plan.coder).name
    if not convention.admits(coder):
        admitted = ", ".join(convention.payloads())
        return f"convention {convention.name} admits {admitted} as payload, not {coder}"
    channel = plan_channel(plan, parts)
    if channel is not None and channel.analog and not convention.symbols_as_bits:
        if not convention.analog:
            return (
                f"convention {convention.name} admits bits as payload, not the symbols of channel "
                f"{channel.name}"
            )
        missing = no_bandwidth(scenario.link)
        return missing and f"channel '{plan.channel}' is analog: {missing}"
    return unmeasured(plan, parts) if sent is None else ""


def _lossless(plan: Plan, task: Task, parts: Parts) -> bool:
    """Whether what crosses arrives as it was; a coder that does not say so counts as lossy."""
    if task.graph.cut(plan.cut.after).kind == "output":
        return True
    return bool(getattr(parts.coder(plan.coder), "lossless", False))


def _check_plan(plan: Plan, method: Method, cuts: tuple[Cut, ...], task: Task) -> None:
    if plan.model != task.model:
        raise CoinferError(f"the plan is for '{plan.model}', the task for '{task.model}'")
    if plan.cut.after not in {cut.after for cut in cuts}:
        raise CoinferError(
            f"{method.card.name} cuts after '{plan.cut.after}', which is not among its "
            f"{len(cuts)} allowed cuts"
        )


def _check_work(work: Workload) -> None:
    """What every row's counts are: whole FLOPs, a finite payload of one kind, nothing below 0."""
    counts = (work.device_flops, work.server_flops, work.encode_flops, work.decode_flops)
    bits, symbols = float(work.uplink_bits), work.uplink_symbols
    if not all(map(is_whole, (*counts, symbols))) or not 0 <= bits < math.inf:
        raise CoinferError(
            f"the plan's counts cannot be: FLOPs {counts}, {bits} bits, {symbols} symbols"
        )
    if bits > 0 and symbols > 0:
        raise CoinferError(f"the plan sends {bits} bits and {symbols} symbols; allowed is one kind")


def _check_accounts(parts_s: dict[str, float], total_s: float) -> None:
    """The accounting identity: parts >= 0, none NaN, and they add up to the total."""
    values = list(parts_s.values())
    if any(math.isnan(v) or v < 0 for v in values) or not math.isclose(
        sum(values), total_s, rel_tol=1e-12
    ):
        raise CoinferError(f"latency does not add up: {parts_s} against a total of {total_s}")


def _energy(time: Latency, scenario: Scenario) -> float | None:
    if scenario.device.compute_watts is None or scenario.link.transmit_watts is None:
        return None
    return float(energy_j(time, scenario.device, scenario.link))


def _assumptions(
    plan: Plan, task: Task, scenario: Scenario, cuts: tuple[Cut, ...], parts: Parts
) -> tuple[str, ...]:
    """Our own choices behind a row: of link, channel and source, of who resizes the source."""
    told = [scenario.link.assumption, _channel_told(plan, task, scenario, parts)]
    if any(cut.kind == "input" for cut in cuts):  # so the source's size had a say
        told.append(task.source.assumption)
    cut = task.graph.cut(plan.cut.after)
    if cut.kind == "input" and task.source.shape != task.graph.input_shape:
        told.append(_resizing(plan, task, parts))
    return tuple(filter(None, told))


def _channel_told(plan: Plan, task: Task, scenario: Scenario, parts: Parts) -> str:
    """Say where a plan's channel and the scenario's link are not of one mind, or ''."""
    channel, link = plan_channel(plan, parts), scenario.link
    if channel is None or task.graph.cut(plan.cut.after).kind == "output":
        return ""
    name = f"channel '{plan.channel}'"
    if channel.analog:
        own, links, what = getattr(channel, "snr_db", None), scenario.snr_db, "an SNR in dB"
    else:
        own, links, what = getattr(channel, "p", None), link.flip_probability, "errors in a share"
    if own is not None and links is not None and own != links:
        return f"{name} has {what} of {own}, link '{link.name}' of {links}"
    if not channel.analog and link.uses_per_s is None:
        return f"bits through {name} are charged at the link's rate, as if they came without error"
    return ""


def _resizing(plan: Plan, task: Task, parts: Parts) -> str:
    """Say which of the two sizes of the input was charged, and who resizes (design ruling 7)."""
    source, network = (shape_text(s) for s in (task.source.shape, task.graph.input_shape))
    if sends_source(parts.coder(plan.coder)):
        return f"the {source} source is charged; the server resizes it to {network} at no cost"
    return (
        f"the network's {network} input is charged, not the {source} source "
        f"({task.source.raw_bits:,} bits raw); the device resizes it at no cost"
    )


def _no_cut(method: Method, convention: Convention) -> str:
    name = method.card.name
    if convention.cut:
        return f"{name} does not cut after '{convention.cut}' under {convention.name}"
    kinds = sorted(convention.kinds_for(name, method.card.cuts))
    if not kinds:
        wanted = " or ".join(sorted(method.card.cuts))
        return f"convention {convention.name} leaves {name} no {wanted} cut"
    return f"the network has no {' or '.join(kinds)} cut, and {name} needs one"


def _context(
    task: Task, convention: Convention, cuts: tuple[Cut, ...], method: Method, *asked: object
) -> Context:
    # Only a stochastic method may draw, so only it pays for hashing its substream's identity.
    entropy = int(content_hash([to_data(a) for a in asked]), 16) if method.card.stochastic else 0
    return Context(task, convention, cuts, entropy)


def _ledger(ledger: Ledger) -> tuple[tuple[str, int, float], ...]:
    """What a ledger holds that is a result: seconds are not."""
    return tuple((e.phase, e.evaluations, e.epochs) for e in ledger.entries())


def _add_ledgers(
    *ledgers: tuple[tuple[str, int, float], ...],
) -> tuple[tuple[str, int, float], ...]:
    total = Ledger()
    for entries in ledgers:
        for phase, evaluations, epochs in entries:
            total.spend(phase, evaluations=evaluations, epochs=epochs)
    return _ledger(total)


def _failure(error: BaseException) -> tuple[str, str]:
    text = " ".join(str(error).split()) or "no message"
    reason = text if isinstance(error, CoinferError) else f"{type(error).__name__}: {text}"
    return reason, "".join(traceback.format_exception(error))


def _needs_groups(method: Method) -> bool:
    return method.card.prunes != "none"


def _learns(method: Method) -> bool:
    return method.card.accuracy_signal != "baseline"


@cache
def _task(model: str, max_accuracy_loss: float, groups: bool, learns: bool) -> Task:
    known = measurements(model)
    return make_task(
        model,
        max_accuracy_loss,
        groups=groups,
        measured=known.families if known is not None and learns else (),
        baseline_accuracy=None if known is None else known.baseline.val_accuracy,
    )


@cache
def _source_hash(modules: tuple[str, ...], without: tuple[str, ...] = ()) -> str:
    return closure_hash(modules, without)


@lru_cache(maxsize=65_536)
def _hardware_hash(catalog: Catalog, kind: str, ref: str) -> str:
    thing: Processor | Link = getattr(catalog.presets, kind)(ref)
    # Numbers decide a result, and our assumptions are told in it; who published them does not.
    told = ("assumption",)
    return content_hash(
        {f.name: getattr(thing, f.name) for f in fields(thing) if f.compare or f.name in told}
    )


@cache
def _convention_hash(name: str) -> str:
    said = {"source", "note"}  # decide nothing
    data = to_data(conventions.convention(name))
    return content_hash({k: v for k, v in data.items() if k not in said})


@cache
def _host() -> str:
    return socket.gethostname()
