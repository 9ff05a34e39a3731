"""What sections cost here, and the file that says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn_tf.model import build
from edge_runtime.bundle.manifest import read_node
from edge_runtime.cli.main import main
from edge_runtime.errors import InputError
from edge_runtime.evaluation.profile import Profile, profile, profile_node
from export import export_bundle
from tests.commands import CLASSES, done, refused
from tests.models import flagged, randomized
from tests.reference import small_topology
from tests.strategies import samples


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "bundle"
    model = randomized(build(small_topology(), flagged, classes=CLASSES))
    model.prior = (0.2, 0.5, 0.3)
    inputs: Any = samples(small_topology(), 20, 0)
    export_bundle(model, path, inputs)
    return path


def test_a_section_is_timed_by_the_clock_it_is_given(bundle: Path) -> None:
    # A run that warms up is started and not ended; those that count take 1, 9 and 2 ms.
    readings = [0, 0, 0, *(n * 1_000_000 for n in (10, 11, 20, 29, 30, 32))]
    found = profile_node(bundle / "nodes" / "top", runs=3, clock=iter(readings).__next__)
    section = found.sections["top"]
    assert section.latency_ms == 2
    assert section.latency_p90_ms == pytest.approx(np.quantile([1, 2, 9], 0.9))


def test_every_section_of_a_bundle_is_measured_in_a_process_of_its_own(bundle: Path) -> None:
    found = profile(bundle, runs=3)
    assert list(found.sections) == ["left", "right", "top"]
    manifest = read_node(bundle / "nodes" / "left")
    assert found.fingerprint == manifest.fingerprint
    left, top = found.sections["left"], found.sections["top"]
    assert left.artifact_bytes == (bundle / "nodes" / "left" / "model.tflite").stat().st_size
    assert left.message_bytes == 3 * 4
    assert top.message_bytes == 0, "the output node sends to no other"
    assert found.process_mb > 20, "numpy and LiteRT are not small"
    assert left.latency_ms > 0


def test_the_command_writes_what_place_reads(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    said = done(main, "profile", bundle / "nodes" / "left", "--runs", "2", "--out", file, "--json")
    assert Profile.load(file) == Profile(**{**said.json, "sections": Profile.load(file).sections})
    assert "left" in done(main, "profile", bundle / "nodes" / "left", "--runs", "2").out


def test_threads_and_delegate_are_passed_on_and_told(bundle: Path) -> None:
    said = done(main, "profile", bundle, "--runs", "2", "--threads", "2", "--json").json
    assert (said["threads"], said["delegate"]) == (2, "xnnpack")
    for section in said["sections"].values():
        assert section["computed_by"] == "XNNPACK on 2 threads (built in; no other is asked for)"
    text = done(main, "profile", bundle / "nodes" / "top", "--runs", "2").out
    assert "top: XNNPACK on 1 thread (built in; no other is asked for)" in text
    line = refused(main, "profile", bundle, "--runs", "2", "--delegate", "edgetpu")
    assert "cannot measure 'left': --delegate edgetpu: cannot be loaded" in line


def test_a_check_tells_by_what_it_was_computed(bundle: Path) -> None:
    node = bundle / "nodes" / "top"
    assert "computed by XNNPACK on 1 thread (built in" in done(main, "check", node).out
    found = done(main, "check", node, "--threads", "2", "--json").json
    assert found["computed_by"].startswith("XNNPACK on 2 threads")
    assert "expected --threads of at least 1" in refused(main, "check", node, "--threads", "0")
    assert "--delegate vx: cannot be loaded" in refused(main, "check", node, "--delegate", "vx")


def test_bad_input_is_one_line(bundle: Path, tmp_path: Path) -> None:
    assert "at least 1 run, got 0" in refused(
        main, "profile", bundle / "nodes" / "top", "--runs", "0"
    )
    assert "cannot be read" in refused(main, "profile", tmp_path / "none")
    broken = shutil.copytree(bundle, tmp_path / "bundle")
    (broken / "nodes" / "right" / "model.tflite").write_bytes(b"short")
    assert "cannot measure 'right': " in refused(main, "profile", broken, "--runs", "1")
    with pytest.raises(InputError, match="is a bundle"):
        profile_node(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "expected schema 1, got 2"),
        ({"runs": "many"}, r"Expected `int`, got `str` - at `\$\.runs`"),
        ({"color": 1}, "unknown field `color`"),
        ({"process_mb": -1}, r">= 0.* at `\$\.process_mb`"),
    ],
)
def test_a_profile_is_read_strictly(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    plain = {"schema": 1, "machine": "a", "fingerprint": "f", "process_mb": 1, "runs": 1}
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({**plain, "sections": {}, **change}))
    with pytest.raises(InputError, match=message):
        Profile.load(path)
    with pytest.raises(InputError, match=r"cannot read .*none\.json"):
        Profile.load(tmp_path / "none.json")
