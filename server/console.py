"""The web console at `/`: the files that `server/web/build.mjs` makes, served from memory."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

# Scripts are the console's own alone. Styles may be inline: its editor writes its own. Data
# goes to this server alone, which 'self' means for its sockets too.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; "
    "img-src 'self' data:; media-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_SECURITY = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# An asset's name changes with its content; a page's does not.
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_FIRST = "no-cache"

# The page is one: what it shows at a path is its own to know.
_PAGES = ("/", "/join")

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

_NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Memory App backend</title>
<style>
  :root { color-scheme: light dark; font: 17px/1.6 system-ui, sans-serif; }
  main { max-width: 34rem; margin: 18vh auto 0; padding: 0 1.5rem; }
  code { font-family: ui-monospace, monospace; }
</style>
<main>
  <h1>The server is running</h1>
  <p>The console isn't built: install Node 20+ and run <code>make run</code>.</p>
  <p>The API works without it: see <a href="/docs">its reference</a>.</p>
</main>
</html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the build. `packed` is the same, gzipped, where that is worth it."""

    body: bytes
    packed: bytes | None
    media_type: str
    cache_control: str
    etag: str

    @classmethod
    def read(cls, path: Path, cache_control: str) -> "_File":
        body = path.read_bytes()
        packed = path.with_name(f"{path.name}.gz")
        return cls(
            body=body,
            packed=packed.read_bytes() if packed.is_file() else None,
            media_type=_MEDIA_TYPES[path.suffix],
            cache_control=cache_control,
            etag=f'"{sha256(body).hexdigest()[:32]}"',
        )

    async def respond(self, request: Request) -> Response:
        headers = _SECURITY | {"Cache-Control": self.cache_control, "ETag": self.etag}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        body = self.body
        if self.packed is not None:
            headers["Vary"] = "Accept-Encoding"
            if "gzip" in request.headers.get("accept-encoding", ""):
                body, headers["Content-Encoding"] = self.packed, "gzip"
        return Response(body, media_type=self.media_type, headers=headers)


def routes(directory: Path) -> list[BaseRoute]:
    """The routes of the console built in `directory`, read once, here.

    Without a build, its pages answer one that says how to make it.
    """
    if not (directory / "index.html").is_file():
        return [Route(path, _not_built) for path in _PAGES]
    served = dict.fromkeys(_PAGES, _File.read(directory / "index.html", _ASK_FIRST))
    for name in ("sw.js", "manifest.webmanifest", "icon.svg"):
        served[f"/{name}"] = _File.read(directory / name, _ASK_FIRST)
    for path in (directory / "assets").iterdir():
        if path.suffix in _MEDIA_TYPES:
            served[f"/assets/{path.name}"] = _File.read(path, _FOR_EVER)
    return [Route(path, file.respond) for path, file in served.items()]


async def _not_built(_request: Request) -> Response:
    headers = _SECURITY | {"Cache-Control": "no-store"}
    return HTMLResponse(_NOT_BUILT, status_code=503, headers=headers)
