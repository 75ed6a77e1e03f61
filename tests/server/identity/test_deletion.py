"""Who may delete an account: its password, its second factor, or a code by mail."""

import secrets
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pyotp
import pytest

from protocol.errors import ErrorCode, MemoError
from server.identity.deletion import Confirmation
from server.mail.message import Message
from server.mail.post import CODE_LENGTH
from storage.guesses import MAX_GUESSES
from tests.server.identity.doorway import PASSWORD, Doorway


@pytest.fixture
async def door(pool: asyncpg.Pool) -> AsyncIterator[Doorway]:
    door = Doorway(pool, [secrets.token_bytes(32)])
    yield door
    door.passwords.close()


@pytest.fixture
def confirmation(door: Doorway) -> Confirmation:
    return Confirmation(
        door.accounts,
        door.tokens,
        guard=door.guard,
        two_factor=door.two_factor,
        guesses=door.guesses,
        post=door.post,
    )


async def refusal(awaited: object) -> ErrorCode:
    with pytest.raises(MemoError) as refused:
        await awaited  # type: ignore[misc]
    return refused.value.code


def code_in(letter: Message) -> str:
    [code] = [each for each in letter.paragraphs if len(str(each)) == CODE_LENGTH]
    return str(code)


async def forget_pause(door: Doorway, user_id: UUID) -> None:
    await door.pool.execute(
        "UPDATE email_tokens SET created_at = created_at - interval '2 minutes' WHERE user_id = $1",
        user_id,
    )


async def test_two_factor_is_asked_for_beside_the_password(
    door: Doorway, confirmation: Confirmation
) -> None:
    user = await door.account()
    secret, _ = await door.two_factor.propose(user.id, user.email)
    await door.two_factor.confirm(user.id, pyotp.TOTP(secret).at(int(door.now)))
    door.now += 60
    code = pyotp.TOTP(secret).at(int(door.now))
    required = ErrorCode.TWO_FACTOR_REQUIRED
    assert await refusal(confirmation.check(user.id, PASSWORD, None)) is required
    wrong = ErrorCode.INVALID_CREDENTIALS
    assert await refusal(confirmation.check(user.id, "Wrong-1!", code)) is wrong
    assert await refusal(confirmation.check(user.id, PASSWORD, "000000")) is wrong
    await confirmation.check(user.id, PASSWORD, code)


async def test_an_account_without_a_password_gets_a_code_by_mail(
    door: Doorway, confirmation: Confirmation
) -> None:
    user = await door.account(password=False)
    await confirmation.send_code(user.id)
    [letter] = await door.mail()
    assert letter.to == user.email
    code = code_in(letter)
    missing, wrong = ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_CREDENTIALS
    assert await refusal(confirmation.check(user.id, PASSWORD, None)) is missing
    assert await refusal(confirmation.check(user.id, None, "A" * CODE_LENGTH)) is wrong
    # As people type it.
    await confirmation.check(user.id, None, f"{code[:5].lower()} {code[5:]}")


async def test_a_code_is_good_for_its_account_alone_and_for_an_hour(
    door: Doorway, confirmation: Confirmation
) -> None:
    ada = await door.account(password=False)
    eve = await door.account("eve@example.com", password=False)
    await confirmation.send_code(ada.id)
    [letter] = await door.mail()
    wrong = ErrorCode.INVALID_CREDENTIALS
    assert await refusal(confirmation.check(eve.id, None, code_in(letter))) is wrong
    await door.pool.execute("UPDATE email_tokens SET expires_at = now()")
    assert await refusal(confirmation.check(ada.id, None, code_in(letter))) is wrong


async def test_codes_are_sent_with_pauses_and_guesses_are_counted(
    door: Doorway, confirmation: Confirmation
) -> None:
    user = await door.account(password=False)
    for _ in range(5):
        await confirmation.send_code(user.id)
        assert len(await door.mail()) == 1
        assert await refusal(confirmation.send_code(user.id)) is ErrorCode.RATE_LIMITED
        await forget_pause(door, user.id)
    assert await refusal(confirmation.send_code(user.id)) is ErrorCode.RATE_LIMITED
    for _ in range(MAX_GUESSES):
        guess = confirmation.check(user.id, None, "A" * CODE_LENGTH)
        assert await refusal(guess) is ErrorCode.INVALID_CREDENTIALS
    guess = confirmation.check(user.id, None, "A" * CODE_LENGTH)
    assert await refusal(guess) is ErrorCode.RATE_LIMITED
