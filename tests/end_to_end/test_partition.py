"""A model cut within its blocks, live: links carry several tensors, past a dead node too."""

import json
from pathlib import Path

import numpy as np

from ddnn_tf.cutting.partition import partition
from edge_runtime.samples import Samples
from export import export_bundle
from tests.end_to_end.live import LIMIT, command
from tests.models import residual_net

FRAMES = 40
CLASSES = tuple("abcd")


def test_a_cut_model_answers_live_as_its_replay_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    cut = partition(
        residual_net(),
        {"edge": 1.0, "fog": 0.5, "cloud": 1.0},
        at=["conv_0a", "relu_1"],
        residual=[("edge", "cloud")],
        classes=CLASSES,
    )
    # As projections are after training; untrained they would add nothing.
    for weight in cut.model.trainable_weights:
        if "skip" in weight.path:
            weight.assign(rng.normal(0, 0.3, weight.shape))
    cut.model.original = None
    pictures = rng.normal(size=(16, 8, 8, 3)).astype(np.float32)
    labels = np.arange(16, dtype=np.int64) % len(CLASSES)
    Samples({"image": pictures}, labels, CLASSES).save_npz(tmp_path / "data.npz")
    export_bundle(cut.model, tmp_path / "bundle", {"image": pictures})

    up = ("up", tmp_path / "bundle", "--data", tmp_path / "data.npz", "--frames", str(FRAMES))
    pace = ("--fps", "10", "--deadline", "800ms", "--fail", "fog@2s", "--json")
    with command(*up, *pace) as process:
        out, err = process.communicate(timeout=2 * LIMIT)
    assert (process.returncode, err) == (0, "")
    found = json.loads(out)
    assert (found["frames"], found["answerable"], found["crashes"]) == (FRAMES, FRAMES, [])
    assert (found["agreement"], found["mixed_frames"], found["duplicates"]) == (1.0, 0, 0)
    assert found["configurations"] >= 2  # with the fog and without
    # Two maps of 8x8x6 float32.
    assert cut.link_bytes["edge->cloud"] == 2 * 8 * 8 * 6 * 4
