"""`python -m bench`: measure the server on this machine, and write docs/performance.md."""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from random import Random
from statistics import median
from typing import NamedTuple

from bench import editing
from bench.contest import Standing, field, held
from bench.cpu import Cores
from bench.errors import BenchmarkFailed
from bench.generator import StreamRun, stream
from bench.loads import CONTESTS, STREAMS, Contest, Stream
from bench.opening import LongDocument, opened_cold
from bench.peers.peer import HOCUSPOCUS, PROGRAMS, Program
from bench.report import Machine, Results, render
from bench.scenarios.all import SCENARIOS
from bench.scenarios.scenario import Finding, Scenario
from bench.server import running

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
RUNS = 3
QUICK = 0.02  # the share of a full run's length
LONG_DOCUMENT = "long document"


class Plan(NamedTuple):
    """What is to be measured. Of each load there are `runs`; a scenario is put on once, at `share`
    of its size. `edits` is the length of the long document's session, which `trace` replaces."""

    contests: Sequence[Contest] = ()
    streams: Sequence[Stream] = ()
    scenarios: Sequence[Scenario] = ()
    programs: Sequence[Program] = ()
    edits: int = 0
    trace: Path | None = None
    runs: int = 1
    share: float = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as `arguments` say (those of the process); returns the exit code."""
    options = _parser().parse_args(arguments)
    plan = _plan(options)
    if not (plan.contests or plan.streams or plan.scenarios or plan.edits):
        print(f"bench: nothing has {options.only!r} in its name", file=sys.stderr)
        return 2
    _allow_many_sockets()
    try:
        page = measure(plan)
    except (BenchmarkFailed, TimeoutError, BrokenProcessPool) as error:
        print(f"bench: {str(error) or 'the server did not answer in time'}", file=sys.stderr)
        return 1
    print(page)
    if not (options.quick or options.only):
        PAGE.write_text(page)
    return 0


def measure(plan: Plan) -> str:
    """The report on what is planned.

    Raises:
        BenchmarkFailed: the server did not start, refused something or fell too far behind.
    """
    cores = Cores.choose()
    machine = Machine(_fsync_seconds(), cores is not None)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as generator:
        standings, absent = _standings(plan, generator, cores)
        document = _long_document(plan, generator, absent)
        streams = _streams(plan, generator, cores)
    findings = []
    for scenario in plan.scenarios:
        print(f"{scenario.title}...", file=sys.stderr)
        findings.append((scenario, _found(scenario, plan.share)))
    return render(Results(plan.runs, streams, standings, absent, document, findings), machine)


def _found(scenario: Scenario, share: float) -> Finding:
    """What a scenario finds. One that fails costs the others nothing."""
    try:
        return scenario.run(share)
    except (BenchmarkFailed, TimeoutError) as error:
        reason = str(error) or "the server did not answer in time"
        return Finding([], f"It failed: {reason}.")


def _standings(
    plan: Plan, generator: ProcessPoolExecutor, cores: Cores | None
) -> tuple[list[Standing], dict[str, str]]:
    standings = [Standing(load, {}, {}) for load in plan.contests]
    absent: dict[str, str] = {}
    # Rounds, so that what else the machine does spreads over everyone; each with servers that have
    # just started, so that none bears what an earlier round did to it.
    for number in range(plan.runs if standings else 0):
        print(f"Run {number + 1} of {plan.runs}:", file=sys.stderr)
        with field(plan.programs) as entered:
            held(standings, number, entered, generator, cores)
        absent.update(entered.absent)
    return standings, absent


def _long_document(
    plan: Plan, generator: ProcessPoolExecutor, absent: dict[str, str]
) -> LongDocument | None:
    if not plan.edits:
        return None
    print("Making an editing session...", file=sys.stderr)
    session = (
        editing.read(plan.trace)
        if plan.trace
        else editing.generated(plan.edits, Random(plan.edits))
    )
    with_peer = HOCUSPOCUS in plan.programs and HOCUSPOCUS.name not in absent
    return opened_cold(session, plan.runs, generator, with_peer=with_peer)


def _streams(
    plan: Plan, generator: ProcessPoolExecutor, cores: Cores | None
) -> dict[Stream, list[StreamRun]]:
    results: dict[Stream, list[StreamRun]] = {load: [] for load in plan.streams}
    if not results:
        return results
    with running(max(load.devices for load in results)) as server:
        for number in range(plan.runs):
            for load, runs in results.items():
                print(f"Run {number + 1} of {plan.runs}: {load.name}...", file=sys.stderr)
                runs.append(generator.submit(stream, load, server, number, cores).result())
    return results


def _plan(options: argparse.Namespace) -> Plan:
    share = QUICK if options.quick else 1.0

    def wanted(name: str) -> bool:
        return str(options.only) in name

    return Plan(
        contests=[load.scaled(share) for load in CONTESTS if wanted(load.name)],
        streams=[load.scaled(share) for load in STREAMS if wanted(load.name)],
        scenarios=[each for each in SCENARIOS if wanted(each.name)],
        programs=PROGRAMS,
        edits=int(editing.EDITS * share) if wanted(LONG_DOCUMENT) else 0,
        trace=options.trace,
        runs=1 if options.quick else options.runs,
        share=share,
    )


def _allow_many_sockets() -> None:
    """As many open files as may be, for this process and those it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _fsync_seconds() -> float:
    taken = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(50):
            started = time.perf_counter()
            file.write(bytes(8192))
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return median(taken)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: prints, writes nothing")
    parser.add_argument("--only", default="", metavar="TEXT", help="only what has it in its name")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each load ({RUNS})")
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="a recorded editing session for the long document, in place of a generated one",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
