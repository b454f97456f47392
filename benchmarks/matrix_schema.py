"""What a matrix file may hold, as pydantic models. Imported only when a matrix is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from benchmarks.cells import Cell
from coinfer.errors import CoinferError, nearest


def listed(value: Any) -> Any:
    """Return a single value as a list of one: `models = "alexnet"` is as good as a list."""
    return value if isinstance(value, list) else [value]


def _pattern(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("allowed is text or a number")
    return value


Refs = Annotated[list[str], BeforeValidator(listed)]
Pattern = Annotated[Any, BeforeValidator(_pattern)]
Filter = dict[str, Annotated[list[Pattern], BeforeValidator(listed)]]
Filters = Annotated[list[Filter], BeforeValidator(listed)]

# The most that a store holds, and the most that anybody sweeps.
_MOST_SEED = 2**63 - 1
_MOST_POINTS = 1_000_000

# pydantic's types of error, as a reader of a TOML file would say them.
_ALLOWED = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "model_type": "a table",
    "string_type": "text",
    "string_too_short": "text that is not empty",
}
_EXAMPLE = 'such as { method = "neurosurgeon", link = ["3g", "wifi"] }'


class Strict(BaseModel):
    """A table of a user's file: fields that are known, of their own type, finite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class RateSweep(Strict):
    """Links of fixed rate at equal steps, on a logarithmic or a linear scale."""

    start_bps: float = Field(gt=0)
    stop_bps: float = Field(gt=0)
    points: int = Field(ge=1, le=_MOST_POINTS)
    scale: Literal["log", "linear"] = "log"

    @model_validator(mode="after")
    def _ordered(self) -> RateSweep:
        if self.stop_bps < self.start_bps:
            raise ValueError(f"stop_bps {self.stop_bps:g} is below start_bps {self.start_bps:g}")
        return self


class MatrixFile(Strict):
    """The fields of a matrix file; axes may be given as one value or as a list."""

    name: str = ""
    description: str = ""
    models: Refs = Field(min_length=1)
    devices: Refs = Field(min_length=1)
    servers: Refs = Field(min_length=1)
    links: Refs = []
    rate_sweep: RateSweep | None = None
    snrs_db: Annotated[list[float], BeforeValidator(listed)] = []
    methods: Refs = Field(min_length=1)
    seeds: Annotated[list[Annotated[int, Field(ge=0, le=_MOST_SEED)]], BeforeValidator(listed)] = [
        0
    ]
    convention: Refs = ["harmonised"]
    max_accuracy_loss: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]], BeforeValidator(listed)
    ] = [0.02]
    include: Filters = []
    exclude: Filters = []
    presets: Refs = []

    @model_validator(mode="after")
    def _complete(self) -> MatrixFile:
        if not self.links and self.rate_sweep is None:
            raise ValueError("give links, or a rate_sweep")
        for name in ("seeds", "convention", "max_accuracy_loss"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        for table in (*self.include, *self.exclude):
            check_filter(table)
        return self


def check_filter(table: Filter) -> None:
    """Refuse a filter that asks for nothing, or for something that is not a field of a cell.

    Raises:
        ValueError: offering the nearest field.
    """
    if not table or not all(table.values()):
        raise ValueError(f"a filter that asks for nothing; give a table {_EXAMPLE}")
    known = Cell.__dataclass_fields__
    for field in table:
        if field not in known:
            raise ValueError(f"a filter cannot ask for '{field}'; {nearest(field, known)}")


def validate(data: dict[str, Any], owner: str) -> MatrixFile:
    """Return the checked content of a matrix file.

    Raises:
        CoinferError: one line for the first thing that is wrong; a misspelt field gets the
            nearest one.
    """
    try:
        return MatrixFile.model_validate(data)
    except ValidationError as error:
        raise CoinferError(f"matrix '{owner}': {one_line(error, _fields)}") from None


def _fields(where: list[str]) -> Iterable[str]:
    return RateSweep.model_fields if len(where) > 1 else MatrixFile.model_fields


def one_line(error: ValidationError, fields: Callable[[list[str]], Iterable[str]]) -> str:
    """Return the first thing that is wrong with a user's file as a line.

    Args:
        error: all that is wrong.
        fields: the fields that are known where an unknown one was found.
    """
    # A misspelt field also makes a required one missing: the typo is the news.
    found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")[0]
    where = [str(part) for part in found["loc"]]
    if found["type"] == "extra_forbidden":
        return f"unknown field '{'.'.join(where)}'; {nearest(where[-1], fields(where))}"
    if found["type"] == "missing":
        return f"field '{'.'.join(where)}' is missing"
    message = found["msg"].removeprefix("Value error, ")
    if not where:
        return message
    given = "" if isinstance(found["input"], dict | list) else f" is {found['input']!r}"
    allowed = _ALLOWED.get(found["type"])
    if allowed:
        example = f", {_EXAMPLE}" if where[0] in ("include", "exclude") else ""
        return f"{'.'.join(where)}{given}; allowed is {allowed}{example}"
    return f"{'.'.join(where)}{given}: {message[:1].lower()}{message[1:]}"
