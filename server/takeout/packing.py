"""A ZIP archive that is written as it goes: its bytes are taken away before more are made."""

import asyncio
import hashlib
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

FORMAT = "memo-archive"
VERSION = 1
MANIFEST = "manifest.json"

Write = Callable[[bytes], Awaitable[None]]


class _Outlet:
    """What a ZipFile writes to: it cannot go back, so nothing has to be kept."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        """What was written since it was last asked."""
        written, self._written = self._written, []
        return b"".join(written)


class Packer:
    """Packs entries one after the other, and hands their bytes to `write`.

    What stays in memory is a line for each entry.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._outlet = _Outlet()
        self._zip = zipfile.ZipFile(self._outlet, "w", allowZip64=True)  # type: ignore[call-overload]  # no file, but as good
        self._entries: list[dict[str, Any]] = []

    async def add(
        self, path: str, content: bytes | AsyncIterator[bytes], *, packed: bool = False
    ) -> str:
        """Add an entry; returns its SHA-256 in hexadecimal. What is `packed` already, as pictures
        are, is stored as it is."""
        digest, size = hashlib.sha256(), 0
        info = zipfile.ZipInfo(path, datetime.now(UTC).timetuple()[:6])
        info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        with self._zip.open(info, "w", force_zip64=True) as entry:
            async for chunk in _chunks(content):
                # Away from the loop: it takes its time to compress.
                await asyncio.to_thread(entry.write, chunk)
                digest.update(chunk)
                size += len(chunk)
                await self._flush()
        await self._flush()
        sha256 = digest.hexdigest()
        self._entries.append({"path": path, "size": size, "sha256": sha256})
        return sha256

    async def finish(self, **said: Any) -> None:
        """Add the manifest, which names every other entry, and end the archive."""
        entries = self._entries
        manifest = {"format": FORMAT, "version": VERSION, **said, "entries": entries}
        await self.add(MANIFEST, as_json(manifest))
        self._zip.close()
        await self._flush()

    async def _flush(self) -> None:
        if data := self._outlet.take():
            await self._write(data)


def as_json(value: Any) -> bytes:
    """JSON for people to read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


async def _chunks(content: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    async for chunk in content:
        yield chunk
