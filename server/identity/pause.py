"""How often somebody may have a message with a link or a code sent."""

from uuid import UUID

from protocol.errors import ErrorCode, MemoError
from storage.verification import MAX_LINKS, EmailTokens, Purpose

AGAIN_SECONDS = 60.0  # between two messages of one kind


async def check_pause(tokens: EmailTokens, user_id: UUID, purpose: Purpose, email: str) -> None:
    """Go on only if the account may be sent another one, to this address.

    Raises:
        MemoError: `rate_limited` within a minute of the last one to the address, or when the
            account was sent as many as are good at once.
    """
    given, last = await tokens.recent(user_id, purpose, email)
    wait = None
    if given >= MAX_LINKS[purpose]:
        wait = 3600.0
    elif last is not None and last < AGAIN_SECONDS:
        wait = AGAIN_SECONDS - last
    if wait is not None:
        raise MemoError(
            ErrorCode.RATE_LIMITED,
            "A message was sent a moment ago; look for it, or wait.",
            retry_after=wait,
        )
