from edge_runtime.transport.base import PeerDown, PeerUp
from edge_runtime.transport.presence import Presence


def test_the_first_token_keeps_the_name_until_it_goes() -> None:
    presence = Presence()
    assert presence.up("a", 5) == [PeerUp("a", 5)]
    assert presence.up("a", 7) == []
    assert presence.up("a", 3) == []
    assert presence.tokens("a") == {3, 5, 7}
    assert presence.down("a", 5) == [PeerDown("a", 5), PeerUp("a", 3)]
    assert presence.down("a", 7) == []
    assert presence.down("a", 3) == [PeerDown("a", 3)]
    assert presence.down("a", 3) == []


def test_when_all_go_at_once_nobody_comes_up() -> None:
    presence = Presence()
    for node, number in (("b", 1), ("a", 5), ("a", 7), ("a", 6)):
        presence.up(node, number)
    assert presence.clear() == [PeerDown("a", 5), PeerDown("b", 1)]
    assert presence.tokens("a") == frozenset()
    assert presence.clear() == []
