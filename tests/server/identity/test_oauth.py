"""Signing in with a provider: who began ends it, once, and nobody gets into another's account."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pyotp
import pytest
from joserfc.jwk import ECKey

from protocol.errors import ErrorCode, MemoError
from protocol.identity import (
    FinishOAuth,
    LinkIdentity,
    OAuthSignedIn,
    ProviderName,
    ProviderUser,
    StartedOAuth,
)
from server.config import ConfigError, Settings
from server.identity.oauth import OAuth, Site
from server.identity.providers import providers, site
from server.mail.texts import Notice
from storage.identities import Attempts
from tests.server.identity.doorway import PASSWORD, URL, Doorway
from tests.server.identity.issuer import (
    CLIENT_ID,
    CLIENT_SECRET,
    KEY_ID,
    TEAM,
    Issuer,
    client_of,
)

ADA = "ada@example.com"
BACK = "https://app.example.com/signed-in"
APPLE_KEY = ECKey.generate_key("P-256")
ALLOWED = Site(URL, ["https://app.example.com"], ["com.example.memo:/signed-in"])


class Visitor:
    """Somebody with a browser and an app, at a provider and at the server's door."""

    def __init__(self, door: Doorway, google: Issuer, apple: Issuer, oauth: OAuth) -> None:
        self.door = door
        self.google = google
        self.apple = apple
        self.oauth = oauth

    async def returned(self, back: str = BACK) -> tuple[StartedOAuth, dict[str, str]]:
        """A sign-in with Google up to the return to the app."""
        started = await self.oauth.start("google", back)
        return started, self.google.sign_in(started.url)

    async def sign_in(self, **changed: Any) -> OAuthSignedIn:
        started, answer = await self.returned()
        return await self.finish(started, answer, **changed)

    async def finish(
        self, started: StartedOAuth, answer: dict[str, str], **changed: Any
    ) -> OAuthSignedIn:
        fields = {"code": answer["code"], "redirect_uri": BACK, "state": started.state, **changed}
        request = FinishOAuth(**fields)
        return await self.oauth.finish("google", request, address="192.0.2.7", user_agent=None)

    async def link(self, user_id: UUID) -> None:
        started, answer = await self.returned()
        await self.oauth.link(
            user_id,
            LinkIdentity(
                provider="google", code=answer["code"], redirect_uri=BACK, state=started.state
            ),
        )

    async def linked(self, user_id: UUID) -> list[str]:
        return [each.provider for each in await self.door.identities.of(user_id)]


@pytest.fixture
async def visitor(door: Doorway) -> AsyncIterator[Visitor]:
    google, apple = Issuer("https://google.example.com"), Issuer("https://apple.example.com")
    apple.apple_key = APPLE_KEY
    async with client_of(google, apple) as http:
        settings = Settings(
            google_client_id=CLIENT_ID,
            google_client_secret=CLIENT_SECRET,
            google_issuer=google.url,
            apple_client_id=CLIENT_ID,
            apple_team_id=TEAM,
            apple_key_id=KEY_ID,
            apple_private_key=APPLE_KEY.as_pem(private=True).decode(),
            apple_issuer=apple.url,
        )
        oauth = OAuth(
            providers(settings)(http),
            ALLOWED,
            attempts=Attempts(door.pool),
            identities=door.identities,
            accounts=door.accounts,
            auth=door.auth,
            two_factor=door.two_factor,
            post=door.post,
        )
        yield Visitor(door, google, apple, oauth)


async def refusal(awaited: object) -> MemoError:
    with pytest.raises(MemoError) as refused:
        await awaited  # type: ignore[misc]
    return refused.value


async def verified(door: Doorway, email: str = ADA) -> UUID:
    user = await door.account(email)
    await door.pool.execute("UPDATE users SET is_verified = true WHERE id = $1", user.id)
    return user.id


# Signing in


async def test_who_is_new_gets_an_account_with_a_proven_address_and_next_time_the_same(
    visitor: Visitor,
) -> None:
    first = await visitor.sign_in()
    assert first.is_new_user
    assert (first.user.email, first.user.first_name, first.user.last_name) == (ADA, "Ada", "Byron")
    assert first.user.is_verified
    principal = await visitor.door.auth.authenticate(first.access_token)
    assert principal.account_id == first.user.id
    # Their address may change at the provider: who they are does not.
    visitor.google.claims = {"email": "countess@example.com"}
    second = await visitor.sign_in()
    assert (second.user.id, second.is_new_user) == (first.user.id, False)
    assert await visitor.door.pool.fetchval("SELECT count(*) FROM memory_categories") == 8


async def test_of_two_first_sign_ins_at_once_one_makes_the_account(visitor: Visitor) -> None:
    begun = [await visitor.returned() for _ in range(3)]
    done = await asyncio.gather(*(visitor.finish(*each) for each in begun))
    assert len({each.user.id for each in done}) == 1
    assert [each.is_new_user for each in done].count(True) == 1


async def test_a_proven_address_is_linked_and_its_owner_told(visitor: Visitor) -> None:
    user_id = await verified(visitor.door)
    visitor.google.claims = {"email": "ADA@example.com"}
    signed_in = await visitor.sign_in()
    assert (signed_in.user.id, signed_in.is_new_user) == (user_id, False)
    [notice] = await visitor.door.mail()
    assert Notice.GOOGLE_LINKED.value in notice.text


async def test_an_address_that_is_not_proven_here_is_not_enough(visitor: Visitor) -> None:
    user = await visitor.door.account()
    refused = await refusal(visitor.sign_in())
    assert refused.code is ErrorCode.CONFLICT
    assert await visitor.linked(user.id) == []


async def test_an_address_that_the_provider_has_not_verified_opens_nothing(
    visitor: Visitor,
) -> None:
    await verified(visitor.door)
    visitor.google.claims = {"email_verified": False}
    assert (await refusal(visitor.sign_in())).code is ErrorCode.FORBIDDEN


async def test_another_identity_with_the_same_address_does_not_replace_the_first(
    visitor: Visitor,
) -> None:
    await visitor.sign_in()
    visitor.google.claims = {"sub": "subject-2"}
    assert (await refusal(visitor.sign_in())).code is ErrorCode.CONFLICT


async def test_a_disabled_account_stays_closed(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.door.accounts.set_active(ADA, False)
    assert (await refusal(visitor.sign_in())).code is ErrorCode.ACCOUNT_DISABLED


@pytest.mark.parametrize("email", ["no address", "a@b", "x" * 300 + "@example.com"])
async def test_an_address_that_is_none_opens_nothing(visitor: Visitor, email: str) -> None:
    visitor.google.claims = {"email": email}
    assert (await refusal(visitor.sign_in())).code is ErrorCode.FORBIDDEN


async def test_names_of_any_length_and_kind_are_kept_as_far_as_they_go(visitor: Visitor) -> None:
    visitor.google.claims = {"given_name": "A\x00da" * 100, "family_name": " \n "}
    user = (await visitor.sign_in()).user
    assert (user.first_name, user.last_name) == ("Ada" * 33 + "A", None)


# Who began ends it


async def test_a_sign_in_ends_once(visitor: Visitor) -> None:
    started, answer = await visitor.returned()
    results = await asyncio.gather(
        *(visitor.finish(started, answer) for _ in range(3)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, MemoError)]
    assert [list(error.details or {}) for error in refused] == [["state"], ["state"]]


async def test_when_the_provider_is_away_the_same_may_be_sent_again(visitor: Visitor) -> None:
    started, answer = await visitor.returned()
    visitor.google.broken = True
    for _ in range(2):
        assert (await refusal(visitor.finish(started, answer))).code is ErrorCode.UNAVAILABLE
    visitor.google.broken = False
    assert (await visitor.finish(started, answer)).is_new_user


async def test_the_state_of_the_address_does_not_end_a_sign_in(visitor: Visitor) -> None:
    """Who lures somebody to an address with their own code and state gets nowhere: the app has no
    state to go with it."""
    started, answer = await visitor.returned()
    assert answer["state"] not in (started.state, "")
    assert started.state not in started.url
    lured = await refusal(visitor.finish(StartedOAuth(url="", state=answer["state"]), answer))
    assert lured.details is not None
    assert list(lured.details) == ["state"]
    mine, _ = await visitor.returned()
    assert (await refusal(visitor.finish(mine, answer))).code is ErrorCode.UNAUTHORIZED


async def test_a_state_is_of_one_provider_one_address_and_ten_minutes(visitor: Visitor) -> None:
    started, answer = await visitor.returned()
    request = FinishOAuth(code=answer["code"], redirect_uri=BACK, state=started.state)
    other = await refusal(visitor.oauth.finish("apple", request, address=None, user_agent=None))
    assert other.details is not None
    assert list(other.details) == ["state"]
    moved = await refusal(visitor.finish(started, answer, redirect_uri=f"{URL}/elsewhere"))
    assert moved.details is not None
    assert list(moved.details) == ["redirectUri"]
    started, answer = await visitor.returned()
    await visitor.door.pool.execute(
        "UPDATE oauth_attempts SET created_at = now() - interval '10 minutes'"
    )
    assert (await refusal(visitor.finish(started, answer))).code is ErrorCode.INVALID_REQUEST


async def test_no_row_holds_what_ends_a_sign_in(visitor: Visitor) -> None:
    started, answer = await visitor.returned()
    kept = repr(await visitor.door.pool.fetch("SELECT * FROM oauth_attempts"))
    assert started.state not in kept
    assert answer["state"] not in kept


@pytest.mark.parametrize(
    "uri",
    [
        f"{URL}/signed-in",
        f"{URL}:443/",
        "https://app.example.com/a?b=c",
        "com.example.memo:/signed-in",
    ],
)
async def test_a_sign_in_returns_to_the_app(visitor: Visitor, uri: str) -> None:
    started = await visitor.oauth.start("google", uri)
    assert parse_qs(urlsplit(started.url).query)["redirect_uri"] == [uri]


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example.com/",
        "http://memo.example.com/",
        f"{URL}:8443/",
        f"{URL}.evil.example.com/",
        f"{URL}@evil.example.com/",
        "https://memo.example.com\\@evil.example.com/",
        "https://evil.example.com\\.memo.example.com/",
        "https://user@memo.example.com/",
        f"{URL}/#fragment",
        f"{URL}/\r\nSet-Cookie: a=b",
        "//memo.example.com/",
        "javascript:alert(1)//memo.example.com",
        "com.example.memo:/signed-in/else",
        "https://memo.example.com:port/",
        "https://[memo.example.com/",
        "https://\uff4demo.example.com/",
        "",
    ],
)
async def test_a_sign_in_returns_nowhere_else(visitor: Visitor, uri: str) -> None:
    refused = await refusal(visitor.oauth.start("google", uri))
    assert refused.details is not None
    assert list(refused.details) == ["redirectUri"]


# Two-factor


async def test_two_factor_asks_the_same_request_again_with_its_code(visitor: Visitor) -> None:
    user_id = (await visitor.sign_in()).user.id
    secret, _ = await visitor.door.two_factor.propose(user_id, ADA)
    await visitor.door.two_factor.confirm(user_id, pyotp.TOTP(secret).at(int(visitor.door.now)))
    visitor.door.now += 30
    started, answer = await visitor.returned()
    asked = await refusal(visitor.finish(started, answer))
    assert asked.code is ErrorCode.TWO_FACTOR_REQUIRED
    wrong = await refusal(visitor.finish(started, answer, two_factor_code="000000"))
    assert wrong.code is ErrorCode.INVALID_CREDENTIALS
    assert wrong.details is not None
    assert list(wrong.details) == ["twoFactorCode"]
    # Only who began has the state, and it is for this account alone.
    code = pyotp.TOTP(secret).at(int(visitor.door.now))
    stolen = StartedOAuth(url="", state=answer["state"])
    assert (await refusal(visitor.finish(stolen, answer, two_factor_code=code))).code is (
        ErrorCode.INVALID_REQUEST
    )
    link = LinkIdentity(
        provider="google", code=answer["code"], redirect_uri=BACK, state=started.state
    )
    assert (await refusal(visitor.oauth.link(user_id, link))).code is ErrorCode.INVALID_REQUEST
    signed_in = await visitor.finish(started, answer, two_factor_code=code)
    assert (signed_in.user.id, signed_in.is_new_user) == (user_id, False)
    again = await refusal(visitor.finish(started, answer, two_factor_code=code))
    assert again.code is ErrorCode.INVALID_REQUEST


# Linking


async def test_linked_it_is_a_way_in_whatever_its_address(visitor: Visitor) -> None:
    user = await visitor.door.account("grace@example.com")
    await visitor.link(user.id)
    await visitor.link(user.id)
    assert await visitor.linked(user.id) == ["google"]
    assert (await visitor.sign_in()).user.id == user.id
    assert [letter.to for letter in await visitor.door.mail()] == ["grace@example.com"]


async def test_an_identity_is_of_one_account_and_an_account_has_one_of_a_provider(
    visitor: Visitor,
) -> None:
    ada, grace = await visitor.door.account(), await visitor.door.account("grace@example.com")
    await visitor.link(ada.id)
    assert (await refusal(visitor.link(grace.id))).code is ErrorCode.CONFLICT
    visitor.google.claims = {"sub": "subject-2"}
    assert (await refusal(visitor.link(ada.id))).code is ErrorCode.CONFLICT
    await visitor.link(grace.id)


async def test_unlinked_it_is_no_way_in_and_the_last_way_stays(visitor: Visitor) -> None:
    ada = await visitor.door.account()
    await visitor.link(ada.id)
    await visitor.oauth.unlink(ada.id, "google")
    await visitor.oauth.unlink(ada.id, "google")
    assert await visitor.linked(ada.id) == []
    assert (await refusal(visitor.sign_in())).code is ErrorCode.CONFLICT
    visitor.google.claims = {"email": "grace@example.com"}
    grace = (await visitor.sign_in()).user
    assert (await refusal(visitor.oauth.unlink(grace.id, "google"))).code is ErrorCode.CONFLICT


async def test_of_two_last_ways_only_one_goes_when_both_are_unlinked_at_once(
    visitor: Visitor,
) -> None:
    ada = (await visitor.sign_in()).user
    await visitor.door.pool.execute(
        "INSERT INTO identities (provider, subject, user_id) VALUES ('apple', '1', $1)", ada.id
    )
    results = await asyncio.gather(
        visitor.oauth.unlink(ada.id, "google"),
        visitor.oauth.unlink(ada.id, "apple"),
        return_exceptions=True,
    )
    assert len([result for result in results if isinstance(result, MemoError)]) == 1
    assert len(await visitor.linked(ada.id)) == 1


# Apple


async def test_apple_posts_its_answer_which_is_handed_on_to_the_app(visitor: Visitor) -> None:
    back = "com.example.memo:/signed-in"
    started = await visitor.oauth.start("apple", back)
    query = parse_qs(urlsplit(started.url).query)
    assert query["response_mode"] == ["form_post"]
    assert query["redirect_uri"] == [f"{URL}/api/auth/oauth/apple/return"]
    visitor.apple.claims = {"given_name": None, "family_name": None, "email_verified": "true"}
    said = {"name": {"firstName": "Ada", "lastName": "Byron"}, "email": "eve@example.com"}
    form = {**visitor.apple.sign_in(started.url), "user": json.dumps(said), "extra": "no"}
    onward = await visitor.oauth.returned("apple", form)
    assert onward.startswith(f"{back}?")
    answer = {name: values[0] for name, values in parse_qs(urlsplit(onward).query).items()}
    assert set(answer) == {"code", "user"}
    assert json.loads(answer["user"]) == said
    signed_in = await visitor.oauth.finish(
        "apple",
        FinishOAuth(
            code=answer["code"],
            redirect_uri=back,
            state=started.state,
            user=ProviderUser(name=ProviderName(first_name="Ada", last_name="Byron")),
        ),
        address=None,
        user_agent=None,
    )
    # The address is the provider's word, not the app's.
    assert signed_in.user.email == ADA
    assert (signed_in.user.first_name, signed_in.user.last_name) == ("Ada", "Byron")


async def test_a_refusal_at_apple_is_handed_on_too(visitor: Visitor) -> None:
    started = await visitor.oauth.start("apple", f"{BACK}?a=b")
    form = {**visitor.apple.sign_in(started.url), "error": "user_cancelled_authorize"}
    del form["code"]
    assert await visitor.oauth.returned("apple", form) == (
        f"{BACK}?a=b&error=user_cancelled_authorize"
    )


async def test_what_nobody_began_is_handed_on_to_nobody(visitor: Visitor) -> None:
    started, answer = await visitor.returned()  # with Google
    for form in ({}, {"state": "made up", "code": "x"}, answer, {"state": started.state}):
        assert (await refusal(visitor.oauth.returned("apple", form))).code is ErrorCode.NOT_FOUND


# Settings


def test_what_is_not_set_up_is_not_offered() -> None:
    assert providers(Settings())(httpx.AsyncClient()) == {}
    only = providers(Settings(google_client_id="id", google_client_secret="secret"))
    assert list(only(httpx.AsyncClient())) == ["google"]


async def test_what_is_not_set_up_is_not_found(visitor: Visitor) -> None:
    visitor.oauth._providers = {}
    assert visitor.oauth.providers == []
    assert (await refusal(visitor.oauth.start("google", BACK))).code is ErrorCode.NOT_FOUND


def test_pages_of_all_origins_may_call_but_sign_ins_do_not_return_to_them() -> None:
    found = site(Settings(cors_origins=("*", "https://app.example.com")))
    assert found == Site("http://127.0.0.1:8000", ("https://app.example.com",), ())


@pytest.mark.parametrize(
    "key",
    [
        "no key",
        "/no/such/file.p8",
        "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----",
        ECKey.generate_key("P-384").as_pem(private=True).decode(),
        APPLE_KEY.as_pem(private=False).decode(),
    ],
)
def test_a_bad_key_of_apple_stops_the_start_without_being_shown(key: str) -> None:
    settings = Settings(apple_client_id="a", apple_team_id="b", apple_key_id="c")
    with pytest.raises(ConfigError, match=r"^APPLE_PRIVATE_KEY is") as refused:
        providers(Settings(**{**_fields(settings), "apple_private_key": key}))
    assert "secret" not in str(refused.value)


def _fields(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


async def test_the_password_still_opens_an_account_that_was_linked(visitor: Visitor) -> None:
    user_id = await verified(visitor.door)
    await visitor.sign_in()
    await visitor.door.guard.check(user_id, PASSWORD)
