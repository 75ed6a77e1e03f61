"""OpenID Connect: one provider, and who it says somebody is."""

import asyncio
import base64
import hmac
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import msgspec
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from protocol.errors import ErrorCode, MemoError

ALGORITHMS = ["RS256", "ES256"]
REQUEST_SECONDS = 10.0
MAX_BYTES = 1 << 20  # of what a provider answers
MAX_TOKEN_CHARACTERS = 16_384
LEEWAY_SECONDS = 60
# How old what is known of a provider may be, in seconds: at all, and when a token names a key that
# is not known. The second one bounds how often keys are asked for.
STALE = 3600.0
STALE_IF_UNKNOWN = 30.0

log = structlog.get_logger(__name__)


class Client(NamedTuple):
    """Who we are to a provider. `secret` is made anew for each use where it does not last."""

    id: str
    secret: Callable[[], str]


class Profile(NamedTuple):
    """Whom a provider has signed in. `email` is there when the provider has verified it."""

    subject: str
    email: str | None
    first_name: str | None
    last_name: str | None


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class _Claims(msgspec.Struct, frozen=True):
    """Of a token, what is looked at. Apple has `email_verified` as a word."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    nonce: str
    iat: float = 0.0
    azp: str | None = None
    email: str | None = None
    email_verified: bool | str = False
    given_name: str | None = None
    family_name: str | None = None
    name: str | None = None


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


class OpenIdProvider:
    """A provider, found by its issuer's discovery document. `clock` gives Unix seconds, `ticks`
    seconds that pass whatever the wall clock is set to."""

    def __init__(
        self,
        title: str,
        issuer: str,
        client: Client,
        http: httpx.AsyncClient,
        *,
        parameters: dict[str, str],
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title = title
        self._issuer = issuer
        self._client = client
        self._http = http
        self._parameters = parameters
        self._clock = clock
        self._ticks = ticks
        self._loading = asyncio.Lock()
        self._discovery: tuple[_Discovery, float] | None = None
        self._keys: tuple[dict[str, RSAKey | ECKey], float] | None = None

    async def discover(self) -> None:
        """Find the provider, unless it was found within the hour.

        Raises:
            MemoError: `unavailable`.
        """
        await self._discovered()

    async def authorization_url(
        self, *, redirect_uri: str, state: str, nonce: str, challenge: str
    ) -> str:
        """Where to send somebody to sign in. `challenge` is PKCE's, of method S256.

        Raises:
            MemoError: `unavailable`.
        """
        query = {
            "client_id": self._client.id,
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **self._parameters,
        }
        endpoint = (await self._discovered()).authorization_endpoint
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def profile(self, *, code: str, redirect_uri: str, verifier: str, nonce: str) -> Profile:
        """Who has signed in, for a code that the provider returned.

        Raises:
            MemoError: `unauthorized` when the provider, or what it says, is not to be believed;
                `unavailable` when it cannot be asked.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
            "client_id": self._client.id,
            "client_secret": self._client.secret(),
        }
        endpoint = (await self._discovered()).token_endpoint
        status, body = await self._fetch("POST", endpoint, form)
        if status >= 500 or status == 429:
            raise self._unavailable(f"its tokens: {status}")
        if status != 200:
            log.info("openid.refused", provider=self.title, status=status, error=_error(body))
            raise self._unauthorized()
        try:
            token = msgspec.json.decode(body, type=_Tokens).id_token
        except msgspec.MsgspecError:
            raise self._unavailable("no id_token") from None
        return await self._read(token, nonce)

    async def _read(self, token: str, nonce: str) -> Profile:
        """What an id_token says, once its signature and claims are found good."""
        try:
            claims = await self._verified(token)
            problem = self._problem(claims, nonce)
        except (JoseError, msgspec.MsgspecError, ValueError) as error:
            problem = type(error).__name__
        if problem is not None:
            log.warning("openid.bad_token", provider=self.title, problem=problem)
            raise self._unauthorized()
        return _profile(claims)

    async def _verified(self, token: str) -> _Claims:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise ValueError("too long")
        header: dict[str, Any] = msgspec.json.decode(_segment(token), type=dict[str, Any])
        key = await self._key(str(header.get("kid")))
        if key is None:
            raise ValueError("signed with an unknown key")
        # The key says which algorithm it is for: a public key is never taken for a secret.
        algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
        decoded = jwt.decode(token, key, algorithms=[algorithm])
        return msgspec.convert(decoded.claims, type=_Claims)

    def _problem(self, claims: _Claims, nonce: str) -> str | None:
        """What is wrong with the claims of a token that the provider has signed."""
        now = self._clock()
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if claims.iss not in (self._issuer, self._issuer.removeprefix("https://")):
            return "iss"  # Google's has the scheme or has it not
        if self._client.id not in audience or claims.azp not in (None, self._client.id):
            return "aud"
        if len(audience) > 1 and claims.azp is None:
            return "azp"
        if claims.exp <= now - LEEWAY_SECONDS:
            return "exp"
        if claims.iat > now + LEEWAY_SECONDS:
            return "iat"
        if not hmac.compare_digest(claims.nonce.encode(), nonce.encode()):
            return "nonce"
        return None if 0 < len(claims.sub) <= 255 else "sub"

    async def _key(self, kid: str) -> RSAKey | ECKey | None:
        """The provider's key of this id. Keys that it rotated in are found, those that it took
        away are forgotten within the hour."""
        async with self._loading:
            now = self._ticks()
            known = self._keys
            limit = STALE if known is not None and kid in known[0] else STALE_IF_UNKNOWN
            if known is None or now - known[1] >= limit:
                discovery = await self._find()
                status, body = await self._fetch("GET", discovery.jwks_uri)
                if status != 200:
                    raise self._unavailable(f"its keys: {status}")
                known = self._keys = (_read_keys(body), now)
            return known[0].get(kid)

    async def _discovered(self) -> _Discovery:
        async with self._loading:
            return await self._find()

    async def _find(self) -> _Discovery:
        now = self._ticks()
        if self._discovery is not None and now - self._discovery[1] < STALE:
            return self._discovery[0]
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        status, body = await self._fetch("GET", url)
        try:
            found = msgspec.json.decode(body, type=_Discovery)
        except msgspec.MsgspecError:
            raise self._unavailable(f"its discovery document: {status}") from None
        if status != 200 or found.issuer != self._issuer:
            raise self._unavailable(f"its discovery document: {status}, {found.issuer}")
        self._discovery = (found, now)
        return found

    async def _fetch(
        self, method: str, url: str, form: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        body = bytearray()
        headers = {"Accept": "application/json"}
        try:
            async with (
                asyncio.timeout(REQUEST_SECONDS),
                self._http.stream(method, url, data=form, headers=headers) as reply,
            ):
                async for chunk in reply.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise self._unavailable("it answered without end")
                return reply.status_code, bytes(body)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise self._unavailable(type(error).__name__) from None

    def _unauthorized(self) -> MemoError:
        return MemoError(
            ErrorCode.UNAUTHORIZED,
            f"{self.title} did not confirm the sign-in; start again.",
            details={"code": "was not accepted; start again"},
        )

    def _unavailable(self, reason: str) -> MemoError:
        log.warning("openid.unavailable", provider=self.title, reason=reason)
        return MemoError(
            ErrorCode.UNAVAILABLE,
            f"{self.title} cannot be asked right now; try again.",
            retry_after=5,
        )


def _profile(claims: _Claims) -> Profile:
    verified = claims.email_verified is True or claims.email_verified == "true"
    first, last = claims.given_name, claims.family_name
    if first is None and last is None and claims.name:
        first, _, last = claims.name.rpartition(" ")
        if not first:
            first, last = last, None
    return Profile(claims.sub, claims.email if verified else None, first, last)


def _read_keys(body: bytes) -> dict[str, RSAKey | ECKey]:
    """The keys of a set that are for our algorithms; others are passed over."""
    keys: dict[str, RSAKey | ECKey] = {}
    try:
        listed = msgspec.json.decode(body, type=dict[str, list[dict[str, Any]]]).get("keys", [])
    except msgspec.MsgspecError:
        listed = []
    for entry in listed:
        kid = entry.get("kid")
        try:
            if not isinstance(kid, str) or entry.get("use", "sig") != "sig":
                continue
            if entry.get("kty") == "RSA":
                keys[kid] = RSAKey.import_key(entry)
            elif (entry.get("kty"), entry.get("crv")) == ("EC", "P-256"):
                keys[kid] = ECKey.import_key(entry)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            log.warning("openid.bad_key", error=type(error).__name__)
    return keys


def _segment(token: str) -> bytes:
    head = token.partition(".")[0]
    return base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))


def _error(body: bytes) -> str | None:
    """The word that a provider refuses with (RFC 6749, 5.2)."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any]).get("error")
    except msgspec.MsgspecError:
        return None
    return said[:100] if isinstance(said, str) else None
