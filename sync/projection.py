"""The projector: keeps the rows of lists and search behind the log by moments.

A commit marks its document; after `DEBOUNCE_SECONDS` the document is read in a worker process
and its rows are written, guarded by the offset they stand for. One that is typed in all the time
rests in between, and the longer the more there are of them, so that rows cost a fraction of what
edits do. After a crash, and every `SWEEP_SECONDS`, the documents whose rows are behind are found
in the database.
"""

import asyncio
import time
from uuid import UUID

from protocol.errors import ErrorCode, MemoError
from sync.document import project
from sync.feed import Notices
from sync.interfaces import Log, Observer, Projections
from sync.room import Room
from sync.tasks import Tasks
from sync.worker import WorkerPool

DEBOUNCE_SECONDS = 0.2
SWEEP_SECONDS = 30.0
SWEEP_LIMIT = 500
CONCURRENCY = 4
TURNS = 12  # of one projection: rows of a long thread are written in parts, or others are quicker
REST_SECONDS = 1.0  # between two projections of one document,
REST_FACTOR = 5.0  # or this many times as long as the last one took, if that is more,
RATE = 50.0  # or as long as it takes to project all that are typed in at so many a second
_PASSING = frozenset((ErrorCode.BUSY, ErrorCode.UNAVAILABLE))  # no fault of the document


class Projector:
    """`start` it once; `committed` marks a document; `project` brings its rows up to date now."""

    def __init__(
        self,
        log: Log,
        projections: Projections,
        workers: WorkerPool,
        notices: Notices,
        *,
        observer: Observer,
        tasks: Tasks,
    ) -> None:
        self._log = log
        self._projections = projections
        self._workers = workers
        self._notices = notices
        self._observer = observer
        self._tasks = tasks
        self._marked: set[UUID] = set()  # waiting for their turn
        self._running: set[UUID] = set()  # being projected, or resting from it
        self._again: set[UUID] = set()  # marked meanwhile
        self._unbearable: dict[UUID, int] = {}  # offsets at which a document could not be read
        self._turns = asyncio.Semaphore(CONCURRENCY)

    def start(self) -> None:
        self._tasks.start(self._sweep())

    def committed(self, room: Room) -> None:
        """The room's document has news."""
        self.mark(room.document_id)

    def mark(self, document_id: UUID, delay: float = DEBOUNCE_SECONDS) -> None:
        """Project the document after `delay` seconds, with whatever came in between."""
        if document_id in self._running:
            self._again.add(document_id)
        elif document_id not in self._marked:
            self._marked.add(document_id)
            asyncio.get_running_loop().call_later(delay, self._begin, document_id)

    def _begin(self, document_id: UUID) -> None:
        self._marked.discard(document_id)
        if document_id in self._running:
            self._again.add(document_id)
            return
        self._running.add(document_id)
        self._tasks.start(self._project_marked(document_id))

    async def _project_marked(self, document_id: UUID) -> None:
        started = time.perf_counter()
        try:
            async with self._turns:
                await self.project(document_id)
        except Exception as error:  # noqa: BLE001 (one document must not stop the others)
            self._observer.failed("projection", document_id, error)
        rest = rest_seconds(time.perf_counter() - started, len(self._running))
        asyncio.get_running_loop().call_later(rest, self._rested, document_id)

    def _rested(self, document_id: UUID) -> None:
        self._running.discard(document_id)
        if document_id in self._again:
            self._again.discard(document_id)
            self._begin(document_id)

    async def project(self, document_id: UUID) -> None:
        """Write the document's rows as of now, and tell the devices that follow it.

        Raises:
            Exception: the document could not be read; its devices are told all the same, since
                its log has news.
        """
        for _ in range(TURNS):
            if await self._project(document_id):
                return
        self.mark(document_id, REST_SECONDS)

    async def _project(self, document_id: UUID) -> bool:
        """Whether all rows are written: see `Saved`."""
        known = await self._projections.known(document_id)
        snapshot, rows = await self._log.content(document_id, 0)
        if snapshot is None and not rows:
            return True
        offset = rows[-1][0] if rows else snapshot.offset if snapshot else 0
        if self._unbearable.get(document_id) == offset:
            return True
        updates = [payload for _, payload in rows]
        started = time.perf_counter()
        try:
            projection = await self._workers.run(
                project, updates if snapshot is None else [snapshot.payload, *updates], known
            )
            saved = await self._projections.save(document_id, projection, offset)
        except Exception as error:
            if not (isinstance(error, MemoError) and error.code in _PASSING):
                self._unbearable[document_id] = offset
            self._notices.feed_changed(await self._projections.followers(document_id), document_id)
            raise
        self._unbearable.pop(document_id, None)
        self._observer.projected(time.perf_counter() - started)
        self._notices.feed_changed(saved.followers, document_id)
        return saved.whole

    async def _sweep(self) -> None:
        while True:
            try:
                for document_id in await self._projections.unprojected(SWEEP_LIMIT):
                    self.mark(document_id, delay=0)
            except Exception as error:  # noqa: BLE001 (the next sweep finds the same documents)
                self._observer.failed("projection sweep", None, error)
            await asyncio.sleep(SWEEP_SECONDS)


def rest_seconds(took: float, documents: int) -> float:
    """How long a document rests from a projection that `took` so many seconds, while so many
    `documents` take turns: the more of them, the longer, so that edits keep their share of the
    node."""
    return max(REST_SECONDS, REST_FACTOR * took, documents / RATE)
