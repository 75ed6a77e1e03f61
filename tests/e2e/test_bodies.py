"""Whatever body an operation is called with, it is answered: by a reply, or by an error that says
what is wrong. It is never the server that failed, nobody waits, and the connection lives."""

import asyncio
import os
import time
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest
import pytest_asyncio

from protocol import frames
from protocol.errors import ErrorCode
from protocol.operation import Operation
from protocol.operations import OPERATIONS
from tests.bodies import Bodies, nested
from tests.e2e.rawsocket import PATIENCE, RawSocket
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "10"))  # of each operation, sound and broken each
SEED = int(os.environ.get("FUZZ_SEED", "0"))
AT_ONCE = 5  # requests of one message
SECONDS = 1.0  # of this thread's CPU time, which the server shares, that they may take together

# What is left of things behind these is not enough for the next.
TAKING_AWAY = {"delete", "purge", "bulk", "transfer", "leave"}

of_each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)


class People(NamedTuple):
    """The tokens of an admin and of somebody else, and the id of an account that nobody uses."""

    admin: str
    other: str
    victim: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(server: LocalServer, shared_database: str) -> People:
    """Three accounts."""
    emails = [f"{uuid4().hex}@example.com" for _ in range(3)]
    tokens = [await register(server.url, email) for email in emails]
    connection = await asyncpg.connect(shared_database)
    await connection.execute("UPDATE users SET role = 'admin' WHERE email = $1", emails[0])
    victim = await connection.fetchval("SELECT id FROM users WHERE email = $1", emails[2])
    await connection.close()
    return People(tokens[0], tokens[1], str(victim))


async def reply(socket: RawSocket, operation: str, **body: Any) -> dict[str, Any]:
    answer = await socket.call(operation, body)
    assert isinstance(answer, frames.Reply), answer
    answered: dict[str, Any] = answer.body
    return answered


class Things(NamedTuple):
    """What there is to name: of the admin's own, then of somebody else's."""

    memories: list[str]
    messages: list[str]
    versions: list[str]
    files: list[str]
    categories: list[str]
    links: list[str]
    victim: str

    def known(self, domain: str) -> dict[str, list[str]]:
        """The ids by the fields of requests that take them, mostly of what is one's own, so that
        something happens."""
        ids = {
            "messages": self.messages,
            "categories": self.categories,
            "files": self.files,
        }.get(domain, self.memories)
        return {
            "memoryId": [self.memories[0], *self.memories],
            "messageId": self.messages,
            "parentMessageId": self.messages,
            "versionId": [self.versions[0], *self.versions],
            "before": self.versions,
            "categoryId": self.categories,
            "attachments": self.files,
            "invitationId": self.links,
            "userId": [self.victim],
            "ids": ids,
            "id": [ids[0], *ids],
        }


async def new_things(server: LocalServer, people: People) -> Things:
    memories, messages, versions, files, categories, links = ([] for _ in range(6))
    for token in (people.admin, people.other):
        async with RawSocket(server.socket_url, token) as socket:
            made = await reply(socket, "memories.create", title="Lisbon", content="Tram 28")
            there = {"memoryId": made["memory"]["id"]}
            message = await reply(socket, "messages.create", **there, content="hello")
            version = await reply(socket, "history.save", **there, name="before")
            link = await reply(socket, "sharing.link", **there, role="editor")
            categories += (await reply(socket, "categories.list"))["categories"][:2]
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
            uploaded = await http.post(f"{server.url}/api/files", files={"file": b"hello"})
        memories.append(there["memoryId"])
        messages.append(message["message"]["id"])
        versions.append(version["version"]["id"])
        links.append(link["invitation"]["id"])
        files.append(uploaded.json()["file"]["id"])
    category_ids = [each["id"] for each in categories]
    return Things(memories, messages, versions, files, category_ids, links, people.victim)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lasting(server: LocalServer, people: People) -> Things:
    """What operations that take nothing away have in common."""
    return await new_things(server, people)


async def answers(
    socket: RawSocket, operation: Operation[Any, Any], bodies: Sequence[Any]
) -> list[frames.Reply | frames.Error]:
    """The answers to these bodies, sent together."""
    requests = [
        frames.Request(number, operation.name, msgspec.Raw(msgspec.msgpack.encode(body)))
        for number, body in enumerate(bodies, 1)
    ]
    await socket.send(*requests)
    answered: dict[int, frames.Reply | frames.Error] = {}
    started = time.thread_time()
    async with asyncio.timeout(PATIENCE):
        while len(answered) < len(bodies):
            answer = await socket.take(frames.Reply | frames.Error)  # type: ignore[arg-type]
            assert answer.id is not None, answer
            answered[answer.id] = answer
    assert time.thread_time() - started < SECONDS
    return [answered[request.id] for request in requests]


@of_each_operation
async def test_whatever_the_body_an_operation_is_answered(
    operation: Operation[Any, Any], server: LocalServer, people: People, lasting: Things
) -> None:
    domain, _, verb = operation.name.partition(".")
    things = await new_things(server, people) if verb in TAKING_AWAY else lasting
    bodies = Bodies(Random(f"{SEED} {operation.name}"), things.known(domain))
    async with RawSocket(server.socket_url, people.admin) as socket:
        made = [bodies.sound(operation.request) for _ in range(EXAMPLES)]
        made += [bodies.broken(operation.request) for _ in range(EXAMPLES)]
        for start in range(0, len(made), AT_ONCE):
            sent = made[start : start + AT_ONCE]
            for body, answer in zip(sent, await answers(socket, operation, sent), strict=True):
                if isinstance(answer, frames.Error):
                    code = ErrorCode(answer.body.code)  # type: ignore[call-arg]
                    assert code.status < 500, (body, answer.body)
                    assert answer.body.message


@pytest.mark.parametrize("depth", [40, 2000, 30_000])
async def test_a_body_nested_however_deep_costs_its_request_alone(
    depth: int, server: LocalServer, people: People
) -> None:
    async with RawSocket(server.socket_url, people.admin) as socket:
        body = msgspec.msgpack.encode({"metadata": nested(depth)})
        await socket.send(
            frames.Request(7, "memories.create", msgspec.Raw(body)),
            frames.Request(8, "account.me", msgspec.Raw(b"\x80")),
        )
        answered: dict[int | None, Any] = {}
        while len(answered) < 2:
            answer = await socket.take(frames.Reply | frames.Error)  # type: ignore[arg-type]
            answered[answer.id] = answer
        assert answered[7].body.code in {"invalid_request", "invalid_message"}
        assert isinstance(answered[8], frames.Reply)
