"""What a search asks about a point of a box: may it be taken, and what does it cost?

The framework of Mu et al. 2024 has four parts, each replaceable: a parameters generator (here
`coinfer.accuracy.box.Box`, from points of the unit cube to plans), an accuracy predictor
(`coinfer.accuracy.surrogate`), a delay calculator (here, by the harness's own cost model) and an
optimiser (`coinfer.search.qho`, `coinfer.search.rivals`). A `Problem` joins the first three. The
paper promises that the delay calculator can become an energy calculator: `objective` does that.

Points of many runs, each in a scenario of its own, are judged in one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coinfer.accuracy.box import Box, Decisions
from coinfer.channel import Awgn
from coinfer.conventions import Convention
from coinfer.cost import (
    Latency,
    Workload,
    batch_workload,
    latency,
    missing_watts,
)
from coinfer.errors import CoinferError
from coinfer.parts import installed_parts
from coinfer.plan import Scenario, Source

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Runs = NDArray[np.int64]
Objective = Literal["latency", "energy"]
Predict = Callable[[Floats], Floats]
"""From features (B, p) to predicted accuracies (B,)."""

OBJECTIVES: tuple[Objective, ...] = ("latency", "energy")


def box_workload(
    box: Box, decisions: Decisions, convention: Convention, source: Source
) -> Workload:
    """Return what B plans of a box make each side do, arrays of shape (B,).

    Equal, number for number, to `coinfer.cost.plan_workload` of each plan alone.

    Raises:
        CoinferError: when the size of what the box's coder sends depends on the data.
    """
    parts = installed_parts()
    coder = parts.coder(box.coder)
    at = box.crossing_of(decisions)
    elements = box.codec.elements(decisions.codec, at)
    encode: Any = 0
    decode: Any = 0
    if convention.codec_counted:
        encode, decode = box.codec.work(decisions.codec, at, convention.flops_rules)
    symbols: Any = 0
    uncoded: Any = False
    if box.family.noise is not None:
        uncoded = ~np.isnan(decisions.level)
        if box.family.noise.channel == Awgn.name and not convention.symbols_as_bits:
            symbols, uncoded = np.where(uncoded, Awgn().uses(elements), 0), False
    work = batch_workload(
        box.space,
        decisions.kept,
        box.positions[decisions.cut],
        convention.flops_rules,
        uplink_bits=coder.bits(elements, source),
        uplink_symbols=symbols,
        encode_flops=encode,
        decode_flops=decode,
    )
    return replace(work, uncoded=uncoded)


def predicted(box: Box, predict: Predict, decisions: Decisions, baseline: float) -> Floats:
    """Return the accuracies of B plans, (B,): predicted, but for the unpruned network's own."""
    accuracies = predict(box.features(decisions))
    return np.where(box.unchanged(decisions), baseline, accuracies)


@dataclass(frozen=True, eq=False)
class Environments:
    """R scenarios under one convention, as arrays of shape (R,).

    Attributes:
        convention: their accounting rules.
        device_flops_per_s, server_flops_per_s: speeds.
        rate_bps, round_trip_s: of the uplinks.
        compute_watts, transmit_watts: of the devices and radios; NaN where not given.
    """

    convention: Convention
    device_flops_per_s: Floats
    server_flops_per_s: Floats
    rate_bps: Floats
    round_trip_s: Floats
    compute_watts: Floats
    transmit_watts: Floats

    @classmethod
    def of(cls, scenarios: Sequence[Scenario]) -> Environments:
        """Return scenarios as arrays.

        Raises:
            CoinferError: when there is none, or they have several conventions.
        """
        names = sorted({scenario.convention.name for scenario in scenarios})
        if len(names) != 1:
            raise CoinferError(f"scenarios have conventions {names}; accepted is one for all")

        def column(of: Callable[[Scenario], float | None]) -> Floats:
            values = (of(scenario) for scenario in scenarios)
            return np.array([np.nan if value is None else value for value in values], dtype=float)

        return cls(
            scenarios[0].convention,
            column(lambda s: s.device.speed()),
            column(lambda s: s.server.speed()),
            column(lambda s: s.rate_bps),
            column(lambda s: s.link.round_trip_s),
            column(lambda s: s.device.compute_watts),
            column(lambda s: s.link.transmit_watts),
        )

    def cost(self, work: Workload, runs: Runs, objective: Objective) -> Floats:
        """Return seconds (or joules of the device) of B workloads, each in the scenario of its run.

        Args:
            work: arrays of shape (B,).
            runs: positions of their scenarios, (B,).
            objective: `latency` or `energy`.
        """
        time = latency(
            work,
            self.device_flops_per_s[runs],
            self.server_flops_per_s[runs],
            self.rate_bps[runs],
            self.round_trip_s[runs],
        )
        return np.asarray(time.total_s if objective == "latency" else self._energy_j(time, runs))

    def _energy_j(self, time: Latency, runs: Runs) -> Floats:
        """As `coinfer.cost.energy_j`, for every run's own watts."""
        computing = np.asarray(time.device_s + time.encode_s) * self.compute_watts[runs]
        transmit = self.transmit_watts[runs]
        sending = np.where(transmit == 0, 0.0, time.uplink_s * transmit)
        return np.asarray(computing + sending)


@dataclass(frozen=True, eq=False)
class Problem:
    """Least cost over a box, subject to a predicted accuracy: one search per run.

    Attributes:
        box: the parameters generator.
        predict: the accuracy predictor.
        baseline: accuracy of the unpruned network, which is measured and not predicted.
        floor: predictions must lie above it (strictly: Algorithm 1, line 14).
        environments: a scenario per run.
        source: what the sensor delivers.
        cuts: which of the box's cuts may be used, (len(box.cuts),); others are never acceptable.
        objective: what is least.
        snr_db: of every run's channel, (R,), where the box's plans go through one: the scenario
            says it, so it is no coordinate of the points; None for other boxes.
        bound: a lower bound of the accuracy, for a search that is cautious: it must lie above the
            floor, too. It is asked about plans whose prediction does. None for predictions alone,
            as in the paper.
    """

    box: Box
    predict: Predict
    baseline: float
    floor: float
    environments: Environments
    source: Source
    cuts: Flags
    objective: Objective = "latency"
    snr_db: Floats | None = None
    bound: Predict | None = None

    @property
    def dimension(self) -> int:
        """Coordinates of a point: the box's variables that are searched."""
        return self.box.dimension - (self.snr_db is not None)

    def decide(self, runs: Runs, points: Floats) -> Decisions:
        """Return what points (B, D) of runs (B,) stand for."""
        if self.snr_db is None:
            return self.box.decide(points)
        low, high = self.box.levels
        return self.box.decide(np.column_stack([points, (self.snr_db[runs] - low) / (high - low)]))

    def judge(self, runs: Runs, points: Floats) -> tuple[Flags, Floats]:
        """Return whether points (B, D) of runs (B,) may be taken, and what they cost, (B,)."""
        _, acceptable, cost = self.assess(runs, points)
        return acceptable, cost

    def assess(self, runs: Runs, points: Floats) -> tuple[Floats, Flags, Floats]:
        """Return accuracies of points (B, D) of runs (B,), and what `judge` says of them.

        Where a bound was asked, it is the accuracy.
        """
        decisions = self.decide(runs, points)
        accuracy = predicted(self.box, self.predict, decisions, self.baseline)
        acceptable = (accuracy > self.floor) & self.cuts[decisions.cut]
        if self.bound is not None:
            unsure = np.flatnonzero(acceptable & ~self.box.unchanged(decisions))
            sure = self.bound(self.box.features(decisions.take(unsure)))
            accuracy[unsure] = np.minimum(accuracy[unsure], sure)
            acceptable[unsure] = accuracy[unsure] > self.floor
        return accuracy, acceptable, self._cost(runs, decisions, self.objective)

    def accuracy(self, points: Floats, runs: Runs | None = None) -> Floats:
        """Return the predicted accuracies of points (B, D), (B,), all of the first run if None."""
        runs = np.zeros(len(points), dtype=np.int64) if runs is None else runs
        return predicted(self.box, self.predict, self.decide(runs, points), self.baseline)

    def cost(self, runs: Runs, points: Floats, objective: Objective) -> Floats:
        """Return what points (B, D) of runs (B,) cost, in seconds or joules, (B,)."""
        return self._cost(runs, self.decide(runs, points), objective)

    def _cost(self, runs: Runs, decisions: Decisions, objective: Objective) -> Floats:
        work = box_workload(self.box, decisions, self.environments.convention, self.source)
        return self.environments.cost(work, runs, objective)

    def safe(self, runs: int) -> Floats | None:
        """Return a point per run that removes and narrows nothing, (R, D).

        It stands for the unpruned network at whichever allowed cut costs least in the run's
        scenario, as a method that only partitions would cut. None when there is no cut, or a
        family that always encodes is predicted not to be above the floor anywhere.
        """
        (allowed,) = np.nonzero(self.cuts)
        if not len(allowed):
            return None
        unpruned = np.zeros((len(allowed), self.dimension))
        searched = self.box.variables[: self.dimension]
        unpruned[:, [variable.effect > 0 for variable in searched]] = 1.0
        unpruned[:, self.box.names.index("cut")] = (allowed + 0.5) / len(self.box.cuts)
        which = np.repeat(np.arange(runs), len(allowed))
        acceptable, cost = self.judge(which, np.tile(unpruned, (runs, 1)))
        cost = np.where(acceptable, cost, np.inf).reshape(runs, len(allowed))
        if not acceptable.any():
            return None
        cheapest: Floats = unpruned[cost.argmin(axis=1)]
        return cheapest


def refusal(scenario: Scenario, objective: Objective) -> str:
    """Return why a search cannot compare plans by an objective in a scenario, or ''."""
    if not scenario.rate_bps > 0.0:
        return "nothing gets through the link, so that plans which send cannot be compared"
    return missing_watts(scenario.device, scenario.link) if objective == "energy" else ""
