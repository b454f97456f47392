"""A page per figure: the drawing, the paper's claims beside ours, files, and how to make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.drawings import matrices_of
from reproduce.claims import papers
from reproduce.commands import frozen, run_command

if TYPE_CHECKING:
    from reports.drawings import Drawn, Figures
    from reproduce.figures import Figure

_KINDS = {".csv": "data (CSV)", ".svg": "drawing (SVG)", ".png": "image (PNG)", ".pdf": "PDF",
          ".json": "origin (JSON)"}  # fmt: skip


def figure_views(
    found: Figures, claims: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What the pages show of every figure, drawn or not, in the order of the registry."""
    from reproduce.figures import figures

    drawn = {one.figure.name: one for one in found.drawn}
    outdated = {figure.name for figure in found.outdated}
    return [
        _view(figure, drawn.get(name), name in outdated, claims, findings)
        for name, figure in figures().items()
    ]


def _view(
    figure: Figure,
    drawn: Drawn | None,
    outdated: bool,
    claims: Sequence[Mapping[str, Any]],
    findings: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    from markupsafe import Markup

    own = [claim for claim in claims if figure.paper and claim["figure"] == figure.name]
    return {
        "name": figure.name,
        "title": figure.title,
        "page": f"figure-{figure.name}.html",
        "paper": figure.paper,
        "reference": papers()[figure.paper].reference if figure.paper else "",
        "reads": figure.reads,
        "commands": [run_command(matrix, "results.sqlite") for matrix in matrices_of(figure)],
        "frozen": any(map(frozen, matrices_of(figure))),
        # Our own drawing: its text is ours, and the only markup that is not escaped.
        "svg": Markup(drawn.svg) if drawn else "",  # noqa: S704
        "drawn": drawn is not None,
        **_table(drawn.table if drawn else ()),
        "files": _files(drawn) if drawn else [],
        "outdated": outdated,
        "rows": len(drawn.rows) if drawn else 0,
        "claims": own,
        "decided": [claim for claim in own if not claim["open"]],
        "open": [claim for claim in own if claim["open"]],
        "findings": [found for found in findings if found["figure"] == figure.name],
    }


def _table(lines: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The columns of a table that vary, and by name what is the same in every line."""
    if not lines:
        return {"table": [], "constants": []}
    head, *rest = lines
    same = [len({line[i] for line in rest}) == 1 and len(rest) > 1 for i in range(len(head))]
    return {
        "table": [
            [_shown(cell) for cell, fixed in zip(line, same, strict=True) if not fixed]
            for line in lines
        ],
        "constants": [
            (name, _shown(rest[0][i])["text"])
            for i, (name, fixed) in enumerate(zip(head, same, strict=True))
            if fixed and rest[0][i]
        ],
    }


def _shown(cell: str) -> dict[str, str]:
    """A cell of a table's data: a number with four digits, and exactly, to sort by."""
    try:
        number = float(cell)
    except ValueError:
        return {"text": cell, "value": ""}
    text = cell if number.is_integer() and abs(number) < 1e6 else f"{number:.4g}"
    return {"text": text, "value": cell}


def _files(drawn: Drawn) -> list[dict[str, str]]:
    order = list(_KINDS)

    def place(name: str) -> int:
        suffix = name[name.rindex(".") :]
        return order.index(suffix) if suffix in order else len(order)

    return [
        {"name": name, "kind": _KINDS.get(name[name.rindex(".") :], "file")}
        for name in sorted(drawn.files, key=lambda name: (place(name), name))
    ]
