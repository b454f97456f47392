"""The house's docstrings for Sphinx: Markdown's habits, turned into reStructuredText's.

They are written to be read in the source: `code` in single backquotes, tables with `|`, indented
blocks, and Google's sections (Args, Returns, ...). Blocks and tables are shown as they stand, signs
that would be markup there are signs; the sections are left to Napoleon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

_SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises):")
_CODE = re.compile(r"(`[^`]+`)")
_SIGNS = re.compile(r"[*|]|(?<=\w)_(?!\w)")
_INDENT = "    "


def restructured(lines: list[str]) -> list[str]:
    """Return a docstring's lines as reStructuredText."""
    return list(_restructured(lines))


def _restructured(lines: list[str]) -> Iterator[str]:
    in_section = in_block = announced = False
    for blank, chunk in groupby(lines, key=lambda line: not line.strip()):
        if blank:
            yield from chunk
            continue
        text = list(chunk)
        indented = text[0].startswith(_INDENT)
        in_section = bool(_SECTION.fullmatch(text[0])) or (in_section and indented)
        block = (announced and indented) or text[0].startswith("|") or (indented and not in_section)
        if block and not (in_block or announced):
            yield from ("::", "")
        if block:
            yield from (line if announced else _INDENT + line for line in text)
        else:
            yield from map(_escaped, text)
        # A block that the author announced goes on for as long as it is indented.
        announced = text[-1].endswith("::") or (announced and block)
        in_block = block


def _escaped(line: str) -> str:
    """Return a line whose signs outside of code are signs, and whose code stands by itself."""
    pieces = []
    for piece in _CODE.split(line):
        code = _CODE.fullmatch(piece) is not None
        text = piece if code else _SIGNS.sub(r"\\\g<0>", piece)
        # Code ends where a sign follows; a letter would go on with it.
        pieces.append(rf"\ {text}" if not code and pieces and text[:1].isalnum() else text)
    return "".join(pieces)
