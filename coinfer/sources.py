"""Code versions in keys: a hash of the source that determines a result (design ruling 14).

The closure of a module is the module and, transitively, the modules it imports: those of this
project, those of its own package, and any other whose file is neither part of Python nor of an
installed package (a helper beside a method's file). Comments, docstrings and blank lines do not
count, and the hash is the same for every Python.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PROJECT = ("coinfer", "methods", "benchmarks")


def closure_hash(modules: Iterable[str], without: tuple[str, ...] = ()) -> str:
    """Return the SHA-256 of the source closure of some modules.

    Args:
        modules: names of importable modules, or of modules loaded from single files.
        without: packages and modules not to follow, because a key holds them in another way.
    """
    digest = hashlib.sha256()
    # Contents, not names: the same file at another path is the same code.
    for source in sorted(_closure(tuple(sorted(modules)), without).values()):
        digest.update(source.encode())
    return digest.hexdigest()


def _closure(roots: tuple[str, ...], without: tuple[str, ...] = ()) -> dict[str, str]:
    packages = {*PROJECT, *(root.partition(".")[0] for root in roots)}
    hashes: dict[str, str] = {}
    seen: set[str] = set()
    pending = list(roots)
    while pending:
        name = pending.pop()
        left_out = any(name == other or name.startswith(f"{other}.") for other in without)
        path = None if left_out or name in seen else _source_path(name)
        seen.add(name)
        if path is None or not (name.partition(".")[0] in packages or _of_the_user(path)):
            continue
        hashes[name], imports = _read(path, path.stat().st_mtime_ns)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        pending += [found for level, text in imports for found in _absolute(level, text, package)]
    return hashes


def _absolute(level: int, name: str, package: str) -> Iterator[str]:
    """Yield the full name of an import, relative to `package` where it has a level."""
    if level == 0:
        yield name
        return
    base = package.split(".")[: len(package.split(".")) - (level - 1)] if package else []
    if base:
        yield ".".join([*base, *filter(None, [name])])


@cache
def _read(path: Path, _changed_ns: int) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Return the hash of a file's code, and what it may import as (level, name)."""
    with tokenize.open(path) as file:  # in the encoding that the file declares
        text = file.read()
    tree = ast.parse(text)
    imports: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            imports.append((node.level, base))
            # `from package import thing`: the thing may be a module.
            names = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            imports += [(node.level, name) for name in names]
    return hashlib.sha256(_code(text, tree).encode()).hexdigest(), tuple(imports)


def _code(text: str, tree: ast.Module) -> str:
    """Return a source without comments, docstrings, blank lines and trailing blanks."""
    lines = [line.encode() for line in io.StringIO(text)]
    for start, end in sorted([*_docstrings(tree), *_comments(text)], reverse=True):
        (first, column), (last, end_column) = start, end
        lines[first : last + 1] = [lines[first][:column] + lines[last][end_column:]]
    return "\n".join(filter(None, (line.decode().rstrip() for line in lines)))


Span = tuple[tuple[int, int], tuple[int, int]]


def _docstrings(tree: ast.Module) -> Iterator[Span]:
    """Yield where docstrings are: (line, byte) to (line, byte), lines from 0."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            found = node.body[0]
            assert found.end_lineno is not None
            assert found.end_col_offset is not None
            yield (found.lineno - 1, found.col_offset), (found.end_lineno - 1, found.end_col_offset)


def _comments(text: str) -> Iterator[Span]:
    """Yield where comments are, as `_docstrings` does."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            start = len(token.line[:column].encode())
            yield (line - 1, start), (line - 1, start + len(token.string.encode()))


@cache
def _installed() -> tuple[Path, ...]:
    """Folders of Python itself and of installed packages."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(sysconfig.get_paths()[name]).resolve() for name in names})


@cache
def _of_the_user(path: Path) -> bool:
    """Whether a file is neither Python's nor an installed package's."""
    return not any(path.resolve().is_relative_to(folder) for folder in _installed())


def _source_path(name: str) -> Path | None:
    """Return the file of a module, without importing it or its parents; None where there is none.

    `from package.module import thing` makes `package.module.thing` a candidate too, which is a
    module only if such a file exists.
    """
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded is not None:
        return Path(loaded) if loaded.endswith(".py") else None
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or (rest and not spec.submodule_search_locations):
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder).joinpath(*rest)
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return file
    return None
