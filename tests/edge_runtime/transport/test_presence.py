from edge_runtime.transport.base import PeerDown, PeerUp
from edge_runtime.transport.presence import Presence


def test_of_two_tokens_the_newest_is_reported() -> None:
    presence = Presence()
    assert presence.up("a", 5) == [PeerUp("a", 5)]
    assert presence.up("a", 7) == [PeerDown("a", 5), PeerUp("a", 7)]
    assert presence.up("a", 6) == []
    assert presence.down("a", 6) == []
    assert presence.down("a", 7) == [PeerDown("a", 7), PeerUp("a", 5)]


def test_when_all_go_at_once_nobody_comes_up() -> None:
    presence = Presence()
    for node, number in (("b", 1), ("a", 5), ("a", 7), ("a", 6)):
        presence.up(node, number)
    assert presence.clear() == [PeerDown("a", 7), PeerDown("b", 1)]
    assert presence.tokens("a") == frozenset()
    assert presence.clear() == []
