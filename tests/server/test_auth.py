"""Registering, signing in, refreshing and signing out, on a real PostgreSQL."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from argon2 import PasswordHasher

from protocol.accounts import Login, Register, SignedIn
from protocol.errors import ErrorCode, MemoError
from protocol.operation import Permission
from server.auth import Auth, normalize_email
from server.passwords import Passwords
from server.tokens import Tokens, generate_key
from storage.accounts import Accounts
from storage.keys import SigningKeys

KEY = generate_key()
NEXT_KEY = generate_key()
PASSWORD = "TestPassword123!"
ADA = Register(email="ada@example.com", password=PASSWORD, first_name="Ada", last_name="Lovelace")


class RecordingHasher(PasswordHasher):
    """A quick one that notes what it is asked to do."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.calls: list[str] = []

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.calls.append("hash")
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
        self.calls.append("verify")
        return super().verify(hash, password)


@dataclass
class Door:
    """An Auth with what stands around it."""

    pool: asyncpg.Pool
    passwords: Passwords
    tokens: Tokens
    ended: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.accounts = Accounts(self.pool)
        self.auth = Auth(self.accounts, self.tokens, self.passwords, self._note_end)

    async def _note_end(self, session_id: UUID) -> None:
        self.ended.append(session_id)

    async def register(self, request: Register = ADA) -> SignedIn:
        return await self.auth.register(request, address=None, user_agent=None)

    async def login(self, email: str = ADA.email, password: str = PASSWORD) -> SignedIn:
        request = Login(email=email, password=password)
        return await self.auth.login(request, address="192.0.2.7", user_agent="a phone")


@pytest.fixture
def hasher() -> RecordingHasher:
    return RecordingHasher()


@pytest.fixture
def door(pool: asyncpg.Pool, hasher: RecordingHasher) -> Iterator[Door]:
    passwords = Passwords(hasher)
    yield Door(pool, passwords, Tokens([KEY]))
    passwords.close()


async def code_of(refused: object) -> ErrorCode:
    with pytest.raises(MemoError) as refusal:
        await refused  # type: ignore[misc]
    return refusal.value.code


# Registering


async def test_who_registers_is_signed_in(door: Door) -> None:
    signed_in = await door.register()
    assert signed_in.expires_in == 900
    principal = await door.auth.authenticate(signed_in.access_token)
    assert principal.account_id == signed_in.user.id
    assert principal.permissions == frozenset(Permission) - {Permission.MANAGE_USERS}
    me = await door.auth.me(principal)
    assert me.user == signed_in.user
    assert me.session_id == principal.session_id
    assert me.permissions == sorted(permission.value for permission in principal.permissions)


async def test_what_is_kept_of_a_password_and_a_refresh_token_is_neither(door: Door) -> None:
    signed_in = await door.register()
    kept = await door.pool.fetchval("SELECT password_hash FROM users")
    assert kept.startswith("$argon2id$")
    tables = ("users", "sessions", "refresh_tokens")
    for table in tables:
        rows = repr(await door.pool.fetch(f"SELECT * FROM {table}"))
        assert PASSWORD not in rows
        assert signed_in.refresh_token not in rows
        assert signed_in.access_token not in rows


async def test_surrounding_blanks_are_no_part_of_address_and_names(door: Door) -> None:
    signed_in = await door.register(
        msgspec.structs.replace(ADA, email=" Ada@Example.com\n", first_name=" Ada ")
    )
    assert (signed_in.user.email, signed_in.user.first_name) == ("Ada@Example.com", "Ada")
    assert (await door.login("ada@example.COM ")).user.id == signed_in.user.id


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"email": "no address"}, ["email"]),
        ({"email": "nul\x00@example.com"}, ["email"]),
        ({"password": "short"}, ["password"]),
        ({"first_name": "  "}, ["firstName"]),
        ({"last_name": "Love\x00lace"}, ["lastName"]),
        ({"username": "ada\n"}, ["username"]),
        ({"email": "@", "password": "p", "last_name": " "}, ["email", "password", "lastName"]),
    ],
    ids=str,
)
async def test_all_that_is_wrong_with_a_registration_is_named_at_once(
    door: Door, changed: dict[str, str], fields: list[str]
) -> None:
    with pytest.raises(MemoError) as refused:
        await door.register(msgspec.structs.replace(ADA, **changed))
    assert refused.value.code is ErrorCode.INVALID_REQUEST
    assert refused.value.details is not None
    assert list(refused.value.details) == fields
    assert await door.pool.fetchval("SELECT count(*) FROM users") == 0


async def test_names_may_be_in_any_script(door: Door) -> None:
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # holds a zero-width non-joiner
    signed_in = await door.register(msgspec.structs.replace(ADA, first_name=persian))
    assert signed_in.user.first_name == persian


async def test_an_address_that_is_taken_is_a_conflict_and_starts_no_session(door: Door) -> None:
    await door.register()
    with pytest.raises(MemoError) as refused:
        await door.register(msgspec.structs.replace(ADA, email="ADA@example.com"))
    assert refused.value.code is ErrorCode.CONFLICT
    assert refused.value.details is not None
    assert "email" in refused.value.details
    assert await door.pool.fetchval("SELECT count(*) FROM sessions") == 1


async def test_of_those_who_register_one_address_at_once_one_gets_it(door: Door) -> None:
    results = await asyncio.gather(*(door.register() for _ in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, MemoError)]
    assert [error.code for error in refused] == [ErrorCode.CONFLICT] * 4


@pytest.mark.parametrize(
    "address",
    [
        "a@b.co",
        "first.last+tag@mail.example.com",
        "o'brien_{x}@example-site.org",
        "jörg@bücher.example",
        "x" * 64 + "@example.com",
    ],
)
def test_addresses_that_mail_can_reach_are_taken(address: str) -> None:
    assert normalize_email(address) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "a@",
        "@example.com",
        "a@b",
        "a@b@example.com",
        "a b@example.com",
        ".a@example.com",
        "a.@example.com",
        "a..b@example.com",
        "a@example..com",
        "a@.example.com",
        "a@example.com.",
        "a@-example.com",
        "a@example-.com",
        "a@exam ple.com",
        "a@example.com\nBcc: everyone@example.com",
        "a\x00@example.com",
        "a\u202e@example.com",
        "<a@example.com>",
        "x" * 250 + "@example.com",
        "a@" + "b" * 100_000,
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_what_is_no_address_is_not_taken(text: str) -> None:
    assert normalize_email(text) is None


# Signing in


async def test_a_login_starts_a_session_of_its_own(door: Door) -> None:
    first = await door.register()
    second = await door.login()
    assert second.user.id == first.user.id
    assert second.user.last_login_at is not None
    sessions = {
        (await door.auth.authenticate(token)).session_id
        for token in (first.access_token, second.access_token)
    }
    assert len(sessions) == 2
    kept = await door.pool.fetchrow("SELECT * FROM sessions WHERE address = '192.0.2.7'")
    assert kept is not None
    assert kept["user_agent"] == "a phone"


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ada@example.com", "WrongPassword123!"),
        ("nobody@example.com", PASSWORD),
        ("not an address", PASSWORD),
        ("nul\x00@example.com", PASSWORD),
        ("without@example.com", PASSWORD),
    ],
    ids=["wrong password", "unknown", "no address", "nul", "no password set"],
)
async def test_who_cannot_sign_in_does_not_learn_why(
    door: Door, hasher: RecordingHasher, email: str, password: str
) -> None:
    await door.register()
    await door.accounts.create(email="without@example.com", password_hash=None)
    hasher.calls.clear()
    with pytest.raises(MemoError) as refused:
        await door.login(email, password)
    error = refused.value
    assert (error.code, error.message, error.details, error.retry_after) == (
        ErrorCode.INVALID_CREDENTIALS,
        ErrorCode.INVALID_CREDENTIALS.meaning,
        None,
        None,
    )
    # One round of argon2 each time, whether there is an account or not.
    assert len(hasher.calls) == 1


async def test_only_who_knows_the_password_learns_that_an_account_is_disabled(door: Door) -> None:
    await door.register()
    await door.auth.disable_user(ADA.email)
    assert await code_of(door.login()) is ErrorCode.ACCOUNT_DISABLED
    wrong = door.login(password="WrongPassword123!")
    assert await code_of(wrong) is ErrorCode.INVALID_CREDENTIALS


async def test_a_login_renews_a_hash_of_old_parameters(door: Door) -> None:
    await door.register()
    old = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(PASSWORD)
    await door.pool.execute("UPDATE users SET password_hash = $1", old)
    await door.login()
    renewed = await door.pool.fetchval("SELECT password_hash FROM users")
    assert renewed != old
    assert not door.passwords.outdated(renewed)
    await door.login()
    assert await door.pool.fetchval("SELECT password_hash FROM users") == renewed


# Refreshing


async def test_a_refresh_gives_new_tokens_of_the_same_session(door: Door) -> None:
    signed_in = await door.register()
    refreshed = await door.auth.refresh(signed_in.refresh_token)
    assert refreshed.refresh_token != signed_in.refresh_token
    assert refreshed.expires_in == 900
    before = await door.auth.authenticate(signed_in.access_token)
    after = await door.auth.authenticate(refreshed.access_token)
    assert before.session_id == after.session_id
    assert door.ended == []
    await door.auth.refresh(refreshed.refresh_token)


@pytest.mark.parametrize("token", ["", "made up", "\x00", "é" * 1000])
async def test_a_refresh_token_that_is_not_ours_is_unauthorized(door: Door, token: str) -> None:
    assert await code_of(door.auth.refresh(token)) is ErrorCode.UNAUTHORIZED


async def test_a_spent_refresh_token_ends_the_session_for_thief_and_owner(door: Door) -> None:
    signed_in = await door.register()
    principal = await door.auth.authenticate(signed_in.access_token)
    refreshed = await door.auth.refresh(signed_in.refresh_token)

    assert await code_of(door.auth.refresh(signed_in.refresh_token)) is ErrorCode.SESSION_ENDED
    assert door.ended == [principal.session_id]
    assert await code_of(door.auth.refresh(refreshed.refresh_token)) is ErrorCode.SESSION_ENDED
    for token in (signed_in.access_token, refreshed.access_token):
        assert await code_of(door.auth.authenticate(token)) is ErrorCode.SESSION_ENDED
    assert door.ended == [principal.session_id]


async def test_of_two_refreshes_at_once_one_wins_and_the_other_ends_the_session(
    door: Door,
) -> None:
    for _ in range(5):
        signed_in = await door.login() if door.ended else await door.register()
        results = await asyncio.gather(
            door.auth.refresh(signed_in.refresh_token),
            door.auth.refresh(signed_in.refresh_token),
            return_exceptions=True,
        )
        refused = [result for result in results if isinstance(result, MemoError)]
        assert [error.code for error in refused] == [ErrorCode.SESSION_ENDED]
        ended = await code_of(door.auth.authenticate(signed_in.access_token))
        assert ended is ErrorCode.SESSION_ENDED
    assert len(set(door.ended)) == 5


async def test_a_disabled_account_is_not_refreshed(door: Door) -> None:
    signed_in = await door.register()
    await door.pool.execute("UPDATE users SET is_active = false")
    refused = await code_of(door.auth.refresh(signed_in.refresh_token))
    assert refused is ErrorCode.ACCOUNT_DISABLED


# Signing out


async def test_signing_out_by_refresh_token_ends_the_session_once(door: Door) -> None:
    signed_in = await door.register()
    principal = await door.auth.authenticate(signed_in.access_token)
    for _ in range(2):
        await door.auth.logout(signed_in.refresh_token, None)
    assert door.ended == [principal.session_id]
    assert await code_of(door.auth.refresh(signed_in.refresh_token)) is ErrorCode.SESSION_ENDED
    ended = await code_of(door.auth.authenticate(signed_in.access_token))
    assert ended is ErrorCode.SESSION_ENDED


async def test_signing_out_by_access_token_ends_that_session_alone(door: Door) -> None:
    first, second = await door.register(), await door.login()
    principal = await door.auth.authenticate(first.access_token)
    await door.auth.logout(None, principal)
    await door.auth.logout(None, principal)
    assert door.ended == [principal.session_id]
    await door.auth.authenticate(second.access_token)


@pytest.mark.parametrize("token", [None, "made up"])
async def test_signing_out_of_nothing_is_harmless(door: Door, token: str | None) -> None:
    await door.auth.logout(token, None)
    assert door.ended == []


# Authenticating


async def test_a_session_that_is_unknown_or_another_accounts_is_over(door: Door) -> None:
    ada = await door.register()
    bob = await door.register(msgspec.structs.replace(ADA, email="bob@example.com"))
    principal = await door.auth.authenticate(ada.access_token)
    for user, session_id in ((ada.user, uuid4()), (bob.user, principal.session_id)):
        token, _ = door.tokens.issue_access(user, session_id)
        assert await code_of(door.auth.authenticate(token)) is ErrorCode.SESSION_ENDED


async def test_disabling_an_account_ends_its_sessions_for_good(door: Door) -> None:
    first, second = await door.register(), await door.login()
    sessions = [
        (await door.auth.authenticate(token)).session_id
        for token in (first.access_token, second.access_token)
    ]
    user = await door.auth.disable_user("ADA@example.com")
    assert not user.is_active
    assert sorted(door.ended) == sorted(sessions)
    refused = await code_of(door.auth.authenticate(first.access_token))
    assert refused is ErrorCode.ACCOUNT_DISABLED

    assert (await door.auth.enable_user(ADA.email)).is_active
    refused = await code_of(door.auth.authenticate(first.access_token))
    assert refused is ErrorCode.SESSION_ENDED
    await door.login()


@pytest.mark.parametrize("email", ["nobody@example.com", "no address", "\x00"])
async def test_only_an_account_that_exists_is_disabled_or_enabled(door: Door, email: str) -> None:
    assert await code_of(door.auth.disable_user(email)) is ErrorCode.NOT_FOUND
    assert await code_of(door.auth.enable_user(email)) is ErrorCode.NOT_FOUND


async def test_a_document_token_is_good_until_the_session_is_ended(door: Door) -> None:
    signed_in, memory_id = await door.register(), uuid4()
    principal = await door.auth.authenticate(signed_in.access_token)
    token, _ = door.tokens.issue_document(principal, memory_id, 30 * 86_400)

    # A client that holds nothing else cannot refresh, so the session may have run out.
    await door.pool.execute("UPDATE sessions SET expires_at = now() - interval '1 day'")
    document = await door.auth.authenticate_document(token, memory_id)
    assert (document.account_id, document.document_id) == (principal.account_id, memory_id)
    assert await code_of(door.auth.authenticate(token)) is ErrorCode.UNAUTHORIZED
    other = door.auth.authenticate_document(token, uuid4())
    assert await code_of(other) is ErrorCode.UNAUTHORIZED
    expired = door.auth.authenticate_document(signed_in.access_token, memory_id)
    assert await code_of(expired) is ErrorCode.SESSION_ENDED

    await door.auth.logout(None, principal)
    ended = door.auth.authenticate_document(token, memory_id)
    assert await code_of(ended) is ErrorCode.SESSION_ENDED


async def test_a_database_that_is_away_is_unavailable_and_says_nothing_of_the_token(
    door: Door,
) -> None:
    signed_in = await door.register()
    door.pool.terminate()
    for asked in (
        door.auth.authenticate(signed_in.access_token),
        door.auth.authenticate_document(signed_in.access_token, uuid4()),
    ):
        assert await code_of(asked) is ErrorCode.UNAVAILABLE


async def test_me_of_an_account_that_was_deleted_is_not_found(door: Door) -> None:
    principal = await door.auth.authenticate((await door.register()).access_token)
    await door.pool.execute("DELETE FROM users")
    assert await code_of(door.auth.me(principal)) is ErrorCode.NOT_FOUND


async def test_a_token_of_a_key_rotated_in_elsewhere_is_known_here(
    door: Door, hasher: RecordingHasher
) -> None:
    table = SigningKeys(door.pool)
    now = 1_800_000_000.0

    def clock() -> float:
        return now

    here = Tokens(await table.ensure(lambda: KEY), table.current, clock=clock, ticks=clock)
    node = Door(door.pool, door.passwords, here)
    signed_in = await node.register()
    principal = await node.auth.authenticate(signed_in.access_token)
    await table.rotate(NEXT_KEY, keep=timedelta(days=31))
    now += 2
    elsewhere = Tokens(await table.current(), clock=clock)
    token, _ = elsewhere.issue_access(signed_in.user, principal.session_id)
    assert await node.auth.authenticate(token) == elsewhere.verify(token)
    assert (await node.auth.authenticate(signed_in.access_token)) == principal


# Users


async def test_users_are_created_without_signing_them_in_and_listed_oldest_first(
    door: Door,
) -> None:
    admin = await door.auth.create_user(ADA, role="admin")
    bob = await door.auth.create_user(msgspec.structs.replace(ADA, email="bob@example.com"))
    assert (admin.role, bob.role) == ("admin", "user")
    assert await door.auth.list_users() == [admin, bob]
    assert await door.auth.list_users(limit=1) == [admin]
    assert await door.pool.fetchval("SELECT count(*) FROM sessions") == 0
