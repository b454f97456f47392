"""The layer graph against closed forms, an independent counter and slow definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from coinfer import tracing
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.graph import KINDS, Cut, LayerGraph
from coinfer.models import build, model_spec, models
from coinfer.tracing import Traced, is_light, split, trace

FAMILIES = {
    "chain": "torchvision:vgg16[image_size=64,num_classes=7]",
    "concat of two": "torchvision:squeezenet1_1[image_size=64,num_classes=7]",
    "residual": "torchvision:resnet18[image_size=64,num_classes=7]",
    "grouped residual": "torchvision:regnet_x_400mf[image_size=64,num_classes=7]",
    "squeeze and excitation": "torchvision:regnet_y_400mf[image_size=64,num_classes=7]",
    "inverted residual": "torchvision:mobilenet_v2[image_size=64,num_classes=7]",
    "hardswish": "torchvision:mobilenet_v3_small[image_size=64,num_classes=7]",
    "dense concat": "torchvision:densenet121[image_size=64,num_classes=7]",
    "inception": "torchvision:googlenet[image_size=64,num_classes=7]",
    "channel shuffle": "torchvision:shufflenet_v2_x1_0[image_size=64,num_classes=7]",
    "stochastic depth": "torchvision:efficientnet_b0[image_size=64,num_classes=7]",
    "linear layers on maps": "torchvision:convnext_tiny[image_size=32,num_classes=7]",
}
NETWORKS = [*models(), *FAMILIES.values()]
SMALL = ["alexnet-cifar", "mobilenet_v1", "regnet_x_400mf-cifar", "resnet18", "vgg16"]
SPLIT = [
    *(name for name in SMALL if name != "mobilenet_v1"),  # a chain with more cuts than vgg16
    *(
        FAMILIES[family]
        for family in (
            *("concat of two", "squeeze and excitation", "inverted residual", "hardswish"),
            *("dense concat", "inception", "channel shuffle", "linear layers on maps"),
        )
    ),
]


class Net(nn.Module):
    """A network whose forward is any function of itself and its input."""

    def __init__(self, forward: Callable[[Any, Any], Any], **parts: Any) -> None:
        super().__init__()
        self.compute = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Any) -> Any:
        return self.compute(self, x)


@cache
def layer_graph(name: str) -> LayerGraph:
    """The graph of a network traced now, whatever is kept."""
    spec = model_spec(name)
    return trace(build(spec, device="meta"), spec.input_shape).graph


@cache
def network_of(name: str) -> nn.Module:
    """Build a network and set its running statistics, so that its outputs depend on its inputs."""
    spec = model_spec(name)
    network = build(spec)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(2)
        network.train()(torch.randn(4, *spec.input_shape))
    return network.eval()


@cache
def traced(name: str) -> Traced:
    return trace(network_of(name), model_spec(name).input_shape)


@cache
def shapes_of(name: str) -> Traced:
    spec = model_spec(name)
    return trace(build(spec, device="meta"), spec.input_shape)


def graph_of(
    forward: Callable[[Any, Any], Any], shape: tuple[int, ...], **parts: Any
) -> LayerGraph:
    return trace(Net(forward, **parts), shape).graph


def after(graph: LayerGraph) -> list[str]:
    return [cut.after for cut in graph.cuts]


# --- counting -------------------------------------------------------------------------------------


def conv(out: int, ci: int, k: int, co: int) -> int:
    return 2 * out * out * (ci * k * k + 1) * co


def test_alexnet_counts_as_table_1_says_layer_by_layer() -> None:
    expected = [
        ("features.0", conv(55, 3, 11, 64)),
        ("features.1", 55 * 55 * 64),
        ("features.2", 3 * 3 * 27 * 27 * 64),
        ("features.3", conv(27, 64, 5, 192)),
        ("features.4", 27 * 27 * 192),
        ("features.5", 3 * 3 * 13 * 13 * 192),
        ("features.6", conv(13, 192, 3, 384)),
        ("features.7", 13 * 13 * 384),
        ("features.8", conv(13, 384, 3, 256)),
        ("features.9", 13 * 13 * 256),
        ("features.10", conv(13, 256, 3, 256)),
        ("features.11", 13 * 13 * 256),
        ("features.12", 3 * 3 * 6 * 6 * 256),
        ("avgpool", 6 * 6 * 256),
        ("flatten", 0),
        ("classifier.0", 9216),
        ("classifier.1", (2 * 9216 - 1) * 4096),
        ("classifier.2", 4096),
        ("classifier.3", 4096),
        ("classifier.4", (2 * 4096 - 1) * 4096),
        ("classifier.5", 4096),
        ("classifier.6", (2 * 4096 - 1) * 10),
    ]
    graph = layer_graph("alexnet")
    counted = graph.flops("table1").tolist()
    assert list(zip((layer.name for layer in graph.layers), counted, strict=True)) == expected
    dropout_free = [0 if name in ("classifier.0", "classifier.3") else n for name, n in expected]
    assert graph.flops("table1_dropout_free").tolist() == dropout_free
    # A chain: every cut is legal, and behind layer i cross its outputs.
    assert after(graph) == ["input", *(name for name, _ in expected)]
    assert graph.cut_elements[[0, 1, 3, 6, 13, 17, 22]].tolist() == [
        3 * 224 * 224,
        64 * 55 * 55,
        64 * 27 * 27,
        192 * 13 * 13,
        9216,
        4096,
        10,
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_are_those_of_an_independent_counter(name: str) -> None:
    spec = model_spec(name)
    network = build(spec, device="meta").eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *spec.input_shape, device="meta"))
    assert 2 * layer_graph(name).flops("macs").sum() == counter.get_total_flops() > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_is_counted_once(name: str) -> None:
    network = build(model_spec(name), device="meta")
    unused = ("aux1.", "aux2.")  # GoogLeNet's heads for training only
    expected = sum(p.numel() for n, p in network.named_parameters() if not n.startswith(unused))
    assert sum(layer.parameters for layer in layer_graph(name).layers) == expected


def test_shared_parameters_count_at_their_first_reader_and_work_at_every_call() -> None:
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    two.weight = one.weight  # tied by hand, each with its own bias

    def forward(net: Net, x: Any) -> Any:
        return functional.linear(net.two(net.one(net.one(x))), net.one.weight)

    network = Net(forward, one=one, two=two)
    whole = trace(network, (4,))
    assert [(la.name, la.parameters) for la in whole.graph.layers] == [
        *(("one", 16 + 4), ("one_1", 0), ("two", 4), ("linear", 0))
    ]
    assert sum(la.parameters for la in whole.graph.layers) == sum(
        p.numel() for p in network.parameters()
    )
    assert whole.graph.flops("macs").tolist() == [16] * 4
    # What the device holds is what it counts; a half that shares with the other holds it too.
    x = torch.randn(3, 4)
    for cut in whole.graph.cuts:
        device, server = split(whole, cut)
        counted = sum(la.parameters for la in whole.graph.layers[: cut.index])
        assert sum(p.numel() for p in device.parameters()) == counted
        torch.testing.assert_close(server(device(x)), network(x))


def test_grouped_and_depthwise_convolutions_read_a_share_of_the_channels() -> None:
    graph = trace(
        nn.Sequential(nn.Conv2d(12, 24, 5, groups=3), nn.Conv2d(24, 24, 3, groups=24)), (12, 9, 9)
    ).graph
    grouped, depthwise = graph.layers
    assert (grouped.groups, grouped.fan_in, grouped.kernel) == (3, 4, (5, 5))
    assert (depthwise.groups, depthwise.fan_in, depthwise.kernel) == (24, 1, (3, 3))
    assert graph.flops("table1").tolist() == [
        2 * 25 * (12 * 25 // 3 + 1) * 24,
        2 * 9 * (1 * 9 + 1) * 24,
    ]
    assert graph.flops("macs").tolist() == [25 * 4 * 25 * 24, 9 * 9 * 24]
    by_function = graph_of(
        lambda net, x: torch.conv2d(
            functional.conv2d(x, net.a, groups=3), net.b, None, 1, 0, 1, 24
        ),
        (12, 9, 9),
        a=nn.Parameter(torch.ones(24, 4, 5, 5)),
        b=nn.Parameter(torch.ones(24, 1, 3, 3)),
    )
    assert by_function.flops("macs").tolist() == graph.flops("macs").tolist()


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (nn.Conv1d(4, 6, 3, groups=2), (4, 11)),
        (nn.Conv3d(2, 3, (1, 2, 3), stride=2), (2, 5, 6, 7)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 5)),
        (nn.Linear(5, 7), (3, 5)),
    ],
)
def test_other_ranks_against_the_counter(network: nn.Module, shape: tuple[int, ...]) -> None:
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *shape))
    graph = trace(network, shape).graph
    assert 2 * graph.flops("macs").sum() == counter.get_total_flops() > 0


def test_linear_layers_on_tokens_count_per_token() -> None:
    graph = trace(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4)), (5, 8)).graph
    assert [layer.channel_axis for layer in graph.layers] == [-1, -1, -1]
    assert [(la.in_channels, la.out_channels) for la in graph.layers] == [
        (8, 16),
        (16, 16),
        (16, 4),
    ]
    assert graph.flops("table1").tolist() == [5 * 15 * 16, 5 * 16, 5 * 31 * 4]


def test_adaptive_and_global_pools() -> None:
    graph = trace(nn.Sequential(nn.AdaptiveMaxPool2d(3), nn.AdaptiveAvgPool2d(1)), (4, 9, 7)).graph
    assert graph.layers[0].kernel == (3, 3)  # 7 columns in 3: windows of 3
    assert graph.flops("table1").tolist() == [9 * 9 * 4, 9 * 4]
    pools = graph_of(lambda _, x: x.amax((2, 3)), (4, 9, 7))
    assert (pools.layers[0].kind, pools.flops().tolist()) == ("maxpool", [63 * 4])
    means = graph_of(lambda _, x: x.mean([2, 3]), (4, 9, 7))
    assert (means.layers[0].kind, means.flops().tolist()) == ("avgpool", [63 * 4])


def test_functional_calls_are_layers_like_modules() -> None:
    modules = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1, groups=1), nn.ReLU(), nn.MaxPool2d(2), nn.Hardswish()),
        *(nn.Dropout(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5), nn.Sigmoid()),
    )

    def forward(net: Net, x: Any) -> Any:
        x = functional.conv2d(x, net.kernel, net.bias, padding=1)
        x = functional.max_pool2d(functional.relu(x, inplace=True), kernel_size=2)
        x = functional.dropout(functional.hardswish(x), training=net.training)
        x = torch.flatten(functional.adaptive_avg_pool2d(x, (2, 2)), 1)
        return functional.linear(x, net.weight * 2.0, net.offset).sigmoid_()

    functions = graph_of(
        forward,
        (3, 8, 8),
        kernel=nn.Parameter(torch.ones(8, 3, 3, 3)),
        bias=nn.Parameter(torch.ones(8)),
        weight=nn.Parameter(torch.ones(5, 32)),
        offset=nn.Parameter(torch.ones(5)),
    )
    twin = trace(modules, (3, 8, 8)).graph

    def facts(graph: LayerGraph) -> list[tuple[Any, ...]]:
        return [
            (la.kind, la.inputs, la.in_shape, la.out_shape, la.parameters, la.kernel, la.groups)
            for la in graph.layers
        ]

    assert facts(functions) == facts(twin)
    assert functions.flops().tolist() == twin.flops().tolist()
    assert [layer.name for layer in functions.layers] == [
        *("conv2d", "relu", "max_pool2d", "hardswish", "dropout", "adaptive_avg_pool2d"),
        *("flatten", "linear", "sigmoid"),
    ]


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_names_are_unique_and_kinds_known(name: str) -> None:
    graph = layer_graph(name)
    names = [layer.name for layer in graph.layers]
    assert len(set(names)) == len(names)
    assert {layer.kind for layer in graph.layers} <= set(KINDS)


def test_names_are_qualified_and_repeats_are_numbered() -> None:
    names = [layer.name for layer in layer_graph("resnet18").layers]
    assert names[4:11] == [
        *("layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu", "layer1.0.conv2"),
        *("layer1.0.bn2", "layer1.0.add", "layer1.0.relu_1"),
    ]


def test_names_never_collide_with_modules_or_with_the_input() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add = nn.ReLU()
            self.add_1 = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.add_1(self.add(x + 1) + self.add(x))

    network = nn.Sequential()
    network.add_module("input", nn.ReLU())
    network.add_module("inner", Inner())
    # A module's first call always keeps the module's own path.
    assert [layer.name for layer in trace(network, (3,)).graph.layers] == [
        *("input_1", "inner.add_2", "inner.add", "inner.add_3", "inner.add_4", "inner.add_1")
    ]


# --- legal cuts -----------------------------------------------------------------------------------


CHUNKS = ("chunk", "split", torch.chunk, torch.split)


def reference_cuts(whole: Traced) -> list[str]:
    """The definition, spelt out: from which single tensor can the rest alone be computed?"""
    graph = whole.module.graph
    place = {node: i for i, node in enumerate(whole.nodes)}
    found = ["input"]
    for i, node in enumerate(whole.nodes):
        pending, reached = [next(n for n in graph.nodes if n.op == "output")], set()
        while pending:
            here = pending.pop()
            if here is not node and here not in reached:
                reached.add(here)
                pending += here.all_input_nodes
        needs_input = any(n.op == "placeholder" for n in reached)
        needs_device = any(place.get(n, i) < i for n in reached)
        if not needs_input and not needs_device and node.target not in CHUNKS:
            found.append(whole.graph.layers[i].name)
    return found


@pytest.mark.parametrize("name", [*SMALL, *FAMILIES.values()])
def test_legal_cuts_are_those_of_the_definition(name: str) -> None:
    whole = shapes_of(name)
    graph = whole.graph
    assert after(graph) == reference_cuts(whole)
    assert [cut.kind for cut in graph.cuts] == [
        "input",
        *["interior"] * (len(graph.cuts) - 2),
        "output",
    ]
    for cut in graph.cuts[1:]:
        layer = graph.layers[cut.index - 1]
        assert (cut.after, cut.shape) == (layer.name, layer.out_shape)
    assert graph.cuts[0] == Cut(0, "input", graph.input_shape, "input")
    assert graph.cuts[-1].index == len(graph)


def test_cuts_of_a_residual_block() -> None:
    graph = graph_of(
        lambda net, x: functional.relu(net.b(functional.relu(net.a(x))) + x) * 2,
        (4, 6, 6),
        a=nn.Conv2d(4, 4, 3, padding=1),
        b=nn.Conv2d(4, 4, 3, padding=1),
    )
    assert [la.kind for la in graph.layers] == [
        *("conv", "activation", "conv", "add", "activation", "elementwise")
    ]
    assert graph.layers[3].inputs == (2, -1)
    # The input is needed until the addition, so nothing before it can be cut but the input.
    assert [(cut.index, cut.after) for cut in graph.cuts] == [
        *((0, "input"), (4, "add"), (5, "relu_1"), (6, "mul"))
    ]


def test_cuts_of_a_concatenation() -> None:
    graph = graph_of(
        lambda net, x: torch.cat([net.a(net.stem(x)), x, net.stem(x)], dim=1).relu(),
        (2, 5, 5),
        stem=nn.Conv2d(2, 3, 1),
        a=nn.Conv2d(3, 4, 1),
    )
    assert [la.name for la in graph.layers] == ["stem", "a", "stem_1", "cat", "relu"]
    assert graph.layers[3].inputs == (1, -1, 2)
    assert graph.layers[3].out_shape == (4 + 2 + 3, 5, 5)
    assert [(cut.index, cut.after) for cut in graph.cuts] == [(0, "input"), (4, "cat"), (5, "relu")]


def test_chunks_and_sizes_never_cross() -> None:
    def forward(net: Net, x: Any) -> Any:
        x = net.a(x)
        batch, channels = x.size(0), x.shape[1]
        left, right = x.chunk(2, 1)
        x = torch.cat([left, right.relu()], 1)  # a chunk crosses nowhere in here
        x = x.sigmoid()
        return net.b(x.view(batch, channels * 16))

    graph = graph_of(forward, (3, 4, 4), a=nn.Conv2d(3, 4, 1), b=nn.Linear(64, 2))
    assert [(la.name, la.out_shape) for la in graph.layers] == [
        *(("a", (4, 4, 4)), ("chunk", (4, 4, 4)), ("getitem", (2, 4, 4)), ("getitem_1", (2, 4, 4))),
        *(("relu", (2, 4, 4)), ("cat", (4, 4, 4)), ("sigmoid", (4, 4, 4)), ("view", (64,))),
        ("b", (2,)),
    ]
    # Behind cat and sigmoid, sizes of an earlier tensor would cross beside the tensor.
    assert after(graph) == ["input", "a", "view", "b"]


def test_a_size_of_the_crossing_tensor_is_no_second_value() -> None:
    graph = graph_of(
        lambda net, x: net.b(net.a(x).view(x.size(0), 16).relu()),
        (3, 4, 4),
        a=nn.Conv2d(3, 1, 1),
        b=nn.Linear(16, 2),
    )
    assert after(graph) == [
        "input",
        "view",
        "relu",
        "b",
    ]  # not behind a: the input's size is needed

    def own_size(net: Net, x: Any) -> Any:
        x = net.a(x)
        return net.b(x.view(x.size(0), -1))

    own = trace(Net(own_size, a=nn.Conv2d(3, 1, 1), b=nn.Linear(16, 2)), (3, 4, 4))
    assert after(own.graph) == ["input", "a", "view", "b"]
    device, server = split(own, "a")
    x = torch.randn(6, 3, 4, 4)
    torch.testing.assert_close(server(device(x)), own.module(x))


@pytest.mark.parametrize("network", [nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2))])
def test_a_network_of_one_layer_has_only_the_outer_cuts(network: nn.Module) -> None:
    whole = trace(network, (3,))
    assert [(cut.index, cut.kind, cut.elements) for cut in whole.graph.cuts] == [
        *((0, "input", 3), (1, "output", 2))
    ]
    x = torch.randn(4, 3)
    for cut in whole.graph.cuts:
        device, server = split(whole, cut)
        torch.testing.assert_close(server(device(x)), network(x))


def test_results_that_nobody_reads_are_no_layers() -> None:
    graph = graph_of(lambda net, x: (net.a(x), net.b(x))[1], (3,), a=nn.Linear(3, 9), b=nn.ReLU())
    assert [layer.name for layer in graph.layers] == ["b"]


# --- splitting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPLIT)
def test_halves_compose_to_the_whole_at_every_legal_cut(name: str) -> None:
    whole = traced(name)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, *whole.graph.input_shape, generator=generator)
    with torch.no_grad():
        expected = network_of(name)(x)
        assert (expected[0] - expected[1]).abs().max() > 1e-4  # far above the tolerance below
        for cut in whole.graph.cuts:
            device, server = split(whole, cut)
            crossing = device(x)
            assert isinstance(crossing, torch.Tensor)
            assert tuple(crossing.shape) == (2, *cut.shape)
            torch.testing.assert_close(server(crossing), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["vgg16", FAMILIES["channel shuffle"]])
def test_each_half_holds_only_what_it_uses(name: str) -> None:
    whole = shapes_of(name)
    keys = set(build(model_spec(name), device="meta").state_dict())
    for cut in whole.graph.cuts:
        device, server = split(whole, cut)
        assert set(device.state_dict()) | set(server.state_dict()) == keys
        assert not set(device.state_dict()) & set(server.state_dict())
        counted = sum(layer.parameters for layer in whole.graph.layers[: cut.index])
        assert sum(p.numel() for p in device.parameters()) == counted


def test_the_outer_cuts_leave_an_identity() -> None:
    whole = traced("alexnet-cifar")
    x = torch.randn(1, 3, 32, 32)
    device, _ = split(whole, "input")
    _, server = split(whole, whole.graph.cuts[-1])
    assert device(x) is x
    assert server(x) is x
    assert not list(device.parameters())
    assert not list(server.parameters())


def test_constants_go_to_the_side_that_needs_them() -> None:
    whole = trace(
        Net(
            lambda net, x: functional.relu(x * net.scale + torch.ones(3)) * net.scale,
            scale=nn.Parameter(torch.tensor([1.0, -2.0, 3.0])),
        ),
        (3,),
    )
    x = torch.randn(5, 3)
    for cut in whole.graph.cuts:
        device, server = split(whole, cut)
        torch.testing.assert_close(server(device(x)), whole.module(x))
    device, server = split(whole, "add")
    assert set(device.state_dict()) > {"scale"}
    assert set(server.state_dict()) == {"scale"}


def test_a_plain_module_is_split_as_a_copy() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    device, server = split(network, "1", (3,))
    with torch.no_grad():
        network[0].weight.zero_()
    assert all(weight.abs().sum() > 0 for weight in device.parameters())
    assert set(server.state_dict()) == {"2.weight", "2.bias"}
    with pytest.raises(CoinferError, match="Sequential needs input_shape"):
        split(network, "1")


def test_halves_of_a_trace_train_the_traced_network() -> None:
    whole = trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (3,))
    x = torch.randn(5, 3)
    before = whole.module(x)
    device, server = split(whole, "1")
    server(device(x)).square().sum().backward()
    with torch.no_grad():
        for weight in (*device.parameters(), *server.parameters()):
            assert weight.grad is not None
            weight -= 0.1 * weight.grad
    assert not torch.equal(whole.module(x), before)


@pytest.mark.parametrize(
    "cut", ["layer1.0.bn2", "layer1.0.relu1", Cut(9, "nowhere", (1,), "interior")]
)
def test_an_illegal_cut_is_refused_with_the_nearest_legal_ones(cut: Cut | str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown cut '.+'; (did you mean|known:)"):
        split(shapes_of("resnet18"), cut)


# --- random networks ------------------------------------------------------------------------------

BLOCKS = ("conv", "grouped", "relu", "residual", "branches", "chunk", "shuffle", "size", "scale")


class Blocks(nn.Module):
    """Eight-channel blocks of many shapes, one after another."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names
        self.first = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in names)
        self.second = nn.ModuleList(nn.Conv2d(8, 8, 1, groups=4) for _ in names)

    def forward(self, x: Any) -> Any:
        for name, one, two in zip(self.names, self.first, self.second, strict=True):
            match name:
                case "conv":
                    x = one(x)
                case "grouped":
                    x = two(x)
                case "relu":
                    x = functional.relu(x)
                case "residual":
                    x = functional.relu(two(functional.relu(one(x), inplace=True)) + x)
                case "branches":
                    x = torch.cat([one(x)[:, :4], two(x)[:, 4:]], 1)
                case "chunk":
                    left, right = torch.chunk(x, 2, dim=1)
                    x = torch.cat((right, left.sigmoid()), dim=1)
                case "shuffle":
                    batch, channels, height, width = x.size()
                    x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2)
                    x = x.reshape(batch, -1, height, width)
                case "size":
                    x = functional.interpolate(one(x), size=x.shape[-2:])
                case "scale":
                    x = x * functional.adaptive_avg_pool2d(x, 1).sigmoid()
        return x.flatten(1).mean(1, keepdim=True) + x.mean((2, 3))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=7), st.integers(1, 5))
def test_any_network_of_such_blocks(names: list[str], size: int) -> None:
    network = Blocks(names).eval()
    whole = trace(network, (8, size, size))
    assert after(whole.graph) == reference_cuts(whole)
    x = torch.randn(2, 8, size, size)
    with torch.no_grad():
        expected = network(x)
        with FlopCounterMode(display=False) as counter:
            network(x[:1])
        for cut in whole.graph.cuts:
            device, server = split(whole, cut)
            torch.testing.assert_close(server(device(x)), expected)
    assert 2 * whole.graph.flops("macs").sum() == counter.get_total_flops()


# --- the caller's network -------------------------------------------------------------------------


def test_tracing_leaves_the_network_and_the_global_generator_alone() -> None:
    network = build(model_spec("resnet18")).train()
    network.layer1[0].eval()
    modes = {name: module.training for name, module in network.named_modules()}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    whole = trace(network, (3, 32, 32))
    assert torch.equal(torch.get_rng_state(), random)
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    with torch.no_grad():
        for weight in whole.module.parameters():
            weight.zero_()
    assert torch.equal(network.conv1.weight, before["conv1.weight"])


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_tracing_a_light_network_changes_no_buffer_and_no_setting() -> None:
    class Always(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.ones(3))
            self.register_buffer("var", torch.ones(3))

        def forward(self, x: Any) -> Any:
            x = functional.batch_norm(x, self.mean, self.var, training=True)
            return functional.dropout(x, training=True)

    network, random = Always(), torch.get_rng_state()
    assert is_light(network, (3,))
    whole = trace(network, (3,))
    assert all(torch.equal(b, torch.ones(3)) for b in (*network.buffers(), *whole.module.buffers()))
    assert len(list(whole.module.buffers())) == 2
    assert torch.equal(torch.get_rng_state(), random)
    with pytest.raises(CoinferError, match="fails on an input"):
        trace(nn.Linear(2, 2), (3,))
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("name", ["resnet18", FAMILIES["squeeze and excitation"]])
def test_the_graph_is_the_same_from_zeros_and_from_meta_tensors(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = layer_graph(name)  # its parameters are on the meta device
    assert traced(name).graph == graph
    assert traced(name).graph.hash == graph.hash
    monkeypatch.setattr(tracing, "_LIGHT_INPUT", 0)
    assert trace(network_of(name), graph.input_shape).graph == graph


def test_a_large_input_or_network_is_not_run_for_real() -> None:
    small, large = nn.Conv2d(3, 8, 3), nn.Linear(2**14, 2**14, device="meta")
    assert is_light(small, (3, 512, 512))
    assert not is_light(small, (3, 1024, 1024))
    assert is_light(large, (2**14,))
    assert not is_light(large, (3, 224, 224))


def test_what_meta_tensors_cannot_run_is_run_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_LIGHT_INPUT", 0)
    table = torch.arange(3.0)  # a plain attribute: it stays on the CPU

    class Plain:
        tensor = table

    graph = graph_of(lambda net, x: x * net.plain.tensor, (3,), plain=Plain())
    assert [(la.kind, la.out_shape) for la in graph.layers] == [("elementwise", (3,))]


def test_half_and_double_precision_networks_trace() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        assert len(trace(nn.Linear(3, 2).to(dtype), (3,)).graph) == 1


def test_optional_inputs_keep_their_defaults() -> None:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
            return functional.relu(x) if mask is None else x * mask

    assert [la.kind for la in trace(Masked(), (3,)).graph.layers] == ["activation"]


# --- refusals -------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
    "product of activations": (
        Net(lambda _, x: functional.relu(x) @ x),
        (4, 4),
        r"layer 'matmul' \(matmul\) has no known cost; accepted: convolutions",
    ),
    "attention": (
        Net(lambda net, x: net.mix(x, x, x)[0], mix=nn.MultiheadAttention(4, 2)),
        (3, 4),
        r"layer 'mix' \(MultiheadAttention\) has no known cost",
    ),
    "unknown function": (
        Net(lambda _, x: torch.cumsum(x, 1)),
        (4,),
        r"layer 'cumsum' \(cumsum\) has no known cost",
    ),
    "unknown module": (
        nn.Sequential(nn.Fold((4, 4), 2)),
        (12, 9),
        r"layer '0' \(Fold\) has no known cost",
    ),
    "dynamic weights": (
        Net(lambda _, x: functional.linear(x, functional.relu(x))),
        (4,),
        "layer 'linear' has weights that depend on the input",
    ),
    "control flow": (
        Net(lambda _, x: x if x.sum() > 0 else -x),
        (4,),
        "Net cannot be traced: .*control flow.* accepted: networks whose control flow",
    ),
    "two inputs": (nn.Bilinear(3, 3, 3), (3,), r"takes 2 inputs \(input1, input2\); accepted"),
    "two outputs": (
        Net(lambda _, x: (x.relu(), x.sigmoid())),
        (4,),
        "Net returns a tuple; accepted: networks of one output tensor",
    ),
    "named outputs": (Net(lambda _, x: {"out": x.relu()}), (4,), "Net returns a dict"),
    "chunks out": (Net(lambda _, x: x.chunk(2, 1)), (4,), "Net returns a tuple"),
    "size out": (Net(lambda _, x: x.size(0)), (4,), "Net returns a int"),
    "wrong shape": (
        nn.Sequential(nn.Flatten(), nn.Linear(5, 3)),
        (4, 4),
        "Sequential fails on an input of 4x4 at '1': .*shapes cannot be multiplied",
    ),
    "too small": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)),
        (3, 3, 3),
        "Sequential fails on an input of 3x3x3 at '1'",
    ),
    "no layer": (nn.Sequential(), (4,), "has no layers"),
    "constant output": (
        Net(lambda net, _: net.bias * 2, bias=nn.Parameter(torch.ones(3))),
        (4,),
        "has no layers: its output does not depend on its input",
    ),
    "batch moved": (
        Net(lambda _, x: x.transpose(0, 1).relu()),
        (4, 4),
        "layer 'transpose' does not keep the batch",
    ),
    "unused in-place result": (
        Net(lambda net, x: (net.act(x), x * 2)[1], act=nn.ReLU(inplace=True)),
        (4,),
        "layer 'act' changes its input in place",
    ),
    "lazy": (nn.Sequential(nn.LazyLinear(3)), (4,), "lazy parameter '0.weight' without a shape"),
    "zero size": (nn.ReLU(), (0, 3), r"input shape \(0, 3\); accepted: positive"),
    "no size": (nn.ReLU(), (), "input shape"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_priced_is_refused_in_one_line(case: str) -> None:
    network, shape, message = REFUSED[case]
    with pytest.raises(CoinferError, match=message) as caught:
        trace(network, shape)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(CoinferError, match=r"a network is a torch\.nn\.Module, not function"):
        trace(functional.relu, (3,))  # type: ignore[arg-type]
