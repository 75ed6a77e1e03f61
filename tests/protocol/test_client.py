"""The client against a scripted server on a real socket: what it promises when things go wrong."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pycrdt import Doc, Text

from protocol import frames
from protocol.accounts import ACCOUNT_ME
from protocol.channel import MAX_FLIGHTS
from protocol.client import Client, Status
from protocol.errors import CloseCode, ErrorCode, MemoError
from protocol.memories import MEMORIES_GET, GetMemory
from protocol.offline import MemoryStore, SqliteStore
from protocol.records import Empty
from protocol.replica import COMPACT_UPDATES, Document
from protocol.session import Backoff
from tests.protocol.scripted import EXPIRES, ScriptedServer, client_tasks

MEMORY = UUID(int=1)
PROMPT = Backoff(0.001, 0.01)
NEVER = Backoff(600, 600)
ME = {
    "user": {
        "id": str(MEMORY),
        "email": "ann@example.org",
        "username": None,
        "firstName": "Ann",
        "lastName": None,
        "avatarUrl": None,
        "phoneNumber": None,
        "timezone": "UTC",
        "language": "en",
        "themePreference": "system",
        "role": "user",
        "isVerified": True,
        "isActive": True,
        "lastLoginAt": None,
        "createdAt": "2026-01-31T08:30:00.000Z",
        "updatedAt": "2026-01-31T08:30:00.000Z",
    },
    "sessionId": str(MEMORY),
    "permissions": [],
}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


def device(server: ScriptedServer, **options: Any) -> Client:
    return Client(server.url, "token", **({"backoff": PROMPT} | options))


class Author:
    """Somebody else, who writes updates without a connection."""

    def __init__(self) -> None:
        self.doc: Doc[Any] = Doc()
        self.text = self.doc.get("content", type=Text)
        self._updates: list[bytes] = []
        self._observer = self.doc.observe(lambda event: self._updates.append(event.update))

    def write(self, text: str) -> bytes:
        self.text += text
        return self._updates[-1]


async def until(document: Document, text: str) -> None:
    while str(document.text) != text:
        await document.changed()


# Connecting and calling.


async def test_it_says_hello_and_knows_the_welcome(server: ScriptedServer) -> None:
    async with device(server, device_id="laptop") as client:
        await client.connected()
        assert client.status is Status.ONLINE
        assert client.welcome is not None
        assert client.welcome.cursor == "cursor"
    (hello,) = server.sent(frames.Hello)
    assert (hello.body.token, hello.body.device_id) == ("token", "laptop")


async def test_a_call_is_answered_with_the_operation_s_type(server: ScriptedServer) -> None:
    server.answers["account.me"] = lambda _: ME
    async with device(server) as client:
        me = await client.call(ACCOUNT_ME, Empty())
        assert (me.user.email, me.session_id) == ("ann@example.org", MEMORY)


async def test_a_refused_call_raises_the_server_s_reason(server: ScriptedServer) -> None:
    server.answers["memories.get"] = lambda _: frames.ErrorBody("not_found", "None of yours.")
    async with device(server) as client:
        with pytest.raises(MemoError, match="None of yours") as caught:
            await client.call(MEMORIES_GET, GetMemory(id=MEMORY))
        assert caught.value.code is ErrorCode.NOT_FOUND


async def test_a_call_that_is_not_answered_in_time_is_cancelled(server: ScriptedServer) -> None:
    async with device(server) as client:
        await client.connected()
        with pytest.raises(MemoError, match=r"account\.me") as caught:
            await client.call(ACCOUNT_ME, Empty(), timeout=0.05)
        assert caught.value.code is ErrorCode.TIMEOUT
        await server.until(lambda: bool(server.sent(frames.Cancel)))
        assert server.sent(frames.Cancel)[0].id == server.sent(frames.Request)[0].id


async def test_a_call_ends_with_the_connection(server: ScriptedServer) -> None:
    async with device(server, backoff=NEVER) as client:
        call = asyncio.create_task(client.call(ACCOUNT_ME, Empty()))
        await server.until(lambda: bool(server.sent(frames.Request)))
        await server.drop()
        with pytest.raises(MemoError, match="may have been carried out") as caught:
            await call
        assert caught.value.code is ErrorCode.UNAVAILABLE


async def test_a_call_waits_for_the_connection(server: ScriptedServer) -> None:
    server.answers["account.me"] = lambda _: ME
    server.holds_welcome = True
    async with device(server) as client:
        call = asyncio.create_task(client.call(ACCOUNT_ME, Empty()))
        await server.until(lambda: bool(server.sent(frames.Hello)))
        assert client.status is Status.CONNECTING
        await server.tell(frames.Welcome(frames.WelcomeBody("s", "u", "cursor", EXPIRES)))
        assert (await call).permissions == []


async def test_without_a_server_waiting_ends_in_a_reason() -> None:
    async with ScriptedServer() as server:
        url = server.url
    async with Client(url, "token", reconnect=False) as client:
        with pytest.raises(MemoError, match="cannot be reached") as caught:
            await client.connected()
        assert caught.value.code is ErrorCode.UNAVAILABLE
    async with Client(url, "token", backoff=PROMPT) as client:
        with pytest.raises(MemoError, match="cannot be reached") as caught:
            await client.connected(timeout=0.1)
        assert caught.value.code is ErrorCode.TIMEOUT


async def test_a_server_that_speaks_something_else_is_left(server: ScriptedServer) -> None:
    server.holds_welcome = True
    async with device(server, reconnect=False) as client:
        await server.until(lambda: bool(server.sent(frames.Hello)))
        await server.peers[0].socket.send("text")
        with pytest.raises(MemoError, match="messages are binary"):
            await client.connected()


async def test_closing_ends_every_task_and_wait(server: ScriptedServer) -> None:
    server.loses_updates = True
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        document.text += "never acked"
        waits = [
            asyncio.create_task(document.saved()),
            asyncio.create_task(document.changed()),
            asyncio.create_task(client.call(ACCOUNT_ME, Empty())),
            asyncio.create_task(anext(client.events())),
        ]
        await server.until(lambda: len(server.sent(frames.Request)) == 2)
    assert client.status is Status.CLOSED
    assert client_tasks() == set()
    ended = await asyncio.gather(*waits, return_exceptions=True)
    codes = [error.code for error in ended if isinstance(error, MemoError)]
    # The edit itself was a change.
    assert codes[0] is ErrorCode.CHANNEL_CLOSED
    assert codes[-1] is ErrorCode.UNAVAILABLE
    assert isinstance(ended[3], StopAsyncIteration)
    with pytest.raises(MemoError):
        await client.open(MEMORY)


# Coming back.


async def test_it_comes_back_after_a_cut(server: ScriptedServer) -> None:
    async with device(server) as client:
        for connections in (2, 3, 4):
            await client.connected()
            await server.drop()
            await said_hello(server, connections)
        await client.connected()


async def test_it_returns_when_the_server_said(server: ScriptedServer) -> None:
    async with device(server, backoff=NEVER) as client:
        await client.connected()
        goodbye = frames.Goodbye(frames.GoodbyeBody("restart", 10))
        await server.close(CloseCode.GOING_AWAY, goodbye)
        await said_hello(server, 2)
        await client.connected()


async def test_told_that_it_comes_too_often_it_waits_as_long_as_it_is_told(
    server: ScriptedServer,
) -> None:
    async with device(server, backoff=NEVER) as client:
        await client.connected()
        refused = frames.ErrorBody(ErrorCode.RATE_LIMITED.value, "too many", retry_after=0.01)
        await server.close(CloseCode.RATE_LIMITED, frames.Error(None, refused))
        await said_hello(server, 2)
        await client.connected()


@pytest.mark.parametrize("code", [code for code in CloseCode if not code.reconnect])
async def test_it_stays_away_when_the_server_means_it(
    server: ScriptedServer, code: CloseCode
) -> None:
    async with device(server) as client:
        await client.connected()
        await server.close(code)
        await client._signal.until(
            lambda: client.status is Status.CLOSED, 10, lambda: "the client did not end"
        )
        assert client.error is not None
        assert not client.error.code.temporary
    assert len(server.sent(frames.Hello)) == 1


async def said_hello(server: ScriptedServer, times: int) -> None:
    await server.until(lambda: len(server.sent(frames.Hello)) == times)


async def test_an_expired_token_is_replaced(server: ScriptedServer) -> None:
    tokens = iter(["old", "new"])
    current = "old"

    async def token() -> str:
        return next(tokens)

    server.takes_token = lambda it: it == current
    async with Client(server.url, token, backoff=NEVER) as client:
        await client.connected()
        current = "new"
        await server.close(CloseCode.UNAUTHORIZED)
        await said_hello(server, 2)
        await client.connected()


async def test_a_source_of_bad_tokens_is_asked_twice_at_most(server: ScriptedServer) -> None:
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        return "bad"

    server.takes_token = lambda _: False
    async with Client(server.url, token, backoff=PROMPT) as client:
        with pytest.raises(MemoError) as caught:
            await client.connected()
        assert caught.value.code is ErrorCode.UNAUTHORIZED
    assert asked == 2


async def test_a_token_without_a_source_is_tried_once(server: ScriptedServer) -> None:
    server.takes_token = lambda _: False
    async with device(server) as client:
        with pytest.raises(MemoError) as caught:
            await client.connected()
        assert caught.value.code is ErrorCode.UNAUTHORIZED
    assert len(server.sent(frames.Hello)) == 1


async def test_a_source_of_tokens_that_fails_for_now_is_asked_again(
    server: ScriptedServer,
) -> None:
    failures = [MemoError(ErrorCode.UNAVAILABLE, "no network")] * 2

    async def token() -> str:
        if failures:
            raise failures.pop()
        return "good"

    async with Client(server.url, token, backoff=PROMPT) as client:
        await client.connected()
    assert server.sent(frames.Hello)[0].body.token == "good"


async def test_a_source_of_tokens_that_is_broken_ends_the_client_and_is_seen(
    server: ScriptedServer,
) -> None:
    async def token() -> str:
        raise ZeroDivisionError

    client = Client(server.url, token, backoff=PROMPT)
    await client.__aenter__()
    with pytest.raises(MemoError, match="ZeroDivisionError") as caught:
        await client.connected()
    assert caught.value.code is ErrorCode.INTERNAL
    with pytest.raises(ZeroDivisionError):
        await client.close()
    with pytest.raises(RuntimeError, match="started once"):
        await client.__aenter__()


async def test_an_overdue_ack_makes_it_connect_afresh(server: ScriptedServer) -> None:
    async with device(server, heartbeat=0.02) as client:
        document = await client.open(MEMORY)
        await document.synced()
        server.loses_updates = True
        document.text += "a"
        await said_hello(server, 2)
        server.loses_updates = False
        await document.saved()


# Documents.


async def test_a_document_brings_what_is_there_and_saves_what_is_new(
    server: ScriptedServer,
) -> None:
    await server.write(MEMORY, Author().write("before"))
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        assert str(document.text) == "before"
        document.text += " and after"
        assert document.pending == 1
        await document.saved()
        assert document.pending == 0
        log = server.log(MEMORY)
        assert document.position == (log.epoch, 2)
        assert str(log.doc.get("content", type=Text)) == "before and after"


async def test_two_devices_converge(server: ScriptedServer) -> None:
    async with device(server) as one, device(server) as other:
        first, second = await one.open(MEMORY), await other.open(MEMORY)
        await first.synced()
        await second.synced()
        first.text += "a"
        await until(second, "a")
        second.text += "b"
        await until(first, "ab")
        assert first.doc.client_id != second.doc.client_id
        assert first.doc.client_id < 2**32


async def test_opening_again_gives_the_same_document(server: ScriptedServer) -> None:
    async with device(server) as client:
        document = await client.open(MEMORY)
        assert await client.open(MEMORY) is document
        with pytest.raises(MemoError, match="other form"):
            await client.open(MEMORY, replica=False)


async def test_the_edits_of_one_tick_are_one_update_and_share_a_message(
    server: ScriptedServer,
) -> None:
    async with device(server) as client:
        documents = [await client.open(UUID(int=number)) for number in range(3)]
        for document in documents:
            await document.synced()
        for document in documents:
            for letter in "abc":
                document.text += letter
        for document in documents:
            await document.saved()
    assert len(server.sent(frames.Update)) == 3
    kinds = [[type(frame) for frame in message] for message in server.messages]
    assert [frames.Update] * 3 in kinds


async def test_what_does_not_fit_in_flight_is_merged(server: ScriptedServer) -> None:
    server.loses_acks = True
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        for number in range(MAX_FLIGHTS + 20):
            document.text += f"{number} "
            await document.changed()
        await server.until(lambda: len(server.sent(frames.Update)) == MAX_FLIGHTS)
        server.loses_acks = False
        first = server.sent(frames.Update)[0]
        await server.tell(frames.Ack(first.channel, first.client_seq, 1))
        await server.until(lambda: len(server.sent(frames.Update)) == MAX_FLIGHTS + 1)
        text = str(server.log(MEMORY).doc.get("content", type=Text))
        assert text == str(document.text)


async def test_observers_hear_of_each_change_and_where_it_came_from(
    server: ScriptedServer,
) -> None:
    heard: list[bool] = []
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        end = document.on_update(lambda _, local: heard.append(local))
        document.text += "a"
        await document.saved()
        await server.write(MEMORY, Author().write("b"))
        await document.changed()
        await document.saved()
        end()
        document.text += "c"
        await document.saved()
    assert heard == [True, False]


async def test_a_failing_observer_costs_nobody_the_connection(server: ScriptedServer) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def fail(_: object) -> None:
        raise ValueError("mine")

    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        document.text.observe(fail)
        author = Author()
        await server.write(MEMORY, author.write("a"))
        await until(document, "a")
        await server.write(MEMORY, author.write("b"))
        await until(document, "ab")
        assert client.status is Status.ONLINE
    assert reported


async def test_a_closed_document_is_closed_on_the_server_too(server: ScriptedServer) -> None:
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        document.close()
        document.close()
        await server.until(lambda: bool(server.requests("documents.close")))
        with pytest.raises(MemoError, match="closed here"):
            await document.changed()
        again = await client.open(MEMORY)
        assert again is not document
        await again.synced()


async def test_a_document_closed_while_it_opens_is_closed_on_the_server(
    server: ScriptedServer,
) -> None:
    async with device(server) as client:
        await client.connected()
        (await client.open(MEMORY)).close()
        await server.until(lambda: bool(server.requests("documents.close")))
        assert not server.peers[0].channels


# Positions.


async def test_the_position_is_where_pushes_and_acks_meet(server: ScriptedServer) -> None:
    author = Author()
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        server.holds_pushes = True
        await server.write(MEMORY, author.write("a"))
        await server.write(MEMORY, author.write("b"))
        document.text += "!"
        await document.saved()
        assert document.position[1] == 0
        await server.release(lambda pushes: pushes)
        await until_position(document, 3)


async def until_position(document: Document, offset: int) -> None:
    while document.position[1] != offset:
        await document.changed()


@pytest.mark.parametrize("seed", range(5))
async def test_late_reordered_and_repeated_pushes_are_all_applied(
    server: ScriptedServer, seed: int
) -> None:
    author = Author()
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        server.holds_pushes = True
        for letter in "abcdefgh":
            await server.write(MEMORY, author.write(letter))

        def shuffled(pushes: list[frames.Push]) -> list[frames.Push]:
            twice = pushes * 2
            random.Random(seed).shuffle(twice)
            return twice

        await server.release(shuffled)
        await until(document, "abcdefgh")
        assert document.position[1] == 8


async def test_a_hole_is_fetched_after_a_reconnect(server: ScriptedServer) -> None:
    author = Author()
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        server.holds_pushes = True
        for letter in "abc":
            await server.write(MEMORY, author.write(letter))
        await server.release(lambda pushes: [pushes[0], pushes[2]])
        await until(document, "a")
        await server.drop()
        await until(document, "abc")
        assert server.requests("documents.open")[-1]["offset"] == 1
        assert document.position[1] == 3


# Edits that meet trouble.


@pytest.mark.parametrize("fault", ["loses_updates", "loses_acks"])
async def test_an_edit_on_its_way_survives_a_cut(server: ScriptedServer, fault: str) -> None:
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        setattr(server, fault, True)
        document.text += "once"
        await server.until(lambda: bool(server.sent(frames.Update)))
        setattr(server, fault, False)
        await server.drop()
        await document.saved()
        log = server.log(MEMORY)
        assert str(log.doc.get("content", type=Text)) == "once"
        assert document.position == (log.epoch, 1)
        assert log.head == 1


async def test_edits_made_offline_are_sent_on_return(server: ScriptedServer) -> None:
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        await server.drop()
        for letter in "abc":
            document.text += letter
            await document.changed()
        await document.saved()
        assert str(server.log(MEMORY).doc.get("content", type=Text)) == "abc"


@pytest.mark.parametrize("change", ["epoch", "past head"])
async def test_a_log_that_has_changed_gets_the_whole_state(
    server: ScriptedServer, change: str
) -> None:
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        document.text += "kept here"
        await document.saved()
        old = server.logs.pop(MEMORY)
        if change == "past head":
            server.log(MEMORY).epoch = old.epoch
        await server.drop()
        await server.until(lambda: server.log(MEMORY).head == 1)
        await document.saved()
        log = server.log(MEMORY)
        assert str(log.doc.get("content", type=Text)) == "kept here"
        assert document.position == (log.epoch, 1)


async def test_a_whole_state_that_was_not_acked_outlives_the_process(
    server: ScriptedServer,
) -> None:
    store = MemoryStore()
    async with device(server, store=store) as client:
        document = await client.open(MEMORY)
        await document.synced()
        document.text += "kept here"
        await document.saved()
        del server.logs[MEMORY]
        server.refusals = [ErrorCode.UNAVAILABLE]
        updates = len(server.sent(frames.Update))
        await server.drop()
        await server.until(lambda: len(server.sent(frames.Update)) > updates)
    assert server.log(MEMORY).head == 0
    async with device(server, store=store) as client:
        document = await client.open(MEMORY)
        await document.synced()
        await document.saved()
        copy = server.log(MEMORY).doc.get("content", type=Text)
        assert str(copy) == str(document.text) == "kept here"
    assert store.load(MEMORY).pending == []


async def test_a_missing_dependency_is_answered_with_the_whole_state(
    server: ScriptedServer,
) -> None:
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        document.text += "a"
        await document.saved()
        server.logs[MEMORY].entries.clear()
        server.logs[MEMORY].doc = Doc()
        server.refusals = [ErrorCode.MISSING_DEPENDENCY]
        document.text += "b"
        await document.saved()
        whole = server.sent(frames.Update)[-1].update
        copy: Doc[Any] = Doc()
        copy.apply_update(whole)
        assert str(copy.get("content", type=Text)) == "ab"


async def test_a_whole_state_that_is_refused_too_ends_it(server: ScriptedServer) -> None:
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        server.refusals = [ErrorCode.MISSING_DEPENDENCY] * 2
        document.text += "a"
        with pytest.raises(MemoError) as caught:
            await document.saved()
        assert caught.value.code is ErrorCode.MISSING_DEPENDENCY
        assert len(server.sent(frames.Update)) == 2


@pytest.mark.parametrize(
    "code", [ErrorCode.BUSY, ErrorCode.UNAVAILABLE, ErrorCode.CHANNEL_CLOSED, ErrorCode.TIMEOUT]
)
async def test_a_refusal_that_may_pass_is_tried_again(
    server: ScriptedServer, code: ErrorCode
) -> None:
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        server.refusals = [code] * 3
        for letter in "abc":
            document.text += letter
            await document.changed()
        await document.saved()
        assert str(server.log(MEMORY).doc.get("content", type=Text)) == "abc"
        assert document.error is None


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.CLIENT_ID_TAKEN,
        ErrorCode.FORBIDDEN,
        ErrorCode.GONE,
        ErrorCode.MALFORMED_UPDATE,
    ],
)
async def test_a_refusal_for_good_is_told_and_not_repeated(
    server: ScriptedServer, code: ErrorCode
) -> None:
    author = Author()
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        server.refusals = [code]
        document.text += "mine"
        with pytest.raises(MemoError) as caught:
            await document.saved()
        assert caught.value.code is code
        assert document.error is caught.value
        document.text += "!"
        await server.write(MEMORY, author.write("theirs"))
        while "theirs" not in str(document.text):
            await document.changed()
        assert len(server.sent(frames.Update)) == 1
        assert document.pending == 2


async def test_a_reader_s_edit_is_an_error_and_is_not_sent(server: ScriptedServer) -> None:
    server.can_write = False
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        assert not document.can_write
        document.text += "a"
        with pytest.raises(MemoError) as caught:
            await document.saved()
        assert caught.value.code is ErrorCode.FORBIDDEN
    assert not server.sent(frames.Update)


async def test_a_reader_who_is_made_an_editor_sends_what_waited(server: ScriptedServer) -> None:
    server.can_write = False
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        document.text += "a"
        server.can_write = True
        await server.tell(frames.Event("sharing.changed", {"memoryId": str(MEMORY), "role": "new"}))
        changed = {"memoryId": str(MEMORY), "role": "editor"}
        await server.tell(frames.Event("sharing.changed", changed))
        await server.until(lambda: bool(server.sent(frames.Update)))
        await document.saved()
        assert document.can_write
    assert len(server.requests("documents.open")) == 2


async def test_a_document_that_is_not_there_says_so_and_may_come(server: ScriptedServer) -> None:
    server.open_refusals = [ErrorCode.NOT_FOUND]
    async with device(server) as client:
        document = await client.open(MEMORY)
        with pytest.raises(MemoError) as caught:
            await document.synced()
        assert caught.value.code is ErrorCode.NOT_FOUND
        assert await client.open(MEMORY) is document
        await document.synced()
        assert document.error is None


async def test_an_update_that_is_not_sound_is_an_error_of_its_document(
    server: ScriptedServer,
) -> None:
    async with device(server) as client:
        document = await client.open(MEMORY)
        other = await client.open(UUID(int=2))
        await document.synced()
        await other.synced()
        (channel,) = [c for c, memory in server.peers[0].channels.items() if memory == MEMORY]
        await server.tell(frames.Push(channel, 1, [b"\x01\x02garbage"]))
        with pytest.raises(MemoError, match="not sound"):
            await document.changed()
        other.text += "a"
        await other.saved()


# The offline store.


async def test_a_new_run_has_the_content_and_sends_what_was_not_acked(
    server: ScriptedServer, tmp_path: Path
) -> None:
    await server.write(MEMORY, Author().write("theirs "))
    path = tmp_path / "offline.db"
    store = SqliteStore(path)
    async with device(server, store=store) as client:
        document = await client.open(MEMORY)
        await document.synced()
        document.text += "saved "
        await document.saved()
        server.loses_updates = True
        document.text += "unsaved"
        await server.until(lambda: len(server.sent(frames.Update)) == 2)
    store.close()

    server.loses_updates = False
    store = SqliteStore(path)
    async with Client("ws://127.0.0.1:9/ws", "token", store=store, backoff=NEVER) as client:
        document = await client.open(MEMORY)
        assert str(document.text) == "theirs saved unsaved"
        assert document.pending == 1
        assert document.position == (server.log(MEMORY).epoch, 2)
        document.text += "!"
    store.close()

    store = SqliteStore(path)
    async with device(server, store=store) as client:
        document = await client.open(MEMORY)
        await document.saved()
        assert server.requests("documents.open")[-1]["offset"] == 2
        assert str(server.log(MEMORY).doc.get("content", type=Text)) == "theirs saved unsaved!"
    assert store.load(MEMORY).pending == []
    store.close()


async def test_what_is_kept_is_compacted(server: ScriptedServer) -> None:
    author, store = Author(), MemoryStore()
    text = ""
    async with device(server, store=store) as client:
        document = await client.open(MEMORY)
        await document.synced()
        for number in range(COMPACT_UPDATES + 10):
            await server.write(MEMORY, author.write(str(number)))
            text += str(number)
        await until(document, text)
    kept = store.load(MEMORY)
    assert len(kept.updates) < 20
    assert kept.offset == COMPACT_UPDATES + 10
    async with device(server, store=store) as client:
        assert str((await client.open(MEMORY)).text) == text


async def test_a_store_that_fails_stops_the_document_with_a_reason(
    server: ScriptedServer,
) -> None:
    class FullStore(MemoryStore):
        def record(self, memory_id: UUID, update: bytes) -> int:
            raise MemoError(ErrorCode.INTERNAL, "the disk is full")

    async with device(server, store=FullStore()) as client:
        document = await client.open(MEMORY)
        await document.synced()
        document.text += "a"
        with pytest.raises(MemoError, match="disk is full"):
            await document.saved()
    assert not server.sent(frames.Update)


# Events, presence, mirrors.


async def test_events_arrive_in_order(server: ScriptedServer) -> None:
    async with device(server) as client:
        await client.connected()
        events = client.events()
        await server.tell(*(frames.Event("feed.changed", {"n": n}) for n in range(3)))
        assert [(await anext(events)).body["n"] for _ in range(3)] == [0, 1, 2]


async def test_a_closed_client_s_events_end_at_once(server: ScriptedServer) -> None:
    async with device(server) as client:
        await client.connected()
    assert [event async for event in client.events()] == []


async def test_a_channel_that_the_server_closed_is_opened_again(server: ScriptedServer) -> None:
    author = Author()
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        ((channel, _),) = server.peers[0].channels.items()
        server.holds_pushes = True
        await server.write(MEMORY, author.write("missed"))
        body = frames.ErrorBody("channel_closed", "Trimmed.", retry_after=0.0, channel=channel)
        await server.tell(frames.Error(None, body))
        await until(document, "missed")
        assert len(server.sent(frames.Hello)) == 1


async def test_presence_is_seen_by_others_and_shown_again_after_a_cut(
    server: ScriptedServer,
) -> None:
    async with device(server) as one, device(server) as other:
        first, second = await one.open(MEMORY), await other.open(MEMORY)
        await first.synced()
        await second.synced()
        first.set_presence({"name": "Ann"})
        await seen(second, first.doc.client_id, {"name": "Ann"})
        await server.drop()
        await first.synced()
        await second.synced()
        second.set_presence({"name": "Bob"})
        await seen(first, second.doc.client_id, {"name": "Bob"})
        first.set_presence({"name": "Ann", "cursor": 1})
        await seen(second, first.doc.client_id, {"name": "Ann", "cursor": 1})
        first.set_presence(None)
        await seen(second, first.doc.client_id, None)


async def seen(document: Document, client_id: int, state: dict[str, Any] | None) -> None:
    await document._signal.until(
        lambda: document.presence.get(client_id) == state, 10, lambda: "presence was not seen"
    )


async def test_presence_that_cannot_be_read_is_let_go(server: ScriptedServer) -> None:
    async with device(server) as client:
        document = await client.open(MEMORY)
        await document.synced()
        (channel,) = server.peers[0].channels
        for payload in (b"", b"\x01", b"\x01\x01\x01\x03{]}", b"\xff" * 20):
            await server.tell(frames.AwarenessRelay(channel, payload))
        document.text += "a"
        await document.saved()
        assert document.presence == {}


async def test_a_mirror_sends_and_receives_bare_updates(server: ScriptedServer) -> None:
    author, own = Author(), Author()
    got: list[tuple[int, list[bytes]]] = []
    await server.write(MEMORY, author.write("a"))
    async with device(server) as client:
        mirror = await client.open(MEMORY, replica=False)
        mirror.on_push = lambda offset, updates: got.append((offset, updates))
        await mirror.synced()
        assert mirror.answer is not None
        assert len(mirror.answer.updates) == 1
        acks = [mirror.send(own.write(letter)) for letter in "xyz"]
        assert await asyncio.gather(*acks) == [2, 3, 4]
        update = author.write("b")
        await server.write(MEMORY, update)
        await mirror.send(own.write("!"))
        assert got == [(5, [update])]
        assert mirror.position[1] == 6


async def test_a_mirror_s_sending_ends_with_a_refusal_or_the_connection(
    server: ScriptedServer,
) -> None:
    own = Author()
    async with device(server) as client:
        mirror = await client.open(MEMORY, replica=False)
        await mirror.synced()
        server.loses_acks = True
        lost = mirror.send(own.write("a"))
        await server.until(lambda: bool(server.sent(frames.Update)))
        await server.drop()
        with pytest.raises(MemoError) as caught:
            await lost
        assert caught.value.code is ErrorCode.UNAVAILABLE
        server.loses_acks = False
        await client.connected()
        await mirror.synced()
        server.refusals = [ErrorCode.MALFORMED_UPDATE]
        with pytest.raises(MemoError) as caught:
            await mirror.send(own.write("b"))
        assert caught.value.code is ErrorCode.MALFORMED_UPDATE


async def test_a_closed_mirror_ends_its_sending(server: ScriptedServer) -> None:
    own = Author()
    server.loses_acks = True
    async with device(server) as client:
        mirror = await client.open(MEMORY, replica=False)
        await mirror.synced()
        unacked = mirror.send(own.write("a"))
        mirror.close()
        with pytest.raises(MemoError) as caught:
            await unacked
        assert caught.value.code is ErrorCode.CHANNEL_CLOSED
        with pytest.raises(MemoError, match="closed here"):
            mirror.send(own.write("b"))


# Everything at once.


@pytest.mark.parametrize("seed", range(8))
async def test_devices_converge_whatever_happens(server: ScriptedServer, seed: int) -> None:
    choice = random.Random(seed)
    stores = [MemoryStore() for _ in range(3)]
    # A second one could meet a whole state, which is the end.
    server.refusals = [ErrorCode.MISSING_DEPENDENCY]
    async with AsyncExitStack() as stack:
        documents = []
        for store in stores:
            client = await stack.enter_async_context(device(server, store=store))
            documents.append(await client.open(MEMORY))
        for _ in range(60):
            document = choice.choice(documents)
            edit_at_random(document.text, choice)
            await disturb(server, choice)
            for _ in range(choice.randrange(4)):
                await asyncio.sleep(0)  # let the others have a turn
        server.refusals = []
        server.holds_pushes = server.loses_acks = False
        await server.drop()
        for document in documents:
            await document.saved()
        log = server.log(MEMORY)
        for document in documents:
            await until_position(document, log.head)
        text = str(log.doc.get("content", type=Text))
        assert [str(document.text) for document in documents] == [text] * 3
    for store in stores:
        kept = store.load(MEMORY)
        assert (kept.pending, kept.offset) == ([], log.head)
        copy: Doc[Any] = Doc()
        for update in kept.updates:
            copy.apply_update(update)
        assert str(copy.get("content", type=Text)) == text


def edit_at_random(text: Text, choice: random.Random) -> None:
    length = len(text)
    if length > 5 and choice.random() < 0.4:
        start = choice.randrange(length - 1)
        del text[start : min(length, start + choice.randint(1, 3))]
    else:
        text.insert(choice.randint(0, length), choice.choice("abcdef"))


async def disturb(server: ScriptedServer, choice: random.Random) -> None:
    match choice.randrange(10):
        case 0:
            await server.drop()
        case 1:
            server.holds_pushes = True
        case 2:
            await server.release(lambda it: choice.sample(it, len(it)))
        case 3:
            server.loses_acks = not server.loses_acks
        case 4:
            server.refusals = [choice.choice([ErrorCode.BUSY, ErrorCode.CHANNEL_CLOSED])]
