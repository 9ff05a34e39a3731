import builtins
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.arrays import Array, TensorSpec
from edge_runtime.errors import InputError
from edge_runtime.node import sources
from edge_runtime.node.sources import Region, Source, close_sources, open_source, parse_region
from edge_runtime.process.launch import environment
from tests import commands

PICTURE = TensorSpec((4, 4, 3), "uint8")
VECTOR = TensorSpec((3,), "float32")
#: Seconds within which a thread must have done what it was given.
LIMIT = 30.0


def until(condition: Callable[[], Any]) -> Any:
    """The first true value of a condition."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if value := condition():
            return value
        threading.Event().wait(0.005)
    raise AssertionError("it did not come about")


def color(red: int, green: int = 0, blue: int = 0, size: tuple[int, int] = (4, 4)) -> Array:
    """A picture of one color, red first."""
    return np.full((*size, 3), (red, green, blue), np.uint8)


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_source(*arguments, **options)
    return str(caught.value)


# -- an .npz ---------------------------------------------------------------------------------------


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    path = tmp_path / "views.npz"
    pictures = np.stack([color(10 * i) for i in range(5)])
    large = np.zeros((2, 8, 12, 3), np.uint8)
    large[:, 4:, 8:] = 200
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(path, cam0=pictures, cam1=large, mic=vectors, none=pictures[:0], flat=vectors[0])
    return path


def test_an_npz_gives_the_sample_of_the_frames_number_modulo_theirs(npz: Path) -> None:
    source = open_source(str(npz), "cam0", PICTURE)
    for frame in (0, 4, 5, 123_456_789):
        view = source.read(frame)
        assert view is not None
        assert view.shape == (4, 4, 3)
        assert view.dtype == "uint8"
        assert view[0, 0, 0] == 10 * (frame % 5)
    assert not source.ended
    source.close()


def test_an_npz_may_end_instead(npz: Path) -> None:
    source = open_source(str(npz), "mic", VECTOR, loop=False)
    first, second, none = (source.read(frame) for frame in (7, 8, 9))
    assert first is not None
    assert second is not None
    assert (first.tolist(), second.tolist(), none) == ([0, 1, 2], [3, 4, 5], None)
    assert source.ended


def test_a_region_of_an_npz_is_cropped_and_resized(npz: Path) -> None:
    found = open_source(str(npz), "cam1", PICTURE, Region(8, 4, 4, 4)).read(0)
    assert found is not None
    assert (found == 200).all()
    whole = open_source(str(npz), "cam1", PICTURE).read(0)
    assert whole is not None
    assert whole.shape == (4, 4, 3)
    assert whole[0, 0, 0] == 0
    assert whole[3, 3, 0] == 200


@pytest.mark.parametrize(
    ("sensor", "view", "region", "message"),
    [
        ("cam7", PICTURE, None, "no array 'cam7', but cam0, cam1, flat, mic, none"),
        ("none", PICTURE, None, "'none' is empty"),
        ("mic", PICTURE, None, "expected uint8 (samples, 4, 4, 3), got float32 (2, 3)"),
        ("cam0", TensorSpec((4, 4, 3), "float32"), None, "expected float32"),
        ("flat", VECTOR, None, "got float32 (3,)"),
        ("mic", VECTOR, Region(0, 0, 1, 1), "which no picture gives"),
        ("cam0", PICTURE, Region(3, 0, 2, 2), "reaches past the picture of 4x4 pixels"),
    ],
)
def test_an_array_that_does_not_fit(
    npz: Path, sensor: str, view: TensorSpec, region: Region | None, message: str
) -> None:
    assert message in refused(str(npz), sensor, view, region)


def test_a_damaged_npz(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 cut off")
    assert "x.npz: cannot be read" in refused(str(tmp_path / "x.npz"), "cam0", PICTURE)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x93NUMPY"])
def test_what_is_no_npz_is_called_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    message = refused(str(tmp_path / "x.npz"), "cam0", PICTURE)
    assert message.endswith("x.npz: is no .npz archive")


def test_what_is_not_there() -> None:
    assert "cam0=nowhere: not found; expected a camera such as /dev/video0" in refused(
        "nowhere", "cam0", PICTURE
    )


# -- pictures --------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, red in enumerate((0, 80, 160)):
        # OpenCV writes blue first.
        picture = color(red, 20, 40, size=(8, 8))[:, :, ::-1]
        assert cv2.imwrite(str(folder / f"{i}.png"), picture)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_of_pictures_is_read_by_name_and_red_first(pictures: Path) -> None:
    source = open_source(str(pictures), "cam0", PICTURE)
    for frame, red in enumerate((0, 80, 160, 0)):
        view = source.read(frame)
        assert view is not None
        assert (view == color(red, 20, 40)).all()


def test_pictures_may_grow_and_be_cut(pictures: Path) -> None:
    view = open_source(str(pictures), "cam0", TensorSpec((16, 16, 3), "uint8")).read(0)
    assert view is not None
    assert view.shape == (16, 16, 3)
    cut = open_source(str(pictures), "cam0", PICTURE, Region(1, 2, 4, 4)).read(1)
    assert cut is not None
    assert (cut == color(80, 20, 40)).all()


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    assert "it holds no pictures" in refused(str(tmp_path), "cam0", PICTURE)


def test_a_picture_that_is_none(pictures: Path) -> None:
    (pictures / "3.png").write_text("no picture")
    assert "3.png is no picture" in refused(str(pictures), "cam0", PICTURE)


def test_more_pictures_than_memory_is_meant_for(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MOST_KEPT", 100)
    assert "make a video of them" in refused(str(pictures), "cam0", PICTURE)


def test_a_float_sensor_takes_no_pictures(pictures: Path) -> None:
    message = refused(str(pictures), "cam0", TensorSpec((4, 4, 3), "float32"))
    assert "its source must be an .npz" in message


def test_without_opencv_the_error_says_how_to_install_it(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "cv2":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert 'pip install "ddnn-tf[camera]"' in refused(str(pictures), "cam0", PICTURE)


# -- videos ----------------------------------------------------------------------------------------


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, (32, 32))
    assert writer.isOpened()
    for red in (40, 120, 200):
        writer.write(color(red, size=(32, 32))[:, :, ::-1])
    writer.release()
    return path


def test_a_video_is_played_again_and_again(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "STALE_S", LIMIT)
    source = open_source(str(video), "cam0", PICTURE)
    seen: list[int] = []

    def thrice() -> bool:
        view = source.read(0)
        assert view is not None
        red = round(int(view[0, 0, 0]) / 40) * 40
        if not seen or seen[-1] != red:
            seen.append(red)
        # Which pictures are met depends on the machine; that there are earlier ones after later
        # ones does not.
        return sum(a > b for a, b in pairwise(seen)) >= 2

    try:
        until(thrice)
        assert not source.ended
    finally:
        source.close()


def test_a_video_may_end(video: Path) -> None:
    source = open_source(str(video), "cam0", PICTURE, loop=False)
    try:
        assert until(lambda: source.ended)
    finally:
        source.close()


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("no video")
    assert "cannot be read as a video" in refused(str(tmp_path / "clip.mp4"), "cam0", PICTURE)


# -- cameras ---------------------------------------------------------------------------------------


class FakeCamera:
    """A camera whose pictures and whose being there the test decides."""

    def __init__(self) -> None:
        self.there, self.red, self.size = True, 10, (4, 4)
        self.given = 0
        self.released = 0
        self.hung, self.hangs = threading.Event(), threading.Event()
        self.hung.set()
        self.delay = 0.002

    def __call__(self, spec: str) -> "FakeCamera":
        assert spec == "/dev/video7"
        return self

    def isOpened(self) -> bool:  # noqa: N802
        return self.there

    def read(self) -> tuple[bool, Array | None]:
        threading.Event().wait(self.delay)
        if not self.hung.is_set():
            self.hangs.set()
            assert self.hung.wait(LIMIT)
        if not self.there:
            return False, None
        self.given += 1
        return True, color(self.red, size=self.size)[:, :, ::-1]

    def get(self, property: int) -> float:
        raise AssertionError("a camera paces itself")

    def release(self) -> None:
        self.released += 1


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> FakeCamera:
    monkeypatch.setattr(sources, "RETRY_S", 0.01)
    monkeypatch.setattr(sources, "STALE_S", LIMIT)
    return FakeCamera()


@pytest.fixture
def source(camera: FakeCamera) -> Iterator[Source]:
    found = open_source("/dev/video7", "cam0", PICTURE, capture=camera)
    assert until(lambda: not found.ended)
    yield found
    close_sources([found], LIMIT)


def red_of(source: Source) -> int | None:
    view = source.read(0)
    return None if view is None else int(view[0, 0, 0])


def test_a_camera_gives_its_newest_picture_at_once(camera: FakeCamera, source: Source) -> None:
    assert red_of(source) == 10
    camera.red = 99
    assert until(lambda: red_of(source) == 99)
    assert not source.ended


def test_a_camera_that_goes_away_has_ended_until_it_is_back(
    camera: FakeCamera, source: Source
) -> None:
    camera.there = False
    assert until(lambda: source.ended)
    camera.red, camera.there = 50, True
    assert until(lambda: not source.ended)
    assert until(lambda: red_of(source) == 50)
    assert camera.released >= 1


def test_a_camera_that_hangs_gives_no_old_picture(
    camera: FakeCamera, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "STALE_S", 0.05)
    camera.delay = 0.2
    assert until(lambda: red_of(source) is None)
    camera.delay = 0.002
    assert until(lambda: red_of(source) == 10)


def test_a_camera_that_returns_with_smaller_pictures_stays_away(camera: FakeCamera) -> None:
    why: list[str] = []
    region = Region(2, 2, 2, 2)
    source = open_source("/dev/video7", "cam0", PICTURE, region, capture=camera, unfit=why.append)
    try:
        assert until(lambda: not source.ended)
        camera.there = False
        assert until(lambda: source.ended)
        camera.size, camera.there = (3, 3), True
        given = camera.given
        assert until(lambda: camera.given > given + 3)
        assert source.ended
        # Once, not with every attempt.
        assert len(why) == 1
        assert "reaches past the picture of 3x3 pixels" in why[0]
        camera.size = (4, 4)
        assert until(lambda: not source.ended)
    finally:
        close_sources([source], LIMIT)


def test_a_camera_whose_pictures_shrink_while_it_runs_has_ended(camera: FakeCamera) -> None:
    source = open_source("/dev/video7", "cam0", PICTURE, Region(2, 2, 2, 2), capture=camera)
    try:
        assert until(lambda: not source.ended)
        camera.size = (3, 3)
        assert until(lambda: source.ended)
        camera.size = (4, 4)
        assert until(lambda: not source.ended)
    finally:
        close_sources([source], LIMIT)


def test_a_camera_that_is_not_there_has_ended_until_it_is(camera: FakeCamera) -> None:
    camera.there = False
    source = open_source("/dev/video7", "cam0", PICTURE, capture=camera)
    try:
        assert source.ended
        assert until(lambda: camera.released >= 2)  # tried again, and nothing left open
        assert source.ended
        camera.there = True
        assert until(lambda: not source.ended)
        assert red_of(source) == 10
    finally:
        close_sources([source], LIMIT)


def test_a_camera_that_does_not_answer_keeps_nobody_waiting(
    camera: FakeCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        raise AssertionError("closing waits")

    camera.hung.clear()
    source = open_source("/dev/video7", "cam0", PICTURE, capture=camera)
    assert camera.hangs.wait(LIMIT)
    assert source.ended
    assert source.read(0) is None
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "join", join)
        source.close()
        source.close()
    camera.hung.set()
    close_sources([source], LIMIT)
    assert camera.released == 1


def test_sources_are_all_told_to_close_before_any_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cameras = [FakeCamera(), FakeCamera()]
    found = [open_source("/dev/video7", "cam0", PICTURE, capture=camera) for camera in cameras]
    done: list[str] = []
    for name in ("close", "join"):
        real = getattr(sources._Camera, name)

        def noted(*arguments: Any, name: str = name, real: Any = real) -> None:
            done.append(name)
            real(*arguments)

        monkeypatch.setattr(sources._Camera, name, noted)
    close_sources(found, LIMIT)
    assert done == ["close", "close", "join", "join"]


def test_a_sensor_that_no_picture_fits_is_refused_at_once(camera: FakeCamera) -> None:
    message = refused("/dev/video7", "mic", VECTOR, capture=camera)
    assert "its source must be an .npz" in message


def test_a_camera_needs_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert 'pip install "ddnn-tf[camera]"' in refused("/dev/video987", "cam0", PICTURE)


OPEN = """
import sys
from edge_runtime.errors import InputError
from edge_runtime.arrays import TensorSpec
from edge_runtime.node.sources import _open_cv2, open_source

try:
    open_source(sys.argv[1], "cam0", TensorSpec((4, 4, 3), "uint8"))
except InputError:
    print("refused")
for camera in ("/dev/video987", "http://127.0.0.1:9/"):
    print(_open_cv2(camera).isOpened())
"""


def test_nobody_but_us_says_what_cannot_be_opened(tmp_path: Path) -> None:
    """In a process of its own, since OpenCV reads once whether it may print."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(bytes.fromhex("00000018667479706d703432") + b"cut off" * 9)
    ran = subprocess.run(
        [sys.executable, "-c", OPEN, str(clip)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        timeout=commands.LIMIT,
    )
    assert (ran.stdout.split(), ran.stderr) == (["refused", "False", "False"], "")


# -- regions ---------------------------------------------------------------------------------------


def test_a_region_is_read() -> None:
    assert parse_region("1,2,30,40") == Region(1, 2, 30, 40)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "-1,0,2,2", "1.5,0,2,2"])
def test_what_is_no_region(text: str) -> None:
    with pytest.raises(InputError, match="expected a region as x,y,width,height"):
        parse_region(text)


@pytest.mark.parametrize("text", ["0,0,0,4", "0,0,4,0"])
def test_an_empty_region(text: str) -> None:
    with pytest.raises(InputError, match="at least one pixel"):
        parse_region(text)
