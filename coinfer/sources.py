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
from types import ModuleType

PROJECT = ("coinfer", "methods", "benchmarks")


def closure_hash(modules: Iterable[str]) -> str:
    """Return the SHA-256 of the source closure of some modules.

    Args:
        modules: names of importable modules, or of modules loaded from single files.
    """
    digest = hashlib.sha256()
    for name, source in sorted(_closure(tuple(sorted(modules))).items()):
        digest.update(f"{name}:{source}\n".encode())
    return digest.hexdigest()


def _closure(roots: tuple[str, ...]) -> dict[str, str]:
    hashes: dict[str, str] = {}
    pending = list(roots)
    while pending:
        name = pending.pop()
        if name in hashes:
            continue
        path = _source_path(name)
        if path is None:
            continue
        hashes[name], imports = _read(path)
        roots_allowed = (*PROJECT, roots[0].partition(".")[0], name.partition(".")[0])
        pending += [found for found in imports if found.partition(".")[0] in roots_allowed]
    return hashes


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
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
    loaded: ModuleType | None = sys.modules.get(name)
    file = getattr(loaded, "__file__", None)
    if file is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        file = spec.origin if spec else None
    return Path(file) if file and file.endswith(".py") else None
