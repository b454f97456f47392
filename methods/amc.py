"""AMC on the device alone: the whole network is pruned by an agent, and nothing is sent.

"Edge(Pruned) Deployment" of Tang et al. 2024: He et al.'s AMC under several caps on the work; the
plan of least work that is accurate enough runs on the device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from coinfer.accuracy.box import Box, Decisions, search_box
from coinfer.accuracy.variables import Counts
from coinfer.checks import whole_number
from coinfer.cost import plan_workload, scenario_latency
from coinfer.method import Context, Library, Method, MethodCard, OpenChoice
from coinfer.plan import Scenario, Selection, Skip, Task
from coinfer.search.amc import Compressed, Compression, compress
from coinfer.search.problem import predicted
from coinfer.sources import closure_hash
from methods import agents
from methods.predictor import not_predictable, predictor_library, surrogate_of
from methods.searching import checked_guard_band

# Shares of the work that may stay, the most first: 0.9, 0.8 ... 0.2.
_PRESERVED = tuple(tenths / 10 for tenths in range(9, 1, -1))
# Of the episodes, so many are of uniform actions; a quarter where there are fewer than 400.
_WARMUP = 100


@dataclass(frozen=True)
class Amc(Method):
    """Keep ratios of every layer by DDPG, all on the device (He et al., ECCV 2018).

    Attributes:
        guard_band: accuracy (0..1) that predictions must have beyond the floor.
        episodes: of the agent of every cap; a quarter of them, at most 100, is its warm-up.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="amc",
        title="Edge(Pruned)",
        idea="An agent sets every layer's keep ratio under a cap on the work; all on the device.",
        reference=(
            "Y. He et al., AMC: AutoML for Model Compression and Acceleration on Mobile Devices, "
            "ECCV 2018; as a baseline of Tang et al. 2024"
        ),
        bibtex=(
            "@inproceedings{he2018amc, author={He, Yihui and Lin, Ji and Liu, Zhijian and Wang, "
            "Hanrui and Li, Li-Jia and Han, Song}, title={AMC: AutoML for Model Compression and "
            "Acceleration on Mobile Devices}, booktitle={ECCV}, pages={784--800}, year={2018}}"
        ),
        cuts=frozenset({"output"}),
        prunes="whole",
        accuracy_signal="predictor",
        objective="accuracy under a cap on the work",
        constraint="hard",
        sees=frozenset(),
        needs_scenario="no",
        stochastic=True,
        phases=("label", "fit", "search"),
        fidelity="repo_derived",
        open_choices=(
            OpenChoice(
                "accuracy of an episode",
                "predicted from the measured 'prune-partition' plans at the last cut",
                ("validate the pruned network without fine-tuning, as the paper",),
                "every method is judged by networks that were fine-tuned; 3,200 trainings cannot "
                "be afforded",
            ),
            OpenChoice(
                "caps on the work",
                "0.9, 0.8 ... 0.2 of the network's; of the caps' best plans that are predicted "
                "strictly above the floor the one of least work, else the whole network; no guard "
                "band",
                ("one given cap",),
                "Tang et al. state none; the option `guard_band` adds a guard band",
            ),
            OpenChoice(
                "reward",
                "the negative error, the same for every step of an episode",
                ("the negative error times the logarithm of the work, without a cap",),
                "the paper's for a limited budget; a cap is swept, so the floor is met by choice",
            ),
            OpenChoice(
                "state",
                "the paper's eleven numbers, scaled to 0..1",
                ("the authors' code: without height, width and work, with type and weights",),
                "as printed",
            ),
            OpenChoice(
                "episodes",
                "400 for each cap, the first 100 with uniform actions",
                ("800, as the authors' code",),
                "as the paper is remembered; exploration has ended by then (0.5 times 0.95 per "
                "episode); the option `episodes`",
            ),
            OpenChoice(
                "what an action keeps",
                "output channels of a prune group, counted by units; at least 0.2 of them",
                ("input channels, in multiples of 8",),
                "a group's output channels are the next layer's inputs; counts as every method's",
            ),
            OpenChoice(
                "what the agent remembers",
                "the share that was really kept, behind the action wall",
                ("the action before it was limited",),
                "the paper does not say",
            ),
            OpenChoice(
                "weights after pruning",
                "L1, one-shot, then fine-tuned as the measured plans are",
                ("least squares on the next layer's inputs",),
                "fine-tuning makes up for it; the measured plans have no other",
            ),
        ),
    )
    family: ClassVar[str] = "prune-partition"
    same_for_any_floor: ClassVar[bool] = True

    guard_band: float = 0.0
    episodes: int = 400

    def __post_init__(self) -> None:
        checked_guard_band("amc", self.guard_band)
        whole_number("amc: episodes", self.episodes, low=1)

    def supports(self, task: Task, scenario: Scenario | None = None) -> Skip | None:
        """Refuse networks without measured plans."""
        return not_predictable(task, self.family)

    def build(self, task: Task, context: Context) -> Library:
        """Train an agent for every cap.

        The library's data are those of `predictor_library`, how many `episodes` were run, and what
        was `found`: the whole network, then the best plan of each cap, the mildest first, as
        `preserve`, `kept`, `work` and `accuracy`. What an agent found is kept in the cache folder:
        a build that was cut off goes on with the next cap. A budget ends the search at that many
        episodes.
        """
        library = predictor_library(task, self.family, context)
        box = search_box(task, self.family)
        surrogate = surrogate_of(library)
        baseline = library.data["baseline"]
        rules = context.convention.flops_rules
        groups = np.array(sorted(box.space.index(name) for (name,) in box.rates), dtype=np.int64)

        def accuracy(kept: Counts) -> float:
            local = _local(box, kept)
            return float(predicted(box, surrogate.accuracies, local, baseline)[0])

        known = [surrogate.key, box.hash, baseline, rules, closure_hash([__name__])]

        def agent(given: Compression, episodes: int, rng: np.random.Generator) -> dict[str, Any]:
            warmup = min(_WARMUP, self.episodes // 4)

            def search() -> dict[str, Any]:
                best = compress(given, accuracy, episodes, warmup, rng)
                assert best is not None
                return _row(given.preserve, best)

            key = [*known, given.preserve, episodes, warmup, rng.bit_generator.state]
            return agents.kept(key, search)

        whole = Compression(box.space, groups, 1.0, rules)
        caps = [given for share in _PRESERVED if (given := replace(whole, preserve=share)).possible]
        unpruned = tuple(box.space.full.tolist())
        found = [_row(1.0, Compressed(unpruned, whole.work(box.space.full), baseline))]
        wanted = self.episodes * len(caps)
        left = wanted if context.max_evaluations is None else min(wanted, context.max_evaluations)
        spent = 0
        with context.ledger.phase("search"):
            for given, rng in zip(caps, context.rng.spawn(len(caps)), strict=True):
                episodes = min(self.episodes, left - spent)
                if episodes < 1:
                    break
                found.append(agent(given, episodes, rng))
                spent += episodes
        context.ledger.spend("search", evaluations=spent)
        return Library({**library.data, "episodes": spent, "wanted": wanted, "found": found})

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        """Take the plan of least work that is accurate enough, whatever the link.

        A budget smaller than the number of plans looks at the mildest caps first.
        """
        box = search_box(context.task, self.family)
        floor = library.data["floor"] + self.guard_band
        found = library.data["found"][: context.max_evaluations]
        whole = len(found) == len(library.data["found"])
        searched = library.data["episodes"] == library.data["wanted"]
        # Of the whole network the accuracy is measured, so that it is always acceptable.
        acceptable = [row for row in found[1:] if row["accuracy"] > floor]
        best = min([*found[:1], *acceptable], key=lambda row: row["work"])
        (plan,) = box.plans(_local(box, np.array(best["kept"], dtype=np.int64)))
        work = plan_workload(plan, context.task, scenario.convention)
        context.ledger.spend("search", evaluations=len(found))
        return Selection(
            plan,
            status="feasible" if whole and searched else "budget",
            predicted_accuracy=best["accuracy"],
            predicted_latency_s=float(scenario_latency(work, scenario).total_s),
            evaluations=len(found),
        )


def _local(box: Box, kept: Counts) -> Decisions:
    """Return the plan that keeps these units, (G,), all of it on the device."""
    last = [cut.kind for cut in box.cuts].index("output")
    nothing = np.zeros((1, 0), dtype=np.int64)
    return Decisions(kept[None], np.array([last]), nothing, np.array([np.nan]))


def _row(preserve: float, found: Compressed) -> dict[str, Any]:
    """Return what was found under a cap as the library has it."""
    return {
        "preserve": preserve,
        "kept": list(found.kept),
        "work": found.work,
        "accuracy": found.accuracy,
    }
