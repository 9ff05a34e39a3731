"""The shape of the code, measured from its own imports and definitions.

`python -m tests.structure` prints the figures that tests/test_structure.py holds. Nothing of the
project is run, but for the import of the sources, whose modules are counted.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("ddnn_tf", "export", "edge_runtime")
#: What says together who answers a frame: one value carries it.
RULE = {"answer", "policy", "priority", "early"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Graph = Mapping[str, set[str]]


class Measured(NamedTuple):
    """A function, where it stands, and how large it is."""

    where: str
    parameters: int
    lines: int
    branches: int
    command: bool
    names: frozenset[str]


def module_of(file: Path, root: Path) -> str:
    """The dotted name of a file."""
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources(root: Path) -> dict[str, ast.Module]:
    """Every module of the three packages, parsed."""
    return {
        module_of(file, root): ast.parse(file.read_text(encoding="utf-8"))
        for package in PACKAGES
        for file in sorted((root / package).rglob("*.py"))
    }


def imported(name: str, tree: ast.Module, modules: Mapping[str, ast.Module]) -> Iterator[str]:
    """The project's modules that one imports, wherever in it that stands."""
    is_front = any(other.startswith(f"{name}.") for other in modules)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = name.split(".")
                up = up[: len(up) - node.level + is_front]
                base = ".".join([*up, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if inner in modules:
                    yield inner
                elif base in modules:
                    yield base


def imports_between_files(root: Path) -> dict[str, set[str]]:
    """Who imports whom, the fronts of packages included."""
    modules = sources(root)
    return {name: set(imported(name, tree, modules)) - {name} for name, tree in modules.items()}


def imports_between_rooms(root: Path, package: str) -> dict[str, set[str]]:
    """Who imports whom, of the files and folders directly in a package."""
    modules = sources(root)
    rooms = defaultdict[str, set[str]](set)
    for name, tree in modules.items():
        if name.startswith(f"{package}."):
            own = name.split(".")[1]
            others = (o for o in imported(name, tree, modules) if o.startswith(f"{package}."))
            rooms[own] |= {other.split(".")[1] for other in others} - {own}
    return dict(rooms)


def circles(graph: Graph) -> list[list[str]]:
    """Sets of nodes that reach each other, larger than one (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            cut = stack.index(node)
            if len(stack) - cut > 1:
                found.append(sorted(stack[cut:]))
            del stack[cut:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def floors(graph: Graph) -> dict[str, int]:
    """The floor of each room: above all that it imports; rooms of a circle share theirs."""
    group = {node: tuple(circle) for circle in circles(graph) for node in circle}
    found: dict[tuple[str, ...], int] = {}

    def height(node: str) -> int:
        own = group.get(node, (node,))
        if own not in found:
            below = {o for member in own for o in graph.get(member, ())} - set(own)
            found[own] = 1 + max(map(height, below), default=0)
        return found[own]

    return {node: height(node) for node in graph}


def functions(root: Path) -> Iterator[Measured]:
    """Every function and method of the three packages."""

    def visit(node: ast.AST, where: str) -> Iterator[Measured]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function | ast.ClassDef):
                here = f"{where}.{child.name}"
                if isinstance(child, Function):
                    yield measured(child, here)
                yield from visit(child, here)
            else:
                yield from visit(child, where)

    for name, tree in sources(root).items():
        yield from visit(tree, name)


def measured(function: Function, where: str) -> Measured:
    """What a function counts: its own lines and branches, those of inner functions among them."""
    a = function.args
    names = [
        x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg not in {"self", "cls"}
    ]
    branches = 1 + sum(map(ways, ast.walk(function)))
    return Measured(
        where,
        len(names) + (a.vararg is not None) + (a.kwarg is not None),
        (function.end_lineno or function.lineno) - function.lineno + 1,
        branches,
        is_command(where, function),
        frozenset(names),
    )


def is_command(where: str, function: Function) -> bool:
    """Whether a function is a command of `ddnn`, whose parameters are its options."""
    decorators = map(ast.unparse, function.decorator_list)
    return ".cli." in where and (
        function.name.endswith("_command") or any(".command(" in d for d in decorators)
        or "Option" in ast.unparse(function.args)
    )  # fmt: skip


def ways(node: ast.AST) -> int:
    """How many further ways through a function a node opens (McCabe, 1976)."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    branching = ast.If | ast.IfExp | ast.For | ast.While | ast.ExceptHandler | ast.match_case
    return isinstance(node, branching)


def loaded_by(module: str, root: Path) -> list[str]:
    """The project's own modules that importing one loads, in a process of its own."""
    code = (
        f"import sys, {module}\n"
        f"print(*sorted(m for m in sys.modules if m.partition('.')[0] in {PACKAGES}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def public_names(root: Path) -> dict[str, list[str]]:
    """`__all__` of every module that has one."""
    return {
        name: ast.literal_eval(node.value)
        for name, tree in sources(root).items()
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    }


#: Each figure, and the most that it may be. A later room raises a figure with its reason.
GOALS = {
    "rooms of edge_runtime": 20,
    "floors of edge_runtime": 10,
    # Twelve more: what an answer means is one idea, `task`, and whoever gives, scores, keeps or
    # judges answers asks it.
    "arrows between its rooms": 83,
    "circles of rooms or files": 0,
    "modules loaded to open a camera": 6,
    # Two more: `build` takes a task in place of classes, and `evaluate` a score.
    "functions of more than 8 parameters": 8,
    "functions longer than 80 lines": 0,
    "functions of more than 15 ways": 8,
    "signatures that spell out an answer rule": 0,
    "public names": 80,
}


def figures(root: Path) -> dict[str, int]:
    """The figures that `GOALS` bounds."""
    rooms = imports_between_rooms(root, "edge_runtime")
    all_functions = list(functions(root))
    plain = [f for f in all_functions if not f.command]
    stubs = (root / package / "__init__.pyi" for package in PACKAGES)
    shown = sum(file.read_text().count(" as ") for file in stubs if file.is_file())
    return dict(
        zip(
            GOALS,
            (
                len(rooms),
                max(floors(rooms).values()),
                sum(map(len, rooms.values())),
                len(circles(rooms)) + len(circles(imports_between_files(root))),
                len(loaded_by("edge_runtime.node.sources", root)),
                sum(f.parameters > 8 for f in plain),
                sum(f.lines > 80 for f in all_functions),
                sum(f.branches > 15 for f in all_functions),
                sum(len(f.names & RULE) > 1 for f in plain),
                shown + sum(map(len, public_names(root).values())),
            ),
            strict=True,
        )
    )


def main() -> None:
    """Print the figures and what they may be, and the functions above a limit."""
    root = Path(__file__).parents[1]
    for name, value in figures(root).items():
        print(f"{value:>5}  of at most {GOALS[name]:>3}  {name}")
    for f in functions(root):
        if f.lines > 80 or f.branches > 15 or (f.parameters > 8 and not f.command):
            print(f"{f.where}: {f.parameters} parameters, {f.lines} lines, {f.branches} ways")


if __name__ == "__main__":
    main()
