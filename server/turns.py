"""Turns: how many operations run at once, on the node and of one account."""

import asyncio
from uuid import UUID


class Turns:
    """`acquire` one before an operation runs, and `release` it behind that."""

    def __init__(self, of_all: int, of_account: int) -> None:
        self._all = asyncio.Semaphore(of_all)
        self._of_account = of_account
        self._accounts: dict[UUID, tuple[asyncio.Semaphore, int]] = {}  # and how many use it

    async def acquire(self, account_id: UUID) -> None:
        """Wait for a turn. An account that has all of its own holds up nobody but itself."""
        own, users = self._accounts.get(account_id) or (asyncio.Semaphore(self._of_account), 0)
        self._accounts[account_id] = own, users + 1
        try:
            await own.acquire()
            try:
                await self._all.acquire()
            except BaseException:
                own.release()
                raise
        except BaseException:
            self._leave(account_id)
            raise

    def release(self, account_id: UUID) -> None:
        """The operation has ended."""
        self._all.release()
        self._accounts[account_id][0].release()
        self._leave(account_id)

    def _leave(self, account_id: UUID) -> None:
        own, users = self._accounts[account_id]
        if users == 1:
            del self._accounts[account_id]
        else:
            self._accounts[account_id] = own, users - 1
