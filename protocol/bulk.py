"""One change of many memories at once."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from protocol.operation import Operation, Permission
from protocol.records import Body
from protocol.refusals import Refusal

Action = Literal[
    "favorite",
    "unfavorite",
    "archive",
    "unarchive",
    "categorize",
    "delete",
    "restore",
    "purge",
]


class BulkMemories(Body, frozen=True):
    """`categoryId` goes with `categorize`; without it the memories have no category afterwards.
    `delete` and `purge` need the right `delete:memories`."""

    ids: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=100)]
    action: Action
    category_id: UUID | None = None


class BulkResult(Body, omit_defaults=True, frozen=True):
    """`error` is there when this one was not done."""

    id: UUID
    error: Refusal | None = None


class BulkResults(Body, frozen=True):
    """One for each id, in the order of the request; an id that was given twice comes once."""

    results: list[BulkResult]


MEMORIES_BULK = Operation(
    "memories.bulk",
    BulkMemories,
    BulkResults,
    Permission.WRITE_MEMORIES,
    "Do one thing to many memories. Each stands alone: one that fails costs the others nothing.",
)
