"""The post: takes messages to be sent, and sends them in the background."""

import asyncio
import hashlib
import secrets
from datetime import timedelta
from uuid import UUID

import msgspec
import structlog

from protocol.errors import MemoError
from server.identity.vault import Vault, VaultError
from server.mail import texts
from server.mail.message import Message
from server.mail.texts import Kind, Notice
from server.mail.transport import SEND_SECONDS, Transport, Undelivered
from server.metrics import Metrics
from storage import outage
from storage.mail import Outgoing, OutgoingMail
from storage.verification import MAX_LINKS, EmailTokens, Purpose

MAX_ATTEMPTS = 8
FIRST_PAUSE, LAST_PAUSE = timedelta(seconds=10), timedelta(hours=1)
LEASE = timedelta(seconds=2 * SEND_SECONDS)
LOOK_SECONDS = 15.0  # between two looks for what a restart or another node left behind
TOKEN_BYTES = 32
CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # none of which is taken for another
CODE_LENGTH = 10

log = structlog.get_logger(__name__)


class _Dropped(Exception):
    """There is nobody to send the message to, or they were sent enough."""


class Post:
    """Messages are kept in the database when they are asked for, and sent by `run`.

    The token of a link is made when its message is sent, so no table ever holds one. Whether
    somebody may be written to is looked at then, too: whoever asks is answered at once, the same
    in every case. `url` is where clients reach the server.
    """

    def __init__(
        self,
        outgoing: OutgoingMail,
        tokens: EmailTokens,
        vault: Vault,
        transport: Transport,
        metrics: Metrics,
        *,
        url: str,
        first_pause: timedelta = FIRST_PAUSE,
    ) -> None:
        self._outgoing = outgoing
        self._tokens = tokens
        self._vault = vault
        self._transport = transport
        self._metrics = metrics
        self._url = url
        self._first_pause = first_pause
        self._news = asyncio.Event()

    async def verification(self, user_id: UUID, email: str) -> None:
        """A link that proves `email` for the account, which may have another address until then.

        Raises:
            MemoError: `busy`.
        """
        await self._add(Kind.VERIFICATION, email, {}, user_id)

    async def password_reset(self, email: str) -> None:
        """A link to set a password with, if an active account has this address.

        Raises:
            MemoError: `busy`, whether there is an account or not.
        """
        await self._add(Kind.RESET, email, {})

    async def security_notice(self, email: str, notice: Notice) -> None:
        """Word of what was done already: when it cannot be kept, that is logged alone."""
        try:
            with outage.reported():
                await self._add(Kind.SECURITY, email, {"notice": notice.name, "url": self._url})
        except MemoError as error:
            log.warning("mail.not_kept", kind=Kind.SECURITY.value, error=error.code.value)

    async def invitation(self, email: str, inviter_name: str, memory_title: str, url: str) -> None:
        """An invitation to a memory, which `url` leads to.

        Raises:
            MemoError: `busy`.
        """
        values = {"inviter": inviter_name, "title": memory_title, "url": url}
        await self._add(Kind.INVITATION, email, values)

    async def deletion(self, user_id: UUID, email: str) -> None:
        """A code to delete the account with.

        Raises:
            MemoError: `busy`.
        """
        await self._add(Kind.DELETION, email, {}, user_id)

    async def run(self) -> None:
        """Send what waits, one message after the other, for ever."""
        while True:
            self._news.clear()
            try:
                while await self.send_next():
                    pass
            except (MemoError, OSError) as error:
                log.debug("mail.not_looked_at", error=str(error))
            except Exception:
                log.exception("mail.not_looked_at")
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def send_next(self) -> bool:
        """Send the message that has been due longest. False when there is none.

        Raises:
            MemoError: `unavailable`.
        """
        with outage.reported():
            mail = await self._outgoing.claim(LEASE)
            if mail is None:
                return False
            outcome = await self._send(mail)
        self._metrics.mail.labels(mail.kind, outcome).inc()
        return True

    async def _add(
        self, kind: Kind, recipient: str, values: dict[str, str], user_id: UUID | None = None
    ) -> None:
        content = self._vault.seal(msgspec.json.encode(values), _bound(kind.value, recipient))
        await self._outgoing.add(kind.value, recipient, content, user_id)
        self._news.set()

    async def _send(self, mail: Outgoing) -> str:
        """Send one message; returns what became of it."""
        told = {"mail": mail.id, "kind": mail.kind, "attempt": mail.attempts}
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._transport.send(await self._written(mail))
        except _Dropped:
            await self._outgoing.sent(mail.id)
            return "dropped"
        except (Undelivered, VaultError, TimeoutError) as error:
            final = isinstance(error, Undelivered) and error.final
            return await self._put_off(mail, str(error) or type(error).__name__, final)
        except Exception as error:
            # Whatever it is, this message must neither hold up the others nor be tried for ever.
            log.exception("mail.unsendable", **told)
            return await self._put_off(mail, type(error).__name__, final=False)
        log.info("mail.sent", **told)
        await self._outgoing.sent(mail.id)
        return "sent"

    async def _put_off(self, mail: Outgoing, reason: str, final: bool) -> str:
        told = {"mail": mail.id, "kind": mail.kind, "attempt": mail.attempts, "reason": reason}
        if final or mail.attempts >= MAX_ATTEMPTS:
            log.warning("mail.failed", **told)
            await self._outgoing.fail(mail.id, reason)
            return "failed"
        pause = min(self._first_pause * 4 ** (mail.attempts - 1), LAST_PAUSE)
        log.info("mail.postponed", seconds=pause.total_seconds(), **told)
        await self._outgoing.postpone(mail.id, pause, reason)
        return "postponed"

    async def _written(self, mail: Outgoing) -> Message:
        opened = self._vault.open(mail.content, _bound(mail.kind, mail.recipient))
        values = msgspec.json.decode(opened, type=dict[str, str])
        kind, to = Kind(mail.kind), mail.recipient
        match kind:
            case Kind.VERIFICATION:
                holder = await self._tokens.recipient(to)
                if mail.user_id is None or (holder and holder.user_id != mail.user_id):
                    raise _Dropped  # a new address that is somebody else's
                values["url"] = await self._link("verify", mail.user_id, to)
            case Kind.RESET:
                account = await self._tokens.recipient(to)
                if account is None:
                    raise _Dropped
                to = account.email  # as its owner wrote it, not as somebody typed it
                values["url"] = await self._link("reset", account.user_id, to)
            case Kind.DELETION:
                account = await self._tokens.recipient(to)
                if account is None or account.user_id != mail.user_id:
                    raise _Dropped
                values["code"] = await self._code(account.user_id, to)
        return texts.write(kind, to, values)

    async def _code(self, user_id: UUID, email: str) -> str:
        code = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
        await self._issue(code_digest(user_id, code), "delete", user_id, email)
        return code

    async def _issue(self, kept: bytes, purpose: Purpose, user_id: UUID, email: str) -> None:
        given, _ = await self._tokens.recent(user_id, purpose, email)
        if given >= MAX_LINKS[purpose]:
            log.info("mail.enough", purpose=purpose, account=str(user_id))
            raise _Dropped
        if not await self._tokens.issue(kept, user_id, purpose, email):
            raise _Dropped

    async def _link(self, purpose: Purpose, user_id: UUID, email: str) -> str:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        await self._issue(digest(token), purpose, user_id, email)
        # Behind the #, so that it is in nobody's log.
        return f"{self._url}/{purpose}#{token}"


def digest(token: str) -> bytes:
    """What is kept of a link's token. It is random enough to need no stretching."""
    return hashlib.sha256(token.encode()).digest()


def code_digest(user_id: UUID, code: str) -> bytes:
    """What is kept of a code that is typed. Guesses at it are counted, and it lasts an hour."""
    plain = "".join(letter for letter in code.upper() if letter.isalnum())
    return hashlib.sha256(f"{user_id} {plain}".encode()).digest()


def _bound(kind: str, recipient: str) -> bytes:
    return f"mail:{kind}:{recipient}".encode()
