"""What sorts memories and takes them away, as two devices of one account see it."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from protocol import frames
from protocol.errors import ErrorCode
from tests.e2e.rawsocket import RawSocket
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(raw: RawSocket, operation: str, **body: Any) -> dict[str, Any]:
    answer = await raw.call(operation, body)
    assert isinstance(answer, frames.Reply), answer
    reply: dict[str, Any] = answer.body
    return reply


async def refusal(raw: RawSocket, operation: str, **body: Any) -> frames.ErrorBody:
    answer = await raw.call(operation, body)
    assert isinstance(answer, frames.Error), answer
    return answer.body


class Follower:
    """A device that keeps what the feed says."""

    def __init__(self, raw: RawSocket) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self._raw = raw
        self._cursor: str | None = None

    async def follow(self) -> None:
        answer = await ask(self._raw, "feed.changes", after=self._cursor)
        assert not answer.get("more")
        self._cursor = answer["cursor"]
        for item in answer["items"]:
            if item.get("deleted"):
                self.items.pop((item["kind"], item["id"]), None)
            else:
                self.items[item["kind"], item["id"]] = item

    async def told(self) -> None:
        """Wait for the hint, then read."""
        await self._raw.take(frames.Event)
        await self.follow()

    def of(self, kind: str) -> dict[str, Any]:
        field = {"account": "user"}.get(kind, kind)
        return {item["id"]: item[field] for item in self.items.values() if item["kind"] == kind}


async def test_categories_and_the_trash_as_two_devices_see_them(server: LocalServer) -> None:
    token = await register(server.url, f"{uuid4().hex}@example.com")
    async with (
        RawSocket(server.socket_url, token) as phone,
        RawSocket(server.socket_url, token) as laptop,
    ):
        seen = Follower(laptop)
        await seen.follow()
        assert len(seen.of("category")) == 8
        [user] = seen.of("account").values()
        assert user == (await ask(phone, "account.me"))["user"]

        category, memory = str(uuid4()), str(uuid4())
        made = await ask(phone, "categories.create", id=category, name="Books", color="#aabbcc")
        await seen.told()
        assert seen.of("category")[category] == made["category"]
        assert made["category"]["sortOrder"] == 9

        await ask(phone, "memories.create", id=memory, content="text", categoryId=category)
        await seen.told()
        assert seen.of("memory")[memory]["categoryId"] == category

        channel = (await laptop.open(UUID(memory)))["channel"]
        await ask(phone, "memories.delete", id=memory)
        await seen.told()
        assert memory not in seen.of("memory")
        lost = await laptop.take(frames.Error)
        assert (lost.body.code, lost.body.channel) == (ErrorCode.GONE.value, channel)
        gone = await refusal(phone, "memories.get", id=memory)
        assert gone.code == ErrorCode.GONE.value
        assert gone.details is not None
        assert gone.details["purgeAt"] > gone.details["deletedAt"]

        restored = await ask(phone, "memories.restore", id=memory)
        await seen.told()
        assert seen.of("memory")[memory] == restored["memory"]
        await laptop.open(UUID(memory))

        await ask(phone, "categories.delete", id=category)
        await seen.told()
        assert category not in seen.of("category")
        assert seen.of("memory")[memory]["categoryId"] is None

        unknown = str(uuid4())
        answer = await ask(phone, "memories.bulk", ids=[memory, unknown], action="delete")
        assert answer["results"][0] == {"id": memory}
        assert answer["results"][1]["error"]["code"] == ErrorCode.NOT_FOUND.value
        await ask(phone, "memories.purge", id=memory)
        fresh = Follower(laptop)
        await fresh.follow()
        await seen.follow()
        assert seen.items == fresh.items
        assert seen.of("memory") == {}


WRONG: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("categories.create", {}, "name"),
    ("categories.create", {"name": ""}, "name"),
    ("categories.create", {"name": "x" * 101}, "name"),
    ("categories.create", {"name": "x", "sortOrder": -1}, "sortOrder"),
    ("categories.update", {"id": str(uuid4()), "name": None}, "name"),
    ("categories.reorder", {"ids": [str(uuid4())] * 501}, "ids"),
    ("memories.bulk", {"ids": [], "action": "delete"}, "ids"),
    ("memories.bulk", {"ids": [str(uuid4())] * 101, "action": "delete"}, "ids"),
    ("memories.bulk", {"ids": [str(uuid4())], "action": "eat"}, "action"),
    ("memories.purge", {"id": "x"}, "id"),
)


async def test_what_is_wrong_is_named(server: LocalServer) -> None:
    token = await register(server.url, f"{uuid4().hex}@example.com")
    async with RawSocket(server.socket_url, token) as raw:
        for operation, body, field in WRONG:
            refused = await refusal(raw, operation, **body)
            assert refused.code == ErrorCode.INVALID_REQUEST.value
            assert refused.details is not None
            assert any(field in name for name in refused.details), refused.details
