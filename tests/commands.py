"""What tests of the commands share: tiny data, models trained on them, and how to run a command."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_runtime.samples import Samples
from edge_runtime.topology import Topology
from tests.reference import small_topology

CLASSES = ("bus", "car", "person")
#: Frames of each folder; few, since every test that reads them decodes six pictures a sample.
FRAMES = {"train_dir": range(24), "test_dir": range(24, 36)}

#: Seconds, far above what a command takes beside whatever else the machine does; a hung one ends.
LIMIT = 900.0
#: Not to be copied: another worker may be writing it.
BYTECODE = shutil.ignore_patterns("__pycache__")

Main = Callable[[list[str]], int]


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout; anything beside it is an error."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        return json.loads(self.out)


def call(main: Main, *arguments: str | Path) -> Said:
    """Run a command in this process."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([os.fspath(a) for a in arguments])
    return Said(code, out.getvalue(), err.getvalue())


def done(main: Main, *arguments: str | Path) -> Said:
    """Run a command that must succeed."""
    said = call(main, *arguments)
    assert said.code == 0, said.err
    return said


def refused(main: Main, *arguments: str | Path) -> str:
    """Run a command on bad input: exit code 2, one line on stderr, nothing on stdout."""
    said = call(main, *arguments)
    assert (said.code, said.out) == (2, ""), said
    assert said.err.startswith(("ddnn: ", "ddnn-edge: ")), said.err
    assert said.err.count("\n") == 1, said.err
    return said.err


def script(name: str) -> Path:
    """A command as it is installed beside this Python."""
    return Path(sys.executable).with_name(name)


def process(name: str, *arguments: str | Path, cwd: Path, limit: float = LIMIT) -> Said:
    """Run an installed command as a user does."""
    ran = subprocess.run(
        [os.fspath(part) for part in (script(name), *arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=limit,
    )
    return Said(ran.returncode, ran.stdout, ran.stderr)


def run(*command: str | Path, cwd: Path) -> str:
    """The standard output of a command that must succeed, without our own PYTHONPATH."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [os.fspath(part) for part in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build_wheel(root: Path, folder: Path) -> Path:
    """The wheel of the tree at `root`, built in `folder` by way of the source distribution.

    From a copy, because setuptools puts into a wheel what an earlier build left in `build/`.
    """
    tree, dist = folder / "tree", folder / "dist"
    dust = (".*", "__pycache__", "build", "dist", "demo", "*.egg-info")
    shutil.copytree(root, tree, ignore=shutil.ignore_patterns(*dust))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, tree, cwd=folder)
    [built] = dist.glob("*.whl")
    return built


def files(folder: Path) -> Iterator[str]:
    """All files below a folder, hidden and temporary ones among them."""
    return (p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file())


# -- tiny data -------------------------------------------------------------------------------------


def write_cameras(root: Path) -> Path:
    """Six cameras in the poster's form: the class is the color, under heavy coarse noise."""
    rng = np.random.default_rng(0)
    for folder, frames in FRAMES.items():
        for label, name in enumerate(CLASSES):
            color = np.full(3, 60.0)
            color[label] = 200.0
            (root / folder / f"{name}_images").mkdir(parents=True)
            for frame in frames:
                for camera in range(6):
                    noise = rng.normal(0, 60, (4, 4, 3)).repeat(8, axis=0).repeat(8, axis=1)
                    picture = np.clip(color + noise, 0, 255).astype(np.uint8)
                    file = f"c{camera}_0_{frame:08d}.jpg"
                    assert cv2.imwrite(str(root / folder / f"{name}_images" / file), picture)
    return root


def small_samples(count: int = 120, seed: int = 0) -> Samples:
    """For `small_topology`: each camera sees the class in its own way, not quite clearly."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    inputs: dict[str, Any] = {
        name: (np.eye(3)[(labels + shift) % 3] + rng.normal(0, 0.7, (count, 3))).astype(np.float32)
        for shift, name in enumerate(("cam0", "cam1"))
    }
    return Samples(inputs, labels, CLASSES)


# -- models ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deployed:
    """A model trained by `ddnn train`, its bundle by `ddnn export`, and the test split as a file.

    Not to be changed.
    """

    topology: Topology
    data: Path
    model: Path
    bundle: Path
    test: Path


def deploy(
    folder: Path, topology: str | Path, data: Path, *options: str, split: str, epochs: int
) -> Deployed:
    """Train, cut and write the test split, by the commands."""
    from ddnn_tf.cli import main

    found = Deployed(
        topology=Topology.load(topology),
        data=data,
        model=folder / "model.keras",
        bundle=folder / "bundle",
        test=folder / "test.npz",
    )
    train = ("train", "--topology", topology, "--data", data, "--epochs", str(epochs))
    done(main, *train, "--out", found.model, *options)
    done(main, "export", found.model, "--data", data, "--out", found.bundle)
    done(main, "data", "export", "--data", data, "--split", split, "--out", found.test)
    return found


def deploy_small(folder: Path, *more: str) -> Deployed:
    """The quickest: two cameras of three numbers, three nodes; `more` options of training."""
    small_topology().save(folder / "small.json")
    small_samples().save_npz(folder / "own.npz")
    options = ("--learning-rate", "0.05", "--method", "residual", *more)
    return deploy(
        folder, folder / "small.json", folder / "own.npz", *options, split="npz:test", epochs=3
    )
