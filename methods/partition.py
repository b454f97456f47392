"""What the pure partition methods share: a table of (cut, payload format) and its best row.

The table does not depend on the link, so it is a method's library; a selection is one argmin, over
all rows or, where accuracies differ, over those that are accurate enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from coinfer.cost import Latency, Workload, scenario_latency, split_workload
from coinfer.graph import Cut
from coinfer.method import Context, Library, MethodCard
from coinfer.parts import installed_parts
from coinfer.plan import CutRef, Plan, Scenario, Selection, Skip, Task

Objective = Callable[[Latency], Any]


def candidate_table(context: Context, candidates: Iterable[tuple[Cut, str]]) -> Library:
    """Return the library of some (cut, payload format) candidates of the unpruned network.

    Columns, one entry per candidate: the cut's `index` and `after`, `coder`, `device_flops`,
    `server_flops`, `uplink_bits`.
    """
    pairs = list(candidates)
    cuts, coders = [cut for cut, _ in pairs], [coder for _, coder in pairs]
    work = split_workload(context.task, cuts, context.convention, coders)
    return Library(
        {
            "index": [cut.index for cut in cuts],
            "after": [cut.after for cut in cuts],
            "coder": coders,
            "device_flops": [int(flops) for flops in work.device_flops],
            "server_flops": [int(flops) for flops in work.server_flops],
            "uplink_bits": [float(bits) for bits in work.uplink_bits],
        }
    )


def best_candidate(
    library: Library, scenario: Scenario, context: Context, objective: Objective
) -> Selection:
    """Return the candidate of least cost; equal costs go to the earliest cut (ruling 8).

    A budget smaller than the table looks at that many candidates, the earliest first, and says so.
    Where the table has a column `acceptable`, only such candidates are taken, `infeasible` if there
    is none; where it has a column `accuracy`, the answer's is told.
    """
    table = library.data
    limit = len(table["index"])
    if context.max_evaluations is not None:
        limit = min(limit, context.max_evaluations)
    work = Workload(
        np.array(table["device_flops"][:limit]),
        np.array(table["server_flops"][:limit]),
        np.array(table["uplink_bits"][:limit]),
    )
    time = scenario_latency(work, scenario)
    rows = np.flatnonzero(table.get("acceptable", [True] * limit)[:limit])
    if not len(rows):
        return Selection(None, "infeasible", evaluations=limit)
    best = int(rows[np.argmin(objective(time)[rows])])
    return Selection(
        Plan(
            context.task.model,
            CutRef(table["index"][best], table["after"][best]),
            coder=table["coder"][best],
        ),
        status="feasible" if limit == len(table["index"]) else "budget",
        predicted_accuracy=table["accuracy"][best] if "accuracy" in table else None,
        predicted_latency_s=float(time.total_s[best]),
        evaluations=limit,
    )


def unknown_input(card: MethodCard, task: Task, scenario: Scenario) -> Skip | None:
    """Return why the input cannot be priced in a scenario where a method may send it, or None."""
    convention = scenario.convention
    coder = convention.input_coder
    sends_input = "input" in convention.kinds_for(card.name, card.cuts)
    if not sends_input or installed_parts().coder(coder).available(task.source):
        return None
    return Skip(
        f"convention {convention.name} sends the input as {coder}, whose size was never "
        f"measured for a source of shape {task.source.shape}"
    )
