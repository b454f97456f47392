"""JSON and back, and hashes that depend on content alone."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinfer.errors import CoinferError
from coinfer.graph import LayerGraph
from coinfer.serial import canonical_json, content_hash, from_data, to_data
from tests.graphs import chain, chains

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
plain = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6
)


@dataclass(frozen=True)
class Inner:
    count: int
    name: str = "x"

    def __post_init__(self) -> None:
        if self.count < 0:
            raise CoinferError(f"Inner.count is {self.count}; allowed is 0 or more")


@dataclass(frozen=True)
class Outer:
    inner: Inner
    share: float
    limit: float | None = None
    flag: bool = False
    shape: tuple[int, ...] = ()
    pairs: tuple[tuple[str, int], ...] = ()
    kind: Literal["a", "b"] = "a"
    seconds: dict[str, float] = field(default_factory=dict)


outers = st.builds(
    Outer,
    st.builds(Inner, st.integers(0), st.text()),
    st.floats(allow_nan=False),
    st.none() | st.floats(allow_nan=False),
    st.booleans(),
    st.lists(st.integers(), max_size=3).map(tuple),
    st.lists(st.tuples(st.text(), st.integers()), max_size=3).map(tuple),
    st.sampled_from(["a", "b"]),
    st.dictionaries(st.text(), st.floats(allow_nan=False), max_size=3),
)


@given(outers)
def test_dataclasses_survive_json(value: Outer) -> None:
    assert from_data(json.loads(canonical_json(to_data(value))), Outer) == value


@given(chains())
def test_graphs_survive_json_with_their_hash(graph: LayerGraph) -> None:
    again = from_data(json.loads(canonical_json(to_data(graph))), LayerGraph)
    assert again == graph
    assert again.hash == graph.hash


@given(st.dictionaries(st.text(), plain, min_size=2, max_size=5), st.randoms())
def test_the_order_of_fields_means_nothing(data: dict[str, Any], random) -> None:  # type: ignore[no-untyped-def]
    items = list(data.items())
    random.shuffle(items)
    assert content_hash(dict(items)) == content_hash(data)


@given(plain)
def test_canonical_text_reads_back_and_is_a_fixed_point(data: Any) -> None:
    text = canonical_json(data)
    assert canonical_json(json.loads(text)) == text


@given(plain, plain)
def test_different_content_has_different_hashes(one: Any, other: Any) -> None:
    same = canonical_json(one) == canonical_json(other)
    assert (content_hash(one) == content_hash(other)) == same


def test_hashes_do_not_depend_on_pythonhashseed() -> None:
    code = (
        "from coinfer.plan import CutRef, Plan\n"
        "keep = {('b', 2), ('a', 1), ('c', 7), ('d', 9)}\n"
        "print(Plan('m', CutRef(3, 'x'), keep=tuple(keep), codec='c[b=2,a=1]').hash)\n"
    )
    seen = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
        )
        seen.add(done.stdout)
    assert len(seen) == 1


def test_a_number_is_one_value_however_it_is_spelled() -> None:
    spellings = [10, 10.0, np.float64(10)]
    assert len({content_hash(to_data(Outer(Inner(1), v, v))) for v in spellings}) == 1
    inside = [Outer(Inner(1), 1, seconds={"a": v}) for v in spellings]
    assert len({content_hash(to_data(value)) for value in inside}) == 1


def test_canonical_json_is_standard_json() -> None:
    def refuse(text: str) -> float:
        raise AssertionError(text)

    text = canonical_json({"b": [math.inf, -math.inf, math.nan], "a": (1, 2.5)})
    assert text == '{"a":[1,2.5],"b":["inf","-inf","nan"]}'
    json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinities_survive(value: float) -> None:
    again = from_data(json.loads(canonical_json(to_data(Outer(Inner(1), value)))), Outer)
    assert again.share == value


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"inner": {"count": 2.5}}, ["2.5 is not a whole number", "Outer.inner.count"]),
        ({"inner": {"count": True}}, ["True is not a whole number", "Outer.inner.count"]),
        ({"inner": {"count": "3"}}, ["'3' is not a whole number", "Outer.inner.count"]),
        ({"inner": {"count": -1}}, ["Inner.count is -1; allowed is 0 or more"]),
        ({"inner": {"count": 1, "name": 5}}, ["5 is not text", "Outer.inner.name"]),
        ({"inner": 3}, ["not a table of fields", "Outer.inner"]),
        ({"inner": {}}, ["required field missing", "Outer.inner.count"]),
        ({"inner": {"count": 1, "size": 2}}, ["unknown field size", "accepted: count, name"]),
        ({"share": "much"}, ["'much' is not a number", "Outer.share"]),
        ({"share": None}, ["None is not a number", "Outer.share"]),
        ({"limit": "x"}, ["'x' is not a number", "Outer.limit"]),
        ({"flag": 1}, ["1 is not true or false", "Outer.flag"]),
        ({"shape": [1, 2.5]}, ["2.5 is not a whole number", "Outer.shape[1]"]),
        ({"shape": 4}, ["Outer.shape"]),
        ({"kind": "c"}, ["Outer.kind", "'a', 'b'"]),
        ({"seconds": {"a": "b"}}, ["'b' is not a number", "Outer.seconds['a']"]),
        ({"colour": "red"}, ["unknown field colour", "accepted: inner, share"]),
    ],
)
def test_bad_data_is_refused_in_one_line_that_says_where(
    change: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(CoinferError) as error:
        from_data({"inner": {"count": 1}, "share": 0.5, **change}, Outer)
    text = str(error.value)
    assert text.startswith("not a valid Outer: ")
    assert "\n" not in text
    assert all(part in text for part in parts)


@pytest.mark.parametrize("data", [None, 3, "x", [1]])
def test_data_that_is_no_table_is_refused(data: Any) -> None:
    with pytest.raises(CoinferError, match="is not a table of fields"):
        from_data(data, Outer)


def test_a_graph_hash_sees_every_number() -> None:
    graph = chain((3, 8, 8), ("conv", 4, 3, 1, 1), ("flatten",), ("fc", 10))
    data = to_data(graph)
    hashes = {graph.hash}
    for changed in ({"parameters": 7}, {"groups": 2}, {"name": "other"}, {"kernel": [1, 1]}):
        layers = [{**data["layers"][0], **changed}, *data["layers"][1:]]
        hashes.add(from_data({**data, "layers": layers}, LayerGraph).hash)
    assert len(hashes) == 5
