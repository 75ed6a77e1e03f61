"""Bringing archives back in the background: on any node, a few at a time on each, and one of an
account."""

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog

from protocol.errors import MemoError
from server.metrics import Metrics
from server.takeout.arrival import bring
from server.takeout.bringing import Places, Tally
from server.takeout.jobs import MOST_SECONDS, Jobs
from server.takeout.sources import ArchiveError, ZipSource
from storage import outage
from storage.blobs import Blob, Blobs
from storage.files import FileRows
from storage.imports import MAX_ATTEMPTS, ClaimedImport
from sync.feed import Notices

PROGRESS_SECONDS = 5.0
AT_ONCE = 3  # imports of a node: one that takes long does not hold up everybody's

log = structlog.get_logger(__name__)


class _LostError(Exception):
    """The import is another node's to carry out now, or nobody's: the account is gone, say."""


class Importing:
    """Brings archives back, as `jobs`."""

    def __init__(
        self, places: Places, files: FileRows, blobs: Blobs, notices: Notices, metrics: Metrics
    ) -> None:
        self._places = places
        self._rows = places.rows
        self._files = files
        self._blobs = blobs
        self._notices = notices
        self._metrics = metrics
        self.jobs = Jobs("imports", self.carry_out_next, at_once=AT_ONCE)

    async def carry_out_next(self) -> bool:
        """Carry out the import that has waited longest. False when none waits.

        Raises:
            MemoError: `unavailable`: the database.
        """
        with outage.reported():
            claimed = await self._rows.claim()
            if claimed is None:
                return False
            if claimed.attempt > MAX_ATTEMPTS:
                outcome = await self._give_up(claimed)
            else:
                outcome = await self._carry_out(claimed)
        self._metrics.imports.labels(outcome).inc()
        self._notices.feed_changed([claimed.account_id])
        if outcome != "postponed":
            self._notices.imports_changed(claimed.account_id)
        return True

    async def _give_up(self, claimed: ClaimedImport) -> str:
        log.warning("import.given_up", id=str(claimed.id), attempts=MAX_ATTEMPTS)
        await self._rows.give_up(
            claimed,
            f"it was begun {MAX_ATTEMPTS} times and never came to an end; something in it may take"
            " too long, or the server was stopped each time: import it in parts",
        )
        return "failed"

    async def _carry_out(self, claimed: ClaimedImport) -> str:
        """Carry out one import; returns what became of it."""
        tally = Tally()
        problem = "it could not be carried out; start it again later"
        try:
            async with asyncio.timeout(MOST_SECONDS):
                await self._attended(self._bring(claimed, tally), claimed, tally)
            await self._rows.finish(claimed, msgspec.to_builtins(tally))
        except ArchiveError as error:
            problem = str(error)
        except _LostError:
            return "postponed"
        except Exception as error:
            if not await self._rows.held(claimed):
                return "postponed"  # the account went meanwhile, and all that was its
            expected = isinstance(error, MemoError | TimeoutError)
            log.warning(
                "import.broken", id=str(claimed.id), error=str(error), exc_info=not expected
            )
            if claimed.attempt < MAX_ATTEMPTS:
                await self._rows.postpone(claimed)
                return "postponed"
        else:
            return "done"
        await self._rows.finish(claimed, msgspec.to_builtins(tally), problem)
        return "failed"

    async def _bring(self, claimed: ClaimedImport, tally: Tally) -> None:
        blob = await self._files.bytes_of(claimed.file_id)
        if blob is None:
            raise ArchiveError("the file is there no more")
        with tempfile.TemporaryDirectory(prefix="memo-import-") as directory:
            path = Path(directory) / "archive.zip"
            await self._fetch(blob, path)
            source = await asyncio.to_thread(ZipSource, path)
            try:
                begun_at = claimed.created_at if claimed.attempt > 1 else None
                await bring(self._places, claimed.account_id, source, tally, begun_at)
            finally:
                source.close()

    async def _fetch(self, blob: Blob, path: Path) -> None:
        with await asyncio.to_thread(path.open, "wb") as file:
            async for chunk in self._blobs.read(blob):
                await asyncio.to_thread(file.write, chunk)

    async def _attended(
        self, bringing: Coroutine[Any, Any, None], claimed: ClaimedImport, tally: Tally
    ) -> None:
        """Have the work done, and say meanwhile how far it has come."""
        work = asyncio.create_task(bringing)
        try:
            while not work.done():
                await asyncio.wait([work], timeout=PROGRESS_SECONDS)
                if not work.done():
                    await self._tell(claimed, tally)
            await work
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await work

    async def _tell(self, claimed: ClaimedImport, tally: Tally) -> None:
        if not await self._rows.progress(claimed, msgspec.to_builtins(tally)):
            raise _LostError
        self._notices.feed_changed([claimed.account_id])
