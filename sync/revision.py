"""Versions of a document: the heavy work on them. Every function runs in a worker process."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

from protocol.history import FieldDiff
from protocol.log import Projection
from protocol.versions import Base, Folded, Layers
from sync.comparison import compare
from sync.document import load, project
from sync.reversion import revert
from sync.update import scan

EXCERPT_CHARACTERS = 140
_NOTHING = Projection(title=None, description=None, content={}, tags=[], metadata={}, messages=[])


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


def view(layers: Layers) -> Projection:
    """What a version says."""
    return project(unfold(layers))


def view_beside(layers: Layers, other: Layers | Sequence[bytes] | None, *, is_newer: bool) -> View:
    """A version beside another one, or a document's updates, or None: nothing. `is_newer` says
    whether the other is the newer one."""
    content = view(layers)
    if other is None:
        beside = _NOTHING
    else:
        updates = unfold(other) if isinstance(other, Layers) else other
        beside = project(updates)
    older, newer = (content, beside) if is_newer else (beside, content)
    return View(content, *compare(older, newer))


def restore(
    updates: Sequence[bytes], layers: Layers, client_id: int
) -> tuple[bytes | None, Projection]:
    """The update, written as `client_id`, that makes of the document of `updates` what a version
    was, and the rows that follow. The update is None when the document is so already.

    Raises:
        MalformedUpdate: it would hold what is not safe to store.
    """
    doc = load(updates, client_id)
    was = load(unfold(layers))
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    with doc.transaction():
        revert(doc, was)
    doc.unobserve(subscription)
    for update in made:
        scan(update)
    return (made[0] if made else None), project([*updates, *made])
