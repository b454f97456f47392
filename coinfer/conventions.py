"""Conventions: the accounting rules under which latencies are comparable. One per paper.

A convention is part of a cell and of its key. `presets/conventions.toml` holds them. Each can be
asked for with one cut alone, `qho2024[cut=features.2]`: every method then cuts there or not at all.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib.resources import files

from coinfer import flops
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.refs import Ref, parse_ref
from coinfer.serial import from_data

CUT_KINDS = ("input", "interior", "output")


@dataclass(frozen=True)
class Convention:
    """A frozen set of accounting rules.

    Attributes:
        name: `qho2024`, `harmonised`, ...
        source: the paper whose accounting it is.
        flops_rules: counting rule (`coinfer.flops.RULES`).
        coders: payload formats admitted, as part names; `*` admits a method's own.
        input_coder: the payload format of the input at cut 0.
        codec_counted: whether encoder and decoder computation is priced.
        analog: whether the symbols of an analog channel are admitted as payload beside bits.
        symbols_as_bits: whether the symbols of an analog channel are charged as the bits that they
            would be without it, and nothing as symbols.
        cut_kinds: (method name glob, cut kinds it may choose among), first match wins; a method
            that matches none may use every kind that its card names.
        note: what a reader should know.
        cut: the layer after which every method cuts (`Cut.after`); '' leaves the choice.
    """

    name: str
    source: str
    flops_rules: str
    coders: tuple[str, ...]
    input_coder: str
    codec_counted: bool
    cut_kinds: tuple[tuple[str, tuple[str, ...]], ...] = ()
    analog: bool = False
    symbols_as_bits: bool = False
    note: str = ""
    cut: str = ""

    def __post_init__(self) -> None:
        flops.rule(self.flops_rules)
        if self.input_coder not in self.coders:
            raise CoinferError(
                f"Convention.input_coder of '{self.name}' is '{self.input_coder}'; "
                f"allowed: {', '.join(self.coders)}"
            )
        if self.analog and self.symbols_as_bits:
            raise CoinferError(
                f"convention '{self.name}' charges symbols both as they are (analog) and as bits "
                "(symbols_as_bits); allowed is one"
            )
        for method, kinds in self.cut_kinds:
            if not set(kinds) <= set(CUT_KINDS):
                raise CoinferError(
                    f"Convention.cut_kinds of '{self.name}' for '{method}' is {kinds}; "
                    f"allowed: {', '.join(CUT_KINDS)}"
                )

    @property
    def rules(self) -> str:
        """Its name without the one cut that it may leave: `harmonised` of `harmonised[cut=fc]`."""
        return parse_ref(self.name).name

    @property
    def work_unit(self) -> str:
        """What its work is counted in: `FLOPs`, or `MACs` (multiply-accumulates)."""
        return "MACs" if self.flops_rules == "macs" else "FLOPs"

    def admits(self, coder: str) -> bool:
        """Whether a digital payload format (by part name) may be sent under this convention."""
        return coder in self.coders or "*" in self.coders

    def payloads(self) -> tuple[str, ...]:
        """Return the digital payload formats that are admitted by name."""
        return tuple(coder for coder in self.coders if coder != "*")

    def kinds_for(self, method: str, able: frozenset[str]) -> frozenset[str]:
        """Return the cut kinds that `method`, able to use `able`, may choose among."""
        for pattern, kinds in self.cut_kinds:
            if fnmatchcase(method, pattern):
                return able & frozenset(kinds)
        return able


@cache
def conventions() -> dict[str, Convention]:
    """Return every convention by name."""
    text = files("coinfer.presets").joinpath("conventions.toml").read_text(encoding="utf-8")
    records = tomllib.loads(text)
    return {
        name: from_data({"name": name, **record}, Convention) for name, record in records.items()
    }


@lru_cache(maxsize=1024)
def convention(name: str) -> Convention:
    """Return the convention called `name`, or `name[cut=LAYER]`, which leaves that cut alone.

    Its name is the one spelling of what was asked for.

    Raises:
        UnknownNameError: offering the nearest names.
        CoinferError: for another option than `cut`, or one that is no layer's name.
    """
    ref = parse_ref(name)
    found = conventions().get(ref.name)
    if found is None:
        raise UnknownNameError("convention", ref.name, conventions())
    if not ref.options:
        return found
    unknown = sorted(ref.arguments.keys() - {"cut"})
    if unknown:
        raise CoinferError(f"convention '{name}': unknown option '{unknown[0]}'; known: cut=LAYER")
    cut = ref.arguments["cut"]
    if not isinstance(cut, str) or not cut:
        quoted = Ref(ref.name, (("cut", str(cut)),))
        like = f"; a layer that is called by a number is quoted: {quoted}" if cut else ""
        raise CoinferError(f"convention '{name}': cut={cut!r} is not the name of a layer{like}")
    return replace(found, name=str(ref), cut=cut)
