"""Configurations drawn from *low*, made real, for as many frames as DDNN_LIVE says."""

import json
import os
from collections.abc import Callable

import pytest

from tests.commands import Deployed
from tests.end_to_end.live import command

FRAMES = int(os.environ.get("DDNN_LIVE", "0"))


@pytest.mark.skipif(not FRAMES, reason="takes minutes; DDNN_LIVE=2000 says for how many frames")
@pytest.mark.parametrize("name", ["poster-residual", "poster-edge-skip"])
def test_measured_accuracy_is_the_expected_one(
    poster_deployed: Callable[[str], Deployed], name: str
) -> None:
    it = poster_deployed(name)
    drawn = ("--survival", "low", "--seed", "7", "--hold", "1s", "--frames", str(FRAMES))
    with command("up", it.bundle, "--data", it.test, "--fps", "30", *drawn, "--json") as up:
        # A second of frames takes three or four.
        out, err = up.communicate(timeout=600 + FRAMES)
    assert (up.returncode, err) == (0, "")
    found = json.loads(out)
    assert (found["frames"], found["crashes"]) == (FRAMES, [])
    assert (found["agreement"], found["mixed_frames"], found["duplicates"]) == (1.0, 0, 0)
    assert found["unanswered"] <= 0.01 * found["answerable"]
    assert found["interval"][0] <= found["measured_accuracy"] <= found["interval"][1]
