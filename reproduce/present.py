"""The scorecard as text for a terminal, as Markdown and as JSON data."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from coinfer.errors import printable
from reproduce.claims import Excluded, tolerance_text
from reproduce.findings import Found
from reproduce.scorecard import LABELS, OPEN, VERDICTS, Judged, used_name

# What tells a scorecard of ours from another file of that name.
MARK = "<!-- coinfer scorecard -->"

LEGEND = (
    "Theirs is published; evidence is that of ours. Ratios are slow / fast. Off by: ours / theirs "
    "- 1, for accuracies the difference in points. After ± stands one standard error."
)

WITHOUT_BROKEN = "With plans that broke their floor counted as none"

_LEAST_STATEMENT = 28  # columns; with fewer, a table is no longer legible

_HEAD = ("claim", "what", "ours", "theirs", "off by", "verdict", "evidence")


def as_data(judged: Sequence[Judged], found: Sequence[Found]) -> dict[str, Any]:
    """The scorecard as JSON data: `claims`, `findings` and the number of each verdict.

    Numbers are in the claim's unit; `deviation` is ours / theirs - 1 (a difference in points for
    accuracies; none where an inequality holds). Infinite numbers are strings, as JSON has none.
    `theirs` is published at `place`; `evidence` is that of `ours`, and `rows` are the keys of the
    rows behind a number. Where it comes from a measurement table, `std_error` is that of `ours`,
    and `conditions` are those under which it was measured. `without_broken` has verdict and number
    where answers whose plans broke their accuracy floor count as none, null where nothing changes.
    """
    return {
        "claims": [_claim_data(one) for one in judged],
        "findings": [_finding_data(one) for one in found],
        "verdicts": verdict_counts(judged),
    }


def verdict_counts(judged: Iterable[Judged]) -> dict[str, int]:
    """How many claims got each verdict, in the order of VERDICTS."""
    counts = Counter(one.verdict for one in judged)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def _claim_data(one: Judged) -> dict[str, Any]:
    claim = one.claim
    return {
        "id": claim.id,
        "paper": claim.paper,
        "place": claim.place,
        "claim": claim.statement,
        "kind": claim.kind,
        "unit": claim.unit if claim.theirs is not None else "",
        "as_printed": claim.as_printed,
        "printed": claim.printed,
        "ours": _json_ours(one),
        "std_error": _json_number(one.std_error),
        "theirs": one.theirs_text if claim.theirs is None else claim.theirs,
        "bound": claim.bound,
        "deviation": _json_number(one.deviation),
        "tolerance": claim.tolerance,
        "verdict": one.verdict,
        "cause": one.cause,
        "evidence": one.evidence,
        "conditions": one.conditions,
        "without_broken": _without_broken(one.without_broken),
        "numbers": [
            {
                "what": used_name(one, used),
                "value": _json_number(used.value),
                "std_error": _json_number(used.std_error),
                "evidence": used.evidence,
                "rows": list(used.rows),
            }
            for used in one.used
        ],
        "excluded": [{"cells": excluded_name(out), "reason": out.reason} for out in claim.excluded],
    }


def _json_ours(one: Judged) -> float | str | None:
    ordered = one.claim.kind == "ordering" and one.used
    return one.ours_text if ordered else _json_number(one.ours)


def _without_broken(other: Judged | None) -> dict[str, Any] | None:
    if other is None:
        return None
    return {"verdict": other.verdict, "ours": _json_ours(other), "cause": other.cause}


def _finding_data(one: Found) -> dict[str, Any]:
    finding = one.finding
    return {
        "id": finding.id,
        "paper": finding.paper,
        "place": finding.place,
        "says": finding.says,
        "question": finding.question,
        "outcome": one.outcome,
        "answer": one.text,
        "numbers": [
            {
                "what": number.label,
                "value": _json_number(number.value),
                "unit": number.unit,
                "evidence": number.evidence,
            }
            for number in one.numbers
        ],
        "evidence": one.evidence,
    }


def _json_number(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def excluded_name(out: Excluded) -> str:
    """Name the cells that a claim leaves out."""
    return ", ".join(name for name in (out.model, out.device, out.server, out.link) if name)


def statement_text(one: Judged) -> str:
    """A claim's statement, with the paper's own wording of a converted number and its reading."""
    claim = one.claim
    text = claim.statement
    if claim.printed:
        text += f" (printed: {claim.printed})"
    return text if claim.as_printed else f"{text} [narrower reading]"


def as_text(judged: Sequence[Judged], found: Sequence[Found], width: int = 100) -> str:
    """The scorecard for a terminal, legible without colour.

    Decided claims come as a table, what explains their verdicts below it, under which conditions
    their numbers were measured, what hangs on plans that broke their floor, then the claims that
    nothing decides by what they need, then the findings.
    """
    blocks = []
    decided = [one for one in judged if one.verdict not in OPEN]
    if decided:
        blocks.append(_table(decided, width))
        blocks.append(_wrapped(LEGEND, width, indent=""))
    for title, told in (
        ("Why:", _causes(decided)),
        ("Measured:", _conditions(decided)),
        (f"{WITHOUT_BROKEN}:", _without_broken_lines(decided)),
        *(
            (f"{verdict.capitalize()}:", _causes([one for one in judged if one.verdict == verdict]))
            for verdict in OPEN
        ),
    ):
        if told:
            blocks.append("\n".join([title, *(_wrapped(line, width) for line in told)]))
    if found:
        blocks.append("Text against numbers:\n" + "\n".join(_answer(one, width) for one in found))
    counts = verdict_counts(judged)
    kinds = [f"{number} {LABELS.get(name, name)}" for name, number in counts.items() if number]
    counted = f"{len(judged)} claims: {', '.join(kinds)}." if judged else "No claims."
    blocks.append(_wrapped(counted, width, indent=""))
    return "\n".join(map(printable, "\n\n".join(blocks).split("\n"))) + "\n"


def _causes(judged: Sequence[Judged]) -> list[str]:
    """One line per cause, with the claims that share it."""
    shared: dict[tuple[str, str], list[str]] = {}
    for one in judged:
        if one.cause:
            shared.setdefault((one.verdict, one.cause), []).append(one.claim.id)
    return [
        f"{', '.join(ids)}: {cause}"
        if verdict in OPEN
        else f"{', '.join(ids)} {LABELS.get(verdict, verdict)}: {cause}"
        for (verdict, cause), ids in shared.items()
    ]


def _conditions(judged: Sequence[Judged]) -> list[str]:
    """One line per set of conditions, with the claims that share it."""
    shared: dict[str, list[str]] = {}
    for one in judged:
        for told in one.setting or filter(None, (one.conditions,)):
            shared.setdefault(told, []).append(one.claim.id)
    return [f"{', '.join(ids)}: {conditions}" for conditions, ids in shared.items()]


def _without_broken_lines(judged: Sequence[Judged]) -> list[str]:
    """What becomes of claims that turn on plans which broke their accuracy floor."""
    shared: dict[str, list[str]] = {}
    for one in judged:
        if one.without_broken_text:
            shared.setdefault(one.without_broken_text, []).append(one.claim.id)
    return [f"{', '.join(ids)}: {told}" for told, ids in shared.items()]


def _answer(one: Found, width: int) -> str:
    evidence = f" ({one.evidence})" if one.evidence else ""
    head = f"{one.finding.id} {one.outcome}{evidence}: {one.finding.question}"
    return _wrapped(head, width) + "\n" + _wrapped(one.text, width, indent="      ")


def _wrapped(text: str, width: int, indent: str = "  ") -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent="      " if indent else "",
        break_on_hyphens=False,
    )


def _table(judged: Sequence[Judged], width: int) -> str:
    rows = [_cells(one) for one in judged]
    widths = [max(len(row[i]) for row in [_HEAD, *rows]) for i in range(len(_HEAD))]
    # The statement takes what the other columns leave.
    left = width - (sum(widths) - widths[1]) - 2 * len(_HEAD) + 2
    if left < _LEAST_STATEMENT:
        return "\n".join(_narrow(one, width) for one in judged)
    widths[1] = min(widths[1], left)
    lines = [_line(_HEAD, widths), _line(["-" * w for w in widths], widths)]
    for row in rows:
        first, *rest = textwrap.wrap(row[1], widths[1]) or [""]
        lines.append(_line([row[0], first, *row[2:]], widths))
        lines += [_line(["", part], widths) for part in rest]
    return "\n".join(lines)


def _narrow(one: Judged, width: int) -> str:
    """A claim where the terminal is too narrow for a table."""
    ours = f"ours {one.ours_text} ({one.evidence})" if one.ours_text else ""
    off = f"off by {one.deviation_text}" if one.deviation_text else ""
    told = ", ".join(filter(None, (ours, f"theirs {one.theirs_text}", off)))
    head = f"{one.claim.id} {one.verdict}: {told}"
    statement = _wrapped(statement_text(one), width, indent="      ")
    return _wrapped(head, width, indent="  ") + "\n" + statement


def _cells(one: Judged) -> tuple[str, ...]:
    return (
        one.claim.id,
        statement_text(one),
        one.ours_text,
        one.theirs_text,
        one.deviation_text,
        one.verdict,
        one.evidence,
    )


_RIGHT = (2, 3, 4)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if i in _RIGHT else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=False))
    ]
    return "  ".join(padded).rstrip()


def as_markdown(judged: Sequence[Judged], found: Sequence[Found], title: str) -> str:
    """The scorecard as Markdown."""
    lines = [
        f"# {title}",
        "",
        MARK,
        "",
        f"{LEGEND} Tolerance: {tolerance_text()}; fixed before measuring.",
        "",
        "| id | claim | ours | theirs | off by | verdict | cause | evidence |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in judged:
        cells = [*_cells(one)[:5], LABELS.get(one.verdict, one.verdict), one.cause, one.evidence]
        lines.append("| " + " | ".join(_escaped(cell) for cell in cells) + " |")
    conditions = _conditions(judged)
    if conditions:
        lines += ["", "## Measured under", "", *(f"- {_escaped(line)}" for line in conditions)]
    told = _without_broken_lines(judged)
    if told:
        lines += ["", f"## {WITHOUT_BROKEN}", "", *(f"- {_escaped(line)}" for line in told)]
    if found:
        lines += ["", "## Text against numbers", ""]
        for item in found:
            lines.append(
                f"- **{item.finding.id}**, {_escaped(item.finding.place)}: "
                f"{_escaped(item.finding.says)}."
            )
            lines.append(
                f"  {_escaped(item.finding.question)} **{item.outcome}**"
                + (f" ({item.evidence})" if item.evidence else "")
                + f": {_escaped(item.text)}"
            )
            lines += [f"  - {_escaped(number.text)}" for number in item.numbers]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
