"""What a provider says is believed when its signature and its claims are right, and only then."""

import base64
import hmac
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey, RSAKey

from protocol.errors import ErrorCode, MemoError
from server.identity.openid import STALE, STALE_IF_UNKNOWN, Client, OpenIdProvider, Profile
from tests.server.identity.issuer import CLIENT_ID, CLIENT_SECRET, FIRST_KEY, Issuer, client_of

BACK = "https://app.example.com/signed-in"


class Relying:
    """A provider as the server has it, and what a browser does in between. `ticks` is its clock."""

    def __init__(self, issuer: Issuer, http: httpx.AsyncClient) -> None:
        self.issuer = issuer
        self.ticks = 1000.0
        self.provider = OpenIdProvider(
            "Google",
            issuer.url,
            Client(CLIENT_ID, lambda: CLIENT_SECRET),
            http,
            parameters={"scope": "openid email"},
            ticks=lambda: self.ticks,
        )

    async def profile(
        self, *, verifier: str = "verifier", nonce: str = "nonce", back: str = BACK
    ) -> Profile:
        challenge = "iMnq5o6zALKXGivsnlom_0F5_WYda32GHkxlV7mq7hQ"  # of `verifier`
        url = await self.provider.authorization_url(
            redirect_uri=BACK, state="state", nonce="nonce", challenge=challenge
        )
        code = self.issuer.sign_in(url)["code"]
        return await self.provider.profile(
            code=code, redirect_uri=back, verifier=verifier, nonce=nonce
        )

    async def refused(self, **changed: Any) -> ErrorCode:
        with pytest.raises(MemoError) as refusal:
            await self.profile(**changed)
        return refusal.value.code


@pytest.fixture
async def relying() -> AsyncIterator[Relying]:
    issuer = Issuer("https://accounts.example.com")
    async with client_of(issuer) as http:
        yield Relying(issuer, http)


async def test_who_has_signed_in_is_told_with_a_verified_address(relying: Relying) -> None:
    profile = await relying.profile()
    assert profile == Profile("subject-1", "ada@example.com", "Ada", "Byron")


@pytest.mark.parametrize(
    ("verified", "email"),
    [(False, None), (None, None), ("false", None), ("true", "ada@example.com")],
)
async def test_an_address_that_is_not_verified_is_not_told(
    relying: Relying, verified: Any, email: str | None
) -> None:
    relying.issuer.claims = {"email_verified": verified}
    assert (await relying.profile()).email == email


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example.com"},
        {"aud": "another-app"},
        {"aud": []},
        {"aud": ["memo", "another-app"]},
        {"azp": "another-app"},
        {"exp": 1_600_000_000},
        {"exp": None},
        {"exp": "soon"},
        {"iat": 4_000_000_000},
        {"nonce": "of another sign-in"},
        {"nonce": "nönce"},
        {"nonce": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": None},
        {"sub": 7},
        {"email": {"not": "text"}},
    ],
    ids=str,
)
async def test_a_token_that_says_something_wrong_is_not_believed(
    relying: Relying, claims: dict[str, Any]
) -> None:
    relying.issuer.claims = claims
    assert await relying.refused() is ErrorCode.UNAUTHORIZED


async def test_several_audiences_need_to_name_us_as_the_one_it_is_for(relying: Relying) -> None:
    relying.issuer.claims = {"aud": [CLIENT_ID, "another-app"], "azp": CLIENT_ID}
    assert (await relying.profile()).subject == "subject-1"


@pytest.mark.parametrize(
    "changed",
    [{"verifier": "another"}, {"nonce": "another"}, {"back": "https://app.example.com/"}],
    ids=str,
)
async def test_what_was_begun_differently_is_refused(
    relying: Relying, changed: dict[str, Any]
) -> None:
    assert await relying.refused(**changed) is ErrorCode.UNAUTHORIZED


async def test_a_key_that_was_rotated_in_is_found_and_one_that_went_is_forgotten(
    relying: Relying,
) -> None:
    await relying.profile()
    old = relying.issuer.keys
    relying.issuer.keys = [ECKey.generate_key("P-256", {"kid": "second"})]
    relying.ticks += STALE_IF_UNKNOWN
    assert (await relying.profile()).subject == "subject-1"
    relying.issuer.published, relying.issuer.keys = relying.issuer.keys, old
    assert await relying.refused() is ErrorCode.UNAUTHORIZED


async def test_a_key_that_went_is_forgotten_within_the_hour(relying: Relying) -> None:
    await relying.profile()
    relying.issuer.published = []
    assert (await relying.profile()).subject == "subject-1"
    relying.ticks += STALE
    assert await relying.refused() is ErrorCode.UNAUTHORIZED


async def test_made_up_keys_do_not_make_us_ask_for_keys_again_and_again(relying: Relying) -> None:
    await relying.profile()
    relying.issuer.header = {"kid": "made up"}
    for _ in range(5):
        assert await relying.refused() is ErrorCode.UNAUTHORIZED
    assert relying.issuer.asked.count("keys") == 1
    relying.ticks += STALE_IF_UNKNOWN
    for _ in range(5):
        assert await relying.refused() is ErrorCode.UNAUTHORIZED
    assert relying.issuer.asked.count("keys") == 2


async def test_a_key_of_the_same_name_that_is_another_one_proves_nothing(relying: Relying) -> None:
    relying.issuer.published = relying.issuer.keys
    relying.issuer.keys = [RSAKey.generate_key(2048, {"kid": "first"})]
    assert await relying.refused() is ErrorCode.UNAUTHORIZED


async def test_a_public_key_is_not_taken_for_a_secret(
    relying: Relying, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = FIRST_KEY.as_pem(private=False)

    def confused(nonce: str) -> str:
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').decode().rstrip("=")
        body = f"{head}.{signed(nonce).split('.')[1]}"
        mac = hmac.digest(public, body.encode(), "sha256")
        return f"{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    signed = relying.issuer.token
    monkeypatch.setattr(relying.issuer, "token", confused)
    assert await relying.refused() is ErrorCode.UNAUTHORIZED


async def test_a_token_without_a_signature_is_refused(
    relying: Relying, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsigned(nonce: str) -> str:
        head = "eyJhbGciOiJub25lIiwia2lkIjoiZmlyc3QifQ"  # alg none, kid first
        return f"{head}.{signed(nonce).split('.')[1]}."

    signed = relying.issuer.token
    monkeypatch.setattr(relying.issuer, "token", unsigned)
    assert await relying.refused() is ErrorCode.UNAUTHORIZED


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é.é.é", "x" * 20_000])
async def test_what_is_no_token_is_refused(
    relying: Relying, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setattr(relying.issuer, "token", lambda _: token)
    assert await relying.refused() is ErrorCode.UNAUTHORIZED


async def test_a_provider_that_is_away_or_another_one_is_no_failure_of_ours(
    relying: Relying,
) -> None:
    relying.issuer.broken = True
    assert await relying.refused() is ErrorCode.UNAVAILABLE
    relying.issuer.broken = False
    relying.issuer.discovery = {"issuer": "https://evil.example.com"}
    assert await relying.refused() is ErrorCode.UNAVAILABLE
    relying.issuer.discovery = {"token_endpoint": "http://127.0.0.1:1/token"}
    assert await relying.refused() is ErrorCode.UNAVAILABLE


async def test_a_name_in_one_piece_is_taken_apart(relying: Relying) -> None:
    relying.issuer.claims = {"given_name": None, "family_name": None, "name": "Ada King Byron"}
    assert (await relying.profile())[2:] == ("Ada King", "Byron")
    relying.issuer.claims["name"] = "Ada"
    assert (await relying.profile())[2:] == ("Ada", None)
