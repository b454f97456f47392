"""The conformance kit: what every adapter, ours or a stranger's, must keep to.

Inherit it in a test and name the adapter; pytest collects the checks::

    class TestMyMethod(MethodContract):
        method = MyMethod()

Each check is one promise, its docstring says which, and its failure says what to change. The
kit needs no network, no data and no torch.
"""

from __future__ import annotations

import json
import math
import pickle
import random
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from coinfer.conventions import conventions
from coinfer.cost import plan_workload, scenario_latency
from coinfer.graph import Cut
from coinfer.method import PHASES, Context, Library, Method, MethodCard
from coinfer.parts import Parts, installed_parts
from coinfer.plan import Plan, Scenario, Selection, Skip, Task
from coinfer.serial import to_data
from methods import worlds

_NAME = re.compile(r"^[a-z][a-z0-9_+-]*$")


class MethodContract:
    """The promises of an adapter. Set `method`; override `tasks` to add networks of your own.

    Attributes:
        method: the adapter under test.
        parts: the parts it may name; add those of your own file with `with_classes`.
    """

    method: ClassVar[Method]
    parts: ClassVar[Parts] = installed_parts()

    def tasks(self) -> tuple[Task, ...]:
        """Return the networks to try: an ordinary one and a one-layer one."""
        return worlds.small_task(), worlds.one_layer_task()

    def test_has_a_valid_card(self) -> None:
        """The card names and describes the method, and says where it comes from."""
        card = self.method.card
        assert isinstance(card, MethodCard), "set the class attribute `card` to a MethodCard"
        assert _NAME.match(card.name), f"card.name '{card.name}' must match {_NAME.pattern}"
        assert card.title, "card.title is empty; write the name as the paper writes it"
        assert card.idea, "card.idea is empty; say in one line what the method does"
        assert card.reference, "card.reference is empty; say where the method is published"

    def test_survives_pickling(self) -> None:
        """Workers in other processes get the adapter by pickle."""
        assert pickle.loads(pickle.dumps(self.method)) == self.method, (  # noqa: S301
            "the adapter changes when pickled; keep its options in dataclass fields"
        )

    def test_options_round_trip(self) -> None:
        """The adapter's `name[option=value]` rebuilds it."""
        rebuilt = type(self.method)(**self.method.ref.arguments)
        assert rebuilt == self.method, "type(method)(**method.ref.arguments) must equal method"

    def test_refuses_with_a_reason(self) -> None:
        """`supports` answers None, or a Skip whose reason a reader understands."""
        for task, scenario in self._worlds():
            for answer in (self.method.supports(task), self.method.supports(task, scenario)):
                if answer is not None:
                    assert isinstance(answer, Skip), "supports must return None or a Skip"
                    assert answer.reason.strip(), "Skip.reason is empty"
                    assert "\n" not in answer.reason, "Skip.reason must be one line"

    def test_runs_somewhere(self) -> None:
        """At least one ordinary world is not refused."""
        assert any(True for _ in self._questions()), "the method refuses every world of the kit"

    def test_builds_json(self) -> None:
        """A library is JSON data: it can be stored, hashed and sent."""
        for task, scenario, cuts in self._questions():
            data = self.method.build(task, self._context(task, scenario, cuts)).data
            assert json.loads(json.dumps(data)) == data, "Library.data must be plain JSON data"

    def test_returns_valid_plans(self) -> None:
        """Plans cut where allowed, name known parts, and price to finite or infinite seconds."""
        for task, scenario, cuts in self._questions():
            selection = self._ask(task, scenario, cuts)
            if selection.plan is None:
                continue
            plan = selection.plan
            assert plan.model == task.model, f"plan.model is '{plan.model}', not '{task.model}'"
            assert plan.cut.after in {cut.after for cut in cuts}, (
                f"the plan cuts after '{plan.cut.after}', not at one of context.cuts"
            )
            work = plan_workload(plan, task, scenario.convention, self.parts)
            total = float(scenario_latency(work, scenario).total_s)
            assert not math.isnan(total), "the plan's latency is NaN"
            assert total >= 0, "the plan's latency is negative"
            assert Plan.from_data(json.loads(json.dumps(to_data(plan)))) == plan

    def test_predictions_are_sane(self) -> None:
        """The method's own estimates are numbers in range."""
        for task, scenario, cuts in self._questions():
            selection = self._ask(task, scenario, cuts)
            latency, accuracy = selection.predicted_latency_s, selection.predicted_accuracy
            assert latency is None or latency >= 0, "predicted_latency_s must be >= 0, not NaN"
            assert accuracy is None or 0 <= accuracy <= 1, "predicted_accuracy must be in [0, 1]"
            assert selection.evaluations >= 0, "evaluations must be >= 0"

    def test_is_deterministic(self) -> None:
        """The same question with the same seed gives the same library and the same answer."""
        for task, scenario, cuts in self._questions():
            first, second = (
                self.method.build(task, self._context(task, scenario, cuts)) for _ in range(2)
            )
            assert first.hash == second.hash, "build gives another library on a second call"
            answers = [
                self.method.select(first, scenario, self._context(task, scenario, cuts))
                for _ in range(2)
            ]
            assert answers[0] == answers[1], "select gives another answer on a second call"

    def test_is_stochastic_only_if_it_says_so(self) -> None:
        """Another seed changes the answer only where the card says `stochastic`."""
        seen: set[str] = set()
        for task, scenario, cuts in self._questions():
            answers = {repr(self._ask(task, scenario, cuts, entropy=seed)) for seed in range(5)}
            if not self.method.card.stochastic:
                assert len(answers) == 1, "the answer depends on the seed; say so in the card"
            seen |= answers if len(answers) > 1 else set()
        if self.method.card.stochastic:
            assert seen, "the card says stochastic, but five seeds give the same answers"

    def test_changes_nothing(self) -> None:
        """`select` leaves its library, its task and the working directory as they were."""
        for task, scenario, cuts in self._questions():
            library = self.method.build(task, self._context(task, scenario, cuts))
            before = library.hash, task.hash, Path.cwd()
            self.method.select(library, scenario, self._context(task, scenario, cuts))
            assert (library.hash, task.hash, Path.cwd()) == before, (
                "select changed its library, its task or the working directory"
            )

    def test_uses_no_global_randomness_and_no_network(self) -> None:
        """Randomness comes from `context.rng` alone, and no socket is opened."""
        for task, scenario, cuts in self._questions():
            before = _random_state()
            with _no_network():
                self._ask(task, scenario, cuts)
            assert _random_state() == before, (
                "the method draws from a global generator (random or numpy.random); use context.rng"
            )

    def test_reads_only_what_its_card_says(self) -> None:
        """A part of the scenario that the card does not list under `sees` changes nothing."""
        hidden = {"device", "server", "link"} - self.method.card.sees
        for task, scenario, cuts in self._questions():
            answer = self._plan(self._ask(task, scenario, cuts))
            for part in sorted(hidden):
                other = _with_other(scenario, part)
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

    def _worlds(self) -> Iterator[tuple[Task, Scenario]]:
        for task in self.tasks():
            for rules in conventions():
                for scenario in worlds.scenarios(rules):
                    yield task, scenario

    def _questions(self) -> Iterator[tuple[Task, Scenario, tuple[Cut, ...]]]:
        """The worlds that the method does not refuse, with the cuts it may use there."""
        card = self.method.card
        for task, scenario in self._worlds():
            kinds = scenario.convention.kinds_for(card.name, card.cuts)
            cuts = tuple(cut for cut in task.graph.cuts if cut.kind in kinds)
            refused = self.method.supports(task) or self.method.supports(task, scenario)
            if cuts and refused is None:
                yield task, scenario, cuts

    def _context(
        self, task: Task, scenario: Scenario, cuts: tuple[Cut, ...], **options: Any
    ) -> Context:
        return Context(task, scenario.convention, cuts, **options)

    def _ask(
        self, task: Task, scenario: Scenario, cuts: tuple[Cut, ...], **options: Any
    ) -> Selection:
        library = self.method.build(task, self._context(task, scenario, cuts, **options))
        # A library may come back from disk: what select gets has been through JSON.
        library = Library(json.loads(json.dumps(library.data)))
        return self.method.select(library, scenario, self._context(task, scenario, cuts, **options))

    @staticmethod
    def _plan(selection: Selection) -> str | None:
        return selection.plan.hash if selection.plan else None


def _with_other(scenario: Scenario, part: str) -> Scenario:
    """Return the scenario with a very different device, server or link."""
    if part == "link":
        return replace(scenario, link=replace(scenario.link, rate_bps=12345.0))
    processor = getattr(scenario, part)
    return replace(scenario, **{part: replace(processor, flops_per_s=processor.speed() * 1e3)})


def _random_state() -> tuple[Any, ...]:
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return random.getstate(), kind, np.asarray(keys).tobytes(), position, has_gauss, cached


@contextmanager
def _no_network() -> Iterator[None]:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the method opens a network connection")

    connect = socket.socket.connect
    socket.socket.connect = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
