"""All_Local: the whole network on the device, nothing sent (QHO paper, VI-B.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coinfer.cost import scenario_latency, split_workload
from coinfer.method import Context, Library, Method, MethodCard
from coinfer.plan import CutRef, Plan, Scenario, Selection


@dataclass(frozen=True)
class AllLocal(Method):
    """Everything on the device (baseline of every paper)."""

    card: ClassVar[MethodCard] = MethodCard(
        name="all_local",
        title="All_Local",
        idea="Run the whole network on the device; the link does not matter.",
        reference="Baseline; as in Mu et al., IEEE Internet of Things Journal, 2024, VI-B.1",
        cuts=frozenset({"output"}),
        sees=frozenset(),
        fidelity="paper_exact",
    )

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Return the one plan there is: cut N."""
        cut = context.cuts[-1]
        work = split_workload(context.task, [cut], scenario.convention)
        return Selection(
            Plan(context.task.model, CutRef(cut.index, cut.after)),
            predicted_latency_s=float(scenario_latency(work, scenario).total_s[0]),
            evaluations=1,
        )
