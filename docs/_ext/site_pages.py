"""Pages that are made from the code: API, commands, methods, and one per paper.

They are written below docs/ before Sphinx reads it, and are no part of the repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from docstrings import restructured

from coinfer.cli import cli
from reports.papers import judged_by_nothing, judged_by_rows, method_pages

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent

ROOMS = {
    "coinfer": "the domain: layer graph, cost model, hardware, plans, the adapter",
    "methods": "one file per method, the registry, the conformance kit",
    "benchmarks": "the matrix, the runner, the store",
    "reproduce": "one file per figure of a paper, the claims, the scorecard",
    "reports": "the report page",
}
# The tests of the hot paths, and what is run by `python -m`.
_NO_API = ("perf", "__main__")


def setup(app: Any) -> dict[str, bool]:
    """Hook into Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", _restructure, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(app: Any) -> None:
    """Write every page that is made from the code; `-t draft` judges no claim, in seconds."""
    judged = judged_by_nothing() if app.tags.has("draft") else judged_by_rows()
    pages = {**api_pages(), "commands.md": command_page(), **method_pages(judged)}
    for name, text in pages.items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for folder in ("api", "papers"):
        for path in (DOCS / folder).glob("*.md"):
            if f"{folder}/{path.name}" not in pages:
                path.unlink()  # of a module or paper that is no more


def _restructure(
    app: Any, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    lines[:] = restructured(lines)


def api_pages() -> dict[str, str]:
    """Return a page per package, a section per module, by their path below docs/."""
    pages = {}
    for room, what in ROOMS.items():
        packages: dict[str, list[str]] = {}
        for package, module in sorted(_modules(room)):
            packages.setdefault(package, []).append(module)
        for package, modules in packages.items():
            head = f"{what[0].upper()}{what[1:]}." if package == room else f"Part of `{room}`."
            pages[f"api/{package}.md"] = "\n".join(
                [f"# {package}", "", head, *map(_section, modules)]
            )
    return pages


def _section(module: str) -> str:
    directive = f".. automodule:: {module}\n   :members:\n   :show-inheritance:\n"
    return f"\n## {module}\n\n```{{eval-rst}}\n{directive}```\n"


def _modules(room: str) -> Iterator[tuple[str, str]]:
    """Yield the modules of a room, each with the package whose page it is on."""
    for path in (ROOT / room).rglob("*.py"):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if any(part in _NO_API for part in parts):
            continue
        package = ".".join(parts[:-1])
        yield package, package if parts[-1] == "__init__" else ".".join(parts)


def command_page() -> str:
    """Return the page of all commands: what `--help` says."""
    texts = [f"## {name}\n\n```text\n{said}\n```\n" for name, said in _helped(cli, "coinfer")]
    return "# Commands\n\n" + "\n".join(texts)


def _helped(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    context = click.Context(command, info_name=name, max_content_width=90, terminal_width=90)
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from _helped(found, f"{name} {inner}")
