"""Changes of a thread that the server makes for somebody: run in a worker process."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType
from pycrdt import Doc

from protocol.log import Projection
from protocol.thread import Thread
from sync.document import rewritten


class Post(msgspec.Struct, frozen=True):
    """A new message. One that has its id already stays as it is."""

    id: UUID
    user_id: UUID
    content: str
    message_type: str
    metadata: dict[str, Any] | None
    attachments: list[UUID]
    parent_message_id: UUID | None
    created_at: datetime


class Amendment(msgspec.Struct, frozen=True):
    """A change of a message. What is UNSET stays; None clears."""

    id: UUID
    content: str | UnsetType = UNSET
    metadata: dict[str, Any] | None | UnsetType = UNSET
    attachments: list[str] | None | UnsetType = UNSET
    status: str | UnsetType = UNSET


class Removal(msgspec.Struct, frozen=True):
    """The end of a message."""

    id: UUID


Change = Post | Amendment | Removal


def change(
    updates: Sequence[bytes], what: Change, client_id: int
) -> tuple[bytes | None, Projection]:
    """The update that makes the change, and the rows that follow: see `document.rewritten`. It is
    None when there is nothing to change, as of a message that is not there."""
    return rewritten(updates, lambda doc: _apply(doc, what), client_id, [what.id])


def _apply(doc: Doc[Any], what: Change) -> None:
    thread = Thread(doc)
    match what:
        case Post():
            thread.add(
                what.content,
                user_id=what.user_id,
                message_id=what.id,
                message_type=what.message_type,
                metadata=what.metadata,
                attachments=what.attachments,
                parent_message_id=what.parent_message_id,
                created_at=what.created_at,
            )
        case Removal():
            thread.remove(what.id)
        case Amendment() if what.id in thread:
            if what.content is not UNSET:
                thread.edit(what.id, what.content)
            for name in ("metadata", "attachments", "status"):
                value = getattr(what, name)
                if value is not UNSET:
                    thread.put(what.id, name, value)
