"""One property written over and over: what stays of what was overwritten."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import uvloop
from pycrdt import Doc, Map, TransactionEvent

from bench.cpu import Meter
from bench.scenarios.device import Device
from bench.scenarios.rest import rested
from bench.scenarios.scenario import Figure, Finding, scaled
from bench.scenarios.writing import words
from bench.server import Server, running

OVERWRITES = 20_000
VALUE_CHARACTERS = 1000
AT_ONCE = 50
PROPERTY = "description"


class Overwrites:
    """`overwrites`: the stored snapshot, beside a document that never was anything else."""

    name = "overwrites"
    title = "20,000 overwrites of one property of 1 KB"

    def run(self, share: float) -> Finding:
        with running(1) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measure(server, scaled(OVERWRITES, share, 200)))


class Stored(NamedTuple):
    """A snapshot's bytes with those of a document that holds the same and nothing else, and how
    many overwrites the snapshot has taken in."""

    snapshot: int
    fresh: int
    overwrites: int


async def _measure(server: Server, count: int) -> Finding:
    one = await _overwrite(server, _turns(1, count))
    two = await _overwrite(server, _turns(2, count))
    return Finding(
        [
            Figure.at_most("one writer: stored / content", one.snapshot / one.fresh, 2, 1.2),
            Figure.at_most(
                "two in turn: bytes an overwrite",
                (two.snapshot - two.fresh) / two.overwrites,
                15,
                13,
                "B",
            ),
            Figure.stated(
                "one writer: bytes an overwrite", (one.snapshot - one.fresh) / one.overwrites, "B"
            ),
            Figure.stated("two in turn: stored / content", two.snapshot / two.fresh),
        ],
        f"{count:,} values of {VALUE_CHARACTERS:,} characters are written to one key of "
        "`properties`. Stored is the snapshot that the server keeps and sends to who opens the "
        f"document; it had taken in {one.overwrites:,} and {two.overwrites:,} of the overwrites. "
        "Content is a new document with the same value. Bytes an overwrite are what the snapshot "
        "has beyond that, by the overwrites in it. The rows of the log stay beside it for a while.",
    )


async def _overwrite(server: Server, updates: Sequence[bytes]) -> Stored:
    token = server.tokens[0]
    [memory_id] = await server.create_memories(1, token)
    device = await Device.connect(server.port, token)
    opened = await device.open(memory_id)
    before = opened.offset
    await device.write(opened.channel, updates, AT_ONCE)
    await rested(Meter(server.pid))
    opened = await device.open(memory_id)
    device.close()
    snapshot = opened.snapshot
    assert snapshot is not None, "so much was written that there is one"
    held: Doc[Map[str]] = Doc()
    held.apply_update(snapshot)
    fresh: Doc[Map[str]] = Doc()
    fresh.get("properties", type=Map)[PROPERTY] = held.get("properties", type=Map)[PROPERTY]
    overwrites = opened.offset - len(opened.updates) - before
    return Stored(len(snapshot), len(fresh.get_update()), overwrites)


def _turns(writers: int, count: int) -> list[bytes]:
    """Updates that overwrite the property, by each of the writers in turn, who has seen the
    other's last."""
    random = Random(writers)
    made: list[bytes] = []

    def note(event: TransactionEvent) -> None:
        made.append(event.update)

    documents: list[Doc[Map[str]]] = [Doc(client_id=random.getrandbits(32)) for _ in range(writers)]
    for number in range(count):
        writer = documents[number % writers]
        subscription = writer.observe(note)
        writer.get("properties", type=Map)[PROPERTY] = words(VALUE_CHARACTERS, random)
        writer.unobserve(subscription)
        for other in documents:
            if other is not writer:
                other.apply_update(made[-1])
    return made
