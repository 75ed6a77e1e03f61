"""What any `Broker` promises. Another implementation joins by a parameter of `brokers`: a call
that gives one more node's broker of the same cluster each time."""

import asyncio
from collections.abc import Callable

import pytest

from sync.broker import LocalBroker
from sync.interfaces import Broker

SECONDS = 20.0

Join = Callable[[], Broker]


def local() -> Join:
    """One node: whoever joins gets the same broker."""
    broker = LocalBroker()
    return lambda: broker


@pytest.fixture(params=[local])
def join(request: pytest.FixtureRequest) -> Join:
    made: Join = request.param()
    return made


class Inbox:
    """What one subscriber received."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._came = asyncio.Event()

    def receive(self, message: bytes) -> None:
        self.messages.append(message)
        self._came.set()

    async def until(self, message: bytes) -> list[bytes]:
        """All messages, once `message` has come."""
        async with asyncio.timeout(SECONDS):
            while message not in self.messages:
                self._came.clear()
                await self._came.wait()
        return self.messages


async def test_what_is_published_reaches_every_node_in_order(join: Join) -> None:
    first, second = Inbox(), Inbox()
    publisher, other = join(), join()
    publisher.subscribe("a", first.receive)
    other.subscribe("a", second.receive)
    sent = [b"%d" % number for number in range(100)]
    for message in sent:
        publisher.publish("a", message)
    assert await first.until(sent[-1]) == sent
    assert await second.until(sent[-1]) == sent


async def test_topics_are_kept_apart(join: Join) -> None:
    broker, inbox = join(), Inbox()
    broker.subscribe("mine", inbox.receive)
    broker.publish("other", b"not for me")
    broker.publish("mine:not", b"nor this")
    broker.publish("mine", b"for me")
    assert await inbox.until(b"for me") == [b"for me"]


async def test_messages_are_bytes_of_any_kind(join: Join) -> None:
    broker, inbox = join(), Inbox()
    broker.subscribe("a", inbox.receive)
    for message in (b"", bytes(range(256)), b"\xff" * 100_000, b"end"):
        broker.publish("a", message)
    assert await inbox.until(b"end") == [b"", bytes(range(256)), b"\xff" * 100_000, b"end"]


async def test_an_ended_subscription_receives_nothing_and_others_go_on(join: Join) -> None:
    broker, ended, inbox = join(), Inbox(), Inbox()
    end = broker.subscribe("a", ended.receive)
    broker.subscribe("a", inbox.receive)
    end()
    end()  # once more is harmless
    broker.publish("a", b"later")
    assert await inbox.until(b"later") == [b"later"]
    assert ended.messages == []


async def test_a_topic_can_be_subscribed_to_again(join: Join) -> None:
    broker, inbox = join(), Inbox()
    broker.subscribe("a", inbox.receive)()
    broker.subscribe("a", inbox.receive)
    broker.publish("a", b"again")
    assert await inbox.until(b"again") == [b"again"]


async def test_publishing_to_nobody_is_no_error(join: Join) -> None:
    join().publish("nobody", b"x")


async def test_a_subscription_may_end_while_its_message_is_received(join: Join) -> None:
    broker, inbox = join(), Inbox()
    ends: list[Callable[[], None]] = []
    ends.append(broker.subscribe("a", lambda _: ends[0]()))
    broker.subscribe("a", inbox.receive)
    broker.publish("a", b"1")
    broker.publish("a", b"2")
    assert await inbox.until(b"2") == [b"1", b"2"]
