"""PostgreSQL and Redis without a server before them, and what CPU time they have used."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import psutil

from bench.cpu import LINUX
from bench.errors import BenchmarkFailed
from storage.embedded import EmbeddedPostgres
from storage.postgres import connect, migrate

START_SECONDS = 20.0
CLOSE_SECONDS = 10.0


@asynccontextmanager
async def local_postgres(directory: Path) -> AsyncIterator[asyncpg.Pool]:
    """A pool as the server's, on a new database in the directory with the server's settings."""
    server = EmbeddedPostgres(directory)
    server.start()
    try:
        pool = await connect(server.url)
        try:
            await migrate(pool)
            yield pool
        finally:
            await asyncio.wait_for(pool.close(), CLOSE_SECONDS)
    finally:
        server.stop()


@contextmanager
def local_redis(directory: Path) -> Iterator[tuple[Path, psutil.Process]]:
    """The Unix socket of a Redis that keeps nothing, and its process.

    Raises:
        BenchmarkFailed: there is none, or it did not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise BenchmarkFailed("there is no redis-server on PATH; install Redis")
    place = directory / "redis.sock"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(place), "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not place.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkFailed("redis-server did not start")
            time.sleep(0.01)
        yield place, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def postgres_cpu() -> float:
    """CPU seconds of all processes of the PostgreSQL that this one has started."""
    return sum(
        cpu(process)
        for process in psutil.Process().children(recursive=True)
        if process.name() == "postgres"
    )


def cpu(process: psutil.Process) -> float:
    """Its user and system time in seconds."""
    if LINUX:
        # In nanoseconds; the number is made as clock_getcpuclockid(3) makes it.
        return time.clock_gettime(~process.pid << 3 | 2)
    times = process.cpu_times()
    return float(times.user + times.system)
