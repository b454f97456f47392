"""The registry: the networks that the papers use, and any other by name."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from coinfer import torchlib
from coinfer.errors import CoinferError
from coinfer.graphs import layer_graph
from coinfer.models import build, model_spec, models

NET = """
from torch import nn

def make(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU())

def wide():
    return nn.Sequential(nn.Conv2d(5, 6, 3), nn.ReLU())
wide.input_shape = (5, 8, 8)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.conv(x)

def number():
    return 3

def broken():
    raise ValueError("no weights here")

def needy(a, *, b):
    raise ValueError(f"{a} {b}")

def anything(**options):
    return make(**options)

def leaving():
    raise SystemExit(3)

instance = Net()
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    path = tmp_path / "net.py"
    path.write_text(NET)
    return str(path)


def macs(name: str) -> int:
    return int(layer_graph(name).flops("macs").sum())


def test_the_registry_holds_the_networks_of_the_papers() -> None:
    found = models()
    assert sorted(found) == [
        *("alexnet", "alexnet-cifar", "mobilenet_v1", "mobilenet_v2", "regnet_x_400mf"),
        *("regnet_x_400mf-cifar", "resnet18", "resnet50", "vgg16"),
    ]
    large = {"alexnet", "mobilenet_v2", "regnet_x_400mf"}
    for name, spec in found.items():
        assert model_spec(name) == spec
        assert spec.name == name
        assert spec.input_shape == ((3, 224, 224) if name in large else (3, 32, 32))
        assert spec.source_shape == (3, 32, 32)
        assert layer_graph(name).layers[-1].out_shape == (spec.classes,) == (10,)
    published = {name: s.published_accuracy for name, s in found.items() if s.published_accuracy}
    assert published == {
        "alexnet": 0.8742,
        "regnet_x_400mf": 0.9171,
        "resnet18": 0.95,
        "resnet50": 0.9299,
    }
    assert all(found[name].published_source and found[name].paper for name in published)


def test_alexnet_at_32x32_has_the_layers_of_its_description() -> None:
    graph = layer_graph("alexnet-cifar")
    counted = [
        (la.kernel, la.in_shape, la.out_shape) for la in graph.layers if la.kind in ("conv", "fc")
    ]
    assert counted == [
        ((11, 11), (3, 32, 32), (64, 8, 8)),
        ((5, 5), (64, 4, 4), (192, 4, 4)),
        ((3, 3), (192, 2, 2), (384, 2, 2)),
        ((3, 3), (384, 2, 2), (256, 2, 2)),
        ((3, 3), (256, 2, 2), (256, 2, 2)),
        ((), (256,), (1024,)),
        ((), (1024,), (84,)),
        ((), (84,), (10,)),
    ]
    narrow = layer_graph("alexnet-cifar[hidden=120]")
    assert macs("alexnet-cifar") - narrow.flops("macs").sum() == (1024 - 120) * (256 + 84)
    assert model_spec("alexnet-cifar[hidden=120]").name == "alexnet-cifar[hidden=120]"


def test_vgg16_at_32x32_does_313_million_macs() -> None:
    blocks = [(32, (64, 64)), (16, (128, 128)), (8, (256,) * 3), (4, (512,) * 3), (2, (512,) * 3)]
    expected, channels = 512 * 10, 3
    for size, widths in blocks:
        for width in widths:
            expected += size * size * 9 * channels * width
            channels = width
    assert macs("vgg16") == expected
    assert round(expected / 1e6, 1) == 313.2


def test_mobilenet_is_made_of_depthwise_separable_convolutions() -> None:
    graph = layer_graph("mobilenet_v1")
    convs = [layer for layer in graph.layers if layer.kind == "conv"]
    stem, blocks = convs[0], convs[1:]
    assert (stem.kernel, stem.out_shape) == ((3, 3), (32, 32, 32))
    assert len(blocks) == 2 * 13
    for depthwise, pointwise in zip(blocks[::2], blocks[1::2], strict=True):
        assert depthwise.groups == depthwise.in_channels == depthwise.out_channels
        assert (depthwise.kernel, pointwise.kernel, pointwise.groups) == ((3, 3), (1, 1), 1)
    assert [layer.out_shape[1] for layer in blocks[1::2]] == [
        *(32, 16, 16, 8, 8, 4, 4, 4, 4, 4, 4, 2, 2)
    ]
    assert [layer.out_channels for layer in blocks[1::2]] == [
        *(64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    ]


def test_regnet_at_32x32_has_torchvisions_blocks_with_two_strides_less() -> None:
    large = build(model_spec("regnet_x_400mf"), device="meta").state_dict()
    small = build(model_spec("regnet_x_400mf-cifar"), device="meta").state_dict()
    # Stride 1 and equal widths: the first block needs no projection.
    projection = {key for key in large if key.startswith("trunk_output.block1.block1-0.proj.")}
    assert set(large) - set(small) == projection
    assert set(small) < set(large)
    assert all(small[key].shape == large[key].shape for key in small)
    graph = layer_graph("regnet_x_400mf-cifar")
    sizes = {la.name.split(".")[1]: la.out_shape[1] for la in graph.layers if "trunk" in la.name}
    assert sizes == {"block1": 32, "block2": 16, "block3": 8, "block4": 4}
    assert graph.layers[0].out_shape == (32, 32, 32)


@pytest.mark.parametrize(("name", "convolutions"), [("resnet18", 20), ("resnet50", 53)])
def test_resnets_have_the_cifar_stem(name: str, convolutions: int) -> None:
    graph = layer_graph(name)
    convs = [layer for layer in graph.layers if layer.kind == "conv"]
    assert len(convs) == convolutions
    assert (convs[0].kernel, convs[0].out_shape) == ((3, 3), (64, 32, 32))
    assert not [layer for layer in graph.layers if layer.kind == "maxpool"]
    by_stage = {la.name.split(".")[0]: la.out_shape[1] for la in convs[1:]}
    assert by_stage == {"layer1": 32, "layer2": 16, "layer3": 8, "layer4": 4}


# --- building -------------------------------------------------------------------------------------


def test_weights_follow_from_the_seed_alone() -> None:
    spec = model_spec("alexnet-cifar")
    state = torch.get_rng_state()
    first = build(spec, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    second, other = build(spec, seed=3).state_dict(), build(spec, seed=4).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", [*models(), "torchvision:swin_t", "torchvision:inception_v3"])
def test_meta_networks_have_shapes_without_data(name: str) -> None:
    network = build(model_spec(name), device="meta")
    assert all(t.is_meta for t in (*network.parameters(), *network.buffers()))
    assert network.training


def test_meta_networks_share_what_the_network_shares(tmp_path: Path) -> None:
    path = tmp_path / "tied.py"
    path.write_text(
        "import torch\nfrom torch import nn\n"
        "class Tied(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        assert torch.ones(1).item() == 1  # needs data\n"
        "        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)\n"
        "        self.two.weight = self.one.weight\n"
        "    def forward(self, x): return self.two(self.one(x))\n"
    )
    network = build(model_spec(f"{path}:Tied"), device="meta")
    assert network.two.weight is network.one.weight
    assert network.two.weight.is_meta


def test_a_layer_graph_is_traced_once() -> None:
    assert layer_graph("vgg16") is layer_graph("vgg16")


# --- torchvision ----------------------------------------------------------------------------------


def test_torchvisions_classifiers_by_name() -> None:
    spec = model_spec("torchvision:resnet18")
    assert (spec.input_shape, spec.source_shape, spec.classes) == (
        *((3, 224, 224), (3, 224, 224), 1000),
    )
    assert spec.published_accuracy is None
    small = "torchvision:resnet18[num_classes=10, image_size=64]"
    assert model_spec(small).name == "torchvision:resnet18[image_size=64,num_classes=10]"
    graph = layer_graph(small)
    assert (graph.input_shape, graph.layers[-1].out_shape) == ((3, 64, 64), (10,))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet19", "unknown torchvision classifier 'resnet19'; .*'resnet18'"),
        ("torchvision:fcn_resnet50", "unknown torchvision classifier .*'resnet50'"),
        (
            "torchvision:resnet18[size=3]",
            "unknown option 'size' of model 'torchvision:resnet18'; "
            "accepted: image_size, num_classes",
        ),
        ("torchvision:resnet18[image_size=0]", "image_size is 0; allowed is 1 to 8192"),
        ("torchvision:resnet18[image_size=99999]", "image_size is 99999; allowed is 1 to 8192"),
        ("torchvision:resnet18[num_classes=9999999999]", "allowed is 1 to 100000"),
        ("torchvision:resnet18[num_classes=ten]", "num_classes is 'ten'; allowed"),
        ("torchvision:resnet18[num_classes=true]", "num_classes is True; allowed"),
        ("resnet19", "unknown model 'resnet19'; did you mean 'resnet18'"),
        ("alexnet[hidden=3]", "unknown option 'hidden' of model 'alexnet'; accepted: none"),
        ("alexnet-cifar[hiden=200]", "unknown option 'hiden' .*; accepted: hidden"),
        ("alexnet-cifar[hidden=119]", "hidden is 119; allowed is 120 to 1024"),
        ("alexnet-cifar[hidden=1025]", "hidden is 1025; allowed is 120 to 1024"),
        ("alexnet-cifar[hidden=300.5]", "hidden is 300.5; allowed is 120 to 1024"),
        ("alexnet[", "is not of the form"),
    ],
)
def test_names_that_mean_nothing_are_refused(name: str, message: str) -> None:
    with pytest.raises(CoinferError, match=message):
        build(model_spec(name), device="meta")


# --- files ----------------------------------------------------------------------------------------


def test_an_input_that_nobody_has_is_refused(net: str) -> None:
    with pytest.raises(CoinferError, match="has too many values; accepted: at most 268,435,456"):
        model_spec(f"{net}:make[input=3x99999x99999]")


def test_networks_from_a_file(net: str) -> None:
    spec = model_spec(f"{net}:make")
    assert (spec.input_shape, spec.source_shape, spec.classes) == ((3, 32, 32), (3, 32, 32), None)
    assert layer_graph(f"{net}:make").layers[-1].out_shape == (4, 30, 30)
    assert layer_graph(f"{net}:make[input=3x8x6,width=7]").layers[-1].out_shape == (7, 6, 4)
    assert layer_graph(f"{net}:wide").layers[-1].out_shape == (6, 6, 6)
    assert layer_graph(f"{net}:wide[input=5x9x9]").layers[-1].out_shape == (6, 7, 7)
    assert layer_graph(f"{net}:anything[width=2]").layers[-1].out_shape == (2, 30, 30)
    assert isinstance(build(model_spec(f"{net}:Net")), nn.Module)


def test_a_file_may_declare_its_input_shape(net: str) -> None:
    path = Path(net)
    path.write_text("input_shape = (3, 16, 16)\n" + NET)
    assert model_spec(f"{net}:make").input_shape == (3, 16, 16)
    assert model_spec(f"{net}:wide").input_shape == (5, 8, 8)
    path.write_text("input_shape = '16'\n" + NET)
    with pytest.raises(CoinferError, match="input shape is '16'; accepted: positive whole numbers"):
        model_spec(f"{net}:make")


def test_an_edited_file_is_another_network(net: str) -> None:
    before = layer_graph(f"{net}:make")
    hash_before = model_spec(f"{net}:make").source_hash
    Path(net).write_text(NET.replace("width=4", "width=9"))
    assert layer_graph(f"{net}:make").layers[-1].out_channels == 9
    assert before.layers[-1].out_channels == 4
    assert model_spec(f"{net}:make").source_hash != hash_before


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("missing.py:make", "cannot read '.*missing.py': No such file"),
        ("net.py", r"names no factory; accepted: .*net\.py:FACTORY"),
        ("net.py:mak", "unknown factory in .*'mak'; did you mean 'make'"),
        ("net.py:number", "number' returns a int; accepted: torch.nn.Module"),
        ("net.py:broken", "broken' fails: ValueError: no weights here"),
        ("net.py:leaving", "leaving' fails: SystemExit: 3"),
        ("net.py:make[depth=3]", "unknown option 'depth' of .*make'; accepted: input, width"),
        ("net.py:needy", r"leaves out what the factory needs; give .*net\.py:needy\[a=...,b=...\]"),
        ("net.py:needy[a=1]", r"give .*net\.py:needy\[b=...\]"),
        ("net.py:needy[a=1,b=2]", "needy' fails: ValueError: 1 2"),
        ("net.py:instance", "instance' is a Net; accepted: a function or class"),
        ("net.py:make[input=3x0x3]", "positive whole numbers"),
        ("net.py:make[input=3*3]", r"input is '3\*3'; accepted: sizes such as 3x32x32"),
    ],
)
def test_files_without_a_network_are_refused(net: str, ref: str, message: str) -> None:
    with pytest.raises(CoinferError, match=message) as caught:
        build(model_spec(str(Path(net).parent / ref)), device="meta")
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_import_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import a_module_that_is_not_there\n")
    with pytest.raises(CoinferError, match=r"bad\.py' does not import: ModuleNotFoundError"):
        model_spec(str(tmp_path / "bad.py") + ":make")


# --- torch and torchvision ------------------------------------------------------------------------


def _failing_import(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], failures: dict[str, Exception]
) -> None:
    real = importlib.import_module

    def import_module(name: str, package: str | None = None) -> ModuleType:
        if name in failures:
            raise failures[name]
        return real(name, package)

    monkeypatch.setattr(torchlib.importlib, "import_module", import_module)
    monkeypatch.setattr(torchlib, "installed_version", versions.get)


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("operator torchvision::nms does not exist"),
        AttributeError("partially initialized module 'torchvision' has no attribute 'extension'"),
        ImportError("cannot import name '_symbolic'\n from torch"),
        OSError("_C.so: undefined symbol"),
    ],
)
@pytest.mark.parametrize("name", ["alexnet", "torchvision:resnet18", "regnet_x_400mf-cifar"])
def test_a_mismatched_pair_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, name: str, failure: Exception
) -> None:
    versions = {"torch": "2.9.0", "torchvision": "0.19.1"}
    _failing_import(monkeypatch, versions, {"torchvision": failure})
    with pytest.raises(CoinferError) as caught:
        build(model_spec(name), device="meta")
    message = str(caught.value)
    assert message.startswith("torchvision 0.19.1 does not match torch 2.9.0 (")
    assert message.endswith(
        "install the two together: python -m pip install --upgrade torch torchvision"
    )
    assert "\n" not in message


def test_missing_packages_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ModuleNotFoundError("No module named 'torchvision'")
    _failing_import(monkeypatch, {"torch": "2.9.0"}, {"torchvision": missing})
    with pytest.raises(CoinferError, match=r"^torchvision is not installed; install the two"):
        build(model_spec("alexnet"))
    _failing_import(monkeypatch, {}, {"torch": ModuleNotFoundError("No module named 'torch'")})
    with pytest.raises(CoinferError, match=r"^torch is not installed; install the two together"):
        build(model_spec("mobilenet_v1"))


def runs(code: str) -> None:
    """Run Python code in a process of its own, which must end well."""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_a_question_about_a_network_loads_no_compiler(net: str, tmp_path: Path) -> None:
    wrapped = tmp_path / "wrapped.py"
    wrapped.write_text(
        "from torchvision import models\ndef net(): return models.squeezenet1_1(num_classes=3)\n"
    )
    names = ["torchvision:squeezenet1_1[image_size=64]", "alexnet-cifar[hidden=150]", f"{net}:make"]
    runs(
        "import os, sys\n"
        f"os.environ['COINFER_CACHE'] = {str(tmp_path)!r}\n"
        "from coinfer.graphs import layer_graph\n"
        f"for name in {names[1:]}: layer_graph(name)\n"
        "assert 'torchvision' not in sys.modules\n"
        f"layer_graph('{wrapped}:net[input=3x64x64]')\n"
        f"layer_graph({names[0]!r})\n"
        "assert 'torchvision' in sys.modules and 'torch._dynamo' not in sys.modules\n"
    )


def test_torchvisions_operators_find_the_compiler_when_they_need_it() -> None:
    runs(
        "import sys, torch\n"
        "from coinfer.torchlib import import_torchvision\n"
        "ops = import_torchvision().ops\n"
        "image, boxes = torch.rand(1, 1, 8, 8), torch.tensor([[0.0, 1.0, 1.0, 5.0, 5.0]])\n"
        "pooled = ops.roi_align(image, boxes, 2)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
        "assert ops.roi_align.__globals__['is_compile_supported']('cpu') in (True, False)\n"
        "assert sys.modules['torch._dynamo.utils'] is sys.modules['torch._dynamo'].utils\n"
        "assert torch.equal(ops.roi_align(image, boxes, 2), pooled)\n"
    )


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that stands for torch's compiler, not loaded yet."""
    name = f"compiler_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(
        "counters = {}\ndef is_compile_supported(device): return device == 'cpu'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torchlib, "_COMPILER", name)
    return name


def test_one_function_of_the_compiler_does_not_load_it_until_called(compiler: str) -> None:
    with torchlib.compiler_on_demand():
        supported = importlib.import_module(compiler).is_compile_supported
    assert compiler not in sys.modules
    assert [supported("cpu"), supported("toaster")] == [True, False]
    assert Path(str(sys.modules[compiler].__file__)).stem == compiler


def test_whatever_else_is_asked_of_the_compiler_is_its_own(compiler: str) -> None:
    with torchlib.compiler_on_demand():
        stand_in = importlib.import_module(compiler)
        counters = stand_in.counters
    real = sys.modules[compiler]
    assert real is not stand_in
    assert real.counters is counters
    with torchlib.compiler_on_demand():
        assert importlib.import_module(compiler) is real
    with pytest.raises(AttributeError):
        _ = stand_in.nothing


def test_the_registry_imports_without_torch() -> None:
    code = (
        "import sys\n"
        "from coinfer.models import model_spec, models\n"
        "models(); model_spec('alexnet-cifar[hidden=200]'); model_spec('torchvision:resnet18')\n"
        "assert not {'torch', 'torchvision', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
