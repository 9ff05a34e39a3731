import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.testbed.feed import golden_views
from tests.commands import Deployed


def test_every_sensor_has_as_many_views(small_deployed: Deployed) -> None:
    bundle = Bundle(small_deployed.bundle)
    views = golden_views(bundle.folder, bundle.nodes)
    assert set(views) == {"cam0", "cam1"}
    counts = {len(x) for x in views.values()}
    assert len(counts) == 1
    assert counts.pop() > 1
    assert all(x.dtype == np.float32 for x in views.values())


def test_views_that_cannot_be_read(small_deployed: Deployed, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_deployed.bundle, tmp_path / "bundle"))
    bundle = Bundle(copy)
    (copy / "nodes" / "left" / "golden.npz").unlink()
    with pytest.raises(InputError, match=r"golden\.npz: cannot be read"):
        golden_views(copy, bundle.nodes)
    with pytest.raises(InputError, match="give --data"):
        golden_views(copy, {})
