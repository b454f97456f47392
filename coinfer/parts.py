"""The open parts of a plan: Criterion, Schedule, Codec, Coder, Channel (design ruling 11).

A plan names its parts as `name[option=value]`. A part is a class with a `kind` and a `name`; its
constructor's keyword arguments are its options. Built-in parts, those of installed packages
(entry points in `coinfer.parts`) and those that a method's file brings are found alike, so a
stranger's codec needs no change here. What a part says of itself and of a tensor is checked
before anything is counted with it: a part that is wrong gives one line, never a wrong row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from coinfer.checks import finite_positive, is_whole, shown, whole_shape
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.plan import PART_KINDS, Evidence, Plan, Source
from coinfer.plugins import PART_GROUP, Broken, load_entry_points
from coinfer.refs import Ref, parse_ref
from coinfer.sources import PROJECT, closure_hash

if TYPE_CHECKING:
    import torch
    from torch import nn

    from coinfer.compression.space import PruneSpace
    from coinfer.graph import Cut

NO_PART = "none"

# What a part of each kind can be asked (`Criterion`, `Schedule`, ... below).
_METHODS = {
    "criterion": ("scores",),
    "schedule": ("progress",),
    "codec": ("code_shape", "work", "modules"),
    "coder": ("available", "bits"),
    "channel": ("layer",),
}
_SENT = frozenset({"input", "interior"})
# Work is priced in float64, which holds every whole number up to here.
_MOST_FLOPS = 2**53

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
    """When pruning happens during training.

    A schedule with `lifts = True` has its masks lifted, and the masked weights restored, before the
    next ones are made.
    """

    def progress(self, step: int, steps: int) -> float:
        """Return the share (0..1) of the target sparsity in force at `step` of `steps`."""


class Codec(Part, Protocol):
    """Encoder on the device and decoder on the server, around the cut."""

    def code_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the code of a crossing tensor of `shape` (no batch).

        One or more whole numbers, 1 or more each.
        """

    def work(self, shape: tuple[int, ...], rules: str) -> tuple[int, int]:
        """Return (encoder, decoder) work in FLOPs under a counting rule (MACs under `macs`).

        Whole numbers, 0 or more.
        """

    def modules(self, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
        """Return a fresh encoder and decoder for a crossing tensor of `shape`."""


class Coder(Part, Protocol):
    """How a tensor becomes bits on a digital link.

    Attributes:
        cut_kinds: where it can be used, of `input` and `interior`. A format for the input alone
            sends the source, every other one the tensor that crosses.
        evidence: where its bits come from.
        lossless: whether what arrives is what was sent; a coder that does not say so is lossy.
    """

    cut_kinds: ClassVar[frozenset[str]]
    evidence: ClassVar[Evidence]
    lossless: ClassVar[bool]

    def available(self, source: Source) -> bool:
        """Return whether the source has what the format needs."""

    def bits(self, elements: Elements, source: Source) -> float | NDArray[np.floating[Any]]:
        """Return the bits that cross, for `elements` crossing elements (vectorised).

        Finite numbers above 0.

        Raises:
            CoinferError: when the source lacks what the format needs.
        """


class FeatureCoder(Coder, Protocol):
    """A coder that quantises and encodes features, as `coinfer.compression.entropy` has them.

    A coder without these methods says what crosses costs, and changes nothing on the way.
    """

    def layer(self, shape: tuple[int, ...]) -> nn.Module:
        """Return what the coding does to a code of `shape`, with straight-through gradients."""

    def fit(self, features: Any, levels: Any = None) -> Any:
        """Return the coder with its range and code table, made from training features."""


class Channel(Part, Protocol):
    """A channel that training and testing go through.

    An analog channel must have `uses(elements, bits)` (vectorised): a whole number of symbols, 1 or
    more.
    """

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
            CoinferError: for an unknown name, a plug-in that does not load, an option that the
                part does not take, or a part that declares what cannot be.
        """
        parsed = parse_ref(ref)
        cls = self._class(kind, parsed)
        try:
            part = cls(**parsed.arguments)
        except CoinferError:
            raise
        except (Exception, SystemExit) as error:  # a stranger's constructor may raise anything
            raise CoinferError(_not_made(kind, ref, cls, parsed, error)) from error
        fault = "" if _built_in(cls) else _fault(part)  # options may change what a class declares
        if fault:
            raise CoinferError(f"{kind} '{ref}': {fault}")
        return part

    def coder(self, ref: str) -> Coder:
        """Return a coder by ref."""
        return cast(Coder, self.make("coder", ref))

    def codec(self, ref: str) -> Codec:
        """Return a codec by ref."""
        return cast(Codec, self.make("codec", ref))

    def code_shape(self, ref: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the code that a codec makes of a crossing tensor of `shape`.

        Raises:
            CoinferError: when the codec gives no shape.
        """
        what = f"codec '{ref}': code_shape of {shape}"
        return whole_shape(what, _asked(what, self.codec(ref).code_shape, shape))

    def codec_work(self, ref: str, shape: tuple[int, ...], rule: str) -> tuple[int, int]:
        """Return a codec's (encoder, decoder) work on a crossing tensor of `shape`.

        Raises:
            CoinferError: when the codec does not give two whole numbers, 0 or more.
        """
        what = f"codec '{ref}': work on {shape}"
        said = _asked(what, self.codec(ref).work, shape, rule)
        pair = tuple(said) if isinstance(said, tuple | list) else ()
        if len(pair) != 2 or not all(is_whole(work, 0, _MOST_FLOPS) for work in pair):
            raise CoinferError(
                f"{what} is {shown(said)}; allowed are two whole numbers (encoder, decoder), "
                "0 to 2**53"
            )
        return int(pair[0]), int(pair[1])

    def coder_bits(self, ref: str, cut: Cut, source: Source) -> float:
        """Return the bits into which a coder makes what crosses at a cut.

        Raises:
            CoinferError: when the coder does not fit a cut of that kind, or does not give a
                finite number above 0.
        """
        coder = self.coder(ref)
        if cut.kind not in coder.cut_kinds:
            raise CoinferError(
                f"coder '{ref}' does not fit the {cut.kind} cut after '{cut.after}'; "
                f"it fits: {', '.join(sorted(coder.cut_kinds))}"
            )
        what = f"coder '{ref}': bits of {cut.elements} elements"
        said = _asked(what, coder.bits, cut.elements, source)
        if isinstance(said, np.ndarray) and said.ndim == 0:
            said = said.item()
        return finite_positive(what, said)

    def foreign(self) -> tuple[type, ...]:
        """Return the parts that are not built in."""
        return tuple(cls for cls in self.classes.values() if not _built_in(cls))

    def check(self, kind: str, ref: str) -> None:
        """Refuse a part that is not known; no criterion, schedule or channel is `none`.

        Raises:
            CoinferError: as `make`.
        """
        if ref != NO_PART or kind in ("codec", "coder"):
            self.make(kind, ref)

    def sealed(self, plan: Plan) -> Plan:
        """Return a plan with the source hash of each of its parts that is not built in.

        Raises:
            CoinferError: for an unknown part, or when the plan was sealed with a part of the
                same name and other code.
        """
        used = ((kind, getattr(plan, kind)) for kind in PART_KINDS)
        found = tuple(sorted((kind, self._source(kind, ref)) for kind, ref in used))
        sources = tuple((kind, source) for kind, source in found if source)
        if plan.part_sources not in ((), sources):
            kinds = sorted({kind for kind, _ in {*plan.part_sources} ^ {*sources}})
            named = ", ".join(f"{kind} '{getattr(plan, kind)}'" for kind in kinds)
            raise CoinferError(f"the plan was made with other code of {named} than is here")
        return replace(plan, part_sources=sources) if sources else plan

    def with_classes(self, classes: Iterable[type]) -> Parts:
        """Return these parts and those among `classes` that are parts.

        Raises:
            CoinferError: when a name is taken by another class, or a part declares what cannot
                be.
        """
        known = dict(self.classes)
        for cls in classes:
            if not is_part(cls):
                continue
            key = (cls.kind, cls.name)  # type: ignore[attr-defined]
            taken = known.setdefault(key, cls)
            if taken is not cls:
                raise CoinferError(f"{key[0]} '{key[1]}' is already defined by {taken.__module__}")
            fault = _fault(cls)
            if fault:
                raise CoinferError(f"{key[0]} '{key[1]}' ({cls.__qualname__}): {fault}")
        return Parts(known, self.broken)

    def _class(self, kind: str, ref: Ref) -> type:
        cls = self.classes.get((kind, ref.name))
        if cls is None:
            known = (name for of, name in self.classes if of == kind)
            raise unknown_or_broken(kind, ref.name, known, self.broken)
        return cls

    def _source(self, kind: str, ref: str) -> str:
        """The source hash of a part that is not built in, else ''."""
        if ref == NO_PART and kind not in ("codec", "coder"):
            return ""
        cls = self._class(kind, parse_ref(ref))
        return "" if _built_in(cls) else _source_hash(cls.__module__)


def unknown_or_broken(
    kind: str, name: str, known: Iterable[str], broken: Iterable[Broken]
) -> CoinferError:
    """Return the error for a name that no registry holds: why its plug-in does not load, if so."""
    for plugin in broken:
        if plugin.name == name:
            return CoinferError(f"{kind} '{name}' ({plugin.origin}) does not load: {plugin.error}")
    return UnknownNameError(kind, name, known)


def sends_source(coder: Coder) -> bool:
    """Whether a format sends the source rather than the tensor that crosses."""
    return coder.cut_kinds == {"input"}


def is_part(cls: type) -> bool:
    """Whether a class is a part: it has a `kind` of PART_KINDS and a `name`."""
    return getattr(cls, "kind", None) in PART_KINDS and isinstance(getattr(cls, "name", None), str)


def _asked(what: str, part: Callable[..., Any], *arguments: Any) -> Any:
    """Return a part's answer; what it raises becomes one line that names it."""
    try:
        return part(*arguments)
    except CoinferError:
        raise
    except (Exception, SystemExit) as error:  # a stranger's part may raise anything
        text = " ".join(str(error).split())
        raise CoinferError(f"{what} raises {type(error).__name__}: {text}") from error


def _built_in(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "coinfer"


def _fault(part: Any) -> str:
    """What is wrong with how a part (its class, or one made) declares itself; '' for nothing."""
    try:
        Ref(part.name)
    except CoinferError as error:
        return str(error)
    if part.name == NO_PART:
        return f"the name '{NO_PART}' stands for no part; take another"
    for name in _METHODS[part.kind]:
        if not callable(getattr(part, name, None)):
            return f"it has no method '{name}'; a {part.kind} has: {', '.join(_METHODS[part.kind])}"
    if part.kind == "channel" and not isinstance(getattr(part, "analog", None), bool):
        return f"analog is {shown(getattr(part, 'analog', None))}; allowed: True, False"
    return _coder_fault(part) if part.kind == "coder" else ""


def _coder_fault(coder: Any) -> str:
    kinds = getattr(coder, "cut_kinds", None)
    if not isinstance(kinds, frozenset | set) or not kinds or not kinds <= _SENT:
        return f"cut_kinds is {shown(kinds)}; allowed is a frozenset of: {', '.join(sorted(_SENT))}"
    evidence = getattr(coder, "evidence", None)
    if not isinstance(evidence, str) or evidence not in get_args(Evidence):
        return f"evidence is {shown(evidence)}; allowed: {', '.join(get_args(Evidence))}"
    lossless = getattr(coder, "lossless", False)
    return (
        "" if isinstance(lossless, bool) else f"lossless is {shown(lossless)}; allowed: True, False"
    )


def _not_made(kind: str, ref: str, cls: type, parsed: Ref, error: BaseException) -> str:
    """Why a part could not be made: an option that it does not take, or what it raised."""
    signature = inspect.signature(cls)
    try:
        signature.bind(**parsed.arguments)
    except TypeError:
        accepted = ", ".join(signature.parameters) or "none"
        return f"{kind} '{ref}': options accepted are: {accepted}"
    return f"{kind} '{ref}': {type(error).__name__}: {' '.join(str(error).split())}"


@cache
def _source_hash(module: str) -> str:
    """The code of a stranger's module and of what it imports of its own."""
    return closure_hash([module], without=PROJECT)


@cache
def installed_parts() -> Parts:
    """Return the built-in parts and those of installed packages; broken ones are reported."""
    found, broken = load_entry_points(PART_GROUP)
    from coinfer.builtin_parts import COMPRESSION  # which imports this module's protocols

    parts = Parts({}).with_classes((*BUILT_IN, *COMPRESSION))
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
