"""Where events wait for the node: a bounded ring of messages beside a queue of presence."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque

from .base import Event, PeerDown, PeerUp, Received


class Mailbox:
    """Events from any thread, for one reader.

    Messages: at most `messages`, of `size` bytes together (the newest is always kept); older ones
    are dropped and counted. Presence is kept whole and read first, so that neither a flood nor a
    slow reader hides that a peer is gone.
    """

    def __init__(self, messages: int, size: int) -> None:
        self._limit, self._size_limit = messages, size
        self._ring: deque[Received] = deque()
        self._size = 0
        self._lock = threading.Lock()
        self._presence: deque[PeerUp | PeerDown] = deque()
        # One entry for everything that waits. Of the queues only this one may be used in a signal
        # handler that interrupts the reader inside it.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._woken = self._closed = False
        self._failure: Exception | None = None
        self._received = self._overflow = 0

    @property
    def received(self) -> int:
        """Messages that the reader has fetched."""
        return self._received

    @property
    def overflow(self) -> int:
        """Messages dropped because the reader was too slow."""
        return self._overflow

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def message(self, message: Received) -> None:
        """Add a message; drops the oldest ones where that is needed to keep the bounds."""
        with self._lock:
            dropped = 0
            self._ring.append(message)
            self._size += _size(message)
            while len(self._ring) > self._limit or (
                self._size > self._size_limit and len(self._ring) > 1
            ):
                self._size -= _size(self._ring.popleft())
                dropped += 1
            self._overflow += dropped
        # The bell's entries of dropped messages serve for those that replaced them.
        if not dropped:
            self._bell.put(None)

    def presence(self, event: PeerUp | PeerDown) -> None:
        """Add an event that must not get lost."""
        self._presence.append(event)
        self._bell.put(None)

    def fail(self, error: Exception) -> None:
        """Let this and every later `receive` raise `error`."""
        self._failure = error
        self._bell.put(None)

    def wake(self) -> None:
        """Let one `receive` return None."""
        if not self._woken:
            self._woken = True
            self._bell.put(None)

    def close(self) -> None:
        """Let this and every later `receive` return None."""
        self._closed = True
        self._bell.put(None)

    def receive(self, timeout_s: float | None) -> Event | None:
        """As `Transport.receive`."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            if self._interrupted():
                return None
            try:
                if end is None:
                    self._bell.get()
                else:
                    self._bell.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return None
            if self._interrupted():
                return None
            if self._presence:
                return self._presence.popleft()
            with self._lock:
                if self._ring:
                    message = self._ring.popleft()
                    self._size -= _size(message)
                    self._received += 1
                    return message

    def _interrupted(self) -> bool:
        if self._closed:
            return True
        if self._failure is not None:
            raise self._failure
        if self._woken:
            self._woken = False
            return True
        return False


def _size(message: Received) -> int:
    return len(message.header) + len(message.payload)
