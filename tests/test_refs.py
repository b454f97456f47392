"""The mini-language: what is written reads back, and means one thing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinfer.errors import CoinferError
from coinfer.refs import Ref, Scalar, parse_ref, split_refs

names = st.text(st.characters(exclude_characters="[]=,"), min_size=1).filter(
    lambda text: text == text.strip()
)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
values: st.SearchStrategy[Scalar] = st.one_of(
    st.text(),
    st.text(alphabet=',[]"\\= a1-.enulINf'),
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
)
refs = st.builds(lambda n, o: Ref(n, tuple(o.items())), names, st.dictionaries(keys, values))


@given(refs)
def test_what_is_written_reads_back(ref: Ref) -> None:
    again = parse_ref(str(ref))
    assert again == ref
    assert hash(again) == hash(ref)
    assert str(again) == str(ref)
    assert again.name == ref.name
    for (key, value), (old_key, old_value) in zip(again.options, ref.options, strict=True):
        assert (key, type(value), value) == (old_key, type(old_value), old_value)


@given(st.lists(refs, max_size=4))
def test_a_list_of_refs_splits_into_its_parts(listed: list[Ref]) -> None:
    assert split_refs(" , ".join(map(str, listed))) == [str(ref) for ref in listed]


@given(names, st.dictionaries(keys, values, min_size=2), st.randoms())
def test_order_of_options_means_nothing(name: str, options: dict[str, Scalar], random) -> None:  # type: ignore[no-untyped-def]
    pairs = list(options.items())
    random.shuffle(pairs)
    assert str(Ref(name, tuple(pairs))) == str(Ref(name, tuple(options.items())))


def test_numbers_that_python_takes_for_equal_are_different_values() -> None:
    one, real, true = (Ref("x", (("a", value),)) for value in (1, 1.0, True))
    assert len({one, real, true}) == 3


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("neurosurgeon", "neurosurgeon", {}),
        ("neurosurgeon[]", "neurosurgeon", {}),
        (" 3g [ round_trip_s = 0.05 ] ", "3g", {"round_trip_s": 0.05}),
        ("raspberry-pi-3b+@cia2021[flops_per_s=4e8]", "raspberry-pi-3b+@cia2021", None),
        ("a[b=energy,c=true,d=null,e=1e6]", "a", {"b": "energy", "c": True, "d": None, "e": 1e6}),
        ('a[b="1",c="x,y]"]', "a", {"b": "1", "c": "x,y]"}),
        ("a[b=Infinity,c=NaN]", "a", {"b": math.inf, "c": "NaN"}),
        ("path/to a/file.py:factory[n=3]", "path/to a/file.py:factory", {"n": 3}),
    ],
)
def test_forms(text: str, name: str, options: dict[str, Scalar] | None) -> None:
    ref = parse_ref(text)
    assert ref.name == name
    assert ref.arguments == ({"flops_per_s": 4e8} if options is None else options)


@pytest.mark.parametrize(
    "text",
    ["", "[a=1]", "a]", "a[b", "a[b]", "a[b=]", "a[=1]", "a[1b=1]", "a[b=1][c=2]", "a[b=[1]]"],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(CoinferError, match="is not of the form") as error:
        parse_ref(text)
    assert text in str(error.value)


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(CoinferError, match="'a': an option is given twice"):
        parse_ref("a[b=1,b=x]")


def test_a_name_that_could_not_be_read_back_is_refused() -> None:
    for name in ("", " a", "a[b=1]", "a=b"):
        with pytest.raises(CoinferError, match="is not a name"):
            Ref(name)


def test_commas_in_brackets_do_not_split() -> None:
    assert split_refs('a[x=1,y=2], b ,c[z="p]q,r"],') == ["a[x=1,y=2]", "b", 'c[z="p]q,r"]']
    assert split_refs("") == []
