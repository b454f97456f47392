"""Payload formats, and parts that a stranger brings."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinfer.errors import CoinferError, UnknownNameError
from coinfer.parts import PART_KINDS, Coder, Parts, installed_parts, is_part
from coinfer.plan import Source

CIFAR = Source((3, 32, 32), png_bits=18_000.5)
shapes = st.lists(st.integers(1, 64), min_size=1, max_size=3).map(tuple)
counts = st.lists(st.integers(0, 2**40), min_size=1, max_size=8)


@dataclass(frozen=True)
class Bits:
    """A stranger's coder: so many bits per element."""

    width: int = 8

    kind: ClassVar[str] = "coder"
    name: ClassVar[str] = "bits"
    cut_kinds: ClassVar[frozenset[str]] = frozenset({"interior"})
    evidence: ClassVar[str] = "analytic"


@given(counts, shapes)
def test_float32_is_32_bits_per_element_of_what_crosses(
    elements: list[int], shape: tuple[int, ...]
) -> None:
    coder = installed_parts().coder("float32")
    bits = coder.bits(np.array(elements), Source(shape))
    assert np.asarray(bits).tolist() == [32 * count for count in elements]


@given(counts, shapes, st.integers(1, 16))
def test_raw8_is_the_source_whatever_the_network_reads(
    elements: list[int], shape: tuple[int, ...], width: int
) -> None:
    bits = installed_parts().coder("raw8").bits(np.array(elements), Source(shape, width))
    assert np.asarray(bits).tolist() == [prod(shape) * width] * len(elements)


@given(counts)
def test_png_is_the_measured_mean(elements: list[int]) -> None:
    bits = installed_parts().coder("png").bits(np.array(elements), CIFAR)
    assert np.asarray(bits).tolist() == [18_000.5] * len(elements)


@pytest.mark.parametrize("name", ["float32", "raw8", "png"])
@given(elements=counts)
def test_one_count_and_an_array_of_them_agree(name: str, elements: list[int]) -> None:
    coder: Coder = installed_parts().coder(name)
    together = np.asarray(coder.bits(np.array(elements), CIFAR))
    assert together.tolist() == [coder.bits(count, CIFAR) for count in elements]


def test_png_needs_a_measurement() -> None:
    png = installed_parts().coder("png")
    assert png.available(CIFAR)
    assert not png.available(Source((3, 32, 32)))
    assert all(installed_parts().coder(c).available(Source((1,))) for c in ("float32", "raw8"))
    with pytest.raises(CoinferError, match=r"no PNG size was measured .*\(3, 32, 32\)"):
        png.bits(1, Source((3, 32, 32)))


def test_no_codec_changes_nothing_and_costs_nothing() -> None:
    codec = installed_parts().codec("identity")
    assert codec.code_shape((3, 4, 5)) == (3, 4, 5)
    assert codec.work((3, 4, 5), "table1") == (0, 0)


def test_a_strangers_part_is_found_by_its_name_and_options() -> None:
    parts = installed_parts().with_classes([Bits, int, Source])
    assert parts.make("coder", "bits") == Bits()
    assert parts.make("coder", "bits[width=3]") == Bits(3)
    assert set(parts.classes) == {*installed_parts().classes, ("coder", "bits")}
    assert parts.with_classes([Bits]).classes == parts.classes


def test_a_part_is_a_class_with_a_kind_and_a_name() -> None:
    assert is_part(Bits)
    assert not is_part(Source)
    for kind, name in installed_parts().classes:
        assert kind in PART_KINDS
        assert name == name.strip().lower()


def test_two_parts_may_not_share_a_name() -> None:
    class Other:
        kind = "coder"
        name = "float32"

    with pytest.raises(CoinferError, match="coder 'float32' is already defined by coinfer.parts"):
        installed_parts().with_classes([Other])


@pytest.mark.parametrize(
    ("kind", "ref", "parts"),
    [
        ("coder", "float64", ["unknown coder 'float64'", "'float32'"]),
        ("codec", "float32", ["unknown codec 'float32'", "identity"]),
        ("coder", "float32[width=3]", ["float32[width=3]", "options accepted are: none"]),
        ("coder", "bits[widht=3]", ["bits[widht=3]", "options accepted are: width"]),
        ("coder", "bits[", ["is not of the form"]),
    ],
)
def test_bad_refs_are_refused(kind: str, ref: str, parts: list[str]) -> None:
    known: Parts = installed_parts().with_classes([Bits])
    with pytest.raises(CoinferError) as error:
        known.make(kind, ref)
    assert all(part in str(error.value) for part in parts)
    assert isinstance(error.value, UnknownNameError) == ("unknown" in parts[0])
