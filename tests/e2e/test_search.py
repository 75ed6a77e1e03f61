"""Search over the socket: what was just written is found, by who may, with its places."""

from typing import Any

import pytest
import pytest_asyncio

from protocol import frames
from tests.e2e.rawsocket import RawSocket
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token(server: LocalServer) -> str:
    return await register(server.url, "searcher@example.com")


async def test_what_was_just_made_changed_or_deleted_is_found_so(
    server: LocalServer, token: str
) -> None:
    async with RawSocket(server.socket_url, token) as socket:

        async def call(operation: str, **body: Any) -> Any:
            reply = await socket.call(operation, body)
            assert isinstance(reply, frames.Reply), reply
            return reply.body

        made = await call(
            "memories.create", title="Zürich 😀 Straße", content={"text": "übermorgen"}
        )
        memory_id = made["memory"]["id"]
        found = await call("search.query", query="zurich strasse ubermo")
        assert (found["total"], found["totalIsLowerBound"], found["more"]) == (1, False, False)
        [result] = found["results"]
        assert result["memory"] == made["memory"]
        assert [(each["field"], each["ranges"]) for each in result["highlights"]] == [
            ("title", [[0, 6], [10, 16]]),
            ("content", [[0, 10]]),
        ]
        assert "messageId" not in result
        await call("memories.update", id=memory_id, content={"text": "gestern"})
        assert (await call("search.query", query="ubermorgen"))["results"] == []
        assert (await call("search.query", query="gestern"))["total"] == 1
        await call("memories.delete", id=memory_id)
        assert (await call("search.query", query="gestern"))["total"] == 0
        trash = await call("memories.list", trashed=True, sortBy="deleted_at", search="gestern")
        assert [memory["id"] for memory in trash["memories"]] == [memory_id]


async def test_a_query_without_a_word_is_refused_by_name(server: LocalServer, token: str) -> None:
    async with RawSocket(server.socket_url, token) as socket:
        for query in ("", "?!", "x" * 201):
            refused = await socket.call("search.query", {"query": query})
            assert isinstance(refused, frames.Error)
            assert refused.body.code == "invalid_request"
            assert "query" in (refused.body.details or {})
