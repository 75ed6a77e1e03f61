"""Documents that come from outside as a whole: looked at before anything is done with them. Every
function runs in a worker process."""

import zlib
from typing import NamedTuple

from protocol.log import Projection
from protocol.versions import Folded
from sync.document import EMPTY_UPDATE, load, project
from sync.revision import EXCERPT_CHARACTERS
from sync.state import State
from sync.update import MalformedUpdate, scan


class Inspected(NamedTuple):
    """A document that is safe to store: `payload` as it came, empty if there is nothing in it, the
    Yjs clients that wrote it, and its rows."""

    payload: bytes
    clients: list[int]
    projection: Projection


def inspect(update: bytes) -> Inspected:
    """A whole document as one update.

    Raises:
        MalformedUpdate: it is not safe, or builds on something that is not in it.
    """
    clients = _check(update)
    return Inspected(b"" if update == EMPTY_UPDATE else update, clients, project([update]))


def inspect_version(update: bytes) -> Folded:
    """The same of a version, as it is stored.

    Raises:
        MalformedUpdate: as `inspect`.
    """
    _check(update)
    doc = load([update])
    content = project([update])
    return Folded(
        payload=zlib.compress(update),
        vector=doc.get_state(),
        size=len(update),
        title=content.title,
        excerpt=content.content["text"][:EXCERPT_CHARACTERS],
        base=None,
    )


def _check(update: bytes) -> list[int]:
    read, state = scan(update), State()
    if state.missing(read):
        raise MalformedUpdate("builds on something that is not in it")
    state.validate(read)
    return list(read.structs)
