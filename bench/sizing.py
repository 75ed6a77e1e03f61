"""`python -m bench.sizing`: what an installation for so many people needs.

A model, not a measurement: what one thing costs, as measured (`measured.json`), times how often it
happens, as assumed (`Habits`). Its sums are right to a factor of two at best, and show which of
the parts is the first to be too small.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.errors import BenchmarkFailed
from bench.table import head, row

MEASURED = Path(__file__).parent / "measured.json"
PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
PEOPLE = (1_000, 100_000, 10_000_000)

BUSY = 0.5  # of a core, at the busiest hour: the rest is for restarts, outages and bursts
WORKERS_A_NODE = 8
DAY_SECONDS = 86_400
WATCH_SECONDS = 10.0  # between two looks of a node at the heads of its open documents

_TABLE = re.compile(r"^\| people \|.*\n(?:\|.*\n)+", re.MULTILINE)


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one of each costs: CPU in microseconds, sizes in bytes. `date` and `place` say when
    and where it was measured.

    Of an update: `node_update` is what its node does until it is acked, `rows_update` what the
    node's worker processes do to bring lists up to date, `postgres_update` PostgreSQL's part in
    both; `stored_update` what it takes on disk, `wal_update` in the write-ahead log.
    `commit` is no CPU time: it passes from an edit to its ack, so a worker commits that often.
    `delivery` is handing it to one more reader. `idle_socket` is a second of a socket that is
    only there, `socket_bytes` its memory with three open documents. `arrival` is a device that
    comes back: handshake, session, feed. `redis_message` is one PUBLISH with one receiving node;
    `publish` and `receive` are what the two nodes do. `look` is asking for a document's head.
    """

    date: str
    place: str
    node_update: float
    rows_update: float
    postgres_update: float
    commit: float
    stored_update: float
    wal_update: float
    delivery: float
    idle_socket: float
    socket_bytes: float
    arrival: float
    postgres_arrival: float
    redis_message: float
    publish: float
    receive: float
    look: float

    @classmethod
    def read(cls, path: Path = MEASURED) -> "Measured":
        """The figures of a file.

        Raises:
            BenchmarkFailed: the file cannot be read, or lacks or misspells a figure.
        """
        try:
            measured = msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError) as error:
            raise BenchmarkFailed(f"{path.name} cannot be used: {error}") from error
        measured.check()
        return measured

    def check(self) -> None:
        """Raises:
        BenchmarkFailed: a figure is none: what was measured was too short or too disturbed.
        """
        for name, figure in msgspec.structs.asdict(self).items():
            if not isinstance(figure, str) and figure <= 0:
                raise BenchmarkFailed(f"{name} is {figure:g} and has to be positive; measure anew")

    def write(self, path: Path = MEASURED) -> None:
        """Keep the figures for the next sizing.

        Raises:
            BenchmarkFailed: as `check`; the file stays as it is.
        """
        self.check()
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


class Habits(NamedTuple):
    """What people do at the busiest hour. All of it is assumed."""

    online: float = 0.10  # of all people
    sockets: float = 1.5  # of a person online
    writing: float = 0.05  # of the sockets, at any moment
    edits: float = 1.5  # a second, of one who writes
    readers: float = 1.0  # of an edit, beside its writer
    documents: float = 3.0  # open on a socket
    shared: float = 0.2  # of the open documents are open on another node too
    visits: float = 4.0  # of a socket in that hour: a telephone is put away and taken up again
    busy_hours: float = 6.0  # that a day's edits would fill at the busiest hour's pace


class Needs(NamedTuple):
    """What so many people take at the busiest hour; rates are a second."""

    people: int
    sockets: float
    updates: float
    deliveries: float
    arrivals: float
    rooms: float
    messages: float
    node_cores: float
    memory: float
    postgres_cores: float
    commits: float
    redis_cores: float
    log_bytes: float  # a day
    wal_bytes: float  # a day

    @property
    def workers(self) -> int:
        """Processes, of one core each at most."""
        return _workers(self.node_cores)

    @property
    def machines(self) -> int:
        """Of eight workers each; two at least, so that one may fail."""
        return max(2, ceil(self.workers / WORKERS_A_NODE))


def needs(people: int, measured: Measured, habits: Habits) -> Needs:
    """What `people` need, of whom all behave as `habits` say."""
    sockets = people * habits.online * habits.sockets
    updates = sockets * habits.writing * habits.edits
    deliveries = updates * habits.readers
    arrivals = sockets * habits.visits / 3600
    rooms = sockets * habits.documents
    messages = updates  # each is announced, whether another node listens or not
    looks = rooms / WATCH_SECONDS
    node = (
        updates * (measured.node_update + measured.rows_update)
        + deliveries * measured.delivery
        + sockets * measured.idle_socket
        + arrivals * measured.arrival
        + messages * (measured.publish + measured.receive * habits.shared)
    )
    postgres = (
        updates * measured.postgres_update
        + arrivals * measured.postgres_arrival
        + looks * measured.look
    )
    workers = _workers(node / 1e6)
    day = updates * habits.busy_hours * 3600
    return Needs(
        people=people,
        sockets=sockets,
        updates=updates,
        deliveries=deliveries,
        arrivals=arrivals,
        rooms=rooms,
        messages=messages,
        node_cores=node / 1e6,
        memory=sockets * measured.socket_bytes,
        postgres_cores=postgres / 1e6,
        # What gathers while a worker commits goes into its next commit.
        commits=updates / (1 + updates / workers * measured.commit / 1e6),
        redis_cores=messages * measured.redis_message / 1e6,
        log_bytes=day * measured.stored_update,
        wal_bytes=day * measured.wal_update,
    )


def _workers(cores: float) -> int:
    return max(2, ceil(cores / BUSY))


def table(measured: Measured, habits: Habits, people: Sequence[int] = PEOPLE) -> str:
    """The needs side by side, as Markdown."""
    columns = [needs(count, measured, habits) for count in people]

    rows = [
        row("sockets", *(_count(each.sockets) for each in columns)),
        row("open documents", *(_count(each.rooms) for each in columns)),
        row("edits/s", *(_count(each.updates) for each in columns)),
        row("deliveries/s", *(_count(each.deliveries) for each in columns)),
        row("arrivals/s", *(_count(each.arrivals) for each in columns)),
        row("cores of nodes, busy", *(_cores(each.node_cores) for each in columns)),
        row("memory of sockets", *(_bytes(each.memory) for each in columns)),
        row("workers", *(_count(each.workers) for each in columns)),
        row(f"machines of {WORKERS_A_NODE} workers", *(_count(each.machines) for each in columns)),
        row("cores of PostgreSQL, busy", *(_cores(each.postgres_cores) for each in columns)),
        row("its commits/s", *(_count(each.commits) for each in columns)),
        row("its connections", *(_count(each.workers * 16) for each in columns)),
        row("log a day", *(_bytes(each.log_bytes) for each in columns)),
        row("write-ahead log a day", *(_bytes(each.wal_bytes) for each in columns)),
        row("Redis messages/s", *(_count(each.messages) for each in columns)),
        row("cores of Redis, busy", *(_cores(each.redis_cores) for each in columns)),
    ]
    return head("people", *(f"{count:,}" for count in people)) + "".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table for what `arguments` (those of the process) assume; returns the exit code."""
    options = _parser().parse_args(arguments)
    habits = Habits(*(getattr(options, name) for name in Habits._fields))
    try:
        measured = Measured.read()
    except BenchmarkFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.write:
        found = re.sub(_TABLE, lambda _: table(measured, Habits()), PAGE.read_text(), count=1)
        PAGE.write_text(found)
        return 0
    print(f"From what was measured on {measured.date}: {measured.place}.\n")
    print(table(measured, habits, options.people or PEOPLE), end="")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.sizing", description=__doc__)
    parser.add_argument("people", type=int, nargs="*", help="how many people; several for columns")
    parser.add_argument(
        "--write", action="store_true", help="write the table of docs/scaling.md anew instead"
    )
    for name, value in Habits()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, metavar="N")
    return parser


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _cores(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def _bytes(value: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value / 1e3:.0f} kB"


if __name__ == "__main__":
    sys.exit(main())
