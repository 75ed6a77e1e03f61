"""Tokens: what they say, and every way to pass for one that must not work."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import KeySet, RSAKey

from protocol.accounts import User
from protocol.errors import ErrorCode, MemoError
from protocol.operation import Permission
from server.config import ConfigError, Features
from server.tokens import Principal, Tokens, UnknownKeyError, generate_key, read_key
from storage.keys import SigningKey

KEY = generate_key()
OTHER_KEY = generate_key()
NOW = 1_800_000_000.0
SESSION = UUID("11111111-1111-4111-8111-111111111111")
MEMORY = UUID("22222222-2222-4222-8222-222222222222")
ADA = User(
    id=UUID("33333333-3333-4333-8333-333333333333"),
    email="ada@example.com",
    username=None,
    first_name="Ada",
    last_name="Lovelace",
    avatar_url=None,
    phone_number=None,
    timezone="UTC",
    language="en",
    theme_preference="system",
    role="user",
    is_verified=False,
    is_active=True,
    last_login_at=None,
    created_at="2026-01-01T00:00:00.000Z",
    updated_at="2026-01-01T00:00:00.000Z",
)

EVERYONES = frozenset(Permission) - {Permission.MANAGE_USERS}


class Clock:
    """Unix seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens([KEY], clock=clock)


@pytest.fixture
def access(tokens: Tokens) -> str:
    return tokens.issue_access(ADA, SESSION)[0]


def segment(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return claims


def sign(
    claims: dict[str, Any], header: dict[str, Any] | None = None, key: SigningKey = KEY
) -> str:
    """A token signed as ours are, that says whatever a test wants."""
    return jwt.encode(
        header or {"alg": "RS256", "kid": KEY.id},
        claims,
        RSAKey.import_key(key.private_pem),
        algorithms=["RS256", "RS512"],
    )


def public_pem(key: SigningKey) -> bytes:
    private = load_pem_private_key(key.private_pem.encode(), None)
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def refusal(call: Callable[[], object]) -> MemoError:
    with pytest.raises(MemoError) as refused:
        call()
    return refused.value


# What our tokens say


def test_an_access_token_speaks_for_its_account_and_session(tokens: Tokens, access: str) -> None:
    assert tokens.verify(access) == Principal(
        account_id=ADA.id,
        session_id=SESSION,
        email="ada@example.com",
        role="user",
        permissions=EVERYONES,
        expires_at=NOW + 900,
    )
    assert tokens.issue_access(ADA, SESSION)[1] == NOW + 900


def test_an_access_token_has_the_claims_of_the_plan(access: str) -> None:
    claims = claims_of(access)
    assert UUID(claims.pop("jti")).version == 4
    assert claims == {
        "iss": "memory-app",
        "aud": "memory-app-users",
        "sub": str(ADA.id),
        "sid": str(SESSION),
        "userId": str(ADA.id),
        "email": "ada@example.com",
        "role": "user",
        "permissions": sorted(permission.value for permission in EVERYONES),
        "iat": int(NOW),
        "exp": int(NOW) + 900,
    }


def test_no_two_tokens_are_the_same(tokens: Tokens, access: str) -> None:
    assert tokens.issue_access(ADA, SESSION)[0] != access


def test_others_can_verify_with_the_published_keys(tokens: Tokens, access: str) -> None:
    published = KeySet.import_key_set(tokens.jwks())  # type: ignore[arg-type]
    assert jwt.decode(access, published, algorithms=["RS256"]).claims["sub"] == str(ADA.id)


def test_the_published_keys_hold_nothing_private(tokens: Tokens) -> None:
    (published,) = tokens.jwks()["keys"]
    assert set(published) == {"kty", "n", "e", "kid", "use", "alg"}
    assert (published["kty"], published["use"], published["alg"]) == ("RSA", "sig", "RS256")


# Time


@pytest.mark.parametrize("later", [0, 899, 900, 909])
def test_a_token_is_good_for_its_life_and_a_little_for_clocks_that_differ(
    tokens: Tokens, clock: Clock, access: str, later: float
) -> None:
    clock.now += later
    assert tokens.verify(access).account_id == ADA.id


@pytest.mark.parametrize("later", [910, 86_400])
def test_a_token_past_its_life_has_expired(
    tokens: Tokens, clock: Clock, access: str, later: float
) -> None:
    clock.now += later
    assert refusal(lambda: tokens.verify(access)).code is ErrorCode.TOKEN_EXPIRED


def test_a_token_from_the_future_is_refused(tokens: Tokens, clock: Clock, access: str) -> None:
    clock.now -= 11
    assert refusal(lambda: tokens.verify(access)).code is ErrorCode.UNAUTHORIZED


# Document tokens


@pytest.fixture
def document(tokens: Tokens, access: str) -> str:
    return tokens.issue_document(tokens.verify(access), MEMORY, 30 * 86_400)[0]


def test_a_document_token_opens_its_document_for_as_long_as_asked(
    tokens: Tokens, clock: Clock, document: str
) -> None:
    clock.now += 30 * 86_400 - 1
    principal = tokens.verify_document(document, MEMORY)
    assert (principal.account_id, principal.session_id) == (ADA.id, SESSION)
    assert principal.document_id == MEMORY
    assert principal.expires_at == NOW + 30 * 86_400
    assert principal.permissions == EVERYONES
    clock.now += 11
    expired = refusal(lambda: tokens.verify_document(document, MEMORY))
    assert expired.code is ErrorCode.TOKEN_EXPIRED


def test_a_document_token_is_no_access_token(tokens: Tokens, document: str) -> None:
    assert refusal(lambda: tokens.verify(document)).code is ErrorCode.UNAUTHORIZED


def test_a_document_token_opens_no_other_document(tokens: Tokens, document: str) -> None:
    refused = refusal(lambda: tokens.verify_document(document, uuid4()))
    assert refused.code is ErrorCode.UNAUTHORIZED


def test_an_access_token_opens_a_document_too(tokens: Tokens, access: str) -> None:
    assert tokens.verify_document(access, MEMORY).document_id is None


# Tokens we never made


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "someone-else"},
        {"iss": ["memory-app"]},
        {"aud": "other-users"},
        {"aud": "memory-app-documents"},
        {"aud": ["memory-app-users"]},
        {"aud": ""},
        {"doc": str(MEMORY)},
        {"sub": "44444444-4444-4444-8444-444444444444"},
        {"sub": "not an id"},
        {"sub": None},
        {"sid": 7},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": 1e400},
        {"iat": None},
        {"permissions": "read:memories"},
        {"permissions": [1]},
    ],
    ids=str,
)
def test_a_claim_that_we_would_not_make_is_refused(
    tokens: Tokens, access: str, changed: dict[str, Any]
) -> None:
    forged = sign({**claims_of(access), **changed})
    assert refusal(lambda: tokens.verify(forged)).code is ErrorCode.UNAUTHORIZED


@pytest.mark.parametrize(
    "claim",
    ["iss", "aud", "sub", "sid", "userId", "email", "role", "permissions", "iat", "exp", "jti"],
)
def test_a_claim_that_is_missing_is_refused(tokens: Tokens, access: str, claim: str) -> None:
    claims = claims_of(access)
    del claims[claim]
    forged = sign(claims)
    assert refusal(lambda: tokens.verify(forged)).code is ErrorCode.UNAUTHORIZED


def test_a_right_of_a_newer_version_is_passed_over(tokens: Tokens, access: str) -> None:
    newer = sign({**claims_of(access), "permissions": ["read:memories", "fly:rockets"]})
    assert tokens.verify(newer).permissions == {Permission.READ_MEMORIES}


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, 1, ["RS256"]])
@pytest.mark.parametrize("keep_signature", [True, False])
def test_an_unsigned_token_is_refused(
    tokens: Tokens, access: str, alg: object, keep_signature: bool
) -> None:
    _, payload, signature = access.split(".")
    header = segment({"alg": alg, "kid": KEY.id, "typ": "JWT"})
    forged = f"{header}.{payload}.{signature if keep_signature else ''}"
    assert refusal(lambda: tokens.verify(forged)).code is ErrorCode.UNAUTHORIZED


@pytest.mark.parametrize("alg", ["HS256", "RS256"])
@pytest.mark.parametrize(
    "secret",
    [public_pem(KEY), public_pem(KEY).strip(), KEY.id.encode(), b""],
    ids=["pem", "stripped pem", "key id", "empty"],
)
def test_our_public_key_is_no_secret_to_sign_with(
    tokens: Tokens, access: str, alg: str, secret: bytes
) -> None:
    signed = f"{segment({'alg': alg, 'kid': KEY.id, 'typ': 'JWT'})}.{access.split('.')[1]}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    forged = f"{signed}.{segment(mac)}"
    assert refusal(lambda: tokens.verify(forged)).code is ErrorCode.UNAUTHORIZED


def test_another_algorithm_of_our_own_key_is_refused(tokens: Tokens, access: str) -> None:
    forged = sign(claims_of(access), {"alg": "RS512", "kid": KEY.id})
    assert refusal(lambda: tokens.verify(forged)).code is ErrorCode.UNAUTHORIZED


def test_a_signature_by_another_key_under_our_key_id_is_refused(
    tokens: Tokens, access: str
) -> None:
    forged = sign(claims_of(access), key=OTHER_KEY)
    assert refusal(lambda: tokens.verify(forged)).code is ErrorCode.UNAUTHORIZED


@pytest.mark.parametrize(
    "extra",
    [
        {"jwk": RSAKey.import_key(OTHER_KEY.private_pem).as_dict(private=False)},
        {"jku": "https://example.com/keys.json"},
        {"x5u": "https://example.com/cert.pem"},
        {"b64": False, "crit": ["b64"]},
        {"crit": ["exp"]},
        {"typ": "dpop+jwt"},
        {"kid": None},
        {"kid": "../../etc/passwd"},
        {"kid": "' OR 1=1 --"},
    ],
    ids=",".join,
)
@pytest.mark.parametrize("key", [KEY, OTHER_KEY], ids=["ours", "theirs"])
def test_a_header_that_we_would_not_make_is_refused(
    tokens: Tokens, access: str, extra: dict[str, Any], key: SigningKey
) -> None:
    header = {"alg": "RS256", "kid": KEY.id, "typ": "JWT", **extra}
    signed = f"{segment(header)}.{access.split('.')[1]}"
    private = RSAKey.import_key(key.private_pem).private_key
    assert private is not None
    forged = f"{signed}.{segment(private.sign(signed.encode(), PKCS1v15(), SHA256()))}"
    assert refusal(lambda: tokens.verify(forged)).code is ErrorCode.UNAUTHORIZED


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "null",
        "Bearer x",
        "\ud800.\udc00.x",
        "é.é.é",
        "\x00",
        segment(["alg"]) + ".e30.",
        segment("alg") + ".e30.",
        segment(b"\xff\xfe") + ".e30.",
        segment(b"[" * 2000) + ".e30.",
        segment({"alg": "RS256", "kid": KEY.id, "typ": "JWT"}) + ".e30",
        segment({"alg": "RS256", "kid": KEY.id, "typ": "JWT"}) + "..",
        segment({"alg": "RS256", "kid": KEY.id, "typ": "JWT"}) + ".e30.e30",
        "a" * 8193,
        "." * 1_000_000,
    ],
    ids=lambda garbage: ascii(garbage[:20]),
)
def test_garbage_is_refused(tokens: Tokens, garbage: str) -> None:
    assert refusal(lambda: tokens.verify(garbage)).code is ErrorCode.UNAUTHORIZED
    refused = refusal(lambda: tokens.verify_document(garbage, MEMORY))
    assert refused.code is ErrorCode.UNAUTHORIZED


@pytest.mark.parametrize(
    "payload",
    [b"[]", b"{}", b"null", b"", b"\xff", b"1", b"[" * 4000, b'{"x":' + b"[" * 4000],
    ids=lambda payload: ascii(payload[:10]),
)
def test_a_well_signed_payload_that_is_no_claims_is_refused(tokens: Tokens, payload: bytes) -> None:
    header = {"alg": "RS256", "kid": KEY.id, "typ": "JWT"}
    forged = jws.serialize_compact(header, payload, RSAKey.import_key(KEY.private_pem), ["RS256"])
    assert refusal(lambda: tokens.verify(forged)).code is ErrorCode.UNAUTHORIZED


FUZZED = Tokens([KEY], clock=lambda: NOW)
FUZZED_TOKEN = FUZZED.issue_access(ADA, SESSION)[0]


@given(st.text())
def test_no_text_passes_for_a_token(text: str) -> None:
    assert refusal(lambda: FUZZED.verify(text)).code is ErrorCode.UNAUTHORIZED


@given(st.integers(0, len(FUZZED_TOKEN) - 1), st.characters())
def test_no_changed_character_passes(position: int, character: str) -> None:
    changed = FUZZED_TOKEN[:position] + character + FUZZED_TOKEN[position + 1 :]
    if changed != FUZZED_TOKEN:
        assert refusal(lambda: FUZZED.verify(changed)).code is ErrorCode.UNAUTHORIZED


# Rotation


async def test_after_a_rotation_the_new_key_signs_and_the_old_one_still_verifies(
    clock: Clock,
) -> None:
    before = Tokens([KEY], clock=clock).issue_access(ADA, SESSION)[0]
    rotated = Tokens([OTHER_KEY, KEY], clock=clock)
    after = rotated.issue_access(ADA, SESSION)[0]
    assert rotated.verify(before) == rotated.verify(after)
    assert refusal(lambda: Tokens([KEY], clock=clock).verify(after)).code is ErrorCode.UNAUTHORIZED
    assert [key["kid"] for key in rotated.jwks()["keys"]] == [OTHER_KEY.id, KEY.id]


def test_a_retired_key_verifies_no_more(tokens: Tokens, clock: Clock, access: str) -> None:
    with pytest.raises(UnknownKeyError) as refused:
        Tokens([OTHER_KEY], clock=clock).verify(access)
    assert refused.value.code is ErrorCode.UNAUTHORIZED


class Table:
    """Signing keys as a database would hold them, counting how often it is asked."""

    def __init__(self) -> None:
        self.keys: Sequence[SigningKey] = [KEY]
        self.reads = 0

    async def load(self) -> Sequence[SigningKey]:
        self.reads += 1
        return self.keys


async def test_a_token_of_a_key_made_elsewhere_is_known_after_a_reload(clock: Clock) -> None:
    table = Table()
    tokens = Tokens(table.keys, table.load, clock=clock, ticks=clock)
    table.keys = [OTHER_KEY, KEY]
    elsewhere = Tokens(table.keys, clock=clock).issue_access(ADA, SESSION)[0]
    clock.now += 1
    with pytest.raises(UnknownKeyError) as unknown:
        tokens.verify(elsewhere)
    await tokens.reload(unknown.value)
    assert tokens.verify(elsewhere).account_id == ADA.id


async def test_a_clock_that_is_set_back_keeps_no_new_key_from_being_known(clock: Clock) -> None:
    table = Table()
    ticks = Clock()
    tokens = Tokens(table.keys, table.load, clock=clock, ticks=ticks)
    table.keys = [OTHER_KEY, KEY]
    clock.now -= 3600
    ticks.now += 60
    await tokens.reload()
    assert tokens.jwks() == Tokens(table.keys).jwks()


async def test_made_up_keys_cost_one_read_a_second_at_most(clock: Clock) -> None:
    table = Table()
    tokens = Tokens(table.keys, table.load, clock=clock, ticks=clock)
    error = UnknownKeyError(ErrorCode.UNAUTHORIZED)
    clock.now += 0.5
    await tokens.reload(error)
    assert table.reads == 0
    clock.now += 0.5
    for _ in range(100):
        await tokens.reload(error)
    assert table.reads == 1


async def test_a_retired_key_is_forgotten_within_a_minute(clock: Clock) -> None:
    table = Table()
    tokens = Tokens(table.keys, table.load, clock=clock, ticks=clock)
    old = tokens.issue_access(ADA, SESSION)[0]
    table.keys = [OTHER_KEY]
    clock.now += 59
    await tokens.reload()
    assert tokens.verify(old).account_id == ADA.id
    clock.now += 1
    await tokens.reload()
    with pytest.raises(UnknownKeyError):
        tokens.verify(old)


# JWT_PRIVATE_KEY


def test_a_key_may_be_given_as_text_as_one_line_or_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(KEY.private_pem)
    assert read_key(KEY.private_pem) == KEY
    assert read_key(KEY.private_pem.replace("\n", "\\n")) == KEY
    assert read_key(str(path)) == KEY


def test_a_key_in_either_form_of_pem_is_the_same_key() -> None:
    private = load_pem_private_key(KEY.private_pem.encode(), None)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        pem = private.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
        assert read_key(pem).id == KEY.id


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "neither"),
        ("/no/such/file.pem", "neither"),
        ("\x00", "neither"),
        ("-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----", "not an unencrypted"),
        (public_pem(KEY).decode(), "not an unencrypted"),
        (
            ec.generate_private_key(ec.SECP256R1())
            .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            .decode(),
            "not an unencrypted",
        ),
        (
            load_pem_private_key(KEY.private_pem.encode(), None)
            .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
            .decode(),
            "not an unencrypted",
        ),
        (
            rsa.generate_private_key(65537, 1024)
            .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            .decode(),
            "1024 bits",
        ),
    ],
    ids=["empty", "no file", "nul", "nonsense", "public", "elliptic", "encrypted", "short"],
)
def test_a_key_that_cannot_be_used_is_refused_in_one_line_without_showing_it(
    value: str, said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read_key(value)
    message = str(refused.value)
    assert message.startswith("JWT_PRIVATE_KEY ")
    assert said in message
    assert "\n" not in message
    assert "BEGIN" not in message


# What roles bring

_BASE = {"read:memories", "write:memories"}
_MORE = {"delete:memories", "access:ai", "sync:whatsapp"}
_ADMINS = {"manage:users"}


@pytest.mark.parametrize(
    ("features", "role", "rights"),
    [
        ("tiers", "user", _BASE),
        ("tiers", "premium", _BASE | _MORE),
        ("tiers", "admin", _BASE | _MORE | _ADMINS),
        ("all", "user", _BASE | _MORE),
        ("all", "premium", _BASE | _MORE),
        ("all", "admin", _BASE | _MORE | _ADMINS),
    ],
)
def test_roles_bring_the_plans_rights_in_tiers_and_all_but_the_admins_without(
    features: Features, role: str, rights: set[str]
) -> None:
    assert {right.value for right in Tokens([KEY], features=features).rights(role)} == rights
    user = msgspec.structs.replace(ADA, role=role)
    access, _ = Tokens([KEY], features=features, clock=lambda: NOW).issue_access(user, SESSION)
    assert set(claims_of(access)["permissions"]) == rights
