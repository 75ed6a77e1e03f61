"""Snapshots and trimming: what keeps a document cheap to open and its log from growing for ever.

A snapshot is made when the tail outweighs the last one, and of a smaller tail when the document
is let go or its rows are past their retention age. Rows go only behind a snapshot that has
integrated them, only past that age, and who wrote what is kept when they go.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from uuid import UUID

from protocol.log import Authorship, Row, Snapshot
from sync.document import merge
from sync.interfaces import Log, Observer
from sync.room import ROW_WEIGHT, Room
from sync.scanning import SCAN_INLINE_BYTES
from sync.tasks import Tasks
from sync.update import scan
from sync.worker import WorkerPool

MIN_TAIL_BYTES = 32 * 1024
MIN_REST_BYTES = 4 * 1024  # of the tail of a document that nobody writes in any more,
REST_SHARE = 0.25  # or this share of its snapshot, if that is more
FINISH_SECONDS = 3.0  # for the documents that are open when the node stops
SWEEP_SECONDS = 3600.0
SWEEP_LIMIT = 1000
CONCURRENCY = 2


class Compactor:
    """`start` it once; `committed` looks whether a room's tail has outgrown its snapshot.

    `retention_seconds` is how long rows stay that a snapshot has integrated: within it a device
    that comes back is sent just what it missed.
    """

    def __init__(
        self,
        log: Log,
        workers: WorkerPool,
        observer: Observer,
        tasks: Tasks,
        retention_seconds: float,
    ) -> None:
        self._log = log
        self._workers = workers
        self._observer = observer
        self._tasks = tasks
        self._retention = retention_seconds
        self._running: set[UUID] = set()
        self._compactions: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(CONCURRENCY)

    def start(self) -> None:
        self._tasks.start(self._sweep())

    def committed(self, room: Room) -> None:
        """The room's tail has grown."""
        self._compact_beyond(room, overgrowth(room.snapshot_bytes))

    def let_go(self, room: Room) -> None:
        """Nobody is in the room any more: the next to open it should not have to read much."""
        self._compact_beyond(room, remains(room.snapshot_bytes))

    async def finish(self, rooms: Iterable[Room], timeout: float = FINISH_SECONDS) -> None:
        """Let go of the rooms that are open when the node stops, for at most `timeout` seconds:
        whoever opens their documents next should not have to read much."""
        for room in sorted(rooms, key=lambda room: room.tail_weight, reverse=True):
            self.let_go(room)
        if self._compactions:
            await asyncio.wait(self._compactions, timeout=timeout)

    def _compact_beyond(self, room: Room, weight: float) -> None:
        if room.tail_weight > weight and room.document_id not in self._running:
            self._running.add(room.document_id)
            compaction = self._tasks.start(self._compact_room(room, weight))
            self._compactions.add(compaction)
            compaction.add_done_callback(self._compactions.discard)

    async def _compact_room(self, room: Room, weight: float) -> None:
        try:
            async with self._turns:
                before = room.tail_weight
                size = await self.compact(room.document_id, beyond=weight)
                # What came meanwhile is the new tail. A document that cannot be merged is not
                # tried again at each commit: its tail has to grow as much once more.
                room.compacted(size if size is not None else before, before)
        except Exception as error:  # noqa: BLE001 (the log is whole without a snapshot)
            room.compacted(room.snapshot_bytes + room.tail_weight, room.tail_weight)
            self._observer.failed("compaction", room.document_id, error)
        finally:
            self._running.discard(room.document_id)

    async def compact(self, document_id: UUID, *, beyond: float = 0) -> int | None:
        """Make and keep a snapshot of the document as of now, and trim behind it. Returns its
        size in bytes; None if a newer one is there. One that another node has just made will do,
        when the tail behind it does not weigh more than `beyond`.

        Raises:
            ValueError: the merged document would lack something; nothing was stored.
        """
        snapshot, rows = await self._log.content(document_id, 0)
        if not rows:
            return None
        weight = sum(len(payload) + ROW_WEIGHT for _, payload in rows)
        if snapshot is not None and weight <= beyond:
            return len(snapshot.payload)
        payload, state = await self._workers.run(
            merge,
            snapshot.payload if snapshot else None,
            snapshot.state if snapshot else None,
            [payload for _, payload in rows],
        )
        kept = await self._log.save_snapshot(document_id, Snapshot(rows[-1][0], payload, state))
        self._observer.compacted(document_id, len(payload))
        await self.trim(document_id)
        return len(payload) if kept else None

    async def trim(self, document_id: UUID) -> None:
        """Remove the rows that a snapshot has integrated and that are past their retention."""
        while rows := await self._log.trimmable(document_id, self._retention):
            authorship = await self._workers.run(authors, rows)
            await self._log.trim(document_id, rows[-1].offset, authorship)

    async def _sweep(self) -> None:
        unfolded = partial(
            self._log.unfolded,
            self._retention,
            SWEEP_LIMIT,
            least=MIN_REST_BYTES,
            share=REST_SHARE,
        )
        overgrown = partial(self._log.overgrown, self._retention, SWEEP_LIMIT)
        while True:
            await self._each("compaction", unfolded, self.compact)
            await self._each("trimming", overgrown, self.trim)
            await asyncio.sleep(SWEEP_SECONDS)

    async def _each(
        self,
        what: str,
        find: Callable[[], Awaitable[Sequence[UUID]]],
        work: Callable[[UUID], Awaitable[object]],
    ) -> None:
        """Do the work for each document found. One that fails costs the others nothing, and the
        next sweep finds it again."""
        try:
            found = await find()
        except Exception as error:  # noqa: BLE001 (the next sweep asks again)
            self._observer.failed(what, None, error)
            return
        for document_id in found:
            async with self._turns:
                if document_id in self._running:
                    continue  # a room's own compaction is at it, and trims too
                self._running.add(document_id)
                try:
                    await work(document_id)
                except Exception as error:  # noqa: BLE001 (the log is whole without)
                    self._observer.failed(what, document_id, error)
                finally:
                    self._running.discard(document_id)


def overgrowth(snapshot_bytes: int) -> float:
    """The weight of a tail that it is time to make a snapshot of."""
    return max(MIN_TAIL_BYTES, snapshot_bytes)


def remains(snapshot_bytes: int) -> float:
    """The weight of a tail that may stay when a document is let go. Who opens it next has it read
    at once, not in a worker."""
    return min(max(MIN_REST_BYTES, REST_SHARE * snapshot_bytes), SCAN_INLINE_BYTES)


def authors(rows: Sequence[Row]) -> list[Authorship]:
    """Who sent which clocks in these rows; a run of one author on one device is one record,
    dated by its last row. What was sent again is the first sender's: the log keeps it so."""
    runs: dict[int, list[Authorship]] = {}
    for row in rows:
        author = row.account_id, row.device_id
        for client, (start, end) in scan(row.payload).structs.items():
            written = runs.setdefault(client, [])
            last = written[-1] if written else None
            if last and (last.clock_to, last.account_id, last.device_id) == (start, *author):
                written[-1] = Authorship(client, last.clock_from, end, *author, row.written_at)
            else:
                written.append(Authorship(client, start, end, *author, row.written_at))
    return [authorship for written in runs.values() for authorship in written]
