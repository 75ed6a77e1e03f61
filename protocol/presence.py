"""Who else has a document open, in the encoding of y-protocols' awareness."""

import time
from typing import Any

from pycrdt import Awareness, Doc

LIFETIME_MS = 30_000  # as y-protocols has it: a state not renewed for so long is gone


class Presence:
    """The states of everyone in one document, by Yjs client id, this device's own included."""

    def __init__(self, doc: Doc[Any]) -> None:
        self._awareness = Awareness(doc, outdated_timeout=LIFETIME_MS)
        self._own = doc.client_id
        self._awareness.set_local_state(None)

    @property
    def states(self) -> dict[int, dict[str, Any]]:
        return dict(self._awareness.states)

    @property
    def shown(self) -> bool:
        """Whether this device shows a state of its own."""
        return self._awareness.get_local_state() is not None

    def show(self, state: dict[str, Any] | None) -> bytes:
        """The payload that tells others this device's state; None takes it back."""
        self._awareness.set_local_state(state)
        return self._awareness.encode_awareness_update([self._own])

    def renew(self) -> bytes:
        """The payload that tells others that the state still holds."""
        return self.show(self._awareness.get_local_state())

    def receive(self, payload: bytes) -> bytes | None:
        """Take in what others show. The answer, if there is one, contradicts somebody who said
        that this device is gone. What cannot be read is let go: the next renewal replaces it."""
        before = self._awareness.meta[self._own]
        try:
            self._awareness.apply_awareness_update(payload, "remote")
        except (ValueError, IndexError, RuntimeError, RecursionError):
            return None
        if self._awareness.meta[self._own] == before:
            return None
        return self._awareness.encode_awareness_update([self._own])

    def expire(self) -> None:
        """Drop the states of others that have not been renewed in time."""
        oldest = time.time() * 1000 - LIFETIME_MS
        meta = self._awareness.meta
        self._drop([client for client in self.states if meta[client]["lastUpdated"] < oldest])

    def forget_others(self) -> None:
        """Without a connection nobody else is known to be there."""
        self._drop(list(self.states))

    def _drop(self, clients: list[int]) -> None:
        others = [client for client in clients if client != self._own]
        self._awareness.remove_awareness_states(others, "gone")
