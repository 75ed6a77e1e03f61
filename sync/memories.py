"""Memories: the operations that make, change and delete them.

What members share is in the document and changed by an edit that merges with theirs; category,
favourite and archived are the member's own row.
"""

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID, uuid4

from msgspec import UNSET, UnsetType

from protocol.errors import ErrorCode, MemoError
from protocol.log import WRITERS, Author, Entry, Projection
from protocol.memories import (
    Content,
    CreateMemory,
    DeletedMemory,
    DeleteMemory,
    GetMemory,
    ListMemories,
    Memory,
    MemoryPage,
    OneMemory,
    PrivacyLevel,
    UpdateMemory,
)
from sync.document import Edit, check_values, edit
from sync.feed import Notices
from sync.hub import Hub
from sync.interfaces import Caller
from sync.projection import Projector
from sync.update import MAX_NESTING
from sync.worker import WorkerPool


class MemoryStore(Protocol):
    """The rows of memories."""

    async def create(
        self, entry: Entry, *, category_id: UUID | None, is_favorite: bool, is_archived: bool
    ) -> Memory: ...

    async def get(self, memory_id: UUID, account_id: UUID) -> Memory: ...

    async def list(self, account_id: UUID, query: ListMemories) -> MemoryPage: ...

    async def mark(self, memory_id: UUID, account_id: UUID, marks: dict[str, Any]) -> None: ...

    async def delete(self, memory_id: UUID, account_id: UUID) -> tuple[str, Sequence[UUID]]: ...


class Privacy(Protocol):
    """How far a memory is shared."""

    async def set_privacy(self, memory_id: UUID, account_id: UUID, level: PrivacyLevel) -> None: ...


class Memories:
    """Binds the operations `memories.*`."""

    def __init__(
        self,
        store: MemoryStore,
        hub: Hub,
        projector: Projector,
        workers: WorkerPool,
        notices: Notices,
        *,
        privacy: Privacy,
    ) -> None:
        self._store = store
        self._hub = hub
        self._projector = projector
        self._workers = workers
        self._notices = notices
        self._privacy = privacy

    async def create(self, caller: Caller, request: CreateMemory) -> OneMemory:
        """Raises:
        MemoError: `conflict`, `gone`, `not_found` (the category), `invalid_request`.
        """
        change = Edit(
            title=request.title,
            description=request.description,
            metadata=request.metadata,
            tags=request.tags,
            **_content(request.content),
        )
        memory_id = request.id or uuid4()
        client_id = self._hub.client_id(memory_id)
        payload, projection = await self._edit(caller.author, [], change, client_id)
        claims = ((client_id, None),) if payload else ()
        memory = await self._store.create(
            Entry(memory_id, caller.author, payload or b"", claims, projection),
            category_id=request.category_id,
            is_favorite=request.is_favorite,
            is_archived=request.is_archived,
        )
        self._notices.feed_changed([caller.author.account_id], memory.id)
        return OneMemory(memory=memory)

    async def get(self, caller: Caller, request: GetMemory) -> OneMemory:
        """Raises:
        MemoError: `not_found`, `gone`.
        """
        return OneMemory(memory=await self._store.get(request.id, caller.author.account_id))

    async def list(self, caller: Caller, request: ListMemories) -> MemoryPage:
        return await self._store.list(caller.author.account_id, request)

    async def update(self, caller: Caller, request: UpdateMemory) -> OneMemory:
        """Raises:
        MemoError: `not_found`, `gone`, `forbidden` (a shared field, by one who may not
            write; a mark, by no member; the privacy level, not by the owner),
            `invalid_request`.
        """
        account_id = caller.author.account_id
        change = Edit(
            title=request.title,
            description=request.description,
            metadata=request.metadata,
            tags=request.tags,
            **_content(request.content),
        )
        memory = await self._store.get(request.id, account_id)
        marks = {
            name: value
            for name in ("category_id", "is_favorite", "is_archived")
            if (value := getattr(request, name)) is not UNSET
        }
        if request.privacy_level is not UNSET:
            await self._privacy.set_privacy(request.id, account_id, request.privacy_level)
        if change != Edit():
            if memory.role not in WRITERS:
                raise MemoError(ErrorCode.FORBIDDEN, "you may read this memory, not write in it")

            async def make(
                updates: Sequence[bytes], client_id: int
            ) -> tuple[bytes | None, Projection]:
                return await self._edit(caller.author, updates, change, client_id)

            if not await self._hub.write(request.id, caller.author, make):
                await self._projector.project(request.id)
        if marks:
            await self._store.mark(request.id, account_id, marks)
        memory = await self._store.get(request.id, account_id)
        self._notices.feed_changed([account_id], request.id)
        return OneMemory(memory=memory)

    async def delete(self, caller: Caller, request: DeleteMemory) -> DeletedMemory:
        """Raises:
        MemoError: `not_found`, `forbidden`.
        """
        deleted_at, followers = await self._store.delete(request.id, caller.author.account_id)
        self._hub.announce_deleted(request.id)
        self._notices.feed_changed(followers, request.id)
        return DeletedMemory(id=request.id, deleted_at=deleted_at)

    async def _edit(
        self, author: Author, updates: Sequence[bytes], change: Edit, client_id: int
    ) -> tuple[bytes | None, Projection]:
        try:
            check_values(change.metadata, change.data)
            return await self._workers.run_for(
                author.account_id, edit, updates, change, client_id, ()
            )
        except RecursionError:
            reason = f"nesting deeper than {MAX_NESTING}"  # too deep even to be handed over
        except (ValueError, TypeError, OverflowError) as error:
            reason = str(error)
        raise MemoError(
            ErrorCode.INVALID_REQUEST,
            f"`content` or `metadata` holds what a document cannot: {reason}",
            details={"content": reason},
        )


def _content(content: Content | None | UnsetType) -> dict[str, Any]:
    """The edit's `data` and `text` for a request's `content`."""
    match content:
        case UnsetType():
            return {}
        case None:
            return {"data": None, "text": ""}
        case str():
            return {"data": None, "text": content}
        case _:
            text = content.get("text", "")
            if not isinstance(text, str):
                raise MemoError(
                    ErrorCode.INVALID_REQUEST,
                    "`content.text` is the memory's body and must be a string",
                    details={"content.text": "must be a string"},
                )
            data = {key: value for key, value in content.items() if key != "text"}
            return {"data": data or None, "text": text}
