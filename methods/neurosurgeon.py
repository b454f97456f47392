"""Neurosurgeon: the cut of least latency or energy of the unmodified network (Kang et al. 2017).

The original predicts per-layer times with regressors fitted on each platform; here the layer
times are the harness's own (FLOPs over FLOPS), so what remains is its partition rule: evaluate
every candidate cut and take the best. "Partition" in the QHO paper's Fig. 6 is this method under
the convention `qho2024`, which leaves it the interior cuts only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from coinfer.cost import Latency, energy_j, missing_watts
from coinfer.errors import CoinferError
from coinfer.graph import Cut
from coinfer.method import Context, Library, Method, MethodCard, OpenChoice
from coinfer.parts import installed_parts
from coinfer.plan import Scenario, Selection, Skip, Task
from methods.partition import best_candidate, candidate_table, unknown_input

OBJECTIVES = ("latency", "energy")


@dataclass(frozen=True)
class Neurosurgeon(Method):
    """Best cut by layer-wise prediction (Kang et al., ASPLOS 2017).

    Attributes:
        objective: `latency`, or `energy` of the device where watts are given.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="neurosurgeon",
        title="Neurosurgeon",
        idea="Predict every layer's cost on both sides and cut where the sum is least.",
        reference=(
            "Y. Kang et al., Neurosurgeon: Collaborative Intelligence Between the Cloud and "
            "Mobile Edge, ASPLOS 2017"
        ),
        bibtex=(
            "@inproceedings{kang2017neurosurgeon, author={Kang, Yiping and Hauswald, Johann and "
            "Gao, Cao and Rovinski, Austin and Mudge, Trevor and Mars, Jason and Tang, Lingjia}, "
            "title={Neurosurgeon: Collaborative Intelligence Between the Cloud and Mobile Edge}, "
            "booktitle={ASPLOS}, year={2017}}"
        ),
        fidelity="paper_choices",
        open_choices=(
            OpenChoice(
                "layer times",
                "work over FLOPS",
                ("regressors fitted on a platform",),
                "every method is priced by the same cost model; the fitted profiles of 2017 are "
                "not published",
            ),
            OpenChoice(
                "cuts of a graph",
                "where exactly one tensor crosses",
                ("block ends only",),
                "the paper has chains only",
            ),
            OpenChoice(
                "payload",
                "float32 features; the convention's format at cut 0",
                (),
                "the paper sends 32-bit features; a cut at the input is All_Server",
            ),
        ),
    )

    objective: Literal["latency", "energy"] = "latency"

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise CoinferError(
                f"neurosurgeon: objective is '{self.objective}'; allowed: {', '.join(OBJECTIVES)}"
            )

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        """Refuse an input format never measured, and energy where no watts are given."""
        if scenario is None:
            return None
        unknown = unknown_input(self.card, task, scenario)
        if unknown:
            return unknown
        if self.objective == "energy":
            missing = missing_watts(scenario.device, scenario.link)
            return Skip(missing) if missing else None
        return None

    def build(self, task: Task, context: Context) -> Library:
        """Tabulate what every candidate cut makes each side do."""
        return candidate_table(context, _candidates(context))

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Price every candidate cut and take the best; equal costs go to the earliest."""

        def energy(time: Latency) -> Any:
            return energy_j(time, scenario.device, scenario.link)

        def total(time: Latency) -> Any:
            return time.total_s

        return best_candidate(
            library, scenario, context, energy if self.objective == "energy" else total
        )


def _candidates(context: Context) -> Iterator[tuple[Cut, str]]:
    """Every cut: features in float32, the input in the convention's format where it is known."""
    at_input = context.convention.input_coder
    for cut in context.cuts:
        if cut.kind != "input":
            yield cut, "float32"
        elif installed_parts().coder(at_input).available(context.task.source):
            yield cut, at_input
