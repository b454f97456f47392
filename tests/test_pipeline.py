"""The split network: equal to the unsplit one, deterministic, trainable; what it sends counts."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import DenseNet

from coinfer.channel import Awgn, Bec, Bsc
from coinfer.compression.codecs import (
    BottleNetPlusPlus,
    CiaConv,
    CiaLinear,
    ConvCodec,
    LinearCodec,
    ThreeStepConv,
    ThreeStepLinear,
)
from coinfer.compression.entropy import Huffman, LearnedLevels, PngFeature, Uniform, Zlib
from coinfer.compression.pipeline import PartWork, SplitNetwork, evaluating, split_network
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.models import build, model_spec
from coinfer.parts import Float32, Identity, Raw8
from coinfer.tracing import Traced, trace


class Inception(nn.Module):
    """Parallel branches that are concatenated, as in GoogLeNet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.Conv2d(channels, 3, 1), nn.BatchNorm2d(3), nn.ReLU(True))
        self.wide = nn.Sequential(
            nn.Conv2d(channels, 2, 1), nn.ReLU(True), nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(True)
        )
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(channels, 2, 1), nn.ReLU(True))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.narrow(x), self.wide(x), self.pooled(x)], 1)


def googlenet_like() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(True)),
        *(Inception(6), nn.MaxPool2d(2), Inception(9), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Dropout(0.4), nn.Linear(9, 10)),
    )


def densenet_like() -> nn.Module:
    return DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, num_classes=10)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    with global_seed(0):
        if name == "googlenet-like":
            return googlenet_like(), (3, 8, 8)
        if name == "densenet-like":
            return densenet_like(), (3, 32, 32)
    shape = (3, 8, 8) if name == "resnet18" else (3, 32, 32)
    return build(model_spec(name)), shape


def small() -> tuple[Traced, Tensor]:
    """A small network, and images; maps (6, 8, 8) cross behind `1`, a vector (10,) behind `5`."""
    with global_seed(1):
        model = nn.Sequential(
            *(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(96, 10), nn.ReLU(), nn.Linear(10, 4)),
        )
    return trace(model, (3, 8, 8)), torch.randn(7, 3, 8, 8, generator=seeded(2))


MAPS, VECTOR = "1", "5"


TRACED, IMAGES = small()


def split_small(cut: str, *parts: Any, seed: int = 0, **options: Any) -> tuple[Any, Tensor]:
    """Split the small network, whose parameters all tests share."""
    traced, images = TRACED, IMAGES.clone()
    return split_network(traced, cut, *parts, generator=seeded(seed), **options), images


@pytest.mark.parametrize("name", ["alexnet-cifar", "resnet18", "densenet-like", "googlenet-like"])
def test_with_nothing_between_the_halves_the_network_is_unchanged_at_every_cut(name: str) -> None:
    model, shape = network(name)
    images = torch.randn(4, *shape, generator=seeded())
    traced = trace(model, shape)
    before = copy.deepcopy(traced.module.state_dict())
    evaluated = model.eval()(images)
    # In training mode: the same dropout, and the same statistics of batch normalisation.
    with global_seed(3):
        trained = model.train()(images)
    after = model.state_dict()
    assert len(traced.graph.cuts) > 5
    for cut in traced.graph.cuts:
        made = split_network(traced, cut, Identity(), Float32(), generator=seeded())
        assert not made.training
        assert torch.equal(made(images), evaluated), cut.after
        with global_seed(3):
            assert torch.equal(made.train()(images), trained), cut.after
        halves = made.device_part.state_dict() | made.server_part.state_dict()
        assert all(torch.equal(halves[key], after[key]) for key in halves)
        traced.module.load_state_dict(before)


def test_a_plain_network_is_copied_and_a_trace_shared() -> None:
    traced, images = small()
    model = traced.module
    copied, shared = (
        split_network(given, MAPS, Identity(), Float32(), generator=seeded(), input_shape=(3, 8, 8))
        for given in (model, traced)
    )
    expected = model(images)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(copied(images), expected)
    assert shared(images).abs().sum() == 0


CODECS = [
    (MAPS, Identity()),
    (VECTOR, Identity()),
    ("input", Identity()),
    (MAPS, ConvCodec(4, 3, code_stride=2, code_activation="tanh")),
    ("input", ConvCodec(4, 3, hidden_kernel=5, final="none")),
    (VECTOR, LinearCodec(6, 3)),
    (MAPS, LinearCodec(20, 12, flatten=1)),
    (MAPS, BottleNetPlusPlus(3, 1)),
    (MAPS, BottleNetPlusPlus(3)),
    (MAPS, ThreeStepConv(3)),
    (VECTOR, ThreeStepLinear(4, hidden=8)),
    (MAPS, CiaConv()),
    (VECTOR, CiaLinear()),
]
TRANSPORTS = [
    (Float32(), None),
    *((coder, None) for coder in (Uniform(), Uniform(4, -1, 1, penalty=1.0), Huffman(5), Zlib())),
    *((PngFeature(4), None), (LearnedLevels(4), None), (LearnedLevels(3, "vector"), None)),
    *((Float32(), Awgn(10.0)), (Float32(), Awgn(10.0, "peak", "real", "uniform"))),
    *((Uniform(), Bsc(0.01)), (Uniform(6), Bec(0.1, "uniform")), (LearnedLevels(4), Bsc(0.01))),
    *((LearnedLevels(3, "vector"), Bec(0.5)),),
]


@pytest.mark.parametrize(("cut", "codec"), CODECS)
def test_gradients_reach_the_device_through_everything(cut: str, codec: Any) -> None:
    for coder, channel in TRANSPORTS:
        made, images = split_small(cut, codec, coder, channel)
        made.calibrate([images])
        made.train().zero_grad()
        images = images.requires_grad_()
        output, penalty = made.penalised(images)
        assert output.shape == (7, 4)
        (output.square().sum() + penalty).backward()
        assert images.grad is not None
        assert images.grad.abs().sum() > 0, (coder, channel)
        for name, parameter in made.named_parameters():
            assert parameter.grad is not None, (name, coder, channel)
            assert torch.isfinite(parameter.grad).all(), (name, coder, channel)
        for name, parameter in made.device_part.named_parameters():
            assert parameter.grad.abs().sum() > 0, (name, coder, channel)


@pytest.mark.parametrize(("coder", "channel"), TRANSPORTS)
def test_what_is_received_is_float32_also_in_bfloat16_training(coder: Any, channel: Any) -> None:
    made, images = split_small(MAPS, ThreeStepConv(3), coder, channel)
    made.calibrate([images])
    arrived: list[Tensor] = []
    made.decoder.register_forward_hook(lambda module, args, out: arrived.append(args[0]))
    made.train().zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        output, penalty = made.penalised(images)
    (output.float().sum() + penalty).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in made.parameters())
    assert arrived[0].dtype == torch.float32


@pytest.mark.parametrize(("coder", "channel"), TRANSPORTS)
def test_the_same_generator_gives_the_same_network_and_noise(coder: Any, channel: Any) -> None:
    codec = BottleNetPlusPlus(3)

    def outputs(seed: int, other: int) -> list[Tensor]:
        with global_seed(other):
            made, images = split_small(MAPS, codec, coder, channel, seed=seed)
            made.calibrate([images])
            return [made(images), made(images), made.train()(images)]

    state = torch.get_rng_state()
    first, again, different = outputs(1, 2), outputs(1, 3), outputs(4, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], different[0])
    assert torch.equal(*first[:2]) == (channel is None)


@pytest.mark.parametrize(
    ("coder", "channel"),
    [
        *((Uniform(3), kind(0.0)) for kind in (Bsc, Bec)),
        *((LearnedLevels(4, mode), Bsc(0.0)) for mode in ("symbol", "vector")),
        (Float32(), Awgn(float("inf"), power="peak")),
    ],
)
def test_a_channel_without_errors_changes_nothing(coder: Any, channel: Any) -> None:
    outputs = []
    for each in (channel, None):
        made, images = split_small(MAPS, ConvCodec(4, 3, code_activation="tanh"), coder, each)
        made.calibrate([images])
        outputs.append(made(images))
    assert torch.equal(*outputs)


def test_noise_starts_anew_where_asked() -> None:
    made, images = split_small(MAPS, BottleNetPlusPlus(3), Float32(), Awgn(3.0))
    made.reseed(5)
    first = made(images)
    assert not torch.equal(made(images), first)
    made.reseed(5)
    assert torch.equal(made(images), first)
    split_small(MAPS, Identity(), Float32())[0].reseed(5)  # nothing to seed


@pytest.mark.parametrize(("coder", "channel"), TRANSPORTS)
def test_the_state_goes_through_a_file(coder: Any, channel: Any) -> None:
    made, images = split_small(MAPS, ConvCodec(4, 3), coder, channel)
    made.calibrate([images])
    made.train()(images)
    file = io.BytesIO()
    torch.save(made.state_dict(), file)
    file.seek(0)
    other, _ = split_small(MAPS, ConvCodec(4, 3), coder, channel, seed=9)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.eval()(images), made.eval()(images))


@pytest.mark.parametrize(("coder", "channel"), TRANSPORTS)
def test_a_copy_is_a_network_of_its_own(coder: Any, channel: Any) -> None:
    made, images = split_small(MAPS, BottleNetPlusPlus(3), coder, channel)
    made.calibrate([images])
    twin = copy.deepcopy(made)
    expected = [made(images), made(images)]  # does not advance the copy's noise
    assert all(torch.equal(twin(images), each) for each in expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert twin(images).abs().sum() == 0
    assert made(images).abs().sum() > 0


@pytest.mark.parametrize(
    "coder", [Float32(), Uniform(5), Huffman(), Zlib(), PngFeature(), LearnedLevels(4)]
)
@pytest.mark.parametrize(("cut", "codec"), [(MAPS, ConvCodec(4, 3)), (VECTOR, CiaLinear())])
def test_what_is_sent_and_decoded_gives_the_networks_own_answer(
    coder: Any, cut: str, codec: Any
) -> None:
    """Encode on the device, send bytes, decode on the server: the split network, bit for bit."""
    made, images = split_small(cut, codec, coder)
    training, shown = images[:3], images[3:]
    made.calibrate([training[:1], training[1:]])
    fitted = made.fit_coder([training])
    (codes,) = made.codes([shown])
    sent = [fitted.encode(code) for code in codes]
    arrived = np.stack([fitted.decode(data, made.code_shape) for data in sent])
    assert torch.equal(made.server_part(made.decoder(torch.from_numpy(arrived))), made(shown))
    lengths = [8 * len(data) for data in sent]
    with made.counting_bits(fitted) as bits:
        for few in (shown[:1], shown[1:]):
            made(few)
    assert [some.tolist() for some in bits] == [lengths[:1], lengths[1:]]
    made(shown)
    assert len(bits) == 2


def test_codes_are_taken_in_evaluation_mode_and_modes_are_put_back() -> None:
    made, images = split_small(MAPS, BottleNetPlusPlus(3), Uniform())
    made.train()
    made.decoder.eval()
    modes = [module.training for module in made.modules()]
    with evaluating(made):
        assert not any(module.training for module in made.modules())
    assert [module.training for module in made.modules()] == modes
    (codes,) = made.codes([images])
    assert [module.training for module in made.modules()] == modes
    assert codes.dtype == np.float32
    assert codes.shape == (7, *made.code_shape)
    expected = made.eval().encoder(made.device_part(images)).detach().numpy()
    assert np.array_equal(codes, expected)


def test_calibration_takes_the_extremes_of_all_batches() -> None:
    made, images = split_small(MAPS, ConvCodec(4, 3, code_activation="tanh"), Huffman())
    with pytest.raises(CoinferError, match="no range yet; calibrate it"):
        made(images)
    made.calibrate([images[:2], images[2:]])
    (codes,) = made.codes([images])
    levels = made.fit_coder([images]).levels
    assert (levels.low, levels.high) == (codes.min(), codes.max())
    assert made.quantiser.low == codes.min()


def test_the_noise_level_is_handed_to_the_codec_that_wants_it() -> None:
    channel = Bec(0.4, draw="uniform")
    made, images = split_small(MAPS, BottleNetPlusPlus(3), Uniform(8, 0, 1), channel)
    told: list[float] = []
    heard: list[float] = []
    made.encoder.register_forward_hook(lambda module, args, out: told.append(args[1]))
    made.channel.register_forward_hook(lambda module, args, out: heard.append(args[1]))
    for _ in range(3):
        made.train()(images)
    made.eval()(images)
    assert told == heard
    assert len(set(told)) == 4
    assert all(0 <= level < 0.4 for level in told[:3])
    assert told[3] == 0.4
    clear, _ = split_small(MAPS, BottleNetPlusPlus(3), Uniform(8, 0, 1))
    clear.encoder.register_forward_hook(lambda module, args, out: told.append(args[1]))
    clear(images)
    assert told[4] == 0


def test_the_scenarios_snr_sets_the_noise() -> None:
    made, _ = split_small(MAPS, Identity(), Float32(), Awgn(), snr_db=20.0)
    assert made.channel.level == pytest.approx(0.1)


def test_warming_up_leaves_the_code_alone_and_keeps_the_penalty() -> None:
    made, images = split_small(MAPS, ThreeStepConv(3), LearnedLevels(2), Bsc(0.3))
    bare, _ = split_small(MAPS, ThreeStepConv(3), Float32())
    made.calibrate([images])
    expected = made.penalised(images)[1]
    assert expected > 0
    made.transmitting = False
    output, penalty = made.penalised(images)
    assert torch.equal(output, bare(images))
    assert torch.equal(penalty, expected)
    assert bare.penalised(images)[1] == 0
    (output.sum() + penalty).backward()


def test_a_server_part_that_works_in_place_changes_no_code() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.ReLU(True), nn.Flatten())
    images = torch.randn(2, 3, 6, 6, generator=seeded())
    for transmitting in (True, False):
        made = split_network(
            *(model, "1", Identity(), LearnedLevels(2)), generator=seeded(), input_shape=(3, 6, 6)
        )
        made.transmitting = transmitting
        output, penalty = made.penalised(images)
        (output.sum() + penalty).backward()


@pytest.mark.parametrize("transport", [(Float32(), Awgn(3.0)), (Uniform(), Bsc(0.3))])
def test_nothing_crosses_where_all_is_local(transport: Any) -> None:
    traced, images = TRACED, IMAGES
    whole = traced.module(images)
    made = split_network(traced, "6", ConvCodec(4, 3), *transport, generator=seeded())
    assert torch.equal(made(images), whole)
    assert torch.equal(made.train()(images), whole)
    made.calibrate([images])
    assert made.code_shape == (4,)


@pytest.mark.parametrize("rules", ["table1", "macs"])
@pytest.mark.parametrize(("cut", "codec"), CODECS)
def test_work_is_counted_on_the_real_modules(cut: str, codec: Any, rules: str) -> None:
    made, _ = split_small(cut, codec, Uniform())
    graph = TRACED.graph
    where = graph.cut(cut)
    done = graph.flops(rules)[: where.index].sum()
    counted = PartWork(done, *codec.work(where.shape, rules), graph.flops(rules).sum() - done)
    assert made.work(rules) == counted


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((Identity(), Huffman(), Awgn(3.0)), "'awgn' is analog: .* coder 'huffman'"),
        ((Identity(), Float32(), Bsc(0.1)), "'bsc' corrupts bits, which coder 'float32'"),
        ((Identity(), Float32(), Awgn()), "needs an SNR"),
        ((Identity(), Raw8()), "'raw8' does not fit the interior cut after '1'; it fits: input"),
        ((LinearCodec(3, 2), Uniform()), r"'linear' takes no tensor of shape \(6, 8, 8\)"),
    ],
)
def test_what_does_not_go_together_is_refused(parts: Any, message: str) -> None:
    with pytest.raises(CoinferError, match=message):
        split_small(MAPS, *parts)


def test_the_source_is_sent_as_it_is() -> None:
    made, images = split_small("input", Identity(), Raw8())
    assert torch.equal(made(images), TRACED.module(images))
    with pytest.raises(CoinferError, match="'raw8' encodes no features; its bits are counted"):
        made.fit_coder([images])
    with pytest.raises(CoinferError, match="'raw8' sends the source, which codec 'conv' cannot"):
        split_small("input", ConvCodec(3, 2), Raw8())


def test_bad_cuts_and_networks_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown cut '7'"):
        split_small("7", Identity(), Float32())
    with pytest.raises(CoinferError, match="split_network of Linear needs input_shape"):
        split_network(nn.Linear(2, 2), "input", Identity(), Float32(), generator=seeded())


def test_a_codec_is_trained_end_to_end() -> None:
    """Frozen halves, a code of a quarter of the elements in 4 bits: the loss falls by half."""
    made, images = split_small(VECTOR, LinearCodec(10, 3, final="none"), Uniform(4))
    assert isinstance(made, SplitNetwork)
    target = TRACED.module(images).detach()
    codec = [*made.encoder.parameters(), *made.decoder.parameters()]
    losses = []
    for step in range(60):
        if step % 20 == 0:
            made.calibrate([images])
        loss = (made(images) - target).square().mean()
        for parameter, slope in zip(codec, torch.autograd.grad(loss, codec), strict=True):
            parameter.data -= 0.3 * slope
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


def test_codecs_of_tiny_maps_train_in_bfloat16_as_in_float32() -> None:
    """In bfloat16, torch's own gradients of these convolutions are garbage on CPUs."""
    spec = model_spec("alexnet-cifar")

    def gradients(dtype: torch.dtype) -> list[Tensor]:
        model = split_network(
            trace(build(spec, seed=0), spec.input_shape),
            "features.7",
            ConvCodec(138, 99, 5, 2, 5, 2),
            Float32(),
            None,
            generator=seeded(),
        )
        model.device_part, model.server_part = nn.Identity(), nn.Flatten()
        features = torch.randn(8, 384, 2, 2, generator=seeded(1))
        stale = [torch.full((200_000,), float("nan")) for _ in range(10)]
        del stale  # so that freshly allocated memory holds NaN
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            restored = model(features)
        restored.square().sum().backward()
        codec = [*model.encoder.parameters(), *model.decoder.parameters()]
        return [p.grad for p in codec if p.grad is not None]

    low, full = gradients(torch.bfloat16), gradients(torch.float32)
    assert len(low) == 8
    for ours, expected in zip(low, full, strict=True):
        assert torch.equal(ours, expected)
        assert expected.abs().sum() > 0
