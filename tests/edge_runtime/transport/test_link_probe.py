import pytest

from edge_runtime.transport.link_probe import LinkProbe


def asks(probe: LinkProbe, now: float, *, links: int = 1, links_lost: int = 0) -> bool:
    return probe.asks(now, links=links, links_lost=links_lost)


def test_whole_links_are_asked_once_a_period_without_end() -> None:
    """A question that was answered before a link counted proves nothing about it."""
    probe = LinkProbe(2.0)
    for now in (10.0, 12.0, 14.0):
        assert asks(probe, now)
        assert not asks(probe, now + 5), "one question at a time"
        assert not probe.ended(answered=True, links_lost=0)
        assert not asks(probe, now + 1.9)


def test_nobody_is_asked_where_nobody_is_linked() -> None:
    probe = LinkProbe(2.0)
    assert not asks(probe, 10.0, links=0)
    assert asks(probe, 10.1)


def test_a_link_that_does_not_answer_twice_is_half_a_link() -> None:
    probe = LinkProbe(2.0)
    assert asks(probe, 10.0, links_lost=3)
    assert not probe.ended(answered=False, links_lost=3)
    assert asks(probe, 11.0, links_lost=3), "at once"
    assert probe.ended(answered=False, links_lost=3)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_question_during_which_a_link_went_proves_nothing(lost: int) -> None:
    probe = LinkProbe(2.0)
    assert asks(probe, 0.0)
    assert not probe.ended(answered=False, links_lost=0)
    for links_lost in range(0, 10 * lost, lost):
        assert asks(probe, 0.0, links_lost=links_lost)
        assert not probe.ended(answered=False, links_lost=links_lost + lost)
    assert asks(probe, 0.0, links_lost=10 * lost)
    assert probe.ended(answered=False, links_lost=10 * lost)


def test_an_answer_settles_it() -> None:
    probe = LinkProbe(2.0)
    assert asks(probe, 0.0)
    assert not probe.ended(answered=False, links_lost=0)
    assert asks(probe, 0.0)
    assert not probe.ended(answered=True, links_lost=0)
    assert asks(probe, 2.0)
    assert not probe.ended(answered=False, links_lost=0)
