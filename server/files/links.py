"""Addresses that show a file without a token, for a while."""

import re
import time
from collections.abc import Callable
from typing import Literal
from uuid import UUID

from protocol.errors import ErrorCode, MemoError
from server.tokens import Tokens, UnknownKeyError

LINK_SECONDS = 3600

Variant = Literal["", "/thumbnail", "export"]

_TOKEN = re.compile(r"(\d{1,12})\.([0-9a-f]{32})\.([A-Za-z0-9_-]{43})", re.ASCII)


class Links:
    """Makes and reads links; each is good for one variant of one file, or for one archive, as long
    as the account that asked for it may see it. `clock` gives Unix seconds."""

    def __init__(self, tokens: Tokens, *, clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._clock = clock

    async def make(self, file_id: UUID, variant: Variant, account_id: UUID) -> tuple[str, float]:
        """The link's path and query, and when it expires (Unix seconds)."""
        await self._tokens.reload()
        expires_at = int(self._clock()) + LINK_SECONDS
        signature = self._tokens.sign_link(_claim(file_id, variant, account_id, expires_at))
        token = f"{expires_at}.{account_id.hex}.{signature}"
        path = (
            f"/api/exports/{file_id}" if variant == "export" else f"/api/files/{file_id}{variant}"
        )
        return f"{path}?token={token}", float(expires_at)

    async def read(self, token: str, file_id: UUID, variant: Variant) -> UUID:
        """The account that the link was made for.

        Raises:
            MemoError: `token_expired`; `unauthorized`, for a token that is not ours, or is for
                something else.
        """
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise _refused()
        expires_at, account_id = int(match[1]), UUID(match[2])
        claim = _claim(file_id, variant, account_id, expires_at)
        await self._tokens.reload()
        if not self._tokens.verify_link(claim, match[3]):
            # It may be signed with a key that is quite new.
            await self._tokens.reload(UnknownKeyError(ErrorCode.UNAUTHORIZED))
            if not self._tokens.verify_link(claim, match[3]):
                raise _refused()
        if expires_at <= self._clock():
            raise MemoError(ErrorCode.TOKEN_EXPIRED, "this link has expired; ask for a new one")
        return account_id


def _claim(file_id: UUID, variant: Variant, account_id: UUID, expires_at: int) -> str:
    return f"{file_id}{variant} {account_id} {expires_at}"


def _refused() -> MemoError:
    return MemoError(ErrorCode.UNAUTHORIZED, "this link is not valid; ask for a new one")
