"""Layer graphs by model name, without importing torch where a trace of the same code is kept."""

from __future__ import annotations

from functools import cache

from coinfer.errors import CoinferError
from coinfer.graph import LayerGraph
from coinfer.kept import Kept
from coinfer.models import ModelSpec, build, model_spec


def layer_graph(model: str) -> LayerGraph:
    """Return the layer graph of a model: a kept one where its key matches, else traced.

    Raises:
        CoinferError: when the model is unknown or cannot be traced.
    """
    return _graph_of(model_spec(model))


def retrace(model: str) -> LayerGraph:
    """Trace a model from its real module and hold the kept graph, if there is one, against it.

    Every row is computed from the kept graph, so the two must be equal.

    Raises:
        CoinferError: when the model is unknown or cannot be traced, or the kept graph is another.
    """
    spec = model_spec(model)
    kept, fresh = GRAPHS.find(spec), GRAPHS.read_off(spec)
    if kept is not None and kept != fresh:
        raise CoinferError(
            f"the kept layer graph of '{model}' is not what tracing gives; delete "
            f"'{GRAPHS.kept_file(spec).parent}' and install coinfer anew"
        )
    return fresh


def _traced(spec: ModelSpec) -> LayerGraph:
    network = build(spec)
    from coinfer.metadevice import on_meta  # only now: `build` says when torch is missing
    from coinfer.tracing import is_light, trace

    if not is_light(network, spec.input_shape):
        network = on_meta(network)
    return trace(network, spec.input_shape).graph


GRAPHS = Kept(
    "graphs",
    LayerGraph,
    ("coinfer.networks", "coinfer.tracing", "coinfer.models"),
    ("torch", "torchvision"),
    _traced,
)


@cache
def _graph_of(spec: ModelSpec) -> LayerGraph:
    return GRAPHS.of(spec)
