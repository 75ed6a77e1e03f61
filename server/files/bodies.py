"""Bodies that are read as they come, from clients that may fall silent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import ClientDisconnect, Request

from protocol.errors import ErrorCode, MemoError

SILENCE_SECONDS = 2.0  # after which the one who reads is asked whether to go on waiting
PATIENCE_SECONDS = 30.0  # with a client that sends nothing at all


class StalledError(MemoError):
    """Nothing came for too long, or somebody else waits for the same."""


async def chunks(
    request: Request, on_silence: Callable[[], Awaitable[bool]] | None = None
) -> AsyncIterator[bytes]:
    """The body as it comes. While nothing does, `on_silence` says whether to stop.

    Raises:
        ClientDisconnect: the client is gone before the end.
        MemoError: `StalledError`.
    """
    loop = asyncio.get_running_loop()
    heard_at = loop.time()
    while True:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await request.receive()
        except TimeoutError:
            silent = loop.time() - heard_at
            if silent > PATIENCE_SECONDS or (on_silence is not None and await on_silence()):
                raise StalledError(
                    ErrorCode.TIMEOUT, f"nothing came for {silent:.0f} seconds", retry_after=1
                ) from None
            continue
        if message["type"] != "http.request":
            raise ClientDisconnect
        heard_at = loop.time()
        if message["body"]:
            yield message["body"]
        if not message.get("more_body"):
            return
