"""The indexer: reads memories again whose words search has not, or no longer.

An edit brings its memory's words along with its rows (see `projection`). What is left is queued in
the database: memories from before there was a search, and those whose files have changed. They are
taken a few at a time, with as long a rest after each as it took; several nodes begin at different
places, and where they meet, one writes what the other wrote.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID, uuid4

from protocol.errors import ErrorCode, MemoError
from protocol.log import Projection, Queued
from sync.document import project
from sync.interfaces import Log, Observer
from sync.tasks import Tasks
from sync.worker import WorkerPool

IDLE_SECONDS = 10.0  # between two looks at an empty queue
BATCH = 50
_PASSING = frozenset((ErrorCode.BUSY, ErrorCode.UNAVAILABLE))  # no fault of the document
_FIRST = UUID(int=0)


class Texts(Protocol):
    """The queue, and the words as they are stored."""

    async def queued(self, after: UUID, limit: int) -> Sequence[Queued]:
        """Memories whose words are to be read again, from behind an id on."""

    async def waiting(self) -> int:
        """How many memories are queued."""

    async def index(self, queued: Queued, projection: Projection | None, offset: int) -> None:
        """Write the words of the document at `offset` and take it from the queue. Without a
        projection it is only taken."""


class Indexer:
    """`start` it once; `index_queued` does what is queued now."""

    def __init__(
        self, log: Log, texts: Texts, workers: WorkerPool, *, observer: Observer, tasks: Tasks
    ) -> None:
        self._log = log
        self._texts = texts
        self._workers = workers
        self._observer = observer
        self._tasks = tasks

    def start(self) -> None:
        self._tasks.start(self._run())

    async def index_queued(self, *, rest: float = 1.0) -> int:
        """Read what is queued; returns how many memories that were. After each it rests `rest`
        times as long as it took.

        Raises:
            MemoError: `unavailable`, `busy`.
        """
        # Once from anywhere to the end, and once from the beginning.
        count = 0
        self._observer.unindexed(await self._texts.waiting())
        for place in (uuid4(), _FIRST):
            after = place
            while batch := await self._texts.queued(after, BATCH):
                for queued in batch:
                    started = time.perf_counter()
                    await self._index(queued)
                    took = time.perf_counter() - started
                    self._observer.indexed(took)
                    await asyncio.sleep(rest * took)
                    after = queued.memory_id
                count += len(batch)
                self._observer.unindexed(await self._texts.waiting())
        return count

    async def _index(self, queued: Queued) -> None:
        projection, offset = None, 0
        try:
            snapshot, rows = await self._log.content(queued.memory_id, 0)
            updates = [payload for _, payload in rows]
            if snapshot is not None:
                updates.insert(0, snapshot.payload)
                offset = snapshot.offset
            offset = rows[-1][0] if rows else offset
            projection = await self._workers.run(project, updates)
        except Exception as error:
            if isinstance(error, MemoError) and error.code in _PASSING:
                raise
            # It is not read again until it is edited: that the next one would fail as well.
            self._observer.failed("indexing", queued.memory_id, error)
        await self._texts.index(queued, projection, offset)

    async def _run(self) -> None:
        while True:
            try:
                await self.index_queued()
            except Exception as error:  # noqa: BLE001 (what is queued stays so)
                self._observer.failed("indexing", None, error)
            await asyncio.sleep(IDLE_SECONDS)
