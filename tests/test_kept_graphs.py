"""Kept graphs and prune spaces: the shipped ones are what tracing gives; none is used stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from click.testing import CliRunner

from coinfer import graphs, kept, prune_spaces
from coinfer.cli import cli
from coinfer.compression.groups import prune_space
from coinfer.errors import CoinferError
from coinfer.graphs import GRAPHS, layer_graph
from coinfer.kept import Kept
from coinfer.models import build, model_spec, models
from coinfer.prune_spaces import PRUNE_SPACES, prune_space_of
from coinfer.tracing import trace

T = TypeVar("T")


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user cache, and no graph remembered from another test."""
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path))
    graphs._graph_of.cache_clear()
    prune_spaces._space_of.cache_clear()
    return tmp_path / "graphs"


@pytest.mark.parametrize("name", sorted(models()))
def test_the_shipped_graph_is_what_tracing_gives(name: str, cache_folder: Path) -> None:
    spec = model_spec(name)
    traced = trace(build(spec, device="meta"), spec.input_shape)
    assert _shipped(GRAPHS, name) == traced.graph
    assert _shipped(PRUNE_SPACES, name) == prune_space(traced)


def _shipped(kind: Kept[T], name: str) -> T:
    spec = model_spec(name)
    found = kind._read(kind.shipped(spec), kind.key(spec))
    assert found is not None, (
        f"{kind.folder} of {name} is stale: run `coinfer trace --ship coinfer/presets`"
    )
    assert kind.shipped_name(spec) == f"{name}.json"
    return found


def test_shipping_writes_what_lies_in_the_package(tmp_path: Path) -> None:
    CliRunner().invoke(cli, ["trace", "--ship", str(tmp_path)], catch_exceptions=False)
    written = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.json")}
    presets = Path(graphs.__file__).parent / "presets"
    assert written == {
        place: (presets / place).read_text()
        for kind in ("graphs", "prune_spaces")
        for place in (Path(kind, f"{name}.json") for name in models())
    }


def test_a_network_that_is_not_shipped_is_traced_once_and_kept(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "alexnet-cifar[hidden=256]"
    first = layer_graph(name)
    space = prune_space_of(name)
    spec = model_spec(name)
    assert [path.stem for path in cache_folder.iterdir()] == [GRAPHS.key(spec)]
    assert space == prune_space(build(spec), spec.input_shape)
    graphs._graph_of.cache_clear()
    prune_spaces._space_of.cache_clear()
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_, **__: pytest.fail("traced again"))
    assert layer_graph(name) == first
    assert prune_space_of(name) == space


@pytest.mark.parametrize("damage", ["", "{}", "not json", '{"key": 1}', "stale", "cut short"])
def test_a_damaged_or_stale_graph_counts_as_none(cache_folder: Path, damage: str) -> None:
    name = "alexnet-cifar[hidden=300]"
    spec = model_spec(name)
    good = layer_graph(name)
    path = cache_folder / f"{GRAPHS.key(spec)}.json"
    text = path.read_text()
    if damage == "stale":
        record = json.loads(text)
        # A graph of something else, under a key of something else.
        damage = json.dumps({**record, "key": "0" * 64})
    elif damage == "cut short":
        damage = text[: len(text) // 2]
    path.write_text(damage)
    graphs._graph_of.cache_clear()
    assert layer_graph(name) == good
    assert path.read_text() == text, "the good graph is kept again"


def test_the_key_follows_the_spec_and_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = model_spec("alexnet-cifar")
    keys = {GRAPHS.key(spec), GRAPHS.key(model_spec("alexnet-cifar[hidden=512]"))}
    versions = {"torch": "2.9.0", "torchvision": "0.24.0"}
    monkeypatch.setattr(kept, "installed_version", versions.get)
    keys.add(GRAPHS.key(spec))
    assert len(keys) == 3
    versions["torch"] = "2.9.0+cpu"  # another build of the same release
    assert GRAPHS.key(spec) in keys
    versions["torch"] = "2.9.1"
    assert GRAPHS.key(spec) not in keys


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("COINFER_CACHE", str(blocked))
    graphs._graph_of.cache_clear()
    assert len(layer_graph("alexnet-cifar[hidden=200]")) == len(layer_graph("alexnet-cifar"))


def test_a_kept_graph_that_tracing_does_not_give_is_refused(cache_folder: Path) -> None:
    name = "alexnet-cifar[hidden=128]"
    assert graphs.retrace(name) == layer_graph(name)
    path = cache_folder / f"{GRAPHS.key(model_spec(name))}.json"
    record = json.loads(path.read_text())
    record["value"]["layers"][0]["parameters"] += 1
    path.write_text(json.dumps(record))
    with pytest.raises(CoinferError, match="not what tracing gives"):
        graphs.retrace(name)


def test_a_network_of_a_users_file_is_never_kept(cache_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "nets.py"
    path.write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Flatten(), nn.Linear(3072, 5))\n"
    )
    assert layer_graph(f"{path}:net").layers[-1].out_shape == (5,)
    assert not cache_folder.exists()


def test_rendering_is_canonical() -> None:
    spec = model_spec("alexnet-cifar")
    graph = layer_graph("alexnet-cifar")
    assert GRAPHS.render(spec, graph) == GRAPHS.render(spec, graph)
    assert json.loads(GRAPHS.render(spec, graph))["key"] == GRAPHS.key(spec)
