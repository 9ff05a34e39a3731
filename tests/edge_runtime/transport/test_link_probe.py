import pytest

from edge_runtime.transport.link_probe import LinkProbe


def test_whole_links_are_asked_once() -> None:
    doubt = LinkProbe()
    assert doubt.linked(0)
    assert doubt.ended(0, answered=True) is None


def test_a_link_that_comes_during_a_question_is_asked_afterwards() -> None:
    doubt = LinkProbe()
    assert doubt.linked(0)
    assert not doubt.linked(0)
    assert not doubt.linked(0)
    assert doubt.ended(0, answered=True) == "ask"
    assert doubt.ended(0, answered=True) is None
    assert doubt.linked(0)


def test_a_link_that_does_not_answer_twice_is_half_a_link() -> None:
    doubt = LinkProbe()
    doubt.linked(3)
    assert doubt.ended(3, answered=False) == "ask"
    assert doubt.ended(3, answered=False) == "open again"
    assert doubt.linked(3)
    assert doubt.ended(3, answered=False) == "ask", "counted from the beginning"


@pytest.mark.parametrize("lost", [1, 2])
def test_a_question_during_which_a_link_went_proves_nothing(lost: int) -> None:
    doubt = LinkProbe()
    doubt.linked(0)
    assert doubt.ended(0, answered=False) == "ask"
    for links_lost in range(lost, 10 * lost, lost):
        assert doubt.ended(links_lost, answered=False) == "ask"
    assert doubt.ended(9 * lost, answered=False) == "open again"


def test_an_answer_settles_it() -> None:
    doubt = LinkProbe()
    doubt.linked(0)
    assert doubt.ended(0, answered=False) == "ask"
    assert doubt.ended(0, answered=True) is None
    assert doubt.linked(0)
    assert doubt.ended(0, answered=False) == "ask"
