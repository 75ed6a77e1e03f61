"""Verification: proving an e-mail address, and changing what an account is signed in to with."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from uuid import UUID

from protocol.accounts import User
from protocol.errors import ErrorCode, MemoError
from server.auth import normalize_email
from server.identity.guard import Guard
from server.identity.pause import check_pause
from server.mail.post import Post, digest
from server.mail.texts import UNLINKED, Notice
from server.passwords import Passwords, weakness
from server.tokens import Principal
from storage import outage
from storage.accounts import Accounts
from storage.verification import EmailTokens


class Verification:
    """`session_ended` is told of every session that ends, as `Auth`'s is, and `account_changed` of
    every account whose address changed or was proven, so that its devices look."""

    def __init__(
        self,
        accounts: Accounts,
        tokens: EmailTokens,
        *,
        passwords: Passwords,
        guard: Guard,
        post: Post,
        session_ended: Callable[[UUID], Awaitable[None]],
        account_changed: Callable[[UUID], None] = lambda _: None,
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._passwords = passwords
        self._guard = guard
        self._post = post
        self._session_ended = session_ended
        self._account_changed = account_changed

    async def registered(self, user: User) -> None:
        """Have somebody new prove their address. That it cannot be asked for now is no reason to
        refuse the account: they can ask for the message again."""
        with suppress(MemoError), outage.reported():
            await self._post.verification(user.id, user.email)

    async def send_again(self, principal: Principal) -> None:
        """The message with the link again. Nothing is sent to a proven address.

        Raises:
            MemoError: `rate_limited` within a minute of the last one, or after ten of a day;
                `busy`.
        """
        user = await self._accounts.existing(principal.account_id)
        if user.is_verified:
            return
        await check_pause(self._tokens, user.id, "verify", user.email)
        await self._post.verification(user.id, user.email)

    async def verify(self, token: str) -> User:
        """Take the address that the token proves as the account's. What was set up before an
        address was proven, but for the password, may be a stranger's: it goes, and the address is
        told.

        Raises:
            MemoError: `invalid_request` naming `token` when it is not good, `conflict` when
                another account has the address now.
        """
        proven = await self._tokens.verify(digest(token))
        if proven is None:
            raise _bad_link()
        user = await self._accounts.existing(proven.user_id)
        if not proven.again:
            self._account_changed(user.id)
        if not proven.again and proven.before.lower() != user.email.lower():
            await self._post.security_notice(proven.before, Notice.EMAIL_CHANGED)
        if proven.removed.two_factor:
            await self._post.security_notice(user.email, Notice.TWO_FACTOR_OFF)
        for provider in proven.removed.providers:
            await self._post.security_notice(user.email, UNLINKED[provider])
        return user

    async def forgot(self, email: str) -> None:
        """A link to set a new password with, if there is such an account. Nothing that can be seen
        or timed from outside says whether there is.

        Raises:
            MemoError: `busy`.
        """
        normalized = normalize_email(email)
        if normalized is not None:
            await self._post.password_reset(normalized)

    async def reset(self, token: str, password: str) -> None:
        """Set a password by a link's token; all sessions of the account end.

        Raises:
            MemoError: `invalid_request` naming `token` or `password`, `busy`.
        """
        _refuse_weak(password, "password")
        # A made-up token is not worth a hash.
        if not await self._tokens.resets(digest(token)):
            raise _bad_link()
        changed = await self._tokens.reset(digest(token), await self._passwords.hash(password))
        if changed is None:
            raise _bad_link()
        await self._end(changed.ended)
        await self._post.security_notice(changed.email, Notice.RESET)

    async def change_password(self, principal: Principal, current: str, new: str) -> None:
        """Change the password; all sessions but this one end.

        Raises:
            MemoError: `invalid_credentials` naming `currentPassword`, `invalid_request` naming
                `newPassword`, `rate_limited`, `busy`.
        """
        _refuse_weak(new, "newPassword")
        await self._guard.check(principal.account_id, current, "currentPassword")
        fresh = await self._passwords.hash(new)
        ended = await self._tokens.change_password(
            principal.account_id, fresh, principal.session_id
        )
        await self._end(ended)
        user = await self._accounts.existing(principal.account_id)
        await self._post.security_notice(user.email, Notice.RESET)

    async def change_email(self, principal: Principal, password: str, email: str) -> None:
        """Send a link to a new address. Whether another account has it is not said: its owner is
        not written to, and the account keeps its own.

        Raises:
            MemoError: `invalid_credentials` naming `password`, `invalid_request` naming `email`,
                `rate_limited`, `busy`.
        """
        normalized = normalize_email(email)
        if normalized is None:
            problem = "is not an e-mail address, like name@example.com"
            raise MemoError(
                ErrorCode.INVALID_REQUEST, f"email {problem}", details={"email": problem}
            )
        await self._guard.check(principal.account_id, password)
        await check_pause(self._tokens, principal.account_id, "verify", normalized)
        await self._post.verification(principal.account_id, normalized)

    async def _end(self, sessions: Sequence[UUID]) -> None:
        for session_id in sessions:
            await self._session_ended(session_id)


def _refuse_weak(password: str, field: str) -> None:
    if problem := weakness(password):
        raise MemoError(ErrorCode.INVALID_REQUEST, f"{field} {problem}", details={field: problem})


def _bad_link() -> MemoError:
    return MemoError(
        ErrorCode.INVALID_REQUEST,
        "The link is not good any more; ask for a new one.",
        details={"token": "is unknown, used or too old; ask for a new link"},
    )
