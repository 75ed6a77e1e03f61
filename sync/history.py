"""History as operations: what a memory was, who wrote it, and how to have it back."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol
from uuid import UUID, uuid4

from protocol.errors import ErrorCode, MemoError
from protocol.history import (
    Blame,
    BlameRun,
    Comparison,
    DeletedVersion,
    DeleteVersion,
    GetBlame,
    GetVersion,
    ListVersions,
    OneVersion,
    PastMemory,
    PastMessage,
    RenameVersion,
    RestoreVersion,
    SaveVersion,
    Version,
    VersionContent,
    VersionPage,
    VersionPerson,
)
from protocol.log import NOBODY, WRITERS, Authorship, Message, Projection, Row
from protocol.memories import Memory, OneMemory, Role
from protocol.records import timestamp
from protocol.versions import Layers
from sync.authorship import TooMuch, blame
from sync.feed import Notices
from sync.hub import Hub
from sync.interfaces import Caller
from sync.projection import Projector
from sync.revision import restore, view, view_beside
from sync.versions import Versions
from sync.worker import WorkerPool


class HistoryStore(Protocol):
    """The stored versions, for those who may see them."""

    async def role(self, memory_id: UUID, account_id: UUID) -> Role: ...

    async def page(
        self, memory_id: UUID, before: UUID | None, limit: int
    ) -> tuple[list[Version], bool]: ...

    async def current(self, memory_id: UUID) -> Version | None: ...

    async def get(self, memory_id: UUID, version_id: UUID) -> Version: ...

    async def made(self, memory_id: UUID, version_id: UUID) -> Version | None: ...

    async def before(self, memory_id: UUID, offset: int) -> UUID | None: ...

    async def layers(self, memory_id: UUID, version_id: UUID) -> Layers: ...

    async def people(self, accounts: Iterable[UUID]) -> list[VersionPerson]: ...

    async def owners(self, memory_id: UUID) -> dict[int, UUID | None]: ...

    async def authors(self, memory_id: UUID) -> dict[UUID, UUID]: ...

    async def authorship(self, memory_id: UUID) -> tuple[Sequence[Authorship], Sequence[Row]]: ...

    async def rename(self, memory_id: UUID, version_id: UUID, name: str | None) -> Version: ...

    async def restored(self, version_id: UUID, restored_id: UUID) -> None: ...


class MemoryReader(Protocol):
    """The rows of memories."""

    async def get(self, memory_id: UUID, account_id: UUID) -> Memory: ...


class History:
    """Binds the operations `history.*`. What only reads is done by `readers`, so that no write
    waits behind it."""

    def __init__(
        self,
        store: HistoryStore,
        versions: Versions,
        memories: MemoryReader,
        hub: Hub,
        projector: Projector,
        *,
        workers: WorkerPool,
        readers: WorkerPool,
        notices: Notices,
    ) -> None:
        self._store = store
        self._versions = versions
        self._memories = memories
        self._hub = hub
        self._projector = projector
        self._workers = workers
        self._readers = readers
        self._notices = notices

    async def list(self, caller: Caller, request: ListVersions) -> VersionPage:
        """Raises:
        MemoError: `not_found` (also the version `before`), `gone`.
        """
        await self._store.role(request.memory_id, caller.author.account_id)
        page, more = await self._store.page(request.memory_id, request.before, request.limit)
        if request.before is None and (current := await self._store.current(request.memory_id)):
            page = [current, *page]
        return VersionPage(versions=page, more=more)

    async def get(self, caller: Caller, request: GetVersion) -> VersionContent:
        """Raises:
        MemoError: `not_found` (also the version to compare with), `gone`, `invalid_request`.
        """
        memory_id = request.memory_id
        await self._store.role(memory_id, caller.author.account_id)
        version = await self._store.get(memory_id, request.version_id)
        layers = await self._store.layers(memory_id, request.version_id)
        owners = await self._store.owners(memory_id)
        authors = await self._store.authors(memory_id)
        if request.compare_to is None:
            content = await self._readers.run_for(caller.author.account_id, view, layers)
            return VersionContent(version=version, memory=_past(content, owners, authors))
        name, is_newer, other = await self._other(version, memory_id, request.compare_to)
        kept, rows = await self._store.authorship(memory_id)
        seen = await self._readers.run_for(
            caller.author.account_id,
            view_beside,
            layers,
            other,
            is_newer=is_newer,
            kept=kept,
            rows=rows,
        )
        older, newer = (str(version.id), name) if is_newer else (name, str(version.id))
        return VersionContent(
            version=version,
            memory=_past(seen.content, owners, authors),
            diff=Comparison(older=older, newer=newer, fields=seen.fields, truncated=seen.truncated),
        )

    async def save(self, caller: Caller, request: SaveVersion) -> OneVersion:
        """Raises:
        MemoError: `not_found`, `gone`, `forbidden`, `conflict`, `too_large`, `invalid_request`.
        """
        _check_name(request.name)
        await self._check_writer(caller, request.memory_id)
        version_id = request.id or uuid4()
        version = await self._store.made(request.memory_id, version_id)
        if version is None:
            await self._versions.make(
                request.memory_id,
                kind="named",
                id=version_id,
                name=request.name,
                author=caller.author,
            )
            version = await self._store.get(request.memory_id, version_id)
        return OneVersion(version=version)

    async def rename(self, caller: Caller, request: RenameVersion) -> OneVersion:
        """Raises:
        MemoError: `not_found`, `gone`, `forbidden`, `too_large`, `invalid_request`.
        """
        _check_name(request.name)
        await self._check_writer(caller, request.memory_id)
        version = await self._store.rename(request.memory_id, request.version_id, request.name)
        return OneVersion(version=version)

    async def delete(self, caller: Caller, request: DeleteVersion) -> DeletedVersion:
        """Raises:
        MemoError: `not_found`, `gone`, `forbidden`.
        """
        if await self._store.role(request.memory_id, caller.author.account_id) != "owner":
            raise MemoError(ErrorCode.FORBIDDEN, "only the owner may delete versions of a memory")
        await self._versions.remove(request.memory_id, request.version_id)
        return DeletedVersion(id=request.version_id)

    async def restore(self, caller: Caller, request: RestoreVersion) -> OneMemory:
        """Raises:
        MemoError: `not_found`, `gone`, `forbidden`, `conflict`.
        """
        memory_id, account_id = request.memory_id, caller.author.account_id
        await self._check_writer(caller, memory_id)
        kept_id = request.id or uuid4()
        kept = await self._store.made(memory_id, request.id) if request.id else None
        if kept is not None and (
            kept.kind != "restore" or kept.restored_id not in (None, request.version_id)
        ):
            raise MemoError(
                ErrorCode.CONFLICT,
                "this id is another version's; make a new one",
                details={"id": "is taken"},
            )
        if kept is None or kept.restored_id is None:
            layers = await self._store.layers(memory_id, request.version_id)
            owners = await self._store.owners(memory_id)
            authors = await self._store.authors(memory_id)
            saved = kept is not None

            async def make(
                updates: Sequence[bytes], client_id: int
            ) -> tuple[bytes | None, Projection]:
                nonlocal saved
                made = await self._workers.run_for(
                    account_id,
                    restore,
                    updates,
                    layers,
                    client_id,
                    account_id=account_id,
                    owners=owners,
                    authors=authors,
                )
                if made[0] is not None or (request.id and not saved):
                    # Before the restore is committed, and of all that it may undo. One that is
                    # there already is of a try that did not come to its end.
                    await self._versions.make(
                        memory_id,
                        kind="restore",
                        id=None if saved else kept_id,
                        author=caller.author,
                    )
                    saved = True
                return made

            if not await self._hub.write(memory_id, caller.author, make):
                await self._projector.project(memory_id)
            await self._store.restored(kept_id, request.version_id)
        memory = await self._memories.get(memory_id, account_id)
        self._notices.feed_changed([account_id], memory_id)
        return OneMemory(memory=memory)

    async def blame(self, caller: Caller, request: GetBlame) -> Blame:
        """Raises:
        MemoError: `not_found`, `gone`, `too_large`.
        """
        memory_id = request.memory_id
        await self._store.role(memory_id, caller.author.account_id)
        content = await self._hub.content(memory_id)
        # Read behind the content, so that they know who wrote all of it.
        kept, rows = await self._store.authorship(memory_id)
        try:
            written = await self._readers.run_for(
                caller.author.account_id, blame, content.payloads, kept, rows
            )
        except TooMuch as error:
            raise MemoError(
                ErrorCode.TOO_LARGE,
                f"who wrote what is told of a body of up to {error}",
                details={"memoryId": f"its body has more than {error}"},
            ) from None
        accounts = dict.fromkeys(run.account_id for run in written if run.account_id)
        return Blame(
            runs=[
                BlameRun(
                    text=run.text,
                    user_id=run.account_id,
                    device_id=run.device_id,
                    written_at=timestamp(run.written_at) if run.written_at else None,
                )
                for run in written
            ],
            authors=await self._store.people(accounts),
        )

    async def _check_writer(self, caller: Caller, memory_id: UUID) -> None:
        if await self._store.role(memory_id, caller.author.account_id) not in WRITERS:
            raise MemoError(ErrorCode.FORBIDDEN, "you may read this memory, not write in it")

    async def _other(
        self, version: Version, memory_id: UUID, wanted: str
    ) -> tuple[str, bool, Layers | Sequence[bytes] | None]:
        """What to compare a version with: its name, whether it is the newer one, and its content
        (None: there is nothing)."""
        if wanted == "current":
            return wanted, True, (await self._hub.content(memory_id)).payloads
        if wanted == "previous":
            before = await self._store.before(memory_id, version.offset)
            if before is None:
                return "empty", False, None
            return str(before), False, await self._store.layers(memory_id, before)
        try:
            other_id = UUID(wanted)
        except ValueError:
            raise MemoError(
                ErrorCode.INVALID_REQUEST,
                "`compareTo` has to be the id of a version, `current` or `previous`",
                details={"compareTo": "is none of these"},
            ) from None
        other = await self._store.get(memory_id, other_id)
        is_newer = (other.offset, other.created_at) > (version.offset, version.created_at)
        return str(other_id), is_newer, await self._store.layers(memory_id, other_id)


def _check_name(name: str | None) -> None:
    # PostgreSQL keeps no NUL, and a name is one line, wherever it is shown.
    if any(unicodedata.category(character) == "Cc" for character in name or ""):
        problem = "must not hold control characters"
        raise MemoError(ErrorCode.INVALID_REQUEST, f"name: {problem}", details={"name": problem})


def _past(
    content: Projection, owners: Mapping[int, UUID | None], authors: Mapping[UUID, UUID]
) -> PastMemory:
    return PastMemory(
        title=content.title,
        description=content.description,
        content=content.content,
        tags=content.tags,
        metadata=content.metadata,
        messages=[
            PastMessage(
                id=message.id,
                content=message.content,
                message_type=message.message_type,
                user_id=_author(message, owners, authors),
                parent_message_id=message.parent_message_id,
                metadata=message.metadata,
                attachments=message.attachments,
                is_ai_generated=message.is_ai_generated,
                status=message.status,
                created_at=timestamp(message.created_at) if message.created_at else None,
            )
            for message in content.messages
        ],
    )


def _author(
    message: Message, owners: Mapping[int, UUID | None], authors: Mapping[UUID, UUID]
) -> UUID | None:
    """Who wrote a message: whoever's the Yjs client is. Of what the server restored, its row
    knows."""
    if message.client is None or message.client not in owners:
        return None
    owner = owners[message.client] or authors.get(message.id)
    return None if owner == NOBODY else owner
