"""Jinja as the report uses it: strict, escaping, and with the user's templates before ours."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coinfer.errors import CoinferError, one_line, printable
from reports.numbers import inert, slug, with_code

if TYPE_CHECKING:
    from jinja2 import Environment

_MARKDOWN = str.maketrans(
    {sign: f"\\{sign}" for sign in "\\`*_[]|#~"} | {"<": "&lt;", "&": "&amp;"}
)
# A sign, not a hyphen: no letter or digit stands before it.
_MINUS = re.compile(r"(?<![\w.)-])-(?=\d)")
_TEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "≥": r"$\geq$",
        "≤": r"$\leq$",
        "µ": r"\textmu{}",
        "|": r"\textbar{}",
        "`": r"\textasciigrave{}",
        "·": r"\textperiodcentered{}",
        "\u00d7": r"$\times$",
    }
)


def environment(templates: Path | None = None) -> Environment:
    """Return the environment of the pages.

    What a page (`.html.j2`) prints becomes HTML text; Markdown and TeX have filters of their own.

    Args:
        templates: a folder whose files stand before ours of the same name.
    """
    from jinja2 import (
        BaseLoader,
        ChoiceLoader,
        Environment,
        FileSystemLoader,
        PackageLoader,
        StrictUndefined,
        select_autoescape,
    )

    loaders: list[BaseLoader] = [PackageLoader("reports")]
    if templates is not None:
        loaders.insert(0, FileSystemLoader(templates))
    made = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=select_autoescape(("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=inert,
    )
    made.filters.update(with_code=with_code, slug=slug, md=markdown_text, tex=tex_text)
    made.filters.update(evidence_letters=evidence_letters)
    return made


def markdown_text(value: object) -> str:
    """Any text as Markdown that shows it, on one line."""
    return printable(" ".join(str(value).split())).translate(_MARKDOWN)


def tex_text(value: object) -> str:
    """Any text as TeX that shows it, on one line."""
    text = printable(" ".join(str(value).split())).replace("<=", "≤").replace(">=", "≥")
    return _MINUS.sub("$-$", text.translate(_TEX))


def evidence_letters(classes: str) -> str:
    """Evidence classes as raised first letters, for tables in TeX; nothing for none."""
    letters = ", ".join(name[0] for name in classes.split(", ") if name)
    return rf"\textsuperscript{{{letters}}}" if letters else ""


def source_of(made: Environment, name: str) -> str:
    """Return a file of the templates as it stands."""
    assert made.loader is not None
    return made.loader.get_source(made, name)[0]


def script_hash(text: str) -> str:
    """What a content security policy calls a script: its SHA-256."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def rendering(what: str, render: Callable[[], str]) -> str:
    """Render, telling a mistake in a template in one line.

    Raises:
        CoinferError: naming the template, and the line where it is known.
    """
    from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError

    try:
        return render()
    except CoinferError:
        raise
    except TemplateNotFound as error:
        raise CoinferError(f"template '{what}': there is no template '{error.name}'") from error
    except TemplateError as error:
        line = f" line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        named = (isinstance(error, TemplateSyntaxError) and error.name) or what
        message = " ".join(str(error.message or error).split())
        raise CoinferError(f"template '{named}'{line}: {message}") from error
    except Exception as error:  # an expression in a template may raise anything
        raise CoinferError(f"template '{what}': {one_line(error)}") from error


def load(made: Environment, name: str) -> Callable[..., str]:
    """Return the function that renders a template; mistakes in it are `CoinferError`s."""

    def render(**values: Any) -> str:
        return rendering(name, lambda: made.get_template(name).render(**values))

    return render
