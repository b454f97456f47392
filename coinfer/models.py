"""The model registry: the networks as the papers use them, and how to name any other.

A model is named by

- a registry name: `alexnet`, `alexnet-cifar[hidden=512]`;
- `torchvision:NAME[num_classes=10,image_size=224]`: any of torchvision's classifiers;
- `path/to/file.py:factory[input=3x32x32,...]`: a function or class of a Python file that returns
  a network; further options are its keyword arguments. Without `input`, the factory's attribute
  `input_shape` or the file's variable of that name says the shape, else it is 3x32x32.

This module imports without torch; building does not.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coinfer.errors import CoinferError, UnknownNameError, one_line
from coinfer.plugins import load_file
from coinfer.refs import Ref, Scalar, parse_ref
from coinfer.torchlib import compiler_on_demand, import_torch, import_torchvision

if TYPE_CHECKING:
    from torch import nn

_TORCHVISION = "torchvision:"
_CIFAR = (3, 32, 32)
_IMAGENET = (3, 224, 224)
_HIDDEN = (120, 1024)
# Far beyond what anybody classifies or looks at; work and sizes stay below 2**63.
_MOST_CLASSES = 100_000
_MOST_PIXELS = 8_192
_MOST_VALUES = 2**28


@dataclass(frozen=True)
class ModelSpec:
    """A network by name: what builds it, on which input, and what its paper says about it.

    Attributes:
        name: canonical name, options included.
        builder: key of `coinfer.networks.BUILDERS`, `torchvision:NAME` or `file.py:factory`.
        options: (name, value) arguments of the builder, `input` left out.
        input_shape: shape of one network input, without batch.
        source_shape: shape of what the sensor delivers, 8 bits an element, before any resizing.
        classes: outputs; None where only the factory knows.
        published_accuracy: of the unpruned network, 0..1; None where none is published.
        published_source: where that number stands.
        paper: the convention named after the paper that uses the network; empty for none.
        note: what a reader should know.
        source_hash: SHA-256 of the file of a `file.py:factory`, else empty.
    """

    name: str
    builder: str
    input_shape: tuple[int, ...]
    source_shape: tuple[int, ...]
    classes: int | None
    options: tuple[tuple[str, Scalar], ...] = ()
    published_accuracy: float | None = None
    published_source: str = ""
    paper: str = ""
    note: str = ""
    source_hash: str = ""


def _registered(name: str, input_shape: tuple[int, ...], **about: Any) -> ModelSpec:
    """A registry entry: every one classifies CIFAR-10."""
    return ModelSpec(name, name, input_shape, _CIFAR, 10, (("classes", 10),), **about)


_MU = "Mu et al. 2024, section VI-A"
_REGISTRY = {
    spec.name: spec
    for spec in (
        _registered(
            "alexnet",
            _IMAGENET,
            published_accuracy=0.8742,
            published_source=_MU,
            paper="qho2024",
            note="torchvision's; identified from the ratios of the paper's Fig. 6",
        ),
        _registered(
            "alexnet-cifar",
            _CIFAR,
            paper="qho2024",
            note="32x32 variant of alexnet; option hidden, 120 to 1024",
        ),
        _registered(
            "mobilenet_v1",
            _CIFAR,
            paper="cpcdrl2024",
            note="CIFAR stem: stride 1",
        ),
        _registered("mobilenet_v2", _IMAGENET, note="torchvision's"),
        _registered(
            "regnet_x_400mf",
            _IMAGENET,
            published_accuracy=0.9171,
            published_source=_MU,
            paper="qho2024",
            note="torchvision's",
        ),
        _registered(
            "regnet_x_400mf-cifar",
            _CIFAR,
            paper="qho2024",
            note="32x32 variant of regnet_x_400mf: stride 1 in stem and first stage",
        ),
        _registered(
            "resnet18",
            _CIFAR,
            published_accuracy=0.95,
            published_source="Shao and Zhang 2020: around 95 percent",
            paper="threestep2020",
            note="CIFAR stem: 3x3 convolution of stride 1, no max pool",
        ),
        _registered(
            "resnet50",
            _CIFAR,
            published_accuracy=0.9299,
            published_source="Zhang et al. 2021, section IV",
            paper="cia2021",
            note="CIFAR stem: 3x3 convolution of stride 1, no max pool",
        ),
        _registered(
            "vgg16",
            _CIFAR,
            paper="cpcdrl2024",
            note="convolutions with batch normalisation, then one linear layer",
        ),
    )
}


def models() -> dict[str, ModelSpec]:
    """Return every registered network by name."""
    return dict(_REGISTRY)


def model_spec(name: str) -> ModelSpec:
    """Return the network called `name`, in any of the three ways to name one.

    Raises:
        UnknownNameError: for an unknown registry name, with the nearest ones.
        CoinferError: for an option that is unknown (with those accepted) or out of its range, or
            a file that is missing, does not import or has no such factory.
    """
    ref = parse_ref(name)
    if ref.name.startswith(_TORCHVISION):
        return _torchvision_spec(ref)
    path, colon, factory = ref.name.rpartition(":")
    if colon and path.endswith(".py"):
        path = os.path.normpath(path)  # ./nets.py and nets.py are one file
        return _file_spec(Ref(f"{path}:{factory}", ref.options), Path(path), factory)
    if ref.name.endswith(".py"):
        raise CoinferError(f"'{ref.name}' names no factory; accepted: {ref.name}:FACTORY")
    return _registry_spec(ref)


def build(spec: ModelSpec, *, device: str = "cpu", seed: int = 0) -> nn.Module:
    """Build an untrained network.

    The global random state is neither read nor changed.

    Args:
        spec: what to build.
        device: where its parameters go; `meta` makes shapes without data, at once.
        seed: of the initial weights.

    Raises:
        UnknownNameError: when torchvision has no such classifier, with the nearest names.
        CoinferError: when torch or torchvision is missing, or the factory fails.
    """
    import_torch()
    import torch

    from coinfer.metadevice import on_meta

    make = _maker(spec)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # torchvision warns that some default initialisation may change one day.
        warnings.simplefilter("ignore", FutureWarning)
        torch.default_generator.manual_seed(seed)
        if device != "meta":
            return make().to(device)
        try:
            with torch.device("meta"):
                return make()
        except Exception:
            # Its constructor computes with tensors: build it with data and drop the data.
            torch.default_generator.manual_seed(seed)
            return on_meta(make())


def _registry_spec(ref: Ref) -> ModelSpec:
    if ref.name not in _REGISTRY:
        raise UnknownNameError("model", ref.name, [*_REGISTRY, "torchvision:NAME", "FILE.py:NAME"])
    spec = _REGISTRY[ref.name]
    _check_options(ref, ("hidden",) if ref.name == "alexnet-cifar" else ())
    if not ref.options:
        return spec
    low, high = _HIDDEN
    if _whole_number(ref, "hidden", low, high) == high:
        return spec  # the default, and so the same network under one name
    return replace(spec, name=str(ref), options=(*spec.options, *ref.options))


def _torchvision_spec(ref: Ref) -> ModelSpec:
    _check_options(ref, ("image_size", "num_classes"))
    classes = _whole_number(ref, "num_classes", high=_MOST_CLASSES, default=1000)
    size = _whole_number(ref, "image_size", high=_MOST_PIXELS, default=224)
    shape = (3, size, size)
    said = {"num_classes": (classes, 1000), "image_size": (size, 224)}
    name = Ref(
        ref.name, tuple((key, value) for key, (value, usual) in said.items() if value != usual)
    )
    options = (("num_classes", classes),)
    return ModelSpec(str(name), ref.name, shape, shape, classes, options, note="torchvision's")


def _file_spec(ref: Ref, path: Path, name: str) -> ModelSpec:
    options = ref.arguments
    factory = _factory(path, name)
    _check_arguments(ref, factory)
    if "input" in options:
        shape = _parse_shape(str(ref), str(options.pop("input")))
    else:
        module = load_file(path)
        declared = getattr(factory, "input_shape", getattr(module, "input_shape", _CIFAR))
        shape = _check_shape(str(ref), declared)
    return ModelSpec(
        name=str(ref),
        builder=ref.name,
        input_shape=shape,
        source_shape=shape,
        classes=None,
        options=tuple(sorted(options.items())),
        note=f"from {path}",
        source_hash=sha256(path.read_bytes()).hexdigest(),
    )


def _maker(spec: ModelSpec) -> Callable[[], nn.Module]:
    """Return a function that builds the network where and as the torch context says."""
    arguments = dict(spec.options)
    if spec.builder.startswith(_TORCHVISION):
        return _torchvision_maker(spec.builder.removeprefix(_TORCHVISION), arguments)
    path, colon, name = spec.builder.rpartition(":")
    if colon:
        return _file_maker(spec, _factory(Path(path), name), arguments)
    from coinfer.networks import BUILDERS

    return lambda: BUILDERS[spec.builder](**arguments)


def _torchvision_maker(name: str, arguments: Mapping[str, Any]) -> Callable[[], nn.Module]:
    catalogue = import_torchvision().models
    # Classifiers only: the others take or return more than one tensor.
    known = catalogue.list_models(module=catalogue)
    if name not in known:
        raise UnknownNameError("torchvision classifier", name, known)
    return lambda: catalogue.get_model(name, weights=None, **arguments)


def _file_maker(
    spec: ModelSpec, factory: Callable[..., Any], arguments: Mapping[str, Any]
) -> Callable[[], nn.Module]:
    from torch import nn

    def make() -> nn.Module:
        try:
            network = factory(**arguments)
        except (Exception, SystemExit) as error:  # a stranger's factory may raise anything
            raise CoinferError(f"'{spec.builder}' fails: {one_line(error)}") from error
        if not isinstance(network, nn.Module):
            raise CoinferError(
                f"'{spec.builder}' returns a {type(network).__name__}; accepted: torch.nn.Module"
            )
        return network

    return make


def _factory(path: Path, name: str) -> Callable[..., Any]:
    with compiler_on_demand():  # many a file imports torchvision
        module = load_file(path)
    found = getattr(module, name, None)
    if found is None:
        known = [
            key
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        ]
        raise UnknownNameError(f"factory in '{path}':", name, known)
    import_torch()
    from torch import nn

    if isinstance(found, nn.Module) or not callable(found):
        raise CoinferError(
            f"'{path}:{name}' is a {type(found).__name__}; accepted: a function or class that "
            "returns a torch.nn.Module"
        )
    factory: Callable[..., Any] = found
    return factory


def _check_options(ref: Ref, accepted: tuple[str, ...]) -> None:
    for key, _ in ref.options:
        if key not in accepted:
            raise CoinferError(
                f"unknown option '{key}' of model '{ref.name}'; "
                f"accepted: {', '.join(accepted) or 'none'}"
            )


def _check_arguments(ref: Ref, factory: Callable[..., Any]) -> None:
    """Refuse options that a factory does not take, and calls that leave out one it needs."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # compiled code may have no signature; the call will tell
        return
    by_name = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        _check_options(ref, ("input", *(p.name for p in by_name)))
    missing = [p.name for p in by_name if p.default is p.empty and p.name not in ref.arguments]
    if missing:
        needed = ",".join(f"{name}=..." for name in missing)
        raise CoinferError(f"'{ref}' leaves out what the factory needs; give {ref.name}[{needed}]")


def _whole_number(
    ref: Ref, key: str, low: int = 1, high: int | None = None, default: int = 0
) -> int:
    value = ref.arguments.get(key, default)
    if type(value) is not int or value < low or (high is not None and value > high):
        allowed = f"{low} to {high}" if high else f"a whole number from {low}"
        raise CoinferError(f"'{ref}': {key} is {value!r}; allowed is {allowed}")
    return value


def _parse_shape(owner: str, text: str) -> tuple[int, ...]:
    sizes = text.split("x")
    if not all(size.isdecimal() for size in sizes):
        raise CoinferError(f"'{owner}': input is '{text}'; accepted: sizes such as 3x32x32")
    return _check_shape(owner, tuple(map(int, sizes)))


def _check_shape(owner: str, shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, tuple | list) else ()
    if not sizes or any(type(size) is not int or size < 1 for size in sizes):
        raise CoinferError(
            f"'{owner}': input shape is {shape!r}; accepted: positive whole numbers, such as "
            "(3, 32, 32)"
        )
    if prod(sizes) > _MOST_VALUES:
        raise CoinferError(
            f"'{owner}': an input of {shape!r} has too many values; accepted: at most "
            f"{_MOST_VALUES:,}"
        )
    return sizes
