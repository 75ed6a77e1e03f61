"""What every import does, whatever it is of: categories by their names, files, and the tally."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4, uuid5

import asyncpg
import msgspec

from protocol.errors import ErrorCode, MemoError
from server.files.names import kept
from server.files.uploads import Uploads
from server.takeout.contents import plain
from server.takeout.sources import ArchiveError, EntryError, Reader, Source
from storage.categories import CategoryRows
from storage.imports import ImportRows
from storage.memories import MemoryRows
from storage.uploads import Intake
from sync.worker import WorkerPool

MAX_SKIPPED = 500  # that are named
MAX_CHARACTERS = 200  # of a name, and of a reason
MAX_LEFT_OUT = 100_000  # entries: an archive of nothing else takes its time as well
MAX_HEAVY = 5  # entries that cost a worker its time or its life
REST_SECONDS = 1.0  # at most, between two things that are brought in: edits go on beside them
REST_SHARE = 0.5  # of the time that the last one took

# What says nothing of the entry: the whole is to be tried again.
_PASSING = (ErrorCode.UNAVAILABLE, ErrorCode.BUSY)
_HEAVY = (ErrorCode.TIMEOUT, ErrorCode.INTERNAL)


class Tally(msgspec.Struct):
    """What came of an archive. `present` are the memories that were there already; of what was
    `skipped`, the first have their reason."""

    memories: int = 0
    present: int = 0
    files: int = 0
    versions: int = 0
    skipped: list[tuple[str, str]] = []

    def skip(self, path: str, reason: str) -> None:
        """Note that something of the archive is left out."""
        if len(self.skipped) < MAX_SKIPPED:
            self.skipped.append((brief(path), brief(reason)))


class Places(NamedTuple):
    """Where everything goes."""

    categories: CategoryRows
    memories: MemoryRows
    rows: ImportRows
    uploads: Uploads
    workers: WorkerPool


class NewCategory(NamedTuple):
    """A category to be made, if there is none of its name."""

    name: str
    description: str | None = None
    icon: str | None = None
    color: str | None = None


class BroughtFile(NamedTuple):
    """A file to be stored, under the first of the `ids` that it can have; `name` is what it is
    called."""

    path: str
    ids: Sequence[UUID]
    name: str
    message_id: UUID | None = None


class Bringing:
    """What is brought into one account from one source."""

    def __init__(
        self,
        places: Places,
        account_id: UUID,
        source: Source,
        tally: Tally,
        begun_at: datetime | None = None,
    ) -> None:
        self.places = places
        self.account_id = account_id
        self.source = source
        self.reader = Reader(source)
        self.tally = tally
        self._begun_at = begun_at
        self._categories: dict[str, UUID] | None = None
        self._heavy = 0
        self._left_out = 0
        self._rested_at = asyncio.get_running_loop().time()

    async def attempt(self, path: str, work: Awaitable[None]) -> None:
        """Do one thing; that it cannot be done is noted.

        Raises:
            ArchiveError: there is no use in going on.
            MemoError: `unavailable`, `busy`.
        """
        try:
            await work
        except EntryError as error:
            self._leave_out(path, str(error))
        except MemoError as error:
            if error.code in _PASSING:
                raise
            self._leave_out(path, f"{error.code.value}: {error.message}")
            self._heavy += error.code in _HEAVY
            if self._heavy > MAX_HEAVY:
                raise ArchiveError("too much in it takes too long to read") from error
        except asyncpg.DataError as error:
            self._leave_out(path, f"holds what cannot be stored: {error}")

    def _leave_out(self, path: str, reason: str) -> None:
        self.tally.skip(path, reason)
        self._left_out += 1
        if self._left_out > MAX_LEFT_OUT:
            raise ArchiveError(f"more than {MAX_LEFT_OUT:,} entries cannot be brought in")

    async def broken_off(self, memory_id: UUID) -> bytes | None:
        """The document of a memory that an earlier try of this import made, and perhaps no more of
        it: whatever follows is to be done again."""
        if self._begun_at is None:
            return None
        return await self.places.rows.begun(memory_id, self._begun_at)

    def second(self, given: object) -> UUID:
        """The id that something gets here whose own is taken, or that has none."""
        return uuid5(self.account_id, str(given))

    async def whole(self, path: str, limit: int) -> bytes:
        """An entry of at most so many bytes.

        Raises:
            EntryError: with the reason.
            ArchiveError: all together are too many.
        """
        return await asyncio.to_thread(self.reader.whole, path, limit)

    async def category(self, wanted: NewCategory) -> UUID:
        """The account's category of this name, made if there is none."""
        if self._categories is None:
            self._categories = {}
            for known in await self.places.categories.list(self.account_id):
                self._categories.setdefault(known.name.casefold(), known.id)
        name = plain(wanted.name)
        if name.casefold() not in self._categories:
            made = await self.places.categories.create(
                self.account_id,
                uuid4(),
                name=name,
                description=wanted.description and plain(wanted.description),
                icon=wanted.icon and plain(wanted.icon),
                color=wanted.color,
                sort_order=None,
            )
            self._categories[name.casefold()] = made.id
        return self._categories[name.casefold()]

    async def category_of(self, path: str, name: str) -> UUID | None:
        """The category for what is at `path`; None where one more cannot be made, which is
        noted."""
        found: list[UUID] = []

        async def find() -> None:
            found.append(await self.category(NewCategory(name)))

        await self.attempt(path, find())
        return found[0] if found else None

    async def file(self, file: BroughtFile, memory_id: UUID | None, *, is_new: bool) -> None:
        """Store a file, in a memory that is new here or was there already, or in none.

        Raises:
            EntryError, MemoError: with the reason.
        """
        there = await self.places.rows.files(self.account_id, file.ids)
        if memory_id in there.values():
            return
        if there and not (is_new and memory_id):
            return  # it has been put elsewhere since
        # Read through first: what is not as it should be is never stored.
        uploads, reader = self.places.uploads, self.reader
        size = await asyncio.to_thread(reader.check, file.path, uploads.max_bytes)
        refusal = MemoError(ErrorCode.CONFLICT, "its id is taken")
        for file_id in file.ids:
            intake = Intake(file_id, kept(file.name), None, memory_id, file.message_id, size)
            try:
                made = await uploads.receive(
                    self.account_id, intake, _stepwise(reader.chunks(file.path))
                )
            except MemoError as error:
                if error.code not in (ErrorCode.CONFLICT, ErrorCode.GONE):
                    raise
                if error.code is ErrorCode.GONE and not is_new:
                    return  # it was deleted from a memory that is there
                refusal = error
                continue
            if made.memory_id == memory_id:
                self.tally.files += 1
                return
        raise refusal

    async def rest(self) -> None:
        """Let others have their turn, between two things that are brought in."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(min(REST_SECONDS, REST_SHARE * (loop.time() - self._rested_at)))
        self._rested_at = loop.time()


async def _stepwise(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


def brief(text: str) -> str:
    """The text as it is told and kept: what an archive says may be of any length."""
    if len(text) > MAX_CHARACTERS:
        text = f"{text[: MAX_CHARACTERS - 1]}…"
    return plain(text.encode(errors="replace").decode())
