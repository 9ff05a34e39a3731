import errno
import json
import os
import threading
from collections.abc import Iterator

import pytest

from edge_runtime.node import status as teller
from edge_runtime.node.status import StatusWriter

LIMIT = 30.0


class Reader:
    """What takes lines, five bytes at a time; it may hang, or fail."""

    def __init__(self) -> None:
        self.text = b""
        self.failures: list[OSError] = []
        self.reads, self.hangs = threading.Event(), threading.Event()
        self.reads.set()

    def __call__(self, data: bytes) -> int:
        if not self.reads.is_set():
            self.hangs.set()
            assert self.reads.wait(LIMIT)
        if self.failures:
            raise self.failures.pop()
        self.text += data[:5]
        return len(data[:5])

    @property
    def lines(self) -> list[str]:
        return self.text.decode().splitlines()


@pytest.fixture
def reader() -> Iterator[Reader]:
    found = Reader()
    yield found
    found.reads.set()


def test_lines_are_written_whole_and_in_order(reader: Reader) -> None:
    tell = StatusWriter("fog2", write=reader)
    tell("named", "fog2")
    tell("up", "edge1")
    tell("ended", "cam0")
    tell.close(LIMIT)
    assert reader.lines == [
        "fog2: ready",
        "fog2: edge1 is there",
        "fog2: cam0 has no source now; it is used once it is there",
    ]
    assert tell.lost == 0


def test_lines_may_be_objects(reader: Reader) -> None:
    tell = StatusWriter("fog2", as_json=True, write=reader)
    tell("refused", "edge1")
    tell.close(LIMIT)
    [line] = reader.lines
    assert json.loads(line) == {"node": "fog2", "event": "refused", "name": "edge1"}


def test_a_reader_that_hangs_keeps_nobody_waiting(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teller, "MOST_WAITING", 2)
    reader.reads.clear()
    tell = StatusWriter("fog2", write=reader)
    tell("up", "edge1")
    assert reader.hangs.wait(LIMIT)
    for _ in range(5):
        tell("down", "edge1")
    assert tell.lost == 3
    tell.close(LIMIT)  # at once, since what is full stays full
    reader.reads.set()


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_what_cannot_be_written_is_counted_and_told_of(reader: Reader, number: int) -> None:
    reader.failures = 2 * [OSError(number, os.strerror(number))]
    tell = StatusWriter("fog2", write=reader)
    tell("up", "edge1")
    tell("down", "edge1")
    tell("up", "edge1")
    tell.close(LIMIT)
    assert tell.lost == 2
    lost = "2 lines before this one were lost: nobody read them, or they could not be written"
    assert reader.lines == [f"fog2: {lost}", "fog2: edge1 is there"]
