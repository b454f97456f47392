"""Codecs: shapes, work counted on the real modules and by hand, structure as the papers have it."""

from __future__ import annotations

import subprocess
import sys
from math import ceil, prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from coinfer import flops
from coinfer.compression.codecs import (
    CODECS,
    Asymmetric,
    BottleNetPlusPlus,
    CiaConv,
    CiaLinear,
    ConvCodec,
    LinearCodec,
    Norm,
    StagedCodec,
    ThreeStepConv,
    ThreeStepLinear,
    work_of,
)
from coinfer.errors import CoinferError
from coinfer.parts import Parts
from coinfer.tracing import trace

sides = st.integers(1, 9)
widths = st.integers(1, 6)
kernels, strides = st.sampled_from([1, 3, 5, 7]), st.integers(1, 4)
activations = st.sampled_from(["relu", "tanh", "sigmoid"])
finals = st.sampled_from(["relu", "none"])
maps = st.tuples(widths, sides, sides)
vectors = st.one_of(st.tuples(widths), st.tuples(widths, st.just(1), st.just(1)))

CASES = st.one_of(
    st.tuples(
        st.builds(
            ConvCodec, widths, widths, kernels, strides, kernels, strides, activations, finals
        ),
        maps,
    ),
    st.tuples(st.builds(LinearCodec, widths, widths, activations, finals), vectors),
    st.tuples(st.builds(LinearCodec, widths, widths, activations, finals, st.just(1)), maps),
    st.tuples(st.builds(BottleNetPlusPlus, widths, st.just(0)), maps),
    st.tuples(
        st.builds(BottleNetPlusPlus, widths, st.just(1)),
        st.tuples(widths, st.integers(2, 9), st.integers(2, 9)),
    ),
    st.tuples(st.builds(ThreeStepConv, widths), maps),
    st.tuples(st.builds(Asymmetric, widths, st.integers(1, 2), finals), maps),
    st.tuples(st.builds(ThreeStepLinear, widths, st.none() | widths), vectors),
    st.tuples(
        st.builds(ThreeStepLinear, widths, st.none() | widths, st.just(0.5), st.just(1)), maps
    ),
    st.tuples(st.builds(CiaConv, st.none() | widths, st.none() | widths, finals), maps),
    st.tuples(st.builds(CiaLinear, st.none() | widths, finals), vectors),
)


def modules(codec: StagedCodec, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, decoder = codec.modules(shape)
    return encoder.eval(), decoder.eval()


def spread(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.linspace(-3, 3, 2 * prod(shape)).reshape(2, *shape)


@given(CASES)
@settings(max_examples=60)
def test_what_comes_back_has_exactly_the_shape_that_crossed(
    case: tuple[StagedCodec, tuple[int, ...]],
) -> None:
    codec, shape = case
    encoder, decoder = modules(codec, shape)
    code = encoder(spread(shape))
    assert tuple(code.shape[1:]) == codec.code_shape(shape)
    assert decoder(code).shape[1:] == shape


@given(CASES, st.sampled_from(sorted(flops.RULES)))
@settings(max_examples=60)
def test_work_is_that_of_the_real_modules(
    case: tuple[StagedCodec, tuple[int, ...]], rules: str
) -> None:
    codec, shape = case
    encoder, decoder = codec.modules(shape)
    counted = (
        trace(encoder, shape).graph.flops(rules).sum(),
        trace(decoder, codec.code_shape(shape)).graph.flops(rules).sum(),
    )
    assert codec.work(shape, rules) == counted


def conv_flops(c_in: int, kernel: int, c_out: int, positions: int) -> int:
    return 2 * positions * (c_in * kernel**2 + 1) * c_out


def test_conv_work_by_table_1() -> None:
    codec = ConvCodec(8, 4, hidden_kernel=5, hidden_stride=2, code_kernel=3, code_stride=2)
    # 16 maps of 7x9 become 8 of 4x5, then 4 of 2x3; ReLU after each.
    encoder = conv_flops(16, 5, 8, 20) + 8 * 20 + conv_flops(8, 3, 4, 6) + 4 * 6
    # Transposed convolutions run the same products backwards, with a bias per output element.
    back = 2 * (4 * 6) * 9 * 8 + 2 * 8 * 20 + 8 * 20
    back += 2 * (8 * 20) * 25 * 16 + 2 * 16 * 63 + 16 * 63
    assert codec.code_shape((16, 7, 9)) == (4, 2, 3)
    assert codec.work((16, 7, 9), "table1") == (encoder, back)


def test_linear_work_by_table_1_and_in_macs() -> None:
    codec = LinearCodec(10, 3)
    encoder = (2 * 20 - 1) * 10 + 10 + (2 * 10 - 1) * 3 + 3
    decoder = (2 * 3 - 1) * 10 + 10 + (2 * 10 - 1) * 20 + 20
    assert codec.work((20,), "table1") == (encoder, decoder)
    assert codec.work((20, 1, 1), "table1") == (encoder, decoder)
    assert codec.work((20,), "macs") == (20 * 10 + 10 * 3, 3 * 10 + 10 * 20)


def test_batch_normalisation_costs_nothing() -> None:
    codec, shape = BottleNetPlusPlus(4), (6, 5, 5)
    stages = codec.encoder(shape)
    folded = [stage for stage in stages if not isinstance(stage, Norm)]
    assert len(folded) == len(stages) - 1
    assert codec.work(shape, "table1")[0] == work_of(folded, shape, "table1")


@given(maps.filter(lambda shape: min(shape[1:]) > 1), widths)
def test_bottlenet_halves_or_keeps_and_its_decoder_matches(
    shape: tuple[int, int, int], channels: int
) -> None:
    _, height, width = shape
    assert BottleNetPlusPlus(channels).code_shape(shape) == (channels, height, width)
    halved = BottleNetPlusPlus(channels, spatial=1)
    assert halved.code_shape(shape) == (channels, height // 2, width // 2)
    kinds = [type(module) for module in modules(halved, shape)[1]]
    assert kinds == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU]


@pytest.mark.parametrize("spatial", [0, 1])
def test_bottlenet_sees_the_noise_level_and_bounds_what_it_sends(spatial: int) -> None:
    shape = (3, 4, 4)
    encoder, decoder = modules(BottleNetPlusPlus(2, spatial), shape)
    maps = spread(shape)
    clear, noisy = encoder(maps), encoder(maps, 0.3)
    conv, norm, _ = encoder.body
    for code, level in ((clear, 0.0), (noisy, 0.3)):
        told = torch.cat((maps, torch.full((2, 1, 4, 4), level)), 1)
        assert torch.equal(code, torch.sigmoid(norm(conv(told))))
    assert not torch.equal(clear, noisy)
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert decoder(noisy).min() >= 0


def test_three_step_codes_lie_within_the_range_of_tanh() -> None:
    for codec, shape in ((ThreeStepConv(4), (3, 5, 5)), (ThreeStepLinear(4, hidden=7), (12,))):
        encoder, decoder = modules(codec, shape)
        code = encoder(100 * spread(shape))
        assert code.abs().max() <= 1
        assert code.min() < -0.9  # on both sides of 0
        assert decoder(code).min() > -1  # ELU


@given(maps)
def test_cia_keeps_an_eighth_of_the_channels_then_a_quarter_of_the_elements(
    shape: tuple[int, int, int],
) -> None:
    channels, height, width = shape
    kept = ceil(channels / 8) * ceil(height / 2) * ceil(width / 2)
    assert CiaConv().code_shape(shape) == (ceil(kept / 4),)
    assert CiaLinear().code_shape((channels,)) == (ceil(channels / 4),)


def test_cia_sends_128_times_fewer_elements_and_less_when_pruned() -> None:
    shape = (256, 8, 8)
    assert prod(shape) == 128 * prod(CiaConv().code_shape(shape))
    pruned = CiaConv(channels=20, width=50)
    assert pruned.code_shape(shape) == (50,)
    macs_down = 256 * 9 * 20 * 16 + 320 * 50
    assert pruned.work(shape, "macs") == (macs_down, macs_down)


@pytest.mark.parametrize("bound", ["tanh", "sigmoid", "relu"])
def test_codes_are_bounded_where_asked(bound: str) -> None:
    low = {"tanh": -1.0, "sigmoid": 0.0, "relu": 0.0}[bound]
    high = torch.inf if bound == "relu" else 1.0
    for codec, shape in (
        (ConvCodec(4, 3, code_activation=bound), (3, 5, 5)),
        (LinearCodec(8, 5, code_activation=bound), (12,)),
    ):
        code = modules(codec, shape)[0](1e3 * spread(shape))
        assert low <= code.min()
        assert code.max() <= high


@pytest.mark.parametrize("make", [lambda f: ConvCodec(4, 3, final=f), lambda f: CiaConv(final=f)])
def test_only_a_decoder_without_final_activation_gives_negative_values(make: Any) -> None:
    shape = (8, 6, 6)
    for final, negative in (("relu", False), ("none", True)):
        encoder, decoder = modules(make(final), shape)
        assert bool((decoder(encoder(spread(shape))) < 0).any()) is negative


@pytest.mark.parametrize("stride", [1, 2])
def test_the_asymmetric_decoder_works_as_counted_by_hand(stride: int) -> None:
    """Multiply-accumulates by hand: C' C k^2 code positions, then as many back and 2 C^2 k^2."""
    code = 6 // stride
    encode, decode = Asymmetric(4, stride).work((8, 6, 6), "macs")
    assert encode == 4 * 8 * 9 * code**2
    assert decode == encode + 2 * 8 * 8 * 9 * 36
    assert Asymmetric(4, stride).code_shape((8, 6, 6)) == (4, code, code)


def test_every_codec_is_made_by_its_name() -> None:
    parts = Parts({}).with_classes(CODECS)
    assert {name for _, name in parts.classes} == {
        *("conv", "linear", "bottlenet++", "cia-conv", "cia-linear"),
        *("threestep-conv", "threestep-linear", "asymmetric"),
    }
    assert parts.codec("bottlenet++[channels=4,spatial=1]") == BottleNetPlusPlus(4, 1)
    assert parts.codec("cia-conv[channels=null,width=9]") == CiaConv(width=9)
    assert parts.code_shape("conv[hidden_channels=3,code_channels=2]", (4, 5, 5)) == (2, 5, 5)
    with pytest.raises(CoinferError, match="options accepted are: hidden_channels, code_channels"):
        parts.codec("conv[channels=3]")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvCodec(0, 1), "'conv': hidden_channels is 0; allowed is a whole number, 1"),
        (lambda: ConvCodec(2, 1.5), "'conv': code_channels is 1.5; allowed is a whole number"),
        (lambda: ConvCodec(2, 1, hidden_kernel=4), "hidden_kernel is 4; allowed is an odd"),
        (lambda: ConvCodec(2, 1, code_stride=0), "code_stride is 0; allowed is a whole number"),
        (lambda: ConvCodec(2, 1, code_activation="elu"), "'elu'; allowed: relu, tanh, sigmoid"),
        (lambda: LinearCodec(2, 1, final="tanh"), "final is 'tanh'; allowed: relu, none"),
        (lambda: LinearCodec(2, 1, flatten=2), "flatten is 2; allowed is a whole number, 0 to 1"),
        (lambda: BottleNetPlusPlus(4, True), "spatial is True; allowed is a whole number, 0 to 1"),
        (lambda: ThreeStepLinear(dropout=1.0), "dropout is 1.0; allowed is 0 to below 1"),
        (lambda: ThreeStepLinear(hidden=0), "hidden is 0; allowed is a whole number, 1 or more"),
        (lambda: CiaConv(channels="x"), "channels is 'x'; allowed is a whole number"),
        (lambda: Asymmetric(4, 3), "'asymmetric': stride is 3; allowed is a whole number, 1 to 2"),
        (lambda: Asymmetric(4, final="elu"), "final is 'elu'; allowed: relu, none"),
        (lambda: Asymmetric(4).code_shape((5,)), r"shape \(5,\); accepted: maps \(C, H, W\)"),
        (lambda: ConvCodec(2, 1).code_shape((5,)), r"shape \(5,\); accepted: maps \(C, H, W\)"),
        (lambda: CiaConv().work((5, 2), "table1"), r"shape \(5, 2\); accepted: maps"),
        (lambda: LinearCodec(2, 1).modules((3, 2, 2)), r"\(C, 1, 1\), or flatten=1"),
        (lambda: CiaLinear().code_shape((3, 2, 2)), r"vectors \(D,\) and maps \(C, 1, 1\)$"),
        (
            lambda: BottleNetPlusPlus(4, 1).code_shape((3, 1, 4)),
            "halve maps of 1x4; accepted: maps",
        ),
        (lambda: CiaLinear().work((5,), "flop"), "unknown FLOPs rule 'flop'"),
    ],
)
def test_bad_options_and_shapes_are_refused(make: Any, message: str) -> None:
    with pytest.raises(CoinferError, match=message):
        make()


def test_parts_import_without_torch() -> None:
    code = (
        "import sys, coinfer.channel, coinfer.compression.codecs, coinfer.compression.entropy\n"
        "from coinfer.compression.codecs import ConvCodec\n"
        "from coinfer.compression.entropy import Huffman\n"
        "import numpy as np\n"
        "ConvCodec(2, 1).work((3, 4, 4), 'table1')\n"
        "Huffman().fit(np.zeros((2, 3))).encode(np.zeros(3))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
