"""What all tests share: a quiet TensorFlow, repeatable properties, paths."""

import functools
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.commands import Deployed, deploy, deploy_small, write_cameras

# Before anything imports TensorFlow, also in the processes that tests start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Time limits on a shared machine fail by chance. CI draws the same examples each time, so that
# a red build is the change's fault; at a developer's desk new examples are the point.
hypothesis.settings.register_profile("desk", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "desk")

ROOT = Path(__file__).resolve().parents[1]


#: What starts nodes as processes, or measures some: one worker takes them all, so that they have
#: only one neighbor, and no two deployments look for free ports at once.
PROCESSES = (
    "tests/end_to_end/",
    "tests/edge_runtime/transport/",
    "tests/edge_runtime/testbed/",
    "tests/test_benchmarks.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest piece of work first, or else one worker ends long before the other."""
    items.sort(key=lambda item: not item.nodeid.startswith(PROCESSES))


def pytest_collection_finish() -> None:
    """What was imported stays. Keras and TensorFlow ask for a collection in each export, which
    otherwise looks through all of it, a second each time.
    """
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Of two workers, the one that computes gives way to the one whose processes have deadlines."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if (
        is_worker
        and not item.nodeid.startswith(PROCESSES)
        and os.getpriority(os.PRIO_PROCESS, 0) == 0
    ):
        os.setpriority(os.PRIO_PROCESS, 0, 10)


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody asks
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files go to a worker, for what their tests share; see `PROCESSES`."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "processes" if nodeid.startswith(PROCESSES) else nodeid.partition("::")[0]

    return ByFile(config, log)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def camera_data() -> Path:
    """The folder of real cameras, `mvmc/` and `epfl_multiclass/`.

    It has no license to be redistributed, so it lies beside the repository or where DDNN_DATA
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


# -- models that the tests of the commands share; see tests/commands.py ----------------------------


@pytest.fixture(scope="session")
def tiny_cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cameras in the poster's form, few samples."""
    return write_cameras(tmp_path_factory.mktemp("cameras"))


@pytest.fixture(scope="session")
def small_deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """Two cameras of three numbers, three nodes."""
    return deploy_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def poster_deployed(
    tiny_cameras: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Deployed]:
    """The poster's system by the name of its topology, each trained once for an epoch."""
    methods = {
        "poster-baseline": "baseline",
        "poster-residual": "dropout",
        "poster-edge-skip": "residual",
    }

    @functools.cache
    def deployed(name: str) -> Deployed:
        folder = tmp_path_factory.mktemp(name)
        options = ("--method", methods[name], "--learning-rate", "0.01", "--batch-size", "4")
        return deploy(folder, name, tiny_cameras, *options, split="test_dir", epochs=1)

    return deployed
