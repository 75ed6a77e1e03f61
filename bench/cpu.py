"""Whose CPU time it is: the server's process, its workers', PostgreSQL's, or the generator's."""

import os
import sys
import time
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


def cores() -> tuple[int, int] | None:
    """Two CPU cores, one for the server's process and one for the generator; None where there is
    but one, or where they cannot be chosen."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[-1]) if len(usable) > 1 else None


def pin(pid: int, core: int) -> None:
    """Keep a process (0: this one) on one core."""
    os.sched_setaffinity(pid, {core})
