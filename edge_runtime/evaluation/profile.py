"""What a node's section costs on the machine that runs this."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from ..bundle.compute import Compute
from ..bundle.manifest import BUNDLE_FILE, MODEL_FILE, read_bundle, read_node
from ..bundle.sections import load_section, read_golden
from ..errors import InputError
from ..files import new_file
from ..process.launch import command, environment
from ..process.memory import resident_mb

SCHEMA = 1
_Size = Annotated[int, Meta(ge=0)]
_Amount = Annotated[float, Meta(ge=0)]


class SectionProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One section: `latency_ms` of one inference, the median, and the 90th percentile.

    `memory_mb`: by how much the process grew by loading and running it; `artifact_bytes`: of the
    `.tflite`; `message_bytes`: what it sends, an inference, unencoded; `computed_by`: what
    computed it and why, for people.
    """

    latency_ms: _Amount
    latency_p90_ms: _Amount
    memory_mb: _Amount
    artifact_bytes: _Size
    message_bytes: _Size
    computed_by: str = ""


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the sections of one model cost on one machine.

    `machine` is for people; `fingerprint` is the model's; `process_mb`: a process before it loads
    a section, once for each device; `runs`: inferences that were timed; `threads`, `delegate`: by
    which they were computed, see `Compute`.
    """

    schema: int = SCHEMA
    machine: str
    fingerprint: str
    process_mb: _Amount
    runs: int
    threads: int = Compute().threads
    delegate: str = Compute().delegate
    sections: dict[str, SectionProfile]

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a file; `InputError` with the path of the first fault."""
        try:
            plain = msgspec.json.decode(Path(path).read_bytes())
            schema = plain.get("schema") if isinstance(plain, dict) else None
            if schema != SCHEMA:
                raise InputError(
                    f"{path}: expected schema {SCHEMA}, got {schema!r} (at $.schema); measure again"
                )
            return msgspec.convert(plain, cls)
        except OSError as error:
            raise InputError(
                f"cannot read {path} ({error.strerror}); expected what `ddnn-edge profile` wrote"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"{path}: {error}; measure again") from error

    def save(self, path: str | Path) -> None:
        """Write JSON."""
        with new_file(path) as temporary:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")


def profile(folder: str | Path, *, runs: int = 100, compute: Compute = Compute()) -> Profile:
    """Measure every section of a bundle, each in a process of its own.

    Raises `InputError` for a damaged bundle, or a section that does not run here.
    """
    folder = Path(folder)
    manifest, _ = read_bundle(folder)
    found = []
    for node in manifest.topology.order:
        words = command(
            "profile",
            str(folder / "nodes" / node),
            "--runs",
            str(runs),
            *compute.options(),
            "--json",
        )
        done = subprocess.run(words, env=environment(), capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            reason = said[-1].partition(": ")[2] if said else f"exit code {done.returncode}"
            raise InputError(f"cannot measure {node!r}: {reason}")
        found.append(msgspec.json.decode(done.stdout, type=Profile))
    sections = {name: section for one in found for name, section in one.sections.items()}
    return msgspec.structs.replace(
        found[0], sections=sections, process_mb=max(one.process_mb for one in found)
    )


def profile_node(
    folder: str | Path,
    *,
    runs: int = 100,
    compute: Compute = Compute(),
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Profile:
    """Measure one node's section in this process, on its golden inputs one by one.

    Memory means something only where this process has loaded no section before.
    """
    if runs < 1:
        raise InputError(f"expected at least 1 run, got {runs}")
    folder = Path(folder)
    if (folder / BUNDLE_FILE).is_file():
        raise InputError(f"{folder} is a bundle; expected the folder of one of its nodes")
    manifest = read_node(folder)
    inputs, outputs = read_golden(folder, manifest)
    before = resident_mb()
    section = load_section(folder, manifest, compute)
    samples = len(outputs[0])
    times = []
    for run in range(-min(runs, 10), runs):  # the first ones warm up
        row = slice(run % samples, run % samples + 1)
        views = {name: np.ascontiguousarray(x[row]) for name, x in inputs.items()}
        start = clock()
        section(views)
        if run >= 0:
            times.append((clock() - start) / 1e6)
    return Profile(
        machine=f"{platform.node()} {platform.machine()}",
        fingerprint=manifest.fingerprint,
        process_mb=before,
        runs=runs,
        threads=compute.threads,
        delegate=compute.delegate,
        sections={
            manifest.node: SectionProfile(
                latency_ms=statistics.median(times),
                latency_p90_ms=float(np.quantile(times, 0.9)),
                memory_mb=max(0.0, resident_mb() - before),
                artifact_bytes=(folder / MODEL_FILE).stat().st_size,
                message_bytes=sum(x[:1].nbytes for x in outputs) if manifest.outgoing else 0,
                computed_by=section.computed_by,
            )
        },
    )
