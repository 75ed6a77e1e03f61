"""Deleting an account: who asks has to prove to be its owner, and then it goes at once."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from protocol.errors import ErrorCode, MemoError
from protocol.identity import DeleteAccount
from protocol.records import Empty
from server.connection import ConnectionCall
from server.identity.guard import Guard
from server.identity.pause import check_pause
from server.identity.twofactor import TwoFactor
from server.mail.post import Post, code_digest
from storage.accounts import Accounts
from storage.departures import Departed, Departures
from storage.guesses import Guesses
from storage.verification import EmailTokens
from sync.feed import Notices
from sync.hub import Hub
from sync.tasks import Tasks, outlived


class Confirmation:
    """Makes sure that it is the owner who deletes an account."""

    def __init__(
        self,
        accounts: Accounts,
        tokens: EmailTokens,
        *,
        guard: Guard,
        two_factor: TwoFactor,
        guesses: Guesses,
        post: Post,
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._guard = guard
        self._two_factor = two_factor
        self._guesses = guesses
        self._post = post

    async def send_code(self, user_id: UUID) -> None:
        """Send a code to the account's address.

        Raises:
            MemoError: `conflict` when the account has a password, which is asked for instead;
                `rate_limited` within a minute of the last one, or after five of an hour; `busy`.
        """
        user = await self._accounts.existing(user_id)
        if await self._tokens.password_hash(user_id) is not None:
            raise MemoError(
                ErrorCode.CONFLICT, "The account has a password; give that to account.delete."
            )
        await check_pause(self._tokens, user_id, "delete", user.email)
        await self._post.deletion(user_id, user.email)

    async def check(self, user_id: UUID, password: str | None, code: str | None) -> None:
        """Go on only if what is given is the owner's to give.

        Raises:
            MemoError: `invalid_request` naming what is missing, `invalid_credentials` naming what
                is wrong, `two_factor_required`, `rate_limited`, `busy`, `not_found`.
        """
        await self._accounts.existing(user_id)
        if await self._tokens.password_hash(user_id) is not None:
            if password is None:
                raise _missing("password", "is needed")
            await self._guard.check(user_id, password)
            await self._two_factor.check(user_id, code)
            return
        if code is None:
            raise _missing("code", "is needed; account.sendDeletionCode sends one")
        await self._guesses.count(user_id, "code")
        if not await self._tokens.deletes(code_digest(user_id, code), user_id):
            raise MemoError(
                ErrorCode.INVALID_CREDENTIALS,
                "The code is wrong, or too old.",
                details={"code": "is wrong or too old; account.sendDeletionCode sends another"},
            )


class Deletion:
    """Binds `account.delete` and `account.sendDeletionCode`. `end` closes a session's connections,
    on every node."""

    def __init__(
        self,
        departures: Departures,
        confirmation: Confirmation,
        *,
        hub: Hub,
        notices: Notices,
        tasks: Tasks,
        end: Callable[[UUID], None],
    ) -> None:
        self._departures = departures
        self._confirmation = confirmation
        self._hub = hub
        self._notices = notices
        self._tasks = tasks
        self._end = end

    async def send_code(self, call: ConnectionCall, request: Empty) -> Empty:  # noqa: ARG002
        await self._confirmation.send_code(call.principal.account_id)
        return Empty()

    async def delete(self, call: ConnectionCall, request: DeleteAccount) -> Empty:
        """Goes on to the end when it takes longer than the caller waits.

        Raises:
            MemoError: as `Confirmation.check`.
        """
        account_id, current = call.principal.account_id, call.principal.session_id
        await self._confirmation.check(account_id, request.password, request.code)
        with call.channels.outliving_session():
            await outlived(self._tasks.start(self._remove(account_id, current)))
        # Behind the reply.
        asyncio.get_running_loop().call_soon(self._end, current)
        return Empty()

    async def _remove(self, account_id: UUID, current: UUID) -> None:
        departed = await self._departures.remove(account_id)
        if departed is not None:
            self._tell(departed, current)

    def _tell(self, departed: Departed, current: UUID) -> None:
        for memory_id in departed.purged:
            self._hub.announce_deleted(memory_id)
        for memory_id, members in departed.left.items():
            self._notices.members_changed(members, memory_id)
        followed = (*departed.purged.values(), *departed.left.values(), departed.showed)
        self._notices.feed_changed({who for accounts in followed for who in accounts})
        for session_id in departed.sessions:
            if session_id != current:
                self._end(session_id)


def _missing(field: str, problem: str) -> MemoError:
    return MemoError(ErrorCode.INVALID_REQUEST, f"{field} {problem}", details={field: problem})
