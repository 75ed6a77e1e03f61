"""All that has to do with files, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg
import structlog
from starlette.routing import Route

from server.auth import Auth
from server.config import ConfigError, Settings
from server.files.downloads import Downloads, Sending
from server.files.links import Links
from server.files.operations import Files
from server.files.processing import Processing
from server.files.receiving import Receiving
from server.files.sweep import Sweep
from server.files.tus import Tus
from server.files.uploads import Uploads
from server.metrics import Metrics
from server.tokens import Tokens
from storage.blobs import Blobs, BlobStoreError
from storage.files import FileRows
from storage.uploads import UploadRows
from sync.feed import Notices
from sync.tasks import Tasks
from sync.worker import WorkerPool

log = structlog.get_logger(__name__)

PICTURE_SECONDS = 30.0  # for one picture to be looked at


class Filing(NamedTuple):
    """The parts that others need. `uploads` takes files in, `rows` and `blobs` have them."""

    rows: FileRows
    blobs: Blobs
    uploads: Uploads
    processing: Processing
    sweep: Sweep
    files: Files
    links: Links
    sending: Sending
    routes: list[Route]

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        settings: Settings,
        pool: asyncpg.Pool,
        auth: Auth,
        tokens: Tokens,
        *,
        notices: Notices,
        metrics: Metrics,
    ) -> AsyncIterator["Filing"]:
        """Everything built; pictures are looked at, and what is left over swept, until the end.

        Raises:
            ConfigError: BLOB_URL cannot be used, or is not that of this database.
        """
        try:
            blobs = Blobs.at(settings.blobs_url)
            await blobs.claim(pool)
        except BlobStoreError as error:
            raise ConfigError(str(error)) from error
        # Apart from those for documents: pictures may not make edits wait.
        workers = WorkerPool(size=1, timeout=PICTURE_SECONDS)
        tasks = Tasks(lambda error: log.error("a task failed", exc_info=error))
        try:
            rows = FileRows(pool, settings.file_quota_bytes)
            upload_rows = UploadRows(pool, settings.file_quota_bytes)
            links = Links(tokens)
            processing = Processing(rows, blobs, workers, notices, metrics)
            uploads = Uploads(
                upload_rows, blobs, processing, notices, metrics, max_bytes=settings.max_file_bytes
            )
            sweep = Sweep(upload_rows, blobs, uploads, processing, metrics)
            tasks.start(processing.run())
            tasks.start(sweep.run())
            yield cls(
                rows,
                blobs,
                uploads,
                processing,
                sweep,
                Files(rows, links, notices),
                links,
                Sending(blobs, metrics),
                [
                    *Receiving(auth, uploads).routes(),
                    *Tus(auth, uploads).routes(),
                    *Downloads(auth, links, rows, blobs, metrics).routes(),
                ],
            )
        finally:
            await tasks.cancel()
            workers.close()
