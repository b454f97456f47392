"""Counting rules against the closed forms of the papers, layer kind by layer kind."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given

from coinfer import flops
from coinfer.errors import UnknownNameError
from coinfer.graph import KINDS, Cut, Layer, LayerGraph
from tests.graphs import chains


def counted(layer: Layer, rules: str) -> int:
    cuts = (Cut(0, "input", layer.in_shape, "input"), Cut(1, layer.name, layer.out_shape, "output"))
    return int(LayerGraph(layer.in_shape, (layer,), cuts).flops(rules)[0])


def conv(groups: int = 1) -> Layer:
    # Ci = 6, 10x9 -> Co = 8, Ho x Wo = 5x4, K = 3
    return Layer("c", "conv", (-1,), (6, 10, 9), (8, 5, 4), kernel=(3, 3), groups=groups)


# (layer, Table I FLOPs, MACs), each worked out from the papers' formulas.
CASES = {
    # 2 Ho Wo (Ci K^2 + 1) Co ; K K Ci Co Ho Wo
    "conv": (conv(), 2 * 5 * 4 * (6 * 9 + 1) * 8, 9 * 6 * 8 * 5 * 4),
    "grouped conv": (conv(2), 2 * 5 * 4 * (3 * 9 + 1) * 8, 9 * 3 * 8 * 5 * 4),
    "depthwise conv": (
        Layer("c", "conv", (-1,), (6, 10, 9), (6, 10, 9), kernel=(3, 3), groups=6),
        2 * 10 * 9 * (1 * 9 + 1) * 6,
        9 * 6 * 10 * 9,
    ),
    "oblong kernel": (
        Layer("c", "conv", (-1,), (2, 4, 4), (3, 4, 4), kernel=(1, 7)),
        2 * 16 * (2 * 7 + 1) * 3,
        7 * 2 * 3 * 16,
    ),
    # every input position writes a K^2 patch per channel pair; a bias per output position
    "transposed conv": (
        Layer("c", "conv_transpose", (-1,), (6, 5, 4), (8, 10, 8), kernel=(2, 2)),
        (2 * 5 * 4 * 4 * 6 + 2 * 10 * 8) * 8,
        4 * 6 * 8 * 5 * 4,
    ),
    # (2 Ci - 1) Co ; Ci Co
    "fc": (Layer("f", "fc", (-1,), (120,), (84,)), (2 * 120 - 1) * 84, 120 * 84),
    "fc on 7 tokens": (
        Layer("f", "fc", (-1,), (7, 120), (7, 84), channel_axis=-1),
        7 * (2 * 120 - 1) * 84,
        7 * 120 * 84,
    ),
    # Hi Wi Ci
    "relu": (Layer("r", "activation", (-1,), (6, 10, 9), (6, 10, 9)), 10 * 9 * 6, 0),
    "relu on features": (Layer("r", "activation", (-1,), (84,), (84,)), 84, 0),
    "avgpool": (Layer("p", "avgpool", (-1,), (6, 10, 9), (6, 1, 1)), 10 * 9 * 6, 0),
    # K^2 Ho Wo Ci
    "maxpool": (
        Layer("p", "maxpool", (-1,), (6, 10, 9), (6, 4, 4), kernel=(3, 3)),
        9 * 4 * 4 * 6,
        0,
    ),
    "dropout": (Layer("d", "dropout", (-1,), (6, 10, 9), (6, 10, 9)), 10 * 9 * 6, 0),
    **{
        kind: (Layer("x", kind, (-1,), (6, 10, 9), (6, 10, 9)), 0, 0)
        for kind in ("norm", "add", "concat", "elementwise", "reshape")
    },
}


@pytest.mark.parametrize("case", CASES)
def test_closed_forms(case: str) -> None:
    layer, table1, macs = CASES[case]
    assert counted(layer, "table1") == table1
    assert counted(layer, "table1_dropout_free") == (0 if layer.kind == "dropout" else table1)
    assert counted(layer, "macs") == macs


def test_every_kind_has_a_case() -> None:
    assert {layer.kind for layer, _, _ in CASES.values()} == set(KINDS)


@given(chains())
def test_a_network_is_counted_layer_by_layer_and_summed_cut_by_cut(graph: LayerGraph) -> None:
    for rules in flops.RULES:
        per_layer = [counted(layer, rules) for layer in graph.layers]
        assert graph.flops(rules).tolist() == per_layer
        sums = [sum(per_layer[: cut.index]) for cut in graph.cuts]
        assert graph.device_flops(rules).tolist() == sums
    assert graph.cut_elements.tolist() == [prod(cut.shape) for cut in graph.cuts]


def test_an_unknown_rule_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown FLOPs rule 'table2'; did you mean"):
        flops.rule("table2")
