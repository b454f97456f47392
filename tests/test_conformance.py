"""The conformance kit notices what it is there to notice: one bad adapter per promise.

Every bad adapter makes the check meant for it fail, and no other.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import tempfile
from contextlib import chdir
from dataclasses import dataclass, replace
from itertools import count
from math import nan
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from coinfer.cost import batch_latency, no_bandwidth, plan_workload, scenario_latency
from coinfer.graph import Cut
from coinfer.method import Context, Library, Method, MethodCard
from coinfer.plan import CutRef, Plan, Scenario, Selection, Skip, Task
from coinfer.plugins import load_file
from methods import worlds
from methods.conformance import MethodContract
from methods.exhaustive import Exhaustive
from methods.neurosurgeon import Neurosurgeon
from methods.predictor import not_measured

CARD = MethodCard(name="good", title="Good", idea="Cut first.", reference="a test")
BLIND = replace(CARD, sees=frozenset())
CALLS = count()


def at(context: Context, cut: Cut, **parts: Any) -> Plan:
    return Plan(context.task.model, CutRef(cut.index, cut.after), **parts)


def first_or_last(context: Context, last: bool) -> Selection:
    return Selection(at(context, context.cuts[-1 if last else 0]), evaluations=1)


@dataclass(frozen=True)
class Good(Method):
    card: ClassVar[MethodCard] = CARD

    def build(self, task: Task, context: Context) -> Library:
        return Library({"cuts": [1, 2.5, None], "of": {"a": "text"}})

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return first_or_last(context, last=False)


@dataclass(frozen=True)
class WithOptions(Good):
    step: float = 0.5
    word: str = "two words, 2"
    on: bool | None = None


@dataclass(frozen=True)
class Random(Good):
    card: ClassVar[MethodCard] = replace(CARD, stochastic=True, phases=("search",))

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        context.ledger.spend("search", evaluations=1)
        return first_or_last(context, last=context.rng.random() < 0.5)


@dataclass(frozen=True)
class Infeasible(Good):
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return Selection(None, "infeasible")


@dataclass(frozen=True)
class BlindButPredicts(Good):
    """Decides by nothing, and prices what it decided: allowed."""

    card: ClassVar[MethodCard] = BLIND

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        chosen = first_or_last(context, last=True)
        assert chosen.plan is not None
        work = plan_workload(chosen.plan, context.task, scenario.convention)
        return replace(chosen, predicted_latency_s=float(scenario_latency(work, scenario).total_s))


@dataclass(frozen=True)
class HalfTheDevice(Good):
    """Keeps half of every prune group on the device, and cuts where that is fastest."""

    card: ClassVar[MethodCard] = replace(CARD, prunes="device")

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        space = context.task.prune_space
        assert space is not None
        place = {layer.name: index for index, layer in enumerate(space.graph.layers)}
        starts = np.array([place[name] for name in space.names], dtype=np.int64)
        positions = np.array([space.graph.cuts.index(cut) for cut in context.cuts])
        on_device = starts < space.graph.cut_index[positions][:, None]
        kept = np.where(on_device, space.kept_from_sparsity(0.5), space.full)
        time = batch_latency(space, kept, positions, scenario).total_s
        best = int(np.argmin(time))
        return Selection(
            at(context, context.cuts[best], keep=space.keep_pairs(kept[best])),
            predicted_latency_s=float(time[best]),
            evaluations=min(len(positions), context.max_evaluations or len(positions)),
        )


@dataclass(frozen=True)
class ReadsBandwidth(Good):
    """Sees the link without the SNR: bandwidth and round trip, but no radio's rate."""

    card: ClassVar[MethodCard] = replace(CARD, sees=frozenset({"link"}))

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        capacity = scenario.link.bandwidth_hz or scenario.link.rate_bps or 0.0
        return first_or_last(context, last=capacity < 1e4)


@dataclass(frozen=True)
class SendsAsManyBitsAsNeeded(Good):
    """Its payload is known once it is measured; the kit measures nothing."""

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return Selection(at(context, context.cuts[0], coder="huffman"))


@dataclass(frozen=True)
class LearnsFromPlans(Good):
    """Refuses a task without measured plans; needs no prune groups."""

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        return not_measured(task, "qho")


@dataclass(frozen=True)
class SendsSymbols(Good):
    """Sends analog symbols over radios, and refuses links that are none."""

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        reason = no_bandwidth(scenario.link) if scenario else ""
        return Skip(reason) if reason else None

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return Selection(at(context, context.cuts[0], channel="awgn"))


# -- bad adapters, one per promise ----------------------------------------------------------------


@dataclass(frozen=True)
class BadName(Good):
    card: ClassVar[MethodCard] = replace(CARD, name="My Method")


@dataclass(frozen=True)
class NoReference(Good):
    card: ClassVar[MethodCard] = replace(CARD, reference=" ")


@dataclass(frozen=True)
class Unpicklable(Good):
    def __post_init__(self) -> None:
        object.__setattr__(self, "_later", lambda: None)


@dataclass(frozen=True)
class ForgetsWhenPickled(Good):
    step: int = 1

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()


@dataclass(frozen=True)
class Doubles(Good):
    step: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", 2 * self.step)


@dataclass(frozen=True)
class TakesAList(Good):
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Refuses(Good):
    """Refuses the one-layer network, with a reason that its test gives."""

    answer: ClassVar[Any] = Skip("one layer cannot be split")

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        refusal: Skip | None = self.answer if len(task.graph) == 1 else None
        return refusal


@dataclass(frozen=True)
class RefusesWithoutReason(Refuses):
    answer: ClassVar[Any] = Skip("  ")


@dataclass(frozen=True)
class RefusesAtLength(Refuses):
    answer: ClassVar[Any] = Skip("one layer\ncannot be split")


@dataclass(frozen=True)
class RefusesWithText(Refuses):
    answer: ClassVar[Any] = "one layer"


@dataclass(frozen=True)
class RefusesEverything(Good):
    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        return Skip("not today")


@dataclass(frozen=True)
class BuildsASet(Good):
    def build(self, task: Task, context: Context) -> Library:
        return Library({"cuts": {3}})


@dataclass(frozen=True)
class BuildsNumberedKeys(Good):
    def build(self, task: Task, context: Context) -> Library:
        return Library({3: "fc"})


@dataclass(frozen=True)
class BuildsNaN(Good):
    def build(self, task: Task, context: Context) -> Library:
        return Library([nan])


@dataclass(frozen=True)
class AnotherModel(Good):
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return Selection(replace(at(context, context.cuts[0]), model="alexnet"))


@dataclass(frozen=True)
class ForbiddenCut(Good):
    card: ClassVar[MethodCard] = replace(CARD, cuts=frozenset({"output"}))

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return Selection(at(context, context.task.graph.cuts[0]))


@dataclass(frozen=True)
class WrongIndex(Good):
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return Selection(at(context, replace(context.cuts[0], index=7)))


@dataclass(frozen=True)
class UnknownPart(Good):
    """Names a part that nobody knows; its subclasses say which."""

    part: ClassVar[str] = "codec"

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        # Nothing is sent at the last cut, where a codec and a coder are easily overlooked.
        return Selection(at(context, context.cuts[-1], **{self.part: "mystery[size=3]"}))


@dataclass(frozen=True)
class UnknownCoder(UnknownPart):
    part: ClassVar[str] = "coder"


@dataclass(frozen=True)
class UnknownCriterion(UnknownPart):
    part: ClassVar[str] = "criterion"


@dataclass(frozen=True)
class UnknownSchedule(UnknownPart):
    part: ClassVar[str] = "schedule"


@dataclass(frozen=True)
class UnknownChannel(UnknownPart):
    part: ClassVar[str] = "channel"


@dataclass(frozen=True)
class PrunesUnsaid(Good):
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return Selection(at(context, context.cuts[-1], keep=(("conv1", 4),)))


@dataclass(frozen=True)
class PrunesUnknownGroup(PrunesUnsaid):
    card: ClassVar[MethodCard] = replace(CARD, prunes="whole")

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return Selection(at(context, context.cuts[-1], keep=(("conv9", 4),)))


@dataclass(frozen=True)
class SendsSymbolsAnywhere(SendsSymbols):
    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        return None


@dataclass(frozen=True)
class UnknownCodecOfMeasuredSize(Good):
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return Selection(at(context, context.cuts[0], codec="mystery", coder="huffman"))


@dataclass(frozen=True)
class PredictsNaN(Good):
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return forced(first_or_last(context, last=False), predicted_latency_s=nan)


@dataclass(frozen=True)
class PredictsPercent(Good):
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return forced(first_or_last(context, last=False), predicted_accuracy=93.5)


@dataclass(frozen=True)
class PredictsThePast(Good):
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return forced(first_or_last(context, last=False), predicted_latency_s=-1.0)


def forced(selection: Selection, **fields: Any) -> Selection:
    """Change fields behind the back of Selection, which itself refuses such values."""
    for name, value in fields.items():
        object.__setattr__(selection, name, value)
    return selection


@dataclass(frozen=True)
class AnswersInTurn(Good):
    # Declared stochastic, so that what is wrong is only that the seed does not decide.
    card: ClassVar[MethodCard] = replace(CARD, stochastic=True)

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return first_or_last(context, last=next(CALLS) % 2 == 1)


@dataclass(frozen=True)
class BuildsInTurn(Good):
    def build(self, task: Task, context: Context) -> Library:
        return Library(next(CALLS))


@dataclass(frozen=True)
class RandomUnsaid(Random):
    card: ClassVar[MethodCard] = replace(Random.card, stochastic=False)


@dataclass(frozen=True)
class SaidRandom(Good):
    card: ClassVar[MethodCard] = replace(CARD, stochastic=True)


@dataclass(frozen=True)
class Acts(Good):
    """Does something beside choosing; its subclasses say what."""

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        self.act(library, scenario, context)
        return first_or_last(context, last=False)

    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        raise AssertionError("a subclass acts")


class MarksLibrary(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        library.data["cuts"].append(7)


class MarksTask(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        object.__setattr__(context.task, "max_accuracy_loss", 0.5)


class MarksGraph(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        object.__setattr__(context.task.graph.layers[0], "parameters", 7)


class MarksScenario(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        object.__setattr__(scenario.link, "transmit_watts", 7.0)


@dataclass(frozen=True)
class MarksTaskInBuild(Good):
    def build(self, task: Task, context: Context) -> Library:
        object.__setattr__(task, "baseline_accuracy", 0.5)
        return Library()


class GoesElsewhere(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        os.chdir(tempfile.gettempdir())


class DrawsFromRandom(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        random.random()


class SeedsRandom(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        random.seed(0)


class DrawsFromNumpy(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        np.random.normal()


class SeedsNumpy(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        np.random.seed(0)


class DrawsFromTorch(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        sys.modules["torch"].rand(1)


class OpensSocket(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        socket.socket().close()


class OpensSocketQuietly(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        try:
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        except Exception:
            return


class LooksUpName(Acts):
    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        socket.getaddrinfo("127.0.0.1", 80)


@dataclass(frozen=True)
class ReadsDevice(Good):
    card: ClassVar[MethodCard] = replace(CARD, sees=CARD.sees - {"device"})

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return first_or_last(context, last=scenario.device.speed() > 1e13)


@dataclass(frozen=True)
class ReadsServer(Good):
    card: ClassVar[MethodCard] = replace(CARD, sees=CARD.sees - {"server"})

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return first_or_last(context, last=scenario.server.speed() < 1e6)


@dataclass(frozen=True)
class ReadsLink(Good):
    card: ClassVar[MethodCard] = replace(CARD, sees=CARD.sees - {"link"})

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return first_or_last(context, last=scenario.rate_bps < 100.0)


@dataclass(frozen=True)
class ReadsRoundTrip(ReadsLink):
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return first_or_last(context, last=scenario.link.round_trip_s > 0.0)


@dataclass(frozen=True)
class ReadsSnr(Good):
    card: ClassVar[MethodCard] = replace(CARD, sees=CARD.sees - {"snr"})

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return first_or_last(context, last=(scenario.snr_db or 0.0) > 30.0)


@dataclass(frozen=True)
class ReadsRateOfRadio(ReadsSnr):
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return first_or_last(context, last=scenario.rate_bps < 1e5)


@dataclass(frozen=True)
class RefusesByHiddenServer(Good):
    card: ClassVar[MethodCard] = replace(CARD, sees=CARD.sees - {"server"})

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        slow = scenario is not None and scenario.server.speed() < 1e6
        return Skip("the server is too slow") if slow else None


@dataclass(frozen=True)
class Overspends(Good):
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        return replace(first_or_last(context, last=False), evaluations=len(context.cuts) + 1)


@dataclass(frozen=True)
class SpendsUnsaid(Acts):
    card: ClassVar[MethodCard] = replace(CARD, phases=("search",))

    def act(self, library: Library, scenario: Scenario, context: Context) -> None:
        context.ledger.spend("search", evaluations=1)
        context.ledger.spend("finetune", epochs=2.0)


PARTS = """
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from coinfer.method import Method, MethodCard
from coinfer.plan import CutRef, Plan, Selection

class Half:
    kind, name, cut_kinds = "coder", "half", frozenset({"input", "interior"})
    evidence, lossless = "analytic", False
    fixed_length = True  # so that it goes with a channel of bits
    def available(self, source): return True
    def bits(self, elements, source): return 16.0 * elements

class Shrink:
    kind, name = "codec", "shrink"
    def __init__(self, factor=2): self.factor = factor
    def code_shape(self, shape): return (max(1, shape[0] // self.factor), *shape[1:])
    def work(self, shape, rules): return 5, 6
    def modules(self, shape): return None

class Needs(Shrink):
    name = "needs"
    def __init__(self, factor): self.factor = factor

class Ramp:
    kind, name = "schedule", "ramp"
    def progress(self, step, steps): return step / steps

class Noise:
    kind, name, analog = "channel", "noise", False
    def layer(self, snr_db, generator): return None

class Norm:
    kind, name = "criterion", "norm"
    def scores(self, model, space, batches): return {}

@dataclass(frozen=True)
class Own(Method):
    card: ClassVar[MethodCard] = MethodCard(
        name="own", title="Own", idea="Use parts of its own.", reference="a test")
    def select(self, library, scenario, context):
        cut = context.cuts[0]
        return Selection(
            Plan(context.task.model, CutRef(cut.index, cut.after), codec="shrink[factor=3]",
                 coder="half", criterion="norm", schedule="ramp", channel="noise"), evaluations=1)
"""


def own(folder: Path, old: str = "", new: str = "") -> Method:
    """The adapter of a file that brings parts, `old` in the file replaced by `new`."""
    assert not old or PARTS.count(old) == 1
    path = folder / "own.py"
    path.write_text(PARTS.replace(old, new) if old else PARTS)
    made: Method = load_file(path).Own()
    return made


def test_the_parts_of_an_adapters_file_are_known_to_the_kit(tmp_path: Path) -> None:
    assert failures(own(tmp_path), tmp_path) == {}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('evidence, lossless = "analytic"', 'evidence, lossless = "guess"', "evidence is 'guess'"),
        ("return 16.0 * elements", "return -elements", "bits of 768 elements is -768"),
        ("return 16.0 * elements", "return 16.0 * int(elements)", "TypeError"),
        ("return 16.0 * elements", "return float(np.max(elements))", "bits of an array of counts"),
        ("return 16.0 * elements", "return 4000.0", "bits of an array of counts"),
        ("def available(self, source): return True", "def available(self, source): pass", "None"),
        ("return 5, 6", "return 5, -6", "work on (3, 16, 16) is (5, -6)"),
        ("return 5, 6", "return {'table1': (1, 1)}[rules]", "KeyError"),
        ("(max(1, shape[0] // self.factor), *shape[1:])", "(shape[0] // 9, 1)", "is (0, 1)"),
        ("return step / steps", "return step", "progress(2, 10) is 2; allowed is 0 to 1"),
        ('"channel", "noise", False', '"channel", "noise", 0', "analog is 0"),
        ("def scores", "def score", "a criterion has: scores"),
    ],
)
def test_a_bad_part_fails_the_check_meant_for_it(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    found = failures(own(tmp_path, old, new), tmp_path)
    assert words in found.pop("test_brings_valid_parts")
    # What the harness checks where a plan uses the part may fail with it, and nothing else.
    assert set(found) <= {"test_returns_valid_plans"}


def failures(method: Method, folder: Path) -> dict[str, str]:
    """Run the kit without pytest, as its docstring says: message by check that fails."""

    class Kit(MethodContract):
        pass

    Kit.method = method
    found = {}
    for name in dir(Kit):
        if name.startswith("test_"):
            # What bad adapters do to a process must not outlive this test.
            with chdir(folder):
                try:
                    getattr(Kit(), name)()
                except AssertionError as error:
                    found[name] = str(error)
    return found


@pytest.mark.parametrize(
    "method",
    [
        Good(),
        WithOptions(),
        WithOptions(step=2.0, word="x", on=True),
        Random(),
        Infeasible(),
        Refuses(),
        BlindButPredicts(),
        ReadsBandwidth(),
        HalfTheDevice(),
        SendsAsManyBitsAsNeeded(),
        LearnsFromPlans(),
        SendsSymbols(),
    ],
    ids=repr,
)
def test_a_good_adapter_keeps_every_promise(method: Method, tmp_path: Path) -> None:
    assert failures(method, tmp_path) == {}


BAD: list[tuple[Method, str, str]] = [
    (BadName(), "has_a_valid_card", "card.name 'My Method'"),
    (NoReference(), "has_a_valid_card", "card.reference is empty"),
    (Unpicklable(), "survives_pickling", "cannot be pickled"),
    (ForgetsWhenPickled(step=3), "survives_pickling", "changes when pickled"),
    (Doubles(), "options_round_trip", "Doubles(step=4), not Doubles(step=2)"),
    (TakesAList(steps=(1, 2)), "options_round_trip", "steps"),
    (RefusesWithoutReason(), "refuses_with_a_reason", "Skip.reason is empty"),
    (RefusesAtLength(), "refuses_with_a_reason", r"one line, not 'one layer\ncannot"),
    (RefusesWithText(), "refuses_with_a_reason", "None or a Skip, not 'one layer'"),
    (RefusesEverything(), "runs_somewhere", "refuses every world"),
    (BuildsASet(), "builds_json", "set is not JSON serializable"),
    (BuildsNumberedKeys(), "builds_json", "{3: 'fc'} comes back as {'3': 'fc'}"),
    (BuildsNaN(), "builds_json", "no NaN"),
    (AnotherModel(), "returns_valid_plans", "plan.model is 'alexnet', not 'small'"),
    (ForbiddenCut(), "returns_valid_plans", "cuts after 'input', not at one of context.cuts: fc"),
    (WrongIndex(), "returns_valid_plans", "Plan.cut.index is 7"),
    (UnknownPart(), "returns_valid_plans", "unknown codec 'mystery'"),
    (UnknownCoder(), "returns_valid_plans", "unknown coder 'mystery'"),
    (UnknownCriterion(), "returns_valid_plans", "unknown criterion 'mystery'"),
    (UnknownSchedule(), "returns_valid_plans", "unknown schedule 'mystery'"),
    (UnknownChannel(), "returns_valid_plans", "unknown channel 'mystery'"),
    (SendsSymbolsAnywhere(), "returns_valid_plans", "link 'world' has no bandwidth"),
    (UnknownCodecOfMeasuredSize(), "returns_valid_plans", "unknown codec 'mystery'"),
    (PrunesUnsaid(), "returns_valid_plans", "prunes conv1, but card.prunes is 'none'"),
    (PrunesUnknownGroup(), "returns_valid_plans", "unknown prune group 'conv9'"),
    (PredictsNaN(), "predictions_are_sane", "predicted_latency_s is nan"),
    (PredictsThePast(), "predictions_are_sane", "predicted_latency_s is -1.0"),
    (PredictsPercent(), "predictions_are_sane", "predicted_accuracy is 93.5"),
    (AnswersInTurn(), "is_deterministic", "select gives another answer"),
    (BuildsInTurn(), "is_deterministic", "build gives another library"),
    (RandomUnsaid(), "is_stochastic_only_if_it_says_so", "depends on the seed"),
    (SaidRandom(), "is_stochastic_only_if_it_says_so", "five seeds give the same"),
    (MarksLibrary(), "changes_nothing", "select changes its library"),
    (MarksTask(), "changes_nothing", "select changes its task"),
    (MarksGraph(), "changes_nothing", "select changes its task"),
    (MarksScenario(), "changes_nothing", "select changes its scenario"),
    (MarksTaskInBuild(), "changes_nothing", "build changes its task"),
    (GoesElsewhere(), "changes_nothing", "select changes the working directory"),
    (DrawsFromRandom(), "uses_no_global_randomness", "generator of random;"),
    (SeedsRandom(), "uses_no_global_randomness", "generator of random;"),
    (DrawsFromNumpy(), "uses_no_global_randomness", "generator of numpy.random;"),
    (SeedsNumpy(), "uses_no_global_randomness", "generator of numpy.random;"),
    (OpensSocket(), "uses_no_network", "opens a socket"),
    (OpensSocketQuietly(), "uses_no_network", "opens a socket"),
    (LooksUpName(), "uses_no_network", "looks up '127.0.0.1'"),
    (ReadsDevice(), "reads_only_what_its_card_says", "plan depends on the device"),
    (ReadsServer(), "reads_only_what_its_card_says", "plan depends on the server"),
    (ReadsLink(), "reads_only_what_its_card_says", "plan depends on the link"),
    (ReadsRoundTrip(), "reads_only_what_its_card_says", "plan depends on the link"),
    (ReadsSnr(), "reads_only_what_its_card_says", "plan depends on the snr"),
    (ReadsRateOfRadio(), "reads_only_what_its_card_says", "plan depends on the snr"),
    (RefusesByHiddenServer(), "reads_only_what_its_card_says", "refusal depends on the server"),
    (Overspends(), "keeps_its_budget", "evaluations with a budget of 1"),
    (SpendsUnsaid(), "spends_in_its_declared_phases", "['finetune', 'search'], card.phases lists"),
]


@pytest.mark.parametrize(
    ("method", "check", "words"), BAD, ids=[type(method).__name__ for method, _, _ in BAD]
)
def test_a_bad_adapter_fails_the_check_meant_for_it_alone(
    method: Method, check: str, words: str, tmp_path: Path
) -> None:
    before = random.getstate(), np.random.get_state()
    try:
        found = failures(method, tmp_path)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
    assert list(found) == [f"test_{check}"], found
    assert words in found[f"test_{check}"]


def test_torchs_generator_counts_where_torch_is_loaded(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng(devices=[]):
        found = failures(DrawsFromTorch(), tmp_path)
    assert list(found) == ["test_uses_no_global_randomness"]
    assert "generator of torch;" in found["test_uses_no_global_randomness"]


@dataclass(frozen=True)
class ImportsLate(Good):
    """Needs a library that draws when it is imported, and imports it where it needs it."""

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        load_file(Path("draws.py"))
        return first_or_last(context, last=False)


def test_what_a_library_draws_when_it_is_imported_is_not_the_methods(tmp_path: Path) -> None:
    """Asked first of all, so that nothing imported it before."""

    class Kit(MethodContract):
        method = ImportsLate()

    (tmp_path / "draws.py").write_text("import random\nSALT = random.random()\n")
    with chdir(tmp_path):
        Kit().test_uses_no_global_randomness()


def test_every_check_has_a_bad_adapter() -> None:
    checks = {name for name in dir(MethodContract) if name.startswith("test_")}
    assert checks == {f"test_{check}" for _, check, _ in BAD} | {"test_brings_valid_parts"}


def test_the_checks_leave_no_trace_of_their_own() -> None:
    class Kit(MethodContract):
        method = Exhaustive()

    def traces() -> list[object]:
        keys = np.random.get_state(legacy=False)["state"]["key"].tobytes()
        network = socket.socket.__init__, socket.getaddrinfo
        return [random.getstate(), keys, Path.cwd(), network]

    before = traces()
    for name in dir(Kit):
        if name.startswith("test_"):
            getattr(Kit(), name)()
            assert traces() == before, name


def test_only_a_method_that_prunes_is_handed_the_groups() -> None:
    class Pruning(MethodContract):
        method = HalfTheDevice()

    class Whole(MethodContract):
        method = Good()

    def spaces(kit: MethodContract) -> list[bool]:
        return [task.prune_space is not None for task, _, _ in kit._questions()]

    assert all(spaces(Pruning()))
    assert not any(spaces(Whole()))


def test_who_asks_for_measured_plans_is_handed_some_and_nobody_else() -> None:
    class Learning(MethodContract):
        method = LearnsFromPlans()

    class Other(MethodContract):
        method = Good()

    handed = {task.model: task for task, _ in Learning()._worlds()}
    assert handed["small"].plans_of("qho") is not None
    assert handed["small"].prune_space is None
    assert handed["one-layer"].measured == ()  # has nothing to prune
    assert not any(task.measured for task, _ in Other()._worlds())


def test_the_kit_asks_where_pruning_and_the_snr_decide() -> None:
    """Worlds that no adapter could tell apart would let every adapter pass."""
    task = worlds.small_task(groups=True)

    def chosen(method: Method, scenario: Scenario) -> Plan:
        context = Context(task, scenario.convention, task.graph.cuts)
        plan = method.select(method.build(task, context), scenario, context).plan
        assert plan is not None
        return plan

    scenarios = worlds.scenarios("harmonised")
    keeps = {chosen(HalfTheDevice(), scenario).keep for scenario in scenarios}
    assert (("conv1", 4), ("fc4", 8)) in keeps
    slow, fast = (scenario for scenario in scenarios if scenario.link.needs_snr)
    assert slow.rate_bps < fast.rate_bps
    assert chosen(Neurosurgeon(), slow).cut != chosen(Neurosurgeon(), fast).cut
