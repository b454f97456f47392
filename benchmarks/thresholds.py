"""How much worse a figure may get: the built-in limits, and a file of one's own.

    false_alarms = 0.005                # of a whole comparison, over all that is tested

    [[threshold]]
    metric = "latency_s"                # or a list; `coinfer gate --help` names the metrics
    method = "neurosurgeon*"            # or a list; globs, every method without it
    factor = 1.05                       # of what is judged by ratio: at most 5 % worse
    reason = "the cost model's rounding changes with numpy 3"

    [[threshold]]
    metric = ["accuracy", "predicted_accuracy"]
    method = "qho"
    margin = 0.02                       # of what is judged by difference: at most 0.02 less
    reason = "the predictor is fitted anew every week"

    [[threshold]]
    metric = "energy_j"
    ignore = true                       # or: over_seeds = false, which judges a method with
    reason = "not decided upon yet"     # randomness by its median alone, without a test

The last threshold that matches decides, built-in ones first. Limits do not excuse a cell that is
gone, failed, skipped or without a plan.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from benchmarks.matrix_schema import Strict, listed, one_line
from benchmarks.outcomes import METRICS
from coinfer.errors import CoinferError, nearest

# Half of the promised 1 %: the tests' own guarantee, before any limit on the size of a change.
FALSE_ALARMS = 0.005

# Far above the last bits, in which platforms differ; far below what anybody would call a change.
_HARD = 1e-6
# What many seeds may differ by, beside being significant. Of a ratio what exceeds 1.
_SEEDS = {"ratio": 0.10, "difference": 0.01}
_SEEDS_OF = {"regret": 0.10, "answered": 0.10}


@dataclass(frozen=True)
class Limit:
    """By how much a figure may get worse.

    Attributes:
        worse: most that is allowed, on the metric's scale (`Metric.worse_by`).
        over_seeds: whether a change must also be significant over seeds.
        reason: why, from the user's file; '' for a built-in limit.
        ignored: whether the figure is not compared.
    """

    worse: float
    over_seeds: bool
    reason: str = ""
    ignored: bool = False


@dataclass(frozen=True)
class Rule:
    """A threshold of a file; None where it says nothing."""

    metrics: tuple[str, ...]
    methods: tuple[str, ...]
    worse: float | None
    over_seeds: bool | None
    ignored: bool
    reason: str


@dataclass(frozen=True)
class Thresholds:
    """The limits of a comparison.

    Attributes:
        rules: of a file, in its order.
        false_alarms: how rarely (0..1) a comparison of equals may find something.
    """

    rules: tuple[Rule, ...] = ()
    false_alarms: float = FALSE_ALARMS

    def limit(self, metric: str, method: str, stochastic: bool) -> Limit:
        """Return the limit of a figure.

        Args:
            metric: its name.
            method: canonical ref.
            stochastic: whether the method's answers depend on its seed.
        """
        worse: float | None = None
        over_seeds, ignored, reason = stochastic, False, ""
        for rule in self.rules:
            if metric in rule.metrics and _matches(method, rule.methods):
                worse, ignored, reason = rule.worse, rule.ignored, rule.reason
                over_seeds = stochastic and rule.over_seeds is not False
        if worse is None:
            scale = METRICS[metric].scale
            worse = _SEEDS_OF.get(metric, _SEEDS[scale]) if over_seeds else _HARD
        return Limit(worse, over_seeds, reason, ignored)

    def check(self, methods: Collection[str]) -> None:
        """Refuse a rule that no method matches: a typing error would be a gate left open.

        Raises:
            CoinferError: naming the pattern and the nearest method.
        """
        for rule in self.rules:
            for pattern in rule.methods:
                if not any(_matches(method, (pattern,)) for method in methods):
                    raise CoinferError(
                        f"thresholds: method '{pattern}' matches none of the methods compared; "
                        f"{nearest(pattern, methods)}"
                    )


def _matches(method: str, patterns: Iterable[str]) -> bool:
    """Whether a method is meant, by its ref or its bare name; brackets hold options, not sets."""
    names = (method, method.partition("[")[0])
    globs = [pattern.replace("[", "[[]") for pattern in patterns]
    return any(fnmatchcase(name, glob) for name in names for glob in globs)


class _Threshold(Strict):
    metric: Annotated[list[str], BeforeValidator(listed), Field(min_length=1)]
    method: Annotated[list[str], BeforeValidator(listed)] = Field(default=["*"], min_length=1)
    factor: Annotated[float, Field(ge=1)] | None = None
    margin: Annotated[float, Field(ge=0)] | None = None
    over_seeds: bool | None = None
    ignore: bool = False
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _sensible(self) -> _Threshold:
        for name in self.metric:
            if name not in METRICS:
                raise ValueError(f"unknown metric '{name}'; {nearest(name, METRICS)}")
            scale = METRICS[name].scale
            if (self.factor, self.margin)[scale == "ratio"] is not None:
                wanted = "a factor" if scale == "ratio" else "a margin"
                raise ValueError(f"'{name}' is judged by its {scale}: give {wanted}")
        said = (self.factor is not None or self.margin is not None, self.over_seeds is not None)
        if not any(said) and not self.ignore:
            raise ValueError("it changes nothing; give factor, margin, over_seeds or ignore")
        if any(said) and self.ignore:
            raise ValueError("what is ignored has no limit")
        if not self.reason.strip():
            raise ValueError("the reason is empty")
        return self


class _ThresholdsFile(Strict):
    false_alarms: float = Field(default=FALSE_ALARMS, gt=0, le=0.05)
    threshold: list[_Threshold] = Field(default=[])


def load_thresholds(path: Path) -> Thresholds:
    """Read a file of thresholds.

    Raises:
        CoinferError: one line: it is missing, not TOML, or a field is not right.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CoinferError(f"thresholds '{path}' are not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CoinferError(f"cannot read thresholds '{path}': {why}") from None
    try:
        file = _ThresholdsFile.model_validate(data)
    except ValidationError as error:
        raise CoinferError(f"thresholds '{path}': {one_line(error, _fields)}") from None
    return Thresholds(tuple(map(_rule, file.threshold)), file.false_alarms)


def _fields(where: list[str]) -> Iterable[str]:
    return (_Threshold if len(where) > 1 else _ThresholdsFile).model_fields


def _rule(entry: _Threshold) -> Rule:
    worse = entry.margin if entry.factor is None else entry.factor - 1
    return Rule(
        tuple(entry.metric),
        tuple(entry.method),
        worse,
        entry.over_seeds,
        entry.ignore,
        entry.reason,
    )
