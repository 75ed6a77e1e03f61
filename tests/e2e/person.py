"""An account of a test with a device: REST and a socket."""

from contextlib import AsyncExitStack
from typing import Any, Self
from uuid import uuid4

import httpx

from protocol import frames
from tests.e2e.rawsocket import RawSocket
from tests.serving import LocalServer, register

PASSWORD = "Correct-Horse-1!"  # what `register` gives everybody


class Person:
    """Registers on entering."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.email = f"{uuid4().hex}@example.com"
        self.id: str
        self.http: httpx.AsyncClient
        self.socket: RawSocket
        self.token: str
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.token = await register(self.server.url, self.email)
        self.http = await self._stack.enter_async_context(
            httpx.AsyncClient(
                base_url=self.server.url,
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=20,
            )
        )
        self.socket = await self._stack.enter_async_context(
            RawSocket(self.server.socket_url, self.token)
        )
        self.id = (await self.call("account.me"))["user"]["id"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def call(self, operation: str, **body: Any) -> Any:
        """The body of the reply, or the code of the error."""
        answer = await self.socket.call(operation, body)
        return answer.body if isinstance(answer, frames.Reply) else answer.body.code

    async def upload(
        self, content: bytes, name: str = "notes.txt", expected: int = 201, **fields: str
    ) -> Any:
        """The file, or the error, that the upload is answered with. It names no type of sense."""
        reply = await self.http.post(
            "/api/files", data=fields, files={"file": (name, content, "text/x-made-up")}
        )
        assert reply.status_code == expected, reply.text
        return reply.json()["file" if expected == 201 else "error"]

    async def memory(self, **fields: Any) -> str:
        """The id of a new memory."""
        reply = await self.call("memories.create", id=str(uuid4()), **fields)
        memory_id: str = reply["memory"]["id"]
        return memory_id

    async def share(self, memory_id: str, other: "Person", role: str) -> None:
        """Make another one a member."""
        invited = await self.call(
            "sharing.invite", memoryId=memory_id, email=other.email, role=role
        )
        accepted = await other.call("sharing.accept", invitationId=invited["invitation"]["id"])
        assert isinstance(accepted, dict), accepted
