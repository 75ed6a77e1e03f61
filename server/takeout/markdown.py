"""A memory as Markdown, with what is known of it in front."""

import re
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from protocol.memories import Memory
from protocol.messages import Message

_SLUG_CHARACTERS = 60


def slug(title: str | None) -> str:
    """The title as a part of a path: letters, digits and hyphens."""
    plain = re.sub(r"[\W_]+", "-", (title or "").lower())[:_SLUG_CHARACTERS].strip("-")
    return plain or "untitled"


def written(
    memory: Memory, category: str | None, messages: Sequence[Message], names: Mapping[UUID, str]
) -> str:
    """The file: what is known of the memory, its body, its messages."""
    front = {
        "id": str(memory.id),
        "title": memory.title,
        "description": memory.description,
        "tags": memory.tags,
        "category": category,
        "created": memory.created_at,
        "updated": memory.updated_at,
        "favorite": memory.is_favorite,
        "archived": memory.is_archived,
    }
    # JSON's values are YAML's too.
    lines = ["---", *(f"{key}: {_json(value)}" for key, value in front.items()), "---", ""]
    body = memory.content.get("text")
    if isinstance(body, str) and body:
        lines += [body, ""]
    if messages:
        lines += ["## Messages", ""]
    for message in messages:
        lines += [f"**{_name(message, names)}**, {message.created_at}", "", message.content, ""]
    return "\n".join(lines)


def _name(message: Message, names: Mapping[UUID, str]) -> str:
    if message.is_ai_generated:
        return "Memo"
    return names.get(message.user_id, "Somebody") if message.user_id else "Somebody"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
