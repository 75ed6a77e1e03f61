"""Versions of a document: the heavy work on them. Every function runs in a worker process."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from msgspec.structs import replace
from pycrdt import Doc, Map

from protocol.history import FieldDiff
from protocol.log import NOBODY, Authorship, Projection, Row
from protocol.versions import Base, Folded, Layers
from sync.authorship import TooMuch, blame
from sync.comparison import attributed, compare
from sync.document import attachers, first_client, load, project, rewritten
from sync.reversion import maps, revert

EXCERPT_CHARACTERS = 140


class View(NamedTuple):
    """What a version says, and how it differs from what it was compared with."""

    content: Projection
    fields: list[FieldDiff]
    truncated: bool


def fold(updates: Sequence[bytes], base: Base | None) -> Folded:
    """These updates' document as a version: on top of `base`, or as a base of its own once what is
    on top of that weighs as much as it does."""
    doc = load(updates)
    whole, vector = doc.get_update(), doc.get_state()
    content = project([whole])
    base_id, payload = None, b""
    if base is not None:
        payload = zlib.compress(doc.get_update(base.vector))
        if base.on_top + len(payload) <= base.size:
            base_id = base.id
    return Folded(
        payload=payload if base_id else zlib.compress(whole),
        vector=vector,
        size=len(whole),
        title=content.title,
        excerpt=content.content["text"][:EXCERPT_CHARACTERS],
        base=base_id,
    )


def unfold(layers: Layers) -> list[bytes]:
    """The updates that a version is made of."""
    return [zlib.decompress(layer) for layer in (layers.base, layers.top) if layer]


def whole(updates: Sequence[bytes]) -> bytes:
    """These updates' document as one update."""
    return load(updates).get_update()


def whole_version(layers: Layers) -> bytes:
    """The document of a version as one update."""
    return whole(unfold(layers))


def view(layers: Layers) -> Projection:
    """What a version says."""
    return project(unfold(layers))


def view_beside(
    layers: Layers,
    other: Layers | Sequence[bytes] | None,
    *,
    is_newer: bool,
    kept: Sequence[Authorship],
    rows: Sequence[Row],
) -> View:
    """A version beside another one, or a document's updates, or None: nothing. `is_newer` says
    whether the other is the newer one. `kept` and `rows` say who wrote what: see `blame`."""
    own = unfold(layers)
    others = unfold(other) if isinstance(other, Layers) else other or ()
    content, beside = project(own), project(others)
    older, newer = (content, beside) if is_newer else (beside, content)
    fields, truncated = compare(older, newer)
    if any(field.field == "text" for field in fields):
        writers = _writers(others if is_newer else own, kept, rows)
        fields = [
            replace(field, parts=attributed(field.parts, writers))
            if field.field == "text"
            else field
            for field in fields
        ]
    return View(content, fields, truncated)


def _writers(
    updates: Sequence[bytes], kept: Sequence[Authorship], rows: Sequence[Row]
) -> list[tuple[int, UUID | None]]:
    """How many characters of the body in a row are whose; nobody's, if there are too many."""
    try:
        return [(len(run.text), run.account_id) for run in blame(updates, kept, rows)]
    except TooMuch:
        return []


def restore(
    updates: Sequence[bytes],
    layers: Layers,
    client_id: int,
    *,
    account_id: UUID,
    owners: Mapping[int, UUID | None],
    authors: Mapping[UUID, UUID],
) -> tuple[bytes | None, Projection]:
    """The update, written as `client_id`, that makes of the document of `updates` what a version
    was for `account_id`, and the rows that follow: see `rewritten`. `owners` says whose the Yjs
    clients are, `authors` who wrote the messages that have a row."""
    was = load(unfold(layers))
    signed: dict[str, UUID | None] = {}

    def write(doc: Doc[Any]) -> None:
        there = set(maps(doc.get("messages", type=Map)))
        revert(doc, was)
        thread = maps(doc.get("messages", type=Map))
        for key, message in maps(was.get("messages", type=Map)).items():
            # Of one that was there, the text may have been put in its place.
            if key not in there or _began(thread[key]) == client_id:
                signed[key] = _author(key, _began(message), owners, authors)
                _sign(thread[key], signed[key])

    update, projection = rewritten(updates, write, client_id)
    # A list of files that is written anew is the word of whoever restores it, if it was so before:
    # others may have put anything into a version.
    kept = maps(was.get("messages", type=Map)).keys()
    anew = {str(each.id) for each in projection.messages if each.attached_by == client_id}
    listed = {
        key: client
        for key, client in attachers(was, sorted(anew & kept)).items()
        if owners.get(client) == account_id
    }
    messages = [
        replace(
            each,
            user_id=signed.get(str(each.id)),
            attached_by=listed.get(str(each.id), each.attached_by),
        )
        for each in projection.messages
    ]
    return update, replace(projection, messages=messages)


def _began(message: Map[Any]) -> int | None:
    return first_client(message) if "body" in message else None


def _author(
    key: str,
    client: int | None,
    owners: Mapping[int, UUID | None],
    authors: Mapping[UUID, UUID],
) -> UUID | None:
    """Who wrote a message that comes back, under this key and begun by this Yjs client."""
    owner = owners.get(client) if client is not None else None
    if owner is not None:
        return None if owner == NOBODY else owner
    try:
        return authors.get(UUID(key))
    except ValueError:
        return None


def _sign(message: Map[Any], author: UUID | None) -> None:
    """Have a message name who wrote it, whatever name it bore."""
    if author is None:
        if "userId" in message:
            del message["userId"]
    elif message.get("userId") != str(author):
        message["userId"] = str(author)
