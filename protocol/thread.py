"""The thread of a memory's document, to be read and edited without a network.

`messages` is a Y.Map of message id to Y.Map: a Y.Text `body`, and beside it the plain values
messageType, userId, parentMessageId, metadata, attachments, isAiGenerated, status, createdAt.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from pycrdt import Doc, Map, Text

from protocol.records import timestamp


class ThreadMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a document has it. `user_id` is a claim of whoever wrote it; the server's
    lists say whose it is. `created_at` is RFC 3339, or whatever else stands there."""

    id: UUID
    content: str
    user_id: str | None = None
    message_type: str = "text"
    metadata: dict[str, Any] | None = None
    attachments: list[str] = []
    is_ai_generated: bool = False
    parent_message_id: str | None = None
    status: str = "sent"
    created_at: str = ""


class Thread:
    """The messages of one document. What one call changes is one update."""

    def __init__(self, doc: Doc[Any]) -> None:
        self._doc = doc
        self._messages: Map[Any] = doc.get("messages", type=Map)

    def __contains__(self, message_id: UUID) -> bool:
        return self._map(message_id) is not None

    def list(self) -> list[ThreadMessage]:
        """All messages, the oldest first. What is no message is left out."""
        messages = []
        for key in self._messages.keys():  # noqa: SIM118 (a Map is no mapping)
            try:
                messages.append(_read(key, self._messages[key]))
            except (ValueError, TypeError, KeyError):
                continue
        return sorted(messages, key=lambda message: (message.created_at, message.id))

    def body(self, message_id: UUID) -> Text:
        """The text of a message, to be edited as it is typed.

        Raises:
            KeyError: there is no such message.
        """
        message = self._map(message_id)
        if message is None:
            raise KeyError(message_id)
        body = message["body"]
        assert isinstance(body, Text)
        return body

    def add(
        self,
        content: str,
        *,
        user_id: UUID,
        message_id: UUID | None = None,
        message_type: str = "text",
        metadata: dict[str, Any] | None = None,
        attachments: Sequence[UUID] = (),
        parent_message_id: UUID | None = None,
        created_at: datetime | None = None,
    ) -> UUID:
        """Write a message; its id. One that has the id already stays as it is."""
        message_id = message_id or uuid4()
        if message_id in self:
            return message_id
        fields: dict[str, Any] = {
            "body": Text(content),
            "messageType": message_type,
            "userId": str(user_id),
            "status": "sent",
            "createdAt": timestamp(created_at or datetime.now(UTC)),
        }
        if metadata is not None:
            fields["metadata"] = metadata
        if attachments:
            fields["attachments"] = [str(file_id) for file_id in attachments]
        if parent_message_id is not None:
            fields["parentMessageId"] = str(parent_message_id)
        with self._doc.transaction():
            self._messages[str(message_id)] = Map(fields)
        return message_id

    def edit(self, message_id: UUID, content: str) -> None:
        """Make the text of a message `content`, so that edits elsewhere in it survive.

        Raises:
            KeyError: there is no such message.
        """
        body = self.body(message_id)
        with self._doc.transaction():
            rewrite(body, content)

    def put(self, message_id: UUID, name: str, value: Any) -> None:
        """Set one of the plain values of a message; None takes it away.

        Raises:
            KeyError: there is no such message.
        """
        message = self._map(message_id)
        if message is None:
            raise KeyError(message_id)
        if value is None:
            if name in message:
                del message[name]
        elif name not in message or message[name] != value:
            message[name] = value

    def remove(self, message_id: UUID) -> bool:
        """Take a message away; whether it was there. Replies to it stay."""
        key = str(message_id)
        if key not in self._messages:
            return False
        with self._doc.transaction():
            del self._messages[key]
        return True

    def _map(self, message_id: UUID) -> Map[Any] | None:
        """The message, if its text can be edited."""
        key = str(message_id)
        message = self._messages.get(key, None)
        if isinstance(message, Map) and "body" in message and isinstance(message["body"], Text):
            return message
        return None


def rewrite(text: Text, new: str) -> None:
    """Make the text `new` by replacing what differs, so that edits elsewhere in it survive."""
    old = str(text)
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and old[start] == new[start]:
        start += 1
    end = 0
    while end < shorter - start and old[-1 - end] == new[-1 - end]:
        end += 1
    # pycrdt counts positions in a text in bytes of its UTF-8.
    first = len(old[:start].encode())
    removed = len(old[start : len(old) - end].encode())
    if removed:
        del text[first : first + removed]
    if inserted := new[start : len(new) - end]:
        text.insert(first, inserted)


def _read(key: str, message: Any) -> ThreadMessage:
    """Raises:
    ValueError, TypeError, KeyError: it is none.
    """
    fields: Any = message.to_py() if isinstance(message, Map) else message
    content, metadata = fields["body"], fields.get("metadata")
    attachments = fields.get("attachments")
    if not isinstance(content, str):
        raise TypeError("a text that is none")
    return ThreadMessage(
        id=UUID(key),
        content=content,
        user_id=_string(fields, "userId"),
        message_type=_string(fields, "messageType") or "text",
        metadata=metadata if isinstance(metadata, dict) else None,
        attachments=[each for each in attachments if isinstance(each, str)]
        if isinstance(attachments, list)
        else [],
        is_ai_generated=fields.get("isAiGenerated") is True,
        parent_message_id=_string(fields, "parentMessageId"),
        status=_string(fields, "status") or "sent",
        created_at=_string(fields, "createdAt") or "",
    )


def _string(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None
