"""Tokens: JSON Web Tokens signed with RS256, for the API and for single documents."""

import asyncio
import base64
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from protocol.accounts import User
from protocol.errors import ErrorCode, MemoError
from protocol.operation import Permission
from server.config import ConfigError, Features
from server.pem import pem_of
from storage.keys import SigningKey

ISSUER = "memory-app"
AUDIENCE = "memory-app-users"
DOCUMENT_AUDIENCE = "memory-app-documents"
ACCESS_SECONDS = 15 * 60
DOCUMENT_SECONDS = 30 * 86400  # at the most
LEEWAY_SECONDS = 10
MAX_CHARACTERS = 8192
KEY_BITS = 2048

# How old what a node knows of the keys may be, in seconds: at all, and when a token names a key
# it does not know. The second one bounds what made-up tokens cost the database.
_STALE = 60.0
_STALE_IF_UNKNOWN = 1.0

_LINK_PURPOSE = b"memory-app links"


class Principal(msgspec.Struct, frozen=True):
    """Who a token speaks for, and what it grants until `expires_at` (Unix seconds).

    With `document_id` it opens that one document on `/yjs`, and nothing else.
    """

    account_id: UUID
    session_id: UUID
    email: str
    role: str
    permissions: frozenset[Permission]
    expires_at: float
    document_id: UUID | None = None


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The only header our tokens have: no other algorithm, no key of the sender's."""

    alg: Literal["RS256"]
    kid: str
    typ: Literal["JWT"]


class Claims(msgspec.Struct, frozen=True, omit_defaults=True, rename={"user_id": "userId"}):
    """What a token says. Times are Unix seconds."""

    iss: str
    aud: str
    sub: UUID
    sid: UUID
    user_id: UUID
    email: str
    role: str
    permissions: list[str]
    iat: int
    exp: int
    jti: UUID
    doc: UUID | None = None


class UnknownKeyError(MemoError):
    """The token names a signing key that this node does not know (yet)."""


_EVERYONE = frozenset(Permission) - {Permission.MANAGE_USERS}
_TIERS = {
    "user": frozenset({Permission.READ_MEMORIES, Permission.WRITE_MEMORIES}),
    "premium": _EVERYONE,
    "admin": frozenset(Permission),
}


def permissions_of(role: str, features: Features = "all") -> frozenset[Permission]:
    """The rights that a role brings.

    With `all` the features, only an admin's role brings more than any other: who hosts the server
    for themselves has no plans to sell. With `tiers` each role has its own.
    """
    if role == "admin" or features == "tiers":
        return _TIERS[role]
    return _EVERYONE


def generate_key() -> SigningKey:
    """A new signing key. Takes some tenths of a second."""
    return _signing_key(RSAKey.generate_key(KEY_BITS))


def read_key(value: str) -> SigningKey:
    r"""The signing key that `JWT_PRIVATE_KEY` gives: PEM text, or the path of a PEM file.

    Line breaks of the text may be written as `\n`, as .env files do.

    Raises:
        ConfigError: never with the key in its message.
    """
    pem = pem_of("JWT_PRIVATE_KEY", value)
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise ConfigError("JWT_PRIVATE_KEY is not an unencrypted RSA private key in PEM")
    if key.key_size < KEY_BITS:
        raise ConfigError(
            f"JWT_PRIVATE_KEY has {key.key_size} bits; at least {KEY_BITS} are needed"
        )
    return _signing_key(RSAKey.import_key(key))


class Tokens:
    """Issues and verifies tokens with the installation's signing keys.

    The first of `keys` signs, all of them verify. `load` reads them again (None: they never
    change). `features` says what rights a role brings. `clock` gives Unix seconds, `ticks` seconds
    that pass whatever the wall clock is set to.
    """

    def __init__(
        self,
        keys: Sequence[SigningKey],
        load: Callable[[], Awaitable[Sequence[SigningKey]]] | None = None,
        *,
        features: Features = "all",
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._features = features
        self._clock = clock
        self._ticks = ticks
        self._loading = asyncio.Lock()
        self._keys: dict[str, RSAKey] = {}
        self._use(keys)

    def rights(self, role: str) -> frozenset[Permission]:
        """The rights that a role brings here."""
        return permissions_of(role, self._features)

    def issue_access(self, user: User, session_id: UUID) -> tuple[str, float]:
        """An access token for `user`, and when it expires (Unix seconds)."""
        now = int(self._clock())
        claims = Claims(
            iss=ISSUER,
            aud=AUDIENCE,
            sub=user.id,
            sid=session_id,
            user_id=user.id,
            email=user.email,
            role=user.role,
            permissions=sorted(permission.value for permission in self.rights(user.role)),
            iat=now,
            exp=now + ACCESS_SECONDS,
            jti=uuid4(),
        )
        return self._sign(claims), float(claims.exp)

    def issue_document(
        self, principal: Principal, memory_id: UUID, lifetime: int
    ) -> tuple[str, float]:
        """A token for one document, good for `lifetime` seconds, and when it expires.

        Its audience is another one, so it never passes for an access token.
        """
        now = int(self._clock())
        claims = Claims(
            iss=ISSUER,
            aud=DOCUMENT_AUDIENCE,
            sub=principal.account_id,
            sid=principal.session_id,
            user_id=principal.account_id,
            email=principal.email,
            role=principal.role,
            permissions=sorted(permission.value for permission in principal.permissions),
            iat=now,
            exp=now + lifetime,
            jti=uuid4(),
            doc=memory_id,
        )
        return self._sign(claims), float(claims.exp)

    def verify(self, token: str) -> Principal:
        """Whom an access token speaks for.

        Raises:
            MemoError: `token_expired`, or `unauthorized` for anything that is not a token of
                ours. `UnknownKeyError` when only its key is not known.
        """
        claims = self._read(token)
        if claims.aud != AUDIENCE or claims.doc is not None:
            raise _refused()
        return _principal(claims)

    def verify_document(self, token: str, memory_id: UUID) -> Principal:
        """Whom an access token, or a token for this very document, speaks for.

        Raises:
            MemoError: as `verify`.
        """
        claims = self._read(token)
        if (claims.aud, claims.doc) not in ((AUDIENCE, None), (DOCUMENT_AUDIENCE, memory_id)):
            raise _refused()
        return _principal(claims)

    def sign_link(self, claim: str) -> str:
        """A signature of `claim`, short enough for an address. Nodes with the same keys make the
        same one."""
        return _link_signature(self._link_keys[self._signs_with], claim)

    def verify_link(self, claim: str, signature: str) -> bool:
        """Whether this `signature` of `claim` is ours."""
        return any(
            hmac.compare_digest(_link_signature(key, claim).encode(), signature.encode())
            for key in self._link_keys.values()
        )

    def jwks(self) -> dict[str, Any]:
        """The public keys as a JSON Web Key Set (RFC 7517), for others to verify with."""
        return {
            "keys": [
                key.as_dict(private=False, kid=kid, use="sig", alg="RS256")
                for kid, key in self._keys.items()
            ]
        }

    async def reload(self, error: UnknownKeyError | None = None) -> None:
        """Read the keys again if what is known is old, or after `error` if it is not brand-new.

        Callers await this before they use the keys, so a rotation reaches every node within a
        minute, and a token of a new key at once.
        """
        if self._load is None:
            return
        limit = _STALE_IF_UNKNOWN if error else _STALE
        async with self._loading:
            if self._ticks() - self._loaded_at >= limit:
                self._use(await self._load())

    def _use(self, keys: Sequence[SigningKey]) -> None:
        if not keys:
            raise ValueError("there is no signing key")
        # Reading a key checks its primes, so those already read are not read again.
        self._keys = {
            key.id: self._keys.get(key.id) or RSAKey.import_key(key.private_pem) for key in keys
        }
        # Links are signed by the hundred, and read by us alone: RSA would be slow, and long.
        self._link_keys = {
            key.id: hmac.digest(key.private_pem.encode(), _LINK_PURPOSE, "sha256") for key in keys
        }
        self._signs_with = keys[0].id
        self._loaded_at = self._ticks()

    def _sign(self, claims: Claims) -> str:
        header = {"alg": "RS256", "kid": self._signs_with, "typ": "JWT"}
        key = self._keys[self._signs_with]
        return jws.serialize_compact(header, msgspec.json.encode(claims), key, ["RS256"])

    def _read(self, token: str) -> Claims:
        """The claims of a token that is signed by us, for someone of ours, and not expired."""
        if len(token) > MAX_CHARACTERS:
            raise _refused()
        try:
            header = msgspec.json.decode(_decode_segment(token.partition(".")[0]), type=Header)
            key = self._keys.get(header.kid)
            if key is None:
                raise UnknownKeyError(ErrorCode.UNAUTHORIZED)
            signed = jws.deserialize_compact(token, key, ["RS256"])
            claims = msgspec.json.decode(signed.payload, type=Claims)
        # ValueError is also what a string that is not ASCII, or not base64, gives.
        except (JoseError, msgspec.MsgspecError, ValueError, RecursionError):
            raise _refused() from None
        now = self._clock()
        if claims.iss != ISSUER or claims.sub != claims.user_id:
            raise _refused()
        if claims.iat > now + LEEWAY_SECONDS:
            raise _refused()
        if claims.exp <= now - LEEWAY_SECONDS:
            raise MemoError(ErrorCode.TOKEN_EXPIRED)
        return claims


def _principal(claims: Claims) -> Principal:
    # A newer node may have granted a right that this one does not know yet.
    granted = frozenset(claims.permissions)
    return Principal(
        account_id=claims.sub,
        session_id=claims.sid,
        email=claims.email,
        role=claims.role,
        permissions=frozenset(p for p in Permission if p.value in granted),
        expires_at=float(claims.exp),
        document_id=claims.doc,
    )


def _link_signature(key: bytes, claim: str) -> str:
    digest = hmac.digest(key, claim.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _decode_segment(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _signing_key(key: RSAKey) -> SigningKey:
    # The thumbprint of RFC 7638 names a key by what it is: the same PEM, the same id, anywhere.
    return SigningKey(key.thumbprint(), key.as_pem(private=True).decode())


def _refused() -> MemoError:
    return MemoError(ErrorCode.UNAUTHORIZED)
