"""The box of plans that is sampled, predicted and searched: one, for all three (design ruling 6).

A box is the plans of one family for one network. A point of the unit cube is mapped to decisions
(units kept per prune group, cut, codec, noise), and decisions to plans, to the features that a
surrogate sees, and back. Features are a function of the plan alone: the same plan has the same
features, hence one predicted accuracy, wherever it comes from.

| family | decision variables |
|---|---|
| `qho` | a sparsity per prune group, the cut, P1 to P8 (Mu et al. 2024: 16 for AlexNet) |
| `noise` | those of `qho` and the SNR |
| `prune-partition` | those of `qho` without the codec |
| `fpgm` | one sparsity for all convolutions, the cut |
| `two-step` | those of `fpgm` and a second sparsity, of the layer before the cut |
| `bottlenet++` | the cut, code channels, spatial |
| `cia` | a sparsity per prune group (behind the cut without effect), the cut, two of the code |
| `cpcdrl` | those of `cia` without the code |
| `three-step` | a sparsity per prune group (behind the cut without effect), the cut, h, flatten |
| `three-step-jscc` | those of `three-step` and the SNR |
| `three-step-bsc` | those of `three-step` and the probability of a flipped bit |
| `ipdr` | those of `three-step` |
| `paa` | a sparsity per prune group (behind the cut without effect), the cut, code channels and \
stride, the SNR |
| `quantised` | the cut, bits an element |

Channels that a sum ties together (residual networks) are not pruned, except before a cut of
`two-step`: only inner widths shrink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coinfer.accuracy.codec_variables import (
    BITS,
    IDENTITY,
    AsymmetricCode,
    BottleNet,
    Cia,
    CodecVariables,
    ConvLinear,
    Crossing,
    NoCodec,
    QuantisedBits,
    ThreeStep,
)
from coinfer.accuracy.families import (
    FAMILIES,
    Family,
    block_cuts,
    conv_groups,
    free_groups,
    group_before,
    is_map,
    is_rectified,
)
from coinfer.accuracy.variables import Counts, Floats, Variable, unit_of_whole, whole
from coinfer.checks import real_number
from coinfer.compression.pruning import device_only
from coinfer.compression.space import PruneSpace
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.graph import Cut
from coinfer.parts import NO_PART
from coinfer.plan import CutRef, Plan, Task, kept_channels
from coinfer.refs import Ref, parse_ref
from coinfer.serial import content_hash, to_data


@dataclass(frozen=True, eq=False)
class Decisions:
    """B plans of a box, as numbers.

    Attributes:
        kept: units kept per prune group, (B, G).
        cut: positions in the box's cuts, (B,).
        codec: rows of the codec's variables, (B, K); 0 where a plan has no such part.
        level: how noisy the channel is, (B,): an SNR in dB or a probability, as the family's
            `noise` says; NaN where nothing goes through one.
        at: what crosses, where a box has worked it out already.
    """

    kept: Counts
    cut: Counts
    codec: Counts
    level: Floats
    at: Crossing | None = None

    def __len__(self) -> int:
        """B."""
        return len(self.cut)

    def take(self, rows: Counts) -> Decisions:
        """Return some of them, in the order of their numbers."""
        return Decisions(self.kept[rows], self.cut[rows], self.codec[rows], self.level[rows])


@dataclass(frozen=True)
class Box:
    """The plans of one family for one network. `search_box` makes one.

    Attributes:
        name: the family's.
        family: what its plans have in common.
        model: the network's name.
        space: its prune groups and counts.
        cuts: where plans may cut.
        rates: names of the prune groups that each sparsity stands for.
        max_sparsity: sparsities are 0 to this.
        levels: range of the noise's level, of a noisy family.
        coder: how plans send what crosses, where the family does not say.
        zero_inactive: whether variables of a codec that a plan does not have are features of value
            0; else they have the value that narrows least, which is what having none does.
    """

    name: str
    family: Family
    model: str
    space: PruneSpace
    cuts: tuple[Cut, ...]
    rates: tuple[tuple[str, ...], ...]
    max_sparsity: float = 0.9
    levels: tuple[float, float] = (0.0, 0.0)
    coder: str = "float32"
    zero_inactive: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the data, not what was computed from it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """Decision variables: coordinates of the unit cube and columns of the features, in order.

        Sparsities, the second sparsity, the cut, the codec's variables, the noise's
        level.
        """
        most = self.max_sparsity
        by_group = self.family.by_group
        found = [
            Variable(f"sparsity[{groups[0]}]" if by_group else "sparsity", 0, most, -1)
            for groups in self.rates
        ]
        if self._twice:
            found.append(Variable("second_sparsity", 0, most, -1))
        found.append(Variable("cut", self._first_cut, self._first_cut + len(self.cuts) - 1))
        found += self.codec.variables
        noise = self.family.noise
        if noise is not None:
            better = 1 if noise.clearer == "high" else -1
            effect, absent = (0, 0.0) if self.zero_inactive else (better, self.clearest)
            found.append(Variable(noise.option, *self.levels, effect, absent=absent))
        return tuple(found)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the variables."""
        return tuple(variable.name for variable in self.variables)

    @property
    def clearest(self) -> float:
        """The level at which a noisy family's channel has the least noise."""
        noise = self.family.noise
        return self.levels[1 if noise is not None and noise.clearer == "high" else 0]

    @property
    def dimension(self) -> int:
        """D, the number of variables."""
        return len(self.variables)

    @cached_property
    def hash(self) -> str:
        """Content hash of all that says which plans are in the box and what their features are."""
        return content_hash(to_data(self))

    @cached_property
    def codec(self) -> CodecVariables:
        """The codecs among which plans choose."""
        unpruned = np.tile(self.space.full, (len(self.cuts), 1))
        at = self.crossing(unpruned, np.arange(len(self.cuts)))
        match self.family.codec:
            case "none":
                return NoCodec()
            case "bottlenet++":
                return BottleNet(int(at.channels.max()))
            case "cia":
                return Cia.of(self.cuts, self.max_sparsity)
            case "three-step":
                return ThreeStep(int(at.channels.max()))
            case "asymmetric":
                return AsymmetricCode(int(at.channels.max()))
            case "quantised":
                return QuantisedBits()
            case _:
                channels = int(at.channels[at.maps].max(initial=1))
                vector = int(at.elements[at.vectors].max(initial=1))
                return ConvLinear(channels, vector, self.family.noisy, self.zero_inactive)

    def decide(self, u: ArrayLike) -> Decisions:
        """Map points of the unit cube to decisions.

        Sparsities and the noise's level are linear in u; cuts, kernels and strides are equally
        likely; widths are log-uniform between 1 and the width of what they read.

        Args:
            u: (B, D), within 0..1.

        Raises:
            CoinferError: when `u` is not of that form.
        """
        points = self._checked(u)
        kept = self._kept_at(self.max_sparsity * points[:, : len(self.rates)])
        cut = whole(self._column(points, "cut"), 0, len(self.cuts) - 1)
        kept = np.where(self.prunable[cut], kept, self.space.full)
        if self._twice:
            second = self.max_sparsity * self._column(points, "second_sparsity")
            rows, groups = self._before_cut(cut)
            kept[rows, groups] = kept_channels(kept[rows, groups], second[rows])
        at = self.crossing(kept, cut)
        codec = self.codec.rows(points[:, self.codec_columns], at)
        level = np.full(len(points), np.nan)
        noise = self.family.noise
        if noise is not None:
            low, high = self.levels
            drawn = low + (high - low) * self._column(points, noise.option)
            rounded = np.clip(np.round(drawn, noise.decimals), low, high)
            level = np.where(at.sent, rounded, np.nan)
        return Decisions(kept, cut, codec, level, at)

    def units(self, decisions: Decisions) -> Floats:
        """Return points (B, D) of the unit cube that `decide` maps to these decisions.

        Raises:
            CoinferError: when a value lies outside the box: naming it and its range.
        """
        at = self.crossing_of(decisions)
        parts = [
            self._sparsities(decisions) / self.max_sparsity,
            unit_of_whole(decisions.cut, 0, len(self.cuts) - 1),
            self.codec.units(decisions.codec, at),
        ]
        if self.family.noisy:
            low, high = self.levels
            level = np.where(np.isnan(decisions.level), self.clearest, decisions.level)
            parts.append((level - low) / (high - low))
        points = np.column_stack(parts)
        outside = (points < 0) | (points > 1)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            wrong = self.variables[column]
            value = self.features(decisions)[row, column]
            raise CoinferError(
                f"{wrong.name} is {value:g}, outside the box; accepted is {wrong.low:g} to "
                f"{wrong.high:g}"
            )
        return points

    def features(self, decisions: Decisions) -> Floats:
        """Return what a surrogate sees, (B, D): the values of the variables, in their order.

        A sparsity is the least that removes what is removed; the cut is its number (1..N as in the
        paper, 0 for the input); what a plan does not have is `Variable.absent`.
        """
        codec, columns = decisions.codec, self.codec_columns
        counted: Any = codec
        if isinstance(self.codec, Cia):
            counted = self.codec.sparsities(codec, self.crossing_of(decisions))
        features = np.empty((len(decisions), self.dimension))
        features[:, : columns.start - 1] = self._sparsities(decisions)
        features[:, columns.start - 1] = decisions.cut + self._first_cut
        features[:, columns] = np.where(codec == 0, self._absent[columns], counted)
        if self.family.noisy:
            level = decisions.level
            features[:, -1] = np.where(np.isnan(level), self._absent[-1], level)
        return features

    def plans(self, decisions: Decisions) -> tuple[Plan, ...]:
        """Return decisions as plans, B of them."""
        at = self.crossing_of(decisions)
        return tuple(self._plan(decisions, at, index) for index in range(len(decisions)))

    def read(self, plans: Sequence[Plan]) -> Decisions:
        """Return plans as decisions; sparsities and noise may lie beyond the ranges of the box.

        Raises:
            CoinferError: for a plan of another network, family or cut: naming the plan, what is
                wrong with it and what is accepted.
        """
        count = len(plans)
        kept = np.tile(self.space.full, (count, 1))
        cut = np.zeros(count, dtype=np.int64)
        codec = np.zeros((count, len(self.codec.variables)), dtype=np.int64)
        level = np.full(count, np.nan)
        for index, plan in enumerate(plans):
            try:
                cut[index] = self._cut_of(plan)
                kept[index] = self._kept_of(plan, int(cut[index]))
                at = self.crossing(kept[[index]], cut[[index]])
                codec[index] = self.codec.row(getattr(plan, self.codec.part), at)
                level[index] = self._level_of(plan, sent=bool(at.sent[0]))
                self._check_parts(plan)
            except CoinferError as error:
                raise CoinferError(
                    f"plan {plan.hash[:12]} is none of the '{self.name}' plans of {self.model}: "
                    f"{error}"
                ) from None
        return Decisions(kept, cut, codec, level)

    def every(self) -> Decisions | None:
        """Return all plans, each once, where they are few enough to measure them all; else None.

        Cut N first, as there nothing is lost; then width by width, most bits first, so that the
        eight bits of most papers are there early, cut by cut.
        """
        if self.family.codec != "quantised":
            return None
        ends = np.flatnonzero(~self._interior)[::-1]
        rows = [(end, 0) for end in ends]
        for bits in reversed(BITS):
            rows += [(place, bits) for place in np.flatnonzero(self._interior)]
        cut, bits = np.array(rows, dtype=np.int64).T
        kept = np.tile(self.space.full, (len(rows), 1))
        return Decisions(kept, cut, bits[:, None], np.full(len(rows), np.nan))

    def crossing(self, kept: Counts, cut: Counts) -> Crossing:
        """Return what crosses: units kept (B, G), positions in the box's cuts (B,)."""
        fixed, per_unit = self._crossing
        elements = fixed[cut] + np.einsum("bg,bg->b", per_unit[cut], kept)
        height, width = self._sides[cut].T
        channels = elements // (height * width)
        return Crossing(self._interior[cut], channels, height, width, self._rectified[cut], cut)

    def crossing_of(self, decisions: Decisions) -> Crossing:
        """Return what crosses in B plans."""
        return decisions.at or self.crossing(decisions.kept, decisions.cut)

    def unchanged(self, decisions: Decisions) -> NDArray[np.bool_]:
        """Return which plans compute what the unpruned network does, (B,): `Plan.unchanged`."""
        whole_network: NDArray[np.bool_] = (decisions.kept == self.space.full).all(axis=1)
        if not whole_network.any():  # as nearly always in a search
            return whole_network
        noisy = ~np.isnan(decisions.level)
        encodes = self.codec.encodes(decisions.codec, self.crossing_of(decisions))
        return whole_network & ~noisy & ~encodes

    def elements(self, decisions: Decisions) -> Counts:
        """Return the elements behind the encoders, (B,).

        At cut 0 they are the input's, at cut N the output's, which is not sent.
        """
        return self.codec.elements(decisions.codec, self.crossing_of(decisions))

    @cached_property
    def positions(self) -> Counts:
        """Positions of the box's cuts among the legal cuts of the graph, (len(cuts),)."""
        place = {cut.after: number for number, cut in enumerate(self.space.graph.cuts)}
        return np.array([place[cut.after] for cut in self.cuts], dtype=np.int64)

    @cached_property
    def prunable(self) -> NDArray[np.bool_]:
        """Whether a prune group may be pruned at a cut, (len(cuts), G).

        Before the cut again, of `two-step`, apart.
        """
        rated = np.tile(self._rate_of >= 0, (len(self.cuts), 1))
        if self.family.prunes != "device":
            return rated
        names = np.array(self.space.names)
        before = [np.isin(names, device_only(self.space, cut.index)) for cut in self.cuts]
        return rated & np.array(before)

    @cached_property
    def codec_columns(self) -> slice:
        """Which of the variables are the codec's."""
        start = self.names.index("cut") + 1
        return slice(start, start + len(self.codec.variables))

    @property
    def _twice(self) -> bool:
        return self.family.prunes == "twice"

    @cached_property
    def _absent(self) -> Floats:
        """What stands for a variable that a plan does not have, (D,)."""
        return np.array([variable.absent for variable in self.variables])

    @cached_property
    def _crossing(self) -> tuple[Counts, Counts]:
        """Elements at each cut: fixed ones (len(cuts),), and those per unit kept (len(cuts), G)."""
        fixed = np.zeros(len(self.cuts), dtype=np.int64)
        per_unit = np.zeros((len(self.cuts), len(self.space.groups)), dtype=np.int64)
        for cut, position in enumerate(self.positions.tolist()):
            fixed[cut] = self.space.crossing[position].fixed
            for group, count in self.space.crossing[position].terms:
                per_unit[cut, group] += count
        return fixed, per_unit

    @property
    def _first_cut(self) -> int:
        return 0 if self.cuts[0].kind == "input" else 1

    @cached_property
    def _interior(self) -> NDArray[np.bool_]:
        return np.array([cut.kind == "interior" for cut in self.cuts])

    @cached_property
    def _sides(self) -> Counts:
        """Height and width of what crosses at each cut, 1 for what is no map."""
        return np.array([cut.shape[1:] if is_map(cut) else (1, 1) for cut in self.cuts])

    @cached_property
    def _rectified(self) -> NDArray[np.bool_]:
        return np.array([is_rectified(self.space.graph, cut) for cut in self.cuts])

    @cached_property
    def _rate_of(self) -> Counts:
        """Which sparsity each prune group has, (G,); -1 for none."""
        rate_of = np.full(len(self.space.groups), -1, dtype=np.int64)
        for rate, groups in enumerate(self.rates):
            rate_of[[self.space.index(group) for group in groups]] = rate
        return rate_of

    @cached_property
    def _rated(self) -> tuple[Counts, Counts]:
        """The prune groups that have a sparsity, and which each has."""
        groups = np.flatnonzero(self._rate_of >= 0)
        return groups, self._rate_of[groups]

    @cached_property
    def _group_of(self) -> Counts:
        """The one prune group of each sparsity, where every group has its own, (R,)."""
        return np.array([self.space.index(group) for (group,) in self.rates], dtype=np.int64)

    @cached_property
    def _group_before(self) -> Counts:
        """The prune group before each cut, -1 for none."""
        return np.array([group_before(self.space, cut) for cut in self.cuts], dtype=np.int64)

    def _column(self, points: Floats, name: str) -> Floats:
        column: Floats = points[:, self.names.index(name)]
        return column

    def _checked(self, u: ArrayLike) -> Floats:
        points = np.asarray(u, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise CoinferError(f"points have shape {points.shape}; accepted: (B, {self.dimension})")
        if points.size and not (points.min() >= 0 and points.max() <= 1):  # NaN is in no range
            raise CoinferError("points lie outside the unit cube; accepted are numbers 0 to 1")
        return points

    def _before_cut(self, cut: Counts) -> tuple[Counts, Counts]:
        """Return the plans (rows) whose layer before the cut is pruned again, and its group."""
        if not self._twice:
            none = np.zeros(0, dtype=np.int64)
            return none, none
        group = self._group_before[cut]
        (rows,) = np.nonzero(group >= 0)
        return rows, group[rows]

    def _kept_at(self, rates: Floats) -> Counts:
        """Return the units that stay at sparsities (B, R), (B, G)."""
        groups, rate_of = self._rated
        shares = np.zeros((len(rates), len(self._rate_of)))
        shares[:, groups] = rates[:, rate_of]
        return kept_channels(self.space.full, shares)

    def _sparsities(self, decisions: Decisions) -> Floats:
        """Return the sparsities (B, R) and, in a last column, the second one where there is one.

        The least sparsity that removes what is removed, so that a plan has one.
        """
        full, kept, cut = self.space.full, decisions.kept, decisions.cut
        gone = (full - kept) / full
        if self.family.by_group:
            return gone[:, self._group_of]
        rows, groups = self._before_cut(cut)
        gone[rows, groups] = 0.0
        columns = [gone[:, self._rate_of == rate].max(axis=1) for rate in range(len(self.rates))]
        rates = np.column_stack([np.zeros((len(cut), 0)), *columns])
        if not self._twice:
            return rates
        once = self._kept_at(rates)[rows, groups]
        second = np.zeros(len(cut))
        second[rows] = (once - kept[rows, groups]) / once
        return np.column_stack([rates, second])

    def _plan(self, decisions: Decisions, at: Crossing, index: int) -> Plan:
        cut = self.cuts[decisions.cut[index]]
        keep = self.space.keep_pairs(decisions.kept[index])
        level = float(decisions.level[index])
        noise = self.family.noise
        coded = self.codec.ref(decisions.codec[index].tolist(), at.only(index))
        return Plan(
            model=self.model,
            cut=CutRef(cut.index, cut.after),
            keep=keep,
            criterion=self.family.criterion if keep else NO_PART,
            schedule=self.family.schedule if keep else NO_PART,
            codec=coded if self.codec.part == "codec" else IDENTITY,
            coder=coded if self.codec.part == "coder" else self.coder,
            channel=NO_PART
            if noise is None or np.isnan(level)
            else str(Ref(noise.channel, ((noise.option, level),))),
        )

    def _cut_of(self, plan: Plan) -> int:
        if plan.model != self.model:
            raise CoinferError(f"its model is '{plan.model}'")
        for place, cut in enumerate(self.cuts):
            if plan.cut == CutRef(cut.index, cut.after):
                return place
        accepted = ", ".join(f"'{cut.after}'" for cut in self.cuts)
        raise CoinferError(
            f"it cuts after '{plan.cut.after}' (layer {plan.cut.index}); accepted: {accepted}"
        )

    def _kept_of(self, plan: Plan, cut: int) -> Counts:
        kept = self.space.keep_vector(plan.keep)
        one = Decisions(kept[None], np.array([cut]), np.zeros((1, 0), dtype=np.int64), np.zeros(1))
        _, again = self._before_cut(one.cut)
        prunable = self.prunable[cut].copy()
        prunable[again] = True
        other = (kept < self.space.full) & ~prunable
        if other.any():
            names = np.array(self.space.names)
            accepted = ", ".join(f"'{name}'" for name in names[prunable]) or "none"
            raise CoinferError(f"it prunes '{names[other][0]}'; accepted: {accepted}")
        rates = self._sparsities(one)[:, : len(self.rates)]
        once = self._kept_at(rates)[0]
        wrong = kept != once
        wrong[again] = kept[again] > once[again]
        if wrong.any():
            raise CoinferError("no one sparsity of the convolutions leaves what it keeps")
        return kept

    def _check_parts(self, plan: Plan) -> None:
        criterion, schedule = self.family.criterion, self.family.schedule
        expected = {
            "criterion": criterion if plan.keep else NO_PART,
            "schedule": schedule if plan.keep else NO_PART,
            **({"coder": self.coder} if self.codec.part == "codec" else {"codec": IDENTITY}),
        }
        for kind, accepted in expected.items():
            if getattr(plan, kind) != accepted:
                raise CoinferError(
                    f"its {kind} is '{getattr(plan, kind)}'; accepted is '{accepted}'"
                )

    def _level_of(self, plan: Plan, *, sent: bool) -> float:
        channel, noise = parse_ref(plan.channel), self.family.noise
        if noise is None or not sent:
            if plan.channel != NO_PART:
                raise CoinferError(f"its channel is '{channel}'; accepted is '{NO_PART}'")
            return float("nan")
        option = noise.option
        if channel.name != noise.channel or [name for name, _ in channel.options] != [option]:
            accepted = f"{noise.channel}[{option}=...]"
            raise CoinferError(f"its channel is '{channel}'; accepted is '{accepted}'")
        level = channel.arguments[option]
        return real_number(f"{option} of its channel", level, "a finite number", isfinite)


def search_box(
    task: Task,
    family: str,
    *,
    max_sparsity: float = 0.9,
    levels: tuple[float, float] | None = None,
    input_cut: bool = False,
    criterion: str | None = None,
    schedule: str | None = None,
    coder: str | None = None,
    zero_inactive: bool = False,
) -> Box:
    """Return the box of a family of plans on a task's network.

    Args:
        task: made with its prune groups.
        family: one of `FAMILIES`.
        max_sparsity: sparsities are 0 to this.
        levels: range of the noise's level, for a noisy family; its own when not given.
        input_cut: whether plans may send the input and compute nothing on the device (cut 0).
        criterion, schedule: other than the family's.
        coder: how plans send what crosses, other than the family's.
        zero_inactive: as of `Box`.

    Raises:
        UnknownNameError: for an unknown family.
        CoinferError: when the network offers nothing to prune or no cut, or a range is empty.
    """
    if family not in FAMILIES:
        raise UnknownNameError("family of plans", family, FAMILIES)
    space = task.prune_space
    if space is None:
        raise CoinferError(f"the task of {task.model} comes without its prune groups")
    real_number("max_sparsity", max_sparsity, "above 0 and below 1", lambda share: 0 < share < 1)
    kind = FAMILIES[family]
    low, high = _levels(kind, levels)
    kind = replace(kind, criterion=criterion or kind.criterion, schedule=schedule or kind.schedule)
    rates = _rates(kind, space)
    if kind.prunes != "none" and not rates:
        raise CoinferError(f"{task.model} has nothing that '{family}' could prune")
    cuts = _cuts(kind, space, input_cut=input_cut)
    if not cuts:
        raise CoinferError(f"{task.model} has no cut at which '{family}' could encode")
    return Box(
        name=family,
        family=kind,
        model=task.model,
        space=space,
        cuts=cuts,
        rates=rates,
        max_sparsity=float(max_sparsity),
        levels=(low, high),
        coder=str(parse_ref(coder or kind.coder)),
        zero_inactive=zero_inactive,
    )


def _levels(family: Family, given: tuple[float, float] | None) -> tuple[float, float]:
    """The range of the noise's level; without noise nothing."""
    noise = family.noise
    if noise is None:
        return (0.0, 0.0)
    what = noise.option
    low, high = (
        real_number(what, end, "a finite number", isfinite) for end in given or noise.levels
    )
    if low >= high:
        raise CoinferError(f"{what} is {low:g} to {high:g}; accepted: a first below a second")
    return low, high


def _rates(family: Family, space: PruneSpace) -> tuple[tuple[str, ...], ...]:
    match family.prunes:
        case "each" | "device":
            return tuple((name,) for name in free_groups(space))
        case "none":
            return ()
        case _:
            groups = conv_groups(space)
            return (groups,) if groups else ()


def _cuts(family: Family, space: PruneSpace, *, input_cut: bool) -> tuple[Cut, ...]:
    graph = space.graph
    cuts = block_cuts(graph)
    if family.codec in ("bottlenet++", "asymmetric"):  # which take maps alone
        return tuple(cut for cut in cuts if cut.kind == "interior" and is_map(cut))
    if family.codec in ("cia", "three-step"):  # which encode wherever they cut
        return tuple(cut for cut in cuts if cut.kind == "interior")
    if family.codec == "quantised" and not any(cut.kind == "interior" for cut in cuts):
        return ()
    if family.prunes == "twice":
        cuts = tuple(cut for cut in cuts if cut.kind == "output" or group_before(space, cut) >= 0)
    return (*(cut for cut in graph.cuts if input_cut and cut.kind == "input"), *cuts)
