"""Messages: the operations on the thread of a memory.

The truth is the memory's document. Who may comment writes in it through the server, which makes
the edit for them; the right to is checked again in the commit. It is made under a Yjs client id of
the account's own, so that the log proves who wrote what.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET

from protocol.errors import ErrorCode, MemoError, id_taken
from protocol.log import COMMENTERS, Author, Projection, ThreadRow
from protocol.memories import Role
from protocol.messages import (
    CreateMessage,
    DeletedMessage,
    DeleteMessage,
    ListMessages,
    MarkRead,
    Message,
    MessagePage,
    OneMessage,
    ReadMark,
    UpdateMessage,
)
from sync.document import MAX_MESSAGE_METADATA, check_values
from sync.feed import Notices
from sync.hub import Hub
from sync.interfaces import Caller
from sync.projection import Projector
from sync.thread import Amendment, Change, Post, Removal, change
from sync.update import MAX_NESTING
from sync.worker import WorkerPool


class MessageStore(Protocol):
    """The rows of messages, and members' read marks."""

    async def list(
        self,
        memory_id: UUID,
        *,
        page: int,
        limit: int,
        before: datetime | None,
        after: datetime | None,
    ) -> MessagePage: ...

    async def find(self, memory_id: UUID, message_id: UUID) -> ThreadRow | None: ...

    async def deleted(self, memory_id: UUID) -> bool: ...

    async def behind(self, memory_id: UUID) -> bool: ...

    async def check_files(
        self, account_id: UUID, memory_id: UUID, message_id: UUID, file_ids: Sequence[UUID]
    ) -> None: ...

    async def attach(
        self, account_id: UUID, memory_id: UUID, message_id: UUID, file_ids: Sequence[UUID]
    ) -> Sequence[UUID]: ...

    async def mark_read(
        self,
        memory_id: UUID,
        account_id: UUID,
        *,
        message_id: UUID | None = None,
        at: datetime | None = None,
    ) -> bool: ...

    async def read_mark(self, memory_id: UUID, account_id: UUID) -> ReadMark | None: ...


class Roles(Protocol):
    """Who is what in a memory."""

    async def role(self, document_id: UUID, account_id: UUID) -> Role | None: ...


class Messages:
    """Binds the operations `messages.*`."""

    def __init__(
        self,
        store: MessageStore,
        roles: Roles,
        *,
        hub: Hub,
        projector: Projector,
        workers: WorkerPool,
        notices: Notices,
    ) -> None:
        self._store = store
        self._roles = roles
        self._hub = hub
        self._projector = projector
        self._workers = workers
        self._notices = notices

    async def list(self, caller: Caller, request: ListMessages) -> MessagePage:
        """Raises:
        MemoError: `not_found`, `gone` (the memory), `invalid_request`.
        """
        before, after = _moment(request.before, "before"), _moment(request.after, "after")
        await self._role(caller.author, request.memory_id)
        return await self._store.list(
            request.memory_id,
            page=request.page,
            limit=request.limit,
            before=before,
            after=after,
        )

    async def create(self, caller: Caller, request: CreateMessage) -> OneMessage:
        """Raises:
        MemoError: `not_found`, `gone` (the memory; a message of this id, since deleted),
            `forbidden`, `conflict` (the id, an attachment), `invalid_request`.
        """
        author = caller.author
        await self._commenting_role(author, request.memory_id)
        _check_metadata(request.metadata)
        message_id = request.id or uuid4()
        row = await self._find(request.memory_id, message_id) if request.id else None
        if row is not None:
            return OneMessage(message=_first(row, author))
        if request.attachments:
            await self._store.check_files(
                author.account_id, request.memory_id, message_id, request.attachments
            )
        post = Post(
            message_id,
            author.account_id,
            request.content,
            request.message_type,
            request.metadata,
            request.attachments,
            request.parent_message_id,
            datetime.now(UTC),
        )
        row = await self._write(author, request.memory_id, post)
        if row is None:
            raise id_taken()
        return OneMessage(message=_first(row, author))

    async def update(self, caller: Caller, request: UpdateMessage) -> OneMessage:
        """Raises:
        MemoError: `not_found`, `gone` (the memory; the message), `forbidden`, `conflict` (an
            attachment), `invalid_request`.
        """
        author = caller.author
        await self._commenting_role(author, request.memory_id)
        _check_metadata(request.metadata)
        message = await self._message(request.memory_id, request.id)
        if message.user_id != author.account_id:
            raise MemoError(
                ErrorCode.FORBIDDEN,
                "only its author may change a message here; who may write the memory can edit"
                " its document",
            )
        attachments = [] if request.attachments is UNSET else request.attachments or []
        if attachments:
            await self._store.check_files(
                author.account_id, request.memory_id, request.id, attachments
            )
        amendment = Amendment(
            request.id,
            content=request.content,
            metadata=request.metadata,
            attachments=UNSET
            if request.attachments is UNSET
            else [str(file_id) for file_id in attachments] or None,
            status=request.status,
        )
        row = await self._write(author, request.memory_id, amendment)
        if row is None or row.deleted_at is not None:
            raise _gone()
        if attachments:
            told = await self._store.attach(
                author.account_id, request.memory_id, request.id, attachments
            )
            if told:
                self._notices.feed_changed(told, request.memory_id)
        return OneMessage(message=row.message)

    async def delete(self, caller: Caller, request: DeleteMessage) -> DeletedMessage:
        """Raises:
        MemoError: `not_found`, `gone` (the memory), `forbidden`.
        """
        author = caller.author
        role = await self._commenting_role(author, request.memory_id)
        row = await self._find(request.memory_id, request.id)
        if row is None:
            raise _unknown()
        if row.message.user_id != author.account_id and role != "owner":
            raise MemoError(
                ErrorCode.FORBIDDEN, "only its author or the memory's owner may delete a message"
            )
        if row.deleted_at is None:
            row = await self._write(author, request.memory_id, Removal(request.id)) or row
        if row.deleted_at is None:
            raise MemoError(
                ErrorCode.BUSY, "the thread is changing; delete the message again", retry_after=1
            )
        return DeletedMessage(id=request.id, deleted_at=row.deleted_at)

    async def mark_read(self, caller: Caller, request: MarkRead) -> ReadMark:
        """Raises:
        MemoError: `not_found` (the memory, the message), `gone`, `forbidden` (no member),
            `invalid_request`.
        """
        account_id, memory_id = caller.author.account_id, request.memory_id
        at = _moment(request.at, "at")
        if at is not None and request.message_id is not None:
            raise MemoError(
                ErrorCode.INVALID_REQUEST,
                "a read mark is at a message or at a moment, not both",
                details={"at": "leave it out, or `messageId`"},
            )
        await self._role(caller.author, memory_id)
        if request.message_id is not None:
            row = await self._find(memory_id, request.message_id)
            if row is None:
                raise _unknown("messageId")
        if await self._store.mark_read(memory_id, account_id, message_id=request.message_id, at=at):
            self._notices.feed_changed([account_id], memory_id)
        mark = await self._store.read_mark(memory_id, account_id)
        if mark is None:
            raise MemoError(ErrorCode.FORBIDDEN, "only members of a memory have a read mark")
        return mark

    async def _role(self, author: Author, memory_id: UUID) -> Role:
        """The caller's role in a memory that is there."""
        role = await self._roles.role(memory_id, author.account_id)
        if role is None:
            raise MemoError(ErrorCode.NOT_FOUND, "there is no such memory, or none you may see")
        if await self._store.deleted(memory_id):
            raise MemoError(ErrorCode.GONE, "this memory has been deleted")
        return role

    async def _commenting_role(self, author: Author, memory_id: UUID) -> Role:
        """The caller's role, if it may comment."""
        role = await self._role(author, memory_id)
        if role not in COMMENTERS:
            raise MemoError(ErrorCode.FORBIDDEN, "you may read this memory, not comment on it")
        return role

    async def _find(self, memory_id: UUID, message_id: UUID) -> ThreadRow | None:
        """The row of a message, which a device may have written just now."""
        row = await self._store.find(memory_id, message_id)
        if row is None and await self._store.behind(memory_id):
            await self._projector.project(memory_id)
            row = await self._store.find(memory_id, message_id)
        return row

    async def _message(self, memory_id: UUID, message_id: UUID) -> Message:
        row = await self._find(memory_id, message_id)
        if row is None:
            raise _unknown()
        if row.deleted_at is not None:
            raise _gone()
        return row.message

    async def _write(self, author: Author, memory_id: UUID, what: Change) -> ThreadRow | None:
        """Make the change; the message's row behind it."""
        digest: bytes | None = None

        async def make(updates: Sequence[bytes], client_id: int) -> tuple[bytes | None, Projection]:
            nonlocal digest
            payload, projection = await self._change(author, updates, what, client_id)
            digest = projection.messages[0].digest if projection.messages else None
            return payload, projection

        commenting = msgspec.structs.replace(author, commenting=True)
        await self._hub.write(memory_id, commenting, make)
        row = await self._store.find(memory_id, what.id)
        if (
            row is None
            or (digest is not None and row.digest != digest)
            or (digest is None) != (row.deleted_at is not None)
        ):
            # The rows were behind, or others wrote at the same moment: they were not written along.
            await self._projector.project(memory_id)
            row = await self._store.find(memory_id, what.id)
        return row

    async def _change(
        self, author: Author, updates: Sequence[bytes], what: Change, client_id: int
    ) -> tuple[bytes | None, Projection]:
        try:
            return await self._workers.run_for(author.account_id, change, updates, what, client_id)
        except RecursionError:  # too deep even to be handed over
            raise _unstorable(f"nesting deeper than {MAX_NESTING}") from None
        except (ValueError, TypeError, OverflowError) as error:
            raise _unstorable(str(error)) from None


def _first(row: ThreadRow, author: Author) -> Message:
    """The message that a create has made, now or the first time."""
    message = row.message
    if message.user_id != author.account_id:
        raise id_taken()
    if row.deleted_at is not None:
        raise _gone()
    return message


def _check_metadata(metadata: Any) -> None:
    try:
        check_values(metadata)
        size = len(msgspec.json.encode(metadata)) if isinstance(metadata, dict) else 0
    except RecursionError:
        raise _unstorable(f"nesting deeper than {MAX_NESTING}") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise _unstorable(str(error)) from None
    if size > MAX_MESSAGE_METADATA:
        raise MemoError(
            ErrorCode.INVALID_REQUEST,
            "`metadata` is too large for a message; keep it in a file or in the memory",
            details={"metadata": f"may have {MAX_MESSAGE_METADATA} bytes as JSON"},
        )


def _moment(text: str | None, field: str) -> datetime | None:
    if text is None:
        return None
    try:
        return msgspec.convert(text, datetime).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise MemoError(
            ErrorCode.INVALID_REQUEST,
            f"`{field}` must be a time such as 2026-01-31T08:30:00.000Z",
            details={field: "is no RFC 3339 time"},
        ) from None


def _unstorable(reason: str) -> MemoError:
    return MemoError(
        ErrorCode.INVALID_REQUEST,
        f"`metadata` holds what a document cannot: {reason}",
        details={"metadata": reason},
    )


def _gone() -> MemoError:
    return MemoError(ErrorCode.GONE, "this message has been deleted")


def _unknown(field: str = "id") -> MemoError:
    return MemoError(
        ErrorCode.NOT_FOUND,
        "there is no such message in this memory",
        details={field: "is no message of this memory"},
    )
