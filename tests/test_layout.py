"""The one rule of the layout: imports point down, ddnn_tf -> export -> edge_runtime.

Each part of the rule is tested twice: that it holds, and that the check would notice a fault.
"""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import BYTECODE, LIMIT
from tests.structure import circles, imports_between_files, imports_between_rooms

# Each package, and those of the three that it may import.
BELOW = {
    "ddnn_tf": {"export", "edge_runtime"},
    "export": {"edge_runtime"},
    "edge_runtime": set[str](),
}

# Imported in one file of the whole project, so that a device without it runs all the rest.
ONE_FILE = {
    "ai_edge_litert": "edge_runtime/bundle/litert.py",
    "zenoh": "edge_runtime/transport/zenoh.py",
}

# What else edge_runtime may import beside the standard library: None is everywhere. A new
# package here is one more that every device carries.
ON_A_DEVICE = {
    "cv2": "edge_runtime/node/sources.py",
    "msgspec": None,
    "numpy": None,
    "prometheus_client": "edge_runtime/node/prometheus.py",
    "rich": "edge_runtime/testbed/monitor.py",
    "tensorflow": "edge_runtime/bundle/saved_model.py",
    "yaml": "edge_runtime/topology/reading.py",
    **ONE_FILE,
}


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of each import, those inside functions and by string as well."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield node.lineno, alias.name
            case ast.ImportFrom(module=str(module), level=0):
                yield node.lineno, module
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ) if not module.startswith("."):
                yield node.lineno, module


def violations(root: Path) -> list[str]:
    """Every import below `root` that breaks the rule, as `file:line: what is wrong`."""
    found = []
    for package, below in BELOW.items():
        for path in sorted((root / package).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            for line, name in imports(path.read_text(encoding="utf-8")):
                top = name.partition(".")[0]
                if top == package:
                    fault = "imports inside a package are relative"
                elif top in BELOW:
                    fault = "" if top in below else f"{package} must not know {top}"
                elif ONE_FILE.get(top, file) != file:
                    fault = f"only {ONE_FILE[top]} imports {top}"
                elif package != "edge_runtime" or top in sys.stdlib_module_names:
                    fault = ""
                elif top not in ON_A_DEVICE:
                    fault = f"a device does not carry {top}"
                elif ON_A_DEVICE[top] not in (None, file):
                    fault = f"on a device only {ON_A_DEVICE[top]} imports {top}"
                else:
                    fault = ""
                if fault:
                    found.append(f"{file}:{line}: {name}: {fault}")
    return found


# The rooms of edge_runtime, from the top floor down. A room imports only rooms on lower floors, so
# those of one floor cannot see each other: a node knows nothing of evaluations. A new room is
# added here on purpose, and its reason in docs/architecture.md.
FLOORS = (
    {"__main__"},
    {"cli"},
    {"testbed"},
    {"evaluation", "node"},
    {"bundle"},
    {"answers"},
    {"failures", "samples", "transport"},
    {"task", "topology"},
    {"clock", "files", "process", "scoring"},
    {"arrays", "errors", "lazy"},
)


def climbing(root: Path) -> list[str]:
    """Every import between rooms that does not lead down, as `room -> room: what is wrong`."""
    floor = {room: -i for i, rooms in enumerate(FLOORS) for room in rooms}
    rooms = imports_between_rooms(root, "edge_runtime")
    found = [f"{room}: stands on no floor" for room in sorted(rooms.keys() - floor)]
    found += [
        f"{room} -> {other}: not on a lower floor"
        for room in sorted(rooms.keys() & floor)
        for other in sorted(rooms[room] & floor.keys())
        if floor[other] >= floor[room]
    ]
    return found


def test_each_room_imports_only_those_below_it(root: Path) -> None:
    assert climbing(root) == []


@pytest.mark.parametrize(
    ("file", "line", "fault"),
    [
        ("answers/rule.py", "from ..node import node", "answers -> node: not on a lower floor"),
        ("node/node.py", "from ..evaluation import cache", "node -> evaluation: not on a lower"),
        ("evaluation/cache.py", "from ..node.node import Node", "evaluation -> node: not on a"),
        ("errors.py", "    from .arrays import Array", "errors -> arrays: not on a lower floor"),
        ("bundle/litert.py", "from ..cli.main import main", "bundle -> cli: not on a lower floor"),
        ("attic.py", "import numpy", "attic: stands on no floor"),
    ],
)
def test_the_rule_between_rooms_notices(
    tmp_path: Path, root: Path, file: str, line: str, fault: str
) -> None:
    shutil.copytree(root / "edge_runtime", tmp_path / "edge_runtime", ignore=BYTECODE)
    with (tmp_path / "edge_runtime" / file).open("a") as module:
        module.write(f"\n\ndef late():\n    pass\n    {line.strip()}\n")
    [found] = climbing(tmp_path)
    assert fault in found


def test_no_files_import_each_other_in_a_circle(root: Path) -> None:
    assert circles(imports_between_files(root)) == []


@pytest.mark.parametrize(
    ("file", "line", "circle"),
    [
        (
            "answers/policies.py",
            "from .rule import AnswerRule",
            ["answers.policies", "answers.rule"],
        ),
        (
            "topology/survival.py",
            "from . import Topology",
            ["topology", "topology.survival", "topology.topology"],
        ),
    ],
)
def test_a_circle_is_noticed_through_a_front_too(
    root: Path, tmp_path: Path, file: str, line: str, circle: list[str]
) -> None:
    shutil.copytree(root / "edge_runtime", tmp_path / "edge_runtime", ignore=BYTECODE)
    with (tmp_path / "edge_runtime" / file).open("a") as module:
        module.write(f"\n{line}\n")
    [found] = circles(imports_between_files(tmp_path))
    assert found == [f"edge_runtime.{name}" for name in circle]


def test_imports_point_down(root: Path) -> None:
    assert violations(root) == []


@pytest.mark.parametrize(
    ("file", "line", "fault"),
    [
        (
            "edge_runtime/node/node.py",
            "import ddnn_tf.layers",
            "edge_runtime must not know ddnn_tf",
        ),
        (
            "edge_runtime/node/node.py",
            "from export import bundle",
            "edge_runtime must not know export",
        ),
        (
            "edge_runtime/node/node.py",
            "import tensorflow as tf",
            "only edge_runtime/bundle/saved_model.py",
        ),
        ("edge_runtime/node/node.py", "import os, keras.ops", "a device does not carry keras"),
        (
            "edge_runtime/node/node.py",
            "    from zenoh import open",
            "only edge_runtime/transport/zenoh",
        ),
        ("edge_runtime/bundle/saved_model.py", "import keras", "a device does not carry keras"),
        (
            "edge_runtime/transport/zenoh.py",
            "__import__('cv2')",
            "only edge_runtime/node/sources.py",
        ),
        ("export/split.py", "from ddnn_tf.model import build", "export must not know ddnn_tf"),
        ("export/litert.py", "import ai_edge_litert", "only edge_runtime/bundle/litert.py"),
        (
            "ddnn_tf/cli/app.py",
            "from ai_edge_litert import x",
            "only edge_runtime/bundle/litert.py",
        ),
        ("ddnn_tf/cli/app.py", "importlib.import_module('zenoh')", "only edge_runtime/transport"),
        ("ddnn_tf/datasets/npz.py", "import ddnn_tf", "imports inside a package are relative"),
    ],
)
def test_the_rule_notices(tmp_path: Path, file: str, line: str, fault: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"import numpy\n\n\ndef late():\n    pass\n{line}\n")
    [violation] = violations(tmp_path)
    assert violation.startswith(f"{file}:6: ")
    assert fault in violation


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("edge_runtime/bundle/saved_model.py", "import tensorflow as tf"),
        ("edge_runtime/bundle/litert.py", "from ai_edge_litert.interpreter import Interpreter"),
        ("edge_runtime/transport/zenoh.py", "import zenoh"),
        ("edge_runtime/node/node.py", "from . import topology, zenoh"),
        ("export/split.py", "import keras, edge_runtime.topology"),
        ("ddnn_tf/cli/app.py", "import export, edge_runtime, optuna"),
    ],
)
def test_the_rule_permits(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert violations(tmp_path) == []


# Run where nothing but edge_runtime, numpy and msgspec can be imported: neither what the device
# must never have, nor what a node loads only when it asks for it.
IMPORT_EVERY_MODULE = """
import importlib, pkgutil, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {
            "ddnn_tf", "export", "keras", "tensorflow", "tf_keras",
            "ai_edge_litert", "cv2", "prometheus_client", "rich", "yaml", "zenoh",
        }:
            raise ModuleNotFoundError(f"{name} is missing here", name=name)

sys.meta_path.insert(0, Missing())
import edge_runtime
# Each of these exists to wrap what is missing.
WRAPPERS = {"bundle.litert", "bundle.saved_model", "node.prometheus", "transport.zenoh", "__main__"}
names = [m.name for m in pkgutil.walk_packages(edge_runtime.__path__, "edge_runtime.")]
for name in names:
    if name.removeprefix("edge_runtime.") not in WRAPPERS:
        importlib.import_module(name)
print(edge_runtime.__path__[0], len(names))
"""


def run_alone(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Python that finds modules in `folder` and among the dependencies, nowhere else.

    -I and -S keep out the current folder, PYTHONPATH and the hook of an editable install.
    """
    paths = [os.fspath(folder), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path += {paths}\n{code}"],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        timeout=LIMIT,
    )


@pytest.fixture
def device(tmp_path: Path, root: Path) -> Path:
    """A folder that holds a copy of edge_runtime and nothing else."""
    shutil.copytree(root / "edge_runtime", tmp_path / "edge_runtime", ignore=BYTECODE)
    return tmp_path


def test_edge_runtime_copied_alone_imports_without_extras(device: Path) -> None:
    done = run_alone(device, IMPORT_EVERY_MODULE)
    assert done.returncode == 0, done.stderr
    folder, count = done.stdout.split()
    assert Path(folder) == device / "edge_runtime"
    assert int(count) > 5


@pytest.mark.parametrize("name", ["tensorflow", "keras", "ddnn_tf", "export", "zenoh"])
def test_a_heavy_import_would_be_noticed(device: Path, name: str) -> None:
    (device / "edge_runtime" / "planted.py").write_text(f"import {name}\n")
    done = run_alone(device, IMPORT_EVERY_MODULE)
    assert done.returncode == 1
    assert f"ModuleNotFoundError: {name} is missing here" in done.stderr


def test_edge_runtime_copied_alone_reads_its_topologies(device: Path) -> None:
    done = run_alone(
        device,
        "from edge_runtime.topology import Topology\n"
        "print(len(Topology.load('poster-residual').nodes))\n"
        "import importlib.util as u; print(u.find_spec('ddnn_tf'), u.find_spec('export'))\n",
    )
    assert done.returncode == 0, done.stderr
    # Four edge nodes, four fog nodes, the cloud.
    assert done.stdout.split() == ["9", "None", "None"]
