"""What all tests share: a quiet TensorFlow, repeatable properties, paths."""

import os
from pathlib import Path

import hypothesis
import pytest

# Before anything imports TensorFlow, also in the processes that tests start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Time limits on a shared machine fail by chance. CI draws the same examples each time, so that
# a red build is the change's fault; at a developer's desk new examples are the point.
hypothesis.settings.register_profile("desk", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "desk")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def camera_data() -> Path:
    """The folder of real cameras, `mvmc/` and `epfl_multiclass/`.

    It has no licence to be redistributed, so it lies beside the repository or where DDNN_DATA
    says, and tests that need it skip where it is missing.
    """
    if named := os.environ.get("DDNN_DATA"):
        if not Path(named).is_dir():
            pytest.fail(f"DDNN_DATA names {named}, which is not a folder")
        return Path(named)
    beside = ROOT.parent / "shared" / "data"
    if not beside.is_dir():
        pytest.skip(f"needs the real cameras: no {beside}, and DDNN_DATA is not set")
    return beside


@pytest.fixture
def seeded() -> None:
    """Python, numpy and Keras start from the same seed in each test that asks."""
    import keras

    keras.utils.set_random_seed(0)
