"""How often anyone may call: by address, by account, by user; on all nodes together."""

import hashlib
import ipaddress
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol
from uuid import UUID

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protocol.errors import ErrorCode, MemoError
from protocol.limits import Limit
from protocol.rest import ENDPOINTS, LOGIN, Endpoint
from server.config import Rate, Settings
from server.metrics import Metrics
from server.rest import bearer, error_response, refused_with
from server.tokens import Principal
from storage.counters import Count, LocalCounters

V6_PREFIX = 64  # bits of an IPv6 address that one household or machine has to itself


class Counters(Protocol):
    """Counts within windows of time: `storage.counters`."""

    async def add(self, key: str, seconds: int, amount: int = 1) -> Count: ...


class Verifier(Protocol):
    """Says whom an access token speaks for, without asking anyone."""

    def verify(self, token: str) -> Principal: ...


class Window(NamedTuple):
    """Where someone stands within a limit. `seconds_left` until the counting begins anew."""

    rate: Rate
    remaining: int
    seconds_left: float

    @property
    def headers(self) -> Mapping[str, str]:
        """As the draft of the RateLimit headers has it, that express-rate-limit sends too."""
        return {
            "RateLimit-Policy": f"{self.rate.amount};w={self.rate.seconds}",
            "RateLimit-Limit": str(self.rate.amount),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(math.ceil(self.seconds_left)),
        }


class RateLimited(MemoError):
    """The refusal of one who called too often."""

    def __init__(self, window: Window) -> None:
        seconds = max(1, math.ceil(window.seconds_left))
        super().__init__(
            ErrorCode.RATE_LIMITED,
            f"Too many calls; try again in {seconds} s.",
            retry_after=seconds,
        )
        self.window = window


class Limiter:
    """Counts calls and refuses those that are too many. `rates` leaves out what is not limited;
    `refused` is told of each refusal."""

    def __init__(
        self,
        rates: Mapping[Limit, Rate | None],
        counters: Counters,
        refused: Callable[[Limit], None] = lambda _: None,
    ) -> None:
        self._refused = refused
        self._rates = {limit: rate for limit, rate in rates.items() if rate is not None}
        self._counters = counters
        self._operations = LocalCounters()
        self._hellos = LocalCounters()

    @classmethod
    def of(cls, settings: Settings, counters: Counters, metrics: Metrics) -> "Limiter":
        """With the rates that an operator has set."""
        rates = {
            Limit.AUTH: settings.rate_limit_auth,
            Limit.API: settings.rate_limit_api,
            Limit.UPLOAD: settings.rate_limit_upload,
            Limit.AI: settings.rate_limit_ai,
            Limit.INVITE: settings.rate_limit_invite,
            Limit.SOCKET: settings.rate_limit_socket,
            Limit.HELLO: settings.rate_limit_hello,
        }
        return cls(rates, counters, lambda limit: metrics.rate_limited.labels(limit.value).inc())

    async def count(self, limit: Limit, *key: str) -> Window | None:
        """Count one call. None where there is no limit.

        Raises:
            RateLimited: it is one too many.
        """
        window = await self._add(limit, key, 1)
        if window is not None and window.remaining < 0:
            self._refused(limit)
            raise RateLimited(window._replace(remaining=0))
        return window

    async def forgive(self, limit: Limit, *key: str) -> Window | None:
        """Take back one call that was counted."""
        return await self._add(limit, key, -1)

    async def admit(self, limit: Limit, user_id: UUID) -> None:
        """Count one operation of the socket, and against `limit`.

        SOCKET is to keep a node from one who asks without end, so it is counted on the node: to
        ask Redis would cost each operation a round trip.

        Raises:
            RateLimited: it is one too many.
        """
        rate = self._rates.get(Limit.SOCKET)
        if rate is not None:
            count = self._operations.count(user_id, rate.seconds)
            if count.number > rate.amount:
                self._refused(Limit.SOCKET)
                raise RateLimited(Window(rate, 0, count.seconds_left))
        if limit is not Limit.SOCKET:
            await self.count(limit, f"user:{user_id}")

    def hello_failed(self, address: str | None, error: MemoError) -> MemoError:
        """Count a hello from `address` that was refused with `error`, and return what to answer:
        the error, or `RateLimited` when there were too many.

        It is counted on the node, and after the fact: a good hello costs nothing, and is let in
        however many of its neighbours' fail.
        """
        rate = self._rates.get(Limit.HELLO)
        if rate is None or error.code.temporary:
            return error
        count = self._hellos.count(place(address), rate.seconds)
        if count.number <= rate.amount:
            return error
        self._refused(Limit.HELLO)
        return RateLimited(Window(rate, 0, count.seconds_left))

    async def _add(self, limit: Limit, key: Sequence[str], amount: int) -> Window | None:
        rate = self._rates.get(limit)
        if rate is None:
            return None
        # A rate that was set anew counts anew: a window of a day is not one of a minute.
        name = "/".join((limit.value, str(rate.seconds), *key))
        count = await self._counters.add(name, rate.seconds, amount)
        return Window(rate, rate.amount - count.number, count.seconds_left)


class Lockout:
    """Counts wrong guesses at an account's password, whatever addresses they come from.

    So that nobody can keep the owner out by guessing, an address that the account has signed in
    from before is not held to it, only to what any address is. `familiar` says if it has.
    """

    def __init__(self, limiter: Limiter, familiar: Callable[[str, str], Awaitable[bool]]) -> None:
        self._limiter = limiter
        self._familiar = familiar

    @asynccontextmanager
    async def at(self, account: str, address: str | None) -> AsyncIterator[None]:
        """Within it `account`, an e-mail address, is tried to sign in to. A refusal that is the
        caller's fault is a wrong guess.

        Raises:
            RateLimited: there were too many, and nothing is tried.
        """
        key = ("account", _digest(account))
        try:
            await self._limiter.count(Limit.AUTH, *key)
        except RateLimited:
            if address is None or not await self._familiar(account, address):
                raise
        try:
            yield
        except Exception as error:
            if not isinstance(error, MemoError) or _is_no_guess(LOGIN, error.code):
                await self._limiter.forgive(Limit.AUTH, *key)
            raise
        await self._limiter.forgive(Limit.AUTH, *key)


def guarded(
    routes: Sequence[BaseRoute], limiter: Limiter, verifier: Verifier
) -> Sequence[BaseRoute]:
    """`routes`, those of declared endpoints held to the limits that are declared with them."""
    endpoints = {endpoint.name: endpoint for endpoint in ENDPOINTS}
    for route in routes:
        endpoint = endpoints.get(route.name) if isinstance(route, Route) else None
        if isinstance(route, Route) and endpoint is not None and endpoint.limit is not None:
            route.app = _Guarded(route.app, endpoint, endpoint.limit, limiter, verifier)
    return routes


class _Guarded:
    """ASGI around one endpoint: counts, refuses, and says in the headers how much is left."""

    def __init__(
        self, app: ASGIApp, endpoint: Endpoint, limit: Limit, limiter: Limiter, verifier: Verifier
    ) -> None:
        self._app = app
        self._endpoint = endpoint
        self._limit = limit
        self._limiter = limiter
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = self._key(Request(scope))
        try:
            window = await self._limiter.count(self._limit, *key)
        except RateLimited as refusal:
            response = error_response(refusal, headers=refusal.window.headers)
            await response(scope, receive, send)
            return

        answered = False

        async def send_with_headers(message: Message) -> None:
            nonlocal window, answered
            if message["type"] == "http.response.start":
                answered = True
                if self._forgives(message["status"], refused_with(scope)):
                    window = await self._limiter.forgive(self._limit, *key)
                if window is not None:
                    MutableHeaders(scope=message).update(window.headers)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            if not answered:  # that is done further out
                await self._limiter.forgive(self._limit, *key)
            raise

    def _forgives(self, status: int, code: ErrorCode | None) -> bool:
        """Whether a call does not count in the end: what failed on our side never does."""
        if code is not None:
            return _is_no_guess(self._endpoint, code)
        return self._endpoint.forgiving and status < 400

    def _key(self, request: Request) -> tuple[str, ...]:
        """Guesses are counted by where they come from, whoever they say they are."""
        if self._limit is Limit.AUTH:
            return self._endpoint.name, origin(request)
        token = bearer(request)
        if token is not None:
            try:
                return (f"user:{self._verifier.verify(token).account_id}",)
            except MemoError:
                pass
        return (origin(request),)


def _is_no_guess(endpoint: Endpoint, code: ErrorCode) -> bool:
    return code.status >= 500 or code in endpoint.forgiven


def origin(request: Request) -> str:
    """Where a request comes from, as far as limits tell places apart."""
    return place(request.client.host if request.client else None)


def place(host: str | None) -> str:
    """`origin`, of an address."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return "address:unknown"
    if address.version == 6:
        if address.ipv4_mapped is None:
            network = ipaddress.ip_network((address.packed, V6_PREFIX), strict=False)
            return f"address:{network.network_address}"
        address = address.ipv4_mapped
    return f"address:{address}"


def _digest(account: str) -> str:
    """Names an account in a key, without showing its address to whoever looks into Redis."""
    return hashlib.sha256(account.casefold().encode()).hexdigest()[:32]
