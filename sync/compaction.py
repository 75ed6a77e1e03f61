"""Snapshots and trimming: what keeps a document cheap to open and its log from growing for ever.

A snapshot is made when the tail outweighs the last one. Rows go only behind a snapshot that has
integrated them, only past their retention age, and who wrote what is kept when they go.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from protocol.log import Authorship, Row, Snapshot
from sync.document import merge
from sync.interfaces import Log, Observer
from sync.room import ROW_WEIGHT, Room
from sync.tasks import Tasks
from sync.update import scan
from sync.worker import WorkerPool

MIN_TAIL_BYTES = 32 * 1024
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
        self._turns = asyncio.Semaphore(CONCURRENCY)

    def start(self) -> None:
        self._tasks.start(self._sweep())

    def committed(self, room: Room) -> None:
        """The room's tail has grown."""
        if (
            room.tail_weight > max(MIN_TAIL_BYTES, room.snapshot_bytes)
            and room.document_id not in self._running
        ):
            self._running.add(room.document_id)
            self._tasks.start(self._compact_room(room))

    async def _compact_room(self, room: Room) -> None:
        try:
            async with self._turns:
                before = room.tail_weight
                size = await self.compact(room.document_id, if_overgrown=True)
                # What came meanwhile is the new tail. A document that cannot be merged is not
                # tried again at each commit: its tail has to grow as much once more.
                room.compacted(size if size is not None else before, before)
        except Exception as error:  # noqa: BLE001 (the log is whole without a snapshot)
            room.compacted(room.snapshot_bytes + room.tail_weight, room.tail_weight)
            self._observer.failed("compaction", room.document_id, error)
        finally:
            self._running.discard(room.document_id)

    async def compact(self, document_id: UUID, *, if_overgrown: bool = False) -> int | None:
        """Make and keep a snapshot of the document as of now, and trim behind it. Returns its
        size in bytes; None if a newer one is there. With `if_overgrown`, the one that another
        node has just made will do.

        Raises:
            ValueError: the merged document would lack something; nothing was stored.
        """
        snapshot, rows = await self._log.content(document_id, 0)
        if not rows:
            return None
        if if_overgrown and snapshot is not None:
            weight = sum(len(payload) + ROW_WEIGHT for _, payload in rows)
            if weight <= max(MIN_TAIL_BYTES, len(snapshot.payload)):
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
        while True:
            try:
                for document_id in await self._log.overgrown(self._retention, SWEEP_LIMIT):
                    await self.trim(document_id)
            except Exception as error:  # noqa: BLE001 (the next sweep finds the same documents)
                self._observer.failed("trimming", None, error)
            await asyncio.sleep(SWEEP_SECONDS)


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
