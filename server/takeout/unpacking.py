"""An archive brought back: into the account it is of, or into a fresh one of any server.

What has an id keeps it if nobody has it yet; else it gets another one, always the same for the
account, so that an archive that is brought back twice doubles nothing. A memory that gets another
id is a copy, and so are its files: the original may be there still, and go without them.
"""

import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import UUID

from protocol.log import NOBODY, Author, Entry
from server.takeout import contents
from server.takeout.bringing import Bringing, BroughtFile, NewCategory
from server.takeout.contents import FILES_AT_ONCE, About, Digests, File, Version, plain, reckoned
from server.takeout.packing import MANIFEST
from server.takeout.sources import ArchiveError, EntryError
from storage.imports import PastVersion
from sync.inspection import Inspected, inspect, inspect_version
from sync.update import MalformedUpdate

JSON_BYTES = 32 << 20
CATEGORIES_BYTES = 1 << 20
DOCUMENT_BYTES = 64 << 20

_FOLDER = re.compile(r"memories/[^/]+/memory\.json")
_SIGNED_AT_ONCE = 1000


class Unpacking:
    """Brings one archive into one account."""

    def __init__(self, bringing: Bringing) -> None:
        self._bringing = bringing
        self._places = bringing.places
        self._account_id = bringing.account_id
        self._tally = bringing.tally
        self._written_by = NOBODY  # the account that the archive is of
        self._client_id = secrets.randbits(32)

    async def run(self, names: Sequence[str]) -> None:
        """Bring back what can be. What cannot be is told in the tally, and the rest goes on.

        Raises:
            ArchiveError: it is no archive of this kind, or more than may be brought in at once.
            MemoError: `unavailable`, `busy`: try again, what was done is not done twice.
        """
        await self._begin()
        await self._bringing.attempt("categories.json", self._bring_categories())
        for name in names:
            if _FOLDER.fullmatch(name):
                folder = name.removesuffix("memory.json")
                await self._bringing.attempt(name, self._bring_memory(folder))
                await self._bringing.rest()
        if "files.json" in names:
            await self._bringing.attempt("files.json", self._bring_loose_files())

    async def _begin(self) -> None:
        try:
            content = await self._bringing.whole(MANIFEST, JSON_BYTES)
        except EntryError as error:
            raise ArchiveError(f"{MANIFEST} {error}") from error
        manifest = await self._places.workers.run(contents.manifest, content)
        self._written_by = manifest.account_id
        self._bringing.reader.expected = Digests(manifest.digests)

    # Categories, matched by their names

    async def _bring_categories(self) -> None:
        content = await self._bringing.whole("categories.json", CATEGORIES_BYTES)
        told, more = await self._places.workers.run(contents.categories, content)
        if more:
            self._tally.skip("categories.json", f"has {more} categories too many")
        for each in told:
            wanted = NewCategory(each.name, each.description, each.icon, each.color)
            await self._bringing.attempt(
                f"categories.json: {each.name}", self._bring_category(wanted)
            )

    async def _bring_category(self, wanted: NewCategory) -> None:
        await self._bringing.category(wanted)

    # Memories

    async def _bring_memory(self, folder: str) -> None:
        content = await self._bringing.whole(f"{folder}memory.json", JSON_BYTES)
        about = await self._places.workers.run(contents.about, content, self._written_by)
        if about.memory.role != "owner":
            raise EntryError("is of a memory of somebody else")
        given = about.memory.id
        memory_id, is_new = await self._id_for([given, self._bringing.second(given)])
        ids: dict[UUID, UUID] | None = None
        if is_new:
            ids = await self._ids(content, given, memory_id)
            found: Inspected | None = await self._create(folder, about, ids, memory_id)
            self._tally.memories += 1
        else:
            found = await self._broken_off(memory_id)
            self._tally.present += 1
        if found is not None:
            await self._write_rows(memory_id, found, about)
        await self._bring_files(folder, content, ids, memory_id, is_copy=memory_id != given)
        if about.files_left:
            self._tally.skip(f"{folder}files", f"has {about.files_left} files too many")
        if found is not None:
            for number, version in enumerate(about.versions):
                path = folder + version.path
                work = self._bring_version(path, memory_id, version, -number)
                await self._bringing.attempt(path, work)
            if about.versions_left:
                self._tally.skip(f"{folder}history", f"has {about.versions_left} versions too many")

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

    async def _create(
        self, folder: str, about: About, ids: Mapping[UUID, UUID], memory_id: UUID
    ) -> Inspected:
        """Make the memory; returns what is in its document."""
        path = f"{folder}document.yjs"
        update = await self._bringing.whole(path, DOCUMENT_BYTES)
        renamed = b"".join(old.bytes + new.bytes for old, new in ids.items() if old != new)
        try:
            found = await self._places.workers.run(inspect, update, renamed, self._client_id)
        except MalformedUpdate as error:
            raise EntryError(f"has a document that is not safe to store: {error}") from error
        category = None
        if about.category:
            category = await self._bringing.category_of(path, about.category)
        # Of others' Yjs clients, and the server's, whose word is taken for who wrote a message, the
        # archive may say what it likes: they are nobody's.
        own = {*about.own_clients, self._client_id}
        claims = [
            (client, self._account_id if client in own else NOBODY) for client in found.clients
        ]
        await self._places.memories.create(
            Entry(
                memory_id,
                Author(self._account_id, None),
                found.payload,
                tuple(claims),
                found.projection,
            ),
            category_id=category,
            is_favorite=about.memory.is_favorite,
            is_archived=about.memory.is_archived,
        )
        return found

    async def _broken_off(self, memory_id: UUID) -> Inspected | None:
        """What is in the document of a memory that an earlier try was at, perhaps."""
        document = await self._bringing.broken_off(memory_id)
        return None if document is None else await self._places.workers.run(inspect, document)

    async def _write_rows(self, memory_id: UUID, found: Inspected, about: About) -> None:
        """Write the rows of a new memory's thread, and what no document says."""
        rows = self._places.rows
        if found.payload:
            await rows.rewind(memory_id)
            for projection in found.projections():
                await self._places.memories.save(memory_id, projection, 1)
        for messages in contents.ids_of(about.own_messages, _SIGNED_AT_ONCE):
            await rows.sign(memory_id, self._account_id, messages)
        created, updated = about.memory.created_at, about.memory.updated_at
        await rows.date(memory_id, reckoned(created), reckoned(updated))

    async def _bring_version(
        self, path: str, memory_id: UUID, version: Version, offset: int
    ) -> None:
        ids = [version.id, self._bringing.second(version.id)]
        if await self._places.rows.has_version(memory_id, ids):
            return
        update = await self._bringing.whole(path, DOCUMENT_BYTES)
        try:
            folded = await self._places.workers.run(inspect_version, update)
        except MalformedUpdate as error:
            raise EntryError(f"has a document that is not safe to store: {error}") from error
        for version_id in ids:
            past = PastVersion(
                version_id,
                offset,
                version.kind,
                version.name and plain(version.name),
                reckoned(version.changed_at),
                reckoned(version.created_at),
            )
            if await self._places.rows.add_version(memory_id, past, folded):
                self._tally.versions += 1
                return
        raise EntryError("is of a version whose id is taken")

    # Files

    async def _ids(self, content: bytes, given: UUID, memory_id: UUID) -> dict[UUID, UUID]:
        """The ids that files of a new memory get here, by those that they had."""
        ids: dict[UUID, UUID] = {}
        async for file in self._files(content, of_memory=True):
            ids[file.id] = file.id
        known = list(ids)
        for start in range(0, len(known), FILES_AT_ONCE):
            part = known[start : start + FILES_AT_ONCE]
            taken = set(part)
            if memory_id == given:
                taken = await self._places.rows.taken(self._account_id, part)
            for file_id in taken:
                ids[file_id] = self._bringing.second(file_id)
        return ids

    async def _files(self, content: bytes, *, of_memory: bool) -> AsyncIterator[File]:
        start = 0
        while part := await self._places.workers.run(
            contents.files, content, start, of_memory=of_memory
        ):
            for file in part:
                yield file
            start += len(part)

    async def _bring_files(
        self,
        folder: str,
        content: bytes,
        ids: Mapping[UUID, UUID] | None,
        memory_id: UUID,
        *,
        is_copy: bool,
    ) -> None:
        """Bring the files of a memory: under these ids, where it is new."""
        async for file in self._files(content, of_memory=True):
            if ids is not None:
                wanted = [ids[file.id]]
            else:
                second = self._bringing.second(file.id)
                wanted = [second] if is_copy else [file.id, second]
            await self._bring_file(folder, file, wanted, memory_id, is_new=ids is not None)

    async def _bring_loose_files(self) -> None:
        content = await self._bringing.whole("files.json", JSON_BYTES)
        async for file in self._files(content, of_memory=False):
            ids = [file.id, self._bringing.second(file.id)]
            await self._bring_file("", file, ids, None, is_new=True)

    async def _bring_file(
        self, folder: str, file: File, ids: Sequence[UUID], memory_id: UUID | None, *, is_new: bool
    ) -> None:
        path = folder + file.path
        brought = BroughtFile(path, ids, file.original_filename, file.message_id)
        work = self._bringing.file(brought, memory_id, is_new=is_new)
        await self._bringing.attempt(path, work)
        await self._bringing.rest()
