"""What happens to a file once it is there: an image gets its size and a thumbnail."""

import asyncio

import structlog

from protocol.errors import ErrorCode, MemoError
from protocol.records import Json
from server.files.pictures import MAX_BYTES, Picture, look
from server.metrics import Metrics
from storage import outage
from storage.blobs import Blob, Blobs
from storage.files import FileRows
from sync.feed import Notices
from sync.worker import WorkerPool

QUEUE_LIMIT = 1000
LATE_SECONDS = 120.0  # after which a file that nobody has looked at was forgotten
CATCH_UP = 50

log = structlog.get_logger(__name__)


class Processing:
    """Looks at files in `workers`, one after the other. What does not fit the queue, or is lost
    with its node, `catch_up` finds."""

    def __init__(
        self,
        rows: FileRows,
        blobs: Blobs,
        workers: WorkerPool,
        notices: Notices,
        metrics: Metrics,
    ) -> None:
        self._rows = rows
        self._blobs = blobs
        self._workers = workers
        self._notices = notices
        self._metrics = metrics
        self._queue: asyncio.Queue[str] = asyncio.Queue(QUEUE_LIMIT)

    def add(self, path: str) -> None:
        """Have the bytes at `path` looked at soon."""
        if not self._queue.full():
            self._queue.put_nowait(path)

    async def run(self) -> None:
        """Look at what is added, for ever."""
        while True:
            path = await self._queue.get()
            try:
                await self.process(path)
            except MemoError as error:
                # The sweep tries again, so it is worth a line and no alarm.
                log.warning("file.unprocessed", path=path, error=str(error))
            except Exception:
                log.exception("file.unprocessed", path=path)

    async def catch_up(self) -> None:
        """Look at what should have been by now."""
        for path in await self._rows.unprocessed(LATE_SECONDS, CATCH_UP):
            await self.process(path)

    async def process(self, path: str) -> None:
        """Look at the bytes at `path` and note what they are. Harmless twice.

        Raises:
            MemoError: `unavailable`, `busy`: it is to be tried again.
        """
        with outage.reported():
            blob = await self._rows.blob(path)
        picture = await self._look(blob)
        metadata: Json = {}
        thumbnail = None
        if picture.error is None:
            metadata = {"width": picture.width, "height": picture.height}
        else:
            metadata = {"error": picture.error}
        if picture.thumbnail is not None:
            thumbnail = f"{path}/{await self._blobs.put_part(path, picture.thumbnail)}"
        with outage.reported():
            told = await self._rows.processed(path, metadata, thumbnail)
        if not told and thumbnail is not None:
            await self._blobs.delete([thumbnail])
        if told:
            self._metrics.files_processed.labels("thumbnail" if thumbnail else "none").inc()
            self._notices.files_changed(told)

    async def _look(self, blob: Blob | None) -> Picture:
        if blob is None:
            return Picture(error="the bytes of this file are lost")
        if blob.size > MAX_BYTES:
            return Picture(error=f"the image has more than {MAX_BYTES} bytes")
        try:
            return await self._workers.run(look, await self._blobs.whole(blob))
        except MemoError as error:
            match error.code:
                case ErrorCode.GONE:
                    return Picture(error="the bytes of this file are lost")
                case ErrorCode.TIMEOUT:
                    return Picture(error="the image took too long to be read")
                case ErrorCode.INTERNAL:
                    return Picture(error="the image could not be read")
            raise
