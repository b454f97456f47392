"""A method is the same to every command and report, wherever it was found.

One method three times: built in, from a file, and from an installed package with entry points.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.freezing import learned_rows
from coinfer import parts
from coinfer.cli import run
from methods import registry

BUILT_IN, FROM_FILE, FROM_PACKAGE = "exhaustive", "from_file", "from_package"
NAMES = (BUILT_IN, FROM_FILE, FROM_PACKAGE)

COPY = '''
"""The reference method under another name, with a coder that no plan of it names."""
from dataclasses import dataclass, replace
from typing import ClassVar
from coinfer.method import MethodCard
from methods.exhaustive import Exhaustive

@dataclass(frozen=True)
class Copy(Exhaustive):
    card: ClassVar[MethodCard] = replace(Exhaustive.card, name="{name}")

@dataclass(frozen=True)
class Learns(Exhaustive):
    card: ClassVar[MethodCard] = replace(
        Exhaustive.card, name="{name}_learns", accuracy_signal="predictor")

class Half:
    kind, name, cut_kinds = "coder", "half_{name}", frozenset(("input", "interior"))
    evidence = "analytic"
    def available(self, source): return True
    def bits(self, elements, source): return 16.0 * elements
'''

MATRIX = """
models = "alexnet"
devices = ["raspberry-pi-3b+", "jetson-tk1"]
servers = "tesla-p100"
links = ["3g", "wifi"]
"""

ENTRY_POINTS = """
[coinfer.methods]
from_package = strangers:Copy

[coinfer.parts]
half_from_package = strangers:Half
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The method's file; its package is installed where this and every new process finds it."""
    target = tmp_path / "site"
    about = target / "strangers-1.0.dist-info"
    about.mkdir(parents=True)
    (target / "strangers.py").write_text(COPY.replace("{name}", FROM_PACKAGE))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    path = tmp_path / "mine.py"
    path.write_text(COPY.replace("{name}", FROM_FILE))
    (tmp_path / "three.toml").write_text(MATRIX + f"methods = {json.dumps(NAMES)}\n")
    monkeypatch.setenv("PYTHONPATH", str(target))
    monkeypatch.syspath_prepend(target)
    monkeypatch.chdir(tmp_path)
    _forget()
    yield path.name
    _forget()


def _forget() -> None:
    registry.installed_methods.cache_clear()
    parts.installed_parts.cache_clear()


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    code = run(list(words))
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def alike(texts: dict[str, str]) -> bool:
    """Whether texts about the three methods differ in their names alone."""
    return len({re.sub(rf"\b{name}\b", "METHOD", text) for name, text in texts.items()}) == 1


def test_three_origins_are_equals(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with_file = ("--method-file", file)

    listed = json.loads(said(capsys, "list", "methods", "--json", *with_file))
    cards = {card.pop("name"): card for card in listed if card["name"] in NAMES}
    origins = {name: cards[name].pop("origin") for name in NAMES}
    assert origins == {
        BUILT_IN: "built-in",
        FROM_FILE: "file mine.py",
        FROM_PACKAGE: "entry point strangers:Copy",
    }
    assert cards[BUILT_IN] == cards[FROM_FILE] == cards[FROM_PACKAGE]

    question = ["--model", "alexnet", "--device", "jetson-tk1", "--server", "tesla-p100"]
    question += ["--link", "3g"]
    for form in ([], ["--json"]):
        answers = {
            name: said(capsys, "plan", "--method", name, *question, *with_file, *form)
            for name in NAMES
        }
        assert alike(answers)

    checked = {
        name: said(capsys, "check-method", name, *with_file, "--only", "returns_valid_plans")
        for name in NAMES
    }
    assert alike({name: text.replace(origins[name], "") for name, text in checked.items()})

    stored = ("--store", "three.sqlite")
    said(capsys, "run", "three.toml", *stored, *with_file, "--quiet")
    rows = json.loads(said(capsys, "export", *stored, "--format", "json"))["rows"]
    assert len(rows) == 3 * 2 * 2
    results: dict[str, list[Any]] = {name: [] for name in NAMES}
    for row in rows:
        assert set(row["inputs"]) == set(rows[0]["inputs"])
        cell = {**row["cell"], "method": ""}
        results[row["cell"]["method"]].append((json.dumps(cell, sort_keys=True), row["result"]))
    assert sorted(map(str, results[BUILT_IN])) == sorted(map(str, results[FROM_FILE]))
    assert sorted(map(str, results[BUILT_IN])) == sorted(map(str, results[FROM_PACKAGE]))

    capsys.readouterr()
    assert run(["report", *stored, "-o", "report", *with_file]) == 0
    assert capsys.readouterr().err == ""  # no row is set aside
    page = Path("report/index.html").read_text()
    mentions = [len(re.findall(rf">{name}<", page)) for name in NAMES]
    assert mentions[0] > 0
    assert len(set(mentions)) == 1

    gate = ("gate", "three.toml", *stored, "--baseline", "b.json", *with_file)
    said(capsys, *gate, "--update")
    baseline = Path("b.json").read_text()
    said(capsys, *gate)
    counts = [baseline.count(f'"{name}"') for name in NAMES]
    assert counts[0] > 0
    assert len(set(counts)) == 1

    missing = said(capsys, "explain-miss", *stored, "three.toml", *with_file)
    assert not any(name in missing for name in NAMES), missing


def test_what_a_method_of_a_file_chose_can_be_frozen_and_verified(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both start from the rows of methods that learn from measured plans, whosever they are."""
    Path("learns.toml").write_text(MATRIX + 'methods = ["from_file_learns"]\n')
    said(capsys, "run", "learns.toml", "--store", "l.sqlite", "--method-file", file, "--quiet")
    rows = learned_rows("learns.toml", Path("l.sqlite"), (file,))
    assert [row.cell.method for row in rows] == ["from_file_learns"] * 4
    assert run(["freeze", "learns.toml", "--store", "l.sqlite", "-o", "frozen", "--quiet"]) == 2
    assert "unknown method 'from_file_learns'" in capsys.readouterr().err
