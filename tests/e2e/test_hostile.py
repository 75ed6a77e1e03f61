"""What hostile or broken clients send costs them an error, and nobody else anything."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from pycrdt import Doc, Map, Text
from websockets.exceptions import ConnectionClosed

from protocol import frames
from protocol.errors import CloseCode, ErrorCode
from protocol.frames import MAX_MESSAGE_BYTES
from sync.lib0 import write_bytes, write_uint
from tests.e2e.rawsocket import RawSocket
from tests.serving import LocalServer, register

MALLORY = "mallory@example.com"
QUICK = 0.5  # seconds in which an attack is answered: far above what it takes, far below a stall


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token(server: LocalServer) -> str:
    return await register(server.url, MALLORY)


async def new_memory(socket: RawSocket) -> UUID:
    memory_id = uuid4()
    answer = await socket.call("memories.create", {"id": str(memory_id), "title": "Target"})
    assert isinstance(answer, frames.Reply), answer
    return memory_id


def typed(client_id: int, text: str = "hello") -> bytes:
    doc: Doc[Text] = Doc(client_id=client_id)
    doc.get("content", type=Text).insert(0, text)
    return doc.get_update()


class Neighbour:
    """Someone else who keeps writing. `slowest` is the longest wait for an ack, in seconds of
    this thread's CPU time, which the server shares: what other programs do does not count."""

    def __init__(self, socket: RawSocket, channel: int) -> None:
        self.slowest = 0.0
        self.acked = 0
        self._socket = socket
        self._channel = channel
        self._progress = asyncio.Event()

    async def write(self) -> None:
        doc: Doc[Text] = Doc(client_id=77)
        text = doc.get("content", type=Text)
        made: list[bytes] = []
        doc.observe(lambda event: made.append(event.update))
        while True:
            text.insert(0, "n")
            started = time.thread_time()
            await self._socket.send(frames.Update(self._channel, self.acked + 1, made.pop()))
            await self._socket.take(frames.Ack)
            self.slowest = max(self.slowest, time.thread_time() - started)
            self.acked += 1
            self._progress.set()

    async def reaches(self, acked: int) -> None:
        """Wait until so many writes are acked."""
        while self.acked < acked:
            self._progress.clear()
            await self._progress.wait()


@asynccontextmanager
async def undisturbed(server: LocalServer) -> AsyncIterator[None]:
    """A neighbour writes all the while, and is never kept waiting."""
    token = await register(server.url, f"{uuid4().hex}@example.com")
    async with RawSocket(server.socket_url, token) as socket:
        opened = await socket.open(await new_memory(socket))
        neighbour = Neighbour(socket, opened["channel"])
        writing = asyncio.create_task(neighbour.write())
        before = neighbour.acked
        yield
        await asyncio.wait_for(neighbour.reaches(before + 2), 10)
        writing.cancel()
        assert neighbour.slowest < QUICK


def any_nesting(depth: int) -> bytes:
    """A map entry whose value is an array in an array in an array ..."""
    update = bytearray(b"\x01\x01\x05\x00\x28\x01\x01m\x01k\x01")
    for _ in range(depth):
        update += b"\x75\x01"
    update += b"\x7e\x00"
    return bytes(update)


def many_clients(count: int) -> bytes:
    out = bytearray()
    write_uint(out, count)
    return bytes(out) + b"\x00"


def skipped_clock(client: int) -> bytes:
    doc: Doc[Text] = Doc(client_id=client)
    text = doc.get("content", type=Text)
    made: list[bytes] = []
    doc.observe(lambda event: made.append(event.update))
    text.insert(0, "a")
    text.insert(1, "b")
    return made[1]


UPDATES: dict[str, tuple[Callable[[], bytes], ErrorCode]] = {
    "nested 30,000 deep": (lambda: any_nesting(30_000), ErrorCode.MALFORMED_UPDATE),
    "nested 8,000 deep": (lambda: any_nesting(8_000), ErrorCode.MALFORMED_UPDATE),
    "declares millions of clients": (lambda: many_clients(5_000_000), ErrorCode.MALFORMED_UPDATE),
    "declares 2^50 clients": (lambda: many_clients(1 << 50), ErrorCode.MALFORMED_UPDATE),
    "is empty": (lambda: b"", ErrorCode.MALFORMED_UPDATE),
    "is text": (lambda: b"please save this", ErrorCode.MALFORMED_UPDATE),
    "is 4 MB of zeros": (lambda: bytes(4 << 20), ErrorCode.MALFORMED_UPDATE),
    "is 4 MB of ones": (lambda: b"\xff" * (4 << 20), ErrorCode.MALFORMED_UPDATE),
    "skips a clock": (lambda: skipped_clock(9), ErrorCode.MISSING_DEPENDENCY),
}


@pytest.mark.parametrize("attack", UPDATES)
async def test_a_hostile_update_is_refused_by_name_and_costs_its_channel_only(
    attack: str, server: LocalServer, token: str
) -> None:
    make, code = UPDATES[attack]
    async with undisturbed(server), RawSocket(server.socket_url, token) as socket:
        memory_id = await new_memory(socket)
        channel = (await socket.open(memory_id))["channel"]
        await socket.send(frames.Update(channel, 1, make()))
        error = (await socket.take(frames.Error)).body
        assert (error.code, error.channel, error.client_seq) == (code.value, channel, 1)
        # The channel refuses until it is opened again; the connection lives.
        await socket.send(frames.Update(channel, 2, typed(3)))
        assert (await socket.take(frames.Error)).body.code == ErrorCode.CHANNEL_CLOSED.value
        opened = await socket.open(memory_id)
        await socket.send(frames.Update(opened["channel"], 3, typed(3)))
        assert (await socket.take(frames.Ack)).client_seq == 3


async def test_another_accounts_client_id_is_refused(
    server: LocalServer, token: str, shared_database: str
) -> None:
    other = await register(server.url, "victim@example.com")
    async with (
        RawSocket(server.socket_url, other) as victim,
        RawSocket(server.socket_url, token) as mallory,
    ):
        memory_id = await new_memory(victim)
        await share(shared_database, memory_id, MALLORY, "editor")
        mine = (await victim.open(memory_id))["channel"]
        theirs = (await mallory.open(memory_id))["channel"]
        await victim.send(frames.Update(mine, 1, typed(42, "mine")))
        await victim.take(frames.Ack)
        await mallory.take(frames.Push)
        # The same clocks with other text would make the victim's edit vanish.
        await mallory.send(frames.Update(theirs, 1, typed(42, "mine, all mine")))
        error = (await mallory.take(frames.Error)).body
        assert error.code == ErrorCode.CLIENT_ID_TAKEN.value
        async with RawSocket(server.socket_url, other) as fresh:
            opened = await fresh.open(memory_id)
        doc: Doc[Text] = Doc()
        for update in opened["updates"]:
            doc.apply_update(update)
        assert str(doc.get("content", type=Text)) == "mine"


@pytest.mark.parametrize("role", ["viewer", "commenter"])
async def test_who_may_only_read_cannot_write_not_even_deletions(
    role: str, server: LocalServer, token: str, shared_database: str
) -> None:
    other = await register(server.url, f"{role}-writer@example.com")
    async with (
        RawSocket(server.socket_url, other) as writer,
        RawSocket(server.socket_url, token) as reader,
    ):
        memory_id = await new_memory(writer)
        await share(shared_database, memory_id, MALLORY, role)
        channel = (await writer.open(memory_id))["channel"]
        doc: Doc[Text] = Doc(client_id=5)
        made: list[bytes] = []
        doc.observe(lambda event: made.append(event.update))
        text = doc.get("content", type=Text)
        text.insert(0, "keep")
        del text[0:4]
        await writer.send(frames.Update(channel, 1, made[0]))
        await writer.take(frames.Ack)
        opened = await reader.open(memory_id)
        assert opened["canWrite"] is False
        await reader.send(frames.Update(opened["channel"], 1, made[1]))
        error = (await reader.take(frames.Error)).body
        assert error.code == ErrorCode.FORBIDDEN.value


async def share(database: str, memory_id: UUID, email: str, role: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            "INSERT INTO memberships (memory_id, user_id, role)"
            " SELECT $1, id, $3 FROM users WHERE email = $2",
            memory_id,
            email,
            role,
        )
    finally:
        await connection.close()


async def test_mutated_updates_never_make_a_document_that_cannot_be_opened(
    server: LocalServer, token: str
) -> None:
    random = Random(11)
    doc: Doc[Any] = Doc(client_id=6)
    doc.get("properties", type=Map)["data"] = {"a": [1, {"b": "ü😀"}], "c": None}
    doc.get("content", type=Text).insert(0, "some body text 😀")
    sound = doc.get_update()
    async with undisturbed(server), RawSocket(server.socket_url, token) as socket:
        memory_id = await new_memory(socket)
        channel = (await socket.open(memory_id))["channel"]
        accepted = 0
        for number in range(1, 301):
            mutant = bytearray(sound)
            for _ in range(random.randint(1, 4)):
                mutant[random.randrange(len(mutant))] = random.randrange(256)
            del mutant[random.randint(len(mutant) // 2, len(mutant)) :]
            await socket.send(frames.Update(channel, number, bytes(mutant)))
            answer = await next_outcome(socket)
            if isinstance(answer, frames.Error):
                channel = (await socket.open(memory_id))["channel"]
            else:
                accepted += 1
        opened = await socket.open(memory_id)
        found: Doc[Any] = Doc()
        for update in opened["updates"]:
            found.apply_update(update)
        found.get("properties", type=Map).to_py()
        assert accepted < 300


async def next_outcome(socket: RawSocket) -> frames.Ack | frames.Error:
    outcome = await socket.take(frames.Ack | frames.Error)  # type: ignore[arg-type]
    assert isinstance(outcome, frames.Ack | frames.Error)
    return outcome


def awareness(*states: tuple[int, int, bytes]) -> bytes:
    out = bytearray()
    write_uint(out, len(states))
    for client, clock, state in states:
        write_uint(out, client)
        write_uint(out, clock)
        write_bytes(out, state)
    return bytes(out)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff" * 20,
        many_clients(1 << 40),
        awareness((1, 1, b"{not json")),
        awareness((1, 1, b"\xff\xfe")),
        awareness((1, 1, b'"' + b"x" * 100_000 + b'"')),
        awareness((1, 1, b"[" * 4000 + b"]" * 4000)),
        awareness(*((client, 1, b"{}") for client in range(1000))),
    ],
    ids=["empty", "ones", "2^40 clients", "no JSON", "no UTF-8", "huge", "deep", "1,000 clients"],
)
async def test_hostile_presence_is_refused_and_not_relayed(
    payload: bytes, server: LocalServer, token: str
) -> None:
    async with (
        undisturbed(server),
        RawSocket(server.socket_url, token) as socket,
        RawSocket(server.socket_url, token) as other,
    ):
        memory_id = await new_memory(socket)
        channel = (await socket.open(memory_id))["channel"]
        other_channel = (await other.open(memory_id))["channel"]
        await socket.send(frames.Awareness(channel, payload))
        error = (await socket.take(frames.Error)).body
        assert (error.code, error.channel) == (ErrorCode.MALFORMED_AWARENESS.value, channel)
        # What is sound is relayed after it, and is the first that the other hears.
        good = awareness((8, 1, b'{"name":"m"}'))
        await socket.send(frames.Awareness(channel, good))
        relayed = await other.take(frames.AwarenessRelay)
        assert (relayed.channel, relayed.payload) == (other_channel, good)


MESSAGES: dict[str, bytes] = {
    "empty": b"",
    "random": b"\xc1" + Random(1).randbytes(1000),
    "a map": msgspec.msgpack.encode({"a": 1}),
    "nested deep": b"\x91" * 1_000_000,
    "an array of 2^32": b"\xdd\xff\xff\xff\xff",
    "cut off": frames.encode(frames.Cancel(1))[:-1],
}


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("signed_in", [True, False])
async def test_what_is_no_message_closes_the_connection_with_a_code(
    message: str, signed_in: bool, server: LocalServer, token: str
) -> None:
    async with (
        undisturbed(server),
        RawSocket(server.socket_url, token if signed_in else None) as socket,
    ):
        await socket.socket.send(MESSAGES[message])
        assert await socket.close_code() == CloseCode.INVALID_MESSAGE


FRAMES: dict[str, object] = {
    "no array": "x",
    "an empty array": [],
    "an update of text": [3, 1, 1, "text"],
    "an update without its bytes": [3, 1, 1],
    "a request without a name": [1, 7, None, {}],
    "a request nested deep": [1, 7, "account.me", [[[[[[[[[[]]]]]]]]]]],
    "a hello again": [0, {"token": "x"}],
    "a cancel of text": [2, "x"],
}


@pytest.mark.parametrize("frame", FRAMES)
async def test_one_bad_frame_costs_its_neighbours_nothing(
    frame: str, server: LocalServer, token: str
) -> None:
    async with RawSocket(server.socket_url, token) as socket:
        good = [1, 99, "account.me", {}]
        await socket.socket.send(msgspec.msgpack.encode([FRAMES[frame], good]))
        error = await socket.take(frames.Error)
        assert error.body.code in {"invalid_message", "invalid_request"}
        assert (await socket.take(frames.Reply)).id == 99


async def test_frames_of_unknown_type_are_ignored(server: LocalServer, token: str) -> None:
    async with RawSocket(server.socket_url, token) as socket:
        known = [1, 99, "account.me", {}]
        await socket.socket.send(msgspec.msgpack.encode([[200, "?"], [-5], known]))
        assert (await socket.take(frames.Reply)).id == 99


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" * 100_000,
        msgspec.msgpack.encode({"memoryId": "not-a-uuid"}),
        msgspec.msgpack.encode({"memoryId": str(uuid4()), "offset": -1}),
        msgspec.msgpack.encode({}),
        b"\xc1",
    ],
    ids=["nested deep", "no UUID", "negative offset", "nothing", "no MessagePack"],
)
async def test_a_bad_body_is_an_error_that_keeps_its_id(
    body: bytes, server: LocalServer, token: str
) -> None:
    async with RawSocket(server.socket_url, token) as socket:
        await socket.send(frames.Request(7, "documents.open", msgspec.Raw(body)))
        try:
            error = await socket.take(frames.Error)
        except ConnectionClosed:
            # These bytes break the message that holds them, not just the frame.
            assert await socket.close_code() == CloseCode.INVALID_MESSAGE
            return
        assert error.body.code in {"invalid_message", "invalid_request"}
        assert error.id in {7, None}
        assert "Traceback" not in error.body.message


async def test_the_first_frame_must_be_a_hello(server: LocalServer) -> None:
    async with RawSocket(server.socket_url, None) as socket:
        await socket.send(frames.Cancel(1))
        assert await socket.close_code() == CloseCode.INVALID_MESSAGE


@pytest.mark.parametrize("wrong", ["", "x.y.z", "eyJhbGciOiJub25lIn0.e30.", "a" * 100_000])
async def test_a_wrong_token_is_told_so(wrong: str, server: LocalServer) -> None:
    async with RawSocket(server.socket_url, None) as socket:
        await socket.send(frames.Hello(frames.HelloBody(wrong)))
        assert (await socket.take(frames.Error)).body.code == ErrorCode.UNAUTHORIZED.value
        assert await socket.close_code() == CloseCode.UNAUTHORIZED


async def test_before_hello_little_may_be_sent(server: LocalServer, token: str) -> None:
    async with undisturbed(server):
        async with RawSocket(server.socket_url, None) as socket:
            await socket.socket.send(bytes(2 << 20))
            assert await socket.close_code() == CloseCode.TOO_LARGE
        async with RawSocket(server.socket_url, None) as socket:
            hello = frames.Hello(frames.HelloBody(token))
            await socket.send(hello, *(frames.Cancel(number) for number in range(300)))
            assert await socket.close_code() == CloseCode.OVERFLOW


async def test_a_message_over_the_limit_closes_with_its_code(
    server: LocalServer, token: str
) -> None:
    async with undisturbed(server), RawSocket(server.socket_url, token) as socket:
        with suppress(ConnectionClosed):  # the server need not wait for the rest
            await socket.socket.send(bytes(MAX_MESSAGE_BYTES + 1))
        assert await socket.close_code() == CloseCode.TOO_LARGE


async def test_text_messages_are_not_spoken(server: LocalServer, token: str) -> None:
    async with RawSocket(server.socket_url, token) as socket:
        await socket.socket.send("hello?")
        assert await socket.close_code() == CloseCode.UNSUPPORTED


async def test_random_messages_of_all_kinds_leave_the_server_well(
    server: LocalServer, token: str
) -> None:
    random = Random(5)
    sound = frames.encode(
        frames.Update(1, 1, typed(4)), frames.Awareness(1, b"\x00"), frames.Cancel(1)
    )
    async with undisturbed(server):
        for _ in range(60):
            async with RawSocket(server.socket_url, token) as socket:
                for _ in range(5):
                    mutant = bytearray(sound)
                    for _ in range(random.randint(1, 6)):
                        mutant[random.randrange(len(mutant))] = random.randrange(256)
                    try:
                        await socket.socket.send(bytes(mutant))
                    except ConnectionClosed:
                        break


def many_texts(count: int, depth: int = 1) -> bytes:
    """A list of so many empty texts, in lists within lists; each takes a place of its own."""
    update = bytearray(b"\x01")
    write_uint(update, depth + count - 1)
    update += b"\x05\x00"
    update += b"\x07\x01\x01a\x00"
    for clock in range(depth - 1):
        update += b"\x07\x00\x05"
        write_uint(update, clock)
        update += b"\x00"
    for clock in range(depth, depth + count - 1):
        update += b"\x87\x05"
        write_uint(update, clock - 1)
        update += b"\x02"
    return bytes(update + b"\x00")


async def test_an_update_of_very_many_pieces_is_taken_and_keeps_nobody_waiting(
    server: LocalServer, token: str
) -> None:
    async with undisturbed(server), RawSocket(server.socket_url, token) as socket:
        channel = (await socket.open(await new_memory(socket)))["channel"]
        await socket.send(
            frames.Update(channel, 1, many_texts(60_000)), frames.Update(channel, 2, typed(6))
        )
        assert (await socket.take(frames.Ack)).client_seq == 1
        assert (await socket.take(frames.Ack)).client_seq == 2


async def test_an_update_of_very_many_pieces_nested_too_deep_is_refused(
    server: LocalServer, token: str
) -> None:
    async with undisturbed(server), RawSocket(server.socket_url, token) as socket:
        channel = (await socket.open(await new_memory(socket)))["channel"]
        await socket.send(frames.Update(channel, 1, many_texts(60_000, depth=40)))
        error = (await socket.take(frames.Error)).body
        assert (error.code, error.client_seq) == (ErrorCode.MALFORMED_UPDATE.value, 1)
