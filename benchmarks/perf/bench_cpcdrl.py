"""How fast CPCDRL searches one scenario: its 300 episodes on VGG16 and on AlexNet for CIFAR.

With a predictor fitted to made-up plans, and the paper's device, server and link. All on one
thread, in seconds of that thread's own work, so that others on the machine count less.
"""

from __future__ import annotations

from pathlib import Path
from time import thread_time
from typing import Any

import pytest

from coinfer import presets
from coinfer.conventions import convention
from coinfer.method import Context
from coinfer.plan import Scenario
from coinfer.tasks import make_task
from methods.cpcdrl import Cpcdrl
from methods.worlds import measured_task

# What one search may take, in seconds.
TARGETS_S = {"vgg16": 60.0, "alexnet-cifar": 15.0}
SHORT = 20


@pytest.mark.parametrize("model", TARGETS_S)
def test_one_search(
    benchmark: Any,
    model: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A whole search in less than its target; and the same one again, bit for bit, in part."""
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path))
    task = measured_task(make_task(model, groups=True), ["cpcdrl"], plans=100)
    rules = convention("cpcdrl2024")
    scenario = Scenario(
        presets.device("cpcdrl-edge"),
        presets.server("cpcdrl-cloud"),
        presets.link("200-kbyte-s"),
        rules,
    )

    def context() -> Context:
        return Context(task, rules, task.graph.cuts)

    method = Cpcdrl()
    library = method.build(task, context())
    # The first prediction fits the predictor; that is no part of a search.
    first = Cpcdrl(episodes=SHORT).run(library, scenario, context())
    started = thread_time()
    found = benchmark.pedantic(method.run, (library, scenario, context()), rounds=1)
    seconds = thread_time() - started
    updates = int(sum((row < 1.0).sum() for row in found.ratios))
    benchmark.extra_info |= {"seconds": seconds, "updates": updates}
    with capsys.disabled():
        print(
            f"\n{method.episodes} episodes on {model}, {updates:,} layers compressed: "
            f"{seconds:.1f} s (target {TARGETS_S[model]:g})",
            end="",
        )
    assert found.reward[:SHORT].tolist() == first.reward.tolist()
    assert seconds < TARGETS_S[model]
