"""What every answer over HTTP carries to keep browsers from being used against their owner, and
which pages of other origins may call."""

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.config import Settings

_HEADERS = {
    # An answer that is no page, opened as one, may do nothing. A page brings a policy of its own.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_HSTS = "max-age=31536000"  # a year; subdomains are their owner's to decide about

# What uploads in pieces (tus) send and read, besides what every call does.
_TUS_SENT = (
    "Tus-Resumable", "Upload-Checksum", "Upload-Concat", "Upload-Defer-Length", "Upload-Length",
    "Upload-Metadata", "Upload-Offset", "X-HTTP-Method-Override",
)  # fmt: skip
_TUS_READ = (
    "Location", "Tus-Checksum-Algorithm", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable",
    "Tus-Version", "Upload-Expires", "Upload-Length", "Upload-Metadata", "Upload-Offset",
)  # fmt: skip
_SENT = ("Authorization", "Content-Type", "If-None-Match", "If-Range", "Range")
_READ = (
    "Accept-Ranges", "Content-Disposition", "Content-Length", "Content-Range", "ETag",
    "RateLimit-Limit", "RateLimit-Policy", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After",
)  # fmt: skip


class SecurityHeaders:
    """ASGI middleware that adds the headers that an answer does not have by itself."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._headers = dict(_HEADERS)
        # Over plain HTTP nobody believes it, and who tries the server out there is not to be
        # locked out of it.
        if (settings.public_url or "").startswith("https://"):
            self._headers["Strict-Transport-Security"] = _HSTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def cross_origin(settings: Settings) -> list[Middleware]:
    """What lets pages of CORS_ORIGINS call. Tokens travel in headers, never in cookies, so a page
    has no more rights than the tokens that it was given."""
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
            allow_headers=[*_SENT, *_TUS_SENT],
            expose_headers=[*_READ, *_TUS_READ],
            max_age=3600,
        )
    ]
