"""The open parts of a plan: Criterion, Schedule, Codec, Coder, Channel (design ruling 11).

A plan names its parts as `name[option=value]`. A part is a class with a `kind` and a `name`; its
constructor's keyword arguments are its options. Built-in parts, those of installed packages
(entry points in `coinfer.parts`) and those that a method's file brings are found alike, so a
stranger's codec needs no change here.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from coinfer.errors import CoinferError, UnknownNameError
from coinfer.plan import Evidence, Source
from coinfer.plugins import PART_GROUP, Broken, load_entry_points
from coinfer.refs import parse_ref

if TYPE_CHECKING:
    import torch
    from torch import nn

    from coinfer.compression.space import PruneSpace

PART_KINDS = ("criterion", "schedule", "codec", "coder", "channel")
NO_PART = "none"

Elements = int | NDArray[np.int64]


class Part(Protocol):
    """What every part has."""

    kind: ClassVar[str]
    name: ClassVar[str]


class Criterion(Part, Protocol):
    """Which units of a prune group go first."""

    def scores(
        self, model: nn.Module, space: PruneSpace, batches: Iterable[tuple[Any, Any]]
    ) -> Mapping[str, torch.Tensor]:
        """Return a score per unit for every prune group, shape (units,); lowest goes first.

        `batches` are (images (B, C, H, W), labels (B,)) of training data, for criteria that
        need activations or gradients.
        """


class Schedule(Part, Protocol):
    """When pruning happens during training."""

    def progress(self, step: int, steps: int) -> float:
        """Return the share (0..1) of the target sparsity in force at `step` of `steps`."""


class Codec(Part, Protocol):
    """Encoder on the device and decoder on the server, around the cut."""

    def code_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the code of a crossing tensor of `shape` (no batch)."""

    def work(self, shape: tuple[int, ...], rules: str) -> tuple[int, int]:
        """Return (encoder, decoder) work in FLOPs under a counting rule."""

    def modules(self, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
        """Return a fresh encoder and decoder for a crossing tensor of `shape`."""


class Coder(Part, Protocol):
    """How a tensor becomes bits on a digital link."""

    cut_kinds: ClassVar[frozenset[str]]
    evidence: ClassVar[Evidence]
    lossless: ClassVar[bool]

    def available(self, source: Source) -> bool:
        """Return whether the source has what the format needs."""

    def bits(self, elements: Elements, source: Source) -> float | NDArray[np.floating[Any]]:
        """Return the bits that cross, for `elements` crossing elements (vectorised).

        Raises:
            CoinferError: when the source lacks what the format needs.
        """


class Channel(Part, Protocol):
    """A channel that training and testing go through."""

    analog: ClassVar[bool]

    def layer(self, snr_db: float | None, generator: torch.Generator) -> nn.Module:
        """Return the non-trainable layer that corrupts what crosses."""


@dataclass(frozen=True)
class Identity:
    """No codec: the crossing tensor is sent as it is."""

    kind: ClassVar[str] = "codec"
    name: ClassVar[str] = "identity"

    def code_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `shape`."""
        return shape

    def work(self, shape: tuple[int, ...], rules: str) -> tuple[int, int]:
        """Return no work on either side."""
        return 0, 0

    def modules(self, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
        """Return two identities."""
        from torch import nn

        return nn.Identity(), nn.Identity()


@dataclass(frozen=True)
class Float32:
    """32 bits per element of the network's input or of a feature, uncoded."""

    kind: ClassVar[str] = "coder"
    name: ClassVar[str] = "float32"
    cut_kinds: ClassVar[frozenset[str]] = frozenset({"input", "interior"})
    evidence: ClassVar[Evidence] = "analytic"
    lossless: ClassVar[bool] = True

    def available(self, source: Source) -> bool:
        """Every source will do."""
        return True

    def bits(self, elements: Elements, source: Source) -> float | NDArray[np.floating[Any]]:
        """Return 32 bits per element."""
        return 32.0 * elements


@dataclass(frozen=True)
class Raw8:
    """The raw source tensor (8 bits per element); the server resizes and normalises it."""

    kind: ClassVar[str] = "coder"
    name: ClassVar[str] = "raw8"
    cut_kinds: ClassVar[frozenset[str]] = frozenset({"input"})
    evidence: ClassVar[Evidence] = "analytic"
    lossless: ClassVar[bool] = True

    def available(self, source: Source) -> bool:
        """Every source will do."""
        return True

    def bits(self, elements: Elements, source: Source) -> float | NDArray[np.floating[Any]]:
        """Return the source's raw bits, whatever the network's input size."""
        return float(source.raw_bits) + 0.0 * elements


@dataclass(frozen=True)
class Png:
    """The source as PNG: the mean size measured over a test set, container included."""

    kind: ClassVar[str] = "coder"
    name: ClassVar[str] = "png"
    cut_kinds: ClassVar[frozenset[str]] = frozenset({"input"})
    evidence: ClassVar[Evidence] = "measured"
    lossless: ClassVar[bool] = True

    def available(self, source: Source) -> bool:
        """Return whether the source's PNG size was measured."""
        return source.png_bits is not None

    def bits(self, elements: Elements, source: Source) -> float | NDArray[np.floating[Any]]:
        """Return the measured mean, whatever the network's input size.

        Raises:
            CoinferError: when no PNG size was measured for this source.
        """
        if source.png_bits is None:
            raise CoinferError(
                f"no PNG size was measured for a source of shape {source.shape}; "
                "the raw8 and float32 formats need none"
            )
        return source.png_bits + 0.0 * elements


BUILT_IN: tuple[type, ...] = (Identity, Float32, Raw8, Png)


@dataclass(frozen=True)
class Parts:
    """The parts known to a run, by (kind, name).

    Attributes:
        classes: every part class.
        broken: plug-ins that failed to load.
    """

    classes: Mapping[tuple[str, str], type]
    broken: tuple[Broken, ...] = field(default=(), compare=False)

    def make(self, kind: str, ref: str) -> Any:
        """Return the part named by `name[option=value]`.

        Raises:
            CoinferError: for an unknown name or an option it does not take.
        """
        parsed = parse_ref(ref)
        cls = self.classes.get((kind, parsed.name))
        if cls is None:
            raise UnknownNameError(kind, parsed.name, (n for k, n in self.classes if k == kind))
        try:
            return cls(**parsed.arguments)
        except TypeError:
            accepted = ", ".join(inspect.signature(cls).parameters) or "none"
            raise CoinferError(f"{kind} '{ref}': options accepted are: {accepted}") from None

    def coder(self, ref: str) -> Coder:
        """Return a coder by ref."""
        return cast(Coder, self.make("coder", ref))

    def codec(self, ref: str) -> Codec:
        """Return a codec by ref."""
        return cast(Codec, self.make("codec", ref))

    def foreign(self) -> dict[str, type]:
        """Return the parts that are not built in, by name."""
        return {cls.name: cls for cls in self.classes.values() if cls not in BUILT_IN}  # type: ignore[attr-defined]

    def check(self, kind: str, ref: str) -> None:
        """Refuse a part that is not known; `none` is no part.

        Raises:
            CoinferError: for an unknown name or an option it does not take.
        """
        if ref != NO_PART:
            self.make(kind, ref)

    def with_classes(self, classes: Iterable[type]) -> Parts:
        """Return these parts and those among `classes` that are parts.

        Raises:
            CoinferError: when a name is taken by another class.
        """
        known = dict(self.classes)
        for cls in classes:
            if not is_part(cls):
                continue
            key = (cls.kind, cls.name)  # type: ignore[attr-defined]
            taken = known.setdefault(key, cls)
            if taken is not cls:
                raise CoinferError(f"{key[0]} '{key[1]}' is already defined by {taken.__module__}")
        return Parts(known, self.broken)


def is_part(cls: type) -> bool:
    """Whether a class is a part: it has a `kind` of PART_KINDS and a `name`."""
    return getattr(cls, "kind", None) in PART_KINDS and isinstance(getattr(cls, "name", None), str)


@cache
def installed_parts() -> Parts:
    """Return the built-in parts and those of installed packages; broken ones are reported."""
    found, broken = load_entry_points(PART_GROUP)
    parts = Parts({}).with_classes(BUILT_IN)
    for plugin in found:
        if not isinstance(plugin.value, type) or not is_part(plugin.value):
            reason = f"not a class with a `kind` ({', '.join(PART_KINDS)}) and a `name`"
            broken.append(Broken(plugin.name, plugin.origin, reason))
            continue
        try:
            parts = parts.with_classes([plugin.value])
        except CoinferError as error:
            broken.append(Broken(plugin.name, plugin.origin, str(error)))
    return Parts(parts.classes, tuple(broken))
