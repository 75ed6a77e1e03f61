"""Accounts as the REST interface has them: sign up, sign in, sign out."""

import asyncio
from typing import NamedTuple, Self
from uuid import uuid4

import httpx
import msgspec

from bench.errors import BenchmarkFailed
from protocol.accounts import Login, Register, SignedIn
from protocol.errors import ErrorCode
from protocol.rest import LOGIN, LOGOUT, REGISTER, Endpoint
from protocol.session import Backoff

SECONDS = 60.0
_NO_TIME = {code.status for code in (ErrorCode.BUSY, ErrorCode.TIMEOUT)}


class Account(NamedTuple):
    """Who may sign in with `email` and `password`."""

    email: str
    password: str


class Desk:
    """Where accounts sign in; what the server has no time for is asked again after a while. Keeps
    its connections: it is entered and left."""

    def __init__(self, port: int) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=SECONDS, trust_env=False
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.__aexit__()

    async def sign_up(self) -> tuple[Account, str]:
        """A new account, and the access token of its first session.

        Raises:
            BenchmarkFailed: the server refused.
        """
        account = Account(f"{uuid4().hex}@example.com", f"Bench-{uuid4().hex}-1!")
        person = Register(*account, first_name="Bench", last_name="Mark")
        return account, _token(await self._post(REGISTER, person))

    async def sign_in(self, account: Account) -> str:
        """The access token of a new session.

        Raises:
            BenchmarkFailed: the server refused.
        """
        return _token(await self._post(LOGIN, Login(*account)))

    async def sign_out(self, token: str) -> None:
        """End the session of an access token.

        Raises:
            BenchmarkFailed: the server refused.
        """
        await self._post(LOGOUT, None, token)

    async def _post(
        self, endpoint: Endpoint, body: msgspec.Struct | None, token: str | None = None
    ) -> bytes:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        content = b"" if body is None else msgspec.json.encode(body)
        backoff = Backoff()
        async with asyncio.timeout(SECONDS):
            while True:
                response = await self._client.request(
                    endpoint.method, endpoint.path, content=content, headers=headers
                )
                if response.is_success:
                    return response.content
                if response.status_code not in _NO_TIME:
                    raise BenchmarkFailed(f"{endpoint.path} was refused: {response.text}")
                await asyncio.sleep(backoff.next())


def _token(answer: bytes) -> str:
    return msgspec.json.decode(answer, type=SignedIn).access_token
