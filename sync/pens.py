"""The Yjs client ids that the server writes under.

A client id belongs to the first account that writes with it in a document. Who could tell which one
the server is about to take there would take it first, and keep the server from writing for others:
so each document has ids of its own, made of a secret of this process. They are not drawn anew for
each write, since a document remembers each for ever.
"""

from hashlib import blake2b
from secrets import token_bytes
from uuid import UUID


class Pens:
    """The ids of one process, which are others after each start."""

    def __init__(self) -> None:
        self._secret = token_bytes(16)

    def of(self, document_id: UUID, owner: UUID | None, number: int = 0) -> int:
        """An id of 32 bits to write with in the document for an account (None: for the server
        itself). `number` asks for another one, should the first be taken."""
        whose = b"" if owner is None else owner.bytes
        seed = document_id.bytes + number.to_bytes(4) + whose
        return int.from_bytes(blake2b(seed, key=self._secret, digest_size=4).digest())
