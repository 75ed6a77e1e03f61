"""The report: what was measured, as a page of Markdown."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import NamedTuple

from bench.generator import BroadcastRun, Run, StreamRun
from bench.loads import Broadcast, Load, Stream
from storage.embedded import VERSION

_INTRODUCTION = """\
# Performance

Written by `make bench`, which measures anew; do not edit. `make bench ARGS=--quick` is a smoke
run that prints and writes nothing.

What is measured is the path of an edit: from a device, over a socket, through validation and a
commit to PostgreSQL with fsync on, and then to the other devices. Server, database and load
generator are processes of their own on one machine; sockets, logins and documents are real, and
each update is one typed character.
"""

_BROADCASTS = """\
## One document, one writer

| load | deliveries/s | server CPU | workers' CPU | PostgreSQL's CPU | generator |
|---|--:|--:|--:|--:|--:|
"""

_BROADCAST_COLUMNS = """
- *In flight* are updates sent and not yet with every reader. The writer keeps that many.
- *Deliveries* are updates received by readers. An update that 99 readers get is 99 of them.
- *CPU* is user and system time for each delivery, of the server's process, of its worker
  processes (they keep the rows of lists and search up to date, and write snapshots), and of
  PostgreSQL with all its processes.
- *Generator* is the share of one core that the load generator used. Near 100 % it would have been
  the bottleneck of the deliveries per second, though not of the CPU times.
"""

_STREAMS = """\
## Many documents at a steady rate

| load | acks/s | p50 | p95 | p99 | sent late, p99 | server CPU | PostgreSQL's CPU | generator |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
"""

_STREAM_COLUMNS = """
- Each document is written by one device on `/ws`, of the 20 that there are.
- The moments at which updates are due are drawn beforehand. *p50*, *p95* and *p99* are the times
  from then to the ack, which comes after the commit; so an update that the generator sent late,
  or that had to wait, counts with its wait.
- *Sent late* is how much of that was the generator's.
- *CPU* is for each update.
"""


class Machine(NamedTuple):
    """What the numbers depend on. `fsync` is the time in seconds of a small write to disk, the
    median; `pinned` whether event loop and generator each had a core of their own."""

    fsync: float
    pinned: bool

    def __str__(self) -> str:
        pinned = (
            "the server's event loop and the generator each on a core of its own"
            if self.pinned
            else "no process tied to a core"
        )
        return (
            f"Measured {datetime.now(UTC):%Y-%m-%d}: {platform.system()} on {os.cpu_count()} "
            f"cores, Python {platform.python_version()},\n"
            f"PostgreSQL {VERSION} (embedded), an 8 KB write with fsync in "
            f"{_milliseconds(self.fsync)},\n{pinned}."
        )


def render(results: Sequence[tuple[Load, Sequence[Run]]], machine: Machine) -> str:
    """The whole page. Each cell is the median of a load's runs."""
    broadcasts = [
        _broadcast_row(load, [run for run in runs if isinstance(run, BroadcastRun)])
        for load, runs in results
        if isinstance(load, Broadcast)
    ]
    streams = [
        _stream_row(load, [run for run in runs if isinstance(run, StreamRun)])
        for load, runs in results
        if isinstance(load, Stream)
    ]
    count = max(len(runs) for _, runs in results)
    spread = max(_spread(runs) for _, runs in results)
    runs = (
        f"Medians of {count} runs, each on new documents, after a warm-up that is not counted.\n"
        f"Between the runs of one row the server's CPU time differed by up to {spread:.0%}.\n"
        if count > 1
        else "A single run each: not to be relied on.\n"
    )
    parts = [_INTRODUCTION, f"{machine}\n\n{runs}"]
    if broadcasts:
        parts.append(_BROADCASTS + "".join(broadcasts) + _BROADCAST_COLUMNS)
    if streams:
        parts.append(_STREAMS + "".join(streams) + _STREAM_COLUMNS)
    return "\n".join(parts)


def _broadcast_row(load: Broadcast, runs: Sequence[BroadcastRun]) -> str:
    def each(cpu: Sequence[float]) -> str:
        return _microseconds(
            median(used / run.deliveries for used, run in zip(cpu, runs, strict=True))
        )

    return _row(
        load.name,
        f"{median(run.deliveries / run.usage.seconds for run in runs):,.0f}",
        each([run.usage.server for run in runs]),
        each([run.usage.workers for run in runs]),
        each([run.usage.postgres for run in runs]),
        _generator(runs),
    )


def _stream_row(load: Stream, runs: Sequence[StreamRun]) -> str:
    return _row(
        load.name,
        f"{median(len(run.latencies) / run.usage.seconds for run in runs):,.0f}",
        *(
            _milliseconds(median(percentile(run.latencies, share) for run in runs))
            for share in (0.50, 0.95, 0.99)
        ),
        _milliseconds(median(percentile(run.delays, 0.99) for run in runs)),
        _microseconds(median(run.usage.server / len(run.latencies) for run in runs)),
        _microseconds(median(run.usage.postgres / len(run.latencies) for run in runs)),
        _generator(runs),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the `ordered` values that at least a `share` of them do not exceed."""
    count = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(count, 1) - 1]


def _spread(runs: Sequence[Run]) -> float:
    used = [run.usage.server for run in runs]
    return (max(used) - min(used)) / median(used)


def _generator(runs: Sequence[Run]) -> str:
    return f"{median(run.usage.generator / run.usage.seconds for run in runs):.0%}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"
