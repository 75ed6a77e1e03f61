"""The operations on the caller's own session and account."""

from protocol.accounts import Me, RenewedSession, RenewSession
from protocol.records import Empty, timestamp_of
from server.auth import Auth
from server.connection import ConnectionCall


class Sessions:
    """Binds `session.*` and `account.me`."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def renew(self, call: ConnectionCall, request: RenewSession) -> RenewedSession:
        """Raises:
        MemoError: `unauthorized`, `token_expired`, `session_ended`.
        """
        principal = await self._auth.authenticate(request.token)
        call.channels.renew(principal)
        return RenewedSession(expires_at=timestamp_of(principal.expires_at))

    async def me(self, call: ConnectionCall, request: Empty) -> Me:  # noqa: ARG002
        return await self._auth.me(call.principal)
