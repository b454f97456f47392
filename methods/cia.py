"""CIA: an agent narrows the device's half layer by layer, and the autoencoder behind it.

Zhang et al. 2021 insert an autoencoder at a cut and let DDPG choose how much of every layer before
it, and of its two own layers, is kept; the reward weighs accuracy, work and bits, and knows no
link. The harness prunes the network's layers and trains an autoencoder of the widths chosen. So
`build` trains an agent per cut, whatever the link, and `select` takes the fastest of what they
found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar, get_args

import numpy as np

from coinfer.accuracy.box import Box, Decisions, search_box
from coinfer.accuracy.variables import Counts, Floats
from coinfer.checks import real_number, whole_number
from coinfer.cost import scenario_latency
from coinfer.errors import CoinferError
from coinfer.method import Context, Library, Method, MethodCard, OpenChoice
from coinfer.plan import Scenario, Selection, Skip, Task, kept_channels
from coinfer.search.problem import box_workload, predicted
from coinfer.sources import closure_hash
from methods.agents import kept
from methods.code_width import checked_width, code_coder
from methods.device_half import STATE, DeviceHalf, Original
from methods.predictor import (
    Candidate,
    allowed,
    at_the_ends,
    best_of,
    not_predictable,
    predictor_library,
    surrogate_of,
)
from methods.searching import checked_guard_band

FAMILY = "cia"

# The code is not bounded: its range is that of training images.
_EIGHT = "uniform[bits=8]"

# Share of the replay memory that is filled before the first update (section III-C).
_WARM_UP = 2 / 3


@dataclass(frozen=True)
class Cia(Method):
    """Keep ratios of the device's layers and of the code, by DDPG (Zhang et al., 2021).

    Attributes:
        episodes: of the agent of every cut.
        beta: weight of what the reward says of work and bits alone, 0..1.
        original: what work and bits are saved against: the `network` alone, which sends the
            feature itself, or with its `autoencoder`, both unpruned.
        remembered: episodes that the replay memory holds; two thirds of them are the warm-up.
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        bits: of an element of the code under the harmonised convention, 8 or 32; the papers' have
            32.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="cia",
        title="CIA",
        idea="An agent sets every layer's keep ratio before the cut, and those of the code.",
        reference=(
            "X. Zhang et al., Communication-Computation Efficient Device-Edge Co-Inference via "
            "AutoML, 2021"
        ),
        bibtex=(
            "@article{zhang2021communication, author={Zhang, Xinjie and Shao, Jiawei and Mao, "
            "Yuyi and Zhang, Jun}, title={Communication-Computation Efficient Device-Edge "
            "Co-Inference via {AutoML}}, year={2021}}"
        ),
        prunes="device",
        codec=("conv", "linear"),
        accuracy_signal="predictor",
        objective="reward",
        constraint="hard",
        stochastic=True,
        phases=("label", "fit", "search"),
        open_choices=(
            OpenChoice(
                "accuracy of an episode",
                "predicted from the family's measured plans",
                ("validate the pruned network after slight fine-tuning, as the paper",),
                "1100 trainings per cut; the paper does not say how slight its fine-tuning is",
            ),
            OpenChoice(
                "beta",
                "0.5",
                ("0", "1"),
                "the paper says within 0..1; the option `beta` changes it",
            ),
            OpenChoice(
                "what FLOPs and bits are compared with",
                "the device's half and the feature of the network alone; the encoder's work is the "
                "plan's",
                ("the network with its unpruned autoencoder",),
                "the paper says the original model, as it calls the network without autoencoder "
                "elsewhere; of maps every code then saves over 99 %, and the agent gains little by "
                "pruning it; the option `original` changes it",
            ),
            OpenChoice(
                "learning rates",
                "actor 0.0001, critic 0.001",
                ("actor 0.001, critic 0.0001, as printed",),
                "AMC, whose agent it is, has them this way round; taken for a slip",
            ),
            OpenChoice(
                "exploration",
                "deviation 0.5 in the first episode after the warm-up, then 0.95 times it per "
                "episode; uniform actions in the warm-up",
                (),
                "the paper states neither; AMC's code",
            ),
            OpenChoice(
                "replay memory",
                "100 episodes; the warm-up is the first 67, two thirds of it in whole episodes",
                (),
                "the paper states the share and not the size; AMC's code; the option `remembered`",
            ),
            OpenChoice(
                "reward baseline b",
                "moving average with decay 0.5 of the mean rewards of the minibatches, this one "
                "included; a network's first state has no value behind the last layer",
                ("the previous minibatches alone",),
                "the paper gives no decay; AMC's code",
            ),
            OpenChoice(
                "networks' start",
                "uniform within 1/sqrt(fan in), the last layers within 0.003",
                (),
                "of DDPG's paper; the action enters the critic's first layer, as in AMC's code",
            ),
            OpenChoice(
                "smallest keep ratio",
                "0.1",
                ("any above 0",),
                "nothing narrower is measured, and a predictor must not extrapolate",
            ),
            OpenChoice(
                "layers that are pruned",
                "the prune groups whose layers all lie before the cut, each by its first layer; "
                "channels that a sum ties together stay",
                ("every convolution by itself",),
                "the paper does not say what becomes of shortcuts",
            ),
            OpenChoice(
                "autoencoder",
                "3x3 kernels, ReLU after all layers but the code; where maps are 1x1, and for "
                "vectors, the linear layer alone",
                (),
                "the paper gives the widths and the stride",
            ),
            OpenChoice(
                "how plans are trained",
                "the recipe's of every method: the network pruned and fine-tuned, then an "
                "autoencoder of the widths chosen with the network frozen, then all end to end",
                ("autoencoder trained whole, then pruned with the network, as the paper",),
                "one training budget for every method",
            ),
            OpenChoice(
                "bits of an element",
                "32 under a paper's convention; 8 under the harmonised one, evenly spaced between "
                "the extremes of training images; at the link's rate without error",
                ("32 everywhere: the option `bits`",),
                "the paper gives no number of bits",
            ),
            OpenChoice(
                "accuracy at 8 bits",
                "taken to be that at 32, which is what the measured plans have",
                ("measured plans of their own",),
                "256 levels of a code; a plan that is verified is trained with its own width, and "
                "predictors do not learn from it",
            ),
            OpenChoice(
                "plan of a cut",
                "of the episodes predicted strictly above the floor, that of the highest reward; "
                "no guard band",
                ("the highest reward, whatever its accuracy",),
                "the paper leaves out cuts that lose too much after training; the reward does not "
                "know the floor; the option `guard_band` adds one",
            ),
            OpenChoice(
                "choice of the cut",
                "the fastest in the scenario; where the convention leaves cut 0 or N, also the "
                "unpruned network there",
                ("one cut for all links",),
                "the paper compares cuts and says that the choice should follow the link",
            ),
        ),
    )

    episodes: int = 1100
    beta: float = 0.5
    original: Original = "network"
    remembered: int = 100
    guard_band: float = 0.0
    bits: int = 8

    def __post_init__(self) -> None:
        for name in ("episodes", "remembered"):
            whole_number(f"cia: {name}", getattr(self, name), low=1)
        real_number("cia: beta", self.beta, "0 to 1", lambda share: 0.0 <= share <= 1.0)
        if self.original not in get_args(Original):
            allowed_ones = ", ".join(get_args(Original))
            raise CoinferError(f"cia: original is '{self.original}'; allowed: {allowed_ones}")
        checked_guard_band("cia", self.guard_band)
        checked_width("cia", self.bits)

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        """Refuse networks without measured plans."""
        return not_predictable(task, FAMILY)

    def build(self, task: Task, context: Context) -> Library:
        """Train an agent per cut.

        The library's data are those of `predictor_library`, the `episodes` of all agents, and per
        cut what its agent found: `best`, the plan of the highest reward, and `feasible`, that of
        the highest reward among those predicted above the floor, or null. What an agent found is
        kept in the cache folder: a build that was cut off goes on with the next cut.

        A budget is spent on the unpruned ends first, then on every agent alike.
        """
        library = predictor_library(task, FAMILY, context)
        box = search_box(task, FAMILY)
        surrogate = surrogate_of(library)
        floor = library.data["floor"] + self.guard_band
        places = np.flatnonzero(allowed(box, context)).tolist()
        episodes = self._affordable(context, len(places))
        baseline = library.data["baseline"]

        def accuracy(decisions: Decisions) -> float:
            return float(predicted(box, surrogate.accuracies, decisions, baseline)[0])

        rules = context.convention.flops_rules
        common = [surrogate.key, box.hash, repr(self), rules, baseline, floor, episodes, _code()]

        def agent(place: int, rng: np.random.Generator) -> dict[str, Any]:
            half = DeviceHalf(box, place, rules, self.original)
            key = [*common, place, rng.bit_generator.state]
            return kept(key, lambda: self.search(half, accuracy, floor, episodes, rng))

        with context.ledger.phase("search"):
            streams = zip(places, context.rng.spawn(len(places)), strict=True)
            found = [{"cut": place, **agent(place, rng)} for place, rng in streams]
        spent = episodes * len(places)
        context.ledger.spend("search", evaluations=spent)
        return Library({**library.data, "episodes": spent, "agents": found})

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Price the feasible plan of every cut and take the fastest; equal costs: the earliest."""
        coder = code_coder(scenario.convention, self.bits, _EIGHT)
        box = search_box(context.task, FAMILY, coder=coder)
        ends = at_the_ends(box, scenario, context)
        answer = best_of(_fastest(library, box, scenario, context), ends)
        episodes, agents = library.data["episodes"], len(library.data["agents"])
        if episodes < self.episodes * agents and answer.plan is not None:
            answer = replace(answer, status="budget")
        return answer

    def search(
        self,
        half: DeviceHalf,
        accuracy: Callable[[Decisions], float],
        floor: float,
        episodes: int,
        rng: np.random.Generator,
    ) -> dict[str, Any]:
        """Train an agent at one cut (Algorithm 1) and return its `best` and `feasible` plans.

        Args:
            half: the layers to prune.
            accuracy: of one plan.
            floor: above which a plan is feasible.
            episodes: MaxEpisode.
            rng: of all that is random.
        """
        from coinfer.search.ddpg import Ddpg, DdpgSettings, Transition

        settings = DdpgSettings(
            state_size=STATE,
            buffer_size=self.remembered * len(half.layers),
            warmup_episodes=int(np.ceil(_WARM_UP * self.remembered)),
        )
        agent = Ddpg(settings, rng)
        best: dict[str, dict[str, Any] | None] = {"best": None, "feasible": None}
        for _ in range(episodes):
            states, actions, kept = _episode(half, agent.explore)
            decisions = half.decisions(kept)
            kappa = accuracy(decisions)
            reward = half.reward(kept, kappa, self.beta)
            following = [*states[1:], None]
            for state, action, behind in zip(states, actions, following, strict=True):
                agent.remember([Transition(state, action, reward, behind)])
                agent.update()
            agent.end_episode()
            for name, eligible in (("best", True), ("feasible", kappa > floor)):
                known = best[name]
                if eligible and (known is None or reward >= known["reward"]):
                    best[name] = _found(decisions, reward, kappa)
        return best

    def _affordable(self, context: Context, agents: int) -> int:
        """Return the episodes of each agent under the budget."""
        if context.max_evaluations is None or not agents:
            return self.episodes
        ends = sum(cut.kind != "interior" for cut in context.cuts)
        return min(self.episodes, max(0, context.max_evaluations - ends) // agents)


def _episode(
    half: DeviceHalf, choose: Callable[[Floats], float]
) -> tuple[list[Floats], list[float], Counts]:
    """Go through the layers once: return states, keep ratios and units kept (lines 2-5)."""
    kept = half.units.copy()
    states: list[Floats] = []
    ratios = [1.0]
    for step in range(len(half.layers)):
        states.append(half.state(step, kept, ratios[-1]))
        ratios.append(max(choose(states[-1]), half.least))
        kept[step] = kept_channels(half.units[step], 1.0 - ratios[-1])
    return states, ratios[1:], kept


def _found(decisions: Decisions, reward: float, accuracy: float) -> dict[str, Any]:
    """Return a plan as the library has it."""
    return {
        "kept": decisions.kept[0].tolist(),
        "codec": decisions.codec[0].tolist(),
        "reward": reward,
        "accuracy": accuracy,
    }


def _fastest(library: Library, box: Box, scenario: Scenario, context: Context) -> Candidate:
    """Return the fastest of the agents' feasible plans."""
    data = library.data
    agents = [agent for agent in data["agents"] if agent["feasible"] is not None]
    if not agents:
        return Candidate(Selection(None, "infeasible", evaluations=data["episodes"]), np.inf)
    plans = [agent["feasible"] for agent in agents]
    decisions = Decisions(
        np.array([plan["kept"] for plan in plans]),
        np.array([agent["cut"] for agent in agents]),
        np.array([plan["codec"] for plan in plans]),
        np.full(len(plans), np.nan),
    )
    work = box_workload(box, decisions, scenario.convention, context.task.source)
    time = scenario_latency(work, scenario).total_s
    best = int(np.argmin(time))
    (plan,) = box.plans(decisions.take(np.array([best])))
    selection = Selection(
        plan,
        predicted_accuracy=plans[best]["accuracy"],
        predicted_latency_s=float(time[best]),
        evaluations=data["episodes"],
    )
    return Candidate(selection, float(time[best]))


@cache
def _code() -> str:
    """Return the version of what decides an agent; looking it up takes longer than some agents."""
    return closure_hash([__name__])
