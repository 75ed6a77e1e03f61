"""The operations on channels: opening and closing documents on a connection."""

from uuid import UUID

import msgspec

from protocol.documents import (
    FORMAT,
    CloseDocument,
    CreateDocumentToken,
    DocumentToken,
    OpenDocument,
    OpenedDocument,
)
from protocol.errors import ErrorCode, MemoError
from protocol.records import Empty, timestamp_of
from server.connection import LARGE_BYTES, ConnectionCall
from server.dispatch import Encoded
from server.tokens import Tokens
from sync.hub import Hub
from sync.interfaces import Log


class Documents:
    """Binds `documents.*`."""

    def __init__(self, hub: Hub, log: Log, tokens: Tokens) -> None:
        self._hub = hub
        self._log = log
        self._tokens = tokens

    async def open(
        self, call: ConnectionCall, request: OpenDocument
    ) -> OpenedDocument | Encoded[OpenedDocument]:
        """Raises:
        MemoError: `not_found`, `gone`; `busy` when too many are open on the connection.
        """
        room = self._hub.rooms.get(request.memory_id)
        call.channels.check_room_for(room.channel if room else None)
        opening = await self._hub.open(
            call.channels, request.memory_id, request.epoch, request.offset
        )
        subscription, content = opening.subscription, opening.content
        call.channels.join(subscription)
        opened = OpenedDocument(
            channel=subscription.room.channel,
            epoch=subscription.room.epoch,
            offset=content.offset,
            format=FORMAT,
            snapshot=content.snapshot.payload if content.snapshot else None,
            updates=content.updates,
            can_write=subscription.can_write,
        )
        if content.size < LARGE_BYTES:
            return opened
        form = ("memo.v1", subscription.can_write)
        return Encoded(content.encoded(form, lambda: msgspec.msgpack.encode(opened)))

    async def close(self, call: ConnectionCall, request: CloseDocument) -> Empty:
        call.channels.leave(request.channel)
        return Empty()

    async def token(self, call: ConnectionCall, request: CreateDocumentToken) -> DocumentToken:
        """Raises:
        MemoError: `not_found`, when the account may not read it; `gone`.
        """
        await self._check_reader(call.author.account_id, request.memory_id)
        token, expires_at = self._tokens.issue_document(
            call.principal, request.memory_id, request.expires_in
        )
        return DocumentToken(token=token, expires_at=timestamp_of(expires_at))

    async def _check_reader(self, account_id: UUID, memory_id: UUID) -> None:
        if await self._log.role(memory_id, account_id) is None:
            raise MemoError(ErrorCode.NOT_FOUND, "there is no such memory, or none you may see")
        if memory_id not in await self._log.heads([memory_id]):
            raise MemoError(ErrorCode.GONE, "this memory has been deleted")
