"""Edits made before they are needed: someone types into a document."""

from random import Random
from string import ascii_lowercase

from pycrdt import Doc, Text, TransactionEvent


def keystrokes(count: int, random: Random) -> list[bytes]:
    """`count` Yjs updates of one client, each of which types one character into the body."""
    updates: list[bytes] = []

    def note(event: TransactionEvent) -> None:
        updates.append(event.update)

    document: Doc[Text] = Doc(client_id=random.getrandbits(32))
    body = document.get("content", type=Text)
    subscription = document.observe(note)
    for _ in range(count):
        body += random.choice(ascii_lowercase)
    document.unobserve(subscription)
    return updates
