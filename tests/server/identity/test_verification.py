"""Links in messages: what they prove, once, to whom, and what nobody can learn from them."""

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pyotp
import pytest
from structlog.testing import capture_logs

from protocol.accounts import Login, Register
from protocol.errors import ErrorCode, MemoError
from server.mail.texts import Notice
from storage.identities import Claimed
from tests.server.identity.doorway import PASSWORD, Doorway

ADA = "ada@example.com"
NEXT = "Another-Horse-2!"


async def refusal(awaited: object) -> MemoError:
    with pytest.raises(MemoError) as refused:
        await awaited  # type: ignore[misc]
    return refused.value


async def signs_in(door: Doorway, password: str, email: str = ADA) -> bool:
    request = Login(email=email, password=password)
    login = door.auth.login(request, address=None, user_agent=None)
    [result] = await asyncio.gather(login, return_exceptions=True)
    if isinstance(result, MemoError):
        assert result.code is ErrorCode.INVALID_CREDENTIALS
    return not isinstance(result, BaseException)


# Verifying


async def test_who_registers_is_sent_a_link_that_proves_the_address(door: Doorway) -> None:
    request = Register(email=ADA, password=PASSWORD, first_name="Ada", last_name="Byron")
    signed_in = await door.auth.register(request, address=None, user_agent=None)
    assert not signed_in.user.is_verified
    token = await door.link("verify")
    assert (await door.verification.verify(token)).is_verified
    # A page may be loaded twice.
    assert (await door.verification.verify(token)).id == signed_in.user.id


@pytest.mark.parametrize("token", ["", "x", "x" * 100_000, "\x00", "é"])
async def test_a_made_up_token_proves_nothing(door: Doorway, token: str) -> None:
    refused = await refusal(door.verification.verify(token))
    assert refused.code is ErrorCode.INVALID_REQUEST
    assert refused.details is not None
    assert list(refused.details) == ["token"]
    assert (await refusal(door.verification.reset(token, NEXT))).details == refused.details


async def test_a_link_is_good_for_a_day(door: Doorway, pool: asyncpg.Pool) -> None:
    user = await door.account()
    await door.post.verification(user.id, ADA)
    token = await door.link("verify")
    await pool.execute("UPDATE email_tokens SET expires_at = expires_at - interval '1 day'")
    assert (await refusal(door.verification.verify(token))).code is ErrorCode.INVALID_REQUEST


async def test_a_link_for_one_thing_is_not_good_for_the_other(door: Doorway) -> None:
    user = await door.account()
    await door.post.verification(user.id, ADA)
    proof = await door.link("verify")
    await door.verification.forgot(ADA)
    reset = await door.link("reset")
    assert (await refusal(door.verification.reset(proof, NEXT))).code is ErrorCode.INVALID_REQUEST
    assert (await refusal(door.verification.verify(reset))).code is ErrorCode.INVALID_REQUEST


async def test_the_message_is_sent_again_at_most_once_a_minute_and_ten_times_a_day(
    door: Doorway, pool: asyncpg.Pool
) -> None:
    me = await door.session(await door.account())
    await door.verification.send_again(me)
    first = await door.link("verify")
    refused = await refusal(door.verification.send_again(me))
    assert refused.code is ErrorCode.RATE_LIMITED
    assert refused.retry_after is not None
    assert 50 < refused.retry_after <= 60
    for _ in range(9):
        await pool.execute("UPDATE email_tokens SET created_at = created_at - interval '2 minutes'")
        await door.verification.send_again(me)
        await door.link("verify")
    await pool.execute("UPDATE email_tokens SET created_at = created_at - interval '2 minutes'")
    assert (await refusal(door.verification.send_again(me))).code is ErrorCode.RATE_LIMITED
    await door.verification.verify(first)
    await door.verification.send_again(me)  # a proven address needs no message
    assert await door.mail() == []


# A password that was forgotten


async def test_a_link_sets_a_password_once_ends_all_sessions_and_proves_the_address(
    door: Doorway,
) -> None:
    user = await door.account()
    sessions = {(await door.session(user)).session_id for _ in range(2)}
    await door.verification.forgot(" ADA@example.com ")
    token = await door.link("reset")
    results = await asyncio.gather(
        *(door.verification.reset(token, NEXT) for _ in range(3)), return_exceptions=True
    )
    assert sum(result is None for result in results) == 1
    assert set(door.ended) == sessions
    assert not await signs_in(door, PASSWORD)
    assert await signs_in(door, NEXT)
    after = await door.accounts.user(user.id)
    assert after is not None
    assert after.is_verified
    [notice] = await door.mail()
    assert notice.to == ADA
    assert Notice.RESET.value in notice.text


async def test_a_weak_password_is_refused_and_leaves_the_link_good(door: Doorway) -> None:
    await door.account()
    await door.verification.forgot(ADA)
    token = await door.link("reset")
    weak = await refusal(door.verification.reset(token, "short"))
    assert weak.details is not None
    assert list(weak.details) == ["password"]
    await door.verification.reset(token, NEXT)


async def test_a_link_to_set_a_password_is_good_for_an_hour_and_older_ones_die_with_it(
    door: Doorway, pool: asyncpg.Pool
) -> None:
    await door.account()
    await door.verification.forgot(ADA)
    first = await door.link("reset")
    left = await pool.fetchval("SELECT expires_at - now() FROM email_tokens")
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    await door.verification.forgot(ADA)
    second = await door.link("reset")
    await door.verification.reset(second, NEXT)
    assert (await refusal(door.verification.reset(first, PASSWORD))).code is (
        ErrorCode.INVALID_REQUEST
    )


async def test_asking_for_a_link_leaves_the_same_traces_whether_there_is_an_account(
    door: Doorway, pool: asyncpg.Pool
) -> None:
    await door.account()
    disabled = await door.account("off@example.com")
    await door.accounts.set_active(disabled.email, False)
    for email in (ADA, "nobody@example.com", disabled.email):
        await door.verification.forgot(email)
    rows = await pool.fetch("SELECT kind, attempts, length(content) AS size FROM outgoing_mail")
    assert len(rows) == 3
    assert len({tuple(row) for row in rows}) == 1
    await door.verification.forgot("no address")
    assert [letter.to for letter in await door.mail()] == [ADA]
    assert await pool.fetchval("SELECT count(*) FROM outgoing_mail") == 0


async def test_nobody_is_flooded_with_links_nor_left_without_a_good_one(
    door: Doorway, pool: asyncpg.Pool
) -> None:
    await door.account()
    for _ in range(8):
        await door.verification.forgot(ADA)
    letters = await door.mail()
    assert len(letters) == 5
    await pool.execute("UPDATE email_tokens SET created_at = created_at - interval '59 minutes'")
    await door.verification.forgot(ADA)
    assert await door.mail() == []
    await pool.execute("UPDATE email_tokens SET created_at = created_at - interval '1 minute'")
    await door.verification.forgot(ADA)
    await door.verification.reset(await door.link("reset"), NEXT)


async def test_an_account_without_a_password_gets_one_by_a_link(door: Doorway) -> None:
    user = await door.account(password=False)
    me = await door.session(user)
    none = await refusal(door.verification.change_password(me, PASSWORD, NEXT))
    assert none.code is ErrorCode.INVALID_CREDENTIALS
    await door.verification.forgot(ADA)
    await door.verification.reset(await door.link("reset"), NEXT)
    assert await signs_in(door, NEXT)


async def test_no_table_and_no_log_line_holds_a_token(door: Doorway, pool: asyncpg.Pool) -> None:
    with capture_logs() as lines:
        user = await door.account()
        await door.post.verification(user.id, ADA)
        proof = await door.link("verify")
        await door.verification.forgot(ADA)
        reset = await door.link("reset")
        await door.verification.verify(proof)
        await door.verification.reset(reset, NEXT)
    kept = repr(await pool.fetch("SELECT * FROM email_tokens"))
    for token in (proof, reset):
        assert token not in kept
        assert token not in repr(lines)
    assert ADA not in repr(lines)


# Changes by who is signed in


async def test_a_changed_password_ends_the_other_sessions_and_open_links(door: Doorway) -> None:
    user = await door.account()
    me, other = await door.session(user), await door.session(user)
    await door.verification.forgot(ADA)
    link = await door.link("reset")
    await door.verification.change_password(me, PASSWORD, NEXT)
    assert door.ended == [other.session_id]
    assert await signs_in(door, NEXT)
    assert (await refusal(door.verification.reset(link, PASSWORD))).code is (
        ErrorCode.INVALID_REQUEST
    )
    [notice] = await door.mail()
    assert Notice.RESET.value in notice.text


async def test_a_wrong_password_changes_nothing_and_few_are_looked_at(door: Doorway) -> None:
    me = await door.session(await door.account())
    results = await asyncio.gather(
        *(door.verification.change_password(me, "Wrong-Horse-1!", NEXT) for _ in range(7)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, MemoError)]
    assert [list(error.details or {}) for error in refused].count(["currentPassword"]) == 5
    assert [error.code for error in refused].count(ErrorCode.RATE_LIMITED) == 2
    right = await refusal(door.verification.change_password(me, PASSWORD, NEXT))
    assert right.code is ErrorCode.RATE_LIMITED
    assert await signs_in(door, PASSWORD)


async def test_a_new_address_is_the_accounts_once_it_is_proven(door: Doorway) -> None:
    user = await door.account()
    me = await door.session(user)
    await door.verification.forgot(ADA)
    old_link = await door.link("reset")
    await door.verification.change_email(me, PASSWORD, "ada@new.example.com")
    [letter] = await door.mail()
    assert letter.to == "ada@new.example.com"
    before = await door.accounts.user(user.id)
    assert before is not None
    assert before.email == ADA
    token = letter.text.partition("#")[2].split()[0]
    after = await door.verification.verify(token)
    assert (after.email, after.is_verified) == ("ada@new.example.com", True)
    [notice] = await door.mail()
    assert notice.to == ADA
    assert Notice.EMAIL_CHANGED.value in notice.text
    # Who reads the old address has no say any more.
    assert (await refusal(door.verification.reset(old_link, NEXT))).code is (
        ErrorCode.INVALID_REQUEST
    )


async def test_a_mistyped_address_is_corrected_at_once_and_no_address_gets_two_in_a_minute(
    door: Doorway,
) -> None:
    request = Register(email="adda@example.com", password=PASSWORD, first_name="A", last_name="B")
    signed_in = await door.auth.register(request, address=None, user_agent=None)
    await door.link("verify")
    me = await door.session(signed_in.user)
    await door.verification.change_email(me, PASSWORD, ADA)
    token = await door.link("verify")
    again = await refusal(door.verification.change_email(me, PASSWORD, ADA.upper()))
    assert again.code is ErrorCode.RATE_LIMITED
    assert (await door.verification.verify(token)).email == ADA


async def test_an_address_of_somebody_else_is_neither_taken_nor_told(door: Doorway) -> None:
    me = await door.session(await door.account())
    await door.account("grace@example.com")
    await door.verification.change_email(me, PASSWORD, "Grace@example.com")
    assert await door.mail() == []
    # It may become somebody else's while the message is on its way.
    await door.verification.change_email(me, PASSWORD, "late@example.com")
    token = await door.link("verify")
    await door.account("late@example.com")
    assert (await refusal(door.verification.verify(token))).code is ErrorCode.CONFLICT


@pytest.mark.parametrize("email", ["nobody", "a@b\nBcc: c@d.example", "a@b@c"])
async def test_a_new_address_has_to_be_one(door: Doorway, email: str) -> None:
    me = await door.session(await door.account())
    refused = await refusal(door.verification.change_email(me, PASSWORD, email))
    assert refused.details is not None
    assert list(refused.details) == ["email"]


async def test_who_takes_an_address_before_its_owner_comes_is_out_when_the_owner_does(
    door: Doorway,
) -> None:
    """Somebody registers with another's address, and leaves doors open: a provider, a second
    factor, a link to an address of their own. The owner then asks for a new password."""
    thief = await door.session(await door.account())
    await door.identities.link(thief.account_id, Claimed("google", "thief", None))
    await has_second_factor(door, thief.account_id)
    await door.verification.change_email(thief, PASSWORD, "thief@example.com")
    followed_later = await door.link("verify")
    await door.pool.execute("UPDATE email_tokens SET created_at = created_at - interval '1 hour'")
    await door.post.verification(thief.account_id, "thief@example.org")  # and still on its way

    await door.verification.forgot(ADA)
    letters = {letter.to: letter for letter in await door.mail()}
    token = letters[ADA].text.partition("#")[2].split()[0]
    other = letters["thief@example.org"].text.partition("#")[2].split()[0]
    await door.post.verification(thief.account_id, "thief@example.net")
    await door.verification.reset(token, NEXT)

    assert await door.identities.of(thief.account_id) == []
    assert await signs_in(door, NEXT)
    for late in (followed_later, other):
        assert (await refusal(door.verification.verify(late))).code is ErrorCode.INVALID_REQUEST
    assert [letter.to for letter in await door.mail()] == [ADA]  # the notice alone


async def test_what_a_stranger_set_up_goes_when_the_owner_confirms_the_address(
    door: Doorway,
) -> None:
    """By mistake, and asks for a new password later: nothing but that password is asked for."""
    stranger = await door.session(await door.account())
    await door.identities.link(stranger.account_id, Claimed("google", "thief", None))
    await has_second_factor(door, stranger.account_id)
    await door.post.verification(stranger.account_id, ADA)
    token = await door.link("verify")
    for _ in range(2):  # a page may be loaded twice
        await door.verification.verify(token)
        assert await door.identities.of(stranger.account_id) == []
    told = [letter.text for letter in await door.mail()]
    assert [Notice.TWO_FACTOR_OFF.value in told[0], Notice.GOOGLE_UNLINKED.value in told[1]]
    assert len(told) == 2
    await door.verification.forgot(ADA)
    await door.verification.reset(await door.link("reset"), NEXT)
    assert await signs_in(door, NEXT)


async def has_second_factor(door: Doorway, account: UUID) -> None:
    secret, _ = await door.two_factor.propose(account, ADA)
    await door.two_factor.confirm(account, pyotp.TOTP(secret).at(int(door.now)))


async def test_a_proven_account_keeps_its_ways_in_when_password_and_address_change(
    door: Doorway,
) -> None:
    user = await door.account()
    me = await door.session(user)
    await door.post.verification(user.id, ADA)
    await door.verification.verify(await door.link("verify"))
    await door.identities.link(user.id, Claimed("google", "ada", None))
    await has_second_factor(door, user.id)
    await door.verification.change_email(me, PASSWORD, "ada@new.example.com")
    await door.verification.verify(await door.link("verify"))
    await door.mail()
    await door.verification.forgot("ada@new.example.com")
    await door.verification.reset(await door.link("reset"), NEXT)
    assert len(await door.identities.of(user.id)) == 1
    assert await door.two_factor.enabled(user.id)
