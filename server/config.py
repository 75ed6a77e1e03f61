"""The configuration: environment variables, read once and checked at once."""

import base64
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from email.utils import parseaddr
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]
Features = Literal["all", "tiers"]

MAX_WORKERS = 64
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12} | {
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
    "ti": 1 << 40,
}
GOOGLE_ISSUER = "https://accounts.google.com"
APPLE_ISSUER = "https://appleid.apple.com"
_TOGETHER = (
    ("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"),
    ("APPLE_CLIENT_ID", "APPLE_TEAM_ID", "APPLE_KEY_ID", "APPLE_PRIVATE_KEY"),
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE = re.compile(r"(\d{1,9})\s*/\s*(\d{0,4})\s*(second|minute|hour|day)s?", re.ASCII)


class ConfigError(Exception):
    """A variable's value cannot be used; the message is one line with what is accepted."""


class Rate(msgspec.Struct, frozen=True):
    """So many calls within so many seconds."""

    amount: int
    seconds: int


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can set. The defaults serve one person on one machine.

    An empty variable counts as unset.
    """

    host: str = "127.0.0.1"
    """HOST: the address to listen on. `0.0.0.0` is every IPv4 interface."""

    port: int = 8000
    """PORT: the port to listen on; 0 lets the system choose."""

    public_url: str | None = None
    """PUBLIC_URL: where clients reach the server, without a slash at the end."""

    data_directory: Path = Path("data")
    """DATA_DIR: the directory for what the server keeps on disk."""

    database_url: str | None = None
    """DATABASE_URL: a PostgreSQL 14 or later; unset, an embedded one in DATA_DIR."""

    redis_url: str | None = None
    """REDIS_URL: the Redis that joins several nodes; unset, this is the only one."""

    workers: int = 1
    """WORKERS: processes that serve behind one port; more than one need REDIS_URL."""

    jwt_private_key: str | None = None
    """JWT_PRIVATE_KEY: an RSA key in PEM, or the path of its file, for `server.tokens.read_key`;
    unset, keys are made and kept in the database."""

    log_level: LogLevel = "info"
    """LOG_LEVEL."""

    log_format: LogFormat = "auto"
    """LOG_FORMAT: `auto` is `console` on a terminal and `json` elsewhere."""

    cors_origins: tuple[str, ...] = ()
    """CORS_ORIGINS: pages of these origins may call the server, `*` for all."""

    trusted_proxies: tuple[str, ...] = ()
    """TRUSTED_PROXIES: the addresses or networks whose X-Forwarded-For is believed."""

    geoip_database: Path | None = None
    """GEOIP_DATABASE: a file in MaxMind's format that tells where an address is."""

    blob_url: str | None = None
    """BLOB_URL: where the bytes of files are: `file:///directory`, `s3://bucket/prefix`, `gs://`
    or `az://`, with the credentials that each cloud's own tools use; unset, in DATA_DIR/blobs."""

    file_quota_bytes: int = 5_000_000_000
    """FILE_QUOTA: what the files of one account may take."""

    max_file_bytes: int = 100_000_000
    """MAX_FILE_BYTES: what one file may have."""

    update_retention_seconds: float = 7 * 86400.0
    """UPDATE_RETENTION: how long single edits stay in a document's log behind its snapshot."""

    encryption_keys: tuple[bytes, ...] = ()
    """ENCRYPTION_KEY: 32 bytes each; the first one encrypts secrets at rest, all of them decrypt.
    Without one they are kept as they are."""

    smtp_url: str | None = None
    """SMTP_URL: the server that mail is handed to. Without it and a SENDGRID_API_KEY, messages are
    written to the log."""

    sendgrid_api_key: str | None = None
    """SENDGRID_API_KEY: mail goes through SendGrid."""

    mail_from: str | None = None
    """MAIL_FROM: the sender, `name@example.com` or `Name <name@example.com>`."""

    oauth_redirect_uris: tuple[str, ...] = ()
    """OAUTH_REDIRECT_URIS: where sign-ins with a provider may return to, besides the pages of
    PUBLIC_URL and CORS_ORIGINS; for mobile apps."""

    google_client_id: str | None = None
    """GOOGLE_CLIENT_ID."""

    google_client_secret: str | None = None
    """GOOGLE_CLIENT_SECRET."""

    google_issuer: str = GOOGLE_ISSUER
    """GOOGLE_ISSUER: another OpenID provider in Google's place."""

    apple_client_id: str | None = None
    """APPLE_CLIENT_ID: the Services ID."""

    apple_team_id: str | None = None
    """APPLE_TEAM_ID."""

    apple_key_id: str | None = None
    """APPLE_KEY_ID: the id of APPLE_PRIVATE_KEY."""

    apple_private_key: str | None = None
    """APPLE_PRIVATE_KEY: a P-256 key in PEM, or the path of its file."""

    apple_issuer: str = APPLE_ISSUER
    """APPLE_ISSUER: another OpenID provider that does as Apple does."""
    history_retention_seconds: float = 90 * 86400.0
    """HISTORY_RETENTION: how long versions of a memory stay that have no name."""

    trash_retention_seconds: float = 30 * 86400.0
    """TRASH_RETENTION: how long a deleted memory can be restored; then it is purged."""

    features: Features = "all"
    """FEATURES: `all` gives every account all rights but those of an admin; with `tiers` they
    depend on its role."""

    rate_limit_auth: Rate | None = Rate(5, 900)
    """RATE_LIMIT_AUTH: sign-ups, and sign-ins that fail, of one address, and guesses at one
    account; None is `off`, here and below."""

    rate_limit_api: Rate | None = Rate(100, 900)
    """RATE_LIMIT_API: other calls of REST, of one user or else of one address."""

    rate_limit_upload: Rate | None = Rate(10, 3600)
    """RATE_LIMIT_UPLOAD: uploads of one user."""

    rate_limit_ai: Rate | None = Rate(50, 3600)
    """RATE_LIMIT_AI: calls of one user that a model answers."""

    rate_limit_invite: Rate | None = Rate(100, 86400)
    """RATE_LIMIT_INVITE: invitations by e-mail address of one user, each of which is mail to
    somebody."""

    rate_limit_socket: Rate | None = Rate(12_000, 60)
    """RATE_LIMIT_SOCKET: operations of one user on the socket, counted by each node for itself."""

    rate_limit_hello: Rate | None = Rate(30, 300)
    """RATE_LIMIT_HELLO: sockets of one address whose token is refused, counted by each node for
    itself."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
        """The settings that `environ` asks for.

        Raises:
            ConfigError: for the first value that cannot be used.
        """
        given = {name: value.strip() for name, value in environ.items() if value.strip()}
        variables: dict[str, tuple[str, Callable[[str, str], Any]]] = {
            "HOST": ("host", _host),
            "PORT": ("port", _port),
            "PUBLIC_URL": ("public_url", _public_url),
            "DATA_DIR": ("data_directory", _path),
            "DATABASE_URL": ("database_url", _database_url),
            "REDIS_URL": ("redis_url", _redis_url),
            "WORKERS": ("workers", _workers),
            "JWT_PRIVATE_KEY": ("jwt_private_key", _text),
            "LOG_LEVEL": ("log_level", _one_of(get_args(LogLevel))),
            "LOG_FORMAT": ("log_format", _one_of(get_args(LogFormat))),
            "CORS_ORIGINS": ("cors_origins", _origins),
            "TRUSTED_PROXIES": ("trusted_proxies", _networks),
            "GEOIP_DATABASE": ("geoip_database", _path),
            "BLOB_URL": ("blob_url", _blob_url),
            "FILE_QUOTA": ("file_quota_bytes", _size),
            "MAX_FILE_BYTES": ("max_file_bytes", _size),
            "UPDATE_RETENTION": ("update_retention_seconds", _duration),
            "ENCRYPTION_KEY": ("encryption_keys", _keys),
            "SMTP_URL": ("smtp_url", _smtp_url),
            "SENDGRID_API_KEY": ("sendgrid_api_key", _text),
            "MAIL_FROM": ("mail_from", _sender),
            "OAUTH_REDIRECT_URIS": ("oauth_redirect_uris", _redirect_uris),
            "GOOGLE_CLIENT_ID": ("google_client_id", _text),
            "GOOGLE_CLIENT_SECRET": ("google_client_secret", _text),
            "GOOGLE_ISSUER": ("google_issuer", _issuer),
            "APPLE_CLIENT_ID": ("apple_client_id", _text),
            "APPLE_TEAM_ID": ("apple_team_id", _text),
            "APPLE_KEY_ID": ("apple_key_id", _text),
            "APPLE_PRIVATE_KEY": ("apple_private_key", _text),
            "APPLE_ISSUER": ("apple_issuer", _issuer),
            "HISTORY_RETENTION": ("history_retention_seconds", _duration),
            "TRASH_RETENTION": ("trash_retention_seconds", _duration),
            "FEATURES": ("features", _one_of(get_args(Features))),
            "RATE_LIMIT_AUTH": ("rate_limit_auth", _rate),
            "RATE_LIMIT_API": ("rate_limit_api", _rate),
            "RATE_LIMIT_UPLOAD": ("rate_limit_upload", _rate),
            "RATE_LIMIT_AI": ("rate_limit_ai", _rate),
            "RATE_LIMIT_INVITE": ("rate_limit_invite", _rate),
            "RATE_LIMIT_SOCKET": ("rate_limit_socket", _rate),
            "RATE_LIMIT_HELLO": ("rate_limit_hello", _rate),
        }
        fields = {
            field: parse(name, given[name])
            for name, (field, parse) in variables.items()
            if name in given
        }
        settings = cls(**fields)
        if settings.workers > 1 and settings.redis_url is None:
            raise ConfigError(
                f"WORKERS is {settings.workers}, and more than one need Redis between them: "
                "set REDIS_URL, or WORKERS to 1"
            )
        for names in _TOGETHER:
            missing = [name for name in names if name not in given]
            if missing and len(missing) < len(names):
                raise ConfigError(
                    f"{', '.join(names)} go together, and {', '.join(missing)} is missing: "
                    "set all of them, or none"
                )
        if settings.smtp_url is not None and settings.sendgrid_api_key is not None:
            raise ConfigError("SMTP_URL and SENDGRID_API_KEY are both set: set one of them")
        if settings.sends_mail and settings.mail_from is None:
            raise ConfigError("MAIL_FROM is missing: set the address that mail is sent from")
        return settings

    def url_at(self, port: int) -> str:
        """Where to open the server when it listens on `port`: PUBLIC_URL, or else its address."""
        if self.public_url:
            return self.public_url
        # An address that means "every interface" is none to open.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def blobs_url(self) -> str:
        """BLOB_URL, or the directory that stands in for it."""
        return self.blob_url or (self.data_directory / "blobs").absolute().as_uri()

    @property
    def sends_mail(self) -> bool:
        """Whether messages reach people; if not, they are written to the log."""
        return self.smtp_url is not None or self.sendgrid_api_key is not None

    @property
    def url(self) -> str:
        """Where to open the server when it listens on PORT."""
        return self.url_at(self.port)


def _wrong(name: str, value: str, accepted: str) -> ConfigError:
    shown = value if len(value) <= 60 else value[:57] + "..."
    return ConfigError(f"{name} is {shown!r}; it has to be {accepted}")


def _host(name: str, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", value):
        raise _wrong(name, value, "a host name or an IP address, like 127.0.0.1")
    return value


def _port(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) <= 65535):
        raise _wrong(name, value, "a number from 0 to 65535")
    return int(value)


def _public_url(name: str, value: str) -> str:
    if not _is_url(value, "http", "https"):
        raise _wrong(name, value, "a web address, like https://memo.example.com")
    return value.rstrip("/")


def _path(_: str, value: str) -> Path:
    return Path(value).expanduser()


def _database_url(name: str, value: str) -> str:
    try:
        parts = urlsplit(value)
        fits = parts.scheme in ("postgres", "postgresql") and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        # The value may hold a password, so it is not shown.
        raise ConfigError(f"{name} has to be like postgresql://user:password@host:5432/database")
    return value


def _redis_url(name: str, value: str) -> str:
    if not _is_url(value, "redis", "rediss") and not re.match(r"unix://(.*@)?/.", value):
        # The value may hold a password, so it is not shown.
        raise ConfigError(
            f"{name} has to be like redis://user:password@host:6379/0, rediss:// with TLS, "
            "or unix:///path/to/redis.sock"
        )
    return value


def _workers(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= MAX_WORKERS):
        raise _wrong(name, value, f"a number from 1 to {MAX_WORKERS}")
    return int(value)


def _text(_: str, value: str) -> str:
    return value


def _one_of(choices: Sequence[str]) -> Callable[[str, str], str]:
    def parse(name: str, value: str) -> str:
        if value.lower() not in choices:
            raise _wrong(name, value, "one of " + ", ".join(choices))
        return value.lower()

    return parse


def _origins(name: str, value: str) -> tuple[str, ...]:
    origins = _items(value)
    for origin in origins:
        if origin != "*" and not (_is_url(origin, "http", "https") and origin.count("/") == 2):
            raise _wrong(name, origin, "origins like https://app.example.com, with commas, or *")
    return origins


def _networks(name: str, value: str) -> tuple[str, ...]:
    networks = _items(value)
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise _wrong(name, network, "IP addresses or networks, with commas") from None
    return networks


def _duration(name: str, value: str) -> float:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhd])", value)
    if not match:
        raise _wrong(name, value, "a number with s, m, h or d, like 7d")
    return float(match[1]) * _SECONDS[match[2]]


def _blob_url(name: str, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return value
    if not (parts.scheme in ("s3", "gs", "az") and parts.netloc) or "@" in parts.netloc:
        raise _wrong(
            name, value, "like file:///var/lib/memo/blobs, s3://bucket/prefix, gs:// or az://"
        )
    return value


def _keys(name: str, value: str) -> tuple[bytes, ...]:
    keys = []
    for item in _items(value):
        try:
            key = base64.b64decode(item, altchars=b"-_" if {"-", "_"} & set(item) else None)
        except ValueError:
            key = b""
        if len(key) != 32:
            raise ConfigError(
                f"{name} has to be 32 bytes in base64 (openssl rand -base64 32), or several with "
                "commas: the first one encrypts, all of them decrypt"
            )
        keys.append(key)
    return tuple(keys)


def _smtp_url(name: str, value: str) -> str:
    if not _is_url(value, "smtp", "smtps"):
        # The value may hold a password, so it is not shown.
        raise ConfigError(
            f"{name} has to be like smtp://user:password@host:587, or smtps://… with TLS from the "
            "first byte; what stands in it for itself is written in percent: %40 for @"
        )
    return value


def _size(name: str, value: str) -> int:
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?) ?([kMGT]i?)?B?", value, re.ASCII | re.IGNORECASE)
    if not match:
        raise _wrong(name, value, "a number of bytes, like 100MB or 5GB")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def _sender(name: str, value: str) -> str:
    _, address = parseaddr(value)
    if not re.fullmatch(r"[^\s@<>]+@[^\s@<>]+", address) or not value.isprintable():
        raise _wrong(name, value, "an address, like Memory App <memo@example.com>")
    return value


def _issuer(name: str, value: str) -> str:
    if not _is_url(value, "http", "https"):
        raise _wrong(name, value, "the address of an OpenID provider, like https://id.example.com")
    # To the letter what the provider calls itself, a slash at the end included.
    return value


def _redirect_uris(name: str, value: str) -> tuple[str, ...]:
    uris = _items(value)
    for uri in uris:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^#\s]+", uri):
            raise _wrong(name, uri, "addresses like com.example.memo:/signed-in, with commas")
    return uris


def _rate(name: str, value: str) -> Rate | None:
    if value.lower() == "off":
        return None
    match = _RATE.fullmatch(value.lower())
    amount = int(match[1]) if match else 0
    number = int(match[2] or 1) if match else 0
    if match is None or not (amount and number):
        raise _wrong(name, value, "a number in a time, like 5/15minutes or 100/hour, or off")
    return Rate(amount, number * _SECONDS[match[3][0]])


def _items(value: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in value.split(",") if item.strip())


def _is_url(value: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
