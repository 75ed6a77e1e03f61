"""Every REST endpoint, declared once: what it takes, what it answers and how it refuses.

REST is for signing in and for whoever watches the server; all else is an operation of the
socket. From this tuple come the OpenAPI document and the reference.
"""

from dataclasses import dataclass
from typing import Any, Literal

from protocol import accounts
from protocol.errors import ErrorCode
from protocol.limits import Limit
from protocol.records import Body, Timestamp

JSON = "application/json"
TEXT = "text/plain; version=0.0.4"


class Refusal(Body, frozen=True, omit_defaults=True):
    """Why a call was refused. `details` maps a field's name to what is wrong with it."""

    code: str
    message: str
    details: dict[str, Any] | None = None


class Refused(Body, frozen=True):
    """The body of every refusal. The header `Retry-After` says for how many seconds to wait,
    where the server can tell."""

    error: Refusal


class KeySet(Body, frozen=True):
    """The public keys that access tokens are signed with: a JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, Any]]


class Checks(Body, frozen=True):
    """What each part the server stands on is like. Without Redis its check says `disabled`."""

    database: Literal["healthy", "unhealthy"]
    redis: Literal["healthy", "unhealthy", "disabled"]
    memory: Literal["healthy", "warning"]


class Health(Body, frozen=True):
    """`uptime` is in seconds."""

    status: Literal["healthy", "unhealthy"]
    timestamp: Timestamp
    uptime: float
    version: str
    checks: Checks


class Readiness(Body, frozen=True, omit_defaults=True):
    """`error` says what is missing when the server is not ready. `degraded` names what is down
    that it can do without for a while: `redis`, and devices on other nodes see edits later."""

    status: Literal["ready", "not ready"]
    error: str | None = None
    degraded: list[str] = []


@dataclass(frozen=True, slots=True)
class Answer:
    """A status with its body; `body` None has none, or is plain text."""

    status: int
    body: type[Body] | None
    meaning: str
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call. `answers` begins with the usual one; `errors` come in the shape `Refused`.
    `bearer`: an access token in the header `Authorization` may stand in for the body. A call
    counts against `limit` (None: against nothing); with `forgiving` only one that fails does, and
    not if it is refused with one of `forgiven`: whoever is told that had the right secret."""

    name: str
    method: Literal["GET", "POST"]
    path: str
    summary: str
    answers: tuple[Answer, ...]
    request: type[Body] | None = None
    errors: tuple[ErrorCode, ...] = ()
    bearer: bool = False
    limit: Limit | None = None
    forgiving: bool = False
    forgiven: tuple[ErrorCode, ...] = ()

    @property
    def refusals(self) -> tuple[ErrorCode, ...]:
        """Every code that it may answer with."""
        return (*self.errors, ErrorCode.RATE_LIMITED) if self.limit else self.errors


# What any endpoint that asks the database may answer, and what any that reads a body.
_DATABASE_ERRORS = (ErrorCode.INTERNAL, ErrorCode.UNAVAILABLE, ErrorCode.TIMEOUT)
_BODY_ERRORS = (ErrorCode.INVALID_REQUEST, ErrorCode.TOO_LARGE, *_DATABASE_ERRORS)

REGISTER = Endpoint(
    "register",
    "POST",
    "/api/auth/register",
    "Make an account and sign in to it.",
    (Answer(201, accounts.SignedIn, "The account, signed in."),),
    accounts.Register,
    (*_BODY_ERRORS, ErrorCode.CONFLICT, ErrorCode.BUSY),
    limit=Limit.AUTH,
)
LOGIN = Endpoint(
    "login",
    "POST",
    "/api/auth/login",
    "Sign in with e-mail address and password.",
    (Answer(200, accounts.SignedIn, "Signed in."),),
    accounts.Login,
    (
        *_BODY_ERRORS,
        ErrorCode.INVALID_CREDENTIALS,
        ErrorCode.ACCOUNT_DISABLED,
        ErrorCode.BUSY,
    ),
    limit=Limit.AUTH,
    forgiving=True,
    forgiven=(ErrorCode.ACCOUNT_DISABLED,),
)
REFRESH = Endpoint(
    "refresh",
    "POST",
    "/api/auth/refresh",
    "Trade a refresh token for fresh tokens. Using a spent one ends its session.",
    (Answer(200, accounts.Refreshed, "The next tokens; the refresh token sent is spent."),),
    accounts.Refresh,
    (
        *_BODY_ERRORS,
        ErrorCode.UNAUTHORIZED,
        ErrorCode.SESSION_ENDED,
        ErrorCode.ACCOUNT_DISABLED,
    ),
    limit=Limit.API,
    forgiving=True,
)
LOGOUT = Endpoint(
    "logout",
    "POST",
    "/api/auth/logout",
    "End the session of a refresh token, or of the bearer's access token. Harmless twice.",
    (Answer(204, None, "The session has ended."),),
    accounts.Logout,
    (
        *_BODY_ERRORS,
        ErrorCode.UNAUTHORIZED,
        ErrorCode.TOKEN_EXPIRED,
        ErrorCode.ACCOUNT_DISABLED,
    ),
    bearer=True,
    limit=Limit.API,
    forgiving=True,
)
KEYS = Endpoint(
    "keys",
    "GET",
    "/.well-known/jwks.json",
    "The public keys that access tokens are signed with.",
    (Answer(200, KeySet, "The keys; each has the `kid` that a token's header names."),),
    errors=_DATABASE_ERRORS,
)
HEALTH = Endpoint(
    "health",
    "GET",
    "/health",
    "Whether the server and what it stands on are well.",
    (Answer(200, Health, "Healthy."), Answer(503, Health, "A check failed.")),
)
READY = Endpoint(
    "ready",
    "GET",
    "/ready",
    "Whether to send traffic here.",
    (Answer(200, Readiness, "Ready."), Answer(503, Readiness, "Not ready; `error` says why.")),
)
METRICS = Endpoint(
    "metrics",
    "GET",
    "/metrics",
    "Prometheus metrics.",
    (Answer(200, None, "The text exposition format.", TEXT),),
)

ENDPOINTS: tuple[Endpoint, ...] = (
    REGISTER,
    LOGIN,
    REFRESH,
    LOGOUT,
    KEYS,
    HEALTH,
    READY,
    METRICS,
)
