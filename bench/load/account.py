"""The accounts of a load test, and how their devices sign in over REST."""

from collections import deque
from typing import TypeVar
from uuid import UUID, uuid4

import httpx
import msgspec

from protocol.accounts import Login, Refresh, Refreshed, Register, SignedIn
from protocol.errors import ErrorCode, MemoError
from protocol.frames import ErrorBody
from protocol.records import Body
from protocol.rest import LOGIN, REFRESH, REGISTER, Endpoint, Refused
from protocol.session import refusal

SECONDS = 30.0
CONNECTIONS = 100

B = TypeVar("B", bound=Body)


class Account:
    """Somebody who uses the app. `deleted` are the memories that one of the devices has deleted,
    or is about to: the other one may still ask for them, and is rightly refused."""

    def __init__(self) -> None:
        self.email = f"{uuid4().hex}@example.com"
        self.password = f"Load-{uuid4().hex}-1!"
        self.deleted: set[UUID] = set()


class Accounts:
    """Where devices sign in. Keeps connections until it is closed."""

    def __init__(self, host: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=host,
            timeout=SECONDS,
            trust_env=False,
            limits=httpx.Limits(max_connections=CONNECTIONS),
        )
        self._with_one_device: deque[Account] = deque()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def find(self) -> Account | None:
        """An account that has one device so far, for its second one; or none."""
        return self._with_one_device.popleft() if self._with_one_device else None

    async def sign_up(self) -> tuple[Account, SignedIn]:
        """Make an account.

        Raises:
            MemoError: the refusal; `unavailable`, when the server cannot be reached.
        """
        account = Account()
        person = Register(account.email, account.password, first_name="Load", last_name="Test")
        signed_in = await self._post(REGISTER, person, SignedIn)
        self._with_one_device.append(account)
        return account, signed_in

    async def sign_in(self, account: Account) -> SignedIn:
        """Raises:
        MemoError: the refusal; `unavailable`, when the server cannot be reached.
        """
        return await self._post(LOGIN, Login(account.email, account.password), SignedIn)

    async def refresh(self, token: str) -> Refreshed:
        """Fresh tokens for a refresh token.

        Raises:
            MemoError: the refusal; `unavailable`, when the server cannot be reached.
        """
        return await self._post(REFRESH, Refresh(token), Refreshed)

    async def _post(self, endpoint: Endpoint, body: Body, answer: type[B]) -> B:
        try:
            response = await self._client.post(
                endpoint.path,
                content=msgspec.json.encode(body),
                headers={"Content-Type": "application/json"},
            )
        except httpx.TimeoutException:
            raise MemoError(ErrorCode.TIMEOUT) from None
        except httpx.TransportError as error:
            raise MemoError(ErrorCode.UNAVAILABLE, str(error)) from None
        try:
            if response.is_success:
                return msgspec.json.decode(response.content, type=answer)
            refused = msgspec.json.decode(response.content, type=Refused).error
        except msgspec.MsgspecError:
            raise MemoError(
                ErrorCode.INTERNAL, f"{endpoint.path} answered with {response.status_code}"
            ) from None
        raise refusal(ErrorBody(refused.code, refused.message))
