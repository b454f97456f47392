"""Plug-ins: files and entry points, good and broken, and the source hash that goes into keys."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from coinfer import parts, plugins, sources
from coinfer.errors import CoinferError
from coinfer.parts import Parts, installed_parts
from coinfer.plugins import Found, load_entry_points, load_file
from coinfer.sources import closure_hash
from methods import registry
from methods.all_local import AllLocal
from methods.registry import find_methods, installed_methods

HALVES = dedent(
    '''
    """A method of somebody else, with a coder of its own."""
    from dataclasses import dataclass
    from typing import ClassVar
    from coinfer.method import Method, MethodCard
    from coinfer.plan import CutRef, Plan, Selection

    @dataclass(frozen=True)
    class Half:
        """16 bits per element."""
        kind: ClassVar[str] = "coder"
        name: ClassVar[str] = "half"
        cut_kinds: ClassVar[frozenset] = frozenset({"input", "interior"})
        evidence: ClassVar[str] = "analytic"
        def available(self, source): return True
        def bits(self, elements, source): return 16.0 * elements

    @dataclass(frozen=True)
    class HalfWay(Method):
        """Cut in the middle, send halves."""
        card: ClassVar[MethodCard] = MethodCard(
            name="half_way", title="HalfWay", idea="Cut in the middle.", reference="a test")
        shift: int = 0
        def select(self, library, scenario, context):
            cut = context.cuts[len(context.cuts) // 2 + self.shift]
            return Selection(
                Plan(context.task.model, CutRef(cut.index, cut.after), coder="half"), evaluations=1)
    '''
)


@pytest.fixture
def half_file(tmp_path: Path) -> Path:
    path = tmp_path / "halves.py"
    path.write_text(HALVES)
    return path


def test_a_method_file_brings_its_method_and_its_parts(half_file: Path) -> None:
    methods = find_methods((str(half_file),))
    assert str(methods.make("half_way[shift=1]").ref) == "half_way[shift=1]"
    assert methods.origins["half_way"] == "file halves.py"
    assert methods.parts.coder("half").bits(10, None) == 160.0  # type: ignore[arg-type]
    with pytest.raises(CoinferError, match="unknown coder 'half'"):
        installed_parts().coder("half")


def test_a_file_is_imported_once_per_content(half_file: Path, tmp_path: Path) -> None:
    assert load_file(half_file) is load_file(half_file)
    changed = tmp_path / "changed.py"
    changed.write_text(HALVES + "\nVALUE = 1\n")
    assert load_file(changed) is not load_file(half_file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "defines no method"),
        ("import no_such_module_of_ours\n", "does not import: ModuleNotFoundError"),
        ("def broken(:\n", "does not import: SyntaxError"),
        (HALVES.replace("half_way", "all_local"), "already defined by built-in"),
        (HALVES.replace('"half"', '"float32"', 1), "already defined by coinfer.parts"),
        (
            HALVES.replace('"analytic"', '"guessed"'),
            "coder 'half' .*evidence is 'guessed'; allowed",
        ),
        (HALVES.replace("card: ClassVar", "cards: ClassVar"), "class HalfWay has no card; give it"),
        (
            HALVES.replace("MethodCard(\n", "dict(\n"),
            "card of class HalfWay is a dict; accepted is",
        ),
        (HALVES.replace("def select", "def choose"), "class HalfWay defines no method 'select'"),
        (HALVES.replace('name="half_way"', 'name="a,b"'), "MethodCard.name of 'a,b' is 'a,b'"),
    ],
)
def test_a_bad_method_file_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(CoinferError, match=words) as caught:
        find_methods((str(path),))
    assert "\n" not in str(caught.value)


def test_a_base_that_others_of_the_file_complete_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "family.py"
    bases = dedent(
        """
        class Abstract(HalfWay): card = None
        class First(Abstract):
            card = MethodCard(name="first", title="F", idea="i", reference="r")
        """
    )
    path.write_text(HALVES + bases)
    assert {"half_way", "first"} <= set(find_methods((str(path),)).classes)
    path.write_text(HALVES + bases + "class Second(HalfWay): card = None\n")
    with pytest.raises(CoinferError, match="class Second has no card"):
        find_methods((str(path),))


def test_a_missing_method_file_is_refused() -> None:
    with pytest.raises(CoinferError, match="cannot read 'nowhere.py'"):
        find_methods(("nowhere.py",))


def entry_points_of(
    monkeypatch: pytest.MonkeyPatch, *points: importlib.metadata.EntryPoint
) -> None:
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [p for p in points if p.group == group]
    )
    registry.installed_methods.cache_clear()
    parts.installed_parts.cache_clear()


@pytest.fixture
def _fresh_registries() -> object:
    yield
    registry.installed_methods.cache_clear()
    parts.installed_parts.cache_clear()


@pytest.mark.usefixtures("_fresh_registries")
def test_a_broken_entry_point_is_reported_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch, half_file: Path
) -> None:
    monkeypatch.syspath_prepend(half_file.parent)
    point = importlib.metadata.EntryPoint
    entry_points_of(
        monkeypatch,
        point("half_way", "halves:HalfWay", "coinfer.methods"),
        point("gone", "no_such_package_of_ours:Gone", "coinfer.methods"),
        point("not_a_method", "halves:Half", "coinfer.methods"),
        point("taken", "tests.test_plugins:Impostor", "coinfer.methods"),
    )
    found = installed_methods()
    assert {"half_way", "all_local", "neurosurgeon"} <= set(found.classes)
    assert {plugin.name for plugin in found.broken} == {"gone", "not_a_method", "taken"}
    assert all("\n" not in plugin.error for plugin in found.broken)
    why = {
        "gone": r"entry point no_such_package_of_ours:Gone\) does not load: ModuleNotFoundError",
        "not_a_method": r"does not load: not a subclass of coinfer.method.Method",
        "taken": r"does not load: method 'all_local' of .* is already defined by built-in",
    }
    for name, words in why.items():
        for asked in (found.make, found.card):
            with pytest.raises(CoinferError, match=rf"method '{name}' .*{words}"):
                asked(name)
    with pytest.raises(CoinferError, match="unknown method 'half_wai'; did you mean 'half_way'"):
        found.make("half_wai")


@pytest.mark.usefixtures("_fresh_registries")
def test_a_broken_part_is_reported_and_says_why_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point = importlib.metadata.EntryPoint
    entry_points_of(
        monkeypatch,
        point("lost", "no_such_package_of_ours:Lost", "coinfer.parts"),
        point("dumb", "tests.test_plugins:Dumb", "coinfer.parts"),
    )
    found = installed_methods()
    assert {plugin.name for plugin in found.broken} == {"lost", "dumb"}
    with pytest.raises(CoinferError, match="codec 'lost' .*does not load: ModuleNotFoundError"):
        found.parts.codec("lost")
    with pytest.raises(CoinferError, match="coder 'dumb' .*it has no method 'available'"):
        found.parts.coder("dumb")


class Dumb:
    """A coder that cannot be asked anything."""

    kind, name = "coder", "dumb"


class Impostor(AllLocal):
    """Takes a built-in's name."""


def test_entry_points_are_found_in_name_order(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint
    monkeypatch.setattr(
        plugins,
        "entry_points",
        lambda group: [point(n, "pathlib:Path", group) for n in ("b", "a")],
    )
    found, broken = load_entry_points("any")
    assert [f.name for f in found] == ["a", "b"]
    assert found[0] == Found("a", Path, "entry point pathlib:Path")
    assert not broken


def test_parts_refuse_unknown_options() -> None:
    with pytest.raises(CoinferError, match="options accepted are: none"):
        installed_parts().make("coder", "float32[bits=8]")
    assert isinstance(installed_parts().with_classes([int, str]), Parts)


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


def hash_in_new_process(folder: Path, module: str, without: str = "") -> str:
    code = (
        "from coinfer.sources import closure_hash; import sys; "
        f"sys.path.insert(0, {str(folder)!r}); "
        f"print(closure_hash([{module!r}], tuple({without!r}.split())))"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_source_hash_follows_what_a_module_imports_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "stranger"
    folder.mkdir()
    write(folder, __init__="", a="from stranger import b\nX = b.Y\n", b="Y = 1\n", c="Z = 1\n")

    def now(without: str = "") -> str:
        return hash_in_new_process(tmp_path, "stranger.a", without)

    first = now()
    write(folder, b="# said more\n\nY = 1  # and more\n", c="Z = 2\n")
    assert now() == first, "a comment, a blank line or an unrelated module must not count"
    write(folder, b='"""Says more."""\nY = 1\n')
    assert now() == first, "a docstring must not count"
    write(folder, b="Y = 2\n")
    assert now() != first, "an imported module must count"
    left_out = now("stranger.b")
    write(folder, b="Y = 3\n")
    assert now("stranger.b") == left_out


def test_source_hash_follows_relative_imports(tmp_path: Path) -> None:
    folder = tmp_path / "stranger"
    inner = folder / "inner"
    inner.mkdir(parents=True)
    write(folder, __init__="", a="from .inner import deep\n", b="Y = 1\n")
    write(inner, __init__="", deep="from ..b import Y\nfrom . import side\n", side="S = 1\n")
    seen = {hash_in_new_process(tmp_path, "stranger.a")}
    write(folder, b="Y = 2\n")
    seen.add(hash_in_new_process(tmp_path, "stranger.a"))
    write(inner, side="S = 2\n")
    seen.add(hash_in_new_process(tmp_path, "stranger.a"))
    assert len(seen) == 3


def test_source_hash_follows_a_helper_beside_a_file_but_no_installed_package(
    tmp_path: Path,
) -> None:
    write(tmp_path, mine="import json\nimport numpy\nimport my_helper\n", my_helper="N = 1\n")
    code = (
        "import sys; from coinfer.sources import _closure; "
        f"sys.path.insert(0, {str(tmp_path)!r}); print(sorted(_closure(('mine',))))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['mine', 'my_helper']"
    first = hash_in_new_process(tmp_path, "mine")
    write(tmp_path, my_helper="N = 7\n")
    assert hash_in_new_process(tmp_path, "mine") != first


def test_code_is_what_is_left_without_comments_and_docstrings() -> None:
    text = dedent(
        '''
        """Module ü."""  # said

        def f(x: str = "# no comment") -> str:
            """Says
            much."""
            return "é" + x  # ü

        class C:
            "One line."; y = 1
        '''
    )
    expected = 'def f(x: str = "# no comment") -> str:\n    return "é" + x\nclass C:\n    ; y = 1'
    assert sources._code(text, ast.parse(text)) == expected


def test_source_hash_of_a_method_file_changes_with_its_code(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text(HALVES)
    other.write_text(HALVES.replace("16.0", "8.0"))
    hashes = {closure_hash([load_file(path).__name__]) for path in (one, other)}
    assert len(hashes) == 2


def test_hashing_sources_imports_nothing() -> None:
    code = (
        "import sys; from coinfer.sources import closure_hash; "
        "closure_hash(['coinfer.tracing']); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
