"""The trash: what becomes of memories that were deleted."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from protocol.errors import MemoError
from protocol.memories import OneMemory
from protocol.operation import Operation, Permission
from protocol.records import Body, Timestamp


class RestoreMemory(Body, frozen=True):
    id: UUID


class PurgeMemory(Body, frozen=True):
    id: UUID


class PurgedMemory(Body, frozen=True):
    id: UUID
    purged_at: Timestamp


class Fate(msgspec.Struct, frozen=True):
    """What became of one memory that was to be deleted, restored or purged. It passes between
    the sync layer and whatever stores memories, and is no frame.

    `error` says why nothing was done. `moment` is when it was deleted or purged, perhaps by an
    earlier call. `followers` are the accounts to be told: none when nothing changed. `behind`
    says that its rows lag behind its log.
    """

    id: UUID
    error: MemoError | None = None
    moment: datetime | None = None
    followers: Sequence[UUID] = ()
    behind: bool = False


MEMORIES_RESTORE = Operation(
    "memories.restore",
    RestoreMemory,
    OneMemory,
    Permission.WRITE_MEMORIES,
    "Take a memory out of the trash, for all its members.",
)
MEMORIES_PURGE = Operation(
    "memories.purge",
    PurgeMemory,
    PurgedMemory,
    Permission.DELETE_MEMORIES,
    "Delete a memory that is in the trash for good, with its thread, files and history.",
)
