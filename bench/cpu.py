"""Whose CPU time it is: the server's process, its workers', PostgreSQL's, or the generator's."""

import os
import sys
import time
from contextlib import suppress
from typing import NamedTuple

import psutil

LINUX = sys.platform == "linux"


class Usage(NamedTuple):
    """User and system time in CPU seconds, and the wall-clock `seconds` in which it was used."""

    server: float
    workers: float
    postgres: float
    generator: float
    seconds: float

    def __sub__(self, before: "Usage") -> "Usage":
        return Usage(*(now - then for now, then in zip(self, before, strict=True)))


class Meter:
    """Reads what a server's process tree has used so far, with its ended processes: their time
    is in that of the parent that waited for them."""

    def __init__(self, pid: int) -> None:
        self._server = psutil.Process(pid)

    def read(self) -> Usage:
        """The totals of this moment, one reading to be subtracted from another."""
        children = self._server.children()
        databases = [child for child in children if child.name() == "postgres"]
        workers = [child for child in children if child not in databases]
        return Usage(
            server=_used(self._server),
            workers=sum(map(_used_with_children, workers)) + _used_by_ended(self._server),
            postgres=sum(map(_used_with_children, databases)),
            generator=time.process_time(),
            seconds=time.perf_counter(),
        )


def _used(process: psutil.Process) -> float:
    try:
        if LINUX:
            # The clock that the kernel accounts by, in nanoseconds, of all threads, those that
            # ended too. Its number is made as clock_getcpuclockid(3) makes it.
            return time.clock_gettime(~process.pid << 3 | 2)
        times = process.cpu_times()
    except (OSError, psutil.NoSuchProcess):
        return 0.0  # it ended: its parent has it
    return float(times.user + times.system)


def _used_by_ended(process: psutil.Process) -> float:
    """By children that ended, in ticks of 10 ms; nothing where the system does not tell."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _used_with_children(process: psutil.Process) -> float:
    children = process.children(recursive=True)
    return _used(process) + _used_by_ended(process) + sum(map(_used, children))


class Cores(NamedTuple):
    """The server's event loop and the generator have a core each; others share `usable`."""

    server: int
    generator: int
    usable: frozenset[int]

    @classmethod
    def choose(cls) -> "Cores | None":
        """None where there is but one core, or where they cannot be chosen."""
        if not hasattr(os, "sched_setaffinity"):
            return None
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[-1], frozenset(usable)) if len(usable) > 1 else None

    def assign(self, pid: int) -> None:
        """Give this process the generator's core, and the main thread of `pid` the server's.

        What a thread starts inherits its core, so all that runs beneath the server is freed.
        """
        os.sched_setaffinity(0, {self.generator})
        server = psutil.Process(pid)
        beneath = [thread.id for thread in server.threads() if thread.id != pid]
        beneath += [child.pid for child in server.children(recursive=True)]
        for each in beneath:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(each, self.usable)
        os.sched_setaffinity(pid, {self.server})
