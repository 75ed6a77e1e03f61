"""Two-factor: a code works once, wrong ones are counted, and the secret is kept sealed."""

import asyncio
import secrets
from argparse import Namespace
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pyotp
import pytest

from protocol.accounts import Login
from protocol.errors import ErrorCode, MemoError
from server import cli
from server.auth import Auth
from server.config import Settings
from tests.server.identity.doorway import PASSWORD, Doorway

ADA = "ada@example.com"


@pytest.fixture
async def door(pool: asyncpg.Pool) -> AsyncIterator[Doorway]:
    door = Doorway(pool, [secrets.token_bytes(32)])
    yield door
    door.passwords.close()


async def refusal(awaited: object) -> MemoError:
    with pytest.raises(MemoError) as refused:
        await awaited  # type: ignore[misc]
    return refused.value


class Phone:
    """An authenticator: the secret, and codes of the doorway's time."""

    def __init__(self, door: Doorway, user_id: UUID, secret: str) -> None:
        self._door = door
        self.user_id = user_id
        self.secret = secret

    def code(self, seconds: float = 0.0) -> str:
        return pyotp.TOTP(self.secret).at(int(self._door.now + seconds))


async def turned_on(door: Doorway) -> tuple[Phone, list[str]]:
    user = await door.account()
    secret, _ = await door.two_factor.propose(user.id, user.email)
    phone = Phone(door, user.id, secret)
    codes = await door.two_factor.confirm(user.id, phone.code())
    door.now += 60
    return phone, codes


async def login(auth: Auth, code: str | None = None, password: str = PASSWORD) -> None:
    request = Login(email=ADA, password=password, code=code)
    await auth.login(request, address=None, user_agent=None)


async def test_the_address_for_a_qr_code_names_the_account_and_holds_the_secret(
    door: Doorway,
) -> None:
    user = await door.account()
    secret, uri = await door.two_factor.propose(user.id, user.email)
    read = pyotp.parse_uri(uri)
    assert (read.secret, read.name, read.issuer) == (secret, ADA, "Memory App")


async def test_a_login_asks_for_the_code_only_once_the_password_is_right(door: Doorway) -> None:
    phone, _ = await turned_on(door)
    assert (await refusal(login(door.auth))).code is ErrorCode.TWO_FACTOR_REQUIRED
    wrong = await refusal(login(door.auth, phone.code(), password="Wrong-Horse-1!"))
    assert wrong.code is ErrorCode.INVALID_CREDENTIALS
    assert not wrong.details
    await login(door.auth, phone.code())


async def test_nothing_is_asked_for_before_the_secret_is_confirmed(door: Doorway) -> None:
    user = await door.account()
    await door.two_factor.propose(user.id, user.email)
    await login(door.auth)
    assert not await door.two_factor.enabled(user.id)
    secret, _ = await door.two_factor.propose(user.id, user.email)
    await door.two_factor.confirm(user.id, Phone(door, user.id, secret).code())
    assert await door.two_factor.enabled(user.id)


async def test_a_code_works_once_and_so_does_the_one_that_confirmed(door: Doorway) -> None:
    user = await door.account()
    secret, _ = await door.two_factor.propose(user.id, user.email)
    phone = Phone(door, user.id, secret)
    await door.two_factor.confirm(user.id, phone.code())
    assert (await refusal(login(door.auth, phone.code()))).code is ErrorCode.INVALID_CREDENTIALS
    door.now += 30
    code = phone.code()
    results = await asyncio.gather(
        *(login(door.auth, code) for _ in range(3)), return_exceptions=True
    )
    assert sum(result is None for result in results) == 1


async def test_a_clock_may_be_off_by_one_step_and_no_more(door: Doorway) -> None:
    phone, _ = await turned_on(door)
    door.now = door.now // 30 * 30 + 15
    await door.two_factor.check(phone.user_id, phone.code(-30))
    await door.two_factor.check(phone.user_id, phone.code(30))
    # What is before the last one used is used too.
    for seconds in (-60, 60, 0):
        wrong = await refusal(door.two_factor.check(phone.user_id, phone.code(seconds)))
        assert wrong.code is ErrorCode.INVALID_CREDENTIALS


@pytest.mark.parametrize("code", ["000000x", "12345", "١٢٣٤٥٦", "aaaa-aaaa-aaaa-aaaa", "é" * 6])
async def test_what_is_no_code_is_wrong_and_nothing_worse(door: Doorway, code: str) -> None:
    phone, _ = await turned_on(door)
    wrong = await refusal(door.two_factor.check(phone.user_id, code))
    assert wrong.code is ErrorCode.INVALID_CREDENTIALS
    assert wrong.details is not None
    assert "code" in wrong.details


async def test_a_code_may_be_typed_with_blanks(door: Doorway) -> None:
    phone, _ = await turned_on(door)
    code = phone.code()
    await door.two_factor.check(phone.user_id, f" {code[:3]} {code[3:]} ")


async def test_a_recovery_code_stands_in_once(door: Doorway) -> None:
    phone, codes = await turned_on(door)
    assert len(set(codes)) == 10
    await door.two_factor.check(phone.user_id, codes[0].upper())
    assert await door.two_factor.recovery_codes_left(phone.user_id) == 9
    again = await refusal(door.two_factor.check(phone.user_id, codes[0]))
    assert again.code is ErrorCode.INVALID_CREDENTIALS
    results = await asyncio.gather(
        *(door.two_factor.check(phone.user_id, codes[1]) for _ in range(3)), return_exceptions=True
    )
    assert sum(result is None for result in results) == 1


async def test_five_wrong_codes_lock_the_second_step_over_restarts_for_a_quarter_of_an_hour(
    door: Doorway, pool: asyncpg.Pool
) -> None:
    phone, codes = await turned_on(door)
    results = await asyncio.gather(
        *(login(door.auth, "000000") for _ in range(8)), return_exceptions=True
    )
    refused = [result.code for result in results if isinstance(result, MemoError)]
    assert refused.count(ErrorCode.INVALID_CREDENTIALS) == 5
    assert refused.count(ErrorCode.RATE_LIMITED) == 3
    again = Doorway(pool)
    locked = await refusal(login(again.auth, phone.code()))
    again.passwords.close()
    assert locked.code is ErrorCode.RATE_LIMITED
    assert locked.retry_after is not None
    assert 800 < locked.retry_after <= 900
    assert (await refusal(login(door.auth, codes[0]))).code is ErrorCode.RATE_LIMITED
    # Who does not know the password learns nothing of it, and locks nobody out.
    wrong = await refusal(login(door.auth, phone.code(), password="Wrong-Horse-1!"))
    assert wrong.code is ErrorCode.INVALID_CREDENTIALS
    await pool.execute("UPDATE guesses SET since = since - interval '15 minutes'")
    await login(door.auth, phone.code())
    assert await pool.fetchval("SELECT count(*) FROM guesses") == 0


async def test_neither_secret_nor_recovery_codes_are_kept_as_they_are(
    door: Doorway, pool: asyncpg.Pool
) -> None:
    phone, codes = await turned_on(door)
    kept = repr(await pool.fetch("SELECT * FROM two_factor"))
    kept += repr(await pool.fetch("SELECT * FROM recovery_codes"))
    assert phone.secret not in kept
    for code in codes:
        assert code not in kept
        assert code.replace("-", "") not in kept


async def test_a_secret_is_sealed_anew_when_the_key_changes(
    door: Doorway, pool: asyncpg.Pool
) -> None:
    bare = Doorway(pool)
    phone, _ = await turned_on(bare)
    door.now = bare.now
    before = await pool.fetchval("SELECT secret FROM two_factor")
    assert phone.secret.encode() in before
    await door.two_factor.check(phone.user_id, phone.code())
    assert phone.secret.encode() not in await pool.fetchval("SELECT secret FROM two_factor")
    door.now += 30
    bare.now = door.now
    await door.two_factor.check(phone.user_id, phone.code())
    lost = await refusal(bare.two_factor.check(phone.user_id, phone.code(30)))
    assert lost.code is ErrorCode.INTERNAL
    bare.passwords.close()


async def test_turned_on_it_is_neither_proposed_nor_confirmed_again(door: Doorway) -> None:
    phone, _ = await turned_on(door)
    proposed = await refusal(door.two_factor.propose(phone.user_id, ADA))
    assert proposed.code is ErrorCode.CONFLICT
    confirmed = await refusal(door.two_factor.confirm(phone.user_id, phone.code()))
    assert confirmed.code is ErrorCode.CONFLICT
    grace = await door.account("grace@example.com")
    early = await refusal(door.two_factor.confirm(grace.id, "123456"))
    assert early.code is ErrorCode.CONFLICT


async def test_turned_off_nothing_is_left_of_it(door: Doorway, pool: asyncpg.Pool) -> None:
    phone, _ = await turned_on(door)
    assert await door.two_factor.remove(phone.user_id)
    assert not await door.two_factor.remove(phone.user_id)
    await login(door.auth)
    assert await pool.fetchval("SELECT count(*) FROM recovery_codes") == 0


async def test_an_operator_turns_it_off_for_who_has_lost_their_codes(
    door: Doorway, emptied: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await turned_on(door)
    settings = Settings(database_url=emptied)
    for said in ("is off now", "was off already"):
        await cli._turn_two_factor_off(settings, Namespace(email=ADA.upper()))
        assert said in capsys.readouterr().out
    await login(door.auth)
    with pytest.raises(cli.CommandError, match="no active account"):
        await cli._turn_two_factor_off(settings, Namespace(email="nobody@example.com"))
