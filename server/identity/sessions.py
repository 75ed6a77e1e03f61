"""The operations on the caller's own session, account and signed-in devices."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from uuid import UUID

from protocol.accounts import Me, RenewedSession, RenewSession
from protocol.errors import ErrorCode, MemoError
from protocol.records import Empty, timestamp, timestamp_of
from protocol.sessions import DeviceSession, EndSessions, SessionList
from server.auth import Auth
from server.connection import ConnectionCall
from server.dispatch import Call
from server.identity.devices import device_name
from server.identity.places import Places
from storage.sessions import SessionRow, SessionRows


class Sessions:
    """Binds `session.*`, `sessions.*` and `account.me`. `places` says where their
    addresses are. `end` closes a session's connections, on every node."""

    def __init__(
        self, auth: Auth, rows: SessionRows, places: Places, end: Callable[[UUID], None]
    ) -> None:
        self._auth = auth
        self._rows = rows
        self._places = places
        self._end = end

    async def renew(self, call: ConnectionCall, request: RenewSession) -> RenewedSession:
        """Raises:
        MemoError: `unauthorized`, `token_expired`, `session_ended`.
        """
        principal = await self._auth.authenticate(request.token)
        call.channels.renew(principal)
        return RenewedSession(expires_at=timestamp_of(principal.expires_at))

    async def me(self, call: Call, request: Empty) -> Me:  # noqa: ARG002
        return await self._auth.me(call.principal)

    async def list(self, call: Call, request: Empty) -> SessionList:  # noqa: ARG002
        current = call.principal.session_id
        rows = await self._rows.of(call.principal.account_id)
        return SessionList(sessions=[self._session(row, current) for row in rows])

    async def end(self, call: ConnectionCall, request: EndSessions) -> Empty:
        """Raises:
        MemoError: `invalid_request`, `not_found`.
        """
        account_id, current = call.principal.account_id, call.principal.session_id
        if (request.id is None) is not request.all:
            problem = "give either the id of a session, or all: true"
            raise MemoError(ErrorCode.INVALID_REQUEST, problem, details={"id": problem})
        if request.id is None:
            for session_id in await self._rows.end_others(account_id, current):
                self._end(session_id)
            return Empty()
        own = request.id == current
        with call.channels.outliving_session() if own else nullcontext():
            if not await self._rows.end(account_id, request.id):
                raise MemoError(ErrorCode.NOT_FOUND, "you have no such session")
        if own:
            # Behind the reply.
            asyncio.get_running_loop().call_soon(self._end, current)
        else:
            self._end(request.id)
        return Empty()

    def _session(self, row: SessionRow, current: UUID) -> DeviceSession:
        return DeviceSession(
            id=row.id,
            current=row.id == current,
            device=device_name(row.user_agent),
            user_agent=row.user_agent,
            address=row.address,
            place=self._places.of(row.address),
            created_at=timestamp(row.created_at),
            last_active_at=timestamp(row.last_active_at),
            expires_at=timestamp(row.expires_at),
        )
