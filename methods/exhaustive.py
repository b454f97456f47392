"""The true optimum over cuts and payload formats: a reference that no paper has (ruling 10)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from coinfer.graph import Cut
from coinfer.method import Context, Library, Method, MethodCard
from coinfer.parts import installed_parts
from coinfer.plan import Scenario, Selection, Task
from methods.partition import best_candidate, candidate_table


@dataclass(frozen=True)
class Exhaustive(Method):
    """Least latency over every legal cut and every payload format that the convention admits.

    It bounds every method that neither prunes nor encodes, under every convention, and so gives
    their regret. It bounds no other.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="exhaustive",
        title="Exhaustive (reference)",
        idea="Try every cut with every payload format; the optimum of what needs no training.",
        reference="coinfer's own reference, no paper's method",
        fidelity="ours",
        bound=True,
    )

    def build(self, task: Task, context: Context) -> Library:
        """Tabulate every (cut, payload format)."""
        return candidate_table(context, _candidates(context))

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Take the fastest; equal latencies go to the earliest cut and the first format."""
        return best_candidate(library, scenario, context, lambda time: time.total_s)


def _candidates(context: Context) -> Iterator[tuple[Cut, str]]:
    parts = installed_parts()
    for cut in context.cuts:
        if cut.kind == "output":
            yield cut, context.convention.payloads()[0]
            continue
        for name in context.convention.payloads():
            coder = parts.coder(name)
            if cut.kind in coder.cut_kinds and coder.available(context.task.source):
                yield cut, name
