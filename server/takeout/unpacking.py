"""An archive brought back: into the account it is of, or into a fresh one of any server.

What has an id keeps it if nobody has it yet; else it gets another one, always the same for the
account, so that an archive that is brought back twice doubles nothing.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import MAXYEAR, UTC, datetime
from typing import Annotated, TypeVar
from uuid import UUID

import msgspec

from protocol.categories import Color, Description, Icon, Name
from protocol.log import NOBODY, Author, Entry
from protocol.versions import MadeKind
from server.takeout.bringing import Bringing, BroughtFile, NewCategory, plain
from server.takeout.packing import FORMAT, MANIFEST, VERSION
from server.takeout.sources import ArchiveError, Digest, EntryError
from storage.imports import PastVersion
from sync.inspection import inspect, inspect_version
from sync.update import MalformedUpdate

JSON_BYTES = 64 << 20
DOCUMENT_BYTES = 64 << 20
MAX_VERSIONS = 1000  # of one memory

_FOLDER = re.compile(r"memories/[^/]+/memory\.json")
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
    category: Name | None = None
    messages: list[_Message] = []
    files: list[_File] = []
    versions: list[_Version] = []
    clients: dict[int, UUID | None] = {}


class Unpacking:
    """Brings one archive into one account."""

    def __init__(self, bringing: Bringing) -> None:
        self._bringing = bringing
        self._places = bringing.places
        self._account_id = bringing.account_id
        self._tally = bringing.tally
        self._written_by: UUID | None = None  # the account that the archive is of

    async def run(self, names: Sequence[str]) -> None:
        """Bring back what can be. What cannot be is told in the tally, and the rest goes on.

        Raises:
            ArchiveError: it is no archive of this kind.
            MemoError: `unavailable`, `busy`: try again, what was done is not done twice.
        """
        await self._begin()
        await self._bringing.attempt("categories.json", self._bring_categories())
        for name in names:
            if _FOLDER.fullmatch(name):
                folder = name.removesuffix("memory.json")
                await self._bringing.attempt(name, self._bring_memory(folder))
        if "files.json" in names:
            await self._bringing.attempt("files.json", self._bring_loose_files())

    async def _begin(self) -> None:
        try:
            content = await self._bringing.whole(MANIFEST, JSON_BYTES)
            manifest = _decoded(content, _Manifest)
        except EntryError as error:
            raise ArchiveError(f"{MANIFEST} {error}") from error
        if manifest.format != FORMAT:
            raise ArchiveError(f"it is no archive of this program: {MANIFEST} says otherwise")
        if manifest.version > VERSION:
            raise ArchiveError("it is of a later version of this program")
        self._written_by = manifest.account_id
        self._bringing.reader.expected = {
            entry.path: Digest(entry.size, entry.sha256) for entry in manifest.entries
        }

    # Categories, matched by their names

    async def _bring_categories(self) -> None:
        content = await self._bringing.whole("categories.json", JSON_BYTES)
        for each in _decoded(content, list[_Category]):
            wanted = NewCategory(each.name, each.description, each.icon, each.color)
            await self._bringing.attempt("categories.json", self._bring_category(wanted))

    async def _bring_category(self, wanted: NewCategory) -> None:
        await self._bringing.category(wanted)

    # Memories

    async def _bring_memory(self, folder: str) -> None:
        content = await self._bringing.whole(f"{folder}memory.json", JSON_BYTES)
        about = _decoded(content, _About)
        if about.memory.role != "owner":
            raise EntryError("is of a memory of somebody else")
        wanted = (about.memory.id, self._bringing.second(about.memory.id))
        memory_id, is_new = await self._id_for(wanted)
        if is_new:
            await self._create(folder, about, memory_id)
            self._tally.memories += 1
        else:
            self._tally.present += 1
        for file in about.files:
            await self._bring_file(folder, file, memory_id, is_new=is_new)
        if is_new:
            for number, version in enumerate(about.versions[:MAX_VERSIONS]):
                path = folder + version.path
                is_same = memory_id == about.memory.id
                past = PastVersion(
                    version.id if is_same else self._bringing.second(version.id),
                    -number,
                    version.kind,
                    version.name and plain(version.name),
                    reckoned(version.changed_at),
                    reckoned(version.created_at),
                )
                await self._bringing.attempt(path, self._bring_version(path, memory_id, past))

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
        update = await self._bringing.whole(path, DOCUMENT_BYTES)
        try:
            found = await self._places.workers.run(inspect, update)
        except MalformedUpdate as error:
            raise EntryError(f"has a document that is not safe to store: {error}") from error
        category = None
        if about.category:
            category = await self._bringing.category_of(path, about.category)
        await self._places.memories.create(
            Entry(
                memory_id,
                Author(self._account_id, None),
                found.payload,
                tuple((client, self._owner(about.clients, client)) for client in found.clients),
                found.projection,
            ),
            category_id=category,
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
            created_at=reckoned(about.memory.created_at),
            updated_at=reckoned(about.memory.updated_at),
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
        update = await self._bringing.whole(path, DOCUMENT_BYTES)
        try:
            folded = await self._places.workers.run(inspect_version, update)
        except MalformedUpdate as error:
            raise EntryError(f"has a document that is not safe to store: {error}") from error
        if await self._places.rows.add_version(memory_id, version, folded):
            self._tally.versions += 1

    # Files

    async def _bring_loose_files(self) -> None:
        content = await self._bringing.whole("files.json", JSON_BYTES)
        for file in _decoded(content, list[_File]):
            await self._bring_file("", file, None, is_new=True)

    async def _bring_file(
        self, folder: str, file: _File, memory_id: UUID | None, *, is_new: bool
    ) -> None:
        path = folder + file.path
        brought = BroughtFile(path, file.id, file.original_filename, file.message_id)
        work = self._bringing.file(brought, memory_id, is_new=is_new)
        await self._bringing.attempt(path, work)


def _decoded(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EntryError(f"is not what it should be: {error}") from error


def reckoned(moment: datetime) -> datetime:
    """The moment, none before computers kept time: at the ends of the calendar few can reckon."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware if _FIRST.year < aware.year < MAXYEAR else _FIRST
