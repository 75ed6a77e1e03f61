"""Presence: who is here and where their cursor is. Relayed, never stored.

The bytes are awareness updates of y-protocols: a count, then for each client its id, a clock
and a JSON state (`null`: gone). A room keeps the newest state of each client and relays what
changed at most every `INTERVAL` seconds, so however fast cursors move, what waits to be sent is
one state a client.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from protocol.errors import ErrorCode, MemoError
from sync.lib0 import read_bytes, read_uint, write_bytes, write_uint

INTERVAL = 0.05
MAX_STATE_BYTES = 8 * 1024
MAX_BYTES = 256 * 1024  # of one awareness update
MAX_CLIENTS_PER_OWNER = 32
_GONE = b"null"

Owner = TypeVar("Owner")
State = tuple[int, bytes]  # clock, JSON


class Presence(Generic[Owner]):
    """The states of one room's clients, each held by the owner (a connection) that set it."""

    def __init__(self) -> None:
        self._states: dict[int, State] = {}
        self._owners: dict[int, Owner] = {}
        self._held: dict[Owner, int] = {}  # how many clients each owner shows
        self._changed: dict[int, State] = {}

    def __len__(self) -> int:
        return len(self._states)

    def apply(self, owner: Owner, payload: bytes) -> bool:
        """Take a connection's awareness update; whether something is to be relayed.

        States of clients that another connection holds are passed over: stock Yjs clients send
        back what they heard of others.

        Raises:
            MemoError: `malformed_awareness`, and nothing of the update is taken.
        """
        states = decode(payload)
        held = self._held.get(owner, 0)
        accepted: dict[int, State] = {}
        for client, (clock, state) in states.items():
            if self._owners.get(client, owner) is not owner:
                continue
            known = self._states.get(client)
            if known is None:
                if state == _GONE:
                    continue
                held += 1
                if held > MAX_CLIENTS_PER_OWNER:
                    raise MemoError(
                        ErrorCode.MALFORMED_AWARENESS,
                        f"one connection may show {MAX_CLIENTS_PER_OWNER} clients at most",
                    )
            elif clock < known[0] or (clock == known[0] and state != _GONE):
                continue
            accepted[client] = clock, state
        for client, change in accepted.items():
            if change[1] == _GONE:
                self._forget(client)
            else:
                if client not in self._owners:
                    self._held[owner] = self._held.get(owner, 0) + 1
                self._states[client] = change
                self._owners[client] = owner
            self._changed[client] = change
        return bool(accepted)

    def leave(self, owner: Owner) -> bool:
        """A connection is gone, and its clients with it; whether something is to be relayed."""
        if owner not in self._held:
            return False
        clients = [client for client, other in self._owners.items() if other is owner]
        for client in clients:
            # At its last clock, as y-protocols has it: the next one is the client's to use.
            clock, _ = self._states[client]
            self._forget(client)
            self._changed[client] = clock, _GONE
        return True

    def _forget(self, client: int) -> None:
        self._states.pop(client, None)
        owner = self._owners.pop(client, None)
        if owner is not None:
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]

    def take_changes(self) -> tuple[bytes, set[Owner | None]]:
        """What changed since the last call, and whose it is (None: of one that left)."""
        changed, self._changed = self._changed, {}
        return encode(changed.items()), {self._owners.get(client) for client in changed}

    def all(self) -> bytes | None:
        """Everyone's state, for one who joins; None when nobody is here."""
        return encode(self._states.items()) if self._states else None


def decode(payload: bytes) -> dict[int, State]:
    """The states of an awareness update by client id.

    Raises:
        MemoError: `malformed_awareness`.
    """
    try:
        if len(payload) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        at = 0
        count, at = read_uint(payload, at)
        if count > len(payload) // 3:
            raise ValueError("more clients are declared than there are bytes")
        states: dict[int, State] = {}
        for _ in range(count):
            client, at = read_uint(payload, at)
            clock, at = read_uint(payload, at)
            state, at = read_bytes(payload, at)
            if len(state) > MAX_STATE_BYTES:
                raise ValueError(f"a state is larger than {MAX_STATE_BYTES} bytes")
            msgspec.json.decode(state)
            states[client] = clock, state
        if at != len(payload):
            raise ValueError("bytes follow the last state")
    except (ValueError, RecursionError) as error:
        raise MemoError(
            ErrorCode.MALFORMED_AWARENESS, f"not an awareness update: {error}"
        ) from None
    return states


def encode(states: Iterable[tuple[int, State]]) -> bytes:
    """The awareness update that carries these states."""
    parts = bytearray()
    count = 0
    for client, (clock, state) in states:
        write_uint(parts, client)
        write_uint(parts, clock)
        write_bytes(parts, state)
        count += 1
    head = bytearray()
    write_uint(head, count)
    return bytes(head + parts)
