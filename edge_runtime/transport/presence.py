"""Which incarnation of each node is there, from tokens that come and go."""

from __future__ import annotations

from .base import PeerDown, PeerUp

__all__ = ["Presence"]


class Presence:
    """Tokens seen, turned into events: at most one incarnation of a node is up at a time.

    For a moment two tokens of one node may be alive: that of a process that was cut off without a
    word lives on for a lease. The newest number is the one reported.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, set[int]] = {}

    def tokens(self, node: str) -> frozenset[int]:
        """All incarnations of a node whose tokens are alive."""
        return frozenset(self._tokens.get(node, ()))

    def clear(self) -> list[PeerUp | PeerDown]:
        """All tokens went; the events that follow from it."""
        pairs = [(node, number) for node, tokens in self._tokens.items() for number in tokens]
        # From below, so that no other of the same node comes up for a moment.
        return [event for pair in sorted(pairs) for event in self.down(*pair)]

    def up(self, node: str, incarnation: int) -> list[PeerUp | PeerDown]:
        """A token appeared; the events that follow from it."""
        tokens = self._tokens.setdefault(node, set())
        before = max(tokens, default=None)
        tokens.add(incarnation)
        return _change(node, before, max(tokens))

    def down(self, node: str, incarnation: int) -> list[PeerUp | PeerDown]:
        """A token went; the events that follow from it."""
        tokens = self._tokens.get(node, set())
        before = max(tokens, default=None)
        tokens.discard(incarnation)
        if not tokens:
            self._tokens.pop(node, None)
        return _change(node, before, max(tokens, default=None))


def _change(node: str, before: int | None, after: int | None) -> list[PeerUp | PeerDown]:
    events: list[PeerUp | PeerDown] = []
    if before != after:
        if before is not None:
            events.append(PeerDown(node, before))
        if after is not None:
            events.append(PeerUp(node, after))
    return events
