"""Running the conformance kit as plain calls, and saying of each failure what to do.

The checks themselves are `methods.conformance.MethodContract`, for pytest and for
`coinfer check-method` alike; here one is run, and what became of it is told as data. Nothing here
limits time or memory: that is the caller's (`benchmarks.checks`).
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from coinfer.errors import CoinferError, UnknownNameError, one_line
from coinfer.hardware import Link
from coinfer.method import Method
from coinfer.parts import Parts
from coinfer.plan import Scenario, Task
from coinfer.plugins import classes_defined_in, load_file
from methods import conformance
from methods.conformance import MethodContract
from methods.registry import Methods, fault_of, find_methods

Outcome = Literal["ok", "fail", "skip"]

_PREFIX = "test_"
_IN_FILE = re.compile(r"(?P<file>[^\[\]]+\.py)(?::(?P<name>[^\[\]]*))?(?P<options>\[.*\])?")


@dataclass(frozen=True)
class Mend:
    """How a promise is kept.

    Attributes:
        member: of the adapter, where to look first; `card` and the like stand for the class.
        text: what to do.
    """

    member: str
    text: str


MENDS: dict[str, Mend] = {
    "has_a_valid_card": Mend(
        "card",
        "give the class `card: ClassVar[MethodCard] = MethodCard(name=..., title=..., idea=..., "
        "reference=...)`; what is left open by the paper goes into open_choices",
    ),
    "survives_pickling": Mend(
        "card",
        "make the class a frozen dataclass at the top level of its module; keep lambdas, open "
        "files and modules out of its fields",
    ),
    "options_round_trip": Mend(
        "card",
        "make every option a dataclass field of type float, int, bool, str or None, and let "
        "__post_init__ check it, not change it",
    ),
    "refuses_with_a_reason": Mend(
        "supports",
        "return None where the method can answer, else Skip('one line that says what is missing')",
    ),
    "runs_somewhere": Mend(
        "supports",
        "refuse less: the kit's ordinary network has a convolution, a pooling and two linear "
        "layers; a method that needs measured plans refuses with "
        "methods.predictor.not_predictable(task, family)",
    ),
    "builds_json": Mend(
        "build",
        "return Library(data) with dicts whose keys are text, lists, text, numbers, true, false "
        "and null; arrays by .tolist()",
    ),
    "returns_valid_plans": Mend(
        "select",
        "make the plan as Plan(context.task.model, CutRef(cut.index, cut.after), ...) of a cut in "
        "context.cuts, with parts that are built in or that its file defines",
    ),
    "brings_valid_parts": Mend(
        "card",
        "coinfer/parts.py says what a part of each kind is asked and what it may answer, for every "
        "shape and, where it takes arrays, for arrays too",
    ),
    "predictions_are_sane": Mend(
        "select",
        "accuracies are shares (0.93, not 93), latencies seconds; leave out what is not known",
    ),
    "is_deterministic": Mend(
        "select",
        "depend on nothing but task, scenario, library and context: no clock, no counter, no "
        "order of a set, no randomness but context.rng",
    ),
    "is_stochastic_only_if_it_says_so": Mend(
        "select",
        "set stochastic=True in the card of a method that draws from context.rng, and only there",
    ),
    "changes_nothing": Mend(
        "select",
        "copy what is to be changed (lists and dicts of the library too), and change no directory",
    ),
    "uses_no_global_randomness": Mend(
        "select",
        "draw from context.rng (a numpy.random.Generator); hand it, or a seed drawn from it, to "
        "libraries that draw; never seed a global generator",
    ),
    "uses_no_network": Mend(
        "select",
        "take everything from task and scenario; what must be downloaded, the user downloads "
        "before and names by an option",
    ),
    "reads_only_what_its_card_says": Mend(
        "select",
        "add what the plan depends on to the card's sees (of device, server, link, snr; a "
        "radio's rate is both link and snr), or do not read it",
    ),
    "keeps_its_budget": Mend(
        "select",
        "evaluate at most context.max_evaluations candidates where it is not None, and return "
        "how many there were as Selection.evaluations",
    ),
    "spends_in_its_declared_phases": Mend(
        "select",
        "list in the card's phases what context.ledger.spend and .phase are called with",
    ),
}
"""By check: a failure's first aid."""

# How a check that ran out of time says so.
LATE = "it takes longer than"
_MEND_LATE = (
    "see whether that line ever ends; where it only needs more time, --timeout gives it more"
)
_RAISES = "it raises"
_MEND_RAISED = (
    "mend that line; a method raises nothing where its supports returns None, and refuses what it "
    "cannot answer by returning a Skip there"
)
_MENDS_BY_START = ((_RAISES, _MEND_RAISED), (LATE, _MEND_LATE))


@dataclass(frozen=True)
class Checked:
    """What became of one check.

    Attributes:
        check: its name, without `test_`.
        outcome: `ok`, `fail` or `skip`.
        promise: what is expected, in one sentence or two.
        happened: what was found instead, or why it was skipped.
        where: file, line and function, and the world that was asked about; '' if unknown.
        mend: what to do.
        seconds: how long it took.
    """

    check: str
    outcome: Outcome
    promise: str
    happened: str = ""
    where: str = ""
    mend: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Target:
    """Which adapter is asked for, as text that travels to other processes.

    Attributes:
        text: `FILE.py`, `FILE.py:Class` or a method's name, each with `[option=value]` if need be.
        files: method files that are to be known beside it.
    """

    text: str
    files: tuple[str, ...] = ()

    def found(self) -> tuple[Method, Methods]:
        """Return the adapter, and the methods and parts known beside it.

        Raises:
            CoinferError: when there is none of that name, the file does not load, or it defines
                several methods and none is named.
        """
        in_file = _IN_FILE.fullmatch(self.text)
        if in_file is None:
            methods = find_methods(self.files)
            return methods.make(self.text), methods
        file, name, options = in_file["file"], in_file["name"], in_file["options"] or ""
        files = self.files if file in self.files else (*self.files, file)
        methods = find_methods(files)
        cls = _class_in(Path(file), name)
        return methods.make(f"{cls.card.name}{options}"), methods


def _class_in(path: Path, name: str | None) -> type[Method]:
    """Return the adapter of a file: the one of that name, or the only one."""
    defined = [c for c in classes_defined_in(load_file(path)) if issubclass(c, Method)]
    if name is not None:
        found = [cls for cls in defined if cls.__name__ == name]
        if not found:
            raise UnknownNameError(f"method class of '{path}'", name, [c.__name__ for c in defined])
        if fault_of(found[0]):
            raise CoinferError(f"'{path}': {fault_of(found[0])}")
        return found[0]
    whole = [cls for cls in defined if not fault_of(cls)]
    if len(whole) != 1:
        names = ", ".join(f"{path}:{cls.__name__}" for cls in whole)
        raise CoinferError(f"'{path}' defines {len(whole)} methods; say which: {names}")
    return whole[0]


def checks() -> tuple[str, ...]:
    """Return the names of all checks, in the order in which they are best read."""
    return tuple(
        name.removeprefix(_PREFIX) for name in vars(MethodContract) if name.startswith(_PREFIX)
    )


def promise(check: str) -> str:
    """Return what a check holds an adapter to: the first paragraph of its docstring.

    Raises:
        UnknownNameError: when there is no such check.
    """
    if check not in checks():
        raise UnknownNameError("check", check, checks())
    text = inspect.getdoc(getattr(MethodContract, _PREFIX + check)) or ""
    return " ".join(text.partition("\n\n")[0].split())


def check(method: Method, name: str, parts: Parts | None = None) -> Checked:
    """Run one check of the kit on an adapter. Whatever the adapter raises is a failure, told.

    Only what ends a call from outside passes through, as a time limit or Ctrl-C.

    Args:
        method: the adapter.
        name: of the check.
        parts: the parts it may name, beside those of its own module; None for those installed.

    Raises:
        UnknownNameError: when there is no such check.
    """
    expected = promise(name)

    class Kit(MethodContract):
        pass

    Kit.method = method
    if parts is not None:
        Kit.parts = parts
    kit = Kit()
    if name == "brings_valid_parts" and not kit.own_parts():
        return Checked(name, "skip", expected, "its module defines no part")
    try:
        getattr(kit, _PREFIX + name)()
    except (Exception, SystemExit) as error:
        return failed(method, name, _told(error), innermost(method, error), kit.world)
    if kit.asked == 0 and name != "runs_somewhere":
        return Checked(name, "skip", expected, "the method refuses every world of the kit")
    return Checked(name, "ok", expected)


def failed(
    method: Method,
    name: str,
    happened: str,
    line: str = "",
    world: tuple[Task, Scenario] | None = None,
) -> Checked:
    """Return a failed check, with what helps to mend it.

    Args:
        method: the adapter.
        name: of the check.
        happened: what was found.
        line: of the adapter's source, where it is known; else the member that it is about.
        world: that was asked about, if any.
    """
    mend = MENDS[name]
    text = next((t for start, t in _MENDS_BY_START if happened.startswith(start)), mend.text)
    asked = world_text(*world) if world else ""
    where = "; ".join(filter(None, (line or _member(method, mend.member), asked)))
    return Checked(name, "fail", promise(name), happened, where, text)


def world_text(task: Task, scenario: Scenario) -> str:
    """Return a world of the kit in a few words."""
    return (
        f"asked about network '{task.model}', convention {scenario.convention.name}, device "
        f"{scenario.device.speed():g} FLOP/s, server {scenario.server.speed():g} FLOP/s, "
        f"link {_link_text(scenario.link, scenario.snr_db)}"
    )


def _link_text(link: Link, snr_db: float | None) -> str:
    if link.bandwidth_hz is not None:
        return f"{link.bandwidth_hz:g} Hz at {snr_db:g} dB"
    return f"{link.rate_bps:g} bit/s"


def _told(error: BaseException) -> str:
    """Return what happened: the kit's own words, or what the adapter raised."""
    ours = isinstance(error, AssertionError) and _raised_in(error) == conformance.__file__
    return " ".join(str(error).split()) if ours else raised(error)


def raised(error: BaseException) -> str:
    """Return what to say of an exception of the adapter's own."""
    return f"{_RAISES} {one_line(error)}"


def _raised_in(error: BaseException) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))
    return frames[-1][0].f_code.co_filename if frames else ""


def innermost(method: Method, error: BaseException) -> str:
    """Return the last line of the adapter's own file on the way to an error; '' for none."""
    file = _source(method)
    lines = [
        (frame, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == file
    ]
    return _line_text(*lines[-1]) if lines else ""


def _line_text(frame: FrameType, number: int) -> str:
    return f"{shown_path(frame.f_code.co_filename)}:{number} in {frame.f_code.co_name}"


def line_in_trace(method: Method, trace: str) -> str:
    """Return where the adapter was by a crashed process's last words, '' if they do not tell."""
    for file, line, name in re.findall(r'File "(.+?)", line (\d+) in (\S+)', trace):
        if file == _source(method):
            return f"{shown_path(file)}:{line} in {name}"
    return ""


def _member(method: Method, name: str) -> str:
    """Return where a member of the adapter is defined; where its class is, if it has it not."""
    cls = type(method)
    own = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
    for thing in (own, cls):
        if inspect.isfunction(thing) and thing.__module__ == Method.__module__:
            continue  # inherited from the base of all: there is nothing to mend
        try:
            _, line = inspect.getsourcelines(thing)  # type: ignore[arg-type]
            file = inspect.getsourcefile(thing) or ""  # type: ignore[arg-type]
        except (TypeError, OSError):
            continue
        said = getattr(thing, "__qualname__", name)
        return f"{shown_path(file)}:{line} in {said}"
    return ""


def _source(method: Method) -> str:
    return getattr(sys.modules[type(method).__module__], "__file__", None) or ""


def shown_path(file: str) -> str:
    """Return a path as people would type it: from here if it is below, else whole."""
    relative = os.path.relpath(file)
    return file if relative.startswith(os.pardir) else relative


def described(results: list[Checked]) -> Iterator[str]:
    """Yield the lines of a report; a failure like one before it is told once."""
    seen: dict[tuple[str, str], str] = {}
    for one in results:
        yield from lines_of(one, seen)


def lines_of(one: Checked, seen: dict[tuple[str, str], str]) -> Iterator[str]:
    """Yield the lines of one check.

    Args:
        one: the check.
        seen: (what happened, where) of the failures told before, and their checks; it is added to.
    """
    mark = "FAIL" if one.outcome == "fail" else one.outcome
    if one.outcome == "skip":
        yield f"{mark:<4}  {one.check}: {one.happened}"
        return
    yield f"{mark:<4}  {one.check}"
    if one.outcome == "ok":
        return
    line = one.where.partition(";")[0]
    before = seen.setdefault((one.happened, line), one.check)
    yield f"        expected  {one.promise}"
    if before != one.check:
        yield f"        happened  the same as in {before}: {one.happened}"
        return
    yield f"        happened  {one.happened}"
    if one.where:
        yield f"        where     {one.where}"
    yield f"        mend      {one.mend}"
