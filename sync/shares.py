"""Shares: how much of one account goes on at once, so that it cannot take what all need."""

import asyncio
from uuid import UUID


class Shares:
    """Each account has `size`: `acquire` one before something begins, and `release` it behind."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._accounts: dict[UUID, tuple[asyncio.Semaphore, int]] = {}  # and how many use it

    def __len__(self) -> int:
        """Of how many accounts something goes on or waits."""
        return len(self._accounts)

    async def acquire(self, account_id: UUID) -> None:
        """Wait for a share. An account that has all of its own holds up nobody but itself."""
        own, users = self._accounts.get(account_id) or (asyncio.Semaphore(self._size), 0)
        self._accounts[account_id] = own, users + 1
        try:
            await own.acquire()
        except BaseException:
            self._leave(account_id)
            raise

    def release(self, account_id: UUID) -> None:
        """What had a share has ended."""
        self._accounts[account_id][0].release()
        self._leave(account_id)

    def _leave(self, account_id: UUID) -> None:
        own, users = self._accounts[account_id]
        if users == 1:
            del self._accounts[account_id]
        else:
            self._accounts[account_id] = own, users - 1
