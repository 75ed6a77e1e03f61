"""History over a socket: a device writes, another one goes back, and both see it."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from pycrdt import Doc, Text

from protocol import frames
from protocol.frames import Ack, Push, Update
from tests.e2e.rawsocket import RawSocket
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(raw: RawSocket, operation: str, memory: UUID, **fields: Any) -> dict[str, Any]:
    answer = await raw.call(operation, {"memoryId": str(memory), **fields})
    assert isinstance(answer, frames.Reply), answer
    body: dict[str, Any] = answer.body
    return body


async def test_what_a_device_wrote_is_kept_compared_restored_and_undone(
    server: LocalServer,
) -> None:
    token = await register(server.url, f"{uuid4().hex}@example.com")
    memory = uuid4()
    async with (
        RawSocket(server.socket_url, token) as phone,
        RawSocket(server.socket_url, token) as laptop,
    ):
        await phone.call("memories.create", {"id": str(memory), "content": {"text": "Milk, eggs"}})
        saved = (await ask(phone, "history.save", memory, name="Shopping"))["version"]
        assert (saved["kind"], saved["name"], saved["offset"]) == ("named", "Shopping", 1)
        assert saved["createdBy"]["firstName"] == "Ada"

        opened = await laptop.open(memory)
        doc: Doc[Any] = Doc()
        for update in opened["updates"]:
            doc.apply_update(update)
        text = doc.get("content", type=Text)
        before = doc.get_state()
        del text[4:10]
        await laptop.send(Update(opened["channel"], 1, doc.get_update(before)))
        await laptop.take(Ack)

        listed = await ask(phone, "history.list", memory)
        assert [version["kind"] for version in listed["versions"]] == ["current", "named"]
        [author] = listed["versions"][0]["authors"]
        assert (author["firstName"], author["devices"], author["changes"]) == ("Ada", ["raw"], 1)

        past = await ask(phone, "history.get", memory, versionId=saved["id"], compareTo="current")
        assert past["memory"]["content"] == {"text": "Milk, eggs"}
        assert past["diff"]["fields"][0]["field"] == "text"
        assert [part["op"] for part in past["diff"]["fields"][0]["parts"]] == ["equal", "delete"]

        restored = await ask(phone, "history.restore", memory, versionId=saved["id"])
        assert restored["memory"]["content"] == {"text": "Milk, eggs"}
        push = await laptop.take(Push)
        for update in push.updates:
            doc.apply_update(update)
        assert str(text) == "Milk, eggs"

        listed = await ask(phone, "history.list", memory)
        undo = listed["versions"][1]
        assert (undo["kind"], undo["restoredId"]) == ("restore", saved["id"])
        undone = await ask(phone, "history.restore", memory, versionId=undo["id"])
        assert undone["memory"]["content"] == {"text": "Milk"}

        named = await ask(phone, "history.rename", memory, versionId=undo["id"], name="Less")
        assert named["version"]["name"] == "Less"
        await ask(phone, "history.delete", memory, versionId=undo["id"])
        listed = await ask(phone, "history.list", memory)
        assert undo["id"] not in [version["id"] for version in listed["versions"]]


async def test_bad_requests_are_answered_with_the_field_that_is_wrong(
    server: LocalServer,
) -> None:
    token = await register(server.url, f"{uuid4().hex}@example.com")
    stranger = await register(server.url, f"{uuid4().hex}@example.com")
    memory = uuid4()
    async with RawSocket(server.socket_url, token) as raw:
        await raw.call("memories.create", {"id": str(memory), "content": {"text": "x"}})
        saved = (await ask(raw, "history.save", memory, name="n"))["version"]
        for operation, fields in {
            "history.save": {"name": ""},
            "history.rename": {"versionId": saved["id"], "name": "x" * 101},
            "history.list": {"limit": 0},
            "history.get": {"versionId": saved["id"], "compareTo": "x" * 40},
        }.items():
            answer = await raw.call(operation, {"memoryId": str(memory), **fields})
            assert isinstance(answer, frames.Error)
            assert answer.body.code == "invalid_request", operation
    async with RawSocket(server.socket_url, stranger) as raw:
        answer = await raw.call("history.get", {"memoryId": str(memory), "versionId": saved["id"]})
        assert isinstance(answer, frames.Error)
        assert answer.body.code == "not_found"
