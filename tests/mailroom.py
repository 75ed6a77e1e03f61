"""A real SMTP server that keeps what it takes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

PATIENCE = 10.0


class Mailroom:
    """What was handed in: sender, recipients, message. `answer` is what it says to a recipient."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[str], EmailMessage]] = []
        self.answer = "250 OK"
        self.logins: list[tuple[bytes, bytes]] = []
        self._news = asyncio.Event()

    async def token(self, recipient: str, purpose: str) -> str:
        """The token of the last link for this purpose that somebody was sent."""
        text = await self.letter(recipient, f"/{purpose}#")
        return text.partition(f"/{purpose}#")[2].split()[0]

    async def letter(self, recipient: str, words: str) -> str:
        """The text of the last message with these words that somebody was sent; waited for. The
        message is taken out."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for entry in reversed(self.taken):
                    body = entry[2].get_body(("plain",))
                    assert body is not None
                    text: str = body.get_content()
                    if words in text and entry[1] == [recipient]:
                        self.taken.remove(entry)
                        return text
                self._news.clear()
                await self._news.wait()

    async def handle_RCPT(  # noqa: N802 (the name that aiosmtpd calls)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        parsed = message_from_bytes(content, policy=default)
        assert isinstance(parsed, EmailMessage)
        self.taken.append((envelope.mail_from or "", list(envelope.rcpt_tos), parsed))
        self._news.set()
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"p@ss:word", handled=False)


@asynccontextmanager
async def mailroom() -> AsyncIterator[tuple[Mailroom, str]]:
    """A running SMTP server, and its host and port."""
    room = Mailroom()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(
            room,
            enable_SMTPUTF8=True,
            authenticator=room.authenticate,
            auth_require_tls=False,
        ),
        "127.0.0.1",
        0,
    )
    host, port = server.sockets[0].getsockname()
    async with server:
        yield room, f"{host}:{port}"
