"""What a measurement is: a plan's accuracy after really building, training and testing it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coinfer.errors import CoinferError
from coinfer.plan import Evidence, Plan
from coinfer.serial import content_hash, from_data, to_data

MEASUREMENT_SCHEMA = 1

Flags = NDArray[np.bool_]
FloorVerdict = Literal["held", "broken", "undecided"]


@dataclass(frozen=True)
class Payload:
    """What crosses the cut, per image.

    Attributes:
        bits: mean bits; None where analog symbols cross.
        p5_bits, p95_bits: of all images; equal to `bits` where every image takes the same.
        symbols: real-valued channel symbols; None where bits cross.
        evidence: `analytic` for a fixed length, `measured` for encoded bytes that were counted.
    """

    bits: float | None
    p5_bits: float | None
    p95_bits: float | None
    symbols: int | None
    evidence: Evidence


@dataclass(frozen=True)
class Measurement:
    """One plan, trained and measured. All fields are results: the same inputs give the same bits.

    Attributes:
        plan: what was built.
        recipe: name and version of how it was trained.
        recipe_hash: hash of the recipe.
        parent_sha256: of the pretrained weights that it started from.
        data_hash: of the data set, all splits.
        seed: of training.
        val_correct: which validation images were right, as `pack` writes them.
        val_n: validation images.
        test_correct: right answers on the test set; None unless the plan is final (design
            ruling 1).
        test_n: test images.
        payload: what crosses the cut.
        device_flops, server_flops: work on both sides (Table I), counted on the real modules.
        encoder_flops, decoder_flops: work of the codec.
        epochs: passes over training images, all phases.
        images: training images seen.
        schema: version of this record.
    """

    plan: Plan
    recipe: str
    recipe_hash: str
    parent_sha256: str
    data_hash: str
    seed: int
    val_correct: str
    val_n: int
    test_correct: int | None
    test_n: int | None
    payload: Payload
    device_flops: int
    server_flops: int
    encoder_flops: int
    decoder_flops: int
    epochs: int
    images: int
    schema: int = MEASUREMENT_SCHEMA

    @cached_property
    def val_flags(self) -> Flags:
        """Which validation images were right, (val_n,)."""
        return unpack(self.val_correct, self.val_n)

    @property
    def val_accuracy(self) -> float:
        """Share of the validation images that were right."""
        return float(self.val_flags.mean())

    @property
    def val_std_error(self) -> float:
        """Standard error of `val_accuracy`, of a share of `val_n` images."""
        share = self.val_accuracy
        return sqrt(share * (1 - share) / self.val_n)

    @property
    def test_accuracy(self) -> float | None:
        """Share of the test images that were right; None unless the plan is final."""
        if self.test_correct is None or not self.test_n:
            return None
        return self.test_correct / self.test_n

    @cached_property
    def hash(self) -> str:
        """Content hash of the results."""
        return content_hash(to_data(self))

    @classmethod
    def from_data(cls, data: object) -> Measurement:
        """Build a measurement from JSON data, refusing what it does not know."""
        return from_data(data, cls)


def pack(flags: Flags) -> str:
    """Return flags (N,) as text, eight to a byte, base64."""
    return base64.b64encode(np.packbits(flags).tobytes()).decode("ascii")


def unpack(text: str, count: int) -> Flags:
    """Return the `count` flags that `pack` wrote.

    Raises:
        CoinferError: when the text does not hold so many.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise CoinferError(f"flags of right answers are damaged: {error}") from error
    if len(data) != (count + 7) // 8:
        raise CoinferError(f"flags of right answers hold {len(data)} bytes, not {count} flags")
    return np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=count).astype(np.bool_)


def floor_held(
    baseline: Flags, candidate: Flags, max_loss: float, *, draws: int = 2000, seed: int = 0
) -> FloorVerdict:
    """Return whether a candidate is at most `max_loss` below its baseline: held, broken, undecided.

    A paired bootstrap over the same images (design ruling 4): the middle 95 % of the resampled
    differences decide when they lie on one side.

    Args:
        baseline: (N,) right answers of the unpruned network under the same recipe.
        candidate: (N,) right answers of the candidate on the same images.
        max_loss: allowed loss of accuracy, 0..1.
        draws: resamples.
        seed: of the resampling.

    Raises:
        CoinferError: when the two were not measured on equally many images.
    """
    if baseline.shape != candidate.shape or not len(baseline):
        raise CoinferError(
            f"{len(baseline)} and {len(candidate)} images cannot be compared in pairs"
        )
    difference = candidate.astype(np.int64) - baseline.astype(np.int64)
    # Resampling a sum of -1, 0 and 1 is drawing how often each occurs.
    counts = np.array([(difference == value).sum() for value in (-1, 0, 1)])
    rng = np.random.default_rng(seed)
    resampled = rng.multinomial(len(difference), counts / counts.sum(), size=draws)
    losses = (resampled[:, 0] - resampled[:, 2]) / len(difference)
    low, high = np.quantile(losses, (0.025, 0.975))
    if high <= max_loss:
        return "held"
    return "broken" if low > max_loss else "undecided"
