"""Who holds a node's name: the rules of one process, as a state machine without a clock.

1. A name whose token is seen alive is taken. The token of a process that was cut off without a
   word outlives it by a lease, so a newcomer is patient for a little longer than that.
2. A token is declared only to somebody: while nobody can be reached the name is held provisionally,
   and the check is made once the first link is up.
3. A process that was paused, or lost all its links, has lost its token. It withdraws what is left
   of it before anybody is misled, checks as a newcomer does, and rejoins under a new incarnation.
4. Where two tokens stand all the same (both started within a moment; both halves of a network that
   was split), the lower incarnation keeps the name: it has held it longer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Declare:
    """Show a token with this incarnation."""

    incarnation: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take the token back."""

    incarnation: int


@dataclass(frozen=True, slots=True)
class Lose:
    """The name belongs to the process with incarnation `other`; take back a token of our own."""

    other: int


Action = Declare | Withdraw | Lose


class NameLease:
    """One process's claim to one name. All times are in seconds, `now` of a clock that rises.

    `lease_s`: after how long without a sign of life the others drop our token. `settle_s`: how
    long the tokens of a peer may take to arrive once a link to it is up. `draw`: a new incarnation.

    `step` must be called at every change and at least every quarter of a lease.
    """

    def __init__(self, lease_s: float, settle_s: float, draw: Callable[[], int]) -> None:
        self._lease, self._settle, self._draw = lease_s, settle_s, draw
        self._state: Literal["free", "checking", "isolated", "held", "lost"] = "free"
        self._since = 0.0
        self._rival_since: float | None = None
        self._last_step: float | None = None
        self._suspect_until = 0.0
        self._links_lost = 0
        self._linked = False
        self._drawn: set[int] = set()
        self.incarnation: int | None = None

    @property
    def settled(self) -> bool:
        """Whether the name is held, be it provisionally."""
        return self._state in ("held", "isolated")

    def claim(self, now: float) -> None:
        """Start to take the name."""
        self._renew()
        self._check(now)

    def step(
        self, now: float, *, links: int, links_lost: int, tokens: frozenset[int]
    ) -> Action | None:
        """What to do now; call again until it is None.

        `links`: transports that are up; `links_lost`: how many went down since the start;
        `tokens`: the incarnations of the name whose tokens are seen.
        """
        interrupted = self._was_interrupted(now, links_lost)
        rivals = tokens - self._drawn
        if self._state == "held":
            if not links or interrupted:
                assert self.incarnation is not None
                withdrawn = self.incarnation
                self._renew()
                self._check(now)
                return Withdraw(withdrawn)
            return self._contend(now, rivals)
        if self._state == "isolated" and links:
            self._check(now)
        if self._state == "checking":
            return self._inspect(now, links, rivals)
        return None

    def _inspect(self, now: float, links: int, rivals: frozenset[int]) -> Action | None:
        if rivals:
            if self._rival_since is None:
                self._rival_since = now
            if now - self._rival_since >= 1.5 * self._lease:
                return self._lose(max(rivals))
            return None
        if links and not self._linked:
            # What the first peer knows is still on its way.
            self._since = now
        self._linked = bool(links)
        if self._rival_since is not None:
            # It went just now; who took its place has not been seen yet.
            self._check(now)
        if now - self._since < self._settle:
            return None
        if not links:
            self._state = "isolated"
            return None
        self._state, self._since, self._rival_since = "held", now, None
        assert self.incarnation is not None
        return Declare(self.incarnation)

    def _contend(self, now: float, rivals: frozenset[int]) -> Action | None:
        assert self.incarnation is not None
        older = [rival for rival in rivals if rival < self.incarnation]
        if not older:
            self._rival_since = None
            return None
        if self._rival_since is None:
            self._rival_since = now
        # A process that comes out of a pause shows its old token until it notices (rule 3), which
        # must not cost us the name.
        if now - self._rival_since >= self._lease:
            return self._lose(min(older))
        return None

    def _was_interrupted(self, now: float, links_lost: int) -> bool:
        # Nearly a lease between two steps: we were paused, or were only slow (an import that kept
        # the interpreter's lock). A link that broke meanwhile tells the two apart; the news of it
        # may come just after.
        gap = 0.0 if self._last_step is None else now - self._last_step
        self._last_step = now
        if gap >= 0.7 * self._lease:
            self._suspect_until = now + self._settle
        elif now > self._suspect_until:
            self._links_lost = links_lost
            return False
        if links_lost > self._links_lost:
            self._links_lost, self._suspect_until = links_lost, 0.0
            return True
        return False

    def _check(self, now: float) -> None:
        self._state, self._since, self._rival_since = "checking", now, None
        self._linked = True

    def _renew(self) -> None:
        self.incarnation = self._draw()
        self._drawn.add(self.incarnation)

    def _lose(self, other: int) -> Lose:
        self._state = "lost"
        return Lose(other)
