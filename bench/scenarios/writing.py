"""Texts that are pasted rather than typed."""

from collections.abc import Sequence
from random import Random
from string import ascii_lowercase

from pycrdt import Doc, Text, TransactionEvent


def pastes(sizes: Sequence[int], random: Random) -> list[bytes]:
    """Yjs updates of one client, each of which appends so many characters to the body."""
    updates: list[bytes] = []

    def note(event: TransactionEvent) -> None:
        updates.append(event.update)

    document: Doc[Text] = Doc(client_id=random.getrandbits(32))
    body = document.get("content", type=Text)
    subscription = document.observe(note)
    for size in sizes:
        body += words(size, random)
    document.unobserve(subscription)
    return updates


def words(size: int, random: Random) -> str:
    """So many characters that look like text."""
    return "".join(random.choices(ascii_lowercase + "     ", k=size))
