"""Categories: the operations on what an account sorts its memories into."""

import unicodedata
from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID, uuid4

from msgspec import UNSET

from protocol.categories import (
    Categories as AllCategories,
)
from protocol.categories import (
    Category,
    CreateCategory,
    DeleteCategory,
    DeletedCategory,
    OneCategory,
    ReorderCategories,
    UpdateCategory,
)
from protocol.errors import ErrorCode, MemoError
from protocol.records import Empty
from sync.feed import Notices
from sync.interfaces import Caller


class CategoryStore(Protocol):
    """The rows of categories."""

    async def list(self, account_id: UUID) -> Sequence[Category]: ...

    async def create(
        self,
        account_id: UUID,
        category_id: UUID,
        *,
        name: str,
        description: str | None,
        icon: str | None,
        color: str | None,
        sort_order: int | None,
    ) -> Category: ...

    async def update(
        self, account_id: UUID, category_id: UUID, fields: dict[str, Any]
    ) -> Category: ...

    async def reorder(self, account_id: UUID, ids: Sequence[UUID]) -> Sequence[Category]: ...

    async def delete(self, account_id: UUID, category_id: UUID) -> str: ...


class Categories:
    """Binds the operations `categories.*`."""

    def __init__(self, store: CategoryStore, notices: Notices) -> None:
        self._store = store
        self._notices = notices

    async def list(self, caller: Caller, request: Empty) -> AllCategories:  # noqa: ARG002
        return AllCategories(categories=[*await self._store.list(caller.author.account_id)])

    async def create(self, caller: Caller, request: CreateCategory) -> OneCategory:
        """Raises:
        MemoError: `conflict`, `gone`, `too_large`, `invalid_request`.
        """
        account_id = caller.author.account_id
        fields = _fields(request)
        category = await self._store.create(
            account_id, request.id or uuid4(), **fields, sort_order=request.sort_order
        )
        self._notices.feed_changed([account_id])
        return OneCategory(category=category)

    async def update(self, caller: Caller, request: UpdateCategory) -> OneCategory:
        """Raises:
        MemoError: `not_found`, `gone`, `invalid_request`.
        """
        account_id = caller.author.account_id
        fields = _fields(request)
        category = await self._store.update(account_id, request.id, fields)
        if fields:
            self._notices.feed_changed([account_id])
        return OneCategory(category=category)

    async def reorder(self, caller: Caller, request: ReorderCategories) -> AllCategories:
        account_id = caller.author.account_id
        categories = await self._store.reorder(account_id, request.ids)
        self._notices.feed_changed([account_id])
        return AllCategories(categories=[*categories])

    async def delete(self, caller: Caller, request: DeleteCategory) -> DeletedCategory:
        """Raises:
        MemoError: `not_found`.
        """
        account_id = caller.author.account_id
        deleted_at = await self._store.delete(account_id, request.id)
        self._notices.feed_changed([account_id])
        return DeletedCategory(id=request.id, deleted_at=deleted_at)


def _fields(request: CreateCategory | UpdateCategory) -> dict[str, Any]:
    """The columns that a request sets.

    Raises:
        MemoError: `invalid_request`, naming the first field that cannot be kept.
    """
    fields: dict[str, Any] = {
        name: value
        for name in ("name", "description", "icon", "color")
        if (value := getattr(request, name)) is not UNSET
    }
    if isinstance(name := fields.get("name"), str):
        fields["name"] = name.strip()
        if not fields["name"]:
            raise _wrong("name", "needs at least one character that can be seen")
    for name in ("name", "icon"):
        # One line, wherever it is shown.
        if any(unicodedata.category(character) == "Cc" for character in fields.get(name) or ""):
            raise _wrong(name, "must not hold control characters")
    if "\x00" in (fields.get("description") or ""):
        raise _wrong("description", "must not hold a NUL character")
    if fields.get("color"):
        fields["color"] = fields["color"].upper()
    return fields


def _wrong(field: str, problem: str) -> MemoError:
    return MemoError(ErrorCode.INVALID_REQUEST, f"{field}: {problem}", details={field: problem})
