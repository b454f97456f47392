"""Quantisers and coders: what is sent decodes to exactly what the network was tested with."""

from __future__ import annotations

import heapq
import io
import zlib
from collections import Counter
from math import ceil, log2, prod
from typing import Any

import numpy as np
import pytest
import torch
from bitarray import bitarray
from bitarray.util import canonical_decode, canonical_huffman
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from coinfer.compression.entropy import (
    CODERS,
    FittedCoder,
    Floats,
    Huffman,
    HuffmanCode,
    LearnedLevels,
    PngFeature,
    QuantisingCoder,
    Uniform,
    Zlib,
)
from coinfer.compression.levels import Codebook, UniformLevels, covering
from coinfer.compression.quantise import LearnedCodebook, UniformQuantiser, straight_through
from coinfer.errors import CoinferError
from coinfer.parts import Parts
from coinfer.plan import Source

SOURCE = Source((3, 32, 32))
MEASURED = (Huffman, Zlib, PngFeature)

numbers = st.floats(-1e6, 1e6, width=32)
shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)
coders = st.one_of(
    st.builds(Uniform, st.integers(1, 16)),
    st.builds(Huffman, st.integers(1, 16)),
    st.builds(Zlib, st.integers(1, 16)),
    st.builds(PngFeature, st.integers(1, 8)),
)


@st.composite
def features(draw: st.DrawFn, sets: int = 2) -> list[np.ndarray[Any, Any]]:
    """Draw sets of features of one shape, (N, *shape) each."""
    shape = draw(shapes)
    counts = [draw(st.integers(1, 4)) for _ in range(sets)]
    return [draw(hnp.arrays(np.float32, (n, *shape), elements=numbers)) for n in counts]


def calibrated(coder: QuantisingCoder, training: np.ndarray[Any, Any]) -> Any:
    layer = coder.layer(training.shape[1:])
    layer.calibrate([training])
    return layer


@given(coders, features())
def test_what_is_sent_decodes_to_what_the_layer_makes_of_it(
    coder: QuantisingCoder, drawn: list[np.ndarray[Any, Any]]
) -> None:
    training, seen_never = drawn
    fitted = coder.fit(training)
    layer = calibrated(coder, training)
    assert layer.levels() == fitted.levels
    quantised = layer(torch.from_numpy(seen_never)).numpy()
    sent = fitted.encode_all(seen_never)
    for feature, data, expected in zip(seen_never, sent, quantised, strict=True):
        assert fitted.encode(feature) == data
        decoded = fitted.decode(data, feature.shape)
        assert decoded.dtype == np.float32
        assert np.array_equal(decoded, expected)
    assert fitted.sizes_bits(seen_never).tolist() == [8 * len(data) for data in sent]


@given(features(1), st.integers(1, 5), st.sampled_from(["symbol", "vector"]))
def test_a_learned_codebook_is_encoded_as_its_layer_quantises(
    drawn: list[np.ndarray[Any, Any]], bits: int, mode: str
) -> None:
    (given_features,) = drawn
    coder = LearnedLevels(bits, mode)
    layer = calibrated(coder, given_features)
    fitted = coder.fit(given_features, layer.levels())
    quantised = layer(torch.from_numpy(given_features)).detach().numpy()
    for feature, expected in zip(given_features, quantised, strict=True):
        data = fitted.encode(feature)
        assert np.array_equal(fitted.decode(data, feature.shape), expected)
        assert 8 * len(data) == coder.bits(feature.size, SOURCE)


@given(features(1))
def test_floats_are_sent_as_they_are(drawn: list[np.ndarray[Any, Any]]) -> None:
    for feature in drawn[0]:
        data = Floats().encode(feature)
        assert 8 * len(data) == 32 * feature.size
        assert np.array_equal(Floats().decode(data, feature.shape), feature)


@given(features(), st.integers(1, 16))
def test_quantised_is_the_nearest_of_2_to_the_b_levels_between_the_extremes(
    drawn: list[np.ndarray[Any, Any]], bits: int
) -> None:
    training, others = drawn
    layer = calibrated(Uniform(bits), training)
    low, high = float(training.min()), float(training.max())
    ladder = np.linspace(low, high, 2**bits)  # in float64
    got = layer(torch.from_numpy(others)).numpy().astype(np.float64)
    clipped = np.clip(others.astype(np.float64), low, high)
    nearest = np.abs(clipped[..., None] - ladder).min(axis=-1)
    # In float32 a level is off by a few roundings of the largest number on the way, and where the
    # step is subnormal, by as many roundings of the step as there are steps below it.
    about = np.finfo(np.float32)
    slack = 8 * about.eps * max(abs(low), abs(high), high - low)
    slack += 2**bits * float(about.smallest_subnormal)
    assert (np.abs(got - clipped) <= nearest + slack).all()
    assert low - slack <= got.min()
    assert got.max() <= high + slack


def test_the_ends_of_the_range_never_wrap() -> None:
    for bits in range(1, 17):
        layer = UniformQuantiser(bits, 0.0, 1.0)
        ends = torch.tensor([[-3.0, -0.0, 0.0, 1.0, 1.0000001, 7.0]])
        top = 2**bits - 1
        assert layer.indices(ends).tolist() == [[0, 0, 0, top, top, top]]
        assert layer(ends).tolist() == [[0, 0, 0, *[pytest.approx(1.0, abs=1e-6)] * 3]]
        ladder = UniformLevels(bits, 0.0, 1.0).values(np.arange(top + 1)[None], (top + 1,))
        assert len(np.unique(ladder)) == 2**bits
        assert layer.indices(torch.from_numpy(ladder)).tolist() == [list(range(top + 1))]


def test_a_feature_that_never_changes_is_one_level() -> None:
    same = np.full((3, 5), 7.25, np.float32)
    for coder in (Uniform(), Huffman(), Zlib(), PngFeature()):
        fitted = coder.fit(same)
        assert np.array_equal(fitted.decode(fitted.encode(same[0]), (5,)), same[0])


@given(features(1), st.integers(1, 16))
def test_a_known_size_is_that_of_the_bytes(drawn: list[np.ndarray[Any, Any]], bits: int) -> None:
    coder, sent = Uniform(bits), drawn[0]
    elements = sent[0].size
    assert coder.bits(elements, SOURCE) == 8 * ceil(bits * elements / 8)
    assert coder.fit(sent).sizes_bits(sent).tolist() == [coder.bits(elements, SOURCE)] * len(sent)
    many = np.array([elements, 2 * elements + 1])
    assert np.asarray(coder.bits(many, SOURCE)).tolist() == [
        coder.bits(int(n), SOURCE) for n in many
    ]
    assert coder.evidence == "analytic"


def test_whole_vector_codewords_take_b_bits_in_all() -> None:
    coder = LearnedLevels(bits=12, mode="vector")
    assert coder.bits(1, SOURCE) == coder.bits(4096, SOURCE) == 16
    assert np.asarray(coder.bits(np.array([1, 4096]), SOURCE)).tolist() == [16, 16]


@pytest.mark.parametrize("kind", MEASURED)
def test_a_size_that_depends_on_the_data_is_not_made_up(kind: Any) -> None:
    assert kind.evidence == "measured"
    with pytest.raises(CoinferError, match="only measuring tells; accepted: a plan with measured"):
        kind().bits(10, SOURCE)


def huffman_bits(counts: dict[Any, int]) -> int:
    """Bits that a Huffman code takes for symbols that occur so often: sum of all merged weights."""
    heap = list(counts.values())
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def sparse_features(count: int, size: int, seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(size=(count, size)), 0).astype(np.float32)


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_huffman_is_optimal_for_what_it_was_trained_on(bits: int) -> None:
    training = sparse_features(4, 2000)
    fitted = Huffman(bits).fit(training)
    counts = Counter(fitted.levels.indices(training).ravel().tolist())
    escape = {} if len(counts) == 2**bits else {"escape": 1}
    best = huffman_bits({**counts, **escape})
    if escape:
        best -= len(fitted.code[2**bits])  # the escape was never sent
    sizes = fitted.sizes_bits(training)
    assert 0 <= sizes.sum() - best <= 7 * len(training)
    # And so between the entropy and a bit per index more.
    assert fitted.ideal_bits(training) <= sizes.mean() <= fitted.ideal_bits(training) + 2000 + 7


def test_ideal_bits_are_the_entropy_of_the_indices() -> None:
    fitted = Uniform(2).fit(np.array([[0.0, 1.0, 2.0, 3.0]], np.float32))
    sent = np.array([[0, 0, 0, 3], [0, 1, 0, 0]], np.float32)
    expected = -4 * sum(share * log2(share) for share in (6 / 8, 1 / 8, 1 / 8))
    assert fitted.ideal_bits(sent) == pytest.approx(expected, rel=1e-12)


def test_indices_never_seen_in_training_are_escaped() -> None:
    training = np.array([[0, 0, 0, 0, 1, 1, 15]], np.float32)
    fitted = Huffman(4).fit(training)
    assert isinstance(fitted, HuffmanCode)
    words = {symbol: word.to01() for symbol, word in fitted.code.items()}
    assert set(words) == {0, 1, 15, 16}
    sent = np.array([3, 0, 9, 15], np.float32)
    prefix = words[16] + words[0] + words[16] + words[15]
    text = "".join(f"{byte:08b}" for byte in fitted.encode(sent))
    expected = prefix + "0011" + "1001"
    assert text[: len(expected)] == expected
    assert len(text) == 8 * ceil(len(expected) / 8)
    assert fitted.decode(fitted.encode(sent), (4,)).tolist() == sent.tolist()


def test_a_table_without_gaps_has_no_escape() -> None:
    fitted = Huffman(1).fit(np.array([[0.0, 1.0]], np.float32))
    assert isinstance(fitted, HuffmanCode)
    assert set(fitted.code) == {0, 1}


def test_the_longest_codes_still_decode() -> None:
    """Counts like Fibonacci's give the longest Huffman codes: 49 bits, were they not scaled."""
    counts = [1, 1]
    while len(counts) < 50:
        counts.append(counts[-1] + counts[-2])
    unscaled = canonical_huffman(dict(enumerate(counts)))
    assert max(map(len, unscaled[0].values())) == 49
    with pytest.raises(ValueError, match="larger than"):
        canonical_decode(bitarray(), unscaled[1], unscaled[2])
    levels = UniformLevels(6, 0.0, 63.0)
    # Without the first, for which the escape stands in.
    fitted = HuffmanCode.for_counts(levels, np.pad(np.array(counts[1:]), (0, 15)))
    sent = np.arange(64, dtype=np.float32)
    assert fitted.decode(fitted.encode(sent), (64,)).tolist() == sent.tolist()
    # The longest that the scaling leaves: the numbers that add up to its total.
    few = HuffmanCode.for_counts(levels, np.pad(np.array(counts[1:28]), (0, 37)))
    assert max(map(len, few.code.values())) == 27
    assert few.decode(few.encode(sent), (64,)).tolist() == sent.tolist()


def test_zlib_and_png_bytes_are_what_any_reader_reads() -> None:
    feature = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
    indices = np.arange(30, dtype=np.uint8)
    levels = UniformLevels(5, 0.0, 31.0)
    assert zlib.decompress(Zlib(5).fit(feature[None], levels).encode(feature)) == indices.tobytes()
    data = PngFeature(5).fit(feature[None], levels).encode(feature)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (9, 4))
        pixels = np.array(image)
    # Five maps of 2x3 on a grid of 2x3 tiles, the last of them black.
    for number, (top, left) in enumerate([(0, 0), (0, 3), (0, 6), (2, 0), (2, 3)]):
        assert np.array_equal(pixels[top : top + 2, left : left + 3], feature[number])
    assert not pixels[2:, 6:].any()


@pytest.mark.parametrize(
    ("coder", "damage"),
    [
        *(
            (coder, cut)
            for coder in (Uniform(5), Huffman(), Zlib(), PngFeature())
            for cut in (0, 9)
        ),
        *((coder, -1) for coder in (Uniform(5), Huffman(), Zlib())),
        *((coder, 99) for coder in (Uniform(5), Huffman())),
    ],
)
def test_damaged_bytes_are_refused(coder: QuantisingCoder, damage: int) -> None:
    training = sparse_features(2, 40)
    fitted = coder.fit(training)
    data = fitted.encode(training[0])
    damaged = data[:damage] if damage < 99 else data + b"\0"
    with pytest.raises(CoinferError, match=r"no code of a feature of shape \(40,\)"):
        fitted.decode(damaged, (40,))


@pytest.mark.parametrize("coder", [Uniform(5), Zlib(), PngFeature(), None])
def test_bytes_of_another_shape_are_refused(coder: QuantisingCoder | None) -> None:
    training = sparse_features(2, 40)
    fitted: FittedCoder = Floats() if coder is None else coder.fit(training)
    data = fitted.encode(training[0])
    with pytest.raises(CoinferError, match=r"no code of a feature of shape \(90,\)"):
        fitted.decode(data, (90,))


def test_batches_and_one_array_fit_alike() -> None:
    training = sparse_features(6, 50)
    whole, parts = Huffman(6).fit(training), Huffman(6).fit([training[:1], training[1:]])
    assert whole.encode(training[3]) == parts.encode(training[3])
    levels = UniformLevels(6, -1.0, 1.0)
    given_levels = Huffman(6).fit(iter([training]), levels)
    assert given_levels.levels == levels


@pytest.mark.parametrize(
    "wrong", [[], [np.zeros((0, 3))], [np.array([[np.nan, 1.0]])], [np.array([[np.inf, 1.0]])]]
)
def test_a_range_needs_finite_features(wrong: Any) -> None:
    with pytest.raises(CoinferError, match="features are missing, or not finite numbers"):
        covering([np.ones((1, 2)), *wrong] if wrong and wrong[0].size else wrong)
    with pytest.raises(CoinferError, match="range cannot be set"):
        covering([np.array([[-3e38, 3e38]], np.float32)])


def test_nan_is_never_encoded_and_stays_nan_in_training() -> None:
    training = sparse_features(2, 4)
    broken = np.array([[0.0, np.nan, 1.0, 2.0]], np.float32)
    for coder in (Uniform(), Huffman()):
        with pytest.raises(CoinferError, match="holds NaN"):
            coder.fit(training).encode_all(broken)
        assert np.isnan(calibrated(coder, training)(torch.from_numpy(broken)).numpy()[0, 1])


# --- layers


@given(features(1), st.integers(1, 8))
def test_gradients_pass_straight_through(drawn: list[np.ndarray[Any, Any]], bits: int) -> None:
    for coder in (Uniform(bits), LearnedLevels(bits), LearnedLevels(bits, "vector")):
        code = torch.from_numpy(drawn[0]).requires_grad_()
        weights = torch.arange(1.0, code.numel() + 1).view(code.shape)
        (calibrated(coder, drawn[0])(code) * weights).sum().backward()
        assert torch.equal(code.grad, weights)


def test_straight_through_is_exactly_the_replacement() -> None:
    x = torch.tensor([1e8, 0.1, -3.0, 1e-30])
    assert torch.equal(
        straight_through(x, torch.tensor([0.3, 1e8, 1e-9, 5.0])).detach(),
        torch.tensor([0.3, 1e8, 1e-9, 5.0]),
    )


def test_codes_in_bfloat16_keep_all_256_levels() -> None:
    ladder = torch.linspace(-1, 1, 256)[None]
    layer = UniformQuantiser(8, -1.0, 1.0)
    arrived = layer(ladder.bfloat16())
    assert arrived.dtype == torch.float32
    assert torch.equal(arrived, layer(ladder.bfloat16().float()))
    assert len(layer(ladder).unique()) == 256


def test_a_quantiser_without_range_says_so() -> None:
    with pytest.raises(CoinferError, match="no range yet; calibrate it with training data"):
        Uniform().layer((3,))(torch.zeros(1, 3))
    assert Uniform(low=-1, high=1).layer((3,))(torch.zeros(1, 3)).abs().max() < 0.01


def test_a_given_range_is_kept() -> None:
    layer = Uniform(low=-1, high=1).layer((3,))
    layer.calibrate([np.full((2, 3), 9.0, np.float32)])
    assert layer.levels() == UniformLevels(8, -1.0, 1.0)
    assert Uniform(low=-1, high=1).fit(np.full((2, 3), 9.0)).levels == UniformLevels(8, -1, 1)


def test_a_range_is_set_anew_and_travels_with_the_state() -> None:
    layer = Uniform().layer((2,))
    for high in (1.0, 5.0):
        layer.calibrate([np.array([[0.0, high]], np.float32)])
        assert layer.levels() == UniformLevels(8, 0.0, high)
    other = Uniform().layer((2,))
    other.load_state_dict(layer.state_dict())
    assert other.levels() == layer.levels()
    assert torch.equal(other(torch.tensor([[0.3, 4.0]])), layer(torch.tensor([[0.3, 4.0]])))


def test_the_uniform_penalty_draws_codes_to_the_levels() -> None:
    layer = UniformQuantiser(1, 0.0, 1.0, weight=2.0)
    code = torch.tensor([[0.1, 0.7], [1.4, -0.5]], requires_grad=True)
    apart = torch.tensor([[0.1, -0.3], [0.4, -0.5]])
    penalty = layer.penalty(code)
    penalty.backward()
    assert torch.allclose(penalty, 2 * apart.square().sum() / 2)
    assert torch.allclose(code.grad, 2 * 2 * apart / 2)
    assert UniformQuantiser(1, 0.0, 1.0).penalty(code) == 0


@pytest.mark.parametrize("elements", [None, 2])
def test_the_codebook_penalty_moves_codewords_and_codes(elements: int | None) -> None:
    layer = LearnedCodebook(1, elements, weight=0.1, commitment=0.5)
    points = torch.tensor([2.0, -1.0] if elements is None else [[2.0, 2.0], [-1.0, -1.0]])
    layer.points.data.copy_(points)  # in no order
    code = torch.tensor([[1.8, 2.3], [-1.4, -0.9]], requires_grad=True)
    selected = torch.tensor([[2.0, 2.0], [-1.0, -1.0]])
    assert torch.equal(layer(code), selected)
    penalty = layer.penalty(code)
    penalty.backward()
    mse = (selected - code.detach()).square().mean()
    assert torch.allclose(penalty, 0.1 * 1.5 * mse)
    assert torch.allclose(code.grad, 0.1 * 0.5 * 2 / 4 * (code.detach() - selected))
    towards = 0.1 * 2 / 4 * (selected - code.detach())
    expected = towards.sum(1) if elements is None else towards
    assert torch.allclose(layer.points.grad, expected)


@given(features(1), st.integers(1, 4))
def test_codewords_are_the_nearest(drawn: list[np.ndarray[Any, Any]], bits: int) -> None:
    rng = np.random.default_rng(bits)
    sent = drawn[0] / 1e6
    flat = sent.reshape(len(sent), -1).astype(np.float64)
    scalars = np.sort(rng.normal(size=2**bits)).astype(np.float32)
    book = Codebook(bits, scalars)
    nearest = np.abs(flat[..., None] - scalars).min(-1)
    chosen = np.abs(flat - book.values(book.indices(sent), sent.shape[1:]).reshape(flat.shape))
    assert np.allclose(chosen, nearest, atol=1e-6)
    vectors = rng.normal(size=(2**bits, prod(sent.shape[1:]))).astype(np.float32)
    book = Codebook(bits, vectors)
    nearest = np.square(flat[:, None] - vectors).sum(-1).min(-1)
    chosen = np.square(flat - book.values(book.indices(sent), sent.shape[1:]).reshape(flat.shape))
    assert np.allclose(chosen.sum(-1), nearest, atol=1e-6)


def test_a_codebook_starts_among_codes_once_and_is_then_learned() -> None:
    codes = sparse_features(9, 3)
    for mode in ("symbol", "vector"):
        layer = calibrated(LearnedLevels(3, mode), codes)
        started = layer.points.detach().clone()
        assert codes.min() <= started.min()
        assert started.max() <= codes.max()
        if mode == "vector":
            assert all(any(np.array_equal(p, c) for c in codes) for p in started.numpy())
        layer.calibrate([codes + 100])
        assert torch.equal(layer.points, started)


def test_a_codebook_may_start_over_a_known_range() -> None:
    layer = calibrated(LearnedLevels(2, low=-1, high=1), 5 + sparse_features(9, 3))
    assert layer.points.tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])


def test_codewords_are_learned() -> None:
    """Two clusters: the codewords end in their middles, whence the penalty has no gradient."""
    layer = LearnedCodebook(1, weight=1.0)
    codes = torch.tensor([[-0.6, -0.4, 3.0, 3.2]])
    for _ in range(100):
        (slope,) = torch.autograd.grad(layer.penalty(codes), [layer.points])
        layer.points.data -= 0.5 * slope
    assert layer.levels().points.tolist() == pytest.approx([-0.5, 3.1], abs=1e-4)


def test_every_coder_is_made_by_its_name() -> None:
    parts = Parts({}).with_classes(CODERS)
    assert {name for _, name in parts.classes} == {
        *("uniform", "codebook", "huffman", "zlib", "png-feature")
    }
    assert parts.coder("huffman[bits=6]") == Huffman(6) != Huffman()
    assert parts.coder("uniform[bits=8,high=1,low=-1]") == Uniform(8, -1, 1)
    assert hash(parts.coder("codebook[mode=vector]")) == hash(LearnedLevels(8, "vector"))
    with pytest.raises(CoinferError, match="options accepted are: bits, low, high, penalty"):
        parts.coder("uniform[width=3]")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(0), "'uniform': bits is 0; allowed is a whole number, 1 to 16"),
        (lambda: Huffman(17), "'huffman': bits is 17; allowed is a whole number, 1 to 16"),
        (lambda: Zlib("8"), "'zlib': bits is '8'; allowed is a whole number"),
        (lambda: PngFeature(9), "'png-feature': bits is 9; allowed is a whole number, 1 to 8"),
        (lambda: Uniform(low=0.0), "low and high go together"),
        (lambda: Uniform(low=1.0, high=1.0), "high is 1.0; allowed is more than low, 1.0"),
        (lambda: Uniform(low=0.0, high=float("inf")), "high is inf; allowed is a finite number"),
        (lambda: Uniform(penalty=-1.0), "penalty is -1.0; allowed is a finite number >= 0"),
        (lambda: LearnedLevels(low=-1), "low and high go together"),
        (lambda: LearnedLevels(high=-1, low=1), "high is -1; allowed is more than low, 1"),
        (lambda: LearnedLevels(8, "vector", low=-1, high=1), "go with mode=symbol only"),
        (lambda: LearnedLevels(mode="whole"), "mode is 'whole'; allowed: symbol, vector"),
        (lambda: LearnedLevels().fit(np.ones((1, 2))), "levels .* learned with a network"),
    ],
)
def test_bad_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(CoinferError, match=message):
        make()
