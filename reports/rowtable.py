"""The page of all rows: what each method took, in parts, with the evidence of every number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from benchmarks.cells import LATENCY_PARTS, Cell, Result
from coinfer.models import models
from coinfer.units import seconds_text
from reports.numbers import natural, rate_text, slug

if TYPE_CHECKING:
    from benchmarks.freshness import Checked

# A page of more rows is slow to open.
MAX_ROWS = 1000

KEY_DIGITS = 8


def row_pages(ordered: Sequence[Checked], run_numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """What the template of the rows needs, page by page; a page has a `name` and a `title`.

    Args:
        ordered: one row per cell, as of `in_order`.
        run_numbers: the number of each run on the page of provenance, by its id.
    """
    parts = [p for p in LATENCY_PARTS if any(one.row.result.latency.get(p) for one in ordered)]
    results = [one.row.result for one in ordered]
    listed = [
        {
            "name": page_name(place),
            "range": f"{place + 1:,} to {place + len(block):,}",
            "of": _contents(block),
        }
        for place, block in _blocks(ordered)
    ]
    shared = {
        "pages": listed,
        "row_count": len(ordered),
        "parts": [(part, _part_name(part)) for part in parts],
        "empty_parts": [_part_name(part) for part in LATENCY_PARTS if part not in parts],
        "optional": _optional_columns(results),
        "assumptions": sorted({text for result in results for text in result.assumptions}),
        "published": _published_accuracies(ordered),
    }
    return [
        {
            **shared,
            "name": about["name"],
            "title": "Rows" if len(listed) == 1 else f"Rows {about['range']}",
            "range": about["range"],
            "groups": [
                {
                    "title": _group_title(place),
                    "rows": [_row(one, parts, run_numbers) for one in members],
                }
                for place, members in groupby(block, _group)
            ],
        }
        for about, (_, block) in zip(listed, _blocks(ordered), strict=True)
    ]


def anchors(ordered: Sequence[Checked]) -> dict[str, str]:
    """Return the page that shows a row, by the row's key.

    Args:
        ordered: one row per cell, as of `in_order`.
    """
    return {one.row.key: page_name(place) for place, one in enumerate(ordered)}


def page_name(place: int) -> str:
    """Return the file name of the page that shows the row at a place, from 0."""
    number = place // MAX_ROWS + 1
    return "rows.html" if number == 1 else f"rows-{number}.html"


def _blocks(ordered: Sequence[Checked]) -> list[tuple[int, Sequence[Checked]]]:
    """The rows of every page with the place of the first; one page without rows where none is."""
    places = range(0, max(len(ordered), 1), MAX_ROWS)
    return [(place, ordered[place : place + MAX_ROWS]) for place in places]


def _contents(block: Sequence[Checked]) -> str:
    """The networks and conventions of a page, in order."""
    cells = [one.row.cell for one in block]
    places = dict.fromkeys((cell.model, cell.convention) for cell in cells)
    return "; ".join(f"{model}, {convention}" for model, convention in places)


def set_aside(shown: Sequence[Checked]) -> list[dict[str, Any]]:
    """Rows that decide nothing, by state and cause, with how many there are of each."""
    counts = Counter((one.state, one.cause) for one in shown if one.state != "current")
    return [
        {"state": state, "cause": cause, "count": count, "of": len(shown)}
        for (state, cause), count in sorted(counts.items())
    ]


def in_order(shown: Sequence[Checked]) -> list[Checked]:
    """Methods that answer the same question are neighbours, links go by rate."""
    rates: dict[tuple[str, float | None], float] = {}
    for one in shown:
        if one.row.result.rate_bps is not None:
            rates.setdefault((one.row.cell.link, one.row.cell.snr_db), one.row.result.rate_bps)

    def key(one: Checked) -> tuple[Any, ...]:
        cell = one.row.cell
        # A link none of whose cells has a result comes last, in the order of the numbers in it.
        rate_bps = rates.get((cell.link, cell.snr_db), float("inf"))
        snr_db = float("-inf") if cell.snr_db is None else cell.snr_db
        link = (rate_bps, natural(cell.link), snr_db)
        return (*_group(one), cell.device, link, cell.method, cell.seed)

    return sorted(shown, key=key)


def _group(one: Checked) -> tuple[Any, ...]:
    cell = one.row.cell
    return cell.convention, cell.model, cell.server, cell.max_accuracy_loss


def _group_title(place: tuple[Any, ...]) -> str:
    convention, model, server, loss = place
    return (
        f"{model} with server {server}, convention {convention}, "
        f"accuracy loss of at most {100 * loss:g} points"
    )


def _part_name(part: str) -> str:
    return part.removesuffix("_s").replace("_", " ")


def _optional_columns(results: Sequence[Result]) -> list[tuple[str, str]]:
    """(name in a row, title) of the columns in which some row has a number."""
    columns = (
        ("loss", "Accuracy loss", "accuracy_loss"),
        ("accuracy", "Accuracy", "accuracy"),
        ("measured", "Measured accuracy", "measured_accuracy"),
        ("predicted", "Predicted accuracy", "predicted_accuracy"),
        ("energy", "Energy", "energy_j"),
    )
    return [
        (name, title)
        for name, title, field in columns
        if any(getattr(result, field) is not None for result in results)
    ]


def _row(one: Checked, parts: Sequence[str], numbers: Mapping[str, int]) -> dict[str, Any]:
    cell, result = one.row.cell, one.row.result
    total = result.latency.get("total_s")
    cut = (result.plan or {}).get("cut", {})
    return {
        "key": one.row.key,
        "short": one.row.key[:KEY_DIGITS],
        "run": numbers.get(one.run_id),
        "state": one.state,
        "slug": slug(one.state),
        "cause": one.cause,
        "method": cell.method + (f", seed {cell.seed}" if cell.seed else ""),
        "device": cell.device,
        "link": _link_text(cell),
        "status": result.status,
        "reason": result.reason,
        "rate": "" if result.rate_bps is None else rate_text(result.rate_bps) or "infinite",
        "cut": (str(cut["index"]), str(cut["after"])) if cut else ("", ""),
        "total": "" if total is None else seconds_text(total),
        "seconds": total,
        "parts": [_part(result.latency, part, total) for part in parts],
        "evidence": _evidence(result, "latency"),
        "uplink": _uplink(result),
        "uplink_v": _sorts(
            result.uplink_bits if result.uplink_symbols is None else result.uplink_symbols
        ),
        "uplink_evidence": _evidence(
            result, "uplink_bits" if result.uplink_symbols is None else "uplink_symbols"
        ),
        "loss": "" if result.accuracy_loss is None else f"{100 * result.accuracy_loss:.4g} points",
        "loss_v": _sorts(result.accuracy_loss),
        "loss_evidence": _evidence(result, "accuracy_loss"),
        "accuracy": _percent(result.accuracy),
        "accuracy_v": _sorts(result.accuracy),
        "accuracy_evidence": _evidence(result, "accuracy"),
        "measured": _percent(result.measured_accuracy),
        "measured_v": _sorts(result.measured_accuracy),
        "measured_evidence": f"measured, floor {result.floor_held or 'undecided'}",
        "predicted": _percent(result.predicted_accuracy),
        "predicted_v": _sorts(result.predicted_accuracy),
        "predicted_evidence": "predicted",
        "energy": "" if result.energy_j is None else f"{result.energy_j:.3g} J",
        "energy_v": _sorts(result.energy_j),
        "energy_evidence": _evidence(result, "energy"),
    }


def _sorts(value: float | None) -> str:
    """By what a cell sorts; '' is last."""
    return "" if value is None else repr(value)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.4g} %"


def _uplink(result: Result) -> str:
    """What crosses: analog symbols or bits; '' where nothing is known of it."""
    if result.uplink_symbols is not None:
        return f"{result.uplink_symbols:,} symbols"
    return "" if result.uplink_bits is None else f"{result.uplink_bits:,.0f} bits"


def _link_text(cell: Cell) -> str:
    return cell.link if cell.snr_db is None else f"{cell.link} at {cell.snr_db:g} dB"


def _evidence(result: Result, quantity: str) -> str:
    return result.evidence.get(quantity, "evidence unknown")


def _published_accuracies(shown: Sequence[Checked]) -> list[str]:
    """Where the published accuracies on the page come from."""
    named = {
        one.row.cell.model
        for one in shown
        if one.row.result.evidence.get("accuracy") == "published"
    }
    known = models()
    return [f"{name}: {known[name].published_source}" for name in sorted(named & known.keys())]


def _part(latency: Mapping[str, float], part: str, total: float | None) -> dict[str, Any]:
    value = latency.get(part)
    if value is None or total is None:
        return {"text": "", "percent": 0.0, "seconds": ""}
    finite = 0.0 < total < float("inf")
    return {
        "text": seconds_text(value) if value else "0",
        "percent": round(100.0 * value / total, 1) if finite else 0.0,
        "seconds": value,
    }
