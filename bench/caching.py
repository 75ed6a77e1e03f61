"""`python -m bench.caching`: would a cache in Redis earn its place before PostgreSQL?

Four reads as the server does them, through its pool, beside a GET of the same record from Redis
and its decoding; and what keeps such a cache right: a SET when a record was not there, a DEL when
it changes. PostgreSQL and Redis run on this machine, both on Unix sockets.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle
from random import Random
from statistics import median
from typing import NamedTuple

import msgspec
import psutil
import uvloop
from redis.asyncio import Redis

from bench.errors import BenchmarkFailed
from bench.parts import cpu, local_postgres, local_redis, postgres_cpu
from bench.records import Record, records
from bench.server import new_directory
from bench.table import head, microseconds, milliseconds, percentile, row

SECONDS = 1.0  # of one measurement
RUNS = 3  # of each, taken in turns
IN_FLIGHT = (1, 50)

Call = Callable[[], Awaitable[object]]


class Cost(NamedTuple):
    """Of one call, in seconds: latencies, and CPU time of the caller, PostgreSQL and Redis."""

    p50: float
    p99: float
    caller: float
    postgres: float
    redis: float

    @property
    def cpu(self) -> float:
        """All of it together."""
        return self.caller + self.postgres + self.redis


class Calls(NamedTuple):
    """What is measured of a record. `size` is that of the cached bytes, on average."""

    name: str
    size: int
    database: Call
    get: Call
    set: Call
    delete: Call


def main() -> int:
    """Measure, and print the report."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(runner.run(_report()))
    except BenchmarkFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


async def _report() -> str:
    with new_directory() as directory, local_redis(directory) as (place, redis):
        async with local_postgres(directory) as pool, Redis(unix_socket_path=str(place)) as cache:
            meter = _Meter(redis)
            subjects = [await _calls(record, cache) for record in await records(pool)]
            return "\n".join([await _table(subjects, count, meter) for count in IN_FLIGHT])


async def _table(subjects: Sequence[Calls], in_flight: int, meter: "_Meter") -> str:
    table = head(
        "read", "from", "p50", "p99", "CPU, caller", "CPU, server", "CPU, both", "pays below"
    )
    for subject in subjects:
        print(f"{subject.name}, {in_flight} in flight...", file=sys.stderr)
        kinds = (subject.database, subject.get, subject.set, subject.delete)
        runs = [[await meter.cost(call, in_flight) for call in kinds] for _ in range(RUNS)]
        database, get, put, delete = (
            Cost(*map(median, zip(*costs, strict=True))) for costs in zip(*runs, strict=True)
        )
        # A read that misses costs the GET, the database and a SET; the write before it a DEL.
        misses = (database.cpu - get.cpu) / (database.cpu + put.cpu + delete.cpu)
        table += _row(subject.name, "PostgreSQL", database, "")
        table += _row(f"{subject.size:,} bytes", "Redis GET", get, f"{misses:.0%} misses")
        table += _row("", "Redis SET", put, "")
        table += _row("", "Redis DEL", delete, "")
    return f"## {in_flight} in flight\n\n{table}"


def _row(name: str, source: str, cost: Cost, bound: str) -> str:
    servers = microseconds(cost.postgres + cost.redis)
    return row(
        name, source, milliseconds(cost.p50), milliseconds(cost.p99),
        microseconds(cost.caller), servers, microseconds(cost.cpu), bound,
    )  # fmt: skip


async def _calls(record: Record, cache: Redis) -> Calls:
    """The calls of a record, whose cache is filled."""
    encode = msgspec.msgpack.Encoder().encode
    keys = {each: f"{record.name}:{each}" for each in record.ids}
    held = {each: await record.read(each) for each in record.ids}
    sizes = []
    for each, value in held.items():
        data = encode(value)
        if record.decode(data) != value:
            raise BenchmarkFailed(f"{record.name} does not come back from a cache as it was")
        sizes.append(len(data))
        await cache.set(keys[each], data)
    order = [*record.ids]
    Random(1).shuffle(order)
    turns = cycle(order)

    async def database() -> object:
        return await record.read(next(turns))

    async def get() -> object:
        data = await cache.get(keys[next(turns)])
        if not isinstance(data, bytes):
            raise BenchmarkFailed("a record is not in the cache")
        return record.decode(data)

    async def put() -> object:
        each = next(turns)
        return await cache.set(keys[each], encode(held[each]), ex=3600)

    async def delete() -> object:
        # Of a key that is not there, so that the GETs go on finding theirs: it costs the same.
        return await cache.delete(f"gone:{next(turns)}")

    return Calls(record.name, sum(sizes) // len(sizes), database, get, put, delete)


class _Meter:
    """Measures calls, and whose CPU time they take."""

    def __init__(self, redis: psutil.Process) -> None:
        self._redis = redis

    async def cost(self, call: Call, in_flight: int) -> Cost:
        """The cost of a call, over as many as are made in a while by so many at once."""
        taken: list[float] = []
        await call()
        before = self._used()
        until = time.perf_counter() + SECONDS

        async def repeat() -> None:
            while (started := time.perf_counter()) < until or not taken:
                await call()
                taken.append(time.perf_counter() - started)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(in_flight):
                tasks.create_task(repeat())
        used = [now - then for now, then in zip(self._used(), before, strict=True)]
        taken.sort()
        return Cost(
            percentile(taken, 0.50), percentile(taken, 0.99), *(each / len(taken) for each in used)
        )

    def _used(self) -> tuple[float, float, float]:
        """CPU seconds of this process, of PostgreSQL and of Redis."""
        return time.process_time(), postgres_cpu(), cpu(self._redis)


if __name__ == "__main__":
    sys.exit(main())
