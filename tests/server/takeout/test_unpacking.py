"""Archives that nobody made well, or somebody made to harm: each costs itself, and no more."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID, uuid4

import asyncpg
import pytest
from pycrdt import Array, Doc, Map, Text

from protocol.log import NOBODY, Author
from server.files.processing import Processing
from server.files.uploads import Uploads
from server.metrics import Metrics
from server.takeout import sources, unpacking
from server.takeout.arrival import bring as bring_in
from server.takeout.bringing import Places, Tally
from server.takeout.sources import ArchiveError, DirectorySource, ZipSource
from storage.blobs import Blobs
from storage.categories import CategoryRows
from storage.files import FileRows
from storage.imports import ImportRows
from storage.memories import MemoryRows
from storage.uploads import UploadRows
from sync.broker import LocalBroker
from sync.feed import Notices
from sync.worker import WorkerPool
from tests.rows import add_memory, add_person

QUOTA = 10_000
WRITER = UUID(int=7)

P = ParamSpec("P")
T = TypeVar("T")


class Here(WorkerPool):
    """Does the work at once: a process for each test would take longer than the test."""

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return call(*args, **kwargs)


@pytest.fixture
async def places(pool: asyncpg.Pool, data_directory: Path) -> Places:
    workers = Here(size=1)
    blobs = Blobs.at((data_directory / "blobs").as_uri())
    notices, metrics = Notices(LocalBroker()), Metrics()
    processing = Processing(FileRows(pool, QUOTA), blobs, workers, notices, metrics)
    uploads = Uploads(UploadRows(pool, QUOTA), blobs, processing, notices, metrics, max_bytes=5_000)
    return Places(CategoryRows(pool), MemoryRows(pool, 3600.0), ImportRows(pool), uploads, workers)


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


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


async def bring(places: Places, account: Author, path: Path) -> Tally:
    source = DirectorySource(path) if path.is_dir() else ZipSource(path)
    try:
        tally = Tally()
        await bring_in(places, account.account_id, source, tally)
        return tally
    finally:
        source.close()


async def test_what_is_no_archive_is_told_so(places: Places, ada: Author, tmp_path: Path) -> None:
    def written(content: bytes) -> Path:
        path = tmp_path / "archive.zip"
        path.write_bytes(content)
        return path

    good = forged(tmp_path / "good.zip", memory(uuid4())).read_bytes()
    for broken in (b"", b"PK\x05\x06", b"hello" * 100, good[: len(good) // 2], good[:-1]):
        with pytest.raises(ArchiveError):
            await bring(places, ada, written(broken))
    for strange in (
        {"manifest.json": b"{}"},
        {"manifest.json": b"[" * 100_000},
        {"manifest.json": manifest({}, format="other")},
        {"manifest.json": manifest({}, version=2)},
    ):
        with pytest.raises(ArchiveError):
            await bring(places, ada, forged(tmp_path / "strange.zip", strange))
    with zipfile.ZipFile(tmp_path / "bare.zip", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ArchiveError, match=r"no manifest\.json, .* and no notes in Markdown"):
        await bring(places, ada, tmp_path / "bare.zip")


async def test_one_bad_memory_costs_the_others_nothing(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    good = uuid4()
    nested: Doc[Any] = Doc(client_id=5)
    deep: Any = "deep"
    for _ in range(100):
        deep = Array([deep])
    nested.get("properties", type=Map)["data"] = deep
    partial: Doc[Any] = Doc(client_id=5)
    partial.get("content", type=Text).insert(0, "first")
    vector = partial.get_state()
    partial.get("content", type=Text).insert(5, "second")
    documents = {
        "nested": nested.get_update(),
        "partial": partial.get_update(vector),
        "cut": body("hello")[:-3],
        "huge": b"\xff" * 8,
        "empty": b"",
        "noise": bytes(range(256)),
    }
    entries = memory(good)
    for name, update in documents.items():
        entries |= {
            f"memories/{name}/memory.json": json.dumps(about(uuid4())).encode(),
            f"memories/{name}/document.yjs": update,
        }
    odd: dict[str, Any] = {
        "no-object": [],
        "no-id": about(good, memory={"role": "owner"}),
        "theirs": about(good, memory=about(good)["memory"] | {"role": "editor"}),
        "no-document": about(uuid4()),
        "bad-version": about(uuid4(), versions=[{"path": 5}]),
    }
    for name, told in odd.items():
        entries[f"memories/{name}/memory.json"] = json.dumps(told).encode()
    entries["memories/deep/memory.json"] = b'{"memory":' + b"[" * 200_000
    tally = await bring(places, ada, forged(tmp_path / "archive.zip", entries))
    assert tally.memories == 1
    skipped = {path.split("/")[1] for path, _ in tally.skipped}
    assert skipped == {*documents, *odd, "deep"}
    assert await pool.fetchval("SELECT count(*) FROM memories") == 1
    row = await pool.fetchrow("SELECT content, created_at FROM memories WHERE id = $1", good)
    assert row is not None
    assert (row["content"]["text"], row["created_at"].year) == ("hello", 2020)


async def test_what_was_changed_on_the_way_is_left_out(
    places: Places, ada: Author, tmp_path: Path
) -> None:
    true = memory(uuid4())
    other = memory(uuid4())
    [about_it, document] = other
    tampered = {**true, **other, document: body("something else")}
    listed = {"categories.json": b"[]", **true, **other}
    path = forged(tmp_path / "archive.zip", {**tampered, "manifest.json": manifest(listed)})
    tally = await bring(places, ada, path)
    assert tally.memories == 1
    assert tally.skipped == [(about_it, "is not what the archive's manifest says")]
    unlisted = forged(
        tmp_path / "unlisted.zip", {**other, "manifest.json": manifest({"categories.json": b"[]"})}
    )
    tally = await bring(places, ada, unlisted)
    assert tally.skipped == [(about_it, "is not in the archive's manifest")]


async def test_bombs_are_not_unpacked(
    places: Places, ada: Author, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_id = uuid4()
    entries = memory(memory_id)
    [told, document] = entries
    entries[document] = bytes(3_000_000)
    path = forged(tmp_path / "bomb.zip", entries)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(unpacking, "DOCUMENT_BYTES", 1_000_000)
    tally = await bring(places, ada, path)
    assert tally.skipped == [(told, "has more than 1000000 bytes")]

    # One that says to be small.
    content = path.read_bytes().replace((3_000_000).to_bytes(4, "little"), b"\x10\0\0\0")
    (tmp_path / "liar.zip").write_bytes(content)
    tally = await bring(places, ada, tmp_path / "liar.zip")
    assert [name for name, _ in tally.skipped] == [told]

    monkeypatch.setattr(sources, "TOTAL_BYTES", 100)
    with pytest.raises(ArchiveError, match="unpacked at most"):
        await bring(places, ada, path)
    monkeypatch.setattr(sources, "DIRECTORY_BYTES", 100)
    with pytest.raises(ArchiveError, match="too many entries"):
        await bring(places, ada, path)


async def test_entries_that_are_encrypted_or_packed_otherwise_are_left_out(
    places: Places, ada: Author, tmp_path: Path
) -> None:
    entries = memory(uuid4())
    [told, document] = entries
    path = forged(tmp_path / "archive.zip", entries)
    buffer = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer) as archive:
        place = archive.getinfo(document).header_offset
    content = bytearray(buffer.getvalue())
    central = content.index(document.encode(), content.index(b"PK\x01\x02")) - 46
    content[place + 6] |= 1
    content[central + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(content)
    tally = await bring(places, ada, tmp_path / "locked.zip")
    assert tally.skipped == [(told, "is encrypted")]


async def test_ids_of_others_are_left_to_them(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    bob = await add_person(pool)
    theirs = await add_memory(pool, bob)
    await pool.execute("UPDATE memories SET title = 'Bob''s' WHERE id = $1", theirs)
    path = forged(tmp_path / "archive.zip", memory(theirs, "mine"))
    tally = await bring(places, ada, path)
    assert (tally.memories, tally.skipped) == (1, [])
    rows = await pool.fetch("SELECT id, user_id, title, content->>'text' FROM memories")
    assert {(row[1], row[2], row[3]) for row in rows} == {
        (bob.account_id, "Bob's", None),
        (ada.account_id, None, "mine"),
    }
    again = await bring(places, ada, path)
    assert (again.memories, again.present) == (0, 1)


async def test_nobody_is_made_to_have_written_something(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    bob = await add_person(pool)
    memory_id = uuid4()
    clients = {"5": str(bob.account_id), "6": None}
    path = forged(tmp_path / "archive.zip", memory(memory_id, clients=clients))
    await bring(places, ada, path)
    [row] = await pool.fetch("SELECT client, account_id FROM document_clients")
    assert tuple(row) == (5, NOBODY)


async def test_what_was_deleted_since_comes_back_once(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    path = forged(tmp_path / "archive.zip", memory(uuid4()))
    for expected in ((1, []), (1, []), (0, ["was brought back before, and deleted since"])):
        tally = await bring(places, ada, path)
        assert (tally.memories, [reason for _, reason in tally.skipped]) == expected
        await pool.execute("UPDATE documents SET deleted_at = now()")


async def test_files_count_for_the_quota_and_have_their_digests(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    memory_id = uuid4()
    contents = {"a": b"a" * 4000, "b": b"b" * 4000, "c": b"c" * 4000, "large": b"l" * 6000}
    files = [
        {"path": f"files/{name}", "id": str(uuid4()), "originalFilename": f"../{name}\0"}
        for name in contents
    ]
    files.append({"path": "files/none", "id": str(uuid4()), "originalFilename": "none"})
    files.append({"path": "../../../secret", "id": str(uuid4()), "originalFilename": "s"})
    entries = memory(memory_id, files=files)
    folder = next(iter(entries)).removesuffix("memory.json")
    entries |= {f"{folder}files/{name}": content for name, content in contents.items()}
    tally = await bring(places, ada, forged(tmp_path / "archive.zip", entries))
    assert (tally.memories, tally.files) == (1, 2)
    reasons = {path.removeprefix(folder): reason for path, reason in tally.skipped}
    assert reasons.pop("files/c").startswith("quota_exceeded: ")
    assert reasons == {
        "files/large": "has more than 5000 bytes",
        "files/none": "is not in the archive",
        "../../../secret": "is not in the archive",
    }
    rows = await pool.fetch("SELECT filename, memory_id FROM files ORDER BY filename")
    assert [tuple(row) for row in rows] == [("a\ufffd", memory_id), ("b\ufffd", memory_id)]


async def test_an_unpacked_archive_is_read_no_further_than_its_directory(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    files = [
        {"path": "../../../secret", "id": str(uuid4()), "originalFilename": "s"},
        {"path": "files/link", "id": str(uuid4()), "originalFilename": "l"},
    ]
    entries = {"categories.json": b"[]", **memory(uuid4(), files=files)}
    folder = next(name for name in entries if name.startswith("memories")).rpartition("/")[0]
    secret = {f"{folder}/{file['path']}": b"secret" for file in files}
    root = tmp_path / "unpacked"
    entries["manifest.json"] = manifest(entries | secret)
    for name, content in entries.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / folder / "files").mkdir()
    (root / folder / "files" / "link").symlink_to(tmp_path / "secret")
    tally = await bring(places, ada, root)
    assert tally.memories == 1
    assert {reason for _, reason in tally.skipped} == {"is outside of the directory"}
    assert await pool.fetchval("SELECT count(*) FROM files") == 0


def notes(root: Path, entries: Mapping[str, str | bytes]) -> Path:
    """A directory with these files."""
    for name, content in entries.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


async def test_a_folder_of_markdown_becomes_memories(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    front = (
        "---\ntitle: 'Lisbon trip'\ntags:\n  - sea\n  - \"#tram\"\ncreated: 2021-05-06\n"
        "favorite: true\nnested:\n  odd: [\n---\n\n"
    )
    root = notes(
        tmp_path / "vault",
        {
            "Travel/lisbon.md": front + 'See ![[Pic.png]] and [map](maps/the%20map.pdf "x").\r\n',
            "Travel/maps/the map.pdf": b"map",
            "Attachments/pic.PNG": b"picture",
            "Attachments/unused.png": b"unused",
            "Inbox.md": "Some text\n\n# First heading #\n![web](https://example.com/a.png)",
            "plain.md": "Only text [to a note](Inbox.md)",
            "Inline.md": '---\ntags: [a, "b, c"]\n---\n![up](../../../etc/passwd)',
            "latin.md": b"caf\xe9",
            ".obsidian/hidden.md": "hidden",
            "work/deep/er.md": "---\nnot front matter",
        },
    )
    tally = await bring(places, ada, root)
    assert (tally.memories, tally.files) == (5, 2)
    assert tally.skipped == [("latin.md", "is not text in UTF-8")]
    rows = await pool.fetch(
        """
        SELECT m.title, m.content->>'text' AS text, m.tags, c.name, s.is_favorite,
            extract(year FROM m.created_at)::int AS year, (
                SELECT array_agg(f.filename ORDER BY f.filename) FROM files f
                WHERE f.memory_id = m.id) AS files
        FROM memories m JOIN memberships s ON s.memory_id = m.id
            LEFT JOIN memory_categories c ON c.id = s.category_id
        """
    )
    found = {row["title"]: row for row in rows}
    assert set(found) == {"Lisbon trip", "First heading", "plain", "Inline", "er"}
    lisbon = found["Lisbon trip"]
    assert lisbon["text"].startswith("See ![[Pic.png]]")
    assert (sorted(lisbon["tags"]), lisbon["name"]) == (["sea", "tram"], "Travel")
    assert (lisbon["is_favorite"], lisbon["year"]) == (True, 2021)
    assert lisbon["files"] == ["pic.PNG", "the map.pdf"]
    assert sorted(found["Inline"]["tags"]) == ["a", "b, c"]
    assert (found["er"]["name"], found["er"]["text"]) == ("work", "---\nnot front matter")
    assert (found["plain"]["name"], found["plain"]["files"]) == (None, None)

    again = await bring(places, ada, root)
    assert (again.memories, again.present) == (0, 5)
    assert await pool.fetchval("SELECT count(*) FROM files") == 2
    assert await pool.fetchval("SELECT count(*) FROM memory_categories") == 2


async def test_versions_are_looked_at_like_documents(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    def version(path: str, **fields: Any) -> dict[str, Any]:
        moments = {"changedAt": "2019-01-01T00:00:00Z", "createdAt": "0001-01-01T00:00:00+14:00"}
        return {"path": path, "id": str(uuid4()), "kind": "auto", **moments, **fields}

    versions = [
        version("history/2.yjs", kind="named", name="n\0"),
        version("history/1.yjs"),
        version("history/bad.yjs"),
    ]
    entries = memory(uuid4(), versions=versions)
    folder = next(iter(entries)).removesuffix("memory.json")
    entries |= {
        f"{folder}history/1.yjs": body("one"),
        f"{folder}history/2.yjs": body("two"),
        f"{folder}history/bad.yjs": b"\x01\x01\x01",
    }
    tally = await bring(places, ada, forged(tmp_path / "archive.zip", entries))
    assert (tally.memories, tally.versions) == (1, 2)
    [(path, reason)] = tally.skipped
    assert path == f"{folder}history/bad.yjs"
    assert reason.startswith("has a document that is not safe to store: ")
    rows = await pool.fetch("SELECT excerpt, name FROM document_versions ORDER BY log_offset")
    assert [tuple(row) for row in rows] == [("one", None), ("two", "n\ufffd")]
