"""Presets: the papers' devices, servers and links by name, from the TOML files beside this one.

A preset is named `raspberry-pi-4b@qho2024`: what it is, at the source of its numbers, because the
papers disagree about the same board by up to 120 times. A bare name is accepted where it is
unique or a documented alias; `3g[round_trip_s=0.05]` overrides fields. Conventions, kept layer
graphs and measured source sizes are in this folder too.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, reduce
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from coinfer.errors import CoinferError, UnknownNameError
from coinfer.hardware import Link, Processor
from coinfer.refs import Ref, parse_ref

Kind = Literal["device", "server", "link"]

# The numbers a preset may hold, and a ref may override: field -> type.
_PROCESSOR_FIELDS: dict[str, type] = {
    "flops_per_s": float,
    "memory_bytes": int,
    "tops": float,
    "compute_watts": float,
}
_CAPACITY_FIELDS = ("rate_bps", "bandwidth_hz", "uses_per_s")
_LINK_FIELDS: dict[str, type] = {
    "round_trip_s": float,
    "transmit_watts": float,
}
_DEFAULTS: dict[str, float] = {"round_trip_s": 0.0}


@dataclass(frozen=True)
class Preset:
    """A named record of numbers with their source, from which a processor or a link is made.

    Attributes:
        kind: `device`, `server` or `link`.
        name: qualified name (`raspberry-pi-4b@qho2024`).
        values: field -> number, published or assumed.
        source: paper, table or section.
        note: what a reader must know before trusting the numbers.
        capacity: of a link, the field that is its capacity: rate_bps, bandwidth_hz or uses_per_s.
        assumptions: field -> why its number is our own choice.
    """

    kind: Kind
    name: str
    values: Mapping[str, float]
    source: str
    note: str = ""
    capacity: str = ""
    assumptions: Mapping[str, str] = field(default_factory=dict)

    @property
    def flops_per_s(self) -> float | None:
        """FLOP/s of a device or server; None where none is published."""
        return self.values.get("flops_per_s")

    @property
    def rate_bps(self) -> float | None:
        """Rate of a link that has one."""
        return self.values.get("rate_bps")

    @property
    def bandwidth_hz(self) -> float | None:
        """Bandwidth of a radio."""
        return self.values.get("bandwidth_hz")

    @property
    def assumption(self) -> str:
        """What in this preset is our own choice; empty for nothing."""
        return "; ".join(self.assumptions.values())

    @property
    def accepted(self) -> dict[str, type]:
        """Fields that a ref may override, with their types.

        A link's capacity cannot change its nature: `3g` takes rate_bps, not bandwidth_hz.
        """
        if self.kind != "link":
            return _PROCESSOR_FIELDS
        flips: dict[str, type] = (
            {"flip_probability": float} if self.capacity == "uses_per_s" else {}
        )
        return {self.capacity: float, **flips, **_LINK_FIELDS}

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields without a number that must be given before anything can be priced."""
        required = [name for name in self.accepted if name in ("flops_per_s", "flip_probability")]
        return tuple(n for n in (self.capacity, *required) if n and n not in self.values)

    def overrides(self, options: Mapping[str, Any]) -> dict[str, float]:
        """Return the options that change a number, checked and as numbers of their field's type.

        Raises:
            CoinferError: for an unknown field or a value that is not such a number.
        """
        owner = f"{self.kind} '{self.name}'"
        given = _numbers(owner, options, self.accepted)
        held = {**_DEFAULTS, **self.values}
        return {name: value for name, value in given.items() if value != held.get(name)}

    def processor(self, options: Mapping[str, Any] | None = None) -> Processor:
        """Return the device or server, with `options` overriding its numbers."""
        assert self.kind != "link"
        changed = self.overrides(options or {})
        numbers: dict[str, Any] = {**self.values, **changed}
        # The notes are about trusting the published FLOP/s; the user's own need none.
        note = "" if "flops_per_s" in changed else self.note
        return Processor(self.name, self.kind, **numbers, source=self._source(changed), note=note)

    def link(self, options: Mapping[str, Any] | None = None) -> Link:
        """Return the link, with `options` overriding its numbers.

        Raises:
            CoinferError: when its capacity is left to the user and not given.
        """
        changed = self.overrides(options or {})
        numbers: dict[str, Any] = {**self.values, **changed}
        if self.capacity not in numbers:
            raise CoinferError(
                f"link '{self.name}' needs a number; give one as '{self.name}[{self.capacity}=...]'"
            )
        kept = [text for name, text in self.assumptions.items() if name not in changed]
        return Link(self.name, **numbers, source=self._source(changed), assumption="; ".join(kept))

    def make(self, options: Mapping[str, Any] | None = None) -> Processor | Link:
        """Return what this preset describes, with `options` overriding its numbers."""
        return self.link(options) if self.kind == "link" else self.processor(options)

    def _source(self, changed: Iterable[str]) -> str:
        names = ", ".join(sorted(changed))
        by_user = "given by the user"
        return (
            f"{self.source}; {names} {by_user}" if names and self.source != by_user else self.source
        )


@dataclass(frozen=True)
class Alias:
    """A bare name that stands for a qualified one, and why it does."""

    name: str
    reason: str


@dataclass(frozen=True)
class Presets:
    """Every device, server and link that a run knows, by qualified name.

    Attributes:
        devices, servers, links: qualified name -> preset.
        aliases: (kind, bare name) -> what it stands for. A bare name that one preset alone has
            is listed too, so that a file added later does not change what it means.
    """

    devices: Mapping[str, Preset] = field(default_factory=dict)
    servers: Mapping[str, Preset] = field(default_factory=dict)
    links: Mapping[str, Preset] = field(default_factory=dict)
    aliases: Mapping[tuple[Kind, str], Alias] = field(default_factory=dict)

    def of(self, kind: Kind) -> Mapping[str, Preset]:
        """Return the presets of one kind."""
        return {"device": self.devices, "server": self.servers, "link": self.links}[kind]

    def names(self, kind: Kind) -> list[str]:
        """Return every accepted name of a kind, bare and qualified, sorted."""
        return sorted({*self.of(kind), *(name for k, name in self.aliases if k == kind)})

    def listed(self, kind: Kind) -> dict[str, Preset]:
        """Return the presets of one kind by their shortest spelling, in the order of the files."""
        return {self.spelling(preset): preset for preset in self.of(kind).values()}

    def find(self, kind: Kind, name: str) -> Preset:
        """Return the preset behind a bare or qualified name.

        Raises:
            CoinferError: when the bare name is shared and no alias decides.
            UnknownNameError: when there is none; the message offers the nearest.
        """
        presets = self.of(kind)
        alias = self.aliases.get((kind, name))
        target = alias.name if alias else name
        if target in presets:
            return presets[target]
        shared = sorted(full for full in presets if _base(full) == name)
        if shared:
            raise CoinferError(
                f"{kind} '{name}' has numbers from several sources; name one of: "
                + ", ".join(shared)
            )
        raise UnknownNameError(kind, name, self.names(kind))

    def spelling(self, preset: Preset) -> str:
        """Return a preset's shortest spelling: its bare name where that means it."""
        alias = self.aliases.get((preset.kind, _base(preset.name)))
        return _base(preset.name) if alias and alias.name == preset.name else preset.name

    def device(self, ref: str) -> Processor:
        """Return a device by ref, such as `raspberry-pi-3b+[flops_per_s=4e8]`.

        Raises:
            CoinferError: for an unknown or shared name, field or value.
        """
        parsed = parse_ref(ref)
        return self.find("device", parsed.name).processor(parsed.arguments)

    def server(self, ref: str) -> Processor:
        """Return a server by ref, such as `tesla-p100` or `custom[flops_per_s=1e12]`.

        Raises:
            CoinferError: for an unknown or shared name, field or value.
        """
        parsed = parse_ref(ref)
        return self.find("server", parsed.name).processor(parsed.arguments)

    def link(self, ref: str) -> Link:
        """Return a link by ref, such as `3g[round_trip_s=0.05]` or `rate[rate_bps=1e6]`.

        Raises:
            CoinferError: for an unknown or shared name, field or value, or a missing capacity.
        """
        parsed = parse_ref(ref)
        return self.find("link", parsed.name).link(parsed.arguments)

    def canonical(self, kind: Kind, ref: str) -> str:
        """Return the one spelling of a ref: shortest name, changed numbers only, sorted.

        All refs that mean the same preset with the same numbers share it, so a cell has one key.

        Raises:
            CoinferError: for whatever `device`, `server` or `link` refuses.
        """
        parsed = parse_ref(ref)
        preset = self.find(kind, parsed.name)
        preset.make(parsed.arguments)
        changed = preset.overrides(parsed.arguments)
        return str(Ref(self.spelling(preset), tuple(changed.items())))

    def with_file(self, path: str | Path) -> Presets:
        """Return these presets and those of a TOML file (tables devices, servers, links, aliases).

        What a bare name meant before, it still means: a file adds names and changes none.

        Raises:
            CoinferError: for an unreadable file, an unknown or invalid field, or a taken name.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise CoinferError(f"cannot read presets '{path}': {error.strerror}") from None
        except UnicodeDecodeError:
            raise CoinferError(f"presets '{path}' are not UTF-8 text") from None
        return self._with_text(text, str(path))

    def _with_text(self, text: str, where: str) -> Presets:
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise CoinferError(f"presets '{where}' are not TOML: {error}") from None
        try:
            return self._with_data(data, f"given by the user in {Path(where).name}")
        except CoinferError as error:
            raise CoinferError(f"presets '{where}': {error}") from None

    def _with_data(self, data: Mapping[str, Any], source: str) -> Presets:
        _check_keys("the file", data, ("devices", "servers", "links", "aliases"))
        aliases_data = _table("aliases", data)
        _check_keys("aliases", aliases_data, ("devices", "servers", "links"))
        tables: dict[Kind, dict[str, Preset]] = {}
        aliases = dict(self.aliases)
        for kind in get_args(Kind):
            old = self.of(kind)
            new = {
                name: _parse_preset(kind, name, record, source)
                for name, record in _table(f"{kind}s", data).items()
            }
            for name in new:
                if name in old or (kind, name) in self.aliases:
                    raise CoinferError(f"{kind} '{name}' is already defined; choose another name")
            tables[kind] = {**old, **new}
            for bare, record in _table(f"{kind}s", aliases_data).items():
                if (kind, bare) in self.aliases or bare in tables[kind]:
                    raise CoinferError(f"{kind} '{bare}' is already defined; choose another name")
                aliases[kind, bare] = _parse_alias(kind, bare, record, tables[kind])
            for name in new:
                if [_base(other) for other in tables[kind]].count(_base(name)) == 1:
                    only = Alias(name, "the only preset of that name")
                    aliases.setdefault((kind, _base(name)), only)
        return Presets(tables["device"], tables["server"], tables["link"], aliases)


def _base(name: str) -> str:
    """Return the bare name: what stands before the last `@`."""
    return name.rpartition("@")[0] or name


def _check_keys(owner: str, data: Mapping[str, Any], accepted: Iterable[str]) -> None:
    for key in data:
        if key not in accepted:
            raise CoinferError(f"{owner}: unknown field '{key}'; accepted: {', '.join(accepted)}")


def _table(name: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise CoinferError(f"{name} is {table!r}; allowed is a table")
    return table


def _text(owner: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise CoinferError(f"{owner}: {name} is {value!r}; allowed is text")
    return value


def _numbers(owner: str, data: Mapping[str, Any], accepted: Mapping[str, type]) -> dict[str, float]:
    """Return every entry as a number of its field's type."""
    _check_keys(owner, data, accepted)
    return {name: _number(owner, name, value, accepted[name]) for name, value in data.items()}


def _number(owner: str, name: str, value: Any, kind: type) -> float:
    """Return a float (`inf` is one) or, for a field of type int, a whole number."""
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        number = None
    whole = kind is int
    if number is None or isinstance(value, bool) or (whole and not number.is_integer()):
        allowed = "a whole number" if whole else "a number"
        raise CoinferError(f"{owner}: {name} is {value!r}; allowed is {allowed}")
    return int(number) if whole else number


def _parse_preset(kind: Kind, name: str, record: Any, default_source: str) -> Preset:
    """Check one record of a preset file and return its preset.

    Raises:
        CoinferError: naming the preset, the field, its value and what is allowed.
    """
    owner = f"{kind} '{name}'"
    if not isinstance(record, dict):
        raise CoinferError(f"{owner} is {record!r}; allowed is a table of fields")
    spelt = name and name == name.strip() and name.isprintable()
    if not spelt or any(sign in name for sign in ",[]="):
        raise CoinferError(f"{owner}: a name is not empty, is printable and holds none of , [ ] =")
    texts = {key: _text(owner, key, record.get(key, "")) for key in ("source", "note", "capacity")}
    accepted = dict(_PROCESSOR_FIELDS)
    if kind == "link":
        held = [field for field in _CAPACITY_FIELDS if field in record]
        capacity = texts["capacity"] or "".join(held[:1])
        if capacity not in _CAPACITY_FIELDS or len({*held, capacity}) != 1:
            raise CoinferError(f"{owner}: give exactly one of {', '.join(_CAPACITY_FIELDS)}")
        texts["capacity"] = capacity
        accepted = {capacity: float, "flip_probability": float, **_LINK_FIELDS}
    extra = ("source", "note", "capacity", "assumptions") if kind == "link" else ("source", "note")
    _check_keys(owner, record, (*accepted, *extra))
    assumptions = _table("assumptions", record)
    _check_keys(f"{owner}: assumptions", assumptions, accepted)
    preset = Preset(
        kind,
        name,
        _numbers(owner, {k: record[k] for k in accepted if k in record}, accepted),
        texts["source"] or default_source,
        texts["note"],
        texts["capacity"],
        {key: _text(owner, key, text) for key, text in assumptions.items()},
    )
    # Making it checks its numbers now, where the file is known, and not at first use.
    if kind != "link" or preset.capacity in preset.values:
        preset.make()
    return preset


def _parse_alias(kind: Kind, bare: str, record: Any, presets: Mapping[str, Preset]) -> Alias:
    owner = f"alias of {kind} '{bare}'"
    if not isinstance(record, dict):
        raise CoinferError(f"{owner} is {record!r}; allowed is a table with name and reason")
    _check_keys(owner, record, ("name", "reason"))
    name, reason = (_text(owner, key, record.get(key, "")) for key in ("name", "reason"))
    if name not in presets:
        raise UnknownNameError(kind, name, presets)
    if not reason:
        raise CoinferError(f"{owner}: reason is empty; say why the name means '{name}'")
    return Alias(name, reason)


@cache
def built_in_presets() -> Presets:
    """Return the presets of the papers, and the generic ones (`custom`, `rate`, `radio`)."""
    presets = Presets()
    for name in ("devices.toml", "servers.toml", "links.toml"):
        text = files("coinfer.presets").joinpath(name).read_text(encoding="utf-8")
        presets = presets._with_text(text, name)
    return presets


def load_presets(*paths: str | Path) -> Presets:
    """Return the built-in presets and those of the user's TOML files.

    Raises:
        CoinferError: as `Presets.with_file`.
    """
    return reduce(Presets.with_file, paths, built_in_presets())


def device(ref: str) -> Processor:
    """Return a built-in device by ref; see `Presets.device`."""
    return built_in_presets().device(ref)


def server(ref: str) -> Processor:
    """Return a built-in server by ref; see `Presets.server`."""
    return built_in_presets().server(ref)


def link(ref: str) -> Link:
    """Return a built-in link by ref; see `Presets.link`."""
    return built_in_presets().link(ref)


def canonical(kind: Kind, ref: str) -> str:
    """Return the one spelling of a built-in ref; see `Presets.canonical`."""
    return built_in_presets().canonical(kind, ref)


def devices() -> dict[str, Preset]:
    """Return the built-in devices by their shortest spelling."""
    return built_in_presets().listed("device")


def servers() -> dict[str, Preset]:
    """Return the built-in servers by their shortest spelling."""
    return built_in_presets().listed("server")


def links() -> dict[str, Preset]:
    """Return the built-in links by their shortest spelling."""
    return built_in_presets().listed("link")
