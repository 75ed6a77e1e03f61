"""The asyncio client: one connection, kept up, and the documents that are open on it.

    async with Client("ws://127.0.0.1:8000/ws", token, store=SqliteStore(path)) as client:
        document = await client.open(memory_id)
        await document.synced()
        document.text += "remember the milk"
        await document.saved()
        await client.enqueue(MEMORIES_UPDATE, UpdateMemory(id=memory_id, is_favorite=True))

It runs one task for the connection, which owns a writer and a heartbeat while connected, one
for the queued requests, and with a store one that sends what earlier runs left; all of them end
with `close`. It is used from the thread of its event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast, overload
from uuid import UUID
from weakref import WeakSet

import msgspec

from protocol import frames
from protocol.channel import Phase
from protocol.connection import CONNECT_SECONDS, Connection, dial
from protocol.documents import DOCUMENTS_CLOSE, DOCUMENTS_OPEN, CloseDocument, OpenedDocument
from protocol.errors import CloseCode, ErrorCode, MemoError
from protocol.events import FEED_CHANGED, SHARING_CHANGED
from protocol.feed import FEED_CHANGES, Changes, GetChanges
from protocol.following import Feed
from protocol.leftovers import Leftovers
from protocol.log import WRITERS
from protocol.mirror import Mirror, OpenedChannel
from protocol.offline import MemoryStore, OfflineStore
from protocol.operation import Operation
from protocol.queue import Outcome, QueuedRequest, RequestQueue
from protocol.records import Body
from protocol.replica import Document
from protocol.session import Answered, Backoff, Refused, Session, SessionEvent, SessionPhase
from protocol.sharing import SharingChanged
from protocol.signal import EventStream, Signal, Stream

HEARTBEAT_SECONDS = 15.0
QUEUED_SECONDS = 30.0

Token = str | Callable[[], Awaitable[str]]
Req = TypeVar("Req", bound=Body)
Res = TypeVar("Res", bound=Body)


class Status(Enum):
    """Whether the client has a connection. CLOSED is final."""

    OFFLINE = "offline"
    CONNECTING = "connecting"
    ONLINE = "online"
    CLOSED = "closed"


class Client:
    """A device's connection to the server.

    `token` is an access token, or a coroutine function that gets one: it is called for every
    connection, and again when the server finds the token expired. With `reconnect` the client
    returns after each loss, later each time, until the server says that it is no use.
    `heartbeat` is the time in seconds after which presence is renewed, and after which (twice,
    at most) an answer that the server owes makes the client connect afresh. `error` is the last
    thing that went wrong with the connection; None since the last welcome.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        device_id: str | None = None,
        store: OfflineStore | None = None,
        reconnect: bool = True,
        backoff: Backoff | None = None,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self.status = Status.OFFLINE
        self.error: MemoError | None = None
        self.welcome: frames.WelcomeBody | None = None
        self._url = url
        self._token = token
        self._device_id = device_id
        self._store = store
        self._reconnect = reconnect
        self._backoff = backoff or Backoff()
        self._heartbeat = heartbeat
        self._session = Session()
        self._connection: Connection | None = None
        self._queue = RequestQueue(
            store or MemoryStore(),
            send=self._send_queued,
            is_online=lambda: self.status is Status.ONLINE,
            born=self._born,
        )
        self._leftovers = Leftovers(store, self.open, self._may_open) if store else None
        self._task: asyncio.Task[None] | None = None
        self._aides: list[asyncio.Task[None]] = []
        self._signal = Signal()
        self._answers: dict[int, Callable[[object], None]] = {}
        self._documents: dict[UUID, OpenedChannel] = {}
        self._channels: dict[int, OpenedChannel] = {}
        self._reopenings: dict[UUID, asyncio.TimerHandle] = {}
        self._streams: WeakSet[EventStream] = WeakSet()
        self._feeds: WeakSet[Feed] = WeakSet()
        self._return_after: float | None = None
        self._token_refused = False

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise RuntimeError("a client is started once")
        self._task = asyncio.create_task(self._run(), name="memo client")
        self._aides.append(asyncio.create_task(self._queue.run(), name="memo client queue"))
        if self._leftovers is not None:
            sending = asyncio.create_task(self._leftovers.run(), name="memo client leftovers")
            self._aides.append(sending)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def max_update_bytes(self) -> int:
        """The largest update that the server takes."""
        return self._session.max_update_bytes

    async def connected(self, timeout: float = CONNECT_SECONDS) -> None:
        """Wait for the server's welcome.

        Raises:
            MemoError: `timeout`, or why the client has given up.
        """
        await self._signal.until(self._is_online, timeout, self._not_connected)

    async def call(
        self, operation: Operation[Req, Res], body: Req, *, timeout: float = 10.0
    ) -> Res:
        """The server's answer to `operation`. Without a connection it waits for one.

        Raises:
            MemoError: the server's refusal; `timeout` after `timeout` seconds; `unavailable`,
                when the connection was lost before the answer; `busy`; `too_large`.
        """
        answer: asyncio.Future[Res] = asyncio.get_running_loop().create_future()

        def resolve(result: object) -> None:
            if answer.done():
                return
            if isinstance(result, MemoError):
                answer.set_exception(result)
            else:
                answer.set_result(cast(Res, result))

        request_id = None
        try:
            async with asyncio.timeout(timeout):
                await self.connected(timeout)
                request_id = self._request(operation, body, resolve)
                return await answer
        except TimeoutError:
            raise MemoError(
                ErrorCode.TIMEOUT, f"{operation.name} was not answered within {timeout:g} s"
            ) from None
        finally:
            if request_id is not None and self._answers.pop(request_id, None) is not None:
                self._session.cancel(request_id)
                self._wake()

    async def enqueue(self, operation: Operation[Req, Res], request: Req) -> QueuedRequest:
        """Keep a request in the offline store and call the server with it once there is a
        connection, in this run or a later one; `outcomes` tells how that ended. Requests that
        share an id are carried out in the order of queueing. One may be sent twice, so what it
        makes has an id: one is given where it was left out.

        Raises:
            MemoError: `invalid_request`, for an operation of one connection; `too_large`, when
                10,000 requests wait; `channel_closed`, when the client is closed; `internal`,
                when the offline store fails.
        """
        if self.status is Status.CLOSED:
            raise MemoError(ErrorCode.CHANNEL_CLOSED, "the client is closed")
        return self._queue.add(operation, request)

    def queued(self) -> Sequence[QueuedRequest]:
        """The requests that wait for the server, oldest first.

        Raises:
            MemoError: `internal`, when the offline store fails.
        """
        return self._queue.list()

    def discard(self, number: int) -> bool:
        """Take back a queued request; whether it still waited. What is on its way may still land.

        Raises:
            MemoError: `internal`, when the offline store fails.
        """
        return self._queue.discard(number)

    def outcomes(self) -> Stream[Outcome]:
        """How queued requests end, from now on. Nothing else tells of one that is refused."""
        return self._queue.outcomes()

    @overload
    async def open(self, memory_id: UUID, *, replica: Literal[True] = True) -> Document: ...

    @overload
    async def open(self, memory_id: UUID, *, replica: Literal[False]) -> Mirror: ...

    async def open(self, memory_id: UUID, *, replica: bool = True) -> Document | Mirror:
        """Follow a memory's document: at once what the offline store has of it, and the server's
        as soon as there is a connection (see `synced`). Opened again it is the same object, and
        one that the server had refused is asked for again.

        Raises:
            MemoError: `channel_closed`, when the client is closed; `conflict`, when it is open
                in the other form; `internal`, when the offline store fails.
        """
        if self.status is Status.CLOSED:
            raise MemoError(ErrorCode.CHANNEL_CLOSED, "the client is closed")
        left = self._leftovers.claim(memory_id) if self._leftovers else None
        if left is not None and not replica:
            left.close()
        document = self._documents.get(memory_id)
        if document is None:
            document = (
                Document(memory_id, self, self._store) if replica else Mirror(memory_id, self)
            )
            self._documents[memory_id] = document
        elif isinstance(document, Document) is not replica:
            raise MemoError(
                ErrorCode.CONFLICT, f"memory {memory_id} is open in the other form; close that"
            )
        self._ask_for(document)
        return cast(Document | Mirror, document)

    def events(self) -> EventStream:
        """The server's events from now on."""
        stream = EventStream()
        self._streams.add(stream)
        if self.status is Status.CLOSED:
            stream.end()
        return stream

    def follow(self, after: str | None = None, *, brief: bool = False) -> Feed:
        """The feed from the cursor `after` on, without one from its beginning: what changed while
        this device was away, then what changes. It goes on over lost connections."""
        feed = Feed(self._ask_feed, after, brief=brief)
        self._feeds.add(feed)
        if self.status is Status.CLOSED:
            feed.end()
        return feed

    async def close(self) -> None:
        """Say goodbye, and end every task and wait of this client. Edits that are not acked stay
        in the offline store, which remains open."""
        self._end()
        if self._task is None:
            return
        if self._connection is not None:
            await self._connection.close()
        else:
            self._task.cancel()
        await asyncio.wait([self._task, *self._aides])
        for task in (self._task, *self._aides):
            if not task.cancelled():
                task.result()

    # What documents need: see `protocol.mirror.Wire`.

    def send(self, frame: frames.Update | frames.Awareness) -> None:
        """Queue a frame of a live channel."""
        self._session.send(frame)
        self._wake()

    def reopen(self, document: OpenedChannel, delay: float) -> None:
        """Ask for the document again in `delay` seconds, if it is still wanted then."""
        if document.memory_id not in self._reopenings:
            self._reopenings[document.memory_id] = asyncio.get_running_loop().call_later(
                delay, self._ask_for, document
            )

    def leave(self, document: OpenedChannel) -> None:
        """The document is closed: no more frames for it."""
        self._documents.pop(document.memory_id, None)
        timer = self._reopenings.pop(document.memory_id, None)
        if timer is not None:
            timer.cancel()
        number = document.channel.number
        if number is not None and self._channels.get(number) is document:
            del self._channels[number]
            self._close_channel(number)

    # The connection.

    async def _run(self) -> None:
        try:
            while not self._is_over():
                error = await self._connect()
                if self._is_over():
                    return
                self.error = error
                if not self._reconnect or not error.code.temporary:
                    return
                self._set_status(Status.OFFLINE)
                delay = self._return_after
                await asyncio.sleep(self._backoff.next() if delay is None else delay)
        except Exception as error:
            self.error = MemoError(ErrorCode.INTERNAL, f"the client failed: {error!r}")
            raise
        finally:
            self._end()

    async def _connect(self) -> MemoError:
        """Connect, converse until the connection ends, and say why it did. A reason that is
        `temporary` may be gone at the next attempt."""
        self._set_status(Status.CONNECTING)
        self._return_after = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                token = self._token if isinstance(self._token, str) else await self._token()
            socket = await dial(self._url)
        except TimeoutError:
            return MemoError(ErrorCode.TIMEOUT, f"no token within {CONNECT_SECONDS:g} s")
        except MemoError as error:
            return error
        self._session = Session()
        self._session.hello(token, self._device_id, "memo-python")
        self._connection = Connection(
            socket, self._session, self._happened, self._is_overdue, self._heartbeat
        )
        try:
            ending = await self._connection.converse()
        finally:
            self._connection = None
            self._disconnected()
        return ending if isinstance(ending, MemoError) else self._meaning(ending)

    def _meaning(self, code: CloseCode) -> MemoError:
        """What a close code means for the next attempt."""
        if code is CloseCode.UNAUTHORIZED:
            # A token that is refused is worth another try, once, where new ones come from.
            hopeless = isinstance(self._token, str) or self._token_refused
            self._token_refused = True
            if hopeless:
                return MemoError(ErrorCode.UNAUTHORIZED)
            self._return_after = 0.0
            return MemoError(ErrorCode.UNAVAILABLE, code.meaning)
        if code is CloseCode.SESSION_ENDED:
            return MemoError(ErrorCode.SESSION_ENDED)
        message = f"the server closed with {code.value}: {code.meaning}"
        return MemoError(
            ErrorCode.UNAVAILABLE if code.reconnect else ErrorCode.INVALID_MESSAGE, message
        )

    def _is_overdue(self) -> bool:
        overdue = [document for document in self._documents.values() if document.tick()]
        return bool(overdue)

    def _disconnected(self) -> None:
        for answered in self._session.close():
            self._answered(answered)
        for timer in self._reopenings.values():
            timer.cancel()
        self._reopenings.clear()
        self._channels.clear()
        for document in self._documents.values():
            document.detached()

    # What the server says.

    def _happened(self, event: SessionEvent) -> None:
        match event:
            case frames.Push() | frames.Ack() | frames.AwarenessRelay() | Refused():
                document = self._channels.get(event.channel)
                if document is not None:
                    self._delivered(document, event)
            case Answered():
                self._answered(event)
            case frames.Event():
                if event.name == SHARING_CHANGED.name:
                    self._role_changed(event)
                elif event.name == FEED_CHANGED.name:
                    self._hint()
                for stream in self._streams:
                    stream.put(event)
            case frames.Welcome(welcome):
                self._welcomed(welcome)
            case frames.Goodbye(goodbye):
                self._return_after = max(goodbye.reconnect_after_ms, 0) / 1000
            case frames.Error(None, body):
                if body.retry_after is not None:
                    self._return_after = body.retry_after
                self.error = MemoError(ErrorCode.INTERNAL, f"{body.code}: {body.message}")

    def _delivered(
        self,
        document: OpenedChannel,
        event: frames.Push | frames.Ack | frames.AwarenessRelay | Refused,
    ) -> None:
        try:
            match event:
                case frames.Push():
                    document.pushed(event)
                case frames.Ack():
                    document.acked(event)
                case frames.AwarenessRelay(_, payload):
                    document.relayed(payload)
                case Refused():
                    document.refused(event)
        except MemoError as error:
            document.failed(error)

    def _role_changed(self, event: frames.Event) -> None:
        try:
            changed = msgspec.convert(event.body, SharingChanged)
        except msgspec.ValidationError:
            return  # a newer server may know other roles; the next opening tells the right
        document = self._documents.get(changed.memory_id)
        if document is not None:
            document.granted(changed.role in WRITERS)

    def _welcomed(self, welcome: frames.WelcomeBody) -> None:
        self.welcome = welcome
        self.error = None
        self._token_refused = False
        self._backoff.reset()
        self._set_status(Status.ONLINE)
        for document in list(self._documents.values()):
            if document.error is None or document.error.code is not ErrorCode.GONE:
                self._ask_for(document)
        self._queue.connected()
        if self._leftovers is not None:
            self._leftovers.wake()
        self._hint()

    def _answered(self, answered: Answered) -> None:
        resolve = self._answers.pop(answered.id, None)
        if resolve is not None:
            resolve(answered.result)

    async def _ask_feed(self, request: GetChanges) -> Changes:
        return await self.call(FEED_CHANGES, request, timeout=QUEUED_SECONDS)

    def _hint(self) -> None:
        for feed in self._feeds:
            feed.hint()

    # Queued requests.

    async def _send_queued(self, operation: Operation[Any, Any], body: Body) -> Any:
        return await self.call(operation, body, timeout=QUEUED_SECONDS)

    def _born(self, memory_id: UUID) -> None:
        document = self._documents.get(memory_id)
        if document is not None:
            self._ask_for(document)
        elif self._leftovers is not None:
            self._leftovers.wake()

    def _may_open(self, memory_id: UUID) -> bool:
        is_known = memory_id not in self._documents and not self._queue.is_unborn(memory_id)
        return is_known and self.status is Status.ONLINE

    # Requests.

    def _request(
        self,
        operation: Operation[Req, Res],
        body: msgspec.Struct,
        resolve: Callable[[object], None],
    ) -> int:
        request_id = self._session.request(operation, body)
        self._answers[request_id] = resolve
        self._wake()
        return request_id

    def _ask_for(self, document: OpenedChannel) -> None:
        """Open a document on this connection, unless it is open or there is none."""
        self._reopenings.pop(document.memory_id, None)
        channel = document.channel
        if self.status is not Status.ONLINE or channel.phase not in (Phase.DETACHED, Phase.STALE):
            return
        if self._queue.is_unborn(document.memory_id):
            return  # asked for when the server knows it
        try:
            self._request(DOCUMENTS_OPEN, channel.opening(), lambda it: self._opened(document, it))
        except MemoError as error:
            document.unopened(error)

    def _opened(self, document: OpenedChannel, result: object) -> None:
        if document.channel.phase is not Phase.OPENING:
            # Closed meanwhile. The server does not know that yet.
            if isinstance(result, OpenedDocument):
                self._close_channel(result.channel)
            return
        if isinstance(result, MemoError):
            document.unopened(result)
            return
        answer = cast(OpenedDocument, result)
        if document.channel.number is not None:
            self._channels.pop(document.channel.number, None)
        self._channels[answer.channel] = document
        try:
            document.opened(answer)
        except MemoError as error:
            document.failed(error)

    def _close_channel(self, number: int) -> None:
        if self._session.phase is SessionPhase.OPEN:
            try:
                self._request(DOCUMENTS_CLOSE, CloseDocument(channel=number), lambda _: None)
            except MemoError:
                """Too much is in flight; an open channel costs the server little until then."""

    def _wake(self) -> None:
        if self._connection is not None:
            self._connection.wake()

    def _is_over(self) -> bool:
        return self.status is Status.CLOSED

    def _end(self) -> None:
        """Nothing more will come. It may be said twice."""
        for document in list(self._documents.values()):
            document.close()
        for aide in self._aides:
            aide.cancel()
        self._queue.end()
        for stream in self._streams:
            stream.end()
        for feed in self._feeds:
            feed.end()
        self._set_status(Status.CLOSED)

    def _set_status(self, status: Status) -> None:
        if self.status is not Status.CLOSED:
            self.status = status
            self._signal.notify()

    def _is_online(self) -> bool:
        if self.status is Status.CLOSED:
            raise self.error or MemoError(ErrorCode.CHANNEL_CLOSED, "the client is closed")
        return self.status is Status.ONLINE

    def _not_connected(self) -> str:
        return f"no connection to {self._url} ({self.error or 'no answer yet'})"
