"""Images as tensors: seeded batches, augmentation, normalisation, resizing.

All random draws come from one generator on the CPU, so a seed gives the same batches on every
device and, as the order of a split depends on content alone, from every layout on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from coinfer.errors import CoinferError

MEAN = (0.4914, 0.4822, 0.4465)
"""Mean of each channel of CIFAR-10's training images, pixels scaled to 0..1."""

STD = (0.2470, 0.2435, 0.2616)
"""Standard deviation of each channel of CIFAR-10's training images, pixels scaled to 0..1."""

PADDING = 4


def batches(
    images: NDArray[np.uint8] | Tensor,
    labels: NDArray[np.int64] | Tensor,
    batch_size: int,
    generator: torch.Generator | None = None,
    *,
    augmented: bool = False,
    size: int | None = None,
    device: str | torch.device = "cpu",
    channels_last: bool = False,
    drop_last: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one pass over labelled images, as network inputs.

    Args:
        images: (N, C, H, W) uint8; an array (memory-mapped or not), or a tensor, which may lie on
            `device` already.
        labels: (N,) class of each image, in the same form.
        batch_size: images in a batch; the last one may be smaller.
        generator: shuffles and augments, on the CPU; None keeps the order, as for measuring.
        augmented: whether to flip and crop at random; needs a generator.
        size: height and width of the network's input in pixels; None leaves the images' own.
        device: where the batches go.
        channels_last: whether inputs have that memory format.
        drop_last: whether to leave out a last, smaller batch.

    Yields:
        Inputs (B, C, size, size) float32, normalised, and labels (B,) int64.

    Raises:
        CoinferError: when the arguments do not fit together.
    """
    count = len(labels)
    if len(images) != count:
        raise CoinferError(f"{len(images)} images and {count} labels; one label each is needed")
    if batch_size < 1:
        raise CoinferError(f"batch size is {batch_size}; accepted: 1 or more")
    if augmented and generator is None:
        raise CoinferError("augmentation draws at random; give a generator")
    end = count - count % batch_size if drop_last else count
    return _pass(
        _plain(images),
        _plain(labels),
        torch.arange(count) if generator is None else torch.randperm(count, generator=generator),
        [(first, min(first + batch_size, end)) for first in range(0, end, batch_size)],
        generator if augmented else None,
        size,
        torch.device(device),
        torch.channels_last if channels_last else torch.contiguous_format,
    )


def _pass(
    images: NDArray[Any] | Tensor,
    labels: NDArray[Any] | Tensor,
    order: Tensor,
    spans: list[tuple[int, int]],
    generator: torch.Generator | None,
    size: int | None,
    device: torch.device,
    memory_format: torch.memory_format,
) -> Iterator[tuple[Tensor, Tensor]]:
    for first, last in spans:
        index = order[first:last]
        batch = _take(images, index).to(device, non_blocking=True)
        if generator is not None:
            batch = augment(batch, generator)
        inputs = normalise(batch).contiguous(memory_format=memory_format)
        if size is not None:
            inputs = resize(inputs, size)
        yield inputs, _take(labels, index).to(device, torch.int64, non_blocking=True)


def augment(images: Tensor, generator: torch.Generator, padding: int = PADDING) -> Tensor:
    """Flip half of the images, then crop each at random from its reflected surroundings.

    Args:
        images: (B, C, H, W) uint8, on any device.
        generator: of the draws, on the CPU: B flips, B rows, B columns.
        padding: pixels added on each side before cropping, less than H and W.

    Returns:
        (B, C, H, W) uint8.
    """
    count = len(images)
    flips = torch.rand(count, generator=generator) < 0.5
    rows, columns = torch.randint(0, 2 * padding + 1, (2, count), generator=generator)
    return flip_and_crop(images, flips, rows, columns, padding)


def flip_and_crop(
    images: Tensor, flips: Tensor, rows: Tensor, columns: Tensor, padding: int = PADDING
) -> Tensor:
    """Flip and crop each image as told.

    Args:
        images: (B, C, H, W).
        flips: (B,) whether to mirror left and right.
        rows: (B,) first row of the crop in the padded image, 0 to 2 `padding`.
        columns: (B,) first column of the crop in the padded image, 0 to 2 `padding`.
        padding: pixels of reflection (without repeating the border) on each side.

    Returns:
        (B, C, H, W).
    """
    count, channels, height, width = images.shape
    down = _reflected(height, rows, padding)
    across = _reflected(width, columns, padding)
    # A crop of a mirrored image reads the image's columns from the other end.
    across = torch.where(flips[:, None], width - 1 - across, across)
    # One gather over flat pixels: six times as fast as indexing with two arrays.
    pixels = (down[:, :, None] * width + across[:, None, :]).reshape(count, 1, height * width)
    pixels = pixels.to(images.device, non_blocking=True).expand(-1, channels, -1)
    return images.reshape(count, channels, -1).gather(2, pixels).reshape(images.shape)


def normalise(
    images: Tensor, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD
) -> Tensor:
    """Return (x / 255 - mean) / std per channel.

    Args:
        images: (B, C, H, W) uint8.
        mean: of each channel, pixels scaled to 0..1.
        std: of each channel, likewise.

    Returns:
        (B, C, H, W) float32, in the memory format of the images.
    """
    scale, shift = _affine(images.device, mean, std)
    return images.to(torch.float32).mul_(scale).add_(shift)


def resize(images: Tensor, size: int) -> Tensor:
    """Return images (B, C, H, W) of floats scaled bilinearly to (B, C, size, size)."""
    if images.shape[2:] == (size, size):
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)


def _affine(
    device: torch.device, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Return scale and shift, (1, C, 1, 1) each, that normalise bytes."""
    means, stds = (torch.tensor(v, dtype=torch.float64).reshape(1, -1, 1, 1) for v in (mean, std))
    scale, shift = 1 / (255 * stds), -means / stds
    return scale.to(device, torch.float32), shift.to(device, torch.float32)


def _reflected(length: int, starts: Tensor, padding: int) -> Tensor:
    """Return for each start the `length` source positions that a crop reads, (B, length)."""
    places = (torch.arange(length) + (starts[:, None] - padding)).abs()
    return (length - 1) - (length - 1 - places).abs()


def _plain(array: NDArray[Any] | Tensor) -> NDArray[Any] | Tensor:
    return array if isinstance(array, Tensor) else np.asarray(array)


def _take(array: NDArray[Any] | Tensor, index: Tensor) -> Tensor:
    """Return the rows at some positions, as a tensor of their own."""
    if isinstance(array, Tensor):
        return array[index.to(array.device)]
    return torch.from_numpy(array[index.numpy()])
