"""The conformance kit: what every adapter, ours or a stranger's, must keep to.

`MethodContract` holds the checks. Each is one promise, its docstring says which, and its failure
says what to change. The kit needs no network, no data and no torch.
"""

from __future__ import annotations

import inspect
import json
import math
import pickle
import random
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from coinfer import flops
from coinfer.checks import real_number
from coinfer.conventions import conventions
from coinfer.cost import plan_workload, scenario_latency, unmeasured
from coinfer.errors import CoinferError
from coinfer.graph import Cut
from coinfer.method import PHASES, Context, Library, Method, MethodCard
from coinfer.parts import Parts, Schedule, installed_parts, is_part
from coinfer.plan import Plan, Scenario, Selection, Skip, Task
from coinfer.plugins import classes_defined_in
from coinfer.refs import parse_ref
from coinfer.serial import content_hash, to_data
from methods import worlds

_NAME = re.compile(r"[a-z][a-z0-9_+-]*")
_PARTS = frozenset({"device", "server", "link", "snr"})
# A seed of the global generators that no method is likely to set itself.
_ODD_SEED = 1_905_070_937


class MethodContract:
    """The promises of an adapter. Set `method`; override `tasks` to add networks of your own.

    With pytest, inherit it in a test, and the checks are collected::

        class TestMyMethod(MethodContract):
            method = MyMethod()

    Without, `coinfer check-method` runs them, or `methods.checking.check` one of them: a check
    is a method whose name begins with `test_`, and a promise not kept raises an AssertionError
    that says what to change.

    Checks need no order and no set-up, and leave no trace of their own.

    Attributes:
        method: the adapter under test.
        parts: the parts it may name, beside those that its own module defines.
    """

    method: ClassVar[Method]
    parts: ClassVar[Parts] = installed_parts()

    # How many worlds the check at hand asked about, where it asks any, and the last of them.
    asked: int | None = None
    world: tuple[Task, Scenario] | None = None

    @cached_property
    def _built(self) -> dict[tuple[object, ...], Library]:
        """Libraries that the check at hand built."""
        return {}

    def tasks(self) -> tuple[Task, ...]:
        """Return the networks to try, with prune groups: an ordinary one and a one-layer one.

        As in the harness, only a method whose card says that it prunes is handed the groups. One
        that refuses for want of measured plans is handed made-up ones of `worlds.measured_task`.
        """
        return worlds.small_task(groups=True), worlds.one_layer_task(groups=True)

    def test_has_a_valid_card(self) -> None:
        """The card names and describes the method, and says where it comes from."""
        card = getattr(self.method, "card", None)
        assert isinstance(card, MethodCard), "set the class attribute `card` to a MethodCard"
        assert _NAME.fullmatch(card.name), f"card.name '{card.name}' must match {_NAME.pattern}"
        assert card.title.strip(), "card.title is empty; write the name as the paper writes it"
        assert card.idea.strip(), "card.idea is empty; say in one line what the method does"
        assert card.reference.strip(), "card.reference is empty; say where it is published"

    def test_survives_pickling(self) -> None:
        """Workers in other processes get the adapter by pickle."""
        try:
            copied = pickle.loads(pickle.dumps(self.method))  # noqa: S301
        except Exception as error:  # pickle raises whatever what it meets raises
            raise AssertionError(
                f"the adapter cannot be pickled ({error}); define its class at the top level of "
                "a module and keep its options in dataclass fields"
            ) from error
        assert copied == self.method, (
            "the adapter changes when pickled; keep its options in dataclass fields"
        )

    def test_options_round_trip(self) -> None:
        """The adapter's `name[option=value]`, as rows and the command line have it, rebuilds it."""
        ref = self.method.ref
        try:
            rebuilt = [
                type(self.method)(**options)
                for options in (ref.arguments, parse_ref(str(ref)).arguments)
            ]
        except Exception as error:  # a constructor may raise anything
            raise AssertionError(
                f"the options of {ref.name} do not round-trip ({error}); they must be text, "
                "numbers, true, false or null"
            ) from error
        assert rebuilt == [self.method] * 2, (
            f"{ref} rebuilds {rebuilt[1]!r}, not {self.method!r}; an option must be what was given"
        )

    def test_refuses_with_a_reason(self) -> None:
        """`supports` answers None, or a Skip whose reason a reader understands."""
        for task, scenario in self._worlds():
            for answer in (self.method.supports(task), self.method.supports(task, scenario)):
                if answer is not None:
                    assert isinstance(answer, Skip), (
                        f"supports must return None or a Skip, not {answer!r}"
                    )
                    assert answer.reason.strip(), "Skip.reason is empty"
                    assert len(answer.reason.splitlines()) == 1, (
                        f"Skip.reason must be one line, not {answer.reason!r}"
                    )

    def test_runs_somewhere(self) -> None:
        """At least one ordinary world is not refused."""
        assert any(True for _ in self._questions()), "the method refuses every world of the kit"

    def test_builds_json(self) -> None:
        """A library is JSON data: it can be stored, hashed and sent, and comes back the same."""
        for task, scenario, cuts in self._questions():
            data = self.method.build(task, self._context(task, scenario, cuts)).data
            try:
                back = json.loads(json.dumps(data))
            except (TypeError, ValueError, RecursionError) as error:
                raise AssertionError(f"Library.data must be plain JSON data: {error}") from error
            assert back == data, (
                "Library.data must be plain JSON data, with lists for tuples, text for keys and "
                f"no NaN: {data!r:.80} comes back as {back!r:.80}"
            )

    def test_returns_valid_plans(self) -> None:
        """Plans cut where allowed, name known parts, and price to finite or infinite seconds."""
        for task, scenario, cuts in self._questions():
            plan = self._ask(task, scenario, cuts).plan
            if plan is None:
                continue
            assert plan.model == task.model, f"plan.model is '{plan.model}', not '{task.model}'"
            assert plan.cut.after in {cut.after for cut in cuts}, (
                f"the plan cuts after '{plan.cut.after}', not at one of context.cuts: "
                f"{', '.join(cut.after for cut in cuts)}"
            )
            assert not plan.keep or self.method.card.prunes != "none", (
                f"the plan prunes {plan.keep[0][0]}, but card.prunes is 'none'"
            )
            try:
                total = self._total_s(plan, task, scenario)
            except CoinferError as error:
                raise AssertionError(f"the plan cannot be priced: {error}") from error
            assert not math.isnan(total), "the plan's latency is NaN"
            assert total >= 0, f"the plan's latency is negative: {total} s"
            assert Plan.from_data(json.loads(json.dumps(to_data(plan)))) == plan, (
                f"the plan changes on its way through JSON: {plan!r}"
            )

    def test_brings_valid_parts(self) -> None:
        """The parts that the adapter's module defines declare and answer what can be.

        Each is made without options and asked about the tensors of the kit's networks; one that
        cannot do without is asked when a plan names it. Criteria and channels need torch: only
        what they declare is looked at.
        """
        for part in self.own_parts():
            name, kind = part.name, part.kind  # type: ignore[attr-defined]
            try:
                known = self.parts.with_classes([part])
                if _made_without_options(part):
                    _ASKED[kind](known, name, self.tasks())
            except AssertionError:
                raise
            except Exception as error:  # a stranger's part may raise anything
                said = f"{type(error).__name__}: " * (not isinstance(error, CoinferError))
                raise AssertionError(f"{kind} '{name}' cannot be used: {said}{error}") from error

    def test_predictions_are_sane(self) -> None:
        """The method's own estimates are numbers in range."""
        for task, scenario, cuts in self._questions():
            selection = self._ask(task, scenario, cuts)
            latency, accuracy = selection.predicted_latency_s, selection.predicted_accuracy
            assert latency is None or latency >= 0, (
                f"predicted_latency_s is {latency}; it must be >= 0, not NaN"
            )
            assert accuracy is None or 0 <= accuracy <= 1, (
                f"predicted_accuracy is {accuracy}; it must be in [0, 1]"
            )
            assert selection.evaluations >= 0, (
                f"evaluations is {selection.evaluations}; it must be >= 0"
            )

    def test_is_deterministic(self) -> None:
        """The same question with the same seed gives the same library and the same answer."""
        for task, scenario, cuts in self._questions():
            libraries = [
                self.method.build(task, self._context(task, scenario, cuts)) for _ in range(2)
            ]
            texts = {repr(library.data) for library in libraries}
            assert len(texts) == 1, "build gives another library on a second call"
            answers = [
                self.method.select(library, scenario, self._context(task, scenario, cuts))
                for library in libraries
            ]
            assert answers[0] == answers[1], "select gives another answer on a second call"

    def test_is_stochastic_only_if_it_says_so(self) -> None:
        """Another seed changes the answer only where the card says `stochastic`."""
        varies = False
        for task, scenario, cuts in self._questions():
            answers = {repr(self._ask(task, scenario, cuts, entropy=seed)) for seed in range(5)}
            varies = len(answers) > 1
            if varies:  # one world shows it
                break
        if self.method.card.stochastic:
            assert varies, "the card says stochastic, but five seeds give the same answers"
        else:
            assert not varies, "the answer depends on the seed; say stochastic=True in the card"

    def test_changes_nothing(self) -> None:
        """Asking leaves task, scenario, library and working directory as they were."""
        # In a new directory, so that going to any other shows.
        with TemporaryDirectory() as folder, chdir(folder):
            folder = str(Path.cwd())
            for task, scenario, cuts in self._questions():
                before = _hashes(task, scenario)
                library = self.method.build(task, self._context(task, scenario, cuts))
                assert _hashes(task, scenario) == before, "build changes its task"
                assert str(Path.cwd()) == folder, "build changes the working directory"
                built = repr(library.data)
                self.method.select(library, scenario, self._context(task, scenario, cuts))
                assert repr(library.data) == built, "select changes its library"
                after = _hashes(task, scenario)
                assert after[0] == before[0], "select changes its task"
                assert after[1] == before[1], "select changes its scenario"
                assert str(Path.cwd()) == folder, "select changes the working directory"

    def test_uses_no_global_randomness(self) -> None:
        """Randomness comes from `context.rng` alone; global generators stay as they are."""
        for number, (task, scenario, cuts) in enumerate(self._questions()):
            if number == 0:  # what libraries draw when they are first imported is not the method's
                self._ask(task, scenario, cuts)
                self._built.clear()
            with _odd_random_states():
                before = _random_states()
                self._ask(task, scenario, cuts)
                after = _random_states()
            for name, state in before.items():
                assert after[name] == state, (
                    f"the method uses the global generator of {name}; use context.rng"
                )

    def test_uses_no_network(self) -> None:
        """No name is looked up and no socket opened."""
        for task, scenario, cuts in self._questions():
            with _no_network() as tried:
                self._ask(task, scenario, cuts)
            # What the method caught itself was tried all the same.
            assert not tried, tried[0]

    def test_reads_only_what_its_card_says(self) -> None:
        """A part of the scenario that the card does not list under `sees` changes no plan.

        A radio's rate follows from `link` and `snr`: a method that reads `scenario.rate_bps`
        sees both. Over a link that has its rate there is no SNR to see.

        Only the plan is compared (and whether there is one): it is what is built and priced. The
        method's estimates may follow a hidden part, since whoever chooses blindly may still price
        what was chosen with the harness's cost model, and nothing is decided by that.
        """
        for task, scenario, cuts in self._questions():
            answer = self._plan(self._ask(task, scenario, cuts))
            for part in sorted(_PARTS - self.method.card.sees):
                for other in _others(scenario, part):
                    assert self.method.supports(task, other) is None, (
                        f"the refusal depends on the {part}, which card.sees does not list"
                    )
                    assert self._plan(self._ask(task, other, cuts)) == answer, (
                        f"the plan depends on the {part}, which card.sees does not list"
                    )

    def test_keeps_its_budget(self) -> None:
        """With `max_evaluations` set, no more candidates are evaluated than it allows."""
        for task, scenario, cuts in self._questions():
            for budget in (1, 2, 1000):
                selection = self._ask(task, scenario, cuts, max_evaluations=budget)
                assert selection.evaluations <= budget, (
                    f"{selection.evaluations} evaluations with a budget of {budget}"
                )

    def test_spends_in_its_declared_phases(self) -> None:
        """The ledger holds only phases that the card lists."""
        for task, scenario, cuts in self._questions():
            context = self._context(task, scenario, cuts)
            library = self.method.build(task, context)
            self.method.select(library, scenario, context)
            spent = {entry.phase for entry in context.ledger.entries()}
            assert spent <= set(self.method.card.phases), (
                f"the ledger has {sorted(spent)}, card.phases lists "
                f"{sorted(self.method.card.phases)} (of {', '.join(PHASES)})"
            )

    def own_parts(self) -> list[type]:
        """Return the parts that the adapter's module defines."""
        module = sys.modules[type(self.method).__module__]
        return [cls for cls in classes_defined_in(module) if is_part(cls)]

    def _known_parts(self) -> Parts:
        known = self.parts
        for part in self.own_parts():
            with suppress(CoinferError):  # `test_brings_valid_parts` says what is wrong
                known = known.with_classes([part])
        return known

    def _total_s(self, plan: Plan, task: Task, scenario: Scenario) -> float:
        """Return what a plan takes; one bit stands in for what only a measurement tells."""
        parts = self._known_parts()
        sends = task.graph.cut(plan.cut.after).kind != "output"
        bits = 1.0 if sends and unmeasured(plan, parts) else None
        work = plan_workload(plan, task, scenario.convention, parts, measured_bits=bits)
        return float(scenario_latency(work, scenario).total_s)

    def _worlds(self) -> Iterator[tuple[Task, Scenario]]:
        for task in map(self._handed, self.tasks()):
            for name in conventions():
                for scenario in worlds.scenarios(name):
                    self.world = task, scenario
                    yield task, scenario
        self.world = None

    def _handed(self, task: Task) -> Task:
        """Return a task as the harness hands it to the method.

        Without prune groups where the card says that it does not prune; with measured plans where
        it asks for some and the network has plans of that family.
        """
        space = None if self.method.card.prunes == "none" else task.prune_space
        plain = replace(task, prune_space=space)
        if not _asks_for_plans(self.method.supports(plain)):
            return plain
        measured = replace(worlds.measured_task(task), prune_space=space)
        return plain if _asks_for_plans(self.method.supports(measured)) else measured

    def _questions(self) -> Iterator[tuple[Task, Scenario, tuple[Cut, ...]]]:
        """The worlds that the method does not refuse, with the cuts it may use there."""
        self._built.clear()  # every check builds anew, whatever was asked before
        self.asked = 0
        card = self.method.card
        for task, scenario in self._worlds():
            kinds = scenario.convention.kinds_for(card.name, card.cuts)
            cuts = tuple(cut for cut in task.graph.cuts if cut.kind in kinds)
            refused = self.method.supports(task) or self.method.supports(task, scenario)
            if cuts and refused is None:
                self.asked += 1
                yield task, scenario, cuts

    def _context(
        self, task: Task, scenario: Scenario, cuts: tuple[Cut, ...], **options: Any
    ) -> Context:
        return Context(task, scenario.convention, cuts, **options)

    def _ask(
        self, task: Task, scenario: Scenario, cuts: tuple[Cut, ...], **options: Any
    ) -> Selection:
        # As in the harness, one library serves all scenarios of a convention.
        key = (task.hash, scenario.convention.name, *sorted(options.items()))
        if key not in self._built:
            context = self._context(task, scenario, cuts, **options)
            self._built[key] = self.method.build(task, context)
        selection = self.method.select(
            self._built[key], scenario, self._context(task, scenario, cuts, **options)
        )
        assert isinstance(selection, Selection), f"select must return a Selection: {selection!r}"
        return selection

    @staticmethod
    def _plan(selection: Selection) -> str | None:
        return selection.plan.hash if selection.plan else None


def _asks_for_plans(refusal: object) -> bool:
    """Whether a method refuses for want of measured plans: `methods.predictor.not_measured`."""
    return isinstance(refusal, Skip) and refusal.reason.startswith("no measured ")


def _made_without_options(part: type) -> bool:
    try:
        inspect.signature(part).bind()
    except TypeError:
        return False
    return True


def _ask_codec(parts: Parts, name: str, tasks: tuple[Task, ...]) -> None:
    for shape in (cut.shape for task in tasks for cut in task.graph.cuts[:-1]):
        parts.code_shape(name, shape)
        for rule in flops.RULES:
            parts.codec_work(name, shape, rule)


def _ask_coder(parts: Parts, name: str, tasks: tuple[Task, ...]) -> None:
    coder = parts.coder(name)
    for task in tasks:
        answer: object = coder.available(task.source)
        assert isinstance(answer, bool), (
            f"coder '{name}': available({task.source}) is {answer!r}; it must be True or False"
        )
        cuts = [cut for cut in task.graph.cuts if cut.kind in coder.cut_kinds]
        if not answer or not cuts:
            continue
        alone = [parts.coder_bits(name, cut, task.source) for cut in cuts]
        together = coder.bits(np.array([cut.elements for cut in cuts]), task.source)
        alike = np.shape(together) == (len(cuts),) and np.allclose(together, alone, rtol=1e-12)
        assert alike, (
            f"coder '{name}': bits of an array of counts must be those of each count alone, "
            f"{alone}, not {together!r}"
        )


def _ask_schedule(parts: Parts, name: str, tasks: tuple[Task, ...]) -> None:
    schedule: Schedule = parts.make("schedule", name)
    for step in range(11):
        real_number(
            f"schedule '{name}': progress({step}, 10)",
            schedule.progress(step, 10),
            "0 to 1",
            lambda share: 0 <= share <= 1,
        )


def _ask_nothing(parts: Parts, name: str, tasks: tuple[Task, ...]) -> None:
    return


_ASKED: dict[str, Callable[[Parts, str, tuple[Task, ...]], None]] = {
    "criterion": _ask_nothing,
    "schedule": _ask_schedule,
    "codec": _ask_codec,
    "coder": _ask_coder,
    "channel": _ask_nothing,
}


def _hashes(task: Task, scenario: Scenario) -> tuple[str, str]:
    """Return hashes made anew: a task and a graph keep theirs, whatever becomes of them."""
    fresh = replace(task, graph=replace(task.graph))
    return fresh.hash, content_hash(to_data(scenario))


def _others(scenario: Scenario, part: str) -> tuple[Scenario, ...]:
    """Return the scenario with a very different device, server, link or SNR, where it has one.

    A link keeps its kind, so that a scenario with an SNR to see keeps it.
    """
    if part == "snr":
        if not scenario.link.needs_snr:
            return ()
        return tuple(replace(scenario, snr_db=snr_db) for snr_db in (-30.0, 70.0))
    if part == "link":
        link = scenario.link
        capacities = ("rate_bps", "bandwidth_hz", "uses_per_s")
        given = next(name for name in capacities if getattr(link, name) is not None)
        changes: tuple[dict[str, Any], ...] = (
            {"name": "slow", "round_trip_s": 1.0, given: 10.0},
            {"name": "fast", "round_trip_s": 0.0, given: 1e13},
        )
        return tuple(replace(scenario, link=replace(link, **change)) for change in changes)
    processor = getattr(scenario, part)
    return tuple(
        replace(scenario, **{part: replace(processor, name=name, flops_per_s=flops_per_s)})
        for name, flops_per_s in (("slow", 1e3), ("fast", 1e18))
    )


def _random_states() -> dict[str, Any]:
    """Return the states of the global generators, by module; torch's where it is loaded."""
    kind, keys, *rest = np.random.get_state()
    states = {"random": random.getstate(), "numpy.random": (kind, np.asarray(keys).tobytes(), rest)}
    torch = sys.modules.get("torch")
    if torch is not None:
        states["torch"] = torch.get_rng_state().numpy().tobytes()
    return states


@contextmanager
def _odd_random_states() -> Iterator[None]:
    """Put the global generators into states of their own: a method that seeds one shows too."""
    torch = sys.modules.get("torch")
    ours, numpys = random.getstate(), np.random.get_state()
    torchs = torch.get_rng_state() if torch is not None else None
    random.seed(_ODD_SEED)
    np.random.seed(_ODD_SEED)
    if torch is not None:
        torch.set_rng_state(torch.Generator().manual_seed(_ODD_SEED).get_state())
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)
        if torch is not None:
            torch.set_rng_state(torchs)


@contextmanager
def _no_network() -> Iterator[list[str]]:
    """Refuse internet sockets and look-ups, and give the list of what was tried."""
    tried: list[str] = []
    local = getattr(socket, "AF_UNIX", None)  # Windows has none
    make, look_up = socket.socket.__init__, socket.getaddrinfo

    def refuse(what: str) -> None:
        tried.append(f"the method {what}; everything it needs is in its task and scenario")
        raise AssertionError(tried[-1])

    def guarded(self: socket.socket, family: int = -1, *args: Any, **options: Any) -> None:
        # Sockets between the processes of one machine are no network.
        if family != local:
            refuse("opens a socket")
        make(self, family, *args, **options)

    def no_look_up(host: object, *_: object, **__: object) -> None:
        refuse(f"looks up '{host}'")

    socket.socket.__init__ = guarded  # type: ignore[method-assign]
    socket.getaddrinfo = no_look_up  # type: ignore[assignment]
    try:
        yield tried
    finally:
        socket.socket.__init__ = make  # type: ignore[method-assign]
        socket.getaddrinfo = look_up
