"""What each node of a trace is: its kind, name, shapes, kernel and parameters.

A node that produces a tensor depending on the network's input is a layer and needs a kind from
`coinfer.graph.KINDS`. The tables below are all that is known; anything else is refused, because a
layer of unknown cost must never count as free.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from coinfer.errors import CoinferError
from coinfer.graph import INPUT, Layer

# Images traced at once. More than one and unlikely as a channel count, so that a layer which
# moves or merges the batch dimension is noticed.
BATCH = 5

# Key of a node's metadata: the path of the module it calls or in whose code it is, '' for the root.
PATH = "coinfer_path"

_MODULE_KINDS: tuple[tuple[str, tuple[type[nn.Module], ...]], ...] = (
    ("conv", (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    ("conv_transpose", (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)),
    ("fc", (nn.Linear,)),
    (
        "activation",
        (
            *(nn.CELU, nn.ELU, nn.GELU, nn.GLU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish),
            *(nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid, nn.LogSoftmax, nn.Mish, nn.PReLU),
            *(nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softmax),
            *(nn.Softmax2d, nn.Softmin, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh),
            *(nn.Tanhshrink, nn.Threshold),
        ),
    ),
    (
        "maxpool",
        (
            *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
            *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
        ),
    ),
    (
        "avgpool",
        (
            *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
            *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
        ),
    ),
    (
        "dropout",
        (
            *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
            *(nn.AlphaDropout, nn.FeatureAlphaDropout),
        ),
    ),
    (
        "norm",
        (
            *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
            *(nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
            *(nn.LayerNorm, nn.LocalResponseNorm, nn.RMSNorm),
        ),
    ),
    ("elementwise", (nn.Upsample,)),  # its subclasses are the named upsamplings
    (
        "reshape",
        (
            *(nn.ChannelShuffle, nn.Flatten, nn.Identity, nn.PixelShuffle, nn.PixelUnshuffle),
            *(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d, nn.Unflatten),
            *(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
            *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
        ),
    ),
)

# Functions and tensor methods, by name; `relu_` and `add_` are found as `relu` and `add`.
_FUNCTION_KINDS: Mapping[str, str] = {
    name: kind
    for kind, names in {
        "conv": "conv1d conv2d conv3d",
        "conv_transpose": "conv_transpose1d conv_transpose2d conv_transpose3d",
        "fc": "linear",
        "activation": (
            "abs celu clamp clamp_max clamp_min clip elu erf exp gelu glu hardshrink hardsigmoid "
            "hardswish hardtanh leaky_relu log log_softmax logsigmoid mish pow prelu relu relu6 "
            "rsqrt rrelu selu sigmoid silu softmax softmin softplus softshrink softsign sqrt "
            "square tanh tanhshrink threshold"
        ),
        "maxpool": (
            "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax "
            "max_pool1d max_pool2d max_pool3d"
        ),
        "avgpool": (
            "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
            "avg_pool1d avg_pool2d avg_pool3d mean"
        ),
        "dropout": (
            "alpha_dropout dropout dropout1d dropout2d dropout3d feature_alpha_dropout "
            "feature_dropout stochastic_depth"
        ),
        "norm": "batch_norm group_norm instance_norm layer_norm local_response_norm rms_norm",
        "add": "add iadd",
        "concat": "cat concat concatenate stack",
        "elementwise": (
            "addcmul div divide imul interpolate isub itruediv lerp maximum minimum mul multiply "
            "full_like neg negative new_full new_ones new_zeros ones_like reciprocal rsub sub "
            "subtract truediv true_divide upsample where zeros_like"
        ),
        "reshape": (
            "channel_shuffle chunk clone contiguous detach double expand expand_as flatten flip "
            "float getitem half movedim narrow native_channel_shuffle pad permute pixel_shuffle "
            "pixel_unshuffle repeat reshape reshape_as roll split squeeze swapaxes swapdims "
            "t tensor_split to transpose type type_as unbind unflatten unsqueeze view view_as"
        ),
    }.items()
    for name in names.split()
}

_FUNCTIONS: Mapping[Callable[..., Any], str] = {
    function: name
    for base in _FUNCTION_KINDS
    for name in (base, base + "_")
    for space in (operator, torch, functional)
    if callable(function := getattr(space, name, None))
}

_ACCEPTED = (
    "convolutions, linear layers, pointwise activations, pooling, dropout, normalisation, "
    "additions, concatenations, scalings and reshapes"
)


def describe_layers(
    module: fx.GraphModule,
    source: fx.Node,
    tensors: list[fx.Node],
    values: Mapping[fx.Node, Any],
) -> tuple[Layer, ...]:
    """Describe every layer of a trace.

    Args:
        module: the trace.
        source: the input's node.
        tensors: the layers' nodes, in execution order.
        values: every node's value for a batch of BATCH inputs; PATH is in every node's metadata.

    Raises:
        CoinferError: for a layer of unknown cost, or one that does not keep the batch apart.
    """
    index = {source: -1} | {node: i for i, node in enumerate(tensors)}
    names = _names(module, tensors)
    input_shape = _shape(values[source], INPUT)
    layers: list[Layer] = []
    counted: set[nn.Parameter] = set()
    for node, name in zip(tensors, names, strict=True):
        inputs = tuple(index[n] for n in _operands(node) if n in index)
        shapes = {i: layers[i].out_shape if i >= 0 else input_shape for i in inputs}
        kind = _kind(module, node, name)
        value = values[node]
        if isinstance(value, torch.Tensor):
            out_shape = _shape(value, name)
        elif kind == "reshape" and inputs:
            out_shape = shapes[inputs[0]]  # chunks: all of them together
        else:
            raise CoinferError(
                f"layer '{name}' returns several values; accepted: layers of one output, chunk, "
                "split and unbind"
            )
        in_shape = shapes[inputs[0]] if inputs else out_shape
        if kind == "add" and len(inputs) < 2:
            kind = "elementwise"  # a constant is added
        if kind in ("conv", "conv_transpose", "fc"):
            _check_weight(node, name, index)
        kernel, groups = _kernel(module, node, kind, in_shape, out_shape, values)
        pointwise = kind in ("activation", "add", "dropout", "elementwise", "norm")
        read = _parameters(module, node, index)
        layers.append(
            Layer(
                name=name,
                kind=kind,
                inputs=inputs,
                in_shape=in_shape,
                out_shape=out_shape,
                parameters=sum(p.numel() for p in read - counted),
                kernel=kernel,
                groups=groups,
                channel_axis=_channel_axis(kind, pointwise, inputs, layers, in_shape),
            )
        )
        counted |= read
    return tuple(layers)


def _channel_axis(
    kind: str,
    pointwise: bool,
    inputs: tuple[int, ...],
    layers: list[Layer],
    in_shape: tuple[int, ...],
) -> int:
    """Return -1 for linear layers on tokens (S, E) and what follows them pointwise, else 0."""
    if kind == "fc":
        return -1 if len(in_shape) > 1 else 0
    return layers[inputs[0]].channel_axis if pointwise and inputs and inputs[0] >= 0 else 0


def _operands(node: fx.Node) -> Iterable[fx.Node]:
    """Return the nodes a node reads, in argument order, repeated where read twice."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), lambda n: found.append(n))
    return found


def _shape(value: torch.Tensor, name: str) -> tuple[int, ...]:
    """Return a tensor's shape without its batch dimension."""
    if value.ndim == 0 or value.shape[0] != BATCH:
        raise CoinferError(
            f"layer '{name}' does not keep the batch as its first dimension; accepted: layers "
            "that treat every input of a batch alike"
        )
    return tuple(value.shape[1:])


def _names(module: fx.GraphModule, nodes: list[fx.Node]) -> list[str]:
    """Name every layer by the module it calls, or by the calling module and the function."""
    reserved = {INPUT} | {path for path, _ in module.named_modules()}
    used: set[str] = set()
    names = []
    for node in nodes:
        if node.op == "call_module":
            base = str(node.target)
            free = base not in used and base != INPUT
        else:
            base = ".".join(filter(None, (node.meta[PATH], _function_name(node) or node.name)))
            free = base not in used and base not in reserved
        name, count = base, 0
        while not free:
            count += 1
            name = f"{base}_{count}"
            free = name not in used and name not in reserved
        used.add(name)
        names.append(name)
    return names


def _function_name(node: fx.Node) -> str | None:
    """Return the name a functional call is known by, or None when it is unknown."""
    target = node.target
    if node.op == "call_method":
        name = str(target)
    elif getattr(target, "__module__", None) == "torchvision.ops.stochastic_depth":
        name = "stochastic_depth"
    else:
        name = _FUNCTIONS.get(target, "") if callable(target) else ""
    name = name.rstrip("_")
    return name if name in _FUNCTION_KINDS else None


def _kind(module: fx.GraphModule, node: fx.Node, name: str) -> str:
    """Return a layer's kind."""
    if node.op == "call_module":
        called = module.get_submodule(str(node.target))
        for kind, types in _MODULE_KINDS:
            if isinstance(called, types):
                return kind
        what = type(called).__name__
    else:
        function = _function_name(node)
        if function is not None:
            return _FUNCTION_KINDS[function]
        target = node.target
        what = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    raise CoinferError(f"layer '{name}' ({what}) has no known cost; accepted: {_ACCEPTED}")


def _kernel(
    module: fx.GraphModule,
    node: fx.Node,
    kind: str,
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    values: Mapping[fx.Node, Any],
) -> tuple[tuple[int, ...], int]:
    """Return (kernel size, groups) of a convolution or max pool; ((), 1) for other layers."""
    if kind not in ("conv", "conv_transpose", "maxpool"):
        return (), 1
    spatial = len(in_shape) - 1
    if node.op == "call_module":
        called = module.get_submodule(str(node.target))
        groups = int(getattr(called, "groups", 1))
        size = getattr(called, "kernel_size", None)
    elif kind == "maxpool":
        groups = 1
        size = argument(node, 1, "kernel_size")
        if _function_name(node) not in ("max_pool1d", "max_pool2d", "max_pool3d"):
            size = None
    else:
        size = tuple(values[argument(node, 1, "weight")].shape[2:])
        groups = int(argument(node, 6, "groups") or 1)
    if size is None:  # adaptive: the largest window that an output position sees
        pairs = zip(in_shape[1:], out_shape[1:] or (1,) * spatial, strict=False)
        size = tuple(-(-i // o) for i, o in pairs)
    return tuple(size) if isinstance(size, tuple | list) else (int(size),) * spatial, groups


def _check_weight(node: fx.Node, name: str, index: Mapping[fx.Node, int]) -> None:
    """Refuse a functional convolution or linear layer whose weights are activations."""
    if node.op != "call_module" and argument(node, 1, "weight") in index:
        raise CoinferError(
            f"layer '{name}' has weights that depend on the input, so no known cost; accepted: "
            "convolutions and linear layers with constant weights"
        )


def constant(module: fx.GraphModule, node: fx.Node) -> Any:
    """Return what a node reads from the network directly, a parameter or a buffer."""
    owner, _, field = str(node.target).rpartition(".")
    return getattr(module.get_submodule(owner), field)


def argument(node: fx.Node, position: int, keyword: str) -> Any:
    """Return an argument of a node's call, given by position or by keyword; None for neither."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(keyword)


def _parameters(
    module: fx.GraphModule, node: fx.Node, index: Mapping[fx.Node, int]
) -> set[nn.Parameter]:
    """Return what a layer reads: its own module's parameters, or those of its constants."""
    if node.op == "call_module":
        return set(module.get_submodule(str(node.target)).parameters())
    found: set[nn.Parameter] = set()
    pending = list(node.all_input_nodes)
    while pending:
        source = pending.pop()
        if source.op == "get_attr":
            value = constant(module, source)
            if isinstance(value, nn.Parameter):
                found.add(value)
        elif source not in index:
            pending += source.all_input_nodes
    return found
