"""The split network: two halves with a codec, a coder and a channel between them, as one module.

    device part -> encoder -> quantiser -> channel -> decoder -> server part

At cut 0 the device part is empty and the input crosses, at cut N the server part is, and nothing
crosses: there is then no codec, coder or channel, whatever a plan names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from coinfer.channel import UNCODED, check_channel
from coinfer.channel_layers import ChannelLayer
from coinfer.compression.entropy import FittedCoder, Floats
from coinfer.compression.levels import Values
from coinfer.compression.quantise import Quantiser
from coinfer.errors import CoinferError
from coinfer.graph import Cut
from coinfer.parts import Channel, Codec, Coder, Identity, sends_source
from coinfer.tracing import Traced, split, trace

Batches = Iterable[Tensor]


@dataclass(frozen=True)
class PartWork:
    """Work of each part of a split network under a counting rule (FLOPs, or MACs)."""

    device: int
    encoder: int
    decoder: int
    server: int


class SplitNetwork(nn.Module):
    """A network in two halves, and what its cut tensor goes through between them.

    It maps images (B, *input_shape) to what the network maps them to. Made by `split_network`.

    Attributes:
        device_part, server_part: the halves, with the network's own parameter names.
        encoder, decoder: the codec.
        quantiser: what coding does to the code; the identity where it does nothing.
        channel: the channel's layer; None for error-free bits.
        transmitting: False lets the code pass as it is, without quantiser and channel, as the
            warm-up of the three-step framework does; the penalty stays. `coinfer.accuracy.measure`
            does so where the coder has a `warm_up`.
        coder: the coder part.
        cut: where the network is cut.
        input_shape, code_shape: shapes without batch.
    """

    def __init__(
        self,
        halves: tuple[nn.Module, nn.Module],
        codec: tuple[nn.Module, nn.Module],
        quantiser: nn.Module,
        channel: nn.Module | None,
        coder: Coder,
        cut: Cut,
        input_shape: tuple[int, ...],
        code_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.device_part, self.server_part = halves
        self.encoder, self.decoder = codec
        self.quantiser, self.channel = quantiser, channel
        self.coder, self.cut = coder, cut
        self.input_shape, self.code_shape = input_shape, code_shape
        self.transmitting = True

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's output for images (B, *input_shape)."""
        level = self._draw_level()
        return self._received(self._code(images, level), level)

    def penalised(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and what the quantiser adds to the loss (a number, 0 for most)."""
        level = self._draw_level()
        code = self._code(images, level)
        penalty = (
            self.quantiser.penalty(code)
            if isinstance(self.quantiser, Quantiser)
            else code.new_zeros((), dtype=torch.float32)
        )
        return self._received(code, level), penalty

    def reseed(self, seed: int) -> None:
        """Start the channel's noise anew; networks without a channel have none."""
        if isinstance(self.channel, ChannelLayer):
            self.channel.generator.manual_seed(seed)

    def codes(self, batches: Batches) -> Iterator[Values]:
        """Yield the code of every batch of images (B, *input_shape), in evaluation mode.

        As arrays (B, *code_shape) of float32: what a coder encodes.
        """
        for images in batches:
            with evaluating(self), torch.no_grad():
                code = self._code(images, self._draw_level())
            yield code.float().cpu().numpy()

    def calibrate(self, batches: Batches) -> None:
        """Set the quantiser's range by training images, where the coder needs one.

        Before training through it, and again when codes have changed. Learned levels are only
        started.
        """
        if isinstance(self.quantiser, Quantiser):
            self.quantiser.calibrate(self.codes(batches))

    def fit_coder(self, batches: Batches) -> FittedCoder:
        """Return the coder with this network's levels and a code table of training images.

        Raises:
            CoinferError: when the coder encodes no features, or its range was never set.
        """
        coder: Any = self.coder
        if isinstance(self.quantiser, Quantiser):
            fitted: FittedCoder = coder.fit(self.codes(batches), self.quantiser.levels())
            return fitted
        if self.coder.name == UNCODED:
            return Floats()
        raise CoinferError(
            f"coder '{self.coder.name}' encodes no features; its bits are counted elsewhere"
        )

    @contextmanager
    def counting_bits(self, fitted: FittedCoder) -> Iterator[list[NDArray[np.int64]]]:
        """Count the bits of what crosses while images pass through the network.

        Yields a list that grows by an array (B,) for every batch: bits of encoded bytes.
        """
        sizes: list[NDArray[np.int64]] = []

        def count(_module: nn.Module, _inputs: Any, code: Tensor) -> None:
            sizes.append(fitted.sizes_bits(code.detach().float().cpu().numpy()))

        hook = self.encoder.register_forward_hook(count)
        try:
            yield sizes
        finally:
            hook.remove()

    def work(self, rules: str) -> PartWork:
        """Return the work of every part, counted on the real modules.

        Quantisers and channels are no layers and cost nothing.

        Raises:
            CoinferError: when a module cannot be traced, or no rule has this name.
        """
        crossing = self.cut.shape
        return PartWork(
            _work(self.device_part, self.input_shape, rules),
            _work(self.encoder, crossing, rules),
            _work(self.decoder, self.code_shape, rules),
            _work(self.server_part, crossing, rules),
        )

    def _draw_level(self) -> float:
        return self.channel.draw_level() if isinstance(self.channel, ChannelLayer) else 0.0

    def _code(self, images: Tensor, level: float) -> Tensor:
        feature = self.device_part(images)
        if getattr(self.encoder, "noise_aware", False):
            return _in_float32(self.encoder, feature, level)
        return _in_float32(self.encoder, feature)

    def _received(self, code: Tensor, level: float) -> Tensor:
        # A copy of what is not transmitted, for the server part may change its input in place.
        arrived = self._transmitted(code, level) if self.transmitting else code.clone()
        return cast(Tensor, self.server_part(_in_float32(self.decoder, arrived)))

    def _transmitted(self, code: Tensor, level: float) -> Tensor:
        if isinstance(self.channel, ChannelLayer):
            quantiser = self.quantiser if isinstance(self.quantiser, Quantiser) else None
            return cast(Tensor, self.channel(code, level, quantiser))
        coded = self.quantiser(code)
        return cast(Tensor, coded if self.channel is None else self.channel(coded))


def _in_float32(codec: nn.Module, tensor: Tensor, *levels: float) -> Tensor:
    """Run half of a codec in float32, also where the network around it trains in bfloat16.

    On CPUs torch's weight gradients of bfloat16 convolutions with windows of 3 or 5 on maps of
    1x1, which codecs with strides make of small ones, hold what was in memory before (seen with
    torch 2.15).
    """
    with torch.autocast(tensor.device.type, enabled=False):
        return cast(Tensor, codec(tensor.float(), *levels))


def split_network(
    network: Traced | nn.Module,
    cut: Cut | str,
    codec: Codec,
    coder: Coder,
    channel: Channel | None = None,
    *,
    generator: torch.Generator,
    input_shape: tuple[int, ...] | None = None,
    snr_db: float | None = None,
) -> SplitNetwork:
    """Split a network and put a codec, a coder and a channel between the halves.

    The result is in evaluation mode. It shares the parameters of a `Traced`; a plain module is
    copied first. Neither the codec's initial weights nor the channel's noise come from the global
    random state.

    Args:
        network: a trace, or a module together with its `input_shape`.
        cut: a legal cut, or the name of the layer it is behind (`input` for cut 0).
        codec, coder, channel: parts; None for a channel without errors.
        generator: of the codec's initial weights and of the channel's noise, which is drawn on
            the generator's processor.
        input_shape: shape of one input without batch; needed for a plain module only.
        snr_db: the scenario's SNR, for a channel that states none.

    Raises:
        UnknownNameError: when no legal cut is there.
        CoinferError: when coder and cut, coder and channel, or codec and crossing tensor do not
            go together, or the network cannot be traced.
    """
    traced = network if isinstance(network, Traced) else _traced(network, input_shape)
    where = traced.graph.cut(cut.after if isinstance(cut, Cut) else cut)
    check_channel(channel, coder)
    halves = split(traced, where)
    shape = traced.graph.input_shape
    if where.kind == "output":
        empty = (nn.Identity(), nn.Identity())
        made = SplitNetwork(halves, empty, nn.Identity(), None, coder, where, shape, where.shape)
        return made.eval()
    if where.kind not in coder.cut_kinds:
        raise CoinferError(
            f"coder '{coder.name}' does not fit the {where.kind} cut after '{where.after}'; it "
            f"fits: {', '.join(sorted(coder.cut_kinds))}"
        )
    if sends_source(coder) and codec.name != Identity.name:
        raise CoinferError(
            f"coder '{coder.name}' sends the source, which codec '{codec.name}' cannot change; "
            f"accepted with it: codec {Identity.name}"
        )
    code_shape = codec.code_shape(where.shape)
    with _global_seed(_drawn_seed(generator)):
        modules = codec.modules(where.shape)
        quantiser = _quantiser(coder, code_shape)
    noise = torch.Generator(generator.device).manual_seed(_drawn_seed(generator))
    layer = None if channel is None else channel.layer(snr_db, noise)
    return SplitNetwork(
        halves, modules, quantiser, layer, coder, where, shape, tuple(code_shape)
    ).eval()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode, and each of its modules back in its own mode afterwards."""
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, training in modes:
            each.training = training


def _traced(network: nn.Module, input_shape: tuple[int, ...] | None) -> Traced:
    if input_shape is None:
        raise CoinferError(
            f"split_network of {type(network).__name__} needs input_shape, the shape of one input "
            "without batch, such as (3, 224, 224)"
        )
    return trace(network, input_shape)


def _quantiser(coder: Any, code_shape: tuple[int, ...]) -> nn.Module:
    """Return what coding does to a code; nothing, for coders that only say what they cost."""
    make = getattr(coder, "layer", None)
    layer: nn.Module = nn.Identity() if make is None else make(code_shape)
    return layer


def _drawn_seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Seed the global random state, from which modules are initialised, and put it back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _work(module: nn.Module, shape: tuple[int, ...], rules: str) -> int:
    """Count a part by tracing it; an empty half of a trace has no layers to count."""
    if isinstance(module, nn.Identity):
        return 0
    if isinstance(module, fx.GraphModule) and all(
        node.op in ("placeholder", "output") for node in module.graph.nodes
    ):
        return 0
    return int(trace(module, shape).graph.flops(rules).sum())
