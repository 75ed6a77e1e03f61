"""One writer's hold on an upload: bytes that arrive become parts in the store."""

import asyncio
import hashlib
from contextlib import suppress
from uuid import UUID

from protocol.errors import ErrorCode, MemoError
from storage import outage
from storage.blobs import Blobs
from storage.uploads import LEASE_SECONDS, Upload, UploadRows

RENEW_SECONDS = LEASE_SECONDS / 4


class Writing:
    """Use as `async with Writing(...) as writing`; the upload is held by `writer`.

    What is in the store is recorded part by part: whatever happens, an upload goes on from there.
    With `at_once`, all of it is recorded by `record` alone.

    Attributes:
        received: the bytes of the file up to here, those that are not in the store yet included.
    """

    def __init__(
        self,
        upload: Upload,
        writer: UUID,
        rows: UploadRows,
        blobs: Blobs,
        *,
        lifetime: float,
        at_once: bool = False,
    ) -> None:
        self.upload = upload
        self.writer = writer
        self.received = upload.received
        self._rows = rows
        self._blobs = blobs
        self._lifetime = lifetime
        self._at_once = at_once
        self._part_bytes = upload.blob.part_bytes
        self._parts = list(upload.blob.parts)
        self._buffer = bytearray()
        self._recorded = upload.received
        self._fresh: list[str] = []  # parts that no row names yet
        self._stale: list[str] = []  # parts that no row names any more
        self._digest = hashlib.sha256() if upload.received == 0 else None
        self._renewed_at = asyncio.get_running_loop().time()

    async def __aenter__(self) -> "Writing":
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(MemoError), outage.reported():
            # Else it is free when its time is over.
            await self._rows.release(self.upload.id, self.writer)
        with suppress(MemoError):
            await self._blobs.delete(self._fresh)

    async def write(self, data: bytes) -> None:
        """Take bytes that have arrived.

        Raises:
            MemoError: `too_large`, past the length of the file; `quota_exceeded`; `conflict`, when
                the upload is no longer this writer's; `unavailable`.
        """
        length = self.upload.intake.length
        if length is not None and self.received + len(data) > length:
            raise MemoError(
                ErrorCode.TOO_LARGE,
                f"the file was said to have {length} bytes, and more came",
                details={"Upload-Length": f"is {length}"},
            )
        if not self._buffer and self.received % self._part_bytes:
            await self._take_up_last_part()
        self._buffer += data
        self.received += len(data)
        while len(self._buffer) >= self._part_bytes:
            part = bytes(memoryview(self._buffer)[: self._part_bytes])
            del self._buffer[: self._part_bytes]
            await self._put(part)
            if not self._at_once:
                await self.record()
        await self._renew()

    async def flush(self) -> None:
        """Have all that was written in the store.

        Raises:
            MemoError: as `write`.
        """
        if self._buffer:
            part, self._buffer = bytes(self._buffer), bytearray()
            await self._put(part)
        if not self._at_once:
            await self.record()

    async def record(self) -> None:
        """Note what is in the store; what was put there since counts from now on."""
        stored = self.received - len(self._buffer)
        if stored == self._recorded:
            return
        # Should the answer be lost, a row may name them: then they stay, at worst for nothing.
        self._fresh.clear()
        await self._rows.record(self.upload, self.writer, self._parts, stored, self._lifetime)
        self._recorded = stored
        stale, self._stale = self._stale, []
        with suppress(MemoError):
            await self._blobs.delete(stale)

    async def wanted(self) -> bool:
        """Whether another writer waits; called while nothing arrives.

        Raises:
            MemoError: `conflict`, when the upload is no longer this writer's.
        """
        self._renewed_at = asyncio.get_running_loop().time()
        return await self._rows.renew(self.upload.id, self.writer)

    async def digest(self) -> bytes:
        """The SHA-256 of the whole file, all of which is recorded.

        Raises:
            MemoError: `gone`, `unavailable`, `conflict`.
        """
        if self._digest is None:
            digest = hashlib.sha256()
            blob = self.upload.blob._replace(size=self._recorded, parts=self._parts)
            async for chunk in self._blobs.read(blob):
                await asyncio.to_thread(digest.update, chunk)
                await self._renew()
            self._digest = digest
        return self._digest.digest()

    async def head(self, size: int) -> bytes:
        """The first bytes of the file, of what is recorded.

        Raises:
            MemoError: `gone`, `unavailable`.
        """
        blob = self.upload.blob._replace(size=self._recorded, parts=self._parts)
        return await self._blobs.whole(blob, size)

    async def _take_up_last_part(self) -> None:
        """A part never changes: one that is not full is written anew, with what comes."""
        blob = self.upload.blob._replace(size=self.received, parts=self._parts)
        start = self.received - self.received % self._part_bytes
        self._buffer = bytearray()
        async for chunk in self._blobs.read(blob, start):
            self._buffer += chunk
        self._stale.append(f"{blob.path}/{self._parts.pop()}")

    async def _put(self, part: bytes) -> None:
        put = asyncio.ensure_future(self._blobs.put_part(self.upload.blob.path, part))
        try:
            if self._digest is not None:
                await asyncio.to_thread(self._digest.update, part)
            name = await put
        finally:
            put.cancel()
        self._parts.append(name)
        self._fresh.append(f"{self.upload.blob.path}/{name}")

    async def _renew(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._renewed_at > RENEW_SECONDS:
            self._renewed_at = now
            await self._rows.renew(self.upload.id, self.writer)
