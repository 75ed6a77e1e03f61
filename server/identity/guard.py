"""The guard: the password again, before what only the account's owner may do."""

from uuid import UUID

from protocol.errors import ErrorCode, MemoError
from server.passwords import Passwords
from storage.guesses import Guesses
from storage.verification import EmailTokens


class Guard:
    """Asks who is signed in for their password once more: a device may be in other hands."""

    def __init__(self, tokens: EmailTokens, passwords: Passwords, guesses: Guesses) -> None:
        self._tokens = tokens
        self._passwords = passwords
        self._guesses = guesses

    async def check(self, user_id: UUID, password: str, field: str = "password") -> None:
        """Go on only if it is the account's password.

        Raises:
            MemoError: `invalid_credentials` naming `field`, `rate_limited` after too many wrong
                ones, `busy`.
        """
        kept = await self._tokens.password_hash(user_id)
        if kept is None:
            raise MemoError(
                ErrorCode.INVALID_CREDENTIALS,
                "The account has no password; set one first, by a link from /api/auth/forgot.",
                details={field: "there is none; set one by a link from /api/auth/forgot"},
            )
        await self._guesses.count(user_id, "password")
        if not await self._passwords.verify(password, kept):
            raise MemoError(
                ErrorCode.INVALID_CREDENTIALS,
                "The password is wrong.",
                details={field: "is wrong"},
            )
        await self._guesses.right(user_id, "password")
