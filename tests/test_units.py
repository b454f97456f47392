"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinfer.units import seconds_text, significant

UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7.113, "7.11 s"), (0.25, "250 ms"), (4.358e-6, "4.36 µs"), (2e-9, "2 ns"),
        (0.0, "0 s"), (-0.25, "-250 ms"), (math.inf, "inf s"), (math.nan, "nan s"),
        # Rounding decides the unit, not the bare number.
        (0.99996, "1 s"), (9.9996e-4, "1 ms"), (999.7, "1000 s"),
        (1234.5, "1234 s"), (99_999.0, "99999 s"), (123_456.0, "1.23e+05 s"),
        (5e-13, "0.0005 ns"),
    ],
)  # fmt: skip
def test_seconds_have_a_unit_and_three_digits(value: float, text: str) -> None:
    assert seconds_text(value) == text


@given(st.floats(1e-12, 1e12))
def test_the_text_of_a_duration_reads_back_to_half_a_digit(value: float) -> None:
    number, unit = seconds_text(value).split(" ")
    assert float(number) * UNITS[unit] == pytest.approx(value, rel=0.5001e-2)
    assert unit in ("s", "ns") or 1.0 <= float(number) < 1000.0


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (7.113, 2, "7.1"), (12.4, 2, "12"), (0.0894, 2, "0.089"), (0.004358, 2, "0.0044"),
        (2.0, 3, "2.00"), (9.996, 3, "10.0"), (0.0996, 2, "0.10"), (1234.0, 2, "1234"),
        (-0.8274, 3, "-0.827"), (1e-7, 1, "0.0000001"),
    ],
)  # fmt: skip
def test_significant_digits(value: float, digits: int, text: str) -> None:
    assert significant(value, digits) == text


@given(st.floats(1e-9, 1e9), st.integers(1, 6))
def test_significant_digits_read_back_and_have_no_exponent(value: float, digits: int) -> None:
    text = significant(value, digits)
    assert "e" not in text
    assert float(text) == pytest.approx(value, rel=0.5001 * 10.0 ** (1 - digits))
