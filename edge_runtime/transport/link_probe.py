"""Whether a link is only half there: from questions that every linked peer has to answer.

Zenoh 1.10.2 drops an attempt to open a link when its time is up, at whatever point it is. Between
the moment at which a transport begins to send and that at which it begins to receive, this leaves
half a link: the other side sees a healthy peer and takes no second link of it, and this side hears
nothing, for good. A question about all tokens then ends by its timeout; on whole links it is
answered at once, since each peer tells what it holds when its link comes up.
"""

from __future__ import annotations

from typing import Literal

#: Questions in a row that must stay unanswered.
ENOUGH = 2


class LinkProbe:
    """When to ask, and when to open the session again.

    `links_lost`: how many links went down since the start. A question during which one did proves
    nothing: the answer of a peer that hangs or is cut off does not come, either.
    """

    def __init__(self) -> None:
        self._asking = self._again = False
        self._unanswered = self._links_lost = 0

    def linked(self, links_lost: int) -> bool:
        """A link came up. Whether to ask now; what was asked before does not cover it."""
        if self._asking:
            self._again = True
            return False
        return self._ask(links_lost)

    def ended(self, links_lost: int, *, answered: bool) -> Literal["ask", "open again"] | None:
        """A question was answered, or its time is up; what to do now."""
        self._asking = False
        if answered:
            self._unanswered = 0
        elif links_lost == self._links_lost:
            self._unanswered += 1
        if self._unanswered >= ENOUGH:
            self._again, self._unanswered = False, 0
            return "open again"
        if self._again or not answered:
            self._ask(links_lost)
            return "ask"
        return None

    def _ask(self, links_lost: int) -> bool:
        self._asking, self._again, self._links_lost = True, False, links_lost
        return True
