"""Where a paper's text and its own numbers disagree: each question computed from rows.

A finding is no verdict on a claim: it holds one statement of a paper against another, or against
what the paper's own cost model gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from benchmarks.cells import Result
from coinfer.conventions import convention
from coinfer.cost import scenario_latency, split_workload
from coinfer.errors import UnknownNameError
from coinfer.plan import Scenario, Task
from reproduce.claims import TOLERANCE, Finding, NetworkMeasure, paper
from reproduce.facts import Answered, Case, Facts, Gap
from reproduce.networks import Network, size_reduction
from reproduce.scorecard import joined, latency_evidence, number_text

Outcome = Literal["contradiction", "no contradiction", "pending"]

FLOAT32_BITS = 32


@dataclass(frozen=True)
class Number:
    """One number of an answer, with its unit and its evidence classes."""

    label: str
    value: float
    unit: str
    evidence: str

    @property
    def text(self) -> str:
        """The number for people."""
        return f"{self.label} {number_text(self.value, self.unit)} ({self.evidence})"


@dataclass(frozen=True)
class Answer:
    """What a finding's numbers say.

    Attributes:
        contradicts: whether the paper disagrees with itself.
        text: the answer in one or two sentences.
        numbers: what it rests on.
        evidence: evidence classes of what it rests on.
    """

    contradicts: bool
    text: str
    numbers: tuple[Number, ...]
    evidence: str


@dataclass(frozen=True)
class Found:
    """A finding with its outcome.

    Attributes:
        finding: the question.
        outcome: `contradiction`, `no contradiction` or `pending`.
        text: the answer, or what is needed.
        numbers: what it rests on.
        evidence: evidence classes of these numbers.
    """

    finding: Finding
    outcome: Outcome
    text: str
    numbers: tuple[Number, ...] = ()
    evidence: str = ""


class _MissingError(Exception):
    """A number is not there; ends the computation of one finding."""

    def __init__(self, gap: Gap) -> None:
        super().__init__(gap.reason)
        self.gap = gap


def answer_all(findings: Iterable[Finding], facts: Facts) -> list[Found]:
    """Answer findings in order."""
    return [answer(finding, facts) for finding in findings]


def answer(finding: Finding, facts: Facts) -> Found:
    """Return what the rows say to a finding's question.

    Raises:
        UnknownNameError: when no computation has the name that the finding gives.
    """
    if finding.needs:
        return Found(finding, "pending", f"needs {finding.needs}")
    if finding.compute not in COMPUTED:
        raise UnknownNameError("computation of a finding", finding.compute, COMPUTED)
    try:
        found = COMPUTED[finding.compute](facts)
    except _MissingError as missing:
        return Found(finding, "pending", missing.gap.told(*finding.matrix))
    outcome: Outcome = "contradiction" if found.contradicts else "no contradiction"
    return Found(finding, outcome, found.text, found.numbers, found.evidence)


def slow_partition(facts: Facts) -> Answer:
    """Fig. 6(b): is Partition on the RPi 4B over 3G really faster than All_Local?"""
    case = _qho("raspberry-pi-4b", "3g")
    gain, evidence = _ratio(facts, case, "all_local", "neurosurgeon")
    cut = _cut_of(_result(facts, case, "neurosurgeon"))
    if gain < 1.0:
        text = (
            f"No. With the numbers that fit the figure's other ratios, the best interior cut "
            f"(after {cut}) takes {number_text(1 / gain, '')} times as long as All_Local."
        )
    else:
        text = f"Yes: All_Local takes {number_text(gain, '')} times as long."
    number = Number("All_Local / Partition", gain, "x", evidence)
    return Answer(gain < 1.0, text, (number,), evidence)


def ends_left_out(facts: Facts) -> Answer:
    """Section VI-B.3 against Fig. 6: is Partition's cut the one of least delay?"""
    links = ("3g", "4g", "5g", "wifi")
    worse: list[Number] = []
    compared: list[str] = []
    for device, end, method in (
        ("raspberry-pi-3b+", "All_Server", "all_server"),
        ("raspberry-pi-4b", "All_Local", "all_local"),
        ("jetson-tk1", "All_Local", "all_local"),
    ):
        for link in links:
            gain, evidence = _ratio(facts, _qho(device, link), "neurosurgeon", method)
            compared.append(evidence)
            if gain > 1.0:
                worse.append(Number(f"Partition / {end}, {device}, {link}:", gain, "x", evidence))
    if not worse:
        text = "Partition is never slower than either end."
        return Answer(False, text, (), joined(compared))
    most = max(worse, key=lambda number: number.value)
    text = (
        f"No. All_Server is the cut at the input and All_Local the cut at the output; one of them "
        f"beats Partition in {len(worse)} of {3 * len(links)} cells, by up to "
        f"{number_text(most.value, 'x')}. The figure's Partition must keep a layer on each side."
    )
    return Answer(True, text, tuple(worse), joined(compared))


def input_width(facts: Facts) -> Answer:
    """Section I against Fig. 6: which width has an element of the input?"""
    alexnet = _network(facts, "alexnet")
    pool5, bits = "features.12", FLOAT32_BITS
    same = size_reduction(NetworkMeasure("", "alexnet", pool5, bits, bits), alexnet)
    byte = size_reduction(NetworkMeasure("", "alexnet", pool5, bits, 8), alexnet)
    case = _qho("raspberry-pi-3b+", "3g")
    server = _result(facts, case, "all_server").latency
    partition_s, _ = _total(facts, case, "neurosurgeon")
    wide, evidence = _ratio(facts, case, "all_server", "neurosurgeon")
    narrow = (server["total_s"] - (1 - 8 / bits) * server["uplink_s"]) / partition_s
    published = _published("Q-i3.1"), _published("Q-f6a.2")
    contradicts = abs(byte - published[0]) < abs(same - published[0]) and abs(
        wide - published[1]
    ) < abs(narrow - published[1])
    text = (
        "pool5's output is 75 % smaller than the input only if the input has 8 bits an element "
        "and the feature 32; Fig. 6(a)'s ratio over All_Server fits only if both have 32."
        if contradicts
        else "One width of the input fits both statements."
    )
    numbers = (
        Number("pool5 smaller than the input by, 8-bit input:", byte, "%", "analytic"),
        Number("pool5 smaller than the input by, 32-bit input:", same, "%", "analytic"),
        Number("All_Server / Partition over 3G, 8-bit input:", narrow, "x", evidence),
        Number("All_Server / Partition over 3G, 32-bit input:", wide, "x", evidence),
        Number("published, pool5:", published[0], "%", "published"),
        Number("published, All_Server / Partition over 3G:", published[1], "x", "published"),
    )
    return Answer(contradicts, text, numbers, _evidence(numbers))


def nothing_sent(facts: Facts) -> Answer:
    """Fig. 7(b)'s 10^6 at 0.01 Mb/s against Fig. 7(a)'s 198: can both be maxima?

    More than 10^6 times faster than All_Server leaves no time to send even one element, so that
    plan sends nothing. It runs on the weaker device too, where its gain is smaller by the ratio
    of the devices' speeds alone; the method that found it there may not do worse.
    """
    strong, weak = "jetson-tk1", "raspberry-pi-3b+"
    link = "rate[rate_bps=10000.0]"
    rate_bps = 1e4
    found = {
        (device, method): _total(facts, _qho(device, link), method)
        for device in (strong, weak)
        for method in ("all_server", "all_local")
    }
    server = {device: found[device, "all_server"][0] for device in (strong, weak)}
    local = {device: found[device, "all_local"][0] for device in (strong, weak)}
    ours = joined(evidence for _, evidence in found.values())
    mixed = joined((ours, "published"))
    claimed_strong, claimed_weak = _published("Q-f7b.4"), _published("Q-f7a.4")
    sending = server[strong] / (FLOAT32_BITS / rate_bps)
    plan_s = server[strong] / claimed_strong
    share = plan_s / local[strong]
    implied = server[weak] / (share * local[weak])
    contradicts = sending < claimed_strong and implied > claimed_weak
    text = (
        f"No. Sending a single element takes so long that the gain on the {strong} would stay "
        f"below {number_text(sending, 'x')}, so the plan behind {number_text(claimed_strong, 'x')} "
        f"sends nothing and needs at most {number_text(100 * share, '%')} of the network's FLOPs; "
        f"on the {weak} the same plan gains {number_text(implied, 'x')}, more than the "
        f"{number_text(claimed_weak, 'x')} reported as the maximum. (All_Server taken as the "
        "worst method.)"
        if contradicts
        else "Both can hold."
    )
    numbers = (
        Number(f"largest gain on the {strong} if one element is sent:", sending, "x", ours),
        Number("share of the network's FLOPs in the plan, at most:", 100 * share, "%", mixed),
        Number(f"gain of that plan on the {weak}, at least:", implied, "x", mixed),
        Number("published maximum there:", claimed_weak, "x", "published"),
    )
    return Answer(contradicts, text, numbers, mixed)


def whole_network_ceiling(facts: Facts) -> Answer:
    """Fig. 7 at 0.01 Mb/s: how much All_Server / All_Local is, and what 198 and 10^6 then need.

    A plan that sends nothing and prunes nothing is All_Local, so All_Server / All_Local bounds its
    gain over All_Server; a larger gain needs a smaller share of the FLOPs, or a lower rate. Both
    sizes of the network's input are taken: 3x224x224 and 3x32x32, in 32-bit floats.
    """
    claimed = {"raspberry-pi-3b+": _published("Q-f7a.4"), "jetson-tk1": _published("Q-f7b.4")}
    weak, strong = claimed
    link, rate_bps = "rate[rate_bps=10000.0]", 1e4
    numbers: list[Number] = []
    told: list[str] = []
    possible: list[bool] = []
    for model in ("alexnet", "alexnet-cifar"):
        shares: dict[str, float] = {}
        for device, published in claimed.items():
            case = Case(model, device, "tesla-p100", link, "qho2024")
            server, local = _row(facts, case, "all_server"), _row(facts, case, "all_local")
            bits = server.result.uplink_bits
            server_s, local_s = (row.result.latency["total_s"] for row in (server, local))
            if bits is None or local_s * published <= server_s - bits / rate_bps:
                raise _MissingError(Gap(f"All_Server of {model} sends no bits that can be priced"))
            evidence = joined(map(latency_evidence, (server, local)))
            mixed = joined((evidence, "published"))
            ceiling = server_s / local_s
            shares[device] = ceiling / published
            # bits / rate + what the server computes = published * All_Local
            needed_bps = bits / (published * local_s - (server_s - bits / rate_bps))
            where = f"{model} ({bits:,.0f} bits) on the {device}"
            numbers += [
                Number(f"All_Server at 0.01 Mb/s, {where}:", server_s, "s", evidence),
                Number(f"All_Local, {where}:", local_s, "s", evidence),
                Number(f"largest gain of a whole network, {where}:", ceiling, "x", evidence),
                Number(f"share of the FLOPs for the published gain, {where}:",
                       100 * shares[device], "%", mixed),
                Number(f"rate for the published gain of a whole network, {where}:",
                       needed_bps / 1e6, "Mb/s", mixed),
            ]  # fmt: skip
            told.append(
                f"{where} at most {number_text(ceiling, 'x')} with the whole network "
                f"({number_text(published, 'x')} needs {number_text(100 * shares[device], '%')} of "
                f"its FLOPs, or {number_text(needed_bps / 1e6, 'Mb/s')})"
            )
        # The plan that is small enough for the one gain would exceed the other, a maximum.
        possible.append(shares[strong] >= shares[weak] * (1.0 - TOLERANCE["max"]))
    text = f"Sending nothing gains, over All_Server at 0.01 Mb/s: {'; '.join(told)}. " + (
        "One share serves both."
        if all(possible)
        else f"A plan small enough for the {strong} would gain more on the {weak} than the "
        "largest gain reported there."
    )
    return Answer(not all(possible), text, tuple(numbers), _evidence(numbers))


def table_iv_ranks(facts: Facts) -> Answer:
    """Table IV: do MSE, adjusted R2 and AIC rank the regressors alike, as on one test set?

    For one data set and one number of parameters, adjusted R2 falls and AIC rises strictly with
    the MSE, so the three columns must rank alike.
    """
    del facts  # the published numbers alone decide it
    regressors = ("gradient_boosting", "bagging", "ada_boost", "random_forest", "tree", "linear")
    column = {
        name: [_published(f"Q-t4.{4 * i + j}") for i in range(len(regressors))]
        for j, name in enumerate(("MSE", "R2", "AIC"), start=1)
    }
    by_mse = sorted(range(len(regressors)), key=lambda i: column["MSE"][i])
    by_r2 = sorted(range(len(regressors)), key=lambda i: -column["R2"][i])
    by_aic = sorted(range(len(regressors)), key=lambda i: column["AIC"][i])
    contradicts = not by_mse == by_r2 == by_aic
    best = regressors[by_mse[0]], regressors[by_r2[0]]
    text = (
        f"No. {best[0]} has the least MSE and {best[1]} the best adjusted R2 and AIC, which on "
        "one set of samples with one number of parameters cannot both be; the columns come from "
        "different fits or different samples, and the paper does not say which."
        if contradicts
        else "Yes, all three rank alike."
    )
    numbers = tuple(
        Number(f"{name}, rank by {title}:", order.index(i) + 1, "", "published")
        for i, name in enumerate(regressors)
        for title, order in (("MSE", by_mse), ("adjusted R2", by_r2), ("AIC", by_aic))
    )
    return Answer(contradicts, text, numbers, "published")


def neurosurgeon_on_vgg16(facts: Facts) -> Answer:
    """CPCDRL, Fig. 5(a): can Neurosurgeon take 314 ms on VGG16 under the paper's cost model?"""
    case = Case("vgg16", "cpcdrl-edge", "cpcdrl-cloud", "200-kbyte-s", "cpcdrl2024")
    methods = ("neurosurgeon", "all_server", "all_local")
    found = {name: _total(facts, case, name) for name in methods}
    ms = {name: 1e3 * seconds for name, (seconds, _) in found.items()}
    best, cut = ms["neurosurgeon"], _cut_of(_result(facts, case, "neurosurgeon"))
    place = "at the input, which it may send raw" if cut == "input" else f"after {cut}"
    inner = 1e3 * _best_interior_s(facts, case)
    published = _published("C-f5a.4")
    # Within the tolerance of a ratio is as good as equal.
    possible = any(
        abs(value / published - 1.0) <= TOLERANCE["ratio"] for value in (inner, *ms.values())
    )
    text = (
        f"No. By the paper's own model the best cut is {place}, and Neurosurgeon takes "
        f"{number_text(best, 'ms')}; with a layer on each side it takes "
        f"{number_text(inner, 'ms')}. Neither is {number_text(published, 'ms')}, and CPCDRL's "
        f"{number_text(_published('C-f5a.1'), 'ms')} would be "
        f"{number_text(100 * _published('C-f5a.1') / best, '%')} of the former."
        if not possible
        else f"Yes: {number_text(best, 'ms')} with every cut, {number_text(inner, 'ms')} inside."
    )
    numbers = (
        Number("Neurosurgeon, every cut:", best, "ms", found["neurosurgeon"][1]),
        Number("best interior cut:", inner, "ms", "analytic"),
        Number("All_Server:", ms["all_server"], "ms", found["all_server"][1]),
        Number("All_Local:", ms["all_local"], "ms", found["all_local"][1]),
        Number("published (116 ms / 0.37):", published, "ms", "published"),
    )
    return Answer(not possible, text, numbers, _evidence(numbers))


def winners(figure: str, facts: Facts) -> Answer:
    """Does the fastest method of a figure depend on whose accounting is used?"""
    from reproduce.winners import compare, names, told

    places = compare(facts, figure)
    if isinstance(places, Gap):
        raise _MissingError(places)
    evidence = joined(w.evidence for one in places for w in (one.paper, one.harmonised))
    apart = [one for one in places if not one.agrees]
    numbers = (
        Number("scenarios:", len(places), "", evidence),
        Number("with another winner:", len(apart), "", evidence),
        *(
            Number(
                f"{one.device} at {one.where}, {names(one.paper)} / {names(one.harmonised)}:",
                one.paper.seconds / one.harmonised.seconds,
                "x",
                evidence,
            )
            for one in apart
        ),
    )
    return Answer(bool(apart), told(places), numbers, evidence)


def literal_reading(facts: Facts) -> Answer:
    """Algorithm 1 as printed beside its restatement, at equal numbers of evaluations."""
    from reproduce.optimisers import overall, ratios

    if not facts.comparisons:
        raise _MissingError(
            Gap("no comparison of optimisers ships (`coinfer compare-optimisers` makes one)")
        )
    found = facts.comparisons[-1]
    if not {"qho", "qho-literal"} <= {*found.optimisers}:
        raise _MissingError(Gap(f"comparison {found.name} lacks a reading of Algorithm 1"))
    evidence = found.summary[0]["evidence"]
    (ours, whole), (printed, share) = (overall(found, n) for n in ("qho", "qho-literal"))
    gains = ratios(found, "qho-literal", "qho")
    worse = int((gains > 1.0 + TOLERANCE["ratio"]).sum())
    better = int((gains < 1.0 - TOLERANCE["ratio"]).sum())
    numbers = (
        Number("restated, median over best known:", ours, "x", evidence),
        Number("as printed, median over best known:", printed, "x", evidence),
        Number("restated, runs with a plan:", 100 * whole, "%", evidence),
        Number("as printed, runs with a plan:", 100 * share, "%", evidence),
    )
    text = (
        f"With {found.evaluations:,} evaluations and {found.seeds} seeds in each of "
        f"{len(found.cells)} cells, {number_text(100 * share, '%')} of the runs as printed find a "
        f"plan that is accurate enough ({number_text(100 * whole, '%')} restated); their median is "
        f"slower than the restatement's by more than {100 * TOLERANCE['ratio']:g} % in {worse} "
        f"cells and faster in {better}."
    )
    return Answer(share < whole or worse > better, text, numbers, evidence)


COMPUTED: dict[str, Callable[[Facts], Answer]] = {
    "slow_partition": slow_partition,
    "ends_left_out": ends_left_out,
    "input_width": input_width,
    "nothing_sent": nothing_sent,
    "whole_network_ceiling": whole_network_ceiling,
    "table_iv_ranks": table_iv_ranks,
    "neurosurgeon_on_vgg16": neurosurgeon_on_vgg16,
    "literal_reading": literal_reading,
    "winners_fig7": partial(winners, "fig7"),
    "winners_fig9": partial(winners, "fig9"),
    "winners_fig11": partial(winners, "fig11"),
}


def _qho(device: str, link: str) -> Case:
    return Case("alexnet", device, "tesla-p100", link, "qho2024")


def _row(facts: Facts, case: Case, method: str) -> Answered:
    found = facts.row(case, method)
    if isinstance(found, Gap):
        raise _MissingError(found)
    total_s = found.result.latency["total_s"]
    if not 0.0 < total_s < math.inf:
        raise _MissingError(Gap(f"{method} over {case.link} takes {total_s} s"))
    return found


def _result(facts: Facts, case: Case, method: str) -> Result:
    return _row(facts, case, method).result


def _total(facts: Facts, case: Case, method: str) -> tuple[float, str]:
    """A latency in seconds, and its evidence class."""
    row = _row(facts, case, method)
    return row.result.latency["total_s"], latency_evidence(row)


def _ratio(facts: Facts, case: Case, slow: str, fast: str) -> tuple[float, str]:
    """Slow / fast, and its evidence classes."""
    (slow_s, above), (fast_s, below) = _total(facts, case, slow), _total(facts, case, fast)
    return slow_s / fast_s, joined((above, below))


def _evidence(numbers: Iterable[Number]) -> str:
    return joined(number.evidence for number in numbers)


def _network(facts: Facts, model: str) -> Network:
    network = facts.networks.get(model)
    if network is None:
        raise _MissingError(Gap(f"the layer graph of '{model}' is not at hand"))
    return network


def _cut_of(result: Result) -> str:
    return str((result.plan or {}).get("cut", {}).get("after", "?"))


def _published(claim_id: str) -> float:
    """A number that a paper states, from the claims file."""
    claims = {claim.id: claim for claim in paper(claim_id[0]).claims}
    theirs = claims[claim_id].theirs
    assert theirs is not None
    return theirs


def _best_interior_s(facts: Facts, case: Case) -> float:
    """Least latency over the interior cuts of an unpruned network, under the case's convention."""
    from coinfer.presets import built_in_presets

    network, presets = _network(facts, case.model), built_in_presets()
    scenario = Scenario(
        presets.device(case.device),
        presets.server(case.server),
        presets.link(case.link),
        convention(case.convention),
    )
    task = Task(case.model, network.graph, network.source)
    inner = [cut for cut in network.graph.cuts if cut.kind == "interior"]
    # A convention's first payload format is the one of interior cuts.
    work = split_workload(task, inner, scenario.convention, scenario.convention.coders[0])
    return float(scenario_latency(work, scenario).total_s.min())
