"""What the tests of identity share: an account's parts on a real database, and the mail it gets."""

from collections.abc import Sequence
from uuid import UUID, uuid4

import asyncpg
from argon2 import PasswordHasher

from protocol.accounts import User
from protocol.operation import Permission
from server.auth import Auth
from server.identity.guard import Guard
from server.identity.twofactor import TwoFactor
from server.identity.vault import Vault
from server.identity.verification import Verification
from server.mail.message import Link, Message
from server.mail.post import Post
from server.mail.transport import Undelivered
from server.metrics import Metrics
from server.passwords import Passwords
from server.tokens import Principal, Tokens, generate_key
from storage.accounts import Accounts
from storage.guesses import Guesses
from storage.identities import Identities
from storage.mail import OutgoingMail
from storage.twofactor import SecondFactors
from storage.verification import EmailTokens

KEY = generate_key()
PASSWORD = "Correct-Horse-1!"
URL = "https://memo.example.com"


class Letterbox:
    """A transport that keeps what it is given, or refuses it for the reasons that are listed."""

    def __init__(self) -> None:
        self.letters: list[Message] = []
        self.refusals: list[Undelivered] = []

    async def send(self, message: Message) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.letters.append(message)


def link(message: Message) -> str:
    """The address that a message leads to."""
    [url] = [part.url for part in message.paragraphs if isinstance(part, Link)]
    return url


class Doorway:
    """Everything of `server` that lets people in, but for the sockets. `now` is its clock."""

    def __init__(self, pool: asyncpg.Pool, keys: Sequence[bytes] = ()) -> None:
        self.pool = pool
        self.now = 1_900_000_000.0
        self.ended: list[UUID] = []
        self.box = Letterbox()
        self.metrics = Metrics()
        self.vault = Vault(keys)
        self.passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.accounts = Accounts(pool)
        self.tokens = EmailTokens(pool)
        self.guesses = Guesses(pool)
        self.identities = Identities(pool, self.accounts)
        self.guard = Guard(self.tokens, self.passwords, self.guesses)
        self.post = Post(
            OutgoingMail(pool), self.tokens, self.vault, self.box, self.metrics, url=URL
        )
        self.verification = Verification(
            self.accounts,
            self.tokens,
            passwords=self.passwords,
            guard=self.guard,
            post=self.post,
            session_ended=self._note_end,
        )
        self.two_factor = TwoFactor(
            SecondFactors(pool), self.guesses, self.vault, clock=lambda: self.now
        )
        self.auth = Auth(
            self.accounts,
            Tokens([KEY]),
            self.passwords,
            self._note_end,
            registered=self.verification.registered,
            second_factor=self.two_factor.check,
        )

    async def _note_end(self, session_id: UUID) -> None:
        self.ended.append(session_id)

    async def account(self, email: str = "ada@example.com", password: bool = True) -> User:
        """A new account, without going through the door."""
        kept = await self.passwords.hash(PASSWORD) if password else None
        return await self.accounts.create(email=email, password_hash=kept, first_name="Ada")

    async def session(self, user: User) -> Principal:
        """A signed-in device of the account."""
        signed_in = await self.accounts.sign_in(
            user.id, uuid4().bytes, address=None, user_agent=None
        )
        assert signed_in is not None
        session_id, _ = signed_in
        return Principal(
            account_id=user.id,
            session_id=session_id,
            email=user.email,
            role=user.role,
            permissions=frozenset(Permission),
            expires_at=self.now + 900,
        )

    async def mail(self) -> list[Message]:
        """What is sent by now, and was not looked at before."""
        while await self.post.send_next():
            pass
        letters, self.box.letters = self.box.letters, []
        return letters

    async def link(self, purpose: str) -> str:
        """The token of the one message that waits, which has to be of this purpose."""
        [letter] = await self.mail()
        address, _, token = link(letter).partition("#")
        assert address == f"{URL}/{purpose}"
        return token
