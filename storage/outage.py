"""Telling a database that is away from one that refuses a statement."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from protocol.errors import ErrorCode, MemoError

_OUTAGES = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or a disk that an operator protects
)


@contextmanager
def reported() -> Iterator[None]:
    """What is done within meets `unavailable` when the database is away, full, read-only or
    shutting down.

    Whether a commit under way happened is then unknown. Any other error means that the
    statement was refused and nothing of it happened.

    Raises:
        MemoError: `unavailable`.
    """
    try:
        yield
    except asyncpg.DataError:
        raise  # a value that cannot be sent: asyncpg calls that a misuse of its interface
    except _OUTAGES as error:
        raise MemoError(
            ErrorCode.UNAVAILABLE, "the database cannot be reached; try again", retry_after=1
        ) from error
