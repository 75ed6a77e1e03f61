"""Archives that nobody made well, or somebody made to harm."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from pycrdt import Doc, Text

from protocol.log import Author
from server.takeout.arrival import bring as bring_in
from server.takeout.bringing import Places, Tally
from server.takeout.sources import DirectorySource, ZipSource
from sync.worker import WorkerPool

WRITER = UUID(int=7)

P = ParamSpec("P")
T = TypeVar("T")


class Here(WorkerPool):
    """Does the work at once: a process for each test would take longer than the test."""

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return call(*args, **kwargs)


def body(text: str) -> bytes:
    doc: Doc[Any] = Doc(client_id=5)
    doc.get("content", type=Text).insert(0, text)
    return doc.get_update()


def about(memory_id: UUID, **fields: Any) -> dict[str, Any]:
    return {
        "memory": {
            "id": str(memory_id),
            "role": "owner",
            "createdAt": "2020-01-01T00:00:00Z",
            "updatedAt": "2020-01-02T00:00:00Z",
        },
        "clients": {"5": str(WRITER)},
        **fields,
    }


def memory(memory_id: UUID, text: str = "hello", **fields: Any) -> dict[str, bytes]:
    """The entries of a good memory."""
    folder = f"memories/m-{str(memory_id)[:8]}/"
    return {
        f"{folder}memory.json": json.dumps(about(memory_id, **fields)).encode(),
        f"{folder}document.yjs": body(text),
    }


def manifest(entries: Mapping[str, bytes], **said: Any) -> bytes:
    listed = [
        {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in entries.items()
    ]
    told = {"format": "memo-archive", "version": 1, "accountId": str(WRITER), "entries": listed}
    return json.dumps(told | said).encode()


def forged(
    path: Path, entries: Mapping[str, bytes], kept: Mapping[str, bytes] | None = None
) -> Path:
    """An archive of these entries, whose manifest tells of those that are `kept`."""
    entries = {"categories.json": b"[]", **entries}
    if "manifest.json" not in entries:
        entries["manifest.json"] = manifest(entries | dict(kept or {}))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


async def bring(
    places: Places, account: Author, path: Path, begun_at: datetime | None = None
) -> Tally:
    source = DirectorySource(path) if path.is_dir() else ZipSource(path)
    try:
        tally = Tally()
        await bring_in(places, account.account_id, source, tally, begun_at)
        return tally
    finally:
        source.close()
