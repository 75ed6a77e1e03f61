"""The life of an upload: begun, written by one at a time, and a file in the end."""

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from uuid import UUID, uuid4

import structlog

from protocol.errors import ErrorCode, MemoError
from protocol.files import File
from server.files.names import cleaned
from server.files.places import Places
from server.files.processing import Processing
from server.files.types import HEAD_BYTES, is_image, sniff
from server.files.writing import Writing
from server.metrics import Metrics
from storage import outage
from storage.blobs import Blobs
from storage.uploads import Findings, Intake, Upload, UploadRows
from sync.feed import Notices

LIFETIME_SECONDS = 24 * 3600.0  # of an upload that nobody goes on with
ONE_REQUEST_SECONDS = 3600.0  # of one that cannot be gone on with
CLAIM_SECONDS = 4.0  # for a writer that hears nothing any more to let go
RETRY_SECONDS = 0.25

log = structlog.get_logger(__name__)


class Checksum(NamedTuple):
    """What some bytes are said to have as their digest."""

    algorithm: str
    digest: bytes


class ChecksumMismatchError(MemoError):
    """The bytes are not those that were sent."""


class HeldError(MemoError):
    """Another request writes the upload."""


class Uploads:
    """Takes files in. `max_bytes` is what one file may have.

    Whoever brings bytes hands over an iterator of chunks: where they come from, and how long one
    may take to come, is its affair; how many have to come, and who may bring them, is that of the
    places.
    """

    def __init__(
        self,
        rows: UploadRows,
        blobs: Blobs,
        processing: Processing,
        notices: Notices,
        metrics: Metrics,
        *,
        max_bytes: int,
    ) -> None:
        self._rows = rows
        self._blobs = blobs
        self._processing = processing
        self._notices = notices
        self._metrics = metrics
        self.max_bytes = max_bytes
        self._places = Places()

    async def receive(
        self,
        account_id: UUID,
        intake: Intake,
        chunks: AsyncIterator[bytes],
        late: Callable[[], Awaitable[UUID | None]] | None = None,
    ) -> File:
        """The file that `chunks` are, stored as they come. If they break off, nothing is left.

        `late` is asked for the file's id when all have come, where it is not known before. With
        the id of a file that is there already, that one is answered.

        Raises:
            MemoError: `too_large`, `quota_exceeded`, `conflict`, `gone`, `not_found`, `forbidden`,
                `busy`, `unavailable`, and whatever `chunks` raise.
        """
        with self._places.taken(account_id) as place:
            writer = uuid4()
            begun = await self._begin_afresh(account_id, intake._replace(length=None), writer)
            if isinstance(begun, File):
                place.whole = True
                return begun
            async with self._writing(begun, writer, lifetime=ONE_REQUEST_SECONDS) as writing:
                try:
                    async for chunk in place.chunks(chunks):
                        self._metrics.file_bytes.labels("received").inc(len(chunk))
                        if writing.received + len(chunk) > self.max_bytes:
                            raise self.too_large()
                        await writing.write(chunk)
                    await writing.flush()
                    place.whole = True
                    return await self._finish(writing, late and await late())
                except BaseException:
                    with suppress(MemoError), outage.reported():
                        await self._rows.drop_held(begun.id, writer)
                    raise

    async def create(self, account_id: UUID, intake: Intake) -> Upload | File:
        """An upload to be written piece by piece; or the one that is under this id already, or the
        file it became.

        Raises:
            MemoError: `too_large`, `quota_exceeded`, `conflict`, `gone`, `not_found`, `forbidden`.
        """
        if intake.length is not None and intake.length > self.max_bytes:
            raise self.too_large()
        upload = await self._rows.begin(account_id, intake, LIFETIME_SECONDS)
        if isinstance(upload, Upload) and upload.whole:  # an empty file
            return await self.find(account_id, upload.id)
        return upload

    async def find(self, account_id: UUID, upload_id: UUID) -> Upload | File:
        """How far the upload has come, or the file it became.

        Raises:
            MemoError: `not_found`, `gone`.
        """
        found = await self._rows.find(upload_id, account_id)
        if isinstance(found, File) or not found.whole:
            return found
        # Who wrote the last of it did not come to the end.
        return await self._complete(found) or found

    async def append(
        self,
        account_id: UUID,
        upload_id: UUID,
        offset: int,
        chunks: Callable[[Callable[[], Awaitable[bool]]], AsyncIterator[bytes]],
        checksum: Checksum | None = None,
    ) -> Upload | File:
        """Write what comes at `offset`. What came of it is kept when it breaks off, unless it has
        a `checksum`. `chunks` is given the question to ask while nothing comes: whether to stop.

        Raises:
            MemoError: `not_found`, `gone`, `conflict` (another offset), `too_large`, `busy`,
                `unavailable`, and whatever `chunks` raise; `HeldError` while another request
                writes; `ChecksumMismatchError`.
        """
        with self._places.taken(account_id) as place:
            found = await self._rows.find(upload_id, account_id)
            if isinstance(found, File):
                _check_offset(offset, found.file_size)
                return found
            writer = uuid4()
            upload = await self._claim(account_id, upload_id, writer)
            async with self._writing(
                upload, writer, lifetime=LIFETIME_SECONDS, at_once=checksum is not None
            ) as writing:
                _check_offset(offset, writing.received)
                await self._take(writing, place.chunks(chunks(writing.wanted)), checksum)
                if writing.received == upload.intake.length:
                    place.whole = True
                    return await self._finish(writing)
            return upload._replace(received=writing.received)

    async def end(self, account_id: UUID, upload_id: UUID) -> None:
        """End an upload, whoever writes it.

        Raises:
            MemoError: `not_found`, also for a file that it became: files are deleted as such.
        """
        if not await self._rows.drop(upload_id, account_id):
            raise MemoError(ErrorCode.NOT_FOUND, "there is no such upload")

    async def complete_left(self, limit: int) -> None:
        """Make files of uploads whose last writer did not come to that."""
        for upload in await self._rows.unfinished(limit):
            await self._complete(upload)

    def too_large(self) -> MemoError:
        """What a file of more than `max_bytes` meets."""
        return MemoError(
            ErrorCode.TOO_LARGE,
            f"a file may have {self.max_bytes} bytes",
            details={"file": f"may have {self.max_bytes} bytes"},
        )

    async def _begin_afresh(self, account_id: UUID, intake: Intake, writer: UUID) -> Upload | File:
        """An upload that `writer` holds from its first byte on, or the file of this id."""
        for _ in range(2):
            begun = await self._rows.begin(account_id, intake, ONE_REQUEST_SECONDS, writer=writer)
            if isinstance(begun, File) or begun.writer == writer:
                return begun
            # An earlier try with this id: under way, or left by a node that ended.
            if await self._rows.claim(begun.id, writer) is None:
                break
            await self._rows.drop_held(begun.id, writer)
        raise _held()

    async def _take(
        self, writing: Writing, chunks: AsyncIterator[bytes], checksum: Checksum | None
    ) -> None:
        sum_ = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
        try:
            async for chunk in chunks:
                self._metrics.file_bytes.labels("received").inc(len(chunk))
                if sum_:
                    sum_.update(chunk)
                await writing.write(chunk)
        except Exception:
            # What has come is worth keeping, whatever the reason that no more does.
            if not checksum:
                with suppress(MemoError):
                    await writing.flush()
            raise
        await writing.flush()
        if checksum and sum_:
            if sum_.digest() != checksum.digest:
                raise ChecksumMismatchError(
                    ErrorCode.INVALID_REQUEST,
                    "the bytes do not have the checksum that was sent with them; send them again",
                    details={"Upload-Checksum": "does not fit the body"},
                )
            await writing.record()

    async def _claim(self, account_id: UUID, upload_id: UUID, writer: UUID) -> Upload:
        deadline = time.monotonic() + CLAIM_SECONDS
        while True:
            upload = await self._rows.claim(upload_id, writer)
            if upload is not None:
                return upload
            found = await self._rows.find(upload_id, account_id)
            if isinstance(found, File):
                _check_offset(-1, found.file_size)
            if time.monotonic() > deadline:
                raise _held()
            # The holder may sit on a connection that is dead: it looks up while nothing comes.
            await asyncio.sleep(RETRY_SECONDS)

    async def _complete(self, upload: Upload) -> File | None:
        writer = uuid4()
        claimed = await self._rows.claim(upload.id, writer)
        if claimed is None:
            return None  # somebody is about it
        async with self._writing(claimed, writer, lifetime=LIFETIME_SECONDS) as writing:
            return await self._finish(writing)

    async def _finish(self, writing: Writing, file_id: UUID | None = None) -> File:
        upload = writing.upload
        digest = await writing.digest()
        file_type = sniff(await writing.head(HEAD_BYTES))
        findings = Findings(
            sha256=digest,
            filename=cleaned(upload.intake.filename),
            file_type=file_type,
            provider=self._blobs.provider,
            metadata={},
            is_processed=not is_image(file_type),
        )
        stored = await self._rows.finish(upload, writing.writer, findings, file_id)
        file = stored.file
        self._metrics.files_stored.inc()
        if not file.is_processed:
            self._processing.add(stored.path)
        self._notices.files_changed(stored.told)
        return file

    @asynccontextmanager
    async def _writing(
        self, upload: Upload, writer: UUID, *, lifetime: float, at_once: bool = False
    ) -> AsyncIterator[Writing]:
        async with Writing(
            upload, writer, self._rows, self._blobs, lifetime=lifetime, at_once=at_once
        ) as writing:
            with self._metrics.uploads_in_progress.track_inprogress():
                yield writing


def expiry(upload: Upload) -> int:
    """When the upload ends if nobody goes on with it, in whole Unix seconds."""
    return math.floor(upload.expires_at)


def _check_offset(offset: int, received: int) -> None:
    if offset != received:
        raise MemoError(
            ErrorCode.CONFLICT,
            f"the upload goes on at {received}",
            details={"Upload-Offset": f"is {received} here"},
        )


def _held() -> HeldError:
    return HeldError(
        ErrorCode.BUSY, "another request writes this upload; ask where it stands", retry_after=2
    )
