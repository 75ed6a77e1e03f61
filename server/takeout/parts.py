"""All that has to do with taking along, put together."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

import asyncpg
import structlog
from starlette.routing import Route

from server.auth import Auth
from server.files.parts import Filing
from server.metrics import Metrics
from server.takeout.belongings import Belongings, Shelves
from server.takeout.bringing import Places
from server.takeout.exporting import Exporting
from server.takeout.exports import Exports
from server.takeout.importing import AT_ONCE, Importing
from server.takeout.imports import Imports
from storage.accounts import Accounts
from storage.blobs import Blobs
from storage.categories import CategoryRows
from storage.exports import ExportRows
from storage.files import FileRows
from storage.history import HistoryRows
from storage.imports import ImportRows
from storage.memberships import Memberships
from storage.memories import MemoryRows
from storage.messages import MessageRows
from storage.updates import UpdateLog
from sync.feed import Notices
from sync.tasks import Tasks
from sync.worker import WorkerPool

log = structlog.get_logger(__name__)


def shelves(
    pool: asyncpg.Pool, memories: MemoryRows, files: FileRows, blobs: Blobs, workers: WorkerPool
) -> Shelves:
    """Where everything of an account is."""
    return Shelves(
        accounts=Accounts(pool),
        categories=CategoryRows(pool),
        memories=memories,
        messages=MessageRows(pool),
        members=Memberships(pool),
        history=HistoryRows(pool),
        files=files,
        exports=ExportRows(pool),
        log=UpdateLog(pool, memories),
        blobs=blobs,
        workers=workers,
    )


class Takeout(NamedTuple):
    """The parts that others need."""

    exports: Exports
    imports: Imports
    routes: Sequence[Route]

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        pool: asyncpg.Pool,
        memories: MemoryRows,
        store: Filing,
        *,
        project: Callable[[UUID], Awaitable[None]],
        auth: Auth,
        notices: Notices,
        metrics: Metrics,
    ) -> AsyncIterator["Takeout"]:
        """Everything built; archives are made and brought back until the end."""
        # Apart from those for documents: archives may not make edits wait.
        workers = WorkerPool(size=1 + AT_ONCE)
        tasks = Tasks(lambda error: log.error("a task failed", exc_info=error))
        rows = ExportRows(pool)
        found = shelves(pool, memories, store.rows, store.blobs, workers)
        belongings = Belongings(found._replace(project=project))
        exporting = Exporting(rows, belongings, store.blobs, notices, metrics)
        exports = Exports(rows, exporting, store.links, auth, store.sending)
        places = Places(CategoryRows(pool), memories, ImportRows(pool), store.uploads, workers)
        importing = Importing(places, store.rows, store.blobs, notices, metrics)
        try:
            tasks.start(exporting.jobs.run())
            tasks.start(importing.jobs.run())
            yield cls(exports, Imports(places.rows, importing), exports.routes())
        finally:
            await tasks.cancel()
            workers.close()
