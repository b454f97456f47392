"""From a real `torch.nn.Module` to its layer graph, and from a cut to two real modules.

A network is traced symbolically (torch.fx), then run once to learn every shape: a light one on
zeros, a heavy one on meta tensors (shapes without data). Meta tensors cost nothing to compute
with, but the first of them loads torch's compiler, which takes longer than a light network runs.
What becomes of each node of the trace:

- *Layers* produce a tensor that depends on the network's input: module calls and functional calls
  alike. Each needs a kind from `coinfer.graph.KINDS`, by which `coinfer.flops` prices it. An
  operation whose cost is not known (attention, matrix products of two activations, an unknown
  module) is refused, never counted as free.
- *Shape arithmetic* (`x.size(0)`, `x.shape[1] // 2`) produces no tensor. It costs nothing and is
  computed on whichever side of a cut needs it, from the tensors that this side has.
- *Constants* (parameters read directly, and what is computed from them alone) do not depend on
  the input. Either side holds its own; their arithmetic is done once, ahead of inference.
- Results that nobody reads are dropped from the trace.

A cut is legal when exactly one value crosses it, and that value is a tensor. A size computed from
an earlier tensor is a second value that crosses (ShuffleNet's channel shuffle reads such sizes);
where that makes a cut illegal, one before or behind the reshapes has the same size and cost.
"""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import fx, nn

from coinfer.errors import CoinferError
from coinfer.graph import INPUT, Cut, Layer, LayerGraph
from coinfer.layers import BATCH, PATH, describe_layers
from coinfer.metadevice import on_meta

# What `is_light` allows: elements of one input, and that times the number of parameters.
_LIGHT_INPUT, _LIGHT_WORK = 10**6, 25 * 10**12


@dataclass(frozen=True)
class Traced:
    """A network as a runnable trace beside its layer graph.

    Attributes:
        module: the trace, a copy of the network in evaluation mode that computes the same.
        graph: its layers and legal cuts, as torch-free data.
        nodes: `nodes[i]` is the node of `module.graph` that is `graph.layers[i]`.
    """

    module: fx.GraphModule
    graph: LayerGraph
    nodes: tuple[fx.Node, ...]


def is_light(network: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Whether a network runs on real inputs sooner than meta tensors get ready.

    Judged by its parameters and the elements of one input, whose product bounds the work of
    convolutions that enlarge nothing: at 3x224x224, up to 166 million parameters.
    """
    elements = prod(input_shape)
    weights = sum(p.numel() for p in network.parameters() if not nn.parameter.is_lazy(p))
    return elements <= _LIGHT_INPUT and weights * elements <= _LIGHT_WORK


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: on a busy machine, several wait for each other and take longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def trace(model: nn.Module, input_shape: tuple[int, ...]) -> Traced:
    """Trace a network; the caller's is left as it is.

    The trace is made in evaluation mode: `functional.dropout(x, training=self.training)` is
    recorded as switched off, while dropout modules keep their switch. A layer called by a module
    takes that module's path as its name (`layer1.0.conv1`), a functional call the path of the
    module whose code makes it and its own name (`layer1.0.add`); later calls of the same name
    get `_1`, `_2`, as in torchvision's feature extraction.

    Args:
        model: a network with one input and one output tensor. Its parameters may be on the meta
            device: only shapes are needed.
        input_shape: shape of one input, without the batch dimension, channels first.

    Raises:
        CoinferError: when the network cannot be traced (data-dependent control flow), has several
            inputs or outputs, does not run on such an input, or holds an operation of unknown cost.
    """
    label = type(model).__name__
    if not isinstance(model, nn.Module):
        raise CoinferError(f"a network is a torch.nn.Module, not {label}")
    _check_input_shape(input_shape)
    _check_one_input(model, label)
    _check_initialised(model, label)
    network = _own_copy(model, label)
    graph = _symbolic_trace(network, label)
    values = _run(network, graph, input_shape, label)
    _drop_unused(network, graph)
    tensors = _tensor_nodes(graph, values)
    source, result = _ends(graph, tensors, values, label)
    if not tensors:
        raise CoinferError(f"{label} has no layers: its output does not depend on its input")
    module = fx.GraphModule(network, graph, class_name=label)
    layers = describe_layers(module, source, tensors, values)
    cuts = _legal_cuts(source, result, tensors, values, layers)
    return Traced(module, LayerGraph(tuple(input_shape), layers, cuts), tuple(tensors))


def split(
    network: Traced | nn.Module, cut: Cut | str, input_shape: tuple[int, ...] | None = None
) -> tuple[nn.Module, nn.Module]:
    """Split a network at a legal cut into its device half and its server half.

    `server(device(x))` equals the network at x. Each half holds only the parameters it uses and
    names them as the network does; an empty half is the identity. The halves of a `Traced` share
    their parameters with `network.module`; a plain module is copied first.

    Args:
        network: a trace, or a module together with its `input_shape`.
        cut: a cut, or the name of the layer it is behind (`input` for cut 0). A cut is known by
            that name alone, so one of the unpruned network splits the pruned one.
        input_shape: shape of one input without batch; needed for a plain module only.

    Raises:
        UnknownNameError: when no legal cut is there.
        CoinferError: when a plain module comes without input shape, or cannot be traced.
    """
    if not isinstance(network, Traced):
        if input_shape is None:
            raise CoinferError(
                f"split of {type(network).__name__} needs input_shape, the shape of one input "
                "without batch, such as (3, 224, 224)"
            )
        network = trace(network, input_shape)
    cut = network.graph.cut(cut.after if isinstance(cut, Cut) else cut)
    nodes = list(network.module.graph.nodes)
    source = next(node for node in nodes if node.op == "placeholder")
    boundary = network.nodes[cut.index - 1] if cut.index else source
    return (
        _part(network.module, source, boundary, "DeviceHalf"),
        _part(network.module, boundary, network.nodes[-1], "ServerHalf"),
    )


def _part(module: fx.GraphModule, start: fx.Node, end: fx.Node, name: str) -> fx.GraphModule:
    """Return the part of a trace that computes `end` from `start`."""
    needed, pending = {end, start}, [end]
    while pending:
        node = pending.pop()
        if node is not start:
            pending += [n for n in node.all_input_nodes if n not in needed]
            needed.update(node.all_input_nodes)
    graph = fx.Graph()
    copies = {start: graph.placeholder("x")}
    for node in module.graph.nodes:
        if node in needed and node is not start:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[end])
    return fx.GraphModule(module, graph, class_name=name)


def _check_input_shape(input_shape: tuple[int, ...]) -> None:
    sizes = input_shape if isinstance(input_shape, tuple | list) else ()
    if not sizes or any(type(size) is not int or size < 1 for size in sizes):
        raise CoinferError(
            f"input shape {input_shape!r}; accepted: positive integers, without the batch "
            "dimension, such as (3, 224, 224)"
        )


def _own_copy(model: nn.Module, label: str) -> nn.Module:
    """Return a copy of the network in evaluation mode, a lone leaf module inside a container."""
    try:
        network = copy.deepcopy(model).eval()
    except Exception as error:  # the code of a stranger's model may raise anything
        raise CoinferError(f"{label} cannot be copied: {_line(error)}") from error
    if fx.Tracer().is_leaf_module(network, ""):
        return nn.Sequential(OrderedDict([(label.lower(), network)]))
    return network


class _Whole(nn.Module):
    """Calls a network with its input alone, so that other arguments keep their defaults."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> Any:
        """Call the network."""
        return self.network(x)


def _symbolic_trace(network: nn.Module, label: str) -> fx.Graph:
    """Trace `network` as a function of one argument; targets are its own attribute paths."""
    whole = _Whole(network)
    try:
        graph = fx.Tracer().trace(whole)
    except Exception as error:
        raise CoinferError(
            f"{label} cannot be traced: {_line(error)}; accepted: networks whose control flow "
            "does not depend on the data"
        ) from error
    prefix = "network."
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            if not node.target.startswith(prefix):  # a tensor made while tracing
                network.register_buffer(node.target, getattr(whole, node.target))
            node.target = node.target.removeprefix(prefix)
        callers = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        caller = f"{callers[-1]}." if callers else prefix
        node.meta[PATH] = caller.removeprefix(prefix).removesuffix(".")
    return graph


def _check_one_input(network: nn.Module, label: str) -> None:
    """Refuse a network that one positional argument cannot call."""
    try:
        signature = inspect.signature(network.forward)
    except ValueError:  # compiled code has none; tracing will tell
        return
    try:
        signature.bind(None)
    except TypeError:
        required = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        raise CoinferError(
            f"{label} takes {len(required)} inputs ({', '.join(required) or 'none'}); "
            "accepted: networks of one input"
        ) from None


def _check_initialised(network: nn.Module, label: str) -> None:
    """Refuse lazy modules: their parameters have no shape yet."""
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise CoinferError(
                f"{label} has a lazy parameter '{name}' without a shape; accepted: networks that "
                "have run once"
            )


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps every value's shape (tensors as meta tensors)."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(network, graph=graph)
        self.values: dict[fx.Node, Any] = {}
        self.current: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        self.current = n
        value = super().run_node(n)
        self.values[n] = fx.node.map_aggregate(
            value, lambda v: v.detach().to("meta") if isinstance(v, torch.Tensor) else v
        )
        return value


def _run(
    network: nn.Module, graph: fx.Graph, input_shape: tuple[int, ...], label: str
) -> dict[fx.Node, Any]:
    """Return the value of every node for one batch."""
    tensors: list[torch.Tensor] = [*network.parameters(), *network.buffers()]
    floating = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
    devices = ["meta", floating.device.type]
    if floating.device.type == "meta" or is_light(network, input_shape):
        del devices[0]
    for device in devices:
        batch = torch.zeros(BATCH, *input_shape, dtype=floating.dtype, device=device)
        candidate = on_meta(network) if device == "meta" else _with_own_buffers(network)
        recorder = _Recorder(candidate, graph)
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                recorder.run(batch)
        except Exception as error:
            failure, node = error, recorder.current
            continue
        return recorder.values
    where = "" if node is None else f" at '{node.meta[PATH] or node.name}'"
    size = "x".join(map(str, input_shape))
    raise CoinferError(f"{label} fails on an input of {size}{where}: {_line(failure)}") from failure


def _with_own_buffers(network: nn.Module) -> nn.Module:
    """Return a copy to run: it shares the parameters, but a run may change buffers."""
    return copy.deepcopy(network, {id(p): p for p in network.parameters()})


def _drop_unused(network: nn.Module, graph: fx.Graph) -> None:
    """Erase every node whose result nobody reads."""
    for node in reversed(graph.nodes):
        if node.op in ("placeholder", "output") or node.users:
            continue
        if _in_place(network, node):
            raise CoinferError(
                f"layer '{node.meta[PATH] or node.name}' changes its input in place and its result "
                "is not used; accepted: layers whose result is used (write x = f(x))"
            )
        graph.erase_node(node)


def _in_place(network: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(network.get_submodule(str(node.target)), "inplace", False))
    if node.op not in ("call_function", "call_method"):
        return False
    target = node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return bool(node.kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__"))


def _tensor_nodes(graph: fx.Graph, values: Mapping[fx.Node, Any]) -> list[fx.Node]:
    """Return the layers' nodes: those of tensors that depend on the input, in order."""
    depends: set[fx.Node] = set()
    found = []
    for node in graph.nodes:
        if node.op == "placeholder" or any(n in depends for n in node.all_input_nodes):
            depends.add(node)
            if node.op.startswith("call_") and _holds_tensor(values[node]):
                found.append(node)
    return found


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    return isinstance(value, torch.Tensor) or (
        isinstance(value, tuple | list) and any(_holds_tensor(item) for item in value)
    )


def _ends(
    graph: fx.Graph, tensors: list[fx.Node], values: Mapping[fx.Node, Any], label: str
) -> tuple[fx.Node, fx.Node]:
    """Return the input's node and the node whose value is the network's output."""
    source = next(node for node in graph.nodes if node.op == "placeholder")
    result = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(result, fx.Node) or not isinstance(values[result], torch.Tensor):
        found = values[result] if isinstance(result, fx.Node) else result
        what = type(found).__name__.removeprefix("immutable_")
        raise CoinferError(f"{label} returns a {what}; accepted: networks of one output tensor")
    return source, result


def _legal_cuts(
    source: fx.Node,
    result: fx.Node,
    tensors: list[fx.Node],
    values: Mapping[fx.Node, Any],
    layers: tuple[Layer, ...],
) -> tuple[Cut, ...]:
    """Return the legal cuts, in order.

    A tensor made by layer j and last needed by layer m crosses the cuts j+1..m, whether it is
    needed directly or for its size.
    """
    count = len(layers)
    made = {source: -1} | {node: i for i, node in enumerate(tensors)}
    last = dict.fromkeys(made, -1)
    for position, node in [*enumerate(tensors), (count, result)]:
        for needed in [result] if position == count else _tensors_needed(node, made):
            last[needed] = position
    crossing: list[list[fx.Node]] = [[] for _ in range(count + 1)]
    for node, birth in made.items():
        for i in range(birth + 1, last[node] + 1):
            crossing[i].append(node)
    cuts = []
    for i, nodes in enumerate(crossing):
        if len(nodes) == 1 and isinstance(values[nodes[0]], torch.Tensor):
            kind = "input" if i == 0 else "output" if i == count else "interior"
            after = layers[i - 1].name if i else INPUT
            shape = layers[i - 1].out_shape if i else tuple(values[source].shape[1:])
            cuts.append(Cut(i, after, shape, kind))
    return tuple(cuts)


def _tensors_needed(node: fx.Node, made: Mapping[fx.Node, int]) -> set[fx.Node]:
    """Return the tensors a layer needs, seen through shape arithmetic."""
    found: set[fx.Node] = set()
    pending = list(node.all_input_nodes)
    while pending:
        needed = pending.pop()
        if needed in made:
            found.add(needed)
        else:
            pending += needed.all_input_nodes
    return found


def _line(error: BaseException) -> str:
    """Return an error's message as one short line, without torch.fx's account of its state."""
    text = str(error).partition("While executing %")[0]
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "\u2026"
