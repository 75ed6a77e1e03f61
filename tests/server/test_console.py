"""How the console's files are served: caching, packing, headers, and what stands in for them."""

import gzip
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette

from server.console import routes

SCRIPT = b"console.log('memory')" * 50


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build of the console, small."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "main-ABC.js").write_bytes(SCRIPT)
    (tmp_path / "assets" / "main-ABC.js.gz").write_bytes(gzip.compress(SCRIPT))
    for name in ("index.html", "sw.js", "manifest.webmanifest", "icon.svg"):
        (tmp_path / name).write_text(name)
    return tmp_path


def client(directory: Path) -> AsyncClient:
    app = Starlette(routes=routes(directory))
    return AsyncClient(transport=ASGITransport(app), base_url="http://console")


async def test_without_a_build_the_page_says_how_to_make_one(tmp_path: Path) -> None:
    async with client(tmp_path) as http:
        reply = await http.get("/")
        links = [(await http.get(path)).status_code for path in ("/verify", "/reset")]
    assert reply.status_code == 503
    assert links == [404, 404]  # others have those
    assert "The console isn't built: install Node 20+ and run" in reply.text
    assert reply.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/join", "text/html; charset=utf-8"),
        ("/signed-in", "text/html; charset=utf-8"),
        ("/verify", "text/html; charset=utf-8"),
        ("/reset", "text/html; charset=utf-8"),
        ("/sw.js", "text/javascript; charset=utf-8"),
        ("/manifest.webmanifest", "application/manifest+json"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
async def test_what_keeps_its_name_is_asked_for_again(
    build: Path, path: str, media_type: str
) -> None:
    async with client(build) as http:
        reply = await http.get(path)
        assert reply.headers["content-type"] == media_type
        assert reply.headers["cache-control"] == "no-cache"
        again = await http.get(path, headers={"If-None-Match": reply.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_an_asset_is_kept_for_ever_and_sent_packed_to_who_can_unpack(build: Path) -> None:
    async with client(build) as http:
        packed = await http.get("/assets/main-ABC.js")
        plain = await http.get("/assets/main-ABC.js", headers={"Accept-Encoding": "identity"})
    assert "immutable" in packed.headers["cache-control"]
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content == SCRIPT
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


async def test_nothing_but_the_build_is_served(build: Path) -> None:
    (build.parent / "secret.js").write_text("secret")
    async with client(build) as http:
        for path in ("/assets/main-ABC.js.gz", "/assets/..%2f..%2fsecret.js", "/assets/", "/x"):
            assert (await http.get(path)).status_code == 404, path


async def test_scripts_may_only_come_from_the_server_and_nobody_may_frame_the_page(
    build: Path,
) -> None:
    async with client(build) as http:
        for path in ("/", "/sw.js", "/assets/main-ABC.js"):
            headers = (await http.get(path)).headers
            policy = dict(
                part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
            )
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["connect-src"] == "'self'"
            assert policy["frame-ancestors"] == "'none'"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
