"""The poster's experiment from end to end, as a newcomer first meets it."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from edge_runtime.bundle.sections import check_node
from edge_runtime.errors import InputError
from edge_runtime.files import new_file
from edge_runtime.process.launch import command, environment
from edge_runtime.topology import Topology
from export import ExportReport, export_bundle

from .datasets import Batches, load
from .evaluation import expected_accuracy
from .model import ResilientModel
from .names import SectionName
from .reporting.page import write_report
from .reporting.report import Report
from .training.methods import POSTER_METHODS
from .training.progress import epoch_bar, progress_bar
from .training.recipe import Recipe
from .training.training import train

TOPOLOGY = "poster-residual"
SURVIVABILITIES = ("high", "medium", "low")
#: The live run at the end: ten seconds, two failures, both mended.
LIVE = (
    *("--fps", "20", "--frames", "200"),
    *("--fail", "fog4@2s", "--hang", "edge2@4s", "--restore", "fog4@6s", "edge2@7s"),
)


def run(
    data: str, out: Path, *, epochs: int, seed: int, sections: SectionName, console: Console
) -> None:
    """Train the three methods, report them, and deploy the best one.

    The best is chosen on validation data; the table is of test data. Writes `model.keras`,
    `bundle/`, `test.npz` and the report into `out`.
    """
    topology = Topology.load(TOPOLOGY)
    with console.status(f"reading {data}"):
        cameras = load(data, seed=seed)
    cameras.samples.check({s.name: (s.shape, s.dtype) for s in topology.sensors})
    recipe = Recipe(epochs=epochs)
    models: dict[str, ResilientModel] = {}
    # Opened before the work, so that a folder that cannot be written is known at once.
    with new_file(out / "model.keras") as file:
        console.print(str(cameras.summary).splitlines()[0], markup=False, soft_wrap=True)
        with progress_bar(console) as bar:
            for method in POSTER_METHODS:
                models[method] = train(
                    topology,
                    cameras.train,
                    method=method,
                    survival=SURVIVABILITIES,
                    sections=sections,
                    recipe=recipe,
                    seed=seed,
                    callbacks=[epoch_bar(bar, method, epochs)],
                )
        best = max(POSTER_METHODS, key=lambda method: _score(models[method], cameras.validation))
        models[best].save(file)
    reports = {method: expected_accuracy(model, cameras.test) for method, model in models.items()}
    console.print(_table(reports))

    cameras.test.samples.save_npz(out / "test.npz")
    with progress_bar(console) as bar:
        task = bar.add_task("export", total=len(topology.nodes))
        exported = export_bundle(
            models[best],
            out / "bundle",
            cameras.train,
            cameras.validation,
            progress=lambda node: bar.update(task, advance=1, description=f"export {node}"),
        )
    _check(out / "bundle", exported, console)
    # In processes of their own, as on devices: none of them has TensorFlow.
    deployed = _edge("evaluate", out)
    console.print(
        "the bundle, with LiteRT alone: "
        + ", ".join(f"{s} {100 * deployed['expected_accuracy'][s]:.2f} %" for s in SURVIVABILITIES)
    )
    write_report(
        out,
        reports,
        title="Failure-resilient inference from edge to cloud",
        best=best,
        facts=_facts(data, cameras, epochs=epochs, seed=seed, sections=sections),
        export=exported.to_dict(),
        bundle=deployed,
    )
    console.print(_live(out, console))
    wrote = f"wrote {out / 'report.html'}, {out / 'report.json'} and {out / 'bundle'}"
    console.print(wrote, markup=False, soft_wrap=True)


def _table(reports: dict[str, Report]) -> Table:
    table = Table(title="expected accuracy, % (balanced in brackets)")
    table.add_column("method")
    for name in SURVIVABILITIES:
        table.add_column(name, justify="right")
    for method, report in reports.items():
        cells = (
            f"{100 * report.expected_accuracy(s):.1f} ({100 * report.balanced_accuracy(s):.0f})"
            for s in SURVIVABILITIES
        )
        table.add_row(method, *cells)
    return table


def _score(model: ResilientModel, validation: Batches) -> float:
    """What the best model is chosen by: the mean over the survivabilities."""
    found = expected_accuracy(model, validation, survival=SURVIVABILITIES)
    return float(np.mean([found.expected_accuracy(s) for s in SURVIVABILITIES]))


def _check(bundle: Path, exported: ExportReport, console: Console) -> None:
    """What `ddnn-edge check` does on each device."""
    checks = [check_node(bundle / "nodes" / node) for node in exported.bytes]
    wrong = [check.node for check in checks if not check.passed]
    if wrong:
        raise RuntimeError(f"artifacts do not give their golden numbers: {', '.join(wrong)}")
    console.print(
        f"{len(checks)} artifacts checked, {sum(exported.bytes.values()) / 1e3:.0f} kB in all; "
        f"largest difference from Keras in {exported.parity.configurations} failure "
        f"configurations {exported.parity.max_error:.1g}"
    )


def _edge(name: str, out: Path, *options: str) -> dict[str, Any]:
    """A command of `ddnn-edge` on the demo's bundle and its test data."""
    arguments = [name, str(out / "bundle"), "--data", str(out / "test.npz"), "--json", *options]
    done = subprocess.run(
        command(*arguments), env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"ddnn-edge {name} failed: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _live(out: Path, console: Console) -> str:
    """A few seconds of the bundle as nine processes, of which two fail."""
    with console.status(f"running it live: {' '.join(LIVE)}"):
        found = _edge("up", out, *LIVE)
    return (
        f"live, with fog4 killed and edge2 hung on the way: {found['answered']} of "
        f"{found['answerable']} answerable frames answered, accuracy "
        f"{100 * found['measured_accuracy']:.1f} % (expected "
        f"{100 * found['expected_accuracy']:.1f} %), median {found['latency_ms']['p50']:.1f} ms, "
        f"{100 * found['agreement']:.0f} % as a replay gives"
    )


def _facts(data: str, cameras: Any, *, epochs: int, seed: int, sections: str) -> dict[str, str]:
    return {
        "data": data,
        "samples": f"{len(cameras.train.labels)} to train, {len(cameras.validation.labels)} "
        f"to choose, {len(cameras.test.labels)} to report",
        "splits": f"{cameras.train.name}, {cameras.validation.name}, {cameras.test.name}",
        "topology": TOPOLOGY,
        "sections": sections,
        "training": f"{epochs} epochs, seed {seed}; one model per method for all survivabilities",
        "fallback": "prior",
        "command": f"ddnn demo --data {shlex.quote(data)} --sections {sections} "
        f"--epochs {epochs} --seed {seed}",
        "versions": f"Keras {keras.__version__}, Python {platform.python_version()}",
    }
