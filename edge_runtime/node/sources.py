"""Where a sensor's views come from: a camera, a video, a folder of pictures, an .npz.

A view is the region asked for, cropped and resized to the sensor's shape, in the order red, green,
blue. Scaling is the artifact's. Nothing is detected: whatever the region shows is classified.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..arrays import Array, TensorSpec
from ..errors import InputError

#: Endings of what a folder of pictures may hold.
PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
#: Views of one source that are kept in memory, in bytes; more is for a video.
MOST_KEPT = 512 << 20
#: Seconds between two attempts to open a camera that went away.
RETRY_S = 1.0
#: Seconds after which the newest picture of a camera is no view of the present any more.
STALE_S = 1.0
#: Seconds that all cameras and videos together have to end. One that waits for a picture cannot be
#: woken, and a stream that stalls waits for half a minute; its thread then ends with the process.
CLOSE_S = 0.3


class Source(Protocol):
    """Where a hosted sensor's views come from."""

    @property
    def ended(self) -> bool:
        """Whether no view is to be expected, for good or until a camera is there again."""

    def read(self, frame: int) -> Array | None:
        """The view of a frame, without a batch axis; None where there is none. Does not wait."""

    def close(self) -> None:
        """Let it give back what it holds. Does not wait, and may be called again."""


class Region(NamedTuple):
    """The part of a picture that is classified, in its own pixels; `x`, `y` is the corner."""

    x: int
    y: int
    width: int
    height: int


class Capture(Protocol):
    """What of `cv2.VideoCapture` is used."""

    def isOpened(self) -> bool:  # noqa: N802
        """Whether there is something to read."""

    def read(self) -> tuple[bool, Array | None]:
        """Whether a picture came, and it, in the order blue, green, red."""

    def get(self, property: int) -> float:
        """A property by OpenCV's number."""

    def release(self) -> None:
        """Close it."""


def parse_region(text: str) -> Region:
    """A region from `x,y,width,height`, in pixels; `InputError` for anything else."""
    if not re.fullmatch(r"\d{1,6}(,\d{1,6}){3}", text):
        raise InputError(f"expected a region as x,y,width,height in pixels, got {text!r}")
    region = Region(*map(int, text.split(",")))
    if not (region.width and region.height):
        raise InputError(f"expected a region of at least one pixel, got {text!r}")
    return region


def open_source(
    spec: str,
    sensor: str,
    view: TensorSpec,
    region: Region | None = None,
    *,
    loop: bool = True,
    capture: Callable[[str], Capture] | None = None,
    unfit: Callable[[str], None] = lambda why: None,
) -> Source:
    """Open what `spec` names and see that it fits the sensor.

    A camera or a stream is opened by its own thread, and counts as ended until it is there: it may
    be plugged in later, and one that does not answer keeps nobody waiting.

    Args:
        spec: `/dev/video0`, a stream's address such as `rtsp://…`, a folder, an `.npz`, or any
            other file, taken for a video.
        sensor: the sensor's name; of an `.npz`, the array's.
        view: shape and type of one view.
        region: the part of each picture to use; the whole by default.
        loop: start again after the last sample, picture or frame of a video.
        capture: what opens a camera or a video; OpenCV by default.
        unfit: called by its thread, once, with why a camera's pictures are of no use.

    Raises:
        InputError: a file or a folder is not there, cannot be read, or cannot give such views; the
            sensor takes no pictures; OpenCV is missing.
    """
    path = Path(spec)
    fit = _Fit(sensor, view, region)
    if "://" in spec or _is_device(path):
        fit.check(spec)
        if capture is None:
            _cv2()  # so that it is said at once where that is missing
        return _Camera(spec, fit, capture or _open_cv2, unfit=unfit)
    if path.is_dir():
        return _Series(_pictures(path, fit), loop)
    if not path.is_file():
        raise InputError(
            f"--source {sensor}={spec}: not found; expected a camera such as /dev/video0, a video, "
            "a folder of pictures, or an .npz"
        )
    if path.suffix == ".npz":
        return _Series(_array(path, fit), loop)
    return _Camera(spec, fit, capture or _open_cv2, video=True, loop=loop)


def close_sources(sources: Iterable[Source], wait_s: float = CLOSE_S) -> None:
    """Close all of them, and give those that threads read `wait_s` seconds in all to end."""
    sources = tuple(sources)
    for source in sources:
        source.close()
    end = time.monotonic() + wait_s
    for source in sources:
        if isinstance(source, _Camera):
            source.join(max(0.0, end - time.monotonic()))


class _Fit:
    """Turns pictures into views of a sensor."""

    def __init__(self, sensor: str, view: TensorSpec, region: Region | None) -> None:
        self.sensor, self.view, self.region = sensor, view, region

    def check(self, where: str) -> None:
        """`InputError` for a sensor to which no picture fits."""
        shape = self.view.shape
        if self.view.dtype != "uint8" or len(shape) != 3 or shape[2] != 3:
            raise InputError(
                f"sensor {self.sensor!r} wants {self.view.dtype} {list(shape)}, which no picture "
                f"gives ({where}); its source must be an .npz"
            )

    def picture(self, picture: Array, where: str) -> Array:
        """The view of a picture, (height, width, 3), uint8, red first."""
        self.check(where)
        shape = self.view.shape
        if self.region is not None:
            x, y, width, height = self.region
            if y + height > picture.shape[0] or x + width > picture.shape[1]:
                raise InputError(
                    f"--region {self.sensor}={','.join(map(str, self.region))} reaches past the "
                    f"picture of {picture.shape[1]}x{picture.shape[0]} pixels ({where})"
                )
            picture = picture[y : y + height, x : x + width]
        if picture.shape != shape:
            cv2 = _cv2()
            shrinks = picture.shape[0] * picture.shape[1] > shape[0] * shape[1]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
            picture = cv2.resize(picture, (shape[1], shape[0]), interpolation=how)
        return np.ascontiguousarray(picture)


class _Series:
    """Views in memory, one a frame: of frame id modulo their number."""

    def __init__(self, views: Array, loop: bool) -> None:
        self._views, self._loop = views, loop
        self._begun: int | None = None
        self.ended = False

    def read(self, frame: int) -> Array | None:
        """As in `Source`."""
        if not self._loop:
            self._begun = frame if self._begun is None else self._begun
            frame -= self._begun
            if frame >= len(self._views):
                self.ended = True
                return None
        view: Array = self._views[frame % len(self._views)]
        return view

    def close(self) -> None:
        """As in `Source`."""


class _Camera:
    """The newest picture of something that gives them at its own pace, read by a thread."""

    def __init__(
        self,
        spec: str,
        fit: _Fit,
        capture: Callable[[str], Capture],
        *,
        video: bool = False,
        loop: bool = True,
        unfit: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._spec, self._fit, self._open = spec, fit, capture
        self._video, self._loop = video, loop
        self._unfit, self._fits = unfit, True
        self._newest: tuple[Array, float] | None = None
        self._closing = threading.Event()
        opened = None
        if video:
            opened = self._attempt()
            if opened is None:
                raise InputError(
                    f"--source {fit.sensor}={spec}: cannot be read as a video; expected a camera "
                    "such as /dev/video0, a video, a folder of pictures, or an .npz"
                )
        self.ended = opened is None
        self._thread = threading.Thread(
            target=self._keep, args=(opened,), name=f"source {fit.sensor}", daemon=True
        )
        self._thread.start()

    def read(self, frame: int) -> Array | None:
        """As in `Source`."""
        newest = self._newest
        if newest is None or time.monotonic() - newest[1] > STALE_S:
            return None
        return newest[0]

    def close(self) -> None:
        """As in `Source`."""
        self._closing.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, once it was told to end."""
        self._thread.join(timeout_s)

    def _attempt(self) -> Capture | None:
        """Open it, with a first picture; None where that fails."""
        capture = self._open(self._spec)
        if capture.isOpened():
            came, picture = capture.read()
            if came and picture is not None:
                try:
                    self._keep_picture(picture)
                except InputError:
                    capture.release()
                    raise
                return capture
        capture.release()
        return None

    def _keep_picture(self, picture: Array) -> None:
        if picture.ndim == 2:
            picture = np.repeat(picture[:, :, None], 3, axis=2)
        view = self._fit.picture(picture[:, :, ::-1], self._spec)
        self._newest = view, time.monotonic()

    def _keep(self, capture: Capture | None) -> None:
        """Follow it, and open it again and again while it is away."""
        while not self._closing.is_set():
            if capture is None:
                with self._fitting():
                    capture = self._attempt()
                self.ended = capture is None
            else:
                # A camera may change to smaller pictures, which the region does not fit.
                with self._fitting():
                    self._follow(capture)
                capture.release()
                capture = None
                if self._video and not self._loop:
                    break
                # A camera is away, perhaps unplugged; a video begins again.
                self.ended = not self._video
            if self.ended:
                self._closing.wait(RETRY_S)
        self.ended = True
        if capture is not None:
            capture.release()

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        """Go on where pictures do not fit, and say it once."""
        try:
            yield
        except InputError as error:
            if self._fits:
                self._fits = False
                self._unfit(str(error))

    def _follow(self, capture: Capture) -> None:
        """Keep the newest picture until there is none."""
        rate = capture.get(_FRAMES_A_SECOND) if self._video else 0.0
        # A camera paces itself, a file does not.
        pause = 1 / rate if 0 < rate < 1000 else 1 / 30 if self._video else 0.0
        due = time.monotonic() + pause
        while not self._closing.is_set():
            if pause:
                if self._closing.wait(max(0.0, due - time.monotonic())):
                    return
                due += pause
            came, picture = capture.read()
            if not came or picture is None:
                return
            self._keep_picture(picture)


#: `cv2.CAP_PROP_FPS`
_FRAMES_A_SECOND = 5


def _is_device(path: Path) -> bool:
    return path.is_char_device() or re.fullmatch(r"/dev/video\d+", str(path)) is not None


def _array(path: Path, fit: _Fit) -> Array:
    # Here, since a camera needs none of it.
    from ..samples import DAMAGED, NoArchiveError, npz_archive

    name, view = fit.sensor, fit.view
    try:
        with path.open("rb") as file, npz_archive(file) as archive:
            if name not in archive:
                raise InputError(
                    f"--source {name}={path}: it holds no array {name!r}, but "
                    f"{', '.join(sorted(archive.files)) or 'nothing'}"
                )
            views: Array = archive[name]
    except InputError:
        raise
    except NoArchiveError as error:
        raise InputError(f"--source {name}={path}: is no .npz archive") from error
    except (OSError, *DAMAGED) as error:
        raise InputError(f"--source {name}={path}: cannot be read ({error})") from error
    if not len(views):
        raise InputError(f"--source {name}={path}: its array {name!r} is empty")
    if views.dtype != view.dtype or views.ndim != len(view.shape) + 1:
        raise InputError(
            f"--source {name}={path}: expected {view.dtype} (samples, "
            f"{', '.join(map(str, view.shape))}), got {views.dtype} {views.shape}"
        )
    if fit.region is None and views.shape[1:] == view.shape:
        return views
    return _kept((fit.picture(x, str(path)) for x in views), fit, path, len(views))


def _pictures(folder: Path, fit: _Fit) -> Array:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    if not files:
        raise InputError(
            f"--source {fit.sensor}={folder}: it holds no pictures ({', '.join(sorted(PICTURES))})"
        )
    cv2 = _cv2()

    def views() -> Any:
        for file in files:
            picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if picture is None:
                raise InputError(f"--source {fit.sensor}={folder}: {file.name} is no picture")
            yield fit.picture(picture[:, :, ::-1], str(file))

    return _kept(views(), fit, folder, len(files))


def _kept(views: Any, fit: _Fit, path: Path, count: int) -> Array:
    size = count * int(np.prod(fit.view.shape)) * np.dtype(fit.view.dtype).itemsize
    if size > MOST_KEPT:
        raise InputError(
            f"--source {fit.sensor}={path}: {count} views take {size >> 20} MB of memory, more "
            f"than {MOST_KEPT >> 20}; use fewer, or make a video of them"
        )
    return np.stack(list(views))


def _open_cv2(spec: str) -> Capture:
    cv2 = _cv2()
    capture: Capture = cv2.VideoCapture(spec)
    return capture


def _cv2() -> Any:
    # Read once, when it is loaded. Libraries below it print what went wrong; we say it ourselves.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise InputError(
            'reading cameras, videos and pictures needs OpenCV: pip install "ddnn-tf[camera]"'
        ) from error
    cv2.setNumThreads(1)  # the other cores are the sections'
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
