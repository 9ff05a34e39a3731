"""What waits for a node, and in which order it is read."""

from edge_runtime.transport.base import PeerDown, PeerUp, Received
from edge_runtime.transport.mailbox import Mailbox


def test_presence_overtakes_the_messages_that_were_there_before_it() -> None:
    mailbox = Mailbox(messages=2, size=1000)
    messages = [Received("one", "two", b"", bytes([i])) for i in range(3)]
    for message in messages:
        mailbox.message(message)
    presence: list[PeerUp | PeerDown] = [PeerUp("three", 1), PeerDown("three", 1)]
    for event in presence:
        mailbox.presence(event)
    assert [mailbox.receive(0) for _ in range(5)] == [*presence, *messages[1:], None]
    assert (mailbox.overflow, mailbox.received) == (1, 2)
