"""Fronts that load what they show when it is first used.

`ddnn --help` should not wait for TensorFlow, nor a camera for the arithmetic of reliability.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def attach(package: str, file: str) -> tuple[Callable[[str], Any], list[str]]:
    """`__getattr__` and `__all__` of a package, by the imports of the stub beside its front.

    The stub, `__init__.pyi`, holds nothing but `from .module import Name as Name`: type checkers
    read it, and so does this, so that the public names are listed once.
    """
    homes: dict[str, str] = {}
    for node in ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            homes |= {alias.name: module for alias in node.names}

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if homes[name] == ".":
            return import_module(f".{name}", package)
        return getattr(import_module(homes[name], package), name)

    return load, sorted(homes)
