"""Code versions in keys: a hash of the source that determines a result (design ruling 14).

The closure of a module is the module and, transitively, the modules it imports from the same
project (or the same stranger's package). Comments, layout and docstrings do not count.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable
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
    pending = list(roots)
    while pending:
        name = pending.pop()
        left_out = any(name == other or name.startswith(f"{other}.") for other in without)
        path = None if left_out or name in hashes else _source_path(name)
        if path is not None:
            hashes[name], imports = _read(path, path.stat().st_mtime_ns)
            pending += [found for found in imports if found.partition(".")[0] in packages]
    return hashes


@cache
def _read(path: Path, _changed_ns: int) -> tuple[str, tuple[str, ...]]:
    """Return the hash of a file's code without docstrings, and the names it may import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            imports.append(node.module)
            imports += [f"{node.module}.{alias.name}" for alias in node.names]
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and (ast.get_docstring(node, clean=False) is not None):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest(), tuple(imports)


def _source_path(name: str) -> Path | None:
    """Return the file of a module, without importing it or its parents; None where there is none.

    `from package.module import thing` makes `package.module.thing` a candidate too, which is a
    module only if such a file exists.
    """
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded is not None:
        return Path(loaded)
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
