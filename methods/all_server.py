"""All_Server: send the input, compute everything on the server (QHO paper, VI-B.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from coinfer.conventions import Convention
from coinfer.cost import scenario_latency, split_workload
from coinfer.errors import CoinferError
from coinfer.method import Context, Library, Method, MethodCard, OpenChoice
from coinfer.parts import installed_parts
from coinfer.plan import CutRef, Plan, Scenario, Selection, Skip, Task

FORMATS = ("convention", "float32", "raw8", "png")


@dataclass(frozen=True)
class AllServer(Method):
    """Everything on the server (baseline of every paper).

    Attributes:
        payload: what is sent: the network's input as `float32`, the source as `raw8` (8-bit) or
            `png` (its measured mean size), or what the `convention` says.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="all_server",
        title="All_Server",
        idea="Send the input and run the whole network on the server.",
        reference="Baseline; as in Mu et al., IEEE Internet of Things Journal, 2024, VI-B.2",
        cuts=frozenset({"input"}),
        sees=frozenset(),
        fidelity="paper_exact",
        open_choices=(
            OpenChoice(
                "payload",
                "convention",
                FORMATS[1:],
                "no paper states the width of the input; the QHO paper's ratios fit only float32",
            ),
        ),
    )

    payload: Literal["convention", "float32", "raw8", "png"] = "convention"

    def __post_init__(self) -> None:
        if self.payload not in FORMATS:
            raise CoinferError(
                f"all_server: payload is '{self.payload}'; allowed: {', '.join(FORMATS)}"
            )

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        """Refuse formats that the convention does not admit or that were never measured."""
        if scenario is None:
            return None
        coder = self._coder(scenario.convention)
        if not scenario.convention.admits(coder):
            return Skip(
                f"convention {scenario.convention.name} admits "
                f"{', '.join(scenario.convention.payloads())} as payload, not {coder}"
            )
        if not installed_parts().coder(coder).available(task.source):
            return Skip(f"no {coder} size was measured for a source of shape {task.source.shape}")
        return None

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Return the one plan there is: cut 0."""
        cut = context.cuts[0]
        coder = self._coder(scenario.convention)
        work = split_workload(context.task, [cut], scenario.convention, coder)
        return Selection(
            Plan(context.task.model, CutRef(cut.index, cut.after), coder=coder),
            predicted_latency_s=float(scenario_latency(work, scenario).total_s[0]),
            evaluations=1,
        )

    def _coder(self, convention: Convention) -> str:
        return convention.input_coder if self.payload == "convention" else self.payload
