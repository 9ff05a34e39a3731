"""What a device carries: memory and time of a process with one node loaded."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ddnn_tf import Topology, build
from export import export_bundle

from .evaluation import CLASSES, Data

PROBE = """
import sys, time
start = time.perf_counter()
import numpy as np
from edge_runtime.manifest import read_node
from edge_runtime.simulate import load_section
folder = sys.argv[1]
manifest = read_node(folder)
section = load_section(folder, manifest)
section({n: np.zeros((1, *s.shape), s.dtype) for n, s in manifest.inputs.items()})
seconds = time.perf_counter() - start
status = open("/proc/self/status").read()
kilobytes = int(status.partition("VmRSS:")[2].split()[0])
print(seconds, kilobytes / 1024, "tensorflow" in sys.modules)
"""


def main(runs: int = 7) -> None:
    """Load each kind of node in a fresh process."""
    topology = Topology.load("poster-residual")
    for sections in ("fc32", "conv"):
        model = build(topology, sections, classes=CLASSES)
        with tempfile.TemporaryDirectory() as folder:
            export_bundle(model, Path(folder) / "bundle", Data(topology, 32))
            for node in ("edge1", "fog3", "cloud"):
                found = [_probe(Path(folder) / "bundle" / "nodes" / node) for _ in range(runs)]
                print(
                    f"  {sections} {node:<6} import to first answer "
                    f"{statistics.median(s for s, _ in found):.3f} s, resident "
                    f"{statistics.median(m for _, m in found):.1f} MB"
                )


def _probe(node: Path) -> tuple[float, float]:
    command = [sys.executable, "-c", PROBE, str(node)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes, tensorflow = done.stdout.split()
    if tensorflow != "False":
        raise RuntimeError("a device process imported TensorFlow")
    return float(seconds), float(megabytes)


if __name__ == "__main__":
    main()
