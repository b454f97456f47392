"""Many trainings on the runner's engines: each result comes back as it is done.

A training is a whole job of its own, so several machines, or several processes on one GPU, share
a sweep. Workers find data and weights by the paths that they are given.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.engines import make_engine
from benchmarks.provenance import cpu_model, package_versions
from coinfer.accuracy.measurement import Measurement
from coinfer.accuracy.recipe import Recipe
from coinfer.errors import CoinferError
from coinfer.plan import Plan
from coinfer.serial import content_hash
from coinfer.sources import closure_hash

# A look at the workers at least this often, in seconds, so that Ctrl-C is answered.
_WAIT_S = 1.0


@dataclass(frozen=True)
class Training:
    """One plan to build, train and measure, as plain data that travels.

    Attributes:
        plan: what to build.
        recipe: how to train it.
        seed: of everything drawn at random.
        data: the data set, as `--data` names it; None for COINFER_DATA.
        parent: file of the pretrained weights.
        parent_sha256: of that file; another content is refused.
        torch_device: where torch computes.
        part_files: files that bring parts.
        test: whether the plan is final.
    """

    plan: Plan
    recipe: Recipe
    seed: int
    data: str | None
    parent: str
    parent_sha256: str
    torch_device: str = "cpu"
    part_files: tuple[str, ...] = ()
    test: bool = False


@dataclass(frozen=True)
class Trained:
    """A result of a training, and what it ran on.

    Attributes:
        measurement: the result.
        seconds: wall time.
        machine: hardware and versions, as plain data.
        code: hash of the source that measured it.
    """

    measurement: Measurement
    seconds: float
    machine: dict[str, Any]
    code: str

    @property
    def machine_name(self) -> str:
        """A short name of the machine, by its content."""
        return content_hash(self.machine)[:8]


def run_trainings(
    trainings: Sequence[Training],
    *,
    executor: str = "joblib",
    jobs: int | None,
    address: str | None,
) -> Iterator[tuple[int, Trained | CoinferError]]:
    """Yield (position, result) of every training as it is done, in whatever order.

    A training that diverged or cannot be built yields its error: that is a result too.

    Args:
        trainings: what to run; they are begun in this order.
        executor, jobs, address: as `benchmarks.engines.make_engine`.

    Raises:
        CoinferError: when a worker dies, naming the plan; results that were yielded before stand.
    """
    if not trainings:
        return
    engine = make_engine(executor, jobs, address)
    try:
        waiting = list(range(len(trainings)))[::-1]
        running = 0
        while waiting or running:
            while waiting and running < engine.slots():
                position = waiting.pop()
                engine.submit(position, run_training, trainings[position])
                running += 1
            for done in engine.wait(_WAIT_S):
                running -= 1
                if isinstance(done.error, CoinferError):
                    yield done.job, done.error
                    continue
                if done.error is not None:
                    raise done.error
                if done.died:
                    plan = trainings[done.job].plan
                    raise CoinferError(
                        f"the worker that trained plan {plan.hash[:12]} died (out of memory?); "
                        "what was measured before is kept"
                    )
                yield done.job, done.value
    finally:
        engine.close()


def run_training(training: Training) -> Trained:
    """Build, train and measure one plan, in whatever process this is.

    Raises:
        CoinferError: as `coinfer.accuracy.measure.measure`.
    """
    from coinfer.accuracy.measure import measure

    code = code_hash()  # of what was just imported; the files may change while this trains
    started = perf_counter()
    measurement = measure(
        training.plan,
        _parent(training.parent, training.parent_sha256),
        _data(training.data, training.test),
        training.recipe,
        training.seed,
        device=training.torch_device,
        parts=_parts(training.part_files),
        test=training.test,
    )
    seconds = perf_counter() - started
    return Trained(measurement, seconds, machine(training.torch_device), code)


def machine(torch_device: str) -> dict[str, Any]:
    """Return what a training ran on, as plain data: processor, versions; no name of a host."""
    import torch

    found: dict[str, Any] = {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "platform": platform.system() + " " + platform.machine(),
        "python": platform.python_version(),
        "versions": package_versions(),
    }
    if torch_device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(torch_device)
    return found


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Return the hash of the source that measures, twelve digits of it."""
    return closure_hash(("coinfer.accuracy.measure",))[:12]


@lru_cache(maxsize=2)
def _data(name: str | None, test: bool) -> Any:
    from coinfer.data import load_splits

    splits = load_splits(name)
    return splits if test else splits.without_test()


@lru_cache(maxsize=2)
def _parent(path: str, sha256: str) -> Any:
    from coinfer.accuracy.checkpoints import read

    found = read(Path(path))
    if found.sha256 != sha256:
        raise CoinferError(
            f"'{path}' has SHA-256 {found.sha256[:12]}..., the sweep started from {sha256[:12]}..."
        )
    return found


@lru_cache(maxsize=4)
def _parts(files: tuple[str, ...]) -> Any:
    from coinfer.parts import installed_parts
    from coinfer.plugins import classes_defined_in, load_file

    parts = installed_parts()
    for file in files:
        parts = parts.with_classes(classes_defined_in(load_file(Path(file))))
    return parts
