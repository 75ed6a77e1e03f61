"""`memo export` and `memo import`: an account's archive, made and brought back by an operator."""

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
from server.files.processing import Processing
from server.files.uploads import Uploads
from server.metrics import Metrics
from server.takeout.arrival import bring
from server.takeout.belongings import Belongings, Shelves
from server.takeout.bringing import Places, Tally
from server.takeout.packing import Packer
from server.takeout.parts import shelves
from server.takeout.sources import ArchiveError, DirectorySource, ZipSource
from storage.accounts import Accounts
from storage.archive import BackupError
from storage.blobs import Blobs, BlobStoreError
from storage.files import FileRows
from storage.imports import ImportRows
from storage.memories import MemoryRows
from storage.postgres import migrate
from storage.uploads import UploadRows
from sync.broker import LocalBroker
from sync.feed import Notices
from sync.worker import WorkerPool

Command = Callable[[Settings, argparse.Namespace], Coroutine[Any, Any, int]]


def add_commands(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    """Have `add` make the command."""
    made = add("export", _export, "Write all that an account has to a ZIP archive.")
    made.add_argument("email")
    made.add_argument("file", type=Path, help="a new file")
    made = add(
        "import", _import, "Bring an exported archive, or a folder of Markdown, into an account."
    )
    made.add_argument("email")
    made.add_argument("path", type=Path, help="a ZIP archive, or a directory")


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


async def _import(settings: Settings, options: argparse.Namespace) -> int:
    path: Path = options.path
    try:
        source = DirectorySource(path) if path.is_dir() else ZipSource(path)
        async with account(settings, options.email) as found:
            tally = Tally()
            await bring(_places(found, settings), found.user.id, source, tally)
    except ArchiveError as error:
        raise BackupError(f"{path} was not imported: {error}") from error
    source.close()
    print(
        f"imported {tally.memories} memories, {tally.files} files and {tally.versions} versions"
        f" into {found.user.email}; {tally.present} memories were there already"
    )
    for name, reason in tally.skipped:
        print(f"left out: {name}: {reason}")
    return 0


def _places(found: Account, settings: Settings) -> Places:
    shelves, notices, metrics = found.shelves, Notices(LocalBroker()), Metrics()
    # Pictures are looked at by the server, when it finds that nobody has.
    processing = Processing(shelves.files, shelves.blobs, shelves.workers, notices, metrics)
    uploads = Uploads(
        UploadRows(found.pool, settings.file_quota_bytes),
        shelves.blobs,
        processing,
        notices,
        metrics,
        max_bytes=settings.max_file_bytes,
    )
    rows = ImportRows(found.pool)
    return Places(shelves.categories, shelves.memories, rows, uploads, shelves.workers)


def _writes(file: BinaryIO) -> Callable[[bytes], Coroutine[Any, Any, None]]:
    async def write(data: bytes) -> None:
        file.write(data)

    return write
