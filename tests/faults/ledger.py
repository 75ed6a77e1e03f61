"""What the devices were told, and whether the log bears it out."""

from collections import Counter
from itertools import count
from typing import NamedTuple
from uuid import UUID

import asyncpg

from sync.state import State
from sync.update import scan


class Told(NamedTuple):
    """An update that the server said it has, and when (Unix seconds). `connection` is a number of
    the ledger's."""

    device: str
    connection: int
    node: str
    channel: int
    client_seq: int
    document_id: UUID
    epoch: str | None
    offset: int
    update: bytes
    at: float


class Ledger:
    """Every ack, and every own update that came back. `wrong` is what should not have been;
    `refusals` counts the tokens that were refused."""

    def __init__(self) -> None:
        self.refusals = 0
        self.acks: list[Told] = []
        self.wrong: list[str] = []
        self._connections = count(1)
        self._pushed: Counter[tuple[str, UUID, bytes]] = Counter()

    def connection(self) -> int:
        """The number of a new connection."""
        return next(self._connections)

    def acked(self, ack: Told) -> None:
        self.acks.append(ack)

    def came_back(self, device: str, document_id: UUID, update: bytes, *, acked: bool) -> None:
        """A device was pushed an update that it has sent. Once is right when the connection that
        it was sent on was lost before the ack; `acked` says that it was acked on this one."""
        self._pushed[device, document_id, update] += 1
        if acked:
            self.wrong.append(f"{device} was pushed its own update of {document_id} after its ack")
        elif self._pushed[device, document_id, update] == 2:
            self.wrong.append(f"{device} was pushed its own update of {document_id} twice")

    async def compare(self, database: str, document_id: UUID) -> int:
        """Hold the acks of a document against its log; returns how many updates are lost.
        Everything that is not as it should be is added to `wrong`."""
        connection = await asyncpg.connect(database)
        try:
            document = await connection.fetchrow(
                "SELECT epoch::text, head FROM documents WHERE id = $1", document_id
            )
            rows = await connection.fetch(
                "SELECT log_offset, payload, extract(epoch FROM written_at)::float8 AS at"
                " FROM document_updates WHERE document_id = $1 ORDER BY log_offset",
                document_id,
            )
            snapshot = await connection.fetchrow(
                "SELECT log_offset, state FROM document_snapshots WHERE document_id = $1",
                document_id,
            )
        finally:
            await connection.close()
        assert document is not None
        log = {row["log_offset"]: row["payload"] for row in rows}
        trimmed = min(log, default=document["head"] + 1) - 1
        if list(log) != list(range(trimmed + 1, document["head"] + 1)):
            self.wrong.append(f"the log of {document_id} has a hole: {list(log)}")
        if trimmed > (snapshot["log_offset"] if snapshot else 0):
            self.wrong.append(f"the log of {document_id} is trimmed ahead of its snapshot")
        acks = [ack for ack in self.acks if ack.document_id == document_id]
        for ack in acks:
            if ack.epoch != document["epoch"]:
                self.wrong.append(f"{ack.device} was acked under epoch {ack.epoch}")
        self._check_order(acks, log)
        state, held = State(), 0
        if snapshot is not None:
            state, held = State.decode(snapshot["state"]), snapshot["log_offset"]
        lost = 0
        known = [ack for ack in acks if log.get(ack.offset) != ack.update]
        for ack in sorted(known, key=lambda ack: ack.at):
            # What the log had by then. The state only grows: acks are taken by their time.
            for row in rows:
                if row["log_offset"] > held and row["at"] <= ack.at:
                    state.add(scan(row["payload"]))
                    held = row["log_offset"]
            update = scan(ack.update)
            if state.missing(update) or state.brings(update):
                lost += 1
                self.wrong.append(
                    f"{ack.device} was acked update {ack.client_seq} of {document_id} at "
                    f"{ack.offset}, and the log did not have it"
                )
        return lost

    def _check_order(self, acks: list[Told], log: dict[int, bytes]) -> None:
        """Updates sent after each other on one channel stand in the log in that order."""
        last: dict[tuple[str, int, str, int], Told] = {}
        for ack in acks:
            if log.get(ack.offset) != ack.update:
                continue  # it was known already
            before = last.get(ack[:4])
            if before is not None and not (
                before.client_seq < ack.client_seq and before.offset < ack.offset
            ):
                self.wrong.append(f"{ack.device} was acked out of order: {before[4:8]}, {ack[4:8]}")
            last[ack[:4]] = ack
