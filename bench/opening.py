"""A long document, opened by a server that has just started: how soon it is there, and what it
takes to store."""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import asyncpg
import uvloop
from pycrdt import Doc, Text

from bench.editing import Session
from bench.errors import BenchmarkFailed
from bench.host import OUR_WIRES, Contestant
from bench.patience import unless_lost
from bench.peers.peer import HOCUSPOCUS, serving
from bench.server import Server, new_directory, started
from bench.websocket import messages
from bench.window import Window
from bench.wires import hocuspocus_saved, memo_acks, open_document
from storage.embedded import running_url

# What is stored, as a multiple of the text: not to be exceeded, and aimed at.
STORED_MUST, STORED_AIM = 4.0, 3.0

IN_FLIGHT = 500
WRITE_SECONDS = 600.0
TRIM_SECONDS = 120.0
# Behind a snapshot, edits are kept so long; nothing is, when it is this short.
_NO_RETENTION = {"UPDATE_RETENTION": "1s"}

# All rows of one document, as PostgreSQL has them in its pages.
_STORED = """
    SELECT (SELECT coalesce(sum(pg_column_size(u.*)), 0) FROM document_updates u)
        + (SELECT coalesce(sum(pg_column_size(s.*)), 0) FROM document_snapshots s)
        + (SELECT coalesce(sum(pg_column_size(a.*)), 0) FROM document_authors a)
        + (SELECT coalesce(sum(pg_column_size(c.*)), 0) FROM document_clients c)
"""
_TRIMMABLE = """
    SELECT count(*) FROM document_updates u JOIN document_snapshots s USING (document_id)
    WHERE u.log_offset <= s.log_offset
"""

T = TypeVar("T")


class Opening(NamedTuple):
    """How a server opened the document, each time after a start: the `seconds` from the connection
    to the last byte of the content."""

    name: str
    seconds: list[float]


class LongDocument(NamedTuple):
    """`edits` made a text of `characters`, one byte each. `stored` are the bytes that this server
    keeps of it, with every edit and with those behind the snapshot gone; `peer_stored` are
    Hocuspocus'. Without `peer`, it is not to be had here."""

    edits: int
    characters: int
    ours: list[Opening]
    stored: int
    stored_trimmed: int
    peer: Opening | None
    peer_stored: int


def opened_cold(
    session: Session, runs: int, generator: ProcessPoolExecutor, with_peer: bool
) -> LongDocument:
    """Write the session through each server, and open it so many times.

    Raises:
        BenchmarkFailed: a server did not start, refused something or sent another text.
    """
    with new_directory() as directory, new_directory() as peers_directory:
        print(f"Writing {len(session.updates):,} edits...", file=sys.stderr)
        with started(directory) as server:
            token = server.sign_up()
            memory_id = asyncio.run(_created(server, token))
            ours = Contestant("this server", "/ws", server)
            generator.submit(write, ours, token, memory_id, session.updates).result()
        database = peers_directory / "hocuspocus.sqlite"
        if with_peer:
            with _hocuspocus(database) as peer:
                generator.submit(write, peer, "", memory_id, session.updates).result()

        ours_opened = {wire: Opening(f"this server, {wire}", []) for wire in OUR_WIRES}
        theirs = Opening(HOCUSPOCUS.name, [])
        for number in range(runs):
            print(f"Run {number + 1} of {runs}: opened cold...", file=sys.stderr)
            for wire, opening in ours_opened.items():
                with started(directory) as server:
                    contestant = Contestant(opening.name, wire, server)
                    taken = generator.submit(open_once, contestant, token, memory_id, session.text)
                    opening.seconds.append(taken.result())
            if with_peer:
                with _hocuspocus(database) as peer:
                    taken = generator.submit(open_once, peer, "", memory_id, session.text)
                    theirs.seconds.append(taken.result())

        with started(directory):
            stored = asyncio.run(_stored(directory))
        with started(directory, _NO_RETENTION):
            trimmed = asyncio.run(_stored_trimmed(directory))
        return LongDocument(
            len(session.updates),
            len(session.text),
            list(ours_opened.values()),
            stored,
            trimmed,
            theirs if with_peer else None,
            _peer_stored(database) if with_peer else 0,
        )


def write(contestant: Contestant, token: str, memory_id: UUID, updates: Sequence[bytes]) -> None:
    """Write the updates over one connection; returns when the server has acknowledged the last.

    Raises:
        BenchmarkFailed: the server refused one, or did not keep up within WRITE_SECONDS.
    """
    _run(_write(contestant, token, memory_id, updates))


def open_once(contestant: Contestant, token: str, memory_id: UUID, text: str) -> float:
    """The seconds until the document is there.

    Raises:
        BenchmarkFailed: it is not `text`.
    """
    return _run(_open(contestant, token, memory_id, text))


async def _write(
    contestant: Contestant, token: str, memory_id: UUID, updates: Sequence[bytes]
) -> None:
    document = await open_document(contestant.wire, contestant.host.port, token, memory_id)
    saved = memo_acks if contestant.wire == "/ws" else hocuspocus_saved
    window = Window(document.socket, readers=1, in_flight=IN_FLIGHT)

    def count(data: bytes) -> bytes:
        found, rest = messages(data)
        window.arrived(sum(map(saved, found)))
        return rest

    document.socket.pour_into(count)
    encoded = [document.encode(number, update) for number, update in enumerate(updates, 1)]
    try:
        await unless_lost(window.send(encoded), [document.socket], WRITE_SECONDS)
    finally:
        document.socket.close()


async def _open(contestant: Contestant, token: str, memory_id: UUID, text: str) -> float:
    began = time.perf_counter()
    opened = await open_document(contestant.wire, contestant.host.port, token, memory_id)
    taken = time.perf_counter() - began
    opened.socket.close()
    document: Doc[Text] = Doc()
    body = document.get("content", type=Text)
    with document.transaction():
        for update in opened.content:
            document.apply_update(update)
    if str(body) != text:
        raise BenchmarkFailed(f"{contestant.name} sent another text than was written")
    return taken


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _created(server: Server, token: str) -> UUID:
    [memory_id] = await server.create_memories(1, token)
    return memory_id


@contextmanager
def _hocuspocus(database: Path) -> Iterator[Contestant]:
    """With the document in its database when the block has ended."""
    with serving(HOCUSPOCUS, {"DATABASE": str(database)}) as peer:
        yield Contestant(HOCUSPOCUS.name, HOCUSPOCUS.wire, peer)


async def _stored(directory: Path) -> int:
    connection = await asyncpg.connect(running_url(directory))
    try:
        return int(await connection.fetchval(_STORED))
    finally:
        await connection.close()


async def _stored_trimmed(directory: Path) -> int:
    """The same, once the server has removed the edits behind the snapshot."""
    connection = await asyncpg.connect(running_url(directory))
    try:
        async with asyncio.timeout(TRIM_SECONDS):
            while await connection.fetchval(_TRIMMABLE):  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise BenchmarkFailed("the edits behind the snapshot were not removed") from None
    finally:
        await connection.close()
    return await _stored(directory)


def _peer_stored(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        [size] = connection.execute("SELECT sum(length(data)) FROM documents").fetchone()
        return int(size or 0)
