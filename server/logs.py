"""Logs: one line an event, on standard error, of our own and of the libraries alike.

`json` has an object a line with `timestamp` (UTC), `level`, `logger`, `event` and what the event
carries. `console` is the same for people. Neither shows a secret.
"""

import logging
import re
import sys
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"

_SECRET_KEYS = frozenset(
    {
        "access_token",
        "apple_private_key",
        "authorization",
        "client_secret",
        "cookie",
        "database_url",
        "encryption_keys",
        "google_client_secret",
        "id_token",
        "jwt_private_key",
        "password",
        "private_pem",
        "recovery_codes",
        "refresh_token",
        "secret",
        "sendgrid_api_key",
        "smtp_url",
        "token",
    }
)
# A token in a URL's query, a bearer token, the password in a database's address.
_SECRET_TEXT = re.compile(
    r"""(?P<before> \b(?:access_|refresh_)?token= | \bBearer\s+ | ://[^/\s:@]*: (?=[^/\s@]*@) )
        [^&\s"'@]+""",
    re.VERBOSE | re.IGNORECASE,
)


def set_up(level: str = "info", style: str = "auto", stream: TextIO | None = None) -> None:
    """Send all logs of this process, from `level` up, to `stream` (standard error).

    `style` is `console`, `json`, or `auto`: `console` where `stream` is a terminal.
    """
    stream = stream or sys.stderr
    console = style == "console" or (style == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
        redact,
    ]
    renderer: Processor
    if console:
        renderer = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    else:
        renderer = structlog.processors.JSONRenderer(_encode)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # What uvicorn says at a start and for each request is in our own events and metrics.
    for name in ("uvicorn.error", "uvicorn.access", "httpx", "httpcore", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Take secrets out of an event: by the names of its keys, and out of its texts."""
    return {key: _without_secrets(key, value) for key, value in event.items()}


def _without_secrets(key: str, value: Any) -> Any:
    if key.lower() in _SECRET_KEYS and value is not None:
        return REDACTED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(rf"\g<before>{REDACTED}", value)
    if isinstance(value, dict):
        return {name: _without_secrets(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple) and not key.startswith("_"):
        return [_without_secrets(key, item) for item in value]
    return value


def _encode(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()
