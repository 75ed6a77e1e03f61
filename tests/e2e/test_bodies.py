"""Whatever body an operation is called with, it is answered: by a reply, or by an error that says
what is wrong. It is never the server that failed, nobody waits, and the connection lives."""

import asyncio
import os
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from protocol import frames
from protocol.errors import ErrorCode
from protocol.operations import OPERATIONS, Operation
from tests.bodies import Bodies
from tests.e2e.rawsocket import RawSocket
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "15"))  # of each operation, sound and broken each
SEED = int(os.environ.get("FUZZ_SEED", "0"))
AT_ONCE = 5  # requests of one message
SECONDS = 1.0  # that they may take together

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


async def known(
    socket: RawSocket, other: RawSocket, domain: str, victim: str
) -> dict[str, list[str]]:
    """What there is to name: of one's own, and of somebody else's."""
    memories, messages, versions = [], [], []
    for owner in (socket, other):
        memory = (await reply(owner, "memories.create", title="Lisbon", content="Tram 28"))[
            "memory"
        ]
        body = {"memoryId": memory["id"], "content": "hello"}
        message = (await reply(owner, "messages.create", **body))["message"]
        version = await reply(owner, "history.save", memoryId=memory["id"], name="before")
        memories.append(memory["id"])
        messages.append(message["id"])
        versions.append(version["version"]["id"])
    categories = [each["id"] for each in (await reply(socket, "categories.list"))["categories"][:2]]
    link = await reply(socket, "sharing.link", memoryId=memories[0], role="editor")
    by_domain = {"messages": messages, "categories": categories, "memories": memories}
    return {
        # Mostly what is one's own, so that something happens.
        "memoryId": [memories[0], *memories],
        "messageId": messages,
        "parentMessageId": messages,
        "versionId": versions,
        "before": versions,
        "categoryId": categories,
        "userId": [victim],
        "invitationId": [link["invitation"]["id"]],
        "ids": by_domain.get(domain, memories),
        "id": [by_domain.get(domain, memories)[0], *by_domain.get(domain, memories)],
    }


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
    async with asyncio.timeout(SECONDS):
        while len(answered) < len(bodies):
            answer = await socket.take(frames.Reply | frames.Error)  # type: ignore[arg-type]
            assert answer.id is not None, answer
            answered[answer.id] = answer
    return [answered[request.id] for request in requests]


@of_each_operation
async def test_whatever_the_body_an_operation_is_answered(
    operation: Operation[Any, Any], server: LocalServer, people: People
) -> None:
    random = Random(f"{SEED} {operation.name}")
    async with (
        RawSocket(server.socket_url, people.admin) as socket,
        RawSocket(server.socket_url, people.other) as other,
    ):
        ids = await known(socket, other, operation.name.partition(".")[0], people.victim)
        bodies = Bodies(random, ids)
        made = [bodies.sound(operation.request) for _ in range(EXAMPLES)]
        made += [bodies.broken(operation.request) for _ in range(EXAMPLES)]
        for start in range(0, len(made), AT_ONCE):
            sent = made[start : start + AT_ONCE]
            for body, answer in zip(sent, await answers(socket, operation, sent), strict=True):
                if isinstance(answer, frames.Error):
                    code = ErrorCode(answer.body.code)  # type: ignore[call-arg]
                    assert code.status < 500, (body, answer.body)
                    assert answer.body.message
