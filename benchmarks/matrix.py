"""The matrix: a TOML file that names the axes, and the cells it stands for.

    models = ["alexnet"]
    devices = ["raspberry-pi-4b", "jetson-tk1"]
    servers = ["tesla-p100"]
    links = ["3g", "wifi"]                 # and/or:
    rate_sweep = { start_bps = 1e5, stop_bps = 1e8, points = 40, scale = "log" }
    methods = ["all_local", "neurosurgeon[objective=latency]"]
    include = [                            # cells that match a table (every field of it); all
        { method = "all_local" },          # cells without `include`
        { method = "neurosurgeon*", link = ["3g", "rate"], device = "raspberry*" },
    ]
    exclude = { link = "wifi", model = "alexnet" }

A field of a table is one of a cell (`CELL_FIELDS`), its patterns are names, globs or numbers.
Every name is checked before anything runs, and written in its one canonical spelling, so that
neither the order in the file nor the spelling changes a cell or its key.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from importlib.resources import files
from itertools import product
from pathlib import Path

from benchmarks.catalog import Catalog
from benchmarks.cells import Cell
from coinfer.conventions import convention
from coinfer.errors import CoinferError, UnknownNameError, nearest
from coinfer.refs import split_refs

CELL_FIELDS = tuple(f.name for f in fields(Cell))

# Enough to tell any two sweep points apart; far above the last bit, in which the logarithms of
# two platforms may differ.
_DIGITS = 9

Pattern = str | int | float
# One filter: (field, patterns); a cell passes when every field matches one of its patterns.
Filter = tuple[tuple[str, tuple[Pattern, ...]], ...]


@dataclass(frozen=True)
class Filters:
    """Which cells to take: those that pass some `include` (if any) and no `exclude`."""

    include: tuple[Filter, ...] = ()
    exclude: tuple[Filter, ...] = ()


@dataclass(frozen=True)
class Matrix:
    """The axes of a benchmark, as spelt in its file.

    Attributes:
        name: of the matrix.
        description: what it is for, one line.
        models, devices, servers, links, methods, conventions: refs.
        snrs_db: SNRs for links that need one; others ignore them.
        seeds: seeds for stochastic methods; others ignore them.
        max_accuracy_losses: distances (0..1) of the accuracy floor from the baseline.
        filters: which cells of the product to take.
        preset_files: TOML files with further devices, servers and links.
    """

    name: str
    models: tuple[str, ...]
    devices: tuple[str, ...]
    servers: tuple[str, ...]
    links: tuple[str, ...]
    methods: tuple[str, ...]
    description: str = ""
    snrs_db: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (0,)
    conventions: tuple[str, ...] = ("harmonised",)
    max_accuracy_losses: tuple[float, ...] = (0.02,)
    filters: Filters = field(default=Filters())
    preset_files: tuple[str, ...] = ()


def built_in_matrices() -> dict[str, Path]:
    """Return the shipped matrix files by name."""
    folder = Path(str(files("benchmarks").joinpath("matrices")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load(source: str | Path) -> Matrix:
    """Load a matrix file, or a shipped matrix by name.

    Raises:
        CoinferError: one line: no such matrix, not TOML, or a field that is not right.
    """
    path = Path(source)
    if not path.is_file():
        known = built_in_matrices()
        if str(source) in known:
            path = known[str(source)]
        elif path.suffix == ".toml" or len(path.parts) > 1:
            raise CoinferError(
                f"no matrix file '{source}'; give a TOML file or one of: {', '.join(known)}"
            )
        else:
            raise UnknownNameError("matrix", str(source), known)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CoinferError(f"cannot read matrix '{path}': {why}") from None
    return parse(text, path)


def parse(text: str, path: Path) -> Matrix:
    """Parse the text of a matrix file; `path` names it and anchors the preset files.

    Raises:
        CoinferError: one line: not TOML, or a field that is not right.
    """
    from benchmarks.matrix_schema import validate

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CoinferError(f"matrix '{path}' is not valid TOML: {error}") from None
    content = validate(data, str(path))
    try:
        sweep = content.rate_sweep
        rates = () if sweep is None else sweep_rates(**sweep.model_dump())
    except CoinferError as error:
        raise CoinferError(f"matrix '{path}': {error}") from None
    return Matrix(
        name=content.name or path.stem,
        description=content.description,
        models=tuple(content.models),
        devices=tuple(content.devices),
        servers=tuple(content.servers),
        links=(*content.links, *(f"rate[rate_bps={rate!r}]" for rate in rates)),
        methods=tuple(content.methods),
        snrs_db=tuple(content.snrs_db),
        seeds=tuple(content.seeds),
        conventions=tuple(content.convention),
        max_accuracy_losses=tuple(content.max_accuracy_loss),
        filters=Filters(_filters(content.include), _filters(content.exclude)),
        preset_files=tuple(str(path.parent / file) for file in content.presets),
    )


def sweep_rates(
    start_bps: float, stop_bps: float, points: int, scale: str = "log"
) -> tuple[float, ...]:
    """Return `points` uplink rates from start to stop (both included), in bit/s, rounded.

    Raises:
        CoinferError: when two points round to the same rate.
    """
    steps = max(1, points - 1)
    ratio = math.log(stop_bps / start_bps)
    rates = [
        start_bps * math.exp(ratio * i / steps)
        if scale == "log"
        else start_bps + (stop_bps - start_bps) * i / steps
        for i in range(points)
    ]
    rounded = tuple(float(f"{rate:.{_DIGITS}g}") for rate in rates)
    if len(set(rounded)) != points:
        raise CoinferError(
            f"rate_sweep: {points} points between {start_bps:g} and {stop_bps:g} bit/s "
            f"coincide at {_DIGITS} significant digits; take fewer"
        )
    return rounded


def expand(matrix: Matrix, catalog: Catalog, *further: Filters) -> list[Cell]:
    """Return the cells of a matrix: canonical, each once, in an order that spelling cannot change.

    Cells that share a model, method, convention, floor and seed are neighbours.

    Args:
        matrix: the axes.
        catalog: resolves the names, the matrix's own preset files included.
        *further: filters that hold beside the matrix's own.

    Raises:
        CoinferError: for an unknown name (with the nearest), a missing number or SNR, a filter
            that matches nothing.
    """
    cells = [
        Cell(model, method, device, server, link, snr_db, seed, convention, loss)
        for model, (method, seed), convention, loss, device, server, (link, snr_db) in product(
            *_canonical_axes(matrix, catalog)
        )
    ]
    for filters in (matrix.filters, *further):
        cells = _filtered(cells, filters, catalog)
    if not cells:
        raise CoinferError(f"the filters leave no cell of matrix '{matrix.name}'")
    return cells


def parse_filter(text: str) -> Filter:
    """Parse `field=pattern[,field=pattern...]`, as given to `--include` and `--exclude`.

    Raises:
        CoinferError: when the text does not have that form, or asks for no field of a cell.
    """
    parsed: dict[str, tuple[Pattern, ...]] = {}
    for item in split_refs(text):
        name, sign, pattern = (part.strip() for part in item.partition("="))
        if not sign or not pattern:
            raise CoinferError(f"filter '{text}': '{item}' is not of the form field=pattern")
        if name not in CELL_FIELDS:
            raise UnknownNameError("filter field", name, CELL_FIELDS)
        parsed[name] = (*parsed.get(name, ()), pattern)
    if not parsed:
        raise CoinferError(f"filter '{text}' is not of the form field=pattern")
    return tuple(parsed.items())


def _filters(tables: list[dict[str, list[Pattern]]]) -> tuple[Filter, ...]:
    return tuple(
        tuple((name, tuple(patterns)) for name, patterns in table.items()) for table in tables
    )


def _canonical_axes(matrix: Matrix, catalog: Catalog) -> list[list]:  # type: ignore[type-arg]
    """Canonical values of every axis, sorted and each once.

    What a value becomes depends on no other axis, but for (method, seed) and (link, SNR), so one
    probe cell per value (and not per cell) checks and spells it.
    """
    probe = {
        "model": matrix.models[0],
        "method": matrix.methods[0],
        "device": matrix.devices[0],
        "server": matrix.servers[0],
        "link": matrix.links[0],
        "snr_db": matrix.snrs_db[0] if matrix.snrs_db else None,
        "convention": matrix.conventions[0],
    }

    def canonical(**values: object) -> Cell:
        cell = catalog.canonical(Cell(**{**probe, **values}))  # type: ignore[arg-type]
        if cell.snr_db is None and catalog.presets.link(cell.link).needs_snr:
            raise CoinferError(
                f"link '{cell.link}' is a radio: its rate needs an SNR, and matrix "
                f"'{matrix.name}' has no snrs_db"
            )
        catalog.scenario(cell)
        return cell

    snrs_db = matrix.snrs_db or (None,)
    return [
        sorted({canonical(model=value).model for value in matrix.models}),
        sorted(
            {
                (cell.method, cell.seed)
                for method, seed in product(matrix.methods, matrix.seeds)
                for cell in [canonical(method=method, seed=seed)]
            }
        ),
        sorted({canonical(convention=value).convention for value in matrix.conventions}),
        sorted({float(value) for value in matrix.max_accuracy_losses}),
        sorted({canonical(device=value).device for value in matrix.devices}),
        sorted({canonical(server=value).server for value in matrix.servers}),
        sorted(
            {
                (cell.link, cell.snr_db)
                for link, snr_db in product(matrix.links, snrs_db)
                for cell in [canonical(link=link, snr_db=snr_db)]
            },
            key=lambda pair: (pair[0], -math.inf if pair[1] is None else pair[1]),
        ),
    ]


def _filtered(cells: list[Cell], filters: Filters, catalog: Catalog) -> list[Cell]:
    include = [_predicate(table, cells, catalog) for table in filters.include]
    exclude = [_predicate(table, cells, catalog) for table in filters.exclude]
    return [
        cell
        for cell in cells
        if (not include or any(passes(cell) for passes in include))
        and not any(passes(cell) for passes in exclude)
    ]


def _predicate(table: Filter, cells: list[Cell], catalog: Catalog) -> Callable[[Cell], bool]:
    """Whether a cell passes one filter; each distinct value of a field is matched once."""
    taken: list[tuple[str, set[object]]] = []
    for name, patterns in table:
        values = {getattr(cell, name) for cell in cells}
        matched: set[object] = set()
        for pattern in patterns:
            matches = _matcher(name, pattern, catalog)
            found = {value for value in values if matches(value)}
            if values and not found:
                known = nearest(str(pattern), (str(value) for value in values))
                raise CoinferError(f"filter {name}={pattern} matches no cell; {known}")
            matched |= found
        taken.append((name, matched))
    return lambda cell: all(getattr(cell, name) in values for name, values in taken)


def _matcher(name: str, pattern: Pattern, catalog: Catalog) -> Callable[[object], bool]:
    """Return what tells whether a canonical value is meant by a pattern.

    A pattern is a number, `none`, a name, a glob, or any spelling of the value. Brackets hold
    options here, never a set of characters.
    """
    text = str(pattern)
    glob = text.replace("[", "[[]")
    number = _number(pattern)
    spelt = _spelt(name, text, catalog)

    def matches(value: object) -> bool:
        if not isinstance(value, str):
            return text == "none" if value is None else number == value
        bare = value.partition("[")[0]
        names = (value, bare, bare.partition("@")[0])
        return value == spelt or any(fnmatchcase(one, glob) for one in names)

    return matches


def _spelt(name: str, text: str, catalog: Catalog) -> str | None:
    """The canonical spelling of a ref, None when it is not one (a glob, a misspelt name)."""
    try:
        if name == "method":
            return str(catalog.method(text).ref)
        if name == "convention":
            return convention(text).name
        if name in ("device", "server", "link"):
            return catalog.presets.canonical(name, text)  # type: ignore[arg-type]
    except CoinferError:
        pass
    return None


def _number(pattern: Pattern) -> float | None:
    try:
        return float(pattern)
    except ValueError:
        return None
