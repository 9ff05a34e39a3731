"""What users install: the built wheel, in clean environments.

An editable install finds every file of the tree, so only the wheel shows that one is missing.
"""

import ast
import json
import os
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_runtime.cli.main import main as edge_main
from tests.commands import Deployed, build_wheel, call, run

PACKAGES = ("ddnn_tf", "edge_runtime", "export")

# Imports every module of the packages named in its arguments, but for those that end in a name
# after `--`, and prints where each was found.
IMPORT_EVERY_MODULE = """
import importlib, pkgutil, sys
cut = sys.argv.index("--")
for package in map(importlib.import_module, sys.argv[1:cut]):
    print(package.__file__)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.rpartition(".")[2] not in sys.argv[cut:]:
            print(importlib.import_module(module.name).__file__)
"""


def environment(path: Path, *requirements: str | Path) -> Path:
    """A virtual environment with these requirements and nothing else, pip included."""
    venv.create(path, symlinks=True)
    run(
        *(sys.executable, "-m", "pip", "--python", path / "bin" / "python", "install", "--quiet"),
        *("--only-binary", ":all:", *requirements),
        cwd=path,
    )
    return path


def site_packages(path: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": os.fspath(path)}))


@pytest.fixture(scope="session")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution."""
    return build_wheel(root, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def edge_environment(wheel: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a device installs: the wheel with `[edge]`, in the locked versions."""
    return environment(
        tmp_path_factory.mktemp("edge") / "venv", "-c", root / "constraints.txt", f"{wheel}[edge]"
    )


@pytest.fixture(scope="session")
def train_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in an environment of its own, which borrows this one's dependencies.

    Installing TensorFlow again would take minutes. A folder added by a .pth file comes last on
    the path, and .pth files inside it, an editable install's among them, are not read.
    """
    path = environment(tmp_path_factory.mktemp("train") / "venv", "--no-deps", wheel)
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages(path) / "borrowed.pth").write_text("\n".join(sorted(borrowed)))
    return path


def listed_packages(root: Path) -> list[str]:
    """The packages that setup.py names, read without running it."""
    for node in ast.walk(ast.parse((root / "setup.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "packages":
            return list(ast.literal_eval(node.value))
    raise AssertionError("setup.py names no packages")


def test_setup_lists_the_packages_of_the_tree(root: Path) -> None:
    inits = (path for top in PACKAGES for path in (root / top).rglob("__init__.py"))
    tree = sorted(".".join(path.parent.relative_to(root).parts) for path in inits)
    assert listed_packages(root) == tree


def test_every_folder_with_modules_is_a_package(root: Path) -> None:
    folders = {path.parent for top in PACKAGES for path in (root / top).rglob("*.py")}
    assert [f for f in sorted(folders) if not (f / "__init__.py").exists()] == []


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path, root: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {n for n in archive.namelist() if ".dist-info/" not in n}
    tree = {
        path.relative_to(root).as_posix()
        for top in PACKAGES
        for path in (root / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == tree
    assert {f"{top}/py.typed" for top in PACKAGES} <= shipped


def test_wheel_carries_license_and_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {Path(n).name: n for n in archive.namelist() if ".dist-info/" in n}
        metadata = archive.read(texts["METADATA"]).decode()
        scripts = archive.read(texts["entry_points.txt"]).decode().split("\n")
    assert "LICENSE" in texts
    assert "License-Expression: Apache-2.0" in metadata
    assert "ddnn = ddnn_tf.cli:main" in scripts
    assert "ddnn-edge = edge_runtime.__main__:program" in scripts


@pytest.mark.parametrize("name", ["tensorflow", "keras", "tf_keras", "cv2", "yaml"])
def test_device_has_no_tensorflow(edge_environment: Path, name: str) -> None:
    python = edge_environment / "bin" / "python"
    found = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
    assert run(python, "-c", found, cwd=edge_environment) == "None\n"


def imported_files(environment: Path, *arguments: str, cwd: Path) -> list[str]:
    python = environment / "bin" / "python"
    return run(python, "-c", IMPORT_EVERY_MODULE, *arguments, cwd=cwd).split()


def test_device_imports_and_answers(edge_environment: Path, tmp_path: Path) -> None:
    # saved_model is the one module that needs TensorFlow.
    skipped = ("__main__", "saved_model")
    files = imported_files(edge_environment, "edge_runtime", "--", *skipped, cwd=tmp_path)
    assert [f for f in files if not f.startswith(os.fspath(edge_environment))] == []
    usage = run(edge_environment / "bin" / "ddnn-edge", "--help", cwd=tmp_path)
    assert "usage: ddnn-edge" in usage.lower()


@pytest.mark.parametrize("command", ["evaluate", "simulate", "check"])
def test_device_says_what_this_machine_says(
    edge_environment: Path,
    poster_deployed: Callable[[str], Deployed],
    command: str,
    tmp_path: Path,
) -> None:
    """On a bundle exported here, without TensorFlow there: the same object, digit by digit."""
    it = poster_deployed("poster-residual")
    arguments: dict[str, tuple[str | Path, ...]] = {
        "evaluate": (it.bundle, "--data", it.test, "--survival", "low"),
        "simulate": (it.bundle, "--data", it.test, "--survival", "low", "--seed", "7"),
        "check": (it.bundle / "nodes" / "edge3",),
    }
    asked = (command, *arguments[command], "--json")
    device = run(edge_environment / "bin" / "ddnn-edge", *asked, cwd=tmp_path)
    assert device.count("\n") == 1
    assert json.loads(device) == call(edge_main, *asked).json


def test_device_environment_is_small(edge_environment: Path) -> None:
    files = [p for p in edge_environment.rglob("*") if p.is_file() and not p.is_symlink()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    assert 20 < megabytes < 220


def test_workstation_imports_and_answers(train_environment: Path, tmp_path: Path) -> None:
    files = imported_files(train_environment, *PACKAGES, "--", "__main__", cwd=tmp_path)
    assert [f for f in files if not f.startswith(os.fspath(train_environment))] == []
    assert {Path(f).parent.name for f in files} >= set(PACKAGES)
    usage = run(train_environment / "bin" / "ddnn", "--help", cwd=tmp_path)
    assert "usage: ddnn" in usage.lower()
