"""Who may do what: every operation, by every kind of account, on memories that it has every
relation to.

The table says what is answered. An operation that is not in it fails. Besides that: what is
refused changes nothing, and a memory that is not one's to see is answered as one that there is not.
"""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from pycrdt import Doc, Text, create_update_message
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from protocol import frames
from protocol.errors import CloseCode, ErrorCode
from protocol.operations import OPERATIONS
from protocol.rest import ENDPOINTS, Endpoint
from storage.trash import TrashRows
from tests.conftest import fresh_database, fresh_directory
from tests.e2e.rawsocket import PATIENCE, RawSocket
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLES = ("user", "premium", "admin")

# What a memory is to the caller. In the trash: its own, one it is an editor of, somebody else's.
PLACES = (
    "own", "editor", "commenter", "viewer", "public", "foreign", "absent",
    "trashed", "shared-trash", "foreign-trash",
)  # fmt: skip
UNSEEN = ("foreign", "absent", "foreign-trash")

CODES = {
    "403": ErrorCode.FORBIDDEN,
    "404": ErrorCode.NOT_FOUND,
    "409": ErrorCode.CONFLICT,
    "410": ErrorCode.GONE,
    "401": ErrorCode.UNAUTHORIZED,
    "guess": ErrorCode.INVALID_CREDENTIALS,
}


class Place(NamedTuple):
    """A memory and what is in it. `mine` is a message of the caller's own and `my_file` a file,
    from before it lost the right to write them; `theirs` and `their_file` are of `member`, who is
    neither owner nor caller."""

    memory: str
    mine: str
    theirs: str
    my_file: str
    their_file: str
    version: str
    link: str
    token: str
    member: str


NEEDS = ("messages", "history", "files")

Body = Callable[[Place], dict[str, Any]]


class Row(NamedTuple):
    """What an operation answers: for each place, or the same for all. `roles` are the accounts
    that may call it at all. `done` is an `ok` that leaves a place other than it was."""

    operation: str
    roles: tuple[str, ...]
    body: Body
    outcomes: tuple[str, ...]
    variant: str

    @property
    def name(self) -> str:
        return f"{self.operation} {self.variant}".strip()

    @property
    def places(self) -> tuple[str, ...]:
        return PLACES if len(self.outcomes) > 1 else ("own",)

    def expected(self, role: str, place: str) -> str:
        if role not in self.roles:
            return "403"
        return self.outcomes[self.places.index(place)]


ALL, PAYING, ADMIN = ROLES, ROLES[1:], ROLES[2:]


def row(
    operation: str,
    roles: tuple[str, ...],
    body: Body,
    outcomes: str,
    variant: str = "",
) -> Row:
    row = Row(operation, roles, body, tuple(outcomes.split()), variant)
    assert len(row.outcomes) in (1, len(PLACES)), row
    return row


def empty(_: Place) -> dict[str, Any]:
    return {}


def by_id(**more: Any) -> Body:
    return lambda place: {"id": place.memory, **more}


def in_memory(**more: Any) -> Body:
    return lambda place: {"memoryId": place.memory, **more}


def message(which: str, **more: Any) -> Body:
    return lambda place: {"memoryId": place.memory, "id": getattr(place, which), **more}


def version(**more: Any) -> Body:
    return lambda place: {"memoryId": place.memory, "versionId": place.version, **more}


def member(**more: Any) -> Body:
    return lambda place: {"memoryId": place.memory, "userId": place.member, **more}


def file(which: str, **more: Any) -> Body:
    return lambda place: {"id": getattr(place, which), **more}


def bulk(action: str) -> Body:
    return lambda place: {"ids": [place.memory], "action": action}


# fmt: off
TABLE = (
    #                                          own  edit comm view publ fore abse tras shar fore
    row("documents.open", ALL, in_memory(),   "ok   ok   ok   ok   ok   404  404  410  410  404"),
    row("documents.token", ALL, in_memory(),  "ok   ok   ok   ok   ok   404  404  410  410  404"),
    row("documents.close", ALL, lambda _: {"channel": 12345}, "ok"),
    row("feed.changes", ALL, empty, "ok"),
    row("memories.create", ALL, empty, "ok"),
    # Ids are not guessed, so that one is taken tells nothing.
    row("memories.create", ALL, by_id(),      "ok   409  409  409  409  409  done 410  409  409",
        "of an id that there is"),
    row("memories.get", ALL, by_id(),         "ok   ok   ok   ok   ok   404  404  410  410  404"),
    row("memories.list", ALL, empty, "ok"),
    row("memories.update", ALL, by_id(title="Rome"),
                                              "ok   ok   403  403  403  404  404  410  410  404"),
    row("memories.update", ALL, by_id(isFavorite=True),
                                              "ok   ok   ok   ok   403  404  404  410  410  404",
        "of one's own mark"),
    row("memories.update", ALL, by_id(privacyLevel="shared"),
                                              "ok   403  403  403  403  404  404  410  410  404",
        "of the privacy level"),
    row("memories.delete", PAYING, by_id(),   "done 403  403  403  404  404  404  ok   403  404"),
    row("memories.restore", ALL, by_id(),     "ok   403  403  403  404  404  404  done 403  404"),
    row("memories.purge", PAYING, by_id(),    "409  403  403  403  404  404  404  done 403  404"),
    row("memories.bulk", ALL, bulk("favorite"),
                                              "ok   ok   ok   ok   404  404  404  410  410  404",
        "favorite"),
    row("memories.bulk", ALL, bulk("categorize"),
                                              "ok   ok   ok   ok   404  404  404  410  410  404",
        "categorize"),
    row("memories.bulk", PAYING, bulk("delete"),
                                              "done 403  403  403  404  404  404  ok   403  404",
        "delete"),
    row("memories.bulk", ALL, bulk("restore"),
                                              "ok   403  403  403  404  404  404  done 403  404",
        "restore"),
    row("memories.bulk", PAYING, bulk("purge"),
                                              "409  403  403  403  404  404  404  done 403  404",
        "purge"),
    row("messages.list", ALL, in_memory(),    "ok   ok   ok   ok   ok   404  404  410  410  404"),
    row("messages.create", ALL, in_memory(content="hi"),
                                              "ok   ok   ok   403  403  404  404  410  410  404"),
    row("messages.update", ALL, message("mine", content="hi"),
                                              "ok   ok   ok   403  403  404  404  410  410  404"),
    row("messages.update", ALL, message("theirs", content="hi"),
                                              "403  403  403  403  403  404  404  410  410  404",
        "of another's"),
    row("messages.delete", ALL, message("mine"),
                                              "done done done 403  403  404  404  410  410  404"),
    row("messages.delete", ALL, message("theirs"),
                                              "done 403  403  403  403  404  404  410  410  404",
        "of another's"),
    row("messages.markRead", ALL, in_memory(),
                                              "ok   ok   ok   ok   403  404  404  410  410  404"),
    row("history.list", ALL, in_memory(),     "ok   ok   ok   ok   404  404  404  410  410  404"),
    row("history.get", ALL, version(),        "ok   ok   ok   ok   404  404  404  410  410  404"),
    row("history.blame", ALL, in_memory(),    "ok   ok   ok   ok   404  404  404  410  410  404"),
    row("history.save", ALL, in_memory(name="a"),
                                              "ok   ok   403  403  404  404  404  410  410  404"),
    row("history.rename", ALL, version(name="b"),
                                              "ok   ok   403  403  404  404  404  410  410  404"),
    row("history.restore", ALL, version(),    "ok   ok   403  403  404  404  404  410  410  404"),
    row("history.delete", PAYING, version(),  "done 403  403  403  404  404  404  410  410  404"),
    # Whoever put a file there keeps it; members see those of the others.
    row("files.list", ALL, in_memory(),       "ok   ok   ok   ok   404  404  404  410  410  404",
        "of a memory"),
    row("files.list", ALL, empty, "ok"),
    row("files.get", ALL, file("my_file"),    "ok   ok   ok   ok   ok   ok   ok   ok   ok   ok"),
    row("files.get", ALL, file("their_file"), "ok   ok   ok   ok   404  404  404  404  404  404",
        "of another's"),
    row("files.url", ALL, file("my_file"),    "ok   ok   ok   ok   ok   ok   ok   ok   ok   ok"),
    row("files.url", ALL, file("their_file"), "ok   ok   ok   ok   404  404  404  404  404  404",
        "of another's"),
    row("files.update", ALL, file("my_file", filename="a.txt"),
                                              "ok   ok   ok   ok   ok   ok   ok   ok   ok   ok"),
    row("files.update", ALL, file("their_file", filename="a.txt"),
                                              "403  403  403  403  404  404  404  404  404  404",
        "of another's"),
    row("files.update", ALL, lambda p: {"id": p.my_file, "memoryId": p.memory},
                                              "ok   ok   403  403  404  404  404  410  410  404",
        "into a memory"),
    row("files.delete", PAYING, file("my_file"), "done"),
    row("files.delete", PAYING, file("their_file"),
                                              "403  403  403  403  404  404  404  404  404  404",
        "of another's"),
    row("files.usage", ALL, empty, "ok"),
    row("search.query", ALL, lambda _: {"query": "Lisbon"}, "ok"),
    row("sharing.members", ALL, in_memory(),  "ok   ok   ok   ok   403  404  404  410  410  404"),
    row("sharing.invite", ALL, in_memory(email="new@example.com", role="viewer"),
                                              "ok   403  403  403  403  404  404  410  410  404"),
    row("sharing.link", ALL, in_memory(role="viewer"),
                                              "ok   403  403  403  403  404  404  410  410  404"),
    row("sharing.revoke", ALL, lambda p: {"memoryId": p.memory, "invitationId": p.link},
                                              "done 403  403  403  403  404  404  410  410  404"),
    row("sharing.setRole", ALL, member(role="editor"),
                                              "ok   403  403  403  403  404  404  410  410  404"),
    row("sharing.remove", ALL, member(),      "done 403  403  403  403  404  404  done 403  404"),
    row("sharing.transfer", ALL, member(),    "done 403  403  403  403  404  404  410  410  404"),
    # Whoever is no member has left.
    row("sharing.leave", ALL, in_memory(),    "409  done done done ok   ok   ok   409  done ok"),
    # A link lets an account in once; whoever has it knows that there is a memory.
    row("sharing.accept", ALL, lambda p: {"token": p.token},
                                              "ok   ok   ok   ok   410  410  404  410  410  410",
        "by a link"),
    row("sharing.accept", ALL, lambda p: {"invitationId": p.link}, "404", "by another's id"),
    row("sharing.decline", ALL, lambda p: {"invitationId": p.link}, "404", "another's"),
    row("sharing.invitations", ALL, empty, "ok"),
    row("categories.list", ALL, empty, "ok"),
    row("categories.create", ALL, lambda _: {"name": "Trips"}, "ok"),
    row("categories.update", ALL, lambda _: {"id": str(uuid4()), "name": "x"}, "404"),
    row("categories.delete", ALL, lambda _: {"id": str(uuid4())}, "404"),
    row("categories.reorder", ALL, lambda _: {"ids": [str(uuid4())]}, "ok"),
    row("session.renew", ALL, lambda _: {"token": "x"}, "401"),
    row("account.me", ALL, empty, "ok"),
    row("account.update", ALL, lambda _: {"language": "pt"}, "ok"),
    row("account.identities", ALL, empty, "ok"),
    row("account.sendVerification", ALL, empty, "ok"),
    row("account.changePassword", ALL,
        lambda _: {"currentPassword": "x", "newPassword": "Correct-Horse-2!"}, "guess"),
    row("account.changeEmail", ALL, lambda _: {"password": "x", "email": "a@b.example"}, "guess"),
    row("account.enableTwoFactor", ALL, lambda _: {"password": "x"}, "guess"),
    row("account.confirmTwoFactor", ALL, lambda _: {"code": "123456"}, "409"),
    row("account.disableTwoFactor", ALL, lambda _: {"password": "x", "code": "123456"}, "guess"),
    row("account.link", ALL, lambda _: {"provider": "google", "code": "x",
        "redirectUri": "https://x.example/", "state": "x"}, "404"),
    row("account.unlink", ALL, lambda _: {"provider": "google"}, "ok"),
    row("account.sendDeletionCode", ALL, empty, "409"),
    row("account.delete", ALL, empty, "invalid_request"),
    row("account.export", ALL, lambda _: {"id": str(uuid4())}, "ok"),
    row("account.exports", ALL, empty, "ok"),
    row("account.import", ALL, lambda _: {"fileId": str(uuid4())}, "404"),
    row("account.imports", ALL, empty, "ok"),
    row("sessions.list", ALL, empty, "ok"),
    row("sessions.end", ALL, lambda _: {"id": str(uuid4())}, "404"),
    row("sessions.end", ALL, lambda _: {"all": True}, "ok", "all others"),
    row("admin.users", ADMIN, empty, "ok"),
    row("admin.stats", ADMIN, empty, "ok"),
    row("admin.setRole", ADMIN, lambda _: {"userId": str(uuid4()), "role": "user"}, "404"),
    row("admin.disable", ADMIN, lambda _: {"userId": str(uuid4())}, "404"),
    row("admin.enable", ADMIN, lambda _: {"userId": str(uuid4())}, "404"),
)
# fmt: on

of_each_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


class World:
    """A server with an account of each role, who call, and two others, who own and write."""

    def __init__(self, server: LocalServer, pool: asyncpg.Pool) -> None:
        self.server = server
        self.pool = pool
        self.tokens: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.sockets: dict[str, RawSocket] = {}
        self.http: dict[str, httpx.AsyncClient] = {}
        self._places: dict[tuple[str, str], Place] = {}

    async def come_in(self, stack: AsyncExitStack) -> None:
        for name in (*ROLES, "owner", "member"):
            email = f"{name}@example.com"
            self.tokens[name] = await register(self.server.url, email)
            role = name if name in ROLES else "premium"
            await self.pool.execute(
                "UPDATE users SET role = $2, is_verified = true WHERE email = $1", email, role
            )
            socket = RawSocket(self.server.socket_url, self.tokens[name])
            self.sockets[name] = await stack.enter_async_context(socket)
            self.http[name] = await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=self.server.url,
                    headers={"Authorization": f"Bearer {self.tokens[name]}"},
                    timeout=PATIENCE,
                )
            )
            self.ids[name] = (await self.reply(name, "account.me"))["user"]["id"]

    async def reply(self, who: str, operation: str, **body: Any) -> dict[str, Any]:
        answer = await self.sockets[who].call(operation, body)
        assert isinstance(answer, frames.Reply), answer
        answered: dict[str, Any] = answer.body
        return answered

    async def place(self, caller: str, kind: str) -> Place:
        """One that all tests share, who leave it as it is."""
        if (caller, kind) not in self._places:
            self._places[caller, kind] = await self.new_place(caller, kind)
        return self._places[caller, kind]

    async def new_place(self, caller: str, kind: str, needs: Sequence[str] = NEEDS) -> Place:
        """A memory that the caller once wrote in, and that is of this kind to it now. It has the
        things in it that are needed."""
        if kind == "absent":
            nowhere = Place(*(str(uuid4()) for _ in Place._fields))
            assert await self.upload(caller, None, nowhere.my_file) == "ok"
            return nowhere
        owner = caller if kind in ("own", "trashed") else "owner"
        memory = (await self.reply(owner, "memories.create", title="Lisbon"))["memory"]["id"]
        there = {"memoryId": memory}
        link = (await self.reply(owner, "sharing.link", **there, role="editor"))["invitation"]
        for who in {caller, "member"} - {owner}:
            await self.reply(who, "sharing.accept", token=link["token"])
        mine, theirs, my_file, their_file, version = (str(uuid4()) for _ in range(5))
        if "messages" in needs and kind != "trashed":
            for who, message_id in ((caller, mine), ("member", theirs)):
                hello = {"id": message_id, "content": "hello"}
                await self.reply(who, "messages.create", **there, **hello)
        if "history" in needs and kind != "trashed":
            await self.reply(owner, "history.save", **there, id=version, name="before")
        if "files" in needs:
            for who, file_id in ((caller, my_file), ("member", their_file)):
                assert await self.upload(who, memory, file_id) == "ok"
        await self._turn_into(kind, caller, memory)
        return Place(
            memory=memory,
            mine=mine,
            theirs=theirs,
            my_file=my_file,
            their_file=their_file,
            version=version,
            link=link["id"],
            token=link["token"],
            member=self.ids["member"],
        )

    async def upload(self, who: str, memory: str | None, file_id: str) -> str:
        """What comes of putting a file into a memory, or into none."""
        form = {"id": file_id, **({"memoryId": memory} if memory else {})}
        answer = await self.http[who].post("/api/files", data=form, files={"file": b"hello"})
        return over_http(answer)

    async def _turn_into(self, kind: str, caller: str, memory: str) -> None:
        there = {"memoryId": memory}
        match kind:
            case "commenter" | "viewer":
                caller_id = self.ids[caller]
                await self.reply("owner", "sharing.setRole", **there, userId=caller_id, role=kind)
            case "public":
                await self.reply(caller, "sharing.leave", **there)
                await self.reply("owner", "memories.update", id=memory, privacyLevel="public")
            case "foreign":
                await self.reply(caller, "sharing.leave", **there)
            case "foreign-trash":
                await self.reply(caller, "sharing.leave", **there)
                await self.reply("owner", "memories.delete", id=memory)
            case "shared-trash":
                await self.reply("owner", "memories.delete", id=memory)
            case "trashed":
                # Not every caller may delete it, and nobody has it open.
                await TrashRows(self.pool).delete(UUID(self.ids[caller]), [UUID(memory)])

    async def stock(self, who: str, memory: str, token: str = "") -> str | CloseCode:
        """What comes of opening a document as a stock Yjs client does, and writing in it."""
        query = f"?token={token or self.tokens[who]}"
        url = self.server.socket_url.replace("/ws", f"/yjs/{memory}{query}")
        async with connect(url) as socket, asyncio.timeout(PATIENCE):
            try:
                await socket.recv()  # the server's step 1
                await socket.send(create_update_message(typed()))
                await socket.send(STEP_1)
                while (answer := await socket.recv())[:2] not in (STEP_2, DENIED):
                    pass
            except ConnectionClosed:
                assert socket.close_code is not None
                return CloseCode(socket.close_code)  # type: ignore[call-arg]
        return "ack" if answer[:2] == STEP_2 else "forbidden"

    async def states(self, memories: list[str]) -> list[Any]:
        """All that there is of these memories, to compare with later."""
        return [
            await self.pool.fetch(
                f"SELECT md5(t::text) FROM {table} t WHERE {column} = ANY ($1) ORDER BY t::text",
                [UUID(memory) for memory in memories],
            )
            for table, column in STATE.items()
        ]


# Messages of y-websocket's protocol, and how they begin.
STEP_1 = b"\x00\x00\x01\x00"
STEP_2 = b"\x00\x01"
DENIED = b"\x02\x00"

STATE = {
    "documents": "id",
    "memories": "id",
    "memberships": "memory_id",
    "messages": "memory_id",
    "invitations": "memory_id",
    "document_versions": "document_id",
    "document_updates": "document_id",
    "files": "memory_id",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(fresh_database(postgres))
        directory = stack.enter_context(fresh_directory())
        server = LocalServer(directory, database, FEATURES="tiers")
        await server.start()
        stack.push_async_callback(server.stop)
        pool = await stack.enter_async_context(
            asyncpg.create_pool(database, min_size=1, max_size=2)
        )
        world = World(server, pool)
        await world.come_in(stack)
        yield world


def outcome(answer: frames.Reply | frames.Error) -> str:
    """As the table has it."""
    if isinstance(answer, frames.Error):
        code = answer.body.code
    elif "results" in answer.body and (refused := answer.body["results"][0].get("error")):
        code = refused["code"]
    else:
        return "ok"
    return short(code)


def over_http(answer: httpx.Response) -> str:
    """The same of an answer over HTTP."""
    return "ok" if answer.is_success else short(answer.json()["error"]["code"])


def short(code: str) -> str:
    return next((short for short, each in CODES.items() if each.value == code), code)


def refusal(answer: frames.Reply | frames.Error) -> Any:
    """What a refusal tells, if it is one."""
    if isinstance(answer, frames.Error):
        return answer.body
    return answer.body["results"][0].get("error") if "results" in answer.body else None


async def test_every_operation_has_a_row() -> None:
    assert {row.operation for row in TABLE} == {operation.name for operation in OPERATIONS}


async def test_the_rights_that_the_table_gives_to_roles_are_those_of_the_plan() -> None:
    """A row that lets nobody in, or all, would hide a permission that was forgotten."""
    open_to_all = {row.operation for row in TABLE if row.roles == ALL}
    assert not {each for each in open_to_all if each.startswith("admin.")}
    closed = {row.operation for row in TABLE if row.roles != ALL}
    assert {each for each in closed if not each.startswith("admin.")} == {
        "memories.delete",
        "memories.purge",
        "memories.bulk",
        "history.delete",
        "files.delete",
    }


@of_each_row
async def test_each_account_may_do_what_the_table_says(row: Row, world: World) -> None:
    expected: dict[tuple[str, str], str] = {}
    found: dict[tuple[str, str], str] = {}
    refused: dict[tuple[str, str], Any] = {}
    places: dict[tuple[str, str], Place] = {}
    needs = [row.operation.partition(".")[0]]
    for role in ROLES:
        for kind in row.places:
            wanted = expected[role, kind] = row.expected(role, kind)
            if wanted == "done":
                places[role, kind] = await world.new_place(role, kind, needs)
            else:
                places[role, kind] = await world.place(role, kind)
    kept = [place.memory for at, place in places.items() if expected[at] not in ("ok", "done")]
    before = await world.states(kept)
    for (role, kind), place in places.items():
        answer = await world.sockets[role].call(row.operation, row.body(place))
        found[role, kind] = outcome(answer)
        refused[role, kind] = refusal(answer)
    wrong = {at: code for at, code in found.items() if code != expected[at].replace("done", "ok")}
    assert wrong == {}
    assert await world.states(kept) == before
    if row.places == PLACES and row.expected("admin", "absent") == "404":
        for role in row.roles:
            none, *others = (
                refused[role, kind] for kind in UNSEEN if expected[role, kind] == "404"
            )
            assert all(each == none for each in others)


# What is answered to who opens a document and writes in it, over `/ws` and on `/yjs`.
READS = ("forbidden", "forbidden")
DOCUMENTS: dict[str, tuple[str, str | CloseCode]] = {
    "own": ("ack", "ack"),
    "editor": ("ack", "ack"),
    "commenter": READS,
    "viewer": READS,
    "public": READS,
    "foreign": ("not_found", CloseCode.NOT_FOUND),
    "absent": ("not_found", CloseCode.NOT_FOUND),
    "trashed": ("gone", CloseCode.GONE),
    "shared-trash": ("gone", CloseCode.GONE),
    "foreign-trash": ("not_found", CloseCode.NOT_FOUND),
}


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("role", ROLES)
async def test_a_document_is_read_and_written_by_whom_it_is_said_to(
    role: str, kind: str, world: World
) -> None:
    place, socket = await world.place(role, kind), world.sockets[role]
    over_ws, over_yjs = DOCUMENTS[kind]
    before = await world.states([place.memory])
    answer = await socket.call("documents.open", {"memoryId": place.memory})
    if isinstance(answer, frames.Error):
        assert answer.body.code == over_ws
    else:
        channel = answer.body["channel"]
        assert answer.body["canWrite"] is (over_ws == "ack")
        await socket.send(frames.Update(channel, 1, typed()))
        written = await socket.take(frames.Ack | frames.Error)  # type: ignore[arg-type]
        assert (written.body.code if isinstance(written, frames.Error) else "ack") == over_ws
        await socket.call("documents.close", {"channel": channel})
    assert await world.stock(role, place.memory) == over_yjs
    if over_ws != "ack":
        assert await world.states([place.memory]) == before


async def test_a_document_token_opens_one_document_and_nothing_else(world: World) -> None:
    own, other = await world.place("user", "own"), await world.place("user", "editor")
    token = (await world.reply("user", "documents.token", memoryId=own.memory))["token"]
    assert await world.stock("user", own.memory, token) == "ack"
    assert await world.stock("user", other.memory, token) is CloseCode.UNAUTHORIZED
    async with RawSocket(world.server.socket_url, None) as socket:
        await socket.send(frames.Hello(frames.HelloBody(token)))
        assert await socket.close_code() == CloseCode.UNAUTHORIZED


@pytest.mark.parametrize("role", ROLES)
async def test_lists_hold_what_one_is_a_member_of_and_nothing_else(role: str, world: World) -> None:
    of_members = {"own", "editor", "commenter", "viewer"}
    places = {(await world.place(role, kind)).memory: kind for kind in PLACES}
    listed = await world.reply(role, "memories.list", limit=100)
    assert {places[each["id"]] for each in listed["memories"] if each["id"] in places} == of_members
    items: list[Any] = []
    after: str | None = None
    while True:
        changes = await world.reply(role, "feed.changes", after=after, limit=500)
        items += changes["items"]
        after = changes["cursor"]
        if not changes.get("more"):
            break
    there = {item["id"] for item in items if not item.get("deleted")}
    assert {places[each] for each in there if each in places} == of_members
    # Nobody else's memory is there under any id, either.
    mine = await world.pool.fetch(
        "SELECT memory_id FROM memberships WHERE user_id = $1", UUID(world.ids[role])
    )
    memories = {item["id"] for item in items if item["kind"] == "memory"}
    gone = {item["id"] for item in items if item.get("deleted")}
    assert memories - gone <= {str(each["memory_id"]) for each in mine}


def typed() -> bytes:
    doc: Doc[Any] = Doc()
    doc.get("content", type=Text).insert(0, "a")
    return doc.get_update()


FILES = {
    # Who uploads into the memory, and who reads a file of another member's there.
    "own": ("ok", "ok"),
    "editor": ("ok", "ok"),
    "commenter": ("403", "ok"),
    "viewer": ("403", "ok"),
    "public": ("404", "404"),
    "foreign": ("404", "404"),
    "absent": ("404", "404"),
    "trashed": ("410", "404"),
    "shared-trash": ("410", "404"),
    "foreign-trash": ("404", "404"),
}


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("role", ROLES)
async def test_files_travel_over_http_as_the_socket_has_it(
    role: str, kind: str, world: World
) -> None:
    place, http = await world.place(role, kind), world.http[role]
    uploads, reads = FILES[kind]
    before = await world.states([place.memory])
    assert await world.upload(role, place.memory, str(uuid4())) == uploads
    metadata = f"memoryId {b64encode(place.memory.encode()).decode()}"
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "5", "Upload-Metadata": metadata}
    begun = await http.post("/api/uploads", headers=tus)
    assert over_http(begun) == uploads
    for path in (f"/api/files/{place.their_file}", f"/api/uploads/{place.their_file}"):
        read = await http.get(path) if "files" in path else await http.head(path, headers=tus)
        expected = reads if "files" in path else "404"
        assert (read.status_code == 200) is (expected == "ok")
        assert read.status_code in (200, 404)
    assert over_http(await http.get(f"/api/files/{place.their_file}")) == reads
    if uploads != "ok":
        assert await world.states([place.memory]) == before
    if begun.is_success:
        upload = begun.headers["Location"]
        assert (await world.http["member"].head(upload, headers=tus)).status_code == 404
        assert over_http(await world.http["member"].delete(upload, headers=tus)) == "404"
        assert over_http(await http.delete(upload, headers=tus)) == "ok"


async def test_a_link_to_a_file_reads_that_file_for_as_long_as_who_asked_may(world: World) -> None:
    own, other = (
        await world.new_place("user", "own", ["files"]),
        await world.place("user", "viewer"),
    )
    url = (await world.reply("member", "files.url", id=own.my_file))["url"]
    async with httpx.AsyncClient(base_url=world.server.url) as anyone:
        assert (await anyone.get(url)).status_code == 200
        token = url.partition("token=")[2]
        elsewhere = f"/api/files/{other.their_file}?token={token}"
        assert (await anyone.get(elsewhere)).status_code == 401
        assert (await anyone.get(url.partition("?")[0])).status_code == 401
        await world.reply("user", "sharing.remove", memoryId=own.memory, userId=own.member)
        assert (await anyone.get(url)).status_code == 404


PROTECTED = [endpoint for endpoint in ENDPOINTS if endpoint.permission is not None]


@pytest.mark.parametrize("endpoint", PROTECTED, ids=lambda endpoint: endpoint.name)
async def test_an_endpoint_that_wants_a_token_takes_no_other(
    endpoint: Endpoint, world: World
) -> None:
    own = await world.place("user", "own")
    document = (await world.reply("user", "documents.token", memoryId=own.memory))["token"]
    path = endpoint.path.replace("{id}", own.my_file)
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
    async with httpx.AsyncClient(base_url=world.server.url) as anyone:
        for bearer in (
            {},
            {"Authorization": "Bearer x.y.z"},
            {"Authorization": f"Bearer {document}"},
        ):
            answer = await anyone.request(endpoint.method, path, headers={**headers, **bearer})
            assert answer.status_code == 401, bearer
