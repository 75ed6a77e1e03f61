"""An archive brought back: into the account it is of, or into a fresh one of any server.

What has an id keeps it if nobody has it yet; else it gets another one, always the same for the
account, so that an archive that is brought back twice doubles nothing.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, TypeVar
from uuid import UUID, uuid4, uuid5

import asyncpg
import msgspec

from protocol.categories import Color, Description, Icon, Name
from protocol.errors import ErrorCode, MemoError
from protocol.log import NOBODY, Author, Entry
from protocol.versions import MadeKind
from server.filenames import kept
from server.takeout.packing import FORMAT, MANIFEST, VERSION
from server.takeout.sources import ArchiveError, Digest, EntryError, Reader, Source
from server.uploads import Uploads
from storage.categories import CategoryRows
from storage.imports import ImportRows, PastVersion
from storage.memories import MemoryRows
from storage.uploads import Intake
from sync.inspection import inspect, inspect_version
from sync.update import MalformedUpdate
from sync.worker import WorkerPool

JSON_BYTES = 64 << 20
DOCUMENT_BYTES = 64 << 20
MAX_VERSIONS = 1000  # of one memory
MAX_SKIPPED = 1000  # that are named

_FOLDER = re.compile(r"memories/[^/]+/memory\.json")
# What says nothing of the entry: the whole is to be tried again.
_PASSING = (ErrorCode.UNAVAILABLE, ErrorCode.BUSY)

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


class _Entry(msgspec.Struct, frozen=True):
    path: str
    size: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    format: str
    version: int
    account_id: UUID
    entries: list[_Entry]


class _Category(msgspec.Struct, frozen=True):
    name: Name
    description: Description | None = None
    icon: Icon | None = None
    color: Color | None = None


class _Memory(msgspec.Struct, frozen=True, rename="camel"):
    id: UUID
    role: str
    created_at: datetime
    updated_at: datetime
    is_favorite: bool = False
    is_archived: bool = False


class _Message(msgspec.Struct, frozen=True, rename="camel"):
    id: UUID
    user_id: UUID | None = None


class _File(msgspec.Struct, frozen=True, rename="camel"):
    path: str
    id: UUID
    original_filename: str
    message_id: UUID | None = None


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    path: str
    id: UUID
    kind: MadeKind
    changed_at: datetime
    created_at: datetime
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None


class _About(msgspec.Struct, frozen=True):
    memory: _Memory
    category: str | None = None
    messages: list[_Message] = []
    files: list[_File] = []
    versions: list[_Version] = []
    clients: dict[int, UUID | None] = {}


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
            self.skipped.append((path, reason))


class Places(NamedTuple):
    """Where everything goes."""

    categories: CategoryRows
    memories: MemoryRows
    rows: ImportRows
    uploads: Uploads
    workers: WorkerPool


class Unpacking:
    """Brings one archive into one account."""

    def __init__(
        self, places: Places, account_id: UUID, source: Source, tally: Tally | None = None
    ) -> None:
        self.tally = Tally() if tally is None else tally
        self._places = places
        self._account_id = account_id
        self._source = source
        self._reader = Reader(source)
        self._categories: dict[str, UUID] = {}
        self._written_by: UUID | None = None  # the account that the archive is of

    async def run(self) -> Tally:
        """Bring back what can be. What cannot be is told in the tally, and the rest goes on.

        Raises:
            ArchiveError: it is no archive of this kind.
            MemoError: `unavailable`, `busy`: try again, what was done is not done twice.
        """
        names = await self._begin()
        await self._bring_categories()
        for name in names:
            if _FOLDER.fullmatch(name):
                await self._attempt(name, self._bring_memory(name.removesuffix("memory.json")))
        if "files.json" in names:
            await self._attempt("files.json", self._bring_loose_files())
        return self.tally

    async def _begin(self) -> Sequence[str]:
        try:
            names = sorted(set(await asyncio.to_thread(self._source.names)))
            content = await asyncio.to_thread(self._reader.whole, MANIFEST, JSON_BYTES)
            manifest = _decoded(content, _Manifest)
        except EntryError as error:
            raise ArchiveError(f"{MANIFEST} {error}") from error
        if manifest.format != FORMAT:
            raise ArchiveError(f"it is no archive of this program: {MANIFEST} says otherwise")
        if manifest.version > VERSION:
            raise ArchiveError("it is of a later version of this program")
        self._written_by = manifest.account_id
        self._reader.expected = {
            entry.path: Digest(entry.size, entry.sha256) for entry in manifest.entries
        }
        return names

    async def _attempt(self, path: str, work: Any) -> None:
        """Do one thing; that it cannot be done is noted."""
        try:
            await work
        except EntryError as error:
            self.tally.skip(path, str(error))
        except MemoError as error:
            if error.code in _PASSING:
                raise
            self.tally.skip(path, f"{error.code.value}: {error.message}")
        except asyncpg.DataError as error:
            self.tally.skip(path, f"holds what cannot be stored: {error}")

    # Categories, matched by their names

    async def _bring_categories(self) -> None:
        for known in await self._places.categories.list(self._account_id):
            self._categories.setdefault(known.name.casefold(), known.id)
        try:
            content = await asyncio.to_thread(self._reader.whole, "categories.json", JSON_BYTES)
            wanted = _decoded(content, list[_Category])
        except EntryError as error:
            self.tally.skip("categories.json", str(error))
            return
        for category in wanted:
            if category.name.casefold() not in self._categories:
                await self._attempt("categories.json", self._add_category(category))

    async def _add_category(self, category: _Category) -> None:
        made = await self._places.categories.create(
            self._account_id,
            uuid4(),
            name=_plain(category.name),
            description=category.description and _plain(category.description),
            icon=category.icon and _plain(category.icon),
            color=category.color,
            sort_order=None,
        )
        self._categories[category.name.casefold()] = made.id

    # Memories

    async def _bring_memory(self, folder: str) -> None:
        content = await asyncio.to_thread(self._reader.whole, f"{folder}memory.json", JSON_BYTES)
        about = _decoded(content, _About)
        if about.memory.role != "owner":
            raise EntryError("is of a memory of somebody else")
        wanted = (about.memory.id, self._second(about.memory.id))
        memory_id, is_new = await self._id_for(wanted)
        if is_new:
            await self._create(folder, about, memory_id)
            self.tally.memories += 1
        else:
            self.tally.present += 1
        for file in about.files:
            path = folder + file.path
            await self._attempt(path, self._bring_file(path, file, memory_id, is_new=is_new))
        if is_new:
            for number, version in enumerate(about.versions[:MAX_VERSIONS]):
                path = folder + version.path
                is_same = memory_id == about.memory.id
                past = PastVersion(
                    version.id if is_same else self._second(version.id),
                    -number,
                    version.kind,
                    version.name and _plain(version.name),
                    _aware(version.changed_at),
                    _aware(version.created_at),
                )
                await self._attempt(path, self._bring_version(path, memory_id, past))

    async def _id_for(self, wanted: Sequence[UUID]) -> tuple[UUID, bool]:
        """The id that a memory has or gets, and whether it is new."""
        free = None
        for memory_id in wanted:
            holder = await self._places.rows.holder(memory_id, self._account_id)
            if holder == "own":
                return memory_id, False
            if holder is None and free is None:
                free = memory_id
        if free is None:
            raise EntryError("was brought back before, and deleted since")
        return free, True

    async def _create(self, folder: str, about: _About, memory_id: UUID) -> None:
        path = f"{folder}document.yjs"
        update = await asyncio.to_thread(self._reader.whole, path, DOCUMENT_BYTES)
        try:
            found = await self._places.workers.run(inspect, update)
        except MalformedUpdate as error:
            raise EntryError(f"has a document that is not safe to store: {error}") from error
        category = about.category and self._categories.get(about.category.casefold())
        await self._places.memories.create(
            Entry(
                memory_id,
                Author(self._account_id, None),
                found.payload,
                tuple((client, self._owner(about.clients, client)) for client in found.clients),
                found.projection,
            ),
            category_id=category or None,
            is_favorite=about.memory.is_favorite,
            is_archived=about.memory.is_archived,
        )
        if found.payload:
            await self._places.rows.rewind(memory_id)
            await self._places.memories.save(memory_id, found.projection, 1)
        own = [each.id for each in about.messages if each.user_id == self._written_by]
        await self._places.rows.settle(
            memory_id,
            self._account_id,
            created_at=_aware(about.memory.created_at),
            updated_at=_aware(about.memory.updated_at),
            messages=own,
        )

    def _owner(self, clients: Mapping[int, UUID | None], client: int) -> UUID | None:
        """Whose a Yjs client is here: the account's or the server's, as it was, and of anybody
        else nobody's, since an archive can say what it likes."""
        owner = clients.get(client, NOBODY)
        if owner is None:
            return None
        return self._account_id if owner == self._written_by else NOBODY

    async def _bring_version(self, path: str, memory_id: UUID, version: PastVersion) -> None:
        update = await asyncio.to_thread(self._reader.whole, path, DOCUMENT_BYTES)
        try:
            folded = await self._places.workers.run(inspect_version, update)
        except MalformedUpdate as error:
            raise EntryError(f"has a document that is not safe to store: {error}") from error
        if await self._places.rows.add_version(memory_id, version, folded):
            self.tally.versions += 1

    # Files

    async def _bring_loose_files(self) -> None:
        content = await asyncio.to_thread(self._reader.whole, "files.json", JSON_BYTES)
        for file in _decoded(content, list[_File]):
            await self._attempt(file.path, self._bring_file(file.path, file, None, is_new=True))

    async def _bring_file(
        self, path: str, file: _File, memory_id: UUID | None, *, is_new: bool
    ) -> None:
        # Read through first: what is not as it should be is never stored.
        size = await asyncio.to_thread(self._reader.check, path, self._places.uploads.max_bytes)
        refusal = MemoError(ErrorCode.CONFLICT)
        for file_id in (file.id, self._second(file.id)):
            name = kept(file.original_filename)
            intake = Intake(file_id, name, None, memory_id, file.message_id, expected=size)
            try:
                made = await self._places.uploads.receive(
                    self._account_id, intake, _stepwise(self._reader.chunks(path))
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

    def _second(self, given: UUID) -> UUID:
        """The id that something gets here whose own is taken."""
        return uuid5(self._account_id, str(given))


async def _stepwise(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


def _decoded(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EntryError(f"is not what it should be: {error}") from error


def _aware(moment: datetime) -> datetime:
    """The moment, none before computers kept time: at the ends of the calendar few can reckon."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware if aware.year > _FIRST.year else _FIRST


def _plain(text: str) -> str:
    return text.replace("\x00", "\ufffd")
