"""The report on this server beside its peers."""

from collections.abc import Sequence
from statistics import median

from bench.contest import Standing
from bench.generator import ContestRun
from bench.loads import Crowd, Target
from bench.opening import STORED_AIM, STORED_MUST, LongDocument, Opening
from bench.peers.peer import HOCUSPOCUS, HOCUSPOCUS_3
from bench.table import head, microseconds, milliseconds, percentile, row, verdict

_OURS = "this server"

_EXPLANATION = """\
- *Deliveries* are updates received by readers. An update that 99 readers get is 99 of them, on
  every server: what a server sends to the writer (most send it its own updates, Hocuspocus also a
  status of each) costs it time and counts for nothing. A message of five merged updates is five
  deliveries.
- *CPU* is user and system time for each delivery, of all threads of all processes of a server,
  PostgreSQL's apart, as the kernel's scheduler has it. *Workers'* is the part of it that is used in
  this server's worker processes, which keep the rows of lists and search up to date and write
  snapshots.
- *Ratio* is to Hocuspocus as npm has it now, 4.7. What it *must* not exceed and what it *aims* at
  is stated beside it. These bounds were set by Hocuspocus 3.4, which sends every update by itself;
  4.7 merges the updates that one turn of its event loop brings. *To 3.4* is the same ratio to that
  one, in the same run.
- *Spread* is how far the runs' CPU lies apart, as a share of their median.
- *Generator* is the share of one core that the load generator used. Near 100 % it would have been
  the bottleneck of the deliveries per second, though not of the CPU.
- *In flight* are updates sent and not yet with every reader. The writer keeps that many.
- All servers run on one core, and the generator on another; PostgreSQL and this server's workers
  have no core to themselves.
- The peers keep nothing on disk here: that is the cheapest that they can be had. This server has
  each update committed, with fsync, before a reader gets it. Hocuspocus is started as its
  documentation does. y-websocket is its own stock server; pycrdt-websocket runs under uvicorn with
  uvloop. The newest Node.js that npm has runs the first three.
"""

_WHY = """\
- What is missed, and why. *One in flight*: the kernel's share of a write to a socket is about 4.6
  µs of a delivery here, for every server, and is more than half of what Hocuspocus needs in all;
  the commit takes its part of the rest, and CPython what is left. *Ten in flight*: Hocuspocus 4
  merges what one turn of its loop brings, as this server sends what one commit brings. To 3.4, by
  which the bound was set, it comes near it. A C extension for the loop over receivers would be the
  next step, and is not worth what it costs to build everywhere.
- Python's build matters: one without profile-guided optimisation (as version managers build it)
  costs a fifth more than a distribution's.
"""

_CROWD = """\
- *p50* and *p99* are the times from when an update was due to its arrival at a reader.
"""

_LONG_DOCUMENT = """\
- The edits came through the servers, each a Yjs update of one character, and were acknowledged.
  Then each server was stopped and started before every opening, so that nothing of the document is
  in its memory. The time is from the connection to the last byte of the content.
- *Stored* are this server's rows of the document in PostgreSQL, and the document in Hocuspocus'
  database. Edits behind a snapshot are kept for UPDATE_RETENTION, so that a device that comes back
  is sent what it missed; once that is over the snapshot and what came after it remain.
- This server folds what is open into a snapshot when it is stopped. One that is killed right behind
  the last edit reads what came after its last snapshot row by row at the first opening.
"""


def compared(standings: Sequence[Standing], absent: dict[str, str]) -> str:
    """A section with a table for each load."""
    parts = ["## One document, one writer, many readers: beside other servers\n"]
    for standing in standings:
        parts.append(f"### {standing.load.name}\n\n{_table(standing)}")
    notes = _EXPLANATION + _WHY
    if any(isinstance(standing.load, Crowd) for standing in standings):
        notes += _CROWD
    missing = [f"- Not measured: {name} ({reason}).\n" for name, reason in absent.items()]
    return "\n".join([*parts, notes + "".join(missing)])


def _table(standing: Standing) -> str:
    latencies = isinstance(standing.load, Crowd)
    peer, older = (standing.runs.get(program.name) for program in (HOCUSPOCUS, HOCUSPOCUS_3))
    columns = ["CPU", "ratio", "must", "aim", "to 3.4", "workers'", "PostgreSQL's CPU"]
    columns += ["p50", "p99", "p99's ratio", "must", "aim"] if latencies else []
    table = head("server", *columns, "deliveries/s", "spread", "generator")
    for name, runs in standing.runs.items():
        target = standing.load.target if name.startswith(_OURS) else None
        cells = [
            microseconds(_cpu(runs)),
            *_ratio(_cpu(runs), _cpu(peer) if peer else None, target),
            _ratio(_cpu(runs), _cpu(older) if older else None, None)[0],
            microseconds(median(run.usage.workers / run.deliveries for run in runs)),
            microseconds(median(run.usage.postgres / run.deliveries for run in runs)),
        ]
        if latencies:
            cells += [
                milliseconds(_latency(runs, 0.50)),
                milliseconds(_latency(runs, 0.99)),
                *_ratio(_latency(runs, 0.99), _latency(peer, 0.99) if peer else None, target),
            ]
        cells += [
            f"{median(run.deliveries / run.usage.seconds for run in runs):,.0f}",
            f"{_spread(runs):.0%}",
            f"{median(run.usage.generator / run.usage.seconds for run in runs):.0%}",
        ]
        table += row(name, *cells)
    for name, reason in standing.failed.items():
        table += f"\n{name} failed in run {len(standing.runs.get(name, [])) + 1}: {reason}.\n"
    return table


def _ratio(value: float, peer: float | None, target: Target | None) -> tuple[str, str, str]:
    """The ratio and its two bounds, as far as there are any."""
    if peer is None:
        return "", "", ""
    ratio = value / peer
    if target is None:
        return f"{ratio:.2f}", "", ""
    return (
        f"{ratio:.2f}",
        verdict(f"{target.must:g}", holds=ratio <= target.must),
        verdict(f"{target.aim:g}", holds=ratio <= target.aim),
    )


def _cpu(runs: Sequence[ContestRun]) -> float:
    return median((run.usage.server + run.usage.workers) / run.deliveries for run in runs)


def _spread(runs: Sequence[ContestRun]) -> float:
    each = [(run.usage.server + run.usage.workers) / run.deliveries for run in runs]
    return (max(each) - min(each)) / median(each)


def _latency(runs: Sequence[ContestRun], share: float) -> float:
    return median(percentile(run.latencies, share) for run in runs)


def opened(document: LongDocument, absent: dict[str, str]) -> str:
    """A section on the long document."""
    peer = median(document.peer.seconds) if document.peer else None
    table = head("server", "opened cold", "ratio", "lowest", "highest", "stored", "of its text")
    weights = [document.stored_trimmed] * len(document.ours)
    rows: list[tuple[Opening, int]] = list(zip(document.ours, weights, strict=True))
    if document.peer:
        rows.append((document.peer, document.peer_stored))
    for opening, stored in rows:
        taken = median(opening.seconds)
        table += row(
            opening.name,
            milliseconds(taken),
            "" if peer is None else f"{taken / peer:.2f}",
            milliseconds(min(opening.seconds)),
            milliseconds(max(opening.seconds)),
            f"{stored:,} B",
            f"{stored / document.characters:.2f}",
        )
    return "\n".join(
        [
            f"## A document of {document.edits:,} edits\n",
            f"They end in a text of {document.characters:,} characters.\n",
            table,
            _weight(document) + _LONG_DOCUMENT + _missing(absent),
        ]
    )


def _weight(document: LongDocument) -> str:
    """What is asked of what this server stores."""
    weight = document.stored_trimmed / document.characters
    must, aim = (
        verdict(f"{bound:g}", holds=weight <= bound) for bound in (STORED_MUST, STORED_AIM)
    )
    return (
        f"- What this server stores is {weight:.2f} times the text once the edits behind the "
        f"snapshot are gone:\n  must {must}, aim {aim}. With every edit kept, as at first, "
        f"it is {document.stored:,} B,\n  {document.stored / document.characters:.1f} times the "
        "text.\n"
    )


def _missing(absent: dict[str, str]) -> str:
    reason = absent.get(HOCUSPOCUS.name)
    return f"- Not measured: {HOCUSPOCUS.name} ({reason}).\n" if reason else ""
