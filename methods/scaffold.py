"""What `coinfer new-method` writes: an adapter that works at once, and its test.

Three kinds, by where a method's work lies: `select` decides by looking at the cuts, `grid`
tabulates candidates once and prices them in every scenario, `search` draws candidates at random
under its budget. Each keeps the contract of all methods as it stands, so that what breaks later is
what was changed.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from string import Template

from coinfer.errors import CoinferError

KINDS = ("select", "grid", "search")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

_HEAD = '''"""$name: $idea"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

'''

_CARD = '''

@dataclass(frozen=True)
class $cls(Method):
    """$idea"""

    card: ClassVar[MethodCard] = MethodCard(
        name="$name",
        title="$cls",
        idea="$idea",
        reference="not published",
        fidelity="ours",
$more    )
'''

_SELECT = Template(
    _HEAD
    + """from coinfer.method import Context, Library, Method, MethodCard
from coinfer.plan import CutRef, Plan, Scenario, Selection
"""
    + _CARD
    + '''
    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Choose a plan for one scenario."""
        cut = min(context.cuts, key=lambda cut: cut.elements)
        plan = Plan(context.task.model, CutRef(cut.index, cut.after))
        return Selection(plan, evaluations=1)
'''
)

_GRID = Template(
    _HEAD
    + """from coinfer.cost import Latency
from coinfer.method import Context, Library, Method, MethodCard
from coinfer.plan import Scenario, Selection, Task
from methods.partition import best_candidate, candidate_table
"""
    + _CARD
    + '''
    def build(self, task: Task, context: Context) -> Library:
        """Tabulate the candidates, once for all links: (cut, payload format) pairs."""
        return candidate_table(context, [(cut, "float32") for cut in context.cuts])

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Price every candidate in one scenario and take the best, the earliest of equals."""
        return best_candidate(library, scenario, context, _objective)


def _objective(time: Latency) -> object:
    """Return what is to be least, from the latency of every candidate."""
    return time.total_s
'''
)

_SEARCH = Template(
    _HEAD
    + """from coinfer.cost import scenario_latency, split_workload
from coinfer.errors import CoinferError
from coinfer.method import Context, Library, Method, MethodCard
from coinfer.plan import CutRef, Plan, Scenario, Selection
"""
    + _CARD
    + '''
    tries: int = 3

    def __post_init__(self) -> None:
        """Check the options: all of them text, numbers, true or false."""
        if self.tries < 1:
            raise CoinferError(f"$name: tries is {self.tries}; allowed is 1 or more")

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Draw candidates within the budget, price them all at once and take the fastest."""
        budget = self.tries
        if context.max_evaluations is not None:
            budget = min(budget, context.max_evaluations)
        places = context.rng.integers(len(context.cuts), size=budget)
        cuts = [context.cuts[place] for place in places]
        work = split_workload(context.task, cuts, context.convention, "float32")
        time = scenario_latency(work, scenario)
        best = min(range(budget), key=lambda drawn: float(time.total_s[drawn]))
        context.ledger.spend("search", evaluations=budget)
        return Selection(
            Plan(context.task.model, CutRef(cuts[best].index, cuts[best].after)),
            predicted_latency_s=float(time.total_s[best]),
            evaluations=budget,
        )
'''
)

_IDEAS = {
    "select": "Cut where the fewest elements cross.",
    "grid": "Try every cut and take the fastest.",
    "search": "Draw a few cuts at random and take the fastest of them.",
}
_MORE = {
    "select": """        cuts=frozenset({"interior", "output"}),
        sees=frozenset(),
""",
    "grid": """        cuts=frozenset({"interior", "output"}),
""",
    "search": """        cuts=frozenset({"interior", "output"}),
        stochastic=True,
        phases=("search",),
""",
}
_ADAPTERS = {"select": _SELECT, "grid": _GRID, "search": _SEARCH}

_TEST = Template('''"""$name keeps the contract of all methods, and decides as it says."""

from __future__ import annotations

from coinfer.method import Context
from coinfer.plan import Plan, Scenario
from methods import worlds
from methods.conformance import MethodContract

from $name import $cls


class Test$cls(MethodContract):
    """The checks of `coinfer check-method`."""

    method = $cls()


def chosen(scenario: Scenario$parameters) -> Plan:
    """Return what is chosen for a small network whose features shrink from cut to cut."""
    task, method = worlds.small_task(), $cls()
    cuts = tuple(cut for cut in task.graph.cuts if cut.kind in method.card.cuts)
    context = Context(task, scenario.convention, cuts$arguments)
    plan = method.select(method.build(task, context), scenario, context).plan
    assert plan is not None
    return plan

$tests''')

_TESTS = {
    "select": '''
def test_cuts_where_the_fewest_elements_cross() -> None:
    """The last layer's 10 numbers are fewer than any feature's, whatever the link."""
    assert {chosen(one).cut.after for one in worlds.scenarios("harmonised")} == {"fc5"}
''',
    "grid": '''
def test_a_slow_device_sends_over_a_fast_link_and_computes_over_a_dead_one() -> None:
    """Any cut that sends takes forever over a dead link; a slow device stops early otherwise."""
    fast = worlds.scenario(rate_bps=1e9, device_flops_per_s=1e6)
    assert chosen(fast).cut.after == "conv1"
    assert chosen(worlds.scenario(rate_bps=0.0)).cut.after == "fc5"
''',
    "search": '''
def test_the_seed_decides_and_nothing_else() -> None:
    """The same seed gives the same plan, and some other seed another one."""
    scenario = worlds.scenario()
    plans = [chosen(scenario, seed) for seed in range(20)]
    assert plans == [chosen(scenario, seed) for seed in range(20)]
    assert len({plan.cut for plan in plans}) > 1
''',
}


def check_name(name: str, taken: Collection[str]) -> None:
    """Refuse a name that no adapter's file can have.

    Args:
        name: of the method, and so of its file and module.
        taken: names of the methods that are known.

    Raises:
        CoinferError: saying what is accepted.
    """
    if not _NAME.fullmatch(name):
        raise CoinferError(
            f"'{name}' is no name for a method: accepted are a lowercase letter, then lowercase "
            "letters, digits and _, up to 40 in all; --dir says where the file goes"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise CoinferError(f"'{name}' is a word of Python; take another name")
    if name.startswith("test_") or name == "conftest":
        raise CoinferError(f"'{name}' is the name of a test's file; take another name")
    if name in taken:
        raise CoinferError(f"method '{name}' is there already; take another name")
    if name in sys.stdlib_module_names or _importable(name):
        raise CoinferError(f"'{name}' is a module that is installed; take another name")


def _importable(name: str) -> bool:
    """Whether a module of that name is installed; one in the working directory is none."""
    spec = find_spec(name)
    here = Path.cwd().resolve()
    return spec is not None and not (
        spec.origin is not None and Path(spec.origin).resolve().parent == here
    )


def class_name(name: str) -> str:
    """Return the name of the adapter's class: `my_method` gives `MyMethod`."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def adapter_text(name: str, kind: str) -> str:
    """Return the text of the adapter's file; `kind` is one of KINDS."""
    return _ADAPTERS[kind].substitute(
        name=name, cls=class_name(name), idea=_IDEAS[kind], more=_MORE[kind]
    )


def test_text(name: str, kind: str) -> str:
    """Return the text of the test's file."""
    seeded = kind == "search"
    return _TEST.substitute(
        name=name,
        cls=class_name(name),
        tests=_TESTS[kind],
        parameters=", seed: int = 0" if seeded else "",
        arguments=", entropy=seed" if seeded else "",
    )


def write_method(name: str, kind: str, folder: Path) -> tuple[Path, Path]:
    """Write an adapter and its test into a folder, made when missing. Replaces no file.

    Args:
        name: of the method; see `check_name`.
        kind: one of KINDS.
        folder: where to.

    Returns:
        The two files.

    Raises:
        CoinferError: when one of them is there, or they cannot be written; then neither is.
    """
    texts = {
        folder / f"{name}.py": adapter_text(name, kind),
        folder / f"test_{name}.py": test_text(name, kind),
    }
    adapter, test = texts
    for path in texts:
        if path.exists() or path.is_symlink():
            raise CoinferError(f"'{path}' is there already, and is not replaced")
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        where = error.filename or folder
        raise CoinferError(f"cannot write '{where}': {error.strerror}") from None
    return adapter, test
