"""Mail: handed to a real SMTP server or to SendGrid's API, or shown in the log; kept until then."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from protocol.errors import ErrorCode, MemoError
from server.config import Settings
from server.identity.vault import Vault
from server.mail import post as post_module
from server.mail.message import Link, Message, one_line
from server.mail.post import MAX_ATTEMPTS, Post
from server.mail.texts import Kind, Notice, write
from server.mail.transport import (
    LogTransport,
    SendGridTransport,
    SmtpTransport,
    Transport,
    Undelivered,
    transport,
)
from server.metrics import Metrics
from storage.mail import OutgoingMail
from tests.mailroom import mailroom
from tests.server.identity.doorway import URL, Doorway, link

FROM = "Memory App <memo@example.com>"
HELLO = Message("ada@example.com", "Hello", ["Hi,", Link("Look", "https://x.example/a#b&c")])


# SMTP


async def test_a_message_reaches_an_smtp_server_as_text_and_html() -> None:
    async with mailroom() as (room, place):
        await SmtpTransport(f"smtp://{place}", FROM).send(HELLO)
    [(sender, recipients, mail)] = room.taken
    assert (sender, recipients) == ("memo@example.com", ["ada@example.com"])
    assert (mail["From"], mail["To"], mail["Subject"]) == (FROM, "ada@example.com", "Hello")
    assert mail["Date"]
    assert mail["Message-ID"].endswith("@example.com>")
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "https://x.example/a#b&c" in text.get_content()
    assert 'href="https://x.example/a#b&amp;c"' in html.get_content()


async def test_it_signs_in_with_what_the_address_names() -> None:
    async with mailroom() as (room, place):
        await SmtpTransport(f"smtp://me:p%40ss%3Aword@{place}", FROM).send(HELLO)
        assert room.logins == [(b"me", b"p@ss:word")]
        with pytest.raises(Undelivered) as refused:
            await SmtpTransport(f"smtp://me:wrong@{place}", FROM).send(HELLO)
    assert not refused.value.final
    assert len(room.taken) == 1


@pytest.mark.parametrize(("answer", "final"), [("550 no such box", True), ("451 later", False)])
async def test_a_refused_recipient_is_final_or_not(answer: str, final: bool) -> None:
    async with mailroom() as (room, place):
        room.answer = answer
        with pytest.raises(Undelivered) as refused:
            await SmtpTransport(f"smtp://{place}", FROM).send(HELLO)
    assert refused.value.final is final
    assert "ada" not in str(refused.value)


async def test_a_server_that_is_away_is_worth_another_try() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        port = taken.getsockname()[1]
        with pytest.raises(Undelivered) as refused:
            await SmtpTransport(f"smtp://127.0.0.1:{port}", FROM).send(HELLO)
    assert not refused.value.final


async def test_a_password_is_not_sent_to_another_machine_without_tls() -> None:
    async with mailroom() as (room, place):
        port = place.rpartition(":")[2]
        # Another name of this machine, which as a name says nothing of where it is.
        with pytest.raises(Undelivered):
            await SmtpTransport(f"smtp://me:secret@127.0.0.2:{port}", FROM).send(HELLO)
    assert not room.logins


@pytest.mark.parametrize(
    "name", ["Eve\r\nBcc: all@example.com", "Eve\nX: y", "E\x00ve\x85", "\u2028"]
)
async def test_no_header_can_be_slipped_in(name: str) -> None:
    values = {"inviter": name, "title": f"{name} <b>", "url": "https://x.example/#t"}
    message = write(Kind.INVITATION, "ada@example.com", values)
    async with mailroom() as (room, place):
        await SmtpTransport(f"smtp://{place}", FROM).send(message)
    [(_, recipients, mail)] = room.taken
    assert recipients == ["ada@example.com"]
    assert mail["Bcc"] is None
    assert mail["X"] is None
    assert "<b>" not in message.html


@pytest.mark.parametrize("to", ["a@b.example\r\nBcc: c@d.example", "a@b.example\x00", "nobody"])
async def test_an_address_that_is_none_is_refused_for_good(to: str) -> None:
    async with mailroom() as (room, place):
        with pytest.raises(Undelivered) as refused:
            await SmtpTransport(f"smtp://{place}", FROM).send(Message(to, "Hello", ["Hi"]))
    assert refused.value.final
    assert not room.taken


async def test_a_name_before_the_at_may_be_beyond_ascii_too() -> None:
    async with mailroom() as (room, place):
        message = Message("zoë@example.com", "Hello", ["Hi"])
        await SmtpTransport(f"smtp://{place}", FROM).send(message)
    [(_, recipients, mail)] = room.taken
    assert recipients == ["zoë@example.com"]
    assert "zoë@example.com" in mail["To"]


async def test_addresses_and_names_beyond_ascii_arrive() -> None:
    values = {"inviter": "Ægir Þór", "title": "日記", "url": "https://x.example/#t"}
    message = write(Kind.INVITATION, "ada@bücher.example", values)
    async with mailroom() as (room, place):
        await SmtpTransport(f"smtp://{place}", FROM).send(message)
    [(_, recipients, mail)] = room.taken
    assert recipients == ["ada@xn--bcher-kva.example"]
    assert mail["Subject"] == "Ægir Þór shares “日記” with you"


def test_a_subject_is_one_line_of_bounded_length() -> None:
    assert one_line(" a\r\n\tb\x00 ") == "a b"
    assert len(one_line("x" * 10_000)) == 100


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_message_has_a_text_with_its_link(kind: Kind) -> None:
    values = {"url": "https://x.example/#t", "inviter": "Ada", "title": "Lisbon", "code": "AB2"}
    led_by = "code" if kind is Kind.DELETION else "url"
    for notice in Notice:
        message = write(kind, "ada@example.com", {**values, "notice": notice.name})
        assert message.subject
        assert values[led_by] in message.text
        assert values[led_by] in message.html


# SendGrid


class SendGrid:
    """What SendGrid's v3 API takes and answers, as far as one message goes."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.status = 202

    async def send(self, request: Request) -> Response:
        if request.headers["authorization"] != "Bearer SG.key":
            return Response(status_code=401)
        body = await request.json()
        assert request.headers["content-type"] == "application/json"
        assert all(part["type"] and part["value"] for part in body["content"])
        assert [part["type"] for part in body["content"]] == ["text/plain", "text/html"]
        if self.status == 202:
            self.taken.append(body)
        return Response(status_code=self.status)


@pytest.fixture
async def sendgrid() -> AsyncIterator[tuple[SendGrid, str]]:
    api = SendGrid()
    app = Starlette(routes=[Route("/v3/mail/send", api.send, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server.serve([listening]))
        yield api, f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await asyncio.wait_for(task, 10)


async def test_a_message_goes_through_sendgrid_with_its_links_untouched(
    sendgrid: tuple[SendGrid, str],
) -> None:
    api, url = sendgrid
    async with httpx.AsyncClient() as client:
        await SendGridTransport(client, "SG.key", FROM, url).send(HELLO)
    [body] = api.taken
    assert body["personalizations"] == [{"to": [{"email": "ada@example.com"}]}]
    assert body["from"] == {"email": "memo@example.com", "name": "Memory App"}
    assert body["subject"] == "Hello"
    assert body["tracking_settings"]["click_tracking"]["enable"] is False


@pytest.mark.parametrize(
    ("status", "key", "final"),
    [(400, "SG.key", True), (429, "SG.key", False), (503, "SG.key", False), (202, "no", False)],
)
async def test_what_sendgrid_refuses_is_final_or_not(
    sendgrid: tuple[SendGrid, str], status: int, key: str, final: bool
) -> None:
    api, url = sendgrid
    api.status = status
    async with httpx.AsyncClient() as client:
        with pytest.raises(Undelivered) as refused:
            await SendGridTransport(client, key, FROM, url).send(HELLO)
    assert refused.value.final is final


# The log


async def test_without_a_mail_server_the_message_is_in_the_log_to_be_followed() -> None:
    with capture_logs() as lines:
        await LogTransport().send(HELLO)
    [line] = lines
    assert line["log_level"] == "warning"  # seen at the usual level, and above
    assert "https://x.example/a#b&c" in line["text"]


def test_the_settings_choose() -> None:
    client = httpx.AsyncClient()
    smtp = Settings(smtp_url="smtp://mail.example.com", mail_from=FROM)
    sendgrid = Settings(sendgrid_api_key="SG.key", mail_from=FROM)
    chosen = [type(transport(each, client)) for each in (Settings(), smtp, sendgrid)]
    assert chosen == [LogTransport, SmtpTransport, SendGridTransport]


# The post


def another_post(door: Doorway, to: Transport | None = None, **options: Any) -> Post:
    """A node beside, or after, the first one."""
    outgoing = OutgoingMail(door.pool)
    return Post(outgoing, door.tokens, door.vault, to or door.box, Metrics(), url=URL, **options)


async def test_what_was_kept_before_a_restart_is_sent_after_it(door: Doorway) -> None:
    await door.post.invitation("grace@example.com", "Ada", "Lisbon", "https://x.example/#t")
    again = another_post(door)
    assert await again.send_next()
    [letter] = door.box.letters
    assert letter.to == "grace@example.com"
    assert not await door.post.send_next()


async def test_messages_are_sent_in_the_order_they_were_asked_for(door: Doorway) -> None:
    names = [f"{number}@example.com" for number in range(5)]
    for name in names:
        await door.post.invitation(name, "Ada", "Lisbon", "https://x.example/#t")
    assert [letter.to for letter in await door.mail()] == names


async def test_nodes_that_look_at_once_send_a_message_once(door: Doorway) -> None:
    posts = [another_post(door) for _ in range(4)]
    for number in range(8):
        await door.post.invitation(f"{number}@example.com", "Ada", "L", "https://x.example/#t")
    while any(await asyncio.gather(*(post.send_next() for post in posts))):
        pass
    assert sorted(letter.to[0] for letter in door.box.letters) == list("01234567")


async def test_a_message_of_a_node_that_died_is_taken_over_when_its_lease_is_over(
    door: Doorway,
) -> None:
    await door.post.invitation("grace@example.com", "Ada", "Lisbon", "https://x.example/#t")
    outgoing = OutgoingMail(door.pool)
    assert await outgoing.claim(timedelta(seconds=60)) is not None
    assert await door.mail() == []
    await door.pool.execute("UPDATE outgoing_mail SET next_attempt_at = now()")
    assert len(await door.mail()) == 1


async def test_a_message_is_tried_again_later_and_later_and_then_kept_as_failed(
    door: Doorway,
) -> None:
    await door.post.invitation("grace@example.com", "Ada", "Lisbon", "https://x.example/#t")
    with capture_logs() as lines:
        for _ in range(MAX_ATTEMPTS):
            door.box.refusals.append(Undelivered("away", final=False))
            assert await door.post.send_next()
            assert not await door.post.send_next()
            await door.pool.execute("UPDATE outgoing_mail SET next_attempt_at = now()")
    [row] = await door.pool.fetch("SELECT * FROM outgoing_mail")
    assert row["attempts"] == MAX_ATTEMPTS
    assert row["failed_at"] is not None
    assert (row["error"], row["content"]) == ("away", None)
    pauses = [line["seconds"] for line in lines if line["event"] == "mail.postponed"]
    assert pauses == [10, 40, 160, 640, 2560, 3600, 3600]
    assert not await door.post.send_next()
    assert lines[-1]["event"] == "mail.failed"
    assert "grace" not in repr(lines)


async def test_a_final_refusal_is_not_tried_again(door: Doorway) -> None:
    await door.post.invitation("grace@example.com", "Ada", "Lisbon", "https://x.example/#t")
    door.box.refusals.append(Undelivered("no such box", final=True))
    assert await door.post.send_next()
    assert not await door.post.send_next()
    assert await door.pool.fetchval("SELECT failed_at IS NOT NULL FROM outgoing_mail")


async def test_one_message_that_cannot_be_sent_does_not_hold_up_the_next(door: Doorway) -> None:
    for name in ("first", "second"):
        await door.post.invitation(f"{name}@example.com", "Ada", "L", "https://x.example/#t")
    door.box.refusals.append(Undelivered("away", final=False))
    assert [letter.to for letter in await door.mail()] == ["second@example.com"]


async def test_a_message_that_cannot_even_be_written_is_given_up_in_the_end(
    door: Doorway,
) -> None:
    await OutgoingMail(door.pool).add("of a newer version", "ada@example.com", b"\0{}")
    with capture_logs() as lines:
        for _ in range(MAX_ATTEMPTS):
            assert await door.post.send_next()
            await door.pool.execute("UPDATE outgoing_mail SET next_attempt_at = now()")
        assert not await door.post.send_next()
    assert await door.pool.fetchval("SELECT error FROM outgoing_mail") == "ValueError"
    assert [line["event"] for line in lines].count("mail.failed") == 1


async def test_too_many_waiting_messages_are_refused(door: Doorway) -> None:
    outgoing = OutgoingMail(door.pool, max_pending=2)
    post = Post(outgoing, door.tokens, door.vault, door.box, Metrics(), url=URL)
    for _ in range(2):
        await post.password_reset("ada@example.com")
    with pytest.raises(MemoError) as refused:
        await post.password_reset("ada@example.com")
    assert refused.value.code is ErrorCode.BUSY
    # What is only told of afterwards is no reason to fail.
    await post.security_notice("ada@example.com", Notice.TWO_FACTOR_ON)


async def test_what_is_kept_is_sealed(door: Doorway) -> None:
    door.vault = Vault([secrets.token_bytes(32)])
    await another_post(door).invitation("grace@example.com", "Ada", "L", "https://x.example/#tkn")
    kept = await door.pool.fetchval("SELECT content FROM outgoing_mail")
    assert b"tkn" not in kept
    door.vault = Vault()
    without_key = another_post(door)
    assert await without_key.send_next()
    assert await door.pool.fetchval("SELECT error FROM outgoing_mail") is not None


async def test_running_it_sends_what_it_is_told_of_and_outlives_an_outage(
    door: Doorway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_module, "LOOK_SECONDS", 0.01)

    class Awaited:
        def __init__(self) -> None:
            self.letters: asyncio.Queue[Message] = asyncio.Queue()

        async def send(self, message: Message) -> None:
            await self.letters.put(message)

    box = Awaited()
    post = another_post(door, box)
    user = await door.account()
    await door.pool.execute("ALTER TABLE outgoing_mail RENAME TO away")
    with capture_logs() as lines:
        running = asyncio.create_task(post.run())
        while not lines:  # noqa: ASYNC110 (a line of a log is no event)
            await asyncio.sleep(0)
    await door.pool.execute("ALTER TABLE away RENAME TO outgoing_mail")
    async with asyncio.timeout(10):
        await post.verification(user.id, user.email)
        first = await box.letters.get()
        # Of another node, which tells nobody.
        await door.post.password_reset(user.email)
        second = await box.letters.get()
    assert link(first).startswith(f"{URL}/verify#")
    assert link(second).startswith(f"{URL}/reset#")
    running.cancel()
    await asyncio.wait([running])


async def test_a_deleted_account_is_not_written_to(door: Doorway, pool: asyncpg.Pool) -> None:
    user = await door.account()
    await door.post.verification(user.id, user.email)
    await pool.execute("DELETE FROM users")
    assert await door.mail() == []
    assert await pool.fetchval("SELECT count(*) FROM outgoing_mail") == 0
