"""Opening a memory's document on a connection."""

from typing import Annotated
from uuid import UUID

import msgspec

from protocol.operation import Operation, Permission
from protocol.records import Body, Empty, Timestamp

FORMAT = "yjs-v1"


class OpenDocument(Body, frozen=True):
    """`epoch` and `offset` are what the device has; without them it gets the whole document."""

    memory_id: UUID
    epoch: str | None = None
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class OpenedDocument(Body, omit_defaults=True, frozen=True):
    """Apply `snapshot` (if any), then `updates`: the document stands at `offset`."""

    channel: int
    epoch: str
    offset: int
    format: str
    updates: list[bytes]
    can_write: bool
    snapshot: bytes | None = None


class CloseDocument(Body, frozen=True):
    channel: int


class CreateDocumentToken(Body, frozen=True):
    """`expires_in` is in seconds: a minute at the least, thirty days at the most."""

    memory_id: UUID
    expires_in: Annotated[int, msgspec.Meta(ge=60, le=30 * 86400)] = 7 * 86400


class DocumentToken(Body, frozen=True):
    """A token for `/yjs/{memoryId}` alone, for clients that reconnect with what they got."""

    token: str
    expires_at: Timestamp


DOCUMENTS_OPEN = Operation(
    "documents.open",
    OpenDocument,
    OpenedDocument,
    Permission.READ_MEMORIES,
    "Open a memory's document: what the device misses now, pushes from then on.",
)
DOCUMENTS_CLOSE = Operation(
    "documents.close",
    CloseDocument,
    Empty,
    Permission.READ_MEMORIES,
    "Close a channel: no more pushes, and this connection's presence is taken back.",
)
DOCUMENTS_TOKEN = Operation(
    "documents.token",
    CreateDocumentToken,
    DocumentToken,
    Permission.READ_MEMORIES,
    "A longer-lived token for one document, for stock Yjs clients on `/yjs/{memoryId}`.",
)
