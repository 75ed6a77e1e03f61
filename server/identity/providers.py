"""The providers to sign in with, as the settings have them."""

import time
from collections.abc import Callable, Mapping

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from protocol.identity import Provider
from server.config import ConfigError, Settings
from server.identity.oauth import Site
from server.identity.openid import Client, OpenIdProvider
from server.pem import pem_of

APPLE_SECRET_SECONDS = 300


def providers(
    settings: Settings,
) -> Callable[[httpx.AsyncClient], Mapping[Provider, OpenIdProvider]]:
    """What makes the providers that are set up. Their keys are read now.

    Raises:
        ConfigError: never with the key in its message.
    """
    clients: dict[Provider, tuple[str, str, Client, dict[str, str]]] = {}
    if settings.google_client_id is not None:
        secret = settings.google_client_secret or ""
        clients["google"] = (
            "Google",
            settings.google_issuer,
            Client(settings.google_client_id, lambda: secret),
            {"scope": "openid email profile"},
        )
    if settings.apple_client_id is not None:
        clients["apple"] = (
            "Apple",
            settings.apple_issuer,
            Client(settings.apple_client_id, _apple_secret(settings)),
            # Apple tells name and address only to who takes its answer as a form.
            {"scope": "openid email name", "response_mode": "form_post"},
        )

    def make(http: httpx.AsyncClient) -> Mapping[Provider, OpenIdProvider]:
        return {
            name: OpenIdProvider(title, issuer, client, http, parameters=parameters)
            for name, (title, issuer, client, parameters) in clients.items()
        }

    return make


def site(settings: Settings) -> Site:
    """Where sign-ins may return to."""
    # `*` lets every page call the server, which is no reason to send people's sign-ins there.
    origins = tuple(origin for origin in settings.cors_origins if origin != "*")
    return Site(settings.url, origins, settings.oauth_redirect_uris)


def _apple_secret(settings: Settings) -> Callable[[], str]:
    """Apple's client secret: a token of ours, signed with the key that Apple knows."""
    key = _apple_key(settings.apple_private_key or "")
    header = {"alg": "ES256", "kid": settings.apple_key_id}

    def secret() -> str:
        now = int(time.time())
        claims = {
            "iss": settings.apple_team_id,
            "sub": settings.apple_client_id,
            "aud": settings.apple_issuer,
            "iat": now,
            "exp": now + APPLE_SECRET_SECONDS,
        }
        return jwt.encode(header, claims, key, algorithms=["ES256"])

    return secret


def _apple_key(value: str) -> ECKey:
    pem = pem_of("APPLE_PRIVATE_KEY", value)
    try:
        key = ECKey.import_key(pem)
    except (JoseError, ValueError, TypeError):
        key = None
    if key is None or not key.is_private or key.curve_name != "P-256":
        raise ConfigError("APPLE_PRIVATE_KEY is not an unencrypted P-256 private key in PEM")
    return key
