"""All that lets people in, put together."""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

import asyncpg

from protocol.identity import Provider
from server.auth import Auth
from server.config import Settings
from server.identity.calls import Identity
from server.identity.deletion import Confirmation
from server.identity.guard import Guard
from server.identity.oauth import OAuth
from server.identity.openid import OpenIdProvider
from server.identity.providers import site
from server.identity.twofactor import TwoFactor
from server.identity.vault import Vault
from server.identity.verification import Verification
from server.mail.post import Post
from server.mail.transport import Transport
from server.metrics import Metrics
from server.passwords import Passwords
from server.tokens import Tokens
from storage.accounts import Accounts
from storage.guesses import Guesses
from storage.identities import Attempts, Identities
from storage.mail import OutgoingMail
from storage.twofactor import SecondFactors
from storage.verification import EmailTokens
from sync.feed import Notices


class Door(NamedTuple):
    """The parts that others need."""

    auth: Auth
    identity: Identity
    post: Post
    confirmation: Confirmation

    @classmethod
    def built(
        cls,
        settings: Settings,
        *,
        pool: asyncpg.Pool,
        accounts: Accounts,
        tokens: Tokens,
        passwords: Passwords,
        vault: Vault,
        known: Mapping[Provider, OpenIdProvider],
        transport: Transport,
        metrics: Metrics,
        notices: Notices,
    ) -> "Door":
        """Everything joined. `known` are the providers that people may sign in with."""

        async def session_ended(session_id: UUID) -> None:
            notices.session_ended(session_id)

        guesses, email_tokens = Guesses(pool), EmailTokens(pool)
        identities = Identities(pool, accounts)
        guard = Guard(email_tokens, passwords, guesses)
        post = Post(OutgoingMail(pool), email_tokens, vault, transport, metrics, url=settings.url)
        verification = Verification(
            accounts,
            email_tokens,
            passwords=passwords,
            guard=guard,
            post=post,
            session_ended=session_ended,
            account_changed=notices.account_changed,
        )
        two_factor = TwoFactor(SecondFactors(pool), guesses, vault)
        auth = Auth(
            accounts,
            tokens,
            passwords,
            session_ended,
            registered=verification.registered,
            second_factor=two_factor.check,
        )
        oauth = OAuth(
            known,
            site(settings),
            attempts=Attempts(pool),
            identities=identities,
            accounts=accounts,
            auth=auth,
            two_factor=two_factor,
            post=post,
        )
        identity = Identity(
            verification=verification,
            two_factor=two_factor,
            oauth=oauth,
            guard=guard,
            accounts=accounts,
            identities=identities,
            tokens=email_tokens,
            post=post,
            verified_only=settings.sends_mail,
        )
        confirmation = Confirmation(
            accounts, email_tokens, guard=guard, two_factor=two_factor, guesses=guesses, post=post
        )
        return cls(auth, identity, post, confirmation)
