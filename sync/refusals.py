"""Why a room refuses an update, as its sender is told."""

from protocol.errors import ErrorCode, MemoError
from protocol.log import Outcome
from sync.update import MalformedUpdate

_OUTCOMES = {
    Outcome.FORBIDDEN: (ErrorCode.FORBIDDEN, "you may not write in this memory"),
    Outcome.GONE: (ErrorCode.GONE, "this memory has been deleted"),
    Outcome.NOT_FOUND: (ErrorCode.GONE, "this memory has been deleted"),
    Outcome.CLIENT_ID_TAKEN: (ErrorCode.CLIENT_ID_TAKEN, None),
    Outcome.FAILED: (ErrorCode.INTERNAL, "the database refused this update"),
}


def refused(outcome: Outcome) -> MemoError:
    """The commit refused it."""
    code, message = _OUTCOMES[outcome]
    return MemoError(code, message)


def closed() -> MemoError:
    """It came behind one that was refused."""
    return MemoError(
        ErrorCode.CHANNEL_CLOSED, "an update of this channel was refused; open the document again"
    )


def malformed(error: MalformedUpdate) -> MemoError:
    """It is not safe to store."""
    return MemoError(ErrorCode.MALFORMED_UPDATE, str(error))


def missing_dependency(missing: dict[int, int]) -> MemoError:
    """It builds on what is not here."""
    needed = {str(client): clock for client, clock in list(missing.items())[:10]}
    return MemoError(ErrorCode.MISSING_DEPENDENCY, details={"needs": needed})
