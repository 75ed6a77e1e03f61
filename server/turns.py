"""Turns: how many operations run at once, on the node and of one account."""

import asyncio
from uuid import UUID

from sync.shares import Shares


class Turns:
    """`acquire` one before an operation runs, and `release` it behind that."""

    def __init__(self, of_all: int, of_account: int) -> None:
        self._all = asyncio.Semaphore(of_all)
        self._shares = Shares(of_account)

    async def acquire(self, account_id: UUID) -> None:
        """Wait for a turn. An account that has all of its own holds up nobody but itself."""
        await self._shares.acquire(account_id)
        try:
            await self._all.acquire()
        except BaseException:
            self._shares.release(account_id)
            raise

    def release(self, account_id: UUID) -> None:
        """The operation has ended."""
        self._all.release()
        self._shares.release(account_id)
