"""Presence: who is here and where their cursor is. Relayed, never stored.

The bytes are awareness updates of y-protocols: a count, then for each client its id, a clock
and a JSON state (`null`: gone). A room keeps the newest state of each client and relays what
changed once in a while, so however fast cursors move, what waits to be sent is one state a
client.
"""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import msgspec

from protocol.errors import ErrorCode, MemoError
from sync.lib0 import read_bytes, read_uint, write_bytes, write_uint

MAX_STATE_BYTES = 8 * 1024
MAX_BYTES = 256 * 1024  # of one awareness update
MAX_CLIENTS_PER_OWNER = 32
MAX_CLIENTS_PER_NODE = 20_000
_GONE = b"null"

Owner = TypeVar("Owner")
State = tuple[int, bytes]  # clock, JSON


class Changes(Generic[Owner]):
    """What changed since it was last asked for: the states, those of them that are this node's
    to tell the others, and whose they are (None: of one that left)."""

    __slots__ = ("local", "owners", "states")

    def __init__(self) -> None:
        self.states: dict[int, State] = {}
        self.local: dict[int, State] = {}
        self.owners: set[Owner | None] = set()


class Presence(Generic[Owner]):
    """The states of one room's clients, each held by the owner that set it: a connection, or a
    node for all of its connections."""

    def __init__(self) -> None:
        self._states: dict[int, State] = {}
        self._owners: dict[int, Owner] = {}
        self._held: dict[Owner, int] = {}  # how many clients each owner shows
        self._bytes: dict[Owner, int] = {}  # and how long their states are
        self._nodes: set[Owner] = set()  # the owners that are other nodes
        self._changed: dict[int, tuple[State, bool]] = {}  # and whether it is of this node

    def __len__(self) -> int:
        return len(self._states)

    def apply(self, owner: Owner, payload: bytes) -> bool:
        """Take a connection's awareness update; whether something is to be relayed.

        States of clients that another connection holds are passed over: stock Yjs clients send
        back what they heard of others.

        Raises:
            MemoError: `malformed_awareness`, and nothing of the update is taken.
        """
        return self._apply(owner, payload, MAX_CLIENTS_PER_OWNER)

    def apply_from_node(self, node: Owner, payload: bytes) -> bool:
        """Take what another node relays; whether something is to be relayed here.

        Raises:
            MemoError: `malformed_awareness`, and nothing of the update is taken.
        """
        self._nodes.add(node)
        return self._apply(node, payload, MAX_CLIENTS_PER_NODE)

    def _apply(self, owner: Owner, payload: bytes, most: int) -> bool:
        states = decode(payload)
        held = self._held.get(owner, 0)
        accepted: dict[int, State] = {}
        for client, (clock, state) in states.items():
            known = self._states.get(client)
            if known is None:
                if state == _GONE:
                    continue
                held += 1
                if held > most:
                    raise MemoError(
                        ErrorCode.MALFORMED_AWARENESS,
                        f"one connection may show {MAX_CLIENTS_PER_OWNER} clients at most",
                    )
            elif not self._follows(client, owner, clock, state):
                continue
            accepted[client] = clock, state
        local = owner not in self._nodes
        for client, change in accepted.items():
            if self._owners.get(client) is not owner:
                self._forget(client)
            if change[1] == _GONE:
                self._forget(client)
            else:
                if client not in self._owners:
                    self._held[owner] = self._held.get(owner, 0) + 1
                kept = self._states.get(client)
                added = len(change[1]) - (len(kept[1]) if kept else 0)
                self._bytes[owner] = self._bytes.get(owner, 0) + added
                self._states[client] = change
                self._owners[client] = owner
            self._changed[client] = change, local
        return bool(accepted)

    def _follows(self, client: int, owner: Owner, clock: int, state: bytes) -> bool:
        """Whether a state is newer than what is known, and the owner's to set."""
        known = self._states[client][0]
        if clock < known or (clock == known and state != _GONE):
            return False
        return self._owners[client] is owner or self._moved(client, owner, clock)

    def _moved(self, client: int, owner: Owner, clock: int) -> bool:
        """Whether a client may have gone from its owner to this one: between nodes it may."""
        between_nodes = owner in self._nodes or self._owners[client] in self._nodes
        return between_nodes and clock > self._states[client][0]

    def bytes_of(self, owner: Owner) -> int:
        """How long the states are that an owner shows, in bytes."""
        return self._bytes.get(owner, 0)

    def clients_of(self, owner: Owner) -> list[int]:
        """The clients that an owner shows."""
        if owner not in self._held:
            return []
        return [client for client, other in self._owners.items() if other is owner]

    def leave(self, owner: Owner) -> bool:
        """A connection is gone, and its clients with it; whether something is to be relayed."""
        if owner not in self._held:
            self._nodes.discard(owner)
            return False
        local = owner not in self._nodes
        for client in self.clients_of(owner):
            # At its last clock, as y-protocols has it: the next one is the client's to use.
            clock, _ = self._states[client]
            self._forget(client)
            self._changed[client] = (clock, _GONE), local
        self._nodes.discard(owner)
        return True

    def _forget(self, client: int) -> None:
        state = self._states.pop(client, None)
        owner = self._owners.pop(client, None)
        if owner is not None and state is not None:
            self._held[owner] -= 1
            self._bytes[owner] -= len(state[1])
            if not self._held[owner]:
                del self._held[owner], self._bytes[owner]

    def take_changes(self) -> Changes[Owner]:
        """What changed since the last call."""
        changed, self._changed = self._changed, {}
        changes: Changes[Owner] = Changes()
        for client, (state, local) in changed.items():
            changes.states[client] = state
            if local:
                changes.local[client] = state
            changes.owners.add(self._owners.get(client))
        return changes

    def all(self) -> bytes | None:
        """Everyone's state, for one who joins; None when nobody is here."""
        return encode(self._states.items()) if self._states else None

    def local(self) -> list[tuple[int, State]]:
        """The states of this node's connections."""
        return [
            (client, state)
            for client, state in self._states.items()
            if self._owners[client] not in self._nodes
        ]


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


def pieces(states: Iterable[tuple[int, State]]) -> Iterator[bytes]:
    """The awareness updates that carry these states, each small enough for `decode`."""
    part: list[tuple[int, State]] = []
    size = 0
    for client, state in states:
        weight = len(state[1]) + 32
        if part and size + weight > MAX_BYTES:
            yield encode(part)
            part, size = [], 0
        part.append((client, state))
        size += weight
    if part:
        yield encode(part)


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
