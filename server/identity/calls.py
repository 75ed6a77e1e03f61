"""The REST calls and the operations of identity: addresses, passwords, two-factor, providers."""

from urllib.parse import parse_qs
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from protocol import identity, rest
from protocol.errors import ErrorCode, MemoError
from protocol.identity import Provider
from protocol.records import Empty
from protocol.rest import Endpoint
from server.connection import ConnectionCall
from server.identity.guard import Guard
from server.identity.oauth import OAuth
from server.identity.twofactor import TwoFactor
from server.identity.verification import Verification
from server.mail.post import Post
from server.mail.texts import Notice
from server.rest import read_body, read_json, route, write_json
from storage.accounts import Accounts
from storage.identities import Identities
from storage.verification import EmailTokens

_NO_STORE = {"Cache-Control": "no-store"}
_STARTS: tuple[tuple[Provider, Endpoint, Endpoint], ...] = (
    ("google", rest.GOOGLE_START, rest.GOOGLE),
    ("apple", rest.APPLE_START, rest.APPLE),
)


class Identity:
    """What is called over REST before signing in, and over the socket after it. With
    `verified_only`, ways in beside the password are for accounts that have proven their address:
    a stranger who signs up with somebody's address sets none that outlasts a new password."""

    def __init__(
        self,
        *,
        verification: Verification,
        two_factor: TwoFactor,
        oauth: OAuth,
        guard: Guard,
        accounts: Accounts,
        identities: Identities,
        tokens: EmailTokens,
        post: Post,
        verified_only: bool,
    ) -> None:
        self._verification = verification
        self._two_factor = two_factor
        self._oauth = oauth
        self._guard = guard
        self._accounts = accounts
        self._identities = identities
        self._tokens = tokens
        self._post = post
        self._verified_only = verified_only

    # REST

    def routes(self) -> list[BaseRoute]:
        """The routes of links in messages and of providers."""
        routes: list[BaseRoute] = [
            route(rest.VERIFY, self._verify),
            route(rest.FORGOT, self._forgot),
            route(rest.RESET, self._reset),
            route(rest.PROVIDERS, self._providers),
            route(rest.APPLE_RETURN, self._apple_returned),
        ]
        for name, start, finish in _STARTS:
            routes += self._provider_routes(name, start, finish)
        return routes

    def _provider_routes(
        self, name: Provider, start: Endpoint, finish: Endpoint
    ) -> list[BaseRoute]:
        async def begin(request: Request) -> Response:
            body = await read_json(request, identity.StartOAuth)
            return write_json(await self._oauth.start(name, body.redirect_uri))

        async def end(request: Request) -> Response:
            body = await read_json(request, identity.FinishOAuth)
            signed_in = await self._oauth.finish(
                name,
                body,
                address=request.client.host if request.client else None,
                user_agent=request.headers.get("user-agent"),
            )
            return write_json(signed_in)

        return [route(start, begin), route(finish, end)]

    async def _verify(self, request: Request) -> Response:
        body = await read_json(request, identity.VerifyEmail)
        return write_json(identity.Verified(user=await self._verification.verify(body.token)))

    async def _forgot(self, request: Request) -> Response:
        body = await read_json(request, identity.ForgotPassword)
        await self._verification.forgot(body.email)
        return Response(status_code=202, headers=_NO_STORE)

    async def _reset(self, request: Request) -> Response:
        body = await read_json(request, identity.ResetPassword)
        await self._verification.reset(body.token, body.password)
        return Response(status_code=204, headers=_NO_STORE)

    async def _providers(self, request: Request) -> Response:  # noqa: ARG002
        return write_json(identity.Providers(providers=self._oauth.providers))

    async def _apple_returned(self, request: Request) -> Response:
        try:
            form = parse_qs((await read_body(request)).decode(), max_num_fields=20)
        except ValueError:
            raise MemoError(ErrorCode.INVALID_REQUEST, "Send a form.") from None
        onward = await self._oauth.returned("apple", {key: form[key][0] for key in form})
        return RedirectResponse(onward, status_code=303, headers=_NO_STORE)

    # Operations

    async def send_verification(self, call: ConnectionCall, request: Empty) -> Empty:  # noqa: ARG002
        await self._verification.send_again(call.principal)
        return Empty()

    async def change_password(
        self, call: ConnectionCall, request: identity.ChangePassword
    ) -> Empty:
        await self._verification.change_password(
            call.principal, request.current_password, request.new_password
        )
        return Empty()

    async def change_email(self, call: ConnectionCall, request: identity.ChangeEmail) -> Empty:
        await self._verification.change_email(call.principal, request.password, request.email)
        return Empty()

    async def enable_two_factor(
        self, call: ConnectionCall, request: identity.EnableTwoFactor
    ) -> identity.TwoFactorSecret:
        account_id, email = await self._proven(call)
        await self._guard.check(account_id, request.password)
        secret, uri = await self._two_factor.propose(account_id, email)
        return identity.TwoFactorSecret(secret=secret, uri=uri)

    async def confirm_two_factor(
        self, call: ConnectionCall, request: identity.ConfirmTwoFactor
    ) -> identity.RecoveryCodes:
        account_id, email = await self._proven(call)
        codes = await self._two_factor.confirm(account_id, request.code)
        await self._post.security_notice(email, Notice.TWO_FACTOR_ON)
        return identity.RecoveryCodes(recovery_codes=codes)

    async def disable_two_factor(
        self, call: ConnectionCall, request: identity.DisableTwoFactor
    ) -> Empty:
        account_id, email = await self._account(call)
        await self._guard.check(account_id, request.password)
        await self._two_factor.check(account_id, request.code)
        if await self._two_factor.remove(account_id):
            await self._post.security_notice(email, Notice.TWO_FACTOR_OFF)
        return Empty()

    async def identities(self, call: ConnectionCall, request: Empty) -> identity.Identities:  # noqa: ARG002
        return await self._ways_in(call)

    async def link(
        self, call: ConnectionCall, request: identity.LinkIdentity
    ) -> identity.Identities:
        account_id, _ = await self._proven(call)
        await self._oauth.link(account_id, request)
        return await self._ways_in(call)

    async def unlink(
        self, call: ConnectionCall, request: identity.UnlinkIdentity
    ) -> identity.Identities:
        await self._oauth.unlink(call.principal.account_id, request.provider)
        return await self._ways_in(call)

    async def _ways_in(self, call: ConnectionCall) -> identity.Identities:
        account_id = call.principal.account_id
        return identity.Identities(
            identities=list(await self._identities.of(account_id)),
            has_password=await self._tokens.password_hash(account_id) is not None,
            two_factor=await self._two_factor.enabled(account_id),
            recovery_codes_left=await self._two_factor.recovery_codes_left(account_id),
        )

    async def _account(self, call: ConnectionCall) -> tuple[UUID, str]:
        """The account and its address of now, which may be newer than the token."""
        user = await self._accounts.existing(call.principal.account_id)
        return user.id, user.email

    async def _proven(self, call: ConnectionCall) -> tuple[UUID, str]:
        """The same, of an account that may add ways in."""
        user = await self._accounts.existing(call.principal.account_id)
        if self._verified_only and not user.is_verified:
            raise MemoError(
                ErrorCode.FORBIDDEN,
                "Confirm your e-mail address first: follow the link in the message to it.",
                details={"email": "is not confirmed yet"},
            )
        return user.id, user.email
