"""Archives that nobody made well, or somebody made to harm: each costs itself, and no more."""

import io
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from pycrdt import Array, Doc, Map, Text

from protocol.categories import MAX_CATEGORIES
from protocol.log import NOBODY, Author
from server.takeout import bringing, contents, sources, unpacking
from server.takeout.arrival import bring as bring_in
from server.takeout.bringing import MAX_SKIPPED, Places, Tally
from server.takeout.sources import ArchiveError, ZipSource
from storage.imports import ClaimedImport, ImportRows
from sync import inspection
from sync.document import project
from tests.rows import add_member, add_memory, add_person
from tests.server.takeout.archives import WRITER, about, body, bring, forged, manifest, memory


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


def with_thread(memory_id: UUID, message_id: UUID, file_ids: list[UUID], **fields: Any) -> bytes:
    """A document with a message of Yjs client 5, which has these files attached."""
    doc: Doc[Any] = Doc(client_id=5)
    said = {"body": Text("see"), "attachments": [*map(str, file_ids), "none", 5], **fields}
    doc.get("messages", type=Map)[str(message_id)] = Map(said)
    return doc.get_update()


async def test_a_copy_has_files_of_its_own(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    memory_id, message_id, file_id, other_id = uuid4(), uuid4(), uuid4(), uuid4()
    files = [
        {
            "path": f"files/{each}",
            "id": str(each),
            "originalFilename": "photo",
            "messageId": str(message_id),
        }
        for each in (file_id, other_id)
    ]
    entries = memory(memory_id, files=files)
    [told, document] = entries
    folder = told.removesuffix("memory.json")
    entries |= {f"{folder}files/{file_id}": b"one", f"{folder}files/{other_id}": b"two"}
    update = with_thread(memory_id, message_id, [file_id, other_id, uuid4()])
    entries[document] = update
    path = forged(tmp_path / "archive.zip", entries)
    first = await bring(places, ada, path)
    assert (first.memories, first.files, first.skipped) == (1, 2, [])
    [row] = await pool.fetch("SELECT payload FROM document_updates")
    assert row[0] == update  # as it was

    # The original lies in the trash, and is purged later on.
    await pool.execute("UPDATE documents SET deleted_at = now()")
    copied = await bring(places, ada, path)
    assert (copied.memories, copied.files, copied.skipped) == (1, 2, [])
    again = await bring(places, ada, path)
    assert (again.memories, again.present, again.files, again.skipped) == (0, 1, 0, [])
    await pool.execute("DELETE FROM memories WHERE id = $1", memory_id)
    rows = await pool.fetch("SELECT id, memory_id FROM files")
    assert len(rows) == 2
    assert {row["id"] for row in rows}.isdisjoint({file_id, other_id})
    payload = await pool.fetchval(
        "SELECT payload FROM document_updates WHERE document_id <> $1", memory_id
    )
    doc: Doc[Any] = Doc()
    doc.apply_update(payload)
    attached = doc.get("messages", type=Map)[str(message_id)]["attachments"]
    assert {UUID(each) for each in attached[:2]} == {row["id"] for row in rows}
    assert attached[3:] == ["none", 5]
    contents = {bytes(row[0]) for row in await pool.fetch("SELECT sha256 FROM files")}
    assert contents == {sha256(b"one").digest(), sha256(b"two").digest()}
    later = await bring(places, ada, path)
    assert (later.memories, later.present, later.files, later.skipped) == (0, 1, 0, [])


async def test_a_file_whose_id_is_taken_gets_another_one_in_its_message_as_well(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    bob = await add_person(pool)
    memory_id, message_id, file_id = uuid4(), uuid4(), uuid4()
    await bring(places, bob, forged(tmp_path / "bobs.zip", loose(file_id, b"bob's")))
    file = {"path": "files/a", "id": str(file_id), "originalFilename": "a"}
    entries = memory(memory_id, files=[file])
    [told, document] = entries
    entries[document] = with_thread(memory_id, message_id, [file_id])
    entries[told.removesuffix("memory.json") + "files/a"] = b"ada's"
    path = forged(tmp_path / "archive.zip", entries)
    for expected in (1, 0):
        tally = await bring(places, ada, path)
        assert (tally.memories, tally.files, tally.skipped) == (expected, expected, [])
    [row] = await pool.fetch("SELECT id, memory_id FROM files WHERE user_id = $1", ada.account_id)
    assert row["id"] != file_id
    assert row["memory_id"] == memory_id
    [attached] = await pool.fetch("SELECT attachments FROM messages")
    assert attached[0][0] == str(row["id"])


def loose(file_id: UUID, content: bytes) -> dict[str, bytes]:
    told = [{"path": "files/a", "id": str(file_id), "originalFilename": "a"}]
    return {"files.json": json.dumps(told).encode(), "files/a": content}


async def test_a_loose_file_that_was_put_into_a_memory_stays_there(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    path = forged(tmp_path / "archive.zip", loose(uuid4(), b"a"))
    assert (await bring(places, ada, path)).files == 1
    memory_id = await add_memory(pool, ada)
    await pool.execute("UPDATE files SET memory_id = $1", memory_id)
    tally = await bring(places, ada, path)
    assert (tally.files, tally.skipped) == (0, [])
    assert await pool.fetchval("SELECT count(*) FROM files") == 1


async def test_an_archive_attributes_nothing_to_a_member_through_the_server(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    bob = await add_person(pool)
    memory_id, message_id = uuid4(), uuid4()
    entries = memory(memory_id, clients={"5": None})
    [_, document] = entries
    entries[document] = with_thread(memory_id, message_id, [], userId=str(bob.account_id))
    await bring(places, ada, forged(tmp_path / "archive.zip", entries))
    await add_member(pool, memory_id, bob, "viewer")
    # Once more, as after an edit.
    await places.rows.rewind(memory_id)
    await places.memories.save(memory_id, project([entries[document]]), 1)
    [row] = await pool.fetch("SELECT content, user_id FROM messages")
    assert tuple(row) == ("see", None)
    assert await pool.fetchval("SELECT account_id FROM document_clients") == NOBODY


async def test_long_threads_are_brought_in_parts(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "_AT_ONCE", 3)
    memory_id, ids = uuid4(), [uuid4() for _ in range(8)]
    doc: Doc[Any] = Doc(client_id=5)
    for message_id in ids:
        doc.get("messages", type=Map)[str(message_id)] = Map({"body": Text("x")})
    told = [{"id": str(message_id), "userId": str(WRITER)} for message_id in ids[:7]]
    entries = memory(memory_id, messages=told, clients={})
    [_, place] = entries
    entries[place] = doc.get_update()
    tally = await bring(places, ada, forged(tmp_path / "archive.zip", entries))
    assert (tally.memories, tally.skipped) == (1, [])
    rows = await pool.fetch("SELECT id, user_id FROM messages")
    assert {row["id"] for row in rows} == set(ids)
    assert {row["id"] for row in rows if row["user_id"] == ada.account_id} == set(ids[:7])
    assert await pool.fetchval("SELECT projected_offset FROM documents") == 1


async def test_what_was_left_out_is_told_briefly(
    places: Places, ada: Author, tmp_path: Path
) -> None:
    files = [
        {"path": "p" * 10_000 + f"\0{number}", "id": str(uuid4()), "originalFilename": "x"}
        for number in range(MAX_SKIPPED + 100)
    ]
    entries = memory(uuid4(), files=files)
    tally = await bring(places, ada, forged(tmp_path / "archive.zip", entries))
    assert len(tally.skipped) == MAX_SKIPPED
    assert max(len(text) for each in tally.skipped for text in each) <= 200
    claimed = ClaimedImport(uuid4(), ada.account_id, uuid4(), 1, datetime.now(UTC))
    short = Tally()
    short.skip("a\0\ud800", "b\0")
    assert short.skipped == [("a\ufffd?", "b\ufffd")]
    assert not await places.rows.progress(claimed, msgspec.to_builtins(short))


async def test_there_are_as_many_categories_and_files_as_there_may_be(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [{"name": f"c{number}"} for number in range(MAX_CATEGORIES + 5)]
    monkeypatch.setattr(contents, "MAX_FILES", 3)
    monkeypatch.setattr(contents, "MAX_VERSIONS", 0)
    monkeypatch.setattr(contents, "FILES_AT_ONCE", 2)
    ids = [uuid4() for _ in range(5)]
    files = [{"path": f"files/{each}", "id": str(each), "originalFilename": "x"} for each in ids]
    version = {"path": "v", "id": str(uuid4()), "kind": "auto"}
    version |= dict.fromkeys(("changedAt", "createdAt"), "2020-01-01T00:00:00Z")
    entries = memory(uuid4(), files=files, versions=[version])
    folder = next(iter(entries)).removesuffix("memory.json")
    entries |= {f"{folder}files/{each}": b"x" for each in ids}
    entries["categories.json"] = json.dumps(names).encode()
    tally = await bring(places, ada, forged(tmp_path / "archive.zip", entries))
    assert tally.files == 3
    assert ("categories.json", "has 5 categories too many") in tally.skipped
    assert (f"{folder}files", "has 2 files too many") in tally.skipped
    assert (f"{folder}history", "has 1 versions too many") in tally.skipped
    assert await pool.fetchval("SELECT count(*) FROM memory_categories") <= MAX_CATEGORIES


async def test_json_is_decoded_only_as_long_as_it_may_be(
    places: Places, ada: Author, tmp_path: Path
) -> None:
    categories = b"[" + b",".join([b'{"name":"a"}'] * 100_000) + b"]"
    good = memory(uuid4())
    path = forged(tmp_path / "archive.zip", {"categories.json": categories, **good})
    tally = await bring(places, ada, path)
    assert tally.memories == 1
    assert tally.skipped == [("categories.json", "has more than 1048576 bytes")]
    for wrong in ({"size": -1}, {"size": 2**70}, {"sha256": "x" * 64}):
        said = [{"path": "a", "size": 1, "sha256": "0" * 64} | wrong]
        told = json.loads(manifest({})) | {"entries": said}
        entries = {"manifest.json": json.dumps(told).encode()}
        with pytest.raises(ArchiveError, match=r"manifest\.json is not what it should be"):
            await bring(places, ada, forged(tmp_path / "wrong.zip", entries))


async def test_an_absolute_name_costs_itself(places: Places, ada: Author, tmp_path: Path) -> None:
    path = tmp_path / "notes.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("/abs.md", "rel.md", "../up.md", "deep/er.md"):
            archive.writestr(name, "# Note")
    tally = await bring(places, ada, path)
    assert tally.memories == 2
    assert tally.skipped == [("/abs.md", "has a path that does not begin in the archive")]


@pytest.mark.filterwarnings("ignore:Duplicate name")
async def test_of_entries_with_one_name_the_last_counts(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    path = tmp_path / "notes.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for title in ("one", "two"):
            archive.writestr("a.md", f"# {title}")
    tally = await bring(places, ada, path)
    assert tally.memories == 1
    assert tally.skipped == [("a.md", "is there more than once: the last one counts")]
    assert await pool.fetchval("SELECT title FROM memories") == "two"


async def test_what_unpacks_to_far_more_than_it_is_ends_there(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "TEXT_BYTES", 100_000)
    path = tmp_path / "notes.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.md", b"x" * 20_000)
    tally = Tally()
    source = ZipSource(path)
    with pytest.raises(ArchiveError, match="too many for its size"):
        await bring_in(places, ada.account_id, source, tally)
    source.close()
    assert 4 < tally.memories < 20
    assert await pool.fetchval("SELECT count(*) FROM memories") == tally.memories
    # As a directory it is an operator's.
    root = notes(tmp_path / "vault", {f"v{number}.md": b"x" * 20_000 for number in range(10)})
    assert (await bring(places, ada, root)).memories == 10


async def test_a_version_whose_id_is_taken_gets_another_one(
    places: Places, ada: Author, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    bob = await add_person(pool)
    version = {"path": "history/1.yjs", "id": str(uuid4()), "kind": "named", "name": "n"}
    version |= dict.fromkeys(("changedAt", "createdAt"), "2019-01-01T00:00:00Z")
    for person in (bob, ada):
        entries = memory(uuid4(), versions=[version])
        folder = next(iter(entries)).removesuffix("memory.json")
        entries[f"{folder}history/1.yjs"] = body("one")
        tally = await bring(places, person, forged(tmp_path / "archive.zip", entries))
        assert (tally.versions, tally.skipped) == (1, [])
    assert await pool.fetchval("SELECT count(*) FROM document_versions") == 2


@pytest.mark.parametrize("step", ["rewind", "sign", "date", "add_version"])
async def test_what_broke_off_goes_on_where_it_was(
    places: Places,
    ada: Author,
    pool: asyncpg.Pool,
    tmp_path: Path,
    step: str,
) -> None:
    versions = []
    for number in range(2):
        version = {"path": f"history/{number}.yjs", "id": str(uuid4()), "kind": "auto"}
        versions.append(version | dict.fromkeys(("changedAt", "createdAt"), "2019-01-01T00:00:00Z"))
    message_id = uuid4()
    said = {"id": str(message_id), "userId": str(WRITER)}
    entries = memory(uuid4(), versions=versions, messages=[said], clients={})
    [told, place] = entries
    entries[place] = with_thread(uuid4(), message_id, [])
    for version in versions:
        entries[told.removesuffix("memory.json") + version["path"]] = body("one")
    path = forged(tmp_path / "archive.zip", entries)
    begun_at = datetime.now(UTC) - timedelta(seconds=5)

    async def stop(*_: object) -> None:
        raise ConnectionResetError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ImportRows, step, stop)
        with pytest.raises(ConnectionResetError):
            await bring(places, ada, path)
    tally = await bring(places, ada, path, begun_at)
    assert (tally.memories, tally.present, tally.versions) == (0, 1, 2)
    row = await pool.fetchrow("SELECT m.created_at, g.user_id FROM memories m, messages g")
    assert row is not None
    assert (row["created_at"].year, row["user_id"]) == (2020, ada.account_id)
    again = await bring(places, ada, path, begun_at)
    assert (again.versions, again.skipped) == (0, [])
    assert await pool.fetchval("SELECT count(*) FROM document_versions") == 2
    # What was made before is not touched.
    await pool.execute("UPDATE documents SET projected_offset = 0")
    await bring(places, ada, path, datetime.now(UTC) + timedelta(seconds=5))
    assert await pool.fetchval("SELECT projected_offset FROM documents") == 0


async def test_an_archive_of_nothing_that_can_be_brought_ends(
    places: Places, ada: Author, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bringing, "MAX_LEFT_OUT", 9)
    told = [{"path": f"{n}", "id": str(uuid4()), "originalFilename": "x"} for n in range(10)]
    path = forged(tmp_path / "archive.zip", {"files.json": json.dumps(told).encode()})
    with pytest.raises(ArchiveError, match="more than 9 entries cannot be brought in"):
        await bring(places, ada, path)
