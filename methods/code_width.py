"""How wide an element of a code is sent, where a paper does not say (CIA and its baseline IPDR).

32 bits under the papers' conventions, as their other features; 8 under the harmonised one, where
the three-step framework's codes have as many.
"""

from __future__ import annotations

from coinfer.conventions import Convention
from coinfer.errors import CoinferError

WIDTHS = (8, 32)
FLOAT = "float32"

_HARMONISED = "harmonised"


def checked_width(method: str, bits: int) -> None:
    """Refuse a width that no code is sent in.

    Raises:
        CoinferError: naming the widths accepted.
    """
    if bits not in WIDTHS:
        raise CoinferError(f"{method}: bits is {bits}; allowed: {', '.join(map(str, WIDTHS))}")


def code_coder(convention: Convention, bits: int, eight: str) -> str:
    """Return how a code is sent under a convention, one that leaves a single cut included.

    Args:
        convention: whose rules ask.
        bits: of an element under the harmonised rules, one of `WIDTHS`.
        eight: the coder of 8 bits, which knows the code's range or calibrates it.
    """
    return eight if bits == 8 and convention.rules == _HARMONISED else FLOAT
