"""The memory document: what its Yjs types mean, and the heavy work done on them.

    content     Y.Text, the body (a Y.XmlFragment `default`, as TipTap uses, is read after it)
    properties  Y.Map: title, description, metadata, data (the memory's content less its text)
    tags        Y.Map used as a set: key is the tag
    messages    Y.Map of id to Y.Map, each with a Y.Text `body`

Every function is plain and runs in a worker process: updates in, updates or rows out. Nothing
in a document can be trusted to have the shape above; what has not is left out.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType
from pycrdt import Assoc, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from protocol.lexemes import lexemes_of
from protocol.log import BASE, Known, Message, Projection
from protocol.thread import rewrite
from sync.state import State
from sync.update import scan

EMPTY_UPDATE = b"\x00\x00"
_GROUP = 200  # updates of one transaction: what they delete is collected at its end
MAX_REREAD = 500  # messages of a thread that are read again for the words of one
MAX_VALUES = 10_000  # in `data` and `metadata` each: more would hold the loop as they pass it
_MAX_TITLE, _MAX_DESCRIPTION, _MAX_TAG, _MAX_TAGS = 255, 1000, 50, 100
# Of a message, so that a page of them fits a WebSocket message. The document has all of it.
_MAX_MESSAGE = 20_000  # characters
MAX_MESSAGE_METADATA = 16 * 1024  # bytes as JSON; what is larger is left out
_MAX_ATTACHMENTS = 20
MAX_CHANGED = 1000  # of a thread's messages, in one projection: they pass through the event loop
_ID_BYTES, _DIGEST_BYTES = 16, 8


class Edit(msgspec.Struct, frozen=True):
    """A change of a memory made on the server. What is UNSET stays; None clears."""

    title: str | None | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    metadata: dict[str, Any] | None | UnsetType = UNSET
    data: dict[str, Any] | None | UnsetType = UNSET
    text: str | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET


def load(updates: Iterable[bytes], client_id: int | None = None) -> Doc[Any]:
    """The document that these updates, in the order of their log, make."""
    # Not merged first: that is no faster, and has been seen to panic.
    doc: Doc[Any] = Doc(client_id=client_id)
    pending = list(updates)
    for start in range(0, len(pending), _GROUP):
        with doc.transaction():
            for update in pending[start : start + _GROUP]:
                doc.apply_update(update)
    return doc


def project(updates: Sequence[bytes], known: Known | None = None) -> Projection:
    """The rows that these updates' document projects to; of its thread only what is not `known`,
    and of that a bounded number."""
    doc = load(updates)
    with doc.transaction():
        every = list(_messages(doc.get("messages", type=Map)))
        if known is None:
            return _project(doc, every, every)
        messages, gone = _difference(every, known)
        projection = _project(
            doc,
            every,
            messages[:MAX_CHANGED],
            known=known.offset,
            gone=gone[:MAX_CHANGED],
            more=max(len(messages), len(gone)) > MAX_CHANGED,
        )
    return _with_attachers(doc, projection)


def edit(
    updates: Sequence[bytes],
    change: Edit,
    client_id: int,
    touched: Collection[UUID] | None = None,
) -> tuple[bytes | None, Projection]:
    """The update that makes `change`, as `rewritten` has it."""
    return rewritten(updates, lambda doc: _apply(doc, change), client_id, touched)


def rewritten(
    updates: Sequence[bytes],
    write: Callable[[Doc[Any]], None],
    client_id: int,
    touched: Collection[UUID] | None = None,
) -> tuple[bytes | None, Projection]:
    """The update that `write` makes of the document as `client_id`, and the rows that follow. Of
    the thread these are the messages it has `touched`, if that is said: all others are as they
    were at the offset that the edit is made at.

    The update is None when the document is so already.

    Raises:
        MalformedUpdate: it would hold what is not safe to store.
        ValueError, TypeError, OverflowError: it would hold what a document cannot.
    """
    doc = load(updates, client_id)
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    with doc.transaction():
        write(doc)
    doc.unobserve(subscription)
    for update in made:
        scan(update)
    with doc.transaction():
        thread = doc.get("messages", type=Map)
        if touched is None:
            every = list(_messages(thread))
            projection = _project(doc, every, every)
        else:
            # A long thread is not read whole for one message: search does that in its own time.
            whole = list(_messages(thread)) if len(thread) <= MAX_REREAD else None
            messages = list(_messages(thread, [str(message_id) for message_id in touched]))
            there = {message.id for message in messages}
            gone = [message_id for message_id in touched if message_id not in there]
            projection = _project(doc, whole, messages, known=BASE, gone=gone)
    return (made[0] if made else None), _with_attachers(doc, projection)


def merge(
    snapshot: bytes | None, state: bytes | None, updates: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """A snapshot that has integrated `updates`, and what it holds as an encoded `State`.

    Raises:
        ValueError: the result would lack something the log holds; it must not be stored.
    """
    expected = State.decode(hold(state, updates))
    doc = load(updates if snapshot is None else [snapshot, *updates])
    payload = doc.get_update()
    if not State.of([payload]).covers(expected):
        raise ValueError("the merged document lacks updates that the log holds")
    return payload, expected.encode()


def hold(state: bytes | None, updates: Sequence[bytes]) -> bytes:
    """The encoded `State` of a document that held `state` and then took `updates`."""
    held = State.decode(state) if state is not None else State()
    for update in updates:
        held.add(scan(update))
    return held.encode()


def difference(updates: Sequence[bytes], vector: bytes) -> bytes:
    """One update with what a Yjs client at the state `vector` lacks of these updates."""
    return load(updates).get_update(vector)


def _project(
    doc: Doc[Any], every: list[Message] | None, messages: list[Message], **thread: Any
) -> Projection:
    """The rows with these messages, and the words with every one; None: without words."""
    properties = {
        name: _plain(value)
        for name, value in _read(doc.get("properties", type=Map)).items()
        if _fits(value)
    }
    data = properties.get("data")
    content = {k: v for k, v in data.items() if k != "text"} if isinstance(data, dict) else {}
    body = str(doc.get("content", type=Text))
    rich = _text_of(doc.get("default", type=XmlFragment))
    content["text"] = _clean("\n".join(part for part in (body, rich) if part))
    metadata = properties.get("metadata")
    tags = _read(doc.get("tags", type=Map))
    projection = Projection(
        title=_string(properties.get("title"), _MAX_TITLE),
        description=_string(properties.get("description"), _MAX_DESCRIPTION),
        content=content,
        tags=sorted(_clean(tag)[:_MAX_TAG] for tag, present in tags.items() if tag and present)[
            :_MAX_TAGS
        ],
        metadata=metadata if isinstance(metadata, dict) else {},
        messages=messages,
        **thread,
    )
    return msgspec.structs.replace(
        projection, words=None if every is None else lexemes_of(projection, every)
    )


def _messages(messages: Map[Any], keys: Iterable[str] | None = None) -> Iterable[Message]:
    """The messages under these keys, by default all."""
    for key in messages.keys() if keys is None else keys:
        message_id = _uuid(key)
        # Another way to write an id would be another message with one row.
        if message_id is None or str(message_id) != key or key not in messages:
            continue
        try:
            value = messages[key]
        except ValueError:
            continue
        message = _message(message_id, value)
        if message is not None:
            yield message


def _message(message_id: UUID, value: Any) -> Message | None:
    fields = _plain(_read(value) if isinstance(value, Map) else value)
    if not isinstance(fields, dict) or not isinstance(fields.get("body"), str):
        return None
    metadata = fields.get("metadata")
    if not isinstance(metadata, dict) or not _is_small(metadata):
        metadata = None
    attachments = fields.get("attachments")
    row = Message(
        id=message_id,
        content=fields["body"][:_MAX_MESSAGE],
        message_type=_string(fields.get("messageType"), 20) or "text",
        parent_message_id=_uuid(fields.get("parentMessageId")),
        metadata=metadata,
        attachments=_ids(attachments) if isinstance(attachments, list) else None,
        is_ai_generated=fields.get("isAiGenerated") is True,
        status=_string(fields.get("status"), 20) or "sent",
        created_at=_moment(fields.get("createdAt")),
        client=first_client(value),
    )
    return msgspec.structs.replace(row, digest=_digest(row))


def first_client(message: Any) -> int | None:
    """The Yjs client that put the message's text there; None if that is no Y.Text."""
    body = message["body"] if isinstance(message, Map) else None
    if not isinstance(body, Text):
        return None
    # A position before everything in a type is told by the id of the type itself.
    client: int = body.sticky_index(0, Assoc.BEFORE).to_json()["type"]["client"]
    return client


def _with_attachers(doc: Doc[Any], projection: Projection) -> Projection:
    """The projection, its messages with who wrote which files they have. It spoils the `doc`."""
    listing = [str(message.id) for message in projection.messages if message.attachments]
    if not listing:
        return projection
    told = attachers(doc, listing)
    messages = [
        msgspec.structs.replace(message, attached_by=told.get(str(message.id)))
        for message in projection.messages
    ]
    return msgspec.structs.replace(projection, messages=messages)


def attachers(doc: Doc[Any], keys: Iterable[str]) -> dict[str, int]:
    """Which Yjs client wrote the files of each of these messages. They are deleted from the `doc`:
    that is how the CRDT library tells whose an entry of a map is."""
    thread = doc.get("messages", type=Map)
    told: dict[str, int] = {}
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    for key in keys:
        message = thread[key]
        if not isinstance(message, Map) or "attachments" not in message:
            continue
        with doc.transaction():
            del message["attachments"]
        # A list that several wrote, as a Y.Array may be, is no one's word.
        clients = {client for update in made for client in scan(update).deletes}
        made.clear()
        if len(clients) == 1:
            told[key] = clients.pop()
    doc.unobserve(subscription)
    return told


def _digest(row: Message) -> bytes:
    """Of what may change in a row."""
    content = (
        row.content,
        row.message_type,
        row.parent_message_id,
        row.metadata,
        row.attachments,
        row.is_ai_generated,
        row.status,
    )
    return blake2b(msgspec.msgpack.encode(content), digest_size=_DIGEST_BYTES).digest()


def _difference(messages: Iterable[Message], known: Known) -> tuple[list[Message], list[UUID]]:
    """The messages that rows lack or have otherwise, and those that rows have and nobody else."""
    digests, size = known.digests, _ID_BYTES + _DIGEST_BYTES
    rows = {
        digests[start : start + _ID_BYTES]: digests[start + _ID_BYTES : start + size]
        for start in range(0, len(digests), size)
    }
    changed = [message for message in messages if rows.pop(message.id.bytes, b"") != message.digest]
    return changed, [UUID(bytes=message_id) for message_id in rows]


def _is_small(metadata: dict[str, Any]) -> bool:
    return _fits(metadata) and len(msgspec.json.encode(metadata)) <= MAX_MESSAGE_METADATA


def _ids(values: list[Any]) -> list[UUID]:
    return [found for value in values if (found := _uuid(value))][:_MAX_ATTACHMENTS]


def _apply(doc: Doc[Any], change: Edit) -> None:
    properties = doc.get("properties", type=Map)
    for name in ("title", "description", "metadata", "data"):
        value = getattr(change, name)
        if value is UNSET:
            continue
        if value is None:
            if name in properties:
                del properties[name]
        elif _read(properties).get(name) != value:
            properties[name] = value
    if change.tags is not UNSET:
        tags = doc.get("tags", type=Map)
        wanted, present_tags = set(change.tags), set(tags.keys())
        for tag in sorted(present_tags - wanted):
            del tags[tag]
        for tag in sorted(wanted - present_tags):
            tags[tag] = True
    if change.text is not UNSET:
        rewrite(doc.get("content", type=Text), change.text)


def check_values(*roots: Any) -> None:
    """Refuse what a document cannot hold, before anything is handed to a worker or to the CRDT
    library, which some of it would take down.

    Raises:
        ValueError, TypeError, OverflowError: it is too much, or not JSON's.
    """
    waiting = list(roots)
    count = 0
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict | list) and count + len(waiting) + len(value) > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values")
        match value:
            case int():
                if not -(2**63) <= value < 2**63:
                    raise OverflowError("an integer past 64 bits")
            case dict():
                if not all(isinstance(key, str) for key in value):
                    raise TypeError("a key that is not text")
                waiting += value.values()
            case list():
                waiting += value
            case None | bool() | float() | str() | bytes() | UnsetType():
                pass
            case _:
                raise TypeError("a value that is not JSON's")


def _read(map: Map[Any]) -> dict[str, Any]:  # noqa: A002 (the type's name)
    """The map's entries as plain values, less those that have none: an XML type within."""
    entries: dict[str, Any] = {}
    for name in map.keys():  # noqa: SIM118 (a Map is no mapping)
        try:
            value = map[name]
            entries[name] = value.to_py() if hasattr(value, "to_py") else value
        except ValueError:
            continue
    return entries


def _fits(value: Any) -> bool:
    """Whether a value that someone put into a document is small enough for rows."""
    waiting = [value]
    count = 0
    while waiting and count <= MAX_VALUES:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return count <= MAX_VALUES


def _text_of(fragment: XmlFragment) -> str:
    """The text within an XML fragment, a line for each of its blocks."""
    lines = [_inline_text(child) for child in fragment.children]
    return "\n".join(line for line in lines if line)


def _inline_text(node: XmlElement | XmlText | XmlFragment) -> str:
    if isinstance(node, XmlText):
        return "".join(part for part, _ in node.diff() if isinstance(part, str))
    children = list(node.children)
    inline = all(isinstance(child, XmlText) for child in children)
    return ("" if inline else "\n").join(_inline_text(child) for child in children)


def _plain(value: Any) -> Any:
    """The value as JSON that PostgreSQL stores: no NUL, no NaN, no bytes."""
    match value:
        case str():
            return _clean(value)
        case float():
            if not math.isfinite(value):
                return None
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case dict():
            return {_clean(str(key)): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case None | bool() | int():
            return value
        case _:
            return None


def _clean(text: str) -> str:
    return text.replace("\x00", "\ufffd")


def _string(value: Any, limit: int) -> str | None:
    return value[:limit] if isinstance(value, str) else None


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None:
            return None
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
