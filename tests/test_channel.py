"""Channel layers against closed forms, with bounds that follow from the number of draws.

Every bound holds but for one seed in a thousand million, whatever the rate or level, by the
concentration inequality that is named with it.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, log, log10, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coinfer.channel import CHANNELS, Awgn, Bec, Bsc, check_channel
from coinfer.channel_layers import AwgnLayer, BitLayer
from coinfer.compression.entropy import Huffman, LearnedLevels, PngFeature, Uniform, Zlib
from coinfer.compression.quantise import UniformQuantiser
from coinfer.errors import CoinferError
from coinfer.parts import Float32, Parts, Raw8

N = 100_000
L = log(2 / 1e-9)

# What float32 adds to the power of noise that is found as a difference.
ROUNDING = 1e-4

snrs = st.floats(-10, 40)
chances = st.floats(0, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rate_bound(p: float, n: int) -> float:
    """How far the mean of n draws of 0 and 1 may lie from p (Bernstein)."""
    linear = L / (3 * n)
    return linear + sqrt(linear**2 + 2 * L * p * (1 - p) / n)


def power_bound(n: int) -> float:
    """How far the mean of n squared normals may lie from 1 (Laurent and Massart 2000, lemma 1)."""
    return 2 * sqrt(L / n) + 2 * L / n + ROUNDING


def noise_of(channel: Any, code: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """What a layer adds to a code: the difference to a clear channel."""
    clear = Awgn(inf, channel.power, channel.symbols).layer(None, seeded())
    return channel.layer(None, seeded(seed)).eval()(code) - clear(code)


@given(snrs, st.sampled_from(["complex", "real"]), st.integers(0, 1000))
def test_awgn_has_the_snr_it_says(snr_db: float, symbols: str, seed: int) -> None:
    code = torch.rand(2, N // 2, generator=seeded(seed)) * 40 - 3
    sent = Awgn(inf, symbols=symbols).layer(None, seeded())(code)
    noise = noise_of(Awgn(snr_db, symbols=symbols), code, seed)
    per_symbol = 2 if symbols == "complex" else 1
    power = per_symbol * float(sent.square().mean())
    assert power == pytest.approx(1.0, rel=1e-4)  # a sum in float32
    expected = 10 ** (-snr_db / 10)
    measured = per_symbol * float(noise.double().square().mean())
    assert abs(measured / expected - 1) < power_bound(N)
    assert abs(10 * log10(power / measured) - snr_db) < 10 * log10(1 + 2 * power_bound(N))
    # The mean of N normals is a normal.
    assert abs(float(noise.double().mean())) < sqrt(2 * L * expected / per_symbol / N) + 1e-6


def test_every_image_has_the_same_power_whatever_its_scale() -> None:
    layer = Awgn(inf, symbols="real").layer(None, seeded())
    code = torch.randn(3, 4, 5, 5, generator=seeded()) * torch.tensor([1e-3, 1.0, 1e4]).view(
        3, 1, 1, 1
    )
    sent = layer(code)
    assert torch.allclose(sent.flatten(1).square().mean(1), torch.ones(3), atol=1e-5)
    assert torch.allclose(sent[0], layer(code[:1])[0])  # its own power, not the batch's
    assert torch.equal(layer(torch.zeros(1, 6)), torch.zeros(1, 6))


def test_real_and_complex_symbols_differ_in_scale_and_uses_alone() -> None:
    code = torch.randn(2, 50, generator=seeded())
    real, both = (Awgn(7.0, symbols=s) for s in ("real", "complex"))
    halved = real.layer(None, seeded(3))(code) * sqrt(0.5)
    assert torch.allclose(both.layer(None, seeded(3))(code), halved, atol=1e-6)
    assert [real.uses(n) for n in (1, 2, 7)] == [1, 2, 7]
    assert [both.uses(n) for n in (1, 2, 7)] == [1, 1, 4]
    assert np.asarray(both.uses(np.array([1, 2, 7]))).tolist() == [1, 1, 4]


def test_peak_power_leaves_the_code_and_adds_noise_of_the_peak_snr() -> None:
    code = torch.rand(2, N // 2, generator=seeded())
    assert torch.equal(Awgn(inf, power="peak").layer(None, seeded())(code), code)
    for snr_db, deviation in ((20.0, 0.1), (10.0, 0.31622776)):
        noise = noise_of(Awgn(snr_db, power="peak"), code)
        measured = float(noise.double().square().mean())
        assert abs(measured / deviation**2 - 1) < power_bound(N)


def planes(values: torch.Tensor) -> torch.Tensor:
    """The eight binary digits of values within [0, 1], (..., 8), lowest first."""
    indices = (values.double() * 255).round().long()
    return torch.stack([indices >> plane & 1 for plane in range(8)], -1)


@given(chances, st.integers(0, 1000))
def test_bsc_flips_every_plane_at_its_rate(p: float, seed: int) -> None:
    code = torch.rand(1, N // 8, generator=seeded(seed))
    arrived = Bsc(p).layer(None, seeded(seed)).eval()(code)
    sent = UniformQuantiser(8, 0.0, 1.0)(code)
    flipped = (planes(arrived) != planes(sent)).double().mean((0, 1))
    assert (flipped - p).abs().max() <= rate_bound(p, N // 8)
    assert abs(float(flipped.mean()) - p) <= rate_bound(p, N)


@given(chances, st.integers(0, 1000))
def test_bec_erases_at_its_rate(p: float, seed: int) -> None:
    ones = torch.ones(1, N // 8)
    arrived = Bec(p).layer(None, seeded(seed)).eval()(ones)
    # All planes are 1, so what is missing is half of every erased plane's weight.
    missing = ((1 - arrived.double()) * 255 * 2).round().long()
    erased = torch.stack([missing >> plane & 1 for plane in range(8)], -1).double().mean((0, 1))
    assert (erased - p).abs().max() <= rate_bound(p, N // 8)
    assert abs(float(erased.mean()) - p) <= rate_bound(p, N)


def test_erased_bits_are_taken_for_halves() -> None:
    layer = Bec(0.5).layer(None, seeded())
    sent = torch.arange(256, dtype=torch.int32)
    for hit in (0, 1, 0b10010001, 255):
        expected = [
            sum(2**k * (0.5 if hit >> k & 1 else value >> k & 1) for k in range(8))
            for value in range(256)
        ]
        assert layer.corrupt(sent, torch.full((256,), hit, dtype=torch.int32)).tolist() == expected


@pytest.mark.parametrize("kind", [Bsc, Bec])
def test_without_errors_8_bit_quantisation_is_left_and_1_never_wraps(kind: Any) -> None:
    ladder = torch.tensor([[0.0, 1 / 255, 0.501, 254.4 / 255, 0.999, 1.0, 1.7, -0.3]])
    arrived = kind(0.0).layer(None, seeded())(ladder)
    expected = [[0, 1, 128, 254, 255, 255, 255, 0]]
    assert (arrived * 255).round().int().tolist() == expected
    assert arrived[0, 5] == 1.0


def test_certain_errors() -> None:
    code = torch.tensor([[0.0, 0.2, 1.0]])
    assert torch.allclose(Bsc(1.0).layer(None, seeded())(code), 1 - code, atol=1e-6)
    assert Bec(1.0).layer(None, seeded())(code).tolist() == [[0.5, 0.5, 0.5]]


@pytest.mark.parametrize("bits", [1, 3, 12])
def test_bits_are_those_of_the_quantiser_that_is_sent(bits: int) -> None:
    quantiser = UniformQuantiser(bits, -2.0, 3.0)
    code = torch.linspace(-2, 3, 2**bits)[None]
    assert torch.equal(Bsc(0.0).layer(None, seeded())(code, 0.0, quantiser), quantiser(code))
    flipped = Bsc(1.0).layer(None, seeded())(code, 1.0, quantiser)
    assert torch.allclose(flipped, quantiser(code).flip(1), atol=1e-5)
    lost = Bec(1.0).layer(None, seeded())(code, 1.0, quantiser)
    assert torch.allclose(lost, torch.full_like(code, 0.5), atol=1e-5)


@pytest.mark.parametrize("channel", [Bsc(0.2), Bec(0.2), Awgn(5.0, power="peak")])
def test_gradients_pass_straight_through(channel: Any) -> None:
    code = torch.rand(3, 4, generator=seeded()).requires_grad_()
    weights = torch.arange(12.0).view(3, 4)
    (channel.layer(None, seeded())(code) * weights).sum().backward()
    assert torch.equal(code.grad, weights)


def test_the_gradient_of_normalised_power() -> None:
    layer = Awgn(5.0).layer(None, seeded())
    code = torch.randn(2, 6, generator=seeded(), dtype=torch.float64)

    def clear(x: torch.Tensor) -> torch.Tensor:
        return x / x.square().mean(1, keepdim=True).sqrt() * sqrt(0.5)

    expected = torch.autograd.functional.jacobian(clear, code)
    found = torch.autograd.functional.jacobian(layer, code.float())
    assert torch.allclose(found.double(), expected, atol=1e-5)
    zeros = torch.zeros(1, 6, requires_grad=True)
    layer(zeros).sum().backward()
    assert torch.isfinite(zeros.grad).all()


@pytest.mark.parametrize("channel", [Bsc(0.3), Bec(0.3), Awgn(3.0), Awgn(3.0, draw="uniform")])
def test_noise_comes_from_the_layers_own_generator(channel: Any) -> None:
    code = torch.rand(2, 30, generator=seeded())
    state = torch.get_rng_state()

    def run(seed: int, other: int) -> list[torch.Tensor]:
        torch.manual_seed(other)
        layer = channel.layer(None, seeded(seed))
        return [layer(code), layer(code)]

    try:
        first, again = run(1, 2), run(1, 3)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(*first)
        assert not torch.equal(first[0], run(4, 2)[0])
        torch.manual_seed(9)
        before = torch.get_rng_state()
        channel.layer(None, seeded())(code)
        assert torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_rng_state(state)


@pytest.mark.parametrize(
    ("channel", "level"), [(Awgn(20.0, draw="uniform"), 0.1), (Bec(0.4, draw="uniform"), 0.4)]
)
def test_training_draws_its_noise_level_and_tests_do_not(channel: Any, level: float) -> None:
    layer = channel.layer(None, seeded())
    drawn = np.array([layer.draw_level() for _ in range(2000)])
    # All 2000 miss a hundredth of the range with probability 0.99^2000 = 2e-9.
    assert 0 <= drawn.min() < 0.01 * level
    assert 0.99 * level < drawn.max() <= level
    assert abs(drawn.mean() - level / 2) < level * sqrt(L / 2 / 2000)  # Hoeffding
    assert [layer.eval().draw_level() for _ in range(3)] == [pytest.approx(level)] * 3
    fixed = replace(channel, draw="fixed").layer(None, seeded()).train()
    assert [fixed.draw_level() for _ in range(3)] == [pytest.approx(level)] * 3


def test_a_level_that_was_told_is_the_level_of_the_noise() -> None:
    layer = Awgn(0.0, power="peak", draw="uniform").layer(None, seeded())
    code = torch.rand(1, N, generator=seeded())
    measured = float((layer(code, 0.25) - code).double().square().mean())
    assert abs(measured / 0.25**2 - 1) < power_bound(N)
    assert torch.equal(layer(code, 0.0), code)


@pytest.mark.parametrize("channel", [Bsc(0.3), Awgn(3.0)])
def test_the_state_of_the_noise_goes_with_the_layer(channel: Any) -> None:
    code = torch.rand(2, 30, generator=seeded())
    layer = channel.layer(None, seeded(5))
    layer(code)
    kept = layer.state_dict()
    following = layer(code)
    other = channel.layer(None, seeded(6))
    other.load_state_dict(kept)
    assert torch.equal(other(code), following)


def test_the_snr_is_the_plans_or_else_the_scenarios() -> None:
    def level(channel: Awgn, snr_db: float | None) -> float:
        layer = channel.layer(snr_db, seeded())
        assert isinstance(layer, AwgnLayer)
        return layer.level

    assert level(Awgn(), 20.0) == level(Awgn(20.0), None) == level(Awgn(20.0), 3.0)
    assert level(Awgn(20.0), None) == pytest.approx(0.1)
    assert level(Awgn(inf), None) == 0.0
    with pytest.raises(CoinferError, match=r"needs an SNR; give one as 'awgn\[snr_db=10\]'"):
        Awgn().layer(None, seeded())


def test_analog_symbols_and_digital_bits_are_never_mixed() -> None:
    quantising = [Uniform(), LearnedLevels(), Huffman(), Zlib(), PngFeature()]
    for coder in quantising:
        check_channel(None, coder)
        with pytest.raises(CoinferError, match=f"'awgn' is analog.*'{coder.name}'.*float32$"):
            check_channel(Awgn(1.0), coder)
    check_channel(Awgn(1.0), Float32())
    for channel in (Bsc(0.1), Bec(0.1)):
        check_channel(channel, Uniform(4))
        check_channel(channel, LearnedLevels())
        assert channel.uses(100, 800) == 800
        for entropy_coder in (Huffman(), Zlib(), PngFeature(), Float32(), Raw8()):
            with pytest.raises(CoinferError, match=r"which coder .* does not survive; accepted"):
                check_channel(channel, entropy_coder)


def test_every_channel_is_made_by_its_name() -> None:
    parts = Parts({}).with_classes(CHANNELS)
    assert {name for _, name in parts.classes} == {"awgn", "bsc", "bec"}
    assert parts.make("channel", "awgn[snr_db=10]") == Awgn(10)
    assert parts.make("channel", "awgn[snr_db=Infinity]") == Awgn(inf)
    assert parts.make("channel", "bec[draw=uniform,p=0.1]") == Bec(0.1, "uniform") != Bsc(0.1)
    assert isinstance(Bec(0.1).layer(None, seeded()), BitLayer)
    with pytest.raises(CoinferError, match="options accepted are: p, draw"):
        parts.make("channel", "bsc")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Awgn("high"), "snr_db is 'high'; allowed is a number of dB, or Infinity"),
        (lambda: Awgn(-inf), "snr_db is -inf; allowed is a number"),
        (lambda: Awgn().layer(float("nan"), seeded()), "snr_db is nan; allowed is a number"),
        (lambda: Awgn(1.0, power="total"), "'awgn': power is 'total'; allowed: average, peak"),
        (lambda: Awgn(1.0, symbols="qam"), "symbols is 'qam'; allowed: complex, real"),
        (lambda: Awgn(1.0, draw="normal"), "draw is 'normal'; allowed: fixed, uniform"),
        (lambda: Bsc(1.1), "'bsc': p is 1.1; allowed is 0 to 1"),
        (lambda: Bec(-0.1), "'bec': p is -0.1; allowed is 0 to 1"),
        (lambda: Bec(0.1, "no"), "'bec': draw is 'no'; allowed: fixed, uniform"),
    ],
)
def test_bad_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(CoinferError, match=message):
        make()
