"""The accounting rules are those that the papers state or that their numbers imply."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from coinfer.conventions import CUT_KINDS, Convention, convention, conventions
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.parts import installed_parts
from coinfer.serial import canonical_json, from_data, to_data

ALL = frozenset(CUT_KINDS)


def test_there_is_one_per_paper_and_a_common_one() -> None:
    assert set(conventions()) == {
        *("qho2024", "qho2024-mixed", "cpcdrl2024", "threestep2020", "cia2021", "harmonised"),
    }
    for name, record in conventions().items():
        assert record.name == name
        assert record.source


@pytest.mark.parametrize(
    ("name", "rules", "counted", "input_coder"),
    [
        ("qho2024", "table1", False, "float32"),
        ("cpcdrl2024", "macs", False, "float32"),
        ("threestep2020", "table1_dropout_free", False, "png"),
        ("cia2021", "table1_dropout_free", False, "png"),
        ("harmonised", "table1_dropout_free", True, "raw8"),
    ],
)
def test_rules(name: str, rules: str, counted: bool, input_coder: str) -> None:
    record = convention(name)
    assert record.flops_rules == rules
    assert record.codec_counted is counted
    assert record.input_coder == input_coder


def test_symbols_are_admitted_where_a_paper_sends_some_and_in_harmonised() -> None:
    analog = {name for name, record in conventions().items() if record.analog}
    assert analog == {"harmonised", "threestep2020"}
    as_bits = {name for name, record in conventions().items() if record.symbols_as_bits}
    assert as_bits == {"qho2024-mixed", "cia2021"}
    assert made().analog is False


def test_the_mixed_reading_differs_from_the_papers_in_what_noise_costs_alone() -> None:
    mixed = convention("qho2024-mixed")
    plain = convention("qho2024")
    same = {"name": plain.name, "source": plain.source, "note": plain.note}
    assert replace(mixed, symbols_as_bits=False, **same) == plain
    with pytest.raises(CoinferError, match="charges symbols both as they are"):
        made(analog=True, symbols_as_bits=True)


def test_the_qho_paper_sends_floats_only_and_restricts_cuts() -> None:
    record = convention("qho2024")
    assert record.coders == ("float32",)
    # Partition keeps a layer on each side; QHO may stay local, and never sends the input.
    assert record.kinds_for("neurosurgeon", ALL) == {"interior"}
    assert record.kinds_for("qho", ALL) == {"interior", "output"}
    assert record.kinds_for("prune_partition", ALL) == {"interior", "output"}
    assert record.kinds_for("all_server", frozenset({"input"})) == {"input"}


def test_a_convention_gives_no_cut_that_a_method_cannot_use() -> None:
    for record in conventions().values():
        for method in ("neurosurgeon", "qho", "all_local", "stranger"):
            for able in (ALL, frozenset({"output"}), frozenset({"input", "interior"})):
                assert record.kinds_for(method, able) <= able


def test_harmonised_gives_every_method_every_cut() -> None:
    for method in ("neurosurgeon", "qho", "stranger"):
        assert convention("harmonised").kinds_for(method, ALL) == ALL


@pytest.mark.parametrize("name", sorted(conventions()))
def test_every_payload_format_exists_and_the_inputs_fits_the_input(name: str) -> None:
    record = convention(name)
    made = [installed_parts().coder(coder) for coder in record.payloads()]
    assert "input" in installed_parts().coder(record.input_coder).cut_kinds
    assert any("interior" in coder.cut_kinds for coder in made)


@pytest.mark.parametrize("name", sorted(conventions()))
def test_json_round_trip(name: str) -> None:
    record = convention(name)
    assert from_data(json.loads(canonical_json(to_data(record))), Convention) == record
    assert hash(record) == hash(from_data(to_data(record), Convention))


def made(**changes: object) -> Convention:
    fields: dict[str, object] = {
        "name": "mine",
        "source": "me",
        "flops_rules": "table1",
        "coders": ("float32", "raw8"),
        "input_coder": "raw8",
        "codec_counted": True,
        **changes,
    }
    return Convention(**fields)  # type: ignore[arg-type]


def test_the_first_matching_pattern_decides() -> None:
    kinds = (("qho*", ("output",)), ("*", ("input",)))
    record = made(cut_kinds=kinds)
    assert record.kinds_for("qho_variant", ALL) == {"output"}
    assert record.kinds_for("other", ALL) == {"input"}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"input_coder": "png"}, ["input_coder of 'mine' is 'png'", "float32, raw8"]),
        ({"cut_kinds": (("*", ("middle",)),)}, ["'*'", "middle", "input, interior, output"]),
        ({"flops_rules": "table2"}, ["unknown FLOPs rule 'table2'"]),
    ],
)
def test_bad_records_are_refused(changes: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(CoinferError) as error:
        made(**changes)
    assert all(part in str(error.value) for part in parts)


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'harmonised'"):
        convention("harmonized")


@pytest.mark.parametrize(
    ("name", "coder", "admitted"),
    [
        ("qho2024", "float32", True),
        ("qho2024", "png", False),
        ("cpcdrl2024", "own", False),
        ("harmonised", "own", True),
        ("cia2021", "huffman", True),
    ],
)
def test_who_admits_which_payload(name: str, coder: str, admitted: bool) -> None:
    assert convention(name).admits(coder) is admitted
    assert "*" not in convention(name).payloads()


def test_an_option_leaves_one_cut() -> None:
    whole, one = convention("qho2024"), convention("qho2024[ cut = features.2 ]")
    assert (whole.cut, one.cut, one.name) == ("", "features.2", "qho2024[cut=features.2]")
    assert replace(one, name=whole.name, cut="") == whole
    assert convention('qho2024[cut="2"]').cut == "2"
    assert (whole.rules, one.rules) == ("qho2024", "qho2024")
    assert from_data(to_data(one), Convention) == one


@pytest.mark.parametrize(
    ("ref", "told"),
    [
        ("qho2024[cuts=features.2]", "unknown option 'cuts'; known: cut=LAYER"),
        ("qho2024[cut=2]", 'a layer that is called by a number is quoted: qho2024[cut="2"]'),
        ('qho2024[cut=""]', "cut='' is not the name of a layer"),
        ("qho2025[cut=features.2]", "unknown convention 'qho2025'; did you mean 'qho2024'"),
        ("qho2024[cut", "is not of the form name[option=value,...]"),
    ],
)
def test_an_option_that_says_nothing_is_refused(ref: str, told: str) -> None:
    with pytest.raises(CoinferError, match=re.escape(told)):
        convention(ref)
