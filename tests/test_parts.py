"""Payload formats, and parts that a stranger brings."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from math import inf, nan, prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinfer.errors import CoinferError, UnknownNameError
from coinfer.graph import Cut
from coinfer.parts import (
    BUILT_IN,
    Channel,
    Codec,
    Coder,
    Criterion,
    Parts,
    Schedule,
    installed_parts,
    is_part,
    sends_source,
)
from coinfer.plan import PART_KINDS, CutRef, Plan, Source
from coinfer.plugins import Broken, classes_defined_in, load_file
from coinfer.serial import canonical_json, to_data

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

    def available(self, source: Source) -> bool:
        return True

    def bits(self, elements: Any, source: Source) -> Any:
        return self.width * elements


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
        ("codec", "picky[size=-1]", ["picky[size=-1]", "ValueError: size must be 0 or more"]),
    ],
)
def test_bad_refs_are_refused(kind: str, ref: str, parts: list[str]) -> None:
    known: Parts = installed_parts().with_classes([Bits, Picky])
    with pytest.raises(CoinferError) as error:
        known.make(kind, ref)
    assert all(part in str(error.value) for part in parts)
    assert isinstance(error.value, UnknownNameError) == ("unknown" in parts[0])


class Picky:
    """A stranger's codec, which refuses an option by itself."""

    kind, name = "codec", "picky"

    def __init__(self, size: int = 0) -> None:
        if size < 0:
            raise ValueError("size must be 0 or more")

    def code_shape(self, shape: Any) -> Any:
        return shape

    def work(self, shape: Any, rules: str) -> Any:
        return 0, 0

    def modules(self, shape: Any) -> Any:
        raise AssertionError("counting builds nothing")


# -- what a stranger's part says is checked -------------------------------------------------------

FEATURE = Cut(1, "conv1", (4, 5), "interior")


def known_with(cls: type, **declared: Any) -> Parts:
    """The installed parts and a subclass of `cls` that declares or answers otherwise."""
    return installed_parts().with_classes([type(cls.__name__, (cls,), declared)])


def always(answer: Any) -> Any:
    return lambda *_: answer


@pytest.mark.parametrize(
    ("cls", "declared", "words"),
    [
        (Bits, {"evidence": "guessed"}, "evidence is 'guessed'; allowed: published, analytic"),
        (Bits, {"evidence": None}, "evidence is None; allowed: published"),
        (Bits, {"cut_kinds": "interior"}, "cut_kinds is 'interior'; allowed is a frozenset"),
        (Bits, {"cut_kinds": frozenset()}, "cut_kinds is frozenset()"),
        (Bits, {"cut_kinds": frozenset({"output"})}, "of: input, interior"),
        (Bits, {"lossless": "yes"}, "lossless is 'yes'; allowed: True, False"),
        (Bits, {"bits": None}, "it has no method 'bits'; a coder has: available, bits"),
        (Bits, {"name": "a[b]"}, "'a[b]' is not a name"),
        (Bits, {"name": "none"}, "'none' stands for no part"),
        (Picky, {"work": 3}, "it has no method 'work'; a codec has: code_shape, work, modules"),
        (Picky, {"kind": "channel"}, "it has no method 'layer'"),
        (Picky, {"kind": "channel", "layer": always(None)}, "analog is None; allowed: True, False"),
        (Picky, {"kind": "schedule"}, "it has no method 'progress'"),
        (Picky, {"kind": "criterion"}, "it has no method 'scores'"),
    ],
)
def test_a_part_that_declares_what_cannot_be_is_refused(
    cls: type, declared: dict[str, Any], words: str
) -> None:
    with pytest.raises(CoinferError) as error:
        known_with(cls, **declared)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_what_an_option_makes_of_a_part_is_checked_too() -> None:
    @dataclass(frozen=True)
    class Claims(Bits):
        name: ClassVar[str] = "claims"
        evidence: str = "measured"  # type: ignore[misc]

    parts = installed_parts().with_classes([Claims])
    assert parts.coder("claims").evidence == "measured"
    with pytest.raises(CoinferError, match=r"coder 'claims\[evidence=sure\]': evidence is 'sure'"):
        parts.coder("claims[evidence=sure]")


@pytest.mark.parametrize("answer", [(2, 3), [2, 3], (np.int64(2), np.int32(3))])
def test_a_shape_is_whole_numbers_pythons_or_numpys(answer: Any) -> None:
    shape = known_with(Picky, code_shape=always(answer)).code_shape("picky", (4, 5))
    assert shape == (2, 3)
    assert {type(side) for side in shape} == {int}


@pytest.mark.parametrize(
    "answer", [(-1, 3), (0,), (2.0,), (True,), (nan,), (inf,), (), 6, None, "23", ("2",)]
)
def test_a_codec_that_gives_no_shape_is_refused(answer: Any) -> None:
    parts = known_with(Picky, code_shape=always(answer))
    with pytest.raises(CoinferError) as error:
        parts.code_shape("picky", (4, 5))
    told = str(error.value)
    assert told.startswith("codec 'picky': code_shape of (4, 5) is ")
    assert repr(answer) in told
    assert told.endswith("allowed is a tuple of whole numbers, 1 or more each")


@pytest.mark.parametrize("answer", [(0, 7), [0, 7], (np.int64(0), np.uint8(7))])
def test_work_is_whole_numbers_pythons_or_numpys(answer: Any) -> None:
    work = known_with(Picky, work=always(answer)).codec_work("picky", (4, 5), "macs")
    assert work == (0, 7)
    assert {type(flops) for flops in work} == {int}


@pytest.mark.parametrize(
    "answer", [(-1, 0), (0, nan), (inf, 0), (1.5, 0), (2**53 + 1, 0), (1,), (1, 2, 3), 4, None]
)
def test_a_codec_that_gives_no_work_is_refused(answer: Any) -> None:
    parts = known_with(Picky, work=always(answer))
    with pytest.raises(
        CoinferError, match=r"codec 'picky': work on \(4, 5\) is .*; allowed are two"
    ):
        parts.codec_work("picky", (4, 5), "macs")


@pytest.mark.parametrize("answer", [12, 12.0, np.float32(12), np.int64(12), np.array(12.0)])
def test_bits_are_a_number_pythons_or_numpys(answer: Any) -> None:
    bits = known_with(Bits, bits=always(answer)).coder_bits("bits", FEATURE, CIFAR)
    assert (bits, type(bits)) == (12.0, float)


@pytest.mark.parametrize(
    "answer", [0, 0.0, -1.0, nan, inf, 10**400, None, "12", True, 1j, np.array([12.0])]
)
def test_a_coder_that_gives_no_bits_is_refused(answer: Any) -> None:
    parts = known_with(Bits, bits=always(answer))
    with pytest.raises(CoinferError) as error:
        parts.coder_bits("bits", FEATURE, CIFAR)
    told = str(error.value)
    assert told.startswith("coder 'bits': bits of 20 elements is ")
    assert told.endswith("; allowed is a finite number > 0")
    assert "\n" not in told
    assert len(told) < 200


def test_what_a_part_raises_names_the_part() -> None:
    def fail(*_: Any) -> Any:
        raise KeyError("no such size")

    codec, coder = known_with(Picky, code_shape=fail, work=fail), known_with(Bits, bits=fail)
    for ask, words in (
        (lambda: codec.code_shape("picky", (4, 5)), r"codec 'picky': code_shape of \(4, 5\)"),
        (lambda: codec.codec_work("picky", (4, 5), "macs"), r"codec 'picky': work on \(4, 5\)"),
        (lambda: coder.coder_bits("bits", FEATURE, CIFAR), "coder 'bits': bits of 20 elements"),
    ):
        with pytest.raises(CoinferError, match=f"{words} raises KeyError: 'no such size'") as error:
            ask()
        assert isinstance(error.value.__cause__, KeyError)  # so the traceback tells where


def test_a_part_cannot_end_the_run() -> None:
    def leave(*_: Any) -> Any:
        raise SystemExit(0)

    with pytest.raises(CoinferError, match="coder 'bits': bits of 20 elements raises SystemExit"):
        known_with(Bits, bits=leave).coder_bits("bits", FEATURE, CIFAR)
    with pytest.raises(CoinferError, match="coder 'bits': SystemExit: 0"):
        known_with(Bits, __init__=leave).coder("bits")


def test_only_a_format_of_the_input_alone_sends_the_source() -> None:
    parts = installed_parts().with_classes([Bits])
    sending = {
        name for name in ("raw8", "png", "float32", "bits") if sends_source(parts.coder(name))
    }
    assert sending == {"raw8", "png"}


def test_the_kinds_of_parts_are_those_of_the_protocols() -> None:
    protocols = {"criterion": Criterion, "schedule": Schedule, "codec": Codec, "coder": Coder}
    assert set(PART_KINDS) == {*protocols, "channel"}
    for kind, protocol in (*protocols.items(), ("channel", Channel)):
        asked = {n for n, v in vars(protocol).items() if callable(v) and not n.startswith("_")}
        # A class with nothing but a name lacks, in turn, each method that a plan may need.
        lacking, has = set(), {"kind": kind, "name": "mine", "analog": False}
        while True:
            try:
                installed_parts().with_classes([type("Mine", (), dict(has))])
            except CoinferError as error:
                if "has no method" not in str(error):
                    break
                method = str(error).split("has no method '")[1].split("'")[0]
                lacking.add(method)
                has[method] = always(None)
            else:
                break
        assert lacking == asked


def test_a_part_whose_plug_in_does_not_load_says_why() -> None:
    broken = (Broken("lost", "entry point nowhere:Lost", "ModuleNotFoundError: nowhere"),)
    parts = replace(installed_parts(), broken=broken)
    with pytest.raises(
        CoinferError, match="codec 'lost' .entry point nowhere:Lost. does not load: "
    ):
        parts.codec("lost")


def test_parts_of_one_name_and_two_kinds_are_two_parts() -> None:
    class Twin(Bits):
        name: ClassVar[str] = "picky"

    parts = installed_parts().with_classes([Picky, Twin])
    assert {*parts.foreign()} - {*installed_parts().foreign()} == {Picky, Twin}
    assert not {*parts.foreign()} & {*BUILT_IN}


# -- plans are sealed with the code of strangers' parts -------------------------------------------

CODEC = """
class Mine:
    kind, name = "codec", "mine"
    def code_shape(self, shape): return shape
    def work(self, shape, rules): return {work}
    def modules(self, shape): return None
"""


def parts_of(path: Path, text: str) -> Parts:
    path.write_text(text)
    return installed_parts().with_classes(classes_defined_in(load_file(path)))


def test_two_codecs_of_one_name_make_two_plans(tmp_path: Path) -> None:
    plan = Plan("m", CutRef(1, "conv1"), codec="mine")
    one, other, again = (
        parts_of(tmp_path / f"{name}.py", text).sealed(plan)
        for name, text in (
            ("one", CODEC.format(work="(1, 2)")),
            ("other", CODEC.format(work="(1, 3)")),
            ("again", "# the same code\n" + CODEC.format(work="(1, 2)")),
        )
    )
    assert plan.hash != one.hash != other.hash
    assert again == one
    assert [kind for kind, _ in one.part_sources] == ["codec"]
    assert Plan.from_data(one_of_json(one)) == one


def one_of_json(plan: Plan) -> Any:
    return json.loads(canonical_json(to_data(plan)))


def test_a_plan_of_built_in_parts_is_its_own_seal() -> None:
    plan = Plan("m", CutRef(1, "conv1"))
    assert installed_parts().sealed(plan) is plan
    assert {cls.__module__.partition(".")[0] for cls in BUILT_IN} == {"coinfer"}


def test_a_plan_that_was_made_with_other_code_is_refused(tmp_path: Path) -> None:
    plan = Plan("m", CutRef(1, "conv1"), codec="mine")
    one = parts_of(tmp_path / "one.py", CODEC.format(work="(1, 2)"))
    other = parts_of(tmp_path / "other.py", CODEC.format(work="(1, 3)"))
    sealed = one.sealed(plan)
    assert one.sealed(sealed) == sealed
    with pytest.raises(CoinferError, match="made with other code of codec 'mine' than is here"):
        other.sealed(sealed)


@pytest.mark.parametrize("kind", PART_KINDS)
def test_a_plan_is_not_sealed_with_parts_that_nobody_knows(kind: str) -> None:
    plan = Plan("m", CutRef(1, "conv1"), **{kind: "mystery"})  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=f"unknown {kind} 'mystery'"):
        installed_parts().sealed(plan)
