"""One change of many memories at once."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from protocol.bulk import BulkMemories, BulkResult, BulkResults
from protocol.errors import ErrorCode, MemoError
from protocol.operation import Permission
from protocol.refusals import Refusal
from sync.feed import Notices
from sync.interfaces import Caller
from sync.trash import Trash

# What an action sets of the member's own.
_MARKS: Mapping[str, tuple[str, bool]] = {
    "favorite": ("is_favorite", True),
    "unfavorite": ("is_favorite", False),
    "archive": ("is_archived", True),
    "unarchive": ("is_archived", False),
}
_DELETING = frozenset(("delete", "purge"))


class MarkStore(Protocol):
    """The members' own rows."""

    async def mark_each(
        self, memory_ids: Sequence[UUID], account_id: UUID, marks: Mapping[str, Any]
    ) -> dict[UUID, MemoError | None]: ...


class PermittedCaller(Caller, Protocol):
    """A caller whose rights can be asked for: an action may need one that the others do not."""

    @property
    def permissions(self) -> frozenset[Permission]: ...


class Bulk:
    """Binds `memories.bulk`. The statements are few, however many memories there are."""

    def __init__(self, marks: MarkStore, trash: Trash, notices: Notices) -> None:
        self._marks = marks
        self._trash = trash
        self._notices = notices

    async def change(self, caller: PermittedCaller, request: BulkMemories) -> BulkResults:
        """Raises:
        MemoError: `forbidden` (the action, to this caller), `not_found` (the category),
            `invalid_request`. What is wrong with a single memory is in its result.
        """
        action, account_id = request.action, caller.author.account_id
        right = Permission.DELETE_MEMORIES
        if action in _DELETING and right not in caller.permissions:
            raise MemoError(ErrorCode.FORBIDDEN, f"this needs the permission {right.value}")
        if request.category_id is not None and action != "categorize":
            problem = "goes with the action categorize"
            raise MemoError(
                ErrorCode.INVALID_REQUEST,
                f"categoryId: {problem}",
                details={"categoryId": problem},
            )
        ids = list(dict.fromkeys(request.ids))
        refusals = await self._carry_out(account_id, ids, request)
        return BulkResults(
            results=[BulkResult(id=each, error=_refusal(refusals[each])) for each in ids]
        )

    async def _carry_out(
        self, account_id: UUID, ids: Sequence[UUID], request: BulkMemories
    ) -> Mapping[UUID, MemoError | None]:
        match request.action:
            case "delete":
                fates = await self._trash.delete_each(account_id, ids)
            case "restore":
                fates = await self._trash.restore_each(account_id, ids)
            case "purge":
                fates = await self._trash.purge_each(account_id, ids)
            case "categorize":
                return await self._mark(account_id, ids, {"category_id": request.category_id})
            case action:
                column, value = _MARKS[action]
                return await self._mark(account_id, ids, {column: value})
        return {fate.id: fate.error for fate in fates}

    async def _mark(
        self, account_id: UUID, ids: Sequence[UUID], marks: Mapping[str, Any]
    ) -> Mapping[UUID, MemoError | None]:
        refusals = await self._marks.mark_each(ids, account_id, marks)
        if not all(refusals.values()):
            self._notices.feed_changed([account_id])
        return refusals


def _refusal(error: MemoError | None) -> Refusal | None:
    if error is None:
        return None
    return Refusal(code=error.code.value, message=error.message, details=error.details)
