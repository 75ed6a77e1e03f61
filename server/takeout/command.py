"""`memo export`: an account's archive, made for its operator."""

import argparse
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import asyncpg

from protocol.accounts import User
from protocol.errors import ErrorCode, MemoError
from server.config import ConfigError, Settings
from server.database import opened
from server.takeout.belongings import Belongings, Shelves
from server.takeout.packing import Packer
from server.takeout.parts import shelves
from storage.accounts import Accounts
from storage.archive import BackupError
from storage.blobs import Blobs, BlobStoreError
from storage.files import FileRows
from storage.memories import MemoryRows
from storage.postgres import migrate
from sync.worker import WorkerPool

Command = Callable[[Settings, argparse.Namespace], Coroutine[Any, Any, int]]


def add_commands(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    """Have `add` make the command."""
    made = add("export", _export, "Write all that an account has to a ZIP archive.")
    made.add_argument("email")
    made.add_argument("file", type=Path, help="a new file")


class Account(NamedTuple):
    """Whose archive it is, and where everything of theirs is."""

    pool: asyncpg.Pool
    user: User
    shelves: Shelves


@asynccontextmanager
async def account(settings: Settings, email: str) -> AsyncIterator[Account]:
    """The account with this address, beside a server that may run.

    Raises:
        MemoError: `not_found`.
        ConfigError: the store of files cannot be used.
    """
    async with opened(settings, beside_server=True) as pool:
        await migrate(pool)
        accounts = Accounts(pool)
        credentials = await accounts.credentials(email)
        user = await accounts.user(credentials.user_id) if credentials else None
        if user is None:
            raise MemoError(ErrorCode.NOT_FOUND, f"there is no account with the address {email}")
        try:
            blobs = Blobs.at(settings.blobs_url)
            await blobs.claim(pool)
        except BlobStoreError as error:
            raise ConfigError(str(error)) from error
        workers = WorkerPool(size=1)
        try:
            memories = MemoryRows(pool, settings.trash_retention_seconds)
            files = FileRows(pool, settings.file_quota_bytes)
            yield Account(pool, user, shelves(pool, memories, files, blobs, workers))
        finally:
            workers.close()


async def _export(settings: Settings, options: argparse.Namespace) -> int:
    path: Path = options.file
    if path.exists():
        raise BackupError(f"{path} exists; name a new file")
    partial = path.with_name(f"{path.name}.part")
    async with account(settings, options.email) as found:
        try:
            try:
                with partial.open("wb") as file:
                    await Belongings(found.shelves).pack(found.user.id, Packer(_writes(file)))
                partial.rename(path)
            except OSError as error:
                raise BackupError(f"{path} cannot be written: {error.strerror}") from error
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
    print(f"wrote {path}: all of {found.user.email}, {path.stat().st_size} bytes")
    return 0


def _writes(file: BinaryIO) -> Callable[[bytes], Coroutine[Any, Any, None]]:
    async def write(data: bytes) -> None:
        file.write(data)

    return write
