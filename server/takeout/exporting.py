"""Making archives in the background: on any node, one at a time on each."""

import asyncio
import hashlib

import structlog

from protocol.errors import MemoError
from server.metrics import Metrics
from server.takeout.belongings import Belongings
from server.takeout.jobs import MOST_SECONDS, Jobs
from server.takeout.packing import Packer
from storage import outage
from storage.blobs import PART_BYTES, Blobs
from storage.exports import LEASE_SECONDS, Claimed, ExportRows
from sync.feed import Notices

log = structlog.get_logger(__name__)


class UnwantedError(Exception):
    """The archive is another node's to make now, or nobody's: the account is gone, say."""


class Exporting:
    """Makes archives, as `jobs`."""

    def __init__(
        self,
        rows: ExportRows,
        belongings: Belongings,
        blobs: Blobs,
        notices: Notices,
        metrics: Metrics,
    ) -> None:
        self._rows = rows
        self._belongings = belongings
        self._blobs = blobs
        self._notices = notices
        self._metrics = metrics
        self.jobs = Jobs("exports", self.make_next, rows.expire)

    async def make_next(self) -> bool:
        """Make the archive that has waited longest. False when none waits.

        Raises:
            MemoError: `unavailable`: the database.
        """
        with outage.reported():
            claimed = await self._rows.claim()
            if claimed is None:
                return False
            outcome = await self._make(claimed)
        self._metrics.exports.labels(outcome).inc()
        if outcome != "unwanted":
            self._notices.exports_changed(claimed.account_id)
        return True

    async def _make(self, claimed: Claimed) -> str:
        """Make one archive; returns what became of it."""
        try:
            async with asyncio.timeout(MOST_SECONDS):
                shelf = _Shelf(claimed, self._rows, self._blobs)
                await self._belongings.pack(claimed.account_id, Packer(shelf.write))
                await shelf.flush()
                sha = shelf.digest.digest()
            done = await self._rows.finish(claimed, shelf.size, shelf.parts, sha)
        except UnwantedError:
            return "unwanted"
        except Exception as error:
            expected = isinstance(error, MemoError | TimeoutError)
            log.warning(
                "export.not_made", export=str(claimed.id), error=str(error), exc_info=not expected
            )
            await self._rows.give_up(claimed)
            return "failed"
        return "ready" if done else "unwanted"


class _Shelf:
    """Bytes on their way into the store, a part at a time."""

    def __init__(self, claimed: Claimed, rows: ExportRows, blobs: Blobs) -> None:
        self.parts: list[str] = []
        self.size = 0
        self.digest = hashlib.sha256()
        self._claimed = claimed
        self._rows = rows
        self._blobs = blobs
        self._buffer = bytearray()
        self._renewed_at = asyncio.get_running_loop().time()

    async def write(self, data: bytes) -> None:
        """Take bytes, and say from time to time that the work goes on.

        Raises:
            UnwantedError: there is no need to go on.
            MemoError: `unavailable`.
        """
        self._buffer += data
        while len(self._buffer) >= PART_BYTES:
            await self._put(PART_BYTES)
        now = asyncio.get_running_loop().time()
        if now - self._renewed_at > LEASE_SECONDS / 4:
            await self._renew()

    async def flush(self) -> None:
        """Put what is left."""
        if self._buffer:
            await self._put(len(self._buffer))

    async def _put(self, size: int) -> None:
        await self._renew()
        part = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        self.parts.append(await self._blobs.put_part(self._claimed.path, part))
        self.digest.update(part)
        self.size += size

    async def _renew(self) -> None:
        if not await self._rows.renew(self._claimed):
            raise UnwantedError
        self._renewed_at = asyncio.get_running_loop().time()
