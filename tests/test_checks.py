"""Numbers of strangers: accepted where they are numbers, and then Python's own."""

from __future__ import annotations

from fractions import Fraction
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinfer.checks import MOST, is_whole, real_number, shown, whole_number
from coinfer.errors import CoinferError

WHOLE = [int, np.int64, np.uint32, np.int8]
REAL = [float, int, np.float64, np.float32, np.int16, Fraction]


@given(st.sampled_from(WHOLE), st.integers(0, 127))
def test_every_kind_of_whole_number_becomes_an_int(kind: Any, number: int) -> None:
    found = whole_number("n", kind(number))
    assert (found, type(found)) == (number, int)


@given(st.sampled_from(REAL), st.integers(-100, 100))
def test_every_kind_of_number_becomes_a_float(kind: Any, number: int) -> None:
    found = real_number("x", kind(number), "anything", lambda _: True)
    assert (found, type(found)) == (number, float)


@pytest.mark.parametrize(
    "value", [True, np.True_, 1.0, np.float64(1), "1", None, nan, -1, MOST + 1, np.array([1]), 1j]
)
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    assert not is_whole(value)
    with pytest.raises(CoinferError, match="^n is .*; allowed is a whole number, 0 "):
        whole_number("n", value)


@pytest.mark.parametrize("value", [True, np.True_, nan, np.float32(nan), "1", None, 10**400, 1j])
def test_what_is_no_number_is_in_no_range(value: Any) -> None:
    with pytest.raises(CoinferError, match="^x is .*; allowed is anything$"):
        real_number("x", value, "anything", lambda _: True)


def test_limits_hold_and_are_told() -> None:
    assert whole_number("n", 3, low=3, high=3) == 3
    with pytest.raises(CoinferError, match="n is 4; allowed is a whole number, 1 to 3"):
        whole_number("n", 4, low=1, high=3)
    with pytest.raises(CoinferError, match="n is 0; allowed is a whole number, 1 or more"):
        whole_number("n", 0, low=1)
    with pytest.raises(CoinferError, match=f"allowed is a whole number, 1 to {MOST}"):
        whole_number("n", MOST + 1, low=1)
    assert real_number("x", inf, "0 or more", lambda x: x >= 0) == inf


def test_a_value_is_shown_on_one_short_line() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert shown(np.eye(2)) == "array([[1., 0.], [0., 1.]])"
    assert len(shown("x" * 1000)) == 80
