"""Deleting an account on a real server: nothing of it is left, and nothing of others is lost."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from pycrdt import Doc, Text

from protocol import frames
from protocol.errors import CloseCode
from storage.blobs import Blobs
from storage.catalog import quoted, tables
from tests.conftest import fresh_directory
from tests.e2e.person import PASSWORD, Person
from tests.serving import LocalServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MARKER = "zyxwmarker"
# What others' devices hold as well: the id that stands in a message of theirs names nobody then.
DOCUMENTS = {("document_updates", "payload"), ("document_snapshots", "payload")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def directory() -> AsyncIterator[Path]:
    with fresh_directory() as directory:
        yield directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(shared_database: str, directory: Path) -> AsyncIterator[LocalServer]:
    server = LocalServer(directory, shared_database)
    await server.start()
    yield server
    await server.stop()


async def places(connection: asyncpg.Connection, what: str) -> set[tuple[str, str]]:
    """Every column of every table that holds the text somewhere, its bytes included."""
    found = set()
    for table in await tables(connection):
        types: dict[str, str] = dict(
            tuple(row)
            for row in await connection.fetch(
                """
                SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
                WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
                """,
                quoted(table.name),
            )
        )
        for column in table.columns:
            name = quoted(column)
            # Bytes as they are; anything else as PostgreSQL writes it, in small letters.
            condition = (
                f"position(convert_to($1, 'UTF8') IN {name}) > 0"
                if types[column] == "bytea"
                else f"position($1 IN lower({name}::text)) > 0"
            )
            query = f"SELECT EXISTS (SELECT FROM {quoted(table.name)} WHERE {condition})"
            if await connection.fetchval(query, what):
                found.add((table.name, column))
    return found


async def type_into(person: Person, memory_id: str, text: str) -> None:
    opened = await person.socket.open(UUID(memory_id))
    doc: Doc[Any] = Doc()
    for update in [opened.get("snapshot"), *opened["updates"]]:
        if update:
            doc.apply_update(update)
    doc.get("content", type=Text).insert(0, text)
    update = frames.Update(opened["channel"], 1, doc.get_update())
    await person.socket.send(update)
    await person.socket.take(frames.Ack)


async def test_nothing_of_a_deleted_account_is_left_in_any_table_or_blob(
    ada: Person, bob: Person, records: asyncpg.Connection, directory: Path
) -> None:
    category = await ada.call("categories.create", id=str(uuid4()), name=f"c {MARKER}")
    own = await ada.memory(
        title=f"Own {MARKER}", content={"text": MARKER}, categoryId=category["category"]["id"]
    )
    shown = await ada.memory(title=f"Shown {MARKER}")
    await ada.share(shown, bob, "editor")
    trashed = await ada.memory(title=MARKER)
    await ada.call("memories.delete", id=trashed)
    await type_into(ada, own, MARKER)
    await ada.call("messages.create", memoryId=own, content=MARKER)
    await ada.call("history.save", memoryId=own, name=MARKER)
    file = await ada.upload(MARKER.encode(), f"{MARKER}.txt", memoryId=own)
    await ada.upload(b"x" * 99, f"{MARKER}-loose.txt")
    assert list(directory.glob("blobs/*/*/*"))

    theirs = await bob.memory(title="Bob's")
    await bob.share(theirs, ada, "editor")
    await type_into(ada, theirs, "I was here. ")
    said = await ada.call("messages.create", memoryId=theirs, content="hello Bob")
    await bob.call("history.save", memoryId=theirs, name="with Ada")
    other = await bob.memory()
    await bob.call("sharing.invite", memoryId=other, email=ada.email, role="viewer")

    cursor = (await bob.call("feed.changes"))["cursor"]
    before = await places(records, MARKER)
    assert {("memories", "title"), ("files", "filename"), ("messages", "content")} <= before
    assert ("users", "email") in await places(records, ada.email)

    assert await ada.call("account.delete", password=PASSWORD) == {}
    assert await ada.socket.close_code() == CloseCode.SESSION_ENDED

    assert await places(records, MARKER) == set()
    assert await places(records, ada.email) == set()
    assert await places(records, ada.id) <= DOCUMENTS
    assert (
        await records.fetchval(
            "SELECT count(*) FROM document_updates WHERE document_id = ANY ($1)",
            [UUID(own), UUID(shown), UUID(trashed)],
        )
        == 0
    )
    # Its blobs are nobody's, and go at the next sweep once nobody can read them any more.
    assert await records.fetchval("SELECT bool_and(freed_at IS NOT NULL) FROM blobs")
    blobs = Blobs.at((directory / "blobs").as_uri())
    for row in await records.fetch("SELECT path FROM blobs"):
        await blobs.delete_all(row["path"])
    assert not [path for path in directory.glob("blobs/*/*/*") if path.is_file()]

    # Bob's devices forget what is gone, and keep what was said to him, by nobody.
    changes = await bob.call("feed.changes", after=cursor)
    gone = {item["id"] for item in changes["items"] if item.get("deleted")}
    assert shown in gone
    assert own not in gone
    [message] = (await bob.call("messages.list", memoryId=theirs))["messages"]
    assert (message["id"], message["userId"]) == (said["message"]["id"], None)
    assert message["content"] == "hello Bob"
    memory = (await bob.call("memories.get", id=theirs))["memory"]
    assert memory["content"]["text"] == "I was here. "
    [member] = (await bob.call("sharing.members", memoryId=theirs))["members"]
    assert member["userId"] == bob.id
    [version] = (await bob.call("history.list", memoryId=theirs))["versions"]
    assert [author["userId"] for author in version["authors"]] == [bob.id]
    assert isinstance(await bob.call("history.get", memoryId=theirs, versionId=version["id"]), dict)
    assert await bob.call("files.get", id=file["id"]) == "not_found"
    assert await bob.call("memories.get", id=shown) == "not_found"
    await type_into(bob, theirs, "And I still am. ")

    # The address is free again.
    again = await ada.http.post(
        "/api/auth/register",
        json={"email": ada.email, "password": PASSWORD, "firstName": "A", "lastName": "B"},
    )
    assert again.status_code == 201
    assert (await ada.http.get(f"/api/files/{file['id']}")).status_code == 401


async def test_only_who_knows_the_password_deletes_the_account(ada: Person) -> None:
    assert await ada.call("account.delete") == "invalid_request"
    assert await ada.call("account.delete", code="123456") == "invalid_request"
    assert await ada.call("account.delete", password="Wrong-Horse-1!") == "invalid_credentials"
    assert await ada.call("account.sendDeletionCode") == "conflict"
    assert (await ada.call("account.me"))["user"]["email"] == ada.email
