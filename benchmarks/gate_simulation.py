"""How often the gate cries wolf, and how often it sees a real change: measured by simulation.

    python -m benchmarks.gate_simulation -o benchmarks/simulations/gate.csv

A trial is a baseline and a run whose seeds are drawn anew, with replacement, from the ten seeds of
the selections that ship for Fig. 7 (every place and seed by itself); then, of the run, latencies
are multiplied where a change is simulated, and the gate compares the two as it compares any. Only
methods with randomness take part: without it two runs of the same code are equal. A spread of k
takes the k-th power of every latency's distance from its median, for methods less steady than
those that ship.

Trials have random streams of their own, so that more trials begin with the same ones.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.baseline import Baseline
from benchmarks.cells import Cell
from benchmarks.gate import compare
from benchmarks.outcomes import REFERENCE, Outcome, asked_of, question_of
from benchmarks.provenance import package_versions
from benchmarks.selections import Selections, shipped_selections
from benchmarks.thresholds import Thresholds
from coinfer.cachefolder import write_atomically

SELECTIONS = "fig7"
CHANGE = 1.25
COLUMNS = ("change", "spread", "seeds", "trials", "found", "share", "low", "high")
_CONFIDENCE = 0.95

Change = Literal["none", "one method", "one place"]


@dataclass(frozen=True)
class Scenario:
    """What is simulated.

    Attributes:
        change: `none` (A/A); or what gets slower by CHANGE: all places of a method, or one.
        spread: power of every latency's distance from its median.
        seeds: of baseline and run.
        trials: how many.
    """

    change: Change
    spread: float
    seeds: int
    trials: int


SCENARIOS = (
    Scenario("none", 1, 10, 1000),
    Scenario("none", 4, 10, 1000),
    Scenario("none", 16, 10, 1000),
    Scenario("one method", 1, 10, 400),
    Scenario("one place", 1, 10, 400),
    Scenario("one place", 1, 20, 400),
    Scenario("one place", 1, 40, 400),
    Scenario("one method", 4, 10, 400),
    Scenario("one place", 4, 10, 400),
    Scenario("one place", 4, 20, 400),
)


@dataclass(frozen=True)
class Place:
    """What the seeds of one method found in one place.

    Attributes:
        cell: without its seed.
        latencies_s, accuracies: (seeds,), as the method predicts them.
    """

    cell: Cell
    latencies_s: NDArray[np.float64]
    accuracies: NDArray[np.float64]


def places_of(selections: Selections) -> list[Place]:
    """Return the places where more than one seed answered, in order of the selections."""
    found: dict[Cell, list[tuple[float, float]]] = defaultdict(list)
    for cell, chosen in selections.answers.items():
        selection = chosen.selection
        if selection.plan is not None:
            assert selection.predicted_latency_s is not None
            assert selection.predicted_accuracy is not None
            found[asked_of(cell)].append(
                (selection.predicted_latency_s, selection.predicted_accuracy)
            )
    return [Place(cell, *np.array(values).T) for cell, values in found.items() if len(values) > 1]


def simulate(
    scenario: Scenario, places: Sequence[Place], seed: int, thresholds: Thresholds | None = None
) -> int:
    """Return in how many trials the gate fails; for a change, because of what was changed.

    Args:
        scenario: what is simulated.
        places: what is drawn from.
        seed: of the random streams.
        thresholds: of the gate, the built-in ones by default.
    """
    drawn = _Source.of(scenario, places)
    limits = thresholds or Thresholds()
    return sum(_found(scenario, drawn, limits, seed, trial) for trial in range(scenario.trials))


@dataclass(frozen=True)
class _Source:
    """What trials draw from: places, the cells of their seeds, and what stands for All_Local.

    Attributes:
        places: with the scenario's spread.
        cells: a row per place, of a cell per seed.
        references: All_Local of every question. Its latency is a constant that cancels out of
            every ratio.
    """

    places: Sequence[Place]
    cells: Sequence[Sequence[Cell]]
    references: Mapping[Cell, Outcome]

    @classmethod
    def of(cls, scenario: Scenario, places: Sequence[Place]) -> _Source:
        local = {replace(question_of(place.cell), method=REFERENCE) for place in places}
        return cls(
            [replace(one, latencies_s=_spread(one, scenario.spread)) for one in places],
            [[replace(one.cell, seed=seed) for seed in range(scenario.seeds)] for one in places],
            {cell: Outcome(cell, "ok", latency_s=1.0) for cell in local},
        )

    def draw(self, rng: np.random.Generator, slowed: Collection[Cell] = ()) -> Baseline:
        """Return outcomes of seeds drawn anew; those of `slowed` places take CHANGE as long."""
        outcomes = dict(self.references)
        for place, cells in zip(self.places, self.cells, strict=True):
            taken = rng.integers(place.latencies_s.size, size=len(cells))
            factor = CHANGE if place.cell in slowed else 1.0
            latencies_s = (factor * place.latencies_s[taken]).tolist()
            accuracies = place.accuracies[taken].tolist()
            for cell, latency_s, accuracy in zip(cells, latencies_s, accuracies, strict=True):
                outcomes[cell] = Outcome(
                    cell, "ok", latency_s=latency_s, predicted_accuracy=accuracy
                )
        return Baseline(outcomes, frozenset(place.cell.method for place in self.places))


def _spread(place: Place, power: float) -> NDArray[np.float64]:
    middle = np.median(place.latencies_s)
    return np.asarray(middle * (place.latencies_s / middle) ** power)


def _found(scenario: Scenario, source: _Source, limits: Thresholds, seed: int, trial: int) -> bool:
    rng = np.random.default_rng([seed, trial])
    slowed = _slowed(scenario.change, source.places, rng)
    found = compare(source.draw(rng), source.draw(rng, slowed), limits).of("regressed")
    return bool(found) if not slowed else any(one.cell in slowed for one in found)


def _slowed(change: Change, places: Sequence[Place], rng: np.random.Generator) -> set[Cell]:
    """The cells, without seeds, that get slower."""
    one = places[int(rng.integers(len(places)))].cell
    if change == "none":
        return set()
    same = change == "one method"
    return {p.cell for p in places if p.cell == one or (same and p.cell.method == one.method)}


def row_of(scenario: Scenario, found: int) -> dict[str, object]:
    """Return a line of the table: the share of trials, and where it lies with 95 % confidence."""
    low, high = interval(found, scenario.trials)
    share = found / scenario.trials
    return asdict(scenario) | {"found": found, "share": share, "low": low, "high": high}


def interval(found: int, trials: int, confidence: float = _CONFIDENCE) -> tuple[float, float]:
    """Return the exact confidence interval of a share (Clopper and Pearson, Biometrika 1934)."""
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    limits = binomtest(found, trials).proportion_ci(confidence, "exact")
    return float(limits.low), float(limits.high)


def write(
    path: Path, rows: Iterable[dict[str, object]], seed: int, places: Sequence[Place]
) -> None:
    """Write the table, and beside it as JSON where its numbers come from."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    once = _Source.of(SCENARIOS[0], places).draw(np.random.default_rng(seed))
    about = {
        "selections": SELECTIONS,
        "selections_hash": shipped_selections(SELECTIONS).hash,
        "methods": sorted(once.stochastic),
        "places": len(places),
        "tests": compare(once, once, Thresholds()).tests,
        "false_alarms": Thresholds().false_alarms,
        "change": CHANGE,
        "confidence": _CONFIDENCE,
        "seed": seed,
        "python": ".".join(map(str, sys.version_info[:3])),
        "versions": package_versions(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())
    write_atomically(path.with_suffix(".json"), f"{json.dumps(about, indent=2)}\n".encode())


@click.command()
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE.csv")
@click.option("--seed", default=0, show_default=True, help="Of the random streams.")
def main(out: Path, seed: int) -> None:
    """Measure how often the gate raises a false alarm and how often it sees a change of 25 %."""
    places = places_of(shipped_selections(SELECTIONS))
    rows = []
    for scenario in SCENARIOS:
        rows.append(row_of(scenario, simulate(scenario, places, seed)))
        click.echo(json.dumps(rows[-1]), err=True)
    write(out, rows, seed, places)


if __name__ == "__main__":
    main()
