"""OAuth: signing in with a provider, and linking one to an account.

The app begins, is given a state of its own, and sends the browser away. The state in the
addresses is made from it, as are PKCE's verifier and the nonce: what a provider returned is of use
only to who began, and the database holds nothing that could stand in for it.
"""

import base64
import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import structlog

from protocol.accounts import SignedIn
from protocol.errors import ErrorCode, MemoError
from protocol.identity import FinishOAuth, LinkIdentity, OAuthSignedIn, Provider, StartedOAuth
from server.auth import Auth, normalize_email
from server.identity.openid import OpenIdProvider
from server.identity.twofactor import TwoFactor
from server.mail.post import Post
from server.mail.texts import LINKED, UNLINKED, Notice
from storage.accounts import Accounts
from storage.identities import Attempt, Attempts, Claimed, Identities

log = structlog.get_logger(__name__)

_RETURNED = ("code", "error", "user")  # what is handed on to the app
_MAX_RETURNED = 4096  # characters of each


class Site(NamedTuple):
    """Where sign-ins may return to: pages of `origins`, and the very addresses of `uris`. `url`
    is where clients reach this server."""

    url: str
    origins: Sequence[str]
    uris: Sequence[str]


class OAuth:
    """Signing in with the providers that are set up."""

    def __init__(
        self,
        providers: Mapping[Provider, OpenIdProvider],
        site: Site,
        *,
        attempts: Attempts,
        identities: Identities,
        accounts: Accounts,
        auth: Auth,
        two_factor: TwoFactor,
        post: Post,
    ) -> None:
        self._providers = providers
        self._site = site
        self._origins = {_origin(origin) for origin in (site.url, *site.origins)}
        self._attempts = attempts
        self._identities = identities
        self._accounts = accounts
        self._auth = auth
        self._two_factor = two_factor
        self._post = post

    @property
    def providers(self) -> list[Provider]:
        """Those that are set up."""
        return list(self._providers)

    async def start(self, name: Provider, redirect_uri: str) -> StartedOAuth:
        """Where to send the browser, and the state to come back with.

        Raises:
            MemoError: `not_found` when the provider is not set up, `invalid_request` naming
                `redirectUri`, `unavailable`.
        """
        provider = self._provider(name)
        if not self._allowed(redirect_uri):
            problem = "is neither on this server nor in CORS_ORIGINS or OAUTH_REDIRECT_URIS"
            raise MemoError(
                ErrorCode.INVALID_REQUEST,
                f"redirectUri {problem}",
                details={"redirectUri": problem},
            )
        state = secrets.token_urlsafe(32)
        challenge = hashlib.sha256(_derived(state, "verifier").encode()).digest()
        url = await provider.authorization_url(
            redirect_uri=self._provider_returns_to(name, redirect_uri),
            state=_derived(state, "address"),
            nonce=_derived(state, "nonce"),
            challenge=_text(challenge),
        )
        await self._attempts.begin(_hash(_derived(state, "address")), name, redirect_uri)
        return StartedOAuth(url=url, state=state)

    async def returned(self, name: Provider, form: Mapping[str, str]) -> str:
        """Where to send a browser on to that a provider has posted its answer with.

        Raises:
            MemoError: `not_found` when no such sign-in is under way.
        """
        uri = await self._attempts.redirect_uri(_hash(form.get("state", "")), name)
        if uri is None:
            raise MemoError(
                ErrorCode.NOT_FOUND,
                "This sign-in is not under way any more; go back to the app and start again.",
            )
        answer = {key: form[key][:_MAX_RETURNED] for key in _RETURNED if form.get(key)}
        return f"{uri}{'&' if urlsplit(uri).query else '?'}{urlencode(answer)}"

    async def finish(
        self, name: Provider, request: FinishOAuth, *, address: str | None, user_agent: str | None
    ) -> OAuthSignedIn:
        """Sign in with what the provider returned; who is new gets an account.

        Raises:
            MemoError: `invalid_request` naming `state` or `redirectUri`; `unauthorized`,
                `unavailable` as the provider has it; `conflict`, `forbidden` when the identity
                cannot be taken for an account's; `two_factor_required`, then
                `invalid_credentials`, `rate_limited`; `account_disabled`.
        """
        attempt = await self._attempt(name, request.state, request.redirect_uri)
        key = _hash(_derived(request.state, "address"))
        user_id, is_new = attempt.user_id, attempt.is_new
        if user_id is None:
            claimed = await self._claimed(name, request)
            recognized = await self._identities.recognize(claimed)
            user_id, is_new = recognized.user_id, recognized.is_new
            if recognized.is_linked:
                await self._tell(user_id, LINKED[name])
        if await self._two_factor.enabled(user_id):
            await self._attempts.recognized(key, user_id, is_new)
        try:
            await self._two_factor.check(user_id, request.two_factor_code)
        except MemoError as error:
            # The fields of this request have other names than those of a login.
            if error.details and "code" in error.details:
                error.details["twoFactorCode"] = error.details.pop("code")
            raise
        signed_in = await self._auth.sign_in(user_id, address, user_agent)
        await self._attempts.end(key)
        return _with(signed_in, is_new)

    async def link(self, user_id: UUID, request: LinkIdentity) -> None:
        """Make who the provider says it is one of the account's ways in.

        Raises:
            MemoError: as `finish`, but for the second factor; `conflict` when the identity is
                another account's.
        """
        attempt = await self._attempt(request.provider, request.state, request.redirect_uri)
        if attempt.user_id is not None:
            raise _unknown_state()
        claimed = await self._claimed(request.provider, request)
        if await self._identities.link(user_id, claimed):
            await self._tell(user_id, LINKED[request.provider])
        await self._attempts.end(_hash(_derived(request.state, "address")))

    async def unlink(self, user_id: UUID, name: Provider) -> None:
        """Take a provider away. Again is harmless.

        Raises:
            MemoError: `conflict` when it is the last way in.
        """
        if await self._identities.unlink(user_id, name):
            await self._tell(user_id, UNLINKED[name])

    async def _attempt(self, name: Provider, state: str, redirect_uri: str) -> Attempt:
        self._provider(name)
        attempt = await self._attempts.spend(_hash(_derived(state, "address")), name)
        if attempt is None:
            raise _unknown_state()
        if not hmac.compare_digest(attempt.redirect_uri.encode(), redirect_uri.encode()):
            raise MemoError(
                ErrorCode.INVALID_REQUEST,
                "redirectUri is another one than at the start",
                details={"redirectUri": "is another one than at the start"},
            )
        return attempt

    async def _claimed(self, name: Provider, request: FinishOAuth | LinkIdentity) -> Claimed:
        try:
            profile = await self._provider(name).profile(
                code=request.code,
                redirect_uri=self._provider_returns_to(name, request.redirect_uri),
                verifier=_derived(request.state, "verifier"),
                nonce=_derived(request.state, "nonce"),
            )
        except MemoError as error:
            if error.code is ErrorCode.UNAVAILABLE:
                # The code may be good yet: the same request may be sent again.
                await self._attempts.reopen(_hash(_derived(request.state, "address")))
            raise
        first, last = profile.first_name, profile.last_name
        if isinstance(request, FinishOAuth) and request.user and (said := request.user.name):
            # What the app hands on is no proof of anything, but a name needs none.
            first, last = first or said.first_name, last or said.last_name
        return Claimed(
            provider=name,
            subject=profile.subject,
            email=profile.email and normalize_email(profile.email),
            first_name=_name(first),
            last_name=_name(last),
        )

    async def _tell(self, user_id: UUID, notice: Notice) -> None:
        user = await self._accounts.user(user_id)
        if user is not None:
            await self._post.security_notice(user.email, notice)

    def _provider(self, name: Provider) -> OpenIdProvider:
        provider = self._providers.get(name)
        if provider is None:
            raise MemoError(
                ErrorCode.NOT_FOUND,
                f"Signing in with {name.capitalize()} is not set up on this server.",
            )
        return provider

    def _provider_returns_to(self, name: Provider, redirect_uri: str) -> str:
        # Apple posts its answer, which a page cannot read and an app's own scheme cannot take.
        return f"{self._site.url}/api/auth/oauth/apple/return" if name == "apple" else redirect_uri

    def _allowed(self, uri: str) -> bool:
        if uri in self._site.uris:
            return True
        origin = _origin(uri)
        return origin is not None and origin in self._origins


def _origin(uri: str) -> str | None:
    """The origin of a page's address; None for what a browser might read otherwise."""
    if not uri.isascii() or any(c in uri for c in "\\#") or not uri.isprintable() or " " in uri:
        return None
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    default = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{parts.hostname}:{port or default}"


def _with(signed_in: SignedIn, is_new: bool) -> OAuthSignedIn:
    return OAuthSignedIn(
        user=signed_in.user,
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
        expires_in=signed_in.expires_in,
        is_new_user=is_new,
    )


def _derived(state: str, use: str) -> str:
    """What is made of a state for one use: it tells nothing of the state, nor of the others."""
    return _text(hmac.digest(state.encode(), use.encode(), "sha256"))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _name(text: str | None) -> str | None:
    """A name as it can be kept; None when there is nothing of it."""
    plain = "".join(c for c in text or "" if unicodedata.category(c) != "Cc").strip()
    return plain[:100] or None


def _unknown_state() -> MemoError:
    return MemoError(
        ErrorCode.INVALID_REQUEST,
        "The sign-in is not under way any more; start again.",
        details={"state": "is unknown, used or older than ten minutes; start again"},
    )
