"""Records of versions that pass between the sync layer and whatever stores them.

They are in-process values, not frames, as those of `protocol.log` are.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

MadeKind = Literal["auto", "named", "restore"]


class Base(msgspec.Struct, frozen=True):
    """A whole document that versions build on: the state vector it reaches, its bytes, and those of
    the updates that versions have on top of it, as they are stored."""

    id: UUID
    vector: bytes
    size: int
    on_top: int


class Newest(msgspec.Struct, frozen=True):
    """Where a document stands with its versions. `offset` is that of the newest one (0: none),
    `age` how long ago the last automatic one was made, in seconds, `size` that of the document
    then, in bytes."""

    head: int
    deleted: bool
    offset: int
    age: float | None
    size: int
    base: Base | None


class Draft(msgspec.Struct, frozen=True):
    """What a version to be stored is called. An automatic one is not stored less than `apart`
    seconds after another; `review` is after how many seconds thinning is to look at it."""

    id: UUID
    offset: int
    kind: MadeKind
    name: str | None
    created_by: UUID | None
    apart: float
    review: float


class Folded(msgspec.Struct, frozen=True):
    """A version to be stored. `payload` is compressed: the whole document if `base` is None, else
    what came since that base. `vector` is the state vector that it reaches, `size` the bytes of
    the whole document as an update."""

    payload: bytes
    vector: bytes
    size: int
    title: str | None
    excerpt: str
    base: UUID | None


class Stamp(msgspec.Struct, frozen=True):
    """What thinning looks at."""

    id: UUID
    kind: MadeKind
    named: bool
    created_at: datetime
    changed_at: datetime


class Layers(msgspec.Struct, frozen=True):
    """A version as it is stored: the base and what is on top of it, both compressed."""

    base: bytes
    top: bytes
