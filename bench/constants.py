"""`python -m bench.constants`: measure what only the sizing needs, and keep it for `bench.sizing`.

Updates at the pace of people, devices that come, the broker's messages, the bytes of an update,
the look at a document's head: CPU times and sizes, no latencies. The other figures of
`measured.json` stay as they are: they are those of the benchmark's report.
"""

import asyncio
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg
import msgspec
import psutil
import uvloop

from bench.cpu import Meter, Usage
from bench.edits import keystrokes
from bench.errors import BenchmarkFailed
from bench.generator import stream
from bench.loads import Stream
from bench.parts import cpu, local_postgres, local_redis, postgres_cpu
from bench.server import Server, new_directory, running
from bench.sizing import MEASURED, Measured
from bench.wires import open_documents
from protocol.log import Author, Entry, Outcome, Projection
from storage.memories import MemoryRows
from storage.redis import RedisBroker
from storage.updates import UpdateLog
from sync.announcement import Commit, encode

TYPING = Stream(documents=200, devices=20, rate=300, seconds=15.0, warm_up=5.0)
ARRIVALS = 600  # of devices, each of which opens a few documents
ARRIVALS_AT_ONCE = 8
OPENED = 3  # documents, of each
MESSAGES = 20_000
TOPICS = 1000
DOCUMENTS = 2000
ROUNDS = 10  # of one update in each document
TOGETHER = 20  # documents in one commit
LOOKS = 200
LOOKED_AT = 1000  # documents in one look
PATIENCE = 60.0

_END = "end"
_NEW_USER = "INSERT INTO users (email) VALUES ('bench@example.com') RETURNING id"
_SIZE = """
SELECT sum(pg_total_relation_size(name))::bigint
FROM unnest('{document_updates, document_clients}'::regclass[]) AS name
"""
_WAL = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"


class Node(NamedTuple):
    """CPU seconds of one update at the pace of people, and of one arrival."""

    update: float
    rows: float
    postgres: float
    arrival: float
    postgres_arrival: float


class Broker(NamedTuple):
    """CPU seconds of one message: its node's, its receiver's, and Redis' with that receiver."""

    publish: float
    receive: float
    redis: float


class Storage(NamedTuple):
    """Of one update the bytes that stay and those of the write-ahead log; of one document in a
    look the CPU seconds of PostgreSQL."""

    stored: float
    wal: float
    look: float


def main(path: Path = MEASURED) -> int:
    """Measure, write to `path` and print; returns the exit code."""
    try:
        before = Measured.read(path)
        node = _node()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(_measured(before, node))
        measured.write(path)
    except BenchmarkFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(path.read_text(), end="")
    return 0


async def _measured(before: Measured, node: Node) -> Measured:
    with new_directory() as directory:
        with local_redis(directory) as (place, redis):
            broker = await _broker(f"unix://{place}", redis)
        async with local_postgres(directory) as pool:
            storage = await _storage(pool)
    return msgspec.structs.replace(
        before,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        place=f"{platform.system()} on {os.cpu_count()} cores, Python {platform.python_version()}",
        node_update=round(node.update * 1e6, 1),
        rows_update=round(node.rows * 1e6, 1),
        postgres_update=round(node.postgres * 1e6, 1),
        arrival=round(node.arrival * 1e6, 1),
        postgres_arrival=round(node.postgres_arrival * 1e6, 1),
        publish=round(broker.publish * 1e6, 1),
        receive=round(broker.receive * 1e6, 1),
        redis_message=round(broker.redis * 1e6, 1),
        stored_update=round(storage.stored),
        wal_update=round(storage.wal),
        look=round(storage.look * 1e6, 1),
    )


def _node() -> Node:
    with running(TYPING.devices) as server:
        typed = stream(TYPING, server, 0, None)
        arrived = asyncio.run(_arrivals(server))
    updates = len(typed.latencies)
    return Node(
        typed.usage.server / updates,
        typed.usage.workers / updates,
        typed.usage.postgres / updates,
        arrived.server / ARRIVALS,
        arrived.postgres / ARRIVALS,
    )


async def _arrivals(server: Server) -> Usage:
    """Devices that come, say hello, and open documents that nobody has open."""
    waiting = []
    for number, token in enumerate(server.tokens):
        count = len(range(number, ARRIVALS, len(server.tokens)))
        ids = await server.create_memories(count * OPENED, token)
        waiting += [(token, ids[first : first + OPENED]) for first in range(0, len(ids), OPENED)]
    meter = Meter(server.pid)
    before = meter.read()

    async def arrive() -> None:
        while waiting:
            token, ids = waiting.pop()
            documents = await open_documents(server.port, token, ids)
            documents[0].socket.close()

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        for _ in range(ARRIVALS_AT_ONCE):
            tasks.create_task(arrive())
    return meter.read() - before


async def _broker(url: str, redis: psutil.Process) -> Broker:
    """Messages as commits are announced, of one keystroke each."""
    async with RedisBroker.connected(url) as sender, RedisBroker.connected(url) as receiver:
        ended = asyncio.Event()
        receiver.subscribe(_END, lambda _: ended.set())
        await receiver.joined(_END)
        alone, _ = await _published(sender, ended, redis)
        for number in range(TOPICS):
            receiver.subscribe(f"document:{number}", lambda _: None)
        await receiver.joined(f"document:{TOPICS - 1}")
        both, of_redis = await _published(sender, ended, redis)
    return Broker(alone, both - alone, of_redis)


async def _published(
    sender: RedisBroker, ended: asyncio.Event, redis: psutil.Process
) -> tuple[float, float]:
    """CPU seconds of a message in this process and in Redis, until the last one is there."""
    [update] = keystrokes(1, Random(1))
    message = encode(Commit(str(uuid4()), 1, 2, [update]))
    ended.clear()
    before, redis_before = time.process_time(), cpu(redis)
    for number in range(MESSAGES):
        sender.publish(f"document:{number % TOPICS}", message)
        await asyncio.sleep(0)  # each is written by itself, as they come on a node with time
    sender.publish(_END, b"")
    async with asyncio.timeout(PATIENCE):
        await ended.wait()
    taken, redis_taken = time.process_time() - before, cpu(redis) - redis_before
    if sender.dropped:
        raise BenchmarkFailed(f"{sender.dropped} messages were dropped")
    return taken / MESSAGES, redis_taken / MESSAGES


async def _storage(pool: asyncpg.Pool) -> Storage:
    """Updates as people make them: one after another in many documents at once, and now and then
    a checkpoint, behind which each page is logged whole when it is first touched."""
    rows = MemoryRows(pool)
    log = UpdateLog(pool, rows)
    author = Author(await pool.fetchval(_NEW_USER))
    documents = [uuid4() for _ in range(DOCUMENTS)]
    for document in documents:
        entry = Entry(document, author, b"", projection=_projection(0))
        await rows.create(entry, category_id=None, is_favorite=False, is_archived=False)
    updates = keystrokes(ROUNDS, Random(2))
    size, wal = await pool.fetchval(_SIZE), await pool.fetchval(_WAL)
    for number, update in enumerate(updates, 1):
        if number == ROUNDS // 2:
            await pool.execute("CHECKPOINT")
        for first in range(0, DOCUMENTS, TOGETHER):
            together = documents[first : first + TOGETHER]
            await _commit(log, [Entry(document, author, update) for document in together])
            for document in together:
                await rows.save(document, _projection(number), number)
    count = DOCUMENTS * ROUNDS
    stored = (await pool.fetchval(_SIZE) - size) / count
    logged = (await pool.fetchval(_WAL) - wal) / count
    return Storage(stored, logged, await _look(log, documents))


async def _commit(log: UpdateLog, entries: list[Entry]) -> None:
    if any(each.outcome is not Outcome.COMMITTED for each in await log.commit(entries)):
        raise BenchmarkFailed("an update was refused")


async def _look(log: UpdateLog, documents: list[UUID]) -> float:
    before = postgres_cpu()
    for _ in range(LOOKS):
        await log.heads(documents[:LOOKED_AT])
    return (postgres_cpu() - before) / (LOOKS * LOOKED_AT)


def _projection(number: int) -> Projection:
    return Projection("A day", None, {"text": "x" * (500 + number)}, ["day"], {}, [], number - 1)


if __name__ == "__main__":
    sys.exit(main())
