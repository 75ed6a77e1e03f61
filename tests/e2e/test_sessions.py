"""Sessions, roles and profiles over sockets, and over two nodes that share a Redis."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio

from protocol import frames
from protocol.errors import CloseCode
from tests.conftest import fresh_database, fresh_directory
from tests.e2e.rawsocket import RawSocket
from tests.geoip import write_places
from tests.redisserver import RedisServer
from tests.serving import LocalServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "Correct-Horse-1!"
PATIENCE = 10.0  # on a busy machine; else it takes some milliseconds


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(postgres: str) -> AsyncIterator[str]:
    async with fresh_database(postgres) as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(address: str, redis: RedisServer) -> AsyncIterator[list[LocalServer]]:
    """Two nodes with the plan's tiers, that look for nothing by themselves: what they know they
    were told."""
    with fresh_directory() as directory, pytest.MonkeyPatch.context() as patch:
        places = write_places(directory / "places.mmdb", {"127.0.0.0/8": ("Lisbon", "Portugal")})
        patch.setattr("server.roster.SESSIONS_SECONDS", 600.0)
        nodes = [
            LocalServer(
                directory / name,
                address,
                REDIS_URL=redis.url,
                BLOB_URL=f"file://{directory}/blobs",
                FEATURES="tiers",
                GEOIP_DATABASE=str(places),
            )
            for name in "AB"
        ]
        for node in nodes:
            await node.start()
        yield nodes
        for node in nodes:
            await node.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(address: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(address)
    yield connection
    await connection.close()


class Device:
    """A signed-in device of an account: its tokens, and where it is signed in."""

    def __init__(self, node: LocalServer, signed_in: dict[str, Any]) -> None:
        self.node = node
        self.token: str = signed_in["accessToken"]
        self.refresh_token: str = signed_in["refreshToken"]
        self.user: dict[str, Any] = signed_in["user"]

    def socket(self) -> RawSocket:
        return RawSocket(self.node.socket_url, self.token)


async def post(node: LocalServer, path: str, body: object, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=node.url, timeout=30) as client:
        return await client.post(f"/api/auth/{path}", json=body, headers=headers)


async def sign_up(node: LocalServer, role: str, database: asyncpg.Connection) -> Device:
    email = f"{uuid4().hex}@example.com"
    body = {"email": email, "password": PASSWORD, "firstName": "Ada", "lastName": "Byron"}
    made = await post(node, "register", body)
    assert made.status_code == 201, made.text
    if role != "user":
        await database.execute("UPDATE users SET role = $2 WHERE email = $1", email, role)
    return Device(node, made.json())


async def sign_in(node: LocalServer, device: Device, agent: str = "", **more: Any) -> Device:
    body = {"email": device.user["email"], "password": PASSWORD, **more}
    made = await post(node, "login", body, **{"User-Agent": agent or "curl/8.5.0"})
    assert made.status_code == 200, made.text
    return Device(node, made.json())


async def reply(raw: RawSocket, operation: str, **body: Any) -> dict[str, Any]:
    answer = await raw.call(operation, body)
    assert isinstance(answer, frames.Reply), answer
    content: dict[str, Any] = answer.body
    return content


async def refusal(raw: RawSocket, operation: str, **body: Any) -> frames.ErrorBody:
    answer = await raw.call(operation, body)
    assert isinstance(answer, frames.Error), answer
    return answer.body


async def told_of_the_account(raw: RawSocket) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await raw.take(frames.Event)).name != "account.changed":
            pass


async def cut_off(*sockets: RawSocket) -> None:
    async with asyncio.timeout(PATIENCE):
        for raw in sockets:
            assert await raw.close_code() == CloseCode.SESSION_ENDED


# Sessions


async def test_an_account_sees_its_devices_by_name_and_only_its_own(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> None:
    first, _ = nodes
    phone = await sign_up(first, "user", database)
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    await sign_in(first, phone, firefox, rememberMe=True)
    await sign_up(first, "user", database)
    async with phone.socket() as raw:
        sessions = (await reply(raw, "sessions.list"))["sessions"]
    assert {session["device"] for session in sessions} == {"python-httpx", "Firefox on Linux"}
    [here] = [session for session in sessions if session["current"]]
    assert here["device"] == "python-httpx"
    assert here["address"] == "127.0.0.1"
    assert here["place"] == "Lisbon, Portugal"
    [there] = [session for session in sessions if not session["current"]]
    assert there["userAgent"] == firefox
    # Remembered for 30 days, the other for 7.
    assert there["expiresAt"] > here["expiresAt"] > there["createdAt"]


async def test_a_session_that_is_ended_is_cut_off_on_another_node_and_cannot_refresh(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> None:
    first, second = nodes
    laptop = await sign_up(first, "user", database)
    phone = await sign_in(second, laptop)
    async with laptop.socket() as here, phone.socket() as there, phone.socket() as again:
        [lost] = [
            session["id"]
            for session in (await reply(here, "sessions.list"))["sessions"]
            if not session["current"]
        ]
        for _ in range(2):  # a retry is answered as the first time
            assert await reply(here, "sessions.end", id=lost) == {}
        await cut_off(there, again)
        sessions = (await reply(here, "sessions.list"))["sessions"]
        assert [session["current"] for session in sessions] == [True]
    answer = await post(second, "refresh", {"refreshToken": phone.refresh_token})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "session_ended"


async def test_all_others_are_ended_at_once_and_this_one_stays(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> None:
    first, second = nodes
    laptop = await sign_up(first, "user", database)
    others = [await sign_in(node, laptop) for node in (first, second)]
    async with laptop.socket() as here, others[0].socket() as one, others[1].socket() as other:
        assert await reply(here, "sessions.end", all=True) == {}
        await cut_off(one, other)
        assert len((await reply(here, "sessions.list"))["sessions"]) == 1
        assert await reply(here, "sessions.end", all=True) == {}
    answer = await post(first, "refresh", {"refreshToken": laptop.refresh_token})
    assert answer.status_code == 200


async def test_who_ends_their_own_session_gets_the_answer_first(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> None:
    laptop = await sign_up(nodes[0], "user", database)
    async with laptop.socket() as here:
        session_id = (await reply(here, "account.me"))["sessionId"]
        assert await reply(here, "sessions.end", id=session_id) == {}
        await cut_off(here)


async def test_another_accounts_session_is_not_found_and_lives_on(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> None:
    ada, mallory = [await sign_up(nodes[0], "user", database) for _ in range(2)]
    async with ada.socket() as hers, mallory.socket() as raw:
        session_id = (await reply(hers, "account.me"))["sessionId"]
        assert (await refusal(raw, "sessions.end", id=session_id)).code == "not_found"
        assert (await refusal(raw, "sessions.end", id=str(uuid4()))).code == "not_found"
        for body in ({}, {"id": session_id, "all": True}, {"id": "x"}):
            assert (await refusal(raw, "sessions.end", **body)).code == "invalid_request"
        assert (await reply(hers, "account.me"))["sessionId"] == session_id


async def test_a_session_that_is_ended_by_hand_in_the_database_is_cut_off_at_once(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> None:
    ada = await sign_up(nodes[1], "user", database)
    async with ada.socket() as raw:
        await database.execute(
            "UPDATE sessions SET ended_at = now() WHERE user_id = $1", UUID(ada.user["id"])
        )
        await cut_off(raw)


async def test_an_account_that_is_disabled_by_hand_is_cut_off_at_once_on_every_node(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> None:
    laptop = await sign_up(nodes[0], "user", database)
    phone = await sign_in(nodes[1], laptop)
    async with laptop.socket() as one, phone.socket() as other:
        await database.execute(
            "UPDATE users SET is_active = false WHERE id = $1", UUID(laptop.user["id"])
        )
        await cut_off(one, other)
    answer = await post(nodes[0], "login", {"email": laptop.user["email"], "password": PASSWORD})
    assert answer.json()["error"]["code"] == "account_disabled"


async def test_an_account_that_is_deleted_is_cut_off_at_once(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> None:
    ada = await sign_up(nodes[0], "user", database)
    async with ada.socket() as raw:
        await database.execute("DELETE FROM users WHERE id = $1", UUID(ada.user["id"]))
        await cut_off(raw)


# Roles


async def test_a_role_that_changes_is_followed_by_open_sockets_on_every_node(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> None:
    admin = await sign_up(nodes[0], "admin", database)
    ada = await sign_up(nodes[1], "user", database)
    async with admin.socket() as raw, ada.socket() as hers:
        memory_id = str(uuid4())
        await reply(hers, "memories.create", id=memory_id)
        # In the plan's table, who pays nothing deletes nothing.
        assert (await refusal(hers, "memories.delete", id=memory_id)).code == "forbidden"
        for _ in range(2):
            given = await reply(raw, "admin.setRole", userId=ada.user["id"], role="premium")
            assert given["user"]["role"] == "premium"
        await told_of_the_account(hers)
        me = await reply(hers, "account.me")
        assert me["user"]["role"] == "premium"
        assert "delete:memories" in me["permissions"]
        assert "manage:users" not in me["permissions"]
        await reply(hers, "memories.delete", id=memory_id)
        await database.execute("UPDATE users SET role = 'user' WHERE id = $1", UUID(ada.user["id"]))
        await told_of_the_account(hers)
        assert (await refusal(hers, "memories.delete", id=memory_id)).code == "forbidden"
    # The token still claims to be a user's, and a new connection goes by what is true now.
    await database.execute("UPDATE users SET role = 'admin' WHERE id = $1", UUID(ada.user["id"]))
    async with ada.socket() as hers:
        assert "manage:users" in (await reply(hers, "account.me"))["permissions"]


async def test_an_admin_finds_disables_and_enables_accounts(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> None:
    admin = await sign_up(nodes[0], "admin", database)
    ada = await sign_up(nodes[1], "user", database)
    email, user_id = ada.user["email"], ada.user["id"]
    async with admin.socket() as raw, ada.socket() as hers:
        page = await reply(raw, "admin.users", search=email.upper(), limit=5)
        assert [user["id"] for user in page["users"]] == [user_id]
        assert page["pagination"] == {"page": 1, "limit": 5, "total": 1, "totalPages": 1}
        for _ in range(2):
            answer = await reply(raw, "admin.disable", userId=user_id)
            assert answer["user"]["isActive"] is False
        await cut_off(hers)
        for _ in range(2):
            answer = await reply(raw, "admin.enable", userId=user_id)
            assert answer["user"]["isActive"] is True
        assert (await sign_in(nodes[0], ada)).user["isActive"] is True
        # Nobody shuts themselves out.
        own = admin.user["id"]
        for operation, more in (
            ("admin.disable", {}),
            ("admin.enable", {}),
            ("admin.setRole", {"role": "user"}),
        ):
            assert (await refusal(raw, operation, userId=own, **more)).code == "conflict"
            none = str(uuid4())
            assert (await refusal(raw, operation, userId=none, **more)).code == "not_found"
        error = await refusal(raw, "admin.setRole", userId=user_id, role="god")
        assert error.code == "invalid_request"
        stats = await reply(raw, "admin.stats")
        assert stats["users"] >= 2
        assert stats["activeSessions"] >= 2
        assert stats["databaseBytes"] > 1_000_000


@pytest.mark.parametrize("role", ["user", "premium"])
async def test_nobody_but_an_admin_does_what_admins_do(
    nodes: list[LocalServer], database: asyncpg.Connection, role: str
) -> None:
    ada = await sign_up(nodes[0], role, database)
    async with ada.socket() as raw:
        for operation in ("users", "setRole", "disable", "enable", "stats"):
            assert (await refusal(raw, f"admin.{operation}")).code == "forbidden"


# The profile


async def test_a_profile_is_changed_told_to_other_devices_and_kept(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> None:
    laptop = await sign_up(nodes[0], "user", database)
    phone = await sign_in(nodes[1], laptop)
    username = f"u{uuid4().hex[:12]}"
    changes = {
        "firstName": " Augusta ",
        "username": username,
        "avatarUrl": "https://example.com/ada.png",
        "phoneNumber": "+351912345678",
        "timezone": "Europe/Lisbon",
        "language": "pt-BR",
        "themePreference": "dark",
    }
    async with laptop.socket() as here, phone.socket() as there:
        user = (await reply(here, "account.update", **changes))["user"]
        assert user.items() >= {**changes, "firstName": "Augusta", "lastName": "Byron"}.items()
        await told_of_the_account(there)
        assert (await reply(there, "account.me"))["user"] == user
        # Again changes nothing, and tells nobody.
        assert (await reply(here, "account.update", **changes))["user"] == user
        cleared = {"username": None, "avatarUrl": None, "phoneNumber": None}
        user = (await reply(here, "account.update", **cleared))["user"]
        assert user.items() >= cleared.items()
        assert user["timezone"] == "Europe/Lisbon"
    assert there.kept(frames.Event) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("firstName", " "),
        ("firstName", None),
        ("lastName", "a\x00b"),
        ("username", "a b"),
        ("username", "ada\n"),
        ("avatarUrl", "javascript:alert(1)"),
        ("avatarUrl", "https://user:password@example.com/a.png"),
        ("avatarUrl", "/api/files/x"),
        ("avatarUrl", "/api/files/00000000-0000-4000-8000-000000000000"),
        ("avatarUrl", "http://["),
        ("phoneNumber", "912345678"),
        ("phoneNumber", "+0123"),
        ("phoneNumber", "+35191234567890123"),
        ("timezone", "Lisbon"),
        ("timezone", "../../etc/passwd"),
        ("timezone", None),
        ("language", "english language"),
        ("language", "x"),
        ("themePreference", "blue"),
    ],
)
async def test_a_wrong_value_is_refused_by_its_field(
    nodes: list[LocalServer], mallory: RawSocket, field: str, value: str | None
) -> None:
    error = await refusal(mallory, "account.update", **{"language": "de", field: value})
    assert error.code == "invalid_request"
    assert error.details is not None
    assert list(error.details) == [field]
    assert (await reply(mallory, "account.me"))["user"]["language"] == "en"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mallory(
    nodes: list[LocalServer], database: asyncpg.Connection
) -> AsyncIterator[RawSocket]:
    device = await sign_up(nodes[0], "user", database)
    async with device.socket() as raw:
        yield raw


async def test_a_username_is_one_accounts_in_any_case(
    nodes: list[LocalServer], database: asyncpg.Connection, mallory: RawSocket
) -> None:
    ada = await sign_up(nodes[0], "user", database)
    name = f"u{uuid4().hex[:12]}"
    async with ada.socket() as raw:
        await reply(raw, "account.update", username=name)
    error = await refusal(mallory, "account.update", username=name.upper())
    assert error.code == "conflict"
    assert error.details is not None
    assert list(error.details) == ["username"]


async def test_an_avatar_may_be_a_file_of_ones_own(
    nodes: list[LocalServer], database: asyncpg.Connection, mallory: RawSocket
) -> None:
    ada = await sign_up(nodes[0], "user", database)
    file_id = await database.fetchval(
        "INSERT INTO files (user_id, filename, original_filename, file_type, file_size, sha256,"
        " storage_path) VALUES ($1, 'a.png', 'a.png', 'image/png', 1, '', 'a') RETURNING id",
        UUID(ada.user["id"]),
    )
    url = f"/api/files/{file_id}"
    async with ada.socket() as raw:
        answer = await reply(raw, "account.update", avatarUrl=url)
        assert answer["user"]["avatarUrl"] == url
    assert (await refusal(mallory, "account.update", avatarUrl=url)).code == "invalid_request"
