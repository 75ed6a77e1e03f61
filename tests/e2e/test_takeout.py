"""An account takes along what it has: an archive that holds all of it, and no secret."""

import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from pycrdt import Doc, Text

from protocol import frames
from tests.conftest import fresh_database, fresh_directory
from tests.e2e.person import PASSWORD, Person
from tests.serving import LocalServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def elsewhere(postgres: str) -> AsyncIterator[LocalServer]:
    """Another server, with a database and a store of files of its own."""
    async with fresh_database(postgres) as database:
        with fresh_directory() as directory:
            server = LocalServer(directory, database)
            await server.start()
            yield server
            await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def newcomer(elsewhere: LocalServer) -> AsyncIterator[Person]:
    async with Person(elsewhere) as person:
        yield person


async def brought(person: Person, archive: bytes) -> dict[str, Any]:
    """What came of an archive that the account uploads and imports."""
    file = await person.upload(archive, "archive.zip")
    started = await person.call("account.import", fileId=file["id"], id=str(uuid4()))
    assert isinstance(started, dict), started
    while (await person.socket.take(frames.Event)).name != "imports.changed":
        pass
    imports = (await person.call("account.imports"))["imports"]
    assert imports[0]["id"] == started["importId"]
    return imports[0]  # type: ignore[no-any-return]


async def archive_of(person: Person) -> dict[str, Any]:
    """A new archive of the account, once it is ready."""
    started = await person.call("account.export", id=str(uuid4()))
    while True:
        event = await person.socket.take(frames.Event)
        if event.name != "exports.changed":
            continue
        [export] = (await person.call("account.exports"))["exports"]
        assert export["id"] == started["exportId"]
        assert export["status"] == "ready"
        return export  # type: ignore[no-any-return]


async def downloaded(person: Person, export: dict[str, Any]) -> zipfile.ZipFile:
    reply = await person.http.get(export["url"], headers={"Authorization": ""})
    assert reply.status_code == 200, reply.text
    assert len(reply.content) == export["size"]
    return zipfile.ZipFile(io.BytesIO(reply.content))


async def document(person: Person, memory_id: str) -> Doc[Any]:
    opened = await person.socket.open(UUID(memory_id))
    doc: Doc[Any] = Doc()
    for update in [opened.get("snapshot"), *opened["updates"]]:
        if update:
            doc.apply_update(update)
    return doc


async def test_an_archive_holds_all_that_the_account_has(ada: Person, bob: Person) -> None:
    category = (await ada.call("categories.create", id=str(uuid4()), name="Recipes"))["category"]
    own = await ada.memory(
        title="Bread & butter: 1/2",
        description="How to",
        content={"text": "Flour.\nWater."},
        tags=["food"],
        categoryId=category["id"],
        isFavorite=True,
    )
    await ada.share(own, bob, "editor")
    await bob.call("messages.create", memoryId=own, content="Delicious!")
    await ada.call("history.save", memoryId=own, name="First")
    photo = bytes(range(256)) * 1000
    await ada.upload(photo, "../../photo.bin", memoryId=own)
    await bob.upload(b"another", "photo.bin", memoryId=own)
    await ada.upload(b"loose", "loose.txt")
    theirs = await bob.memory(title="Bob's", content={"text": "Secret to others"})
    await bob.share(theirs, ada, "viewer")
    hidden = await bob.memory(title="Hidden")
    trashed = await ada.memory(title="Trashed")
    await ada.call("memories.delete", id=trashed)
    left = await bob.memory(title="Left")
    await bob.share(left, ada, "editor")
    await ada.upload(b"mine", "mine.txt", memoryId=left)
    await bob.call("sharing.remove", memoryId=left, userId=ada.id)
    # Of one moment, and so alike at their beginning, as ids that begin with the time are.
    for number in range(2):
        alike = f"{own[:-12]}{number:012}"
        assert isinstance(await ada.call("memories.create", id=alike, content={}), dict)

    archive = await downloaded(ada, await archive_of(ada))
    assert archive.testzip() is None
    manifest = json.loads(archive.read("manifest.json"))
    assert manifest["counts"] == {"memories": 4, "messages": 1, "files": 4, "versions": 1}
    assert manifest["missing"] == []
    names = archive.namelist()
    assert {entry["path"] for entry in manifest["entries"]} == set(names) - {"manifest.json"}
    assert len(names) == len(set(names))
    for entry in manifest["entries"]:
        content = archive.read(entry["path"])
        assert len(content) == entry["size"]
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]

    folder = f"memories/bread-butter-1-2-{own}/"
    about = json.loads(archive.read(f"{folder}memory.json"))
    assert about["memory"]["id"] == own
    assert (about["category"], about["memory"]["isFavorite"]) == ("Recipes", True)
    assert [message["content"] for message in about["messages"]] == ["Delicious!"]
    assert {member["userId"] for member in about["members"]} == {ada.id, bob.id}
    assert {file["path"] for file in about["files"]} == {"files/photo.bin", "files/photo-2.bin"}
    assert {archive.read(folder + file["path"]) for file in about["files"]} == {photo, b"another"}

    markdown = archive.read(f"{folder}memory.md").decode()
    assert markdown.startswith(f'---\nid: "{own}"\ntitle: "Bread & butter: 1/2"\n')
    assert '\ntags: ["food"]\ncategory: "Recipes"\n' in markdown
    assert "\n---\n\nFlour.\nWater.\n" in markdown
    assert "**Ada Byron**" in markdown

    there = await document(ada, own)
    assert archive.read(f"{folder}document.yjs") == there.get_update()
    [version] = about["versions"]
    past: Doc[Any] = Doc()
    past.apply_update(archive.read(folder + version["path"]))
    assert (version["name"], str(past.get("content", type=Text))) == ("First", "Flour.\nWater.")

    assert f"memories/bob-s-{theirs}/memory.md" in names
    assert not [name for name in names if hidden in name or trashed in name]
    assert archive.read("files/loose.txt") == b"loose"
    assert archive.read("files/mine.txt") == b"mine"
    everything = b"".join(archive.read(name) for name in names)
    for secret in ("argon2", PASSWORD, ada.token, bob.email):
        assert secret.encode() not in everything


async def test_only_its_account_gets_an_archive(ada: Person, bob: Person) -> None:
    started = await ada.call("account.export", id=str(uuid4()))
    again = await ada.call("account.export", id=started["exportId"])
    assert again["exportId"] == started["exportId"]
    assert await bob.call("account.export", id=started["exportId"]) == "conflict"
    while (await ada.socket.take(frames.Event)).name != "exports.changed":
        pass
    [export] = (await ada.call("account.exports"))["exports"]
    assert (await bob.call("account.exports"))["exports"] == []
    place = f"/api/exports/{export['id']}"
    assert (await bob.http.get(place)).status_code == 404
    assert (await ada.http.get(place)).status_code == 200
    assert (await ada.http.get(place, headers={"Range": "bytes=0-3"})).content == b"PK\x03\x04"
    assert (await ada.http.get(place, headers={"Authorization": ""})).status_code == 401
    forged = export["url"].replace(export["id"], str(uuid4()))
    assert (await ada.http.get(forged)).status_code == 401
    elsewhere = export["url"].replace("exports", "files")
    assert (await ada.http.get(elsewhere)).status_code == 401
    assert await ada.call("account.export") == "rate_limited"


async def test_an_archive_brings_everything_back_on_another_server(
    ada: Person, bob: Person, newcomer: Person
) -> None:
    category = (await ada.call("categories.create", id=str(uuid4()), name="Trips"))["category"]
    own = await ada.memory(
        title="Lisbon",
        content={"text": "Day one."},
        tags=["sea", "tram"],
        metadata={"map": [1, 2]},
        categoryId=category["id"],
        isFavorite=True,
    )
    empty = await ada.memory()
    await ada.share(own, bob, "editor")
    said = (await ada.call("messages.create", memoryId=own, content="Pack light."))["message"]
    answer = (await bob.call("messages.create", memoryId=own, content="I shall."))["message"]
    await ada.call("history.save", memoryId=own, name="Before")
    await ada.call("memories.update", id=own, content={"text": "Day one. Day two."})
    photo = bytes(range(256)) * 500
    file = await ada.upload(photo, "photo.bin", memoryId=own)
    loose = await ada.upload(b"loose", "loose.txt")
    theirs = await bob.memory(title="Bob's")
    await bob.share(theirs, ada, "editor")
    reply = await ada.http.get((await archive_of(ada))["url"])

    outcome = await brought(newcomer, reply.content)
    assert (outcome["status"], outcome["error"]) == ("done", None)
    assert (outcome["memories"], outcome["files"], outcome["versions"]) == (2, 2, 1)
    [skipped] = outcome["skipped"]
    assert skipped["reason"] == "is of a memory of somebody else"

    before = (await ada.call("memories.get", id=own))["memory"]
    after = (await newcomer.call("memories.get", id=own))["memory"]
    same = ("title", "content", "tags", "metadata", "isFavorite", "createdAt", "updatedAt")
    assert [after[name] for name in same] == [before[name] for name in same]
    assert (after["userId"], after["role"]) == (newcomer.id, "owner")
    names = {
        each["id"]: each["name"] for each in (await newcomer.call("categories.list"))["categories"]
    }
    assert names[after["categoryId"]] == "Trips"
    assert list(names.values()).count("Work") == 1
    there, here = await document(ada, own), await document(newcomer, own)
    assert here.get_update() == there.get_update()
    assert (await document(newcomer, empty)).get_update() == Doc().get_update()

    messages = (await newcomer.call("messages.list", memoryId=own))["messages"]
    told = [(each["id"], each["content"], each["userId"]) for each in messages]
    assert told == [
        (said["id"], "Pack light.", newcomer.id),
        (answer["id"], "I shall.", None),
    ]
    for old, content in ((file, photo), (loose, b"loose")):
        found = (await newcomer.call("files.get", id=old["id"]))["file"]
        assert (found["sha256"], found["memoryId"]) == (old["sha256"], old["memoryId"])
        assert (await newcomer.http.get(f"/api/files/{old['id']}")).content == content
    versions = (await newcomer.call("history.list", memoryId=own))["versions"]
    [version] = [each for each in versions if each["kind"] == "named"]
    assert version["name"] == "Before"
    past = await newcomer.call("history.get", memoryId=own, versionId=version["id"])
    assert past["memory"]["content"]["text"] == "Day one."
    restored = await newcomer.call("history.restore", memoryId=own, versionId=version["id"])
    assert restored["memory"]["content"]["text"] == "Day one."

    # Twice: nothing is doubled, and what was changed since stays changed.
    again = await brought(newcomer, reply.content)
    assert (again["memories"], again["present"], again["versions"]) == (0, 2, 0)
    assert (await newcomer.call("memories.get", id=own))["memory"]["content"] == {
        "text": "Day one."
    }
    assert (await newcomer.call("memories.list"))["pagination"]["total"] == 2
    listed = (await newcomer.call("files.list"))["files"]
    assert sorted(each["filename"] for each in listed) == [
        "archive.zip",
        "archive.zip",
        "loose.txt",
        "photo.bin",
    ]

    # Beside the account it is of, what has an id that is taken gets another one.
    beside = await brought(bob, reply.content)
    assert (beside["memories"], beside["present"]) == (2, 0)
    assert (await bob.call("memories.get", id=own))["memory"]["role"] == "editor"
    twice = await brought(bob, reply.content)
    assert (twice["memories"], twice["present"]) == (0, 2)


async def test_a_memory_in_the_trash_comes_back_as_a_copy_that_outlives_it(ada: Person) -> None:
    own = await ada.memory(title="Trip", content={"text": "body"})
    photo = await ada.upload(b"the only one", "photo.txt")
    said = await ada.call("messages.create", memoryId=own, content="see", attachments=[photo["id"]])
    assert isinstance(said, dict)
    reply = await ada.http.get((await archive_of(ada))["url"])
    await ada.call("memories.delete", id=own)
    outcome = await brought(ada, reply.content)
    assert (outcome["memories"], outcome["files"], outcome["skipped"]) == (1, 1, [])
    await ada.call("memories.purge", id=own)
    [copy] = (await ada.call("memories.list"))["memories"]
    assert copy["id"] != own
    [file] = (await ada.call("files.list", memoryId=copy["id"]))["files"]
    assert (await ada.http.get(f"/api/files/{file['id']}")).content == b"the only one"
    [message] = (await ada.call("messages.list", memoryId=copy["id"]))["messages"]
    assert (message["id"], message["userId"]) == (said["message"]["id"], ada.id)
    assert message["attachments"] == [file["id"]]
    assert file["messageId"] == message["id"]
    updated = await ada.call("memories.update", id=copy["id"], title="Trip again")
    assert updated["memory"]["title"] == "Trip again"
    edited = await ada.call("messages.update", memoryId=copy["id"], id=message["id"], content="!")
    assert edited["message"]["attachments"] == [file["id"]]
    [kept] = (await ada.call("files.list", memoryId=copy["id"]))["files"]
    assert (kept["id"], kept["messageId"]) == (file["id"], message["id"])


async def test_what_was_typed_just_before_an_export_is_in_its_markdown(ada: Person) -> None:
    memory_id = (await ada.call("memories.create", title="Tide"))["memory"]["id"]
    doc = await document(ada, memory_id)
    before = doc.get_state()
    doc.get("content", type=Text).insert(0, "high at noon")
    channel = (await ada.socket.open(UUID(memory_id)))["channel"]
    await ada.socket.send(frames.Update(channel, 1, doc.get_update(before)))
    await ada.socket.take(frames.Ack)
    with await downloaded(ada, await archive_of(ada)) as archive:
        texts = [archive.read(name).decode() for name in archive.namelist() if "memory.md" in name]
    assert any("high at noon" in text for text in texts)
