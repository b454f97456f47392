"""What methods that predict accuracy share: a predictor fitted to their own measured plans.

Methods of the QHO paper's comparison honour the accuracy floor through predictors of their own
(Mu et al. 2024, VI-C; "rebuild whenever variables change"). Measuring is the harness's: a task
brings the measured plans of a family, or the method cannot run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from coinfer.accuracy.box import Box, search_box
from coinfer.accuracy.cautious import LossProcess, kept_loss_process, shape_of
from coinfer.accuracy.surrogate import Labels, Surrogate, kept_surrogate, least_labels
from coinfer.cost import energy_j, scenario_latency, split_workload
from coinfer.graph import Cut
from coinfer.method import Context, Library
from coinfer.parts import installed_parts
from coinfer.plan import CutRef, Plan, Scenario, Selection, Skip, Task
from coinfer.search.problem import Objective
from coinfer.serial import canonical_json, to_data


def not_measured(task: Task, family: str) -> Skip | None:
    """Return why a task has nothing to learn from, with the command that measures it, or None."""
    if task.plans_of(family) is not None and task.accuracy_floor is not None:
        return None
    return Skip(
        f"no measured '{family}' plans of {task.model}; `coinfer sweep {task.model} --family "
        f"{family} --data ... -o TABLE.csv` measures some"
    )


def not_predictable(task: Task, family: str) -> Skip | None:
    """Return why no predictor can be fitted to a family's measured plans, or None.

    There are none, or fewer than its decision variables ask for; with the command that measures
    more.

    Raises:
        CoinferError: as of `search_box`.
    """
    missing = not_measured(task, family)
    if missing is not None:
        return missing
    measured = task.plans_of(family)
    assert measured is not None
    least = least_labels(len(search_box(task, family).variables))
    if len(measured.plans) >= least:
        return None
    return Skip(
        f"{len(measured.plans)} measured '{family}' plans of {task.model}, and a predictor takes "
        f"{least} or more; `coinfer sweep {task.model} --family {family} --data ... --resume -o "
        "TABLE.csv` measures more"
    )


def predictor_library(task: Task, family: str, context: Context) -> Library:
    """Fit a predictor to a family's measured plans; the library of methods that search.

    Its data: the `family`, what was learnt from (`table`, `recipe`, `plans`), `baseline`, `floor`
    and the `surrogate`, as `coinfer.accuracy.surrogate.Surrogate.to_json` writes it.
    """
    measured, floor = task.plans_of(family), task.accuracy_floor
    assert measured is not None
    assert floor is not None
    context.ledger.spend("label", evaluations=len(measured.plans), epochs=measured.epochs)
    with context.ledger.phase("fit"):
        labels = Labels.of(
            search_box(task, family), measured.plans, measured.accuracies, measured.std_errors
        )
        surrogate = kept_surrogate(labels)
    return Library(
        {
            "family": family,
            "table": measured.table,
            "recipe": measured.recipe,
            "plans": len(measured.plans),
            "baseline": task.baseline_accuracy,
            "floor": floor,
            "surrogate": json.loads(surrogate.to_json()),
        }
    )


def surrogate_of(library: Library) -> Surrogate:
    """Return the predictor of a library; fitted once per process."""
    return _from_json(canonical_json(library.data["surrogate"]))


def with_process(library: Library, context: Context) -> Library:
    """Return a library of `predictor_library` with a `process` fitted to the same labels.

    Its data then have the shape of a `coinfer.accuracy.cautious.LossProcess`, which bounds what it
    predicts.
    """
    data = library.data
    labels = surrogate_of(library).labels
    with context.ledger.phase("fit"):
        process = kept_loss_process(labels, data["baseline"], data["floor"])
    return Library({**data, "process": to_data(process.shape)})


def process_of(library: Library) -> LossProcess:
    """Return the process of a library of `with_process`; prepared once."""
    data = library.data
    shape = canonical_json(data["process"])
    return _process(canonical_json(data["surrogate"]), data["baseline"], data["floor"], shape)


@dataclass(frozen=True)
class Candidate:
    """An answer, and what it costs in what the method minimises (seconds or joules)."""

    selection: Selection
    cost: float


def best_of(found: Candidate, other: Candidate | None) -> Selection:
    """Return the cheaper answer, with the evaluations of both; equal costs go to the earliest cut.

    An answer of any cost, infinite too, is better than none.
    """
    if other is None:
        return found.selection
    best = min(found, other, key=_order)
    status = found.selection.status if found.selection.plan is not None else best.selection.status
    evaluations = found.selection.evaluations + other.selection.evaluations
    return replace(best.selection, status=status, evaluations=evaluations)


def at_the_ends(
    box: Box, scenario: Scenario, context: Context, objective: Objective = "latency"
) -> Candidate | None:
    """Return the unpruned network at a cut that the box does not have: the cheaper, or None.

    The harmonised convention gives every method the cuts 0 and N (All_Server, All_Local); the
    unpruned network is as accurate as the baseline, so no predictor has to be asked. A budget
    smaller than their number looks at the first.
    """
    kinds = {cut.kind for cut in box.cuts}
    ends = [cut for cut in context.cuts if cut.kind != "interior" and cut.kind not in kinds]
    known = [(cut, coder) for cut in ends if (coder := _format(cut, scenario, context))]
    known = known[: context.max_evaluations]
    if not known:
        return None
    cuts, coders = [cut for cut, _ in known], [coder for _, coder in known]
    work = split_workload(context.task, cuts, scenario.convention, coders)
    time = scenario_latency(work, scenario)
    seconds = objective == "latency"
    costs = time.total_s if seconds else energy_j(time, scenario.device, scenario.link)
    best = int(np.argmin(costs))
    selection = Selection(
        Plan(context.task.model, CutRef(cuts[best].index, cuts[best].after), coder=coders[best]),
        predicted_accuracy=context.task.baseline_accuracy,
        predicted_latency_s=float(time.total_s[best]),
        evaluations=len(cuts),
    )
    return Candidate(selection, float(costs[best]))


def allowed(box: Box, context: Context) -> list[bool]:
    """Return which of a box's cuts a method may use."""
    names = {cut.after for cut in context.cuts}
    return [cut.after in names for cut in box.cuts]


def _order(candidate: Candidate) -> tuple[float, float]:
    """Return by what candidates are ordered: cost, then the place of the cut (design ruling 8)."""
    plan = candidate.selection.plan
    return candidate.cost, np.inf if plan is None else plan.cut.index


def _format(cut: Cut, scenario: Scenario, context: Context) -> str:
    """Return the payload format of an end; '' where its size was never measured."""
    coder = scenario.convention.input_coder if cut.kind == "input" else "float32"
    return coder if installed_parts().coder(coder).available(context.task.source) else ""


@lru_cache(maxsize=8)
def _from_json(text: str) -> Surrogate:
    return Surrogate.from_json(text)


@lru_cache(maxsize=8)
def _process(surrogate: str, baseline: float, floor: float, shape: str) -> LossProcess:
    return LossProcess(_from_json(surrogate).labels, baseline, floor, shape_of(json.loads(shape)))
