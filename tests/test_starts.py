"""Codecs that start from principal components: as good as linear algebra allows, untrained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from coinfer.compression.codecs import (
    Asymmetric,
    BottleNetPlusPlus,
    CiaConv,
    CiaLinear,
    ConvCodec,
    LinearCodec,
    StagedCodec,
    ThreeStepConv,
    ThreeStepLinear,
)
from coinfer.compression.starts import principal_start

IMAGES = 400
MAPS = (12, 8, 8)
WIDTH = 48

CODECS = [
    (ConvCodec(8, 8), MAPS),
    (ConvCodec(8, 8, hidden_stride=2, code_kernel=5, code_activation="tanh"), MAPS),
    (ConvCodec(8, 8, code_stride=2), (12, 7, 9)),
    (BottleNetPlusPlus(8), MAPS),
    (BottleNetPlusPlus(8, spatial=1), MAPS),
    (BottleNetPlusPlus(8, spatial=1), (12, 7, 9)),
    (ThreeStepConv(8), MAPS),
    (ThreeStepLinear(16), (WIDTH,)),
    (ThreeStepLinear(16, hidden=24, flatten=1), MAPS),
    (CiaConv(8, 40), MAPS),
    (CiaConv(8, 40), (12, 7, 9)),
    (CiaLinear(16), (WIDTH,)),
    (LinearCodec(24, 16), (WIDTH,)),
    (LinearCodec(24, 16, code_activation="sigmoid"), (WIDTH,)),
    (Asymmetric(8, 2), MAPS),
    (Asymmetric(8, 1, final="none"), MAPS),
]


def features(shape: tuple[int, ...], count: int = IMAGES, seed: int = 0) -> Tensor:
    """Rectified features of few directions: what a network's layers have, written small."""
    draws = torch.Generator().manual_seed(7)
    sources = 4
    mix = torch.rand((sources, shape[0]), generator=draws)
    own = torch.Generator().manual_seed(seed)
    if len(shape) == 1:
        return torch.randn((count, sources), generator=own).abs() @ mix
    coarse = torch.randn((count, sources, 2, 2), generator=own).abs()
    smooth = nn.functional.interpolate(coarse, shape[1:], mode="bilinear", align_corners=True)
    return torch.einsum("nshw,sc->nchw", smooth, mix).contiguous()


def halves(codec: StagedCodec, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    encoder, decoder = codec.modules(shape)
    return encoder.eval(), decoder.eval()


@torch.no_grad()
def lost(encoder: nn.Module, decoder: nn.Module, seen: Tensor) -> float:
    """The squared error of what comes back, over the variance of what went in."""
    error = (decoder(encoder(seen)) - seen).square().sum()
    return float(error / (seen - seen.mean(dim=0)).square().sum())


def trained(encoder: nn.Module, decoder: nn.Module, seen: Tensor) -> None:
    """Train a codec to give features back, by forty steps of Adam on all of them."""
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        (decoder(encoder(seen)) - seen).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(("codec", "shape"), CODECS, ids=str)
def test_a_start_is_better_than_training_from_random_weights(
    codec: StagedCodec, shape: tuple[int, ...]
) -> None:
    """Of images never seen, it loses less than half of what forty steps from random weights do."""
    seen, unseen = features(shape), features(shape, seed=1)
    encoder, decoder = halves(codec, shape)
    trained(encoder, decoder, seen)
    learnt = lost(encoder, decoder, unseen)
    encoder, decoder = halves(codec, shape)
    assert principal_start(encoder, decoder, seen)
    assert lost(encoder, decoder, unseen) < learnt / 2


def test_a_linear_code_of_full_rank_is_the_best_there_is() -> None:
    """Eckart and Young: no linear code of so many numbers loses less than principal components."""
    shape, width = (WIDTH,), 3
    draws = torch.Generator().manual_seed(3)
    seen = torch.randn((IMAGES, WIDTH), generator=draws) * torch.linspace(3, 0.1, WIDTH) + 30.0
    encoder, decoder = halves(CiaLinear(width, final="none"), shape)
    assert principal_start(encoder, decoder, seen)
    singular = torch.linalg.svdvals(seen - seen.mean(dim=0))
    least = float(singular[width:].square().sum() / singular.square().sum())
    assert lost(encoder, decoder, seen) == pytest.approx(least, rel=1e-3)


def test_components_beyond_the_images_seen_stay_as_drawn() -> None:
    encoder, decoder = halves(CiaLinear(16), (WIDTH,))
    drawn = encoder[0].weight.detach().clone()  # type: ignore[index, union-attr]
    assert principal_start(encoder, decoder, features((WIDTH,), count=10))
    assert torch.equal(encoder[0].weight[10:], drawn[10:])  # type: ignore[index]
    assert not torch.equal(encoder[0].weight[:10], drawn[:10])  # type: ignore[index]
    assert all(torch.isfinite(parameter).all() for parameter in decoder.parameters())


def test_features_without_variance_leave_finite_weights() -> None:
    for codec, shape in CODECS:
        encoder, decoder = halves(codec, shape)
        assert principal_start(encoder, decoder, torch.zeros((50, *shape)))
        for half in (encoder, decoder):
            assert all(torch.isfinite(value).all() for value in half.state_dict().values())


def test_a_codec_that_is_not_mirrored_starts_as_it_was() -> None:
    encoder = nn.Sequential(nn.Conv2d(12, 8, 3, padding=1))
    decoder = nn.Sequential(nn.Conv2d(8, 10, 3, padding=1), nn.ReLU(), nn.Conv2d(10, 12, 1))
    before = [value.clone() for half in (encoder, decoder) for value in half.state_dict().values()]
    assert not principal_start(encoder.eval(), decoder.eval(), features(MAPS))
    after = [value for half in (encoder, decoder) for value in half.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert not principal_start(nn.Identity(), nn.Identity(), features(MAPS))


def test_a_start_repeats_bit_for_bit() -> None:
    made = []
    for _ in range(2):
        encoder, decoder = halves(CiaConv(8, 40), MAPS)
        torch.manual_seed(5)
        principal_start(encoder, decoder, features(MAPS))
        made.append([*encoder.state_dict().values(), *decoder.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*made, strict=True))
