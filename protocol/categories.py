"""Categories: what an account sorts its memories into."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from protocol.operation import Operation, Permission
from protocol.records import Body, Empty, Timestamp

MAX_CATEGORIES = 500  # of one account

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Description = Annotated[str, msgspec.Meta(max_length=1000)]
Icon = Annotated[str, msgspec.Meta(min_length=1, max_length=50)]
Color = Annotated[
    str,
    msgspec.Meta(
        max_length=7,
        pattern="^#[0-9A-Fa-f]{6}$",
        description="Red, green and blue in hexadecimal.",
        examples=["#3B82F6"],
    ),
]


class Category(Body, frozen=True):
    """A category of one account. `icon` is a name that the app knows. Those with `isDefault` were
    made with the account; they may be changed and deleted like any other. Lists are sorted by
    `sortOrder`, which need not be without gaps."""

    id: UUID
    name: str
    description: str | None
    icon: str | None
    color: str | None
    is_default: bool
    sort_order: int
    created_at: Timestamp
    updated_at: Timestamp


class Categories(Body, frozen=True):
    """All of them, in order."""

    categories: list[Category]


class OneCategory(Body, frozen=True):
    category: Category


class CreateCategory(Body, frozen=True):
    """`id` may be made by the client, so that a retry is harmless. Without `sortOrder` it comes
    last. An account may have 500."""

    name: Name
    id: UUID | None = None
    description: Description | None = None
    icon: Icon | None = None
    color: Color | None = None
    sort_order: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None


class UpdateCategory(Body, frozen=True):
    """Fields left out stay as they are; `null` clears one."""

    id: UUID
    name: Name | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET
    icon: Icon | None | UnsetType = UNSET
    color: Color | None | UnsetType = UNSET


class ReorderCategories(Body, frozen=True):
    """`ids` in their new order. Categories that are left out follow in their old one; ids that
    are none of the account's categories, perhaps not any more, are passed over."""

    ids: Annotated[list[UUID], msgspec.Meta(max_length=MAX_CATEGORIES)]


class DeleteCategory(Body, frozen=True):
    id: UUID


class DeletedCategory(Body, frozen=True):
    id: UUID
    deleted_at: Timestamp


CATEGORIES_LIST = Operation(
    "categories.list",
    Empty,
    Categories,
    Permission.READ_MEMORIES,
    "The account's categories, in order.",
)
CATEGORIES_CREATE = Operation(
    "categories.create",
    CreateCategory,
    OneCategory,
    Permission.WRITE_MEMORIES,
    "Create a category. Repeated with the same id and account it answers the first one's.",
    creates=True,
)
CATEGORIES_UPDATE = Operation(
    "categories.update",
    UpdateCategory,
    OneCategory,
    Permission.WRITE_MEMORIES,
    "Change a category.",
)
CATEGORIES_REORDER = Operation(
    "categories.reorder",
    ReorderCategories,
    Categories,
    Permission.WRITE_MEMORIES,
    "Put the categories in another order; all are answered.",
)
CATEGORIES_DELETE = Operation(
    "categories.delete",
    DeleteCategory,
    DeletedCategory,
    Permission.WRITE_MEMORIES,
    "Delete a category. The memories in it stay, without one.",
)
