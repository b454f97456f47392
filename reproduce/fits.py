"""What comparing regressors on a measurement table found, kept beside the tables that ship.

    python -m reproduce.fits -o benchmarks/fits

Table IV and the choice of a predictor come from the same held-out predictions, seconds of fitting.
Where the key of a kept one (measured plans, comparison, code, versions of what fits) is the same,
fitting again would find the same; where anything differs, it is fitted anew and goes to the cache
folder. A test fits what ships again and compares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import click

from coinfer.accuracy.regressors import REGRESSORS
from coinfer.accuracy.surrogate import (
    Comparison,
    Labels,
    Quality,
    Surrogate,
    cross_validated,
    fit_surrogate,
    fitting_versions,
    table4,
)
from coinfer.cachefolder import kept_json, write_atomically
from coinfer.errors import CoinferError
from coinfer.serial import content_hash, from_data, to_data
from coinfer.sources import closure_hash

_MODULE = "coinfer.accuracy.surrogate"
# Code whose results are in the labels already.
_ELSEWHERE = ("coinfer.accuracy.box", "coinfer.plan")


@dataclass(frozen=True)
class Fits:
    """How well regressors predict the plans of a table.

    Attributes:
        table4: the rows of Table IV, the paper's regressors first, as of `surrogate.table4`.
        regressor: the one that is chosen by its held-out error.
        quality: of all candidates, in their order.
        half_width: of the chosen one's prediction intervals.
    """

    table4: tuple[Mapping[str, Any], ...]
    regressor: str
    quality: tuple[Quality, ...]
    half_width: float

    def surrogate(self, labels: Labels) -> Surrogate:
        """Return the chosen predictor of the labels that were compared on."""
        return Surrogate(labels, Comparison(), self.regressor, self.quality, self.half_width)


def fits_of(labels: Labels, name: str) -> Fits:
    """Return what ships or is kept for some labels, else compare the regressors on them.

    Args:
        labels: of a table.
        name: of the table; decides only under which name one may ship.

    Raises:
        CoinferError: when there are too few plans.
    """
    key = _key(labels)
    found = _shipped(shipped_file(name), content_hash(key))
    return found or _fits(kept_json("fits", key, lambda: to_data(compared(labels))))


def compared(labels: Labels) -> Fits:
    """Compare the regressors, some seconds for some hundred plans.

    Raises:
        CoinferError: when there are too few plans.
    """
    by = Comparison()
    predicted = cache(partial(cross_validated, labels, by))
    rows = table4(labels, by, REGRESSORS, predicted)
    chosen = fit_surrogate(labels, by, predicted)
    return Fits(tuple(rows), chosen.regressor, chosen.quality, chosen.half_width)


def shipped_file(name: str) -> Traversable:
    """Return where the fits of a table lie, if they ship."""
    return files("benchmarks").joinpath("fits", f"{name}.json")


def render(labels: Labels, name: str, found: Fits) -> str:
    """Return the JSON text under which fits ship, with what decides them."""
    record = {
        "key": content_hash(_key(labels)),
        "table": name,
        "plans": len(labels),
        "versions": dict(fitting_versions()),
        "fits": to_data(found),
    }
    return json.dumps(record, indent=1) + "\n"


def _key(labels: Labels) -> list[Any]:
    code = closure_hash([_MODULE], without=_ELSEWHERE)
    return [labels.data(), to_data(Comparison()), list(REGRESSORS), fitting_versions(), code]


def _shipped(place: Traversable, key: str) -> Fits | None:
    """Return shipped fits; a missing, stale or damaged file counts as none."""
    with suppress(OSError, ValueError, LookupError, TypeError, CoinferError):
        record: Any = json.loads(place.read_text(encoding="utf-8"))
        if record["key"] == key:
            return _fits(record["fits"])
    return None


def _fits(data: Mapping[str, Any]) -> Fits:
    return Fits(
        tuple(data["table4"]),
        data["regressor"],
        from_data(data["quality"], tuple[Quality, ...]),
        float(data["half_width"]),
    )


@click.command()
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER")
def main(out: Path) -> None:
    """Compare the regressors on the shipped tables that claims about predictors are judged on."""
    from reproduce.claims import papers
    from reproduce.collect import tables_needed

    claims = [claim for paper in papers().values() for claim in paper.claims]
    about = [c for c in claims if c.measured is not None and c.measured.regressor]
    out.mkdir(parents=True, exist_ok=True)
    for measured in tables_needed(about):
        labels, name = measured.labels, measured.table.origin.name
        write_atomically(out / f"{name}.json", render(labels, name, compared(labels)).encode())
        click.echo(f"{name}: {len(labels)} plans", err=True)


if __name__ == "__main__":
    main()
