"""What the tests of rooms are played with: devices that write down what they get, a log whose
calls can be met by a race or an outage, and a node of them. The database is always a real one."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from pycrdt import Doc, Text

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Committed, Entry, Outcome, Snapshot, Standing
from protocol.memories import Role
from storage.invitations import Invitations
from storage.memberships import Memberships
from storage.memories import MemoryRows
from storage.updates import UpdateLog
from sync.access import Access
from sync.broker import LocalBroker
from sync.feed import Notices
from sync.hub import Hub
from sync.interfaces import Broker, Subscriber
from sync.memories import Memories
from sync.opening import Opening
from sync.projection import Projector
from sync.room import HOLD_SECONDS, Room
from sync.sharing import Sharing
from sync.subscription import Subscription
from sync.tasks import Tasks
from sync.watch import DOWN_SECONDS, IDLE_SECONDS, Watch
from sync.worker import WorkerPool

SECONDS = 20.0  # that anything may take before a test gives up

Intervention = Callable[[], Awaitable[None]]


class News:
    """Wakes those who wait until something has become true."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class RacingLog(UpdateLog):
    """The real log. What is put in `before` (or `after`) under a call's name is awaited, once,
    before (or after) the next such call."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool, MemoryRows(pool))
        self.before: dict[str, Intervention] = {}
        self.after: dict[str, Intervention] = {}
        self.calls: Counter[str] = Counter()
        self.returns: Counter[str] = Counter()
        self.commits: list[list[bytes]] = []
        self.news = News()

    async def _meet(self, name: str, call: Awaitable[Any]) -> Any:
        self.calls[name] += 1
        self.news.tell()
        try:
            if (intervention := self.before.pop(name, None)) is not None:
                await intervention()
        except BaseException:
            call.close()  # type: ignore[attr-defined]
            raise
        result = await call
        if (intervention := self.after.pop(name, None)) is not None:
            await intervention()
        self.returns[name] += 1
        self.news.tell()
        return result

    async def role(self, document_id: UUID, account_id: UUID) -> Role | None:
        role: Role | None = await self._meet("role", super().role(document_id, account_id))
        return role

    async def roles(self, pairs: Sequence[tuple[UUID, UUID]]) -> list[Role | None]:
        roles: list[Role | None] = await self._meet("roles", super().roles(pairs))
        return roles

    async def standing(self, document_id: UUID) -> Standing | None:
        standing: Standing | None = await self._meet("standing", super().standing(document_id))
        return standing

    async def reserve(
        self, document_id: UUID, clients: Mapping[int, UUID], used: Sequence[int]
    ) -> bool:
        shared: bool = await self._meet("reserve", super().reserve(document_id, clients, used))
        return shared

    async def head(self, document_id: UUID) -> int:
        head: int = await self._meet("head", super().head(document_id))
        return head

    async def read(
        self, document_id: UUID, after: int, up_to: int | None = None, max_bytes: int = 1 << 20
    ) -> list[tuple[int, bytes]]:
        rows: list[tuple[int, bytes]] = await self._meet(
            "read", super().read(document_id, after, up_to, max_bytes)
        )
        return rows

    async def content(
        self, document_id: UUID, after: int
    ) -> tuple[Snapshot | None, list[tuple[int, bytes]]]:
        content: tuple[Snapshot | None, list[tuple[int, bytes]]] = await self._meet(
            "content", super().content(document_id, after)
        )
        return content

    async def commit(self, entries: Sequence[Entry]) -> list[Committed]:
        self.commits.append([entry.payload for entry in entries])
        outcomes: list[Committed] = await self._meet("commit", super().commit(entries))
        if any(outcome.outcome is Outcome.LOCKED for outcome in outcomes):
            self.calls["locked"] += 1
            self.news.tell()
        return outcomes


class Gate:
    """An intervention that waits until the test lets it pass."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await asyncio.wait_for(self._open.wait(), SECONDS)

    async def arrival(self) -> None:
        """Until somebody waits at the gate."""
        await asyncio.wait_for(self.reached.wait(), SECONDS)

    def open(self) -> None:
        self._open.set()


async def outage() -> None:
    """An intervention: the database is away."""
    raise MemoError(ErrorCode.UNAVAILABLE, "the test cut the connection", retry_after=1)


class Watcher:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, UUID | None, BaseException]] = []
        self.counts: Counter[str] = Counter()
        self.commit_sizes: list[int] = []
        self.unindexed_memories: list[int] = []
        self.news = News()

    def _count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number
        self.news.tell()

    async def until(self, what: str, number: int = 1) -> None:
        """Until something was told so many times."""
        await self.news.until(lambda: self.counts[what] >= number)

    def committed(self, updates: int, seconds: float) -> None:
        self.commit_sizes.append(updates)
        self._count("committed", updates)

    def known(self, updates: int) -> None:
        self._count("known", updates)

    def delivered(self, count: int) -> None:
        self._count("delivered", count)

    def refused(self, code: str) -> None:
        self._count(code)

    def fell_behind(self, document_id: UUID, subscriber: Subscriber) -> None:
        self._count("fell behind")

    def presence(self, count: int) -> None:
        self._count("presence", count)

    def projected(self, seconds: float) -> None:
        self._count("projected")

    def failed(self, what: str, document_id: UUID | None, error: BaseException) -> None:
        self.failures.append((what, document_id, error))
        self._count(f"{what} failed")

    def compacted(self, document_id: UUID, size: int) -> None:
        self._count("compacted")

    def versioned(self, document_id: UUID, kind: str, size: int) -> None:
        self._count(f"versioned {kind}")

    def purged(self, memories: int) -> None:
        self._count("purged", memories)

    def heard(self, what: str) -> None:
        self._count(f"heard {what}")

    def unindexed(self, memories: int) -> None:
        self.unindexed_memories.append(memories)

    def indexed(self, seconds: float) -> None:
        assert seconds > 0
        self._count("indexed")

    def repaired(self, seconds: float) -> None:
        self._count("repaired")


class PlainWire:
    """Broadcasts as msgpack lists, which the recorder reads again."""

    def push(self, channel: int, offset: int, updates: Sequence[bytes]) -> bytes:
        return msgspec.msgpack.encode(("push", channel, offset, list(updates)))

    def awareness(self, channel: int, payload: bytes) -> bytes:
        return msgspec.msgpack.encode(("awareness", channel, payload))


WIRE = PlainWire()


class Refusal(NamedTuple):
    client_seq: int
    error: MemoError

    @property
    def code(self) -> ErrorCode:
        return self.error.code


class Device:
    """A connection with one document open, and the replica behind it.

    `events` is everything it was told, in order; `updates` what it has by offset, be it pushed
    or its own and acked.
    """

    def __init__(self, author: Author, name: str = "device", client_id: int | None = None) -> None:
        self.id = name
        self.author = author
        self.wire = WIRE
        self.congested = False
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.text: Text = self.doc.get("content", type=Text)
        self.events: list[tuple[Any, ...]] = []
        self.updates: dict[int, bytes] = {}
        self.pushed: list[int] = []
        self.acks: dict[int, int] = {}
        self.refusals: list[Refusal] = []
        self.losses: list[MemoError] = []
        self.roles: list[Role] = []
        self.presence: list[bytes] = []
        self.unreleased = 0
        self.start = 0
        self.news = News()
        self.subscription: Subscription
        self._sent: dict[int, bytes] = {}
        self._sequence = 0

    # Subscriber

    def send(self, message: bytes) -> None:
        kind, _, *rest = msgspec.msgpack.decode(message)
        self.events.append((kind, *rest))
        if kind == "awareness":
            self.presence.append(rest[0])
        else:
            for offset, update in enumerate(rest[1], rest[0]):
                self.pushed.append(offset)
                assert self.updates.setdefault(offset, update) == update, offset
        self.news.tell()

    def acked(self, channel: int, client_seq: int, offset: int) -> None:
        self.events.append(("ack", client_seq, offset))
        assert client_seq not in self.acks
        self.acks[client_seq] = offset
        self.news.tell()

    def refused(self, channel: int, client_seq: int, error: MemoError) -> None:
        self.events.append(("refused", client_seq, error.code))
        self.refusals.append(Refusal(client_seq, error))
        self.news.tell()

    def released(self, size: int) -> None:
        self.unreleased -= size

    def lost(self, channel: int, error: MemoError) -> None:
        self.events.append(("lost", error.code))
        self.losses.append(error)
        self.news.tell()

    def role_changed(self, document_id: UUID, role: Role) -> None:
        self.events.append(("role", role))
        self.roles.append(role)
        self.news.tell()

    # What the test has it do

    async def open(
        self, hub: Hub, memory: UUID, epoch: str | None = None, offset: int = 0
    ) -> Opening:
        """Open the document and take in what the answer brings."""
        opening = await hub.open(self, memory, epoch, offset)
        self.subscription = opening.subscription
        if opening.content.snapshot is not None:
            self.doc.apply_update(opening.content.snapshot.payload)
            offset = opening.content.snapshot.offset
        self.start = offset
        for place, update in enumerate(opening.content.updates, offset + 1):
            self.updates[place] = update
        return opening

    def type(self, text: str, at: int | None = None) -> bytes:
        """Edit the replica; the update of it, not sent yet."""
        before = self.doc.get_state()
        self.text.insert(len(str(self.text).encode()) if at is None else at, text)
        return self.doc.get_update(before)

    def submit(self, update: bytes) -> int:
        """Send an update; its number."""
        self._sequence += 1
        self._sent[self._sequence] = update
        self.unreleased += len(update)
        self.subscription.send_update(self._sequence, update)
        return self._sequence

    async def ack(self, client_seq: int) -> int:
        """The offset of an update, once it is acked."""
        await self.news.until(lambda: client_seq in self.acks)
        return self.acks[client_seq]

    async def refusal(self, client_seq: int) -> ErrorCode:
        """Why an update was refused, once it is."""
        await self.news.until(lambda: any(r.client_seq == client_seq for r in self.refusals))
        return next(r.code for r in self.refusals if r.client_seq == client_seq)

    async def reach(self, offset: int) -> None:
        """Until everything up to `offset` was pushed or acked."""
        await self.news.until(lambda: self.has(offset))

    def has(self, offset: int) -> bool:
        covered = self.updates.keys() | set(self.acks.values())
        return all(place in covered for place in range(self.start + 1, offset + 1))

    def content(self) -> str:
        """The text that results from all that it has."""
        for _, update in sorted(self.updates.items()):
            self.doc.apply_update(update)
        return str(self.text)


class Node:
    """The sync layer of one server process."""

    def __init__(self, pool: asyncpg.Pool, broker: Broker, **options: Any) -> None:
        self.log = RacingLog(pool)
        self.broker = broker
        self.watcher = Watcher()
        self.tasks = Tasks(lambda error: self.watcher.failed("task", None, error))
        self.workers = WorkerPool(size=1)
        self.hub = Hub(
            self.log, broker, self.workers, self.watcher, self.tasks, **{"on_commit": (), **options}
        )
        self.access = Access(self.hub, self.log, broker, self.watcher)

    def room(self, memory: UUID) -> Room:
        return self.hub.rooms[memory]


@asynccontextmanager
async def running(
    pool: asyncpg.Pool,
    broker: Broker | None = None,
    *,
    on_commit: Sequence[Callable[[Room], None]] = (),
    on_close: Sequence[Callable[[Room], None]] = (),
    hold_seconds: float = HOLD_SECONDS,
    idle_seconds: float = IDLE_SECONDS,
    down_seconds: float = DOWN_SECONDS,
) -> AsyncIterator[Node]:
    """A node that runs, and whose tasks have not failed by the time it stops."""
    node = Node(
        pool,
        broker or LocalBroker(),
        on_commit=on_commit,
        on_close=on_close,
        hold_seconds=hold_seconds,
    )
    node.hub.start()
    watch = Watch(
        node.hub,
        node.log,
        node.broker,
        node.watcher,
        [node.access.check],
        idle_seconds=idle_seconds,
        down_seconds=down_seconds,
    )
    node.tasks.start(watch.run())
    node.tasks.start(node.access.run())
    try:
        yield node
    finally:
        await node.hub.stop()
        await node.tasks.cancel()
        node.workers.close()
    assert not node.watcher.counts["task failed"], node.watcher.failures


async def device(node: Node, memory: UUID, author: Author, name: str = "device") -> Device:
    """A device that has the memory's document open on the node."""
    made = Device(author, name)
    await made.open(node.hub, memory)
    return made


def sharing_of(node: Node, pool: asyncpg.Pool, notices: Notices) -> Sharing:
    """The operations on the members of memories, without letters."""
    return Sharing(
        Memberships(pool),
        Invitations(pool, verified_only=False),
        MemoryRows(pool),
        node.access,
        notices,
        observer=node.watcher,
        url="https://memo.example.com",
        normalize=str,
    )


def projector_of(node: Node, pool: asyncpg.Pool, notices: Notices) -> Projector:
    """What writes the rows of documents, when it is told to."""
    return Projector(
        node.log,
        MemoryRows(pool),
        node.workers,
        notices,
        observer=node.watcher,
        tasks=node.tasks,
    )


def memories_of(node: Node, pool: asyncpg.Pool, notices: Notices, projector: Projector) -> Memories:
    """The operations on memories."""
    sharing = sharing_of(node, pool, notices)
    return Memories(MemoryRows(pool), node.hub, projector, node.workers, notices, privacy=sharing)
