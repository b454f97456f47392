"""How fast CIA's agent searches a cut: the published 1100 episodes on half of a ResNet-50.

What a measured accuracy would cost is no part of it: a formula stands in for the predictor. All on
one thread, in seconds of that thread's own work, so that others on the machine count less. Beside
an update stand the matrix products that it cannot do without, which are the limit.
"""

from __future__ import annotations

from time import thread_time
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.perf.timing import best_s
from coinfer.accuracy.box import Box, Decisions, search_box
from coinfer.search.ddpg import Ddpg, DdpgSettings, Transition
from coinfer.search.nets import one_thread
from coinfer.tasks import make_task
from methods.cia import Cia
from methods.device_half import STATE, DeviceHalf

EPISODES = 1100
TARGET_S = 90.0
BASELINE, FLOOR = 0.93, 0.91


@pytest.fixture(scope="module")
def box() -> Box:
    """Return the plans of CIA for the network of its paper."""
    return search_box(make_task("resnet50", groups=True), "cia")


def test_the_published_search_of_one_cut(
    benchmark: Any, box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """1100 episodes at the median cut, one update per layer of each, in less than 90 s."""
    half = DeviceHalf(box, len(box.cuts) // 2, "table1_dropout_free")

    def accuracy(decisions: Decisions) -> float:
        removed = np.delete(box.features(decisions)[0], box.names.index("cut"))
        return BASELINE - 0.5 * float((removed**2).mean())

    def run() -> dict[str, Any]:
        return Cia().search(half, accuracy, FLOOR, EPISODES, np.random.default_rng(0))

    started = thread_time()
    found = benchmark.pedantic(run, rounds=1)
    seconds = thread_time() - started
    benchmark.extra_info |= {"seconds": seconds, "layers": len(half.layers)}
    with capsys.disabled():
        print(
            f"\n{EPISODES} episodes of {len(half.layers)} layers behind {half.cut.after}: "
            f"{seconds:.1f} s (target {TARGET_S:g})",
            end="",
        )
    assert found["best"]["reward"] > 0.5
    assert seconds < TARGET_S


def test_one_update(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An update beside the ten products of 64 x 300 and 300 x 300 in it."""
    rng = np.random.default_rng(0)
    agent = Ddpg(DdpgSettings(STATE, buffer_size=2500, warmup_episodes=0), rng)
    states = rng.random((2501, STATE))
    agent.remember(Transition(*step) for step in zip(states, rng.random(2500), rng.random(2500),
                                                     states[1:], strict=False))  # fmt: skip
    rows, weights = torch.ones(64, 300), torch.ones(300, 300)

    def products() -> None:
        with one_thread():
            for _ in range(10):
                torch.mm(rows, weights)

    benchmark(agent.update)
    update, limit = best_s(100, agent.update, products)
    benchmark.extra_info |= {"update_s": update, "products_s": limit}
    with capsys.disabled():
        print(
            f"\nOne update: {update * 1e3:.2f} ms, {update / limit:.1f} times its products alone",
            end="",
        )
