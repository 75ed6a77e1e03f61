"""The bytes of files: on a local disk, or with S3, Google Cloud Storage or Azure.

A blob is kept as parts, objects that are written once and never changed, so that an upload goes on
where it broke off, and two writers cannot mix what they write. The rows of `storage/uploads.py`
say which parts there are; an object that no row names is of no account.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import asyncpg
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from protocol.errors import ErrorCode, MemoError

PART_BYTES = 4 << 20
CHUNK_BYTES = 256 << 10  # of what is read at once
CALL_SECONDS = 60.0  # for one call of the store, with its retries
DELETE_AT_ONCE = 100

_MARKER = "store"  # the object that says which store this is


class BlobStoreError(Exception):
    """The store cannot be used, or is not this database's; the message is one line."""


class Blob(NamedTuple):
    """The parts of some bytes, in order."""

    path: str
    size: int
    part_bytes: int
    parts: Sequence[str]


class Blobs:
    """A store of blobs. `local` is its directory, if it has one."""

    def __init__(self, store: ObjectStore, name: str, local: Path | None = None) -> None:
        self._store = store
        self._name = name
        self.local = local

    @classmethod
    def at(cls, url: str) -> "Blobs":
        """The store at `file:///directory`, `s3://bucket/prefix`, `gs://...` or `az://...`. The
        credentials are where each cloud's own tools look for them.

        Raises:
            BlobStoreError: it cannot be used.
        """
        with _unusable(url):
            if urlsplit(url).scheme == "file":
                directory = Path(unquote(urlsplit(url).path))
                return cls(LocalStore(directory, mkdir=True), url, directory)
            store = from_url(
                url,
                client_options={
                    "connect_timeout": timedelta(seconds=5),
                    "timeout": timedelta(seconds=30),
                    # A server of one's own, which AWS_ENDPOINT names, may well speak plain HTTP.
                    "allow_http": True,
                },
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
            )
            return cls(store, url)

    @property
    def provider(self) -> str:
        """What kind of store it is, in one word."""
        return "local" if self.local else urlsplit(self._name).scheme

    async def claim(self, pool: asyncpg.Pool) -> None:
        """Make sure that this is the store of the files of this database.

        Raises:
            BlobStoreError: it is another one, as that of a second machine with a directory of its
                own would be, or it cannot be reached.
        """
        async with pool.acquire() as connection, connection.transaction():
            # One node after the other: the first one names a new store.
            expected = await connection.fetchval("SELECT blob_store FROM installation FOR UPDATE")
            with _unusable(self._name):
                async with asyncio.timeout(CALL_SECONDS):
                    held = await self._marker()
            if expected is None:
                await connection.execute("UPDATE installation SET blob_store = $1", held)
                return
        if expected != held:
            raise BlobStoreError(
                f"BLOB_URL {self._name} does not hold the files of this database: all nodes of a "
                "database need the same, a bucket or a directory that each of them sees; if the "
                f"files are lost, write {expected} into its object {_MARKER!r} to go on without"
            )

    async def _marker(self) -> UUID:
        """What the store says it is; a new store is given a name."""
        try:
            content = await obstore.get_async(self._store, _MARKER)
        except FileNotFoundError:
            name = uuid4()
            await self.put(_MARKER, str(name).encode())
            return name
        return UUID(bytes(await content.bytes_async()).decode().strip())

    async def put(self, key: str, data: bytes | bytearray) -> None:
        """Write an object; it is there, and survives a power cut, when this returns.

        Raises:
            MemoError: `unavailable`.
        """
        with _unavailable():
            async with asyncio.timeout(CALL_SECONDS):
                await obstore.put_async(self._store, key, bytes(data))
                if self.local is not None:
                    await asyncio.to_thread(_settle, self.local, key)

    async def put_part(self, path: str, data: bytes | bytearray) -> str:
        """Write a part of the blob at `path`, under a name that is its own. Returns the name.

        Raises:
            MemoError: `unavailable`.
        """
        part = secrets.token_hex(8)
        await self.put(f"{path}/{part}", data)
        return part

    async def read(
        self, blob: Blob, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, in chunks.

        Raises:
            MemoError: `gone` when they are lost, `unavailable`.
        """
        end = blob.size if end is None else min(end, blob.size)
        while start < end:
            number, skipped = divmod(start, blob.part_bytes)
            upto = min(blob.part_bytes, skipped + end - start)
            async for chunk in self.read_object(f"{blob.path}/{blob.parts[number]}", skipped, upto):
                yield chunk
            start += upto - skipped

    async def read_object(
        self, key: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes of one object from `start` up to `end`, in chunks.

        Raises:
            MemoError: `gone` when they are lost, `unavailable`.
        """
        with _unavailable():
            async with asyncio.timeout(CALL_SECONDS):
                found = await obstore.get_async(
                    self._store, key, options={"range": (start, end)} if end is not None else None
                )
            chunks = aiter(found.stream(min_chunk_size=CHUNK_BYTES))
            while True:
                try:
                    async with asyncio.timeout(CALL_SECONDS):
                        chunk = bytes(await anext(chunks))
                except StopAsyncIteration:
                    return
                yield chunk

    async def whole(self, blob: Blob, end: int | None = None) -> bytes:
        """The bytes up to `end`, at once: for what is known to be small.

        Raises:
            MemoError: as `read`.
        """
        return b"".join([chunk async for chunk in self.read(blob, 0, end)])

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there are no concern.

        Raises:
            MemoError: `unavailable`.
        """
        with _unavailable():
            for first in range(0, len(keys), DELETE_AT_ONCE):
                async with asyncio.timeout(CALL_SECONDS):
                    await self._delete(list(keys[first : first + DELETE_AT_ONCE]))

    async def delete_all(self, path: str) -> int:
        """Remove the blob at `path`, with its thumbnail and whatever a broken upload left there.
        Returns how many objects there were.

        Raises:
            MemoError: `unavailable`.
        """
        count = 0
        with _unavailable():
            async with asyncio.timeout(CALL_SECONDS):
                found = [
                    item["path"]
                    async for batch in obstore.list(self._store, prefix=f"{path}/")
                    for item in batch
                ]
        await self.delete(found)
        count += len(found)
        if self.local is not None:
            await asyncio.to_thread(_remove_directory, self.local / path)
        return count

    async def _delete(self, keys: list[str]) -> None:
        try:
            await obstore.delete_async(self._store, keys)
        except FileNotFoundError:
            # A local disk stops at the first one that is not there.
            for key in keys:
                try:
                    await obstore.delete_async(self._store, key)
                except FileNotFoundError:
                    continue


def _settle(directory: Path, key: str) -> None:
    """Have what was written reach the disk, and the names that lead to it."""
    path = directory / key
    while path != directory.parent:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path = path.parent


def _remove_directory(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return  # it is not there, or something was written into it: that is not ours to judge


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MemoError(ErrorCode.GONE, "the bytes of this file are lost") from error
    except (BaseError, OSError, TimeoutError) as error:
        raise MemoError(
            ErrorCode.UNAVAILABLE, "the store of files cannot be reached; try again", retry_after=2
        ) from error


@contextmanager
def _unusable(url: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, MemoError, OSError, TimeoutError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, MemoError) else error
        reason = " ".join(str(cause).split())[:300] or repr(cause)
        raise BlobStoreError(f"BLOB_URL {url} cannot be used: {reason}") from error
