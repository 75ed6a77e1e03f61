"""The operations on channels: opening and closing documents on a connection."""

from uuid import UUID

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
from server.connection import ConnectionCall
from server.tokens import Tokens
from sync.hub import Hub
from sync.interfaces import Log


class Documents:
    """Binds `documents.*`."""

    def __init__(self, hub: Hub, log: Log, tokens: Tokens) -> None:
        self._hub = hub
        self._log = log
        self._tokens = tokens

    async def open(self, call: ConnectionCall, request: OpenDocument) -> OpenedDocument:
        """Raises:
        MemoError: `not_found`, `gone`.
        """
        opening = await self._hub.open(
            call.channels, request.memory_id, request.epoch, request.offset
        )
        subscription = opening.subscription
        call.channels.join(subscription)
        return OpenedDocument(
            channel=subscription.room.channel,
            epoch=subscription.room.epoch,
            offset=opening.offset,
            format=FORMAT,
            snapshot=opening.snapshot.payload if opening.snapshot else None,
            updates=list(opening.updates),
            can_write=subscription.can_write,
        )

    async def close(self, call: ConnectionCall, request: CloseDocument) -> Empty:
        call.channels.leave(request.channel)
        return Empty()

    async def token(self, call: ConnectionCall, request: CreateDocumentToken) -> DocumentToken:
        """Raises:
        MemoError: `not_found`, when the account is no member.
        """
        await self._check_member(call.author.account_id, request.memory_id)
        token, expires_at = self._tokens.issue_document(
            call.principal, request.memory_id, request.expires_in
        )
        return DocumentToken(token=token, expires_at=timestamp_of(expires_at))

    async def _check_member(self, account_id: UUID, memory_id: UUID) -> None:
        if await self._log.role(memory_id, account_id) is None:
            raise MemoError(ErrorCode.NOT_FOUND, "there is no such memory, or none you may see")
