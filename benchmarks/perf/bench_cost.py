"""How fast the cost model prices pruned and cut AlexNets, and how much memory a batch takes.

One evaluation takes units kept per prune group, a cut and a width in bits per element, counts the
FLOPs of both sides and the bits between them, and prices them: one total latency. All on one
thread. Beside the batch stand a loop over plans (`plan_workload`, the harness's own count) and the
bare NumPy expression of the same arithmetic, without checks, which is the limit.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.perf.timing import best_s
from coinfer import presets
from coinfer.compression.space import Affine, PruneSpace
from coinfer.conventions import convention
from coinfer.cost import (
    batch_latency,
    plan_workload,
    scenario_latency,
    split_workload,
    sweep_latency,
)
from coinfer.plan import CutRef, Plan, Scenario, Task
from coinfer.tasks import make_task

BATCH = 100_000
LOOPED = 300
BLOCK = 4096
TARGET_PER_S = 1_000_000

Floats = NDArray[np.float64]

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Candidates:
    """Random plans: units kept (B, G), positions of their cuts (B,), bits per element (B,)."""

    kept: NDArray[np.int64]
    positions: NDArray[np.int64]
    widths: NDArray[np.float64]

    @classmethod
    def draw(cls, space: PruneSpace, count: int) -> Candidates:
        """Draw `count` plans, uniform in every coordinate."""
        rng = np.random.default_rng(2024)
        return cls(
            rng.integers(1, space.full + 1, size=(count, len(space.full))),
            rng.integers(0, len(space.graph.cuts), size=count),
            rng.choice([8.0, 16.0, 32.0], size=count),
        )


@pytest.fixture(scope="module")
def task() -> Task:
    """Return AlexNet (torchvision's, 10 classes, 3x224x224) with its prune groups."""
    return make_task("alexnet", groups=True)


@pytest.fixture(scope="module")
def space(task: Task) -> PruneSpace:
    """Return AlexNet's prune space."""
    assert task.prune_space is not None
    return task.prune_space


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """Return the Raspberry Pi 3B+ over 4G, as the QHO paper prices it."""
    return Scenario(
        presets.device("raspberry-pi-3b+"),
        presets.server("tesla-p100"),
        presets.link("4g"),
        convention("qho2024"),
    )


def in_batches(space: PruneSpace, plans: Candidates, scenario: Scenario) -> Floats:
    """Price all plans by the vectorised cost model, seconds of shape (B,)."""
    priced = batch_latency(
        space, plans.kept, plans.positions, scenario, bits_per_element=plans.widths
    )
    return np.asarray(priced.total_s)


def one_by_one(task: Task, plans: Candidates, scenario: Scenario, count: int) -> Floats:
    """Price the first plans in a Python loop, seconds of shape (count,)."""
    space = task.prune_space
    assert space is not None
    totals = np.empty(count)
    for row in range(count):
        cut = task.graph.cuts[plans.positions[row]]
        keep = space.keep_pairs(plans.kept[row])
        work = plan_workload(
            Plan(task.model, CutRef(cut.index, cut.after), keep), task, scenario.convention
        )
        priced = scenario_latency(work, scenario)
        totals[row] = priced.total_s + priced.uplink_s * (plans.widths[row] / 32 - 1)
    return totals


def bare_expression(
    space: PruneSpace, scenario: Scenario
) -> Callable[[Candidates], NDArray[np.float64]]:
    """Return the same arithmetic as a bare NumPy expression over blocks of plans.

    With x = (1, kept), the work on the device at every cut is (x fan_in * x c_out) alpha + x rest,
    and the elements that cross are x crossing: nothing is checked, converted or kept apart.
    """

    def matrix(rows: tuple[Affine, ...]) -> Floats:
        made = np.zeros((len(space.groups) + 1, len(rows)))
        for column, row in enumerate(rows):
            made[0, column] = row.fixed
            for group, per_unit in row.terms:
                made[group + 1, column] += per_unit
        return made

    graph = space.graph
    alpha, beta, gamma = graph.coefficients(scenario.convention.flops_rules).T
    on_device = np.arange(len(graph))[:, None] < graph.cut_index
    multiplied = alpha != 0
    fan_in, c_out = matrix(space.fan_in), matrix(space.out_channels)
    rest = (beta * c_out + gamma * matrix(space.in_channels)) @ on_device
    fan_in, c_out = fan_in[:, multiplied], c_out[:, multiplied]
    by_cut = (alpha[:, None] * on_device)[multiplied].astype(float)
    crossing = matrix(space.crossing)
    crossing[:, -1] = 0  # nothing is sent at cut N
    device, server, rate = scenario.device.speed(), scenario.server.speed(), scenario.rate_bps

    def price(plans: Candidates) -> Floats:
        totals = np.empty(len(plans.kept))
        for start in range(0, len(totals), BLOCK):
            block = slice(start, start + BLOCK)
            kept, cut = plans.kept[block], plans.positions[block]
            x = np.column_stack([np.ones(len(kept)), kept])
            done = (x @ fan_in * (x @ c_out)) @ by_cut + x @ rest
            row = np.arange(len(kept))
            near = done[row, cut]
            sent = (x @ crossing)[row, cut] * plans.widths[block]
            totals[block] = near / device + sent / rate + (done[:, -1] - near) / server
        return totals

    return price


def test_plans_per_second(
    benchmark: Any,
    task: Task,
    space: PruneSpace,
    scenario: Scenario,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At least a million evaluations a second in batches; the ratios to loop and limit."""
    plans = Candidates.draw(space, BATCH)
    bare = bare_expression(space, scenario)
    priced = benchmark(in_batches, space, plans, scenario)
    # A fast number that is wrong is worth nothing: all three agree before they are compared.
    np.testing.assert_allclose(bare(plans), priced, rtol=1e-12)
    looped = one_by_one(task, plans, scenario, LOOPED)
    np.testing.assert_allclose(looped, priced[:LOOPED], rtol=1e-12)

    batch_s, bare_s = best_s(7, lambda: in_batches(space, plans, scenario), lambda: bare(plans))
    (loop_s,) = best_s(3, lambda: one_by_one(task, plans, scenario, LOOPED))
    per_s = {
        "in batches": BATCH / batch_s,
        "loop over plans": LOOPED / loop_s,
        "bare NumPy (limit)": BATCH / bare_s,
    }
    benchmark.extra_info["plans_per_s"] = per_s
    benchmark.extra_info["times_the_loop"] = per_s["in batches"] / per_s["loop over plans"]
    benchmark.extra_info["share_of_limit"] = per_s["in batches"] / per_s["bare NumPy (limit)"]
    with capsys.disabled():
        print(f"\nAlexNet, {BATCH:,} plans, one thread      plans/s   in batches is")
        for name, rate in per_s.items():
            print(f"  {name:<28} {rate:>14,.0f}   {per_s['in batches'] / rate:>8.2f}x as fast")
    assert per_s["in batches"] >= TARGET_PER_S


def test_memory_is_linear_in_the_batch(
    benchmark: Any, space: PruneSpace, scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four times the plans take at most four times the memory, inputs aside."""
    small, large = (Candidates.draw(space, count) for count in (BATCH // 2, 2 * BATCH))
    benchmark.pedantic(in_batches, (space, small, scenario), rounds=3)

    def peak_bytes(plans: Candidates) -> int:
        tracemalloc.start()
        try:
            in_batches(space, plans, scenario)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak_bytes(small), peak_bytes(large)
    per_plan = (many - few) / (len(large.kept) - len(small.kept))
    benchmark.extra_info["peak_bytes"] = {len(small.kept): few, len(large.kept): many}
    benchmark.extra_info["bytes_per_plan"] = per_plan
    with capsys.disabled():
        print(f"\nPeak memory: {few / 1e6:.1f} MB for {len(small.kept):,} plans, ", end="")
        print(f"{many / 1e6:.1f} MB for {len(large.kept):,}: {per_plan:.0f} bytes a plan")
    assert many <= 4 * few


def test_cells_per_second_of_a_sweep(
    benchmark: Any, task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every cut of AlexNet on every device over 5,000 rates, by broadcasting."""
    rules = convention("qho2024")
    machines = [presets.device(name) for name in ("raspberry-pi-3b+", "raspberry-pi-4b")]
    links = [presets.link(f"rate[rate_bps={rate}]") for rate in np.geomspace(1e4, 1e8, 5_000)]
    server = presets.server("tesla-p100")
    work = split_workload(task, task.graph.cuts, rules)

    def sweep() -> Any:
        return sweep_latency(work, machines, server, links).total_s

    cells = benchmark(sweep).size
    assert cells == len(task.graph.cuts) * len(machines) * len(links)
    (seconds,) = best_s(5, sweep)
    benchmark.extra_info["cells_per_s"] = cells / seconds
    with capsys.disabled():
        print(f"\nSweep of {cells:,} cells by broadcasting: {cells / seconds:,.0f} cells/s")
