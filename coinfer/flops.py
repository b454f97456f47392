"""Counting rules: what one layer of a network costs, chosen by name.

Every rule writes a layer's work as one expression in its channel counts,

    work = c_out * (alpha * fan_in + beta) + gamma * c_in,

with `fan_in` the input channels that one output channel reads (c_in / groups), so that pruned
networks are counted with the same coefficients, for a whole batch of keep vectors at once.

- `table1`: FLOPs by Table I of the QHO paper (Mu et al. 2024).
- `table1_dropout_free`: the same, dropout costing nothing (it is the identity at inference).
- `macs`: multiply-accumulates of convolutions and fully connected layers only (CPCDRL paper,
  eqs. 3-7).

Table I has no row for batch normalisation (folded into its convolution at inference), additions,
concatenations, reshapes and scalings: they cost nothing. Activations other than ReLU count as
ReLU. It divides no convolution by its groups; RegNet needs that, so we do. A transposed
convolution costs its convolution run backwards: alpha = 2 Hi Wi K^2, beta = 2 Ho Wo.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple, Protocol

from coinfer.errors import UnknownNameError


class Countable(Protocol):
    """What a rule looks at: a layer of a graph, or many of one kind as arrays (`Layers`)."""

    @property
    def kind(self) -> str:
        """Kind of layer, as in a layer graph."""

    @property
    def kernel(self) -> Any:
        """Height and width of its window; empty where it has none."""

    @property
    def in_positions(self) -> Any:
        """Positions of its input, H W."""

    @property
    def out_positions(self) -> Any:
        """Positions of its output."""


class Coefficients(NamedTuple):
    """Coefficients of a layer's work: c_out * (alpha * fan_in + beta) + gamma * c_in."""

    alpha: Any = 0
    beta: Any = 0
    gamma: Any = 0

    def work(self, c_in: Any, c_out: Any) -> Any:
        """Return the work of an ungrouped layer; numbers, or arrays of one shape."""
        return c_out * (self.alpha * c_in + self.beta) + self.gamma * c_in


class Layers(NamedTuple):
    """B layers of one kind that differ in size: arrays of shape (B,), or numbers for all."""

    kind: str
    in_positions: Any = 1
    out_positions: Any = 1
    kernel: tuple[Any, ...] = ()


FlopsRule = Callable[[Countable], Coefficients]


def table1(layer: Countable) -> Coefficients:
    """FLOPs of a layer by Table I of the QHO paper.

    conv 2 Ho Wo (Ci K^2 / groups + 1) Co; relu, avgpool, dropout Hi Wi Ci;
    maxpool K^2 Ho Wo Ci; fc (2 Ci - 1) Co.
    """
    match layer.kind:
        case "conv":
            positions = layer.out_positions
            return Coefficients(alpha=2 * positions * prod(layer.kernel), beta=2 * positions)
        case "conv_transpose":
            return Coefficients(
                alpha=2 * layer.in_positions * prod(layer.kernel), beta=2 * layer.out_positions
            )
        case "fc":
            return Coefficients(alpha=2 * layer.out_positions, beta=-layer.out_positions)
        case "activation" | "avgpool" | "dropout":
            return Coefficients(gamma=layer.in_positions)
        case "maxpool":
            return Coefficients(gamma=prod(layer.kernel) * layer.out_positions)
        case _:
            return Coefficients()


def table1_dropout_free(layer: Countable) -> Coefficients:
    """Table I, with dropout free: at inference it does nothing."""
    return Coefficients() if layer.kind == "dropout" else table1(layer)


def macs(layer: Countable) -> Coefficients:
    """Multiply-accumulates of conv and fc layers (CPCDRL paper, section II); all else is free."""
    match layer.kind:
        case "conv":
            return Coefficients(alpha=layer.out_positions * prod(layer.kernel))
        case "conv_transpose":
            return Coefficients(alpha=layer.in_positions * prod(layer.kernel))
        case "fc":
            return Coefficients(alpha=layer.out_positions)
        case _:
            return Coefficients()


RULES: dict[str, FlopsRule] = {
    "table1": table1,
    "table1_dropout_free": table1_dropout_free,
    "macs": macs,
}


def rule(name: str) -> FlopsRule:
    """Return the counting rule called `name`.

    Raises:
        UnknownNameError: when there is none.
    """
    try:
        return RULES[name]
    except KeyError:
        raise UnknownNameError("FLOPs rule", name, RULES) from None
