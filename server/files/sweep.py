"""What nobody finished or needs any more, among files: looked for now and then."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from protocol.errors import MemoError
from server.files.processing import Processing
from server.files.uploads import Uploads
from server.metrics import Metrics
from storage import outage
from storage.blobs import Blobs
from storage.uploads import UploadRows

SWEEP_SECONDS = 60.0
GRACE_SECONDS = 600.0  # for who reads a file that is deleted meanwhile
AT_ONCE = 100

log = structlog.get_logger(__name__)


class Sweep:
    """Any number of nodes may sweep at a time: rows that one has in hand are passed by."""

    def __init__(
        self,
        rows: UploadRows,
        blobs: Blobs,
        uploads: Uploads,
        processing: Processing,
        metrics: Metrics,
        *,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._rows = rows
        self._blobs = blobs
        self._uploads = uploads
        self._processing = processing
        self._metrics = metrics
        self._grace_seconds = grace_seconds

    async def run(self) -> None:
        """Sweep now and then, for ever."""
        while True:
            # Not all nodes at once.
            await asyncio.sleep(SWEEP_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311
            await self.sweep()

    async def sweep(self) -> None:
        """Finish what was left whole, end what was left half, and remove what nothing refers to."""
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            self._finish,
            self._expire,
            self._collect,
            self._processing.catch_up,
        )
        for step in steps:
            try:
                with outage.reported():
                    await step()
            except MemoError as error:
                log.warning("files.unswept", step=step.__name__.strip("_"), error=str(error))
            except Exception:
                log.exception("files.unswept", step=step.__name__.strip("_"))

    async def _finish(self) -> None:
        await self._uploads.complete_left(AT_ONCE)

    async def _expire(self) -> None:
        self._metrics.uploads_expired.inc(await self._rows.expire(AT_ONCE))

    async def _collect(self) -> None:
        while paths := await self._rows.doom(self._grace_seconds, AT_ONCE):
            for path in paths:
                await self._blobs.delete_all(path)
                await self._rows.forget(path)
                self._metrics.blobs_collected.inc()
