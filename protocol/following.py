"""The feed as a client reads it on: page after page, and again whenever there is news."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from protocol.errors import MemoError
from protocol.feed import Changes, GetChanges
from protocol.session import Backoff

PAGE = 200


class Feed(AsyncIterator[Changes]):
    """Every page of the feed from the cursor `after` on, for as long as the client is open.

    The first pages bring what changed meanwhile, the last of them without `more`; the next comes
    when something changes. Keep `changes.cursor` with what the page brought: a later run goes on
    from there. Items of a kind that is not known are in the pages too, to be passed over.
    """

    def __init__(
        self,
        ask: Callable[[GetChanges], Awaitable[Changes]],
        after: str | None = None,
        *,
        brief: bool = False,
        backoff: Backoff | None = None,
    ) -> None:
        self._ask = ask
        self._after = after
        self._brief = brief
        self._backoff = backoff or Backoff(0.5, 60.0)
        self._hints = 0
        self._is_due = True
        self._ended = False
        self._news = asyncio.Event()

    def hint(self) -> None:
        """There may be news: the server said so, or the connection is a new one."""
        self._hints += 1
        self._is_due = True
        self._news.set()

    def end(self) -> None:
        """No more pages come."""
        self._ended = True
        self._news.set()

    async def __anext__(self) -> Changes:
        """Raises:
        MemoError: why the server does not answer, when trying again would be no use.
        """
        while not self._ended:
            if not self._is_due:
                self._news.clear()
                # It waits for as long as nothing happens: whoever iterates sets the limit.
                await self._news.wait()
                continue
            hints = self._hints
            request = GetChanges(after=self._after, limit=PAGE, brief=self._brief)
            try:
                changes = await self._ask(request)
            except MemoError as error:
                if not await self._recovers(error):
                    raise
                continue
            self._backoff.reset()
            self._after = changes.cursor
            # A hint that came after the question may be of what the answer lacks.
            self._is_due = changes.more or self._hints != hints
            return changes
        raise StopAsyncIteration

    async def _recovers(self, error: MemoError) -> bool:
        """Wait until it is time to ask again; False: that would be no use."""
        if self._ended:
            return True
        if not error.code.temporary:
            return False
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(error.retry_after or 0, self._backoff.next())):
                await self._news.wait()
        return True
