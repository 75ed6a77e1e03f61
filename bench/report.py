"""The report: what was measured, as a page of Markdown."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import NamedTuple

from bench.comparison import compared, opened
from bench.contest import Standing
from bench.generator import StreamRun
from bench.loads import Stream
from bench.opening import LongDocument
from bench.scenarios.scenario import Finding, Scenario
from bench.table import head, microseconds, milliseconds, percentile, row, verdict
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

_STREAMS = """\
## Many documents at a steady rate
"""

_STREAM_COLUMNS = """
- Each document is written by one device on `/ws`, of the 20 that there are.
- The moments at which updates are due are drawn beforehand. *p50*, *p95* and *p99* are the times
  from then to the ack, which comes after the commit; so an update that the generator sent late,
  or that had to wait, counts with its wait.
- *Sent late* is how much of that was the generator's.
- *CPU* is for each update; that of the server is without its workers.
"""


class Machine(NamedTuple):
    """What the numbers depend on. `fsync` is the time in seconds of a small write to disk, the
    median; `pinned` whether event loop and generator each had a core of their own."""

    fsync: float
    pinned: bool

    def __str__(self) -> str:
        pinned = (
            "a server's main thread and the generator each on a core of its own"
            if self.pinned
            else "no process tied to a core"
        )
        return (
            f"Measured {datetime.now(UTC):%Y-%m-%d}: {platform.system()} on {os.cpu_count()} "
            f"cores, Python {platform.python_version()},\n"
            f"PostgreSQL {VERSION} (embedded), an 8 KB write with fsync in "
            f"{milliseconds(self.fsync)},\n{pinned}."
        )


class Results(NamedTuple):
    """Everything that was measured; what was not asked for is empty. `absent` are the peers that
    could not be had, and why."""

    runs: int
    streams: Mapping[Stream, Sequence[StreamRun]]
    standings: Sequence[Standing]
    absent: dict[str, str]
    document: LongDocument | None
    findings: Sequence[tuple[Scenario, Finding]]


def render(results: Results, machine: Machine) -> str:
    """The whole page. Each cell is the median of the runs, but for the scenarios: they run once."""
    runs = (
        f"Medians of {results.runs} runs, each on new documents, after a warm-up that is not "
        "counted."
        if results.runs > 1
        else "A single run each: not to be relied on."
    )
    parts = [_INTRODUCTION, f"{machine}\n\n{runs}\n"]
    if results.standings:
        parts.append(compared(results.standings, results.absent))
    if results.document is not None:
        parts.append(opened(results.document, results.absent))
    if results.streams:
        parts.append(_streams(results.streams))
    parts += [_scenario(scenario, finding) for scenario, finding in results.findings]
    return "\n".join(parts)


def _streams(streams: Mapping[Stream, Sequence[StreamRun]]) -> str:
    table = head(
        "load", "acks/s", "p50", "p95", "p99", "sent late, p99", "server's CPU",
        "PostgreSQL's CPU", "generator",
    )  # fmt: skip
    rows = [_stream_row(load, runs) for load, runs in streams.items()]
    return "\n".join([_STREAMS, table + "".join(rows) + _STREAM_COLUMNS])


def _stream_row(load: Stream, runs: Sequence[StreamRun]) -> str:
    return row(
        load.name,
        f"{median(len(run.latencies) / run.usage.seconds for run in runs):,.0f}",
        *(
            milliseconds(median(percentile(run.latencies, share) for run in runs))
            for share in (0.50, 0.95, 0.99)
        ),
        milliseconds(median(percentile(run.delays, 0.99) for run in runs)),
        microseconds(median(run.usage.server / len(run.latencies) for run in runs)),
        microseconds(median(run.usage.postgres / len(run.latencies) for run in runs)),
        f"{median(run.usage.generator / run.usage.seconds for run in runs):.0%}",
    )


def _scenario(scenario: Scenario, finding: Finding) -> str:
    table = head("", "measured", "must", "aim")
    for figure in finding.rows:
        table += row(
            figure.name, figure.value, verdict(figure.must, holds=figure.holds), figure.aim
        )
    return f"## {scenario.title}\n\n{table}\n{finding.note.strip()}\n"
