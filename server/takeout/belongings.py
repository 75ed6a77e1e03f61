"""What an account has, as the entries of an archive: one after the other, never all at once."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import structlog

from protocol.errors import ErrorCode, MemoError
from protocol.files import File, ListFiles
from protocol.history import Version
from protocol.memories import Memory
from protocol.messages import Message
from protocol.records import timestamp
from protocol.sharing import Member
from server.files.names import cleaned
from server.takeout.markdown import slug, written
from server.takeout.packing import Packer, as_json
from storage.accounts import Accounts
from storage.blobs import Blobs
from storage.categories import CategoryRows
from storage.exports import ExportRows
from storage.files import FileRows
from storage.history import HistoryRows
from storage.memberships import Memberships
from storage.memories import MemoryRows
from storage.messages import MessageRows
from storage.updates import UpdateLog
from sync.revision import whole, whole_version
from sync.worker import WorkerPool

_PAGE = 100
_GONE = (ErrorCode.NOT_FOUND, ErrorCode.GONE)

log = structlog.get_logger(__name__)


class Shelves(NamedTuple):
    """Where everything is. `project` writes a memory's rows as its document is now; None where
    nobody does that."""

    accounts: Accounts
    categories: CategoryRows
    memories: MemoryRows
    messages: MessageRows
    members: Memberships
    history: HistoryRows
    files: FileRows
    exports: ExportRows
    log: UpdateLog
    blobs: Blobs
    workers: WorkerPool
    project: Callable[[UUID], Awaitable[None]] | None = None


class Belongings:
    """Packs all that an account has: its own memories, and those shared with it as far as it may
    read them. Secrets are not among it, nor is what lies in the trash."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves

    async def pack(self, account_id: UUID, packer: Packer) -> None:
        """Have the packer make a whole archive.

        Raises:
            MemoError: `not_found` without such an account; `unavailable`, `busy`.
        """
        user = await self._shelves.accounts.existing(account_id)
        categories = await self._shelves.categories.list(account_id)
        await packer.add("account.json", as_json(user))
        await packer.add("categories.json", as_json(categories))
        names = {category.id: category.name for category in categories}
        counts = {"memories": 0, "messages": 0, "files": 0, "versions": 0}
        missing: list[str] = []
        for memory_id in await self._shelves.exports.memories(account_id):
            await self._bring_up_to_date(memory_id)
            try:
                memory = await self._shelves.memories.get(memory_id, account_id)
                folder = _Folder(self._shelves, packer, account_id, memory)
                await folder.pack(names.get(memory.category_id) if memory.category_id else None)
            except MemoError as error:
                if error.code not in _GONE:
                    raise
                continue  # it was deleted, or is no longer the account's to read
            counts["memories"] += 1
            for kind, count in folder.counts.items():
                counts[kind] += count
            missing += folder.missing
        loose = await self._shelves.exports.loose_files(account_id)
        shelf = _Files(self._shelves, packer, "")
        kept = await shelf.pack(loose)
        await packer.add("files.json", as_json(kept))
        counts["files"] += len(kept)
        await packer.finish(
            createdAt=timestamp(datetime.now(UTC)),
            accountId=account_id,
            counts=counts,
            missing=missing + shelf.missing,
        )

    async def _bring_up_to_date(self, memory_id: UUID) -> None:
        """What was typed a moment ago is in the document, and in the rows a moment later."""
        project = self._shelves.project
        if project is None or not await self._shelves.exports.is_behind(memory_id):
            return
        try:
            await project(memory_id)
        except Exception as error:  # noqa: BLE001 (the archive has the document itself as well)
            log.warning("export.rows_behind", memory=str(memory_id), error=str(error))


class _Files:
    """The folder `files` within another one. Those whose bytes are lost are `missing`."""

    def __init__(self, shelves: Shelves, packer: Packer, parent: str) -> None:
        self._shelves = shelves
        self._packer = packer
        self._parent = parent
        self._taken: set[str] = set()
        self.missing: list[str] = []

    async def pack(self, files: Sequence[File]) -> list[dict[str, Any]]:
        """Add the files; returns what is known of each, with its place."""
        known = []
        for file in files:
            path = f"files/{self._name(file.original_filename)}"
            blob = await self._shelves.files.bytes_of(file.id)
            if blob is None:
                self.missing.append(self._parent + path)
                continue
            await self._packer.add(
                self._parent + path,
                self._shelves.blobs.read(blob),
                packed=not file.file_type.startswith("text/"),
            )
            known.append({"path": path, **msgspec.to_builtins(file)})
        return known

    def _name(self, original: str) -> str:
        """One of its own in the folder, whether the disk tells capitals or not."""
        plain = cleaned(original)
        stem, suffix = PurePosixPath(plain).stem, PurePosixPath(plain).suffix
        name, number = plain, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._taken.add(name.casefold())
        return name


class _Folder:
    """The folder of one memory."""

    def __init__(self, shelves: Shelves, packer: Packer, account_id: UUID, memory: Memory) -> None:
        self._shelves = shelves
        self._packer = packer
        self._account_id = account_id
        self._memory = memory
        self._path = f"memories/{slug(memory.title)}-{memory.id}/"
        self._files = _Files(shelves, packer, self._path)
        self.counts: dict[str, int] = {}

    @property
    def missing(self) -> Sequence[str]:
        return self._files.missing

    async def pack(self, category: str | None) -> None:
        memory, shelves = self._memory, self._shelves
        snapshot, rows = await shelves.log.content(memory.id, 0)
        updates = [payload for _, payload in rows]
        if snapshot is not None:
            updates.insert(0, snapshot.payload)
        offset = rows[-1][0] if rows else snapshot.offset if snapshot else 0
        messages = await self._messages()
        _, members = await shelves.members.members(memory.id, self._account_id)
        files = await _files(shelves.files, self._account_id, memory.id)
        names = {member.user_id: _name_of(member) for member in members}
        markdown = written(memory, category, messages, names)
        await self._packer.add(f"{self._path}memory.md", markdown.encode())
        await self._packer.add(
            f"{self._path}document.yjs", await shelves.workers.run(whole, updates)
        )
        kept = await self._files.pack(files)
        versions = await self._history()
        owners = await shelves.history.owners(memory.id)
        about = {
            "memory": {**msgspec.to_builtins(memory), "offset": offset},
            "category": category,
            "members": [_told(member, names) for member in members],
            "messages": messages,
            "files": kept,
            "versions": versions,
            # Whose each Yjs client is, by account; null: the server's.
            "clients": {str(client): owner for client, owner in owners.items()},
        }
        await self._packer.add(f"{self._path}memory.json", as_json(about))
        self.counts = {"messages": len(messages), "files": len(kept), "versions": len(versions)}

    async def _messages(self) -> list[Message]:
        messages: list[Message] = []
        page = 1
        while True:
            found = await self._shelves.messages.list(
                self._memory.id, page=page, limit=_PAGE, before=None, after=_BEGINNING
            )
            messages += found.messages
            if len(found.messages) < _PAGE:
                return messages
            page += 1

    async def _history(self) -> list[dict[str, Any]]:
        """Each version beside its bytes; returns what is known of them, the newest first."""
        known: list[dict[str, Any]] = []
        before: UUID | None = None
        more = True
        while more:
            page, more = await self._shelves.history.page(self._memory.id, before, _PAGE)
            for version in page:
                assert version.id is not None  # of those that were made
                known.append(await self._version(version, version.id))
                before = version.id
        return known

    async def _version(self, version: Version, version_id: UUID) -> dict[str, Any]:
        layers = await self._shelves.history.layers(self._memory.id, version_id)
        moment = version.changed_at[:19].replace(":", "").replace("-", "")
        path = f"history/{moment}-{version_id}"
        about = {"path": f"{path}.yjs", **msgspec.to_builtins(version)}
        update = await self._shelves.workers.run(whole_version, layers)
        await self._packer.add(f"{self._path}{path}.yjs", update)
        await self._packer.add(f"{self._path}{path}.json", as_json(about))
        return about


_BEGINNING = datetime(1, 1, 2, tzinfo=UTC)


async def _files(rows: FileRows, account_id: UUID, memory_id: UUID) -> list[File]:
    """The files of a memory."""
    files: list[File] = []
    page = 1
    while True:
        found = await rows.list(account_id, ListFiles(memory_id=memory_id, page=page, limit=_PAGE))
        files += found.files
        if len(found.files) < _PAGE:
            return files
        page += 1


def _told(member: Member, names: Mapping[UUID, str]) -> dict[str, Any]:
    return {"userId": member.user_id, "role": member.role, "name": names[member.user_id]}


def _name_of(member: Member) -> str:
    full = f"{member.first_name or ''} {member.last_name or ''}".strip()
    return full or member.username or "Somebody"
