"""What a device carries: memory and time of a process with one node, loaded alone and deployed."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.testbed.feed import golden_views
from edge_runtime.transport.deployment import Deployment

from .bundles import exported

PROBE = """
import sys, time
start = time.perf_counter()
import numpy as np
from edge_runtime.bundle.manifest import read_node
from edge_runtime.bundle.sections import load_section
folder = sys.argv[1]
manifest = read_node(folder)
section = load_section(folder, manifest)
section({n: np.zeros((1, *s.shape), s.dtype) for n, s in manifest.inputs.items()})
seconds = time.perf_counter() - start
status = open("/proc/self/status").read()
kilobytes = int(status.partition("VmRSS:")[2].split()[0])
print(seconds, kilobytes / 1024, "tensorflow" in sys.modules)
"""


#: Of `ddnn-edge run`: seconds from its start until it says that it is ready, and MB resident.
GOAL_S, GOAL_MB = 1.0, 80.0
NODES = ("edge1", "fog3", "cloud")


def main(runs: int = 7) -> None:
    """Load each kind of node in a fresh process, and deploy it."""
    for sections in ("fc32", "conv"):
        with exported("poster-residual", sections) as bundle:
            found: dict[str, list[tuple[float, ...]]] = {n: [] for n in NODES}
            for _ in range(runs):
                for node, rows in found.items():
                    rows.append((*_probe(bundle / "nodes" / node), *deployed(bundle, node)))
        for node, rows in found.items():
            alone_s, alone_mb, ready_s, computed_s, resident_mb = map(
                statistics.median, zip(*rows, strict=True)
            )
            print(
                f"  {sections} {node:<6} LiteRT alone: import to first answer {alone_s:.3f} s, "
                f"resident {alone_mb:.1f} MB; ddnn-edge run: ready after {ready_s:.2f} s "
                f"({min(r[2] for r in rows):.2f} to {max(r[2] for r in rows):.2f}; goal "
                f"{GOAL_S:g}; {computed_s:.2f} s of it computing), resident "
                f"{resident_mb:.1f} MB (goal {GOAL_MB:g})"
            )


def deployed(bundle: Path, node: str) -> tuple[float, float, float]:
    """Of `ddnn-edge run`: seconds until it says that it is ready, those that it computed of them,
    and its resident MB a second later.

    The other nodes are not there; it calls them, as it would.
    """
    whole = Bundle(bundle)
    with tempfile.TemporaryDirectory(prefix="ddnn-") as name:
        folder = Path(name)
        Deployment.on_one_host(whole.nodes, first_port=None).save(folder / "deployment.json")
        np.savez(folder / "views.npz", allow_pickle=False, **golden_views(bundle, whole.nodes))
        command = [sys.executable, "-m", "edge_runtime", "run", str(bundle / "nodes" / node)]
        command += ["--deployment", str(folder / "deployment.json")]
        for link in whole.nodes[node].incoming:
            if link.sensor:
                command += ["--source", f"{link.source}={folder / 'views.npz'}"]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                if "computed by" in line:  # by what, before it is ready
                    line = process.stdout.readline()
                seconds = time.perf_counter() - start
                if "ready" not in line:
                    raise RuntimeError(f"{node} did not become ready: {line!r}")
                computed = _cpu_seconds(process.pid)
                time.sleep(1.0)  # frames are computed meanwhile
                return seconds, computed, _resident_mb(process.pid)
            finally:
                process.terminate()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _probe(node: Path) -> tuple[float, float]:
    command = [sys.executable, "-c", PROBE, str(node)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes, tensorflow = done.stdout.split()
    if tensorflow != "False":
        raise RuntimeError("a device process imported TensorFlow")
    return float(seconds), float(megabytes)


if __name__ == "__main__":
    main()
