"""The operations of who looks after the installation."""

from collections.abc import Callable
from math import ceil
from uuid import UUID

import msgspec

from protocol.accounts import OneAccount
from protocol.admin import InstallationStats, ListUsers, NamedUser, SetUserRole, UserPage
from protocol.errors import ErrorCode, MemoError
from protocol.records import Empty, Pagination
from server.dispatch import Call
from storage.accounts import Accounts
from storage.installation import Installation


class Admin:
    """Binds `admin.*`. `end` closes a session's connections, on every node."""

    def __init__(
        self, accounts: Accounts, installation: Installation, end: Callable[[UUID], None]
    ) -> None:
        self._accounts = accounts
        self._installation = installation
        self._end = end

    async def users(self, call: Call, request: ListUsers) -> UserPage:  # noqa: ARG002
        ids, total = await self._installation.page(request.search, request.page, request.limit)
        return UserPage(
            users=list(await self._accounts.users_of(ids)),
            pagination=Pagination(
                page=request.page,
                limit=request.limit,
                total=total,
                total_pages=ceil(total / request.limit),
            ),
        )

    async def set_role(self, call: Call, request: SetUserRole) -> OneAccount:
        """Raises:
        MemoError: `not_found`, `conflict` for the caller's own account.
        """
        self._check_other(call, request.user_id)
        await self._installation.set_role(request.user_id, request.role)
        return await self._account(request.user_id)

    async def disable(self, call: Call, request: NamedUser) -> OneAccount:
        """Raises:
        MemoError: `not_found`, `conflict` for the caller's own account.
        """
        self._check_other(call, request.user_id)
        return await self._set_active(request.user_id, False)

    async def enable(self, call: Call, request: NamedUser) -> OneAccount:
        """Raises:
        MemoError: `not_found`, `conflict` for the caller's own account.
        """
        self._check_other(call, request.user_id)
        return await self._set_active(request.user_id, True)

    async def stats(self, call: Call, request: Empty) -> InstallationStats:  # noqa: ARG002
        counts = await self._installation.counts()
        return InstallationStats(**msgspec.structs.asdict(counts))

    async def _set_active(self, user_id: UUID, active: bool) -> OneAccount:
        for session_id in await self._installation.set_active(user_id, active) or ():
            self._end(session_id)
        return await self._account(user_id)

    async def _account(self, user_id: UUID) -> OneAccount:
        user = await self._accounts.user(user_id)
        if user is None:
            raise MemoError(ErrorCode.NOT_FOUND, "there is no such account")
        return OneAccount(user=user)

    @staticmethod
    def _check_other(call: Call, user_id: UUID) -> None:
        if user_id == call.principal.account_id:
            raise MemoError(
                ErrorCode.CONFLICT,
                "this is your own account; have another admin do it",
                details={"userId": "is your own account"},
            )
