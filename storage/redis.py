"""The broker between nodes: Redis pub/sub.

Everything that passes is a hint: the log in PostgreSQL is the truth. So a message that cannot be
sent is dropped and counted, and whoever may have missed one is told to look at the log.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from secrets import token_bytes
from urllib.parse import urlsplit

import structlog
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
    ResponseError,
)

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 3.0
PING_SECONDS = 2.0  # between two questions whether Redis is there
SILENCE_SECONDS = 5.0  # without any answer, after which it is not
JOIN_SECONDS = 1.0  # that a subscription is waited for
FIRST_RETRY, LAST_RETRY = 0.1, 2.0  # seconds between tries to connect
MAX_OUTBOX_BYTES = 32 << 20  # that wait to be published; what comes beyond is dropped
BATCH = 500  # commands written at once

_PREFIX = b"memo:"
_MISSED = "missed"  # said by a node whose messages may not have arrived
_NODE_BYTES = 8

Receive = Callable[[bytes], None]


class RedisUnusable(Exception):
    """What answers at REDIS_URL is no Redis, or lets us do nothing; the message is one line."""


class RedisBroker:
    """One node's end. Use as `async with RedisBroker.connected(url) as broker`.

    What is published reaches the subscribers of this node at once and directly, those of others
    through Redis. Subscribers must not raise: the error of one is the publisher's on this node, and
    logged on another.
    """

    shared = True

    def __init__(self, url: str) -> None:
        # No retries of the library's own: it would subscribe again without telling, and what was
        # published meanwhile would be missed by nobody.
        self._pool = ConnectionPool.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
            # Nor its time limits: in Python 3.11 they can swallow a cancellation.
            socket_timeout=None,
            socket_connect_timeout=None,
        )
        self._place = place(url)
        self._node = token_bytes(_NODE_BYTES)
        self._topics: dict[str, list[Receive]] = {}
        self._unconfirmed: dict[str, int] = {}  # subscriptions asked for and not answered yet
        self._joining: dict[str, list[asyncio.Future[None]]] = {}
        self._commands: deque[tuple[str, str]] = deque()
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._outbox_bytes = 0
        self._sending = 0  # messages under way
        self._overflowed = False
        self._wakened = asyncio.Event()  # there are commands
        self._filled = asyncio.Event()  # there is something to publish
        self._heard_at = 0.0
        self._missed: list[Callable[[], None]] = []
        self._connected = False
        self.up = False  # connected, and all subscriptions of that moment in force
        self.dropped = 0
        self.subscribe(_MISSED, self._other_missed)

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str) -> AsyncIterator["RedisBroker"]:
        """A broker that stays connected as far as Redis lets it, until the end.

        A Redis that cannot be reached is waited for in the background: the node works without.

        Raises:
            RedisUnusable: what answers there is of no use, and will not be by waiting.
        """
        broker = cls(url)
        await broker._check()
        running = asyncio.create_task(broker._run())
        try:
            await broker._first_try(running)
            yield broker
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    # Broker

    def publish(self, topic: str, message: bytes, but: Receive | None = None) -> None:
        """Hand the message to whoever subscribes to the topic now, on every node, except to
        `but`."""
        for receive in tuple(self._topics.get(topic, ())):
            if receive != but:
                receive(message)
        if not self.up or self._outbox_bytes > MAX_OUTBOX_BYTES:
            self.dropped += 1
            self._overflowed = self.up
            return
        self._outbox.append((topic, message))
        self._outbox_bytes += len(message)
        self._filled.set()

    def subscribe(self, topic: str, receive: Receive) -> Callable[[], None]:
        """Receive what is published from now on, and once `joined` says so from every node.
        Returns the call that ends it."""
        receivers = self._topics.setdefault(topic, [])
        if not receivers:
            if self._connected:
                self._unconfirmed[topic] = self._unconfirmed.get(topic, 0) + 1
            self._command("SUBSCRIBE", topic)
        receivers.append(receive)

        def end() -> None:
            receivers = self._topics.get(topic, [])
            if receive in receivers:
                receivers.remove(receive)
                if not receivers:
                    del self._topics[topic]
                    self._command("UNSUBSCRIBE", topic)

        return end

    async def joined(self, topic: str) -> None:
        """Return when the subscription to the topic is in force, or cannot be for now: `missed`
        will then be told when it is."""
        if not self.up or topic not in self._unconfirmed:
            return
        joining = asyncio.get_running_loop().create_future()
        self._joining.setdefault(topic, []).append(joining)
        with suppress(TimeoutError):
            await asyncio.wait_for(joining, JOIN_SECONDS)

    def on_missed(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever messages of other nodes may have been missed."""
        self._missed.append(call)

    # The connection

    def _connection(self) -> AbstractConnection:
        made: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return made

    async def _check(self) -> None:
        """Raises:
        RedisUnusable: what answers there is no Redis, or refuses us.
        """
        connection = self._connection()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]
                for command in (("PING",), ("PUBLISH", _PREFIX + b"hello", b"")):
                    await connection.send_command(*command, check_health=False)
                    await connection.read_response()
        except Exception as error:
            if unusable := self._unusable(error):
                raise RedisUnusable(unusable) from error
            log.warning("redis.unreachable", place=self._place, error=_line(error))
        finally:
            await connection.disconnect(nowait=True)

    def _unusable(self, error: Exception) -> str | None:
        """Why waiting would not help; None if it might."""
        match error:
            case AuthenticationError() | AuthorizationError() | NoPermissionError():
                return (
                    f"the Redis at {self._place} refuses us ({_line(error)}); "
                    "correct the user and password in REDIS_URL"
                )
            case InvalidResponse() | UnicodeDecodeError():
                return (
                    f"what answers at {self._place} does not speak the protocol of Redis; "
                    "correct REDIS_URL"
                )
            case ResponseError() if not _passing(error):
                return f"the Redis at {self._place} cannot be used: {_line(error)}"
        if not isinstance(error, RedisError | OSError | TimeoutError | EOFError):
            return f"what answers at {self._place} is of no use: {_line(error)}; correct REDIS_URL"
        return None

    async def _first_try(self, running: asyncio.Task[None]) -> None:
        """Give the connection a moment: most often it is there, and nothing will be missed."""
        loop = asyncio.get_running_loop()
        connected: asyncio.Future[None] = loop.create_future()
        self._joining.setdefault(_MISSED, []).append(connected)
        await asyncio.wait(
            (running, connected), timeout=CONNECT_SECONDS, return_when="FIRST_COMPLETED"
        )

    async def _run(self) -> None:
        """Keep connected, for ever."""
        delay = FIRST_RETRY
        while True:
            subscriber, publisher = self._connection(), self._connection()
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await subscriber.connect()  # type: ignore[no-untyped-call]
                    await publisher.connect()  # type: ignore[no-untyped-call]
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._read(subscriber))
                    tasks.create_task(self._subscribe(subscriber))
                    tasks.create_task(self._publish(publisher))
                    tasks.create_task(self._watch(subscriber))
                    self._begin()
            except Exception as error:  # noqa: BLE001 (whatever it is, the node goes on without)
                if self.up:
                    delay = FIRST_RETRY
                    log.warning("redis.lost", place=self._place, error=_line(error))
                else:
                    log.debug("redis.unreachable", place=self._place, error=_line(error))
            finally:
                self._end()
                for connection in (subscriber, publisher):
                    await connection.disconnect(nowait=True)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY)

    def _begin(self) -> None:
        """Connected: subscribe to all that is wanted; when that is done, everyone is to look."""
        self._heard_at = asyncio.get_running_loop().time()
        self._connected = True
        self._unconfirmed = dict.fromkeys(self._topics, 1)
        # The last to be answered: by then all others are in force.
        for topic in (*(self._topics.keys() - {_MISSED}), _MISSED):
            self._command("SUBSCRIBE", topic)

    def _end(self) -> None:
        self._connected = self.up = False
        self._commands.clear()
        self._unconfirmed.clear()
        self.dropped += len(self._outbox) + self._sending
        self._sending = 0
        self._outbox.clear()
        self._outbox_bytes = 0
        for waiting in self._joining.values():
            for joining in waiting:
                if not joining.done():
                    joining.set_result(None)
        self._joining.clear()

    def _command(self, name: str, topic: str) -> None:
        if self._connected:  # if not, `_begin` will say all that is wanted by then
            self._commands.append((name, topic))
            self._wakened.set()

    async def _subscribe(self, connection: AbstractConnection) -> None:
        """Say what is subscribed to and what no more, in order."""
        while True:
            await self._wakened.wait()
            self._wakened.clear()
            while self._commands:
                batch = [self._commands.popleft() for _ in range(min(BATCH, len(self._commands)))]
                await connection.send_packed_command(
                    connection.pack_commands(
                        [(name, _PREFIX + topic.encode()) for name, topic in batch]
                    ),
                    check_health=False,
                )

    async def _read(self, connection: AbstractConnection) -> None:
        """Hand out what Redis says."""
        node, loop = self._node, asyncio.get_running_loop()
        while True:
            answer = await connection.read_response()
            self._heard_at = loop.time()
            if not isinstance(answer, list) or len(answer) != 3:
                continue  # an answer to PING
            kind, channel, data = answer
            topic = channel[len(_PREFIX) :].decode()
            if kind == b"message":
                if not data.startswith(node):
                    message = data[_NODE_BYTES:]
                    for receive in tuple(self._topics.get(topic, ())):
                        try:
                            receive(message)
                        except Exception:
                            # It is one subscriber's, and no reason to leave Redis.
                            log.exception("redis.receiver_failed", topic=topic)
            elif kind == b"subscribe":
                self._confirm(topic)

    def _confirm(self, topic: str) -> None:
        left = self._unconfirmed.get(topic, 0) - 1
        if left > 0:
            self._unconfirmed[topic] = left
            return
        self._unconfirmed.pop(topic, None)
        for joining in self._joining.pop(topic, ()):
            if not joining.done():
                joining.set_result(None)
        if topic == _MISSED:
            self.up = True
            log.info("redis.joined", place=self._place)
            self._look()
            self.publish(_MISSED, b"", but=self._other_missed)

    async def _publish(self, connection: AbstractConnection) -> None:
        """Send what is to be published, many messages a write."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._outbox:
                batch = [self._outbox.popleft() for _ in range(min(BATCH, len(self._outbox)))]
                self._outbox_bytes -= sum(len(message) for _, message in batch)
                self._sending = len(batch)
                commands = [
                    ("PUBLISH", _PREFIX + topic.encode(), self._node + message)
                    for topic, message in batch
                ]
                async with asyncio.timeout(SILENCE_SECONDS):
                    await connection.send_packed_command(
                        connection.pack_commands(commands), check_health=False
                    )
                    for _ in batch:
                        await connection.read_response()
                self._sending = 0
            if self._overflowed:
                self._overflowed = False
                self.publish(_MISSED, b"", but=self._other_missed)

    async def _watch(self, connection: AbstractConnection) -> None:
        """Notice a Redis that went away without a word."""
        loop = asyncio.get_running_loop()
        while True:
            await connection.send_command("PING", check_health=False)
            await asyncio.sleep(PING_SECONDS)
            if loop.time() - self._heard_at > SILENCE_SECONDS:
                raise TimeoutError(f"Redis said nothing for {SILENCE_SECONDS:g} s")

    def _other_missed(self, _: bytes) -> None:
        self._look()

    def _look(self) -> None:
        for call in self._missed:
            try:
                call()
            except Exception:
                log.exception("redis.receiver_failed")


def place(url: str) -> str:
    """Where a Redis address leads, without the password that it may hold."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    host = parts.hostname or "localhost"
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or 6379}"


def _passing(error: ResponseError) -> bool:
    return str(error).startswith(("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "READONLY"))


def _line(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return _line(error.exceptions[0])
    return (str(error) or type(error).__name__).splitlines()[0][:200]
