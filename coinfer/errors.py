"""The errors a user can cause, each one line long, and the exit codes they end in.

Exit codes (one rule for every command): 0 done, 1 a cell or a check failed, 2 misuse or bad
input, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_MISUSE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, as of any program whose reader left


class CoinferError(Exception):
    """Bad input: the message is one line that says what is wrong and what is accepted."""


class UnknownNameError(CoinferError):
    """A name that no registry holds; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        super().__init__(f"unknown {kind} '{name}'; {nearest(name, self.known)}")

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, tuple[str, ...]]]:
        """Pickle what it is made from: worker processes send it."""
        return type(self), (self.kind, self.name, self.known)


def one_line(error: BaseException) -> str:
    """Return an error's type and message on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def printable(text: str) -> str:
    """Return `text` with every character that is not printable written as its escape.

    Names come from anywhere; on a terminal, control characters and those that turn the direction
    of writing could hide what stands there.
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a phrase offering the names in `known` closest to `name`.

    Falls back to listing (the first twelve of) the known names when none is close.
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    close += [n for n in names if name and name.lower() in n and n not in close][:3]
    if close:
        return "did you mean " + " or ".join(f"'{n}'" for n in close[:4]) + "?"
    if not names:
        return "none is known"
    listed = ", ".join(names[:12])
    return f"known: {listed}" + (", ..." if len(names) > 12 else "")
