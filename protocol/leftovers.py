"""Documents that hold edits of an earlier run and that nobody has opened in this one."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

from protocol.errors import MemoError
from protocol.offline import OfflineStore
from protocol.replica import Document

SEND_SECONDS = 30.0


class Leftovers:
    """Opens them one after the other whenever there is a connection, sends what they hold, and
    closes them again, unless somebody else has opened them meanwhile.

    `open` opens a document; `may_open` says whether it is closed and the server can know it.
    """

    def __init__(
        self,
        store: OfflineStore,
        open: Callable[[UUID], Awaitable[Document]],  # noqa: A002 (it is the client's)
        may_open: Callable[[UUID], bool],
    ) -> None:
        self._store = store
        self._open = open
        self._may_open = may_open
        self._news = asyncio.Event()
        self._current: Document | None = None

    def wake(self) -> None:
        """There is a connection, or a memory that the server had not known."""
        self._news.set()

    def claim(self, memory_id: UUID) -> Document | None:
        """Leave a document to whoever asks for it now; None, when it is not being sent."""
        current = self._current
        if current is None or current.memory_id != memory_id:
            return None
        self._current = None
        return current

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            # It waits for as long as nothing happens.
            await self._news.wait()
            self._news.clear()
            # A store that fails, and a document that is refused, is told to who opens the latter.
            with suppress(MemoError):
                for memory_id in self._store.pending():
                    if self._may_open(memory_id):
                        await self._send(memory_id)

    async def _send(self, memory_id: UUID) -> None:
        self._current = document = await self._open(memory_id)
        try:
            with suppress(MemoError):
                await document.saved(SEND_SECONDS)
        finally:
            if self._current is document:
                self._current = None
                document.close()
