"""Ways into an account, as an app goes them: over REST, the socket, SMTP and a real provider."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pyotp
import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from protocol import frames
from protocol.errors import CloseCode
from tests.conftest import fresh_database, fresh_directory
from tests.e2e.rawsocket import RawSocket
from tests.mailroom import Mailroom, mailroom
from tests.serving import LocalServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROVIDER = Path(__file__).parents[1] / "openid"
BACK = "http://127.0.0.1:9/signed-in"  # where nobody needs to listen: the address is read
PASSWORD, NEXT = "Correct-Horse-1!", "Another-Horse-2!"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """The issuer of a running oidc-provider."""
    if not (PROVIDER / "node_modules").is_dir():
        pytest.fail("the OpenID provider is not installed: get Node 20+ and run `make setup`")
    with subprocess.Popen(
        ["node", "provider.mjs", BACK],
        cwd=PROVIDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


class House(NamedTuple):
    """A server with everything around it."""

    server: LocalServer
    room: Mailroom
    http: httpx.AsyncClient


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(postgres: str, issuer: str) -> AsyncIterator[House]:
    async with fresh_database(postgres) as database, mailroom() as (room, place):
        with fresh_directory() as directory:
            server = LocalServer(
                directory,
                database,
                SMTP_URL=f"smtp://{place}",
                MAIL_FROM="memo@example.com",
                ENCRYPTION_KEY=f"{'A' * 43}=",
                OAUTH_REDIRECT_URIS=BACK,
                GOOGLE_CLIENT_ID="memo",
                GOOGLE_CLIENT_SECRET="open sesame",
                GOOGLE_ISSUER=issuer,
            )
            with pytest.MonkeyPatch.context() as patch:
                # The console brings pages of its own.
                patch.setattr("server.app.CONSOLE", directory / "not built")
                await server.start()
            async with httpx.AsyncClient(base_url=server.url, timeout=20) as http:
                yield House(server, room, http)
            await server.stop()


async def post(house: House, path: str, status: int, **body: Any) -> Any:
    reply = await house.http.post(f"/api/auth/{path}", json=body)
    assert reply.status_code == status, reply.text
    return reply.json() if reply.content else None


async def register(house: House, email: str) -> Any:
    names = {"firstName": "Ada", "lastName": "Byron"}
    return await post(house, "register", 201, email=email, password=PASSWORD, **names)


async def ask(socket: RawSocket, operation: str, **body: Any) -> Any:
    reply = await socket.call(operation, body)
    assert isinstance(reply, frames.Reply), reply
    return reply.body


async def refused(socket: RawSocket, operation: str, **body: Any) -> str:
    error = await socket.call(operation, body)
    assert isinstance(error, frames.Error), error
    return error.body.code


async def test_an_address_is_proven_by_the_link_in_a_message(house: House) -> None:
    registered = await register(house, "ada@example.com")
    assert registered["user"]["isVerified"] is False
    token = await house.room.token("ada@example.com", "verify")
    async with RawSocket(house.server.socket_url, registered["accessToken"]) as socket:
        cursor = (await ask(socket, "feed.changes"))["cursor"]
        for _ in range(2):
            verified = await post(house, "verify", 200, token=token)
            assert verified["user"]["id"] == registered["user"]["id"]
            assert verified["user"]["isVerified"] is True
        # Devices that are connected are told to look, and see it.
        assert (await socket.take(frames.Event)).name == "account.changed"
        changes = await ask(socket, "feed.changes", after=cursor)
        assert [item["kind"] for item in changes["items"]] == ["account"]
        assert await ask(socket, "account.sendVerification") == {}
        assert (await ask(socket, "account.me"))["user"]["isVerified"] is True


async def test_a_forgotten_password_is_set_anew_and_every_socket_closes(house: House) -> None:
    registered = await register(house, "grace@example.com")
    known = await house.http.post("/api/auth/forgot", json={"email": "grace@example.com"})
    unknown = await house.http.post("/api/auth/forgot", json={"email": "nobody@example.com"})
    assert (
        (known.status_code, known.content) == (unknown.status_code, unknown.content) == (202, b"")
    )
    drop = {"date"}
    headers = [
        {name: value for name, value in reply.headers.items() if name not in drop}
        for reply in (known, unknown)
    ]
    assert headers[0] == headers[1]
    token = await house.room.token("grace@example.com", "reset")
    async with RawSocket(house.server.socket_url, registered["accessToken"]) as socket:
        await post(house, "reset", 204, token=token, password=NEXT)
        assert await socket.close_code() == CloseCode.SESSION_ENDED
    assert (await post(house, "reset", 400, token=token, password=PASSWORD))["error"]["details"]
    await post(house, "refresh", 401, refreshToken=registered["refreshToken"])
    await post(house, "login", 401, email="grace@example.com", password=PASSWORD)
    signed_in = await post(house, "login", 200, email="grace@example.com", password=NEXT)
    assert signed_in["user"]["isVerified"] is True


async def test_a_changed_password_closes_the_other_sockets_alone(house: House) -> None:
    mine = await register(house, "mary@example.com")
    other = await post(house, "login", 200, email="mary@example.com", password=PASSWORD)
    url = house.server.socket_url
    async with (
        RawSocket(url, mine["accessToken"]) as here,
        RawSocket(url, other["accessToken"]) as there,
    ):
        passwords = {"currentPassword": "Wrong-Horse-1!", "newPassword": NEXT}
        assert await refused(here, "account.changePassword", **passwords) == "invalid_credentials"
        passwords["currentPassword"] = PASSWORD
        assert await ask(here, "account.changePassword", **passwords) == {}
        assert await there.close_code() == CloseCode.SESSION_ENDED
        assert (await ask(here, "account.identities"))["hasPassword"] is True


async def test_two_factor_from_turning_on_to_turning_off(house: House) -> None:
    registered = await register(house, "joan@example.com")
    login = {"email": "joan@example.com", "password": PASSWORD}
    async with RawSocket(house.server.socket_url, registered["accessToken"]) as socket:
        # Until the address is proven it may be a stranger's, who would lock its owner out.
        assert await refused(socket, "account.enableTwoFactor", password=PASSWORD) == "forbidden"
        assert await refused(socket, "account.confirmTwoFactor", code="123456") == "forbidden"
        google = {"provider": "google", "code": "x", "redirectUri": BACK, "state": "x"}
        assert await refused(socket, "account.link", **google) == "forbidden"
        token = await house.room.token("joan@example.com", "verify")
        await post(house, "verify", 200, token=token)
        wrong = await refused(socket, "account.enableTwoFactor", password="Wrong-Horse-1!")
        assert wrong == "invalid_credentials"
        made = await ask(socket, "account.enableTwoFactor", password=PASSWORD)
        assert made["uri"].startswith("otpauth://totp/Memory%20App:joan%40example.com?")
        code = pyotp.TOTP(made["secret"]).now()
        confirmed = await ask(socket, "account.confirmTwoFactor", code=code)
        recovery = confirmed["recoveryCodes"]
        assert len(recovery) == 10
        ways = await ask(socket, "account.identities")
        assert ways == {
            "identities": [],
            "hasPassword": True,
            "twoFactor": True,
            "recoveryCodesLeft": 10,
        }
        error = (await post(house, "login", 401, **login))["error"]
        assert error["code"] == "two_factor_required"
        error = (await post(house, "login", 401, **login, code=code))["error"]
        assert (error["code"], list(error["details"])) == ("invalid_credentials", ["code"])
        await post(house, "login", 200, **login, code=recovery[0])
        off = {"password": PASSWORD, "code": recovery[1]}
        assert await ask(socket, "account.disableTwoFactor", **off) == {}
        assert await ask(socket, "account.disableTwoFactor", **off) == {}
    await post(house, "login", 200, **login)


async def test_an_invitation_reaches_whom_it_is_for(house: House) -> None:
    registered = await register(house, "emmy@example.com")
    async with RawSocket(house.server.socket_url, registered["accessToken"]) as socket:
        memory = (await ask(socket, "memories.create", title="Göttingen"))["memory"]
        guest = {"email": "bartel@example.com", "role": "viewer"}
        await ask(socket, "sharing.invite", memoryId=memory["id"], **guest)
    letter = await house.room.letter("bartel@example.com", "“Göttingen”")
    assert "Ada Byron invites you" in letter
    assert "http://127.0.0.1:8000/" in letter  # where there is no PUBLIC_URL


async def at_provider(url: str, name: str) -> dict[str, str]:
    """What a browser comes back with: it follows the provider's pages and signs in there."""
    async with httpx.AsyncClient(timeout=20) as browser:
        reply = await browser.get(url)
        for _ in range(20):
            if reply.is_redirect:
                url = urljoin(str(reply.url), reply.headers["location"])
                if url.startswith(BACK):
                    query = parse_qs(urlsplit(url).query)
                    return {field: values[0] for field, values in query.items()}
                reply = await browser.get(url)
                continue
            action = re.search(r'<form[^>]*action="([^"]+)"', reply.text)
            prompt = re.search(r'name="prompt" value="(\w+)"', reply.text)
            assert action, reply.text
            assert prompt, reply.text
            form = {"prompt": prompt[1]}
            if prompt[1] == "login":
                form |= {"login": name, "password": "any"}
            reply = await browser.post(urljoin(str(reply.url), action[1]), data=form)
    raise AssertionError("the provider goes round in circles")


async def signed_in_with_google(house: House, name: str, status: int = 200) -> Any:
    started = await post(house, "oauth/google/start", 200, redirectUri=BACK)
    answer = await at_provider(started["url"], name)
    return await post(
        house,
        "oauth/google",
        status,
        code=answer["code"],
        redirectUri=BACK,
        state=started["state"],
    )


async def test_signing_in_with_a_real_provider_makes_an_account_and_finds_it_again(
    house: House,
) -> None:
    providers = await house.http.get("/api/auth/providers")
    assert providers.json() == {"providers": ["google"]}
    first = await signed_in_with_google(house, "hopper")
    assert first["isNewUser"] is True
    assert first["user"]["email"] == "hopper@example.com"
    assert (first["user"]["firstName"], first["user"]["isVerified"]) == ("Grace", True)
    second = await signed_in_with_google(house, "hopper")
    assert (second["isNewUser"], second["user"]["id"]) == (False, first["user"]["id"])
    async with RawSocket(house.server.socket_url, second["accessToken"]) as socket:
        ways = await ask(socket, "account.identities")
        [identity] = ways["identities"]
        assert (identity["provider"], ways["hasPassword"]) == ("google", False)
        # It is the only way in, until there is a password.
        assert await refused(socket, "account.unlink", provider="google") == "conflict"
        await post(house, "forgot", 202, email="hopper@example.com")
        token = await house.room.token("hopper@example.com", "reset")
    await post(house, "reset", 204, token=token, password=NEXT)
    login = await post(house, "login", 200, email="hopper@example.com", password=NEXT)
    async with RawSocket(house.server.socket_url, login["accessToken"]) as socket:
        assert (await ask(socket, "account.unlink", provider="google"))["identities"] == []


async def test_linking_a_real_provider_to_an_account(house: House) -> None:
    registered = await register(house, "katherine@example.com")
    error = (await signed_in_with_google(house, "katherine", 409))["error"]
    assert error["code"] == "conflict"
    token = await house.room.token("katherine@example.com", "verify")
    await post(house, "verify", 200, token=token)
    started = await post(house, "oauth/google/start", 200, redirectUri=BACK)
    answer = await at_provider(started["url"], "katherine")
    async with RawSocket(house.server.socket_url, registered["accessToken"]) as socket:
        linked = await ask(
            socket,
            "account.link",
            provider="google",
            code=answer["code"],
            redirectUri=BACK,
            state=started["state"],
        )
        assert [identity["provider"] for identity in linked["identities"]] == ["google"]
    again = await signed_in_with_google(house, "katherine")
    assert again["user"]["id"] == registered["user"]["id"]


@pytest.mark.parametrize("path", ["google/start", "google", "apple/start", "apple"])
async def test_what_no_app_sends_is_refused_by_name(house: House, path: str) -> None:
    reply = await house.http.post(f"/api/auth/oauth/{path}", json={"redirectUri": 7})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"state=%ff&code=x", b"&=" * 100, b"state=" + b"x" * 70_000]
)
async def test_what_apple_never_posts_is_refused(house: House, body: bytes) -> None:
    path = "/api/auth/oauth/apple/return"
    reply = await house.http.post(path, content=body, headers=FORM)
    assert reply.status_code in (400, 404, 413)
    assert reply.json()["error"]["code"] in ("invalid_request", "not_found", "too_large")


@pytest_asyncio.fixture(loop_scope="module")
async def page() -> AsyncIterator[Page]:
    """A tab of Chromium. Whatever it complains of fails, but for answers that refuse."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.fail("Chromium is missing: install it, or name it in CHROMIUM")
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = await browser.new_page()
        page.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        await browser.close()
    assert [text for text in complaints if "status of 400" not in text] == []


async def test_the_pages_that_links_lead_to_without_a_console_do_what_they_say(
    house: House, page: Page
) -> None:
    await register(house, "rosalind@example.com")
    token = await house.room.token("rosalind@example.com", "verify")
    await page.goto(f"{house.server.url}/verify#{token}")
    assert token not in page.url
    await page.get_by_role("button", name="Confirm").click()
    status = page.get_by_role("status")
    await expect(status).to_have_text("Thank you: the address is confirmed.")

    await post(house, "forgot", 202, email="rosalind@example.com")
    token = await house.room.token("rosalind@example.com", "reset")
    await page.goto(f"{house.server.url}/reset#{token}")
    await page.get_by_label("New password").fill("long but simple")
    await page.get_by_role("button").click()
    await expect(status).to_contain_text("an upper-case letter")
    await page.get_by_label("New password").fill(NEXT)
    await page.get_by_role("button").click()
    await expect(status).to_contain_text("The password is set")
    await post(house, "login", 200, email="rosalind@example.com", password=NEXT)

    await page.goto(f"{house.server.url}/reset")
    await expect(status).to_contain_text("not whole")
    await expect(page.get_by_role("button")).to_be_hidden()


async def test_many_at_once_who_forgot_are_all_answered(house: House) -> None:
    emails = [f"nobody-{number}@example.com" for number in range(20)]
    await asyncio.gather(*(post(house, "forgot", 202, email=email) for email in emails))
