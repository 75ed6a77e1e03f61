"""Passwords: what makes one good enough, and how it is kept (argon2id)."""

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from protocol.errors import ErrorCode, MemoError

MIN_CHARACTERS = 8
MAX_BYTES = 1024
SPECIAL = "@$!%*?&"

T = TypeVar("T")


def weakness(password: str) -> str | None:
    """What `password` lacks, as a sentence for its owner; None when it is good enough."""
    if len(_normalized(password)) > MAX_BYTES:
        return f"must be at most {MAX_BYTES} bytes long"
    missing = [
        part
        for part, present in (
            (f"{MIN_CHARACTERS} characters", len(password) >= MIN_CHARACTERS),
            ("a lower-case letter", any(c.islower() for c in password)),
            ("an upper-case letter", any(c.isupper() for c in password)),
            ("a digit", any(c.isdecimal() for c in password)),
            (f"one of {SPECIAL}", any(c in SPECIAL for c in password)),
        )
        if not present
    ]
    return f"needs {', '.join(missing)}" if missing else None


class Passwords:
    """Hashes and checks passwords in a few threads of its own, away from the event loop.

    A hash costs some tenths of a second of one core, and 64 MiB, on purpose. `threads` bounds how
    many are made at once, `waiting` how many may wait for their turn, and `timeout` (seconds) how
    long each may take with its wait.
    """

    def __init__(
        self,
        hasher: PasswordHasher | None = None,
        *,
        threads: int = 2,
        waiting: int = 64,
        timeout: float = 15.0,
    ) -> None:
        # One lane, so that each hash keeps to its one thread: edits need the other cores.
        self._hasher = hasher or PasswordHasher(parallelism=1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._room = threads + waiting
        self._timeout = timeout

    async def hash(self, password: str) -> str:
        """The argon2id hash to keep, with its parameters and salt.

        Raises:
            MemoError: `busy` when too many wait already, `timeout` when the turn does not come.
        """
        return await self._run(lambda: self._hasher.hash(_normalized(password)))

    async def verify(self, password: str, kept: str | None) -> bool:
        """Whether `kept` is a hash of `password`.

        With None (no such account, or one without a password) the answer is False after the same
        work, so that its time tells nothing.

        Raises:
            MemoError: `busy` when too many wait already, `timeout` when the turn does not come.
        """
        return await self._run(lambda: self._verify(password, kept))

    def outdated(self, kept: str) -> bool:
        """Whether `kept` was made with other parameters than hashes are made with now."""
        return self._hasher.check_needs_rehash(kept)

    def close(self) -> None:
        """Let the threads end. Hashes still waiting are given up."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _verify(self, password: str, kept: str | None) -> bool:
        if kept is None:
            self._hasher.hash(_normalized(password))
            return False
        try:
            return self._hasher.verify(kept, _normalized(password))
        except (VerifyMismatchError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._room == 0:
            raise MemoError(
                ErrorCode.BUSY, "Too many people are signing in right now.", retry_after=2
            )
        self._room -= 1
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError:
            raise MemoError(
                ErrorCode.TIMEOUT, "The password could not be checked in time.", retry_after=2
            ) from None
        finally:
            self._room += 1


def _normalized(password: str) -> bytes:
    """The bytes to hash: the same whether a keyboard sends an accent composed or by itself."""
    return unicodedata.normalize("NFKC", password).encode()
