"""The adapter: what a method is to the harness. One file per method implements `Method`.

Methods decide, the harness measures: an adapter returns plans; it has no clock, counts no bits
and reports no accuracy. `build` is expensive and independent of the link, `select` is cheap and
depends on it.
"""

from __future__ import annotations

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from time import perf_counter
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from coinfer.checks import real_number, shown, whole_number
from coinfer.conventions import CUT_KINDS, Convention
from coinfer.errors import CoinferError
from coinfer.graph import Cut
from coinfer.plan import Scenario, Selection, Skip, Task
from coinfer.refs import Ref
from coinfer.serial import content_hash

PHASES = (
    "pretrain",
    "profile",
    "label",
    "fit",
    "search",
    "prune",
    "finetune",
    "codec",
    "verify",
)
# What a ref, and a comma-separated list of refs, can hold.
_NAME = re.compile(r"[^\s,\[\]=](?:[^,\[\]=]*[^\s,\[\]=])?")
SEEN = ("device", "server", "link", "snr")

Prunes = Literal["none", "device", "whole", "boundary"]
Payload = Literal["digital", "analog"]
AccuracySignal = Literal["baseline", "measured", "predictor"]
Constraint = Literal["none", "hard", "reward"]
NeedsScenario = Literal["no", "select", "build"]
Fidelity = Literal["paper_exact", "paper_choices", "repo_derived", "reconstruction", "ours"]


@dataclass(frozen=True)
class OpenChoice:
    """A choice that the method's paper leaves open, and what we took (before drawing figures)."""

    id: str
    chosen: str
    alternatives: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class MethodCard:
    """What a method declares about itself; the conformance kit holds it to that.

    Attributes:
        name: registry name, as in plans, tables and the CLI (`neurosurgeon`).
        title: as its paper writes it (`Neurosurgeon`).
        idea: one line.
        reference: authors, title, venue, year.
        bibtex: the entry.
        cuts: cut kinds it can use, of `input`, `interior`, `output`.
        prunes: `none`, `device`, `whole` or `boundary`.
        codec: codec families it uses; empty for none.
        payload: `digital` bits or `analog` symbols.
        accuracy_signal: where its accuracies come from.
        objective: what it minimises.
        constraint: how it honours the accuracy floor.
        sees: what of the scenario its plan may depend on (`device`, `server`, `link`, `snr`); a
            radio's rate follows from bandwidth and SNR, so a method that reads
            `scenario.rate_bps` lists both `link` and `snr`.
        needs_scenario: `no`, `select` or `build`.
        stochastic: whether a seed changes its answer.
        phases: phases it spends something in, of PHASES.
        fidelity: how close to its paper it can be.
        bound: whether it is a reference that other methods are held against and that competes with
            none: reports and comparisons do not name it as a winner.
        open_choices: what the paper leaves open and the value taken.
    """

    name: str
    title: str
    idea: str
    reference: str
    bibtex: str = ""
    cuts: frozenset[str] = frozenset({"input", "interior", "output"})
    prunes: Prunes = "none"
    codec: tuple[str, ...] = ()
    payload: Payload = "digital"
    accuracy_signal: AccuracySignal = "baseline"
    objective: str = "latency"
    constraint: Constraint = "none"
    sees: frozenset[str] = frozenset(SEEN)
    needs_scenario: NeedsScenario = "select"
    stochastic: bool = False
    phases: tuple[str, ...] = ()
    fidelity: Fidelity = "paper_choices"
    bound: bool = False
    open_choices: tuple[OpenChoice, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            self._refuse("name", "text without , [ ] =")
        if not self.cuts:
            self._refuse("cuts", ", ".join(CUT_KINDS))
        self._check_names("cuts", frozenset, CUT_KINDS)
        self._check_names("sees", frozenset, SEEN)
        self._check_names("phases", tuple, PHASES)
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                self._refuse(name, ", ".join(allowed))
        for name in ("stochastic", "bound"):
            if not isinstance(getattr(self, name), bool):
                self._refuse(name, "True, False")

    def _check_names(self, field: str, kind: type, allowed: tuple[str, ...]) -> None:
        """Make a field of names the collection it is, all of them allowed."""
        names = getattr(self, field)
        if isinstance(names, str) or not {*names} <= {*allowed}:
            self._refuse(field, ", ".join(allowed))
        object.__setattr__(self, field, kind(names))

    def _refuse(self, field: str, allowed: str) -> None:
        value = shown(getattr(self, field))
        raise CoinferError(f"MethodCard.{field} of '{self.name}' is {value}; allowed: {allowed}")


_CHOICES: dict[str, tuple[str, ...]] = {
    "prunes": get_args(Prunes),
    "payload": get_args(Payload),
    "accuracy_signal": get_args(AccuracySignal),
    "constraint": get_args(Constraint),
    "needs_scenario": get_args(NeedsScenario),
    "fidelity": get_args(Fidelity),
}


@dataclass(frozen=True)
class LedgerEntry:
    """What one phase cost. Evaluations and epochs are results; seconds belong to the run."""

    phase: str
    evaluations: int = 0
    epochs: float = 0.0
    seconds: float = 0.0


class Ledger:
    """Adds up what a method spends, per phase. The clock is the harness's."""

    def __init__(self) -> None:
        self._spent: dict[str, LedgerEntry] = {}

    def spend(self, phase: str, *, evaluations: int = 0, epochs: float = 0.0) -> None:
        """Add evaluations or epochs to a phase.

        Raises:
            CoinferError: for a phase that is not one of PHASES, or for what cannot be spent.
        """
        self._add(
            LedgerEntry(
                phase,
                whole_number("evaluations spent", evaluations),
                real_number("epochs spent", epochs, "a finite number >= 0", lambda n: 0 <= n < inf),
            )
        )

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a block as part of a phase."""
        started = perf_counter()
        try:
            yield
        finally:
            self._add(LedgerEntry(name, seconds=perf_counter() - started))

    def entries(self) -> tuple[LedgerEntry, ...]:
        """Return what was spent, in the order of PHASES."""
        return tuple(self._spent[name] for name in PHASES if name in self._spent)

    def _add(self, entry: LedgerEntry) -> None:
        if entry.phase not in PHASES:
            raise CoinferError(f"unknown phase '{entry.phase}'; allowed: {', '.join(PHASES)}")
        old = self._spent.get(entry.phase, LedgerEntry(entry.phase))
        self._spent[entry.phase] = LedgerEntry(
            entry.phase,
            old.evaluations + entry.evaluations,
            old.epochs + entry.epochs,
            old.seconds + entry.seconds,
        )


@dataclass(frozen=True)
class Library:
    """What `build` prepared: JSON data, content-addressed."""

    data: Any = None

    @property
    def hash(self) -> str:
        """Content hash of the data."""
        return content_hash(self.data)


@dataclass
class Context:
    """What the harness hands a method beside its question. Fresh for every call.

    Attributes:
        task: what is being built or selected for.
        convention: the accounting rules of every scenario that will be asked about.
        cuts: the cuts this method may choose among, in order: the graph's legal cuts, restricted
            by its card and by the convention; never empty.
        entropy: root of `rng`, made from the cell and its seed.
        ledger: where it records what it spends.
        max_evaluations: its budget of candidate evaluations; None for unlimited.
    """

    task: Task
    convention: Convention
    cuts: tuple[Cut, ...]
    entropy: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    max_evaluations: int | None = None

    @cached_property
    def rng(self) -> np.random.Generator:
        """The only randomness a method may use: its own substream per cell and seed."""
        return np.random.default_rng(self.entropy)


@dataclass(frozen=True)
class Method(ABC):
    """Base of every adapter. Subclasses are frozen dataclasses; their fields are the options."""

    card: ClassVar[MethodCard]

    same_for_any_floor: ClassVar[bool] = False
    """Whether what `build` searches for is the same for every accuracy floor, draws included."""

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        """Return why this pair cannot run, or None when it can."""
        return None

    def build(self, task: Task, context: Context) -> Library:
        """Prepare what does not depend on the link. Default: nothing."""
        return Library()

    @abstractmethod
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Choose a plan for a scenario. Pure: the same inputs give the same answer."""

    def select_many(
        self, library: Library, scenarios: Sequence[Scenario], contexts: Sequence[Context]
    ) -> Sequence[Selection]:
        """Choose a plan for each of many scenarios of one task.

        A method that can search for all of them at once overrides this; each answer must be what
        `select` gives for that scenario alone, bit for bit.
        """
        pairs = zip(scenarios, contexts, strict=True)
        return [self.select(library, scenario, context) for scenario, context in pairs]

    @property
    def batched(self) -> bool:
        """Whether it answers many scenarios at once faster than one by one."""
        return type(self).select_many is not Method.select_many

    @property
    def ref(self) -> Ref:
        """The method as `name[option=value]`, options at their default left out."""
        options = tuple(
            (f.name, getattr(self, f.name))
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        )
        return Ref(self.card.name, options)
