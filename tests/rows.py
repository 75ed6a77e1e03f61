"""Rows that tests of the log start from."""

from uuid import UUID, uuid4

import asyncpg

from protocol.log import Author
from protocol.memories import Role


async def add_person(pool: asyncpg.Pool, device: str | None = "phone") -> Author:
    """An account, on one of its devices."""
    account_id = uuid4()
    await pool.execute(
        "INSERT INTO users (id, email) VALUES ($1, $2)", account_id, f"{account_id}@example.com"
    )
    return Author(account_id, device)


async def add_memory(pool: asyncpg.Pool, owner: Author, **members: Author) -> UUID:
    """A memory with an empty document; `members` by the role they have in it."""
    memory_id = uuid4()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO memories (id, user_id) VALUES ($1, $2)", memory_id, owner.account_id
        )
        await connection.execute(
            "INSERT INTO documents (id, owner_id) VALUES ($1, $2)", memory_id, owner.account_id
        )
        roles: dict[str, Author] = {"owner": owner, **members}
        for role, member in roles.items():
            await add_member(connection, memory_id, member, role)  # type: ignore[arg-type]
    return memory_id


async def add_member(
    connection: asyncpg.Pool | asyncpg.pool.PoolConnectionProxy,
    memory_id: UUID,
    member: Author,
    role: Role,
) -> None:
    await connection.execute(
        "INSERT INTO memberships (memory_id, user_id, role) VALUES ($1, $2, $3)",
        memory_id,
        member.account_id,
        role,
    )


async def delete_memory(pool: asyncpg.Pool, memory_id: UUID) -> None:
    """What deleting it leaves of a memory, without telling anybody."""
    await pool.execute("UPDATE documents SET deleted_at = now() WHERE id = $1", memory_id)
