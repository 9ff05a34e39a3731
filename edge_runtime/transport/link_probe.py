"""Whether a link is only half there: from questions that every linked peer has to answer.

Zenoh 1.10.2 drops an attempt to open a link when its time is up, at whatever point it is. Between
the moment at which a transport begins to send and that at which it begins to receive, this leaves
half a link: the other side sees a healthy peer and takes no second link of it, and this side hears
nothing, for good. A question about all tokens then ends by its timeout; on whole links it is
answered at once, since each peer tells what it holds when its link comes up.

A question may be answered before Zenoh counts the link that has just come up, so questions go on
for as long as a link is up.
"""

from __future__ import annotations

import math

#: Questions that must stay unanswered, without an answered one between them.
ENOUGH = 2


class LinkProbe:
    """When to ask, and when to open the session again.

    `period_s`: from one question to the next, and how long an answer may take. `now`: seconds, of
    a clock that never goes back. `links_lost`: how many links went down since the start. A question
    during which one did proves nothing: the answer of a peer that hangs or is cut off does not
    come, either.
    """

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._asking = False
        self._due = -math.inf
        self._unanswered = self._links_lost = 0

    def asks(self, now: float, *, links: int, links_lost: int) -> bool:
        """Whether to ask now; `ended` must follow."""
        if self._asking or not links or now < self._due:
            return False
        self._asking, self._links_lost = True, links_lost
        self._due = now + self.period_s
        return True

    def ended(self, *, answered: bool, links_lost: int) -> bool:
        """A question was answered, or its time is up.

        Whether to open the session again, which begins with a new probe.
        """
        self._asking = False
        if answered:
            self._unanswered = 0
            return False
        self._due = -math.inf
        self._unanswered += links_lost == self._links_lost
        return self._unanswered >= ENOUGH
