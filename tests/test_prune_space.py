"""Prune groups: what is counted is what physical removal leaves, on every kind of network."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from coinfer import flops
from coinfer.compression import groups as groups_module
from coinfer.compression.channels import channel_map
from coinfer.compression.groups import PruneSpace, mask, prune_space, remove
from coinfer.compression.space import Affine, PruneGroup
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.graph import Cut, Layer, LayerGraph
from coinfer.models import build, model_spec, models
from coinfer.plan import kept_channels
from coinfer.serial import from_data, to_data
from coinfer.tracing import trace

Kept = dict[str, list[int]]

REGISTRY = sorted(models())
LIGHT = ["alexnet-cifar", "mobilenet_v1", "resnet18", "vgg16"]
HEAVY = [name for name in REGISTRY if name not in LIGHT]
OTHERS = [
    f"torchvision:{name}[num_classes=10]"
    for name in ("mobilenet_v3_small", "googlenet", "squeezenet1_1")
]
DENSENET = "torchvision:densenet121[num_classes=10]"
GROUPED = "torchvision:resnext50_32x4d[num_classes=10]"

# An example is a seed, and takes a second: a smaller seed is no simpler.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)


@cache
def shapes_only(name: str) -> tuple[nn.Module, PruneSpace]:
    """A network without data, at its registry size, and its prune space."""
    spec = model_spec(name)
    network = build(spec, device="meta")
    return network, prune_space(network, spec.input_shape)


def some_units(space: PruneSpace, seed: int) -> Kept:
    """Random units to keep of every group, in no order."""
    rng = np.random.default_rng(seed)
    return {
        group.name: rng.choice(
            group.units, rng.integers(1, group.units + 1), replace=False
        ).tolist()
        for group in space.groups
    }


def counted(space: PruneSpace, kept: Kept) -> NDArray[np.int64]:
    return space.keep_vector([(name, len(units)) for name, units in kept.items()])


def assert_counts_are_those_of(small: nn.Module, space: PruneSpace, kept: Kept) -> None:
    """Every analytic count equals the count of the traced pruned network."""
    graph = trace(small, space.graph.input_shape).graph
    vector = counted(space, kept)
    for rules in flops.RULES:
        assert space.flops(vector, rules)[0].tolist() == graph.flops(rules).tolist()
        assert space.device_flops(vector, rules)[0].tolist() == graph.device_flops(rules).tolist()
    assert space.elements(vector)[0].tolist() == graph.cut_elements.tolist()
    assert [cut.after for cut in space.graph.cuts] == [cut.after for cut in graph.cuts]


def unsettled(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch norms statistics and weights as after training, so that a zero is not kept."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.running_mean, -1.0, 1.0),
                    (module.running_var, 0.5, 2.0),
                    (module.weight, 0.5, 1.5),
                    (module.bias, -1.0, 1.0),
                ):
                    assert tensor is not None
                    tensor.uniform_(low, high, generator=generator)
    return network.eval()


def assert_masked_equals_pruned(network: nn.Module, space: PruneSpace, kept: Kept) -> nn.Module:
    """The pruned network computes what the original computes with the removed channels at zero."""
    small = remove(network, space, kept)
    shape = space.graph.input_shape
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1)) - 0.5
    with torch.no_grad():
        masked, pruned = mask(network, space, kept)(images), small(images)
        whole = network(images)
    scale = masked.abs().max().clamp(min=1.0)
    assert (masked - pruned).abs().max() / scale <= 1e-5
    if any(len(kept[group.name]) < group.units for group in space.groups if group.name in kept):
        assert not torch.equal(whole, pruned)
    return small


class TestCountsEqualThePrunedNetwork:
    """At registry size, on networks without data. Others are counted where outputs are compared."""

    @pytest.mark.parametrize("name", LIGHT)
    @settings(max_examples=5, phases=NO_SHRINKING)
    @given(seed=st.integers(0, 2**32 - 1))
    def test_random_units(self, name: str, seed: int) -> None:
        network, space = shapes_only(name)
        kept = some_units(space, seed)
        assert_counts_are_those_of(remove(network, space, kept), space, kept)

    @pytest.mark.parametrize("name", HEAVY)
    @settings(max_examples=2, phases=NO_SHRINKING)
    @given(seed=st.integers(0, 2**32 - 1))
    def test_random_units_of_heavy_networks(self, name: str, seed: int) -> None:
        network, space = shapes_only(name)
        kept = some_units(space, seed)
        assert_counts_are_those_of(remove(network, space, kept), space, kept)

    @pytest.mark.parametrize("name", ["alexnet", "regnet_x_400mf-cifar", "resnet18"])
    def test_one_unit_everywhere(self, name: str) -> None:
        network, space = shapes_only(name)
        kept = {group.name: [group.units - 1] for group in space.groups}
        assert_counts_are_those_of(remove(network, space, kept), space, kept)

    @pytest.mark.parametrize("name", [*REGISTRY, *OTHERS, DENSENET])
    def test_nothing_pruned(self, name: str) -> None:
        _, space = shapes_only(name)
        for rules in flops.RULES:
            assert (space.flops(space.full, rules)[0] == space.graph.flops(rules)).all()
            assert (space.device_flops(space.full, rules) == space.graph.device_flops(rules)).all()
        assert (space.elements(space.full)[0] == space.graph.cut_elements).all()


class TestMaskedEqualsPruned:
    @pytest.mark.parametrize(
        ("name", "size"),
        [
            ("alexnet", 64),
            ("alexnet-cifar", 32),
            ("mobilenet_v1", 32),
            ("mobilenet_v2", 64),
            ("regnet_x_400mf", 64),
            ("regnet_x_400mf-cifar", 32),
            ("resnet18", 32),
            ("resnet50", 32),
            ("vgg16", 32),
            *((name, 64) for name in OTHERS),
            (DENSENET, 32),
            (GROUPED, 32),
        ],
    )
    def test_random_units(self, name: str, size: int) -> None:
        network = unsettled(build(model_spec(name)))
        space = prune_space(network, (3, size, size))
        # Half of every group, so that an effect is left to compare.
        rng = np.random.default_rng(3)
        kept = {
            group.name: rng.choice(group.units, (group.units + 1) // 2, replace=False).tolist()
            for group in space.groups
        }
        small = assert_masked_equals_pruned(network, space, kept)
        assert_counts_are_those_of(small, space, kept)

    def test_literal_masking_of_alexnet(self) -> None:
        network = unsettled(build(model_spec("alexnet-cifar")))
        space = prune_space(network, (3, 32, 32))
        kept = some_units(space, 11)
        images = torch.rand(2, 3, 32, 32)
        with torch.no_grad():
            pruned = remove(network, space, kept)(images)
            for group, units in kept.items():
                layer = network.get_submodule(group)
                for unit in set(range(len(layer.weight))) - set(units):
                    layer.weight[unit] = 0.0
                    layer.bias[unit] = 0.0
            torch.testing.assert_close(network(images), pruned, atol=1e-6, rtol=1e-5)

    def test_our_removal_agrees_with_torch_pruning(self) -> None:
        network = unsettled(build(model_spec("resnet18")))
        space = prune_space(network, (3, 32, 32))
        kept = some_units(space, 5)
        theirs = remove(network, space, kept).state_dict()
        channels = channel_map(trace(network, (3, 32, 32)))
        gone = groups_module.gone_units(channels, kept)
        groups_module._remove_selected(network, channels, gone, before=np.zeros_like(gone))
        ours = network.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


class TestGroups:
    def test_alexnet_has_seven(self) -> None:
        _, space = shapes_only("alexnet")
        assert space.names == (
            *("features.0", "features.3", "features.6", "features.8", "features.10"),
            *("classifier.1", "classifier.4"),
        )
        assert space.full.tolist() == [64, 192, 384, 256, 256, 4096, 4096]
        assert [group.members for group in space.groups] == [(name,) for name in space.names]
        assert [name for name, _ in space.fixed] == ["classifier.6"]

    def test_regnet_prunes_22_inner_widths_in_whole_groups(self) -> None:
        network, space = shapes_only("regnet_x_400mf")
        inner = [group for group in space.groups if group.unit_channels > 1]
        assert len(inner) == 22
        for group in inner:
            assert group.unit_channels == 16
            a, b = group.members[0], group.members[0].replace(".f.a.", ".f.b.")
            assert group.name == a
            assert b in group.members
            assert network.get_submodule(b).groups == group.units
        trunks = [group for group in space.groups if group.unit_channels == 1]
        assert [group.units for group in trunks] == [32, 32, 64, 160, 400]
        assert trunks[0].name == "stem.0"

    def test_a_residual_join_ties_its_layers(self) -> None:
        _, space = shapes_only("resnet18")
        trunk = space.groups[space.index("conv1")]
        assert {"conv1", "bn1", "layer1.0.conv2", "layer1.1.conv2"} <= set(trunk.members)
        assert "layer1.0.conv1" in space.names

    def test_depthwise_convolutions_follow_their_input(self) -> None:
        network, space = shapes_only("mobilenet_v2")
        names = {member for group in space.groups for member in group.members}
        depthwise = [
            name
            for name, module in network.named_modules()
            if isinstance(module, nn.Conv2d) and module.groups > 1
        ]
        assert len(depthwise) == 17
        assert set(depthwise) <= names - set(space.names)

    @pytest.mark.parametrize("name", [*REGISTRY, *OTHERS, DENSENET])
    def test_every_layer_is_in_one_group_or_fixed(self, name: str) -> None:
        network, space = shapes_only(name)
        members = [member for group in space.groups for member in group.members]
        assert len(set(members)) == len(members)
        parametric = [layer.name for layer in space.graph.layers if layer.kind in ("conv", "fc")]
        assert set(parametric) == {m for m in members if m in parametric} | {
            name for name, _ in space.fixed
        }
        for group in space.groups:
            assert group.members[0] == group.name
            width = network.get_submodule(group.name).weight.shape[0]
            assert width == group.units * group.unit_channels

    def test_a_network_that_torch_pruning_cannot_follow_stays_whole(self) -> None:
        network, space = shapes_only("torchvision:shufflenet_v2_x0_5[num_classes=10]")
        assert not space.groups
        assert all("torch-pruning" in reason for _, reason in space.fixed)
        assert (space.flops(space.full) == space.graph.flops()).all()
        assert_counts_are_those_of(remove(network, space, {}), space, {})


class _Net(nn.Module):
    """Two convolutions around something that a subclass does to channels."""

    def __init__(self, last: int = 8) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(last, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gathered(self.middle(functional.relu(self.a(x)))))

    def gathered(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean([2, 3])

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.norm(self.b(x)))


class Sigmoids(_Net):
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.norm(self.b(torch.sigmoid(x))))


class Concatenation(_Net):
    def __init__(self) -> None:
        super().__init__(16)
        self.norm = nn.BatchNorm2d(16)
        self.down = nn.MaxPool2d(2)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(
            torch.cat([self.b(x), functional.interpolate(self.down(x), scale_factor=2)], 1)
        )


class ConcatenationWithTheInput(_Net):
    """Torch-Pruning does not see the input's channels and takes those behind for others."""

    def __init__(self) -> None:
        super().__init__(11)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([x, torch.relu(self.b(self.a(x)))], 1).mean((2, 3)))


class PartlyTied(_Net):
    """Half of a layer's channels meet one layer, half another: no uniform group."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.d = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 5, 1)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(x) + torch.cat([self.c(x), self.d(x)], 1)


class Chunks(_Net):
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.b(x).chunk(2, dim=1)
        return torch.cat([second, first], 1)


class Shuffle(_Net):
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        size = x.size()
        x = self.b(x).view(size[0], 2, 4, size[2], size[3])
        return x.transpose(1, 2).reshape(size[0], 8, size[2], size[3])


class GroupedPair(_Net):
    """A grouped convolution over two layers side by side, and one with a multiplier."""

    def __init__(self) -> None:
        super().__init__(16)
        self.grouped = nn.Conv2d(8, 12, 3, groups=4, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.multiplied = nn.Conv2d(8, 16, 3, groups=8, padding=1)
        self.c = nn.Conv2d(12, 8, 1)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.grouped(self.b(x))))
        return functional.relu(self.multiplied(self.c(x)))


class Upwards(_Net):
    """A transposed convolution, PReLU per channel, interpolation, slices and paddings."""

    def __init__(self) -> None:
        super().__init__(6)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.act = nn.PReLU(6)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.pad(self.up(self.b(x)), (1, 0, 0, 1))[:, :, ::2]
        return self.act(functional.interpolate(x, scale_factor=2.0))


class ChannelPadding(_Net):
    """The shortcut of the original CIFAR ResNets: missing channels are zeros."""

    def __init__(self) -> None:
        super().__init__(16)
        self.c = nn.Conv2d(8, 16, 3, stride=2, padding=1)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.b(x)) + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))


class Flattened(_Net):
    def __init__(self) -> None:
        super().__init__(8 * 16)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Linear(8 * 16, 8 * 16)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.b(x))

    def gathered(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.wide(x.view(x.size(0), -1)))


class FlattenedToANumber(Flattened):
    def gathered(self, x: torch.Tensor) -> torch.Tensor:
        return self.wide(x.view(-1, 8 * 16))


class Tokens(_Net):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(8, 10), nn.Linear(10, 8)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        x = self.b(x).permute(0, 2, 3, 1)
        x = self.out(torch.relu(self.mix(x)))
        return x.transpose(1, 3)


class SpatialAttention(_Net):
    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Conv2d(8, 1, 1)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(x) * torch.sigmoid(self.where(x))


class ChannelAttention(_Net):
    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        x = self.b(x)
        scale = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        return x * scale.unsqueeze(-1).unsqueeze(-1)


class Scaled(_Net):
    """A learned number leaves channels free, a learned vector does not."""

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.tensor(0.5))
        self.vector = nn.Parameter(torch.rand(8, 1, 1))

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(x * self.number) * self.vector


class LayerNormed(_Net):
    def __init__(self) -> None:
        super().__init__()
        self.layer_norm = nn.GroupNorm(2, 8)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer_norm(self.b(x))


class CalledTwice(_Net):
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.b(functional.relu(self.b(x))))


class SharedWeights(_Net):
    def __init__(self) -> None:
        super().__init__()
        self.c, self.d = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.c.weight = self.b.weight

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.d(self.c(torch.relu(self.b(x))))


class SharedWithAFunction(_Net):
    def __init__(self) -> None:
        super().__init__()
        self.c, self.d = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        again = functional.conv2d(x, self.b.weight, padding=1)
        return self.c(torch.relu(self.b(x))) + self.d(torch.relu(again))


SMALL: list[tuple[Callable[[], nn.Module], set[str], set[str]]] = [
    (_Net, {"a", "b"}, {"head"}),
    (Sigmoids, {"a", "b"}, {"head"}),
    (Concatenation, {"a", "b"}, {"head"}),
    (ConcatenationWithTheInput, {"a"}, {"b", "head"}),
    (PartlyTied, {"a"}, {"b", "head"}),
    (Chunks, {"a"}, {"b", "head"}),
    (Shuffle, {"a"}, {"b", "head"}),
    (GroupedPair, {"a", "b", "c"}, {"head"}),
    (Upwards, {"a", "b", "up"}, {"head"}),
    (ChannelPadding, {"b"}, {"a", "head"}),
    (Flattened, {"a", "b", "wide"}, {"head"}),
    (FlattenedToANumber, {"a", "wide"}, {"b", "head"}),
    (Tokens, {"a", "b", "mix", "out"}, {"head"}),
    (SpatialAttention, {"a"}, {"b", "head"}),
    (ChannelAttention, {"a", "b", "squeeze"}, {"head"}),
    (Scaled, {"a"}, {"b", "head"}),
    (LayerNormed, {"a"}, {"b", "head"}),
    (CalledTwice, set(), {"a", "head"}),
    (SharedWeights, {"d"}, {"a", "b", "c", "head"}),
    (SharedWithAFunction, {"c"}, {"a", "b", "head"}),
]


@pytest.mark.parametrize(
    ("make", "free", "fixed"), [pytest.param(*row, id=row[0].__name__) for row in SMALL]
)
class TestHowChannelsFlow:
    def test_groups(self, make: Callable[[], nn.Module], free: set[str], fixed: set[str]) -> None:
        space = prune_space(make(), (3, 4, 4))
        assert set(space.names) == free
        assert {name for name, _ in space.fixed} == fixed

    def test_pruned(self, make: Callable[[], nn.Module], free: set[str], fixed: set[str]) -> None:
        torch.manual_seed(0)
        network = unsettled(make())
        space = prune_space(network, (3, 4, 4))
        for seed in range(3):
            kept = some_units(space, seed)
            small = assert_masked_equals_pruned(network, space, kept)
            assert_counts_are_those_of(small, space, kept)


class TestRemoval:
    def test_a_grouped_convolution_loses_whole_groups(self) -> None:
        network = GroupedPair()
        space = prune_space(network, (3, 4, 4))
        assert [(g.name, g.units, g.unit_channels) for g in space.groups] == [
            *(("a", 8, 1), ("b", 4, 2), ("c", 8, 1)),
        ]
        small = remove(network, space, {"b": [3, 1]})
        assert small.grouped.groups == 2
        assert torch.equal(small.grouped.weight, network.grouped.weight[[3, 4, 5, 9, 10, 11]])
        assert torch.equal(small.b.weight, network.b.weight[[2, 3, 6, 7]])
        assert torch.equal(small.c.weight, network.c.weight[:, [3, 4, 5, 9, 10, 11]])

    def test_the_original_stays_as_it_is(self) -> None:
        network = _Net().train()
        network.a.requires_grad_(False)
        network.norm.eval()
        before = {key: value.clone() for key, value in network.state_dict().items()}
        space = prune_space(network, (3, 4, 4))
        small = remove(network, space, {"a": [0, 5], "b": [1]})
        for changed in (network, small):
            assert changed.training
            assert not changed.norm.training
            assert changed.a.training
            frozen = {name for name, p in changed.named_parameters() if not p.requires_grad}
            assert frozen == {"a.weight", "a.bias"}
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
        assert small.a.weight.shape == (2, 3, 3, 3)
        assert small.head.weight.shape == (4, 1)

    def test_a_pruned_network_is_pruned_again(self) -> None:
        network = unsettled(_Net())
        once = remove(network, prune_space(network, (3, 4, 4)), {"a": [1, 4, 6], "b": [0, 2, 7]})
        space = prune_space(once, (3, 4, 4))
        assert space.full.tolist() == [3, 3]
        twice = remove(once, space, {"a": [0, 2], "b": [1]})
        direct = remove(network, prune_space(network, (3, 4, 4)), {"a": [1, 6], "b": [2]})
        assert all(map(torch.equal, twice.state_dict().values(), direct.state_dict().values()))

    def test_a_pruned_network_trains(self) -> None:
        network = build(model_spec("regnet_x_400mf-cifar"))
        space = prune_space(network, (3, 32, 32))
        small = remove(network, space, some_units(space, 2)).train()
        small(torch.rand(2, 3, 32, 32)).sum().backward()
        assert all(p.grad is not None for p in small.parameters())

    @pytest.mark.parametrize(
        ("kept", "message"),
        [
            ({"a": []}, "units kept of 'a' are none; allowed is 1 to 8"),
            ({"a": [0, 8]}, "units kept of 'a' hold 8; allowed is 0 to 7"),
            ({"a": [-1]}, "units kept of 'a' hold -1; allowed is 0 to 7"),
            ({"a": [1, 1]}, "units kept of 'a' are not distinct integers"),
            ({"a": [0.5]}, "units kept of 'a' are not distinct integers"),
            ({"aa": [0]}, "unknown prune group 'aa'; did you mean 'a'"),
        ],
    )
    def test_bad_units(self, kept: Kept, message: str) -> None:
        network = _Net()
        space = prune_space(network, (3, 4, 4))
        for change in (remove, mask):
            with pytest.raises(CoinferError, match=message):
                change(network, space, kept)

    def test_the_space_of_another_network(self) -> None:
        space = prune_space(Sigmoids(), (3, 4, 4))
        with pytest.raises(CoinferError, match="not that of this Flattened"):
            remove(Flattened(), space, {"a": [0]})

    def test_a_module_needs_its_input_shape(self) -> None:
        with pytest.raises(CoinferError, match="prune space of _Net needs input_shape"):
            prune_space(_Net())

    def test_a_lone_layer_has_nothing_to_prune(self) -> None:
        network = nn.Linear(3, 2)
        space = prune_space(network, (3,))
        assert space.groups == ()
        assert torch.equal(remove(network, space, {}).weight, network.weight)
        assert torch.equal(mask(network, space, {}).weight, network.weight)


SPACE = prune_space(_Net(), (3, 4, 4))
COUNTS: list[Callable[..., NDArray[np.int64]]] = [SPACE.flops, SPACE.device_flops, SPACE.elements]


class TestBatches:
    @given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=700))
    @settings(max_examples=20)
    def test_a_batch_is_its_rows(self, rows: list[tuple[int, int]]) -> None:
        kept = np.array(rows, dtype=np.int32)
        for count in COUNTS:
            batch = count(kept)
            assert batch.dtype == np.int64
            alone = {row: count(np.array(row)) for row in set(rows)}
            assert all(one.shape == (1, batch.shape[1]) for one in alone.values())
            assert batch.tolist() == [alone[row][0].tolist() for row in rows]

    def test_an_empty_batch(self) -> None:
        for count in COUNTS:
            assert count(np.zeros((0, 2), dtype=np.int64)).shape[0] == 0

    @given(st.data())
    def test_sparsity_rounds_as_one_plan_does(self, data: st.DataObject) -> None:
        sparsity = data.draw(
            st.lists(
                st.tuples(*[st.floats(0, 1) | st.integers(0, 8).map(lambda k: k / 8)] * 2),
                min_size=1,
                max_size=5,
            )
        )
        kept = SPACE.kept_from_sparsity(sparsity)
        assert kept.dtype == np.int64
        assert kept.tolist() == [
            [kept_channels(group.units, s) for group, s in zip(SPACE.groups, row, strict=True)]
            for row in sparsity
        ]
        assert SPACE.kept_from_sparsity(sparsity[0]).tolist() == kept[0].tolist()

    @given(st.floats(0, 1) | st.integers(0, 100).map(lambda k: k / 100), st.integers(1, 5000))
    @example(0.29, 100)  # whose product is just below 29
    def test_one_sparsity_for_any_width(self, sparsity: float, units: int) -> None:
        space = _space_of(units)
        assert space.kept_from_sparsity(sparsity).tolist() == [kept_channels(units, sparsity)]

    @pytest.mark.parametrize("sparsity", [-0.1, 1.5, float("nan"), [0.1, 2.0]])
    def test_bad_sparsity(self, sparsity: float | list[float]) -> None:
        with pytest.raises(CoinferError, match="allowed is 0 to 1"):
            SPACE.kept_from_sparsity(sparsity)

    def test_sparsity_of_another_number_of_groups(self) -> None:
        with pytest.raises(CoinferError, match="G = 2 prune groups"):
            SPACE.kept_from_sparsity([0.1, 0.2, 0.3])

    @pytest.mark.parametrize(
        ("kept", "message"),
        [
            ([0, 4], "units kept of 'a' are 0; allowed is 1 to 8"),
            ([[8, 8], [4, 9]], "units kept of 'b' are 9; allowed is 1 to 8"),
            ([4, 4, 4], "G = 2 prune groups"),
            ([1.0, 2.0], "accepted: integers"),
            (4, "accepted: integers"),
        ],
    )
    def test_bad_kept(self, kept: object, message: str) -> None:
        for count in COUNTS:
            with pytest.raises(CoinferError, match=message):
                count(kept)

    def test_unknown_rules(self) -> None:
        with pytest.raises(UnknownNameError, match="unknown FLOPs rule 'table2'"):
            SPACE.flops(SPACE.full, "table2")


class TestPlanKeep:
    def test_names_become_a_vector_and_back(self) -> None:
        vector = SPACE.keep_vector([("b", 3)])
        assert vector.tolist() == [8, 3]
        assert vector.dtype == np.int64
        assert SPACE.keep_pairs(vector) == (("b", 3),)
        assert SPACE.keep_vector(()).tolist() == SPACE.full.tolist()

    def test_unknown_group(self) -> None:
        with pytest.raises(UnknownNameError, match="unknown prune group 'c'"):
            SPACE.keep_vector([("c", 3)])

    @pytest.mark.parametrize("count", [0, 9])
    def test_count_out_of_range(self, count: int) -> None:
        with pytest.raises(CoinferError, match=f"'a' are {count}; allowed is 1 to 8"):
            SPACE.keep_vector([("a", count)])


def _space_of(units: int, positions: int = 1) -> PruneSpace:
    """One prunable convolution of width `units` after another, on `positions` positions."""
    layers = tuple(
        Layer(name, "conv", (i - 1,), (units, positions), (units, positions), kernel=(1,))
        for i, name in enumerate(("a", "b"))
    )
    graph = LayerGraph(
        (units, positions),
        layers,
        (
            Cut(0, "input", (units, positions), "input"),
            Cut(2, "b", (units, positions), "output"),
        ),
    )
    whole, kept = Affine(units), Affine(0, ((0, 1),))
    return PruneSpace(
        graph=graph,
        groups=(PruneGroup("a", units, 1, ("a", "b")),),
        in_channels=(whole, kept),
        fan_in=(whole, kept),
        out_channels=(kept, kept),
        crossing=(whole, Affine(0, ((0, positions),))),
    )


class TestData:
    @given(st.integers(1, 3000), st.integers(1, 2**36))
    def test_counts_are_exact_beyond_float64(self, kept: int, positions: int) -> None:
        space = _space_of(3000, positions)
        expected = [2 * positions * kept * (read + 1) for read in (3000, kept)]
        assert space.flops([kept])[0].tolist() == expected
        assert space.device_flops([kept])[0].tolist() == [0, sum(expected)]
        assert space.elements([kept])[0].tolist() == [3000, kept * positions]

    def test_pickle_and_json(self) -> None:
        SPACE.flops(SPACE.full)
        for copied in (
            pickle.loads(pickle.dumps(SPACE)),
            from_data(json.loads(json.dumps(to_data(SPACE))), PruneSpace),
        ):
            assert copied == SPACE
            assert hash(copied) == hash(SPACE)
            assert (copied.flops([3, 4]) == SPACE.flops([3, 4])).all()

    def test_it_needs_no_torch(self) -> None:
        code = "import sys, coinfer.compression.space; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
