"""Which incarnation of each node is there, from tokens that come and go."""

from __future__ import annotations

from .base import PeerDown, PeerUp


class Presence:
    """Tokens seen, turned into events: at most one incarnation of a node is up at a time.

    Two tokens of one node may be alive: that of a process that was cut off without a word lives on
    for a lease, and somebody may claim a name that is taken. The first one seen keeps the name
    until its token goes, and then the lowest number left, as in `NameLease`: who claims a name
    cannot silence who holds it.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, set[int]] = {}
        self._holders: dict[str, int] = {}

    def tokens(self, node: str) -> frozenset[int]:
        """All incarnations of a node whose tokens are alive."""
        return frozenset(self._tokens.get(node, ()))

    def clear(self) -> list[PeerUp | PeerDown]:
        """All tokens went; the events that follow from it."""
        events: list[PeerUp | PeerDown] = [PeerDown(*one) for one in sorted(self._holders.items())]
        self._tokens.clear()
        self._holders.clear()
        return events

    def up(self, node: str, incarnation: int) -> list[PeerUp | PeerDown]:
        """A token appeared; the events that follow from it."""
        self._tokens.setdefault(node, set()).add(incarnation)
        if node in self._holders:
            return []
        self._holders[node] = incarnation
        return [PeerUp(node, incarnation)]

    def down(self, node: str, incarnation: int) -> list[PeerUp | PeerDown]:
        """A token went; the events that follow from it."""
        tokens = self._tokens.get(node, set())
        tokens.discard(incarnation)
        if not tokens:
            self._tokens.pop(node, None)
        if self._holders.get(node) != incarnation:
            return []
        del self._holders[node]
        events: list[PeerUp | PeerDown] = [PeerDown(node, incarnation)]
        if tokens:
            self._holders[node] = min(tokens)
            events.append(PeerUp(node, self._holders[node]))
        return events
