"""QHO, the quantum-inspired optimiser of Mu et al., IEEE Internet of Things Journal, 2024.

Algorithm 1 of the paper, in its section IV: k particles sample around themselves at a falling
scale, from 1 down to 1.3^-19. At each scale, energy level stabilisation and energy level
transition take turns until the particles stand closer together than the scale (the ground state):

    u_1..u_k ~ U[0,1]^D, drawn until acceptable;  t_j = cost(u_j);  (u*, t*) = the best;  s = 1
    for each of the scales:
      repeat
        repeat                                        # energy level stabilisation
          for j: y ~ N(u_j, s^2) until acceptable
                 if cost(y) <= t_j:  u_j, t_j = y, cost(y)
                 if cost(y) <= t*:   u*, t* = y, cost(y)
        until sd(u) changed by s or less
        w = argmax t;  m = mean(u);  if m is acceptable: u_w, t_w = m, cost(m)    # transition
      until sd(u) <= s
      s = s / 1.3                                     # scale adjustment

`sd` is the largest, over the D coordinates, of the population standard deviations of the particles.
Where the paper is open or cannot be meant as printed, `Settings` has a named option for each
reading; the defaults are the reading above, `Settings.literal()` the pseudocode as printed.

All runs of a sweep advance together: one question to the judge holds what every run wants to know
next. A run finds the same, bit for bit, alone and in company.

Randomness. Particle j of a run reads streams of its own, and each draw uses up one row of each:

    start        key (0, j)     row n: the coordinates of start number n
    walk         key (1, j, 0)  row n: D standard normals, y = u_j + s z
                 key (1, j, 1)  row n: D uniforms, for those coordinates of y that left the cube
    transition   the walk of particle k, for means that are drawn again

with `Generator(PCG64(SeedSequence(seed, spawn_key=key)))` (`coinfer.search.draws`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from coinfer.checks import shown, whole_number
from coinfer.errors import CoinferError
from coinfer.search.draws import Rows
from coinfer.search.judge import (
    Flags,
    Floats,
    Ints,
    Judge,
    Outcome,
    Stop,
    Trace,
    ask_judge,
    checked,
    safe_points,
)
from coinfer.search.runs import AROUND, DONE, MEAN, PASS, SAFE, START, Runs, array, plain
from coinfer.search.settings import Settings
from coinfer.serial import from_data, to_data

_STOPS: tuple[Stop, ...] = ("finished", "budget", "nothing acceptable")
_FINISHED, _BUDGET, _NOTHING = range(3)
# Columns of `Runs.caps`.
_STARTS, _DRAWS, _MEANS, _STABILISATIONS, _SCALES = range(5)
_BLOCK = 32
_MOST_AHEAD = 64
_SCHEMA = 1


@dataclass(frozen=True)
class Caps:
    """How often a limit was reached; all zero in a run that went as the algorithm is meant.

    Attributes:
        starts: particles for which no acceptable start was drawn.
        draws: particles left where they were after `max_draws` draws; with `restart`, passes
            that ended so.
        means: means left out after `max_draws` draws.
        stabilisations: stabilisations ended by `max_stabilisation`.
        scales: scales ended by `max_passes`.
    """

    starts: int
    draws: int
    means: int
    stabilisations: int
    scales: int


@dataclass(frozen=True, eq=False)
class QhoOutcome(Outcome):
    """What one run of QHO found.

    Attributes:
        acceptances: draws that became a particle's place.
        caps: limits reached.
        passes: passes over the particles at each scale, (scales,).
        transitions: transitions at each scale, (scales,).
    """

    acceptances: int
    caps: Caps
    passes: Ints
    transitions: Ints


def search(
    judge: Judge,
    dimension: int,
    seeds: Sequence[int],
    settings: Settings | None = None,
    *,
    safe: ArrayLike | None = None,
    max_evaluations: int | None = None,
    ahead: int = 1,
) -> tuple[QhoOutcome, ...]:
    """Return what QHO finds, one outcome for each seed. The arguments are those of `Qho`.

    Args:
        judge: `judge(runs, points)` gets points (n, D) of the unit cube and the run (n,) of each,
            its place in `seeds`; it returns whether each is acceptable, (n,) bool, and its cost.

    Raises:
        CoinferError: when an argument is out of its range, or the judge's answer is none.
    """
    qho = Qho(dimension, seeds, settings, safe=safe, max_evaluations=max_evaluations, ahead=ahead)
    while not qho.done:
        qho.tell(*ask_judge(judge, *qho.ask()))
    return qho.outcomes()


@dataclass(frozen=True)
class _Asked:
    """A question: slots (m,) of runs, each with `counts` points in a row from `first` on."""

    runs: Ints
    slots: Ints
    counts: Ints
    first: Ints
    offset: Ints  # of each point in its slot's row of points, (n,)
    owner: Ints  # run of each point, (n,)
    points: Floats


class Qho:
    """QHO by question and answer: `ask` for points, judge them, `tell`, until it is `done`.

    Args:
        dimension: D, of the unit cube.
        seeds: one for each run, a whole number, 0 or more.
        settings: the algorithm's; the defaults when None.
        safe: a point (R, D) for each run. Particles for which `max_draws` draws gave no acceptable
            start begin there, if it is acceptable (one more evaluation), else at the best start
            of the others. A run in which none has a start ends with nothing found.
        max_evaluations: points judged per run, after which it ends with the best so far; no limit
            when None. They are counted in this order: each particle that still looks for a point
            draws once, in turn, and then those draw again that have found none.
        ahead: how many draws of a particle (with `restart`: particles in a row) one question may
            hold. What comes after the one that decides is not counted, and is drawn again later:
            the outcome is the same for any number; only the questions are fewer and larger.

    Raises:
        CoinferError: when an argument is out of its range.
    """

    def __init__(
        self,
        dimension: int,
        seeds: Sequence[int],
        settings: Settings | None = None,
        *,
        safe: ArrayLike | None = None,
        max_evaluations: int | None = None,
        ahead: int = 1,
    ) -> None:
        self._settings = settings = Settings() if settings is None else settings
        self._dimension = whole_number("the dimension", dimension, low=1)
        self._seeds = [whole_number("a seed", seed) for seed in seeds]
        self._ahead = whole_number("ahead", ahead, low=1, high=_MOST_AHEAD)
        self._budget = (
            None
            if max_evaluations is None
            else whole_number("max_evaluations", max_evaluations, low=1)
        )
        self._safe = safe_points(safe, len(self._seeds), self._dimension)
        self._runs = Runs.at_start(len(self._seeds), self._dimension, settings)
        self._trace: list[tuple[Ints, Ints, Floats]] = []
        self._asked: _Asked | None = None

        slots = range(settings.particles + 1)
        block = max(_BLOCK, 2 * self._ahead)
        walk = [[(1, slot, law) for slot in slots] for law in (0, 1)]

        def rows(law: Literal["normal", "uniform"], keys: list[Any]) -> Rows:
            return Rows(law, [(s, key) for s in self._seeds for key in keys], dimension, block)

        self._starts = rows("uniform", [(0, slot) for slot in slots])
        self._normals = rows("normal", walk[0])
        self._uniforms = rows("uniform", walk[1])
        # Stages in which a point is taken though it may not be acceptable.
        self._unchecked = np.zeros(DONE + 1, dtype=np.bool_)
        self._unchecked[START] = settings.start == "unchecked"
        self._unchecked[MEAN] = settings.mean == "unchecked"
        # Stages whose one point is given, not drawn.
        self._given = np.zeros(DONE + 1, dtype=np.bool_)
        self._given[[SAFE, MEAN]] = True

    @property
    def done(self) -> bool:
        """Whether every run has ended."""
        return bool((self._runs.stage == DONE).all())

    # ---- Ask -------------------------------------------------------------------------------------

    def ask(self) -> tuple[Ints, Floats]:
        """Return the points to judge next: the run (n,) of each, and the points (n, D), read-only.

        The same question until it is answered; an empty one when the search is done.
        """
        if self._asked is None:
            self._asked = self._question()
        return self._asked.owner, self._asked.points

    def _question(self) -> _Asked:
        state, settings = self._runs, self._settings
        pending = state.pending
        if self._budget is not None:
            left = self._budget - state.evaluations
            pending = pending & (np.cumsum(pending, axis=1) <= left[:, None])
        runs, slots = np.nonzero(pending)
        stage = state.stage[runs]

        counts = np.ones(len(runs), dtype=np.int64)
        if self._ahead > 1:
            most = np.minimum(self._ahead, settings.max_draws - state.tries[runs, slots])
            if self._budget is not None:
                most = np.minimum(most, left[runs] // pending.sum(axis=1)[runs])
            single = self._given[stage] | self._unchecked[stage]
            if settings.infeasible == "restart":
                single |= stage == PASS
            counts = np.where(single, 1, most)
        first = np.cumsum(counts) - counts
        each = np.repeat(np.arange(len(runs)), counts)
        offset = np.arange(len(each)) - first[each]

        points = self._draw(runs[each], slots[each], stage[each], offset)
        points.flags.writeable = False
        return _Asked(runs, slots, counts, first, offset, runs[each], points)

    def _draw(self, runs: Ints, slots: Ints, stage: Ints, offset: Ints) -> Floats:
        """Return points (n, D), each `offset` draws after its slot's next one."""
        state = self._runs
        streams = runs * (self._settings.particles + 1) + slots
        starting = stage == START
        if starting.all():  # and when there is none
            tries = state.tries[runs, slots]
            return self._starts.take(streams, tries + offset, tries)
        if starting.any():
            points = np.empty((len(runs), self._dimension))
            for part in (starting, ~starting):
                points[part] = self._draw(runs[part], slots[part], stage[part], offset[part])
            return points

        lowest = state.position[runs, slots]
        points = self._normals.take(streams, lowest + offset, lowest)
        points *= np.where(self._given[stage], 0.0, state.scale[runs])[:, None]
        points += state.x[runs, slots]
        outside = (points < 0.0) | (points > 1.0)
        if not outside.any():
            return points
        match self._settings.outside:
            case "clip":
                np.clip(points, 0.0, 1.0, out=points)
            case "reflect":
                np.mod(points, 2.0, out=points)
                points = np.where(points > 1.0, 2.0 - points, points)
            case "resample":
                left = np.flatnonzero(outside.any(axis=1))
                within = self._uniforms.take(streams[left], (lowest + offset)[left], lowest[left])
                points[left] = np.where(outside[left], within, points[left])
        return points

    # ---- Tell ------------------------------------------------------------------------------------

    def tell(self, acceptable: Any, cost: Any) -> None:
        """Take the judge's answers to the last question.

        Args:
            acceptable: whether each point is acceptable, (n,) bool.
            cost: its cost, (n,); finite where it is acceptable or `Settings` take it unchecked.

        Raises:
            CoinferError: when there was no question, or an answer has another shape or type or a
                cost that is needed is not finite. The search stands where it stood.
        """
        asked = self._asked
        if asked is None:
            raise CoinferError("tell() without ask(); accepted is one answer to each question")
        state, settings = self._runs, self._settings
        runs, slots = asked.runs, asked.slots
        stage = state.stage[runs]
        owed = np.repeat(self._unchecked[stage], asked.counts)
        flags, costs = checked(acceptable, cost, len(asked.points), owed)
        self._asked = None
        if not len(runs):
            return

        # The first draw of each slot that is taken; those behind it have not happened.
        never = np.int64(self._ahead)
        hit_at = np.minimum.reduceat(np.where(flags | owed, asked.offset, never), asked.first)
        hit = hit_at < never
        used = np.where(hit, hit_at + 1, asked.counts)
        if settings.infeasible == "restart":
            void = self._step(runs, slots, stage == PASS, hit)
            hit &= ~void
            used[void] = 0

        given = self._given[stage]
        state.position[runs, slots] += np.where(given | (stage == START), 0, used)
        state.tries[runs, slots] += used
        spent = np.zeros(state.tries.shape, dtype=np.int64)
        spent[runs, slots] = used
        state.evaluations += spent.sum(axis=1)

        r, s, at = runs[hit], slots[hit], (asked.first + hit_at)[hit]
        state.y[r, s] = asked.points[at]
        state.cost[r, s] = costs[at]
        state.accepted[r, s] = flags[at]
        state.found[r, s] = True

        again = ~hit & ~given & (state.tries[runs, slots] < settings.max_draws)
        if settings.infeasible == "restart":
            again &= stage != PASS
        state.pending[runs, slots] = again
        capped = ~hit & ~again & ~given
        if capped.any():
            self._count_capped(runs[capped], stage[capped])
        self._go_on(runs)

    def _step(self, runs: Ints, slots: Ints, passing: Flags, hit: Flags) -> Flags:
        """Move the `for` of line 10 on, or back to its beginning after a slot that failed.

        Returns:
            which slots, (m,), come behind one of their run that failed: theirs never came.
        """
        state = self._runs
        asked, failed = np.zeros((2, *state.pending.shape), dtype=np.bool_)
        asked[runs, slots] = passing
        failed[runs, slots] = passing & ~hit
        failed = np.logical_or.accumulate(failed, axis=1)
        back = failed[:, -1]
        state.turn[:] = np.where(back, 0, state.turn + asked.sum(axis=1))
        state.restarts += back
        state.pending[asked.any(axis=1)] = False
        behind = np.zeros_like(failed)
        behind[:, 1:] = failed[:, :-1]
        void: Flags = behind[runs, slots] & passing
        return void

    def _count_capped(self, runs: Ints, stage: Ints) -> None:
        """Count slots that were given up; a `for` that begins again counts for itself."""
        caps = self._runs.caps
        kinds = [(START, _STARTS), (AROUND, _MEANS)]
        if self._settings.infeasible == "redraw":
            kinds.append((PASS, _DRAWS))
        for kind, cap in kinds:
            np.add.at(caps[:, cap], runs[stage == kind], 1)

    def _go_on(self, runs: Ints) -> None:
        """Take every run to the next point where it needs the judge."""
        state = self._runs
        asked = np.zeros(len(state.stage), dtype=np.bool_)
        asked[runs] = True
        ready = np.flatnonzero(asked & ~state.pending.any(axis=1))
        stage = state.stage[ready]
        there = set(stage.tolist())
        for kind, end in (
            (START, self._end_start),
            (SAFE, self._end_safe),
            (PASS, self._end_pass),
            (MEAN, self._end_mean),
            (AROUND, self._end_mean),
        ):
            if kind in there:
                end(ready[stage == kind])
        if self._budget is not None:
            self._end_spent(self._budget)

    def _end_spent(self, budget: int) -> None:
        """End the runs whose budget is spent, with what they found in the stage they are in."""
        state = self._runs
        spent = np.flatnonzero((state.evaluations >= budget) & (state.stage != DONE))
        if not len(spent):
            return
        cut = state.found[spent].any(axis=1)
        self._take_starts(spent[cut & (state.stage[spent] == START)])
        self._accept(spent[cut & (state.stage[spent] == PASS)])
        self._note(spent)
        self._end(spent, _BUDGET)

    def _end(self, runs: Ints, stop: int) -> None:
        self._runs.stage[runs] = DONE
        self._runs.stop[runs] = stop
        self._runs.pending[runs] = False

    # ---- Starts ----------------------------------------------------------------------------------

    def _end_start(self, runs: Ints) -> None:
        state, k = self._runs, self._settings.particles
        self._take_starts(runs)
        short = ~state.found[runs, :k].all(axis=1)
        if self._safe is not None:
            safe = runs[short]
            state.stage[safe] = SAFE
            state.x[safe, k] = self._safe[safe]
            state.pending[safe, k] = True
            runs = runs[~short]
        self._begin(runs)

    def _take_starts(self, runs: Ints) -> None:
        """Put the particles where they start, as far as that is known; the first best is best."""
        state, k = self._runs, self._settings.particles
        cost = np.where(state.found[runs, :k], state.cost[runs, :k], np.inf)
        state.x[runs, :k] = state.y[runs, :k]
        state.t[runs] = cost
        self._improve(runs, cost.argmin(axis=1), cost.min(axis=1))
        self._note(runs)

    def _end_safe(self, runs: Ints) -> None:
        state, k = self._runs, self._settings.particles
        landed = runs[state.found[runs, k]]
        at, slot = np.nonzero(~state.found[landed, :k])
        joining = landed[at]
        state.x[joining, slot] = state.y[joining, k]
        state.t[joining, slot] = state.cost[joining, k]
        state.found[joining, slot] = True
        cheaper = landed[state.cost[landed, k] < state.best_cost[landed]]
        self._improve(cheaper, np.full(len(cheaper), k), state.cost[cheaper, k])
        self._note(cheaper)
        self._begin(runs)

    def _begin(self, runs: Ints) -> None:
        """Begin the first scale; particles without a start join the best one."""
        state, k = self._runs, self._settings.particles
        nothing = np.isinf(state.best_cost[runs])
        self._end(runs[nothing], _NOTHING)
        runs = runs[~nothing]
        at, slot = np.nonzero(~state.found[runs, :k])
        state.x[runs[at], slot] = state.best[runs[at]]
        state.t[runs[at], slot] = state.best_cost[runs[at]]
        state.spread[runs] = self._sd(runs)
        self._next_scale(self._open_scale(runs))

    # ---- Energy level stabilisation --------------------------------------------------------------

    def _open_pass(self, runs: Ints) -> None:
        state, k = self._runs, self._settings.particles
        state.stage[runs] = PASS
        state.tries[runs] = 0
        state.found[runs] = False
        state.turn[runs] = 0
        state.restarts[runs] = 0
        if self._settings.infeasible == "restart":
            self._take_turns(runs)
        else:
            state.pending[runs, :k] = True

    def _take_turns(self, runs: Ints) -> None:
        """Ask for the particles whose turn it is in the `for` of line 10."""
        state, k = self._runs, self._settings.particles
        behind = np.arange(k) - state.turn[runs][:, None]
        state.pending[runs, :k] = (behind >= 0) & (behind < self._ahead)

    def _end_pass(self, runs: Ints) -> None:
        state, settings = self._runs, self._settings
        self._accept(runs)
        if settings.infeasible == "restart":
            worn = state.restarts[runs] >= settings.max_draws
            state.caps[runs, _DRAWS] += worn
            through = worn | (state.turn[runs] == settings.particles)
            self._take_turns(runs[~through])
            runs = runs[through]
        self._note(runs)
        before = state.spread[runs]
        state.spread[runs] = after = self._sd(runs)
        state.change[runs] = change = np.abs(after - before)
        state.passes[runs, state.index[runs]] += 1
        state.level[runs] += 1

        moving = change > state.scale[runs]
        capped = moving & (state.level[runs] >= settings.max_stabilisation)
        state.caps[runs, _STABILISATIONS] += capped
        moving &= ~capped
        self._open_pass(runs[moving])
        self._open_mean(runs[~moving])

    def _accept(self, runs: Ints) -> None:
        """Let the particles move to what they found, in their order (lines 17-20)."""
        state, k = self._runs, self._settings.particles
        found = state.found[runs, :k]
        cost = np.where(found, state.cost[runs, :k], np.inf)
        limit = state.t[runs]
        if self._settings.accept == "elitist":
            # The lowest cost when a particle's turn comes: found before the pass, or before it.
            so_far = np.concatenate([state.best_cost[runs][:, None], cost[:, :-1]], axis=1)
            limit = np.minimum.accumulate(so_far, axis=1)
        take = found & (cost <= limit)
        at, slot = np.nonzero(take)
        moved = runs[at]
        state.x[moved, slot] = state.y[moved, slot]
        state.t[moved, slot] = cost[at, slot]
        state.acceptances[runs] += take.sum(axis=1)
        # Of equal costs the last is best.
        self._improve(runs, k - 1 - cost[:, ::-1].argmin(axis=1), cost.min(axis=1))
        state.found[runs] = False

    # ---- Energy level transition -----------------------------------------------------------------

    def _open_mean(self, runs: Ints) -> None:
        state, k = self._runs, self._settings.particles
        state.stage[runs] = MEAN
        state.x[runs, k] = _total(state.x[runs, :k]) / k
        state.tries[runs] = 0
        state.found[runs] = False
        state.pending[runs, k] = True

    def _end_mean(self, runs: Ints) -> None:
        """Replace the worst particle; a mean that is not acceptable may first be drawn again."""
        state, k = self._runs, self._settings.particles
        if self._settings.mean == "redraw":
            refused = ~state.found[runs, k] & (state.stage[runs] == MEAN)
            self._open_around(runs[refused])
            runs = runs[~refused]
        landed = runs[state.found[runs, k]]
        worst = state.t[landed].argmax(axis=1)
        cost = state.cost[landed, k]
        state.x[landed, worst] = state.y[landed, k]
        state.t[landed, worst] = cost
        if self._settings.mean != "unchecked":
            self._improve(landed, np.full(len(landed), k), cost)
            self._note(landed)
        self._end_level(runs)

    def _open_around(self, runs: Ints) -> None:
        state, k = self._runs, self._settings.particles
        state.stage[runs] = AROUND
        state.x[runs, k] = state.best[runs]
        state.tries[runs, k] = 0
        state.pending[runs, k] = True

    # ---- Scale adjustment ------------------------------------------------------------------------

    def _end_level(self, runs: Ints) -> None:
        """After a transition: the next stabilisation at this scale, or the next scale."""
        state = self._runs
        state.spread[runs] = spread = self._sd(runs)
        state.transitions[runs, state.index[runs]] += 1
        wide = spread > state.scale[runs]
        capped = wide & (state.transitions[runs, state.index[runs]] >= self._settings.max_passes)
        state.caps[runs, _SCALES] += capped
        wide &= ~capped
        self._open_level(runs[wide])
        self._next_scale(runs[~wide])

    def _next_scale(self, runs: Ints) -> None:
        """Go to the next scale, and past those that have nothing to do."""
        state = self._runs
        while len(runs):
            state.scale[runs] /= self._settings.shrink
            state.index[runs] += 1
            over = state.index[runs] >= self._settings.scales
            self._end(runs[over], _FINISHED)
            runs = self._open_scale(runs[~over])

    def _open_scale(self, runs: Ints) -> Ints:
        """Begin a scale; return the runs that have nothing to do at theirs."""
        if self._settings.loops == "do_while":
            self._open_level(runs)
            return runs[:0]
        wide = self._runs.spread[runs] > self._runs.scale[runs]
        self._open_level(runs[wide])
        return runs[~wide]

    def _open_level(self, runs: Ints) -> None:
        """Begin a stabilisation."""
        state = self._runs
        state.level[runs] = 0
        if self._settings.loops == "while":
            moving = state.change[runs] > state.scale[runs]
            self._open_mean(runs[~moving])
            runs = runs[moving]
        self._open_pass(runs)

    def _sd(self, runs: Ints) -> Floats:
        """Return the particles' standard deviation (ddof 0), the largest of D, (n,)."""
        k = self._settings.particles
        x = self._runs.x[runs, :k]
        x -= (_total(x) / k)[:, None]
        x *= x
        deviation: Floats = np.sqrt((_total(x) / k).max(axis=1))
        return deviation

    def _improve(self, runs: Ints, slots: Ints, cost: Floats) -> None:
        """Make what a slot found the best, where its cost (inf: none) is no higher."""
        state = self._runs
        better = (cost <= state.best_cost[runs]) & (cost < np.inf)
        if not better.any():
            return
        runs, slots, cost = runs[better], slots[better], cost[better]
        state.best[runs] = state.y[runs, slots]
        state.best_cost[runs] = cost
        state.best_accepted[runs] = state.accepted[runs, slots]

    def _note(self, runs: Ints) -> None:
        """Write down the best costs that fell since they were last written down."""
        state = self._runs
        fell = runs[state.best_cost[runs] < state.noted[runs]]
        if len(fell):
            state.noted[fell] = state.best_cost[fell]
            self._trace.append((fell, state.evaluations[fell], state.best_cost[fell]))

    # ---- What comes out --------------------------------------------------------------------------

    def outcomes(self) -> tuple[QhoOutcome, ...]:
        """Return what each run has found by now, in the order of the seeds.

        A run that has not ended has its best so far; its `stop` is `budget`.
        """
        runs, evaluations, costs = self._falls()
        outcomes = []
        for run in range(len(self._seeds)):
            mine = runs == run
            outcomes.append(self._outcome(run, Trace(evaluations[mine], costs[mine])))
        return tuple(outcomes)

    def _falls(self) -> tuple[Ints, Ints, Floats]:
        """Return every fall of a best cost: run, evaluations, cost; in order for each run."""
        if not self._trace:
            none = np.zeros(0, dtype=np.int64)
            return none, none, np.zeros(0)
        runs, evaluations, costs = zip(*self._trace, strict=True)
        return np.concatenate(runs), np.concatenate(evaluations), np.concatenate(costs)

    def _outcome(self, run: int, trace: Trace) -> QhoOutcome:
        state = self._runs
        cost = float(state.best_cost[run])
        ended = state.stage[run] == DONE
        return QhoOutcome(
            point=state.best[run].copy() if cost < np.inf else None,
            cost=cost,
            acceptable=bool(state.best_accepted[run]),
            evaluations=int(state.evaluations[run]),
            stop=_STOPS[state.stop[run]] if ended else "budget",
            trace=trace,
            acceptances=int(state.acceptances[run]),
            caps=Caps(*state.caps[run].tolist()),
            passes=state.passes[run].copy(),
            transitions=state.transitions[run].copy(),
        )

    def state(self) -> dict[str, Any]:
        """Return all that the search is, as plain JSON data; an open question is asked again."""
        return {
            "schema": _SCHEMA,
            "dimension": self._dimension,
            "seeds": list(self._seeds),
            "settings": to_data(self._settings),
            "safe": None if self._safe is None else self._safe.tolist(),
            "max_evaluations": self._budget,
            "ahead": self._ahead,
            "runs": self._runs.to_plain(),
            "trace": [plain(column) for column in self._falls()],
        }

    @classmethod
    def from_state(cls, data: Mapping[str, Any]) -> Self:
        """Return the search that `state()` described.

        Raises:
            CoinferError: when the data is no such description.
        """
        try:
            if data["schema"] != _SCHEMA:
                raise CoinferError(
                    f"the state of a search has schema {shown(data['schema'])}; accepted: {_SCHEMA}"
                )
            qho = cls(
                data["dimension"],
                data["seeds"],
                from_data(data["settings"], Settings),
                safe=data["safe"],
                max_evaluations=data["max_evaluations"],
                ahead=data["ahead"],
            )
            qho._runs.fill(data["runs"])
            run, evaluations, costs = data["trace"]
            whole, real = np.dtype(np.int64), np.dtype(np.float64)
            falls = (array(run, whole), array(evaluations, whole), array(costs, real))
            qho._trace = [falls]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CoinferError(
                f"not the state of a search ({type(error).__name__}); accepted is what state() gave"
            ) from None
        return qho


def _total(x: Floats) -> Floats:
    """Return the sum over the particles, (n, k, D) -> (n, D), in their order for any n and D."""
    total = x[:, 0].copy()
    for j in range(1, x.shape[1]):
        total += x[:, j]
    return total
