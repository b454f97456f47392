"""CPCDRL: one agent chooses the cut, another how much of each layer stays before it.

The loop and the agents are `coinfer.search.cpcdrl`, `coinfer.search.dqn` and
`coinfer.search.ddpg`; this adapter tells them what a network offers, what the harness's cost model
says of a plan, and what a predictor fitted to measured plans says of its accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from coinfer.accuracy.box import Box, Decisions, search_box
from coinfer.accuracy.variables import Floats, unit_of_whole
from coinfer.checks import real_number, whole_number
from coinfer.cost import scenario_latency, split_workload
from coinfer.graph import Layer
from coinfer.method import Context, Library, Method, MethodCard, OpenChoice
from coinfer.plan import Plan, Scenario, Selection, Skip, Task
from coinfer.search.cpcdrl_settings import Alpha, Bootstrap, LoopSettings, Updates
from coinfer.search.problem import Environments, box_workload, predicted
from methods.predictor import (
    Candidate,
    allowed,
    at_the_ends,
    not_predictable,
    predictor_library,
    surrogate_of,
)
from methods.searching import checked_guard_band

if TYPE_CHECKING:  # torch is loaded when something is searched
    from coinfer.search.cpcdrl import Evaluated, Run, World

_SEEDS = 2**63 - 1
# What the paper counts work in (eqs. 3 and 4), and so its compression ratio.
_WORK = "macs"


@dataclass(frozen=True)
class Cpcdrl(Method):
    """A cut by DQN and ratios of the device's layers by DDPG (Tang et al. 2024).

    Attributes:
        episodes: E.
        eta: of the reward (eq. 10).
        mu: of the reward, in units of 1 / All_Local's latency.
        alpha: share of the MACs `retained`, or `removed`.
        bootstrap: of eq. 11, from the `next` state, or from the `same`, as printed.
        updates: of the compression agent, per compressed layer (`step`) or per `episode`.
        sigma, sigma_decay: of the compression agent's exploration; its factor per episode.
        tau: share by which the compression agent's target networks follow at every update.
        width: of the two hidden layers of every network.
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="cpcdrl",
        title="CPCDRL",
        idea=(
            "A DQN agent chooses the cut and a DDPG agent how much of each layer before it is "
            "kept; both learn from one reward of accuracy, compression and latency."
        ),
        reference=(
            "Y. Tang et al., Collaborative DNNs Inference with Joint Model Partition and "
            "Compression in Mobile Edge-Cloud Computing Networks, 2024"
        ),
        bibtex=(
            "@inproceedings{tang2024collaborative, author={Tang, Yaxin and Li, Xiuhua and Li, Hui "
            "and Yang, Zhengyi and Wang, Xiaofei and Leung, Victor C. M.}, title={Collaborative "
            "DNNs Inference with Joint Model Partition and Compression in Mobile Edge-Cloud "
            "Computing Networks}, year={2024}}"
        ),
        prunes="device",
        accuracy_signal="predictor",
        objective="reward",
        constraint="reward",
        stochastic=True,
        phases=("label", "fit", "search"),
        open_choices=(
            OpenChoice(
                "accuracy in the reward",
                "predicted from the family's measured plans, A0 the floor",
                ("validate every episode's network",),
                "the paper does not say how accuracies are found; 300 trainings per scenario are "
                "out of reach",
            ),
            OpenChoice(
                "fine-tuning of measured plans",
                "channel selection and least squares, then the recipe's training like every family",
                ("none",),
                "the paper states no fine-tuning; without any, its losses of 1 to 3 points at a "
                "third of the latency would not be reached, and no other method goes without",
            ),
            OpenChoice(
                "channel selection",
                "LASSO along its path, then least squares; 24 batches of 128 images, 10 positions",
                (),
                "eqs. 1 and 2 name no solver and no sample; He et al. 2017 relax eq. 1 so, and "
                "AMC's code takes 3,000 images",
            ),
            OpenChoice(
                "eta, mu",
                "20 for accuracies in 0..1, and 1 / latency of All_Local",
                (),
                "tuned by the authors, not printed; the options `eta` and `mu` change them",
            ),
            OpenChoice(
                "latency in the reward",
                "mu T counts up to 10, ten times All_Local's",
                ("without end",),
                "a dead link has an infinite latency; in the paper's setting nothing is so slow",
            ),
            OpenChoice(
                "alpha, the compression ratio",
                "share of the whole network's MACs retained: 1 - alpha rewards compression",
                ("removed: 1 - alpha rewards keeping", "of the device's side alone"),
                "the paper calls it the compression ratio; the option `alpha` chooses",
            ),
            OpenChoice(
                "bootstrap of the partition agent",
                "from the next state",
                ("same: from the state that was left, as eq. 11 is printed",),
                "line 6 of Algorithm 1 observes the next state; the option `bootstrap` chooses",
            ),
            OpenChoice(
                "loops",
                "one loop in which the agents take turns",
                ("E episodes of the compression agent for each of the partition agent's",),
                "Algorithms 1 and 2 have a loop over episodes each, and wait for each other",
            ),
            OpenChoice(
                "updates",
                "partition agent: once per episode; compression agent: once per compressed layer",
                ("episode: the compression agent too, as Algorithm 2 is printed",),
                "DDPG learns at every step; the option `updates` chooses",
            ),
            OpenChoice(
                "episodes",
                "300",
                (),
                "not stated; Fig. 3 is stable from about the 75th",
            ),
            OpenChoice(
                "exploration",
                "epsilon from 1 to 0.05 in 60 episodes, linearly; sigma 0.5, times 0.98 an episode",
                ("sigma times 0.95, AMC's, behind a warm-up",),
                "not stated; at 0.95 exploration ends before the actor has learnt; the options "
                "`sigma` and `sigma_decay` change it",
            ),
            OpenChoice(
                "agents",
                "two hidden layers of 300; Adam at 0.001 (DQN, critic) and 0.0001 (actor); "
                "discount 0.9 (DQN) and 1 (DDPG); batches of 64; memories of 500 steps and of 100 "
                "passes through the layers; targets renewed every 10 updates (DQN), by 0.05 (DDPG)",
                ("targets by 0.01, AMC's",),
                "not stated; AMC's where it has such a number, but a search has a quarter of its "
                "episodes, in which targets at 0.01 lag; the options `width` and `tau` change it",
            ),
            OpenChoice(
                "states",
                "ratios with 1 for what is not compressed; every component of eq. 9 scaled to 0..1 "
                "over the network's layers, a_0 = 1",
                (),
                "the paper does not scale or pad",
            ),
            OpenChoice(
                "action of the compression agent",
                "share of channels kept, not below 0.1",
                ("share removed",),
                "it is called a compression rate; nothing narrower is measured, and a predictor "
                "must not extrapolate",
            ),
            OpenChoice(
                "layers and places to cut",
                "a ratio per prune group all of whose filters are on the device; cuts behind every "
                "block of layers, and before the first",
                ("every layer",),
                "filters of a depthwise convolution are those of the layer before it; channels "
                "that a sum ties together stay",
            ),
            OpenChoice(
                "answer",
                "the fastest episode whose predicted accuracy is not below the floor",
                ("the episode of the best reward", "what the trained agents would do"),
                "eq. 8 is the problem; the reward only weighs it",
            ),
        ),
    )
    family: ClassVar[str] = "cpcdrl"

    episodes: int = 300
    eta: float = 20.0
    mu: float = 1.0
    alpha: Alpha = "retained"
    bootstrap: Bootstrap = "next"
    updates: Updates = "step"
    sigma: float = 0.5
    sigma_decay: float = 0.98
    tau: float = 0.05
    width: int = 300
    guard_band: float = 0.0

    def __post_init__(self) -> None:
        checked_guard_band("cpcdrl", self.guard_band)
        whole_number("cpcdrl: width", self.width, low=1)
        for name in ("sigma", "sigma_decay", "tau"):
            real_number(f"cpcdrl: {name}", getattr(self, name), "0 to 1", lambda x: 0.0 <= x <= 1.0)
        _ = self.settings  # refuses numbers and readings that are none

    @property
    def settings(self) -> LoopSettings:
        """How the loop is run and read."""
        return LoopSettings(
            self.episodes, self.eta, self.mu, self.alpha, self.bootstrap, self.updates
        )

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        """Refuse networks without measured plans."""
        return not_predictable(task, self.family)

    def build(self, task: Task, context: Context) -> Library:
        """Fit a predictor to the family's measured plans."""
        return predictor_library(task, self.family, context)

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Search for one scenario; every episode is an evaluation."""
        choices = Choices.of(search_box(context.task, self.family), scenario, context)
        if not len(choices):
            return Selection(None, status="infeasible")
        run = self.run(library, scenario, context)
        episodes = len(run.reward)
        context.ledger.spend("search", evaluations=episodes)
        best = run.best(library.data["floor"] + self.guard_band)
        if best is None:
            return Selection(None, status="infeasible", evaluations=episodes)
        return Selection(
            choices.plan(int(run.action[best]), run.ratios[best]),
            status="budget" if episodes < self.episodes else "feasible",
            predicted_accuracy=float(run.accuracy[best]),
            predicted_latency_s=float(run.latency_s[best]),
            evaluations=episodes,
        )

    def run(self, library: Library, scenario: Scenario, context: Context) -> Run:
        """Run the loop for one scenario: what every episode chose and brought (Fig. 3).

        A budget of evaluations is one of episodes. There must be a cut that may be used.
        """
        from coinfer.search.cpcdrl import compression_agent, learn, partition_agent

        world = self.world(library, scenario, context)
        episodes = min(self.episodes, context.max_evaluations or self.episodes)
        hidden = (self.width, self.width)
        seed = int(context.rng.integers(_SEEDS))
        partition, compression = (np.random.default_rng((seed, agent)) for agent in (0, 1))
        return learn(
            world,
            library.data["floor"] + self.guard_band,
            partition_agent(world, partition, hidden=hidden),
            compression_agent(
                world,
                compression,
                hidden=hidden,
                sigma=self.sigma,
                sigma_decay=self.sigma_decay,
                tau=self.tau,
            ),
            replace(self.settings, episodes=episodes),
        )

    def world(self, library: Library, scenario: Scenario, context: Context) -> World:
        """Return what the agents choose among in a scenario: layers, cuts, and what plans bring."""
        from coinfer.search.cpcdrl import Evaluated, World

        box = search_box(context.task, self.family)
        choices = Choices.of(box, scenario, context)
        predict = surrogate_of(library).accuracies
        baseline = library.data["baseline"]
        environment = Environments.of([scenario])
        (whole,) = box.space.flops(box.space.full, _WORK).sum(axis=1)
        here = np.zeros(1, dtype=np.int64)

        def evaluate(action: int, ratios: Floats) -> Evaluated:
            if choices.sends_input(action):
                assert choices.input is not None
                return Evaluated(baseline, choices.input.cost, 1.0)
            decisions = choices.decisions(action, ratios)
            (accuracy,) = predicted(box, predict, decisions, baseline)
            work = box_workload(box, decisions, scenario.convention, context.task.source)
            (latency_s,) = environment.cost(work, here, "latency")
            (left,) = box.space.flops(decisions.kept, _WORK).sum(axis=1)
            return Evaluated(float(accuracy), float(latency_s), float(left / whole))

        last = context.task.graph.cuts[-1]
        alone = split_workload(context.task, [last], scenario.convention, ["float32"])
        return World(
            layers=layer_table(box),
            positions=choices.numbers / len(box.cuts),
            compressed=choices.compressed(),
            least_ratio=1.0 - box.max_sparsity,
            all_local_s=float(scenario_latency(alone, scenario).total_s[0]),
            evaluate=evaluate,
        )


@dataclass(frozen=True, eq=False)
class Choices:
    """The actions of the partition agent: cuts 0..N, as far as they may be used.

    Attributes:
        box: the plans with something on the device.
        input: the unpruned network on the server (cut 0), where that may be chosen.
        cuts: which of the box's cuts may be, in order.
    """

    box: Box
    input: Candidate | None
    cuts: tuple[int, ...]

    @classmethod
    def of(cls, box: Box, scenario: Scenario, context: Context) -> Choices:
        """Return what a scenario leaves to choose."""
        cuts = tuple(place for place, may in enumerate(allowed(box, context)) if may)
        unlimited = replace(context, max_evaluations=None)
        return cls(box, at_the_ends(box, scenario, unlimited), cuts)

    def __len__(self) -> int:
        return len(self.cuts) + (self.input is not None)

    @property
    def numbers(self) -> Floats:
        """Numbers of the cuts, 0 for the input's and N for the output's, (actions,)."""
        first = [] if self.input is None else [0]
        return np.array([*first, *(place + 1 for place in self.cuts)], dtype=np.float64)

    def sends_input(self, action: int) -> bool:
        """Whether an action is cut 0."""
        return self.input is not None and action == 0

    def compressed(self) -> tuple[tuple[int, ...], ...]:
        """Return, by action, the places in `box.rates` of the groups that are compressed."""
        groups = [self.box.space.index(name) for (name,) in self.box.rates]
        prunable = self.box.prunable[list(self.cuts)][:, groups]
        first: list[tuple[int, ...]] = [] if self.input is None else [()]
        return (*first, *(tuple(np.flatnonzero(row).tolist()) for row in prunable))

    def decisions(self, action: int, ratios: Floats) -> Decisions:
        """Return an action other than cut 0, with the ratios of the groups, as decisions."""
        place = self.cuts[action - (self.input is not None)]
        point = np.zeros((1, self.box.dimension))
        point[0, : len(ratios)] = np.clip((1.0 - ratios) / self.box.max_sparsity, 0.0, 1.0)
        point[0, -1] = unit_of_whole(place, 0, len(self.box.cuts) - 1)
        return self.box.decide(point)

    def plan(self, action: int, ratios: Floats) -> Plan:
        """Return an action, with the ratios of the groups, as a plan."""
        if self.sends_input(action):
            assert self.input is not None
            assert self.input.selection.plan is not None
            return self.input.selection.plan
        (plan,) = self.box.plans(self.decisions(action, ratios))
        return plan


def layer_table(box: Box) -> Floats:
    """Return (t, i, n, c, h, w, s, k, MACs) of the first layer of every prune group, (L, 9).

    As of eq. 9: number, type (0 fully connected, 1 convolution), channels out and in, height and
    width of the input, stride, kernel, work; each scaled to 0..1 over the groups.
    """
    from coinfer.search.ddpg import min_max

    graph = box.space.graph
    work = graph.flops(_WORK)
    place = {layer.name: number for number, layer in enumerate(graph.layers)}
    rows = []
    for t, (name,) in enumerate(box.rates, 1):
        layer = graph.layers[place[name]]
        height, width = layer.in_shape[1:] if len(layer.in_shape) == 3 else (1, 1)
        rows.append(
            [
                *(t, layer.kind != "fc", layer.out_channels, layer.in_channels),
                *(height, width, _stride(layer), max(layer.kernel, default=1), work[place[name]]),
            ]
        )
    table = np.array(rows, dtype=np.float64)
    return min_max(table, table.min(axis=0), table.max(axis=0))


def _stride(layer: Layer) -> int:
    """Return the stride of a convolution, from the sides of what it reads and makes."""
    if len(layer.in_shape) != 3 or len(layer.out_shape) != 3:
        return 1
    return max(1, round(layer.in_shape[1] / layer.out_shape[1]))
