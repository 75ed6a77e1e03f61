"""A small OpenID provider of the tests' own: it says what a real one never would."""

import base64
import hashlib
import secrets
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

CLIENT_ID = "memo"
CLIENT_SECRET = "open sesame"
TEAM, KEY_ID = "TEAM123456", "KEY1234567"

FIRST_KEY = RSAKey.generate_key(2048, {"kid": "first"})


class Issuer:
    """Signs anybody in. What is in `claims` replaces what it would say (None: leaves it out).

    With `apple_key` it asks for a client secret as Apple does.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys: list[Key] = [FIRST_KEY]
        self.published: list[Key] | None = None
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.discovery: dict[str, Any] = {}
        self.apple_key: ECKey | None = None
        self.asked: list[str] = []
        self.broken = False
        self._codes: dict[str, dict[str, str]] = {}

    def sign_in(self, url: str) -> dict[str, str]:
        """The parameters that a browser comes back with which was sent to `url`."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert url.startswith(f"{self.url}/authorize?")
        assert query["client_id"] == CLIENT_ID
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        return {"code": code, "state": query["state"]}

    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/openid-configuration", self._discovery),
            Route("/keys", self._keys),
            Route("/token", self._token, methods=["POST"]),
        ]

    async def _discovery(self, request: Request) -> Response:
        self.asked.append("discovery")
        if self.broken:
            return Response("<h1>Bad gateway</h1>", status_code=502)
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                **self.discovery,
            }
        )

    async def _keys(self, request: Request) -> Response:
        self.asked.append("keys")
        keys = self.keys if self.published is None else self.published
        odd = [{"kty": "OKP", "kid": "odd", "crv": "Ed25519", "x": "AA"}, {"kty": "RSA"}]
        return JSONResponse({"keys": [*(key.as_dict(private=False) for key in keys), *odd]})

    async def _token(self, request: Request) -> Response:
        self.asked.append("token")
        if self.broken:
            return Response("<h1>Bad gateway</h1>", status_code=502)
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        begun = self._codes.pop(form["code"], None)
        if (
            begun is None
            or not self._is_ours(form)
            or form["redirect_uri"] != begun["redirect_uri"]
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != begun["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        return JSONResponse({"id_token": self.token(begun["nonce"]), "token_type": "Bearer"})

    def token(self, nonce: str) -> str:
        now = int(time.time())
        said = {
            "iss": self.url,
            "sub": "subject-1",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "email": "ada@example.com",
            "email_verified": True,
            "given_name": "Ada",
            "family_name": "Byron",
            **self.claims,
        }
        key = self.keys[0]
        algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
        header = {"alg": algorithm, "kid": key.kid, **self.header}
        claims = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(header, claims, key, algorithms=[header["alg"]])

    def _is_ours(self, form: dict[str, str]) -> bool:
        if self.apple_key is None:
            return (form["client_id"], form["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)
        token = jwt.decode(form["client_secret"], self.apple_key, algorithms=["ES256"])
        claims = token.claims
        return (
            token.header["kid"] == KEY_ID
            and (claims["iss"], claims["sub"], claims["aud"]) == (TEAM, CLIENT_ID, self.url)
            and claims["iat"] <= time.time() < claims["exp"] <= claims["iat"] + 15_777_000
        )


def client_of(*issuers: Issuer) -> httpx.AsyncClient:
    """A client for which these issuers are in the network, and so is the rest."""
    return httpx.AsyncClient(
        timeout=10,
        mounts={
            issuer.url: httpx.ASGITransport(Starlette(routes=issuer.routes())) for issuer in issuers
        },
    )
