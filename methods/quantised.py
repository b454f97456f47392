"""What methods share that cut the whole network and send its feature in a few bits, Huffman-coded.

Nothing is trained and nothing predicted: what quantising loses and how many bits are left was
measured once, cut by cut and bit by bit (family `quantised`), and is looked up. None of it depends
on the link, so a library is a table, and a selection one argmin over its acceptable rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from coinfer.accuracy.codec_variables import HUFFMAN, quantised_coder
from coinfer.accuracy.families import block_cuts
from coinfer.cost import plan_workload
from coinfer.method import Context, Library, Method, OpenChoice
from coinfer.plan import CutRef, MeasuredPlans, Plan, Scenario, Selection, Skip, Task
from methods.partition import best_candidate, unknown_input
from methods.predictor import not_measured

# Accuracies are shares of the images; a loss of exactly the bound must not exceed it by rounding.
_ROUNDING = 1e-9

QUANTISED_CHOICES = (
    OpenChoice(
        "range of the quantiser",
        "least and greatest element of a cut's features over 5,000 training images, one range for "
        "the whole tensor; what lies outside is clipped",
        ("the extremes of every image", "a range per channel"),
        "a range of the image's own would have to be sent along",
    ),
    OpenChoice(
        "alphabet and table of the Huffman code",
        "one symbol an element; one static table per cut and width from the same 5,000 images, "
        "known to both sides and not charged, with an escape for what they never showed",
        ("a table per image, sent along",),
        "no paper states an alphabet; the code of 32-bit words saves nothing",
    ),
    OpenChoice(
        "size of what is sent",
        "mean of the bytes really encoded, over the validation images",
        ("entropy of the symbols",),
        "encoded bytes decode again to what the accuracy was measured with",
    ),
    OpenChoice(
        "places to cut",
        "the end of every block of layers, and the ends that the convention leaves: cut 0 sends "
        "the input in the convention's format, cut N nothing",
        ("every layer",),
        "the end of a block crosses with the fewest elements, and what it loses was measured",
    ),
    OpenChoice(
        "work of quantising and coding",
        "none",
        ("measured seconds of an encoder",),
        "no paper counts it; the cost model counts the work of layers",
    ),
)
"""What every method of this kind had to choose, for the cards."""

# Of the table; a convention that leaves one cut, inside a block, leaves a table without rows.
_COLUMNS = (
    *("index", "after", "coder", "device_flops", "server_flops", "uplink_bits"),
    *("accuracy", "acceptable"),
)


@dataclass(frozen=True)
class QuantisedMethod(Method):
    """The fastest acceptable row of the table of cuts and widths. Subclasses say which widths.

    Attributes:
        family: of measured plans (`coinfer.accuracy.families`).
    """

    family: ClassVar[str] = "quantised"

    @property
    @abstractmethod
    def widths(self) -> Sequence[int]:
        """Bits an element that may be chosen, most first."""

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        """Refuse networks that are not measured at every cut, and conventions without Huffman."""
        if scenario is None:
            return not_measured(task, self.family) or self._incomplete(task)
        convention = scenario.convention
        if not convention.admits(HUFFMAN):
            return Skip(
                f"convention {convention.name} admits {', '.join(convention.payloads())} as "
                f"payload, not {HUFFMAN}"
            )
        return unknown_input(self.card, task, scenario)

    def build(self, task: Task, context: Context) -> Library:
        """Tabulate what every candidate makes each side do, what it sends, and what it loses.

        Columns as of `methods.partition.candidate_table`, and a candidate's `accuracy` and whether
        it is `acceptable`: it loses no more than the task allows, against the network as it is.
        """
        measured = task.plans_of(self.family)
        assert measured is not None
        context.ledger.spend("label", evaluations=len(measured.plans), epochs=measured.epochs)
        known = _looked_up(measured)
        own = measured.baseline_accuracy
        baseline = task.baseline_accuracy if own is None else own
        assert baseline is not None
        table: dict[str, list[object]] = {name: [] for name in _COLUMNS}
        for plan in self._candidates(context):
            bits, accuracy = known.get(plan, (None, baseline))
            loss = baseline - accuracy
            work = plan_workload(plan, task, context.convention, measured_bits=bits)
            row = {
                "index": plan.cut.index,
                "after": plan.cut.after,
                "coder": plan.coder,
                "device_flops": int(work.device_flops),
                "server_flops": int(work.server_flops),
                "uplink_bits": float(work.uplink_bits),
                # The harness knows the whole network under the task's own recipe.
                "accuracy": task.baseline_accuracy if plan.unchanged else accuracy,
                "acceptable": loss <= task.max_accuracy_loss + _ROUNDING,
            }
            for name in _COLUMNS:
                table[name].append(row[name])
        return Library(table)

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Price every candidate and take the fastest; equal costs go to the earliest cut."""
        answer = best_candidate(library, scenario, context, lambda time: time.total_s)
        context.ledger.spend("search", evaluations=answer.evaluations)
        return answer

    def _candidates(self, context: Context) -> Iterator[Plan]:
        """Yield the plans to choose among, the earliest cut first, there the most bits first."""
        model = context.task.model
        ends = {cut.after for cut in block_cuts(context.task.graph)}
        for cut in context.cuts:
            ref = CutRef(cut.index, cut.after)
            if cut.kind == "input":
                yield Plan(model, ref, coder=context.convention.input_coder)
            elif cut.kind == "output":
                yield Plan(model, ref)
            elif cut.after in ends:
                for bits in self.widths:
                    yield Plan(model, ref, coder=quantised_coder(bits))

    def _incomplete(self, task: Task) -> Skip | None:
        """Return which plan a table lacks, with the command that measures the rest, or None."""
        measured = task.plans_of(self.family)
        assert measured is not None
        known = _looked_up(measured)
        interior = [cut for cut in block_cuts(task.graph) if cut.kind == "interior"]
        for cut in interior:
            for bits in self.widths:
                coder = quantised_coder(bits)
                if Plan(task.model, CutRef(cut.index, cut.after), coder=coder) not in known:
                    return Skip(
                        f"table '{measured.table}' lacks the plan after '{cut.after}' with "
                        f"{coder}; `coinfer sweep {task.model} --family {self.family} --resume "
                        "--data ... -o TABLE.csv` measures the rest"
                    )
        return None


def _looked_up(measured: MeasuredPlans) -> dict[Plan, tuple[float, float]]:
    """Return (bits per image, accuracy) of every plan that sends a counted feature."""
    columns = zip(measured.plans, measured.uplink_bits, measured.accuracies, strict=True)
    return {
        plan: (bits, accuracy)
        for plan, bits, accuracy in columns
        if bits is not None and not plan.unchanged
    }
