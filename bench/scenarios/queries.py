"""How long PostgreSQL takes for a query, as its own log has it.

The embedded PostgreSQL comes without `pg_stat_statements`, so for as long as is measured it logs
every statement with its duration.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import psutil

from bench.errors import BenchmarkFailed
from storage.embedded import running_url

_LOGGED = {"log_min_duration_statement": "0", "log_parameter_max_length": "0"}
_DURATION = re.compile(
    r"LOG:  duration: ([\d.]+) ms  (parse|bind|execute|statement)\b[^:]*:\s+(\w+)"
)
_NO_QUERY = {"BEGIN", "COMMIT", "ROLLBACK"}


class Queries(NamedTuple):
    """`seconds` of PostgreSQL's for that `number` of queries."""

    number: int
    seconds: float

    @property
    def mean(self) -> float:
        """Seconds a query; what begins and commits their transactions is in it."""
        return self.seconds / max(1, self.number)


class Journal:
    """The log of the PostgreSQL that the server `pid` has started.

    Raises:
        BenchmarkFailed: it has started none.
    """

    def __init__(self, pid: int) -> None:
        self._cluster = _cluster(pid)

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """Every query is in the log within."""
        connection = await asyncpg.connect(running_url(self._cluster.parent))
        try:
            for name, value in _LOGGED.items():
                await connection.execute(f"ALTER SYSTEM SET {name} = {value}")
            await connection.execute("SELECT pg_reload_conf()")
            try:
                yield
            finally:
                for name in _LOGGED:
                    await connection.execute(f"ALTER SYSTEM RESET {name}")
                await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close()

    def read(self) -> Queries:
        """What was written."""
        return read_log(
            "".join(
                file.read_text(errors="replace") for file in (self._cluster / "log").glob("*.log")
            )
        )


def read_log(text: str) -> Queries:
    """The queries in a log. One is parsed, bound and executed: all of it is its time."""
    number, milliseconds = 0, 0.0
    for taken, phase, verb in _DURATION.findall(text):
        milliseconds += float(taken)
        if phase in ("execute", "statement") and verb.upper() not in _NO_QUERY:
            number += 1
    return Queries(number, milliseconds / 1000)


def _cluster(pid: int) -> Path:
    for child in psutil.Process(pid).children():
        words = child.cmdline()
        if child.name() == "postgres" and "-D" in words:
            return Path(words[words.index("-D") + 1])
    raise BenchmarkFailed("the server has started no PostgreSQL")
