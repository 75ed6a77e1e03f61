"""What any `Broker` promises. Another implementation joins by a parameter of `join`: a call that
gives one more node's broker of the same cluster each time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from storage.redis import RedisBroker
from sync.broker import LocalBroker
from sync.interfaces import Broker
from tests.redisserver import RedisServer

SECONDS = 20.0

Join = Callable[[], Awaitable[Broker]]


@pytest.fixture(params=["local", "redis"])
async def join(request: pytest.FixtureRequest, redis: RedisServer) -> AsyncIterator[Join]:
    """One node, whose parts get the same broker; or as many nodes as there are calls."""
    async with AsyncExitStack() as stack:
        local = LocalBroker()

        async def join() -> Broker:
            if request.param == "local":
                return local
            return await stack.enter_async_context(RedisBroker.connected(redis.url))

        yield join


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
    publisher, other = await join(), await join()
    publisher.subscribe("a", first.receive)
    other.subscribe("a", second.receive)
    await other.joined("a")
    sent = [b"%d" % number for number in range(100)]
    for message in sent:
        publisher.publish("a", message)
    assert await first.until(sent[-1]) == sent
    assert await second.until(sent[-1]) == sent


async def test_topics_are_kept_apart(join: Join) -> None:
    broker, inbox = await join(), Inbox()
    broker.subscribe("mine", inbox.receive)
    broker.publish("other", b"not for me")
    broker.publish("mine:not", b"nor this")
    broker.publish("mine", b"for me")
    assert await inbox.until(b"for me") == [b"for me"]


async def test_messages_are_bytes_of_any_kind(join: Join) -> None:
    broker, inbox = await join(), Inbox()
    broker.subscribe("a", inbox.receive)
    for message in (b"", bytes(range(256)), b"\xff" * 100_000, b"end"):
        broker.publish("a", message)
    assert await inbox.until(b"end") == [b"", bytes(range(256)), b"\xff" * 100_000, b"end"]


async def test_an_ended_subscription_receives_nothing_and_others_go_on(join: Join) -> None:
    broker, ended, inbox = await join(), Inbox(), Inbox()
    end = broker.subscribe("a", ended.receive)
    broker.subscribe("a", inbox.receive)
    end()
    end()  # once more is harmless
    broker.publish("a", b"later")
    assert await inbox.until(b"later") == [b"later"]
    assert ended.messages == []


async def test_a_topic_can_be_subscribed_to_again(join: Join) -> None:
    broker, inbox = await join(), Inbox()
    broker.subscribe("a", inbox.receive)()
    broker.subscribe("a", inbox.receive)
    broker.publish("a", b"again")
    assert await inbox.until(b"again") == [b"again"]


async def test_publishing_to_nobody_is_no_error(join: Join) -> None:
    (await join()).publish("nobody", b"x")


async def test_a_subscription_may_end_while_its_message_is_received(join: Join) -> None:
    broker, inbox = await join(), Inbox()
    ends: list[Callable[[], None]] = []
    ends.append(broker.subscribe("a", lambda _: ends[0]()))
    broker.subscribe("a", inbox.receive)
    broker.publish("a", b"1")
    broker.publish("a", b"2")
    assert await inbox.until(b"2") == [b"1", b"2"]


async def test_a_message_reaches_all_but_the_one_who_is_left_out(join: Join) -> None:
    publisher, other = await join(), await join()
    mine, beside, elsewhere = Inbox(), Inbox(), Inbox()
    publisher.subscribe("a", mine.receive)
    publisher.subscribe("b", mine.receive)
    publisher.subscribe("b", beside.receive)
    other.subscribe("b", elsewhere.receive)
    await other.joined("b")
    publisher.publish("b", b"others", but=mine.receive)
    assert await beside.until(b"others") == [b"others"]
    assert await elsewhere.until(b"others") == [b"others"]
    publisher.publish("a", b"to all")
    assert await mine.until(b"to all") == [b"to all"]


async def test_what_this_node_publishes_its_own_subscribers_have_at_once_and_once(
    join: Join,
) -> None:
    broker, inbox = await join(), Inbox()
    broker.subscribe("a", inbox.receive)
    await broker.joined("a")
    broker.publish("a", b"1")
    assert inbox.messages == [b"1"]
    echo, other = Inbox(), await join()
    other.subscribe("a", echo.receive)
    await other.joined("a")
    broker.publish("a", b"2")
    await echo.until(b"2")
    other.publish("a", b"3")
    assert await inbox.until(b"3") == [b"1", b"2", b"3"]


async def test_who_has_joined_hears_what_is_published_from_then_on(join: Join) -> None:
    publisher, other = await join(), await join()
    for number in range(50):
        inbox = Inbox()
        end = other.subscribe("a", inbox.receive)
        await other.joined("a")
        publisher.publish("a", b"%d" % number)
        assert await inbox.until(b"%d" % number) == [b"%d" % number]
        end()


async def test_a_broker_says_that_it_is_up(join: Join) -> None:
    assert (await join()).up
