"""Transports: SMTP, SendGrid, or the log of a server that sends no mail."""

from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib
import httpx
import structlog

from server.config import Settings
from server.mail.message import Message, mime, one_line, sender

SEND_SECONDS = 30.0
SENDGRID_URL = "https://api.sendgrid.com"

log = structlog.get_logger(__name__)


class Undelivered(Exception):
    """The message was not taken. `final`: nor will it be, as it is. The text names no address."""

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.final = final


class Transport(Protocol):
    """Hands messages on."""

    async def send(self, message: Message) -> None:
        """Return when the message was taken.

        Raises:
            Undelivered: it was not.
        """


class SmtpTransport:
    """Hands messages to an SMTP server, over a connection for each."""

    def __init__(self, url: str, mail_from: str) -> None:
        parts = urlsplit(url)
        self._from = mail_from
        self._host = parts.hostname or ""
        self._tls = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._tls else 587)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None

    def client(self) -> aiosmtplib.SMTP:
        """A client that connects and signs in when it is entered."""
        # A password crosses a network under TLS or not at all.
        local = self._host in ("localhost", "127.0.0.1", "::1")
        return aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=self._user,
            password=self._password,
            use_tls=self._tls,
            start_tls=True if self._user and not local and not self._tls else None,
            timeout=SEND_SECONDS,
        )

    async def send(self, message: Message) -> None:
        try:
            made = mime(message, self._from)
            async with self.client() as client:
                await client.send_message(made)
        except ValueError as error:
            raise Undelivered(f"not a message: {type(error).__name__}", final=True) from None
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            raise Undelivered(f"recipient refused: {codes}", final=min(codes) >= 500) from None
        except aiosmtplib.SMTPAuthenticationError as error:
            # What an operator mends; the message is as good as before.
            raise Undelivered(f"sign-in refused: {error.code}", final=False) from None
        except aiosmtplib.SMTPResponseException as error:
            raise Undelivered(f"refused: {error.code}", final=error.code >= 500) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Undelivered(type(error).__name__, final=False) from None


async def reachable(url: str) -> str | None:
    """What keeps the SMTP server of `url` from being signed in to; None when nothing does."""
    server = SmtpTransport(url, "")
    try:
        async with server.client():
            return None
    except (aiosmtplib.SMTPException, OSError) as error:
        return f"SMTP_URL: {type(error).__name__}; correct it, or start the mail server"


class SendGridTransport:
    """Hands messages to SendGrid's v3 API."""

    def __init__(
        self, client: httpx.AsyncClient, key: str, mail_from: str, url: str = SENDGRID_URL
    ) -> None:
        self._client = client
        self._key = key
        self._from = mail_from
        self._url = url

    async def send(self, message: Message) -> None:
        name, address = sender(self._from)
        body = {
            "personalizations": [{"to": [{"email": message.to}]}],
            "from": {"email": address, **({"name": name} if name else {})},
            "subject": one_line(message.subject),
            "content": [
                {"type": "text/plain", "value": message.text},
                {"type": "text/html", "value": message.html},
            ],
            # A rewritten link would pass its token through somebody else's server.
            "tracking_settings": {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
            },
        }
        try:
            reply = await self._client.post(
                f"{self._url}/v3/mail/send",
                json=body,
                headers={"Authorization": f"Bearer {self._key}"},
                timeout=SEND_SECONDS,
            )
        except httpx.HTTPError as error:
            raise Undelivered(type(error).__name__, final=False) from None
        if reply.status_code >= 300:
            # 400 and 413 are the message's own fault; a wrong key is the operator's to mend.
            final = reply.status_code in (400, 413)
            raise Undelivered(f"SendGrid answered {reply.status_code}", final=final)


class LogTransport:
    """Writes messages to the log, for a server on a laptop: its owner can follow the links."""

    async def send(self, message: Message) -> None:
        log.warning(
            "mail is not set up (SMTP_URL, SENDGRID_API_KEY), so here is the message",
            to=message.to,
            subject=one_line(message.subject),
            text=message.text,
        )


def transport(settings: Settings, client: httpx.AsyncClient) -> Transport:
    """The transport that the settings ask for."""
    if settings.smtp_url is not None:
        assert settings.mail_from is not None  # the settings are refused without
        return SmtpTransport(settings.smtp_url, settings.mail_from)
    if settings.sendgrid_api_key is not None:
        assert settings.mail_from is not None
        return SendGridTransport(client, settings.sendgrid_api_key, settings.mail_from)
    return LogTransport()
