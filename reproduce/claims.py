"""What the papers claim: `claims/*.toml`, one number or one ordering per claim (design ruling 2).

A claim names the cells that decide it, so its verdict can be computed from rows. Its tolerance
follows from its kind alone and was fixed before anything was measured.

A number is one of two things. Where a paper reports what it found ("3.7 times", "between 1.2 and
6.4 times", "up to 35 and at least 13 times" of the points it plots), ours must equal it within the
tolerance, from either side: "up to 35" is a maximum that was reached, and a weaker or a stronger
one is another result. Where a paper states an inequality ("more than a million times", "under
1 %", "no more than 2 points"), the claim has a `bound`: ours must lie on its side, with no
tolerance and, there, no deviation.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar, Literal, get_args

from coinfer.errors import CoinferError, UnknownNameError, nearest

Kind = Literal["ratio", "min", "max", "bound", "ordering", "value"]
Bound = Literal["at_least", "at_most", "more_than", "less_than"]

PAPERS = {
    "Q": "qho2024",
    "T": "threestep2020",
    "A": "cia2021",
    "C": "cpcdrl2024",
}

# Deviation allowed, relative to the published number; one-sided bounds and orderings allow none.
TOLERANCE: dict[Kind, float] = {
    "ratio": 0.05,
    "min": 0.05,
    "max": 0.05,
    "value": 0.05,
    "bound": 0.0,
    "ordering": 0.0,
}
# Accuracies, and differences between accuracies, are compared in percentage points instead.
ACCURACY, POINTS = "% accuracy", "points"
TOLERANCE_POINTS = 1.0

# Units of a latency, by how many of them a second has.
PER_SECOND = {"s": 1.0, "ms": 1e3}

_KIND_NAMES: dict[Kind, str] = {
    "ratio": "ratios",
    "min": "minima",
    "max": "maxima",
    "value": "values",
    "bound": "one-sided bounds",
    "ordering": "orderings",
}

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_ID = re.compile(r"^[QTAC]-[a-z][a-z0-9-]*\.[1-9][0-9]*$")


@dataclass(frozen=True)
class Where:
    """The cells a claim is about: every combination of these canonical names."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    model: tuple[str, ...]
    device: tuple[str, ...]
    server: tuple[str, ...]
    link: tuple[str, ...]
    convention: str

    def __post_init__(self) -> None:
        for axis in ("model", "device", "server", "link"):
            if not getattr(self, axis):
                raise CoinferError(f"'where' names no {axis}; one or more are needed")


@dataclass(frozen=True)
class Excluded:
    """Cells of `where` that a claim leaves out, and why. An axis left empty means any."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    reason: str
    model: str = ""
    device: str = ""
    server: str = ""
    link: str = ""

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise CoinferError("'excluded' has no reason; every excluded cell needs one")
        if not (self.model or self.device or self.server or self.link):
            raise CoinferError("'excluded' names no cell; give model, device, server or link")


@dataclass(frozen=True)
class NetworkMeasure:
    """A number about a network itself, computed from its traced layer graph.

    Attributes:
        measure: name of the computation (`reproduce.networks.MEASURES`).
        model: whose graph.
        after: the cut it is about, where it is about one.
        feature_bits, input_bits: width of one element of a feature and of the input, in bits.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    measure: str
    model: str
    after: str = ""
    feature_bits: int = 32
    input_bits: int = 32


@dataclass(frozen=True)
class TableMeasure:
    """A number from a measurement table: accuracies that were really trained.

    Attributes:
        measure: name of the computation (`reproduce.measured.MEASURES`).
        model: whose table.
        family: of the table's plans, as `coinfer.accuracy.box` names it.
        data: what they were measured on.
        prune: prune group that alone loses a share of its units; '' for none.
        encode: cut at which a linear codec stands in the unpruned network; '' for none.
        share: of the units that go, or of the elements that the code has.
        regressor: whose predictions are judged (Table IV).
        statistic: by what.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    measure: str
    model: str
    family: str = "qho"
    data: str = "cifar10"
    prune: str = ""
    encode: str = ""
    share: float = 0.0
    regressor: str = ""
    statistic: str = ""

    def __post_init__(self) -> None:
        if self.prune and self.encode:
            raise CoinferError("'prune' and 'encode' exclude each other")
        if bool(self.prune or self.encode) != (0.0 < self.share < 1.0):
            raise CoinferError(
                f"'share' is {self.share}; allowed with 'prune' or 'encode' is above 0 to below 1, "
                "else none"
            )
        if bool(self.regressor) != bool(self.statistic):
            raise CoinferError("'regressor' goes with 'statistic'")


@dataclass(frozen=True)
class SweepMeasure:
    """Numbers from a sweep over rates or SNRs: a matrix whose scenarios differ in the link alone.

    Attributes:
        measure: name of the computation (`reproduce.rates.MEASURES`).
        device: whose scenarios.
        least, most: bounds of what is swept (a rate in Mb/s, an SNR in dB), both included; none if
            absent.
        unless_fastest: a method; where it is the fastest of all, nothing is compared.
        over: which sweep of a matrix that has several, by its unit (`dB`, `flips`); '' for the one.
        turn: where what is swept passes from one part to another (measure `bend`).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    measure: str
    device: str
    least: float | None = None
    most: float | None = None
    unless_fastest: str = ""
    over: Literal["Mb/s", "dB", "flips", ""] = ""
    turn: float | None = None

    def __post_init__(self) -> None:
        if self.least is not None and self.most is not None and self.least > self.most:
            raise CoinferError(f"'least' is {self.least:g}, above 'most', {self.most:g}")
        if (self.measure == "bend") != (self.turn is not None):
            raise CoinferError("'turn' goes with the measure 'bend', and with no other")


@dataclass(frozen=True)
class PlaneMeasure:
    """Numbers from a matrix that asks methods at one cut at a time, in one scenario.

    Attributes:
        measure: name of the computation (`reproduce.tradeoff.MEASURES`).
        axis: what is compared, where it is one thing: seconds of `computation` on the device or
            of `communication`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    measure: str
    axis: Literal["computation", "communication", ""] = ""

    def __post_init__(self) -> None:
        if (self.measure == "each") != bool(self.axis):
            raise CoinferError("'axis' goes with the measure 'each', and with no other")


@dataclass(frozen=True)
class SearchMeasure:
    """Numbers from searches of a method that learns, which its figure makes and draws.

    Attributes:
        measure: name of the computation; `settles` is the only one: from which episode on the
            median reward of the seeds is stable (`reproduce.learning`).
        models: the networks searched on.
        figure: that makes the searches.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    measure: Literal["settles"]
    models: tuple[str, ...]
    figure: str


@dataclass(frozen=True)
class Claim:
    """One number or one ordering that a paper states.

    A ratio is always slow / fast: the latency of a `slow` method over that of a `fast` one.

    Attributes:
        id: stem of the claim and a number (`Q-f6a.1`).
        place: figure, table or section.
        statement: what is claimed, in our words.
        kind: `ratio` (one pair of cells), `min` and `max` (the extreme over all pairs), `bound`
            (every pair keeps to `theirs`), `ordering` (fast before slow in every scenario),
            `value` (one latency, or one number of a network).
        theirs: the published number; None for orderings.
        unit: of `theirs`: `x` for ratios, `ms` or `s` for latencies, `% accuracy` for accuracies,
            `points` for differences between accuracies.
        bound: the side of `theirs` on which the number lies, `theirs` itself included
            (`at_least`, `at_most`) or not (`more_than`, `less_than`). With kind `bound` every
            number must lie there; with `min`, `max`, `ratio` and `value` the claim's one number.
        printed: how the paper prints it, where `theirs` is converted or our reading of words.
        as_printed: False for a narrower reading of a statement that is also scored as printed.
        matrix: matrix file (`benchmarks/matrices`) whose rows decide it.
        where, excluded, slow, fast: the cells that decide it.
        network: instead of cells, a number about a network.
        measured: instead of cells, a number from a measurement table.
        sweep: instead of cells named one by one, those of a matrix that sweeps over rates or SNRs;
            `fast` and `slow` are the methods compared, an empty `slow` all others.
        plane: likewise, those of a matrix that asks at one cut at a time.
        search: instead of cells, searches that a figure makes.
        note: what explains a deviation, beside the computed cause.
        needs: what must exist before the claim can be decided; it is pending until then.
        missing: what the paper does not publish. With cells, it is the verdict if they deviate.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    id: str
    place: str
    statement: str
    kind: Kind
    theirs: float | None = None
    unit: str = "x"
    bound: Bound | Literal[""] = ""
    printed: str = ""
    as_printed: bool = True
    matrix: str = ""
    where: Where | None = None
    excluded: tuple[Excluded, ...] = ()
    slow: tuple[str, ...] = ()
    fast: tuple[str, ...] = ()
    network: NetworkMeasure | None = None
    measured: TableMeasure | None = None
    sweep: SweepMeasure | None = None
    plane: PlaneMeasure | None = None
    search: SearchMeasure | None = None
    note: str = ""
    needs: str = ""
    missing: str = ""

    def __post_init__(self) -> None:
        if not _ID.match(self.id):
            raise CoinferError(f"claim id '{self.id}' is not of the form Q-f6a.1")
        for problem in self._problems():
            raise CoinferError(problem)

    def _problems(self) -> list[str]:
        """What is wrong with the claim as a whole, beyond its fields' types."""
        found = []
        # An extreme may be that of latencies, which compares nothing.
        extreme = self.kind in ("min", "max") and self.unit not in PER_SECOND
        pairs = extreme or self.kind in ("ratio", "ordering")
        if (self.theirs is None) != (self.kind == "ordering"):
            found.append("'theirs' is for every kind but ordering, and always there")
        if self.kind == "bound" and not self.bound:
            found.append(f"a bound needs its side, 'bound': {' or '.join(get_args(Bound))}")
        if self.kind == "ordering" and self.bound:
            found.append("'bound' is a side of a number, and an ordering has none")
        if (self.reachable or bool(self.missing)) == bool(self.needs):
            found.append(
                "give either the cells (where, network, measured, sweep, plane or search), or "
                "needs, or missing"
            )
        if sum(source is not None for source in self._sources()) > 1:
            found.append(
                "'where', 'network', 'measured', 'sweep', 'plane' and 'search' exclude each other"
            )
        if self.many and not (self.fast and self.matrix):
            found.append("'sweep' and 'plane' go with 'fast' and 'matrix'")
        if self.where is not None and not (self.fast and self.matrix):
            found.append("'where' goes with 'fast' and 'matrix'")
        if self.where is not None and pairs and not self.slow:
            found.append(f"a {self.kind} compares slow with fast, and 'slow' is empty")
        if self.where is not None and self.kind in ("ratio", "value") and not self._one_number():
            found.append(f"a {self.kind} is one number: one name per axis, one method per side")
        return found

    def _sources(self) -> tuple[object, ...]:
        return self.where, self.network, self.measured, self.sweep, self.plane, self.search

    @property
    def many(self) -> bool:
        """Whether it is about all scenarios of a matrix, rather than cells named one by one."""
        return self.sweep is not None or self.plane is not None

    def _one_number(self) -> bool:
        assert self.where is not None
        where = self.where
        axes = (where.model, where.device, where.server, where.link, self.fast)
        sides = 1 if self.kind == "ratio" else 0
        return all(len(axis) == 1 for axis in axes) and len(self.slow) == sides

    @property
    def paper(self) -> str:
        """Letter of the paper."""
        return self.id[0]

    @property
    def reachable(self) -> bool:
        """Whether rows, a traced network, a measurement table or searches can decide it."""
        return any(source is not None for source in self._sources())

    @property
    def stem(self) -> str:
        """The id without its number: `Q-f6a`."""
        return self.id.rpartition(".")[0]

    @property
    def in_points(self) -> bool:
        """Whether deviations are differences in percentage points."""
        return self.unit in (ACCURACY, POINTS)

    @property
    def tolerance(self) -> float:
        """Largest deviation that counts as reproduced: relative, or points for accuracies."""
        if self.bound:
            return TOLERANCE["bound"]
        return TOLERANCE_POINTS if self.in_points else TOLERANCE[self.kind]


@dataclass(frozen=True)
class Finding:
    """A question that a paper's text and its own numbers answer differently, or might.

    Attributes:
        id: `Q-x1`, ...
        place: where in the paper.
        says: what the text says, in our words.
        question: what is checked.
        compute: the computation (`reproduce.findings.COMPUTED`) that answers it from rows.
        matrix: matrix files whose rows it reads.
        networks: models whose traced graphs it reads.
        needs: what must exist before it can be answered.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    id: str
    place: str
    says: str
    question: str
    compute: str = ""
    matrix: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    needs: str = ""

    def __post_init__(self) -> None:
        if self.id[:2] not in {f"{letter}-" for letter in PAPERS}:
            raise CoinferError(f"finding id '{self.id}' is not of the form Q-x1")
        if bool(self.compute) == bool(self.needs):
            raise CoinferError("give either compute or needs")

    @property
    def paper(self) -> str:
        """Letter of the paper."""
        return self.id[0]


@dataclass(frozen=True)
class Paper:
    """A paper's claims and findings.

    Attributes:
        letter: Q, T, A or C.
        reference: authors, title, venue, year.
        claims: in the order of the file.
        findings: likewise.
    """

    letter: str
    reference: str
    claims: tuple[Claim, ...]
    findings: tuple[Finding, ...]


def tolerance_text() -> str:
    """The tolerances for people: which kinds of claims may deviate by how much."""
    kinds: dict[float, list[str]] = {}
    for kind, allowed in TOLERANCE.items():
        kinds.setdefault(allowed, []).append(_KIND_NAMES[kind])
    points = f"{TOLERANCE_POINTS:g} point{'s' * (TOLERANCE_POINTS != 1.0)} for accuracies"
    said = [
        f"{f'{100 * allowed:g} %' if allowed else 'none'} for {_listed(names)}"
        for allowed, names in sorted(kinds.items(), reverse=True)
    ]
    return ", ".join([*said[:-1], points, said[-1]])


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


@cache
def papers() -> dict[str, Paper]:
    """Return every paper with its claims, by letter."""
    folder = files("reproduce").joinpath("claims")
    return {
        letter: parse_claims(
            folder.joinpath(f"{stem}.toml").read_text(encoding="utf-8"), f"{stem}.toml"
        )
        for letter, stem in PAPERS.items()
    }


def paper(letter: str) -> Paper:
    """Return a paper by its letter.

    Raises:
        UnknownNameError: when there is none.
    """
    try:
        return papers()[letter.upper()]
    except KeyError:
        raise UnknownNameError("paper", letter, PAPERS) from None


def parse_claims(text: str, name: str) -> Paper:
    """Read one claims file.

    Args:
        text: the TOML text.
        name: of the file, for messages.

    Raises:
        CoinferError: one line that names the file, the claim, the field and what is allowed.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CoinferError(f"'{name}' is not TOML: {error}") from None
    known = ("paper", "reference", "claim", "finding")
    for key in data:
        if key not in known:
            raise CoinferError(f"'{name}': unknown key '{key}'; {nearest(key, known)}")
    letter = data.get("paper")
    if letter not in PAPERS:
        raise CoinferError(f"'{name}': paper is {letter!r}; allowed: {', '.join(PAPERS)}")
    claims = tuple(_validated(Claim, record, name) for record in _tables(data, "claim", name))
    findings = tuple(_validated(Finding, record, name) for record in _tables(data, "finding", name))
    seen: set[str] = set()
    for item in (*claims, *findings):
        if item.id in seen:
            raise CoinferError(f"'{name}': the id '{item.id}' is given twice")
        if item.paper != letter:
            raise CoinferError(f"'{name}': the id '{item.id}' is not of paper {letter}")
        seen.add(item.id)
    return Paper(letter, str(data.get("reference", "")), claims, findings)


def _tables(data: dict[str, Any], key: str, name: str) -> list[dict[str, Any]]:
    tables = data.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise CoinferError(f"'{name}': '{key}' is written as tables, [[{key}]]")
    return tables


def _validated(cls: type[Any], record: dict[str, Any], name: str) -> Any:
    from pydantic import ValidationError

    owner = f"'{name}', {cls.__name__.lower()} {record.get('id', 'without id')}"
    try:
        return _adapters()[cls].validate_python(record)
    except CoinferError as error:
        raise CoinferError(f"{owner}: {error}") from None
    except ValidationError as error:
        # A misspelt key is also a missing one: the misspelling comes first.
        problems = sorted(error.errors(), key=lambda found: found["type"] not in _UNKNOWN)
        raise CoinferError(f"{owner}: {_describe(problems[0], cls)}") from None


@cache
def _adapters() -> dict[type[Any], Any]:
    from pydantic import TypeAdapter

    return {Claim: TypeAdapter(Claim), Finding: TypeAdapter(Finding)}


def _describe(problem: Any, cls: type[Any]) -> str:
    path = [str(part) for part in problem["loc"]]
    where = ".".join(path)
    if problem["type"] in _UNKNOWN:
        return f"unknown key '{where}'; {nearest(path[-1], _keys_beside(path, cls))}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"'{where}' is missing"
    if problem["type"] == "literal_error":
        return f"'{where}' is {problem['input']!r}; allowed: {problem['ctx']['expected']}"
    return f"'{where}' is {problem['input']!r}: {problem['msg'].lower()}"


def _keys_beside(path: list[str], cls: type[Any]) -> list[str]:
    """The keys allowed in the table that holds the key at `path` of a `cls`."""
    inner = {
        "where": Where,
        "excluded": Excluded,
        "network": NetworkMeasure,
        "measured": TableMeasure,
        "sweep": SweepMeasure,
        "plane": PlaneMeasure,
        "search": SearchMeasure,
    }
    table = next((inner[part] for part in path[:-1] if part in inner), cls)
    return [field.name for field in fields(table)]
