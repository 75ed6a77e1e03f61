"""The hub: the rooms that are open on this node, and the way into them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from secrets import token_hex
from uuid import UUID

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Projection, Standing
from protocol.memories import Role
from sync.committer import Committer
from sync.interfaces import Broker, Log, Observer, Subscriber
from sync.opening import Content, Opening
from sync.pens import Pens
from sync.room import HOLD_SECONDS, Room
from sync.scanning import load_state
from sync.state import State
from sync.tasks import Tasks, outlived
from sync.worker import WorkerPool

# Given a document's updates and the Yjs client id to write under: the update that changes it (None:
# nothing to), and its new rows.
Make = Callable[[Sequence[bytes], int], Awaitable[tuple[bytes | None, Projection]]]

LINGER_SECONDS = 10.0  # an empty room stays this long: devices come back
_PENS = 4  # client ids that are tried for one write


class Hub:
    """Opens rooms once each, however many ask at once, and lets empty ones go."""

    def __init__(
        self,
        log: Log,
        broker: Broker,
        workers: WorkerPool,
        observer: Observer,
        tasks: Tasks,
        *,
        on_commit: Sequence[Callable[[Room], None]],
        on_close: Sequence[Callable[[Room], None]] = (),
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        self.rooms: dict[UUID, Room] = {}
        self._log = log
        self._workers = workers
        self._observer = observer
        self._tasks = tasks
        self._on_commit = on_commit
        self._on_close = on_close
        self._hold_seconds = hold_seconds
        self._broker = broker
        self._name = token_hex(8)
        self._pens = Pens()
        self._leave: dict[Room, Callable[[], None]] = {}  # what ends hearing of other nodes
        self._committer = Committer(log, observer, tasks)
        self._opening: dict[UUID, asyncio.Task[Room]] = {}
        self._deleted_meanwhile: set[UUID] = set()  # while they were being opened
        self._writing: set[asyncio.Task[bool]] = set()
        self._channels = count(1)
        self._role_changes = 0
        self._end_deleted = broker.subscribe("deleted", self._deleted)

    def start(self) -> None:
        self._tasks.start(self._committer.run())

    async def stop(self, timeout: float = 10.0) -> None:
        """Finish the writes under way and commit what was taken, at most for `timeout` seconds."""
        self._end_deleted()
        try:
            async with asyncio.timeout(timeout):
                while self._writing:
                    await asyncio.wait(self._writing)
                await self._committer.flush()
        except TimeoutError as error:
            self._observer.failed("flush", None, error)

    @property
    def subscriptions(self) -> int:
        return sum(len(room.subscriptions) for room in self.rooms.values())

    async def open(
        self, subscriber: Subscriber, document_id: UUID, epoch: str | None, offset: int
    ) -> Opening:
        """Join a room with what the device has (`offset` under `epoch`).

        The subscription is live when this returns: send the answer before anything else runs.

        Raises:
            MemoError: `not_found` (also when the account may not read it), `gone`.
        """
        account_id = subscriber.author.account_id
        changes = self._role_changes
        role = await self._role(document_id, account_id)
        room = await self._room(document_id)
        room.pins += 1
        try:
            after = offset if epoch == room.epoch else 0
            if after > room.head and after > await self._log.head(document_id):
                after = 0
            content = await room.content(after)
            while changes != self._role_changes:
                # It may have been this account's. Nobody tells a subscription yet to be.
                changes = self._role_changes
                role = await self._role(document_id, account_id)
        finally:
            self._unpin(room)
        if room.ended:
            raise MemoError(ErrorCode.GONE, "this memory has been deleted")
        return Opening(room.subscribe(subscriber, role, content.offset), content)

    async def _role(self, document_id: UUID, account_id: UUID) -> Role:
        role = await self._log.role(document_id, account_id)
        if role is None:
            raise MemoError(ErrorCode.NOT_FOUND, "there is no such memory, or none you may see")
        return role

    def doubt_roles(self) -> None:
        """Somebody's role has changed: openings under way ask for theirs again."""
        self._role_changes += 1

    async def content(self, document_id: UUID) -> Content:
        """The whole document."""
        return Content(0, *await self._log.content(document_id, 0))

    def client_id(self, document_id: UUID) -> int:
        """The Yjs client id that the server begins a new document under."""
        return self._pens.of(document_id, None)

    async def write(self, document_id: UUID, author: Author, make: Make) -> bool:
        """Change a document on the server. Returns whether its rows were written along; if
        not, others wrote at the same moment and the projector is about to. `make` is called again
        if somebody else has taken the client id it was given.

        Raises:
            MemoError: `gone`, `forbidden`; whatever `make` raises.
        """
        room = await self._room(document_id)
        room.pins += 1
        try:
            await room.writing.acquire()
        except BaseException:
            self._unpin(room)
            raise
        # A caller that goes away must not release the room to the next writer, who would make
        # an update of the same clocks, while this one's commit is under way.
        writing = asyncio.get_running_loop().create_task(self._write(room, author, make))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        return await outlived(writing)

    async def _write(self, room: Room, author: Author, make: Make) -> bool:
        owner = author.account_id if author.commenting else None
        number = 0
        try:
            while True:
                number, client_id = self._pen(room, owner, number)
                content = await self.content(room.document_id)
                payload, projection = await make(content.payloads, client_id)
                if payload is None:
                    return True
                try:
                    offset = await room.write(author, payload, projection, content.offset)
                except MemoError as error:
                    number += 1
                    if error.code is not ErrorCode.CLIENT_ID_TAKEN or number >= _PENS:
                        raise
                else:
                    return offset == content.offset + 1
        finally:
            room.writing.release()
            self._unpin(room)

    def _pen(self, room: Room, owner: UUID | None, number: int) -> tuple[int, int]:
        """The first id, from `number` on, that nobody else is known to write with; its number."""
        while True:
            client_id = self._pens.of(room.document_id, owner, number)
            if room.is_free(client_id, owner) or number + 1 >= _PENS:
                return number, client_id
            number += 1

    def _unpin(self, room: Room) -> None:
        room.pins -= 1
        if not room.busy:
            self._idle(room)

    def announce_deleted(self, document_id: UUID) -> None:
        """The document was deleted: its channels end on every node."""
        self._broker.publish("deleted", document_id.bytes)

    def know(self, document_id: UUID, head: int | None) -> None:
        """The document's log reaches up to `head`; None: the document is deleted."""
        room = self.rooms.get(document_id)
        if head is None:
            self._deleted(document_id.bytes)
        elif room is not None:
            room.tail.know(head)

    def _deleted(self, message: bytes) -> None:
        document_id = UUID(bytes=message)
        if document_id in self._opening:
            self._deleted_meanwhile.add(document_id)
        room = self.rooms.pop(document_id, None)
        if room is not None:
            room.end(MemoError(ErrorCode.GONE, "this memory has been deleted"))
            self._forget(room)

    async def _room(self, document_id: UUID) -> Room:
        room = self.rooms.get(document_id)
        if room is not None and not room.ended:
            return room
        opening = self._opening.get(document_id)
        if opening is None:
            opening = asyncio.get_running_loop().create_task(self._load(document_id))
            self._opening[document_id] = opening
            opening.add_done_callback(lambda _: self._opening.pop(document_id, None))
        return await outlived(opening)

    async def _load(self, document_id: UUID) -> Room:
        early: list[bytes] = []
        topic = f"document:{document_id}"
        leave = None
        if self._broker.shared:
            # Before the log is read, so that what is committed behind that is heard.
            leave = self._broker.subscribe(topic, early.append)
        try:
            if leave is not None:
                await self._broker.joined(topic)
            standing = await self._log.standing(document_id)
            if standing is None or standing.deleted:
                raise MemoError(ErrorCode.GONE, "this memory has been deleted")
            state = await load_state(standing, self._workers)
            if document_id in self._deleted_meanwhile:
                raise MemoError(ErrorCode.GONE, "this memory has been deleted")
            room = self._make(document_id, standing, state)
            if leave is not None:
                self._leave[room] = self._broker.subscribe(topic, room.hear)
        finally:
            self._deleted_meanwhile.discard(document_id)
            if leave is not None:
                leave()
        for message in early:
            room.hear(message)
        if (ended := self.rooms.get(document_id)) is not None:
            self._forget(ended)
        self.rooms[document_id] = room
        self._idle(room)
        return room

    def _make(self, document_id: UUID, standing: Standing, state: State) -> Room:
        def announce(message: bytes) -> None:
            self._broker.publish(f"document:{document_id}", message, but=room.hear)

        room = Room(
            document_id,
            next(self._channels),
            standing,
            state,
            log=self._log,
            workers=self._workers,
            observer=self._observer,
            tasks=self._tasks,
            wake=self._committer.wake,
            committed=self._committed,
            idle=self._idle,
            hold_seconds=self._hold_seconds,
        )
        if self._broker.shared:
            room.join_nodes(self._name, announce)
        return room

    def _committed(self, room: Room) -> None:
        for notice in self._on_commit:
            notice(room)

    def _idle(self, room: Room) -> None:
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._close_if_idle, room)

    def _close_if_idle(self, room: Room) -> None:
        if not room.busy and self.rooms.get(room.document_id) is room:
            del self.rooms[room.document_id]
            room.close()
            self._forget(room)
            for notice in self._on_close:
                notice(room)

    def _forget(self, room: Room) -> None:
        leave = self._leave.pop(room, None)
        if leave is not None:
            leave()
