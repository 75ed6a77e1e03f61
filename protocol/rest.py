"""Every REST endpoint, declared once: what it takes, what it answers and how it refuses.

REST is for signing in, for the bytes of files, and for whoever watches the server; all else is
an operation of the socket. From this tuple come the OpenAPI document and the reference.
"""

from dataclasses import dataclass
from typing import Any, Literal

from protocol import accounts, files, identity
from protocol.errors import ErrorCode
from protocol.limits import Limit
from protocol.operation import Permission
from protocol.records import Body, Timestamp
from protocol.refusals import Refusal

JSON = "application/json"
TEXT = "text/plain; version=0.0.4"
FORM = "multipart/form-data"
BYTES = "application/offset+octet-stream"
ANY = "*/*"


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
class Parameter:
    """What a call is told outside its path and body. `values` are all that it may be; without
    them it may be any of its `kind`."""

    name: str
    place: Literal["header", "query"]
    meaning: str
    required: bool = False
    kind: Literal["string", "integer"] = "string"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call. `answers` begins with the usual one; `errors` come in the shape `Refused`.
    `bearer`: an access token in the header `Authorization` may stand in for the body; with a
    `permission` there has to be one, which grants it. A form has a file beside its fields: the
    one named `file`. A call counts against `limit` (None: against nothing); with `forgiving` only
    one that fails does, and not if it is refused with one of `forgiven`: whoever is told that had
    the right secret."""

    name: str
    method: Literal["GET", "POST", "HEAD", "PATCH", "DELETE", "OPTIONS"]
    path: str
    summary: str
    answers: tuple[Answer, ...]
    request: type[Body] | None = None
    errors: tuple[ErrorCode, ...] = ()
    bearer: bool = False
    permission: Permission | None = None
    parameters: tuple[Parameter, ...] = ()
    content_type: str = JSON
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
        ErrorCode.TWO_FACTOR_REQUIRED,
        ErrorCode.ACCOUNT_DISABLED,
        ErrorCode.BUSY,
    ),
    limit=Limit.AUTH,
    forgiving=True,
    forgiven=(ErrorCode.ACCOUNT_DISABLED, ErrorCode.TWO_FACTOR_REQUIRED),
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
VERIFY = Endpoint(
    "verify",
    "POST",
    "/api/auth/verify",
    "Prove an e-mail address by the token of a link. Harmless twice.",
    (Answer(200, identity.Verified, "The account, its address proven."),),
    identity.VerifyEmail,
    (*_BODY_ERRORS, ErrorCode.CONFLICT),
    limit=Limit.AUTH,
    forgiving=True,
)
FORGOT = Endpoint(
    "forgot",
    "POST",
    "/api/auth/forgot",
    "Send a link to set a new password with, if an account has this address. The answer is the"
    " same if none has.",
    (Answer(202, None, "It is sent, if there is such an account."),),
    identity.ForgotPassword,
    (*_BODY_ERRORS, ErrorCode.BUSY),
    limit=Limit.AUTH,
)
RESET = Endpoint(
    "reset",
    "POST",
    "/api/auth/reset",
    "Set a new password by the token of a link, which works once. All sessions end.",
    (Answer(204, None, "The password is set: sign in with it."),),
    identity.ResetPassword,
    (*_BODY_ERRORS, ErrorCode.BUSY),
    limit=Limit.AUTH,
    forgiving=True,
)
PROVIDERS = Endpoint(
    "providers",
    "GET",
    "/api/auth/providers",
    "The providers that may be signed in with here.",
    (Answer(200, identity.Providers, "Those that are set up."),),
    errors=(ErrorCode.INTERNAL,),
    limit=Limit.API,
)


def _start_oauth(name: identity.Provider, title: str) -> Endpoint:
    return Endpoint(
        f"{name}Start",
        "POST",
        f"/api/auth/oauth/{name}/start",
        f"Begin to sign in with {title}, or to link it to an account.",
        (Answer(200, identity.StartedOAuth, "Where to send the browser to."),),
        identity.StartOAuth,
        (*_BODY_ERRORS, ErrorCode.NOT_FOUND),
        limit=Limit.API,
    )


def _finish_oauth(name: identity.Provider, title: str) -> Endpoint:
    return Endpoint(
        name,
        "POST",
        f"/api/auth/oauth/{name}",
        f"Sign in with what {title} returned. Who is new gets an account.",
        (Answer(200, identity.OAuthSignedIn, "Signed in."),),
        identity.FinishOAuth,
        (
            *_BODY_ERRORS,
            ErrorCode.UNAUTHORIZED,
            ErrorCode.INVALID_CREDENTIALS,
            ErrorCode.TWO_FACTOR_REQUIRED,
            ErrorCode.ACCOUNT_DISABLED,
            ErrorCode.FORBIDDEN,
            ErrorCode.NOT_FOUND,
            ErrorCode.CONFLICT,
        ),
        limit=Limit.AUTH,
        forgiving=True,
        forgiven=(
            ErrorCode.ACCOUNT_DISABLED,
            ErrorCode.TWO_FACTOR_REQUIRED,
            ErrorCode.CONFLICT,
            ErrorCode.FORBIDDEN,
        ),
    )


GOOGLE_START = _start_oauth("google", "Google")
GOOGLE = _finish_oauth("google", "Google")
APPLE_START = _start_oauth("apple", "Apple")
APPLE = _finish_oauth("apple", "Apple")
APPLE_RETURN = Endpoint(
    "appleReturn",
    "POST",
    "/api/auth/oauth/apple/return",
    "Where Apple posts its answer to: the browser is sent on to the app's `redirectUri`, with"
    " `code`, and `user` on the first sign-in, or with `error`, as parameters.",
    (Answer(303, None, "On to the app."),),
    errors=(*_BODY_ERRORS, ErrorCode.NOT_FOUND),
    limit=Limit.API,
)
KEYS = Endpoint(
    "keys",
    "GET",
    "/.well-known/jwks.json",
    "The public keys that access tokens are signed with.",
    (Answer(200, KeySet, "The keys; each has the `kid` that a token's header names."),),
    errors=_DATABASE_ERRORS,
)
# What any endpoint that asks for an access token may answer.
_TOKEN_ERRORS = (
    ErrorCode.UNAUTHORIZED,
    ErrorCode.TOKEN_EXPIRED,
    ErrorCode.SESSION_ENDED,
    ErrorCode.ACCOUNT_DISABLED,
    ErrorCode.FORBIDDEN,
    *_DATABASE_ERRORS,
)
_UPLOAD_ERRORS = (
    ErrorCode.INVALID_REQUEST,
    ErrorCode.NOT_FOUND,
    ErrorCode.GONE,
    ErrorCode.CONFLICT,
    ErrorCode.TOO_LARGE,
    ErrorCode.QUOTA_EXCEEDED,
    ErrorCode.BUSY,
    *_TOKEN_ERRORS,
)
UPLOAD_FILE = Endpoint(
    "uploadFile",
    "POST",
    "/api/files",
    "Upload a file in one request. With the id of a file of one's own, that one is answered.",
    (Answer(201, files.OneFile, "The file."),),
    files.UploadForm,
    _UPLOAD_ERRORS,
    permission=Permission.WRITE_MEMORIES,
    content_type=FORM,
    limit=Limit.UPLOAD,
)
_TOKEN = Parameter("token", "query", "What `files.url` gave, in place of an access token.")
_KNOWN = Parameter("If-None-Match", "header", "The ETag of what is there: 304 if it is the same.")
_FILE_ERRORS = (
    ErrorCode.NOT_FOUND,
    ErrorCode.GONE,
    *_TOKEN_ERRORS,
)
FILE = Endpoint(
    "file",
    "GET",
    "/api/files/{id}",
    "The bytes of a file, or a range of them. HEAD answers the same without the bytes.",
    (
        Answer(200, None, "The bytes. The ETag is their SHA-256.", ANY),
        Answer(206, None, "The bytes of the range.", ANY),
        Answer(304, None, "They are as `If-None-Match` has them."),
        Answer(416, Refused, "`invalid_request`: no byte lies in the range."),
    ),
    errors=_FILE_ERRORS,
    permission=Permission.READ_MEMORIES,
    parameters=(
        _TOKEN,
        Parameter("Range", "header", "One range, like `bytes=0-1023`."),
        Parameter("If-Range", "header", "The ETag that the range is of."),
        _KNOWN,
    ),
)
THUMBNAIL = Endpoint(
    "thumbnail",
    "GET",
    "/api/files/{id}/thumbnail",
    "A small image of an image: WebP, its longer side 512 pixels at the most.",
    (
        Answer(200, None, "The image.", "image/webp"),
        Answer(304, None, "It is as `If-None-Match` has it."),
    ),
    errors=_FILE_ERRORS,
    permission=Permission.READ_MEMORIES,
    parameters=(_TOKEN, _KNOWN),
)
EXPORT = Endpoint(
    "export",
    "GET",
    "/api/exports/{id}",
    "An archive that `account.export` had made, or a range of it. HEAD answers the same without the"
    " bytes.",
    (
        Answer(200, None, "The archive. The ETag is its SHA-256.", "application/zip"),
        Answer(206, None, "The bytes of the range.", "application/zip"),
        Answer(304, None, "They are as `If-None-Match` has them."),
        Answer(416, Refused, "`invalid_request`: no byte lies in the range."),
    ),
    errors=_FILE_ERRORS,
    permission=Permission.READ_MEMORIES,
    parameters=(
        Parameter("token", "query", "What is in the `url` of `account.exports`."),
        Parameter("Range", "header", "One range, like `bytes=0-1023`."),
        Parameter("If-Range", "header", "The ETag that the range is of."),
        _KNOWN,
    ),
)
_TUS = Parameter("Tus-Resumable", "header", "`1.0.0`.", required=True, values=("1.0.0",))
_CHECKSUM = Parameter(
    "Upload-Checksum", "header", "The body's `sha1`, `sha256` or `md5` and its digest in base64."
)
_OTHER_TUS = Answer(412, Refused, "`invalid_request`: another version of tus.")
_TUS_ANSWERS = (
    _OTHER_TUS,
    Answer(415, Refused, f"`invalid_request`: the body is not `{BYTES}`."),
    Answer(423, Refused, "`busy`: another request writes this upload."),
    Answer(460, Refused, "`invalid_request`: the body does not have the checksum."),
)
UPLOADS = Endpoint(
    "uploads",
    "OPTIONS",
    "/api/uploads",
    "What of tus 1.0 is spoken here, as headers.",
    (Answer(204, None, "The headers Tus-Version, Tus-Extension, Tus-Max-Size and others."),),
)
CREATE_UPLOAD = Endpoint(
    "createUpload",
    "POST",
    "/api/uploads",
    "Begin an upload that can be gone on with (tus 1.0). Its bytes are reserved. The address in"
    " `Location` ends in the id of the file it becomes.",
    (Answer(201, None, "The upload; `Location` says where it goes on."), *_TUS_ANSWERS),
    errors=_UPLOAD_ERRORS,
    permission=Permission.WRITE_MEMORIES,
    parameters=(
        _TUS,
        Parameter(
            "Upload-Length", "header", "The bytes of the file.", required=True, kind="integer"
        ),
        Parameter(
            "Upload-Metadata",
            "header",
            "`filename`, `id`, `memoryId` and `messageId`, each with its value in base64.",
        ),
        _CHECKSUM,
    ),
    content_type=BYTES,
    limit=Limit.UPLOAD,
)
UPLOAD_STATE = Endpoint(
    "uploadState",
    "HEAD",
    "/api/uploads/{id}",
    "How far an upload has come; as long as the file is there, also after its end.",
    (
        Answer(200, None, "The headers Upload-Offset, Upload-Length and Upload-Expires."),
        Answer(412, None, "Another version of tus."),
    ),
    errors=(ErrorCode.INVALID_REQUEST, ErrorCode.NOT_FOUND, ErrorCode.GONE, *_TOKEN_ERRORS),
    permission=Permission.WRITE_MEMORIES,
    parameters=(_TUS,),
)
CONTINUE_UPLOAD = Endpoint(
    "continueUpload",
    "PATCH",
    "/api/uploads/{id}",
    "Bring more of an upload. What came of it stays when the connection breaks.",
    (Answer(204, None, "They are kept; `Upload-Offset` says how far it is now."), *_TUS_ANSWERS),
    errors=_UPLOAD_ERRORS,
    permission=Permission.WRITE_MEMORIES,
    parameters=(
        _TUS,
        Parameter(
            "Upload-Offset", "header", "Where the bytes belong.", required=True, kind="integer"
        ),
        _CHECKSUM,
    ),
    content_type=BYTES,
)
END_UPLOAD = Endpoint(
    "endUpload",
    "DELETE",
    "/api/uploads/{id}",
    "Give an upload up. A file that it became is deleted with `files.delete`.",
    (Answer(204, None, "It is gone."), _OTHER_TUS),
    errors=(ErrorCode.INVALID_REQUEST, ErrorCode.NOT_FOUND, *_TOKEN_ERRORS),
    permission=Permission.WRITE_MEMORIES,
    parameters=(_TUS,),
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
    VERIFY,
    FORGOT,
    RESET,
    PROVIDERS,
    GOOGLE_START,
    GOOGLE,
    APPLE_START,
    APPLE,
    APPLE_RETURN,
    KEYS,
    UPLOAD_FILE,
    FILE,
    THUMBNAIL,
    EXPORT,
    UPLOADS,
    CREATE_UPLOAD,
    UPLOAD_STATE,
    CONTINUE_UPLOAD,
    END_UPLOAD,
    HEALTH,
    READY,
    METRICS,
)
