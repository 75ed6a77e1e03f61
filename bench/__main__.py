"""`python -m bench`: measure the server on this machine, and write docs/performance.md."""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from statistics import median

from bench.cpu import Cores
from bench.errors import BenchmarkFailed
from bench.generator import Run, run
from bench.loads import LOADS, Load, Stream
from bench.report import Machine, render
from bench.server import running

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
RUNS = 3
QUICK = 0.02  # the share of a full run's length


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as `arguments` say (those of the process); returns the exit code."""
    options = _parser().parse_args(arguments)
    whole = not options.quick and not options.only
    loads = [load for load in LOADS if options.only in load.name]
    if not loads:
        print(f"bench: no load's name has {options.only!r} in it", file=sys.stderr)
        return 2
    if options.quick:
        loads = [load.scaled(QUICK) for load in loads]
    try:
        page = measure(loads, 1 if options.quick else options.runs)
    except (BenchmarkFailed, TimeoutError, BrokenProcessPool) as error:
        print(f"bench: {str(error) or 'the server did not answer in time'}", file=sys.stderr)
        return 1
    print(page)
    if whole:
        PAGE.write_text(page)
    return 0


def measure(loads: Sequence[Load], runs: int) -> str:
    """The report on `loads`, each run so many times, against one server.

    Raises:
        BenchmarkFailed: the server did not start, refused something or fell too far behind.
    """
    results: dict[Load, list[Run]] = {load: [] for load in loads}
    accounts = max(load.devices if isinstance(load, Stream) else 1 for load in loads)
    cores = Cores.choose()
    with running(accounts) as server, _process() as generator:
        # Rounds, so that what else the machine does spreads over all loads.
        for number in range(runs):
            for load in loads:
                print(f"Run {number + 1} of {runs}: {load.name}...", file=sys.stderr)
                result = generator.submit(run, load, server, number, cores).result()
                results[load].append(result)
    return render(list(results.items()), Machine(_fsync_seconds(), cores is not None))


def _process() -> ProcessPoolExecutor:
    """A process for the load generator."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


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
    parser.add_argument("--only", default="", metavar="TEXT", help="only loads with this name")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each load ({RUNS})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
