"""Pruning during training: what is masked stays zero, and the smaller network is the same one."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional

from coinfer.compression.criteria import L1, L2, Fpgm, Lasso, Taylor
from coinfer.compression.groups import PruneSpace, mask, prune_space, remove
from coinfer.compression.masking import Masking
from coinfer.compression.pruning import choose, device_only
from coinfer.compression.schedules import Incremental, Iterative, OneShot
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.models import build, model_spec
from coinfer.parts import Criterion, Schedule
from coinfer.plan import kept_channels
from coinfer.tracing import trace
from tests.nets import INPUT, Chain, Grouped, Residual, batches, made

STEPS = 12
SCHEDULES: list[Schedule] = [OneShot(), Iterative(3), Incremental(iterations=4, steps=2)]
OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=5e-4),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, weight_decay=5e-4),
}

by_name = {"ids": lambda part: part.name}


def half(space: PruneSpace) -> dict[str, int]:
    return {group.name: (group.units + 1) // 2 for group in space.groups}


def masking(
    network: nn.Module,
    criterion: Criterion,
    schedule: Schedule,
    keep: Mapping[str, int] | None = None,
    shape: tuple[int, ...] = INPUT,
) -> Masking:
    space = prune_space(network, shape)
    keep = half(space) if keep is None else keep
    return Masking(network, space, keep, criterion, schedule, lambda: batches(shape=shape))


def trained(
    network: nn.Module,
    masks: Masking | None,
    optimizer: torch.optim.Optimizer,
    steps: range = range(STEPS),
    of: int = STEPS,
    shape: tuple[int, ...] = INPUT,
    before: Callable[[int], None] = lambda step: None,
    after: Callable[[int], None] = lambda step: None,
) -> None:
    """Train as any loop would; `before` and `after` look at forward and optimiser steps."""
    network.train()
    dtype = next(network.parameters()).dtype
    for step in steps:
        ((images, labels),) = batches(1, size=6, seed=100 + step, shape=shape)
        if masks is not None:
            masks.before_step(step, of)
        optimizer.zero_grad()
        functional.cross_entropy(network(images.to(dtype)), labels).backward()
        before(step)
        optimizer.step()
        if masks is not None:
            masks.after_step()
        after(step)


def assert_same_outputs(one: nn.Module, other: nn.Module, space: PruneSpace) -> None:
    """Equal up to the rounding of the longest sum, once per layer, relative to the outputs."""
    dtype = next(one.parameters()).dtype
    images = batches(1, seed=7, shape=space.graph.input_shape)[0][0].to(dtype)
    with torch.no_grad():
        here, there = one.eval()(images), other.eval()(images)
    longest = max(p.numel() // len(p) for p in one.parameters())
    rounding = torch.finfo(dtype).eps * longest * len(space.graph)
    assert (here - there).abs().max() <= rounding * here.abs().max()


def zeros(network: nn.Module, space: PruneSpace, kept: Mapping[str, list[int]]) -> dict[str, Any]:
    """Where `mask` makes zeros, by parameter: it is asked about a network of ones."""
    ones = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in ones.parameters():
            parameter.fill_(1.0)
    return {name: p == 0 for name, p in mask(ones, space, kept).named_parameters()}


class TestMaskedEqualsRemoved:
    @pytest.mark.parametrize(
        ("kind", "optimizer"),
        [(Chain, "sgd"), (Grouped, "sgd"), *((Residual, name) for name in OPTIMIZERS)],
    )
    @pytest.mark.parametrize("schedule", SCHEDULES, **by_name)
    def test_at_every_step(self, kind: type[nn.Module], schedule: Schedule, optimizer: str) -> None:
        network = made(kind)
        space = prune_space(network, INPUT)
        masks = masking(network, L2(), schedule)
        moved = []
        known: dict[str, dict[str, torch.Tensor]] = {}

        def gone_now() -> Iterable[tuple[str, torch.Tensor]]:
            if str(masks.kept) not in known:
                known[str(masks.kept)] = zeros(network, space, masks.kept)
            return known[str(masks.kept)].items()

        def gradients(step: int) -> None:
            for name, gone in gone_now():
                parameter = network.get_parameter(name)
                assert parameter.grad is not None
                assert not parameter.grad[gone].any()
                moved.append(bool(parameter.grad[~gone].any()))

        def weights(step: int) -> None:
            for name, gone in gone_now():
                assert not network.get_parameter(name)[gone].any()
            expected = kept_channels(
                space.full,
                schedule.progress(step, STEPS)
                * (1 - space.keep_vector(half(space).items()) / space.full),
            )
            assert masks.kept.keys() == dict(space.keep_pairs(expected)).keys()
            assert {n: len(k) for n, k in masks.kept.items()} == dict(space.keep_pairs(expected))

        trained(
            *(network, masks, OPTIMIZERS[optimizer](network.parameters())),
            before=gradients,
            after=weights,
        )
        assert any(moved)
        kept = masks.finish()
        assert {name: len(units) for name, units in kept.items()} == half(space)
        assert all(units == sorted(set(units)) for units in kept.values())
        small = remove(network, space, kept)
        assert_same_outputs(network, small, space)
        counts = space.keep_vector(half(space).items())
        graph = trace(small, INPUT).graph
        assert graph.flops().sum() == space.flops(counts).sum() < space.graph.flops().sum()

    @pytest.mark.parametrize("schedule", SCHEDULES, **by_name)
    def test_resnet18(self, schedule: Schedule) -> None:
        torch.manual_seed(0)
        shape = (3, 8, 8)
        network = build(model_spec("resnet18"))
        space = prune_space(network, shape)
        masks = masking(network, L1(), schedule, shape=shape)
        sgd = OPTIMIZERS["sgd"](network.parameters())
        trained(network, masks, sgd, range(6), 6, shape)
        small = remove(network, space, masks.finish())
        assert_same_outputs(network, small, space)
        assert trace(small, shape).graph.flops().sum() < space.graph.flops().sum() / 3

    @pytest.mark.parametrize(
        "criterion", [L1(), L2(), Fpgm(), Taylor(), Lasso(batches=2)], **by_name
    )
    @pytest.mark.parametrize("schedule", SCHEDULES, **by_name)
    def test_any_criterion(self, criterion: Criterion, schedule: Schedule) -> None:
        network = made(Residual)
        space = prune_space(network, INPUT)
        masks = masking(network, criterion, schedule)
        trained(network, masks, OPTIMIZERS["sgd"](network.parameters()))
        kept = masks.finish()
        assert {name: len(units) for name, units in kept.items()} == half(space)
        assert_same_outputs(network, remove(network, space, kept), space)

    def test_training_the_masked_network_trains_the_smaller_one(self) -> None:
        """One shot: the same gradients, so the same weights, but for rounding."""
        network = made(Grouped)
        space = prune_space(network, INPUT)
        masks = masking(network, L1(), OneShot())
        masks.before_step(0, STEPS)
        small = remove(network, space, masks.kept)
        for each, mine in ((network, masks), (small, None)):
            trained(each, mine, OPTIMIZERS["sgd"](each.parameters()))
        for name, weight in remove(network, space, masks.finish()).state_dict().items():
            torch.testing.assert_close(weight, small.state_dict()[name], rtol=1e-9, atol=1e-11)


class Seen:
    """A criterion that keeps what the network is when it is asked."""

    kind: ClassVar[str] = "criterion"
    name: ClassVar[str] = "seen"

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def scores(self, model: nn.Module, space: PruneSpace, batches: Any) -> Any:
        self.states.append(copy.deepcopy(model.state_dict()))
        return L2().scores(model, space)


class TestSchedules:
    def test_one_shot_chooses_once_before_the_first_step(self) -> None:
        network, seen = made(Chain), Seen()
        before = copy.deepcopy(network.state_dict())
        masks = masking(network, seen, OneShot())
        trained(network, masks, OPTIMIZERS["sgd"](network.parameters()))
        masks.finish()
        assert len(seen.states) == 1
        assert all(map(torch.equal, seen.states[0].values(), before.values()))

    def test_iterative_never_lifts(self) -> None:
        network, seen = made(Chain), Seen()
        masks = masking(network, seen, Iterative(4))
        stages: list[dict[str, list[int]]] = []
        trained(
            *(network, masks, OPTIMIZERS["adam"](network.parameters())),
            after=lambda step: stages.append(masks.kept),
        )
        masks.finish()
        assert len(seen.states) == 4
        for earlier, later in pairwise(stages):
            assert all(set(later[name]) <= set(earlier[name]) for name in earlier)
        assert len({str(stage) for stage in stages}) == 4

    def test_incremental_restores_masked_weights_bit_by_bit(self) -> None:
        """A criterion is asked between lifting the last masks and making the next."""
        network, seen = made(Residual), Seen()
        space = prune_space(network, INPUT)
        masks = masking(network, seen, Incremental(iterations=4, steps=2))
        stages: list[dict[str, list[int]]] = []
        trained(
            *(network, masks, OPTIMIZERS["adam"](network.parameters())),
            after=lambda step: stages.append(masks.kept),
        )
        assert len(seen.states) == 4
        stages = stages[0:8:2]
        lifted = 0
        for stage, (earlier, later) in enumerate(pairwise(seen.states)):
            for name, gone in zeros(network, space, stages[stage]).items():
                assert torch.equal(later[name][gone], earlier[name][gone])
                assert not torch.equal(later[name][~gone], earlier[name][~gone])
                lifted += int(later[name][gone].count_nonzero())
        assert lifted > 100
        # Channels that come back have the statistics that go with their weights.
        masked = sorted(set(range(5)) - set(stages[2]["in1"]))
        for field in ("running_mean", "running_var"):
            name = f"norm1.{field}"
            assert torch.equal(seen.states[3][name][masked], seen.states[2][name][masked])
            assert not torch.equal(seen.states[3][name], seen.states[2][name])

    def test_the_last_mask_of_incremental_holds(self) -> None:
        network = made(Chain)
        masks = masking(network, L2(), Incremental(iterations=3, steps=2))
        stages: list[str] = []
        trained(
            *(network, masks, OPTIMIZERS["sgd"](network.parameters())),
            after=lambda step: stages.append(str(masks.kept)),
        )
        assert len(set(stages[4:])) == 1
        assert str(masks.finish()) == stages[-1]

    @pytest.mark.parametrize("schedule", SCHEDULES, **by_name)
    def test_the_target_holds_in_a_second_phase(self, schedule: Schedule) -> None:
        network = made(Chain)
        masks = masking(network, L2(), schedule)
        sgd = OPTIMIZERS["sgd"](network.parameters())
        trained(network, masks, sgd)
        kept = masks.kept
        again: list[bool] = []
        trained(network, masks, sgd, after=lambda step: again.append(masks.kept == kept))
        assert all(again)
        assert masks.finish() == kept

    @pytest.mark.parametrize("schedule", SCHEDULES, **by_name)
    @pytest.mark.parametrize("steps", [0, 1, 5])
    def test_a_training_cut_short_is_finished_at_its_target(
        self, schedule: Schedule, steps: int
    ) -> None:
        network = made(Chain)
        space = prune_space(network, INPUT)
        masks = masking(network, L2(), schedule)
        trained(network, masks, OPTIMIZERS["sgd"](network.parameters()), range(steps))
        kept = masks.finish()
        assert {name: len(units) for name, units in kept.items()} == half(space)
        assert_same_outputs(network, remove(network, space, kept), space)

    def test_a_schedule_of_a_stranger(self) -> None:
        """It needs to say `progress` alone, and may go back: nothing is lifted."""

        class Zigzag:
            kind: ClassVar[str] = "schedule"
            name: ClassVar[str] = "zigzag"

            def progress(self, step: int, steps: int) -> float:
                return (0.0, 0.5, 0.2, 0.9)[step % 4]

        network = made(Chain)
        masks = masking(network, L2(), Zigzag())
        sizes: list[int] = []
        trained(
            *(network, masks, OPTIMIZERS["sgd"](network.parameters())),
            after=lambda step: sizes.append(len(masks.kept.get("b", range(8)))),
        )
        assert sizes[:4] == [8, 6, 6, 5]
        assert sizes[4:] == [5] * 8


class TestDriver:
    def test_deterministic(self) -> None:
        def run() -> dict[str, torch.Tensor]:
            network = made(Residual)
            masks = masking(network, Taylor(), Incremental(iterations=4, steps=2))
            trained(network, masks, OPTIMIZERS["adam"](network.parameters()))
            masks.finish()
            return network.state_dict()

        assert all(map(torch.equal, run().values(), run().values()))

    @pytest.mark.parametrize("schedule", SCHEDULES, **by_name)
    @pytest.mark.parametrize("stop", range(1, STEPS, 3))
    def test_a_killed_training_goes_on(self, schedule: Schedule, stop: int) -> None:
        whole = made(Residual)
        masks = masking(whole, L2(), schedule)
        trained(whole, masks, OPTIMIZERS["adam"](whole.parameters()))

        first = made(Residual)
        adam, driver = OPTIMIZERS["adam"](first.parameters()), masking(first, L2(), schedule)
        trained(first, driver, adam, range(stop))
        file = io.BytesIO()
        torch.save([first.state_dict(), adam.state_dict(), driver.state_dict()], file)
        file.seek(0)
        weights, moments, state = torch.load(file, weights_only=True)
        second = made(Residual, seed=5)
        second.load_state_dict(weights)
        adam, driver = OPTIMIZERS["adam"](second.parameters()), masking(second, L2(), schedule)
        adam.load_state_dict(moments)
        driver.load_state_dict(state)
        trained(second, driver, adam, range(stop, STEPS))
        assert driver.finish() == masks.finish()
        assert all(map(torch.equal, second.state_dict().values(), whole.state_dict().values()))

    def test_device_side_only(self) -> None:
        network = made(Chain)
        space = prune_space(network, INPUT)
        cut = space.graph.cut("norm")
        keep = {name: half(space)[name] for name in device_only(space, cut.index)}
        assert keep.keys() == {"a", "b"}
        masks = masking(network, L2(), Iterative(2), keep)
        trained(network, masks, OPTIMIZERS["sgd"](network.parameters()))
        small = remove(network, space, masks.finish())
        assert_same_outputs(network, small, space)
        assert (
            small.get_submodule("wide").weight.shape == network.get_submodule("wide").weight.shape
        )
        assert small.get_submodule("c").weight.shape == (7, keep["b"], 1, 1)

    def test_nothing_to_prune_changes_nothing(self) -> None:
        masked, plain = made(Chain), made(Chain)
        masks = masking(masked, Taylor(), Incremental(iterations=4, steps=2), {"a": 6})
        trained(masked, masks, OPTIMIZERS["adam"](masked.parameters()))
        trained(plain, None, OPTIMIZERS["adam"](plain.parameters()))
        assert masks.finish() == {}
        assert all(map(torch.equal, masked.state_dict().values(), plain.state_dict().values()))

    def test_frozen_layers_are_masked_too(self) -> None:
        network = made(Chain)
        network.get_submodule("b").requires_grad_(False)
        space = prune_space(network, INPUT)
        masks = masking(network, L2(), Iterative(2))
        free = [p for p in network.parameters() if p.requires_grad]
        trained(network, masks, OPTIMIZERS["sgd"](free))
        assert_same_outputs(network, remove(network, space, masks.finish()), space)

    def test_what_the_lasso_criterion_refits(self) -> None:
        network, plain = made(Chain), made(Chain)
        space = prune_space(network, INPUT)
        kept = masking(network, Lasso(), OneShot()).finish()
        assert kept == choose(Lasso().scores(plain, space, batches()), half(space))
        expected = copy.deepcopy(plain)
        Lasso().refit(expected, space, kept, batches())
        expected = remove(expected, space, kept)
        for name, weight in remove(network, space, kept).state_dict().items():
            assert torch.equal(weight, expected.state_dict()[name])
        images = batches()[0][0]
        errors = [
            (remove(net, space, kept)(images) - plain(images)).norm() for net in (network, plain)
        ]
        assert errors[0] < errors[1]

    def test_finish_lets_go_of_the_network(self) -> None:
        network = made(Chain)
        masks = masking(network, L2(), OneShot())
        trained(network, masks, OPTIMIZERS["sgd"](network.parameters()))
        assert masks.finish() == masks.finish()
        network.zero_grad()
        sum(parameter.sum() for parameter in network.parameters()).backward()  # type: ignore[union-attr]
        for parameter in network.parameters():
            assert parameter.grad is not None
            assert (parameter.grad == 1.0).all()

    def test_the_network_is_traced_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = made(Residual)
        masks = masking(network, L2(), Incremental(iterations=4, steps=2))

        def no_more(*about: object) -> None:
            raise AssertionError

        monkeypatch.setattr("coinfer.compression.groups.trace", no_more)
        trained(network, masks, OPTIMIZERS["sgd"](network.parameters()))
        masks.finish()

    def test_bad_input(self) -> None:
        network = made(Chain)
        for keep, error, match in (
            ({"z": 1}, UnknownNameError, "unknown prune group 'z'"),
            ({"a": 0}, CoinferError, "'a' are 0; allowed is 1 to 6"),
            ({"a": 7}, CoinferError, "'a' are 7; allowed is 1 to 6"),
        ):
            with pytest.raises(error, match=match):
                masking(network, L1(), OneShot(), keep)
        space = prune_space(made(Residual), INPUT)
        with pytest.raises(CoinferError, match="not that of this Chain"):
            Masking(network, space, {}, L1(), OneShot(), lambda: [])

    @pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), "half"])
    def test_a_schedule_says_shares(self, share: float) -> None:
        class Wrong(OneShot):
            name = "wrong"

            def progress(self, step: int, steps: int) -> float:
                return share

        masks = masking(made(Chain), L1(), Wrong())
        with pytest.raises(
            CoinferError, match="schedule 'wrong': progress is .*; allowed is 0 to 1"
        ):
            masks.before_step(0, 1)
